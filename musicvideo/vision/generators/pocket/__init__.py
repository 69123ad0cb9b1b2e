"""Pocket: a small BigGAN-deep that comes with this package, trained by this project (see training/pocket)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicvideo.vision.generators.record import Options, Record

if TYPE_CHECKING:
    import pytorch_pretrained_biggan

    from musicvideo.vision.generators.pocket.generator import Pocket

FOLDER = Path(__file__).parents[3] / "assets" / "pocket"  # weights, configuration, labels, notice
WEIGHTS = FOLDER / "model.safetensors"


def labels(folder: Path = FOLDER) -> list[str]:
    """Names of the classes of weights in a folder."""
    return json.loads((folder / "labels.json").read_text(encoding="utf-8"))


def model(folder: Path = FOLDER) -> pytorch_pretrained_biggan.BigGAN:
    """The library's model with the weights in a folder, in evaluation mode."""
    from pytorch_pretrained_biggan import BigGANConfig

    from musicvideo.vision.generators import weights

    return weights.read(folder / WEIGHTS.name, BigGANConfig.from_json_file(folder / "config.json"))


def has_matte(config: Mapping[str, Any]) -> bool:
    """Whether weights with this configuration draw a matte in the fourth channel, which the library leaves out."""
    return config.get("matte", False)


def load(options: Options, folder: Path = FOLDER) -> Pocket:
    """The generator of the weights in a folder, ready to draw."""
    from musicvideo.vision.generators.pocket.generator import MattedPocket, Pocket

    network = model(folder)
    kind = MattedPocket if has_matte(vars(network.config)) else Pocket
    return kind(
        network, labels(folder), truncation=options.truncation, device=options.device, precision=options.precision
    )


CONFIGURATION = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
RECORDS = (
    Record(
        name="pocket",
        help="96 things drawn in the style of emoji; comes with this package",
        labels=labels,
        load=load,
        resolutions=(CONFIGURATION["output_dim"],),
        weights_file=lambda options: WEIGHTS,
        matte=has_matte(CONFIGURATION),
        licence="learned from Microsoft's Fluent Emoji, MIT licence: keep musicvideo/assets/pocket/NOTICE with copies",
    ),
)
