"""What FFprobe says of a file, and how often it is asked."""

import os
import wave

import pytest

from conftest import make_media
from musicvideo import probe, programs
from musicvideo.errors import MediaError


def runs_of(patch: pytest.MonkeyPatch, name: str) -> list:
    """The commands that `probe` runs from now on by a function of `programs`."""
    runs, run = [], getattr(programs, name)

    def noted(command, **options):
        runs.append(command)
        return run(command, **options)

    patch.setattr(probe, name, noted)
    return runs


@pytest.fixture
def asked(monkeypatch):
    """The runs of FFprobe that describe a file."""
    return runs_of(monkeypatch, "completed_run")


@pytest.fixture
def listed(monkeypatch):
    """The runs of FFprobe that list frames."""
    return runs_of(monkeypatch, "run_with_progress")


def write(path, rate, frames=4000):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, frames, "NONE", ""))
        file.writeframes(bytes(2 * frames))


def test_a_file_is_asked_about_once(asked, tmp_path):
    write(tmp_path / "a.wav", 44100)
    found = [probe.probe(tmp_path / "a.wav") for _ in range(3)]
    assert found[0].sample_rate == 44100 and found.count(found[0]) == 3
    (stream,), chapters = probe.contents(tmp_path / "a.wav")
    assert stream.kind == "audio" and not chapters
    assert len(asked) == 1


def test_a_file_that_has_changed_is_asked_about_again(asked, tmp_path):
    """Also where it has the size and the time of the earlier one."""
    path = tmp_path / "a.wav"
    write(path, 44100)
    assert probe.probe(path).sample_rate == 44100
    before = path.stat()
    write(path, 48000)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_ino) == (before.st_size, before.st_ino)
    assert probe.probe(path).sample_rate == 48000 and len(asked) == 2
    write(tmp_path / "b.wav", 32000)
    os.replace(tmp_path / "b.wav", path)
    assert probe.probe(path).sample_rate == 32000 and len(asked) == 3


def test_the_frames_of_a_file_are_listed_once_until_it_changes(listed, tmp_path):
    def video(seconds):
        make_media(tmp_path / "a.mkv", "-f", "lavfi", "-i", f"color=s=16x16:r=10:d={seconds}")

    video(1)
    assert [probe.picture_duration(tmp_path / "a.mkv") for _ in range(3)] == [pytest.approx(1)] * 3
    assert len(listed) == 1
    video(2)
    assert probe.picture_duration(tmp_path / "a.mkv") == pytest.approx(2) and len(listed) == 2


@pytest.mark.parametrize("ask", [probe.probe, probe.contents, probe.tags, probe.picture_times])
def test_a_missing_file_is_said_before_a_missing_program(ask, tmp_path, monkeypatch):
    monkeypatch.setenv("FFPROBE", "/nowhere/ffprobe")
    with pytest.raises(MediaError, match="no such file$"):
        ask(tmp_path / "a.mkv")
