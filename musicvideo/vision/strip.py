"""Draw frames of a film, evenly spaced in time, on one page."""

from __future__ import annotations

import os

from PIL import Image, ImageDraw, ImageFont

from musicvideo import files, probe
from musicvideo.decoder import decode_frame
from musicvideo.errors import MediaError

GAP = 4  # pixels between the frames on the page


def strip(
    film: str | os.PathLike, output: str | os.PathLike, *, columns: int = 4, rows: int = 4, width: int = 1600
) -> None:
    """Draw `columns` x `rows` frames of a film, each labelled with its time.

    Args:
        film: a video.
        output: a picture, .jpg or .png.
        columns, rows: how many frames side by side, and one above the other.
        width: of the page in pixels.

    Raises:
        MediaError: the film has no picture, or the output is in another format.
    """
    found = probe.probe(film)
    if not found.width or not found.height or found.frame_rate is None:
        raise MediaError(f"{film}: has no picture")
    length = probe.picture_duration(film)
    cell = (width - GAP * (columns - 1)) // columns
    height = round(cell * found.height / found.width)
    page = Image.new("RGB", (width, rows * (height + GAP) - GAP))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(cell / 18)
    for number in range(columns * rows):
        time = (number + 0.5) * length / (columns * rows)
        corner = (number % columns * (cell + GAP), number // columns * (height + GAP))
        page.paste(Image.fromarray(decode_frame(film, time, width=cell, height=height)), corner)
        minutes, seconds = divmod(round(time), 60)
        draw.text(
            (corner[0] + cell / 30, corner[1] + height - cell / 30),
            f"{minutes}:{seconds:02}",
            font=font,
            anchor="ls",
            stroke_width=2,
            stroke_fill="black",
        )
    try:
        with files.atomic(output) as partial:
            page.save(partial, quality=88)
    except ValueError:
        raise MediaError(f"{output}: a strip is a .jpg or a .png") from None
