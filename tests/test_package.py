"""The wheel: built as `pip install .` builds it, installed elsewhere without a network, used from another folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import musicvideo
from conftest import ROOT

DRAW = """
import sys
import numpy as np
import musicvideo
from musicvideo.vision import generators
pocket = generators.load("pocket", resolution=256)
classes = np.zeros((1, len(pocket.labels)), np.float32)
classes[0, pocket.labels.index("mushroom")] = 1
np.save("frame.npy", pocket.frames(np.zeros((1, pocket.noise_dim), np.float32), classes))
print(musicvideo.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the files in this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "musicvideo", source / "musicvideo", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--wheel-dir",
            folder,
            source,
        ],
        check=True,
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment with that wheel and this one's other packages, without a checkout; and a working folder."""
    environment = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(environment)
    python = environment / "bin" / "python"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            "--disable-pip-version-check",
            wheel,
        ],
        check=True,
    )
    (packages,) = environment.glob("lib/python*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "others.pth").write_text("\n".join(others))  # .pth files in there are not read
    folder = environment.parent / "elsewhere"
    folder.mkdir()
    return environment / "bin", folder


def run(installed, program: str, *arguments) -> subprocess.CompletedProcess:
    programs, folder = installed
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [programs / program, *map(str, arguments)],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )


def test_the_wheel_holds_what_the_package_reads(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    here = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "musicvideo").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "musicvideo/py.typed" in here
    assert {name for name in names if name.startswith("musicvideo/")} == here
    assert wheel.name.startswith(f"musicvideo-{musicvideo.__version__}-py3-none-any")


def test_pocket_draws_from_the_wheel(installed):
    result = run(installed, "python", "-c", DRAW)
    assert result.returncode == 0, result.stderr
    programs, folder = installed
    assert Path(result.stdout.splitlines()[-1]).is_relative_to(programs.parent)
    import numpy as np

    frame = np.load(folder / "frame.npy")
    assert (frame.shape, frame.dtype) == ((1, 256, 256, 3), np.uint8)
    assert frame.std() > 20


def test_the_command(installed):
    assert run(installed, "musicvideo", "--version").stdout == f"musicvideo {musicvideo.__version__}\n"
    doctor = run(installed, "musicvideo", "doctor")
    assert doctor.returncode == 0 and "ffmpeg" in doctor.stdout
    _, folder = installed
    shutil.copy2(ROOT / "scores" / "song.mix.toml", folder)
    assert run(installed, "musicvideo", "check", "song.mix.toml", "Mine").returncode == 0  # reads its schema
    missing = run(installed, "musicvideo", "song", "nowhere.mp3", "out.wav")
    assert (missing.returncode, missing.stderr) == (1, "musicvideo: error: nowhere.mp3: no such file\n")
    help_ = run(installed, "musicvideo", "--help").stdout
    for command in (
        "doctor",
        "score",
        "song",
        "video",
        "merge",
        "weights",
        "check",
        "strip",
        "sync",
        "notes",
        "tables",
    ):
        assert f"    {command} " in help_
    setup = run(installed, "musicvideo", "setup", "--environment", ".")
    assert "no such file; set-up is for a checkout" in setup.stderr
