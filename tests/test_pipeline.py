"""The Makefile from end to end, with real MuseScore, SoX and FFmpeg, on a score of a few seconds."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
from PIL import Image
from scipy.signal import resample_poly
from test_notes import midi_file
from test_sharing import described, sounds_of

import musicvideo.__main__
import tiny_score
from conftest import ROOT, assert_one_line_error, make_media, read_frames
from musicvideo import files, probe
from musicvideo.sound.mastering import measure
from musicvideo.sound.table import read_mix
from musicvideo.vision import generators
from musicvideo.vision.conduct import read_conduct
from musicvideo.vision.labels import resolve
from musicvideo.vision.record import checksum
from musicvideo.vision.record import read as settings_of

RATE = 12  # frames a second
SMALL = ["RESOLUTION=32", f"FPS={RATE}", "WIDTH=320", "HEIGHT=180", "INTRO=1", "OUTRO=1"]
TINY = ["TITLE=Tiny", *SMALL]
WHOLE = ["gan", "build", *TINY, "GENERATOR=cppn"]  # the whole film of the score
MADE: dict[Path, dict[Path, int]] = {}  # of each checkout: what the whole film consisted of when it was made last
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
LAYER = ("Bells", "Marimba")  # parts of the second score; each takes MuseScore a second
PANNING = {
    "vibes": [
        {"effect": "straight", "m1": 1, "b1": 1, "m2": 2, "b2": 1, "ear_i": -0.9},
        {"effect": "straight", "m1": 2, "b1": 1, "m2": "end", "ear_i": 0.9},
    ]
}


def checkout(folder: Path) -> Path:
    """A copy of the pipeline's files, set up with this test's Python environment."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "*.mkv", "*.mp4", "media", "scores", "tests"))
    for name in ("media", "scores", ".venv"):
        (folder / name).mkdir()
    shutil.copy2(ROOT / "scores" / "song.mix.toml", folder / "scores")
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    for name in ("programs", "sox", "packages"):
        (folder / ".venv" / f".musicvideo-{name}").touch()
    return folder


def make(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run make without the variables of an outer make; returns its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    result = subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout + result.stderr


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start make in a process group of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.Popen(
        ["make", *arguments],
        cwd=folder,
        env=environment,
        start_new_session=True,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait_for(happened: Callable[[], object], process: subprocess.Popen) -> None:
    """Wait until a condition holds; fail if the process ends first."""
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def times(folder: Path) -> dict[str, int]:
    """Modification times of the products; files of settings are not products."""
    found = [*folder.glob("*.mkv"), *folder.glob("media/[!.]*"), *folder.glob("media/parts/*/*")]
    products = [path for path in found if path.suffix in (".wav", ".mid", ".mp4", ".mkv")]
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in products}


def of_whole(folder: Path) -> dict[Path, int]:
    """Modification times of all that belongs to the whole film: what it is made of, its settings, and itself."""
    patterns = (
        "scores/*", "media/Tiny.*", "media/Tiny-[18DW]*", "media/Tiny-cover.jpg", "media/*/Tiny*/*",
        "media/*/Tiny.json", "Tiny.mkv",
    )  # fmt: skip
    return {path: path.stat().st_mtime_ns for pattern in patterns for path in folder.glob(pattern)}


def bring_up_to_date(folder: Path) -> None:
    """Make the whole film, unless nothing has changed since a test made it: make would take a second to find that."""
    if MADE.get(folder) != of_whole(folder):
        make(folder, *WHOLE)
        remember(folder)


def remember(folder: Path) -> None:
    """Note that the whole film has just been made."""
    MADE[folder] = of_whole(folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A checkout in which `make gan build` has run on the tiny score."""
    folder = checkout(tmp_path_factory.mktemp("pipeline") / "project")
    credits = {"composer": "A. Nobody", "copyright": "CC BY 4.0"}
    tiny_score.write(folder / "scores" / "Tiny.mscz", credits=credits)
    tiny_score.write(folder / "scores" / "Tiny-8d.mscz", names=LAYER)
    (folder / "scores" / "Tiny.mix.toml").write_text(TABLE)
    (folder / "scores" / "Tiny.panning.json").write_text(json.dumps(PANNING))
    message = make(folder, "build", *TINY, code=2)
    assert "media/Tiny.mp4, the square video, is missing: run `make gan` first" in message
    assert not (folder / "media" / "Tiny.mp4").exists()
    make(folder, "-j2", *WHOLE)
    remember(folder)
    return folder


def test_film(built):
    film = probe.probe(built / "Tiny.mkv")
    assert (film.width, film.height, film.frame_rate) == (320, 180, Fraction(RATE))
    wet = probe.probe(built / "media" / "Tiny-Wet.wav").duration
    assert film.duration == pytest.approx(1 + wet, abs=1 / RATE)
    frames = read_frames(built / "Tiny.mkv").astype(float)
    assert len(frames) == pytest.approx(RATE * (1 + wet), abs=1)
    untitled = frames[4 * RATE + 5 :]
    error = np.mean((untitled - untitled[:, :, ::-1]) ** 2)
    assert 10 * np.log10(255**2 / error) > 40  # mirrored, but for codec noise on a tiny picture
    seen = frames[RATE * 3 // 2 : RATE * 4]
    assert seen.std() > 10  # and there is something to see,
    assert np.abs(np.diff(seen, axis=0)).mean() > 0.05  # that moves


def test_the_film_of_the_score_passes_its_check(built):
    printed = make(built, "check", *TINY)
    assert "BROKEN" not in printed and "General flashes" in printed
    document = json.loads((built / "media" / "Tiny-check.json").read_text())
    figures = {each["name"]: each["value"] for each in document["checks"]}
    assert document["passes"] and figures["Settings"] == checksum(settings_of(built / "media" / "Tiny.mp4"))
    assert figures["Loudness"] == pytest.approx(-14, abs=0.5) and figures["Asymmetry"] < 2
    assert (built / "media" / "Tiny-check.png").exists()


def test_square_video_shows_the_whole_song(built):
    square, song = probe.probe(built / "media" / "Tiny.mp4"), probe.probe(built / "media" / "Tiny.wav")
    assert (square.width, square.height, square.frame_rate) == (32, 32, Fraction(RATE))
    assert square.audio_codec
    assert len(read_frames(built / "media" / "Tiny.mp4")) == pytest.approx(song.duration * RATE, abs=1)


@pytest.mark.parametrize("mix", ["Dry", "Wet"])
def test_mix_is_loud_as_asked_and_unclipped(built, mix):
    path = built / "media" / f"Tiny-{mix}.wav"
    samples, rate = soundfile.read(path)
    info = soundfile.info(path)
    assert (rate, info.subtype, info.channels) == (48000, "PCM_24", 2)
    assert pyloudnorm.Meter(rate).integrated_loudness(samples) == pytest.approx(-14, abs=0.5)
    upsampled = np.abs(resample_poly(samples, 4, 1, axis=0)).max()
    assert 20 * np.log10(upsampled) <= -1
    parts = [*built.glob("media/parts/*/Vibes.wav"), *built.glob("media/parts/*/Marimba.wav")]
    longest = max(probe.probe(part).duration for part in parts)
    assert info.duration == pytest.approx(longest + 2, abs=0.05)  # the tail is there


def test_balance_follows_the_panning_score(built):
    samples, rate = soundfile.read(built / "media" / "Tiny-Wet.wav")

    def left_over_right(start, end):
        power = np.mean(samples[int(start * rate) : int(end * rate)] ** 2, axis=0)
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
    assert np.abs(film[48000 : 48000 + length] - wet[:length]).max() < 2**-23


def test_the_film_carries_its_listens_a_cover_and_credits(built, tmp_path):
    found = described(built / "Tiny.mkv")
    _, *sounds, cover = found["streams"]
    titles = ["8D (headphones)", "Stereo (loudspeakers)", "Rehearsal: vibes", "Rehearsal: marimba"]
    assert [stream["tags"]["title"] for stream in sounds] == titles
    assert [stream["disposition"]["default"] for stream in sounds] == [1, 0, 0, 0]
    assert cover["tags"]["mimetype"] == "image/jpeg" and (cover["width"], cover["height"]) == (320, 180)
    tags = {name.lower(): text for name, text in found["format"]["tags"].items()}
    assert (tags["title"], tags["composer"], tags["license"]) == ("Tiny", "A. Nobody", "CC BY 4.0")
    assert tags["software"].startswith("musicvideo ")
    assert [chapter["tags"]["title"] for chapter in found["chapters"]] == ["A: Calm", "B"]
    heard = sounds_of(built / "Tiny.mkv", tmp_path)
    loudness = [pyloudnorm.Meter(48000).integrated_loudness(samples) for samples in heard]
    assert loudness == pytest.approx([loudness[0]] * 4, abs=0.5)
    # Every stream begins with the first note, after the intro; the parts' attacks differ by less than a frame.
    begins = [np.argmax(np.abs(samples).max(axis=1) > 0.01) / 48000 for samples in heard]
    assert begins == pytest.approx([1] * 4, abs=1 / RATE)


def test_a_film_at_a_glance(built):
    make(built, "strip", *TINY)
    page = Image.open(built / "media" / "Tiny-strip.jpg")
    assert page.width == 1600
    assert page.height == pytest.approx(1600 * 9 / 16, abs=20)  # four by four, each 16:9


def test_other_listens_need_only_another_merge(built):
    bring_up_to_date(built)
    kept = [*built.glob("media/Tiny*.*"), *built.glob("media/rehearsals/Tiny*"), *built.glob("media/rehearsals/Tiny/*")]
    before = [path.stat().st_mtime_ns for path in kept if path.suffix != ".listens"]
    make(built, "build", *TINY, "LISTENS=main")
    assert sum(stream["codec_type"] == "audio" for stream in described(built / "Tiny.mkv")["streams"]) == 1
    make(built, "Tiny.mp4", *TINY)
    assert [stream["codec_name"] for stream in described(built / "Tiny.mp4")["streams"][:2]] == ["h264", "aac"]
    assert sum(stream["codec_type"] == "audio" for stream in described(built / "Tiny.mp4")["streams"]) == 1
    said = make(built, "build", *TINY)
    remember(built)
    assert "Tiny.mkv: 8D (headphones), Stereo (loudspeakers), Rehearsal: vibes, Rehearsal: marimba" in said
    assert [path.stat().st_mtime_ns for path in kept if path.suffix != ".listens"] == before
    assert "LISTENS=loud: unknown (choose main, all)" in make(built, "build", *TINY, "LISTENS=loud", code=2)


def test_a_song_has_nothing_to_rehearse(built):
    """And its excerpt begins where it is told to."""
    said = make(
        built, "gan", "build", "TITLE=Sung", "SONG=media/Tiny.wav", *SMALL, "GENERATOR=cppn", "MAPPING=classic",
        "START=1", "DURATION=2",
    )  # fmt: skip
    assert "Sung-excerpt.mkv: 8D (headphones), Stereo (loudspeakers) (mixed of one part: there is nothing to" in said
    assert len(read_frames(built / "Sung-excerpt.mkv")) == RATE * (1 + 2)
    assert not (built / "Sung.mkv").exists()


def test_an_excerpt_is_a_film_of_its_own_and_looks_and_sounds_like_the_whole(built, tmp_path):
    bring_up_to_date(built)
    before = times(built)
    excerpt = [*WHOLE, "START=1.5", "DURATION=2", "INTRO=0"]
    make(built, *excerpt)
    after = times(built)
    assert {name for name in after if after[name] != before.get(name)} == {
        "media/Tiny-excerpt.mp4", "media/Tiny-excerpt-1080p.mkv", "Tiny-excerpt.mkv"
    }  # fmt: skip
    part, whole = (read_frames(built / "media" / f"Tiny{name}.mp4").astype(int) for name in ("-excerpt", ""))
    assert len(part) == 2 * RATE
    errors = [np.abs(part - whole[first : first + len(part)]).mean() for first in range(len(whole) - len(part))]
    assert np.argmin(errors) == 1.5 * RATE and min(errors) < 3  # the codec's
    (built / "out").mkdir(exist_ok=True)
    heard, *others = sounds_of(built / "Tiny-excerpt.mkv", built / "out")
    wet, rate = soundfile.read(built / "media" / "Tiny-Wet.wav")
    assert heard.shape == (2 * rate, 2) and len(others) == 3
    middle = slice(rate // 10, rate)
    assert np.abs(heard[middle] - wet[round(1.5 * rate) :][middle]).max() < 2**-22
    assert [chapter["tags"]["title"] for chapter in described(built / "Tiny-excerpt.mkv")["chapters"]] == [
        "A: Calm",
        "B",
    ]

    make(built, *WHOLE)
    assert times(built) == after  # the whole film was up to date all the while,
    assert "python" not in make(built, *excerpt)  # and so is the excerpt
    film = (built / "Tiny-excerpt.mkv").read_bytes()
    said = make(built, *WHOLE, "INTRO=0", "START=99", code=2)
    assert "START=99: lies beyond the end of media/Tiny.wav" in said
    assert len([line for line in said.splitlines() if "error" in line]) == 1
    assert (built / "Tiny-excerpt.mkv").read_bytes() == film
    assert times(built) == after


def test_a_preview_is_small_and_leaves_the_film_alone(built):
    bring_up_to_date(built)
    before = times(built)
    make(built, "preview", "TITLE=Tiny", f"FPS={RATE}", "WIDTH=640", "HEIGHT=360", "DURATION=2")
    after = times(built)
    assert {name for name in after if after[name] != before.get(name)} == {
        "media/Tiny-preview.mp4", "media/Tiny-preview-1080p.mkv", "Tiny-preview.mkv"
    }  # fmt: skip
    film = probe.probe(built / "Tiny-preview.mkv")
    assert (film.width, film.height, film.duration) == (160, 90, pytest.approx(2, abs=0.01))
    make(built, *WHOLE)
    assert times(built) == after
    assert "make preview goes by itself" in make(built, "preview", "build", *TINY, code=2)


def test_a_short_and_a_poster_are_made_of_the_square_video(built):
    bring_up_to_date(built)
    before = times(built)
    make(built, "short", "poster", *TINY)
    assert {name: when for name, when in times(built).items() if name in before} == before
    video, sound = described(built / "Tiny-short.mp4")["streams"]
    assert (video["width"], video["height"], video["codec_name"], sound["codec_name"]) == (1080, 1920, "h264", "aac")
    assert float(video["duration"]) == pytest.approx(probe.probe(built / "media" / "Tiny.wav").duration, abs=0.2)
    assert Image.open(built / "Tiny-poster.png").size == (640, 360)
    made = (built / "Tiny-short.mp4").stat().st_mtime_ns
    assert "python" not in make(built, "short", "poster", *TINY)
    said = make(built, "-k", "short", "poster", *TINY, "START=1", "LENGTH=0", code=2)
    assert "LENGTH=0: a short lasts 15 to 60 s" in said and "drawn anew, at 1.0 s" in said
    assert "FONT=No Such: is not installed" in make(built, "poster", *TINY, "FONT=No Such", code=2)
    assert (built / "Tiny-short.mp4").stat().st_mtime_ns == made
    assert "Other.mp4, the square video, is missing: run `make gan` first" in make(
        built, "short", "TITLE=Other", code=2
    )


def test_second_make_does_nothing(built):
    before = times(built)
    printed = make(built, *WHOLE)
    remember(built)
    assert times(built) == before
    assert "python" not in printed


def test_an_export_that_was_deleted_is_made_again(built):
    bring_up_to_date(built)
    part = built / "media" / "parts" / "Tiny" / "Bells.wav"
    part.unlink()
    before = times(built)
    make(built, "build", *TINY)
    assert {name for name, when in times(built).items() if before.get(name) != when} == {"media/parts/Tiny/Bells.wav"}


def test_a_change_rebuilds_what_stands_on_it_and_nothing_else(built):
    def rebuilt(*goals):
        before = times(built)
        make(built, *goals, *TINY, "GENERATOR=cppn")
        after = times(built)
        return {name for name in after if after[name] != before.get(name)}

    (built / "scores" / "Tiny.panning.json").touch()
    (built / "scores" / "Tiny-8d.mscz").touch()
    mixes = {"media/Tiny-Dry.wav", "media/Tiny-Wet.wav"}
    layer = {"media/Tiny-8d.wav", "media/Tiny-8d.mid"}
    layer |= {f"media/parts/Tiny-8d/{part}.wav" for part in LAYER}
    assert rebuilt("build") == layer | mixes | {"Tiny.mkv"}  # the same length: the picture stays
    (built / "media" / "Tiny.mp4").touch()
    assert rebuilt("build", "TITLE_TEXT=Other words") == {"media/Tiny-1080p.mkv", "Tiny.mkv"}
    assert rebuilt("gan", "SEED=8") == {"media/Tiny.mp4"}


@pytest.fixture(scope="module")
def plain(built):
    """The same checkout with the same score under another title, exported and without tables."""
    shutil.copy(built / "scores" / "Tiny.mscz", built / "scores" / "Plain.mscz")
    shutil.copytree(built / "media" / "parts" / "Tiny", built / "media" / "parts" / "Plain", copy_function=shutil.copy)
    for suffix in (".wav", ".mid"):
        shutil.copy(built / "media" / f"Tiny{suffix}", built / "media" / f"Plain{suffix}")
    return built


def test_a_score_without_a_table_is_mixed_from_its_balanced_parts(plain):
    table = plain / "media" / "Plain.mix.toml"
    make(plain, "checked", "TITLE=Plain")
    assert "LOOK=sepia: unknown" in make(plain, "gan", "TITLE=Plain", "LOOK=sepia", code=2)
    assert not table.exists()
    assert "media/Plain.mix.toml -> media/Plain-Dry.wav" in make(plain, "-j2", "audio", "TITLE=Plain")
    mix = read_mix(table, "Plain")
    assert [part.file for part in mix.parts.values()] == [f"media/parts/Plain/{name}.wav" for name in tiny_score.PARTS]
    levels = [measure(plain / part.file).integrated + part.gain for part in mix.parts.values()]
    assert np.ptp(levels) <= 0.5
    for name in ("Dry", "Wet"):
        sound, rate = soundfile.read(plain / "media" / f"Plain-{name}.wav")
        assert pyloudnorm.Meter(rate).integrated_loudness(sound) == pytest.approx(-14, abs=0.5)

    before = [path.stat().st_mtime_ns for path in (table, plain / "media" / "Plain-Wet.wav")]
    make(plain, "audio", "TITLE=Plain")
    assert [path.stat().st_mtime_ns for path in (table, plain / "media" / "Plain-Wet.wav")] == before
    part = plain / "media" / "parts" / "Plain" / "Bells.wav"
    sound, rate = soundfile.read(part)
    with files.atomic(part) as partial:
        soundfile.write(partial, sound * 0.7, rate)  # 3 dB
    make(plain, "audio", "TITLE=Plain")
    assert read_mix(table, "Plain").parts["Bells"].gain == pytest.approx(mix.parts["Bells"].gain + 3, abs=0.5)

    said = make(plain, "audio", "TITLE=Plain", "MIX=scores/song.mix.toml")
    assert "scores/song.mix.toml -> media/Plain-Dry.wav" in said


def test_tables_are_written_as_a_start_and_never_over(plain):
    tables = [plain / "scores" / f"Plain.{kind}.toml" for kind in ("mix", "conduct")]
    said = make(plain, "tables", "TITLE=Plain")
    assert all(f"scores/{table.name} is written" in said for table in tables)
    assert list(read_mix(tables[0], "Plain").parts) == list(read_conduct(tables[1]).parts) == list(tiny_score.PARTS)
    assert [section.mark for section in read_conduct(tables[1]).sections] == ["A: Calm", "B"]
    assert "[scores/Plain.mix.toml]" in make(plain, "help", "TITLE=Plain")  # which counts from now on
    tables[1].unlink()
    tables[0].write_text(edited := tables[0].read_text().replace("gain = ", "gain = -"))
    said = make(plain, "tables", "TITLE=Plain")
    assert "scores/Plain.mix.toml is there already" in said and "scores/Plain.conduct.toml is written" in said
    assert tables[0].read_text() == edited
    assert "no scores/Nowhere.mscz" in make(plain, "tables", "TITLE=Nowhere", code=2)


def test_a_song_gets_its_tables_too(plain):
    make(plain, "tables", "TITLE=Sung", "SONG=media/Plain.wav", "MIDI=media/Plain.mid")
    scores = plain / "scores"
    assert (scores / "Sung.mix.toml").read_text() == (scores / "song.mix.toml").read_text()
    assert list(read_conduct(scores / "Sung.conduct.toml").parts) == list(tiny_score.PARTS)


def test_a_stage_killed_in_the_middle_leaves_no_file_that_looks_done(built):
    film, picture = built / "Tiny.mkv", built / "media" / "Tiny-1080p.mkv"
    old = film.read_bytes()
    picture.unlink()
    process = start(built, "build", *TINY, "WIDTH=3840", "HEIGHT=2160")
    wait_for(lambda: list(built.glob("media/.Tiny-1080p.*partial*")), process)
    os.killpg(process.pid, 9)
    process.wait()
    assert not picture.exists()
    assert film.read_bytes() == old
    make(built, "build", *TINY)
    assert probe.probe(film).width == 320


def test_a_second_make_of_a_title_says_so(built):
    """It disturbs neither the first one nor existing files; another title can be made at the same time."""
    process = start(built, "gan", *TINY, "GENERATOR=cppn", "RESOLUTION=64", "SEED=5")
    try:
        wait_for(lambda: list(built.glob("media/.Tiny.mp4*")) or list(built.glob("media/.*mp4*/*")), process)
        before = times(built)
        printed = make(built, "gan", "build", *TINY, "GENERATOR=cppn", "SEED=6", code=2)
        assert f"another make (process {process.pid}) works on TITLE=Tiny" in printed
        assert times(built).keys() == before.keys()
        assert "no scores/Other.mscz" in make(built, "gan", "TITLE=Other", code=2)
        make(built, "help", *TINY)
    finally:
        out, _ = process.communicate()
    assert process.returncode == 0, out
    assert settings_of(built / "media" / "Tiny.mp4")["seed"] == 5
    assert settings_of(built / "media" / "Tiny.mp4")["resolution"] == 64


def test_what_another_process_has_finished_stays_when_a_command_fails(built):
    """By itself make would delete a target that a failing command has changed."""
    fails = built / "fails"
    fails.write_text(
        f"#!/bin/sh\ncase $* in *visualize.py*) echo new > media/Tiny.mp4; exit 1;; esac\n"
        f'exec "{built}/.venv/bin/python" "$@"\n'
    )
    fails.chmod(0o755)
    make(built, "gan", *TINY, "GENERATOR=cppn", "SEED=4", f"PY={fails}", code=2)
    assert (built / "media" / "Tiny.mp4").read_text() == "new\n"


def test_someone_elses_song(tmp_path):
    """Any path: spaces, quotes, dollar signs, letters beyond ASCII. MuseScore is not needed."""
    folder = checkout(tmp_path / "project")
    for name in ("programs", "sox"):
        (folder / ".venv" / f".musicvideo-{name}").unlink()
    song = make_media(
        tmp_path / 'Björk\'s "$HOME" #1 (live).mp3',
        "-f",
        "lavfi",
        "-i",
        "aevalsrc='0.3*sin(660*t)*sin(9*t)|0.3*sin(880*t)*sin(7*t)':d=2",
    )
    variables = [
        f"SONG={song}",
        "TITLE=My-Song_1",
        *SMALL,
        "FPS=5",
        "INTRO=0",
        "SEED=3",
        "SYSTEM_DEPS=check",
        "MUSESCORE=/nowhere",
    ]
    pocket = ["GENERATOR=pocket", "CLASSES=mushroom 'spider web' jack-o'-lantern 7"]
    cppn = ["GENERATOR=cppn", "CLASSES=mushroom"]  # draws sooner
    given = midi_file(tmp_path / "it's $(HOME) my.mid", [("Voice", 0, 52, [(0, 480, 60, 90), (480, 480, 64, 90)])])
    assert "no such file: MIDI=nowhere.mid" in make(folder, "gan", *variables, *pocket, "MIDI=nowhere.mid", code=2)
    played = [*variables, f"MIDI={given}"]
    assert "musescore" not in make(folder, "gan", "build", *played, *pocket)
    film, square = probe.probe(folder / "My-Song_1.mkv"), folder / "media" / "My-Song_1.mp4"
    assert film.duration == pytest.approx(probe.probe(folder / "media" / "My-Song_1-Wet.wav").duration, abs=1 / 5)
    assert settings_of(square)["class_names"] == ["mushroom", "spider web", "jack o lantern", "wave"]
    assert settings_of(square)["midi_sha256"] == files.sha256(given)
    before = times(folder)
    make(folder, "gan", "build", *played, *pocket)
    assert times(folder) == before

    # Embedded weights that changed are a reason to draw. Drawing takes seconds, so it is only announced here.
    weights, script = folder / "musicvideo" / "assets" / "pocket" / "model.safetensors", folder / "visualize.py"
    assert settings_of(square)["weights_sha256"] == files.sha256(weights)
    draws, old = script.read_text(), script.stat()
    script.write_text("print('draws')\n")
    os.utime(script, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert "draws" not in make(folder, "gan", *played, *pocket).splitlines()
    weights.touch()
    assert "draws" in make(folder, "gan", *played, *pocket).splitlines()
    script.write_text(draws)

    # Without a MIDI file the notes of the new song are written down.
    before = times(folder)
    make_media(song, "-f", "lavfi", "-i", "sine=f=300:d=1")
    make(folder, "gan", "build", *variables, *cppn)
    after = times(folder)
    assert [name for name in before if after[name] == before[name]] == ["media/My-Song_1.given.mid"]
    assert probe.probe(folder / "media" / "My-Song_1.wav").duration == pytest.approx(1, abs=0.1)
    assert settings_of(square)["midi_sha256"] == files.sha256(folder / "media" / "My-Song_1.notes.mid")
    make(folder, "gan", "build", *variables, *cppn)
    assert times(folder) == after

    # Other notes that are given are drawn, too, though the song is the same.
    midi_file(given, [("Voice", 0, 52, [(0, 480, 67, 90)])])
    make(folder, "gan", *played, *cppn)
    assert times(folder)["media/My-Song_1.mp4"] > after["media/My-Song_1.mp4"]
    assert settings_of(square)["midi_sha256"] == files.sha256(given)


def test_a_video_and_a_mix_made_by_hand_are_finished(empty):
    """Without a score or a song, files made by hand are used and kept."""
    mine = [
        make_media(empty / "media" / "X.mp4", "-f", "lavfi", "-i", "testsrc2=s=64x64:r=12:d=2"),
        make_media(empty / "media" / "X-Wet.wav", "-f", "lavfi", "-i", "sine=f=300:d=2:r=48000", "-ac", "2"),
    ]
    before = [path.read_bytes() for path in mine]
    make(empty, "video", "merge", "TITLE=X", *SMALL)
    film = probe.probe(empty / "X.mkv")
    assert (film.width, film.duration) == (320, pytest.approx(3, abs=1 / RATE))
    (empty / "X.mkv").unlink()
    make(empty, "build", "TITLE=X", *SMALL)
    assert (empty / "X.mkv").exists()
    assert [path.read_bytes() for path in mine] == before
    assert not (empty / "media" / "X-Dry.wav").exists()


@pytest.mark.parametrize("generator", ["cppn", "pocket"])
def test_the_demo_draws_what_the_piece_is_about(empty, generator):
    """Both embedded generators have twelve classes for it; the demo takes the first."""
    printed = make(empty, "help", f"GENERATOR={generator}")
    named = shlex.split(re.search(r"^  CLASSES .* \[(.*)\]$", printed, re.MULTILINE)[1])
    assert len(set(resolve(named, generators.labels(generator)))) == 12
    assert re.search(r"^GENERATOR := cppn$", make(empty, "demo", "-np"), re.MULTILINE)


def test_no_variable_reaches_a_shell(empty):
    """Each variable holds a shell command; none is run.

    So MAPPING is no mapping, and no notes are written down, which would take seconds.
    """
    make_media(empty / "media" / "Evil.wav", "-f", "lavfi", "-i", "sine=f=300:d=1")
    film = "TITLE_TEXT FONT WIDTH HEIGHT MIRROR INTRO OUTRO START DURATION LOOK PULSE ENCODER MIX".split()
    drawing = "GENERATOR RESOLUTION FPS SEED CLASSES WEIGHTS MAPPING".split()
    names = ["SONG", "OVERWRITE", "LENGTH", *film, *drawing]
    evil = {name: f"`touch pwned-{name}`$$(touch pwned-{name}-2)';touch pwned-{name}-3;'\"" for name in names}

    def given(*names: str) -> list[str]:
        return ["TITLE=Evil", *(f"{name}={evil[name]}" for name in names)]

    make(empty, "help", *given(*names))
    make(empty, "gan", *given(*film), code=2)
    make(empty, "gan", "TITLE=Evil2", f"SONG={evil['SONG']}", code=2)
    for name in ("Evil.mp4", "Evil-Wet.wav"):
        shutil.copy(empty / "media" / "Evil.wav", empty / "media" / name)
    said = make(empty, "-k", "short", "storyboard", "weights", *given("START", "LENGTH", *drawing), code=2)
    for option in ("--start: invalid float value", "visualize.py: error", "--resolution: invalid int value"):
        assert option in said  # each of the three has begun
    make(empty, "build", "TITLE=Evil", f"LISTENS={evil['SONG']}", code=2)
    assert not [path.name for path in empty.rglob("pwned*")]


def test_settings_reach_the_scripts_as_they_were_given(empty):
    """Dollar signs, a dash to begin with, and 0 for no."""
    variables = ["TITLE=Mine", "SONG=-a.mp3", "WEIGHTS=/w/a$b c", "FONT=x$y", "OVERWRITE=0"]
    printed = make(empty, "gan", "-n", *variables)
    assert "--overwrite" not in printed and 'musicvideo song -- "$SONG"' in printed
    assert "--overwrite" in make(empty, "gan", "-n", *variables[:-1], "OVERWRITE=1")
    assert "FONT=x$y: is not installed" in make(empty, "gan", *variables, code=2)
    assert "no$thing.toml: no such file" in make(empty, "gan", "TITLE=Mine", "MIX=no$thing.toml", code=2)


@pytest.mark.parametrize("title", ["a b", "a/b", "../x", "a;b", "$(shell touch pwned)", "ä", ""])
def test_titles_that_cannot_be(empty, title):
    printed = make(empty, "audio", f"TITLE={title}", code=2)
    assert "letters, digits, - and _" in printed
    assert not (empty / "pwned").exists()


def test_make_says_what_is_wrong(tmp_path):
    folder = checkout(tmp_path / "project")
    said = make(folder, "gan", "TITLE=Mine", code=2)
    assert "no scores/Mine.mscz; write that score, or give a song with SONG=path" in said
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


@pytest.mark.parametrize(
    "goal, setting, words",
    [
        ("gan", "LOOK=sepia", "LOOK=sepia: unknown (choose none, vintage"),
        ("demo", "MIX=scores/wrong.mix.toml", "[parts.a]: unknown key 'gian', did you mean 'gain'?"),
    ],
)
def test_what_the_film_would_refuse_is_refused_before_anything_is_made(empty, goal, setting, words):
    """The message comes before the missing song is noticed."""
    printed = make(empty, goal, "-j2", "TITLE=Mine", "SONG=nowhere.mp3", "GENERATOR=cppn", setting, code=2)
    assert words in printed and "nowhere.mp3" not in printed
    assert len([line for line in printed.splitlines() if not line.startswith("make")]) == 1
    assert not list(empty.glob("media/Mine*"))


@pytest.mark.parametrize(
    "option, value, words",
    [
        ("--font", "No Such Font", "FONT=No Such Font: is not installed"),
        ("--height", "0", "1920x0: WIDTH must be a multiple of 4, HEIGHT of 2, both from 16 to 8192"),
        ("--width", "wide", "--width: invalid int value: 'wide'"),
        ("--intro", "-1", "--intro: -1 is not within 0..60 seconds"),
        ("--pulse", "2", "PULSE=2.0: is not within 0..1"),
        ("--codec", "h264_videotoolbox" if sys.platform != "darwin" else "h264_qsv", "choose another"),
    ],
)
def test_settings_of_the_film_are_checked(run_script, option, value, words):
    code = 2 if option in ("--width", "--intro") else 1
    result = run_script(
        musicvideo.__main__, "check", ROOT / "scores" / "song.mix.toml", "Mine", "--title", "Mine", f"{option}={value}"
    )
    assert_one_line_error(result, words, code=code)


def test_the_demo_does_not_draw_while_a_part_is_wrong(tmp_path):
    """Even with make -j a fault of the sound is reported first. An empty MIX is the default."""
    folder = checkout(tmp_path / "project")
    make_media(folder / "media" / "Mine.wav", "-f", "lavfi", "-i", "sine=f=300:d=1")
    (folder / "scores" / "Mine.mix.toml").write_text('[parts.a]\nfile = "media/no.wav"\n')
    assert "media/no.wav" in make(folder, "-j2", "demo", "TITLE=Mine", "MIX=", "GENERATOR=cppn", *SMALL, code=2)
    assert not list(folder.glob("media/*.mp4"))


def test_mixes_follow_the_table_and_its_parts_wherever_they_are(empty):
    """MIX names another table, whose file is older; a part is outside media/. Unchanged, the mixes stay as they are."""
    (empty / "stems").mkdir()
    make_media(empty / "stems" / "a part.wav", "-f", "lavfi", "-i", "sine=f=300:d=2")
    make_media(empty / "media" / "Part.wav", "-f", "lavfi", "-i", "sine=f=300:d=2")
    for name, tail in (("Part", 1), ("other", 2)):
        table = empty / "scores" / f"{name}.mix.toml"
        table.write_text(f'[parts.a]\nfile = "stems/a part.wav"\n[master]\ntail = {tail}\n')
        os.utime(table, (0, 0))
    wet = empty / "media" / "Part-Wet.wav"

    def mixed(*variables: str) -> bool:
        before = wet.stat().st_mtime_ns if wet.exists() else 0
        make(empty, "audio", "TITLE=Part", *variables)
        return wet.stat().st_mtime_ns > before

    assert mixed() and not mixed()
    assert mixed("MIX=scores/other.mix.toml") and probe.probe(wet).duration == pytest.approx(4)
    make_media(empty / "stems" / "a part.wav", "-f", "lavfi", "-i", "sine=f=300:d=5")
    assert mixed() and probe.probe(wet).duration == pytest.approx(6)


def test_help_lists_every_target(empty):
    printed = make(empty, "help", "MIX=it's $HOME `x`.toml")
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    targets = set(" ".join(re.findall(r"^\.PHONY:(.*)", makefile, re.MULTILINE)).split())
    assert {"gan", "audio", "video", "merge", "build", "amerge", "strip", "lint", "test-fast"} < targets
    for target in targets - {"help", "checked", "FORCE"}:
        assert f"make {target} " in printed, target
    for variable in "TITLE SONG GENERATOR RESOLUTION FPS SEED CLASSES WEIGHTS SYSTEM_DEPS TORCH_INDEX".split():
        assert f"  {variable} " in printed
    assert "[it's $HOME `x`.toml]" in printed
    assert ("videotoolbox" in printed) == (sys.platform == "darwin")


def test_clean(built):
    make(built, "clean", *TINY)
    assert not [path for path in (built / "media").iterdir() if path.name != ".gitkeep"]
    assert (built / "Tiny.mkv").exists()
