"""Pocket as a generator: BigGAN whose class weights are sharpened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from scipy.linalg import hadamard
from torch import Tensor

from musicvideo.vision.generators.biggan.generator import BigGAN
from musicvideo.vision.generators.record import Handle

# Row k of the Hadamard matrix of the noise's size is the direction of the k-th thing; the network was trained so.
MOVED = ("right", "down", "turn", "size", "stretch", "bend", "bend_across", "slant", "drift", "rings", "rays", "hue")
REACH = 4.0  # twice what the noise reaches by itself: the objects stay whole


def _handles(noise_dim: int) -> dict[str, Handle]:
    rows = hadamard(noise_dim)[1 : len(MOVED) + 1] / np.sqrt(noise_dim)
    return {name: Handle(row, REACH) for name, row in zip(MOVED, rows)}


class Pocket(BigGAN):
    """A small BigGAN-deep of 256x256 pixels.

    A song sounds twelve pitches at once, but a mixture of twelve objects shows none of them. So the weaker classes are
    weakened first, and the strongest one to three decide what is seen.
    """

    SHARPENING = 3.0  # power of a class weight, as a share of the strongest; the network was trained with it

    @classmethod
    def sharpened(cls, classes: np.ndarray) -> np.ndarray:
        """Class weights (B, classes) with the strongest of each row unchanged and the others weakened."""
        strongest = np.maximum(classes.max(axis=1, keepdims=True), 1e-9)
        return strongest * (classes / strongest) ** cls.SHARPENING

    @property
    def handles(self) -> Mapping[str, Handle]:
        return _handles(self.noise_dim)

    def pictures(self, noise: np.ndarray, classes: np.ndarray) -> Iterator[Tensor]:
        """Draw (b, 3, H, W) in -1..1, a few at a time."""
        return super().pictures(noise, self.sharpened(np.asarray(classes)))
