"""A checkpoint -> weights that the stock class loads like other weights.

    python -m training.pocket.export training/pocket/runs/first/checkpoint.pt

Writes `musicvideo/assets/pocket/`: `config.json`, `model.safetensors` in fp16, and `labels.json`, the names of the
classes in the order of their ids. `NOTICE` is there already.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from pytorch_pretrained_biggan import BigGAN, BigGANConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from musicvideo.vision.generators.pocket import FOLDER as ASSETS
from training.pocket.network import EMBEDDING, EPSILON, LAYERS, Network, read_checkpoint
from training.pocket.targets import FACTORS, NOISE, directions

POWER_ITERATIONS = 30


def configuration(network: Network) -> BigGANConfig:
    """The stock model's configuration. Attention is off: position -1 is before every layer."""
    return BigGANConfig(
        output_dim=network.resolution,
        z_dim=NOISE,
        class_embed_dim=EMBEDDING,
        channel_width=network.width,
        num_classes=len(network.embeddings),
        layers=LAYERS[network.resolution],
        attention_layer_position=-1,
        eps=EPSILON,
    )


@torch.no_grad()
def stock_model(network: Network) -> BigGAN:
    """The stock model that draws what the network draws, for noise z where the network was given P z."""
    network = network.float().cpu()
    model = BigGAN(configuration(network))
    generator = model.generator
    model.embeddings.weight.copy_(network.embeddings.t())

    def spread(weight: Tensor) -> Tensor:
        """Columns for the factors -> columns for the noise."""
        return torch.cat([weight[:, :FACTORS] @ directions(), weight[:, FACTORS:]], dim=1)

    copy_weight(generator.gen_z, spread(network.start.weight), network.start.bias)
    scales, offsets = spread(network.modulation.weight).chunk(2)
    for layer, block in zip(generator.layers, network.blocks):
        for index, place in enumerate(block.norms):
            ours, theirs = getattr(block, f"conv_{index}"), getattr(layer, f"conv_{index}")
            copy_weight(theirs, ours.weight, ours.bias)
            norm = getattr(layer, f"bn_{index}")
            copy_weight(norm.scale, scales[place])
            copy_weight(norm.offset, offsets[place])
            norm.running_means.copy_(network.mean[place].expand_as(norm.running_means))
            norm.running_vars.copy_(network.variance[place].expand_as(norm.running_vars))
    generator.bn.weight.copy_(network.norm[0])
    generator.bn.bias.copy_(network.norm[1])
    generator.bn.running_means.copy_(network.last_mean.expand_as(generator.bn.running_means))
    generator.bn.running_vars.copy_(network.last_variance.expand_as(generator.bn.running_vars))
    # The stock model computes `width` channels and uses the first three.
    hidden = network.width - len(network.to_rgb.weight)
    copy_weight(
        generator.conv_to_rgb,
        F.pad(network.to_rgb.weight, (0, 0, 0, 0, 0, 0, 0, hidden)),
        F.pad(network.to_rgb.bias, (0, hidden)),
    )
    return model.eval()


def copy_weight(module: nn.Module, weight: Tensor, bias: Tensor | None = None) -> None:
    """Set a spectrally normed weight so that its norm leaves it unchanged.

    The norm divides by u W v. v is the right singular vector, and u is scaled so that u W v is 1.
    """
    weight = weight.half().float()  # as the exported file will be read
    module.weight_orig.copy_(weight)
    rows = weight.flatten(1)
    right = F.normalize(torch.ones(rows.shape[1]), dim=0)
    for _ in range(POWER_ITERATIONS):
        left = F.normalize(rows @ right, dim=0)
        right = F.normalize(rows.t() @ left, dim=0)
    module.weight_u.copy_(left / torch.dot(left, rows @ right))
    module.weight_v.copy_(right)
    if bias is not None:
        module.bias.copy_(bias)


def save(model: BigGAN, names: list[str], folder: Path) -> None:
    """Write the model: matrices in fp16, vectors, which are small, in fp32."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.half() if value.dim() > 1 else value for key, value in model.state_dict().items()}
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(model.config.to_json_string(), encoding="utf-8")
    (folder / "labels.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")


def load(folder: Path) -> tuple[BigGAN, list[str]]:
    """The stock model that `save` wrote, in evaluation mode, and the names of its classes."""
    model = BigGAN(BigGANConfig.from_json_file(folder / "config.json"))
    state = {key: value.float() for key, value in load_file(folder / "model.safetensors").items()}
    model.load_state_dict(state, strict=True)
    return model.eval().requires_grad_(False), json.loads((folder / "labels.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A checkpoint -> weights that the stock class loads.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--folder", type=Path, default=ASSETS)
    arguments = parser.parse_args()
    trained, class_names = read_checkpoint(arguments.checkpoint)
    save(stock_model(trained), class_names, arguments.folder)
    size = (arguments.folder / "model.safetensors").stat().st_size
    print(f"{arguments.folder}: {len(class_names)} classes, {size / 1e6:.1f} MB")
