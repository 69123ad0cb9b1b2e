"""Run external programs: start them, end them, report their failures.

A program ends with this process: by `kill_all` on a failure or signal, by the kernel on SIGKILL (Linux).
Every command and its time go to the log, for `--verbose`.
"""

from __future__ import annotations

import logging
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from threading import Lock
from typing import IO, Any

from musicvideo.errors import DiskFull, MediaError
from musicvideo.system import MissingProgram, find_program

LIMIT = 3600  # seconds that a program may take if it reports no progress
STALL = 300  # seconds for which a program may take no input, or report no progress
NICENESS = 10  # of encoders, on top of ours, so that drawing has priority
PIECE = 1 << 16  # bytes of a program's output that are read at a time
NO_SPACE = re.compile(rb"No space left on device|Disk quota exceeded")

log = logging.getLogger("musicvideo")
_STDERR = Lock()  # held while stderr of this process is discarded
_running: set[subprocess.Popen] = set()
_stopping = False


def program(name: str) -> str:
    """Path of an external program; MediaError says how to install one that is missing. A path stays as it is."""
    if os.path.isabs(name):
        return name
    try:
        return find_program(name)
    except MissingProgram as error:
        raise MediaError(str(error)) from None


@cache
def _killed_with_parent() -> list[str]:
    """Command prefix with which the kernel kills a program when its parent ends (util-linux; Linux only)."""
    setpriv = shutil.which("setpriv")
    command = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    works = command and not subprocess.run([*command, "true"], capture_output=True).returncode
    return command if works else []


@contextmanager
def started(command: Sequence[str | os.PathLike], **options: Any) -> Iterator[subprocess.Popen]:
    """Start a program; leaving the context kills it if it still runs.

    Args:
        command: name of a program in `musicvideo.system.PROGRAMS`, or a path; then its arguments.
        options: as of `subprocess.Popen`. Standard input is empty unless given.

    Raises:
        MediaError: the program is not installed, or this process is being stopped.
    """
    name, *arguments = command
    words = [program(str(name)), *(os.fspath(argument) for argument in arguments)]
    if _stopping:
        raise MediaError(f"{name}: not started, since this command is being stopped")
    begin = time.monotonic()
    # In a session of its own: Ctrl-C in the terminal reaches only this process, which ends its programs.
    process = subprocess.Popen(
        [*_killed_with_parent(), *words], **{"stdin": subprocess.DEVNULL, "start_new_session": True, **options}
    )
    _running.add(process)
    try:
        yield process
    finally:
        kill(process)
        process.wait()
        _running.discard(process)
        for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
            with suppress(OSError):  # what was not sent yet has no reader
                pipe.close()
        log.debug("%.1f s: %s", time.monotonic() - begin, shlex.join(map(os.fsdecode, words)))


def piped(stream: IO[bytes] | None) -> IO[bytes]:
    """The pipe of a program that was started with one."""
    if stream is None:
        raise ValueError("the program was started without this pipe")
    return stream


def kill(process: subprocess.Popen) -> None:
    """Kill a program and whatever it started, unless it has ended."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def kill_all(*, stopping: bool = True) -> None:
    """Kill every program that runs, and let no other start while this process stops."""
    global _stopping
    _stopping = stopping
    for process in list(_running):
        kill(process)


def run(
    command: Sequence[str | os.PathLike],
    *,
    doing: str,
    env: Mapping[str, str] | None = None,
    limit: float | None = None,
) -> bytes:
    """Run an external program to its end.

    Args:
        command: name of a program in `musicvideo.system.PROGRAMS`, or a path; then its arguments.
        doing: what is being done to which file, to begin the message of a failure.
        env: variables on top of this process's environment.
        limit: seconds that it may take (default: `LIMIT`).

    Returns:
        What the program wrote to its standard output.

    Raises:
        MediaError: the program is not installed, failed or took too long; carries the last line it wrote to stderr.
    """
    completed = completed_run(command, doing=doing, env=env, limit=limit)
    require_success(command[0], doing, completed.returncode, completed.stderr)
    return completed.stdout


def completed_run(
    command: Sequence[str | os.PathLike],
    *,
    doing: str,
    env: Mapping[str, str] | None = None,
    limit: float | None = None,
) -> subprocess.CompletedProcess:
    """As `run`, for a caller that looks at the exit code and at stderr itself."""
    limit = limit or LIMIT
    environment = {**os.environ, **env} if env else None
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        try:
            stdout, stderr = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise MediaError(
                f"{doing}: {command[0]} was stopped, for it had not finished after {limit:.0f} s"
            ) from None
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def require_success(name: str | os.PathLike, doing: str, code: int, stderr: bytes) -> None:
    """Raise MediaError if a program failed, by its exit code or its message that the disk is full.

    FFmpeg 5.1 exits with 0 where the disk is full at the last bytes of a file.
    """
    if NO_SPACE.search(stderr):
        raise DiskFull(f"{doing}: {name}: no space left (free some and run the same command again)")
    if code:
        raise MediaError(f"{doing}: {name} failed: {last_line(stderr)}")


def last_line(stderr: bytes) -> str:
    """The last line of a program's stderr that states a cause."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines()]
    telling = [line for line in lines if line and line != "Conversion failed!"]
    return telling[-1] if telling else "no message"


class Feed:
    """An external program that receives data on its standard input.

    Used as a context: leaving it ends the input and waits for the program; an exception in it kills the program.

    Args:
        command: as for `run`.
        doing: what is being done to which file, to begin the message of a failure.

    Raises:
        MediaError: when written to or left, if the program is not installed, failed, or hangs.
    """

    def __init__(self, command: Sequence[str | os.PathLike], *, doing: str):
        self._name, self._doing = command[0], doing
        # In memory: in a file on the full disk, the message that the disk is full would be lost.
        self._complaints = b""
        self._started = started(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._process = self._started.__enter__()
        self._input, self._errors = piped(self._process.stdin), piped(self._process.stderr)
        self._open = [self._errors]  # until the program closes it
        # Set before it has read anything, and so before it starts threads, which inherit the priority.
        with suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
        os.set_blocking(self._input.fileno(), False)

    def write(self, data) -> None:
        """Hand over bytes, or any contiguous array; waits until the program has taken them."""
        pipe, rest = self._input.fileno(), memoryview(data).cast("B")
        end = time.monotonic() + STALL
        try:
            while rest:
                said, takes, _ = select.select(self._open, [pipe], [], max(0, end - time.monotonic()))
                if said:
                    self._complaints += _read(self._errors, self._open)
                if takes:
                    with suppress(BlockingIOError):
                        rest = rest[os.write(pipe, rest) :]
                    end = time.monotonic() + STALL
                elif time.monotonic() >= end:
                    raise MediaError(f"{self._doing}: {self._name} hangs: it has taken nothing for {STALL} s")
        except BrokenPipeError:
            self._complaints += _rest(self._process, self._name, self._doing)
            self._check(self._process.wait() or 1)
            raise

    def _check(self, code: int) -> None:
        require_success(self._name, self._doing, code, self._complaints)

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, exception_type, *_) -> None:
        try:
            if not exception_type:
                self._complaints += _rest(self._process, self._name, self._doing)
        finally:
            self._started.__exit__(None, None, None)
        if not exception_type:
            self._check(self._process.returncode)


def _rest(process: subprocess.Popen, name: str | os.PathLike, doing: str) -> bytes:
    """What a program still says on stderr until it ends; a process of its own may keep stderr open after that.

    Raises:
        MediaError: it has not ended for `STALL` seconds.
    """
    try:
        return process.communicate(timeout=STALL)[1]
    except subprocess.TimeoutExpired as stalled:
        if process.poll() is None:
            raise MediaError(f"{doing}: {name} hangs: it has not ended for {STALL} s") from None
        return stalled.stderr or b""


def _read(pipe: IO[bytes], pipes: list[IO[bytes]]) -> bytes:
    """What has arrived in one of some pipes; one that has ended is taken out of them."""
    data = os.read(pipe.fileno(), PIECE)
    if not data:
        pipes.remove(pipe)
    return data


def run_with_progress(command: Sequence[str | os.PathLike], *, doing: str, line: Callable[[str], None]) -> None:
    """Run a program that reports its progress on its standard output, in lines.

    Args:
        command, doing: as for `run`.
        line: called with each line.

    Raises:
        MediaError: as `run_with_output`.
    """
    text = b""

    def split(data: bytes) -> None:
        nonlocal text
        *lines, text = (text + data).split(b"\n")
        for each in lines:
            line(each.decode(errors="replace").strip())

    run_with_output(command, doing=doing, take=split)


def run_with_output(command: Sequence[str | os.PathLike], *, doing: str, take: Callable[[bytes], None]) -> None:
    """Run a program and take its standard output while it runs.

    Args:
        command, doing: as for `run`.
        take: called with each piece of the output, of any length.

    Raises:
        MediaError: as `run`; or the program has printed nothing for `STALL` seconds.
    """
    complaints = b""
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        output, errors = piped(process.stdout), piped(process.stderr)
        pipes = [output, errors]
        end = time.monotonic() + STALL
        while output in pipes:
            ready, _, _ = select.select(pipes, [], [], max(0, end - time.monotonic()))
            if errors in ready:
                complaints += _read(errors, pipes)
            if output in ready:
                if data := _read(output, pipes):
                    take(data)
                end = time.monotonic() + STALL
            elif time.monotonic() >= end:
                raise MediaError(f"{doing}: {command[0]} hangs: it has said nothing for {STALL} s")
        output.close()
        complaints += _rest(process, command[0], doing)
    require_success(command[0], doing, process.returncode, complaints)


@contextmanager
def stderr_discarded() -> Iterator[None]:
    """Discard stderr of this process, where a library that is no Python writes warnings.

    One thread at a time, or a second one would take the discarding descriptor for stderr and leave it in place.
    """
    with _STDERR:
        stderr = os.dup(2)
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
