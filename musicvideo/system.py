"""The programs that the pipeline calls: their purpose, their path, and how this system installs them.

Standard library only: this runs before any package is installed.
"""

from __future__ import annotations

import ctypes.util
import fcntl
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


class MissingProgram(Exception):
    """A requirement is missing; the message says how to install it."""


@dataclass(frozen=True)
class Need:
    """A requirement of the pipeline that is not a Python package."""

    name: str
    purpose: str
    executables: tuple[str, ...] = ()  # names on PATH, or absolute paths, best first
    variable: str | None = None  # environment variable that names the executable
    version_flag: str = "-version"
    minimum: str = ""  # oldest version that works
    apt: tuple[str, ...] = ()
    brew: tuple[str, ...] = ()
    required: bool = True

    def path(self) -> str | None:
        """Where it is, or None."""
        named = os.environ.get(self.variable, "") if self.variable else ""
        candidates = (named,) if named else self.executables
        return next(filter(None, map(shutil.which, candidates)), None)

    def version(self, path: str) -> str:
        """The first version number on the first line that it prints, or '?'."""
        environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
        try:
            printed = subprocess.run(
                [path, self.version_flag],
                capture_output=True,
                text=True,
                env=environment,
                stdin=subprocess.DEVNULL,
                errors="replace",
                timeout=30,
            )
        except (OSError, subprocess.TimeoutExpired):
            return "?"
        lines = (printed.stdout + printed.stderr).strip().splitlines()
        found = re.search(r"\d+(\.\d+)+", lines[0] if lines else "")
        return found.group() if found else "?"

    def too_old(self, version: str) -> bool:
        """Whether a version is known to be older than `minimum`; builds without a number count as new."""
        return bool(self.minimum) and version not in ("", "?") and _numbers(version) < _numbers(self.minimum)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


class PythonVenv(Need):
    """Debian and Ubuntu ship Python without the part that makes virtual environments."""

    def path(self) -> str | None:
        inside_environment = sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ
        return sys.executable if inside_environment or importlib.util.find_spec("ensurepip") else None

    def version(self, path: str) -> str:
        return platform.python_version()


class SharedLibrary(Need):
    """libsndfile: in soundfile's wheel on common machines, the system's own elsewhere."""

    WHEELS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}

    def path(self) -> str | None:
        glibc = platform.system() != "Linux" or platform.libc_ver()[0] == "glibc"
        if glibc and (platform.system(), platform.machine()) in self.WHEELS:
            return "in the soundfile package"
        return ctypes.util.find_library("sndfile")

    def version(self, path: str) -> str:
        return ""


NEEDS = (
    PythonVenv("python", "runs everything, with venv", apt=("python3-venv",)),
    Need(
        "ffmpeg",
        "mixes sound, filters and encodes pictures",
        ("ffmpeg",),
        "FFMPEG",
        minimum="5.1",
        apt=("ffmpeg",),
        brew=("ffmpeg",),
    ),
    Need(
        "ffprobe",
        "looks into media files (comes with ffmpeg)",
        ("ffprobe",),
        "FFPROBE",
        minimum="5.1",
        apt=("ffmpeg",),
        brew=("ffmpeg",),
    ),
    Need("sox", "tremolo and reverb", ("sox",), "SOX", "--version", apt=("sox", "libsox-fmt-base"), brew=("sox",)),
    SharedLibrary("libsndfile", "reads and writes sound files", apt=("libsndfile1",), brew=("libsndfile",)),
    Need(
        "musescore",
        "plays the scores (not needed for a song of your own)",
        (
            "mscore3",
            "musescore3",
            "mscore",
            "musescore",
            "MuseScore3",
            "mscore4portable",
            "musescore4",
            "mscore4",
            "/Applications/MuseScore 3.app/Contents/MacOS/mscore",
            "/Applications/MuseScore 4.app/Contents/MacOS/mscore",
        ),
        "MUSESCORE",
        "--version",
        apt=("musescore3",),
        brew=("--cask musescore",),
        required=False,
    ),
)
PROGRAMS = {need.name: need for need in NEEDS if need.executables}


def find_program(name: str) -> str:
    """Path of a program in `PROGRAMS`.

    Raises:
        MissingProgram: it is not installed; the message says how to install it.
    """
    need = PROGRAMS[name]
    path = need.path()
    if path:
        return path
    named = os.environ.get(need.variable or "")
    if named:
        raise MissingProgram(f"{need.variable}={named}: no such program")
    commands = " && ".join(map(" ".join, install_commands([need])))
    raise MissingProgram(
        f"{name} is not installed: run `{commands}`"
        if commands
        else f"{name} is not installed: install it, or name it with {need.variable}=/path/to/{name}"
    )


def missing(names: Sequence[str] = ()) -> list[Need]:
    """The needs among `names` (default: all) that this machine lacks."""
    return [need for need in NEEDS if (not names or need.name in names) and not need.path()]


def install_commands(needs: Sequence[Need]) -> list[list[str]]:
    """The commands that install `needs` on this system; empty where no package manager is known."""
    if shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 or not shutil.which("sudo") else ["sudo"]
        packages = sorted({package for need in needs for package in need.apt})
        install = [*sudo, "apt-get", "install", "-y", "--no-install-recommends", *packages]
        return [[*sudo, "apt-get", "update"], install] if packages else []
    if shutil.which("brew"):
        formulas = sorted({formula for need in needs for formula in need.brew})
        return [["brew", "install", *formula.split()] for formula in formulas]
    return []


def install(needs: Sequence[Need]) -> None:
    """Install `needs` with the system's package manager, saying so first.

    Raises:
        MissingProgram: no package manager is known, or it failed.
    """
    names = ", ".join(need.name for need in needs)
    commands = install_commands(needs)
    if not commands:
        raise MissingProgram(f"missing: {names}; install them with this system's package manager")
    print(f"Missing on this machine: {names}. Installing:", flush=True)
    for command in commands:
        print(f"  {' '.join(command)}", flush=True)
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        result = subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        if result.returncode:
            raise MissingProgram(f"`{' '.join(command)}` failed ({result.returncode}); install {names} by hand")


def ensure(may_install: bool, names: Sequence[str] = ()) -> None:
    """Make sure that the needs called `names` (default: all) are on this machine.

    An optional program that cannot be installed is left out: the stage that calls for it will say so.

    Raises:
        MissingProgram: a required program is missing and may not, or could not, be installed.
    """
    lacking = missing(names)
    if not lacking:
        return
    required = [need for need in lacking if need.required]
    if not may_install:
        message = remedy(lacking)
        if required:
            raise MissingProgram(message)
        print(message, file=sys.stderr)
        return
    with one_at_a_time("installing programs"):
        lacking = missing(names)  # another make may have installed them meanwhile
        required = [need for need in lacking if need.required]
        try:
            if lacking:
                install(lacking)
        except MissingProgram as error:
            if len(required) == len(lacking):
                raise
            print(error, file=sys.stderr)
            if required:
                install(required)


def remedy(needs: Sequence[Need]) -> str:
    """One line that says what is missing and how to install it here."""
    commands = " && ".join(map(" ".join, install_commands(needs)))
    names = ", ".join(need.name for need in needs)
    return f"missing: {names}; install with: {commands}" if commands else f"missing: {names}"


@contextmanager
def one_at_a_time(doing: str) -> Iterator[None]:
    """Hold a lock on set-up from this checkout for the context; waits until no other process holds it."""
    with open(__file__) as file:  # any file of the checkout: a lock needs no file of its own
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another make that is {doing}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def report() -> str:
    """A table of the programs found (name, version, path, purpose), then the faults and their remedies."""
    rows, faults = [], []
    for need in NEEDS:
        path = need.path()
        version = need.version(path) if path else ""
        rows.append((need.name, version, path or "MISSING", need.purpose))
        if need.too_old(version):
            faults.append(
                f"{need.name} {version} is too old: {need.minimum} or newer is needed; name another one with "
                f"{need.variable}=/path/to/it"
            )
    if missing():
        faults.append(remedy(missing()))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    table = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]) for row in rows]
    return "\n".join([*table, *faults])
