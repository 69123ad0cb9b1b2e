"""Conduct tables: which part of a score shows what, and what its notes move.

Everything in a table is optional. What it leaves open follows from the notes: each part gets its share of the classes
and a handle of its own, and rings as its instrument does.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from musicvideo import limits, tables
from musicvideo.clock import Clock
from musicvideo.documents import nearest
from musicvideo.errors import MediaError
from musicvideo.notes import FAMILY, Notes, Part
from musicvideo.panning import Motion as Path
from musicvideo.panning import read_motion
from musicvideo.tables import setting
from musicvideo.vision.labels import resolve

SECTION_MEASURES = 8  # of a section, where a score names none
MOST_CLASSES = 48  # of a part or a section
# Classes of a part that a section shows unless the table says otherwise, by what chooses among them.
AT_ONCE = {"register": 2, "pitch": 12, "part": 1}
MOST_NAMED = 12  # unknown classes in a message
ANY_NAME: Mapping = {}  # schema of a name that is not ours to choose: of a part, a handle

# Seconds in which a note that is held falls to 1/e, by General MIDI family; strings and winds hold. Glockenspiel,
# vibraphone and marimba are fitted to MuseScore's own sound (r = 0.93 to 0.95 with the loudness of their tracks).
FAMILY_DECAY = (0.8, 0.5, 8, 0.6, 0.8, 8, 8, 8, 8, 8, 8, 8, 4, 0.6, 0.3, 2)
PROGRAM_DECAY = {9: 0.35, 11: 0.6, 12: 0.22, 13: 0.18, 14: 1.5, 45: 0.2, 47: 0.8}
DRUM_DECAY = 0.2


def _classes(meaning: str, *, shown: str) -> Any:
    """A field with names or numbers of classes."""
    return setting(meaning, None, shown=shown, minItems=1, maxItems=MOST_CLASSES)


def _handles(meaning: str, *, shown: str) -> Any:
    """A field with handles and amounts of their reach."""
    amount = {"type": "number", "minimum": -1, "maximum": 1}
    return setting(meaning, None, shown=shown, propertyNames=ANY_NAME, additionalProperties=amount)


@dataclass(frozen=True)
class PartTable:
    """How one part is seen. NAME is the part's name in the score or the MIDI file."""

    classes: Sequence[str] | None = _classes("classes it shows, low to high", shown="its share of --classes")
    by: str = setting(
        "what chooses among them: register (low to high), pitch (of twelve) or part (one at a time)", "register",
        enum=list(AT_ONCE),
    )  # fmt: skip
    attack: float = setting("seconds in which a note reaches its height", 0.06, minimum=0.01, maximum=0.1)
    decay: float | None = setting(
        "seconds in which a held note falls to 1/e", None, shown="as the instrument rings", minimum=0.05, maximum=60
    )
    release: float = setting("seconds in which it falls to 1/e after its end", 0.2, minimum=0.02, maximum=10)
    strength: float = setting("of its classes", 0.25, minimum=0, maximum=1)
    handles: Mapping[str, float] | None = _handles(
        "handle -> how far a loud note moves it, -1..1 of its reach", shown="one of the generator's"
    )
    set: str | None = setting("its set in the panning score: the way that it goes around the head", None, minLength=1)
    side: Mapping[str, float] | None = _handles(
        "handle -> where it stands while the part is at the right ear, -1..1 of its reach; with `set`", shown="none"
    )


@dataclass(frozen=True)
class Section:
    """A section of the piece: where it begins, and what its world is like."""

    ALTERNATIVES: ClassVar[tuple[str, ...]] = ("mark", "measure")

    mark: str | None = setting("rehearsal mark it begins at, or the beginning of its name", None, minLength=1)
    measure: int | None = setting("measure it begins at, from 1", None, minimum=1, maximum=limits.MEASURES)
    classes: Sequence[str] | None = _classes(
        "classes that it shows, low to high: a part with classes of its own shows those among them",
        shown="two of each part's, in turn",
    )
    ground: str | None = setting(
        "class that stands between the notes", None, shown="the one that its notes raise most", minLength=1
    )
    depth: float = setting("of all classes", 1.0, minimum=0, maximum=1)
    speed: float = setting("of all movement, 1 is usual", 1.0, minimum=0, maximum=10)
    handles: Mapping[str, float] | None = _handles(
        "handle -> where it stands, -1..1 of its reach", shown="three that no part moves, by the seed"
    )


@dataclass(frozen=True)
class Panning:
    """The ways of parts around the head."""

    score: str = setting("panning score (JSON) that has the sets, see docs/panning.md", minLength=1)


@dataclass(frozen=True)
class Motion:
    """What moves everything."""

    speed: float = setting("of the drift between notes, 1 is usual", 1.0, minimum=0, maximum=10)
    downbeat: float = setting("how much more a downbeat moves than another note", 0.3, minimum=0, maximum=1)
    flight: float = setting("seconds of the way to a section's place", 4.0, minimum=0.2, maximum=60)


@dataclass(frozen=True)
class Conduct:
    """A whole conduct table."""

    panning: Panning | None = setting("the ways of parts around the head", None)
    parts: Mapping[str, PartTable] = setting("how each part is seen", factory=dict, propertyNames=ANY_NAME)
    sections: Sequence[Section] = setting("sections in any order", factory=tuple, maxItems=limits.SECTIONS)
    motion: Motion = setting("what moves everything", factory=Motion)


def explain() -> str:
    """Every setting of a conduct table, with its meaning, range and default."""
    return tables.explain(
        {"[panning]": Panning, "[parts.NAME]": PartTable, "[[sections]]": Section, "[motion]": Motion}
    )


def read_conduct(path: str | os.PathLike) -> Conduct:
    """Read and check a conduct table. Its names are compared with a score's and a generator's in `cast`.

    Raises:
        MediaError: as `musicvideo.tables.read`.
    """
    return tables.build(Conduct, tables.read(path, Conduct))


@dataclass(frozen=True)
class Role:
    """One part with everything decided.

    Attributes:
        part: whose.
        classes: ids of its classes, low to high.
        table: its settings.
        decay: seconds in which a held note falls to 1/e.
        pitches: its different pitches, rising.
        path: its way around the head; None where `side` moves nothing.
    """

    part: Part
    classes: tuple[int, ...]
    table: PartTable
    decay: float
    pitches: tuple[int, ...]
    path: Path | None = None

    def class_of(self, pitch: int, in_play: Sequence[int]) -> int:
        """The class in play that a note of the part raises."""
        count = len(in_play)
        if self.table.by == "pitch":
            return in_play[pitch % 12 % count]
        if self.table.by == "part":
            return in_play[0]
        # Registers have as many of the part's different pitches each.
        return in_play[min(bisect_left(self.pitches, pitch) * count // len(self.pitches), count - 1)]


@dataclass(frozen=True)
class Scene:
    """One section with everything decided.

    Attributes:
        begin: seconds.
        name: of its mark; "" if it has none.
        classes: ids of the classes in play; None for two of each part's, in turn.
        ground: id of the class that stands between the notes; None for the one that its notes raise most.
        table: its settings.
    """

    begin: float
    name: str
    classes: tuple[int, ...] | None = None
    ground: int | None = None
    table: Section = Section()


@dataclass(frozen=True)
class Cast:
    """Who shows what, and when.

    Attributes:
        roles: one for each part of the notes, in their order.
        scenes: in order; the first begins at 0.
        motion: of the table.
    """

    roles: tuple[Role, ...]
    scenes: tuple[Scene, ...]
    motion: Motion

    @property
    def classes(self) -> tuple[int, ...]:
        """Ids of all classes, each once."""
        owned = [index for role in self.roles for index in role.classes]
        shown = [index for scene in self.scenes for index in scene.classes or ()]
        grounds = [scene.ground for scene in self.scenes if scene.ground is not None]
        return tuple(dict.fromkeys(owned + shown + grounds))

    def scene_at(self, time: float) -> int:
        """Number of the scene that plays at a time in seconds."""
        return max(bisect_right(self.scenes, time, key=lambda scene: scene.begin) - 1, 0)

    def in_play(self, role: Role, number: int) -> tuple[int, ...]:
        """Classes of a part that a scene shows, low to high."""
        wanted = self.scenes[number].classes
        if wanted is not None:
            own = role.classes if role.table.classes else ()
            return tuple(index for index in own if index in wanted) or wanted
        count, at_once = len(role.classes), AT_ONCE[role.table.by]
        if count <= at_once:
            return role.classes
        turn = sorted((at_once * number + step) % count for step in range(at_once))
        return tuple(role.classes[index] for index in turn)


def cast(
    table: Conduct,
    notes: Notes,
    classes: Sequence[int],
    labels: Sequence[str],
    *,
    name: str = "",
    clock: Clock | None = None,
    offset: float = 0.0,
) -> Cast:
    """Decide which part shows which classes, and where sections begin.

    Args:
        table: what is decided already.
        notes: of the song.
        classes: ids that parts share out whose table names none.
        labels: class names of the generator.
        name: of the table's file, for messages.
        clock: of the notes, for panning scores in measures and beats.
        offset: seconds that `Notes.within` added to the notes; panning scores are played as much later.

    Raises:
        MediaError: a part that the notes do not have, classes that the generator does not have (up to `MOST_NAMED` of
            them in one message), a section that the piece does not have; a panning score as `read_motion`.
    """
    names = [part.name for part in notes.parts]
    for known in table.parts:
        if known not in names:
            raise MediaError(f"{name}: [parts.{known}]: no such part in the notes, {nearest(known, names)}")
    _require_known(table, labels, name)
    scenes = _scenes(table, notes, labels, name)
    roles = []
    for number, part in enumerate(notes.parts):
        settings = table.parts.get(part.name, PartTable())
        first = number * len(classes) // len(names)
        shared = classes[first : max((number + 1) * len(classes) // len(names), first + 1)]
        mine = resolve(list(settings.classes), labels) if settings.classes else shared
        decay = settings.decay or (
            DRUM_DECAY if part.drums else PROGRAM_DECAY.get(part.program, FAMILY_DECAY[part.program // FAMILY])
        )
        pitches = np.unique(notes.pitch[notes.part == number])
        path = None
        if settings.side:
            if table.panning is None or settings.set is None:
                raise MediaError(
                    f"{name}: [parts.{part.name}]: side needs `set` beside it, and the `score` of [panning]"
                )
            length = clock.duration if clock else notes.duration
            path = read_motion(table.panning.score, settings.set, clock, length).later(offset)
        roles.append(Role(part, tuple(dict.fromkeys(mine)), settings, decay, tuple(pitches.tolist()), path))
    return Cast(tuple(roles), scenes, table.motion)


def require_handles(table: Conduct, handles: Iterable[str], *, name: str = "") -> None:
    """Raise MediaError if a table names a handle that the generator does not have."""
    known = list(handles)
    places = [
        (f"[parts.{part}]", moved)
        for part, settings in table.parts.items()
        for moved in (settings.handles, settings.side)
    ]
    places += [("[[sections]]", section.handles) for section in table.sections]
    for place, named in places:
        for handle in named or ():
            if handle not in known:
                hint = nearest(handle, known) if known else "it has none"
                raise MediaError(f"{name}: {place}: this generator has no handle '{handle}', {hint}")


def _require_known(table: Conduct, labels: Sequence[str], name: str) -> None:
    named = [settings.classes for settings in table.parts.values()] + [section.classes for section in table.sections]
    named += [[section.ground] for section in table.sections if section.ground]
    unknown: list[str] = []
    for word in dict.fromkeys(word for words in named for word in words or ()):
        try:
            resolve([word], labels)
        except ValueError:
            unknown.append(word)
            if len(unknown) == MOST_NAMED:  # each takes a search for names that are spelt alike
                break
    if unknown:
        raise MediaError(
            f"{name}: this generator has no class {', '.join(map(repr, unknown))} (--list_classes prints those it has; "
            "was the table written for another generator?)"
        )


def _scenes(table: Conduct, notes: Notes, labels: Sequence[str], name: str) -> tuple[Scene, ...]:
    """The sections of a table, or else those of the notes, or else one every so many measures."""
    found = []
    if table.sections:
        for section in table.sections:
            ground = resolve([section.ground], labels)[0] if section.ground else None
            found.append(Scene(*_begin(section, notes, name), _ids(section.classes, labels), ground, section))
    elif notes.marks:
        found = [Scene(time, mark) for time, mark in notes.marks]
    else:
        found = [Scene(float(time), "") for time in notes.downbeats[::SECTION_MEASURES]]
    found.sort(key=lambda scene: scene.begin)
    if not found or found[0].begin > 0:
        found.insert(0, Scene(0.0, ""))
    return tuple(found)


def _ids(words: Sequence[str] | None, labels: Sequence[str]) -> tuple[int, ...] | None:
    return tuple(dict.fromkeys(resolve(list(words), labels))) if words else None


def _begin(section: Section, notes: Notes, name: str) -> tuple[float, str]:
    """Seconds at which a section begins, and the name of its mark."""
    if section.mark is not None:
        for time, mark in notes.marks:
            if mark.casefold().startswith(section.mark.casefold()):
                return time, mark
        known = [mark for _, mark in notes.marks]
        hint = nearest(section.mark, known) if known else "the notes have none"
        raise MediaError(f"{name}: [[sections]]: no rehearsal mark begins with '{section.mark}', {hint}")
    if section.measure is None:
        return 0.0, ""
    if section.measure > len(notes.downbeats):
        raise MediaError(
            f"{name}: [[sections]]: begins at measure {section.measure}, the piece has {len(notes.downbeats)}"
        )
    return float(notes.downbeats[section.measure - 1]), ""
