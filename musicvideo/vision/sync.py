"""How the picture of a film and its sound belong together, measured on any film."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view

from musicvideo import decoder, files, probe
from musicvideo.vision import locked_librosa as librosa
from musicvideo.vision.features import SAMPLE_RATE, Song
from musicvideo.vision.onsets import onset_envelope
from musicvideo.vision.watching import Watched, watch

HOP = 256  # samples from point to point of the onset envelope: three points a frame
FURTHEST = Fraction(2, 5)  # seconds by which picture and sound are moved against each other
QUIET = -45.0  # dBFS, root mean square of a frame's sound; below it is a rest
BLACK = 4.0  # of 255: mean of a picture that a fade begins or ends with
STEPS = 5  # frames within which a fade becomes brighter, or it is over
BEFORE = (6, 2)  # frames before an onset, from and to, that its differences are compared with
RISE = 1.25  # times their median that a difference is then at least,
LEAST_RISE = 0.1  # and so much more, of 255
MOST_POINTS = 8000  # of a drawn curve
INK, SOUND, PICTURE, REST = "#292524", "#1d4ed8", "#c2410c", "#e7e5e4"


@dataclass(frozen=True)
class Sync:
    """Picture against sound of a film of N frames; differences are of 255, lags positive where the picture is late.

    Attributes:
        fps: frames a second, of a variable rate the average.
        differences: (N,) mean absolute difference of each frame from the one before; 0 for the first.
        envelope: (N,) onset strength of the sound while each frame is shown, its maximum.
        loudness: (N,) root mean square of the sound while each frame is shown, in dBFS.
        rests: (N,) whether a frame is within a rest: the sound is below `QUIET` in it and in the frame before, between
            the first and the last sound of the film, and the picture is not black, nor fades from or to black.
        onsets: (K,) frames in which an onset is heard.
        seen: (N,) whether a difference rises within a frame of each.
        correlations: (2 * furthest + 1,) of differences and envelope, the picture moved by -furthest.. frames; 0 where
            either never changes.
    """

    fps: Fraction
    differences: np.ndarray
    envelope: np.ndarray
    loudness: np.ndarray
    rests: np.ndarray
    onsets: np.ndarray
    seen: np.ndarray
    correlations: np.ndarray

    @property
    def times(self) -> np.ndarray:
        """(N,) seconds at which each frame is shown."""
        return np.arange(len(self.differences)) / float(self.fps)

    @property
    def furthest(self) -> int:
        """Frames by which picture and sound are moved against each other, at most: `FURTHEST`."""
        return len(self.correlations) // 2

    @property
    def lag(self) -> int:
        """Frames that the picture is late by: where the correlation is highest, the nearest to 0 of equal ones."""
        lags = range(-self.furthest, self.furthest + 1)
        return min(lags, key=lambda lag: (-self.correlation(lag), abs(lag)))

    def correlation(self, lag: int) -> float:
        """Correlation of differences and envelope with the picture moved by `lag` frames."""
        return float(self.correlations[lag + self.furthest])

    def line(self) -> str:
        """All figures on one line."""
        share = f"{self.seen[self.onsets].mean():.0%}" if len(self.onsets) else "none"
        stillness = f"{self.differences[self.rests].mean():.2f}" if self.rests.any() else "none"
        return (
            f"r {self.correlation(0):.2f} at lag 0, {self.correlation(self.lag):.2f} at lag "
            f"{self.lag}; difference of frames {self.differences.mean():.2f} in the mean, "
            f"{np.percentile(self.differences, 99):.2f} at the 99th percentile, {stillness} in rests; onsets seen "
            f"{share} of {len(self.onsets)} (of all frames {self.seen.mean():.0%})"
        )


def sync(film: str | os.PathLike, *, watched: Watched | None = None, stream: int = 0) -> Sync:
    """Measure how the picture of a film belongs to its sound; memory grows by some bytes a frame.

    Args:
        film: a video with sound.
        watched: result of `watch` for it, if it is there already.
        stream: which of its sounds, from 0.

    Raises:
        MediaError: no sound; and as `watch`.
    """
    found = probe.probe(film, sound=stream)
    if found.frame_rate:  # else `watch` says what is missing
        decoder.require_sound(film, found)
    watched = watched or watch(film)
    fps, differences, times, start = watched.fps, watched.differences, watched.times, found.audio_start
    song = Song(film, stream=stream)
    envelope, _ = onset_envelope(song, HOP)
    loudness = _loudness(song, len(differences), fps, start)
    moments = librosa.frames_to_time(np.arange(len(envelope)), sr=SAMPLE_RATE, hop_length=HOP) + start
    heard = librosa.onset.onset_detect(onset_envelope=envelope, sr=SAMPLE_RATE, hop_length=HOP, units="frames")
    onsets = np.unique(np.searchsorted(times, moments[heard], "right") - 1)
    strength = np.zeros(len(times), np.float32)
    shown = np.searchsorted(times, moments, "right") - 1
    # Sound before the picture begins, and after its last frame, is seen by nobody.
    during = (shown >= 0) & (moments < times[-1] + 1 / float(fps))
    np.maximum.at(strength, shown[during], envelope[during])
    furthest = max(1, round(FURTHEST * fps))
    return Sync(
        fps=fps,
        differences=differences,
        envelope=strength,
        loudness=loudness,
        rests=_rests(loudness) & ~_fades(watched.brightness),
        onsets=onsets[(onsets >= 0) & (onsets < len(times) - 1)],
        seen=_seen(differences),
        correlations=np.array([_correlation(strength, differences, lag) for lag in range(-furthest, furthest + 1)]),
    )


def _loudness(song: Song, frames: int, fps: Fraction, start: float) -> np.ndarray:
    """Root mean square of the sound while each frame is shown, in dBFS, of a sound that begins at `start` seconds."""
    energy, done = np.zeros(frames), 0
    for piece in song:
        frame = np.floor((np.arange(done, done + len(piece)) / SAMPLE_RATE + start) * float(fps)).astype(int)
        done += len(piece)
        within = (frame >= 0) & (frame < frames)
        if within.any():
            first = frame[within][0]
            summed = np.bincount(frame[within] - first, piece[within].astype(float) ** 2)
            energy[first : first + len(summed)] += summed
    return librosa.power_to_db(energy * float(fps) / SAMPLE_RATE, amin=1e-12, top_db=None)


def _rests(loudness: np.ndarray) -> np.ndarray:
    """Which frames are quiet and follow a quiet one, between the first and the last that are not."""
    sounding = np.flatnonzero(loudness >= QUIET)
    rests = np.zeros(len(loudness), bool)
    if len(sounding):
        inside = slice(sounding[0], sounding[-1])
        rests[inside] = loudness[inside] < QUIET
    rests[1:] &= rests[:-1]
    return rests


def _fades(brightness: np.ndarray) -> np.ndarray:
    """Which frames are black, become brighter after black, or darker before it."""

    def after_black(values: np.ndarray) -> np.ndarray:
        fades, brightest, since = np.zeros(len(values), bool), np.inf, 0
        for frame, value in enumerate(values):
            if value < BLACK or (value > brightest and frame - since <= STEPS):
                brightest, since = value, frame
            # `brightest` stays infinite until the first black frame.
            fades[frame] = np.isfinite(brightest) and frame - since <= STEPS
        return fades

    return after_black(brightness) | after_black(brightness[::-1])[::-1]


def _seen(differences: np.ndarray) -> np.ndarray:
    """Whether, within a frame of each, a difference exceeds those shortly before."""
    furthest, nearest = BEFORE
    before = sliding_window_view(np.pad(differences, (furthest, 0), mode="edge"), furthest - nearest + 1)
    usual = np.median(before, axis=1)[: len(differences)]
    near = sliding_window_view(np.pad(differences, 1), 3).max(axis=1)
    return near >= RISE * usual + LEAST_RISE


def _correlation(strength: np.ndarray, differences: np.ndarray, lag: int) -> float:
    """Pearson's, of the sound with the picture `lag` frames later; 0 where either never changes."""
    first = np.arange(max(1, 1 - lag), max(1, len(strength) - max(0, lag)))  # the first frame differs from none
    sound, picture = strength[first], differences[first + lag]
    if not len(first) or not np.ptp(sound) or not np.ptp(picture):
        return 0.0
    return float(np.corrcoef(sound, picture)[0, 1])


def plot(found: Sync, path: str | os.PathLike, *, title: str) -> None:
    """Draw sound and picture over time, rests shaded, and their correlation by lag.

    Args:
        found: of a film.
        path: a .png file.
        title: name of the film.
    """
    figure = Figure(figsize=(16, 8), layout="constrained")
    grid = figure.add_gridspec(2, 4)
    sound, picture = figure.add_subplot(grid[0, :3]), figure.add_subplot(grid[1, :3])
    plot_sound(sound, found)
    plot_picture(picture, found)
    picture.set(xlabel="seconds")
    plot_lags(figure.add_subplot(grid[:, 3]), found)
    figure.suptitle(f"{title}\n{found.line()}", color=INK, size=10, parse_math=False)
    with files.atomic(path) as partial:
        figure.savefig(partial, dpi=100, facecolor="white", format="png")


def plot_sound(axes: Axes, found: Sync) -> None:
    """Draw the onset strength over time, rests shaded."""
    axes.plot(*thinned(found.times, found.envelope), color=SOUND, linewidth=0.8)
    axes.set(ylabel="onset strength")
    _shade_rests(axes, found)


def plot_picture(axes: Axes, found: Sync) -> None:
    """Draw the difference of frames over time, which onsets are seen in it, rests shaded."""
    axes.plot(*thinned(found.times, found.differences), color=PICTURE, linewidth=0.8)
    for seen, colour, label in ((True, INK, "onset, seen"), (False, PICTURE, "onset, not seen")):
        onsets = found.onsets[found.seen[found.onsets] == seen]
        axes.plot(
            found.times[onsets], np.zeros(len(onsets)), "|", color=colour, markersize=10 if seen else 18, label=label
        )
    axes.set(ylabel="difference of frames, of 255")
    axes.legend(frameon=False, ncols=2, loc="upper right")
    _shade_rests(axes, found)


def plot_lags(axes: Axes, found: Sync) -> None:
    """Draw the correlation of picture and sound by lag."""
    axes.bar(np.arange(-found.furthest, found.furthest + 1), found.correlations, color=INK)
    axes.set(xlabel="frames by which the picture is late", ylabel="correlation r")


def _shade_rests(axes: Axes, found: Sync) -> None:
    axes.set_xlim(0, len(found.times) / float(found.fps))
    axes.fill_between(
        found.times, 0, 1, where=found.rests, transform=axes.get_xaxis_transform(), color=REST, step="post"
    )


def thinned(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A curve of at most `MOST_POINTS` points, which are the maxima of equal stretches."""
    step = -(-len(values) // MOST_POINTS)
    if step <= 1:
        return times, values
    begins = np.arange(0, len(values), step)
    return times[begins], np.maximum.reduceat(values, begins)
