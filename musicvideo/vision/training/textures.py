"""Cut-out pictures -> textures, which targets are rendered from."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

SIZE = 256  # pixels, height and width of a texture
REACH = 0.25  # largest distance from the outline that is stored, in widths of the texture
OPAQUE = 0.9  # least opacity at which colours are used
GOLDEN = 0.6180339887498949  # steps of the golden section spread hues evenly, however many there are


def textures(names: Sequence[str], pictures: Sequence[Image.Image]) -> dict[str, Any]:
    """The textures of all classes.

    Args:
        names: of the K classes.
        pictures: square cut-outs, one a class; opacity is the silhouette.

    Returns:
        "names", a list; "colour" uint8 (K, 3, S, S); "distance" and "interest" half (K, S, S), as of `texture`;
        "ground" (K, 4, 3), as of `ground`.
    """
    parts = [texture(picture) for picture in pictures]
    colours, distances, interests = (np.stack(part) for part in zip(*parts))
    grounds = [
        ground(index, name, *mean_hue(colour, distance > 0))
        for index, (name, (colour, distance, _)) in enumerate(zip(names, parts))
    ]
    return {
        "names": list(names),
        "colour": torch.tensor(colours * 255).round().to(torch.uint8).permute(0, 3, 1, 2).contiguous(),
        "distance": torch.tensor(distances).half(),
        "interest": torch.tensor(interests).half(),
        "ground": torch.tensor(grounds),
    }


def fill(colour: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Extend colours smoothly to unknown places: averages of larger and larger squares fill the gaps.

    Args:
        colour: (S, S, 3), S a power of two.
        known: (S, S), 1 where the colour is known, else 0.
    """
    if len(colour) == 1:
        return colour / np.maximum(known, 1e-6)[..., None]
    half = len(colour) // 2
    weighted = (colour * known[..., None]).reshape(half, 2, half, 2, 3).mean(axis=(1, 3))
    share = known.reshape(half, 2, half, 2).mean(axis=(1, 3))
    coarse = fill(weighted / np.maximum(share, 1e-6)[..., None], np.minimum(1, 4 * share))
    smooth = ndimage.zoom(coarse, (2, 2, 1), order=1, mode="nearest", grid_mode=True)
    return colour * known[..., None] + smooth * (1 - known)[..., None]


def texture(picture: Image.Image) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texture of a picture, as the targets need it.

    Returns:
        Colour (S, S, 3) in 0..1, continued beyond the outline; signed distance from the outline (S, S), positive
        inside, in widths of the picture; and the amount of detail at each point (S, S), about 0..1.
    """
    pixels = np.asarray(picture.convert("RGBA").resize((SIZE, SIZE)), np.float32) / 255
    opacity = pixels[..., 3]
    inside = opacity > 0.5
    distance = (ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)) / SIZE
    colour = fill(pixels[..., :3], (opacity > OPAQUE).astype(np.float32))

    light = colour @ np.array([0.3, 0.59, 0.11])
    detail = ndimage.gaussian_filter(np.abs(light - ndimage.gaussian_filter(light, 10)), 5)
    vividness = ndimage.gaussian_filter(np.ptp(colour, axis=-1), 4)
    interest = ndimage.gaussian_filter((0.5 * detail / max(detail.max(), 1e-6) + 0.3 * vividness + 0.2) * inside, 3)
    return colour, distance.clip(-REACH, REACH), interest


def mean_hue(colour: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """Hue and saturation of a picture's mean colour, weighted by the saturation of its pixels."""
    weights = inside * (np.ptp(colour, axis=-1) + 0.05)
    hue, saturation, _ = colorsys.rgb_to_hsv(*np.average(colour, axis=(0, 1), weights=weights))
    return hue, saturation


def ground(index: int, name: str, hue: float, saturation: float) -> list[tuple[float, float, float]]:
    """Four background colours of a class: cool to magenta, away from the hue of the class itself.

    Returns:
        Dark and light of the nebula, its rays, and the glow around the object; each RGB in 0..1.
    """
    if saturation < 0.15:  # grey things have no hue; use any fixed one
        hue = sum(map(ord, name)) % 97 / 97
    behind = 0.5 + 0.42 * (index * GOLDEN % 1)
    apart = (behind - hue + 0.5) % 1 - 0.5
    if abs(apart) < 0.12:
        behind += 0.2 if apart >= 0 else -0.2
    shades = ((behind, 0.85, 0.30), (behind + 0.11, 0.8, 0.70), (behind - 0.16, 0.65, 0.95), (hue + 0.06, 0.45, 1.0))
    return [colorsys.hsv_to_rgb(shade % 1, *rest) for shade, *rest in shades]
