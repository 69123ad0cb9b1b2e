"""A pool of memory for pictures: new pages from the system cost as much time as writing to them."""

from __future__ import annotations

import math
import weakref
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor


class MemoryPool:
    """Hands out tensors that reuse the memory of earlier tensors of the same size. Threads may share it."""

    def __init__(self) -> None:
        self.unused: defaultdict[int, list[np.ndarray]] = defaultdict(list)  # by count of numbers

    def empty(self, *shape: int) -> Tensor:
        """A contiguous float32 tensor with any content; its memory is used again when nothing refers to it any more."""
        size = math.prod(shape)
        try:
            memory = self.unused[size].pop()
        except IndexError:
            memory = torch.empty(size).numpy()  # torch's memory begins at a cache line, NumPy's need not
        borrowed = memory[:]  # this view lives until the last tensor on it is gone
        weakref.finalize(borrowed, self.unused[size].append, memory).atexit = False
        return torch.from_numpy(borrowed).view(shape)
