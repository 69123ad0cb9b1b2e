"""One video to be made: what was left open is decided here, and everything that makes it is put on record."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from musicvideo import caches, excerpt, files
from musicvideo.clock import read_clock
from musicvideo.errors import MediaError
from musicvideo.notes import Notes, read_notes
from musicvideo.vision import generators
from musicvideo.vision import record as records
from musicvideo.vision.conduct import Cast, Conduct, cast, read_conduct
from musicvideo.vision.containers import Encoding, Soundtrack, container, encoding, soundtrack
from musicvideo.vision.features import SAMPLE_RATE, Features, Song, cached_features
from musicvideo.vision.labels import resolve
from musicvideo.vision.latents import Trajectory, random_classes
from musicvideo.vision.mappings import MAPPINGS
from musicvideo.vision.render import NO_BAR, SegmentDrawer, draw, render
from musicvideo.vision.settings import DENOMINATOR, PITCHES, QUALITIES, RULES, Settings, recorded_in, shown
from musicvideo.vision.work import Work

PREVIOUS = ".previous_vectors.npz"  # in the output folder: what --use_previous_... takes up
SEED_DIGITS = 8  # of the song's checksum, hexadecimal: the default seed
QUIET_END = 10.0  # seconds without notes at the end of a song that are worth a notice
SHORTER = 1.0  # seconds by which vectors may be shorter than the song
MIXED = {"backend": "several, as --mixed allows"}  # stands in a record for what computed the pictures
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Notice = Callable[[str], object]


def _silent(line: str) -> None:
    """Takes a notice and tells nobody."""


# -- What was asked for ---------------------------------------------------------------------------------------


def requested(given: Mapping[str, Any], notice: Notice = _silent) -> Settings:
    """The settings that were given, on top of those of the earlier video that `like` names.

    Args:
        given: settings by name, in their types, without defaults.
        notice: told in a line what is used though it was not given, and what has no effect.

    Raises:
        ValueError: settings that cannot be, or contradict each other.
        MediaError: no such earlier video, or its song or vectors cannot be proved to be the same.
    """
    earlier = _of_earlier_video(given, notice) if given.get("like") else {}
    settings = Settings(**{**earlier, **given})
    _require_effect(settings, given, notice)
    return settings


def _of_earlier_video(given: Mapping[str, Any], notice: Notice) -> dict[str, Any]:
    """Settings of the video that `like` names, minus those that the given ones override."""
    like = given["like"]
    record = records.read(like)
    try:
        earlier = _without_overridden(recorded_in(record), given)
    except ValueError as error:
        raise ValueError(f"{like}: {error}") from None
    classes = earlier.get("classes")
    if classes and "classes" not in given and len(classes) < given.get("num_classes", 0):
        raise ValueError(f"num_classes: {like} has {len(classes)} classes (name more with --classes)")
    if "list_classes" not in given:
        for name in ("song", "vectors", "midi", "conduct"):
            if earlier.get(name) and name not in given:
                _require_same_file(name, earlier[name], record, like, notice)
        if earlier.get("weights") and "weights" not in given:
            _require_stated("weights", earlier["weights"], record, like, notice)
    return earlier


def _without_overridden(earlier: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    asked = {name for name, value in given.items() if value or not name.startswith("use_previous_")}
    another = given.get("generator", earlier.get("generator")) != earlier.get("generator")
    sources = {"vectors", "use_previous_vectors", "use_previous_classes"}
    if another or asked & (sources | {"classes", "num_classes", "seed"}):
        earlier["vectors"] = None
    if another or asked & sources:
        earlier["classes"] = None
    elif "num_classes" in asked and earlier.get("classes"):
        earlier["classes"] = earlier["classes"][: given["num_classes"]]
    if earlier.get("mapping") != given.get("mapping", earlier.get("mapping")):
        earlier.update(dict.fromkeys(("midi", "midi_offset", "conduct")))
    drawn = earlier.get("background", Settings.background)
    if given.get("background", drawn) != drawn:
        earlier.update(dict.fromkeys(("codec", "crf")))
    if another or given.get("resolution", earlier.get("resolution")) != earlier.get("resolution"):
        earlier["weights"] = None  # its checksum is that of other weights
    return earlier


def _require_stated(name: str, path: str, record: Mapping[str, Any], like: str, notice: Notice) -> str:
    """The checksum that a record states for a file it names; tells that the file is used."""
    stated = record.get(f"{name}_sha256")
    if CONTROL.search(path) or not isinstance(stated, str):
        raise MediaError(f"{like}: names {name} {shown(path)} without a checksum (give --{name})")
    notice(f"{name} {path}, named by {like}; its checksum is compared first")
    return stated


def _require_same_file(name: str, path: str, record: Mapping[str, Any], like: str, notice: Notice) -> None:
    stated = _require_stated(name, path, record, like, notice)
    if files.sha256(files.require_file(path)) != stated:
        raise MediaError(f"{path}: has changed since {like} was made of it (give --{name} to take it as it is)")


def _require_effect(settings: Settings, given: Mapping[str, Any], notice: Notice) -> None:
    """Refuse what was given beside something that takes its place."""
    vectors = "--use_previous_vectors" if settings.use_previous_vectors else "--vectors" if settings.vectors else None
    for name, rule in RULES.items() if vectors else ():
        if rule.in_vectors and name in given:
            raise ValueError(f"--{name}: the vectors hold it already (leave out --{name} or {vectors})")
    for name in ("midi", "midi_offset", "conduct"):
        if given.get(name) is not None and not MAPPINGS[settings.mapping].needs_notes:
            raise ValueError(f"--{name}: --mapping {settings.mapping} does not follow notes (give --mapping score)")
    if settings.storyboard and "start" in given:
        raise ValueError("--start: a storyboard shows the whole song (leave out --start)")
    if settings.use_previous_vectors and "vectors" in given:
        raise ValueError("--vectors: not with --use_previous_vectors (leave out either)")
    if settings.use_previous_classes and "classes" in given:
        raise ValueError("--classes: not with --use_previous_classes (leave out either)")
    for name, others in {
        "cluster": ("storyboard", "join"), "join": ("storyboard", "segments"), "segments": ("storyboard",),
    }.items():  # fmt: skip
        for other in others:
            if getattr(settings, name) and getattr(settings, other):
                raise ValueError(f"--{name}: not with --{other} (leave out either)")
    if vectors and "seed" in given:
        notice(f"--seed has no effect: what it decides is in the vectors already ({vectors})")


# -- What was left open ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """What a mapping that follows notes knows of a song.

    Attributes:
        notes: of the song, within its duration.
        table: who shows what, as far as a person said.
        cast: who shows what.
    """

    notes: Notes
    table: Conduct
    cast: Cast


@dataclass(frozen=True)
class Job:
    """A video to be made, with everything decided.

    Attributes:
        settings: what was asked for.
        song: its path.
        seed: of the random numbers.
        classes: ids of the generator's classes.
        class_names: names of those that are shown: these, or others that a conduct table names.
        encoding: of the picture.
        sound: of the video.
        saved: the path that was read, as long as the song; None if it is made from the song.
        score: what a mapping that follows notes knows; None for others.
        record: everything that makes the video, of JSON's types, settings under their names.
    """

    settings: Settings
    song: str
    seed: int
    classes: tuple[int, ...]
    class_names: tuple[str, ...]
    encoding: Encoding
    sound: Soundtrack
    saved: Trajectory | None
    score: Score | None
    record: Mapping[str, Any]

    def load(
        self,
        *,
        resolution: int | None = None,
        weights: str | os.PathLike | None = None,
        progress: Callable[..., tqdm] = NO_BAR,
    ) -> generators.Generator:
        """The generator, ready to draw, at its own resolution or another one."""
        asked = self.settings
        precision = "lowest" if asked.quality == "draft" and asked.precision == "auto" else asked.precision
        return generators.load(
            asked.generator, resolution=resolution or asked.resolution, truncation=asked.truncation,
            weights=weights or asked.weights, device=asked.device, precision=precision, progress=progress,
        )  # fmt: skip

    def features(self, analysis: str) -> Features:
        """What is heard in the song; cached, since the same song is often rendered again.

        Args:
            analysis: one of `musicvideo.vision.features.ANALYSES`.
        """
        asked = self.settings
        return cached_features(
            Song(self.song, asked.heard),
            asked.frame_length,
            analysis=analysis,
            cache=caches.folder("features"),
        )

    def path(self, generator: generators.Generator) -> Trajectory:
        """The path of the song through the generator: as it was saved, or made by the mapping.

        Raises:
            MediaError: saved vectors of another length of noise, a handle that the generator does not have.
        """
        if self.saved:
            if self.saved.noise.shape[1] != generator.noise_dim:
                raise MediaError(
                    f"{self.record['vectors']}: noise vectors of {self.saved.noise.shape[1]} numbers, "
                    f"{self.settings.generator} takes {generator.noise_dim}"
                )
            return self.saved
        return MAPPINGS[self.settings.mapping].path(self, generator)

    def shown(self, path: Trajectory) -> Trajectory:
        """What the video shows of the path of the song."""
        asked = self.settings
        return path if asked.start is None else path.excerpt(asked.start, asked.duration)

    def is_made(self, record: Mapping[str, Any]) -> bool:
        """Whether the output is there with this record.

        Raises:
            MediaError: another file is there, and it may not be replaced.
        """
        output = Path(self.settings.output_file)
        if not output.exists():
            return False
        try:
            changed = records.differences(records.read(output), record)
        except MediaError:
            changed = "it holds no settings of this program"
        if changed and not (self.settings.overwrite or self.settings.replace):
            raise MediaError(
                f"{output}: is there already, with other settings: {changed} "
                "(give another --output_file, or --overwrite to draw it anew)"
            )
        return not changed

    def draw(
        self,
        generator: generators.Generator,
        *,
        notice: Notice = _silent,
        progress: Callable[..., tqdm] = NO_BAR,
        draw_segments: SegmentDrawer | None = None,
    ) -> int:
        """Draw the video, or go on with it where an interrupted run stopped.

        Args:
            generator: what draws, or describes what draws in `draw_segments`.
            notice: told in a line what the user may not expect.
            progress: makes a bar, as tqdm does.
            draw_segments: as for `render`.

        Returns:
            Number of frames, of the segments that were asked for; 0 if the video is there already.

        Raises:
            MediaError: as `is_made`, `Work.open` and `render`.
            KeyboardInterrupt: with a message that says how to go on.
        """
        asked, work = self.settings, Work(self.settings.output_file, self.encoding.segments)
        try:
            whole = self.path(generator)
            path = self.shown(whole)
            computed = MIXED if asked.mixed else computed_by(generator, path)
            record = {**self.record, "computed_by": computed}
            if self.is_made(record):
                os.utime(asked.output_file)  # for make: it is as new as what it was made from
                return 0
            only, joins = asked.segments, not asked.segments
            with work.open(
                {**record, "path_sha256": path.checksum()}, overwrite=asked.overwrite, shared=not joins, notice=notice
            ):
                labels = [generator.labels[index] for index in path.classes]  # may be sorted by power
                for file in (asked.save_vectors, work.output.with_name(PREVIOUS)) if joins else ():
                    # Vectors are not written onto themselves: a new file would have another checksum.
                    if file and not (record["vectors"] and _same_path(file, record["vectors"])):
                        whole.save(file, labels=labels, params=record)
                return render(
                    generator,
                    path,
                    self.sound,
                    work,
                    encoding=self.encoding,
                    batch_size=asked.batch_size,
                    every=QUALITIES[asked.quality],
                    progress=progress,
                    chosen=slice(0) if asked.join else slice(*map(_number, (only or ":").split(":"))),
                    finish=joins,
                    draw_segments=draw_segments,
                )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                "what is done is kept; run the same command again to go on"
                if work.segments()
                else f"too early to keep anything; --seed {self.seed} draws the same video"
            ) from None


def _number(text: str) -> int | None:
    return int(text) if text else None


def _same_path(one: str | os.PathLike, other: str | os.PathLike) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def computed_by(generator: generators.Generator, path: Trajectory) -> dict[str, str]:
    """What decides the bytes of a generator's pictures."""
    # A GPU that is short of memory takes smaller batches from its first pass on, and then computes other bytes.
    draw(generator, path, [0.0])
    return dict(generator.computed_by)


def decide(
    settings: Settings,
    *,
    given: Collection[str] = (),
    notice: Notice = _silent,
    progress: Callable[..., tqdm] = NO_BAR,
) -> Job:
    """Decide the seed, the classes, the frame rate and the encoding, and refuse now what would fail later.

    Args:
        settings: from `requested`.
        given: names of the settings that do not come from the video that `like` names.
        notice: told in a line that weights were pinned.
        progress: makes a bar of a download of weights, as tqdm does.

    Raises:
        ValueError: settings that cannot be; names the setting, its value and what it can be.
        MediaError: a song, vectors or weights that cannot be used; an output that may not be replaced.
    """
    song = settings.song
    if not song:
        raise ValueError("--song is missing: which song shall be seen?")
    labels = generators.labels(settings.generator)
    transparent = settings.background == "transparent"
    if transparent and not generators.find(settings.generator).matte:
        raise ValueError(
            f"background: {settings.generator} was not trained with a matte (take pocket, or train a generator of your "
            "own by `make generator`, or give --background drawn)"
        )
    _require_outputs(settings, song)
    song_sha256 = files.sha256(files.require_file(song))
    if settings.start is not None:
        excerpt.length(song, _seconds(song, None), settings.start, settings.duration)
    sound = soundtrack(song, settings.output_file, settings.start or 0.0)
    seed = int(song_sha256[:SEED_DIGITS], 16) if settings.seed is None else settings.seed
    vectors, saved = settings.vectors, None
    if settings.use_previous_vectors:
        vectors = str(Path(settings.output_file).with_name(PREVIOUS))
    if vectors:
        saved = _for_song(vectors, _saved(vectors, labels)[0], _seconds(song, settings.heard))
        classes, grid_rate = list(saved.classes), Fraction(saved.grid_rate).limit_denominator(DENOMINATOR)
        if settings.classes and resolve([str(word) for word in settings.classes], labels) != classes:
            raise ValueError("classes: the vectors have classes of their own; give either, not both")
    else:
        classes, grid_rate = _chosen_classes(settings, labels, seed), Fraction(SAMPLE_RATE, settings.frame_length)
    score = None
    if MAPPINGS[settings.mapping].needs_notes and not vectors:
        score = _score(settings, song, classes, labels, notice)
    how = encoding(
        settings.output_file,
        fps=settings.fps or grid_rate,
        codec=settings.codec,
        crf=settings.crf,
        size=settings.output_size or settings.resolution,
        alpha=transparent,
    )
    weights_sha256 = generators.weights_checksum(
        settings.generator, settings.resolution, settings.weights, progress=progress, notice=notice
    )
    names = [labels[index] for index in (score.cast.classes if score else classes)]
    record = {
        **settings.recorded(),
        "weights": weights_sha256 and settings.weights,
        "seed": seed,
        "classes": classes,
        "class_names": names,
        "vectors": vectors,
        "vectors_sha256": vectors and files.sha256(vectors),
        "midi_sha256": settings.midi and files.sha256(settings.midi),
        "conduct_sha256": settings.conduct and files.sha256(settings.conduct),
        "panning_sha256": score and score.table.panning and files.sha256(score.table.panning.score),
        "song_sha256": song_sha256,
        "weights_sha256": weights_sha256,
        "frames": {"fps": str(how.fps), "codec": how.codec, "crf": how.crf, "size": how.size},
        "versions": records.versions(),
    }
    job = Job(
        settings, song, seed, tuple(classes), tuple(names), how, sound, saved, score, json.loads(json.dumps(record))
    )
    if settings.like and "weights" not in given:  # weights that are given are used as they are
        _require_same_weights(job, settings.like)
    if not settings.storyboard:
        job.is_made(record)
    return job


def _require_outputs(settings: Settings, song: str) -> None:
    """Refuse a video that no container holds, and an output that is a folder or the song."""
    container(settings.output_file)
    for name in ("output_file", "save_vectors", "storyboard"):
        output = getattr(settings, name)
        if output and _same_path(output, song):
            raise ValueError(f"{name}: {output} is the song itself")
        if output and Path(output).is_dir():
            raise ValueError(f"{name}: {output} is a folder (give the name of a file)")


def _seconds(song: str, duration: float | None) -> float:
    """Length of what is decoded of a song; its file may state another one."""
    return sum(len(piece) for piece in Song(song, duration)) / SAMPLE_RATE


def _score(settings: Settings, song: str, classes: Sequence[int], labels: Sequence[str], notice: Notice) -> Score:
    """The notes of a song, and which part shows what."""
    if not settings.midi:
        raise ValueError(
            f"--mapping {settings.mapping} follows notes: give --midi FILE (`python -m musicvideo notes SONG FILE` "
            "writes down those that it hears in a song)"
        )
    length = _seconds(song, settings.heard)
    offset = settings.midi_offset or 0.0
    written = read_notes(settings.midi)
    notes = written.within(length, offset)
    if not len(notes.onset):
        raise MediaError(f"{settings.midi}: no note of it falls into {song} (is --midi_offset {offset:g} right?)")
    late, early = len(written.onset) - len(notes.onset), length - (notes.onset + notes.length).max()
    if late and not settings.heard:
        notice(f"note: {late} of the {len(written.onset)} notes of {settings.midi} lie outside {song}")
    if early > QUIET_END:
        notice(f"note: the last note of {settings.midi} ends {early:.0f} s before {song}; the picture rests then")
    table = read_conduct(settings.conduct) if settings.conduct else Conduct()
    return Score(
        notes,
        table,
        cast(
            table, written.within(math.inf, offset), classes, labels, name=settings.conduct or "",
            clock=read_clock(settings.midi), offset=offset,
        ),
    )  # fmt: skip


def _for_song(vectors: str, path: Trajectory, duration: float) -> Trajectory:
    """A saved path, as long as the song."""
    if duration > path.duration + SHORTER:
        raise MediaError(
            f"{vectors}: ends after {path.duration:.1f} of {duration:.1f} s "
            f"(give --duration {math.floor(path.duration)})"
        )
    return replace(path, duration=min(duration, path.duration))


def _chosen_classes(settings: Settings, labels: Sequence[str], seed: int) -> list[int]:
    """The classes of the last run, or those named, else random ones; the first `num_classes` of them."""
    if settings.use_previous_classes:
        path, params = _saved(Path(settings.output_file).with_name(PREVIOUS), labels)
        # Where they were sorted by power, those of the vectors would be permuted once more.
        given = params.get("classes")
        classes = (
            given if isinstance(given, list) and set(map(str, given)) == set(map(str, path.classes)) else path.classes
        )
        if len(classes) < (settings.num_classes or 1):
            raise ValueError(f"num_classes: {settings.num_classes} asked for, the last run had {len(classes)}")
        return list(classes[: settings.num_classes])
    if not settings.classes:
        return random_classes(
            np.random.default_rng([seed, 0]), settings.num_classes or min(PITCHES, len(labels)), len(labels)
        )
    classes = list(
        dict.fromkeys(resolve([str(word) for word in settings.classes], labels))
    )  # by name and by number, still one class
    wanted = settings.num_classes or min(len(classes), PITCHES)
    if len(classes) not in (wanted, PITCHES):
        raise ValueError(f"classes: {len(classes)} different ones given, num_classes asks for {wanted}")
    return classes[:wanted]


def _saved(vectors: str | os.PathLike, labels: Sequence[str]) -> tuple[Trajectory, dict]:
    """Saved vectors and the parameters that made them, if this generator has their classes."""
    path, names, params = Trajectory.load(vectors)
    if [labels[index] for index in path.classes if 0 <= index < len(labels)] != names:
        raise MediaError(f"{vectors}: made for another generator's classes ({', '.join(map(shown, names))})")
    return path, params


def _require_same_weights(job: Job, like: str) -> None:
    """Raise MediaError if the weights have changed since the video `like` was drawn with them."""
    earlier = records.read(like)
    alike = all(earlier.get(name) == job.record[name] for name in ("generator", "resolution", "weights"))
    if alike and earlier.get("weights_sha256") != job.record["weights_sha256"]:
        raise MediaError(
            f"{job.settings.weights or 'the weights'}: other weights than those {like} was made with "
            "(give --weights to take others)"
        )
