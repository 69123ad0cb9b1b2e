"""Train the generator of the emoji.

    python -m training.pocket.train runs/first                       # two CPU cores: a night

The README beside this file has the commands for larger pictures and for a GPU.
The same command resumes an interrupted run. In the run's folder: `checkpoint.pt`, `log.jsonl` (a line of
figures at intervals) and `grid-<step>.png` (drawn on the left, targets on the right; the last rows are mixtures).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from musicvideo.vision.generators.pocket import labels, model
from musicvideo.vision.training.learning import PAIRS, Training, write_state
from musicvideo.vision.training.network import Network
from musicvideo.vision.training.stock import trainable
from musicvideo.vision.training.targets import Targets
from training.pocket.prepare import TEXTURES

REPORT_EVERY, SAVE_EVERY, GRID_EVERY = 100, 200, 1000  # steps
SAMPLES = 64  # pictures that statistics are measured on


def parse_stages(text: str) -> list[tuple[int, float]]:
    """ "64:0.4,128:0.6" -> [(64, 0.4), (128, 1.0)]: resolutions, and the share of all steps at which each ends."""
    stages, end = [], 0.0
    for stage in text.split(","):
        resolution, share = stage.split(":")
        end += float(share)
        stages.append((int(resolution), end))
    return stages


def begin(
    targets: Targets, *, width: int, resolution: int, init: Path | None = None, seed: int = 0, **settings: Any
) -> Training:
    """A new run.

    Args:
        targets: what to learn.
        width, resolution: of the network.
        init: what to start from: checkpoint of another run, or folder of exported weights. Of the same width; may have
            fewer classes and smaller pictures.
        seed: another seed, another run.
        settings: further ones of `Training`.
    """
    torch.manual_seed(seed)
    training = Training(targets, Network(len(targets.names), width, resolution), seed=seed, **settings)
    training.network.calibrate(*training.conditions(SAMPLES))
    if init:
        network, names = (trainable(model(init)), labels(init)) if init.is_dir() else read_checkpoint(init)
        require_names(names, targets, init)
        known = network.embeddings
        likely = torch.randn(len(targets.names) - len(names), known.shape[1])
        unknown = known.mean(dim=0) + 0.5 * known.std(dim=0) * likely
        network.embeddings = torch.nn.Parameter(torch.cat([known, unknown]))
        training.network.grow_from(network.to(training.device), *training.conditions(SAMPLES))
    training.average.load_state_dict(training.network.state_dict())
    return training


def require_names(names: list[str], targets: Targets, path: Path) -> None:
    """Stop unless the classes of a checkpoint are the first of the targets."""
    if names != targets.names[: len(names)]:
        raise SystemExit(f"{path}: its classes are others, or in another order, than those of the textures")


def save(training: Training, path: Path) -> None:
    """Write a run's state, with what `read_checkpoint` needs."""
    network = training.network
    names = {"names": training.targets.names, "width": network.width, "resolution": network.resolution}
    write_state({**names, **training.state()}, path)


def load(training: Training, path: Path) -> None:
    """Go on from what `save` wrote."""
    state = torch.load(path, map_location=training.device, weights_only=True)
    require_names(state["names"], training.targets, path)
    training.restore(state)


def read_checkpoint(path: Path) -> tuple[Network, list[str]]:
    """The network with the averaged weights of a run, and the names of its classes."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = Network(len(state["names"]), state["width"], state["resolution"])
    network.load_state_dict(state["average"])
    return network.eval().requires_grad_(False), state["names"]


def run(training: Training, folder: Path) -> None:
    """Train to the end, reporting and saving at intervals."""
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        load(training, checkpoint)
        print(f"going on at step {training.step}", flush=True)
    start, reported, sums = time.monotonic(), training.step, torch.zeros(2, device=training.device)
    with open(folder / "log.jsonl", "a", encoding="utf-8") as log:
        while training.step < training.steps:
            resolution = training.resolution()
            sums += torch.stack(training.advance())
            if training.step % REPORT_EVERY == 0:
                loss, error = (sums / (training.step - reported)).tolist()
                speed = (training.step - reported) * training.batch / (time.monotonic() - start)
                report = {"step": training.step, "resolution": resolution, "loss": loss, "l1": error, "speed": speed}
                if not math.isfinite(loss):
                    raise SystemExit("the loss is no number any more: go on from the checkpoint with a smaller --lr")
                if training.step % GRID_EVERY == 0 or training.step == training.steps:
                    figures, grid = training.examine(training.resolution())
                    Image.fromarray(grid).save(folder / f"grid-{training.step}.png")
                    report |= figures
                left = (training.steps - training.step) * training.batch / speed / 60
                line = {key: round(value, 4) for key, value in report.items()}
                print(json.dumps(line), f"{left:.0f} min left", flush=True)
                print(json.dumps(line), file=log, flush=True)
                start, reported, sums = time.monotonic(), training.step, torch.zeros_like(sums)
            if training.step % SAVE_EVERY == 0 or training.step == training.steps:
                save(training, checkpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the generator.")
    parser.add_argument("folder", type=Path, help="of this run, under training/pocket; made, or gone on with")
    parser.add_argument("--textures", type=Path, default=TEXTURES, help="what prepare.py wrote")
    parser.add_argument("--width", type=int, default=24, help="channels of the last block")
    parser.add_argument("--resolution", type=int, default=128, choices=(128, 256))
    parser.add_argument("--stages", type=parse_stages, default="32:0.2,64:0.4,128:0.4", metavar="SIZE:SHARE,...")
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--batch", type=int, default=16, help="pictures a step")
    parser.add_argument("--lr", type=float, default=0.002, help="learning rate")
    parser.add_argument("--singles", type=float, default=0.3, help="share of pictures with one class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--init", type=Path, help="checkpoint or exported weights to start from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="faster on GPUs, and on CPUs with AVX512_BF16")
    parser.add_argument("--workers", type=int, default=1, help="threads that share a batch, one a core of a CPU")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    if arguments.stages[-1][0] != arguments.resolution:
        parser.error(f"--stages: the last is to be {arguments.resolution}, the resolution")
    if not 0 <= arguments.singles <= 1 - PAIRS:
        parser.error(f"--singles: a share from 0 to {1 - PAIRS}, since {PAIRS} are pairs")
    if arguments.workers > 1:
        torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    training = begin(
        Targets(torch.load(arguments.textures, weights_only=True), arguments.device),
        width=arguments.width,
        resolution=arguments.resolution,
        init=arguments.init,
        steps=arguments.steps,
        stages=arguments.stages,
        batch=arguments.batch,
        rate=arguments.lr,
        singles=arguments.singles,
        seed=arguments.seed,
        device=arguments.device,
        bf16=arguments.bf16,
        workers=arguments.workers,
        compiled=arguments.compile,
    )
    folder = Path(__file__).parent / arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    run(training, folder)


if __name__ == "__main__":
    main()
