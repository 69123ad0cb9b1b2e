"""The storyboard: one page that previews a video, and no video."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_notes import midi_file

import visualize
from conftest import GOLDEN
from musicvideo.errors import MediaError
from musicvideo.notes import read_notes
from musicvideo.vision import conduct, generators
from musicvideo.vision import storyboard as board
from musicvideo.vision.features import SAMPLE_RATE
from musicvideo.vision.job import Score
from musicvideo.vision.render import draw
from stub import Stub, drifting


def page(tmp_path, duration=8.0, **options):
    """A storyboard of a drifting path, as an array (1000, 1600, 3)."""
    time = np.arange(int(duration * SAMPLE_RATE)) / SAMPLE_RATE
    arguments = {
        "samples": np.sin(2 * np.pi * 440 * time).astype(np.float32),
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


def test_the_stream_shows_which_class_is_seen_when(tmp_path):
    weights = np.zeros((401, 2))
    weights[:200, 0] = weights[200:, 1] = 0.7
    picture = page(tmp_path, trajectory=replace(drifting(8.0), weights=weights, classes=(3, 5))).astype(int)
    slot, quarter = (board.RIGHT - board.LEFT) // board.FRAMES, (board.RIGHT - board.LEFT) // 4
    row = 230 + slot + 185
    for column, at in enumerate((board.LEFT + quarter, board.RIGHT - quarter)):
        np.testing.assert_allclose(picture[row, at], 255 * board.colours(2)[column], atol=3)


def test_the_roll_shows_the_notes_of_each_part(tmp_path):
    parts = ("Low", 0, 0, [(0, 7680, 40, 127)]), ("High", 1, 12, [(7680, 7680, 80, 127)])
    notes = read_notes(midi_file(tmp_path / "a.mid", parts)).within(16.0)
    table = conduct.Conduct()
    score = Score(notes, table, conduct.cast(table, notes, [0, 1], Stub.labels))
    picture = page(tmp_path, 16.0, score=score).astype(int)
    slot, quarter = (board.RIGHT - board.LEFT) // board.FRAMES, (board.RIGHT - board.LEFT) // 4
    for part, pitch, at in ((0, 40, board.LEFT + quarter), (1, 80, board.RIGHT - quarter)):
        row = round(230 + slot + 190 * (82 - pitch) / 44)
        np.testing.assert_allclose(
            np.median(picture[row, at - 10 : at + 10], axis=0), 255 * board.colours(2)[part], atol=12
        )


@pytest.mark.parametrize("duration", [0.5, 8.0, 700.0])
@pytest.mark.parametrize("title", ["$10 & _x_ {y} \\frac", "x" * 300])
def test_any_title_and_length(tmp_path, duration, title):
    samples = np.zeros(int(duration * 100), np.float32)
    assert page(tmp_path, duration, title=title, samples=samples).std() > 5


def test_times_read_as_people_say_them():
    assert [board.approximately(seconds) for seconds in (4.4, 80, 200, 7300)] == ["4 s", "80 s", "3 min", "2.0 h"]
    assert [board.player_time(seconds) for seconds in (5.0, 65.0, 3600.0)] == ["0:05", "1:05", "60:00"]
    assert board.player_time(65.5, 0.5) == "1:05.5"
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
