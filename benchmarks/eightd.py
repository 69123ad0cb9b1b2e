"""Speed of the 8D panner, beside the published algorithm; how its time and memory grow with the length of a sound.

    python -m benchmarks.eightd                 # one minute, each model; the published algorithm at 10 to 60 s
    python -m benchmarks.eightd --long          # also 10 and 60 minutes

Seconds are processor time of this process (user and system), the best of some runs, with reading and writing the file.
"""

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.memory import peak
from musicvideo.panning import Motion, Move, orbit
from musicvideo.sound.models import MODELS, load_model
from musicvideo.sound.sofa import find_kemar
from musicvideo.sound.spatial import render_file

RATE = 48000
ORBIT = 4.0  # seconds a turn


def published(source: Path, target: Path) -> None:
    """The published panner, from its description: for each millisecond cut a slice, set its gains, append it.

    Appending makes a new copy of everything so far, as concatenation of pydub's immutable segments does: hence time
    grows with the square of the length.
    """
    sound, rate = soundfile.read(source, dtype="int16", always_2d=True)
    step = rate // 1000
    result = b""
    for millisecond in range(len(sound) // step):
        ear = np.sin(2 * np.pi * millisecond / 1000 / ORBIT)
        piece = sound[millisecond * step : (millisecond + 1) * step, 0]
        left, right = piece * min(1.0, 1 - ear), piece * min(1.0, 1 + ear)
        result = result + np.stack([left, right], axis=1).astype("int16").tobytes()
    soundfile.write(target, np.frombuffer(result, "int16").reshape(-1, 2), rate, "PCM_16")


def processor_seconds(work, runs: int) -> float:
    best = np.inf
    for _ in range(runs):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def circled(source: Path, target: Path, model: str) -> tuple[float, float]:
    """Seconds of processor time that a circle takes, and the peak of this process's memory in MB."""
    taken = processor_seconds(lambda: render_file(source, target, orbit(ORBIT), load_model(model)), 1)
    return taken, peak()


def noise_file(folder: Path, seconds: int) -> Path:
    """Mono 16-bit noise, written in blocks."""
    path = folder / f"{seconds}.wav"
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(seconds):
            file.write(rng.uniform(-0.3, 0.3, RATE))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="10 and 60 minutes too: time and memory stay in proportion")
    args = parser.parse_args()
    models = [name for name in MODELS if name != "hrtf" or find_kemar()]
    jumps = Motion([Move(0, 3600, "sawtooth", ear_i=-0.9, ear_f=0.9, ramps=((0, 0), (3600, 7200)))])

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = folder / "out.wav"
        minute = noise_file(folder, 60)
        print("the published algorithm")
        for seconds in (10, 20, 40, 60):
            source = noise_file(folder, seconds)
            slow = processor_seconds(lambda: published(source, out), 1)
            print(f"  {seconds:5d} s of sound  {slow:8.2f} s  {seconds / slow:7.1f} x real time")
        print("ours")
        for model in models:
            move = load_model(model)
            for motion, what in ((orbit(ORBIT), "a circle of 4 s"), (jumps, "two jumps a second")):
                taken = processor_seconds(lambda: render_file(minute, out, motion, move), 5)
                print(
                    f"  {model:7s} {what:20s} {taken:6.2f} s  {60 / taken:7.1f} x real time  "
                    f"{slow / taken:7.1f} x the published algorithm"
                )
        if args.long:
            print("long files (a circle of 4 s), each in a process of its own; memory is the peak of it")
            for model in models:
                for minutes in (1, 10, 60):
                    source = noise_file(folder, 60 * minutes)
                    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                        taken, memory = process.submit(circled, source, out, model).result()
                    print(
                        f"  {model:7s} {minutes:3d} min  {taken:7.2f} s  {60 * minutes / taken:7.1f} x real time  "
                        f"{memory:6.0f} MB"
                    )


if __name__ == "__main__":
    main()
