"""Processor and library versions of this machine, as they are recorded with a video."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Container
from contextlib import suppress
from pathlib import Path

from llvmlite import binding

_most = 0  # threads that this process may draw with; 0 for one a core


@functools.cache
def processor() -> str:
    """The model name of this machine's processor, if the system states it."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    with suppress(OSError):  # macOS
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        told = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.strip()
        if told:
            return told
    return platform.processor() or platform.machine()


def limit_threads(count: int) -> None:
    """Let this process draw with so many threads at most; before a generator is loaded."""
    import torch  # here, since most commands do not need it

    global _most
    _most = count
    torch.set_num_threads(count)


def cores() -> int:
    """Processor cores that this process may use."""
    if _most:
        return _most
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def widest(features: Container[str]) -> str:
    """The widest of the vector instructions that LLVM's names of features include, or "scalar"."""
    return next((name for name in ("avx512f", "avx2", "avx", "neon") if name in features), "scalar")


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for matrices of bfloat16."""
    return bool(binding.get_host_cpu_features().get("avx512bf16"))


def cpu() -> dict[str, str]:
    """The processor, and the widest vector instructions that compiled code uses on it: others round differently."""
    features = binding.get_host_cpu_features()
    return {"processor": processor(), "instructions": widest([name for name, there in features.items() if there])}


def versions(*packages: str) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
