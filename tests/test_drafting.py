"""Tables that are written as a start: they can be read, and mean what they say."""

import os

import numpy as np
import pytest
import soundfile
from test_notes import BASS, PIANO, midi_file

import tiny_score
from musicvideo.errors import MediaError
from musicvideo.notes import label, read_notes
from musicvideo.sound import drafting as sound
from musicvideo.sound.mastering import measure
from musicvideo.sound.table import read_mix
from musicvideo.vision import drafting as vision
from musicvideo.vision.conduct import Conduct, cast, read_conduct
from musicvideo.vision.conducting import conducted
from musicvideo.vision.generators import Handle

RATE = 48000
ODD_NAMES = [
    "Grand Piano (left) #1",
    "Grand_Piano_left_1",
    'say "hi" \\ {b} [c] \x7f',
    "ヴィオラ",
    "日本",
    "Flöte",
    "_",
]


def tone(decibels, pitch=440, seconds=2.0):
    return 10 ** (decibels / 20) * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a song's clock, in which parts can be written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "media" / "parts" / "Mine").mkdir(parents=True)
    (tmp_path / "scores").mkdir()
    drums = ("Drums", 9, None, [(0, 480, 36, 100)])
    midi_file(tmp_path / "media" / "Mine.mid", [PIANO, ("Bass", *BASS[1:]), drums])
    return tmp_path


@pytest.fixture
def drafted(folder):
    """A function that writes parts, drafts their table and reads it."""

    def draft(parts):
        for name, samples in parts.items():
            soundfile.write(f"media/parts/Mine/{name}.wav", samples, RATE, subtype="FLOAT")
        sounds = [folder.relative_to(folder) / "media" / "parts" / "Mine" / f"{name}.wav" for name in parts]
        table = folder / "scores" / "Mine.mix.toml"
        table.write_text(sound.draft("Mine", sounds, "media/Mine.mid", purpose="A test."), encoding="utf-8")
        return read_mix(table, "Mine")

    return draft


def test_parts_are_as_loud_as_the_median_one(drafted):
    mix = drafted({"Piano": tone(-20), "Bass": tone(-13.3), "Drums": tone(-24.1)})
    gains = {name: part.gain for name, part in mix.parts.items()}
    assert gains["Piano"] == 0
    levels = [measure(part.file).integrated + part.gain for part in mix.parts.values()]
    assert np.ptp(levels) <= 0.5


def test_what_is_far_softer_or_louder_stays_so(drafted):
    mix = drafted({"a": tone(-60), "b": tone(-30), "c": tone(-2)})
    assert [part.gain for part in mix.parts.values()] == [6, 0, -12]


def test_silent_parts_stay_as_they_are(drafted, folder):
    mix = drafted({"a": tone(-30), "rest": np.zeros(RATE), "b": tone(-20), "blip": tone(-10, seconds=0.1)})
    assert [part.gain for part in mix.parts.values()] == [0, 0, -10, 0]
    assert [part.balance for part in mix.parts.values()] == [-0.4, 0, 0.4, 0]
    assert (folder / "scores" / "Mine.mix.toml").read_text().count("silent") == 2


def test_parts_stand_from_left_to_right_in_one_room_and_do_not_move(drafted):
    mix = drafted({name: tone(-20) for name in "abc"})
    places = [part.balance for part in mix.parts.values()]
    assert places == sorted(places) and places[0] == -places[2] and places[1] == 0 and max(places) < 0.5
    assert {part.reverb for part in mix.parts.values()} == set(mix.reverbs) and len(mix.reverbs) == 1
    assert not any(part.moves for part in mix.parts.values())
    assert [part.balance for part in drafted({"a": tone(-20)}).parts.values()] == [0]


def test_nothing_is_cut_that_a_part_plays(drafted):
    parts = drafted({name: tone(-20) for name in ("Piano", "Bass", "Drums", "Other")}).parts
    assert 261.6 / 2 - 10 < parts["Piano"].highpass <= 261.6 / 2  # its lowest note is C4
    assert parts["Bass"].highpass == 40  # E2
    assert parts["Drums"].highpass is parts["Other"].highpass is None


def test_files_may_have_any_name(drafted):
    mix = drafted({name: tone(-20) for name in ODD_NAMES})
    assert [part.file for part in mix.parts.values()] == [f"media/parts/Mine/{name}.wav" for name in ODD_NAMES]
    assert all(os.path.exists(part.file) for part in mix.parts.values())


def test_a_clock_without_notes_is_no_hindrance(drafted):
    midi_file("media/Mine.mid", [])
    assert drafted({"Piano": tone(-20)}).parts["Piano"].highpass is None


def test_a_name_that_no_table_can_hold_is_named(folder):
    file = os.fsdecode(b"media/parts/Mine/\xff.wav")
    soundfile.write(os.fsencode(file), tone(-20), RATE)
    with pytest.raises(MediaError, match="not text in UTF-8"):
        sound.draft("Mine", [folder.relative_to(folder) / file], "media/Mine.mid", purpose="A test.")


def test_parts_are_those_of_the_score(folder):
    """Not what an earlier score has left; but other names, if somebody exported by hand; else the full mix."""
    score = tiny_score.write(folder / "scores" / "Mine.mscz")
    assert [str(path) for path in sound.parts(score)] == ["media/Mine.wav"]
    exported = folder / "media" / "parts" / "Mine"
    (exported / "mine too.wav").touch()
    (exported / "Bells.wav").touch()
    assert [path.name for path in sound.parts(score)] == ["Bells.wav", "mine too.wav"]
    for name in tiny_score.PARTS:
        (exported / f"{name}.wav").touch()
    assert [path.stem for path in sound.parts(score)] == list(tiny_score.PARTS)


def test_a_table_is_old_when_a_part_or_the_score_is_newer(drafted, folder):
    drafted({"a": tone(-20), "b": tone(-20)})
    table, score = folder / "scores" / "Mine.mix.toml", tiny_score.write(folder / "scores" / "Mine.mscz")
    sounds = sorted((folder / "media" / "parts" / "Mine").glob("*.wav"))
    for path in (score, *sounds, sounds[0].parent):
        os.utime(path, (1000, 1000))
    assert sound.is_fresh(table, score, sounds)
    for changed in (score, sounds[1], sounds[0].parent):
        os.utime(changed, (1e10, 1e10))
        assert not sound.is_fresh(table, score, sounds)
        os.utime(changed, (1000, 1000))
    table.unlink()
    assert not sound.is_fresh(table, score, sounds)


LONG = [("Low brass", 0, 58, [(1920 * bar, 960, 40, 90) for bar in range(40)]), PIANO]


@pytest.mark.parametrize(
    "marks",
    [
        [],  # a section every so many measures
        [(0, "A"), (3840, "B: calm")],
        [(1920, "Late"), (7680, 'A "quoted" \\ one')],
        [(0, "A1"), (3840, "A"), (7680, "A"), (9600, "long " * 1000)],  # the beginning of a name is not enough
        [(0, "A"), (1000, "A")],  # no downbeat, and no name of its own
    ],
)
def test_a_drafted_conduct_table_means_the_same_as_none(tmp_path, marks):
    file = midi_file(tmp_path / "a.mid", LONG)
    label(file, {}, marks).save(file)
    notes = read_notes(file)
    (tmp_path / "a.conduct.toml").write_text(vision.draft("Mine", notes), encoding="utf-8")
    table = read_conduct(tmp_path / "a.conduct.toml")
    assert list(table.parts) == ["Low brass", "Piano"]
    handles = {name: Handle(np.eye(8)[number], 3.0) for number, name in enumerate(["zoom", "turn", "lamp", "tint"])}
    casts = [cast(each, notes, range(6), list("abcdef")) for each in (table, Conduct())]
    assert len(casts[0].scenes) == len(casts[1].scenes) > 1
    paths = [conducted(notes, each, handles, noise_dim=8, rng=np.random.default_rng(1)).checksum() for each in casts]
    assert paths[0] == paths[1]


def test_every_line_of_a_conduct_table_can_be_filled_in(tmp_path):
    """Without the signs of a comment, and with names that there are, it is a table as well."""
    notes = read_notes(midi_file(tmp_path / "a.mid", LONG))
    lines = vision.draft("Mine", notes).split("# All settings")[0].replace("NAME", "zoom").splitlines()
    file = tmp_path / "a.conduct.toml"
    file.write_text("\n".join(line.removeprefix("# ") if " = " in line else line for line in lines))
    table = read_conduct(file)
    brass = cast(table, notes, [0], ["zoom"]).roles[0]
    assert brass.table.handles == {"zoom": 0.5} and brass.table.classes == ("zoom", "zoom")
    assert brass.decay == cast(Conduct(), notes, [0], ["zoom"]).roles[0].decay
    assert table.motion == Conduct().motion
