"""Names of a generator's classes: search them, and resolve typed words to class ids."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

# The thousand classes of ImageNet 2012 in BigGAN's order, one a line: `_IMAGENET_CATEGORIES` of torchvision
# 0.29 (BSD licence), models/_meta.py.
IMAGENET = Path(__file__).parents[1] / "assets" / "imagenet.txt"


def imagenet_labels() -> list[str]:
    """The names of ImageNet's thousand classes; the index is the class id."""
    return IMAGENET.read_text(encoding="utf-8").splitlines()


def search(labels: Sequence[str], word: str | None = None) -> list[tuple[int, str]]:
    """Classes whose name contains `word`, in any case; all of them without a word. (id, name) by id."""
    wanted = (word or "").casefold()
    return [(index, name) for index, name in enumerate(labels) if wanted in name.casefold()]


def resolve(words: Sequence[str], labels: Sequence[str]) -> list[int]:
    """Resolve typed words to class ids.

    Args:
        words: each a class id, a name, or words that only one name contains; in any case.
        labels: names of a generator's classes.

    Returns:
        A class id for each of `words`, in their order.

    Raises:
        ValueError: unknown or ambiguous; the message lists the candidates with their ids.
    """
    return [_resolve_one(str(word).strip(), labels) for word in words]


def _resolve_one(typed: str, labels: Sequence[str]) -> int:
    if re.fullmatch(r"[+-]?\d+", typed):
        index = int(typed)
        if not 0 <= index < len(labels):
            raise ValueError(f"classes: {index} is not in 0..{len(labels) - 1}")
        return index
    wanted = set(_words(typed))
    names = list(enumerate(labels))
    # The same name, else the same but for case (474 is a cardigan, 264 a Cardigan), else the same words among
    # others, else a part of a name: the first that finds any.
    for candidates in (
        [(index, name) for index, name in names if name == typed],
        [(index, name) for index, name in names if name.casefold() == typed.casefold()],
        [(index, name) for index, name in names if wanted and wanted <= set(_words(name))],
        search(labels, typed) if typed else [],
    ):
        if len(candidates) == 1:
            return candidates[0][0]
        if candidates:
            raise ValueError(f"classes: {typed!r} may be {listing(candidates)} (give the number)")
    close = _close(typed, labels)
    raise ValueError(f"classes: no class is called {typed!r}" + (f" (close: {listing(close)})" if close else ""))


def _words(name: str) -> list[str]:
    return re.findall(r"\w+", name.casefold())


def _close(typed: str, labels: Sequence[str]) -> list[tuple[int, str]]:
    """Names that are spelt alike, or share a word."""
    near = set(difflib.get_close_matches(typed.casefold(), [name.casefold() for name in labels]))
    wanted = set(_words(typed))
    return [(i, name) for i, name in enumerate(labels) if name.casefold() in near or wanted & set(_words(name))]


def listing(candidates: Sequence[tuple[int, str]], most: int = 12) -> str:
    """Classes in a message: "134 crane, 517 crane"."""
    shown = ", ".join(f"{index} {name}" for index, name in candidates[:most])
    return shown if len(candidates) <= most else f"{shown}, and {len(candidates) - most} more"
