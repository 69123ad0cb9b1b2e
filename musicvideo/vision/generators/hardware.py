"""What computes in this machine, in words that are recorded with a video."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
import subprocess
from contextlib import suppress
from pathlib import Path


@functools.cache
def processor() -> str:
    """The model name of this machine's processor, as far as the system tells."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    with suppress(OSError):                    # macOS
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        told = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.strip()
        if told:
            return told
    return platform.processor() or platform.machine()


def cpu() -> dict[str, str]:
    """The processor, and the instructions that torch computes with on it: other ones round otherwise."""
    import torch

    return {"processor": processor(), "instructions": torch.backends.cpu.get_cpu_capability()}


def versions(*packages: str) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
