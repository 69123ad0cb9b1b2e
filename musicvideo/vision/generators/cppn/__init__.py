"""CPPN: patterns computed from formulas. It has no weights, draws any resolution and runs everywhere."""

from __future__ import annotations

from musicvideo.vision.generators.cppn.looks import LOOKS
from musicvideo.vision.generators.record import Generator, Options, Record


def _load(options: Options) -> Generator:
    from musicvideo.vision.generators.cppn.network import CPPN

    return CPPN(options.resolution)


RECORD = Record(
    name="cppn",
    help="patterns of fungi, water, fire and glass, computed; needs nothing",
    labels=lambda: tuple(LOOKS),
    load=_load,
)
