"""The hidden folder beside an output that holds its segments until the video is whole."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from musicvideo.errors import MediaError
from musicvideo.vision import record as records
from musicvideo.vision.containers import SEGMENTS, TRANSPARENT_SEGMENTS


class Work:
    """The segments of one video, and the record they were drawn by.

    A segment's name holds a checksum of that record, so it can be trusted even if the record's own file is lost.

    Args:
        output: the video.
        kind: FFmpeg's format of new segments.
    """

    def __init__(self, output: str | os.PathLike, kind: str = SEGMENTS):
        self.output, self._kind = Path(output), kind
        self.folder = self.output.with_name(f".{self.output.name}.render")
        self._note = self.folder / "settings.json"
        self._key = ""

    def segment(self, index: int) -> Path:
        """Path of a whole segment; only while the folder is open."""
        return self.folder / f"{index:06d}-{self._key}.{self._kind}"

    def segments(self) -> list[Path]:
        """The segments that exist."""
        return sorted(
            path for kind in (SEGMENTS, *TRANSPARENT_SEGMENTS.values()) for path in self.folder.glob(f"[0-9]*.{kind}")
        )

    def record(self) -> dict[str, Any] | None:
        """The record that `open` was given; None if it cannot be read, as after a power failure."""
        try:
            return records.parse(self._note)
        except (OSError, ValueError, RecursionError):
            return None

    @contextmanager
    def open(
        self,
        record: Mapping[str, Any],
        *,
        overwrite: bool = False,
        shared: bool = False,
        notice: Callable[[str], object] = lambda line: None,
    ) -> Iterator[None]:
        """Lock the folder for one render. On leaving it is deleted, unless it holds segments to resume from.

        Args:
            record: everything that the render depends on, of JSON's types.
            overwrite: start over if the segments of an interrupted render have another record.
            shared: others may draw segments of the same render meanwhile, on this machine or another one; the folder
                stays.
            notice: told in a line that it starts over, or which versions changed.

        Raises:
            MediaError: another run is at work on this output, or an interrupted one has another record.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise MediaError(f"{self.folder}: is in the way of the render (delete it, or name another output)")
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "a+") as lock:
            try:
                fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MediaError(
                    f"{self.output}: another run is making it (wait for it, or name another output)"
                ) from None
            if shared:
                self._prepare(record, overwrite, notice)
                yield
                return
            try:
                for path in self.folder.glob(".*"):  # left by a run that was killed
                    _delete(path)
                self._prepare(record, overwrite, notice)
                yield
                self._clear()
            finally:
                if not self.segments():
                    shutil.rmtree(self.folder)

    def _prepare(self, record: Mapping[str, Any], overwrite: bool, notice: Callable[[str], object]) -> None:
        self._key = records.checksum(record)
        earlier = self.record()
        if others := [path for path in self.segments() if not path.stem.endswith(f"-{self._key}")]:
            changed = records.differences(earlier, record) if earlier else "they cannot be read"
            if not overwrite:
                raise MediaError(
                    f"{self.output}: an interrupted render of it had other settings: {changed} "
                    "(give the same settings to go on, or --overwrite to start over)"
                )
            notice(f"{self.output}: starting over, for the interrupted render of it had other settings: {changed}")
            for path in others:
                _delete(path)
        elif earlier and self.segments() and (changed := records.other_versions(earlier, record)):
            notice(f"{self.output}: going on where an interrupted render stopped, with other versions: {changed}")
        if self._note.is_dir():
            _delete(self._note)
        if earlier != record:
            # Two machines that write it at once may take each other's temporary file for one of an ended process.
            with suppress(FileNotFoundError):
                records.write(self._note, record)

    def _clear(self) -> None:
        for segment in self.segments():
            segment.unlink()


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
