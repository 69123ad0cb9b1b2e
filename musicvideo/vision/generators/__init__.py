"""The registry of generators: anything that turns noise and class weights into pictures.

Beside them are the generators that people trained on their own pictures (`musicvideo.vision.generators.own`).
To add a generator, write a module with its `RECORDS` and add its name to `MODULES`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from musicvideo import files
from musicvideo.vision.generators import own
from musicvideo.vision.generators.record import SILENT, Generator, Handle, Options, Record

__all__ = ["NAMES", "SILENT", "Generator", "Handle", "Options", "Record", "find", "labels", "load",
           "weights_checksum", "weights_file"]  # fmt: skip

# Modules of this package, in the order in which people read of their generators.
MODULES = (
    "biggan",
    "pocket",
    "cppn",
)
_RECORDS: list[Record] = [
    record for module in MODULES for record in importlib.import_module(f"{__name__}.{module}").RECORDS
]
GENERATORS = {record.name: record for record in sorted(_RECORDS, key=lambda record: record.for_comparison)}
NAMES = tuple(GENERATORS)


def find(name: str) -> Record:
    """The record of a generator.

    Args:
        name: one of `NAMES`, or a name or a folder of one that was trained on pictures of one's own.

    Raises:
        ValueError: an unknown name.
        MediaError: a folder that holds no generator.
    """
    if name in GENERATORS:
        return GENERATORS[name]
    try:
        return own.record(name)
    except ValueError as error:
        raise ValueError(f"{error} (choose {', '.join(NAMES)}, or train one: `make generator`)") from None


def labels(name: str) -> Sequence[str]:
    """Class names of a generator, before it is loaded.

    Raises:
        ValueError: an unknown name.
    """
    return find(name).labels()


def load(
    name: str,
    *,
    resolution: int = 512,
    truncation: float = 1.0,
    weights: str | os.PathLike | None = None,
    device: str = "auto",
    precision: str = "auto",
    progress: Callable[..., tqdm] = SILENT,
    notice: Callable[[str], object] = lambda line: None,
) -> Generator:
    """Make a generator ready to draw.

    Args:
        name: as of `find`.
        resolution, truncation, weights, device, precision, progress, notice: as in `Options`.

    Raises:
        ValueError: an unknown name, or an option that the generator does not have.
        musicvideo.errors.MediaError: no weights, or no such device.
    """
    return find(name).load(
        Options(
            resolution=resolution,
            truncation=truncation,
            weights=weights,
            device=device,
            precision=precision,
            progress=progress,
            notice=notice,
        )
    )


def weights_file(
    name: str,
    resolution: int,
    folder: str | os.PathLike | None = None,
    *,
    progress: Callable[..., tqdm] = SILENT,
    notice: Callable[[str], object] = lambda line: None,
) -> Path | None:
    """File with the weights that `load` would take, which may download it; None for a generator without weights.

    Args:
        name: as of `find`.
        resolution: height and width in pixels.
        folder: with the weights; None for the cache, else a download.
        progress, notice: as in `Options`.

    Raises:
        ValueError: an unknown name, or a resolution that the generator does not have.
        musicvideo.errors.MediaError: no weights.
    """
    file = find(name).weights_file
    return file and file(Options(resolution=resolution, weights=folder, progress=progress, notice=notice))


def weights_checksum(
    name: str,
    resolution: int,
    folder: str | os.PathLike | None = None,
    *,
    progress: Callable[..., tqdm] = SILENT,
    notice: Callable[[str], object] = lambda line: None,
) -> str | None:
    """SHA-256 of `weights_file`; arguments and errors as for it."""
    file = weights_file(name, resolution, folder, progress=progress, notice=notice)
    return files.sha256(file) if file else None
