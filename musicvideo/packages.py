"""The Python packages of a checkout: installed as requirements.lock states them, or checked.

Standard library only: this runs before any package is installed.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from musicvideo.system import MissingProgram, one_at_a_time

if TYPE_CHECKING:
    from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent  # of the checkout
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
INSTALLED = ".musicvideo-packages"  # in an environment: its packages are those of the lock
CUDA = re.compile(r"(cuda|nvidia|triton)(-|$)")  # packages that only PyPI's torch for Linux needs


def locked(lock: Path) -> dict[str, str]:
    """The entries of a lock, each with its hashes, by package name; a name may have several entries.

    Raises:
        MissingProgram: the file is missing, since this is not a checkout.
    """
    if not lock.is_file():
        raise MissingProgram(f"{lock}: no such file; set-up is for a checkout, an installed package needs none")
    entries: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8")):
        name = re.match(r"[\w.-]+(?===)", entry)
        if name:
            entries[name[0]] = entries.get(name[0], "") + entry.rstrip() + "\n"
    return entries


def install_packages(environment: Path, torch_index: str = "") -> None:
    """Make a Python environment with the packages of requirements.lock and this checkout; pip shows its progress.

    pip checks every package against the lock's hashes, except torch from another source than PyPI: builds for one kind
    of processor or graphics card are different files.

    Args:
        environment: folder of a virtual environment; made if it is not there.
        torch_index: address of an index, or a folder of wheels, to install torch from; empty for PyPI. The folders in
            PIP_FIND_LINKS are searched first.

    Raises:
        MissingProgram: pip failed.
    """
    if (platform.system(), platform.machine()) == ("Darwin", "x86_64"):
        raise MissingProgram(
            "torch has no packages for Macs with an Intel processor: use one with Apple silicon, or Linux"
        )
    entries = locked(LOCK)
    torch = entries["torch"].split()[0]  # torch==1.2.3
    installed, python = environment / INSTALLED, environment / "bin" / "python"
    with one_at_a_time("installing Python packages"):
        if installed.exists() and all(installed.stat().st_mtime > file.stat().st_mtime for file in (LOCK, PROJECT)):
            return  # another make has installed them meanwhile
        if not python.exists() or subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode:
            _run([sys.executable, "-m", "venv", environment])
        pip = _pip(environment)
        sources = [torch_index] if torch_index else os.environ.get("PIP_FIND_LINKS", "").split()
        place = next((place for place in map(_place, sources) if _install([*pip, "--no-deps", *place, torch])), None)
        if torch_index and not place:
            raise MissingProgram(f"TORCH_INDEX={torch_index}: has no {torch} for this machine and this Python")
        wanted = [entry for name, entry in entries.items() if not place or (name != "torch" and not CUDA.match(name))]
        _install_checked(pip, wanted)
        if place:
            _run([*pip, *place, torch])  # dependencies of this build, such as its own CUDA
        _run([*pip, "--no-deps", "--no-build-isolation", "-e", ROOT])
        installed.touch()


def install_extra(environment: Path, extra: str) -> None:
    """Install what an extra of pyproject.toml needs beside the packages of requirements.lock; pip checks hashes.

    Args:
        environment: folder of a virtual environment that has those packages.
        extra: its name; requirements-EXTRA.lock holds the same packages and its own.

    Raises:
        MissingProgram: there is no such lock, or pip failed.
    """
    there = locked(LOCK)
    with one_at_a_time("installing Python packages"):
        wanted = [
            entry for name, entry in locked(LOCK.with_name(f"requirements-{extra}.lock")).items() if name not in there
        ]
        _install_checked([*_pip(environment), "--no-deps"], wanted)


def _pip(environment: Path) -> list[str | os.PathLike]:
    return [environment / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check"]


def _install_checked(pip: Sequence[str | os.PathLike], entries: Sequence[str]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(entries)
        file.flush()
        _run([*pip, "--require-hashes", "-r", file.name])


def _place(source: str) -> list[str]:
    """pip's options that name an index or a folder of wheels as the only place to look."""
    return ["--no-index", "--find-links", source] if Path(source).is_dir() else ["--index-url", source]


def _install(command: Sequence[str | os.PathLike]) -> bool:
    """Whether pip could install from the source that the command names, without PIP_FIND_LINKS."""
    environment = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    return not subprocess.run(command, stdin=subprocess.DEVNULL, env=environment).returncode


def _run(command: Sequence[str | os.PathLike]) -> None:
    """Run a command that shows what it does.

    Raises:
        MissingProgram: it failed.
    """
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
        raise MissingProgram(f"`{' '.join(map(str, command))}` failed; what it said stands above")


def require_packages() -> None:
    """Check a Python environment that was set up elsewhere (conda) against pyproject.toml.

    Raises:
        MissingProgram: packages are missing; names them.
    """
    try:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        from packaging.requirements import Requirement
    except ImportError as error:
        absent = [str(error.name)]
    else:
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
        requirements = map(Requirement, project["dependencies"])
        absent = [str(requirement) for requirement in requirements if not _satisfied(requirement)]
    if absent:
        raise MissingProgram(
            f"the conda environment {os.environ.get('CONDA_DEFAULT_ENV')} lacks {', '.join(absent)}: run `conda env "
            f"create -f environment.yml` and activate musicvideo, or deactivate conda and make builds .venv"
        )


def _satisfied(requirement: Requirement) -> bool:
    if requirement.marker and not requirement.marker.evaluate():
        return True
    try:
        return requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False
