"""Real processes: a small project, a process's descendants, a film's content, leftover files."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import tiny_score
from conftest import FFMPEG, HANGS, ROOT

from .sandbox import said

TITLE = "Tiny"
VARIABLES = [
    f"TITLE={TITLE}",
    "GENERATOR=cppn",
    "RESOLUTION=32",
    "FPS=10",
    "WIDTH=64",
    "HEIGHT=36",
    "INTRO=1",
    "OUTRO=1",
]
TABLE = """
[panning]
score = "scores/{title}.panning.json"
clock = "media/{title}.mid"
[parts.vibes]
file = "media/parts/{title}/Vibes.wav"
set = "vibes"
model = "pan"
tremolo = { speed = 5, depth = 30 }
reverb = "hall"
[parts.marimba]
file = "media/parts/{title}/Marimba.wav"
gain = -6
[reverbs.hall]
[master]
tail = 1
"""
PANNING = {"vibes": [{"effect": "straight", "m1": 1, "m2": "end", "ear_i": -0.8, "ear_f": 0.8}]}


def project(folder: Path) -> Path:
    """A copy of the pipeline's files, with a score of four seconds, that uses this Python environment.

    The score has two parts: MuseScore takes a second for each, however short it is.
    """
    shutil.copytree(
        ROOT,
        folder,
        ignore=shutil.ignore_patterns(".*", "*.mkv", "*.mp4", "media", "scores", "tests", "docs", "training"),
    )
    for name in ("media", "scores", ".venv"):
        (folder / name).mkdir()
    shutil.copy2(ROOT / "scores" / "song.mix.toml", folder / "scores")
    # Set up already, and never again: make would install this copy in place of what the environment has.
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    for name in ("programs", "sox", "musescore", "packages"):
        (folder / ".venv" / f".musicvideo-{name}").touch()
    tiny_score.write(folder / "scores" / f"{TITLE}.mscz", names=["Vibes", "Marimba"])
    (folder / "scores" / f"{TITLE}.mix.toml").write_text(TABLE)
    (folder / "scores" / f"{TITLE}.panning.json").write_text(json.dumps(PANNING))
    return folder


def environment(**more: object) -> dict[str, str]:
    """A user's environment: no variables of an outer make, and no set-up that may change this environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return {**kept, "PIP_DRY_RUN": "1", **{name: str(value) for name, value in more.items()}}


def start(command: Sequence[object], folder: Path, **more: object) -> subprocess.Popen:
    return subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        env=environment(**more),
        start_new_session=True,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        errors="backslashreplace",
    )


def finished(process: subprocess.Popen) -> subprocess.CompletedProcess:
    """Wait for a process, and for whoever holds its output open."""
    try:
        stdout, stderr = process.communicate(timeout=HANGS)
    except subprocess.TimeoutExpired:
        kill_tree(process)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def run(command: Sequence[object], folder: Path, **more: object) -> subprocess.CompletedProcess:
    return finished(start(command, folder, **more))


def script(name: str, *arguments: object) -> list[object]:
    """A command of the project."""
    module = ["-m", "musicvideo"] if name == "musicvideo" else [f"{name}.py"]
    return [sys.executable, *module, *arguments]


# -- Processes ---------------------------------------------------------------------------------------------------


def descendants(process: int) -> list[int]:
    """Everything that a process has started, and what that has started."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        state, parent = text.rpartition(")")[2].split()[:2]
        if state != "Z":
            parents.setdefault(int(parent), []).append(int(stat.parent.name))
    found, queue = [], [process]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found


def name_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def runs(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill_tree(process: subprocess.Popen) -> None:
    """SIGKILL a process and all its descendants, as in a power cut."""
    for each in [process.pid, *descendants(process.pid)]:
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.communicate()


# -- What must hold ----------------------------------------------------------------------------------------------


def assert_one_line(result: subprocess.CompletedProcess, *words: str, code: int = 1) -> None:
    """A failure as a person should see it."""
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    lines = said(result.stderr)
    assert len(lines) == 1 and "Traceback" not in result.stderr, result.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])


def leftovers(*folders: Path) -> list[str]:
    """Partial files, and folders of temporary files."""
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if ".partial" in path.name or path.name.startswith(("film-", "mix-", "master-", "musescore-")):
                found.append(str(path.relative_to(folder)))
    return found


def streams(film: Path) -> str:
    """MD5 of each decoded stream of a file."""
    result = subprocess.run(
        [FFMPEG, "-v", "error", "-i", film, "-map", "0:v?", "-map", "0:a?", "-f", "streamhash", "-hash", "md5", "-"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and result.stdout, result.stderr
    return result.stdout


def remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", place], check=True)


WRAPPER = """#!/bin/sh
# Runs {real}; the call whose number is in {folder}/fatal ends as {folder}/way says.
number=$(flock {folder}/lock sh -c 'echo >> "$0/calls"; wc -l < "$0/calls"' {folder})
[ "$number" = "$(cat {folder}/fatal)" ] || exec {real} "$@"
case $(cat {folder}/way) in
    at-once) kill -KILL $$;;
    hang) exec sleep 100000;;
    midway) {real} "$@" & child=$!; sleep 0.15; kill -KILL $child 2>/dev/null; kill -KILL $$;;
    starved) head -c 5000 | {real} "$@" >/dev/null 2>&1; kill -KILL $$;;
esac
"""


class Wrapped:
    """FFmpeg, FFprobe or SoX behind a wrapper that can make one call fail.

    Attributes:
        variable: environment of a command that shall use it.
    """

    def __init__(self, folder: Path, name: str):
        self._folder = folder / f"wrapped-{name}"
        self._folder.mkdir()
        executable = self._folder / name
        real, folder = (shlex.quote(str(path)) for path in (shutil.which(name), self._folder))
        executable.write_text(WRAPPER.format(real=real, folder=folder))
        executable.chmod(0o755)
        self.variable: Mapping[str, object] = {name.upper(): executable}
        self.arm(0)

    def arm(self, number: int, way: str = "at-once") -> None:
        """Make the call with this number fail; 0 for none."""
        for name, text in (("calls", ""), ("fatal", str(number)), ("way", way)):
            (self._folder / name).write_text(text)

    def calls(self) -> int:
        return len((self._folder / "calls").read_text().splitlines())
