"""Hand-written documents (JSON, TOML): read the text, check it against a JSON Schema, report the fault."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

from musicvideo.errors import MediaError
from musicvideo.files import require_file

ASSETS = Path(__file__).parent / "assets"
LONGEST_VALUE = 40  # characters of a value that a message repeats
MOST_ERRORS = 50  # of a schema, among which the most informative one is chosen


@dataclass(frozen=True)
class Fault:
    """What is wrong, and where."""

    path: Sequence[str | int]  # keys and indices from the top of the document
    message: str


def read_text(path: str | PathLike, most: int) -> str:
    """The text of a document in UTF-8, with or without a byte order mark, of `most` bytes.

    Raises:
        MediaError: missing, empty, too large, or not UTF-8.
    """
    if require_file(path).stat().st_size > most:
        raise MediaError(f"{path}: is larger than {most >> 10} KiB, which no such document is")
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise MediaError(f"{path}: is not text in UTF-8 (byte {error.start}); save it as UTF-8") from None


@cache
def load_schema(name: str) -> Mapping:
    """A JSON Schema of assets/."""
    return json.loads((ASSETS / name).read_text(encoding="utf-8"))


def find_fault(document: object, schema: Mapping) -> Fault | None:
    """The most informative violation of a schema, or None."""
    import jsonschema  # every command imports this module, and few have a document with a schema

    errors = list(islice(jsonschema.Draft202012Validator(schema).iter_errors(document), MOST_ERRORS))
    # A misspelt key or name comes first: it is the cause of other faults, such as a missing key.
    for telling in ("additionalProperties", "enum"):
        misspelt = [error for error in errors if error.validator == telling]
        if misspelt:
            errors = misspelt
            break
    error = jsonschema.exceptions.best_match(errors)
    return Fault(list(error.absolute_path), _explain(error)) if error else None


def _explain(error: Any) -> str:
    """Describe a `jsonschema.ValidationError`, whose attributes may be unset."""
    if error.validator == "required":
        return f"{error.message.split()[0]} is missing"
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        return f"unknown key '{shortened(unknown)}', {nearest(unknown, known)}"
    if error.validator == "enum":
        known = [str(value) for value in error.validator_value]
        return f"unknown value {shortened(repr(error.instance))}, {nearest(str(error.instance), known)}"
    if error.validator == "oneOf" and all("required" in choice for choice in error.validator_value):
        choices = (" and ".join(choice["required"]) for choice in error.validator_value)
        return f"give either {', or '.join(choices)}"
    if error.validator == "not" and "required" in error.validator_value:
        return f"give either {' or '.join(error.validator_value['required'])}, not both"
    if error.validator in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        return f"{shortened(error.instance)} is not {_range(error.schema)}{_meaning(error.schema)}"
    if error.validator == "not" and "exclusiveMinimum" in error.validator_value:
        hole = error.validator_value
        return (
            f"{error.instance} is too near to 0, give at most {hole['exclusiveMinimum']} or at least "
            f"{hole['exclusiveMaximum']}{_meaning(error.schema)}"
        )
    return shortened(error.message, 4 * LONGEST_VALUE)


def shortened(value: object, most: int = LONGEST_VALUE) -> str:
    """A value as a message shows it; the middle of a long one is left out."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"


def _range(schema: Mapping) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f"within {schema['minimum']}..{schema['maximum']}"
    words = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
    return " and ".join(f"{word} {schema[key]}" for key, word in words.items() if key in schema)


def _meaning(schema: Mapping) -> str:
    return f" ({schema['description']})" if "description" in schema else ""


def nearest(word: str, known: Sequence[str]) -> str:
    """'did you mean ...?' for a misspelt word, else the words that exist."""
    match = get_close_matches(word[: 4 * LONGEST_VALUE], known, 1)
    return f"did you mean '{match[0]}'?" if match else f"there is: {', '.join(known)}"
