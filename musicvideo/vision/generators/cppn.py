"""The embedded generator: a class-conditional pattern network that needs no training and no download.

A compositional pattern-producing network (Stanley, 2007) computes a picture from the coordinates of
its pixels by composing smooth functions. This one composes seven stages, each a handful of array
operations; a class is a `Look`, a small record of what the stages are told, and class weights blend
records, so that every mixture of classes is drawn by the same network.

1. *Plane.* Pixels are points of [-1, 1]², y upwards. A few plane waves bend the plane; the noise moves them.
2. *Colony.* Caps stand in front of each other on a hollow ground, each with a lobed rim and a soft
   shadow. A pixel belongs to the front-most cap over it, and from here on counts from that cap's centre.
3. *Nest.* u + iv = log z is the conformal map of a cap: curves of constant u are rings around its centre,
   curves of constant v radiate from it, as gills do, and no pattern is stretched by it. v is kept as the
   complex number exp(iv): exp(ikv) is a power of it, with neither a seam nor an arc tangent.
4. *Pigment.* Three sine neurons on those coordinates: slow marbled areas, and where veins run.
5. *Shells.* u, scalloped by powers of exp(iv), is cut into shells that overlap like the shelves of a
   bracket fungus: seen from above (a dome) or into (a bowl).
6. *Relief and light.* Shells, folds, warts, veins and growth rings make a surface; its slope, measured in
   widths of its shell so that small caps are as round as large ones, meets a lamp that the noise carries.
7. *Colour.* Light is a position on the class's palette, not a factor: shadows take the palette's deep
   hue and highlights its pale one. Palettes are blended in OKLab (Ottosson, 2020), where the colour
   half way between two is what the eye takes for it.

Whatever repeats is faded out before it gets finer than the pixels, so that nothing shimmers, and all
lengths are parts of the picture, so that a resolution changes sharpness and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from typing import NamedTuple

import numpy as np
import torch

NOISE_DIM = 128                 # units of the noise vector, as many as BigGAN's
SHARPENING = 2.0                # power of a class weight: 12 pitches sound at once, but one leads
BACKSTOP = 1e-6                 # weight of the first class in every mixture: silence has a picture too
FINENESS = 256                  # pixels a side at least, while drawing
LAMP = 2.1                      # where the lamp hangs at zero noise: radians from the right, so upper left


@dataclass(frozen=True)
class Look:
    """What one class tells the network; every field but the palette is a number, mostly from 0 to 1.

    palette: six sRGB colours: deep shadow, shade, body of the caps, light, the accent of rims and glow,
    and the body of the ground that the caps stand on.
    """

    palette: str
    caps: float = 1.0           # shells a unit of u: how many are nested
    spread: float = 0.6         # how far caps stand from the centre: 0 a bunch, 1 all over the picture
    colony: float = 1.0         # size of the caps
    rise: float = 0.0           # vertical flow: shells of the ground lie in layers
    sway: float = 0.0           # horizontal flow: shells of the ground stand as bars
    twist: float = 0.0          # folds become spirals: radians a unit of u
    warp: float = 0.25          # how far the plane is bent
    petals: float = 0.0         # two broad lobes of a rim
    scallop: float = 0.0        # five narrow lobes of a rim
    dome: float = 1.0           # 1 caps seen from above on a hollow ground, -1 bowls on a bulging one
    curl: float = 0.5           # how much of a shell's fall is at its rim
    ribs: float = 0.25          # 8 broad folds around a centre
    gills: float = 0.0          # 24 fine folds around a centre
    spots: float = 0.0          # warts
    veins: float = 0.0          # a net of raised lines
    rings: float = 0.0          # growth rings, as in wood
    marble: float = 0.3         # strength of the pigment
    gloss: float = 0.3          # highlights of the lamp
    glow: float = 0.3           # light from inside: rims and centres take the accent
    spores: float = 0.0         # specks of light before the surface


LOOKS = {
    # fungi
    "mushroom": Look("160b14 5e2a20 c8814e fdecc8 e2563a 2a5a50", caps=0.8, gills=0.8, curl=0.9, spores=0.3),
    "amanita": Look("1c0312 8c0d18 e6321f fff0dd ffc48a 1d5038",
        caps=0.9, spots=1, gloss=0.7, marble=0.1, gills=0.25, colony=1.15),
    "chanterelle": Look("240a16 a03d08 f7a21c fff2b8 ff5d3a 7a2c4a",
        caps=0.7, twist=0.5, ribs=0.8, dome=-0.9, scallop=0.5, petals=0.3),
    "gills": Look("120a1c 5a3350 c8907e fff0dc f0607a 57427a",
        caps=0.5, spread=0.3, gills=1, dome=-0.8, marble=0.15, glow=0.5),
    "mycelium": Look("04070e 14303f 58a89a f2fbe0 b8f0a0 1c5468",
        caps=0.6, veins=1, warp=0.5, glow=0.9, dome=0.3, spores=0.6, colony=0.6),
    "lichen": Look("08141c 23584a a3c878 faf6c4 f2a82e 3a6a80",
        caps=1.6, scallop=0.9, petals=0.4, warp=0.45, dome=0.8, marble=0.6, spread=1),
    "spores": Look("0b0620 40185a c05a80 ffdcc0 ffb35a 3a2f86",
        caps=0.6, spots=0.6, spores=1.2, glow=0.8, warp=0.5, gloss=0.5, spread=0.9),
    "morel": Look("120a10 5e3d1c c6963e fbe8a8 8fae54 44582c",
        caps=1.3, ribs=0.9, scallop=0.6, dome=-0.6, rings=0.2, warp=0.35, marble=0.4),
    "inkcap": Look("06060f 1d2140 6672a4 f6eee2 8a50c0 3a2a62",
        caps=1.1, rise=1.2, ribs=0.4, gills=0.7, spread=0.7, dome=0.9, glow=0.4, warp=0.2),
    "turkey tail": Look("0f0a14 47304a c07a42 fce8c4 2f8f95 2e6872",
        caps=2.4, scallop=0.5, petals=0.3, rings=0.25, spread=0.9, dome=0.9, marble=0.7, gloss=0.1, colony=1.2),
    "witches butter": Look("260a0a a84a00 ffb30f fff5c0 ff7a1a 80301a",
        caps=0.5, warp=0.8, gloss=1.2, petals=1, curl=1, spread=0.7, glow=0.5),
    "moss": Look("06120f 1d4a26 7cae3c f0f6a8 d2d64a 2a5a44",
        caps=1.2, warp=0.6, spots=0.8, ribs=0.3, dome=0.8, marble=0.8, gloss=0.1, spread=1),
    # instruments
    "vibraphone bars": Look("0a0a1a 343a6c c8a878 fff6d8 f5b040 56609a",
        caps=1.1, spread=1, sway=3.4, gloss=1, warp=0.1, curl=0.35, marble=0.15, colony=0.45),
    "bells": Look("150814 6a3510 dca032 fff4c0 ff8a4d 5a2a40",
        caps=1.7, spread=0.3, gloss=1, warp=0.12, curl=0.8, petals=0.2, marble=0.2, glow=0.5),
    "marimba wood": Look("180608 5a1d14 c4662e fcd49c f08a3a 8a3a26",
        caps=0.8, spread=1, sway=1.2, rings=1, warp=0.3, dome=0.5, marble=0.6, colony=0.6),
    "mallets": Look("0c081e 4a2468 dc5a8e ffe6cc ffb03a 3a3a9a",
        caps=1, spread=0.9, rings=0.5, twist=1.5, gloss=0.3, curl=0.9, warp=0.15),
    "tremolo": Look("050e20 154a7a 62bccc fff8de ffa45a 20549a",
        caps=1.4, spread=0.8, twist=0.8, scallop=1, petals=0.5, warp=0.15, gloss=0.6, ribs=0.3),
    "resonator": Look("0a0a12 3c3430 b89a6e fff4d6 e0963a 3c5064",
        caps=1.8, spread=0.5, dome=-1, gloss=0.9, warp=0.05, curl=0.2, marble=0.1, glow=0.6),
    "overtone": Look("0a0624 3a1f9a 62a8f4 f6f2ff ff7ac0 5a30b4",
        caps=1.3, spread=0.9, rings=0.7, warp=0.1, gloss=0.6, dome=0.6, glow=0.6),
    "lullaby": Look("121232 44487e c4a8d0 fff2e4 f8b8a4 56709e",
        caps=0.9, rise=0.6, warp=0.4, gloss=0.2, glow=0.5, spores=0.7, curl=0.8, petals=0.3, ribs=0.4),
    # water and ice
    "tide": Look("03101f 0b3f6a 38a4b4 f2fcf0 8fe8cc 1a7896",
        caps=1.3, spread=1, rise=3, scallop=0.6, petals=0.3, warp=0.35, gloss=0.7, colony=0.5),
    "undertow": Look("020a16 083a4a 26948a dcf8d8 56d0b0 14506e",
        caps=0.9, twist=2.2, spread=0.5, dome=-0.8, warp=0.45, gloss=0.6, petals=0.4, ribs=0.4),
    "rain": Look("08101c 26425e 86a8c0 f4f8f6 a8d8e8 3a6a84",
        caps=2, spread=1, gloss=1, warp=0.1, curl=0.5, rings=0.2, marble=0.1, glow=0.3, colony=0.7),
    "frost": Look("0a1430 2c5a98 9cccee ffffff d8c8ff 4a68b8",
        caps=0.9, gills=0.9, ribs=0.5, twist=0.2, scallop=0.7, spread=1, dome=0.6, gloss=0.6, marble=0.15),
    "glacier": Look("021622 0a5a7e 74ccde fafffc 3affd0 1a6a9a",
        caps=0.9, rise=1, curl=1, warp=0.45, gloss=0.9, veins=0.3, dome=0.9, glow=0.5),
    "coral": Look("180a24 8a1c4a f4705e ffead2 ffb070 2a6a8a",
        caps=1.2, scallop=0.7, spots=0.7, warp=0.5, dome=0.7, spread=0.9, marble=0.3, gills=0.4),
    "jellyfish": Look("060522 241a78 9466e4 ffe4f6 ff6ac8 2436a0",
        caps=0.7, spread=0.8, rise=0.8, gills=0.6, ribs=0.4, glow=1, gloss=0.7, spores=0.5, warp=0.35),
    "nautilus": Look("160c14 7a3a20 e0a06c fff4e2 f07a54 4a5a74",
        caps=1.1, twist=1.2, ribs=0.8, spread=0.4, dome=0.9, gloss=0.6, warp=0.1, petals=0.4),
    "pearl": Look("20283a 6a6a92 d8c0c8 fffaf0 90e4d8 5a86a4",
        caps=0.8, spread=0.9, gloss=1.3, glow=0.7, warp=0.35, curl=1, marble=0.9),
    # fire and night
    "embers": Look("0b0308 420c12 c0300f ffc650 ff5a10 6a1420",
        caps=1, veins=0.9, glow=1, warp=0.45, dome=0.5, spread=0.9, spores=0.6, colony=0.7),
    "ash": Look("0e0c14 3c3848 a08a82 f8e8d8 f0602e 6a3a3c",
        caps=1.2, warp=0.6, rings=0.35, veins=0.4, dome=0.7, gloss=0.1, marble=0.6, glow=0.7),
    "candle": Look("12040e 6a1a08 e8861a fff6cc ffc04a 7a2414",
        caps=0.7, rise=-1, spread=0.5, glow=1, warp=0.3, gloss=0.5, curl=0.9),
    "dusk": Look("100a2c 5a2468 e8726a ffe8b4 ff9a4a 7a3a80",
        caps=1, rise=1.8, spread=1, warp=0.45, curl=0.7, gloss=0.2, glow=0.4, spores=0.3, colony=0.7),
    "aurora": Look("03081e 0a3a4e 28b880 e8ffd0 b45af0 3a3aa0",
        caps=0.9, sway=1.8, rise=0.5, spread=1, gills=0.5, warp=0.6, glow=0.9, marble=0.9, dome=0.3, colony=0.6),
    "moonlight": Look("060a1c 1e2f60 7c92cc fffaec c0d0ff 2c4a80",
        caps=1.2, spread=0.7, gloss=0.8, warp=0.3, glow=0.6, curl=0.7, spores=0.5),
    "fog": Look("0e1a2a 34586a 8cb4a8 f8f2d8 eab078 4a7a84",
        caps=0.6, rise=0.8, warp=0.7, gloss=0.05, glow=0.4, spread=1, marble=0.6, ribs=0.3, colony=0.8),
    # glass, stone, cloth
    "glass": Look("02141e 0c6078 70ccd6 f6fffc ff8aa0 1a5a90",
        caps=0.9, gloss=1.4, curl=1, glow=0.6, warp=0.35, spread=0.9, marble=0.1),
    "opal": Look("101838 3a5aa0 84d4c8 fff2ee ff8ab8 8060b4",
        caps=0.6, gloss=0.9, warp=0.55, marble=1.2, glow=0.6, spread=0.8),
    "porcelain": Look("0c1648 2a50b0 b4ccf0 fffdf6 ecc890 2a4aa8",
        caps=1.1, scallop=0.8, petals=0.4, gloss=1, warp=0.1, spread=0.6, marble=0.4, veins=0.5),
    "cathedral": Look("0a0a22 2a2b78 9854b0 fce0b4 ff9f30 3c3a9c",
        caps=0.9, spread=0.8, rise=1, ribs=1, dome=-0.9, warp=0.12, petals=0.4, glow=0.5),
    "rose window": Look("0a0624 4a0f6b dc344e ffe49c 20c0d0 2434a0",
        caps=1, spread=0.3, ribs=1, scallop=0.9, petals=0.5, dome=0.6, warp=0.05, glow=0.7, gloss=0.5),
    "velvet": Look("10020e 560828 cc2452 ffb4a4 f0609a 8a1a68",
        caps=0.8, sway=1, warp=0.6, gloss=0.25, curl=0.9, spread=1, marble=0.2, ribs=0.5, colony=0.8),
    # body and dream
    "moth wing": Look("120e14 54383a b48c64 faecc8 d8683c 6a5a5e",
        caps=1.3, spread=0.9, scallop=0.6, gills=0.9, ribs=0.3, petals=0.7, dome=0.5, gloss=0.05, rings=0.2),
    "peacock": Look("04101e 084a6a 1cb092 ecf69a 5a3ae0 1c4aa4",
        caps=1.7, spread=0.9, gills=0.7, scallop=0.3, gloss=0.6, glow=0.9, warp=0.2),
    "bruise": Look("120620 48206a a2588e f6dc98 5ea06e 44508c",
        caps=0.6, warp=0.7, marble=1, dome=0.6, gloss=0.25, spread=0.8),
    "veins": Look("14040e 5a1024 cc5650 ffdccc 7a3a9a 5a2a5e",
        caps=0.6, veins=1.2, warp=0.4, gloss=0.5, dome=0.7, spread=0.9, marble=0.4, colony=0.8),
    "iris": Look("04101a 0e4a6a 68acac fcf0c8 e0a030 1c6474",
        caps=0.6, spread=0.4, gills=1, ribs=0.3, dome=-0.5, gloss=0.9, warp=0.12, glow=0.7, veins=0.3),
    "dissociation": Look("120824 4030a0 ec6aa0 fff4cc 30d8d0 4848b4",
        caps=1.8, spread=0.9, twist=1, warp=0.5, ribs=0.6, gloss=0.7, glow=0.6, marble=0.6, dome=-0.3),
}


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


class _Caps(NamedTuple):
    """The front-most cap at every pixel."""

    x: torch.Tensor             # from its centre, in its radii
    y: torch.Tensor
    lobe: torch.Tensor          # how much nearer its rim is than a circle's
    layer: torch.Tensor         # 0 on the ground, counting towards the eye
    shadow: torch.Tensor        # what caps before it throw on it: 0..1
    open: torch.Tensor          # 0 on the line where two caps meet, 1 a pixel away


class CPPN:
    """Pictures from a class-conditional pattern network: the generator that is always there.

    labels: names of the classes; a name's index is its class. noise_dim: 128. resolution: side of the
    square picture, at least 16. Instances of one resolution are alike: nothing is random.

    Raises ValueError for a resolution that is no whole number or below 16.
    """

    labels: Sequence[str] = tuple(LOOKS)
    noise_dim = NOISE_DIM
    runs_on = "torch on the CPU, float32"

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
        self._identity = fixed.standard_normal((len(LOOKS), len(_MOTION))) * reach
        self._waves = fixed.normal(0, 2.3, (6, 2)), fixed.uniform(0, 2 * np.pi, 6)
        self._spores = fixed.uniform(-1.05, 1.05, (2, _SPORES))

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
        """Pictures (B, resolution, resolution, 3), uint8 sRGB, of noise (B, 128) and class weights (B, labels).

        Noise values are about normal, within [-2, 2]; class weights are not negative and need no
        particular sum: only their ratios matter. Each row is drawn by itself, so that its bytes do not
        depend on its batch. Raises ValueError for a wrong shape, a value that is not finite, or a
        negative weight.
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

    def _mix(self, weights: np.ndarray) -> tuple[dict, np.ndarray, np.ndarray]:
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
    def _draw(self, noise: np.ndarray, weights: np.ndarray, picture: torch.Tensor) -> None:
        look, palette, identity = self._mix(weights)
        move = dict(zip(_MOTION, (noise @ self._motion + identity).tolist()))
        angle = LAMP + move["lamp"]
        lamp = 0.66 * math.cos(angle), 0.66 * math.sin(angle), 0.75

        x, y = self._plane(look, move)
        caps = self._colony(look, move, lamp, x, y)
        ground = caps.layer == 0

        # Nest. A cap is level at its top, so its rings end before the centre; those of the ground go on.
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

        # Pigment
        first = torch.sin(1.3 * u + 1.7 * e1[0] + 1.1 * e2[1] + move["pigment0"])
        second = torch.sin(2.1 * first + 1.5 * e1[1] - 0.9 * u + 2 * x + (1 + move["pigment1"]))
        third = torch.sin(1.8 * second + 2.2 * y - 1.3 * first + (2 + move["pigment2"]))

        # Shells, counted outwards by `depth`, which is left in peace at the rim of a cap so that it ends with
        # a whole shell. `across` runs from 0 at the inner border of a shell to 1 at the outer one and, so that
        # the border is not jagged, back within two pixels.
        held = torch.where(ground, 1, (1 - size * size).clamp_(0, 1))
        depth = look["caps"] * u + held * (0.2 * look["scallop"] * e8[0] + 0.3 * look["petals"] * e2[0]
                                           + 0.12 * look["marble"] * second + move["phase"])
        slope_x, slope_y = _slope(depth)
        steep = torch.sqrt(slope_x * slope_x + slope_y * slope_y).add_(1e-6)     # shells a pixel
        shell = torch.floor(depth)
        across = depth - shell
        border = (1.9 - torch.minimum(across, 1 - across) / steep).clamp_(0, 1)
        border = torch.maximum(border, 1 - caps.open)                            # 1 within a pixel of any edge
        back = (1.5 * steep).clamp_(max=0.5)
        across = torch.minimum(across / (1 - back), (1 - across) / back)

        # Relief. Each shell turns its folds against the one above: straight on, a rim would look like glass.
        turning = torch.sqrt(sum(slope * slope for part in e1 for slope in _slope(part)))    # radians of v a pixel
        rib = _multiply(e4, _phasor(0.9 * shell))
        gill = _multiply(_multiply(rib, rib), rib)
        folds = 1.2 * look["ribs"] * _fold(rib, 8 * turning) + 0.7 * look["gills"] * _fold(gill, 24 * turning)
        warts = torch.sin(3 * math.pi * depth).mul_(e8[0]).add_(first, alpha=0.35)
        warts = (3 * warts - 1.35).clamp_(0, 1) * (1.6 - 12 * turning).clamp_(0, 1)
        warts = warts * (1 - u).clamp_(0, 1) * look["spots"]
        net = second + 0.6 * torch.sin(5 * x + 3 * third + 4 * e1[0]) + 0.5 * torch.sin(6 * y - 3 * first + 2.5 * u)
        veins = torch.exp(net * net * -18) * look["veins"]
        rings = torch.sin(10 * math.pi * (depth + 0.12 * third)) * (1.3 - 10 * steep).clamp_(0, 1) * look["rings"]
        bump_x, bump_y = _slope(0.3 * folds + 0.1 * warts + 0.1 * veins + 0.012 * rings + 0.035 * first)

        # Light. Between a dome and a bowl lies a plate, which is dull: mixtures lean to either side.
        dome = torch.where(ground, -0.7, 1.0) * math.tanh(2.5 * look["dome"])
        level = torch.where(ground, 1, size / (0.15 + size))
        fall = dome * level * (0.55 - 0.3 * look["curl"] + 2.6 * look["curl"] * across ** 4)
        width = 1 / (steep + 0.2 * self._pixel)                                  # pixels a shell
        smooth = 1 - border
        swell = dome * size / (0.5 + size) * torch.where(ground, 0.22, 0.75)     # a cap is round as a whole, too
        normal_x = (fall * slope_x - smooth * bump_x) * width + swell * outward[0]
        normal_y = (fall * slope_y - smooth * bump_y) * width + swell * outward[1]
        normal_z = torch.rsqrt(1 + normal_x * normal_x + normal_y * normal_y)
        lit = ((normal_x * lamp[0] + normal_y * lamp[1] + lamp[2]) * normal_z).clamp_(min=0)
        half = np.array(lamp) + (0, 0, 1)                                        # Blinn's half vector
        half = (half / np.linalg.norm(half)).tolist()
        gleam = ((normal_x * half[0] + normal_y * half[1] + half[2]) * normal_z).clamp_(min=0) ** 32

        # Shadow at the foot of a shell, which is its inner border on a dome and its outer one in a bowl.
        foot = 0.5 + dome * (across - 0.5)
        facing = (slope_x * lamp[0] + slope_y * lamp[1]) / steep * dome
        shadow = torch.exp(foot * -(7 + 5.5 * facing)) * torch.where(ground, 1.0, 0.8)
        shadow = torch.maximum(shadow, caps.shadow)

        marble, glow = look["marble"], look["glow"]
        tone = 0.02 + 0.66 * lit + 0.28 * folds + 0.25 * warts + 0.3 * veins + 0.07 * rings + 0.13 * marble * third \
            + 0.05 * torch.sin(1.9 * (depth - across + 0.9 * caps.layer) + move["tint"]) + 0.025 * caps.layer \
            - (0.42 + 0.1 * dome) * shadow - 0.07 * dome * (u + 0.3).clamp_(-1.5, 1.5)
        accent = 0.8 * glow * foot ** 10 * torch.where(ground, 0.4, 1.0) + 0.3 * veins + 0.2 * marble * (1 + second) \
            + 0.35 * glow * torch.exp(-3 * (u + 0.9).clamp_(min=0))
        light = _linear(0.5 * palette[3] + 0.5 * palette[4])
        linear = self._colour(palette, tone * caps.open, accent * caps.open, ground)
        gleam = gleam * caps.open * look["gloss"] * 0.35
        spores = self._spore_light(move) * look["spores"]
        for channel, plane in enumerate(linear):
            plane.add_(gleam, alpha=0.3 + 0.7 * light[channel]).add_(spores, alpha=light[channel])
            for _ in range(2):
                plane.add_(border * (_blur(plane) - plane))
            if self._finer > 1:
                plane = torch.nn.functional.avg_pool2d(plane[None].clamp_(0, 1), self._finer)[0]
            root = torch.sqrt(plane.clamp_(0, 1))
            fourth = torch.sqrt(root)
            # sRGB's transfer curve to within half a level, without a power
            srgb = 0.585122381 * root + 0.783140355 * fourth - 0.368262736 * torch.sqrt(fourth)
            picture[..., channel] = (srgb.clamp_(0, 1) * 255 + self._dither).clamp_(max=255)

    def _plane(self, look: dict, move: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Where each pixel is once the waves have bent the plane."""
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

    def _colony(self, look: dict, move: dict, lamp: tuple, x: torch.Tensor, y: torch.Tensor) -> _Caps:
        """Put the caps on the ground, each over the ones before it."""
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

    def _colour(self, palette: np.ndarray, tone: torch.Tensor, accent: torch.Tensor, ground: torch.Tensor) -> list:
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

    def _spore_light(self, move: dict) -> torch.Tensor:
        """Round glows of many sizes: each is a product of a row and a column, and their sum one of matrices."""
        size = 0.010 * 1.12 ** np.arange(_SPORES)
        drift = np.outer([move["drift_x"], move["drift_y"]], np.linspace(0.6, 2, _SPORES))
        across, along = torch.from_numpy((self._spores + drift).astype(np.float32))
        size = torch.from_numpy(size.astype(np.float32))
        column = torch.exp(-((self._axis[:, None] - along) / size) ** 2)
        row = torch.exp(-((self._axis[:, None] - across) / size) ** 2) * 0.6 / (1 + 12 * size)
        return column @ row.T


def _checked(name: str, rows: np.ndarray, width: int) -> np.ndarray:
    """Rows of vectors as float64 (frames, width), or the ValueError that says what is wrong with them."""
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"{name} must have the shape (frames, {width}), not {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} must be finite, not {rows[~np.isfinite(rows)][0]}")
    return rows


def _multiply(a, b):
    """Product of two complex pictures, each (real, imaginary)."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _phasor(angle):
    """exp(i angle) as a complex picture."""
    return torch.cos(angle), torch.sin(angle)


def _weighted(weights, pictures):
    """Sum of pictures, each times its weight."""
    total = weights[0] * pictures[0]
    for weight, picture in zip(weights[1:], pictures[1:]):
        total.add_(picture, alpha=weight)
    return total


def _slope(height):
    """Central differences a pixel to the right and up; at the edges, the neighbour's."""
    right, up = torch.empty_like(height), torch.empty_like(height)
    torch.sub(height[:, 2:], height[:, :-2], out=right[:, 1:-1])
    torch.sub(height[:-2], height[2:], out=up[1:-1])
    right[:, 0], right[:, -1] = right[:, 1], right[:, -2]
    up[0], up[-1] = up[1], up[-2]
    return right.mul_(0.5), up.mul_(0.5)


def _fold(power, turning):
    """Rounded folds with sharp valleys around zero, from exp(ikv); none where they get finer than pixels."""
    return (torch.sqrt(power[0] * power[0] + 0.05) - 0.66) * (1.4 - turning).clamp_(0, 1)


def _blur(picture):
    """Means over 3x3 pixels weighted 1 2 1: what softens the stairs of an edge."""
    across = picture.clone()
    across[:, 1:-1].mul_(2).add_(picture[:, 2:]).add_(picture[:, :-2]).mul_(0.25)
    down = across.clone()
    down[1:-1].mul_(2).add_(across[2:]).add_(across[:-2]).mul_(0.25)
    return down
