"""A picture of what a render will look like, before it runs: sound, what drives what, and real frames, on one page."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import hsv_to_rgb, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from musicvideo import files
from musicvideo.vision.features import Features
from musicvideo.vision.generators import Generator
from musicvideo.vision.latents import Trajectory, strongest_first
from musicvideo.vision.render import draw

FRAMES = 9                 # in the strip
TRIAL = (3, 4)             # calls, of so many frames, to measure how long a frame takes
WIDTH, HEIGHT = 1600, 1000                     # pixels
LEFT, RIGHT = 70, 1390                         # pixels; all panels share one time axis, names stand to the right of it
PITCH_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
PAPER, INK, QUIET = "#101014", "#f2efe9", "#8b8894"
# Fifths are neighbours on the colour wheel, so that a key is a family of colours.
PITCH_COLOURS = hsv_to_rgb([(7 * pitch % 12 / 12, 0.55, 1.0) for pitch in range(12)])


def seconds_a_frame(generator: Generator, trajectory: Trajectory) -> float:
    """How long this machine draws at one frame, measured on a few."""
    calls = np.linspace(0, trajectory.duration, np.prod(TRIAL), endpoint=False).reshape(TRIAL)
    draw(generator, trajectory, calls[0, :1])                  # the first one may compile or warm up

    def spent(moments: np.ndarray) -> float:
        start = time.perf_counter()
        draw(generator, trajectory, moments)
        return time.perf_counter() - start

    return float(np.median([spent(moments) for moments in calls])) / TRIAL[1]


def storyboard(
    path: str | os.PathLike,
    *,
    samples: np.ndarray,
    features: Features,
    trajectory: Trajectory,
    generator: Generator,
    title: str,
    facts: str,
    estimates: Mapping[int, float],
) -> None:
    """Write the storyboard of a video as a picture of 1600 x 1000 pixels.

    Args:
        path: a .png file.
        samples: (n,) the song, mono.
        features: of the song.
        trajectory: of the video.
        generator: draws the frames.
        title: name of the song.
        facts: one line on how the video is made.
        estimates: resolution -> seconds that a whole render takes.
    """
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100, facecolor=PAPER)
    FigureCanvasAgg(figure)
    figure.text(LEFT / WIDTH, 0.945, shortened(title, 70), color=INK, size=24, weight="bold", parse_math=False)
    figure.text(LEFT / WIDTH, 0.915, facts, color=QUIET, size=11)
    costs = "     ".join(f"{size} × {size}   {span(seconds)}" for size, seconds in sorted(estimates.items()))
    figure.text(LEFT / WIDTH, 0.025, "render time on this machine", color=QUIET, size=11)
    figure.text((LEFT + 240) / WIDTH, 0.025, costs, color=INK, size=11, weight="bold")

    def panel(top: int, height: int, name: str) -> Axes:
        axes = figure.add_axes((LEFT / WIDTH, 1 - (top + height) / HEIGHT, (RIGHT - LEFT) / WIDTH, height / HEIGHT))
        axes.set_facecolor(PAPER)
        axes.set_xlim(0, trajectory.duration)
        axes.set_yticks([])
        axes.tick_params(colors=QUIET, length=0, labelsize=10)
        axes.spines[:].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 1.5, 2, 3, 5, 6, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
        axes.tick_params(labelbottom=False)
        axes.text(1 + 18 / (RIGHT - LEFT), 1, name, transform=axes.transAxes, color=QUIET, size=11, va="top")
        return axes

    slot = (RIGHT - LEFT) // FRAMES
    _frames(panel(110, slot, "frames"), generator, trajectory)
    _waveform(panel(120 + slot, 130, "sound"), samples, trajectory.duration)
    _chroma(panel(270 + slot, 330, ""), features, trajectory, generator)
    speed = panel(620 + slot, 130, "noise speed")
    _speed(speed, trajectory)
    speed.tick_params(labelbottom=True)
    with files.atomic(path) as partial:
        figure.savefig(partial, dpi=100, facecolor=PAPER, format="png")


def _frames(axes: Axes, generator: Generator, trajectory: Trajectory) -> None:
    length = trajectory.duration / FRAMES
    starts = np.arange(FRAMES) * length
    gap = length * 0.015
    for start, picture in zip(starts, draw(generator, trajectory, starts + length / 2)):
        axes.imshow(picture, extent=(start + gap, start + length - gap, 0.015, 0.985), aspect="auto",
                    interpolation="lanczos")
    axes.set_xlim(0, trajectory.duration)
    axes.set_ylim(0, 1)


def _waveform(axes: Axes, samples: np.ndarray, duration: float) -> None:
    starts = np.linspace(0, len(samples), RIGHT - LEFT, endpoint=False).astype(int)     # one column a pixel
    times = np.linspace(0, duration, len(starts))
    highest, lowest = np.maximum.reduceat(samples, starts), np.minimum.reduceat(samples, starts)
    axes.fill_between(times, lowest, highest, color=INK, linewidth=0)
    reach = max(np.abs(samples).max(), 1e-6)
    axes.set_ylim(-1.05 * reach, 1.05 * reach)


def _chroma(axes: Axes, features: Features, trajectory: Trajectory, generator: Generator) -> None:
    driven = dict(zip(strongest_first(features.chroma), trajectory.classes))
    colours = np.array([PITCH_COLOURS[pitch] if pitch in driven else to_rgb(QUIET) for pitch in range(12)])
    paper = np.array(to_rgb(PAPER))
    starts = np.unique(np.linspace(0, features.chroma.shape[1], RIGHT - LEFT, endpoint=False).astype(int))
    columns = np.diff(np.append(starts, features.chroma.shape[1]))
    strength = np.clip(np.add.reduceat(features.chroma, starts, axis=1) / columns, 0, 1) ** 2    # squared: less haze
    picture = paper + strength[:, :, None] * (colours[:, None] - paper)
    axes.imshow(picture, extent=(0, trajectory.duration, -0.5, 11.5), origin="lower", aspect="auto",
                interpolation="nearest")
    axes.set_yticks(range(12), PITCH_NAMES)
    axes.hlines(np.arange(11) + 0.5, 0, trajectory.duration, color=PAPER, linewidth=3)
    for pitch, index in driven.items():
        axes.text(1 + 18 / (RIGHT - LEFT), (pitch + 0.5) / 12, shortened(generator.labels[index]),
                  transform=axes.transAxes, color=colours[pitch], size=12, va="center", weight="bold")


def _speed(axes: Axes, trajectory: Trajectory) -> None:
    moved = np.diff(trajectory.noise[:], axis=0)
    speed = np.sqrt(np.mean(moved**2, axis=1)) * trajectory.grid_rate if len(moved) else np.zeros(1)
    starts = np.unique(np.linspace(0, len(speed), RIGHT - LEFT, endpoint=False).astype(int))
    highest = np.maximum.reduceat(speed, starts)
    times = starts / trajectory.grid_rate
    axes.fill_between(times, 0, highest, color="#ffb454", alpha=0.28, linewidth=0)
    axes.plot(times, highest, color="#ffb454", linewidth=1.4)
    axes.set_ylim(0, max(1.08 * highest.max(), 1e-6))
    axes.hlines(0, 0, trajectory.duration, color=QUIET, linewidth=0.8)


def clock(seconds: float) -> str:
    """Seconds as a player shows them: 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}" if float(seconds).is_integer() else f"{seconds:g} s"


def span(seconds: float) -> str:
    """A length of time as a person says it, to two digits or so."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def shortened(name: str, most: int = 20) -> str:
    """A class name that fits beside its pitch."""
    return name if len(name) <= most else name[:most - 1].rstrip() + "…"
