"""The notes of a song, whatever they were read from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Part:
    name: str
    program: int  # General MIDI, from 0
    drums: bool = False


@dataclass(frozen=True)
class Notes:
    """What is played when: the notes of a song, in order of their onsets.

    onset, length: (N,) float64 seconds; pitch, velocity: (N,) int MIDI numbers; part: (N,) int index into `parts`;
    parts: tuple[Part, ...]; downbeats: (M,) seconds, strictly increasing, first beats of measures (may be empty);
    beats: (B,) seconds; marks: tuple[tuple[float, str], ...] sections as (seconds, name); duration: seconds.
    """

    onset: np.ndarray
    length: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    part: np.ndarray
    parts: tuple[Part, ...]
    downbeats: np.ndarray
    beats: np.ndarray
    marks: tuple[tuple[float, str], ...]
    duration: float
