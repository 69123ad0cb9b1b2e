"""Notes and beats that are heard in a song, and the MIDI file that they become."""

from __future__ import annotations

import subprocess

import mido
import mir_eval
import numpy as np
import pytest
import soundfile

import musicvideo.__main__
import tiny_score
from conftest import ROOT, assert_one_line_error, make_media
from musicvideo.clock import read_clock
from musicvideo.errors import MediaError
from musicvideo.notes import Notes, Part, write_midi
from musicvideo.sound import score
from musicvideo.system import find_program
from musicvideo.vision import transcription
from musicvideo.vision.transcription import transcribe

RATE = 22050


def plucked(notes, seconds: float) -> np.ndarray:
    """Samples of decaying tones with overtones, which begin at (onset in seconds, pitch, amplitude)."""
    samples = np.zeros(int(seconds * RATE), np.float32)
    for onset, pitch, amplitude in notes:
        first = round(onset * RATE)
        time = np.arange(min(RATE, len(samples) - first)) / RATE
        frequency = 440 * 2 ** ((pitch - 69) / 12)
        tone = sum(np.exp(-time * 4 * n) * np.sin(2 * np.pi * n * frequency * time) / n**2 for n in range(1, 6))
        tone *= np.minimum(1, time / 0.008)
        samples[first : first + len(time)] += amplitude * tone
    return samples


def f1(notes: Notes, onset, pitch) -> float:
    """mir_eval's F1 of notes with the right pitch within 50 ms."""

    def listed(onset, pitch):
        return np.stack([onset, np.asarray(onset) + 0.1], axis=1), 440 * 2 ** ((np.asarray(pitch) - 69) / 12)

    wanted, heard = listed(onset, pitch), listed(notes.onset, notes.pitch)
    return mir_eval.transcription.precision_recall_f1_overlap(*wanted, *heard, offset_ratio=None)[2]


def note_ons(path) -> list[tuple[float, int]]:
    """(seconds, pitch) of the notes in a MIDI file, as mido plays it."""
    now, found = 0.0, []
    for message in mido.MidiFile(path):
        now += message.time
        if message.type == "note_on" and message.velocity:
            found.append((now, message.note))
    return found


def notes_of(onset, *, length=0.2, pitch=60, **others) -> Notes:
    onset = np.asarray(onset, float)
    fields = dict(
        onset=onset, length=np.full(len(onset), length), pitch=np.full(len(onset), pitch),
        velocity=np.full(len(onset), 90), part=np.zeros(len(onset), int), parts=(Part("Song", 0),),
        downbeats=np.zeros(0), beats=np.zeros(0), marks=(), duration=float(onset.max(initial=0)) + 1,
    )  # fmt: skip
    return Notes(**{**fields, **others})


@pytest.fixture(scope="module")
def melody(tmp_path_factory):
    """(path, onsets, pitches): 40 s, a note each 0.37 s, over many windows of the network."""
    rng = np.random.default_rng(4)
    onsets = np.arange(0.5, 39, 0.37)
    pitches = rng.integers(50, 85, len(onsets))
    path = tmp_path_factory.mktemp("melody") / "melody.wav"
    soundfile.write(path, plucked(zip(onsets, pitches, np.full(len(onsets), 0.3)), 40), RATE)
    return path, onsets, pitches


def test_a_melody_is_heard_without_drift(melody):
    path, onsets, pitches = melody
    notes = transcribe(path)
    assert notes.duration == 40
    assert f1(notes, onsets, pitches) > 0.7
    nearest = notes.onset[np.abs(notes.onset[:, None] - onsets).argmin(axis=0)]
    assert abs(np.median((nearest - onsets)[:20])) < 0.012  # a frame
    assert abs(np.median((nearest - onsets)[-20:])) < 0.012
    assert (np.diff(notes.onset) >= 0).all()
    assert (notes.length > 0).all() and (notes.onset + notes.length <= 40).all()


def test_a_short_score_is_heard(tmp_path):
    score.export(tiny_score.write(tmp_path / "Tiny.mscz"), tmp_path)
    played = note_ons(tmp_path / "Tiny.mid")
    assert len(played) > 20
    assert f1(transcribe(tmp_path / "Tiny.wav"), *zip(*played)) > 0.6


def test_velocity_follows_loudness(write_wav):
    amplitudes = [0.05, 0.4, 0.1, 0.2]
    song = write_wav("song.wav", plucked([(0.5 + n, 64, loud) for n, loud in enumerate(amplitudes)], 5), RATE)
    notes = transcribe(song)
    played, onset = notes.velocity[notes.pitch == 64], notes.onset[notes.pitch == 64]
    heard = [int(played[np.abs(onset - 0.5 - n).argmin()]) for n in range(4)]
    assert np.argsort(heard).tolist() == [0, 2, 3, 1]
    assert heard[1] == pytest.approx(127, abs=3)
    assert heard[2] == pytest.approx(127 / 2, abs=6)  # 12 dB softer


def test_a_note_lasts_while_it_sounds(write_wav):
    time = np.arange(int(4 * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 440 * time) * ((time > 1) & (time < 2.5))
    notes = transcribe(write_wav("tone.wav", tone, RATE))
    held = notes.pitch == 69
    assert held.sum() == 1
    assert notes.onset[held][0] == pytest.approx(1, abs=0.03)
    assert notes.length[held][0] == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize("level", [0, 1e-5])
def test_silence_has_no_notes(write_wav, level):
    noise = level * np.random.default_rng(0).standard_normal(5 * RATE)
    notes = transcribe(write_wav("silence.wav", noise, RATE))
    assert not len(notes.onset) and not len(notes.beats) and not len(notes.downbeats)
    assert notes.duration == 5


def test_a_song_without_notes_says_what_to_do(write_wav, tmp_path, run_script):
    song, output = write_wav("silence.wav", np.zeros(RATE), RATE), tmp_path / "silence.notes.mid"
    assert_one_line_error(
        run_script(musicvideo.__main__, "notes", song, output), "no notes are heard", "MAPPING=classic"
    )
    assert not output.exists()


def test_a_song_shorter_than_a_window(write_wav):
    notes = transcribe(write_wav("short.wav", plucked([(0.1, 69, 0.5)], 0.6), RATE))
    assert 69 in notes.pitch
    assert notes.duration == pytest.approx(0.6)
    tiny = transcribe(write_wav("tiny.wav", np.full(10, 0.1), RATE))
    assert tiny.duration == pytest.approx(10 / RATE)


def test_beats_and_downbeats_of_a_march(write_wav):
    # 100 beats a minute from 0.3 s on, every fourth one a chord.
    beats = 0.3 + 0.6 * np.arange(40)
    struck = [(beat, pitch, 0.2) for n, beat in enumerate(beats) for pitch in ((48, 60, 67) if n % 4 == 0 else (72,))]
    notes = transcribe(write_wav("march.wav", plucked(struck, 25), RATE))
    assert np.diff(notes.beats) == pytest.approx(0.6, abs=0.07)  # a beat is moved by 35 ms at most
    assert np.abs(notes.beats[:, None] - beats).min(axis=1).max() < 0.05
    assert set(np.abs(notes.downbeats[:, None] - beats).argmin(axis=1) % 4) == {0}


def test_a_damaged_song(tmp_path):
    song = make_media(tmp_path / "song.flac", "-f", "lavfi", "-i", "sine=d=20")
    song.write_bytes(song.read_bytes()[: song.stat().st_size // 2])
    with pytest.raises(MediaError, match="damaged"):
        transcribe(song)


def test_a_damaged_network(tmp_path, write_wav, monkeypatch):
    content = bytearray(transcription.NETWORK.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "nmp.onnx").write_bytes(content)
    monkeypatch.setattr(transcription, "NETWORK", tmp_path / "nmp.onnx")
    with pytest.raises(MediaError, match="damaged"):
        transcribe(write_wav("short.wav", np.zeros(RATE), RATE))


def test_midi_holds_notes_to_the_millisecond_on_a_grid_of_beats(tmp_path):
    rng = np.random.default_rng(2)
    beats = 1.234 + np.cumsum(rng.uniform(0.4, 0.7, 400))
    onset = np.sort(np.concatenate([beats[::2], rng.uniform(0, 210, 500)]))
    notes = notes_of(onset, beats=beats, downbeats=beats[2::4], marks=((beats[6], "Übergang"),))
    write_midi(notes, tmp_path / "song.mid")
    assert np.array(note_ons(tmp_path / "song.mid"))[:, 0] == pytest.approx(onset, abs=0.001)
    clock = read_clock(tmp_path / "song.mid")
    downbeats = np.array(clock.downbeats())
    assert np.abs(downbeats[:, None] - beats[2::4]).min(axis=0).max() < 1e-5
    # Between them nothing else but measures of four, after a pickup.
    assert {metre.numerator for metre in clock.metres[-1:]} == {4}
    midi = mido.MidiFile(tmp_path / "song.mid", charset="utf-8")
    assert [message.text for message in midi.tracks[0] if message.type == "marker"] == ["Übergang"]
    assert midi.length == pytest.approx(notes.duration, abs=0.001)


def test_midi_of_parts(tmp_path):
    notes = notes_of(
        [0, 0.5, 0.5, 1],
        part=np.array([0, 1, 2, 1]),
        parts=(Part("Höhe", 11), Part("Drums", 0, True), Part("Bass", 32)),
    )
    write_midi(notes, tmp_path / "song.mid")
    tracks = mido.MidiFile(tmp_path / "song.mid", charset="utf-8").tracks[1:]
    assert [track.name for track in tracks] == ["Höhe", "Drums", "Bass"]
    channels = [{message.channel for message in track if message.type == "note_on"} for track in tracks]
    assert channels == [{0}, {9}, {1}]
    assert [track[1].program for track in tracks] == [11, 0, 32]


def test_midi_without_notes(tmp_path):
    write_midi(notes_of([], duration=3.0), tmp_path / "empty.mid")
    assert mido.MidiFile(tmp_path / "empty.mid").length == pytest.approx(3)


def test_a_repeated_note_ends_before_it_begins_anew(tmp_path):
    write_midi(notes_of([1, 1.2], length=0.2), tmp_path / "song.mid")
    kinds = [message.type for message in mido.MidiFile(tmp_path / "song.mid").tracks[1] if "note_o" in message.type]
    assert kinds == ["note_on", "note_off", "note_on", "note_off"]


def test_musescore_opens_it(tmp_path, melody):
    beats = 0.5 + 0.37 * np.arange(100)
    write_midi(notes_of(melody[1], pitch=72, beats=beats, downbeats=beats[::4]), tmp_path / "song.mid")
    subprocess.run(
        [find_program("musescore"), "-o", tmp_path / "again.mid", tmp_path / "song.mid"],
        cwd=ROOT, env={"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True, check=True,
    )  # fmt: skip
    again = note_ons(tmp_path / "again.mid")
    assert len(again) == len(melody[1])
    # MuseScore rounds tempos to hundredths of a beat a minute.
    assert np.array(again)[:, 0] == pytest.approx(melody[1], rel=0.001, abs=0.002)
