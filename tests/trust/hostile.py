"""Untrusted input: valid files, written-down attacks, and strategies that generate others.

Most strategies start from a valid file, since random bytes are refused by the first check they meet.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import struct
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import mido
import numpy as np
import soundfile
import torch
from hypothesis import strategies as st
from safetensors.torch import save as save_tensors

import tiny_score
from conftest import FFMPEG
from musicvideo.vision.generators.cppn.network import CPPN
from musicvideo.vision.latents import Trajectory

from .sandbox import OLD, PLAIN, Attack, Outcome, Sandbox

# -- Numbers and texts that break programs -------------------------------------------------------------------------

NUMBERS = (
    "0",
    "-0",
    "1",
    "-1",
    "0.5",
    "-0.0",
    "2.3e-05",
    "1e-300",
    "5e-324",
    "1e9",
    "1e15",
    "1e308",
    "-1e308",
    "1e400",
    "-1e400",
    "2147483648",
    "-2147483649",
    "9223372036854775808",
    "1.7976931348623157e308",
    "9" * 400,
    "1" + "0" * 5000,
    "0." + "1" * 400,
    "NaN",
    "Infinity",
    "-Infinity",
)
TYPED = (
    *NUMBERS,
    "1e99999999",
    "-1e99999999",
    "nan",
    "inf",
    "-inf",
    "1/0",
    "0/1",
    "1/3",
    "30000/1001",
    "1e400/1",
    "",
    " ",
    "0x10",
    "1_0",
    "٣",
    "½",
    "1,5",
    "--",
    "true",
    "None",
    "1e",
    "1" * 20000,
)
RAW = re.compile(r'"@([^"]*)@"')


def literal(number: str) -> str:
    """Stands for a number in a JSON document that is written by `document`, digit for digit."""
    return f"@{number}@"


def document(value: object) -> bytes:
    """JSON with literal numbers."""
    return RAW.sub(r"\1", json.dumps(value)).encode(errors="surrogatepass")


numbers = st.sampled_from(NUMBERS).map(literal) | st.floats(-10, 10) | st.integers(-3, 500)
letters = st.characters(exclude_categories=["Cs"])  # as hypothesis's own default, which takes a second to work out
texts = st.text(letters, max_size=12) | st.sampled_from(
    [
        "",
        " ",
        "\u200b",
        "\x1b[2J\x1b]0;owned\x07",
        "\x00",
        "a\nb",
        "'",
        '"',
        "%s%n",
        "{title}",
        "{0.__class__}",
        "$(touch pwned)",
        "`touch pwned`",
        "../../victim",
        "-x",
        "\ud800",
        "x" * 300,
        "é" * 130,
        "file:victim.wav",
        "http://127.0.0.1:9/x",
    ]
)
junk = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def cut(whole: bytes, place: float) -> bytes:
    return whole[: int(place * len(whole))]


def flipped(whole: bytes, changes: Sequence[tuple[float, int]]) -> bytes:
    """The file with some bytes changed, each at a place from 0 to 1."""
    data = bytearray(whole)
    for place, byte in changes:
        if data:
            data[min(int(place * len(data)), len(data) - 1)] = byte
    return bytes(data)


def spliced(whole: bytes, places: tuple[float, float], inserted: bytes) -> bytes:
    first, last = sorted(int(place * len(whole)) for place in places)
    return whole[:first] + inserted + whole[last:]


shares = st.floats(0, 1, exclude_max=True)
# Headers are where the decisions are.
near_begin = shares.map(lambda share: share**4)


def mutations(whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Valid files with bytes changed, cut off, taken out or put in."""
    changes = st.lists(st.tuples(near_begin | shares, st.integers(0, 255)), min_size=1, max_size=12)
    return (
        st.builds(flipped, whole, changes)
        | st.builds(flipped, whole, changes)
        | st.builds(cut, whole, shares)
        | st.builds(spliced, whole, st.tuples(near_begin, near_begin), st.binary(max_size=40))
    )


# -- Valid files --------------------------------------------------------------------------------------------------


@cache
def wav(seconds: float = 0.3, rate: int = 22050, channels: int = 1, subtype: str = "PCM_16") -> bytes:
    """A chord that swells."""
    time = np.arange(round(seconds * rate)) / rate
    sound = 0.3 * (np.sin(2 * np.pi * 330 * time) + np.sin(2 * np.pi * 440 * time)) * np.linspace(0.2, 1, len(time))
    return samples(np.repeat(sound[:, None], channels, axis=1), rate, subtype)


def samples(values: np.ndarray, rate: int = 22050, subtype: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, values, rate, subtype=subtype, format="WAV")
    return file.getvalue()


@cache
def midi() -> bytes:
    """Four measures of 4/4, 0.2 s each."""
    track = mido.MidiTrack(
        [
            mido.MetaMessage("set_tempo", tempo=50_000),
            mido.MetaMessage("time_signature", numerator=4, denominator=4),
            mido.Message("note_on", note=60),
            mido.Message("note_off", note=60, time=16 * 480),
            mido.MetaMessage("end_of_track"),
        ]
    )
    file = io.BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=480, tracks=[track]).save(file=file)
    return file.getvalue()


def track(*events: bytes, division: int = 480) -> bytes:
    """A MIDI file of one track of raw events, each with its delta time."""
    body = b"".join(events) + b"\0\xff\x2f\0"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, division) + b"MTrk" + struct.pack(">I", len(body)) + body


@cache
def score_text() -> str:
    return tiny_score.document(excerpts=True)


def archive(members: Mapping[str, bytes | str], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return file.getvalue()


def score(text: str | bytes | None = None, name: str = "score.mscx", **more: bytes) -> bytes:
    """A .mscz with this score in it."""
    return archive({"META-INF/container.xml": CONTAINER, name: score_text() if text is None else text, **more})


@cache
def score_midi(faster: int = 10) -> bytes:
    """The clock of `tiny_score` as MuseScore would write it, but so much faster."""
    events = []
    for numerator, denominator, tempo in tiny_score.BARS:
        events += [
            mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo * faster)),
            mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator),
            mido.Message("note_on", note=60),
            mido.Message("note_off", note=60, time=numerator * 4 * 480 // denominator),
        ]
    file = io.BytesIO()
    mido.MidiFile(
        type=0, ticks_per_beat=480, tracks=[mido.MidiTrack([*events, mido.MetaMessage("end_of_track")])]
    ).save(file=file)
    return file.getvalue()


@cache
def vector_arrays() -> dict[str, np.ndarray]:
    """What is in a file of saved vectors of `cppn`, for the sound of `wav`."""
    points = 15
    path = Trajectory(
        noise=np.random.default_rng(1).normal(size=(points, 128)),
        weights=np.full((points, 3), 0.4),
        classes=(0, 1, 2),
        grid_rate=22050 / 512,
        duration=0.3,
    )
    with tempfile.TemporaryDirectory() as folder:
        path.save(Path(folder) / "a.npz", labels=CPPN.labels[:3], params={"classes": [0, 1, 2]})
        with np.load(Path(folder) / "a.npz") as file:
            return dict(file)


def vectors(changes: Mapping[str, object] | None = None) -> bytes:
    """A .npz: arrays, raw bytes of a member, or None for a member that is missing."""
    members = {}
    for name, value in {**vector_arrays(), **(changes or {})}.items():
        if isinstance(value, bytes):
            members[f"{name}.npy"] = value
        elif value is not None:
            file = io.BytesIO()
            np.lib.format.write_array(file, np.asarray(value), allow_pickle=True)
            members[f"{name}.npy"] = file.getvalue()
    return archive(members)


@cache
def generated(name: str, *arguments: str) -> bytes:
    """A file that FFmpeg or SoX writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        command = [path if argument == "OUT" else argument for argument in arguments]
        subprocess.run(command, check=True, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL)
        return path.read_bytes()


LAVFI = (FFMPEG, "-v", "error", "-y", "-f", "lavfi", "-i")


def encoded(suffix: str) -> bytes:
    return generated(f"a.{suffix}", *LAVFI, "sine=d=0.3:r=22050", "OUT")


def picture() -> bytes:
    return generated("a.mkv", *LAVFI, "testsrc2=s=32x32:r=10:d=0.5", "-c:v", "libx264", "-preset", "ultrafast", "OUT")


class Dropper:
    """Unpickled, it writes a file."""

    def __reduce__(self):
        return (os.system, ("touch pwned; touch ../home/pwned",))


class Opener:
    """Unpickled, it opens a file for writing."""

    def __reduce__(self):
        return (open, ("pwned", "w"))


PANNING = {
    "vibes": [
        {"effect": "straight", "m1": 1, "m2": 2, "ear_i": -0.5, "ear_f": 0.5},
        {"effect": "orbit", "m1": 2, "m2": 3, "azimuth_i": 30, "turns": 1, "distance": [1, 3]},
        {"effect": "sawtooth", "m1": 3, "m2": "end", "ear_i": -1, "ear_f": 1, "cycles": 3},
    ]
}
PLAIN.update([wav(), midi(), document(PANNING), score_midi(), picture(), wav(0.5), wav(0.6, 48000), wav(0.5, 44100, 2)])


# -- Commands ------------------------------------------------------------------------------------------------------

EIGHTD = ("-i", "in.wav", "-o", "out.wav")
RENDER = (".out.*.render", ".out.*.render/*", ".previous_vectors.npz")
CONTAINER = '<?xml version="1.0"?><container><rootfiles><rootfile full-path="score.mscx"/></rootfiles></container>'
DRAW = (
    "--replace",
    "--generator",
    "cppn",
    "--resolution",
    "16",
    "--fps",
    "10",
    "--seed",
    "1",
    "--classes",
    "0",
    "1",
    "2",
)


def heard(place: Sandbox, attack: Attack, outcome: Outcome) -> str | None:
    """The fault of a panned sound: samples that are not numbers, or only full scale."""
    written, _ = soundfile.read(place.work / "out.wav")
    if not len(written):
        return "no samples"
    if not np.isfinite(written).all():
        return "samples that are no numbers"
    if np.mean(np.abs(written) > 0.99) > 0.5:
        return "at full scale for most of the time"
    return None


def drawn(place: Sandbox, attack: Attack, outcome: Outcome) -> str | None:
    name = next((name for name in attack.outputs if name.startswith("out.m") and "*" not in name), None)
    if name and (place.work / name).read_bytes() == OLD:
        return "nothing was written"
    return None


def pan(
    panning: bytes, *more: str, clock: bytes | None = None, plot: bool = False, sound: bytes | None = None
) -> Attack:
    files = {"in.wav": sound or wav(), "p.json": panning, "m.mid": clock or midi()}
    arguments = [*EIGHTD, "-e", "vibes", "-j", "p.json", "-m", "m.mid", "--model", "pan", *more]
    return Attack(
        "eightd",
        (*arguments, *(("--plot", "out.png") if plot else ())),
        files,
        ("out.wav", *(("out.png",) if plot else ())),
        check=heard,
    )


def mix(table: bytes | str) -> Attack:
    if isinstance(table, str):
        table = table.encode(errors="surrogatepass")
    files = {
        "t.mix.toml": table,
        "a.wav": wav(0.6, 48000),
        "b.wav": wav(0.5, 44100, 2),
        "p.json": document(PANNING),
        "m.mid": midi(),
    }
    return Attack(
        "mix",
        ("t.mix.toml", "--title", "T"),
        files,
        ("media", "media/T-*.wav", "media/.stems", "media/.stems/*"),
        state=("media", "media/.stems", "media/.stems/*"),
    )


def clocked(clock: bytes, plot: bool = False) -> Attack:
    return pan(
        document(
            {"vibes": [{"effect": "sawtooth", "m1": 1, "m2": "end", "ear_i": -1, "ear_f": 1, "cycles": "per_beat"}]}
        ),
        clock=clock,
        plot=plot,
    )


def listened(sound: bytes, command: str, suffix: str = ".wav") -> Attack:
    name = f"song{suffix}"
    if command == "song":
        return Attack("musicvideo.__main__", ("song", name, "out.wav"), {name: sound}, ("out.wav", "out.source.json"))
    if command == "pan":
        arguments = ("-i", name, "-o", "out.wav", "--orbit", "4", "--model", "sphere")
        return Attack("eightd", arguments, {name: sound}, ("out.wav",), check=heard)
    if command == "merge":
        return Attack(
            "musicvideo.__main__",
            ("merge", "p.mkv", name, "out.mkv", "--intro", "0"),
            {"p.mkv": picture(), name: sound},
            ("out.mkv",),
        )
    return Attack(
        "visualize",
        ("--song", name, *DRAW, "--duration", "0.2", "--output_file", "out.mp4"),
        {name: sound},
        ("out.mp4", "out.mp4.json", *RENDER),
        RENDER,
        drawn,
    )


def chaptered(scored: bytes | Callable, name: str = "s.mscz", clock: bytes | None = None) -> Attack:
    files = {"p.mkv": picture(), "a.wav": wav(0.5), name: scored, "m.mid": clock or score_midi()}
    arguments = ("merge", "p.mkv", "a.wav", "out.mkv", "--intro", "0", "--score", name, "--clock", "m.mid")
    return Attack("musicvideo.__main__", arguments, files, ("out.mkv",))


def played(scored: bytes) -> Attack:
    return Attack(
        "musicvideo.__main__",
        ("score", "s.mscz"),
        {"s.mscz": scored},
        ("media", "media/s.wav", "media/s.mid", "media/parts", "media/parts/s", "media/parts/s/*.wav"),
        ("media",),
    )


def followed(npz: bytes | Callable, *more: str) -> Attack:
    arguments = (
        "--song",
        "in.wav",
        "--generator",
        "cppn",
        "--resolution",
        "16",
        "--fps",
        "10",
        "--seed",
        "1",
        "--vectors",
        "v.npz",
        "--replace",
        "--output_file",
        "out.mp4",
        *more,
    )
    return Attack(
        "visualize", arguments, {"in.wav": wav(), "v.npz": npz}, ("out.mp4", "out.mp4.json", *RENDER), RENDER, drawn
    )


def liked(settings: bytes, *more: str, film: bytes | None = None) -> Attack:
    """`--like` of settings: in the JSON file beside a video, or in the video itself."""
    name = "like.mp4" if film else "like.json"
    content = partial(commented, film, settings) if film else settings
    noted = re.search(rb'"song_sha256": "[0-9a-f]{64}"', settings) is not None
    return Attack(
        "visualize",
        ("--like", name, *more, "--replace", "--output_file", "out.mp4"),
        {name: content, "in.wav": wav()},
        ("out.mp4", "out.mp4.json", *RENDER),
        RENDER,
        partial(own_song, noted),
    )


def commented(film: bytes, comment: bytes, path: Path) -> None:
    """Write a video with another comment in it."""
    notes = path.with_suffix(".ffmetadata")
    escaped = re.sub(rb"([=;#\\\n])", rb"\\\1", comment.replace(b"\0", b""))
    notes.write_bytes(b";FFMETADATA1\ncomment=" + escaped + b"\n")
    source = path.with_suffix(".source.mp4")
    source.write_bytes(film)
    subprocess.run(
        [
            FFMPEG,
            "-v",
            "error",
            "-y",
            "-i",
            source,
            "-f",
            "ffmetadata",
            "-i",
            notes,
            "-map",
            "0",
            "-map_metadata",
            "1",
            "-c",
            "copy",
            "-movflags",
            "use_metadata_tags",
            path,
        ],
        check=True,
        capture_output=True,
    )
    notes.unlink()
    source.unlink()


def own_song(noted: bool, place: Sandbox, attack: Attack, outcome: Outcome) -> str | None:
    """The fault if settings without a checksum of the song used a sound that was not named on the command line."""
    beside = place.work / "out.mp4.json"
    made = json.loads(beside.read_text()) if beside.exists() and beside.read_bytes() != OLD else {}
    song = str(made.get("song"))
    if made and not noted and "--song" not in attack.arguments and song not in outcome.stdout + outcome.stderr:
        return f"the sound of {song!r} was used without saying so"
    return drawn(place, attack, outcome)


def weighed(files: Mapping[str, bytes]) -> Attack:
    arguments = (
        "--song",
        "in.wav",
        "--generator",
        "biggan-reference",
        "--resolution",
        "128",
        "--fps",
        "10",
        "--duration",
        "0.1",
        "--seed",
        "1",
        "--classes",
        "1",
        "2",
        "--weights",
        "w",
        "--replace",
        "--output_file",
        "out.mp4",
    )
    return Attack(
        "visualize",
        arguments,
        {"in.wav": wav(), **{f"w/{name}": content for name, content in files.items()}},
        ("out.mp4", "out.mp4.json", *RENDER),
        RENDER,
        drawn,
    )


# -- Panning scores ------------------------------------------------------------------------------------------------

EFFECTS = ("none", "straight", "half_cosine", "quarter_sine", "whole_cosine", "half_sine", "sawtooth", "orbit")
FIELDS = (
    "effect",
    "m1",
    "b1",
    "m2",
    "b2",
    "t1",
    "t2",
    "ear_i",
    "ear_mid",
    "ear_f",
    "cycles",
    "azimuth_i",
    "azimuth_f",
    "turns",
    "elevation",
    "distance",
    "comment",
)


def changed_move(index: int, changes: Mapping[str, object]) -> bytes:
    moves = json.loads(json.dumps(PANNING["vibes"]))
    for name, value in changes.items():
        if value is None:
            moves[index].pop(name, None)
        else:
            moves[index][name] = value
    return document({"vibes": moves})


def one_move(**fields: object) -> bytes:
    return document({"vibes": [fields]})


@st.composite
def whole_moves(draw) -> bytes:
    """A score of one move that follows the grammar, with numbers that are odd."""
    effect = draw(st.sampled_from(EFFECTS))
    move: dict = {
        "effect": effect,
        "t1": 0,
        "t2": draw(st.sampled_from(["end", 0.2, literal("1e9"), literal("1e308")]) | numbers),
    }
    if effect == "orbit":
        move[draw(st.sampled_from(["turns", "azimuth_f"]))] = draw(numbers)
    elif effect != "none":
        move |= {"ear_i": draw(st.floats(-1, 1)), "ear_f": draw(st.floats(-1, 1)), "ear_mid": draw(st.floats(-1, 1))}
    if effect == "sawtooth":
        move["cycles"] = draw(st.just("per_beat") | numbers)
    for name in draw(st.lists(st.sampled_from(["elevation", "distance", "azimuth_i"]), max_size=2)):
        move[name] = draw(numbers | st.lists(numbers, min_size=2, max_size=2))
    return document({"vibes": [move]})


def panning_attacks() -> st.SearchStrategy[Attack]:
    values = numbers | texts | st.none() | junk | st.sampled_from(["end", "per_beat"])
    text = (
        whole_moves()
        | st.builds(
            changed_move, st.integers(0, 2), st.dictionaries(st.sampled_from(FIELDS), values, min_size=1, max_size=3)
        )
        | st.builds(lambda inner: document(inner), junk)
        | mutations(st.just(document(PANNING)))
    )
    more = st.lists(st.sampled_from(["-n", "--model=sphere", "--subtype=PCM_24"]), max_size=2, unique=True)
    return st.builds(
        lambda score, more, plot: pan(score, *more, plot=plot), text, more, st.sampled_from([False] * 7 + [True])
    )


def known_pannings() -> list[Attack]:
    orbit = {"effect": "orbit", "t1": 0, "t2": "end"}
    saw = {"effect": "sawtooth", "t1": 0, "t2": "end", "ear_i": -1, "ear_f": 1}
    return [
        pan(document(PANNING)),
        pan(document(PANNING), plot=True),
        pan(one_move(**orbit, azimuth_f=literal("1e400"))),
        pan(one_move(**orbit, azimuth_f=literal("1e308"))),
        pan(one_move(**orbit, turns=literal("1e308"))),
        pan(one_move(**orbit, turns=literal("1e307"))),
        pan(one_move(**orbit, azimuth_i=literal("-1.7e308"), azimuth_f=literal("1.7e308"))),
        pan(one_move(**orbit, turns=literal("9" * 400))),
        pan(one_move(**saw, cycles=literal("1e9"))),
        pan(one_move(**saw, cycles=literal("1e400"))),
        pan(one_move(**saw, cycles=literal("5e-324"))),
        pan(one_move(**orbit, turns=1, distance=literal("1e308"))),
        pan(one_move(**orbit, turns=1, distance=[literal("1e400"), 1])),
        pan(one_move(effect="none", m1=literal("9" * 400), m2="end")),
        pan(one_move(effect="none", m1=1, b1=literal("1e400"), m2="end")),
        pan(one_move(effect="none", m1=literal("1e308"), m2="end")),
        pan(one_move(effect="none", t1=0, t2=literal("1e9")), plot=True),
        pan(one_move(effect="none", t1=0, t2=literal("1e308")), plot=True),
        pan(one_move(effect="none", t1=literal("1e-300"), t2=literal("1e-299"))),
        pan(one_move(effect="straight", t1=0, t2="end", ear_i=literal("1e308")), "-n"),
        pan(one_move(effect="straight", t1=0, t2="end", ear_i=literal("9" * 400)), "-n"),
        pan(b"[" * 100_000),
        pan(b'{"vibes":' * 50_000),
        pan(b'["' + b"[" * 100_000),
        pan(b"\xff\xfe{\0}\0"),
        pan(b'{"vibes": [{"effect": "\xc3\x28"}]}'),
        pan(b'{"a\x1b[2Jb": 1}'),
        pan(json.dumps({"vibes": [{"effect": "\x1b[2J\x9b"}]}).encode()),
        pan(
            document(
                {"vibes": [{"effect": "none", "t1": 0, "t2": "end", "comment": "x" * 1_000_000, "x" * 100_000: 1}]}
            )
        ),
        pan(document({f"set {number}": PANNING["vibes"] for number in range(2000)}), plot=True),
        pan(document({"vibes": [{"effect": "none", "t1": n / 1e4, "t2": (n + 1) / 1e4} for n in range(20_000)]})),
    ]


# -- Mix tables ----------------------------------------------------------------------------------------------------

TABLE = """\
[panning]
score = "p.json"
clock = "m.mid"
[parts.a]
file = "a.wav"
gain = -3
balance = 0.2
set = "vibes"
model = "pan"
reverb = "hall"
send = -12
[parts.b]
file = "b.wav"
orbit = 4
model = "sphere"
width = 0.4
[reverbs.hall]
room = 40
predelay = 10
[master]
loudness = -20
ceiling = -1
tail = 0.3
fade = 0.2
"""
SMALL_TABLE = '[parts.a]\nfile = "a.wav"\n[master]\nprofile = "none"\ntail = 0\n'
KEYS = {
    "parts.a": (
        "file",
        "gain",
        "balance",
        "highpass",
        "tremolo",
        "set",
        "orbit",
        "model",
        "width",
        "distance",
        "reverb",
        "send",
    ),
    "reverbs.hall": ("reverberance", "damping", "room", "stereo", "predelay", "gain"),
    "master": ("profile", "loudness", "ceiling", "tail", "fade"),
    "panning": ("score", "clock"),
    "buses.wet": ("parts", "gain"),
}
toml_values = (
    st.sampled_from(NUMBERS)
    | st.sampled_from(["nan", "inf", "-inf", "true", "1979-05-27", "[]", "{}", "[[1]]", "0xffffffffffffffffffff"])
    | st.floats(-30, 30).map(repr)
    | texts.map(lambda text: json.dumps(text))
    | st.sampled_from(
        [
            '"../home/.ssh/id_ed25519"',
            '"/dev/zero"',
            '"/dev/tty"',
            '"-"',
            '"file:a.wav"',
            '"concat:a.wav|b.wav"',
            '"http://127.0.0.1:9/a.wav"',
            '"a.wav\\u0000"',
            '"."',
            '"{title}"',
            '"%d.wav"',
            '"b.wav"',
            '"p.json"',
            "{speed = 5, depth = 30}",
            "{speed = 1e400, depth = 0}",
            '["a", "a"]',
            '["a", "nothing"]',
            '"hall"',
        ]
    )
)


@st.composite
def tables(draw) -> str:
    """A small table with a few settings more, of any value."""
    lines = SMALL_TABLE.replace("[parts.a]\n", '[parts.a]\nmodel = "pan"\n').splitlines()
    for _ in range(draw(st.integers(1, 3))):
        section = draw(st.sampled_from(sorted(KEYS)))
        setting = f"{draw(st.sampled_from(KEYS[section]))} = {draw(toml_values)}"
        key = setting.split(" =")[0]
        if f"[{section}]" not in lines:
            lines += [f"[{section}]", setting]
            continue
        begin = lines.index(f"[{section}]") + 1
        end = next((n for n in range(begin, len(lines)) if lines[n].startswith("[")), len(lines))
        same = [n for n in range(begin, end) if lines[n].startswith(f"{key} =")]
        if same:
            lines[same[0]] = setting
        else:
            lines.insert(begin, setting)
    return "\n".join(lines) + "\n"


def mix_attacks() -> st.SearchStrategy[Attack]:
    return st.builds(mix, tables() | tables() | mutations(st.just(TABLE.encode())) | st.binary(max_size=60))


def known_mixes() -> list[Attack]:
    return [
        mix(TABLE),
        mix(SMALL_TABLE),
        mix("a = " + "[" * 100_000),
        mix("a = " + "{a=" * 10_000),
        mix("a." * 50_000 + "b = 1"),
        mix(SMALL_TABLE + "gain = " + "9" * 5000),
        mix(SMALL_TABLE.replace("tail = 0", "tail = 0x" + "f" * 4000)),
        mix(SMALL_TABLE.replace("tail = 0", f"tail = {'9' * 400}")),
        mix(SMALL_TABLE.replace('file = "a.wav"', 'file = "a.wav"\ngain = 1e400')),
        mix(SMALL_TABLE.replace('file = "a.wav"', 'file = "a.wav"\ngain = 2.3e-05')),
        mix(SMALL_TABLE.replace('file = "a.wav"', 'file = "a.wav"\nhighpass = 5.0000001e0\nbalance = 1e-300')),
        mix(SMALL_TABLE.replace('"a.wav"', '"a.wav\\u0000"')),
        mix(SMALL_TABLE.replace('"a.wav"', '"\\u001b[2J.wav"')),
        mix(SMALL_TABLE.replace('"a.wav"', '"/dev/zero"')),
        mix(SMALL_TABLE.replace('"a.wav"', '"' + "x" * 5000 + '"')),
        mix(SMALL_TABLE.replace("[parts.a]", '[parts."../../a"]')),
        mix(SMALL_TABLE.replace("[parts.a]", '[parts."-a"]')),
        mix(b"\xef\xbb\xbf" + SMALL_TABLE.encode()),
        mix(SMALL_TABLE.encode("utf-16")),
        mix("".join(f'[parts.p{n}]\nfile = "a.wav"\n' for n in range(60)) + '[master]\nprofile = "none"\ntail = 0\n'),
        mix(SMALL_TABLE.replace("tail = 0", "tail = 1e-300\nfade = 1e-300")),
    ]


# -- MIDI ----------------------------------------------------------------------------------------------------------

TEMPO = b"\0\xff\x51\x03\x00\xc3\x50"  # 50 000 microseconds a quarter
NOTE = b"\0\x90\x3c\x40\x8f\x00\x80\x3c\x00"
LONGEST_DELTA = b"\xff\xff\xff\x7f"  # 2^28 - 1 ticks


def signature(numerator: int, power: int) -> bytes:
    return bytes([0, 0xFF, 0x58, 4, numerator, power, 24, 8])


delta = st.sampled_from([b"\0", b"\1", b"\x8f\x00", LONGEST_DELTA, b"\xff\xff\xff\xff\x7f"])
events = st.one_of(
    st.builds(
        lambda d, n, p: d + signature(n, p)[1:],
        delta,
        st.integers(0, 255),
        st.sampled_from([0, 1, 2, 3, 7, 20, 63, 255]),
    ),
    st.builds(
        lambda d, t: d + b"\xff\x51\x03" + t.to_bytes(3, "big"),
        delta,
        st.sampled_from([0, 1, 50_000, 500_000, 2**24 - 1]),
    ),
    st.just(NOTE),
    st.builds(lambda d, b: d + b, delta, st.binary(min_size=1, max_size=6)),
    st.builds(lambda d, n: d + b"\xff\x03" + n + b"name", delta, st.sampled_from([b"\4", LONGEST_DELTA])),
    st.builds(lambda d, b: d + b"\xf0" + bytes([len(b)]) + b, delta, st.binary(max_size=5)),
)
divisions = st.sampled_from([0, 1, 24, 480, 32767, 0xE728, 0x8000])


def midi_attacks() -> st.SearchStrategy[Attack]:
    files = (
        st.builds(
            lambda found, division: track(TEMPO, *found, NOTE, division=division),
            st.lists(events, max_size=6),
            divisions,
        )
        | st.builds(lambda found: track(*found), st.lists(events, max_size=6))
        | mutations(st.just(midi()))
    )
    return st.builds(clocked, files, st.sampled_from([False, False, False, True]))


def known_midis() -> list[Attack]:
    return [
        clocked(midi()),
        clocked(track(TEMPO, NOTE)),
        clocked(track(TEMPO, signature(1, 20), NOTE), plot=True),
        clocked(track(TEMPO, signature(1, 63), NOTE), plot=True),
        clocked(track(TEMPO, signature(1, 255), NOTE), plot=True),
        clocked(track(TEMPO, signature(0, 2), NOTE)),
        clocked(track(TEMPO, LONGEST_DELTA + NOTE[1:]), plot=True),
        clocked(track(TEMPO, *[LONGEST_DELTA + NOTE[1:]] * 40), plot=True),
        clocked(track(TEMPO, *[LONGEST_DELTA + NOTE[1:]] * 40)),
        clocked(track(TEMPO, NOTE, division=1)),
        clocked(track(TEMPO, NOTE, division=0)),
        clocked(track(TEMPO, NOTE, division=0xE728)),
        clocked(track(TEMPO, b"\0\xff\x03" + LONGEST_DELTA + b"x", NOTE)),
        clocked(b"MThd" + struct.pack(">IHHH", 6, 1, 65535, 480) + b"MTrk" + struct.pack(">I", 2**32 - 1)),
        clocked(b"MThd" + struct.pack(">IHHH", 2**32 - 1, 1, 1, 480)),
        clocked(b"RIFF" + midi()),
        clocked(track(TEMPO, *[signature(1, 5)] * 20_000, NOTE)),
        clocked(track(TEMPO, *[b"\1\xff\x51\x03\0\0\1"] * 50_000, NOTE), plot=True),
    ]


# -- Sounds --------------------------------------------------------------------------------------------------------


def riff(
    *,
    kind: int = 1,
    channels: int = 1,
    rate: int = 22050,
    byte_rate: int | None = None,
    align: int | None = None,
    bits: int = 16,
    stated: int | None = None,
    whole: int | None = None,
    data: bytes | None = None,
    before: bytes = b"",
) -> bytes:
    """A WAV file whose header may state anything."""
    data = wav()[44:] if data is None else data
    align = channels * bits // 8 % 65536 if align is None else align
    byte_rate = rate * align % 2**32 if byte_rate is None else byte_rate
    head = struct.pack("<HHIIHH", kind, channels, rate, byte_rate, align, bits)
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", len(data) if stated is None else stated) + data
    return b"RIFF" + struct.pack("<I", len(body) if whole is None else whole) + body


words = st.sampled_from([0, 1, 2, 8, 9, 17, 255, 256, 65535])
longs = st.sampled_from([0, 1, 7, 8000, 22050, 48000, 768_000, 2**31 - 1, 2**31, 2**32 - 1])
headers = st.builds(
    lambda changes: riff(**changes),
    st.fixed_dictionaries(
        {},
        optional={
            "kind": st.sampled_from([0, 1, 2, 3, 6, 7, 17, 85, 0x161, 0xFFFE, 65535]),
            "channels": words,
            "rate": longs,
            "byte_rate": longs,
            "align": words,
            "bits": st.sampled_from([0, 1, 8, 12, 16, 24, 32, 64, 65535]),
            "stated": longs,
            "whole": longs,
            "data": st.binary(max_size=3000),
            "before": st.sampled_from(
                [
                    b"LIST\xff\xff\xff\xff",
                    b"JUNK\0\0\0\0",
                    b"LIST\4\0\0\0INFO",
                    b"fmt \0\0\0\0",
                    b"data\0\0\0\0",
                    b"cue \4\0\0\0\xff\xff\xff\xff",
                ]
            ),
        },
    ),
)
odd_levels = st.builds(
    lambda level, share, count: samples(np.where(np.arange(count) >= share * count, level, 0.1).astype(np.float32)),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e38, 3.4e38, 1e-38, 0.0, 1e10]),
    shares,
    st.sampled_from([1, 2, 100, 3000]),
)
DISGUISES = (
    b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:../home/.ssh/id_ed25519\n#EXT-X-ENDLIST\n",
    b"ffconcat version 1.0\nfile '../home/.ssh/id_ed25519'\n",
    b"ffconcat version 1.0\nfile 'http://127.0.0.1:9/a.wav'\n",
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    b"<?xml version='1.0'?><MPD><Period><AdaptationSet><Representation><BaseURL>http://127.0.0.1:9/</BaseURL></Representation>"
    b"</AdaptationSet></Period></MPD>",
    b"[Reference]\nRef1=http://127.0.0.1:9/a\n",
    b"[playlist]\nFile1=http://127.0.0.1:9/a\n",
    b"http://127.0.0.1:9/a.wav\n",
    b"<ASX version='3.0'><Entry><Ref href='http://127.0.0.1:9/a'/></Entry></ASX>",
    b"GIF89a" + bytes(100),
    b"\x7fELF" + bytes(200),
    b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    b"%PDF-1.4\n",
    b"#!/bin/sh\ntouch pwned\n",
)
SUFFIXES = (".wav", ".mp3", ".mp4", ".m3u8", ".ffconcat", ".mkv", ".aiff", ".flac", ".ogg", ".sdp", ".txt", "")


def referring(path: bytes) -> bytes:
    """A .mov whose sound is said to be in another file."""
    whole = generated("a.mov", *LAVFI, "sine=d=0.3:r=22050", "-c:a", "pcm_s16le", "OUT")
    own = b"\0\0\0\x0curl \0\0\0\1"
    other = b"url \0\0\0\0" + b"file://" + path + b"\0"
    return whole.replace(own, struct.pack(">I", len(other) + 4) + other)


def sound_attacks() -> st.SearchStrategy[Attack]:
    commands = st.sampled_from(["song", "song", "pan", "pan", "draw", "merge"])
    headed = st.builds(listened, headers | odd_levels | mutations(st.just(wav())), commands)
    others = st.builds(
        lambda name, broken, command: listened(broken(encoded(name)), command, f".{name}"),
        st.sampled_from(["mp3", "flac", "ogg", "m4a", "aiff", "mkv", "mp4"]),
        st.tuples(
            st.lists(st.tuples(near_begin, st.integers(0, 255)), max_size=8), st.sampled_from([1.0, 1.0, 0.9, 0.4])
        ).map(lambda how: lambda whole: cut(flipped(whole, how[0]), how[1])),
        commands,
    )
    disguised = st.builds(
        listened, st.sampled_from(DISGUISES) | st.binary(max_size=100), commands, st.sampled_from(SUFFIXES)
    )
    return headed | headed | others | disguised


def known_sounds() -> list[Attack]:
    every = ("song", "pan", "draw", "merge")
    piped = generated("a.aiff", "sh", "-c", "sox -n -r 22050 -t aiff - synth 0.3 sine 440 > a.aiff")
    piped_wav = generated("a.wav", "sh", "-c", "sox -n -r 22050 -t wav - synth 0.3 sine 440 > a.wav")
    level = partial(np.full, 6000)
    return [
        *(listened(wav(), command) for command in every),
        *(listened(encoded("mp3"), command, ".mp3") for command in every),
        *(listened(piped, command, ".aiff") for command in every),
        *(listened(piped_wav, command) for command in every),
        *(
            listened(samples(level(value).astype(np.float32)), command)
            for value in (np.nan, np.inf, 1e38)
            for command in every
        ),
        *(listened(samples(np.append(level(0.1), np.nan).astype(np.float32)), command) for command in every),
        *(listened(riff(rate=1, data=bytes(176_000)), command) for command in every),
        *(listened(riff(rate=1, data=b"\0\1" * 88_000), command) for command in every),
        *(listened(riff(rate=2**32 - 1), command) for command in every),
        *(listened(riff(channels=65535, data=bytes(300_000)), command) for command in every),
        *(listened(wav(0.3, 22050, 9), command) for command in every),
        *(listened(wav(0.3, 22050, 17), command) for command in every),
        *(listened(riff(byte_rate=1), command) for command in every),
        *(listened(riff(stated=2**31 - 100), command) for command in every),
        *(listened(riff(data=b""), command) for command in every),
        *(listened(wav()[: 44 + 100], command) for command in every),
        *(listened(referring(b"/etc/hostname"), command, ".mov") for command in every),
        *(listened(disguise, "song", ".wav") for disguise in DISGUISES),
        *(
            listened(disguise, "draw", suffix)
            for disguise, suffix in zip(DISGUISES, (".m3u8", ".m3u8", ".ffconcat", ".mp4", ".sdp", ".mpd"))
        ),
    ]


# -- Scores --------------------------------------------------------------------------------------------------------

BILLION = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "'
    + "a" * 1000
    + '">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + "]><museScore><Score><Staff id='1'><Measure><RehearsalMark><text>&j;</text></RehearsalMark></Measure></Staff>"
    + "</Score></museScore>"
)


def external(url: str) -> str:
    mark = "<Staff id='1'>" + "<Measure><RehearsalMark><text>&x;</text></RehearsalMark></Measure>" * 3 + "</Staff>"
    return f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY x SYSTEM "{url}">]><museScore><Score>{mark}</Score></museScore>'


def marked(text: str) -> str:
    """The score with other words at its rehearsal marks."""
    return score_text().replace("<text>A</text>", f"<text>{text}</text>")


def patched(whole: bytes, *, offset: int, value: bytes, central: bool) -> bytes:
    """A zip file with false statements about its last entry, in the local header or the central directory."""
    at = whole.rfind(b"PK\1\2" if central else b"PK\3\4") + offset
    return whole[:at] + value + whole[at + len(value) :]


def encrypted() -> bytes:
    both = patched(score(), offset=8, value=b"\1\0", central=True)
    return patched(both, offset=6, value=b"\1\0", central=False)


# Bombs are made when they are used: each takes a second or more of packing, and only a campaign runs all attacks.


def bomb(path: Path, size: int = 320_000_000) -> None:
    """A score whose XML is that large, in a file of some hundred kB."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped,
        zipped.open("score.mscx", "w", force_zip64=True) as member,
    ):
        head, _, tail = score_text().partition("<RehearsalMark><text>A")
        member.write((head + "<!--").encode())
        for _ in range(size // 1_000_000):
            member.write(b" " * 1_000_000)
        member.write(("--><RehearsalMark><text>A" + tail).encode())


def element_bomb(path: Path, count: int = 8_000_000) -> None:
    """A score of so many empty elements."""
    path.write_bytes(
        score(score_text().replace('<Staff id="1"><Measure>', '<Staff id="1">' + "<a/>" * count + "<Measure>", 1))
    )


def score_attacks() -> st.SearchStrategy[Attack]:
    zip_fields = st.builds(
        lambda field, value, central: patched(
            score(),
            offset=field[central],
            value=struct.pack(f"<{field[2]}", value % 2 ** field[3]),
            central=bool(central),
        ),
        # flags, method, sizes: (offset in the local header, in the directory, struct code, bits)
        st.sampled_from(
            [
                (6, 8, "H", 16),
                (8, 10, "H", 16),
                (18, 20, "I", 32),
                (22, 24, "I", 32),
                (26, 28, "H", 16),
                (14, 16, "I", 32),
            ]
        ),
        st.sampled_from([0, 1, 2, 8, 9, 12, 14, 93, 99, 0xFFFF, 0xFFFFFFFF, 2**31]),
        st.integers(0, 1),
    )
    xml = st.builds(
        lambda changes: score("".join(changes(score_text()))),
        st.builds(
            lambda places, text: (
                lambda whole: spliced(whole.encode(), places, text.encode(errors="replace")).decode(errors="replace")
            ),
            st.tuples(near_begin, near_begin),
            st.text(letters, max_size=20) | st.sampled_from(["<a>", "</Score>", "&lt;", "&x;", "<![CDATA[", "]]>"]),
        ),
    )
    names = st.builds(
        lambda name: score(name=name),
        st.sampled_from(
            [
                "../../home/x.mscx",
                "/tmp/x.mscx",
                "a/../../x.mscx",
                "x.mscx\0.txt",
                "C:\\x.mscx",
                "\x1b[2J.mscx",
                ".mscx",
                "x" * 60000 + ".mscx",
            ]
        ),
    )
    marks = st.builds(
        lambda text: score(marked(text)),
        texts.map(
            lambda text: re.sub("[^\t\n -\ud7ff\ue000-\ufffd]", "?", text).replace("&", "&amp;").replace("<", "&lt;")
        )
        | st.sampled_from(["[CHAPTER]\nSTART=0", "=;#\\", "x" * 70_000]),
    )
    return st.builds(
        chaptered,
        mutations(st.just(score())) | mutations(st.just(score())) | zip_fields | xml | names | marks,
        clock=st.just(score_midi()) | mutations(st.just(score_midi())),
    )


def known_scores() -> list[Attack]:
    broken = score()
    stream = broken.rfind(b"score.mscx", 0, broken.rfind(b"PK\1\2")) + 40
    return [
        chaptered(score()),
        chaptered(score_text().encode(), "s.mscx"),
        chaptered(score(), clock=score_midi(1)),  # chapters behind the end of the film
        chaptered(broken[:stream] + b"\xff\xff\xff\xff" * 8 + broken[stream + 32 :]),
        chaptered(encrypted()),
        chaptered(patched(score(), offset=24, value=struct.pack("<I", 10), central=True)),
        chaptered(patched(score(), offset=24, value=struct.pack("<I", 2**32 - 2), central=True)),
        chaptered(patched(score(), offset=10, value=struct.pack("<H", 99), central=True)),
        chaptered(score(BILLION)),
        chaptered(score(external("file:///etc/hostname"))),
        chaptered(score(external("http://127.0.0.1:9/x"))),
        chaptered(score("<a>" * 200_000 + "</a>" * 200_000)),
        chaptered(
            score(
                "<museScore><Score><Staff id='1'>"
                + "<Measure>" * 100_000
                + "</Measure>" * 100_000
                + "</Staff></Score></museScore>"
            )
        ),
        chaptered(score('<?xml version="1.0" encoding="utf-7"?><a/>')),
        chaptered(score('<?xml version="1.0" encoding="rot13"?><a/>')),
        chaptered(score('<?xml version="1.0" encoding="x-unknown"?><a/>')),
        chaptered(score(score_text().encode("utf-16"))),
        chaptered(archive({})),
        chaptered(archive({"../../home/x.mscx": score_text()})),
        chaptered(archive({"score.mscx/": ""})),
        chaptered(score(marked("&#27;[2J"))),
        chaptered(score(marked("\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\ntitle=x"))),
        chaptered(bomb),
        chaptered(element_bomb),
    ]


def played_scores() -> list[Attack]:
    """Some through MuseScore itself, which takes seconds for each."""
    twice = score_text().replace("Marimba", "Vibes")
    one = tiny_score.document(True, names=["Vibes"])  # MuseScore takes a second for each part
    return [
        played(score(one)),
        played(encrypted()),
        played(score(BILLION)),
        played(score(external("file:///etc/hostname"))),
        played(score(score_text().replace("<name>Vibes</name>", "<name>../../../home/pwned</name>"))),
        played(score(score_text().replace("Vibes", "$(touch pwned)"))),
        played(score(score_text().replace("Vibes", "a/b"))),
        played(score(twice)),
        played(score_text().encode()),
        played(score("<museScore version='3.01'>")),
        played(cut(score(), 0.6)),
        played(archive({"../../home/x.mscx": score_text(), "META-INF/container.xml": CONTAINER})),
        played(score("<a>" * 200_000)),
        played(score(score_text().replace('version="3.01"', 'version="4.50"').replace("3.2.3", "4.5.0"))),
        played(score(score_text().replace("3.2.3", "3.6.2").replace('version="3.01"', 'version="3.02"'))),
    ]


def played_attacks() -> st.SearchStrategy[Attack]:
    return st.builds(
        played, mutations(st.just(score_text().encode())).map(lambda text: score(text)) | mutations(st.just(score()))
    )


# -- Notes and conduct tables --------------------------------------------------------------------------------------


def chunk(*events: bytes) -> bytes:
    body = b"".join(events) + b"\0\xff\x2f\0"
    return b"MTrk" + struct.pack(">I", len(body)) + body


def many_tracks(tracks: Sequence[bytes], division: int = 480) -> bytes:
    """A MIDI file of type 1."""
    return b"MThd" + struct.pack(">IHHH", 6, 1, len(tracks), division) + b"".join(tracks)


def texted(kind: int, text: bytes) -> bytes:
    """A meta event of text, at once: 3 names a track, 6 is a marker."""
    return bytes([0, 0xFF, kind]) + variable(len(text)) + text


def variable(number: int) -> bytes:
    digits = [number & 127]
    while number := number >> 7:
        digits.insert(0, 128 | number & 127)
    return bytes(digits)


@cache
def ensemble() -> bytes:
    """Two named parts and drums, with markers."""
    return many_tracks(
        [
            chunk(TEMPO, texted(6, b"A"), b"\x87\x40" + texted(6, b"B")[1:]),
            chunk(texted(3, b"Vibes"), b"\0\xc0\x0b", NOTE, NOTE),
            chunk(texted(3, b"Cello"), b"\0\xc1\x2a", b"\0\x91\x30\x50\x83\x60\x81\x30\0", b"\0\x91\x35\x60"),
            chunk(b"\0\x99\x24\x70\x60\x89\x24\0"),
        ]
    )


CONDUCT = """\
[parts.Vibes]
classes = ["0", "1"]
by = "pitch"
attack = 0.05
decay = 0.6
release = 0.3
strength = 0.8
[parts.Cello]
by = "register"
[[sections]]
mark = "A"
classes = ["0", "2"]
depth = 0.9
speed = 1.5
[[sections]]
measure = 2
[motion]
speed = 0.5
downbeat = 0.4
flight = 2
"""
SMALL_CONDUCT = '[parts.Vibes]\nby = "pitch"\n'
CONDUCT_KEYS = {
    "[parts.Vibes]": ("classes", "by", "attack", "decay", "release", "strength", "handles"),
    "[parts.Nobody]": ("by",),
    "[[sections]]": ("mark", "measure", "classes", "depth", "speed", "handles"),
    "[motion]": ("speed", "downbeat", "flight"),
}
conduct_values = toml_values | st.sampled_from(
    [
        '["0"]',
        '["0", "0"]',
        '["moon", "castle"]',
        '["-1", "999999"]',
        '["\\u001b[2J"]',
        "[0, 1]",
        "{zoom = 1}",
        "{zoom = nan}",
        '"A"',
        '"register"',
        "1",
        "2",
    ]
)
conduct_tables = st.builds(
    lambda found: SMALL_CONDUCT + "".join(f"{place}\n{key} = {value}\n" for (place, key), value in found),
    st.lists(
        st.tuples(
            st.sampled_from([(place, key) for place, keys in CONDUCT_KEYS.items() for key in keys]), conduct_values
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda pair: pair[0][0] if pair[0][0] != "[[sections]]" else pair,
    ),
).map(lambda text: text.removeprefix(SMALL_CONDUCT) if text.count("[parts.Vibes]") > 1 else text)


def conducted(notes: bytes, table: bytes | str | None = None, *more: str, storyboard: bool = False) -> Attack:
    """A drawing by notes, or its storyboard."""
    files = {"in.wav": wav(), "n.mid": notes}
    if table is not None:
        files["c.toml"] = table.encode(errors="surrogatepass") if isinstance(table, str) else table
    arguments = ("--song", "in.wav", *DRAW, "--mapping", "score", "--midi", "n.mid")
    arguments += (*(("--conduct", "c.toml") if table is not None else ()), *more)
    if storyboard:
        return Attack("visualize", (*arguments, "--storyboard", "out.png"), files, ("out.png",))
    return Attack(
        "visualize",
        (*arguments, "--output_file", "out.mp4"),
        files,
        ("out.mp4", "out.mp4.json", *RENDER),
        RENDER,
        drawn,
    )


def conduct_attacks() -> st.SearchStrategy[Attack]:
    text = conduct_tables | conduct_tables | mutations(st.just(CONDUCT.encode())) | st.binary(max_size=60)
    return st.builds(lambda table: conducted(ensemble(), table), text)


def known_conducts() -> list[Attack]:
    long = "0x" + "f" * 4000  # more decimal digits than Python converts
    unknown = [[f"mush{line}x{word}" for word in range(48)] for line in range(180)]
    return [
        conducted(ensemble(), CONDUCT),
        conducted(ensemble(), SMALL_CONDUCT),
        conducted(ensemble(), CONDUCT, storyboard=True),
        conducted(ensemble(), "a = " + "[" * 100_000),
        conducted(ensemble(), "a." * 2000 + "b = 1"),
        conducted(ensemble(), f"[[sections]]\nmeasure = {long}\n"),
        conducted(ensemble(), f"[motion]\nspeed = {long}\n"),
        conducted(ensemble(), "[[sections]]\nmeasure = 9999999999\n"),
        conducted(ensemble(), "[[sections]]\nmark = 'A'\nmeasure = 1\n"),
        conducted(ensemble(), "[[sections]]\nmark = '\\u001b[2J'\n"),
        conducted(ensemble(), '[parts."\\u001b[2J"]\n'),
        conducted(ensemble(), f'[parts."{"x" * 4000}"]\n'),
        conducted(ensemble(), "[[sections]]\n" * 1000),
        conducted(ensemble(), "[[sections]]\n" * 1001),
        conducted(ensemble(), "[motion]\nspeed = 10\nflight = 0.2\n[parts.Vibes]\nattack = 0.01\ndecay = 60\n"),
        conducted(ensemble(), '[parts.Vibes]\nhandles = {"../../victim" = 1}\n'),
        conducted(ensemble(), "".join(f"[[sections]]\nclasses = {json.dumps(names)}\n" for names in unknown)),
        conducted(ensemble(), CONDUCT.encode("utf-16")),
        conducted(ensemble(), b"\xef\xbb\xbf" + CONDUCT.encode()),
        conducted(ensemble(), CONDUCT, "--midi_offset", "nan"),
    ]


def note_attacks() -> st.SearchStrategy[Attack]:
    named = st.builds(
        lambda kind, text: texted(kind, text.encode(errors="replace")), st.sampled_from([1, 3, 4, 5, 6, 7]), texts
    )
    tracks = st.lists(st.lists(events | named, max_size=6).map(lambda found: chunk(*found)), min_size=1, max_size=4)
    files = (
        st.builds(lambda found, division: many_tracks([chunk(TEMPO, NOTE), *found], division), tracks, divisions)
        | mutations(st.just(ensemble()))
        | mutations(st.just(ensemble()))
    )
    offsets = st.sampled_from(TYPED) | st.floats(-2, 1).map(repr)
    more = st.just(()) | st.just(()) | offsets.map(lambda offset: (f"--midi_offset={offset}",))
    return st.builds(
        lambda notes, more, storyboard: conducted(notes, None, *more, storyboard=storyboard),
        files,
        more,
        st.sampled_from([False] * 7 + [True]),
    )


def known_notes() -> list[Attack]:
    stroke = b"\x01\x3c\0\0\x3c\x40"  # running status: off, and on again
    crowd = b"\0\x90\x3c\x40" + stroke * 300_000
    lone = [chunk(texted(3, b"%x" % number), NOTE) for number in range(20_000)]
    return [
        conducted(ensemble()),
        conducted(midi()),
        conducted(ensemble(), None, storyboard=True),
        conducted(track(TEMPO, crowd)),
        conducted(track(TEMPO, b"\0\x90\x3c\x40" + b"\0\x3c\x40" * 20_000)),  # none of them ends
        conducted(many_tracks([chunk(TEMPO), *lone])),
        conducted(track(TEMPO, *[b"\1" + texted(6, b"%x" % number)[1:] for number in range(100_000)], NOTE)),
        conducted(track(TEMPO, *[b"\1" + texted(6, b"$\\frac{%x")[1:]] * 12, NOTE), None, storyboard=True),
        conducted(track(TEMPO, texted(6, b"\x1b[2J\xff"), texted(3, b"\x1b]0;owned\x07"), NOTE), None, storyboard=True),
        conducted(track(TEMPO, texted(3, b"x" * 1_000_000), NOTE), SMALL_CONDUCT),
        conducted(track(TEMPO, signature(255, 7), *[LONGEST_DELTA + NOTE[1:]] * 40)),
        conducted(track(TEMPO, *[signature(1, 7)] * 20_000, NOTE)),
        conducted(track(TEMPO)),
        conducted(track(b"\0\xff\x51\x03\0\0\1", NOTE, division=32767)),
        conducted(ensemble(), None, "--midi_offset=-86400"),
        conducted(ensemble(), None, "--midi_offset=1e-300"),
        conducted(ensemble(), None, "--midi", "nothing.mid"),
        conducted(ensemble(), None, "--midi", "../home/.ssh/id_ed25519"),
        conducted(ensemble(), None, "--mapping", "classic"),
    ]


# -- Films whose picture is compared with their sound --------------------------------------------------------------


@cache
def film() -> bytes:
    """Half a second of picture and sound."""
    clicks = r"aevalsrc=sin(2000*t)*lt(mod(t\,0.2)\,0.1):d=0.5"
    return generated(
        "a.mkv", *LAVFI, "testsrc2=s=32x32:r=10:d=0.5", "-f", "lavfi", "-i", clicks, "-preset", "ultrafast",
        "-c:a", "flac", "OUT",
    )  # fmt: skip


def synced(content: bytes, name: str = "f.mkv") -> Attack:
    return Attack("musicvideo.__main__", ("sync", "--plot", "out.png", "--", name), {name: content}, ("out.png",))


def sync_attacks() -> st.SearchStrategy[Attack]:
    return st.builds(synced, mutations(st.just(film())) | st.sampled_from(DISGUISES) | st.binary(max_size=100))


def known_syncs() -> list[Attack]:
    both = (*LAVFI, "testsrc2=s=32x32:r=10:d=0.5", "-f", "lavfi", "-i", "sine=d=0.5", "-preset", "ultrafast")
    spread = "setpts='if(N,86400*30*%d,0)/TB'"

    def made(*how: str) -> bytes:
        return generated("a.mkv", *both, *how, "OUT")

    return [
        synced(film()),
        synced(film(), "$\\frac{.mkv"),
        synced(film(), "-a.mkv"),
        synced(film(), "\x1b[2J.mkv"),
        synced(picture()),
        synced(wav(), "a.wav"),
        synced(encoded("mp3"), "a.mp3"),
        synced(made("-frames:v", "1")),
        synced(made("-af", "volume=0")),
        synced(made("-vf", "geq=0:128:128")),
        synced(made("-vf", "scale=2:2")),
        synced(made("-vf", "scale=16:4096")),
        synced(made("-vf", "setpts=PTS+3/TB")),
        synced(made("-af", "asetpts=PTS+3/TB")),
        synced(made("-t", "0.1", "-r", "1000")),
        *(synced(made("-vf", spread % days, "-fps_mode", "passthrough")) for days in (1, 1000)),
        *(synced(disguise, name) for disguise, name in zip(DISGUISES, ("a.m3u8", "b.m3u8", "a.ffconcat", "a.mkv"))),
    ]


# -- Vectors -------------------------------------------------------------------------------------------------------


def npy(description: str, shape: str = "(15, 3)", data: bytes = bytes(360), order: str = "False") -> bytes:
    """An array file with a header of any text."""
    head = f"{{'descr': {description}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode(errors="replace")
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head) % 65536) + head + data


MEMBERS = ("noise_vectors", "class_vectors", "classes", "labels", "grid_rate", "duration", "params")
arrays = st.one_of(
    st.none(),
    st.sampled_from(
        ["<f8", "<f4", "<f2", "<i8", "|u1", "<c16", "<U5", "|S5", "|b1", "<M8[s]", "|O", "<m8[ns]", ">f8"]
    ).map(lambda kind: np.zeros((15, 3), kind)),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-300, 0, -1, 10**18, 1e9, 43, True]).map(np.asarray),
    st.sampled_from([(0, 128), (15,), (15, 128, 1), (1, 128), (15, 0), (), (15, 127), (2, 128)]).map(np.ones),
    st.sampled_from(
        [
            [0, 1, 2],
            [0, 0, 0],
            [-1, 1, 2],
            [0, 1, 10**6],
            [0.5, 1, 2],
            ["a", "b", "c"],
            [[0, 1, 2]],
            [0],
            [],
            [2**63] * 3,
        ]
    ).map(np.asarray),
    st.sampled_from(
        [
            "",
            "{}",
            "[]",
            "null",
            "1",
            "{",
            '{"classes": "x"}',
            '{"classes": [99999]}',
            '{"classes": [0.5, null, "a"]}',
            '{"classes": {}}',
            "[" * 50_000,
            '{"classes": 1e400}',
            "\x1b[2J",
            '{"classes": [[0]]}',
            '{"classes": []}',
        ]
    ).map(np.asarray),
    st.builds(
        npy,
        st.sampled_from(
            [
                "'<f8'",
                "'|O'",
                "'<f9'",
                "[('a','<f8')]",
                "'|V8'",
                "'<U1000000'",
                "__import__('os').system('touch pwned')",
                "'<i4'",
                "None",
            ]
        ),
        st.sampled_from(
            ["(15, 3)", "(15, 128)", "(1099511627776, 128)", "(-1, 3)", "(15, 3", "(2**70,)", "('a',)", "15", "(0,)"]
        ),
        st.sampled_from([b"", bytes(360), bytes(15 * 128 * 8)]),
        st.sampled_from(["False", "True", "3"]),
    ),
    st.binary(max_size=30),
    st.builds(
        lambda found: np.asarray(json.dumps(found)), st.dictionaries(st.sampled_from(["classes", "seed", "song"]), junk)
    ),
)


def vector_attacks() -> st.SearchStrategy[Attack]:
    changed = st.builds(vectors, st.dictionaries(st.sampled_from(MEMBERS), arrays, min_size=1, max_size=2))
    broken = mutations(st.builds(vectors, st.just({})))
    more = st.sampled_from([(), (), (), ("--num_classes", "2"), ("--duration", "0.1"), ("--save_vectors", "out.npz")])
    return st.builds(lambda npz, more: _saving(followed(npz, *more)), changed | changed | changed | broken, more)


def _saving(attack: Attack) -> Attack:
    if "out.npz" not in attack.arguments:
        return attack
    return Attack(
        attack.command,
        attack.arguments,
        attack.files,
        (*attack.outputs, "out.npz"),
        (*attack.state, "out.npz"),
        attack.check,
    )


def vector_bomb(path: Path) -> None:
    """Four gigabytes of noise vectors, in a file of some MB."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped,
        zipped.open("noise_vectors.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy("'<f8'", "(4000000, 128)", b""))
        for _ in range(4096):
            member.write(bytes(1_000_000))


def known_vectors() -> list[Attack]:
    objects = np.empty(3, object)
    objects[:] = [Dropper(), Dropper(), Dropper()]
    return [
        followed(vectors()),
        followed(vectors({"labels": objects})),
        followed(vectors({"params": pickle.dumps(Dropper())})),
        followed(pickle.dumps(Dropper())),
        followed(vectors({"classes": np.array([-1, 1, 2])})),
        followed(vectors({"classes": np.array([0, 1, 10**6])})),
        followed(vectors({"grid_rate": np.array(1e308)})),
        followed(vectors({"grid_rate": np.array(5e-324)})),
        followed(vectors({"duration": np.array(1e-9)})),
        followed(vectors({"duration": np.array(1e308)})),
        followed(vectors({"noise_vectors": np.full((15, 128), 1e308)})),
        followed(vectors({"noise_vectors": np.full((15, 128), 1 + 1j)})),
        followed(vectors({"class_vectors": np.full((15, 3), -1e308)})),
        followed(vectors({"class_vectors": np.zeros((15, 3), "<M8[s]")})),
        followed(vectors({"labels": np.array(["\x1b[2J", "b", "c"])})),
        followed(vectors({"params": np.array("[" * 100_000)})),
        followed(vectors({"params": np.array('{"classes": [0, 1]}')}), "--num_classes", "3"),
        followed(vectors({"noise_vectors": npy("'<f8'", "(1099511627776, 128)")})),
        followed(vector_bomb),
    ]


# -- Settings in a video -------------------------------------------------------------------------------------------

SETTINGS = (
    "song",
    "duration",
    "generator",
    "resolution",
    "weights",
    "device",
    "precision",
    "quality",
    "mapping",
    "frame_length",
    "pitch_sensitivity",
    "tempo_sensitivity",
    "depth",
    "jitter",
    "truncation",
    "smooth_factor",
    "sort_classes_by_power",
    "codec",
    "crf",
    "output_size",
    "fps",
    "seed",
    "classes",
    "class_names",
    "vectors",
    "vectors_sha256",
    "song_sha256",
    "frames",
    "versions",
    "weights_sha256",
    "midi",
    "midi_sha256",
    "midi_offset",
    "conduct",
    "conduct_sha256",
    "runs_on",
    "save_vectors",
    "output_file",
    "storyboard",
    "overwrite",
    "like",
    "batch_size",
    "list_classes",
    "num_classes",
    "use_previous_classes",
    "use_previous_vectors",
    "verbose",
    "help",
    "_get_args",
    "__class__",
)
PATHS = (
    "victim.npz",
    "victim.mp4",
    "victim.png",
    "../home/Documents/thesis.npz",
    "/etc/hostname",
    "in.wav",
    "http://127.0.0.1:9/a.wav",
    "victim.wav",
    "../home",
    "/dev/zero",
    "-",
    "",
    "like.json",
)


def with_settings(valid: Mapping, changes: Mapping[str, object]) -> bytes:
    return document({name: value for name, value in {**valid, **changes}.items() if value != "@absent@"})


def like_attacks(valid: Mapping, film: bytes) -> st.SearchStrategy[Attack]:
    values = numbers | texts | junk | st.sampled_from(PATHS) | st.just("@absent@") | st.booleans()
    changed = st.builds(
        partial(with_settings, valid), st.dictionaries(st.sampled_from(SETTINGS), values, min_size=1, max_size=2)
    )
    unnoted = st.builds(
        lambda changes: with_settings(valid, {**changes, "song_sha256": None, "vectors_sha256": None}),
        st.dictionaries(st.sampled_from(SETTINGS), values, max_size=2),
    )
    others = st.builds(document, junk) | st.binary(max_size=50) | mutations(st.just(document(dict(valid))))
    more = st.sampled_from(
        [
            (),
            ("--song", "in.wav"),
            ("--song", "in.wav"),
            ("--num_classes", "2"),
            ("--seed", "3"),
            ("--vectors", "victim.npz"),
        ]
    )
    return st.builds(
        lambda text, more, inside: liked(text, *more, film=film if inside else None),
        changed | changed | unnoted | others,
        more,
        st.sampled_from([False, False, True]),
    )


def known_likes(valid: Mapping, film: bytes) -> list[Attack]:
    take = partial(with_settings, valid)
    own = ("--song", "in.wav")
    wrong = ([], {}, None, True, "x", 1.5, [[]], {"a": 1}, [None], "@1e400@", "@-1@", "")
    return [
        liked(take({})),
        liked(take({}), *own),
        liked(take({}), *own, film=film),
        *(
            liked(take({name: value}), *own)
            for name in SETTINGS
            for value in wrong[:: 1 if name in ("classes", "fps", "seed") else 4]
        ),
        liked(take({"save_vectors": "victim.npz"}), *own),
        liked(take({"save_vectors": "../home/Documents/thesis.npz"}), *own, film=film),
        liked(take({"output_file": "victim.mp4"}), *own),
        liked(take({"storyboard": "victim.png"}), *own),
        liked(take({"storyboard": "victim.png"}), *own, film=film),
        liked(take({"list_classes": "moon"}), *own),
        liked(take({"song": "../home/.ssh/id_ed25519", "song_sha256": None})),
        liked(take({"song": "victim.wav", "song_sha256": None})),
        liked(take({"song": "/dev/zero", "song_sha256": None})),
        liked(take({"song": "in.wav", "song_sha256": None})),
        liked(take({"vectors": "victim.npz", "vectors_sha256": None}), *own),
        liked(take({"quality": "best"}), *own),
        liked(take({"codec": "-y"}), *own),
        liked(take({"device": "cuda:99999999999"}), *own),
        liked(take({"fps": "1e99999999"}), *own),
        liked(take({"class_names": ["\x1b[2J"], "classes": ["\x1b[2J"]}), *own),
        liked(b"{}"),
        liked(b"{}", *own),
        liked(b"[]"),
        liked(b"null"),
        liked(b"[" * 100_000),
        liked(b"\xff\xfe"),
        liked(b'{"a": ' * 50_000),
        liked(b"[" * 100_000, film=film),
    ]


# -- Weights -------------------------------------------------------------------------------------------------------


def saved(state: object) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def tensors(header: object, data: bytes = b"", size: int | None = None) -> bytes:
    """A safetensors file with any header."""
    head = header if isinstance(header, bytes) else document(header)
    return struct.pack("<Q", len(head) if size is None else size) + head + data


def torch_zip(program: bytes) -> bytes:
    """What torch.save writes, with another pickle in it."""
    return archive(
        {"a/data.pkl": program, "a/version": "3\n", "a/byteorder": "little", "a/data/0": bytes(16)}, zipfile.ZIP_STORED
    )


def weight_attacks(state: Mapping[str, torch.Tensor]) -> st.SearchStrategy[Attack]:
    good, safe = saved(dict(state)), save_tensors(dict(state))
    names = st.sampled_from(sorted(state))
    other = st.sampled_from([torch.zeros(1), torch.zeros(0), torch.zeros(3, 3), torch.zeros(()), 1, "x", None, [1], {}])
    changed = st.builds(
        lambda changes: saved({**state, **changes}), st.dictionaries(names | texts, other, min_size=1, max_size=2)
    )
    header = st.dictionaries(
        texts | names,
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "F64", "I64", "BOOL", "X", 3]),
                "shape": st.lists(st.sampled_from([0, 1, -1, 2**40, 2**63]), max_size=3),
                "data_offsets": st.lists(st.sampled_from([0, 4, -1, 2**40, 2**64 - 1]), max_size=3),
            }
        ),
        max_size=2,
    )
    lying = st.builds(
        tensors, header | junk, st.binary(max_size=8), st.sampled_from([None, 0, 2**63, 2**64 - 1, 10**8])
    )
    pickles = st.builds(
        torch_zip,
        mutations(st.just(pickle.dumps({"a": 1}))) | st.sampled_from([pickle.dumps(Dropper()), pickle.dumps(Opener())]),
    )
    binary = changed | mutations(st.just(cut(good, 0.05))) | mutations(st.just(good)) | pickles | st.just(good)
    config = (
        st.none()
        | st.just(b"{}")
        | st.builds(document, junk)
        | st.builds(
            lambda name, value: document({name: value}),
            st.sampled_from(["output_dim", "z_dim", "layers", "num_classes", "channel_width"]),
            junk,
        )
    )
    return st.builds(
        lambda name, content, config: weighed({name: content, **({"config.json": config} if config else {})}),
        st.just("pytorch_model.bin"),
        binary,
        st.none() | config,
    ) | st.builds(
        lambda content: weighed({"model.safetensors": content}), lying | mutations(st.just(safe)) | st.just(safe)
    )


def known_weights(state: Mapping[str, torch.Tensor]) -> list[Attack]:
    good = saved(dict(state))
    name = "pytorch_model.bin"
    wild = {
        key: torch.full_like(value, float("nan")) if value.is_floating_point() else value
        for key, value in state.items()
    }
    return [
        weighed({name: good}),
        weighed({"model.safetensors": save_tensors(dict(state))}),
        weighed({name: pickle.dumps(Dropper())}),
        weighed({name: pickle.dumps(Opener())}),
        weighed({name: torch_zip(pickle.dumps(Dropper()))}),
        weighed({name: torch_zip(pickle.dumps({"a": Opener()}, protocol=2))}),
        weighed({name: torch_zip(b"\x80\x02c__builtin__\neval\n(X\x05\x00\x00\x00print\x85R.")}),
        weighed({name: saved(dict(wild))}),
        weighed({name: saved({})}),
        weighed({name: saved([1])}),
        weighed({name: b""}),
        weighed({name: cut(good, 0.9)}),
        weighed({name: torch_zip(b"(" * 500_000)}),
        weighed({name: torch_zip(b"\x80\x02" + b"\x8e" + struct.pack("<Q", 2**62))}),
        weighed({"model.safetensors": tensors({}, size=2**63)}),
        weighed({"model.safetensors": tensors(b"[" * 100_000)}),
        weighed({"model.safetensors": tensors({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})}),
        weighed({name: good, "config.json": b"[" * 100_000}),
        weighed({name: good, "config.json": b"\xff"}),
        weighed({name: good, "config.json": document({"output_dim": literal("1e400")})}),
        weighed({name: good, "config.json": document({"output_dim": 128})}),
        weighed({}),
    ]


# -- Names of files ------------------------------------------------------------------------------------------------

NAMES = (
    "-rf",
    "--help",
    "-",
    "a b",
    "a\nb",
    "a\tb",
    "'",
    '"',
    "a'b\"c",
    "%d",
    "%05d",
    "%s%n",
    "$(touch pwned)",
    "`touch pwned`",
    ";touch pwned",
    "a;b|c&d",
    "*",
    "?",
    "[a]",
    "~",
    "~root",
    "#",
    "a#b",
    "a:b",
    "file:a",
    "http://x",
    "concat:a|b",
    "pipe:1",
    "pipe:",
    "é" * 120,
    "x" * 240,
    "x" * 251,
    "\u200b",
    "\u202egnp",
    "\x1b[2J",
    "\x7f",
    b"\xff\xfe",
    b"a\xe9b",
    "a=b",
    "{title}",
    "%(ext)s",
    "ffmpeg",
    ".hidden",
    "..a",
    "a..",
    "con",
    "a\\b",
    "\\",
    "a,b",
    "@a",
    "!a",
    "$HOME",
    "${HOME}",
    "a\rb",
    "=",
    "-y",
    "-i",
    "x" * 256,
    "a/../b",
)


def named(name: str, command: str, where: str) -> Attack:
    """A hostile name for what is read or for what is written."""
    read, suffix = (name, "") if where == "input" else ("in", name)
    song = f"{read}.wav"
    output = f"{suffix or 'out'}{'.mp4' if command == 'draw' else '.wav'}"

    def beside(extension: str) -> str:
        return _escaped(os.path.splitext(output)[0] + extension)

    outputs = [_escaped(output)]
    if command == "song":
        arguments = ("song", "--", song, output)
        outputs.append(beside(".source.json"))
        module = "musicvideo.__main__"
    elif command == "pan":
        arguments = (f"--input={song}", f"--output={output}", "--orbit", "4", "--model", "pan")
        module = "eightd"
    else:
        arguments = (f"--song={song}", *DRAW, "--duration", "0.1", f"--output_file={output}")
        outputs += [_escaped(output) + ".json", *_render(output)]
        module = "visualize"
    cannot = len(os.fsencode(song)) > 255 or "/" in song
    made = ["a"] if output.startswith("a/") else []  # a folder that is missing is made, and a/.. names one
    return Attack(
        module,
        arguments,
        {} if cannot else {song: wav()},
        (*outputs, *made),
        (*made, *(_render(output) if command == "draw" else ())),
    )


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", os.path.normpath(name))


def _render(output: str) -> list[str]:
    place, name = os.path.split(_escaped(output))
    return [os.path.join(place, found) for found in (f".{name}.render", f".{name}.render/*", ".previous_vectors.npz")]


def name_attacks() -> st.SearchStrategy[Attack]:
    pieces = st.lists(
        st.sampled_from(NAMES[:-2]) | st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=6),
        min_size=1,
        max_size=3,
    )
    raw = st.binary(min_size=1, max_size=20).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_"))
    names = pieces.map(lambda found: b"".join(os.fsencode(piece) for piece in found).replace(b"/", b"_")[:251]) | raw
    return st.builds(
        lambda name, command, where: named(os.fsdecode(name), command, where),
        names,
        st.sampled_from(["song", "pan", "draw"]),
        st.sampled_from(["input", "output"]),
    )


def known_names() -> list[Attack]:
    commands = ("song", "pan", "draw")
    return [
        named(os.fsdecode(name), commands[index % 3], where)
        for where in ("input", "output")
        for index, name in enumerate(NAMES, where == "output")
    ]


# -- Numbers on command lines --------------------------------------------------------------------------------------

DRAWN = (
    "--duration",
    "--fps",
    "--crf",
    "--output_size",
    "--resolution",
    "--batch_size",
    "--num_classes",
    "--sort_classes_by_power",
    "--pitch_sensitivity",
    "--tempo_sensitivity",
    "--depth",
    "--jitter",
    "--truncation",
    "--smooth_factor",
    "--frame_length",
    "--seed",
    "--use_previous_classes",
    "--device",
    "--classes",
    "--codec",
    "--precision",
    "--mapping",
)
PANNED = ("--orbit", "--width", "--distance", "--subtype")
FINISHED = ("--width", "--height", "--intro", "--outro", "--pulse", "--title", "--font", "--look", "--codec")


def numbered(option: str, value: str, where: str) -> Attack:
    if where == "draw":
        arguments = ("--song", "in.wav", *DRAW, "--duration", "0.1", f"{option}={value}", "--output_file", "out.mp4")
        return Attack("visualize", arguments, {"in.wav": wav()}, ("out.mp4", "out.mp4.json", *RENDER), RENDER, drawn)
    if where == "pan":
        arguments = (*EIGHTD, "--orbit", "4", "--model", "pan", f"{option}={value}")
        return Attack("eightd", arguments, {"in.wav": wav()}, ("out.wav",), check=heard)
    files = {"p.mkv": picture(), "a.wav": wav(0.3), "t.mix.toml": SMALL_TABLE.encode()}
    if where == "check":
        return Attack("musicvideo.__main__", ("check", "t.mix.toml", "T", f"{option}={value}"), files)
    small = ("--width", "64", "--height", "36", "--intro", "0", "--outro", "0", "--song", "a.wav")
    return Attack(
        "musicvideo.__main__", ("video", "p.mkv", "a.wav", "out.mkv", *small, f"{option}={value}"), files, ("out.mkv",)
    )


def number_attacks() -> st.SearchStrategy[Attack]:
    values = st.sampled_from(TYPED) | st.floats(-2, 30).map(repr) | st.integers(-5, 64).map(str)
    # A large picture is a wish, not an attack: these sizes are refused or small.
    small = st.sampled_from(
        ("0", "-1", "16", "17", "18", "32", "1e99999999", "nan", "9" * 400, "8194", "2147483648", "16.0")
    )
    sized = {"--resolution", "--output_size"}
    return (
        st.builds(numbered, st.sampled_from([name for name in DRAWN if name not in sized]), values, st.just("draw"))
        | st.builds(numbered, st.sampled_from(sorted(sized)), small, st.just("draw"))
        | st.builds(numbered, st.sampled_from(PANNED), values, st.just("pan"))
        | st.builds(numbered, st.sampled_from(FINISHED), values, st.just("check"))
        | st.builds(numbered, st.sampled_from(FINISHED), values.filter(lambda value: value != "1/3"), st.just("video"))
    )


def known_numbers() -> list[Attack]:
    wanted = ("1e99999999", "nan", "inf", "-0", "9" * 400, "1" * 20000)
    return [
        numbered("--seed", "1", "draw"),
        numbered("--distance", "2", "pan"),
        numbered("--intro", "0", "check"),
        numbered("--outro", "0", "video"),
        *(numbered(option, value, "draw") for option in ("--fps", "--duration", "--seed", "--crf") for value in wanted),
        *(numbered(option, value, "pan") for option in PANNED[:3] for value in wanted),
        *(numbered(option, value, "check") for option in FINISHED[:5] for value in wanted),
        numbered("--title", "\u200b", "video"),
        numbered("--title", "\u200b", "check"),
        numbered("--title", "\x1b[2J", "check"),
        numbered("--title", "x" * 10_000, "video"),
        numbered("--font", "x:y=z", "check"),
        numbered("--fps", "1/99999999999999999999", "draw"),
        numbered("--duration", "1e-300", "draw"),
        numbered("--fps", "23.9760239760239", "draw"),
        numbered("--classes", "\x1b[2J", "draw"),
        numbered("--title", "\ud800", "video"),
        numbered("--title", "\udcff", "video"),
        numbered("--intro", "1e-300", "video"),
        numbered("--outro", "1e-300", "video"),
        numbered("--intro", "0.0001", "video"),
    ]


Attacks = Callable[[], tuple[list[Attack], st.SearchStrategy[Attack]]]
