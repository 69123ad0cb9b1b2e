"""The 8D script, run as by a user."""

import io
import json
import os
import resource
import tracemalloc
import wave
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import soundfile
from test_clock import metre, tempo, write_midi
from test_spatial import write_sofa

import eightd
from conftest import assert_one_line_error, command, make_media
from musicvideo.sound import models
from musicvideo.sound.soundfiles import open_sound

RATE = 48000
# A second a quarter, 4/4: measures at 0, 4 and 8 s.
SETS = {
    "vibes": [
        {"effect": "straight", "m1": 1, "m2": 2, "ear_i": -0.7},
        {"effect": "half_cosine", "m1": 2, "b1": 1, "m2": 3, "b2": 1, "ear_i": -0.7, "ear_f": 0.7},
    ],
    "bells": [{"effect": "orbit", "m1": 1, "m2": "end", "turns": 2}],
}


@pytest.fixture
def score(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(SETS))
    return path


@pytest.fixture
def midi(tmp_path):
    return write_midi(tmp_path / "clock.mid", (0, tempo(60)), (0, metre(4, 4)), end=8 * 480)


@pytest.fixture
def song(write_wav):
    return write_wav("in.wav", np.random.default_rng(0).normal(0, 0.1, 9 * RATE), subtype="PCM_16")


@pytest.fixture
def run(run_script):
    return partial(run_script, eightd)


@pytest.fixture
def run_score(run, song, score, midi):
    """The script on a song and a panning score, with further options."""
    return lambda out, *more: run("-i", song, "-o", out, "-e", "vibes", "-j", score, "-m", midi, *more)


def balance(path, start: float, end: float) -> float:
    """Level of the right ear over the left in dB between two times in seconds."""
    sound, rate = soundfile.read(path)
    left, right = np.mean(sound[int(start * rate) : int(end * rate)] ** 2, axis=0)
    return 10 * np.log10(right / left)


@pytest.mark.parametrize("model", ["pan", "sphere"])
def test_the_command_of_the_manual(model, run_score, song, tmp_path):
    out = tmp_path / "out.wav"
    result = run_score(out, "--model", model)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{song} -> {out}\n"
    info = soundfile.info(out)
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (RATE, 2, 9 * RATE, "PCM_16")
    assert balance(out, 0.5, 3.5) < -5
    assert abs(balance(out, 5.9, 6.1)) < 1
    assert balance(out, 7.5, 7.95) > 5
    assert abs(balance(out, 8.1, 9)) < 0.5  # after the last move it is in front


def test_a_song_without_a_score_circles(run, song, tmp_path):
    out = tmp_path / "out.flac"
    assert run("-i", song, "-o", out, "--orbit", 4, "--subtype", "pcm_24").returncode == 0
    assert soundfile.info(out).subtype == "PCM_24"
    assert balance(out, 0.9, 1.1) > 3 and balance(out, 2.9, 3.1) < -3


@pytest.mark.parametrize(
    "name, format, subtype, out, kept",
    [
        ("q.mp3", "MP3", "MPEG_LAYER_III", "out.wav", "PCM_16"),  # soundfile reports that a wav can hold this
        ("q.mp3", "MP3", "MPEG_LAYER_III", "out.flac", "PCM_16"),
        ("q.mp3", "MP3", "MPEG_LAYER_III", "out.mp3", "MPEG_LAYER_III"),
        ("q.ogg", "OGG", "VORBIS", "out.wav", "PCM_16"),
    ],
)
def test_a_compressed_song(run, tmp_path, name, format, subtype, out, kept):
    soundfile.write(tmp_path / name, np.random.default_rng(0).normal(0, 0.1, RATE), RATE, subtype, format=format)
    result = run("-i", tmp_path / name, "-o", tmp_path / out, "--orbit", 16, "--model", "pan")
    assert result.returncode == 0, result.stderr
    info = soundfile.info(tmp_path / out)
    assert (info.channels, info.samplerate, info.subtype) == (2, RATE, kept)


def test_an_mp3_that_states_a_wrong_size_is_read_without_a_word(song, tmp_path):
    """libsndfile's decoder would write a warning to stderr."""
    mp3 = make_media(tmp_path / "q.mp3", "-i", song)
    data = bytearray(mp3.read_bytes())
    size = slice(data.index(b"Info") + 12, data.index(b"Info") + 16)  # after the tag, flags and number of frames
    data[size] = (2 * int.from_bytes(data[size], "big")).to_bytes(4, "big")
    mp3.write_bytes(data)
    result = command("eightd.py", "-i", mp3, "-o", tmp_path / "out.wav", "--orbit", 4, "--model", "pan")
    assert (result.returncode, result.stderr) == (0, "")


def test_threads_that_open_sounds_at_once_leave_stderr_as_it_was(song):
    before = os.fstat(2)
    with ThreadPoolExecutor(4) as pool:
        for file in pool.map(open_sound, [song] * 400):
            file.close()
    assert os.path.samestat(os.fstat(2), before)


def test_distance_without_metres_is_one(run, song, tmp_path):
    def level(*options):
        result = run("-i", song, "-o", tmp_path / "out.wav", "--orbit", 4, "--model", "pan", *options)
        assert result.returncode == 0, result.stderr
        return np.sqrt(np.mean(soundfile.read(tmp_path / "out.wav")[0] ** 2))

    assert level("--distance") == level()
    assert level("--distance", 2) == pytest.approx(level() / 2, rel=0.01)


def test_the_plot_needs_no_sound(run, score, midi, tmp_path):
    result = run("-j", score, "-m", midi, "--plot", tmp_path / "motion.png")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "motion.png").read_bytes().startswith(b"\x89PNG")
    assert result.stdout == f"{score} -> {tmp_path}/motion.png\n"


def test_a_plot_of_a_whole_day_stays_small(run, score, tmp_path):
    """The number of points is limited, whatever the length: a few megabytes of memory."""
    score.write_text('{"a": [{"effect": "orbit", "t1": 0, "t2": 86400, "turns": 3}]}')
    tracemalloc.start()
    assert run("-j", score, "--plot", tmp_path / "motion.png").returncode == 0
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


def test_a_score_with_one_set_needs_no_e(run, score, song, midi, tmp_path):
    out = tmp_path / "out.wav"
    result = run("-i", song, "-o", out, "-j", score, "-m", midi)
    assert result.returncode == 2 and "-e SET" in result.stderr and "vibes, bells" in result.stderr
    score.write_text(json.dumps({"vibes": SETS["vibes"]}))
    assert run("-i", song, "-o", out, "-j", score, "-m", midi, "--model", "pan").returncode == 0
    assert balance(out, 0.5, 3.5) < -5


def test_help_shows_an_example():
    shown = command("eightd.py", "--help").stdout
    assert (
        "python eightd.py -i in.wav -o out.wav -e vibes -j scores/Impassive.panning.json -m media/Impassive.mid"
        in shown
    )
    assert "docs/panning.md" in shown


@pytest.mark.parametrize(
    "options, words",
    [
        ([], ["give a sound"]),
        (["-i", "in.wav"], ["-i and -o"]),
        (["-i", "in.wav", "-o", "out.wav"], ["--orbit"]),
        (["-i", "in.wav", "-o", "out.wav", "--orbit", "0"], ["--orbit"]),
        (["-i", "in.wav", "-o", "out.wav", "--orbit", "nan"], ["--orbit"]),
        (["-i", "in.wav", "-o", "out.wav", "--orbit", "4", "--width", "2"], ["--width"]),
        (["-i", "in.wav", "-o", "out.wav", "--orbit", "4", "--distance", "0"], ["--distance"]),
        (["-i", "in.wav", "-o", "out.wav", "--orbit", "4", "--model", "pan", "--sofa", "x"], ["--sofa"]),
        (["-i", "in.wav", "-o", "out.wav", "--orbit", "4", "-e", "vibes"], ["-e names a set", "--orbit"]),
        (["--plot", "a.png", "--orbit", "4"], ["--plot"]),
    ],
)
def test_options_that_do_not_go_together(options, words, run):
    result = run(*options)
    assert result.returncode == 2
    assert all(word in result.stderr.splitlines()[-1] for word in words)


def change(score, **changes):
    sets = json.loads(score.read_text())
    sets["vibes"][1].update(changes)
    score.write_text(json.dumps(sets))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"b1": 2}, ['set "vibes", move 2 (measure 2 beat 2)', "a gap"]),
        ({"m1": 1}, ["an overlap"]),
        ({"effect": "zigzag"}, ["zigzag"]),
        ({"m2": 2, "b2": 5.5}, ["beat 5.5"]),
        ({"m2": 7}, ["no measure 7"]),
        ({"ear_f": 1.5}, ["ear_f", "1.5", "-n"]),
    ],
)
def test_a_faulty_panning_score(run_score, score, tmp_path, changes, words):
    change(score, **changes)
    assert_one_line_error(run_score(tmp_path / "out.wav"), "p.json", *words)
    assert not (tmp_path / "out.wav").exists()


def test_a_fault_in_another_set_does_not_block(run_score, score, tmp_path):
    """The sound is moved, the other sets are drawn, and the fault is named."""
    sets = json.loads(score.read_text())
    sets["bells"][0]["effect"] = "circle"
    score.write_text(json.dumps(sets))
    result = run_score(tmp_path / "out.wav", "--plot", tmp_path / "x.png", "--model", "pan")
    assert result.returncode == 0, result.stderr
    (note,) = (line for line in result.stderr.splitlines() if line.startswith("note"))
    assert "not drawn" in note and 'set "bells", move 1' in note and "'circle'" in note
    assert (tmp_path / "out.wav").exists() and (tmp_path / "x.png").exists()


def test_faults_in_all_sets_that_are_to_be_plotted(run, score, tmp_path):
    score.write_text('{"a": [{"effect": "circle"}], "b": [{"effect": "none", "t1": 1e400, "t2": 2}]}')
    assert_one_line_error(run("-j", score, "--plot", tmp_path / "x.png"), "p.json", "1e400")
    score.write_text('{"a": [{"effect": "circle"}], "b": 7}')
    assert_one_line_error(run("-j", score, "--plot", tmp_path / "x.png"), "p.json", 'set "a", move 1, effect', "circle")
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    "place, words",
    [
        ("/proc/motion.png", ["/proc"]),
        ("{tmp}/folder.png", ["folder.png"]),
        ("{tmp}/motion.xyz", ["motion.xyz", "end it in .png, .svg, .pdf"]),
    ],
)
def test_a_plot_that_cannot_be_written(run_score, tmp_path, place, words):
    """The fault is reported before minutes of sound are written."""
    (tmp_path / "folder.png").mkdir()
    before = sorted(os.listdir(tmp_path))
    result = run_score(tmp_path / "out.wav", "--plot", place.format(tmp=tmp_path))
    assert_one_line_error(result, *words)
    assert sorted(os.listdir(tmp_path)) == before


def test_ears_outside_are_scaled_with_n(run_score, score, tmp_path):
    """By one factor: the set moves between -0.7/1.5 and 1."""
    change(score, ear_f=1.5)
    assert run_score(tmp_path / "out.wav", "-n", "--model", "pan").returncode == 0
    angle = np.pi / 4 * (1 - 0.7 / 1.5)
    assert balance(tmp_path / "out.wav", 0.5, 3.5) == pytest.approx(20 * np.log10(np.tan(angle)), abs=0.1)
    assert balance(tmp_path / "out.wav", 7.9, 7.98) > 20


def wav_file(rate: int) -> bytes:
    """A WAV file of 48000 samples of 16 bit that states this rate."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", "none"))
        out.writeframes(bytes(range(256)) * 375)
    return file.getvalue()


@pytest.mark.parametrize(
    "option, name, content, words",
    [
        ("-i", "empty.wav", b"", ["is empty"]),
        ("-i", "text.wav", b"not a sound", ["not a sound file"]),
        ("-i", "gone.wav", None, ["no such file"]),
        ("-i", "slow.wav", wav_file(1), ["sample rate of 1 Hz", "4000"]),
        ("-i", "cut.wav", wav_file(RATE)[:-10_000], ["damaged or cut off at 0.9 s of its 1.0 s"]),
        ("-m", "broken.mid", b"MThd", ["not a MIDI file"]),
        ("-m", "gone.mid", None, ["no such file"]),
        ("-j", "broken.json", b"{", ["not JSON"]),
        ("-e", "vibbes", None, ['no set "vibbes"', "'vibes'"]),
        ("--sofa", "x.sofa", b"no SOFA", ["not a SOFA file"]),
    ],
)
def test_a_faulty_file(run_score, tmp_path, option, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    value = name if option == "-e" else path
    result = run_score(tmp_path / "out.wav", option, value)
    assert_one_line_error(result, name, *words)
    assert not (tmp_path / "out.wav").exists()


def test_a_sofa_file_of_another_convention(run_score, tmp_path):
    head = write_sofa(tmp_path / "room.sofa", convention="MultiSpeakerBRIR")
    result = run_score(tmp_path / "out.wav", "--sofa", head)
    assert_one_line_error(result, "room.sofa", "MultiSpeakerBRIR", "SimpleFreeFieldHRIR")
    assert not (tmp_path / "out.wav").exists()


def test_without_a_measured_head(run_score, tmp_path, monkeypatch):
    """The sphere takes its place, unless the measured one is asked for."""
    monkeypatch.setattr(models, "find_kemar", lambda: None)
    models.load_model.cache_clear()
    try:
        assert run_score(tmp_path / "default.wav").returncode == 0
        assert run_score(tmp_path / "sphere.wav", "--model", "sphere").returncode == 0
        assert (tmp_path / "default.wav").read_bytes() == (tmp_path / "sphere.wav").read_bytes()
        assert_one_line_error(run_score(tmp_path / "out.wav", "--model", "hrtf"), "libmysofa", "sphere")
        assert not (tmp_path / "out.wav").exists()
    finally:
        models.load_model.cache_clear()


@pytest.mark.parametrize(
    "samples, words",
    [
        (np.zeros((1000, 2)), ["is silent"]),
        (np.zeros((0, 1)), ["no sound"]),
        (np.ones((1000, 3)) * 0.1, ["3 channels"]),
        (np.where(np.arange(RATE) == 30000, np.nan, 0.1), ["not numbers"]),
        (np.where(np.arange(RATE) == 30000, np.inf, 0.1), ["not numbers"]),
        (np.where(np.arange(RATE) == 30000, 1e38, 0.1), ["far above full scale"]),
    ],
)
def test_sounds_that_cannot_be_moved(run, write_wav, tmp_path, samples, words):
    path = write_wav("odd.wav", samples)
    assert_one_line_error(run("-i", path, "-o", tmp_path / "out.wav", "--orbit", 4), "odd.wav", *words)
    assert sorted(os.listdir(tmp_path)) == ["odd.wav"]


def test_places_that_cannot_be_written(run, song, tmp_path):
    for name, words in (("out.xyz", "end it in .wav or .flac"), ("out", "end it in .wav or .flac")):
        assert_one_line_error(run("-i", song, "-o", tmp_path / name, "--orbit", 4), words)
    assert_one_line_error(
        run("-i", song, "-o", tmp_path / "out.flac", "--orbit", 4, "--subtype", "FLOAT"),
        "FLAC cannot hold FLOAT",
        "PCM_24",
    )
    assert_one_line_error(
        run("-i", song, "-o", tmp_path / "out.wav", "--orbit", 4, "--subtype", "MPEG_LAYER_III"),
        "WAV cannot hold MPEG_LAYER_III",
        "PCM_24",
    )
    assert_one_line_error(run("-i", song, "-o", "/dev/null/out.wav", "--orbit", 4), "/dev/null")


def test_what_was_there_stays_when_it_fails(run_score, score, tmp_path):
    out = tmp_path / "out.wav"
    out.write_bytes(b"mine")
    change(score, m2=7)
    assert run_score(out).returncode == 1
    assert out.read_bytes() == b"mine"


def test_a_full_disk_and_a_forbidden_place_are_one_line_and_keep_what_was_there(run, tmp_path):
    """A limit on file size stops the writing as a full disk does: in the middle of the output."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))

    soundfile.write(tmp_path / "in.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 10 * 48000), 48000)
    (tmp_path / "out.wav").write_bytes(b"old")
    full = command("eightd.py", "-i", tmp_path / "in.wav", "-o", tmp_path / "out.wav", "--orbit", "4", preexec_fn=limit)
    assert_one_line_error(full, "out.wav", "space")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "out.wav"]
    assert (tmp_path / "out.wav").read_bytes() == b"old"
    assert_one_line_error(run("-i", tmp_path / "in.wav", "-o", "/proc/o.wav", "--orbit", "4"), "/proc")
    (tmp_path / "in.raw").write_bytes(b"1234" * 100)
    assert_one_line_error(run("-i", tmp_path / "in.raw", "-o", tmp_path / "o.wav", "--orbit", "4"), "in.raw")
