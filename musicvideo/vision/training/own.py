"""A folder of pictures -> a generator that draws them, trained from the weights of pocket.

Pocket knows places, movements, mixtures and grounds. So a new class starts from the embedding of the known class that
looks most like it, and all weights are trained further.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm import tqdm

from musicvideo import __version__, files
from musicvideo.errors import MediaError
from musicvideo.vision import generators
from musicvideo.vision.generators import hardware, own, pocket
from musicvideo.vision.generators.record import SILENT
from musicvideo.vision.training import cutouts, learning, likeness, stock
from musicvideo.vision.training.cutouts import Cutout
from musicvideo.vision.training.learning import Training, write_state
from musicvideo.vision.training.network import Network
from musicvideo.vision.training.targets import FACTORS, Targets
from musicvideo.vision.training.textures import textures

STEPS = (2400, 300)  # of training, and so many more for each picture
STAGES = ((128, 0.5), (256, 1.0))  # resolutions, and the share of the training at which each ends
BATCH = 8  # pictures a step
RATE = 0.002  # learning rate
SINGLES = 0.7  # share of pictures with one class; of 12 classes, mixtures became better by it as well
SEED = 0
LOOK_EVERY, SAVE_EVERY = 100, 50  # steps
PATIENCE, GAIN = 4, 0.001  # training ends when so many looks have not brought so much similarity
NOISES = 100  # noise vectors of the final figures, among all classes; at least one each
COMPARED = 32  # pixels at which a new class is compared with the known ones
SPREAD = 0.1  # standard deviation of what tells the first embeddings of two classes apart
NOTICE = "NOTICE"
CHECKPOINT = "checkpoint.pt"  # in media/NAME.training

Notice = Callable[[str], object]


def make(
    pictures: str | os.PathLike,
    name: str,
    *,
    masks: str | os.PathLike | None = None,
    minutes: float,
    overwrite: bool = False,
    notice: Notice = lambda line: None,
    progress: Callable[..., tqdm] = SILENT,
) -> Path:
    """Train a generator, or go on with an interrupted training.

    Args:
        pictures: folder; see `cutouts.read`.
        name: of the generator, whose files are called media/NAME...
        masks: folder; see `cutouts.read`.
        minutes: of training at most; what was trained before an interruption counts.
        overwrite: start over where an interrupted training has other pictures or settings.
        notice: told in a line what was done.
        progress: makes a bar, as tqdm does.

    Returns:
        The folder of the generator.

    Raises:
        MediaError: pictures that cannot be used, an interrupted training of other ones, no space, no memory.
        KeyboardInterrupt: with a message that says how to go on.
    """
    require_name(name)
    place, work = own.folder(name), own.MEDIA / f"{name}.training"
    with progress(desc="pictures", unit="picture", delay=1) as bar:
        found = cutouts.read(pictures, masks, lambda done, total: _show(bar, done, total))
    sheet = own.MEDIA / f"{name}-pictures.png"
    _write_picture(cutouts.contact_sheet(found), sheet)
    recipe = {
        "version": __version__, "started from": files.sha256(pocket.WEIGHTS), "minutes": minutes, "seed": SEED,
        "steps": STEPS[0] + STEPS[1] * len(found), "stages": STAGES, "batch": BATCH, "learning rate": RATE,
        "singles": SINGLES, "pairs": learning.PAIRS,
        "loss": [learning.SCALES, learning.EDGES, learning.STRUCTURE, learning.MATTE],
    }  # fmt: skip
    print_of = fingerprint(found, recipe)
    with suppress(MediaError):
        if own.about(place).get("fingerprint") == print_of and own.checked(place):
            notice(f"{place}: is there already")
            return place
    notice(f"{sheet}: what was found in the {len(found)} pictures (look at it; MASKS= gives other silhouettes)")
    with files.lock(work / ".lock", f"{work}: another process trains this generator now"):
        begun = _begun(work, print_of, overwrite)
        try:
            training = begin(of_classes(found), recipe)
            looks = _restore(training, begun, work) if begun else []
            looks = learn(training, looks, name, print_of, progress=progress)
            figures = _write(training.average, found, recipe, print_of, place, Path(pictures))
        except KeyboardInterrupt:
            kept = (work / CHECKPOINT).exists()
            raise KeyboardInterrupt(
                "what is done is kept; run the same command again to go on" if kept else "too early to keep anything"
            ) from None
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "memory" not in str(error):
                raise
            raise MediaError(
                f"{name}: this machine's memory does not hold the training (close other programs, or give fewer "
                "pictures, and run the same command again)"
            ) from None
    shutil.rmtree(work)
    notice(
        f"{place}: {len(found)} classes, SSIM {figures[likeness.SSIM]:.2f}, of mattes {figures[likeness.MATTE]:.2f}, "
        f"nearest class right {figures[likeness.NEAREST]:.0%} (see {_grid(name)}; draw with GENERATOR={name})"
    )
    return place


def require_name(name: str) -> None:
    """Raise MediaError unless a generator may have this name."""
    if not own.NAME.fullmatch(name):
        raise MediaError(f"NAME={name}: use up to 100 letters, digits, - and _ (the first is no -)")
    if name in generators.NAMES:
        raise MediaError(f"NAME={name}: is the name of a generator that comes with this program (choose another)")


def fingerprint(found: Sequence[Cutout], recipe: Mapping[str, Any]) -> str:
    """A checksum of all that decides what is learned."""
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    for cutout in found:
        digest.update(json.dumps([cutout.name, cutout.how]).encode() + cutout.picture.tobytes())
    return digest.hexdigest()


def of_classes(found: Sequence[Cutout]) -> dict[str, Any]:
    """The textures of cut-outs, which targets are rendered from."""
    return textures([cutout.name for cutout in found], [cutout.picture for cutout in found])


def begin(material: dict[str, Any], recipe: Mapping[str, Any]) -> Training:
    """A training from pocket's weights, on a graphics card if there is one.

    Args:
        material: the textures.
        recipe: "steps", "stages", "batch", "learning rate", "singles", "minutes" and "seed".
    """
    gpu = torch.cuda.is_available()
    workers = 1 if gpu else max(1, min(BATCH // 2, hardware.cores()))
    if workers > 1:
        torch.set_num_threads(1)
    torch.manual_seed(recipe["seed"])
    network = stock.trainable(pocket.model())
    network.embeddings = torch.nn.Parameter(first_embeddings(network, Targets(material)))
    return Training(
        Targets(material, "cuda" if gpu else "cpu"),
        network,
        steps=recipe["steps"],
        stages=recipe["stages"],
        batch=recipe["batch"],
        rate=recipe["learning rate"],
        singles=recipe["singles"],
        limit=60 * recipe["minutes"],
        seed=recipe["seed"],
        device="cuda" if gpu else "cpu",
        bf16=gpu or hardware.multiplies_bfloat16(),
        workers=workers,
    )


@torch.no_grad()
def first_embeddings(network: Network, targets: Targets) -> torch.Tensor:
    """For each class the embedding of the network's class that looks most like its target, with a little noise."""

    def small(pictures: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool2d(pictures, COMPARED).flatten(1)

    def still(classes: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(zip(torch.zeros(classes, FACTORS).split(BATCH), torch.eye(classes).split(BATCH)))

    drawn = torch.cat([small(network(*part, STAGES[0][0])) for part in still(len(network.embeddings))])
    wanted = torch.cat([small(targets.render(*part, STAGES[0][0])) for part in still(len(targets.names))])
    nearest = network.embeddings[torch.cdist(wanted, drawn).argmin(dim=1)]
    return nearest + SPREAD * torch.randn_like(nearest)


def learn(
    training: Training, looks: Sequence[float], name: str, print_of: str, *, progress: Callable[..., tqdm] = SILENT
) -> list[float]:
    """Train to the end of the steps or the time, or until the pictures no longer get better.

    At intervals the state is saved, and a grid is drawn that shows what has been learned.

    Args:
        training: at its beginning, or where it was interrupted.
        looks: similarities at the end that were measured before.
        name: of the generator.
        print_of: fingerprint of what is learned.
        progress: makes a bar, as tqdm does.

    Returns:
        The similarities at full resolution, one for each look.
    """
    looks = list(looks)
    resolution = training.network.resolution
    shape = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}, about {remaining} left{postfix}"
    checkpoint = own.MEDIA / f"{name}.training" / CHECKPOINT
    with progress(desc=name, total=100, bar_format=shape, initial=100 * training.progress) as bar:
        while training.progress < 1 and not settled(looks):
            loss, _ = training.advance()
            if not math.isfinite(loss):
                raise MediaError(
                    f"{name}: training failed, its loss is no number any more (run the same command again)"
                )
            last = training.progress >= 1
            if training.step % LOOK_EVERY == 0 or last:
                looked = time.monotonic()
                figures, grid = training.examine(resolution)
                _write_picture(Image.fromarray(grid), _grid(name))
                training.seconds += time.monotonic() - looked
                bar.set_postfix_str(f"SSIM {figures['ssim']:.3f}, matte {figures['matte_ssim']:.3f}", refresh=False)
                if training.resolution() == resolution:
                    looks.append(figures["ssim"])
            if training.step % SAVE_EVERY == 0 or last:
                write_state({"fingerprint": print_of, "looks": looks, **training.state()}, checkpoint)
            bar.update(min(100, 100 * training.progress) - bar.n)
    return looks


def settled(looks: Sequence[float]) -> bool:
    """Whether the last similarities are no better than those before."""
    before, after = looks[:-PATIENCE], looks[-PATIENCE:]
    return bool(before) and max(after) < max(before) + GAIN


def _begun(work: Path, print_of: str, overwrite: bool) -> dict[str, Any] | None:
    """The state of an interrupted training of the same pictures and settings; None if there is none."""
    file = work / CHECKPOINT
    if not file.exists():
        return None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        same = state["fingerprint"] == print_of
    except Exception:  # of a damaged file, which the library may report by any exception
        if overwrite:
            return None
        raise MediaError(f"{file}: is damaged (OVERWRITE=1 starts over)") from None
    if not same and not overwrite:
        raise MediaError(
            f"{work}: holds an interrupted training of other pictures or settings (OVERWRITE=1 starts over, another "
            "NAME keeps it)"
        )
    return state if same else None


def _restore(training: Training, state: dict[str, Any], work: Path) -> list[float]:
    try:
        training.restore(state)
        return [float(look) for look in state["looks"]]
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise MediaError(f"{work / CHECKPOINT}: is damaged (OVERWRITE=1 starts over)") from None


def _write(
    network: Network, found: Sequence[Cutout], recipe: Mapping[str, Any], print_of: str, place: Path, pictures: Path
) -> dict[str, float]:
    """Write the folder of the generator; the figures that its own files were measured with."""
    names = [cutout.name for cutout in found]
    with files.atomic_folder(place) as partial:
        stock.save(stock.stock_model(network), names, partial)
        figures, _ = likeness.likeness(
            likeness.engine(partial),
            Targets(of_classes(found)),
            network.resolution,
            max(1, NOISES // len(names)),
            np.random.default_rng(SEED),
        )
        # Weights that were trained from pocket's are a copy of them, whose notice goes along.
        notices = [file.read_bytes().strip() for file in (pictures / NOTICE, pocket.FOLDER / NOTICE) if file.is_file()]
        (partial / NOTICE).write_bytes(b"\n\n".join(notices) + b"\n")
        about = {
            "recipe": recipe,
            "fingerprint": print_of,
            "figures": {key: round(value, 4) for key, value in figures.items()},
            "pictures": [
                {"name": cutout.name, "file": cutout.file.name, "sha256": cutout.sha256, "silhouette": cutout.how}
                for cutout in found
            ],
            "files": {name: files.sha256(partial / name) for name in own.FILES},
        }
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (partial / own.ABOUT).write_text(text + "\n", encoding="utf-8")
    return figures


def _grid(name: str) -> Path:
    return own.MEDIA / f"{name}-grid.png"


def _write_picture(picture: Image.Image, path: Path) -> None:
    with files.atomic(path) as partial:
        picture.save(partial)


def _show(bar: tqdm, done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)
