"""Notes of MIDI files, as scores, sequencers and people write them."""

import mido
import numpy as np
import pytest

from musicvideo import limits
from musicvideo.errors import MediaError
from musicvideo.notes import label, read_notes


def midi_file(path, tracks, *, tempo=((0, 500_000),), kind=1):
    """Write a MIDI file of 480 ticks a quarter note.

    Args:
        tracks: for each (name, channel, program, notes); a note is (tick, ticks, pitch, velocity).
        tempo: (tick, microseconds a quarter note).
    """
    midi = mido.MidiFile(type=kind, ticks_per_beat=480)
    events = [[(tick, mido.MetaMessage("set_tempo", tempo=value)) for tick, value in tempo]]
    for name, channel, program, notes in tracks:
        found = [(0, mido.MetaMessage("track_name", name=name))] if name else []
        if program is not None:
            found.append((0, mido.Message("program_change", channel=channel, program=program)))
        for tick, ticks, pitch, velocity in notes:
            found.append((tick, mido.Message("note_on", channel=channel, note=pitch, velocity=velocity)))
            found.append((tick + ticks, mido.Message("note_off", channel=channel, note=pitch)))
        events.append(found)
    if kind == 0:
        events = [[event for found in events for event in found]]
    for found in events:
        found.sort(key=lambda event: event[0])
        track, before = mido.MidiTrack(), 0
        for tick, message in found:
            track.append(message.copy(time=tick - before))
            before = tick
        midi.tracks.append(track)
    midi.save(path)
    return path


PIANO, BASS = ("Piano", 0, 0, [(0, 480, 60, 100), (960, 240, 64, 50)]), ("", 1, 33, [(480, 480, 40, 127)])


def test_notes_are_in_order_with_part_pitch_and_strength(tmp_path):
    found = read_notes(midi_file(tmp_path / "a.mid", [PIANO, BASS]))
    assert found.onset == pytest.approx([0, 0.5, 1.0])
    assert found.length == pytest.approx([0.5, 0.5, 0.25])
    assert found.pitch.tolist() == [60, 40, 64] and found.velocity.tolist() == [100, 127, 50]
    assert [part.name for part in found.parts] == ["Piano", "Bass"]  # the track's name, else the family's
    assert found.part.tolist() == [0, 1, 0]
    assert found.downbeats.tolist() == [0.0] and found.beats == pytest.approx([0, 0.5, 1.0, 1.5])


def test_times_follow_changes_of_tempo(tmp_path):
    found = read_notes(midi_file(tmp_path / "a.mid", [PIANO], tempo=[(0, 500_000), (480, 1_000_000)]))
    assert found.onset == pytest.approx([0, 1.5])


def test_a_file_with_one_track_has_a_part_for_each_channel(tmp_path):
    notes = ("Song", 0, 0, [(0, 480, 60, 100)]), ("", 9, None, [(0, 120, 36, 90)]), ("", 2, 11, [(0, 480, 70, 80)])
    found = read_notes(midi_file(tmp_path / "a.mid", notes, kind=0))
    assert sorted(part.program for part in found.parts) == [0, 0, 11]
    assert sorted(part.drums for part in found.parts) == [False, False, True]
    assert len({part.name for part in found.parts}) == 3


def test_two_staves_of_one_instrument_are_one_part(tmp_path):
    right, left = ("Marimba", 2, 12, [(0, 480, 72, 80)]), ("Marimba", 2, None, [(0, 480, 48, 80)])
    found = read_notes(midi_file(tmp_path / "a.mid", [right, left]))
    assert [(part.name, part.program) for part in found.parts] == [("Marimba", 12)]


def test_parts_of_one_name_are_told_apart(tmp_path):
    tracks = [(name, channel, program, [(0, 480, 60, 90)]) for channel, (name, program) in enumerate(
        [("", 0), ("Piano 2", 40), ("", 1), ("", 2)])]  # fmt: skip
    names = [part.name for part in read_notes(midi_file(tmp_path / "a.mid", tracks)).parts]
    assert sorted(names) == ["Piano", "Piano 2", "Piano 3", "Piano 4"]


def test_a_note_that_never_ends_lasts_to_the_end_of_its_track(tmp_path):
    path = midi_file(tmp_path / "a.mid", [("", 0, 0, [(0, 9600, 60, 100)])])
    midi = mido.MidiFile(path)
    midi.tracks[1] = mido.MidiTrack(m for m in midi.tracks[1] if m.type != "note_off")
    midi.tracks[1].append(mido.MetaMessage("end_of_track", time=960))
    midi.save(path)
    assert read_notes(path).length == pytest.approx([1.0])


def test_marks_and_names_are_written_and_read_back(tmp_path):
    path = midi_file(tmp_path / "a.mid", [("", 0, 11, [(0, 480, 60, 100), (1920, 480, 62, 100)])])
    before = read_notes(path)
    label(path, {1: "Vibes ♭"}, [(0, "A: slow"), (1920, "B")]).save(path)
    found = read_notes(path)
    assert found.marks == ((0.0, "A: slow"), (2.0, "B"))
    assert found.parts[0].name == "Vibes ♭"
    assert np.array_equal(found.onset, before.onset) and np.array_equal(found.downbeats, before.downbeats)


def test_notes_are_moved_and_cut_to_a_song(tmp_path):
    written = read_notes(midi_file(tmp_path / "a.mid", [PIANO, BASS]))
    moved = written.within(1.2, 0.4)
    assert moved.onset == pytest.approx([0.4, 0.9]) and moved.duration == 1.2
    assert moved.beats == pytest.approx([0.4, 0.9])
    assert len(written.within(9, -0.2).onset) == 2  # what would begin before the song is left out


@pytest.mark.parametrize(
    "content", [b"", b"MThd", b"RIFF" + bytes(60), b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\xff\xff\xff\xff"]
)
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / "a.mid"
    path.write_bytes(content)
    with pytest.raises(MediaError, match="a.mid"):
        read_notes(path)


def test_a_file_without_notes_is_named(tmp_path):
    with pytest.raises(MediaError, match="holds no notes"):
        read_notes(midi_file(tmp_path / "a.mid", [("Piano", 0, 0, [])], tempo=[(0, 500_000), (960, 400_000)]))


def test_too_many_parts_and_markers_are_refused(tmp_path):
    """Time and memory of a drawing grow with their product."""
    crowd = [(f"Part {number}", 0, 0, [(0, 480, 60, 100)]) for number in range(limits.PARTS + 1)]
    with pytest.raises(MediaError, match=f"{limits.PARTS + 1} parts, give at most {limits.PARTS}"):
        read_notes(midi_file(tmp_path / "a.mid", crowd))
    marks = [(number, str(number)) for number in range(limits.SECTIONS + 1)]
    marked = label(midi_file(tmp_path / "b.mid", [PIANO]), {}, marks)
    marked.save(tmp_path / "b.mid")
    with pytest.raises(MediaError, match=f"{limits.SECTIONS + 1} markers"):
        read_notes(tmp_path / "b.mid")


def test_many_notes_take_their_instrument_from_another_track(tmp_path):
    """So many that a search through the file for each of them would never end."""
    notes = [(2 * number, 1, 60, 100) for number in range(20_000)]
    midi_file(tmp_path / "a.mid", [("", 3, None, notes), ("", 3, 11, [(0, 1, 60, 100)])])
    found = read_notes(tmp_path / "a.mid")
    assert len(found.onset) == 20_001 and [part.program for part in found.parts] == [11]
