"""What noise and class weights mean to pocket and to generators trained from it: in films and in training alike."""

from __future__ import annotations

import numpy as np
from scipy.linalg import hadamard

NOISE = 128  # length of a noise vector
# Row k of the Hadamard matrix of the noise's size is the direction of the k-th thing.
MOVED = ("right", "down", "turn", "size", "stretch", "bend", "bend_across", "slant", "drift", "rings", "rays", "hue")
SHARPENING = 3.0  # power of a class weight, as a share of the strongest


def directions() -> np.ndarray:
    """Unit vectors (len(MOVED), NOISE), orthogonal to each other: along each, noise moves one thing."""
    return hadamard(NOISE)[1 : len(MOVED) + 1] / np.sqrt(NOISE)
