"""Run FFmpeg, SoX and MuseScore, ask media files what they are, write outputs atomically.

Everything outside Python goes through here, so that a failure reads the same everywhere: one line that
names the input and the remedy.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from musicvideo.system import MissingProgram, find_program

# A file that somebody hands in may be a playlist, a concat script or a URL in disguise, and FFmpeg would
# follow it to other files and hosts. These demuxers read one file and nothing else.
SAFE_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,webm,mov,mp4,mp3,mpeg,mpegts,ogg,"
    "tta,w64,wav,wv"
)
SAFE_INPUT = ("-protocol_whitelist", "file,pipe", "-format_whitelist", SAFE_FORMATS)

YIELDING = 10              # niceness of a program that is fed, on top of ours: what makes its input comes first

SLACK = 0.5                # seconds a song may end before its header says, as tags and padding blur it
SLACK_OF_A_GUESS = 1.0     # seconds, where the length is not stated but guessed from the bit rate
GAP = 0.1                  # seconds; sound that is missing between two packets
PCM_FORMATS = (1, 3, 0xFFFE)       # of WAV files: whole numbers, floating point, either by its extended description
NEARLY = 8192              # bytes; how close to 2 or 4 GiB stays who must state a size that is not known yet


class MediaError(Exception):
    """What is wrong with which input, and what to do about it, in one line."""


def run(command: Sequence[str | os.PathLike], *, doing: str, env: Mapping[str, str] | None = None) -> bytes:
    """Run an external program to its end.

    Args:
        command: program name as in `musicvideo.system.PROGRAMS`, then its arguments.
        doing: what is being done to which file, to begin the message of a failure.
        env: variables on top of this process's environment.

    Returns:
        What the program wrote to its standard output.

    Raises:
        MediaError: the program is not installed or failed; carries the last line it wrote to stderr.
    """
    completed = _run(command, env)
    if completed.returncode:
        raise MediaError(f"{doing}: {command[0]} failed: {last_line(completed.stderr)}")
    return completed.stdout


def _run(command: Sequence[str | os.PathLike], env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess:
    name, *arguments = command
    return subprocess.run(
        [program(str(name)), *map(os.fspath, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **env} if env else None,
    )


def run_ffmpeg(
    arguments: Sequence[str | os.PathLike], *, doing: str, progress: Callable[[float], None] | None = None
) -> None:
    """Run FFmpeg on an output that may take long.

    Args:
        arguments: after `ffmpeg`; outputs are overwritten.
        doing: what is being done to which file, to begin the message of a failure.
        progress: called now and then with the seconds of output that are written.

    Raises:
        MediaError: as `run`.
    """
    command = [program("ffmpeg"), "-v", "error", "-y", "-nostdin", "-nostats", "-progress", "pipe:1"]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen([*command, *map(os.fspath, arguments)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=complaints, text=True)
        try:
            for line in process.stdout:
                key, _, value = line.strip().partition("=")
                if progress and key == "out_time_us" and value.lstrip("-").isdigit():
                    progress(max(int(value), 0) / 1e6)
            failed = process.wait()
        finally:
            process.kill()                  # Ctrl-C: leave no encoder behind that writes on
            process.wait()
        if failed:
            complaints.seek(0)
            raise MediaError(f"{doing}: ffmpeg failed: {last_line(complaints.read())}")


def ffmpeg_version() -> str:
    """What this machine's FFmpeg calls itself, such as "5.1.6-0+deb12u1"; nightly builds have a date or a hash."""
    return run(["ffmpeg", "-version"], doing="asking for the version").decode(errors="replace").split()[2]


def graph_option() -> str:
    """How this machine's FFmpeg is told a file with a filter graph: the option for it changed with FFmpeg 7."""
    release = re.match(r"n?(\d+)\.", ffmpeg_version())
    return "-filter_complex_script" if release and int(release[1]) < 7 else "-/filter_complex"


class Feed:
    """An external program that is fed through its standard input.

    Used as a context: leaving it ends the input and waits for the program, an exception in it kills the program,
    which a Ctrl-C in the terminal does not reach by itself.

    Args:
        command: as for `run`.
        doing: what is being done to which file, to begin the message of a failure.

    Raises:
        MediaError: when written to or left, if the program is not installed or failed.
    """

    def __init__(self, command: Sequence[str | os.PathLike], *, doing: str):
        name, *arguments = command
        self._failure = f"{doing}: {name} failed"
        self._complaints = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [program(str(name)), *map(os.fspath, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._complaints,
            start_new_session=True,
        )
        # Before it has read anything, and so before it has started any threads, which inherit the priority.
        os.setpriority(os.PRIO_PROCESS, self._process.pid, os.getpriority(os.PRIO_PROCESS, 0) + YIELDING)

    def write(self, data) -> None:
        """Hand over bytes, or any contiguous array; waits until the program has taken them."""
        try:
            self._process.stdin.write(memoryview(data).cast("B"))
        except BrokenPipeError:
            self._process.wait()
            raise self._error() from None

    def _error(self) -> MediaError:
        self._complaints.seek(0)
        return MediaError(f"{self._failure}: {last_line(self._complaints.read())}")

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, exception_type, *_) -> None:
        with self._complaints:
            if exception_type:
                self._process.kill()
            with suppress(BrokenPipeError):     # the program's exit status says more
                self._process.stdin.close()
            if self._process.wait() and not exception_type:
                raise self._error()


def program(name: str) -> str:
    """Path of an external program; MediaError says how to install one that is missing."""
    try:
        return find_program(name)
    except MissingProgram as error:
        raise MediaError(str(error)) from None


def last_line(stderr: bytes) -> str:
    """The last line of a program's complaint that says something."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines()]
    telling = [line for line in lines if line and line != "Conversion failed!"]
    return telling[-1] if telling else "no message"


def source(path: str | os.PathLike) -> str:
    """A path as FFmpeg's `-i` takes it: never an option, a protocol or a pattern, whatever its name."""
    return f"file:{os.path.abspath(path)}"


@dataclass(frozen=True)
class Media:
    """What FFprobe says of a file; a missing stream leaves its fields None."""

    duration: float                    # seconds; 0 where the file does not say, as when it was written to a pipe
    sample_rate: int | None = None     # Hz
    channels: int | None = None
    audio_codec: str | None = None
    audio_duration: float | None = None    # seconds, where the file says so for its sound
    audio_start: float = 0.0           # seconds from the start of the file to its first sound, as in films
    video_duration: float | None = None    # seconds, where the file says so for its picture
    width: int | None = None           # pixels
    height: int | None = None          # pixels
    frame_rate: Fraction | None = None


def probe(path: str | os.PathLike) -> Media:
    """Ask FFprobe for a file's duration and its first audio and video streams.

    Raises:
        MediaError: missing, empty, or not a single audio or video file.
    """
    require_file(path)
    probed = _run(["ffprobe", "-v", "warning", *SAFE_INPUT, "-show_format", "-show_streams", "-of", "json", source(path)])
    if probed.returncode:
        raise MediaError(f"{path}: not an audio or video file (give a wav, flac, mp3, m4a, ogg, mp4, ...)")
    found = json.loads(probed.stdout)
    seconds, stated = _wav_duration(path) or (None, None)
    # Without a table of contents FFmpeg guesses a length from the bit rate.
    guessed = b"Estimating duration from bitrate" in probed.stderr
    # A cover picture in a song is a "video" stream as well, of one frame.
    streams = [s for s in found.get("streams", []) if not s.get("disposition", {}).get("attached_pic")]
    audio = next((s for s in streams if s["codec_type"] == "audio"), {})
    video = next((s for s in streams if s["codec_type"] == "video"), {})
    start = float(found["format"].get("start_time", 0.0))
    return Media(
        duration=seconds or float(found["format"].get("duration", 0.0)),
        sample_rate=int(audio["sample_rate"]) if audio else None,
        channels=audio.get("channels"),
        audio_codec=audio.get("codec_name"),
        audio_duration=(seconds if stated else None) if seconds else None if guessed else _duration(audio),
        audio_start=float(audio.get("start_time", start)) - start,
        video_duration=_duration(video),
        width=video.get("width"),
        height=video.get("height"),
        frame_rate=_frame_rate(video) if video else None,
    )


def _wav_duration(path: str | os.PathLike) -> tuple[float, bool] | None:
    """Seconds of uncompressed sound in a WAV file, and whether its header states them; None for any other file.

    FFmpeg takes a file that was cut off for whole, and believes one that was written to a pipe, when its length was not
    known yet, to last for hours. Of such a file the length is that of what is there.
    """
    with open(path, "rb") as file, suppress(struct.error):
        if struct.unpack("<4s4x4s", file.read(12)) != (b"RIFF", b"WAVE"):
            return None
        byte_rate = 0
        while True:
            name, size = struct.unpack("<4sI", file.read(8))
            chunk = file.tell()
            if name == b"fmt ":
                kind, byte_rate = struct.unpack("<H6xI", file.read(12))
                if kind not in PCM_FORMATS:
                    return None
            elif name == b"data" and byte_rate:
                unknown = not size or any(abs(size - limit) < NEARLY for limit in (1 << 31, 1 << 32))
                return (os.path.getsize(path) - chunk if unknown else size) / byte_rate, not unknown
            file.seek(chunk + size + size % 2)
    return None


def picture_duration(path: str | os.PathLike) -> float:
    """Seconds for which a video shows a picture, by its frames themselves, whatever its header states; 0 without any."""
    printed = run(["ffprobe", "-v", "error", *SAFE_INPUT, "-select_streams", "V:0", "-of", "json", "-show_entries",
                   "packet=pts_time,dts_time,duration_time,flags", source(path)], doing=f"reading {path}")
    # D: decoded, but not shown, as before the point where a film was cut. An .avi has decoding times only.
    shown = [packet for packet in json.loads(printed)["packets"] if "D" not in packet["flags"]]
    begins = [float(packet.get("pts_time", packet.get("dts_time", 0))) for packet in shown]
    ends = [begin + float(packet.get("duration_time", 0)) for begin, packet in zip(begins, shown)]
    return max(ends, default=0.0) - min(begins, default=0.0)


def _duration(stream: Mapping) -> float | None:
    """Seconds of a stream; Matroska has them as a tag, 00:01:02.5."""
    if "duration" in stream:
        return float(stream["duration"])
    tag = stream.get("tags", {}).get("DURATION")
    return sum(float(part) * unit for part, unit in zip(tag.split(":"), (3600, 60, 1))) if tag else None


def _frame_rate(stream: Mapping[str, str]) -> Fraction | None:
    """Frames a second; of a variable rate, the average as a rate that people use."""
    # A file that breaks off may state 0/0.
    base, average = (Fraction(n, d) if d else Fraction(0) for n, d in
                     (map(int, stream[key].split("/")) for key in ("r_frame_rate", "avg_frame_rate")))
    if abs(base - average) <= average / 100:
        return base or None
    return max(Fraction(round(average)), Fraction(1)) if average else base or None


def strictness(found: Media) -> list[str]:
    """FFmpeg's options to stop at the first damage of a file. Uncompressed sound shows none; its length tells."""
    return [] if (found.audio_codec or "").startswith("pcm_") else ["-xerror"]


def require_whole(
    path: str | os.PathLike, found: Media, end: float, duration: float | None = None, *, failed: bool = False
) -> None:
    """Raise MediaError, which says where the damage is, unless a song was decoded to its end.

    Args:
        path: the song.
        found: what `probe` said of it.
        end: seconds that were decoded.
        duration: seconds that were asked for; None for all.
        failed: whether FFmpeg stopped because of damage.
    """
    stated = found.audio_duration is not None
    whole = found.audio_duration if stated else found.duration or math.inf
    slack = SLACK if stated else SLACK_OF_A_GUESS
    if (stated or failed) and end < min(whole, duration or math.inf) - slack:
        where = end if failed else _first_gap(path, end)
        of = f" of its {whole:.1f} s" if math.isfinite(whole) else ""
        raise MediaError(f"{path}: damaged or cut off at {where:.1f} s{of} (give a whole file, or a shorter duration)")


def _first_gap(path: str | os.PathLike, end: float) -> float:
    """Seconds of sound before the first that is missing between two packets; `end` if none is."""
    listed = run(["ffprobe", "-v", "quiet", *SAFE_INPUT, "-select_streams", "a:0", "-show_entries",
                  "packet=pts_time,duration_time", "-of", "csv=p=0", source(path)], doing=f"reading {path}")
    heard = None
    for line in listed.decode().splitlines():
        try:
            start, length = map(float, line.split(",")[:2])
        except ValueError:
            continue
        if heard is None:
            first = start
        elif start > heard + GAP:
            return heard - first
        heard = start + length
    return end


def require_file(path: str | os.PathLike) -> Path:
    """The path, if it is a file with something in it; else MediaError."""
    path = Path(path)
    if not path.exists():
        raise MediaError(f"{path}: no such file")
    if path.is_dir():
        raise MediaError(f"{path}: is a folder, give a file")
    if not path.stat().st_size:
        raise MediaError(f"{path}: is empty")
    return path


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Write to a temporary neighbour (same suffix) and rename it onto `path` if all went well.

    A failure, Ctrl-C or a full disk leaves `path` as it was and no temporary file behind.

    Raises:
        MediaError: `path` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise MediaError(f"{path}: is a folder; give the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class Parser(argparse.ArgumentParser):
    """Reports a usage mistake in one line, with exit code 2."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def entry_point(main: Callable[[], None]) -> None:
    """Run a script's `main` and exit: 0, 1 on failure (one line on stderr), 130 on Ctrl-C.

    A `KeyboardInterrupt` that carries a message has it printed.
    """
    sys.stdout.reconfigure(errors="backslashreplace")         # names of files may be in any encoding, or in none
    try:
        main()
    except MediaError as error:
        fail(str(error))
    except OSError as error:
        remedy = {
            errno.ENOSPC: " (free some space and run the same command again)",
            errno.EACCES: " (choose another place or change its permissions)",
            errno.EROFS: " (choose another place)",
        }.get(error.errno, "")
        fail(f"{error.filename or 'output'}: {error.strerror or error}{remedy}")
    except KeyboardInterrupt as interrupt:
        print(": ".join(["interrupted", *interrupt.args]), file=sys.stderr)
        sys.exit(130)


def fail(message: str) -> None:
    """Print one line and exit 1."""
    print(f"{Path(sys.argv[0]).name}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(1)
