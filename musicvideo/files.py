"""Files: atomic and durable outputs, locks, checksums.

Imports only the standard library at the top: set-up runs before any package is installed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from musicvideo.errors import DiskFull, MediaError

PARTIAL = re.compile(r"\..*\.(\d+)-\d+\.partial(\..*)?")  # name of a file that is being written, with its process id
LONGEST_STEM = 150  # bytes of an output's name used in the temporary file's name; a name may have 255
BLOCK = 1 << 20  # bytes read at a time
SPACE = 1 << 20  # bytes; a file system with less than this left is called full

_numbers = itertools.count()


def require_file(path: str | os.PathLike) -> Path:
    """The path, if it is a file that is not empty.

    Raises:
        MediaError: missing, a folder, empty, or a name that no file can have.
    """
    path = Path(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # too long, a NUL byte, a file where a folder should be
        raise MediaError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from None
    if path.is_dir():
        raise MediaError(f"{path}: is a folder, give a file")
    if not path.is_file():
        raise MediaError(f"{path}: is not a regular file (save it to a file first)")
    if not status.st_size:
        raise MediaError(f"{path}: is empty")
    return path


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Write to a temporary neighbour (same suffix) and rename it onto `path` if all went well.

    The data and the name have reached the disk when the context is left, so what it replaces may be deleted then. A
    failure, Ctrl-C or a full disk leaves `path` as it was and no temporary file behind. Temporary files of `path` that
    a killed process left behind are deleted first.

    Raises:
        MediaError: `path` is a folder, or there is no space left.
    """
    path = Path(path)
    if path.is_dir():
        raise MediaError(f"{path}: is a folder; give the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{os.fsdecode(os.fsencode(path.stem)[:LONGEST_STEM])}."
    sweep(path.parent, prefix)
    partial = path.with_name(f"{prefix}{os.getpid()}-{next(_numbers)}.partial{path.suffix}")
    try:
        yield partial
        flush(partial)
        os.replace(partial, path)
        flush(path.parent)
    except DiskFull:
        raise _full(path) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _full(path) from None
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """As `atomic`, for a folder: its files are written to a temporary neighbour, which then takes the place of `path`.

    Raises:
        MediaError: `path` is a file, or there is no space left.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise MediaError(f"{path}: is a file where a folder should be (move it away)")
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{os.fsdecode(os.fsencode(path.name)[:LONGEST_STEM])}."
    sweep(path.parent, prefix)
    partial, old = (path.with_name(f"{prefix}{os.getpid()}-{next(_numbers)}.partial") for _ in range(2))
    try:
        partial.mkdir()
        yield partial
        for file in partial.iterdir():
            flush(file)
        if path.exists():
            path.rename(old)
        partial.rename(path)
        flush(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _full(path) from None
        raise
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def _full(path: Path) -> MediaError:
    """The error of a full disk; names the disk: the output's, or that of temporary files if only that one is full."""
    places = [path.parent, Path(tempfile.gettempdir())]
    place = next((place for place in places if shutil.disk_usage(place).free < SPACE), path.parent)
    return MediaError(f"{path}: no space left in {place} (free some and run the same command again)")


def sweep(folder: Path, prefix: str = ".") -> None:
    """Delete what `atomic` and `atomic_folder` of ended processes left in a folder, by the beginning of its name."""
    with suppress(OSError):  # a folder that may not be read has nothing that may be deleted
        for file in folder.iterdir():
            match = file.name.startswith(prefix) and PARTIAL.fullmatch(file.name)
            if match and not _runs(int(match[1])):
                if file.is_dir():
                    shutil.rmtree(file, ignore_errors=True)
                else:
                    file.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    with suppress(OSError):  # macOS has no /proc
        # One that has ended stays as a zombie until its parent looks at it, which in a container may be never.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


@contextmanager
def lock(path: str | os.PathLike, message: str) -> Iterator[None]:
    """Hold a lock file while the context lasts; the system frees it when this process ends, however it ends.

    Args:
        path: the lock file, made if missing and left behind.
        message: what to say if another process holds it.

    Raises:
        MediaError: another process holds it; carries the message.
    """
    import filelock  # here, since set-up runs before any package is installed

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        held = filelock.FileLock(path).acquire(timeout=0)
    except filelock.Timeout:
        raise MediaError(message) from None
    with held:
        yield


def flush(path: str | os.PathLike) -> None:
    """Bring a file's data, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # On macOS fsync stops at the drive's own cache.
        if hasattr(fcntl, "F_FULLFSYNC"):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def claim(path: str | os.PathLike, process: int) -> int | None:
    """Record in a file that a process works on something, unless a living process is recorded there already.

    Returns:
        The other process, or None.
    """
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        owner = re.match(r"(\d{1,9}) (.*)", file.read())
        if owner and int(owner[1]) != process and owner[2] == _start_time(int(owner[1])):
            return int(owner[1])
        file.truncate(0)
        file.write(f"{process} {_start_time(process)}\n")
    return None


def date_back(paths: Iterable[Path]) -> None:
    """Give files whose time lies ahead of the clock the present time, and keep their order.

    A clock that jumped back leaves such files. To make, which compares times, they would be newer than what is written
    now.
    """
    now = time.time_ns()
    times = {path: path.stat().st_mtime_ns for path in paths if path.is_file()}
    ahead = sorted({when for when in times.values() if when > now}, reverse=True)
    stamps = {when: now - 1000 * place for place, when in enumerate(ahead)}
    for path, when in times.items():
        if stamp := stamps.get(when):
            os.utime(path, ns=(stamp, stamp))


def _start_time(process: int) -> str | None:
    """Start time of a process, in any notation, since process numbers are reused; None if it has ended."""
    if not _runs(process):
        return None
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:  # macOS has no /proc
        ps = subprocess.run(["ps", "-o", "lstart=", "-p", str(process)], capture_output=True, text=True)
        return ps.stdout.strip()
