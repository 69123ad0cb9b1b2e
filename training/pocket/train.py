"""Train the generator: draw random conditions, render their targets, learn to draw the same.

    python -m training.pocket.train runs/first                       # two CPU cores: a night

The README beside this file has the commands for larger pictures and for a GPU.
The same command resumes an interrupted run. In the run's folder: `checkpoint.pt`, `log.jsonl` (a line of
figures at intervals) and `grid-<step>.png` (drawn on the left, targets on the right; the last rows are mixtures).
Needs torch and NumPy only.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from training.pocket.metrics import gradient_energy, ssim
from training.pocket.network import Network, read_checkpoint
from training.pocket.pictures import tile, write_png
from training.pocket.targets import FACTORS, Targets

TEXTURES = Path(__file__).parent / "data" / "textures.pt"

PITCHES = 12  # classes that a song mixes, at most
SHARPENING = 3.0  # power of a weight relative to the strongest; the generator applies the same before it draws
SINGLES, PAIRS = 0.3, 0.15  # shares of a batch with one class and with two; half of the rest has three to twelve,
# the other half twelve, as songs have them unless told otherwise
SCALES = ((1.0, 0.7), (0.5, 0.5), (0.5, 0.5))  # weights of errors and their gradients, at sizes 1, 1/2, 1/4
EDGES, STRUCTURE = 2.0, 0.2  # weights of the other two parts of the loss
WARM_UP = 100  # steps until the learning rate is reached
PLATEAU = 0.4  # share of all steps at that rate; then a cosine down to FINAL_RATE
FINAL_RATE = 0.02  # share of the learning rate
EMBEDDING_RATE = 4  # learning rate of embeddings, relative to the rest: each is used seldom
AVERAGING = 0.998  # decay of the average of the weights over steps, which is exported
FORGETTING = 0.9  # decay of a class's difficulty each time it is seen
REPORT_EVERY, SAVE_EVERY, GRID_EVERY = 100, 200, 1000  # steps


# Conditions ----------------------------------------------------------------------------------------------------------


def draw_factors(count: int, generator: torch.Generator) -> Tensor:
    """Factors (count, FACTORS) as trajectories have them, from small ones of low truncations to limits of +-2."""
    spread = torch.empty(count, 1, device=generator.device).uniform_(0.4, 1.25, generator=generator)
    return spread * torch.randn(count, FACTORS, device=generator.device, generator=generator)


def draw_weights(count: int, likelihood: Tensor, generator: torch.Generator) -> Tensor:
    """Class weights (count, K) as songs make them: one class, two, then three to twelve.

    Args:
        likelihood: (K,) how often each class is drawn, any scale.
    """
    device, classes = generator.device, len(likelihood)
    most = min(PITCHES, classes)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, device=device, generator=generator)

    # The largest of log-likelihoods with Gumbel noise are a draw without replacement.
    keys = likelihood.log() - (-uniform(count, classes).clamp(1e-9, 1 - 1e-6).log()).log()
    chosen = keys.topk(most, dim=1).indices
    how_many = torch.randint(3, most + 1, (count, 1), device=device, generator=generator)
    singles, pairs = round(SINGLES * count), round(PAIRS * count)
    how_many[(count + singles + pairs) // 2 :] = most
    how_many[:singles] = 1
    how_many[singles : singles + pairs] = 2

    taken = torch.arange(most, device=device) < how_many
    values = uniform(count, most) ** (0.4 + 1.6 * uniform(count, 1))
    values[:, 0] = torch.where(how_many[:, 0] <= 2, 1.0, values[:, 0])
    smallest = values.masked_fill(~taken, math.inf).amin(dim=1, keepdim=True)
    # As the mapping of songs to classes does it: with more than six, the weakest becomes 0.
    values = torch.where(how_many > 6, values - smallest, values) * taken
    values = values / values.amax(dim=1, keepdim=True)
    values = values**SHARPENING
    values = torch.where(how_many > 2, values * (0.75 + 0.25 * uniform(count, 1)), values)
    return torch.zeros(count, classes, device=device).scatter_(1, chosen, values)


# Loss ----------------------------------------------------------------------------------------------------------------


def differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbouring pixels, down and across."""
    return x[:, :, 1:] - x[:, :, :-1], x[..., 1:] - x[..., :-1]


def edge_strength(x: Tensor) -> Tensor:
    """Root mean square of the gradient in windows of 8x8 pixels."""
    down, across = differences(x)
    squares = down[..., 1:].square() + across[:, :, 1:].square()
    return torch.sqrt(F.avg_pool2d(squares.mean(dim=1, keepdim=True), 8, 4) + 1e-4)


def box_similarity(x: Tensor, y: Tensor) -> Tensor:
    """SSIM's term of structure on lightness in -1..1, in square windows of 7 pixels (which are cheap)."""
    moments = torch.cat([x, y, x * x, y * y, x * y], dim=1)
    mean_x, mean_y, xx, yy, xy = F.avg_pool2d(moments, 7, 2).unbind(dim=1)
    return (2 * (xy - mean_x * mean_y) + 0.004) / (xx - mean_x**2 + yy - mean_y**2 + 0.004)


def losses(drawn: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The loss, and the mean absolute error of each picture (n,).

    Errors and errors of gradients at three scales place things. By themselves they reward a blur where the place of an
    edge is uncertain. The strength of edges, wherever they are, and the structure within small windows do not.
    """
    error = drawn - target
    each_error = error.abs().mean(dim=(1, 2, 3))
    total = 0
    for of_error, of_gradient in SCALES:
        down, across = differences(error)
        total = total + of_error * error.abs().mean() + of_gradient * (down.abs().mean() + across.abs().mean())
        error = F.avg_pool2d(error, 2)
    total = total + EDGES * (edge_strength(drawn) - edge_strength(target)).abs().mean()
    light, target_light = drawn.mean(dim=1, keepdim=True), target.mean(dim=1, keepdim=True)
    return total + STRUCTURE * (1 - box_similarity(light, target_light)).mean(), each_error


# The run -------------------------------------------------------------------------------------------------------------


def parse_stages(text: str) -> list[tuple[int, float]]:
    """ "64:0.4,128:0.6" -> [(64, 0.4), (128, 1.0)]: resolutions, and the share of all steps at which each ends."""
    stages, end = [], 0.0
    for stage in text.split(","):
        resolution, share = stage.split(":")
        end += float(share)
        stages.append((int(resolution), end))
    return stages


def learning_rate(step: int, steps: int) -> float:
    """Factor of the learning rate at a step."""
    falling = min(1, max(0.0, step / steps - PLATEAU) / (1 - PLATEAU))
    return min(1, (step + 1) / WARM_UP) * (FINAL_RATE + (1 - FINAL_RATE) * (0.5 + 0.5 * math.cos(math.pi * falling)))


class Training:
    """A run's state, and the steps that change it.

    Args:
        targets: what to learn.
        width, resolution: of the network.
        steps: of the whole run.
        stages: resolutions to train at, as `parse_stages` returns them.
        batch: pictures a step.
        rate: the learning rate.
        seed: another seed, another run.
        device: "cpu" or "cuda".
        bf16: compute the network in bfloat16.
        workers: threads that share a batch, each on one core. They wait for each other once a step. Threads
            within an operation do so a thousand times, which on a busy machine is ten times as slow.
        compiled: compile the network, which takes a minute and is worth it on a GPU.
    """

    def __init__(
        self, targets: Targets, *, width: int, resolution: int, steps: int, stages: list[tuple[int, float]], batch: int,
        rate: float, seed: int = 0, device: str = "cpu", bf16: bool = False,
        workers: int = 1, compiled: bool = False,
    ) -> None:  # fmt: skip
        self.targets, self.steps, self.stages, self.batch, self.rate = targets, steps, stages, batch, rate
        self.device, self.bf16, self.workers = device, bf16, workers
        self.pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self.classes = len(targets.names)
        torch.manual_seed(seed)
        self.network = Network(self.classes, width, resolution)
        self.network.to(device, memory_format=torch.channels_last)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.difficulty = torch.ones(self.classes, device=device)
        self.network.calibrate(*self.conditions(64))
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.step = 0
        slow = [weight for name, weight in self.network.named_parameters() if name != "embeddings"]
        groups = [{"params": slow, "pace": 1}, {"params": [self.network.embeddings], "pace": EMBEDDING_RATE}]
        self.optimizer = torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.98), fused=device == "cuda")
        self.draw = torch.compile(self.network) if compiled else self.network

    def conditions(self, count: int) -> tuple[Tensor, Tensor]:
        """Random factors and class weights; classes that are drawn badly are chosen more often."""
        likelihood = (self.difficulty / self.difficulty.mean()).clamp(0.5, 3)
        return draw_factors(count, self.generator), draw_weights(count, likelihood, self.generator)

    def resolution(self) -> int:
        """Resolution of the present step."""
        return next((size for size, end in self.stages if self.step < end * self.steps), self.stages[-1][0])

    def advance(self) -> tuple[Tensor, Tensor]:
        """One step; the loss, and the mean absolute error over the batch."""
        factors, weights = self.conditions(self.batch)
        # Every worker gets the same shares of single classes, pairs and mixtures.
        parts = [(factors[first :: self.workers], weights[first :: self.workers]) for first in range(self.workers)]
        results = list(self.pool.map(self.gradients, parts) if self.pool else map(self.gradients, parts))
        parameters = list(self.network.parameters())
        for parameter, *gradients in zip(parameters, *(gradients for *_, gradients in results)):
            used = [gradient for gradient in gradients if gradient is not None]  # a low resolution skips layers
            parameter.grad = sum(used) / self.workers if used else None
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group["pace"] * learning_rate(self.step, self.steps)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        self.follow()
        for (_, weights), (_, errors, _) in zip(parts, results):
            self.judge(weights, errors)
        loss, error = (sum(values) / self.workers for values in zip(*((part[0], part[1].mean()) for part in results)))
        return loss, error

    def gradients(self, conditions: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
        """Loss, error of each picture, and gradients of all parameters, for a part of a batch."""
        target = self.targets.render(*conditions, self.resolution()).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            drawn = self.draw(*conditions, self.resolution())
        loss, errors = losses(drawn.float(), target)
        gradients = torch.autograd.grad(loss, list(self.network.parameters()), allow_unused=True)
        return loss.detach(), errors.detach(), gradients

    @torch.no_grad()
    def follow(self) -> None:
        """Move the averaged weights towards the present ones, faster at first."""
        share = 1 - min(AVERAGING, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), share)

    def judge(self, weights: Tensor, errors: Tensor) -> None:
        """Update the difficulty of classes that were alone in their picture."""
        alone = ((weights > 0).sum(dim=1) == 1).float()
        index = weights.argmax(dim=1)
        seen = torch.zeros_like(self.difficulty).index_add(0, index, alone)
        total = torch.zeros_like(self.difficulty).index_add(0, index, alone * errors)
        noted = FORGETTING * self.difficulty + (1 - FORGETTING) * total / seen.clamp(min=1)
        self.difficulty = torch.where(seen > 0, noted, self.difficulty)

    @torch.no_grad()
    def start_from(self, path: Path) -> None:
        """Start from another run of the same width, which may have fewer classes and smaller pictures."""
        network, names = read_checkpoint(path)
        self.require_names(names, path)
        known = network.embeddings
        likely = torch.randn(self.classes - len(names), known.shape[1])
        unknown = known.mean(dim=0) + 0.5 * known.std(dim=0) * likely
        network.embeddings = torch.nn.Parameter(torch.cat([known, unknown]))
        self.network.grow_from(network.to(self.device), *self.conditions(64))
        self.average.load_state_dict(self.network.state_dict())

    def require_names(self, names: list[str], path: Path) -> None:
        """Stop unless the classes of a checkpoint are the first of ours."""
        if names != self.targets.names[: len(names)]:
            raise SystemExit(f"{path}: its classes are others, or in another order, than those of the textures")

    def save(self, path: Path) -> None:
        """Write the state; after a kill the last complete one is there."""
        state = {
            "step": self.step,
            "names": self.targets.names,
            "width": self.network.width,
            "resolution": self.network.resolution,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "difficulty": self.difficulty,
            "generator": self.generator.get_state(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Restore the state that `save` wrote."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.require_names(state["names"], path)
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.difficulty = state["difficulty"]
        self.generator.set_state(state["generator"].cpu())

    @torch.no_grad()
    def examine(self, grid: Path) -> dict[str, float]:
        """Draw every class and some mixtures with the averaged weights; write the grid, return figures."""
        generator = torch.Generator(self.device).manual_seed(1)
        resolution = self.resolution()
        mixtures = draw_weights(64, torch.ones(self.classes, device=self.device), generator)[-24:]
        weights = torch.cat([torch.eye(self.classes, device=self.device), mixtures])
        factors = 0.9 * torch.randn(len(weights), FACTORS, device=self.device, generator=generator)
        drawn = torch.cat([self.average(*part, resolution) for part in zip(factors.split(16), weights.split(16))])
        target = torch.cat(
            [self.targets.render(*part, resolution) for part in zip(factors.split(16), weights.split(16))]
        )
        write_png(grid, tile(torch.cat([pair for row in zip(drawn.split(8), target.split(8)) for pair in row]), 16))
        single, mixed = slice(0, self.classes), slice(self.classes, None)
        return {
            "ssim": float(ssim(drawn[single], target[single]).mean()),
            "ssim_mixed": float(ssim(drawn[mixed], target[mixed]).mean()),
            "gradient_energy": float(gradient_energy(drawn[single]).mean() / gradient_energy(target[single]).mean()),
        }


def run(training: Training, folder: Path) -> None:
    """Train to the end, reporting and saving at intervals."""
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        training.load(checkpoint)
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
                    report |= training.examine(folder / f"grid-{training.step}.png")
                left = (training.steps - training.step) * training.batch / speed / 60
                line = {key: round(value, 4) for key, value in report.items()}
                print(json.dumps(line), f"{left:.0f} min left", flush=True)
                print(json.dumps(line), file=log, flush=True)
                start, reported, sums = time.monotonic(), training.step, torch.zeros_like(sums)
            if training.step % SAVE_EVERY == 0 or training.step == training.steps:
                training.save(checkpoint)


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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--init", type=Path, help="checkpoint of another run to start from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="faster on GPUs, and on CPUs with AVX512_BF16")
    parser.add_argument("--workers", type=int, default=1, help="threads that share a batch, on a CPU")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    if arguments.stages[-1][0] != arguments.resolution:
        parser.error(f"--stages: the last is to be {arguments.resolution}, the resolution")
    if arguments.workers > 1:
        torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    training = Training(
        Targets.load(arguments.textures, arguments.device),
        width=arguments.width,
        resolution=arguments.resolution,
        steps=arguments.steps,
        stages=arguments.stages,
        batch=arguments.batch,
        rate=arguments.lr,
        seed=arguments.seed,
        device=arguments.device,
        bf16=arguments.bf16,
        workers=arguments.workers,
        compiled=arguments.compile,
    )
    if arguments.init:
        training.start_from(arguments.init)
    folder = Path(__file__).parent / arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    run(training, folder)


if __name__ == "__main__":
    main()
