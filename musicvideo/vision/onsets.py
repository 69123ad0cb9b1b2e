"""A song -> the times and strengths of its onsets."""

from __future__ import annotations

import os

import numpy as np

from musicvideo.vision import locked_librosa as librosa
from musicvideo.vision.features import HOP_UNIT, POWER_FLOOR, SAMPLE_RATE, Song, in_blocks

HOP = 8 * HOP_UNIT  # samples from point to point of the envelope


def onsets(song: str | os.PathLike) -> list[tuple[float, float]]:
    """Find onsets by spectral flux, in a song of any length.

    Args:
        song: any audio file.

    Returns:
        (seconds, strength) in order; strength 0..1, where 1 is the strength that one onset in twenty exceeds.
    """

    envelope, _ = onset_envelope(Song(song))
    frames = librosa.onset.onset_detect(onset_envelope=envelope, sr=SAMPLE_RATE, hop_length=HOP)
    if not len(frames):
        return []
    strengths = envelope[frames] / np.percentile(envelope[frames], 95)
    times = librosa.frames_to_time(frames, sr=SAMPLE_RATE, hop_length=HOP)
    return [(float(time), float(min(strength, 1))) for time, strength in zip(times, strengths)]


def onset_envelope(song: Song, hop: int = HOP) -> tuple[np.ndarray, int]:
    """Spectral flux of a song of any length.

    Args:
        song: of any length.
        hop: samples from point to point at `SAMPLE_RATE`.

    Returns:
        (1 + n // hop,) float32, never negative; and n, the samples of the song.
    """

    def flux(piece: np.ndarray) -> np.ndarray:
        power = librosa.feature.melspectrogram(y=piece, sr=SAMPLE_RATE, hop_length=hop)
        decibels = librosa.power_to_db(power, amin=POWER_FLOOR, top_db=None)
        return librosa.onset.onset_strength(S=decibels, sr=SAMPLE_RATE, hop_length=hop)

    return in_blocks(flux, song, hop)
