"""Where BigGAN's weights come from, and proof that they are the right ones."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import filelock
import requests
import torch
from platformdirs import user_cache_path
from pytorch_pretrained_biggan import BigGAN, BigGANConfig
from pytorch_pretrained_biggan.model import PRETRAINED_MODEL_ARCHIVE_MAP
from safetensors import SafetensorError
from safetensors.torch import load_file
from tqdm import tqdm

from musicvideo.errors import MediaError
from musicvideo.files import sha256
from musicvideo.vision.generators import EMBEDDED, SILENT

# (up-samples, input channels, output channels) of each block, channels in units of 128.
LAYERS = {
    128: [(False, 16, 16), (True, 16, 16), (False, 16, 16), (True, 16, 8), (False, 8, 8), (True, 8, 4),
          (False, 4, 4), (True, 4, 2), (False, 2, 2), (True, 2, 1)],
    256: [(False, 16, 16), (True, 16, 16), (False, 16, 16), (True, 16, 8), (False, 8, 8), (True, 8, 8),
          (False, 8, 8), (True, 8, 4), (False, 4, 4), (True, 4, 2), (False, 2, 2), (True, 2, 1)],
}  # fmt: skip
LAYERS[512] = LAYERS[256] + [(False, 1, 1), (True, 1, 1)]
RESOLUTIONS = tuple(LAYERS)

# Where one file is published in several places, all are tried. The second is a copy of the first by the same name.
SOURCES = {
    resolution: [PRETRAINED_MODEL_ARCHIVE_MAP[f"biggan-deep-{resolution}"]] for resolution in RESOLUTIONS
}
SOURCES[128].insert(0, "https://huggingface.co/osanseviero/BigGAN-deep-128/resolve/main/pytorch_model.bin")
CHECKSUMS = {256: "5900ef4065047e3aa0d1b66197b7f2664dceb59b27080e414ad57e203c485bc5"}     # SHA-256, where published

CONNECT_TIMEOUT = 5            # seconds; who is offline should know at once
READ_TIMEOUT = 30              # seconds
CHUNK = 1 << 20                # bytes


def configuration(resolution: int) -> BigGANConfig:
    """The published architecture; ValueError for a resolution that was never published."""
    if resolution not in RESOLUTIONS:
        raise ValueError(f"resolution: BigGAN has {', '.join(map(str, RESOLUTIONS))}, not {resolution}")
    return BigGANConfig(output_dim=resolution, layers=LAYERS[resolution])


def load(
    resolution: int, folder: str | os.PathLike | None = None, *, progress: Callable[..., tqdm] = SILENT
) -> BigGAN:
    """The library's model with checked weights, in evaluation mode.

    Args:
        resolution: 128, 256 or 512.
        folder: where the weights are; None looks in the cache, then downloads.
        progress: makes a bar of the download, as tqdm does.

    Raises:
        MediaError: no weights, or files that are not this model's weights.
    """
    configuration(resolution)                   # a resolution that never was is no fault of the folder
    file = find(resolution, folder) if folder is not None else fetch(resolution, progress=progress)
    return read(file, configuration(resolution))


def embedded() -> BigGAN:
    """The library's model with the weights that come with this package, in evaluation mode."""
    return read(EMBEDDED / "model.safetensors", BigGANConfig.from_json_file(EMBEDDED / "config.json"))


def find(resolution: int, folder: str | os.PathLike) -> Path:
    """The file with the weights in a folder, whose config.json, if there is one, must be of this resolution."""
    folder = Path(folder)
    if not folder.is_dir():
        raise MediaError(f"{folder}: no such folder (give the folder that holds {published_name(resolution)})")
    for name in ("config.json", published_name(resolution, "config.json")):
        if (folder / name).is_file():
            check_configuration(folder / name, resolution)
    names = ("model.safetensors", "pytorch_model.bin", published_name(resolution))
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise MediaError(f"{folder}: holds no BigGAN weights of resolution {resolution} (wants {' or '.join(names)})")


def published_name(resolution: int, kind: str = "pytorch_model.bin") -> str:
    """Name of a file at its source."""
    return f"biggan-deep-{resolution}-{kind}"


def check_configuration(file: Path, resolution: int) -> None:
    """MediaError unless a config.json is that of the published model."""
    try:
        found = dict(json.loads(file.read_text(encoding="utf-8")))
        different = [
            f"{key} {found[key]}, not {json.dumps(wanted)}"
            for key, wanted in configuration(resolution).to_dict().items()
            if key in found and found[key] != json.loads(json.dumps(wanted))
        ]
    except (ValueError, TypeError):
        raise MediaError(f"{file}: not a configuration of BigGAN") from None
    if different:
        raise MediaError(f"{file}: these are not the weights of resolution {resolution} (has {different[0][:80]})")


def read(file: Path, config: BigGANConfig) -> BigGAN:
    """The library's model with the weights of a file, which is read without running code from it.

    Every key and shape is compared with the model's, as the library's own loading takes any file in silence.

    Raises:
        MediaError: damaged, no weights at all, or weights of something else; names the first key that differs.
    """
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError, AttributeError):
        raise MediaError(f"{file}: damaged, or no weights of a model (download it again)") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise MediaError(f"{file}: holds no weights of a model")
    model = BigGAN(config)
    wanted = {key: value.shape for key, value in model.state_dict().items()}
    problem = next(
        (f"has no {key}" for key in wanted if key not in state),
        next((f"has {key}, which the model has not" for key in state if key not in wanted), None),
    ) or next(
        (f"{key} is {tuple(state[key].shape)}, not {tuple(shape)}"
         for key, shape in wanted.items() if state[key].shape != shape), None,
    )  # fmt: skip
    if problem:
        raise MediaError(f"{file}: not the weights of BigGAN-deep {config.output_dim} ({problem})")
    model.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    return model.eval().requires_grad_(False)


def cache() -> Path:
    """The folder that downloads go to."""
    return user_cache_path("musicvideo") / "biggan"


def fetch(resolution: int, *, progress: Callable[..., tqdm] = SILENT) -> Path:
    """The file with the weights in the cache, downloaded if it is not there yet.

    A download that breaks off is kept and goes on where it stopped. Nothing that was not read whole and found
    right appears under its final name.

    Raises:
        MediaError: not to be had; says which file to put where.
    """
    configuration(resolution)
    file = cache() / published_name(resolution)
    if file.is_file():
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(file.with_name(f".{file.name}.lock")):      # another run may be fetching it now
        return file if file.is_file() else _fetch(resolution, file, progress)


def _fetch(resolution: int, file: Path, progress: Callable[..., tqdm]) -> Path:
    part = file.with_name(f"part-{file.name}")
    problem = None
    for url in SOURCES[resolution]:
        try:
            download(url, part, progress=progress)
            break
        except requests.RequestException as error:
            problem = getattr(error.response, "reason", None) or "no connection"
    else:
        raise MediaError(
            f"BigGAN's weights could not be downloaded ({problem}): put {published_name(resolution)} into {cache()}, "
            f"or name its folder (--weights DIR, WEIGHTS=DIR), or draw with the embedded generator "
            f"(--generator pocket, GENERATOR=pocket)"
        )
    try:
        if resolution in CHECKSUMS and sha256(part) != CHECKSUMS[resolution]:
            raise MediaError(f"{url}: the download is damaged (run again)")
        read(part, configuration(resolution))
    except MediaError:
        part.unlink()
        raise
    os.replace(part, file)
    return file


def download(url: str, part: Path, *, progress: Callable[..., tqdm] = SILENT) -> None:
    """Download into a file, going on behind what it already holds.

    Raises:
        MediaError: no room for it.
        requests.RequestException: no connection, a refusal, or an end before the end.
    """
    have = part.stat().st_size if part.exists() else 0
    with requests.get(
        url, headers={"Range": f"bytes={have}-"}, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
    ) as reply:
        complete = reply.status_code == requests.codes.requested_range_not_satisfiable and have
        if complete:
            return
        reply.raise_for_status()
        if reply.status_code != requests.codes.partial_content:
            have = 0
        size = have + int(reply.headers.get("Content-Length", 0))
        free = shutil.disk_usage(part.parent).free
        if size - have > free:
            raise MediaError(f"{part.parent}: {size / 1e6:.0f} MB of weights do not fit ({free / 1e6:.0f} MB free)")
        with open(part, "ab" if have else "wb") as file, progress(
            desc="weights", total=size, initial=have, unit="B", unit_scale=True
        ) as bar:
            for chunk in reply.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            if file.tell() < size:
                raise requests.ConnectionError("broke off")
