"""Head-related impulse responses from SOFA files, the field's standard (AES69-2022)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy

from musicvideo import limits
from musicvideo.errors import MediaError
from musicvideo.files import require_file

if TYPE_CHECKING:
    import h5py

# Where libmysofa, which FFmpeg depends on, installs MIT's measurements of a KEMAR manikin.
KEMAR = [
    Path(prefix) / "share/libmysofa/default.sofa" for prefix in (sys.prefix, "/usr", "/usr/local", "/opt/homebrew")
]

CONVENTION = "SimpleFreeFieldHRIR"
MOST_VALUES = 1 << 26  # numbers in a variable; half a GB in memory, some ten times a large measurement
CLEARANCE = 0.2  # least distance of the head's centre from the hull of the directions, which lie at 1


@dataclass(frozen=True)
class Measurement:
    """The responses of a SOFA file."""

    rate: float  # Hz
    directions: np.ndarray  # (M, 3) unit vectors from the head: to the front, to the left, up
    responses: np.ndarray  # (M, 2, N) left and right ear
    delays: np.ndarray  # (M, 2) samples before each response, in addition to its own onset


def find_kemar() -> Path | None:
    """The measured head that came with FFmpeg, if it did."""
    return next((path for path in KEMAR if path.is_file()), None)


def read_sofa(path: str | PathLike) -> Measurement:
    """Read a SOFA file of free-field head-related impulse responses.

    Raises:
        MediaError: not a SOFA file, or one of another convention.
    """
    # Imported here, and scipy.spatial by its first use: every mix imports this module, and few read a file.
    import h5py

    require_file(path)
    try:
        with h5py.File(path) as file:
            convention = _text(file.attrs.get("SOFAConventions", "none"))
            if convention != CONVENTION:
                raise MediaError(f"{path}: its SOFA convention is {convention}; give a file of {CONVENTION}")
            responses = _values(file["Data.IR"])
            rate = float(_values(file["Data.SamplingRate"]).flat[0])
            directions = _unit_vectors(file["SourcePosition"], len(responses))
            left_first = _unit_vectors(file["ReceiverPosition"], 2)[:, 1].argmax() == 0
            delays = np.broadcast_to(_values(file["Data.Delay"]), (len(responses), 2))
    except (OSError, KeyError, ValueError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        raise MediaError(f"{path}: not a SOFA file that can be read ({' '.join(str(error).split())})") from None
    lowest, highest = limits.SAMPLE_RATES
    if not (lowest <= rate <= highest and np.isfinite(directions).all() and (np.abs(delays) <= rate).all()):
        raise MediaError(f"{path}: states a rate, directions or delays that cannot be; give another measurement")
    if (
        responses.ndim != 3
        or responses.shape[1] != 2
        or not np.isfinite(responses).all()
        or not responses.any(axis=-1).all()
    ):
        raise MediaError(f"{path}: does not hold a sound response of two ears for each direction")
    if not _surround(directions):
        raise MediaError(f"{path}: its {len(responses)} directions do not surround a head")
    order = [0, 1] if left_first else [1, 0]
    return Measurement(rate, directions, responses[:, order], delays[:, order])


def _surround(directions: np.ndarray) -> bool:
    """Whether there are directions on all sides of the head."""
    try:
        sides = scipy.spatial.ConvexHull(directions).equations[:, 3]
    except (scipy.spatial.QhullError, ValueError):  # too few, or all in one plane
        return False
    return bool((sides < -CLEARANCE).all())


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _values(variable: h5py.Dataset) -> np.ndarray:
    """All numbers of a variable, if there are not too many: a small file may unpack to any size."""
    if variable.size > MOST_VALUES:
        raise ValueError(f"{variable.size} numbers in {variable.name}")
    return variable[:].astype(float)


def _unit_vectors(positions: h5py.Dataset, count: int) -> np.ndarray:
    """(count, 3) cartesian unit vectors of a SOFA position variable, spherical (degrees) or cartesian."""
    values = _values(positions).reshape(len(positions), 3, -1)[..., 0]
    if _text(positions.attrs.get("Type", "spherical")).startswith("spherical"):
        values = unit_vectors(-values[:, 0], values[:, 1])  # SOFA counts azimuth counter-clockwise
    else:
        values = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.broadcast_to(values, (count, 3))


def unit_vectors(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """(N, 3) unit vectors, front, left, up, of directions in degrees, azimuth clockwise."""
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.stack([np.cos(a) * np.cos(e), -np.sin(a) * np.cos(e), np.sin(e)], axis=-1)
