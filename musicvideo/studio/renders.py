"""The queue of films: on disk, one after the other, each made by make on a terminal of its own.

Closing the page changes nothing. Where the studio or the machine stops in the middle, make stops as by Ctrl-C or a loss
of power, and the next studio gives it the same command again, which goes on where it was.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from musicvideo import cli, ffmpeg, files, probe, programs
from musicvideo.errors import MediaError
from musicvideo.proof import check, page
from musicvideo.studio.choices import Choice, file_title, goals, save_preset, variables
from musicvideo.studio.terminal import Terminal
from musicvideo.vision import record as records
from musicvideo.vision.work import Work

WAITING, RUNNING, CANCELLED, FAILED, DONE = "waiting", "running", "cancelled", "failed", "done"
MAKE = ("SYSTEM_DEPS=check",)  # nobody is there to answer a question
KEPT = ("id", "name", "title", "make", "choice", "created", "state", "message")  # fields of a film on disk
LOOK_AGAIN = 2.0  # seconds from one look for a new last frame to the next
# Of tqdm: "media/Song.mp4:  12%|#2 | 216/1800 [00:07<00:52, 30.3frame/s]"
PROGRESS = re.compile(r"(?P<of>.*?):?\s*(?P<percent>\d{1,3})%\|.*\[(?P<spent>[\d:?]+)<(?P<left>[\d:?]+)")
ERROR = re.compile(r"^(?:[\w.]+: )?error: (.*)")
STAGES = (  # what a progress bar is called -> what is done meanwhile
    (re.compile(r"mixing "), "mixing the sound"),
    (re.compile(r".*-1080p\.mkv$"), "finishing the film"),
    (re.compile(r".*\.mp4$"), "drawing"),
)


@dataclass
class Film:
    """One film of the queue.

    Attributes:
        id: name of its folder.
        name: of the song, for people.
        title: names its files, TITLE of make.
        make: arguments of make.
        choice: what it was made by, as of `choices.Choice`.
        created: seconds since 1970.
        state: WAITING, RUNNING, CANCELLED, FAILED or DONE.
        message: what went wrong, in a line.
        stage, percent, left: what is done just now, how far, and the time left of it; not kept.
        frame: counts the pictures that were shown of it; not kept.
        checking: whether it is measured just now; not kept.
    """

    id: str
    name: str
    title: str
    make: list[str]
    choice: dict[str, Any]
    created: float
    state: str = WAITING
    message: str = ""
    stage: str = ""
    percent: int = 0
    left: str = ""
    frame: int = 0
    checking: bool = False

    @property
    def file(self) -> str:
        """Name of the finished film."""
        return f"{self.title}.mp4"

    @property
    def command(self) -> str:
        """What a person types to make the same."""
        return shlex.join(["make", *self.make])


class Films:
    """The films of a folder, and the thread that makes them.

    Args:
        folder: of the films; made if missing.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._changed = threading.Condition()
        self._terminal: Terminal | None = None
        self._stopping = False
        self._films: dict[str, Film] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for note in sorted(folder.glob("[!.]*/film.json")):
            film = _read(note)
            if film and (film.state != DONE or self.file(film, film.file).is_file()):
                if film.state == RUNNING:
                    film.state = WAITING
                self._films[film.id] = film
        self._thread = threading.Thread(target=self._work, name="films", daemon=True)

    def start(self) -> None:
        """Begin to make what waits."""
        self._thread.start()

    def stop(self) -> None:
        """Stop what runs, as by Ctrl-C; it goes on when the studio is opened again."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            if self._terminal:
                self._terminal.interrupt()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def all(self) -> list[Film]:
        """Every film, the newest first."""
        with self._changed:
            return sorted(self._films.values(), key=lambda film: film.created, reverse=True)

    def get(self, name: str) -> Film:
        """A film.

        Raises:
            MediaError: there is none.
        """
        with self._changed:
            if name not in self._films:
                raise MediaError("this film is not there any more")
            return self._films[name]

    def file(self, film: Film, name: str) -> Path:
        """A file of a film's folder: the film, last.jpg, preset.json, log.txt, check.json and check.png."""
        return self._folder / film.id / name

    def add(self, choice: Choice, *, name: str, song: Path | None, midi: Path | None, score: str = "") -> Film:
        """Put a film at the end of the queue. It has copies of its inputs, and a title of its own.

        Args:
            choice: what was chosen.
            name: of the song, for people.
            song, midi: files; None for a score.
            score: name of a score in scores/; "" for a song.

        Raises:
            MediaError: no space left, or no such generator.
        """
        with self._changed:
            created = time.time()
            number = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(created))}-{os.urandom(3).hex()}"
            folder = self._folder / number
            with files.atomic_folder(folder) as partial:
                kept = [folder / _keep(file, partial / f"{stem}{file.suffix.lower()}").name if file else None
                        for file, stem in ((song, "song"), (midi, "notes"))]  # fmt: skip
                title = score or file_title(name, self._taken())
                found = variables(choice, *(str(file) if file else None for file in kept))
                if score:
                    found.pop("SONG", None)
                    found.pop("MIDI", None)
                    found["OVERWRITE"] = "1"  # an interrupted drawing of that score with other settings gives way
                make = [*goals(title), f"TITLE={title}", *(f"{key}={value}" for key, value in found.items())]
                film = Film(number, name, title, make, _plain(choice), created)
                save_preset(partial / "preset.json", choice.drawing)
                _write(film, partial)
            self._films[number] = film
            self._changed.notify_all()
            return film

    def cancel(self, name: str) -> None:
        """Stop a film; what is drawn is kept."""
        film = self.get(name)
        with self._changed:
            if film.state == RUNNING and self._terminal:
                film.message = ""
                film.state = CANCELLED
                self._terminal.interrupt()
            elif film.state == WAITING:
                film.state = CANCELLED
            self._note(film)

    def resume(self, name: str) -> None:
        """Let a film that was cancelled, or failed, go on where it was."""
        film = self.get(name)
        with self._changed:
            if film.state in (CANCELLED, FAILED):
                film.state, film.message = WAITING, ""
                self._note(film)
                self._changed.notify_all()

    def remove(self, name: str) -> None:
        """Delete a film of the queue, and its copy here; what make wrote elsewhere stays."""
        film = self.get(name)
        with self._changed:
            if film.state != RUNNING:
                del self._films[name]
                shutil.rmtree(self._folder / film.id, ignore_errors=True)

    def check(self, name: str) -> None:
        """Measure a finished film, as `make check` does; its figures are in `check.json` of its folder afterwards."""
        film = self.get(name)
        with self._changed:
            if film.state != DONE or film.checking:
                return
            film.checking, film.message = True, ""
        threading.Thread(target=self._check, args=(film,), name="check", daemon=True).start()

    def _check(self, film: Film) -> None:
        try:
            found = check.check(self.file(film, film.file))
            page.draw(found, self.file(film, "check.png"))
            records.write(self.file(film, "check.json"), found.document())
        except (MediaError, OSError) as error:
            film.message = cli.one_line(str(error))
        finally:
            film.checking = False

    # -- The thread ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                film = None
                while not self._stopping and not (film := self._next()):
                    self._changed.wait()
                if self._stopping or not film:
                    return
                film.state, film.stage, film.percent, film.left = RUNNING, "preparing", 0, ""
                self._note(film)
            try:
                self._make(film)
            except (MediaError, OSError) as error:
                film.state, film.message = FAILED, cli.one_line(str(error))
            with self._changed:
                self._note(film)

    def _next(self) -> Film | None:
        waiting = [film for film in self._films.values() if film.state == WAITING]
        return min(waiting, key=lambda film: film.created, default=None)

    def _make(self, film: Film) -> None:
        make = shutil.which("make")
        if not make:
            raise MediaError("make is not installed")
        complaints: list[str] = []
        looked = 0.0
        with open(self.file(film, "log.txt"), "wb", buffering=0) as log:

            def line(text: str) -> None:
                nonlocal looked
                if match := PROGRESS.match(text):
                    stage = next((stage for name, stage in STAGES if name.match(match["of"].strip())), "")
                    film.stage, film.percent = stage or "preparing", int(match["percent"])
                    film.left = "" if "?" in match["left"] else match["left"]
                else:
                    with suppress(OSError):  # on a full disk, what make says of it is still to be heard
                        log.write(f"{text}\n".encode())
                    if match := ERROR.match(text):
                        complaints.append(match[1])
                if time.monotonic() - looked > LOOK_AGAIN:
                    looked = time.monotonic()
                    self._look(film)

            with self._changed:
                if self._stopping or film.state != RUNNING:
                    return
                terminal = self._terminal = Terminal([make, *MAKE, *film.make], dict(os.environ))
            code = terminal.follow(line)
        with self._changed:
            self._terminal = None
            if not code:
                _keep(Path(film.file), self.file(film, film.file))
                self._picture(film, self.file(film, film.file), probe.probe(film.file).duration / 2)
                film.state, film.message = DONE, ""
            elif self._stopping and film.state == RUNNING:
                film.state = WAITING
            elif film.state == RUNNING:
                film.state = FAILED
                film.message = complaints[0] if complaints else f"make ended with {code}"

    def _look(self, film: Film) -> None:
        """Take the first picture of the last whole segment, if there is a new one."""
        segments = Work(Path("media", film.file)).segments()
        if len(segments) == film.frame or not segments:
            return
        try:
            self._picture(film, segments[-1])
        except MediaError:  # the drawing has ended meanwhile, and its segments are gone
            return
        film.frame = len(segments)

    def _picture(self, film: Film, video: Path, at: float = 0.0) -> None:
        """Show a frame of a video, at a time in seconds, as the picture of a film."""
        with files.atomic(self.file(film, "last.jpg")) as partial:
            programs.run(
                ["ffmpeg", "-v", "error", "-y", "-ss", ffmpeg.seconds(at), "-i", ffmpeg.source(video), "-frames:v", "1",
                 "-vf", "scale=640:-2", "-q:v", "4", ffmpeg.source(partial)],
                doing="showing the last frame",
            )  # fmt: skip

    def _taken(self) -> set[str]:
        """Names of films, and of whatever else has a file that make would write."""
        here = [*Path().glob("*.mkv"), *Path().glob("*.mp4"), *Path("scores").glob("*.mscz")]
        made = [path.name.partition(".")[0] for path in Path("media").glob("[!.]*")]
        return {path.stem for path in here} | set(made) | {film.title for film in self._films.values()}

    def _note(self, film: Film) -> None:
        with suppress(MediaError, OSError):  # on a full disk, the queue goes on
            _write(film, self._folder / film.id)


def _write(film: Film, folder: Path) -> None:
    with files.atomic(folder / "film.json") as partial:
        kept = {name: value for name, value in asdict(film).items() if name in KEPT}
        partial.write_text(json.dumps(kept, indent=2), encoding="utf-8")


def _read(note: Path) -> Film | None:
    """The film that a note describes; None if it cannot be read, as after a power failure."""
    try:
        return Film(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _keep(file: Path, place: Path) -> Path:
    """A file under a second name that nothing can take away; a copy where that cannot be."""
    try:
        place.unlink(missing_ok=True)
        os.link(file, place)
    except OSError:
        with files.atomic(place) as partial:
            shutil.copyfile(file, partial)
    return place


def _plain(choice: Choice) -> dict[str, Any]:
    """A choice as JSON takes it."""
    return json.loads(json.dumps(asdict(choice)))
