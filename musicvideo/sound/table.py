"""Mix tables: their settings, and reading a table.

The dataclasses below are the one definition of a mix table: each field's type, default, range and meaning stand here,
and nowhere else (see `musicvideo.tables`). To add a setting, add a field, and use it in `musicvideo.sound.mixing`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from musicvideo import tables
from musicvideo.documents import nearest
from musicvideo.errors import MediaError
from musicvideo.panning import read_panning
from musicvideo.sound.models import MODELS
from musicvideo.tables import setting

PROFILES = {"youtube": -14.0, "spotify": -14.0, "apple": -16.0, "broadcast": -23.0, "none": None}  # LUFS
_PROFILE_LIST = ", ".join(f"{name} {lufs or 'as it comes'}" for name, lufs in PROFILES.items())


def level(meaning: str = "dB") -> Any:
    """A field with a level."""
    return setting(meaning, 0.0, minimum=-100, maximum=24)


def percent(default: float, meaning: str = "percent") -> Any:
    """A field with a percentage."""
    return setting(meaning, default, minimum=0, maximum=100)


@dataclass(frozen=True)
class Tremolo:
    """Amplitude modulation, like the motor of a vibraphone."""

    speed: float = setting("Hz", minimum=0.1, maximum=50)
    depth: float = setting("percent", exclusiveMinimum=0, maximum=100)


@dataclass(frozen=True)
class Part:
    """One track. The Dry mix has its gain, balance, high-pass and tremolo; the Wet mix its motion and reverb, too."""

    ALTERNATIVES: ClassVar[tuple[str, ...]] = ("set", "orbit")

    file: str = setting("mono or stereo sound at any rate", minLength=1)
    gain: float = level()
    balance: float = setting("-1 left, 0 middle, 1 right; equal power", 0.0, minimum=-1, maximum=1)
    highpass: float | None = setting("Hz, 12 dB an octave", None, minimum=5, maximum=20000)
    tremolo: Tremolo | None = setting("{ speed = Hz, depth = percent }", None)
    set: str | None = setting("set of the panning score that moves it", None)
    orbit: float | None = setting(
        "seconds a turn around the head, in place of a set; below 0 counter-clockwise", None,
        minimum=-3600, maximum=3600, apart=0.1,
    )  # fmt: skip
    model: str | None = setting(
        "sound model of its motion",
        None,
        shown="hrtf where a measured head is installed, else sphere",
        enum=list(MODELS),
    )
    width: float = setting("of a stereo part that moves: 0 one point, 1 ±60°", 0.5, minimum=0, maximum=1)
    distance: float = setting("metres, of its motion where the panning score gives none", 1.0, minimum=0.1, maximum=100)
    reverb: str | None = setting("one of the reverbs", None)
    send: float = level("dB, level sent to the reverb")

    @property
    def moves(self) -> bool:
        return self.set is not None or self.orbit is not None


@dataclass(frozen=True)
class Panning:
    """The panning score and its clock."""

    score: str = setting("panning score (JSON), see docs/panning.md", minLength=1)
    clock: str | None = setting(
        "MIDI file whose tempo and metre give its measures and beats their time", None, minLength=1
    )


@dataclass(frozen=True)
class Reverb:
    """A room, in the terms of SoX (the Freeverb algorithm)."""

    reverberance: float = percent(50.0)
    damping: float = percent(50.0, "percent, of high frequencies")
    room: float = percent(100.0)
    stereo: float = percent(100.0)
    predelay: float = setting("ms", 0.0, minimum=0, maximum=500)
    gain: float = level("dB, of what the room returns")


@dataclass(frozen=True)
class Bus:
    """A sum of parts."""

    gain: float = level()
    parts: Sequence[str] | None = setting("names of the parts it is the sum of", None, shown="all", minItems=1)


@dataclass(frozen=True)
class Buses:
    """The two mixes, before mastering."""

    dry: Bus = setting("the Dry mix", factory=Bus)
    wet: Bus = setting("the Wet mix", factory=Bus)


@dataclass(frozen=True)
class Master:
    """Loudness, peak level and end of a finished mix."""

    ALTERNATIVES: ClassVar[tuple[str, ...]] = ("profile", "loudness")

    profile: str = setting(
        f"loudness of a place to publish, LUFS: {_PROFILE_LIST}",
        "youtube", enum=list(PROFILES),
    )  # fmt: skip
    loudness: float | None = setting("LUFS integrated, in place of a profile", None, minimum=-40, maximum=-5)
    ceiling: float = setting("highest true peak, dBTP", -1.0, minimum=-20, maximum=0)
    tail: float = setting("seconds after the longest part, for the reverb to die away", 4.0, minimum=0, maximum=60)
    fade: float = setting("seconds of fade-out at the end of the tail", 1.0, minimum=0, maximum=60)

    @property
    def target(self) -> float | None:
        """LUFS integrated; None leaves the level as it comes."""
        return PROFILES[self.profile] if self.loudness is None else self.loudness


@dataclass(frozen=True)
class Mix:
    """A whole mix table. Paths are relative to the current folder, and may contain {title}."""

    parts: Mapping[str, Part] = setting("the tracks", minProperties=1)
    panning: Panning | None = setting("where the sets of the parts are written", None)
    reverbs: Mapping[str, Reverb] = setting("rooms that parts send to", factory=dict)
    buses: Buses = setting("the two mixes, before mastering", factory=Buses)
    master: Master = setting("what a finished mix must be", factory=Master)
    table: str | None = None  # the file it was read from; not a setting

    @property
    def files(self) -> list[str]:
        """Everything it is made from."""
        score = [self.panning.score, self.panning.clock] if self.panning and self.is_scored else []
        sources = [*(part.file for part in self.parts.values()), *score, self.table]
        return [path for path in sources if path is not None]

    @property
    def is_scored(self) -> bool:
        """Whether a part follows the panning score."""
        return any(part.set is not None for part in self.parts.values())


def explain() -> str:
    """Every setting of a mix table, with its meaning, range and default."""
    return tables.explain(
        {
            "[parts.NAME]": Part,
            "[panning]": Panning,
            "[reverbs.NAME]": Reverb,
            "[buses.dry] [buses.wet]": Bus,
            "[master]": Master,
        }
    )


def read_mix(path: str | os.PathLike, title: str) -> Mix:
    """Read and check a mix table.

    Args:
        title: stands for `{title}` in the table's paths.

    Raises:
        MediaError: not TOML, an unknown key (with the nearest known one), a value out of range, a part, reverb,
            panning score or set that is named but does not exist. Sounds and clock are not checked yet.
    """
    document = tables.read(path, Mix)
    for part in document["parts"].values():
        part["file"] = part["file"].replace("{title}", title)
    if "panning" in document:
        document["panning"] = {key: name.replace("{title}", title) for key, name in document["panning"].items()}
    mix = replace(tables.build(Mix, document), table=os.fspath(path))
    _check_names(mix)
    return mix


def _check_names(mix: Mix) -> None:
    """Raise MediaError if a table names a part, reverb or set that does not exist."""
    sets: Mapping[str, object] | None = None
    for name, part in mix.parts.items():
        here = f"{mix.table}: [parts.{name}]"
        if part.reverb is not None and part.reverb not in mix.reverbs:
            raise MediaError(f"{here}: unknown reverb '{part.reverb}', {nearest(part.reverb, list(mix.reverbs))}")
        if part.set is None:
            continue
        if mix.panning is None:
            raise MediaError(f"{here}: a set needs a panning score: add [panning] with score and clock")
        sets = read_panning(mix.panning.score) if sets is None else sets
        if part.set not in sets:
            raise MediaError(f'{here}: {mix.panning.score} has no set "{part.set}", {nearest(part.set, list(sets))}')
    for bus_name, bus in (("dry", mix.buses.dry), ("wet", mix.buses.wet)):
        for name in bus.parts or ():
            if name not in mix.parts:
                raise MediaError(
                    f"{mix.table}: [buses.{bus_name}]: unknown part '{name}', {nearest(name, list(mix.parts))}"
                )
