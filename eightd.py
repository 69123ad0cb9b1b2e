"""8D sound: move a song, or one part of a piece, around the listener's head (for headphones).

    python eightd.py -i in.wav -o out.wav -e vibes -j scores/Impassive.panning.json -m media/Impassive.mid
    python eightd.py -i song.mp3 -o song-8d.wav --orbit 16
    python eightd.py -j scores/Impassive.panning.json -m media/Impassive.mid --plot motion.png

docs/panning.md explains panning scores: every effect with a picture, and an example from nothing.
"""

import argparse
from math import inf

from musicvideo.cli import Parser, entry_point, progress_bar, say
from musicvideo.clock import Clock, read_clock
from musicvideo.errors import MediaError
from musicvideo.panning import Motion, orbit, panning_duration, read_motion, set_names
from musicvideo.sound.models import MODELS, load_model
from musicvideo.sound.soundfiles import is_silent, open_sound
from musicvideo.sound.spatial import render_file


def parser() -> argparse.ArgumentParser:
    p = Parser(
        description="Move a sound around the listener's head.",
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("-i", "--input", metavar="FILE", help="mono or stereo sound: wav, flac, ogg, mp3")
    p.add_argument("-o", "--output", metavar="FILE", help="stereo sound at the same rate: wav or flac")
    p.add_argument(
        "-j", "--panning", metavar="JSON", help="panning score: the motion, in measures and beats (see docs/panning.md)"
    )
    p.add_argument(
        "-e",
        "--set",
        metavar="SET",
        help="which set of the panning score, such as vibes (not needed where there is only one)",
    )
    p.add_argument("-m", "--midi", metavar="MID", help="MIDI file whose tempo and metre the panning score follows")
    p.add_argument(
        "--orbit",
        metavar="SECONDS",
        type=float,
        help="no score: circle the head, so many seconds a turn (below 0: counter-clockwise)",
    )
    p.add_argument(
        "--model",
        choices=MODELS,
        help="pan: level only; sphere: level and time differences of a spherical head; hrtf: a measured head, "
        "which tells front from back (default: hrtf where measurements are installed, else sphere)",
    )
    p.add_argument(
        "--sofa", metavar="FILE", help="a measured head of your own for hrtf: a SOFA file (SimpleFreeFieldHRIR)"
    )
    p.add_argument(
        "--width",
        metavar="0..1",
        type=float,
        default=0.5,
        help="how far apart the channels of a stereo input stand: 0 one point, 0.5 ±30°, 1 ±60° (default %(default)s)",
    )
    p.add_argument(
        "--distance",
        metavar="METRES",
        type=float,
        nargs="?",
        const=1.0,
        default=1.0,
        help="of the source; the level falls as 1/distance (default, and without METRES: %(default)s, "
        "where the level is that of the input)",
    )
    p.add_argument(
        "-n", "--normalize", action="store_true", help="scale ear positions outside ±1 to fit, instead of refusing them"
    )
    p.add_argument(
        "--subtype",
        metavar="NAME",
        type=str.upper,
        help="sample format of the output, such as PCM_16, PCM_24, FLOAT (default: that of the input)",
    )
    p.add_argument(
        "--plot", metavar="PNG", help="draw the ear position of every set over time; with or without a sound"
    )
    return p


def check(p: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with a usage error where options do not go together."""
    if bool(args.input) != bool(args.output):
        p.error("-i and -o go together: the sound to move, and where to write it")
    if not args.input and not args.plot:
        p.error("give a sound to move with -i and -o, or --plot")
    if (args.orbit is None) == (args.panning is None):
        p.error("give the motion: either -j panning.json -e SET, or --orbit SECONDS")
    if args.orbit is not None and args.set:
        p.error("-e names a set of a panning score: give the score with -j, or leave -e out with --orbit")
    if args.plot and not args.panning:
        p.error("--plot draws a panning score: give one with -j")
    if args.sofa and args.model not in (None, "hrtf"):
        p.error(f"--sofa is for --model hrtf, not {args.model}")
    if args.orbit is not None and not 0.1 <= abs(args.orbit) < inf:
        p.error("--orbit: a turn takes some seconds; 16 is calm, 4 is fast")
    if not 0 <= args.width <= 1:
        p.error("--width is from 0 to 1")
    if not 0.1 <= args.distance <= 100:
        p.error("--distance is from 0.1 to 100 metres")


def main() -> None:
    p = parser()
    args = p.parse_args()
    check(p, args)
    clock = read_clock(args.midi) if args.midi else None
    if args.panning and args.input and not args.set:
        names = set_names(args.panning)
        if len(names) > 1:
            p.error(f"-j needs -e SET: which set of the panning score to follow ({', '.join(names)})")
        args.set = names[0]
    if args.input:
        move(args, clock)
    else:
        draw(args, clock, panning_duration(args.panning, clock, scale=args.normalize))


def motion_of(args: argparse.Namespace, name: str, clock: Clock | None, duration: float) -> Motion:
    return read_motion(args.panning, name, clock, duration, scale=args.normalize, distance=args.distance)


def move(args: argparse.Namespace, clock: Clock | None) -> None:
    """Write the moved sound, and the plot if one is asked for."""
    with open_sound(args.input) as sound:
        frames, duration = sound.frames, sound.frames / sound.samplerate
        if is_silent(sound):
            raise MediaError(f"{args.input}: is silent from start to end, there is nothing to move")
    motion = motion_of(args, args.set, clock, duration) if args.panning else orbit(args.orbit, distance=args.distance)
    model = load_model("hrtf" if args.sofa else args.model, args.sofa)
    if args.plot:
        draw(args, clock, duration)  # first, so that a fault shows before minutes of rendering
    with progress_bar(total=frames, unit="sample", unit_scale=True, desc=args.output, delay=0.1) as bar:
        gain = render_file(
            args.input, args.output, motion, model, width=args.width, subtype=args.subtype, progress=bar.update
        )
    softer = f" ({-gain:.1f} dB softer, so that nothing clips)" if gain else ""
    say(f"{args.input} -> {args.output}{softer}")


def draw(args: argparse.Namespace, clock: Clock | None, duration: float) -> None:
    """Plot every set that has no fault; name the faults of the others."""
    from musicvideo.sound.plots import plot_motions, require_picture  # here, since matplotlib takes long to load

    require_picture(args.plot)
    motions, faults = {}, []
    for name in set_names(args.panning):
        try:
            motions[name] = motion_of(args, name, clock, duration)
        except MediaError as error:
            faults.append(error)
    if not motions:
        raise faults[0]
    for fault in faults:
        say(f"note: not drawn: {fault}", note=True)
    plot_motions(motions, clock, duration, args.plot)
    say(f"{args.panning} -> {args.plot}")


if __name__ == "__main__":
    entry_point(main)
