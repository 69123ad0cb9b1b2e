"""Every setting of a video: its default, what it may be, and what it belongs to, in one place.

The command line (`musicvideo.vision.arguments`), the checks, the JSON record in a video and what `--like` takes over
are all made from the fields of `Settings`. `RULES` holds what a form or another command line needs of each.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from musicvideo.vision import generators
from musicvideo.vision.codecs import CODECS
from musicvideo.vision.features import HOP_UNIT, SAMPLE_RATE
from musicvideo.vision.mappings import MAPPINGS

PITCHES = 12
QUALITIES = {"full": 1, "draft": 3}  # one frame of so many is drawn; those between are faded
RATES = (1, 345)  # frames a second; 345 is the finest rate of analysis
SIZES = (16, 8192)  # pixels a side
LONGEST = 1_000_000  # seconds
LONGEST_HOP = 60 * SAMPLE_RATE // HOP_UNIT * HOP_UNIT  # samples; one grid point a minute
DENOMINATOR = 100_000  # largest of a frame rate
MOST_WORDS, LONGEST_WORD = 1000, 200  # of classes
LONGEST_PATH = 4096  # characters
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false",
         Fraction: "a number or a fraction"}  # fmt: skip

VIDEO, GENERATOR, CLASSES, MOTION, AGAIN, PLACE = (
    "song and video", "generator", "what is seen", "how it moves", "the same again", "where it is drawn",
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """What one setting may be, and what it belongs to.

    Attributes:
        kind: int, float, str, bool, or Fraction (a frame rate). A bool is False unless it is asked for.
        help: for people; without the default.
        group: heading that it stands under.
        metavar: stands for the value in a help text; "" names the choices.
        lowest, highest: ends of the range, included.
        step: the value is a multiple of it.
        choices: all it may be.
        pattern: regular expression that a text matches.
        expected: says in words what `pattern` wants.
        many: a list of class names and numbers.
        optional: may be given without a value, which counts as "".
        recorded: describes the video, so it is written into it, and `--like` takes it over.
        in_vectors: saved vectors fix it.
        walk: a parameter of `musicvideo.vision.latents.trajectory`.
    """

    kind: type
    help: str
    group: str
    metavar: str = ""
    lowest: float = -math.inf
    highest: float = math.inf
    step: int | None = None
    choices: Sequence = ()
    pattern: str | None = None
    expected: str = ""
    many: bool = False
    optional: bool = False
    recorded: bool = False
    in_vectors: bool = False
    walk: bool = False

    def read(self, text: str) -> Any:
        """The value that a person typed; a list is read word by word.

        Raises:
            ValueError: says what is wrong with it, without the setting's name.
        """
        if self.many or self.kind not in (int, float):
            return self.check([text])[0] if self.many else self.check(text)
        try:
            value = self.kind(text)
        except ValueError:
            raise ValueError(f"{shown(text)} is not {KINDS[self.kind]}") from None
        return self.check(value)

    def check(self, value: Any) -> Any:
        """The value in the setting's own type, whatever it comes from.

        Raises:
            ValueError: says what is wrong with it, without the setting's name.
        """
        if self.many:
            return self._words(value)
        if self.kind is Fraction:
            return value if isinstance(value, Fraction) and value in _Range(*RATES) else frame_rate(value)
        # JSON has one kind of number for both; True is an int in Python.
        allowed = (int, float) if self.kind is float else self.kind
        right = isinstance(value, allowed) and isinstance(value, bool) == (self.kind is bool)
        if not right:
            raise ValueError(f"{shown(value)} is not {KINDS[self.kind]}")
        if self.choices and value not in self.choices:
            raise ValueError(f"unknown {shown(value)} (choose {', '.join(map(str, self.choices))})")
        if self.kind in (int, float):
            if value not in _Range(self.lowest, self.highest):
                raise ValueError(f"{shown(value)} is not in {_Range(self.lowest, self.highest)}")
            if self.step and value % self.step:
                raise ValueError(f"{value} is not a multiple of {self.step}")
            return self.kind(value)
        if self.kind is str:
            if len(value) > LONGEST_PATH or "\0" in value:
                raise ValueError(f"{shown(value)} is not a name")
            if self.pattern and not re.fullmatch(self.pattern, value):
                raise ValueError(f"{shown(value)} {self.expected}")
        return value

    def _words(self, value: Any) -> tuple[str | int, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str) or not 1 <= len(value) <= MOST_WORDS:
            raise ValueError(f"{shown(value)} is not a list of names and numbers")
        for word in value:
            if not isinstance(word, (str, int)) or isinstance(word, bool) or len(str(word)) > LONGEST_WORD:
                raise ValueError(f"{shown(word)} is not a name or a number")
        return tuple(value)


class _Range:
    """Numbers between two ends, both included; NaN is in none."""

    def __init__(self, lowest: float, highest: float):
        self.lowest, self.highest = lowest, highest

    def __contains__(self, value: Any) -> bool:
        return self.lowest <= value <= self.highest

    def __str__(self) -> str:
        return f"{self.lowest}..{self.highest}"


def shown(value: object) -> str:
    """A value in a message: short, and harmless on a terminal."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def frame_rate(text: object) -> Fraction:
    """A frame rate as people write it, such as 30, 23.976 or 30000/1001.

    Raises:
        ValueError: not a number or a fraction, or not in `RATES`.
    """
    words = str(text)
    above, slash, below = words.partition("/")
    try:
        # As floats first: Fraction writes out a huge exponent digit by digit.
        known = float(above) / (float(below) if slash else 1)
        if known in _Range(*RATES) and len(words) <= LONGEST_WORD:
            return Fraction(words).limit_denominator(DENOMINATOR)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{shown(text)} is not a number or a fraction") from None
    raise ValueError(f"{shown(text)} is not in {_Range(*RATES)}")


def setting(default: Any, kind: type, group: str, help: str, **options: Any) -> Any:
    """A field of `Settings`."""
    return dataclasses.field(default=default, metadata={"rule": Rule(kind, help, group, **options)})


@dataclass(frozen=True)
class Settings:
    """What is asked for; what is None is left open and decided by `musicvideo.vision.job`.

    The parameters of the published deep-music-visualizer have its names and defaults.

    Raises:
        ValueError: a value that cannot be; names the setting, the value and what it can be.
    """

    # fmt: off
    song: str | None = setting(None, str, VIDEO, "any audio file, or a video file for its sound", metavar="FILE",
                               recorded=True)
    duration: float | None = setting(
        None, float, VIDEO, "only so much of the song, from its start (default: all)", metavar="SECONDS", lowest=0.01,
        highest=LONGEST, recorded=True)
    start: float | None = setting(
        None, float, VIDEO, "an excerpt: begin so far into the song, as the video of the whole song would look there",
        metavar="SECONDS", lowest=0, highest=LONGEST, recorded=True)
    output_file: str = setting("output.mp4", str, VIDEO, ".mp4, .mkv, .webm or .mov", metavar="FILE")
    fps: Fraction | None = setting(
        None, Fraction, VIDEO, "frames a second, a number or a fraction such as 30000/1001 "
        f"(default: the rate of analysis, {SAMPLE_RATE}/frame_length; make gives 30)", metavar="RATE", recorded=True)
    codec: str | None = setting(
        None, str, VIDEO, f"{', '.join(CODECS)} (default: h264; in .webm vp9; in a transparent .mov prores)",
        metavar="NAME", choices=tuple(CODECS), recorded=True)
    crf: int | None = setting(
        None, int, VIDEO, "quality in the codec's own scale; lower is better and larger (with videotoolbox, higher is)",
        metavar="N", recorded=True)
    output_size: int | None = setting(
        None, int, VIDEO, "scale the picture to this size (default: as drawn)", metavar="PIXELS", lowest=SIZES[0],
        highest=SIZES[1], recorded=True)
    background: str = setting(
        "drawn", str, VIDEO, "transparent: the subject with alpha, for other programs; by pocket or a generator of "
        "your own, in a .mov (ProRes 4444) or .webm (VP9)", choices=("drawn", "transparent"), recorded=True)
    overwrite: bool = setting(
        False, bool, VIDEO, "draw anew where a video or an interrupted run has other settings")
    replace: bool = setting(
        False, bool, VIDEO, "as --overwrite, but only a finished video; an interrupted run is kept")

    generator: str = setting(
        "biggan", str, GENERATOR, f"{', '.join(generators.NAMES)}, or the name or folder of one of your own "
        "(docs/generator.md); biggan needs its weights, pocket and cppn need nothing", metavar="NAME", recorded=True)
    resolution: int = setting(
        512, int, GENERATOR, "128, 256 or 512; cppn draws any, and pocket's pictures are scaled to it",
        metavar="PIXELS", lowest=SIZES[0], highest=SIZES[1], recorded=True)
    weights: str | None = setting(
        None, str, GENERATOR, "folder with BigGAN's weights (default: the cache, else a download)", metavar="DIR",
        recorded=True)
    device: str = setting(
        "auto", str, GENERATOR, "auto takes the fastest; cpu, cuda, cuda:N or mps", metavar="DEVICE",
        pattern=r"auto|cpu|mps|cuda(:\d{1,4})?", expected="is unknown (choose auto, cpu, cuda, cuda:N or mps)",
        recorded=True)
    precision: str = setting(
        "auto", str, GENERATOR, "BigGAN's: fp32, fp16 or bf16; auto takes the lowest that draws the same, for a draft "
        "the lowest", metavar="NAME", choices=("auto", "fp32", "fp16", "bf16"), recorded=True)
    quality: str = setting(
        "full", str, GENERATOR, f"draft: draw each {QUALITIES['draft']}rd frame, roughly, and fade from one to the "
        "next", choices=tuple(QUALITIES), recorded=True)
    batch_size: int = setting(
        30, int, GENERATOR, "pictures drawn at a time; fewer need less memory", metavar="N", lowest=1)

    classes: tuple[str | int, ...] | None = setting(
        None, str, CLASSES, "names or numbers of classes (default: random ones, by the seed)", metavar="CLASS",
        many=True, recorded=True)
    num_classes: int | None = setting(
        None, int, CLASSES, "how many classes, 1..12 (default: those named, else 12)", metavar="N", lowest=1,
        highest=PITCHES, in_vectors=True)
    sort_classes_by_power: int = setting(
        0, int, CLASSES, "1: the first class named goes to the strongest pitch", metavar="0|1", choices=(0, 1),
        recorded=True, in_vectors=True, walk=True)
    list_classes: str | None = setting(
        None, str, CLASSES, "print the classes of --generator and stop; with WORD, those that have it in their name",
        metavar="WORD", optional=True)

    mapping: str = setting(
        "classic", str, MOTION, "; ".join(f"{name}: {mapping.help}" for name, mapping in MAPPINGS.items()),
        choices=tuple(MAPPINGS), recorded=True, in_vectors=True)
    midi: str | None = setting(
        None, str, MOTION, "with mapping score: the MIDI file of the song's notes", metavar="FILE", recorded=True,
        in_vectors=True)
    midi_offset: float | None = setting(
        None, float, MOTION, "the notes begin so much later than in the MIDI file, or earlier if below 0 (default: 0)",
        metavar="SECONDS", lowest=-LONGEST, highest=LONGEST, recorded=True, in_vectors=True)
    conduct: str | None = setting(
        None, str, MOTION, "with mapping score: table of what each part shows and moves, see docs/conducting.md",
        metavar="TOML", recorded=True, in_vectors=True)
    pitch_sensitivity: float = setting(
        220, float, MOTION, "how fast classes follow pitch, 200..295 useful", metavar="1..299", lowest=1, highest=299,
        recorded=True, in_vectors=True, walk=True)
    tempo_sensitivity: float = setting(
        0.25, float, MOTION, "how fast the picture follows loudness, 0.05..0.8 useful", metavar="0..1", lowest=0,
        highest=1, recorded=True, in_vectors=True, walk=True)
    depth: float = setting(
        1, float, MOTION, "largest weight of a class", metavar="0.01..1", lowest=0.01, highest=1, recorded=True,
        in_vectors=True, walk=True)
    jitter: float = setting(
        0.5, float, MOTION, "unevenness of the motion", metavar="0..1", lowest=0, highest=1, recorded=True,
        in_vectors=True, walk=True)
    # Vectors hold the noise that it bounds, but a generator may look up its statistics by it, too.
    truncation: float = setting(
        1, float, MOTION, "lower is more typical, higher more varied", metavar="0.1..1", lowest=0.1, highest=1,
        recorded=True, walk=True)
    smooth_factor: float = setting(
        20, float, MOTION, "smoothing of classes, in frames of 512 samples, from 1", metavar="N", lowest=1,
        highest=100_000, recorded=True, in_vectors=True, walk=True)
    frame_length: int = setting(
        512, int, MOTION, f"step of the analysis at 22 050 Hz, a multiple of {HOP_UNIT}", metavar="SAMPLES",
        lowest=HOP_UNIT, highest=LONGEST_HOP, step=HOP_UNIT, recorded=True, in_vectors=True)
    seed: int | None = setting(
        None, int, MOTION, "the same number and song make the same video (default: from the song's content, printed)",
        metavar="N", lowest=0, recorded=True)
    storyboard: str | None = setting(
        None, str, MOTION, "draw no video but a page that shows what it will be, and how long it takes", metavar="PNG",
        pattern=r"(?is).*\.png", expected="must end in .png")

    like: str | None = setting(
        None, str, AGAIN, "the settings of an earlier video, or of its .json; what else is given here wins",
        metavar="VIDEO")
    save_vectors: str | None = setting(None, str, AGAIN, "write the vectors of this video", metavar="NPZ")
    vectors: str | None = setting(None, str, AGAIN, "use vectors that --save_vectors wrote", metavar="NPZ",
                                  recorded=True)
    use_previous_classes: int = setting(
        0, int, AGAIN, "1: the classes of the last run in the output folder", metavar="0|1", choices=(0, 1))
    use_previous_vectors: int = setting(
        0, int, AGAIN, "1: the vectors of the last run in the output folder", metavar="0|1", choices=(0, 1))

    cluster: str | None = setting(
        None, str, PLACE, "draw on a Ray cluster, see docs/cluster.md: auto for the one that this machine belongs to, "
        "local for processes on this machine, or ray://HOST:10001", metavar="ADDRESS",
        pattern=r"auto|local|ray://[^:/]+:\d{1,5}", expected="is no cluster (give auto, local or ray://HOST:10001)")
    cpus_per_worker: int = setting(
        1, int, PLACE, "with --cluster: processor cores of each worker", metavar="N", lowest=1, highest=4096)
    mixed: bool = setting(
        False, bool, PLACE, "with --cluster, --segments or --join: different processors or GPUs may draw parts of one "
        "video, whose pictures then differ in the last bits")
    segments: str | None = setting(
        None, str, PLACE, "draw only these segments of the video, from A to before B, and join nothing; other machines "
        "may draw others into the same folder", metavar="A:B", pattern=r"\d*:\d*",
        expected="is no range of segments (give A:B)")
    join: bool = setting(False, bool, PLACE, "draw nothing, only join the segments that --segments drew")
    # fmt: on

    def __post_init__(self) -> None:
        for name in RULES:
            value = getattr(self, name)
            if value is not None or getattr(type(self), name) is not None:
                object.__setattr__(self, name, check(name, value))

    @property
    def heard(self) -> float | None:
        """Seconds of the song, from its start, that decide the path of the video; None for all."""
        return self.duration if self.start is None else None

    def recorded(self) -> dict[str, Any]:
        """The settings that describe the video, as JSON takes them."""
        values = {name: getattr(self, name) for name, rule in RULES.items() if rule.recorded}
        for name in LATER:
            if values[name] == getattr(Settings, name):
                del values[name]
        return {name: str(value) if isinstance(value, Fraction) else value for name, value in values.items()}


RULES: Mapping[str, Rule] = {field.name: field.metadata["rule"] for field in dataclasses.fields(Settings)}
# Recorded only where they are not the default, so that records of versions without them stay valid.
LATER = ("background",)
WALK = tuple(name for name, rule in RULES.items() if rule.walk)


def check(name: str, value: Any) -> Any:
    """A setting's value in its own type.

    Raises:
        ValueError: names the setting, the value and what it can be.
    """
    try:
        return RULES[name].check(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def recorded_in(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that an earlier video's record holds, checked; whatever else is in it is left out.

    Args:
        record: as of `musicvideo.vision.record.read`; anybody may have written it.

    Raises:
        ValueError: as `check`.
    """
    found = {name: record[name] for name, rule in RULES.items() if rule.recorded and name in record}
    open_ones = {name for name in found if found[name] is None and getattr(Settings, name) is None}
    return {name: None if name in open_ones else check(name, value) for name, value in found.items()}
