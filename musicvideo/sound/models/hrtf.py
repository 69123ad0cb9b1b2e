"""A measured head: head-related impulse responses, rendered for a moving source.

A response is split into its arrival time and the rest. The rests are aligned, so that neighbouring directions can be
mixed without comb filtering; the arrival times are interpolated separately, as a gliding delay. Each sample is a mix of
the responses of the three measured directions around it.

Source: Gamper, "Head-related transfer function interpolation in azimuth, elevation, and distance",
JASA 134(6), 2013 (barycentric weights).
"""

from __future__ import annotations

from fractions import Fraction
from os import PathLike

import numpy as np
from scipy import fft, signal, sparse, spatial
from threadpoolctl import threadpool_limits

from musicvideo.errors import MediaError
from musicvideo.panning import Position
from musicvideo.sound.delay import glide
from musicvideo.sound.sofa import CLEARANCE, Measurement, read_sofa, unit_vectors

LONGEST_RESPONSE = 0.02  # seconds of a response that are used
LONGEST_TAPS = 3840  # samples of it, a limit at rates above 192 kHz
PRE_RING = 32  # samples by which an aligned response may begin before its arrival, up to 48 kHz
LONGEST_PRE_RING = 128  # the same from 192 kHz on; in between the same time
CONTROL_HOP = 128  # samples from one computation of the weights to the next; linear in between
SEGMENT = 8192  # samples filtered at once
LOOKUP_RADIUS = CLEARANCE / 2  # where directions are looked up, inside the hull of the measured ones, which lie at 1
MEASURED_BAND = 0.45  # upper limit of valid data, as a fraction of the rate of the measurement
BASS_LIMIT = 150.0  # Hz; below it a response shows its loudspeaker rather than a head
PHASE_CORRECTION = (
    250.0,
    1000.0,
)  # Hz; the loudspeaker's phase is removed below the first, and fades out to the second
MOST_EQUALISATION = 20.0  # dB up or down


class MeasuredHead:
    """A sound model (see `musicvideo.sound.models`) that renders with measured responses."""

    def __init__(self, measurement: Measurement):
        self.measurement = measurement
        # Every triangle of neighbours, with the middle of the head as a fourth corner.
        self._mesh = spatial.Delaunay(np.vstack([measurement.directions, np.zeros(3)]))
        with threadpool_limits(1):  # thousands of tiny matrices, for which threads on a busy machine take seconds
            self._transforms = self._mesh.transform
        self._filters: dict[float, Filters] = {}

    def __call__(self, source: np.ndarray, position: Position, rate: float) -> np.ndarray:
        filters = self.filters(rate)
        at = np.arange(0, len(source) + CONTROL_HOP, CONTROL_HOP)
        place = np.minimum(at, len(source) - 1)
        corners, weights = self.weights(position.azimuth[place], position.elevation[place])
        arrivals = np.einsum("nc,nce->en", weights, filters.arrivals[corners])  # (2, controls) samples
        samples = np.arange(len(source))
        delayed = glide(source, [np.interp(samples, at, arrival) for arrival in arrivals])
        return filters.convolve(np.stack(delayed), at, corners, weights).T

    def weights(self, azimuth: np.ndarray, elevation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The three measured directions around each of N, and how much each of them counts.

        Returns:
            (N, 4) direction numbers, (N, 4) weights that add up to 1, one of them 0.
        """
        points = LOOKUP_RADIUS * unit_vectors(azimuth, elevation)
        simplex = self._mesh.find_simplex(points)
        corners, transform = self._mesh.simplices[simplex], self._transforms[simplex]
        three = np.einsum("nij,nj->ni", transform[:, :3], points - transform[:, 3])
        weights = np.column_stack([three, 1 - three.sum(axis=1)])
        middle = corners == len(self.measurement.directions)
        weights = np.where(middle | (weights < LOOKUP_RADIUS * 1e-9), 0, weights)
        return np.where(middle, 0, corners), weights / weights.sum(axis=1, keepdims=True)

    def filters(self, rate: float) -> Filters:
        """The responses prepared for signals of `rate` Hz; computed once."""
        if rate not in self._filters:
            self._filters[rate] = prepare(self.measurement, rate)
        return self._filters[rate]


class Filters:
    """Aligned, equalised responses at one rate.

    Args:
        responses: (M, 2, taps), each with its arrival `early` samples after its start.
        arrivals: (M, 2) samples after the arrival of a source in front, with fractions; negative where earlier.
        early: `pre_ring` of the rate.
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
            spectrum = fft.rfft(padded[:, begin : begin + self._size])
            controls = slice(begin // CONTROL_HOP, -(-end // CONTROL_HOP) + 1)
            there, mix = corners[controls], weights[controls]
            for direction in np.unique(there[mix > 0]):
                weight = np.where(there == direction, mix, 0).sum(axis=1)
                part = fft.irfft(spectrum * self._spectrum(direction), self._size)[:, taps : taps + end - begin]
                filtered[:, begin:end] += np.interp(np.arange(begin, end), at[controls], weight) * part
        return filtered

    def _spectrum(self, direction: int) -> np.ndarray:
        """(2, bins) of a direction's responses; cached, since sources return to directions."""
        if direction not in self._spectra:
            self._spectra[direction] = fft.rfft(self.responses[direction], self._size)
        return self._spectra[direction]


def pre_ring(rate: float) -> int:
    """Samples at `rate` Hz by which an aligned response may begin before its arrival."""
    return min(max(PRE_RING, round(PRE_RING * rate / 48000)), LONGEST_PRE_RING)


def prepare(measurement: Measurement, rate: float) -> Filters:
    """Resample responses to `rate` Hz, remove their arrival times, and equalise them to the diffuse field.

    After equalisation a sound from all directions keeps its spectrum, and its power in the sum of both ears. This
    removes the loudspeaker of the measurement and what all directions share (the ear canal); differences between
    directions stay.
    """
    ratio = Fraction(rate / measurement.rate).limit_denominator(1000)
    responses = signal.resample_poly(measurement.responses, ratio.numerator, ratio.denominator, axis=-1)
    kept = min(round(LONGEST_RESPONSE * rate), LONGEST_TAPS)
    responses = responses[..., :kept]
    early = pre_ring(rate)
    short = 2 * fft.next_fast_len(responses.shape[-1] + early)
    size = 4 * short  # room for a minimum phase that reaches into the bass
    spectra = fft.rfft(responses, size)

    arrivals = _arrivals(measurement.directions, spectra[..., :: size // short], short)
    area = spatial.SphericalVoronoi(measurement.directions).calculate_areas()
    area /= area.sum()
    # One direction at a time, in place: at 384 kHz the spectra of all take 400 MB.
    power = sum(share * (np.abs(pair) ** 2).sum(axis=0) for share, pair in zip(area, spectra, strict=True))
    loudness = 10 * np.log10(np.maximum(power, power.max() * 1e-12))
    # Beyond the measured band there is no data to equalise by, and none to tell the level.
    frequency = fft.rfftfreq(size, 1 / rate)
    measured = frequency < MEASURED_BAND * min(rate, measurement.rate)
    level = np.median(loudness[measured])
    loudness[~measured] = level
    gain = 10 ** (-np.clip(loudness, level - MOST_EQUALISATION, level + MOST_EQUALISATION) / 20)

    phase = _minimum_phase(gain, size)
    for pair, arrival in zip(spectra, arrivals, strict=True):
        pair *= np.exp(2j * np.pi * frequency / rate * arrival[:, np.newaxis]) * phase
    # The loudspeaker of the measurement shifted the phase of the bass, which a minimum phase does not correct: the
    # phase that all directions share there is removed as well. It gave no deep bass. But there a head is no obstacle,
    # so the level at BASS_LIMIT is used below it, with a phase that falls linearly to 0.
    common = np.angle(np.tensordot(area, spectra, 1).sum(axis=0))
    correction = np.exp(-1j * common * np.interp(frequency, PHASE_CORRECTION, (1, 0)))
    lowest = np.searchsorted(frequency, BASS_LIMIT)
    fall = frequency[:lowest] / frequency[lowest]
    for pair in spectra:
        pair *= correction
        corner = pair[:, [lowest]]
        pair[:, :lowest] = np.abs(corner) * np.exp(1j * np.angle(corner) * fall)
    front = np.argmax(measurement.directions[:, 0])
    peak = np.abs(fft.irfft(spectra[front], size)).sum(axis=0).argmax()
    taps = responses.shape[-1] + 2 * early
    fade = np.ones(taps)
    fade[-early:] = signal.windows.hann(2 * early)[early:]
    aligned = np.stack([np.roll(fft.irfft(pair, size), early - peak, axis=-1)[:, :taps] * fade for pair in spectra])
    arrivals = arrivals + measurement.delays * float(ratio)
    return Filters(aligned, arrivals - arrivals[front].mean(), early)


def _arrivals(directions: np.ndarray, spectra: np.ndarray, size: int) -> np.ndarray:
    """(M, 2) arrival time of each response, in samples.

    Each pair of neighbours has a lag of highest correlation; the arrival times are the least-squares fit to all these
    lags. So they stay smooth where single responses mislead: in the shadow of the head two paths arrive. They are
    relative to the peak of the response in front.
    """
    corners = spatial.ConvexHull(directions).simplices
    pairs = np.unique(np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])), axis=0)
    far = np.linalg.norm(directions[pairs[:, 0]] - directions[pairs[:, 1]], axis=1)
    near = 1 / np.maximum(far, 1e-3)  # weights: close neighbours are more alike
    differences = sparse.csr_matrix(
        (np.tile([1.0, -1.0], len(pairs)) * near.repeat(2), (np.arange(len(pairs)).repeat(2), pairs.ravel())),
        (len(pairs), len(directions)),
    )
    front = directions[:, 0].argmax()
    times = []
    for ear in spectra.transpose(1, 0, 2):
        lags = np.array([_best_lag(ear[later], ear[earlier], size) for later, earlier in pairs])
        time = sparse.linalg.lsqr(differences, lags * near)[0]
        times.append(time - time[front] + np.abs(fft.irfft(ear[front], size)).argmax())
    return np.stack(times, axis=1)


def _best_lag(later: np.ndarray, earlier: np.ndarray, size: int) -> float:
    """Samples by which a signal comes later than another: the peak of their correlation.

    Args:
        later, earlier: their spectra, (size // 2 + 1,).
    """
    correlation = fft.irfft(later * np.conj(earlier), size)
    peak = correlation.argmax()
    before, top, after = (correlation[(peak + step) % size] for step in (-1, 0, 1))
    lag = peak + (before - after) / (2 * (before - 2 * top + after))  # of the parabola through the three
    return lag - size if lag > size / 2 else lag


def _minimum_phase(magnitude: np.ndarray, size: int) -> np.ndarray:
    """Minimum-phase spectrum of a magnitude (..., size // 2 + 1), by the real cepstrum (Oppenheim and Schafer)."""
    floor = magnitude.max(axis=-1, keepdims=True) * 1e-5
    cepstrum = fft.irfft(np.log(np.maximum(magnitude, floor)), size)
    cepstrum[..., 1 : (size + 1) // 2] *= 2
    cepstrum[..., size // 2 + 1 :] = 0
    return np.exp(fft.rfft(cepstrum, size))


def load(sofa: str | PathLike | None) -> MeasuredHead:
    """The model with the measurements of a SOFA file.

    Raises:
        MediaError: no file is given, or `read_sofa` refuses it.
    """
    if sofa is None:
        raise MediaError(
            "no measured head is installed for the hrtf model: install libmysofa (with FFmpeg), "
            "name a SOFA file, or use the sphere model"
        )
    return MeasuredHead(read_sofa(sofa))
