"""Cache folders, and cache files whose content is checked on every read.

A cache only saves time. A file that cannot be read, or that differs from what was written, counts as missing. Where
nothing can be written, the program works without a cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from musicvideo import files
from musicvideo.errors import MediaError

DIGEST = hashlib.sha256().digest_size  # bytes at the start of a file: the SHA-256 of the rest


def folder(kind: str) -> Path:
    """The user's cache folder for one kind of file, which need not exist yet.

    Args:
        kind: "features" (analysed songs), "openvino" (compiled networks), "biggan" (downloaded weights) or "cppn"
            (compiled stages).
    """
    return user_cache_path("musicvideo") / kind


def remember(file: Path, content: bytes) -> None:
    """Write content and its SHA-256 to a file; do nothing where it cannot be written."""
    with suppress(OSError, MediaError), files.atomic(file) as partial, open(partial, "wb") as stream:
        stream.write(hashlib.sha256(content).digest())
        stream.write(content)


def recall(file: Path) -> bytes | None:
    """The content that `remember` wrote; None if there is none, or it is truncated or damaged."""
    with suppress(OSError):
        if file.is_file():  # opening a named pipe would wait for a writer
            with open(file, "rb") as stream:
                digest, content = stream.read(DIGEST), stream.read()
            if hashlib.sha256(content).digest() == digest:
                with suppress(OSError):
                    os.utime(file)  # now the most recently used
                return content
    return None


def open_sealed(place: Path) -> bool:
    """Make a folder that a library writes its own files to; empty it if they differ from what `seal` recorded.

    Returns:
        Whether the folder can be used.
    """
    try:
        if place.exists() and recall(_seal_of(place)) != _listing(place):
            shutil.rmtree(place)
        place.mkdir(parents=True, exist_ok=True)
        return os.access(place, os.W_OK)
    except OSError:
        return False


def seal(place: Path) -> None:
    """Record the files of a folder and their checksums, for `open_sealed` of the next process."""
    with suppress(OSError):  # another process may write there
        remember(_seal_of(place), _listing(place))


def _seal_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.seal")


def _listing(place: Path) -> bytes:
    listed = {str(file.relative_to(place)): files.sha256(file) for file in sorted(place.rglob("*")) if file.is_file()}
    return json.dumps(listed).encode()


def trim(place: Path, most: int) -> None:
    """Delete the files of a cache folder that were used least recently, down to `most` files."""
    with suppress(OSError):  # another process may delete the same file
        kept = [file for file in place.glob("[!.]*") if file.is_file()]
        for file in sorted(kept, key=lambda file: file.stat().st_mtime)[:-most]:
            file.unlink()
