"""A class-conditional pattern network that needs no training and no download.

A compositional pattern-producing network (Stanley, 2007) computes a picture from the coordinates of its pixels by
composing smooth functions. This one composes eight stages (`musicvideo.vision.generators.cppn.stages`). A class is a
`Look`, a small record of what the stages are told, with a `Composition`, which says where things lie. Class weights
blend both, so every mixture of classes is a place between them, drawn by the same network.

1. *Plane.* Pixels are points of [-1, 1]², y upwards. A few plane waves bend the plane; the noise moves them.
2. *Colony.* The caps of the composition stand in front of each other on the ground, each with a lobed rim and a soft
   shadow; holes lead back to the ground. A rim is a Chebyshev series of the angle from upwards, which makes the first
   cap the silhouette of a thing. A pixel belongs to the front-most cap over it, and from here on counts from that cap's
   centre; on the ground, from the composition's eye.
3. *Nest.* u + iv = log z is the conformal map of a cap: curves of constant u are rings around its centre, or copies of
   its silhouette, curves of constant v radiate from it, as gills do, and no pattern is stretched by it. v is kept as
   the complex number exp(iv): exp(ikv) is a power of it, with neither a seam nor an arc tangent. On the ground, rings
   are squeezed into layers that get denser towards a horizon.
4. *Pigment.* Three sine neurons on those coordinates: slow marbled areas, and where veins run.
5. *Shells.* u, scalloped by powers of exp(iv), is cut into shells that overlap like the shelves of a
   bracket fungus: seen from above (a dome) or into (a bowl). A number that is added to the depth of the ground lets
   the eye fall through its shells; after `stages.PERIOD` of them everything begins again.
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
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import NamedTuple

import numpy as np

from musicvideo.vision.generators import hardware
from musicvideo.vision.generators.cppn import stages
from musicvideo.vision.generators.cppn.looks import COMPOSITIONS, EMBLEMS, LOOKS, MOST_CAPS, Look
from musicvideo.vision.generators.record import Handle

NOISE_DIM = 128  # units of the noise vector, as many as BigGAN's
SHARPENING = 3.0  # power of a class weight: 12 pitches sound at once, but one leads
BACKSTOP = 1e-6  # weight of the first class in every mixture: silence has a picture too
FINENESS = 256  # pixels a side at least, while drawing
FAR = 0.4  # how far the ground moves with the gaze: the caps are nearer
LAMP = 2.1  # where the lamp hangs at zero noise: radians from the right, so upper left
PLANES = 22  # that a picture needs while it is drawn
FIRST_LOOKS = 48  # whose identities are drawn before all else that is random; see `CPPN`
_PLACE = ("eye_x", "eye_y", "horizon", "depth", "bare")  # numbers of a composition

_RGB_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LMS_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
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


_SPORES = 28

# What the noise moves, and how far at one standard deviation; each is a fixed direction in the space of
# the noise. Distances are small because a loud second carries the noise all the way across its range.
_MOTION = {
    "zoom": 0.003,
    "turn": 0.004,
    "orbit": 0.008,
    "gaze_x": 0.009,
    "gaze_y": 0.009,
    "phase": 0.014,
    "dive": 0.014,
    "bloom": 0.006,
    "emblem": 0.02,
    "whirl": 0.006,
    "spin": 0.010,
    "lamp": 0.07,
    "tint": 0.02,
    "drift_x": 0.014,
    "drift_y": 0.014,
    **{f"pigment{j}": 0.07 for j in range(3)},
    **{f"wave{j}": 0.024 for j in range(6)},
    **{f"cap{j}": 0.007 for j in range(MOST_CAPS)},
}
# How far a score may move a factor, in the factor's own units: as far as every look is still worth looking at, which is
# much further than the noise moves it by itself.
_REACH = {
    "zoom": 0.6,
    "turn": 1.2,
    "orbit": 1.2,
    "gaze_x": 1.0,
    "gaze_y": 1.0,
    "phase": 1.0,
    "dive": stages.PERIOD / 2,  # where it meets its other end
    "bloom": 0.5,
    "emblem": 1.0,
    "whirl": 1.5,
    "spin": 1.0,
    "lamp": 1.5,
    "tint": 0.9,
    **{f"cap{j}": 0.6 for j in range(MOST_CAPS)},
}
# The same factors carry what sets classes apart beyond their records: waves, pigment, and a little of everything else.
_IDENTITY = {"pigment": 0.5, "wave": 0.1, "orbit": 0.06, "tint": 0.05, "gaze_x": 0.02, "gaze_y": 0.02, "cap": 0.1}


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
    runs_on = "numba on the CPU, float32"

    def __init__(self, resolution: int = 512):
        if not isinstance(resolution, (int, np.integer)) or resolution < 16:
            raise ValueError(f"resolution must be a whole number of at least 16, not {resolution}")
        self.resolution = int(resolution)
        # A small picture is drawn finer and averaged: what a large one shows, it does not lose.
        self._finer = math.ceil(FINENESS / self.resolution)
        self._side = n = self.resolution * self._finer
        self._pixel = 2 / n
        self._axis = ((np.arange(n) + 0.5) * self._pixel - 1).astype(np.float32)

        fixed = np.random.default_rng(20)
        directions, _ = np.linalg.qr(fixed.standard_normal((NOISE_DIM, len(_MOTION))))
        self._motion = directions * list(_MOTION.values())
        self.handles = {
            name: Handle(direction, _REACH[name] / scale)
            for (name, scale), direction in zip(_MOTION.items(), directions.T)
            if name in _REACH
        }
        reach = [_IDENTITY.get(name.rstrip("0123456789"), 0) for name in _MOTION]
        identity = fixed.standard_normal((FIRST_LOOKS, len(_MOTION)))
        self._waves = fixed.normal(0, 2.3, (6, 2)), fixed.uniform(0, 2 * np.pi, 6)
        self._spores = fixed.uniform(-1.05, 1.05, (2, _SPORES))
        more = fixed.standard_normal((len(LOOKS) - FIRST_LOOKS, len(_MOTION)))
        self._identity = np.concatenate([identity, more]) * reach

        self._palettes = np.array([[_oklab(c) for c in look.palette.split()] for look in LOOKS.values()])
        self._fields = [field.name for field in fields(Look) if isinstance(field.default, float)] + list(_PLACE)
        places = [COMPOSITIONS[look.place] for look in LOOKS.values()]
        self._records = np.array(
            [
                [getattr(look, name) for name in self._fields[: -len(_PLACE)]]
                + [*place.eye, place.horizon, place.depth, place.bare]
                for look, place in zip(LOOKS.values(), places)
            ]
        )
        self._caps = np.array([(*place.caps, *[(0, 0, 0)] * (MOST_CAPS - len(place.caps))) for place in places])
        self._emblems = np.array([_rim(EMBLEMS[look.emblem]) for look in LOOKS.values()])

        # A thread a picture, not threads within one: those would wait for each other.
        self._threads = ThreadPoolExecutor(hardware.cores())
        self._spaces = threading.local()  # planes of each thread: new memory costs as much as what is written on it

        # Interleaved gradient noise (Jimenez, 2014): rounding with it leaves no bands, and being fixed
        # to the screen it does not flicker.
        rows = np.arange(self.resolution)
        dither = 52.9829189 * ((0.06711056 * rows + 0.00583715 * rows[:, None]) % 1) % 1
        self._dither = dither.astype(np.float32)
        self.computed_by = {
            "backend": self.runs_on,
            **hardware.cpu(),
            "instructions": stages.instructions(),
            **hardware.versions("numba", "llvmlite", "numpy"),
        }

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
        list(self._threads.map(self._draw, noise, classes, pictures))
        stages.keep()
        return pictures

    def _mix(self, weights: np.ndarray) -> _Mixture:
        """What lies between the looks of the class weights."""
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
        # A cap that a look lacks has a radius of 0 there, and no say in where it stands.
        say = shares[:, None] * np.abs(self._caps[..., 2])
        centres = np.einsum("kc,kcd->cd", say, self._caps[..., :2]) / np.maximum(say.sum(0), 1e-9)[:, None]
        caps = np.column_stack([centres, shares @ self._caps[..., 2]])
        numbers = dict(zip(self._fields, (shares @ self._records).tolist()))
        return _Mixture(numbers, palette, caps, shares @ self._emblems, shares @ self._identity)

    def _draw(self, noise: np.ndarray, weights: np.ndarray, picture: np.ndarray) -> None:
        """Draw one picture into uint8 (resolution, resolution, 3)."""
        mixture = self._mix(weights)
        look = mixture.numbers
        move = dict(zip(_MOTION, (noise @ self._motion + mixture.identity).tolist()))
        palette = _turned(mixture.palette, move["tint"])
        scene = self._scene(look, move)
        planes = self._planes()
        x, y, cap_x, cap_y, lobe, layer, shadow, opened, u, e_x, e_y, first, second, third, depth = planes[:15]
        slope_x, slope_y, across, border, bump, tone, accent = planes[15:]

        bends = self._bends(look, move)
        stages.plane(scene, self._axis, bends, x, y)
        stages.colony(
            scene, self._axis, self._centres(mixture.caps, bends, move), self._rims(mixture, move),
            x, y, cap_x, cap_y, lobe, layer, shadow, opened,
        )  # fmt: skip
        stages.nest(scene, x, y, cap_x, cap_y, lobe, layer, u, e_x, e_y, first, second, third, depth)
        stages.relief(
            scene, x, y, layer, opened, u, e_x, e_y, first, second, third, depth,
            slope_x, slope_y, across, border, bump, tone, accent,
        )  # fmt: skip
        colours, soft = (first, second, third), x  # planes that nothing reads any more
        lamplight = _linear(0.5 * palette[3] + 0.5 * palette[4])
        stages.light(
            scene, _steps(palette), _singles(lamplight), *self._spore_light(move),
            cap_x, cap_y, layer, shadow, opened, u, slope_x, slope_y, across, border, bump, tone, accent, *colours,
        )  # fmt: skip
        for channel, colour in enumerate(colours):
            stages.soften(colour, border, soft)
            stages.soften(soft, border, colour)
            stages.to_bytes(colour, self._finer, self._dither, picture, channel)

    def _planes(self) -> np.ndarray:
        """This thread's planes, float32 (22, n, n)."""
        if not hasattr(self._spaces, "planes"):
            self._spaces.planes = np.empty((PLANES, self._side, self._side), np.float32)
        return self._spaces.planes

    def _scene(self, look: dict[str, float], move: dict[str, float]) -> stages.Scene:
        """The numbers that the stages are told."""
        zoom, angle = math.exp(move["zoom"]), LAMP + move["lamp"]
        lamp = np.array([0.66 * math.cos(angle), 0.66 * math.sin(angle), 0.75])
        half = lamp + (0, 0, 1)
        half /= np.linalg.norm(half)
        told = {
            **look,
            "cosine": zoom * math.cos(move["turn"]), "sine": zoom * math.sin(move["turn"]),
            "shift": 1 - zoom, "pixel": self._pixel,
            "eye_x": look["eye_x"] + FAR * move["gaze_x"], "eye_y": look["eye_y"] + FAR * move["gaze_y"],
            "wide": min(1 - look["horizon"], 1) ** 2, "tall": min(1 + look["horizon"], 1) ** 2, "dive": move["dive"],
            "lamp_x": lamp[0], "lamp_y": lamp[1], "lamp_z": lamp[2],
            "half_x": half[0], "half_y": half[1], "half_z": half[2],
            "twist": look["twist"] + move["whirl"], "spin": move["spin"], "phase": move["phase"],
            **{f"pigment_{number}": number + move[f"pigment{number}"] for number in range(3)},
            "curl": look["curl"] + 0.5 * move["bloom"],
            "dome": math.tanh(2.5 * look["dome"]),
        }  # fmt: skip
        return stages.Scene(**{name: np.float32(told[name]) for name in stages.Scene._fields})

    def _bends(self, look: dict[str, float], move: dict[str, float]) -> np.ndarray:
        """The waves that bend the plane, as `stages.plane` takes them: float32 (5, 6)."""
        (across, up), phases = self._waves[0].T, self._waves[1]
        k = np.hypot(across, up)
        # Across the wave's direction: a bend without sources, which leaves areas as they are.
        amount = (0.10 + 0.59 * look["warp"]) / (1 + k) / k
        moved = phases + [move[f"wave{number}"] for number in range(len(phases))]
        return np.stack([across, up, moved, -amount * up, amount * across]).astype(np.float32)

    def _centres(self, caps: np.ndarray, bends: np.ndarray, move: dict[str, float]) -> np.ndarray:
        """Where caps stand and how large they are, as `stages.colony` takes them: float32 (caps, 4).

        Args:
            caps: (caps, 3), as in a `Composition`.
            bends: as `_bends` gives them; what stands in the film's middle stays there.
        """
        gaze = complex(move["gaze_x"], move["gaze_y"])
        turn = complex(math.cos(move["orbit"]), math.sin(move["orbit"]))
        rows = []
        for number, (x, y, radius) in enumerate(caps.tolist()):
            radius *= math.exp(move["bloom"] + move[f"cap{number}"])
            centre = complex(x, y) * turn + (0.8 + 0.06 * number) * gaze  # parallax: what is in front moves further
            # A cap that has left the picture comes back on the other side: the eye can travel for ever.
            around = 2 + 2.2 * abs(radius)
            x, y = ((part + around) % (2 * around) - around for part in (centre.real, centre.imag))
            waves = np.sin(bends[0] * x + bends[1] * y + bends[2])
            x, y = x + bends[3] @ waves, y + bends[4] @ waves
            rows.append((x, y, radius, abs(radius) / max(1.4 * self._pixel, 0.005)))
        return np.array(rows, np.float32)

    def _rims(self, mixture: _Mixture, move: dict[str, float]) -> np.ndarray:
        """How far each cap's rim is from a circle, as `stages.colony` takes it: float32 (caps, 9)."""
        rims = np.zeros((MOST_CAPS, len(mixture.emblem)), np.float32)
        rims[0] = mixture.emblem * min(max(1 + move["emblem"], 0), 2)  # from a circle to an exaggeration
        rims[:, 2] -= 0.12 * mixture.numbers["petals"]
        rims[:, 5] += 0.1 * mixture.numbers["scallop"]
        return rims

    def _spore_light(self, move: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Round glows of many sizes, each the product of a column and a row: twice float32 (spores, n)."""
        size = 0.010 * 1.12 ** np.arange(_SPORES)[:, None]
        drift = np.outer([move["drift_x"], move["drift_y"]], np.linspace(0.6, 2, _SPORES))
        across, along = (self._spores + drift)[..., None]
        column = np.exp(-(((self._axis - along) / size) ** 2))
        row = np.exp(-(((self._axis - across) / size) ** 2)) * 0.6 / (1 + 12 * size)
        return column.astype(np.float32), row.astype(np.float32)


class _Mixture(NamedTuple):
    """What class weights blend.

    Attributes:
        numbers: fields of `Look` and of its `Composition`.
        palette: (6, 3) in OKLab.
        caps: (caps, 3), as in a `Composition`.
        emblem: (9,) series of the first cap's rim, as `_rim` gives it.
        identity: factors that are added to those of the noise.
    """

    numbers: dict[str, float]
    palette: np.ndarray
    caps: np.ndarray
    emblem: np.ndarray
    identity: np.ndarray


def _rim(radii: Sequence[float]) -> np.ndarray:
    """Chebyshev series of 1 / radius - 1 over the cosine of the angle from upwards.

    Args:
        radii: at equal angles from the top to the bottom: at the points of Chebyshev and Lobatto.
    """
    angles = np.linspace(0, np.pi, len(radii))
    return np.linalg.solve(np.cos(np.outer(angles, np.arange(len(radii)))), 1 / np.array(radii) - 1)


def _turned(palette: np.ndarray, angle: float) -> np.ndarray:
    """A palette (6, 3) in OKLab with its hues turned by an angle in radians."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return palette @ np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])


def _steps(palette: np.ndarray) -> tuple[tuple[np.float32, ...], ...]:
    """A palette (6, 3) as `stages.light` takes it: for each coordinate, steps from one colour to the next."""
    deep, shade, body, light, accent, ground = palette
    rows = np.stack([deep, shade - deep, body - shade, light - body, accent, ground - body], axis=1)
    return tuple(map(_singles, rows))


def _singles(numbers: Sequence[float]) -> tuple[np.float32, ...]:
    return tuple(map(np.float32, numbers))


def _checked(name: str, rows: np.ndarray, width: int) -> np.ndarray:
    """Rows of vectors as float64 (frames, width), or the ValueError that says what is wrong with them."""
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"{name} must have the shape (frames, {width}), not {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} must be finite, not {rows[~np.isfinite(rows)][0]}")
    return rows
