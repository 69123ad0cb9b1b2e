"""A first conduct table of a song: its parts and sections, and as comments what holds while nothing is decided."""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose

from musicvideo import limits
from musicvideo.notes import Notes
from musicvideo.tables import commented, key, quoted, untouched
from musicvideo.vision.conduct import Conduct, Motion, PartTable, Scene, Section, cast, explain

OPEN = {"classes": '["NAME", "NAME"]', "ground": '"NAME"', "handles": "{ NAME = 0.5 }"}  # what a person fills in
LONGEST_MARK = 100  # characters of a mark that a table repeats; its beginning is enough
HEAD = """\
# What the notes of {title} show and move in its picture.
#
# Nothing is decided yet. A line that begins with # says what holds without it, or has a NAME to fill in: take the #
# away and change it. What each setting means is at the end. `python visualize.py --generator cppn --list_classes` lists
# the classes of a generator, and docs/conducting.md has examples.
"""


def draft(title: str, notes: Notes) -> str:
    """The text of a conduct table, with comments; it means the same as no table.

    Args:
        title: of the song.
        notes: of the song.
    """
    found = cast(Conduct(), notes, [0], [])
    lines = [HEAD.format(title=quoted(title)), "[motion]", *untouched(Motion, {}), ""]
    lines += ["# The parts, and how long the instrument of each rings.", ""]
    for name, role in {role.part.name: role for role in found.roles}.items():
        lines += [
            f"[parts.{key(name)}]",
            *untouched(PartTable, {**OPEN, "decay": f"{role.decay}"}, without=("set", "side")),
            "",
        ]
    lines += _sections(found.scenes, notes)
    lines += commented(["All settings, and [what holds where they are left out]:", *explain().split("\n")])
    return "\n".join(lines) + "\n"


def _sections(scenes: Sequence[Scene], notes: Notes) -> list[str]:
    """Lines of the sections: as they are without a table. All of them count, or none, so none may be missing."""
    begins = [_begin(scene, notes) for scene in scenes]
    if None in begins or len(scenes) > limits.SECTIONS:
        return ["# Sections are left to the notes, since a table cannot name all of theirs.", ""]
    lines = ["# The sections. Those that are deleted here are gone.", ""]
    for scene, begin in zip(scenes, begins):
        minutes, seconds = divmod(int(scene.begin), 60)
        lines += [f"[[sections]]             # at {minutes}:{seconds:02}", *filter(None, [begin])]
        lines += [*untouched(Section, OPEN, without=("mark", "measure")), ""]
    return lines


def _begin(scene: Scene, notes: Notes) -> str | None:
    """The line that says where a section begins; "" for the beginning of the song, None if there is none."""
    if not scene.name and not scene.begin:
        return ""
    name = scene.name[:LONGEST_MARK]
    first = next((time for time, mark in notes.marks if mark.casefold().startswith(name.casefold())), None)
    if name and first == scene.begin:
        return f"mark = {quoted(name)}"
    for number, time in enumerate(notes.downbeats.tolist(), 1):
        if isclose(time, scene.begin, abs_tol=1e-3):
            return f"measure = {number}"
    return None
