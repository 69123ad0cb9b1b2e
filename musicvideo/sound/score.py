"""A MuseScore score -> a WAV of every part, the full mix, the MIDI clock."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from musicvideo import files, programs
from musicvideo.errors import MediaError
from musicvideo.sound.clock import Clock
from musicvideo.system import MissingProgram, find_program

# MuseScore's defaults would resample to 44.1 kHz and normalise every part to full scale, which destroys the
# balance between them; no command line option sets either.
CONFIGURATION = """\
[export]
audio\\sampleRate=48000
audio\\normalize=false
"""


def export(score: str | os.PathLike, folder: str | os.PathLike = "media") -> list[Path]:
    """Export a score with MuseScore, without a display.

    Writes `<folder>/<score>.mid`, `<folder>/<score>.wav` (full mix) and `<folder>/parts/<score>/<part>.wav` for
    each part (the score's excerpts), 48 kHz, not normalised. Files there that are newer than the score were
    exported by hand, and are kept.

    Args:
        score: a .mscz or .mscx file.
        folder: where exported files go.

    Returns:
        The files written.

    Raises:
        MediaError: no MuseScore and nothing exported by hand, a score it cannot open, or one without parts.
    """
    score, folder = files.require_file(score), Path(folder)
    try:
        find_program("musescore")
    except MissingProgram as error:
        raise MediaError(
            f"{score}: {error}; or export it by hand to {folder}/{score.stem}.wav and .mid, and its parts to "
            f"{folder}/parts/{score.stem}/<part>.wav (48 kHz)"
        ) from None
    with tempfile.TemporaryDirectory(prefix="musescore-") as work:
        exported = _run_musescore(score, Path(work))
        return [_keep(path, place, score) for path, place in _places(exported, score.stem, folder)]


def _run_musescore(score: Path, work: Path) -> Path:
    """Let MuseScore write everything into a folder of `work`, and check that it did."""
    settings = work / "config" / "MuseScore" / "MuseScore3.ini"
    settings.parent.mkdir(parents=True)
    settings.write_text(CONFIGURATION)
    runtime = work / "runtime"                      # Qt refuses one that others can read
    runtime.mkdir(mode=0o700)
    exported = work / "exported"
    (exported / "parts").mkdir(parents=True)
    wanted = [str(exported / "full.mid"), str(exported / "full.wav"), [f"{exported}/parts/", ".wav"]]
    job = work / "job.json"
    job.write_text(json.dumps([{"in": str(score.resolve()), "out": wanted}]))
    try:
        programs.run(
            ["musescore", "-c", work / "config", "-j", job],
            doing=f"exporting {score}",
            env={"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(runtime)},
        )
    except MediaError as error:
        # Its stderr is noise even when all is well, so it says nothing here.
        raise MediaError(f"{score}: MuseScore cannot open it (is it a score, whole, and not of a newer "
                         f"MuseScore?)") from error
    # MuseScore reports success for a score without excerpts, and may for a full disk.
    if not any((exported / "parts").iterdir()):
        raise MediaError(f"{score}: has no parts; in MuseScore make them with File > Parts > New All, and save")
    for path in (exported / "full.mid", exported / "full.wav", *(exported / "parts").iterdir()):
        files.require_file(path)
    return exported


def _places(exported: Path, name: str, folder: Path) -> list[tuple[Path, Path]]:
    """Each exported file with the place it belongs; the clock last, for make takes it as the sign of success."""
    parts = sorted((exported / "parts").iterdir())
    return [
        *((part, folder / "parts" / name / part.name) for part in parts),
        (exported / "full.wav", folder / f"{name}.wav"),
        (exported / "full.mid", folder / f"{name}.mid"),
    ]


def _keep(exported: Path, place: Path, score: Path) -> Path:
    """Move an exported file to its place, unless a hand-made one is there that is newer than the score."""
    if place.exists() and place.stat().st_mtime > score.stat().st_mtime:
        place.touch()                               # so that make sees the export as done
        return place
    with files.atomic(place) as partial:
        shutil.move(exported, partial)
    return place


def chapters(score: str | os.PathLike, clock: Clock) -> list[tuple[float, str]]:
    """Where the sections of a score begin: at its rehearsal marks, or else where the tempo gets a new name.

    Args:
        score: a .mscz or .mscx file.
        clock: of the MIDI that was exported from it.

    Returns:
        (seconds, name) in order; empty where there are none, or where repeats make measures and clock differ.
    """
    score = files.require_file(score)
    try:
        if score.suffix == ".mscz":
            with zipfile.ZipFile(score) as archive:
                text = archive.read(next(name for name in archive.namelist() if name.endswith(".mscx")))
        else:
            text = score.read_bytes()
        measures = ElementTree.fromstring(text).findall("./Score/Staff[@id='1']/Measure")
    except (zipfile.BadZipFile, StopIteration, ElementTree.ParseError):
        raise MediaError(f"{score}: is not a MuseScore score") from None
    if len(measures) != clock.measures:
        return []
    marks, tempos = {}, {}
    for number, measure in enumerate(measures, 1):
        mark, tempo = measure.find(".//RehearsalMark/text"), measure.find(".//Tempo/text")
        if mark is not None:
            marks[number] = "".join(mark.itertext()).strip()
        # Words come before the note value: "Slow, far away <sym>metNoteQuarterUp</sym> = 63".
        if tempo is not None and (tempo.text or "").strip(" ("):
            tempos[number] = tempo.text.strip(" (")
    if marks:
        names = {number: ": ".join(filter(None, [mark, tempos.get(number)])) for number, mark in marks.items()}
    else:
        names = tempos
    return [(clock.seconds(number), name) for number, name in names.items()]
