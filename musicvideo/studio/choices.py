"""What a person chose on the page: checked, as settings of a drawing, as make's variables, and as presets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicvideo.documents import shortened
from musicvideo.errors import MediaError
from musicvideo.vision import generators
from musicvideo.vision import record as records
from musicvideo.vision.framing import default_mirror, pair_side
from musicvideo.vision.generators import own
from musicvideo.vision.mappings import MAPPINGS
from musicvideo.vision.settings import RULES, WALK, Settings, check, recorded_in

FPS = 30  # as of make
SHAPES = {"landscape": (16, 9), "square": (1, 1), "portrait": (9, 16)}
QUALITIES = {"sketch": 360, "HD": 720, "full HD": 1080, "4K": 2160}  # pixels of a film's shorter side
# The parameters of the published walk that a person sets; a switch is a whole number.
SLIDERS = tuple(name for name in WALK if RULES[name].kind is float)
SWITCHES = tuple(name for name in WALK if RULES[name].kind is int)
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "classic": {"mapping": "classic"},
    "calm": {"mapping": "classic", "tempo_sensitivity": 0.1, "jitter": 0.3, "smooth_factor": 60.0},
    "club": {"mapping": "pulse", "tempo_sensitivity": 0.4, "jitter": 0.8, "smooth_factor": 10.0},
    "score": {"mapping": "score"},
}
FIRST = "cppn"  # the generator that the page opens with: it draws at once on any machine, at any size
LONGEST_TITLE = 60  # letters of a file's name
TYPED = re.compile(r'\w[^"]*')  # names of classes that a person can type


@dataclass(frozen=True)
class Choice:
    """All that is chosen on the page.

    Attributes:
        drawing: settings of `visualize.py` by name, without song and output.
        shape, quality: of the film, keys of `SHAPES` and `QUALITIES`.
        look, pulse, words: of the film, as of `musicvideo.vision.film.finish`; `words` is the title card.
    """

    drawing: Mapping[str, Any]
    shape: str = "landscape"
    quality: str = "full HD"
    look: str = "none"
    pulse: float = 0.0
    words: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the film in pixels."""
        return film_size(self.shape, self.quality)


def offered() -> list[str]:
    """Names of the generators to choose from: `FIRST`, the other embedded ones, and those of one's own.

    Those to compare with are left out.
    """
    embedded = [name for name in reversed(generators.NAMES) if not generators.find(name).for_comparison]
    embedded.sort(key=lambda name: name != FIRST)
    return [*embedded, *(name for name in own.names() if name not in generators.NAMES)]


def require_offered(name: str) -> str:
    """The name of a generator, if it can be chosen; ValueError if not."""
    if name not in offered():
        raise ValueError(f"generator: the studio does not offer {shortened(repr(name))}")
    return name


def film_size(shape: str, quality: str) -> tuple[int, int]:
    """Width and height in pixels; multiples of 4 and 2."""
    across, down = SHAPES[shape]
    unit = QUALITIES[quality] / min(across, down)
    return 4 * round(across * unit / 4), 2 * round(down * unit / 2)


def drawn_at(generator: str, size: tuple[int, int]) -> int:
    """Side in pixels at which a generator draws for a film of this size."""
    side = pair_side(*size) if default_mirror(*size) == "pair" else min(size)
    known = generators.find(generator).resolutions
    return max((each for each in known if each <= side), default=min(known)) if known else side


def read_seed(text: str) -> int | None:
    """The seed that a person typed; None for an empty field.

    Raises:
        ValueError: no number of the right range.
    """
    return RULES["seed"].read(text.strip()) if text.strip() else None


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a drawing by name, in their types; those left open are absent.

    Raises:
        ValueError: names the setting, its value and what it can be.
    """
    return {name: check(name, value) for name, value in values.items() if value is not None and value != ()}


def names_of(generator: str, classes: Sequence[int]) -> tuple[str, ...]:
    """Names of classes; no two of a generator are the same."""
    labels = generators.labels(generator)
    return tuple(labels[index] for index in classes)


# -- make ------------------------------------------------------------------------------------------------------


def variables(choice: Choice, song: str | None, midi: str | None) -> dict[str, str]:
    """make's variables of a choice, without TITLE.

    Args:
        choice: what was chosen.
        song: a path; None for a score, which make finds by its title.
        midi: notes of the song; None if there are none.
    """
    drawing = choice.drawing
    width, height = choice.size
    flags = [
        word
        for name in WALK
        if name in drawing and drawing[name] != getattr(Settings, name)
        for word in (f"--{name}", f"{drawing[name]:g}")
    ]
    found = {
        "SONG": song,
        "MIDI": midi if MAPPINGS[drawing["mapping"]].needs_notes else None,
        "GENERATOR": drawing["generator"],
        "RESOLUTION": str(drawn_at(drawing["generator"], choice.size)),
        "CLASSES": " ".join(_typed(drawing["generator"], name) for name in drawing.get("classes", ())),
        "MAPPING": drawing["mapping"],
        "SEED": str(drawing["seed"]) if "seed" in drawing else None,
        # Numbers only: make's shell reads this one.
        "GAN_FLAGS": shlex.join(flags),
        "WIDTH": str(width),
        "HEIGHT": str(height),
        "LOOK": choice.look,
        "PULSE": f"{choice.pulse:g}",
        "FPS": str(FPS),
    }
    return {**{name: value for name, value in found.items() if value}, "TITLE_TEXT": choice.words}


def _typed(generator: str, name: str) -> str:
    """A class as a person types it: its name, or its number where `python -m musicvideo words` would split the name."""
    if not TYPED.fullmatch(name) or name.isdecimal() or not name.isprintable():
        return str(list(generators.labels(generator)).index(name))
    return f'"{name}"' if " " in name else name


def goals(title: str) -> list[str]:
    """make's targets for a film that browsers play."""
    return ["gan", "audio", f"{title}.mp4"]


def file_title(name: str, taken: set[str]) -> str:
    """A TITLE that make takes, made of a song's name, and not among those that are taken."""
    # Without a hyphen it never ends like another file of a title, such as -Wet.
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:LONGEST_TITLE] or "song"
    number, title = 1, plain
    while title in taken:
        number += 1
        title = f"{plain}_{number}"
    return title


# -- Presets ---------------------------------------------------------------------------------------------------


def preset(name: str) -> dict[str, Any]:
    """What a preset sets: the mapping, and every slider and switch."""
    standard = {each: getattr(Settings, each) for each in (*SLIDERS, *SWITCHES)}
    return {**standard, **PRESETS[name]}


def save_preset(path: Path, drawing: Mapping[str, Any]) -> None:
    """Write settings of a drawing as the JSON that `--like` takes."""
    records.write(path, {name: list(value) if isinstance(value, tuple) else value for name, value in drawing.items()})


def read_preset(path: Path) -> dict[str, Any]:
    """The settings of a drawing in a preset, or in the JSON beside a video, without those of its files.

    Raises:
        MediaError: it holds none, or one that cannot be.
    """
    try:
        found = recorded_in(records.read(path))
        if found.get("generator"):
            require_offered(found["generator"])
    except ValueError as error:
        raise MediaError(f"{path.name}: {error}") from None
    kept = {"generator", "classes", "mapping", "seed", *WALK}
    return {name: value for name, value in found.items() if name in kept and value is not None}
