"""The check of a film: films made to break each limit, one by one, and films that break none."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

import musicvideo.__main__ as stages
from conftest import assert_one_line_error, make_media
from musicvideo.proof.check import check
from musicvideo.vision.film import finish
from musicvideo.vision.flashes import Flashes, too_many
from musicvideo.vision.watching import watch
from rule_films import CLICKS, FPS, SECONDS, film, steps

HUM = f"{CLICKS}+0.1*sin(2*PI*220*t)"
MOVING = "110+40*sin(X/8+3*T)"


def strobe(hz: float, width: int = 96, height: int = 64) -> str:
    """A picture of which a part, in the upper left corner, flashes."""
    return f"40+160*mod(floor({2 * hz}*T)\\,2)*lt(X\\,{width})*lt(Y\\,{height})"


def broken(path) -> dict[str, str]:
    """The limits that a film breaks, and the figures in words."""
    return {each.name: each.shown for each in check(path).broken}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A film that breaks no limit."""
    return film(tmp_path_factory.mktemp("check") / "good.mkv", picture=steps(0), sound=HUM)


def test_a_film_that_passes(good, tmp_path, run_script):
    result = run_script(stages, "check-film", good, "--json", tmp_path / "a.json", "--plot", tmp_path / "a.png")
    assert result.returncode == 0, result.stderr
    assert "Sync: together" in result.stdout and "BROKEN" not in result.stdout
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["passes"] and document["fps"] == str(FPS) and document["seconds"] == SECONDS
    figures = {each["name"]: each["value"] for each in document["checks"]}
    assert figures["Sync"] == 0 and figures["General flashes"] == 0 and figures["Asymmetry"] == 0
    assert figures["Clipped sound"] == 0 and -3 < figures["True peak"] < 0
    assert document["listens"][0]["loudness"] == figures["Loudness"] < -10
    with Image.open(tmp_path / "a.png") as page:
        assert page.size == (1600, 1100)


def in_turn(*pictures: str) -> str:
    """Each of the pictures for three seconds: one film shows what breaks a limit, and what before it does not."""
    return "+".join(
        f"between(T\\,{3 * number}\\,{3 * number + 2.999})*({picture})" for number, picture in enumerate(pictures)
    )


def test_a_strobe_of_the_whole_picture(tmp_path):
    picture = in_turn(strobe(3), strobe(4))
    found = check(film(tmp_path / "film.mkv", picture=picture, fps="30000/1001", seconds=6))
    assert [each.name for each in found.broken] == ["General flashes"]
    assert found.broken[0].shown.startswith("4 a second, at 0:03 to 0:")  # and not the three a second before


@pytest.mark.parametrize("fps", [FPS, 30, "30000/1001", 60, 10])
def test_a_strobe_at_any_rate(tmp_path, fps):
    found = watch(film(tmp_path / "film.mkv", picture=in_turn(strobe(3), strobe(4)), fps=fps, seconds=6))
    assert found.general.max() == 4 and found.red.max() <= 3
    assert found.general[found.times < 3].max() == 3


def test_a_strobe_of_a_small_part_and_the_seconds_of_a_larger_one(tmp_path):
    # A field of 10 degrees is 32x24 of 96x64 pixels, and a quarter of it is 192.
    small, large = strobe(6, 16, 10), strobe(6, 20, 14)
    found = check(film(tmp_path / "film.mkv", picture=in_turn(small, large, "40"), seconds=9))
    assert {each.name: each.shown for each in found.broken} == {"General flashes": "6 a second, at 0:03 to 0:06"}
    assert found.watched.general[found.watched.times < 3].max() == 0


def test_changes_that_are_no_flashes(tmp_path):
    # Relative luminance 0.22 and 0.30; then 0.81 and 1, of which the darker is too bright.
    faint, bright = "130+21*mod(floor(12*T)\\,2)", "233+22*mod(floor(12*T)\\,2)"
    # One step brighter than the last pair on the dark side is a flash.
    flash = "228+27*mod(floor(12*T)\\,2)"
    found = check(film(tmp_path / "film.mkv", picture=in_turn(faint, bright, flash), seconds=9))
    assert {each.name: each.shown for each in found.broken} == {"General flashes": "6 a second, at 0:06 to 0:09"}
    assert found.watched.general[found.watched.times < 6].max() == 0


def test_a_red_strobe(tmp_path):
    # Red of code 170 has a relative luminance of 0.085: no general flash.
    red = in_turn("170*mod(floor(6*T)\\,2)", "170*mod(floor(8*T)\\,2)")
    path = film(tmp_path / "film.mkv", picture="", red=red, seconds=6)
    found = check(path)
    assert [each.name for each in found.broken] == ["Red flashes"]
    assert found.watched.red.max() == 4 and found.broken[0].shown.startswith("4 a second, at 0:03 to 0:")
    assert found.watched.red[found.watched.times < 3].max() == 3


def test_a_moving_texture_does_not_flash():
    # Each place becomes brighter and darker six times a second, at a time of its own.
    when, whether = np.random.default_rng(1).uniform(0, 1, (2, 128, 128))
    flashes = Flashes(1024, 768, Fraction(FPS))
    for frame in range(3 * FPS):
        light = (0.5 + 0.5 * np.sin(2 * np.pi * (6 * frame / FPS + when))) * (whether < 0.4)
        flashes.add(np.repeat((255 * light).astype(np.uint8)[..., None], 3, axis=2))
    assert max(flashes.general) == 0
    assert too_many([0, 3, 4, 4, 3, 5], Fraction(FPS)) == [(0, 4 / FPS), (0, 6 / FPS)]


@pytest.mark.parametrize("late", [0.2, -0.2])
def test_a_sound_that_is_late(good, tmp_path, late):
    path = make_media(
        tmp_path / "film.mkv", "-itsoffset", str(max(0, -late)), "-i", good, "-itsoffset", str(max(0, late)),
        "-i", good, "-map", "0:v", "-map", "1:a", "-c", "copy",
    )  # fmt: skip
    found = check(path)
    assert found.listens[0].late == pytest.approx(late, abs=0.001)
    assert [each.name for each in found.broken] == ["Sync"]
    assert found.broken[0].shown.startswith(f"sound 0.20 s {'late' if late > 0 else 'early'}")


def test_a_late_sound_that_is_not_clear(tmp_path):
    assert not broken(film(tmp_path / "film.mkv", picture=MOVING))


def test_a_true_peak_between_samples(tmp_path):
    found = broken(film(tmp_path / "film.mkv", picture=steps(0), sound="1.2*sin(2*PI*11025*t+PI/4)"))
    assert list(found) == ["True peak"] and 1.5 < float(found["True peak"].split()[0]) < 2.5


def test_a_picture_that_is_black_and_then_still(tmp_path):
    """Each for more than ten seconds, and each named with its own seconds."""
    picture = "(110+40*sin(X/8+3*min(T\\,19)))*not(between(T\\,4\\,15.999))"
    found = broken(film(tmp_path / "film.mkv", picture=picture, sound=HUM, fps=10, seconds=31))
    assert {name: shown.partition(" at ")[2].partition(", at ")[2] for name, shown in found.items()} == {
        "Black while it sounds": "0:04 to 0:16",
        "Still while it sounds": "0:19 to 0:31",
    }


def test_a_sound_that_stops(tmp_path):
    # For less than ten seconds, but for more than half of the film.
    found = broken(film(tmp_path / "film.mkv", picture=MOVING, sound=f"({HUM})*lt(t\\,4)"))
    assert list(found) == ["Silent while it moves"] and "0:04 to 0:12" in found["Silent while it moves"]


def test_a_silent_film(tmp_path):
    found = check(film(tmp_path / "silent.mkv", picture=MOVING, sound="0"))
    assert [each.name for each in found.broken] == ["Silent while it moves"]
    assert found.listens[0].loudness is None


def test_a_silent_opening_a_black_silent_end_and_an_asymmetric_picture_are_nothing_missing(tmp_path):
    picture = "(100*lt(X\\,W/2)+40*sin(3*T)+50)*lt(T\\,16)"
    found = check(
        film(tmp_path / "film.mkv", picture=picture, sound=f"({HUM})*between(t\\,12\\,16)", fps=10, seconds=28)
    )
    assert not found.broken
    assert found.watched.asymmetry[found.watched.times < 16].mean() == pytest.approx(100, abs=2)
    asymmetry = {each.name: each.value for each in found.checks}["Asymmetry"]
    assert asymmetry == pytest.approx(100 * 16 / 28, abs=2)
    assert found.silent[found.watched.times < 12].all() and found.silent[found.watched.times > 16.1].all()
    assert found.black[found.watched.times > 16.1].all()


def test_a_variable_frame_rate(good, tmp_path):
    codec = ("-c:v", "ffv1", "-c:a", "copy")
    path = make_media(tmp_path / "film.mkv", "-i", good, "-vf", "select=lt(n\\,100)+mod(n\\,2)", *codec)
    found = broken(path)
    assert list(found) == ["Frame rate"] and found["Frame rate"].endswith(" frames at uneven times")
    # One pause may be a cut.
    path = make_media(tmp_path / "cut.mkv", "-i", good, "-vf", "setpts=PTS+gt(N\\,100)*0.08/TB", *codec)
    rate = next(each for each in check(path).checks if each.name == "Frame rate")
    assert rate.passes and rate.shown == "25 a second, 1 frame at uneven times"


def test_several_sounds_and_a_cover(good, tmp_path):
    cover = tmp_path / "cover.png"
    Image.new("RGB", (64, 64), "red").save(cover)
    path = make_media(
        tmp_path / "film.mkv", "-i", good, "-itsoffset", "0.2", "-i", good, "-itsoffset", "0.04", "-i", good,
        "-map", "0:v", "-map", "1:a", "-map", "2:a",
        "-c", "copy", "-metadata:s:a:0", "title=Late", "-metadata:s:a:1", "title=In \x1b[31mtime", "-c:a:1", "flac",
        "-filter:a:1", "volume=-6dB", "-disposition:a:0", "0", "-disposition:a:1", "default",
        "-attach", cover, "-metadata:s:t", "mimetype=image/png", "-metadata:s:t", "filename=cover.png",
    )  # fmt: skip
    found = check(path)
    assert not found.broken and found.main == 1  # a sound that is late by a frame passes
    late, main = found.listens
    assert (late.title, late.codec, main.codec) == ("Late", "pcm_s16le", "flac")
    assert late.late == pytest.approx(0.2, abs=0.001) and late.clear
    assert main.late == pytest.approx(0.04, abs=0.001)
    assert late.loudness - main.loudness == pytest.approx(6, abs=0.2)
    assert [stream.cover for stream in found.streams] == [False, False, False, True]


def test_a_check_that_fails_says_so_and_still_writes(tmp_path, run_script):
    clipped = "1.5*sin(2*PI*100*t)*between(t\\,2\\,3)"
    path = film(tmp_path / "film.mkv", picture=strobe(4), sound=clipped, seconds=4)
    plot, document = tmp_path / "page.png", tmp_path / "film.json"
    result = run_script(stages, "check-film", path, "--plot", plot, "--json", document)
    assert result.returncode == 1
    assert "BROKEN General flashes: 4 a second, at 0:00 to 0:04" in result.stdout
    assert "BROKEN Clipped sound: 200 places" in result.stdout
    line = result.stderr.strip().splitlines()[-1]
    assert "film.mkv: General flashes: 4 a second" in line and "at most 3" in line
    assert not json.loads(document.read_text())["passes"] and plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("left_out, words", [("sound", "no sound"), ("picture", "no picture")])
def test_films_that_lack_half(tmp_path, run_script, left_out, words):
    path = film(tmp_path / "film.mkv", **{"picture": "90", left_out: ""}, codec=())
    plot = tmp_path / "page.png"
    assert_one_line_error(run_script(stages, "check-film", path, "--plot", plot), "film.mkv", words)
    assert not plot.exists()


def test_what_is_no_film(tmp_path, run_script):
    text = tmp_path / "film.mkv"
    text.write_text("no film at all\n" * 100)
    assert_one_line_error(run_script(stages, "check-film", text), "film.mkv", "not an audio or video file")
    assert_one_line_error(run_script(stages, "check-film", tmp_path / "none.mkv"), "none.mkv", "no such file")


def finish_flashing(tmp_path, run_script, lights, *, intro):
    """Finish a square video of five seconds."""
    square = make_media(
        tmp_path / "square.mkv", "-f", "lavfi", "-i", f"nullsrc=s=64x64:r=30:d=5,{lights}", "-c:v", "ffv1"
    )
    sound = make_media(tmp_path / "sound.wav", "-f", "lavfi", "-i", "sine=d=5")
    (tmp_path / "picture.mkv").write_text("what was there before")
    size = ["--width", "128", "--height", "72", "--intro", intro, "--outro", "0", "--title", ""]
    result = run_script(stages, "video", square, sound, tmp_path / "picture.mkv", *size)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["picture.mkv", "sound.wav", "square.mkv"]
    return result


def test_flashes_are_softened(tmp_path, run_script):
    lights = f"format=gray,geq=lum='40+between(T\\,2\\,3.5)*({strobe(5)})'"
    result = finish_flashing(tmp_path, run_script, lights, intro=1)
    assert result.returncode == 0, result.stderr
    begin, end = map(float, re.search(r"at ([\d.]+) to ([\d.]+) s: they are softened", result.stderr).groups())
    assert begin == pytest.approx(3, abs=0.5) and end == pytest.approx(4.5, abs=0.5)  # a second after the square's
    assert watch(tmp_path / "picture.mkv").general.max() <= 3


def test_a_film_that_would_flash_all_the_same_is_not_finished(tmp_path, run_script):
    red = "if(lt(mod(T*5\\,1)\\,0.5)\\,255\\,0)"
    result = finish_flashing(tmp_path, run_script, f"format=gbrp,geq=r='{red}':g=0:b=0", intro=0)
    assert result.returncode == 1
    line = result.stderr.strip().splitlines()[-1]
    assert "square.mkv" in line and "MAPPING=classic" in line and "PULSE" not in line
    assert (tmp_path / "picture.mkv").read_text() == "what was there before"


def test_flashes_are_counted_by_the_colours_that_are_seen(tmp_path, monkeypatch):
    """What is tested while a film is made is what the film shows: filters must not lose what its colours mean."""
    square = make_media(
        tmp_path / "square.mkv", "-f", "lavfi", "-i", "smptebars=s=128x128:r=30:d=1,format=rgb24", "-vf",
        "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", "-colorspace", "bt709", "-color_range", "tv",
    )  # fmt: skip
    sound = make_media(tmp_path / "sound.wav", "-f", "lavfi", "-i", "sine=d=1")
    seen = []
    monkeypatch.setattr(Flashes, "add", lambda self, picture: seen.append(picture) or self.general.append(0))
    finish(square, sound, tmp_path / "film.mkv", width=256, height=144, intro=0, outro=0)
    made = np.array(seen, float)
    seen.clear()
    watch(tmp_path / "film.mkv")
    assert np.abs(made - np.array(seen, float)).mean() < 1.5
