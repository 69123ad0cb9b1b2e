"""A song -> its notes, by a neural network, and its beats.

The network is basic-pitch (Bittner et al. 2022, "A lightweight instrument-agnostic model for polyphonic note
transcription and multipitch estimation"; Apache licence 2.0, see assets/basic_pitch). It tells, for each of 88 keys and
every 256 samples, how likely a note begins and how likely one sounds. What makes notes of that is written here.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator

import numpy as np

from musicvideo import files
from musicvideo.documents import ASSETS
from musicvideo.errors import MediaError
from musicvideo.notes import BEATS_A_MEASURE, Notes, Part
from musicvideo.vision import locked_librosa as librosa
from musicvideo.vision import openvino_networks
from musicvideo.vision.features import SAMPLE_RATE, Song
from musicvideo.vision.onsets import HOP as ENVELOPE_HOP
from musicvideo.vision.onsets import onset_envelope

NETWORK = ASSETS / "basic_pitch" / "nmp.onnx"  # of basic-pitch 0.4.0
CHECKSUM = "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec"  # its SHA-256
ONSETS, SOUNDING = "StatefulPartitionedCall:2", "StatefulPartitionedCall:1"  # its outputs, (1, 172, 88) in 0..1
HOP = 256  # samples from frame to frame of its outputs
WINDOW = 43844  # samples that it takes at a time
MARGIN = 15  # frames at either end of a window that are not used
KEPT = 142  # frames of a window that are used; windows follow each other by as many, so that all lie on one grid
KEYS = 88
LOWEST = 21  # MIDI pitch of the first key

ONSET_THRESHOLD = 0.4  # of a peak that is a note; the best of 0.35, 0.4, 0.45 and 0.5 (benchmarks/README.md)
SOUNDING_THRESHOLD = 0.3  # basic-pitch's own
PATIENCE = 11  # frames below it after which a note has ended; basic-pitch's own
LEVEL_SAMPLES = MARGIN * HOP  # that the level of a note is measured in, from its onset
LEVEL_FFT = 8192  # samples, the rest of which are zeros
SOFTEST = -24.0  # decibels of a note, against the loudest one within `NEIGHBOURHOOD` seconds
NEIGHBOURHOOD = 2.0
# A note is taken for a partial of another where that one begins within `TOGETHER` seconds, so many semitones lower, and
# is louder by `LOUDER` decibels at least.
PARTIALS = (12, 19, 24, 28)  # the second to the fifth
TOGETHER = 0.04
LOUDER = 3.0
SILENCE = -80.0  # decibels below full scale; the network scales each window, and finds notes in noise below hearing
LOUDEST = 98  # percentile of levels that has the velocity 127

TEMPO_WINDOW = 8.0  # seconds of the autocorrelation that gives the tempo; librosa's own
TEMPO_BLOCK = 4096  # points of the onset envelope whose autocorrelations are in memory at a time
SNAP = 0.035  # seconds that a beat is moved at most, onto the loudest note around it; it is found to 23 ms


def transcribe(song: str | os.PathLike) -> Notes:
    """The notes of a song, as one part "Song", and its beats; memory grows with the number of notes only.

    Every fourth beat is a downbeat, so that those carry the strongest onsets. Velocity follows the level of a note at
    its pitch, 40 dB for a factor of 10 (General MIDI 2), from the song's loudest notes down.

    Args:
        song: any audio file, or a video file for its sound; decoded twice.

    Raises:
        MediaError: the song cannot be decoded, or OpenVINO or the network is missing or damaged.
    """
    heard = _Follower()
    run = _network()
    tail = np.zeros((2, KEYS), np.float32)
    for first, window in zip(itertools.count(-1, KEPT), _windows(Song(song))):
        found = run(window[None, :, None])
        used = slice(MARGIN, MARGIN + KEPT)
        onsets = np.concatenate([tail, found[ONSETS][0, used]])
        # A peak needs the frame behind it, so this goes on one frame before those that are used.
        peaks = (onsets[1:-1] > onsets[:-2]) & (onsets[1:-1] >= onsets[2:]) & (onsets[1:-1] >= ONSET_THRESHOLD)
        levels = np.full(peaks.shape, -np.inf)
        for frame in np.flatnonzero(peaks.any(axis=1)):
            levels[frame] = _levels(window[(MARGIN - 1 + frame) * HOP :][:LEVEL_SAMPLES])
        heard.follow(first, peaks, found[SOUNDING][0, MARGIN - 1 : MARGIN - 1 + KEPT], levels)
        tail = onsets[-2:]
    onset, length, pitch, level = heard.notes()
    envelope, samples = onset_envelope(Song(song))
    duration = samples / SAMPLE_RATE
    kept = (level > SILENCE) & (onset < duration)
    kept &= (level >= _loudest_around(onset, level) + SOFTEST) & ~_partials(onset, pitch, level)
    onset, length, pitch, level = onset[kept], length[kept], pitch[kept], level[kept]
    loudest = np.percentile(level, LOUDEST) if len(level) else 0.0
    beats, downbeats = _beats(envelope, onset, level)
    return Notes(
        onset=onset,
        length=np.minimum(length, duration - onset),
        pitch=pitch,
        velocity=np.clip(np.round(127 * 10 ** ((level - loudest) / 40)), 1, 127).astype(int),
        part=np.zeros(len(onset), int),
        parts=(Part("Song", 0),),
        downbeats=downbeats,
        beats=beats,
        marks=(),
        duration=duration,
    )


def _network():
    """The network, compiled for windows one at a time."""
    if not openvino_networks.installed():
        raise MediaError("transcription needs OpenVINO, which has no package for this system (give the notes as MIDI)")
    content = files.require_file(NETWORK).read_bytes()
    if hashlib.sha256(content).hexdigest() != CHECKSUM:
        raise MediaError(f"{NETWORK}: damaged (install the package again)")
    model = openvino_networks.read_onnx(content)
    model.reshape([1, WINDOW, 1])
    return openvino_networks.compiled(model, {"INFERENCE_PRECISION_HINT": "f32"})


def _windows(song: Song) -> Iterator[np.ndarray]:
    """Windows of a song, (WINDOW,) float32.

    Frame `MARGIN` of the n-th window begins at sample n * KEPT * HOP of the song; before and after it is silence.
    """
    waiting, decoded, given = np.zeros(MARGIN * HOP, np.float32), 0, 0
    for piece in song:
        waiting = np.concatenate([waiting, piece])
        decoded += len(piece)
        while len(waiting) >= WINDOW:
            yield waiting[:WINDOW]
            waiting, given = waiting[KEPT * HOP :], given + 1
    while given * KEPT * HOP <= decoded:
        yield librosa.util.fix_length(waiting, size=WINDOW)
        waiting, given = waiting[KEPT * HOP :], given + 1


# First and last bin of a spectrum within a quarter tone of each key; low keys have the ones next to them.
_EDGES = librosa.midi_to_hz(np.arange(LOWEST, LOWEST + KEYS)[:, None] + [-0.5, 0.5]) * LEVEL_FFT / SAMPLE_RATE
_BINS = np.sort(np.stack([np.ceil(_EDGES[:, 0]), np.floor(_EDGES[:, 1])], axis=1).astype(int), axis=1)


def _levels(samples: np.ndarray) -> np.ndarray:
    """(88,) decibels of the strongest partial at each key, against a sine at full scale."""
    window = np.hanning(len(samples))
    spectrum = np.abs(np.fft.rfft(samples * window, LEVEL_FFT)) * 2 / window.sum()
    # Every second range is one between two keys.
    strongest = np.maximum.reduceat(spectrum, (_BINS + [0, 1]).ravel())[::2]
    return librosa.amplitude_to_db(strongest, amin=1e-9, top_db=None)


class _Follower:
    """Follows notes from their onsets to their ends, frame by frame.

    A note ends where its key begins anew, or sounds below the threshold for `PATIENCE` frames.
    """

    def __init__(self) -> None:
        self._begun = np.full(KEYS, -1)  # frame at which a note began that still sounds; -1 for none
        self._heard = np.full(KEYS, -1)  # last frame in which it was heard
        self._level = np.zeros(KEYS)
        self._frame = -1
        self._ended: list[tuple[int, int, int, float]] = []  # first frame, frames, pitch, level

    def follow(self, first: int, peaks: np.ndarray, sounding: np.ndarray, levels: np.ndarray) -> None:
        """Go on by (n, 88) frames from the frame `first`: onsets, how sure a key sounds, decibels at onsets."""
        loud = sounding >= SOUNDING_THRESHOLD
        for self._frame, begins, sounds, level in zip(range(first, first + len(peaks)), peaks, loud, levels):
            self._heard[sounds] = self._frame
            self._end((self._begun >= 0) & (begins | (self._frame - self._heard > PATIENCE)))
            self._begun[begins] = self._heard[begins] = self._frame
            self._level[begins] = level[begins]

    def _end(self, keys: np.ndarray) -> None:
        for key in np.flatnonzero(keys):
            begun = self._begun[key]
            end = max(begun + 1, min(self._heard[key] + 1, self._frame))
            self._ended.append((begun, end - begun, LOWEST + key, self._level[key]))
        self._begun[keys] = -1

    def notes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Onset (s), length (s), pitch and level (dB) of all notes, in the order of their onsets, then pitches."""
        self._end(self._begun >= 0)
        begun, frames, pitch, level = np.array(sorted(self._ended), float).reshape(-1, 4).T
        return begun * HOP / SAMPLE_RATE, frames * HOP / SAMPLE_RATE, pitch.astype(int), level


def _loudest_around(onset: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Level of the loudest note within `NEIGHBOURHOOD` seconds of each."""
    begins = np.searchsorted(onset, onset - NEIGHBOURHOOD, "left")
    ends = np.searchsorted(onset, onset + NEIGHBOURHOOD, "right")
    return np.array([level[begin:end].max() for begin, end in zip(begins, ends)])


def _partials(onset: np.ndarray, pitch: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Which notes are partials of others, by `PARTIALS`."""
    begins = np.searchsorted(onset, onset - TOGETHER, "left")
    ends = np.searchsorted(onset, onset + TOGETHER, "right")
    found = np.zeros(len(onset), bool)
    for note, (begin, end) in enumerate(zip(begins, ends)):
        lower = np.isin(pitch[note] - pitch[begin:end], PARTIALS)
        found[note] = (level[begin:end][lower] >= level[note] + LOUDER).any()
    return found


def _beats(envelope: np.ndarray, onset: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of the beats of a song, and of those that are downbeats.

    Args:
        envelope: its `onset_envelope`.
        onset, level: (N,) seconds of its notes, ascending, and decibels.
    """
    if not len(onset) or not envelope.any():
        return np.zeros(0), np.zeros(0)
    # librosa's own estimate would hold the autocorrelations of the whole song.
    points = librosa.time_to_frames(TEMPO_WINDOW, sr=SAMPLE_RATE, hop_length=ENVELOPE_HOP).item()
    summed = np.zeros((points, 1))
    for begin in range(0, len(envelope), TEMPO_BLOCK):
        summed += librosa.feature.tempogram(
            onset_envelope=envelope[begin : begin + TEMPO_BLOCK], win_length=points
        ).sum(axis=1, keepdims=True)  # fmt: skip
    tempo = librosa.feature.tempo(tg=summed / len(envelope), sr=SAMPLE_RATE, hop_length=ENVELOPE_HOP)
    _, found = librosa.beat.beat_track(onset_envelope=envelope, sr=SAMPLE_RATE, hop_length=ENVELOPE_HOP, bpm=tempo)
    beats = librosa.frames_to_time(found, sr=SAMPLE_RATE, hop_length=ENVELOPE_HOP)
    strength = [envelope[found[phase::BEATS_A_MEASURE]].mean() for phase in range(min(BEATS_A_MEASURE, len(found)))]
    begins, ends = (np.searchsorted(onset, beats + reach) for reach in (-SNAP, SNAP))
    for beat in np.flatnonzero(ends > begins):
        around = slice(begins[beat], ends[beat])
        beats[beat] = onset[around][np.argmax(level[around])]
    return beats, beats[np.argmax(strength) :: BEATS_A_MEASURE] if len(beats) else beats
