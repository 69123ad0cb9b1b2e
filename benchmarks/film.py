"""The finished picture in one encode, beside a chain of twenty: time, and what the generations cost.

    python -m benchmarks.film --seconds 10 --json film.json

The chain is written anew from a description of the published one: every step (half, mirror, stack, edges, scale, slow
opening, title, back and forth, fades) is an FFmpeg run of its own with the same x264 preset and quality as the one
encode. Both start from the same square clip, drawn here by the embedded generator, and show the same film: slow
opening under a title, the clip, back and forth, fade-out. PSNR of each is against the same steps without loss, over
the frames between opening and ending.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from musicvideo import cli, probe, programs
from musicvideo.vision import film
from musicvideo.vision.generators.cppn.network import CPPN
from musicvideo.vision.title import title_card

RATE, SIDE, WIDTH, HEIGHT = 30, 512, 1920, 1080
INTRO, TAIL, OUTRO = 4, 2.5, 2
PRESET, CRF = "medium", 18


def draw_clip(path: Path, seconds: float) -> None:
    """A square clip of the embedded generator: noise on a circle, weights that wander between twelve classes."""
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
        "12",
        "-pix_fmt",
        "yuv420p",
        path,
    )
    raw.unlink()


def ffmpeg(*arguments) -> None:
    programs.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], doing="benchmark")


def chain(clip: Path, card: Path, seconds: float, crf: int, folder: Path) -> tuple[Path, int]:
    """Twenty encodes in a row, seven of them on a frame's way; returns the film and their number."""
    edge = (round(SIDE * WIDTH / HEIGHT) // 4 * 4 - SIDE) // 2
    encodes = 0

    def step(name: str, *arguments) -> Path:
        nonlocal encodes
        encodes += 1
        output = folder / f"{name}.mkv"
        ffmpeg(*arguments, "-an", "-c:v", "libx264", "-crf", crf, "-preset", PRESET, "-pix_fmt", "yuv420p", output)
        return output

    def filtered(name: str, source: Path, filters: str) -> Path:
        return step(name, "-i", source, "-vf", filters)

    def joined(name: str, sources: list[Path], how: str) -> Path:
        inputs = [part for source in sources for part in ("-i", source)]
        return step(name, *inputs, "-filter_complex", how)

    left = filtered("left", clip, "crop=iw/2:ih:0:0")
    right = filtered("right", left, "hflip")
    square = joined("square", [left, right], "hstack")
    left_edge = filtered("left_edge", square, f"crop={edge}:ih:0:0")
    left_flipped = filtered("left_flipped", left_edge, "hflip")
    right_edge = filtered("right_edge", square, f"crop={edge}:ih:iw-{edge}:0")
    right_flipped = filtered("right_flipped", right_edge, "hflip")
    wide = joined("wide", [left_flipped, square, right_flipped], "hstack=inputs=3")
    scaled = filtered("scaled", wide, f"scale={WIDTH}:{HEIGHT}:flags=lanczos")
    opening = filtered("opening", scaled, "trim=end=0.534")
    turned = filtered("turned", opening, "reverse")
    slow = filtered("slow", turned, f"setpts={INTRO / 0.534:.4f}*PTS,framerate={RATE}")
    titled = joined("titled", [slow, card], "overlay")
    ending = filtered("ending", scaled, f"trim=start={seconds - OUTRO},setpts=PTS-STARTPTS")
    back = filtered("back", ending, "reverse")
    around = joined("around", [back, ending], "concat")
    outro = filtered("outro", around, f"trim=end={TAIL}")
    whole = joined("whole", [titled, scaled, outro], "concat=n=3")
    lit = filtered("lit", whole, "fade=in:d=1")
    done = filtered("done", lit, f"fade=out:st={INTRO + seconds + TAIL - 3}:d=3")
    return done, encodes


def once(clip: Path, sound: Path, crf: int, folder: Path) -> Path:
    output = folder / "once.mkv"
    film.finish(
        clip,
        sound,
        output,
        width=WIDTH,
        height=HEIGHT,
        title="Impassive",
        intro=INTRO,
        outro=OUTRO,
        crf=crf,
        preset=PRESET,
    )
    return output


def psnr(lossy: Path, lossless: Path, seconds: float) -> float:
    """Luma PSNR in dB between opening and ending, where neither fades nor titles are."""
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
    errors = [float(value) for value in re.findall(r"mse_y:([\d.]+)", printed)]
    return 10 * np.log10(255**2 / statistics.fmean(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of the clip (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side, taking turns (%(default)s)")
    parser.add_argument("--json", help="write the figures there")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        folder = Path(work)
        clip, sound, card = folder / "clip.mp4", folder / "sound.wav", folder / "card.png"
        draw_clip(clip, seconds)
        soundfile.write(sound, np.zeros(round((seconds + TAIL) * 48000)), 48000)
        title_card("Impassive", "", WIDTH, HEIGHT).save(card)
        times = {"chain": [], "once": []}
        for _ in range(arguments.repeat):
            begin = time.perf_counter()
            chained, encodes = chain(clip, card, seconds, CRF, folder)
            times["chain"].append(time.perf_counter() - begin)
            begin = time.perf_counter()
            single = once(clip, sound, CRF, folder)
            times["once"].append(time.perf_counter() - begin)
        lossless = folder / "lossless"
        lossless.mkdir()
        figures = {
            "clip_seconds": seconds,
            "film_seconds": float(probe.probe(single).duration),
            "encodes_chain": encodes,
            "seconds_chain": statistics.median(times["chain"]),
            "seconds_once": statistics.median(times["once"]),
            "psnr_chain_db": psnr(chained, chain(clip, card, seconds, 0, lossless)[0], seconds),
            "psnr_once_db": psnr(single, once(clip, sound, 0, lossless), seconds),
        }
    figures["ratio"] = figures["seconds_chain"] / figures["seconds_once"]
    figures["psnr_gain_db"] = figures["psnr_once_db"] - figures["psnr_chain_db"]
    for name, value in figures.items():
        print(f"{name:14} {value:8.2f}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    cli.entry_point(main)
