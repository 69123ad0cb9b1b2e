"""The pictures that the network learns: the object of a class, which twelve numbers of the noise place before a nebula.

A noise vector acts only through twelve fixed directions, the "factors" f = P z. Each moves one thing in the picture
smoothly, so that a path through the noise is a movement:

    0 right   1 down   2 turn   3 size   4 stretch   5, 6 bend   of the object
    7 slant   8 drift   9 rings   10 rays                        of the nebula
    11 hue                                                       of both

A mixture of classes is a chimera: one silhouette between those of the classes, in which each point gets its colour
from the classes that are strong and have detail there. Whole pictures are never averaged, which would give grey.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from musicvideo.vision.generators.pocket.conventions import MOVED

FACTORS = len(MOVED)  # directions of the noise that have an effect
CHANNELS = 4  # of a target: RGB, and the matte of the object

CALM = 0.28  # scale of all movements, chosen so that loud music at default sensitivity does not flicker
MOST = 6  # classes of a mixture that are drawn, the strongest
BLEND = 0.06  # softness of the union of silhouettes, in widths of a texture
LOYALTY = 1.4  # influence of a class's strength on the colour of a point
CURIOSITY = 6.0  # influence of a class's detail at a point on its colour
MARGIN = 1.25  # the picture's width in widths of an object of size 1
EDGE = 1.3  # steepness of outlines, 1/pixel
GLOW = 0.055  # reach of the light around an object, in widths of a texture


def each(values: Tensor) -> Tensor:
    """(n,) -> (n, 1, 1), for arithmetic with pictures."""
    return values[:, None, None]


def turn_hue(colour: Tensor, angle: Tensor) -> Tensor:
    """Rotate colours (n, 3, h, w) about the grey axis by `angle` (n,) radians."""
    c, s = torch.cos(angle), torch.sin(angle) / math.sqrt(3)
    third = (1 - c) / 3
    rows = [[c + third, third - s, third + s], [third + s, c + third, third - s], [third - s, third + s, c + third]]
    matrix = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    return torch.einsum("nij,njhw->nihw", matrix, colour)


class Targets:
    """Renders targets from textures.

    Args:
        textures: as `musicvideo.vision.training.textures.textures` makes them: "names", "colour" uint8 (K, 3, S, S),
            "distance" and "interest" half (K, S, S) and "ground" (K, 4, 3).
        device: where to render.

    Attributes:
        names: the K names of the classes.
    """

    def __init__(self, textures: dict, device: str | torch.device = "cpu") -> None:
        self.names: list[str] = textures["names"]
        colour = textures["colour"].float() / 255
        fields = torch.stack([textures["distance"], textures["interest"]], dim=1).float()
        self.largest = torch.cat([colour, fields], dim=1).to(device)
        self.ground = textures["ground"].to(device)
        self.sizes = {self.largest.shape[-1]: self.largest}

    def at_size(self, resolution: int) -> Tensor:
        """Textures (K, 5, resolution, resolution): RGB, distance, interest."""
        if resolution not in self.sizes:
            size = (resolution, resolution)
            self.sizes[resolution] = F.interpolate(self.largest, size=size, mode="bilinear", antialias=True)
        return self.sizes[resolution]

    @torch.no_grad()
    def render(self, factors: Tensor, weights: Tensor, resolution: int) -> Tensor:
        """Draw targets.

        Args:
            factors: (n, FACTORS), about -3..3.
            weights: (n, K) class weights, at least 0; only their ratios count.
            resolution: height and width in pixels.

        Returns:
            (n, CHANNELS, resolution, resolution) in -1..1: RGB, and the matte, 1 where only the object is seen.
        """
        objects, grounds = self.mix(weights, resolution)
        factors = CALM * factors
        bounded = torch.tanh(0.8 * factors)
        axis = (torch.arange(resolution, device=factors.device) * 2 + 1) / resolution - 1
        down, right = torch.meshgrid(axis, axis, indexing="ij")

        # From a point in the picture to the point on the object that is seen there.
        x = right - each(0.22 * bounded[:, 0])
        y = down - each(0.22 * bounded[:, 1])
        bend_x, bend_y = 0.12 * bounded[:, 5], 0.12 * bounded[:, 6]
        x, y = (
            x + each(bend_x) * torch.sin(2.4 * y + each(factors[:, 6])),
            y + each(bend_y) * torch.sin(2.4 * x + each(factors[:, 5])),
        )
        angle, size = 0.40 * bounded[:, 2], 1.12 * torch.exp(0.24 * bounded[:, 3])
        stretch = torch.exp(0.12 * bounded[:, 4])
        cos, sin = each(torch.cos(angle)), each(torch.sin(angle))
        across = MARGIN * (cos * x + sin * y) * each(stretch / size)
        along = MARGIN * (cos * y - sin * x) / each(stretch * size)
        grid = torch.stack([across, along], dim=-1)
        seen = F.grid_sample(objects, grid, padding_mode="border", align_corners=False)

        # Outside its texture an object ends: the distance goes on growing from the border of the texture.
        distance = seen[:, 3] - 0.5 * F.relu(torch.maximum(across.abs(), along.abs()) - 1)
        opacity = torch.sigmoid(EDGE / MARGIN * resolution * distance * each(size))[:, None]
        behind = self.nebula(grounds, factors, x, y, right, down)
        light = 0.6 * torch.exp(distance.clamp(max=0) / GLOW)[:, None]
        behind = behind + (grounds[:, 3, :, None, None] - behind) * light
        radius = torch.sqrt(x.square() + y.square())
        behind = behind * (1 - 0.25 * (radius - 0.6).clamp(0, 1))[:, None]

        behind = turn_hue(behind, 0.6 * factors[:, 11])
        front = turn_hue(seen[:, :3], 0.3 * bounded[:, 11])
        picture = (behind + (front - behind) * opacity).clamp(0, 1)
        return torch.cat([picture, opacity], dim=1) * 2 - 1

    def nebula(self, grounds: Tensor, factors: Tensor, x: Tensor, y: Tensor, right: Tensor, down: Tensor) -> Tensor:
        """The background, (n, 3, h, w): clouds, and rings and rays that move with the object at (x, y)."""
        radius = torch.sqrt(x.square() + y.square() + 1e-4)
        slant = right * each(torch.cos(factors[:, 7])) + down * each(torch.sin(factors[:, 7]))
        clouds = 0.5 + 0.5 * torch.sin(1.9 * slant + each(1.2 * factors[:, 8]))
        rings = 0.5 + 0.5 * torch.sin(5.2 * radius - each(1.6 * factors[:, 9]))
        twist = 1.5 * torch.sin(3 * radius - each(factors[:, 9]))
        rays = 0.5 + 0.5 * torch.sin(6 * torch.atan2(y, x) + each(1.5 * factors[:, 10]) + twist)
        dark, bright, ray = (grounds[:, index, :, None, None] for index in range(3))
        behind = dark + (bright - dark) * clouds[:, None]
        return behind + (ray - behind) * (0.55 * rings * rays * (1.2 * radius).clamp(max=1))[:, None]

    def mix(self, weights: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
        """Objects (n, 4, resolution, resolution), RGB and distance, and the grounds behind them (n, 4, 3)."""
        textures = self.at_size(resolution)
        strongest = weights.argmax(dim=1)
        objects, grounds = textures[strongest, :4], self.ground[strongest]
        mixed = (weights > 0).sum(dim=1) > 1
        if mixed.any():
            objects[mixed], grounds[mixed] = self.chimera(weights[mixed], textures)
        return objects, grounds

    def chimera(self, weights: Tensor, textures: Tensor) -> tuple[Tensor, Tensor]:
        """Objects and grounds of mixtures; see `mix`."""
        count = min(MOST, int((weights > 0).sum(dim=1).max()))
        top, index = weights.topk(count, dim=1)
        strength = top / top[:, :1]  # 1 for the strongest class
        share = (strength / strength.sum(dim=1, keepdim=True))[:, :, None, None]
        chosen = textures[index]  # (n, count, 5, h, w)
        colour, distance, interest = chosen[:, :, :3], chosen[:, :, 3], chosen[:, :, 4]

        outline = BLEND * torch.logsumexp(torch.log(share + 1e-9) + distance / BLEND, dim=1, keepdim=True)
        claim = strength[:, :, None, None]
        claim = LOYALTY * torch.log(claim + 1e-6) + CURIOSITY * interest * claim.sqrt()
        blended = (torch.softmax(claim, dim=1)[:, :, None] * colour).sum(dim=1)
        # Where many classes share a point their colours are averaged: restore some of the contrast.
        mean = blended.mean(dim=1, keepdim=True)
        vivid = mean + (blended - mean) * (1.5 - 0.5 * share.amax(dim=1, keepdim=True))
        lead = strength**2
        grounds = torch.einsum("nm,nmjc->njc", lead / lead.sum(dim=1, keepdim=True), self.ground[index])
        return torch.cat([vivid.clamp(0, 1), outline], dim=1), grounds

    def nearest(self, pictures: Tensor, factors: Tensor) -> Tensor:
        """The class (n,) whose target, with the same factors, is nearest by squared differences of pixels.

        Args:
            pictures: (n, 3 or CHANNELS, h, h) in -1..1.
            factors: (n, FACTORS) that they were drawn with.
        """
        classes = len(self.names)
        alone = torch.eye(classes, device=factors.device)
        distances = []
        for picture, factor in zip(pictures, factors):
            candidates = self.render(factor.expand(classes, -1), alone, pictures.shape[-1])[:, : len(picture)]
            distances.append((candidates - picture).square().mean(dim=(1, 2, 3)))
        return torch.stack(distances).argmin(dim=1)
