"""A rigid spherical head: time difference by a gliding delay, level difference by head shadow."""

from __future__ import annotations

from os import PathLike

import numpy as np
from scipy import signal

from musicvideo.panning import Position
from musicvideo.sound.delay import glide

SPEED_OF_SOUND = 343.0  # m/s
HEAD_RADIUS = 0.0875  # m
HEAD_TIME = HEAD_RADIUS / SPEED_OF_SOUND  # s, 255 µs: sound along one radius of the head


def sphere(source: np.ndarray, position: Position, rate: float) -> np.ndarray:
    """Render a moving source for a spherical head.

    The delay is the path to each ear over the sphere, so the time difference between the ears is Woodworth's
    a/c (θ + sin θ) above 1.5 kHz. Below, the shadow filter's own delay adds to it, which agrees with Kuhn's
    3 a/c sin θ. Front and back sound the same, as on any sphere.

    Source: Brown and Duda, "A structural model for binaural sound synthesis", IEEE Trans. Speech and Audio
    Processing 6(5), 1998, equations 1 to 4.

    Args:
        source: (N,) mono signal.
        position: N positions.
        rate: Hz.

    Returns:
        (N, 2) left and right ear.
    """
    # The shadow is (1 + α s) / (1 + s) with s = jω a/2c: its pole is fixed, only its zero moves. So it is a fixed
    # low-pass, plus the rest of the signal weighted by α at each sample, which is exact for a moving source.
    pole = signal.bilinear([1], [HEAD_TIME / 2, 1], rate)
    toward = [side * position.ear for side in (-1, 1)]  # cosine of the angle between source and axis of each ear
    incidence = [np.arccos(np.clip(cosine, -1, 1)) for cosine in toward]
    delays = [
        rate * HEAD_TIME * np.where(cosine > 0, -cosine, angle - np.pi / 2) for cosine, angle in zip(toward, incidence)
    ]
    ears = []
    for angle, delayed in zip(incidence, glide(source, delays)):
        low = signal.lfilter(*pole, delayed)
        shadow = 1.05 + 0.95 * np.cos(angle * (180 / 150))
        ears.append(low + shadow * (delayed - low))
    return np.stack(ears, axis=1) / np.sqrt(2)


def load(sofa: str | PathLike | None):
    """The model; it uses no measurements."""
    return sphere
