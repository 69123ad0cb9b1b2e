"""The embedded generator: the same picture for the same vectors, and pictures with contrast, colour and motion."""

import numba
import numpy as np
import pytest

from musicvideo.vision.generators import hardware
from musicvideo.vision.generators.cppn import looks, network
from musicvideo.vision.generators.cppn.network import CPPN

SIZE = 64
FPS = 30
GRID = 22050 / 512  # analysis points a second


@pytest.fixture(scope="module")
def generator():
    return CPPN(SIZE)


@pytest.fixture(scope="module")
def portraits(generator):
    """Every class by itself, from one noise vector: (labels, SIZE, SIZE, 3)."""
    count = len(generator.labels)
    noise = np.random.default_rng(5).normal(0, 0.9, (1, generator.noise_dim))
    return generator.frames(np.repeat(noise, count, 0), np.eye(count))


def walk(generator, seconds, seed):
    """Noise and class weights at FPS, as a song steers them: a triangle walk whose speed is the loudness
    of eight beats in two seconds, and twelve classes of which a slowly changing one leads."""
    random = np.random.default_rng(seed)
    points = int(seconds * GRID) + 2
    loudness = np.abs(np.sin(np.pi * 2 * np.arange(points) / GRID)) ** 2 * 0.9 + 0.05
    noise = np.clip(random.normal(0, 0.9, generator.noise_dim), -2, 2)
    direction, speed, path = np.where(noise < 0, 1.0, -1.0), np.zeros(generator.noise_dim), []
    for loud in loudness:
        path.append(noise)
        speed = (0.25 * loud * direction + 3 * speed) / 4
        noise = noise + speed
        direction = np.where(noise >= 1.75, -1.0, np.where(noise < -1.75, 1.0, direction))
    pitches = 0.5 + 0.5 * np.sin(
        np.arange(points)[:, None] / GRID * random.uniform(0.3, 1.2, 12) + random.uniform(0, 6.28, 12)
    )
    pitches = (pitches - pitches.min(1, keepdims=True)) / np.ptp(pitches, axis=1, keepdims=True)
    classes = np.zeros((points, len(generator.labels)))
    classes[:, random.choice(len(generator.labels), 12, replace=False)] = pitches
    times = np.arange(0, seconds, 1 / FPS) * GRID
    before, part = times.astype(int), (times % 1)[:, None]
    return tuple(rows[before] * (1 - part) + rows[before + 1] * part for rows in (np.array(path), classes))


def luminance(pictures):
    return pictures @ np.array([0.2126, 0.7152, 0.0722])


def saturation(pictures):
    """Mean spread of the channels, per picture."""
    return np.ptp(pictures.astype(float), axis=-1).mean((-2, -1))


def test_labels_are_unique_names(generator):
    assert len(set(generator.labels)) == len(generator.labels) >= 48
    assert all(label == label.lower().strip() and len(label.split()) <= 2 for label in generator.labels)


@pytest.mark.parametrize("resolution", [16, 45, 128])
def test_shape_and_type(resolution):
    pictures = CPPN(resolution).frames(np.zeros((2, 128)), np.eye(len(CPPN.labels))[:2])
    assert pictures.shape == (2, resolution, resolution, 3) and pictures.dtype == np.uint8
    nothing = CPPN(resolution).frames(np.zeros((0, 128)), np.zeros((0, len(CPPN.labels))))
    assert nothing.shape == (0, resolution, resolution, 3)


def test_bytes_depend_on_the_vectors_alone(generator):
    noise, classes = walk(generator, 0.5, seed=1)
    together = generator.frames(noise[:6], classes[:6])
    alone = [CPPN(SIZE).frames(noise[i : i + 1], classes[i : i + 1])[0] for i in range(6)]
    backwards = generator.frames(noise[5::-1], classes[5::-1])[::-1]
    assert together.tobytes() == np.array(alone).tobytes() == backwards.tobytes()
    assert len({picture.tobytes() for picture in together}) == 6


def test_bytes_do_not_depend_on_threads(generator, monkeypatch):
    noise, classes = walk(generator, 0.1, seed=2)
    drawn = set()
    for count in (1, 2, 3):
        monkeypatch.setattr(hardware, "cores", lambda count=count: count)
        drawn.add(CPPN(SIZE).frames(noise[:3], classes[:3]).tobytes())
    assert len(drawn) == 1


def test_another_look_leaves_the_others_as_they_are(generator, monkeypatch):
    noise, classes = walk(generator, 0.1, seed=3)
    before = generator.frames(noise[:2], classes[:2])
    more = {**looks.LOOKS, "toy": looks.Look("000000 330000 770000 ffffff ffff00 003300")}
    monkeypatch.setattr(network, "LOOKS", more)
    monkeypatch.setattr(CPPN, "labels", tuple(more))
    wider = CPPN(SIZE)
    assert np.array_equal(wider.frames(noise[:2], np.pad(classes[:2], ((0, 0), (0, 1)))), before)
    toy = wider.frames(noise[:1], np.eye(49)[48:])
    assert toy.std() > 20


def test_what_decides_the_bytes_is_told(generator):
    told = generator.computed_by
    assert told["numba"] == numba.__version__ and told["backend"] == generator.runs_on
    assert {"processor", "instructions", "numpy"} <= told.keys()


def test_the_inputs_are_left_alone(generator):
    noise, classes = walk(generator, 0.1, seed=3)
    before = noise.copy(), classes.copy()
    generator.frames(noise, classes)
    assert (noise == before[0]).all() and (classes == before[1]).all()


def test_only_ratios_of_classes_matter(generator):
    noise, classes = walk(generator, 0.1, seed=4)
    full, faint = (generator.frames(noise[:1], classes[:1] * scale).astype(int) for scale in (1, 0.2))
    assert np.abs(full - faint).mean() < 0.1


def test_no_class_at_all_is_still_a_picture(generator):
    picture = generator.frames(np.zeros((1, 128)), np.zeros((1, len(generator.labels))))
    assert luminance(picture).std() > 20 and saturation(picture)[0] > 20


def test_classes_look_different(portraits):
    """Between any two classes: colour distributions, or the pictures at a coarse scale, are apart."""
    small = portraits.reshape(len(portraits), 8, SIZE // 8, 8, SIZE // 8, 3).astype(float)
    coarse = small.mean((2, 4)).reshape(len(portraits), -1, 3)
    tone = np.sort(portraits.reshape(len(portraits), -1, 3).astype(float), axis=1)[:, ::64]
    for i in range(len(portraits)):
        for j in range(i):
            apart = np.abs(coarse[i] - coarse[j]).mean() + np.abs(tone[i] - tone[j]).mean()
            assert apart > 25, f"{CPPN.labels[i]} and {CPPN.labels[j]} are {apart:.1f} apart"


def test_classes_are_composed_differently(portraits):
    """In grey and coarsely, so that neither colour nor texture tells them apart."""
    coarse = luminance(portraits).reshape(len(portraits), 16, SIZE // 16, 16, SIZE // 16).mean((2, 4))
    alike = np.corrcoef(coarse.reshape(len(portraits), -1))[np.triu_indices(len(portraits), 1)]
    assert alike.mean() < 0.1 and np.percentile(alike, 99) < 0.55 and alike.max() < 0.75


def test_compositions_and_emblems_can_be_drawn():
    for name, composition in looks.COMPOSITIONS.items():
        assert len(composition.caps) <= looks.MOST_CAPS, name
        assert -1 < composition.horizon < 1 and composition.depth > 0 and 0 <= composition.bare <= 1, name
    for name, radii in looks.EMBLEMS.items():
        assert len(radii) == len(looks.EMBLEMS["round"]) and min(radii) > 0.2, name
    for name, look in looks.LOOKS.items():
        assert look.place in looks.COMPOSITIONS and look.emblem in looks.EMBLEMS, name
    assert {look.place for look in looks.LOOKS.values()} == set(looks.COMPOSITIONS)
    assert {look.emblem for look in looks.LOOKS.values()} == set(looks.EMBLEMS)


def between(generator, first, second, shares):
    """Class weights (len(shares), labels) on the way from one class to another."""
    eye = np.eye(len(generator.labels))
    start, end = (eye[generator.labels.index(name)] for name in (first, second))
    return start + np.asarray(shares)[:, None] * (end - start)


@pytest.mark.parametrize("first, second", [("moth wing", "ash"), ("undertow", "mushroom"), ("moonlight", "iris")])
def test_a_mixture_is_a_place_between_its_classes(generator, first, second):
    ends = [generator._mix(weights) for weights in between(generator, first, second, [0, 1])]
    low, high = (limit(*(end.caps[:, 2] for end in ends)) for limit in (np.minimum, np.maximum))
    classes = between(generator, first, second, np.linspace(0, 1, 91))
    for weights in classes:
        radii = generator._mix(weights).caps[:, 2]
        assert (radii >= low - 1e-6).all() and (radii <= high + 1e-6).all()
    # three seconds from one to the other: everything moves there, nothing jumps
    pictures = generator.frames(np.zeros((len(classes), 128)), classes).astype(np.int16)
    assert np.abs(np.diff(pictures, axis=0)).mean((1, 2, 3)).max() < 15


def moved(generator, handle, label, shares):
    """Pictures of a class while a handle goes from -1 to 1 times its reach."""
    direction = generator.handles[handle].direction * generator.handles[handle].reach
    noise = np.random.default_rng(5).normal(0, 0.5, 128) + np.asarray(shares)[:, None] * direction
    return generator.frames(noise, between(generator, label, label, shares)).astype(np.int16)


@pytest.mark.parametrize("handle", ["zoom", "turn", "gaze_x", "gaze_y", "dive", "bloom", "tint", "lamp"])
def test_handles_travel_far_and_smoothly(generator, handle):
    pictures = moved(generator, handle, "ash", np.linspace(-1, 1, 81))
    steps = np.abs(np.diff(pictures, axis=0)).mean((1, 2, 3))
    assert steps.max() < 12 and np.abs(np.diff(steps)).max() < 3
    for end in (0, -1):
        assert np.abs(pictures[end] - pictures[40]).mean() > 5
        assert luminance(pictures[end]).std() > 0.5 * luminance(pictures[40]).std()


def test_diving_has_no_end(generator):
    for label in ("undertow", "moonlight"):
        start, middle, end = moved(generator, "dive", label, [-1, 0, 1])
        assert np.abs(start - end).mean() < 0.5 < 5 < np.abs(start - middle).mean()


def test_handles_move_one_thing(generator):
    # of caps, in a world without caps
    for handle in ("orbit", "phase", "emblem", "cap0", "cap1"):
        start, end = moved(generator, handle, "undertow", [-1, 1])
        assert np.abs(start - end).max() <= 1, handle
        start, end = moved(generator, handle, "ash", [-1, 1])
        assert np.abs(start - end).max() > 20, handle
    # of hues
    start, end = moved(generator, "tint", "mushroom", [-1, 1])
    assert np.corrcoef(luminance(start).ravel(), luminance(end).ravel())[0, 1] > 0.97
    # of silhouettes, where they are round
    start, end = moved(generator, "emblem", "gills", [-1, 1])
    assert np.abs(start - end).max() <= 1


def test_every_class_has_contrast_and_colour(portraits):
    for label, contrast, colour in zip(CPPN.labels, luminance(portraits).std((1, 2)), saturation(portraits)):
        assert contrast > 20, f"{label} is flat: {contrast:.1f}"
        assert colour > 15, f"{label} is grey: {colour:.1f}"


def test_mixtures_keep_half_of_contrast_and_saturation(generator, portraits):
    random = np.random.default_rng(6)
    classes = np.zeros((16, len(generator.labels)))
    for row in classes:
        row[random.choice(len(row), 12, replace=False)] = random.uniform(0, 1, 12)
    mixtures = generator.frames(random.normal(0, 0.9, (16, 128)), classes)
    assert np.median(luminance(mixtures).std((1, 2))) > 0.7 * np.median(luminance(portraits).std((1, 2)))
    assert np.median(saturation(mixtures)) > 0.6 * np.median(saturation(portraits))
    assert luminance(mixtures).std((1, 2)).min() > 0.5 * luminance(portraits).std((1, 2)).mean()
    assert saturation(mixtures).min() > 0.5 * saturation(portraits).min()


@pytest.mark.parametrize("seed, seconds", [(7, 4), (8, 2)])
def test_motion_is_smooth_and_never_stuck(generator, seed, seconds):
    noise, classes = walk(generator, seconds, seed)
    pictures = generator.frames(noise, classes).astype(np.int16)
    steps = np.abs(np.diff(pictures, axis=0)).mean((1, 2, 3))
    assert steps.min() >= 0.2 and steps.max() <= 10
    # and nothing pops: no step stands out from its neighbours
    assert np.abs(np.diff(steps)).max() < 2
    drifting = generator.frames(noise, np.repeat(classes[:1], len(classes), 0)).astype(np.int16)
    steps = np.abs(np.diff(drifting, axis=0)).mean((1, 2, 3))
    assert steps.max() <= 5 and steps.mean() <= 3


def test_resolutions_show_the_same_picture(generator):
    noise, classes = walk(generator, 0.1, seed=9)
    fine = CPPN(4 * SIZE).frames(noise[:1], classes[:1])[0]
    coarse = generator.frames(noise[:1], classes[:1])[0]
    shrunk = fine.reshape(SIZE, 4, SIZE, 4, 3).mean((1, 3))
    assert np.abs(shrunk - coarse).mean() < 4
    assert np.corrcoef(luminance(shrunk).ravel(), luminance(coarse).ravel())[0, 1] > 0.97


@pytest.mark.parametrize("resolution", [15, 0, -512, 100.5, float("nan")])
def test_impossible_resolutions(resolution):
    with pytest.raises(ValueError, match=f"resolution .*{resolution}"):
        CPPN(resolution)


def bad(shape, value, index=(0, 0)):
    rows = np.zeros(shape)
    rows[index] = value
    return rows


@pytest.mark.parametrize(
    "noise, classes, message",
    [
        (np.zeros(128), np.zeros((1, 48)), r"noise .*\(128,\)"),
        (np.zeros((1, 127)), np.zeros((1, 48)), r"noise .*\(1, 127\)"),
        (np.zeros((1, 128)), np.zeros((1, 1000)), r"classes .*\(1, 1000\)"),
        (np.zeros((1, 128)), np.zeros((2, 48)), r"classes .*rows.* 1, not 2"),
        (bad((1, 128), np.nan), np.zeros((1, 48)), r"noise .*nan"),
        (np.zeros((1, 128)), bad((1, 48), np.inf), r"classes .*inf"),
        (np.zeros((1, 128)), bad((1, 48), -0.5), r"classes .*-0\.5"),
    ],
)
def test_unusable_vectors(generator, noise, classes, message):
    with pytest.raises(ValueError, match=message):
        generator.frames(noise, classes)
