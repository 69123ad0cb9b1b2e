"""The notes conduct the picture: what each note raises and moves, and when."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_notes import midi_file

from musicvideo import clock
from musicvideo.errors import MediaError
from musicvideo.notes import read_notes
from musicvideo.vision import generators
from musicvideo.vision.conduct import Conduct, cast, read_conduct, require_handles
from musicvideo.vision.conducting import GLIDE, GRID_RATE, LEADING, conducted
from musicvideo.vision.generators import Handle
from musicvideo.vision.latents import Trajectory

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"
FPS = 30
LABELS = ("ash", "bone", "coal", "dust", "ember", "fog", "glass", "husk")
HANDLES = {name: Handle(np.eye(8)[number], 3.0) for number, name in enumerate(["zoom", "turn", "lamp", "tint", "sway"])}
QUARTER = 480  # ticks: half a second at 120 a minute
# Two parts in turns, a rest of two seconds, and repeated notes.
VIBES = ("Vibes", 0, 11, [(0, 480, 60, 100), (960, 480, 72, 80), (5760, 480, 60, 110), (6720, 960, 72, 64)])
MARIMBA = ("Marimba", 1, 12, [(480 + 120 * step, 60, 48 + step % 2, 70 + step) for step in range(4)])


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    path = midi_file(tmp_path_factory.mktemp("conducting") / "a.mid", [VIBES, MARIMBA], tempo=[(0, 500_000)])
    return read_notes(path).within(9.0)


def path_of(notes, table=Conduct(), classes=range(6), seed=1, offset=0.0, **settings):
    roles = cast(table, notes, list(classes), LABELS, offset=offset)
    rng = np.random.default_rng(seed)
    return roles, conducted(notes, roles, HANDLES, noise_dim=8, rng=rng, **settings)


def table(tmp_path, text):
    file = tmp_path / "a.conduct.toml"
    file.write_text(text)
    return read_conduct(file)


def class_of(roles, notes, number):
    role = roles.roles[notes.part[number]]
    return role.class_of(int(notes.pitch[number]), roles.in_play(role, roles.scene_at(notes.onset[number])))


def seen(path, times):
    """Noise and weights of the frames that show times in seconds, and of the frames before them."""
    frames = np.floor(np.asarray(times) * FPS)
    return path.at((frames - 1) / FPS), path.at(frames / FPS)


def require_every_note_is_seen(notes, roles, path):
    columns = [path.classes.index(class_of(roles, notes, number)) for number in range(len(notes.onset))]
    for onset, column in zip(notes.onset, columns):
        if onset < 1 / FPS:  # no frame is before it
            first = path.at(np.array([0.0]))[1][0]
            assert column == max(columns, key=lambda other: first[other])
            continue
        before, after = path.at(np.array([onset - 0.05, onset + 0.02]))[1][:, column]
        assert after > before
        _, (_, shown) = seen(path, [onset])
        assert shown[0, column] > before  # in the frame in which it is heard
        around = np.arange(onset - 0.05, onset + 0.5, 0.01)
        later = notes.onset[(notes.onset > onset + 0.02)]
        around = around[around < min([*(later - 0.04), np.inf])]
        height = path.at(around)[1][:, column]
        assert around[height.argmax()] - onset < 0.08


def test_every_note_raises_its_class_in_its_frame(notes):
    roles, path = path_of(notes)
    require_every_note_is_seen(notes, roles, path)


def test_so_it_does_where_the_tempo_changes_and_the_notes_begin_late(tmp_path):
    file = midi_file(tmp_path / "b.mid", [VIBES, MARIMBA], tempo=[(0, 400_000), (960, 731_000), (5800, 333_000)])
    shifted = read_notes(file).within(12.0, 0.37)
    roles, path = path_of(shifted)
    require_every_note_is_seen(shifted, roles, path)


def test_every_note_moves_a_handle_of_its_part(notes):
    _, path = path_of(notes)
    for onset, part in zip(notes.onset[1:], notes.part[1:]):
        (before, _), _ = seen(path, [onset])
        _, (after, _) = seen(path, [onset + 1 / FPS])
        moved = np.abs(after - before)[0, : len(HANDLES)]
        assert moved.argmax() == part  # the first handle is the first part's


def test_parts_own_their_classes_by_register(notes):
    roles, path = path_of(notes)
    assert [role.classes for role in roles.roles] == [(0, 1, 2), (3, 4, 5)]
    assert path.classes == (0, 1, 2, 3, 4, 5)
    low, high = class_of(roles, notes, 0), class_of(roles, notes, len(notes.onset) - 1)
    assert low != high and {low, high} <= {0, 1, 2}


def test_rests_hold_still(notes):
    _, path = path_of(notes)
    rest = np.arange(4.0, 5.9, 1 / FPS)  # the last note before it ends at 3 s
    noise, weights = path.at(rest)
    assert np.ptp(noise, axis=0).max() < 1e-12 and np.ptp(weights, axis=0).max() == 0
    noise, weights = path.at(np.array([5.9, 6.1]))
    assert np.abs(np.diff(noise, axis=0)).max() > 0.1


@pytest.mark.parametrize("by, shown", [("register", {0, 1}), ("pitch", {0, 1, 2, 3}), ("part", {0})])
def test_what_chooses_says_how_many_classes_a_section_shows(notes, tmp_path, by, shown):
    settings = table(tmp_path, f'[parts.Vibes]\nclasses = ["ash", "bone", "coal", "dust"]\nby = "{by}"')
    roles = cast(settings, notes, [4, 5], LABELS)
    assert set(roles.in_play(roles.roles[0], 0)) == shown


def test_loud_notes_show_more(notes):
    _, path = path_of(notes)
    height = [path.at(np.array([onset + 0.05]))[1].max() for onset in (0.0, 1.0)]  # velocities 100 and 80
    assert height[0] > height[1] + 0.05


def test_numbers_stay_within_what_generators_take(notes):
    _, path = path_of(notes, depth=0.5)
    assert path.weights.min() >= 0 and path.weights.max() <= 0.5
    drift = np.abs(path.noise[:] @ np.eye(8)[:, 5:]).max()  # units that no handle moves
    assert 0.3 < drift <= 1.2
    assert np.abs(path.noise[:][:, :5]).max() <= 1.2 + 3.0


def test_the_same_seed_gives_the_same_path_and_another_one_another(notes):
    (_, first), (_, again), (_, other) = path_of(notes), path_of(notes), path_of(notes, seed=2)
    assert first.checksum() == again.checksum() != other.checksum()


def test_a_shorter_song_begins_as_the_whole_one(notes):
    roles, whole = path_of(notes)
    part = conducted(notes.within(3.0), roles, HANDLES, noise_dim=8, rng=np.random.default_rng(1))
    times = np.arange(0, 2.9, 1 / FPS)
    for one, other in zip(whole.at(times), part.at(times)):
        assert np.allclose(one, other, atol=1e-5)


def test_a_path_survives_saving(notes, tmp_path):
    _, path = path_of(notes)
    names = [LABELS[index] for index in path.classes]
    path.save(tmp_path / "a.npz", labels=names, params={})
    again, _, _ = Trajectory.load(tmp_path / "a.npz")
    assert np.allclose(again.noise, path.noise[:]) and again.classes == path.classes
    assert again.grid_rate == GRID_RATE


def test_sections_choose_classes_and_places(notes, tmp_path):
    text = """
    [[sections]]
    classes = ["ash", "coal"]
    [[sections]]
    measure = 4
    classes = ["bone"]
    handles = { tint = 0.5 }
    """
    roles, path = path_of(notes, table(tmp_path, text))
    assert [scene.begin for scene in roles.scenes] == [0.0, 6.0]
    assert class_of(roles, notes, 0) == 0
    assert class_of(roles, notes, len(notes.onset) - 1) == 1
    noise, _ = path.at(np.array([5.0, 8.9]))
    assert noise[1, 3] - noise[0, 3] == pytest.approx(1.5, abs=1.3)  # half of the reach, and the drift
    assert noise[1, 3] > noise[0, 3]


def test_a_ground_stands_between_the_notes(notes, tmp_path):
    """It is no part's, so every part's class sinks between its notes; without a ground one of them stands."""
    text = """
    [parts.Vibes]
    classes = ["ash"]
    [[sections]]
    ground = "fog"
    """
    roles, path = path_of(notes, table(tmp_path, text), classes=[1, 2])
    ground, own = path.classes.index(5), path.classes.index(0)
    mine = notes.onset[notes.part == 0]
    assert path.weights[:, ground].min() == pytest.approx(LEADING, abs=1e-3)
    assert path.at(np.array([mine[1] - 0.06]))[1][0, own] < path.at(np.array([mine[1] + 0.1]))[1][0, own]
    assert path.weights[:, own].min() < LEADING / 2
    _, without = path_of(notes, table(tmp_path, text.replace('ground = "fog"', "")), classes=[1, 2])
    assert without.weights[:, without.classes.index(0)].min() >= LEADING - 1e-3
    require_every_note_is_seen(notes, roles, path)


WAYS = {
    "around": [
        {"effect": "straight", "t1": 0, "t2": 1.0, "ear_i": -1},
        {"effect": "straight", "t1": 1.0, "t2": 9, "ear_i": 1},
    ]
}
SIDED = """
[panning]
score = "{ways}"
[parts.Vibes]
handles = {{ zoom = 0.2 }}
set = "around"
side = {{ sway = 0.5 }}
[parts.Marimba]
handles = {{ turn = 0.2 }}
[[sections]]
handles = {{}}
"""


@pytest.mark.parametrize("offset", [0.0, 0.25])
def test_what_is_heard_at_a_side_is_seen_there(notes, tmp_path, offset):
    """The handle stands where the part's set is, half of its reach of 3; the jump at 1 s takes `GLIDE`."""
    ways = tmp_path / "ways.json"
    ways.write_text(json.dumps(WAYS))
    text = SIDED.format(ways=ways)
    _, path = path_of(notes, table(tmp_path, text), offset=offset)
    _, still = path_of(notes, table(tmp_path, text.replace("side = ", "# side = ")), offset=offset)
    moments = 1.0 + offset + np.array([-GLIDE, 0.0, GLIDE])
    moved = path.at(moments)[0][:, 4] - still.at(moments)[0][:, 4]
    assert moved == pytest.approx([-1.5, 0.0, 1.5], abs=0.1)
    assert np.abs(np.diff(path.noise.moved[:, 0], axis=0)).max() < 0.2  # no jump


def test_a_side_without_a_way_is_refused(notes, tmp_path):
    text = SIDED.format(ways=tmp_path / "none.json")
    for wrong, message in (
        (text, "none.json: no such file"),
        (text.replace('set = "around"', ""), "side needs `set`"),
        (text.replace("[panning]", "").replace("score =", "#"), "side needs `set`"),
    ):
        with pytest.raises(MediaError, match=message):
            path_of(notes, table(tmp_path, wrong))
    ways = tmp_path / "ways.json"
    ways.write_text(json.dumps(WAYS))
    wrong = SIDED.format(ways=ways).replace('"around"', '"arround"')
    with pytest.raises(MediaError, match=r'no set "arround", did you mean'):
        path_of(notes, table(tmp_path, wrong))
    with pytest.raises(MediaError, match=r"no handle 'sway'"):
        require_handles(table(tmp_path, SIDED.format(ways=ways)), ["zoom", "turn"])


def test_marks_are_sections_where_the_table_has_none(tmp_path):
    from musicvideo.notes import label

    file = midi_file(tmp_path / "a.mid", [VIBES])
    label(file, {}, [(0, "A: calm"), (5760, "B")]).save(file)
    marked = read_notes(file)
    roles = cast(Conduct(), marked, [0, 1, 2, 3], LABELS)
    assert [(scene.begin, scene.name) for scene in roles.scenes] == [(0.0, "A: calm"), (6.0, "B")]
    assert set(roles.in_play(roles.roles[0], 0)).isdisjoint(roles.in_play(roles.roles[0], 1))
    found = cast(table(tmp_path, '[[sections]]\nmark = "b"\nspeed = 2'), marked, [0], LABELS)
    assert found.scenes[1].begin == 6.0 and found.scenes[1].table.speed == 2


@pytest.mark.parametrize("text, message", [
    ('[parts.Vibe]\nby = "part"', r"no such part in the notes, did you mean 'Vibes'\?"),
    ('[parts.Vibes]\nclasses = ["ash", "moss", "mist"]', r"no class 'moss', 'mist' .*another generator"),
    ('[[sections]]\nground = "moss"', r"no class 'moss'"),
    ('[[sections]]\nmark = "Q"', r"no rehearsal mark begins with 'Q', the notes have none"),
    ("[[sections]]\nmeasure = 90", r"begins at measure 90, the piece has \d+"),
    ('[[sections]]\nmeasure = 1\nmark = "A"', "not both|either"),
    ("[parts.Vibes]\nattack = 9", "attack"),
    ("[parts.Vibes]\nhandles = { zoom = 2 }", "zoom"),
    ("[motion]\nsped = 1", r"unknown key 'sped', did you mean 'speed'\?"),
])  # fmt: skip
def test_a_table_that_cannot_be_says_why(notes, tmp_path, text, message):
    with pytest.raises(MediaError, match=message):
        cast(table(tmp_path, text), notes, [0, 1], LABELS, name="a.conduct.toml")


def test_a_handle_that_the_generator_lacks_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"no handle 'zom', did you mean 'zoom'\?"):
        require_handles(table(tmp_path, "[parts.Vibes]\nhandles = { zom = 1 }"), HANDLES)
    with pytest.raises(MediaError, match=r"no handle 'zoom', it has none"):
        require_handles(table(tmp_path, "[[sections]]\nhandles = { zoom = 1 }"), {})


def test_a_generator_without_handles_is_conducted_by_classes_alone(notes):
    roles = cast(Conduct(), notes, [0, 1, 2, 3], LABELS)
    path = conducted(notes, roles, {}, noise_dim=8, rng=np.random.default_rng(1))
    assert path.noise[:].shape == (len(path.weights), 8)
    require_every_note_is_seen(notes, roles, path)


def test_a_hundred_thousand_notes_in_a_second_stay_in_bounds(tmp_path):
    crowd = [("", 0, 0, [(step % 960, 10, 21 + step % 88, 127) for step in range(20_000)])]
    file = midi_file(tmp_path / "a.mid", crowd)
    found = read_notes(file)
    assert clock.read_clock(file).duration == pytest.approx(2.0)
    _, path = path_of(found)
    assert np.isfinite(path.noise[:]).all() and path.weights.max() <= 1


def test_every_note_of_impassive_is_seen():
    """By its own table, in the pattern generator's handles."""
    notes = read_notes(DATA / "impassive.mid")
    table = read_conduct(ROOT / "scores" / "Impassive.cppn.conduct.toml")
    generator = generators.load("cppn", resolution=16)
    require_handles(table, generator.handles)
    roles = cast(table, notes, range(12), generator.labels)
    path = conducted(notes, roles, generator.handles, noise_dim=128, rng=np.random.default_rng(7))
    assert [scene.name[0] for scene in roles.scenes] == list("ABCDE")
    column = {index: number for number, index in enumerate(path.classes)}
    times = notes.onset[:, None] + np.array([-1 / FPS, 1 / FPS])
    weights = path.at(times.ravel())[1].reshape(*times.shape, -1)
    struck = [column[class_of(roles, notes, number)] for number in range(len(notes.onset))]
    rise = weights[np.arange(len(struck)), 1, struck] - weights[np.arange(len(struck)), 0, struck]
    full = weights[np.arange(len(struck)), 0, struck] > 0.95  # in a tremolo that is faster than the frames
    assert ((rise > 0) | full)[1:].all() and (rise > 0).mean() > 0.9  # the first note sounds before any frame
    first = np.flatnonzero(np.diff(notes.onset, prepend=-1) > 0.1)  # where nothing has just been struck
    assert len(first) > 120
    noise = path.at(times.ravel())[0].reshape(*times.shape, -1)
    assert (np.abs(np.diff(noise, axis=1)).max(axis=(1, 2))[first] > 0.3).all()  # and its handle moves
