"""Measure exported weights against the required values (bars), and print a table.

    python -m training.pocket.evaluate                     # the weights of the repository
    python -m training.pocket.evaluate --grid grid.png     # and look at them: drawn on the left, targets on the right

Needs the textures that `prepare.py` writes. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pytorch_pretrained_biggan import BigGAN
from torch import Tensor

from musicvideo.vision import features, latents
from musicvideo.vision.generators.pocket import FOLDER as ASSETS
from musicvideo.vision.generators.pocket import labels, model
from musicvideo.vision.generators.pocket.conventions import NOISE
from musicvideo.vision.generators.pocket.generator import Pocket
from musicvideo.vision.training import likeness, metrics
from musicvideo.vision.training.learning import tile
from musicvideo.vision.training.likeness import FACTORS_OF_NOISE, Draw, engine, random_noise
from musicvideo.vision.training.targets import Targets
from training.pocket.prepare import TEXTURES

SONG = Path(__file__).parents[2] / "tests" / "data" / "golden" / "arpeggio.flac"

FRAME_RATE = 30  # frames a second
TRAJECTORIES = 5  # of one song, with other classes and other noise
AT_ONCE = 60  # frames of a film that are in memory at a time
SPEED_FRAMES = 100  # drawn one after another to measure speed
BARS = {
    likeness.NEAREST: (0.97, None),
    likeness.SSIM: (0.75, None),
    likeness.ENERGY: (0.6, None),
    "contrast of 12 classes, share of one's": (0.5, None),
    "saturation of 12 classes, share of one's": (0.5, None),
    "difference of frames, of 255": (0.2, 6.0),
    "  its 99th percentile": (None, 6.0),
    "PSNR of engine and stock class, dB": (90.0, None),
    "frames a second": (12.0, None),
}


def sharpened(weights: Tensor) -> Tensor:
    """Class weights (n, K) as the generator gives them to the network."""
    return torch.as_tensor(Pocket.sharpened(weights.numpy()))


def films(
    classes: int,
    rng: np.random.Generator,
    number_of_classes: int = 12,
    count: int = TRAJECTORIES,
    seconds: float = math.inf,
) -> list[tuple[Tensor, Tensor]]:
    """Noise and class weights of each frame of a few films, as the classic mapping makes them of a song.

    Args:
        classes: of the generator.
        seconds: of each film at most.
    """
    heard = features.classic_features(features.load_song(SONG))
    paths = []
    for _ in range(count):
        chosen = latents.random_classes(rng, number_of_classes, classes)
        path = latents.trajectory(heard, chosen, noise_dim=NOISE, num_classes=number_of_classes, rng=rng)
        noise, shares = path.at(np.arange(int(min(path.duration, seconds) * FRAME_RATE)) / FRAME_RATE)
        weights = np.zeros((len(noise), classes))
        weights[:, list(path.classes)] = shares
        paths.append((torch.tensor(noise).float(), torch.tensor(weights).float()))
    return paths


def movement(
    draw: Draw, classes: int, rng: np.random.Generator, count: int = TRAJECTORIES, seconds: float = math.inf
) -> dict[str, float]:
    """The bars of some films with twelve classes, against pictures of one class with the same noise."""
    mixed, single, steps = [], [], []
    for noise, weights in films(classes, rng, count=count, seconds=seconds):
        last: list[Tensor] = []  # frame of the piece before
        for part in zip(noise.split(AT_ONCE), weights.split(AT_ONCE)):
            frames = draw(*part)[:, :3]
            steps.append(torch.cat([*last, frames]).diff(dim=0).abs().mean(dim=(1, 2, 3)) * 127.5)
            mixed.append(frames[::10].clone())  # copies, since views would keep the whole piece in memory
            last = [frames[-1:].clone()]
        any_class = torch.eye(classes)[torch.tensor(rng.integers(classes, size=len(noise[::10])))]
        single.append(draw(noise[::10], any_class)[:, :3])
    mixed, single, steps = torch.cat(mixed), torch.cat(single), torch.cat(steps)
    contrast, saturation = (
        float(measure(mixed).mean() / measure(single).mean()) for measure in (metrics.contrast, metrics.saturation)
    )
    return {
        "contrast of 12 classes, share of one's": contrast,
        "saturation of 12 classes, share of one's": saturation,
        "difference of frames, of 255": float(steps.mean()),
        "  its 1st percentile": float(steps.quantile(0.01)),
        "  its 99th percentile": float(steps.quantile(0.99)),
    }


def agreement(draw: Draw, stock: BigGAN, rng: np.random.Generator) -> float:
    """PSNR in dB between the engine's pictures and the stock class's, of mixtures of three classes."""
    noise, weights = random_noise(16, rng), torch.zeros(16, stock.config.num_classes)
    for row in weights:
        row[torch.tensor(rng.choice(len(row), 3, replace=False))] = torch.tensor(rng.random(3)).float()
    with torch.inference_mode():
        wanted = stock(noise, sharpened(weights), 1.0)
    return float(10 * torch.log10(4 / (draw(noise, weights)[:, :3] - wanted).square().mean()))


def speed(draw: Draw, classes: int, rng: np.random.Generator) -> float:
    """Frames a second, on all cores."""
    noise, weights = random_noise(SPEED_FRAMES, rng), torch.eye(classes)[rng.integers(classes, size=SPEED_FRAMES)]
    draw(noise[:4], weights[:4])
    start = time.perf_counter()
    draw(noise, weights)
    return SPEED_FRAMES / (time.perf_counter() - start)


def look(draw: Draw, targets: Targets, resolution: int, rng: np.random.Generator) -> np.ndarray:
    """Every class, then frames of films, eight in a row and their targets beside them."""
    classes = len(targets.names)
    frames = [(noise[::75][:8], weights[::75][:8]) for noise, weights in films(classes, rng)]
    noise = torch.cat([random_noise(classes, rng), *(noise for noise, _ in frames)])
    weights = torch.cat([torch.eye(classes), *(weights for _, weights in frames)])
    drawn, target = draw(noise, weights), targets.render(noise @ FACTORS_OF_NOISE, sharpened(weights), resolution)
    rows = zip(drawn[:, :3].split(8), target[:, :3].split(8))
    return tile(torch.cat([half for row in rows for half in row]), 16)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure exported weights against the bars they should meet.")
    parser.add_argument("--folder", type=Path, default=ASSETS)
    parser.add_argument("--textures", type=Path, default=TEXTURES)
    parser.add_argument("--vectors", type=int, default=200, help="noise vectors a class; fewer are faster")
    parser.add_argument("--grid", type=Path, help="write a picture of every class and of some films")
    arguments = parser.parse_args()
    targets = Targets(torch.load(arguments.textures, weights_only=True))
    stock, names = model(arguments.folder), labels(arguments.folder)
    if names != targets.names:
        raise SystemExit(f"{arguments.textures}: other classes than {arguments.folder} has (run prepare.py again)")
    draw, resolution, classes = engine(arguments.folder), stock.config.output_dim, len(names)
    rng = np.random.default_rng(0)
    if arguments.grid:
        Image.fromarray(look(draw, targets, resolution, rng)).save(arguments.grid)
    figures = {"PSNR of engine and stock class, dB": agreement(draw, stock, rng)}
    figures["frames a second"] = speed(draw, classes, rng)
    figures |= movement(draw, classes, rng)
    single, right = likeness.likeness(draw, targets, resolution, arguments.vectors, rng)
    figures |= single
    missed = 0
    print(f"{'':44} measured  bar")
    for name, value in figures.items():
        lowest, highest = BARS.get(name, (None, None))
        bounds = ((lowest, ">="), (highest, "<="))
        bar = " ".join(f"{sign} {bound}" for bound, sign in bounds if bound is not None)
        met = (lowest is None or value >= lowest) and (highest is None or value <= highest)
        missed += not met
        print(f"{name:44} {value:8.3f}  {bar}{'' if met else '  MISSED'}")
    worst = sorted(zip(right.tolist(), names))[:8]
    print("least often itself:", ", ".join(f"{name} {share:.3f}" for share, name in worst))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
