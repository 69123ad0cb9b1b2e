"""The notes of a song -> the path of its video: each note raises its class and moves a handle.

Everything happens in playing time, which is the song's time without its rests. So rests hold the picture still, and
nothing jumps when the music goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from musicvideo.notes import Notes
from musicvideo.panning import Position
from musicvideo.vision.conduct import Cast
from musicvideo.vision.generators import Handle
from musicvideo.vision.latents import Trajectory
from musicvideo.vision.settings import Settings

GRID_RATE = 100  # grid points a second
LEAD = 1 / 30  # seconds by which a note's rise precedes its sound: the frame that sounds is the frame that moves
FAINT = 0.12  # a note counts as gone when it has fallen to this share of full strength
MEMORY = (0.35, 8.0)  # share of a note that stays after it, and the seconds in which that falls to 1/e
SETTLING = 0.2  # seconds that any note moves the picture, at least
LEAST = 0.04  # of full height, by which any note rises
LEADING = 0.65  # weight of the class that stands in a section between its notes
SOFTEST = 0.15  # strength of the softest note, so that it is seen while a loud one rings
LOUDNESS = 1.3  # exponent from velocity to the strength of classes
MOTION = 0.6  # the same for handles and drift: soft notes, too, are seen
KICK = (0.05, 0.4)  # seconds in which a note moves its handle, and in which that falls to 1/e
KICKED = 0.25  # of a handle's reach, by the loudest note, where the table names no handle
PLACES, FLIGHTS = 0.6, 3  # of the reach, at the most, and how many handles: where a section stands without a table
GLIDE = 0.4  # seconds over which a part's place around the head is averaged, since it may jump
EXCITEMENT = 0.6  # seconds in which the motion that a note starts falls to 1/e
REST_SPEED = 0.12  # speed of the drift while a note is held, as a share of that at a loud one
DRIFT = 0.55  # radians a second of the noise's circles at the speed of a loud note and 100 beats a minute
SPREAD = 1.2  # amplitude of the circles
USUAL_TEMPO = 100  # beats a minute
USUAL_SENSITIVITY = Settings.tempo_sensitivity
CUT = 5.0  # times of decay after which an envelope is left out


@dataclass(frozen=True)
class ConductedNoise:
    """Noise vectors (T, noise_dim) that are computed whenever they are asked for, as an array's rows.

    Attributes:
        phase: (T,) radians, how far the drift has come.
        moved: (T, H) amounts of the handles, in units of the noise.
        handles: (H, noise_dim) unit vectors.
        speeds, starts: (noise_dim,) of the circle that each unit of the noise goes through.
        amplitude: of the circles.
    """

    phase: np.ndarray
    moved: np.ndarray
    handles: np.ndarray
    speeds: np.ndarray
    starts: np.ndarray
    amplitude: float

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.phase), len(self.starts)

    def __len__(self) -> int:
        return len(self.phase)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        drift = self.amplitude * np.sin(self.phase[index][:, None] * self.speeds + self.starts)
        return drift + self.moved[index].astype(float) @ self.handles


def conducted(
    notes: Notes,
    cast: Cast,
    handles: Mapping[str, Handle],
    *,
    noise_dim: int,
    rng: np.random.Generator,
    depth: float = 1.0,
    truncation: float = 1.0,
    jitter: float = 0.5,
    tempo_sensitivity: float = USUAL_SENSITIVITY,
) -> Trajectory:
    """The path of a song, by its notes.

    Args:
        notes: of the song, within its duration.
        cast: who shows what.
        handles: of the generator.
        noise_dim: length of a noise vector.
        rng: draws where the drift begins, and the places of sections.
        depth: the largest weight of a class, 0..1.
        truncation: amplitude of the drift, 0.1..1.
        jitter: 0..1, how unevenly the noise units drift.
        tempo_sensitivity: speed of the drift, 0..1; 0.25 is usual.
    """
    loudness = SOFTEST + (1 - SOFTEST) * (notes.velocity / 127.0) ** LOUDNESS
    time = _PlayingTime(notes, cast, loudness)
    strikes = time.at(notes.onset) - LEAD * GRID_RATE  # a note at the very beginning has begun already
    ends = time.at(notes.onset + notes.length)

    weights = _weights(notes, cast, time, strikes, ends, loudness)
    shown = np.array([scene.table.depth for scene in cast.scenes])
    weights *= depth * np.interp(time.grid, *_steps(cast, shown, time, cast.motion.flight))[:, None]

    used = _used(cast, handles)
    accented = (notes.velocity / 127.0) ** MOTION * _accents(notes, cast)
    amounts = _kicks(notes, cast, used, time, strikes, accented)
    amounts += _places(cast, used, time, rng)
    amounts += _sides(cast, used, time)
    np.clip(amounts, -1, 1, out=amounts)
    amounts *= np.array([handles[name].reach for name in used], np.float32)

    energy = np.zeros(len(time.grid), np.float32)
    for at, loud in zip(strikes.tolist(), accented.tolist()):
        _strike(energy, at, loud, 2 / GRID_RATE, EXCITEMENT)
    pace = np.array([scene.table.speed for scene in cast.scenes])
    speed = (REST_SPEED + energy) * np.interp(time.grid, *_steps(cast, pace, time, cast.motion.flight))
    speed *= DRIFT * cast.motion.speed * tempo_sensitivity / USUAL_SENSITIVITY * _tempo(notes) / USUAL_TEMPO
    phase = np.cumsum(speed) / GRID_RATE

    # From playing time to the song's: a rest is one moment, held.
    rows = time.rows
    noise = ConductedNoise(
        phase=phase[rows],
        moved=amounts[rows],
        handles=np.array([handles[name].direction for name in used]).reshape(len(used), noise_dim),
        speeds=1 + jitter * rng.uniform(-0.8, 0.8, noise_dim),
        starts=rng.uniform(0, 2 * np.pi, noise_dim),
        amplitude=SPREAD * truncation,
    )
    return Trajectory(noise, weights[rows], cast.classes, float(GRID_RATE), notes.duration)


class _PlayingTime:
    """The song's time without its rests.

    Attributes:
        rows: (T,) for each grid point of the song, the row of playing time.
        grid: (P,) seconds of playing time of its rows.
    """

    def __init__(self, notes: Notes, cast: Cast, loudness: np.ndarray) -> None:
        points = 1 + int(np.ceil(notes.duration * GRID_RATE))
        release = np.array([role.table.release for role in cast.roles])[notes.part]
        decay = np.array([role.decay for role in cast.roles])[notes.part]
        left = np.log(np.maximum(loudness / FAINT, 1.0))  # of the fall, in powers of 1/e
        held = np.minimum(left * decay, notes.length)
        audible = SETTLING + held + (left - held / decay) * release
        begins = np.floor((notes.onset - LEAD) * GRID_RATE).astype(int)
        ends = np.ceil((notes.onset + audible) * GRID_RATE).astype(int)
        changes = np.zeros(points + 1, int)
        np.add.at(changes, np.clip(begins, 0, points), 1)
        np.add.at(changes, np.clip(ends, 0, points), -1)
        playing = np.cumsum(changes[:-1]) > 0
        self.rows = np.concatenate([[0], np.cumsum(playing[:-1])])
        self.grid = np.arange(self.rows[-1] + 1) / GRID_RATE

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """Rows of playing time, with fractions, of times of the song in seconds."""
        return np.interp(np.asarray(seconds) * GRID_RATE, np.arange(len(self.rows)), self.rows)


def _accents(notes: Notes, cast: Cast) -> np.ndarray:
    """Factors (N,) on the strength of notes: those on a downbeat count more."""
    if not len(notes.downbeats):
        return np.ones(len(notes.onset))
    after = np.searchsorted(notes.downbeats, notes.onset - 0.5 / GRID_RATE)
    nearest = notes.downbeats[np.minimum(after, len(notes.downbeats) - 1)]
    on = np.abs(nearest - notes.onset) < 1 / GRID_RATE
    return np.where(on, 1.0, 1 - cast.motion.downbeat)


def _weights(
    notes: Notes, cast: Cast, time: _PlayingTime, strikes: np.ndarray, ends: np.ndarray, loudness: np.ndarray
) -> np.ndarray:
    """Class weights (P, K) in playing time, of notes that begin and end at rows `strikes` and `ends`."""
    classes = cast.classes
    scenes = [cast.scene_at(onset) for onset in notes.onset.tolist()]
    column = {index: number for number, index in enumerate(classes)}
    struck = [
        column[cast.roles[part].class_of(pitch, cast.in_play(cast.roles[part], scene))]
        for part, pitch, scene in zip(notes.part.tolist(), notes.pitch.tolist(), scenes)
    ]
    raised = np.zeros((len(cast.scenes), len(classes)))
    np.add.at(raised, (scenes, struck), loudness * np.minimum(notes.length, 1.0))
    floors = np.zeros_like(raised)
    for number in reversed(range(len(cast.scenes))):
        ground = cast.scenes[number].ground
        if ground is not None:
            floors[number, column[ground]] = LEADING
        elif raised[number].any():
            floors[number, raised[number].argmax()] = LEADING
        elif number + 1 < len(floors):  # without notes it looks forward to the next one
            floors[number] = floors[number + 1]
    tracks = np.zeros((len(classes), len(time.grid)), np.float32)
    for number, part, at, end, loud in zip(
        struck, notes.part.tolist(), strikes.tolist(), ends.tolist(), loudness.tolist()
    ):
        role = cast.roles[part]
        _strike(
            tracks[number], at, loud * role.table.strength, role.table.attack, role.decay,
            held=(end - at) / GRID_RATE, release=role.table.release,
        )  # fmt: skip
    for number in range(len(classes)):
        remembered = _remembered(tracks[number], begun=number == struck[0])  # the first picture is the first note's
        tracks[number] += remembered * (1 - np.minimum(tracks[number], 1))
        floor = np.interp(time.grid, *_steps(cast, floors[:, number], time, cast.motion.flight))
        tracks[number] = floor + (1 - floor) * np.minimum(tracks[number], 1)
    return np.ascontiguousarray(tracks.T)


def _strike(
    track: np.ndarray,
    at: float,
    height: float,
    attack: float,
    decay: float,
    *,
    held: float = np.inf,
    release: float = 1.0,
) -> None:
    """Add the envelope of one note to a track in place: up at once, then down.

    A track stays below 1: a note closes the part of the gap that its height says. So repeated notes all show. A soft
    note within the ring of a loud one adds at least `LEAST` to what was there before it, and leaves it in `SETTLING`.

    Args:
        track: (P,) in playing time.
        at: row, with a fraction.
        height: 0..1, or -1..0 for a note that moves the track the other way.
        attack, decay: seconds of the rise, and in which it falls to 1/e.
        held, release: seconds after which it falls to 1/e in `release` seconds.
    """
    first = max(int(np.ceil(at)), 0)
    span = attack + min(CUT * decay, held + CUT * release)
    end = min(len(track), first + int(span * GRID_RATE) + 1)
    if first >= end:
        return
    sign, height = (1.0, min(height, 1.0)) if height >= 0 else (-1.0, min(-height, 1.0))
    level = sign * float(track[min(first + int(attack * GRID_RATE), end - 1)])  # without this note, at its height
    level = min(max(level, 0.0), 1.0)
    since = (np.arange(first, end) - at) / GRID_RATE
    rise = np.minimum(since / attack, 1.0)
    since = np.maximum(since - attack, 0.0)
    fall = np.exp(-np.minimum(since, held) / decay - np.maximum(since - held, 0.0) / release)
    before = sign * float(track[max(first - 1, 0)])
    missing = max(min(before + LEAST, 1.0) - (level + (1 - level) * height), 0.0)
    track[first:end] += sign * rise * ((1 - level) * height * fall + missing * np.exp(-since / SETTLING))


def _remembered(track: np.ndarray, *, begun: bool) -> np.ndarray:
    """What stays of the notes of a track (P,): a share of its highest point, which falls slowly.

    Args:
        begun: as if a note had reached 1 at the beginning.
    """
    share, seconds = MEMORY
    fallen = np.arange(len(track)) / (seconds * GRID_RATE)
    heights = np.log(np.maximum(track, 1e-6)) + fallen
    if begun:
        heights[0] = 0.0
    return share * np.exp(np.maximum.accumulate(heights) - fallen)


def _used(cast: Cast, handles: Mapping[str, Handle]) -> list[str]:
    """Handles that a part or a section may move."""
    named = [name for role in cast.roles for name in (*(role.table.handles or ()), *(role.table.side or ()))]
    named += [name for scene in cast.scenes for name in scene.table.handles or ()]
    return list(dict.fromkeys([*named, *handles]))


def _kicked(cast: Cast, used: Sequence[str]) -> list[Mapping[str, float]]:
    """For each part, what its notes move, and how far."""
    named = {name for role in cast.roles for name in (*(role.table.handles or ()), *(role.table.side or ()))}
    free = [name for name in used if name not in named] or list(used)
    found: list[Mapping[str, float]] = []
    for number, role in enumerate(cast.roles):
        if role.table.handles is not None:
            found.append(role.table.handles)
        else:
            found.append({free[number % len(free)]: KICKED} if free else {})
    return found


def _kicks(
    notes: Notes, cast: Cast, used: Sequence[str], time: _PlayingTime, strikes: np.ndarray, loudness: np.ndarray
) -> np.ndarray:
    """How far notes move handles, (P, H) of their reach."""
    tracks = np.zeros((len(used), len(time.grid)), np.float32)
    kicked = _kicked(cast, used)
    for part, at, loud in zip(notes.part.tolist(), strikes.tolist(), loudness.tolist()):
        for name, far in kicked[part].items():
            _strike(tracks[used.index(name)], at, far * loud, *KICK)
    return np.ascontiguousarray(tracks.T)


def _places(cast: Cast, used: Sequence[str], time: _PlayingTime, rng: np.random.Generator) -> np.ndarray:
    """Where sections stand, (P, H) of the handles' reach."""
    kicked = {name for named in _kicked(cast, used) for name in named}
    free = [name for name in used if name not in kicked][:FLIGHTS]
    places = np.zeros((len(cast.scenes), len(used)))
    for number, scene in enumerate(cast.scenes):
        drawn = rng.uniform(-PLACES, PLACES, len(free))  # for every scene, so that a table changes no other one
        for name, far in (dict(zip(free, drawn)) if scene.table.handles is None else scene.table.handles).items():
            places[number, used.index(name)] = far
    columns = [np.interp(time.grid, *_steps(cast, column, time, cast.motion.flight)) for column in places.T]
    return np.array(columns, np.float32).T.reshape(len(time.grid), len(used))


def _sides(cast: Cast, used: Sequence[str], time: _PlayingTime) -> np.ndarray:
    """How far the parts' places around the head move handles, (P, H) of their reach."""
    moved = np.zeros((len(time.grid), len(used)), np.float32)
    window = np.hanning(int(GLIDE * GRID_RATE) + 2)[1:-1]
    reach = len(window) // 2
    moments = np.searchsorted(time.rows, np.arange(len(time.grid)))  # of the song; a rest is its beginning
    for role in cast.roles:
        if role.path is not None:
            seconds = np.arange(-reach, len(time.rows) + reach) / GRID_RATE
            azimuth, elevation, distance = role.path.at(seconds)
            ear = np.convolve(Position(azimuth, elevation, distance).ear, window / window.sum(), "valid")[moments]
            for name, far in (role.table.side or {}).items():
                moved[:, used.index(name)] += far * ear
    return moved


def _steps(cast: Cast, values: np.ndarray, time: _PlayingTime, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of a curve that goes smoothly from one scene's value to the next, from its beginning on.

    Returns:
        Playing time in seconds, and the values there.
    """
    begins = time.at(np.array([scene.begin for scene in cast.scenes]) - LEAD) / GRID_RATE
    ease = (1 - np.cos(np.linspace(0, np.pi, 33))) / 2
    times, curve = [begins[0] - 1.0], [values[0]]
    for number in range(1, len(values)):
        begin = begins[number]
        end = begin + seconds
        if number + 1 < len(begins):
            end = min(end, begins[number + 1])
        if end <= begin:
            continue
        times += np.linspace(begin, end, len(ease)).tolist()
        curve += (curve[-1] + ease * (values[number] - curve[-1])).tolist()
    return np.array(times), np.array(curve)


def _tempo(notes: Notes) -> float:
    """Beats a minute, the median; the usual tempo where there are no beats."""
    return 60 / float(np.median(np.diff(notes.beats))) if len(notes.beats) > 1 else USUAL_TEMPO
