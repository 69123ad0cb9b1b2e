"""The embedded BigGAN with the weights of the repository."""

import json

import numpy as np
import pytest
import torch

from musicvideo.vision import generators
from musicvideo.vision.generators import pocket as record
from musicvideo.vision.generators.biggan.generator import Reference
from musicvideo.vision.generators.pocket.generator import Pocket


@pytest.fixture(scope="module")
def pocket():
    return generators.load("pocket", device="cpu")


def test_the_library_loads_the_weights_and_draws_the_same(pocket):
    reference = Reference(record.model(), pocket.labels)
    rng = np.random.default_rng(0)
    noise, shares = np.clip(rng.normal(size=(8, 128)), -2, 2), np.zeros((8, len(pocket.labels)))
    for row in shares:
        row[rng.choice(len(row), 12, replace=False)] = rng.random(12)
    wanted = reference.pictures(noise, Pocket.sharpened(shares))
    assert wanted.std() > 0.1
    found = torch.cat(list(pocket.pictures(noise, shares)))[:, :3]  # without the matte
    assert 10 * torch.log10(4 / (found - wanted).square().mean()) >= 90


def test_the_strongest_class_stays_as_strong_and_leads():
    shares = np.array([[0.5, 0.25, 0.0], [1.0, 0.9, 0.5], [0.0, 0.0, 0.0]])
    wanted = [[0.5, 0.0625, 0.0], [1.0, 0.729, 0.125], [0.0, 0.0, 0.0]]
    assert np.allclose(Pocket.sharpened(shares), wanted)


def test_classes_have_names_that_people_type(pocket):
    assert len(pocket.labels) == len(set(pocket.labels)) >= 90
    assert {"mushroom", "moon", "castle", "eye", "hourglass", "butterfly", "drum", "violin"} <= set(pocket.labels)
    for name in pocket.labels:
        assert name == name.strip().lower() and name.replace(" ", "").replace("-", "").isalnum()


def test_the_weights_are_small_and_their_licence_is_beside_them(pocket):
    assert record.WEIGHTS.stat().st_size <= 16_000_000
    assert "Microsoft" in (record.FOLDER / "NOTICE").read_text()
    output_dim = json.loads((record.FOLDER / "config.json").read_text())["output_dim"]
    assert (output_dim,) == (pocket.resolution,) == generators.find("pocket").resolutions
