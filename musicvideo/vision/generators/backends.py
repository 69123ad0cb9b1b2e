"""What computes BigGAN's network: OpenVINO on CPUs, plain torch on everything else.

A backend gives the network its operations, all on (B, channels, height, width), and runs it on whole styles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from platformdirs import user_cache_path
from torch import Tensor

from musicvideo.media import MediaError

try:
    import openvino
    from openvino import opset13 as ov
except ImportError:            # no wheel for this system
    openvino = None


class Backend(Protocol):
    """Runs a network.

    Attributes:
        batch: pictures in a pass; the same for all passes, for other sizes may take other kernels and round otherwise.
    """

    batch: int

    def __call__(self, styles: Tensor) -> Tensor:
        """Styles (batch, S) on the CPU -> pictures (batch, 3, H, W) in -1..1, wherever they were drawn."""


def choose_device(name: str) -> str:
    """The device to draw on.

    Args:
        name: "auto" for a GPU where there is one, else "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        ValueError: another name.
        MediaError: not in this machine.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    kind, _, number = name.partition(":")
    if kind not in there or (number and (kind != "cuda" or not number.isdigit())):
        raise ValueError(f"device: unknown name {name!r} (choose auto, cpu, cuda, cuda:N or mps)")
    if not there[kind] or int(number or 0) >= max(1, torch.cuda.device_count()):
        raise MediaError(f"device {name}: not in this machine (choose auto or cpu)")
    return name


def start(network: Any, device: str) -> Backend:
    """The fastest backend for a device."""
    if device == "cpu" and openvino is not None:
        return OpenVINOBackend(network)
    return TorchBackend(network, device)


class TorchOps:
    """The operations in torch."""

    def __init__(self, place: Callable[[Tensor], Tensor]) -> None:
        self.place = place                      # brings a weight to the device, in its precision and layout
        self.placed: dict[int, Tensor] = {}

    def constant(self, weight: Tensor) -> Tensor:
        if id(weight) not in self.placed:
            self.placed[id(weight)] = self.place(weight)
        return self.placed[id(weight)]

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, padding: int = 0) -> Tensor:
        return F.conv2d(x, self.constant(weight), None if bias is None else self.constant(bias), padding=padding)

    def doubling_conv(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.constant(weight), stride=2, padding=1)

    def affine_relu(self, x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        return torch.addcmul(offset, x, scale).relu_()

    def scale(self, x: Tensor, scale: Tensor) -> Tensor:
        return x * self.constant(scale)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def relu(self, x: Tensor) -> Tensor:
        return x.relu()

    def tanh(self, x: Tensor) -> Tensor:
        return x.tanh()

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
        self.network = network
        self.batch = 1 if self.device.type == "cpu" else 16
        self.ops = TorchOps(self.place)

    def place(self, weight: Tensor) -> Tensor:
        layout = torch.channels_last if weight.dim() == 4 else torch.preserve_format
        return weight.to(self.device, self.dtype, memory_format=layout)

    @torch.inference_mode()
    def __call__(self, styles: Tensor) -> Tensor:
        styles = styles.to(self.device, self.dtype, non_blocking=True)

        def style(place: slice, size: int = 1) -> Tensor:
            return self.place(styles[:, place].reshape(len(styles), -1, size, size))

        return self.network(style, self.ops).float()


class OpenVINOOps:
    """The operations as nodes of an OpenVINO graph."""

    def constant(self, weight: Tensor) -> Any:
        return ov.constant(np.ascontiguousarray(weight.numpy()))

    def conv(self, x: Any, weight: Tensor, bias: Tensor | None = None, padding: int = 0) -> Any:
        out = ov.convolution(x, self.constant(weight), [1, 1], [padding] * 2, [padding] * 2, [1, 1])
        return out if bias is None else ov.add(out, self.constant(bias.view(1, -1, 1, 1)))

    def doubling_conv(self, x: Any, weight: Tensor) -> Any:
        return ov.convolution_backprop_data(x, self.constant(weight), [2, 2], pads_begin=[1, 1], pads_end=[1, 1])

    def affine_relu(self, x: Any, scale: Any, offset: Any) -> Any:
        return ov.relu(ov.add(ov.multiply(x, scale), offset))

    def scale(self, x: Any, scale: Tensor) -> Any:
        return ov.multiply(x, self.constant(scale))

    def add(self, x: Any, y: Any) -> Any:
        return ov.add(x, y)

    def relu(self, x: Any) -> Any:
        return ov.relu(x)

    def tanh(self, x: Any) -> Any:
        return ov.tanh(x)

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


class OpenVINOBackend:
    """The network compiled by OpenVINO for the CPU, in fp32; the compiled kernels are kept in the user's cache."""

    batch = 1                                  # as fast as larger ones, and the same bytes whatever comes together

    def __init__(self, network: Any) -> None:
        self.width = len(network.style_bias)
        styles = ov.parameter([1, self.width], np.float32)

        def style(place: slice, size: int = 1) -> Any:
            piece = ov.slice(styles, [place.start], [place.stop], [1], [1])
            return OpenVINOOps().reshape(piece, 1, -1, size, size)

        model = openvino.Model([network(style, OpenVINOOps())], [styles], "biggan")
        core = openvino.Core()
        compiled = core.compile_model(
            model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        )
        self.request = compiled.create_infer_request()

    def __call__(self, styles: Tensor) -> Tensor:
        return torch.from_numpy(self.request.infer(styles.numpy(), share_inputs=True)[0])
