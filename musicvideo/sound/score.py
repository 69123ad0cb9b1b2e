"""A MuseScore score -> a WAV of every part, the full mix, the MIDI clock.

MuseScore 3 and 4 export parts in different ways, and neither exports parts from a score that defines none. Therefore a
part is exported here as a copy of the whole score in which only the notes of that part are played: tempo, repeats and
everything else that decides when a note sounds stay as they are. Both versions read `<play>0</play>` of a note.

Sources: the files that MuseScore 3.2 to 3.6 and 4 save; https://musescore.org/en/handbook/4/command-line-usage.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import struct
import sys
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import soundfile

from musicvideo import files, probe, programs
from musicvideo.clock import Clock, read_clock, read_midi
from musicvideo.errors import MediaError
from musicvideo.notes import label

# MuseScore 3 by default resamples to 44.1 kHz and normalises every part to full scale, which destroys the balance
# between them. MuseScore 4 has the same key for the rate, and never normalises. No command line option sets either.
CONFIGURATION = """\
[export]
audio\\sampleRate=48000
audio\\normalize=false
"""
OLDEST = 3  # oldest major version of MuseScore that accepts the jobs written here
# First and last version that by a fault of their own (MuseScore's issue 34043) export no WAV from the command line.
WITHOUT_WAV = (4, 7, 0), (4, 7, 3)

# Limits, so that a crafted score cannot fill the memory or the disk.
LARGEST = 32 << 20  # bytes of a score, packed or unpacked: an hour of orchestra; parsed at most 800 MB
PLAYED_NOTES = 500_000  # with repeats
LONGEST = 3 * 3600  # seconds of music
PATIENCE = 300  # seconds that MuseScore may take for one file, on top of twice the length of the music

PROCESSES = 2  # of MuseScore at once
VOICES = 4  # of a staff
LONGEST_NAME = 200  # bytes of a part's name; a file's name may have 255

PLACEHOLDER = "Composer / arranger"  # MuseScore's, in a score whose composer nobody wrote down
LICENCE = re.compile(r"\bCC[ -]?(BY|0)|creative commons|licen[cs]e|public domain", re.IGNORECASE)
LONGEST_CREDIT = 200  # characters

# How MuseScore 3 names the files of its parts. Mix tables name parts by these files.
LETTERS = {
    **str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "♭": "b", "♯": "#"}),
    **str.maketrans(dict.fromkeys('\\/:*?"<>| ', "_")),
}

Switch = tuple[tuple[int, int], ElementTree.Element]  # a track, and the element that says whether its note is played

SETTINGS = ("score_style.mss", "audiosettings.json", "chordlist.xml")  # files of MuseScore 4 beside the score
CONTAINER = (
    '<?xml version="1.0" encoding="UTF-8"?><container><rootfiles><rootfile full-path="{}"/></rootfiles></container>'
)


@dataclass(frozen=True)
class Part:
    """A part: it is exported as one WAV."""

    name: str  # of its file, without a suffix
    tracks: frozenset[tuple[int, int]]  # (staff, voice) that are heard, from 0


@dataclass(frozen=True)
class Document:
    """Content of a score file."""

    path: Path
    root: ElementTree.Element  # <museScore> without excerpts
    settings: dict[str, bytes]  # files beside the score, in which MuseScore 4 keeps sounds and style
    parts: tuple[Part, ...]
    format: tuple[int, int]  # version of the file's format: (3, 2) is of MuseScore 3.6, (4, 20) of 4.2
    saved_by: str  # version of the program that saved it; empty if not stated

    @property
    def version(self) -> str:
        """Its version, for messages."""
        return self.saved_by or ".".join(map(str, self.format))


def export(score: str | os.PathLike, folder: str | os.PathLike = "media") -> list[Path]:
    """Export a score with MuseScore 3 or 4, without a display.

    Writes `<folder>/<score>.mid`, `<folder>/<score>.wav` (full mix) and `<folder>/parts/<score>/<part>.wav` for each
    part: each excerpt of a MuseScore 3 score, and each part that is in none of them. MuseScore 3 writes 48 kHz, not
    normalised; MuseScore 4 does not normalise, and on macOS writes the rate that is set in its preferences.

    Whole files that are newer than the score are kept: they were exported by hand or by an earlier run.

    Args:
        score: a .mscz or .mscx file.
        folder: where exported files go.

    Returns:
        All files of the export, the clock last.

    Raises:
        MediaError: not a score, one of a newer MuseScore, too long; no MuseScore (unless full mix and clock are kept),
            or it failed, hung or found no space.
    """
    document = read(score)
    *_, full, clock = everything = places(document, folder)
    kept = [place for place in everything if _whole(place) and _newer(place, document.path)]
    wanted = [place for place in everything if place not in kept]
    with _work_folder(document) as work:
        try:
            version = _usable_version(document, work / "version")
        except MediaError as error:
            if full in kept and clock in kept:
                return kept  # exported by hand, with whatever parts the author chose
            by_hand = f"{folder}/{document.path.stem}.wav and .mid, and its parts to {everything[0].parent}/<part>.wav"
            raise MediaError(f"{score}: {error}; or export it by hand to {by_hand} (48 kHz)") from None
        if wanted:
            exported = _export(document, version, folder, wanted, work)
            for place in wanted:
                with files.atomic(place) as partial:
                    shutil.move(exported[place], partial)
    return everything


def missing(score: str | os.PathLike, folder: str | os.PathLike = "media") -> list[Path]:
    """The files of a score's export that are missing or damaged; MuseScore is not run.

    Damage is what the structure of a WAV or MIDI file shows: it was cut off, emptied, or overwritten at its beginning.

    Args:
        score, folder: as for `export`.

    Raises:
        MediaError: not a score.
    """
    return [place for place in places(read(score), folder) if not _whole(place)]


def places(document: Document, folder: str | os.PathLike) -> list[Path]:
    """Paths of an export's files: parts, full mix, and last the clock, whose presence means success to make."""
    folder, name = Path(folder), document.path.stem
    sounds = [folder / "parts" / name / f"{part.name}.wav" for part in document.parts]
    return [*sounds, folder / f"{name}.wav", folder / f"{name}.mid"]


def _newer(place: Path, score: Path) -> bool:
    return place.stat().st_mtime > score.stat().st_mtime


def _whole(path: Path) -> bool:
    """Whether a WAV or MIDI file exists and is as long as its header states."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            if path.suffix == ".mid":
                kind, length, tracks = struct.unpack(">4sI2xH2x", file.read(14))
                if kind != b"MThd":
                    return False
                file.seek(8 + length)
                for _ in range(tracks):
                    file.seek(struct.unpack(">4xI", file.read(8))[0], os.SEEK_CUR)
                return file.tell() <= size
            kind, form = struct.unpack("<4s4x4s", file.read(12))
            if kind not in (b"RIFF", b"RF64") or form != b"WAVE":
                return False
            while True:
                name, length = struct.unpack("<4sI", file.read(8))
                if name == b"data":
                    # Programs that wrote to a pipe could not state the length.
                    unknown = not length or any(
                        abs(length - limit) < probe.UNKNOWN_SIZE_MARGIN for limit in (1 << 31, 1 << 32)
                    )
                    return file.tell() < size if unknown else file.tell() + length <= size
                file.seek(length + length % 2, os.SEEK_CUR)
    except (OSError, struct.error):
        return False


# -- Reading a score ---------------------------------------------------------------------------------------------


def read(path: str | os.PathLike) -> Document:
    """Read a .mscz or .mscx file. It is untrusted: nothing in it decides where anything is written.

    Raises:
        MediaError: not a score, damaged, larger than `LARGEST`, or with a document type, whose entities may expand
            without limit (MuseScore writes none).
    """
    path = files.require_file(path)
    if path.stat().st_size > LARGEST:
        raise MediaError(f"{path}: is larger than {LARGEST >> 20} MB (is it a score? take pictures out of it)")
    data, settings = (path.read_bytes(), {}) if path.suffix.lower() == ".mscx" else _unpack(path)
    # The parser reads bytes without a zero byte as UTF-8, and so does this search.
    if any(word in data for word in (b"<!DOCTYPE", b"<!ENTITY", b"\0")):
        raise MediaError(f"{path}: is not a MuseScore score: its XML declares a document type, or is not UTF-8")
    try:
        root = ElementTree.fromstring(data, ElementTree.XMLParser(encoding="utf-8"))
    except (ElementTree.ParseError, ValueError) as error:
        raise MediaError(f"{path}: is not a MuseScore score: its XML is broken ({error})") from None
    version = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", root.get("version", ""), re.ASCII)
    score = root.find("Score")
    if root.tag != "museScore" or score is None or not version:
        raise MediaError(f"{path}: is not a MuseScore score: its XML holds none, or of no known version")
    described = sum(len(part.findall("Staff")) for part in score.findall("Part"))
    if not described or described != len(score.findall("Staff")):
        raise MediaError(f"{path}: is not a MuseScore score: its parts and its staves do not match")
    parts = _parts(score)
    for excerpt in score.findall("Score"):
        score.remove(excerpt)
    saved_by = root.findtext("programVersion", "")
    return Document(
        path=path,
        root=root,
        settings=settings,
        parts=tuple(parts),
        format=(int(version[1]), int(version[2])),
        saved_by=saved_by if re.fullmatch(r"\d[\w.+~-]{0,30}", saved_by, re.ASCII) else "",
    )


def _unpack(path: Path) -> tuple[bytes, dict[str, bytes]]:
    """The score in a .mscz, and the settings beside it: at most `LARGEST` bytes in all."""
    contents, left = {}, LARGEST
    try:
        with zipfile.ZipFile(path) as archive:
            # Excerpts of MuseScore 4 lie in a folder.
            names = [name for name in archive.namelist() if "/" not in name and "\\" not in name]
            scores = [name for name in names if name.lower().endswith(".mscx")]
            if not scores:
                raise MediaError(f"{path}: is not a MuseScore score: it holds no .mscx file")
            for name in [scores[0], *(name for name in names if name in SETTINGS)]:
                # Other methods than these two unpack without a limit.
                if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise zipfile.BadZipFile("unknown compression")
                with archive.open(name) as file:
                    contents[name] = file.read(left + 1)
                left -= len(contents[name])
                if left < 0:
                    raise MediaError(f"{path}: unpacks to more than {LARGEST >> 20} MB (is it a score?)")
    except RuntimeError:
        raise MediaError(f"{path}: is encrypted (open it in MuseScore and save it again)") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, struct.error) as error:
        raise MediaError(f"{path}: is not a MuseScore score, or damaged: {error or 'it ends too early'}") from None
    return contents.pop(scores[0]), contents


def _parts(score: ElementTree.Element) -> list[Part]:
    """The parts to export of a `<Score>`: each of its excerpts, then each part that is in none of them.

    Names are those that MuseScore 3 gives to the files of excerpts, made safe, and numbered where two are the same.
    """
    found, first = [], 0
    for excerpt in score.findall("Score"):
        if tracks := _excerpt_tracks(excerpt):
            found.append((excerpt.findtext("name") or excerpt.findtext("metaTag[@name='partName']") or "", tracks))
    covered = {staff for _, tracks in found for staff, _ in tracks}
    for part in score.findall("Part"):
        staves = range(first, first + len(part.findall("Staff")))
        first = staves.stop
        if not covered.intersection(staves):
            found.append((_part_name(part), _all_voices(staves)))
    taken: set[str] = set()
    return [Part(_file_name(name, taken), frozenset(tracks)) for name, tracks in found]


def _excerpt_tracks(excerpt: ElementTree.Element) -> set[tuple[int, int]]:
    """Tracks of the whole score that an excerpt holds: its staves, or those of their voices that it was made of."""
    staves = {_number(element.text) - 1 for element in excerpt.findall("Part/Staff/linkedTo")}
    tracks = {divmod(_number(element.get("sTrack")), VOICES) for element in excerpt.findall("Tracklist")}
    return {(staff, voice) for staff, voice in tracks if staff in staves} or _all_voices(staves)


def _all_voices(staves: Iterable[int]) -> set[tuple[int, int]]:
    return {(staff, voice) for staff in staves for voice in range(VOICES)}


def _number(text: str | None) -> int:
    """A whole number in a score; 0 where there is none."""
    digits = re.fullmatch(r"\s*(\d{1,18})\s*", text or "", re.ASCII)
    return int(digits[1]) if digits else 0


def _part_name(part: ElementTree.Element) -> str:
    """Name of a part. Files of different versions have it in different places."""
    for path in ("trackName", "Instrument/longName", "Instrument/InstrumentLabel/longName", "Instrument/trackName"):
        element = part.find(path)
        if element is not None and (name := "".join(element.itertext())).strip():
            return name
    return ""


def _file_name(name: str, taken: set[str]) -> str:
    """A name for a file that any system takes and that is not in `taken`; it is added there.

    On macOS two names are the same that differ only in case or in their Unicode form.
    """
    name = " ".join(name.split()).translate(LETTERS)
    name = "".join(letter if letter.isprintable() else "_" for letter in name)
    name = re.sub(r"^[.-]+", "_", name) or "Part"
    name = name.encode()[:LONGEST_NAME].decode(errors="ignore")
    unique, number = name, 1
    while (key := unicodedata.normalize("NFC", unique).casefold()) in taken:
        number += 1
        unique = f"{name}_{number}"
    taken.add(key)
    return unique


def chapters(score: str | os.PathLike, clock: Clock) -> list[tuple[float, str]]:
    """Where the sections of a score begin: at its rehearsal marks, or else where the tempo gets a new name.

    Args:
        score: a .mscz or .mscx file.
        clock: of the MIDI that was exported from it.

    Returns:
        (seconds, name) in order; empty where there are none, or where repeats make measures and clock differ.

    Raises:
        MediaError: not a score.
    """
    return [(clock.seconds(measure), name) for measure, name in _sections(read(score).root, clock)]


def credits(score: str | os.PathLike) -> dict[str, str]:
    """The composer and the licence that a score names, as tags of a media file; it may name neither.

    Raises:
        MediaError: not a score.
    """
    root = read(score).root
    tags = {name: root.findtext(f"Score/metaTag[@name='{name}']") or "" for name in ("composer", "copyright")}
    named = {name: " ".join(text.split())[:LONGEST_CREDIT] for name, text in tags.items()}
    found = {}
    if named["composer"] not in ("", PLACEHOLDER):
        found = {"artist": named["composer"], "composer": named["composer"]}
    if named["copyright"]:
        found["copyright"] = named["copyright"]
        if LICENCE.search(named["copyright"]):
            found["license"] = named["copyright"]
    return found


def _sections(root: ElementTree.Element, clock: Clock) -> list[tuple[int, str]]:
    """Measure and name of each section; see `chapters`."""
    staves = root.findall("Score/Staff")
    measures = staves[0].findall("Measure")  # marks and tempos stand in the first staff
    if len(measures) != clock.measures:
        return []
    marks, tempos = {}, {}
    for number, measure in enumerate(measures, 1):
        mark, tempo = measure.find(".//RehearsalMark/text"), measure.find(".//Tempo/text")
        if mark is not None:
            marks[number] = "".join(mark.itertext()).strip()
        # Words come before the note value: "Slow, far away <sym>metNoteQuarterUp</sym> = 63".
        if tempo is not None and (words := (tempo.text or "").strip(" (")):
            tempos[number] = words
    if marks:
        return [(number, ": ".join(filter(None, [mark, tempos.get(number)]))) for number, mark in marks.items()]
    return list(tempos.items())


def _label(document: Document, clock: Clock, path: Path) -> None:
    """Write names of parts and sections into the MIDI file that MuseScore exported, which has neither.

    MuseScore writes a track for each staff, after one for tempo and metre.
    """
    staves = len(document.root.findall("Score/Staff"))
    first = len(read_midi(path).tracks) - staves
    if first not in (0, 1):
        return
    names = {}
    for part in reversed(document.parts):
        names.update({first + staff: part.name for staff, _ in part.tracks})
    marks = [(round(clock.tick(measure)), name) for measure, name in _sections(document.root, clock)]
    label(path, names, marks).save(path)


# -- Running MuseScore -------------------------------------------------------------------------------------------


@contextmanager
def _work_folder(document: Document) -> Iterator[Path]:
    """A temporary folder for a context; if its disk is full, the error names that disk."""
    try:
        with tempfile.TemporaryDirectory(prefix="musescore-") as work:
            yield Path(work)
    except OSError as error:
        place = tempfile.gettempdir()
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise MediaError(
            f"{document.path}: no space left in {place} (free some, or name another place with TMPDIR)"
        ) from None


def _export(
    document: Document, version: tuple[int, ...], folder: str | os.PathLike, wanted: Sequence[Path], work: Path
) -> dict[Path, Path]:
    """Let MuseScore write files into the folder `work`: those of `wanted`, and the clock.

    Returns:
        The file that was written for each place.
    """
    *sounds, full, clock = places(document, folder)
    _require_bounded(document)
    switches = list(_switches(document.root))

    # First the clock: it takes no time, and tells whether MuseScore can open the score and how long it plays.
    copy = _copy(document, switches, None, work / "full.mscz")
    exported = {clock: work / "full.mid"}
    _run(document, version, [(copy, exported[clock])], PATIENCE)
    try:
        times = read_clock(exported[clock])
    except MediaError:
        raise MediaError(f"{document.path}: MuseScore finds no music in it") from None
    length = times.duration
    if length > LONGEST:
        raise MediaError(f"{document.path}: plays for {length:.0f} s; at most {LONGEST} s can be exported")
    _label(document, times, exported[clock])

    tasks = []
    if full in wanted:
        exported[full] = work / "full.wav"
        tasks.append((copy, exported[full]))
    for number, (part, place) in enumerate(zip(document.parts, sounds)):
        if place in wanted:
            exported[place] = work / f"part-{number}.wav"
            tasks.append((_copy(document, switches, part, work / f"part-{number}.mscz"), exported[place]))
    shares = filter(None, (tasks[first::PROCESSES] for first in range(PROCESSES)))
    with ThreadPoolExecutor(PROCESSES) as pool:
        runs = [pool.submit(_run, document, version, share, PATIENCE + 2 * length) for share in shares]
        for run in runs:
            run.result()
    if full in wanted and switches and _silent(exported[full]):
        raise MediaError(
            f"{document.path}: MuseScore {_dotted(version)} plays it in silence (is its sound font installed? in "
            f"MuseScore 4 choose the sound profile MuseScore Basic, and save)"
        )
    return exported


def _usable_version(document: Document, folder: Path) -> tuple[int, ...]:
    """Version of the MuseScore that is installed, e.g. (3, 2, 3).

    If told to ignore versions, MuseScore 3 opens a score of MuseScore 4 but leaves out what it does not know, such as
    gradual changes of tempo. Within one major version it leaves out little, so there it is told to ignore them.

    Args:
        document: the score to play.
        folder: a new one, for the files that it leaves behind.

    Raises:
        MediaError: none is installed, or this version cannot play the score faithfully.
    """
    program = programs.program("musescore")
    doing = "asking MuseScore for its version"
    printed = programs.run(["musescore", "--version"], doing=doing, env=_environment(folder), limit=60)
    # Among lines that an AppImage prints about libraries: "MuseScore3 3.2.3", "MuseScore4 4.4.4".
    found = re.search(rb"MuseScore\w*(?: Studio)? (\d+(?:\.\d+)+)", printed)
    if not found:
        raise MediaError(f"{program} is not MuseScore, or does not state its version")
    version = tuple(map(int, found[1].split(b".")))
    here = f"{program} is MuseScore {_dotted(version)}"
    if version[0] < OLDEST:
        raise MediaError(f"{here}, which is too old: install MuseScore {OLDEST} or 4, or name it with MUSESCORE=/path")
    if document.format[0] > version[0]:
        raise MediaError(
            f"was saved by MuseScore {document.version}, and {here}, which does not read it: install MuseScore "
            f"{document.format[0]}, or name it with MUSESCORE=/path"
        )
    if WITHOUT_WAV[0] <= version[:3] <= WITHOUT_WAV[1]:
        raise MediaError(
            f"{here}, which by a fault of its own exports no WAV from the command line: install another version, or "
            f"name it with MUSESCORE=/path"
        )
    return version


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _require_bounded(document: Document) -> None:
    """Raise MediaError if a score plays more notes than a piece of music has: MuseScore unrolls repeats in memory."""
    notes = sum(1 for _ in document.root.iter("Note"))
    repeats = max((_number(element.text) for element in document.root.iter("endRepeat")), default=1)
    if max(notes, 1) * max(repeats, 1) > PLAYED_NOTES:
        raise MediaError(
            f"{document.path}: has {notes} notes and plays some {max(repeats, 1)} times; at most {PLAYED_NOTES} notes "
            f"can be played"
        )


def _switches(root: ElementTree.Element) -> Iterator[Switch]:
    """Give every note and chord symbol that is played a `<play>` element; yields its track and that element."""
    for staff, music in enumerate(root.findall("Score/Staff")):
        for measure in music.findall("Measure"):
            for voice, content in enumerate(measure.findall("voice") or [measure]):  # MuseScore 2 had no <voice>
                for element in [*content.iter("Note"), *content.iter("Harmony")]:
                    if element.find("play") is None:
                        yield (staff, voice), ElementTree.SubElement(element, "play")


def _copy(document: Document, switches: Iterable[Switch], part: Part | None, path: Path) -> Path:
    """Write a copy of a score in which only one part is played, or every part."""
    for track, play in switches:
        play.text = "1" if part is None or track in part.tracks else "0"
    name = f"{path.stem}.mscx"  # MuseScore 4 looks for this one
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("META-INF/container.xml", CONTAINER.format(name))
            archive.writestr(name, ElementTree.tostring(document.root, encoding="UTF-8", xml_declaration=True))
            for other, data in document.settings.items():
                archive.writestr(other, data)
    except RecursionError:
        raise MediaError(f"{document.path}: is not a MuseScore score: its XML is nested too deeply") from None
    return path


def _run(document: Document, version: tuple[int, ...], tasks: Sequence[tuple[Path, Path]], limit: float) -> None:
    """Convert files with MuseScore, one after another, and check the results.

    Args:
        version: of the MuseScore that is installed.
        tasks: (score, output) pairs; the outputs lie in one folder.
        limit: seconds that it may take for each.
    """
    work, name = tasks[0][1].parent, tasks[0][1].name
    surroundings = _environment(work / f"run-{name}", version)
    job = work / f"{name}.json"
    job.write_text(json.dumps([{"in": str(score), "out": str(output)} for score, output in tasks]))
    command = ["musescore", "-j", str(job)]
    if version[0] == 3:  # MuseScore 4 has no such option, and would take the folder for a score
        command += ["-c", surroundings["XDG_CONFIG_HOME"]]
    if not document.saved_by or _numbers(document.saved_by) > version:
        command.append("-f")  # else MuseScore 3.2 refuses scores of 3.6
    completed = programs.completed_run(
        command, doing=f"exporting {document.path}", env=surroundings, limit=limit * len(tasks)
    )
    # MuseScore does not report a full disk; it may report success and leave a sound that ends early.
    if shutil.disk_usage(work).free < files.SPACE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work))
    # Its stderr is noisy even on success, so the message leaves it out.
    if completed.returncode or not all(_whole(output) for _, output in tasks):
        raise MediaError(
            f"{document.path}: MuseScore {_dotted(version)} cannot export it (it was saved by MuseScore "
            f"{document.version}; does it open in MuseScore's window?)"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d{1,6}", version.split("-")[0])))


def _environment(folder: Path, version: Sequence[int] = (0,)) -> dict[str, str]:
    """Environment variables for a run of MuseScore that put all files that it leaves behind into `folder`."""
    settings = folder / "config" / "MuseScore" / f"MuseScore{version[0]}.ini"
    settings.parent.mkdir(parents=True)
    settings.write_text(CONFIGURATION)
    (folder / "tmp").mkdir(mode=0o700)  # Qt refuses a runtime folder that others can read
    surroundings = dict.fromkeys(("TMPDIR", "XDG_RUNTIME_DIR"), str(folder / "tmp"))
    surroundings["XDG_CONFIG_HOME"] = str(folder / "config")
    if sys.platform != "darwin":  # on macOS a display is always there, and MuseScore has no such platform
        surroundings["QT_QPA_PLATFORM"] = "offscreen"
    return surroundings


def _silent(path: Path) -> bool:
    with soundfile.SoundFile(path) as sound:
        return not any(block.any() for block in sound.blocks(1 << 20, dtype="float32"))
