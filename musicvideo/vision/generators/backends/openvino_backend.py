"""The network compiled by OpenVINO for the CPU, and the cache of compiled networks."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from musicvideo import caches
from musicvideo.vision.generators import hardware
from musicvideo.vision.generators.backends.operations import (
    PRECISIONS,
    STREAMS,
    fold_upsampling,
    row_kernels,
    same_padding,
    strips_of,
)  # fmt: skip

if TYPE_CHECKING:
    from musicvideo.vision.generators.biggan.network import Network

# OpenVINO would report its use over the network; it also works without the package that does so.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
try:
    import openvino
    from openvino import opset13 as ov
except ImportError:  # no wheel for this system
    openvino = None

MOST_COMPILED = 5  # compiled networks in the cache, of 1 to 160 MB


def installed() -> bool:
    """Whether there is an OpenVINO for this system."""
    return openvino is not None


def has_bf16() -> bool:
    """Whether OpenVINO multiplies bf16 faster than fp32 on this processor."""
    return installed() and "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


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


def read_onnx(content: bytes) -> openvino.Model:
    """The graph in the bytes of an ONNX file."""
    return openvino.Core().read_model(content)


def fingerprint(model: openvino.Model) -> str:
    """SHA-256 of a graph: its operations, their attributes and inputs, and the numbers of its constants."""
    digest, places = hashlib.sha256(), {}
    for place, node in enumerate(model.get_ordered_ops()):
        places[node.get_friendly_name()] = place
        sources = [
            (places[source.get_node().get_friendly_name()], source.get_index()) for source in node.input_values()
        ]
        attributes = sorted((name, str(value)) for name, value in node.get_attributes().items())
        digest.update(json.dumps([node.get_type_name(), sources, attributes]).encode())
        if node.get_type_name() == "Constant":
            digest.update(np.ascontiguousarray(node.data).data)
    return digest.hexdigest()


def compiled(model: openvino.Model, settings: Mapping[str, Any]) -> openvino.CompiledModel:
    """A graph compiled for the CPU, from the cache if it holds an intact copy.

    With OpenVINO's own cache, a file damaged in its middle gives wrong pictures, so this cache has checksums. A file's
    name is the hash of all that decides its content.
    """
    core = openvino.Core()
    machine = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    decides = [fingerprint(model), openvino.__version__, hardware.processor(), machine, settings]
    key = json.dumps(decides, sort_keys=True)
    file = caches.folder("openvino") / f"{hashlib.sha256(key.encode()).hexdigest()}.blob"
    content = caches.recall(file)
    if content is not None:
        with suppress(RuntimeError):  # compiled by another OpenVINO with the same version
            return core.import_model(content, "CPU", settings)
    made = core.compile_model(model, "CPU", settings)
    caches.remember(file, made.export_model().getvalue())
    caches.trim(file.parent, MOST_COMPILED)
    return made


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
