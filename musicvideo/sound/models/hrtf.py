"""A measured head: head-related impulse responses from a SOFA file (AES69), rendered for a moving source.

A response is split into its arrival time and the rest. The rests are aligned, so that neighbouring directions can be
mixed without comb filtering; the arrival times glide separately. Each sample is a mix of the responses of the three
directions around it.

Sources: AES69-2022 (SOFA); Gamper, "Head-related transfer function interpolation in azimuth, elevation, and distance",
JASA 134(6), 2013 (barycentric weights).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path

import h5py
import numpy as np
from scipy import fft, signal, sparse, spatial
from threadpoolctl import threadpool_limits

from musicvideo.errors import MediaError
from musicvideo.files import require_file
from musicvideo.sound.delay import glide
from musicvideo.sound.panning import Position

# Where libmysofa, which FFmpeg stands on, installs MIT's measurements of a KEMAR manikin.
KEMAR = [Path(prefix) / "share/libmysofa/default.sofa" for prefix in (sys.prefix, "/usr", "/usr/local", "/opt/homebrew")]

CONVENTION = "SimpleFreeFieldHRIR"
LONGEST = 0.02                # seconds of a response that are kept
LONGEST_TAPS = 3840           # and samples, at rates above 192 kHz
PRE_RING = 32                 # samples before its arrival that an aligned response may begin, up to 48 kHz
LONGEST_PRE_RING = 128        # and from 192 kHz on; as long in time between them
CONTROL_HOP = 128             # samples from one computation of the weights to the next; linear in between
SEGMENT = 8192                # samples filtered at once
NEAR_MIDDLE = 0.1             # of the distance to the directions, where they are looked up
MEASURED = 0.45               # of the rate of the measurement: up to there it has something to say
LOWEST = 150.0                # Hz; below it a response is more of its loudspeaker than of a head
BASS = (250.0, 1000.0)        # Hz; the phase of the loudspeaker is taken out below the first, and ever less up to the second
MOST_EQUALISATION = 20.0      # dB up or down


@dataclass(frozen=True)
class Measurement:
    """The responses of a SOFA file."""

    rate: float               # Hz
    directions: np.ndarray    # (M, 3) unit vectors from the head: to the front, to the left, up
    responses: np.ndarray     # (M, 2, N) left and right ear
    delays: np.ndarray        # (M, 2) samples that the file says to wait before each response


def find_kemar() -> Path | None:
    """The measured head that came with FFmpeg, if it did."""
    return next((path for path in KEMAR if path.is_file()), None)


def read_sofa(path: str | PathLike) -> Measurement:
    """Read a SOFA file of free-field head-related impulse responses.

    Raises:
        MediaError: not a SOFA file, or one of another convention.
    """
    require_file(path)
    try:
        with h5py.File(path) as file:
            convention = _text(file.attrs.get("SOFAConventions", "none"))
            if convention != CONVENTION:
                raise MediaError(f"{path}: its SOFA convention is {convention}; give a file of {CONVENTION}")
            responses = file["Data.IR"][:].astype(float)
            rate = float(file["Data.SamplingRate"][:].flat[0])
            directions = _unit_vectors(file["SourcePosition"], len(responses))
            left_first = _unit_vectors(file["ReceiverPosition"], 2)[:, 1].argmax() == 0
            delays = np.broadcast_to(file["Data.Delay"][:], (len(responses), 2)).astype(float)
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise MediaError(f"{path}: not a SOFA file that can be read ({' '.join(str(error).split())})") from None
    if responses.shape[1] != 2 or not np.isfinite(responses).all() or not responses.any(axis=-1).all():
        raise MediaError(f"{path}: does not hold a sound response of two ears for each direction")
    if not _surround(directions):
        raise MediaError(f"{path}: its {len(responses)} directions do not surround a head")
    order = [0, 1] if left_first else [1, 0]
    return Measurement(rate, directions, responses[:, order], delays[:, order])


def _surround(directions: np.ndarray) -> bool:
    """Whether there are directions on all sides of the head."""
    try:
        sides = spatial.ConvexHull(directions).equations[:, 3]
    except (spatial.QhullError, ValueError):              # too few, or all in one plane
        return False
    return bool((sides < -2 * NEAR_MIDDLE).all())


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _unit_vectors(positions: h5py.Dataset, count: int) -> np.ndarray:
    """(count, 3) cartesian unit vectors of a SOFA position variable, spherical (degrees) or cartesian."""
    values = positions[:].reshape(len(positions), 3, -1)[..., 0].astype(float)
    if _text(positions.attrs.get("Type", "spherical")).startswith("spherical"):
        values = unit_vectors(-values[:, 0], values[:, 1])      # SOFA counts azimuth counter-clockwise
    else:
        values = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.broadcast_to(values, (count, 3))


def unit_vectors(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """(N, 3) unit vectors, front, left, up, of directions in degrees, azimuth clockwise."""
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.stack([np.cos(a) * np.cos(e), -np.sin(a) * np.cos(e), np.sin(e)], axis=-1)


class MeasuredHead:
    """A model as `musicvideo.sound.spatial.pan` is one: call it with a source, its position and the rate."""

    def __init__(self, measurement: Measurement):
        self.measurement = measurement
        # Every triangle of neighbours, with the middle of the head as a fourth corner.
        self._mesh = spatial.Delaunay(np.vstack([measurement.directions, np.zeros(3)]))
        with threadpool_limits(1):            # thousands of tiny matrices: on a busy machine threads take seconds for them
            self._transforms = self._mesh.transform
        self._filters: dict[float, Filters] = {}

    def __call__(self, source: np.ndarray, position: Position, rate: float) -> np.ndarray:
        filters = self.filters(rate)
        at = np.arange(0, len(source) + CONTROL_HOP, CONTROL_HOP)
        place = np.minimum(at, len(source) - 1)
        corners, weights = self.weights(position.azimuth[place], position.elevation[place])
        arrivals = np.einsum("nc,nce->en", weights, filters.arrivals[corners])              # (2, controls) samples
        samples = np.arange(len(source))
        delayed = glide(source, [np.interp(samples, at, arrival) for arrival in arrivals])
        return filters.convolve(np.stack(delayed), at, corners, weights).T

    def weights(self, azimuth: np.ndarray, elevation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The three measured directions around each of N, and how much each of them counts.

        Returns:
            (N, 4) direction numbers, (N, 4) weights that add up to 1, one of them 0.
        """
        points = NEAR_MIDDLE * unit_vectors(azimuth, elevation)
        simplex = self._mesh.find_simplex(points)
        corners, transform = self._mesh.simplices[simplex], self._transforms[simplex]
        three = np.einsum("nij,nj->ni", transform[:, :3], points - transform[:, 3])
        weights = np.column_stack([three, 1 - three.sum(axis=1)])
        middle = corners == len(self.measurement.directions)
        weights = np.where(middle | (weights < NEAR_MIDDLE * 1e-9), 0, weights)
        return np.where(middle, 0, corners), weights / weights.sum(axis=1, keepdims=True)

    def filters(self, rate: float) -> Filters:
        """The responses made ready for signals of `rate` Hz; computed once."""
        if rate not in self._filters:
            self._filters[rate] = prepare(self.measurement, rate)
        return self._filters[rate]


class Filters:
    """Aligned, equalised responses at one rate.

    Args:
        responses: (M, 2, taps), each with its arrival `early` samples after its begin.
        arrivals: (M, 2) samples after the arrival of a source in front, fractions, below 0 where earlier.
        early: as `pre_ring` has it for the rate.
    """

    def __init__(self, responses: np.ndarray, arrivals: np.ndarray, early: int):
        self.responses = responses
        self.arrivals = arrivals
        self.early = early
        self._size = fft.next_fast_len(SEGMENT + responses.shape[-1], real=True)
        self._spectra: dict[int, np.ndarray] = {}

    def convolve(self, ears: np.ndarray, at: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Filter the signals of both ears with a mix of responses that changes at every sample.

        Args:
            ears: (2, N) signals.
            at: (K,) samples at which the mix is given, every `CONTROL_HOP`.
            corners, weights: (K, 4), as from `MeasuredHead.weights`.

        Returns:
            (2, N)
        """
        taps, length = self.responses.shape[-1], ears.shape[1]
        before = taps - self.early
        padded = np.pad(ears, ((0, 0), (before, SEGMENT + taps)))
        filtered = np.zeros_like(ears)
        for begin in range(0, length, SEGMENT):
            end = min(begin + SEGMENT, length)
            spectrum = fft.rfft(padded[:, begin: begin + self._size])
            controls = slice(begin // CONTROL_HOP, -(-end // CONTROL_HOP) + 1)
            there, mix = corners[controls], weights[controls]
            for direction in np.unique(there[mix > 0]):
                weight = np.where(there == direction, mix, 0).sum(axis=1)
                part = fft.irfft(spectrum * self._spectrum(direction), self._size)[:, taps: taps + end - begin]
                filtered[:, begin:end] += np.interp(np.arange(begin, end), at[controls], weight) * part
        return filtered

    def _spectrum(self, direction: int) -> np.ndarray:
        """(2, bins) of a direction's responses; kept, since sources come by again."""
        if direction not in self._spectra:
            self._spectra[direction] = fft.rfft(self.responses[direction], self._size)
        return self._spectra[direction]


def pre_ring(rate: float) -> int:
    """Samples at `rate` Hz before its arrival that an aligned response may begin."""
    return min(max(PRE_RING, round(PRE_RING * rate / 48000)), LONGEST_PRE_RING)


def prepare(measurement: Measurement, rate: float) -> Filters:
    """Bring responses to `rate` Hz, take their arrival times out, and equalise them to the diffuse field.

    After equalisation a sound that comes from everywhere keeps its spectrum and its power in the sum of both ears: the
    loudspeaker of the measurement and what all directions share (the ear canal) are gone, what tells directions apart
    stays.
    """
    ratio = Fraction(rate / measurement.rate).limit_denominator(1000)
    responses = signal.resample_poly(measurement.responses, ratio.numerator, ratio.denominator, axis=-1)
    kept = min(round(LONGEST * rate), LONGEST_TAPS)
    responses = responses[..., :kept]
    early = pre_ring(rate)
    short = 2 * fft.next_fast_len(responses.shape[-1] + early)
    size = 4 * short                          # room for a minimum phase that reaches into the bass
    spectra = fft.rfft(responses, size)

    arrivals = _arrivals(measurement.directions, spectra[..., ::size // short], short)
    area = spatial.SphericalVoronoi(measurement.directions).calculate_areas()
    power = np.average((np.abs(spectra) ** 2).sum(axis=1), axis=0, weights=area)
    loudness = 10 * np.log10(np.maximum(power, power.max() * 1e-12))
    # Beyond the measurement there is nothing to equalise, and nothing that would tell the level of the rest.
    frequency = fft.rfftfreq(size, 1 / rate)
    measured = frequency < MEASURED * min(rate, measurement.rate)
    level = np.median(loudness[measured])
    loudness[~measured] = level
    gain = 10 ** (-np.clip(loudness, level - MOST_EQUALISATION, level + MOST_EQUALISATION) / 20)

    turn = np.exp(2j * np.pi * frequency / rate * arrivals[..., np.newaxis])
    equalised = spectra * turn * _minimum_phase(gain, size)
    # The loudspeaker of the measurement turned the phase of the bass, which no minimum phase undoes: what all directions
    # have in common there goes as well. Of the deep bass it gave nothing. But there a head is no obstacle, so what the
    # head does at LOWEST holds: the level stays, and the phase comes down to 0 evenly.
    common = np.angle(np.average(equalised.sum(axis=1), axis=0, weights=area))
    equalised *= np.exp(-1j * common * np.interp(frequency, BASS, (1, 0)))
    lowest = np.searchsorted(frequency, LOWEST)
    corner = equalised[..., [lowest]]
    equalised[..., :lowest] = np.abs(corner) * np.exp(1j * np.angle(corner) * frequency[:lowest] / frequency[lowest])
    aligned = fft.irfft(equalised, size)
    front = np.argmax(measurement.directions[:, 0])
    peak = np.abs(aligned[front]).sum(axis=0).argmax()
    aligned = np.roll(aligned, early - peak, axis=-1)
    taps = responses.shape[-1] + 2 * early
    fade = np.ones(taps)
    fade[-early:] = signal.windows.hann(2 * early)[early:]
    arrivals = arrivals + measurement.delays * float(ratio)
    return Filters(aligned[..., :taps] * fade, arrivals - arrivals[front].mean(), early)


def _arrivals(directions: np.ndarray, spectra: np.ndarray, size: int) -> np.ndarray:
    """(M, 2) arrival time of each response, in samples.

    Each pair of neighbours has a lag at which it correlates best; the times sought are those that fit all these lags
    in the least squares. They stay smooth where single responses mislead: in the shadow of the head two paths arrive.
    They begin at the peak of the response in front.
    """
    corners = spatial.ConvexHull(directions).simplices
    pairs = np.unique(np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])), axis=0)
    far = np.linalg.norm(directions[pairs[:, 0]] - directions[pairs[:, 1]], axis=1)
    near = 1 / np.maximum(far, 1e-3)                  # close neighbours are alike, and count more
    differences = sparse.csr_matrix((np.tile([1.0, -1.0], len(pairs)) * near.repeat(2),
                                     (np.arange(len(pairs)).repeat(2), pairs.ravel())), (len(pairs), len(directions)))
    front = directions[:, 0].argmax()
    times = []
    for ear in spectra.transpose(1, 0, 2):
        lags = _best_lag(ear[pairs[:, 0]], ear[pairs[:, 1]], size)
        time = sparse.linalg.lsqr(differences, lags * near)[0]
        times.append(time - time[front] + np.abs(fft.irfft(ear[front], size)).argmax())
    return np.stack(times, axis=1)


def _best_lag(later: np.ndarray, earlier: np.ndarray, size: int) -> np.ndarray:
    """Samples by which signals of spectra (N, size // 2 + 1) come later than others: the peak of their correlation."""
    correlation = fft.irfft(later * np.conj(earlier), size)
    peak = correlation.argmax(axis=-1)
    row = np.arange(len(peak))
    before, top, after = (correlation[row, (peak + step) % size] for step in (-1, 0, 1))
    lag = peak + (before - after) / (2 * (before - 2 * top + after))      # of the parabola through the three
    return np.where(lag > size / 2, lag - size, lag)


def _minimum_phase(magnitude: np.ndarray, size: int) -> np.ndarray:
    """Minimum-phase spectrum of a magnitude (..., size // 2 + 1), by the real cepstrum (Oppenheim and Schafer)."""
    floor = magnitude.max(axis=-1, keepdims=True) * 1e-5
    cepstrum = fft.irfft(np.log(np.maximum(magnitude, floor)), size)
    cepstrum[..., 1: (size + 1) // 2] *= 2
    cepstrum[..., size // 2 + 1:] = 0
    return np.exp(fft.rfft(cepstrum, size))
