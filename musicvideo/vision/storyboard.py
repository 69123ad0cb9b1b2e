"""A picture of what a render will look like, before it runs: sound, which pitch drives which class, real frames, and
how long it takes."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import hsv_to_rgb, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from musicvideo import caches, files, programs
from musicvideo.errors import MediaError
from musicvideo.vision import film
from musicvideo.vision.containers import encoding
from musicvideo.vision.features import Features, load_song
from musicvideo.vision.generators import Generator
from musicvideo.vision.job import Job
from musicvideo.vision.latents import Trajectory, strongest_first
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
PITCH_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
PAPER, INK, MUTED = "#101014", "#f2efe9", "#8b8894"
# Fifths are neighbours on the colour wheel, so that a key is a family of colours.
PITCH_COLOURS = hsv_to_rgb([(7 * pitch % 12 / 12, 0.55, 1.0) for pitch in range(12)])


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
    features = job.features()
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
        page, samples=load_song(job.song, asked.duration), features=features, trajectory=path,
        generator=generator, title=Path(job.song).stem, drawing=drawing, finishing=finishing,
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
    features: Features,
    trajectory: Trajectory,
    generator: Generator,
    title: str,
    facts: str,
    drawing: Mapping[int, float],
    finishing: Mapping[tuple[int, int], float] = {},
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
        drawing: resolution -> seconds that all drawing takes.
        finishing: (width, height) of the film -> seconds that the film stage takes.
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

    def panel(top: int, height: int, name: str) -> Axes:
        axes = figure.add_axes((LEFT / WIDTH, 1 - (top + height) / HEIGHT, (RIGHT - LEFT) / WIDTH, height / HEIGHT))
        axes.set_facecolor(PAPER)
        axes.set_xlim(0, trajectory.duration)
        axes.set_yticks([])
        axes.tick_params(colors=MUTED, length=0, labelsize=10)
        axes.spines[:].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 1.5, 2, 3, 5, 6, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: player_time(seconds)))
        axes.tick_params(labelbottom=False)
        axes.text(1 + 18 / (RIGHT - LEFT), 1, name, transform=axes.transAxes, color=MUTED, size=11, va="top")
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


def _chroma(axes: Axes, features: Features, trajectory: Trajectory, generator: Generator) -> None:
    driven = dict(zip(strongest_first(features.chroma), trajectory.classes))
    colours = np.array([PITCH_COLOURS[pitch] if pitch in driven else to_rgb(MUTED) for pitch in range(12)])
    paper = np.array(to_rgb(PAPER))
    starts = np.unique(np.linspace(0, features.chroma.shape[1], RIGHT - LEFT, endpoint=False).astype(int))
    columns = np.diff(np.append(starts, features.chroma.shape[1]))
    strength = np.clip(np.add.reduceat(features.chroma, starts, axis=1) / columns, 0, 1) ** 2  # squared: less haze
    picture = paper + strength[:, :, None] * (colours[:, None] - paper)
    axes.imshow(
        picture, extent=(0, trajectory.duration, -0.5, 11.5), origin="lower", aspect="auto", interpolation="nearest"
    )
    axes.set_yticks(range(12), PITCH_NAMES)
    axes.hlines(np.arange(11) + 0.5, 0, trajectory.duration, color=PAPER, linewidth=3)
    for pitch, index in driven.items():
        axes.text(
            1 + 18 / (RIGHT - LEFT),
            (pitch + 0.5) / 12,
            shortened(generator.labels[index]),
            transform=axes.transAxes,
            color=colours[pitch],
            size=12,
            va="center",
            weight="bold",
        )


def _speed(axes: Axes, trajectory: Trajectory) -> None:
    moved = np.diff(trajectory.noise[:], axis=0)
    speed = np.sqrt(np.mean(moved**2, axis=1)) * trajectory.grid_rate if len(moved) else np.zeros(1)
    starts = np.unique(np.linspace(0, len(speed), RIGHT - LEFT, endpoint=False).astype(int))
    highest = np.maximum.reduceat(speed, starts)
    times = starts / trajectory.grid_rate
    axes.fill_between(times, 0, highest, color="#ffb454", alpha=0.28, linewidth=0)
    axes.plot(times, highest, color="#ffb454", linewidth=1.4)
    axes.set_ylim(0, max(1.08 * highest.max(), 1e-6))
    axes.hlines(0, 0, trajectory.duration, color=MUTED, linewidth=0.8)


def player_time(seconds: float) -> str:
    """Seconds as a player shows them: 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}" if float(seconds).is_integer() else f"{seconds:g} s"


def approximately(seconds: float) -> str:
    """A length of time to about two digits: 80 s, 3 min, 2.0 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def shortened(name: str, most: int = 20) -> str:
    """A class name that fits beside its pitch."""
    return name if len(name) <= most else name[: most - 1].rstrip() + "…"
