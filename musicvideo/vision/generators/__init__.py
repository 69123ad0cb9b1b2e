"""What can draw: anything that turns noise and class weights into pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from musicvideo.vision.labels import imagenet_labels


class Generator(Protocol):
    """A class-conditional picture generator.

    Attributes:
        labels: class names; the index is the class id.
        noise_dim: length of a noise vector.
        resolution: height and width of a picture, in pixels.
        runs_on: what computes where and how exactly, for people.
    """

    labels: Sequence[str]
    noise_dim: int
    resolution: int
    runs_on: str

    def frames(self, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Draw one picture for each vector.

        The same vectors give the same bytes, whatever the batch they arrive in.

        Args:
            noise: (B, noise_dim), about -2..2.
            classes: (B, len(labels)), weights 0..1.

        Returns:
            uint8 (B, resolution, resolution, 3), RGB.
        """


SILENT = partial(tqdm, disable=True)
EMBEDDED = Path(__file__).parents[2] / "assets" / "pocket"     # weights, configuration and labels of `pocket`
NAMES = ("biggan", "pocket", "cppn", "biggan-reference")


def labels(name: str) -> Sequence[str]:
    """Class names of a generator, before it is loaded.

    Raises:
        ValueError: an unknown name.
    """
    if name == "cppn":
        from musicvideo.vision.generators.cppn import CPPN

        return CPPN.labels
    if name == "pocket":
        return json.loads((EMBEDDED / "labels.json").read_text(encoding="utf-8"))
    if name in ("biggan", "biggan-reference"):
        return imagenet_labels()
    raise _unknown(name)


def load(
    name: str,
    *,
    resolution: int = 512,
    truncation: float = 1.0,
    weights: str | os.PathLike | None = None,
    device: str = "auto",
    precision: str = "auto",
    progress: Callable[..., tqdm] = SILENT,
) -> Generator:
    """Make a generator ready to draw.

    Args:
        name: one of `NAMES`.
        resolution: height and width in pixels; BigGAN has 128, 256 and 512, and pocket one of its own.
        truncation: BigGAN's truncation, 0.1..1, which its batch norms look their statistics up by.
        weights: folder with BigGAN's weights; None looks in the cache, then downloads.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: BigGAN's: "fp32", "fp16", "bf16", "auto" for the lowest that draws the same pictures, or "lowest"
            for one that may draw them roughly.
        progress: makes a bar of a download, as tqdm does.

    Raises:
        ValueError: an unknown name, or a resolution the generator does not have.
        musicvideo.errors.MediaError: no weights.
    """
    # Imported here, for a drawing by one generator should not wait for the other's libraries.
    if name == "cppn":
        from musicvideo.vision.generators.cppn import CPPN

        return CPPN(resolution)
    if name not in NAMES:
        raise _unknown(name)
    from musicvideo.vision.generators import backends, biggan
    from musicvideo.vision.generators import weights as biggan_weights

    backends.devices(device)                    # a wrong one should not wait for a download
    if name == "pocket":
        model = biggan_weights.embedded()
        return biggan.Pocket(model, labels(name), truncation=truncation, device=device, precision=precision)
    model = biggan_weights.load(resolution, weights, progress=progress)
    if name == "biggan-reference":
        return biggan.Reference(model, labels(name), truncation=truncation)
    return biggan.BigGAN(model, labels(name), truncation=truncation, device=device, precision=precision)


def _unknown(name: str) -> ValueError:
    return ValueError(f"generator: unknown name {name!r} (choose {', '.join(NAMES)})")
