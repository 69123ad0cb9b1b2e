"""The operations that a backend gives the network, and functions that backends share.

The network (`musicvideo.vision.generators.biggan.network`) is written once, as calls of `Operations`. A backend runs it
with its own operations: torch computes at once, OpenVINO builds a graph, kernels defer work to where it costs least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

# A picture inside the network: a tensor (B, C, H, W), a node of a graph, or a picture (H, W, C) that is not computed
# yet. A backend's operations take what its operations return.
Picture = Any

STRIP_FROM = 128  # rows of the smallest picture that is split into strips on a CPU
STRIPS = 16  # of such a picture; the largest at 512 is 134 MB, a strip of it 8 MB
STREAMS = 4  # pictures drawn side by side on a CPU, at most; each takes 0.4 GB at 512
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@cache
def row_kernels(channels: int) -> Tensor:
    """3x3 kernels (C, 3 C, 3, 1) that add three pictures of C channels, one for each row of a convolution's kernels.

    They shift them down by one, not at all, and up by one.
    """
    return torch.eye(3 * channels).view(3, channels, 3 * channels, 1).permute(1, 2, 0, 3).contiguous()


class Operations(Protocol):
    """The operations of the network. Shapes are those of pictures (B, C, H, W), whatever a backend's layout is.

    Weights and biases are float32 tensors on the CPU. A backend may cache converted weights, since the network
    passes the same tensors every time.
    """

    def conv(self, x: Picture, weight: Tensor) -> Picture:
        """Convolve (B, C, H, W) with weight (N, C, h, w), h and w odd, zeros beyond the edges: (B, N, H, W)."""

    def conv_add(self, y: Picture, x: Picture, weight: Tensor, bias: Tensor | None = None) -> Picture:
        """y + conv(x, weight) + bias, the kernels 1x1: y (B, N, H, W), x (B, C, H, W), bias (N,)."""

    def upsample_conv(self, x: Picture, weight: Tensor) -> Picture:
        """Double height and width by repetition, then convolve with weight (N, C, 3, 3): (B, N, 2H, 2W)."""

    def sum_rows(self, x: Picture, bias: Tensor) -> Picture:
        """The sum of x[:, :C] shifted down by one row, x[:, C:2C], x[:, 2C:] shifted up and bias (C,): (B, C, H, W)."""

    def affine_relu(self, x: Picture, scale: Picture, offset: Picture) -> Picture:
        """max(x * scale + offset, 0); scale and offset (B, C, 1, 1), slices of a style."""

    def scale(self, x: Picture, scale: Tensor) -> Picture:
        """x * scale, a constant (1, C, 1, 1); for a skip path, so only `upsample` and `conv_add` take the result."""

    def relu(self, x: Picture) -> Picture:
        """max(x, 0)."""

    def tanh(self, x: Picture) -> Picture:
        """The hyperbolic tangent of each number."""

    def concat(self, strips: Sequence[Picture]) -> Picture:
        """Strips of rows, top to bottom, as one picture."""

    def split(self, x: Picture, count: int | None = None) -> Sequence[Picture]:
        """A picture as `count` strips of rows; by default as many as pay for its size, often one."""

    def first_channels(self, x: Picture, count: int) -> Picture:
        """x[:, :count]; for a skip path, so only `scale`, `upsample` and `conv_add` take the result."""

    def upsample(self, x: Picture) -> Picture:
        """Double height and width by repetition; for a skip path, so only `conv_add` takes the result."""

    def max_pool(self, x: Picture) -> Picture:
        """The largest of each 2x2 pixels: (B, C, H/2, W/2)."""

    def attention(self, query: Picture, key: Picture, value: Picture) -> Picture:
        """softmax(query keyᵀ) value over pixels: (B, D, H, W), (B, D, h, w) and (B, C, h, w) give (B, C, H, W)."""


class Backend(Protocol):
    """Runs a network.

    Attributes:
        name: what computes where and how exactly, in a few words for people.
        computed_by: what decides the bits of pictures; see `musicvideo.vision.generators.record.Generator`.
        batch: pictures in a pass.
    """

    name: str
    batch: int

    @property
    def computed_by(self) -> Mapping[str, str]: ...

    def __call__(self, styles: Tensor) -> Tensor:
        """Styles (B, S) on the CPU -> pictures (B, C, H, W) in -1..1, on the device that drew them.

        A picture has the same bits whatever else is in its batch.
        """


def fold_upsampling(weight: Tensor) -> Tensor:
    """3x3 kernels (N, C, 3, 3) after a doubling -> 4x4 kernels (C, N, 4, 4) of a transposed convolution with stride 2.

    They are the 3x3 kernels convolved with a 2x2 square of ones: 4 multiplications where there were 9.
    """
    taps = F.conv2d(weight.flatten(0, 1)[:, None], torch.ones(1, 1, 2, 2), padding=1)
    return taps.view(*weight.shape[:2], 4, 4).flip(2, 3).transpose(0, 1).contiguous()


def same_padding(weight: Tensor) -> list[int]:
    """Padding with which a convolution keeps a picture's size."""
    return [size // 2 for size in weight.shape[2:]]


def strips_of(height: int) -> int:
    """How many strips a picture is split into on a CPU."""
    return STRIPS if height >= STRIP_FROM else 1
