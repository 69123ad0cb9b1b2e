"""What each container can hold. Picture and sound encodings are tried before drawing starts."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from musicvideo import ffmpeg, probe, programs
from musicvideo.errors import DiskFull, MediaError
from musicvideo.vision.codecs import CODECS, DRAWING
from musicvideo.vision.settings import RATES, SIZES

TRIAL = 0.5  # seconds of sound in the trial


@dataclass(frozen=True)
class Container:
    """What a file of this suffix can hold."""

    codecs: tuple[str, ...]  # codec families, the default first
    audio: re.Pattern  # FFmpeg's names of the audio codecs that are copied without encoding
    reencode: tuple[str, ...]  # FFmpeg options for all other audio
    alpha: str | None = None  # codec of transparent pictures that other programs take in it


# The encoders either refuse other channel layouts or write them in a form that few players support.
_LAYOUTS = ("-af", "aformat=channel_layouts=mono|stereo|5.1|7.1")
# At this rate the fast coder is 11 dB nearer to the sound than the default one.
_AAC_320 = ("aac", "-aac_coder", "fast", "-b:a", "320k")
_AAC = (*_LAYOUTS, "-c:a", *_AAC_320)
_OPUS = (*_LAYOUTS, "-c:a", "libopus", "-b:a", "256k")
_COPY = ("-c:a", "copy")
CONTAINERS = {
    ".mp4": Container(("h264", "hevc", "av1", "vp9"), re.compile("aac|mp3|ac3|eac3|alac|opus"), _AAC),
    ".mov": Container(("h264", "hevc"), re.compile("aac|mp3|ac3|alac|pcm_[sf](16|24|32)[bl]e"), _AAC, "prores"),
    ".mkv": Container(("h264", "hevc", "av1", "vp9", "ffv1"), re.compile(".*"), _AAC),
    ".webm": Container(("vp9", "av1"), re.compile("opus|vorbis"), _OPUS, "vp9"),
}
# Containers of films, and how the mixes are encoded in them.
FILM_SOUND = {
    ".mkv": ("flac", "-sample_fmt", "s32", "-bits_per_raw_sample", "24"),
    ".mp4": (*_AAC_320, "-movflags", "+faststart"),
}


def container(output: str | os.PathLike) -> Container:
    """The container for the suffix of a video file.

    Raises:
        ValueError: no container has this suffix.
    """
    suffix = Path(output).suffix.lower()
    if suffix not in CONTAINERS:
        raise ValueError(f"output_file: {output} must end in one of {' '.join(CONTAINERS)}")
    return CONTAINERS[suffix]


SEGMENTS = "nut"  # FFmpeg's format of segments; it holds every codec, and any frame rate exactly
# It loses VP9's alpha plane. Matroska rounds times to milliseconds, as WebM does.
TRANSPARENT_SEGMENTS = {"vp9": "matroska"}


@dataclass(frozen=True)
class Encoding:
    """How pictures are encoded as a video stream; made by `encoding`."""

    fps: Fraction  # frames a second
    codec: str  # key of DRAWING
    crf: int | None  # quality in the codec's own scale
    size: int  # height and width in pixels
    alpha: bool = False  # whether the pictures have an alpha channel

    @property
    def segments(self) -> str:
        """FFmpeg's format of the segments."""
        return TRANSPARENT_SEGMENTS.get(self.codec, SEGMENTS) if self.alpha else SEGMENTS


def encoding(
    output: str | os.PathLike,
    *,
    fps: Fraction,
    size: int,
    codec: str | None = None,
    crf: int | None = None,
    alpha: bool = False,
) -> Encoding:
    """Choose the encoding of a video file and check that its container and this machine's FFmpeg support it.

    Args:
        output: the video; its suffix determines the container.
        fps: frames a second, in `RATES`.
        size: height and width in pixels, even, in `SIZES`.
        codec: a key of `CODECS`; None takes the container's default.
        crf: quality in the codec's own scale, lower is better; None takes its default.
        alpha: whether the pictures have an alpha channel.

    Raises:
        ValueError: an impossible setting; the message names parameter, value and choices.
        MediaError: this machine lacks the encoder, or the encoder does not support the size.
    """
    holds, suffix = container(output), Path(output).suffix
    families = holds.codecs
    if alpha:
        if holds.alpha is None:
            able = " or ".join(name for name, other in CONTAINERS.items() if other.alpha)
            raise ValueError(f"background: {output} cannot be transparent (name it {able}, or give --background drawn)")
        if codec not in (None, holds.alpha):
            raise ValueError(f"codec: a transparent {suffix} holds {holds.alpha}, not {codec} (leave out --codec)")
        families = (holds.alpha,)
    codec = codec or families[0]
    if not alpha and codec not in CODECS:
        raise ValueError(f"codec: unknown {codec!r} (choose from {', '.join(CODECS)})")
    if codec.partition("_")[0] not in families:
        raise ValueError(f"codec: {suffix} cannot hold {codec} (it holds {', '.join(families)}; .mkv holds all)")
    if not RATES[0] <= fps <= RATES[1]:
        raise ValueError(f"fps: {float(fps):g} is not in {RATES[0]}..{RATES[1]} (give --fps)")
    if size % 2 or not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(
            f"output_size: a video of {size}x{size} pixels cannot be encoded (even numbers, {SIZES[0]}..{SIZES[1]})"
        )
    chosen = DRAWING[codec]
    if crf is None:
        crf = chosen.crf
    elif chosen.worst is None:
        raise ValueError(f"crf: {codec} is lossless and has no quality to choose")
    elif not 0 <= crf <= chosen.worst:
        raise ValueError(f"crf: {crf} is not in 0..{chosen.worst}")
    chosen.require(size, size)
    return Encoding(fps, codec, crf, size, alpha)


def require_film(path: str | os.PathLike) -> None:
    """Raise MediaError unless a path has the suffix of a film."""
    if Path(path).suffix not in FILM_SOUND:
        raise MediaError(f"{path}: a film is a {' or a '.join(FILM_SOUND)}")


@dataclass(frozen=True)
class Soundtrack:
    """The sound stream of a video; made by `soundtrack`."""

    song: Path
    start: float  # seconds from the start of its file to its first sound
    options: tuple[str, ...]  # FFmpeg options for the stream
    begin: float = 0.0  # seconds of the song that are left out


def soundtrack(song: str | os.PathLike, output: str | os.PathLike, begin: float = 0.0) -> Soundtrack:
    """Choose how a song becomes the sound of a video: copied if the container can hold it, else encoded.

    Each way is tried on the first half second, since a container may support a codec but not every sample rate or
    channel count.

    Args:
        song: any audio file.
        output: the video; its suffix determines the container.
        begin: seconds of the song that are left out. Sound is then encoded, since packets begin elsewhere.

    Raises:
        ValueError: no container has the output's suffix.
        MediaError: the song has no sound, the container cannot hold it either way, or FFmpeg was killed or hangs.
    """
    holds = container(output)
    found = probe.probe(song)
    if found.audio_codec is None:
        raise MediaError(f"{song}: has no sound in it")
    copied = [_COPY] if holds.audio.fullmatch(found.audio_codec) and not begin else []
    doing = f"trying the sound of {song}"
    with tempfile.TemporaryDirectory(prefix="sound-") as folder:
        trial = Path(folder) / f"trial{Path(output).suffix.lower()}"
        for options in (*copied, holds.reencode):
            tried = programs.completed_run(
                ["ffmpeg", "-v", "error", "-y", *ffmpeg.SAFE_INPUT, "-t", ffmpeg.seconds(found.audio_start + TRIAL),
                 "-i", ffmpeg.source(song), "-map", "0:a:0", *options, ffmpeg.source(trial)],
                doing=doing,
            )  # fmt: skip
            try:
                programs.require_success("ffmpeg", doing, tried.returncode, tried.stderr)
            except DiskFull:
                raise
            except MediaError as error:
                if tried.returncode < 0:  # killed, which says nothing about the container
                    raise
                refused = error
            else:
                return Soundtrack(Path(song), found.audio_start, options, begin)
    raise MediaError(
        f"{song}: {Path(output).suffix} cannot hold its sound, {found.channels} channels of "
        f"{found.audio_codec} (mix it down to two channels; {refused})"
    )
