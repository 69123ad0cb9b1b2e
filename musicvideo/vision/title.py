"""The title card: letters of light on nothing, to lay over a picture."""

from __future__ import annotations

import shutil
import unicodedata
from typing import cast

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from musicvideo import programs
from musicvideo.errors import MediaError

TRACKING = 0.28  # space between letters, in font sizes
MARGIN = 0.14  # of the width left free on each side
GENERIC = ("serif", "sans-serif", "sans", "monospace")  # fontconfig chooses
LIGHT = (246, 240, 232)
SHADE = (8, 6, 14)


def visible(title: str) -> str:
    """A title on one line; "" where none of its characters shows anything, such as a zero-width space.

    Raises:
        MediaError: bytes that are no text.
    """
    try:
        title.encode()
    except UnicodeEncodeError:
        raise MediaError(f"TITLE_TEXT={title!r}: is not UTF-8 text (set TITLE_TEXT)") from None
    shown = any(unicodedata.category(letter)[0] not in "ZC" for letter in title)
    return " ".join(title.replace("\0", " ").split()) if shown else ""


def title_card(text: str, font: str, width: int, height: int) -> Image.Image:
    """Draw a title, wide-set and centred, with a shadow that keeps it readable on any picture.

    Args:
        text: one line, not blank.
        font: a font family that fontconfig knows; "" takes one that has the letters.
        width, height: of the card in pixels.

    Returns:
        RGBA image, transparent but for the title.

    Raises:
        MediaError: the font is not installed.
    """
    size = min(width, height) / 9
    span = sum(_advances(text, load_font(font, text, size))) + TRACKING * size * (len(text) - 1)
    size *= min(1, width * (1 - 2 * MARGIN) / max(span, 1))
    face = load_font(font, text, size)

    letters = Image.new("L", (width, height))
    draw = ImageDraw.Draw(letters)
    advances = _advances(text, face)
    x = (width - sum(advances) - TRACKING * size * (len(text) - 1)) / 2
    for letter, advance in zip(text, advances):
        draw.text((x, height / 2), letter, fill=255, font=face, anchor="lm")
        x += advance + TRACKING * size

    # A wide shade calms what moves behind the words, a close one cuts their edges out.
    shade = Image.new("RGBA", (width, height), SHADE)
    shade.putalpha(ImageChops.lighter(_blurred(letters, size, 4, 0.55), _blurred(letters, size / 6, 3, 0.8)))
    light = Image.new("RGBA", (width, height), LIGHT)
    light.putalpha(letters)
    return Image.alpha_composite(shade, light)


def _blurred(letters: Image.Image, radius: float, gain: float, opacity: float) -> Image.Image:
    blurred = letters.filter(ImageFilter.GaussianBlur(radius))
    return blurred.point(lambda alpha: round(min(255, gain * alpha) * opacity))


def _advances(text: str, face: ImageFont.FreeTypeFont) -> list[float]:
    return [face.getlength(letter) for letter in text]


def load_font(family: str, text: str, size: float) -> ImageFont.FreeTypeFont:
    """The font of that family, or with "" one that has the letters of the text.

    Args:
        size: pixels from line to line.

    Raises:
        MediaError: it is not installed, or fonts cannot be chosen by name here.
    """
    fontconfig = shutil.which("fc-match")
    if not family:
        if fontconfig is None or text.isascii():
            return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))  # Pillow brings one, with Latin letters
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
