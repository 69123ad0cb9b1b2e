"""Hostile files and arguments, given to the real commands.

Each kind has written-down attacks, which always run, and `TRUST_CASES` generated ones.
`sandbox.Sandbox.attack` checks each case: exit code 0, 1 or 2; one line for a failure, and no traceback;
nothing written but the outputs, and nothing at all by a failure; no network; no shell; no hang; bounded memory.
"""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pytorch_pretrained_biggan import BigGAN, BigGANConfig

from musicvideo.vision.generators import weights

from . import hostile
from .conftest import CAMPAIGN, CASES
from .sandbox import TALLIES, Attack, Sandbox, Tally

WRITTEN_DOWN = 6  # of these, so many are run where no campaign is asked for


def campaign(
    kind: str, sandbox: Sandbox, known: list[Attack], generated: st.SearchStrategy[Attack], share: float = 1.0
) -> None:
    """Run the attacks of one kind, and fail if anything did not hold, or if the kind shows nothing."""
    tally = TALLIES.setdefault(kind, Tally())

    def attempt(attack: Attack) -> None:
        tally.add(attack, sandbox.attack(attack), sandbox)

    for attack in known if CAMPAIGN else spread(known, WRITTEN_DOWN):
        attempt(attack)

    # No shrinking: a fault is recorded, and the campaign goes on.
    @settings(
        max_examples=max(1, round(CASES * share)),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(generated)
    def run(attack: Attack) -> None:
        attempt(attack)

    run()
    if tally.faults:
        pytest.fail(f"{kind}: {tally.line()}\n{tally.report()}", pytrace=False)
    assert tally.ends["accepted"] and tally.ends["refused"], f"{kind} shows nothing: {tally.line()}"


def spread(attacks: list[Attack], count: int) -> list[Attack]:
    """So many of them, the first (which is valid) among them."""
    return attacks[:: -(-len(attacks) // count)]


def test_panning_scores(sandbox):
    campaign("panning", sandbox, hostile.known_pannings(), hostile.panning_attacks())


def test_mix_tables(sandbox):
    campaign("mix", sandbox, hostile.known_mixes(), hostile.mix_attacks())


def test_midi(sandbox):
    campaign("midi", sandbox, hostile.known_midis(), hostile.midi_attacks())


def test_sounds(sandbox):
    campaign("sounds", sandbox, hostile.known_sounds(), hostile.sound_attacks())


def test_scores(sandbox):
    campaign("scores", sandbox, hostile.known_scores(), hostile.score_attacks())


@pytest.mark.skipif(not shutil.which("mscore3") and not shutil.which("musescore"), reason="no MuseScore here")
def test_scores_played(sandbox):
    known = hostile.played_scores()
    campaign(
        "scores played",
        sandbox,
        known if CAMPAIGN else known[:2],
        hostile.played_attacks(),
        share=0.05 if CAMPAIGN else 0.25,
    )


def test_notes(sandbox):
    campaign("notes", sandbox, hostile.known_notes(), hostile.note_attacks())


def test_conduct_tables(sandbox):
    campaign("conduct", sandbox, hostile.known_conducts(), hostile.conduct_attacks())


def test_films_compared(sandbox):
    campaign("sync", sandbox, hostile.known_syncs(), hostile.sync_attacks())


def test_vectors(sandbox):
    campaign("vectors", sandbox, hostile.known_vectors(), hostile.vector_attacks())


@pytest.fixture(scope="module")
def film(sandbox) -> tuple[bytes, dict]:
    """A video of this project, and the settings in it."""
    made = sandbox.attack(hostile.listened(hostile.wav(), "draw"))
    assert made.code == 0, made.stderr
    settings_of = json.loads((sandbox.work / "out.mp4.json").read_text())
    return (sandbox.work / "out.mp4").read_bytes(), settings_of


def test_settings_in_videos(sandbox, film):
    video, valid = film
    valid = {**valid, "song": "in.wav"}
    campaign("like", sandbox, hostile.known_likes(valid, video), hostile.like_attacks(valid, video))


@pytest.fixture
def narrow_biggan(monkeypatch) -> dict[str, torch.Tensor]:
    """Weights of a BigGAN with an eighth of the channels, which the code takes for the published one."""

    def configuration(resolution: int) -> BigGANConfig:
        if resolution not in weights.RESOLUTIONS:
            raise ValueError(f"resolution: BigGAN has {', '.join(map(str, weights.RESOLUTIONS))}, not {resolution}")
        return BigGANConfig(output_dim=resolution, layers=weights.LAYERS[resolution], channel_width=16, n_stats=2)

    monkeypatch.setattr(weights, "configuration", configuration)
    torch.manual_seed(0)
    return {name: value.detach() for name, value in BigGAN(configuration(128)).state_dict().items()}


def test_weights(sandbox, narrow_biggan):
    campaign("weights", sandbox, hostile.known_weights(narrow_biggan), hostile.weight_attacks(narrow_biggan))


def test_names_of_files(sandbox):
    campaign("names", sandbox, hostile.known_names(), hostile.name_attacks())


def test_numbers(sandbox):
    campaign("numbers", sandbox, hostile.known_numbers(), hostile.number_attacks())
