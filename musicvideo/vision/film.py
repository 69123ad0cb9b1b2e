"""Make the finished picture of a film from the square video, in one FFmpeg process and one encode.

The intro plays the first half second of the video backwards in slow motion under the title, and ends on the
first frame when the music begins. The outro plays the last seconds back and forth until the sound ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil, exp
from pathlib import Path

import numpy as np
from PIL import Image

from musicvideo import excerpt, ffmpeg, files, probe, programs
from musicvideo.decoder import decode_frame
from musicvideo.errors import MediaError
from musicvideo.vision.codecs import BT709, BT709_PICTURES, CODECS
from musicvideo.vision.containers import require_film
from musicvideo.vision.flashes import MOST, SIZE, Flashes, too_many
from musicvideo.vision.framing import LOOKS, MIRRORS, Grade, default_mirror, frame_filters
from musicvideo.vision.title import load_font, title_card, visible

INTRO_SOURCE = Fraction(1, 2)  # seconds of the video that the intro stretches
MAX_FADE = Fraction(3)  # longest fade to black, in seconds
PULSE_ZOOM = 0.06  # share of the picture's width that the strongest beat cuts off at PULSE=1
LARGEST = 8192  # pixels of width or height
RATES = (Fraction(1, 10), 400)  # frames a second of a square video, lowest and highest


OUTRO_MEMORY = 1 << 29  # bytes of frames that the outro may hold; it holds the frames of a leg three times
SAMPLE = 64  # side in pixels of the frame that the title card takes its colours from
FLASH_FRAME = SIZE * SIZE * 3  # bytes of a frame for the flash test
# Threshold of FFmpeg's photosensitivity filter for a film that flashes too often. Its default of 1 leaves a strobe of
# four flashes a second above the limit; 0.5 leaves one flash of them.
CALM = 0.5
MOST_NAMED = 5  # stretches of flashes that a message names
PULSE_DECAY = 0.2  # seconds in which a beat's zoom falls to 1/e


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
    side, rate, shown = square.width, square.frame_rate, Fraction(probe.picture_duration(video))
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

        def encode(calm: bool) -> str:
            """Encode the film. Returns when it flashes too often, in words, or ""."""
            script = Path(work) / "graph.txt"
            graph = filter_graph(
                side=side,
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
            script.write_text(graph, encoding="utf-8")
            command: list[str | os.PathLike] = [
                "ffmpeg", "-v", "error", "-y", "-nostdin",
                *ffmpeg.SAFE_INPUT, *cut, "-i", ffmpeg.source(video),
                *(["-i", ffmpeg.source(card)] if title else []),
                ffmpeg.graph_option(), script,
                "-map", "[film]", *CODECS[codec].arguments(crf), *(["-preset", preset] if preset else []),
                "-pix_fmt", "yuv420p", *BT709, ffmpeg.source(partial),
                "-map", "[small]", "-f", "rawvideo", "-",
            ]  # fmt: skip
            return _flashing(_watched(command, Flashes(width, height, rate), f"finishing {video}", length, progress))

        if where := encode(calm=False):
            if notice:
                notice(f"{video}: flashes more than {MOST} times a second, at {where}: they are softened")
            if where := encode(calm=True):
                lower = "a lower PULSE, or " if pulse else ""
                raise MediaError(
                    f"{video}: the film would flash more than {MOST} times a second (WCAG 2.3.1), at {where}; {lower}"
                    "draw it calmer: MAPPING=classic or pulse, or a lower `strength` of the parts in the conduct table"
                )
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
    filters = [*frame_filters(side, width, height, mirror, LOOKS[look], ()), "setsar=1"]
    with tempfile.TemporaryDirectory(prefix="film-") as work:
        drawn, graph = Path(work) / "square.png", Path(work) / "graph.txt"
        Image.fromarray(square).save(drawn)
        filters = ["[0:v]format=yuv420p", *filters, "format=rgb24[still]"]
        graph.write_text(ffmpeg.join_filters(filters), encoding="utf-8")
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
    picture = frame_filters(side, width, height, mirror, look, [_zoom(beats, rate, wait)] if beats else [])
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
    return ffmpeg.join_filters(
        [
            *timeline,
            *picture,
            f"fade=out:st={_s(length - fade)}:d={_s(fade)}",
            f"trim=end={_s(length)}",
            *([f"photosensitivity=threshold={CALM}"] if calm else []),
            f"setsar=1,format=yuv420p,{BT709_PICTURES},split[film][seen]",
            # Filters may lose what the colours mean, and FFmpeg would guess BT.601.
            f"[seen]scale={SIZE}:{SIZE}:flags=area:in_color_matrix=bt709:in_range=tv,format=rgb24[small]",
        ]
    )


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


def _s(seconds: Fraction) -> str:
    return f"{float(seconds):.6f}"
