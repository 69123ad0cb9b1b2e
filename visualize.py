"""A song -> a square video: a picture generator steered by the song's loudness and pitches.

    python visualize.py --song media/Impassive.wav --generator pocket --output_file out.mp4 --duration 10
    python visualize.py --song song.mp3 --classes mushroom "grand piano" castle --fps 30 --seed 7 --output_file song.mp4
    python visualize.py --list_classes castle
    python visualize.py --like song.mp4 --jitter 0.8 --output_file livelier.mp4
"""

import argparse
import math
import os
import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path
from tqdm import tqdm

from musicvideo import caches, files, probe
from musicvideo.cli import entry_point, Parser
from musicvideo.errors import MediaError
from musicvideo.vision import generators
from musicvideo.vision.codecs import CODECS
from musicvideo.vision.features import (
    HOP_UNIT, MAPPINGS, SAMPLE_RATE, Features, Song, cached_features, load_song,
)  # fmt: skip
from musicvideo.vision.labels import resolve, search
from musicvideo.vision.latents import PITCHES, RANGES, Trajectory, random_classes, trajectory
from musicvideo.vision.render import (
    QUALITIES, RATES, SIZES, Encoding, Work, encoding, frame_count, is_made, render, settings_of, versions,
)  # fmt: skip
from musicvideo.vision.storyboard import clock, seconds_a_frame, span, storyboard

PREVIOUS = ".previous_vectors.npz"       # in the output folder: what --use_previous_... takes up
LONGEST_HOP = 60 * SAMPLE_RATE // HOP_UNIT * HOP_UNIT      # samples; one grid point a minute
ESTIMATED = (128, 256, 512)              # resolutions whose render time a storyboard tells
WALK = ("pitch_sensitivity", "tempo_sensitivity", "depth", "jitter", "truncation", "smooth_factor",
        "sort_classes_by_power")
# What vectors hold already. Truncation they do, too, but a generator may also look it up.
MOTION = (*(name for name in WALK if name != "truncation"), "mapping", "frame_length", "num_classes")
KEPT = ("song", "duration", "generator", "resolution", "weights", "device", "precision", "quality", "mapping",
        "frame_length", *WALK, "codec", "crf", "output_size")     # with classes, seed and the like: what makes a video


def parser() -> argparse.ArgumentParser:
    p = Parser(
        usage="python visualize.py --song SONG --output_file FILE [options]",
        description="Turn a song into a square video.",
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument_group("song and video").add_argument
    add("--song", metavar="FILE", help="any audio file, or a video file for its sound")
    add("--duration", metavar="SECONDS", type=number(float, 0.01),
        help="only so much of the song, from its start (default: all)")
    add("--output_file", metavar="FILE", default="output.mp4", help=".mp4, .mkv, .webm or .mov (default %(default)s)")
    add("--fps", metavar="RATE", type=rate, help="frames a second, a number or a fraction such as 30000/1001 "
                                                 "(default: the rate of analysis, 22050/frame_length)")
    add("--codec", choices=CODECS, metavar="NAME", help=f"{', '.join(CODECS)} (default: h264; in .webm vp9)")
    add("--crf", metavar="N", type=int,
        help="quality in the codec's own scale; lower is better and larger (with videotoolbox, higher is)")
    add("--output_size", metavar="PIXELS", type=number(int, *SIZES), help="scale the picture to this size (default: as drawn)")
    add("--overwrite", action="store_true", help="start over where an interrupted run had other settings")

    add = p.add_argument_group("generator").add_argument
    add("--generator", choices=generators.NAMES, default="biggan",
        help="biggan needs its weights; pocket and cppn need nothing (default %(default)s)")
    add("--resolution", metavar="PIXELS", type=number(int, *SIZES), default=512,
        help="128, 256 or 512; cppn draws any, and pocket's pictures are scaled to it (default %(default)s)")
    add("--weights", metavar="DIR", help="folder with BigGAN's weights (default: the cache, else a download)")
    add("--device", type=device, default="auto", help="auto takes the fastest; cpu, cuda, cuda:N or mps (default %(default)s)")
    add("--precision", metavar="NAME", choices=("auto", "fp32", "fp16", "bf16"), default="auto",
        help="BigGAN's: fp32, fp16 or bf16; auto takes the lowest that draws the same, for a draft the lowest "
             "(default %(default)s)")
    add("--quality", choices=QUALITIES, default="full",
        help=f"draft: draw each {QUALITIES['draft']}rd frame, roughly, and fade from one to the next "
             "(default %(default)s)")
    add("--batch_size", metavar="N", type=number(int, 1), default=30,
        help="pictures drawn at a time; fewer need less memory (default %(default)s)")

    add = p.add_argument_group("what is seen").add_argument
    add("--classes", metavar="CLASS", nargs="+", help="names or numbers of classes (default: random ones)")
    add("--num_classes", metavar="N", type=number(int, *RANGES["num_classes"]),
        help="how many classes, 1..12 (default: those named, else 12)")
    add("--sort_classes_by_power", metavar="0|1", type=int, choices=(0, 1), default=0,
        help="1: the first class named goes to the strongest pitch (default %(default)s)")
    add("--list_classes", metavar="WORD", nargs="?", const="", help="print the generator's classes and stop")

    add = p.add_argument_group("how it moves").add_argument
    add("--mapping", choices=MAPPINGS, default="classic",
        help="classic: loudness moves, pitches choose; pulse: drums move, harmony chooses (default %(default)s)")
    add("--pitch_sensitivity", metavar="1..299", type=number(float, *RANGES["pitch_sensitivity"]), default=220,
        help="how fast classes follow pitch, 200..295 useful (default %(default)s)")
    add("--tempo_sensitivity", metavar="0..1", type=number(float, *RANGES["tempo_sensitivity"]), default=0.25,
        help="how fast the picture follows loudness, 0.05..0.8 useful (default %(default)s)")
    add("--depth", metavar="0.01..1", type=number(float, *RANGES["depth"]), default=1,
        help="largest weight of a class (default %(default)s)")
    add("--jitter", metavar="0..1", type=number(float, *RANGES["jitter"]), default=0.5,
        help="unevenness of the motion (default %(default)s)")
    add("--truncation", metavar="0.1..1", type=number(float, *RANGES["truncation"]), default=1,
        help="lower is more typical, higher more varied (default %(default)s)")
    add("--smooth_factor", metavar="N", type=number(float, *RANGES["smooth_factor"]), default=20,
        help="smoothing of classes, in frames of 512 samples, from 1 (default %(default)s)")
    add("--frame_length", metavar="SAMPLES", type=number(int, HOP_UNIT, LONGEST_HOP, HOP_UNIT), default=512,
        help="step of the analysis at 22 050 Hz, a multiple of 64 (default %(default)s)")
    add("--seed", metavar="N", type=number(int, 0),
        help="the same number makes the same video (default: a new one, printed)")
    add("--storyboard", metavar="PNG", type=png,
        help="draw no video but a page that shows what it will be, and how long it takes")

    add = p.add_argument_group("the same again").add_argument
    add("--like", metavar="VIDEO", help="all settings of an earlier video; what else is given here wins")
    add("--save_vectors", metavar="NPZ", help="write the vectors of this video")
    add("--vectors", metavar="NPZ", help="use vectors that --save_vectors wrote")
    add("--use_previous_classes", metavar="0|1", type=int, choices=(0, 1), default=0,
        help="1: the classes of the last run in the output folder (default %(default)s)")
    add("--use_previous_vectors", metavar="0|1", type=int, choices=(0, 1), default=0,
        help="1: the vectors of the last run in the output folder (default %(default)s)")
    return p


def number(kind: type, lowest: float, highest: float = math.inf, step: int | None = None):
    """What reads a number of a command line, and says its range if it is not in it."""
    def read(text: str):
        value = kind(text)
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not in {lowest}..{highest}")
        if step and value % step:
            raise argparse.ArgumentTypeError(f"{text} is not a multiple of {step}")
        return value

    read.__name__ = {int: "whole number", float: "number"}[kind]       # argparse: "invalid number value: 'x'"
    return read


def rate(text: str) -> Fraction:
    """A frame rate as people write it, such as 30, 23.976 or 30000/1001."""
    try:
        value = Fraction(text).limit_denominator(100_000)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is no number and no fraction") from None
    if not RATES[0] <= value <= RATES[1]:
        raise argparse.ArgumentTypeError(f"{text} is not in {RATES[0]}..{RATES[1]}")
    return value


def png(text: str) -> str:
    """The name of a PNG file."""
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"{text} must end in .png")
    return text


def device(text: str) -> str:
    """A device by name, whether or not this machine has it."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"unknown {text!r} (choose auto, cpu, cuda, cuda:N or mps)")
    return text


def parse(p: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """The settings asked for: the command line's, else those of the video it likes, else the defaults."""
    def underscored(word: str) -> str:
        name, equals, value = word.partition("=")
        return name.replace("-", "_").replace("__", "--", 1) + equals + value if word.startswith("--") else word

    argv = [underscored(word) for word in argv]
    args = p.parse_args(argv)
    absent = object()
    found = p.parse_args(argv, argparse.Namespace(**dict.fromkeys(vars(args), absent)))
    given = {name: value for name, value in vars(found).items() if value is not absent}
    if args.like:
        earlier = inherited(settings_of(args.like), given)
        classes = earlier.get("classes")
        if classes and "classes" not in given and len(classes) < given.get("num_classes", 0):
            p.error(f"argument --num_classes: {args.like} has {len(classes)} classes (name more with --classes)")
        # As text, so that numbers are checked as those of a command line are.
        p.set_defaults(**{name: str(value) if isinstance(value, (int, float)) else value
                          for name, value in earlier.items() if name in vars(args)})
        args = p.parse_args(argv)
        for name in {"song", "vectors"} - given.keys():
            then, file = earlier.get(f"{name}_sha256"), getattr(args, name)
            if file and then and args.list_classes is None:
                files.require_file(file)
                if files.sha256(file) != then:
                    raise MediaError(f"{file}: has changed since {args.like} was made of it "
                                     f"(give --{name} to take it as it is)")
    if not args.song and args.list_classes is None:
        p.error("--song is missing: which song shall be seen?")
    require_effect(p, args, given)
    return args


def require_effect(p: argparse.ArgumentParser, args: argparse.Namespace, given: dict) -> None:
    """Refuse what was given on the command line beside something that takes its place."""
    vectors = "--use_previous_vectors" if args.use_previous_vectors else "--vectors" if args.vectors else None
    for name in MOTION if vectors else ():
        if name in given:
            p.error(f"argument --{name}: the vectors hold it already (leave out --{name} or {vectors})")
    if args.use_previous_vectors and "vectors" in given:
        p.error("argument --vectors: not with --use_previous_vectors (leave out either)")
    if args.use_previous_classes and "classes" in given:
        p.error("argument --classes: not with --use_previous_classes (leave out either)")


def inherited(earlier: dict, given: dict) -> dict:
    """The settings of an earlier video without those that what is given on the command line takes the place of."""
    asked = {name for name, value in given.items() if value or not name.startswith("use_previous_")}
    earlier = dict(earlier)
    another = given.get("generator", earlier.get("generator")) != earlier.get("generator")
    sources = {"vectors", "use_previous_vectors", "use_previous_classes"}
    if another or asked & (sources | {"classes", "num_classes", "seed"}):
        earlier["vectors"] = None
    if another or asked & sources:
        earlier["classes"] = None
    elif "num_classes" in asked and earlier.get("classes"):
        earlier["classes"] = earlier["classes"][:given["num_classes"]]
    return earlier


def main() -> None:
    p = parser()
    args = parse(p, sys.argv[1:])
    try:
        labels = generators.labels(args.generator)
        if args.list_classes is not None:
            found = search(labels, args.list_classes)
            if not found:
                raise ValueError(f"list_classes: no class of {args.generator} has {args.list_classes!r} in its name")
            for index, name in found:
                print(f"{index:4d}  {name}")
            return
        settings, how = settle(args, labels)
        settings["weights_sha256"] = weights_checksum(args)
        if args.like:
            require_same_weights(args, settings)
        generator = load(args, args.resolution, args.weights)
        settings["runs_on"] = generator.runs_on
        print(f"seed {settings['seed']}, classes: {', '.join(settings['class_names'])}; drawn by {args.generator} "
              f"({generator.runs_on})")
        if args.storyboard:
            preview(args, settings, how, generator)
        else:
            produce(args, settings, how, generator)
    except ValueError as error:
        p.error(str(error))                          # names the setting, its value and what it can be


def load(args: argparse.Namespace, resolution: int, weights: str | os.PathLike | None) -> generators.Generator:
    """The generator asked for, at any resolution."""
    precision = "lowest" if args.quality == "draft" and args.precision == "auto" else args.precision
    return generators.load(args.generator, resolution=resolution, truncation=args.truncation, weights=weights,
                           device=args.device, precision=precision, progress=tqdm)


def weights_checksum(args: argparse.Namespace) -> str | None:
    """SHA-256 of the weights that will be loaded; None for a generator that has none."""
    return generators.weights_checksum(args.generator, args.resolution, args.weights, progress=tqdm, notice=print)


def require_same_weights(args: argparse.Namespace, settings: dict) -> None:
    """Refuse to draw a video again with other weights, unless they were asked for."""
    earlier = settings_of(args.like)
    alike = all(earlier.get(name) == settings[name] for name in ("generator", "resolution", "weights"))
    if alike and earlier.get("weights_sha256") != settings["weights_sha256"]:
        raise MediaError(f"{args.weights or 'the weights'}: other weights than those {args.like} was made with "
                         "(give --weights to take others)")


def produce(args: argparse.Namespace, settings: dict, how: Encoding, generator: generators.Generator) -> None:
    """Render the video."""
    if is_made(args.output_file, settings):
        os.utime(args.output_file)                   # for make: it is as new as what it was made from
        print(f"{args.output_file}: is this video already")
        return
    work = Work(args.output_file)
    with work.open(settings, overwrite=args.overwrite, notice=print):
        path = follow(args, settings, generator.noise_dim)
        for file in filter(None, (args.save_vectors, work.output.with_name(PREVIOUS))):
            if settings["vectors"] and Path(file).resolve() == Path(settings["vectors"]).resolve():
                continue                             # the same ones, and a new file would have another checksum
            path.save(file, labels=[generator.labels[index] for index in path.classes], params=settings)
        try:
            frames = render(generator, path, args.song, work, encoding=how, batch_size=args.batch_size,
                            every=QUALITIES[args.quality], progress=partial(tqdm, unit="frame", desc=args.output_file))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                "what is done is kept; run the same command again to go on" if work.unfinished() else
                f"too early to keep anything; --seed {settings['seed']} draws the same video"
            ) from None
    print(f"{args.output_file}: {frames} frames, {how.size}x{how.size}, {how.codec}, "
          f"{float(how.fps):.6g} frames a second")


def preview(args: argparse.Namespace, settings: dict, how: Encoding, generator: generators.Generator) -> None:
    """Draw the storyboard."""
    features = listen(args)
    path = follow(args, settings, generator.noise_dim, features)
    frames = frame_count(path.duration, how.fps)
    estimates = {}
    sizes = ESTIMATED if generator.resolution == args.resolution else ()         # pocket has one of its own
    for resolution in sorted({*sizes, args.resolution}):
        try:
            known = generator if resolution == args.resolution else load(args, resolution, args.weights or caches.folder("biggan"))
        except MediaError:                           # no weights at hand for this one, and no reason to fetch them
            continue
        estimates[resolution] = frames / QUALITIES[args.quality] * seconds_a_frame(known, path)
    storyboard(
        args.storyboard, samples=load_song(args.song, args.duration), features=features, trajectory=path,
        generator=generator, title=Path(args.song).stem, estimates=estimates,
        facts=f"{clock(round(path.duration))}   ·   {args.generator}, {args.resolution} × {args.resolution}   ·   "
              f"{float(how.fps):.5g} frames a second   ·   seed {settings['seed']}",
    )
    print(f"{args.storyboard}: a render takes about " + ", ".join(
        f"{span(seconds)} at {resolution}" for resolution, seconds in estimates.items()))


def settle(args: argparse.Namespace, labels: Sequence[str]) -> tuple[dict, Encoding]:
    """Decide what was left open: the seed, the classes, the frame rate, the encoding.

    Returns:
        Everything that makes the video, of JSON's types, settings under their names; and the encoding.
    """
    if probe.probe(args.song).audio_codec is None:
        raise MediaError(f"{args.song}: has no sound in it")
    if Path(args.song).resolve() == Path(args.output_file).resolve():
        raise ValueError(f"output_file: {args.output_file} is the song itself")
    seed = args.seed
    if seed is None:
        interrupted = Work(args.output_file).unfinished()
        seed = interrupted["seed"] if interrupted else secrets.randbelow(2**32)
    previous = Path(args.output_file).with_name(PREVIOUS)
    vectors = str(previous) if args.use_previous_vectors else args.vectors
    grid_rate = Fraction(SAMPLE_RATE, args.frame_length)
    if vectors:
        path, _ = saved(vectors, labels)
        classes, grid_rate = list(path.classes), Fraction(path.grid_rate).limit_denominator(100_000)
        if args.classes and resolve(args.classes, labels) != classes:
            raise ValueError("classes: the vectors have classes of their own; give either, not both")
    elif args.use_previous_classes:
        path, params = saved(previous, labels)
        # Where they were sorted by power, those of the vectors would be permuted once more.
        classes = params.get("classes", list(path.classes))
        if len(classes) < (args.num_classes or 1):
            raise ValueError(f"num_classes: {args.num_classes} asked for, the last run had {len(classes)}")
        classes = classes[:args.num_classes]
    else:
        classes = chosen_classes(args, labels, seed)
    how = encoding(args.output_file, fps=args.fps or grid_rate, codec=args.codec, crf=args.crf,
                   size=args.output_size or args.resolution)
    settings = {
        **{name: getattr(args, name) for name in KEPT},
        "fps": args.fps and str(args.fps),
        "seed": seed,
        "classes": classes,
        "class_names": [labels[index] for index in classes],
        "vectors": vectors,
        "vectors_sha256": vectors and files.sha256(vectors),
        "song_sha256": files.sha256(args.song),
        "frames": {"fps": str(how.fps), "codec": how.codec, "crf": how.crf, "size": how.size},
        "versions": versions(),
    }
    return settings, how


def chosen_classes(args: argparse.Namespace, labels: Sequence[str], seed: int) -> list[int]:
    """The classes named, else random ones; the first `num_classes` of them."""
    if not args.classes:
        return random_classes(np.random.default_rng([seed, 0]), args.num_classes or PITCHES, len(labels))
    classes = list(dict.fromkeys(resolve(args.classes, labels)))       # by name and by number, still one class
    wanted = args.num_classes or min(len(classes), PITCHES)
    if len(classes) not in (wanted, PITCHES):
        raise ValueError(f"classes: {len(classes)} different ones given, num_classes asks for {wanted}")
    return classes[:wanted]


def saved(vectors: str | os.PathLike, labels: Sequence[str]) -> tuple[Trajectory, dict]:
    """Saved vectors and the parameters that made them, if this generator has their classes."""
    path, names, params = Trajectory.load(vectors)
    if [labels[index] for index in path.classes if 0 <= index < len(labels)] != names:
        raise MediaError(f"{vectors}: made for another generator's classes ({', '.join(names)})")
    return path, params


def listen(args: argparse.Namespace) -> Features:
    """What the mapping hears in the song; remembered, for the same song is often rendered again."""
    return cached_features(Song(args.song, args.duration), args.frame_length, mapping=args.mapping,
                           cache=user_cache_path("musicvideo") / "features")


def follow(args: argparse.Namespace, settings: dict, noise_dim: int, features: Features | None = None) -> Trajectory:
    """The path of the song through the generator: read, or made from its features."""
    if settings["vectors"]:
        path, _, _ = Trajectory.load(settings["vectors"])
        if path.noise.shape[1] != noise_dim:
            raise MediaError(f"{settings['vectors']}: noise vectors of {path.noise.shape[1]} numbers, "
                             f"{args.generator} takes {noise_dim}")
        duration = sum(map(len, Song(args.song, args.duration))) / SAMPLE_RATE      # a file may state another one
        if duration > path.duration + 1:
            raise MediaError(f"{settings['vectors']}: ends after {path.duration:.1f} of {duration:.1f} s "
                             f"(give --duration {math.floor(path.duration)})")
        return replace(path, duration=min(duration, path.duration))
    return trajectory(
        features or listen(args),
        settings["classes"], noise_dim=noise_dim, num_classes=len(settings["classes"]),
        rng=np.random.default_rng([settings["seed"], 1]), **{name: getattr(args, name) for name in WALK},
    )


if __name__ == "__main__":
    entry_point(main)
