"""How long a song takes to become a path through latent space, beside the published algorithm on the same song.

    python -m benchmarks.features
    python -m benchmarks.features --minutes 10

Seconds are processor time of this process, the best of three. The song is noise, which costs as much as music.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from musicvideo.vision import locked_librosa as librosa
from musicvideo.vision.features import ANALYSES, SAMPLE_RATE, Features
from musicvideo.vision.latents import PITCHES, class_walk, noise_walk, strongest_first

HOP = 512  # samples
CLASSES = 1000
NOISE = 128


def published_features(samples: np.ndarray) -> None:
    """The whole song at once, by librosa's own functions."""
    mel = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE, n_mels=128, fmax=8000, hop_length=HOP)
    np.gradient(mel.mean(axis=0))
    librosa.feature.chroma_cqt(y=samples, sr=SAMPLE_RATE, hop_length=HOP)


def published_walks(features: Features) -> None:
    """Unit by unit and class by class in Python, by default settings, without the smoothing."""
    order, inertia = strongest_first(features.chroma), 300 - 220
    noise, update, direction = np.zeros(NOISE), np.zeros(NOISE), np.ones(NOISE)
    weights = np.zeros(CLASSES)
    for t, (power, gradient) in enumerate(zip(features.mel_power, features.mel_gradient)):
        update = (np.array([0.25 * (gradient + power) * direction[k] for k in range(NOISE)]) + update * 3) / 4
        noise = noise + update
        for k in range(NOISE):
            direction[k] = -1 if noise[k] >= 1.75 else 1 if noise[k] < -1.75 else direction[k]
        previous, weights = weights, np.zeros(CLASSES)
        for j in range(PITCHES):
            weights[j] = (previous[j] + features.chroma[order[j]][t] / inertia) / (1 + 1 / inertia)
        lowest = min(weight for weight in weights if weight != 0)
        weights = np.array([weight if weight != 0 else lowest for weight in weights])
        weights = (weights - weights.min()) / np.ptp(weights)


def walks(features: Features) -> None:
    """Ours, by the same settings."""
    masks = np.ones((len(features.mel_power) // 200 + 1, NOISE))
    noise_walk(
        features.mel_power, features.mel_gradient, np.zeros(NOISE), masks,
        tempo_sensitivity=0.25, frame_length=HOP, truncation=1,
    )  # fmt: skip
    class_walk(
        features.chroma, range(PITCHES),
        num_classes=PITCHES, pitch_sensitivity=220, frame_length=HOP, depth=1, smooth_factor=20,
    )  # fmt: skip


def seconds(work: Callable, argument: object, runs: int = 3) -> float:
    """Processor time of a call, the best of some runs."""
    best = float("inf")
    for _ in range(runs):
        start = time.process_time()
        work(argument)
        best = min(best, time.process_time() - start)
    return best


def random_features(length: float) -> Features:
    """Features of a song of so many seconds."""
    rng, points = np.random.default_rng(0), int(length * SAMPLE_RATE / HOP)
    power, gradient = rng.random((2, points), dtype=np.float32)
    return Features(power, gradient, rng.random((PITCHES, points), dtype=np.float32), HOP, length)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure features and latents.")
    parser.add_argument("--minutes", type=float, default=4, help="length of the song (default %(default)s)")
    minutes = parser.parse_args().minutes
    song = np.random.default_rng(0).normal(scale=0.1, size=int(minutes * 60 * SAMPLE_RATE)).astype(np.float32)
    for analyse in ANALYSES.values():
        analyse(song[: 10 * SAMPLE_RATE])  # compiles what librosa compiles
    print(f"| | {minutes:g} min of song | an hour |\n|---|---|---|")
    print(f"| features as published, the whole song at once | {seconds(published_features, song):.1f} s | |")
    for name, analyse in ANALYSES.items():
        print(f"| features, {name} | {seconds(analyse, song):.1f} s | |")
    part = seconds(published_walks, random_features(10), runs=1)
    print(f"| latents as published (10 s measured, in proportion) | {part * 6 * minutes:.0f} s | {part * 360:.0f} s |")
    ours = (seconds(walks, random_features(length)) for length in (minutes * 60, 3600))
    print("| latents | " + " | ".join(f"{time:.1f} s" for time in ours) + " |")


if __name__ == "__main__":
    main()
