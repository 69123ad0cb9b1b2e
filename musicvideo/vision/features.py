"""A song -> loudness, its rise, and the strength of the pitch classes, on an even grid of times."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import soxr

from musicvideo import caches, decoder, errors, files, limits, probe
from musicvideo.vision import locked_librosa as librosa

SAMPLE_RATE = 22050  # Hz; librosa's default, which the mapping was designed at
HOP_UNIT = 64  # samples; a CQT over seven octaves halves its hop six times
N_FFT = 2048  # samples in a window of the mel spectrogram
MEL_BANDS = 128
MEL_CEILING = 8000  # Hz
CHROMA_BINS = 36  # CQT bins an octave, three a pitch class
ANALYSIS_BLOCK = 20 * SAMPLE_RATE  # samples analysed at a time, so that memory does not grow with the song
ANALYSIS_CONTEXT = 3 * SAMPLE_RATE  # samples on either side of a block; half the longest CQT filter is 0.8 s
SHORTEST_ANALYSIS = 3 * SAMPLE_RATE  # samples; shorter songs are analysed with silence appended
POWER_FLOOR = 1e-6  # power of a mel band, 60 dB below full scale; decibels are limited there
PERCENTILES = (5, 98)  # of the onset envelope, that are mapped to 0 and 1
ONSET_SMOOTHING = 0.12  # seconds
CHROMA_SMOOTHING = 1.0  # seconds
MOST_PEAKS = 1 << 18  # spectral peaks that the tuning is estimated from; of more, every 2nd, 4th, ... is taken
ANALYSIS_VERSION = 2  # raised when an analysis gives other numbers, so that cached ones are not used


@dataclass(frozen=True)
class Features:
    """What a mapping takes from a song; grid point t is at t * frame_length / 22 050 seconds.

    Attributes:
        mel_power: (T,) float32, mean power over mel bands, 0 at its lowest and 1 at its highest.
        mel_gradient: (T,) float32, its rise from point to point, 0..1; falls count as 0.
        chroma: (12, T) float32, strength of the pitch classes C, C#, ..., B; the strongest of a moment is 1.
        frame_length: hop of the grid in samples at 22 050 Hz.
        duration: length of the song in seconds.
    """

    mel_power: np.ndarray
    mel_gradient: np.ndarray
    chroma: np.ndarray
    frame_length: int
    duration: float


# Mono samples at 22 050 Hz: all of them, (n,), or an iterable of pieces that can be iterated over repeatedly.
Samples = np.ndarray | Iterable[np.ndarray]


@dataclass(frozen=True)
class Song:
    """A song, mono at 22 050 Hz. Each iteration decodes it again, so memory does not grow with its length.

    Iterating yields (n,) float32, piece by piece: the mean of the channels, full scale 1. It raises a MediaError if the
    file is missing, empty, without sound, or damaged within the time asked for, or holds samples that are not numbers,
    and a ValueError for a duration that is not positive.

    Attributes:
        path: any audio file, or a video file for its sound.
        duration: seconds to decode from the start; None for all.
        stream: which of the file's sounds, from 0.
    """

    path: str | os.PathLike
    duration: float | None = None
    stream: int = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        if self.duration is not None and not self.duration > 0:
            raise ValueError(f"duration: {self.duration} is not more than 0 seconds")
        found = probe.probe(self.path, sound=self.stream)
        sample_rate, channels = decoder.require_sound(self.path, found)
        resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        decoded = given = 0
        # librosa.load would resample the same, but reads whole files at their own rate, follows playlists
        # through its fallback decoder, and does not report damage. Nothing of librosa is used here: importing it takes
        # a second, and a picture that follows notes needs no more of it.
        decoding = decoder.decode(self.path, found, codec="pcm_f32le", duration=self.duration, stream=self.stream)
        for piece in decoding:
            frames = np.frombuffer(piece, "<f4")
            if not np.abs(frames).max() <= limits.LARGEST_SAMPLE:  # false for NaN as well
                raise errors.MediaError(
                    f"{self.path}: holds samples that are no sound (NaN, infinite or far above full "
                    "scale); export it again"
                )
            mono = frames.reshape(-1, channels).T.mean(axis=0)
            decoded += len(mono)
            resampled = resampler.resample_chunk(np.ascontiguousarray(mono))
            given += len(resampled)
            yield resampled
        rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        missing = -(-decoded * SAMPLE_RATE // sample_rate) - given
        yield np.pad(rest, (0, max(missing - len(rest), 0)))[:missing]


def load_song(path: str | os.PathLike, duration: float | None = None) -> np.ndarray:
    """All samples of a `Song` at once: (samples,) float32."""
    return np.concatenate(list(Song(path, duration)))


def classic_features(song: Samples, frame_length: int = 512) -> Features:
    """The features of the published deep-music-visualizer.

    Args:
        song: mono at 22 050 Hz; iterated over twice.
        frame_length: hop in samples, a multiple of 64.

    Returns:
        Features with T = 1 + n // frame_length points, of n samples.

    Raises:
        ValueError: a hop that is not a multiple of 64, or no samples.
    """
    _require_hop(frame_length)
    tuning = estimate_tuning(song)

    def loudness_and_chroma(piece):
        return np.vstack([
            _mel(piece, frame_length).mean(axis=0),
            librosa.feature.chroma_cqt(
                y=piece, sr=SAMPLE_RATE, hop_length=frame_length, bins_per_octave=CHROMA_BINS, tuning=tuning
            ),
        ])  # fmt: skip

    found, length = in_blocks(loudness_and_chroma, song, frame_length)
    return Features(
        mel_power=_spread(found[0]),
        mel_gradient=_rise(found[0]),
        chroma=found[1:],
        frame_length=frame_length,
        duration=length / SAMPLE_RATE,
    )


def pulse_features(song: Samples, frame_length: int = 512) -> Features:
    """Features in which drums move the picture and harmony chooses what it shows.

    The percussive part of the spectrogram (Fitzgerald 2010, median filters along time and along frequency) gives the
    onset envelope, which takes the place of loudness; the harmonic part gives CENS chroma (Müller and Ewert 2011).
    The envelope is scaled between percentiles, so that one click does not flatten a song. Smoothing is in seconds.

    Args:
        song: mono at 22 050 Hz; iterated over twice.
        frame_length: hop in samples, a multiple of 64.

    Returns:
        Features with T = 1 + n // frame_length points, of n samples.

    Raises:
        ValueError: a hop that is not a multiple of 64, or no samples.
    """
    _require_hop(frame_length)
    tuning = estimate_tuning(song)
    rate = SAMPLE_RATE / frame_length

    def onsets(piece):
        _, percussive = librosa.decompose.hpss(_mel(piece, frame_length))
        # With a floor, since noise far below hearing would show as strong onsets in decibels.
        decibels = librosa.power_to_db(percussive, amin=POWER_FLOOR, top_db=None)
        return librosa.onset.onset_strength(S=decibels, sr=SAMPLE_RATE, hop_length=frame_length)

    def chroma(piece):
        bins = np.abs(librosa.cqt(
            piece, sr=SAMPLE_RATE, hop_length=frame_length, n_bins=7 * CHROMA_BINS, bins_per_octave=CHROMA_BINS,
            tuning=tuning,
        ))  # fmt: skip
        harmonic, _ = librosa.decompose.hpss(bins)
        return librosa.feature.chroma_cens(
            C=harmonic, bins_per_octave=CHROMA_BINS, win_len_smooth=_odd(CHROMA_SMOOTHING * rate)
        )

    found, length = in_blocks(lambda piece: np.vstack([onsets(piece), chroma(piece)]), song, frame_length)
    window = np.hanning(_odd(ONSET_SMOOTHING * rate) + 2)[1:-1]
    envelope = np.convolve(found[0], window / window.sum(), mode="same")[: found.shape[1]]
    envelope = _bounded(envelope).astype(np.float32)
    return Features(
        mel_power=envelope,
        mel_gradient=_rise(envelope),
        chroma=librosa.util.normalize(found[1:], norm=np.inf, axis=0),
        frame_length=frame_length,
        duration=length / SAMPLE_RATE,
    )


ARRAYS = ("mel_power", "mel_gradient", "chroma")  # of `Features`
# Ways to hear a song. Each is a function of a song and a hop.
ANALYSES = {"classic": classic_features, "pulse": pulse_features}


def cached_features(
    song: Song, frame_length: int = 512, *, analysis: str = "classic", cache: str | os.PathLike
) -> Features:
    """The features of a song, from a cache folder where they are there, else analysed and put there.

    The key is the content of the song's file, so that a renamed song is found and a changed one is not.

    Args:
        song: decoded only if its features are not cached.
        frame_length: hop in samples, a multiple of 64.
        analysis: one of `ANALYSES`.
        cache: folder, made if missing. A file in it that is damaged is written anew; a folder that cannot be written is
            done without.

    Raises:
        MediaError: the song cannot be decoded.
        ValueError: as the function of the analysis, or an unknown one.
    """
    if analysis not in ANALYSES:
        raise ValueError(f"analysis: unknown name {analysis!r} (choose {', '.join(ANALYSES)})")
    content = f"{files.sha256(files.require_file(song.path))}-{song.duration or 'whole'}"
    file = Path(cache) / f"{analysis}-{frame_length}-v{ANALYSIS_VERSION}-librosa{version('librosa')}-{content}.npz"
    cached = caches.recall(file)
    if features := cached and _unpacked(cached, frame_length):
        return features
    features = ANALYSES[analysis](song, frame_length)
    packed = io.BytesIO()
    np.savez(packed, duration=features.duration, **{name: getattr(features, name) for name in ARRAYS})
    caches.remember(file, packed.getvalue())
    return features


def _unpacked(content: bytes, frame_length: int) -> Features | None:
    """Features from the bytes of an .npz; None if it holds anything else."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            arrays = {name: found[name] for name in ARRAYS}
            duration = float(found["duration"])
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    points = len(arrays["chroma"].T)
    shapes = {"mel_power": (points,), "mel_gradient": (points,), "chroma": (12, points)}
    sound = all(
        arrays[name].shape == shape and arrays[name].dtype == np.float32 and np.isfinite(arrays[name]).all()
        for name, shape in shapes.items()
    )
    # As many points as the mapping's functions promise for the duration.
    expected = 1 + round(duration * SAMPLE_RATE) // frame_length if np.isfinite(duration) else 0
    return Features(**arrays, frame_length=frame_length, duration=duration) if sound and points == expected else None


def estimate_tuning(song: Samples) -> float:
    """`librosa.estimate_tuning` in a fixed amount of memory: offset from A440, in thirds of a semitone."""
    hop = N_FFT // 4

    def peaks(piece):
        return np.stack(librosa.piptrack(y=piece, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=hop))

    kept, every = np.zeros((2, 0), np.float32), 1
    for found in blocks(peaks, song, hop):
        kept = np.concatenate([kept, found[:, found[0] > 0][:, ::every]], axis=1)
        while kept.shape[1] > MOST_PEAKS:
            kept, every = kept[:, ::2], 2 * every
    pitch, strength = kept
    if not pitch.size:
        return 0.0
    return librosa.pitch_tuning(pitch[strength >= np.median(strength)], bins_per_octave=CHROMA_BINS)


def blocks(analyse: Callable[[np.ndarray], np.ndarray], song: Samples, hop: int) -> Iterator[np.ndarray]:
    """Yield a centred analysis of a long signal block by block.

    Args:
        analyse: (n,) samples -> (..., 1 + n // hop).
        song: the whole signal, of n samples.
        hop: samples from point to point.

    Yields:
        (..., t) whose concatenation along the last axis is `analyse` of the whole.

    Raises:
        ValueError: no samples.
    """
    length, context = max(1, ANALYSIS_BLOCK // hop), -(-ANALYSIS_CONTEXT // hop)  # grid points
    pieces = iter([song] if isinstance(song, np.ndarray) else song)
    kept, first = np.zeros(0, np.float32), 0  # samples; grid point of the first of them
    start = 0
    while True:
        wanted = (start + length + context - first) * hop
        have = [kept]
        while (missing := wanted - sum(map(len, have))) > 0 and (piece := next(pieces, None)) is not None:
            have.append(piece)
        kept = np.concatenate(have)
        points = first + 1 + len(kept) // hop  # of all samples so far
        if not len(kept):
            raise ValueError("song: no samples")
        block = kept[:wanted]
        if missing > 0:
            block = librosa.util.fix_length(kept, size=max(len(kept), SHORTEST_ANALYSIS))
        yield analyse(block)[..., start - first : min(start + length, points) - first]
        start += length
        if missing > 0 and start >= points:
            return
        before = max(first, start - context)
        kept, first = kept[(before - first) * hop :], before


def in_blocks(analyse: Callable[[np.ndarray], np.ndarray], song: Samples, hop: int) -> tuple[np.ndarray, int]:
    """A centred analysis of a long signal, block after block, as float32 (see `blocks`); and its number of samples."""
    length = 0

    def counted():
        nonlocal length
        for piece in [song] if isinstance(song, np.ndarray) else song:
            length += len(piece)
            yield piece

    # In one array that grows: many small ones between large temporary ones would fragment the heap.
    found, end = np.zeros(0, np.float32), 0
    for part in blocks(analyse, counted(), hop):
        reached = end + part.shape[-1]
        if reached > found.shape[-1]:
            found, shorter = np.empty((*part.shape[:-1], 2 * reached), np.float32), found
            found[..., :end] = shorter[..., :end]
        found[..., end:reached] = part
        end = reached
    return found[..., :end].copy(), length


def _require_hop(frame_length: int) -> None:
    if frame_length < HOP_UNIT or frame_length % HOP_UNIT:
        raise ValueError(f"frame_length: {frame_length} is not a multiple of {HOP_UNIT}")


def _mel(samples: np.ndarray, frame_length: int) -> np.ndarray:
    """Mel power spectrogram, (bands, points)."""
    return librosa.feature.melspectrogram(
        y=samples, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=frame_length, n_mels=MEL_BANDS, fmax=MEL_CEILING
    )


def _odd(points: float) -> int:
    """The largest odd integer up to `points`, at least 1: a window with a middle sample."""
    return max(1, int(points)) // 2 * 2 + 1


def _bounded(envelope: np.ndarray) -> np.ndarray:
    """An envelope mapped onto 0..1 between two percentiles; by its extremes if it is constant most of the time."""
    low, high = np.percentile(envelope, PERCENTILES)
    return np.clip((envelope - low) / (high - low), 0, 1) if high > low else _spread(envelope)


def _spread(loudness: np.ndarray) -> np.ndarray:
    """Loudness mapped onto 0..1; all 0 if it never changes."""
    span = np.ptp(loudness)
    return (loudness - loudness.min()) / span if span > 0 else np.zeros_like(loudness)


def _rise(loudness: np.ndarray) -> np.ndarray:
    """The rise of loudness from point to point, the steepest 1; all 0 if it never rises."""
    if len(loudness) < 2:
        return np.zeros_like(loudness)
    gradient = np.gradient(loudness)
    steepest = gradient.max()
    return np.clip(gradient / steepest, 0, None) if steepest > 0 else np.zeros_like(gradient)
