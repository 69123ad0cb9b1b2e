"""Tables that people write in TOML: a dataclass is the one definition of each.

A field's type, default, range and meaning stand in the dataclass, and nowhere else. `schema` makes the JSON Schema that
a document is checked against, `build` the table of a checked document, and `explain` the text of a help page. `quoted`,
`key`, `untouched` and `commented` help to write a table that a person shall edit.
"""

from __future__ import annotations

import json
import os
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, field, fields, is_dataclass
from functools import cache
from math import isfinite
from typing import Any

from musicvideo import limits
from musicvideo.documents import find_fault, read_text
from musicvideo.errors import MediaError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "^[A-Za-z0-9_-]+$"  # of what a table has any number of


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
        default: where it is not given; without one it must be given.
        factory: makes the default.
        shown: how the help names a default that is None or made by `factory`.
        apart: least distance of its value from 0.
        rules: JSON Schema keywords for its value, such as `minimum`.
    """
    if apart is not None:
        rules["not"] = {"exclusiveMinimum": -apart, "exclusiveMaximum": apart}
    metadata = {"meaning": meaning, "shown": shown, "rules": rules}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


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


@cache
def schema(table: Any) -> dict:
    """The JSON Schema of a table.

    A class attribute `ALTERNATIVES` names settings of which one at most is given.
    """
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
    if is_dataclass(hint):
        table: Any = hint
        return schema(table)
    if typing.get_origin(hint) is None:
        return {"type": {float: "number", int: "integer", str: "string"}[hint]}
    inner = _type_schema(typing.get_args(hint)[-1])
    if issubclass(typing.get_origin(hint), Mapping):
        return {"type": "object", "propertyNames": {"pattern": NAME}, "additionalProperties": inner}
    return {"type": "array", "items": inner}


def build(hint: Any, document: Any) -> Any:
    """A checked document as a table of the type."""
    origin = typing.get_origin(hint)
    if is_dataclass(hint):
        made: Any = hint
        return made(**{name: build(kind, document[name]) for name, kind, _ in _settings(hint) if name in document})
    if origin is not None and issubclass(origin, Mapping):
        return {name: build(typing.get_args(hint)[1], value) for name, value in document.items()}
    if origin is not None and issubclass(origin, Sequence):
        return tuple(build(typing.get_args(hint)[0], value) for value in document)
    return document


def read(path: str | os.PathLike, table: Any) -> dict[str, Any]:
    """Read a TOML document and check it against a table's schema.

    Raises:
        MediaError: missing, not TOML, an unknown key (with the nearest known one), a value out of range.
    """
    text = read_text(path, limits.TABLE_BYTES)
    if max(map(len, text.splitlines()), default=0) > limits.TABLE_LINE:
        raise MediaError(f"{path}: has a line of more than {limits.TABLE_LINE} characters; break it up")
    try:
        document = tomllib.loads(text, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise MediaError(f"{path}: not TOML ({error})") from None
    try:
        fault = find_fault(document, schema(table))
    except ValueError:  # of hexadecimal ones, TOML reads more digits than Python writes
        raise MediaError(f"{path}: holds a number of thousands of digits") from None
    if fault:
        place = ".".join(map(str, fault.path))
        raise MediaError(f"{path}: {f'[{place}]: ' if place else ''}{fault.message}")
    return document


def explain(places: Mapping[str, Any]) -> str:
    """Every setting with its meaning, range and default.

    Args:
        places: what stands above the settings of a table in a document -> that table.
    """
    lines = []
    for place, table in places.items():
        lines += ["", f"{place}: {str(table.__doc__).splitlines()[0]}"]
        for name, _, each in _settings(table):
            rules = each.metadata["rules"]
            within = f", {rules['minimum']}..{rules['maximum']}" if {"minimum", "maximum"} <= set(rules) else ""
            named = "enum" in rules and not set(rules["enum"]) <= set(re.findall(r"[\w-]+", each.metadata["meaning"]))
            choices = f": {', '.join(rules['enum'])}" if named else ""
            lines.append(f"  {name:13}{each.metadata['meaning']}{choices}{within} [{_default(each)}]")
    return "\n".join(lines[1:])


def quoted(text: str) -> str:
    """A text as a TOML string on one line, which may stand in a comment as well.

    Raises:
        MediaError: it holds bytes of a file's name that are not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MediaError(f"{os.fsencode(text)!r}: is not text in UTF-8, so no table can name it; rename it") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def key(name: str) -> str:
    """A name as a key of TOML."""
    return name if re.fullmatch(NAME, name, re.ASCII) else quoted(name)


def untouched(table: Any, known: Mapping[str, str], *, without: Sequence[str] = ()) -> list[str]:
    """Settings of a table as lines of TOML that are comments, with their defaults.

    Args:
        known: TOML of settings without a default.
        without: names to leave out.
    """
    shown = {name: known.get(name) or json.dumps(each.default) for name, _, each in _settings(table)}
    return commented([f"{name} = {value}" for name, value in shown.items() if name not in without])


def commented(lines: Sequence[str]) -> list[str]:
    """Lines as comments of TOML."""
    return [f"# {line}".rstrip() for line in lines]


def _default(each: Any) -> str:
    if each.metadata["shown"]:
        return each.metadata["shown"]
    if each.default is MISSING:
        return "needed"
    if each.default is None:
        return "none"
    return f"{each.default:g}" if isinstance(each.default, float) else str(each.default)


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text} is no level and no time")
    return value
