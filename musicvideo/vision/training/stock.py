"""The trained network as a model of the stock class, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_pretrained_biggan import BigGAN, BigGANConfig
from safetensors.torch import save as serialise
from torch import Tensor

from musicvideo.vision.generators.biggan.architecture import LAYERS
from musicvideo.vision.generators.pocket.conventions import NOISE, directions
from musicvideo.vision.training.network import EMBEDDING, EPSILON, Network, bias_of
from musicvideo.vision.training.targets import CHANNELS, FACTORS

POWER_ITERATIONS = 30


def configuration(network: Network) -> BigGANConfig:
    """The stock model's configuration. Attention is off: position -1 is before every layer.

    The stock model ignores what is said of the matte.
    """
    config = BigGANConfig(
        output_dim=network.resolution,
        z_dim=NOISE,
        class_embed_dim=EMBEDDING,
        channel_width=network.width,
        num_classes=len(network.embeddings),
        layers=LAYERS[network.resolution],
        attention_layer_position=-1,
        eps=EPSILON,
    )
    config.matte = True
    return config


@torch.no_grad()
def stock_model(network: Network) -> BigGAN:
    """The stock model that draws what the network draws, for noise z where the network was given P z."""
    network = network.float().cpu()
    model = BigGAN(configuration(network))
    generator = model.generator
    along = torch.tensor(directions()).float()
    model.embeddings.weight.copy_(network.embeddings.t())

    def spread(weight: Tensor) -> Tensor:
        """Columns for the factors -> columns for the noise."""
        return torch.cat([weight[:, :FACTORS] @ along, weight[:, FACTORS:]], dim=1)

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
    # The stock model computes `width` channels and uses the first three. The matte is the fourth.
    hidden = network.width - CHANNELS
    copy_weight(
        generator.conv_to_rgb,
        F.pad(network.gains[:, None, None, None] * network.to_pixels.weight, (0, 0, 0, 0, 0, 0, 0, hidden)),
        F.pad(network.gains * bias_of(network.to_pixels), (0, hidden)),
    )
    return model.eval()


def copy_weight(module: Any, weight: Tensor, bias: Tensor | None = None) -> None:
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


@torch.no_grad()
def trainable(model: BigGAN) -> Network:
    """The network whose `stock_model` is this model, ready to be trained further.

    The matte of a model without one is the same everywhere.
    """
    config, generator = model.config, model.generator
    network = Network(config.num_classes, config.channel_width, config.output_dim)
    across = torch.tensor(directions()).float().t()

    def gather(weight: Tensor) -> Tensor:
        """Columns for the noise -> columns for the factors."""
        return torch.cat([weight[:, :NOISE] @ across, weight[:, NOISE:]], dim=1)

    network.embeddings.copy_(model.embeddings.weight.t())
    network.start.weight.copy_(gather(generator.gen_z.weight_orig))
    network.start.bias.copy_(generator.gen_z.bias)
    scales, offsets = network.modulation.weight.chunk(2)
    for layer, block in zip(generator.layers, network.blocks):
        for index, place in enumerate(block.norms):
            ours, theirs = getattr(block, f"conv_{index}"), getattr(layer, f"conv_{index}")
            ours.weight.copy_(theirs.weight_orig)
            ours.bias.copy_(theirs.bias)
            norm = getattr(layer, f"bn_{index}")
            scales[place] = gather(norm.scale.weight_orig)
            offsets[place] = gather(norm.offset.weight_orig)
            network.mean[place] = norm.running_means[0]
            network.variance[place] = norm.running_vars[0]
    network.norm.copy_(torch.stack([generator.bn.weight, generator.bn.bias]))
    network.last_mean.copy_(generator.bn.running_means[0])
    network.last_variance.copy_(generator.bn.running_vars[0])
    network.to_pixels.weight.copy_(generator.conv_to_rgb.weight_orig[:CHANNELS] / network.gains[:, None, None, None])
    bias_of(network.to_pixels).copy_(generator.conv_to_rgb.bias[:CHANNELS] / network.gains)
    return network


def save(model: BigGAN, names: Sequence[str], folder: Path) -> None:
    """Write the model: matrices in fp16, vectors, which are small, in fp32.

    Raises:
        OSError: no space left, no permission.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.half() if value.dim() > 1 else value for key, value in model.state_dict().items()}
    # As bytes: the library's own writing reports a full disk as a fault of its own.
    (folder / "model.safetensors").write_bytes(serialise({key: value.contiguous() for key, value in state.items()}))
    (folder / "config.json").write_text(model.config.to_json_string(), encoding="utf-8")
    (folder / "labels.json").write_text(json.dumps(names, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
