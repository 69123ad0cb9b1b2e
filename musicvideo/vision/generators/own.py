"""Generators that `musicvideo generator` trained on somebody's own pictures: folders of weights like pocket's.

A folder may come from a stranger. So its configuration is compared with the only architecture that is trained here
before memory is taken for it, its weights are read without running code, and its checksums are compared.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musicvideo import documents, files, limits
from musicvideo.errors import MediaError
from musicvideo.vision.generators import pocket
from musicvideo.vision.generators.biggan.architecture import LAYERS
from musicvideo.vision.generators.record import Record

MEDIA = Path("media")
SUFFIX = ".generator"  # of the folder media/NAME.generator
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
ABOUT = "about.json"  # how it was made, and the checksums of the other files
FILES = ("config.json", "labels.json", "model.safetensors")
NARROWEST, WIDEST = 4, 64  # channels of the last block; pocket has 24
MOST_CLASSES = 1000
LARGEST_DOCUMENT = 1 << 20  # bytes


_copies: dict[str, Path] = {}  # name of a generator -> folder of its copy, which this process takes instead


def folder(name: str) -> Path:
    """The folder of a generator, by its name or its path, or that of its copy; it need not exist."""
    return _copies.get(name) or (Path(name) if os.sep in name else MEDIA / f"{name}{SUFFIX}")


def use_copy(name: str, copy: Path) -> None:
    """Take a generator from a copy of its folder from now on in this process, as on a node of a cluster."""
    _copies[name] = copy


def parts(name: str) -> list[Path]:
    """The files that a copy of a generator needs. The first states the checksums of the others.

    Raises:
        MediaError: one was changed, or is missing.
    """
    place = checked(folder(name))
    return [place / part for part in (ABOUT, *FILES)]


def names() -> list[str]:
    """Names of those in media/, whether they can draw or not."""
    found = (place.name.removesuffix(SUFFIX) for place in MEDIA.glob(f"*{SUFFIX}") if place.is_dir())
    return sorted(filter(NAME.fullmatch, found))


def record(name: str) -> Record:
    """The registry's entry of a generator of one's own.

    Raises:
        ValueError: there is none of that name.
        MediaError: its folder holds no such generator.
    """
    place = folder(name)
    try:
        there = (os.sep in name or bool(NAME.fullmatch(name))) and place.is_dir()
    except (OSError, ValueError):  # too long, a NUL byte
        there = False
    if not there:
        raise ValueError(f"generator: unknown name {documents.shortened(repr(name))}")
    config = configuration(place)
    return Record(
        name=name,
        help=f"classes from pictures of your own: {config['num_classes']}",
        labels=lambda: pocket.labels(checked(place)),
        load=lambda options: pocket.load(options, checked(place)),
        resolutions=(config["output_dim"],),
        weights_file=lambda options: place / pocket.WEIGHTS.name,
        matte=pocket.has_matte(config),
    )


def about(place: Path) -> Mapping[str, Any]:
    """How a generator was made, as `musicvideo.vision.training.own` wrote it.

    Raises:
        MediaError: the folder holds no such document.
    """
    return _document(place, ABOUT, dict)


def configuration(place: Path) -> Mapping[str, Any]:
    """The architecture of a generator.

    Raises:
        MediaError: none that is trained here.
    """
    found, labels = _document(place, "config.json", dict), _document(place, "labels.json", list)
    resolution, width = found.get("output_dim"), found.get("channel_width")
    wanted = {
        "attention_layer_position": -1,
        "class_embed_dim": 128,
        "eps": 1e-4,
        "layers": json.loads(json.dumps(LAYERS.get(resolution) if isinstance(resolution, int) else None)),
        "n_stats": 51,
        "num_classes": len(labels),
        "z_dim": 128,
    }
    known = {"channel_width", "output_dim", "matte"}
    if (
        {key: value for key, value in found.items() if key not in known} != wanted
        or not isinstance(width, int)
        or not NARROWEST <= width <= WIDEST
        or found.get("matte", True) is not True  # those without one do not say so
        or not 1 <= len(labels) <= MOST_CLASSES
        or not all(isinstance(label, str) for label in labels)
    ):
        raise MediaError(f"{place}: is no generator that `make generator` made (its config.json or labels.json differ)")
    return found


def _document(place: Path, name: str, kind: type) -> Any:
    try:
        found = json.loads(documents.read_text(place / name, LARGEST_DOCUMENT))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, kind):
        raise MediaError(f"{place / name}: is damaged (make the generator again)")
    return found


def checked(place: Path) -> Path:
    """The folder, if its files are those that were written.

    Raises:
        MediaError: one was changed, or is missing.
    """
    configuration(place)
    stated = about(place).get("files")
    for name in FILES:
        if files.require_file(place / name).stat().st_size > limits.WEIGHTS_BYTES:
            raise MediaError(f"{place / name}: is larger than {limits.WEIGHTS_BYTES >> 20} MiB")
        if not isinstance(stated, dict) or stated.get(name) != files.sha256(place / name):
            raise MediaError(f"{place / name}: has changed since the generator was made (make it again)")
    return place
