"""Mix tables: their settings, and reading a table.

The dataclasses below are the one definition of a mix table: each field's type, default, range and meaning stand here,
and nowhere else. `schema` makes the JSON Schema from them that a table is checked against, and `explain` the text that
`mix.py --help` prints. To add a setting, add a field, and use it in `musicvideo.sound.mixing`.
"""

from __future__ import annotations

import os
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache
from math import isfinite
from typing import Any, ClassVar

from musicvideo import limits
from musicvideo.errors import MediaError
from musicvideo.sound.documents import find_fault, nearest, read_text
from musicvideo.sound.models import MODELS
from musicvideo.sound.panning import read_panning

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROFILES = {"youtube": -14.0, "spotify": -14.0, "apple": -16.0, "broadcast": -23.0, "none": None}  # LUFS
_PROFILE_LIST = ", ".join(f"{name} {lufs or 'as it comes'}" for name, lufs in PROFILES.items())
NAME = "^[A-Za-z0-9_-]+$"  # of a part or a reverb


def setting(
    meaning: str,
    default: Any = MISSING,
    *,
    factory: Any = MISSING,
    shown: str | None = None,
    apart: float | None = None,
    **rules: Any,
) -> Any:
    """A field of a table that a person may set.

    Args:
        meaning: unit and meaning, for messages and help.
        default: used if it is not given; a field without one is required.
        factory: makes the default.
        shown: how the help names a default that is None.
        apart: smallest allowed distance of its value from 0.
        rules: JSON Schema keywords for its value, such as `minimum`.
    """
    if apart is not None:
        rules["not"] = {"exclusiveMinimum": -apart, "exclusiveMaximum": apart}
    metadata = {"meaning": meaning, "shown": shown, "rules": rules}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


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

    ALTERNATIVES: ClassVar = ("set", "orbit")

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

    ALTERNATIVES: ClassVar = ("profile", "loudness")

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


def _settings(table: Any) -> list[tuple[str, Any, Any]]:
    """Name, type without None, and field of each setting of a table."""
    hints = typing.get_type_hints(table)
    found = []
    for each in fields(table):
        hint = hints[each.name]
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            hint = next(choice for choice in typing.get_args(hint) if choice is not type(None))
        if each.metadata:
            found.append((each.name, hint, each))
    return found


def is_table(hint: Any) -> bool:
    """Whether a type is one of the tables above."""
    return is_dataclass(hint)


@cache
def schema(table: Any = Mix) -> dict:
    """The JSON Schema of a table."""
    settings = _settings(table)
    made: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {"description": each.metadata["meaning"], **_type_schema(hint), **each.metadata["rules"]}
            for name, hint, each in settings
        },
        "required": [name for name, _, each in settings if each.default is MISSING and each.default_factory is MISSING],
    }
    if hasattr(table, "ALTERNATIVES"):
        made["not"] = {"required": list(table.ALTERNATIVES)}
    return made


def _type_schema(hint: Any) -> dict:
    if is_table(hint):
        return schema(hint)
    if typing.get_origin(hint) is None:
        return {"type": {float: "number", str: "string"}[hint]}
    inner = _type_schema(typing.get_args(hint)[-1])
    if issubclass(typing.get_origin(hint), Mapping):
        return {"type": "object", "propertyNames": {"pattern": NAME}, "additionalProperties": inner}
    return {"type": "array", "items": inner}


def _build(hint: Any, document: Any) -> Any:
    """A checked document as a table of the type."""
    if is_table(hint):
        return hint(**{name: _build(kind, document[name]) for name, kind, _ in _settings(hint) if name in document})
    if typing.get_origin(hint) is not None and issubclass(typing.get_origin(hint), Mapping):
        return {name: _build(typing.get_args(hint)[1], value) for name, value in document.items()}
    return document


def explain() -> str:
    """Every setting of a mix table, with its meaning, range and default."""
    places = {
        "[parts.NAME]": Part,
        "[panning]": Panning,
        "[reverbs.NAME]": Reverb,
        "[buses.dry] [buses.wet]": Bus,
        "[master]": Master,
    }
    lines = []
    for place, table in places.items():
        lines += ["", f"{place}: {str(table.__doc__).splitlines()[0]}"]
        for name, _, each in _settings(table):
            rules = each.metadata["rules"]
            within = f", {rules['minimum']}..{rules['maximum']}" if {"minimum", "maximum"} <= set(rules) else ""
            choices = f": {', '.join(rules['enum'])}" if "enum" in rules and table is not Master else ""
            default = (
                "needed"
                if each.default is MISSING
                else each.metadata["shown"]
                or (
                    "none"
                    if each.default is None
                    else f"{each.default:g}"
                    if isinstance(each.default, float)
                    else each.default
                )
            )
            lines.append(f"  {name:13}{each.metadata['meaning']}{choices}{within} [{default}]")
    return "\n".join(lines[1:])


def read_mix(path: str | os.PathLike, title: str) -> Mix:
    """Read and check a mix table.

    Args:
        title: stands for `{title}` in the table's paths.

    Raises:
        MediaError: not TOML, an unknown key (with the nearest known one), a value out of range, a part, reverb,
            panning score or set that is named but does not exist. Sounds and clock are not checked yet.
    """
    text = read_text(path, limits.TABLE_BYTES)
    if max(map(len, text.splitlines()), default=0) > limits.TABLE_LINE:
        raise MediaError(f"{path}: has a line of more than {limits.TABLE_LINE} characters; break it up")
    try:
        document = tomllib.loads(text, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise MediaError(f"{path}: not TOML ({error})") from None
    fault = find_fault(document, schema())
    if fault:
        place = ".".join(map(str, fault.path))
        raise MediaError(f"{path}: {f'[{place}]: ' if place else ''}{fault.message}")
    for part in document["parts"].values():
        part["file"] = part["file"].replace("{title}", title)
    if "panning" in document:
        document["panning"] = {key: name.replace("{title}", title) for key, name in document["panning"].items()}
    mix = replace(_build(Mix, document), table=os.fspath(path))
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


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text} is no level and no time")
    return value
