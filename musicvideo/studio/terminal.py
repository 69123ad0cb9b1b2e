"""A command on a terminal of its own, as if a person had typed it.

It shows its progress as it does to people, Ctrl-C stops it, and it is told to stop when this process ends, however that
ends: the terminal then hangs up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import termios
from collections.abc import Callable, Mapping, Sequence

SIZE = (24, 200)  # lines and columns
CTRL_C = b"\x03"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A running command.

    Args:
        command: a path, then its arguments.
        environment: its variables.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]):
        self._ours, theirs = pty.openpty()
        os.set_inheritable(self._ours, False)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        name = os.ttyname(theirs)
        # The first terminal that the leader of a new session opens is the one whose Ctrl-C and hang-up it gets.
        opened = [(os.POSIX_SPAWN_OPEN, 0, name, os.O_RDWR, 0), *((os.POSIX_SPAWN_DUP2, 0, to) for to in (1, 2))]
        try:
            # Whoever starts the studio in the background, or by nohup, ignores these, and children would as well.
            heard = [signal.SIGINT, signal.SIGHUP]
            self._process = os.posix_spawn(
                command[0], [*command], environment, file_actions=opened, setsid=True, setsigdef=heard
            )
        finally:
            os.close(theirs)

    def follow(self, line: Callable[[str], None]) -> int:
        """Call `line` with each line, and each state of a progress bar, until the command ends; its exit code."""
        text = b""
        with contextlib.suppress(OSError):  # Linux reports the end of a terminal as an error
            while data := os.read(self._ours, 1 << 16):
                *lines, text = re.split(rb"[\r\n]", text + data)
                for each in filter(None, lines):
                    line(ESCAPES.sub("", each.decode(errors="replace")))
        _, status = os.waitpid(self._process, 0)
        os.close(self._ours)
        return os.waitstatus_to_exitcode(status)

    def interrupt(self) -> None:
        """Type Ctrl-C."""
        with contextlib.suppress(OSError):  # it has ended meanwhile
            os.write(self._ours, CTRL_C)
