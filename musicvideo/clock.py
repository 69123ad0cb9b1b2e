"""Musical time: measures and beats to seconds, read from a Standard MIDI File.

The score program writes the MIDI file. Its tempo and time signature events make the clock (a tempo map), which
converts measures and beats to seconds. Arithmetic is exact (fractions) until the last step, so nothing drifts.

Source: Standard MIDI Files 1.0 (MIDI Association, RP-001), meta events 0x51 and 0x58.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from math import ceil
from os import PathLike
from pathlib import Path

import mido

from musicvideo import limits
from musicvideo.errors import MediaError
from musicvideo.files import require_file

DEFAULT_TEMPO = 500_000  # microseconds a quarter note, 120 a minute, of a MIDI file without tempo
DEFAULT_METRE = (4, 4)  # of one without time signature


@dataclass(frozen=True)
class Metre:
    """A time signature and where it begins."""

    tick: int  # always the start of a measure, even where the measure before it is not full
    measure: int  # number of that measure, from 1
    numerator: int
    denominator: int


class Clock:
    """Seconds of any measure and beat.

    A time signature always begins a measure. Where it comes before the current measure is full, that measure ends
    there: this is how MIDI writes a pickup bar, which counts as measure 1, as does a short measure with its own
    signature.

    Args:
        ticks_per_quarter: MIDI division, above 0.
        tempos: (tick, microseconds a quarter note), in any order; from tick 0 on 120 quarters a minute.
        signatures: (tick, numerator, denominator), in any order; from tick 0 on 4/4.
        end: tick at which the music ends; the measure it falls into counts whole.
    """

    def __init__(
        self,
        ticks_per_quarter: int,
        tempos: Sequence[tuple[int, int]] = (),
        signatures: Sequence[tuple[int, int, int]] = (),
        end: int = 0,
    ):
        self.ticks_per_quarter = ticks_per_quarter
        tempo_at = {0: DEFAULT_TEMPO, **dict(sorted(tempos, key=lambda event: event[0]))}
        self._tempo_ticks = list(tempo_at)
        self._tempos = list(tempo_at.values())
        self._microseconds = [Fraction(0)]  # at each tempo event
        for begin, stop, tempo in zip(self._tempo_ticks, self._tempo_ticks[1:], self._tempos):
            self._microseconds.append(self._microseconds[-1] + Fraction((stop - begin) * tempo, ticks_per_quarter))

        metre_at = {0: DEFAULT_METRE}
        for tick, numerator, denominator in sorted(signatures, key=lambda event: event[0]):
            metre_at[tick] = numerator, denominator
        self.metres: list[Metre] = []
        for tick, (numerator, denominator) in metre_at.items():
            number = self._measures_until(tick) + 1
            self.metres.append(Metre(tick, number, numerator, denominator))
        # The release of a pedal or a note may come a tick after the last bar line; it begins no measure.
        self.measures = max(self._measures_until(end - ticks_per_quarter // 32), self.metres[-1].measure - 1)

    def _measures_until(self, tick: int) -> int:
        """How many measures begin before `tick`."""
        if not self.metres:
            return 0
        metre = self.metres[-1]
        return metre.measure - 1 + ceil((tick - metre.tick) / self._measure_ticks(metre))

    def _measure_ticks(self, metre: Metre) -> Fraction:
        return Fraction(4 * self.ticks_per_quarter * metre.numerator, metre.denominator)

    def tick(self, measure: int, beat: float | Fraction = 1) -> Fraction:
        """Tick of a measure (from 1) and beat (from 1; fractions allowed; one past the last beat is the measure's end).

        Raises:
            ValueError: past the end, or outside the measure; states the valid range.
        """
        if not 1 <= measure <= self.measures + 1 or (measure == self.measures + 1 and beat != 1):
            raise ValueError(f"there is no measure {measure}, the piece has {self.measures}")
        index = bisect_right(self.metres, measure, key=lambda metre: metre.measure) - 1
        metre = self.metres[index]
        length = self._measure_ticks(metre)
        start = metre.tick + (measure - metre.measure) * length
        if index + 1 < len(self.metres):
            length = min(length, self.metres[index + 1].tick - start)
        beat_ticks = Fraction(4 * self.ticks_per_quarter, metre.denominator)
        offset = (Fraction(beat) - 1) * beat_ticks
        if not 0 <= offset <= length:
            beats = length / beat_ticks
            raise ValueError(
                f"beat {float(beat):g} is outside measure {measure}, which has {float(beats):g} beats "
                f"of 1/{metre.denominator} (beat {float(beats + 1):g} is its end)"
            )
        return start + offset

    def seconds(self, measure: int, beat: float | Fraction = 1) -> float:
        """Seconds from the start of the piece to a measure and beat; arguments and errors as in `tick`."""
        return self.tick_seconds(self.tick(measure, beat))

    def tick_seconds(self, tick: int | Fraction) -> float:
        """Seconds from the start of the piece to a tick."""
        index = max(bisect_right(self._tempo_ticks, tick) - 1, 0)
        since = (tick - self._tempo_ticks[index]) * self._tempos[index]
        return float((self._microseconds[index] + Fraction(since) / self.ticks_per_quarter) / 1_000_000)

    def seconds_tick(self, seconds: float) -> Fraction:
        """Tick at a time in seconds: the inverse of `tick_seconds`."""
        microseconds = Fraction(seconds) * 1_000_000
        index = max(bisect_right(self._microseconds, microseconds) - 1, 0)
        since = microseconds - self._microseconds[index]
        return self._tempo_ticks[index] + since * self.ticks_per_quarter / self._tempos[index]

    def tempo_changes(self, begin: float, end: float) -> list[float]:
        """Seconds of the tempo events strictly between two times in seconds."""
        inside = slice(
            bisect_right(self._microseconds, Fraction(begin) * 1_000_000),
            bisect_left(self._microseconds, Fraction(end) * 1_000_000),
        )
        return [float(time / 1_000_000) for time in self._microseconds[inside]]

    @property
    def duration(self) -> float:
        """Seconds from the start of the piece to the end of its last measure."""
        return self.seconds(self.measures + 1)

    def downbeats(self) -> list[float]:
        """Seconds of the first beat of every measure, and of the end of the last one."""
        return [self.seconds(measure) for measure in range(1, self.measures + 2)]


def read_clock(path: str | PathLike) -> Clock:
    """The clock of a MIDI file (type 0 or 1).

    Raises:
        MediaError: missing, broken, with a time base that has no measures, or beyond `musicvideo.limits`.
    """
    return tempo_map(read_midi(path), path)


def read_midi(path: str | PathLike) -> mido.MidiFile:
    """A MIDI file (type 0 or 1).

    Raises:
        MediaError: missing, broken, with a time base that has no measures, or larger than `musicvideo.limits` has it.
    """
    if require_file(path).stat().st_size > limits.MIDI_BYTES:
        raise MediaError(f"{path}: is larger than {limits.MIDI_BYTES >> 20} MiB, which the MIDI file of no score is")
    try:
        # From memory: a chunk that states 4 GB would have as much reserved when read from a file.
        midi = mido.MidiFile(file=BytesIO(Path(path).read_bytes()), clip=True)
    except (OSError, EOFError, ValueError, LookupError, mido.KeySignatureError) as error:
        reason = str(error) or "it ends too early"
        raise MediaError(f"{path}: not a MIDI file that can be read ({reason}); export it again") from None
    if midi.type == 2 or midi.ticks_per_beat <= 0:
        raise MediaError(f"{path}: its time base has no measures and beats; export it as MIDI type 0 or 1")
    return midi


def tempo_map(midi: mido.MidiFile, path: str | PathLike) -> Clock:
    """The clock of a MIDI file that was read from `path`; errors as `read_clock`."""
    tempos, signatures, end = [], [], 0
    for track in midi.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "set_tempo" and message.tempo > 0:
                tempos.append((tick, message.tempo))
            elif message.type == "time_signature" and message.numerator > 0:
                signatures.append((tick, message.numerator, message.denominator))
        end = max(end, tick)
    if not end:
        raise MediaError(f"{path}: this MIDI file holds no music; export it again")
    for _, numerator, denominator in signatures:
        if denominator > limits.DENOMINATOR:
            raise MediaError(
                f"{path}: has a time signature of {numerator}/{denominator}; give one of at most "
                f"1/{limits.DENOMINATOR} notes"
            )
    clock = Clock(midi.ticks_per_beat, tempos, signatures, end)
    if clock.tick_seconds(end) > limits.LONGEST:
        raise MediaError(f"{path}: lasts longer than {limits.LONGEST // 3600} hours; export it again")
    if clock.measures > limits.MEASURES:
        raise MediaError(f"{path}: has more than {limits.MEASURES} measures; export it again")
    return clock
