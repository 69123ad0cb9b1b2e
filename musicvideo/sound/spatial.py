"""Place a moving source around a head: dry sound and a trajectory in, two ears out.

Every model is a function of a mono signal and its position at each sample. Nothing jumps: gains, filters and delays
follow the trajectory sample by sample. Files are streamed in overlapping blocks; the overlap is longer than the memory
of any filter here, so the borders leave no trace.

Levels: a mono source keeps its power (the squares of both ears together are those of the source, to the model's
accuracy), and a stereo file with equal channels sounds in front as loud as it did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from math import log10
from os import PathLike

import numpy as np
import soundfile
from scipy import signal

from musicvideo.errors import MediaError
from musicvideo.files import atomic, require_file
from musicvideo.sound.delay import glide
from musicvideo.sound.hrtf import MeasuredHead, find_kemar, read_sofa
from musicvideo.sound.panning import Motion, Position

SPEED_OF_SOUND = 343.0        # m/s
HEAD_RADIUS = 0.0875          # m
HEAD_TIME = HEAD_RADIUS / SPEED_OF_SOUND      # s, 255 µs: sound along one radius of the head

BLOCK = 1 << 17               # samples a streamed block
MARGIN = 1 << 13              # samples of context on either side of a block
FULL_WIDTH = 60.0             # degrees from the trajectory to each channel of a stereo source of width 1
FULL_SCALE = 1 - 2.0**-15     # what a 16-bit file can hold

Model = Callable[[np.ndarray, Position, float], np.ndarray]


def pan(source: np.ndarray, position: Position, rate: float) -> np.ndarray:
    """Equal-power panning: the ears differ in level only, by the sine law on the ear position.

    Args:
        source: (N,) mono signal.
        position: N positions.
        rate: Hz.

    Returns:
        (N, 2) left and right ear.
    """
    angle = np.pi / 4 * (1 + position.ear)
    return np.stack([np.cos(angle) * source, np.sin(angle) * source], axis=1)


def sphere(source: np.ndarray, position: Position, rate: float) -> np.ndarray:
    """A rigid spherical head: time difference by a gliding delay, level difference by head shadow.

    The delay is the path to each ear over the sphere, so the time difference between the ears is Woodworth's
    a/c (θ + sin θ) above 1.5 kHz; below, the shadow filter's own delay makes it larger, as Kuhn's 3 a/c sin θ has it.
    Front and back sound the same, as they do on a sphere. Arguments and result as in `pan`.

    Source: Brown and Duda, "A structural model for binaural sound synthesis", IEEE Trans. Speech and Audio
    Processing 6(5), 1998, equations 1 to 4.
    """
    # The shadow is (1 + α s) / (1 + s) with s = jω a/2c: the pole stays, only the zero moves. So it is a fixed
    # low-pass and the rest of the signal weighted by α at each sample: exact for a moving source.
    pole = signal.bilinear([1], [HEAD_TIME / 2, 1], rate)
    toward = [side * position.ear for side in (-1, 1)]         # cosine of the angle between source and axis of each ear
    incidence = [np.arccos(np.clip(cosine, -1, 1)) for cosine in toward]
    delays = [rate * HEAD_TIME * np.where(cosine > 0, -cosine, angle - np.pi / 2)
              for cosine, angle in zip(toward, incidence)]
    ears = []
    for angle, delayed in zip(incidence, glide(source, delays)):
        low = signal.lfilter(*pole, delayed)
        shadow = 1.05 + 0.95 * np.cos(angle * (180 / 150))
        ears.append(low + shadow * (delayed - low))
    return np.stack(ears, axis=1) / np.sqrt(2)


MODELS = ("pan", "sphere", "hrtf")


@cache
def load_model(name: str | None = None, sofa: str | PathLike | None = None) -> Model:
    """The model of a name in `MODELS`.

    Args:
        name: None is "hrtf" where there are measurements, else "sphere".
        sofa: measurements for "hrtf"; None are those of the KEMAR manikin that came with FFmpeg.

    Raises:
        MediaError: "hrtf" without measurements, or what `read_sofa` finds wrong with them.
    """
    sofa = sofa or find_kemar()
    if name == "hrtf" and sofa is None:
        raise MediaError("no measured head is installed for the hrtf model: install libmysofa (with FFmpeg), "
                         "name a SOFA file, or use the sphere model")
    if name == "hrtf" or (name is None and sofa):
        return MeasuredHead(read_sofa(sofa))
    return pan if name == "pan" else sphere


def render(sound: np.ndarray, rate: float, motion: Motion, model: Model, *, width: float = 0.5,
           first: int = 0) -> np.ndarray:
    """Move a whole sound, or one block of it.

    Args:
        sound: (N, channels), 1 or 2 channels. The two of a stereo source are placed at either side of the trajectory.
        rate: Hz.
        motion: where the source is; the level falls as 1/distance from 1 metre on.
        model: from `load_model`.
        width: 0 puts both channels of a stereo source into one point, 1 at `FULL_WIDTH` degrees to either side.
        first: number of the first sample on the motion's time axis.

    Returns:
        (N, 2) left and right ear, as early as the sound.
    """
    position = motion.sample(first, len(sound), rate)
    sound = sound / np.maximum(position.distance, 0.1)[:, np.newaxis]
    if sound.shape[1] == 1:
        return model(sound[:, 0], position, rate)
    spread = width * FULL_WIDTH
    left = Position(position.azimuth - spread, position.elevation, position.distance)
    right = Position(position.azimuth + spread, position.elevation, position.distance)
    # Two sources that carry the same sound add up in amplitude: hence the half of their power.
    return (model(sound[:, 0], left, rate) + model(sound[:, 1], right, rate)) / np.sqrt(2)


def stream(file: soundfile.SoundFile, motion: Motion, model: Model, *, width: float = 0.5) -> Iterator[np.ndarray]:
    """`render` a sound file block by block, in constant memory.

    Yields:
        (n, 2) blocks that together are as long as the file.

    Raises:
        MediaError: the file holds samples that are not numbers.
    """
    size = BLOCK + 2 * MARGIN
    first = 0
    for sound in file.blocks(size, overlap=2 * MARGIN, dtype="float64", always_2d=True):
        if not np.isfinite(sound).all():
            raise MediaError(f"{file.name}: holds samples that are not numbers (NaN or infinite); export it again")
        ears = render(sound, file.samplerate, motion, model, width=width, first=first)
        last = first + len(sound) >= file.frames
        yield ears[MARGIN if first else 0: None if last else size - MARGIN]
        first += BLOCK


def render_file(source: str | PathLike, target: str | PathLike, motion: Motion, model: Model, *, width: float = 0.5,
                subtype: str | None = None, progress: Callable[[int], object] = lambda frames: None) -> float:
    """Move a mono or stereo sound file around the head; write stereo at the same rate.

    Where the moved sound would clip in the target's sample format, all of it is written softer, just enough.

    Args:
        source: anything libsndfile reads.
        target: .wav, .flac or another name libsndfile writes; replaced only when complete.
        motion, model, width: as in `render`.
        subtype: sample format (PCM_16, PCM_24, FLOAT, ...); None is that of the source, or the nearest the target has.
        progress: called with the frames done since the last call.

    Returns:
        Gain in dB that kept the sound from clipping: 0, or below.

    Raises:
        MediaError: not a sound file, more than two channels, no samples in it, or a format the target cannot hold.
    """
    with open_sound(source) as file:
        format = target_format(target)
        subtype = target_subtype(target, format, file.subtype, subtype)
        gain = 1.0
        with atomic(target) as partial:
            try:
                peak = _write(file, partial, format, subtype, motion, model, width, gain, progress)
                if peak > FULL_SCALE and subtype not in ("FLOAT", "DOUBLE"):
                    gain = FULL_SCALE / peak
                    file.seek(0)
                    _write(file, partial, format, subtype, motion, model, width, gain, lambda frames: None)
            except soundfile.LibsndfileError as error:
                raise MediaError(f"{target}: cannot be written ({error.error_string.rstrip('.')}): is there space, "
                                 f"permission, and a format that holds {file.samplerate} Hz?") from None
    return 20 * log10(gain)


def _write(file, path, format, subtype, motion, model, width, gain, progress) -> float:
    """Render all of `file` into a new one; returns the peak before `gain`."""
    peak = 0.0
    with soundfile.SoundFile(path, "w", file.samplerate, 2, subtype, format=format) as out:
        for ears in stream(file, motion, model, width=width):
            peak = max(peak, np.abs(ears).max())
            out.write(gain * ears)
            progress(len(ears))
    return peak


class Sound(soundfile.SoundFile):
    """A sound file that is read; one that is damaged further on says so itself."""

    def read(self, *args, **options) -> np.ndarray:
        try:
            return super().read(*args, **options)
        except soundfile.LibsndfileError as error:
            raise MediaError(f"{self.name}: is damaged ({error.error_string.rstrip('.')}); export it again") from None


def open_sound(path: str | PathLike) -> Sound:
    """Open a mono or stereo sound file.

    Raises:
        MediaError: anything else.
    """
    require_file(path)
    try:
        file = Sound(path)
    except (soundfile.LibsndfileError, TypeError):           # TypeError: raw samples, which need a rate
        raise MediaError(f"{path}: not a sound file that can be read here; give a wav, flac, ogg or mp3") from None
    if not file.seekable():
        file.close()
        raise MediaError(f"{path}: is {file.subtype}, which can only be read once; give a wav, flac, ogg or mp3")
    if file.channels <= 2 and file.frames:
        return file
    file.close()
    raise MediaError(f"{path}: has {file.channels} channels; give a mono or stereo file" if file.frames else
                     f"{path}: holds no sound (0 samples); export it again")


def is_silent(file: soundfile.SoundFile) -> bool:
    """Whether every sample of an open file is 0; reads it from its begin."""
    file.seek(0)
    return not any(block.any() for block in file.blocks(BLOCK, dtype="float32"))


def target_format(path: str | PathLike) -> str:
    """libsndfile's name of the container that a file name asks for."""
    suffix = str(path).rpartition(".")[2].upper()
    if suffix not in soundfile.available_formats():
        raise MediaError(f"{path}: no sound file can be written under this name; end it in .wav or .flac")
    return suffix


def target_subtype(path: str | PathLike, format: str, source_subtype: str, wanted: str | None) -> str:
    """The sample format to write: the one asked for, else the source's, else the container's own."""
    if wanted is None:
        return source_subtype if _can_write(format, source_subtype) else soundfile.default_subtype(format)
    if not _can_write(format, wanted):
        possible = [subtype for subtype in soundfile.available_subtypes(format) if _can_write(format, subtype)]
        raise MediaError(f"{path}: {format} cannot hold {wanted}; it can hold: {', '.join(possible)}")
    return wanted


def _can_write(format: str, subtype: str) -> bool:
    """Whether libsndfile writes stereo so. `soundfile.check_format` also names what it only reads, as MP3 in a wav."""
    try:
        with soundfile.SoundFile(BytesIO(), "w", 48000, 2, subtype, format=format):
            return True
    except (soundfile.LibsndfileError, ValueError):        # an encoding that does not fit; no encoding at all
        return False
