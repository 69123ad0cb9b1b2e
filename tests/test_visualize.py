"""visualize.py, run as by a user: every published option, repeated videos, mistakes in one line."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pytorch_pretrained_biggan import BigGAN, BigGANConfig
from test_notes import midi_file

import musicvideo.__main__
import musicvideo.vision
import visualize
from conftest import GOLDEN, ROOT, assert_one_line_error, command, make_media, read_frames, through_a_pipe
from musicvideo import files, probe
from musicvideo.cli import entry_point
from musicvideo.errors import MediaError
from musicvideo.vision import arguments, generators, job
from musicvideo.vision import record as records
from musicvideo.vision.codecs import CODECS
from musicvideo.vision.containers import Soundtrack, soundtrack
from musicvideo.vision.generators import weights as biggan_weights
from musicvideo.vision.generators.biggan.architecture import LAYERS
from musicvideo.vision.generators.cppn.network import CPPN
from musicvideo.vision.generators.random_weights import save
from musicvideo.vision.latents import Trajectory
from musicvideo.vision.record import read as settings_of
from musicvideo.vision.segments import SEGMENT_FRAMES
from musicvideo.vision.settings import RULES
from musicvideo.vision.work import Work
from stub import Stub

SONG = GOLDEN / "arpeggio.flac"
PUBLISHED = {
    "resolution": 512,
    "duration": None,
    "pitch_sensitivity": 220,
    "tempo_sensitivity": 0.25,
    "depth": 1,
    "classes": None,
    "num_classes": None,
    "sort_classes_by_power": 0,
    "jitter": 0.5,
    "frame_length": 512,
    "truncation": 1,
    "smooth_factor": 20,
    "batch_size": 30,
    "use_previous_classes": 0,
    "use_previous_vectors": 0,
    "output_file": "output.mp4",
}
BASE = ("--generator", "cppn", "--duration", "1", "--resolution", "32")
TWO_SEGMENTS = ("--fps", "30", "--duration", "3")
THREE_SEGMENTS = ("--fps", "30", "--duration", "5")


def visualize_here(*words) -> subprocess.CompletedProcess:
    """Run visualize.py within this process, with exactly these arguments."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["visualize.py", *map(str, words)])
        try:
            entry_point(visualize.main)
        except SystemExit as stop:
            code = stop.code
    printed = []
    for stream in (out, err):
        stream.flush()
        printed.append(stream.buffer.getvalue().decode())
    return subprocess.CompletedProcess(words, code, *printed)


def run_stubbed(*words, song=SONG) -> subprocess.CompletedProcess:
    return visualize_here("--song", song, *BASE, "--fps", "10", *words)


@cache
def soundtrack_of_song(suffix: str, begin: float) -> Soundtrack:
    return soundtrack(SONG, f"a{suffix}", begin)


def known_soundtrack(song, output, begin: float = 0.0) -> Soundtrack:
    """As `soundtrack`, which takes two processes; those of `SONG` are found once."""
    if str(song) != str(SONG):
        return soundtrack(song, output, begin)
    return soundtrack_of_song(Path(output).suffix, begin)


def use_stub(patch, generator=Stub) -> None:
    patch.setattr(job, "soundtrack", known_soundtrack)
    patch.setattr(generators, "labels", lambda name: generator.labels)
    patch.setattr(generators, "load", lambda name, resolution, **options: generator(resolution))


@pytest.fixture
def run_visualize(monkeypatch, tmp_path):
    """A function that runs visualize.py in this process, with a generator that takes no time.

    Returns its exit code and what it printed.
    """
    monkeypatch.chdir(tmp_path)
    use_stub(monkeypatch)
    return run_stubbed


@pytest.fixture(scope="module")
def drawn_once(tmp_path_factory):
    """A folder with a video, a.mp4, that has its vectors beside it, f.npz."""
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        use_stub(patch)
        result = run_stubbed("--output_file", "a.mp4", "--save_vectors", "f.npz")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def drawn(run_visualize, drawn_once, tmp_path):
    """`run_visualize`, in a new folder that holds a.mp4 and f.npz already."""
    shutil.copytree(drawn_once, tmp_path, dirs_exist_ok=True)
    return run_visualize


def encoded(video: str | os.PathLike) -> list:
    """The encoded picture and sound of an MP4, their times and their decoders' settings: all but its metadata."""

    def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
        found = []
        while data:
            size, kind = int.from_bytes(data[:4], "big"), data[4:8]
            assert 8 <= size <= len(data)
            found.append((kind, data[8:size]))
            data = data[size:]
        return found

    def compared(inner: list[tuple[bytes, bytes]]) -> list:
        found = []
        for kind, content in inner:
            if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
                found.append((kind, compared(boxes(content))))
            elif kind == b"stco":  # places in the file, which depend on how long the metadata are
                found.append((kind, (np.frombuffer(content[8:], ">u4").astype(int) - media).tolist()))
            elif kind == b"mdat":  # long
                found.append((kind, hashlib.sha256(content).hexdigest()))
            elif kind != b"udta":  # metadata
                found.append((kind, content))
        return found

    whole = boxes(Path(video).read_bytes())
    kinds = [kind for kind, _ in whole]
    media = sum(8 + len(content) for _, content in whole[: kinds.index(b"mdat")])
    return compared(whole)


def assert_same(one, other) -> None:
    """Check that two videos have the same frames at the same times, and the same sound; takes no process."""
    assert encoded(one) == encoded(other)


def looks_alike(one, other) -> bool:
    return np.array_equal(read_frames(one, "rgb24"), read_frames(other, "rgb24"))


def noted(video: str) -> dict:
    """The settings beside a video. They are those in it (see below), and reading them takes no process."""
    return settings_of(f"{video}.json")


# -- Options ------------------------------------------------------------------------------------------------


def test_published_options_have_their_names_and_defaults():
    settings = job.requested(arguments.given(visualize.parser(), ["--song", "x.wav"]))
    assert {name: getattr(settings, name) for name in PUBLISHED} == PUBLISHED
    assert settings.generator == "biggan"
    printed = " ".join(visualize.parser().format_help().split())
    for name in RULES:
        assert f"--{name}" in printed
    for sentence in ("(default biggan)", "(default 220)", "(default 0.25)", "make gan` draws 30 frames a second"):
        assert sentence in printed


def test_hyphens_do_as_well_as_underscores():
    given = arguments.given(
        visualize.parser(),
        ["--song", "a-b.wav", "--pitch-sensitivity=250", "--output-file", "my-song.mp4", "--classes", "well-known"],
    )
    assert given == {
        "song": "a-b.wav",
        "pitch_sensitivity": 250,
        "output_file": "my-song.mp4",
        "classes": ["well-known"],
    }


@pytest.mark.parametrize("text, rate", [("30", "30"), ("29.97", "2997/100"), ("30000/1001", "30000/1001")])
def test_frame_rates_are_numbers_or_fractions(text, rate):
    assert str(arguments.given(visualize.parser(), ["--fps", text])["fps"]) == rate


def test_help_shows_a_command_to_copy():
    result = command("visualize.py", "--help")
    assert result.returncode == 0
    assert (
        "python visualize.py --song media/Impassive.wav --generator pocket --output_file out.mp4 --duration 10"
        in result.stdout
    )


def test_default_frame_rate_is_that_of_the_analysis(run_visualize, tmp_path):
    visualize_here("--song", SONG, *BASE, "--frame_length", "1024")
    assert str(probe.probe(tmp_path / "output.mp4").frame_rate) == "11025/512"


@pytest.mark.parametrize("arguments", [["--frame_length", "64"], ["--frame_length", "1322944", "--fps", "30"]])
def test_the_finest_and_the_coarsest_analysis(run_visualize, tmp_path, arguments):
    assert visualize_here("--song", SONG, *BASE, *arguments).returncode == 0
    assert abs(probe.probe(tmp_path / "output.mp4").duration - 1) < 0.05


def test_classes_by_name_and_number(run_visualize, tmp_path):
    assert run_visualize("--classes", "colour 3", "7", "colour 11", "3").returncode == 0
    assert noted("output.mp4")["classes"] == [3, 7, 11]


def test_mappings_move_differently(run_visualize):
    run_visualize("--seed", "1", "--output_file", "classic.mp4")
    run_visualize("--seed", "1", "--output_file", "pulse.mp4", "--mapping", "pulse")
    assert noted("pulse.mp4")["mapping"] == "pulse"
    assert not looks_alike("classic.mp4", "pulse.mp4")


def test_list_classes(run_visualize):
    listed = run_visualize("--list_classes", "19")
    assert listed.stdout == "  19  colour 19\n" and "1 of the 20 classes of cppn" in listed.stderr
    assert len(run_visualize("--list-classes").stdout.splitlines()) == 20
    assert_one_line_error(run_visualize("--list_classes", "kettle"), "kettle", code=2)


@pytest.mark.parametrize("generator", generators.NAMES)
def test_every_generator_lists_its_classes(generator):
    listed = visualize_here("--generator", generator, "--list_classes").stdout
    assert [line.split(maxsplit=1) for line in listed.splitlines()] == [
        [str(index), name] for index, name in enumerate(generators.labels(generator))
    ]


def test_video_is_as_long_as_the_song(run_visualize, tmp_path):
    assert run_visualize("--fps", "24000/1001").returncode == 0
    found = probe.probe(tmp_path / "output.mp4")
    assert (found.width, found.height, found.audio_codec) == (32, 32, "aac")
    assert abs(found.duration - 1) < 1001 / 24000


@pytest.mark.parametrize("mapping", ["classic", "pulse"])
def test_an_excerpt_shows_and_sounds_what_the_whole_video_does(run_visualize, tmp_path, mapping):
    """Also from saved vectors, which are of the whole song."""
    song = make_media(tmp_path / "song.flac", "-t", "6", "-i", SONG)
    run = partial(run_visualize, song=song)
    options = ("--fps", "10", "--mapping", mapping, "--duration")
    assert run("--output_file", "whole.mp4", *options, "100").returncode == 0
    cut = ("--start", "1.5", *options, "1")
    assert run("--output_file", "part.mp4", "--save_vectors", "f.npz", *cut).returncode == 0
    whole, part = read_frames("whole.mp4", "rgb24").astype(int), read_frames("part.mp4", "rgb24").astype(int)
    assert len(part) == 10
    errors = [np.abs(part - whole[begin : begin + 10]).mean() for begin in range(len(whole) - 10)]
    assert np.argmin(errors) == 15 and errors[15] < 2  # the codec's
    make_media("whole.wav", "-i", "whole.mp4", "-i", "part.mp4", "-map", "1:a", "part.wav", "-map", "0:a")
    sounds = [soundfile.read(f"{name}.wav")[0] for name in ("whole", "part")]
    rate = soundfile.info("part.wav").samplerate
    middle = slice(round(0.2 * rate), round(0.8 * rate))
    there = sounds[0][round(1.5 * rate) :][middle]
    assert np.abs(sounds[1][middle] - there).mean() < 0.1 * np.abs(there).mean()

    assert run("--vectors", "f.npz", "--start", "1.5", "--output_file", "again.mp4").returncode == 0
    assert_same("again.mp4", "part.mp4")


def test_excerpts_that_cannot_be(run_visualize):
    assert_one_line_error(run_visualize("--start", "1000"), "START=1000: lies beyond the end of", "arpeggio.flac")
    result = run_visualize("--start", "1", "--storyboard", "a.png")
    assert_one_line_error(result, "a storyboard shows the whole song", code=2)
    assert_one_line_error(run_visualize("--start", "-1"), "start", "0..1000000", code=2)


@pytest.mark.parametrize(
    "asked, given",
    [
        ([], "auto"),
        (["--quality", "draft"], "lowest"),
        (["--precision", "fp32"], "fp32"),
        (["--quality", "draft", "--precision", "fp32"], "fp32"),
    ],
)
def test_drafts_alone_are_drawn_roughly(run_visualize, monkeypatch, asked, given):
    precisions = []

    def load(name, resolution, *, precision, **options):
        precisions.append(precision)
        return Stub(resolution)

    monkeypatch.setattr(generators, "load", load)
    assert run_visualize("--output_file", "a.mp4", *asked).returncode == 0
    assert precisions == [given]


# -- The same again -----------------------------------------------------------------------------------------


def test_two_runs_of_the_real_command_are_the_same(tmp_path):
    for output in ("a.mp4", "b.mp4"):
        result = command(
            "visualize.py",
            "--song",
            SONG,
            "--generator",
            "cppn",
            "--fps",
            "10",
            "--classes",
            "mushroom",
            "bells",
            "--seed",
            "7",
            "--resolution",
            "32",
            "--duration",
            "1",
            "--output_file",
            tmp_path / output,
        )
        assert result.returncode == 0, result.stderr
        assert "seed 7, classes: mushroom, bells" in result.stdout
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    frames = read_frames(tmp_path / "a.mp4")
    assert frames.shape == (10, 32, 32)
    assert frames.std() > 10 and np.abs(np.diff(frames.astype(int), axis=0)).mean() > 0.1


def test_a_video_that_is_there_is_not_made_again(drawn, tmp_path):
    first = (tmp_path / "a.mp4").stat()
    again = drawn("--output_file", "a.mp4")
    second = (tmp_path / "a.mp4").stat()
    assert "is this video already" in again.stdout
    assert second.st_ino == first.st_ino and second.st_mtime_ns > first.st_mtime_ns  # so that make counts it as new


def test_another_video_is_replaced_only_when_told_to(drawn, tmp_path, monkeypatch):
    before = (tmp_path / "a.mp4").read_bytes()
    with monkeypatch.context() as patch:
        patch.delattr(generators, "load")  # found before anything is loaded
        refused = drawn("--output_file", "a.mp4", "--jitter", "0.9")
        assert_one_line_error(refused, "a.mp4: is there already", "jitter 0.5 is now 0.9", "--overwrite")
        (tmp_path / "holiday.mp4").write_bytes(b"precious")
        assert_one_line_error(drawn("--output_file", "holiday.mp4"), "holiday.mp4", "no settings", "--overwrite")
    assert (tmp_path / "a.mp4").read_bytes() == before and (tmp_path / "holiday.mp4").read_bytes() == b"precious"
    for option in ("--overwrite", "--replace"):
        assert drawn("--output_file", "a.mp4", "--jitter", "0.9", option).returncode == 0
        assert noted("a.mp4")["jitter"] == 0.9
        (tmp_path / "a.mp4").write_bytes(b"another")


def test_the_song_s_content_is_the_default_seed(drawn, tmp_path):
    seed = int(files.sha256(SONG)[:8], 16)
    shutil.copy(SONG, tmp_path / "renamed.flac")
    again = drawn("--output_file", "b.mp4", song="renamed.flac")
    assert f"seed {seed} (from the song's content), classes: " in again.stdout
    assert_same("a.mp4", "b.mp4")
    explicit = drawn("--output_file", "c.mp4", "--seed", seed)
    assert f"seed {seed}, classes: " in explicit.stdout
    assert_same("a.mp4", "c.mp4")
    other = make_media(tmp_path / "other.flac", "-i", SONG, "-af", "volume=0.9")
    drawn("--output_file", "d.mp4", song=other)
    assert noted("d.mp4")["classes"] != noted("a.mp4")["classes"]


def test_everything_that_made_a_video_is_in_it_and_beside_it(run_visualize, tmp_path):
    run_visualize("--seed", "5", "--jitter", "0.8", "--classes", "colour 1", "colour 2")
    found = settings_of("output.mp4")
    assert found == json.loads((tmp_path / "output.mp4.json").read_text())
    assert found["seed"] == 5 and found["jitter"] == 0.8 and found["class_names"] == ["colour 1", "colour 2"]
    assert found["song_sha256"] == files.sha256(SONG)
    assert found["computed_by"] == getattr(Stub, "computed_by", {"runs_on": Stub.runs_on})
    assert set(found["versions"]) >= {"python", "torch", "numpy", "scipy", "librosa", "soxr", "llvmlite", "ffmpeg"}
    for name in ("openvino", "pytorch-pretrained-biggan"):
        assert (name in found["versions"]) == any(importlib.metadata.distributions(name=name))


@pytest.mark.parametrize("earlier", ["a.mp4", "a.mp4.json"])
def test_like_takes_all_settings_and_the_command_line_wins(run_visualize, earlier):
    run_visualize("--output_file", "a.mp4", "--jitter", "0.8", "--num_classes", "4", "--crf", "10")
    made = noted("a.mp4")
    again = visualize_here("--like", earlier, "--output_file", "b.mp4")
    assert f"song {SONG}, named by {earlier}" in again.stdout
    assert noted("b.mp4") == made
    assert_same("a.mp4", "b.mp4")
    visualize_here("--like", earlier, "--output_file", "c.mp4", "--jitter", "0", "--classes", "3", "4")
    again = noted("c.mp4")
    assert again["jitter"] == 0 and again["classes"] == [3, 4]
    assert {name for name in made if made[name] != again[name]} == {"jitter", "classes", "class_names", "path_sha256"}


def test_vectors_are_saved_and_used(drawn, monkeypatch):
    with np.load("f.npz") as file:
        assert {"noise_vectors", "class_vectors", "labels", "grid_rate", "params"} <= set(file)
        assert file["labels"].tolist() == noted("a.mp4")["class_names"]
        assert json.loads(str(file["params"]))["seed"] == noted("a.mp4")["seed"]
    drawn("--output_file", "b.mp4", "--vectors", "f.npz")
    assert_same("a.mp4", "b.mp4")
    drawn("--output_file", "c.mp4", "--vectors", "f.npz", "--duration", "0.5")
    np.testing.assert_array_equal(read_frames("a.mp4")[:5] > 128, read_frames("c.mp4")[:5] > 128)
    assert drawn("--output_file", "b2.mp4", "--like", "b.mp4").returncode == 0
    assert_same("b.mp4", "b2.mp4")
    told = drawn("--output_file", "b3.mp4", "--vectors", "f.npz", "--seed", "5")
    assert "--seed has no effect" in told.stdout
    assert_same("b.mp4", "b3.mp4")
    with monkeypatch.context() as patch:
        patch.delattr(generators, "load")  # found before anything is loaded
        assert_one_line_error(
            drawn("--output_file", "d.mp4", "--vectors", "f.npz", "--duration", "10"), "f.npz", "1.0 of 10.0"
        )
    assert_one_line_error(drawn("--vectors", "f.npz", "--classes", "1", "2"), "classes", "vectors", code=2)
    drawn("--output_file", "a2.mp4", "--save_vectors", "f.npz", "--seed", "1")
    assert "f.npz: has changed" in drawn("--output_file", "b4.mp4", "--like", "b.mp4").stderr


def test_like_draws_what_a_conduct_table_chose(monkeypatch, tmp_path):
    """The table names 14 classes, more than are chosen; one part takes its share of those that are."""
    monkeypatch.chdir(tmp_path)
    notes = [(240 * step, 120, 60 + step, 90) for step in range(6)]
    midi_file(tmp_path / "a.mid", [("Vibes", 0, 11, notes), ("Bells", 1, 9, notes[:3])])
    named = [f'"{name}"' for name in CPPN.labels[:14]]
    (tmp_path / "a.toml").write_text(f"[parts.Vibes]\nclasses = [{', '.join(named)}]\n")
    drawn = ("--song", SONG, *BASE, "--fps", "10", "--mapping", "score", "--midi", "a.mid", "--conduct", "a.toml")
    assert visualize_here(*drawn, "--output_file", "a.mp4").returncode == 0
    again = visualize_here("--like", "a.mp4", "--output_file", "b.mp4")
    assert again.returncode == 0, again.stderr
    assert len(noted("a.mp4")["class_names"]) > 14
    assert_same("a.mp4", "b.mp4")


def test_the_command_line_wins_over_classes_and_vectors_of_the_video_it_likes(run_visualize):
    run_visualize("--output_file", "a.mp4", "--num_classes", "6", "--save_vectors", "a.npz", "--seed", "1")
    six = noted("a.mp4")["classes"]
    run_visualize("--output_file", "b.mp4", "--num_classes", "3", "--save_vectors", "b.npz", "--seed", "2")
    run_visualize("--output_file", "v.mp4", "--vectors", "a.npz")

    def like(video, *arguments):
        Path("out.mp4").unlink(missing_ok=True)
        result = run_visualize("--like", f"{video}.json", "--output_file", "out.mp4", *arguments)
        assert result.returncode == 0, result.stderr
        return noted("out.mp4")

    like("a.mp4", "--vectors", "b.npz")
    assert_same("out.mp4", "b.mp4")
    like("v.mp4", "--vectors", "b.npz")
    assert_same("out.mp4", "b.mp4")
    like("a.mp4", "--use_previous_vectors", "1")  # those of the run before
    assert_same("out.mp4", "b.mp4")
    assert like("a.mp4", "--use_previous_classes", "1")["classes"] == noted("b.mp4")["classes"]
    assert like("v.mp4", "--use_previous_classes", "0")["vectors"] == "a.npz"
    assert_same("out.mp4", "a.mp4")
    for video in ("a.mp4", "v.mp4"):
        assert like(video, "--num_classes", "4")["classes"] == six[:4]
        assert like(video, "--classes", "3", "4")["classes"] == [3, 4]
    assert_one_line_error(
        run_visualize("--like", "a.mp4", "--num_classes", "8", "--output_file", "out.mp4"),
        "num_classes",
        "a.mp4 has 6",
        "--classes",
        code=2,
    )
    assert_one_line_error(
        run_visualize("--like", "v.mp4", "--jitter", "0.1", "--output_file", "out.mp4"), "--jitter", code=2
    )
    found = like("v.mp4", "--seed", "9")
    assert found["classes"] == six and found["seed"] == 9 and found["vectors"] is None
    assert not looks_alike("out.mp4", "a.mp4")


def test_like_says_that_the_song_has_changed(run_visualize, tmp_path):
    song = make_media(tmp_path / "song.wav", "-t", "1", "-i", SONG)
    run_visualize("--output_file", "a.mp4", song=song)
    make_media(song, "-y", "-t", "1", "-i", SONG, "-af", "volume=0.5")
    assert run_visualize("--like", "a.mp4", "--output_file", "b.mp4", song=song).returncode == 0
    result = visualize_here("--like", "a.mp4", "--output_file", "c.mp4")
    assert_one_line_error(result, "song.wav: has changed since a.mp4 was made of it")


@pytest.mark.parametrize("folder", [[], ["--weights", "."]], ids=["cached", "folder"])
def test_like_refuses_changed_weights_unless_they_are_given(run_visualize, monkeypatch, folder):
    """Given weights are used as they are, in the folder of the earlier video as well as in another one."""
    monkeypatch.setattr(generators, "weights_checksum", lambda *arguments, **options: "1")
    run_visualize("--output_file", "a.mp4", *folder)
    monkeypatch.setattr(generators, "weights_checksum", lambda *arguments, **options: "2")
    refused = run_visualize("--like", "a.mp4", "--output_file", "b.mp4")
    assert refused.returncode == 1
    assert "other weights than those a.mp4 was made with (give --weights" in refused.stderr
    assert run_visualize("--like", "a.mp4", "--output_file", "b.mp4", "--weights", ".").returncode == 0


def test_weights_are_noted_in_the_video_and_others_are_refused(tmp_path, monkeypatch):
    """The BigGAN has an eighth of the published channels: its pictures are not examined."""
    narrow = BigGANConfig(output_dim=128, layers=LAYERS[128], channel_width=16)
    monkeypatch.setattr(biggan_weights, "configuration", lambda resolution: narrow)
    model, weights = BigGAN(narrow), tmp_path / "weights"
    save(model, weights)
    first = visualize_here(
        "--song",
        SONG,
        "--duration",
        "0.3",
        "--fps",
        "5",
        "--generator",
        "biggan",
        "--resolution",
        "128",
        "--weights",
        weights,
        "--device",
        "cpu",
        "--output_file",
        tmp_path / "a.mp4",
    )
    assert first.returncode == 0, first.stderr
    made = settings_of(tmp_path / "a.mp4")
    assert made["weights_sha256"] == files.sha256(weights / "pytorch_model.bin")
    assert made == settings_of(tmp_path / "a.mp4.json")
    model.generator.conv_to_rgb.bias.data += 0.5
    save(model, weights)
    again = visualize_here("--like", tmp_path / "a.mp4", "--output_file", tmp_path / "b.mp4")
    assert_one_line_error(again, str(weights), "other weights", "a.mp4")
    assert not (tmp_path / "b.mp4").exists()


def test_previous_classes_and_vectors_come_from_the_output_folder(run_visualize, tmp_path):
    (tmp_path / "out").mkdir()
    run_visualize("--output_file", "out/a.mp4")
    run_visualize("--output_file", "out/b.mp4", "--use_previous_vectors", "1")
    assert_same("out/a.mp4", "out/b.mp4")
    run_visualize("--output_file", "out/c.mp4", "--use_previous_classes", "1", "--seed", "1")
    assert noted("out/c.mp4")["classes"] == noted("out/a.mp4")["classes"]
    assert not looks_alike("out/a.mp4", "out/c.mp4")
    assert_one_line_error(run_visualize("--output_file", "d.mp4", "--use_previous_classes", "1"), "no such file")
    run_visualize("--output_file", "out/d.mp4", "--use_previous_classes", "1", "--num_classes", "3")
    assert noted("out/d.mp4")["classes"] == noted("out/a.mp4")["classes"][:3]
    assert_one_line_error(
        run_visualize("--output_file", "out/e.mp4", "--use_previous_classes", "1", "--num_classes", "4"),
        "num_classes",
        "4",
        "3",
        code=2,
    )


def test_vectors_bring_their_own_rate(run_visualize, tmp_path):
    run_visualize("--output_file", "a.mp4", "--save_vectors", "f.npz", "--frame_length", "1408", "--duration", "2")
    visualize_here("--song", SONG, *BASE, "--vectors", "f.npz", "--duration", "2")
    assert probe.probe(tmp_path / "output.mp4").frame_rate == Fraction(22050, 1408)


def test_vectors_and_a_song_that_does_not_say_how_long_it_is(run_visualize, tmp_path):
    """The mp3 seems to last longer than it does, as it begins quietly; the FLAC says nothing."""
    run_visualize("--output_file", "a.mp4", "--save_vectors", "f.npz", "--duration", "2")
    quiet_first = "aevalsrc='0.5*random(0)*gt(t,1)':d=2"
    guessed = make_media(tmp_path / "guessed.mp3", "-f", "lavfi", "-i", quiet_first, "-q:a", "0", "-write_xing", "0")
    assert probe.probe(guessed).duration > 2.5
    flac = ["ffmpeg", "-v", "error", "-t", "2", "-i", SONG, "-f", "flac", "pipe:"]
    unknown = through_a_pipe(tmp_path / "unknown.flac", *flac)
    for song, output in ((guessed, "b.mp4"), (unknown, "c.mp4")):
        result = run_visualize("--vectors", "f.npz", "--output_file", output, "--duration", "9", song=song)
        assert result.returncode == 0, result.stderr
        assert probe.probe(output).duration == pytest.approx(2, abs=0.11)


def test_a_song_written_to_a_pipe(run_visualize, tmp_path):
    piped = through_a_pipe(tmp_path / "piped.wav", "sox", SONG, "-b", "24", "-t", "wav", "-", "trim", "0", "0.7")
    result = run_visualize(song=piped)
    assert result.returncode == 0, result.stderr
    assert probe.probe(tmp_path / "output.mp4").duration == pytest.approx(0.7, abs=0.01)


def test_vectors_of_another_generator_are_refused(run_visualize, tmp_path):
    path = Trajectory(np.zeros((90, 4)), np.ones((90, 1)), (3,), 43.0, 2.0)
    path.save("f.npz", labels=["kettle"], params={})
    assert_one_line_error(run_visualize("--vectors", "f.npz"), "f.npz", "kettle")
    path = Trajectory(np.zeros((90, 9)), np.ones((90, 1)), (3,), 43.0, 2.0)
    path.save("f.npz", labels=["colour 3"], params={})
    assert_one_line_error(run_visualize("--vectors", "f.npz"), "f.npz", "9")


# -- Interruptions ------------------------------------------------------------------------------------------


STALL_IN_THE_SECOND_SEGMENT = f"""
import time, visualize
from stub import Stub
class Stalls(Stub):
    drawn = 0
    def frames(self, noise, classes):
        self.drawn += len(noise)
        if self.drawn > {SEGMENT_FRAMES} + 20:
            time.sleep(600)
        return super().frames(noise, classes)
visualize.generators.labels = lambda name: Stub.labels
visualize.generators.load = lambda name, resolution, **options: Stalls(resolution)
visualize.entry_point(visualize.main)
"""


@pytest.fixture
def stalled_run(run_visualize):
    """A function that starts visualize.py in a process of its own, and returns once its second segment has begun."""
    processes = []

    def start(*words) -> subprocess.Popen:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                STALL_IN_THE_SECOND_SEGMENT,
                "--song",
                SONG,
                *BASE[:2],
                "--resolution",
                "32",
                *TWO_SEGMENTS,
                "--batch_size",
                "15",
                *words,
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        work, deadline = Work("output.mp4"), time.monotonic() + 120
        while not (work.segments() and list(work.folder.glob(".*.nut"))):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_killed_command_goes_on_and_gives_the_same_video(run_visualize, stalled_run, tmp_path):
    process = stalled_run()
    process.kill()
    process.wait()
    work = Work("output.mp4")
    assert_one_line_error(run_visualize(*TWO_SEGMENTS, "--jitter", "0.9"), "jitter 0.5 is now 0.9", "--overwrite")
    assert run_visualize(*TWO_SEGMENTS).returncode == 0
    run_visualize(*TWO_SEGMENTS, "--output_file", "undisturbed.mp4")
    assert (tmp_path / "output.mp4").read_bytes() == (tmp_path / "undisturbed.mp4").read_bytes()
    assert not work.folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_command_alone_ends_it_in_good_order(stalled_run, tmp_path, number):
    process = stalled_run()
    process.send_signal(number)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 128 + number, printed
    assert "interrupted: what is done is kept; run the same command again to go on" in printed.splitlines()[-1]
    assert "Traceback" not in printed and "FATAL" not in printed and "terminate" not in printed
    assert Work("output.mp4").segments()
    assert not list(tmp_path.rglob("*.partial*"))


def test_ctrl_c_says_how_to_go_on(interrupted, run_visualize, monkeypatch):
    class Interrupted(Stub):
        def frames(self, noise, classes):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        use_stub(patch, Interrupted)
        early = run_visualize("--seed", "5")
    assert early.returncode == 130 and not Work("output.mp4").folder.exists()
    assert "--seed 5 draws the same" in early.stderr.splitlines()[-1]
    late = interrupted()
    assert late.returncode == 130 and len(Work("output.mp4").segments()) == 1
    assert "run the same command again" in late.stderr.splitlines()[-1]


@pytest.fixture
def interrupted(run_visualize, monkeypatch):
    """A function that runs visualize.py for two segments, and interrupts it after the first one that it draws."""

    def run(*arguments):
        class Stops(Stub):
            drawn = -1  # one picture is drawn ahead of the first segment

            def frames(self, noise, classes):
                Stops.drawn += len(noise)
                if Stops.drawn > SEGMENT_FRAMES:
                    raise KeyboardInterrupt
                return super().frames(noise, classes)

        with monkeypatch.context() as patch:
            use_stub(patch, Stops)
            return run_visualize(*TWO_SEGMENTS, *arguments)

    return run


def test_a_run_with_the_previous_vectors_goes_on(run_visualize, interrupted):
    run_visualize(*TWO_SEGMENTS, "--output_file", "a.mp4")
    again = ("--output_file", "b.mp4", "--use_previous_vectors", "1")
    assert interrupted(*again).returncode == 130 and Work("b.mp4").segments()
    result = run_visualize(*TWO_SEGMENTS, *again)
    assert result.returncode == 0, result.stderr
    assert_same("a.mp4", "b.mp4")
    assert run_visualize(*TWO_SEGMENTS, "--like", "b.mp4", "--output_file", "c.mp4").returncode == 0
    assert_same("a.mp4", "c.mp4")


def test_a_run_with_the_previous_classes_sorted_goes_on(run_visualize, interrupted):
    run_visualize("--output_file", "a.mp4", "--sort_classes_by_power", "1", "--num_classes", "5")
    again = ("--output_file", "b.mp4", "--use_previous_classes", "1", "--sort_classes_by_power", "1")
    assert interrupted(*again).returncode == 130 and Work("b.mp4").segments()
    result = run_visualize(*TWO_SEGMENTS, *again)
    assert result.returncode == 0, result.stderr
    assert noted("b.mp4")["classes"] == noted("a.mp4")["classes"]


def test_overwrite_goes_on_where_nothing_changed_and_else_says_that_it_starts_over(run_visualize, interrupted):
    assert interrupted(*THREE_SEGMENTS, "--overwrite").returncode == 130
    assert_one_line_error(
        interrupted(*THREE_SEGMENTS, "--replace", "--jitter", "0.9"), "jitter 0.5 is now 0.9"
    )  # as make does
    changed = (*THREE_SEGMENTS, "--overwrite", "--jitter", "0.9")
    again = interrupted(*changed)
    assert "output.mp4: starting over" in again.stdout and "jitter 0.5 is now 0.9" in again.stdout
    assert len(Work("output.mp4").segments()) == 1
    result = interrupted(*changed)
    assert result.returncode == 130  # had it drawn the first segment again, there would be no second
    assert len(Work("output.mp4").segments()) == 2 and "starting over" not in result.stdout


def test_other_versions_are_told_and_other_arithmetic_is_refused(run_visualize, interrupted, monkeypatch):
    assert interrupted().returncode == 130
    with monkeypatch.context() as patch:
        patch.setattr(Stub, "computed_by", {"backend": "another GPU"}, raising=False)
        assert_one_line_error(run_visualize(*TWO_SEGMENTS), "another GPU", "--overwrite")
    monkeypatch.setattr(records, "versions", lambda: {"ffmpeg": "99.1"})
    result = run_visualize(*TWO_SEGMENTS)
    assert result.returncode == 0, result.stderr
    assert "going on" in result.stdout and "is now 99.1" in result.stdout
    assert "is this video already" in run_visualize(*TWO_SEGMENTS).stdout


def damage(note: Path, content: bytes | None) -> None:
    """Replace an interrupted render's settings by other content, or by a folder for None."""
    note.unlink()
    if content is None:
        (note / "folder").mkdir(parents=True)
    elif content:
        note.write_bytes(content)


@pytest.fixture(scope="module")
def interrupted_once(tmp_path_factory):
    """A folder with the work of a run that was interrupted in its second segment."""
    folder = tmp_path_factory.mktemp("interrupted")

    class Stops(Stub):
        calls = 0

        def frames(self, noise, classes):
            self.calls += 1
            if self.calls > 2:  # one picture ahead, and the first segment
                raise KeyboardInterrupt
            return super().frames(noise, classes)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        use_stub(patch, Stops)
        assert run_stubbed(*TWO_SEGMENTS, "--batch_size", SEGMENT_FRAMES).returncode == 130
    return folder


@pytest.mark.parametrize("content", [b"", b'{"seed": 7', b"[]", b"[" * 100_000, b"\xff\x00garbage", None])
def test_settings_beside_segments_that_cannot_be_read(run_visualize, interrupted_once, tmp_path, content):
    """A run with the same settings resumes; another one names the remedy, --overwrite."""
    shutil.copytree(interrupted_once, tmp_path, dirs_exist_ok=True)
    work = Work("output.mp4")
    assert len(work.segments()) == 1
    damage(work.folder / "settings.json", content)
    refused = run_visualize(*TWO_SEGMENTS, "--jitter", "0.9")
    assert_one_line_error(refused, "output.mp4: an interrupted render", "cannot be read", "--overwrite")
    result = run_visualize(*TWO_SEGMENTS)
    assert result.returncode == 0 and f"{SEGMENT_FRAMES}/90" in result.stderr  # the bar begins there
    assert not work.folder.exists()


@pytest.mark.parametrize("content", [b"[]", b"\xff\x00garbage", None])
def test_settings_that_cannot_be_read_are_started_over_when_told_to(run_visualize, interrupted_once, tmp_path, content):
    shutil.copytree(interrupted_once, tmp_path, dirs_exist_ok=True)
    work = Work("output.mp4")
    damage(work.folder / "settings.json", content)
    result = run_visualize(*TWO_SEGMENTS, "--jitter", "0.9", "--overwrite")
    assert result.returncode == 0 and "starting over" in result.stdout
    assert settings_of("output.mp4")["jitter"] == 0.9 and not work.folder.exists()


def test_vectors_are_not_written_onto_themselves(drawn):
    before = files.sha256("f.npz")
    assert drawn("--vectors", "f.npz", "--save_vectors", "f.npz", "--duration", "0.5").returncode == 0
    assert files.sha256("f.npz") == before


# -- Segments drawn by several runs ---------------------------------------------------------------------------


def test_segments_that_several_runs_draw_are_joined(run_visualize, tmp_path):
    """They give the same video as one run; nothing is joined while a segment is missing."""
    run_visualize(*THREE_SEGMENTS, "--output_file", "whole.mp4")
    assert "60 frames of segments 1:2" in run_visualize(*THREE_SEGMENTS, "--segments", "1:2").stdout
    assert_one_line_error(
        run_visualize(*THREE_SEGMENTS, "--join"), "segments are missing: draw --segments 0:1 2:3 first"
    )
    assert_one_line_error(run_visualize(*THREE_SEGMENTS, "--segments", "3:9"), "has 3 segments, 0:3")
    with Work("output.mp4").open(Work("output.mp4").record(), shared=True):  # another run draws others meanwhile
        for chosen in ("0:1", "2:"):
            assert run_visualize(*THREE_SEGMENTS, "--segments", chosen).returncode == 0
        assert_one_line_error(run_visualize(*THREE_SEGMENTS, "--join"), "another run is making it")
    assert not Path("output.mp4").exists() and len(Work("output.mp4").segments()) == 3
    assert run_visualize(*THREE_SEGMENTS, "--join").returncode == 0
    assert Path("output.mp4").read_bytes() == Path("whole.mp4").read_bytes()
    assert not Work("output.mp4").folder.exists()


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["--segments", "1-2"], 2, "is no range of segments"),
        (["--segments", "0:1", "--join"], 2, "not with --segments"),
        (["--cluster", "auto", "--storyboard", "a.png"], 2, "not with --storyboard"),
        (["--cluster", "somewhere"], 2, "is no cluster"),
    ],
)
def test_places_that_cannot_be(run_visualize, words, code, message):
    assert_one_line_error(run_visualize(*words), message, code=code)


def test_a_cluster_without_ray(run_visualize, monkeypatch, tmp_path):
    (tmp_path / "ray.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path)
    for module in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "musicvideo.vision.cluster", raising=False)
    monkeypatch.delattr(musicvideo.vision, "cluster", raising=False)
    result = visualize_here("--song", SONG, *BASE, "--mapping", "pulse", "--cluster", "auto", "--output_file", "a.mp4")
    assert_one_line_error(result, "--cluster needs Ray: run `pip install")
    assert not (tmp_path / "a.mp4").exists()


def test_many_songs_one_after_the_other(tmp_path, run_script):
    """What is done is skipped; a song that cannot be drawn does not stop the others."""
    bad = tmp_path / "bad.flac"
    bad.write_bytes(b"no song")
    words = ["batch", bad, SONG, "--folder", tmp_path, "--", *BASE, "--fps", "10"]
    for said in ("10 frames in", "is there"):
        result = run_script(musicvideo.__main__, *words)
        assert result.returncode == 1 and "1 of 2 songs have no video" in result.stderr.splitlines()[-1], result.stderr
        failed, drawn = result.stdout.splitlines()[-2:]
        assert "FAILED" in failed and "bad.flac" in failed and said in drawn
    assert probe.probe(tmp_path / "arpeggio.mp4").width == 32
    same_name = run_script(musicvideo.__main__, "batch", SONG, tmp_path / "arpeggio.mp3", "--", "--generator", "cppn")
    assert_one_line_error(same_name, "arpeggio.mp3: would become media/arpeggio.mp4")
    refused = run_script(musicvideo.__main__, "batch", SONG, "--", "--midi", "a.mid")
    assert_one_line_error(refused, "--midi: not for many songs", code=2)


# -- Untrusted files ------------------------------------------------------------------------------------------


def forged(folder: Path, **changes) -> Path:
    """A record as a.mp4.json, changed."""
    record = json.loads((folder / "a.mp4.json").read_text()) | changes
    (folder / "b.json").write_text(json.dumps(record))
    return folder / "b.json"


def test_only_what_describes_the_picture_is_taken_from_a_video(drawn, tmp_path):
    victims = [tmp_path / name for name in ("victim.npz", "victim.mp4", "victim.png")]
    for victim in victims:
        victim.write_bytes(b"precious")
    like = forged(
        tmp_path,
        save_vectors=str(victims[0]),
        output_file=str(victims[1]),
        storyboard=str(victims[2]),
        overwrite=True,
        replace=True,
        use_previous_vectors=1,
        list_classes="",
        batch_size=10**9,
        jitter=0.25,
    )
    result = drawn("--like", like, "--output_file", "c.mp4")
    assert result.returncode == 0, result.stderr
    assert noted("c.mp4")["jitter"] == 0.25
    assert [victim.read_bytes() for victim in victims] == [b"precious"] * 3
    assert_one_line_error(drawn("--like", like, "--output_file", victims[1]), "victim.mp4: is there already")


@pytest.mark.parametrize("name", ["song", "vectors", "weights"])
@pytest.mark.parametrize("checksum", [None, 5, "0" * 64])
def test_no_file_that_a_stranger_names_is_used_without_proof(drawn, tmp_path, monkeypatch, name, checksum):
    monkeypatch.setattr(generators, "weights_checksum", lambda *arguments, **options: "1" * 64)
    like = forged(tmp_path, **{name: str(SONG if name == "song" else tmp_path), f"{name}_sha256": checksum})
    result = visualize_here("--like", like, "--output_file", "c.mp4")
    assert_one_line_error(result, f"--{name}" if name != "vectors" or checksum != "0" * 64 else "is a folder")
    assert not (tmp_path / "c.mp4").exists()
    like = forged(tmp_path, **{name: "\x1b]0;title\x07", f"{name}_sha256": "0" * 64})
    assert "\x1b" not in (printed := visualize_here("--like", like, "--output_file", "c.mp4")).stderr + printed.stdout


ODD = [
    None,
    True,
    -1,
    0.5,
    10**400,
    "",
    "x" * 100_000,
    "\0",
    [],
    [[]],
    [1] * 100_000,
    {},
    {"a": 1},
    float("nan"),
    float("inf"),
]


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.recorded])
def test_values_of_any_type_are_one_line_or_as_good_as_typed(name, drawn, tmp_path, monkeypatch):
    """None of them gives a traceback. The generator refuses to draw, so that valid values end early as well."""

    class Refuses(Stub):
        def frames(self, noise, classes):
            raise MediaError("drawing begins")

    use_stub(monkeypatch, Refuses)
    for value in ODD:
        result = visualize_here("--like", forged(tmp_path, **{name: value}), "--output_file", "c.mp4")
        assert result.returncode in (1, 2), (value, result.stderr)
        assert len(result.stderr.splitlines()) == 1 and "Traceback" not in result.stderr, (value, result.stderr)
        assert len(result.stderr) < 2000
        assert "drawing begins" in result.stderr or name in result.stderr, (value, result.stderr)
    assert not (tmp_path / "c.mp4").exists()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 50_000, " " * (records.LARGEST + 1), "\ud800", "[1]"])
def test_records_that_are_none_are_one_line(run_visualize, tmp_path, text):
    (tmp_path / "b.json").write_text(text, errors="surrogatepass")
    assert_one_line_error(run_visualize("--like", "b.json"), "b.json", "no settings")


# -- Memory -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_song(tmp_path):
    """A process draws three songs. What it needs once, it has by the end of the first one."""
    script = """
import re, sys, visualize
from stub import Stub
class Wide(Stub):
    noise_dim, labels = 128, tuple(map(str, range(1000)))      # as BigGAN's
visualize.generators.labels = lambda name: Wide.labels
visualize.generators.load = lambda name, resolution, **options: Wide(resolution)
songs, words = sys.argv[1:4], sys.argv[4:]
for song in songs:
    sys.argv[1:] = ["--song", song, "--output_file", f"{song}.mkv", *words]
    visualize.main()
    # Not ru_maxrss, which begins with that of the process this one was forked from.
    print("peak", re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""
    # Of different lengths, since features are cached. Three minutes of samples are 16 MB, and allocators keep some.
    songs = [
        make_media(tmp_path / f"{seconds}.flac", "-f", "lavfi", "-i", f"anoisesrc=a=0.3:d={seconds}:r=22050")
        for seconds in (40, 61, 241)
    ]
    drawn = subprocess.run(
        [sys.executable, "-c", script, *songs, *BASE[:2], "--resolution", "16", "--fps", "1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    assert drawn.returncode == 0, drawn.stderr
    _, short, long = (int(line.split()[1]) for line in drawn.stdout.splitlines() if line.startswith("peak "))
    assert long - short < 10_000, (short, long)  # kB


# -- Mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--depth", "5"], ["depth", "5", "0.01..1"]),
        (["--pitch_sensitivity", "300"], ["pitch_sensitivity", "300", "1..299"]),
        (["--truncation", "0"], ["truncation", "0.1..1"]),
        (["--frame_length", "100"], ["frame_length", "100", "multiple of 64"]),
        (["--frame_length", "1344000"], ["frame_length", "1344000", "64..1322944"]),
        (["--smooth_factor", "inf"], ["smooth_factor", "inf", "1..100000"]),
        (["--num_classes", "13"], ["num_classes", "13", "1..12"]),
        (["--num_classes", "3", "--classes", "1", "2"], ["2 different", "3"]),
        (["--classes", "colour"], ["colour", "0 colour 0"]),
        (["--classes", "kettle"], ["kettle"]),
        (["--classes", *range(13)], ["13"]),
        (["--fps", "fast"], ["fps", "fast"]),
        (["--fps", "1000"], ["fps", "1000", "1..345"]),
        (["--fps", "0"], ["fps", "0", "1..345"]),
        (["--fps", "1e400"], ["fps", "1e400", "1..345"]),
        (["--fps", "1e99999999"], ["fps", "1e99999999", "1..345"]),
        (["--fps", "1/1e-99999999"], ["fps", "not a number or a fraction"]),
        (["--duration", "inf"], ["duration", "inf", "0.01..1000000"]),
        (["--duration", "nan"], ["duration", "nan", "0.01..1000000"]),
        (["--output_size", "0"], ["output_size", "0", "16..8192"]),
        (["--resolution", "100000"], ["resolution", "100000", "16..8192"]),
        (["--duration", "0"], ["duration", "0"]),
        (["--batch_size", "none"], ["batch_size", "none"]),
        (["--generator", "gan"], ["gan", "biggan", "cppn"]),
        (["--device", "gpu"], ["device", "gpu", "cuda:N"]),
        (["--precision", "int4"], ["precision", "int4", "fp16"]),
        (["--output_file", "a.gif"], ["a.gif", ".mp4"]),
        (["--storyboard", "a.jpg"], ["storyboard", "a.jpg", ".png"]),
        (["--output_file", SONG], [str(SONG)]),
        (["--crf", "99"], ["crf", "99", "0..51"]),
        (["--resolution", "33"], ["33", "even"]),
    ],
)
def test_a_setting_out_of_range_names_itself_its_value_and_its_range(run_visualize, tmp_path, arguments, words):
    assert_one_line_error(run_visualize(*arguments), *words, code=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("codec", [name for name in CODECS if "_" in name])
def test_hardware_that_is_not_there_is_named_before_anything_is_loaded(run_visualize, tmp_path, monkeypatch, codec):
    with suppress(MediaError):
        CODECS[codec].require()
        pytest.skip(f"this machine has {codec}")
    monkeypatch.delattr(generators, "load")
    assert_one_line_error(
        run_visualize("--codec", codec, "--output_file", "a.mkv"), codec, "choose another, such as h264"
    )
    assert not list(tmp_path.iterdir())


def test_what_vectors_hold_already_is_refused_beside_them(run_visualize):
    for option in (
        ["--jitter", "0.1"],
        ["--pitch_sensitivity", "250"],
        ["--tempo_sensitivity", "0.3"],
        ["--depth", "0.5"],
        ["--smooth_factor", "10"],
        ["--sort_classes_by_power", "1"],
        ["--mapping", "pulse"],
        ["--frame_length", "1024"],
        ["--num_classes", "3"],
    ):
        for vectors in (["--vectors", "f.npz"], ["--use_previous_vectors", "1"]):
            assert_one_line_error(run_visualize(*vectors, *option), option[0], vectors[0], code=2)


def test_two_sources_of_the_same_are_refused(run_visualize):
    assert_one_line_error(
        run_visualize("--vectors", "f.npz", "--use_previous_vectors", "1"), "--vectors", "leave out", code=2
    )
    assert_one_line_error(
        run_visualize("--classes", "1", "--use_previous_classes", "1"), "--classes", "leave out", code=2
    )


def test_vectors_that_are_not_finite_are_one_line(run_visualize):
    Trajectory(np.full((90, 4), np.nan), np.ones((90, 1)), (3,), 43.0, 2.0).save(
        "f.npz", labels=["colour 3"], params={}
    )
    assert_one_line_error(run_visualize("--vectors", "f.npz"), "f.npz", "not finite")


def test_settings_changed_by_hand_are_checked_as_the_command_line_is(drawn, tmp_path):
    for name, value in (
        ("jitter", 5),
        ("depth", "much"),
        ("crf", 99),
        ("classes", [1, 1, 2000]),
        ("frame_length", 100),
    ):
        assert_one_line_error(
            drawn("--like", forged(tmp_path, **{name: value}), "--output_file", "b.mp4"), name, code=2
        )


@pytest.mark.parametrize(
    "option, name", [("--output_file", "a.mp4"), ("--save_vectors", "a.npz"), ("--storyboard", "a.png")]
)
def test_an_output_that_is_a_folder_or_the_song_is_refused_first(run_visualize, tmp_path, monkeypatch, option, name):
    monkeypatch.delattr(generators, "load")
    (tmp_path / name).mkdir()
    assert_one_line_error(run_visualize(option, name), name, "folder", code=2)
    (tmp_path / "song").mkdir()
    song = shutil.copy(SONG, tmp_path / "song" / name)
    assert_one_line_error(run_visualize(option, song, song=song), name, "the song itself", code=2)


@pytest.mark.parametrize("channels", [9, 17])
def test_more_channels_than_a_container_holds_are_refused_before_anything_is_drawn(
    run_visualize, write_wav, monkeypatch, channels
):
    song = write_wav("many.wav", np.zeros((48000, channels)))
    with monkeypatch.context() as patch:
        patch.delattr(generators, "load")
        for output in ("a.mp4", "a.webm"):
            assert_one_line_error(run_visualize("--output_file", output, song=song), "many.wav", f"{channels} channels")
    assert run_visualize("--output_file", "a.mkv", song=song).returncode == 0


def test_what_a_generator_cannot_draw_is_one_line(run_visualize, monkeypatch):
    class Refuses(Stub):
        def frames(self, noise, classes):
            raise ValueError("noise must be smaller")

    monkeypatch.setattr(generators, "load", lambda name, resolution, **options: Refuses(resolution))
    result = run_visualize()
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == "visualize.py: error: noise must be smaller"


def test_a_song_that_is_none(run_visualize, tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\nhttp://example.org/a.mp3\n")
    make_media(tmp_path / "silent.mp4", "-f", "lavfi", "-i", "testsrc2=d=1:s=64x64")
    inputs = set(tmp_path.iterdir())
    for name, word in [
        ("empty.wav", "empty"),
        ("text.wav", "not an audio"),
        ("list.m3u8", "not an audio"),
        ("silent.mp4", "no sound"),
        ("missing.wav", "no such file"),
        (".", "folder"),
        ("http:/example.org/a.mp3", "no such file"),
    ]:
        assert_one_line_error(run_visualize(song=name), name, word)
    assert set(tmp_path.iterdir()) == inputs


def test_a_failure_keeps_the_earlier_video(run_visualize, tmp_path):
    run_visualize("--seed", "1")
    before = (tmp_path / "output.mp4").read_bytes()

    assert_one_line_error(run_visualize("--seed", "2", "--overwrite", song="missing.wav"), "missing.wav")
    assert (tmp_path / "output.mp4").read_bytes() == before
    assert run_visualize("--seed", "2", "--overwrite").returncode == 0
    assert (tmp_path / "output.mp4").read_bytes() != before


def test_biggan_without_weights_says_what_to_do(tmp_path):
    result = visualize_here("--song", SONG, "--weights", tmp_path, "--output_file", tmp_path / "a.mp4")
    assert_one_line_error(result, str(tmp_path), "weights")
