"""A song -> a square video: a picture generator steered by the song's loudness and pitches.

    python visualize.py --song media/Impassive.wav --generator pocket --output_file out.mp4 --duration 10
    python visualize.py --song song.mp3 --classes mushroom "grand piano" castle --fps 30 --seed 7 --output_file song.mp4
    python visualize.py --generator pocket --list_classes castle
    python visualize.py --like song.mp4 --jitter 0.8 --output_file livelier.mp4

By hand the defaults are those of the published deep-music-visualizer: BigGAN, and a frame for each step of the
analysis (43 a second). `make gan` draws 30 frames a second, and `make demo` draws with cppn.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from musicvideo.cli import Parser, entry_point, progress_bar, say
from musicvideo.vision import arguments, generators
from musicvideo.vision.job import Job, decide, requested
from musicvideo.vision.labels import search
from musicvideo.vision.render import SegmentDrawer
from musicvideo.vision.settings import Settings


def parser() -> argparse.ArgumentParser:
    p = Parser(
        usage="python visualize.py --song SONG --output_file FILE [options]",
        description="Turn a song into a square video.",
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_arguments(p)
    return p


def main() -> None:
    p = parser()
    given = arguments.given(p, sys.argv[1:])
    try:
        settings = requested(given, notice=say)
        if settings.list_classes is not None:
            return list_classes(settings)
        job = decide(settings, given=given, notice=say, progress=progress_bar)
        with drawer(job) as (generator, draw_segments):
            origin = "" if settings.seed is not None else " (from the song's content)"
            say(
                f"seed {job.seed}{origin}, classes: {', '.join(job.class_names)}; drawn by {settings.generator} "
                f"({generator.runs_on})"
            )
            if settings.storyboard:
                preview(job, generator)
            else:
                produce(job, generator, draw_segments)
    except ValueError as error:
        p.error(str(error))  # names the setting, its value and what it can be


@contextmanager
def drawer(job: Job) -> Iterator[tuple[generators.Generator, SegmentDrawer | None]]:
    """What draws: this process, or the workers of a cluster."""
    if not job.settings.cluster:
        yield job.load(progress=progress_bar), None
        return
    from musicvideo.vision import cluster  # here, since Ray takes seconds to load, and need not be installed

    with cluster.drawing(job) as drawing:
        yield drawing, drawing.draw_segments


def list_classes(settings: Settings) -> None:
    """Print the generator's classes; their number and generator go to stderr, so that the list can be piped."""
    labels = generators.labels(settings.generator)
    found = search(labels, settings.list_classes)
    if not found:
        raise ValueError(f"list_classes: no class of {settings.generator} has {settings.list_classes!r} in its name")
    print(
        f"{len(found)} of the {len(labels)} classes of {settings.generator} (--generator chooses: "
        f"{', '.join(generators.NAMES)})",
        file=sys.stderr,
    )
    for index, name in found:
        print(f"{index:4d}  {name}")


def produce(job: Job, generator: generators.Generator, draw_segments: SegmentDrawer | None) -> None:
    """Draw the video."""
    output, how = job.settings.output_file, job.encoding
    begin = time.monotonic()
    frames = job.draw(
        generator,
        notice=say,
        progress=partial(progress_bar, unit="frame", desc=output),
        draw_segments=draw_segments,
    )
    if frames and job.settings.segments:
        say(f"{output}: {frames} frames of segments {job.settings.segments} are there; --join joins all segments")
    elif frames:
        say(
            f"{output}: {frames} frames, {how.size}x{how.size}, {how.codec}, {float(how.fps):.6g} frames a second, "
            f"drawn in {time.monotonic() - begin:.1f} s"
        )
    else:
        say(f"{output}: is this video already")


def preview(job: Job, generator: generators.Generator) -> None:
    """Draw the storyboard."""
    from musicvideo.vision import storyboard  # here, since matplotlib takes long to load

    about = storyboard.approximately
    drawing, film = storyboard.preview(job, generator)
    say(
        f"{job.settings.storyboard}: drawing takes about "
        + ", ".join(f"{about(seconds)} at {resolution}" for resolution, seconds in drawing.items())
        + "".join(f"; the film about {about(seconds)} at {width}x{height}" for (width, height), seconds in film.items())
    )


if __name__ == "__main__":
    entry_point(main)
