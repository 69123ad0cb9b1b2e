"""What a media file is, by FFprobe and by its own header, and whether it is whole."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

from musicvideo.errors import MediaError
from musicvideo.ffmpeg import SAFE_INPUT, source
from musicvideo.files import require_file
from musicvideo.programs import completed_run, run

SLACK = 0.5                # seconds a song may end before its header says, as tags and padding blur it
SLACK_OF_A_GUESS = 1.0     # seconds, where the length is not stated but guessed from the bit rate
GAP = 0.1                  # seconds; sound that is missing between two packets
PCM_FORMATS = (1, 3, 0xFFFE)       # of WAV files: whole numbers, floating point, either by its extended description
# Writers that cannot know the size put a value this close to 2 or 4 GiB.
UNKNOWN_SIZE_MARGIN = 8192         # bytes


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
    probed = completed_run(
        ["ffprobe", "-v", "warning", *SAFE_INPUT, "-show_format", "-show_streams", "-of", "json", source(path)],
        doing=f"reading {path}",
    )
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
                unknown = not size or any(abs(size - limit) < UNKNOWN_SIZE_MARGIN for limit in (1 << 31, 1 << 32))
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
