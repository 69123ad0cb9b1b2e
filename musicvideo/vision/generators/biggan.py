"""BigGAN-deep, rewritten for inference: the pictures of `pytorch_pretrained_biggan`, several times as fast.

The architecture is that of Brock, Donahue and Simonyan, "Large Scale GAN Training for High Fidelity Natural Image
Synthesis" (https://arxiv.org/abs/1809.11096), appendix B. Each rewrite is an identity of real arithmetic:

1. Spectral norm divides a weight by its largest singular value, a constant once training is over.
2. A batch norm with fixed statistics is scale * x + offset, and both are linear in the condition, the noise vector
   and the class embedding side by side. So are the first 4x4 picture's pixels. One matrix makes all of them: the
   "style" of a picture.
3. The bias of a convolution in front of a batch norm is part of that offset.
4. Doubling a picture and convolving it 3x3 is one transposed convolution, 4x4 with stride 2, whose kernel is the 3x3
   kernel convolved with a 2x2 square of ones: 4 multiplications where there were 9. With Winograd's algorithm
   (`musicvideo.vision.generators.kernels`) any 3x3 convolution takes 2.25, and the doubled picture is never made.
5. The last batch norm has no condition: it scales and shifts the last block's output, so it goes into that block's
   last weights. Its skip path is scaled before it is doubled.
6. The library computes 128 channels in its last convolution and keeps 3.
7. A 3x3 convolution to 3 channels is a 1x3 convolution to 9, one for each row of the kernels, whose pictures are
   shifted up and down and summed. Kernels compute 16 channels at a time, so that 3 cost as much as 9.
8. Most of a block looks at one pixel at a time, so a big picture can go through it in strips of rows that stay in the
   processor's cache. Only the pictures between, a quarter as deep, are joined for the 3x3 convolutions. A block gives
   its strips away one by one, so that the last one's become colours before the next is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_pretrained_biggan import BigGAN as Library
from pytorch_pretrained_biggan.model import BigGANBatchNorm, GenBlock, SelfAttn
from torch import Tensor
from torch.nn.utils import remove_spectral_norm

from musicvideo.vision.generators import backends

Strips = Iterable              # a picture as strips of rows, top to bottom; small ones are a single strip

STYLES = 16                    # pictures whose styles are computed at a time, always as many: see `BigGAN.styles`


def statistics(norm: BigGANBatchNorm, truncation: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of a batch norm at a truncation, linear between the rows that are stored.

    The library means to do the same, but takes the weights of the two rows for each other, and rounding puts some
    truncations that are a row (0.58) just below it.
    """
    position = round(truncation * (len(norm.running_means) - 1), 6)
    row = min(int(position), len(norm.running_means) - 2)
    return tuple(torch.lerp(rows[row], rows[row + 1], position - row) for rows in (norm.running_means, norm.running_vars))


class Styles:
    """Collects the rows of the matrix that turns a condition into everything that depends on it (2.)."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.biases: list[Tensor] = []

    def add(self, weight: Tensor, bias: Tensor) -> slice:
        """Append rows; their place in a style."""
        start = sum(map(len, self.biases))
        self.weights.append(weight)
        self.biases.append(bias)
        return slice(start, start + len(bias))

    def add_norm(self, norm: BigGANBatchNorm, truncation: float, bias: Tensor | None) -> tuple[slice, slice]:
        """Append a batch norm of x + bias; the places of its scale and its offset (2., 3.)."""
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
    """A residual block: 1x1 to a quarter of the channels, 3x3 (doubling, maybe), 3x3, 1x1, plus the input."""

    def __init__(self, block: GenBlock, truncation: float, styles: Styles) -> None:
        biases = (None, block.conv_0.bias, block.conv_1.bias, block.conv_2.bias)
        norms = (block.bn_0, block.bn_1, block.bn_2, block.bn_3)
        self.norms = [styles.add_norm(norm, truncation, bias) for norm, bias in zip(norms, biases)]
        self.doubles = block.up_sample
        self.channels = block.conv_3.out_channels
        self.reduce = block.conv_0.weight
        self.first = block.conv_1.weight
        self.second = block.conv_2.weight
        self.expand = block.conv_3.weight
        self.bias = block.conv_3.bias
        self.skip_scale = None

    def scale_output(self, scale: Tensor, shift: Tensor) -> None:
        """Make the block's output scale * output + shift (5.)."""
        self.expand = self.expand * scale[:, None, None, None]
        self.bias = self.bias * scale + shift
        self.skip_scale = scale.view(1, -1, 1, 1)

    def __call__(self, x: Strips, style: Callable[..., Any], ops: Any) -> Strips:
        norms = [tuple(map(style, norm)) for norm in self.norms]
        x = list(x)
        h = ops.join([ops.conv(ops.affine_relu(strip, *norms[0]), self.reduce) for strip in x])
        h = ops.affine_relu(h, *norms[1])
        h = ops.doubling_conv(h, self.first) if self.doubles else ops.conv(h, self.first)
        h = ops.conv(ops.affine_relu(h, *norms[2]), self.second)
        narrow = ops.cut(h)
        if len(x) < len(narrow):
            x = ops.cut(x[0], len(narrow))
        return (
            ops.conv_onto(self.skip(beside, ops), ops.affine_relu(strip, *norms[3]), self.expand, self.bias)
            for strip, beside in zip(narrow, x)
        )

    def skip(self, x: Any, ops: Any) -> Any:
        """What is added to the block's convolutions: the input, as many of its channels as go out, doubled maybe."""
        x = ops.channels(x, self.channels)
        if self.skip_scale is not None:
            x = ops.scale(x, self.skip_scale)
        return ops.double(x) if self.doubles else x


class Attention:
    """Self-attention of every pixel to the picture at half its size."""

    def __init__(self, layer: SelfAttn) -> None:
        self.query = layer.snconv1x1_theta.weight
        self.key = layer.snconv1x1_phi.weight
        self.value = layer.snconv1x1_g.weight
        self.out = layer.gamma * layer.snconv1x1_o_conv.weight

    def __call__(self, x: Strips, style: Callable[..., Any], ops: Any) -> Strips:
        (x,) = x
        key, value = (ops.halve(ops.conv(x, weight)) for weight in (self.key, self.value))
        return [ops.conv_onto(x, ops.attention(ops.conv(x, self.query), key, value), self.out)]


class Network:
    """The rewritten network: a matrix from condition to style, and layers from style to picture.

    Attributes:
        width: channels of the last block's output.
        style_weight, style_bias: (S, 2 * noise_dim) and (S,).
    """

    def __init__(self, model: Library, truncation: float) -> None:
        for module in list(model.modules()):
            if hasattr(module, "weight_orig"):
                remove_spectral_norm(module)                                                # 1.
        model.requires_grad_(False)
        generator, width = model.generator, model.config.channel_width
        self.width = width
        styles = Styles()

        def channels_first(rows: Tensor) -> Tensor:     # the checkpoint has the first picture as (4, 4, channels)
            return rows.view(4, 4, 16 * width, *rows.shape[1:]).movedim(2, 0).reshape(rows.shape)

        self.start = styles.add(channels_first(generator.gen_z.weight), channels_first(generator.gen_z.bias))
        self.layers = [
            Block(layer, truncation, styles) if isinstance(layer, GenBlock) else Attention(layer)
            for layer in generator.layers
        ]
        mean, variance = statistics(generator.bn, truncation)
        scale = generator.bn.weight * (variance + generator.bn.eps).rsqrt()
        self.layers[-1].scale_output(scale, generator.bn.bias - mean * scale)
        rgb = generator.conv_to_rgb.weight[:3]                                              # 6.
        self.rows = rgb.permute(2, 0, 1, 3).reshape(9, width, 1, 3).contiguous()            # 7.
        self.rgb_bias = generator.conv_to_rgb.bias[:3].contiguous()
        self.style_weight = torch.cat(styles.weights)
        self.style_bias = torch.cat(styles.biases)

    def __call__(self, style: Callable[..., Any], ops: Any) -> Any:
        """Style -> picture (B, 3, H, W) in -1..1; `style` cuts a slice out of it, as (B, channels, size, size)."""
        x = [style(self.start, 4)]
        for layer in self.layers:
            x = layer(x, style, ops)
        rows = ops.join([ops.conv(ops.relu(strip), self.rows) for strip in x])
        return ops.tanh(ops.sum_rows(rows, self.rgb_bias))


class BigGAN:
    """BigGAN-deep as a `Generator`.

    Args:
        model: the library's, with its weights; it is taken apart.
        labels: names of its classes.
        truncation: 0.1..1, which the batch norms look their statistics up by.
        device: "cpu", "cuda", "cuda:N", "mps", or "auto" for the fastest that is there.
        precision: "fp32", "fp16", "bf16", "auto" for fp16 on a GPU where the pictures stay the same, or "lowest" for
            bf16 on a CPU, too, where nearly the same will do.

    Raises:
        ValueError: an unknown truncation, device or precision.
        MediaError: no such device in this machine.
    """

    def __init__(
        self,
        model: Library,
        labels: Sequence[str],
        *,
        truncation: float = 1.0,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        if not 0 < truncation <= 1:
            raise ValueError(f"truncation: {truncation} is not in 0..1")
        self.labels = labels
        self.noise_dim = model.config.z_dim
        self.resolution = model.config.output_dim
        self.embeddings = model.embeddings.weight
        network = Network(model, truncation)
        self.style_weight, self.style_bias = network.style_weight, network.style_bias
        self.backend = backends.start(network, backends.devices(device), precision)
        self.runs_on = self.backend.name

    def frames(self, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Draw pictures; see `musicvideo.vision.generators.Generator`."""
        return fetch(map(to_bytes, self.pictures(noise, classes)))

    def pictures(self, noise: np.ndarray, classes: np.ndarray) -> Iterator[Tensor]:
        """Draw (b, 3, H, W) in -1..1, a few at a time."""
        for styles in self.styles(torch.as_tensor(noise).float(), torch.as_tensor(classes).float()):
            yield self.backend(styles)

    def styles(self, noise: Tensor, classes: Tensor) -> Iterator[Tensor]:
        """Styles (b, S) of noise (B, noise_dim) and class weights (B, classes), a few at a time.

        The matrix is read once for `STYLES` pictures. Fewer are filled up to as many, for a product of another
        shape may round otherwise, and a picture must not depend on which others it comes with.
        """
        for noise, classes in zip(noise.split(STYLES), classes.split(STYLES)):
            count = len(noise)
            noise, classes = (F.pad(rows, (0, 0, 0, STYLES - count)) for rows in (noise, classes))
            condition = torch.cat([noise, F.linear(classes, self.embeddings)], dim=1)
            yield F.linear(condition, self.style_weight, self.style_bias)[:count]


class Pocket(BigGAN):
    """The embedded BigGAN-deep: a small one, trained by this project (see training/pocket), drawing 256x256.

    A song sounds twelve pitches at once, and twelve objects in one are none. So the weaker classes are weakened first,
    and the strongest one to three decide what is seen.
    """

    SHARPENING = 3.0           # power of a class weight, as a share of the strongest: what the network was trained with

    @classmethod
    def sharpened(cls, classes: np.ndarray) -> np.ndarray:
        """Class weights (B, classes), the strongest of each row as it was."""
        strongest = np.maximum(classes.max(axis=1, keepdims=True), 1e-9)
        return strongest * (classes / strongest) ** cls.SHARPENING

    def pictures(self, noise: np.ndarray, classes: np.ndarray) -> Iterator[Tensor]:
        """Draw (b, 3, H, W) in -1..1, a few at a time."""
        return super().pictures(noise, self.sharpened(np.asarray(classes)))


class Reference:
    """The library's own model as a `Generator`: the yardstick, for what is drawn and for how fast.

    Args:
        model, labels, truncation: as for `BigGAN`.
    """

    runs_on = "the library's torch on the CPU, float32"

    def __init__(self, model: Library, labels: Sequence[str], *, truncation: float = 1.0) -> None:
        self.labels = labels
        self.noise_dim = model.config.z_dim
        self.resolution = model.config.output_dim
        self.truncation = truncation
        self.model = model

    def frames(self, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Draw pictures one at a time; see `musicvideo.vision.generators.Generator`."""
        return fetch(to_bytes(self.pictures(*pair)) for pair in zip(noise[:, None], classes[:, None]))

    @torch.inference_mode()
    def pictures(self, noise: np.ndarray, classes: np.ndarray) -> Tensor:
        """Draw (B, 3, H, W) in -1..1, all at once."""
        noise, classes = (torch.as_tensor(vectors).float() for vectors in (noise, classes))
        return self.model(noise, classes, self.truncation)


def to_bytes(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) in -1..1 -> uint8 (B, H, W, 3), as the library's `convert_to_images`."""
    return pictures.permute(0, 2, 3, 1).add(1).mul_(128).clamp_(0, 255).to(torch.uint8)


def fetch(batches: Iterable[Tensor]) -> np.ndarray:
    """Pictures in batches, wherever they were drawn, as one array.

    A batch leaves a CUDA device through pinned memory, while the next one is drawn.
    """
    copies = []
    for batch in batches:
        if batch.is_cuda:
            pinned = torch.empty(batch.shape, dtype=batch.dtype, pin_memory=True)
            copies.append(pinned.copy_(batch, non_blocking=True))
        else:
            copies.append(batch.cpu())
    if batch.is_cuda:
        torch.cuda.synchronize(batch.device)
    return torch.cat(copies).numpy()
