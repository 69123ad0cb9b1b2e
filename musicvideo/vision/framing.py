"""Frames of a film from squares: FFmpeg's filters that mirror them, fill the shape of the film, and give it a look.

The square, or its left half, is joined to its mirror image. Both are mirrored at the outer edges to fill the aspect
ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from musicvideo.errors import MediaError

PAIR_WIDTH = 512 / 1200  # side of a square of a pair, as a share of the film's width
PAIR_ABOVE = 73 / (73 + 90)  # share of the rows beyond a pair that are above it
SCALER = "flags=lanczos+accurate_rnd"


@dataclass(frozen=True)
class Grade:
    """Filters of a look: a colour grade and grain. {blur} and {shift} are in pixels and scale with the picture."""

    colour: tuple[str, ...] = ()  # before the last mirroring, which makes the result symmetric
    grain: tuple[str, ...] = ()  # after it, since film grain is not symmetric


# Bloom: the picture is screened with its own blurred bright parts, in RGB, where light adds.
BLOOM = (
    "format=gbrp,split[sharp][bright]",
    "[bright]curves=all='0/0 0.45/0 1/1',gblur=sigma={blur}[glow]",
    "[sharp][glow]blend=all_mode=screen:all_opacity=0.7,format=yuv420p",
)
LOOKS = {
    "none": Grade(),
    # Faded blacks, warm lights, cool shadows.
    "vintage": Grade(
        (
            "curves=r='0/0.05 0.5/0.54 1/0.98':g='0/0.03 0.5/0.5 1/0.94':b='0/0.11 0.5/0.46 1/0.82'",
            "eq=saturation=0.85",
            "vignette=PI/6",
        ),
        ("noise=c0s=9:c0f=t+u",),
    ),
    # Black and white, deep shadows, coarse grain.
    "noir": Grade(
        ("eq=saturation=0", "curves=all='0/0 0.2/0.12 0.55/0.68 1/1'", "vignette=PI/5.5"),
        ("noise=c0s=14:c0f=t+u",),
    ),
    # Soft light and colour fringes.
    "dream": Grade((*BLOOM, "chromashift=cbh={shift}:crh=-{shift}", "eq=saturation=1.12")),
}


def frame_filters(side: int, width: int, height: int, mirror: str, look: Grade, zoom: Sequence[str]) -> list[str]:
    """Filters that mirror, scale and grade squares for a film; arguments as of `film.filter_graph`."""
    picture = [
        *MIRRORS[mirror](side, width, height, zoom),
        *(line.format(blur=f"{height / 45:.1f}", shift=max(1, round(width / 640))) for line in look.colour),
    ]
    if mirror != "pair" or zoom or look.colour:
        # Filters that scale or grade round the two halves differently. Mirroring again makes the symmetry exact.
        picture += [
            "crop=iw/2:ih:0:0,split[left_scaled][mirrored_scaled]",
            "[mirrored_scaled]hflip[right_scaled]",
            "[left_scaled][right_scaled]hstack",
        ]
    return [*picture, *look.grain]


def mirrored_half(side: int, width: int, height: int, zoom: Sequence[str]) -> list[str]:
    """Filters that join the left half of a square to its mirror image, and mirror both at the outer edges.

    Args:
        side: of the square in pixels, even.
        width, height: of the picture in pixels, multiples of 4 and 2.
        zoom: filters applied before the mirror.
    """
    # Chroma is subsampled by two: with even borders, halves and borders mirror exactly.
    half = side // 4 * 2
    border_x = 2 * round(side * (width / height - 1) / 4) if width > height else 0
    border_y = 2 * round(side * (height / width - 1) / 4) if height > width else 0
    return [
        *zoom,
        f"crop={half}:ih:0:0,split[left][mirrored]",
        "[mirrored]hflip[right]",
        "[left][right]hstack",
        *_mirrored_edges((border_x, border_x), (border_y, border_y)),
        f"scale={width}:{height}:{SCALER}",
    ]


def mirrored_pair(side: int, width: int, height: int, zoom: Sequence[str]) -> list[str]:
    """Filters that join a whole square to its mirror image, and mirror both at the outer edges.

    Arguments as of `mirrored_half`, but `zoom` is applied to the pair. A square of `pair_side` is not scaled.

    Raises:
        MediaError: a shape whose borders would be wider than the square that they mirror.
    """
    shown = pair_side(width, height)
    border_x, rows = width // 2 - shown, height - shown
    above = 2 * round(PAIR_ABOVE * rows / 2)
    if shown < 16 or max(border_x, above, rows - above) >= shown:
        raise MediaError(f"MIRROR=pair: {width}x{height} leaves it no room (choose MIRROR=half, or a wider film)")
    return [
        *([f"scale={shown}:{shown}:{SCALER}"] if shown != side else []),
        "format=yuv420p,split[left][mirrored]",
        "[mirrored]hflip[right]",
        "[left][right]hstack",
        *zoom,
        *_mirrored_edges((border_x, border_x), (above, rows - above)),
    ]


def pair_side(width: int, height: int) -> int:
    """Side in pixels of each square of `mirrored_pair`: even, at most the height, with the author's proportions."""
    return min(2 * round(PAIR_WIDTH * width / 2), height)


def _mirrored_edges(columns: tuple[int, int], rows: tuple[int, int]) -> list[str]:
    """Filters that add mirrored borders to a picture: columns left and right, rows above and below."""
    (left, right), (top, bottom) = columns, rows
    return [
        f"pad=iw+{left + right}:ih+{top + bottom}:{left}:{top}",
        f"fillborders={left}:{right}:{top}:{bottom}:mirror",
    ]


# How a square becomes a picture of any shape. To add one, write a function with the same arguments.
MIRRORS = {"pair": mirrored_pair, "half": mirrored_half}


def default_mirror(width: int, height: int) -> str:
    """The pair for landscape films; others are too narrow for it."""
    return "pair" if width > height else "half"
