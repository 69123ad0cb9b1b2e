"""From trajectory to file: exact times, interruptions, every container; with real FFmpeg."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT, command, make_media, read_frames, use_ffmpeg
from musicvideo import probe, programs
from musicvideo.errors import MediaError
from musicvideo.vision import codecs
from musicvideo.vision import segments as encoders
from musicvideo.vision.containers import Soundtrack, encoding, soundtrack
from musicvideo.vision.record import read as settings_of
from musicvideo.vision.render import draw, draw_frames, render, render_segments
from musicvideo.vision.segments import SEGMENT_FRAMES, frame_count, segments
from musicvideo.vision.settings import QUALITIES
from musicvideo.vision.work import Work
from stub import Stub, drifting, flashing

CD = 44100
RATES = ["30", "25", "30000/1001", "11025/256", "2997/125"]


@pytest.fixture(scope="session")
def song(tmp_path_factory):
    """Six seconds of tone."""
    return make_media(tmp_path_factory.mktemp("song") / "tone.wav", "-f", "lavfi", "-i", "sine=440:d=6:r=44100")


@cache
def known_soundtrack(song, suffix) -> Soundtrack:
    """The soundtrack of a song in a container; found once, since most tests have the same song and container."""
    return soundtrack(song, f"a{suffix}")


def make(song, output, path=None, *, generator=None, settings=None, overwrite=False, batch_size=30, every=1, **options):
    """Render a path and return the video's path."""
    generator = generator or Stub()
    how = encoding(output, **{"fps": Fraction(30), "size": generator.resolution, **options})
    sound = song if isinstance(song, Soundtrack) else known_soundtrack(song, Path(output).suffix)
    work = Work(output, how.segments)
    with work.open(settings or {"seed": 7}, overwrite=overwrite):
        render(generator, path or drifting(2), sound, work, encoding=how, batch_size=batch_size, every=every)
    return Path(output)


def probed(video, entries, kind="v") -> dict:
    """What FFprobe says of a stream and its packets."""
    arguments = ["-v", "error", "-select_streams", kind, "-show_entries", entries, "-of", "json"]
    return json.loads(programs.run(["ffprobe", *arguments, video], doing="looking"))


def packets(video, found=None) -> tuple[list[int], Fraction]:
    """Presentation times of a video's frames in order, in ticks; and the length of a tick in seconds.

    `found` is what FFprobe said, if it was asked already.
    """
    found = found or probed(video, "packet=pts:stream=time_base")
    return sorted(packet["pts"] for packet in found["packets"]), Fraction(found["streams"][0]["time_base"])


def stream(video, entries, kind="v") -> dict:
    """What FFprobe says of a stream."""
    return probed(video, f"stream={entries}", kind)["streams"][0]


def samples(file, rate=CD) -> np.ndarray:
    """Decoded sound, mono, from the moment a player shows as 0."""
    raw = programs.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            file,
            "-map",
            "0:a",
            "-ac",
            "1",
            "-ar",
            str(rate),
            "-af",
            "aresample=async=1:first_pts=0",
            "-f",
            "f32le",
            "-",
        ],
        doing="decoding",
    )
    return np.frombuffer(raw, "<f4")


# -- Time ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
def test_frame_n_is_shown_at_exactly_n_over_fps_across_segments(song, tmp_path, rate):
    fps = Fraction(rate)
    video = make(song, tmp_path / "a.mp4", drifting(5.5), fps=fps)
    found = probed(video, "packet=pts:stream=time_base,r_frame_rate")
    ticks, tick = packets(video, found)
    assert len(ticks) == frame_count(5.5, fps) > 2 * SEGMENT_FRAMES
    assert [n * tick for n in ticks] == [n / fps for n in range(len(ticks))]
    assert Fraction(found["streams"][0]["r_frame_rate"]) == fps
    assert abs(probe.probe(video).duration - 5.5) <= 1 / fps


@pytest.mark.parametrize("duration", [0.01, 1, 1.009, 7.77, 8, 8.001])
@pytest.mark.parametrize("fps", [Fraction(30), Fraction(30000, 1001), Fraction(1)])
def test_frames_cover_the_song_and_no_frame_more(duration, fps):
    frames = frame_count(duration, fps)
    assert frames >= 1
    assert (frames - 1) / fps < duration < (frames + 1e-3) / fps


def test_segments_are_whole_and_of_fixed_length():
    plan = segments(2 * SEGMENT_FRAMES + 1)
    assert [len(numbers) for numbers in plan] == [SEGMENT_FRAMES, SEGMENT_FRAMES, 1]
    assert [n for numbers in plan for n in numbers] == list(range(2 * SEGMENT_FRAMES + 1))


def test_rounded_lengths_of_segments_do_not_add_up(tmp_path):
    """FFmpeg's concat demuxer adds lengths in whole microseconds; an hour at the finest rate has 20 700 segments."""
    rate = Fraction(343)
    parts = {tmp_path / f"{index}.nut": numbers for index, numbers in enumerate(segments(3600 * 343))}
    script = encoders.concat_script(parts, rate).read_text()
    stated = sum(Fraction(line.split()[1]) for line in script.splitlines() if line.startswith("duration "))
    assert stated == 3600


def test_picture_and_sound_stay_together_for_an_hour(tmp_path, monkeypatch):
    monkeypatch.setattr(encoders, "SEGMENT_FRAMES", 1000)  # fewer processes
    hour, rate, fps = 3600, 8000, Fraction(4000, 1001)
    moments = np.array([1, 61.25, 1800.5, 3000.1, 3590.9])
    clicks = np.zeros(hour * rate, np.int16)
    for moment in moments:
        clicks[round(moment * rate) :][:80] = 20000
    raw = tmp_path / "clicks.raw"
    clicks.tofile(raw)
    song = make_media(tmp_path / "clicks.flac", "-f", "s16le", "-ar", str(rate), "-ac", "1", "-i", raw)
    video = make(song, tmp_path / "hour.mp4", flashing(hour, moments), fps=fps, batch_size=120)

    seen = read_frames(video, "gray", "-threads", "1")  # more threads take longer for tiny frames
    bright = seen.mean(axis=(1, 2)) > 64
    ticks, tick = packets(video)
    assert abs(len(bright) / fps - hour) <= 1 / fps
    shown = [float(ticks[n] * tick) for n in np.flatnonzero(bright[1:] & ~bright[:-1]) + 1]
    sound = np.abs(samples(video, rate)) > 0.2
    onsets = np.flatnonzero(sound[1:] & ~sound[:-1]) / rate
    heard = onsets[np.diff(onsets, prepend=-1) > 0.5]
    np.testing.assert_allclose(heard, moments, atol=0.005)
    delay = np.array(shown) - heard
    assert np.all((delay > -0.01) & (delay < float(1 / fps) + 0.01)), delay


@pytest.fixture(scope="module")
def bursts(tmp_path_factory):
    """A function that gives a song of silence with a burst of noise at 1 s, and the burst; made once for each codec."""
    folder = tmp_path_factory.mktemp("bursts")
    noise = np.zeros(3 * CD, np.float32)
    burst = np.random.default_rng(1).standard_normal(2000) * np.hanning(2000) / 8
    noise[CD : CD + 2000] = burst
    raw = folder / "burst.raw"
    noise.tofile(raw)

    @cache
    def made(codec: str, suffix: str) -> tuple[Path, np.ndarray]:
        how = ["-f", "f32le", "-ar", str(CD), "-ac", "1", "-i", raw, "-c:a", codec, "-b:a", "192k"]
        return make_media(folder / f"burst{suffix}", *how), burst

    return made


@pytest.mark.parametrize(
    "codec, suffix",
    [
        ("mp3", ".mp3"),
        ("aac", ".m4a"),
        ("libopus", ".opus"),
        ("libvorbis", ".ogg"),
        ("flac", ".flac"),
        ("pcm_s16le", ".wav"),
    ],
)
@pytest.mark.parametrize("container", [".mp4", ".webm"])
def test_sound_is_as_early_in_the_video_as_in_the_song(bursts, tmp_path, codec, suffix, container):
    song, burst = bursts(codec, suffix)
    video = make(song, tmp_path / f"a{container}", drifting(3), fps=Fraction(5))
    late = np.argmax(np.correlate(samples(video), burst, "valid")) / CD - 1
    first = float(stream(video, "start_time")["start_time"])
    assert abs(late - first) < 0.004


def test_sound_of_a_film_that_begins_late_begins_with_the_picture(tmp_path):
    burst = make_media(tmp_path / "burst.wav", "-f", "lavfi", "-i", "aevalsrc=0.5*sin(3000*t)*gt(t\\,1):d=3:s=44100")
    film = make_media(
        tmp_path / "film.mkv",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=d=4:s=64x64",
        "-itsoffset",
        "0.5",
        "-i",
        burst,
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c:a",
        "aac",
    )
    sound = samples(make(film, tmp_path / "a.mp4", drifting(3), fps=Fraction(5)))
    assert abs(np.argmax(np.abs(sound) > 0.1) / CD - 1) < 0.04  # Matroska forgets AAC's 23 ms of priming
    assert abs(len(sound) / CD - 3) < 0.05


# -- Interruptions ------------------------------------------------------------------------------------------


FIVE = drifting(5)  # 150 frames, so two whole segments and a half


class Fails(Stub):
    """Fails from a given moment on; the third number of the noise is the time."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def frames(self, noise, classes):
        if noise[:, 2].max() >= self.at:
            raise self.error
        return super().frames(noise, classes)

    error = RuntimeError("out of memory")


class Interrupted(Fails):
    error = KeyboardInterrupt()


@pytest.fixture(scope="module")
def undisturbed(song, tmp_path_factory):
    """The video of `FIVE`, made in one go."""
    return make(song, tmp_path_factory.mktemp("undisturbed") / "a.mp4", FIVE)


@pytest.mark.parametrize("failing", [Fails, Interrupted])
def test_a_run_that_stopped_goes_on_at_the_last_whole_segment(song, undisturbed, tmp_path, failing):
    stopped = tmp_path / "stopped.mp4"
    with pytest.raises(type(failing.error)):
        make(song, stopped, FIVE, generator=failing(at=3.5))
    assert not stopped.exists()
    assert len(Work(stopped).segments()) == 1

    drawn = []

    class Counts(Stub):
        def frames(self, noise, classes):
            drawn.append(len(noise))
            return super().frames(noise, classes)

    make(song, stopped, FIVE, generator=Counts())
    assert sum(drawn) == 150 - SEGMENT_FRAMES
    assert stopped.read_bytes() == undisturbed.read_bytes()
    assert not Work(stopped).folder.exists()


def test_a_run_killed_in_mid_segment_gives_the_same_video(song, undisturbed, tmp_path):
    script = """
import sys, time
from test_render import FIVE, make, Stub
class Stalls(Stub):
    def frames(self, noise, classes):
        if noise[:, 2].max() > 3:                 # in the second segment
            time.sleep(600)
        return super().frames(noise, classes)
make(sys.argv[1], sys.argv[2], FIVE, generator=Stalls(), batch_size=6)
"""
    output = tmp_path / "killed.mp4"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    work, deadline = Work(output), time.monotonic() + 120
    with subprocess.Popen([sys.executable, "-c", script, song, output], env=environment) as process:
        try:
            while not (work.segments() and list(work.folder.glob(".*.nut"))):  # the second is on its way
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
            with pytest.raises(MediaError, match="another run"):
                make(song, output, FIVE)
        finally:
            process.send_signal(signal.SIGKILL)
    assert not output.exists() and len(work.segments()) == 1
    make(song, output, FIVE)
    assert output.read_bytes() == undisturbed.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.mp4", "killed.mp4.json"]


def test_other_settings_start_over_only_when_told_to(song, tmp_path):
    output = tmp_path / "a.mp4"
    with pytest.raises(RuntimeError):
        make(song, output, FIVE, generator=Fails(at=3.5), settings={"seed": 7, "jitter": 0.5})
    with pytest.raises(MediaError, match="jitter 0.5 is now 0.6.*--overwrite"):
        make(song, output, FIVE, settings={"seed": 7, "jitter": 0.6})
    assert Work(output).segments() and Work(output).record() == {"seed": 7, "jitter": 0.5}
    make(song, output, FIVE, settings={"seed": 7, "jitter": 0.6}, overwrite=True)
    assert settings_of(output) == {"seed": 7, "jitter": 0.6}


def test_a_segment_that_lost_its_bytes_is_made_again(song, undisturbed, tmp_path):
    output = tmp_path / "a.mp4"
    with pytest.raises(RuntimeError):
        make(song, output, FIVE, generator=Fails(at=4.5))
    first, second = Work(output).segments()
    os.truncate(first, 0)
    os.truncate(second, second.stat().st_size // 2)
    make(song, output, FIVE)
    assert output.read_bytes() == undisturbed.read_bytes()


def test_a_failure_leaves_an_earlier_video_and_nothing_else(song, tmp_path):
    output = tmp_path / "a.mp4"
    output.write_bytes(b"precious")
    with pytest.raises(RuntimeError):
        make(song, output, FIVE, generator=Fails(at=1))
    assert output.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [output]


def test_an_encoder_that_fails_says_why(song, tmp_path, monkeypatch):
    broken = codecs.Codec("libx264", "-crf", 18, 51, ("-profile:v", "nonsense"))
    with (
        monkeypatch.context() as patch,
        pytest.raises(MediaError, match="codec: libx264 does not work .*64x64.*choose another"),
    ):
        patch.setitem(codecs.DRAWING, "h264", broken)
        encoding("a.mp4", fps=Fraction(30), size=64)
    how, work, sound = encoding("a.mp4", fps=Fraction(30), size=64), Work(tmp_path / "a.mp4"), soundtrack(song, "a.mp4")
    monkeypatch.setitem(codecs.DRAWING, "h264", broken)
    with pytest.raises(MediaError, match="encoding.*ffmpeg failed"), work.open({}):
        render(Stub(), drifting(10), sound, work, encoding=how)
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_hangs_is_ended(song, tmp_path, monkeypatch):
    """The encoder reads a little of its input and then nothing more."""
    output, sound = tmp_path / "a.mp4", soundtrack(song, "a.mp4")
    how = encoding(output, fps=Fraction(30), size=256)
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\nhead -c 100000 > /dev/null\nexec sleep 1000\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("FFMPEG", str(fake))
    monkeypatch.setattr(programs, "STALL", 1)
    work = Work(output)
    with pytest.raises(MediaError, match="encoding .*: ffmpeg hangs: it has taken nothing for 1 s"), work.open({}):
        render(Stub(256), drifting(2), sound, work, encoding=how)
    assert list(tmp_path.iterdir()) == [fake]


def test_segments_of_two_releases_of_ffmpeg_make_one_video(song, tmp_path, monkeypatch):
    """As after an upgrade between two runs: moviepy's FFmpeg is another release than the system's."""
    output = tmp_path / "a.mkv"
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        use_ffmpeg(patch, newer=True)
        make(song, output, FIVE, generator=Fails(at=3.5))
    assert len(Work(output).segments()) == 1
    seen = read_frames(make(song, output, FIVE), "rgb24")
    wanted = draw(Stub(), FIVE, np.arange(150) / 30)
    assert seen.shape == wanted.shape and np.abs(seen.astype(int) - wanted).max() <= 12


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_the_video_has_reached_the_disk_before_its_segments_go(song, tmp_path):
    script = "import sys; from test_render import make, drifting; make(sys.argv[1], sys.argv[2], drifting(2.5))"
    output, log = tmp_path / "out.mp4", tmp_path / "calls.txt"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    traced = subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-s",
            "300",
            "-e",
            "trace=fsync,/rename.*,/unlink.*",
            "-o",
            log,
            sys.executable,
            "-c",
            script,
            song,
            output,
        ],
        env=environment,
        capture_output=True,
        text=True,
    )
    if "ptrace" in traced.stderr and not output.exists():
        pytest.skip("strace may not trace here")
    assert traced.returncode == 0, traced.stderr
    calls = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines() if " = 0" in line]

    def first(pattern: str, after: int = -1) -> int:
        return next(n for n, call in enumerate(calls) if n > after and re.match(pattern, call))

    folder = re.escape(str(tmp_path))
    for whole, place in (
        (rf"{folder}/\.out\.mp4\.render/000000-\w+\.nut", rf"{folder}/\.out\.mp4\.render"),
        (rf"{folder}/out\.mp4", folder),
    ):
        renamed = first(rf'rename\w*\(.*, "{whole}"')
        partial_file = re.search(r'"([^"]*\.partial\.\w+)"', calls[renamed])[1]
        written = first(rf"fsync\(\d+<{re.escape(partial_file)}>\)")
        kept = first(rf"fsync\(\d+<{place}>\)", after=renamed)
        deleted = first(r'unlink\w*\(.*\.nut"')
        assert written < renamed < kept < deleted


# -- Side by side -------------------------------------------------------------------------------------------


def test_drawing_and_encoding_overlap_and_drawing_comes_first(tmp_path, monkeypatch):
    """The encoder's work on a batch waits here until the next batch is being drawn."""
    begun = [threading.Event() for _ in range(4)]  # of the batches, the last of which has none behind it
    begun[3].set()
    niceness = set()
    written = []

    class Waits(programs.Feed):
        def write(self, data):
            written.append(len(data))
            assert begun[len(written)].wait(60), "nothing is drawn while pictures are encoded"
            super().write(data)
            tasks = Path(f"/proc/{self._process.pid}/task")
            threads = [int(task.name) for task in tasks.iterdir()] if tasks.exists() else [self._process.pid]
            niceness.update(os.getpriority(os.PRIO_PROCESS, thread) for thread in threads)

        def __exit__(self, *exception):
            assert begun[len(written)].wait(60), "nothing is drawn while a segment ends"
            super().__exit__(*exception)

    class Begins(Stub):
        calls = 0

        def frames(self, noise, classes):
            begun[self.calls].set()
            self.calls += 1
            return super().frames(noise, classes)

    monkeypatch.setattr(programs, "Feed", Waits)
    how = encoding(tmp_path / "a.mkv", fps=Fraction(30), size=64, codec="ffv1")
    plan = {tmp_path / "0.nut": range(12), tmp_path / "1.nut": range(12, 18)}
    render_segments(Begins(64), drifting(2), plan, encoding=how, batch_size=6)
    assert all(path.exists() for path in plan) and written == [6, 6, 6]
    # Of two busy processes on one core, one ten steps nicer gets a tenth.
    assert niceness == {min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)}


# -- What is in the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix, codec, name",
    [
        (".mp4", None, "h264"),
        (".mov", None, "h264"),
        (".mkv", None, "h264"),
        (".webm", None, "vp9"),
        (".mp4", "hevc", "hevc"),
        (".mp4", "av1", "av1"),
        (".mkv", "ffv1", "ffv1"),
        (".webm", "av1", "av1"),
    ],
)
def test_every_container_and_codec(song, tmp_path, suffix, codec, name):
    video = make(song, tmp_path / f"a{suffix}", drifting(1), generator=Stub(64), codec=codec, fps=Fraction(10))
    found = stream(video, "codec_name,pix_fmt,color_space,color_range")
    assert found["codec_name"] == name
    if name != "ffv1":
        assert (found["pix_fmt"], found["color_space"], found["color_range"]) == ("yuv420p", "bt709", "tv")
    wanted = draw(Stub(64), drifting(1), np.arange(10) / 10)
    seen = read_frames(video, "rgb24")
    assert seen.shape == wanted.shape
    assert np.abs(seen.astype(int) - wanted).max() <= (0 if name == "ffv1" else 12)
    assert settings_of(video) == settings_of(f"{video}.json") == {"seed": 7}


class Cut(Stub):
    """Has a matte, a disc with a soft edge that moves; fails from a given moment on."""

    def __init__(self, at=math.inf):
        super().__init__(64)
        self.at = at

    def frames_rgba(self, noise, classes):
        if noise[:, 2].max() >= self.at:
            raise Fails.error
        down, across = np.indices((64, 64))
        places = 32 + 20 * noise[:, 0, None, None]
        alpha = 255 * np.clip((16 - np.hypot(across - places, down - 32)) / 6, 0, 1)
        return np.concatenate([self.frames(noise, classes), alpha.astype(np.uint8)[..., None]], axis=-1)


@pytest.mark.parametrize("suffix, decoder", [(".mov", ()), (".webm", ("-c:v", "libvpx-vp9"))])
def test_a_transparent_video_has_the_alpha_that_was_drawn_interrupted_or_not(song, tmp_path, suffix, decoder):
    path, whole, stopped = drifting(2.6), tmp_path / f"whole{suffix}", tmp_path / f"stopped{suffix}"
    make(song, whole, path, generator=Cut(), alpha=True)
    seen, wanted = read_frames(whole, "rgba", *decoder), draw(Cut(), path, np.arange(78) / 30, alpha=True)
    assert seen.shape == wanted.shape == (78, 64, 64, 4) and wanted[..., 3].std() > 50
    errors = np.square(seen.astype(float) - wanted).mean(axis=(0, 1, 2))
    assert max(errors[:3].mean(), errors[3]) < 255**2 / 1e4  # 40 dB
    assert stream(whole, "color_space")["color_space"] == "bt709"
    times, _ = probe.picture_times(whole)
    times = np.array(times) - times[0]  # a WebM begins with the delay of Opus, and rounds to milliseconds
    assert np.abs(times - np.arange(78) / 30).max() < (1e-6 if suffix == ".mov" else 1.1e-3)
    with pytest.raises(RuntimeError):
        make(song, stopped, path, generator=Cut(at=2.2), alpha=True)
    assert len(Work(stopped).segments()) == 1
    make(song, stopped, path, generator=Cut(), alpha=True)
    np.testing.assert_array_equal(read_frames(stopped, "rgba", *decoder), seen)
    assert not Work(stopped).folder.exists()


def test_mp4_starts_at_once_and_says_its_colours(song, tmp_path):
    video = make(song, tmp_path / "a.mp4", drifting(1))
    data = video.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    found = stream(video, "color_space,color_transfer,color_primaries,color_range")
    assert set(found.values()) == {"bt709", "tv"}


def test_lossless_video_holds_the_drawing_whatever_the_batch(song, tmp_path):
    path = drifting(3)
    wanted = draw(Stub(), path, np.arange(90) / 30)
    assert len(wanted) > SEGMENT_FRAMES
    for batch_size in (1, 7, 1000):
        video = make(song, tmp_path / f"{batch_size}.mkv", path, codec="ffv1", batch_size=batch_size)
        np.testing.assert_array_equal(read_frames(video, "rgb24"), wanted)


@pytest.mark.parametrize(
    "suffix, container, copied",
    [
        (".mp3", ".mp4", "mp3"),
        (".m4a", ".mp4", "aac"),
        (".wav", ".mp4", None),
        (".flac", ".mkv", "flac"),
        (".wav", ".mov", "pcm_s16le"),
        (".ogg", ".webm", "vorbis"),
        (".mp3", ".webm", None),
    ],
)
def test_sound_is_copied_where_the_container_can_hold_it(song, tmp_path, suffix, container, copied):
    encoder = ["-c:a", "libvorbis"] if suffix == ".ogg" else []
    original = make_media(tmp_path / f"song{suffix}", "-i", song, *encoder)
    video = make(original, tmp_path / f"a{container}", drifting(2))
    found = stream(video, "codec_name", "a")["codec_name"]
    assert found == (copied or {".mp4": "aac", ".webm": "opus"}[container])
    assert abs(len(samples(video)) / CD - 2) < 0.1


@pytest.mark.parametrize(
    "suffix, container, options",
    [
        (".mp3", ".mp4", ["-ar", "11025"]),
        (".mov", ".mkv", ["-c:a", "adpcm_ima_qt"]),
        (".aiff", ".mkv", ["-c:a", "pcm_s8"]),
    ],
)
def test_sound_that_the_container_refuses_after_all_is_encoded(song, tmp_path, suffix, container, options):
    video = make(make_media(tmp_path / f"song{suffix}", "-i", song, *options), tmp_path / f"a{container}", drifting(2))
    assert stream(video, "codec_name", "a")["codec_name"] == "aac"
    assert abs(len(samples(video)) / CD - 2) < 0.1


def test_a_very_small_offset_of_the_sound(song, tmp_path):
    """Python writes 2.3e-05 with an exponent, which FFmpeg refuses."""
    sound = soundtrack(song, "a.mp4")
    video = make(Soundtrack(sound.song, 2.3e-05, sound.options), tmp_path / "a.mp4", drifting(1))
    assert abs(probe.probe(video).audio_duration - 1) < 0.05


@pytest.mark.parametrize("end", ["echo No space left on device >&2; exit 1", "kill -KILL $$"])
def test_a_full_disk_and_a_killed_program_are_no_reason_to_encode_the_sound(song, tmp_path, monkeypatch, end):
    """The trial of a copy says nothing then of what the container holds."""
    original = make_media(tmp_path / "tone.mp3", "-i", song)
    failing = tmp_path / "ffmpeg"
    failing.write_text(f"#!/bin/sh\n{end}\n")
    failing.chmod(0o755)
    monkeypatch.setenv("FFMPEG", str(failing))
    with pytest.raises(MediaError, match="trying the sound of"):
        soundtrack(original, "a.mkv")


@pytest.fixture(scope="module")
def surround(tmp_path_factory):
    """A function that gives a song of many channels; made once for each layout."""
    folder = tmp_path_factory.mktemp("surround")

    @cache
    def made(layout: str) -> Path:
        noise = f"anoisesrc=d=0.5:r=96000,aformat=channel_layouts={layout}"
        return make_media(folder / f"{layout}.wav", "-f", "lavfi", "-i", noise)

    return made


@pytest.mark.parametrize("layout", ["5.1", "7.1", "quad"])
@pytest.mark.parametrize("container", [".mp4", ".webm"])
def test_sound_of_many_channels(surround, tmp_path, layout, container):
    song = surround(layout)
    video = make(song, tmp_path / f"a{container}", drifting(0.5))
    assert stream(video, "channels", "a")["channels"] >= 4


def test_output_size_scales(song, tmp_path):
    video = make(song, tmp_path / "a.mp4", drifting(1), generator=Stub(32), size=128)
    found = probe.probe(video)
    assert (found.width, found.height) == (128, 128)


@pytest.mark.parametrize("size", [32, 96, 200])
def test_output_size_scales_by_lanczos(song, tmp_path, size):
    noise = np.random.default_rng(0).integers(60, 196, (64, 64, 3), np.uint8)

    class Noise(Stub):
        def frames(self, vectors, classes):
            return np.broadcast_to(noise, (len(vectors), *noise.shape))

    video = make(song, tmp_path / "a.mkv", drifting(1), generator=Noise(64), size=size, codec="ffv1", fps=Fraction(2))
    seen = read_frames(video, "rgb24")[0].astype(float)
    edge = size // 8  # scalers differ in how they continue a picture beyond its edges

    def distance(method):
        """Peak signal to noise ratio in dB."""
        wanted = np.asarray(Image.fromarray(noise).resize((size, size), method), float)
        return 10 * np.log10(255**2 / np.mean((seen - wanted)[edge:-edge, edge:-edge] ** 2))

    assert distance(Image.Resampling.LANCZOS) > 40
    assert distance(Image.Resampling.LANCZOS) > distance(Image.Resampling.BICUBIC) + 10


def test_song_and_video_of_any_name(song, tmp_path):
    name = "-it's 50%d: “ü” #[1]"
    original = tmp_path / f"{name}.wav"
    original.write_bytes(Path(song).read_bytes())
    video = make(original, tmp_path / f"{name}.mp4", drifting(1))
    assert probe.probe(video).audio_codec == "aac"


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names")
def test_names_in_no_encoding(song, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    original = folder / os.fsdecode(b"\xfe.wav")
    original.write_bytes(Path(song).read_bytes())
    drawing = ["--generator", "cppn", "--resolution", "16", "--fps", "2", "--duration", "2"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    words = ["--song", original, *drawing, "--output_file", folder / "a.mp4"]
    drawn = command("visualize.py", *words, env=environment)
    assert drawn.returncode == 0, drawn.stderr
    decoded = command("-m", "musicvideo", "song", original, folder / "a.wav", env=environment)
    assert decoded.returncode == 0 and "\\udcfe.wav" in decoded.stdout, decoded.stderr


@pytest.mark.parametrize(
    "output, options, words",
    [
        ("a.avi", {}, [".avi", ".mp4 .mov .mkv .webm"]),
        ("a.webm", {"codec": "h264"}, [".webm", "h264", "vp9"]),
        ("a.mp4", {"codec": "ffv1"}, ["ffv1", ".mkv"]),
        ("a.mp4", {"codec": "h265"}, ["h265", "hevc"]),
        ("a.mp4", {"crf": 52}, ["crf", "52", "0..51"]),
        ("a.mkv", {"codec": "ffv1", "crf": 3}, ["ffv1", "lossless"]),
        ("a.mp4", {"alpha": True}, ["background", "a.mp4", ".mov or .webm"]),
        ("a.mov", {"alpha": True, "codec": "h264"}, ["codec", ".mov", "prores", "h264", "leave out"]),
        ("a.webm", {"alpha": True, "codec": "av1"}, ["codec", ".webm", "vp9", "av1", "leave out"]),
        ("a.mp4", {"size": 33}, ["33x33", "even"]),
        ("a.mp4", {"size": 8194}, ["8194x8194", "16..8192"]),
        ("a.mp4", {"fps": Fraction(0)}, ["fps", "1..345"]),
    ],
)
def test_what_cannot_be_encoded_is_refused_with_the_choices(output, options, words):
    with pytest.raises(ValueError) as error:
        encoding(output, **{"fps": Fraction(30), "size": 64, **options})
    assert all(word in str(error.value) for word in words)


def test_a_stranger_s_video_has_no_settings(song, tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("no media\n")
    for path in (song, text):
        with pytest.raises(MediaError, match="holds no settings"):
            settings_of(path)


@pytest.mark.parametrize("text", ["[]", "5", "null", '"a"', "{"])
def test_json_of_another_kind_has_no_settings(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(MediaError, match="holds no settings"):
        settings_of(tmp_path / "a.json")


class Counting(Stub):
    """Knows how many pictures it drew."""

    drawn = 0

    def frames(self, noise, classes):
        self.drawn += len(noise)
        return super().frames(noise, classes)


def test_a_draft_draws_one_frame_in_three_and_fades_from_one_to_the_next(song, tmp_path):
    every, path, fps = QUALITIES["draft"], drifting(10), Fraction(30)
    whole, sparse = Stub(), Counting()
    full = draw_frames(whole, path, range(300), fps)
    draft = draw_frames(sparse, path, range(300), fps, every)
    assert sparse.drawn == 101 and draft.shape == full.shape and draft.dtype == np.uint8
    assert np.array_equal(draft[::every], full[::every])
    before, after = (full[start::every][:99].astype(float) for start in (0, every))
    assert np.abs(draft[1::every][:99] - (2 * before + after) / 3).max() <= 0.5 + 1e-3
    assert np.abs(draft.astype(int) - full)[..., :2].max() <= 2  # this path is a slow one
    pieces = [draw_frames(Stub(), path, frames, fps, every) for frames in (range(7), range(7, 8), range(8, 300))]
    assert np.array_equal(np.concatenate(pieces), draft)
    video = make(song, tmp_path / "draft.mkv", drifting(3), codec="ffv1", every=every, batch_size=7)
    assert np.array_equal(read_frames(video, "rgb24"), draft[:90])
