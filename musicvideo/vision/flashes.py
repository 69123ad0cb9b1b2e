"""Flashes of a film by WCAG 2.2, success criterion 2.3.1, Three Flashes or Below Threshold.

The criterion (https://www.w3.org/TR/WCAG22/#dfn-general-flash-and-red-flash-thresholds): a film passes if there are no
more than three general flashes and no more than three red flashes within any second, or if the flashes that occur
concurrently take no more than a quarter of any visual field of 10 degrees.

- A transition is the change of a place's value from a peak to the next valley, or from a valley to the next peak. A
  flash is two opposing transitions.
- General: the value is relative luminance; a transition is 0.1 or more, and its darker end is below 0.8.
- Red: the value is max(0, R - G - B), of linear R, G and B within 0..1; a transition is more than 20/320, and its
  redder end is a saturated red, R / (R + G + B) >= 0.8. This is the definition of Harding and Binnie, which WCAG 2.0
  and 2.1 give. WCAG 2.2 compares chromaticities instead, and the chromaticity of a black picture is not defined.
- A visual field of 10 degrees is 341x256 pixels of a film that is shown as large as fits into 1024x768.

How it is measured: the film is reduced to `SIZE` x `SIZE` places by area, so patterns finer than about 0.2 degrees
count as their mean. WCAG exempts patterns finer than 0.1 degrees. Transitions in one direction are concurrent if those
of the last `TOGETHER` seconds take more than a quarter of some field; a tenth of a second, since a transition of more
than three flashes a second takes less than a sixth. Each place counts the concurrent transitions that it took part in
within the last second. So a moving texture, whose places become brighter and darker each at its own time, does not
flash. The figure of a frame is the largest number of flashes that more than a quarter of some field has seen. Flashes
that visit different places in turn are counted at each place by itself.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from math import floor

import numpy as np

MOST = 3  # flashes within a second that a film may have
SIZE = 128  # places of a side
SCREEN = (1024, 768)  # pixels, on which
FIELD = (341, 256)  # pixels are a visual field of 10 degrees
SHARE = 0.25  # of a field that flashes may take
LEAST = 0.1  # change of relative luminance, of 1
DARK = 0.8  # relative luminance that the darker end of a change is below
LEAST_RED = 20 / 320  # change of R - G - B
SATURATED = 0.8  # R / (R + G + B) of a saturated red, at least
WEIGHTS = (0.2126, 0.7152, 0.0722)  # of R, G and B in relative luminance
TOGETHER = Fraction(1, 10)  # seconds within which transitions in one direction are concurrent
ROUNDING = 1e-6  # of 32-bit arithmetic

_CODES = np.arange(256) / 255
# Linear light of each 8-bit code of sRGB, as WCAG defines relative luminance.
LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)
_RED, _GREEN, _BLUE = (np.float32(weight) * LINEAR for weight in WEIGHTS)


class Flashes:
    """Counts the flashes of a film, frame by frame; memory grows by two bytes a frame.

    Args:
        width, height: of the film in pixels.
        fps: frames a second.

    Attributes:
        general, red: flashes within the second that ends with each frame.
    """

    def __init__(self, width: int, height: int, fps: Fraction):
        self.fps = fps
        self.general, self.red = array("B"), array("B")
        self._general = _Transitions(width, height, fps, LEAST)
        self._red = _Transitions(width, height, fps, LEAST_RED)

    def add(self, picture: np.ndarray) -> None:
        """Take the next frame: (SIZE, SIZE, 3) uint8, sRGB."""
        codes = [picture[..., channel] for channel in range(3)]
        luminance = _RED[codes[0]] + _GREEN[codes[1]] + _BLUE[codes[2]]
        # With a ceiling of DARK + LEAST, the darker end of every transition is below DARK.
        self.general.append(self._general.add(np.minimum(luminance, np.float32(DARK + LEAST - ROUNDING))))
        red, green, blue = (LINEAR[code] for code in codes)
        saturated = red * (1 - SATURATED) >= (green + blue) * SATURATED - ROUNDING
        self.red.append(self._red.add(np.maximum(red - green - blue, 0), saturated & (red > 0)))


def too_many(flashes: Sequence[int], fps: Fraction) -> list[tuple[float, float]]:
    """Where a film flashes more often than `MOST` times a second.

    Args:
        flashes: within the second that ends with each frame.
        fps: frames a second.

    Returns:
        (first, last) seconds of each stretch, in order.
    """
    over = np.flatnonzero(np.diff(np.asarray(flashes) > MOST, prepend=False, append=False))
    return [(max(0.0, float(begin / fps) - 1), float(end / fps)) for begin, end in over.reshape(-1, 2).tolist()]


class _Transitions:
    """Counts the transitions of each place within the last second that are concurrent with others around it."""

    def __init__(self, width: int, height: int, fps: Fraction, least: float):
        scale = min(SCREEN[0] / width, SCREEN[1] / height)
        sides = FIELD[0] / (scale * width), FIELD[1] / (scale * height)  # of a field, as shares of the picture's
        self._columns, self._rows = (max(1, round(min(1.0, side) * SIZE)) for side in sides)
        self._most = SHARE * sides[0] * sides[1] * SIZE**2  # places
        self._least = np.float32(least - ROUNDING)
        self._together = max(1, round(TOGETHER * fps))  # frames
        self._rises, self._falls = _Recent(), _Recent()
        self._counted: deque[np.ndarray] = deque(maxlen=max(1, floor(fps)))  # of each frame of the last second
        self._count = np.zeros((SIZE, SIZE), np.int16)
        self._frame = 0

    def add(self, value: np.ndarray, may_rise: np.ndarray | bool = True) -> int:
        """Take the values (SIZE, SIZE) of a frame, and where a rise counts; the flashes of the second until it."""
        if not self._frame:
            self._low, self._high = value.copy(), value.copy()  # since the last transition
            self._fell = np.ones(value.shape, bool)  # direction of the last transition, or
            self._rose = np.ones(value.shape, bool) & may_rise  # none yet: either may be the first
        np.minimum(self._low, value, out=self._low)
        np.maximum(self._high, value, out=self._high)
        rises = self._fell & (value - self._low >= self._least) & may_rise
        falls = self._rose & (self._high - value >= self._least)
        np.copyto(self._high, value, where=rises)
        np.copyto(self._low, value, where=falls)
        self._rose = (self._rose | rises) & ~falls
        self._fell = (self._fell | falls) & ~rises
        now = self._concurrent(self._rises, rises).astype(np.int8) + self._concurrent(self._falls, falls)
        if len(self._counted) == self._counted.maxlen:
            self._count -= self._counted[0]
        self._counted.append(now)
        self._count += now
        self._frame += 1
        seen = 0
        while self._fields(self._count > seen) is not None:
            seen += 1
        return seen // 2

    def _concurrent(self, recent: _Recent, new: np.ndarray) -> np.ndarray:
        """Where transitions of one direction, not counted so far, are concurrent with enough others around them."""
        recent.frame[new] = self._frame
        recent.waiting |= new
        together = recent.frame > self._frame - self._together
        recent.waiting &= together
        fields = self._fields(together)
        if fields is None:
            return np.zeros_like(new)
        # A place is in one of these fields if one of them begins at most a field's sides before it.
        rows, columns = self._rows - 1, self._columns - 1
        covered = _sums(np.pad(fields, ((rows, rows), (columns, columns))), rows + 1, columns + 1) > 0
        counted = recent.waiting & covered
        recent.waiting &= ~counted
        return counted

    def _fields(self, places: np.ndarray) -> np.ndarray | None:
        """Which fields, by their first row and column, have more than `SHARE` of these places; None if none has."""
        if np.count_nonzero(places) <= self._most:
            return None
        fields = _sums(places, self._rows, self._columns) > self._most
        return fields if fields.any() else None


class _Recent:
    """The last transition in one direction of each place: its frame, and whether it waits to be counted."""

    def __init__(self) -> None:
        self.frame = np.full((SIZE, SIZE), np.iinfo(np.int32).min, np.int32)
        self.waiting = np.zeros((SIZE, SIZE), bool)


def _sums(places: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """How many of some places each rectangle of `rows` x `columns` has: (SIZE - rows + 1, SIZE - columns + 1)."""
    total = np.pad(places.cumsum(0, np.int32).cumsum(1), ((1, 0), (1, 0)))
    return total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
