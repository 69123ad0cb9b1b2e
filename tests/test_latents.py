"""Features -> trajectory: the golden arrays of the published program, and songs that made it fail."""

import io
import json
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import truncnorm

from musicvideo.errors import MediaError
from musicvideo.vision.features import SAMPLE_RATE, Features, classic_features
from musicvideo.vision.latents import (
    NoiseWalk,
    Trajectory,
    class_walk,
    noise_walk,
    random_classes,
    trajectory,
    truncated_noise,
)

GOLDEN = Path(__file__).parent / "data" / "golden"
RUNS = ("default", "tuned", "eight")
DEFAULTS = dict(
    num_classes=12, frame_length=512, smooth_factor=20, pitch_sensitivity=220, tempo_sensitivity=0.25, depth=1,
    truncation=1, sort_classes_by_power=0,
)  # fmt: skip


def golden(run):
    arrays = np.load(GOLDEN / f"{run}.npz")
    return arrays, DEFAULTS | json.loads(str(arrays["params"]))


def pick(params, *names):
    return {name: params[name] for name in names}


def golden_features(run="default"):
    arrays, params = golden(run)
    power, gradient, chroma = arrays["mel_power"], arrays["mel_gradient"], arrays["chroma"]
    return Features(power, gradient, chroma, params["frame_length"], duration=20.0)


@pytest.mark.parametrize("run", RUNS)
def test_noise_walk_is_the_published_one(run):
    arrays, params = golden(run)
    walk = noise_walk(
        arrays["mel_power"], arrays["mel_gradient"], arrays["noise_vectors"][0], arrays["jitter_masks"],
        **pick(params, "tempo_sensitivity", "frame_length", "truncation"),
    )  # fmt: skip
    np.testing.assert_allclose(walk, arrays["noise_vectors"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("points", [1, 199, 200, 201, 862])
def test_rows_walked_again_are_those_of_the_walk(points):
    rng = np.random.default_rng(0)
    power, gradient, masks = rng.random(points), rng.random(points), rng.random((points // 200 + 1, 5))
    options = dict(tempo_sensitivity=0.25, frame_length=512, truncation=0.5)
    whole = noise_walk(power, gradient, rng.normal(size=5), masks, **options)
    again = NoiseWalk(power, gradient, whole[0], masks, **options)
    assert len(again) == len(whole) and np.array_equal(again[:], whole)
    rows = rng.integers(0, points + 1, 50)
    assert np.array_equal(again[rows], whole[rows])


@pytest.mark.parametrize("run", RUNS)
def test_class_walk_is_the_published_one_and_goes_on_to_the_end(run):
    arrays, params = golden(run)
    walk = class_walk(
        arrays["chroma"], arrays["classes"],
        **pick(params, "num_classes", "pitch_sensitivity", "frame_length", "depth", "smooth_factor"),
    )  # fmt: skip
    published = arrays["class_vectors"]
    assert len(walk) == arrays["chroma"].shape[1] + 1 >= len(published)
    np.testing.assert_allclose(walk[: len(published)], published, rtol=0, atol=1e-9)
    behind = walk[len(published) - 1 :]
    assert np.abs(np.diff(behind, axis=0)).max(initial=0) < 0.1  # no jump behind the published end


def test_sorting_by_power_permutes_the_classes_as_published():
    arrays, params = golden("tuned")
    path = trajectory(
        golden_features("tuned"), params["classes"], noise_dim=8, rng=np.random.default_rng(0), num_classes=4,
        sort_classes_by_power=True,
    )  # fmt: skip
    assert path.classes == tuple(arrays["classes"])


def path_of(features, classes=range(12), seed=0, **parameters):
    return trajectory(features, list(classes), noise_dim=16, rng=np.random.default_rng(seed), **parameters)


def test_trajectory_repeats_with_its_seed_and_only_with_it():
    first, again, other = (path_of(golden_features(), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.noise[:], again.noise[:]) and np.array_equal(first.weights, again.weights)
    assert not np.allclose(first.noise[:], other.noise[:])


def test_noise_is_that_of_the_published_library():
    expected = truncnorm.rvs(-2, 2, size=(50, 140), random_state=np.random.default_rng(7))
    np.testing.assert_allclose(truncated_noise((50, 140), np.random.default_rng(7)), expected, rtol=1e-11, atol=1e-13)


def test_truncation_bounds_the_noise():
    for truncation in (0.1, 0.4, 1.0):
        noise = path_of(golden_features(), truncation=truncation, tempo_sensitivity=0.1).noise[:]
        assert np.abs(noise).max() <= 2 * truncation + 0.3


def test_sampling_is_linear_and_holds_the_last_point():
    path = path_of(golden_features())
    noise, weights = path.at(np.array([0, 1.5, 861, 862, 1e6]) / path.grid_rate)
    walk = path.noise[:3]
    assert np.allclose(noise[:2], [walk[0], (walk[1] + walk[2]) / 2])
    assert np.allclose(weights[2:], path.weights[861])
    assert noise.shape == (5, 16) and weights.shape == (5, 12)


RNG = np.random.default_rng(0)
SECOND = np.arange(SAMPLE_RATE) / SAMPLE_RATE
CLICK = np.zeros(4 * SAMPLE_RATE, np.float32)
CLICK[30_000] = 1
HARD_SONGS = {
    "silence": np.zeros(3 * SAMPLE_RATE, np.float32),
    "click": CLICK,
    "sine": np.tile(np.sin(2 * np.pi * 440 * SECOND), 3).astype(np.float32),
    "clipping": np.clip(RNG.normal(scale=5, size=3 * SAMPLE_RATE), -1, 1).astype(np.float32),
    "one second": RNG.normal(scale=0.1, size=SAMPLE_RATE).astype(np.float32),
    "one sample": np.ones(1, np.float32),
    "fading": (np.linspace(1, 0, SAMPLE_RATE) * np.sin(2 * np.pi * 440 * SECOND)).astype(np.float32),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_classes", [1, 4, 7, 12])
@pytest.mark.parametrize("song", HARD_SONGS)
def test_hard_songs_give_finite_bounded_paths(song, num_classes):
    features = classic_features(HARD_SONGS[song])
    path = path_of(features, range(num_classes), num_classes=num_classes)
    noise = path.noise[:]
    assert len(noise) == len(path.weights) == 1 + len(HARD_SONGS[song]) // 512
    assert np.isfinite(noise).all() and np.abs(noise).max() < 3
    assert np.isfinite(path.weights).all() and path.weights.min() >= 0 and path.weights.max() <= 1.011
    assert path.weights[-1].max() > 0.5  # some class is always to be seen
    moved = np.ptp(noise, axis=0).max()
    assert moved == 0 if song in ("silence", "one sample") else moved > 0.1


def test_a_long_path_stays_finite():
    """An hour at a coarse hop: 38 000 steps, each of which adds to the one before."""
    points = 3600 * SAMPLE_RATE // 2048
    power, gradient = RNG.random((2, points), dtype=np.float32)
    path = path_of(Features(power, gradient, RNG.random((12, points), dtype=np.float32), 2048, 3600.0))
    noise = path.noise[:]
    assert len(noise) == len(path.weights) == points
    assert np.isfinite(noise).all() and np.abs(noise).max() < 6
    assert np.isfinite(path.weights).all() and path.weights.min() >= 0 and path.weights.max() <= 1.011


def test_noise_that_is_walked_again_takes_little_memory():
    """The array itself would take 8 MB."""
    points, noise_dim = 8_000, 128
    power, gradient = RNG.random((2, points))
    masks = np.ones((points // 200 + 1, noise_dim))
    tracemalloc.start()
    try:
        walk = NoiseWalk(
            power, gradient, np.zeros(noise_dim), masks, tempo_sensitivity=0.25, frame_length=512, truncation=1
        )
        walk[::1000]
        assert tracemalloc.get_traced_memory()[1] < 2e6 and len(walk) == points + 1
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("parameter, value", [
    ("pitch_sensitivity", 300), ("tempo_sensitivity", -0.1), ("depth", 0), ("jitter", 1.5), ("truncation", 0),
    ("smooth_factor", 0.5), ("depth", float("nan")),
    ("smooth_factor", float("inf")),
])  # fmt: skip
def test_parameters_out_of_range_are_named(parameter, value):
    with pytest.raises(ValueError, match=rf"^{parameter}: {value} is not in .*\.\."):
        path_of(golden_features(), **{parameter: value})


def test_wrong_classes_are_named():
    with pytest.raises(ValueError, match="classes: 3 given, num_classes asks for 4"):
        path_of(golden_features(), range(3), num_classes=4)
    with pytest.raises(ValueError, match="num_classes: 13 is not in 1..12"):
        path_of(golden_features(), range(13), num_classes=13)
    with pytest.raises(ValueError, match="classes: 5 is named twice"):
        path_of(golden_features(), [5, 6, 5], num_classes=3)


def test_random_classes_differ_and_repeat():
    drawn = random_classes(np.random.default_rng(3), 12, 16)
    assert len(set(drawn)) == 12 and set(drawn) <= set(range(16))
    assert drawn == random_classes(np.random.default_rng(3), 12, 16)
    with pytest.raises(ValueError, match=r"num_classes: 9 is not in 1\.\.8"):
        random_classes(RNG, 9, 8)


def test_saved_paths_come_back_whole(tmp_path):
    path = path_of(golden_features(), [3, 1, 2], num_classes=3)
    path.save(tmp_path / "v.npz", labels=["c", "a", "b"], params={"seed": 5, "song": "Für Elise.wav"})
    again, labels, params = Trajectory.load(tmp_path / "v.npz")
    assert np.array_equal(again.noise, path.noise[:]) and np.array_equal(again.weights, path.weights)
    assert (again.classes, again.grid_rate, again.duration) == (path.classes, path.grid_rate, path.duration)
    assert labels == ["c", "a", "b"] and params == {"seed": 5, "song": "Für Elise.wav"}


def test_files_that_hold_no_vectors_are_one_line(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").touch()
    np.savez(tmp_path / "whole.npz", noise_vectors=np.zeros((9, 9)))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    for name in ("other.npz", "single.npy", "text.npz", "empty.npz", "cut.npz", "missing.npz"):
        with pytest.raises(MediaError, match=name) as caught:
            Trajectory.load(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"noise": np.full((9, 4), np.nan)},
        {"noise": np.zeros((8, 4))},
        {"noise": np.zeros((9, 4))[:0], "weights": np.zeros((0, 2))},
        {"weights": np.full((9, 2), np.inf)},
        {"weights": np.ones((9, 3))},
        {"grid_rate": 0.0},
        {"duration": float("nan")},
    ],
)
def test_vectors_that_do_not_make_a_path_are_one_line(change, tmp_path):
    sound = dict(noise=np.zeros((9, 4)), weights=np.ones((9, 2)), classes=(1, 2), grid_rate=43.0, duration=1.0)
    Trajectory(**sound).save(tmp_path / "v.npz", labels=["a", "b"], params={})
    Trajectory.load(tmp_path / "v.npz")
    Trajectory(**sound | change).save(tmp_path / "v.npz", labels=["a", "b"], params={})
    with pytest.raises(MediaError, match="v.npz: not a file of saved vectors"):
        Trajectory.load(tmp_path / "v.npz")


SOUND = {
    "noise_vectors": np.zeros((9, 4)), "class_vectors": np.ones((9, 2)), "classes": np.array([1, 2]),
    "labels": np.array(["a", "b"]), "grid_rate": np.array(43.0), "duration": np.array(1.0), "params": np.array("{}"),
}  # fmt: skip


def header(shape, dtype="<f8") -> bytes:
    """A .npy file that states a shape and holds no data."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        {"noise_vectors": np.array([[{}] * 4] * 9, object)},
        {"noise_vectors": np.zeros((9, 4), complex)},
        {"noise_vectors": np.zeros((9, 4), "U3")},
        {"noise_vectors": np.zeros((9, 4), "f8,f8")},
        {"noise_vectors": np.full((9, 4), 1e300)},
        {"noise_vectors": header((10**12, 4))},
        {"noise_vectors": header((2**62, 2**62))},
        {"noise_vectors": header((-1, 4))},
        {"noise_vectors": b"no array"},
        {"class_vectors": np.ones((9, 2), bool)},
        {"classes": np.array([1.5, 2])},
        {"classes": np.array([1, 1])},
        {"classes": np.arange(1000)},
        {"classes": np.array(["a", "b"])},
        {"labels": np.array(["a"])},
        {"labels": np.array([1, 2])},
        {"labels": np.array("ab")},
        {"labels": header((2,), "<U100000000")},
        {"grid_rate": np.array("x")},
        {"grid_rate": np.array([1.0, 2.0])},
        {"duration": np.array([[]])},
        {"duration": np.array(-1.0)},
        {"params": np.array("[]")},
        {"params": np.array("[" * 100_000)},
        {"params": np.array("{")},
        {"params": np.array(["{}", "{}"])},
    ],
)
def test_vectors_that_a_stranger_made_are_one_line(change, tmp_path):
    """Odd types and huge shapes give one message, and a stated shape alone allocates no memory."""
    with zipfile.ZipFile(tmp_path / "v.npz", "w") as archive:
        for name, value in (SOUND | change).items():
            data = io.BytesIO()
            np.save(data, value) if isinstance(value, np.ndarray) else data.write(value)
            archive.writestr(f"{name}.npy", data.getvalue())
    with pytest.raises(MediaError, match="v.npz: not a file of saved vectors") as caught:
        Trajectory.load(tmp_path / "v.npz")
    assert len(str(caught.value).splitlines()) == 1


def test_an_encrypted_member_is_one_line(tmp_path):
    np.savez(tmp_path / "v.npz", **SOUND)
    Trajectory.load(tmp_path / "v.npz")
    data = bytearray((tmp_path / "v.npz").read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(signature)
        while place >= 0:
            data[place + flags] |= 1
            place = data.find(signature, place + 1)
    (tmp_path / "v.npz").write_bytes(data)
    with pytest.raises(MediaError, match="v.npz: not a file of saved vectors"):
        Trajectory.load(tmp_path / "v.npz")


def test_a_checksum_tells_one_path_from_another(tmp_path):
    path = path_of(golden_features())
    path.save(tmp_path / "v.npz", labels=["a"] * 12, params={})
    read, _, _ = Trajectory.load(tmp_path / "v.npz")
    assert path.checksum() == path_of(golden_features()).checksum() == read.checksum()
    assert replace(read, noise=read.noise + 1e-12).checksum() == path.checksum()
    others = [
        path_of(golden_features(), seed=1),
        path_of(golden_features(), range(1, 13)),
        path_of(golden_features(), smooth_factor=19),
        path_of(golden_features(), jitter=0.4),
    ]
    assert len({path.checksum(), *(other.checksum() for other in others)}) == 5


def test_damaged_vectors_are_one_line(tmp_path):
    path_of(golden_features()).save(tmp_path / "v.npz", labels=["a"] * 12, params={})
    whole = (tmp_path / "v.npz").read_bytes()
    (tmp_path / "v.npz").write_bytes(whole[:100] + b"\xff" * 400 + whole[500:])
    with pytest.raises(MediaError, match="v.npz: not a file of saved vectors"):
        Trajectory.load(tmp_path / "v.npz")
