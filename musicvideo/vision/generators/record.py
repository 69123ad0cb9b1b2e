"""The interface of all generators, and the record of each, which is known before it is loaded.

Imports nothing heavy: every command that lists generators imports this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

SILENT = partial(tqdm, disable=True)  # makes progress bars that are not shown


@dataclass(frozen=True)
class Handle:
    """A direction in the noise of a generator that moves one thing in its pictures and nothing else.

    Attributes:
        direction: (noise_dim,), a unit vector.
        reach: length of the noise along it that moves the thing as far as looks good, at most.
    """

    direction: np.ndarray
    reach: float


class Generator(Protocol):
    """A class-conditional picture generator.

    Attributes:
        labels: class names; the index is the class id.
        noise_dim: length of a noise vector.
        resolution: height and width of a picture, in pixels.
        handles: directions of its noise that mean something, by name, which the mapping `score` moves; may be empty.
        runs_on: what computes where and how exactly, in a few words for people.
        computed_by: what decides the bytes of pictures beside the vectors and the settings that the generator was
            loaded with: backend, processor or GPU, threads where they matter, versions of the libraries that compute.
            Where two of these mappings are equal, the same vectors give the same bytes. It may change while frames are
            drawn: a GPU short of memory draws fewer pictures at a time.
    """

    labels: Sequence[str]
    noise_dim: int
    resolution: int

    @property
    def handles(self) -> Mapping[str, Handle]: ...

    @property
    def runs_on(self) -> str: ...

    @property
    def computed_by(self) -> Mapping[str, str]: ...

    def frames(self, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Draw one picture for each vector.

        The same vectors give the same bytes, whatever the batch they arrive in.

        Args:
            noise: (B, noise_dim), about -2..2.
            classes: (B, len(labels)), weights 0..1. Their sum is about 1 and may be 0, between notes.

        Returns:
            uint8 (B, resolution, resolution, 3), RGB.
        """


class Matted(Generator, Protocol):
    """A generator that knows where the subject is in its pictures, as one whose record says `matte`."""

    def frames_rgba(self, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Draw one picture for each vector, with the subject's opacity.

        Args:
            noise, classes: as of `frames`.

        Returns:
            uint8 (B, resolution, resolution, 4), RGBA. Alpha is straight: the colours are those of `frames`, also
            where nothing is opaque.
        """


@dataclass(frozen=True)
class Options:
    """Options to load a generator with; each generator uses those that apply to it.

    Attributes:
        resolution: height and width in pixels, in `musicvideo.vision.settings.SIZES`; where a record names its
            `resolutions`, one of those.
        truncation: BigGAN's truncation, 0.1..1, at which its batch norms look their statistics up.
        weights: folder with the weights; None for the cache, else a download.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "fp32", "fp16", "bf16", "auto" for the lowest that draws the same pictures, or "lowest" for one that
            may draw them roughly.
        progress: makes a bar of a download, as tqdm does.
        notice: called with one line for the user.
    """

    resolution: int = 512
    truncation: float = 1.0
    weights: str | os.PathLike | None = None
    device: str = "auto"
    precision: str = "auto"
    progress: Callable[..., tqdm] = SILENT
    notice: Callable[[str], object] = lambda line: None


@dataclass(frozen=True)
class Record:
    """The registry's entry of a generator.

    Every command imports the module of a record, so the module imports its heavy libraries inside `load`.

    Attributes:
        name: what a person types.
        help: one line for `--help`: what it draws and what it needs.
        labels: gives the class names; the index is the class id.
        load: makes the generator ready to draw.
        resolutions: of its pictures in pixels; None for any.
        weights_file: gives the file with the weights that `load` would take, and may download it; None for a generator
            without weights.
        draws_on_gpu: whether a graphics card makes it faster.
        matte: whether it is a `Matted`.
        licence: terms for publishing its pictures; None if there are none beyond this project's licence.
        for_comparison: whether it draws what another one draws, to compare with; listed last, and not in the studio.
    """

    name: str
    help: str
    labels: Callable[[], Sequence[str]]
    load: Callable[[Options], Generator]
    resolutions: tuple[int, ...] | None = None
    weights_file: Callable[[Options], Path] | None = None
    draws_on_gpu: bool = False
    matte: bool = False
    licence: str | None = None
    for_comparison: bool = False
