"""Chooses the backend: the fastest on this machine that draws the same pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from musicvideo import environment
from musicvideo.errors import MediaError
from musicvideo.vision import openvino_networks
from musicvideo.vision.generators import kernels
from musicvideo.vision.generators.backends import kernel_backend, openvino_backend
from musicvideo.vision.generators.backends.operations import PRECISIONS, Backend
from musicvideo.vision.generators.backends.torch_backend import TorchBackend

if TYPE_CHECKING:
    from musicvideo.vision.generators.biggan.network import Network

FAITHFUL = 50  # dB PSNR against fp32 that a lower precision must reach for "auto" to choose it


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


def start(network: Network, names: Sequence[str], precision: str) -> Backend:
    """The fastest backend on some devices that draws the same pictures.

    Args:
        network: to run.
        names: as `devices` returns them.
        precision: "fp32", "fp16", "bf16", "auto" for the lowest that is faithful on the device, or "lowest" for bf16
            on CPUs that multiply it faster. That is some 28 dB from fp32: enough for a draft only.

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


def start_on(device: str, network: Network, precision: str) -> Backend:
    """The backend of one device; `network` and `precision` as for `start`."""
    if device == "cpu":
        rough = precision == "lowest" and openvino_networks.has_bf16()
        lanes = kernels.lanes() if environment.kernels_wanted() else None
        if not rough and lanes and kernel_backend.suits(network, lanes):
            return kernel_backend.KernelBackend(network, lanes)
        if not openvino_networks.installed():
            return TorchBackend(network, device)
        return openvino_backend.OpenVINOBackend(network, "bf16" if rough else "fp32")
    if precision in ("auto", "lowest"):
        precision = "fp16" if is_faithful(network, device, torch.float16) else "fp32"
    return TorchBackend(network, device, PRECISIONS[precision])


def is_faithful(network: Network, device: str, lower: torch.dtype) -> bool:
    """Whether pictures in a lower precision are within `FAITHFUL` dB of those in fp32; tried on random conditions."""
    styles = trial(network, 2)
    # One after the other, since a device may not hold both.
    exact, rough = (TorchBackend(network, device, dtype)(styles) for dtype in (torch.float32, lower))
    noise = (exact - rough).square().mean()
    return bool(noise.isfinite() and 10 * torch.log10(4 / noise) >= FAITHFUL)


def fastest(backends: Sequence[Backend], network: Network) -> Backend:
    """The backend that draws most pictures a second, measured where there are several."""

    def seconds_a_picture(backend: Backend) -> float:
        styles = trial(network, backend.batch)
        backend(styles).cpu()  # the first pass compiles
        start = time.perf_counter()
        backend(styles).cpu()
        return (time.perf_counter() - start) / len(styles)

    return min(backends, key=seconds_a_picture) if len(backends) > 1 else backends[0]


def trial(network: Network, count: int) -> Tensor:
    """Styles (count, S) of random conditions, always the same."""
    conditions = torch.randn(count, network.style_weight.shape[1], generator=torch.Generator().manual_seed(0))
    return F.linear(conditions, network.style_weight, network.style_bias)
