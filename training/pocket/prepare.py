"""Pictures of the classes -> one file of textures, the only input of training.

    npm pack @lobehub/fluent-emoji-3d
    python -m training.pocket.prepare lobehub-fluent-emoji-3d-1.1.0.tgz

The package holds Microsoft's Fluent Emoji in 3D (MIT licence) as WebP pictures of 256x256, named by code point. Only
those of `classes.txt` are read.
"""

from __future__ import annotations

import argparse
import io
import tarfile
from pathlib import Path

import torch
from PIL import Image

from musicvideo.vision.training.textures import textures

HERE = Path(__file__).parent
CLASSES = HERE / "classes.txt"
TEXTURES = HERE / "data" / "textures.pt"


def read_classes(path: Path = CLASSES) -> list[tuple[str, str]]:
    """Code point and name of each class; the index is the class id."""
    return [tuple(line.split(maxsplit=1)) for line in path.read_text(encoding="utf-8").splitlines()]


def prepare(package: Path, output: Path, classes: list[tuple[str, str]]) -> None:
    """Read the pictures of the classes from the package and write their textures."""
    with tarfile.open(package) as archive:
        pictures = [
            Image.open(io.BytesIO(archive.extractfile(f"package/assets/{code_point}.webp").read()))
            for code_point, _ in classes
        ]
    output.parent.mkdir(parents=True, exist_ok=True)
    torch.save(textures([name for _, name in classes], pictures), output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Pictures of the classes -> one file of textures.")
    parser.add_argument("package", type=Path, help="what `npm pack @lobehub/fluent-emoji-3d` made")
    parser.add_argument("--output", type=Path, default=TEXTURES)
    arguments = parser.parse_args()
    prepare(arguments.package, arguments.output, read_classes())
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB")
