"""Networks compiled by OpenVINO for the CPU, and the cache of them."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from musicvideo import caches
from musicvideo.vision.generators import hardware

__all__ = ["compiled", "has_bf16", "installed", "openvino", "ov", "read_onnx"]

# OpenVINO would report its use over the network; it also works without the package that does so.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
try:
    import openvino
    from openvino import opset13 as ov
except ImportError:  # no wheel for this system
    openvino = ov = None

MOST_COMPILED = 5  # compiled networks in the cache, of 1 to 160 MB


def installed() -> bool:
    """Whether there is an OpenVINO for this system."""
    return openvino is not None


def has_bf16() -> bool:
    """Whether OpenVINO multiplies bf16 faster than fp32 on this processor."""
    return installed() and "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


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
    exported = io.BytesIO()
    made.export_model(exported)
    caches.remember(file, exported.getvalue())
    caches.trim(file.parent, MOST_COMPILED)
    return made
