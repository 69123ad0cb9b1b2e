"""Song -> features: the golden arrays, songs of every format, and files that are no songs."""

import gc
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import command, make_media, through_a_pipe, use_ffmpeg
from musicvideo import caches, decoder, probe, programs
from musicvideo.errors import MediaError
from musicvideo.vision import features
from musicvideo.vision import locked_librosa as librosa
from musicvideo.vision.features import (
    ANALYSES,
    SAMPLE_RATE,
    Song,
    cached_features,
    classic_features,
    estimate_tuning,
    load_song,
    pulse_features,
)  # fmt: skip

GOLDEN = Path(__file__).parent / "data" / "golden"
SONG = GOLDEN / "arpeggio.flac"


@pytest.fixture(scope="module")
def samples():
    return load_song(SONG)


@pytest.mark.parametrize("run", ["default", "tuned", "eight"])
def test_features_are_the_published_ones(run, samples):
    arrays = np.load(GOLDEN / f"{run}.npz")
    frame_length = json.loads(str(arrays["params"])).get("frame_length", 512)
    found = classic_features(samples, frame_length)
    for name in ("mel_power", "mel_gradient", "chroma"):
        np.testing.assert_allclose(getattr(found, name), arrays[name], rtol=0, atol=1e-4, err_msg=name)
    assert (found.duration, found.frame_length) == (20.0, frame_length)


def test_blocks_change_nothing(samples, monkeypatch):
    whole = classic_features(samples)
    tuning = estimate_tuning(samples)
    assert tuning == librosa.estimate_tuning(y=samples, sr=SAMPLE_RATE, bins_per_octave=36)
    monkeypatch.setattr(features, "ANALYSIS_BLOCK", 4 * SAMPLE_RATE)
    assert estimate_tuning(samples) == tuning
    pieced = classic_features(samples)
    np.testing.assert_allclose(pieced.mel_power, whole.mel_power, atol=1e-6)
    np.testing.assert_allclose(pieced.chroma, whole.chroma, atol=1e-4)
    assert pieced.mel_power.shape == whole.mel_power.shape and pieced.chroma.shape == whole.chroma.shape


@pytest.mark.parametrize("mapping", ANALYSES)
@pytest.mark.parametrize("block, seconds", [(30, 4), (4, 9)])  # a part of a block, and more than two
def test_a_song_decoded_piece_by_piece_is_the_same(mapping, block, seconds, monkeypatch):
    samples = load_song(SONG, seconds)
    monkeypatch.setattr(features, "ANALYSIS_BLOCK", block * SAMPLE_RATE)
    monkeypatch.setattr(decoder, "PIECE_FRAMES", 10_007)
    found, wanted = ANALYSES[mapping](Song(SONG, seconds)), ANALYSES[mapping](samples)
    for name in ("mel_power", "mel_gradient", "chroma"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name))
        assert getattr(found, name).dtype == np.float32
    assert found.duration == wanted.duration == seconds


@pytest.mark.parametrize("points", [0, 1, 2])
def test_points_end_with_the_song_wherever_blocks_do(points, monkeypatch):
    """The song has a whole number of blocks of samples, one sample less, and one more."""
    monkeypatch.setattr(features, "ANALYSIS_BLOCK", 4 * 1024)
    monkeypatch.setattr(features, "ANALYSIS_CONTEXT", 1024)
    monkeypatch.setattr(features, "SHORTEST_ANALYSIS", 1024)
    for samples in (points * 1024, 8 * 1024 + points - 1, 9 * 1024 + points - 1):
        song = np.arange(max(samples, 1), dtype=np.float32)
        found, length = features.in_blocks(lambda piece: np.pad(piece, (0, 1))[::512], song, 512)
        assert length == len(song)
        np.testing.assert_array_equal(found, np.pad(song, (0, 1))[::512])


@pytest.mark.parametrize("cents", [-30, -10, 0, 20])
def test_tuning_is_that_of_librosa(cents):
    rng = np.random.default_rng(0)
    time = np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    notes = rng.choice([0, 3, 7, 10, 12, 15], 20)
    song = sum(
        np.sin(2 * np.pi * 220 * 2 ** (note / 12 + cents / 1200) * time) * (time // 0.5 == beat)
        for beat, note in enumerate(notes)
    ) + 0.3 * rng.normal(size=len(time))
    song = (0.1 * song).astype(np.float32)
    assert estimate_tuning(song) == librosa.estimate_tuning(y=song, sr=SAMPLE_RATE, bins_per_octave=36)


def test_tuning_of_long_songs_is_told_by_some_of_their_peaks(samples, monkeypatch):
    whole = estimate_tuning(samples)
    monkeypatch.setattr(features, "ANALYSIS_BLOCK", 4 * SAMPLE_RATE)
    monkeypatch.setattr(features, "MOST_PEAKS", 1000)
    assert estimate_tuning(samples) == pytest.approx(whole, abs=0.05)


def test_samples_are_those_of_librosa(samples):
    np.testing.assert_allclose(samples, librosa.load(SONG)[0], atol=1e-6)


def encode(path, *options):
    """Ten seconds of the golden song, unless options say otherwise, in another format, by name."""
    return make_media(path, "-i", SONG, "-t", "10", *options)


FILM = ("-f", "lavfi", "-i", "testsrc=d=20:s=64x64:r=5", "-shortest")


@pytest.mark.parametrize("name, options", [
    ("a.wav", ()), ("a.mp3", ()), ("a.m4a", ()), ("a.ogg", ("-c:a", "libvorbis")), ("a.opus", ()), ("a.aiff", ()),
    ("8000.wav", ("-ar", "8000")), ("192000.wav", ("-ar", "192000", "-c:a", "pcm_s24le")),
    ("22050.wav", ("-ar", "22050")), ("mono.flac", ("-ac", "1")), ("surround.flac", ("-ac", "8")),
    ("a film's, ü %d.mp4", FILM), ("no table.mp3", ("-q:a", "9", "-write_xing", "0")),
])  # fmt: skip
def test_every_format_gives_the_same_song(name, options, samples, tmp_path):
    decoded = load_song(encode(tmp_path / name, *options))
    assert decoded.dtype == np.float32 and abs(len(decoded) - 10 * SAMPLE_RATE) < 0.1 * SAMPLE_RATE
    loud, reference = (np.abs(x[: 9 * SAMPLE_RATE]).reshape(90, -1).mean(axis=1) for x in (decoded, samples))
    assert np.corrcoef(loud, reference)[0, 1] > 0.9


def test_duration_cuts_and_never_lengthens(samples):
    assert np.array_equal(load_song(SONG, duration=2.5)[:50_000], samples[:50_000])
    assert len(load_song(SONG, duration=2.5)) == 2.5 * SAMPLE_RATE
    assert len(load_song(SONG, duration=100)) == len(samples)
    with pytest.raises(ValueError, match="duration: -1"):
        load_song(SONG, duration=-1)


def test_full_scale_is_kept(tmp_path):
    loud = np.full(44_100, 1.5, np.float32)
    soundfile.write(tmp_path / "loud.wav", loud, 44_100, subtype="FLOAT")
    assert load_song(tmp_path / "loud.wav")[1000] == pytest.approx(1.5, abs=1e-3)


def refusal(path, **options):
    with pytest.raises(MediaError) as caught:
        load_song(path, **options)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.aiff"])
def test_songs_cut_off_are_refused_but_play_up_to_there(name, tmp_path):
    whole = encode(tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert "of its 10.0 s" in refusal(tmp_path / name)
    assert len(load_song(tmp_path / name, duration=3)) == 3 * SAMPLE_RATE


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "a.m4a", "a.ogg", "a.opus"])
def test_songs_damaged_in_the_middle_are_refused_but_play_up_to_there(name, newer, tmp_path, monkeypatch):
    """Whatever the release of FFmpeg."""
    use_ffmpeg(monkeypatch, newer=newer)
    data = bytearray(encode(tmp_path / name, "-c:a", "libvorbis").read_bytes() if name == "a.ogg"
                     else encode(tmp_path / name).read_bytes())  # fmt: skip
    middle, hole = len(data) // 2, len(data) // 10
    data[middle : middle + hole] = np.random.default_rng(0).bytes(hole)
    (tmp_path / name).write_bytes(data)
    where = re.search(r"damaged or cut off at (\S+) s of its 10.0 s", refusal(tmp_path / name))
    assert 4 < float(where[1]) < 5.5
    assert len(load_song(tmp_path / name, duration=3)) == 3 * SAMPLE_RATE
    assert where[1] in refusal(tmp_path / name, duration=8)


def test_a_film_whose_sound_ends_early_is_whole(tmp_path):
    film = make_media(tmp_path / "film.mp4", "-f", "lavfi", "-i", "testsrc=d=8:s=64x64:r=5", "-t", "3", "-i", SONG)
    assert abs(len(load_song(film)) / SAMPLE_RATE - 3) < 0.1


@pytest.mark.parametrize(
    "writer",
    [
        "sox {} -t wav - trim 0 10",
        "sox {} -b 24 -t wav - trim 0 10",
        "sox {} -e float -b 32 -t wav - trim 0 10",
        "ffmpeg -v error -i {} -f wav pipe:",
        "ffmpeg -v error -i {} -f flac pipe:",
    ],
)
def test_songs_written_to_a_pipe_are_as_long_as_what_is_there(writer, tmp_path):
    piped = tmp_path / "piped.wav"
    song = encode(tmp_path / "a.flac")
    through_a_pipe(piped, *(song if word == "{}" else word for word in writer.split()))
    assert len(load_song(piped)) == 10 * SAMPLE_RATE
    if "wav" in writer:
        assert int.from_bytes(piped.read_bytes()[4:8], "little") > 0x7FFF0000
        assert probe.probe(piped).duration == pytest.approx(10, abs=1e-3)
        whole = piped.read_bytes()
        piped.write_bytes(whole[: len(whole) // 2])  # nobody can know that it went on
        assert len(load_song(piped)) == pytest.approx(5 * SAMPLE_RATE, abs=SAMPLE_RATE / 100)


def test_files_that_are_no_songs_are_one_line(tmp_path):
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("hello " * 1000)
    (tmp_path / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(200_000))
    (tmp_path / "folder.wav").mkdir()
    encode(tmp_path / "song.wav")
    (tmp_path / "header.wav").write_bytes((tmp_path / "song.wav").read_bytes()[:1000])
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:20,\n{tmp_path / 'song.wav'}\n")
    (tmp_path / "list.wav").write_text(f"ffconcat version 1.0\nfile {tmp_path / 'song.wav'}\n")
    make_media(tmp_path / "mute.mp4", "-f", "lavfi", "-i", "testsrc=d=1")
    for name in (
        "missing.mp3",
        "empty.mp3",
        "text.mp3",
        "noise.mp3",
        "folder.wav",
        "header.wav",
        "list.m3u8",
        "list.wav",
    ):
        refusal(tmp_path / name)
    assert "no sound" in refusal(tmp_path / "mute.mp4")


@pytest.mark.parametrize("frame_length", [0, 63, 100, -512])
def test_hops_the_analysis_cannot_make_are_named(frame_length):
    with pytest.raises(ValueError, match=f"frame_length: {frame_length} is not a multiple of 64"):
        classic_features(np.zeros(1000, np.float32), frame_length)


SECONDS = np.arange(8 * SAMPLE_RATE) / SAMPLE_RATE
BEATS = np.arange(0.5, 8, 0.5)  # seconds


def drums_over_a_tone(tone=440.0):
    """A held note, and a burst of noise every half second."""
    rng = np.random.default_rng(0)
    song = 0.3 * np.sin(2 * np.pi * tone * SECONDS)
    for beat in BEATS:
        start = int(beat * SAMPLE_RATE)
        song[start : start + 1500] += 0.4 * rng.normal(size=1500) * np.exp(-np.arange(1500) / 300)
    return song.astype(np.float32)


def test_pulse_moves_with_the_drums_and_shows_the_harmony():
    found = pulse_features(drums_over_a_tone())
    grid = np.arange(len(found.mel_power)) * 512 / SAMPLE_RATE
    near = np.abs(grid[:, None] - BEATS).min(axis=1) < 0.1
    assert found.mel_power[near].mean() > 3 * found.mel_power[~near].mean()
    assert (found.chroma.argmax(axis=0) == 9).mean() > 0.95  # A


def test_one_click_does_not_flatten_a_pulse():
    song = drums_over_a_tone()
    clicked = song.copy()
    clicked[100_000:100_040] = 30
    beats = (BEATS * SAMPLE_RATE / 512).astype(int)
    found, wanted = (pulse_features(x).mel_power for x in (clicked, song))
    heights = [[power[beat - 3 : beat + 4].max() for beat in beats] for power in (found, wanted)]
    assert np.median(heights[0]) > 0.6 * np.median(heights[1])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("song", [np.zeros(30_000), np.ones(1), np.random.default_rng(0).normal(size=30_000)])
def test_pulse_of_hard_songs_is_finite(song):
    found = pulse_features(song.astype(np.float32))
    for values in (found.mel_power, found.mel_gradient, found.chroma):
        assert np.isfinite(values).all() and values.min(initial=0) >= 0 and values.max(initial=0) <= 1
        assert values.shape[-1] == 1 + len(song) // 512


def test_three_hours_are_analysed_in_blocks():
    """Memory and the work of a block do not grow with the song."""
    sizes, hop = [], 512

    def analyse(piece):
        sizes.append(len(piece))
        return np.zeros((1, 1 + len(piece) // hop), np.float32)

    found, length = features.in_blocks(analyse, (np.zeros(1 << 20, np.float32) for _ in range(230)), hop)
    assert length / SAMPLE_RATE > 3 * 3600 and found.shape[1] == 1 + length // hop
    assert max(sizes) <= features.ANALYSIS_BLOCK + 2 * features.ANALYSIS_CONTEXT + 2 * hop
    assert sum(sizes) < 1.5 * length


def test_a_song_that_is_left_early_leaves_no_decoder_behind():
    for _ in Song(SONG):
        assert len(programs._running) == 1
        break
    gc.collect()
    assert not programs._running


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e38])
def test_samples_that_are_no_sound_are_refused(tmp_path, value):
    song = np.full(50_000, 0.1, np.float32)
    song[40_000] = value
    soundfile.write(tmp_path / "odd.wav", song, 44_100, subtype="FLOAT")
    assert "samples that are no sound" in refusal(tmp_path / "odd.wav")


def test_features_are_cached_by_content(tmp_path, monkeypatch):
    cache, song = tmp_path / "cache", Song(encode(tmp_path / "song.wav", "-t", "1"))
    first = cached_features(song, cache=cache)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "song.wav").read_bytes())
    with monkeypatch.context() as patch:
        patch.setitem(ANALYSES, "classic", None)  # must not be called again
        again = cached_features(Song(tmp_path / "copy.wav"), cache=cache)
    assert np.array_equal(again.chroma, first.chroma) and again.duration == first.duration
    assert cached_features(Song(song.path, 0.5), cache=cache).duration == 0.5
    cached_features(song, 1024, cache=cache)
    assert len(list(cache.iterdir())) == 3
    monkeypatch.setattr(features, "ANALYSIS_VERSION", "next")
    cached_features(song, cache=cache)
    assert len(list(cache.iterdir())) == 4
    encode(tmp_path / "song.wav", "-t", "1", "-af", "volume=0.5")
    cached_features(song, cache=cache)
    assert len(list(cache.iterdir())) == 5
    with pytest.raises(ValueError, match="analysis: unknown name 'waltz'"):
        cached_features(song, analysis="waltz", cache=cache)


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """A song of a second, a cache that holds its features, the file with them, and the features."""
    folder = tmp_path_factory.mktemp("cached")
    song = Song(encode(folder / "song.wav", "-t", "1"))
    found = cached_features(song, cache=folder / "cache")
    (file,) = (folder / "cache").iterdir()
    return song, folder / "cache", file, found


def repack(file, **changes):
    """Features of another kind, with the right checksum."""
    with np.load(io.BytesIO(caches.recall(file))) as found:
        arrays = {**found, **changes}
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    caches.remember(file, packed.getvalue())


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:1000]),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:800] + bytes(8) + file.read_bytes()[808:]),
        lambda file: repack(file, mel_power=np.full(44, np.nan, np.float32)),
        lambda file: repack(file, chroma=np.zeros((12, 7), np.float32)),
        lambda file: repack(file, mel_gradient=np.array(["a"])),
        lambda file: repack(file, duration="long"),
        lambda file: caches.remember(file, b"no npz"),
        lambda file: (file.unlink(), file.mkdir()),
    ],
)
def test_damaged_caches_are_done_without(cached, damage):
    song, cache, file, wanted = cached
    if file.is_dir():
        file.rmdir()
    damage(file)
    found = cached_features(song, cache=cache)
    for name in features.ARRAYS:
        assert np.array_equal(getattr(found, name), getattr(wanted, name))


def test_a_cache_that_cannot_be_written_is_done_without(cached, tmp_path):
    (tmp_path / "file").touch()
    song, *_, wanted = cached
    assert np.array_equal(cached_features(song, cache=tmp_path / "file" / "cache").mel_power, wanted.mel_power)
    assert (tmp_path / "file").read_bytes() == b""


LOCKED = """
import fcntl, sys
from numba.np.ufunc import wrappers
from musicvideo.vision import features, locked_librosa

locks, compiled = [], []
flock, compile_wrapper = fcntl.flock, wrappers._GufuncWrapper._compile_wrapper
def noted_lock(file, operation):
    flock(file, operation)
    if file.name == locked_librosa.librosa.__file__:
        locks.append(file)  # is held until the file is closed
def noted_wrapper(self, name):
    compiled.append("without the lock: " + name if all(file.closed for file in locks) else "locked")
    return compile_wrapper(self, name)
fcntl.flock, wrappers._GufuncWrapper._compile_wrapper = noted_lock, noted_wrapper

for analysis in features.ANALYSES.values():
    analysis(features.load_song(sys.argv[1])[:66150])
locked_librosa.beat
print(*compiled, sep="\\n")
"""


def test_gufuncs_are_compiled_by_one_process_at_a_time():
    found = command("-c", LOCKED, SONG)
    assert found.returncode == 0, found.stderr
    assert set(found.stdout.splitlines()) == {"locked"}
