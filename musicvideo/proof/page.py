"""The page of a check: what was measured, against which limits, and when."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from musicvideo import files
from musicvideo.cli import one_line
from musicvideo.documents import shortened
from musicvideo.proof.check import Check, Findings, clock, stretches, tolerated_lag
from musicvideo.sound.mastering import ABSOLUTE_GATE
from musicvideo.vision import sync
from musicvideo.vision.flashes import MOST, too_many

INK, MIST, GRID, SOUND, PICTURE = "#292524", "#78716c", "#e7e5e4", "#1d4ed8", "#c2410c"
GOOD, BAD, BROKEN = "#15803d", "#b91c1c", "#fecaca"
SIZE = (16, 11)  # inches, of 100 pixels
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)  # seconds
MOST_TICKS = 12
STEP = 0.1  # seconds from point to point of a loudness curve
MOST_LISTENS = 8  # sounds that the page lists
ROW = 1.65  # lines of the table that a figure with a limit takes
PAGE_TITLE = 60  # characters


def draw(found: Findings, path: str | os.PathLike) -> None:
    """Draw the page, 1600 pixels wide.

    Args:
        found: result of `check`.
        path: a .png file.
    """
    figure = Figure(figsize=SIZE, facecolor="white")
    _draw_head(figure, found)
    left = figure.add_gridspec(
        5, 1, left=0.055, right=0.62, top=0.855, bottom=0.05, hspace=0.34, height_ratios=(3, 2.2, 2.2, 2.6, 1)
    )
    panels = [figure.add_subplot(left[row]) for row in range(5)]
    for axes, panel in zip(panels, (_draw_loudness, _draw_flashes, _draw_onsets, _draw_motion, _draw_gaps)):
        panel(axes, found)
        axes.set_xlim(0, found.seconds)
        axes.xaxis.set_major_locator(MultipleLocator(_tick(found.seconds)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9, colors=MIST)
        for chapter in found.chapters:
            axes.axvline(chapter.start, color=GRID, linewidth=1, zorder=0)
    _draw_table(figure.add_axes((0.655, 0.285, 0.323, 0.57)), found)
    lags = figure.add_axes((0.695, 0.05, 0.283, 0.18))
    _draw_lags(lags, found)
    with files.atomic(path) as partial:
        figure.savefig(partial, dpi=100, format="png")


def _tick(seconds: float) -> int:
    """Seconds from tick to tick of an axis of this length."""
    return next((tick for tick in TICKS if seconds <= MOST_TICKS * tick), TICKS[-1])


def _draw_head(figure: Figure, found: Findings) -> None:
    name = shortened(one_line(Path(found.film).name), PAGE_TITLE)
    figure.text(0.022, 0.957, name, size=24, weight="bold", color=INK, va="center", parse_math=False)
    sounds = len(found.listens)
    chapters = f"{len(found.chapters)} chapters" if found.chapters else "no chapters"
    cover = ", cover picture" if any(stream.cover for stream in found.streams) else ""
    about = (
        f"{found.width} x {found.height}    {float(found.watched.fps):.5g} frames a second    {clock(found.seconds)}"
        f"    {sounds} sound{'s' if sounds > 1 else ''}    {chapters}{cover}"
    )
    figure.text(0.022, 0.917, about, size=12, color=MIST, va="center")
    broken = len(found.broken)
    verdict = f"{broken} limit{'s' if broken > 1 else ''} broken" if broken else "passes"
    figure.add_artist(
        FancyBboxPatch(
            (0.83, 0.932), 0.148, 0.042, boxstyle="round,pad=0,rounding_size=0.008", color=BAD if broken else GOOD,
            transform=figure.transFigure, mutation_aspect=SIZE[0] / SIZE[1],
        )
    )  # fmt: skip
    figure.text(0.904, 0.953, verdict, size=18, weight="bold", color="white", ha="center", va="center")


def _title(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, loc="left", size=11, weight="bold", color=INK, pad=5)
    axes.set_ylabel(unit, size=9, color=MIST)


def _draw_loudness(axes: Axes, found: Findings) -> None:
    main = found.listens[found.main]
    _title(axes, "Loudness", "LUFS")
    for key, colour, width, label in (("M", "#bfdbfe", 0.8, "momentary"), ("S", SOUND, 1.6, "short-term")):
        values = found.curves[key]
        times = found.begin + STEP * np.arange(1, len(values) + 1)
        audible = np.where(values > ABSOLUTE_GATE, values, np.nan)
        axes.plot(*sync.thinned(times, audible), color=colour, linewidth=width, label=label)
    if main.loudness is not None:
        label = f"integrated, {main.loudness:.1f} LUFS"
        axes.axhline(main.loudness, color=INK, linewidth=1, linestyle="--", label=label)
    axes.set_ylim(-60, 0)
    axes.grid(axis="y", color=GRID)
    axes.legend(frameon=False, ncols=3, fontsize=9, loc="lower right", bbox_to_anchor=(1, 0.98), borderaxespad=0)


def _draw_flashes(axes: Axes, found: Findings) -> None:
    watched = found.watched
    _title(axes, "Flashes in the second before (WCAG 2.3.1)", "flashes")
    for flashes, colour, label in ((watched.red, BAD, "red"), (watched.general, INK, "general")):
        axes.plot(
            *sync.thinned(watched.times, flashes), color=colour, linewidth=1.2, drawstyle="steps-post", label=label
        )
        for begin, end in too_many(flashes.tolist(), watched.fps):
            axes.axvspan(begin, end, color=BROKEN, zorder=0, linewidth=0)
    axes.axhline(MOST, color=BAD, linewidth=1, linestyle="--", label=f"limit, {MOST}")
    axes.set_ylim(0, max(MOST + 1.5, watched.general.max() + 0.5, watched.red.max() + 0.5))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, ncols=3, fontsize=9, loc="lower right", bbox_to_anchor=(1, 0.98), borderaxespad=0)


def _draw_onsets(axes: Axes, found: Findings) -> None:
    sync.plot_sound(axes, found.sync)
    _title(axes, "Onsets of the sound", "strength")


def _draw_motion(axes: Axes, found: Findings) -> None:
    sync.plot_picture(axes, found.sync)
    _title(axes, "Difference of each frame from the one before; rests shaded", "of 255")
    axes.legend(
        frameon=False,
        ncols=2,
        fontsize=9,
        loc="lower right",
        bbox_to_anchor=(1, 0.98),
        borderaxespad=0,
        markerscale=0.6,
    )


def _draw_gaps(axes: Axes, found: Findings) -> None:
    lanes = {"silent": found.silent, "still": found.watched.still & ~found.black, "black": found.black}
    for lane, mask in enumerate(lanes.values()):
        spans = [(begin, end - begin) for begin, end in stretches(mask, found.watched.fps)]
        axes.broken_barh(spans, (lane - 0.35, 0.7), color=(SOUND, PICTURE, INK)[lane], linewidth=0)
    axes.set_yticks(range(len(lanes)), list(lanes))
    axes.set_ylim(-0.6, len(lanes) - 0.4)
    _title(axes, "Where picture or sound is missing", "")


def _draw_lags(axes: Axes, found: Findings) -> None:
    sync.plot_lags(axes, found.sync)
    within = tolerated_lag(found.watched.fps)
    if found.listens[found.main].clear:
        axes.patches[found.sync.lag + found.sync.furthest].set_color(BAD)
    axes.axvspan(-within - 0.5, within + 0.5, color="#dcfce7", zorder=0, linewidth=0)
    axes.set_title("Picture against sound", loc="left", size=11, weight="bold", color=INK, pad=5)
    axes.set_xlabel("frames by which the picture is late; green: within the limit", size=9, color=MIST)
    axes.set_ylabel("correlation r", size=9, color=MIST)
    axes.set_ylim(min(-0.1, found.sync.correlations.min() * 1.1), max(0.5, found.sync.correlations.max() * 1.1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=MIST)


def _draw_table(axes: Axes, found: Findings) -> None:
    """Limits and values, then figures without a limit, then every sound."""
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    limited = [each for each in found.checks if each.passes is not None]
    # Seconds that are missing are drawn at the left.
    stated = [each for each in found.checks if each.passes is None and not each.name.startswith("Seconds")]
    listens = found.listens[:MOST_LISTENS] if len(found.listens) > 1 else []
    axes.set_ylim(ROW * len(limited) + len(stated) + len(listens) + (1.2 if listens else 0) + 1.2, 0)
    y = 0.3
    for each in limited:
        _draw_check(axes, each, y)
        y += ROW
    axes.axhline(y - 0.35, color=GRID, linewidth=1)
    y += 0.5
    for each in stated:
        axes.text(0.05, y, each.name, size=10, color=MIST, va="center")
        axes.text(0.36, y, shortened(each.shown, 52), size=10, color=INK, va="center")
        y += 1
    if listens:
        axes.axhline(y - 0.35, color=GRID, linewidth=1)
        y += 0.4
    for number, listen in enumerate(listens):
        name = shortened(one_line(listen.title or f"sound {number + 1}"), 28)
        loudness = "silent" if listen.loudness is None else f"{listen.loudness:.1f} LUFS"
        lag = f"{1000 * listen.late:+.0f} ms, r {listen.correlation:.2f}"
        axes.text(0.05, y, name, size=10, color=MIST, va="center", parse_math=False)
        axes.text(0.50, y, loudness, size=10, color=INK, va="center")
        axes.text(0.72, y, lag, size=10, color=INK, va="center")
        y += 1


def _draw_check(axes: Axes, each: Check, y: float) -> None:
    colour = GOOD if each.passes else BAD
    axes.text(
        0.0, y, "\N{CHECK MARK}" if each.passes else "\N{BALLOT X}", size=13, color=colour, va="center", weight="bold"
    )
    axes.text(0.05, y, each.name, size=11, color=INK, va="center", weight="bold")
    shown = shortened(each.shown, 58)
    axes.text(
        1, y, shown, size=11 if len(shown) < 32 else 9.5, color=INK if each.passes else BAD, va="center", ha="right"
    )
    axes.text(0.05, y + 0.72, f"limit: {each.limit}", size=9, color=MIST, va="center")
