"""Mix the parts of a piece by a table: a Dry mix, and a Wet one with 8D panning and reverb.

Signal flow, as on a mixing desk:

    part -> gain, balance, high-pass -> tremolo -+-> dry bus ------------------------------> master -> Dry
                                                 +-> around the head -+-> wet bus ---------> master -> Wet
                                                                      +-> send -> reverb -> wet bus

A *stem* is a part prepared for both buses. SoX does tremolo and reverb, FFmpeg converts, sums and limits. From the
stems to the master everything is 48 kHz stereo float of one length, so parts stay aligned to the sample.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from math import ceil, cos, pi, sin, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory

from musicvideo.clock import read_clock
from musicvideo.errors import MediaError
from musicvideo.files import atomic, lock, sha256
from musicvideo.sound.effects import apply_effect, apply_filters, sum_files
from musicvideo.sound.mastering import master_file
from musicvideo.sound.models import load_model
from musicvideo.sound.panning import Motion, orbit, read_motion, read_panning
from musicvideo.sound.sofa import find_kemar
from musicvideo.sound.soundfiles import is_mono, open_sound, peak
from musicvideo.sound.spatial import render_file
from musicvideo.sound.table import Mix, Part, Reverb

RATE = 48_000  # Hz
CHECKSUMS = "SHA256SUMS"  # file in a stem's folder with the checksums of its sounds
UNFINISHED = ".making-"  # prefix of unfinished folders, which the next run deletes


def _work_folder(stems: Path) -> TemporaryDirectory:
    """A temporary folder among the stems, on their disk; the next run deletes it if this one is killed."""
    return TemporaryDirectory(prefix=UNFINISHED, dir=stems)


def steps(mix: Mix) -> int:
    """How many times `make_mixes` calls its `progress`."""
    return len(mix.parts) + len(mix.reverbs) + 2


def make_mixes(
    mix: Mix,
    dry: str | os.PathLike,
    wet: str | os.PathLike,
    *,
    stems: str | os.PathLike | None = None,
    progress: Callable[[], object] = lambda: None,
) -> bool:
    """Write the Dry and the Wet mix: 48 kHz, 24 bit, of the same length, the longest part's plus the tail.

    Args:
        mix: what `musicvideo.sound.table.read_mix` returns.
        dry, wet: the files to write.
        stems: folder in which stems are kept, so that the next mix makes only those that changed or are damaged. Stems
            that this mix does not use are deleted. Beside it, `<stems>.made` records the inputs of both mixes: if
            they are the same, and none is newer, the mixes stay as they are. None keeps nothing.
        progress: called after each of `steps(mix)` steps.

    Returns:
        Whether the mixes were written.

    Raises:
        MediaError: a part that is missing or no sound, a fault in the panning score, a mix that cannot be that loud, or
            another mix with the same stems is running.
    """
    with ExitStack() as stack:
        if stems is None:
            kept = Path(stack.enter_context(TemporaryDirectory(prefix="mix-")))
            note = None
        else:
            kept, note = Path(stems), Path(f"{stems}.made")
            stack.enter_context(lock(f"{stems}.lock", f"{dry}: another run is mixing it (wait until it has finished)"))
            kept.mkdir(parents=True, exist_ok=True)
            for left_behind in kept.glob(f"{UNFINISHED}*"):
                shutil.rmtree(left_behind, ignore_errors=True)
        length = mix_length(mix)
        motions = {name: read_part_motion(mix, part, length / RATE) for name, part in mix.parts.items() if part.moves}
        folders = {name: kept / f"{name}-{fingerprint(mix, part, length)}" for name, part in mix.parts.items()}
        made_of = repr([replace(mix, table=None), sorted(folder.name for folder in folders.values())])
        if note and _is_made(note, made_of, mix.files, [dry, wet]):
            return False

        def require_stem(name: str) -> None:
            sounds = ("dry.wav", "wet.wav") if name in motions else ("dry.wav",)
            if not _is_whole(folders[name], sounds):
                _make_stem(mix.parts[name], folders[name], sounds, length, motions.get(name))
            progress()

        with atomic(dry) as dry_partial, atomic(wet) as wet_partial, _work_folder(kept) as work:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(require_stem, mix.parts))  # a list, so that an error shows
            _make_buses(mix, folders, Path(work), dry_partial, wet_partial, progress)
        if note:
            with atomic(note) as partial:
                partial.write_bytes(_made(made_of, [dry, wet]))
            for folder in kept.iterdir():
                if folder not in folders.values() and not folder.name.startswith("."):  # hidden files are not ours
                    shutil.rmtree(folder, ignore_errors=True)
    return True


def _make_buses(mix: Mix, folders: dict[str, Path], work: Path, dry: Path, wet: Path, progress: Callable) -> None:
    """Sum the stems, add the reverbs, and master both mixes."""
    dry_stems = {name: folder / "dry.wav" for name, folder in folders.items()}
    wet_stems = {name: folder / ("wet.wav" if mix.parts[name].moves else "dry.wav") for name, folder in folders.items()}
    dry_parts, wet_parts = (bus.parts or list(mix.parts) for bus in (mix.buses.dry, mix.buses.wet))
    wet_inputs = {wet_stems[name]: 0.0 for name in wet_parts}
    for name, reverb in mix.reverbs.items():
        sends = {wet_stems[part]: mix.parts[part].send for part in wet_parts if mix.parts[part].reverb == name}
        if sends:
            sum_files(sends, work / "send.wav")
            add_reverb(work / "send.wav", work / f"return-{name}.wav", reverb)
            wet_inputs[work / f"return-{name}.wav"] = reverb.gain
        progress()
    sum_files({dry_stems[name]: 0.0 for name in dry_parts}, work / "dry.wav", gain=mix.buses.dry.gain)
    master_file(work / "dry.wav", dry, mix.master)
    progress()
    sum_files(wet_inputs, work / "wet.wav", gain=mix.buses.wet.gain)
    master_file(work / "wet.wav", wet, mix.master)
    progress()


def _is_made(
    note: Path, made_of: str, inputs: Sequence[str | os.PathLike], outputs: Sequence[str | os.PathLike]
) -> bool:
    """Whether the outputs match the note, were made of `made_of`, and are no older than any input."""
    try:
        if max(map(os.path.getmtime, inputs)) > min(map(os.path.getmtime, outputs)):  # as make decides
            return False
        return note.read_bytes() == _made(made_of, outputs)
    except OSError:  # a mix or the note is missing, or something else lies there
        return False


def _made(made_of: str, outputs: Sequence[str | os.PathLike]) -> bytes:
    return "\n".join([made_of, *map(sha256, outputs)]).encode()


def _is_whole(folder: Path, sounds: Sequence[str]) -> bool:
    """Whether a stem exists, and its sounds match their checksums."""
    try:
        return (folder / CHECKSUMS).read_bytes() == _checksums(folder, sounds)
    except OSError:
        return False


def _checksums(folder: Path, sounds: Sequence[str]) -> bytes:
    return "".join(f"{sha256(folder / name)}  {name}\n" for name in sounds).encode()


def _make_stem(part: Part, folder: Path, sounds: Sequence[str], length: int, motion: Motion | None) -> None:
    """Make the folder of a stem: `dry.wav`, `wet.wav` around the head if the part moves, and their checksums."""
    with _work_folder(folder.parent) as work:
        making = Path(work) / "stem"
        making.mkdir()
        prepare(part, making / "dry.wav", length)
        if motion:
            render_file(
                making / "dry.wav",
                making / "wet.wav",
                motion,
                load_model(part.model),
                width=0.0 if is_mono(part.file) else part.width,
                limited=False,
            )
        (making / CHECKSUMS).write_bytes(_checksums(making, sounds))
        if folder.is_dir():  # a damaged one
            shutil.rmtree(folder)
        os.replace(making, folder)


def fingerprint(mix: Mix, part: Part, length: int) -> str:
    """Hash of everything that determines a stem: sound, settings, motion, clock, and the code that makes it."""
    digest = hashlib.sha256()
    digest.update(repr([replace(part, reverb=None, send=0.0), length, sha256(part.file)]).encode())
    if part.moves:
        digest.update(str(find_kemar()).encode())  # decides the default model
    if part.set is not None and mix.panning:
        digest.update(json.dumps(read_panning(mix.panning.score, part.set)[part.set]).encode())
        digest.update(Path(mix.panning.clock).read_bytes() if mix.panning.clock else b"")
    for module in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


def mix_length(mix: Mix) -> int:
    """Samples of the finished mix: its longest part and the tail.

    Raises:
        MediaError: a part is missing or no sound.
    """
    longest = 0
    for name, part in mix.parts.items():
        if not os.path.exists(part.file):
            raise MediaError(
                f"{mix.table}: [parts.{name}]: {part.file}: no such file (for parts of a score: `make scores` "
                "writes them)"
            )
        with open_sound(part.file) as sound:
            longest = max(longest, ceil(sound.frames * RATE / sound.samplerate))
    return longest + round(mix.master.tail * RATE)


def read_part_motion(mix: Mix, part: Part, duration: float) -> Motion:
    """The motion of a part that moves, for `duration` seconds."""
    if part.orbit is not None:
        return orbit(part.orbit, distance=part.distance)
    if part.set is None or mix.panning is None:
        raise ValueError(f"part: {part.file} does not move")
    clock = read_clock(mix.panning.clock) if mix.panning.clock else None
    return read_motion(mix.panning.score, part.set, clock, duration, distance=part.distance)


def prepare(part: Part, target: Path, length: int) -> None:
    """Write a part for the mix: gain, balance, high-pass and tremolo applied, 48 kHz stereo float.

    Args:
        length: samples of the result; the part is cut, or silence appended.
    """
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
    peak(part.file)  # refuses samples that are not numbers, which filters would pass on
    plain = target.with_suffix(".plain.wav") if part.tremolo else target
    apply_filters(part.file, plain, filters)
    if part.tremolo:
        apply_effect(plain, target, ["tremolo", part.tremolo.speed, part.tremolo.depth])
        plain.unlink()


def add_reverb(source_path: Path, target: Path, reverb: Reverb) -> None:
    """Write the reverberation of a sound, without the sound itself."""
    apply_effect(
        source_path,
        target,
        ["reverb", "--wet-only", reverb.reverberance, reverb.damping, reverb.room, reverb.stereo, reverb.predelay, 0],
    )
