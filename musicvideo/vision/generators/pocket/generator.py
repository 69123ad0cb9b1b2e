"""Pocket as a generator: BigGAN whose class weights are sharpened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from torch import Tensor

from musicvideo.vision.generators.biggan.generator import BigGAN
from musicvideo.vision.generators.pocket.conventions import MOVED, SHARPENING, directions
from musicvideo.vision.generators.record import Handle

REACH = 4.0  # twice what the noise reaches by itself: the objects stay whole


class Pocket(BigGAN):
    """A small BigGAN-deep of 256x256 pixels.

    A song sounds twelve pitches at once, but a mixture of twelve objects shows none of them. So the weaker classes are
    weakened first, and the strongest one to three decide what is seen.
    """

    @staticmethod
    def sharpened(classes: np.ndarray) -> np.ndarray:
        """Class weights (B, classes) with the strongest of each row unchanged and the others weakened."""
        strongest = np.maximum(classes.max(axis=1, keepdims=True), 1e-9)
        return strongest * (classes / strongest) ** SHARPENING

    @property
    def handles(self) -> Mapping[str, Handle]:
        return {name: Handle(row, REACH) for name, row in zip(MOVED, directions())}

    def pictures(self, noise: np.ndarray, classes: np.ndarray) -> Iterator[Tensor]:
        """Draw (b, channels, H, W) in -1..1, a few at a time."""
        return super().pictures(noise, self.sharpened(np.asarray(classes)))


class MattedPocket(Pocket):
    """A generator like pocket, trained with a matte: a fourth channel, -1 around the subject and 1 in it."""

    channels = 4

    def frames(self, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Draw pictures; see `musicvideo.vision.generators.Generator`."""
        return self.frames_rgba(noise, classes)[..., :3]

    def frames_rgba(self, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Draw pictures with the subject's opacity; see `musicvideo.vision.generators.Matted`."""
        return super().frames(noise, classes)
