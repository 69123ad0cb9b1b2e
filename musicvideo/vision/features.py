"""A song -> how loud it is, how fast that rises and which pitches sound, on a grid of moments."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import soxr

from musicvideo import errors, ffmpeg, files, probe, programs

SAMPLE_RATE = 22050            # Hz; librosa's default, which the mapping was designed at
HOP_UNIT = 64                  # samples; a CQT over seven octaves halves its hop six times
N_FFT = 2048                   # samples in a window of the mel spectrogram
MEL_BANDS = 128
MEL_CEILING = 8000             # Hz
CHROMA_BINS = 36               # CQT bins an octave, three a pitch class
BLOCK = 20 * SAMPLE_RATE       # samples analysed at a time, so that memory does not grow with the song
CONTEXT = 3 * SAMPLE_RATE      # samples beside a block; half the longest CQT filter is 0.8 s
SHORTEST = 3 * SAMPLE_RATE     # samples; shorter songs are analysed with silence behind them
QUIET = 1e-6                   # power; 60 dB below full scale
PERCENTILES = (5, 98)          # of the onset envelope, that become 0 and 1
ONSET_SMOOTHING = 0.12         # seconds
CHROMA_SMOOTHING = 1.0         # seconds
MOST_PEAKS = 1 << 18           # of spectra, that tell the tuning; of more, every second, fourth, ... is taken
REMEMBERED_AS = 2              # raised when an analysis gives other numbers, so that remembered ones are forgotten
READ = 1 << 17                 # samples decoded at a time


@dataclass(frozen=True)
class Features:
    """What the mapping needs to know of a song; grid point t is at t * frame_length / 22 050 seconds.

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


# Mono samples at 22 050 Hz: all of them, (n,), or whatever yields them piece by piece as often as it is asked to.
Samples = np.ndarray | Iterable[np.ndarray]


@dataclass(frozen=True)
class Song:
    """A song, mono at 22 050 Hz, as often as it is iterated over and never all of it in memory.

    Iterating decodes it and yields (n,) float32, piece by piece: the mean of the channels, full scale 1.
    It raises a MediaError if the file is missing, empty, without sound, or damaged within the time asked for, and a
    ValueError for a duration that is not positive.

    Attributes:
        path: any audio file, or a video file for its sound.
        duration: seconds to decode from the start; None for all.
    """

    path: str | os.PathLike
    duration: float | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        if self.duration is not None and not self.duration > 0:
            raise ValueError(f"duration: {self.duration} is not more than 0 seconds")
        found = probe.probe(self.path)
        if not found.sample_rate or not found.channels:
            raise errors.MediaError(f"{self.path}: has no audio in it")
        # librosa.load would resample the same, but reads whole files at their own rate, follows playlists
        # through its fallback decoder, and stays silent about damage.
        limit = [] if self.duration is None else ["-t", repr(float(self.duration))]
        command = [
            programs.program("ffmpeg"), "-v", "error", "-nostdin", *probe.strictness(found),
            *ffmpeg.SAFE_INPUT, *limit, "-i", ffmpeg.source(self.path),
            "-map", "0:a:0", "-f", "f32le", "-c:a", "pcm_f32le", "-",
        ]  # fmt: skip
        resampler = soxr.ResampleStream(found.sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        frame_bytes = 4 * found.channels
        decoded = given = 0
        with tempfile.TemporaryFile() as stderr:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL) as process:
                while data := process.stdout.read(READ * frame_bytes):
                    frames = np.frombuffer(data[:len(data) // frame_bytes * frame_bytes], "<f4")
                    mono = librosa.to_mono(frames.reshape(-1, found.channels).T)
                    decoded += len(mono)
                    piece = resampler.resample_chunk(np.ascontiguousarray(mono))
                    given += len(piece)
                    yield piece
            stderr.seek(0)
            complaint = stderr.read()
        if not decoded:
            raise errors.MediaError(f"{self.path}: cannot be decoded: {programs.last_line(complaint)}")
        probe.require_whole(self.path, found, decoded / found.sample_rate, self.duration, failed=process.returncode != 0)
        rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        yield librosa.util.fix_length(rest, size=-(-decoded * SAMPLE_RATE // found.sample_rate) - given)


def load_song(path: str | os.PathLike, duration: float | None = None) -> np.ndarray:
    """All samples of a `Song` at once: (samples,) float32."""
    return np.concatenate(list(Song(path, duration)))


def classic_features(song: Samples, frame_length: int = 512) -> Features:
    """The features of the published deep-music-visualizer.

    Args:
        song: mono at 22 050 Hz; gone through twice.
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
    """Drums move the picture, harmony chooses what it shows.

    The percussive half of a spectrogram (Fitzgerald 2010, median filters along time and along frequency) gives the
    onset envelope, which stands for loudness; the harmonic half gives CENS chroma (Müller and Ewert 2011). Percentiles
    bound the envelope, so that one click does not flatten a song, and smoothing is in seconds.

    Args:
        song: mono at 22 050 Hz; gone through twice.
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
        # Decibels below the quietest that counts are all alike, or the onsets of noise would be as good as any.
        decibels = librosa.power_to_db(percussive, amin=QUIET, top_db=None)
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
    envelope = np.convolve(found[0], window / window.sum(), mode="same")[:found.shape[1]]
    envelope = _bounded(envelope).astype(np.float32)
    return Features(
        mel_power=envelope,
        mel_gradient=_rise(envelope),
        chroma=librosa.util.normalize(found[1:], norm=np.inf, axis=0),
        frame_length=frame_length,
        duration=length / SAMPLE_RATE,
    )


# What `--mapping` may be. To add one, write a function of a song and a hop.
MAPPINGS = {"classic": classic_features, "pulse": pulse_features}


def cached_features(
    song: Song, frame_length: int = 512, *, mapping: str = "classic", cache: str | os.PathLike
) -> Features:
    """The features of a song, from a folder that remembers them by what is in its file.

    Args:
        song: decoded only if its features are not remembered.
        frame_length: hop in samples, a multiple of 64.
        mapping: one of `MAPPINGS`.
        cache: folder, made if missing; a file in it that cannot be read is made anew, and one that cannot be
            written is done without.

    Raises:
        MediaError: the song cannot be decoded.
        ValueError: as the mapping's function, or an unknown mapping.
    """
    if mapping not in MAPPINGS:
        raise ValueError(f"mapping: unknown name {mapping!r} (choose {', '.join(MAPPINGS)})")
    content = f"{files.sha256(files.require_file(song.path))}-{song.duration or 'whole'}"
    name = f"{mapping}-{frame_length}-v{REMEMBERED_AS}-librosa{librosa.__version__}-{content}.npz"
    file = Path(cache) / name
    arrays = ("mel_power", "mel_gradient", "chroma")
    with contextlib.suppress(KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        with np.load(file) as found:
            return Features(*(found[name] for name in arrays), frame_length, float(found["duration"]))
    features = MAPPINGS[mapping](song, frame_length)
    with contextlib.suppress(OSError), files.atomic(file) as partial:
        np.savez(partial, duration=features.duration, **{name: getattr(features, name) for name in arrays})
    return features


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
    """Yield a centred analysis of a long signal piece by piece.

    Args:
        analyse: (n,) samples -> (..., 1 + n // hop).
        song: the whole signal, of n samples.
        hop: samples from point to point.

    Yields:
        (..., t) whose concatenation along the last axis is `analyse` of the whole.

    Raises:
        ValueError: no samples.
    """
    length, context = max(1, BLOCK // hop), -(-CONTEXT // hop)     # grid points
    pieces = iter([song] if isinstance(song, np.ndarray) else song)
    kept, first = np.zeros(0, np.float32), 0                       # samples, and the grid point of the first of them
    start = 0
    while True:
        wanted = (start + length + context - first) * hop
        have = [kept]
        while (missing := wanted - sum(map(len, have))) > 0 and (piece := next(pieces, None)) is not None:
            have.append(piece)
        kept = np.concatenate(have)
        points = first + 1 + len(kept) // hop                      # of all that came so far
        if not len(kept):
            raise ValueError("song: no samples")
        long_enough = librosa.util.fix_length(kept, size=max(len(kept), SHORTEST)) if missing > 0 else kept[:wanted]
        yield analyse(long_enough)[..., start - first:min(start + length, points) - first]
        start += length
        if missing > 0 and start >= points:
            return
        before = max(first, start - context)
        kept, first = kept[(before - first) * hop:], before


def in_blocks(analyse: Callable[[np.ndarray], np.ndarray], song: Samples, hop: int) -> tuple[np.ndarray, int]:
    """A centred analysis of a long signal, block after block, as float32 (see `blocks`); and its number of samples."""
    length = 0

    def counted():
        nonlocal length
        for piece in [song] if isinstance(song, np.ndarray) else song:
            length += len(piece)
            yield piece

    # In one piece that grows: many small ones would lie between the passing large ones and hold the heap apart.
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
    """The odd whole number nearest below, at least 1, so that a window has a middle."""
    return max(1, int(points)) // 2 * 2 + 1


def _bounded(envelope: np.ndarray) -> np.ndarray:
    """An envelope mapped onto 0..1 between two percentiles; by its extremes if it lies still most of the time."""
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
