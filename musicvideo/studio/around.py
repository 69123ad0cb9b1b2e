"""What a preview sounds like without and with 8D, and where its parts are around the head meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from musicvideo import ffmpeg, programs
from musicvideo.panning import Motion
from musicvideo.sound.mixing import RATE, make_mixes, read_part_motion
from musicvideo.sound.table import Mix, read_mix

STEP = 0.05  # seconds from one place of a part to the next


@dataclass(frozen=True)
class Source:
    """A part of a mix during an excerpt.

    Attributes:
        name: of the part.
        rest: degrees clockwise from the front at which it is in the Dry mix.
        azimuth, distance: (N,) degrees and metres in the Wet mix, every `STEP` seconds.
    """

    name: str
    rest: float
    azimuth: np.ndarray
    distance: np.ndarray


def mix_of(song: str, score: str) -> Mix | None:
    """The mix that make would make; None where nothing moves in it.

    Args:
        song: path of the song.
        score: name of a score in scores/, whose parts are exported; "" for a song.

    Raises:
        MediaError: a fault in the table.
    """
    if not score:
        mix = read_mix(Path("scores", "song.mix.toml"), "song")
        return replace(mix, parts={name: replace(part, file=song) for name, part in mix.parts.items()})
    table = Path("scores", f"{score}.mix.toml")
    if not table.is_file():
        return None
    mix = read_mix(table, score)
    return mix if any(part.moves for part in mix.parts.values()) else None


def motions(mix: Mix, duration: float) -> dict[str, Motion]:
    """The motion of each part that moves.

    Args:
        mix: a mix.
        duration: seconds of its music.
    """
    whole = duration + mix.master.tail
    return {name: read_part_motion(mix, part, whole) for name, part in mix.parts.items() if part.moves}


def sources(mix: Mix, moving: Mapping[str, Motion], begin: float, length: float) -> list[Source]:
    """Where the parts are during an excerpt of `length` seconds from `begin` on."""
    times = begin + np.arange(0, length + STEP, STEP)
    found = []
    for name, part in mix.parts.items():
        rest = float(np.degrees(np.arcsin(part.balance)))
        azimuth, _, distance = moving[name].at(times) if name in moving else np.array([[rest], [0], [1]]) + 0 * times
        found.append(Source(name, rest, azimuth, distance))
    return found


def mixes(
    mix: Mix, moving: Mapping[str, Motion], begin: float, length: float, loudness: float, folder: Path
) -> tuple[Path, Path]:
    """Make the Dry and the Wet mix of an excerpt, in a folder; both are equally loud.

    Args:
        mix: of the whole.
        moving: the motions of its parts.
        begin, length: of the excerpt, in seconds.
        loudness: of both in LUFS.
        folder: where they go.

    Raises:
        MediaError: a part that is missing, or no sound.
    """
    parts = {}
    for number, (name, part) in enumerate(mix.parts.items()):
        place = folder / f"part-{number}.wav"
        cut(part.file, place, begin, length)
        parts[name] = replace(part, file=str(place))
    master = replace(mix.master, loudness=loudness, tail=0.0, fade=0.0)
    excerpt = replace(mix, parts=parts, master=master)
    dry, wet = folder / "dry.wav", folder / "wet.wav"
    make_mixes(excerpt, dry, wet, motions={name: motion.later(-begin) for name, motion in moving.items()})
    return dry, wet


def cut(sound: str, target: Path, begin: float, length: float) -> None:
    """Write a part of a sound as WAV at 48 kHz, with the channels that it has, two at most."""
    programs.run(
        ["ffmpeg", "-v", "error", "-y", *ffmpeg.SAFE_INPUT, "-ss", ffmpeg.seconds(begin), "-t", ffmpeg.seconds(length),
         "-i", ffmpeg.source(sound), "-map", "0:a:0", "-af", "aformat=channel_layouts=mono|stereo",
         "-ar", str(RATE), "-c:a", "pcm_f32le", ffmpeg.source(target)],
        doing=f"cutting {sound}",
    )  # fmt: skip
