"""The classes of the pattern network, as data: a `Look` for each name.

To add a class, append a look to `LOOKS`: its name's place is the class id. Its composition and its emblem are names
from `COMPOSITIONS` and `EMBLEMS`; several looks may share one.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_CAPS = 10  # in a composition


@dataclass(frozen=True)
class Composition:
    """Where things lie in a picture, x to the right and y upwards from -1 to 1.

    A film shows the picture beside its mirror image: x = 1 is the film's middle, and what stands there becomes whole.

    caps: x, y and radius of each cap, from the ground up; those after it cover it. At most `MOST_CAPS`.
        A negative radius is a hole, through which the ground is seen.
    eye: the point of the ground around which its shells nest.
    horizon: 0 rings around the eye, 1 layers above and below it, -1 curtains at its left and right.
    depth: how many shells of the ground lie between the eye and the edge.
    bare: 0 the ground has a darker body of its own, 1 it has the colours that caps have elsewhere.
    """

    caps: tuple[tuple[float, float, float], ...] = ()
    eye: tuple[float, float] = (0.0, 0.1)
    horizon: float = 0.0
    depth: float = 2.2
    bare: float = 0.0


# fmt: off
COMPOSITIONS = {
    "grove": Composition(
        ((-0.72, -0.58, 0.56), (0.78, 0.64, 0.5), (-0.6, 0.82, 0.34), (0.8, -0.72, 0.34), (0.5, 0.96, 0.25),
        (-0.32, -0.8, 0.26), (0.58, 0.32, 0.19), (-0.92, -0.14, 0.17), (-0.14, -0.98, 0.14), (0.6, -0.92, 0.15))),
    "mask": Composition(
        ((1, 0.02, 1), (0.52, 0.2, 0.3), (0.58, 0.16, -0.2), (0.62, 0.13, 0.1), (1, -0.52, -0.3), (1, -0.14, 0.12),
        (-0.85, -0.8, 0.36), (-0.95, 0.8, 0.3), (1, 0.86, 0.2)), eye=(1, 0.1)),
    "idol": Composition(
        ((1, 0.02, 0.95), (1, 0.1, 0.17), (-0.9, -0.8, 0.26), (-0.9, 0.8, 0.2), (-0.5, -0.98, 0.14)), eye=(-0.5, 0),
        depth=2.4),
    "gaze": Composition(
        ((1, 0, 1.05), (1, 0, 0.44), (1, 0, -0.22), (1, 0.01, 0.08), (-0.5, 0.86, 0.2), (-0.5, -0.86, 0.2),
        (-0.9, 0, 0.16)), eye=(1, 0), depth=1.9),
    "skull": Composition(
        ((1, -0.06, 1), (0.62, 0.08, -0.27), (1, -0.36, -0.13), (0.86, -0.62, -0.07), (0.64, 0.06, 0.07),
        (-0.8, -0.92, 0.3), (-0.35, -1, 0.18), (-0.95, 0.9, 0.16)), eye=(1, 0.3), depth=2.4),
    "totem": Composition(
        ((1, -0.72, 0.5), (1, -0.06, 0.38), (1, 0.44, 0.28), (1, 0.8, 0.2), (-0.5, -0.95, 0.3), (-0.55, -0.5, 0.22),
        (-0.5, -0.14, 0.16), (-0.52, 0.12, 0.11)), eye=(0.2, 0.4), horizon=-0.55, depth=2),
    "nest": Composition(
        ((0.12, -0.06, 0.92), (0.2, 0.02, 0.68), (0.27, 0.09, 0.47), (0.33, 0.14, 0.31), (0.37, 0.18, 0.18)),
        eye=(1, -0.6), depth=2),
    "wreath": Composition(
        ((1, 0.78, 0.26), (0.62, 0.7, 0.24), (0.34, 0.42, 0.27), (0.22, 0.02, 0.23), (0.33, -0.38, 0.28),
        (0.6, -0.68, 0.22), (1, -0.8, 0.28), (-0.72, 0.86, 0.16), (-0.9, -0.82, 0.2), (-0.82, 0.1, 0.1)), eye=(1, 0),
        depth=2.4),
    "swarm": Composition(
        ((0.93, 0.2, 0.17), (0.5, 0.62, 0.11), (0.62, -0.18, 0.14), (0.12, 0.25, 0.09), (-0.18, -0.42, 0.15),
        (-0.42, 0.5, 0.13), (-0.8, -0.08, 0.1), (0.28, -0.78, 0.12), (-0.74, -0.8, 0.16), (0.9, -0.62, 0.07)),
        eye=(0.1, 0), depth=1.8),
    "underside": Composition(
        ((1, 0.78, 1.3), (1, 0.92, 0.3), (-0.75, -0.8, 0.2), (-0.4, -0.98, 0.15)), eye=(1, -1.2), horizon=0.8),
    "planet": Composition(
        ((1, -1.1, 1.3), (0.2, 0.62, 0.24), (0.34, 0.72, 0.09), (-0.7, 0.3, 0.1)), eye=(-0.1, 0.1), depth=2.8),
    "toadstool": Composition(
        ((1, 0.1, 1), (0.18, -0.62, 0.36), (0.02, -0.78, 0.22), (0.58, -0.86, 0.24), (-0.72, -0.5, 0.24),
        (-0.95, -0.9, 0.34), (-0.45, -1, 0.2), (-0.3, 0.5, 0.1), (0.84, -0.98, 0.14)), eye=(1, -0.2), horizon=0.5,
        depth=2.4),
    "shore": Composition(
        ((1, 0.44, 0.5), (-0.78, -0.2, 0.08), (-0.52, -0.24, 0.05), (0.3, -0.28, 0.07), (-0.3, -0.95, 0.34),
        (0.5, -0.8, 0.16)), eye=(1, -0.12), horizon=0.9, depth=3),
    "road": Composition(
        ((1, 0.06, 0.4), (0.6, -0.08, 0.1), (0.42, -0.18, 0.15), (0.14, -0.36, 0.23), (-0.34, -0.66, 0.38),
        (0.74, 0.02, 0.06)), eye=(1, 0.02), horizon=0.75, depth=2.4),
    "canopy": Composition(
        ((-0.82, 0.95, 0.42), (-0.3, 1, 0.34), (0.2, 0.92, 0.44), (0.66, 1.02, 0.32), (1, 0.86, 0.38),
        (0.5, 0.56, 0.16), (-0.55, 0.5, 0.18), (-0.05, 0.42, 0.1)), eye=(1, -1.4), horizon=-0.2, depth=2.4, bare=0.7),
    "bed": Composition(
        ((-0.4, -0.55, 0.4), (0.45, -0.5, 0.44), (1, -0.62, 0.5), (-0.95, -0.7, 0.46), (0.05, -0.9, 0.42),
        (0.68, -1, 0.36), (-0.6, -1.05, 0.34), (0.3, -0.2, 0.1), (-0.75, -0.12, 0.12)), eye=(0.2, 0.75),
        horizon=0.55, depth=2.4),
    "gate": Composition(
        ((0.2, -0.72, 0.46), (0.18, 0.02, 0.42), (0.24, 0.72, 0.38), (-0.7, -0.95, 0.3), (-0.75, 0.95, 0.28),
        (0.5, -0.36, 0.12), (0.5, 0.38, 0.11)), eye=(1, 0.1), depth=2.4),
    "crescent": Composition(
        ((1, 0.2, 0.66), (1, 0.42, -0.56), (-0.1, -0.86, 0.3), (-0.5, -1, 0.42), (0.5, -1, 0.24), (0.2, 0.5, 0.07),
        (-0.4, 0.2, 0.09), (-0.75, 0.7, 0.06)), eye=(1, 0.4), depth=2),
    "sunset": Composition(
        ((1, -0.1, 0.78), (1, -1.5, -1.36), (-0.7, 0.5, 0.12), (-0.35, 0.62, 0.07)), eye=(1, -0.5), horizon=0.85,
        depth=3),
    "spine": Composition(
        ((-0.98, 0.02, 0.12), (-0.74, 0.03, 0.17), (-0.42, 0.03, 0.23), (0, 0.03, 0.3), (0.5, 0.02, 0.36),
        (1, 0, 0.42), (1, 0.5, 0.12), (1, -0.5, 0.12)), eye=(-0.6, 0.02), horizon=0.6, depth=2.4),
    "lattice": Composition(
        ((-0.66, 0.66, 0.3), (0, 0.66, 0.3), (0.66, 0.66, 0.3), (-0.66, 0, 0.3), (0, 0, 0.3), (0.66, 0, 0.3),
        (-0.66, -0.66, 0.3), (0, -0.66, 0.3), (0.66, -0.66, 0.3)), eye=(1, 0), depth=2),
    "stairs": Composition(
        ((-0.9, 0.9, 0.1), (-0.74, 0.68, 0.13), (-0.54, 0.46, 0.16), (-0.3, 0.22, 0.2), (0, -0.06, 0.25),
        (0.36, -0.4, 0.31), (0.86, -0.8, 0.42), (1, 0.6, 0.3)), eye=(0.9, 0.6), depth=2.6),
    "cave": Composition(
        ((1, 0, 2.1), (1, 0.05, -0.72), (1, -0.3, 0.22), (0.74, -0.5, 0.16), (0.42, 0.66, 0.2), (-0.5, 0.1, 0.3),
        (-0.9, -0.8, 0.26)), eye=(1, 0.1), depth=2.6),
    "bunch": Composition(
        ((1, -0.05, 0.9), (0.3, 0.3, 0.42), (0.62, 0.62, 0.36), (0.1, -0.26, 0.36), (0.5, -0.55, 0.4),
        (1, -0.84, 0.36), (0.6, 0.1, 0.34), (1, 0.34, 0.3), (0.86, -0.28, 0.24), (-0.8, -0.9, 0.2)), eye=(-0.6, 0.3),
        depth=2),
    "shelves": Composition(
        ((1, 0.74, 0.52), (0, 0.46, 0.46), (1, 0.06, 0.5), (-0.1, -0.3, 0.46), (1, -0.6, 0.52), (0.05, -0.98, 0.44),
        (-0.98, 0.1, 0.3), (-0.98, -0.66, 0.3), (-0.98, 0.86, 0.3)), eye=(0.5, 0.2), horizon=0.5, depth=2),
    "reef": Composition(
        ((-0.9, -0.9, 0.5), (-0.8, -0.36, 0.34), (-0.72, 0.02, 0.24), (-0.68, 0.3, 0.16), (0.9, -1, 0.5),
        (0.62, -0.7, 0.28), (1, -0.44, 0.26), (0.3, -0.96, 0.26), (-0.4, -0.94, 0.24), (-0.66, 0.5, 0.1)),
        eye=(0.6, 0.6), depth=2.4),
    "drops": Composition(
        ((-0.8, 0.9, 0.1), (-0.8, 0.4, 0.15), (-0.8, -0.2, 0.21), (-0.3, 0.6, 0.08), (-0.3, 0.2, 0.13),
        (-0.3, -0.4, 0.19), (0.2, 0.8, 0.12), (0.2, 0.1, 0.18), (0.75, 0.5, 0.14), (0.75, -0.5, 0.26)),
        eye=(0.3, -0.9), horizon=0.4, depth=2.6),
    "burst": Composition(
        ((0.86, 0.16, 0.07), (0.88, -0.2, 0.08), (0.66, 0.3, 0.12), (0.62, -0.12, 0.13), (0.7, -0.52, 0.15),
        (0.36, 0.6, 0.2), (0.2, 0.1, 0.2), (0.26, -0.5, 0.22), (-0.4, 0.5, 0.32), (-0.45, -0.5, 0.34)), eye=(1, 0),
        depth=2.8),
    "medusa": Composition(
        ((1, 0.34, 0.92), (1, 0.3, 0.3), (-0.55, -0.5, 0.22), (-0.6, -0.42, 0.08)), eye=(1, 0.2), horizon=-0.75,
        depth=2.4),
    "altar": Composition(
        ((0.2, 0.06, 0.9), (0.2, -0.1, 0.2), (1, -0.8, 0.46), (1, -0.4, 0.2), (-0.95, -0.9, 0.36)), eye=(1, 0.5),
        depth=2.6),
    "coil": Composition(
        ((-0.7, -0.3, 0.5), (-0.3, -0.72, 0.44), (0.26, -0.78, 0.38), (0.68, -0.46, 0.33), (0.76, 0.02, 0.28),
        (0.52, 0.36, 0.24), (0.14, 0.42, 0.2), (-0.1, 0.2, 0.17), (-0.02, -0.08, 0.14), (0.2, -0.12, 0.11)),
        eye=(0.2, 0), depth=2),
    "bubbles": Composition(
        ((-0.5, 0.4, 0.62), (0.6, -0.3, 0.7), (0.7, -0.2, -0.4), (1, 0.74, 0.34), (-0.4, -0.66, 0.36),
        (-0.36, -0.6, -0.18), (-0.6, 0.5, 0.2)), eye=(0.1, 0.1)),
    "fan": Composition(
        ((1, -0.86, 1.5), (1, -0.06, 0.24), (0.56, -0.24, 0.2), (0.24, -0.58, 0.18), (1, -0.02, 0.1),
        (0.57, -0.2, 0.08), (0.25, -0.56, 0.07), (-0.7, 0.7, 0.14)), eye=(1, -0.9), depth=2.6),
    "islands": Composition(
        ((-0.5, -0.16, 0.5), (-0.5, -0.76, -0.52), (0.6, -0.2, 0.34), (0.6, -0.62, -0.36), (1, 0.5, 0.16)),
        eye=(1, -0.2), horizon=0.9),
    # without caps
    "tunnel": Composition(eye=(1, 0.06), depth=2.6, bare=1),
    "maelstrom": Composition(eye=(1, 0.02), depth=1.7, bare=1),
    "twins": Composition(eye=(0.18, 0.02), depth=2, bare=1),
    "delta": Composition(eye=(1, -1.1), horizon=-0.3, depth=1.8, bare=1),
    "ravine": Composition(eye=(0.1, -0.7), horizon=-0.6, depth=2, bare=1),
    "falls": Composition(eye=(1, 0.9), horizon=-0.85, depth=2.6, bare=1),
    "plain": Composition(eye=(1, 0.18), horizon=0.92, depth=2.6, bare=1),
}

# Silhouettes into which the first cap of a composition grows: its radii every 22.5 degrees from the top, down either
# side, to the bottom.
EMBLEMS = {
    "round": (1, 1, 1, 1, 1, 1, 1, 1, 1),
    "mushroom": (0.82, 0.88, 1, 1.12, 1.05, 0.52, 0.4, 0.56, 0.62),
    "eye": (0.5, 0.52, 0.6, 0.82, 1.3, 0.82, 0.6, 0.52, 0.5),
    "moth": (0.45, 0.72, 1.15, 1.12, 0.66, 0.82, 0.86, 0.6, 0.42),
    "skull": (0.92, 0.93, 0.95, 0.95, 0.86, 0.62, 0.62, 0.8, 0.84),
    "hourglass": (0.8, 0.95, 1.15, 0.62, 0.34, 0.62, 1.15, 0.95, 0.8),
    "bell": (0.72, 0.68, 0.62, 0.62, 0.68, 0.85, 1.15, 1, 0.92),
    "flame": (1.35, 0.8, 0.62, 0.6, 0.66, 0.76, 0.82, 0.82, 0.8),
}
# fmt: on


@dataclass(frozen=True)
class Look:
    """What one class tells the network; numbers lie mostly from 0 to 1.

    palette: six sRGB colours: deep shadow, shade, body of the caps, light, the accent of rims and glow,
    and the body of the ground that the caps stand on.
    """

    palette: str
    place: str = "grove"  # a key of `COMPOSITIONS`
    emblem: str = "round"  # a key of `EMBLEMS`
    caps: float = 1.0  # shells a unit of u: how many are nested
    rise: float = 0.0  # vertical flow: shells of the ground lie in layers
    sway: float = 0.0  # horizontal flow: shells of the ground stand as bars
    twist: float = 0.0  # folds become spirals: radians a unit of u
    warp: float = 0.25  # how far the plane is bent
    petals: float = 0.0  # two broad lobes of a rim
    scallop: float = 0.0  # five narrow lobes of a rim
    dome: float = 1.0  # 1 caps seen from above on a hollow ground, -1 bowls on a bulging one
    curl: float = 0.5  # how much of a shell's fall is at its rim
    ribs: float = 0.25  # 8 broad folds around a centre
    gills: float = 0.0  # 24 fine folds around a centre
    spots: float = 0.0  # warts
    veins: float = 0.0  # a net of raised lines
    rings: float = 0.0  # growth rings, as in wood
    marble: float = 0.3  # strength of the pigment
    gloss: float = 0.3  # highlights of the lamp
    glow: float = 0.3  # light from inside: rims and centres take the accent
    spores: float = 0.0  # specks of light before the surface


# fmt: off
LOOKS = {
    # fungi
    "mushroom": Look("160b14 5e2a20 c8814e fdecc8 e2563a 2a5a50", "toadstool", emblem="mushroom",
        caps=0.8, gills=0.8, curl=0.9, spores=0.3),
    "amanita": Look("1c0312 8c0d18 e6321f fff0dd ffc48a 1d5038", "bunch",
        caps=0.9, spots=1, gloss=0.7, marble=0.1, gills=0.25),
    "chanterelle": Look("240a16 a03d08 f7a21c fff2b8 ff5d3a 7a2c4a", "nest",
        caps=0.7, twist=0.5, ribs=0.8, dome=-0.9, scallop=0.5, petals=0.3),
    "gills": Look("0c0616 5a2448 d8845e fff0d0 ff5a7a 342058", "underside",
        caps=0.6, gills=1, dome=-0.8, marble=0.15, glow=0.8, gloss=0.4),
    "mycelium": Look("02050c 0a3440 3cc8a8 f6ffe0 30f0b0 0a3a4c", "swarm",
        caps=0.9, veins=1.2, warp=0.35, glow=0.8, dome=0.8, spores=0.4, gloss=0.6, marble=0.2, ribs=0.4),
    "lichen": Look("08141c 23584a a3c878 faf6c4 f2a82e 3a6a80", "grove",
        caps=1.6, scallop=0.9, petals=0.4, warp=0.45, dome=0.8, marble=0.6, ribs=0.5, gloss=0.5),
    "spores": Look("0b0620 40185a c05a80 ffdcc0 ffb35a 3a2f86", "burst",
        caps=0.6, spots=0.6, spores=1.2, glow=0.8, warp=0.5, gloss=0.5),
    "morel": Look("120a10 5e3d1c c6963e fbe8a8 8fae54 44582c", "idol", emblem="hourglass",
        caps=1.3, ribs=0.9, scallop=0.6, dome=-0.6, rings=0.2, warp=0.35, marble=0.4),
    "inkcap": Look("06060f 1d2140 6672b4 fbf2e2 9a50d8 4a3286", "canopy",
        caps=1.1, rise=1.2, ribs=0.4, gills=0.7, dome=0.9, glow=0.7, warp=0.2, marble=0.6, rings=0.3),
    "turkey tail": Look("0f0a14 47304a c07a42 fce8c4 2f8f95 2e6872", "shelves",
        caps=2.4, scallop=0.5, petals=0.3, rings=0.25, dome=0.9, marble=0.7, gloss=0.1),
    "witches butter": Look("260a0a a84a00 ffb30f fff5c0 ff7a1a 80301a", "nest",
        caps=0.5, warp=0.8, gloss=1.2, petals=1, curl=1, glow=0.5),
    "moss": Look("06120f 1d4a26 7cae3c f0f6a8 d2d64a 2a5a44", "bed",
        caps=1.2, warp=0.6, spots=0.8, ribs=0.3, dome=0.8, marble=0.8, gloss=0.1, veins=0.3),
    # instruments
    "vibraphone bars": Look("0a0a1a 343a6c c8a878 fff6d8 f5b040 56609a", "falls",
        caps=1.1, sway=3.4, gloss=1, warp=0.1, curl=0.35, marble=0.15),
    "bells": Look("150814 6a3510 dca032 fff4c0 ff8a4d 5a2a40", "idol", emblem="bell",
        caps=1.7, gloss=1, warp=0.12, curl=0.8, petals=0.2, marble=0.2, glow=0.5),
    "marimba wood": Look("180608 5a1d14 c4662e fcd49c f08a3a 8a3a26", "plain",
        caps=0.8, sway=1.2, rings=1, warp=0.3, dome=0.5, marble=0.6),
    "mallets": Look("0c081e 4a2468 dc5a8e ffe6cc ffb03a 3a3a9a", "stairs",
        caps=1, rings=0.5, twist=1.5, gloss=0.3, curl=0.9, warp=0.15),
    "tremolo": Look("050e20 154a7a 62bccc fff8de ffa45a 20549a", "twins",
        caps=1.4, twist=0.8, scallop=1, petals=0.5, warp=0.15, gloss=0.6, ribs=0.3),
    "resonator": Look("0a0a12 3c3430 b89a6e fff4d6 e0963a 3c5064", "totem",
        caps=1.8, dome=-1, gloss=0.9, warp=0.05, curl=0.2, marble=0.1, glow=0.6),
    "overtone": Look("0a0624 3a1f9a 62a8f4 f6f2ff ff7ac0 5a30b4", "tunnel",
        caps=1.3, rings=0.7, warp=0.1, gloss=0.6, dome=0.6, glow=0.6),
    "lullaby": Look("121232 44487e c4a8d0 fff2e4 f8b8a4 56709e", "crescent",
        caps=0.9, rise=0.6, warp=0.4, gloss=0.2, glow=0.5, spores=0.7, curl=0.8, petals=0.3, ribs=0.4),
    # water and ice
    "tide": Look("03101f 0b3f6a 38a4b4 f2fcf0 8fe8cc 1a7896", "plain",
        caps=1.3, rise=3, scallop=0.6, petals=0.3, warp=0.35, gloss=0.7),
    "undertow": Look("020a16 083a4a 26948a dcf8d8 56d0b0 14506e", "maelstrom",
        caps=1.2, twist=1.1, dome=0.9, warp=0.45, gloss=0.9, petals=0.5, ribs=0.6, scallop=1, glow=0.5, marble=0.5),
    "rain": Look("08101c 26425e 86a8c0 f4f8f6 a8d8e8 3a6a84", "drops",
        caps=2, gloss=1, warp=0.1, curl=0.5, rings=0.2, marble=0.1, glow=0.3),
    "frost": Look("0a1430 2c5a98 9cccee ffffff d8c8ff 4a68b8", "cave",
        caps=0.9, gills=0.9, ribs=0.5, twist=0.2, scallop=0.7, dome=0.6, gloss=0.6, marble=0.15),
    "glacier": Look("021622 0a5a7e 74ccde fafffc 3affd0 1a6a9a", "ravine",
        caps=0.9, rise=1, curl=1, warp=0.45, gloss=0.9, veins=0.3, dome=0.9, glow=0.5),
    "coral": Look("180a24 8a1c4a f4705e ffead2 ffb070 2a6a8a", "reef",
        caps=1.2, scallop=0.7, spots=0.7, warp=0.5, dome=0.7, marble=0.3, gills=0.4),
    "jellyfish": Look("060522 241a78 9466e4 ffe4f6 ff6ac8 2436a0", "medusa", emblem="mushroom",
        caps=0.7, rise=0.8, gills=0.6, ribs=0.4, glow=1, gloss=0.7, spores=0.5, warp=0.15),
    "nautilus": Look("160c14 7a3a20 e0a06c fff4e2 f07a54 4a5a74", "coil",
        caps=1.1, twist=1.2, ribs=0.8, dome=0.9, gloss=0.6, warp=0.1, petals=0.4),
    "pearl": Look("20283a 6a6a92 d8c0c8 fffaf0 90e4d8 5a86a4", "spine",
        caps=0.8, gloss=1.3, glow=0.7, warp=0.35, curl=1, marble=0.9),
    # fire and night
    "embers": Look("0b0308 420c12 c0300f ffc650 ff5a10 6a1420", "road", emblem="flame",
        caps=1, veins=0.9, glow=1, warp=0.45, dome=0.5, spores=0.6),
    "ash": Look("0e0c14 3c3848 a08a82 f8e8d8 f0602e 6a3a3c", "skull", emblem="skull",
        caps=1.2, warp=0.6, rings=0.35, veins=0.4, dome=0.7, gloss=0.1, marble=0.6, glow=0.7),
    "candle": Look("12040e 6a1a08 e8861a fff6cc ffc04a 7a2414", "altar", emblem="flame",
        caps=0.7, rise=-1, glow=1, warp=0.3, gloss=0.5, curl=0.9),
    "dusk": Look("100a2c 5a2468 e8726a ffe8b4 ff9a4a 7a3a80", "sunset",
        caps=1, rise=1.8, warp=0.45, curl=0.7, gloss=0.2, glow=0.4, spores=0.3),
    "aurora": Look("03081e 0a3a4e 28b880 e8ffd0 b45af0 3a3aa0", "falls",
        caps=0.9, sway=1.8, rise=0.5, gills=0.5, warp=0.6, glow=0.9, marble=0.9, dome=0.3),
    "moonlight": Look("03061a 1a2c66 8098d0 fffdf0 d0dcff 18285e", "shore",
        caps=0.9, gloss=0.8, warp=0.03, glow=0.9, curl=0.7, spores=0.5, ribs=0.08, spots=0.5, marble=0.6),
    "fog": Look("0e1a2a 34586a 8cb4a8 f8f2d8 eab078 4a7a84", "islands",
        caps=0.6, rise=0.8, warp=0.3, gloss=0.05, glow=0.4, marble=0.6, ribs=0.3),
    # glass, stone, cloth
    "glass": Look("02141e 0c6078 70ccd6 f6fffc ff8aa0 1a5a90", "bubbles",
        caps=0.9, gloss=1.4, curl=1, glow=0.6, warp=0.35, marble=0.1),
    "opal": Look("101838 3a5aa0 84d4c8 fff2ee ff8ab8 8060b4", "tunnel",
        caps=1.3, gloss=1.2, warp=0.35, marble=1.2, glow=0.6, ribs=0.6, twist=0.6, scallop=0.5),
    "porcelain": Look("0c1648 2a50b0 b4ccf0 fffdf6 ecc890 2a4aa8", "lattice",
        caps=1.1, scallop=0.8, petals=0.4, gloss=1, warp=0.1, marble=0.4, veins=0.5),
    "cathedral": Look("0a0a22 2a2b78 9854b0 fce0b4 ff9f30 3c3a9c", "gate",
        caps=0.9, rise=1, ribs=1, dome=-0.9, warp=0.12, petals=0.4, glow=0.5),
    "rose window": Look("0a0624 4a0f6b dc344e ffe49c 20c0d0 2434a0", "wreath",
        caps=1, ribs=1, scallop=0.9, petals=0.5, dome=0.6, warp=0.05, glow=0.7, gloss=0.5),
    "velvet": Look("10020e 560828 cc2452 ffb4a4 f0609a 8a1a68", "falls",
        caps=1.3, sway=1, warp=0.6, gloss=0.8, curl=0.9, marble=0.2, ribs=0.5, rings=0.2),
    # body and dream
    "moth wing": Look("0e0a12 54303a c08c5c ffefc4 e8602c 3c2a40", "idol", emblem="moth",
        caps=1.3, scallop=0.6, gills=1, ribs=0.3, petals=0.7, dome=0.5, gloss=0.05, rings=0.3),
    "peacock": Look("04101e 084a6a 1cb092 ecf69a 5a3ae0 1c4aa4", "fan",
        caps=1.7, gills=0.7, scallop=0.3, gloss=0.6, glow=0.9, warp=0.2),
    "bruise": Look("0a0418 4a1266 c04488 ffe078 d8c038 2a2a7a", "planet",
        caps=1.4, warp=0.45, marble=0.5, dome=0.9, gloss=0.6, veins=0.7, rings=0.4, ribs=0.8, glow=0.8),
    "veins": Look("14040e 5a1024 cc5650 ffdccc 7a3a9a 5a2a5e", "delta",
        caps=0.6, veins=1.2, warp=0.4, gloss=0.5, dome=0.7, marble=0.4),
    "iris": Look("04101a 0e4a6a 68acac fcf0c8 e0a030 1c6474", "gaze", emblem="eye",
        caps=0.8, gills=1, ribs=0.3, dome=-0.5, gloss=0.9, warp=0.12, glow=1.2, veins=0.3),
    "dissociation": Look("0c0420 3a249c f0609c fff4cc 30e8d0 24247c", "mask", emblem="skull",
        caps=1.8, twist=1, warp=0.4, ribs=0.6, gloss=0.7, glow=0.6, marble=0.6, dome=-0.3),
}
# fmt: on
