"""Panning scores: where a sound source is at each instant, written in measures and beats (or seconds).

The format is a JSON object of named sets, each a list of moves contiguous in time. `assets/panning.schema.json` is its
grammar, `docs/panning.md` explains it. Directions are azimuth (degrees clockwise from the front) and elevation (degrees
above the ears). A move written for an ear position (-1 left, 0 middle, 1 right) is one in the front half plane:
ear = sin(azimuth).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil, floor, inf, isfinite
from os import PathLike
from typing import Any

import numpy as np

from musicvideo import limits
from musicvideo.clock import Clock
from musicvideo.documents import find_fault, load_schema, nearest, read_text, shortened
from musicvideo.errors import MediaError

CONTROL_RATE = 4000  # Hz of the computed curve; linear in between (error of a 4 s circle: -150 dB)
SMOOTHING = 0.010  # seconds over which a jump from one position to another is spread
SAME_TIME = 1e-4  # seconds; times closer than this count as equal, since beats like 1.333 are rounded
SAME_RAMP = 1e-9  # the same for ramps of a sawtooth
EARS = ("ear_i", "ear_mid", "ear_f")


@dataclass(frozen=True)
class Position:
    """Where a source is, one value for each sample."""

    azimuth: np.ndarray  # (N,) degrees clockwise from the front; not wrapped: 450 is one turn and a quarter
    elevation: np.ndarray  # (N,) degrees above the ears, -90 to 90
    distance: np.ndarray  # (N,) metres, above 0

    @property
    def ear(self) -> np.ndarray:
        """(N,) sine of the angle to the median plane: -1 at the left ear, 0 in the middle, 1 at the right ear."""
        return np.sin(np.radians(self.azimuth)) * np.cos(np.radians(self.elevation))


@dataclass(frozen=True)
class Move:
    """One move of a set, its times in seconds."""

    begin: float
    end: float
    effect: str = "none"
    ear_i: float = 0.0
    ear_mid: float = 0.0
    ear_f: float = 0.0
    azimuth_i: float = 0.0  # degrees
    azimuth_f: float = 0.0
    # Sawtooth: (seconds, ramps done by then), ascending, from the begin to the end or beyond; linear in between.
    ramps: tuple[tuple[float, float], ...] = ()
    elevation: tuple[float, float] = (0.0, 0.0)  # degrees, from and to
    distance: tuple[float, float] = (1.0, 1.0)  # metres, from and to

    def progress(self, time: np.ndarray) -> np.ndarray:
        """0 at the begin to 1 at the end of the move."""
        return (time - self.begin) / (self.end - self.begin)

    def azimuth(self, time: np.ndarray) -> np.ndarray:
        """Degrees at times (N,) in seconds within the move."""
        s = self.progress(time)
        if self.effect == "orbit":
            return self.azimuth_i + (self.azimuth_f - self.azimuth_i) * s
        if self.effect == "sawtooth":
            ramp = np.interp(time, *np.transpose(self.ramps))
            # A time that differs from the start of a ramp only by rounding counts as the start.
            ramp = np.where(np.abs(ramp - np.rint(ramp)) < SAME_RAMP, np.rint(ramp), ramp)
            shape, target = ramp - np.floor(ramp), self.ear_f
        elif self.effect in ("whole_cosine", "half_sine"):
            shape, target = SHAPES[self.effect](s), self.ear_mid
        else:
            shape, target = SHAPES[self.effect](s), self.ear_f
        ear = self.ear_i + (target - self.ear_i) * shape
        return np.degrees(np.arcsin(np.clip(ear, -1, 1)))  # rounding may exceed 1


SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": np.zeros_like,
    "straight": np.copy,
    "half_cosine": lambda s: (1 - np.cos(np.pi * s)) / 2,
    "quarter_sine": lambda s: np.sin(np.pi / 2 * s),
    "whole_cosine": lambda s: (1 - np.cos(2 * np.pi * s)) / 2,
    "half_sine": lambda s: np.sin(np.pi * s),
}


class Motion:
    """The path of one source through the whole piece.

    Before the first move and after the last the source is in front. Where a move does not begin at the position where
    the one before it ended, and at each jump of a sawtooth, the source takes the shorter way within `SMOOTHING`.

    Args:
        moves: contiguous in time.
    """

    def __init__(self, moves: Sequence[Move]):
        first, last = moves[0], moves[-1]
        self.moves = [
            Move(first.begin - 1, first.begin, distance=(first.distance[0],) * 2),
            *moves,
            Move(last.end, last.end + 1, distance=(last.distance[1],) * 2),
        ]
        self._begins = np.array([move.begin for move in self.moves[1:]])
        self._turns = [0.0]  # degrees, whole turns, added to each move so that it begins near the end of the one before
        for before, after in zip(self.moves, self.moves[1:]):
            left = before.azimuth(np.nextafter([before.end], -inf))[0] + self._turns[-1]
            self._turns.append(360 * np.round((left - after.azimuth(np.array([after.begin]))[0]) / 360))

    def later(self, seconds: float) -> Motion:
        """The same path, so many seconds later; for a sound that begins in the middle of the piece, earlier."""
        return Motion([
            replace(
                move, begin=move.begin + seconds, end=move.end + seconds,
                ramps=tuple((time + seconds, done) for time, done in move.ramps),
            )
            for move in self.moves[1:-1]
        ])  # fmt: skip

    def at(self, time: np.ndarray) -> np.ndarray:
        """(3, N) azimuth, elevation and distance at ascending times (N,) in seconds, jumps not smoothed."""
        place = np.empty((3, len(time)))
        borders = [0, *np.searchsorted(time, self._begins), len(time)]
        for move, turns, first, last in zip(self.moves, self._turns, borders, borders[1:]):
            if first < last:
                inside = time[first:last]
                s = move.progress(inside)
                place[0, first:last] = move.azimuth(inside) + turns
                place[1, first:last] = move.elevation[0] + (move.elevation[1] - move.elevation[0]) * s
                place[2, first:last] = move.distance[0] + (move.distance[1] - move.distance[0]) * s
        return place

    def sample(self, first: int, count: int, rate: float) -> Position:
        """Position at samples `first` to `first + count` of a signal of `rate` Hz.

        The curve does not depend on how the samples are split into calls.
        """
        taps = np.hanning(round(SMOOTHING * CONTROL_RATE) + 3)[1:-1]
        reach = len(taps) // 2
        begin = floor(first / rate * CONTROL_RATE)
        end = ceil((first + count) / rate * CONTROL_RATE) + 1
        curve = self.at(np.arange(begin - reach, end + reach) / CONTROL_RATE)
        smooth = [np.convolve(row, taps / taps.sum(), "valid") for row in curve]
        control = np.arange(begin, end) / CONTROL_RATE
        time = np.arange(first, first + count) / rate
        return Position(*(np.interp(time, control, row) for row in smooth))


def orbit(period: float, azimuth: float = 0.0, distance: float = 1.0) -> Motion:
    """Circle the head clockwise, `period` seconds a turn (counter-clockwise below 0), from `azimuth` degrees on."""
    hours = 24 * 3600
    return Motion(
        [
            Move(
                0.0,
                hours,
                "orbit",
                azimuth_i=azimuth,
                azimuth_f=azimuth + 360 * hours / period,
                distance=(distance, distance),
            )
        ]
    )


def read_panning(path: str | PathLike, only: str | None = None, *, scale: bool = False) -> dict[str, list[dict]]:
    """Read a panning score and check its grammar.

    Args:
        only: the one set whose moves are checked; faults in others do not matter. None checks all.
        scale: make ear positions outside ±1 fit, by one factor a set, instead of refusing them.

    Returns:
        The moves of each set, as written.

    Raises:
        MediaError: not a panning score; names the set, the move and where it begins.
    """
    sets = _read_json(path)
    for name, moves in sets.items() if isinstance(sets, dict) else ():
        if isinstance(moves, list) and len(moves) > limits.MOVES:
            raise MediaError(f'{path}: set "{name}" has {len(moves)} moves, give at most {limits.MOVES}')
    if scale:
        scale_ears(sets)
    checked = {only: sets[only]} if isinstance(sets, dict) and only in sets else sets
    fault = find_fault(checked, load_schema("panning.schema.json"))
    if fault:
        hint = "; an ear is -1 to 1, scale it with -n" if set(fault.path) & set(EARS) else ""
        raise MediaError(f"{path}: {_where(sets, fault.path)}{fault.message}{hint}")
    return sets


def set_names(path: str | PathLike) -> list[str]:
    """Names of the sets of a panning score; their moves are not checked.

    Raises:
        MediaError: not a JSON object, an empty one, or one with too many sets.
    """
    sets = _read_json(path)
    if not isinstance(sets, dict) or not sets:
        raise MediaError(f"{path}: is not a panning score: a JSON object of sets, each a list of moves")
    if len(sets) > limits.SETS:
        raise MediaError(f"{path}: has {len(sets)} sets, give at most {limits.SETS}")
    return list(sets)


def _read_json(path: str | PathLike) -> Any:
    try:
        return json.loads(read_text(path, limits.PANNING_BYTES), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise MediaError(f"{path}: not JSON ({error})") from None


def _finite(text: str) -> float:
    """A finite number. Python's JSON reader accepts NaN, Infinity and 1e400, which are no positions."""
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text} is not a number")
    return value


def _where(sets: Mapping, location: Sequence) -> str:
    """'set "vibes", move 3 (measure 7 beat 1), ear_i: ' for a place in the JSON document."""
    name, index, *inner = [*location, None, None]
    words = [f'set "{name}"'] if name is not None else []
    if index is not None:
        words.append(_move_name(index, sets[name][index]))
    words += [str(key) for key in inner if key is not None]
    return ", ".join(words) + ": " if words else ""


def _move_name(index: int, move: Mapping | object) -> str:
    if isinstance(move, Mapping) and "m1" in move:
        return f"move {index + 1} (measure {shortened(move['m1'])} beat {shortened(move.get('b1', 1))})"
    if isinstance(move, Mapping) and "t1" in move:
        return f"move {index + 1} ({shortened(move['t1'])} s)"
    return f"move {index + 1}"


def scale_ears(sets: object) -> None:
    """Divide the ear positions of each set that leaves ±1 by their largest, in place.

    The document is not checked yet; the schema later refuses whatever is not a set or a move.
    """
    for moves in sets.values() if isinstance(sets, dict) else ():
        moves = [move for move in moves if isinstance(move, dict)] if isinstance(moves, list) else []
        ears = [(move, key) for move in moves for key in EARS if isinstance(move.get(key), (int, float))]
        largest = max((abs(move[key]) for move, key in ears), default=0)
        if largest > 1:
            for move, key in ears:
                move[key] /= largest


def read_motion(
    path: str | PathLike, name: str, clock: Clock | None, duration: float, *, scale: bool = False, distance: float = 1.0
) -> Motion:
    """The motion of one set of a panning score.

    Args:
        path: panning score.
        name: the set.
        clock: measures and beats to seconds; None where every move is given in seconds.
        duration: seconds of the sound with its reverb tail; a move to "end" ends there.
        scale: as in `read_panning`.
        distance: metres, of moves that give none.

    Raises:
        MediaError: no such set, a fault in it, a gap or overlap between moves, a measure or beat outside the piece.
    """
    sets = read_panning(path, name, scale=scale)
    if name not in sets:
        raise MediaError(f'{path}: there is no set "{name}", {nearest(name, list(sets))}')
    moves: list[Move] = []
    for index, written in enumerate(sets[name]):
        here = f'{path}: set "{name}", {_move_name(index, written)}'
        if clock is None and ("m1" in written or written.get("cycles") == "per_beat"):
            raise MediaError(f"{here}: is written in measures and beats, give the MIDI clock with -m")
        try:
            begin = _time(written, "1", clock)
            end = _end(written, clock, max(duration, begin + SMOOTHING))
        except ValueError as error:
            raise MediaError(f"{here}: {error}") from None
        if moves and abs(begin - moves[-1].end) > SAME_TIME:
            kind = "a gap" if begin > moves[-1].end else "an overlap"
            raise MediaError(
                f"{here}: begins at {begin:.3f} s, but the move before it ends at "
                f"{_end_name(sets[name][index - 1])} ({moves[-1].end:.3f} s): {kind}"
            )
        if end <= begin:
            raise MediaError(f"{here}: ends at {_end_name(written)}, which is not after its begin")
        moves.append(_move(written, moves[-1].end if moves else begin, end, clock, distance))
    return Motion(moves)


def panning_duration(path: str | PathLike, clock: Clock | None, *, scale: bool = False) -> float:
    """Seconds a panning score lasts without a sound: to the end of the piece, or of the last move in seconds.

    Sets with a fault do not count.
    """
    ends = [clock.duration if clock else SMOOTHING]
    for name in set_names(path):
        with suppress(MediaError):
            moves = read_panning(path, name, scale=scale)[name]
            ends += [move["t2"] for move in moves if isinstance(move.get("t2"), (int, float))]
    return max(ends)


def _end(written: Mapping, clock: Clock | None, duration: float) -> float:
    return duration if "end" in (written.get("t2"), written.get("m2")) else _time(written, "2", clock)


def _time(written: Mapping, which: str, clock: Clock | None) -> float:
    """Seconds of the begin ("1") or the end ("2") of a move, which is not "end"."""
    if f"t{which}" in written or clock is None:
        return written[f"t{which}"]
    return clock.seconds(int(written[f"m{which}"]), written.get(f"b{which}", 1))


def _end_name(written: Mapping) -> str:
    if "end" in (written.get("m2"), written.get("t2")):
        return "end"
    return f"{written['t2']} s" if "t2" in written else f"measure {written['m2']} beat {written.get('b2', 1)}"


def _move(written: Mapping, begin: float, end: float, clock: Clock | None, distance: float) -> Move:
    """A checked move of the JSON document, its times in seconds."""
    given: dict[str, Any] = {key: float(written[key]) for key in (*EARS, "azimuth_i", "azimuth_f") if key in written}
    if written["effect"] == "straight":
        given.setdefault("ear_f", given["ear_i"])
    if "turns" in written:
        given["azimuth_f"] = given.get("azimuth_i", 0.0) + 360 * written["turns"]
    if written["effect"] == "sawtooth":
        given["ramps"] = _ramps(written["cycles"], begin, end, clock)
    for key, default in (("elevation", 0.0), ("distance", distance)):
        value = written.get(key, default)
        given[key] = tuple(value) if isinstance(value, list) else (value, value)
    return Move(begin, end, written["effect"], **given)


def _ramps(cycles: float | str, begin: float, end: float, clock: Clock | None) -> tuple[tuple[float, float], ...]:
    """Where the ramps of a sawtooth are: `Move.ramps`. Each ramp is linear in time, also over a tempo change."""
    if cycles == "per_beat" and clock:
        first, quarter = clock.seconds_tick(begin), clock.ticks_per_quarter
        last = ceil((clock.seconds_tick(end) - first) / quarter)
        changes = [(clock.seconds_tick(time) - first) / quarter for time in clock.tempo_changes(begin, end)]
        # Only the ramps around tempo changes need points of their own.
        starts = sorted({0, last, *map(floor, changes), *map(ceil, changes)})
        return tuple((clock.tick_seconds(first + start * quarter), float(start)) for start in starts)
    return (begin, 0.0), (end, float(cycles))
