"""Merge a finished picture with its sounds: titled streams, tags, chapters and a cover."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from musicvideo import excerpt, ffmpeg, files, probe
from musicvideo.errors import MediaError
from musicvideo.vision import record
from musicvideo.vision.containers import FILM_SOUND, require_film
from musicvideo.vision.film import intro_length
from musicvideo.vision.title import visible

COVER_TAGS = ("-metadata:s:t", "mimetype=image/jpeg", "-metadata:s:t", "filename=cover.jpg")  # as players look for it


@dataclass(frozen=True)
class Stream:
    """A sound stream of a film."""

    sound: str | os.PathLike
    title: str = ""


def merge(
    picture: str | os.PathLike,
    streams: Sequence[Stream],
    output: str | os.PathLike,
    *,
    intro: float = 4.0,
    start: float = 0.0,
    duration: float | None = None,
    tags: Mapping[str, str] | None = None,
    cover: str | os.PathLike | None = None,
    chapters: Sequence[tuple[float, str]] = (),
) -> float:
    """Put picture and sounds into one film. The picture is copied, and the sounds start when the intro ends.

    Args:
        picture: what `finish` made.
        streams: the mixes, of one length; the first is played by default. A .mp4 takes only that one.
        output: a .mkv gets FLAC, a .mp4 AAC at 320 kbit/s.
        intro: seconds of picture before the music.
        start, duration: as of `finish`; where the excerpt begins or ends within the music, it is faded in or out.
        tags: written into the file, by FFmpeg's names: title, artist, ...
        cover: a .jpg that is attached to a .mkv.
        chapters: (seconds of the music, name) where each begins, in order.

    Returns:
        Seconds of sound that were cut off at the picture's end; if negative, seconds of silence that were added.

    Raises:
        MediaError: a missing input, an unsupported container, or lengths that differ by more than half a second.
    """
    require_film(output)
    suffix, sound = Path(output).suffix, streams[0].sound
    if suffix == ".mp4":
        streams, cover = streams[:1], None
    film = probe.probe(picture)
    if film.frame_rate is None:
        raise MediaError(f"{picture}: has no picture")
    if probe.picture_duration(picture) < film.duration - 0.5:
        raise MediaError(f"{picture}: is damaged or cut off; delete it and make the picture again (make video)")
    wait = intro_length(intro, film.frame_rate)
    whole = probe.probe(sound).duration
    heard = excerpt.length(sound, whole, start, duration)
    difference = float(wait) + heard - film.duration
    if abs(difference) > 0.5:
        longer = "longer" if difference > 0 else "shorter"
        raise MediaError(
            f"{sound}: is {abs(difference):.1f} s {longer} than {picture} with its intro; "
            f"make the picture again (make video)"
        )
    for stream in streams:
        files.require_file(stream.sound)
    with tempfile.TemporaryDirectory(prefix="film-") as work, files.atomic(output) as partial:
        notes = Path(work) / "metadata.txt"
        marks = _within(chapters, start, heard)
        notes.write_text(
            _metadata(
                {**(tags or {}), **_settings(picture)},
                [(time + float(wait), name) for time, name in marks],
                film.duration,
            ),
            encoding="utf-8",
        )
        ffmpeg.run_ffmpeg(
            [
                *ffmpeg.SAFE_INPUT,
                "-i",
                ffmpeg.source(picture),
                *(word for each in streams for word in (*ffmpeg.SAFE_INPUT, "-i", ffmpeg.source(each.sound))),
                "-f",
                "ffmetadata",
                "-i",
                ffmpeg.source(notes),
                *([] if cover is None else ["-attach", ffmpeg.source(files.require_file(cover))]),
                "-map",
                "0:v",
                *(word for number in range(len(streams)) for word in ("-map", f"{number + 1}:a")),
                "-map_metadata",
                str(len(streams) + 1),
                "-map_chapters",
                str(len(streams) + 1),
                "-c:v",
                "copy",
                "-disposition:v",
                "default",
                "-af",
                ",".join(
                    [
                        *excerpt.filters(start, heard, whole),
                        f"adelay={float(wait * 1000):.6f}:all=1,apad,atrim=end={film.duration:.6f}",
                    ]
                ),
                "-c:a",
                *FILM_SOUND[suffix],
                *(
                    word
                    for number, each in enumerate(streams)
                    for word in (
                        *(f"-metadata:s:a:{number}", f"title={each.title}"),
                        *(f"-disposition:a:{number}", "0" if number else "default"),
                    )
                ),
                *([] if cover is None else COVER_TAGS),
                ffmpeg.source(partial),
            ],
            doing=f"merging {picture} and {sound}",
        )
    return difference


def _within(chapters: Sequence[tuple[float, str]], start: float, length: float) -> list[tuple[float, str]]:
    """The chapters of an excerpt, by its own time; it may begin within one."""
    begun = [name for time, name in chapters if time <= start]
    later = [(time - start, name) for time, name in chapters if start < time < start + length]
    return [*((0.0, name) for name in begun[-1:]), *later]


def _settings(picture: str | os.PathLike) -> dict[str, str]:
    """The tag with the record of the drawing that a picture carries, as JSON; empty if it has none.

    Of absolute paths only the name stays: a film is given to other people.
    """
    try:
        found = record.read(picture)
    except MediaError:
        return {}
    names = {key: Path(value).name for key, value in found.items() if isinstance(value, str) and os.path.isabs(value)}
    return {"comment": json.dumps({**found, **names})}


def _metadata(tags: Mapping[str, str], chapters: Sequence[tuple[float, str]], duration: float) -> str:
    """Tags and chapters in FFmpeg's metadata format. The first chapter includes the intro."""

    def escaped(text: str) -> str:
        return re.sub(r"([=;#\\\n])", r"\\\1", text)

    lines = [";FFMETADATA1", *(f"{name}={escaped(visible(text))}" for name, text in tags.items())]
    chapters = [chapter for chapter in chapters if chapter[0] < duration]
    starts = [0.0, *(time for time, _ in chapters[1:])]
    for start, end, (_, name) in zip(starts, [*starts[1:], duration], chapters):
        lines += [
            "[CHAPTER]",
            "TIMEBASE=1/1000",
            f"START={start * 1000:.0f}",
            f"END={end * 1000:.0f}",
            f"title={escaped(name)}",
        ]
    return "\n".join(lines) + "\n"
