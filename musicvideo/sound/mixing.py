"""Mix the parts of a piece by a table: a Dry mix, and a Wet one with 8D panning and reverb.

Signal flow, as on a desk:

    part -> gain, balance, high-pass -> tremolo -+-> dry bus ------------------------------> master -> Dry
                                                 +-> around the head -+-> wet bus ---------> master -> Wet
                                                                      +-> send -> reverb -> wet bus

SoX does tremolo and reverb, FFmpeg converts, sums and limits. Between the first step and the last everything is
48 kHz stereo float of one length, so parts stay aligned to the sample.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from math import ceil, cos, isfinite, log10, pi, sin, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from musicvideo.errors import MediaError
from musicvideo.ffmpeg import SAFE_INPUT, source
from musicvideo.files import atomic, require_file, sha256
from musicvideo.programs import run
from musicvideo.sound.clock import read_clock
from musicvideo.sound.panning import Motion, orbit, read_motion, read_panning
from musicvideo.sound.schema import find_fault, nearest
from musicvideo.sound.spatial import find_kemar, load_model, open_sound, render_file

try:
    import tomllib
except ModuleNotFoundError:       # Python 3.10
    import tomli as tomllib

RATE = 48_000                     # Hz
SOX_PEAK = -30.0                  # dB full scale of what SoX is given, for a reverb adds up to some 20 dB
FLOAT_WAV = ("-c:a", "pcm_f32le")
PROFILES = {"youtube": -14.0, "spotify": -14.0, "apple": -16.0, "broadcast": -23.0, "none": None}    # LUFS
LOUDNESS_TOLERANCE = 0.1          # LU within which a master is done
PEAK_MARGIN = 0.05                # dB under the ceiling that the limiter aims at
LIMITER_OVERSAMPLING = 4          # ITU-R BS.1770 measures true peaks at 4 times 48 kHz
LIMITER_ATTACK = 0.005            # seconds of look-ahead, which FFmpeg's limiter delays the sound by
SILENCE = -70.0                   # LUFS: the absolute gate of BS.1770, below which there is no loudness


@dataclass(frozen=True)
class Tremolo:
    """Amplitude modulation, like the motor of a vibraphone."""

    speed: float                  # Hz
    depth: float                  # percent


@dataclass(frozen=True)
class Reverb:
    """A room, in SoX's terms (the Freeverb algorithm)."""

    reverberance: float = 50.0    # percent
    damping: float = 50.0         # percent, of high frequencies
    room: float = 100.0           # percent
    stereo: float = 100.0         # percent
    predelay: float = 0.0         # ms
    gain: float = 0.0             # dB, of what comes back


@dataclass(frozen=True)
class Part:
    """One track of the mix."""

    file: str
    gain: float = 0.0             # dB
    balance: float = 0.0          # -1 left to 1 right
    highpass: float | None = None         # Hz
    tremolo: Tremolo | None = None
    set: str | None = None        # of the panning score
    orbit: float | None = None    # seconds a turn
    model: str | None = None      # None is the best there is
    width: float = 0.5            # 0 to 1
    distance: float = 1.0         # metres
    reverb: str | None = None     # name of a reverb
    send: float = 0.0             # dB

    @property
    def moves(self) -> bool:
        return self.set is not None or self.orbit is not None


@dataclass(frozen=True)
class Bus:
    """A sum of parts."""

    parts: Sequence[str]
    gain: float = 0.0             # dB


@dataclass(frozen=True)
class Master:
    """What a finished mix must be."""

    loudness: float | None = PROFILES["youtube"]      # LUFS integrated; None leaves it as it comes
    ceiling: float = -1.0         # dBTP
    tail: float = 4.0             # seconds after the longest part
    fade: float = 1.0             # seconds of fade-out at the end of the tail


@dataclass(frozen=True)
class Mix:
    """A whole mix table."""

    parts: Mapping[str, Part]
    dry: Bus
    wet: Bus
    reverbs: Mapping[str, Reverb] = field(default_factory=dict)
    panning_score: str | None = None
    clock: str | None = None
    master: Master = Master()
    table: str | None = None      # the file it was read from

    @property
    def files(self) -> list[str]:
        """Everything it is made from."""
        scored = any(part.set is not None for part in self.parts.values())
        score = [self.panning_score, self.clock] if scored else []
        sources = [*(part.file for part in self.parts.values()), *score, self.table]
        return [path for path in sources if path is not None]


@dataclass(frozen=True)
class Loudness:
    """What EBU R128 says of a sound."""

    integrated: float             # LUFS
    range: float                  # LU
    true_peak: float              # dBTP


def read_mix(path: str | os.PathLike, title: str) -> Mix:
    """Read and check a mix table.

    Args:
        title: stands for `{title}` in the table's paths.

    Raises:
        MediaError: not TOML, a key that is not known (with the nearest that is), a value out of range, a part, reverb,
            panning score or set of it that is named but not there. Sounds and clock are not looked at yet.
    """
    require_file(path)
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"), parse_float=_finite)
    except ValueError as error:
        raise MediaError(f"{path}: not TOML ({error})") from None
    fault = find_fault(table, "mix.schema.json")
    if fault:
        place = ".".join(map(str, fault.path))
        raise MediaError(f"{path}: {f'[{place}]: ' if place else ''}{fault.message}")

    parts = {}
    for name, settings in table["parts"].items():
        settings["file"] = settings["file"].replace("{title}", title)
        if "tremolo" in settings:
            settings["tremolo"] = Tremolo(**settings["tremolo"])
        parts[name] = Part(**settings)
    buses = {name: Bus(**{"parts": list(parts), **table.get("buses", {}).get(name, {})}) for name in ("dry", "wet")}
    reverbs = {name: Reverb(**settings) for name, settings in table.get("reverbs", {}).items()}
    panning = {key: value.replace("{title}", title) for key, value in table.get("panning", {}).items()}
    master = dict(table.get("master", {}))
    if "profile" in master:
        master["loudness"] = PROFILES[master.pop("profile")]

    for name, part in parts.items():
        if part.reverb is not None and part.reverb not in reverbs:
            raise MediaError(f"{path}: [parts.{name}]: unknown reverb '{part.reverb}', "
                             f"{nearest(part.reverb, list(reverbs))}")
        if part.set is not None and not panning:
            raise MediaError(f"{path}: [parts.{name}]: a set needs a panning score: add [panning] with score and clock")
        if part.set is not None and part.set not in (sets := read_panning(panning["score"])):
            raise MediaError(f"{path}: [parts.{name}]: {panning['score']} has no set \"{part.set}\", "
                             f"{nearest(part.set, list(sets))}")
    for bus_name, bus in buses.items():
        for name in bus.parts:
            if name not in parts:
                raise MediaError(f"{path}: [buses.{bus_name}]: unknown part '{name}', {nearest(name, list(parts))}")
    return Mix(parts, **buses, reverbs=reverbs, panning_score=panning.get("score"), clock=panning.get("clock"),
               master=Master(**master), table=os.fspath(path))


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text} is no level and no time")
    return value


def steps(mix: Mix) -> int:
    """How many times `make_mixes` calls its `progress`."""
    return len(mix.parts) + len(mix.reverbs) + 2


def make_mixes(mix: Mix, dry: str | os.PathLike, wet: str | os.PathLike, *,
               stems: str | os.PathLike | None = None, progress: Callable[[], object] = lambda: None) -> bool:
    """Write the Dry and the Wet mix: 48 kHz, 24 bit, of the same length, the longest part's plus the tail.

    Args:
        mix: what `read_mix` returns.
        dry, wet: the files to write.
        stems: folder in which finished parts are kept, so that the next mix makes only those that changed; what
            this mix does not use is deleted from it. Beside it, `<stems>.made` says what both mixes were made of: they
            stay as they are if that is the same, and no file of it is newer. None keeps nothing.
        progress: called after each of `steps(mix)` steps.

    Returns:
        Whether the mixes were written.

    Raises:
        MediaError: a part that is missing or no sound, a fault in the panning score, a mix that cannot be that loud.
    """
    length = mix_length(mix)
    motions = {name: read_part_motion(mix, part, length / RATE) for name, part in mix.parts.items() if part.moves}
    stem_names = {name: f"{name}-{fingerprint(mix, part, length)}" for name, part in mix.parts.items()}
    made_of = repr([replace(mix, table=None), stem_names])
    note = Path(f"{stems}.made") if stems else None
    if note and _is_made(note, made_of, mix.files, [dry, wet]):
        return False

    with TemporaryDirectory(prefix="mix-") as folder, atomic(dry) as dry_partial, atomic(wet) as wet_partial:
        work = Path(folder)
        kept = Path(stems) if stems else work / "stems"
        kept.mkdir(parents=True, exist_ok=True)

        def make_part(name: str) -> None:
            stem = kept / stem_names[name]
            if not stem.exists():
                with TemporaryDirectory(prefix=".", dir=kept) as making:
                    make_stem(mix.parts[name], Path(making) / "stem", length, motions.get(name))
                    os.rename(Path(making) / "stem", stem)
            os.symlink(stem.resolve() / "dry.wav", work / f"{name}-dry.wav")
            os.symlink(stem.resolve() / ("wet.wav" if name in motions else "dry.wav"), work / f"{name}-wet.wav")
            progress()

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(make_part, mix.parts))             # a list, so that an error shows
        wet_inputs = {work / f"{name}-wet.wav": 0.0 for name in mix.wet.parts}
        for name, reverb in mix.reverbs.items():
            sends = {work / f"{part}-wet.wav": mix.parts[part].send
                     for part in mix.wet.parts if mix.parts[part].reverb == name}
            if sends:
                sum_files(sends, work / "send.wav")
                add_reverb(work / "send.wav", work / f"return-{name}.wav", reverb)
                wet_inputs[work / f"return-{name}.wav"] = reverb.gain
            progress()
        sum_files({work / f"{name}-dry.wav": 0.0 for name in mix.dry.parts}, work / "dry.wav", gain=mix.dry.gain)
        master_file(work / "dry.wav", dry_partial, mix.master)
        progress()
        sum_files(wet_inputs, work / "wet.wav", gain=mix.wet.gain)
        master_file(work / "wet.wav", wet_partial, mix.master)
        progress()
    if note:
        with atomic(note) as partial:
            partial.write_text(_made(made_of, [dry, wet]))
        for stem in Path(stems).iterdir():
            # What is hidden is not ours, or another mix is making it.
            if stem.name not in stem_names.values() and not stem.name.startswith("."):
                shutil.rmtree(stem)
    return True


def _is_made(note: Path, made_of: str, inputs: Sequence[str | os.PathLike], outputs: Sequence[str | os.PathLike]) -> bool:
    """Whether the outputs are those of the note, made of what is asked for, and no older than any input."""
    if not all(map(os.path.exists, [note, *outputs])):
        return False
    if max(map(os.path.getmtime, inputs)) > min(map(os.path.getmtime, outputs)):       # touched, as make has it
        return False
    return note.read_text() == _made(made_of, outputs)


def _made(made_of: str, outputs: Sequence[str | os.PathLike]) -> str:
    return "\n".join([made_of, *map(sha256, outputs)])


def make_stem(part: Part, folder: Path, length: int, motion: Motion | None) -> None:
    """A part as the mixes take it: `dry.wav`, and `wet.wav`, moved around the head if it moves."""
    folder.mkdir()
    prepare(part, folder / "dry.wav", length)
    if motion:
        render_file(folder / "dry.wav", folder / "wet.wav", motion, load_model(part.model),
                    width=0.0 if is_mono(part.file) else part.width)


def fingerprint(mix: Mix, part: Part, length: int) -> str:
    """Of all that makes a stem what it is: sound, settings, motion, clock, and the code that makes it."""
    digest = hashlib.sha256()
    digest.update(repr([replace(part, reverb=None, send=0.0), length, sha256(part.file)]).encode())
    if part.moves:
        digest.update(str(find_kemar()).encode())            # what the best model is
    if part.set is not None:
        digest.update(json.dumps(read_panning(mix.panning_score)[part.set]).encode())
        digest.update(Path(mix.clock).read_bytes() if mix.clock else b"")
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


def mix_length(mix: Mix) -> int:
    """Samples of the finished mix: its longest part and the tail."""
    longest = 0
    for part in mix.parts.values():
        with open_sound(part.file) as sound:
            longest = max(longest, ceil(sound.frames * RATE / sound.samplerate))
    return longest + round(mix.master.tail * RATE)


def read_part_motion(mix: Mix, part: Part, duration: float) -> Motion:
    """How a part moves, for `duration` seconds."""
    if part.orbit is not None:
        return orbit(part.orbit, distance=part.distance)
    clock = read_clock(mix.clock) if mix.clock else None
    return read_motion(mix.panning_score, part.set, clock, duration, distance=part.distance)


def prepare(part: Part, target: Path, length: int) -> None:
    """A part as it enters the mix: 48 kHz stereo float, `length` samples, with its gain, balance, high-pass and tremolo."""
    # Equal power, 0 dB in the middle.
    left, right = (sqrt(2) * wave(pi / 4 * (1 + part.balance)) for wave in (cos, sin))
    filters = [
        f"aresample={RATE}",
        f"pan=stereo|c0={left}*c0|c1={right}*c{0 if is_mono(part.file) else 1}",
        f"volume={part.gain}dB:precision=float",
        *([f"highpass=f={part.highpass}"] if part.highpass else []),
        f"apad=whole_len={length}",
        f"atrim=end_sample={length}",
    ]
    peak(part.file)                        # refuses what is no number, which filters carry into all that follows
    plain = target.with_suffix(".plain.wav") if part.tremolo else target
    ffmpeg(part.file, plain, filters)
    if part.tremolo:
        sox(plain, target, ["tremolo", part.tremolo.speed, part.tremolo.depth])
        plain.unlink()


def is_mono(path: str | os.PathLike) -> bool:
    """Whether a sound file has one channel."""
    with open_sound(path) as sound:
        return sound.channels == 1


def add_reverb(source_path: Path, target: Path, reverb: Reverb) -> None:
    """What a room gives back of a sound, without the sound itself."""
    sox(source_path, target, ["reverb", "--wet-only", reverb.reverberance, reverb.damping, reverb.room, reverb.stereo,
                              reverb.predelay, 0])


def sum_files(inputs: Mapping[Path, float], target: Path, *, gain: float = 0.0) -> None:
    """Add up sound files of one rate and length.

    Args:
        inputs: a gain in dB for each file.
        gain: dB, of the sum.
    """
    levels = [f"[{index}]volume={level + gain}dB:precision=float[in{index}]"
              for index, level in enumerate(inputs.values())]
    # Left to itself, amix divides by the number of inputs, and swells whenever one ends.
    total = "".join(f"[in{index}]" for index in range(len(inputs)))
    graph = ";".join([*levels, f"{total}amix=inputs={len(inputs)}:duration=longest:normalize=0"])
    files = [argument for path in inputs for argument in ("-i", source(path))]
    run(["ffmpeg", "-v", "error", "-y", *files, "-filter_complex", graph, *FLOAT_WAV, target], doing="mixing")


def loudness_curves(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Loudness of a sound file as it goes on, by ITU-R BS.1770 and EBU Tech 3341 and 3342 (FFmpeg's ebur128).

    Returns:
        One value every 0.1 s: "M" and "S", momentary and short-term loudness (LUFS); and for all so far "I",
        integrated loudness (LUFS), "LRA", loudness range (LU), "true_peak" (1 is full scale).
    """
    printed = run(["ffmpeg", "-v", "error", "-i", source(path), "-af",
                   "ebur128=peak=true:metadata=1,ametadata=print:file=-", "-f", "null", "-"],
                  doing=f"measuring {path}").decode()
    return {key: np.array([float(value) for value in re.findall(rf"lavfi\.r128\.{key}=(\S+)", printed)])
            for key in ("M", "S", "I", "LRA", "true_peak")}


def measure(path: str | os.PathLike) -> Loudness:
    """Loudness and true peak of a whole sound file.

    Raises:
        MediaError: nothing to be heard in it.
    """
    curves = loudness_curves(path)
    if not len(curves["I"]) or curves["I"][-1] <= SILENCE:
        raise MediaError("the mix is silent, or shorter than 0.4 s: there is no loudness to set; check the parts")
    return Loudness(float(curves["I"][-1]), float(curves["LRA"][-1]), 20 * log10(curves["true_peak"][-1]))


def master_file(source_path: Path, target: Path, master: Master) -> None:
    """Fade, set the loudness, limit the true peak, and write 24 bit.

    The limiter takes away loudness and the return to 48 kHz adds to the peaks, so both are measured on the result and
    set again until they are right.

    Raises:
        MediaError: silent, or so dynamic that it cannot be that loud under the ceiling.
    """
    with open_sound(source_path) as sound:
        length = sound.frames
    fade = min(master.fade, length / RATE)
    gain = 0.0 if master.loudness is None else master.loudness - measure(source_path).integrated
    limit = master.ceiling - PEAK_MARGIN
    limiter_rate = RATE * LIMITER_OVERSAMPLING
    delay = round(LIMITER_ATTACK * limiter_rate) - 1
    with TemporaryDirectory(prefix="master-", dir=source_path.parent) as folder:
        attempt = Path(folder) / "attempt.wav"
        for _ in range(8):
            ffmpeg(source_path, attempt, [
                f"volume={gain}dB:precision=float",
                *([f"afade=t=out:st={length / RATE - fade}:d={fade}"] if fade else []),
                f"aresample={limiter_rate}",
                f"apad=pad_len={delay}",
                f"alimiter=limit={10 ** (limit / 20)}:attack={LIMITER_ATTACK * 1000}:level=disabled",
                f"atrim=start_sample={delay}",
                "asetpts=PTS-STARTPTS",
                f"aresample={RATE}",
                f"apad=whole_len={length}",
                f"atrim=end_sample={length}",
            ], "-c:a", "pcm_s24le")
            result = measure(attempt)
            too_soft = 0.0 if master.loudness is None else master.loudness - result.integrated
            too_high = result.true_peak - master.ceiling
            if abs(too_soft) <= LOUDNESS_TOLERANCE and too_high <= 0:
                shutil.move(attempt, target)
                return
            gain += too_soft
            limit -= max(0.0, too_high + PEAK_MARGIN)
    raise MediaError(f"the mix came to {result.integrated:.1f} LUFS with peaks at {result.true_peak:.1f} dBTP, and not "
                     f"nearer to its target: set a lower loudness in [master]")


def ffmpeg(source_path: str | os.PathLike, target: Path, filters: Sequence[str], *output: str) -> None:
    """Send one sound file through a chain of filters."""
    run(["ffmpeg", "-v", "error", "-y", *SAFE_INPUT, "-i", source(source_path),
         "-af", ",".join(filters), *(output or FLOAT_WAV), target], doing=f"mixing {source_path}")


def sox(source_path: Path, target: Path, effect: Sequence[object]) -> None:
    """Send one sound file through a linear effect of SoX, at any level.

    SoX counts in integers, even from float to float: it clips what is above full scale, and rounds to 24 bits below. So
    it gets the sound at `SOX_PEAK`, and the level it came with is given back afterwards.
    """
    scale = 10 ** (SOX_PEAK / 20) / max(peak(source_path), 1e-9)
    given, done = target.with_suffix(".given.wav"), target.with_suffix(".done.wav")
    ffmpeg(source_path, given, [f"volume={scale}:precision=float"])
    run(["sox", given, "-e", "floating-point", "-b", "32", done, *map(str, effect)], doing=f"mixing {source_path.stem}")
    ffmpeg(done, target, [f"volume={1 / scale}:precision=float"])
    given.unlink()
    done.unlink()


def peak(path: str | os.PathLike) -> float:
    """The largest sample of a sound file; 1 is full scale.

    Raises:
        MediaError: a sample is not a number.
    """
    with open_sound(path) as sound:
        largest = np.max([np.abs(block).max() for block in sound.blocks(1 << 16, dtype="float32")])
    if not isfinite(largest):
        raise MediaError(f"{path}: holds samples that are not numbers (NaN or infinite); export it again")
    return float(largest)
