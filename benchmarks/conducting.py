"""How well the picture follows the notes, beside the mappings that follow what is heard, and how long an hour takes.

    make scores
    python -m benchmarks.conducting scores/Impassive.mscz --conduct scores/Impassive.cppn.conduct.toml

Draws the song by each mapping with cppn at 128x128, and measures each video as `musicvideo sync` does. Then it compares
the weights of each part's classes with the loudness of the part's own WAV, and times the path of an hour with 50 000
notes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from musicvideo.notes import Notes, Part, read_notes
from musicvideo.vision import generators
from musicvideo.vision import locked_librosa as librosa
from musicvideo.vision.conduct import Cast, Conduct, cast, read_conduct
from musicvideo.vision.conducting import conducted
from musicvideo.vision.features import SAMPLE_RATE, load_song
from musicvideo.vision.latents import Trajectory
from musicvideo.vision.mappings import MAPPINGS
from musicvideo.vision.sync import sync

FPS = 30
SEED = 7
CLASSES = range(12)
HOUR, MANY = 3600.0, 50_000


def video(mapping: str, song: Path, midi: Path, table: str | None, folder: Path) -> Path:
    """The song drawn by one mapping; nearly lossless, since key frames of a codec would count as motion."""
    output = folder / f"{mapping}.mkv"
    notes = ["--midi", midi, *(["--conduct", table] if table else [])] if MAPPINGS[mapping].needs_notes else []
    subprocess.run(
        [sys.executable, "visualize.py", "--song", song, "--mapping", mapping, "--generator", "cppn", "--resolution",
         "128", "--fps", str(FPS), "--seed", str(SEED), "--crf", "4", "--output_file", output, *notes],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return output


def follows(path: Trajectory, roles: Cast, parts: Path) -> dict[str, float]:
    """Correlation of the summed weights of each part's classes with the RMS of its own WAV, at each frame."""
    found = {}
    for role in roles.roles:
        samples = load_song(parts / f"{role.part.name}.wav")
        hop = SAMPLE_RATE // FPS
        loudness = librosa.feature.rms(y=samples, frame_length=2 * hop, hop_length=hop)[0]
        _, weights = path.at(np.arange(len(loudness)) * hop / SAMPLE_RATE)
        own = [column for column, index in enumerate(path.classes) if index in role.classes]
        found[role.part.name] = float(np.corrcoef(weights[:, own].sum(1), loudness)[0, 1])
    return found


def an_hour(handles) -> float:
    """Seconds of processor time for the path of an hour with many notes."""
    rng = np.random.default_rng(0)
    onset = np.sort(rng.uniform(0, HOUR - 1, MANY))
    beats = np.arange(0, HOUR, 0.5)
    notes = Notes(
        onset=onset, length=rng.uniform(0.1, 1, MANY), pitch=rng.integers(40, 90, MANY),
        velocity=rng.integers(30, 127, MANY), part=rng.integers(0, 4, MANY),
        parts=tuple(Part(f"part {number}", 11) for number in range(4)), downbeats=beats[::4], beats=beats, marks=(),
        duration=HOUR,
    )  # fmt: skip
    begin = time.process_time()
    roles = cast(Conduct(), notes, CLASSES, [str(index) for index in CLASSES])
    conducted(notes, roles, handles, noise_dim=128, rng=rng)
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("score", type=Path, help="exported to media/ by `make scores`")
    parser.add_argument("--conduct", help="its conduct table, for cppn")
    arguments = parser.parse_args()
    name = arguments.score.stem
    song, midi, parts = Path("media", f"{name}.wav"), Path("media", f"{name}.mid"), Path("media", "parts", name)

    with tempfile.TemporaryDirectory() as folder:
        for mapping in MAPPINGS:
            print(f"{mapping}: {sync(video(mapping, song, midi, arguments.conduct, Path(folder))).line()}", flush=True)
    generator = generators.load("cppn", resolution=128)
    notes = read_notes(midi)
    table = read_conduct(arguments.conduct) if arguments.conduct else Conduct()
    roles = cast(table, notes, CLASSES, generator.labels, name=arguments.conduct or "")
    path = conducted(notes, roles, generator.handles, noise_dim=128, rng=np.random.default_rng(SEED))
    print(
        "classes of a part against its loudness:",
        {part: round(r, 2) for part, r in follows(path, roles, parts).items()},
    )
    print(f"an hour with {MANY} notes: {an_hour(generator.handles):.1f} s of processor time")


if __name__ == "__main__":
    main()
