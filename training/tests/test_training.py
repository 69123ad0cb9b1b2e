"""The training of the embedded generator, on textures made here, since its pictures are not in the repository."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from musicvideo.vision.generators import pocket
from musicvideo.vision.training import metrics
from musicvideo.vision.training.learning import draw_factors, draw_weights, learning_rate, tile
from musicvideo.vision.training.likeness import FACTORS_OF_NOISE, engine, random_noise
from musicvideo.vision.training.network import scale_and_relu
from musicvideo.vision.training.stock import save, stock_model, trainable
from musicvideo.vision.training.targets import FACTORS, Targets
from musicvideo.vision.training.textures import texture, textures
from training.pocket import prepare, train
from training.pocket.evaluate import agreement
from training.pocket.train import begin, load, parse_stages, read_checkpoint, run

SHAPES = {"disc": "red", "square": "lime", "cross": "yellow"}
WIDTH = 4  # channels: a network of this size takes milliseconds


def picture(shape, colour):
    """A shape on a transparent ground, as the emoji are."""
    image = Image.new("RGBA", (256, 256))
    pen = ImageDraw.Draw(image)
    if shape == "disc":
        pen.ellipse((40, 40, 216, 216), fill=colour)
    elif shape == "square":
        pen.rectangle((60, 60, 196, 196), fill=colour)
    else:
        pen.line((40, 40, 216, 216), fill=colour, width=50)
        pen.line((40, 216, 216, 40), fill=colour, width=50)
    pen.ellipse((110, 110, 146, 146), fill="black")
    return image


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    """Statistics are measured on a quarter of the pictures, which take longer than a short training."""
    monkeypatch.setattr(train, "SAMPLES", 16)


@pytest.fixture(scope="module")
def shapes():
    return textures(list(SHAPES), [picture(*shape) for shape in SHAPES.items()])


@pytest.fixture(scope="module")
def targets(shapes):
    return Targets(shapes)


def training(targets, steps=20, **changes):
    settings = {
        "width": WIDTH,
        "resolution": 128,
        "stages": parse_stages("16:0.5,32:0.5"),
        "batch": 8,
        "rate": 0.003,
        "singles": 0.3,
    }
    return begin(targets, steps=steps, **{**settings, **changes})


def test_colours_go_on_beyond_the_outline():
    """A texture's corner takes its colour from the object, and distances have their sign and their unit."""
    colour, distance, interest = texture(picture("disc", "red"))
    assert colour[0, 0] == pytest.approx([1, 0, 0], abs=0.15)
    assert distance[128, 128] == pytest.approx(0.25) and distance[0, 0] == -0.25
    assert distance[128, 60] == pytest.approx(20 / 256, abs=1.5 / 256)
    assert interest.min() >= 0 and interest[128, 128] > interest[0, 0]


def test_classes_are_named_apart():
    classes = prepare.read_classes()
    assert len({name for _, name in classes}) == len({code for code, _ in classes}) == len(classes) == 96
    assert "mushroom" in dict(classes).values()


def test_directions_are_orthonormal():
    torch.testing.assert_close(FACTORS_OF_NOISE.t() @ FACTORS_OF_NOISE, torch.eye(FACTORS), atol=1e-6, rtol=0)


def test_targets_are_smooth_in_every_factor(targets):
    """A small step of a factor changes the picture a little, half the step half as much; all stays in -1..1."""
    generator = torch.Generator().manual_seed(0)
    factors, weights = draw_factors(FACTORS, generator), draw_weights(FACTORS, torch.ones(3), generator, 0.3)
    start = targets.render(factors, weights, 64)
    assert start.min() >= -1 and start.max() <= 1 and start.std() > 0.2
    whole, half = (
        (targets.render(factors + step * torch.eye(FACTORS), weights, 64) - start).abs().mean(dim=(1, 2, 3))
        for step in (0.1, 0.05)
    )
    assert (whole > 1e-4).all() and (whole < 0.06).all()
    assert ((half > 0.4 * whole) & (half < 0.6 * whole)).all()


def test_targets_follow_class_weights(targets):
    """Only ratios count; a trace of another class changes little; the way from class to class has no jump."""
    factors = draw_factors(1, torch.Generator().manual_seed(1)).expand(21, -1)
    shares = torch.linspace(0, 1, 21)[:, None]
    path = (1 - shares) * torch.tensor([1.0, 0, 0]) + shares * torch.tensor([0, 1.0, 0])
    way = targets.render(factors, path, 64)
    torch.testing.assert_close(targets.render(factors, 0.3 * path, 64), way, atol=1e-4, rtol=0)
    steps = (way[1:] - way[:-1]).abs().mean(dim=(1, 2, 3))
    ends = (way[-1] - way[0]).abs().mean()
    assert steps[0] < 0.05 * ends and steps[-1] < 0.05 * ends and steps.max() < 0.4 * ends


def test_rendering_is_the_same_alone_and_in_a_batch(targets):
    generator = torch.Generator().manual_seed(2)
    factors, weights = draw_factors(12, generator), draw_weights(12, torch.ones(3), generator, 0.3)
    alone = torch.cat([targets.render(*pair, 32) for pair in zip(factors.split(1), weights.split(1))])
    torch.testing.assert_close(alone, targets.render(factors, weights, 32), atol=1e-5, rtol=0)


def test_drawn_weights_are_those_of_songs():
    weights = draw_weights(200, torch.tensor([1.0] * 19 + [20.0]), torch.Generator().manual_seed(3), 0.3)
    counts = (weights > 0).sum(dim=1)
    assert (counts[:60] == 1).all() and (counts[60:90] == 2).all()
    assert counts[90:].min() >= 2 and set(range(3, 12)) <= set(counts.tolist())
    assert 0.4 < (counts[90:] == 11).float().mean() < 0.75  # the weakest of twelve is 0
    assert weights.min() == 0 and weights.max() == 1 and weights.amax(dim=1).min() >= 0.75
    frequencies = (weights[:60] > 0).float().mean(dim=0)
    assert frequencies[-1] > 0.35 > 0.2 > frequencies[:-1].max()  # expected: 20/39 and 1/39


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_weights_of_few_classes(classes):
    weights = draw_weights(40, torch.ones(classes), torch.Generator().manual_seed(8), 0.3)
    assert weights.shape == (40, classes) and weights.isfinite().all() and (weights.amax(dim=1) >= 0.75).all()
    assert ((weights > 0).sum(dim=1) == classes).any()


def test_learning_rate_rises_stays_and_falls():
    rates = [learning_rate(step, step / 1000) for step in range(1000)]
    assert rates[0] == 0.01 and rates[200] == rates[399] == 1 and 0.02 <= rates[-1] < 0.021
    assert all(later <= sooner for sooner, later in zip(rates[400:], rates[401:]))


def test_a_network_learns(targets):
    """Loss falls by a third within seconds; the averaged weights come to draw each shape nearest to itself."""
    learner = training(targets, steps=80, stages=[(16, 1.0)], rate=0.01, batch=12)
    found = [float(learner.advance()[0]) for _ in range(80)]
    assert np.mean(found[-10:]) < 0.67 * np.mean(found[:10])
    factors, weights = draw_factors(30, torch.Generator().manual_seed(4)), torch.eye(3).repeat(10, 1)
    drawn = learner.average(factors, weights, 16)
    assert (targets.nearest(drawn.detach(), factors) == torch.arange(3).repeat(10)).float().mean() >= 0.8


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on_as_if_nothing_had_been(targets, tmp_path, workers):
    """The same weights, bit for bit, as those of a run without an interruption."""
    whole, begun, resumed = (training(targets, steps=12, workers=workers) for _ in range(3))
    for _ in range(12):
        whole.advance()
    for _ in range(7):
        begun.advance()
    train.save(begun, tmp_path / "checkpoint.pt")
    begun.advance()  # what came after the last checkpoint is lost
    load(resumed, tmp_path / "checkpoint.pt")
    assert resumed.step == 7
    for _ in range(5):
        resumed.advance()
    assert torch.equal(resumed.difficulty, whole.difficulty)
    for ours, theirs in ((resumed.network, whole.network), (resumed.average, whole.average)):
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name


def test_a_run_leaves_a_log_and_a_grid(targets, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "REPORT_EVERY", 10)
    run(training(targets, steps=10, batch=2, stages=[(16, 1.0)]), tmp_path)
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    report = json.loads(line)
    assert report["step"] == 10 and report["resolution"] == 16 and -1 < report["ssim"] <= 1
    with Image.open(tmp_path / "grid-10.png") as grid:
        assert grid.size == (16 * 16, 16 * -(-(3 + 24) // 8))
    run(training(targets, steps=10, batch=2), tmp_path)  # there is nothing left to do
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("shape", [(2, 6, 16, 16), (3, 33, 5, 7), (1, 1, 1, 1)])
def test_the_fused_norm_has_the_gradients_that_torch_finds(shape, layout, dtype, precision):
    """Against double precision, given the same pictures; scales of a single row serve all pictures."""
    random = torch.Generator().manual_seed(7)

    def draw(*size):
        return torch.randn(*size, generator=random)

    x, outer = (draw(*shape).to(dtype).to(memory_format=layout) for _ in range(2))
    for rows in {1, shape[0]}:
        scale, offset = draw(rows, shape[1]), draw(rows, shape[1])
        known = [values.double().requires_grad_() for values in (x, scale, offset)]
        wanted = torch.relu(known[0] * known[1][..., None, None] + known[2][..., None, None])
        given = [values.detach().clone().requires_grad_() for values in (x, scale, offset)]
        found = scale_and_relu(*given)
        assert found.dtype == dtype
        assert scale_and_relu(x * math.nan, scale, offset).isnan().all()
        pairs = zip(
            (found, *torch.autograd.grad(found, given, outer)),
            (wanted, *torch.autograd.grad(wanted, known, outer.double())),
        )
        for ours, theirs in pairs:
            assert (ours - theirs).abs().max() <= precision * theirs.abs().max().clamp(min=1)


@pytest.mark.parametrize("resolution", [128, 256])
def test_more_classes_and_larger_pictures_start_from_what_was_learned(targets, shapes, tmp_path, resolution):
    """The new network draws what the old one drew, and everything that is new in it can learn."""
    older = training(targets)
    for _ in range(3):
        older.advance()
    train.save(older, tmp_path / "checkpoint.pt")
    five = {key: value + value[:2] if key == "names" else value[[0, 1, 2, 0, 1]] for key, value in shapes.items()}
    stages = [(resolution, 1.0)]
    newer = training(Targets(five), resolution=resolution, stages=stages, batch=4, init=tmp_path / "checkpoint.pt")
    assert torch.equal(newer.network.embeddings[:3], older.average.embeddings)
    factors, weights = draw_factors(3, torch.Generator().manual_seed(5)), torch.eye(5)[:3]
    for size in (16, 128):
        drawn, known = newer.network(factors, weights, size), older.average(factors, weights[:, :3], size)
        assert known.std() > 0.02
        torch.testing.assert_close(drawn, known, atol=1e-5, rtol=0)
    before = {name: weight.clone() for name, weight in newer.network.named_parameters()}
    for _ in range(3):
        newer.advance()
    for name, weight in newer.network.named_parameters():
        changed = (weight != before[name]).flatten(1).any(dim=1) if weight.dim() > 1 else weight != before[name]
        assert changed.float().mean() > 0.9, name


def test_training_goes_on_from_exported_weights(targets, tmp_path):
    older = training(targets)
    older.advance()
    save(stock_model(older.average), targets.names, tmp_path)
    newer = training(targets, init=tmp_path, seed=1)
    factors, weights = draw_factors(3, torch.Generator().manual_seed(5)), torch.eye(3)
    drawn, known = newer.network(factors, weights, 32), older.average(factors, weights, 32)
    torch.testing.assert_close(drawn, known, atol=0.01, rtol=0)  # matrices were rounded to fp16


def test_a_checkpoint_of_other_classes_is_refused(targets, shapes, tmp_path):
    older = training(targets)
    train.save(older, tmp_path / "checkpoint.pt")
    others = Targets({**shapes, "names": list(SHAPES)[::-1]})
    with pytest.raises(SystemExit, match="its classes are others, or in another order"):
        training(others, init=tmp_path / "checkpoint.pt")
    with pytest.raises(SystemExit, match="its classes are others, or in another order"):
        load(training(others), tmp_path / "checkpoint.pt")


def test_the_last_stage_is_at_the_resolution():
    command = [sys.executable, "-m", "training.pocket.train", "runs/none", "--resolution", "256"]
    result = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert result.returncode == 2 and "--stages: the last is to be 256, the resolution" in result.stderr


@pytest.mark.parametrize("resolution", [128, 256])
def test_the_stock_class_and_the_engine_draw_what_was_trained(targets, tmp_path, resolution):
    """Through the files: strict loading, noise instead of factors, fp16 weights, the library's code and ours."""
    learner = training(targets, steps=3, resolution=resolution)
    for _ in range(3):
        learner.advance()
    train.save(learner, tmp_path / "checkpoint.pt")
    network, names = read_checkpoint(tmp_path / "checkpoint.pt")
    save(stock_model(network), names, tmp_path)
    stock = pocket.model(tmp_path)
    assert pocket.labels(tmp_path) == list(SHAPES) and stock.config.output_dim == resolution
    noise, weights = random_noise(4, np.random.default_rng(0)), torch.rand(4, 3)
    with torch.inference_mode():
        drawn, trained = stock(noise, weights, 1.0), network(noise @ FACTORS_OF_NOISE, weights, resolution)[:, :3]
    assert trained.std() > 0.05
    assert (drawn - trained).abs().max() < 0.02  # fp16
    draw = engine(tmp_path)
    assert agreement(draw, stock, np.random.default_rng(0)) >= 90
    alone = torch.eye(3)[[0, 1, 2, 0]]
    with torch.inference_mode():
        matte = network(noise @ FACTORS_OF_NOISE, alone, resolution)[:, 3]
    assert matte.std() > 0.05 and (draw(noise, alone)[:, 3] - matte).abs().max() < 0.05  # fp16


def test_training_goes_on_from_a_stock_model():
    """Pocket's weights -> the trainable network -> the stock model: the same weights, so the same pictures."""
    model = pocket.model()
    again = stock_model(trainable(model)).state_dict()
    for name, value in model.state_dict().items():
        if not name.endswith(("_u", "_v")):
            torch.testing.assert_close(again[name], value, atol=2e-3, rtol=2e-3, msg=name)
    noise, weights = random_noise(2, np.random.default_rng(3)), torch.eye(96)[[5, 40]]
    with torch.inference_mode():
        drawn = trainable(model)(noise @ FACTORS_OF_NOISE, weights, 256)[:, :3]
        known = model(noise, weights, 1.0)
    assert known.std() > 0.1 and (drawn - known).abs().max() < 0.02


def test_metrics_know_a_blur_and_a_grey(targets):
    sharp = targets.render(draw_factors(3, torch.Generator().manual_seed(6)), torch.eye(3), 64)[:, :3]
    blurred = torch.nn.functional.avg_pool2d(sharp, 9, 1, 4, count_include_pad=False)
    assert metrics.ssim(sharp, sharp).min() > 0.9999
    assert metrics.ssim(blurred, sharp).max() < 0.95
    assert (metrics.gradient_energy(blurred) < 0.5 * metrics.gradient_energy(sharp)).all()
    grey = 0.2 * sharp.mean(dim=1, keepdim=True).expand_as(sharp)
    torch.testing.assert_close(metrics.contrast(grey) < 0.5 * metrics.contrast(sharp), torch.ones(3, dtype=torch.bool))
    assert metrics.saturation(grey).max() < 1e-6 < metrics.saturation(sharp).min()


def test_pictures_side_by_side():
    pictures = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(7)) * 2 - 1
    canvas = tile(pictures, 3)
    assert canvas.shape == (16, 24, 3) and not canvas[8:, 16:].any()
    first = ((pictures[0] + 1) * 127.5).round().byte().permute(1, 2, 0)
    assert np.array_equal(canvas[:8, :8], first.numpy())
