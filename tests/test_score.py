"""Scores through real MuseScore: parts, full mix, clock; and messages when an export fails."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile

import tiny_score
from conftest import small_disk
from musicvideo import probe, programs
from musicvideo.clock import read_clock
from musicvideo.errors import MediaError
from musicvideo.sound import score
from musicvideo.system import find_program

TWO = ["Vibes", "Bells"]  # parts of the score that is exported; MuseScore takes a second for each
BAR = "<Measure><voice>" + 4 * tiny_score.chord("quarter", 60) + "</voice></Measure>"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    score.export(tiny_score.write(folder / "Tiny.mscz", names=TWO), folder / "media")
    return folder / "media"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder of temporary files that nothing else uses."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A function that puts a shell script in the place of MuseScore."""

    def put(script: str) -> Path:
        path = tmp_path / "a musescore"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("MUSESCORE", str(path))
        return path

    return put


def musescore(job: list, folder: Path) -> None:
    """Run MuseScore itself on a job file, as a person would."""
    surroundings = score._environment(folder / "surroundings", (3,))
    (folder / "job.json").write_text(json.dumps(job))
    command = ["musescore", "-f", "-c", surroundings["XDG_CONFIG_HOME"], "-j", folder / "job.json"]
    programs.run(command, doing="exporting", env=surroundings)


def wavs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def level(sound: np.ndarray) -> float:
    """RMS in dB of full scale."""
    return 20 * np.log10(np.sqrt(np.mean(sound**2)) + 1e-12)


def notes(path: Path) -> Counter:
    """Notes of a MIDI file: counts of (tick, pitch, velocity); velocity 0 ends a note."""
    found = Counter()
    for track in mido.MidiFile(path).tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "note_on":
                found[tick, message.note, message.velocity] += 1
    return found


# -- What comes out ------------------------------------------------------------------------------------------


def test_every_part_the_mix_and_the_clock(exported):
    assert wavs(exported / "parts" / "Tiny") == ["Bells.wav", "Vibes.wav"]
    for path in [exported / "Tiny.wav", *(exported / "parts" / "Tiny").iterdir()]:
        assert probe.probe(path).sample_rate == 48000
        assert probe.probe(path).duration >= tiny_score.SECONDS
    clock = mido.MidiFile(exported / "Tiny.mid")
    assert clock.length == pytest.approx(tiny_score.SECONDS, abs=0.05)
    assert not list(exported.glob(".*"))


def test_parts_keep_their_balance(exported):
    """Their sum is the full mix: same clock, no normalisation of each to full scale."""
    mix, _ = soundfile.read(exported / "Tiny.wav")
    total = np.zeros_like(mix)
    for path in (exported / "parts" / "Tiny").iterdir():
        part, _ = soundfile.read(path)
        length = min(len(part), len(total))
        total[:length] += part[:length]
    assert np.abs(mix).max() < 0.95
    assert level(total - mix) - level(mix) < -30


def test_parts_are_those_that_musescore_exports_of_its_excerpts(exported, tmp_path):
    """The level is the same, and the samples are."""
    path = tiny_score.write(tmp_path / "Tiny.mscz", names=TWO)
    musescore([{"in": str(path), "out": [str(tmp_path / "Tiny.wav"), [f"{tmp_path}/part-", ".wav"]]}], tmp_path)
    pairs = {tmp_path / f"part-{name}.wav": exported / "parts" / "Tiny" / f"{name}.wav" for name in TWO}
    for theirs, ours in {tmp_path / "Tiny.wav": exported / "Tiny.wav", **pairs}.items():
        (expected, _), (found, _) = soundfile.read(theirs), soundfile.read(ours)
        assert len(found) == len(expected)
        assert level(found) == pytest.approx(level(expected), abs=0.01)
        assert level(found - expected) - level(expected) < -60


def test_scores_of_3_6_open_and_have_parts_made_where_they_have_none(tmp_path, temporary):
    """Two parts with the same name are exported as two."""
    path = tiny_score.write(tmp_path / "Two.mscz", False, version="3.6.2", names=["Violin I", "Violin I"], music=BAR)
    found = score.export(path, tmp_path / "media")
    parts = tmp_path / "media" / "parts" / "Two"
    assert found == [
        parts / "Violin_I.wav",
        parts / "Violin_I_2.wav",
        tmp_path / "media" / "Two.wav",
        tmp_path / "media" / "Two.mid",
    ]
    one, other = (soundfile.read(place)[0] for place in found[:2])
    length = min(len(one), len(other))
    assert min(map(level, (one, other, one[:length] - other[:length]))) > -50  # a vibraphone and a glockenspiel
    assert not list(temporary.iterdir())  # MuseScore's lock files among them


# A pickup; a repeat with two endings; a triplet, a grace note, two voices, a tie, a tremolo, a fermata, a pedal, a
# slur, a measure that repeats the one before.
RICH = "".join([
    '<Measure len="1/4"><irregular>1</irregular><voice><TimeSig><sigN>4</sigN><sigD>4</sigD></TimeSig>'
    "<Tempo><tempo>3</tempo><text>fast</text></Tempo>", tiny_score.chord("quarter", 60), "</voice></Measure>",
    "<Measure><startRepeat/><voice>",
    "<Tuplet><normalNotes>2</normalNotes><actualNotes>3</actualNotes><baseNote>eighth</baseNote></Tuplet>",
    *(tiny_score.chord("eighth", pitch) for pitch in (60, 62, 64)), "<endTuplet/>",
    tiny_score.chord("eighth", 71, before="<acciaccatura/>"),
    tiny_score.chord("quarter", 72, before='<Spanner type="Slur"><Slur/><next><location><fractions>1/4</fractions>'
                                           "</location></next></Spanner>"),
    tiny_score.chord("quarter", 67, before='<Spanner type="Slur"><prev><location><fractions>-1/4</fractions>'
                                           "</location></prev></Spanner>"),
    "<Chord><durationType>quarter</durationType><Tremolo><subtype>r16</subtype></Tremolo><Note><pitch>65</pitch>"
    "<tpc>13</tpc></Note></Chord></voice><voice>", tiny_score.chord("half", 48), tiny_score.chord("half", 52),
    "</voice></Measure>",
    '<Measure><voice><Spanner type="Volta"><Volta><endings>1</endings></Volta><next><location><measures>1</measures>'
    "</location></next></Spanner>", tiny_score.chord("half", 76), tiny_score.chord("half", 77),
    "</voice><endRepeat>2</endRepeat></Measure>",
    '<Measure><voice><Spanner type="Volta"><prev><location><measures>-1</measures></location></prev></Spanner>'
    "<Fermata><subtype>fermataAbove</subtype><timeStretch>2</timeStretch></Fermata>",
    tiny_score.chord("half", 79, note='<Spanner type="Tie"><Tie/><next><location><fractions>1/2</fractions></location>'
                                      "</next></Spanner>"),
    tiny_score.chord("half", 79, note='<Spanner type="Tie"><prev><location><fractions>-1/2</fractions></location>'
                                      "</prev></Spanner>"), "</voice></Measure>",
    "<Measure><voice><RepeatMeasure><durationType>measure</durationType><duration>4/4</duration></RepeatMeasure>"
    "</voice></Measure>",
])  # fmt: skip


def test_what_decides_when_a_note_sounds_survives(tmp_path):
    """Each part's notes are in the full mix, at their ticks, once; all parts together are the full mix."""
    path = tiny_score.write(tmp_path / "Rich.mscz", version="3.6.2", music=RICH)
    document = score.read(path)
    switches = list(score._switches(document.root))
    names = ["full", *(part.name for part in document.parts)]
    tasks = [
        (score._copy(document, switches, part, tmp_path / f"{name}-copy.mscz"), tmp_path / f"{name}.mid")
        for name, part in zip(names, [None, *document.parts])
    ]
    score._run(document, score._usable_version(document, tmp_path / "version"), tasks, 60)
    musescore([{"in": str(path), "out": str(tmp_path / "original.mid")}], tmp_path)
    full, *alone = (notes(output) for _, output in tasks)
    assert full == notes(tmp_path / "original.mid")
    assert sum(alone, Counter()) == full
    assert all(part == alone[0] for part in alone)  # they play the same music
    starts = {(tick, pitch) for tick, pitch, velocity in alone[0] if velocity}
    assert (0, 60) in starts  # the pickup, and what follows it one beat later
    assert {(480 + 160 * index, pitch) for index, pitch in enumerate((60, 62, 64))} <= starts
    assert sum(pitch == 64 for _, pitch in starts) == 2  # the repeat
    assert sum(pitch == 76 for _, pitch in starts) == 1  # its first ending
    assert sum(pitch == 48 for _, pitch in starts) == 2  # the second voice
    assert sum(pitch == 65 for _, pitch in starts) > 4  # the tremolo
    for _, output in tasks[1:]:
        assert mido.MidiFile(output).length == pytest.approx(mido.MidiFile(tmp_path / "full.mid").length, abs=0.01)


def test_what_the_composer_muted_stays_mute(tmp_path):
    muted = BAR.replace("<Note>", "<Note><play>0</play>", 2)
    document = score.read(tiny_score.write(tmp_path / "Tiny.mscz", music=muted))
    switches = list(score._switches(document.root))
    assert len(switches) == 3 * 2
    score._copy(document, switches, document.parts[1], tmp_path / "part.mscz")
    with zipfile.ZipFile(tmp_path / "part.mscz") as archive:
        text = archive.read("part.mscx").decode()
    assert [text.count(f"<play>{value}</play>") for value in (0, 1)] == [3 * 2 + 2 * 2, 2]


# MuseScore 4 as far as its command line goes, played by MuseScore 3: it has no -c, one output an entry of a job, its
# settings in MuseScore4.ini, and an AppImage prints lines of its own.
MUSESCORE_4 = """
if [ "$1" = --version ]; then printf '/lib64/libpipewire-0.3.so.0\\nMuseScore4 4.5.2\\n'; exit; fi
for argument; do [ "$argument" != -c ] || exit 3; done
! grep -q '"out": *\\[' "$2" || exit 4
cp "$XDG_CONFIG_HOME/MuseScore/MuseScore4.ini" "$XDG_CONFIG_HOME/MuseScore/MuseScore3.ini" || exit 5
exec {} -c "$XDG_CONFIG_HOME" -f "$@"
"""


def test_musescore_4_exports_by_the_same_way(tmp_path, program):
    program(MUSESCORE_4.format(find_program("musescore")))
    path = tiny_score.write(tmp_path / "Four.mscz", version="4.4.4", names=["Vibes"], music=BAR)
    found = score.export(path, tmp_path / "media")
    assert [place.name for place in found] == ["Vibes.wav", "Four.wav", "Four.mid"]
    assert all(probe.probe(place).sample_rate == 48000 for place in found[:-1])
    assert min(level(soundfile.read(place)[0]) for place in found[:-1]) > -50


# -- Names ---------------------------------------------------------------------------------------------------

ODD = [
    "Violin I",
    "Violin I",
    "violin i",
    "Flöte",
    "B♭ Clarinet",
    "a/b:c",
    "../../up",
    "-rf",
    ".hidden",
    "",
    "x" * 250,
    "tab\tand  spaces ",
    "bell\u202e\u0085",
    "{title} %d $(ls)",
    "ö" * 150,
]
SAFE = [
    "Violin_I",
    "Violin_I_2",
    "violin_i_3",
    "Floete",
    "Bb_Clarinet",
    "a_b_c",
    "__.._up",
    "_rf",
    "_hidden",
    "Part",
    "x" * 200,
    "tab_and_spaces",
    "bell_",
    "{title}_%d_$(ls)",
    "oe" * 100,
]


@pytest.mark.parametrize("version", tiny_score.FORMATS)
@pytest.mark.parametrize("excerpts", [True, False])
def test_names_of_parts_are_safe_and_each_has_its_own(tmp_path, version, excerpts):
    document = score.read(tiny_score.write(tmp_path / "Odd.mscz", excerpts, version=version, names=ODD, music=BAR))
    named = [part.name for part in document.parts]
    assert named == SAFE
    media = tmp_path / "media"
    for place in score.places(document, media):
        assert place.parent in (media, media / "parts" / "Odd")
        assert len(place.name.encode()) < 255 and place.name.isprintable()
    assert [{staff for staff, _ in part.tracks} for part in document.parts] == [{n} for n in range(len(ODD))]


def test_names_are_those_that_musescore_3_gives_its_excerpts(tmp_path):
    names = ["Violin I", "Flöte", "B♭ Clarinet", "a/b:c", " tab\tand  spaces ", "Großmütterchen", 'F♯ <1>|?*"\\']
    path = tiny_score.write(tmp_path / "Names.mscz", names=names, music=BAR)
    (tmp_path / "parts").mkdir()
    musescore([{"in": str(path), "out": [[f"{tmp_path}/parts/", ".mid"]]}], tmp_path)
    expected = sorted(path.stem for path in (tmp_path / "parts").iterdir())
    assert sorted(part.name for part in score.read(path).parts) == expected


def test_excerpts_hold_what_they_were_made_of(tmp_path):
    """Several parts in one, single voices of a staff; what is in no excerpt is a part of its own."""
    names = ["Flutes", "Horn", "Bass"]
    text = tiny_score.document(True, names=names, music=BAR)
    excerpts = text[text.index("<Score>", 20 + text.index("<Score>")) : text.rindex("</Score>")]
    linked = '<Part><Staff id="{}"><linkedTo>{}</linkedTo></Staff></Part>'
    flute = "<Score>" + linked.format(1, 1) + '<Tracklist sTrack="{0}" dstTrack="0"/><name>Flute {1}</name></Score>'
    both = "<Score>" + linked.format(1, 1) + linked.format(2, 2) + "<name>Both</name></Score>"
    path = tmp_path / "Voices.mscx"
    path.write_text(text.replace(excerpts, flute.format(0, 1) + flute.format(1, 2) + both))
    found = {part.name: part.tracks for part in score.read(path).parts}
    assert list(found) == ["Flute_1", "Flute_2", "Both", "Bass"]
    assert found["Flute_1"] == {(0, 0)} and found["Flute_2"] == {(0, 1)}
    assert found["Both"] == {(staff, voice) for staff in (0, 1) for voice in range(4)}
    assert found["Bass"] == {(2, voice) for voice in range(4)}


# -- What is there already -------------------------------------------------------------------------------------


def test_parts_exported_by_hand_are_taken_as_they_are(tmp_path):
    path = tiny_score.write(tmp_path / "Tiny.mscz", names=["Vibes", "Bells"], music=BAR)
    os.utime(path, (1e9, 1e9))
    media = tmp_path / "media"
    by_hand, old, full = (
        media / "parts" / "Tiny" / "Vibes.wav",
        media / "parts" / "Tiny" / "Bells.wav",
        media / "Tiny.wav",
    )
    by_hand.parent.mkdir(parents=True)
    for place in (by_hand, full):
        soundfile.write(place, np.full(4800, 0.25), 48000)
    assert score.missing(path, media) == [old, media / "Tiny.mid"]
    soundfile.write(old, np.full(4800, 0.25), 48000)
    assert score.missing(path, media) == [media / "Tiny.mid"]
    os.utime(old, (1e8, 1e8))  # older than the score: exported before its last change
    score.export(path, media)
    assert soundfile.info(by_hand).frames == soundfile.info(full).frames == 4800
    assert soundfile.info(old).frames > 48000


def test_what_is_missing_is_known_and_made_again_and_nothing_else(exported, tmp_path, program):
    media = shutil.copytree(exported, tmp_path / "media")
    path = tiny_score.write(tmp_path / "Tiny.mscz", names=TWO)
    os.utime(path, (1e9, 1e9))
    deleted, damaged = (media / "parts" / "Tiny" / f"{name}.wav" for name in TWO)
    whole = {place: place.read_bytes() for place in (deleted, damaged)}
    assert score.missing(path, media) == []
    damaged.write_bytes(bytes(len(whole[damaged])))
    assert score.missing(path, media) == [damaged]
    damaged.write_bytes(whole[damaged])
    assert score.missing(path, media) == []
    deleted.unlink()
    damaged.write_bytes(whole[damaged][:-1000])  # cut off
    assert score.missing(path, media) == [deleted, damaged]
    before = {place: place.stat().st_mtime_ns for place in media.glob("*.*")}
    score.export(path, media)
    assert {place: place.read_bytes() for place in whole} == whole
    assert {place: place.stat().st_mtime_ns for place in media.glob("*.*")} == before  # or all would be drawn anew
    program("exit 1")  # from here on nothing is left to do
    assert score.export(path, media)[-1] == media / "Tiny.mid"
    clock = (media / "Tiny.mid").read_bytes()
    for content in (clock[:-1], clock[:10], b"", bytes(len(clock))):
        (media / "Tiny.mid").write_bytes(content)
        assert score.missing(path, media) == [media / "Tiny.mid"]


def test_a_wav_written_to_a_pipe_is_whole(tmp_path):
    path = tiny_score.write(tmp_path / "Tiny.mscz")
    for place in score.missing(path, tmp_path):
        place.parent.mkdir(parents=True, exist_ok=True)
        sound = io.BytesIO()
        soundfile.write(sound, np.zeros(100), 48000, format="WAV")
        data = bytearray(sound.getvalue())
        begin = data.index(b"data") + 4
        data[begin : begin + 4] = struct.pack("<I", 0xFFFFFFFF)
        place.write_bytes(data)
    assert score.missing(path, tmp_path) == [tmp_path / "Tiny.mid"]


# -- What cannot be exported ----------------------------------------------------------------------------------


def zipped(**changes) -> bytes:
    """A .mscz; the names of files to change, without their suffix, with their new content, or None for none."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tiny_score.contents("score", tiny_score.document(True)).items():
            content = changes.get(Path(name).stem, content)
            if content is not None:
                archive.writestr(name, content)
    return packed.getvalue()


def changed(data: bytes, at: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite bytes at an offset from each place where `at` stands."""
    data, begin = bytearray(data), 0
    while (begin := data.find(at, begin)) >= 0:
        data[begin + offset : begin + offset + len(value)] = value
        begin += 1
    return bytes(data)


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
TEXT = tiny_score.document(True)
LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
DOCTYPE = TEXT.replace("<museScore", f'<!DOCTYPE m [<!ENTITY l0 "ha">{LAUGHS}]><museScore', 1)
HOSTILE = {
    "noise": os.urandom(1000),
    "zeros": bytes(1000),
    "cut": zipped()[:900],
    "no score": zipped(score=None),
    "empty score": zipped(score=""),
    "broken XML": zipped(score=TEXT[:-100]),
    "not a score": zipped(score="<html><Score/></html>"),
    "no version": zipped(score=TEXT.replace('version="3.01"', "")),
    "odd version": zipped(score=TEXT.replace('version="3.01"', 'version="1e400"')),
    "no staves": zipped(score=TEXT.replace("<Staff ", "<Stuff ").replace("</Staff>", "</Stuff>")),
    "a staff too few": zipped(score=TEXT.replace('<Staff id="3"><Measure', '<Stave id="3"><Measure', 1)
                              .replace("</Staff><Score>", "</Stave><Score>", 1)),
    "latin-1 title": zipped(score=TEXT.replace("Vibes", "Fl\u00f6te").encode("latin-1")),
    "UTF-16": zipped(score=TEXT.replace("UTF-8", "UTF-16").encode("utf-16")),
    "billion laughs": zipped(score=DOCTYPE.replace("<longName>Vibes", "<longName>&l9;")),
    "external entity": zipped(score=TEXT.replace("<museScore", '<!DOCTYPE m SYSTEM "/etc/passwd"><museScore', 1)),
    "laughs in EBCDIC": zipped(score=DOCTYPE.replace("UTF-8", "cp037").encode("cp037")),
    "encrypted": changed(changed(zipped(), LOCAL, 6, b"\1"), CENTRAL, 8, b"\1"),
    "unknown method": changed(changed(zipped(), LOCAL, 8, b"\x63"), CENTRAL, 10, b"\x63"),
    "LZMA": changed(changed(zipped(), LOCAL, 8, b"\x0e"), CENTRAL, 10, b"\x0e"),
    "lying checksum": changed(zipped(), CENTRAL, 16, b"\xde\xad\xbe\xef"),
    "lying size": changed(zipped(), CENTRAL, 24, b"\xff\xff\xff\x7f"),
    "small lying size": changed(zipped(), CENTRAL, 24, b"\x10\0\0\0"),
    "lying place": changed(zipped(), CENTRAL, 42, b"\xff\xff\xff\x7f"),
    "broken zlib stream": changed(zipped(), b"score.mscx", 10 + 100, os.urandom(200)),
    "bad name": changed(changed(zipped(), LOCAL, 6, b"\0\x08"), b"score.mscx", 0, b"sc\xff\xfee"),
    "deep": zipped(score=TEXT.replace("<Style>", "<a>" * 100_000 + "</a>" * 100_000 + "<Style>", 1)),
    "many parts of XML": zipped(score=TEXT + " " * (score.LARGEST + 1)),
}  # fmt: skip
OPENS = {"lying size", "deep"}  # faults that zipfile or MuseScore accepts


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_and_broken_files_are_refused_in_one_line(tmp_path, kind, exported):
    path = tmp_path / "score of somebody.mscz"
    path.write_bytes(HOSTILE[kind])
    clock = read_clock(exported / "Tiny.mid")
    for use in (score.read, score.missing, lambda path: score.chapters(path, clock)):
        try:
            use(path)
        except MediaError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            assert len(str(error)) - len(str(path)) < 300
        else:
            assert kind in OPENS
    assert wavs(tmp_path) == [path.name]


def test_memory_stays_bounded_whatever_a_file_unpacks_to(tmp_path):
    """Of 309 MB of XML only as much is unpacked as a score may have."""
    path = tmp_path / "bomb.mscz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("s.mscx", "w") as file,
    ):
        for _ in range(309):
            file.write(bytes(1 << 20))
    measure = (
        "import re, resource, sys; from musicvideo.sound import score\n"
        "try: score.read(sys.argv[1])\nexcept score.MediaError as error: print(error)\n"
        # Not ru_maxrss on Linux, which begins with that of the process this one was forked from.
        "try: print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "except OSError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    message, kilobytes = subprocess.run(
        [sys.executable, "-c", measure, path],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(score.__file__).parents[2],
    ).stdout.splitlines()
    assert message == f"{path}: unpacks to more than 32 MB (is it a score?)"
    assert int(kilobytes) < 300_000


def test_other_files_in_the_archive_are_never_written(tmp_path, temporary):
    """Names that lead out of a folder, and files that no MuseScore writes, are not taken over."""
    path = tiny_score.write(tmp_path / "Tiny.mscz", version="4.4.4")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../../escaped.mscx", "/escaped.json", "..\\escaped.mss", "evil.so", "Pictures/a.png"):
            archive.writestr(name, "x")
    document = score.read(path)
    copy = score._copy(document, [], None, tmp_path / "copy.mscz")
    with zipfile.ZipFile(copy) as archive:
        assert sorted(archive.namelist()) == [
            "META-INF/container.xml",
            "audiosettings.json",
            "copy.mscx",
            "score_style.mss",
        ]


def test_a_plain_mscx_is_a_score_as_well(tmp_path):
    document = score.read(tiny_score.write(tmp_path / "Plain.mscx", version="3.6.2"))
    assert [part.name for part in document.parts] == list(tiny_score.PARTS)
    (tmp_path / "Bad.mscx").write_bytes(zipped())
    with pytest.raises(MediaError, match="Bad.mscx: is not a MuseScore score"):
        score.read(tmp_path / "Bad.mscx")


VERSIONS = {
    "MuseScore3 3.2.3": (
        "4.4.4",
        r"X.mscz: was saved by MuseScore 4.4.4, and .*a musescore is MuseScore 3.2.3, which "
        r"does not read it: install MuseScore 4, or name it .*by hand to .*X\.wav",
    ),
    "MuseScore4 4.4.4": ("5.0.0", "X.mscz: was saved by MuseScore 5.0.0, and .* is MuseScore 4.4.4, .* MuseScore 5"),
    "MuseScore Studio 4.7.2": ("4.4.4", "X.mscz: /.* is MuseScore 4.7.2, which by a fault of its own exports no WAV"),
    "MuseScore2 2.3.2": ("3.2.3", "X.mscz: /.* is MuseScore 2.3.2, which is too old: install MuseScore 3 or 4"),
    "MuseScore4 4.6.5": ("3.6.2", r"X.mscz: MuseScore 4.6.5 cannot export it \(it was saved by MuseScore 3.6.2;"),
    "Some player 1.0": ("3.2.3", "X.mscz: .*a musescore is not MuseScore, or does not state its version"),
}


@pytest.mark.parametrize("printed", VERSIONS)
def test_versions_that_do_not_go_together_are_named(tmp_path, program, printed):
    version, message = VERSIONS[printed]
    program(f'[ "$1" = --version ] && echo "{printed}" || exit 1')
    path = tiny_score.write(tmp_path / "X.mscz", version=version)
    with pytest.raises(MediaError, match=message):
        score.export(path, tmp_path / "media")
    assert not (tmp_path / "media").exists()


def test_what_musescore_cannot_export_says_so(tmp_path, temporary):
    """A score without measures, for example."""
    path = tiny_score.write(tmp_path / "Odd.mscz", music="<Nothing/>")
    with pytest.raises(MediaError, match="Odd.mscz: MuseScore .* (cannot export it|finds no music)"):
        score.export(path, tmp_path / "media")
    assert not (tmp_path / "media").exists() and not list(temporary.iterdir())


@pytest.mark.parametrize("version", ["3.2.3", "4.4.4"])
def test_without_a_musescore_that_can_it_says_what_to_do_by_hand(tmp_path, monkeypatch, version):
    if version < "4":
        monkeypatch.setenv("MUSESCORE", "no-such-musescore")
    path = tiny_score.write(tmp_path / "Tiny.mscz", version=version)
    os.utime(path, (1e9, 1e9))
    with pytest.raises(MediaError, match=r"MUSESCORE=.*; or export it by hand to .*Tiny\.wav"):
        score.export(path, tmp_path / "media")
    # Parts are not required then: the mix may not need them, or they may have other names.
    (tmp_path / "media" / "parts" / "Tiny").mkdir(parents=True)
    for name in ("Tiny.wav", "parts/Tiny/Vibes.wav", "parts/Tiny/My bells.wav"):
        soundfile.write(tmp_path / "media" / name, np.full(4800, 0.25), 48000)
    with pytest.raises(MediaError, match="by hand"):
        score.export(path, tmp_path / "media")
    mido.MidiFile(tracks=[mido.MidiTrack()]).save(tmp_path / "media" / "Tiny.mid")
    assert [place.name for place in score.export(path, tmp_path / "media")] == ["Vibes.wav", "Tiny.wav", "Tiny.mid"]


def test_a_musescore_that_hangs_is_stopped(tmp_path, temporary, program, monkeypatch):
    program(f'[ "$1" != --version ] || exec {find_program("musescore")} --version; sleep 600 & wait')
    monkeypatch.setattr(score, "PATIENCE", 0.5)
    with pytest.raises(MediaError, match="exporting .*Tiny.mscz: musescore was stopped, for it had not finished"):
        score.export(tiny_score.write(tmp_path / "Tiny.mscz"), tmp_path / "media")
    assert not (tmp_path / "media").exists() and not list(temporary.iterdir())


@pytest.mark.parametrize(
    "music, message",
    [
        (BAR.replace("</voice>", "</voice><endRepeat>1000000000</endRepeat>"), "plays some 1000000000 times"),
        (230 * BAR.replace("<voice>", "<voice><Tempo><tempo>0.05</tempo></Tempo>"), "at most 10800 s"),
    ],
)
def test_scores_that_would_play_for_days_are_refused(tmp_path, temporary, music, message):
    path = tiny_score.write(tmp_path / "Long.mscz", music=music)
    with pytest.raises(MediaError, match=f"Long.mscz: .*{message}"):
        score.export(path, tmp_path / "media")
    assert not (tmp_path / "media").exists() and not list(temporary.iterdir())


def test_silence_is_an_error(tmp_path):
    """MuseScore without its sound font exports silence; here the mixer mutes the channel."""
    muted = tiny_score.document(False, names=["Vibes"], music=BAR).replace("<synti>", "<mute>1</mute><synti>")
    (tmp_path / "Mute.mscx").write_text(muted)
    (tmp_path / "media" / "parts" / "Mute").mkdir(parents=True)
    soundfile.write(tmp_path / "media" / "parts" / "Mute" / "Vibes.wav", np.full(4800, 0.25), 48000)
    with pytest.raises(MediaError, match=r"Mute.mscx: MuseScore 3\.\S* plays it in silence \(is its sound font"):
        score.export(tmp_path / "Mute.mscx", tmp_path / "media")
    assert wavs(tmp_path / "media") == ["parts"]


@pytest.mark.parametrize("kilobytes", [40, 1500])
def test_a_full_disk_is_named(tmp_path, monkeypatch, kilobytes):
    """While the settings and the copies are written; while MuseScore writes sounds."""
    disk = tmp_path / "disk"
    path = tiny_score.write(tmp_path / "Tiny.mscz", names=["Vibes"])
    with small_disk(disk, kilobytes << 10):
        monkeypatch.setattr("tempfile.tempdir", str(disk))
        with pytest.raises(MediaError, match=f"Tiny.mscz: no space left in {disk} "):
            score.export(path, tmp_path / "media")
        assert not list(disk.iterdir())
        assert not (tmp_path / "media").exists()


def test_chapters_are_the_rehearsal_marks(exported, tmp_path):
    clock = read_clock(exported / "Tiny.mid")
    for version in tiny_score.FORMATS:
        found = score.chapters(tiny_score.write(tmp_path / "Tiny.mscz", version=version, names=TWO), clock)
        assert found == [(0.0, "A: Calm"), (pytest.approx(2.0), "B")]
    with pytest.raises(MediaError, match="is not a MuseScore score"):
        score.chapters(exported / "Tiny.mid", clock)
