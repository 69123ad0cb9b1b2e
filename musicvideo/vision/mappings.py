"""The registry of mappings: how what is known of a song becomes the path of its video.

To add a mapping, write a function of a job and a generator and add a line to `MAPPINGS`. Functions import what they
compute with, since every command that lists mappings imports this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from musicvideo.vision.generators import Generator
    from musicvideo.vision.job import Job
    from musicvideo.vision.latents import Trajectory


@dataclass(frozen=True)
class Mapping:
    """One way from music to motion.

    Attributes:
        name: what a person types.
        help: one line for `--help`.
        path: makes the path.
        needs_notes: it follows notes, so a MIDI file belongs to it.
    """

    name: str
    help: str
    path: Callable[[Job, Generator], Trajectory]
    needs_notes: bool = False


def _heard(job: Job, generator: Generator, analysis: str) -> Trajectory:
    """The path of what is heard in the song, by the walks of the published deep-music-visualizer.

    Args:
        job, generator: as of `Mapping.path`.
        analysis: one of `musicvideo.vision.features.ANALYSES`.
    """
    from musicvideo.vision.latents import trajectory
    from musicvideo.vision.settings import WALK

    return trajectory(
        job.features(analysis), job.classes, noise_dim=generator.noise_dim, num_classes=len(job.classes),
        rng=_random(job), **{name: getattr(job.settings, name) for name in WALK},
    )  # fmt: skip


def _played(job: Job, generator: Generator) -> Trajectory:
    """The path of the notes of the song."""
    from musicvideo.vision.conduct import require_handles
    from musicvideo.vision.conducting import conducted

    asked = job.settings
    if job.score is None:
        raise ValueError("mapping: score has no notes")
    require_handles(job.score.table, generator.handles, name=asked.conduct or "")
    return conducted(
        job.score.notes, job.score.cast, generator.handles, noise_dim=generator.noise_dim, rng=_random(job),
        depth=asked.depth, truncation=asked.truncation, jitter=asked.jitter, tempo_sensitivity=asked.tempo_sensitivity,
    )  # fmt: skip


def _random(job: Job) -> np.random.Generator:
    return np.random.default_rng([job.seed, 1])


MAPPINGS = {
    mapping.name: mapping
    for mapping in (
        Mapping("classic", "loudness moves, pitches choose", partial(_heard, analysis="classic")),
        Mapping("pulse", "drums move, harmony chooses", partial(_heard, analysis="pulse")),
        Mapping("score", "notes move and choose (needs --midi)", _played, needs_notes=True),
    )
}
