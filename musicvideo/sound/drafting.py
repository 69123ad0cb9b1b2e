"""A first mix table of a score, made from its exported parts: balanced by loudness, in one room, without motion."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from statistics import median_low

from musicvideo.errors import MediaError
from musicvideo.notes import read_notes
from musicvideo.sound import score
from musicvideo.sound.mastering import integrated, loudness_curves
from musicvideo.sound.table import explain
from musicvideo.tables import commented, quoted

GAINS = -12.0, 6.0  # dB, least and most: what is far softer than the others is meant to be
GAIN_STEP = 0.5  # dB
SPREAD = 0.4  # balance of the outermost parts
SEND = -8  # dB, with which the room is some 12 dB softer than the parts
A4 = 69, 440  # MIDI number, Hz
HIGHPASS_STEP = 10  # Hz
LOWEST_HIGHPASS = 30  # Hz, below which there is nothing to take away
LONGEST_NAME = 100  # characters of a part's name in a table

HEAD = """\
# A first mix of {title}, made from the parts of its score.
# {purpose}
#
# Levels are in dB. {{title}} is the name of the piece. What else may be set is at the end.

[master]
profile = "youtube"      # how loud the finished mix is: -14 LUFS

# One room for all parts.
[reverbs.room]
reverberance = 50        # percent: how long it rings
damping = 50             # percent: how much sooner high tones die away
predelay = 20            # ms before the room answers

# The parts. gain brings each to the loudness of the median part, by {least:+g} to {most:+g} dB. balance is its place,
# from left (-1) to right (1). highpass, in Hz, takes away what lies an octave and more below its lowest note. send is
# how much of it reaches the room. No part moves: `orbit = 20` lets one circle the head in 20 seconds, and
# docs/panning.md says how to write other motions.
"""


def parts(path: str | os.PathLike, folder: str | os.PathLike = "media") -> list[Path]:
    """The exported parts of a score, in its order.

    Where they were exported by hand under other names, all sounds in their folder; where there are none, the full mix.

    Args:
        path: a .mscz or .mscx file.
        folder: where `score.export` wrote to.

    Raises:
        MediaError: not a score.
    """
    *sounds, full, _ = score.places(score.read(path), folder)
    if sounds and all(sound.exists() for sound in sounds):
        return sounds
    return sorted(_folder(full).glob("*.wav")) or [full]


def is_fresh(table: Path, path: Path, sounds: Sequence[Path]) -> bool:
    """Whether a drafted table is newer than the score and its exported parts."""
    made_from = [path, *sounds, *filter(Path.exists, [sounds[0].parent])]
    return table.exists() and table.stat().st_mtime > max(each.stat().st_mtime for each in made_from)


def draft(title: str, sounds: Sequence[Path], clock: str | os.PathLike, *, purpose: str) -> str:
    """The text of a mix table, with comments.

    Args:
        title: of the piece.
        sounds: its parts.
        clock: MIDI file of the score, in which tracks are named as the sounds are.
        purpose: a sentence for the head of the table.

    Raises:
        MediaError: a part that is no sound, or has a name that is not text.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        measured = list(pool.map(lambda sound: integrated(loudness_curves(sound)), sounds))
    heard = [loudness for loudness in measured if loudness is not None]
    usual = median_low(heard) if heard else 0.0
    lowest = _lowest(clock)
    names = _names([sound.stem for sound in sounds])
    blocks = [HEAD.format(title=quoted(title), purpose=purpose, least=GAINS[0], most=GAINS[1])]
    place = 0
    for name, sound, loudness in zip(names, sounds, measured):
        file = quoted(sound.as_posix().replace(f"/{title}/", "/{title}/"))
        lines = [f"[parts.{name}]", f"file = {file}"]
        if loudness is None:
            lines += ["gain = 0.0               # silent, or shorter than 0.4 s: there is no loudness to balance"]
        else:
            gain = min(max(round((usual - loudness) / GAIN_STEP) * GAIN_STEP, GAINS[0]), GAINS[1])
            lines += [f"{f'gain = {gain + 0.0:.1f}':25}# it measures {loudness:.1f} LUFS"]
            lines += [f"balance = {_balance(place, len(heard)):.2f}"]
            place += 1
        pitch = lowest.get(sound.stem)
        if pitch is not None:
            octave_below = A4[1] * 2 ** ((pitch - A4[0]) / 12 - 1)
            frequency = int(octave_below // HIGHPASS_STEP * HIGHPASS_STEP)
            lines += [f"highpass = {frequency}"] if frequency >= LOWEST_HIGHPASS else []
        lines += ['reverb = "room"', f"send = {SEND}"]
        blocks.append("\n".join(lines) + "\n")
    blocks.append(
        "\n".join(commented(["All settings, and [what holds where they are left out]:", *explain().split("\n")]))
    )
    return "\n".join(blocks) + "\n"


def _folder(full: Path) -> Path:
    """Where the parts of a full mix lie."""
    return full.parent / "parts" / full.stem


def _balance(number: int, count: int) -> float:
    """Place of one of so many parts: evenly from left to right, a single one in the middle."""
    return SPREAD * (2 * number / (count - 1) - 1) + 0.0 if count > 1 else 0.0


def _lowest(clock: str | os.PathLike) -> dict[str, int]:
    """The lowest pitch of each part that is no drum kit, by its name; none where the clock has no notes."""
    with suppress(MediaError):
        notes = read_notes(clock)
        return {
            part.name: int(notes.pitch[notes.part == number].min())
            for number, part in enumerate(notes.parts)
            if not part.drums
        }
    return {}


def _names(stems: Sequence[str]) -> list[str]:
    """Names of parts in a table, each once, for names of files, which may be any."""
    found: list[str] = []
    for stem in stems:
        plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
        name = unique = re.sub(r"[^A-Za-z0-9_-]+", "_", plain)[:LONGEST_NAME].strip("_") or "part"
        number = 1
        while unique in found:
            number += 1
            unique = f"{name}-{number}"
        found.append(unique)
    return found
