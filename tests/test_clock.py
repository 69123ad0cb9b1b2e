"""Musical time: measures and beats of a MIDI file to seconds."""

from fractions import Fraction

import mido
import pytest

from musicvideo import limits
from musicvideo.clock import Clock, read_clock
from musicvideo.errors import MediaError

TPQ = 480


def bpm(quarters_a_minute: float) -> int:
    return mido.bpm2tempo(quarters_a_minute)


def write_midi(path, *events, end=4 * TPQ, kind=1, division=TPQ):
    """A MIDI file of (tick, meta message) and one note until `end`."""
    midi = mido.MidiFile(type=kind, ticks_per_beat=division)
    track, now = mido.MidiTrack(), 0
    for tick, message in events:
        track.append(message.copy(time=tick - now))
        now = tick
    midi.tracks += [
        track,
        mido.MidiTrack([mido.Message("note_on", note=60, time=0), mido.Message("note_off", note=60, time=end)]),
    ]
    midi.save(path)
    return path


def tempo(quarters_a_minute):
    return mido.MetaMessage("set_tempo", tempo=bpm(quarters_a_minute))


def metre(numerator, denominator):
    return mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)


def test_without_tempo_and_metre_it_is_120_in_four_four(tmp_path):
    clock = read_clock(write_midi(tmp_path / "a.mid", end=12 * TPQ))
    assert clock.measures == 3
    assert clock.seconds(2) == 2.0
    assert clock.seconds(2, 2.5) == 2.75


def test_fractional_tempo_is_not_rounded():
    clock = Clock(TPQ, [(0, bpm(95.5))], end=1000 * 4 * TPQ)
    assert clock.seconds(1001) == pytest.approx(4000 * bpm(95.5) / 1e6, abs=1e-12)


def test_tempo_changes_off_the_bar_line():
    clock = Clock(TPQ, [(0, bpm(60)), (TPQ // 2, bpm(120)), (3 * TPQ, bpm(30))], end=4 * TPQ)
    assert clock.seconds(1, 1.5) == 0.5
    assert clock.seconds(1, 4) == 0.5 + 1.25
    assert clock.duration == 0.5 + 1.25 + 2.0


@pytest.mark.parametrize("denominator", [1, 2, 4, 8, 16, 32, 64])
def test_a_beat_is_the_unit_of_any_denominator(denominator):
    clock = Clock(TPQ, [(0, bpm(60))], [(0, 5, denominator)], end=20 * TPQ)
    assert clock.seconds(1, 3) == 2 * 4 / denominator
    assert clock.seconds(2) == clock.seconds(1, 6) == 5 * 4 / denominator


def test_metre_changes_count_measures():
    clock = Clock(TPQ, [(0, bpm(60))], [(0, 1, 4), (TPQ, 4, 4), (9 * TPQ, 6, 8)], end=15 * TPQ)
    assert clock.downbeats() == [0, 1, 5, 9, 12, 15]


def test_a_signature_before_the_bar_is_full_begins_a_measure():
    clock = Clock(TPQ, [(0, bpm(60))], [(0, 4, 4), (TPQ, 4, 4)], end=9 * TPQ)  # a pickup of one beat
    assert clock.downbeats() == [0, 1, 5, 9]
    with pytest.raises(ValueError, match="beat 3 is outside measure 1, which has 1 beats"):
        clock.seconds(1, 3)


def test_the_last_measures_need_no_event_after_them():
    clock = Clock(TPQ, [(0, bpm(60))], [(0, 3, 4), (6 * TPQ, 2, 4)], end=9 * TPQ + 1)
    assert clock.measures == 4  # the music ends inside the fourth
    assert clock.duration == clock.seconds(4, 3) == clock.seconds(5) == 10


def test_a_release_behind_the_last_bar_line_begins_no_measure():
    assert Clock(TPQ, end=8 * TPQ + 1).measures == 2
    assert Clock(TPQ, end=9 * TPQ).measures == 3


def test_outside_the_piece_is_an_error():
    clock = Clock(TPQ, end=8 * TPQ)
    for measure, beat, words in (
        (3, 2, "there is no measure 3"),
        (0, 1, "there is no measure 0"),
        (1, 5.5, "beat 5.5 is outside measure 1"),
        (1, 0.5, "beat 0.5 is outside"),
    ):
        with pytest.raises(ValueError, match=words):
            clock.seconds(measure, beat)


def test_seconds_to_ticks_and_back_is_exact():
    clock = Clock(TPQ, [(0, 631_579), (777, 666_667), (2001, 428_571)], end=10_000)
    for tick in (0, 1, 776, 777, 778, 2000, 2001, 9999):
        seconds = clock.tick_seconds(tick)
        assert float(clock.seconds_tick(seconds)) == pytest.approx(tick, abs=1e-9)
    assert clock.tick_seconds(Fraction(1, 3)) == pytest.approx(631_579 / 480 / 3 / 1e6, rel=1e-15)


def test_events_in_any_track_count(tmp_path):
    midi = mido.MidiFile(type=1, ticks_per_beat=TPQ)
    midi.tracks += [
        mido.MidiTrack([metre(3, 4)]),
        mido.MidiTrack([tempo(60)]),
        mido.MidiTrack([mido.Message("note_off", note=60, time=6 * TPQ)]),
    ]
    midi.save(tmp_path / "a.mid")
    assert read_clock(tmp_path / "a.mid").downbeats() == [0, 3, 6]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MThd",
        b"RIFF\0\0\0\0WAVE",
        b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\x20\0\xff",
        b"MThd\0\0\0\6\0\1\0\0\1\xe0",
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path, content):
    path = tmp_path / "broken.mid"
    path.write_bytes(content)
    with pytest.raises(MediaError, match="broken.mid: .*(empty|MIDI)"):
        read_clock(path)


def test_time_bases_without_measures_are_refused(tmp_path):
    for name, options in (("two.mid", {"kind": 2}), ("smpte.mid", {"division": -6360})):
        with pytest.raises(MediaError, match="no measures and beats"):
            read_clock(write_midi(tmp_path / name, **options))


@pytest.mark.parametrize(
    "events, end, words",
    [
        ([(0, metre(1, 1 << 20))], 4 * TPQ, "time signature of 1/1048576"),
        ([], (1 << 28) - 1, "longer than 24 hours"),
        ([(0, metre(1, 128))], TPQ * 100_000, "more than 100000 measures"),
    ],
)
def test_files_beyond_the_limits_are_refused(tmp_path, events, end, words):
    with pytest.raises(MediaError, match=words):
        read_clock(write_midi(tmp_path / "a.mid", *events, end=end))


def test_a_large_file_is_not_read(tmp_path):
    path = write_midi(tmp_path / "a.mid")
    path.write_bytes(path.read_bytes() + bytes(limits.MIDI_BYTES))
    with pytest.raises(MediaError, match="larger than 2 MiB"):
        read_clock(path)


def test_tempo_changes_between_two_times():
    clock = Clock(TPQ, [(0, bpm(60)), (TPQ, bpm(120)), (3 * TPQ, bpm(30))], end=8 * TPQ)
    assert clock.tempo_changes(0, 10) == [1, 2]
    assert clock.tempo_changes(1, 2) == []
    assert clock.tempo_changes(0.5, 2) == [1]
