"""The programs the pipeline calls: what each is for, where it is, how this system installs it.

Standard library only: this runs before any package is installed.
"""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class MissingProgram(Exception):
    """A program that is not on this machine, and the command that installs it."""


@dataclass(frozen=True)
class Need:
    """Something outside Python that the pipeline stands on."""

    name: str
    purpose: str
    executables: tuple[str, ...] = ()       # names on PATH, or absolute paths, best first
    variable: str | None = None             # environment variable that names the executable
    version_flag: str = "-version"
    apt: tuple[str, ...] = ()
    brew: tuple[str, ...] = ()
    required: bool = True

    def path(self) -> str | None:
        """Where it is, or None."""
        named = os.environ.get(self.variable, "") if self.variable else ""
        candidates = (named,) if named else self.executables
        return next(filter(None, map(shutil.which, candidates)), None)

    def version(self, path: str) -> str:
        """The first version number it prints, or '?'."""
        environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
        printed = subprocess.run([path, self.version_flag], capture_output=True, text=True, env=environment,
                                 stdin=subprocess.DEVNULL, errors="replace")
        found = re.search(r"\d+(\.\d+)+", printed.stdout + printed.stderr)
        return found.group() if found else "?"


class PythonVenv(Need):
    """Debian and Ubuntu ship Python without the part that makes virtual environments."""

    def path(self) -> str | None:
        inside_environment = sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ
        return sys.executable if inside_environment or importlib.util.find_spec("ensurepip") else None

    def version(self, path: str) -> str:
        return platform.python_version()


class SharedLibrary(Need):
    """libsndfile: in soundfile's wheel on common machines, the system's own elsewhere."""

    WHEELS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "x86_64"), ("Darwin", "arm64")}

    def path(self) -> str | None:
        glibc = platform.system() != "Linux" or platform.libc_ver()[0] == "glibc"
        if glibc and (platform.system(), platform.machine()) in self.WHEELS:
            return "in the soundfile package"
        return ctypes.util.find_library("sndfile")

    def version(self, path: str) -> str:
        return ""


NEEDS = (
    PythonVenv("python3-venv", "makes the Python environment in .venv", apt=("python3-venv",)),
    Need("ffmpeg", "mixes sound, filters and encodes pictures", ("ffmpeg",), "FFMPEG",
         apt=("ffmpeg",), brew=("ffmpeg",)),
    Need("ffprobe", "looks into media files (comes with ffmpeg)", ("ffprobe",), "FFPROBE",
         apt=("ffmpeg",), brew=("ffmpeg",)),
    Need("sox", "tremolo and reverb", ("sox",), "SOX", "--version",
         apt=("sox", "libsox-fmt-base"), brew=("sox",)),
    SharedLibrary("libsndfile", "reads and writes sound files", apt=("libsndfile1",), brew=("libsndfile",)),
    Need("musescore", "plays the scores (not needed for a song of your own)",
         ("mscore3", "musescore3", "mscore", "musescore", "MuseScore3", "mscore4portable", "musescore4", "mscore4",
          "/Applications/MuseScore 3.app/Contents/MacOS/mscore",
          "/Applications/MuseScore 4.app/Contents/MacOS/mscore"),
         "MUSESCORE", "--version", apt=("musescore3",), brew=("--cask musescore",), required=False),
)
PROGRAMS = {need.name: need for need in NEEDS if need.executables}


def find_program(name: str) -> str:
    """Path of a program in `PROGRAMS`.

    Raises:
        MissingProgram: it is not there; the message says how to install it.
    """
    need = PROGRAMS[name]
    path = need.path()
    if path:
        return path
    named = os.environ.get(need.variable or "")
    if named:
        raise MissingProgram(f"{need.variable}={named}: no such program")
    commands = " && ".join(map(" ".join, install_commands([need])))
    raise MissingProgram(f"{name} is not installed: run `{commands}`" if commands else
                         f"{name} is not installed: install it, or name it with {need.variable}=/path/to/{name}")


def missing() -> list[Need]:
    """What the pipeline needs and this machine lacks."""
    return [need for need in NEEDS if not need.path()]


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


def ensure(may_install: bool) -> None:
    """Make sure that everything needed is here.

    An optional program that cannot be installed is left out: the stage that calls for it will say so.

    Raises:
        MissingProgram: a required program is missing and may not, or could not, be installed.
    """
    lacking = missing()
    if not lacking:
        return
    required = [need for need in lacking if need.required]
    if not may_install:
        commands = " && ".join(map(" ".join, install_commands(lacking)))
        names = ", ".join(need.name for need in lacking)
        message = f"missing: {names}; install with: {commands}" if commands else f"missing: {names}"
        if required:
            raise MissingProgram(message)
        print(message, file=sys.stderr)
        return
    optional = [need for need in lacking if not need.required]
    try:
        install(lacking)
    except MissingProgram as error:
        if not optional:
            raise
        print(error, file=sys.stderr)
        if required:
            install(required)


def require_packages() -> None:
    """Check this Python environment against pyproject.toml, for one that somebody else set up (conda).

    Raises:
        MissingProgram: names what is not there.
    """
    try:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        from packaging.requirements import Requirement
    except ImportError as error:
        absent = [error.name]
    else:
        project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
        requirements = map(Requirement, project["dependencies"])
        absent = [str(requirement) for requirement in requirements if not _satisfied(requirement)]
    if absent:
        raise MissingProgram(
            f"the conda environment {os.environ.get('CONDA_DEFAULT_ENV')} lacks {', '.join(absent)}: run `conda env "
            f"create -f environment.yml` and activate musicvideo, or deactivate conda and make builds .venv"
        )


def _satisfied(requirement) -> bool:
    if requirement.marker and not requirement.marker.evaluate():
        return True
    try:
        return requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False


def report() -> str:
    """A table of what is here: name, version, path, purpose."""
    rows = []
    for need in NEEDS:
        path = need.path()
        rows.append((need.name, need.version(path) if path else "", path or "MISSING", need.purpose))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]) for row in rows)
