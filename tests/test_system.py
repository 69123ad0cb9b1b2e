"""Installed and missing programs, and how to install them; the definitions of the Python environment agree."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import eightd
import mix
import musicvideo
import visualize
from conftest import ROOT, assert_one_line_error, command
from musicvideo import files, packages, system

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
    """It installs the packages, so it cannot need them: `-S` hides site-packages."""
    result = subprocess.run([sys.executable, "-S", "-m", "musicvideo", "setup", "--check"], cwd=ROOT)
    assert result.returncode == 0


def test_a_named_program_is_all_that_is_asked_for(bare_path):
    """A song needs no MuseScore, a drawing no SoX."""
    result = command("-m", "musicvideo", "setup", "--check", "ffmpeg", env={**os.environ, "PATH": bare_path})
    assert_one_line_error(result, "missing: ffmpeg; install with")
    assert "sox" not in result.stderr and "musescore" not in result.stderr
    assert_one_line_error(command("-m", "musicvideo", "setup", "--check", "ffmpg"), "ffmpg: nothing the pipeline needs")


def test_doctor_says_what_is_missing_and_what_is_too_old(tmp_path, bare_path):
    old = tmp_path / "old ffmpeg"
    old.write_text("#!/bin/sh\necho 'ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright (c) 2000-2021'\n")
    old.chmod(0o755)
    result = command("-m", "musicvideo", "doctor", env={**os.environ, "PATH": bare_path, "FFMPEG": str(old)})
    assert "ffmpeg 4.4.2 is too old: 5.1 or newer is needed; name another one with FFMPEG=/path/to/it" in result.stdout
    assert re.search(r"^sox +MISSING", result.stdout, re.MULTILINE)
    assert result.stdout.splitlines()[-1].startswith("missing: ffprobe, sox, ")


def test_versions_are_compared_as_numbers():
    ffmpeg = system.PROGRAMS["ffmpeg"]
    assert [v for v in ("5.0.3", "5.1", "5.10", "10.0", "4.9", "5.1.9", "?") if ffmpeg.too_old(v)] == ["5.0.3", "4.9"]


def test_both_ffmpegs_here_state_a_version_that_will_do():
    """The system's and the one that moviepy brings."""
    import imageio_ffmpeg

    for path in (shutil.which("ffmpeg"), imageio_ffmpeg.get_ffmpeg_exe()):
        version = system.PROGRAMS["ffmpeg"].version(path)
        assert version != "?" and not system.PROGRAMS["ffmpeg"].too_old(version)


def test_conda_takes_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    assert f"python {PROJECT['requires-python']}" in conda
    assert f"ffmpeg >={system.PROGRAMS['ffmpeg'].minimum}" in conda
    assert {"sox", "libsndfile", "pip"} <= set(conda)
    assert {"pip": ["-r requirements.lock"]} in environment["dependencies"]


def test_lock_is_complete_and_hashed():
    """Every package that is needed is pinned, with hashes; an environment that make set up holds the pinned ones."""
    entries = packages.locked(packages.LOCK)
    lock = packages.LOCK.read_text()
    assert "".join(entries.values()).count("--hash=") == lock.count("--hash=")
    assert "http" not in lock
    pinned = {}
    for text in entries.values():
        for entry in re.split(r"\n(?=\S)", text.strip()):
            requirement = Requirement(entry.partition("\\")[0])
            assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)) >= 1
            if requirement.marker is None or requirement.marker.evaluate():
                assert requirement.name not in pinned
                pinned[requirement.name] = str(requirement.specifier)
    made_from_lock = Path(sys.prefix, packages.INSTALLED).exists()  # else other versions need other packages
    extras = [Requirement(text) for text in PROJECT["optional-dependencies"]["test"]]
    queue, seen = [*map(Requirement, PROJECT["dependencies"]), *extras], set()
    while queue:
        requirement = queue.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        distribution = importlib.metadata.distribution(name)
        assert name in pinned, f"{name} is not in requirements.lock"
        if made_from_lock:
            assert pinned[name] == f"=={distribution.version.split('+')[0]}"
            queue += map(Requirement, distribution.requires or [])
    assert len(seen) > 20


@pytest.fixture
def wheels(tmp_path):
    """A folder with wheels of two small packages, `torch` 1.0 and `other` 2.0, and a lock of them."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    lock = ""
    for name, version in (("torch", "1.0"), ("other", "2.0")):
        path = folder / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{name}.py", "")
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
        lock += f"{name}=={version} \\\n    --hash=sha256:{files.sha256(path)}\n"
    return folder, lock


def folders_of(name: str) -> list[Path]:
    """The folders that a package of this environment consists of."""
    found = importlib.metadata.distribution(name)
    names = {path.parts[0] for path in found.files if len(path.parts) > 1 and path.parts[0] != ".."}
    return [Path(found.locate_file(each)) for each in names]


@pytest.fixture
def small_checkout(tmp_path, monkeypatch, wheels):
    """A checkout of a small project with that lock; pip sees nothing but that folder."""
    folder, lock = wheels
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "small"\nversion = "1"\n[tool.setuptools]\npy-modules = []\n'
    )
    (project / "requirements.lock").write_text(lock)
    monkeypatch.setattr(packages, "ROOT", project)
    monkeypatch.setattr(packages, "LOCK", project / "requirements.lock")
    monkeypatch.setattr(packages, "PROJECT", project / "pyproject.toml")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    environment = tmp_path / "environment"
    venv.create(environment)
    (site,) = environment.glob("lib/python*/site-packages")
    # Copied with what is compiled of them, which takes seconds less than installing pip. The real lock brings
    # setuptools, which builds the checkout.
    for folder in (*folders_of("pip"), *folders_of("setuptools")):
        shutil.copytree(folder, site / folder.name, ignore=shutil.ignore_patterns("tests"))
    return environment


@pytest.mark.slow
def test_set_up_checks_hashes(small_checkout, wheels, capfd):
    """A package that is not the locked one is refused; a second make that has waited for the first does nothing."""
    folder, _ = wheels
    packages.install_packages(small_checkout)
    assert "Successfully installed" in capfd.readouterr().out
    installed = small_checkout / packages.INSTALLED
    when = installed.stat().st_mtime_ns
    packages.install_packages(small_checkout)
    assert capfd.readouterr().out == "" and installed.stat().st_mtime_ns == when
    installed.unlink()
    (site,) = small_checkout.glob("lib/python*/site-packages")
    shutil.rmtree(site / "other-2.0.dist-info")
    with zipfile.ZipFile(folder / "other-2.0-py3-none-any.whl", "a") as archive:
        archive.writestr("evil.py", "")
    with pytest.raises(system.MissingProgram, match="--require-hashes .* failed"):
        packages.install_packages(small_checkout)
    assert not installed.exists() and not (site / "evil.py").exists()
    assert "DO NOT MATCH THE HASHES" in capfd.readouterr().err


@pytest.mark.slow
def test_torch_comes_from_where_it_is_asked_for(small_checkout, wheels, tmp_path):
    """Its packages for CUDA are left out then; an index without it is named."""
    folder, lock = wheels
    packages.LOCK.write_text(lock + "nvidia-cublas==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(system.MissingProgram, match=f"TORCH_INDEX={empty}: has no torch==1.0 for this machine"):
        packages.install_packages(small_checkout, str(empty))
    packages.install_packages(small_checkout, str(folder))
    (site,) = small_checkout.glob("lib/python*/site-packages")
    assert (site / "torch.py").exists() and not list(site.glob("nvidia*"))


def test_conda_environment_without_packages_is_refused(tmp_path):
    result = subprocess.run(
        [sys.executable, "-S", "-m", "musicvideo", "setup", "--packages"],
        cwd=ROOT,
        env={**os.environ, "CONDA_DEFAULT_ENV": "mine"},
        capture_output=True,
        text=True,
    )
    assert_one_line_error(result, "conda environment mine lacks", "conda env create -f environment.yml")


@pytest.mark.parametrize("script", [visualize, eightd, mix], ids=lambda script: script.__name__)
def test_every_script_has_help_with_an_example_and_knows_its_version(run_script, script):
    result = run_script(script, "--help")
    assert result.returncode == 0
    assert f"python {script.__name__}.py " in result.stdout
    assert run_script(script, "--version").stdout == f"musicvideo {musicvideo.__version__}\n"
