"""Panning scores: the curve, the effects, and messages about faulty scores."""

import json
import re

import numpy as np
import pytest

from conftest import ROOT
from musicvideo import limits
from musicvideo.clock import Clock
from musicvideo.documents import load_schema
from musicvideo.errors import MediaError
from musicvideo.panning import CONTROL_RATE, SMOOTHING, orbit, read_motion, read_panning

# One second a quarter: 1/4 (a pickup), two measures of 4/4, then 6/8. Measures begin at 0, 1, 5, 9 s; the end is 15 s.
CLOCK = Clock(480, [(0, 1_000_000)], [(0, 1, 4), (480, 4, 4), (480 * 9, 6, 8)], end=480 * 15)
PUBLISHED = {
    "vibes": [
        {"effect": "none", "m1": 1, "b1": 1, "m2": 2, "b2": 1},
        {"effect": "straight", "m1": 2, "b1": 1, "m2": 2, "b2": 3, "ear_i": 0.3},
        {"effect": "half_cosine", "m1": 2, "b1": 3, "m2": 3, "b2": 1, "ear_i": 0.3, "ear_f": -0.8},
        {"effect": "sawtooth", "m1": 3, "b1": 1, "m2": 4, "b2": 6, "ear_i": -0.2, "ear_f": -0.25, "cycles": "per_beat"},
        {"effect": "none", "m1": 4, "b1": 6, "m2": "end"},
    ]
}


@pytest.fixture
def score(tmp_path):
    def write(sets):
        path = tmp_path / "p.json"
        content = sets if isinstance(sets, (str, bytes)) else json.dumps(sets)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def ears(motion, *seconds, rate=48000):
    """Ear position at some seconds."""
    return [float(motion.sample(round(s * rate), 1, rate).ear[0]) for s in seconds]


def one_move(score, **move):
    """The motion of a single move from 0 to 4 s, and a little of nothing after it."""
    return read_motion(score({"a": [{"t1": 0, "t2": 4, **move}]}), "a", None, 10)


def test_the_published_format_plays_unchanged(score):
    motion = read_motion(score(PUBLISHED), "vibes", CLOCK, 20)
    np.testing.assert_allclose(
        ears(motion, 0.5, 2, 2.9, 4, 4.5, 5.5, 6.5, 11.25, 14, 19),
        [0, 0.3, 0.3, 0.3 - 1.1 / 2, 0.3 - 1.1 * (1 - np.cos(0.75 * np.pi)) / 2, -0.225, -0.225, -0.2125, 0, 0],
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "move, expected",
    [
        ({"effect": "none"}, [0, 0, 0]),
        ({"effect": "straight", "ear_i": -0.5}, [-0.5, -0.5, -0.5]),
        ({"effect": "straight", "ear_i": -0.5, "ear_f": 0.5}, [-0.25, 0, 0.25]),
        ({"effect": "half_cosine", "ear_i": 0, "ear_f": 1}, [(1 - np.sqrt(0.5)) / 2, 0.5, (1 + np.sqrt(0.5)) / 2]),
        ({"effect": "quarter_sine", "ear_i": 0, "ear_f": 0.8}, 0.8 * np.sin(np.pi / 2 * np.array([0.25, 0.5, 0.75]))),
        ({"effect": "whole_cosine", "ear_i": 0.2, "ear_mid": -0.6}, [-0.2, -0.6, -0.2]),
        (
            {"effect": "half_sine", "ear_i": 0.2, "ear_mid": -0.6},
            0.2 - 0.8 * np.sin(np.pi * np.array([0.25, 0.5, 0.75])),
        ),
        ({"effect": "sawtooth", "ear_i": -1, "ear_f": 1, "cycles": 1}, [-0.5, 0, 0.5]),
        ({"effect": "sawtooth", "ear_i": 0, "ear_f": 0.8, "cycles": 1.25}, [0.25, 0.5, 0.75]),
        ({"effect": "orbit", "turns": 1}, [1, 0, -1]),
        ({"effect": "orbit", "azimuth_i": 0, "azimuth_f": -360}, [-1, 0, 1]),
        ({"effect": "orbit", "azimuth_i": 90, "turns": 0.5}, [np.sqrt(0.5), 0, -np.sqrt(0.5)]),
    ],
)
def test_effects(score, move, expected):
    np.testing.assert_allclose(ears(one_move(score, **move), 1, 2, 3), expected, atol=2e-4)


def test_an_orbit_passes_behind_the_head(score):
    azimuth = one_move(score, effect="orbit", turns=2).sample(0, 4000, 1000).azimuth
    assert azimuth[1000] == pytest.approx(180, abs=0.01) and azimuth[3900] == pytest.approx(702, abs=0.01)
    np.testing.assert_allclose(
        orbit(-8).sample(0, 8000, 1000).azimuth[100:], -45 * np.arange(8000)[100:] / 1000, atol=1e-6
    )


def test_a_ramp_a_quarter_follows_tempo_changes(score):
    clock = Clock(480, [(0, 1_000_000), (480, 500_000)], end=480 * 4)  # quarters at 0, 1, 1.5, 2 s
    move = {"effect": "sawtooth", "m1": 1, "m2": 2, "ear_i": 0, "ear_f": 0.8, "cycles": "per_beat"}
    motion = read_motion(score({"a": [move]}), "a", clock, 3)
    np.testing.assert_allclose(ears(motion, 0.5, 0.75, 1.25, 1.75, 2.375), [0.4, 0.6, 0.4, 0.4, 0.6], atol=1e-3)


def test_a_ramp_over_a_tempo_change_is_even(score):
    """Half a quarter at 60 and half at 120 a minute: 0.75 s, the middle of the ramp after 0.375 s."""
    clock = Clock(480, [(0, 1_000_000), (720, 500_000)], end=480 * 4)  # quarters at 0, 1, 1.75, 2.25 s
    move = {"effect": "sawtooth", "m1": 1, "m2": 2, "ear_i": 0, "ear_f": 0.8, "cycles": "per_beat"}
    motion = read_motion(score({"a": [move]}), "a", clock, 3)
    np.testing.assert_allclose(ears(motion, 0.5, 1.375, 1.5625, 2, 2.5), [0.4, 0.4, 0.6, 0.4, 0.4], atol=1e-3)


def test_a_jump_takes_ten_milliseconds_and_no_less(score):
    motion = read_motion(
        score(
            {
                "a": [
                    {"effect": "straight", "t1": 0, "t2": 1, "ear_i": -1},
                    {"effect": "straight", "t1": 1, "t2": 2, "ear_i": 1},
                ]
            }
        ),
        "a",
        None,
        2,
    )
    position = motion.sample(0, 2 * 48000, 48000)
    moving = np.flatnonzero(np.abs(np.diff(position.azimuth)) > 1e-9) / 48000
    assert moving[0] < 0.1  # the way out from the middle, at 0 s
    moving = moving[(moving > 0.5) & (moving < 1.5)]
    assert SMOOTHING - 1e-3 < moving[-1] - moving[0] < SMOOTHING + 1e-3
    assert abs(moving.mean() - 1) < 1 / CONTROL_RATE
    assert np.abs(np.diff(position.azimuth)).max() < 1.1 * 180 * 2 / (SMOOTHING * 48000)


def test_from_an_orbit_to_the_front_is_the_short_way(score):
    motion = read_motion(
        score(
            {
                "a": [
                    {"effect": "orbit", "t1": 0, "t2": 4, "turns": 2, "azimuth_i": -10},
                    {"effect": "none", "t1": 4, "t2": "end"},
                ]
            }
        ),
        "a",
        None,
        6,
    )
    azimuth = motion.sample(round(3.9 * 48000), 48000, 48000).azimuth
    assert azimuth.min() > 690 and azimuth[-1] == pytest.approx(720)


def test_elevation_and_distance_move_too(score):
    position = one_move(score, effect="orbit", turns=1, elevation=[0, 40], distance=2).sample(0, 4000, 1000)
    assert position.elevation[2000] == pytest.approx(20, abs=1e-6)
    assert position.distance[2000] == pytest.approx(2)
    assert position.ear[1000] == pytest.approx(np.cos(np.radians(10)), abs=1e-6)


@pytest.mark.parametrize("rate", [8000, 44100, 48000, 96000])
def test_the_curve_is_the_same_however_it_is_cut(score, rate):
    motion = read_motion(score(PUBLISHED), "vibes", CLOCK, 16)
    whole = motion.sample(0, 16 * rate, rate).azimuth
    pieces = [motion.sample(first, min(7777, 16 * rate - first), rate).azimuth for first in range(0, 16 * rate, 7777)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-9)


def test_moves_do_not_drift(score):
    """The published player shortens every move by a millisecond; the thousandth move of this one begins on time."""
    clock = Clock(480, [(0, 400_000)], end=480 * 1000)
    moves = [
        {
            "effect": "straight",
            "m1": 1 + n // 4,
            "b1": 1 + n % 4,
            "m2": 1 + n // 4,
            "b2": 2 + n % 4,
            "ear_i": 0.5 * (n % 2),
        }
        for n in range(1000)
    ]
    motion = read_motion(score({"a": moves}), "a", clock, 400)
    azimuth = motion.sample(round(399.6 * 48000) - 480, 960, 48000).azimuth
    assert abs(np.argmax(azimuth > 15) - 480) <= 48000 / CONTROL_RATE


def test_a_move_to_the_end_lasts_as_long_as_the_sound(score):
    sets = {"a": [{"effect": "straight", "m1": 1, "m2": "end", "ear_i": -1, "ear_f": 1}]}
    for duration in (10, 30):
        assert ears(read_motion(score(sets), "a", CLOCK, duration), duration / 2)[0] == pytest.approx(0, abs=1e-4)


MOVE = {"effect": "straight", "m1": 1, "b1": 1, "m2": 2, "b2": 1, "ear_i": 0}
NEXT = {"effect": "none", "m1": 2, "m2": "end"}


@pytest.mark.parametrize(
    "sets, words",
    [
        ([{**MOVE, "b2": 2}, NEXT], ['set "a", move 2 (measure 2 beat 1)', "measure 2 beat 2", "an overlap"]),
        ([MOVE, {**NEXT, "b1": 1.5}], ['set "a", move 2 (measure 2 beat 1.5)', "measure 2 beat 1 ", "a gap"]),
        ([{**MOVE, "effect": "half_cosin"}], ["move 1 (measure 1 beat 1), effect", "'half_cosine'"]),
        ([{**MOVE, "effect": "half_sine"}], ["move 1 (measure 1 beat 1)", "'ear_mid' is missing"]),
        ([{**MOVE, "ear_i": 1.2}], ["move 1 (measure 1 beat 1), ear_i", "1.2", "-n"]),
        ([{**MOVE, "eer_f": 0.2}], ["unknown key 'eer_f'", "'ear_f'"]),
        ([{**MOVE, "b2": 7}], ["move 1 (measure 1 beat 1)", "beat 7 is outside measure 2", "4 beats"]),
        ([MOVE, {**NEXT, "m2": 99}], ["move 2 (measure 2 beat 1)", "no measure 99", "has 5"]),
        ([{**MOVE, "m2": 1}], ["not after its begin"]),
        ([{"effect": "none"}], ["move 1", "m1"]),
        ([{**MOVE, "t1": 0, "t2": 3}], ["move 1"]),
        ([{"effect": "orbit", "m1": 1, "m2": 2}], ["move 1 (measure 1 beat 1)", "turns"]),
        ([], ['set "a"']),
        (7, ['set "a"']),
        ([7], ['set "a", move 1']),
        ([{"effect": "circle", "t1": 0, "t2": 1}], ["move 1 (0 s), effect: unknown value 'circle'", "orbit"]),
        ([{"effect": "orbit", "t1": 0, "t2": 1, "turns": 1e308}], ["turns", "not within -10000..10000"]),
        ([{"effect": "orbit", "t1": 0, "t2": 1, "azimuth_f": -1e9}], ["azimuth_f", "not within", "degrees"]),
        ([{"effect": "none", "t1": 0, "t2": 1e9}], ["t2", "not within 0..86400"]),
        (
            [{"effect": "sawtooth", "t1": 0, "t2": 1, "ear_i": 0, "ear_f": 1, "cycles": 1e9}],
            ["cycles", "at most 100000"],
        ),
        (
            [{"effect": "sawtooth", "t1": 0, "t2": 1, "ear_i": 0, "ear_f": 1, "cycles": "per_bar"}],
            ["cycles", "per_beat"],
        ),
        ([{**MOVE, "b2": 10**400}], ["b2", "100000", "not within"]),
        ([{**MOVE, "m1": 10**400}], ["m1", "100000", "not within"]),
        ([MOVE] * 5001, ['set "a" has 5001 moves']),
    ],
)
def test_faults_name_set_move_measure_and_beat(score, sets, words):
    with pytest.raises(MediaError) as caught:
        read_motion(score({"a": sets}), "a", CLOCK, 20)
    assert str(caught.value).startswith(str(score({"a": sets})))
    for word in words:
        assert word in str(caught.value)
    assert len(str(caught.value).removeprefix(str(score({"a": sets})))) < 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "3",
        '{"a": [{"effect": "straight", "ear_i": NaN}]}',
        '{"a": [{"effect": "orbit", "turns": 1e400}]}',
        "[" * 100_000,
        '{"a": ' * 50_000,
        '{"a": [{"turns": %s}]}' % ("9" * 5000),
        b'{"\xe9": []}',
        " " * (1 << 21),
    ],
)
def test_what_is_no_panning_score(score, text):
    with pytest.raises(MediaError, match="p.json"):
        read_panning(score(text))


def test_unknown_set_and_missing_clock(score):
    with pytest.raises(MediaError, match="no set \"vibs\", did you mean 'vibes'"):
        read_motion(score(PUBLISHED), "vibs", CLOCK, 20)
    with pytest.raises(MediaError, match="give the MIDI clock with -m"):
        read_motion(score(PUBLISHED), "vibes", None, 20)


def test_ears_outside_are_scaled_on_request(score):
    sets = {
        "a": [
            {"effect": "straight", "t1": 0, "t2": 1, "ear_i": -2},
            {"effect": "straight", "t1": 1, "t2": 2, "ear_i": 1},
        ],
        "b": [{"effect": "straight", "t1": 0, "t2": 2, "ear_i": 0.5}],
    }
    motion = read_motion(score(sets), "a", None, 2, scale=True)
    np.testing.assert_allclose(ears(motion, 0.5, 1.5), [-1, 0.5], atol=1e-6)
    assert ears(read_motion(score(sets), "b", None, 2, scale=True), 1)[0] == pytest.approx(0.5)


def test_a_fault_in_another_set_does_not_matter(score):
    sets = {"a": [{"effect": "none", "t1": 0, "t2": 1}], "b": [{"effect": "circle"}], "c": 7}
    assert ears(read_motion(score(sets), "a", None, 2), 0.5) == [0]
    with pytest.raises(MediaError, match='set "b", move 1, effect'):
        read_motion(score(sets), "b", None, 2)


def test_ramps_need_no_memory_of_their_own(score):
    """Quarters of a microsecond: 60 million ramps a minute, held as a begin and an end."""
    clock = Clock(480, [(0, 1)], end=480 * 4 * 100)
    move = {"effect": "sawtooth", "m1": 1, "m2": 100, "ear_i": 0, "ear_f": 0.8, "cycles": "per_beat"}
    motion = read_motion(score({"a": [move]}), "a", clock, 1)
    assert len(motion.moves[1].ramps) == 2


def test_limits_of_the_schema_are_those_stated():
    move = load_schema("panning.schema.json")["$defs"]["move"]["properties"]
    assert move["t1"]["maximum"] == move["t2"]["else"]["maximum"] == limits.LONGEST
    assert load_schema("panning.schema.json")["$defs"]["measure"]["maximum"] == limits.MEASURES


def test_the_examples_of_the_manual(score):
    """Every effect has one, with a picture, and each is a panning score."""
    text = (ROOT / "docs" / "panning.md").read_text(encoding="utf-8")
    examples = [json.loads(example) for example in re.findall("```json\n(.*?)```", text, re.DOTALL)]
    for sets in examples:
        for name in sets:
            assert read_motion(score(sets), name, None, 10).moves
    effects = load_schema("panning.schema.json")["$defs"]["move"]["properties"]["effect"]["enum"]
    assert {name for sets in examples for name in sets} == {"song", *effects}
    assert all((ROOT / "docs" / "panning" / f"{effect}.png").stat().st_size < 30_000 for effect in effects)
