"""The generator as it is trained: BigGAN-deep without the parts that only adversarial training needs.

The layers are those of `pytorch_pretrained_biggan` (Brock, Donahue and Simonyan, https://arxiv.org/abs/1809.11096,
appendix B), with no attention. Three things are left out here, and `stock.py` restores them in the stock model:

- Noise: the network sees the few factors that the noise acts through (`conventions.directions`), not all 128 numbers.
- Statistics of batch norms: measured once, on the first batch, and constant from then on.
- Spectral norms: weights are not normalised; the stock model gets vectors that make its norms 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from musicvideo.vision.generators.biggan.architecture import LAYERS
from musicvideo.vision.training.fused import ScaleAndReLU
from musicvideo.vision.training.targets import CHANNELS, FACTORS

START = 4  # pixels, height and width of the first picture
EMBEDDING = 128  # length of a class embedding
REDUCTION = 4  # of channels inside a block
EPSILON = 1e-4  # added to variances
STEEPNESS = 4.0  # of the matte: it is -1 or 1 nearly everywhere, far out on the tanh, where colours need not be


class Block(nn.Module):
    """A residual block: 1x1 to a quarter of the channels, 3x3 (in some doubling the size), 3x3, 1x1, plus the input.

    Args:
        norms: places of its four batch norms among those of the whole network.
    """

    def __init__(self, inputs: int, outputs: int, doubles: bool, norms: list[slice]) -> None:
        super().__init__()
        middle = inputs // REDUCTION
        self.outputs, self.doubles, self.norms = outputs, doubles, norms
        self.conv_0 = nn.Conv2d(inputs, middle, 1)
        self.conv_1 = nn.Conv2d(middle, middle, 3, padding=1)
        self.conv_2 = nn.Conv2d(middle, middle, 3, padding=1)
        self.conv_3 = nn.Conv2d(middle, outputs, 1)

    def forward(self, x: Tensor, norm_relu: NormReLU) -> Tensor:
        h = self.conv_0(norm_relu(x, self.norms[0]))
        h = norm_relu(h, self.norms[1])
        h = self.conv_1(F.interpolate(h, scale_factor=2) if self.doubles else h)
        h = self.conv_2(norm_relu(h, self.norms[2]))
        h = self.conv_3(norm_relu(h, self.norms[3]))
        skip = x.permute(0, 2, 3, 1)[..., : self.outputs].permute(0, 3, 1, 2)  # its gradient is channels_last too
        return h + (F.interpolate(skip, scale_factor=2) if self.doubles else skip)


def convolutions(block: Block) -> tuple[nn.Conv2d, ...]:
    """A block's convolutions, in the order of computation."""
    return block.conv_0, block.conv_1, block.conv_2, block.conv_3


def bias_of(convolution: nn.Conv2d) -> Tensor:
    """Its bias, which every convolution here has."""
    assert convolution.bias is not None
    return convolution.bias


def scale_and_relu(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """max(scale x + offset, 0) for pictures (n, c, h, w) with scales and offsets (n or 1, c)."""
    if x.device.type == "cpu":
        return ScaleAndReLU.apply(x, scale.expand(len(x), -1), offset.expand(len(x), -1))
    scale, offset = (values[:, :, None, None].to(x.dtype) for values in (scale, offset))
    return F.relu(torch.addcmul(offset, scale, x))


class NormReLU:
    """The conditional batch norms of a batch, each followed by a ReLU.

    Args:
        scales, offsets: (n, N) of all norms side by side.
    """

    def __init__(self, scales: Tensor, offsets: Tensor) -> None:
        self.scales, self.offsets = scales, offsets

    def __call__(self, x: Tensor, place: slice) -> Tensor:
        return scale_and_relu(x, self.scales[:, place], self.offsets[:, place])


class Calibration(NormReLU):
    """Measures the statistics of the network while it runs for the first time.

    Args:
        modulation: (n, 2N) scales and offsets from the conditions.
        mean, variance: (N,), filled in.
    """

    def __init__(self, modulation: Tensor, mean: Tensor, variance: Tensor) -> None:
        self.modulation, self.mean, self.variance = modulation, mean, variance

    def __call__(self, x: Tensor, place: slice) -> Tensor:
        self.mean[place] = x.mean(dim=(0, 2, 3))
        self.variance[place] = x.var(dim=(0, 2, 3))
        self.scales, self.offsets = normalisation(self.modulation, self.mean, self.variance)
        return super().__call__(x, place)


def normalisation(modulation: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """(x - mean) / deviation * (1 + scale) + offset as one multiplication and addition: scales and offsets (n, N)."""
    scale, offset = modulation.chunk(2, dim=1)
    scales = (1 + scale) * torch.rsqrt(variance + EPSILON)
    return scales, offset - mean * scales


class Network(nn.Module):
    """The trainable generator.

    Args:
        classes: how many.
        width: channels of the last block; 16 times as many in the first.
        resolution: 128 or 256, height and width of the largest pictures.
    """

    blocks: Sequence[Block]
    gains: Tensor
    mean: Tensor
    variance: Tensor
    last_mean: Tensor
    last_variance: Tensor

    def __init__(self, classes: int, width: int, resolution: int) -> None:
        super().__init__()
        self.width, self.resolution = width, resolution
        condition = FACTORS + EMBEDDING
        self.embeddings = nn.Parameter(torch.randn(classes, EMBEDDING))
        self.start = nn.Linear(condition, START * START * 16 * width)
        blocks, norms = [], 0
        for doubles, inputs, outputs in LAYERS[resolution]:  # channels in units of the width
            places = []
            for channels in (inputs * width, *3 * (inputs * width // REDUCTION,)):
                places.append(slice(norms, norms + channels))
                norms += channels
            blocks.append(Block(inputs * width, outputs * width, doubles, places))
        self.blocks = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.modulation = nn.Linear(condition, 2 * norms, bias=False)
        self.norm = nn.Parameter(torch.stack([torch.ones(width), torch.zeros(width)]))  # scale, offset
        self.to_pixels = nn.Conv2d(width, CHANNELS, 3, padding=1)
        self.register_buffer("gains", torch.tensor([1, 1, 1, STEEPNESS]), persistent=False)  # of `to_pixels`
        self.register_buffer("mean", torch.zeros(norms))
        self.register_buffer("variance", torch.ones(norms))
        self.register_buffer("last_mean", torch.zeros(width))
        self.register_buffer("last_variance", torch.ones(width))
        self.initialise(condition)

    def initialise(self, condition: int) -> None:
        """Random weights with which every block adds little to its input at first."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(bias_of(module))
        with torch.no_grad():
            for block in self.blocks:
                block.conv_3.weight.mul_(0.3)
            self.to_pixels.weight.mul_(0.3)
            self.start.weight.normal_(std=1 / math.sqrt(condition))
            self.start.bias.zero_()
            self.modulation.weight.normal_(std=0.5 / math.sqrt(condition))

    def condition(self, factors: Tensor, weights: Tensor) -> Tensor:
        """(n, FACTORS) and class weights (n, K) -> (n, FACTORS + EMBEDDING)."""
        return torch.cat([factors, weights @ self.embeddings], dim=1)

    def features(self, condition: Tensor, norm_relu: NormReLU, resolution: int) -> Tensor:
        """The last block's output (n, width, resolution, resolution), before the last norm.

        A block passes its first channels on beside what it adds. So the last norm and convolution read the first
        channels of a smaller picture as well, and the network can learn at a low resolution first.
        """
        x = self.start(condition).view(-1, START, START, 16 * self.width).permute(0, 3, 1, 2)
        for block in self.blocks:
            if block.doubles and x.shape[-1] == resolution:
                break
            x = block(x, norm_relu)
        return x[:, : self.width]

    def forward(self, factors: Tensor, weights: Tensor, resolution: int) -> Tensor:
        """Draw.

        Args:
            factors: (n, FACTORS), about normally distributed.
            weights: (n, K) class weights in 0..1.
            resolution: 8, 16, ... up to the network's own.

        Returns:
            (n, CHANNELS, resolution, resolution) in -1..1: RGB, and the matte as of `Targets.render`.
        """
        condition = self.condition(factors, weights)
        norm_relu = NormReLU(*normalisation(self.modulation(condition), self.mean, self.variance))
        x = self.features(condition, norm_relu, resolution)
        scale = self.norm[0] * torch.rsqrt(self.last_variance + EPSILON)
        offset = self.norm[1] - self.last_mean * scale
        pixels = self.to_pixels(scale_and_relu(x, scale[None], offset[None]))
        return torch.tanh(self.gains[:, None, None] * pixels)

    @torch.no_grad()
    def grow_from(self, smaller: Network, factors: Tensor, weights: Tensor) -> None:
        """Copy a smaller network, so that this one draws the same pictures and has free channels to train.

        The copied weights fill the first channels of the first blocks. The other channels have no effect on them yet,
        and blocks that the smaller network lacks pass their input on unchanged.

        Args:
            smaller: of the same width and classes, with no more blocks, none of them wider than ours.
            factors, weights: conditions, to measure the statistics of new channels with.
        """
        for name in ("embeddings", "norm", "start.weight", "start.bias", "to_pixels.weight", "to_pixels.bias"):
            self.get_parameter(name).copy_(smaller.get_parameter(name))
        scales, known_scales = self.modulation.weight.chunk(2), smaller.modulation.weight.chunk(2)
        for block, known in zip(self.blocks, smaller.blocks):
            for ours, theirs in zip(convolutions(block), convolutions(known)):
                rows, columns = theirs.weight.shape[:2]
                ours.weight[:rows] = 0
                ours.weight[:rows, :columns] = theirs.weight
                bias_of(ours)[:rows] = bias_of(theirs)
            for place, known_place in zip(block.norms, known.norms):
                for half, known_half in zip(scales, known_scales):
                    half[place][: known_place.stop - known_place.start] = known_half[known_place]
        for block in self.blocks[len(smaller.blocks) :]:
            nn.init.zeros_(block.conv_3.weight)
        self.calibrate(factors, weights)
        for block, known in zip(self.blocks, smaller.blocks):
            for place, known_place in zip(block.norms, known.norms):
                count = known_place.stop - known_place.start
                self.mean[place][:count] = smaller.mean[known_place]
                self.variance[place][:count] = smaller.variance[known_place]
        self.last_mean.copy_(smaller.last_mean)
        self.last_variance.copy_(smaller.last_variance)

    @torch.no_grad()
    def calibrate(self, factors: Tensor, weights: Tensor) -> None:
        """Set the statistics of all norms to those of a batch, in one pass."""
        condition = self.condition(factors, weights)
        norm_relu = Calibration(self.modulation(condition), self.mean, self.variance)
        x = self.features(condition, norm_relu, self.resolution)
        self.last_mean.copy_(x.mean(dim=(0, 2, 3)))
        self.last_variance.copy_(x.var(dim=(0, 2, 3)))
