"""Mastering: measure loudness and true peak, and bring a mix to both.

Standards: ITU-R BS.1770 (loudness, true peak), EBU Tech 3341 and 3342 (momentary, short-term, range).
"""

from __future__ import annotations

import os
import shutil
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from musicvideo.errors import MediaError
from musicvideo.ffmpeg import SAFE_INPUT, source
from musicvideo.programs import run_with_progress
from musicvideo.sound.soundfiles import open_sound
from musicvideo.sound.table import Master

ABSOLUTE_GATE = -70.0  # LUFS; BS.1770 ignores sound below it
LOUDNESS_TOLERANCE = 0.1  # LU around the target within which a master is finished
PEAK_MARGIN = 0.05  # dB under the ceiling that the limiter aims at
LIMITER_OVERSAMPLING = 4  # BS.1770 measures true peaks at 4 times 48 kHz
LIMITER_ATTACK = 0.005  # seconds of look-ahead, by which FFmpeg's limiter delays the sound
MOST_ATTEMPTS = 8
PASSED = 0.75  # LU that a limiter which lowers the loudness lets through of a dB more; a first guess
LEAST_PASSED = 0.25  # the least that is assumed of it
# Writes loudness and true peak to the standard output, for every 0.1 s.
METER = "ebur128=peak=true:metadata=1,ametadata=print:file=-"


class OutOfReach(MediaError):
    """A sound so dynamic that it cannot be that loud under that peak."""


@dataclass(frozen=True)
class Loudness:
    """EBU R128 figures of a sound."""

    integrated: float  # LUFS
    range: float  # LU
    true_peak: float  # dBTP


def loudness_curves(path: str | os.PathLike, *, stream: int = 0) -> dict[str, np.ndarray]:
    """Loudness of a sound over time (FFmpeg's ebur128).

    Args:
        path: a sound file, or a film.
        stream: which of its sounds, from 0.

    Returns:
        One value every 0.1 s: "M" and "S", momentary and short-term loudness (LUFS); and of all so far "I",
        integrated loudness (LUFS), "LRA", loudness range (LU), "true_peak" (1 is full scale).
    """
    return _curves(
        [
            "ffmpeg",
            "-v",
            "error",
            *SAFE_INPUT,
            "-i",
            source(path),
            "-map",
            f"0:a:{stream}",
            "-af",
            METER,
            "-f",
            "null",
            "-",
        ],
        doing=f"measuring {path}",
    )


def _curves(command: Sequence[str | os.PathLike], doing: str) -> dict[str, np.ndarray]:
    """Run FFmpeg with a `METER`; what `loudness_curves` returns."""
    curves = {key: array("d") for key in ("M", "S", "I", "LRA", "true_peak")}

    def line(text: str) -> None:
        key, _, value = text.partition("=")
        name = key.removeprefix("lavfi.r128.")
        if name in curves:
            curves[name].append(float(value))

    run_with_progress(command, doing=doing, line=line)
    return {key: np.array(values) for key, values in curves.items()}


def measure(path: str | os.PathLike) -> Loudness:
    """Loudness and true peak of a whole sound file.

    Raises:
        MediaError: it is silent, or too short for a loudness.
    """
    return _whole(loudness_curves(path))


def _whole(curves: Mapping[str, np.ndarray]) -> Loudness:
    loudness = integrated(curves)
    if loudness is None:
        raise MediaError("the mix is silent, or shorter than 0.4 s: there is no loudness to set; check the parts")
    return Loudness(loudness, float(curves["LRA"][-1]), 20 * log10(curves["true_peak"][-1]))


def integrated(curves: Mapping[str, np.ndarray]) -> float | None:
    """Integrated loudness (LUFS) of a whole sound, by its `loudness_curves`; None if it is silent or too short."""
    loudness = float(curves["I"][-1]) if len(curves["I"]) else ABSOLUTE_GATE
    return None if loudness <= ABSOLUTE_GATE else loudness


def master_file(source_path: Path, target: Path, master: Master) -> None:
    """Fade out, set the loudness, limit the true peak, and write 24 bit at the source's rate.

    The limiter reduces loudness, and the return from its higher rate raises peaks. So both are measured on the result,
    and gain and limit corrected, until they are right.

    Raises:
        MediaError: silent.
        OutOfReach: so dynamic that it cannot be that loud under the ceiling.
    """
    with open_sound(source_path) as sound:
        length, rate = sound.frames, sound.samplerate
    fade = min(master.fade, length / rate)
    gain = 0.0 if master.target is None else master.target - measure(source_path).integrated
    limit = master.ceiling - PEAK_MARGIN
    limiter_rate = rate * LIMITER_OVERSAMPLING
    delay = round(LIMITER_ATTACK * limiter_rate) - 1
    with TemporaryDirectory(prefix="master-", dir=source_path.parent) as folder:
        attempt = Path(folder) / "attempt.wav"
        passed, before = PASSED, (np.nan, np.nan, np.nan)
        for _ in range(MOST_ATTEMPTS):
            filters = [
                f"volume={gain}dB:precision=float",
                *([f"afade=t=out:st={length / rate - fade:.9f}:d={fade:.9f}"] if fade else []),
                f"aresample={limiter_rate}",
                f"apad=pad_len={delay}",
                f"alimiter=limit={10 ** (limit / 20)}:attack={LIMITER_ATTACK * 1000}:level=disabled",
                f"atrim=start_sample={delay}",
                "asetpts=PTS-STARTPTS",
                f"aresample={rate}",
                f"apad=whole_len={length}",
                f"atrim=end_sample={length}",
                "asplit[master][metered]",
            ]
            graph = f"[0:a]{','.join(filters)};[metered]{METER}[measured]"
            curves = _curves(
                [
                    "ffmpeg", "-v", "error", "-y", *SAFE_INPUT, "-i", source(source_path), "-filter_complex", graph,
                    "-map", "[master]", "-c:a", "pcm_s24le", source(attempt), "-map", "[measured]", "-f", "null", "-",
                ],
                doing=f"mastering {source_path}",
            )  # fmt: skip
            result = _whole(curves)
            too_soft = 0.0 if master.target is None else master.target - result.integrated
            too_high = result.true_peak - master.ceiling
            if abs(too_soft) <= LOUDNESS_TOLERANCE and too_high <= 0:
                shutil.move(attempt, target)
                return
            if limit == before[2] and gain != before[0]:  # a lower limit makes it softer by itself
                passed = min(max((result.integrated - before[1]) / (gain - before[0]), LEAST_PASSED), 1.0)
            before = gain, result.integrated, limit
            gain += too_soft / passed
            limit -= max(0.0, too_high + PEAK_MARGIN)
    raise OutOfReach(
        f"the mix came to {result.integrated:.1f} LUFS with peaks at {result.true_peak:.1f} dBTP, and not "
        f"nearer to its target: set a lower loudness in [master]"
    )
