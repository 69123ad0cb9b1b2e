"""Decode songs and pictures with FFmpeg, piece by piece, and find out whether they were whole."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import IO

import numpy as np

from musicvideo import probe
from musicvideo.errors import MediaError
from musicvideo.ffmpeg import SAFE_INPUT, seconds, source
from musicvideo.programs import STALL, last_line, piped, run, started

PIECE_FRAMES = 1 << 17  # frames (a sample of each channel) that are yielded at a time
SAMPLE_BYTES = {"pcm_f32le": 4, "pcm_s24le": 3}


def decode(
    song: str | os.PathLike,
    found: probe.Media,
    *,
    codec: str,
    sample_rate: int | None = None,
    channels: int | None = None,
    duration: float | None = None,
    strict: bool = False,
    stream: int = 0,
) -> Iterator[bytes]:
    """Decode the sound of a song; memory does not grow with its length.

    Args:
        song: any audio file, or a video file for its sound.
        found: result of `probe.probe` for it.
        codec: sample format, a key of `SAMPLE_BYTES`.
        sample_rate: Hz; None keeps that of the song.
        channels: None keeps those of the song.
        duration: seconds to decode from the start; None for all.
        strict: refuse any damage. Otherwise damage within `probe.SLACK` of the end is taken for tags or padding. MP3 is
            never refused for junk between its frames, since many intact MP3 files have tags there.
        stream: which of its sounds, from 0.

    Yields:
        Interleaved samples, always whole frames.

    Raises:
        MediaError: no sound in it, cut off or damaged within the time asked for, or FFmpeg hangs.
    """
    own_rate, own_channels = require_sound(song, found)
    lenient = strict and found.audio_codec == "mp3"
    # Only if requested: FFmpeg would remix surround sound to another layout with as many channels.
    converted = [*(["-ar", str(sample_rate)] if sample_rate else []), *(["-ac", str(channels)] if channels else [])]
    command = [
        "ffmpeg", "-v", "error", "-nostdin", *([] if lenient else probe.strictness(found)), *SAFE_INPUT,
        *([] if duration is None else ["-t", repr(float(duration))]), "-i", source(song), "-map", f"0:a:{stream}",
        # Not raw samples: FFmpeg does not check that the times of those are continuous.
        *converted, "-c:a", codec, "-f", "wav", "-",
    ]  # fmt: skip
    frame_bytes, rate, done = SAMPLE_BYTES[codec] * (channels or own_channels), sample_rate or own_rate, 0
    with tempfile.TemporaryFile() as complaints:
        with started(command, stdout=subprocess.PIPE, stderr=complaints) as process:
            pipe = piped(process.stdout)
            _skip_header(pipe, song)
            while piece := _read(pipe, PIECE_FRAMES * frame_bytes, song):
                frames = len(piece) // frame_bytes
                done += frames
                if frames:
                    yield piece[: frames * frame_bytes]
            _wait(process, song)
        failed = process.returncode != 0
        complaints.seek(0)
        complaint = last_line(complaints.read()[-4096:])
    if not done:
        raise MediaError(f"{song}: cannot be decoded: {complaint}")
    probe.require_whole(song, found, done / rate, duration, failed=failed)
    if failed and strict:
        raise MediaError(f"{song}: damaged or cut off at {done / rate:.1f} s: {complaint} (give a whole file)")


def decode_pictures(
    film: str | os.PathLike, *, size: int, fps: Fraction, filters: Sequence[str] = (), folder: str | None = None
) -> Iterator[bytes]:
    """Decode the picture of a film, scaled to a square; memory does not grow with its length.

    Args:
        film: any video file with a picture.
        size: pixels of a side.
        fps: frames a second; frame n is what the film shows at n / fps seconds from its start.
        filters: of FFmpeg, that measure the scaled pictures.
        folder: where they write files without a path; None for the current one.

    Yields:
        One frame at a time: RGB, 8 bit, size * size * 3 bytes.

    Raises:
        MediaError: no picture can be decoded, it is damaged, or FFmpeg hangs.
    """
    graph = [f"fps={fps}:start_time=0", f"scale={size}:{size}:flags=area", "format=rgb24", *filters]
    command = [
        "ffmpeg", "-v", "error", "-nostdin", "-xerror", *SAFE_INPUT, "-i", source(film), "-map", "0:V:0",
        "-vf", ",".join(graph), "-pix_fmt", "rgb24", "-f", "rawvideo", "-",
    ]  # fmt: skip
    done, frame = 0, size * size * 3
    with tempfile.TemporaryFile() as complaints:
        with started(command, stdout=subprocess.PIPE, stderr=complaints, cwd=folder) as process:
            pipe = piped(process.stdout)
            while len(picture := _read(pipe, frame, film)) == frame:
                done += 1
                yield picture
            _wait(process, film)
        complaints.seek(0)
        complaint = last_line(complaints.read()[-4096:])
    if not done:
        raise MediaError(f"{film}: its picture cannot be decoded: {complaint}")
    if process.returncode:
        raise MediaError(f"{film}: damaged or cut off at {float(done / fps):.1f} s: {complaint} (give a whole file)")


def decode_frame(film: str | os.PathLike, time: float, *, width: int, height: int) -> np.ndarray:
    """The frame that a film shows at a time, scaled.

    Args:
        film: any video file with a picture.
        time: in seconds from its start, before the end of its last frame.
        width, height: of the result in pixels.

    Returns:
        uint8 (height, width, 3), RGB.

    Raises:
        MediaError: no picture then, or it cannot be decoded.
    """
    raw = run(
        ["ffmpeg", "-v", "error", "-nostdin", *SAFE_INPUT, "-ss", seconds(time), "-i", source(film), "-map", "0:V:0",
         "-frames:v", "1", "-vf", f"scale={width}:{height}:flags=lanczos+accurate_rnd", "-pix_fmt", "rgb24",
         "-f", "rawvideo", "-"],
        doing=f"reading {film}",
    )  # fmt: skip
    if len(raw) != width * height * 3:
        raise MediaError(f"{film}: no frame can be decoded at {time:.2f} s")
    return np.frombuffer(raw, np.uint8).reshape(height, width, 3)


def require_sound(song: str | os.PathLike, found: probe.Media) -> tuple[int, int]:
    """Sample rate (Hz) and number of channels of a song.

    Raises:
        MediaError: no sound in it.
    """
    if not found.sample_rate or not found.channels:
        raise MediaError(f"{song}: has no sound in it")
    return found.sample_rate, found.channels


def _skip_header(pipe: IO[bytes], song: str | os.PathLike) -> None:
    """Read a WAV header up to the samples, or up to the end of the pipe."""
    _read(pipe, len(b"RIFFsizeWAVE"), song)
    while chunk := _read(pipe, len(b"namesize"), song):
        if chunk.startswith(b"data"):
            return
        _read(pipe, int.from_bytes(chunk[4:], "little"), song)


def _wait(process: subprocess.Popen, path: str | os.PathLike) -> None:
    try:
        process.wait(timeout=STALL)
    except subprocess.TimeoutExpired:
        raise MediaError(f"decoding {path}: ffmpeg hangs: it has not ended for {STALL} s") from None


def _read(pipe: IO[bytes], size: int, song: str | os.PathLike) -> bytes:
    """The next `size` bytes of a pipe; fewer at its end."""
    parts, missing = [], size
    while missing:
        if not select.select([pipe], [], [], STALL)[0]:
            raise MediaError(f"decoding {song}: ffmpeg hangs: it has given nothing for {STALL} s")
        part = os.read(pipe.fileno(), missing)
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
