"""Sound models: how a mono source at a moving position reaches two ears.

A model is a function `(source, position, rate) -> ears`:

    source: (N,) mono signal.
    position: a `musicvideo.panning.Position` of N samples.
    rate: Hz.
    ears: (N, 2) left and right ear, without added latency, with the power of the source in the sum of both ears.

Gains, filters and delays follow the position sample by sample, so that a moving source gives no steps. The memory of
its filters is shorter than `musicvideo.sound.spatial.MARGIN`.

To add a model, write a module here with a function `load(sofa)` that returns one, and add its name to `MODELS`. `sofa`
is a file of measurements, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from os import PathLike

import numpy as np

from musicvideo.panning import Position
from musicvideo.sound.sofa import find_kemar

Model = Callable[[np.ndarray, Position, float], np.ndarray]

MODELS = ("pan", "sphere", "hrtf")  # the modules of this package


@cache
def load_model(name: str | None = None, sofa: str | PathLike | None = None) -> Model:
    """The model of a name.

    Args:
        name: one of `MODELS`; None is "hrtf" where measurements are given or installed, else "sphere".
        sofa: a SOFA file with the measurements for "hrtf"; None are those of the KEMAR manikin that come with FFmpeg.

    Raises:
        ValueError: an unknown name.
        MediaError: "hrtf" without measurements, or a SOFA file that cannot be used.
    """
    sofa = sofa or find_kemar()
    if name is None:
        name = "hrtf" if sofa else "sphere"
    if name not in MODELS:
        raise ValueError(f"model: unknown name {name!r} (choose {', '.join(MODELS)})")
    # Imported here: the models' libraries take most of a second to load, and a finished mix needs none of them.
    return import_module(f"{__name__}.{name}").load(sofa)
