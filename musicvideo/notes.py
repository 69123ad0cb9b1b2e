"""The notes of a song, whatever they come from: a score, a MIDI file of any program, or a transcription.

Source: Standard MIDI Files 1.0 (MIDI Association, RP-001).
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import mido
import numpy as np

from musicvideo import files, limits
from musicvideo.clock import Clock, read_midi, tempo_map
from musicvideo.errors import MediaError

TICKS = 1920  # a beat of a MIDI file that is written: 0.3 ms at 120 beats a minute
TEMPO = 0.5  # seconds a beat, where a song has no beats
BEATS_A_MEASURE = 4  # where nobody knows better
DRUMS = 9  # MIDI channel of percussion, from 0
FAMILY = 8  # General MIDI programs in a family
FAMILIES = (
    "Piano", "Chromatic percussion", "Organ", "Guitar", "Bass", "Strings", "Ensemble", "Brass", "Reed", "Pipe",
    "Synth lead", "Synth pad", "Synth effects", "Ethnic", "Percussive", "Sound effects",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """Who plays: one instrument of a score, one track of a MIDI file.

    Attributes:
        name: of the track; else of its family of instruments.
        program: General MIDI program, 0..127.
        drums: its pitches are instruments of a drum kit.
    """

    name: str
    program: int
    drums: bool = False


@dataclass(frozen=True)
class Notes:
    """What is played when: the notes of a song, in order of their onsets.

    Attributes:
        onset: (N,) float64, seconds.
        length: (N,) float64, seconds, above 0.
        pitch: (N,) int, MIDI number, 0..127.
        velocity: (N,) int, 1..127.
        part: (N,) int, index into `parts`.
        parts: those that have notes.
        downbeats: (M,) float64, seconds of the first beats of measures, strictly increasing; may be empty.
        beats: (B,) float64, seconds of all beats.
        marks: (seconds, name) of each section; may be empty.
        duration: seconds.
    """

    onset: np.ndarray
    length: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    part: np.ndarray
    parts: tuple[Part, ...]
    downbeats: np.ndarray
    beats: np.ndarray
    marks: tuple[tuple[float, str], ...]
    duration: float

    def within(self, duration: float, offset: float = 0.0) -> Notes:
        """The same notes, played `offset` seconds later, as far as they begin within a song.

        Args:
            duration: of the song, in seconds.
            offset: seconds that are added to every time; may be negative.
        """
        onset = self.onset + offset
        kept = (onset >= 0) & (onset < duration)
        downbeats, beats = (times[(times >= 0) & (times < duration)] for times in (
            self.downbeats + offset, self.beats + offset))  # fmt: skip
        marks = [(max(time + offset, 0.0), name) for time, name in self.marks if time + offset < duration]
        return Notes(
            onset=onset[kept], length=self.length[kept], pitch=self.pitch[kept], velocity=self.velocity[kept],
            part=self.part[kept], parts=self.parts, downbeats=downbeats, beats=beats, marks=tuple(marks),
            duration=duration,
        )  # fmt: skip


def read_notes(path: str | PathLike) -> Notes:
    """The notes of a MIDI file (type 0 or 1).

    A part is a track with a name, or else all notes of one program on one channel. Markers are sections.

    Raises:
        MediaError: as `musicvideo.clock.read_clock`, no notes, or more parts or markers than `musicvideo.limits` has.
    """
    midi = read_midi(path)
    clock = tempo_map(midi, path)
    parts: dict[tuple, int] = {}
    described: list[Part] = []
    found: list[tuple[int, int, int, int, int]] = []  # onset and end in ticks, pitch, velocity, part
    marks: dict[int, str] = {}
    elsewhere = _programs(midi)
    for number, track in enumerate(midi.tracks):
        name = next((_text(m.name) for m in track if m.type == "track_name" and m.name.strip()), "")
        channels = {m.channel for m in track if m.type == "note_on"}
        programs: dict[int, int] = {}
        sounding: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "program_change":
                programs[message.channel] = message.program
            elif message.type in ("marker", "cue_marker") and message.text.strip():
                marks.setdefault(tick, _text(message.text))
            elif message.type in ("note_on", "note_off"):
                key = message.channel, message.note
                if message.type == "note_on" and message.velocity:
                    drums = message.channel == DRUMS
                    program = programs.get(message.channel, elsewhere.get(message.channel, 0))
                    who = (name,) if name and len(channels) == 1 else (number if name else "", program, drums)
                    if who not in parts:
                        parts[who] = len(described)
                        described.append(Part(name or _family(program, drums), program, drums))
                    sounding.setdefault(key, []).append((tick, message.velocity, parts[who]))
                elif sounding.get(key):
                    begin, velocity, part = sounding[key].pop(0)
                    found.append((begin, max(tick, begin + 1), message.note, velocity, part))
        found += [
            (begin, max(tick, begin + 1), pitch, velocity, part)
            for (_, pitch), begun in sounding.items()
            for begin, velocity, part in begun
        ]
    if not found:
        raise MediaError(f"{path}: this MIDI file holds no notes; export it again")
    for what, many, most in (("parts", described, limits.PARTS), ("markers", marks, limits.SECTIONS)):
        if len(many) > most:
            raise MediaError(f"{path}: has {len(many)} {what}, give at most {most}")
    found.sort()
    ticks = np.unique([time for note in found for time in note[:2]])
    times = dict(zip(ticks.tolist(), (clock.tick_seconds(int(tick)) for tick in ticks)))
    onset, end = (np.array([times[note[side]] for note in found]) for side in (0, 1))
    _, _, pitch, velocity, part = np.array(found).T
    return Notes(
        onset=onset, length=np.maximum(end - onset, 1e-3), pitch=pitch, velocity=velocity, part=part,
        parts=_numbered(described), downbeats=np.array(clock.downbeats()[:-1]), beats=_beats(clock),
        marks=tuple((clock.tick_seconds(tick), name) for tick, name in sorted(marks.items())),
        duration=max(clock.duration, float(end.max())),
    )  # fmt: skip


def label(path: str | PathLike, names: dict[int, str], marks: list[tuple[int, str]]) -> mido.MidiFile:
    """A MIDI file with names of tracks and markers, and everything else as it was.

    Args:
        path: a MIDI file.
        names: of tracks, by their numbers from 0.
        marks: (tick, name) of each section.
    """
    midi = read_midi(path)
    for number, name in names.items():
        midi.tracks[number].insert(0, mido.MetaMessage("track_name", name=_packed(name)))
    timed = [(tick, mido.MetaMessage("marker", text=_packed(name))) for tick, name in marks]
    first, tick = midi.tracks[0], 0
    for message in first:
        tick += message.time
        timed.append((tick, message))
    timed.sort(key=lambda pair: (pair[0], pair[1].type == "end_of_track"))
    before, merged = 0, mido.MidiTrack()
    for tick, message in timed:
        merged.append(message.copy(time=tick - before))
        before = tick
    midi.tracks[0] = merged
    return midi


def write_midi(notes: Notes, path: str | PathLike) -> None:
    """Write notes as a MIDI file of type 1, each beat a quarter note.

    The tempo changes from beat to beat, so that beats lie on the grid and every time is right to less than 1 ms. Time
    before the first downbeat is divided into beats, of which those that do not fill a measure are a pickup.

    Args:
        notes: whose beats, if any, are strictly increasing and at most 3.8 s apart; whose downbeats are beats.
        path: a .mid file.

    Raises:
        MediaError: as `files.atomic`.
    """
    grid = _grid(notes)

    def ticks(seconds: np.ndarray) -> np.ndarray:
        return np.round(np.interp(seconds, grid / 1e6, np.arange(len(grid)) * TICKS)).astype(int)

    end = int(ticks(np.array([notes.duration]))[0])
    tempos = np.diff(grid)
    changes = np.flatnonzero(np.diff(tempos, prepend=0))
    head = [(int(beat) * TICKS, mido.MetaMessage("set_tempo", tempo=int(tempos[beat]))) for beat in changes]
    head += [
        (beat * TICKS, mido.MetaMessage("time_signature", numerator=numerator, denominator=4))
        for beat, numerator in _measures(grid, notes)
    ]
    head += [(int(ticks(np.array(when))), mido.MetaMessage("marker", text=_packed(name))) for when, name in notes.marks]
    midi = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    midi.tracks.append(_track(head, end))
    melodic = [channel for channel in range(16) if channel != DRUMS]
    begins, ends = ticks(notes.onset), ticks(notes.onset + notes.length)
    for index, part in enumerate(notes.parts):
        channel = DRUMS if part.drums else melodic[sum(not other.drums for other in notes.parts[:index]) % len(melodic)]
        events: list[tuple[int, mido.Message]] = [
            (0, mido.MetaMessage("track_name", name=_packed(part.name))),
            (0, mido.Message("program_change", channel=channel, program=part.program)),
        ]
        for note in np.flatnonzero(notes.part == index):
            pitch, velocity = int(notes.pitch[note]), int(notes.velocity[note])
            begin, stop = int(begins[note]), max(int(begins[note]) + 1, int(ends[note]))
            events += [
                (begin, mido.Message("note_on", channel=channel, note=pitch, velocity=velocity)),
                (stop, mido.Message("note_off", channel=channel, note=pitch)),
            ]
        midi.tracks.append(_track(events, end))
    with files.atomic(path) as partial:
        midi.save(partial)


def _grid(notes: Notes) -> np.ndarray:
    """Microseconds of quarter notes, from the start of a song to beyond its end; the beats are among them."""
    beats = notes.beats if len(notes.beats) > 1 else np.array([0.0, TEMPO])
    before = max(1, round(beats[0] / (beats[1] - beats[0]))) if beats[0] else 0
    last = max(notes.duration, (notes.onset + notes.length).max(initial=0))
    interval = beats[-1] - beats[-2]
    after = beats[-1] + interval * np.arange(1, max(0, int((last - beats[-1]) / interval)) + 2)
    grid = np.concatenate([np.linspace(0, beats[0], before, endpoint=False), beats, after])
    return np.round(grid * 1e6).astype(int)


def _measures(grid: np.ndarray, notes: Notes) -> list[tuple[int, int]]:
    """Where the number of beats in a measure changes: (beat of the grid, beats in a measure from there on)."""
    downbeats = np.searchsorted(grid, np.round(notes.downbeats * 1e6))
    if not len(downbeats):
        return []
    lengths = np.diff(downbeats)
    usual = int(lengths[0]) if len(lengths) else BEATS_A_MEASURE
    pickup = int(downbeats[0]) % usual
    found = [(0, pickup), (pickup, usual)] if pickup else [(0, usual)]
    for beat, length in zip(downbeats, lengths):
        if length != found[-1][1]:
            found.append((int(beat), int(length)))
    return found


def _track(events: list[tuple[int, mido.Message]], end: int) -> mido.MidiTrack:
    """Messages at ticks as a track, which lasts to a tick at least; of one tick, notes end before others begin."""
    track, now = mido.MidiTrack(), 0
    for tick, message in sorted(events, key=lambda event: (event[0], event[1].type != "note_off")):
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, end - now)))
    return track


def _packed(text: str) -> str:
    """Text whose bytes, as mido writes them, are UTF-8."""
    return text.encode().decode("latin-1")


def _text(packed: str) -> str:
    """Text as a MIDI file holds it, which states no encoding: UTF-8 where it is that, else Latin-1."""
    try:
        return packed.encode("latin-1").decode().strip()
    except UnicodeError:
        return packed.strip()


def _programs(midi: mido.MidiFile) -> dict[int, int]:
    """The first program of each channel in any track, for a track that sets none: a second staff of one instrument."""
    found: dict[int, int] = {}
    for track in midi.tracks:
        for message in track:
            if message.type == "program_change":
                found.setdefault(message.channel, message.program)
    return found


def _family(program: int, drums: bool) -> str:
    return "Drums" if drums else FAMILIES[program // FAMILY]


def _numbered(parts: list[Part]) -> tuple[Part, ...]:
    """Parts with different names."""
    taken: set[str] = set()
    named = []
    for part in parts:
        name, number = part.name, 1
        while name in taken:
            number += 1
            name = f"{part.name} {number}"
        taken.add(name)
        named.append(Part(name, part.program, part.drums))
    return tuple(named)


def _beats(clock: Clock) -> np.ndarray:
    """Seconds of every beat: of each unit of the time signature."""
    beats: list[float] = []
    for metre, following in zip(clock.metres, [*clock.metres[1:], None]):
        unit = 4 * clock.ticks_per_quarter / metre.denominator
        measures = (following.measure if following else clock.measures + 1) - metre.measure
        end = following.tick if following else metre.tick + measures * metre.numerator * unit
        count = int((end - metre.tick) / unit)
        if len(beats) + count > limits.MEASURES * 16:
            break
        beats += [clock.tick_seconds(int(metre.tick + beat * unit)) for beat in range(count)]
    return np.array(beats)
