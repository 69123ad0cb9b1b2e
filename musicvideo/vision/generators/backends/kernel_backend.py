"""The network by kernels of our own (`musicvideo.vision.generators.kernels`), on x86 CPUs.

Pictures are (height, width, channels). The operations around a convolution are not computed separately: `Activated`,
`Rows` and `Skip` stand for pictures that the next kernel computes as it reads or writes.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from musicvideo.vision.generators import hardware, kernels
from musicvideo.vision.generators.backends.memory import MemoryPool
from musicvideo.vision.generators.backends.operations import STREAMS, strips_of

if TYPE_CHECKING:
    from musicvideo.vision.generators.biggan.network import Network


@dataclass
class Rows:
    """Rows of tiles of a convolution, computed when called, so that each strip is used while it is in the cache."""

    compute: Callable[[int, int], Tensor]  # (begin, end) in rows of tiles -> (H, W, N)
    begin: int
    end: int
    width: int  # in pixels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.end - self.begin) * kernels.TILE, self.width

    def __call__(self) -> Tensor:
        return self.compute(self.begin, self.end)

    def split(self, count: int) -> list[Rows]:
        step = (self.end - self.begin) // count
        return [Rows(self.compute, begin, begin + step, self.width) for begin in range(self.begin, self.end, step)]


@dataclass
class Activated:
    """A picture (H, W, C) whose affine and ReLU are computed when a convolution reads it."""

    x: Tensor | Rows
    scale: Tensor
    offset: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.x.size if isinstance(self.x, Rows) else (self.x.shape[0], self.x.shape[1])

    def picture(self) -> Tensor:
        return self.x() if isinstance(self.x, Rows) else self.x


@dataclass
class Skip:
    """A picture that is scaled, and doubled if asked, when it is added to the result of a convolution."""

    x: Tensor
    factor: Tensor | None = None
    upsampled: bool = False


class KernelOps:
    """`Operations` by kernels of our own. Pictures are (height, width, channels).

    Args:
        lanes: float32 numbers in a vector register of the processor, 8 or 16.
        parts: how many parts an operation is divided into.
        cores: threads that compute the parts of all pictures.
    """

    def __init__(self, lanes: int, parts: int = 1, cores: int = 1) -> None:
        self.kernels = kernels.compiled(lanes)
        self.parts = parts
        self.pool = ThreadPoolExecutor(cores)
        self.packing = threading.Lock()
        self.packed: dict[int, tuple[Tensor, Tensor]] = {}
        self.memory = MemoryPool()
        self.empty = self.memory.empty

    def constant(self, weight: Tensor, arrange: Callable[[Tensor], Tensor]) -> Tensor:
        """A weight, arranged and packed once."""
        with self.packing:  # several pictures begin at the same time
            if id(weight) not in self.packed:  # the entry keeps the weight alive, so no other gets its id
                self.packed[id(weight)] = weight, self.kernels.pack(arrange(weight))
            return self.packed[id(weight)][1]

    def share(self, begin: int, end: int, step: int, work: int, compute: Callable[[Tensor, int, int], None]) -> None:
        """Have threads compute a part each.

        Args:
            begin, end, step: parts are ranges in begin..end, in whole steps.
            work: numbers of scratch memory that a part needs.
            compute: called with scratch memory, begin and end of a part.
        """
        part = -(-(end - begin) // (step * self.parts)) * step

        def run(first: int) -> None:
            compute(self.empty(work), first, min(first + part, end))

        if begin + part >= end:
            return run(begin)
        running = [self.pool.submit(run, first) for first in range(begin, end, part)]
        wait(running)  # all, even if one fails: they write to memory of this call
        for one in running:
            one.result()

    def pointwise(
        self, x: Tensor | Activated, matrix: Tensor, skip: Skip | None = None, bias: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        """(H, W, C) times a packed matrix, plus bias and skip path if there is one -> (H, W, N), N as packed."""
        scale = offset = beside = factor = None
        if isinstance(x, Activated):
            picture, scale, offset = x.picture(), x.scale, x.offset
        else:
            picture = x
        height, width, channels = picture.shape
        out_channels = len(matrix) * self.kernels.width
        y = self.empty(height, width, out_channels)
        if skip is not None:
            beside = skip.x
            factor = torch.ones(out_channels) if skip.factor is None else skip.factor
            bias = torch.zeros(out_channels) if bias is None else bias
        self.share(
            0, height * width, kernels.PIXELS, kernels.PIXELS * channels,
            lambda work, begin, end: self.kernels.pointwise(
                picture, matrix, y, work, begin, end, scale=scale, offset=offset, bias=bias, skip=beside, factor=factor,
                upsampled=skip is not None and skip.upsampled,
            ),
        )  # fmt: skip
        return y

    def winograd(self, x: Activated, weight: Tensor, upsampled: bool) -> Rows:
        """A 3x3 convolution, (H, W, C) -> (H, W, N), or (2H, 2W, N) if upsampled."""
        picture = x.picture()
        height, width = (size << upsampled for size in picture.shape[:2])
        out_channels, channels = weight.shape[:2]
        matrix = self.constant(weight, kernels.transform_kernels)
        group, work = self.kernels.group(height, width, channels)

        def rows(begin: int, end: int) -> Tensor:
            y = self.empty((end - begin) * kernels.TILE, width, out_channels)
            self.share(
                begin, end, group, work,
                lambda room, first, last: self.kernels.winograd(
                    picture, x.scale, x.offset, matrix, y, room, first, last,
                    top=begin, group=group, upsampled=upsampled,
                ),
            )  # fmt: skip
            return y

        return Rows(rows, 0, height // kernels.TILE, width)

    def by_taps(self, x: Tensor | Activated, weight: Tensor, upsampled: bool = False) -> Tensor:
        """A convolution as a pointwise one for each tap of the kernel, whose pictures are shifted and summed.

        For small pictures and few channels. Upsampling is done after the multiplications.
        """
        out_channels, _, *size = weight.shape
        y = self.pointwise(x, self.constant(weight, lambda weight: weight.permute(2, 3, 0, 1).flatten(0, 2)))
        y = y.repeat_interleave(2, 0).repeat_interleave(2, 1) if upsampled else y
        total = torch.zeros(*y.shape[:2], out_channels)
        for tap, (down, across) in enumerate(itertools.product(*(range(length) for length in size))):
            down, across = down - size[0] // 2, across - size[1] // 2
            part = y[..., tap * out_channels : (tap + 1) * out_channels]
            total[shifted(down), shifted(across)] += part[shifted(-down), shifted(-across)]
        return total

    def matrix(self, weight: Tensor) -> Tensor:
        """The packed matrix of 1x1 kernels."""
        return self.constant(weight, lambda weight: weight[..., 0, 0])

    def conv_add(
        self, y: Tensor | Skip, x: Tensor | Activated, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        return self.pointwise(x, self.matrix(weight), y if isinstance(y, Skip) else Skip(y), bias)

    def conv(self, x: Tensor | Activated, weight: Tensor) -> Tensor | Rows:
        if weight.shape[2:] == (1, 1):
            return self.pointwise(x, self.matrix(weight))
        if isinstance(x, Activated) and self.kernels.fits(*x.size, weight):
            return self.winograd(x, weight, upsampled=False)
        return self.by_taps(x, weight)

    def upsample_conv(self, x: Activated, weight: Tensor) -> Tensor | Rows:
        height, width = x.size
        if self.kernels.fits(2 * height, 2 * width, weight):
            return self.winograd(x, weight, upsampled=True)
        return self.by_taps(x, weight, upsampled=True)

    def sum_rows(self, x: Tensor, bias: Tensor) -> Tensor:
        total = bias.expand(*x.shape[:2], len(bias)).contiguous()
        for down, part in zip((-1, 0, 1), x.split(len(bias), 2)):
            total[shifted(down)] += part[shifted(-down)]
        return total

    def affine_relu(self, x: Tensor | Rows, scale: Tensor, offset: Tensor) -> Activated:
        return Activated(x, scale, offset)

    def relu(self, x: Tensor) -> Activated:
        return Activated(x, torch.ones(x.shape[2]), torch.zeros(x.shape[2]))

    def scale(self, x: Tensor, scale: Tensor) -> Skip:
        return Skip(x, scale)

    def tanh(self, x: Tensor) -> Tensor:
        return x.tanh()

    def concat(self, strips: Sequence[Tensor]) -> Tensor:
        if len(strips) == 1:
            return strips[0]
        return torch.cat(list(strips), out=self.empty(sum(map(len, strips)), *strips[0].shape[1:]))

    def split(self, x: Tensor | Rows, count: int | None = None) -> Sequence[Tensor | Rows]:
        if count is None:  # the more threads share a strip, the larger it should be
            count = max(1, strips_of(x.size[0] if isinstance(x, Rows) else len(x)) // self.parts)
        return x.split(count) if isinstance(x, Rows) else x.chunk(count)

    def first_channels(self, x: Tensor, count: int) -> Tensor:
        return x[..., :count]

    def upsample(self, x: Tensor | Skip) -> Skip:
        return Skip(x.x, x.factor, upsampled=True) if isinstance(x, Skip) else Skip(x, upsampled=True)

    def max_pool(self, x: Tensor) -> Tensor:
        x = torch.maximum(x[0::2], x[1::2])
        return torch.maximum(x[:, 0::2], x[:, 1::2])

    def attention(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        key, value = key.flatten(0, 1), value.flatten(0, 1)
        scores = self.pointwise(query, self.kernels.pack(key))[..., : len(key)]
        shares = torch.softmax(scores, 2, out=self.empty(*scores.shape))
        return self.pointwise(shares, self.kernels.pack(value.T))


def shifted(shift: int) -> slice:
    """The part of a row that overlaps with the same row shifted back by `shift` pixels."""
    return slice(max(0, -shift), -shift if shift > 0 else None)


def suits(network: Network, lanes: int) -> bool:
    """Whether the kernels can compute a network: a quarter of its width must fill whole pairs of registers."""
    return network.width % (8 * lanes) == 0


class KernelBackend:
    """The network by kernels of our own, one thread per picture: threads of one picture would wait for each other.

    Args:
        network: to run; see `suits`.
        lanes: float32 numbers in a vector register of the processor.

    Raises:
        ValueError: a network that the kernels cannot compute.
    """

    def __init__(self, network: Network, lanes: int) -> None:
        if not suits(network, lanes):
            raise ValueError(f"width: {network.width} is not a multiple of {8 * lanes}, which {lanes} lanes need")
        cores = torch.get_num_threads()
        self.batch = min(cores, STREAMS)
        self.name = f"kernels of {lanes} lanes on the CPU, float32"
        self.network = network
        parts = -(-cores // self.batch)
        self.ops = KernelOps(lanes, parts, cores)
        # Torch starts as many threads of its own in each of these, and in all threads that begin later.
        self.pool = ThreadPoolExecutor(self.batch, initializer=torch.set_num_threads, initargs=(parts,))

    @property
    def computed_by(self) -> Mapping[str, str]:
        return {"backend": self.name, **hardware.versions("llvmlite")}

    def __call__(self, styles: Tensor) -> Tensor:
        running = [self.pool.submit(self.draw, row) for row in styles]
        try:
            return torch.stack([one.result() for one in running])
        finally:  # after Ctrl-C: start nothing new, let running work end
            for one in running:
                one.cancel()
            wait(running)

    @torch.inference_mode()
    def draw(self, row: Tensor) -> Tensor:
        """A style (S) -> picture (C, H, W)."""

        def style(place: slice, size: int = 1) -> Tensor:
            part = row[place]
            return part if size == 1 else part.view(-1, size, size).permute(1, 2, 0).contiguous()

        return self.network(style, self.ops).permute(2, 0, 1)
