"""Writes a short score by hand, as MuseScore would save it: three parts, changing metre and tempo.

MuseScore 3 keeps excerpts inside the score's XML; MuseScore 4 keeps them, the style and the mixer in files beside it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

PARTS = {"Vibes": ("vibraphone", 11, 60), "Bells": ("glockenspiel", 9, 84), "Marimba": ("marimba", 12, 48)}
BARS = [(4, 4, 120), (3, 4, 150), (5, 8, 150)]  # numerator, denominator, quarter notes a minute
MARKS = ["A", "B", ""]
TEMPOS = ["Calm ", "", ""]
SECONDS = sum(numerator * 4 / denominator * 60 / tempo for numerator, denominator, tempo in BARS)

STYLE = "<Style><Spatium>1.76389</Spatium></Style>"
DRY = (
    '<Synthesizer><master><val id="0">NoEffect</val><val id="1">NoEffect</val><val id="2">0.1</val>'
    '<val id="3">440</val></master><Fluid><val id="0">MuseScore_General.sf3</val></Fluid></Synthesizer>'
)
# What programs write as the version of the file's format.
FORMATS = {"3.2.3": "3.01", "3.6.2": "3.02", "4.2.0": "4.20", "4.4.4": "4.40", "5.0.0": "5.00"}


def write(
    path: Path, excerpts: bool = True, *, version: str = "3.2.3", names: Sequence[str] = tuple(PARTS), music: str = "",
    credits: Mapping[str, str] | None = None,
) -> Path:  # fmt: skip
    """Write the score.

    Args:
        path: a .mscz or .mscx file.
        excerpts: whether somebody has made parts of it in MuseScore.
        version: of the MuseScore that saved it, one of `FORMATS`.
        names: of its parts; instruments and notes are those of `PARTS`, from the beginning again where they are more.
        music: measures to write in every part instead of the usual ones.
        credits: its properties, such as composer.
    """
    text = document(excerpts and version < "4", version, names, music)
    tags = "".join(f'<metaTag name="{name}">{escape(value)}</metaTag>' for name, value in (credits or {}).items())
    text = text.replace("<Score>", f"<Score>{tags}", 1)
    if path.suffix == ".mscx":
        path.write_text(text, encoding="utf-8")
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents(path.stem, text, excerpts, version, names).items():
            archive.writestr(name, content)
    return path


def contents(stem: str, text: str, excerpts: bool = True, version: str = "3.2.3", names: Sequence[str] = ()) -> dict:
    """The files in a .mscz, by name."""
    others = (
        {
            "score_style.mss": f'<museScore version="{FORMATS[version]}">{STYLE}</museScore>',
            "audiosettings.json": '{"tracks": []}',
        }
        if version >= "4"
        else {}
    )
    if version >= "4" and excerpts:
        for number, name in enumerate(names):
            others[f"Excerpts/{number}_part/{number}_part.mscx"] = text.replace(
                "<Score>", f"<Score><name>{escape(name)}</name>"
            )
    listed = "".join(f'<rootfile full-path="{name}"/>' for name in [f"{stem}.mscx", *others])
    container = f'<?xml version="1.0" encoding="UTF-8"?><container><rootfiles>{listed}</rootfiles></container>'
    return {f"{stem}.mscx": text, "META-INF/container.xml": container, **others}


def document(excerpts: bool, version: str = "3.2.3", names: Sequence[str] = tuple(PARTS), music: str = "") -> str:
    """The XML of the score."""
    parts = "".join(part(number, name, version) for number, name in enumerate(names, 1))
    staves = "".join(staff(number, music or measures(number)) for number, name in enumerate(names, 1))
    head = f"<Division>480</Division>{STYLE}{DRY}"
    linked = (
        "".join(
            f"<Score>{head}{part(number, name, version, excerpt=True)}{staff(1, music or measures(number))}"
            f"<name>{escape(name)}</name></Score>"
            for number, name in enumerate(names, 1)
        )
        if excerpts
        else ""
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><museScore version="{FORMATS[version]}">'
        f"<programVersion>{version}</programVersion><Score>{head}{parts}{staves}{linked}</Score></museScore>"
    )


def part(number: int, name: str, version: str, excerpt: bool = False) -> str:
    instrument, program, _ = list(PARTS.values())[(number - 1) % len(PARTS)]
    name = escape(name)
    link = f"<linkedTo>{number}</linkedTo>" if excerpt else ""
    head = f'<Staff id="{1 if excerpt else number}">{link}'
    track, label = f"<trackName>{name}</trackName>", f"<longName>{name}</longName>"
    if version >= "5":  # numbers parts, not their staves, and has names in the instrument only
        head, label, track = "<Staff>", f"<InstrumentLabel>{label}</InstrumentLabel>{track}", ""
    opening = f'<Part id="{number}">' if version >= "4" else "<Part>"
    return (
        f'{opening}{head}<StaffType group="pitched"><name>stdNormal</name></StaffType></Staff>{track}'
        f'<Instrument id="{instrument}">{label}'
        f'<Channel><program value="{program}"/><synti>Fluid</synti></Channel></Instrument></Part>'
    )


def staff(number: int, music: str) -> str:
    return f'<Staff id="{number}">{music}</Staff>'


def measures(number: int) -> str:
    """One note a beat, at the pitches of one part."""
    *_, lowest = list(PARTS.values())[(number - 1) % len(PARTS)]
    music = []
    for (numerator, denominator, tempo), mark, words in zip(BARS, MARKS, TEMPOS):
        kind = {4: "quarter", 8: "eighth"}[denominator]
        notes = "".join(chord(kind, lowest + 12 * (beat % 2)) for beat in range(numerator))
        music.append(
            f"<Measure><voice><TimeSig><sigN>{numerator}</sigN><sigD>{denominator}</sigD></TimeSig>"
            + (f"<RehearsalMark><text>{mark}</text></RehearsalMark>" if mark else "")
            + f"<Tempo><tempo>{tempo / 60:.6f}</tempo><text>{words}<sym>metNoteQuarterUp</sym> = {tempo}</text></Tempo>"
            + f"{notes}</voice></Measure>"
        )
    return "".join(music)


def chord(kind: str, pitch: int, before: str = "", note: str = "") -> str:
    """A chord of one note, with what stands in front of it and in the note."""
    spelling = {0: 14, 2: 16, 4: 18, 5: 13, 7: 15, 9: 17, 11: 19}[pitch % 12]  # C D E F G A B on the line of fifths
    return (
        f"<Chord>{before}<durationType>{kind}</durationType><Note>{note}<pitch>{pitch}</pitch>"
        f"<tpc>{spelling}</tpc></Note></Chord>"
    )
