"""Pictures of sound, to see what one is about to hear."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

import numpy as np
from matplotlib.figure import Figure

from musicvideo.media import atomic
from musicvideo.sound.clock import Clock
from musicvideo.sound.panning import Motion

FRONT, BEHIND, INK, GRID = "#c2410c", "#1d4ed8", "#292524", "#e7e5e4"
CURVE_RATE = 400              # points a second of a drawn curve
MOST_MEASURE_NUMBERS = 40


def plot_motions(motions: Mapping[str, Motion], clock: Clock | None, duration: float, path: str | PathLike) -> None:
    """Draw the ear position of every set over time, one below the other, with measure numbers.

    Args:
        motions: by the name of the set.
        clock: where measures begin; None draws seconds only.
        duration: seconds.
        path: picture to write (.png, .svg, .pdf).
    """
    figure = Figure(figsize=(14, 1.2 + 1.7 * len(motions)), layout="constrained")
    axes = figure.subplots(len(motions), 1, sharex=True, squeeze=False)[:, 0]
    time = np.arange(round(duration * CURVE_RATE)) / CURVE_RATE
    for axis, (name, motion) in zip(axes, motions.items()):
        position = motion.sample(0, len(time), CURVE_RATE)
        behind = np.cos(np.radians(position.azimuth)) < -1e-6
        for part, colour, label in ((~behind, FRONT, "in front"), (behind, BEHIND, "behind")):
            axis.plot(time, np.where(part, position.ear, np.nan), color=colour, linewidth=1.8, label=label)
        axis.set_ylim(-1.12, 1.12)
        axis.set_yticks([-1, 0, 1], ["left ear", "middle", "right ear"])
        axis.set_ylabel(name, color=INK, fontweight="bold")
        axis.axhline(0, color=GRID, zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_xlim(0, duration)
    axes[-1].set_xlabel("seconds")
    if clock:
        mark_measures(axes, clock)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
    save(figure, path)


def mark_measures(axes, clock: Clock) -> None:
    """A line at every downbeat, and numbers, as many as there is room for, above the first of the axes."""
    downbeats = clock.downbeats()
    for axis in axes:
        axis.vlines(downbeats, *axis.get_ylim(), color=GRID, linewidth=0.8, zorder=0)
    every = -(-clock.measures // MOST_MEASURE_NUMBERS)
    top = axes[0].secondary_xaxis("top")
    top.set_xticks(downbeats[:-1:every], range(1, clock.measures + 1, every), fontsize=8)
    top.set_xlabel("measure")
    top.spines["top"].set_visible(False)


def save(figure: Figure, path: str | PathLike) -> None:
    """Write a figure; the file is there whole or not at all."""
    with atomic(path) as partial:
        figure.savefig(partial, dpi=110, facecolor="white")
