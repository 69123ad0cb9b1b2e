"""The notes of a song, whatever they were read from: a score, a MIDI file of any program, or a transcription."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import mido
import numpy as np

from musicvideo import limits
from musicvideo.clock import Clock, read_midi, tempo_map
from musicvideo.errors import MediaError

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
        MediaError: as `musicvideo.clock.read_clock`, or no notes.
    """
    midi = read_midi(path)
    clock = tempo_map(midi, path)
    parts: dict[tuple, int] = {}
    described: list[Part] = []
    found: list[tuple[int, int, int, int, int]] = []  # onset and end in ticks, pitch, velocity, part
    marks: dict[int, str] = {}
    for number, track in enumerate(midi.tracks):
        name = next((m.name.strip() for m in track if m.type == "track_name" and m.name.strip()), "")
        channels = {m.channel for m in track if m.type == "note_on"}
        programs: dict[int, int] = {}
        sounding: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "program_change":
                programs[message.channel] = message.program
            elif message.type in ("marker", "cue_marker") and message.text.strip():
                marks.setdefault(tick, message.text.strip())
            elif message.type in ("note_on", "note_off"):
                key = message.channel, message.note
                if message.type == "note_on" and message.velocity:
                    drums = message.channel == DRUMS
                    program = programs.get(message.channel, _program(midi, message.channel))
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
        midi.tracks[number].insert(0, mido.MetaMessage("track_name", name=_latin(name)))
    timed = [(tick, mido.MetaMessage("marker", text=_latin(name))) for tick, name in marks]
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


def _latin(text: str) -> str:
    """Text as mido writes it into MIDI files: Latin-1."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _program(midi: mido.MidiFile, channel: int) -> int:
    """Program of a channel that another track sets: a second staff of one instrument."""
    for track in midi.tracks:
        for message in track:
            if message.type == "program_change" and message.channel == channel:
                return message.program
    return 0


def _family(program: int, drums: bool) -> str:
    return "Drums" if drums else FAMILIES[program // FAMILY]


def _numbered(parts: list[Part]) -> tuple[Part, ...]:
    """Parts with different names."""
    taken: dict[str, int] = {}
    named = []
    for part in parts:
        taken[part.name] = count = taken.get(part.name, 0) + 1
        named.append(part if count == 1 else Part(f"{part.name} {count}", part.program, part.drums))
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
