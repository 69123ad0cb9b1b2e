"""The stages that have no script of their own; the Makefile calls them, and so may you.

python -m musicvideo doctor
python -m musicvideo score scores/Impassive.mscz
python -m musicvideo song ~/Music/song.mp3 media/MySong.wav
python -m musicvideo notes song.mp3 song.notes.mid
python -m musicvideo tables Impassive media/Impassive.mid
python -m musicvideo check scores/Impassive.mix.toml Impassive --look vintage
python -m musicvideo video media/Impassive.mp4 media/Impassive-Wet.wav media/Impassive-1080p.mkv
python -m musicvideo merge media/Impassive-1080p.mkv media/Impassive-Wet.wav Impassive.mkv
python -m musicvideo short media/Impassive.mp4 media/Impassive-Wet.wav Impassive-short.mp4
python -m musicvideo poster media/Impassive.mp4 media/Impassive-Wet.wav Impassive-poster.png
python -m musicvideo strip Impassive.mkv strip.jpg
python -m musicvideo sync Impassive.mkv
python -m musicvideo check-film Impassive.mkv --plot check.png
python -m musicvideo batch songs/*.flac --cluster auto -- --generator cppn
python -m musicvideo generator pictures/ mine
python -m musicvideo studio
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicvideo import __version__, cli, errors, files, system

if TYPE_CHECKING:
    from musicvideo.vision import batch

# Everything else is imported where it is used: `setup` runs before any package is installed, and a make with nothing
# to do should end soon.


def parser() -> argparse.ArgumentParser:
    root = cli.Parser(prog="musicvideo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    setup = commands.add_parser("setup", help="install what is missing: programs, or Python packages of a checkout")
    setup.add_argument("names", nargs="*", metavar="PROGRAM", help="only these programs, as `doctor` names them")
    setup.add_argument("--check", action="store_true", help="install nothing, only say which programs are missing")
    setup.add_argument("--environment", metavar="DIR", help="install the locked Python packages into this environment")
    setup.add_argument("--extra", metavar="NAME", help="with --environment: what an extra of pyproject.toml needs")
    setup.add_argument("--torch-index", metavar="URL", default="", help="index or folder to take torch from")
    setup.add_argument("--packages", action="store_true", help="check the Python packages of this environment")

    commands.add_parser("doctor", help="print which programs were found")

    score = commands.add_parser("score", help="export a score: parts, full mix, MIDI clock, into media/")
    score.add_argument("scores", nargs="+", metavar="SCORE", help="a .mscz file")
    score.add_argument("--check", action="store_true", help="install no program that is missing")

    # The Makefile's own.
    claim = commands.add_parser("claim")
    claim.add_argument("title")
    claim.add_argument("process", type=int)
    words = commands.add_parser("words")
    words.add_argument("text")
    draft = commands.add_parser("draft")
    draft.add_argument("title")

    song = commands.add_parser("song", help="decode a song")
    song.add_argument("song", help="any audio file")
    song.add_argument("output", help="a .wav file")

    notes = commands.add_parser("notes", help="write down the notes that are heard in a song, as a MIDI file")
    notes.add_argument("song", help="any audio file")
    notes.add_argument("output", help="a .mid file")

    tables = commands.add_parser("tables", help="write a mix table and a conduct table of a piece, for you to edit")
    tables.add_argument("title", help="of the piece: scores/TITLE.mix.toml and scores/TITLE.conduct.toml are written")
    tables.add_argument("notes", help="its notes, a .mid file")

    video = commands.add_parser("video", help="square video -> finished picture")
    video.add_argument("video", help="a square video")
    video.add_argument("sound", help="the mix it will be merged with")
    video.add_argument("output", help="the picture, .mkv or .mp4")
    short = commands.add_parser("short", help="square video + mix -> an upright film of 15 to 60 s")
    short.add_argument("video", help="a square video")
    short.add_argument("sound", help="the mix")
    short.add_argument("output", help="the film, .mp4 or .mkv")
    short.add_argument("--start", type=float, metavar="SECONDS", help="where it begins (default: the most intense)")
    short.add_argument("--length", type=float, metavar="SECONDS", help="15 to 60 (default: up to 30)")
    short.add_argument("--clock", help="MIDI file whose measures it is cut at (default: cut at beats that are heard)")
    short.add_argument("--score", help="names the composer and the licence")

    poster = commands.add_parser("poster", help="a frame of the film with the title, at twice the film's size")
    cover = commands.add_parser("cover", help="a frame of the film with the title, as a cover picture")
    for command in (poster, cover):
        command.add_argument("video", help="a square video")
        command.add_argument("sound", help="the mix, whose loudest moment is shown")
        command.add_argument("output", help="a .png or .jpg")
    poster.add_argument("--start", type=float, metavar="SECONDS", help="the moment that is shown instead")

    check = commands.add_parser("check", help="check a mix table and settings of `video`")
    check.add_argument("table", help="mix table; empty for the one that is made of a score without one")
    check.add_argument("name", help="of the piece, for {title} in the table")
    for command in (video, check, poster, cover):
        command.add_argument("--width", type=int, default=1920, help="pixels (%(default)s)")
        command.add_argument("--height", type=int, default=1080, help="pixels (%(default)s)")
    for command in (video, check, cover):
        command.add_argument(
            "--quarter", action="store_true", help="a quarter of that width and height, as a preview has it"
        )
    for command in (video, check):
        command.add_argument(
            "--outro", type=seconds, default=4.0, help="seconds of back and forth at the end (%(default)s)"
        )
        command.add_argument("--codec", default="h264", help="as of visualize.py, hardware encoders too (%(default)s)")
    for command in (video, short):
        command.add_argument("--song", help="what the video was drawn from, for its beats")
    for command in (video, check, short, poster, cover):
        command.add_argument("--title", default="", help="words of the title card")
        command.add_argument("--font", default="", help="font family of the title card")
        command.add_argument(
            "--mirror",
            default="",
            help="pair: the whole square beside its mirror image; half: a kaleidoscope of its left half "
            "(default: pair for landscape films)",
        )
        command.add_argument("--look", default="none", help="none, vintage, noir or dream (%(default)s)")
    for command in (video, check, short):
        command.add_argument(
            "--pulse", type=float, default=0.0, help="0..1, jump towards the viewer on each beat (%(default)s)"
        )

    merge = commands.add_parser("merge", help="finished picture + mix -> film")
    merge.add_argument("picture", help="what `video` made")
    merge.add_argument("sound", help="the mix")
    merge.add_argument("output", help="the film: .mkv (FLAC) or .mp4 (AAC)")
    merge.add_argument("--title", default="", help="written into the file")
    merge.add_argument("--stereo", metavar="SOUND", help="the mix for loudspeakers, as a second stream of a .mkv")
    merge.add_argument("--rehearsals", metavar="JSON", help="list of rehearsals that mix.py wrote: further streams")
    merge.add_argument("--cover", metavar="JPG", help="attached to a .mkv")
    merge.add_argument("--score", help="its rehearsal marks become chapters; it names the composer and the licence")
    merge.add_argument("--clock", help="the MIDI exported from that score")
    for command in (video, check, merge):
        command.add_argument("--intro", type=seconds, default=4.0, help="seconds before the music begins (%(default)s)")
    for command in (video, check, merge, cover):
        command.add_argument(
            "--start", type=float, metavar="SECONDS", help="of an excerpt: where it begins in the sound"
        )
        command.add_argument("--duration", type=float, metavar="SECONDS", help="of an excerpt: how long it is")

    strip = commands.add_parser("strip", help="frames of a film at even times, on one page")
    strip.add_argument("film")
    strip.add_argument("output", help="a .jpg or .png")

    sync = commands.add_parser("sync", help="measure how the picture of a film and its sound belong together")
    sync.add_argument("film")
    sync.add_argument("--plot", metavar="PNG", help="a picture to draw it into")

    check_film = commands.add_parser(
        "check-film", help="measure a film and compare it with limits; exit 1 if one breaks"
    )
    check_film.add_argument("film")
    check_film.add_argument("--json", metavar="JSON", help="a file for all figures")
    check_film.add_argument("--plot", metavar="PNG", help="a page that shows them")

    batch = commands.add_parser(
        "batch", help="draw the square videos of many songs, with options of visualize.py after --"
    )
    batch.add_argument("songs", nargs="+", metavar="SONG", help="any audio files")
    batch.add_argument("--folder", default="media", help="where the videos go (%(default)s)")
    batch.add_argument("--suffix", default=".mp4", help="of the videos: .mp4, .mkv, .webm or .mov (%(default)s)")
    batch.add_argument("--cluster", metavar="ADDRESS", help="a worker of this Ray cluster for each song")

    studio = commands.add_parser("studio", help="open the studio, a page in your browser")
    studio.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; any but this machine's own asks for a password"
    )
    studio.add_argument("--port", type=int, default=7860, help="or the next free one (%(default)s)")

    generator = commands.add_parser("generator", help="train a generator on pictures of your own")
    generator.add_argument("pictures", help="a folder of 1 to 200 pictures; their names become classes")
    generator.add_argument("name", help="of the generator: media/NAME.generator is written")
    generator.add_argument("--masks", metavar="DIR", help="pictures of the same names, white where the subject is")
    generator.add_argument(
        "--minutes", type=minutes, metavar="N", default=20.0, help="of training at most (%(default)s)"
    )
    generator.add_argument(
        "--overwrite", action="store_true", help="start over where an interrupted training has other pictures"
    )

    weights = commands.add_parser("weights", help="download BigGAN's weights into the cache")
    weights.add_argument("--resolution", type=int, choices=(128, 256, 512), default=512)
    return root


def seconds(text: str) -> float:
    """A command line argument in seconds, 0 to 60."""
    value = float(text)
    if not 0 <= value <= 60:
        raise argparse.ArgumentTypeError(f"{text} is not within 0..60 seconds")
    return value


def minutes(text: str) -> float:
    """A command line argument in minutes: more than 0, at most a week."""
    value = float(text)
    if not 0 < value <= 7 * 24 * 60:
        raise argparse.ArgumentTypeError(f"{text} is not within 0..10080 minutes")
    return value


def main() -> None:
    words, drawing = sys.argv[1:], []
    if words[:1] == ["batch"] and "--" in words:
        end = words.index("--")
        words, drawing = words[:end], words[end + 1 :]
    options = vars(parser().parse_args(words))
    command = options.pop("command")
    if command == "batch":
        options["drawing"] = drawing
    globals()[f"run_{command.replace('-', '_')}"](**options)


def run_setup(
    names: list[str], check: bool, environment: str | None, extra: str | None, torch_index: str, packages: bool
) -> None:
    from musicvideo.packages import install_extra, install_packages, require_packages

    unknown = set(names) - {need.name for need in system.NEEDS}
    if unknown:
        raise errors.MediaError(f"{', '.join(sorted(unknown))}: nothing the pipeline needs (see `musicvideo doctor`)")
    try:
        if environment:
            install_packages(Path(environment), torch_index)
            if extra:
                install_extra(Path(environment), extra)
        elif packages:
            require_packages()
        else:
            system.ensure(may_install=not check, names=names)
    except system.MissingProgram as error:
        raise errors.MediaError(str(error)) from None


def run_doctor() -> None:
    print(system.report())


def run_claim(title: str, process: int) -> None:
    Path("media").mkdir(exist_ok=True)
    other = files.claim(Path("media", f".{title}.make"), process)
    if other:
        print(other)
        return
    here = [Path("scores", f"{title}.mscz"), Path("scores", f"{title}-8d.mscz"), *Path().glob(f"{title}*.m[kp][v4]")]
    made = [*Path("media").glob(f"{title}*"), *Path("media", "parts").glob(f"{title}*/*")]
    files.date_back(
        [*here, *Path().glob(f"{title}-poster.png"), *made, *Path("media", "rehearsals").glob(f"{title}.json")]
    )


def run_words(text: str) -> None:
    """Print the words of a text, quoted for a shell. A quote within a word, as in jack-o'-lantern, is a letter."""
    quoted = re.findall(r"'([^']*)'(?!\S)|\"([^\"]*)\"(?!\S)|(\S+)", text)
    print(shlex.join("".join(word) for word in quoted))


def run_score(scores: list[str], check: bool) -> None:
    from musicvideo.sound.score import export, missing

    for score in scores:
        when = files.require_file(score).stat().st_mtime
        made = [Path("media", Path(score).stem + suffix) for suffix in (".mid", ".wav")]
        fresh = all(path.exists() and path.stat().st_mtime > when for path in made)
        absent = missing(score)
        if fresh and not absent:
            continue
        if not fresh:  # else it may have been exported by hand, where there is no MuseScore
            try:
                system.ensure(may_install=not check, names=["musescore"])
            except system.MissingProgram as error:
                raise errors.MediaError(str(error)) from None
        for path in export(score):
            if not fresh or path in absent:
                cli.say(str(path))


def run_song(song: str, output: str) -> None:
    from musicvideo.sound import song as songs

    if songs.decode(song, output):
        cli.say(f"{song} -> {output}")


def run_notes(song: str, output: str) -> None:
    from musicvideo.notes import write_midi
    from musicvideo.vision.transcription import transcribe

    if Path(output).suffix.lower() not in (".mid", ".midi"):
        raise errors.MediaError(f"{output}: notes are written as MIDI; give a name that ends in .mid")
    found = transcribe(song)
    if not len(found.onset):
        raise errors.MediaError(
            f"{song}: no notes are heard in it (give them with MIDI=, or draw with MAPPING=classic)"
        )
    write_midi(found, output)
    cli.say(f"{song} -> {output}: {len(found.onset)} notes (open it in MuseScore to correct it)")


def run_draft(title: str) -> None:
    """Write the mix table of a score that has none in scores/."""
    from musicvideo.sound import drafting

    table, score = Path("media", f"{title}.mix.toml"), Path("scores", f"{title}.mscz")
    sounds = drafting.parts(score)
    if drafting.is_fresh(table, score, sounds):
        return
    purpose = f"It is made anew with them. To edit it, let `make tables TITLE={title}` write one that stays."
    write_text(table, drafting.draft(title, sounds, f"media/{title}.mid", purpose=purpose))
    cli.say(f"{score} -> {table}: its parts, balanced (`make tables TITLE={title}` writes a table to edit)")


def run_tables(title: str, notes: str) -> None:
    from musicvideo.notes import read_notes
    from musicvideo.sound import drafting as sound
    from musicvideo.vision import drafting as vision

    score = Path("scores", f"{title}.mscz")

    def mix() -> str:
        if not score.exists():  # a song circles the head
            return files.require_file("scores/song.mix.toml").read_text(encoding="utf-8")
        return sound.draft(title, sound.parts(score), f"media/{title}.mid", purpose="Edit it as you like.")

    for table, text in (
        (Path("scores", f"{title}.mix.toml"), mix),
        (Path("scores", f"{title}.conduct.toml"), lambda: vision.draft(title, read_notes(notes))),
    ):
        if table.exists():
            cli.say(f"{table} is there already")
        else:
            write_text(table, text())
            cli.say(f"{table} is written: edit it as you like")


def write_text(path: Path, text: str) -> None:
    with files.atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def run_check(
    table: str, name: str, intro: float, outro: float, start: float | None, duration: float | None,
    width: int, height: int, quarter: bool, **settings,
) -> None:  # fmt: skip
    from musicvideo import excerpt
    from musicvideo.sound.table import read_mix
    from musicvideo.vision import film

    excerpt.require_times(start, duration)
    if table:
        read_mix(table, name)
    width, height = size(width, height, quarter)
    film.check(width=width, height=height, **settings)


def size(width: int, height: int, quarter: bool) -> tuple[int, int]:
    """Size of the film, or of its preview, whose halves have whole chroma samples as well."""
    return (width // 16 * 4, height // 8 * 2) if quarter else (width, height)


def beats_of(song: str | None, pulse: float, start: float = 0.0) -> Sequence[tuple[float, float]]:
    """Seconds from `start` and strength of each beat of a song; none without a pulse."""
    if not pulse:
        return ()
    if not song:
        raise errors.MediaError("--pulse follows the beats of a song: give --song")
    from musicvideo.vision.onsets import onsets  # takes a second, and few films have a pulse

    return [(time - start, strength) for time, strength in onsets(song) if time >= start]


def run_video(
    video: str, sound: str, output: str, outro: float, pulse: float, song: str | None, start: float | None,
    width: int, height: int, quarter: bool, **options,
) -> None:  # fmt: skip
    from musicvideo import probe
    from musicvideo.vision import film

    width, height = size(width, height, quarter)
    beats = beats_of(song, pulse, start or 0.0)
    begin = time.monotonic()
    with seconds_bar(output) as progress:
        longer = film.finish(
            video, sound, output, outro=outro, pulse=pulse, beats=beats, progress=progress, start=start or 0.0,
            width=width, height=height, notice=partial(cli.say, note=True), **options,
        )  # fmt: skip
    cli.say(f"{output}: {width}x{height}, {options['codec']}, made in {time.monotonic() - begin:.1f} s")

    if longer >= 0.02:
        if not outro:
            meanwhile = "whose last frame stands"
        elif probe.probe(video).duration < outro:
            meanwhile = "which, shorter than the outro, all runs back and forth"
        else:
            meanwhile = "whose end runs back and forth"
        cli.say(f"{sound} is {longer:.2f} s longer than {video}, {meanwhile} meanwhile")
    elif longer <= -0.02:
        cli.say(f"note: {sound} is {-longer:.2f} s shorter than {video}, whose end is cut off", note=True)


def run_merge(
    sound: str, output: str, title: str, stereo: str | None, rehearsals: str | None, score: str | None,
    clock: str | None, start: float | None, **options,
) -> None:  # fmt: skip
    from musicvideo.clock import read_clock
    from musicvideo.sound import mixing
    from musicvideo.sound.score import chapters
    from musicvideo.vision.merging import Stream, merge

    parts = mixing.rehearsals(rehearsals) if rehearsals else []
    streams = [
        Stream(sound, "8D (headphones)"),
        *([Stream(stereo, "Stereo (loudspeakers)")] if stereo else []),
        *(Stream(file, f"Rehearsal: {part}") for part, file in parts),
    ]
    marks = chapters(score, read_clock(clock)) if score and clock else ()
    longer = merge(
        streams=streams, output=output, tags=tags(title, score), chapters=marks, start=start or 0.0, **options
    )
    if abs(longer) >= 0.04:
        what = "is cut off at the picture's end" if longer > 0 else "of silence are added"
        cli.say(f"note: {abs(longer):.2f} s of {sound} {what}", note=True)
    if len(streams) > 1:
        without = "" if parts else " (mixed of one part: there is nothing to rehearse)" if rehearsals else ""
        cli.say(f"{output}: {', '.join(stream.title for stream in streams)}{without}")


def tags(title: str, score: str | None) -> dict[str, str]:
    """What is written into a film, by FFmpeg's names."""
    from musicvideo.sound.score import credits

    found = {"title": title, "software": f"musicvideo {__version__}"}
    return {**found, **credits(score)} if score else found


def run_short(
    video: str, sound: str, output: str, start: float | None, length: float | None, clock: str | None,
    score: str | None, title: str, pulse: float, song: str | None, **options,
) -> None:  # fmt: skip
    from musicvideo.sound import passages
    from musicvideo.vision import film, merging
    from musicvideo.vision.containers import require_film

    require_film(output)
    begin, seconds = passage(video, sound, start, length, clock)
    with tempfile.TemporaryDirectory(prefix="short-") as work:
        music, picture = Path(work, "music.wav"), Path(work, "picture.mp4")
        passages.as_loud_as_the_whole(sound, music, begin, seconds)
        film.finish(
            video, music, picture, width=1080, height=1920, intro=0, outro=0, begin=begin, title=title, pulse=pulse,
            beats=beats_of(song, pulse, begin), notice=partial(cli.say, note=True), **options,
        )  # fmt: skip
        merging.merge(picture, [merging.Stream(music)], output, intro=0, tags=tags(title, score))
    cli.say(f"{output}: {seconds:.1f} s from {begin:.1f} s on")


def passage(
    video: str, sound: str, start: float | None, length: float | None, clock: str | None
) -> tuple[float, float]:
    """Start and length in seconds of a short, both in whole frames of the square video."""
    from musicvideo import probe
    from musicvideo.clock import read_clock
    from musicvideo.sound import passages
    from musicvideo.vision.onsets import onsets

    rate = probe.probe(video).frame_rate
    if rate is None:
        raise errors.MediaError(f"{video}: has no picture")
    whole = min(probe.probe(sound).duration, probe.picture_duration(video))
    marks: Sequence[float] = ()
    if start is None:
        marks = read_clock(clock).downbeats() if clock else [time for time, _ in onsets(sound)]
    begin, seconds = passages.short(sound, whole, marks, start, length)
    return float(int(begin * rate) / rate), float(round(seconds * rate) / rate)


def run_poster(video: str, sound: str, output: str, start: float | None, width: int, height: int, **options) -> None:
    from musicvideo import excerpt, probe
    from musicvideo.sound import passages
    from musicvideo.vision import film, poster

    width, height = 2 * width, 2 * height
    film.check(width=width, height=height, **options)  # before the picture is drawn anew
    found = probe.probe(video)
    if start is None:
        moment = passages.peak_moment(sound)
    else:
        excerpt.length(video, found.duration, start)
        moment = start
    square = poster.redrawn(video, moment, 2 * (found.width or 0), notice=partial(cli.say, note=True))
    drawn = (video, moment) if square is None else square
    film.still(drawn, output, width=width, height=height, **options)
    cli.say(f"{output}: {width}x{height}, {'enlarged' if square is None else 'drawn anew'}, at {moment:.1f} s")


def run_cover(
    video: str, sound: str, output: str, start: float | None, duration: float | None, width: int, height: int,
    quarter: bool, **options,
) -> None:  # fmt: skip
    from musicvideo.sound import passages
    from musicvideo.vision import film

    moment = passages.peak_moment(sound, start or 0.0, duration) - (start or 0.0)
    width, height = size(width, height, quarter)
    film.still((video, moment), output, width=width, height=height, **options)


def run_strip(film: str, output: str) -> None:
    from musicvideo.vision import strip

    strip.strip(film, output)


def run_sync(film: str, plot: str | None) -> None:
    from musicvideo.vision import sync

    found = sync.sync(film)
    cli.say(f"{film}: {found.line()}")
    if plot:
        sync.plot(found, plot, title=Path(film).name)


def run_check_film(film: str, json: str | None, plot: str | None) -> None:
    from musicvideo.proof import check, page
    from musicvideo.vision import record

    with seconds_bar(film) as progress:
        found = check.check(film, progress=progress)
    if json:
        record.write(json, found.document())
    if plot:
        page.draw(found, plot)
    for each in found.checks:
        limit = f"   ({each.limit})" if each.limit else ""
        cli.say(f"{'BROKEN' if each.passes is False else '':7}{each.name + ':':23}{each.shown}{limit}")
    if found.broken:
        what = "; ".join(f"{each.name}: {each.shown} (limit: {each.limit})" for each in found.broken)
        raise errors.MediaError(f"{film}: {what}")


@contextmanager
def seconds_bar(name: str) -> Iterator[Callable[[float, float], None]]:
    """A progress bar of seconds of film; gives a function of the seconds that are done and the total."""
    scale = "{l_bar}{bar}| {n_fmt}/{total_fmt} s [{elapsed}<{remaining}]"
    with cli.progress_bar(desc=name, bar_format=scale, delay=0.1) as bar:

        def progress(done: float, length: float) -> None:
            bar.total = round(length)
            bar.update(round(done) - bar.n)

        yield progress


def run_batch(songs: list[str], folder: str, suffix: str, cluster: str | None, drawing: list[str]) -> None:
    from musicvideo.vision import arguments, batch

    drawing_parser = cli.Parser(prog="musicvideo batch ... --", usage="musicvideo batch SONG ... -- [options]")
    arguments.add_arguments(drawing_parser)
    given = arguments.given(drawing_parser, [*drawing, *([f"--cluster={cluster}"] if cluster else [])])
    try:
        tasks = batch.tasks(songs, folder, suffix, given)
        settings = batch.settings_of(given, tasks[0])
    except ValueError as error:
        drawing_parser.error(str(error))
    rows: dict[str, batch.Row] = {}
    with cli.progress_bar(desc=folder, total=len(tasks), unit="song") as bar:

        def took(row: batch.Row) -> None:
            rows[row.song] = row
            bar.update(1)

        if settings.cluster:
            from musicvideo.vision import cluster as clusters

            clusters.draw_songs(given, [task for task in tasks if _is_open(given, task, took)], settings, took=took)
        else:
            batch.one_by_one(given, tasks, took=took)
    _print_table([rows[task.song] for task in tasks])
    if failures := sum(bool(row.problem) for row in rows.values()):
        raise errors.MediaError(f"{failures} of {len(rows)} songs have no video; the table says why")


def _is_open(given: Mapping[str, Any], task: batch.Task, took: Callable[[batch.Row], object]) -> bool:
    """Whether a song is still to be drawn; else its row is told."""
    from musicvideo.vision import batch

    try:
        files.require_file(task.song)
        if not batch.is_made(given, task):
            return True
        took(batch.Row(task.song, task.output))
    except (errors.MediaError, ValueError, OSError) as error:
        took(batch.failed(task, error))
    return False


def _print_table(rows: Sequence[batch.Row]) -> None:
    width = max(len(cli.one_line(row.song)) for row in rows)
    for row in rows:
        drawn = f"{row.frames} frames in {row.seconds:.1f} s -> {row.output}"
        what = (row.problem and f"FAILED: {row.problem}") or (drawn if row.frames else f"is there: {row.output}")
        print(cli.one_line(row.song).ljust(width), cli.one_line(what), sep="  ")


def run_studio(host: str, port: int) -> None:
    import getpass

    try:
        from musicvideo.studio import page
    except ModuleNotFoundError as error:
        raise errors.MediaError(f"the package {error.name} is not installed: run `make studio`") from None
    password = None
    if host not in page.HERE:
        password = getpass.getpass(f"A password for {page.USER}, who opens the page from elsewhere: ")
    page.serve(host, port, password)


def run_generator(pictures: str, name: str, masks: str | None, minutes: float, overwrite: bool) -> None:
    from musicvideo.vision.training import own

    own.make(
        pictures, name, masks=masks, minutes=minutes, overwrite=overwrite, notice=cli.say, progress=cli.progress_bar
    )


def run_weights(resolution: int) -> None:
    from musicvideo.vision.generators import weights

    print(weights.fetch(resolution, notice=partial(cli.say, note=True)))


def command() -> None:
    """The console command `musicvideo`."""
    cli.entry_point(main)


if __name__ == "__main__":
    sys.argv[0] = "musicvideo"
    command()
