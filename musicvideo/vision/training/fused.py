"""max(scale x + offset, 0) and its gradients in one pass each, for training on CPUs.

torch passes over the pictures four times, and ten times for the gradients. At 256x256 they do not fit into the caches,
so this function would take half of a training step. Sums are float32 also where pictures are bfloat16. NaN stays NaN,
so that a failed training is noticed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

ZERO = np.float32(0)
INT16, INT32 = ir.IntType(16), ir.IntType(32)
compiled = numba.njit(fastmath={"contract"}, nogil=True, error_model="numpy")


@intrinsic
def _widen(typing_context, bits):
    """The float32 of a bfloat16, whose bits are its upper half."""

    def write(context, builder, signature, arguments):
        upper = builder.shl(builder.zext(arguments[0], INT32), INT32(16))
        return builder.bitcast(upper, ir.FloatType())

    return types.float32(types.uint16), write


@intrinsic
def _round(typing_context, value):
    """The bits of the nearest bfloat16, of two the even one."""

    def write(context, builder, signature, arguments):
        bits = builder.bitcast(arguments[0], INT32)
        odd = builder.and_(builder.lshr(bits, INT32(16)), INT32(1))
        rounded = builder.add(bits, builder.add(odd, INT32(0x7FFF)))
        return builder.trunc(builder.lshr(rounded, INT32(16)), INT16)

    return types.uint16(types.float32), write


@compiled
def _same(value):
    return value


@functools.cache
def _kernels(dtype: torch.dtype) -> tuple[Callable[..., None], Callable[..., None]]:
    """The function and its gradients for pictures of a type, float32 or bfloat16, as rows (n, h, w * c)."""
    read, write = {torch.float32: (_same, _same), torch.bfloat16: (_widen, _round)}[dtype]

    @compiled
    def forward(rows, scale, offset, result):
        for n in range(rows.shape[0]):
            s, o = scale[n], offset[n]
            for y in range(rows.shape[1]):
                row, out = rows[n, y], result[n, y]
                for k in range(row.size):
                    value = read(row[k]) * s[k] + o[k]
                    out[k] = write(ZERO if value <= ZERO else value)  # noqa: FURB136 - max would make 0 of NaN

    @compiled
    def backward(rows, scale, offset, gradient, of_rows, of_scale, of_offset):
        for n in range(rows.shape[0]):
            s, o, sums, totals = scale[n], offset[n], of_scale[n], of_offset[n]
            for y in range(rows.shape[1]):
                row, given, out = rows[n, y], gradient[n, y], of_rows[n, y]
                for k in range(row.size):
                    value = read(row[k])
                    passed = ZERO if value * s[k] + o[k] <= ZERO else read(given[k])
                    out[k] = write(passed * s[k])
                    sums[k] += passed * value
                    totals[k] += passed

    return forward, backward


def _rows(pictures: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, h, w * c), without a copy where channels lie side by side."""
    n, c, h, w = pictures.shape
    return pictures.permute(0, 2, 3, 1).reshape(n, h, w * c)


def _array(tensor: Tensor) -> np.ndarray:
    """Its memory, as numpy knows it; bfloat16 as bits."""
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


class ScaleAndReLU(torch.autograd.Function):
    """max(scale x + offset, 0) of pictures (n, c, h, w), float32 or bfloat16, with scales and offsets (n, c)."""

    @staticmethod
    def forward(context: Any, x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        n, c, h, w = x.shape
        rows = _rows(x)
        scale, offset = (values.float().repeat(1, w) for values in (scale, offset))
        result = torch.empty_like(rows)
        _kernels(x.dtype)[0](*map(_array, (rows, scale, offset, result)))
        context.save_for_backward(rows, scale, offset)
        return result.view(n, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, scale, offset = context.saved_tensors
        n, c, h, w = gradient.shape
        of_rows, of_scale, of_offset = torch.empty_like(rows), torch.zeros_like(scale), torch.zeros_like(offset)
        arrays = (rows, scale, offset, _rows(gradient), of_rows, of_scale, of_offset)
        _kernels(rows.dtype)[1](*map(_array, arrays))
        of_scale, of_offset = (sums.view(n, w, c).sum(dim=1) for sums in (of_scale, of_offset))
        return of_rows.view(n, h, w, c).permute(0, 3, 1, 2), of_scale, of_offset
