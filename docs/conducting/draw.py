"""Draw the pictures of docs/conducting.md from its tables: make scores, then python docs/conducting/draw.py"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parents[1]))

from musicvideo.notes import read_notes  # noqa: E402
from musicvideo.vision import film  # noqa: E402
from musicvideo.vision.framing import pair_side  # noqa: E402
from musicvideo.vision.job import decide, requested  # noqa: E402
from musicvideo.vision.render import draw  # noqa: E402

SONG, MIDI = "media/Impassive.wav", "media/Impassive.mid"
WIDTH, HEIGHT, ACROSS = 320, 180, 4  # of a still in pixels, and how many are side by side
MARK = re.compile(r"(?:```toml\n(?P<table>[^`]*)```\s+)?!\[(?P<what>[^\]]*)\]\(conducting/(?P<name>\w+)\.jpg\)")


def stills(times: Sequence[float], folder: Path, **settings: object) -> list[Image.Image]:
    """What a film shows at these seconds of the song."""
    side = pair_side(WIDTH, HEIGHT)
    asked = {"song": SONG, "generator": "cppn", "resolution": side, "seed": 7, "output_file": str(folder / "a.mp4")}
    job = decide(requested(asked | settings))
    generator = job.load()
    pictures = []
    for square in draw(generator, job.path(generator), times):
        film.still(square, folder / "still.png", width=WIDTH, height=HEIGHT)
        pictures.append(Image.open(folder / "still.png").copy())
    return pictures


def save(pictures: Sequence[Image.Image], across: int, name: str) -> None:
    page = Image.new("RGB", (across * WIDTH, -(-len(pictures) // across) * HEIGHT))
    for index, picture in enumerate(pictures):
        page.paste(picture, (index % across * WIDTH, index // across * HEIGHT))
    page.save(FOLDER / f"{name}.jpg", quality=90)


def main() -> None:
    notes = read_notes(MIDI)
    spread = notes.onset[np.linspace(0, len(notes.onset) - 1, 2 * ACROSS).astype(int)] + 0.1
    played = {"mapping": "score", "midi": MIDI}
    text = FOLDER.with_suffix(".md").read_text(encoding="utf-8")
    with TemporaryDirectory() as work:
        folder = Path(work)
        for found in MARK.finditer(text):
            if found["name"] == "mappings":
                begin = notes.marks[2][0]
                there = notes.onset[(notes.onset >= begin) & (notes.onset < begin + 20)]
                struck = there[np.linspace(0, len(there) - 1, 6).astype(int)] + 0.05
                ways = ({"mapping": "classic"}, {"mapping": "pulse"}, played)
                save([still for way in ways for still in stills(struck, folder, **way)], len(struck), found["name"])
                continue
            times = spread
            if found["name"] == "sections":
                times = [mark + after for mark, _ in notes.marks[:2] for after in (1.0, 9.0)]
            table = folder / "table.toml"
            table.write_text(found["table"] or "# none\n", encoding="utf-8")
            save(stills(times, folder, **played, conduct=str(table)), ACROSS, found["name"])


if __name__ == "__main__":
    main()
