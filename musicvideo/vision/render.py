"""A trajectory -> pictures -> segments -> one video with the song's sound.

A render is cut into segments of fixed length. Each is drawn batch by batch, streamed into an encoder of its own and
renamed into place when whole; the segments are joined without encoding them again. So memory does not grow with the
song, a killed run goes on at the last whole segment, and a segment may be rendered anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from tqdm import tqdm

from musicvideo import files
from musicvideo.errors import MediaError
from musicvideo.vision import record as records
from musicvideo.vision.containers import Encoding, Soundtrack
from musicvideo.vision.generators import Generator
from musicvideo.vision.generators.record import Matted
from musicvideo.vision.latents import Trajectory
from musicvideo.vision.segments import Encoder, frame_count, join, segments, whole
from musicvideo.vision.work import Work

NO_BAR = partial(tqdm, disable=True)


class SegmentDrawer(Protocol):
    """Draws and encodes segments as `render_segments` does, with a generator of its own."""

    def __call__(
        self,
        trajectory: Trajectory,
        parts: Mapping[Path, range],
        *,
        encoding: Encoding,
        batch_size: int,
        every: int,
        bar: tqdm,
    ) -> None: ...


def render(
    generator: Generator,
    trajectory: Trajectory,
    sound: Soundtrack,
    work: Work,
    *,
    encoding: Encoding,
    batch_size: int = 30,
    every: int = 1,
    progress: Callable[..., tqdm] = NO_BAR,
    chosen: slice = slice(None),
    finish: bool = True,
    draw_segments: SegmentDrawer | None = None,
) -> int:
    """Draw a trajectory and write the video, going on where an interrupted run stopped.

    Args:
        generator: what draws.
        trajectory: what to draw.
        sound: of the video, from the song's start, for the trajectory's duration.
        work: of the video, open; its record is written into the video and beside it, as `<output>.json`.
        encoding: made by `containers.encoding` for this output.
        batch_size: frames that are drawn at a time; does not change them.
        every: draw one frame of so many, and fade from one to the next; of `settings.QUALITIES`.
        progress: makes a bar from `total` and `initial` frames, as tqdm does.
        chosen: which segments to draw.
        finish: whether to join them; they must all be there by then.
        draw_segments: draws them in another way than `render_segments`.

    Returns:
        Number of frames: of the video, or of the chosen segments. A finished video is on the disk by then, so the
        segments may be deleted.

    Raises:
        MediaError: the encoder failed, for example for want of space; or segments to draw or to join do not exist.
    """
    frames = frame_count(trajectory.duration, encoding.fps)
    parts = {work.segment(index): numbers for index, numbers in enumerate(segments(frames))}
    asked = dict(list(parts.items())[chosen])
    if not asked and not finish:
        raise MediaError(f"{work.output}: has {len(parts)} segments, 0:{len(parts)}; none of them was asked for")
    there = whole(parts if finish else asked, encoding.fps)
    missing = {path: numbers for path, numbers in asked.items() if path not in there}
    total = sum(map(len, asked.values()))
    if missing:
        draw_segments = draw_segments or partial(render_segments, generator)
        with progress(total=total, initial=total - sum(map(len, missing.values()))) as bar:
            draw_segments(trajectory, missing, encoding=encoding, batch_size=batch_size, every=every, bar=bar)
    if not finish:
        return total
    if lacking := [index for index, path in enumerate(parts) if path not in asked and path not in there]:
        raise MediaError(f"{work.output}: segments are missing: draw --segments {_ranges(lacking)} first")
    record = work.record() or {}
    with files.atomic(work.output) as partial_file:
        join(parts, sound, partial_file, encoding=encoding, duration=trajectory.duration, record=record)
        records.write(f"{work.output}.json", record)
    return frames


def render_segments(
    generator: Generator,
    trajectory: Trajectory,
    parts: Mapping[Path, range],
    *,
    encoding: Encoding,
    batch_size: int = 30,
    every: int = 1,
    bar: tqdm | None = None,
) -> None:
    """Draw and encode segments; each path appears when its segment is whole.

    Args:
        generator, trajectory, encoding, batch_size, every: as for `render`.
        parts: the segments and their frame numbers.
        bar: counts frames.

    Raises:
        MediaError: the encoder failed.
    """
    with Encoder(generator.resolution, encoding) as encoder:
        for path, frames in parts.items():
            for start in range(frames.start, frames.stop, batch_size):
                numbers = range(start, min(start + batch_size, frames.stop))
                pictures = draw_frames(generator, trajectory, numbers, encoding.fps, every, alpha=encoding.alpha)
                encoder.write(path, pictures, last=numbers.stop == frames.stop)
                if bar is not None:
                    bar.update(len(numbers))


def _ranges(numbers: Sequence[int]) -> str:
    """Rising numbers as ranges, A:B without B: "0:2 5:6"."""
    starts = [number for number in numbers if number - 1 not in numbers]
    stops = [number + 1 for number in numbers if number + 1 not in numbers]
    return " ".join(f"{start}:{stop}" for start, stop in zip(starts, stops))


def draw(
    generator: Generator, trajectory: Trajectory, times: Sequence[float] | np.ndarray, *, alpha: bool = False
) -> np.ndarray:
    """Pictures of a trajectory at `times` in seconds: uint8 (len(times), height, width, 3).

    With `alpha` they have four channels; the generator is a `Matted`.
    """
    noise, weights = trajectory.at(np.asarray(times))
    classes = np.zeros((len(weights), len(generator.labels)))
    classes[:, list(trajectory.classes)] = weights
    frames = cast(Matted, generator).frames_rgba if alpha else generator.frames
    return np.ascontiguousarray(frames(noise, classes))


def draw_frames(
    generator: Generator, trajectory: Trajectory, frames: range, fps: Fraction, every: int = 1, *, alpha: bool = False
) -> np.ndarray:
    """Pictures of consecutive frames: uint8 (len(frames), height, width, 3).

    Args:
        frames: their numbers.
        fps: frames a second.
        every: draw the frames whose number is a multiple of this, and fade from one to the next.
        alpha: as of `draw`.
    """
    position = np.array(frames) / every
    before, share = np.floor(position).astype(int), position % 1
    keys = np.arange(before[0], np.ceil(position[-1]) + 1)
    pictures = draw(generator, trajectory, keys * every * fps.denominator / fps.numerator, alpha=alpha)
    if every == 1:
        return pictures
    before -= before[0]
    after = np.minimum(before + 1, len(pictures) - 1)
    return np.stack(
        [
            np.rint((1 - s) * pictures[a] + s * pictures[b]).astype(np.uint8)
            for a, b, s in zip(before, after, share.astype(np.float32))
        ]
    )
