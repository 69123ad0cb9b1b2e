"""BigGAN-deep: our rewrite against the library's model, on the same vectors, taking turns in one run.

    python -m benchmarks.biggan --resolution 512
    python -m benchmarks.biggan --resolution 512 --weights DIR --batches 1,2,30 --json biggan-512.json

Without a folder of weights it makes random ones, which cost as much to draw with. The last table row is ours.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from musicvideo.vision.generators import backends, weights
from musicvideo.vision.generators.biggan import BigGAN, Network, Reference
from tests.random_biggan import random_biggan, save

FRAMES = 8                     # that ours draws in a turn
MATRIX = 2048                  # rows of the matrices whose product measures the machine's peak


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


def matrix_peak() -> float:
    """GMAC/s of numpy's product of matrices in fp32, on all cores; the best of ten.

    Torch's own takes kernels of half the width on AMD processors.
    """
    a, b = np.random.default_rng(0).random((2, MATRIX, MATRIX), dtype=np.float32)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return MATRIX**3 / min(seconds) / 1e9


def peak_memory(resolution: int, folder: Path) -> float:
    """Megabytes of a process that draws with ours and does nothing else."""
    program = (
        "import resource\n"
        "from benchmarks.biggan import vectors\n"
        "from musicvideo.vision.generators import load\n"
        f"load('biggan', resolution={resolution}, weights={str(folder)!r}).frames(*vectors({FRAMES}))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout) / unit


def measure(resolution: int, folder: Path, batches: list[int], rounds: int, device: str) -> dict:
    """Seconds a frame of each contender in each round, and what else the table shows."""
    ours_memory = peak_memory(resolution, folder)      # first, for a process inherits the peak of its parent
    ours = BigGAN(resolution, weights=folder, device=device)
    library = Reference(resolution, weights=folder)
    wanted = library.pictures(*vectors(1))
    contenders = {f"library, batch {size}": (size, lambda v: library.pictures(*v)) for size in batches}
    contenders["ours"] = (FRAMES, lambda v: ours.frames(*v))
    wall, cpu = ({name: [] for name in contenders} for _ in range(2))
    for turn in range(rounds + 1):
        for name, (size, draw) in contenders.items():
            v = vectors(size)
            start, busy = time.perf_counter(), time.process_time()
            draw(v)
            if turn:                            # the first round warms up
                wall[name].append((time.perf_counter() - start) / size)
                cpu[name].append((time.process_time() - busy) / size)
    rewritten = backends.TorchBackend(Network(weights.load(resolution, folder), 1.0), "cpu")
    styles = next(ours.styles(*(torch.as_tensor(v).float() for v in vectors(1))))
    return {
        "resolution": resolution,
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "seconds": wall,
        "cpu_seconds": cpu,
        "psnr": psnr(torch.cat(list(ours.pictures(*vectors(1)))), wanted),
        "library_gmac": multiplications(lambda: library.pictures(*vectors(1))),
        "ours_gmac": multiplications(lambda: rewritten(styles)),
        "matrix_peak": matrix_peak(),
        "ours_memory": ours_memory,
    }


def versions() -> str:
    """Of the packages that compute."""
    found = f"torch {torch.__version__}"
    return f"openvino {backends.openvino.__version__.split('-')[0]}, {found}" if backends.openvino else found


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
    return "\n".join([
        f"BigGAN-deep {found['resolution']}: {found['machine']}, {found['versions']}, {found['date']}",
        "",
        *lines,
        "",
        f"{best / ours:.1f} times the library at its best batch. PSNR {found['psnr']:.0f} dB. "
        f"{found['ours_gmac']:.1f} GMAC a frame (library {found['library_gmac']:.1f}), {reached:.0f} GMAC/s, "
        f"{reached / peak:.1f} times numpy's product of matrices ({peak:.0f}). "
        f"Peak memory {found['ours_memory']:.0f} MB.",
    ])


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure BigGAN: ours against the library's.")
    parser.add_argument("--resolution", type=int, default=512, choices=weights.RESOLUTIONS)
    parser.add_argument("--weights", metavar="DIR", type=Path, help="folder of weights (default: random ones)")
    parser.add_argument("--batches", default="1,2,4", help="batch sizes of the library (default %(default)s)")
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
