"""Send sound files through FFmpeg's filters and SoX's effects."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from musicvideo.ffmpeg import SAFE_INPUT, source
from musicvideo.programs import run
from musicvideo.sound.soundfiles import peak

FLOAT_WAV = ("-c:a", "pcm_f32le")
SOX_PEAK = -30.0  # dB full scale of SoX's input, since its reverb can add some 20 dB


def apply_filters(source_path: str | os.PathLike, target: Path, filters: Sequence[str], *output: str) -> None:
    """Send one sound file through a chain of FFmpeg's filters; 32-bit float unless `output` says otherwise."""
    run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-y",
            *SAFE_INPUT,
            "-i",
            source(source_path),
            "-af",
            ",".join(filters),
            *(output or FLOAT_WAV),
            source(target),
        ],
        doing=f"mixing {source_path}",
    )


def apply_effect(source_path: Path, target: Path, effect: Sequence[object]) -> None:
    """Send one sound file through a linear effect of SoX, at any level.

    SoX computes in integers, even from float to float: it clips what is above full scale, and rounds to 24 bits. So it
    gets the sound with its peak at `SOX_PEAK`, and the level is restored afterwards.
    """
    scale = 10 ** (SOX_PEAK / 20) / max(peak(source_path), 1e-9)
    given, done = target.with_suffix(".given.wav"), target.with_suffix(".done.wav")
    apply_filters(source_path, given, [f"volume={scale}:precision=float"])
    run(["sox", given, "-e", "floating-point", "-b", "32", done, *map(str, effect)], doing=f"mixing {source_path.stem}")
    apply_filters(done, target, [f"volume={1 / scale}:precision=float"])
    given.unlink()
    done.unlink()


def sum_files(inputs: Mapping[Path, float], target: Path, *, gain: float = 0.0) -> None:
    """Add up sound files of one rate and length.

    Args:
        inputs: a gain in dB for each file.
        gain: dB, of the sum.
    """
    levels = [
        f"[{index}]volume={level + gain}dB:precision=float[in{index}]" for index, level in enumerate(inputs.values())
    ]
    # By default amix divides by the number of inputs, and swells whenever one ends.
    total = "".join(f"[in{index}]" for index in range(len(inputs)))
    graph = ";".join([*levels, f"{total}amix=inputs={len(inputs)}:duration=longest:normalize=0"])
    files = [argument for path in inputs for argument in ("-i", source(path))]
    run(["ffmpeg", "-v", "error", "-y", *files, "-filter_complex", graph, *FLOAT_WAV, source(target)], doing="mixing")
