"""Segments of a video: encoded one by one, proved whole, joined without encoding them again."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Generator as Coroutine
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from musicvideo import ffmpeg, files, programs
from musicvideo.errors import MediaError
from musicvideo.vision.codecs import BT709, BT709_PICTURES, DRAWING
from musicvideo.vision.containers import Encoding, Soundtrack

# An interrupted run loses at most this. With x264 at 512 pixels, 60 cost 4 % more bytes than 240, and 30 cost 10 %.
SEGMENT_FRAMES = 60
# Fixed, so output is byte-identical; small, to leave cores for drawing.
ENCODER_THREADS = 2


def frame_count(duration: float, fps: Fraction) -> int:
    """Frames that cover `duration` seconds: frame n is shown at n / fps, the last one before the song ends."""
    return max(1, math.ceil(duration * float(fps) - 1e-6))


def segments(frames: int) -> list[range]:
    """The frame numbers of each segment of a video of `frames` frames."""
    return [range(start, min(start + SEGMENT_FRAMES, frames)) for start in range(0, frames, SEGMENT_FRAMES)]


class Encoder:
    """Encodes segments in a thread of its own, so that the next pictures are drawn meanwhile.

    Used as a context; an exception discards the unfinished segment.

    Args:
        resolution: side of the pictures, in pixels.
        encoding: of the segments.
    """

    def __init__(self, resolution: int, encoding: Encoding):
        self._resolution, self._encoding = resolution, encoding
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._task: Future | None = None
        self._segment: Coroutine[None, np.ndarray | None, None] | None = None

    def write(self, path: Path, pictures: np.ndarray, *, last: bool) -> None:
        """Hand over the next pictures of a segment; waits until those before them are encoded.

        Args:
            path: the segment, which appears when it is whole.
            pictures: uint8 (n, resolution, resolution, 3), or 4 with alpha; contiguous.
            last: whether the segment is whole with these.

        Raises:
            MediaError: the encoder failed.
        """
        self._wait()
        self._task = self._thread.submit(self._encode, path, pictures, last)

    def _wait(self) -> None:
        if self._task:
            self._task.result()

    def _encode(self, path: Path, pictures: np.ndarray, last: bool) -> None:
        if self._segment is None:
            self._segment = encoded(path, self._resolution, self._encoding)
            next(self._segment)
        self._segment.send(pictures)
        if last:
            segment, self._segment = self._segment, None
            with suppress(StopIteration):
                segment.send(None)

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, exception_type: type | None, *_: object) -> None:
        try:
            if not exception_type:
                self._wait()
        finally:
            self._thread.shutdown()
            if self._segment:
                self._segment.close()


def encoded(path: Path, resolution: int, encoding: Encoding) -> Coroutine[None, np.ndarray | None, None]:
    """A coroutine that encodes the pictures it is sent, until None is sent; `path` appears then."""
    with (
        files.atomic(path) as partial,
        programs.Feed(
            encoder_command(resolution, encoding, partial, encoding.segments), doing=f"encoding {path}"
        ) as encoder,
    ):
        while (pictures := (yield)) is not None:
            encoder.write(pictures)


def encoder_command(resolution: int, encoding: Encoding, path: Path, muxer: str) -> list[str]:
    """FFmpeg, taking raw pictures of `resolution` x `resolution` on its standard input."""
    codec = DRAWING[encoding.codec]
    # A pipe of our own, since moviepy's writer rounds frame rates to two decimals.
    source = [
        "-f", "rawvideo", "-pixel_format", "rgba" if encoding.alpha else "rgb24",
        "-video_size", f"{resolution}x{resolution}", "-framerate", str(encoding.fps), "-i", "pipe:0",
    ]  # fmt: skip
    scale = f"scale={encoding.size}:{encoding.size}:flags=lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
    if encoding.codec == "ffv1":
        pixels = ["-vf", f"{scale},format=bgr0"]  # lossless for RGB
    else:
        pixels = [
            "-vf", f"{scale}:out_color_matrix=bt709:out_range=tv,format={codec.alpha if encoding.alpha else 'yuv420p'},"
            + BT709_PICTURES, *BT709,
        ]  # fmt: skip
    return [
        "ffmpeg", "-v", "error", "-y", *source, *pixels, *codec.arguments(encoding.crf, ENCODER_THREADS),
        "-g", str(SEGMENT_FRAMES), "-f", muxer, ffmpeg.source(path),
    ]  # fmt: skip


def whole(parts: Mapping[Path, range], rate: Fraction) -> set[Path]:
    """The segments that exist with all their frames.

    Args:
        parts: segments and their frame numbers.
        rate: frames a second.
    """
    there = {path: numbers for path, numbers in parts.items() if path.exists()}
    if not there:
        return set()
    # Count all frames at once; count each segment by itself only if some are missing.
    script = concat_script(there, rate)
    if _packets("-f", "concat", "-safe", "0", ffmpeg.source(script)) == sum(map(len, there.values())):
        return set(there)
    return {path for path, numbers in there.items() if _packets(ffmpeg.source(path)) == len(numbers)}


def _packets(*source: str) -> int | None:
    arguments = ["-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"]
    try:
        return int(programs.run(["ffprobe", *arguments, *source], doing="counting frames"))
    except (MediaError, ValueError):
        return None


def concat_script(parts: Mapping[Path, range], rate: Fraction) -> Path:
    """Write a script for FFmpeg's concat demuxer beside some segments, in their order."""
    script = next(iter(parts)).with_suffix(".ffconcat")  # others may count other segments in this folder

    def duration(numbers: range) -> str:
        # The demuxer adds the lengths up, so the end times are rounded to its microseconds, not the lengths.
        start, stop = (round(number / rate, 6) for number in (numbers.start, numbers.stop))
        return ffmpeg.seconds(float(stop - start))

    lines = ["ffconcat version 1.0"]
    for path, numbers in parts.items():
        # Absolute and quoted: in a relative name FFmpeg takes a "#" of the folder for the end of it.
        quoted = ffmpeg.source(path).replace("'", r"'\''")
        lines += [f"file '{quoted}'", f"duration {duration(numbers)}"]
    script.write_bytes(os.fsencode("\n".join(lines) + "\n"))
    return script


def join(
    parts: Mapping[Path, range],
    sound: Soundtrack,
    output: Path,
    *,
    encoding: Encoding,
    duration: float,
    record: Mapping[str, Any],
) -> None:
    """Put segments one after the other, and the song's sound beside them.

    Args:
        parts: the segments, whole, and their frame numbers, in order.
        sound: of the video.
        output: the video.
        encoding: of the segments.
        duration: seconds of sound.
        record: written into the video's comment as JSON.

    Raises:
        MediaError: FFmpeg failed, for example for want of space.
    """
    rate = encoding.fps
    script = concat_script(parts, rate)
    # FFmpeg's concat rounds times to microseconds; this restores the exact times of the frames.
    exact = "round({0}*TB*{1})/({1})/TB"
    grid = f"setts=pts={exact.format('PTS', rate)}:dts={exact.format('DTS', rate)}"
    # The trajectory begins with the first sound, wherever that is in its file.
    if sound.begin:
        cut = ["-ss", ffmpeg.seconds(sound.start + sound.begin), "-t", ffmpeg.seconds(duration)]
    else:
        cut = ["-itsoffset", ffmpeg.seconds(-sound.start), "-t", ffmpeg.seconds(duration + sound.start)]
    tag = ["-tag:v", "hvc1"] if encoding.codec.startswith("hevc") and output.suffix.lower() != ".mkv" else []
    programs.run(
        [
            "ffmpeg", "-v", "error", "-y",
            "-f", "concat", "-safe", "0", "-i", ffmpeg.source(script),
            *ffmpeg.SAFE_INPUT, *cut, "-i", ffmpeg.source(sound.song),
            "-map", "0:v", "-c:v", "copy", "-r", str(rate), "-bsf:v", grid, *tag,
            "-map", "1:a:0", *sound.options,
            "-map_chapters", "-1", "-map_metadata", "1",
            "-metadata", f"comment={json.dumps(record)}",
            "-movflags", "+faststart", ffmpeg.source(output),
        ],
        doing=f"joining {len(parts)} segments with {sound.song}",
    )  # fmt: skip
