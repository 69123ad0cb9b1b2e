"""Check a document that a person wrote against a JSON Schema; say what is wrong in words a person can act on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import jsonschema

ASSETS = Path(__file__).parents[1] / "assets"


@dataclass(frozen=True)
class Fault:
    """What is wrong, and where."""

    path: Sequence[str | int]       # keys and indices from the top of the document
    message: str


def find_fault(document: object, schema: str) -> Fault | None:
    """The most telling violation of a schema in assets/, or None."""
    errors = list(_validator(schema).iter_errors(document))
    misspelt = [error for error in errors if error.validator == "additionalProperties"]      # explains what is missing
    error = jsonschema.exceptions.best_match(misspelt or errors)
    return Fault(list(error.absolute_path), _explain(error)) if error else None


@cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((ASSETS / schema).read_text(encoding="utf-8")))


def _explain(error: jsonschema.ValidationError) -> str:
    if error.validator == "required":
        return f"{error.message.split()[0]} is missing"
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        return f"unknown key '{unknown}', {nearest(unknown, known)}"
    if error.validator == "enum":
        known = [str(value) for value in error.validator_value]
        return f"unknown value {error.instance!r}, {nearest(str(error.instance), known)}"
    if error.validator == "oneOf" and all("required" in choice for choice in error.validator_value):
        choices = (" and ".join(choice["required"]) for choice in error.validator_value)
        return f"give either {', or '.join(choices)}"
    if error.validator == "not" and "required" in error.validator_value:
        return f"give either {' or '.join(error.validator_value['required'])}, not both"
    if error.validator in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        return f"{error.instance} is not {_range(error.schema)}{_meaning(error.schema)}"
    if error.validator == "not" and "exclusiveMinimum" in error.validator_value:
        hole = error.validator_value
        return (f"{error.instance} is too near to 0, give at most {hole['exclusiveMinimum']} or at least "
                f"{hole['exclusiveMaximum']}{_meaning(error.schema)}")
    return error.message


def _range(schema: Mapping) -> str:
    """'within 0..1', 'at least 1', 'above 0 and at most 100': what a schema lets a number be."""
    if "minimum" in schema and "maximum" in schema:
        return f"within {schema['minimum']}..{schema['maximum']}"
    words = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
    return " and ".join(f"{word} {schema[key]}" for key, word in words.items() if key in schema)


def _meaning(schema: Mapping) -> str:
    return f" ({schema['description']})" if "description" in schema else ""


def nearest(word: str, known: Sequence[str]) -> str:
    """'did you mean ...?' for a misspelt word, else what there is."""
    match = get_close_matches(word, known, 1)
    return f"did you mean '{match[0]}'?" if match else f"there is: {', '.join(known)}"
