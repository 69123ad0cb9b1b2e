"""BigGAN: the pictures of the library, from random weights."""

import copy
import importlib.metadata

import numpy as np
import pytest
import torch
from pytorch_pretrained_biggan import BigGANConfig

from musicvideo.errors import MediaError
from musicvideo.vision import generators
from musicvideo.vision.generators.biggan.architecture import LAYERS
from musicvideo.vision.generators.biggan.generator import BigGAN, Reference, to_bytes
from musicvideo.vision.generators.biggan.network import statistics
from musicvideo.vision.generators.random_weights import random_biggan, random_model, save

LABELS = [f"class {index}" for index in range(20)]


def model(resolution=128, seed=0, batch=2):
    """A model of half the published width, which is a quarter of the work, with 20 classes.

    The statistics of its batch norms are measured on `batch` pictures.
    """
    config = BigGANConfig(
        output_dim=resolution, layers=LAYERS[resolution], channel_width=64, num_classes=len(LABELS),
    )  # fmt: skip
    return random_model(config, seed, batch)


@pytest.fixture(scope="module")
def whole():
    return model()


@pytest.fixture(scope="module")
def reference(whole):
    return Reference(whole, LABELS)


@pytest.fixture(scope="module")
def generator(whole):
    return ours(whole)


def ours(whole, **options):
    """Our generator of a model, which is left whole."""
    return BigGAN(copy.deepcopy(whole), LABELS, device="cpu", **options)


def vectors(count, classes=len(LABELS), seed=0):
    """Noise and mixtures of three classes, as a song makes them."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((count, classes))
    for row in weights:
        row[rng.choice(classes, 3, replace=False)] = rng.random(3)
    return rng.normal(scale=0.8, size=(count, 128)), weights


def psnr(found, wanted):
    """Peak signal to noise ratio in dB, on -1..1."""
    return float(10 * torch.log10(4 / (found - wanted).square().mean()))


def drawn(generator, count):
    """Pictures (count, 3, H, W) of the same vectors for every generator with as many classes."""
    pictures = generator.pictures(*vectors(count, len(generator.labels)))  # in one batch or several
    return torch.cat(list(pictures)).reshape(count, 3, generator.resolution, generator.resolution)


def same_picture(generator, reference, count=2):
    assert_same(drawn(generator, count), drawn(reference, count))


def assert_same(found, wanted):
    assert wanted.std() > 0.1 and (wanted.abs() > 0.999).float().mean() < 0.2  # there is something to compare
    assert psnr(found, wanted) >= 90
    assert (to_bytes(found).int() - to_bytes(wanted).int()).abs().max() <= 1


def test_weights_of_full_size_draw_the_pictures_of_the_library(tmp_path):
    save(random_biggan(128), tmp_path)
    pictures = []
    for name in ("biggan", "biggan-reference"):  # one after the other, to hold one model at a time
        generator = generators.load(name, resolution=128, weights=tmp_path, truncation=0.4, device="cpu")
        assert len(generator.labels) == 1000 and generator.noise_dim == 128
        pictures.append(drawn(generator, 2))
        del generator
    assert_same(*pictures)


@pytest.mark.parametrize("resolution, seed", [(128, 1), (256, 2), (512, 3)])
def test_every_resolution_is_that_of_the_library(resolution, seed):
    whole = model(resolution, seed, batch=1)  # the library draws it, which takes longest
    same_picture(ours(whole), Reference(whole, LABELS), count=1)


def test_truncations_between_rows_are_interpolated(whole):
    """The library swaps the weights of two rows, so it agrees where the weights are equal: half-way."""
    half_way = 0.41
    same_picture(ours(whole, truncation=half_way), Reference(whole, LABELS, truncation=half_way))
    norm = whole.generator.bn
    near, far = norm.running_means[29], norm.running_means[30]
    assert torch.allclose(statistics(norm, 0.585)[0], 0.75 * near + 0.25 * far, atol=1e-5)
    assert torch.equal(statistics(norm, 0.58)[0], near)
    assert torch.equal(statistics(norm, 1.0)[0], norm.running_means[50])


def test_frames_do_not_depend_on_their_batch(generator):
    noise, classes = vectors(10)
    whole = generator.frames(noise, classes)
    pieces = [generator.frames(noise[a:b], classes[a:b]) for a, b in ((0, 1), (1, 4), (4, 10))]
    assert whole.shape == (10, 128, 128, 3) and whole.dtype == np.uint8
    assert np.array_equal(np.concatenate(pieces), whole)
    assert len({picture.tobytes() for picture in whole}) == 10


def test_styles_do_not_depend_on_the_number_of_threads(generator):
    noise, classes = (torch.as_tensor(rows).float() for rows in vectors(3))
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            found += list(generator.styles(noise, classes))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(styles, found[0]) for styles in found)


def test_the_reference_is_a_generator_too(reference, generator):
    noise, classes = vectors(2)
    difference = reference.frames(noise, classes).astype(int) - generator.frames(noise, classes)
    assert np.abs(difference).max() <= 1


def test_what_decides_the_bytes_is_told(reference, generator):
    for drawn_by in (reference, generator):
        told = drawn_by.computed_by
        assert told["backend"] == drawn_by.runs_on and told["torch"] == importlib.metadata.version("torch")
        assert {"processor", "instructions"} <= told.keys()
        assert all(isinstance(value, str) and value for value in told.values())


def test_what_biggan_has_not_is_named(whole):
    with pytest.raises(ValueError, match="resolution: BigGAN has 128, 256, 512, not 300"):
        generators.load("biggan", resolution=300)
    with pytest.raises(ValueError, match="truncation: 1.5 is not in"):
        ours(whole, truncation=1.5)
    with pytest.raises(ValueError, match="device: unknown name 'gpu'"):
        generators.load("biggan", device="gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line():
    with pytest.raises(MediaError, match="device cuda: not in this machine"):
        generators.load("biggan", device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_draws_the_same_pictures(whole, reference):
    gpu = BigGAN(copy.deepcopy(whole), LABELS, device="cuda", precision="fp32")
    noise, classes = vectors(5)
    wanted = reference.pictures(noise, classes)
    assert psnr(torch.cat(list(gpu.pictures(noise, classes))).cpu(), wanted) >= 90
    fast = BigGAN(copy.deepcopy(whole), LABELS, device="cuda")
    assert psnr(torch.cat(list(fast.pictures(noise, classes))).cpu(), wanted) >= 50
    together = fast.frames(noise, classes)
    assert np.array_equal(together[3:4], fast.frames(noise[3:4], classes[3:4]))
    assert fast.computed_by["gpu"] == torch.cuda.get_device_name()
