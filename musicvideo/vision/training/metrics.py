"""Similarity of pictures to their targets, and their contrast and saturation. Pictures are (n, 3, h, w) in -1..1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 11  # pixels, of SSIM's windows
DEVIATION = 1.5  # pixels, of the Gaussian in them


def ssim(pictures: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity (n,), mean over pixels and channels (Wang et al. 2004, with its usual constants)."""
    offsets = torch.arange(WINDOW, device=pictures.device) - WINDOW // 2
    bell = torch.exp(-offsets.square() / (2 * DEVIATION**2))
    bell = (bell / bell.sum())[None, None]

    def blur(x: Tensor) -> Tensor:
        x = x.flatten(0, 1)[:, None]
        return F.conv2d(F.conv2d(x, bell[..., None]), bell[:, :, None])

    x, y = (pictures + 1) / 2, (targets + 1) / 2
    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
    likeness = likeness / ((mean_x**2 + mean_y**2 + 0.01**2) * (variance_x + variance_y + 0.03**2))
    return likeness.view(len(pictures), -1).mean(dim=1)


def gradient_energy(pictures: Tensor) -> Tensor:
    """Mean square of the differences between neighbouring pixels (n,)."""
    down = (pictures[:, :, 1:] - pictures[:, :, :-1]).square().mean(dim=(1, 2, 3))
    return down + (pictures[..., 1:] - pictures[..., :-1]).square().mean(dim=(1, 2, 3))


def contrast(pictures: Tensor) -> Tensor:
    """Standard deviation of lightness over a picture (n,), in 0..1."""
    lightness = (pictures * pictures.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1)
    return lightness.flatten(1).std(dim=1) / 2


def saturation(pictures: Tensor) -> Tensor:
    """Mean distance between the largest and the smallest of a pixel's three colours (n,), in 0..1."""
    return (pictures.amax(dim=1) - pictures.amin(dim=1)).flatten(1).mean(dim=1) / 2
