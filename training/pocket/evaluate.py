"""Measure exported weights against the required values (bars), and print a table.

    python -m training.pocket.evaluate                     # the weights of the repository
    python -m training.pocket.evaluate --grid grid.png     # and look at them: drawn on the left, targets on the right

Needs the textures that `prepare.py` writes. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pytorch_pretrained_biggan import BigGAN
from scipy.stats import truncnorm
from torch import Tensor

from musicvideo.vision import features, latents
from musicvideo.vision.generators.pocket.generator import Pocket
from training.pocket import metrics
from training.pocket.export import ASSETS, load
from training.pocket.pictures import tile, write_png
from training.pocket.targets import NOISE, Targets, directions
from training.pocket.train import TEXTURES

SONG = Path(__file__).parents[2] / "tests" / "data" / "golden" / "arpeggio.flac"

NEAREST_SIZE = 32  # pixels, at which distances to the targets of all classes are compared
FRAME_RATE = 30  # frames a second
TRAJECTORIES = 5  # of one song, with other classes and other noise
SPEED_FRAMES = 100  # drawn one after another to measure speed
BATCH = 50
BARS = {
    "nearest class is the right one": (0.97, None),
    "SSIM": (0.75, None),
    "gradient energy, share of targets'": (0.6, None),
    "contrast of 12 classes, share of one's": (0.5, None),
    "saturation of 12 classes, share of one's": (0.5, None),
    "difference of frames, of 255": (0.2, 6.0),
    "  its 99th percentile": (None, 6.0),
    "PSNR of engine and stock class, dB": (90.0, None),
    "frames a second": (12.0, None),
}

Draw = Callable[[Tensor, Tensor], Tensor]  # noise (n, 128) and class weights (n, K) -> (n, 3, h, w) in -1..1


def engine(model: BigGAN, names: list[str]) -> Draw:
    """The generator as films use it. It modifies the model: load another one to compare."""
    generator = Pocket(model, names, device="cpu")

    def draw(noise: Tensor, weights: Tensor) -> Tensor:
        return torch.cat(list(generator.pictures(noise, weights)))

    return draw


def sharpened(weights: Tensor) -> Tensor:
    """Class weights (n, K) as the generator gives them to the network."""
    return torch.as_tensor(Pocket.sharpened(weights.numpy()))


def random_noise(count: int, rng: np.random.Generator) -> Tensor:
    """Noise as a film starts with it (count, NOISE): normal, cut off at +-2."""
    return torch.tensor(truncnorm.rvs(-2, 2, size=(count, NOISE), random_state=rng), dtype=torch.float32)


def likeness(
    draw: Draw, targets: Targets, resolution: int, vectors: int, rng: np.random.Generator
) -> tuple[dict[str, float], Tensor]:
    """The bars of single classes, and for each class the share of its pictures (K,) that resemble it most.

    Args:
        vectors: noise vectors a class.
    """
    classes = len(targets.names)
    right, similarity, energy, target_energy = [], [], [], []
    for index in range(classes):
        alone = torch.eye(classes)[index]
        hits = []
        for noise in random_noise(vectors, rng).split(BATCH):
            factors, weights = noise @ directions().t(), alone.expand(len(noise), -1)
            drawn, target = draw(noise, weights), targets.render(factors, weights, resolution)
            similarity.append(metrics.ssim(drawn, target))
            energy.append(metrics.gradient_energy(drawn))
            target_energy.append(metrics.gradient_energy(target))
            small = torch.nn.functional.interpolate(drawn, size=NEAREST_SIZE, mode="area")
            hits.append(nearest(small, factors, targets) == index)
        right.append(torch.cat(hits).float().mean())
    right = torch.stack(right)
    return {
        "nearest class is the right one": float(right.mean()),
        "SSIM": float(torch.cat(similarity).mean()),
        "gradient energy, share of targets'": float(torch.cat(energy).mean() / torch.cat(target_energy).mean()),
    }, right


def nearest(pictures: Tensor, factors: Tensor, targets: Targets) -> Tensor:
    """The class (n,) whose target, with the same factors, is nearest by squared differences of pixels."""
    classes = len(targets.names)
    distances = []
    for picture, factor in zip(pictures, factors):
        candidates = targets.render(factor.expand(classes, -1), torch.eye(classes), pictures.shape[-1])
        distances.append((candidates - picture).square().mean(dim=(1, 2, 3)))
    return torch.stack(distances).argmin(dim=1)


def films(
    classes: int, rng: np.random.Generator, number_of_classes: int = 12, count: int = TRAJECTORIES
) -> list[tuple[Tensor, Tensor]]:
    """Noise and class weights of each frame of a few films, as the classic mapping makes them of a song."""
    heard = features.classic_features(features.load_song(SONG))
    paths = []
    for _ in range(count):
        chosen = latents.random_classes(rng, number_of_classes, classes)
        path = latents.trajectory(heard, chosen, noise_dim=NOISE, num_classes=number_of_classes, rng=rng)
        noise, shares = path.at(np.arange(int(path.duration * FRAME_RATE)) / FRAME_RATE)
        weights = np.zeros((len(noise), classes))
        weights[:, list(path.classes)] = shares
        paths.append((torch.tensor(noise).float(), torch.tensor(weights).float()))
    return paths


def movement(draw: Draw, classes: int, rng: np.random.Generator, count: int = TRAJECTORIES) -> dict[str, float]:
    """The bars of some whole films with twelve classes, against pictures of one class with the same noise."""
    mixed, single, steps = [], [], []
    for noise, weights in films(classes, rng, count=count):
        frames = draw(noise, weights)
        steps.append(torch.stack([(after - before).abs().mean() for before, after in zip(frames, frames[1:])]) * 127.5)
        mixed.append(frames[::10].clone())  # a copy, since a view would keep the whole film in memory
        any_class = torch.eye(classes)[torch.tensor(rng.integers(classes, size=len(noise[::10])))]
        single.append(draw(noise[::10], any_class))
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
    return float(10 * torch.log10(4 / (draw(noise, weights) - wanted).square().mean()))


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
    drawn, target = draw(noise, weights), targets.render(noise @ directions().t(), sharpened(weights), resolution)
    return tile(torch.cat([half for row in zip(drawn.split(8), target.split(8)) for half in row]), 16)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure exported weights against the bars they should meet.")
    parser.add_argument("--folder", type=Path, default=ASSETS)
    parser.add_argument("--textures", type=Path, default=TEXTURES)
    parser.add_argument("--vectors", type=int, default=200, help="noise vectors a class; fewer are faster")
    parser.add_argument("--grid", type=Path, help="write a picture of every class and of some films")
    arguments = parser.parse_args()
    targets = Targets.load(arguments.textures)
    stock, names = load(arguments.folder)
    if names != targets.names:
        raise SystemExit(f"{arguments.textures}: other classes than {arguments.folder} has (run prepare.py again)")
    draw, resolution, classes = engine(*load(arguments.folder)), stock.config.output_dim, len(names)
    rng = np.random.default_rng(0)
    if arguments.grid:
        write_png(arguments.grid, look(draw, targets, resolution, rng))
    figures = {"PSNR of engine and stock class, dB": agreement(draw, stock, rng)}
    figures["frames a second"] = speed(draw, classes, rng)
    figures |= movement(draw, classes, rng)
    single, right = likeness(draw, targets, resolution, arguments.vectors, rng)
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
