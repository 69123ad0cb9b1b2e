"""Draw the pictures of docs/panning.md from the examples beside them: python docs/panning/draw.py"""

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parents[1]))

from musicvideo.panning import panning_duration, read_motion  # noqa: E402
from musicvideo.sound.plots import plot_motions  # noqa: E402


def main() -> None:
    text = FOLDER.with_suffix(".md").read_text(encoding="utf-8")
    with TemporaryDirectory() as folder:
        score = Path(folder) / "example.json"
        for name, example in re.findall(r"!\[(\w+)\]\([^)]*\)\s+```json\n(.*?)```", text, re.DOTALL):
            score.write_text(example, encoding="utf-8")
            duration = panning_duration(score, None)
            motion = read_motion(score, name, None, duration)
            plot_motions({name: motion}, None, duration, FOLDER / f"{name}.png", width=4.0)


if __name__ == "__main__":
    main()
