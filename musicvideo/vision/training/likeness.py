"""How much the pictures of a generator resemble their targets, drawn by the engine that draws films."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from musicvideo.vision.generators import pocket
from musicvideo.vision.generators.pocket.conventions import NOISE, directions
from musicvideo.vision.generators.record import Options
from musicvideo.vision.latents import truncated_noise
from musicvideo.vision.training import metrics
from musicvideo.vision.training.targets import CHANNELS, Targets

FACTORS_OF_NOISE = torch.tensor(directions().T).float()  # (NOISE, FACTORS)
NEAREST_SIZE = 32  # pixels, at which distances to the targets of all classes are compared
BATCH = 50
NEAREST, SSIM, ENERGY = "nearest class is the right one", "SSIM", "gradient energy, share of targets'"
MATTE = "matte_ssim"

# noise (n, NOISE) and class weights (n, K) -> (n, 3, h, w) in -1..1, or (n, 4, h, w) with a matte
Draw = Callable[[Tensor, Tensor], Tensor]


def engine(folder: Path) -> Draw:
    """The generator in a folder, as films use it."""
    generator = pocket.load(Options(device="cpu"), folder)

    def draw(noise: Tensor, weights: Tensor) -> Tensor:
        return torch.cat(list(generator.pictures(noise.numpy(), weights.numpy())))

    return draw


def random_noise(count: int, rng: np.random.Generator) -> Tensor:
    """Noise as a film starts with it (count, NOISE)."""
    return torch.tensor(truncated_noise((count, NOISE), rng), dtype=torch.float32)


def likeness(
    draw: Draw, targets: Targets, resolution: int, vectors: int, rng: np.random.Generator
) -> tuple[dict[str, float], Tensor]:
    """The bars of single classes, and for each class the share of its pictures (K,) that resemble it most.

    Args:
        vectors: noise vectors a class.
    """
    classes = len(targets.names)
    right, similarity, mattes, energy, target_energy = [], [], [], [], []
    for index in range(classes):
        alone = torch.eye(classes)[index]
        hits = []
        for noise in random_noise(vectors, rng).split(BATCH):
            factors, weights = noise @ FACTORS_OF_NOISE, alone.expand(len(noise), -1)
            drawn, target = draw(noise, weights), targets.render(factors, weights, resolution)
            if drawn.shape[1] == CHANNELS:
                mattes.append(metrics.ssim(drawn[:, 3:], target[:, 3:]))
            drawn, target = drawn[:, :3], target[:, :3]
            similarity.append(metrics.ssim(drawn, target))
            energy.append(metrics.gradient_energy(drawn))
            target_energy.append(metrics.gradient_energy(target))
            small = torch.nn.functional.interpolate(drawn, size=NEAREST_SIZE, mode="area")
            hits.append(targets.nearest(small, factors) == index)
        right.append(torch.cat(hits).float().mean())
    shares = torch.stack(right)
    return {
        NEAREST: float(shares.mean()),
        SSIM: float(torch.cat(similarity).mean()),
        **({MATTE: float(torch.cat(mattes).mean())} if mattes else {}),
        ENERGY: float(torch.cat(energy).mean() / torch.cat(target_energy).mean()),
    }, shares
