"""A generator as small as one can be: each class is a colour, and noise makes a ramp from left to right steeper.

It is complete. Copied to `musicvideo/vision/generators/toy.py`, and named in `MODULES` there, it draws.
"""

from __future__ import annotations

import numpy as np

from musicvideo.vision.generators.record import Handle, Record

COLOURS = {"brick": (178, 60, 40), "moss": (70, 120, 50), "sky": (90, 160, 230)}  # sRGB


class Toy:
    """Ramps of colour, as a `Generator`."""

    labels = tuple(COLOURS)
    noise_dim = 1
    runs_on = "numpy on the CPU"
    computed_by = {"numpy": np.__version__}

    def __init__(self, resolution: int):
        self.resolution = resolution
        self.handles: dict[str, Handle] = {}

    def frames(self, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Draw one picture for each vector; see `Generator`."""
        across = np.linspace(-0.5, 0.5, self.resolution)[:, None]
        colours = (np.asarray(classes, float)[:, :, None] * np.array(list(COLOURS.values()))).sum(axis=1)
        ramps = 1 + np.asarray(noise, float)[:, None, None, :] * across  # (B, 1, resolution, 1)
        rows = np.clip(np.rint(colours[:, None, None] * ramps), 0, 255).astype(np.uint8)
        return np.repeat(rows, self.resolution, axis=1)


RECORDS = (
    Record(name="toy", help="ramps of colour", labels=lambda: Toy.labels, load=lambda options: Toy(options.resolution)),
)
