"""Runs one hostile case, and checks the properties that must hold during and after it.

A case runs one of the project's real `main` functions within this process, in a sandbox of its own: a working folder, a
decoy home folder, a folder for temporary files and a cache. What Python opens, starts and connects to is watched by an
audit hook; what programs write is seen in a listing of the sandbox before and after.
"""

from __future__ import annotations

import faulthandler
import fnmatch
import hashlib
import importlib
import io
import os
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from musicvideo import cli
from musicvideo.vision import locked_librosa
from musicvideo.vision.generators import weights

HANG = 60  # seconds of processor time; far more than any case needs, however busy the machine is
WAITING = 10 * HANG  # seconds on the clock, for a case that waits for something
GROWTH = 2 << 30  # bytes that a case may add to this process, and that a program may take
ROOM = 4 << 30  # bytes of data after which an allocation fails, so that a bomb does not end the test run
EXCERPT = 160  # bytes of a hostile file that a report shows
LONGEST_MESSAGE = 2000  # characters of a refusal; a hostile file's content does not belong into it
PROGRAMS = re.compile(r"setpriv|true|ffmpeg|ffprobe|sox|mscore\S*|musescore\S*|fc-list|fc-match|ldconfig|uname")
# What the project takes from librosa. It is imported when it is first asked for, with a lock on a file of librosa.
LIBROSA = (
    "amplitude_to_db", "beat", "cqt", "decompose", "estimate_tuning", "feature", "frames_to_time", "midi_to_hz",
    "onset", "piptrack", "pitch_tuning", "power_to_db", "time_to_frames", "util",
)  # fmt: skip
COMMANDS = ("visualize", "eightd", "mix", "musicvideo.__main__")
BAR = re.compile(r"\d+%\||\d+it \[|\?it/s|^.{0,80}: \d+(\.\d+)?[kMG]?(it|B|sample|frame)? \[")  # as tqdm writes it
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
OLD = b"what was there before"
DECOYS = {
    ".bashrc": b"alias ll='ls -l'\n",
    ".ssh/id_ed25519": b"a private key\n",
    "Documents/thesis.npz": b"years of work\n",
}
VICTIMS = ("victim.npz", "victim.mp4", "victim.png", "victim.wav", "victim.json")


# Where BigGAN's weights come from: the only hosts that may be asked for.
DOWNLOADS = {urlsplit(url).hostname for urls in weights.SOURCES.values() for url in urls}
PLAIN: set[bytes | Callable] = set()  # contents that tell a report nothing


@dataclass(frozen=True)
class Attack:
    """Hostile input, and the command that gets it.

    Attributes:
        command: a module of `COMMANDS`.
        arguments: of its command line.
        files: name in the working folder -> content, or a function that writes the path it is given.
        outputs: patterns of names that a success may write.
        state: patterns of names that a failure may leave, too, such as what a render goes on with.
        check: called with the sandbox after a success; returns what is wrong with the result, or None.
    """

    command: str
    arguments: tuple[str, ...]
    files: Mapping[str, bytes | Callable[[Path], object]]
    outputs: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    check: Callable[[Sandbox, Attack, Outcome], str | None] | None = None

    def __str__(self) -> str:
        """The command line, and the files as far as they tell anything."""
        contents = [
            f"{name} = {content[:EXCERPT]!r}{'...' * (len(content) > EXCERPT)}" if isinstance(content, bytes) else name
            for name, content in self.files.items()
            if content not in PLAIN
        ]
        return "; ".join(
            [" ".join([self.command, *(repr(argument[:EXCERPT])[1:-1] for argument in self.arguments)]), *contents]
        )


@dataclass
class Outcome:
    """How a case ended, and the properties that did not hold."""

    code: object
    stdout: str
    stderr: str
    faults: list[str] = field(default_factory=list)


class Hang(BaseException):
    """A case has not ended after `HANG` seconds of processor time, or `WAITING` seconds."""


class Sandbox:
    """A place where commands run on hostile files."""

    def __init__(self, folder: Path):
        self.root = folder.resolve()
        self.work, self.home, self.temporary = (self.root / name for name in ("work", "home", "tmp"))
        self.cache = self.root / "cache"
        # What is imported within a case would count as memory and as opened files of that case.
        self.mains = {name: importlib.import_module(name).main for name in COMMANDS}
        importlib.import_module("jsonschema")
        for name in LIBROSA:
            getattr(locked_librosa, name)
        self._roots = [str(self.root), *_caches_of_libraries()]
        self._reset()

    def _reset(self) -> None:
        for folder in (self.work, self.home, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.cache.mkdir(exist_ok=True)
        for name, content in DECOYS.items():
            (self.home / name).parent.mkdir(parents=True, exist_ok=True)
            (self.home / name).write_bytes(content)
        for name in VICTIMS:
            (self.work / name).write_bytes(OLD)

    def attack(self, attack: Attack) -> Outcome:
        """Run one case and say which properties did not hold."""
        self._reset()
        for name, content in attack.files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content(path) if callable(content) else path.write_bytes(content)
        for name in attack.outputs:
            if not set(name) & set("*?[") and Path(name).suffix:
                with suppress(OSError):  # a name that no file can have
                    (self.work / name).parent.mkdir(parents=True, exist_ok=True)
                    if not (self.work / name).exists():
                        (self.work / name).write_bytes(OLD)
        before = self._listing()
        guard = Guard(self._roots)
        with _bounded_memory() as grown, captured(self.root) as streams, self._watched(guard):
            code, faults = self._run(attack)
        outcome = Outcome(code, *streams, faults)
        changed = {name for name, mark in (before.items() ^ self._listing().items())}
        outcome.faults += guard.faults
        outcome.faults += grown
        outcome.faults += self._verdict(attack, outcome, changed)
        return outcome

    def _run(self, attack: Attack) -> tuple[object, list[str]]:
        """The exit code, and the faults of the run."""
        sys.argv = [f"{attack.command.removesuffix('.__main__')}.py", *attack.arguments]
        try:
            with _alarm():
                cli.entry_point(self.mains[attack.command])
        except SystemExit as stop:
            return stop.code or 0, []
        except Hang:
            return "hang", [f"hangs: not finished after {HANG} s of processor time, or {WAITING} s"]
        except BaseException as error:  # any exception that escapes is a finding
            return "escaped", [f"escaped: {_where(error)}"]
        return 0, []

    def _verdict(self, attack: Attack, outcome: Outcome, changed: set[str]) -> Iterator[str]:
        lines = said(outcome.stderr)
        if outcome.code not in (0, 1, 2):
            if not outcome.faults:
                yield f"exit code {outcome.code}"
        elif "Traceback" in outcome.stderr:
            yield f"traceback: {lines[-1]}"
        elif outcome.code and len(lines) != 1:
            yield f"{len(lines)} lines for one mistake: {' | '.join(lines)[:300]}"
        if outcome.code and len(outcome.stderr) > LONGEST_MESSAGE and len(lines) == 1:
            yield f"a message of {len(outcome.stderr)} characters: {lines[0][:100]}"
        if "memory does not hold" in outcome.stderr:
            yield "asks for memory without limit"
        odd = {
            character
            for character in outcome.stdout + outcome.stderr
            if unicodedata.category(character) == "Cc" and character not in "\n\r\t"
        }
        if odd:
            yield f"control characters reach the terminal: {sorted(odd)!r}"
        allowed = (*attack.state, *(attack.outputs if outcome.code == 0 else ()))
        for name in sorted(changed):
            if ".partial" in name or not any(fnmatch.fnmatchcase(name, f"work/{pattern}") for pattern in allowed):
                what = (
                    "existing output changed by a failure" if name.removeprefix("work/") in attack.outputs else "wrote"
                )
                yield f"{what}: {name!r}"
        if outcome.code == 0 and attack.check:
            if problem := attack.check(self, attack, outcome):
                yield f"wrong result: {problem}"

    def _listing(self) -> dict[str, str]:
        """Each file and folder but the cache's, with a mark that changes with its content."""
        marks = {}
        for folder, folders, files in os.walk(self.root):
            inside = os.path.relpath(folder, self.root)
            if inside == ".":
                folders.remove("cache")
            for name in folders:
                marks[os.path.normpath(os.path.join(inside, name))] = "folder"
            for name in files:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    with open(path, "rb") as file:
                        mark = hashlib.sha256(file.read()).hexdigest()
                else:
                    mark = "special"
                marks[os.path.normpath(os.path.join(inside, name))] = mark
        return marks

    @contextmanager
    def _watched(self, guard: Guard) -> Iterator[None]:
        global _guard
        places = {"HOME": self.home, "TMPDIR": self.temporary, "XDG_CACHE_HOME": self.cache}
        environment, folder, argv = dict(os.environ), os.getcwd(), sys.argv
        byte_code, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        temporary, tempfile.tempdir = tempfile.tempdir, str(self.temporary)
        os.environ.update({name: str(place) for name, place in places.items()})
        os.chdir(self.work)
        _guard = guard
        try:
            yield
        finally:
            _guard = None
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            tempfile.tempdir, sys.argv, sys.dont_write_bytecode = temporary, argv, byte_code


def said(stderr: str) -> list[str]:
    """The lines that a person is left with: a progress bar is written over."""
    lines = [line.rpartition("\r")[2] for line in stderr.replace("\r\n", "\n").split("\n")]
    return [line for line in lines if line.strip() and not BAR.search(line)]


# -- Watching ----------------------------------------------------------------------------------------------------


class Guard:
    """Collects forbidden actions of a case."""

    def __init__(self, roots: list[str]):
        self.faults: list[str] = []
        self._roots = roots

    def saw(self, event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, bytes, os.PathLike)) and isinstance(flags, int) and flags & WRITING:
                self._changes("writes", path)
        elif event.startswith("socket."):
            # An address is a tuple where it is of the network; one within this machine is a path.
            address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
            if not isinstance(address, (str, bytes)) or event == "socket.getaddrinfo":
                if str(address) not in DOWNLOADS:
                    self._add(f"network: {event} {address!r}")
                raise socket.gaierror("no network in a sandbox")
        elif event == "subprocess.Popen":
            for word in map(os.fsdecode, [arguments[0], *arguments[1][:1]]):
                if not PROGRAMS.fullmatch(os.path.basename(word)):
                    self._add(f"starts {word!r}")
        elif event in ("os.system", "pty.spawn", "os.exec"):
            self._add(f"{event} {arguments[0]!r}")
        else:
            for path in arguments[:2] if event in ("os.rename", "os.link") else arguments[:1]:
                if isinstance(path, (str, bytes, os.PathLike)):
                    self._changes(event.removeprefix("os."), path)

    def _changes(self, what: str, path: str | bytes | os.PathLike) -> None:
        place = os.path.realpath(os.fsdecode(path))
        if "__pycache__" in place:  # numba's, of librosa
            return
        if place != os.devnull and not any(place == root or place.startswith(f"{root}/") for root in self._roots):
            self._add(f"{what} outside: {place!r}")

    def _add(self, fault: str) -> None:
        if fault not in self.faults:
            self.faults.append(fault)


WATCHED = {
    "open",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.sendto",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "pty.spawn",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.truncate",
    "os.chmod",
}
_guard: Guard | None = None


def _hook(event: str, arguments: tuple) -> None:
    if _guard is not None and event in WATCHED:
        _guard.saw(event, arguments)


sys.addaudithook(_hook)  # permanent: hooks cannot be removed, so it does nothing while there is no guard


def _caches_of_libraries() -> list[str]:
    import matplotlib

    return [os.path.realpath(matplotlib.get_cachedir())]


@contextmanager
def captured(folder: Path) -> Iterator[list[str]]:
    """What this process and its programs print: the list holds stdout and stderr when the context is left."""
    streams: list[str] = []
    with tempfile.TemporaryFile(dir=folder.parent) as out, tempfile.TemporaryFile(dir=folder.parent) as err:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [(number, os.dup(number)) for number in (1, 2)]
        streams_before = sys.stdout, sys.stderr
        for number, file in ((1, out), (2, err)):
            os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.FileIO(number, "w", closefd=False), encoding="utf-8", write_through=True)
            for number in (1, 2)
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                for quiet in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
                    warnings.simplefilter("ignore", quiet)
                warnings.showwarning = lambda *words, **_: print(warnings.formatwarning(*words[:4]), file=sys.stderr)
                yield streams
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
            sys.stdout, sys.stderr = streams_before
            for number, copy in kept:
                os.dup2(copy, number)
                os.close(copy)
            for file in (out, err):
                file.seek(0)
                streams.append(file.read().decode(errors="backslashreplace"))


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number, frame):
        raise Hang

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, HANG), signal.ITIMER_REAL: (signal.SIGALRM, WAITING)}
    before = {number: signal.signal(number, ring) for number, _ in timers.values()}
    for timer, (_, limit) in timers.items():
        # Again and again: raised in a callback of the interpreter it would be ignored.
        signal.setitimer(timer, limit, HANG / 4)
    # A loop outside Python never comes to the signal's handler.
    faulthandler.dump_traceback_later(2 * WAITING, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def _bounded_memory() -> Iterator[list[str]]:
    """Fails large allocations; the list says, when the context is left, how much memory was too much."""
    faults: list[str] = []
    before, children = _memory("VmRSS"), _children()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    data = _memory("VmData")
    if data:
        resource.setrlimit(resource.RLIMIT_DATA, (data + ROOM, limits[1]))
    try:
        yield faults
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)
        grown = _memory("VmHWM") - before
        if grown > GROWTH:
            faults.append(f"takes {grown / 1e9:.1f} GB")
        # A program's peak begins with that of the process that started it.
        if _children() > max(children, _memory("VmHWM") + GROWTH):
            faults.append(f"a program takes {_children() / 1e9:.1f} GB")


def _memory(name: str) -> int:
    """Bytes, by a line of this process's status; 0 where there is none."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except FileNotFoundError:
        return 0
    return int(found[1]) * 1024 if found else 0


def _children() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def _where(error: BaseException) -> str:
    """An exception with the place in the project that it came from."""
    place, trace = "?", error.__traceback__
    while trace:
        name = trace.tb_frame.f_code.co_filename
        if ("/tests/" not in name and "site-packages" not in name and "/musicvideo" in name) or name.endswith(
            ("visualize.py", "eightd.py", "mix.py")
        ):
            place = f"{'/'.join(Path(name).parts[-2:])}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}: {str(error)[:200]} (at {place})"


# -- Counting ----------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """Results of the cases of one kind."""

    ends: Counter = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(default_factory=dict)  # what is alike -> cases

    def add(self, attack: object, outcome: Outcome, sandbox: Sandbox) -> None:
        """Count a case; of each fault that is new, keep the files."""
        self.ends["accepted" if outcome.code == 0 else "refused"] += 1
        for fault in outcome.faults:
            found = self.faults.setdefault(_alike(fault), [])
            found.append(f"{fault}\n      by {attack}")
            if len(found) == 1:
                kept = Path(tempfile.mkdtemp(prefix="fault-", dir=sandbox.root.parent))
                shutil.copytree(sandbox.work, kept / "work", symlinks=True)
                found[0] += f"\n      in {kept}"

    def line(self) -> str:
        cases = sum(self.ends.values())
        line = f"{cases} cases, {self.ends['accepted']} accepted, {self.ends['refused']} refused"
        return line + (f", {sum(map(len, self.faults.values()))} faults" if self.faults else "")

    def report(self) -> str:
        """Every fault once, with how often it occurred and its first case."""
        return "\n".join(f"  {len(found)} x {found[0]}" for found in self.faults.values())


def _alike(fault: str) -> str:
    """A fault without the details that differ from case to case."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "#", fault)[:120]


TALLIES: dict[str, Tally] = {}
