"""Measurements of the sound at the ears: time and level differences, power, splatter, block borders."""

from functools import cache

import h5py
import numpy as np
import pytest
import soundfile
from scipy import fft, signal

from musicvideo.errors import MediaError
from musicvideo.panning import Motion, Move, Position, orbit
from musicvideo.sound import spatial
from musicvideo.sound.delay import glide
from musicvideo.sound.models import load_model
from musicvideo.sound.models.hrtf import MeasuredHead
from musicvideo.sound.models.sphere import HEAD_TIME
from musicvideo.sound.sofa import find_kemar, read_sofa
from musicvideo.sound.spatial import MARGIN, render, render_file

RATE = 48000
DIRECTIONS = [0, 30, -30, 60, -60, 90, -90, 120, 150, 180]
needs_kemar = pytest.mark.skipif(find_kemar() is None, reason="libmysofa's KEMAR measurements are not installed")
MODELS = ["pan", "sphere", pytest.param("hrtf", marks=needs_kemar)]


def at(azimuth: float, count: int) -> Position:
    return Position(np.full(count, float(azimuth)), np.zeros(count), np.ones(count))


def noise(seconds: float, *, pink: bool = False) -> np.ndarray:
    """Noise that repeats every `seconds`, so that a spectrum of it has no leakage."""
    count = round(seconds * RATE)
    spectrum = fft.rfft(np.random.default_rng(7).normal(0, 0.1, count))
    if pink:
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)) / (len(spectrum) / 2))
    return fft.irfft(spectrum, count)


def ears_of(model: str, azimuth: float, source: np.ndarray) -> np.ndarray:
    """(N, 2) of a source that stands still, without its edges."""
    margin = 2000
    return load_model(model)(np.pad(source, margin, "wrap"), at(azimuth, len(source) + 2 * margin), RATE)[
        margin:-margin
    ]


def time_difference(left, right, low: float, high: float, rate: float = RATE) -> float:
    """Interaural time difference in µs (above 0: the right ear is first) from their correlation in a band of Hz."""
    size = len(left) * 16
    cross = fft.rfft(left) * np.conj(fft.rfft(right))
    frequency = fft.rfftfreq(len(left), 1 / rate)
    correlation = fft.irfft(np.where((frequency > low) & (frequency < high), cross, 0), size)
    lag = np.argmax(correlation)
    return (lag - size if lag > size // 2 else lag) / 16 / rate * 1e6


def level_difference(left, right, frequency: float) -> float:
    """Interaural level difference in dB (above 0: the right ear is louder) in the sixth of an octave around it."""
    bins = fft.rfftfreq(len(left), 1 / RATE)
    band = np.abs(np.log2(np.maximum(bins, 1) / frequency)) < 1 / 12
    power = [np.sum(np.abs(fft.rfft(ear)[band]) ** 2) for ear in (left, right)]
    return 10 * np.log10(power[1] / power[0])


def decibels(ratio) -> float:
    return 20 * np.log10(np.maximum(ratio, 1e-15))


# -- Against theory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("azimuth", DIRECTIONS)
def test_sphere_time_difference_is_woodworths(azimuth):
    """Above 1.5 kHz: a/c (θ + sin θ), θ the angle to the median plane."""
    theta = np.arcsin(np.sin(np.radians(azimuth)))
    woodworth = HEAD_TIME * (theta + np.sin(theta)) * 1e6
    assert time_difference(*ears_of("sphere", azimuth, noise(1)).T, 1500, 20000) == pytest.approx(woodworth, abs=60)


@pytest.mark.parametrize("azimuth", DIRECTIONS)
@pytest.mark.parametrize("frequency", [500, 4000, 8000])
def test_sphere_level_difference_is_brown_and_dudas(azimuth, frequency):
    def shadow(incidence):
        alpha = 1.05 + 0.95 * np.cos(np.radians(incidence) * 180 / 150)
        x = 1j * np.pi * frequency * HEAD_TIME
        return abs((1 + alpha * x) / (1 + x))

    ear = np.degrees(np.arccos(np.sin(np.radians(azimuth))))
    expected = decibels(shadow(ear) / shadow(180 - ear))
    assert level_difference(*ears_of("sphere", azimuth, noise(1)).T, frequency) == pytest.approx(expected, abs=0.6)


@pytest.mark.parametrize("azimuth", [0, 30, -30, 60, -60, 120, 150, 180])
def test_pan_is_the_equal_power_law_at_every_frequency(azimuth):
    angle = np.pi / 4 * (1 + np.sin(np.radians(azimuth)))
    left, right = ears_of("pan", azimuth, noise(1)).T
    assert time_difference(left, right, 100, 20000) == 0
    for frequency in (500, 4000, 8000):
        assert level_difference(left, right, frequency) == pytest.approx(decibels(np.tan(angle)), abs=1e-6)


def test_pan_at_the_side_leaves_the_far_ear_silent():
    left, right = ears_of("pan", 90, noise(0.1)).T
    assert np.abs(left).max() < 1e-12 * np.abs(right).max()


@needs_kemar
@pytest.mark.parametrize("azimuth", DIRECTIONS)
def test_hrtf_is_the_measured_head(azimuth):
    measured = read_sofa(find_kemar())
    wanted = [np.cos(np.radians(azimuth)), -np.sin(np.radians(azimuth)), 0]
    left, right = signal.resample_poly(measured.responses[np.argmax(measured.directions @ wanted)], 160, 147, axis=-1)
    source = noise(1)
    data = [fft.irfft(fft.rfft(source) * fft.rfft(ear, len(source)), len(source)) for ear in (left, right)]
    rendered = ears_of("hrtf", azimuth, source).T
    for band in ((300, 1500), (1500, 8000)):
        assert time_difference(*rendered, *band) == pytest.approx(time_difference(*data, *band), abs=40)
    for frequency in (500, 4000, 8000):
        assert level_difference(*rendered, frequency) == pytest.approx(level_difference(*data, frequency), abs=0.5)


@needs_kemar
def test_front_and_back_differ_with_hrtf_only():
    source, frequency = noise(1), fft.rfftfreq(RATE, 1 / RATE)
    band = (frequency > 2000) & (frequency < 12000)

    def difference(model):
        front, back = (
            signal.fftconvolve(np.abs(fft.rfft(ears_of(model, azimuth, source)[:, 0])) ** 2, np.ones(500), "same")
            for azimuth in (0, 180)
        )
        return np.abs(10 * np.log10(front[band] / back[band])).max()

    assert difference("hrtf") > 6
    assert difference("sphere") < 0.1


@needs_kemar
def test_hrtf_between_two_measurements_lies_between_them():
    """No comb filter: 2.5° off the grid the level stays near those of its neighbours, the time is in their middle."""
    for middle in (32.5, 92.5, -62.5):
        low, between, high = (ears_of("hrtf", azimuth, noise(1)) for azimuth in (middle - 2.5, middle, middle + 2.5))
        times = [time_difference(*ears.T, 1500, 8000) for ears in (low, between, high)]
        assert times[1] == pytest.approx((times[0] + times[2]) / 2, abs=25)
        for frequency in (500, 1000, 2000, 4000, 8000):
            for ear in (0, 1):
                levels = [level_difference(noise(1), ears[:, ear], frequency) for ears in (low, between, high)]
                assert min(levels[0], levels[2]) - 1.5 < levels[1] < max(levels[0], levels[2]) + 1


@needs_kemar
def test_hrtf_elevation_is_heard():
    source = noise(1)
    position = at(0, len(source))
    above = Position(position.azimuth, np.full(len(source), 60.0), position.distance)
    model = load_model("hrtf")
    assert abs(level_difference(model(source, position, RATE)[:, 0], model(source, above, RATE)[:, 0], 8000)) > 3


@pytest.mark.parametrize("model, most", [("pan", 1.5), ("sphere", 3), pytest.param("hrtf", 3, marks=needs_kemar)])
def test_power_does_not_pump_over_a_circle(model, most):
    source = noise(0.5, pink=True)
    power = [
        10 * np.log10(np.sum(ears_of(model, azimuth, source) ** 2) / np.sum(source**2))
        for azimuth in range(-180, 180, 5)
    ]
    assert max(power) - min(power) < most
    assert abs(np.mean(power)) < 1.5  # and a source keeps its power


# -- Motion -------------------------------------------------------------------------------------------------------


def splatter(ears: np.ndarray, beyond: float) -> float:
    """Strongest line further than `beyond` Hz from a 997 Hz tone, in dBc.

    Nearer lines are the motion itself (it moves level and phase), heard as such within the critical band.
    """
    worst = -np.inf
    for ear in ears.T:
        spectrum = np.abs(fft.rfft(ear * signal.windows.kaiser(len(ear), 22)))
        away = np.abs(fft.rfftfreq(len(ear), 1 / RATE) - 997) > beyond
        worst = max(worst, decibels(spectrum[away].max() / spectrum.max()))
    return worst


def tone(seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 997 * np.arange(round(seconds * RATE)) / RATE)[:, np.newaxis]


@pytest.mark.parametrize("model", MODELS)
def test_a_circling_tone_stays_a_tone(model):
    ears = render(tone(6), RATE, orbit(4), load_model(model))
    assert splatter(ears[RATE:-RATE], beyond=50) < -80


@pytest.mark.parametrize("model", MODELS)
def test_a_jump_does_not_click(model):
    jumps = [Move(0, 6, "sawtooth", ear_i=-0.9, ear_f=0.9, ramps=((0, 0), (6, 6)))]
    ears = render(tone(6), RATE, Motion(jumps), load_model(model))
    assert splatter(ears[RATE:-RATE], beyond=100) < -40
    assert splatter(ears[RATE:-RATE], beyond=1000) < -80


def test_gliding_delay_is_exact_below_12_khz():
    n = np.arange(RATE)
    delay = 20 * np.sin(2 * np.pi * n / RATE * 1.3) - 3.7
    for frequency, error in ((997, -105), (12000, -90)):
        (got,) = glide(np.sin(2 * np.pi * frequency * n / RATE), [delay])
        wanted = np.sin(2 * np.pi * frequency * (n - delay) / RATE)
        assert decibels(np.abs(got - wanted)[100:-100].max()) < error


@pytest.mark.parametrize("model", MODELS)
def test_sound_is_not_late(model):
    """A click in front arrives when it would have without the model."""
    click = np.zeros(8000)
    click[4000] = 1
    ears = load_model(model)(click, at(0, 8000), RATE)
    assert abs(int(np.abs(ears[:, 0]).argmax()) - 4000) <= 3
    np.testing.assert_allclose(ears[:, 0], ears[:, 1], atol=2e-3 * np.abs(ears).max())


@pytest.mark.parametrize("rate", [22050, 44100, 96000])
@needs_kemar
def test_hrtf_at_other_rates(rate):
    def difference(rate):
        source = np.random.default_rng(1).normal(size=rate // 2)
        return time_difference(*load_model("hrtf")(source, at(60, len(source)), rate).T, 300, 8000, rate)

    assert difference(rate) == pytest.approx(difference(48000), abs=20)


@cache
def levels_at(rate: int, azimuth: float) -> np.ndarray:
    """dB by which the measured head changes noise from 200 Hz to 9 kHz: all of it, then three bands."""
    count, step = rate // 5, 5  # samples, Hz
    phase = np.random.default_rng(5).uniform(0, 2 * np.pi, 9000 // step)
    spectrum = np.zeros(count // 2 + 1, complex)
    spectrum[200 // step : 9000 // step] = np.exp(1j * phase[200 // step :])
    edge = rate // 20
    source = np.pad(fft.irfft(spectrum, count), edge, "wrap")
    ears = load_model("hrtf")(source, at(azimuth, len(source)), rate)[edge:-edge]
    power = (np.abs(fft.rfft(ears, axis=0)) ** 2).sum(axis=1)
    return np.array(
        [
            10 * np.log10(power[low // step : high // step].mean())
            for low, high in ((200, 9000), (300, 600), (2000, 4000), (6000, 8000))
        ]
    )


@needs_kemar
@pytest.mark.parametrize("rate", [22050, 44100, 88200, 96000, 192000, 384000])
def test_hrtf_sounds_the_same_at_every_rate(rate):
    for azimuth in (0, 30, -110):
        np.testing.assert_allclose(levels_at(rate, azimuth), levels_at(RATE, azimuth), atol=0.5)


@needs_kemar
@pytest.mark.parametrize("rate", [48000, 96000, 192000])
def test_responses_begin_within_their_pre_ring(rate):
    """What an aligned response cuts off at its begin is little: it rises out of silence."""
    responses = load_model("hrtf").filters(rate).responses
    assert decibels(np.abs(responses[..., :2]).max() / np.abs(responses).max()) < -35


# -- Files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("channels", [1, 2])
def test_streamed_equals_whole(model, channels, write_wav, tmp_path, monkeypatch):
    monkeypatch.setattr(spatial, "RENDER_BLOCK", 1 << 14)
    sound = np.random.default_rng(3).normal(0, 0.1, (100_001, channels))
    path = write_wav("in.wav", sound, subtype="DOUBLE")
    motion = orbit(1.3)
    render_file(path, tmp_path / "out.wav", motion, load_model(model))
    streamed, rate = soundfile.read(tmp_path / "out.wav")
    whole = render(sound, rate, motion, load_model(model))
    assert streamed.shape == whole.shape
    assert decibels(np.abs(streamed - whole).max() / np.abs(whole).max()) < -120


def test_a_stereo_source_keeps_its_width():
    """In front, left stays left; half a turn later it is on the right."""
    sound = np.zeros((2 * RATE, 2))
    sound[:, 0] = noise(2)
    for azimuth, side in ((0, -1), (180, 1)):
        motion = Motion([Move(0, 3, "orbit", azimuth_i=azimuth, azimuth_f=azimuth)])
        left, right = render(sound, RATE, motion, load_model("sphere"), width=0.5)[RATE // 2 :].T
        assert side * level_difference(left[:RATE], right[:RATE], 4000) > 6
    left, right = render(sound, RATE, motion, load_model("sphere"), width=0)[RATE // 2 :].T
    assert level_difference(left[:RATE], right[:RATE], 4000) == pytest.approx(0, abs=0.01)


def test_equal_channels_in_front_sound_as_loud_as_they_did():
    sound = np.tile(noise(1)[:, np.newaxis], 2)
    ears = render(sound, RATE, Motion([Move(0, 2)]), load_model("pan"), width=0)
    np.testing.assert_allclose(ears, sound, atol=1e-9)


def test_level_falls_with_distance():
    sound = noise(1)[:, np.newaxis]
    near, far = (render(sound, RATE, orbit(4, distance=metres), load_model("pan")) for metres in (1, 4))
    assert decibels(np.sqrt(np.mean(far[1000:] ** 2) / np.mean(near[1000:] ** 2))) == pytest.approx(-12.04, abs=0.01)


@pytest.mark.parametrize(
    "rate, subtype, name", [(8000, "PCM_16", "a.wav"), (44100, "PCM_24", "a.flac"), (96000, "FLOAT", "a.wav")]
)
def test_rate_and_sample_format_are_kept(rate, subtype, name, write_wav, tmp_path):
    path = write_wav("in.wav", noise(0.1), rate, subtype)
    render_file(path, tmp_path / name, orbit(1), load_model("pan"))
    info = soundfile.info(tmp_path / name)
    assert (info.samplerate, info.subtype, info.channels, info.frames) == (rate, subtype, 2, round(0.1 * RATE))


def test_nothing_clips_in_whole_numbers(write_wav, tmp_path):
    loud = np.clip(noise(1) * 20, -1, 1)
    path = write_wav("in.wav", loud, subtype="PCM_16")
    gain = render_file(path, tmp_path / "out.wav", orbit(2), load_model("sphere"))
    out = soundfile.read(tmp_path / "out.wav", dtype="int16")[0]
    assert gain < 0
    assert 32700 < np.abs(out.astype(int)).max() < 32768
    assert render_file(path, tmp_path / "float.wav", orbit(2), load_model("sphere"), subtype="FLOAT") == gain
    assert np.abs(soundfile.read(tmp_path / "float.wav")[0]).max() <= 1
    # An intermediate file, mastered later, keeps its level.
    assert render_file(path, tmp_path / "stem.wav", orbit(2), load_model("sphere"), subtype="FLOAT", limited=False) == 0
    assert np.abs(soundfile.read(tmp_path / "stem.wav")[0]).max() == pytest.approx(10 ** (-gain / 20), rel=1e-3)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_model_gone_wild_is_limited(write_wav, tmp_path, subtype):
    """No sample exceeds full scale or is not a number, whatever a model or a motion does."""

    def louder_each_time(source, position, rate, calls=[]):  # noqa: B006
        calls.append(1)
        return np.stack([source, source], axis=1) * 10.0 ** len(calls)

    path = write_wav("in.wav", noise(0.1))
    render_file(path, tmp_path / "out.wav", orbit(2), louder_each_time, subtype=subtype)
    assert 0.5 < np.abs(soundfile.read(tmp_path / "out.wav")[0]).max() <= 1
    for value in (np.nan, np.inf):
        with pytest.raises(MediaError, match="in.wav: this motion makes samples that are not numbers"):
            render_file(
                path, tmp_path / "bad.wav", orbit(2), lambda source, position, rate: np.full((len(source), 2), value)
            )
    assert not (tmp_path / "bad.wav").exists()


def test_unknown_models_are_named():
    with pytest.raises(ValueError, match="model: unknown name 'spere' .choose pan, sphere, hrtf"):
        load_model("spere")


# -- SOFA files ---------------------------------------------------------------------------------------------------


def write_sofa(path, *, convention="SimpleFreeFieldHRIR", cartesian=False, swapped=False, directions=None, count=None):
    """A small head: 26 directions, 64 taps, a click at each ear by Woodworth's formula, half as loud in the shadow."""
    grid = [(a, e) for e in (-45, 0, 45) for a in range(0, 360, 45)] + [(0, 90), (0, -90)]
    azimuth, elevation = np.radians(directions or grid).T
    responses = np.zeros((len(azimuth), 2, 64))
    for response, a, e in zip(responses, azimuth, elevation):
        lateral = np.arcsin(np.sin(a) * np.cos(e))  # above 0 to the left, as SOFA counts
        late = round(HEAD_TIME * (lateral + np.sin(lateral)) / 2 * RATE)
        response[0, 30 - late], response[1, 30 + late] = 1 + 0.5 * np.sin(lateral), 1 - 0.5 * np.sin(lateral)
    with h5py.File(path, "w") as file:
        file.attrs["SOFAConventions"] = np.bytes_(convention)
        file["Data.IR"] = responses[:count, ::-1] if swapped else responses[:count]
        file["Data.SamplingRate"] = [float(RATE)]
        file["Data.Delay"] = np.zeros((1, 2))
        if cartesian:
            places = np.stack(
                [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], 1
            )
        else:
            places = np.stack([np.degrees(azimuth), np.degrees(elevation), np.ones(len(azimuth))], 1)
        file["SourcePosition"] = 2 * places[:count] if cartesian else places[:count]
        file["SourcePosition"].attrs["Type"] = np.bytes_("cartesian" if cartesian else "spherical")
        sides = [[0, -0.09, 0], [0, 0.09, 0]] if swapped else [[0, 0.09, 0], [0, -0.09, 0]]
        file["ReceiverPosition"] = np.array(sides)[..., np.newaxis]
        file["ReceiverPosition"].attrs["Type"] = np.bytes_("cartesian")
    return path


@pytest.mark.parametrize("options", [{}, {"cartesian": True}, {"swapped": True}])
def test_any_sofa_file_of_the_convention(tmp_path, options):
    model = MeasuredHead(read_sofa(write_sofa(tmp_path / "head.sofa", **options)))
    for azimuth in (45, 90, 135):
        left, right = model(noise(1), at(azimuth, RATE), RATE).T
        lateral = np.arcsin(np.sin(np.radians(azimuth)))
        woodworth = HEAD_TIME * (lateral + np.sin(lateral)) * 1e6
        assert time_difference(left, right, 300, 8000) == pytest.approx(woodworth, abs=40)
        assert level_difference(left, right, 2000) > 3
    spiral = Position(np.linspace(0, 720, RATE), np.linspace(-90, 90, RATE), np.ones(RATE))
    assert np.isfinite(model(noise(1), spiral, RATE)).all()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"convention": "MultiSpeakerBRIR"}, "MultiSpeakerBRIR; give a file of SimpleFreeFieldHRIR"),
        ({"count": 3}, "do not surround a head"),
        ({"directions": [(a, 0) for a in range(0, 360, 30)]}, "do not surround a head"),
    ],
)
def test_other_sofa_files_are_refused(tmp_path, options, words):
    with pytest.raises(MediaError, match=words):
        read_sofa(write_sofa(tmp_path / "other.sofa", **options))


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_sofa_file(tmp_path, content):
    (tmp_path / "x.sofa").write_bytes(content)
    with pytest.raises(MediaError, match="x.sofa"):
        read_sofa(tmp_path / "x.sofa")
    write_sofa(tmp_path / "x.sofa")
    with h5py.File(tmp_path / "x.sofa", "a") as file:
        del file["Data.IR"]
        file.create_dataset("Data.IR", (1 << 20, 2, 1 << 16), "f4", chunks=True, compression="gzip")  # a TB, unpacked
    with pytest.raises(MediaError, match="x.sofa: .*numbers"):
        read_sofa(tmp_path / "x.sofa")
    with h5py.File(tmp_path / "x.sofa", "w") as file:
        file.attrs["SOFAConventions"] = np.bytes_("SimpleFreeFieldHRIR")
    with pytest.raises(MediaError, match="x.sofa"):
        read_sofa(tmp_path / "x.sofa")


@needs_kemar
def test_diffuse_field_is_flat():
    """A sound from all directions keeps its spectrum: within 1 dB in third octaves from 125 Hz to 16 kHz."""
    filters = load_model("hrtf").filters(RATE)
    measured = read_sofa(find_kemar())
    power = (np.abs(fft.rfft(filters.responses, 4096)) ** 2).sum(axis=1)
    ring = np.abs(measured.directions[:, 2]) < 0.99  # all but the top, which counts little
    weight = np.sqrt(1 - measured.directions[ring, 2] ** 2)
    frequency = fft.rfftfreq(4096, 1 / RATE)
    octaves = np.log2(np.maximum(frequency, 1) / 1000)
    levels = [
        10 * np.log10(np.average(power[ring][:, np.abs(octaves - third / 3) < 1 / 6].mean(axis=1), weights=weight))
        for third in range(-9, 13)
    ]
    assert max(np.abs(levels - np.mean(levels))) < 1


def test_margin_covers_the_longest_filter():
    from musicvideo.sound.models import hrtf

    earliest = 0.002 * 192000  # and the gliding delay before the filter
    assert hrtf.LONGEST_TAPS + 2 * hrtf.LONGEST_PRE_RING + hrtf.CONTROL_HOP + earliest <= MARGIN
    assert all(hrtf.pre_ring(rate) <= hrtf.LONGEST_PRE_RING for rate in (8000, 48000, 192000, 768000))
    assert spatial.RENDER_BLOCK % hrtf.CONTROL_HOP == 0
