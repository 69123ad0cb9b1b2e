"""Elementary functions on float32 that a compiler turns into vector instructions.

A loop over a row of pixels is vectorised only if nothing in it is a call. So sine, logarithm and exponential are short
polynomials here, fitted once at import. Errors: sine 2e-7, logarithm 2e-6, exponential 2e-6 of its value.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

F32 = np.float32
OPTIONS: dict[str, Any] = {"fastmath": True, "nogil": True, "error_model": "numpy"}  # of every compiled function
ZERO, QUARTER, HALF, ONE, TWO = map(F32, (0, 0.25, 0.5, 1, 2))
TURNS = F32(0.5 / math.pi)  # turns in a radian
LN2, LOG2E = F32(math.log(2)), F32(1 / math.log(2))
LOWEST = F32(-120)  # exponent of the smallest power of two that `exp` returns
EXPONENT, MANTISSA, BIAS, UNIT = map(np.int32, (23, 0x7FFFFF, 127, 0x3F800000))  # of IEEE 754 single precision


def _fitted(function, low: float, high: float, powers: range) -> tuple[np.float32, ...]:
    """Coefficients of the powers of x that fit a function at the Chebyshev points of an interval."""
    x = (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    coefficients, *_ = np.linalg.lstsq(np.stack([x**power for power in powers], axis=1), function(x), rcond=None)
    return tuple(map(F32, coefficients))


S1, S3, S5, S7, S9 = _fitted(lambda x: np.sin(2 * np.pi * x), 0, 0.25, range(1, 10, 2))
L1, L2, L3, L4, L5, L6, L7 = _fitted(np.log1p, 0, 1, range(1, 8))
E0, E1, E2, E3, E4, E5 = _fitted(np.exp2, 0, 1, range(6))


@intrinsic
def _bits(typing_context, value):
    """The bits of a float32, as an int32."""
    return types.int32(types.float32), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.IntType(32)
    )


@intrinsic
def _number(typing_context, bits):
    """The float32 of some bits."""
    return types.float32(types.int32), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.FloatType()
    )


@njit(**OPTIONS)
def sine_of_turns(x):
    """sin(2 pi x), for |x| up to some thousands."""
    x = x - np.floor(x + HALF)
    folded = QUARTER - abs(QUARTER - abs(x))  # sin(pi - a) is sin(a)
    square = folded * folded
    value = folded * (S1 + square * (S3 + square * (S5 + square * (S7 + square * S9))))
    return value if x >= ZERO else -value


@njit(**OPTIONS)
def sine(x):
    """sin(x), x in radians."""
    return sine_of_turns(x * TURNS)


@njit(**OPTIONS)
def cosine(x):
    """cos(x), x in radians."""
    return sine_of_turns(x * TURNS + QUARTER)


@njit(**OPTIONS)
def log(x):
    """Natural logarithm of x > 0."""
    bits = _bits(x)
    exponent = F32((bits >> EXPONENT) - BIAS)
    z = _number((bits & MANTISSA) | UNIT) - ONE
    return exponent * LN2 + z * (L1 + z * (L2 + z * (L3 + z * (L4 + z * (L5 + z * (L6 + z * L7))))))


@njit(**OPTIONS)
def exp(x):
    """exp(x) for x up to 80; 2 to the power `LOWEST` below that."""
    power = max(x * LOG2E, LOWEST)
    whole = np.floor(power)
    z = power - whole
    fraction = E0 + z * (E1 + z * (E2 + z * (E3 + z * (E4 + z * E5))))
    return fraction * _number((np.int32(whole) + BIAS) << EXPONENT)


@njit(**OPTIONS)
def clip(x, low, high):
    """x, or the bound that it passes."""
    return min(max(x, low), high)


@njit(**OPTIONS)
def inverse_root(x):
    """1 / sqrt(x)."""
    return ONE / np.sqrt(x)
