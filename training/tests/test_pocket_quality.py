"""The weights that come with the project, measured by the bars that training sets."""

import numpy as np
import pytest
import torch

from musicvideo.vision import generators
from musicvideo.vision.training import likeness, metrics
from musicvideo.vision.training.targets import Targets
from training.pocket import evaluate
from training.pocket.prepare import TEXTURES


@pytest.fixture(scope="module")
def pocket():
    return generators.load("pocket", device="cpu")


@pytest.fixture(scope="module")
def draw(pocket):
    """Noise and class weights -> pictures in -1..1, by the fast engine, for the bars."""
    return lambda noise, shares: torch.cat(list(pocket.pictures(noise.numpy(), shares.numpy())))


def test_mixtures_of_twelve_keep_contrast_and_colour_and_films_neither_flicker_nor_stand_still(pocket, draw):
    found = evaluate.movement(draw, len(pocket.labels), np.random.default_rng(0), count=1, seconds=8)
    assert found["contrast of 12 classes, share of one's"] >= 0.5
    assert found["saturation of 12 classes, share of one's"] >= 0.5
    assert 0.2 <= found["difference of frames, of 255"] <= 6
    assert found["  its 99th percentile"] <= 6


def test_every_class_is_another_picture(pocket, draw):
    classes = len(pocket.labels)
    noise = likeness.random_noise(1, np.random.default_rng(1)).expand(classes, -1)
    pictures = draw(noise, torch.eye(classes))[:, :3]
    assert metrics.contrast(pictures).min() > 0.02
    apart = torch.cdist(pictures.flatten(1), pictures.flatten(1)) + 1e9 * torch.eye(classes)
    assert apart.min() / np.sqrt(pictures[0].numel()) > 0.05


@pytest.mark.skipif(not TEXTURES.exists(), reason="needs the pictures it was trained on: see training/pocket/README.md")
def test_single_classes_are_what_they_were_trained_to_be(pocket, draw):
    targets = Targets(torch.load(TEXTURES, weights_only=True))
    found, _ = likeness.likeness(draw, targets, pocket.resolution, 4, np.random.default_rng(0))
    for name in (likeness.NEAREST, likeness.SSIM, likeness.ENERGY):
        assert found[name] >= evaluate.BARS[name][0], name
