"""The title card: a transparent picture with the title and a dark scrim behind it, laid over the film's opening."""

from __future__ import annotations

import colorsys
import re
import shutil
import unicodedata
from collections.abc import Sequence
from itertools import accumulate
from typing import cast

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from musicvideo import programs
from musicvideo.errors import MediaError

LARGEST = 1 / 9  # font size, as a share of the card's shorter side
TRACKING = 0.28  # space between letters, in font sizes
LEADING = 1.6  # distance between baselines, in font sizes
MARGIN = 0.14  # share of the width, and of the height, that stays free on each side
MOST_LINES = 8
SCRIM = 0.7  # opacity of the darkened area
GENERIC = ("serif", "sans-serif", "sans", "monospace")  # fontconfig chooses
TINT = (0.1, 0.97)  # saturation and value of the letters
SHADE = (0.6, 0.03)  # and of what darkens the picture
WARM = 30 / 360  # hue of the letters over a grey picture
GREY = 0.08  # mean saturation below which a picture has no hue
# A line may break at a space, after a hyphen, and between letters of scripts that have no spaces.
BREAKS = re.compile(r"\s+|(?<=\w-)(?=\w)|(?<=[\u3040-\u30ff\u3400-\u9fff])(?=[\u3040-\u30ff\u3400-\u9fff])")


def visible(title: str) -> str:
    """A title without line breaks; "" if none of its characters is visible, as with a zero-width space.

    Raises:
        MediaError: bytes that are not text.
    """
    try:
        title.encode()
    except UnicodeEncodeError:
        raise MediaError(f"TITLE_TEXT={title!r}: is not UTF-8 text (set TITLE_TEXT)") from None
    shown = any(unicodedata.category(letter)[0] not in "ZC" for letter in title)
    return " ".join(title.replace("\0", " ").split()) if shown else ""


def title_card(text: str, font: str, width: int, height: int, picture: np.ndarray | None = None) -> Image.Image:
    """Draw a title: widely spaced letters, centred, on as many lines as let them be largest.

    A soft scrim darkens the picture behind the lines, and a close shadow separates each letter from it, so that the
    title is readable over any picture.

    Args:
        text: without line breaks, not blank.
        font: a font family that fontconfig knows; "" takes one that has the letters.
        width, height: of the card in pixels.
        picture: uint8 (rows, columns, 3), what the card will lie on; letters and scrim take its hue.

    Returns:
        RGBA image, transparent outside title and scrim.

    Raises:
        MediaError: the font is not installed.
    """
    lines, size = _layout(text, font, width, height)
    face = load_font(font, text, size)
    letters, boxes = Image.new("L", (width, height)), Image.new("L", (width, height))
    draw, box = ImageDraw.Draw(letters), ImageDraw.Draw(boxes)
    for number, line in enumerate(lines):
        span = _span(line, face, size)
        x, y = (width - span) / 2, height / 2 + (number - (len(lines) - 1) / 2) * LEADING * size
        box.rectangle((x - size, y - size, x + span + size, y + size), fill=255)
        for letter in line:
            draw.text((x, y), letter, fill=255, font=face, anchor="lm")
            x += face.getlength(letter) + TRACKING * size

    hue, saturation = _hue(picture)
    dark = Image.new("RGBA", (width, height), _rgb(hue, SHADE[0] * saturation, SHADE[1]))
    dark.putalpha(ImageChops.lighter(_blurred(boxes, size * 0.7, 1, SCRIM), _blurred(letters, size / 9, 4, 0.9)))
    light = Image.new("RGBA", (width, height), _rgb(hue, TINT[0], TINT[1]))
    light.putalpha(letters)
    return Image.alpha_composite(dark, light)


def _layout(text: str, font: str, width: int, height: int) -> tuple[list[str], float]:
    """The lines of a title and its font size in pixels: the largest that fits, on the fewest lines."""
    largest = min(width, height) * LARGEST
    face = load_font(font, text, largest)
    words, position = [], 0
    for found in BREAKS.finditer(text):
        words.append((text[position : found.start()], found.group()))
        position = found.end()
    words.append((text[position:], ""))
    room = (1 - 2 * MARGIN) * width, (1 - 2 * MARGIN) * height
    best: tuple[list[str], float] = ([], 0.0)
    for count in range(1, min(MOST_LINES, len(words)) + 1):
        lines = _balanced(words, count, face, largest)
        widest = max(_span(line, face, largest) for line in lines)
        size = largest * min(1, room[0] / max(widest, 1), room[1] / (LEADING * largest * len(lines)))
        if size > best[1] * 1.01:
            best = lines, size
    lines, size = best
    # Small letters are wider than in proportion, since their advances are whole pixels.
    widest = max(_span(line, load_font(font, text, size), size) for line in lines)
    return lines, size * min(1, room[0] / max(widest, 1))


def _balanced(words: Sequence[tuple[str, str]], count: int, face: ImageFont.FreeTypeFont, size: float) -> list[str]:
    """Lines of (word, separator) pairs, at most `count`, whose widest is as narrow as possible."""
    # A line's width is a difference of two sums.
    word = [_span(text, face, size) + TRACKING * size for text, _ in words]
    gap = [_span(space, face, size) + TRACKING * size if space else 0 for _, space in words]
    ends = list(accumulate(a + b for a, b in zip(word, gap)))

    def filled(limit: float) -> list[str]:
        lines, begin, start = [], 0, 0.0
        for index in range(len(words)):
            if index > begin and ends[index] - gap[index] - start > limit:
                lines.append(words[begin:index])
                begin, start = index, ends[index - 1]
        lines.append(words[begin:])
        return ["".join(map("".join, line)).strip() for line in lines]

    low, high = max(word), ends[-1]
    while high - low > 1:
        middle = (low + high) / 2
        low, high = (low, middle) if len(filled(middle)) <= count else (middle, high)
    return filled(high)


def _span(line: str, face: ImageFont.FreeTypeFont, size: float) -> float:
    """Pixels from the start of a line's first letter to the end of its last one."""
    return sum(map(face.getlength, line)) + TRACKING * size * (len(line) - 1)


def _hue(picture: np.ndarray | None) -> tuple[float, float]:
    """The dominant hue of a picture, 0..1, weighted by saturation; and 1, or 0 if it is grey and takes `WARM`."""
    if picture is None:
        return WARM, 0
    hue, saturation, value = np.moveaxis(np.asarray(Image.fromarray(picture).convert("HSV")) / 255, -1, 0)
    weight = saturation * value
    if weight.mean() < GREY:
        return WARM, 0
    shares, edges = np.histogram(hue, bins=24, range=(0, 1), weights=weight)
    strongest = shares + (np.roll(shares, 1) + np.roll(shares, -1)) / 2
    return float(edges[strongest.argmax()]) + 1 / 48, 1


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))


def _blurred(mask: Image.Image, radius: float, gain: float, opacity: float) -> Image.Image:
    blurred = mask.filter(ImageFilter.GaussianBlur(radius))
    return blurred.point(lambda alpha: round(min(255, gain * alpha) * opacity))


def load_font(family: str, text: str, size: float) -> ImageFont.FreeTypeFont:
    """Load the font of a family, or with "" one that has the letters of the text.

    Args:
        size: of the font in pixels.

    Raises:
        MediaError: the font is not installed, or this machine has no fontconfig to choose it by name.
    """
    fontconfig = shutil.which("fc-match")
    if not family:
        if fontconfig is None or text.isascii():
            return cast(
                ImageFont.FreeTypeFont, ImageFont.load_default(size)
            )  # Pillow includes a font with Latin letters
        charset = " ".join(sorted({f"{ord(letter):x}" for letter in text}))
        return ImageFont.truetype(_match(fontconfig, f"sans-serif:charset={charset}")[0], size)
    if fontconfig is None:
        raise MediaError(f"FONT={family}: fontconfig (fc-match) is not installed, so fonts cannot be chosen by name")
    path, found = _match(fontconfig, family)
    name = family.split(":")[0].strip().lower()
    if name not in GENERIC and name not in found.lower().split(","):
        raise MediaError(f"FONT={family}: is not installed (the nearest is {found}; `fc-list : family` lists all)")
    return ImageFont.truetype(path, size)


def _match(fontconfig: str, pattern: str) -> tuple[str, str]:
    matched = programs.completed_run(
        [fontconfig, "-f", "%{file}\n%{family}", "--", pattern], doing=f"looking for the font {pattern}"
    )
    path, _, family = matched.stdout.decode(errors="replace").partition("\n")
    if matched.returncode or not path:
        raise MediaError(f"FONT={pattern}: fontconfig finds no font; install one")
    return path, family
