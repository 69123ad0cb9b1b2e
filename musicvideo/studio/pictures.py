"""What the page shows of a song and of a choice: outline, storyboard strip, thumbnails, previews, times.

Everything is drawn by the functions that draw films, smaller. One thing is drawn at a time, since each takes all cores.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, lru_cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from musicvideo import __version__, caches, cli, files, probe
from musicvideo.decoder import require_sound
from musicvideo.errors import MediaError
from musicvideo.notes import write_midi
from musicvideo.sound.mastering import measure
from musicvideo.studio import around
from musicvideo.studio.choices import FPS, drawn_at
from musicvideo.vision import film, generators, merging, storyboard
from musicvideo.vision import locked_librosa as librosa
from musicvideo.vision.containers import soundtrack
from musicvideo.vision.features import SAMPLE_RATE, Song
from musicvideo.vision.generators import own
from musicvideo.vision.job import SEED_DIGITS, Job, decide, requested
from musicvideo.vision.latents import Trajectory
from musicvideo.vision.onsets import onsets
from musicvideo.vision.render import draw, render
from musicvideo.vision.settings import QUALITIES
from musicvideo.vision.transcription import transcribe
from musicvideo.vision.work import Work

SIDE = 256  # pixels of strips and previews
FRAMES = storyboard.FRAMES
EXCERPT = 10.0  # seconds of a preview
COLUMNS = 400  # of an outline
BLOCK = 2048  # samples whose extremes are kept of a song of any length
SOFTEST, LOUDEST = -40.0, -14.0  # LUFS; what is softer is not mixed, what is louder becomes as loud as a film
TEMPO_PART = (30.0, 90.0)  # seconds of a song that its tempo is measured in, or all of a shorter one
THUMBNAIL = 96  # pixels
TOGETHER = 8  # thumbnails drawn at a time
MOVING = (16, 160, 90)  # pictures of a moving thumbnail, its side in pixels, milliseconds from one to the next
STOPS = 4  # classes that it passes

_drawing = threading.Lock()


@dataclass(frozen=True)
class Heard:
    """What is known of a song at once.

    Attributes:
        duration: seconds.
        tempo: beats a minute; None where nothing beats.
        outline: (COLUMNS, 2) lowest and highest sample of each column, -1..1, the loudest at either end.
    """

    duration: float
    tempo: float | None
    outline: np.ndarray


def listen(song: str) -> Heard:
    """Outline, length and tempo of a song.

    Raises:
        MediaError: not a song, or cut off.
    """
    return _heard(song, files.require_file(song).stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _heard(song: str, changed: int) -> Heard:
    require_sound(song, probe.probe(song))
    extremes, length, kept, rest = [], 0, [], np.zeros(0, np.float32)
    begin, end = (round(second * SAMPLE_RATE) for second in TEMPO_PART)
    for piece in Song(song):
        if length < end:
            kept.append(piece)
        length += len(piece)
        piece = np.concatenate([rest, piece])
        whole = len(piece) // BLOCK * BLOCK
        blocks, rest = piece[:whole].reshape(-1, BLOCK), piece[whole:]
        extremes.append(np.stack([blocks.min(axis=1, initial=0), blocks.max(axis=1, initial=0)], axis=1))
    if len(rest):
        extremes.append(np.array([[rest.min(), rest.max()]]))
    found = np.concatenate(extremes)
    starts = np.linspace(0, len(found), COLUMNS, endpoint=False).astype(int)
    outline = np.stack([np.minimum.reduceat(found[:, 0], starts), np.maximum.reduceat(found[:, 1], starts)], axis=1)
    part = np.concatenate(kept)
    part = part[begin:end] if len(part) > 2 * begin else part[:end]
    envelope = librosa.onset.onset_strength(y=part, sr=SAMPLE_RATE)
    tempo = float(librosa.feature.tempo(onset_envelope=envelope, sr=SAMPLE_RATE)[0]) if envelope.any() else None
    return Heard(length / SAMPLE_RATE, tempo, outline / max(np.abs(outline).max(), 1e-6))


# -- Generators ------------------------------------------------------------------------------------------------


def _loaded(name: str, resolution: int, truncation: float) -> generators.Generator:
    """A generator whose weights are on this machine; nothing is fetched."""
    return _edition_loaded(name, _edition(name), resolution, truncation)


@lru_cache(maxsize=8)
def _edition_loaded(name: str, edition: str, resolution: int, truncation: float) -> generators.Generator:
    here = caches.folder("biggan") if name.startswith("biggan") else None
    return generators.load(name, resolution=resolution, truncation=truncation, weights=here)


def _edition(name: str) -> str:
    """Tells a generator from another one of its name: one's own may be trained anew while the studio is open."""
    return __version__ if name in generators.NAMES else files.sha256(own.folder(name) / own.ABOUT)[:16]


def side_of(name: str, free: int = SIDE) -> int:
    """The resolution in pixels that a generator has nearest to `SIDE`; `free` for one that draws any."""
    known = generators.find(name).resolutions
    return min(known, key=lambda each: abs(each - SIDE)) if known else free


def lacks(name: str) -> str:
    """Why a generator cannot draw here, in a line; "" if it can."""
    try:
        generators.labels(name)  # compares the files of one's own with their checksums
        _proved(name, _edition(name))
    except (MediaError, OSError, ValueError) as error:  # its folder may be deleted just now
        return cli.one_line(str(error))
    return ""


@cache
def _proved(name: str, edition: str) -> None:
    """Load a generator, once; a failure is not kept, since weights may be fetched while the studio is open."""
    _edition_loaded(name, edition, side_of(name), 1.0)


def thumbnails(name: str, folder: Path) -> list[Path]:
    """Where the small pictures of a generator's classes are, by id, once `draw_thumbnails` has drawn them.

    Args:
        name: of the generator.
        folder: where they are kept.
    """
    place = folder / f"{name}-{_edition(name)}"
    return [place / f"{index:03d}.webp" for index in range(len(generators.labels(name)))]


def draw_thumbnails(name: str, classes: Sequence[int], folder: Path) -> list[Path]:
    """Small pictures of some classes of a generator, drawn by itself, each once.

    Args:
        name: of the generator.
        classes: ids.
        folder: where they are kept.
    """
    paths = thumbnails(name, folder)
    with _drawing:
        missing = [index for index in classes if not paths[index].is_file()]
        if missing:
            generator = _loaded(name, side_of(name, THUMBNAIL), 1.0)
            noise, weights = np.zeros((len(missing), generator.noise_dim)), np.eye(len(paths))[missing]
            for index, picture in zip(missing, generator.frames(noise, weights)):
                with files.atomic(paths[index]) as partial:
                    _small(picture, THUMBNAIL).save(partial, quality=82)
    return [paths[index] for index in classes]


def moving_thumbnail(name: str, folder: Path) -> Path:
    """The moving thumbnail of a generator that can draw: an endless animation, drawn once."""
    count, side, pause = MOVING
    path = folder / f"{name}-{_edition(name)}.webp"
    if path.is_file():  # so that a page that is opened does not wait for what is drawn for another
        return path
    with _drawing:
        if path.is_file():  # drawn for another page, meanwhile
            return path
        generator = _loaded(name, side_of(name, side), 1.0)
        turns = np.arange(count) / count
        rng = np.random.default_rng(3)
        ends = rng.normal(size=(2, generator.noise_dim))
        noise = np.cos(2 * np.pi * turns)[:, None] * ends[0] + np.sin(2 * np.pi * turns)[:, None] * ends[1]
        many = len(generator.labels)
        classes = np.resize(rng.choice(many, min(STOPS, many), replace=False), STOPS)
        weights = np.zeros((count, many))
        for number, index in enumerate(classes):
            weights[:, index] += np.clip(np.cos(2 * np.pi * (turns - number / STOPS)), 0, 1)
        pictures = [_small(picture, side) for picture in generator.frames(np.clip(noise, -2, 2), weights)]
        with files.atomic(path) as partial:
            pictures[0].save(partial, save_all=True, append_images=pictures[1:], duration=pause, loop=0, quality=70)
    return path


def _small(picture: np.ndarray, side: int) -> Image.Image:
    return Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)


# -- A song and a choice -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Board:
    """A storyboard strip.

    Attributes:
        pictures: of `FRAMES` even parts of the song.
        names: of the classes that are seen, the most first.
        tints: a colour for each of them, as of CSS.
        shares: (COLUMNS // 4, classes) how much of each is seen when.
        seed: that is used.
    """

    pictures: list[Path]
    names: list[str]
    tints: list[str]
    shares: np.ndarray
    seed: int


def seed_of(song: str) -> int:
    """The seed of a song's own content, as `musicvideo.vision.job.decide` takes it."""
    return int(files.sha256(song)[:SEED_DIGITS], 16)


def notes(song: str, folder: Path) -> Path:
    """The notes of a song, as a MIDI file, written down once.

    Raises:
        MediaError: none are heard in it.
    """
    path = folder / f"{files.sha256(song)[:16]}.mid"
    if not path.is_file():
        found = transcribe(song)
        if not len(found.onset):
            raise MediaError("no notes are heard in it: choose another mapping, or give its notes as a MIDI file")
        write_midi(found, path)
    return path


def _job(song: str, drawing: Mapping[str, Any], midi: str | None) -> tuple[Job, generators.Generator, Trajectory]:
    name = drawing["generator"]
    given = {**drawing, "song": song, "fps": str(FPS), "resolution": side_of(name), "storyboard": "board.png"}
    if name.startswith("biggan"):
        given["weights"] = str(caches.folder("biggan"))
    if midi:
        given["midi"] = midi
    job = decide(requested(given))
    generator = _loaded(name, side_of(name), job.settings.truncation)
    return job, generator, job.path(generator)


def board(song: str, drawing: Mapping[str, Any], midi: str | None, folder: Path) -> Board:
    """Draw a storyboard strip.

    Args:
        song: its path.
        drawing: settings of the drawing.
        midi: the notes, for a mapping that follows notes.
        folder: where the pictures go.

    Raises:
        ValueError, MediaError: as `musicvideo.vision.job.decide`.
    """
    with _drawing:
        job, generator, path = _job(song, drawing, midi)
        times = (np.arange(FRAMES) + 0.5) * path.duration / FRAMES
        pictures = []
        for number, picture in enumerate(draw(generator, path, times)):
            file = folder / f"{_key(job, number)}.webp"
            with files.atomic(file) as partial:
                Image.fromarray(picture).save(partial, quality=85)
            pictures.append(file)
    _, weights = path.at(np.linspace(0, path.duration, COLUMNS // 4))
    shares = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    order = np.argsort(-shares.sum(axis=0))
    tints = storyboard.colours(len(order))
    return Board(
        pictures,
        [generator.labels[path.classes[column]] for column in order],
        ["#" + bytes((255 * tints[column]).astype(np.uint8)).hex() for column in order],
        shares[:, order],
        job.seed,
    )


@dataclass(frozen=True)
class Preview:
    """Some seconds of a film.

    Attributes:
        videos: "dry" and, where something moves in the mix, "wet".
        begin: seconds of the song at which they begin.
        sources: where the parts are around the head meanwhile.
    """

    videos: Mapping[str, Path]
    begin: float
    sources: Sequence[around.Source]


def preview(
    song: str,
    drawing: Mapping[str, Any],
    midi: str | None,
    begin: float,
    folder: Path,
    *,
    size: tuple[int, int],
    look: str = "none",
    pulse: float = 0.0,
    score: str = "",
) -> Preview:
    """Make `EXCERPT` seconds of a film, with their sound; what was made before is not made again.

    Args:
        song, drawing, midi: as for `board`.
        begin: seconds of the song at which it begins.
        folder: where the video goes.
        size: of the film in pixels.
        look, pulse: of the film, as of `musicvideo.vision.film.finish`.
        score: as for `musicvideo.studio.around.mix_of`.

    Raises:
        ValueError, MediaError: as `musicvideo.vision.job.decide`; a fault in the mix.
    """
    with _drawing:
        job, generator, path = _job(song, {**drawing, "quality": _quality(drawing["generator"])}, midi)
        length = min(EXCERPT, path.duration)
        begin = float(np.clip(begin, 0, path.duration - length))
        mix = around.mix_of(song, score)
        moving = around.motions(mix, path.duration) if mix else {}
        key = _key(job, begin, size, look, pulse, repr(mix))
        videos = {name: folder / f"{key}-{name}.mp4" for name in (("wet", "dry") if mix else ("dry",))}
        found = Preview(videos, begin, around.sources(mix, moving, begin, length) if mix else [])
        if all(video.is_file() for video in videos.values()):
            return found
        with tempfile.TemporaryDirectory(prefix="preview-") as place:
            sound, square, picture = (Path(place) / name for name in ("sound.wav", "square.mp4", "picture.mkv"))
            around.cut(song, sound, begin, length)
            dry = wet = sound
            loudness = min(measure(sound).integrated, LOUDEST)
            if mix and loudness > SOFTEST:  # a soft passage stays soft
                dry, wet = around.mixes(mix, moving, begin, length, loudness, Path(place))
            work = Work(square)
            with work.open(job.record):
                render(
                    generator, _excerpt(path, begin, length), soundtrack(sound, square), work,
                    encoding=job.encoding, every=QUALITIES[job.settings.quality],
                )  # fmt: skip
            film.finish(
                square, sound, picture, width=size[0], height=size[1], intro=0, outro=0, look=look, pulse=pulse,
                beats=onsets(sound) if pulse else (), preset="ultrafast",
            )  # fmt: skip
            for name, mixed in {"dry": dry, "wet": wet}.items():
                if name in videos:
                    merging.merge(picture, [merging.Stream(mixed)], videos[name], intro=0)
        return found


def _quality(name: str) -> str:
    """Networks draw a preview as a draft, so that nobody waits for it."""
    return "full" if generators.find(name).weights_file is None else "draft"


def _excerpt(path: Trajectory, begin: float, length: float) -> Trajectory:
    times = begin + np.arange(ceil(length * path.grid_rate) + 2) / path.grid_rate
    noise, weights = path.at(times)
    return replace(path, noise=noise, weights=weights, duration=length)


def _key(job: Job, *more: object) -> str:
    deciding = {name: value for name, value in job.record.items() if name not in ("versions", "song")}
    return hashlib.sha256(json.dumps([deciding, more], sort_keys=True).encode()).hexdigest()[:20]


def times(name: str, sizes: Sequence[tuple[int, int]], duration: float) -> list[float]:
    """Seconds that a generator and a film of each size in pixels take on this machine, for seconds of song."""
    with _drawing:
        a_film_pixel = _seconds_a_film_pixel(name)
        return [
            duration * FPS * (_seconds_a_frame(name, drawn_at(name, size)) + a_film_pixel * size[0] * size[1])
            for size in sizes
        ]


def _seconds_a_frame(name: str, resolution: int) -> float:
    """Measured where it is quick; where a generator draws any size, its time follows the number of pixels."""
    measured = side_of(name, min(resolution, SIDE)) if generators.find(name).resolutions is None else resolution
    return _measured(name, measured) * (resolution / measured) ** 2


@cache
def _measured(name: str, resolution: int) -> float:
    return storyboard.seconds_a_frame(_loaded(name, resolution, 1.0), _wander(name, resolution))


@cache
def _seconds_a_film_pixel(name: str) -> float:
    width, height = storyboard.FILM_SIZE
    spent = storyboard.seconds_a_film_frame(
        _loaded(name, side_of(name), 1.0), _wander(name, side_of(name)), Fraction(FPS)
    )
    return (spent or 0.0) / (width * height)


def _wander(name: str, resolution: int) -> Trajectory:
    """A path that is as hard to draw as any."""
    generator = _loaded(name, resolution, 1.0)
    rng = np.random.default_rng(1)
    classes = tuple(range(min(12, len(generator.labels))))
    noise = np.clip(rng.normal(size=(11, generator.noise_dim)), -2, 2)
    return Trajectory(noise, rng.dirichlet(np.ones(len(classes)), 11), classes, 1.0, 10.0)
