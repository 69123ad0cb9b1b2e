"""How much the pictures of a generator resemble their targets, drawn by the engine that draws films."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from pytorch_pretrained_biggan import BigGAN
from scipy.stats import truncnorm
from torch import Tensor

from musicvideo.vision.generators.pocket.conventions import NOISE, directions
from musicvideo.vision.generators.pocket.generator import Pocket
from musicvideo.vision.training import metrics
from musicvideo.vision.training.targets import Targets

FACTORS_OF_NOISE = torch.tensor(directions().T).float()  # (NOISE, FACTORS)
NEAREST_SIZE = 32  # pixels, at which distances to the targets of all classes are compared
BATCH = 50
NEAREST, SSIM, ENERGY = "nearest class is the right one", "SSIM", "gradient energy, share of targets'"

Draw = Callable[[Tensor, Tensor], Tensor]  # noise (n, NOISE) and class weights (n, K) -> (n, 3, h, w) in -1..1


def engine(model: BigGAN, names: Sequence[str]) -> Draw:
    """The generator as films use it. It modifies the model: load another one to compare."""
    generator = Pocket(model, names, device="cpu")

    def draw(noise: Tensor, weights: Tensor) -> Tensor:
        return torch.cat(list(generator.pictures(noise.numpy(), weights.numpy())))

    return draw


def random_noise(count: int, rng: np.random.Generator) -> Tensor:
    """Noise as a film starts with it (count, NOISE): normal, cut off at +-2."""
    return torch.tensor(truncnorm.rvs(-2, 2, size=(count, NOISE), random_state=rng), dtype=torch.float32)


def likeness(
    draw: Draw, targets: Targets, resolution: int, vectors: int, rng: np.random.Generator
) -> tuple[dict[str, float], Tensor]:
    """The bars of single classes, and for each class the share of its pictures (K,) that resemble it most.

    Args:
        vectors: noise vectors a class.
    """
    classes = len(targets.names)
    right, similarity, energy, target_energy = [], [], [], []
    for index in range(classes):
        alone = torch.eye(classes)[index]
        hits = []
        for noise in random_noise(vectors, rng).split(BATCH):
            factors, weights = noise @ FACTORS_OF_NOISE, alone.expand(len(noise), -1)
            drawn, target = draw(noise, weights), targets.render(factors, weights, resolution)
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
        ENERGY: float(torch.cat(energy).mean() / torch.cat(target_energy).mean()),
    }, shares
