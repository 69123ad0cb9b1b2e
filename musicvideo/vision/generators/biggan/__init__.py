"""BigGAN-deep (Brock, Donahue and Simonyan, 2019) with its published weights: the thousand classes of ImageNet."""

from __future__ import annotations

from pathlib import Path

from musicvideo.vision.generators.biggan.architecture import RESOLUTIONS
from musicvideo.vision.generators.record import Generator, Options, Record
from musicvideo.vision.labels import imagenet_labels

LICENCE = "pytorch-pretrained-biggan, MIT licence; its weights learned from ImageNet, whose pictures are for research"


def _load(options: Options) -> Generator:
    # Imported here, so that other generators do not load torch.
    from musicvideo.vision.generators import weights
    from musicvideo.vision.generators.backends import devices
    from musicvideo.vision.generators.biggan.generator import BigGAN

    devices(options.device)  # refuses a wrong device before a download
    model = weights.load(options.resolution, options.weights, progress=options.progress, notice=options.notice)
    return BigGAN(
        model, imagenet_labels(), truncation=options.truncation, device=options.device, precision=options.precision
    )


def _load_reference(options: Options) -> Generator:
    from musicvideo.vision.generators import weights
    from musicvideo.vision.generators.biggan.generator import Reference

    model = weights.load(options.resolution, options.weights, progress=options.progress, notice=options.notice)
    return Reference(model, imagenet_labels(), truncation=options.truncation)


def _file(options: Options) -> Path:
    from musicvideo.vision.generators import weights

    return weights.locate(options.resolution, options.weights, progress=options.progress, notice=options.notice)


PUBLISHED = Record(
    name="biggan",
    help="photographs of ImageNet's thousand classes; downloads its weights",
    labels=imagenet_labels,
    load=_load,
    resolutions=RESOLUTIONS,
    weights_file=_file,
    draws_on_gpu=True,
    licence=LICENCE,
)
REFERENCE = Record(
    name="biggan-reference",
    help="biggan by the published library, to compare with: slower, on the CPU",
    labels=imagenet_labels,
    load=_load_reference,
    resolutions=RESOLUTIONS,
    weights_file=_file,
    licence=LICENCE,
    for_comparison=True,
)
RECORDS = (PUBLISHED, REFERENCE)
