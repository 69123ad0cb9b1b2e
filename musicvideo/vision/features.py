"""A song -> how loud it is, how fast that rises and which pitches sound, on a grid of moments."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import soxr

from musicvideo import media

SAMPLE_RATE = 22050            # Hz; librosa's default, which the mapping was designed at
HOP_UNIT = 64                  # samples; a CQT over seven octaves halves its hop six times
N_FFT = 2048                   # samples in a window of the mel spectrogram
MEL_BANDS = 128
MEL_CEILING = 8000             # Hz
CHROMA_BINS = 36               # CQT bins an octave, three a pitch class
BLOCK = 60 * SAMPLE_RATE       # samples analysed at a time, so that memory does not grow with the song
CONTEXT = 3 * SAMPLE_RATE      # samples beside a block; half the longest CQT filter is 0.8 s
SHORTEST = 3 * SAMPLE_RATE     # samples; shorter songs are analysed with silence behind them
QUIET = 1e-6                   # power; 60 dB below full scale
PERCENTILES = (5, 98)          # of the onset envelope, that become 0 and 1
ONSET_SMOOTHING = 0.12         # seconds
CHROMA_SMOOTHING = 1.0         # seconds
REMEMBERED_AS = 1              # raised when an analysis gives other numbers, so that remembered ones are forgotten
READ = 1 << 20                 # samples decoded at a time
END_TOLERANCE = 1.0            # seconds a song may end before its header says, as tags and padding blur it


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


def load_song(path: str | os.PathLike, duration: float | None = None) -> np.ndarray:
    """Decode a song to mono at 22 050 Hz.

    Args:
        path: any audio file, or a video file for its sound.
        duration: seconds to decode from the start; None for all.

    Returns:
        (samples,) float32, the mean of the channels, full scale 1.

    Raises:
        MediaError: missing, empty, no audio in it, or damaged within the time asked for.
        ValueError: a duration that is not positive.
    """
    if duration is not None and not duration > 0:
        raise ValueError(f"duration: {duration} is not more than 0 seconds")
    song = media.probe(path)
    if not song.sample_rate or not song.channels:
        raise media.MediaError(f"{path}: has no audio in it")
    # librosa.load would resample the same, but reads whole files at their own rate, follows playlists
    # through its fallback decoder, and stays silent about damage.
    limit = [] if duration is None else ["-t", repr(float(duration))]
    command = [
        media.program("ffmpeg"), "-v", "warning", "-nostdin", "-xerror",
        *media.SAFE_INPUT, *limit, "-i", media.source(path),
        "-map", "0:a:0", "-f", "f32le", "-c:a", "pcm_f32le", "-",
    ]  # fmt: skip
    resampler = soxr.ResampleStream(song.sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    frame_bytes = 4 * song.channels
    pieces, decoded = [], 0
    with tempfile.TemporaryFile() as stderr:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL) as process:
            while data := process.stdout.read(READ * frame_bytes):
                frames = np.frombuffer(data[:len(data) // frame_bytes * frame_bytes], "<f4")
                mono = librosa.to_mono(frames.reshape(-1, song.channels).T)
                decoded += len(mono)
                pieces.append(resampler.resample_chunk(np.ascontiguousarray(mono)))
        stderr.seek(0)
        complaint = stderr.read()
    if not decoded:
        raise media.MediaError(f"{path}: cannot be decoded: {media.last_line(complaint)}")
    whole = song.duration * _cut_off(path)
    end = decoded / song.sample_rate
    # Without a table of contents FFmpeg guesses an mp3's length from its bit rate.
    trusted = b"Estimating duration from bitrate" not in complaint
    if end < min(whole, duration or np.inf) - END_TOLERANCE and (trusted or process.returncode):
        where = f"damaged or cut off at {end:.1f} s" if process.returncode else f"{whole - end:.1f} s are missing"
        raise media.MediaError(f"{path}: {where} of its {whole:.1f} s (give a whole file, or a shorter duration)")
    pieces.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    samples = np.concatenate(pieces)
    return librosa.util.fix_length(samples, size=int(np.ceil(decoded * SAMPLE_RATE / song.sample_rate)))


def _cut_off(path: str | os.PathLike) -> float:
    """How many times longer a WAV file says it is than it is; FFmpeg takes a WAV that was cut off for whole."""
    with open(path, "rb") as file:
        magic, size, kind = struct.unpack("<4sI4s", file.read(12).ljust(12))
    said, there = size + 8, os.path.getsize(path)
    written_to_a_pipe = size in (0, 0xFFFFFFFF)
    return said / there if (magic, kind) == (b"RIFF", b"WAVE") and said > there and not written_to_a_pipe else 1.0


def classic_features(samples: np.ndarray, frame_length: int = 512) -> Features:
    """The features of the published deep-music-visualizer.

    Args:
        samples: (n,) mono at 22 050 Hz.
        frame_length: hop in samples, a multiple of 64.

    Returns:
        Features with T = 1 + n // frame_length points.

    Raises:
        ValueError: a hop that is not a multiple of 64, or no samples.
    """
    points, duration, samples = _prepared(samples, frame_length)
    tuning = estimate_tuning(samples)

    def mel(piece):
        return _mel(piece, frame_length).mean(axis=0)

    def chroma(piece):
        return librosa.feature.chroma_cqt(
            y=piece, sr=SAMPLE_RATE, hop_length=frame_length, bins_per_octave=CHROMA_BINS, tuning=tuning
        )

    loudness = in_blocks(mel, samples, frame_length)[:points]
    return Features(
        mel_power=_spread(loudness),
        mel_gradient=_rise(loudness),
        chroma=in_blocks(chroma, samples, frame_length)[:, :points],
        frame_length=frame_length,
        duration=duration,
    )


def pulse_features(samples: np.ndarray, frame_length: int = 512) -> Features:
    """Drums move the picture, harmony chooses what it shows.

    The percussive half of a spectrogram (Fitzgerald 2010, median filters along time and along frequency) gives the
    onset envelope, which stands for loudness; the harmonic half gives CENS chroma (Müller and Ewert 2011). Percentiles
    bound the envelope, so that one click does not flatten a song, and smoothing is in seconds.

    Args:
        samples: (n,) mono at 22 050 Hz.
        frame_length: hop in samples, a multiple of 64.

    Returns:
        Features with T = 1 + n // frame_length points.

    Raises:
        ValueError: a hop that is not a multiple of 64, or no samples.
    """
    points, duration, samples = _prepared(samples, frame_length)
    tuning = estimate_tuning(samples)
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

    envelope = in_blocks(onsets, samples, frame_length)[:points]
    window = np.hanning(_odd(ONSET_SMOOTHING * rate) + 2)[1:-1]
    envelope = _bounded(np.convolve(envelope, window / window.sum(), mode="same")[:points])
    return Features(
        mel_power=envelope,
        mel_gradient=_rise(envelope),
        chroma=librosa.util.normalize(in_blocks(chroma, samples, frame_length)[:, :points], norm=np.inf, axis=0),
        frame_length=frame_length,
        duration=duration,
    )


# What `--mapping` may be. To add one, write a function of samples and hop.
MAPPINGS = {"classic": classic_features, "pulse": pulse_features}


def cached_features(
    samples: np.ndarray, frame_length: int = 512, *, mapping: str = "classic", cache: str | os.PathLike
) -> Features:
    """The features of a song, from a folder that remembers them by the song's samples.

    Args:
        samples: (n,) mono at 22 050 Hz.
        frame_length: hop in samples, a multiple of 64.
        mapping: one of `MAPPINGS`.
        cache: folder, made if missing; a file in it that cannot be read is made anew, and one that cannot be
            written is done without.

    Raises:
        ValueError: as the mapping's function, or an unknown mapping.
    """
    if mapping not in MAPPINGS:
        raise ValueError(f"mapping: unknown name {mapping!r} (choose {', '.join(MAPPINGS)})")
    content = hashlib.sha256(np.ascontiguousarray(samples, dtype=np.float32))
    name = f"{mapping}-{frame_length}-v{REMEMBERED_AS}-librosa{librosa.__version__}-{content.hexdigest()}.npz"
    file = Path(cache) / name
    names = ("mel_power", "mel_gradient", "chroma")
    with contextlib.suppress(KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        with np.load(file) as arrays:
            return Features(*(arrays[name] for name in names), frame_length, len(samples) / SAMPLE_RATE)
    features = MAPPINGS[mapping](samples, frame_length)
    with contextlib.suppress(OSError), media.atomic(file) as partial:
        np.savez(partial, **{name: getattr(features, name) for name in names})
    return features


def estimate_tuning(samples: np.ndarray) -> float:
    """`librosa.estimate_tuning` in a fixed amount of memory: offset from A440, in thirds of a semitone."""
    hop = N_FFT // 4

    def peaks(piece):
        return np.stack(librosa.piptrack(y=piece, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=hop))

    pitch, strength = np.concatenate([found[:, found[0] > 0] for found in blocks(peaks, samples, hop)], axis=1)
    if not pitch.size:
        return 0.0
    return librosa.pitch_tuning(pitch[strength >= np.median(strength)], bins_per_octave=CHROMA_BINS)


def blocks(analyse: Callable[[np.ndarray], np.ndarray], samples: np.ndarray, hop: int):
    """Yield a centred analysis of a long signal piece by piece.

    Args:
        analyse: (n,) samples -> (..., 1 + n // hop).
        samples: (n,) the whole signal.
        hop: samples from point to point.

    Yields:
        (..., t) whose concatenation along the last axis is `analyse(samples)`.
    """
    length, context = BLOCK // hop, -(-CONTEXT // hop)
    for start in range(0, 1 + len(samples) // hop, length):
        before = min(start, context)
        piece = samples[(start - before) * hop:(start + length + context) * hop]
        yield analyse(piece)[..., before:before + length]


def in_blocks(analyse: Callable[[np.ndarray], np.ndarray], samples: np.ndarray, hop: int) -> np.ndarray:
    """`analyse(samples)` in a fixed amount of memory; see `blocks`."""
    return np.concatenate(list(blocks(analyse, samples, hop)), axis=-1)


def _prepared(samples: np.ndarray, frame_length: int) -> tuple[int, float, np.ndarray]:
    """Grid points and seconds of a song, and its samples, long enough to be analysed."""
    if frame_length < HOP_UNIT or frame_length % HOP_UNIT:
        raise ValueError(f"frame_length: {frame_length} is not a multiple of {HOP_UNIT}")
    if not len(samples):
        raise ValueError("samples: none")
    long_enough = librosa.util.fix_length(samples, size=max(len(samples), SHORTEST))
    return 1 + len(samples) // frame_length, len(samples) / SAMPLE_RATE, long_enough


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
