"""The stages of the pattern network, each a loop over rows of pixels that numba compiles.

A stage reads planes, float32 arrays (n, n) with one number a pixel, and writes planes. Rows go from top to bottom, y
points upwards. Within a stage every row stays in the processor's cache, and the loop along it becomes vector
instructions (AVX, NEON). For that each number must be a float32, arrays must be contiguous, and what an `if` chooses
between must be computed before it.

Compiling takes some seconds and is done once: numba keeps the result in the folder that `musicvideo.caches` gives.
`python -m pytest tests/test_cppn.py` compares pictures with stored ones.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.registry import cpu_target

from musicvideo import caches
from musicvideo.vision.generators import hardware
from musicvideo.vision.generators.cppn import arithmetic
from musicvideo.vision.generators.cppn.arithmetic import (
    F32,
    HALF,
    ONE,
    OPTIONS,
    QUARTER,
    TURNS,
    TWO,
    ZERO,
    clip,
    cosine,
    exp,
    inverse_root,
    log,
    sine,
    sine_of_turns,
)  # fmt: skip

PERIOD = 8  # shells, after which everything that goes with the number of a shell begins again
PI = F32(math.pi)
LARGE = F32(1e9)
ROUND = F32(2 * math.pi / PERIOD)  # radians a shell: how shells turn against each other
SMALLEST = F32(0.003)  # radius of a cap that is drawn
REACH = F32(2.4)  # radii of a cap, within which it is seen or throws a shadow
FAINT = F32(1e-5)  # light that is left out


class Scene(NamedTuple):
    """Every number that a picture is drawn from, but for those of waves, caps, palette and spores.

    From `Composition`: depth, bare. From `Look`: caps, rise, sway, petals, scallop, marble, ribs, gills, spots, veins,
    rings, glow, gloss, spores. From both `Look` and the noise: twist, curl.
    """

    cosine: np.float32  # of the picture's turn, times its zoom
    sine: np.float32
    shift: np.float32  # how far that moves to the right, so that a zoom leads to the film's middle
    pixel: np.float32  # width of a pixel
    eye_x: np.float32  # where the shells of the ground have their centre
    eye_y: np.float32
    wide: np.float32  # how much a distance from there counts, across and up, squared
    tall: np.float32
    depth: np.float32  # of the ground: its u in one u of a cap
    bare: np.float32  # 1 where the ground has the colours of caps, 0 where it has its own body
    dive: np.float32  # shells that the eye has fallen through
    lamp_x: np.float32  # direction of the lamp
    lamp_y: np.float32
    lamp_z: np.float32
    half_x: np.float32  # Blinn's half vector: between lamp and eye, of length 1
    half_y: np.float32
    half_z: np.float32
    twist: np.float32  # radians of v a unit of u
    spin: np.float32  # radians that are added to v
    phase: np.float32  # shells that are added to depth
    pigment_0: np.float32  # phases of the three sine neurons
    pigment_1: np.float32
    pigment_2: np.float32
    dome: np.float32  # 1 where shells are domes, -1 where they are bowls
    caps: np.float32
    rise: np.float32
    sway: np.float32
    petals: np.float32
    scallop: np.float32
    marble: np.float32
    ribs: np.float32
    gills: np.float32
    spots: np.float32
    veins: np.float32
    rings: np.float32
    curl: np.float32
    glow: np.float32
    gloss: np.float32
    spores: np.float32


# Numba would look for the place and the time of this file: a copy of it, or a new checkout, would compile anew.
_sources = b"".join(Path(source).read_bytes() for source in (__file__, arithmetic.__file__))
_cache = caches.folder("cppn") / hashlib.sha256(_sources).hexdigest()[:16]
_kept = caches.open_sealed(_cache)


class _Locator:
    """Tells numba where functions are kept; the name of the folder says of which source they were compiled."""

    _py_file = __file__  # named in numba's warnings

    @classmethod
    def from_function(cls, function: Callable, file: str) -> _Locator:
        return cls()

    def ensure_cache_path(self) -> None:
        """`open_sealed` has made it."""

    def get_cache_path(self) -> str:
        return str(_cache)

    def get_source_stamp(self) -> str:
        return _cache.name

    def get_disambiguator(self) -> str:
        return ""


class _Files(CompileResultCacheImpl):
    _locator_classes = [_Locator]


class _Cache(FunctionCache):
    """Numba's, which gives up on a full disk."""

    _impl_class = _Files

    def save_overload(self, *compiled):
        with suppress(OSError):
            super().save_overload(*compiled)


def stage(function: Callable) -> Any:
    """A function that numba compiles, from the cache where it can be used."""
    compiled = numba.njit(**OPTIONS)(function)
    if _kept:
        compiled._cache = _Cache(function)
    return compiled


@stage
def plane(scene, axis, waves, X, Y):
    """1. Bend the plane.

    Args:
        axis: (n,) coordinates of the pixels.
        waves: (5, k): wave number across and up, phase, and how far the wave bends the plane across and up.
        X, Y: planes to write, the coordinates of each pixel in the bent plane.
    """
    n = axis.size
    for i in range(n):
        x, y, up = X[i], Y[i], -axis[i]
        for j in range(n):
            x[j] = scene.cosine * axis[j] - scene.sine * up + scene.shift
            y[j] = scene.sine * axis[j] + scene.cosine * up
        for k in range(waves.shape[1]):
            across, upwards, bend_x, bend_y = waves[0, k] * TURNS, waves[1, k] * TURNS, waves[3, k], waves[4, k]
            # The phase of the wave is linear in the column.
            step = scene.cosine * across + scene.sine * upwards
            start = (scene.cosine * upwards - scene.sine * across) * up + across * scene.shift + waves[2, k] * TURNS
            for j in range(n):
                wave = sine_of_turns(step * axis[j] + start)
                x[j] += bend_x * wave
                y[j] += bend_y * wave


@stage
def colony(scene, axis, centres, rims, X, Y, CAP_X, CAP_Y, LOBE, LAYER, SHADOW, OPEN):
    """2. Put caps on the ground, each over the ones before it.

    Args:
        centres: (caps, 4): x, y, radius, and radii from the rim in one unit of `OPEN`, from the ground up. A negative
            radius is a hole in what lies under it, down to the ground.
        rims: (caps, 9): how much nearer each rim is than a circle's, as a Chebyshev series of the cosine of the angle
            from upwards.
        CAP_X, CAP_Y: planes to write: the pixel from the centre of its cap, in radii.
        LOBE: how much nearer the rim is than a circle's, there.
        LAYER: 0 on the ground, counting towards the eye.
        SHADOW: what caps in front throw on the pixel, 0..1.
        OPEN: 0 on the line where two caps meet, 1 a pixel away.
    """
    n = axis.size
    for i in range(n):
        x, y = X[i], Y[i]
        cap_x, cap_y, lobe, layer, shadow, opened = CAP_X[i], CAP_Y[i], LOBE[i], LAYER[i], SHADOW[i], OPEN[i]
        left, right, low, high = LARGE, -LARGE, LARGE, -LARGE  # how far the row is bent to each side, and where it is
        for j in range(n):
            cap_x[j] = x[j] - scene.eye_x
            cap_y[j] = y[j] - scene.eye_y
            lobe[j], layer[j], shadow[j], opened[j] = ZERO, ZERO, ZERO, ONE
            bend = x[j] - axis[j]
            left, right, low, high = min(left, bend), max(right, bend), min(low, y[j]), max(high, y[j])
        for k in range(centres.shape[0]):
            centre_x, centre_y, radius, sharpness = centres[k, 0], centres[k, 1], centres[k, 2], centres[k, 3]
            hole = radius < ZERO
            radius = abs(radius)
            if radius < SMALLEST:
                continue
            reach = REACH * radius
            first = max(0, int((centre_x - reach - right + ONE) / scene.pixel))
            last = min(n, int((centre_x + reach - left + ONE) / scene.pixel) + 1)
            if low > centre_y + reach or high < centre_y - reach or last <= first:
                continue
            _cover(scene, centre_x, centre_y, ONE / radius, sharpness, rims[k], F32(k + 1), hole,
                   x[first:last], y[first:last],
                   cap_x[first:last], cap_y[first:last], lobe[first:last], layer[first:last], shadow[first:last],
                   opened[first:last])  # fmt: skip


@stage
def _cover(
    scene, centre_x, centre_y, scale, sharpness, series, number, hole, x, y, cap_x, cap_y, lobe, layer, shadow, opened
):
    """Put one cap over a part of a row."""
    r0, r1, r2, r3, r4 = series[0], series[1], series[2], series[3], series[4]
    r5, r6, r7, r8 = series[5], series[6], series[7], series[8]
    for j in range(x.size):
        dx, dy = (x[j] - centre_x) * scale, (y[j] - centre_y) * scale
        size = dx * dx + dy * dy + F32(1e-4)
        inverse = inverse_root(size)
        e1x, e1y = dx * inverse, dy * inverse
        # Clenshaw's recurrence, for the series and its derivative
        double = e1y + e1y
        b7, d6 = r7 + double * r8, r8 + r8
        b6 = r6 + double * b7 - r8
        b5, d5 = r5 + double * b6 - b7, b7 + b7 + double * d6
        b4, d4 = r4 + double * b5 - b6, b6 + b6 + double * d5 - d6
        b3, d3 = r3 + double * b4 - b5, b5 + b5 + double * d4 - d5
        b2, d2 = r2 + double * b3 - b4, b4 + b4 + double * d3 - d4
        b1, d1 = r1 + double * b2 - b3, b3 + b3 + double * d2 - d3
        d0 = b2 + b2 + double * d1 - d2
        nearer = (r0 + e1y * b1 - b2) * min(F32(6) * size, ONE)  # the top is round
        rim = ONE / (ONE + nearer)
        beyond = size * inverse - rim  # radii from the rim
        # Across the rim it is less far than along the ray.
        oblique = e1x * (b1 + e1y * d0 - d1) * rim
        across = abs(beyond) * inverse_root(ONE + oblique * oblique)
        lee = ONE + F32(0.9) * (e1x * scene.lamp_x + e1y * scene.lamp_y)  # shadows are long away from the lamp
        shade = clip(ONE - F32(2.2) * lee * beyond, ZERO, ONE)
        shade = ZERO if hole else shade
        sunk = clip(F32(1.25) + F32(0.8) * beyond, ZERO, ONE)
        line = clip(across * sharpness - F32(0.75), ZERO, ONE)
        inside = beyond < ZERO
        x_before, y_before, lobe_before, layer_before = cap_x[j], cap_y[j], lobe[j], layer[j]
        darker, narrower = max(shadow[j], shade * shade), min(opened[j], line)
        here_x, here_y = x[j] - scene.eye_x if hole else dx, y[j] - scene.eye_y if hole else dy
        here, fallen = ZERO if hole else number, sunk if hole else ZERO
        cap_x[j] = here_x if inside else x_before
        cap_y[j] = here_y if inside else y_before
        lobe[j] = nearer if inside else lobe_before
        layer[j] = here if inside else layer_before
        shadow[j] = fallen if inside else darker
        opened[j] = line if inside else narrower


@stage
def nest(scene, X, Y, CAP_X, CAP_Y, LOBE, LAYER, U, E_X, E_Y, FIRST, SECOND, THIRD, DEPTH):
    """3. and 4. Conformal coordinates around the centre of each pixel's cap, pigment, and the depth of shells.

    Towards the rim of a cap nothing modulates the depth, so that the cap ends with a whole shell.

    Args:
        U: plane to write, constant on rings around the centre.
        E_X, E_Y: exp(iv), where v is constant on rays from the centre.
        FIRST, SECOND, THIRD: three sine neurons, -1..1, each fed by the one before.
        DEPTH: counts shells outwards; whole numbers are borders.
    """
    n = X.shape[0]
    for i in range(n):
        x, y, cap_x, cap_y, lobe, layer = X[i], Y[i], CAP_X[i], CAP_Y[i], LOBE[i], LAYER[i]
        us, e_x, e_y, firsts, seconds, thirds, depth = U[i], E_X[i], E_Y[i], FIRST[i], SECOND[i], THIRD[i], DEPTH[i]
        for j in range(n):
            ground = layer[j] == ZERO
            # A cap is level at its top, so its rings end before the centre; those of the ground go on.
            across, along = cap_x[j] * cap_x[j], cap_y[j] * cap_y[j]
            size = across + along
            squeezed = scene.wide * across + scene.tall * along + F32(0.006)
            shaped = size * (ONE + lobe[j]) * (ONE + lobe[j])
            ring = HALF * log(squeezed if ground else shaped + F32(0.2)) - F32(0.14)
            on_ground = scene.depth * ring + scene.sway * x[j] + scene.rise * y[j]
            on_cap = ring
            u = on_ground if ground else on_cap
            v = scene.sway * y[j] - scene.rise * x[j] + scene.twist * u + scene.spin
            inverse = inverse_root(size + (F32(0.003) if ground else F32(0.02)))
            outward_x, outward_y = cap_x[j] * inverse, cap_y[j] * inverse
            turn_x, turn_y = cosine(v), sine(v)
            e1x, e1y = outward_x * turn_x - outward_y * turn_y, outward_x * turn_y + outward_y * turn_x
            e2x, e2y = e1x * e1x - e1y * e1y, TWO * e1x * e1y
            e4x, e4y = e2x * e2x - e2y * e2y, TWO * e2x * e2y
            e8x = e4x * e4x - e4y * e4y
            fallen = scene.dive if ground else ZERO
            flow = fallen * ROUND
            first = sine(F32(1.3) * u + F32(1.7) * e1x + F32(1.1) * e2y + scene.pigment_0 - flow)
            second = sine(F32(2.1) * first + F32(1.5) * e1y - F32(0.9) * u + TWO * x[j] + scene.pigment_1 + flow)
            third = sine(F32(1.8) * second + F32(2.2) * y[j] - F32(1.3) * first + scene.pigment_2)
            inner = clip(ONE - shaped * shaped, ZERO, ONE)
            held = ONE if ground else inner
            modulation = (
                F32(0.2) * scene.scallop * e8x + F32(0.3) * scene.petals * e2x + F32(0.12) * scene.marble * second
            )
            shown = ZERO if ground else scene.phase
            depth[j] = scene.caps * u + held * (modulation + shown) - fallen
            us[j], e_x[j], e_y[j], firsts[j], seconds[j], thirds[j] = u, e1x, e1y, first, second, third


@stage
def relief(
    scene,
    X,
    Y,
    LAYER,
    OPEN,
    U,
    E_X,
    E_Y,
    FIRST,
    SECOND,
    THIRD,
    DEPTH,
    SLOPE_X,
    SLOPE_Y,
    ACROSS,
    BORDER,
    BUMP,
    TONE,
    ACCENT,
):
    """5. and 6. Cut the depth into shells, and put folds, warts, veins and rings on them.

    Each shell turns its folds against the one above: straight on, a rim would look like glass.

    Args:
        SLOPE_X, SLOPE_Y: planes to write: slope of the depth, in shells a pixel to the right and up.
        ACROSS: 0 at the inner border of a shell to 1 at the outer one and back within two pixels, so that the border is
            not jagged.
        BORDER: 1 within a pixel of any edge, 0 further away.
        BUMP: height of what is on the shells.
        TONE, ACCENT: what depends on neither lamp nor shadow of tone (0 deep shadow, 1 light) and accent (0..1).
    """
    n = X.shape[0]
    for i in range(n):
        middle = min(max(i, 1), n - 2)  # at the first and last row the slope is the neighbour's
        depth, depth_above, depth_below = DEPTH[i], DEPTH[middle - 1], DEPTH[middle + 1]
        e_x, e_x_above, e_x_below = E_X[i], E_X[middle - 1], E_X[middle + 1]
        e_y, e_y_above, e_y_below = E_Y[i], E_Y[middle - 1], E_Y[middle + 1]
        x, y, layer, opened, us = X[i], Y[i], LAYER[i], OPEN[i], U[i]
        firsts, seconds, thirds = FIRST[i], SECOND[i], THIRD[i]
        slope_x, slope_y, across, border, bump = SLOPE_X[i], SLOPE_Y[i], ACROSS[i], BORDER[i], BUMP[i]
        tone, accent = TONE[i], ACCENT[i]
        turning_across = bump  # squared; its row is free until the height is written
        for j in range(1, n - 1):
            slope_x[j] = HALF * (depth[j + 1] - depth[j - 1])
            change_x, change_y = HALF * (e_x[j + 1] - e_x[j - 1]), HALF * (e_y[j + 1] - e_y[j - 1])
            turning_across[j] = change_x * change_x + change_y * change_y
        slope_x[0], slope_x[n - 1] = slope_x[1], slope_x[n - 2]
        turning_across[0], turning_across[n - 1] = turning_across[1], turning_across[n - 2]
        for j in range(n):
            slope_y[j] = HALF * (depth_above[j] - depth_below[j])
            change_x, change_y = HALF * (e_x_above[j] - e_x_below[j]), HALF * (e_y_above[j] - e_y_below[j])
            turning = np.sqrt(turning_across[j] + change_x * change_x + change_y * change_y)  # radians of v a pixel
            steep = np.sqrt(slope_x[j] * slope_x[j] + slope_y[j] * slope_y[j]) + F32(1e-6)
            shell = np.floor(depth[j])
            share = depth[j] - shell
            edge = clip(F32(1.9) - min(share, ONE - share) / steep, ZERO, ONE)
            back = min(F32(1.5) * steep, HALF)
            share = min(share / (ONE - back), (ONE - share) / back)
            across[j] = share
            border[j] = max(edge, ONE - opened[j])

            e1x, e1y = e_x[j], e_y[j]
            e2x, e2y = e1x * e1x - e1y * e1y, TWO * e1x * e1y
            e4x, e4y = e2x * e2x - e2y * e2y, TWO * e2x * e2y
            e8x = e4x * e4x - e4y * e4y
            turn_x, turn_y = cosine(ROUND * shell), sine(ROUND * shell)
            rib_x, rib_y = e4x * turn_x - e4y * turn_y, e4x * turn_y + e4y * turn_x
            rib2x, rib2y = rib_x * rib_x - rib_y * rib_y, TWO * rib_x * rib_y
            gill_x = rib2x * rib_x - rib2y * rib_y
            folds = F32(1.2) * scene.ribs * _fold(rib_x, F32(8) * turning) + F32(0.7) * scene.gills * _fold(
                gill_x, F32(24) * turning
            )
            u, first, second, third = us[j], firsts[j], seconds[j], thirds[j]
            wart = F32(3) * (sine(F32(3) * PI * depth[j]) * e8x + F32(0.35) * first) - F32(1.35)
            wart = clip(wart, ZERO, ONE) * clip(F32(1.6) - F32(12) * turning, ZERO, ONE)
            wart = wart * clip(ONE - u, ZERO, ONE) * scene.spots
            net = second + F32(0.6) * sine(F32(5) * x[j] + F32(3) * third + F32(4) * e1x)
            net += HALF * sine(F32(6) * y[j] - F32(3) * first + F32(2.5) * u)
            vein = exp(F32(-18) * net * net) * scene.veins
            ring = sine(F32(10) * PI * (depth[j] + F32(0.12) * third)) * scene.rings
            ring *= clip(F32(1.3) - F32(10) * steep, ZERO, ONE)
            bump[j] = F32(0.3) * folds + F32(0.1) * (wart + vein) + F32(0.012) * ring + F32(0.035) * first
            slow = sine(TWO * ROUND * (depth[j] - share + F32(0.9) * layer[j]))
            tone[j] = (
                F32(0.02) + F32(0.28) * folds + F32(0.25) * wart + F32(0.3) * vein + F32(0.07) * ring
                + F32(0.13) * scene.marble * third + F32(0.05) * slow + F32(0.025) * layer[j]
            )  # fmt: skip
            accent[j] = F32(0.3) * vein + F32(0.2) * scene.marble * (ONE + second)
            accent[j] += F32(0.35) * scene.glow * exp(F32(-3) * max(u + F32(0.9), ZERO))


@stage
def _fold(power, turning):
    """Rounded folds with sharp valleys around zero, from the real part of exp(ikv); none where finer than pixels."""
    return (np.sqrt(power * power + F32(0.05)) - F32(0.66)) * clip(F32(1.4) - turning, ZERO, ONE)


@stage
def light(
    scene, palette, lamplight, spore_columns, spore_rows, CAP_X, CAP_Y, LAYER, SHADOW, OPEN, U, SLOPE_X, SLOPE_Y,
    ACROSS, BORDER, BUMP, TONE, ACCENT, RED, GREEN, BLUE,
):  # fmt: skip
    """7. and 8. Light the surface, and turn light into colour.

    Args:
        palette: (3, 6) OKLab coordinates: deep shadow; what shade adds to it, body to shade, and light to body; the
            accent; what the ground's body adds to the body of caps.
        lamplight: (3,) linear RGB of the lamp.
        spore_columns, spore_rows: (spores, n), round glows as products of a column and a row.
        RED, GREEN, BLUE: planes to write, linear.
    """
    n = CAP_X.shape[0]
    deep_l, shade_l, body_l, light_l, accent_l, ground_l = palette[0]
    deep_a, shade_a, body_a, light_a, accent_a, ground_a = palette[1]
    deep_b, shade_b, body_b, light_b, accent_b, ground_b = palette[2]
    lamp_r, lamp_g, lamp_b = lamplight
    for i in range(n):
        middle = min(max(i, 1), n - 2)
        bump, bump_above, bump_below = BUMP[i], BUMP[middle - 1], BUMP[middle + 1]
        cap_x, cap_y, layer, shadows, opened, us = CAP_X[i], CAP_Y[i], LAYER[i], SHADOW[i], OPEN[i], U[i]
        slope_x, slope_y, across, border, tones, accents = (
            SLOPE_X[i],
            SLOPE_Y[i],
            ACROSS[i],
            BORDER[i],
            TONE[i],
            ACCENT[i],
        )
        red, green, blue = RED[i], GREEN[i], BLUE[i]
        bump_x, spores = red, green  # their rows are free until the colours are written
        for j in range(1, n - 1):
            bump_x[j] = HALF * (bump[j + 1] - bump[j - 1])
        bump_x[0], bump_x[n - 1] = bump_x[1], bump_x[n - 2]
        spores[:] = ZERO
        for k in range(spore_columns.shape[0]):
            strength = spore_columns[k, i] * scene.spores
            if strength > FAINT:
                row = spore_rows[k]
                for j in range(n):
                    spores[j] += strength * row[j]
        for j in range(n):
            ground = layer[j] == ZERO
            size = cap_x[j] * cap_x[j] + cap_y[j] * cap_y[j]
            inverse = inverse_root(size + (F32(0.003) if ground else F32(0.02)))
            steep = np.sqrt(slope_x[j] * slope_x[j] + slope_y[j] * slope_y[j]) + F32(1e-6)
            # Between a dome and a bowl lies a plate, which is dull: mixtures lean to either side.
            dome = (F32(-0.7) if ground else ONE) * scene.dome
            rounded = size / (F32(0.15) + size)
            level = ONE if ground else rounded
            share = across[j] * across[j]
            fall = dome * level * (F32(0.55) - F32(0.3) * scene.curl + F32(2.6) * scene.curl * share * share)
            width = ONE / (steep + F32(0.2) * scene.pixel)  # pixels a shell
            smooth = ONE - border[j]
            # A cap is round as a whole, too.
            swell = dome * size / (HALF + size) * (F32(0.22) if ground else F32(0.75)) * inverse
            normal_x = (fall * slope_x[j] - smooth * bump_x[j]) * width + swell * cap_x[j]
            bump_y = HALF * (bump_above[j] - bump_below[j])
            normal_y = (fall * slope_y[j] - smooth * bump_y) * width + swell * cap_y[j]
            normal_z = inverse_root(ONE + normal_x * normal_x + normal_y * normal_y)
            lit = max((normal_x * scene.lamp_x + normal_y * scene.lamp_y + scene.lamp_z) * normal_z, ZERO)
            gleam = max((normal_x * scene.half_x + normal_y * scene.half_y + scene.half_z) * normal_z, ZERO)
            gleam *= gleam
            gleam *= gleam
            gleam *= gleam
            gleam *= gleam
            gleam *= gleam  # to the power of 32

            # Shadow at the foot of a shell, which is its inner border on a dome and its outer one in a bowl.
            foot = HALF + dome * (across[j] - HALF)
            facing = (slope_x[j] * scene.lamp_x + slope_y[j] * scene.lamp_y) / steep * dome
            shadow = exp(-foot * (F32(7) + F32(5.5) * facing)) * (ONE if ground else F32(0.8))
            shadow = max(shadow, shadows[j])
            tone = tones[j] + F32(0.66) * lit - (F32(0.42) + F32(0.1) * dome) * shadow
            tone -= (F32(0.12) if ground else F32(0.07)) * dome * clip(us[j] + F32(0.3), F32(-1.5), F32(1.5))
            there = ONE - scene.bare if ground else ZERO
            # The ground is darker and harder than the caps, so that they stand out from it.
            tone = F32(1.35) * tone - F32(0.2) - F32(0.08) * there if ground else tone
            foot2 = foot * foot
            foot4 = foot2 * foot2
            accent = accents[j] + F32(0.8) * scene.glow * foot4 * foot4 * foot2 * (F32(0.4) if ground else ONE)

            tone = clip(tone * opened[j], ZERO, ONE)
            accent = clip(accent * opened[j], ZERO, F32(0.85))
            step = F32(3) * tone
            ramp0, ramp1, ramp2 = min(step, ONE), clip(step - ONE, ZERO, ONE), clip(step - TWO, ZERO, ONE)
            # The ground has its own body; its shade shares the hue and less of the lightness.
            ground_light = (F32(0.25) * ramp0 + F32(0.75) * ramp1 - F32(0.7) * ramp2) * there
            ground_hue = (F32(0.75) * ramp0 + F32(0.25) * ramp1 - F32(0.7) * ramp2) * there
            ok_l = deep_l + shade_l * ramp0 + body_l * ramp1 + light_l * ramp2 + ground_l * ground_light
            ok_a = deep_a + shade_a * ramp0 + body_a * ramp1 + light_a * ramp2 + ground_a * ground_hue
            ok_b = deep_b + shade_b * ramp0 + body_b * ramp1 + light_b * ramp2 + ground_b * ground_hue
            # In lightness the accent follows the tone, so that what glows keeps its relief.
            goal = F32(0.4) * ok_l + F32(0.6) * accent_l * (F32(0.35) + F32(0.65) * tone)
            ok_l += (goal - ok_l) * accent
            ok_a += (accent_a - ok_a) * accent
            ok_b += (accent_b - ok_b) * accent
            long = ok_l + F32(0.3963377774) * ok_a + F32(0.2158037573) * ok_b
            medium = ok_l - F32(0.1055613458) * ok_a - F32(0.0638541728) * ok_b
            short = ok_l - F32(0.0894841775) * ok_a - F32(1.2914855480) * ok_b
            long, medium, short = long * long * long, medium * medium * medium, short * short * short
            shine, spore = F32(0.35) * gleam * opened[j] * scene.gloss, spores[j]
            red[j] = F32(4.0767416621) * long - F32(3.3077115913) * medium + F32(0.2309699292) * short
            green[j] = F32(-1.2684380046) * long + F32(2.6097574011) * medium - F32(0.3413193965) * short
            blue[j] = F32(-0.0041960863) * long - F32(0.7034186147) * medium + F32(1.7076147010) * short
            red[j] += shine * (F32(0.3) + F32(0.7) * lamp_r) + spore * lamp_r
            green[j] += shine * (F32(0.3) + F32(0.7) * lamp_g) + spore * lamp_g
            blue[j] += shine * (F32(0.3) + F32(0.7) * lamp_b) + spore * lamp_b


@stage
def soften(PLANE, BORDER, SOFT):
    """Blend a plane with its mean over 3x3 pixels weighted 1 2 1, as far as `BORDER` says: edges lose their stairs.

    Args:
        SOFT: plane to write. Pixels of the frame keep their value in the direction that leads out of it.
    """
    n = PLANE.shape[0]
    column = np.empty(n, F32)
    for i in range(n):
        row, border, soft = PLANE[i], BORDER[i], SOFT[i]
        inner = 0 < i < n - 1
        above, below = PLANE[i - 1 if inner else i], PLANE[i + 1 if inner else i]
        for j in range(n):
            column[j] = QUARTER * (above[j] + TWO * row[j] + below[j])
        for j in range(1, n - 1):
            mean = QUARTER * (column[j - 1] + TWO * column[j] + column[j + 1])
            soft[j] = row[j] + border[j] * (mean - row[j])
        for j in (0, n - 1):
            soft[j] = row[j] + border[j] * (column[j] - row[j])


@stage
def to_bytes(PLANE, finer, dither, picture, channel):
    """Average squares of `finer` pixels, and write one channel of a picture: sRGB with dither.

    Args:
        dither: (m, m), 0..1.
        picture: uint8 (m, m, 3).
    """
    m = picture.shape[0]
    mean, level = np.empty(m, F32), np.empty(m, F32)
    share = ONE / F32(finer * finer)
    for i in range(m):
        mean[:] = ZERO
        for k in range(finer):
            row = PLANE[i * finer + k]
            for j in range(m):
                for within in range(finer):
                    mean[j] += share * clip(row[j * finer + within], ZERO, ONE)
        noise = dither[i]
        for j in range(m):
            # sRGB's transfer curve to within half a level, without a power
            root = np.sqrt(mean[j])
            fourth = np.sqrt(root)
            value = F32(0.585122381) * root + F32(0.783140355) * fourth - F32(0.368262736) * np.sqrt(fourth)
            level[j] = min(F32(255) * clip(value, ZERO, ONE) + noise[j], F32(255))
        for j in range(m):
            picture[i, j, channel] = np.uint8(np.int32(level[j]))


_sealed = [0]  # functions compiled by this process whose code is recorded
STAGES = (plane, colony, nest, relief, light, soften, to_bytes)


def instructions() -> str:
    """The widest vector instructions that the stages are compiled to."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return hardware.widest([feature[1:] for feature in features.split(",") if feature.startswith("+")])


def keep() -> None:
    """Record what was compiled, if anything was, so that the next process can trust it."""
    compiled = sum(sum(each.stats.cache_misses.values()) for each in STAGES)
    if _kept and compiled > _sealed[0]:
        _sealed[0] = compiled
        caches.seal(_cache)
