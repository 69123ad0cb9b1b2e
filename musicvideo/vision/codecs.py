"""The video encoders of FFmpeg that this program uses, and their options."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache

from musicvideo import programs
from musicvideo.errors import MediaError


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg and its options."""

    encoder: str
    quality: str = ""  # the option that takes the quality
    crf: int | None = None  # default quality
    worst: int | None = None  # the quality's range is 0..worst
    options: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()  # options that limit it to {} threads
    alpha: str | None = None  # FFmpeg's name of the pixels that it encodes with an alpha plane

    def arguments(self, crf: int | None = None, threads: int | None = None) -> list[str]:
        """Options for FFmpeg.

        Args:
            crf: quality in the codec's own scale; None takes the default.
            threads: the most it may use; None for no limit.
        """
        return [
            "-c:v", self.encoder, *self.options,
            *([self.quality, str(self.crf if crf is None else crf)] if self.quality else []),
            *([part.format(threads) for part in self.threads] if threads else []),
        ]  # fmt: skip

    @cache  # noqa: B019 - codecs live as long as the process
    def require(self, width: int = 256, height: int = 256) -> None:
        """Raise MediaError unless this machine's FFmpeg has the encoder, and opens it for so many pixels.

        An encoder that takes an alpha plane is tried with one.
        """
        # FFmpeg also lists encoders of hardware that is absent.
        trial = ["-f", "lavfi", "-i", f"color=s={width}x{height}", "-frames:v", "1"]
        trial += ["-pix_fmt", self.alpha or "yuv420p"]
        tried = programs.completed_run(
            ["ffmpeg", "-v", "error", *trial, *self.arguments(), "-f", "null", "-"], doing="trying an encoder"
        )
        if not tried.returncode:
            return
        remedy = "choose another, such as h264, which needs no hardware"
        known = programs.run(["ffmpeg", "-v", "error", "-encoders"], doing="asking for encoders").decode()
        if not re.search(rf"\b{self.encoder}\b", known):
            raise MediaError(f"codec: the ffmpeg on this machine has no {self.encoder} ({remedy})")
        raise MediaError(f"codec: {self.encoder} does not work on this machine, for {width}x{height} pixels ({remedy})")


# FFmpeg 5 takes from the options what colours mean, but for ProRes. FFmpeg 9 takes it from the pictures, and where only
# the options say it, converts the colours.
BT709_PICTURES = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"
BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")

_X264_FILM = ":".join(
    ["psy=0", "aq-strength=0.2", "trellis=0", "partitions=i8x8,i4x4", "me=dia", "subme=1", "b-adapt=0", "weightp=0",
     "rc-lookahead=5", "deblock=1,1"]
)  # fmt: skip
_THREADS = ("-threads", "{}")
_NVENC = ("-preset", "p5", "-rc", "vbr", "-b:v", "0")
CODECS = {
    # Chosen by measurement, see benchmarks/README.md. At this preset psy only affects the quality of chroma. Weaker
    # adaptive quantisation gains more PSNR than trellis, inter partitions and finer motion do, which take more than
    # half of the time. B-frames at fixed places need no search; a look-ahead of five frames gives the smaller films.
    "h264": Codec(
        "libx264",
        "-crf",
        16,
        51,
        ("-preset", "veryfast", "-x264-params", _X264_FILM),
        _THREADS,
    ),
    "hevc": Codec(
        "libx265",
        "-crf",
        20,
        51,
        ("-preset", "medium", "-x265-params", "log-level=error"),
        ("-x265-params", "log-level=error:pools={}:frame-threads=1"),
    ),
    "av1": Codec("libsvtav1", "-crf", 24, 63, ("-preset", "8"), ("-svtav1-params", "lp={}")),
    "vp9": Codec("libvpx-vp9", "-crf", 24, 63, ("-b:v", "0", "-cpu-used", "3", "-row-mt", "1"), _THREADS, "yuva420p"),
    "ffv1": Codec("ffv1", options=("-level", "3", "-slices", "4"), threads=_THREADS),
    "h264_nvenc": Codec("h264_nvenc", "-cq", 19, 51, _NVENC),
    "hevc_nvenc": Codec("hevc_nvenc", "-cq", 21, 51, _NVENC),
    "av1_nvenc": Codec("av1_nvenc", "-cq", 24, 51, _NVENC),
    "h264_qsv": Codec("h264_qsv", "-global_quality", 19, 51),
    "hevc_qsv": Codec("hevc_qsv", "-global_quality", 21, 51),
    "h264_videotoolbox": Codec("h264_videotoolbox", "-q:v", 70, 100),  # here higher is better
    "hevc_videotoolbox": Codec("hevc_videotoolbox", "-q:v", 65, 100),
}
# For square videos. The film encodes them once more, so they have a higher quality and larger files, in less time.
# ProRes is for other programs, which take transparency in this form.
DRAWING = {
    **CODECS,
    "h264": replace(CODECS["h264"], crf=14, options=("-preset", "superfast", "-x264-params", "psy=0:aq-strength=0.4")),
    "prores": Codec("prores_ks", "-q:v", 4, 64, ("-profile:v", "4444", "-vendor", "apl0"), _THREADS, "yuva444p10le"),
}
