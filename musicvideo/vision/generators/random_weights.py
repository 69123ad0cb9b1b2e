"""Random BigGAN weights, for tests and benchmarks without the published ones.

    python -m musicvideo.vision.generators.random_weights --resolution 128 DIR

The pictures mean nothing, yet they are finite, varied and not saturated, and every layer does its full work.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from pytorch_pretrained_biggan import BigGAN, BigGANConfig
from pytorch_pretrained_biggan.model import BigGANBatchNorm

from musicvideo.vision.generators.biggan.architecture import RESOLUTIONS
from musicvideo.vision.generators.weights import configuration

POWER_ITERATIONS = 5
BATCH = 4  # pictures that statistics are measured on


def random_biggan(resolution: int, seed: int = 0) -> BigGAN:
    """A model of the published architecture with random weights; see `random_model`."""
    return random_model(configuration(resolution), seed)


@torch.no_grad()
def random_model(config: BigGANConfig, seed: int = 0, batch: int = BATCH) -> BigGAN:
    """A model of the library with random weights, calibrated so that its pictures are finite and not saturated.

    Args:
        config: its architecture.
        seed: of the weights.
        batch: pictures that the statistics of its batch norms are measured on.
    """
    torch.manual_seed(seed)
    model = BigGAN(config)
    model.embeddings.weight.normal_(std=0.5)
    model.generator.bn.weight.fill_(1)
    model.generator.bn.bias.fill_(0)
    for module in model.modules():
        if hasattr(module, "gamma"):
            module.gamma.fill_(0.5)  # it is initialised to 0, which switches attention off

    # Spectral norms estimate their singular values by power iterations, which run only in train mode.
    model.train()
    for module in model.modules():
        for hook in getattr(module, "_forward_pre_hooks", {}).values():
            for _ in range(POWER_ITERATIONS):
                hook(module, None)

    # One pass in which every batch norm records the statistics of its input. They differ a little from truncation to
    # truncation, as in the published weights.
    def calibrate(norm, inputs):
        rows = torch.linspace(0.97, 1.0, len(norm.running_means))[:, None]
        norm.running_means.copy_(rows * inputs[0].mean(dim=(0, 2, 3)))
        norm.running_vars.copy_(rows * inputs[0].var(dim=(0, 2, 3)))

    model.eval()
    norms = [module for module in model.modules() if isinstance(module, BigGANBatchNorm)]
    handles = [norm.register_forward_pre_hook(calibrate) for norm in norms]
    classes = torch.eye(config.num_classes)[torch.randint(config.num_classes, (batch,))]
    model(torch.randn(batch, config.z_dim), classes, 1.0)
    for handle in handles:
        handle.remove()
    return model


def save(model: BigGAN, folder: Path) -> None:
    """Write the model as a folder of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a folder of random BigGAN weights of full size.")
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--resolution", type=int, default=128, choices=RESOLUTIONS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    save(random_biggan(arguments.resolution, arguments.seed), arguments.folder)


if __name__ == "__main__":
    main()
