"""The compiled stages of the pattern generator: the pictures they must draw, their arithmetic, their cache."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT, command
from musicvideo import caches
from musicvideo.vision.generators.cppn import arithmetic, stages
from musicvideo.vision.generators.cppn.network import CPPN

STORED = Path(__file__).parent / "data" / "cppn.npz"


def test_pictures_are_the_stored_ones():
    """They were drawn before, maybe elsewhere. A change of the formulas or of a class that is meant stores new ones."""
    with np.load(STORED) as stored:
        pictures = CPPN(144).frames(stored["noise"], stored["classes"])
        difference = np.abs(pictures.astype(int) - stored["pictures"])
    assert difference.max() <= 2 and difference.mean() < 0.01


@pytest.mark.parametrize(
    "function, expected, low, high, error",
    [
        (arithmetic.sine, np.sin, -60, 60, 1e-5),
        (arithmetic.cosine, np.cos, -60, 60, 1e-5),
        (arithmetic.log, np.log, 1e-6, 20, 1e-5),
        (arithmetic.exp, np.exp, -80, 4, 3e-4),
    ],
)
def test_arithmetic(function, expected, low, high, error):
    x = np.linspace(low, high, 5000, dtype=np.float32)
    found = np.array([function(value) for value in x])
    assert np.abs(found - expected(x.astype(float))).max() <= error


DRAW = """
import numpy as np
from musicvideo.vision.generators.cppn import stages
from musicvideo.vision.generators.cppn.network import CPPN
CPPN(16).frames(np.zeros((1, 128)), np.eye(len(CPPN.labels))[:1])
print(sum(sum(stage.stats.cache_misses.values()) for stage in stages.STAGES))
"""
# One stage, since compiling all of them takes seconds.
SOFTEN = """
import numpy as np
from musicvideo.vision.generators.cppn import stages
plane, border, soft = np.random.default_rng(1).random((3, 16, 16), np.float32)
stages.soften(plane, border, soft)
stages.keep()
print(soft.tobytes().hex(), sum(stages.soften.stats.cache_misses.values()))
"""


def test_compiled_stages_are_kept_and_damaged_ones_are_not_used(tmp_path):
    copy = tmp_path / "another checkout"
    shutil.copytree(ROOT / "musicvideo", copy / "musicvideo", ignore=shutil.ignore_patterns("__pycache__"))

    def printed(program: str) -> list[str]:
        result = command(
            "-c",
            f"{program}\nassert {str(copy)!r} in stages.__file__",
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(copy)},
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.split()

    CPPN(16).frames(np.zeros((1, 128)), np.eye(len(CPPN.labels))[:1])  # compiles, unless this was done before
    caches.seal(stages._cache)  # another worker may have compiled at the same time
    shutil.copytree(stages._cache.parent, tmp_path / "musicvideo" / "cppn")
    assert printed(DRAW) == ["0"]
    plane, misses = printed(SOFTEN)
    assert misses == "0"
    for damage in ("code", "index"):
        (file,) = tmp_path.rglob(f"stages.soften-*.{'nbc' if damage == 'code' else 'nbi'}")
        content = bytearray(file.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096) if damage == "code" else b""
        file.write_bytes(content)
        assert printed(SOFTEN) == [plane, "1"], damage
    assert printed(SOFTEN) == [plane, "0"]


LOAD = """
import numpy as np
from musicvideo.vision import generators
generator = generators.load("cppn", resolution=16, notice=print)
print(generator.computed_by["instructions"], generator.frames(np.zeros((1, 128)), np.eye(48)[:1]).tobytes().hex())
"""


def loaded(tmp_path, **setting: str):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **setting}
    return command("-c", LOAD, env=environment)


def test_an_unknown_processor_draws_the_same_slowly_and_says_so(tmp_path):
    result = loaded(tmp_path, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    assert result.returncode == 0, result.stderr
    notice, told = result.stdout.splitlines()
    instructions, picture = told.split()
    assert "draws slowly" in notice and instructions == "scalar"
    usual = CPPN(16).frames(np.zeros((1, 128)), np.eye(len(CPPN.labels))[:1])
    drawn = np.frombuffer(bytes.fromhex(picture), np.uint8).reshape(usual.shape)
    assert np.abs(drawn.astype(int) - usual).max() <= 2


def test_a_processor_that_nothing_compiles_for(tmp_path):
    result = loaded(tmp_path, NUMBA_DISABLE_JIT="1")
    assert result.returncode != 0
    assert "cannot compile for this processor" in result.stderr and "GENERATOR=pocket" in result.stderr


def test_without_a_place_for_a_cache_all_goes_on(tmp_path):
    (tmp_path / "musicvideo").touch()
    result = command("-c", SOFTEN, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)})
    assert result.returncode == 0, result.stderr


def test_a_sealed_folder_is_emptied_when_anything_in_it_changed(tmp_path):
    place = tmp_path / "kept"
    assert caches.open_sealed(place) and list(place.iterdir()) == []
    (place / "a").write_text("1")
    caches.seal(place)
    assert caches.open_sealed(place) and (place / "a").read_text() == "1"
    (place / "b").write_text("2")
    assert caches.open_sealed(place) and list(place.iterdir()) == []
