"""BigGAN-deep's network, rewritten for inference: the pictures of `pytorch_pretrained_biggan`, several times as fast.

The architecture is that of Brock, Donahue and Simonyan, "Large Scale GAN Training for High Fidelity Natural Image
Synthesis" (https://arxiv.org/abs/1809.11096), appendix B. Each rewrite is an identity of real arithmetic:

1. Spectral norm divides a weight by its largest singular value, a constant once training is over.
2. A batch norm with fixed statistics is scale * x + offset. Both are linear in the condition, which is the noise vector
   and the class embedding side by side. So are the pixels of the first 4x4 picture. One matrix product gives all of
   them: the "style" of a picture.
3. The bias of a convolution in front of a batch norm is part of that offset.
4. Doubling a picture and convolving it 3x3 is one transposed convolution, 4x4 with stride 2, whose kernel is the 3x3
   kernel convolved with a 2x2 square of ones: 4 multiplications where there were 9. With Winograd's algorithm
   (`musicvideo.vision.generators.kernels`) any 3x3 convolution takes 2.25, and the doubled picture is never stored.
5. The last batch norm has no condition: it scales and shifts the last block's output, so it is folded into that
   block's last weights. The skip path is scaled before it is doubled.
6. The library computes 128 channels in its last convolution and keeps 3. A fourth may hold a matte.
7. A 3x3 convolution to 3 channels is a 1x3 convolution to 9, three for each row of the kernels, whose pictures are
   shifted up and down and summed. Vector instructions compute 16 channels at a time, so 3 cost as much as 9, or 12.
8. Most operations of a block use one pixel at a time, so a large picture goes through it in strips of rows that stay
   in the processor's cache. Only the pictures between, with a quarter of the channels, are concatenated for the 3x3
   convolutions. A block yields its strips one by one, so the last block's strip becomes RGB before the next is
   computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pytorch_pretrained_biggan import BigGAN as Library
from pytorch_pretrained_biggan.model import BigGANBatchNorm, GenBlock, SelfAttn
from torch import Tensor
from torch.nn.utils import remove_spectral_norm

from musicvideo.vision.generators.backends.operations import Operations, Picture

Strips = Iterable[Picture]  # a picture as strips of rows, top to bottom; small pictures are a single strip
Style = Callable[..., Picture]  # gives a slice of a style: (slice, size=1) -> picture (channels, size, size)


def statistics(norm: BigGANBatchNorm, truncation: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of a batch norm at a truncation, linear between the rows that are stored.

    The library swaps the weights of the two rows, and rounding puts some truncations that are exactly a row (0.58) just
    below it.
    """
    position = round(truncation * (len(norm.running_means) - 1), 6)
    row = min(int(position), len(norm.running_means) - 2)
    mean, variance = (
        torch.lerp(stored[row], stored[row + 1], position - row) for stored in (norm.running_means, norm.running_vars)
    )
    return mean, variance


class Styles:
    """Collects the rows of the matrix that turns a condition into everything that depends on it (2.)."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.biases: list[Tensor] = []

    def add(self, weight: Tensor, bias: Tensor) -> slice:
        """Append rows and return their place in a style."""
        start = sum(map(len, self.biases))
        self.weights.append(weight)
        self.biases.append(bias)
        return slice(start, start + len(bias))

    def add_norm(self, norm: BigGANBatchNorm, truncation: float, bias: Tensor | None) -> tuple[slice, slice]:
        """Append a batch norm of x + bias and return the places of its scale and its offset (2., 3.)."""
        mean, variance = statistics(norm, truncation)
        if bias is not None:
            mean = mean - bias
        rate = (variance + norm.eps).rsqrt()
        # (x - mean) * rate * (1 + S c) + O c  =  x * (rate S c + rate) + ((O - mean rate S) c - mean rate)
        scale, offset = norm.scale.weight, norm.offset.weight
        return (
            self.add(rate[:, None] * scale, rate),
            self.add(offset - (mean * rate)[:, None] * scale, -mean * rate),
        )


class Block:
    """A residual block: 1x1 to a quarter of the channels, 3x3 (in some doubling the size), 3x3, 1x1, plus the input."""

    def __init__(self, block: GenBlock, truncation: float, styles: Styles) -> None:
        biases = (None, block.conv_0.bias, block.conv_1.bias, block.conv_2.bias)
        norms = (block.bn_0, block.bn_1, block.bn_2, block.bn_3)
        self.norms = [styles.add_norm(norm, truncation, bias) for norm, bias in zip(norms, biases)]
        self.upsamples = block.up_sample
        self.channels = block.conv_3.out_channels
        self.reduce = block.conv_0.weight
        self.first = block.conv_1.weight
        self.second = block.conv_2.weight
        self.expand = block.conv_3.weight
        self.bias = block.conv_3.bias
        self.skip_scale: Tensor | None = None

    def scale_output(self, scale: Tensor, shift: Tensor) -> None:
        """Make the block's output scale * output + shift (5.)."""
        self.expand = self.expand * scale[:, None, None, None]
        self.bias = self.bias * scale + shift
        self.skip_scale = scale.view(1, -1, 1, 1)

    def __call__(self, x: Strips, style: Style, ops: Operations) -> Strips:
        norms = [tuple(map(style, norm)) for norm in self.norms]
        x = list(x)
        h = ops.concat([ops.conv(ops.affine_relu(strip, *norms[0]), self.reduce) for strip in x])
        h = ops.affine_relu(h, *norms[1])
        h = ops.upsample_conv(h, self.first) if self.upsamples else ops.conv(h, self.first)
        h = ops.conv(ops.affine_relu(h, *norms[2]), self.second)
        narrow = ops.split(h)
        if len(x) < len(narrow):
            x = ops.split(x[0], len(narrow))
        return (
            ops.conv_add(self.skip(beside, ops), ops.affine_relu(strip, *norms[3]), self.expand, self.bias)
            for strip, beside in zip(narrow, x)
        )

    def skip(self, x: Picture, ops: Operations) -> Any:
        """The skip path: the input's first channels, as many as the output has, scaled and doubled where needed."""
        x = ops.first_channels(x, self.channels)
        if self.skip_scale is not None:
            x = ops.scale(x, self.skip_scale)
        return ops.upsample(x) if self.upsamples else x


class Attention:
    """Self-attention of every pixel to the picture at half its size (Zhang et al., 2018)."""

    def __init__(self, layer: SelfAttn) -> None:
        self.query = layer.snconv1x1_theta.weight
        self.key = layer.snconv1x1_phi.weight
        self.value = layer.snconv1x1_g.weight
        self.out = layer.gamma * layer.snconv1x1_o_conv.weight

    def __call__(self, x: Strips, style: Style, ops: Operations) -> Strips:
        (whole,) = x
        key, value = (ops.max_pool(ops.conv(whole, weight)) for weight in (self.key, self.value))
        return [ops.conv_add(whole, ops.attention(ops.conv(whole, self.query), key, value), self.out)]


class Network:
    """The rewritten network: a matrix from condition to style, and layers from style to picture.

    Args:
        model: the library's; it is modified.
        truncation: 0.1..1, at which the batch norms look their statistics up.
        channels: of the pictures, the first of those that the library computes.

    Attributes:
        width: channels of the last block's output.
        style_weight, style_bias: (S, 2 * noise_dim) and (S,).
    """

    def __init__(self, model: Library, truncation: float, channels: int = 3) -> None:
        for module in list(model.modules()):
            if hasattr(module, "weight_orig"):
                remove_spectral_norm(module)  # 1.
        model.requires_grad_(False)
        generator, width = model.generator, model.config.channel_width
        self.width = width
        styles = Styles()

        def channels_first(rows: Tensor) -> Tensor:  # the checkpoint has the first picture as (4, 4, channels)
            return rows.view(4, 4, 16 * width, *rows.shape[1:]).movedim(2, 0).reshape(rows.shape)

        self.start = styles.add(channels_first(generator.gen_z.weight), channels_first(generator.gen_z.bias))
        self.layers: list[Block | Attention] = []
        for layer in generator.layers:
            if isinstance(layer, GenBlock):
                last = Block(layer, truncation, styles)  # the last layer is a block
                self.layers.append(last)
            else:
                self.layers.append(Attention(layer))
        mean, variance = statistics(generator.bn, truncation)
        scale = generator.bn.weight * (variance + generator.bn.eps).rsqrt()
        last.scale_output(scale, generator.bn.bias - mean * scale)
        pixels = generator.conv_to_rgb.weight[:channels]  # 6.
        self.rows = pixels.permute(2, 0, 1, 3).reshape(3 * channels, width, 1, 3).contiguous()  # 7.
        self.bias = generator.conv_to_rgb.bias[:channels].contiguous()
        self.style_weight = torch.cat(styles.weights)
        self.style_bias = torch.cat(styles.biases)

    def __call__(self, style: Style, ops: Operations) -> Any:
        """Compute a picture (B, channels, H, W) in -1..1 from a style.

        Args:
            style: gives a slice of the style as a picture (B, channels, size, size).
            ops: what computes.
        """
        x: Strips = [style(self.start, 4)]
        for layer in self.layers:
            x = layer(x, style, ops)
        rows = ops.concat([ops.conv(ops.relu(strip), self.rows) for strip in x])
        return ops.tanh(ops.sum_rows(rows, self.bias))
