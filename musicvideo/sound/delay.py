"""A delay that changes at every sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage, signal

OVERSAMPLING = 2  # before the signal is interpolated
INTERPOLATOR = signal.firwin(95, 1 / OVERSAMPLING, window=("kaiser", 9.0))  # flat to 20 kHz at 48 kHz, stops 90 dB
SPLINE = 5  # order of the interpolation: with it, images of a 12 kHz tone at 48 kHz are below -90 dB


def glide(x: np.ndarray, delays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Delay a signal by amounts that change at every sample, once for each of `delays`.

    Args:
        x: (N,) signal; silent outside.
        delays: (N,) samples each; fractions, and below 0 for earlier, allowed.

    Returns:
        For each delay (N,) x at n - delay[n], by spline interpolation of the oversampled signal.
    """
    dense = ndimage.spline_filter1d(
        signal.resample_poly(x, OVERSAMPLING, 1, window=INTERPOLATOR), SPLINE, mode="constant"
    )
    samples = np.arange(len(x))
    return [
        ndimage.map_coordinates(
            dense, [OVERSAMPLING * (samples - delay)], order=SPLINE, mode="constant", prefilter=False
        )
        for delay in delays
    ]
