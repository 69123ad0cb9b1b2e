"""FFmpeg's conventions: safe inputs, names of files, progress, versions."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import cache

from musicvideo.programs import program, run, run_with_progress

# An input may be a playlist, a concat script or a URL under another name, and FFmpeg would follow it to other files
# and hosts. These demuxers read one file and nothing else.
SAFE_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,webm,mov,mp4,mp3,mpeg,mpegts,ogg,tta,w64,wav,wv"
)
SAFE_INPUT = ("-protocol_whitelist", "file,pipe", "-format_whitelist", SAFE_FORMATS)


def source(path: str | os.PathLike) -> str:
    """A path as FFmpeg's `-i` takes it: never an option, a protocol or a pattern, whatever its name."""
    return f"file:{os.path.abspath(path)}"


def seconds(value: float) -> str:
    """Seconds in FFmpeg's notation, to the microsecond; it refuses exponents, as Python prints small numbers."""
    return f"{value:.6f}"


def run_ffmpeg(
    arguments: Sequence[str | os.PathLike], *, doing: str, progress: Callable[[float], None] | None = None
) -> None:
    """Run FFmpeg on an output that may take long.

    Args:
        arguments: after `ffmpeg`; outputs are overwritten.
        doing: what is being done to which file, to begin the message of a failure.
        progress: called now and then with the seconds of output that are written.

    Raises:
        MediaError: as `musicvideo.programs.run`.
    """

    def line(text: str) -> None:
        key, _, value = text.partition("=")
        if progress and key == "out_time_us" and value.lstrip("-").isdigit():
            progress(max(int(value), 0) / 1e6)

    options = ["-v", "error", "-y", "-nostdin", "-nostats", "-progress", "pipe:1"]
    run_with_progress(["ffmpeg", *options, *arguments], doing=doing, line=line)


def ffmpeg_version() -> str:
    """Version of this machine's FFmpeg, such as "5.1.6-0+deb12u1"; nightly builds have a date or a hash."""
    return _version(program("ffmpeg"))


@cache
def _version(path: str) -> str:
    words = run([path, "-version"], doing="asking for the version").decode(errors="replace").split()
    return words[2] if len(words) > 2 else "?"


def graph_option() -> str:
    """Option of this machine's FFmpeg to read a filter graph from a file; it changed with FFmpeg 7."""
    release = re.match(r"n?(\d+)\.", ffmpeg_version())
    return "-filter_complex_script" if release and int(release[1]) < 7 else "-/filter_complex"


def join_filters(filters: Sequence[str]) -> str:
    """Join filters, one a line: a comma continues a chain, and a filter that names its inputs begins another one."""
    text = filters[0]
    for before, after in zip(filters, filters[1:]):
        text += (";" if before.endswith("]") and after.startswith("[") else ",") + "\n" + after
    return text + "\n"
