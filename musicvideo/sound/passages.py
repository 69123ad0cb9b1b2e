"""Passages of a mix: the most intense one, and one as loud as the whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from musicvideo import excerpt, probe
from musicvideo.errors import MediaError
from musicvideo.sound.effects import apply_filters
from musicvideo.sound.mastering import loudness_curves, master_file, measure
from musicvideo.sound.table import Master

STEP = 0.1  # seconds between two values of a loudness curve
SHORT = 15.0, 60.0  # seconds of a short, least and most
USUAL = 30.0  # seconds of a short that was asked for without a length


def most_intense(path: str | os.PathLike, length: float, begins: Sequence[float]) -> float:
    """Where the loudest passage of a sound begins, by the mean of its K-weighted power (ITU-R BS.1770).

    Args:
        length: of the passage in seconds.
        begins: seconds at which it may begin, at least one.
    """
    power = 10 ** (loudness_curves(path)["M"] / 10)
    so_far = np.concatenate([[0.0], np.cumsum(power)])
    times = np.arange(len(so_far)) * STEP
    first = np.asarray(begins, float)
    return float(first[np.argmax(np.interp(first + length, times, so_far) - np.interp(first, times, so_far))])


def peak_moment(path: str | os.PathLike, start: float = 0.0, duration: float | None = None) -> float:
    """The middle of the loudest three seconds of a sound, or of an excerpt of it: seconds from its start."""
    length = excerpt.length(path, probe.probe(path).duration, start, duration)
    span = min(3.0, length)
    begins = np.arange(start, start + length - span + STEP / 2, STEP)
    return most_intense(path, span, begins.tolist()) + span / 2


def short(
    path: str | os.PathLike, whole: float, marks: Sequence[float], start: float | None, length: float | None
) -> tuple[float, float]:
    """Start and length in seconds of a short film's music.

    Args:
        path: the mix.
        whole: seconds of it that may be shown.
        marks: seconds at which it may be cut, in order: measures or beats.
        start: where it begins; None for the mark at which the most intense passage begins.
        length: None for up to `USUAL` seconds, which end at a mark if it begins at one.

    Raises:
        MediaError: a length that no short has, a start with too little behind it.
    """
    least, most = SHORT
    if length is not None and not least <= length <= most:
        raise MediaError(f"LENGTH={length:g}: a short lasts {least:g} to {most:g} s")
    wanted = length or USUAL
    if start is not None:
        rest = excerpt.length(path, whole, start)
        if start and rest < least:
            raise MediaError(f"START={start:g}: leaves {rest:.1f} s of {path}; a short lasts {least:g} to {most:g} s")
        return start, min(wanted, rest)
    if whole <= wanted:
        return 0.0, whole
    start = most_intense(path, wanted, [mark for mark in marks if mark + wanted <= whole] or [0.0])
    if length is None:
        wanted = max((mark - start for mark in marks if least <= mark - start <= wanted), default=wanted)
    return start, wanted


def as_loud_as_the_whole(path: str | os.PathLike, target: Path, start: float, length: float) -> None:
    """Cut an excerpt out of a mix and master it to the loudness of the whole mix: 24 bit at its rate."""
    with TemporaryDirectory(prefix="excerpt-", dir=target.parent) as work:
        cut = Path(work) / "cut.wav"
        apply_filters(path, cut, excerpt.filters(start, length, probe.probe(path).duration) or ["anull"])
        master_file(cut, target, Master(loudness=measure(path).integrated, fade=0.0))
