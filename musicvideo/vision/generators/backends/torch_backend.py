"""The network in torch, on any device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from musicvideo.errors import MediaError
from musicvideo.vision.generators.backends.operations import fold_upsampling, row_kernels, same_padding

if TYPE_CHECKING:
    from musicvideo.vision.generators.biggan.network import Network

GPU_BATCH = 16  # pictures in a pass on a GPU


class TorchOps:
    """`Operations` in torch.

    Args:
        place: brings a weight to the device, in its precision and layout.
    """

    def __init__(self, place: Callable[[Tensor], Tensor]) -> None:
        self.place = place
        self.placed: dict[int, Tensor] = {}

    def constant(self, weight: Tensor, fold: Callable[[Tensor], Tensor] = lambda weight: weight) -> Tensor:
        if id(weight) not in self.placed:
            self.placed[id(weight)] = self.place(fold(weight))
        return self.placed[id(weight)]

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        offset = None if bias is None else self.constant(bias)
        return F.conv2d(x, self.constant(weight), offset, padding=same_padding(weight))

    def conv_add(self, y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return y + self.conv(x, weight, bias)

    def upsample_conv(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.constant(weight, fold_upsampling), stride=2, padding=1)

    def sum_rows(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.conv(x, row_kernels(len(bias)), bias)

    def affine_relu(self, x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        return torch.addcmul(offset, x, scale).relu_()

    def scale(self, x: Tensor, scale: Tensor) -> Tensor:
        return x * self.constant(scale)

    def relu(self, x: Tensor) -> Tensor:
        return x.relu()

    def tanh(self, x: Tensor) -> Tensor:
        return x.tanh()

    def concat(self, strips: Sequence[Tensor]) -> Tensor:
        (whole,) = strips
        return whole

    def split(self, x: Tensor, count: int | None = None) -> list[Tensor]:
        return [x]  # strips are for the caches of CPUs

    def first_channels(self, x: Tensor, count: int) -> Tensor:
        return x[:, :count]

    def upsample(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest")

    def max_pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2)

    def attention(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (x.flatten(2).transpose(1, 2)[:, None] for x in (query, key, value))
        attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return attended[:, 0].transpose(1, 2).unflatten(2, query.shape[2:])


class TorchBackend:
    """The network in torch, on any device.

    Args:
        network: to run.
        device: "cpu", "cuda", "cuda:N" or "mps".
        dtype: precision of weights and pictures.
    """

    def __init__(self, network: Network, device: str, dtype: torch.dtype = torch.float32) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self.name = f"torch on {device}, {str(dtype).removeprefix('torch.')}"
        self.network = network
        self.batch = 1 if self.device.type == "cpu" else GPU_BATCH
        self.ops = TorchOps(self.place)
        self.recorded: RecordedPass | None = None
        if self.device.type == "cuda":
            # Else fp32 is rounded to the ten bits of TF32, and two runs may choose kernels that round differently.
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.deterministic = True

    def place(self, weight: Tensor) -> Tensor:
        layout = torch.channels_last if weight.dim() == 4 else torch.preserve_format
        return weight.to(self.device, self.dtype, memory_format=layout)

    def __call__(self, styles: Tensor) -> Tensor:
        while True:
            try:
                # Always as many in a pass: for another number the library may choose kernels that round differently.
                filled = F.pad(styles, (0, 0, 0, -len(styles) % self.batch))
                return torch.cat([self.draw(part) for part in filled.split(self.batch)])[: len(styles)]
            except RuntimeError as error:  # MPS has no class of its own for it
                if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error):
                    raise
                if self.batch == 1:
                    raise MediaError(
                        f"{self.device}: its memory does not hold one picture (choose a smaller resolution, or cpu)"
                    ) from None
                self.batch //= 2
                self.recorded = None
            torch.cuda.empty_cache()  # only here: the error keeps the tensors of its frames until it is handled

    @torch.inference_mode()
    def draw(self, styles: Tensor) -> Tensor:
        """Styles (b, S) -> pictures (b, C, H, W) in -1..1."""
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

    @property
    def computed_by(self) -> Mapping[str, str]:
        found = {"backend": self.name, "batch": str(self.batch)}
        if self.device.type == "cuda":
            found["gpu"] = torch.cuda.get_device_name(self.device)
            found["cuda"] = f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        elif self.device.type == "cpu":
            found["threads"] = str(torch.get_num_threads())
        return found


class RecordedPass:
    """A computation recorded as a CUDA graph: its hundreds of kernels start with one call, and none waits for Python.

    Args:
        compute: from a tensor to a tensor, both on a CUDA device, always the same kernels.
        example: an input, with the shape of every later one.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], example: Tensor) -> None:
        self.device = example.device
        self.given = example.clone()
        with torch.cuda.device(self.device):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                compute(self.given)  # weights come to the device, libraries set themselves up
            torch.cuda.current_stream().wait_stream(aside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.result = compute(self.given)

    def __call__(self, given: Tensor) -> Tensor:
        with torch.cuda.device(self.device):
            self.given.copy_(given)
            self.graph.replay()
            return self.result.clone()
