"""The film step: processor time, size and quality, beside earlier encoder settings and the published chain.

    python -m benchmarks.film --seconds 10 --json film.json

One run compares three films of one square clip: the film step with its default encoder settings, the film step with the
settings of `BEFORE`, and a chain of encodes rewritten from the description of the published one. Each step of the chain
(mirror, stack, edges, slow opening, title, back and forth, fades) is an FFmpeg run of its own. PSNR compares each film
with its own steps without loss, for the frames between opening and ending. `cppn` draws the clip.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from musicvideo import cli, probe, programs
from musicvideo.vision import film, framing
from musicvideo.vision.codecs import CODECS, Codec
from musicvideo.vision.generators.cppn.network import CPPN
from musicvideo.vision.title import title_card

RATE, WIDTH, HEIGHT = 30, 1920, 1080
SIDE = framing.pair_side(WIDTH, HEIGHT)
INTRO, TAIL, OUTRO = 4, 2.5, 2
BEFORE = replace(CODECS["h264"], crf=17, options=("-preset", "medium"))


def draw_clip(path: Path, seconds: float) -> None:
    """Draw a square clip: noise on a circle, slowly changing weights of twelve classes."""
    frames = round(seconds * RATE)
    rng = np.random.default_rng(7)
    a, b = rng.normal(0, 0.8, (2, 128))
    angle = np.linspace(0, 2 * np.pi * seconds / 10, frames)[:, None]
    noise = np.cos(angle) * a + np.sin(angle) * b
    generator = CPPN(SIDE)
    weights = np.zeros((frames, len(generator.labels)))
    for column in rng.choice(len(generator.labels), 12, replace=False):
        weights[:, column] = (0.5 + 0.5 * np.cos(angle[:, 0] * rng.uniform(0.5, 2) + rng.uniform(0, 6))) ** 2
    raw = path.with_suffix(".rgb")
    with raw.open("wb") as stream:
        for start in range(0, frames, RATE):
            stream.write(generator.frames(noise[start : start + RATE], weights[start : start + RATE]).tobytes())
    ffmpeg(
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{SIDE}x{SIDE}",
        "-r",
        RATE,
        "-i",
        raw,
        "-c:v",
        "libx264",
        "-crf",
        14,
        "-pix_fmt",
        "yuv420p",
        path,
    )
    raw.unlink()


def ffmpeg(*arguments) -> None:
    programs.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], doing="benchmark")


def chain(clip: Path, card: Path, seconds: float, encoder: list[str], folder: Path) -> tuple[Path, int]:
    """One encode for each step, six of which each frame goes through; returns the film and the number of encodes."""
    columns, rows = WIDTH // 2 - SIDE, HEIGHT - SIDE
    above = 2 * round(framing.PAIR_ABOVE * rows / 2)
    encodes = 0

    def step(name: str, *arguments) -> Path:
        nonlocal encodes
        encodes += 1
        output = folder / f"{name}.mkv"
        ffmpeg(*arguments, "-an", *encoder, "-pix_fmt", "yuv420p", output)
        return output

    def filtered(name: str, source: Path, filters: str) -> Path:
        return step(name, "-i", source, "-vf", filters)

    def joined(name: str, sources: list[Path], how: str) -> Path:
        inputs = [part for source in sources for part in ("-i", source)]
        return step(name, *inputs, "-filter_complex", how)

    right = filtered("right", clip, "hflip")
    pair = joined("pair", [clip, right], "hstack")
    left_edge = filtered("left_edge", pair, f"crop={columns}:ih:0:0")
    left_flipped = filtered("left_flipped", left_edge, "hflip")
    right_edge = filtered("right_edge", pair, f"crop={columns}:ih:iw-{columns}:0")
    right_flipped = filtered("right_flipped", right_edge, "hflip")
    wide = joined("wide", [left_flipped, pair, right_flipped], "hstack=inputs=3")
    top_edge = filtered("top_edge", wide, f"crop=iw:{above}:0:0")
    top_flipped = filtered("top_flipped", top_edge, "vflip")
    bottom_edge = filtered("bottom_edge", wide, f"crop=iw:{rows - above}:0:ih-{rows - above}")
    bottom_flipped = filtered("bottom_flipped", bottom_edge, "vflip")
    full = joined("full", [top_flipped, wide, bottom_flipped], "vstack=inputs=3")
    opening = filtered("opening", full, "trim=end=0.534")
    turned = filtered("turned", opening, "reverse")
    slow = filtered("slow", turned, f"setpts={INTRO / 0.534:.4f}*PTS,framerate={RATE}")
    titled = joined("titled", [slow, card], "overlay")
    ending = filtered("ending", full, f"trim=start={seconds - OUTRO},setpts=PTS-STARTPTS")
    back = filtered("back", ending, "reverse")
    around = joined("around", [back, ending], "concat")
    outro = filtered("outro", around, f"trim=end={TAIL}")
    whole = joined("whole", [titled, full, outro], "concat=n=3")
    lit = filtered("lit", whole, "fade=in:d=1")
    done = filtered("done", lit, f"fade=out:st={INTRO + seconds + TAIL - 3}:d=3")
    return done, encodes


def step(clip: Path, sound: Path, codec: Codec, output: Path) -> Path:
    """The film step with an encoder."""
    CODECS["benchmark"] = codec
    film.finish(
        clip, sound, output, width=WIDTH, height=HEIGHT, title="Impassive", intro=INTRO, outro=OUTRO, codec="benchmark"
    )
    return output


def measured(make: Callable[[], Path]) -> tuple[Path, float, float]:
    """What a function makes, its wall time, and the processor time of the programs that it ran, in seconds."""

    def processor() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    wall, busy = time.perf_counter(), processor()
    output = make()
    return output, time.perf_counter() - wall, processor() - busy


def psnr(lossy: Path, lossless: Path, seconds: float) -> float:
    """PSNR of all planes in dB between opening and ending, which are without fades and title."""
    window = f"trim={INTRO + 1.5}:{INTRO + seconds - 1},setpts=PTS-STARTPTS"
    printed = programs.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            lossy,
            "-i",
            lossless,
            "-filter_complex",
            f"[0]{window}[a];[1]{window}[b];[a][b]psnr=stats_file=-",
            "-f",
            "null",
            "-",
        ],
        doing="comparing",
    ).decode()
    errors = [float(value) for value in re.findall(r"mse_avg:([\d.]+)", printed)]
    return 10 * np.log10(255**2 / statistics.fmean(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of the clip (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side, taking turns (%(default)s)")
    parser.add_argument("--json", help="write the figures there")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    lossless = replace(CODECS["h264"], crf=0, options=("-preset", "ultrafast"))
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        folder = Path(work)
        clip, sound, card = folder / "clip.mp4", folder / "sound.wav", folder / "card.png"
        draw_clip(clip, seconds)
        soundfile.write(sound, np.zeros(round((seconds + TAIL) * 48000)), 48000)
        title_card("Impassive", "", WIDTH, HEIGHT).save(card)
        sides = {
            "chain": lambda: chain(clip, card, seconds, BEFORE.arguments(), folder)[0],
            "before": lambda: step(clip, sound, BEFORE, folder / "before.mkv"),
            "now": lambda: step(clip, sound, CODECS["h264"], folder / "now.mkv"),
        }
        runs: dict[str, list[tuple[Path, float, float]]] = {name: [] for name in sides}
        for _ in range(arguments.repeat):
            for name, make in sides.items():
                runs[name].append(measured(make))
        exact = folder / "lossless"
        exact.mkdir()
        reference = step(clip, sound, lossless, folder / "reference.mkv")
        references = {"chain": chain(clip, card, seconds, lossless.arguments(), exact)[0]}
        for name, (taken, *_) in runs.items():
            output = taken[0]
            figures[f"{name}_wall_s"] = statistics.median(wall for _, wall, _ in runs[name])
            figures[f"{name}_processor_s"] = statistics.median(busy for _, _, busy in runs[name])
            figures[f"{name}_mb"] = output.stat().st_size / 1e6
            figures[f"{name}_psnr_db"] = psnr(output, references.get(name, reference), seconds)
        figures["film_s"] = float(probe.probe(reference).duration)
    for name, value in figures.items():
        print(f"{name:18} {value:8.2f}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    cli.entry_point(main)
