"""What the picture of a film does from frame to frame: one decode at small size, for every measure of the picture."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from musicvideo import decoder, limits, probe
from musicvideo.errors import MediaError
from musicvideo.vision.flashes import SIZE, Flashes
from musicvideo.vision.settings import RATES

STILL = 0.255  # of 255: mean difference from an earlier frame below which nothing moved; that of FFmpeg's freezedetect
HISTORY = (2, 240)  # frames that FFmpeg's photosensitivity filter can look back


@dataclass(frozen=True)
class Watched:
    """The picture of a film of N frames; brightness and differences are of 255.

    Attributes:
        fps: frames a second, of a variable rate the average.
        differences: (N,) mean absolute difference of each frame from the one before; 0 for the first.
        brightness: (N,) mean of each frame.
        still: (N,) whether a frame differs by less than `STILL` from the last one that did not.
        asymmetry: (N,) mean absolute difference of each frame from its mirror image.
        general: (N,) general flashes in the second that ends with each frame, as `flashes` counts them.
        red: (N,) red flashes, in the same way.
        badness: (N,) of FFmpeg's photosensitivity filter over the second before each frame; above 1 it would intervene.
    """

    fps: Fraction
    differences: np.ndarray
    brightness: np.ndarray
    still: np.ndarray
    asymmetry: np.ndarray
    general: np.ndarray
    red: np.ndarray
    badness: np.ndarray

    @property
    def times(self) -> np.ndarray:
        """(N,) seconds at which each frame is shown."""
        return np.arange(len(self.differences)) / float(self.fps)


def watch(film: str | os.PathLike, *, progress: Callable[[float], None] | None = None) -> Watched:
    """Watch a film from beginning to end; memory grows by some bytes a frame.

    Args:
        film: a video.
        progress: called with the seconds of the film that are done.

    Raises:
        MediaError: no picture, damaged, longer than `limits.LONGEST`, or more frames a second than `RATES`.
    """
    found = probe.probe(film)
    if not (found.frame_rate and found.width and found.height):
        raise MediaError(f"{film}: has no picture (give a film)")
    fps = found.frame_rate
    if found.duration > limits.LONGEST:
        raise MediaError(f"{film}: lasts longer than {limits.LONGEST // 3600} hours; give a part of it")
    if fps > RATES[1]:
        raise MediaError(f"{film}: states {float(fps):g} frames a second; give a film of at most {RATES[1]}")
    flashes = Flashes(found.width, found.height, fps)
    values = {name: array("f") for name in ("differences", "brightness", "asymmetry", "badness")}
    still = bytearray()
    before: np.ndarray | None = None
    standing = np.full((SIZE, SIZE, 3), np.inf, np.float32)
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        history = min(max(round(fps), HISTORY[0]), HISTORY[1])
        # Left unchanged by the first filter, and printed by the second.
        filters = [
            f"photosensitivity=bypass=1:frames={history}",
            "metadata=print:key=lavfi.photosensitivity.badness:file=badness.txt",
        ]
        for data in decoder.decode_pictures(film, size=SIZE, fps=fps, filters=filters, folder=folder):
            codes = np.frombuffer(data, np.uint8).reshape(SIZE, SIZE, 3)
            picture = codes.astype(np.float32)
            values["differences"].append(0.0 if before is None else _difference(picture, before))
            values["brightness"].append(picture.mean())
            values["asymmetry"].append(_difference(picture[:, : SIZE // 2], picture[:, : SIZE // 2 - 1 : -1]))
            still.append(_difference(picture, standing) < STILL)
            if not still[-1]:
                standing = picture
            flashes.add(codes)
            before = picture
            if progress:
                progress(len(still) / float(fps))
        with Path(folder, "badness.txt").open(encoding="ascii") as printed:
            for line in printed:
                key, _, value = line.partition("=")
                if key == "lavfi.photosensitivity.badness":
                    values["badness"].append(float(value))
    arrays = {name: np.array(found, np.float32) for name, found in values.items()}
    return Watched(
        fps=fps,
        still=np.frombuffer(bytes(still), bool),
        general=np.array(flashes.general),
        red=np.array(flashes.red),
        **arrays,
    )


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())
