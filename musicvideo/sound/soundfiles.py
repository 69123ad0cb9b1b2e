"""Sound files by libsndfile: open them, check them, and name the format of new ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from os import PathLike

import numpy as np
import soundfile

from musicvideo import limits, programs
from musicvideo.errors import MediaError
from musicvideo.files import require_file
from musicvideo.probe import sound_chunk

READ_FRAMES = 1 << 16  # frames read at a time where only their values are checked


class SoundFile(soundfile.SoundFile):
    """A sound file opened for reading; damage found later raises MediaError."""

    @property
    def path(self) -> str:
        """Its name as text."""
        return os.fsdecode(self.name)

    def read(self, *args, **options) -> np.ndarray:
        try:
            return super().read(*args, **options)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.rstrip(".")
            raise MediaError(f"{self.path}: is damaged ({reason}); export it again") from None

    def checked_blocks(self, size: int = READ_FRAMES, overlap: int = 0) -> Iterator[np.ndarray]:
        """All samples in blocks of (up to `size`, channels) float64, which overlap by `overlap` frames.

        Raises:
            MediaError: a sample is not a number, or so large that it is no sound.
        """
        self.seek(0)
        for block in self.blocks(size, overlap=overlap, dtype="float64", always_2d=True):
            if not np.abs(block).max() <= limits.LARGEST_SAMPLE:  # false for NaN as well
                raise MediaError(
                    f"{self.path}: holds samples that are not numbers, or are far above full scale (NaN, "
                    "infinite); export it again"
                )
            yield block


def open_sound(path: str | PathLike) -> SoundFile:
    """Open a mono or stereo sound file.

    Raises:
        MediaError: not such a file, or a file that was cut off.
    """
    require_file(path)
    try:
        with programs.stderr_discarded():  # libsndfile's MP3 decoder writes warnings there
            file = SoundFile(os.fsencode(path))  # libsndfile takes names of any bytes
    except (soundfile.LibsndfileError, TypeError):  # TypeError: raw samples, which need a rate
        raise MediaError(f"{path}: not a sound file that can be read here; give a wav, flac, ogg or mp3") from None
    try:
        _require_usable(file, path)
    except MediaError:
        file.close()
        raise
    return file


def _require_usable(file: SoundFile, path: str | PathLike) -> None:
    lowest, highest = limits.SAMPLE_RATES
    if not file.seekable():
        raise MediaError(f"{path}: is {file.subtype}, which can only be read once; give a wav, flac, ogg or mp3")
    if not file.frames:
        raise MediaError(f"{path}: holds no sound (0 samples); export it again")
    if file.channels > 2:
        raise MediaError(f"{path}: has {file.channels} channels; give a mono or stereo file")
    if not lowest <= file.samplerate <= highest:
        raise MediaError(
            f"{path}: states a sample rate of {file.samplerate} Hz; give a file of {lowest} to {highest} Hz"
        )
    if file.frames / file.samplerate > limits.LONGEST:
        raise MediaError(f"{path}: lasts longer than {limits.LONGEST // 3600} hours; give a part of it")
    # libsndfile reads a file that was cut off up to its end, without an error.
    chunk = sound_chunk(path)
    if chunk and chunk.stated is not None and chunk.stated > chunk.there:
        seconds = file.frames / file.samplerate
        raise MediaError(
            f"{path}: damaged or cut off at {seconds:.1f} s of its {seconds * chunk.stated / chunk.there:.1f} s; "
            "export it again"
        )


def peak(path: str | PathLike) -> float:
    """The largest absolute sample of a sound file; 1 is full scale.

    Raises:
        MediaError: as `open_sound` and `SoundFile.checked_blocks`.
    """
    with open_sound(path) as file:
        return float(max(np.abs(block).max() for block in file.checked_blocks()))


def is_silent(file: SoundFile) -> bool:
    """Whether every sample of an open file is 0; reads it from its start."""
    return not any(block.any() for block in file.checked_blocks())


def is_mono(path: str | PathLike) -> bool:
    """Whether a sound file has one channel."""
    with open_sound(path) as file:
        return file.channels == 1


def target_format(path: str | PathLike) -> str:
    """libsndfile's name of the container for a file name's suffix.

    Raises:
        MediaError: no container has this suffix.
    """
    suffix = str(path).rpartition(".")[2].upper()
    if suffix not in soundfile.available_formats():
        raise MediaError(f"{path}: no sound file can be written under this name; end it in .wav or .flac")
    return suffix


def target_subtype(path: str | PathLike, format: str, source_subtype: str, wanted: str | None) -> str:
    """The sample format to write: the one asked for, else the source's, else the container's default.

    Raises:
        MediaError: the container cannot hold the one asked for.
    """
    if wanted is None:
        return source_subtype if _can_write(format, source_subtype) else soundfile.default_subtype(format)
    if not _can_write(format, wanted):
        possible = [subtype for subtype in soundfile.available_subtypes(format) if _can_write(format, subtype)]
        raise MediaError(f"{path}: {format} cannot hold {wanted}; it can hold: {', '.join(possible)}")
    return wanted


def _can_write(format: str, subtype: str) -> bool:
    """Whether libsndfile writes stereo so. `soundfile.check_format` also accepts read-only formats: MP3 in WAV."""
    try:
        with soundfile.SoundFile(BytesIO(), "w", 48000, 2, subtype, format=format):
            return True
    except (soundfile.LibsndfileError, ValueError):  # an encoding that does not fit; no encoding at all
        return False
