"""Songs in every format, intact and damaged."""

import os
import resource
import shlex

import numpy as np
import pytest

from conftest import assert_one_line_error, command, make_media, through_a_pipe
from musicvideo import probe
from musicvideo.errors import MediaError
from musicvideo.sound import song

TONE = ["-f", "lavfi", "-i", "sine=f=440:r=44100:d=3"]


@pytest.fixture(scope="module")
def tone(tmp_path_factory):
    """A song that no test changes."""
    return make_media(tmp_path_factory.mktemp("tone") / "a.flac", *TONE)


@pytest.fixture(scope="module")
def decoded(tone):
    """What the song is decoded to. Each test that damages it has it made again."""
    output = tone.with_name("out.wav")
    song.decode(tone, output)
    return output, output.read_bytes()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.m4a", "a.ogg", "a.opus", "a.aiff", "a.mkv"])
def test_formats(tmp_path, name):
    output = tmp_path / "media" / "Song.wav"
    assert song.decode(make_media(tmp_path / name, *TONE), output)
    found = probe.probe(output)
    assert (found.sample_rate, found.channels, found.audio_codec) == (48000, 2, "pcm_s24le")
    assert found.duration == pytest.approx(3, abs=0.1)


def test_strange_names_and_a_cover_picture(tmp_path):
    cover = make_media(tmp_path / "cover.png", "-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1")
    named = tmp_path / "Ähm 'quoted' $HOME \"#1\" %03d.mp3"
    make_media(named, *TONE, "-i", cover, "-map", "0", "-map", "1", "-disposition:v", "attached_pic")
    assert song.decode(named, tmp_path / "out.wav")


def test_a_film_whose_sound_ends_early_and_a_guessed_length_are_no_damage(tmp_path):
    film = make_media(tmp_path / "film.mp4", "-f", "lavfi", "-i", "testsrc2=s=64x64:d=5", *TONE)
    assert song.decode(film, tmp_path / "film.wav")
    varying = ["-f", "lavfi", "-i", "aevalsrc='if(lt(t,2),0.5*random(0),0.001*sin(t))':d=30"]
    for name, options in [("a.aac", ["-b:a", "200k"]), ("b.mp3", ["-q:a", "0", "-write_xing", "0"])]:
        assert song.decode(make_media(tmp_path / name, *varying, *options), tmp_path / "out.wav")
        assert probe.probe(tmp_path / "out.wav").duration == pytest.approx(30, abs=0.2)


def test_an_mp3_with_junk_at_its_end_is_taken(tmp_path):
    path = make_media(tmp_path / "a.mp3", *TONE)
    path.write_bytes(path.read_bytes() + os.urandom(3000))
    assert song.decode(path, tmp_path / "out.wav")


@pytest.mark.parametrize(
    "writer",
    [
        "sox {} -t wav - trim 0 3",
        "sox {} -e a-law -t wav - trim 0 3",
        "sox {} -t aiff - trim 0 3",
        "sox {} -b 24 -t aiff - trim 0 3",
        "sox {} -e float -b 32 -t aifc - trim 0 3",
        "ffmpeg -v error -i {} -f wav pipe:",
    ],
)
def test_a_sound_written_to_a_pipe_is_taken(writer, tone, tmp_path):
    piped = through_a_pipe(tmp_path / "piped", *(tone if word == "{}" else word for word in writer.split()))
    header = piped.read_bytes()[:8]
    assert int.from_bytes(header[4:], "little" if header.startswith(b"RIFF") else "big") >= 0x7F000000  # 2 GB or more
    assert song.decode(piped, tmp_path / "out.wav")
    assert probe.probe(tmp_path / "out.wav").duration == pytest.approx(3, abs=1e-3)


def test_decodes_again_only_what_changed(tmp_path):
    path, output = make_media(tmp_path / "a.flac", *TONE), tmp_path / "out.wav"
    assert song.decode(path, output)
    assert not song.decode(path, output)
    make_media(path, "-f", "lavfi", "-i", "sine=f=220:d=2")
    assert song.decode(path, output)
    assert probe.probe(output).duration == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:1000] + bytes(path.stat().st_size - 1000)),
        lambda path: path.write_bytes(b"garbage" * 1000),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".source.json").write_bytes(b"\xff\xfe garbage"),
        lambda path: path.with_suffix(".source.json").write_bytes(b"[" * 100_000),
    ],
)
def test_a_damaged_output_is_made_again(tone, decoded, damage):
    output, whole = decoded
    damage(output)
    assert song.decode(tone, output)
    assert output.read_bytes() == whole
    assert not song.decode(tone, output)


@pytest.mark.parametrize(
    "printed",
    [
        "garbage",
        "[]",
        "[" * 100_000,
        '{"streams": [1], "format": {}}',
        ('{"streams": [{"codec_type": "audio", "codec_name": "flac", "sample_rate": "NaN"}], "format": {}}'),
    ],
)
def test_a_prober_that_prints_nonsense(tone, tmp_path, monkeypatch, printed):
    (tmp_path / "printed").write_text(printed)
    (tmp_path / "ffprobe").write_text(f"#!/bin/sh\ncat {shlex.quote(str(tmp_path))}/printed\n")
    (tmp_path / "ffprobe").chmod(0o755)
    monkeypatch.setenv("FFPROBE", str(tmp_path / "ffprobe"))
    with pytest.raises(MediaError, match="a.flac: what .*ffprobe says of it makes no sense"):
        song.decode(tone, tmp_path / "out.wav")


def test_a_file_that_states_one_hertz_is_refused(tmp_path):
    data = bytearray(make_media(tmp_path / "a.wav", *TONE).read_bytes())
    data[24:28] = (1).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(MediaError, match="sample rate of 1 Hz .give a file of 4000 to 768000 Hz"):
        song.decode(tmp_path / "a.wav", tmp_path / "out.wav")


def test_what_is_no_song_says_so(tmp_path):
    output = tmp_path / "out.wav"
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("these are no notes\n" * 50)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\na.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "script.mp3").write_text(f"ffconcat version 1.0\nfile '{make_media(tmp_path / 'a.wav', *TONE)}'\n")
    whole = make_media(tmp_path / "whole.wav", *TONE).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 3])
    whole = make_media(tmp_path / "whole.mp3", *TONE).read_bytes()
    (tmp_path / "cut.mp3").write_bytes(whole[: len(whole) // 3])
    noisy = bytearray(make_media(tmp_path / "whole.flac", *TONE).read_bytes())
    noisy[len(noisy) // 2 : len(noisy) // 2 + 2000] = np.random.default_rng(0).bytes(2000)
    (tmp_path / "torn.flac").write_bytes(noisy)
    torn = bytearray(make_media(tmp_path / "whole.opus", *TONE).read_bytes())
    torn[len(torn) // 2 : len(torn) // 2 + 8] = b"silence!"
    (tmp_path / "torn.opus").write_bytes(torn)
    make_media(tmp_path / "mute.mp4", "-f", "lavfi", "-i", "testsrc2=s=64x64:d=1")
    for name, message in [
        ("missing.mp3", "no such file"),
        ("empty.mp3", "is empty"),
        ("text.mp3", "not an audio or video file"),
        ("list.m3u8", "not an audio or video file"),
        ("script.mp3", "not an audio or video file"),
        ("cut.wav", "cut off at 1.0 s of its 3.0 s"),
        ("cut.mp3", "cut off at"),
        ("torn.flac", "damaged or cut off at"),
        ("torn.opus", "damaged or cut off at 1.0 s of its 3.0 s"),
        ("mute.mp4", "has no sound"),
        (".", "is a folder"),
    ]:
        with pytest.raises(MediaError, match=message):
            song.decode(tmp_path / name, output)
        assert not output.exists()
    assert not list(tmp_path.glob(".*.partial*"))


def test_urls_are_refused():
    for address in ["http://127.0.0.1:9/a.mp3", "concat:a.mp3|b.mp3"]:
        with pytest.raises(MediaError, match="no such file"):
            song.decode(address, "out.wav")


def test_one_line_on_the_command(tmp_path):
    assert_one_line_error(
        command("-m", "musicvideo", "song", tmp_path / "x.mp3", tmp_path / "o.wav"), "x.mp3", "no such"
    )
    tone = make_media(tmp_path / "a.wav", *TONE)
    assert_one_line_error(command("-m", "musicvideo", "song", tone, "/proc/o.wav"), "/proc")


@pytest.mark.parametrize("missing", [16 << 20, 1])
def test_a_full_disk_keeps_the_old_file(tmp_path, missing):
    """A limit on file size stops the writing as a full disk does: in the middle, and a byte before the end."""
    output = tmp_path / "out.wav"
    song.decode(make_media(tmp_path / "a.wav", *TONE), output)
    old = output.read_bytes()
    longer = make_media(tmp_path / "b.flac", "-f", "lavfi", "-i", "sine=d=60")
    size = 60 * 48000 * 6 + 44 - missing
    result = command(
        "-m",
        "musicvideo",
        "song",
        longer,
        output,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    assert_one_line_error(result, "out.wav", "no space left")
    assert output.read_bytes() == old
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "b.flac", "out.source.json", "out.wav"]


def test_a_name_that_leaves_its_note_no_room_keeps_the_old_file(tmp_path):
    """The note beside it has a longer name, and no file's name has more than 255 bytes."""
    source = make_media(tmp_path / "in.wav", "-f", "lavfi", "-i", "sine=d=0.2")
    output = tmp_path / f"{'x' * 250}.wav"
    output.write_bytes(b"old")
    with pytest.raises(OSError):
        song.decode(source, output)
    assert output.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", output.name]
