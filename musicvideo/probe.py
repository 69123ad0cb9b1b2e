"""Properties of a media file, from FFprobe and from its own header, and whether it is whole."""

from __future__ import annotations

import json
import math
import os
import struct
from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import BinaryIO

from musicvideo import limits
from musicvideo.errors import MediaError
from musicvideo.ffmpeg import SAFE_INPUT, source
from musicvideo.files import require_file
from musicvideo.programs import completed_run, program, run, run_with_progress

SLACK = 0.5  # seconds by which a song may be shorter than its header states, because of tags and padding
SLACK_OF_A_GUESS = 1.0  # seconds, where the length is not stated but guessed from the bit rate
GAP = 0.1  # seconds of missing sound between two packets that count as damage
# Formats of WAV files with a fixed number of bytes a second: integers, floats, A-law, mu-law, and any of them extended.
PCM_FORMATS = (1, 3, 6, 7, 0xFFFE)
# Writers that cannot know the size put a value this close to one of these.
UNKNOWN_SIZES = (0x7F000000, 1 << 31, 1 << 32)  # bytes; the first is SoX's, in AIFF
UNKNOWN_SIZE_MARGIN = 8192  # bytes
MOST_CHUNKS = 1000  # of a WAV or AIFF file before its samples
# What Python raises where FFprobe's answer is not what it should be.
NONSENSE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)


class NotMedia(MediaError):
    """A file that FFprobe cannot read."""


@dataclass(frozen=True)
class Media:
    """Properties of a media file; the fields of a missing stream are None."""

    duration: float  # seconds; 0 if the file does not state it, as when it was written to a pipe
    sample_rate: int | None = None  # Hz
    channels: int | None = None
    audio_codec: str | None = None
    audio_duration: float | None = None  # seconds, if the file states them for its sound
    audio_start: float = 0.0  # seconds from the start of the file to its first sound, as in films
    video_duration: float | None = None  # seconds, if the file states them for its picture
    width: int | None = None  # pixels
    height: int | None = None  # pixels
    frame_rate: Fraction | None = None
    open_ended: bool = False  # a WAV or AIFF file without a stated length, since it was written to a pipe


def probe(path: str | os.PathLike, *, sound: int = 0) -> Media:
    """Ask FFprobe for a file's duration, its first video stream, and one of its audio streams.

    Args:
        path: a media file.
        sound: which audio stream, from 0.

    Raises:
        MediaError: missing, empty, or not a single audio or video file.
    """
    described, guessed = _asked(path)
    try:
        found = _media(described, sound, sound_chunk(path), guessed)
    except NONSENSE:
        raise _nonsense(path) from None
    lowest, highest = limits.SAMPLE_RATES
    if found.sample_rate is not None and not lowest <= found.sample_rate <= highest:
        raise MediaError(
            f"{path}: states a sample rate of {found.sample_rate} Hz (give a file of {lowest} to {highest} Hz)"
        )
    return found


def _asked(path: str | os.PathLike) -> tuple[Mapping, bool]:
    """As `_described`, of the file as it is now."""
    state = _state(path)  # first, since a missing file matters more than a missing FFprobe
    return _described(os.fspath(path), program("ffprobe"), state)


def _state(path: str | os.PathLike) -> tuple[int, ...]:
    """What differs once a file has changed.

    Commands ask several times about a file, and FFprobe takes longer to start than to look. The system sets the time
    of a change itself, and its clock ticks faster than FFprobe starts. So a file that was changed has another state.
    """
    status = os.stat(require_file(path))
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=20)
def _described(path: str, ffprobe: str, state: tuple[int, ...]) -> tuple[Mapping, bool]:
    """What FFprobe says of a file, and whether it had to guess the length.

    Args:
        path: a media file.
        ffprobe: path of the program.
        state: of the file.
    """
    asked = ["-show_format", "-show_streams", "-show_chapters", "-of", "json", source(path)]
    probed = completed_run([ffprobe, "-v", "warning", *SAFE_INPUT, *asked], doing=f"reading {path}")
    if probed.returncode:
        raise NotMedia(f"{path}: not an audio or video file (give a wav, flac, mp3, m4a, ogg, mp4, ...)")
    # Without a table of contents FFmpeg guesses a length from the bit rate.
    guessed = b"Estimating duration from bitrate" in probed.stderr
    try:
        return json.loads(probed.stdout), guessed
    except (ValueError, RecursionError):
        raise _nonsense(path) from None


def _nonsense(path: str | os.PathLike) -> MediaError:
    return MediaError(
        f"{path}: what {program('ffprobe')} says of it makes no sense (is that FFprobe? is the file whole?)"
    )


def _media(described: Mapping, sound: int, chunk: SoundChunk | None, guessed: bool) -> Media:
    """Properties from FFprobe's JSON, corrected by the header of a WAV or AIFF file."""
    # A cover picture in a song is a "video" stream as well, of one frame.
    streams = [s for s in described.get("streams", []) if not s.get("disposition", {}).get("attached_pic")]
    audio: Mapping = dict(enumerate(s for s in streams if s["codec_type"] == "audio")).get(sound, {})
    video: Mapping = next((s for s in streams if s["codec_type"] == "video"), {})
    start = _finite(described["format"].get("start_time", 0.0))
    duration, audio_duration = _finite(described["format"].get("duration", 0.0)), None if guessed else _duration(audio)
    if chunk and chunk.byte_rate:
        duration = (chunk.there if chunk.stated is None else chunk.stated) / chunk.byte_rate
        audio_duration = None if chunk.stated is None else duration
    elif chunk and chunk.stated is None:
        # FFmpeg takes the placeholder for the size. Only for uncompressed sound the bytes give the length.
        rate = int(audio.get("bit_rate", 0)) / 8 if audio.get("codec_name", "").startswith("pcm_") else 0
        duration, audio_duration = chunk.there / rate if rate else 0.0, None
    return Media(
        duration=duration,
        sample_rate=int(audio["sample_rate"]) if audio else None,
        channels=int(audio["channels"]) if audio else None,
        audio_codec=str(audio["codec_name"]) if "codec_name" in audio else None,
        audio_duration=audio_duration,
        audio_start=_finite(audio.get("start_time", start)) - start,
        video_duration=_duration(video),
        width=int(video["width"]) if "width" in video else None,
        height=int(video["height"]) if "height" in video else None,
        frame_rate=_frame_rate(video) if video else None,
        open_ended=chunk is not None and chunk.stated is None,
    )


def _finite(text: str | float) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no time")
    return value


@dataclass(frozen=True)
class SoundChunk:
    """The part of a WAV or AIFF file that holds its samples."""

    stated: int | None  # bytes, by the header; None for the placeholder of a file that was written to a pipe
    there: int  # bytes, from its start to the end of the file
    byte_rate: int  # bytes a second of uncompressed sound in a WAV file; else 0


def sound_chunk(path: str | os.PathLike) -> SoundChunk | None:
    """Find the samples of a WAV or AIFF file; None in any other file.

    FFmpeg and libsndfile accept a WAV file that was cut off as whole. FFmpeg reads the placeholder for the size, which
    a writer to a pipe states, as a length of hours.
    """
    with open(path, "rb") as file, suppress(struct.error, OSError):
        form, kind = struct.unpack("<4s4x4s", file.read(12))
        if (form, kind) not in ((b"RIFF", b"WAVE"), (b"FORM", b"AIFF"), (b"FORM", b"AIFC")):
            return None
        byte_rate = 0
        for name, size in _chunks(file, "<" if form == b"RIFF" else ">"):
            if name == b"fmt ":
                wav_format, rate = struct.unpack("<H6xI", file.read(12))
                byte_rate = rate if wav_format in PCM_FORMATS else 0
            elif name in (b"data", b"SSND"):
                unknown = not size or any(
                    abs(size - placeholder) < UNKNOWN_SIZE_MARGIN for placeholder in UNKNOWN_SIZES
                )
                return SoundChunk(None if unknown else size, os.path.getsize(path) - file.tell(), byte_rate)
    return None


def _chunks(file: BinaryIO, order: str) -> Iterator[tuple[bytes, int]]:
    """Name and size of each chunk of a RIFF or FORM file; the file is at the chunk's content."""
    for _ in range(MOST_CHUNKS):
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        begin = file.tell()
        yield name, size
        file.seek(begin + size + size % 2)


def picture_times(path: str | os.PathLike) -> tuple[array[float], array[float]]:
    """When each frame of a video's picture begins and ends, by its packets, not its header; in seconds, unordered.

    The arrays are shared by all who ask: do not change them.

    Raises:
        MediaError: missing or empty; FFprobe failed, or its answer makes no sense.
    """
    state = _state(path)
    return _picture_times(os.fspath(path), program("ffprobe"), state)


@lru_cache(maxsize=4)
def _picture_times(path: str, ffprobe: str, state: tuple[int, ...]) -> tuple[array[float], array[float]]:
    """As `picture_times`; arguments as of `_described`."""
    begins, ends = array("d"), array("d")

    def line(text: str) -> None:
        fields = dict(field.split("=", 1) for field in text.split("|") if "=" in field)
        # D: decoded but not shown, as before the point where a film was cut.
        if text and "D" not in fields["flags"]:
            # An .avi has decoding times only.
            times = [fields[key] for key in ("pts_time", "dts_time") if fields.get(key, "N/A") != "N/A"]
            length = fields.get("duration_time", "N/A")
            begins.append(_finite(times[0]) if times else 0.0)
            ends.append(begins[-1] + (0.0 if length == "N/A" else _finite(length)))

    entries = "packet=pts_time,dts_time,duration_time,flags"
    # fmt: off
    command = [ffprobe, "-v", "error", *SAFE_INPUT, "-select_streams", "V:0", "-of", "compact=p=0",
               "-show_entries", entries, source(path)]
    # fmt: on
    try:
        run_with_progress(command, doing=f"reading {path}", line=line)
    except (ValueError, KeyError):
        raise _nonsense(path) from None
    return begins, ends


def picture_duration(path: str | os.PathLike) -> float:
    """Length in seconds of a video's picture, by its frames, not its header; 0 if it has none."""
    begins, ends = picture_times(path)
    return max(ends, default=0.0) - min(begins, default=0.0)


@dataclass(frozen=True)
class Stream:
    """A stream of a media file."""

    kind: str  # video, audio, subtitle, attachment, data
    codec: str  # FFmpeg's name
    title: str  # "" for none
    default: bool  # whether players choose it by themselves
    cover: bool  # a picture of one frame, which players show for the file


@dataclass(frozen=True)
class Chapter:
    """A chapter of a media file."""

    start: float  # seconds
    title: str  # "" for none


def contents(path: str | os.PathLike) -> tuple[list[Stream], list[Chapter]]:
    """Streams and chapters of a media file, in order. Titles are untrusted.

    Raises:
        MediaError: missing, empty, or not a single audio or video file.
    """
    found, _ = _asked(path)

    def stream(described: Mapping) -> Stream:
        flags = described.get("disposition", {})
        return Stream(
            kind=str(described.get("codec_type", "data")),
            codec=str(described.get("codec_name", "unknown")),
            title=_tags(described).get("title", ""),
            default=bool(flags.get("default")),
            cover=bool(flags.get("attached_pic")),
        )

    try:
        chapters = [
            Chapter(_finite(each["start_time"]), _tags(each).get("title", "")) for each in found.get("chapters", [])
        ]
        return [stream(each) for each in found["streams"]], chapters
    except NONSENSE:
        raise _nonsense(path) from None


def tags(path: str | os.PathLike) -> dict[str, str]:
    """Metadata of a whole media file, by their names in lower case. They are untrusted.

    Raises:
        MediaError: missing, empty, or not a single audio or video file.
    """
    found, _ = _asked(path)
    try:
        return _tags(found["format"])
    except NONSENSE:
        raise _nonsense(path) from None


def _tags(described: Mapping) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in described.get("tags", {}).items()}


def _duration(stream: Mapping) -> float | None:
    """Length of a stream in seconds; Matroska stores it as a tag, 00:01:02.5."""
    if "duration" in stream:
        return _finite(stream["duration"])
    tag = stream.get("tags", {}).get("DURATION")
    return sum(_finite(part) * unit for part, unit in zip(tag.split(":"), (3600, 60, 1))) if tag else None


def _frame_rate(stream: Mapping[str, str]) -> Fraction | None:
    """Frames a second; for a variable rate, the average, rounded to a whole number."""
    # A truncated file may state 0/0.
    base, average = (
        Fraction(n, d) if d else Fraction(0)
        for n, d in (map(int, stream[key].split("/")) for key in ("r_frame_rate", "avg_frame_rate"))
    )
    if abs(base - average) <= average / 100:
        return base or None
    return max(Fraction(round(average)), Fraction(1)) if average else base or None


def strictness(found: Media) -> list[str]:
    """FFmpeg's options to stop at the first damage of a file.

    Decoding finds no damage in uncompressed sound; only its length shows it. A file written to a pipe may end anywhere.
    """
    return [] if (found.audio_codec or "").startswith("pcm_") or found.open_ended else ["-xerror"]


def require_whole(
    path: str | os.PathLike, found: Media, end: float, duration: float | None = None, *, failed: bool = False
) -> None:
    """Raise MediaError with the place of the damage unless a song was decoded to its end.

    Args:
        path: the song.
        found: result of `probe` for it.
        end: seconds that were decoded.
        duration: seconds that were asked for; None for all.
        failed: whether FFmpeg stopped because of damage.
    """
    stated = found.audio_duration is not None
    whole = found.duration or math.inf if found.audio_duration is None else found.audio_duration
    slack = SLACK if stated else SLACK_OF_A_GUESS
    if (stated or failed) and end < min(whole, duration or math.inf) - slack:
        where = end if failed else _first_gap(path, end)
        of = f" of its {whole:.1f} s" if math.isfinite(whole) else ""
        raise MediaError(f"{path}: damaged or cut off at {where:.1f} s{of} (give a whole file, or a shorter duration)")


def _first_gap(path: str | os.PathLike, end: float) -> float:
    """Time in seconds of the first gap between two packets; `end` if there is none."""
    listed = run(
        [
            "ffprobe",
            "-v",
            "quiet",
            *SAFE_INPUT,
            "-select_streams",
            "a:0",
            "-show_entries",
            "packet=pts_time,duration_time",
            "-of",
            "csv=p=0",
            source(path),
        ],
        doing=f"reading {path}",
    )
    heard = None
    for line in listed.decode(errors="replace").splitlines():
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
