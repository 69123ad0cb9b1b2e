"""What leaves the house: films with many sound streams, excerpts, shorts, covers and posters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import mix
import musicvideo.__main__ as stages
from conftest import assert_one_line_error, make_media, read_frames
from musicvideo import excerpt, probe, programs
from musicvideo.clock import Clock
from musicvideo.errors import MediaError
from musicvideo.sound import passages
from musicvideo.sound.mastering import measure
from musicvideo.sound.mixing import BEHIND, RATE
from musicvideo.vision import film, framing, merging

FPS = 25
SMALL = dict(width=160, height=96, preset="ultrafast")
PITCHES = {"low": 200, "middle": 800, "high": 3200}  # Hz


def described(path) -> dict:
    """Streams, chapters and tags of a film, as FFprobe lists them."""
    arguments = ["-v", "error", "-show_streams", "-show_format", "-show_chapters", "-of", "json", str(path)]
    return json.loads(programs.run(["ffprobe", *arguments], doing=f"reading {path}"))


def sounds_of(path, tmp_path) -> list[np.ndarray]:
    """Samples of each sound stream of a film."""
    count = sum(stream["codec_type"] == "audio" for stream in described(path)["streams"])
    found = []
    for number in range(count):
        wav = make_media(tmp_path / f"stream{number}.wav", "-i", path, "-map", f"0:a:{number}", "-c:a", "pcm_s24le")
        found.append(soundfile.read(wav)[0])
    return found


@pytest.fixture(scope="module")
def flash(tmp_path_factory):
    """A square video of four seconds, dark but for the frame at 2.4 s."""
    picture = "nullsrc=s=64x64:r=25:d=4,format=gray,geq=lum='20+200*between(T,2.39,2.42)'"
    folder = tmp_path_factory.mktemp("flash")
    return make_media(folder / "flash.mkv", "-f", "lavfi", "-i", picture, "-pix_fmt", "yuv420p", "-crf", "5")


@pytest.fixture
def clicks(tmp_path):
    """Three sounds of four seconds, each with one click at 2.4 s, of its own height."""
    found = []
    for number in range(3):
        samples = np.zeros((4 * RATE, 2))
        samples[round(2.4 * RATE)] = 0.3 + 0.2 * number
        soundfile.write(tmp_path / f"click{number}.wav", samples, RATE, "PCM_24")
        found.append(tmp_path / f"click{number}.wav")
    return found


def test_a_film_carries_many_titled_streams_in_step_with_the_picture(flash, clicks, tmp_path):
    picture, cover = tmp_path / "picture.mkv", tmp_path / "cover.jpg"
    film.finish(flash, clicks[0], picture, intro=1, title="", **SMALL)
    film.still((flash, 2.4), cover, width=160, height=96, title="Name")
    streams = [merging.Stream(path, f"Mix {number}: a=b") for number, path in enumerate(clicks)]
    merging.merge(
        picture, streams, tmp_path / "film.mkv", intro=1, cover=cover, tags={"title": "N; = #", "artist": "Who"}
    )

    found = described(tmp_path / "film.mkv")
    video, *sounds, attached = found["streams"]
    assert [stream["tags"]["title"] for stream in sounds] == [f"Mix {number}: a=b" for number in range(3)]
    assert [stream["disposition"]["default"] for stream in (video, *sounds)] == [1, 1, 0, 0]
    assert {stream["codec_name"] for stream in sounds} == {"flac"}
    assert attached["tags"]["filename"] == "cover.jpg" and attached["tags"]["mimetype"] == "image/jpeg"
    assert attached["disposition"]["attached_pic"] and (attached["width"], attached["height"]) == (160, 96)
    tags = {name.lower(): text for name, text in found["format"]["tags"].items()}
    assert (tags["title"], tags["artist"]) == ("N; = #", "Who")

    seen = read_frames(tmp_path / "film.mkv").mean(axis=(1, 2)).argmax() / FPS
    for number, samples in enumerate(sounds_of(tmp_path / "film.mkv", tmp_path)):
        assert np.abs(samples).max() == pytest.approx(0.3 + 0.2 * number, abs=1e-3)  # each is its own sound,
        assert abs(np.abs(samples[:, 0]).argmax() / RATE - seen) <= 1 / FPS  # and all are in step

    merging.merge(picture, streams, tmp_path / "film.mp4", intro=1, cover=cover)
    assert [stream["codec_name"] for stream in described(tmp_path / "film.mp4")["streams"]] == ["h264", "aac"]


def test_an_excerpt_is_cut_to_the_sample_and_fades_only_where_it_is_cut(flash, write_wav, tmp_path):
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (4 * RATE, 2))
    sound = write_wav("noise.wav", noise, subtype="PCM_24")
    marks = [(0, "A"), (1.5, "B"), (2.5, "C"), (3.5, "D")]
    for start, duration, length, faded, names in [
        (0, 1, 1, "end", ["A"]),
        (2, 1, 1, "both", ["B", "C"]),
        (3, 9, 1, "start", ["C", "D"]),
    ]:
        part = make_media(tmp_path / "part.mkv", "-ss", str(start), "-i", flash, "-t", str(length))
        picture, finished = tmp_path / "picture.mkv", tmp_path / "film.mkv"
        film.finish(part, sound, picture, intro=0, start=start, duration=duration, **SMALL)
        merging.merge(
            picture, [merging.Stream(sound)], finished, intro=0, start=start, duration=duration, chapters=marks
        )
        assert len(read_frames(finished)) == length * FPS
        (heard,) = sounds_of(finished, tmp_path)
        wanted = noise[start * RATE :][: length * RATE]
        assert heard.shape == wanted.shape
        middle = slice(round(0.05 * RATE), round(0.45 * RATE))
        assert np.abs(heard[middle] - wanted[middle]).max() < 2**-22
        assert (np.abs(heard[:20]).max() < 0.05) == (faded in ("start", "both"))
        assert (np.abs(heard[-20:]).max() < 0.05) == (faded in ("end", "both"))
        assert [chapter["tags"]["title"] for chapter in described(finished)["chapters"]] == names


@pytest.mark.parametrize(
    "start, duration, words",
    [
        (4, None, "START=4: lies beyond the end of a.wav, which lasts 4.0 s"),
        (-1, None, "START=-1: is before the beginning"),
        (1, 0, "DURATION=0: give more than 0 seconds"),
        (float("nan"), None, "START=nan"),
        (1, float("inf"), "DURATION=inf"),
    ],
)
def test_excerpts_that_cannot_be(start, duration, words):
    with pytest.raises(MediaError, match=words):
        excerpt.length("a.wav", 4.0, start, duration)


@pytest.fixture(scope="module")
def swelling(tmp_path_factory):
    """A sound of 100 s that is loudest from 43 to 75 s."""
    time = np.arange(100 * RATE) / RATE
    sound = np.sin(2 * np.pi * 440 * time) * np.where((time > 43) & (time < 75), 0.4, 0.05)
    path = tmp_path_factory.mktemp("swelling") / "mix.wav"
    soundfile.write(path, sound, RATE, "PCM_24")
    return path


def test_a_short_takes_the_most_intense_passage_between_two_measures(swelling):
    downbeats = Clock(480, end=480 * 4 * 50).downbeats()  # every 2 s
    assert passages.short(swelling, 100.0, downbeats, None, None) == (44.0, 30.0)
    assert passages.short(swelling, 100.0, downbeats, None, 21.0) == (pytest.approx(44, abs=10), 21.0)
    begin, length = passages.short(swelling, 100.0, downbeats[::4], None, None)  # every 8 s
    assert (begin, length) == (40.0, 24.0) or (begin, length) == (48.0, 24.0)
    assert passages.short(swelling, 100.0, [], 12.3, None) == (12.3, 30.0)
    assert passages.short(swelling, 100.0, downbeats, 80.0, None) == (80.0, 20.0)
    assert passages.short(swelling, 9.0, downbeats, None, None) == (0.0, 9.0)  # a song that is shorter is shown whole
    assert passages.peak_moment(swelling, 20.0, 20.0) < 40 < 43 < passages.peak_moment(swelling) < 75


@pytest.mark.parametrize(
    "start, length, words",
    [
        (None, 0, "LENGTH=0: a short lasts 15 to 60 s"),
        (None, 61, "LENGTH=61"),
        (None, float("nan"), "LENGTH=nan"),
        (100, None, "START=100: lies beyond the end of .*mix.wav, which lasts 100.0 s"),
        (90, None, "START=90: leaves 10.0 s of .*mix.wav; a short lasts 15 to 60 s"),
    ],
)
def test_shorts_that_cannot_be(swelling, start, length, words):
    with pytest.raises(MediaError, match=words):
        passages.short(swelling, 100.0, [], start, length)


def test_a_short_is_upright_as_loud_as_the_film_and_in_step(run_script, swelling, tmp_path):
    """The picture flashes where the sound clicks, 50 s into both."""
    sound, rate = soundfile.read(swelling)
    sound[50 * rate] = 0.9
    soundfile.write(tmp_path / "mix.wav", np.stack([sound, sound], 1), rate, "PCM_24")
    square = make_media(
        tmp_path / "square.mp4", "-f", "lavfi", "-i",
        "color=0x1e1e1e:s=32x32:r=25:d=100,drawbox=color=0xe6e6e6:t=fill:enable='between(t,49.99,50.02)'",
        "-pix_fmt", "yuv420p",
    )  # fmt: skip
    output = tmp_path / "short.mp4"
    arguments = (square, tmp_path / "mix.wav", output, "--start", "44.02", "--length", "15")
    result = run_script(stages, "short", *arguments)
    assert result.returncode == 0, result.stderr
    found = described(output)
    video, audio = found["streams"]
    assert (video["width"], video["height"], video["codec_name"], video["pix_fmt"]) == (1080, 1920, "h264", "yuv420p")
    assert audio["codec_name"] == "aac"
    assert float(found["format"]["duration"]) == pytest.approx(15, abs=0.05)
    assert measure(output_wav(output, tmp_path)).integrated == pytest.approx(
        measure(tmp_path / "mix.wav").integrated, abs=0.5
    )
    small = make_media(tmp_path / "small.mkv", "-i", output, "-vf", "scale=16:16", "-c:v", "ffv1", "-an")
    heard = np.abs(soundfile.read(tmp_path / "out.wav")[0][:, 0]).argmax() / RATE
    assert abs(read_frames(small).mean(axis=(1, 2)).argmax() / 25 - heard) <= 1 / 25
    assert heard == pytest.approx(50 - 44, abs=0.05)

    before = output.read_bytes()
    for wrong, words in (("--length=0", "LENGTH=0"), ("--start=100", "START=100: lies beyond the end")):
        assert_one_line_error(run_script(stages, "short", *arguments[:3], wrong), words)
    assert output.read_bytes() == before


def output_wav(path, tmp_path) -> Path:
    return make_media(tmp_path / "out.wav", "-i", path, "-vn", "-ar", str(RATE))


# -- Pictures -----------------------------------------------------------------------------------------------------


def test_a_still_is_mirrored_and_titled(flash, tmp_path):
    square = np.random.default_rng(2).integers(60, 160, (64, 64, 3)).astype(np.uint8)
    for look in framing.LOOKS:
        film.still(square, tmp_path / "plain.png", width=320, height=180, look=look)
        film.still(square, tmp_path / "titled.png", width=320, height=180, look=look, title="Words")
        plain, titled = (np.asarray(Image.open(tmp_path / f"{name}.png"), int) for name in ("plain", "titled"))
        assert plain.shape == titled.shape == (180, 320, 3)
        if not framing.LOOKS[look].grain:
            assert np.abs(plain - plain[:, ::-1]).max() <= 4  # but for chroma of half the resolution
            assert np.abs(titled - plain)[:10].max() == 0 and np.abs(titled - plain)[80:100].max() > 60
    film.still((flash, 2.4), tmp_path / "bright.jpg", width=160, height=96)
    film.still((flash, 99.0), tmp_path / "dark.jpg", width=160, height=96)  # the last frame
    bright, dark = (np.asarray(Image.open(tmp_path / f"{name}.jpg"), int).mean() for name in ("bright", "dark"))
    assert bright > dark + 100


def test_a_cover_that_cannot_be_drawn(run_script, flash, clicks, tmp_path):
    output = tmp_path / "cover.jpg"
    output.write_bytes(b"old")
    for arguments, words in (
        (
            (flash, clicks[0], output, "--title", "Name", "--font", "No Such Font"),
            "FONT=No Such Font: is not installed",
        ),
        ((clicks[0], clicks[0], output), "click0.wav: is no square video"),
        ((flash, clicks[0], output, "--start", "9"), "START=9: lies beyond the end of"),
        ((flash, clicks[0], tmp_path / "cover.txt"), "cover.txt: a picture is a .png or a .jpg"),
    ):
        assert_one_line_error(run_script(stages, "cover", *arguments), words)
    assert output.read_bytes() == b"old"


def test_a_poster_is_drawn_anew_or_enlarged(run_script, flash, clicks, tmp_path):
    """A video without settings in it is enlarged; test_pipeline has one that is drawn anew."""
    result = run_script(stages, "poster", flash, clicks[0], tmp_path / "p.png", "--width", "160", "--height", "96")
    assert result.returncode == 0 and "320x192, enlarged, at " in result.stdout
    assert "holds no settings" in result.stderr and len(result.stderr.splitlines()) == 1
    assert Image.open(tmp_path / "p.png").size == (320, 192)
    wrong = ("--title", "Name", "--font", "No Such Font")
    refused = run_script(stages, "poster", flash, clicks[0], tmp_path / "p.png", *wrong)
    assert_one_line_error(refused, "FONT=No Such Font: is not installed")  # before anything is drawn


# -- Rehearsals ---------------------------------------------------------------------------------------------------


@pytest.fixture
def ensemble(tmp_path, monkeypatch):
    """A folder with a table of three parts, each a tone of its own that comes and goes, and a silent one."""
    monkeypatch.chdir(tmp_path)
    time = np.arange(6 * RATE) / RATE
    table = ["[master]", "tail = 1.0", "[reverbs.hall]"]
    for name, pitch in [*PITCHES.items(), ("none", 0)]:
        tone = 0.2 * np.sin(2 * np.pi * pitch * time) * (0.6 + 0.4 * np.sin(2 * np.pi * time))
        soundfile.write(f"{name}.wav", tone, RATE, "PCM_24")
        table += [f"[parts.{name}]", f'file = "{name}.wav"']
    Path("Piece.mix.toml").write_text("\n".join([*table, "orbit = 3", 'reverb = "hall"']))
    return tmp_path


def levels(path) -> dict[str, float]:
    """dB of each part's tone in a sound."""
    sound, rate = soundfile.read(path)
    spectrum = np.abs(np.fft.rfft(sound[: 6 * rate, 0]))
    return {name: 20 * np.log10(spectrum[6 * pitch]) for name, pitch in PITCHES.items()}


def test_each_part_is_rehearsed_in_front_of_the_others(run_script, ensemble):
    result = run_script(mix, "Piece.mix.toml", "--rehearsals")
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stderr.splitlines() if "note" in line] == [
        "note: part none is silent: it has no rehearsal stream"
    ]
    folder, usual = Path("media/rehearsals/Piece"), levels("media/Piece-Dry.wav")
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.wav" for name in PITCHES)
    loudness = measure("media/Piece-Wet.wav").integrated
    for name in PITCHES:
        path = folder / f"{name}.wav"
        assert soundfile.info(path).frames == soundfile.info("media/Piece-Wet.wav").frames
        assert measure(path).integrated == pytest.approx(loudness, abs=0.3)
        assert measure(path).true_peak <= -1
        changes = {other: level - usual[other] for other, level in levels(path).items()}
        for other in PITCHES.keys() - {name}:
            assert changes[other] - changes[name] == pytest.approx(BEHIND, abs=0.5)

    files = [Path("media/rehearsals/Piece.json"), *folder.iterdir()]
    before = [path.stat().st_mtime_ns for path in files]
    assert run_script(mix, "Piece.mix.toml", "--rehearsals").stdout == ""
    assert [path.stat().st_mtime_ns for path in files] == before
    (folder / "low.wav").write_bytes(b"damaged")
    run_script(mix, "Piece.mix.toml", "--rehearsals")
    assert measure(folder / "low.wav").integrated == pytest.approx(loudness, abs=0.3)
    Path("Piece.mix.toml").write_text('[parts.low]\nfile = "low.wav"\n')
    assert "no part to rehearse" in run_script(mix, "Piece.mix.toml", "--rehearsals").stdout
    assert not list(folder.iterdir())


def test_rehearsals_are_as_loud_as_a_mix_that_is_left_as_it_comes(run_script, ensemble):
    table = Path("Piece.mix.toml")
    table.write_text(table.read_text().replace("[master]", '[master]\nprofile = "none"'))
    assert run_script(mix, "Piece.mix.toml", "--rehearsals").returncode == 0
    loudness = measure("media/Piece-Wet.wav").integrated
    assert measure("media/rehearsals/Piece/high.wav").integrated == pytest.approx(loudness, abs=0.3)


def test_a_list_of_rehearsals_that_is_none(run_script, flash, clicks, tmp_path):
    film.finish(flash, clicks[0], tmp_path / "picture.mkv", intro=0, **SMALL)
    (tmp_path / "list.json").write_text("[]")
    arguments = ("merge", tmp_path / "picture.mkv", clicks[0], tmp_path / "out.mkv", "--intro", "0", "--rehearsals")
    assert_one_line_error(run_script(stages, *arguments, tmp_path / "list.json"), "list.json: is no list of rehearsals")
    gone = {"rehearsals": [{"part": "a", "file": str(tmp_path / "gone.wav")}]}
    (tmp_path / "list.json").write_text(json.dumps(gone))
    assert_one_line_error(run_script(stages, *arguments, tmp_path / "list.json"), "gone.wav: no such file")
    assert not (tmp_path / "out.mkv").exists()


def test_lengths_are_probed_by_sound_not_by_cover(flash, clicks, tmp_path):
    """A film with a cover is still a film of its own size and length for everything that reads it."""
    picture, cover = tmp_path / "picture.mkv", tmp_path / "cover.jpg"
    film.finish(flash, clicks[0], picture, intro=0, **SMALL)
    film.still((flash, 0.0), cover, width=320, height=192)
    merging.merge(picture, [merging.Stream(clicks[0])], tmp_path / "film.mkv", intro=0, cover=cover)
    found = probe.probe(tmp_path / "film.mkv")
    assert (found.width, found.height, found.frame_rate, found.duration) == (160, 96, FPS, pytest.approx(4, abs=0.05))
    assert read_frames(tmp_path / "film.mkv").shape == (4 * FPS, 96, 160)
