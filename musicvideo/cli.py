"""What all commands share: the parser, exit codes, signals, messages."""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from musicvideo import __version__, programs
from musicvideo.errors import MediaError

if TYPE_CHECKING:
    from tqdm import tqdm

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 5  # seconds after the first signal; a later signal then ends the process at once
LOG_INTERVAL = 10  # seconds between lines of progress in a log
LONGEST_MESSAGE = 1000  # characters; a message may quote an untrusted file
REMEDIES = {
    errno.ENOSPC: " (free some space and run the same command again)",
    errno.EACCES: " (choose another place or change its permissions)",
    errno.EROFS: " (choose another place)",
}


class Parser(argparse.ArgumentParser):
    """Reports a usage mistake in one line, with exit code 2; knows --version, and -v, which shows external commands."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.add_argument("--version", action="version", version=f"musicvideo {__version__}")
        self.add_argument("-v", "--verbose", action=_Verbose, help="print each external command and how long it took")

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {one_line(message)}\n")


class _Verbose(argparse.Action):
    """Shows the log; stores nothing, so that the option may stand before or after a subcommand."""

    def __init__(self, option_strings, dest, **options):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser, namespace, values, option_string=None):
        logging.basicConfig(format="%(message)s", stream=sys.stderr)
        programs.log.setLevel(logging.DEBUG)


def entry_point(main: Callable[[], None]) -> None:
    """Run a script's `main` and exit: 0, 1 on failure (one line on stderr), 128 + n on signal n (Ctrl-C: 130).

    A signal kills the running programs, then unwinds `main`, so that no partial file is left. A `KeyboardInterrupt`
    that carries a message has it printed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a test or an editor may have replaced it
            stream.reconfigure(errors="backslashreplace")  # file names may be bytes of any encoding
    stop = _Stop()
    before = {number: signal.signal(number, stop) for number in STOPS}
    programs.kill_all(stopping=False)
    # Of matplotlib, which quotes the letter as it is: a name from a file may hold control characters.
    warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # `... | head`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except (MediaError, OSError, MemoryError, KeyboardInterrupt) as error:
        # A signal that arrives in a callback of a library appears as a failure of the interrupted operation.
        if stop.received is None and not isinstance(error, KeyboardInterrupt):
            fail(_message(error))
        words = error.args if isinstance(error, KeyboardInterrupt) else ()
        with suppress(OSError):  # the terminal may be gone
            print(": ".join(["interrupted", *words]), file=sys.stderr)
        sys.exit(128 + (stop.received or signal.SIGINT))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _message(error: Exception) -> str:
    """What is wrong and what to do, on one line."""
    if isinstance(error, OSError):
        return f"{error.filename or 'output'}: {error.strerror or error}{REMEDIES.get(error.errno or 0, '')}"
    if isinstance(error, MemoryError):
        return "this machine's memory does not hold that (choose a smaller size)"
    return str(error)


class _Stop:
    """Signal handler: the first signal unwinds the process; one more than `PATIENCE` seconds later ends it at once.

    Attributes:
        received: number of the first signal.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._when = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._when = number, time.monotonic()
            programs.kill_all()
            raise KeyboardInterrupt
        if time.monotonic() - self._when > PATIENCE:
            os._exit(128 + number)


def say(message: str, *, note: bool = False) -> None:
    """Print one line: on stdout, or a note on stderr; see `one_line`."""
    print(one_line(message), file=sys.stderr if note else sys.stdout, flush=True)


def progress_bar(**options: Any) -> tqdm:
    """A progress bar on stderr. In a log, which is no terminal, it is a line every `LOG_INTERVAL` seconds.

    Args:
        options: as of `tqdm.tqdm`; `desc` may hold anything.
    """
    from tqdm import tqdm  # here, since `setup` runs before any package is installed

    options["desc"] = one_line(str(options.get("desc") or ""))

    if sys.stderr.isatty():
        return tqdm(**options)

    class Lines(tqdm):
        @staticmethod
        def status_printer(file: Any) -> Callable[[str], None]:
            def print_status(status: str) -> None:
                if status:  # tqdm clears a bar by an empty one
                    print(status, file=file, flush=True)

            return print_status

    return Lines(**{"leave": False, "mininterval": LOG_INTERVAL, "maxinterval": LOG_INTERVAL, **options})


def fail(message: str) -> NoReturn:
    """Print one line and exit 1."""
    print(f"{Path(sys.argv[0]).name}: error: {one_line(message)}", file=sys.stderr)
    sys.exit(1)


def one_line(message: str) -> str:
    """A message on one line of at most `LONGEST_MESSAGE` characters, with control characters escaped."""
    words = " ".join(message.split())
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in words)
    return shown if len(shown) <= LONGEST_MESSAGE else f"{shown[: LONGEST_MESSAGE - 1]}…"
