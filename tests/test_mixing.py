"""The mix: arithmetic, alignment, loudness, peaks, and messages about faulty tables."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
from scipy import signal

import eightd
import mix
from conftest import ROOT, assert_one_line_error, command
from musicvideo import files, programs
from musicvideo.documents import find_fault
from musicvideo.errors import MediaError
from musicvideo.sound import effects, mixing
from musicvideo.sound.effects import sum_files
from musicvideo.sound.mastering import master_file, measure
from musicvideo.sound.mixing import RATE, prepare
from musicvideo.sound.table import Bus, Master, Mix, Panning, Part, Reverb, Tremolo, explain, read_mix
from musicvideo.tables import schema

HEAD = "[master]\ntail = 1.0\nfade = 0.2\n[reverbs.hall]\nreverberance = 60\npredelay = 20\n"


def notes(seconds: float, pitch: float, seed: int = 0) -> np.ndarray:
    """Struck notes that ring, a little noise in each: as dynamic as a vibraphone."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    sound = np.zeros(len(time))
    for begin in np.arange(0, seconds - 0.2, 0.4):
        since = np.maximum(time - begin, 0)
        struck = (time >= begin) * np.exp(-3 * since) * rng.uniform(0.1, 0.4)
        sound += struck * (np.sin(2 * np.pi * pitch * since) + 0.02 * rng.normal(size=len(time)))
    return sound


def decibels(ratio) -> float:
    return 20 * np.log10(max(ratio, 1e-12))


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A folder with parts that end at different times, mono and stereo, at 44.1 and 48 kHz, one of them silent."""
    folder = tmp_path_factory.mktemp("parts")
    soundfile.write(folder / "vibes.wav", np.stack([notes(4, 440), notes(4, 440, 1)], 1), RATE, "PCM_24")
    soundfile.write(folder / "bells.wav", signal.resample_poly(notes(2.5, 1760, 2), 147, 160), 44100, "PCM_24")
    soundfile.write(folder / "marimba.wav", notes(3, 220, 3), RATE, "FLOAT")
    soundfile.write(folder / "short.wav", notes(1, 220, 3), RATE, "FLOAT")
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    return folder


@pytest.fixture
def folder(parts, tmp_path, monkeypatch):
    """A folder of its own with the parts, to mix in."""
    shutil.copytree(parts, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mixed(parts, folder, table, *options):
    """A folder with the parts, in which the table was mixed by the command."""
    shutil.copytree(parts, folder, dirs_exist_ok=True)
    (folder / "Piece.mix.toml").write_text(table)
    result = command(ROOT / "mix.py", "Piece.mix.toml", *options, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def full_mix(parts, tmp_path_factory):
    return mixed(parts, tmp_path_factory.mktemp("full"), FULL, "--report", "report.png")


@pytest.fixture(scope="module")
def plain_mix(parts, tmp_path_factory):
    return mixed(parts, tmp_path_factory.mktemp("plain"), PLAIN)


@pytest.fixture
def full(full_mix, tmp_path, monkeypatch):
    """A folder in which FULL was mixed."""
    shutil.copytree(full_mix, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plain(plain_mix, tmp_path, monkeypatch):
    """A folder in which PLAIN was mixed."""
    shutil.copytree(plain_mix, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(run_script):
    return partial(run_script, mix)


def write_table(text: str | bytes, name: str = "Piece.mix.toml") -> Path:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return Path(name)


def true_peak(sound: np.ndarray) -> float:
    """dBTP at four times the rate (ITU-R BS.1770-4, annex 2), with a better filter than it asks for."""
    return decibels(np.abs(signal.resample_poly(sound, 4, 1, axis=0, window=("kaiser", 8.0))).max())


FULL = (
    HEAD
    + """
[parts.vibes]
file = "vibes.wav"
tremolo = { speed = 5, depth = 40 }
reverb = "hall"
[parts.bells]
file = "bells.wav"
gain = -6
highpass = 300
orbit = 2
reverb = "hall"
send = -12
[parts.marimba]
file = "marimba.wav"
[parts.silent]
file = "silent.wav"
orbit = 4
"""
)


def test_a_mix_a_mastering_engineer_accepts(full):
    assert Path("report.png").read_bytes().startswith(b"\x89PNG")
    for name in ("Dry", "Wet"):
        info = soundfile.info(f"media/Piece-{name}.wav")
        assert (info.samplerate, info.channels, info.subtype, info.frames) == (RATE, 2, "PCM_24", 5 * RATE)
        sound = soundfile.read(f"media/Piece-{name}.wav")[0]
        assert pyloudnorm.Meter(RATE).integrated_loudness(sound) == pytest.approx(-14, abs=0.3)
        assert true_peak(sound) <= -0.95
        assert np.abs(sound).max() < 1
    assert sorted(path.name for path in Path("media").glob("[!.]*")) == ["Piece-Dry.wav", "Piece-Wet.wav"]


def test_the_reverb_tail_rings_out(full):
    """The longest part ends at 4 s: the Dry mix is silent from there on, the Wet one dies away without a cut."""
    dry, wet = (soundfile.read(f"media/Piece-{name}.wav")[0] for name in ("Dry", "Wet"))
    assert decibels(np.abs(dry[round(4.05 * RATE) :]).max()) < -90
    levels = [decibels(np.sqrt(np.mean(wet[round(t * RATE) : round((t + 0.1) * RATE)] ** 2))) for t in (4.0, 4.3, 4.6)]
    assert levels[0] > -60 and levels[0] > levels[1] > levels[2]
    assert decibels(np.abs(wet[-10:]).max()) < -90


def test_the_sum_is_the_arithmetic_sum(folder):
    parts = [Part("vibes.wav"), Part("bells.wav", gain=-3), Part("marimba.wav"), Part("silent.wav")]
    length = 5 * RATE
    for number, part in enumerate(parts):
        prepare(part, folder / f"{number}.wav", length)
    levels = [0.0, -6.0, 2.0, 0.0]
    sum_files({folder / f"{number}.wav": level for number, level in enumerate(levels)}, folder / "sum.wav", gain=-1.5)
    files = [soundfile.read(f"{number}.wav")[0] for number in range(4)]
    assert all(file.shape == (length, 2) for file in files)
    wanted = sum(10 ** ((level - 1.5) / 20) * file for level, file in zip(levels, files))
    got = soundfile.read("sum.wav")[0]
    assert decibels(np.abs(got - wanted).max() / np.abs(wanted).max()) < -90


def test_parts_are_aligned_to_the_sample(folder):
    click = np.zeros(RATE)
    click[12345] = 0.5
    soundfile.write("click48.wav", click, RATE, "FLOAT")
    soundfile.write("click44.wav", np.eye(1, 44100, round(12345 * 147 / 160))[0] * 0.5, 44100, "FLOAT")
    for part in (Part("click48.wav"), Part("click48.wav", tremolo=Tremolo(5, 50)), Part("click44.wav")):
        prepare(part, folder / "out.wav", 2 * RATE)
        sound = soundfile.read("out.wav")[0]
        assert np.abs(sound).argmax(axis=0).tolist() == [12345, 12345]
        assert len(sound) == 2 * RATE


def test_gain_high_pass_and_tremolo_do_what_they_say(folder):
    time = np.arange(2 * RATE) / RATE
    soundfile.write(
        "tones.wav", 0.2 * np.sin(2 * np.pi * 50 * time) + 0.2 * np.sin(2 * np.pi * 1000 * time), RATE, "FLOAT"
    )
    prepare(Part("tones.wav", gain=-6, highpass=200), folder / "out.wav", 2 * RATE)
    spectrum = np.abs(np.fft.rfft(soundfile.read("out.wav")[0][RATE:, 0])) / (RATE / 2) / 0.2
    assert decibels(spectrum[1000]) == pytest.approx(-6, abs=0.1)
    assert decibels(spectrum[50]) == pytest.approx(-6 - 24, abs=1)  # 12 dB an octave, two of them

    soundfile.write("tone.wav", 0.2 * np.sin(2 * np.pi * 1000 * time), RATE, "FLOAT")
    prepare(Part("tone.wav", tremolo=Tremolo(5, 40)), folder / "out.wav", 2 * RATE)
    envelope = np.abs(signal.hilbert(soundfile.read("out.wav")[0][:, 0]))[RATE // 2 : -RATE // 2]
    assert envelope.min() / envelope.max() == pytest.approx(0.6, abs=0.02)
    assert np.abs(np.fft.rfft(envelope - envelope.mean())).argmax() == 5


def test_balance_keeps_the_power(folder):
    powers = []
    for balance in (-1, -0.3, 0, 0.3):
        prepare(Part("vibes.wav", balance=balance), folder / "out.wav", 4 * RATE)
        powers.append(np.mean(soundfile.read("out.wav")[0] ** 2, axis=0))
    assert powers[0][1] == 0
    for power in powers:
        assert power.sum() == pytest.approx(powers[2].sum(), rel=0.05)
    assert 10 * np.log10(powers[1][0] / powers[1][1] / (powers[2][0] / powers[2][1])) == pytest.approx(4.25, abs=0.01)


def test_nothing_clips_on_the_way(folder):
    """SoX computes in integers, yet parts far above full scale pass tremolo, sum and reverb undistorted."""
    soft = notes(2, 440, 4)
    time = np.arange(2 * RATE) / RATE
    soundfile.write("soft.wav", soft, RATE, "FLOAT")
    soundfile.write("tone.wav", np.sin(2 * np.pi * 1000 * time), RATE, "FLOAT")
    prepare(Part("soft.wav", gain=30, tremolo=Tremolo(5, 40)), folder / "loud.wav", 3 * RATE)
    prepare(Part("soft.wav", tremolo=Tremolo(5, 40)), folder / "same.wav", 3 * RATE)
    prepare(Part("tone.wav", gain=30), folder / "other.wav", 3 * RATE)
    loud, same, other = (soundfile.read(f"{name}.wav")[0] for name in ("loud", "same", "other"))
    assert decibels(np.abs(loud).max()) > 18
    assert decibels(np.abs(loud - 10 ** (30 / 20) * same).max() / np.abs(loud).max()) < -90

    sum_files({folder / "loud.wav": 24.0, folder / "other.wav": 0.0}, folder / "sum.wav")
    wanted = 10 ** (24 / 20) * loud + other
    assert decibels(np.abs(wanted).max()) > 40
    assert decibels(np.abs(soundfile.read("sum.wav")[0] - wanted).max() / np.abs(wanted).max()) < -90

    room = Reverb(reverberance=80, predelay=100)
    mixing.add_reverb(folder / "same.wav", folder / "same-wet.wav", room)
    sum_files({folder / "same.wav": 54.0}, folder / "loud.wav")
    mixing.add_reverb(folder / "loud.wav", folder / "loud-wet.wav", room)
    loud, same = soundfile.read("loud-wet.wav")[0], soundfile.read("same-wet.wav")[0]
    assert np.abs(same[: round(0.1 * RATE)]).max() == 0 and np.abs(same).max() > 0.01
    assert decibels(np.abs(loud - 10 ** (54 / 20) * same).max() / np.abs(loud).max()) < -90


@pytest.mark.parametrize("pitch", [0, 41, 1000])
def test_the_fullest_room_has_space_in_sox(folder, monkeypatch, pitch):
    """The same reverb with 12 dB more space: no peak of it was cut."""
    time = np.arange(4 * RATE) / RATE
    soundfile.write("tone.wav", np.stack([np.cos(2 * np.pi * pitch * time)] * 2, 1), RATE, "FLOAT")
    room = Reverb(reverberance=100, damping=0, room=100, stereo=0)
    mixing.add_reverb(folder / "tone.wav", folder / "wet.wav", room)
    monkeypatch.setattr(effects, "SOX_PEAK", effects.SOX_PEAK - 12)
    mixing.add_reverb(folder / "tone.wav", folder / "spacious.wav", room)
    wet, spacious = soundfile.read("wet.wav")[0], soundfile.read("spacious.wav")[0]
    assert decibels(np.abs(wet - spacious).max() / np.abs(wet).max()) < -90


@pytest.mark.parametrize("profile, loudness", [("youtube", -14), ("spotify", -14), ("apple", -16), ("broadcast", -23)])
def test_profiles(folder, profile, loudness):
    table = write_table(f'[master]\nprofile = "{profile}"\n[parts.a]\nfile = "vibes.wav"\n')
    assert read_mix(table, "Piece").master.target == loudness


def test_mastering_keeps_the_dynamics(folder):
    """Within 1.5 LU of the unmastered sum, and the sound itself but for the loudest peaks."""
    quiet_and_loud = np.concatenate([notes(12, 440) * 0.2, notes(12, 330, 1)])
    soundfile.write("sum.wav", np.stack([quiet_and_loud] * 2, 1) * 10 ** (-24 / 20), RATE, "FLOAT")
    before = measure("sum.wav")
    master_file(folder / "sum.wav", folder / "out.wav", Master(fade=0))
    after = measure("out.wav")
    assert after.integrated == pytest.approx(-14, abs=0.15)
    assert after.true_peak <= -1
    assert after.range == pytest.approx(before.range, abs=1.5)


def test_profile_none_leaves_the_level(folder):
    sound = np.stack([notes(3, 440)] * 2, 1)
    soundfile.write("sum.wav", sound, RATE, "FLOAT")
    master_file(folder / "sum.wav", folder / "out.wav", Master(profile="none", fade=0))
    error = np.abs(np.fft.rfft(soundfile.read("out.wav")[0] - sound, axis=0))[: 3 * 20000]  # to 20 kHz
    assert decibels(error.max() / np.abs(np.fft.rfft(sound, axis=0)).max()) < -60


def test_the_wet_mix_follows_the_panning_score(folder, run):
    """Balance between the ears, reverb included, against the ear position written, at 20 Hz."""
    time = np.arange(8 * RATE) / RATE
    soundfile.write("noise.wav", np.random.default_rng(0).normal(0, 0.1, len(time)), RATE, "FLOAT")
    Path("p.json").write_text(
        json.dumps(
            {
                "a": [
                    {"effect": "half_cosine", "t1": 0, "t2": 2, "ear_i": 0, "ear_f": 0.8},
                    {"effect": "straight", "t1": 2, "t2": 5, "ear_i": 0.8, "ear_f": -0.8},
                    {"effect": "half_sine", "t1": 5, "t2": 8, "ear_i": -0.8, "ear_mid": 0.3},
                ]
            }
        )
    )
    table = (
        HEAD + '[panning]\nscore = "p.json"\n[parts.a]\nfile = "noise.wav"\nset = "a"\nreverb = "hall"\nsend = -20\n'
    )
    assert run(write_table(table)).returncode == 0
    wet = soundfile.read("media/Piece-Wet.wav")[0][: 8 * RATE]
    left, right = np.sqrt(np.mean(wet.reshape(-1, RATE // 20, 2) ** 2, axis=1)).T
    middle = (np.arange(160) + 0.5) / 20
    ear = np.where(
        middle < 2,
        0.4 * (1 - np.cos(np.pi * middle / 2)),
        np.where(middle < 5, 0.8 - 1.6 * (middle - 2) / 3, -0.8 + 1.1 * np.sin(np.pi * (middle - 5) / 3)),
    )
    assert np.corrcoef((right - left) / (right + left), ear)[0, 1] > 0.95


def test_a_song_without_a_score(folder, run):
    (folder / "media").mkdir()
    soundfile.write("media/MySong.wav", np.stack([notes(3, 330), notes(3, 331)], 1), 44100, "PCM_16")
    result = run(ROOT / "scores" / "song.mix.toml", "--title", "MySong")
    assert result.returncode == 0, result.stderr
    wet = soundfile.read("media/MySong-Wet.wav")[0]
    assert pyloudnorm.Meter(RATE).integrated_loudness(wet) == pytest.approx(-14, abs=0.3)


def test_sound_models_and_plots_are_loaded_when_they_are_used():
    """A mix that is up to date needs none of them; their libraries take most of a second to load."""
    loaded = command("-c", "import sys, mix, eightd; mix.parser(), eightd.parser(); print(*sys.modules)").stdout.split()
    assert "musicvideo.sound.mixing" in loaded
    assert not {"scipy.signal", "scipy.spatial", "matplotlib", "h5py"} & set(loaded)


def test_only_what_changed_is_made_again(full, run):
    """Stems of unchanged parts are the same files as before; the mix equals that of a first run."""

    def stems():
        return {
            path.parent.name.split("-")[0]: path.stat().st_ino for path in Path("media/.stems/Piece").glob("*/dry.wav")
        }

    Path("media/.stems/Piece/.another").mkdir()  # as file managers leave
    Path("media/.stems/Piece/.DS_Store").touch()
    Path("media/.stems/Piece/.making-by-a-killed-run").mkdir()
    before = stems()
    assert set(before) == {"vibes", "bells", "marimba", "silent"}
    assert run(write_table(FULL.replace("gain = -6", "gain = -3").replace("send = -12", "send = -6"))).returncode == 0
    after = stems()
    assert {name for name in after if after[name] != before[name]} == {"bells"}
    assert sorted(path.name for path in Path("media/.stems/Piece").glob(".*")) == [".DS_Store", ".another"]
    kept = Path("media/Piece-Wet.wav").read_bytes()
    shutil.rmtree("media/.stems")
    assert run("Piece.mix.toml").returncode == 0
    assert Path("media/Piece-Wet.wav").read_bytes() == kept


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100] + bytes(path.stat().st_size - 100))


@pytest.mark.parametrize(
    "damage",
    [
        halve,
        zero,
        lambda path: path.write_bytes(b""),
        Path.unlink,
        lambda path: shutil.rmtree(path.parent),
        lambda path: (path.parent / "SHA256SUMS").write_bytes(b"\xff garbage"),
    ],
)
def test_a_damaged_stem_is_made_again(plain, run, damage):
    kept = Path("media/Piece-Dry.wav").read_bytes()
    (stem,) = Path("media/.stems/Piece").glob("*/dry.wav")
    damage(stem)
    Path("media/Piece-Dry.wav").unlink()
    assert run("Piece.mix.toml").returncode == 0
    assert Path("media/Piece-Dry.wav").read_bytes() == kept


@pytest.mark.parametrize("content", [b"", b"\xff\xfe garbage", b"[" * 100_000])
def test_a_damaged_note_makes_the_mixes_again(plain, run, content):
    before = written()
    Path("media/.stems/Piece.made").write_bytes(content)
    assert run("Piece.mix.toml").stdout != "" and written()["Dry"] > before["Dry"]
    assert run("Piece.mix.toml").stdout == ""


def test_a_second_mix_of_the_same_title_says_so(plain, run):
    before = written()
    with files.lock("media/.stems/Piece.lock", "held"):
        assert_one_line_error(run("Piece.mix.toml"), "media/Piece-Dry.wav", "another run is mixing it")
    assert written() == before
    assert run("Piece.mix.toml").returncode == 0


def test_two_mixes_at_once_give_one_whole_mix(folder, run):
    write_table(PLAIN)
    both = [
        subprocess.Popen(
            [sys.executable, ROOT / "mix.py", "Piece.mix.toml"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outcomes = [(each.returncode, errors) for each in both for errors in [each.communicate()[1]]]
    assert 0 in [code for code, _ in outcomes]
    assert all(code == 0 or "another run is mixing it" in errors for code, errors in outcomes)
    assert run("Piece.mix.toml").stdout == ""  # nothing is left to do
    assert soundfile.info("media/Piece-Wet.wav").frames == round(1.5 * RATE)


def test_sox_that_hangs_is_stopped(folder, run, monkeypatch):
    Path("sox").write_text("#!/bin/sh\nexec sleep 100\n")
    Path("sox").chmod(0o755)
    monkeypatch.setenv("SOX", str(Path("sox").resolve()))
    monkeypatch.setattr(programs, "LIMIT", 1)
    table = write_table(PLAIN + "tremolo = { speed = 5, depth = 40 }\n")
    assert_one_line_error(run(table), "sox was stopped", "after 1 s")
    assert not any(Path("media").glob("[!.]*"))


PLAIN = '[master]\ntail = 0.5\nfade = 0.2\n[parts.marimba]\nfile = "short.wav"\n'


def written() -> dict[str, int]:
    """When each mix was last written."""
    return {name: Path(f"media/Piece-{name}.wav").stat().st_mtime_ns for name in ("Dry", "Wet")}


def another_marimba() -> Path:
    soundfile.write("short.wav", notes(1, 225), RATE, "FLOAT")
    return Path("short.wav")


def test_a_report_alone_makes_only_the_picture(plain, run):
    before = written()
    result = run("Piece.mix.toml", "--report", "report.png")
    assert result.returncode == 0 and result.stdout == ""
    assert Path("report.png").exists() and written() == before


def test_a_report_that_cannot_be_written_is_refused_before_the_mixing(folder, run):
    assert_one_line_error(run(write_table(PLAIN), "--report", "report.doc"), "report.doc", "end it in .png, .svg, .pdf")
    assert not Path("media").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda: write_table(PLAIN + "gain = 1\n"),
        lambda: write_table(PLAIN + "[buses.dry]\ngain = -1\n"),
        lambda: write_table(PLAIN.replace("0.2", "0.3")),
        another_marimba,
        lambda: os.utime(another_marimba(), (0, 0)),  # older than the mixes
        lambda: Path("short.wav").touch(),  # as make has it
        lambda: Path("Piece.mix.toml").touch(),
        lambda: Path("media/Piece-Dry.wav").unlink(),
        lambda: Path("media/Piece-Dry.wav").write_bytes(b"something else"),
    ],
)
def test_a_change_of_anything_makes_the_mixes_again(plain, run, change):
    before = written()
    change()
    said = run("Piece.mix.toml").stdout
    assert re.fullmatch(r"Piece.mix.toml -> media/Piece-Dry.wav, media/Piece-Wet.wav, mixed in \d+\.\d s\n", said)
    after = written()
    assert after["Dry"] > before["Dry"] and after["Wet"] > before["Wet"]
    assert soundfile.info("media/Piece-Dry.wav").frames == round(1.5 * RATE)
    assert run("Piece.mix.toml").stdout == "" and written() == after


def test_the_tables_that_come_with_it_are_sound(monkeypatch):
    monkeypatch.chdir(ROOT)
    for name in ("Impassive", "song"):
        table = read_mix(f"scores/{name}.mix.toml", name)
        assert all(name in part.file for part in table.parts.values())


@pytest.mark.parametrize(
    "place, value, range",
    [
        ("parts.a.gain", 25, "-100..24 (dB)"),
        ("parts.a.gain", -101, "-100..24 (dB)"),
        ("parts.a.balance", 1.1, "-1..1"),
        ("parts.a.balance", -1.1, "-1..1"),
        ("parts.a.highpass", 4.9, "5..20000 (Hz"),
        ("parts.a.highpass", 20001, "5..20000 (Hz"),
        ("parts.a.tremolo.speed", 0.09, "0.1..50 (Hz)"),
        ("parts.a.tremolo.speed", 51, "0.1..50 (Hz)"),
        ("parts.a.tremolo.depth", 0, "above 0 and at most 100 (percent)"),
        ("parts.a.tremolo.depth", 101, "above 0 and at most 100 (percent)"),
        ("parts.a.width", 1.5, "0..1"),
        ("parts.a.width", -0.5, "0..1"),
        ("parts.a.distance", 0.01, "0.1..100 (metres"),
        ("parts.a.distance", 101, "0.1..100 (metres"),
        ("parts.a.send", 24.1, "-100..24 (dB"),
        ("parts.a.send", -200, "-100..24 (dB"),
        *(
            (f"reverbs.hall.{key}", value, "0..100 (")
            for key in ("reverberance", "damping", "room", "stereo")
            for value in (-1, 101)
        ),
        ("reverbs.hall.predelay", 501, "0..500 (ms)"),
        ("reverbs.hall.predelay", -1, "0..500 (ms)"),
        ("reverbs.hall.gain", 25, "-100..24 (dB"),
        ("buses.wet.gain", -101, "-100..24 (dB)"),
        ("master.loudness", 0, "-40..-5 (LUFS"),
        ("master.loudness", -41, "-40..-5 (LUFS"),
        ("master.ceiling", 0.1, "-20..0 (highest true peak"),
        ("master.ceiling", -21, "-20..0 (highest true peak"),
        ("master.tail", 61, "0..60 (seconds"),
        ("master.tail", -1, "0..60 (seconds"),
        ("master.fade", 10**400, "0..60 (seconds"),
        ("master.fade", -0.5, "0..60 (seconds"),
    ],
)
def test_numbers_out_of_range(folder, place, value, range):
    """Every number of the table has its bounds, and the message names place, value and range."""
    settings = {"parts.a.file": '"vibes.wav"', "parts.a.tremolo.speed": 5, "parts.a.tremolo.depth": 50, place: value}
    table = write_table("".join(f"{key} = {setting}\n" for key, setting in settings.items()))
    with pytest.raises(MediaError) as error:
        read_mix(table, "Piece")
    message = str(error.value)
    assert f"[{place}]: {str(value)[:20]}" in message and f" is not within {range}" in message.replace(
        "not above", "not within above"
    )
    assert len(message) < 250


@pytest.mark.parametrize(
    "text, words",
    [
        ("parts", ["not TOML"]),
        ("[master]\ntail = 1\n", ["'parts' is missing"]),
        ('[parts.a]\nfile = "vibes.wav"\ngian = 3\n', ["[parts.a]", "unknown key 'gian'", "'gain'"]),
        ("[parts.a]\ngain = 3\n", ["[parts.a]", "'file' is missing"]),
        ('[parts.a]\nfile = "vibes.wav"\ngain = "3"\n', ["[parts.a.gain]", "'3'"]),
        ('[parts.a]\nfile = "vibes.wav"\nmodel = "spere"\n', ["[parts.a.model]", "'sphere'"]),
        ('[parts.a]\nfile = "vibes.wav"\ntremolo = { sped = 5, depth = 1 }\n', ["'sped'", "'speed'"]),
        ('[parts.a]\nfile = "vibes.wav"\nreverb = "hal"\n[reverbs.hall]\n', ["[parts.a]", "'hal'", "'hall'"]),
        ('[parts.a]\nfile = "vibes.wav"\nset = "a"\n', ["[parts.a]", "[panning]"]),
        ('[parts.a]\nfile = "vibes.wav"\nset = "a"\norbit = 3\n', ["[parts.a]", "set or orbit"]),
        ('[parts.a]\nfile = "vibes.wav"\n[buses.dry]\nparts = ["b"]\n', ["[buses.dry]", "'b'"]),
        ('[parts.a]\nfile = "vibes.wav"\n[master]\nprofile = "you"\n', ["[master.profile]", "youtube"]),
        (
            '[parts.a]\nfile = "vibes.wav"\n[master]\nprofile = "none"\nloudness = -14\n',
            ["[master]", "profile or loudness"],
        ),
        ('[parts."a/b"]\nfile = "vibes.wav"\n', ["a/b"]),
        ('[parts.a]\nfile = "gone.wav"\n', ["gone.wav", "no such file"]),
        ('[parts.a]\nfile = "Piece.mix.toml"\n', ["Piece.mix.toml", "not a sound file"]),
        ('[parts.a]\nfile = "vibes.wav"\ngain = nan\n', ["nan is no level"]),
        ('[parts.a]\nfile = "vibes.wav"\ngain = 1e400\n', ["1e400 is no level"]),
        ("a = " + "[" * 4000, ["not TOML"]),
        ("a." * 4000 + "b = 1", ["a line of more than 4096 characters"]),
        ("# a comment\n" * 20_000, ["larger than 128 KiB"]),
        (b'[parts."\xe9"]\n', ["not text in UTF-8"]),
        ('[parts.a]\nfile = "silent.wav"\n', ["the mix is silent"]),
        ('[parts.a]\nfile = "nan.wav"\n', ["nan.wav", "not numbers"]),
        (
            '[parts.a]\nfile = "vibes.wav"\norbit = 0.05\n',
            ["[parts.a.orbit]: 0.05", "at most -0.1 or at least 0.1 (seconds a turn"],
        ),
        ('[parts.a]\nfile = "vibes.wav"\norbit = 0\n', ["[parts.a.orbit]: 0 ", "at least 0.1"]),
        ('[parts.a]\nfile = "vibes.wav"\norbit = -4000\n', ["[parts.a.orbit]: -4000 is not within -3600..3600"]),
        ('[parts.a]\nfile = "vibes.wav"\nset = "b"\n[panning]\nscore = "p.json"\n', ["p.json", 'no set "b"']),
        (
            '[parts.a]\nfile = "vibes.wav"\nset = "a"\n[panning]\nscore = "p.json"\n',
            ["p.json", 'set "a", move 1', "clock"],
        ),
    ],
)
def test_faulty_tables(folder, run, text, words):
    soundfile.write("nan.wav", np.full(RATE, np.nan), RATE, "FLOAT")
    Path("p.json").write_text('{"a": [{"effect": "none", "m1": 1, "m2": "end"}]}')
    assert_one_line_error(run(write_table(text)), *words)
    assert not any(Path("media").glob("[!.]*"))


def test_what_was_there_stays_when_it_fails(folder, run):
    Path("media").mkdir()
    Path("media/Piece-Wet.wav").write_bytes(b"mine")
    assert run(write_table('[parts.a]\nfile = "silent.wav"\n')).returncode == 1
    assert [path.name for path in Path("media").glob("[!.]*")] == ["Piece-Wet.wav"]
    assert Path("media/Piece-Wet.wav").read_bytes() == b"mine"


def test_a_damaged_part_is_named(folder, run, run_script):
    whole = Path("vibes.flac")
    soundfile.write(whole, soundfile.read("vibes.wav")[0], RATE)
    data = bytearray(whole.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    whole.write_bytes(data)
    for setting in ("", "orbit = 2\n"):
        result = run(write_table(f'[parts.a]\nfile = "vibes.flac"\n{setting}'))
        assert_one_line_error(result, "vibes.flac: is damaged")
    assert_one_line_error(run_script(eightd, "-i", whole, "-o", "out.wav", "--orbit", "2"), "vibes.flac: is damaged")
    halve(Path("vibes.wav"))
    assert_one_line_error(
        run(write_table('[parts.a]\nfile = "vibes.wav"\n')), "vibes.wav: damaged or cut off at 2.0 s of its 4.0 s"
    )


def test_a_panning_score_that_no_part_follows_is_not_looked_for(folder, run):
    table = write_table('[panning]\nscore = "nowhere.json"\nclock = "nowhere.mid"\n' + PLAIN)
    for _ in range(2):
        result = run(table)
        assert result.returncode == 0, result.stderr


def test_a_master_that_cannot_be(folder):
    soundfile.write("clicks.wav", np.tile(np.eye(1, RATE)[0], 4) * 0.1, RATE, "FLOAT")
    with pytest.raises(MediaError, match=r"set a lower loudness in \[master\]"):
        master_file(folder / "clicks.wav", folder / "out.wav", Master(loudness=-5.0, ceiling=-12.0))


def test_titles_and_help(folder, run):
    write_table(FULL, "My Piece.mix.toml")
    result = run("My Piece.mix.toml")
    assert result.returncode == 2 and "letters, digits" in result.stderr.splitlines()[-1]
    shown = command("mix.py", "--help").stdout
    assert "python mix.py scores/Impassive.mix.toml" in shown
    assert "  ceiling      highest true peak, dBTP, -20..0 [-1]" in shown


def test_every_setting_is_defined_once_and_explained():
    """The help lists exactly the settings that a table may hold."""
    for table in (Part, Reverb, Master, Bus, Panning):
        settings = [each.name for each in fields(table)]
        assert list(schema(table)["properties"]) == settings
        assert all(f"\n  {name:13}" in explain() for name in settings)
    document = {
        "parts": {
            "a": {"file": "x", **{each.name: each.default for each in fields(Part) if isinstance(each.default, float)}}
        }
    }
    assert find_fault(document, schema(Mix)) is None  # defaults are within their ranges
