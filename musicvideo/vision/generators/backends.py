"""What computes BigGAN's network: kernels of our own or OpenVINO on CPUs, torch on everything else.

A backend gives the network its operations, all on (B, channels, height, width), and runs it on whole styles.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from platformdirs import user_cache_path
from torch import Tensor

from musicvideo.errors import MediaError
from musicvideo.vision.generators import kernels

try:
    import openvino
    from openvino import opset13 as ov
except ImportError:            # no wheel for this system
    openvino = None


TALL = 128                     # rows of a picture that is cut into strips
STRIPS = 16                    # the largest picture at 512 is 134 MB, a strip of it 8 MB
STREAMS = 4                    # pictures drawn side by side on a CPU, at most; each takes 0.4 GB at 512
KEPT = 4                       # compiled networks on disk, of 7 to 160 MB
GPU_BATCH = 16                 # pictures in a pass on a GPU
FAITHFUL = 50                  # dB PSNR against fp32 that a lower precision must reach to be chosen unasked
# From the pictures of each row of kernels, three channels for each, to those of the kernels: shifted and summed.
ROWS_TO_RGB = torch.eye(9).view(3, 3, 9, 1).permute(1, 2, 0, 3).contiguous()
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Backend(Protocol):
    """Runs a network.

    Attributes:
        name: what computes where and how exactly, for people.
        at_once: pictures in a pass.
    """

    name: str
    at_once: int

    def __call__(self, styles: Tensor) -> Tensor:
        """Styles (B, S) on the CPU -> pictures (B, 3, H, W) in -1..1, wherever they were drawn.

        A picture has the same bits whichever others come with it.
        """


def devices(name: str) -> list[str]:
    """The devices of this machine that a name stands for.

    Args:
        name: "cpu", "cuda", "cuda:N", "mps", or "auto" for all there are.

    Raises:
        ValueError: another name.
        MediaError: not in this machine.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return [kind for kind, present in there.items() if present]
    kind, _, number = name.partition(":")
    if kind not in there or (number and (kind != "cuda" or not number.isdigit())):
        raise ValueError(f"device: unknown name {name!r} (choose auto, cpu, cuda, cuda:N or mps)")
    if not there[kind] or int(number or 0) >= max(1, torch.cuda.device_count()):
        raise MediaError(f"device {name}: not in this machine (choose auto or cpu)")
    return [name]


def start(network: Any, names: Sequence[str], precision: str) -> Backend:
    """The fastest backend on some devices that draws the same pictures.

    Args:
        network: `biggan.Network`.
        names: as `devices` returns them.
        precision: "fp32", "fp16", "bf16", "auto" for the lowest that is faithful on the device, or "lowest" for bf16
            on CPUs that multiply it faster, which is some 28 dB from fp32: enough for a draft, and for nothing else.

    Raises:
        ValueError: an unknown precision, or one that is not faithful on the only device.
    """
    if precision not in ("auto", "lowest", *PRECISIONS):
        raise ValueError(f"precision: unknown {precision!r} (choose auto, {', '.join(PRECISIONS)})")
    if precision in ("fp16", "bf16"):
        names = [name for name in names if name != "cpu"]
        if not names:
            raise ValueError(f"precision: {precision} on a CPU draws other pictures (choose auto or fp32)")
    return fastest([start_on(name, network, precision) for name in names], network)


def start_on(device: str, network: Any, precision: str) -> Backend:
    """The backend of one device; `network` and `precision` as for `start`."""
    if device == "cpu":
        rough = precision == "lowest" and openvino is not None and "BF16" in openvino.Core().get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        )
        lanes = kernels.lanes()
        if not rough and lanes and network.width % (8 * lanes) == 0:
            return KernelBackend(network, lanes)
        if openvino is None:
            return TorchBackend(network, device)
        return OpenVINOBackend(network, "bf16" if rough else "fp32")
    if precision in ("auto", "lowest"):
        precision = "fp16" if is_faithful(network, device, torch.float16) else "fp32"
    return TorchBackend(network, device, PRECISIONS[precision])


def is_faithful(network: Any, device: str, dtype: torch.dtype) -> bool:
    """Whether pictures in a lower precision are those in fp32, by `FAITHFUL`; tried on random conditions."""
    styles = trial(network, 2)
    # One after the other, for a device may not hold both.
    exact, rough = (TorchBackend(network, device, precision)(styles) for precision in (torch.float32, dtype))
    noise = (exact - rough).square().mean()
    return bool(noise.isfinite() and 10 * torch.log10(4 / noise) >= FAITHFUL)


def fastest(backends: Sequence[Backend], network: Any) -> Backend:
    """The backend that draws most pictures a second, measured where there are several."""
    def seconds_a_picture(backend: Backend) -> float:
        styles = trial(network, backend.at_once)
        backend(styles).cpu()                   # the first pass compiles
        start = time.perf_counter()
        backend(styles).cpu()
        return (time.perf_counter() - start) / len(styles)

    return min(backends, key=seconds_a_picture) if len(backends) > 1 else backends[0]


def trial(network: Any, count: int) -> Tensor:
    """Styles (count, S) of random conditions, always the same."""
    conditions = torch.randn(count, network.style_weight.shape[1], generator=torch.Generator().manual_seed(0))
    return F.linear(conditions, network.style_weight, network.style_bias)


def fold_upsampling(weight: Tensor) -> Tensor:
    """3x3 kernels that follow a doubling -> 4x4 kernels of a transposed convolution with stride 2.

    They are the 3x3 kernels convolved with a 2x2 square of ones: 4 multiplications where there were 9.
    """
    taps = F.conv2d(weight.flatten(0, 1)[:, None], torch.ones(1, 1, 2, 2), padding=1)
    return taps.view(*weight.shape[:2], 4, 4).flip(2, 3).transpose(0, 1).contiguous()


def same(weight: Tensor) -> list[int]:
    """Padding with which a convolution keeps a picture's size."""
    return [size // 2 for size in weight.shape[2:]]


def strips_of(height: int) -> int:
    """How many strips a picture is cut into on a CPU."""
    return STRIPS if height >= TALL else 1


class TorchOps:
    """The operations in torch."""

    def __init__(self, place: Callable[[Tensor], Tensor]) -> None:
        self.place = place                      # brings a weight to the device, in its precision and layout
        self.placed: dict[int, Tensor] = {}

    def constant(self, weight: Tensor, fold: Callable[[Tensor], Tensor] = lambda weight: weight) -> Tensor:
        if id(weight) not in self.placed:
            self.placed[id(weight)] = self.place(fold(weight))
        return self.placed[id(weight)]

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, self.constant(weight), None if bias is None else self.constant(bias), padding=same(weight))

    def conv_onto(self, y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return y + self.conv(x, weight, bias)

    def doubling_conv(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.constant(weight, fold_upsampling), stride=2, padding=1)

    def sum_rows(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.conv(x, ROWS_TO_RGB, bias)

    def affine_relu(self, x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        return torch.addcmul(offset, x, scale).relu_()

    def scale(self, x: Tensor, scale: Tensor) -> Tensor:
        return x * self.constant(scale)

    def relu(self, x: Tensor) -> Tensor:
        return x.relu()

    def tanh(self, x: Tensor) -> Tensor:
        return x.tanh()

    def join(self, strips: list[Tensor]) -> Tensor:
        (whole,) = strips
        return whole

    def cut(self, x: Tensor) -> list[Tensor]:
        return [x]                              # a GPU has no use for strips

    def channels(self, x: Tensor, count: int) -> Tensor:
        return x[:, :count]

    def double(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest")

    def halve(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2)

    def attention(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        tokens = (x.flatten(2).transpose(1, 2)[:, None] for x in (query, key, value))
        attended = F.scaled_dot_product_attention(*tokens, scale=1.0)
        return attended[:, 0].transpose(1, 2).unflatten(2, query.shape[2:])


class TorchBackend:
    """The network in torch, on any device.

    Args:
        network: `biggan.Network`.
        device: "cpu", "cuda", "cuda:N" or "mps".
        dtype: precision of weights and pictures.
    """

    def __init__(self, network: Any, device: str, dtype: torch.dtype = torch.float32) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self.name = f"torch on {device}, {str(dtype).removeprefix('torch.')}"
        self.network = network
        self.at_once = 1 if self.device.type == "cpu" else GPU_BATCH
        self.ops = TorchOps(self.place)
        self.recorded: RecordedPass | None = None
        if self.device.type == "cuda":
            # Else fp32 is rounded to the ten bits of TF32, and two runs may take kernels that round differently.
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.deterministic = True

    def place(self, weight: Tensor) -> Tensor:
        layout = torch.channels_last if weight.dim() == 4 else torch.preserve_format
        return weight.to(self.device, self.dtype, memory_format=layout)

    def __call__(self, styles: Tensor) -> Tensor:
        while True:
            try:
                # Always as many in a pass: for other sizes the library may take other kernels, and round otherwise.
                filled = F.pad(styles, (0, 0, 0, -len(styles) % self.at_once))
                return torch.cat([self.draw(part) for part in filled.split(self.at_once)])[:len(styles)]
            except RuntimeError as error:       # MPS has no class of its own for it
                if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error):
                    raise
                if self.at_once == 1:
                    raise MediaError(
                        f"{self.device}: its memory does not hold one picture (choose a smaller resolution, or cpu)"
                    ) from None
                self.at_once //= 2
                self.recorded = None
            torch.cuda.empty_cache()            # only now: the error holds on to the tensors of its frames

    @torch.inference_mode()
    def draw(self, styles: Tensor) -> Tensor:
        """Styles (b, S) -> pictures (b, 3, H, W) in -1..1."""
        styles = styles.to(self.device, self.dtype)
        if self.device.type != "cuda":
            return self.compute(styles)
        if self.recorded is None:
            self.recorded = RecordedPass(self.compute, styles)
        return self.recorded(styles)

    def compute(self, styles: Tensor) -> Tensor:
        """As `draw`, on the device."""
        def style(place: slice, size: int = 1) -> Tensor:
            return self.place(styles[:, place].reshape(len(styles), -1, size, size))

        return self.network(style, self.ops).float()


class RecordedPass:
    """A computation recorded as a CUDA graph: its hundreds of kernels start with one call, and none waits for Python.

    Args:
        compute: from a tensor to a tensor, both on a CUDA device, always the same kernels.
        example: what it is given, of the shape that it will always have.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], example: Tensor) -> None:
        self.device = example.device
        self.given = example.clone()
        with torch.cuda.device(self.device):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                compute(self.given)             # weights come to the device, libraries set themselves up
            torch.cuda.current_stream().wait_stream(aside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.result = compute(self.given)

    def __call__(self, given: Tensor) -> Tensor:
        with torch.cuda.device(self.device):
            self.given.copy_(given)
            self.graph.replay()
            return self.result.clone()


class OpenVINOOps:
    """The operations as nodes of an OpenVINO graph."""

    def constant(self, weight: Tensor) -> Any:
        return ov.constant(weight.numpy())

    def conv(self, x: Any, weight: Tensor, bias: Tensor | None = None) -> Any:
        out = ov.convolution(x, self.constant(weight), [1, 1], same(weight), same(weight), [1, 1])
        return out if bias is None else ov.add(out, self.constant(bias.view(1, -1, 1, 1)))

    def conv_onto(self, y: Any, x: Any, weight: Tensor, bias: Tensor | None = None) -> Any:
        return ov.add(self.conv(x, weight, bias), y)

    def doubling_conv(self, x: Any, weight: Tensor) -> Any:
        weight = self.constant(fold_upsampling(weight))
        return ov.convolution_backprop_data(x, weight, [2, 2], pads_begin=[1, 1], pads_end=[1, 1])

    def sum_rows(self, x: Any, bias: Tensor) -> Any:
        return self.conv(x, ROWS_TO_RGB, bias)

    def affine_relu(self, x: Any, scale: Any, offset: Any) -> Any:
        return ov.relu(ov.add(ov.multiply(x, scale), offset))

    def scale(self, x: Any, scale: Tensor) -> Any:
        return ov.multiply(x, self.constant(scale))

    def relu(self, x: Any) -> Any:
        return ov.relu(x)

    def tanh(self, x: Any) -> Any:
        return ov.tanh(x)

    def join(self, strips: list[Any]) -> Any:
        return ov.concat(strips, 2) if len(strips) > 1 else strips[0]

    def cut(self, x: Any, count: int | None = None) -> list[Any]:
        height = x.shape[2]
        if count is None:
            count = strips_of(height)
        rows = height // count
        return [ov.slice(x, [top], [top + rows], [1], [2]) for top in range(0, height, rows)] if count > 1 else [x]

    def channels(self, x: Any, count: int) -> Any:
        return ov.slice(x, [0], [count], [1], [1])

    def double(self, x: Any) -> Any:
        scales, axes = np.full(2, 2, np.float32), np.array([2, 3])
        return ov.interpolate(
            x, scales, "nearest", "scales", axes=axes,
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    def halve(self, x: Any) -> Any:
        return ov.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)

    def attention(self, query: Any, key: Any, value: Any) -> Any:
        # As products of matrices: the CPU plugin's fused attention is slower at these shapes.
        rows = [self.reshape(x, 1, x.shape[1], x.shape[2] * x.shape[3]) for x in (query, key, value)]
        shares = ov.softmax(ov.matmul(rows[0], rows[1], True, False), 2)
        return self.reshape(ov.matmul(rows[2], shares, False, True), 1, value.shape[1], *query.shape[2:])

    def reshape(self, x: Any, *shape: int) -> Any:
        return ov.reshape(x, np.array(shape), False)


def cache() -> Path:
    """The folder of compiled networks."""
    return user_cache_path("musicvideo") / "openvino"


def forget_the_oldest() -> None:
    """Delete all compiled networks but those used last, as far as this process may."""
    def last_used(file: Path) -> float:
        times = file.stat()
        return max(times.st_atime, times.st_mtime)

    with suppress(OSError):                     # another process may be faster, or still read
        for file in sorted(cache().glob("*.blob"), key=last_used)[:-KEPT]:
            file.unlink()


class OpenVINOBackend:
    """The network compiled by OpenVINO for the CPU.

    What is compiled is kept on disk, `KEPT` of them: the next start takes half the time.

    Args:
        network: `biggan.Network`.
        precision: "fp32" or "bf16".
    """

    def __init__(self, network: Any, precision: str = "fp32") -> None:
        ops = OpenVINOOps()
        styles = ov.parameter([1, len(network.style_bias)], np.float32)

        def style(place: slice, size: int = 1) -> Any:
            return ops.reshape(ov.slice(styles, [place.start], [place.stop], [1], [1]), 1, -1, size, size)

        model = openvino.Model([network(style, ops)], [styles], "biggan")
        # Names that OpenVINO gives are numbers that go on counting, and it would not find what it kept.
        model.input(0).get_tensor().set_names({"styles"})
        model.output(0).get_tensor().set_names({"picture"})
        # One thread a picture and several pictures side by side: threads of one picture wait for each other.
        cores = torch.get_num_threads()
        streams = min(cores, STREAMS)
        settings = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": cores // streams * streams,     # as many for each, so that all round alike
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        }
        with suppress(OSError):                 # what cannot be kept is done without
            cache().mkdir(parents=True, exist_ok=True)
            settings["CACHE_DIR"] = str(cache())            # OpenVINO compiles anew what it finds damaged
        self.name = f"OpenVINO on the CPU, {str(PRECISIONS[precision]).removeprefix('torch.')}"
        self.at_once = streams
        self.compiled = openvino.Core().compile_model(model, "CPU", settings)
        forget_the_oldest()
        self.queue = openvino.AsyncInferQueue(self.compiled, streams)
        self.queue.set_callback(self.keep)
        self.pictures: Tensor

    def __call__(self, styles: Tensor) -> Tensor:
        self.pictures = torch.empty(len(styles), *self.compiled.output(0).shape[1:])
        for index, style in enumerate(styles.split(1)):
            self.queue.start_async(style.numpy(), userdata=index)
        self.queue.wait_all()
        return self.pictures

    def keep(self, request: Any, index: int) -> None:
        """Take a finished picture out of its request."""
        self.pictures[index] = torch.from_numpy(request.get_output_tensor().data[0])


@dataclass
class Rows:
    """Rows of tiles of a convolution, computed when they are wanted: as strips, they are used while in the cache."""

    compute: Callable[[int, int], Tensor]       # from a row to a row
    begin: int
    end: int
    width: int                                  # in pixels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.end - self.begin) * kernels.TILE, self.width

    def __call__(self) -> Tensor:
        return self.compute(self.begin, self.end)

    def cut(self, count: int) -> list[Rows]:
        step = (self.end - self.begin) // count
        return [Rows(self.compute, begin, begin + step, self.width) for begin in range(self.begin, self.end, step)]


@dataclass
class Activated:
    """A picture whose affine and ReLU are done on its way into a convolution."""

    x: Tensor | Rows
    scale: Tensor
    offset: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.x.size if isinstance(self.x, Rows) else tuple(self.x.shape[:2])

    def picture(self) -> Tensor:
        return self.x() if isinstance(self.x, Rows) else self.x


@dataclass
class Skip:
    """A picture that is scaled, and doubled maybe, on its way onto the result of a convolution."""

    x: Tensor
    factor: Tensor | None = None
    doubled: bool = False


class KernelOps:
    """The operations by kernels of our own. Pictures are (height, width, channels).

    Args:
        lanes: numbers in a register of the processor.
        parts: that an operation is shared out in.
        cores: threads that compute the parts of several pictures.
    """

    def __init__(self, lanes: int, parts: int = 1, cores: int = 1) -> None:
        self.kernels = kernels.compiled(lanes)
        self.parts = parts
        self.pool = ThreadPoolExecutor(cores)
        self.packing = threading.Lock()
        self.placed: dict[int, tuple[Tensor, Tensor]] = {}
        self.unused: defaultdict[int, list[np.ndarray]] = defaultdict(list)

    def empty(self, *shape: int) -> Tensor:
        """A tensor in memory that the process already has: new pages cost as much as what is written on them."""
        size = math.prod(shape)
        try:
            memory = self.unused[size].pop()
        except IndexError:
            memory = torch.empty(size).numpy()      # at whole cache lines, which numpy's is not
        borrowed = memory[:]                    # lives until the last tensor on it is gone
        weakref.finalize(borrowed, self.unused[size].append, memory).atexit = False
        return torch.from_numpy(borrowed).view(shape)

    def constant(self, weight: Tensor, arrange: Callable[[Tensor], Tensor]) -> Tensor:
        with self.packing:                      # several pictures begin at the same time
            if id(weight) not in self.placed:   # which holds on to the weight, so that no other gets its id
                self.placed[id(weight)] = weight, self.kernels.pack(arrange(weight))
            return self.placed[id(weight)][1]

    def share(self, begin: int, end: int, step: int, work: int, compute: Callable[[int, int, int], None]) -> None:
        """Have threads compute a part each, from a place to a place in whole steps, with room for `work` numbers."""
        part = -(-(end - begin) // (step * self.parts)) * step

        def run(first: int) -> None:
            room = self.empty(work)
            compute(room.data_ptr(), first, min(first + part, end))

        if begin + part >= end:
            return run(begin)
        running = [self.pool.submit(run, first) for first in range(begin, end, part)]
        wait(running)                           # all, even if one fails: they write where they were told to
        for one in running:
            one.result()

    def pointwise(
        self, x: Tensor | Activated, matrix: Tensor, skip: Skip | None = None, bias: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        """(H, W, C) times a packed matrix -> (H, W, N), with what packing filled up; nothing, if there is a skip."""
        scale = offset = beside = factor = None
        if isinstance(x, Activated):
            x, scale, offset = x.picture(), x.scale, x.offset
        height, width, channels = x.shape
        out_channels = len(matrix) * self.kernels.width
        y = self.empty(height, width, out_channels)
        stride = doubled = 0
        if skip is not None:
            beside, stride, doubled = skip.x, skip.x.stride(1), int(skip.doubled)
            factor = torch.ones(out_channels) if skip.factor is None else skip.factor
            bias = torch.zeros(out_channels) if bias is None else bias
        addresses = [
            None if array is None else array.data_ptr()
            for array in (x, scale, offset, matrix, bias, beside, factor, y)
        ]
        self.share(
            0, height * width, kernels.BLOCK, kernels.BLOCK * channels,
            lambda room, first, last: self.kernels.pointwise(
                *addresses, room, first, last, width, channels, out_channels, stride, doubled
            ),
        )  # fmt: skip
        return y

    def winograd(self, x: Activated, weight: Tensor, doubled: bool) -> Rows:
        """A 3x3 convolution."""
        picture = x.picture()
        height, width = (size << doubled for size in picture.shape[:2])
        out_channels, channels = weight.shape[:2]
        matrix = self.constant(weight, kernels.transform_kernels)
        group, work = self.kernels.group(height, width, channels)

        def rows(begin: int, end: int) -> Tensor:
            y = self.empty((end - begin) * kernels.TILE, width, out_channels)
            whole = y.data_ptr() - begin * kernels.TILE * width * out_channels * y.itemsize
            addresses = *(array.data_ptr() for array in (picture, x.scale, x.offset, matrix)), whole
            self.share(
                begin, end, group, work,
                lambda room, first, last: self.kernels.winograd(
                    *addresses, room, first, last, height, width, channels, out_channels, group, doubled
                ),
            )  # fmt: skip
            return y

        return Rows(rows, 0, height // kernels.TILE, width)

    def by_taps(self, x: Tensor | Activated, weight: Tensor, doubled: bool = False) -> Tensor:
        """A convolution as a pointwise one for each tap of the kernel, whose pictures are shifted and summed.

        For small pictures and few channels. A doubled picture is doubled after the multiplications.
        """
        out_channels, _, *size = weight.shape
        y = self.pointwise(x, self.constant(weight, lambda weight: weight.permute(2, 3, 0, 1).flatten(0, 2)))
        y = y.repeat_interleave(2, 0).repeat_interleave(2, 1) if doubled else y
        total = torch.zeros(*y.shape[:2], out_channels)
        for tap, (down, across) in enumerate(itertools.product(*(range(length) for length in size))):
            down, across = down - size[0] // 2, across - size[1] // 2
            part = y[..., tap * out_channels:(tap + 1) * out_channels]
            total[onto(down), onto(across)] += part[onto(-down), onto(-across)]
        return total

    def matrix(self, weight: Tensor) -> Tensor:
        """The packed matrix of 1x1 kernels."""
        return self.constant(weight, lambda weight: weight[..., 0, 0])

    def conv_onto(
        self, y: Tensor | Skip, x: Tensor | Activated, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        return self.pointwise(x, self.matrix(weight), y if isinstance(y, Skip) else Skip(y), bias)

    def conv(self, x: Tensor | Activated, weight: Tensor) -> Tensor | Rows:
        if weight.shape[2:] == (1, 1):
            return self.pointwise(x, self.matrix(weight))
        if isinstance(x, Activated) and self.kernels.fits(*x.size, weight):
            return self.winograd(x, weight, doubled=False)
        return self.by_taps(x, weight)

    def doubling_conv(self, x: Activated, weight: Tensor) -> Tensor | Rows:
        height, width = x.size
        if self.kernels.fits(2 * height, 2 * width, weight):
            return self.winograd(x, weight, doubled=True)
        return self.by_taps(x, weight, doubled=True)

    def sum_rows(self, x: Tensor, bias: Tensor) -> Tensor:
        total = bias.expand(*x.shape[:2], 3).contiguous()
        for down, part in zip((-1, 0, 1), x.split(3, 2)):
            total[onto(down)] += part[onto(-down)]
        return total

    def affine_relu(self, x: Tensor | Rows, scale: Tensor, offset: Tensor) -> Activated:
        return Activated(x, scale, offset)

    def relu(self, x: Tensor) -> Activated:
        return Activated(x, torch.ones(x.shape[2]), torch.zeros(x.shape[2]))

    def scale(self, x: Tensor, scale: Tensor) -> Skip:
        return Skip(x, scale)

    def tanh(self, x: Tensor) -> Tensor:
        return x.tanh()

    def join(self, strips: list[Tensor]) -> Tensor:
        if len(strips) == 1:
            return strips[0]
        return torch.cat(strips, out=self.empty(sum(map(len, strips)), *strips[0].shape[1:]))

    def cut(self, x: Tensor | Rows, count: int | None = None) -> Sequence[Tensor | Rows]:
        if count is None:                       # the more share the work of a strip, the larger it should be
            count = max(1, strips_of(x.size[0] if isinstance(x, Rows) else len(x)) // self.parts)
        return x.cut(count) if isinstance(x, Rows) else x.chunk(count)

    def channels(self, x: Tensor, count: int) -> Tensor:
        return x[..., :count]

    def double(self, x: Tensor | Skip) -> Skip:
        return Skip(x.x, x.factor, doubled=True) if isinstance(x, Skip) else Skip(x, doubled=True)

    def halve(self, x: Tensor) -> Tensor:
        x = torch.maximum(x[0::2], x[1::2])
        return torch.maximum(x[:, 0::2], x[:, 1::2])

    def attention(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        key, value = key.flatten(0, 1), value.flatten(0, 1)
        scores = self.pointwise(query, self.kernels.pack(key))[..., :len(key)]
        shares = torch.softmax(scores, 2, out=self.empty(*scores.shape))
        return self.pointwise(shares, self.kernels.pack(value.T))


def onto(shift: int) -> slice:
    """The pixels of a row that another row, shifted so far back, lies on."""
    return slice(max(0, -shift), -shift if shift > 0 else None)


class KernelBackend:
    """The network by kernels of our own on a CPU, a picture a thread: threads of one picture wait for each other.

    Args:
        network: `biggan.Network`, its width a multiple of 8 * `lanes`.
        lanes: numbers in a register of the processor.
    """

    def __init__(self, network: Any, lanes: int) -> None:
        cores = torch.get_num_threads()
        self.at_once = min(cores, STREAMS)
        self.name = f"kernels of {lanes} lanes on the CPU, float32"
        self.network = network
        parts = -(-cores // self.at_once)
        self.ops = KernelOps(lanes, parts, cores)
        # Torch starts as many threads of its own in each of these, and in all threads that begin later.
        self.pool = ThreadPoolExecutor(self.at_once, initializer=torch.set_num_threads, initargs=(parts,))

    def __call__(self, styles: Tensor) -> Tensor:
        return torch.stack(list(self.pool.map(self.draw, styles)))

    @torch.inference_mode()
    def draw(self, row: Tensor) -> Tensor:
        """A style (S) -> picture (3, H, W)."""
        def style(place: slice, size: int = 1) -> Tensor:
            part = row[place]
            return part if size == 1 else part.view(-1, size, size).permute(1, 2, 0).contiguous()

        return self.network(style, self.ops).permute(2, 0, 1)
