"""The storyboard: one page that previews a video, and no video."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

import visualize
from conftest import GOLDEN
from musicvideo.errors import MediaError
from musicvideo.vision import generators
from musicvideo.vision import storyboard as board
from musicvideo.vision.features import SAMPLE_RATE, Features
from musicvideo.vision.render import draw
from stub import Stub, drifting


def page(tmp_path, duration=8.0, **options):
    """A storyboard of a drifting path, as an array (1000, 1600, 3)."""
    points = int(duration * 50) + 1
    chroma = np.zeros((12, points))
    chroma[9, : points // 2] = 1  # A, then E
    chroma[4, points // 2 :] = 0.8
    features = Features(np.zeros(points), np.zeros(points), chroma, 441, duration)
    time = np.arange(int(duration * SAMPLE_RATE)) / SAMPLE_RATE
    arguments = {
        "samples": np.sin(2 * np.pi * 440 * time).astype(np.float32),
        "features": features,
        "trajectory": drifting(duration),
        "generator": Stub(32),
        "title": "song",
        "facts": "",
        "drawing": {128: 60.0},
        "finishing": {(1920, 1080): 90.0},
    }
    path = tmp_path / "page.png"
    board.storyboard(path, **{**arguments, **options})
    return np.asarray(Image.open(path).convert("RGB"))


def test_page_holds_the_frames_of_the_video_at_even_times(tmp_path):
    picture = page(tmp_path)
    assert picture.shape == (1000, 1600, 3)
    slot = (board.RIGHT - board.LEFT) / board.FRAMES
    wanted = draw(Stub(32), drifting(8.0), (np.arange(board.FRAMES) + 0.5) * 8 / board.FRAMES)[:, 16, 16]
    seen = [picture[180, int(board.LEFT + (n + 0.5) * slot)] for n in range(board.FRAMES)]
    np.testing.assert_allclose(np.array(seen, int), wanted, atol=2)


def test_each_pitch_has_its_colour_where_it_sounds(tmp_path):
    picture = page(tmp_path).astype(int)
    slot = (board.RIGHT - board.LEFT) // board.FRAMES
    quarter = (board.RIGHT - board.LEFT) // 4
    for pitch, sounds_at, silent_at in (
        (9, board.LEFT + quarter, board.RIGHT - quarter),
        (4, board.RIGHT - quarter, board.LEFT + quarter),
    ):
        row = round(270 + slot + 330 * (11.5 - pitch) / 12)
        colour = 255 * board.PITCH_COLOURS[pitch]
        assert np.dot(picture[row, sounds_at], colour) > 0.6 * np.dot(colour, colour)
        assert picture[row, silent_at].max() < 30


@pytest.mark.parametrize("duration", [0.5, 8.0, 700.0])
@pytest.mark.parametrize("title", ["$10 & _x_ {y} \\frac", "x" * 300])
def test_any_title_and_length(tmp_path, duration, title):
    samples = np.zeros(int(duration * 100), np.float32)
    assert page(tmp_path, duration, title=title, samples=samples).std() > 5


def test_times_read_as_people_say_them():
    assert [board.approximately(seconds) for seconds in (4.4, 80, 200, 7300)] == ["4 s", "80 s", "3 min", "2.0 h"]
    assert [board.player_time(seconds) for seconds in (5.0, 65.0, 0.5)] == ["0:05", "1:05", "0.5 s"]
    assert board.shortened("sulphur-crested cockatoo") == "sulphur-crested coc…"


def test_an_estimate_is_the_median_of_many_frames(monkeypatch):
    """One slow call does not change it; a clock of our own tells the time."""
    now = 0.0

    class Slow(Stub):
        calls = 0

        def frames(self, noise, classes):
            nonlocal now
            now += 100.0 if self.calls == 2 else 0.05 * len(noise)
            self.calls += 1
            return super().frames(noise, classes)

    monkeypatch.setattr(board.time, "perf_counter", lambda: now)
    generator = Slow(32)
    assert board.seconds_a_frame(generator, drifting(8.0)) == pytest.approx(0.05)
    assert 1 + board.CALLS[0] <= generator.calls <= 1 + board.CALLS[1]


@pytest.fixture
def preview(tmp_path, monkeypatch, capsys):
    """A function that asks visualize.py for a storyboard and returns what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(generators, "labels", lambda name: Stub.labels)
    monkeypatch.setattr(generators, "load", lambda name, resolution, **options: Stub(resolution))
    monkeypatch.setattr(board, "FILM_SIZE", (128, 72))
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "visualize.py",
            "--song",
            str(GOLDEN / "arpeggio.flac"),
            "--generator",
            "cppn",
            "--duration",
            "1",
            "--storyboard",
            "page.png",
        ],
    )

    def run() -> str:
        visualize.main()
        assert [path.name for path in tmp_path.iterdir()] == ["page.png"]
        return capsys.readouterr().out

    return run


def test_the_command_draws_a_page_and_no_video(preview):
    printed = preview()
    assert all(f" at {resolution}" in printed for resolution in (128, 256, 512))
    assert "; the film about " in printed and " at 128x72" in printed


def test_a_film_that_cannot_be_measured_is_not_estimated(preview, monkeypatch):
    def fails(*arguments, **options):
        raise MediaError("no such filter")

    monkeypatch.setattr(board.film, "finish", fails)
    assert "film" not in preview()
