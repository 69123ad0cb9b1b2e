"""Pictures of motions and of finished mixes."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import signal

from musicvideo.clock import Clock
from musicvideo.errors import MediaError
from musicvideo.files import atomic
from musicvideo.panning import Motion, Position
from musicvideo.sound.mastering import ABSOLUTE_GATE, loudness_curves
from musicvideo.sound.table import Master

FRONT, BEHIND, INK, MIST, GRID = "#c2410c", "#1d4ed8", "#292524", "#b5afaa", "#e7e5e4"
CURVE_RATE = 400  # points a second of a drawn curve
MOST_POINTS = 50_000  # of a drawn curve; its picture is some 1500 pixels wide
MOST_MEASURE_NUMBERS = 40
MOST_MEASURE_LINES = 400
STEP = 0.1  # seconds from point to point of a report
OVERSAMPLING = 4  # for true peaks (ITU-R BS.1770)
SPECTRUM = 8192  # samples in a window of a spectrum
SPECTRUM_BLOCK = 256 * SPECTRUM  # samples read at a time for it
PICTURES = (".png", ".svg", ".pdf")


def plot_motions(
    motions: Mapping[str, Motion], clock: Clock | None, duration: float, path: str | PathLike, *, width: float = 14.0
) -> None:
    """Draw the ear position of every set over time, one below the other, with measure numbers.

    Args:
        motions: by the name of the set.
        clock: where measures begin; None draws seconds only.
        duration: seconds.
        path: picture to write (.png, .svg, .pdf).
        width: inches.
    """
    figure = Figure(figsize=(width, 1.2 + 1.7 * len(motions)), layout="constrained")
    axes = figure.subplots(len(motions), 1, sharex=True, squeeze=False)[:, 0]
    time = np.linspace(0, duration, min(max(2, round(duration * CURVE_RATE)), MOST_POINTS), endpoint=False)
    for axis, (name, motion) in zip(axes, motions.items()):
        position = Position(*motion.at(time))
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


def plot_mixes(mixes: Mapping[str, str | PathLike], master: Master, path: str | PathLike) -> None:
    """A report on finished mixes on one page: loudness, true peak and ear balance over time, and their spectra.

    Args:
        mixes: stereo sound files by name, one column each.
        master: their target; its loudness and ceiling are drawn as lines.
        path: picture to write.
    """
    figure = Figure(figsize=(7.5 * len(mixes), 12), layout="constrained")
    grid = figure.add_gridspec(4, len(mixes), height_ratios=(3, 2, 2, 3))
    spectrum = figure.add_subplot(grid[3, :])
    for column, (name, mix) in enumerate(mixes.items()):
        loudness, peak, balance = (figure.add_subplot(grid[row, column]) for row in range(3))
        curves, (time, peaks, ears) = loudness_curves(mix), _peaks_and_balance(mix)
        minutes, seconds = divmod(round(soundfile.info(mix).duration), 60)
        loudness.set_title(
            f"{name}   {curves['I'][-1]:.1f} LUFS   range {curves['LRA'][-1]:.1f} LU   "
            f"{20 * np.log10(curves['true_peak'][-1]):.2f} dBTP   {minutes}:{seconds:02d}",
            color=INK,
            fontweight="bold",
        )
        _plot_loudness(loudness, curves, master)
        peak.plot(time, peaks, color=FRONT, linewidth=1)
        peak.axhline(master.ceiling, color=INK, linewidth=0.8, linestyle="--", label="ceiling")
        peak.set(ylim=(-60, 3), ylabel="true peak (dBTP)")
        balance.plot(time, ears, color=BEHIND, linewidth=1)
        balance.axhline(0, color=INK, linewidth=0.8)
        balance.set(ylim=(-12, 12), ylabel="right over left ear (dB)", xlabel="seconds")
        for axis in (loudness, peak, balance):
            axis.set_xlim(0, time[-1])
            axis.grid(color=GRID)
            axis.spines[["top", "right"]].set_visible(False)
        frequency, density = _spectrum(mix)
        spectrum.semilogx(
            frequency[1:],
            10 * np.log10(density[1:] + 1e-20),
            linewidth=1.2,
            color=(INK, FRONT, BEHIND)[column % 3],
            label=name,
        )
    spectrum.set(xlim=(20, 20000), xlabel="Hz", ylabel="mean spectrum (dB full scale/Hz)")
    top = max(np.max(line.get_ydata()) for line in spectrum.lines)
    spectrum.set_ylim(top - 90, top + 5)
    spectrum.grid(color=GRID, which="both")
    spectrum.spines[["top", "right"]].set_visible(False)
    spectrum.legend(frameon=False)
    save(figure, path)


def _plot_loudness(axis: Axes, curves: Mapping[str, np.ndarray], master: Master) -> None:
    time = STEP * np.arange(1, len(curves["M"]) + 1)
    for key, colour, width, label in (
        ("M", MIST, 1, "momentary"),
        ("S", FRONT, 1.8, "short-term"),
        ("I", BEHIND, 1.4, "integrated so far"),
    ):
        # Values below the gate are silence, or the start, before the first 0.4 s (short-term: 3 s) are complete.
        axis.plot(
            time, np.where(curves[key] > ABSOLUTE_GATE, curves[key], np.nan), color=colour, linewidth=width, label=label
        )
    if master.target is not None:
        axis.axhline(master.target, color=INK, linewidth=0.8, linestyle="--", label="target")
    axis.set(ylim=(-60, 0), ylabel="loudness (LUFS)")
    axis.legend(frameon=False, ncols=4, loc="lower center", fontsize=8)


def _peaks_and_balance(path: str | PathLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every `STEP`: time (s), true peak (dBTP), level of the right ear over the left (dB; NaN in silence)."""
    peaks, ears = [], []
    context = 64  # samples on either side of a block, for the resampling filter
    with soundfile.SoundFile(path) as file:
        step = round(STEP * file.samplerate)
        for block in file.blocks(step + 2 * context, overlap=2 * context, always_2d=True, fill_value=0):
            inside = slice(context * OVERSAMPLING, (context + step) * OVERSAMPLING)
            peaks.append(np.abs(signal.resample_poly(block, OVERSAMPLING, 1, axis=0)[inside]).max())
            ears.append(np.mean(block**2, axis=0))
    left, right = np.array(ears).T
    with np.errstate(divide="ignore", invalid="ignore"):
        balance = np.where(left + right > 1e-8, 10 * np.log10(right / left), np.nan)
        return STEP * np.arange(len(peaks)), 20 * np.log10(peaks), balance


def _spectrum(path: str | PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (Hz) and mean power spectral density of a sound file, by Welch's method, in constant memory."""
    densities, weights = [], []
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        for block in file.blocks(SPECTRUM_BLOCK, overlap=SPECTRUM // 2, always_2d=True):
            block = np.pad(block, ((0, max(0, SPECTRUM - len(block))), (0, 0)))
            frequency, density = signal.welch(block, rate, nperseg=SPECTRUM, axis=0)
            densities.append(density.mean(axis=1))
            weights.append(len(block) - SPECTRUM // 2)
    return frequency, np.average(densities, axis=0, weights=weights)


def mark_measures(axes, clock: Clock) -> None:
    """Draw a line at each downbeat, and as many measure numbers above the first axes as fit."""
    downbeats = clock.downbeats()
    for axis in axes:
        axis.vlines(
            downbeats[:: -(-len(downbeats) // MOST_MEASURE_LINES)],
            *axis.get_ylim(),
            color=GRID,
            linewidth=0.8,
            zorder=0,
        )
    every = -(-clock.measures // MOST_MEASURE_NUMBERS)
    top = axes[0].secondary_xaxis("top")
    top.set_xticks(downbeats[:-1:every], range(1, clock.measures + 1, every), fontsize=8)
    top.set_xlabel("measure")
    top.spines["top"].set_visible(False)


def save(figure: Figure, path: str | PathLike) -> None:
    """Write a figure, atomically."""
    require_picture(path)
    with atomic(path) as partial:
        figure.savefig(partial, dpi=110, facecolor="white")


def require_picture(path: str | PathLike) -> None:
    """Raise MediaError if no picture can be written under this name."""
    if Path(path).suffix.lower() not in PICTURES:
        raise MediaError(f"{path}: no picture can be written under this name; end it in {', '.join(PICTURES)}")
