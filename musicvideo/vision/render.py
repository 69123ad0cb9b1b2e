"""A trajectory -> segments -> one video with the song's sound.

A render is cut into segments of `SEGMENT_FRAMES` frames. Each is drawn batch by batch, streamed into an encoder of
its own and renamed into place when whole; the segments are joined without re-encoding. So memory does not grow with
the song, a killed run goes on at the last whole segment, and a segment may be rendered anywhere.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import filelock
import numpy as np
from tqdm import tqdm

from musicvideo import ffmpeg, files, probe, programs
from musicvideo.errors import MediaError
from musicvideo.vision.codecs import CODECS
from musicvideo.vision.generators import SILENT, Generator
from musicvideo.vision.latents import Trajectory

SEGMENT_FRAMES = 240       # 8 s at 30 frames a second; also the distance of key frames, so segments stand alone
QUALITIES = {"full": 1, "draft": 3}        # one frame of so many is drawn, the others fade from one to the next
RATES = (1, 345)           # frames a second; 345 is the finest rate of analysis
SIZES = (16, 8192)         # pixels a side
ENCODER_THREADS = 2        # a fixed number, for other numbers give other bytes; few, for the generator needs the rest


@dataclass(frozen=True)
class Container:
    """What a file of this suffix can hold."""

    codecs: tuple[str, ...]            # families, the default first
    audio: re.Pattern                  # FFmpeg's names of the audio codecs that are copied as they are
    reencode: tuple[str, ...]          # what becomes of others


# Either encoder writes other layouts in a way that few players understand, or not at all.
_LAYOUTS = ("-af", "aformat=channel_layouts=mono|stereo|5.1|7.1")
_AAC = (*_LAYOUTS, "-c:a", "aac", "-b:a", "320k")
_OPUS = (*_LAYOUTS, "-c:a", "libopus", "-b:a", "256k")
CONTAINERS = {
    ".mp4": Container(("h264", "hevc", "av1", "vp9"), re.compile("aac|mp3|ac3|eac3|alac|opus"), _AAC),
    ".mov": Container(("h264", "hevc"), re.compile("aac|mp3|ac3|alac|pcm_[sf](16|24|32)[bl]e"), _AAC),
    ".mkv": Container(("h264", "hevc", "av1", "vp9", "ffv1"), re.compile(".*"), _AAC),
    ".webm": Container(("vp9", "av1"), re.compile("opus|vorbis"), _OPUS),
}


@dataclass(frozen=True)
class Encoding:
    """How drawings become a video stream; make one with `encoding`."""

    fps: Fraction          # frames a second
    codec: str             # key of CODECS
    crf: int | None        # quality in the codec's own scale
    size: int              # height and width in pixels


def encoding(
    output: str | os.PathLike, *, fps: Fraction, size: int, codec: str | None = None, crf: int | None = None
) -> Encoding:
    """The encoding of a video file, checked against what its container and this machine's FFmpeg can do.

    Args:
        output: the video; its suffix chooses the container.
        fps: frames a second, in `RATES`.
        size: height and width in pixels, even, in `SIZES`.
        codec: a key of `CODECS`; None takes the container's own.
        crf: quality in the codec's own scale, lower is better; None takes its default.

    Raises:
        ValueError: something that cannot be; names parameter, value and choices.
        MediaError: this machine lacks the encoder, or it cannot do this size.
    """
    suffix = Path(output).suffix.lower()
    if suffix not in CONTAINERS:
        raise ValueError(f"output_file: {output} must end in one of {' '.join(CONTAINERS)}")
    families = CONTAINERS[suffix].codecs
    codec = codec or families[0]
    if codec not in CODECS:
        raise ValueError(f"codec: unknown {codec!r} (choose from {', '.join(CODECS)})")
    if codec.partition("_")[0] not in families:
        raise ValueError(f"codec: {suffix} cannot hold {codec} (it holds {', '.join(families)}; .mkv holds all)")
    if not RATES[0] <= fps <= RATES[1]:
        raise ValueError(f"fps: {float(fps):g} is not in {RATES[0]}..{RATES[1]} (give --fps)")
    if size % 2 or not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"output_size: a video of {size}x{size} pixels cannot be encoded "
                         f"(even numbers, {SIZES[0]}..{SIZES[1]})")
    chosen = CODECS[codec]
    if crf is None:
        crf = chosen.crf
    elif chosen.worst is None:
        raise ValueError(f"crf: {codec} is lossless and has no quality to choose")
    elif not 0 <= crf <= chosen.worst:
        raise ValueError(f"crf: {crf} is not in 0..{chosen.worst}")
    chosen.require(size, size)
    return Encoding(fps, codec, crf, size)


def frame_count(duration: float, fps: Fraction) -> int:
    """Frames that cover `duration` seconds: frame n is shown at n / fps, the last one before the song ends."""
    return max(1, math.ceil(duration * float(fps) - 1e-6))


def segments(frames: int) -> list[range]:
    """The frame numbers of each segment of a video of `frames` frames."""
    return [range(start, min(start + SEGMENT_FRAMES, frames)) for start in range(0, frames, SEGMENT_FRAMES)]


def versions() -> dict[str, str]:
    """Versions of what a picture depends on."""
    packages = ("torch", "pytorch-pretrained-biggan", "llvmlite", "openvino", "numpy", "scipy", "librosa", "soxr")
    installed = {}
    for name in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return {
        "python": platform.python_version(),
        **installed,
        "ffmpeg": ffmpeg.ffmpeg_version(),
    }


class Work:
    """The hidden folder beside an output that holds its render until it is whole."""

    def __init__(self, output: str | os.PathLike):
        self.output = Path(output)
        self.folder = self.output.with_name(f".{self.output.name}.render")
        self._note = self.folder / "settings.json"

    def segment(self, index: int) -> Path:
        """Where a segment lies when it is whole. NUT holds every codec, and any frame rate exactly."""
        return self.folder / f"{index:06d}.nut"

    def unfinished(self) -> dict | None:
        """Settings of an interrupted render that has whole segments; None if there is none."""
        return self.settings() if any(self.folder.glob("[0-9]*.nut")) else None

    def settings(self) -> dict:
        """What `open` was given."""
        return json.loads(self._note.read_text())

    @contextmanager
    def open(
        self, settings: Mapping, *, overwrite: bool = False, notice: Callable[[str], object] = lambda line: None
    ) -> Iterator[None]:
        """Hold the folder for one render. It is gone on leaving, unless there is something in it to go on with.

        Args:
            settings: all that the render depends on, of JSON's types.
            overwrite: start over if an interrupted render had other settings.
            notice: told of it in a line, if so.

        Raises:
            MediaError: another run is at work on this output, or an interrupted one had other settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = filelock.FileLock(self.folder / "lock").acquire(timeout=0)
        except filelock.Timeout:
            raise MediaError(f"{self.output}: another run is making it (wait for it, or name another output)") from None
        with lock:
            try:
                self._prepare(json.loads(json.dumps(settings)), overwrite, notice)
                yield
                self._clear()
            finally:
                if not self.unfinished():
                    shutil.rmtree(self.folder)

    def _clear(self) -> None:
        for segment in self.folder.glob("[0-9]*.nut"):
            segment.unlink()

    def _prepare(self, settings: dict, overwrite: bool, notice: Callable[[str], object]) -> None:
        for stale in self.folder.glob(".*"):
            stale.unlink()
        earlier = self.unfinished()
        if earlier is not None and earlier != settings:
            changed = "; ".join(
                f"{name} {json.dumps(earlier.get(name))} is now {json.dumps(settings.get(name))}"
                for name in {**earlier, **settings} if earlier.get(name) != settings.get(name)
            )
            if not overwrite:
                raise MediaError(f"{self.output}: an interrupted render of it had other settings: {changed} "
                                 "(give the same settings to go on, or --overwrite to start over)")
            notice(f"{self.output}: starting over, for the interrupted render of it had other settings: {changed}")
            self._clear()
        with files.atomic(self._note) as partial_file:
            partial_file.write_text(json.dumps(settings, indent=2))


def render(
    generator: Generator,
    trajectory: Trajectory,
    song: str | os.PathLike,
    work: Work,
    *,
    encoding: Encoding,
    batch_size: int = 30,
    every: int = 1,
    progress: Callable[..., tqdm] = SILENT,
) -> int:
    """Draw a trajectory and write the video, going on where an interrupted run stopped.

    Args:
        generator: what draws.
        trajectory: what to draw.
        song: file whose sound goes with the picture, from its start, for the trajectory's duration.
        work: of the video, open; its settings are written into the video and beside it, as `<output>.json`.
        encoding: made by `encoding` for this output.
        batch_size: frames that are drawn at a time; does not change them.
        every: draw one frame of so many, and fade from one to the next; of `QUALITIES`.
        progress: makes a bar from `total` and `initial` frames, as tqdm does.

    Returns:
        Number of frames.

    Raises:
        MediaError: the encoder failed, for example for want of space.
    """
    plan = segments(frame_count(trajectory.duration, encoding.fps))
    frames = plan[-1].stop
    missing = [index for index, numbers in enumerate(plan) if not is_whole(work.segment(index), len(numbers))]
    done = frames - sum(len(plan[index]) for index in missing)
    with progress(total=frames, initial=done) as bar:
        for index in missing:
            render_segment(
                generator, trajectory, plan[index], work.segment(index),
                encoding=encoding, batch_size=batch_size, every=every, drawn=bar.update,
            )
    settings = work.settings()
    whole = work.folder / f".joined{work.output.suffix}"
    try:
        join([work.segment(index) for index in range(len(plan))], plan, song, whole,
             encoding=encoding, duration=trajectory.duration, settings=settings)
        with files.atomic(f"{work.output}.json") as beside:
            beside.write_text(json.dumps(settings, indent=2) + "\n")
        os.replace(whole, work.output)
    finally:
        whole.unlink(missing_ok=True)
    return frames


def render_segment(
    generator: Generator,
    trajectory: Trajectory,
    frames: range,
    path: Path,
    *,
    encoding: Encoding,
    batch_size: int,
    every: int = 1,
    drawn: Callable[[int], object] = lambda count: None,
) -> None:
    """Draw some frames of a trajectory and encode them; `path` appears when it is whole.

    Args:
        generator, trajectory, encoding, batch_size, every: as for `render`.
        frames: numbers of the frames.
        path: the segment.
        drawn: called with a number of frames whenever that many more are drawn.

    Raises:
        MediaError: the encoder failed.
    """
    # The encoder works on one batch in a thread of its own while the generator draws the next.
    with (
        files.atomic(path) as partial_file,
        programs.Feed(encoder_command(generator.resolution, encoding, partial_file), doing=f"encoding {path}") as encoder,
        ThreadPoolExecutor(max_workers=1) as thread,
    ):
        encoded = None
        for start in range(frames.start, frames.stop, batch_size):
            numbers = range(start, min(start + batch_size, frames.stop))
            pictures = draw_frames(generator, trajectory, numbers, encoding.fps, every)
            if encoded:
                encoded.result()
            encoded = thread.submit(encoder.write, pictures)
            drawn(len(numbers))
        encoded.result()


def is_whole(path: Path, frames: int) -> bool:
    """Whether a segment is there with all its frames; after a power failure its name may be without its bytes."""
    if not path.exists():
        return False
    arguments = ["-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"]
    try:
        return int(programs.run(["ffprobe", *arguments, ffmpeg.source(path)], doing=f"looking at {path}")) == frames
    except (MediaError, ValueError):
        return False


def draw(generator: Generator, trajectory: Trajectory, times: Sequence[float]) -> np.ndarray:
    """Pictures of a trajectory at `times` in seconds: uint8 (len(times), height, width, 3)."""
    noise, weights = trajectory.at(np.asarray(times))
    classes = np.zeros((len(weights), len(generator.labels)))
    classes[:, list(trajectory.classes)] = weights
    return np.ascontiguousarray(generator.frames(noise, classes))


def draw_frames(
    generator: Generator, trajectory: Trajectory, frames: range, fps: Fraction, every: int = 1
) -> np.ndarray:
    """Pictures of consecutive frames: uint8 (len(frames), height, width, 3).

    Args:
        frames: their numbers.
        fps: frames a second.
        every: draw the frames whose number is a multiple of this, and fade from one to the next.
    """
    position = np.array(frames) / every
    before, share = np.floor(position).astype(int), position % 1
    keys = np.arange(before[0], np.ceil(position[-1]) + 1)
    pictures = draw(generator, trajectory, keys * every * fps.denominator / fps.numerator)
    if every == 1:
        return pictures
    before -= before[0]
    after = np.minimum(before + 1, len(pictures) - 1)
    return np.stack([
        np.rint((1 - s) * pictures[a] + s * pictures[b]).astype(np.uint8)
        for a, b, s in zip(before, after, share.astype(np.float32))
    ])


def encoder_command(resolution: int, encoding: Encoding, path: Path) -> list[str]:
    """FFmpeg, taking raw pictures of `resolution` x `resolution` on its standard input."""
    codec = CODECS[encoding.codec]
    # A pipe of our own, since moviepy's writer rounds frame rates to two decimals.
    source = [
        "-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{resolution}x{resolution}",
        "-framerate", str(encoding.fps), "-i", "pipe:0",
    ]  # fmt: skip
    scale = f"scale={encoding.size}:{encoding.size}:flags=lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
    if encoding.codec == "ffv1":
        pixels = ["-vf", f"{scale},format=bgr0"]           # lossless for RGB
    else:
        pixels = [
            "-vf", f"{scale}:out_color_matrix=bt709:out_range=tv,format=yuv420p",
            "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv",
        ]  # fmt: skip
    return [
        "ffmpeg", "-v", "error", "-y", *source, *pixels, *codec.arguments(encoding.crf, ENCODER_THREADS),
        "-g", str(SEGMENT_FRAMES), "-f", "nut", ffmpeg.source(path),
    ]  # fmt: skip


def join(
    parts: Sequence[Path],
    plan: Sequence[range],
    song: str | os.PathLike,
    output: Path,
    *,
    encoding: Encoding,
    duration: float,
    settings: Mapping,
) -> None:
    """Put segments one after the other, and the song's sound beside them.

    Args:
        parts: the segments, whole.
        plan: their frame numbers.
        song: file with the sound; copied where the container can hold its codec.
        output: the video.
        encoding: of the segments.
        duration: seconds of sound.
        settings: written into the video's comment as JSON.

    Raises:
        MediaError: FFmpeg failed, for example for want of space.
    """
    rate = encoding.fps
    script = parts[0].with_name("segments.ffconcat")
    script.write_bytes(os.fsencode("ffconcat version 1.0\n" + "".join(
        # Whole and quoted: FFmpeg takes a "#" in the folder of a relative name for the end of it.
        "file '{}'\nduration {:.6f}\n".format(ffmpeg.source(part).replace("'", r"'\''"), len(numbers) / float(rate))
        for part, numbers in zip(parts, plan)
    )))
    # FFmpeg's concat counts in microseconds, which most frame rates are no multiple of: back onto the exact grid.
    exact = "round({0}*TB*{1})/({1})/TB"
    grid = f"setts=pts={exact.format('PTS', rate)}:dts={exact.format('DTS', rate)}"
    container = CONTAINERS[output.suffix.lower()]
    sound = probe.probe(song)
    tag = ["-tag:v", "hvc1"] if encoding.codec.startswith("hevc") and output.suffix.lower() != ".mkv" else []

    def write(audio: Sequence[str]) -> None:
        programs.run(
            [
                "ffmpeg", "-v", "error", "-y",
                "-f", "concat", "-safe", "0", "-i", ffmpeg.source(script),
                # The trajectory begins with the first sound, wherever that is in its file.
                *ffmpeg.SAFE_INPUT, "-itsoffset", repr(-sound.audio_start), "-t", repr(duration + sound.audio_start),
                "-i", ffmpeg.source(song),
                "-map", "0:v", "-c:v", "copy", "-r", str(rate), "-bsf:v", grid, *tag,
                "-map", "1:a:0", *audio,
                "-map_chapters", "-1", "-map_metadata", "1",
                "-metadata", f"comment={json.dumps(settings)}",
                "-movflags", "+faststart", ffmpeg.source(output),
            ],
            doing=f"joining {len(parts)} segments with {song}",
        )  # fmt: skip

    if container.audio.fullmatch(sound.audio_codec):
        # A container may hold a codec, and yet not at every rate.
        with suppress(MediaError):
            return write(["-c:a", "copy"])
    write(container.reencode)


def is_made(video: str | os.PathLike, settings: Mapping) -> bool:
    """Whether a video is there that was made with these very settings."""
    try:
        return settings_of(video) == json.loads(json.dumps(settings))
    except MediaError:
        return False


def settings_of(video: str | os.PathLike) -> dict:
    """The settings that made a video, from its metadata or from the JSON file written beside it.

    Raises:
        MediaError: no such file, or none of ours.
    """
    files.require_file(video)
    try:
        if Path(video).suffix == ".json":
            return _object(Path(video).read_text())
        arguments = ["-v", "error", *ffmpeg.SAFE_INPUT, "-show_entries", "format_tags", "-of", "json"]
        tags = json.loads(programs.run(["ffprobe", *arguments, ffmpeg.source(video)], doing=f"reading {video}"))
        comment = {name.lower(): value for name, value in tags["format"].get("tags", {}).items()}["comment"]
        return _object(comment)
    except (KeyError, ValueError, UnicodeError):
        raise MediaError(f"{video}: holds no settings (give a video that visualize.py made, or its .json)") from None


def _object(text: str) -> dict:
    """What a JSON object says."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"a {type(found).__name__} is no object")
    return found
