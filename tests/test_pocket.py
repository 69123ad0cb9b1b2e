"""The embedded BigGAN, by the weights that come with the project."""

import json

import numpy as np
import pytest
import torch

from musicvideo.vision import generators
from musicvideo.vision.generators import weights
from musicvideo.vision.generators.biggan import Pocket, Reference
from training.pocket import evaluate, metrics
from training.pocket.targets import Targets
from training.pocket.train import TEXTURES


@pytest.fixture(scope="module")
def pocket():
    return generators.load("pocket", device="cpu")


@pytest.fixture(scope="module")
def draw(pocket):
    """What the bars are measured on: noise and class weights -> pictures in -1..1, on the fast engine."""
    return lambda noise, shares: torch.cat(list(pocket.pictures(noise.numpy(), shares.numpy())))


def test_the_library_loads_the_weights_and_draws_the_same(pocket, draw):
    stock = weights.embedded()
    reference = Reference(stock, pocket.labels)
    rng = np.random.default_rng(0)
    noise, shares = evaluate.random_noise(8, rng), torch.zeros(8, len(pocket.labels))
    for row in shares:
        row[rng.choice(len(row), 12, replace=False)] = torch.tensor(rng.random(12)).float()
    wanted = reference.pictures(noise, Pocket.sharpened(shares.numpy()))
    assert wanted.std() > 0.1
    assert 10 * torch.log10(4 / (draw(noise, shares) - wanted).square().mean()) >= 90


def test_the_strongest_class_stays_as_strong_and_leads():
    shares = np.array([[0.5, 0.25, 0.0], [1.0, 0.9, 0.5], [0.0, 0.0, 0.0]])
    wanted = [[0.5, 0.0625, 0.0], [1.0, 0.729, 0.125], [0.0, 0.0, 0.0]]
    assert np.allclose(Pocket.sharpened(shares), wanted)


def test_classes_have_names_that_people_type(pocket):
    assert len(pocket.labels) == len(set(pocket.labels)) >= 90
    assert {"mushroom", "moon", "castle", "eye", "hourglass", "butterfly", "drum", "violin"} <= set(pocket.labels)
    assert all(name == name.strip().lower() and name.replace(" ", "").replace("-", "").isalnum() for name in pocket.labels)


def test_the_weights_are_small_and_their_licence_is_beside_them():
    assert (generators.EMBEDDED / "model.safetensors").stat().st_size <= 16_000_000
    assert "Microsoft" in (generators.EMBEDDED / "NOTICE").read_text()
    assert json.loads((generators.EMBEDDED / "config.json").read_text())["output_dim"] >= 128


def test_mixtures_of_twelve_keep_contrast_and_colour_and_films_neither_flicker_nor_stand_still(pocket, draw):
    found = evaluate.movement(draw, len(pocket.labels), np.random.default_rng(0))
    assert found["contrast of 12 classes, share of one's"] >= 0.5
    assert found["saturation of 12 classes, share of one's"] >= 0.5
    assert 0.2 <= found["difference of frames, of 255"] <= 6
    assert found["  its 99th percentile"] <= 6


def test_every_class_is_another_picture(pocket, draw):
    classes = len(pocket.labels)
    noise = evaluate.random_noise(1, np.random.default_rng(1)).expand(classes, -1)
    pictures = draw(noise, torch.eye(classes))
    assert metrics.contrast(pictures).min() > 0.02
    apart = torch.cdist(pictures.flatten(1), pictures.flatten(1)) + 1e9 * torch.eye(classes)
    assert apart.min() / np.sqrt(pictures[0].numel()) > 0.05


@pytest.mark.skipif(not TEXTURES.exists(), reason="needs the pictures it was trained on: see training/pocket/README.md")
def test_single_classes_are_what_they_were_trained_to_be(pocket, draw):
    targets = Targets.load(TEXTURES)
    found, _ = evaluate.likeness(draw, targets, pocket.resolution, 4, np.random.default_rng(0))
    for name in ("nearest class is the right one", "SSIM", "gradient energy, share of targets'"):
        assert found[name] >= evaluate.BARS[name][0], name
