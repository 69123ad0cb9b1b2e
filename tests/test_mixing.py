"""The mix: arithmetic, alignment, loudness, peaks, and what is said of a faulty table."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
from conftest import ROOT, assert_one_line_error, command
from scipy import signal

import mix
from musicvideo.media import MediaError, entry_point
from musicvideo.sound import mixing
from musicvideo.sound.mixing import RATE, WORKING_LEVEL, Master, Part, Reverb, Tremolo, master_file, prepare, sum_files

HEAD = '[master]\ntail = 1.0\nfade = 0.2\n[reverbs.hall]\nreverberance = 60\npredelay = 20\n'


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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to mix in: parts that end at different times, mono and stereo, at 44.1 and 48 kHz, one of them silent."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("vibes.wav", np.stack([notes(4, 440), notes(4, 440, 1)], 1), RATE, "PCM_24")
    soundfile.write("bells.wav", signal.resample_poly(notes(2.5, 1760, 2), 147, 160), 44100, "PCM_24")
    soundfile.write("marimba.wav", notes(3, 220, 3), RATE, "FLOAT")
    soundfile.write("silent.wav", np.zeros(RATE), RATE)
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run mix.py within this process."""
    def run(*arguments) -> subprocess.CompletedProcess:
        monkeypatch.setattr(sys, "argv", ["mix.py", *map(str, arguments)])
        code = 0
        try:
            entry_point(mix.main)
        except SystemExit as stop:
            code = stop.code
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())
    return run


def write_table(text: str, name: str = "Piece.mix.toml") -> Path:
    Path(name).write_text(text)
    return Path(name)


def true_peak(sound: np.ndarray) -> float:
    """dBTP at four times the rate (ITU-R BS.1770-4, annex 2), with a better filter than it asks for."""
    return decibels(np.abs(signal.resample_poly(sound, 4, 1, axis=0, window=("kaiser", 8.0))).max())


FULL = HEAD + '''
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
'''


def test_a_mix_a_mastering_engineer_accepts(folder, run):
    result = run(write_table(FULL), "--report", "report.png")
    assert result.returncode == 0, result.stderr
    assert Path("report.png").read_bytes().startswith(b"\x89PNG")
    for name in ("Dry", "Wet"):
        info = soundfile.info(f"media/Piece-{name}.wav")
        assert (info.samplerate, info.channels, info.subtype, info.frames) == (RATE, 2, "PCM_24", 5 * RATE)
        sound = soundfile.read(f"media/Piece-{name}.wav")[0]
        assert pyloudnorm.Meter(RATE).integrated_loudness(sound) == pytest.approx(-14, abs=0.3)
        assert true_peak(sound) <= -0.95
        assert np.abs(sound).max() < 1
    assert sorted(path.name for path in Path("media").glob("[!.]*")) == ["Piece-Dry.wav", "Piece-Wet.wav"]


def test_the_reverb_tail_rings_out(folder, run):
    """The longest part ends at 4 s: the Dry mix is silent from there on, the Wet one dies away without a cut."""
    run(write_table(FULL))
    dry, wet = (soundfile.read(f"media/Piece-{name}.wav")[0] for name in ("Dry", "Wet"))
    assert decibels(np.abs(dry[round(4.05 * RATE):]).max()) < -90
    levels = [decibels(np.sqrt(np.mean(wet[round(t * RATE): round((t + 0.1) * RATE)] ** 2))) for t in (4.0, 4.3, 4.6)]
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
    soundfile.write("tones.wav", 0.2 * np.sin(2 * np.pi * 50 * time) + 0.2 * np.sin(2 * np.pi * 1000 * time), RATE, "FLOAT")
    prepare(Part("tones.wav", gain=-6, highpass=200), folder / "out.wav", 2 * RATE)
    spectrum = np.abs(np.fft.rfft(soundfile.read("out.wav")[0][RATE:, 0])) / (RATE / 2) / 0.2
    assert decibels(spectrum[1000]) == pytest.approx(WORKING_LEVEL - 6, abs=0.1)
    assert decibels(spectrum[50]) == pytest.approx(WORKING_LEVEL - 6 - 24, abs=1)         # 12 dB an octave, two of them

    soundfile.write("tone.wav", 0.2 * np.sin(2 * np.pi * 1000 * time), RATE, "FLOAT")
    prepare(Part("tone.wav", tremolo=Tremolo(5, 40)), folder / "out.wav", 2 * RATE)
    envelope = np.abs(signal.hilbert(soundfile.read("out.wav")[0][:, 0]))[RATE // 2: -RATE // 2]
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


def test_loud_parts_do_not_clip_on_the_way(folder):
    """SoX counts in whole numbers: a part at +12 dB must come through tremolo and reverb unharmed."""
    soundfile.write("loud.wav", np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE), RATE, "FLOAT")
    prepare(Part("loud.wav", gain=12, tremolo=Tremolo(1, 0.01)), folder / "out.wav", RATE)
    sound = soundfile.read("out.wav")[0][:, 0]
    assert np.abs(sound).max() == pytest.approx(10 ** ((12 + WORKING_LEVEL) / 20), rel=1e-3)
    mixing.add_reverb(folder / "out.wav", folder / "wet.wav", Reverb(reverberance=100, predelay=100))
    wet = soundfile.read("wet.wav")[0]
    assert np.abs(wet).max() < 0.99 and np.abs(wet[: round(0.1 * RATE)]).max() == 0


@pytest.mark.parametrize("profile, loudness", [("youtube", -14), ("spotify", -14), ("apple", -16), ("broadcast", -23)])
def test_profiles(folder, profile, loudness):
    table = write_table(f'[master]\nprofile = "{profile}"\n[parts.a]\nfile = "vibes.wav"\n')
    assert mixing.read_mix(table, "Piece").master.loudness == loudness


def test_mastering_keeps_the_dynamics(folder):
    """Within 1.5 LU of the unmastered sum, and the sound itself but for the loudest peaks."""
    quiet_and_loud = np.concatenate([notes(12, 440) * 0.2, notes(12, 330, 1)])
    soundfile.write("sum.wav", np.stack([quiet_and_loud] * 2, 1) * 10 ** (WORKING_LEVEL / 20), RATE, "FLOAT")
    before = mixing.measure("sum.wav")
    master_file(folder / "sum.wav", folder / "out.wav", Master(fade=0))
    after = mixing.measure("out.wav")
    assert after.integrated == pytest.approx(-14, abs=0.15)
    assert after.true_peak <= -1
    assert after.range == pytest.approx(before.range, abs=1.5)


def test_profile_none_leaves_the_level(folder):
    sound = np.stack([notes(3, 440)] * 2, 1)
    soundfile.write("sum.wav", sound * 10 ** (WORKING_LEVEL / 20), RATE, "FLOAT")
    master_file(folder / "sum.wav", folder / "out.wav", Master(loudness=None, fade=0))
    error = np.abs(np.fft.rfft(soundfile.read("out.wav")[0] - sound, axis=0))[: 3 * 20000]      # to 20 kHz
    assert decibels(error.max() / np.abs(np.fft.rfft(sound, axis=0)).max()) < -60


def test_the_wet_mix_follows_the_panning_score(folder, run):
    """Balance between the ears, reverb included, against the ear position written, at 20 Hz."""
    time = np.arange(8 * RATE) / RATE
    soundfile.write("noise.wav", np.random.default_rng(0).normal(0, 0.1, len(time)), RATE, "FLOAT")
    Path("p.json").write_text(json.dumps({"a": [
        {"effect": "half_cosine", "t1": 0, "t2": 2, "ear_i": 0, "ear_f": 0.8},
        {"effect": "straight", "t1": 2, "t2": 5, "ear_i": 0.8, "ear_f": -0.8},
        {"effect": "half_sine", "t1": 5, "t2": 8, "ear_i": -0.8, "ear_mid": 0.3}]}))
    table = HEAD + '[panning]\nscore = "p.json"\n[parts.a]\nfile = "noise.wav"\nset = "a"\nreverb = "hall"\nsend = -20\n'
    assert run(write_table(table)).returncode == 0
    wet = soundfile.read("media/Piece-Wet.wav")[0][: 8 * RATE]
    left, right = np.sqrt(np.mean(wet.reshape(-1, RATE // 20, 2) ** 2, axis=1)).T
    middle = (np.arange(160) + 0.5) / 20
    ear = np.where(middle < 2, 0.4 * (1 - np.cos(np.pi * middle / 2)),
                   np.where(middle < 5, 0.8 - 1.6 * (middle - 2) / 3, -0.8 + 1.1 * np.sin(np.pi * (middle - 5) / 3)))
    assert np.corrcoef((right - left) / (right + left), ear)[0, 1] > 0.95


def test_a_song_without_a_score(folder, run):
    (folder / "media").mkdir()
    soundfile.write("media/MySong.wav", np.stack([notes(3, 330), notes(3, 331)], 1), 44100, "PCM_16")
    result = run(ROOT / "scores" / "song.mix.toml", "--title", "MySong")
    assert result.returncode == 0, result.stderr
    wet = soundfile.read("media/MySong-Wet.wav")[0]
    assert pyloudnorm.Meter(RATE).integrated_loudness(wet) == pytest.approx(-14, abs=0.3)


def test_the_same_table_makes_the_same_file(folder, run):
    table = write_table(HEAD + '[parts.bells]\nfile = "bells.wav"\ntremolo = { speed = 5, depth = 40 }\n'
                               'orbit = 2\nreverb = "hall"\n')
    made = []
    for _ in range(2):
        assert run(table).returncode == 0
        made.append(Path("media/Piece-Wet.wav").read_bytes())
    assert made[0] == made[1]


def test_only_what_changed_is_made_again(folder, run):
    """The stems of parts that did not change stay the very files they were; the mix is that of a first run."""
    def stems():
        return {path.parent.name.split("-")[0]: path.stat().st_ino for path in Path("media/.stems/Piece").glob("*/dry.wav")}

    assert run(write_table(FULL)).returncode == 0
    before = stems()
    assert set(before) == {"vibes", "bells", "marimba", "silent"}
    assert run(write_table(FULL.replace("gain = -6", "gain = -3").replace("send = -12", "send = -6"))).returncode == 0
    after = stems()
    assert {name for name in after if after[name] != before[name]} == {"bells"}
    kept = Path("media/Piece-Wet.wav").read_bytes()
    shutil.rmtree("media/.stems")
    assert run("Piece.mix.toml").returncode == 0
    assert Path("media/Piece-Wet.wav").read_bytes() == kept


def test_the_tables_that_come_with_it_are_sound():
    for name in ("Impassive", "song"):
        table = mixing.read_mix(ROOT / "scores" / f"{name}.mix.toml", "Title")
        assert all("Title" in part.file for part in table.parts.values())


@pytest.mark.parametrize("text, words", [
    ("parts", ["not TOML"]),
    ("[master]\ntail = 1\n", ["'parts' is missing"]),
    ('[parts.a]\nfile = "vibes.wav"\ngian = 3\n', ["[parts.a]", "unknown key 'gian'", "'gain'"]),
    ('[parts.a]\ngain = 3\n', ["[parts.a]", "'file' is missing"]),
    ('[parts.a]\nfile = "vibes.wav"\ngain = "3"\n', ["[parts.a.gain]", "'3'"]),
    ('[parts.a]\nfile = "vibes.wav"\nmodel = "spere"\n', ["[parts.a.model]", "'sphere'"]),
    ('[parts.a]\nfile = "vibes.wav"\ntremolo = { sped = 5, depth = 1 }\n', ["'sped'", "'speed'"]),
    ('[parts.a]\nfile = "vibes.wav"\nreverb = "hal"\n[reverbs.hall]\n', ["[parts.a]", "'hal'", "'hall'"]),
    ('[parts.a]\nfile = "vibes.wav"\nset = "a"\n', ["[parts.a]", "[panning]"]),
    ('[parts.a]\nfile = "vibes.wav"\nset = "a"\norbit = 3\n', ["[parts.a]", "set or orbit"]),
    ('[parts.a]\nfile = "vibes.wav"\n[buses.dry]\nparts = ["b"]\n', ["[buses.dry]", "'b'"]),
    ('[parts.a]\nfile = "vibes.wav"\n[master]\nprofile = "you"\n', ["[master.profile]", "youtube"]),
    ('[parts.a]\nfile = "vibes.wav"\n[master]\nprofile = "none"\nloudness = -14\n', ["[master]", "profile or loudness"]),
    ('[parts."a/b"]\nfile = "vibes.wav"\n', ["a/b"]),
    ('[parts.a]\nfile = "gone.wav"\n', ["gone.wav", "no such file"]),
    ('[parts.a]\nfile = "Piece.mix.toml"\n', ["Piece.mix.toml", "not a sound file"]),
    ('[parts.a]\nfile = "vibes.wav"\ngain = nan\n', ["nan is no level"]),
    ('[parts.a]\nfile = "silent.wav"\n', ["the mix is silent"]),
    ('[parts.a]\nfile = "vibes.wav"\nset = "b"\n[panning]\nscore = "p.json"\n', ["p.json", 'no set "b"']),
    ('[parts.a]\nfile = "vibes.wav"\nset = "a"\n[panning]\nscore = "p.json"\n', ["p.json", 'set "a", move 1', "clock"]),
])
def test_faulty_tables(folder, run, text, words):
    Path("p.json").write_text('{"a": [{"effect": "none", "m1": 1, "m2": "end"}]}')
    assert_one_line_error(run(write_table(text)), *words)
    assert not any(Path("media").glob("[!.]*"))


def test_what_was_there_stays_when_it_fails(folder, run):
    Path("media").mkdir()
    Path("media/Piece-Wet.wav").write_bytes(b"mine")
    assert run(write_table('[parts.a]\nfile = "silent.wav"\n')).returncode == 1
    assert [path.name for path in Path("media").glob("[!.]*")] == ["Piece-Wet.wav"]
    assert Path("media/Piece-Wet.wav").read_bytes() == b"mine"


def test_a_master_that_cannot_be(folder):
    soundfile.write("clicks.wav", np.tile(np.eye(1, RATE)[0], 4) * 0.1, RATE, "FLOAT")
    with pytest.raises(MediaError, match=r"set a lower loudness in \[master\]"):
        master_file(folder / "clicks.wav", folder / "out.wav", Master(loudness=-5.0, ceiling=-12.0))


def test_titles_and_help(folder, run):
    write_table(FULL, "My Piece.mix.toml")
    result = run("My Piece.mix.toml")
    assert result.returncode == 2 and "letters, digits" in result.stderr.splitlines()[-1]
    assert "python mix.py scores/Impassive.mix.toml" in command("mix.py", "--help").stdout
