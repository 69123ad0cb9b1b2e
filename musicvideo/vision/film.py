"""Make the finished picture from the square video, in one FFmpeg process and one encode; merge it with the sound.

The square, or its left half, is joined to its mirror image. Both are mirrored at the outer edges to fill the aspect
ratio. The intro plays the first half second of the video backwards in slow motion under the title, and ends on the
first frame when the music begins. The outro plays the last seconds back and forth until the sound ends.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, exp
from pathlib import Path

import numpy as np
from PIL import Image

from musicvideo import excerpt, ffmpeg, files, probe, programs
from musicvideo.decoder import decode_frame
from musicvideo.errors import MediaError
from musicvideo.vision import record
from musicvideo.vision.codecs import CODECS
from musicvideo.vision.flashes import MOST, SIZE, Flashes, too_many
from musicvideo.vision.title import load_font, title_card, visible

INTRO_SOURCE = Fraction(1, 2)  # seconds of the video that the intro stretches
MAX_FADE = Fraction(3)  # longest fade to black, in seconds
PULSE_ZOOM = 0.06  # share of the picture's width that the strongest beat cuts off at PULSE=1
LARGEST = 8192  # pixels of width or height
RATES = (Fraction(1, 10), 400)  # frames a second of a square video, lowest and highest
PAIR_WIDTH = 512 / 1200  # side of a square of a pair, as a share of the film's width
PAIR_ABOVE = 73 / (73 + 90)  # share of the rows beyond a pair that are above it
SCALER = "flags=lanczos+accurate_rnd"
OUTRO_MEMORY = 1 << 29  # bytes of frames that the outro may hold; it holds the frames of a leg three times
SAMPLE = 64  # side in pixels of the frame that the title card takes its colours from
FLASH_FRAME = SIZE * SIZE * 3  # bytes of a frame for the flash test
# Threshold of FFmpeg's photosensitivity filter for a film that flashes too often. Its default of 1 leaves a strobe of
# four flashes a second above the limit; 0.5 leaves one flash of them.
CALM = 0.5
MOST_NAMED = 5  # stretches of flashes that a message names
PULSE_DECAY = 0.2  # seconds in which a beat's zoom falls to 1/e

COVER_TAGS = ("-metadata:s:t", "mimetype=image/jpeg", "-metadata:s:t", "filename=cover.jpg")  # as players look for it

SOUND_CODECS = {
    ".mkv": ("flac", "-sample_fmt", "s32", "-bits_per_raw_sample", "24"),
    ".mp4": ("aac", "-b:a", "320k", "-movflags", "+faststart"),
}


@dataclass(frozen=True)
class Grade:
    """Filters of a look: a colour grade and grain. {blur} and {shift} are in pixels and scale with the picture."""

    colour: tuple[str, ...] = ()  # before the last mirroring, which makes the result symmetric
    grain: tuple[str, ...] = ()  # after it, since film grain is not symmetric


# Bloom: the picture is screened with its own blurred bright parts, in RGB, where light adds.
BLOOM = (
    "format=gbrp,split[sharp][bright]",
    "[bright]curves=all='0/0 0.45/0 1/1',gblur=sigma={blur}[glow]",
    "[sharp][glow]blend=all_mode=screen:all_opacity=0.7,format=yuv420p",
)
LOOKS = {
    "none": Grade(),
    # Faded blacks, warm lights, cool shadows.
    "vintage": Grade(
        (
            "curves=r='0/0.05 0.5/0.54 1/0.98':g='0/0.03 0.5/0.5 1/0.94':b='0/0.11 0.5/0.46 1/0.82'",
            "eq=saturation=0.85",
            "vignette=PI/6",
        ),
        ("noise=c0s=9:c0f=t+u",),
    ),
    # Black and white, deep shadows, coarse grain.
    "noir": Grade(
        ("eq=saturation=0", "curves=all='0/0 0.2/0.12 0.55/0.68 1/1'", "vignette=PI/5.5"),
        ("noise=c0s=14:c0f=t+u",),
    ),
    # Soft light and colour fringes.
    "dream": Grade((*BLOOM, "chromashift=cbh={shift}:crh=-{shift}", "eq=saturation=1.12")),
}


def finish(
    video: str | os.PathLike,
    sound: str | os.PathLike,
    output: str | os.PathLike,
    *,
    width: int = 1920,
    height: int = 1080,
    title: str = "",
    font: str = "",
    intro: float = 4.0,
    outro: float = 4.0,
    mirror: str = "",
    look: str = "none",
    pulse: float = 0.0,
    beats: Sequence[tuple[float, float]] = (),
    codec: str = "h264",
    crf: int | None = None,
    preset: str | None = None,
    start: float = 0.0,
    duration: float | None = None,
    begin: float = 0.0,
    progress: Callable[[float, float], None] | None = None,
    notice: Callable[[str], object] | None = None,
) -> float:
    """Make the finished picture. It lasts as long as intro and sound together.

    If it would flash more often than `flashes.MOST` times a second, it is made once more, with softened flashes.

    Args:
        video: a square video.
        sound: the mix that will be merged; only its length is used.
        output: the picture, .mkv or .mp4, yuv420p, without sound.
        width, height: of the output in pixels; multiples of 4 and 2, so that each half has whole chroma samples.
        title: text of the title card; "" for none.
        font: a font family; "" takes one that has the letters.
        intro: seconds of slow motion before the music; 0 for none.
        outro: the most seconds at the end of the video that play back and forth until the sound ends, limited to the
            frames that fit into `OUTRO_MEMORY`; 0 holds the last frame.
        mirror: a key of `MIRRORS`; "" chooses by the shape.
        look: a key of `LOOKS`.
        pulse: 0..1, strength of the zoom on each beat.
        beats: (seconds of the song, strength 0..1), in order.
        codec: a key of `musicvideo.vision.codecs.CODECS`.
        crf: quality in the codec's own scale, lower is better; None takes its default.
        preset: the encoder's speed preset, instead of the codec's default.
        start, duration: seconds of the sound at which an excerpt of it begins, and how long it is; None for the rest.
        begin: seconds of the video that are left out; a multiple of its frames.
        progress: called with the seconds of picture that are done, and with the total.
        notice: called with a line for the user if flashes are softened.

    Returns:
        Seconds by which the sound is longer than the video, which the outro fills; if negative, the seconds of video
        that were cut.

    Raises:
        MediaError: an input that is missing, not square, too short, truncated or without frames; a film that flashes
            more often than `flashes.MOST` times a second; and as `check`.
    """
    require_film(output)
    mirror = mirror or default_mirror(width, height)
    check(width=width, height=height, title=title, font=font, mirror=mirror, look=look, pulse=pulse, codec=codec)
    title = visible(title)
    square = probe.probe(video)
    if square.width is None or square.frame_rate is None:
        raise MediaError(f"{video}: has no picture")
    if square.width != square.height or square.width % 2 or square.width < 16:
        raise MediaError(
            f"{video}: is {square.width}x{square.height}; give a square of an even number of pixels, from 16"
        )
    rate, shown = square.frame_rate, Fraction(probe.picture_duration(video))
    if not RATES[0] <= rate <= RATES[1]:
        raise MediaError(
            f"{video}: has {float(rate):g} frames a second; give a video of {float(RATES[0]):g} to {RATES[1]}"
        )
    if not round(shown * rate):
        raise MediaError(f"{video}: has no frames")
    heard = Fraction(excerpt.length(sound, probe.probe(sound).duration, start, duration))
    if square.video_duration and shown < square.video_duration - 0.5:
        raise MediaError(
            f"{video}: breaks off after {float(shown):.1f} of its {square.video_duration:.1f} s; copy or draw it again"
        )
    cut = []
    if begin:
        shown = Fraction(excerpt.length(video, float(shown), begin, float(heard)))
        cut = ["-ss", ffmpeg.seconds(begin), "-t", ffmpeg.seconds(float(shown))]
    if intro and shown < INTRO_SOURCE + 1 / rate:
        raise MediaError(f"{video}: {float(shown):.2f} s is too short for an intro; set INTRO=0")
    length = intro_length(intro, rate) + heard

    with tempfile.TemporaryDirectory(prefix="film-") as work, files.atomic(output) as partial:
        card = Path(work) / "title.png"
        if title:
            title_card(title, font, width, height, decode_frame(video, begin, width=SAMPLE, height=SAMPLE)).save(card)
        for calm in (False, True):
            graph = filter_graph(
                side=square.width,
                rate=rate,
                shown=shown,
                length=length,
                width=width,
                height=height,
                intro=intro,
                outro=outro,
                titled=bool(title),
                mirror=mirror,
                look=LOOKS[look],
                beats=[(time, pulse * strength) for time, strength in beats if pulse],
                calm=calm,
            )
            script = Path(work) / "graph.txt"
            script.write_text(graph, encoding="utf-8")
            command: list[str | os.PathLike] = [
                "ffmpeg",
                *("-v", "error", "-y", "-nostdin"),
                *ffmpeg.SAFE_INPUT,
                *cut,
                "-i",
                ffmpeg.source(video),
                *(["-i", ffmpeg.source(card)] if title else []),
                ffmpeg.graph_option(),
                script,
                "-map",
                "[film]",
                *CODECS[codec].arguments(crf),
                *(["-preset", preset] if preset else []),
                "-pix_fmt",
                "yuv420p",
                "-colorspace",
                "bt709",
                "-color_primaries",
                "bt709",
                "-color_trc",
                "bt709",
                "-color_range",
                "tv",
                ffmpeg.source(partial),
                *("-map", "[small]", "-f", "rawvideo", "-"),
            ]
            seen = _watched(command, Flashes(width, height, rate), f"finishing {video}", length, progress)
            where = _flashing(seen)
            if not where:
                break
            if calm:
                lower = "a lower PULSE, or " if pulse else ""
                raise MediaError(
                    f"{video}: the film would flash more than {MOST} times a second (WCAG 2.3.1), at {where}; {lower}"
                    "draw it calmer: MAPPING=classic or pulse, or a lower `strength` of the parts in the conduct table"
                )
            if notice:
                notice(f"{video}: flashes more than {MOST} times a second, at {where}: they are softened")
    return float(length - intro_length(intro, rate) - shown)


def still(
    square: np.ndarray | tuple[str | os.PathLike, float],
    output: str | os.PathLike,
    *,
    width: int,
    height: int,
    title: str = "",
    font: str = "",
    mirror: str = "",
    look: str = "none",
) -> None:
    """Make one picture of a film, with the title.

    Args:
        square: what is mirrored: uint8 (side, side, 3); or a square video and the seconds at which its frame is taken,
            the last one if they lie beyond its end.
        output: the picture, .png or .jpg.
        width, height, title, font, mirror, look: as of `finish`.

    Raises:
        MediaError: as `check`, no square, or a picture in another format.
    """
    mirror = mirror or default_mirror(width, height)
    check(width=width, height=height, title=title, font=font, mirror=mirror, look=look)
    if not isinstance(square, np.ndarray):
        video, time = square
        found = probe.probe(video)
        if found.width is None or found.width != found.height or found.frame_rate is None:
            raise MediaError(f"{video}: is no square video")
        time = max(0.0, min(time, probe.picture_duration(video) - float(1 / found.frame_rate)))
        square = decode_frame(video, time, width=found.width, height=found.width)
    title, side = visible(title), len(square)
    filters = [*framing(side, width, height, mirror, LOOKS[look], ()), "setsar=1"]
    with tempfile.TemporaryDirectory(prefix="film-") as work:
        drawn, graph = Path(work) / "square.png", Path(work) / "graph.txt"
        Image.fromarray(square).save(drawn)
        graph.write_text(_join(["[0:v]format=yuv420p", *filters, "format=rgb24[still]"]), encoding="utf-8")
        raw = programs.run(
            ["ffmpeg", "-v", "error", "-i", ffmpeg.source(drawn), ffmpeg.graph_option(), graph, "-map", "[still]",
             "-f", "rawvideo", "-"],
            doing=f"drawing {output}",
        )  # fmt: skip
    picture = Image.fromarray(np.frombuffer(raw, np.uint8).reshape(height, width, 3))
    if title:
        card = title_card(title, font, width, height, np.asarray(Image.fromarray(square).resize((SAMPLE, SAMPLE))))
        picture.paste(card, mask=card)
    try:
        with files.atomic(output) as partial:
            picture.save(partial, quality=90)
    except ValueError:
        raise MediaError(f"{output}: a picture is a .png or a .jpg") from None


def _watched(
    command: Sequence[str | os.PathLike],
    seen: Flashes,
    doing: str,
    length: Fraction,
    progress: Callable[[float, float], None] | None,
) -> Flashes:
    """Run FFmpeg and count the flashes of the frames that it writes to its standard output; `length` is in seconds."""
    frames = bytearray()

    def take(data: bytes) -> None:
        frames.extend(data)
        while len(frames) >= FLASH_FRAME:
            seen.add(np.frombuffer(bytes(frames[:FLASH_FRAME]), np.uint8).reshape(SIZE, SIZE, 3))
            del frames[:FLASH_FRAME]
        if progress:
            progress(min(float(len(seen.general) / seen.fps), float(length)), float(length))

    programs.run_with_output(command, doing=doing, take=take)
    return seen


def _flashing(seen: Flashes) -> str:
    """When a film flashes too often, in words; "" if it never does."""
    stretches = sorted({*too_many(seen.general, seen.fps), *too_many(seen.red, seen.fps)})
    where = ", ".join(f"{begin:.1f} to {end:.1f} s" for begin, end in stretches[:MOST_NAMED])
    more = f" and {len(stretches) - MOST_NAMED} more times" if len(stretches) > MOST_NAMED else ""
    return where + more


def check(
    *,
    width: int = 1920,
    height: int = 1080,
    title: str = "",
    font: str = "",
    mirror: str = "",
    look: str = "none",
    pulse: float = 0.0,
    codec: str = "h264",
) -> None:
    """Check settings of `finish`, which documents them, without a video.

    Raises:
        MediaError: an impossible size, an unknown mirror, look or font, an encoder that does not work on this machine.
    """
    if width % 4 or height % 2 or not 16 <= min(width, height) <= max(width, height) <= LARGEST:
        raise MediaError(
            f"WIDTH x HEIGHT = {width}x{height}: WIDTH must be a multiple of 4, HEIGHT of 2, both from 16 to {LARGEST}"
        )
    if max(width, height) > 3 * min(width, height):
        raise MediaError(f"WIDTH x HEIGHT = {width}x{height}: mirrors fill at most 3:1")
    mirror = mirror or default_mirror(width, height)
    if mirror not in MIRRORS:
        raise MediaError(f"MIRROR={mirror}: unknown (choose {', '.join(MIRRORS)})")
    MIRRORS[mirror](16, width, height, ())
    if look not in LOOKS:
        raise MediaError(f"LOOK={look}: unknown (choose {', '.join(LOOKS)})")
    if not 0 <= pulse <= 1:
        raise MediaError(f"PULSE={pulse}: is not within 0..1")
    if visible(title):
        load_font(font, visible(title), 16)
    if codec not in CODECS:
        raise MediaError(f"ENCODER={codec}: unknown (choose {', '.join(CODECS)})")
    CODECS[codec].require(width, height)


def intro_length(intro: float, rate: Fraction) -> Fraction:
    """Seconds from the start of the film to the start of the sound: `intro`, rounded to whole frames."""
    return round(Fraction(intro) * rate) / rate


def filter_graph(
    *,
    side: int,
    rate: Fraction,
    shown: Fraction,
    length: Fraction,
    width: int,
    height: int,
    intro: float,
    outro: float,
    titled: bool,
    mirror: str,
    look: Grade,
    beats: Sequence[tuple[float, float]],
    calm: bool = False,
) -> str:
    """Build FFmpeg's filter graph, one filter a line.

    Args:
        side: of the square, in pixels.
        rate: frames a second.
        shown: seconds of the square video.
        length: seconds of the finished picture.
        width, height: of the finished picture in pixels.
        intro, outro: as in `finish`.
        titled: whether input 1 is a title card, laid over the opening.
        mirror: a key of `MIRRORS`.
        look: filters of the look.
        beats: (seconds of the song, strength 0..1) of each zoom.
        calm: soften flashes.

    Returns:
        Text of a graph that reads [0:v] (and [1:v]) and writes [film], and [small], its frames as `Flashes` takes them.
    """
    wait = intro_length(intro, rate)
    tail = max(length - wait - shown, Fraction(0))
    timeline = _timeline(side, rate, shown, wait, tail, outro)
    picture = framing(side, width, height, mirror, look, [_zoom(beats, rate, wait)] if beats else [])
    if wait:
        picture.append(f"fade=in:d={_s(min(wait, Fraction(1)))}")
    if titled:
        # The card fades in after the picture, and is gone a second after the music begins.
        leaves = max(wait, Fraction(3))
        picture += [
            "null[untitled]",
            # `loop` repeats the converted card, so it is decoded and converted once.
            f"[1:v]format=yuva420p,loop=loop=-1:size=1,{_on_grid(rate)}",
            f"fade=in:st=0.5:d=1.2:alpha=1,fade=out:st={_s(leaves)}:d=1:alpha=1",
            f"trim=end={_s(leaves + 1)}[card]",
            "[untitled][card]overlay=eof_action=pass:format=yuv420",
        ]
    fade = min(MAX_FADE, length / 4)
    return _join(
        [
            *timeline,
            *picture,
            f"fade=out:st={_s(length - fade)}:d={_s(fade)}",
            f"trim=end={_s(length)}",
            *([f"photosensitivity=threshold={CALM}"] if calm else []),
            "setsar=1,format=yuv420p,split[film][seen]",
            f"[seen]scale={SIZE}:{SIZE}:flags=area,format=rgb24[small]",
        ]
    )


def framing(side: int, width: int, height: int, mirror: str, look: Grade, zoom: Sequence[str]) -> list[str]:
    """Filters that make frames of a film from squares: mirrored, scaled and graded; arguments as of `filter_graph`."""
    picture = [
        *MIRRORS[mirror](side, width, height, zoom),
        *(line.format(blur=f"{height / 45:.1f}", shift=max(1, round(width / 640))) for line in look.colour),
    ]
    if mirror != "pair" or zoom or look.colour:
        # Filters that scale or grade round the two halves differently. Mirroring again makes the symmetry exact.
        picture += [
            "crop=iw/2:ih:0:0,split[left_scaled][mirrored_scaled]",
            "[mirrored_scaled]hflip[right_scaled]",
            "[left_scaled][right_scaled]hstack",
        ]
    return [*picture, *look.grain]


def mirrored_half(side: int, width: int, height: int, zoom: Sequence[str]) -> list[str]:
    """Filters that join the left half of a square to its mirror image, and mirror both at the outer edges.

    Args:
        side: of the square in pixels, even.
        width, height: of the picture in pixels, multiples of 4 and 2.
        zoom: filters applied before the mirror.
    """
    # Chroma is subsampled by two: with even borders, halves and borders mirror exactly.
    half = side // 4 * 2
    border_x = 2 * round(side * (width / height - 1) / 4) if width > height else 0
    border_y = 2 * round(side * (height / width - 1) / 4) if height > width else 0
    return [
        *zoom,
        f"crop={half}:ih:0:0,split[left][mirrored]",
        "[mirrored]hflip[right]",
        "[left][right]hstack",
        *_mirrored_edges((border_x, border_x), (border_y, border_y)),
        f"scale={width}:{height}:{SCALER}",
    ]


def mirrored_pair(side: int, width: int, height: int, zoom: Sequence[str]) -> list[str]:
    """Filters that join a whole square to its mirror image, and mirror both at the outer edges.

    Arguments as of `mirrored_half`, but `zoom` is applied to the pair. A square of `pair_side` is not scaled.

    Raises:
        MediaError: a shape whose borders would be wider than the square that they mirror.
    """
    shown = pair_side(width, height)
    border_x, rows = width // 2 - shown, height - shown
    above = 2 * round(PAIR_ABOVE * rows / 2)
    if shown < 16 or max(border_x, above, rows - above) >= shown:
        raise MediaError(f"MIRROR=pair: {width}x{height} leaves it no room (choose MIRROR=half, or a wider film)")
    return [
        *([f"scale={shown}:{shown}:{SCALER}"] if shown != side else []),
        "format=yuv420p,split[left][mirrored]",
        "[mirrored]hflip[right]",
        "[left][right]hstack",
        *zoom,
        *_mirrored_edges((border_x, border_x), (above, rows - above)),
    ]


def pair_side(width: int, height: int) -> int:
    """Side in pixels of each square of `mirrored_pair`: even, at most the height, with the author's proportions."""
    return min(2 * round(PAIR_WIDTH * width / 2), height)


def _mirrored_edges(columns: tuple[int, int], rows: tuple[int, int]) -> list[str]:
    """Filters that add mirrored borders to a picture: columns left and right, rows above and below."""
    (left, right), (top, bottom) = columns, rows
    return [
        f"pad=iw+{left + right}:ih+{top + bottom}:{left}:{top}",
        f"fillborders={left}:{right}:{top}:{bottom}:mirror",
    ]


# How a square becomes a picture of any shape. To add one, write a function with the same arguments.
MIRRORS = {"pair": mirrored_pair, "half": mirrored_half}


def default_mirror(width: int, height: int) -> str:
    """The pair for landscape films; others are too narrow for it."""
    return "pair" if width > height else "half"


def _timeline(side: int, rate: Fraction, shown: Fraction, wait: Fraction, tail: Fraction, outro: float) -> list[str]:
    """Filters that play intro, whole video and outro in sequence, at a constant rate."""
    frames = round(shown * rate)
    filters = [f"[0:v]fps={rate}", _on_grid(rate)]
    if wait:
        used = max(1, round(INTRO_SOURCE * rate)) + 1
        stretch = max(Fraction(1), wait * rate - 1) / (
            used - 1
        )  # its last frame is the video's first and is shown once
        filters += [
            "split[opening][whole]",
            f"[opening]trim=end_frame={used}",
            f"reverse,setpts={_s(stretch)}*PTS",
            f"framerate={rate}:interp_start=0:interp_end=255:scene=100",
            f"{_on_grid(rate)},tpad=stop_mode=clone:stop=-1,trim=end_frame={round(wait * rate)}[intro]",
            "[intro][whole]concat",
            _on_grid(rate),
        ]
    # A leg is reversed in memory, so it is limited to what is shown and to what fits into memory.
    room = OUTRO_MEMORY // (3 * side * side * 3 // 2)
    leg = min(round(Fraction(outro) * rate), frames, max(1, ceil(tail * rate)), max(1, room))
    if tail and leg:
        before = frames - leg + round(wait * rate)
        filters += [
            "split[so_far][end]",
            f"[end]trim=start_frame={before},{_on_grid(rate)},split[forth][turned]",
            f"[turned]reverse,{_on_grid(rate)}[back]",
            "[back][forth]concat",
            f"{_on_grid(rate)},loop=loop=-1:size={2 * leg}",
            f"{_on_grid(rate)},trim=end_frame={ceil(tail * rate) + 1}[outro]",
            "[so_far][outro]concat",
            _on_grid(rate),
        ]
    elif tail:
        filters.append("tpad=stop_mode=clone:stop=-1")
    return filters


def _zoom(beats: Sequence[tuple[float, float]], rate: Fraction, wait: Fraction) -> str:
    """A filter that zooms towards the middle on each beat and back.

    The zoom decays exponentially after a beat. What remains of it at the next beat is part of that beat's level, so
    each frame needs one term. The expression is a search tree, since FFmpeg evaluates it for every frame.
    """
    terms, level, last = [], 0.0, 0
    for time, strength in beats:
        frame = round((Fraction(time) + wait) * rate) + 1  # the filter counts from 1
        level = max(strength, level * exp(-float((frame - last) / rate) / PULSE_DECAY))
        terms.append((frame, level))
        last = frame

    def tree(terms: Sequence[tuple[int, float]]) -> str:
        if len(terms) == 1:
            frame, level = terms[0]
            return f"gte(in,{frame})*{PULSE_ZOOM * level:.5f}*exp(min(0,({frame}-in)/{float(rate) * PULSE_DECAY:.3f}))"
        middle = len(terms) // 2
        return f"if(lt(in,{terms[middle][0]}),{tree(terms[:middle])},{tree(terms[middle:])})"

    shown = f"(1-{tree(terms)})/2"
    corners = ":".join(
        f"x{corner}='W/2{x}W*{shown}':y{corner}='H/2{y}H*{shown}'"
        for corner, (x, y) in enumerate([("-", "-"), ("+", "-"), ("-", "+"), ("+", "+")])
    )
    return f"perspective={corners}:interpolation=cubic:sense=source:eval=frame"


def _on_grid(rate: Fraction) -> str:
    """Filters that renumber the frames 0, 1, 2 at exactly `rate`, regardless of their time stamps."""
    return f"settb=1/({rate}),setpts=N"


def _join(filters: list[str]) -> str:
    """Join filters, one a line: a comma continues a chain, and a filter that names its inputs begins another one."""
    text = filters[0]
    for before, after in zip(filters, filters[1:]):
        text += (";" if before.endswith("]") and after.startswith("[") else ",") + "\n" + after
    return text + "\n"


def _s(seconds: Fraction) -> str:
    return f"{float(seconds):.6f}"


@dataclass(frozen=True)
class Stream:
    """A sound stream of a film."""

    sound: str | os.PathLike
    title: str = ""


def merge(
    picture: str | os.PathLike,
    streams: Sequence[Stream],
    output: str | os.PathLike,
    *,
    intro: float = 4.0,
    start: float = 0.0,
    duration: float | None = None,
    tags: Mapping[str, str] | None = None,
    cover: str | os.PathLike | None = None,
    chapters: Sequence[tuple[float, str]] = (),
) -> float:
    """Put picture and sounds into one film. The picture is copied, and the sounds start when the intro ends.

    Args:
        picture: what `finish` made.
        streams: the mixes, of one length; the first is played by default. A .mp4 takes only that one.
        output: a .mkv gets FLAC, a .mp4 AAC at 320 kbit/s.
        intro: seconds of picture before the music.
        start, duration: as of `finish`; where the excerpt begins or ends within the music, it is faded in or out.
        tags: written into the file, by FFmpeg's names: title, artist, ...
        cover: a .jpg that is attached to a .mkv.
        chapters: (seconds of the music, name) where each begins, in order.

    Returns:
        Seconds of sound that were cut off at the picture's end; if negative, seconds of silence that were added.

    Raises:
        MediaError: a missing input, an unsupported container, or lengths that differ by more than half a second.
    """
    require_film(output)
    suffix, sound = Path(output).suffix, streams[0].sound
    if suffix == ".mp4":
        streams, cover = streams[:1], None
    film = probe.probe(picture)
    if film.frame_rate is None:
        raise MediaError(f"{picture}: has no picture")
    if probe.picture_duration(picture) < film.duration - 0.5:
        raise MediaError(f"{picture}: is damaged or cut off; delete it and make the picture again (make video)")
    wait = intro_length(intro, film.frame_rate)
    whole = probe.probe(sound).duration
    heard = excerpt.length(sound, whole, start, duration)
    difference = float(wait) + heard - film.duration
    if abs(difference) > 0.5:
        longer = "longer" if difference > 0 else "shorter"
        raise MediaError(
            f"{sound}: is {abs(difference):.1f} s {longer} than {picture} with its intro; "
            f"make the picture again (make video)"
        )
    for stream in streams:
        files.require_file(stream.sound)
    with tempfile.TemporaryDirectory(prefix="film-") as work, files.atomic(output) as partial:
        notes = Path(work) / "metadata.txt"
        marks = _within(chapters, start, heard)
        notes.write_text(
            _metadata(
                {**(tags or {}), **_settings(picture)},
                [(time + float(wait), name) for time, name in marks],
                film.duration,
            ),
            encoding="utf-8",
        )
        ffmpeg.run_ffmpeg(
            [
                *ffmpeg.SAFE_INPUT,
                "-i",
                ffmpeg.source(picture),
                *(word for each in streams for word in (*ffmpeg.SAFE_INPUT, "-i", ffmpeg.source(each.sound))),
                "-f",
                "ffmetadata",
                "-i",
                ffmpeg.source(notes),
                *([] if cover is None else ["-attach", ffmpeg.source(files.require_file(cover))]),
                "-map",
                "0:v",
                *(word for number in range(len(streams)) for word in ("-map", f"{number + 1}:a")),
                "-map_metadata",
                str(len(streams) + 1),
                "-map_chapters",
                str(len(streams) + 1),
                "-c:v",
                "copy",
                "-disposition:v",
                "default",
                "-af",
                ",".join(
                    [
                        *excerpt.filters(start, heard, whole),
                        f"adelay={float(wait * 1000):.6f}:all=1,apad,atrim=end={film.duration:.6f}",
                    ]
                ),
                "-c:a",
                *SOUND_CODECS[suffix],
                *(
                    word
                    for number, each in enumerate(streams)
                    for word in (
                        *(f"-metadata:s:a:{number}", f"title={each.title}"),
                        *(f"-disposition:a:{number}", "0" if number else "default"),
                    )
                ),
                *([] if cover is None else COVER_TAGS),
                ffmpeg.source(partial),
            ],
            doing=f"merging {picture} and {sound}",
        )
    return difference


def _within(chapters: Sequence[tuple[float, str]], start: float, length: float) -> list[tuple[float, str]]:
    """The chapters of an excerpt, by its own time; it may begin within one."""
    begun = [name for time, name in chapters if time <= start]
    later = [(time - start, name) for time, name in chapters if start < time < start + length]
    return [*((0.0, name) for name in begun[-1:]), *later]


def require_film(path: str | os.PathLike) -> None:
    """Raise MediaError unless a path has the suffix of a film."""
    if Path(path).suffix not in SOUND_CODECS:
        raise MediaError(f"{path}: a film is a {' or a '.join(SOUND_CODECS)}")


def _settings(picture: str | os.PathLike) -> dict[str, str]:
    """The tag with the record of the drawing that a picture carries, as JSON; empty if it has none.

    Of absolute paths only the name stays: a film is given to other people.
    """
    try:
        found = record.read(picture)
    except MediaError:
        return {}
    names = {key: Path(value).name for key, value in found.items() if isinstance(value, str) and os.path.isabs(value)}
    return {"comment": json.dumps({**found, **names})}


def _metadata(tags: Mapping[str, str], chapters: Sequence[tuple[float, str]], duration: float) -> str:
    """Tags and chapters in FFmpeg's metadata format. The first chapter includes the intro."""

    def escaped(text: str) -> str:
        return re.sub(r"([=;#\\\n])", r"\\\1", text)

    lines = [";FFMETADATA1", *(f"{name}={escaped(visible(text))}" for name, text in tags.items())]
    chapters = [chapter for chapter in chapters if chapter[0] < duration]
    starts = [0.0, *(time for time, _ in chapters[1:])]
    for start, end, (_, name) in zip(starts, [*starts[1:], duration], chapters):
        lines += [
            "[CHAPTER]",
            "TIMEBASE=1/1000",
            f"START={start * 1000:.0f}",
            f"END={end * 1000:.0f}",
            f"title={escaped(name)}",
        ]
    return "\n".join(lines) + "\n"
