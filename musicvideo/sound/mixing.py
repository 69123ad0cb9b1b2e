"""Mix the parts of a piece by a table: a Dry mix, and a Wet one with 8D panning and reverb.

Signal flow, as on a mixing desk:

    part -> gain, balance, high-pass -> tremolo -+-> dry bus ------------------------------> master -> Dry
                                                 +-> around the head -+-> wet bus ---------> master -> Wet
                                                                      +-> send -> reverb -> wet bus

A *stem* is a part prepared for both buses. A *rehearsal* of a part is the dry bus with that part in front. SoX does
tremolo and reverb, FFmpeg converts, sums and limits. From the stems to the master everything is 48 kHz stereo float of
one length, so parts stay aligned to the sample.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import ceil, cos, pi, sin, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory

from musicvideo import panning
from musicvideo.clock import read_clock
from musicvideo.errors import MediaError
from musicvideo.files import atomic, lock, require_file, sha256
from musicvideo.panning import Motion, orbit, read_motion, read_panning
from musicvideo.sound.effects import apply_effect, apply_filters, sum_files
from musicvideo.sound.mastering import ABSOLUTE_GATE, OutOfReach, master_file, measure
from musicvideo.sound.models import load_model
from musicvideo.sound.sofa import find_kemar
from musicvideo.sound.soundfiles import is_mono, open_sound, peak
from musicvideo.sound.spatial import render_file
from musicvideo.sound.table import Mix, Part, Reverb

RATE = 48_000  # Hz
CHECKSUMS = "SHA256SUMS"  # file in a stem's folder with the checksums of its sounds
BEHIND = -12.0  # dB, of the other parts in a rehearsal
UNFINISHED = ".making-"  # prefix of unfinished folders, which the next run deletes


def _work_folder(stems: Path) -> TemporaryDirectory:
    """A temporary folder among the stems, on their disk; the next run deletes it if this one is killed."""
    return TemporaryDirectory(prefix=UNFINISHED, dir=stems)


def steps(mix: Mix, *, rehearsals: bool = False) -> int:
    """How many times `make_mixes` and, if asked for, `make_rehearsals` call their `progress`."""
    return len(mix.parts) * (3 if rehearsals else 1) + len(mix.reverbs) + 2


@dataclass(frozen=True)
class _Stems:
    """The stems of a mix, in the folder that keeps them."""

    mix: Mix
    kept: Path
    length: int  # samples of each
    motions: Mapping[str, Motion]  # of the parts that move
    folders: dict[str, Path]  # of each part
    made_of: str  # everything that decides the mixes

    @classmethod
    @contextmanager
    def open(
        cls, mix: Mix, stems: Path, doing: str | os.PathLike, motions: Mapping[str, Motion] | None = None
    ) -> Iterator[_Stems]:
        """Lock the folder and find out which stems there must be."""
        with lock(f"{stems}.lock", f"{doing}: another run is mixing it (wait until it has finished)"):
            stems.mkdir(parents=True, exist_ok=True)
            for left_behind in stems.glob(f"{UNFINISHED}*"):
                shutil.rmtree(left_behind, ignore_errors=True)
            length = mix_length(mix)
            moving = motions or {
                name: read_part_motion(mix, part, length / RATE) for name, part in mix.parts.items() if part.moves
            }
            folders = {name: stems / f"{name}-{fingerprint(mix, part, length)}" for name, part in mix.parts.items()}
            made_of = repr([replace(mix, table=None), sorted(folder.name for folder in folders.values())])
            yield cls(mix, stems, length, moving, folders, made_of)

    def require(self, progress: Callable[[], object]) -> None:
        """Make the stems that are missing or damaged; calls `progress` after each part."""

        def require_stem(name: str) -> None:
            sounds = ("dry.wav", "wet.wav") if name in self.motions else ("dry.wav",)
            if not _is_whole(self.folders[name], sounds):
                _make_stem(self.mix.parts[name], self.folders[name], sounds, self.length, self.motions.get(name))
            progress()

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(require_stem, self.mix.parts))  # a list, so that an error shows


def make_mixes(
    mix: Mix,
    dry: str | os.PathLike,
    wet: str | os.PathLike,
    *,
    stems: str | os.PathLike | None = None,
    motions: Mapping[str, Motion] | None = None,
    progress: Callable[[], object] = lambda: None,
) -> bool:
    """Write the Dry and the Wet mix: 48 kHz, 24 bit, of the same length, the longest part's plus the tail.

    Args:
        mix: what `musicvideo.sound.table.read_mix` returns.
        dry, wet: the files to write.
        stems: folder in which stems are kept, so that the next mix makes only those that changed or are damaged. Stems
            that this mix does not use are deleted. Beside it, `<stems>.made` records the inputs of both mixes: if
            they are the same, and none is newer, the mixes stay as they are. None keeps nothing.
        motions: of all parts that move, in place of those of the table, as for an excerpt; nothing can be kept then.
        progress: called after each of `steps(mix)` steps.

    Returns:
        Whether the mixes were written.

    Raises:
        MediaError: a part that is missing or no sound, a fault in the panning score, a mix that cannot be that loud, or
            another mix with the same stems is running.
    """
    with ExitStack() as stack:
        folder = Path(stems or stack.enter_context(TemporaryDirectory(prefix="mix-")) + "/stems")
        note = Path(f"{folder}.made")
        made = stack.enter_context(_Stems.open(mix, folder, dry, motions))
        if _is_made(note, made.made_of, mix.files, [dry, wet]):
            return False
        with atomic(dry) as dry_partial, atomic(wet) as wet_partial, _work_folder(folder) as work:
            made.require(progress)
            _make_buses(mix, made.folders, Path(work), dry_partial, wet_partial, progress)
        with atomic(note) as partial:
            partial.write_bytes(_made(made.made_of, [dry, wet]))
        for other in folder.iterdir():
            if other not in made.folders.values() and not other.name.startswith("."):  # hidden files are not ours
                shutil.rmtree(other, ignore_errors=True)
    return True


def make_rehearsals(
    mix: Mix,
    wet: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    stems: str | os.PathLike,
    notice: Callable[[str], object],
    progress: Callable[[], object] = lambda: None,
) -> bool:
    """Write a rehearsal of each part: that part in front, the others of the dry bus `BEHIND` dB softer.

    Each is as long and as loud as the mixes, and has no effects. `<folder>.json` lists them, and what they were made
    of; if that is the same, they stay as they are. Nothing is written for a mix of one part.

    Args:
        mix: as of `make_mixes`.
        wet: the Wet mix, which says how loud they are where the table does not.
        folder: where `<part>.wav` are written. Other sounds in it are deleted.
        stems: as of `make_mixes`.
        notice: told in a line which part has none, as it is silent or cannot be that loud.
        progress: called twice for each part.

    Returns:
        Whether they were written.

    Raises:
        MediaError: as `make_mixes`.
    """
    folder, listed = Path(folder), Path(f"{folder}.json")
    with _Stems.open(mix, Path(stems), folder) as made:
        made_of = hashlib.sha256(repr([made.made_of, BEHIND]).encode()).hexdigest()
        if _are_listed(listed, made_of):
            return False
        folder.mkdir(parents=True, exist_ok=True)
        with _work_folder(made.kept) as work:
            made.require(progress)
            dry_stems = {name: each / "dry.wav" for name, each in made.folders.items()}
            target = measure(wet).integrated if mix.master.target is None else mix.master.target

            def rehearse(name: str) -> dict[str, str] | None:
                others = [other for other in mix.buses.dry.parts or mix.parts if other != name]
                found = None
                if peak(dry_stems[name]) <= 10 ** (ABSOLUTE_GATE / 20):
                    notice(f"part {name} is silent: it has no rehearsal stream")
                elif others:
                    levels = {dry_stems[name]: 0.0, **{dry_stems[other]: BEHIND for other in others}}
                    place = folder / f"{name}.wav"
                    sum_files(levels, Path(work) / place.name, gain=mix.buses.dry.gain)
                    try:
                        with atomic(place) as partial:
                            master_file(Path(work) / place.name, partial, replace(mix.master, loudness=target))
                        found = {"part": name, "file": place.as_posix(), "sha256": sha256(place)}
                    except OutOfReach as error:
                        notice(f"part {name} has no rehearsal stream: {error}")
                progress()
                return found

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                found = [each for each in pool.map(rehearse, mix.parts) if each]
        with atomic(listed) as partial:
            partial.write_text(json.dumps({"made_of": made_of, "rehearsals": found}, indent=2) + "\n", encoding="utf-8")
        for other in folder.glob("[!.]*.wav"):
            if other.as_posix() not in [each["file"] for each in found]:
                other.unlink()
    return True


def rehearsals(listed: str | os.PathLike) -> list[tuple[str, str]]:
    """Part and file of each rehearsal that `make_rehearsals` listed.

    Raises:
        MediaError: no such list.
    """
    try:
        found = json.loads(require_file(listed).read_text(encoding="utf-8"))
        return [(str(each["part"]), str(each["file"])) for each in found["rehearsals"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MediaError(f"{listed}: is no list of rehearsals; delete it and mix again (make audio)") from None


def _are_listed(listed: Path, made_of: str) -> bool:
    """Whether a list is of rehearsals made of this, which are there unchanged."""
    try:
        found = json.loads(listed.read_text(encoding="utf-8"))
        return found["made_of"] == made_of and all(
            sha256(each["file"]) == each["sha256"] for each in found["rehearsals"]
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _make_buses(mix: Mix, folders: dict[str, Path], work: Path, dry: Path, wet: Path, progress: Callable) -> None:
    """Sum the stems, add the reverbs, and master both mixes."""
    dry_stems = {name: folder / "dry.wav" for name, folder in folders.items()}
    wet_stems = {name: folder / ("wet.wav" if mix.parts[name].moves else "dry.wav") for name, folder in folders.items()}
    dry_parts, wet_parts = (bus.parts or list(mix.parts) for bus in (mix.buses.dry, mix.buses.wet))

    def returned(name: str) -> dict[Path, float]:
        """Make the return of a reverb, with its gain; {} if nothing is sent to it."""
        sends = {wet_stems[part]: mix.parts[part].send for part in wet_parts if mix.parts[part].reverb == name}
        send, path = work / f"send-{name}.wav", work / f"return-{name}.wav"
        if sends:
            sum_files(sends, send)
            add_reverb(send, path, mix.reverbs[name])
        progress()
        return {path: mix.reverbs[name].gain} if sends else {}

    def make_dry() -> None:
        sum_files({dry_stems[name]: 0.0 for name in dry_parts}, work / "dry.wav", gain=mix.buses.dry.gain)
        master_file(work / "dry.wav", dry, mix.master)
        progress()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        dry_is_made = pool.submit(make_dry)
        wet_inputs = {wet_stems[name]: 0.0 for name in wet_parts}
        for found in pool.map(returned, mix.reverbs):
            wet_inputs |= found
        sum_files(wet_inputs, work / "wet.wav", gain=mix.buses.wet.gain)
        master_file(work / "wet.wav", wet, mix.master)
        progress()
        dry_is_made.result()


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
    for module in (Path(panning.__file__), *sorted(Path(__file__).parent.rglob("*.py"))):
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
