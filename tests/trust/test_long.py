"""Long pieces: memory that does not grow with them, and sound and picture together to the end. Only in the campaign."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import ROOT, make_media, read_frames
from musicvideo import probe

from .conftest import CAMPAIGN
from .processes import environment, script

pytestmark = pytest.mark.skipif(not CAMPAIGN, reason="only in the campaign (make test-trust)")

HOURS = 3 * 3600  # seconds
MINUTES = 180  # seconds, of the piece that it is compared with
SLACK = 100e6  # bytes that a longer piece may take beside


# What Linux calls the peak of a process begins with that of the one that started it, so a small one stands between.
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def peak_memory(command: list[object], folder: Path) -> int:
    """Bytes that the largest of a command and the programs that it waited for took at most."""
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, folder / "peak", *map(str, command)],
        cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return int((folder / "peak").read_text()) * 1024


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> dict[int, Path]:
    """The same kind of music for three hours and for three minutes, as mp3."""
    folder = tmp_path_factory.mktemp("long")
    return {
        seconds: make_media(
            folder / f"{seconds}.mp3",
            "-f",
            "lavfi",
            "-i",
            f"aevalsrc='0.3*sin(660*t)*sin(9*t)|0.3*sin(880*t)*sin(7*t)':s=44100:d={seconds}",
            "-b:a",
            "64k",
        )
        for seconds in (MINUTES, HOURS)
    }


FEATURES = """
import sys
from pathlib import Path
from musicvideo.vision.features import Song, cached_features
found = cached_features(Song(sys.argv[1]), 512, cache=Path(sys.argv[2]))
assert abs(found.duration - float(sys.argv[3])) < 1, found.duration
"""


def test_three_hours_of_features(songs, tmp_path):
    """What is kept is 14 numbers a grid point, 43 points a second: 26 MB for three hours, and its copies."""
    used = {
        seconds: peak_memory([sys.executable, "-c", FEATURES, song, tmp_path / "cache", seconds], tmp_path)
        for seconds, song in songs.items()
    }
    assert used[HOURS] < used[MINUTES] + 3 * SLACK, used


def test_three_hours_of_sound(songs, tmp_path):
    """Decoded, then moved around the head."""
    decoded, moved = {}, {}
    for seconds, song in songs.items():
        wav, out = tmp_path / f"{seconds}.wav", tmp_path / f"{seconds}-8d.wav"
        decoded[seconds] = peak_memory(script("musicvideo", "song", song, wav), tmp_path)
        assert soundfile.info(wav).duration == pytest.approx(seconds, abs=0.2)
        moved[seconds] = peak_memory(
            script("eightd", "-i", wav, "-o", out, "--orbit", "16", "--model", "pan"), tmp_path
        )
        assert soundfile.info(out).frames == soundfile.info(wav).frames
        wav.unlink()
        out.unlink()
    assert decoded[HOURS] < decoded[MINUTES] + SLACK, decoded
    assert moved[HOURS] < moved[MINUTES] + SLACK, moved


RENDER = """
import sys
from fractions import Fraction
sys.path.insert(0, "tests")
import stub
from musicvideo.vision.containers import encoding, soundtrack
from musicvideo.vision.render import render
from musicvideo.vision.work import Work
song, output, seconds, flash = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
how = encoding(output, fps=Fraction(30000, 1001), size=16)
work = Work(output)
with work.open({"stub": True}):
    render(stub.Stub(16), stub.flashing(seconds, [flash]), soundtrack(song, output), work, encoding=how, batch_size=240)
"""


def test_half_an_hour_of_video(tmp_path):
    """Memory stays constant; near the end a flash is within a frame of its click, at an odd frame rate."""
    rate, used = 48000, {}
    for seconds in (MINUTES, 1800):
        flash = seconds - 5.0
        song, video = tmp_path / f"{seconds}.wav", tmp_path / f"{seconds}.mkv"
        sound = np.zeros(seconds * rate, np.float32)
        sound[round(flash * rate) :][:480] = 0.9
        soundfile.write(song, sound, rate, subtype="PCM_16")
        used[seconds] = peak_memory([sys.executable, "-c", RENDER, song, video, seconds, flash], tmp_path)
        frames = read_frames(video)
        fps = probe.probe(video).frame_rate
        seen = int(np.argmax(frames.mean(axis=(1, 2)) > 128)) / float(fps)
        heard, _ = soundfile.read(make_media(tmp_path / f"{seconds}-sound.wav", "-i", video))
        click = int(np.argmax(np.abs(heard) > 0.4)) / rate
        assert abs(seen - click) <= 1 / float(fps), json.dumps({"seen": seen, "heard": click})
        assert abs(click - flash) < 0.03  # and it is where it was put
    assert used[1800] < 1.2 * used[MINUTES], used


def test_a_check_of_an_hour(tmp_path):
    used = {}
    for seconds in (MINUTES, 3600):
        film = make_media(
            tmp_path / f"{seconds}.mkv", "-f", "lavfi", "-i", f"testsrc2=s=64x36:r=5:d={seconds}",
            "-f", "lavfi", "-i", f"aevalsrc='0.3*sin(660*t)*sin(9*t)':s=16000:d={seconds}", "-preset", "ultrafast",
        )  # fmt: skip
        used[seconds] = peak_memory(
            [sys.executable, "-m", "musicvideo", "check-film", film, "--plot", tmp_path / "page.png"], tmp_path
        )
    assert used[3600] < used[MINUTES] + SLACK, used
