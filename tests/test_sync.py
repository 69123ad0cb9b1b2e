"""How picture and sound belong together, on films that FFmpeg makes by rule."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import musicvideo.__main__ as stages
from conftest import assert_one_line_error, make_media
from musicvideo.errors import MediaError
from musicvideo.vision.sync import sync
from rule_films import CLICKS, FPS, SECONDS, film, steps


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A film whose picture steps with the clicks."""
    return film(tmp_path_factory.mktemp("sync") / "film.mkv", picture=steps(0))


@pytest.mark.parametrize("late", [5, -3])
def test_the_lag_of_steps_behind_clicks(tmp_path, late):
    found = sync(film(tmp_path / "film.mkv", picture=steps(late / FPS)))
    assert found.fps == FPS
    assert len(found.differences) == SECONDS * FPS
    assert found.lag == late
    assert found.correlations[10 + late] > 0.9
    assert found.correlations[10] < 0.1


def test_clicks_and_steps_together_are_seen_and_rests_are_still(together):
    found = sync(together)
    assert found.fps == FPS
    assert len(found.differences) == SECONDS * FPS
    assert found.lag == 0
    assert found.correlations[10] > 0.9
    assert len(found.onsets) == 8
    assert found.seen[found.onsets].all()
    assert found.seen.mean() < 0.15
    assert found.differences.max() == pytest.approx(90, abs=1)
    assert found.rests.sum() > 150
    assert found.differences[found.rests].mean() == 0


def test_a_frame_rate_that_is_no_integer_does_not_drift(tmp_path):
    fps = Fraction(24000, 1001)
    found = sync(film(tmp_path / "film.mkv", picture=steps(0), fps=fps))
    seen = np.flatnonzero(found.differences > 30)
    assert len(seen) == len(found.onsets) == 8
    assert np.abs(seen - found.onsets).max() <= 1


def test_sound_that_begins_later_in_the_file(together, tmp_path):
    late = make_media(
        tmp_path / "late.mkv", "-i", together, "-itsoffset", "0.2", "-i", together, "-map", "0:v", "-map", "1:a",
        "-c", "copy",
    )  # fmt: skip
    assert sync(late).lag == -5  # the picture is early by 0.2 s


def test_motion_in_rests(tmp_path):
    found = sync(film(tmp_path / "film.mkv", picture="60+40*mod(N\\,2)"))
    assert found.differences[found.rests].mean() == pytest.approx(40, abs=1)
    assert not found.seen[30:].any()  # no difference exceeds the one before


def test_a_fade_from_black_is_no_motion_in_a_rest(tmp_path):
    # Black from 0.5 to 1 s, brighter until 1.7 s, while nothing sounds.
    faded = "100*(lt(mod(T\\,3)\\,0.5)+gte(mod(T\\,3)\\,1)*min(1\\,(mod(T\\,3)-1)/0.7))"
    found = sync(film(tmp_path / "film.mkv", picture=faded))
    assert found.differences.max() > 90
    assert found.rests.sum() > 20
    assert found.differences[found.rests].max() == 0


def test_a_still_picture(tmp_path, run_script):
    path = film(tmp_path / "film.mkv", picture="90")
    found = sync(path)
    assert not found.correlations.any() and found.lag == 0
    assert not found.seen.any() and len(found.onsets) == 8
    result = run_script(stages, "sync", path, "--plot", tmp_path / "plot.png")
    assert result.returncode == 0
    (line,) = result.stdout.splitlines()
    assert "r 0.00 at lag 0" in line and "onsets seen 0% of 8" in line and "0.00 in rests" in line
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_silent_sound(tmp_path):
    found = sync(film(tmp_path / "film.mkv", picture=steps(0), sound="0"))
    assert not found.rests.any() and not len(found.onsets) and not found.correlations.any()
    assert "none in rests; onsets seen none of 0" in found.line()


@pytest.mark.parametrize("left_out, words", [("sound", "no sound"), ("picture", "no picture")])
def test_films_that_lack_half(tmp_path, run_script, left_out, words):
    path = film(tmp_path / "film.mkv", **{"picture": "90", left_out: ""}, codec=())
    assert_one_line_error(run_script(stages, "sync", path), "film.mkv", words)


@pytest.mark.parametrize("damage", ["cut off", "zeros in the picture"])
def test_a_damaged_film(tmp_path, damage):
    codec = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "1", "-c:a", "pcm_s16le")
    path = film(tmp_path / "film.mkv", picture="128+100*sin(X*Y+N)", sound=CLICKS, codec=codec)
    content = path.read_bytes()
    if damage == "cut off":
        content = content[: len(content) // 2]
    else:
        # Every tenth block of the file, so that the picture is hit wherever it lies.
        blocks = [content[begin : begin + 4096] for begin in range(0, len(content), 4096)]
        content = b"".join(bytes(len(block)) if n % 10 == 9 else block for n, block in enumerate(blocks))
    path.write_bytes(content)
    with pytest.raises(MediaError, match="damaged|whole"):
        sync(path)
