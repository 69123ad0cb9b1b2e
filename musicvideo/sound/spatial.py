"""Move a sound around a head: a sound and a motion -> the sound at two ears, in memory or from file to file.

A model computes how a source at a position reaches the ears (`musicvideo.sound.models`). Files are rendered in
overlapping blocks. The overlap is longer than the memory of any model's filter, so block borders leave no trace.

Levels: a mono source keeps its power (the sum of the squares of both ears is that of the source, to the model's
accuracy), and a stereo file with equal channels is as loud in front as it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from math import log10
from os import PathLike

import numpy as np
import soundfile

from musicvideo.errors import MediaError
from musicvideo.files import atomic
from musicvideo.panning import Motion, Position
from musicvideo.sound.models import Model
from musicvideo.sound.soundfiles import SoundFile, open_sound, target_format, target_subtype

RENDER_BLOCK = 1 << 17  # samples rendered at a time
MARGIN = 1 << 13  # samples of context on either side of a block
FULL_WIDTH = 60.0  # degrees from the source's position to each channel of a stereo source of width 1
NEAREST = 0.1  # metres; nearer sources get no louder
FULL_SCALE = 1 - 2.0**-15  # the largest sample of a 16-bit file


def render(
    sound: np.ndarray, rate: float, motion: Motion, model: Model, *, width: float = 0.5, first: int = 0
) -> np.ndarray:
    """Move a whole sound, or one block of it.

    Args:
        sound: (N, channels), 1 or 2 channels. Those of a stereo source are placed on either side of its position.
        rate: Hz.
        motion: where the source is; the level falls as 1/distance, and is unchanged at 1 metre.
        model: from `musicvideo.sound.models.load_model`.
        width: 0 puts both channels of a stereo source at one point, 1 at `FULL_WIDTH` degrees to either side.
        first: number of the first sample on the motion's time axis.

    Returns:
        (N, 2) left and right ear, without added latency.
    """
    position = motion.sample(first, len(sound), rate)
    sound = sound / np.maximum(position.distance, NEAREST)[:, np.newaxis]
    if sound.shape[1] == 1:
        return model(sound[:, 0], position, rate)
    spread = width * FULL_WIDTH
    if not spread:  # both channels are at one point, so one run of the model renders their sum
        return model(sound.sum(axis=1) / np.sqrt(2), position, rate)
    left = Position(position.azimuth - spread, position.elevation, position.distance)
    right = Position(position.azimuth + spread, position.elevation, position.distance)
    # Two sources with the same sound add in amplitude, so each gets half the power.
    return (model(sound[:, 0], left, rate) + model(sound[:, 1], right, rate)) / np.sqrt(2)


def stream(file: SoundFile, motion: Motion, model: Model, *, width: float = 0.5) -> Iterator[np.ndarray]:
    """`render` a sound file block by block, in constant memory.

    Yields:
        (n, 2) blocks that together are as long as the file.

    Raises:
        MediaError: the file, or the moved sound, holds samples that are not numbers.
    """
    size = RENDER_BLOCK + 2 * MARGIN
    first = 0
    for sound in file.checked_blocks(size, overlap=2 * MARGIN):
        ears = render(sound, file.samplerate, motion, model, width=width, first=first)
        last = first + len(sound) >= file.frames
        ears = ears[MARGIN if first else 0 : None if last else size - MARGIN]
        if not np.isfinite(ears).all():
            raise MediaError(
                f"{file.path}: this motion makes samples that are not numbers; give another motion or model"
            )
        yield ears
        first += RENDER_BLOCK


def render_file(
    source: str | PathLike,
    target: str | PathLike,
    motion: Motion,
    model: Model,
    *,
    width: float = 0.5,
    subtype: str | None = None,
    limited: bool = True,
    progress: Callable[[int], object] = lambda frames: None,
) -> float:
    """Move a mono or stereo sound file around the head; write stereo at the same rate.

    Where the moved sound would exceed full scale, all of it is written softer by as much as needed.

    Args:
        source: anything libsndfile reads.
        target: .wav, .flac or another name libsndfile writes; replaced only when complete.
        motion, model, width: as in `render`.
        subtype: sample format (PCM_16, PCM_24, FLOAT, ...); None is that of the source, or the nearest the target has.
        limited: False leaves the level of a floating-point target, for an intermediate file that is mastered later.
        progress: called with the frames done since the last call.

    Returns:
        Gain in dB that kept the sound within full scale: 0, or negative.

    Raises:
        MediaError: not a sound file, more than two channels, no samples in it, or a format the target cannot hold.
    """
    with open_sound(source) as file:
        format = target_format(target)
        subtype = target_subtype(target, format, file.subtype, subtype)
        most = FULL_SCALE if limited or subtype not in ("FLOAT", "DOUBLE") else np.inf
        gain = 1.0
        with atomic(target) as partial:
            try:
                peak = _write(
                    file, partial, format, subtype, stream(file, motion, model, width=width), gain, most, progress
                )
                if peak > most:
                    gain = most / peak
                    again = stream(file, motion, model, width=width)
                    _write(file, partial, format, subtype, again, gain, most, lambda frames: None)
            except soundfile.LibsndfileError as error:
                raise MediaError(
                    f"{target}: cannot be written ({error.error_string.rstrip('.')}): is there space, "
                    f"permission, and a format that holds {file.samplerate} Hz?"
                ) from None
    return 20 * log10(gain)


def _write(
    file: SoundFile,
    path: PathLike,
    format: str,
    subtype: str,
    ears: Iterator[np.ndarray],
    gain: float,
    most: float,
    progress: Callable[[int], object],
) -> float:
    """Write the blocks of a moved sound, limited to ±`most`; returns the peak before gain and limit."""
    peak = 0.0
    with soundfile.SoundFile(os.fsencode(path), "w", file.samplerate, 2, subtype, format=format) as out:
        for block in ears:
            peak = max(peak, np.abs(block).max())
            # Limits every sample to full scale, whatever the motion or the model does.
            out.write(np.clip(gain * block, -most, most))
            progress(len(block))
    return peak
