"""Mix the parts of a piece: media/TITLE-Dry.wav, and media/TITLE-Wet.wav with 8D panning and reverb.

Existing mixes are not written again if their inputs have not changed.

    python mix.py scores/Impassive.mix.toml
    python mix.py scores/song.mix.toml --title MySong
    python mix.py scores/Impassive.mix.toml --report mix.png
"""

import argparse
import re
import time
from pathlib import Path

from musicvideo.cli import Parser, entry_point, progress_bar, say
from musicvideo.sound.mixing import make_mixes, make_rehearsals, rehearsals, steps
from musicvideo.sound.table import explain, read_mix


def parser() -> argparse.ArgumentParser:
    examples = __doc__.split("\n\n", 1)[1]
    p = Parser(
        description="Mix parts by a table: loudness, tremolo, reverb, 8D panning.",
        epilog=f"{examples}\nA table is TOML, with these settings [and defaults]:\n\n{explain()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "table", metavar="TABLE", help="mix table, such as scores/Impassive.mix.toml; its settings are below"
    )
    p.add_argument("--title", help="names the outputs, and {title} in the table's paths (default: the table's name)")
    p.add_argument(
        "--rehearsals",
        action="store_true",
        help="write media/rehearsals/TITLE/<part>.wav as well: that part in front of the others",
    )
    p.add_argument("--report", metavar="PNG", help="draw loudness, true peak, ear balance and spectrum of both mixes")
    return p


def main() -> None:
    p = parser()
    args = p.parse_args()
    title = args.title or Path(args.table).name.removesuffix(".toml").removesuffix(".mix")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", title):
        p.error(f"title '{title}': use letters, digits, - and _ only; name it with --title")
    mix = read_mix(args.table, title)
    mixes = {f"{title} {name}": f"media/{title}-{name}.wav" for name in ("Dry", "Wet")}
    if args.report:
        from musicvideo.sound.plots import plot_mixes, require_picture  # here, since matplotlib takes long to load

        require_picture(args.report)
    begin = time.monotonic()
    stems, folder = f"media/.stems/{title}", f"media/rehearsals/{title}"
    notices: list[str] = []
    with progress_bar(total=steps(mix, rehearsals=args.rehearsals), desc=f"mixing {title}", delay=0.1) as bar:
        made = make_mixes(mix, *mixes.values(), stems=stems, progress=bar.update)
        rehearsed = args.rehearsals and make_rehearsals(
            mix, mixes[f"{title} Wet"], folder, stems=stems, notice=notices.append, progress=bar.update
        )
    if made:
        say(f"{args.table} -> {', '.join(mixes.values())}, mixed in {time.monotonic() - begin:.1f} s")
    if rehearsed:
        for line in notices:
            say(f"note: {line}", note=True)
        names = ", ".join(part for part, _ in rehearsals(f"{folder}.json"))
        say(f"{args.table} -> {folder}/: rehearsals of {names}" if names else f"{args.table}: no part to rehearse")
    if args.report:
        plot_mixes(mixes, mix.master, args.report)


if __name__ == "__main__":
    entry_point(main)
