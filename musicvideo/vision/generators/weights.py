"""BigGAN's weights: where they come from, and proof that they are the right ones.

Weights in the cache have a known SHA-256: the published one, or, where none is published, the one they had when they
were first used, which is kept beside them ("pinned"). A folder that a person names is that person's own choice.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import filelock
import requests
import torch
from pytorch_pretrained_biggan import BigGAN, BigGANConfig
from pytorch_pretrained_biggan.model import PRETRAINED_MODEL_ARCHIVE_MAP
from safetensors.torch import load_file
from tqdm import tqdm

from musicvideo import caches, files, limits
from musicvideo.errors import MediaError
from musicvideo.vision.generators.biggan.architecture import LAYERS, RESOLUTIONS
from musicvideo.vision.generators.record import SILENT

# Where one file is published in several places, all are tried. The second is a copy of the first by the same name.
SOURCES = {resolution: [PRETRAINED_MODEL_ARCHIVE_MAP[f"biggan-deep-{resolution}"]] for resolution in RESOLUTIONS}
SOURCES[128].insert(0, "https://huggingface.co/osanseviero/BigGAN-deep-128/resolve/main/pytorch_model.bin")
CHECKSUMS = {256: "5900ef4065047e3aa0d1b66197b7f2664dceb59b27080e414ad57e203c485bc5"}  # SHA-256, where published
PINS = "checksums.json"  # in the cache: name of a weights file -> SHA-256 that it had when it was first used

SAFE_TORCH = (2, 6)  # before it, torch.load(weights_only=True) could run code (CVE-2025-32434)
LARGEST_CONFIGURATION = 1 << 16  # bytes
CONNECT_TIMEOUT = 5  # seconds; short, so that being offline is reported soon
READ_TIMEOUT = 30  # seconds
CHUNK = 1 << 20  # bytes


def configuration(resolution: int) -> BigGANConfig:
    """The published architecture; ValueError for a resolution that was never published."""
    if resolution not in RESOLUTIONS:
        raise ValueError(f"resolution: BigGAN has {', '.join(map(str, RESOLUTIONS))}, not {resolution}")
    return BigGANConfig(output_dim=resolution, layers=LAYERS[resolution])


def load(
    resolution: int,
    folder: str | os.PathLike | None = None,
    *,
    progress: Callable[..., tqdm] = SILENT,
    notice: Callable[[str], object] = lambda line: None,
) -> BigGAN:
    """The library's model with checked weights, in evaluation mode.

    Args:
        resolution: 128, 256 or 512.
        folder: where the weights are; None for the cache, else a download.
        progress: makes a bar of the download, as tqdm does.
        notice: told, in one line, that a checksum is pinned.

    Raises:
        ValueError: another resolution.
        MediaError: no weights, or files that are not this model's weights.
    """
    return read(locate(resolution, folder, progress=progress, notice=notice), configuration(resolution))


def locate(
    resolution: int,
    folder: str | os.PathLike | None = None,
    *,
    progress: Callable[..., tqdm] = SILENT,
    notice: Callable[[str], object] = lambda line: None,
) -> Path:
    """The file with the weights; arguments and errors as for `load`."""
    configuration(resolution)  # refuses an unknown resolution before the folder is searched
    if folder is None:
        return fetch(resolution, progress=progress, notice=notice)
    file = find(resolution, folder)
    if file.parent.resolve() == cache().resolve():
        verify(file, resolution, notice)
    return file


def find(resolution: int, folder: str | os.PathLike) -> Path:
    """The file with the weights in a folder, whose config.json, if there is one, must be of this resolution.

    Safetensors are preferred, since reading them cannot run code.
    """
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
        if file.stat().st_size > LARGEST_CONFIGURATION:
            raise ValueError("too large")
        found = dict(json.loads(file.read_text(encoding="utf-8")))
        different = [
            f"{key} {found[key]}, not {json.dumps(wanted)}"
            for key, wanted in configuration(resolution).to_dict().items()
            if key in found and found[key] != json.loads(json.dumps(wanted))
        ]
    except (ValueError, TypeError, RecursionError):
        raise MediaError(f"{file}: not a configuration of BigGAN") from None
    if different:
        raise MediaError(f"{file}: these are not the weights of resolution {resolution} (has {different[0][:80]})")


def read(file: Path, config: BigGANConfig) -> BigGAN:
    """The library's model with the weights of a file, which is read without running code from it.

    Every key and shape is compared with the model's, since the library's own loading accepts any file.

    Raises:
        MediaError: damaged, no weights at all, or weights of something else; names the first key that differs.
    """
    state = read_tensors(file)
    model = BigGAN(config)
    wanted = {key: value.shape for key, value in model.state_dict().items()}
    surplus = (" ".join(str(key).split())[:80] for key in state if key not in wanted)
    problem = next(
        (f"has no {key}" for key in wanted if key not in state),
        next((f"has {key}, which the model has not" for key in surplus), None),
    ) or next(
        (f"{key} is {tuple(state[key].shape)}, not {tuple(shape)}"
         for key, shape in wanted.items() if state[key].shape != shape), None,
    )  # fmt: skip
    if problem:
        raise MediaError(f"{file}: not the weights of BigGAN-deep {config.output_dim} ({problem})")
    model.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    return model.eval().requires_grad_(False)


def read_tensors(file: Path) -> Mapping[str, torch.Tensor]:
    """The tensors in a file of weights, by name, without running code from it.

    Raises:
        MediaError: damaged, too large, something else than weights, or a pickle that this torch cannot read safely.
    """
    size = file.stat().st_size
    pickled = file.suffix != ".safetensors"
    version = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))
    if pickled and version < SAFE_TORCH:
        raise MediaError(
            f"{file}: torch {torch.__version__} cannot read it without risk (install torch 2.6 or newer, "
            "or give model.safetensors)"
        )
    damaged = MediaError(f"{file}: damaged, or no weights of a model (download it again)")
    try:
        if pickled and zipfile.is_zipfile(file):  # a compressed one may unpack to any size
            with zipfile.ZipFile(file) as archive:
                size = max(size, sum(entry.file_size for entry in archive.infolist()))
        if size > limits.WEIGHTS_BYTES:
            raise MediaError(f"{file}: {size / 1e9:.1f} GB are too large for BigGAN's weights")
        with warnings.catch_warnings():  # about odd pickles, which are either refused or intact
            warnings.simplefilter("ignore")
            state = torch.load(file, map_location="cpu", weights_only=True) if pickled else load_file(file)
    except (MediaError, OSError, MemoryError):
        raise
    except Exception:  # a damaged file may raise any exception
        raise damaged from None
    if not isinstance(state, Mapping) or not all(
        isinstance(value, torch.Tensor) and value.layout is torch.strided and value.is_floating_point()
        for value in state.values()
    ):
        raise MediaError(f"{file}: holds no weights of a model")
    return state


def cache() -> Path:
    """The folder that downloads go to."""
    return caches.folder("biggan")


def verify(file: Path, resolution: int, notice: Callable[[str], object] = lambda line: None) -> None:
    """Compare a file in the cache with the published checksum, else with the pinned one; pin it on first use.

    Raises:
        MediaError: another checksum, or a damaged file of pinned ones.
    """
    found = files.sha256(file)
    if resolution in CHECKSUMS:
        if found != CHECKSUMS[resolution]:
            raise MediaError(
                f"{file}: not the published file: its SHA-256 is {found}, not {CHECKSUMS[resolution]} "
                "(delete it, and it is downloaded again)"
            )
        return
    pinned = pins().get(file.name)
    if pinned is None:
        try:
            pin(file.name, found)
            told = f"is noted in {cache() / PINS} and compared from now on"
        except OSError as error:  # a shared cache may be read-only
            told = f"cannot be noted in {cache() / PINS} ({error.strerror})"
        notice(f"{file}: no checksum of it is published; its SHA-256, {found}, {told}")
    elif found != pinned:
        raise MediaError(
            f"{file}: has changed since it was first used: its SHA-256 is {found}, not {pinned} (delete "
            f"it, and it is downloaded again; if the change is meant, delete {cache() / PINS})"
        )


def pins() -> dict[str, str]:
    """Checksums by name of the weights in the cache, as they were when first used.

    Raises:
        MediaError: the file that holds them is damaged.
    """
    file = cache() / PINS
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict) or not all(isinstance(digits, str) for digits in known.values()):
        raise MediaError(f"{file}: damaged (delete it, and checksums are noted anew)")
    return known


def pin(name: str, digits: str) -> None:
    """Record a checksum on first use; OSError if the cache cannot be written."""
    with filelock.FileLock(cache() / f".{PINS}.lock"), files.atomic(cache() / PINS) as partial:
        partial.write_text(json.dumps({name: digits, **pins()}, indent=2) + "\n", encoding="utf-8")


def fetch(
    resolution: int,
    *,
    progress: Callable[..., tqdm] = SILENT,
    notice: Callable[[str], object] = lambda line: None,
) -> Path:
    """The file with the weights in the cache, downloaded if it is not there yet.

    An interrupted download is kept and resumed. A file gets its final name only when it is complete and verified.

    Args:
        resolution, progress, notice: as for `load`.

    Raises:
        ValueError: another resolution.
        MediaError: the download failed (the message says which file to put where), or its checksum differs.
    """
    configuration(resolution)
    file = cache() / published_name(resolution)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(file.with_name(f".{file.name}.lock")):  # another run may be fetching it now
            if not file.is_file():
                _fetch(resolution, file, progress)
    verify(file, resolution, notice)
    return file


def _fetch(resolution: int, file: Path, progress: Callable[..., tqdm]) -> None:
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
        if resolution in CHECKSUMS and files.sha256(part) != CHECKSUMS[resolution]:
            raise MediaError(f"{url}: the download is damaged (run again)")
        read(part, configuration(resolution))
    except MediaError:
        part.unlink()
        raise
    files.flush(part)
    os.replace(part, file)
    files.flush(file.parent)


def download(url: str, part: Path, *, progress: Callable[..., tqdm] = SILENT) -> None:
    """Download into a file, resuming after what it already holds.

    Raises:
        MediaError: no room for it.
        requests.RequestException: no connection, a refusal, or a connection that ends early.
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
        with (
            open(part, "ab" if have else "wb") as file,
            progress(desc="weights", total=size, initial=have, unit="B", unit_scale=True) as bar,
        ):
            for chunk in reply.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            if file.tell() < size:
                raise requests.ConnectionError("broke off")
