"""The network as a graph of OpenVINO, for the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from musicvideo.vision.generators import hardware
from musicvideo.vision.generators.backends.operations import (
    PRECISIONS,
    STREAMS,
    fold_upsampling,
    row_kernels,
    same_padding,
    strips_of,
)  # fmt: skip
from musicvideo.vision.openvino_networks import compiled, openvino, ov

if TYPE_CHECKING:
    from musicvideo.vision.generators.biggan.network import Network


class OpenVINOOps:
    """`Operations` as nodes of an OpenVINO graph."""

    def constant(self, weight: Tensor) -> Any:
        return ov.constant(weight.numpy())

    def conv(self, x: Any, weight: Tensor, bias: Tensor | None = None) -> Any:
        out = ov.convolution(x, self.constant(weight), [1, 1], same_padding(weight), same_padding(weight), [1, 1])
        return out if bias is None else ov.add(out, self.constant(bias.view(1, -1, 1, 1)))

    def conv_add(self, y: Any, x: Any, weight: Tensor, bias: Tensor | None = None) -> Any:
        return ov.add(self.conv(x, weight, bias), y)

    def upsample_conv(self, x: Any, weight: Tensor) -> Any:
        weight = self.constant(fold_upsampling(weight))
        return ov.convolution_backprop_data(x, weight, [2, 2], pads_begin=[1, 1], pads_end=[1, 1])

    def sum_rows(self, x: Any, bias: Tensor) -> Any:
        return self.conv(x, row_kernels(len(bias)), bias)

    def affine_relu(self, x: Any, scale: Any, offset: Any) -> Any:
        return ov.relu(ov.add(ov.multiply(x, scale), offset))

    def scale(self, x: Any, scale: Tensor) -> Any:
        return ov.multiply(x, self.constant(scale))

    def relu(self, x: Any) -> Any:
        return ov.relu(x)

    def tanh(self, x: Any) -> Any:
        return ov.tanh(x)

    def concat(self, strips: Sequence[Any]) -> Any:
        return ov.concat(list(strips), 2) if len(strips) > 1 else strips[0]

    def split(self, x: Any, count: int | None = None) -> list[Any]:
        height = x.shape[2]
        if count is None:
            count = strips_of(height)
        rows = height // count
        return [ov.slice(x, [top], [top + rows], [1], [2]) for top in range(0, height, rows)] if count > 1 else [x]

    def first_channels(self, x: Any, count: int) -> Any:
        return ov.slice(x, [0], [count], [1], [1])

    def upsample(self, x: Any) -> Any:
        scales, axes = np.full(2, 2, np.float32), np.array([2, 3])
        return ov.interpolate(
            x, scales, "nearest", "scales", axes=axes,
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    def max_pool(self, x: Any) -> Any:
        return ov.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)

    def attention(self, query: Any, key: Any, value: Any) -> Any:
        # As products of matrices: the CPU plugin's fused attention is slower at these shapes.
        rows = [self.reshape(x, 1, x.shape[1], x.shape[2] * x.shape[3]) for x in (query, key, value)]
        shares = ov.softmax(ov.matmul(rows[0], rows[1], True, False), 2)
        return self.reshape(ov.matmul(rows[2], shares, False, True), 1, value.shape[1], *query.shape[2:])

    def reshape(self, x: Any, *shape: int) -> Any:
        return ov.reshape(x, np.array(shape), False)


class OpenVINOBackend:
    """The network compiled by OpenVINO for the CPU.

    Args:
        network: to run.
        precision: "fp32" or "bf16".
    """

    def __init__(self, network: Network, precision: str = "fp32") -> None:
        ops = OpenVINOOps()
        styles = ov.parameter([1, len(network.style_bias)], np.float32)

        def style(place: slice, size: int = 1) -> Any:
            return ops.reshape(ov.slice(styles, [place.start], [place.stop], [1], [1]), 1, -1, size, size)

        model = openvino.Model([network(style, ops)], [styles], "biggan")
        # One thread a picture and several pictures side by side: threads of one picture wait for each other.
        cores = torch.get_num_threads()
        self.batch = min(cores, STREAMS)
        self.threads = cores // self.batch * self.batch  # the same number for each stream, so that all round alike
        self.name = f"OpenVINO on the CPU, {str(PRECISIONS[precision]).removeprefix('torch.')}"
        self.compiled = compiled(model, {
            "NUM_STREAMS": self.batch,
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        })  # fmt: skip
        self.queue = openvino.AsyncInferQueue(self.compiled, self.batch)

    @property
    def computed_by(self) -> Mapping[str, str]:
        return {
            "backend": self.name,
            "threads": f"{self.threads} in {self.batch} streams",
            **hardware.versions("openvino"),
        }

    def __call__(self, styles: Tensor) -> Tensor:
        # NumPy copies a picture in this thread; torch would share the copy with a thread that then waits for more work
        # and keeps a core from drawing.
        pictures = np.empty((len(styles), *self.compiled.output(0).shape[1:]), np.float32)
        drawn: dict[int, int] = {}  # request -> picture that it draws

        def take(request: int) -> None:
            pictures[drawn.pop(request)] = self.queue[request].get_output_tensor().data[0]

        # No callbacks in Python: one that runs while the interpreter ends, after Ctrl-C, aborts the process.
        try:
            for index, style in enumerate(styles.split(1)):
                request = self.queue.get_idle_request_id()  # waits for one
                if request in drawn:
                    take(request)
                drawn[request] = index
                self.queue.start_async(style.numpy())  # by that request
        finally:
            self.queue.wait_all()
        for request in list(drawn):
            take(request)
        return torch.from_numpy(pictures)
