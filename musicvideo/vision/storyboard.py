"""A page that previews a render: real frames, sound, notes, which class is seen when, and how long it takes."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from musicvideo import caches, files, programs
from musicvideo.errors import MediaError
from musicvideo.vision import film
from musicvideo.vision.containers import encoding
from musicvideo.vision.features import load_song
from musicvideo.vision.generators import Generator
from musicvideo.vision.job import Job, Score
from musicvideo.vision.latents import Trajectory
from musicvideo.vision.render import draw, draw_frames
from musicvideo.vision.segments import encoder_command, frame_count
from musicvideo.vision.settings import QUALITIES

FRAMES = 9  # in the strip
CALL = 4  # frames drawn at a time to measure how long one takes
CALLS = (3, 12)  # fewest and most of them
STEADY = 2.0  # seconds of drawing after which they are enough
RESOLUTIONS = (128, 256, 512)  # whose drawing time is told
FILM_SIZE = (1920, 1080)  # pixels, make's default; the estimate names it, since a drawing knows no film settings
FILM_TRIAL = (30, 5)  # frames of film to measure how long one takes, and one of so many is drawn for it
WIDTH, HEIGHT = 1600, 1000  # pixels
LEFT, RIGHT = 70, 1390  # pixels; all panels share one time axis, names stand to the right of it
PAPER, INK, MUTED = "#101014", "#f2efe9", "#8b8894"
NAMES_RIGHT = 18  # pixels from the panels to the names beside them
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # seconds from tick to tick
MOST_TICKS = 12
THUMBNAIL = 34  # pixels
MOST_NAMES = 24  # of classes beside the stream
LONGEST_ROLL = 20_000  # notes that are drawn one by one


def preview(job: Job, generator: Generator) -> tuple[dict[int, float], dict[tuple[int, int], float]]:
    """Draw the storyboard of a job, and estimate how long the job takes.

    Args:
        job: with `settings.storyboard`, the page to draw.
        generator: its own.

    Returns:
        Seconds of drawing by resolution, of those whose weights are at hand; and seconds of finishing the film by its
        width and height, nothing if this machine cannot tell.
    """

    asked, how, page = job.settings, job.encoding, job.settings.storyboard
    if not page:
        raise ValueError("storyboard: no page to draw")
    path = job.path(generator)
    frames = frame_count(path.duration, how.fps)
    drawing = {}
    sizes = RESOLUTIONS if generator.resolution == asked.resolution else ()  # pocket has one of its own
    for resolution in sorted({*sizes, asked.resolution}):
        try:
            known = (
                generator
                if resolution == asked.resolution
                else job.load(resolution=resolution, weights=asked.weights or caches.folder("biggan"))
            )
        except MediaError:  # no weights at hand for this one, and no reason to fetch them
            continue
        drawing[resolution] = frames / QUALITIES[asked.quality] * seconds_a_frame(known, path)
    a_film_frame = seconds_a_film_frame(generator, path, how.fps)
    finishing = {FILM_SIZE: frames * a_film_frame} if a_film_frame else {}
    storyboard(
        page, samples=load_song(job.song, asked.heard), trajectory=path, generator=generator,
        title=Path(job.song).stem, drawing=drawing, finishing=finishing, score=job.score,
        facts=f"{player_time(round(path.duration))}   ·   {asked.generator}, {asked.resolution} × {asked.resolution}"
              f"   ·   {float(how.fps):.5g} frames a second   ·   seed {job.seed}",
    )  # fmt: skip
    return drawing, finishing


def seconds_a_frame(generator: Generator, trajectory: Trajectory) -> float:
    """How long this machine draws at one frame: the median of several calls, spread over the song."""
    moments = np.linspace(0, trajectory.duration, CALL * CALLS[1], endpoint=False).reshape(CALL, CALLS[1]).T
    draw(generator, trajectory, moments[0, :1])  # the first one may compile or warm up
    spent: list[float] = []
    for call in moments:
        start = time.perf_counter()
        draw(generator, trajectory, call)
        spent.append(time.perf_counter() - start)
        if len(spent) >= CALLS[0] and sum(spent) > STEADY:
            break
    return float(np.median(spent)) / CALL


def seconds_a_film_frame(generator: Generator, trajectory: Trajectory, fps: Fraction) -> float | None:
    """How long this machine takes to mirror, widen and encode a frame of film, measured on a short one; None if it
    cannot."""
    count, every = FILM_TRIAL
    with tempfile.TemporaryDirectory(prefix="estimate-") as folder:
        clip = Path(folder) / "clip.mkv"
        try:
            pictures = draw_frames(generator, trajectory, range(count), fps, every)
            how = encoding(clip, fps=fps, size=generator.resolution)
            with programs.Feed(encoder_command(generator.resolution, how, clip, "matroska"), doing="a clip") as encoder:
                encoder.write(pictures)
            start = time.perf_counter()
            film.finish(
                clip, clip, clip.with_name("film.mkv"), width=FILM_SIZE[0], height=FILM_SIZE[1], intro=0, outro=0
            )
        except (MediaError, ValueError):
            return None
        return (time.perf_counter() - start) / count


def storyboard(
    path: str | os.PathLike,
    *,
    samples: np.ndarray,
    trajectory: Trajectory,
    generator: Generator,
    title: str,
    facts: str,
    drawing: Mapping[int, float],
    finishing: Mapping[tuple[int, int], float] = {},
    score: Score | None = None,
) -> None:
    """Write the storyboard of a video as a picture of 1600 x 1000 pixels.

    Args:
        path: a .png file.
        samples: (n,) the song, mono.
        trajectory: of the video.
        generator: draws the frames.
        title: name of the song.
        facts: one line on how the video is made.
        drawing: resolution -> seconds that all drawing takes.
        finishing: (width, height) of the film -> seconds that the film stage takes.
        score: the notes that the video follows, if it follows notes.
    """
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100, facecolor=PAPER)
    FigureCanvasAgg(figure)
    figure.text(LEFT / WIDTH, 0.945, shortened(title, 70), color=INK, size=24, weight="bold", parse_math=False)
    figure.text(LEFT / WIDTH, 0.915, facts, color=MUTED, size=11)
    sizes = [("drawing", (size, size), seconds) for size, seconds in sorted(drawing.items())]
    sizes += [("film", size, seconds) for size, seconds in finishing.items()]
    costs = "     ".join(
        f"{stage} {width} × {height}   {approximately(seconds)}" for stage, (width, height), seconds in sizes
    )
    figure.text(LEFT / WIDTH, 0.025, "time on this machine", color=MUTED, size=11)
    figure.text((LEFT + 190) / WIDTH, 0.025, costs, color=INK, size=11, weight="bold")

    step = next((step for step in STEPS if trajectory.duration / step <= MOST_TICKS), STEPS[-1])
    ticks = np.arange(0, trajectory.duration, step).tolist()

    def panel(top: int, height: int, name: str) -> Axes:
        axes = figure.add_axes((LEFT / WIDTH, 1 - (top + height) / HEIGHT, (RIGHT - LEFT) / WIDTH, height / HEIGHT))
        axes.set_facecolor(PAPER)
        axes.set_xlim(0, trajectory.duration)
        axes.set_yticks([])
        axes.tick_params(colors=MUTED, length=0, labelsize=10)
        axes.spines[:].set_visible(False)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: player_time(seconds, step)))
        axes.tick_params(labelbottom=False)
        axes.text(1 + 18 / (RIGHT - LEFT), 1, name, transform=axes.transAxes, color=MUTED, size=11, va="top")
        return axes

    slot = (RIGHT - LEFT) // FRAMES
    _frames(panel(110, slot, "frames"), generator, trajectory)
    _waveform(panel(120 + slot, 90, "sound"), samples, trajectory.duration)
    top, height = 230 + slot, 370
    if score:
        _roll(panel(top, 190, ""), figure, score, generator)
        top, height = top + 200, height - 200
    _stream(panel(top, height, ""), trajectory, generator)
    movement = panel(620 + slot, 110, "movement")
    _movement(movement, trajectory)
    movement.tick_params(labelbottom=True)
    with files.atomic(path) as partial:
        figure.savefig(partial, dpi=100, facecolor=PAPER, format="png")


def _frames(axes: Axes, generator: Generator, trajectory: Trajectory) -> None:
    length = trajectory.duration / FRAMES
    starts = np.arange(FRAMES) * length
    gap = length * 0.015
    for start, picture in zip(starts, draw(generator, trajectory, starts + length / 2)):
        axes.imshow(
            picture, extent=(start + gap, start + length - gap, 0.015, 0.985), aspect="auto", interpolation="lanczos"
        )
    axes.set_xlim(0, trajectory.duration)
    axes.set_ylim(0, 1)


def _waveform(axes: Axes, samples: np.ndarray, duration: float) -> None:
    starts = np.linspace(0, len(samples), RIGHT - LEFT, endpoint=False).astype(int)  # one column a pixel
    times = np.linspace(0, duration, len(starts))
    highest, lowest = np.maximum.reduceat(samples, starts), np.minimum.reduceat(samples, starts)
    axes.fill_between(times, lowest, highest, color=INK, linewidth=0)
    reach = max(np.abs(samples).max(), 1e-6)
    axes.set_ylim(-1.05 * reach, 1.05 * reach)


def colours(count: int) -> np.ndarray:
    """RGB colours (count, 3) that are told apart, as far as so many can be."""
    return hsv_to_rgb([(number / max(count, 1), 0.42 + 0.13 * (number % 2), 0.92 - 0.2 * (number % 2))
                       for number in range(count)])  # fmt: skip


def _name(axes: Axes, height: float, text: str, colour: Any, size: int = 12) -> None:
    """Write a name beside a panel, at a share of its height."""
    axes.text(
        1 + NAMES_RIGHT / (RIGHT - LEFT), height, shortened(text), transform=axes.transAxes, color=colour, size=size,
        va="center", weight="bold", parse_math=False,
    )  # fmt: skip


def _stream(axes: Axes, trajectory: Trajectory, generator: Generator) -> None:
    """Share of each class in what is seen, one upon the other."""
    moments = np.linspace(0, trajectory.duration, RIGHT - LEFT)
    _, weights = trajectory.at(moments)
    shares = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    tints = colours(len(trajectory.classes))
    axes.stackplot(moments, shares.T, colors=tints, linewidth=0)
    axes.set_ylim(0, 1)
    # Names from the top down, as the stream lies.
    named = np.argsort(-shares.sum(axis=0))[:MOST_NAMES]
    named = named[np.argsort(named)][::-1]
    for place, column in enumerate(named):
        height = 1 - (place + 0.5) / max(len(named), 6)
        _name(axes, height, generator.labels[trajectory.classes[column]], tints[column], 12 if len(named) < 14 else 8)


def _roll(axes: Axes, figure: Figure, score: Score, generator: Generator) -> None:
    """The notes, a colour for each part, with measures and sections; beside each part, its first classes."""
    notes, cast = score.notes, score.cast
    tints = colours(len(cast.roles))
    every = -(-len(notes.onset) // LONGEST_ROLL)
    shown = slice(None, None, every)
    low, high = notes.pitch.min() - 2, notes.pitch.max() + 2
    bars = [
        ((onset, pitch - 0.5), (onset + length, pitch + 0.5))
        for onset, length, pitch in zip(notes.onset[shown], notes.length[shown], notes.pitch[shown])
    ]
    rectangles = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1)] for (x0, y0), (x1, y1) in bars]
    shades = np.column_stack([tints[notes.part[shown]], 0.35 + 0.65 * notes.velocity[shown] / 127])
    axes.add_collection(PolyCollection(rectangles, facecolors=shades, linewidths=0))
    axes.set_ylim(low, high)
    if len(notes.downbeats) <= (RIGHT - LEFT) // 6:
        axes.vlines(notes.downbeats, low, high, color=MUTED, linewidth=0.4, alpha=0.6)
    for scene in cast.scenes[:100]:
        axes.axvline(scene.begin, color=INK, linewidth=1)
        axes.text(scene.begin, high, f" {shortened(scene.name, 24)}", color=INK, size=8, va="top", parse_math=False)
    for number, role in enumerate(cast.roles[:MOST_NAMES]):
        height = 1 - (number + 0.5) / max(len(cast.roles[:MOST_NAMES]), 3)
        _name(axes, height + (0.14 if len(cast.roles) <= 3 else 0), role.part.name, tints[number])
        if len(cast.roles) > 3:
            continue
        first = role.classes[:4]
        weights = np.zeros((len(first), len(generator.labels)))
        weights[np.arange(len(first)), first] = 1
        for place, picture in enumerate(generator.frames(np.zeros((len(first), generator.noise_dim)), weights)):
            left = RIGHT + NAMES_RIGHT + place * (THUMBNAIL + 4)
            bottom = axes.get_position().y0 + (height - 0.06) * axes.get_position().height - THUMBNAIL / 2 / HEIGHT
            small = figure.add_axes((left / WIDTH, bottom, THUMBNAIL / WIDTH, THUMBNAIL / HEIGHT))
            small.imshow(picture, interpolation="lanczos")
            small.set_axis_off()


def _movement(axes: Axes, trajectory: Trajectory) -> None:
    moved = np.diff(trajectory.noise[:], axis=0)
    speed = np.sqrt(np.mean(moved**2, axis=1)) * trajectory.grid_rate if len(moved) else np.zeros(1)
    starts = np.unique(np.linspace(0, len(speed), RIGHT - LEFT, endpoint=False).astype(int))
    highest = np.maximum.reduceat(speed, starts)
    times = starts / trajectory.grid_rate
    axes.fill_between(times, 0, highest, color="#ffb454", alpha=0.28, linewidth=0)
    axes.plot(times, highest, color="#ffb454", linewidth=1.4)
    axes.set_ylim(0, max(1.08 * highest.max(), 1e-6))
    axes.hlines(0, 0, trajectory.duration, color=MUTED, linewidth=0.8)


def player_time(seconds: float, step: float = 1) -> str:
    """Seconds as a player shows them: 1:05; 1:05.5 where times follow each other in steps below a second."""
    whole, tenths = divmod(round(10 * seconds), 10)
    text = f"{whole // 60}:{whole % 60:02d}"
    return text if step >= 1 else f"{text}.{tenths}"


def approximately(seconds: float) -> str:
    """A length of time to about two digits: 80 s, 3 min, 2.0 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def shortened(name: str, most: int = 20) -> str:
    """A name that fits beside a panel."""
    return name if len(name) <= most else name[: most - 1].rstrip() + "…"
