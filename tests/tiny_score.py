"""Writes a short score by hand, as MuseScore 3 would save it: three parts with excerpts, changing metre and tempo."""

from __future__ import annotations

import zipfile
from pathlib import Path

PARTS = {"Vibes": ("vibraphone", 11, 60), "Bells": ("glockenspiel", 9, 84), "Marimba": ("marimba", 12, 48)}
BARS = [(4, 4, 120), (3, 4, 150), (5, 8, 150)]          # numerator, denominator, quarter notes a minute
MARKS = ["A", "B", ""]
TEMPOS = ["Calm ", "", ""]
SECONDS = sum(numerator * 4 / denominator * 60 / tempo for numerator, denominator, tempo in BARS)

STYLE = "<Division>480</Division><Style><Spatium>1.76389</Spatium></Style>"
DRY = ('<Synthesizer><master><val id="0">NoEffect</val><val id="1">NoEffect</val><val id="2">0.1</val>'
       '<val id="3">440</val></master><Fluid><val id="0">MuseScore_General.sf3</val></Fluid></Synthesizer>')
CONTAINER = ('<?xml version="1.0" encoding="UTF-8"?><container><rootfiles><rootfile full-path="score.mscx"/>'
             "</rootfiles></container>")


def write(path: Path, excerpts: bool = True) -> Path:
    """Write the score; without excerpts it has no parts to export."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("score.mscx", document(excerpts))
    return path


def document(excerpts: bool) -> str:
    parts = "".join(part(number, name) for number, name in enumerate(PARTS, 1))
    staves = "".join(staff(number, name) for number, name in enumerate(PARTS, 1))
    linked = "".join(
        f"<Score>{STYLE}{DRY}{part(1, name, linked=number)}{staff(1, name)}<name>{name}</name></Score>"
        for number, name in enumerate(PARTS, 1)
    ) if excerpts else ""
    return ('<?xml version="1.0" encoding="UTF-8"?><museScore version="3.01"><programVersion>3.2.3</programVersion>'
            f"<Score>{STYLE}{DRY}{parts}{staves}{linked}</Score></museScore>")


def part(number: int, name: str, linked: int | None = None) -> str:
    instrument, program, _ = PARTS[name]
    link = f"<linkedTo>{linked}</linkedTo>" if linked else ""
    return (f'<Part><Staff id="{number}">{link}<StaffType group="pitched"><name>stdNormal</name></StaffType></Staff>'
            f'<trackName>{name}</trackName><Instrument id="{instrument}"><longName>{name}</longName>'
            f'<Channel><program value="{program}"/><synti>Fluid</synti></Channel></Instrument></Part>')


def staff(number: int, name: str) -> str:
    lowest = PARTS[name][2]
    measures = []
    for (numerator, denominator, tempo), mark, words in zip(BARS, MARKS, TEMPOS):
        kind = {4: "quarter", 8: "eighth"}[denominator]
        notes = "".join(
            f"<Chord><durationType>{kind}</durationType><Note><pitch>{lowest + 12 * (beat % 2)}</pitch><tpc>14</tpc>"
            "</Note></Chord>" for beat in range(numerator)
        )
        measures.append(
            f"<Measure><voice><TimeSig><sigN>{numerator}</sigN><sigD>{denominator}</sigD></TimeSig>"
            + (f"<RehearsalMark><text>{mark}</text></RehearsalMark>" if mark else "")
            + f"<Tempo><tempo>{tempo / 60:.6f}</tempo><text>{words}<sym>metNoteQuarterUp</sym> = {tempo}</text></Tempo>"
            + f"{notes}</voice></Measure>"
        )
    return f'<Staff id="{number}">{"".join(measures)}</Staff>'
