"""Grids of pictures as PNG files, written with the standard library, since a GPU machine may have no PIL."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from torch import Tensor


def tile(pictures: Tensor, columns: int) -> np.ndarray:
    """Pictures (n, 3, h, w) in -1..1 side by side, row after row: uint8 (rows * h, columns * w, 3)."""
    count, _, height, width = pictures.shape
    rows = -(-count // columns)
    canvas = np.zeros((rows * columns, height, width, 3), np.uint8)
    canvas[:count] = pictures.add(1).mul(127.5).clamp(0, 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return canvas.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write uint8 (h, w, 3) as a PNG file (https://www.w3.org/TR/png/)."""
    height, width, _ = picture.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)  # 0: no filter

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes())) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
