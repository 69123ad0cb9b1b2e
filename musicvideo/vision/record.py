"""The record of a video: its settings, written into it and beside it, read back, and compared."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from musicvideo import ffmpeg, files, probe
from musicvideo.errors import MediaError

# Noted, not compared: the record holds their effects, as checksums of the song, the path and the weights.
NOTED = ("versions",)
LARGEST = 1 << 20  # bytes of a record
PACKAGES = ("torch", "pytorch-pretrained-biggan", "llvmlite", "openvino", "numpy", "scipy", "librosa", "soxr")


def versions() -> dict[str, str]:
    """Versions of the programs and packages that make a video."""
    installed = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return {"python": platform.python_version(), **installed, "ffmpeg": ffmpeg.ffmpeg_version()}


def read(video: str | os.PathLike) -> dict[str, Any]:
    """The record of a video, from its metadata or from the JSON file beside it. It is untrusted.

    Raises:
        MediaError: no such file, or no record in it.
    """
    files.require_file(video)
    try:
        if Path(video).suffix == ".json":
            return parse(Path(video))
        return _object(probe.tags(video)["comment"])
    except (probe.NotMedia, KeyError, ValueError, RecursionError):
        raise MediaError(f"{video}: holds no settings (give a video that visualize.py made, or its .json)") from None


def parse(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ValueError, RecursionError: none is in it.
    """
    with path.open("rb") as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ValueError("too large")
    return _object(text.decode())


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"a {type(found).__name__} is no object")
    return found


def write(path: str | os.PathLike, record: Mapping[str, Any]) -> None:
    """Write a record as JSON."""
    with files.atomic(path) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def checksum(record: Mapping[str, Any]) -> str:
    """Hash (16 hexadecimal digits) of everything in a record that determines the video."""
    deciding = {name: value for name, value in record.items() if name not in NOTED}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Differences of a record from an earlier one: "jitter 0.5 is now 0.6"; "" if there are none.

    Values that are only noted do not count, nor do settings that only the earlier one has.
    """
    now = json.loads(json.dumps(now))
    return _changes(earlier, {name: value for name, value in now.items() if name not in NOTED})


def other_versions(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which of the noted versions changed: "ffmpeg 5.1.9 is now 7.1"; "" if none did."""
    before = earlier.get("versions")
    return _changes(before, now["versions"]) if isinstance(before, dict) and "versions" in now else ""


def _changes(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{name} {_shown(earlier.get(name))} is now {_shown(value)}"
        for name, value in now.items()
        if earlier.get(name) != value
    )


def _shown(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) or not value.isprintable() else value
    return text if len(text) <= 60 else f"{text[:60]}..."
