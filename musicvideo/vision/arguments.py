"""The command line of `musicvideo.vision.settings`: options, help, and what was given."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from musicvideo.vision.settings import RULES, Rule, Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for every setting. Options that are not given are absent from the parsed namespace."""
    titles = dict.fromkeys(rule.group for rule in RULES.values())
    groups = {title: parser.add_argument_group(title) for title in titles}
    for name, rule in RULES.items():
        groups[rule.group].add_argument(f"--{name}", default=argparse.SUPPRESS, help=_help(name, rule), **_kind(rule))


def given(parser: argparse.ArgumentParser, words: Sequence[str]) -> dict[str, Any]:
    """The settings on a command line, by name; hyphens in an option's name stand for underscores."""
    return vars(parser.parse_args([_underscored(word) for word in words]))


def _kind(rule: Rule) -> dict[str, Any]:
    if rule.kind is bool:
        return {"action": "store_true"}
    count = {"nargs": "+"} if rule.many else {"nargs": "?", "const": ""} if rule.optional else {}
    metavar = rule.metavar or f"{{{','.join(rule.choices)}}}"
    return {"type": _reader(rule), "metavar": metavar, **count}


def _reader(rule: Rule) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return rule.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _help(name: str, rule: Rule) -> str:
    default = getattr(Settings, name)
    text = rule.help if default is None or rule.kind is bool else f"{rule.help} (default {default})"
    return text.replace("%", "%%")


def _underscored(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value
