"""Scores through real MuseScore: parts, full mix, clock; and what happens when that cannot be."""

import os

import mido
import numpy as np
import pytest
import soundfile
import tiny_score

from musicvideo import probe
from musicvideo.errors import MediaError
from musicvideo.sound import score
from musicvideo.sound.clock import read_clock


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    score.export(tiny_score.write(folder / "Tiny.mscz"), folder / "media")
    return folder / "media"


def test_every_part_the_mix_and_the_clock(exported):
    assert sorted(path.name for path in (exported / "parts" / "Tiny").iterdir()) == [
        "Bells.wav", "Marimba.wav", "Vibes.wav"]
    for path in [exported / "Tiny.wav", *(exported / "parts" / "Tiny").iterdir()]:
        assert probe.probe(path).sample_rate == 48000
        assert probe.probe(path).duration >= tiny_score.SECONDS
    clock = mido.MidiFile(exported / "Tiny.mid")
    assert clock.length == pytest.approx(tiny_score.SECONDS, abs=0.05)
    assert not list(exported.glob(".*"))


def test_parts_keep_their_balance(exported):
    """Their sum is the full mix: same clock, no normalisation of each to full scale."""
    mix, _ = soundfile.read(exported / "Tiny.wav")
    total = np.zeros_like(mix)
    for path in (exported / "parts" / "Tiny").iterdir():
        part, _ = soundfile.read(path)
        length = min(len(part), len(total))
        total[:length] += part[:length]
    assert np.abs(mix).max() < 0.95
    error = np.sqrt(np.mean((total - mix) ** 2)) / np.sqrt(np.mean(mix ** 2))
    assert 20 * np.log10(error) < -30


def test_parts_exported_by_hand_are_taken_as_they_are(tmp_path):
    path = tiny_score.write(tmp_path / "Tiny.mscz")
    os.utime(path, (1e9, 1e9))
    by_hand = tmp_path / "media" / "parts" / "Tiny" / "Vibes.wav"
    by_hand.parent.mkdir(parents=True)
    soundfile.write(by_hand, np.full(4800, 0.25), 48000)
    score.export(path, tmp_path / "media")
    assert soundfile.info(by_hand).frames == 4800
    assert soundfile.info(by_hand.with_name("Bells.wav")).frames > 48000
    os.utime(by_hand, (1e8, 1e8))                    # older than the score: exported before its last change
    score.export(path, tmp_path / "media")
    assert soundfile.info(by_hand).frames > 48000


def test_what_is_no_score_says_so(tmp_path):
    for name, content in [("noise.mscz", os.urandom(1000)), ("cut.mscz", tiny_score.write(tmp_path / "a.mscz").read_bytes()[:900])]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MediaError, match=f"{name}: MuseScore cannot open it"):
            score.export(tmp_path / name, tmp_path / "media")
    (tmp_path / "empty.mscz").touch()
    with pytest.raises(MediaError, match="empty.mscz: is empty"):
        score.export(tmp_path / "empty.mscz", tmp_path / "media")
    with pytest.raises(MediaError, match="has no parts; in MuseScore make them"):
        score.export(tiny_score.write(tmp_path / "whole.mscz", excerpts=False), tmp_path / "media")
    assert not (tmp_path / "media").exists()


def test_without_musescore_it_says_what_to_do_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSESCORE", "no-such-musescore")
    with pytest.raises(MediaError, match=r"MUSESCORE=no-such-musescore.*by hand to .*Tiny\.wav"):
        score.export(tiny_score.write(tmp_path / "Tiny.mscz"), tmp_path / "media")


def test_chapters_are_the_rehearsal_marks(exported, tmp_path):
    clock = read_clock(exported / "Tiny.mid")
    found = score.chapters(tiny_score.write(tmp_path / "Tiny.mscz"), clock)
    assert found == [(0.0, "A: Calm"), (pytest.approx(2.0), "B")]
    with pytest.raises(MediaError, match="is not a MuseScore score"):
        score.chapters(exported / "Tiny.mid", clock)
