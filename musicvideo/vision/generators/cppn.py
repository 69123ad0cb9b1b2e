"""The embedded generator: a class-conditional pattern network that needs no training and no download.

A compositional pattern-producing network (Stanley, 2007) computes a picture from the coordinates of
its pixels by composing smooth functions. This one composes six stages, each a handful of array
operations; a class is a `Look`, a small record of what the stages are told, and class weights blend
records, so that every mixture of classes is drawn by the same network.

1. *Plane.* Pixels are points z of [-1, 1]². A few plane waves bend the plane; the noise moves them.
2. *Nest.* A polynomial P(z) whose roots, the foci, wander with the noise, and a linear flow give the
   conformal coordinates u + iv = log P(z) + cz. Curves of constant u are nested around every focus
   and merge between them, as the rims of caps that grow together; curves of constant v radiate from
   the foci, as gills. Conformal, so no pattern is ever stretched. P stays a complex number until the
   end: exp(ikv) is a power of exp(iv), with neither a seam nor an arc tangent.
3. *Pigment.* Three sine neurons on those coordinates: slow, marbled areas, and where veins run.
4. *Shells.* u, scalloped by powers of exp(iv), is cut into shells that overlap like the shelves of a
   bracket fungus: seen from above (a dome) or into (a bowl).
5. *Relief.* Shells, gills, warts, veins and growth rings make a surface; its slope, measured in widths
   of its shell so that small caps are as round as large ones, meets a lamp that the noise carries.
   A rim throws a soft shadow on the shell below.
6. *Colour.* Light is a position on the class's palette, not a factor: shadows take the palette's deep
   hue and highlights its pale one. The palette is blended in OKLab (Ottosson, 2020), where the colour
   half way between two is what the eye takes for it.

Whatever repeats is faded out before it gets finer than the pixels, so that nothing shimmers, and all
lengths are parts of the picture, so that a resolution changes sharpness and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
import torch

NOISE_DIM = 128                 # units of the noise vector, as many as BigGAN's
SHARPENING = 2.0                # power of a class weight: 12 pitches sound at once, but one leads
BACKSTOP = 1e-6                 # weight of the first class in every mixture: silence has a picture too
FIRST_LIGHT = 2.1               # where the lamp hangs at zero noise: radians from the right, so upper left


@dataclass(frozen=True)
class Look:
    """What one class tells the network; every field but the palette is a number around 1 or less.

    palette: five sRGB colours: deep shadow, shade, body, light, and the accent of rims and glow.
    """

    palette: str
    caps: float = 1.0           # shells a unit of u: how many caps are nested
    spread: float = 0.6         # distance of the foci: 0 one centre, 1 three, 2 out of the picture
    colony: float = 1.0         # size of the caps that stand on the ground
    rise: float = 0.0           # vertical flow: shells lie in horizontal layers
    sway: float = 0.0           # horizontal flow: shells stand as bars
    twist: float = 0.0          # gills become spirals: radians a unit of u
    warp: float = 0.25          # how far the plane is bent
    petals: float = 0.0         # two broad lobes of a rim
    scallop: float = 0.0        # four narrow lobes of a rim
    dome: float = 1.0           # 1 caps seen from above, -1 bowls seen from inside
    curl: float = 0.5           # how much of a cap's fall is at its rim
    ribs: float = 0.0           # 8 broad folds around a focus
    gills: float = 0.0          # 24 fine folds around a focus
    spots: float = 0.0          # warts
    veins: float = 0.0          # a net of raised lines
    rings: float = 0.0          # growth rings, as in wood
    marble: float = 0.3         # strength of the pigment
    gloss: float = 0.3          # highlights of the lamp
    glow: float = 0.3           # light from inside: rims and foci take the accent
    spores: float = 0.0         # specks of light before the surface


LOOKS = {
    # fungi
    "mushroom": Look("1a0b12 63281f c67c48 fbe6c0 e2563a", caps=.8, gills=.6, curl=.9, spores=.3),
    "amanita": Look("22030f 8c0d18 e2301f ffeedd ffc48a", caps=.6, spots=1., gloss=.7, marble=.1, gills=.15),
    "chanterelle": Look("2c0a10 a03d08 f59f1c fff0b4 ff5d3a", caps=.7, twist=.5, ribs=.7, dome=-.9, scallop=.3, petals=.3),
    "gills": Look("170c16 5f3a4a c08e80 fff0dc e05a6e", caps=.45, spread=.3, gills=1., dome=-1, marble=.15),
    "mycelium": Look("04070e 14303f 3f8f92 eafbe6 9ff0b0", caps=.6, veins=1., warp=.5, glow=.9, dome=.2, spores=.6),
    "lichen": Look("0b1a1c 23584a 93c07e f6f4c0 f2b02e", caps=1.5, scallop=.7, petals=.4, warp=.55, dome=.8, marble=.6, spread=1.),
    "spores": Look("0d0618 40185a b0578c ffd9c0 ffb35a", caps=.5, spots=.5, spores=1., glow=.8, warp=.5, gloss=.5, spread=.9),
    "morel": Look("160c08 5e3d1c b98a3c f8e4a4 8fae54", caps=1.3, ribs=.8, scallop=.5, dome=-.7, rings=.2, warp=.35, marble=.4),
    "inkcap": Look("06060c 1d2136 5f6c92 f2ece4 7a48b8", caps=1.1, rise=1.6, ribs=.4, gills=.5, spread=.7, dome=.9, glow=.4, warp=.2),
    "turkey tail": Look("0f0a14 473048 b8703e fbe4bc 2f8f95", caps=2.2, scallop=.4, petals=.3, rings=.25, spread=1.2, dome=.9, marble=.7, gloss=.1),
    "witches butter": Look("2a0c02 a84a00 ffb30f fff3b8 ff7a1a", caps=.5, warp=1., gloss=1.2, petals=.8, curl=1., spread=.7, glow=.5),
    "moss": Look("07130c 1d4a26 6fa03a eaf2a0 c9d64a", caps=1.2, warp=.7, spots=.5, ribs=.2, dome=.8, marble=.8, gloss=.1, spread=1.1),
    # instruments
    "vibraphone bars": Look("0a0a18 343a66 b89a78 fff4d0 f5b040", caps=1.1, spread=1.6, sway=3.6, gloss=1., warp=.1, curl=.35, marble=.15),
    "bells": Look("180a08 6a3510 d2942c fff2b8 ff8a4d", caps=1.6, spread=.15, gloss=1., warp=.12, curl=.8, petals=.2, marble=.2, glow=.5),
    "marimba wood": Look("180608 5a1d14 b5582c f8cc92 ee8438", caps=.8, spread=1.5, sway=1.3, rings=1., warp=.3, dome=.5, marble=.6),
    "mallets": Look("10081a 4a2468 d0508a ffe2c8 ffb03a", caps=1., spread=1.1, rings=.5, twist=1.5, gloss=.3, curl=.9, warp=.15),
    "tremolo": Look("06101e 154a7a 58b4c8 fff6da ffa45a", caps=1.4, spread=.8, twist=.8, scallop=1., petals=.5, warp=.15, gloss=.6),
    "resonator": Look("0c0a0c 3c3430 a08a70 fff0d0 d08a3a", caps=1.8, spread=.35, dome=-1, gloss=.9, warp=.05, curl=.2, marble=.1, glow=.6),
    "overtone": Look("0a0624 3a1f9a 5aa0f0 f4f0ff ff7ac0", caps=1.3, spread=.9, rings=.7, warp=.1, gloss=.6, dome=.6, glow=.6),
    "lullaby": Look("141230 44487e b0a0cc fff0e0 f4b6a8", caps=.7, rise=.6, warp=.45, gloss=.2, glow=.5, spores=.7, curl=.8, petals=.3),
    # water, ice
    "tide": Look("03101f 0b3f6a 2f9cb0 eefcf0 8fe8cc", caps=1.3, spread=1.6, rise=3., scallop=.5, petals=.3, warp=.35, gloss=.7),
    "undertow": Look("020a12 083a44 1f8a7c d4f6d4 56d0b0", caps=.9, twist=2.2, spread=.5, dome=-.8, warp=.5, gloss=.6, petals=.4),
    "rain": Look("0a1018 2a4258 7c9cb0 f0f6f4 a8d8e8", caps=2., spread=1.4, gloss=1., warp=.1, curl=.5, rings=.2, marble=.1, glow=.3),
    "frost": Look("0a1830 2c5a98 92c4ea ffffff d8c8ff", caps=.9, gills=.7, ribs=.7, twist=.2, scallop=.5, spread=1., dome=.6, gloss=.6, marble=.15),
    "glacier": Look("021622 0a5a7e 6cc8dc f8ffff 3affd0", caps=.9, rise=1., curl=1., warp=.45, gloss=.9, veins=.3, dome=.9, glow=.5),
    "coral": Look("200a1c 8a1c4a f0685a ffe6cc ffb070", caps=1.2, scallop=.6, spots=.4, warp=.6, dome=.7, spread=1., marble=.3, gills=.2),
    "jellyfish": Look("060522 241a78 8a60e0 ffe0f6 ff6ac8", caps=.7, spread=.8, rise=1.2, gills=.4, ribs=.4, glow=1., gloss=.7, spores=.5, warp=.35),
    "nautilus": Look("1a0c0a 7a3a20 d89a64 fff2de f07a54", caps=1.1, twist=1.2, ribs=.5, spread=.2, dome=.9, gloss=.6, warp=.1, petals=.5),
    "pearl": Look("2a2030 7a6a8a d0bcc0 fffaf0 a8e0d8", caps=.6, spread=1., gloss=1.3, glow=.7, warp=.35, curl=1., marble=.8),
    # fire, night
    "embers": Look("0b0308 420c12 b82a12 ffc04a ff5a10", caps=1., veins=.9, glow=1., warp=.5, dome=.5, spread=.9, spores=.6),
    "ash": Look("100c10 403840 94847e f4e6d8 e8603a", caps=1.2, warp=.8, rings=.3, veins=.4, dome=.7, gloss=.1, marble=.5),
    "candle": Look("140406 6a1a08 e07a14 fff4c4 ffc04a", caps=.7, rise=-1.6, spread=.35, glow=1., warp=.3, gloss=.5, curl=.9),
    "dusk": Look("120a2a 5a2468 e06a6a ffe2a8 ff9a4a", caps=.8, rise=1.8, spread=1.5, warp=.5, curl=.7, gloss=.2, glow=.4, spores=.3),
    "aurora": Look("03081c 0a3a4e 1fb07c e4ffc8 b45af0", caps=.8, sway=2., rise=.5, spread=1.4, gills=.3, warp=.7, glow=.9, marble=.9, dome=.3),
    "moonlight": Look("060a1c 1e2f60 7288c4 fff8e8 c0d0ff", caps=.7, spread=.4, gloss=.8, warp=.3, glow=.6, curl=.7, spores=.4),
    "fog": Look("10202c 3a6068 8ab4a4 f8f0d4 e0a870", caps=.5, rise=.8, warp=.8, gloss=.05, glow=.3, spread=1.2, marble=.6),
    # glass, stone, cloth
    "glass": Look("02141e 0c6078 66c8d2 f4fffb ff8aa0", caps=.9, gloss=1.4, curl=1., glow=.6, warp=.4, spread=.9, marble=.1),
    "opal": Look("101838 3a5aa0 7ad0c4 fff0ec ff8ab8", caps=.6, gloss=.9, warp=.6, marble=1.2, glow=.6, spread=.8),
    "porcelain": Look("0e1a4a 2a50b0 a8c4ec fffdf6 e8d0a0", caps=1.1, scallop=.7, petals=.4, gloss=1., warp=.1, spread=.3, marble=.4, veins=.3),
    "cathedral": Look("0a0a22 2a2b78 8a4aa8 fadcae ff9f30", caps=.9, spread=.9, rise=1.5, ribs=.9, dome=-1, warp=.12, petals=.4, glow=.5),
    "rose window": Look("0a0624 4a0f6b d02a4f ffdf90 20c0d0", caps=1., spread=.1, ribs=1., scallop=.8, petals=.6, dome=.6, warp=.05, glow=.7, gloss=.5),
    "velvet": Look("12020e 560828 b81c4c ff9a9a e0508a", caps=.7, sway=1.2, warp=1., gloss=.05, curl=.8, spread=1.4, marble=.2),
    # body, dream
    "moth wing": Look("140c10 54383a a8805e f6e6c0 d0643c", caps=1.3, spread=1., scallop=.5, gills=.6, ribs=.3, petals=.5, dome=.5, gloss=.05, rings=.2),
    "peacock": Look("04101e 084a6a 12a088 e8f490 5a3ae0", caps=1.7, spread=1., gills=.6, scallop=.3, gloss=.6, glow=.9, warp=.2),
    "bruise": Look("140620 48206a 985088 f0d890 5a9a6a", caps=.5, warp=.8, marble=1., dome=.6, gloss=.25, spread=.8),
    "veins": Look("14040c 5a1024 c04a50 ffd8c4 7a3a9a", caps=.5, veins=1.2, warp=.4, gloss=.5, dome=.7, spread=.9, marble=.4),
    "iris": Look("04101a 0e4a6a 58a0a0 f8ecc0 d89a30", caps=.6, spread=.05, gills=1., ribs=.3, dome=-.6, gloss=.9, warp=.12, glow=.6, veins=.3),
    "dissociation": Look("120824 4030a0 e060a0 fff0c0 30d8d0", caps=1.8, spread=1.2, twist=1., warp=.6, gloss=.7, glow=.6, marble=.6, dome=-.3),
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


# Noise factors: the names of what the noise moves, and how far at one standard deviation. Each is a
# fixed direction in the space of the noise. Distances are small because a classic trajectory crosses
# the whole range in about a second: see the smoothness bar in the tests.
_MOTION = {
    "zoom": 0.0028, "turn": 0.0042, "orbit": 0.0084, "phase": 0.0126, "whirl": 0.0056, "spin": 0.0098,
    "lamp": 0.056, "tint": 0.084, "gazex": 0.0084, "gazey": 0.0084, "size": 0.0056,
    "pigment0": 0.056, "pigment1": 0.056, "pigment2": 0.056,
    "wave0": 0.021, "wave1": 0.021, "wave2": 0.021, "wave3": 0.021, "wave4": 0.021, "wave5": 0.021,
    "drift0": 0.014, "drift1": 0.014,
}
# The same factors carry what tells classes apart beyond their records: where waves and pigments lie.
_IDENTITY = {name: {"pig": 0.5, "wav": 0.12, "orb": 0.2, "tin": 0.5}.get(name[:3], 0.0) for name in _MOTION}

# The colony: centre and radius of each cap, from the ground up.
_COLONY = ((-0.80, -0.62, 0.56), (0.84, 0.66, 0.50), (-0.66, 0.86, 0.34), (0.86, -0.74, 0.34), (0.52, 0.96, 0.25),
           (-0.36, -0.80, 0.26), (0.62, 0.34, 0.19), (-0.92, -0.14, 0.17), (-0.14, -0.98, 0.14), (0.60, -0.92, 0.15))
_SPORES = 28


class CPPN:
    """Pictures from a class-conditional pattern network: the generator that is always there.

    labels: names of the classes; a name's index is its class. noise_dim: 128. resolution: side of the
    square picture, at least 16. Instances of one resolution are alike: nothing is random.

    Raises ValueError for a resolution that is no whole number or below 16.
    """

    labels: Sequence[str] = tuple(LOOKS)
    noise_dim = NOISE_DIM

    def __init__(self, resolution: int = 512):
        if int(resolution) != resolution or resolution < 16:
            raise ValueError(f"resolution must be a whole number of at least 16, not {resolution}")
        self.resolution = n = int(resolution)
        self._pixel = 2 / n
        self._axis = (torch.arange(n, dtype=torch.float32) + 0.5) * self._pixel - 1
        self._x = self._axis.repeat(n, 1)
        self._y = -self._axis[:, None].repeat(1, n)

        fixed = np.random.default_rng(20)
        directions, _ = np.linalg.qr(fixed.standard_normal((NOISE_DIM, len(_MOTION))))
        self._motion = directions * list(_MOTION.values())
        self._identity = fixed.standard_normal((len(LOOKS), len(_MOTION))) * list(_IDENTITY.values())
        self._waves = fixed.normal(0, 2.3, (6, 2)), fixed.uniform(0, 2 * np.pi, 6)
        self._spores = fixed.uniform(-1.05, 1.05, (2, _SPORES))

        self._palettes = np.array([[_oklab(c) for c in look.palette.split()] for look in LOOKS.values()])
        self._fields = [field.name for field in fields(Look)][1:]
        self._records = np.array([astuple(look)[1:] for look in LOOKS.values()])

        # Interleaved gradient noise (Jimenez, 2014): rounding with it leaves no bands, and being fixed
        # to the screen it does not flicker.
        rows = np.arange(n)
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
        with torch.no_grad():
            for picture, vector, weights in zip(pictures, noise, classes):
                self._draw(vector, weights, torch.from_numpy(picture))
        return pictures

    def _mix(self, weights: np.ndarray) -> tuple[dict, np.ndarray, np.ndarray]:
        """Blended record, palette (5, 3) in OKLab, and identity factors of the class weights."""
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

    def _draw(self, noise: np.ndarray, weights: np.ndarray, picture: torch.Tensor) -> None:
        look, palette, identity = self._mix(weights)
        move = dict(zip(_MOTION, (noise @ self._motion + identity).tolist()))

        x, y = self._plane(look, move)
        u, held, e1, (out_x, out_y), layer, cast, contact = self._nest(look, move, x, y)
        e2 = _multiply(e1, e1)
        e4 = _multiply(e2, e2)
        e8 = _multiply(e4, e4)
        e12 = _multiply(e8, e4)
        pigment = self._pigment(move, x, y, u, e1, e2)

        # Shells: `depth` counts them outwards from the foci, `across` runs from 0 at the shadowed foot
        # of a shell to 1 at its rim and, so that the edge is not jagged, back within two pixels.
        depth = look["caps"] * u + held * (0.2 * look["scallop"] * e8[0] + 0.3 * look["petals"] * e2[0] + 0.12 * look["marble"] * pigment[1] + move["phase"])
        slope_x, slope_y = _slope(depth)
        steep = torch.sqrt(slope_x * slope_x + slope_y * slope_y).add_(1e-6)     # shells a pixel
        across = depth - torch.floor(depth)
        edge = (1.5 * steep).clamp_(max=0.5)
        across = torch.minimum(across / (1 - edge), (1 - across) / edge)
        shell = depth - across + 0.9 * layer

        # Relief: everything but the shells themselves, whose slope is known.
        turning = steep / look["caps"]                                           # radians of v a pixel
        folds = look["ribs"] * _fold(e4, 8 * turning) * 1.2 + look["gills"] * _fold(e12, 24 * turning) * 0.7
        warts = torch.sin(3 * math.pi * depth).mul_(e8[0]).add_(pigment[0], alpha=0.35)
        warts = ((warts - 0.45) * 3).clamp_(0, 1) * (1.6 - 12 * turning).clamp_(0, 1) * look["spots"]
        net = pigment[1] + 0.6 * torch.sin(5 * x + 3 * pigment[2] + 4 * e1[0]) \
            + 0.5 * torch.sin(6 * y - 3 * pigment[0] + 2.5 * u)
        veins = torch.exp(net * net * -18) * look["veins"]
        rings = torch.sin(10 * math.pi * (depth + 0.12 * pigment[2])) * (1.3 - 10 * steep).clamp_(0, 1) * look["rings"]
        relief = 0.3 * folds + 0.10 * warts + 0.10 * veins + 0.012 * rings + 0.035 * pigment[0]

        # Lamp
        dome, curl = look["dome"], look["curl"]
        bump_x, bump_y = _slope(relief)
        fall = dome * (0.55 + curl * (2.6 * across ** 4 - 0.3))
        width = 1 / (steep + 0.2 * self._pixel)
        core = 1 - torch.exp(-6 * (out_x * out_x + out_y * out_y))
        fall = fall * core
        normal_x = (fall * slope_x - bump_x) * width
        normal_y = (fall * slope_y - bump_y) * width
        angle = FIRST_LIGHT + move["lamp"]
        lamp = 0.66 * math.cos(angle), 0.66 * math.sin(angle), 0.75
        roundness = 0.75 * dome
        normal_x += roundness * out_x
        normal_y += roundness * out_y
        normal_z = torch.rsqrt(1 + normal_x * normal_x + normal_y * normal_y)
        lit = ((normal_x * lamp[0] + normal_y * lamp[1] + lamp[2]) * normal_z).clamp_(min=0)
        half = np.array([lamp[0], lamp[1], lamp[2] + 1])
        half = (half / np.linalg.norm(half)).tolist()
        gleam = ((normal_x * half[0] + normal_y * half[1] + half[2]) * normal_z).clamp_(min=0)
        for _ in range(5):
            gleam = gleam * gleam
        # shadow
        seen = 0.5 + 0.5 * dome
        foot = seen * across + (1 - seen) * (1 - across)
        facing = (slope_x * lamp[0] + slope_y * lamp[1]) / steep * dome
        shadow = torch.exp(foot * -(4.5 + 4.5 * facing))
        shadow = torch.maximum(shadow * 0.8, cast)
        rim = foot ** 8

        tone = 0.02 + 0.66 * lit + 0.08 * torch.sin(1.9 * shell + move["tint"]) + 0.13 * look["marble"] * pigment[2] \
            + 0.28 * folds - (0.42 + 0.1 * dome) * shadow + 0.25 * warts + 0.3 * veins + 0.07 * rings + 0.05 * layer - 0.07 * dome * (u + 0.3).clamp(-1.5, 1.5)
        accent = look["glow"] * (0.8 * rim + 0.35 * torch.exp(-3 * (u + 0.9).clamp(min=0))) \
            + 0.2 * look["marble"] * (1 + pigment[1]) + 0.3 * veins
        tone = tone * contact
        accent = accent * contact
        gleam = gleam * contact
        self._colour(look, palette, move, tone, accent, gleam, picture)

    def _plane(self, look, move):
        zoom = math.exp(move["zoom"])
        cosine, sine = zoom * math.cos(move["turn"]), zoom * math.sin(move["turn"])
        x = cosine * self._x - sine * self._y
        y = sine * self._x + cosine * self._y
        bend_x, bend_y = torch.zeros_like(x), torch.zeros_like(y)
        for j, ((kx, ky), phase) in enumerate(zip(*self._waves)):
            wave = torch.sin(kx * x + ky * y + (phase + move[f"wave{j}"]))
            k = math.hypot(kx, ky)
            # across the wave's direction: a bend without sources, so areas stay as they are
            amount = (0.08 + 0.6 * look["warp"]) * 1.3 / (1 + k) / k
            bend_x.add_(wave, alpha=-amount * ky)
            bend_y.add_(wave, alpha=amount * kx)
        return x + bend_x, y + bend_y

    def _nest(self, look, move, x, y):
        """The top-most cap at every pixel."""
        angle = FIRST_LIGHT + move["lamp"]
        lamp = math.cos(angle), math.sin(angle)
        turn = complex(math.cos(move["orbit"]), math.sin(move["orbit"])) * (0.45 + 0.6 * look["spread"])
        swell = 0.9 * look["colony"] * math.exp(move["size"])
        local_x, local_y = x - 0.3 * move["gazex"], y - 0.3 * move["gazey"] - 0.1
        gaze = complex(move["gazex"], move["gazey"])
        bounds = [(float(low), float(high)) for low, high in ((x - self._x).aminmax(), (y - self._y).aminmax())]
        lobes = torch.zeros_like(x)
        layer = torch.zeros_like(x)
        cast = torch.zeros_like(x)
        contact = torch.ones_like(x)
        for j, (cx, cy, radius) in enumerate(_COLONY, start=1):
            near = 0.4 + 0.2 * j                                    # parallax: what is in front moves further
            centre = complex(cx, cy) * turn + near * gaze
            radius = radius * swell
            window = self._window(centre, 2.4 * radius, bounds)
            if window is None:
                continue
            dx, dy = (x[window] - centre.real) / radius, (y[window] - centre.imag) / radius
            size = dx * dx + dy * dy + 1e-4
            scale = torch.rsqrt(size)
            e1 = dx * scale, dy * scale
            e2 = _multiply(e1, e1)
            e4 = _multiply(e2, e2)
            lobe = (0.12 * look["petals"] * e2[0] + 0.10 * look["scallop"] * (e4[0] * e1[0] - e4[1] * e1[1])) * size.clamp(max=1)
            beyond = size * scale * (1 + lobe) - 1                  # radii from the rim
            above = beyond < 0
            for whole, part in ((local_x, dx), (local_y, dy), (lobes, lobe), (layer, torch.full_like(dx, j))):
                whole[window] = torch.where(above, part, whole[window])
            lee = 1 + 0.6 * (e1[0] * lamp[0] + e1[1] * lamp[1])     # the shadow is long away from the lamp
            shade = (1 - 2.2 * lee * beyond).clamp_(0, 1)
            cast[window] = torch.where(above, 0, torch.maximum(cast[window], shade * shade))
            line = (beyond.abs() * (radius / max(1.5 * self._pixel, 0.006))).clamp_(max=1)
            contact[window] = torch.where(above, line, torch.minimum(contact[window], line))
        size = local_x * local_x + local_y * local_y
        ground = layer == 0
        u = 0.5 * torch.log(size + torch.where(ground, 0.003, 0.2)) - 0.1
        scale = torch.rsqrt(size + torch.where(ground, 0.003, 0.02))
        e1 = local_x * scale, local_y * scale
        fall = size / (0.5 + size)
        outward = e1[0] * fall, e1[1] * fall
        held = torch.where(ground, 1, (1 - size * size).clamp_(0, 1))
        flow = look["sway"] * x + look["rise"] * y
        cross = look["sway"] * y - look["rise"] * x
        u = torch.where(ground, u + flow, u + lobes)
        v = cross + (look["twist"] + move["whirl"]) * u + move["spin"]
        return u, held, _multiply(e1, (torch.cos(v), torch.sin(v))), outward, layer, cast, contact

    def _window(self, centre, reach, bends):
        """Rows and columns that hold all pixels bent to within `reach` of a point; None if there are none."""
        (left, right), (down, up) = bends
        ends = np.array([[-centre.imag - reach + down, -centre.imag + reach + up],
                         [centre.real - reach - right, centre.real + reach - left]])
        (top, bottom), (first, last) = np.clip((ends + 1) / self._pixel + (0, 1), 0, self.resolution).astype(int).tolist()
        return (slice(top, bottom), slice(first, last)) if top < bottom and first < last else None

    def _pigment(self, move, x, y, u, e1, e2):
        first = torch.sin(1.3 * u + 1.7 * e1[0] + 1.1 * e2[1] + move["pigment0"])
        second = torch.sin(2.1 * first + 1.5 * e1[1] - 0.9 * u + 2 * x + (1 + move["pigment1"]))
        third = torch.sin(1.8 * second + 2.2 * y - 1.3 * first + (2 + move["pigment2"]))
        return first, second, third

    def _colour(self, look, palette, move, tone, accent, gleam, picture):
        step = tone.clamp_(0, 1) * 3
        accent = accent.clamp_(0, 0.85)
        ramps = [step.clamp(0, 1), (step - 1).clamp_(0, 1), (step - 2).clamp_(0, 1)]
        lab = []
        for channel in range(3):
            stops = palette[:, channel].tolist()
            value = stops[0] + (stops[1] - stops[0]) * ramps[0]
            value.add_(ramps[1], alpha=stops[2] - stops[1]).add_(ramps[2], alpha=stops[3] - stops[2])
            goal = stops[4] if channel else 0.4 * value + 0.6 * stops[4] * (0.35 + 0.65 * tone)
            lab.append(value + (goal - value) * accent)
        lms = [_weighted(row, lab) ** 3 for row in _LAB_TO_LMS.tolist()]
        light = _LMS_TO_RGB @ (_LAB_TO_LMS @ (0.5 * palette[3] + 0.5 * palette[4])) ** 3
        spores = look["spores"] * self._spore_light(move)
        for channel, row in enumerate(_LMS_TO_RGB.tolist()):
            linear = _weighted(row, lms).add_(gleam, alpha=0.35 * look["gloss"] * (0.3 + 0.7 * float(light[channel]))).add_(spores, alpha=float(light[channel]))
            root = torch.sqrt(linear.clamp_(0, 1))
            fourth = torch.sqrt(root)
            # sRGB's transfer curve to within half a level, without a power
            srgb = 0.585122381 * root + 0.783140355 * fourth - 0.368262736 * torch.sqrt(fourth)
            picture[..., channel] = (srgb.clamp_(0, 1) * 255 + self._dither).clamp_(max=255)

    def _spore_light(self, move):
        size = 0.010 * 1.12 ** np.arange(_SPORES)
        drift = np.outer([move["drift0"], move["drift1"]], np.linspace(0.6, 2, _SPORES))
        across, along = torch.from_numpy((self._spores + drift).astype(np.float32))
        size = torch.from_numpy(size.astype(np.float32))
        column = torch.exp(-((self._axis[:, None] - along) / size) ** 2)
        row = torch.exp(-((self._axis[:, None] - across) / size) ** 2) * 0.6 / (1 + 12 * size)
        return column @ row.T


def _checked(name: str, rows: np.ndarray, width: int) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"{name} must have the shape (frames, {width}), not {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} must be finite, not {rows[~np.isfinite(rows)][0]}")
    return rows


def _multiply(a, b):
    """Product of two complex pictures, each (real, imaginary)."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _weighted(weights, pictures):
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
    return (torch.sqrt(power[0] * power[0] + 0.02) - 0.62) * (1.6 - turning).clamp_(0, 1)
