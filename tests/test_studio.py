"""What the studio does without its page: choices, the queue, and the terminal that make runs on."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_pipeline import checkout

from conftest import ROOT, command, eventually, make_media, small_disk
from musicvideo import files, probe
from musicvideo.__main__ import run_words
from musicvideo.errors import MediaError
from musicvideo.packages import LOCK, locked
from musicvideo.sound.mastering import measure
from musicvideo.sound.table import read_mix
from musicvideo.studio import around, choices, pictures
from musicvideo.studio.choices import Choice
from musicvideo.studio.renders import CANCELLED, DONE, FAILED, RUNNING, WAITING, Films
from musicvideo.studio.terminal import Terminal
from musicvideo.vision import generators
from musicvideo.vision.generators import own, pocket
from musicvideo.vision.labels import resolve

DRAWING = {"generator": "cppn", "mapping": "classic", "seed": 3, "classes": ("moss", "turkey tail"), "jitter": 0.8}


def own_generator(place: Path, name: str, *labels: str) -> Path:
    """A generator of one's own in a checkout: pocket's files, with other names for its first classes."""
    folder = place / "media" / f"{name}.generator"
    folder.mkdir(parents=True, exist_ok=True)
    for file in own.FILES:
        shutil.copy(pocket.FOLDER / file, folder)
    (folder / "labels.json").write_text(json.dumps([*labels, *pocket.labels()[len(labels) :]]), encoding="utf-8")
    checksums = {file: files.sha256(folder / file) for file in own.FILES}
    (folder / own.ABOUT).write_text(json.dumps({"files": checksums}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkout with a song of some seconds."""
    folder = checkout(tmp_path_factory.mktemp("studio") / "checkout")
    make_media(folder / "song.wav", "-f", "lavfi", "-i", "aevalsrc=0.4*sin(2*PI*330*t)*exp(-4*mod(t\\,0.5)):d=6")
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    shutil.rmtree("media/studio", ignore_errors=True)
    return place


# -- Choices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", choices.SHAPES)
@pytest.mark.parametrize("quality", choices.QUALITIES)
def test_every_size_is_one_that_films_have(shape, quality):
    width, height = choices.film_size(shape, quality)
    across, down = choices.SHAPES[shape]
    assert width % 4 == 0 and height % 2 == 0 and min(width, height) == choices.QUALITIES[quality]
    assert abs(width / height - across / down) < 0.01


def test_sizes_that_are_drawn_are_those_of_the_pipeline():
    assert choices.drawn_at("cppn", (1920, 1080)) == 820  # as make's default
    assert choices.drawn_at("pocket", (1920, 1080)) == 256
    assert choices.drawn_at("biggan", (1920, 1080)) == 512


def test_a_choice_becomes_variables_of_make_and_names_that_a_person_types():
    found = choices.variables(Choice(DRAWING, quality="HD", words="Für $(dir) 'Elise'"), "a.mp3", None)
    assert found["CLASSES"] == 'moss "turkey tail"' and found["SEED"] == "3" and found["GAN_FLAGS"] == "--jitter 0.8"
    assert (found["WIDTH"], found["HEIGHT"]) == ("1280", "720") and "MIDI" not in found
    assert found["TITLE_TEXT"] == "Für $(dir) 'Elise'"


@pytest.mark.parametrize("generator", ["biggan", "pocket", "cppn", "mine"])
def test_every_class_is_found_again_by_the_name_that_make_is_given(generator, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own_generator(tmp_path, "mine", 'it\'s "big"', "'tis", "'twas'", "-x", "$(dir)", "a\nb", "7", "red fox", "", "十字")
    labels = generators.labels(generator)
    drawing = {**DRAWING, "generator": generator, "classes": choices.names_of(generator, range(len(labels)))}
    run_words(choices.variables(Choice(drawing), None, None)["CLASSES"])
    assert resolve(shlex.split(capsys.readouterr().out), labels) == [*range(len(labels))]


@pytest.mark.parametrize("text", ["seven", "-1", "1.5", "٣x"])
def test_a_seed_that_is_no_number_is_refused(text):
    with pytest.raises(ValueError):
        choices.read_seed(text)


def test_an_empty_seed_is_left_to_the_song():
    assert choices.read_seed(" ") is None and choices.read_seed(" 7 ") == 7


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "🎵🎶", "", "-Wet", "My song-Wet", "a" * 300, "Für Elise (live).final"]
)
def test_any_name_of_a_song_gives_a_title_that_make_takes(name):
    title = choices.file_title(name, set())
    assert title and len(title) < 80 and all(letter == "_" or letter.isalnum() for letter in title)
    assert title.isascii()


def test_a_title_is_never_taken_twice():
    taken: set[str] = set()
    for _ in range(3):
        taken.add(choices.file_title("song", taken))
    assert len(taken) == 3


def test_presets_are_settings_that_visualize_takes(tmp_path, place):
    for name in choices.PRESETS:
        choices.checked(choices.preset(name))
    choices.save_preset(tmp_path / "mine.json", DRAWING)
    assert choices.read_preset(tmp_path / "mine.json") == {**DRAWING}
    result = command(
        "visualize.py", "--like", tmp_path / "mine.json", "--song", place / "song.wav", "--resolution", "32",
        "--duration", "0.2", "--output_file", tmp_path / "out.mp4",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "moss, turkey tail" in result.stdout and "seed 3" in result.stdout


@pytest.mark.parametrize("text", ["", "[]", '{"jitter": 7}', '{"generator": "rm -rf"}'])
def test_a_preset_that_cannot_be_is_refused_in_a_line(tmp_path, text):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(MediaError) as refused:
        choices.read_preset(tmp_path / "p.json")
    assert "p.json" in str(refused.value) and "\n" not in str(refused.value)


# -- Generators of one's own -----------------------------------------------------------------------------------


def test_generators_of_ones_own_are_offered_after_the_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "pocket", "no name", ".mine.generator.1-0.partial"):
        own_generator(tmp_path, name)
    (tmp_path / "media/file.generator").touch()
    offered = choices.offered()
    assert [name for name in offered if name in ("cppn", "pocket", "biggan")] == ["cppn", "pocket", "biggan"]
    assert offered[0] == "cppn" and "biggan-reference" not in offered
    assert [name for name in offered if name not in generators.NAMES] == offered[-1:] == ["mine"]


def test_a_preset_may_name_a_generator_of_ones_own_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = own_generator(tmp_path, "mine", "red fox")
    drawing = {"generator": "mine", "classes": ("red fox",)}
    choices.save_preset(tmp_path / "p.json", drawing)
    assert choices.read_preset(tmp_path / "p.json") == drawing
    choices.save_preset(tmp_path / "path.json", {"generator": str(folder)})
    folder.rename(folder.with_name("other.generator"))
    for name in ("p.json", "path.json"):
        with pytest.raises(MediaError, match=f"{name}: generator: the studio does not offer '"):
            choices.read_preset(tmp_path / name)


def test_a_generator_that_was_changed_cannot_draw_and_one_that_was_trained_anew_can(tmp_path, monkeypatch):
    """While the studio is open. The pictures of the earlier one are not shown for the later one's."""
    monkeypatch.chdir(tmp_path)
    folder = own_generator(tmp_path, "mine", "red fox")
    assert pictures.lacks("mine") == ""
    (drawn,) = pictures.draw_thumbnails("mine", [0], tmp_path / "pictures")
    assert drawn.is_file()
    (folder / "labels.json").write_text("[]")
    assert "labels.json" in pictures.lacks("mine") and "\n" not in pictures.lacks("mine")
    own_generator(tmp_path, "mine", "blue fox")
    assert pictures.lacks("mine") == ""
    assert not pictures.thumbnails("mine", tmp_path / "pictures")[0].is_file()
    assert pictures._loaded("mine", 256, 1.0).labels[0] == "blue fox"
    shutil.rmtree(folder)
    assert "unknown name 'mine'" in pictures.lacks("mine")


# -- Around the head -------------------------------------------------------------------------------------------


def test_an_excerpt_has_the_motion_of_the_whole_at_that_time(tmp_path):
    """By a panning score whose part is at the left ear, then at the right one, of which the second half is mixed."""
    make_media(tmp_path / "tone.wav", "-f", "lavfi", "-i", "sine=440:d=8")
    document = [{"effect": "none", "t1": 0, "t2": 4, "ear_i": -1}, {"effect": "none", "t1": 4, "t2": "end", "ear_i": 1}]
    (tmp_path / "p.json").write_text(json.dumps({"tone": document}))
    table = tmp_path / "mix.toml"
    table.write_text(
        f'[panning]\nscore = "{tmp_path}/p.json"\n[parts.tone]\nfile = "{tmp_path}/tone.wav"\nset = "tone"\n'
        f'[parts.still]\nfile = "{tmp_path}/tone.wav"\ngain = -60\nbalance = 0.5\n'
    )
    mix = read_mix(table, "any")
    moving = around.motions(mix, 8.0)
    ears = []
    for begin in (1.0, 5.0):
        part, still = around.sources(mix, moving, begin, 2.0)
        assert np.ptp(part.azimuth) == 0
        ears.append(round(part.azimuth[0]))
        assert (still.name, round(still.rest)) == ("still", 30) and np.allclose(still.azimuth, 30)
        dry, wet = around.mixes(mix, moving, begin, 2.0, -20.0, tmp_path)
        assert abs(measure(wet).integrated + 20) < 0.3 and abs(measure(dry).integrated + 20) < 0.3
        left, right = (soundfile.read(wet)[0] ** 2).mean(axis=0)
        assert (right > 2 * left) == (begin == 5.0) and (left > 2 * right) == (begin == 1.0)
    assert ears == [-90, 90]


# -- The terminal ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_a_terminal_is_one_and_ctrl_c_is_typed_on_it(handler):
    """Even if the studio itself runs in the background, where Ctrl-C is ignored."""
    lines: list[str] = []
    code = "import sys, time; print('tty', sys.stderr.isatty(), flush=True); time.sleep(600)"
    before = signal.signal(signal.SIGINT, handler)
    try:
        terminal = Terminal([sys.executable, "-c", code], dict(os.environ))
    finally:
        signal.signal(signal.SIGINT, before)

    def line(text: str) -> None:
        lines.append(text)
        if len(lines) == 1:  # a second one, in the middle of the traceback, would discard the rest of it
            terminal.interrupt()

    assert terminal.follow(line) != 0
    assert lines[0] == "tty True" and any("KeyboardInterrupt" in text for text in lines)


def test_a_terminal_that_is_closed_ends_what_runs_on_it(tmp_path):
    """As when the studio is killed."""
    owner = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from musicvideo.studio.terminal import Terminal
code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
terminal = Terminal([sys.executable, "-c", code], dict(os.environ))
def line(text):
    print(text, flush=True)
    os._exit(9)
terminal.follow(line)
"""
    result = command("-c", owner)
    number = int(result.stdout)

    def ended() -> bool:
        try:
            return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    if not Path("/proc").is_dir():
        pytest.skip("no /proc here")
    eventually(ended)


# -- The queue -------------------------------------------------------------------------------------------------


def choice(**more) -> Choice:
    return Choice({**DRAWING, "seed": more.pop("seed", 3)}, quality="sketch", **more)


def test_films_are_made_cancelled_and_gone_on_with(here):
    films = Films(here / "media/studio/films")
    film = films.add(choice(), name="../My 🎵 song", song=here / "song.wav", midi=None)
    other = films.add(choice(seed=4), name="../My 🎵 song", song=here / "song.wav", midi=None)
    assert film.title != other.title and film.state == WAITING
    films.cancel(other.id)
    assert other.state == CANCELLED
    films.start()
    work = here / f"media/.{film.title}.mp4.render"
    eventually(lambda: list(work.glob("[0-9]*.nut")) or film.state in (FAILED, DONE))
    films.cancel(film.id)
    assert film.state == CANCELLED, film.message
    eventually(lambda: films._terminal is None)
    kept = {path: path.stat().st_mtime_ns for path in work.glob("[0-9]*.nut")}
    assert kept and not films.file(film, film.file).exists()
    films.stop()

    again = Films(here / "media/studio/films")  # as after a restart
    film = again.get(film.id)
    assert film.state == CANCELLED and again.get(other.id).state == CANCELLED
    again.resume(film.id)
    again.start()
    seen = []
    eventually(lambda: seen.append((film.stage, film.percent)) or film.state in (DONE, FAILED))
    again.stop()
    assert film.state == DONE, film.message
    assert {"drawing", "finishing the film"} & {stage for stage, _ in seen}
    made = here / f"{film.title}.mp4"
    assert made.read_bytes() == again.file(film, film.file).read_bytes()
    found = probe.probe(made)
    assert (found.width, found.height) == (640, 360) and found.duration > 6
    assert "make gan audio" in film.command and f"TITLE={film.title}" in film.command


def test_a_film_that_fails_says_why_in_a_line_and_another_follows(here):
    (here / "text.mp3").write_text("no song")
    films = Films(here / "media/studio/films")
    broken = films.add(choice(), name="text", song=here / "text.mp3", midi=None)
    films.start()
    eventually(lambda: broken.state in (FAILED, DONE))
    films.stop()
    assert broken.state == FAILED and "not an audio or video file" in broken.message and "\n" not in broken.message


def test_a_disk_without_a_byte_left_ends_a_film_but_not_the_queue(here):
    shutil.rmtree("media")  # with what earlier tests made
    with small_disk(here / "media", 32 << 20):
        films = Films(here / "media/studio/films")
        film = films.add(choice(), name="song", song=here / "song.wav", midi=None)
        filler = here / "media/filler"
        with pytest.raises(OSError), open(filler, "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with pytest.raises(MediaError, match="no space left"):
            films.add(choice(), name="other", song=here / "song.wav", midi=None)
        assert films.all() == [film] and len(list((here / "media/studio/films").iterdir())) == 1
        films.start()
        eventually(lambda: film.state in (FAILED, DONE))
        assert film.state == FAILED and "no space left" in film.message.lower()
        filler.unlink()
        films.resume(film.id)
        eventually(lambda: film.stage == "drawing" or film.state in (FAILED, DONE))
        films.stop()
        assert film.state == WAITING, film.message


def test_a_film_that_ran_when_the_machine_stopped_waits_again(here):
    films = Films(here / "media/studio/films")
    film = films.add(choice(), name="song", song=here / "song.wav", midi=None)
    film.state = RUNNING
    films._note(film)
    (here / "media/studio/films/half").mkdir()
    (here / "media/studio/films/half/film.json").write_text('{"id": "ha')
    assert [(each.id, each.state) for each in Films(here / "media/studio/films").all()] == [(film.id, WAITING)]


def test_deleting_a_film_keeps_what_make_made(here):
    films = Films(here / "media/studio/films")
    film = films.add(choice(), name="song", song=here / "song.wav", midi=None)
    (here / f"{film.title}.mp4").write_bytes(b"film")
    films.remove(film.id)
    assert not films.all() and (here / f"{film.title}.mp4").exists() and (here / "song.wav").exists()
    with pytest.raises(MediaError):
        films.get(film.id)


# -- The locks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", ["studio", "test-studio"])
def test_locks_of_extras_agree_with_the_lock(extra):
    base, more = locked(LOCK), locked(LOCK.with_name(f"requirements-{extra}.lock"))
    shared = base.keys() & more.keys()
    assert "torch" in shared
    for name in shared:
        assert set(more[name].split()) <= set(base[name].split()), name
    assert {"gradio"} <= more.keys() - base.keys()
    assert all("--hash=sha256:" in entry for entry in more.values())


def test_without_gradio_the_studio_says_what_to_do(tmp_path):
    (tmp_path / "gradio.py").write_text("raise ModuleNotFoundError(\"No module named 'gradio'\", name='gradio')")
    result = command("-m", "musicvideo", "studio", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert result.returncode == 1 and result.stderr.strip().endswith(
        "the package gradio is not installed: run `make studio`"
    )
