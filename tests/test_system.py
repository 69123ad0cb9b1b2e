"""Which programs are there, what is missing, and how to install it; the Python environments against each other."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT, assert_one_line_error, command
from packaging.requirements import Requirement

from musicvideo import system

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def bare_path(tmp_path):
    """A PATH with a package manager and nothing that the pipeline needs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "apt-get").symlink_to("/bin/false")
    return str(folder)


def test_check_lists_what_is_missing_and_installs_nothing(bare_path):
    result = command("-m", "musicvideo", "setup", "--check", env={**os.environ, "PATH": bare_path})
    assert_one_line_error(result, "ffmpeg", "sox", "musescore", "apt-get install -y", "musescore3")


def test_check_goes_on_without_what_is_optional():
    """A song needs no MuseScore."""
    result = command("-m", "musicvideo", "setup", "--check", env={**os.environ, "MUSESCORE": "/nowhere"})
    assert result.returncode == 0
    assert "missing: musescore" in result.stderr


def test_a_package_manager_that_fails_is_reported(bare_path):
    result = command("-m", "musicvideo", "setup", env={**os.environ, "PATH": bare_path})
    assert result.returncode == 1
    assert "Installing:" in result.stdout
    assert "apt-get update` failed" in result.stderr.splitlines()[-1]


def test_doctor_prints_versions_paths_and_purposes():
    result = command("-m", "musicvideo", "doctor")
    assert result.returncode == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert set(rows) == {need.name for need in system.NEEDS}
    for name in ("ffmpeg", "sox"):
        assert re.search(rf"{name} +\d+\.\d+.* +/.*{name}", rows[name])
        assert system.PROGRAMS[name].purpose in rows[name]


def test_a_variable_names_a_program(monkeypatch, tmp_path):
    mine = tmp_path / "my ffmpeg"
    mine.symlink_to(shutil.which("ffmpeg"))
    monkeypatch.setenv("FFMPEG", str(mine))
    assert system.find_program("ffmpeg") == str(mine)
    monkeypatch.setenv("FFMPEG", "/nowhere/ffmpeg")
    with pytest.raises(system.MissingProgram, match="FFMPEG=/nowhere/ffmpeg: no such program"):
        system.find_program("ffmpeg")


def test_set_up_runs_on_a_python_without_packages():
    """It is what installs them: `-S` hides site-packages."""
    result = subprocess.run([sys.executable, "-S", "-m", "musicvideo", "setup", "--check"], cwd=ROOT)
    assert result.returncode == 0


def test_conda_environment_is_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert {"ffmpeg", "sox", "libsndfile", "pip"} <= set(conda)
    assert f"python {PROJECT['requires-python']}" in conda
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    assert [line for line in pip if not line.startswith("--")] == wanted


def test_lock_is_complete():
    """Every package that is installed for us is pinned, to the version that is installed."""
    locked = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines()]
    pinned = {r.name: str(r.specifier) for r in locked if r.marker is None or r.marker.evaluate()}
    queue, seen = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"], set()
    while queue:
        requirement = Requirement(queue.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        distribution = system.importlib.metadata.distribution(name)
        assert name in pinned, f"{name} is not in requirements.lock"
        if "CONDA_PREFIX" not in os.environ:
            assert pinned[name] == f"=={distribution.version.split('+')[0]}"
        queue += distribution.requires or []
    assert len(seen) > 30


def test_conda_environment_without_packages_is_refused(tmp_path):
    result = subprocess.run([sys.executable, "-S", "-m", "musicvideo", "setup", "--packages"], cwd=ROOT,
                            env={**os.environ, "CONDA_DEFAULT_ENV": "mine"}, capture_output=True, text=True)
    assert_one_line_error(result, "conda environment mine lacks", "conda env create -f environment.yml")


def test_every_script_has_help_with_an_example():
    for script in ("visualize.py", "eightd.py", "mix.py"):
        result = command(script, "--help")
        assert result.returncode == 0
        assert f"python {script} " in result.stdout
