"""Many songs -> a video each, by the same settings: one after the other here, or each by a worker of a cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from musicvideo import files
from musicvideo.errors import MediaError
from musicvideo.notes import write_midi
from musicvideo.vision import record as records
from musicvideo.vision.containers import container
from musicvideo.vision.generators import Generator
from musicvideo.vision.job import Job, decide, requested
from musicvideo.vision.mappings import MAPPINGS
from musicvideo.vision.settings import Settings
from musicvideo.vision.transcription import transcribe

# Settings that belong to one video only.
SINGLE = frozenset(
    "song output_file midi vectors save_vectors use_previous_vectors use_previous_classes like storyboard segments "
    "join list_classes".split()
)

Load = Callable[[Job], Generator]


class Task(NamedTuple):
    """A song, its video, and the notes that are written down from it."""

    song: str
    output: str
    notes: str


class Made(NamedTuple):
    """A video made on another machine: contents of its files, None for no notes, and its number of frames."""

    video: bytes
    notes: bytes | None
    record: Mapping[str, Any]
    frames: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """What became of a song.

    Attributes:
        song: its path.
        output: path of the video.
        frames: that were drawn; 0 if the video was there already.
        seconds: that it took.
        problem: why there is no video; "" if there is one.
    """

    song: str
    output: str
    frames: int = 0
    seconds: float = 0.0
    problem: str = ""


def tasks(songs: Sequence[str], folder: str | os.PathLike, suffix: str, given: Mapping[str, Any]) -> list[Task]:
    """The video of each song: its name with another suffix, in a folder.

    Args:
        songs: paths.
        folder: of the videos.
        suffix: of the videos, such as ".mp4".
        given: settings of all songs, as of `musicvideo.vision.job.requested`.

    Raises:
        ValueError: a setting that belongs to one video, or a suffix that no container has.
        MediaError: two songs would make one video.
    """
    if alone := sorted(SINGLE & given.keys()):
        raise ValueError(f"--{alone[0]}: not for many songs")
    container(f"x{suffix}")
    found: dict[Path, Task] = {}
    for song in songs:
        output = Path(folder, Path(song).stem + suffix)
        if output in found:
            raise MediaError(f"{song}: would become {output}, as {found[output].song} does (rename one of them)")
        found[output] = Task(song, str(output), str(output.with_suffix(".notes.mid")))
    return list(found.values())


def settings_of(given: Mapping[str, Any], task: Task) -> Settings:
    """The settings of one song."""
    settings = requested({**given, "song": task.song, "output_file": task.output})
    return replace(settings, midi=task.notes) if MAPPINGS[settings.mapping].needs_notes else settings


def is_made(given: Mapping[str, Any], task: Task) -> bool:
    """Whether a song's video is there already, with these settings.

    Raises:
        MediaError, ValueError: as `decide`; another video is there.
    """
    if not Path(task.output).exists():
        return False
    settings = settings_of(given, task)
    if settings.midi and not Path(task.notes).exists():
        if settings.overwrite or settings.replace:
            return False
        raise MediaError(
            f"{task.output}: is there already, without its notes, {task.notes} (--overwrite draws it anew)"
        )
    job = decide(settings)
    return job.is_made(job.record)


def draw(given: Mapping[str, Any], task: Task, *, load: Load, **told: Any) -> int:
    """Draw a song, as `visualize.py` does, with the notes that are heard in it.

    Args:
        given: settings of all songs.
        task: the song.
        load: gives the generator of a job.
        told: `notice` and `progress`, as of `Job.draw`.

    Returns:
        Number of frames; 0 if the video is there already.
    """
    job = _decided(given, task)
    return job.draw(load(job), **told)


def _decided(given: Mapping[str, Any], task: Task) -> Job:
    settings = settings_of(given, task)
    if settings.midi:
        files.require_file(task.song)
        if not _has_notes(task):
            found = transcribe(task.song)
            if not len(found.onset):
                raise MediaError(f"{task.song}: no notes are heard in it (draw it with --mapping classic)")
            write_midi(found, task.notes)
    return decide(settings)


def _has_notes(task: Task) -> bool:
    """Whether the notes of a song are written down, and the song is not newer."""
    notes = Path(task.notes)
    return notes.exists() and notes.stat().st_mtime >= Path(task.song).stat().st_mtime


def failed(task: Task, error: Exception) -> Row:
    """The row of a song that could not be drawn."""
    reason = str(error) if isinstance(error, (MediaError, ValueError, OSError)) else f"{type(error).__name__}: {error}"
    return Row(task.song, task.output, problem=reason)


def one_by_one(given: Mapping[str, Any], wanted: Sequence[Task], *, took: Callable[[Row], object], **told: Any) -> None:
    """Draw songs on this machine.

    Args:
        given: settings of all songs.
        wanted: the songs.
        took: called with what became of each.
        told: as for `draw`.
    """
    loaded: list[Generator] = []  # by the same settings for all songs

    def load(job: Job) -> Generator:
        if not loaded:
            loaded.append(job.load())
        return loaded[0]

    for task in wanted:
        begin = time.monotonic()
        try:
            frames = draw(given, task, load=load, **told)
        except Exception as error:  # one song must not stop the others
            took(failed(task, error))
        else:
            took(Row(task.song, task.output, frames, time.monotonic() - begin))


# -- On another machine ---------------------------------------------------------------------------------------


def inputs(given: Mapping[str, Any], task: Task) -> dict[str, bytes]:
    """Contents of the files that a worker needs, by setting."""
    # The notes last, since they must not be older than the song.
    named = {"song": task.song, "conduct": given.get("conduct"), "midi": task.notes if _has_notes(task) else None}
    return {name: Path(path).read_bytes() for name, path in named.items() if path}


def draw_elsewhere(
    given: Mapping[str, Any],
    task: Task,
    contents: Mapping[str, bytes],
    folder: Path,
    *,
    weights: Path | None,
    load: Load,
) -> Made:
    """Draw a song in a folder of a machine that has none of its files; the record names the files as they were.

    Args:
        given: settings of all songs.
        task: the song.
        contents: from `inputs`.
        folder: empty.
        weights: folder with those of the generator on this machine; None for a generator without weights, and for one
            that a user trained, which is found by its name.
        load: gives the generator of a job.
    """
    begin = time.monotonic()
    names = {"song": task.song, "conduct": given.get("conduct"), "midi": task.notes}
    here = {name: str(folder / name / Path(path).name) for name, path in names.items() if path}
    for name, content in contents.items():
        Path(here[name]).parent.mkdir()
        Path(here[name]).write_bytes(content)
    Path(here["midi"]).parent.mkdir(exist_ok=True)
    there = Task(here["song"], str(folder / Path(task.output).name), here["midi"])
    settings = dict(given)
    if "conduct" in here:
        settings["conduct"] = here["conduct"]
    if weights:
        settings["weights"] = str(weights)
    job = _decided(settings, there)
    names["weights"] = given.get("weights")
    job = replace(job, record={**job.record, **{name: job.record[name] and names[name] for name in names}})
    frames = job.draw(load(job))
    notes = Path(there.notes)
    return Made(
        Path(there.output).read_bytes(), notes.read_bytes() if notes.exists() else None, records.read(there.output),
        frames, time.monotonic() - begin,
    )  # fmt: skip


def put(task: Task, made: Made) -> Row:
    """Put a video that was made elsewhere, and its notes and record, where they belong."""
    if made.notes is not None:
        with files.atomic(task.notes) as partial:
            partial.write_bytes(made.notes)
    with files.atomic(task.output) as partial:
        partial.write_bytes(made.video)
        records.write(f"{task.output}.json", made.record)
    return Row(task.song, task.output, made.frames, made.seconds)
