"""How well the heard position follows the panning score, measured on the parts of a mix that move.

    python -m benchmarks.ear_balance scores/Impassive.mix.toml      (after `make scores`)

For each part: the correlation between the balance of the ears (difference over sum of their levels above 700 Hz, below
which a head is no obstacle) and the written ear position, over windows of 50 ms in which the part sounds. The position
is averaged by the part's energy in the window. 0.95 and more is good. The second figure includes the part's reverb,
which always lags.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from scipy import signal

from musicvideo.sound.mixing import RATE, add_reverb, mix_length, prepare, read_part_motion
from musicvideo.sound.models import load_model
from musicvideo.sound.soundfiles import is_mono
from musicvideo.sound.spatial import render
from musicvideo.sound.table import read_mix

WINDOW = RATE // 20
AUDIBLE = 10 ** (-40 / 20)  # of the loudest window
SHADOWED = signal.butter(2, 700, "high", fs=RATE, output="sos")


def levels(sound: np.ndarray) -> np.ndarray:
    """(windows, 2) root mean square of each ear above 700 Hz."""
    high = signal.sosfiltfilt(SHADOWED, sound, axis=0)
    whole = len(high) // WINDOW * WINDOW
    return np.sqrt(np.mean(high[:whole].reshape(-1, WINDOW, 2) ** 2, axis=1)) + 1e-12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="mix table")
    table = Path(parser.parse_args().table)
    mix = read_mix(table, table.name.split(".")[0])
    length = mix_length(mix)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for name, part in mix.parts.items():
            if not part.moves:
                continue
            prepare(part, folder / "dry.wav", length)
            dry, _ = soundfile.read(folder / "dry.wav")
            motion = read_part_motion(mix, part, length / RATE)
            wet = render(dry, RATE, motion, load_model(part.model), width=0 if is_mono(part.file) else part.width)
            soundfile.write(folder / "wet.wav", wet, RATE, "FLOAT")
            heard = {"direct": wet}
            if part.reverb:
                add_reverb(folder / "wet.wav", folder / "return.wav", mix.reverbs[part.reverb])
                heard["with reverb"] = wet + 10 ** (part.send / 20) * soundfile.read(folder / "return.wav")[0]

            energy = (dry**2).sum(axis=1)[: length // WINDOW * WINDOW].reshape(-1, WINDOW) + 1e-15
            ear = motion.sample(0, energy.size, RATE).ear.reshape(-1, WINDOW)
            written = (ear * energy).sum(axis=1) / energy.sum(axis=1)
            loudness = levels(dry).max(axis=1)
            sounds = loudness > AUDIBLE * loudness.max()
            figures = []
            for what, sound in heard.items():
                left, right = levels(sound)[sounds].T
                figures.append(f"{what} {np.corrcoef((right - left) / (right + left), written[sounds])[0, 1]:.3f}")
            print(f"{name:12s} {', '.join(figures)}   ({sounds.sum()} windows)")


if __name__ == "__main__":
    main()
