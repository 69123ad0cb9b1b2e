"""Learning by regression: draw random conditions, render their targets, learn to draw the same."""

from __future__ import annotations

import copy
import io
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from musicvideo import files
from musicvideo.vision.generators.pocket.conventions import SHARPENING
from musicvideo.vision.training.metrics import gradient_energy, ssim
from musicvideo.vision.training.network import Network
from musicvideo.vision.training.targets import FACTORS, Targets

PITCHES = 12  # classes that a song mixes, at most
PAIRS = 0.15  # share of a batch with two classes
SCALES = ((1.0, 0.7), (0.5, 0.5), (0.5, 0.5))  # weights of errors and their gradients, at sizes 1, 1/2, 1/4
EDGES, STRUCTURE, MATTE = 2.0, 1.0, 0.2  # weights of the other three parts of the loss
WARM_UP = 100  # steps until the learning rate is reached
PLATEAU = 0.4  # share of all steps at that rate; then a cosine down to FINAL_RATE
FINAL_RATE = 0.02  # share of the learning rate
EMBEDDING_RATE = 4  # learning rate of embeddings, relative to the rest: each is used seldom
AVERAGING = 0.998  # decay of the average of the weights over steps, which is exported
FORGETTING = 0.9  # decay of a class's difficulty each time it is seen
MIXTURES = 24  # that an examination draws
AT_ONCE = 4  # pictures of an examination that a worker draws at a time, so that they take less memory than training

# Conditions ----------------------------------------------------------------------------------------------------------


def draw_factors(count: int, generator: torch.Generator) -> Tensor:
    """Factors (count, FACTORS) as trajectories have them, from small ones of low truncations to limits of +-2."""
    spread = torch.empty(count, 1, device=generator.device).uniform_(0.4, 1.25, generator=generator)
    return spread * torch.randn(count, FACTORS, device=generator.device, generator=generator)


def draw_weights(count: int, likelihood: Tensor, generator: torch.Generator, singles: float) -> Tensor:
    """Class weights (count, K) as songs make them: one class, two, then three to twelve, as far as there are.

    About half of those with more than two have twelve, as songs have unless told otherwise.

    Args:
        likelihood: (K,) how often each class is drawn, any scale.
        singles: share of those with one class.
    """
    device, classes = generator.device, len(likelihood)
    most = min(PITCHES, classes)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, device=device, generator=generator)

    # The largest of log-likelihoods with Gumbel noise are a draw without replacement.
    keys = likelihood.log() - (-uniform(count, classes).clamp(1e-9, 1 - 1e-6).log()).log()
    chosen = keys.topk(most, dim=1).indices
    how_many = torch.randint(min(3, most), most + 1, (count, 1), device=device, generator=generator)
    how_many = torch.where(uniform(count, 1) < 0.5, most, how_many)
    ones, twos = round(singles * count), round(PAIRS * count)
    how_many[:ones] = 1
    how_many[ones : ones + twos] = 2

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


def misplacement(error: Tensor) -> Tensor:
    """Errors and errors of gradients at three scales, of differences (n, c, h, w)."""
    total = error.new_zeros(())
    for of_error, of_gradient in SCALES:
        down, across = differences(error)
        total = total + of_error * error.abs().mean() + of_gradient * (down.abs().mean() + across.abs().mean())
        error = F.avg_pool2d(error, 2)
    return total


def losses(drawn: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of pictures with their mattes, and the mean absolute error of each picture (n,).

    Errors and errors of gradients at three scales place things. By themselves they reward a blur where the place of an
    edge is uncertain. The strength of edges, wherever they are, and the structure within small windows do not. A matte
    has nothing but its place.
    """
    of_matte = misplacement(drawn[:, 3:] - target[:, 3:])
    drawn, target = drawn[:, :3], target[:, :3]
    error = drawn - target
    each_error = error.abs().mean(dim=(1, 2, 3))
    total = misplacement(error) + MATTE * of_matte
    total = total + EDGES * (edge_strength(drawn) - edge_strength(target)).abs().mean()
    light, target_light = drawn.mean(dim=1, keepdim=True), target.mean(dim=1, keepdim=True)
    return total + STRUCTURE * (1 - box_similarity(light, target_light)).mean(), each_error


# The run -------------------------------------------------------------------------------------------------------------


def learning_rate(step: int, progress: float) -> float:
    """Factor of the learning rate at a step, after this share of the run."""
    falling = min(1, max(0.0, progress - PLATEAU) / (1 - PLATEAU))
    return min(1, (step + 1) / WARM_UP) * (FINAL_RATE + (1 - FINAL_RATE) * (0.5 + 0.5 * math.cos(math.pi * falling)))


class Training:
    """A run's state, and the steps that change it.

    Args:
        targets: what to learn.
        network: where the run starts.
        steps: of the whole run.
        stages: resolutions to train at, each with the share of the run at which it ends.
        batch: pictures a step.
        rate: the learning rate.
        singles: share of pictures with one class.
        limit: seconds that the run takes at most. Where they are not enough for all steps, the learning rate falls and
            the stages change as fast as the time passes.
        seed: another seed, another run.
        device: "cpu" or "cuda".
        bf16: compute the network in bfloat16.
        workers: threads that share a batch, each on one core. They wait for each other once a step. Threads
            within an operation do so a thousand times, which on a busy machine is ten times as slow.
        compiled: compile the network, which takes a minute and is worth it on a GPU.
    """

    def __init__(
        self,
        targets: Targets,
        network: Network,
        *,
        steps: int,
        stages: Sequence[tuple[int, float]],
        batch: int,
        rate: float,
        singles: float,
        limit: float = math.inf,
        seed: int = 0,
        device: str = "cpu",
        bf16: bool = False,
        workers: int = 1,
        compiled: bool = False,
    ) -> None:
        self.targets, self.steps, self.stages, self.batch, self.rate = targets, steps, stages, batch, rate
        self.singles, self.limit, self.device, self.bf16, self.workers = singles, limit, device, bf16, workers
        self.pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self.classes = len(targets.names)
        self.network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.generator = torch.Generator(device).manual_seed(seed)
        self.difficulty = torch.ones(self.classes, device=device)
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.step, self.seconds = 0, 0.0
        slow = [weight for name, weight in network.named_parameters() if name != "embeddings"]
        groups = [{"params": slow, "pace": 1}, {"params": [network.embeddings], "pace": EMBEDDING_RATE}]
        self.optimizer = torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.98), fused=True)
        self.draw = torch.compile(network) if compiled else network

    @property
    def progress(self) -> float:
        """Share of the run that is done: of its steps or of its time, whichever is nearer to the end."""
        return max(self.step / self.steps, self.seconds / self.limit)

    def conditions(self, count: int) -> tuple[Tensor, Tensor]:
        """Random factors and class weights; classes that are drawn badly are chosen more often."""
        likelihood = (self.difficulty / self.difficulty.mean()).clamp(0.5, 3)
        weights = draw_weights(count, likelihood, self.generator, self.singles)
        return draw_factors(count, self.generator), weights

    def resolution(self) -> int:
        """Resolution of the present step."""
        return next((size for size, end in self.stages if self.progress < end), self.stages[-1][0])

    def advance(self) -> tuple[Tensor, Tensor]:
        """One step; the loss, and the mean absolute error over the batch."""
        begin = time.monotonic()
        factors, weights = self.conditions(self.batch)
        # Every worker gets about the same shares of single classes, pairs and mixtures.
        parts = [(factors[first :: self.workers], weights[first :: self.workers]) for first in range(self.workers)]
        results = list(self.pool.map(self.gradients, parts) if self.pool else map(self.gradients, parts))
        parameters = list(self.network.parameters())
        for parameter, *gradients in zip(parameters, *(gradients for *_, gradients in results)):
            used = [gradient for gradient in gradients if gradient is not None]  # a low resolution skips layers
            # In the layout of the parameter, since the fused optimizer goes through both in memory's order.
            parameter.grad = torch.empty_like(parameter).copy_(sum(used) / self.workers) if used else None
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group["pace"] * learning_rate(self.step, self.progress)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        self.follow()
        for (_, weights), (_, errors, _) in zip(parts, results):
            self.judge(weights, errors)
        loss, error = (sum(values) / self.workers for values in zip(*((part[0], part[1].mean()) for part in results)))
        self.seconds += time.monotonic() - begin
        return loss, error

    def gradients(self, conditions: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
        """Loss, error of each picture, and gradients of all parameters, for a part of a batch."""
        target = self.targets.render(*conditions, self.resolution())
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            drawn = self.draw(*conditions, self.resolution())
        # The loss compares neighbouring pixels of a channel. Contiguous channels make that faster.
        loss, errors = losses(drawn.to(torch.float32, memory_format=torch.contiguous_format), target)
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

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on as if there had been no interruption."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "difficulty": self.difficulty,
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.step, self.seconds = state["step"], state["seconds"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.difficulty = state["difficulty"]
        self.generator.set_state(state["generator"].cpu())

    @torch.no_grad()
    def examine(self, resolution: int) -> tuple[dict[str, float], np.ndarray]:
        """Draw every class and some mixtures with the averaged weights.

        Returns:
            Figures by name, and the pictures side by side, uint8 (h, w, 3): eight drawn ones, then their targets.
        """
        generator = torch.Generator(self.device).manual_seed(1)
        mixtures = draw_weights(MIXTURES, torch.ones(self.classes, device=self.device), generator, singles=0)
        weights = torch.cat([torch.eye(self.classes, device=self.device), mixtures])
        factors = 0.9 * torch.randn(len(weights), FACTORS, device=self.device, generator=generator)
        share = self.pool.map if self.pool else map
        conditions = factors.split(AT_ONCE), weights.split(AT_ONCE)
        drawn = torch.cat(list(share(self.average, *conditions, repeat(resolution))))
        target = torch.cat(list(share(self.targets.render, *conditions, repeat(resolution))))
        (drawn, matte), (target, wanted) = (pictures.split(3, dim=1) for pictures in (drawn, target))
        alike, mattes_alike = (
            torch.cat(list(share(ssim, pictures.split(AT_ONCE), targets.split(AT_ONCE))))
            for pictures, targets in ((drawn, target), (matte, wanted))
        )
        grid = tile(torch.cat([pair for row in zip(drawn.split(8), target.split(8)) for pair in row]), 16)
        single, mixed = slice(0, self.classes), slice(self.classes, None)
        return {
            "ssim": float(alike[single].mean()),
            "ssim_mixed": float(alike[mixed].mean()),
            "matte_ssim": float(mattes_alike.mean()),
            "gradient_energy": float(gradient_energy(drawn[single]).mean() / gradient_energy(target[single]).mean()),
        }, grid


def tile(pictures: Tensor, columns: int) -> np.ndarray:
    """Pictures (n, 3, h, w) in -1..1 side by side, row after row: uint8 (rows * h, columns * w, 3)."""
    count, _, height, width = pictures.shape
    rows = -(-count // columns)
    canvas = np.zeros((rows * columns, height, width, 3), np.uint8)
    canvas[:count] = pictures.add(1).mul(127.5).clamp(0, 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return canvas.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a state; after a kill the last complete one is there.

    Raises:
        MediaError: no space left.
    """
    stream = io.BytesIO()  # torch reports a full disk as a fault of its own
    torch.save(state, stream)
    with files.atomic(path) as partial:
        partial.write_bytes(stream.getbuffer())
