"""A folder of pictures -> square cut-outs, one a class."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from musicvideo import files, limits
from musicvideo.errors import MediaError
from musicvideo.vision.settings import LONGEST_WORD
from musicvideo.vision.title import load_font
from musicvideo.vision.training.subject import find_subject
from musicvideo.vision.training.textures import SIZE

FORMATS = {"PNG": ".png", "WEBP": ".webp", "JPEG": ".jpg .jpeg", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif .tiff"}
SUFFIXES = tuple(" ".join(FORMATS.values()).split())
SMALLEST = 32  # pixels a side
LARGEST = 1024  # pixels a side that are worked with; textures have fewer
SEARCHED = 192  # pixels a side at which a subject is searched
CLEAR = 0.005  # least share of transparent pixels in a picture that is a cut-out already
MARGIN = 0.03  # around a subject, in its sides
CORNERS = 0.12  # radius of the corners of a picture without a subject, in its shorter side
TILE, CAPTION, COLUMNS = 160, 36, 8  # pixels of a contact sheet's pictures and captions; pictures in a row
HOW = {"alpha": "its own transparency", "mask": "its mask", "subject": "found", "whole": "nothing found: all of it"}


@dataclass(frozen=True)
class Cutout:
    """The picture of a class.

    Attributes:
        name: of the class.
        file: that it was made of.
        picture: RGBA, `SIZE` pixels a side; opacity is the silhouette.
        how: its silhouette was found, a key of `HOW`.
        sha256: of the file.
    """

    name: str
    file: Path
    picture: Image.Image
    how: str
    sha256: str


def read(
    folder: str | os.PathLike,
    masks: str | os.PathLike | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Cutout]:
    """The cut-outs of the pictures in a folder, in the order of their names. Other files are left alone.

    Args:
        folder: with the pictures.
        masks: folder with pictures of the same names, white where the subject is; may lack some.
        progress: told how many of how many pictures are read.

    Raises:
        MediaError: no pictures or too many, one that cannot be used, two that are equal or have one name.
    """
    found = _pictures(folder, "give one that holds pictures: PNG, WebP, JPEG, GIF, BMP or TIFF")
    if len(found) > limits.PICTURES:
        raise MediaError(f"{folder}: holds {len(found)} pictures, at most {limits.PICTURES} are taken (move some away)")
    by_stem = {file.stem: file for file in _pictures(masks, "give one with a picture for each mask")} if masks else {}
    if masks and not by_stem.keys() & {file.stem for file in found}:
        raise MediaError(f"{masks}: no mask has the name of a picture in {folder} (name each mask like its picture)")
    cutouts: list[Cutout] = []
    names: dict[str, Path] = {}
    seen: dict[bytes, Path] = {}
    for file in found:
        name = class_name(file)
        if (other := names.setdefault(name.casefold(), file)) != file:
            raise MediaError(f"{file}: has the name of {other.name} (give each picture a name of its own)")
        picture = open_picture(file)
        if (other := seen.setdefault(hashlib.sha256(picture.tobytes()).digest(), file)) != file:
            raise MediaError(f"{file}: is the same picture as {other.name} (remove one)")
        silhouette, how = _silhouette(picture, file, by_stem.get(file.stem))
        picture.putalpha(silhouette)
        cutouts.append(Cutout(name, file, _fitted(picture), how, files.sha256(file)))
        progress(len(cutouts), len(found))
    return cutouts


def class_name(file: Path) -> str:
    """The name of a picture's class: the file's name without suffix, of printable characters."""
    try:
        file.name.encode()
    except UnicodeEncodeError:
        raise MediaError(f"{file}: its name is not UTF-8 text (rename it)") from None
    stem = unicodedata.normalize("NFC", file.stem)
    name = " ".join("".join(letter if letter.isprintable() else " " for letter in stem).split())[:LONGEST_WORD]
    return f"picture {name}" if name.isdecimal() or not name else name  # a number alone is a class id


def _pictures(folder: str | os.PathLike, remedy: str) -> list[Path]:
    place = Path(folder)
    if not place.is_dir():
        raise MediaError(f"{place}: no such folder ({remedy})")
    found = sorted(
        file for file in place.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    if not found:
        raise MediaError(f"{place}: holds no pictures ({remedy})")
    return found


def open_picture(file: Path) -> Image.Image:
    """A picture upright, in RGBA with 8 bits, of at most `LARGEST` pixels a side; of an animation its first frame.

    Raises:
        MediaError: no picture, a damaged one, too large, too small.
    """
    files.require_file(file)
    with _readable(file), Image.open(file, formats=list(FORMATS)) as image:
        width, height = image.size
        if width * height > limits.PICTURE_PIXELS:
            raise MediaError(
                f"{file}: has {width * height / 1e6:.0f} megapixels, at most {limits.PICTURE_PIXELS / 1e6:.0f} are "
                "read (make it smaller)"
            )
        if min(width, height) < SMALLEST:
            raise MediaError(f"{file}: has {width}x{height} pixels, too few to learn from (give at least {SMALLEST})")
        image.draft("RGB", (LARGEST, LARGEST))  # a JPEG is decoded at a fraction of its size
        upright = ImageOps.exif_transpose(image)
        upright = _eight_bits(upright)
        upright = (upright.convert("RGB") if upright.mode == "CMYK" else upright).convert("RGBA")
    upright.thumbnail((LARGEST, LARGEST))
    return upright


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Report what the library raises for damaged pictures, which may be anything, as a MediaError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, which are measured here, and of odd metadata
            yield
    except Image.DecompressionBombError:
        raise MediaError(f"{file}: has too many megapixels (make it smaller)") from None
    except (MediaError, MemoryError, PermissionError):
        raise
    except Exception as error:
        raise MediaError(f"{file}: is no picture that can be read ({type(error).__name__}); save it as PNG") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, np.float64)
    full = 65535 if image.mode.startswith("I") else 1 if values.max() <= 1 else 255
    return Image.fromarray((values * (255 / full)).clip(0, 255).round().astype(np.uint8))


def _silhouette(picture: Image.Image, file: Path, mask: Path | None) -> tuple[Image.Image, str]:
    """Where the subject of a picture is, as its opacity, and how it was found."""
    if mask:
        shape = open_picture(mask)
        clear = _range(shape.getchannel("A"))[0] < 128
        shape = shape.getchannel("A") if clear else shape.convert("L")
        if _range(shape)[1] < 128:
            raise MediaError(f"{mask}: has nothing white, so no subject (paint the subject white on black)")
        return shape.resize(picture.size), "mask"
    opacity = picture.getchannel("A")
    if _range(opacity)[1] < 128:
        raise MediaError(f"{file}: is transparent all over, there is nothing to learn (remove it)")
    if (np.asarray(opacity) < 128).mean() >= CLEAR:
        return opacity, "alpha"
    small = picture.convert("RGB")
    small.thumbnail((SEARCHED, SEARCHED))
    found = find_subject(np.asarray(small, np.float32) / 255)
    if found is not None:
        return Image.fromarray((found * 255).round().astype(np.uint8)).resize(
            picture.size, Image.Resampling.BICUBIC
        ), "subject"
    whole = Image.new("L", picture.size)
    side = [length - 1 for length in picture.size]
    ImageDraw.Draw(whole).rounded_rectangle((0, 0, *side), radius=CORNERS * min(picture.size), fill=255)
    return whole, "whole"


def _range(channel: Image.Image) -> tuple[int, int]:
    values = np.asarray(channel)
    return int(values.min()), int(values.max())


def _fitted(picture: Image.Image) -> Image.Image:
    """The part of a picture that is seen, in the middle of a square of `SIZE` pixels."""
    down, across = np.nonzero(np.asarray(picture.getchannel("A")) >= 128)
    left, top, right, bottom = across.min(), down.min(), across.max() + 1, down.max() + 1
    side = (1 + 2 * MARGIN) * max(right - left, bottom - top)
    x, y = (left + right - side) / 2, (top + bottom - side) / 2
    square = picture.crop((round(x), round(y), round(x + side), round(y + side)))
    return square.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def contact_sheet(cutouts: list[Cutout]) -> Image.Image:
    """What was found in each picture, with its name, on a page."""
    columns = min(COLUMNS, len(cutouts))
    page = Image.new("RGB", (columns * TILE, -(-len(cutouts) // columns) * (TILE + CAPTION)), "white")
    pen = ImageDraw.Draw(page)
    squares = np.indices((TILE, TILE)) // 10
    board = Image.fromarray(np.where(squares.sum(axis=0) % 2, 200, 150).astype(np.uint8))
    for number, cutout in enumerate(cutouts):
        x, y = number % columns * TILE, number // columns * (TILE + CAPTION)
        small = cutout.picture.resize((TILE, TILE))
        page.paste(board, (x, y))
        page.paste(small, (x, y), small)
        for line, words in enumerate((cutout.name, HOW[cutout.how])):
            font = load_font("", words, 13)
            while font.getlength(words) > TILE - 8:
                words = f"{words.rstrip('…')[:-1]}…"
            pen.text((x + 4, y + TILE + 2 + 16 * line), words, fill="black" if not line else "#666666", font=font)
    return page
