"""BigGAN-deep: our rewrite against the library's model, on the same vectors, taking turns in one run.

    python -m benchmarks.biggan --resolution 512
    python -m benchmarks.biggan --resolution 512 --weights DIR --batches 1,2,30 --json biggan-512.json

Without a folder of weights it makes random ones, which cost as much to draw with. The last table row is ours.
"""

import argparse
import json
import math
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from musicvideo import programs
from musicvideo.vision.features import ANALYSES, SAMPLE_RATE
from musicvideo.vision.generators import kernels, load
from musicvideo.vision.generators.backends.kernel_backend import KernelBackend
from musicvideo.vision.generators.backends.openvino_backend import OpenVINOBackend
from musicvideo.vision.generators.backends.torch_backend import TorchBackend
from musicvideo.vision.generators.biggan.architecture import RESOLUTIONS
from musicvideo.vision.generators.biggan.generator import BigGAN
from musicvideo.vision.generators.hardware import versions
from musicvideo.vision.generators.kernels import PLACES, TILE
from musicvideo.vision.generators.random_weights import random_biggan, save
from musicvideo.vision.latents import PITCHES, random_classes, trajectory
from musicvideo.vision.render import draw_frames
from musicvideo.vision.settings import QUALITIES

FRAMES = 8  # that ours draws in a round
DEPTH, SIDE, LAYERS = 512, 32, 32  # of the products of matrices that measure the machine's peak
RATE = Fraction(30)  # frames a second of the passage that drafts are judged by
PASSAGE = 2  # seconds


def vectors(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise and mixtures of twelve classes."""
    rng = np.random.default_rng(0)
    classes = np.zeros((count, 1000))
    for row in classes:
        row[rng.choice(1000, 12, replace=False)] = rng.random(12)
    return rng.normal(scale=0.8, size=(count, 128)), classes


def psnr(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Peak signal to noise ratio in dB, on -1..1."""
    return float(10 * torch.log10(4 / (found.cpu() - wanted).square().mean()))


def multiplications(draw) -> float:
    """GMAC of a call into torch."""
    with FlopCounterMode(display=False) as counter:
        draw()
    return counter.get_total_flops() / 2e9


def multiplications_of(ours: BigGAN, draw) -> float:
    """GMAC of a call that draws with ours; by kernels of our own, those that they do, which are fewer than torch's."""
    if not isinstance(ours.backend, KernelBackend):
        return multiplications(draw)
    whole, total = ours.backend.ops.kernels, 0

    class Counted:
        def __getattr__(self, name):
            return getattr(whole, name)

        def winograd(self, x, scale, offset, matrix, y, work, begin, end, **options):
            nonlocal total
            total += (end - begin) * (y.shape[1] // TILE) * PLACES * x.shape[2] * y.shape[2]
            whole.winograd(x, scale, offset, matrix, y, work, begin, end, **options)

        def pointwise(self, x, matrix, y, work, begin, end, **options):
            nonlocal total
            total += (end - begin) * x.shape[2] * y.shape[2]
            whole.pointwise(x, matrix, y, work, begin, end, **options)

    ours.backend.ops.kernels = Counted()
    try:
        draw()
    finally:
        ours.backend.ops.kernels = whole
    return total / 1e9


def matrix_peak(ours: BigGAN) -> float:
    """GMAC/s of nothing but products of matrices, on the same backend in the same precision; the best of ten.

    The products are convolutions, 1x1, of 512 channels with 512 on a picture that stays in the cache: what the
    backend does best. Products of large matrices by numpy or torch reach about half of it on AMD processors.
    """

    class Products:
        width = DEPTH
        style_bias = torch.zeros(DEPTH * SIDE**2)
        layers = [torch.full((DEPTH, DEPTH, 1, 1), 1 / DEPTH) for _ in range(LAYERS)]

        def __call__(self, style, ops):
            x = style(slice(0, DEPTH * SIDE**2), SIDE)
            for weight in self.layers:
                x = ops.conv(x, weight)
            return ops.first_channels(x, 3)

    same = ours.backend
    if isinstance(same, TorchBackend):
        backend = TorchBackend(Products(), str(same.device), same.dtype)
    elif isinstance(same, KernelBackend):
        backend = KernelBackend(Products(), kernels.lanes())
    else:
        backend = OpenVINOBackend(Products())
    styles = torch.ones(backend.batch, DEPTH * SIDE**2)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        backend(styles).cpu()
        seconds.append(time.perf_counter() - start)
    return LAYERS * DEPTH**2 * SIDE**2 * len(styles) / min(seconds) / 1e9


def draft_quality(ours: BigGAN, rough: BigGAN) -> dict:
    """How a draft of a passage compares with the passage: seconds a frame, PSNR in dB and SSIM."""
    time_axis = np.arange(PASSAGE * SAMPLE_RATE) / SAMPLE_RATE
    beat = np.exp(-6 * (2 * time_axis % 1))  # two chords a second, struck and dying away
    chords = 220 * 2 ** (np.array([0, 4, 7]) / 12)[:, None] * np.where(time_axis < PASSAGE / 2, 1, 1.335)
    song = (0.2 * beat * np.sin(2 * np.pi * chords * time_axis).sum(axis=0)).astype(np.float32)
    path = trajectory(
        ANALYSES["classic"](song), random_classes(np.random.default_rng(0), PITCHES, len(ours.labels)),
        noise_dim=ours.noise_dim, num_classes=PITCHES, rng=np.random.default_rng(1),
    )  # fmt: skip
    drawn, seconds = {}, {}
    for quality, generator in (("full", ours), ("draft", rough)):
        start = time.perf_counter()
        drawn[quality] = draw_frames(generator, path, range(int(PASSAGE * RATE)), RATE, QUALITIES[quality])
        seconds[quality] = (time.perf_counter() - start) / len(drawn[quality])
    with tempfile.TemporaryDirectory() as scratch:
        inputs = []
        for quality, pictures in drawn.items():
            file = Path(scratch, quality)
            file.write_bytes(pictures.tobytes())
            size = f"{pictures.shape[2]}x{pictures.shape[1]}"
            inputs += ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", size, "-i", str(file)]
        printed = {
            measure: programs.run(
                ["ffmpeg", "-v", "error", *inputs, "-lavfi", f"{measure}=stats_file=-", "-f", "null", "-"],
                doing="comparing",
            ).decode()
            for measure in ("psnr", "ssim")
        }
    errors = [float(error) for error in re.findall(r"mse_avg:([\d.]+)", printed["psnr"])]
    similar = [float(share) for share in re.findall(r"All:([\d.]+)", printed["ssim"])]
    return {
        "faster": seconds["full"] / seconds["draft"],
        "psnr": 10 * math.log10(255**2 / statistics.fmean(errors)),
        "ssim": statistics.fmean(similar),
        "by": rough.runs_on,
    }


def peak_memory(resolution: int, folder: Path) -> float:
    """Megabytes of a process that draws with ours and does nothing else."""
    program = (
        "from benchmarks.biggan import vectors\n"
        "from benchmarks.memory import peak\n"
        "from musicvideo.vision.generators import load\n"
        f"load('biggan', resolution={resolution}, weights={str(folder)!r}).frames(*vectors({FRAMES}))\n"
        "print(peak())\n"
    )
    return float(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)


def measure(resolution: int, folder: Path, batches: list[int], rounds: int, device: str) -> dict:
    """Seconds a frame of each contender in each round, and what else the table shows."""
    ours = load("biggan", resolution=resolution, weights=folder, device=device)
    rough = load("biggan", resolution=resolution, weights=folder, device=device, precision="lowest")
    library = load("biggan-reference", resolution=resolution, weights=folder)
    wanted = library.pictures(*vectors(1))
    contenders = {f"library, batch {size}": (size, lambda v: library.pictures(*v)) for size in batches}
    contenders["ours"] = (FRAMES, lambda v: ours.frames(*v))
    wall, cpu = ({name: [] for name in contenders} for _ in range(2))
    for turn in range(rounds + 1):
        for name, (size, draw) in contenders.items():
            v = vectors(size)
            start, busy = time.perf_counter(), time.process_time()
            draw(v)
            if turn:  # the first round warms up
                wall[name].append((time.perf_counter() - start) / size)
                cpu[name].append((time.process_time() - busy) / size)
    styles = next(ours.styles(*(torch.as_tensor(v).float() for v in vectors(1))))
    return {
        "resolution": resolution,
        "ours": ours.runs_on,
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
        "date": time.strftime("%Y-%m-%d"),
        "versions": ", ".join(f"{name} {number}" for name, number in versions("openvino", "torch").items()),
        "seconds": wall,
        "cpu_seconds": cpu,
        "psnr": psnr(torch.cat(list(ours.pictures(*vectors(1)))), wanted),
        "library_gmac": multiplications(lambda: library.pictures(*vectors(1))),
        "ours_gmac": multiplications_of(ours, lambda: ours.backend(styles)),
        "matrix_peak": matrix_peak(ours),
        "draft": draft_quality(ours, rough),
        "ours_memory": peak_memory(resolution, folder),
    }


def table(found: dict) -> str:
    """The result as Markdown."""
    medians = {name: statistics.median(times) for name, times in found["seconds"].items()}
    busy = {name: min(times) for name, times in found["cpu_seconds"].items()}
    ours, peak = medians["ours"], found["matrix_peak"]
    lines = ["| | s a frame (median) | CPU s a frame (best) | frames/s | ours is faster by |", "|---|---|---|---|---|"]
    for name, seconds in medians.items():
        lines.append(f"| {name} | {seconds:.3f} | {busy[name]:.3f} | {1 / seconds:.2f} | {seconds / ours:.1f} |")
    best = min(seconds for name, seconds in medians.items() if name != "ours")
    reached = found["ours_gmac"] / ours
    return "\n".join(
        [
            f"BigGAN-deep {found['resolution']}: {found['machine']}, {found['versions']}, {found['date']}",
            "",
            *lines,
            "",
            f"{best / ours:.1f} times the library at its best batch. PSNR {found['psnr']:.0f} dB. "
            f"{found['ours_gmac']:.1f} GMAC a frame (library {found['library_gmac']:.1f}), {reached:.0f} GMAC/s, "
            f"{reached / peak:.0%} of what this machine reaches on products of matrices alone ({peak:.0f}). "
            f"Peak memory {found['ours_memory']:.0f} MB. Drawn by {found['ours']}.",
            "",
            f"Draft: {found['draft']['faster']:.1f} times faster than full, PSNR {found['draft']['psnr']:.1f} dB, "
            f"SSIM {found['draft']['ssim']:.3f} against it. Drawn by {found['draft']['by']}.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure BigGAN: ours against the library's.")
    parser.add_argument("--resolution", type=int, default=512, choices=RESOLUTIONS)
    parser.add_argument("--weights", metavar="DIR", type=Path, help="folder of weights (default: random ones)")
    parser.add_argument("--batches", default="1,2,4,8,16", help="batch sizes of the library (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measured turns (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.weights or Path(scratch)
        if arguments.weights is None:
            save(random_biggan(arguments.resolution), folder)
        batches = [int(size) for size in arguments.batches.split(",")]
        found = measure(arguments.resolution, folder, batches, arguments.rounds, arguments.device)
    print(table(found))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
