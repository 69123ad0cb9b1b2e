"""BigGAN-deep as a generator: conditions to styles, styles to pictures, pictures to bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_pretrained_biggan import BigGAN as Library
from torch import Tensor

from musicvideo.vision.generators import backends, hardware
from musicvideo.vision.generators.biggan.network import Network
from musicvideo.vision.generators.record import Handle

STYLES = 16  # pictures whose styles are computed at a time; see `BigGAN.styles`


class BigGAN:
    """BigGAN-deep as a `Generator`.

    Args:
        model: the library's, with its weights; it is modified.
        labels: names of its classes.
        truncation: 0.1..1, at which the batch norms look their statistics up.
        device: "cpu", "cuda", "cuda:N", "mps", or "auto" for the fastest that is there.
        precision: "fp32", "fp16", "bf16", "auto" for fp16 on a GPU where the pictures stay the same, or "lowest" for
            bf16 on a CPU as well, where nearly the same pictures are enough.

    Raises:
        ValueError: an unknown truncation, device or precision.
        MediaError: no such device in this machine.
    """

    channels = 3  # of its pictures

    def __init__(
        self,
        model: Library,
        labels: Sequence[str],
        *,
        truncation: float = 1.0,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        if not 0 < truncation <= 1:
            raise ValueError(f"truncation: {truncation} is not in 0..1")
        self.labels = labels
        self.noise_dim = model.config.z_dim
        self.resolution = model.config.output_dim
        self.embeddings = model.embeddings.weight
        network = Network(model, truncation, self.channels)
        self.style_weight, self.style_bias = network.style_weight, network.style_bias
        self.backend = backends.start(network, backends.devices(device), precision)

    @property
    def handles(self) -> Mapping[str, Handle]:
        return {}  # the meaning of its directions is unknown

    @property
    def runs_on(self) -> str:
        return self.backend.name

    @property
    def computed_by(self) -> Mapping[str, str]:
        # Styles are computed by torch on the CPU, whatever computes the pictures.
        return {**hardware.cpu(), **hardware.versions("torch"), **self.backend.computed_by}

    def frames(self, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Draw pictures; see `musicvideo.vision.generators.Generator`."""
        return to_host(map(to_bytes, self.pictures(noise, classes)))

    def pictures(self, noise: np.ndarray, classes: np.ndarray) -> Iterator[Tensor]:
        """Draw (b, channels, H, W) in -1..1, a few at a time."""
        for styles in self.styles(torch.as_tensor(noise).float(), torch.as_tensor(classes).float()):
            yield self.backend(styles)

    def styles(self, noise: Tensor, classes: Tensor) -> Iterator[Tensor]:
        """Styles (b, S) of noise (B, noise_dim) and class weights (B, classes), a few at a time.

        The matrix is read once for `STYLES` pictures. Smaller batches are padded: a product of another shape may round
        differently, and a picture must not depend on its batch.
        """
        for noise, classes in zip(noise.split(STYLES), classes.split(STYLES)):
            count = len(noise)
            noise, classes = (F.pad(rows, (0, 0, 0, STYLES - count)) for rows in (noise, classes))
            condition = torch.cat([noise, F.linear(classes, self.embeddings)], dim=1)
            yield F.linear(condition, self.style_weight, self.style_bias)[:count]


class Reference:
    """The library's own model as a `Generator`: the reference for our pictures and our speed.

    Args:
        model, labels, truncation: as for `BigGAN`.
    """

    handles: Mapping[str, Handle] = {}
    runs_on = "the library's torch on the CPU, float32"

    def __init__(self, model: Library, labels: Sequence[str], *, truncation: float = 1.0) -> None:
        self.labels = labels
        self.noise_dim = model.config.z_dim
        self.resolution = model.config.output_dim
        self.truncation = truncation
        self.model = model

    @property
    def computed_by(self) -> Mapping[str, str]:
        return {
            "backend": self.runs_on,
            "threads": str(torch.get_num_threads()),
            **hardware.cpu(),
            **hardware.versions("torch", "pytorch-pretrained-biggan"),
        }

    def frames(self, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Draw pictures one at a time; see `musicvideo.vision.generators.Generator`."""
        return to_host(to_bytes(self.pictures(*pair)) for pair in zip(noise[:, None], classes[:, None]))

    @torch.inference_mode()
    def pictures(self, noise: np.ndarray, classes: np.ndarray) -> Tensor:
        """Draw (B, 3, H, W) in -1..1, all at once."""
        return self.model(torch.as_tensor(noise).float(), torch.as_tensor(classes).float(), self.truncation)


def to_bytes(pictures: Tensor) -> Tensor:
    """(B, C, H, W) in -1..1 -> uint8 (B, H, W, C), as the library's `convert_to_images`."""
    return pictures.permute(0, 2, 3, 1).add(1).mul_(128).clamp_(0, 255).to(torch.uint8)


def to_host(batches: Iterable[Tensor]) -> np.ndarray:
    """Pictures in batches, on any device, as one array.

    A batch leaves a CUDA device through pinned memory, while the next one is drawn.
    """
    copies = []
    for batch in batches:
        if batch.is_cuda:
            pinned = torch.empty(batch.shape, dtype=batch.dtype, pin_memory=True)
            copies.append(pinned.copy_(batch, non_blocking=True))
        else:
            copies.append(batch.cpu())
    if batch.is_cuda:
        torch.cuda.synchronize(batch.device)
    return torch.cat(copies).numpy()
