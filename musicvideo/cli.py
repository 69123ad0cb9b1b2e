"""What all commands share: the parser, exit codes, signals, messages."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from musicvideo import __version__, programs
from musicvideo.errors import MediaError

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 5                   # seconds after a signal from which another one ends the process at once
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
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


class _Verbose(argparse.Action):
    """Shows the log; stores nothing, so that the option may stand before or after a subcommand."""

    def __init__(self, option_strings, dest, **options):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser, namespace, values, option_string=None):
        logging.basicConfig(format="%(message)s", stream=sys.stderr)
        programs.log.setLevel(logging.DEBUG)


class Stopped(KeyboardInterrupt):
    """A signal asks this process to stop."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def entry_point(main: Callable[[], None]) -> None:
    """Run a script's `main` and exit: 0, 1 on failure (one line on stderr), 128 + n on signal n (Ctrl-C: 130).

    A signal kills the programs that run, then unwinds `main`, so that no partial file stays. A `KeyboardInterrupt`
    that carries a message has it printed.
    """
    sys.stdout.reconfigure(errors="backslashreplace")         # names of files may be in any encoding, or in none
    sys.stderr.reconfigure(errors="backslashreplace")
    before = {number: signal.signal(number, _stop()) for number in STOPS}
    programs.kill_all(stopping=False)
    try:
        main()
        sys.stdout.flush()
    except MediaError as error:
        fail(str(error))
    except BrokenPipeError:                                   # `... | head`: who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        fail(f"{error.filename or 'output'}: {error.strerror or error}{REMEDIES.get(error.errno, '')}")
    except MemoryError:
        fail("this machine's memory does not hold that (choose a smaller size)")
    except KeyboardInterrupt as interrupt:
        cause = interrupt if isinstance(interrupt, Stopped) else interrupt.__context__
        with suppress(OSError):                               # the terminal may be gone
            print(": ".join(["interrupted", *interrupt.args]), file=sys.stderr)
        sys.exit(128 + (cause.number if isinstance(cause, Stopped) else signal.SIGINT))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop() -> Callable:
    """A handler that stops this process in good order, and at once where a second signal finds it still at it."""
    first = None

    def stop(number: int, frame) -> None:
        nonlocal first
        now = time.monotonic()
        if first is None:
            first = now
            programs.kill_all()
            raise Stopped(number)
        if now - first > PATIENCE:
            os._exit(128 + number)

    return stop


def fail(message: str) -> None:
    """Print one line and exit 1."""
    print(f"{Path(sys.argv[0]).name}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(1)
