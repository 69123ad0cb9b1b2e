"""Features of a song -> the path its video takes through a generator's latent space.

Two walks on the analysis grid: a noise vector moved by loudness, and class weights that follow the pitches. Both
reproduce the published deep-music-visualizer exactly where it is defined, and continue to the song's last sample.
"""

from __future__ import annotations

import functools
import hashlib
import json
import lzma
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np

from musicvideo.errors import MediaError
from musicvideo.files import atomic, require_file
from musicvideo.vision.features import SAMPLE_RATE, Features
from musicvideo.vision.settings import PITCHES, Settings, check

NOISE_LIMIT = 2.0  # the generators were trained on normal noise cut off at +-2
REFERENCE_HOP = 512  # samples; the sensitivities are meant for this hop and scale with others
JITTER_INTERVAL = 200  # grid points between two draws of the jitter mask
ROWS = 4096  # noise vectors written or looked at, at a time
CHECKED = 2000  # every so many noise vectors count in a path's checksum
STILL = 1e-7  # class weights closer together than this are taken for equal
MOST_NUMBERS = 150_000_000  # in the noise or the weights of a saved path: 1.2 GB, an hour at the finest hop
MOST_CLASSES = 1000  # of a saved path
LARGEST_NUMBER = 1000  # in either, whatever its sign; generators take about 2
MOST_TEXT = 1 << 20  # bytes of names and parameters


def truncated_noise(shape: int | tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal noise of this shape, cut off at `NOISE_LIMIT` on both sides.

    The inverse of the distribution at uniform numbers, as scipy.stats.truncnorm draws it. Importing scipy.stats takes a
    third of a second, a fifth of what a short video takes.
    """
    normal = NormalDist()
    uniform = rng.uniform(normal.cdf(-NOISE_LIMIT), normal.cdf(NOISE_LIMIT), shape)
    return np.vectorize(normal.inv_cdf, otypes=[float])(uniform)


def noise_walk(
    power: np.ndarray,
    gradient: np.ndarray,
    start: np.ndarray,
    jitter_masks: np.ndarray,
    *,
    tempo_sensitivity: float,
    frame_length: int,
    truncation: float,
) -> np.ndarray:
    """Push every noise unit back and forth within the truncation, at a speed that follows loudness.

    Args:
        power: (T,) loudness, 0..1.
        gradient: (T,) rise of loudness, 0..1.
        start: (noise_dim,) first noise vector.
        jitter_masks: (ceil(T / 200), noise_dim) factors on the speed, one row for 200 grid points.
        tempo_sensitivity: speed, 0..1 (0.05..0.8 useful).
        frame_length: hop of the grid, in samples at 22 050 Hz.
        truncation: a unit turns round near 2 * truncation, 0.1..1.

    Returns:
        (T + 1, noise_dim) float64; the first row is `start`.
    """
    strides = _strides(
        power, gradient, start, jitter_masks,
        tempo_sensitivity=tempo_sensitivity, frame_length=frame_length, truncation=truncation,
    )  # fmt: skip
    return np.concatenate([rows for rows, _ in strides])


class NoiseWalk:
    """`noise_walk` that computes its rows again whenever they are asked for: 3 MB an hour instead of 160.

    Args:
        as of `noise_walk`.

    Indexed by a slice or an array of row numbers, as the array that `noise_walk` returns.
    """

    def __init__(
        self, power: np.ndarray, gradient: np.ndarray, start: np.ndarray, jitter_masks: np.ndarray, **settings: float
    ):
        self.shape = len(power) + 1, len(start)
        self._walk = functools.partial(_strides, power, gradient, start, jitter_masks, **settings)
        self._states = [state for _, state in self._walk()]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        wanted = np.arange(len(self))[index]
        found = np.empty((len(wanted), self.shape[1]))
        for number in np.unique(wanted // JITTER_INTERVAL):
            rows, _ = next(self._walk(first=number, state=self._states[number]))
            here = wanted // JITTER_INTERVAL == number
            found[here] = rows[wanted[here] % JITTER_INTERVAL]
        return found


def _strides(power, gradient, start, jitter_masks, *, tempo_sensitivity, frame_length, truncation, first=0, state=None):
    """Walk 200 grid points at a time; yield their rows (200 or fewer, noise_dim), and the state at the first of them.

    A state is noise, step and direction. The walk begins at stride `first` in `state`, or at the start.
    """
    sensitivity = tempo_sensitivity * frame_length / REFERENCE_HOP
    turn = NOISE_LIMIT * truncation - sensitivity
    state = state or (np.asarray(start, float), np.zeros(len(start)), np.where(start < 0, 1.0, -1.0))
    for begin in range(first * JITTER_INTERVAL, len(power) + 1, JITTER_INTERVAL):
        stride = slice(begin, begin + JITTER_INTERVAL)
        speeds = (sensitivity * (gradient[stride] + power[stride])).tolist()
        noise, step, direction = state
        direction = direction.copy()
        rows = np.empty((1 + len(speeds), len(start)))
        rows[0] = noise
        for t, speed in enumerate(speeds):
            step = (speed * direction * jitter_masks[begin // JITTER_INTERVAL] + 3 * step) / 4
            noise = np.add(rows[t], step, out=rows[t + 1])
            direction[noise < -turn] = 1.0
            direction[noise >= turn] = -1.0
        yield rows[:JITTER_INTERVAL], state
        state = noise.copy(), step, direction


def class_walk(
    chroma: np.ndarray,
    classes: Sequence[int],
    *,
    num_classes: int,
    pitch_sensitivity: float,
    frame_length: int,
    depth: float,
    smooth_factor: float,
) -> np.ndarray:
    """Let the weight of each class follow the pitch that drives it.

    Pitches are ranked by their mean strength; the pitch of rank j drives `classes[j]`.

    Args:
        chroma: (12, T) strength of each pitch class, 0..1.
        classes: class ids, at least `num_classes` of them; those beyond it keep weight 0.
        num_classes: how many pitches drive a class, 1..12.
        pitch_sensitivity: how fast weights follow pitch, 1..299 (200..295 useful).
        frame_length: hop of the grid, in samples at 22 050 Hz.
        depth: the largest weight, 0.01..1.
        smooth_factor: length of a smoothing bin in hops of 512 samples; 1 does not smooth.

    Returns:
        (T + 1, len(classes)) float64, columns in the order of `classes`.
    """
    inertia = (300 - pitch_sensitivity) * REFERENCE_HOP / frame_length
    order = strongest_first(chroma)[:num_classes]
    sounding = chroma > 0
    first = int(sounding.any(axis=0).argmax())
    # The published script starts twelve classes by pitch and fewer by rank. It walks all of them by rank.
    started = np.arange(PITCHES) if num_classes == PITCHES else order

    walk = np.zeros((chroma.shape[1] + 1, len(classes)))
    walk[0, :num_classes] = chroma[started, first]
    pulls = chroma[order].T / inertia
    weights = walk[0, :num_classes]
    for t, pull in enumerate(pulls):
        weights = depth * _normalised((weights + pull) / (1 + 1 / inertia))
        nonzero = weights[weights != 0]
        if not nonzero.size or nonzero.std() < STILL:
            weights[0] += 0.01
        walk[t + 1, :num_classes] = weights
    return _smoothed(walk, bin_length(smooth_factor, frame_length))


class Vectors(Protocol):
    """Rows of numbers, in an array or computed whenever they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class Trajectory:
    """The path of one video through latent space, over the time of a song.

    Attributes:
        noise: (T, noise_dim) noise vector of each grid point.
        weights: (T, K) weights of the chosen classes, all others being 0.
        classes: the K class ids, in the order of the columns of `weights`.
        grid_rate: grid points a second; point t is at t / grid_rate seconds.
        duration: seconds of the song that it lasts.
        begin: seconds of the song before the path begins, as in an excerpt.
    """

    noise: Vectors
    weights: np.ndarray
    classes: tuple[int, ...]
    grid_rate: float
    duration: float
    begin: float = 0.0

    def excerpt(self, begin: float, duration: float | None = None) -> Trajectory:
        """The path from `begin` on, for `duration` seconds at most; None for all the rest."""
        rest = self.duration - begin
        return replace(self, begin=self.begin + begin, duration=rest if duration is None else min(duration, rest))

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sample the path at any moments, linearly between grid points.

        Args:
            times: (N,) seconds; the first and the last point are held beyond the ends.

        Returns:
            Noise (N, noise_dim) and class weights (N, K).
        """
        last = len(self.weights) - 1
        position = np.clip((np.asarray(times, dtype=float) + self.begin) * self.grid_rate, 0, last)
        before = np.floor(position).astype(int)
        ends = np.stack([before, np.minimum(before + 1, last)])
        share = (position - before)[:, None]
        return tuple(
            start * (1 - share) + end * share
            for start, end in (path[ends.ravel()].reshape(*ends.shape, -1) for path in (self.noise, self.weights))
        )

    def save(self, path: str | os.PathLike, *, labels: Sequence[str], params: dict) -> None:
        """Write the path as .npz, with the names of its classes and the parameters that made it."""
        # numpy.savez_compressed would want all noise at once.
        rows = (self.noise[start : start + ROWS] for start in range(0, len(self.noise), ROWS))
        small = {
            "class_vectors": self.weights, "classes": self.classes, "labels": labels, "grid_rate": self.grid_rate,
            "duration": self.duration, "params": json.dumps(params),
        }  # fmt: skip
        with atomic(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open("noise_vectors.npy", "w", force_zip64=True) as member:
                header = {"descr": "<f8", "fortran_order": False, "shape": self.noise.shape}
                np.lib.format.write_array_header_1_0(member, header)
                for part in rows:
                    member.write(part.astype("<f8").tobytes())
            for name, value in small.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asarray(value))

    @classmethod
    def load(cls, path: str | os.PathLike) -> tuple[Trajectory, list[str], dict]:
        """Read what `save` wrote: the path, the names of its classes, the parameters that made it.

        Anybody may have written the file. Names and parameters are data: nothing is done with them here.

        Raises:
            MediaError: no such file, or not a file of vectors.
        """
        require_file(path)
        try:
            with zipfile.ZipFile(path) as archive:
                noise = _read_array(archive, "noise_vectors", "f", MOST_NUMBERS)
                trajectory = cls(
                    noise=noise,
                    weights=_read_array(archive, "class_vectors", "f", MOST_NUMBERS),
                    classes=tuple(_read_array(archive, "classes", "iu", MOST_CLASSES).tolist()),
                    grid_rate=float(_read_array(archive, "grid_rate", "fiu", 1)),
                    duration=float(_read_array(archive, "duration", "fiu", 1)),
                )
                labels = _read_array(archive, "labels", "U", MOST_CLASSES).tolist()
                params = json.loads(str(_read_array(archive, "params", "U", 1)))
            points, columns = len(noise), len(trajectory.classes)
            if not points or not columns or noise.ndim != 2 or trajectory.weights.shape != (points, columns):
                raise ValueError("shapes that do not belong together")
            if len(set(trajectory.classes)) != columns or not isinstance(labels, list) or len(labels) != columns:
                raise ValueError("classes and labels that do not belong together")
            # Block by block, so that no second array of this size is made.
            for start in range(0, points, ROWS):
                for rows in (noise[start : start + ROWS], trajectory.weights[start : start + ROWS]):
                    if not (np.abs(rows) <= LARGEST_NUMBER).all():
                        raise ValueError(f"numbers that are not finite, or beyond {LARGEST_NUMBER}")
            if not (0 < trajectory.grid_rate < np.inf and 0 < trajectory.duration < np.inf):
                raise ValueError("no rate or no duration")
            if not isinstance(params, dict):
                raise ValueError("parameters that are no object")
            return trajectory, labels, params
        # What zipfile, zlib and numpy raise for files that are damaged, encrypted or lie about their contents.
        except (
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            EOFError,
            RuntimeError,
            OSError,
            ArithmeticError,
            MemoryError,
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            struct.error,
        ) as error:
            raise MediaError(f"{path}: not a file of saved vectors ({error})") from None

    def checksum(self) -> str:
        """Hexadecimal digits that tell this path from another; the last digits of its numbers do not count.

        Of the noise, rows far apart are enough, since each depends on all before it.
        """
        stated = self.classes, *(round(number, 6) for number in (self.grid_rate, self.duration, self.begin))
        digest = hashlib.sha256(repr(stated).encode())
        rows = np.unique([*range(0, len(self.noise), CHECKED), len(self.noise) - 1])
        for numbers in (self.noise[rows], self.weights):
            digest.update((np.round(numbers, 4) + 0.0).astype("<f8").tobytes())  # + 0.0: no negative zeros
        return digest.hexdigest()


def _read_array(archive: zipfile.ZipFile, name: str, kinds: str, most: int) -> np.ndarray:
    """An array of a .npz file, if it is of one of NumPy's `kinds` and has at most `most` numbers or texts."""
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[version](member)
    size = math.prod(shape)
    # The header alone decides how much memory is taken.
    if (
        dtype.kind not in kinds
        or size > most
        or any(length < 0 for length in shape)
        or (dtype.itemsize * size > MOST_TEXT if dtype.kind == "U" else dtype.itemsize > 8)
    ):
        raise ValueError(f"{name}: {dtype} {shape}")
    with archive.open(f"{name}.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def trajectory(
    features: Features,
    classes: Sequence[int],
    *,
    noise_dim: int,
    rng: np.random.Generator,
    num_classes: int = PITCHES,
    pitch_sensitivity: float = Settings.pitch_sensitivity,
    tempo_sensitivity: float = Settings.tempo_sensitivity,
    depth: float = Settings.depth,
    sort_classes_by_power: int = Settings.sort_classes_by_power,
    jitter: float = Settings.jitter,
    truncation: float = Settings.truncation,
    smooth_factor: float = Settings.smooth_factor,
) -> Trajectory:
    """The path of a song, by the classic mapping.

    Args:
        features: of the song, on the grid of the path.
        classes: class ids, `num_classes` or 12 of them; the first `num_classes` are used.
        noise_dim: length of a noise vector.
        rng: draws the first noise vector and the jitter.
        pitch_sensitivity, tempo_sensitivity, depth, truncation, smooth_factor: as in the walks above.
        num_classes: how many classes appear, 1..12.
        sort_classes_by_power: the first class goes to the strongest pitch.
        jitter: 0..1, how unevenly the noise units move.

    Raises:
        ValueError: a parameter out of its range, or the wrong number of classes.
    """
    num_classes = check("num_classes", num_classes)
    pitch_sensitivity = check("pitch_sensitivity", pitch_sensitivity)
    tempo_sensitivity = check("tempo_sensitivity", tempo_sensitivity)
    depth, jitter = check("depth", depth), check("jitter", jitter)
    truncation, smooth_factor = check("truncation", truncation), check("smooth_factor", smooth_factor)
    if len(classes) not in (num_classes, PITCHES):
        raise ValueError(f"classes: {len(classes)} given, num_classes asks for {num_classes}")
    classes = list(classes[:num_classes])
    if len(set(classes)) < num_classes:
        twice = next(index for index in classes if classes.count(index) > 1)
        raise ValueError(f"classes: {twice} is named twice")
    if sort_classes_by_power:
        classes = [classes[rank] for rank in np.argsort(strongest_first(features.chroma)[:num_classes])]

    points = len(features.mel_power)
    start = truncation * truncated_noise(noise_dim, rng)
    slowed = rng.random((-(-points // JITTER_INTERVAL), noise_dim)) < 0.5
    noise = NoiseWalk(
        features.mel_power[:-1],  # the last step would lead beyond the song
        features.mel_gradient[:-1],
        start,
        np.where(slowed, 1 - jitter, 1.0),
        tempo_sensitivity=tempo_sensitivity,
        frame_length=features.frame_length,
        truncation=truncation,
    )
    weights = class_walk(
        features.chroma,
        classes,
        num_classes=num_classes,
        pitch_sensitivity=pitch_sensitivity,
        frame_length=features.frame_length,
        depth=depth,
        smooth_factor=smooth_factor,
    )
    return Trajectory(
        noise=noise,
        weights=weights[:points],
        classes=tuple(int(index) for index in classes),
        grid_rate=SAMPLE_RATE / features.frame_length,
        duration=features.duration,
    )


def random_classes(rng: np.random.Generator, num_classes: int, number_of_labels: int) -> list[int]:
    """Draw different class ids.

    Raises:
        ValueError: more classes than 12 or than there are labels.
    """
    most = min(PITCHES, number_of_labels)
    if not 1 <= num_classes <= most:
        raise ValueError(f"num_classes: {num_classes} is not in 1..{most}")
    return rng.choice(number_of_labels, size=num_classes, replace=False).tolist()


def strongest_first(chroma: np.ndarray) -> np.ndarray:
    """The twelve pitches by mean strength over the song, strongest first; (12,) from chroma (12, T)."""
    return np.argsort(np.mean(chroma, axis=1))[::-1]


def bin_length(smooth_factor: float, frame_length: int) -> int:
    """Length of a smoothing bin in grid points; 1 is no smoothing."""
    return max(1, int(smooth_factor * REFERENCE_HOP / frame_length)) if smooth_factor > 1 else 1


def _normalised(weights: np.ndarray) -> np.ndarray:
    """Spread weights over 0..1: few classes keep their proportions, many are told apart by contrast."""
    highest = weights.max()
    if highest <= 0:
        return weights
    if len(weights) > 6:
        # The thousand classes that are not chosen sit at the lowest weight of those that are, and map to 0.
        lowest = weights[weights > 0].min()
        if lowest < highest:
            return (np.maximum(weights, lowest) - lowest) / (highest - lowest)
    return weights / highest


def _smoothed(walk: np.ndarray, length: int) -> np.ndarray:
    """Means over bins of `length` rows, joined by straight lines of `length` rows.

    The published smoothing ends with the last whole pair of bins. Here the last row is held to the end of the walk.
    Rows that both have are equal.
    """
    if length == 1:
        return walk
    bins = -(-len(walk) // length) + 1
    padded = np.pad(walk, ((0, bins * length - len(walk)), (0, 0)), mode="edge")
    means = padded.reshape(bins, length, -1).mean(axis=1)
    lines = np.linspace(means[:-1], means[1:], length, axis=1)
    return lines.reshape((bins - 1) * length, -1)[: len(walk)]
