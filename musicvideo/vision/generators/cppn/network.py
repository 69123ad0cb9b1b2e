"""A class-conditional pattern network that needs no training and no download.

A compositional pattern-producing network (Stanley, 2007) computes a picture from the coordinates of its pixels by
composing smooth functions. This one composes eight stages, each a function below that is a handful of array
operations. A class is a `Look`, a small record of what the stages are told. Class weights blend records, so every
mixture of classes is drawn by the same network.

1. *Plane.* Pixels are points of [-1, 1]², y upwards. A few plane waves bend the plane; the noise moves them.
2. *Colony.* Caps stand in front of each other on a hollow ground, each with a lobed rim and a soft
   shadow. A pixel belongs to the front-most cap over it, and from here on counts from that cap's centre.
3. *Nest.* u + iv = log z is the conformal map of a cap: curves of constant u are rings around its centre,
   curves of constant v radiate from it, as gills do, and no pattern is stretched by it. v is kept as the
   complex number exp(iv): exp(ikv) is a power of it, with neither a seam nor an arc tangent.
4. *Pigment.* Three sine neurons on those coordinates: slow marbled areas, and where veins run.
5. *Shells.* u, scalloped by powers of exp(iv), is cut into shells that overlap like the shelves of a
   bracket fungus: seen from above (a dome) or into (a bowl).
6. *Relief.* Folds, warts, veins and growth rings are heights that are added to the shells.
7. *Light.* The slope of that surface, measured in widths of its shell so that small caps are as round as large ones,
   meets a lamp that the noise moves.
8. *Colour.* Light is a position on the class's palette, not a factor: shadows take the palette's deep hue and
   highlights its pale one. Palettes are blended in OKLab (Ottosson, 2020), where the mean of two colours looks half way
   between them.

Whatever repeats is faded out before it gets finer than the pixels, so that nothing shimmers, and all
lengths are parts of the picture, so that a resolution changes sharpness and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, fields
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from musicvideo.vision.generators import hardware
from musicvideo.vision.generators.cppn.looks import LOOKS, Look

NOISE_DIM = 128                 # units of the noise vector, as many as BigGAN's
SHARPENING = 2.0                # power of a class weight: 12 pitches sound at once, but one leads
BACKSTOP = 1e-6                 # weight of the first class in every mixture: silence has a picture too
FINENESS = 256                  # pixels a side at least, while drawing
LAMP = 2.1                      # where the lamp hangs at zero noise: radians from the right, so upper left
FIRST_LOOKS = 48                # whose identities are drawn before all else that is random; see `CPPN`

_RGB_TO_LMS = np.array([[0.4122214708, 0.5363325363, 0.0514459929],
                        [0.2119034982, 0.6806995451, 0.1073969566],
                        [0.0883024619, 0.2817188376, 0.6299787005]])
_LMS_TO_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468],
                        [1.9779984951, -2.4285922050, 0.4505937099],
                        [0.0259040371, 0.7827717662, -0.8086757660]])
_LMS_TO_RGB = np.linalg.inv(_RGB_TO_LMS)
_LAB_TO_LMS = np.linalg.inv(_LMS_TO_LAB)


def _oklab(hex_colour: str) -> np.ndarray:
    """OKLab coordinates (3,) of an sRGB colour such as "ffcc88"."""
    srgb = np.frombuffer(bytes.fromhex(hex_colour), np.uint8) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return _LMS_TO_LAB @ np.cbrt(_RGB_TO_LMS @ linear)


def _linear(lab: np.ndarray) -> list[float]:
    """Linear RGB of an OKLab colour (3,)."""
    return (_LMS_TO_RGB @ (_LAB_TO_LMS @ lab) ** 3).tolist()


# The colony: centre and radius of each cap, from the ground up. Large ones stand near the edges, where a
# mirror makes them whole.
_COLONY = ((-0.80, -0.62, 0.56), (0.84, 0.66, 0.50), (-0.66, 0.86, 0.34), (0.86, -0.74, 0.34), (0.52, 0.96, 0.25),
           (-0.36, -0.80, 0.26), (0.62, 0.34, 0.19), (-0.92, -0.14, 0.17), (-0.14, -0.98, 0.14), (0.60, -0.92, 0.15))
_SPORES = 28

# What the noise moves, and how far at one standard deviation; each is a fixed direction in the space of
# the noise. Distances are small because a loud second carries the noise all the way across its range.
_MOTION = {
    "zoom": 0.003, "turn": 0.004, "orbit": 0.008, "gaze_x": 0.009, "gaze_y": 0.009,
    "phase": 0.014, "whirl": 0.006, "spin": 0.010, "lamp": 0.07, "tint": 0.10,
    "drift_x": 0.014, "drift_y": 0.014,
    **{f"pigment{j}": 0.07 for j in range(3)},
    **{f"wave{j}": 0.024 for j in range(6)},
    **{f"cap{j}": 0.007 for j in range(len(_COLONY))},
}
# The same factors carry what sets classes apart beyond their records: where things lie and how far caps have grown.
_IDENTITY = {"pigment": 0.5, "wave": 0.1, "orbit": 0.22, "tint": 0.4, "gaze_x": 0.09, "gaze_y": 0.08, "cap": 0.2}


Complex = tuple[Tensor, Tensor]         # a picture of complex numbers: real and imaginary parts


class _Scene(NamedTuple):
    """What one picture is drawn from."""

    look: dict[str, float]      # the blended record
    move: dict[str, float]      # of `_MOTION`, by noise and classes
    palette: np.ndarray         # (6, 3), OKLab
    lamp: tuple[float, float, float]    # direction


class _Caps(NamedTuple):
    """The front-most cap at every pixel."""

    x: Tensor                   # from its centre, in its radii
    y: Tensor
    lobe: Tensor                # how much nearer its rim is than a circle's
    layer: Tensor               # 0 on the ground, counting towards the eye
    shadow: Tensor              # what caps in front throw on it: 0..1
    open: Tensor                # 0 on the line where two caps meet, 1 a pixel away


class _Nest(NamedTuple):
    """The conformal coordinates of a cap."""

    ground: Tensor              # where there is no cap
    size: Tensor                # squared distance from the centre, in radii
    u: Tensor                   # constant on rings around the centre
    outward: Complex            # direction away from the centre
    e1: Complex                 # exp(iv), v constant on rays, and its powers 2, 4, 8
    e2: Complex
    e4: Complex
    e8: Complex


class _Shells(NamedTuple):
    """Shells that overlap."""

    depth: Tensor               # counts shells outwards; whole numbers are borders
    slope: Complex              # of depth: shells a pixel to the right, and up
    steep: Tensor               # length of the slope
    number: Tensor              # whole part of depth
    across: Tensor              # 0 at the inner border of a shell, 1 at the outer one
    border: Tensor              # 1 within a pixel of any edge, 0 further away


class _Relief(NamedTuple):
    """Heights on the shells."""

    folds: Tensor
    warts: Tensor
    veins: Tensor
    rings: Tensor
    bump: Complex               # slope of their sum


class _Light(NamedTuple):
    """What the lamp does."""

    dome: Tensor                # 1 where shells are domes, -1 where they are bowls
    lit: Tensor                 # diffuse light
    gleam: Tensor               # highlights
    foot: Tensor                # 0 at the foot of a shell, 1 at its rim
    shadow: Tensor              # 0..1


class CPPN:
    """Pictures from a class-conditional pattern network, as a `Generator`.

    Instances of one resolution are alike: what is random is drawn from a fixed seed, and in an order in which further
    looks change nothing that was there before.

    Args:
        resolution: height and width in pixels, at least 16.

    Raises:
        ValueError: a resolution that is no whole number or below 16.
    """

    labels: Sequence[str] = tuple(LOOKS)
    noise_dim = NOISE_DIM
    runs_on = "torch on the CPU, float32"
    computed_by = {"backend": runs_on, **hardware.cpu(), **hardware.versions("torch", "numpy")}

    def __init__(self, resolution: int = 512):
        if not isinstance(resolution, (int, np.integer)) or resolution < 16:
            raise ValueError(f"resolution must be a whole number of at least 16, not {resolution}")
        self.resolution = int(resolution)
        # A small picture is drawn finer and averaged: what a large one shows, it does not lose.
        self._finer = math.ceil(FINENESS / self.resolution)
        self._side = n = self.resolution * self._finer
        self._pixel = 2 / n
        self._axis = (torch.arange(n, dtype=torch.float32) + 0.5) * self._pixel - 1
        self._x = self._axis.repeat(n, 1)
        self._y = -self._axis[:, None].repeat(1, n)

        fixed = np.random.default_rng(20)
        directions, _ = np.linalg.qr(fixed.standard_normal((NOISE_DIM, len(_MOTION))))
        self._motion = directions * list(_MOTION.values())
        reach = [_IDENTITY.get(name.rstrip("0123456789"), 0) for name in _MOTION]
        identity = fixed.standard_normal((FIRST_LOOKS, len(_MOTION)))
        self._waves = fixed.normal(0, 2.3, (6, 2)), fixed.uniform(0, 2 * np.pi, 6)
        self._spores = fixed.uniform(-1.05, 1.05, (2, _SPORES))
        more = fixed.standard_normal((len(LOOKS) - FIRST_LOOKS, len(_MOTION)))
        self._identity = np.concatenate([identity, more]) * reach

        self._palettes = np.array([[_oklab(c) for c in look.palette.split()] for look in LOOKS.values()])
        self._fields = [field.name for field in fields(Look)][1:]
        self._records = np.array([astuple(look)[1:] for look in LOOKS.values()])

        # A thread a picture, not threads within one: those wait for each other at every operation, and for
        # ever when an encoder has taken a core.
        self._painters = ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,))

        # Interleaved gradient noise (Jimenez, 2014): rounding with it leaves no bands, and being fixed
        # to the screen it does not flicker.
        rows = np.arange(self.resolution)
        dither = 52.9829189 * ((0.06711056 * rows + 0.00583715 * rows[:, None]) % 1) % 1
        self._dither = torch.from_numpy(dither.astype(np.float32))

    def frames(self, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Draw one picture for each vector; see `Generator`.

        Each row is drawn by itself, so that its bytes do not depend on its batch.

        Args:
            noise: (B, 128), about normal, within [-2, 2].
            classes: (B, labels), not negative; only their ratios matter.

        Returns:
            uint8 (B, resolution, resolution, 3), sRGB.

        Raises:
            ValueError: a wrong shape, a value that is not finite, or a negative weight.
        """
        noise = _checked("noise", noise, NOISE_DIM)
        classes = _checked("classes", classes, len(self.labels))
        if len(noise) != len(classes):
            raise ValueError(f"classes must have as many rows as noise, {len(noise)}, not {len(classes)}")
        if (classes < 0).any():
            raise ValueError(f"classes must not be negative, not {classes.min()}")
        pictures = np.empty((len(noise), self.resolution, self.resolution, 3), np.uint8)
        list(self._painters.map(self._draw, noise, classes, map(torch.from_numpy, pictures)))
        return pictures

    def _mix(self, weights: np.ndarray) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
        """Blended record, palette (6, 3) in OKLab, and identity factors of the class weights."""
        shares = weights.copy()
        shares[0] += BACKSTOP
        shares = (shares / shares.max()) ** SHARPENING
        shares /= shares.sum()
        palette = np.tensordot(shares, self._palettes, 1)
        # A mean of palettes has less contrast and chroma than the palettes have on average: give both back.
        light, chroma = palette[:, 0], np.hypot(palette[:, 1], palette[:, 2])
        contrast = shares @ np.ptp(self._palettes[..., 0], axis=1) / np.ptp(light)
        palette[:, 0] = np.clip(light.mean() + (light - light.mean()) * contrast, 0.04, 1)
        wanted = shares @ np.hypot(self._palettes[..., 1], self._palettes[..., 2])
        palette[:, 1:] *= np.minimum(wanted / (chroma + 1e-6), 3)[:, None]
        return dict(zip(self._fields, (shares @ self._records).tolist())), palette, shares @ self._identity

    @torch.no_grad()
    def _draw(self, noise: np.ndarray, weights: np.ndarray, picture: Tensor) -> None:
        """Draw one picture into uint8 (resolution, resolution, 3)."""
        look, palette, identity = self._mix(weights)
        move = dict(zip(_MOTION, (noise @ self._motion + identity).tolist()))
        angle = LAMP + move["lamp"]
        scene = _Scene(look, move, palette, (0.66 * math.cos(angle), 0.66 * math.sin(angle), 0.75))

        x, y = self._plane(scene)
        caps = self._colony(scene, x, y)
        nest = _nest(scene, caps, x, y)
        pigment = _pigment(scene, nest, x, y)
        shells = _shells(scene, caps, nest, pigment)
        relief = _relief(scene, nest, pigment, shells, x, y)
        light = self._light(scene, caps, nest, shells, relief)
        planes = self._colour(scene, caps, nest, pigment, shells, relief, light)
        self._to_bytes(planes, picture)

    def _plane(self, scene: _Scene) -> tuple[Tensor, Tensor]:
        """Where each pixel is once the waves have bent the plane."""
        look, move = scene.look, scene.move
        zoom = math.exp(move["zoom"])
        cosine, sine = zoom * math.cos(move["turn"]), zoom * math.sin(move["turn"])
        x = cosine * self._x - sine * self._y
        y = sine * self._x + cosine * self._y
        bend_x, bend_y = torch.zeros_like(x), torch.zeros_like(y)
        for j, ((kx, ky), phase) in enumerate(zip(*self._waves)):
            wave = torch.sin(kx * x + ky * y + (phase + move[f"wave{j}"]))
            k = math.hypot(kx, ky)
            # Across the wave's direction: a bend without sources, which leaves areas as they are.
            amount = (0.10 + 0.59 * look["warp"]) / (1 + k) / k
            bend_x.add_(wave, alpha=-amount * ky)
            bend_y.add_(wave, alpha=amount * kx)
        return x + bend_x, y + bend_y

    def _colony(self, scene: _Scene, x: Tensor, y: Tensor) -> _Caps:
        """Put the caps on the ground, each over the ones before it."""
        look, move, lamp = scene.look, scene.move, scene.lamp
        gaze = complex(move["gaze_x"], move["gaze_y"])
        turn = complex(math.cos(move["orbit"]), math.sin(move["orbit"])) * (0.45 + 0.6 * look["spread"])
        bends = [(float(low), float(high)) for low, high in ((x - self._x).aminmax(), (y - self._y).aminmax())]
        top = _Caps(x - 0.3 * gaze.real, y - 0.3 * gaze.imag - 0.1, *(torch.zeros_like(x) for _ in range(3)),
                    torch.ones_like(x))
        for j, (cx, cy, radius) in enumerate(_COLONY):
            centre = complex(cx, cy) * turn + (0.6 + 0.2 * j) * gaze    # parallax: what is in front moves further
            radius *= 0.9 * look["colony"] * math.exp(move[f"cap{j}"])
            window = self._window(centre, 2.4 * radius, bends)
            below = _Caps(*(part[window] for part in top))
            dx, dy = (x[window] - centre.real) / radius, (y[window] - centre.imag) / radius
            size = dx * dx + dy * dy + 1e-4
            scale = torch.rsqrt(size)
            e1 = dx * scale, dy * scale
            e2 = _multiply(e1, e1)
            e5 = _multiply(_multiply(e2, e2), e1)
            lobe = (0.12 * look["petals"] * e2[0] + 0.1 * look["scallop"] * e5[0]) * size.clamp(max=1)
            beyond = size * scale * (1 + lobe) - 1                      # radii from the rim
            lee = 1 + 0.9 * (e1[0] * lamp[0] + e1[1] * lamp[1])         # shadows are long away from the lamp
            shade = (1 - 2.2 * lee * beyond).clamp_(0, 1)
            line = (beyond.abs() * (radius / max(1.4 * self._pixel, 0.005)) - 0.75).clamp_(0, 1)
            inside = beyond < 0
            for part, covering, beside in zip(
                below,
                (dx, dy, lobe, torch.full_like(dx, j + 1), torch.zeros_like(dx), line),
                (*below[:4], torch.maximum(below.shadow, shade * shade), torch.minimum(below.open, line)),
            ):
                part.copy_(torch.where(inside, covering, beside))
        return top

    def _window(self, centre: complex, reach: float, bends: list) -> tuple[slice, slice]:
        """Rows and columns that hold every pixel bent to within `reach` of a point."""
        (left, right), (down, up) = bends
        ends = np.array([[-centre.imag - reach + down, -centre.imag + reach + up],
                         [centre.real - reach - right, centre.real + reach - left]])
        ends = np.clip((ends + 1) / self._pixel + (0, 1), 0, self._side).astype(int)
        return slice(*ends[0].tolist()), slice(*ends[1].tolist())

    def _light(self, scene: _Scene, caps: _Caps, nest: _Nest, shells: _Shells, relief: _Relief) -> _Light:
        """Light the surface of shells and relief."""
        look, lamp = scene.look, scene.lamp
        ground, size, outward = nest.ground, nest.size, nest.outward
        across, steep, (slope_x, slope_y) = shells.across, shells.steep, shells.slope
        # Between a dome and a bowl lies a plate, which is dull: mixtures lean to either side.
        dome = torch.where(ground, -0.7, 1.0) * math.tanh(2.5 * look["dome"])
        level = torch.where(ground, 1, size / (0.15 + size))
        fall = dome * level * (0.55 - 0.3 * look["curl"] + 2.6 * look["curl"] * across ** 4)
        width = 1 / (steep + 0.2 * self._pixel)                                  # pixels a shell
        smooth = 1 - shells.border
        swell = dome * size / (0.5 + size) * torch.where(ground, 0.22, 0.75)     # a cap is round as a whole, too
        normal_x = (fall * slope_x - smooth * relief.bump[0]) * width + swell * outward[0]
        normal_y = (fall * slope_y - smooth * relief.bump[1]) * width + swell * outward[1]
        normal_z = torch.rsqrt(1 + normal_x * normal_x + normal_y * normal_y)
        lit = ((normal_x * lamp[0] + normal_y * lamp[1] + lamp[2]) * normal_z).clamp_(min=0)
        half = np.array(lamp) + (0, 0, 1)                                        # Blinn's half vector
        half = (half / np.linalg.norm(half)).tolist()
        gleam = ((normal_x * half[0] + normal_y * half[1] + half[2]) * normal_z).clamp_(min=0) ** 32

        # Shadow at the foot of a shell, which is its inner border on a dome and its outer one in a bowl.
        foot = 0.5 + dome * (across - 0.5)
        facing = (slope_x * lamp[0] + slope_y * lamp[1]) / steep * dome
        shadow = torch.exp(foot * -(7 + 5.5 * facing)) * torch.where(ground, 1.0, 0.8)
        return _Light(dome, lit, gleam, foot, torch.maximum(shadow, caps.shadow))

    def _colour(
        self, scene: _Scene, caps: _Caps, nest: _Nest, pigment: tuple[Tensor, ...], shells: _Shells, relief: _Relief,
        light: _Light,
    ) -> list[Tensor]:  # fmt: skip
        """Linear RGB planes, with spores before them and soft edges."""
        look, move, palette = scene.look, scene.move, scene.palette
        ground, u, (_, second, third) = nest.ground, nest.u, pigment
        folds, warts, veins, rings, _ = relief
        dome, foot, shadow = light.dome, light.foot, light.shadow
        marble, glow = look["marble"], look["glow"]
        tone = 0.02 + 0.66 * light.lit + 0.28 * folds + 0.25 * warts + 0.3 * veins + 0.07 * rings \
            + 0.13 * marble * third \
            + 0.05 * torch.sin(1.9 * (shells.depth - shells.across + 0.9 * caps.layer) + move["tint"]) \
            + 0.025 * caps.layer - (0.42 + 0.1 * dome) * shadow - 0.07 * dome * (u + 0.3).clamp_(-1.5, 1.5)
        accent = 0.8 * glow * foot ** 10 * torch.where(ground, 0.4, 1.0) + 0.3 * veins + 0.2 * marble * (1 + second) \
            + 0.35 * glow * torch.exp(-3 * (u + 0.9).clamp_(min=0))
        lamplight = _linear(0.5 * palette[3] + 0.5 * palette[4])
        planes = _palette_colours(palette, tone * caps.open, accent * caps.open, ground)
        gleam = light.gleam * caps.open * look["gloss"] * 0.35
        spores = self._spore_light(move) * look["spores"]
        for channel, plane in enumerate(planes):
            plane.add_(gleam, alpha=0.3 + 0.7 * lamplight[channel]).add_(spores, alpha=lamplight[channel])
            for _ in range(2):
                plane.add_(shells.border * (_blur(plane) - plane))
        return planes

    def _to_bytes(self, planes: list[Tensor], picture: Tensor) -> None:
        """Linear RGB planes -> sRGB with dither, uint8 (resolution, resolution, 3), averaged if drawn finer."""
        for channel, plane in enumerate(planes):
            if self._finer > 1:
                plane = torch.nn.functional.avg_pool2d(plane[None].clamp_(0, 1), self._finer)[0]
            root = torch.sqrt(plane.clamp_(0, 1))
            fourth = torch.sqrt(root)
            # sRGB's transfer curve to within half a level, without a power
            srgb = 0.585122381 * root + 0.783140355 * fourth - 0.368262736 * torch.sqrt(fourth)
            picture[..., channel] = (srgb.clamp_(0, 1) * 255 + self._dither).clamp_(max=255)

    def _spore_light(self, move: dict) -> Tensor:
        """Round glows of many sizes: each is a product of a row and a column, and their sum one of matrices."""
        size = 0.010 * 1.12 ** np.arange(_SPORES)
        drift = np.outer([move["drift_x"], move["drift_y"]], np.linspace(0.6, 2, _SPORES))
        across, along = torch.from_numpy((self._spores + drift).astype(np.float32))
        size = torch.from_numpy(size.astype(np.float32))
        column = torch.exp(-((self._axis[:, None] - along) / size) ** 2)
        row = torch.exp(-((self._axis[:, None] - across) / size) ** 2) * 0.6 / (1 + 12 * size)
        return column @ row.T


def _nest(scene: _Scene, caps: _Caps, x: Tensor, y: Tensor) -> _Nest:
    """Conformal coordinates around the centre of each pixel's cap."""
    look, move = scene.look, scene.move
    ground = caps.layer == 0
    # A cap is level at its top, so its rings end before the centre; those of the ground go on.
    size = caps.x * caps.x + caps.y * caps.y
    u = 0.5 * torch.log(size + torch.where(ground, 0.01, 0.2)) - 0.14
    u = torch.where(ground, 1.5 * u + look["sway"] * x + look["rise"] * y, u + caps.lobe)
    v = look["sway"] * y - look["rise"] * x + (look["twist"] + move["whirl"]) * u + move["spin"]
    scale = torch.rsqrt(size + torch.where(ground, 0.003, 0.02))
    outward = caps.x * scale, caps.y * scale
    e1 = _multiply(outward, _phasor(v))
    e2 = _multiply(e1, e1)
    e4 = _multiply(e2, e2)
    e8 = _multiply(e4, e4)
    return _Nest(ground, size, u, outward, e1, e2, e4, e8)


def _pigment(scene: _Scene, nest: _Nest, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three sine neurons, -1..1, each fed by the one before."""
    move, u, e1, e2 = scene.move, nest.u, nest.e1, nest.e2
    first = torch.sin(1.3 * u + 1.7 * e1[0] + 1.1 * e2[1] + move["pigment0"])
    second = torch.sin(2.1 * first + 1.5 * e1[1] - 0.9 * u + 2 * x + (1 + move["pigment1"]))
    third = torch.sin(1.8 * second + 2.2 * y - 1.3 * first + (2 + move["pigment2"]))
    return first, second, third


def _shells(scene: _Scene, caps: _Caps, nest: _Nest, pigment: tuple[Tensor, ...]) -> _Shells:
    """Cut u into shells.

    Towards the rim of a cap nothing modulates `depth`, so that the cap ends with a whole shell. `across` runs from 0 at
    the inner border of a shell to 1 at the outer one and back within two pixels, so that the border is not jagged.
    """
    look, move, size = scene.look, scene.move, nest.size
    held = torch.where(nest.ground, 1, (1 - size * size).clamp_(0, 1))
    depth = look["caps"] * nest.u + held * (0.2 * look["scallop"] * nest.e8[0] + 0.3 * look["petals"] * nest.e2[0]
                                            + 0.12 * look["marble"] * pigment[1] + move["phase"])
    slope_x, slope_y = _slope(depth)
    steep = torch.sqrt(slope_x * slope_x + slope_y * slope_y).add_(1e-6)
    number = torch.floor(depth)
    across = depth - number
    border = (1.9 - torch.minimum(across, 1 - across) / steep).clamp_(0, 1)
    border = torch.maximum(border, 1 - caps.open)
    back = (1.5 * steep).clamp_(max=0.5)
    across = torch.minimum(across / (1 - back), (1 - across) / back)
    return _Shells(depth, (slope_x, slope_y), steep, number, across, border)


def _relief(
    scene: _Scene, nest: _Nest, pigment: tuple[Tensor, ...], shells: _Shells, x: Tensor, y: Tensor
) -> _Relief:  # fmt: skip
    """Heights on the shells.

    Each shell turns its folds against the one above: straight on, a rim would look like glass.
    """
    look, (first, second, third) = scene.look, pigment
    u, e1, depth = nest.u, nest.e1, shells.depth
    turning = torch.sqrt(sum(slope * slope for part in e1 for slope in _slope(part)))    # radians of v a pixel
    rib = _multiply(nest.e4, _phasor(0.9 * shells.number))
    gill = _multiply(_multiply(rib, rib), rib)
    folds = 1.2 * look["ribs"] * _fold(rib, 8 * turning) + 0.7 * look["gills"] * _fold(gill, 24 * turning)
    warts = torch.sin(3 * math.pi * depth).mul_(nest.e8[0]).add_(first, alpha=0.35)
    warts = (3 * warts - 1.35).clamp_(0, 1) * (1.6 - 12 * turning).clamp_(0, 1)
    warts = warts * (1 - u).clamp_(0, 1) * look["spots"]
    net = second + 0.6 * torch.sin(5 * x + 3 * third + 4 * e1[0]) + 0.5 * torch.sin(6 * y - 3 * first + 2.5 * u)
    veins = torch.exp(net * net * -18) * look["veins"]
    rings = torch.sin(10 * math.pi * (depth + 0.12 * third)) * (1.3 - 10 * shells.steep).clamp_(0, 1) * look["rings"]
    bump = _slope(0.3 * folds + 0.1 * warts + 0.1 * veins + 0.012 * rings + 0.035 * first)
    return _Relief(folds, warts, veins, rings, bump)


def _palette_colours(palette: np.ndarray, tone: Tensor, accent: Tensor, ground: Tensor) -> list[Tensor]:
    """Linear RGB planes of tones (0 deep shadow, 1 light), each drawn towards the accent by 0..1."""
    step = tone.clamp_(0, 1) * 3
    accent = accent.clamp_(0, 0.85)
    ramps = [step.clamp(0, 1), (step - 1).clamp_(0, 1), (step - 2).clamp_(0, 1)]
    # The ground has its own body; its shade shares the hue and less of the lightness.
    ground_light = (0.25 * ramps[0] + 0.75 * ramps[1] - 0.7 * ramps[2]) * ground
    ground_hue = (0.75 * ramps[0] + 0.25 * ramps[1] - 0.7 * ramps[2]) * ground
    lab = []
    for axis in range(3):
        deep, shade, body, light, glow, floor = palette[:, axis].tolist()
        value = deep + (shade - deep) * ramps[0]
        value.add_(ramps[1], alpha=body - shade).add_(ramps[2], alpha=light - body)
        value.add_(ground_hue if axis else ground_light, alpha=floor - body)
        # In lightness the accent follows the tone, so that what glows keeps its relief.
        goal = glow if axis else 0.4 * value + 0.6 * glow * (0.35 + 0.65 * tone)
        lab.append(value + (goal - value) * accent)
    lms = [_weighted(row, lab) ** 3 for row in _LAB_TO_LMS.tolist()]
    return [_weighted(row, lms) for row in _LMS_TO_RGB.tolist()]


def _checked(name: str, rows: np.ndarray, width: int) -> np.ndarray:
    """Rows of vectors as float64 (frames, width), or the ValueError that says what is wrong with them."""
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"{name} must have the shape (frames, {width}), not {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} must be finite, not {rows[~np.isfinite(rows)][0]}")
    return rows


def _multiply(a: Complex, b: Complex) -> Complex:
    """Product of two complex pictures, each (real, imaginary)."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _phasor(angle: Tensor) -> Complex:
    """exp(i angle) as a complex picture."""
    return torch.cos(angle), torch.sin(angle)


def _weighted(weights: Sequence[float], pictures: Sequence[Tensor]) -> Tensor:
    """Sum of pictures, each times its weight."""
    total = weights[0] * pictures[0]
    for weight, picture in zip(weights[1:], pictures[1:]):
        total.add_(picture, alpha=weight)
    return total


def _slope(height: Tensor) -> Complex:
    """Central differences a pixel to the right and up; at the edges, the neighbour's."""
    right, up = torch.empty_like(height), torch.empty_like(height)
    torch.sub(height[:, 2:], height[:, :-2], out=right[:, 1:-1])
    torch.sub(height[:-2], height[2:], out=up[1:-1])
    right[:, 0], right[:, -1] = right[:, 1], right[:, -2]
    up[0], up[-1] = up[1], up[-2]
    return right.mul_(0.5), up.mul_(0.5)


def _fold(power: Complex, turning: Tensor) -> Tensor:
    """Rounded folds with sharp valleys around zero, from exp(ikv); none where they get finer than pixels."""
    return (torch.sqrt(power[0] * power[0] + 0.05) - 0.66) * (1.4 - turning).clamp_(0, 1)


def _blur(picture: Tensor) -> Tensor:
    """Means over 3x3 pixels weighted 1 2 1: what softens the stairs of an edge."""
    across = picture.clone()
    across[:, 1:-1].mul_(2).add_(picture[:, 2:]).add_(picture[:, :-2]).mul_(0.25)
    down = across.clone()
    down[1:-1].mul_(2).add_(across[2:]).add_(across[:-2]).mul_(0.25)
    return down
