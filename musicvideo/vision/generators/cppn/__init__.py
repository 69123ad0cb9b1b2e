"""CPPN: patterns computed from formulas. It has no weights, draws any resolution and runs everywhere."""

from __future__ import annotations

from musicvideo.errors import MediaError
from musicvideo.vision.generators.cppn.looks import LOOKS
from musicvideo.vision.generators.record import Generator, Options, Record


def _load(options: Options) -> Generator:
    import numpy as np
    from numba.core.errors import NumbaError

    from musicvideo.vision.generators.cppn import stages
    from musicvideo.vision.generators.cppn.network import CPPN

    if stages.instructions() == "scalar":
        options.notice("cppn: numba does not know this processor's vector instructions and draws slowly without them")
    generator = CPPN(options.resolution)
    try:
        CPPN(16).frames(np.zeros((1, CPPN.noise_dim)), np.zeros((1, len(LOOKS))))  # compiles the stages
    except (NumbaError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise MediaError(
            f"cppn: numba cannot compile for this processor: {reason} (choose GENERATOR=pocket)"
        ) from error
    return generator


RECORDS = (
    Record(
        name="cppn",
        help="patterns of fungi, water, fire and glass, computed; needs nothing",
        labels=lambda: tuple(LOOKS),
        load=_load,
    ),
)
