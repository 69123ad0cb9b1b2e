"""A checkpoint -> weights that the stock class loads like other weights.

    python -m training.pocket.export training/pocket/runs/first/checkpoint.pt

Writes `musicvideo/assets/pocket/`: `config.json`, `model.safetensors` in fp16, and `labels.json`, the names of the
classes in the order of their ids. `NOTICE` is there already.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from musicvideo.vision.generators.pocket import FOLDER as ASSETS
from musicvideo.vision.training.stock import save, stock_model
from training.pocket.train import read_checkpoint

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A checkpoint -> weights that the stock class loads.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--folder", type=Path, default=ASSETS)
    arguments = parser.parse_args()
    trained, class_names = read_checkpoint(arguments.checkpoint)
    save(stock_model(trained), class_names, arguments.folder)
    size = (arguments.folder / "model.safetensors").stat().st_size
    print(f"{arguments.folder}: {len(class_names)} classes, {size / 1e6:.1f} MB")
