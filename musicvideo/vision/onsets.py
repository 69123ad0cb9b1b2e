"""A song -> the moments at which something begins to sound."""

from __future__ import annotations

import os

import librosa
import numpy as np

from musicvideo.vision.features import SAMPLE_RATE, load_song


def onsets(song: str | os.PathLike) -> list[tuple[float, float]]:
    """Find onsets by spectral flux.

    Args:
        song: any audio file.

    Returns:
        (seconds, strength) in order; strength 0..1, where 1 is the strength that one onset in twenty exceeds.
    """
    envelope = librosa.onset.onset_strength(y=load_song(song), sr=SAMPLE_RATE)
    frames = librosa.onset.onset_detect(onset_envelope=envelope, sr=SAMPLE_RATE)
    if not len(frames):
        return []
    strengths = envelope[frames] / np.percentile(envelope[frames], 95)
    times = librosa.frames_to_time(frames, sr=SAMPLE_RATE)
    return [(float(time), float(min(strength, 1))) for time, strength in zip(times, strengths)]
