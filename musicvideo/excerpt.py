"""A passage of a sound or a film: where it begins, and how long it is."""

from __future__ import annotations

import os

from musicvideo.errors import MediaError
from musicvideo.ffmpeg import seconds

FADES = 0.02, 0.5  # seconds in which the sound of an excerpt begins and ends


def require_times(start: float | None, duration: float | None) -> None:
    """Check the start and the length of an excerpt, as they were asked for, in seconds.

    Raises:
        MediaError: a start before the beginning, a length that is not above 0.
    """
    if start is not None and not 0 <= start < float("inf"):
        raise MediaError(f"START={start:g}: is before the beginning; give seconds from 0")
    if duration is not None and not 0 < duration < float("inf"):
        raise MediaError(f"DURATION={duration:g}: give more than 0 seconds")


def length(path: str | os.PathLike, whole: float, start: float, duration: float | None = None) -> float:
    """Seconds of an excerpt.

    Args:
        path: what it is an excerpt of.
        whole: its length in seconds.
        start: where the excerpt begins, in seconds.
        duration: its length in seconds, if so much is left; None for all that is left.

    Raises:
        MediaError: as `require_times`, or the start lies beyond the end.
    """
    require_times(start, duration)
    if start >= whole:
        raise MediaError(f"START={start:g}: lies beyond the end of {path}, which lasts {whole:.1f} s")
    return whole - start if duration is None else min(duration, whole - start)


def filters(start: float, length: float, whole: float) -> list[str]:
    """FFmpeg's filters that cut an excerpt out of a sound, exact to the sample, and fade what is cut.

    Args:
        start, length: of the excerpt in seconds.
        whole: length of the sound in seconds.

    Returns:
        No filters for the whole sound.
    """
    if not start and length >= whole:
        return []
    fade_in, fade_out = (min(fade, length / 2) for fade in FADES)
    found = [f"atrim=start={seconds(start)}:duration={seconds(length)}", "asetpts=PTS-STARTPTS"]
    if start:
        found.append(f"afade=in:d={seconds(fade_in)}")
    if start + length < whole:
        found.append(f"afade=out:st={seconds(length - fade_out)}:d={seconds(fade_out)}")
    return found
