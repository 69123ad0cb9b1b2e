"""A frame of a square video, drawn anew at another size."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from musicvideo import probe
from musicvideo.errors import MediaError
from musicvideo.vision import generators
from musicvideo.vision import record as records
from musicvideo.vision.job import decide, requested
from musicvideo.vision.render import draw


def redrawn(video: str | os.PathLike, time: float, side: int, *, notice: Callable[[str], object]) -> np.ndarray | None:
    """The frame that a square video shows at a time, drawn by its generator at another size.

    Args:
        time: in seconds of the video.
        side: of the frame in pixels.
        notice: told in a line what it is drawn from, or why it cannot be drawn.

    Returns:
        uint8 (side, side, 3), or None if it cannot be drawn: nothing says how the video was drawn, its generator has
        sizes of its own, or what it was drawn from has changed.
    """
    rate = probe.probe(video).frame_rate
    try:
        drawn_by = generators.find(str(records.read(video).get("generator")))
        if rate is None or drawn_by.resolutions is not None:
            return None
        asked = {"like": os.fspath(video), "resolution": side, "output_size": side, "overwrite": True}
        job = decide(requested(asked), given=asked)
        generator = job.load()
        path = job.shown(job.path(generator))
    except (MediaError, ValueError) as error:  # the settings in a video may be anybody's
        notice(f"{video} cannot be drawn anew, its frame is enlarged: {error}")
        return None
    return draw(generator, path, [float(int(time * rate) / rate)])[0]
