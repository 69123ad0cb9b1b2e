"""The Makefile from end to end, with real MuseScore, SoX and FFmpeg, on a score of a few seconds."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
import tiny_score
from conftest import ROOT, make_media, read_frames
from scipy.signal import resample_poly

from musicvideo import probe
from musicvideo.vision import generators
from musicvideo.vision.labels import resolve

SMALL = ["RESOLUTION=64", "WIDTH=320", "HEIGHT=180", "INTRO=1", "OUTRO=1"]
TINY = ["TITLE=Tiny", *SMALL]
TABLE = """
[panning]
score = "scores/{title}.panning.json"
clock = "media/{title}.mid"
[parts.vibes]
file = "media/parts/{title}/Vibes.wav"
tremolo = { speed = 5, depth = 30 }
set = "vibes"
model = "pan"
reverb = "hall"
send = -12
[parts.marimba]
file = "media/parts/{title}-8d/Marimba.wav"
gain = -9
[reverbs.hall]
[master]
profile = "youtube"
tail = 2
"""
PANNING = {"vibes": [
    {"effect": "straight", "m1": 1, "b1": 1, "m2": 2, "b2": 1, "ear_i": -0.9},
    {"effect": "straight", "m1": 2, "b1": 1, "m2": "end", "ear_i": 0.9},
]}


def checkout(folder: Path) -> Path:
    """A copy of what the pipeline is made of, that uses this test's Python environment."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "*.mkv", "*.mp4", "media", "scores", "tests"))
    (folder / "media").mkdir()
    (folder / "scores").mkdir()
    shutil.copy2(ROOT / "scores" / "song.mix.toml", folder / "scores")
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def make(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run make as a person would, with nothing of this process's make in the way; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    result = subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True,
                            stdin=subprocess.DEVNULL)
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout + result.stderr


def times(folder: Path) -> dict[str, int]:
    """When each product was last written; what ends in a setting's name is not a product."""
    files = [*folder.glob("*.mkv"), *folder.glob("media/[!.]*"), *folder.glob("media/parts/*/*")]
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in files if p.suffix in (".wav", ".mid", ".mp4", ".mkv")}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A checkout in which `make gan build` has run on the tiny score."""
    folder = checkout(tmp_path_factory.mktemp("pipeline") / "project")
    for name in ("Tiny", "Tiny-8d"):
        tiny_score.write(folder / "scores" / f"{name}.mscz")
    (folder / "scores" / "Tiny.mix.toml").write_text(TABLE)
    (folder / "scores" / "Tiny.panning.json").write_text(json.dumps(PANNING))
    message = make(folder, "build", *TINY, code=2)
    assert "media/Tiny.mp4, the square video, is missing: run `make gan` first" in message
    assert not (folder / "media" / "Tiny.mp4").exists()
    make(folder, "-j2", "gan", "build", *TINY, "GENERATOR=cppn")
    return folder


def test_film(built):
    film = probe.probe(built / "Tiny.mkv")
    assert (film.width, film.height, film.frame_rate) == (320, 180, Fraction(30))
    wet = probe.probe(built / "media" / "Tiny-Wet.wav").duration
    assert film.duration == pytest.approx(1 + wet, abs=1 / 30)
    frames = read_frames(built / "Tiny.mkv").astype(float)
    assert len(frames) == pytest.approx(30 * (1 + wet), abs=1)
    untitled = frames[4 * 30 + 5:]
    error = np.mean((untitled - untitled[:, :, ::-1]) ** 2)
    assert 10 * np.log10(255**2 / error) > 40                        # mirrored, but for codec noise on a tiny picture
    assert frames[45:120].std() > 10                                 # and there is something to see,
    assert np.abs(np.diff(frames[45:120], axis=0)).mean() > 0.05     # that moves


def test_square_video_shows_the_whole_song(built):
    square, song = probe.probe(built / "media" / "Tiny.mp4"), probe.probe(built / "media" / "Tiny.wav")
    assert (square.width, square.height, square.frame_rate) == (64, 64, Fraction(30))
    assert square.audio_codec
    assert len(read_frames(built / "media" / "Tiny.mp4")) == pytest.approx(song.duration * 30, abs=1)


@pytest.mark.parametrize("mix", ["Dry", "Wet"])
def test_mix_is_loud_as_asked_and_unclipped(built, mix):
    path = built / "media" / f"Tiny-{mix}.wav"
    samples, rate = soundfile.read(path)
    info = soundfile.info(path)
    assert (rate, info.subtype, info.channels) == (48000, "PCM_24", 2)
    assert pyloudnorm.Meter(rate).integrated_loudness(samples) == pytest.approx(-14, abs=0.5)
    upsampled = np.abs(resample_poly(samples, 4, 1, axis=0)).max()
    assert 20 * np.log10(upsampled) <= -1
    longest = max(probe.probe(p).duration for p in (built / "media" / "parts").glob("*/*.wav") if p.stem in ("Vibes", "Marimba"))
    assert info.duration == pytest.approx(longest + 2, abs=0.05)     # the tail is there


def test_balance_follows_the_panning_score(built):
    samples, rate = soundfile.read(built / "media" / "Tiny-Wet.wav")

    def left_over_right(start, end):
        power = np.mean(samples[int(start * rate):int(end * rate)] ** 2, axis=0)
        return 10 * np.log10(power[0] / power[1])

    assert left_over_right(0.2, 1.8) > 2
    assert left_over_right(2.3, 4.0) < -2
    dry, _ = soundfile.read(built / "media" / "Tiny-Dry.wav")
    samples = dry
    assert abs(left_over_right(0.2, 1.8)) < 1


def test_sound_in_the_film_is_the_wet_mix_after_the_intro(built, tmp_path):
    out = make_media(tmp_path / "out.wav", "-i", built / "Tiny.mkv", "-c:a", "pcm_s24le")
    film, _ = soundfile.read(out)
    wet, _ = soundfile.read(built / "media" / "Tiny-Wet.wav")
    length = min(len(film) - 48000, len(wet))
    assert np.abs(film[:48000]).max() == 0
    assert np.abs(film[48000:48000 + length] - wet[:length]).max() < 2**-23


def test_second_make_does_nothing(built):
    before = times(built)
    printed = make(built, "gan", "build", *TINY, "GENERATOR=cppn")
    assert times(built) == before
    assert "python" not in printed


def test_a_change_rebuilds_what_stands_on_it_and_nothing_else(built):
    def rebuilt(*goals):
        before = times(built)
        make(built, *goals, *TINY, "GENERATOR=cppn")
        after = times(built)
        return {name for name in after if after[name] != before.get(name)}

    (built / "scores" / "Tiny.panning.json").touch()
    mixes = {"media/Tiny-Dry.wav", "media/Tiny-Wet.wav"}
    assert rebuilt("build") == mixes | {"Tiny.mkv"}                  # the same length: the picture stays
    (built / "scores" / "Tiny-8d.mscz").touch()
    layer = {f"media/parts/Tiny-8d/{part}.wav" for part in tiny_score.PARTS} | {"media/Tiny-8d.wav", "media/Tiny-8d.mid"}
    assert rebuilt("amerge") == layer | mixes | {"Tiny.mkv"}
    (built / "media" / "Tiny.mp4").touch()
    assert rebuilt("build") == {"media/Tiny-1080p.mkv", "Tiny.mkv"}
    assert rebuilt("build", "TITLE_TEXT=Other words") == {"media/Tiny-1080p.mkv", "Tiny.mkv"}
    assert rebuilt("gan", "SEED=8") == {"media/Tiny.mp4"}


def test_a_stage_killed_in_the_middle_leaves_no_file_that_looks_done(built):
    film = built / "Tiny.mkv"
    old = film.read_bytes()
    (built / "media" / "Tiny-1080p.mkv").unlink()
    process = subprocess.Popen(["make", "build", *TINY, "WIDTH=3840", "HEIGHT=2160"], cwd=built, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=4)
    os.killpg(process.pid, 9)
    process.wait()
    assert not (built / "media" / "Tiny-1080p.mkv").exists()
    assert film.read_bytes() == old
    make(built, "build", *TINY)
    assert probe.probe(film).width == 320


def test_someone_elses_song(tmp_path):
    """Any path: spaces, quotes, dollar signs, letters beyond ASCII."""
    folder = checkout(tmp_path / "project")
    song = make_media(tmp_path / "Björk's \"$HOME\" #1 (live).mp3", "-f", "lavfi", "-i",
                      "aevalsrc='0.3*sin(660*t)*sin(9*t)|0.3*sin(880*t)*sin(7*t)':d=3")
    variables = [f"SONG={song}", "TITLE=My-Song_1", "GENERATOR=cppn", *SMALL]
    make(folder, "gan", *variables)
    make(folder, "build", *variables)
    film = probe.probe(folder / "My-Song_1.mkv")
    assert film.duration == pytest.approx(1 + probe.probe(folder / "media" / "My-Song_1-Wet.wav").duration, abs=1 / 30)
    before = times(folder)
    make(folder, "gan", "build", *variables)
    assert times(folder) == before
    make_media(song, "-f", "lavfi", "-i", "sine=f=300:d=2")
    make(folder, "gan", "build", *variables)
    after = times(folder)
    assert not [name for name in before if after[name] == before[name]]
    assert probe.probe(folder / "media" / "My-Song_1.wav").duration == pytest.approx(2, abs=0.1)


def test_the_demo_draws_things_by_name(empty):
    (drawing,) = [line for line in make(empty, "-n", "demo").splitlines() if "visualize.py" in line]
    arguments = shlex.split(drawing)
    assert arguments[arguments.index("--generator") + 1] == "pocket"
    first = arguments.index("--classes") + 1
    named = arguments[first:next(i for i in range(first, len(arguments)) if arguments[i].startswith("--"))]
    assert named[0] == "mushroom"
    assert len(set(resolve(named, generators.labels("pocket")))) == 12


def test_settings_reach_the_scripts_as_they_were_given(empty):
    """Dollar signs, a dash to begin with, and 0 for no."""
    variables = ["TITLE=Mine", "SONG=-a.mp3", "WEIGHTS=/w/a$b c", "FONT=x$y", "OVERWRITE=0"]
    printed = make(empty, "gan", "-n", *variables)
    assert "--overwrite" not in printed and 'musicvideo song -- "$SONG"' in printed
    assert "--overwrite" in make(empty, "gan", "-n", *variables[:-1], "OVERWRITE=1")
    assert "FONT=x$y: is not installed" in make(empty, "gan", *variables, code=2)
    assert "no$thing.toml: no such file" in make(empty, "gan", "TITLE=Mine", "MIX=no$thing.toml", code=2)


@pytest.mark.parametrize("title", ["a b", "a/b", "../x", "a;b", "$(shell touch pwned)", "ä", ""])
def test_titles_that_cannot_be(tmp_path, title):
    folder = checkout(tmp_path / "project")
    printed = make(folder, "audio", f"TITLE={title}", code=2)
    assert "letters, digits, - and _" in printed
    assert not (folder / "pwned").exists()


def test_make_says_what_is_wrong(tmp_path):
    folder = checkout(tmp_path / "project")
    assert "no scores/Mine.mscz; write that score, or give a song with SONG=path" in make(folder, "gan", "TITLE=Mine", code=2)
    assert "nowhere.mp3: no such file" in make(folder, "gan", "TITLE=Mine", "SONG=nowhere.mp3", code=2)
    (folder / "scores" / "Mine.mscz").write_text("no score")
    assert "Mine.mscz: is not a MuseScore score" in make(folder, "scores", "TITLE=Mine", code=2)
    assert "give your SONG a TITLE of its own" in make(folder, "gan", "TITLE=Mine", "SONG=a.mp3", code=2)
    assert not any(path.suffix in (".wav", ".mp4") for path in folder.glob("media/*"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A checkout in which nothing has run, with one mix table that is wrong."""
    folder = checkout(tmp_path_factory.mktemp("empty") / "project")
    (folder / "scores" / "wrong.mix.toml").write_text('[parts.a]\nfile = "a.wav"\ngian = 3\n')
    return folder


@pytest.mark.parametrize("goal, setting, words", [
    ("gan", "LOOK=sepia", "LOOK=sepia: unknown (choose none, vintage"),
    ("demo", "FONT=No Such Font", "FONT=No Such Font: is not installed"),
    ("gan", "HEIGHT=0", "1920x0: WIDTH must be a multiple of 4, HEIGHT of 2, both from 16 to 8192"),
    ("demo", "WIDTH=wide", "--width: invalid int value: 'wide'"),
    ("gan", "INTRO=-1", "--intro: -1 is not within 0..60 seconds"),
    ("demo", "PULSE=2", "PULSE=2.0: is not within 0..1"),
    ("gan", "ENCODER=h264_videotoolbox" if sys.platform != "darwin" else "ENCODER=h264_qsv", "choose another"),
    ("demo", "MIX=scores/wrong.mix.toml", "[parts.a]: unknown key 'gian', did you mean 'gain'?"),
])
def test_what_the_film_would_refuse_is_refused_before_anything_is_made(empty, goal, setting, words):
    """Before even the song is looked at, which is not there."""
    printed = make(empty, goal, "TITLE=Mine", "SONG=nowhere.mp3", "GENERATOR=cppn", setting, code=2)
    assert words in printed and "nowhere.mp3" not in printed
    assert len([line for line in printed.splitlines() if not line.startswith("make")]) == 1
    assert not list(empty.glob("media/*.*"))


def test_mixes_follow_the_table_and_its_parts_wherever_they_are(tmp_path):
    """Another table by MIX, though its file is older; a part that is not in media/. Else the mixes stay as they are."""
    folder = checkout(tmp_path / "project")
    (folder / "stems").mkdir()
    make_media(folder / "stems" / "a part.wav", "-f", "lavfi", "-i", "sine=f=300:d=2")
    make_media(folder / "media" / "Mine.wav", "-f", "lavfi", "-i", "sine=f=300:d=2")
    for name, tail in (("Mine", 1), ("other", 2)):
        (folder / "scores" / f"{name}.mix.toml").write_text(f'[parts.a]\nfile = "stems/a part.wav"\n[master]\ntail = {tail}\n')
        os.utime(folder / "scores" / f"{name}.mix.toml", (0, 0))
    wet = folder / "media" / "Mine-Wet.wav"

    def mixed(*variables: str) -> bool:
        before = wet.stat().st_mtime_ns if wet.exists() else 0
        make(folder, "audio", "TITLE=Mine", *variables)
        return wet.stat().st_mtime_ns > before

    assert mixed() and not mixed()
    assert mixed("MIX=scores/other.mix.toml") and probe.probe(wet).duration == pytest.approx(4)
    make_media(folder / "stems" / "a part.wav", "-f", "lavfi", "-i", "sine=f=300:d=5")
    assert mixed() and probe.probe(wet).duration == pytest.approx(6)


def test_help_lists_every_target(tmp_path):
    printed = make(checkout(tmp_path / "project"), "help")
    targets = set(" ".join(re.findall(r"^\.PHONY:(.*)", (ROOT / "Makefile").read_text(), re.M)).split())
    assert {"gan", "audio", "video", "merge", "build", "amerge"} < targets
    for target in targets - {"help", "checked", "FORCE"}:
        assert f"make {target} " in printed, target
    for variable in "TITLE SONG GENERATOR RESOLUTION FPS SEED CLASSES WEIGHTS SYSTEM_DEPS".split():
        assert f"  {variable} " in printed


def test_clean(built):
    make(built, "clean", *TINY)
    assert not [path for path in (built / "media").iterdir() if path.name != ".gitkeep"]
    assert (built / "Tiny.mkv").exists()
