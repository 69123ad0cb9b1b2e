"""The finished picture: size, symmetry, timing; and the film it becomes."""

import json
import re
import shutil
import subprocess
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageFilter

import musicvideo.__main__
from conftest import FFMPEG, make_media, read_frames, use_ffmpeg
from musicvideo import ffmpeg, probe, programs
from musicvideo.errors import MediaError
from musicvideo.vision import film, framing, merging, record
from musicvideo.vision.onsets import onsets
from musicvideo.vision.title import MARGIN, load_font, title_card

SMALL = dict(width=160, height=90, preset="ultrafast")


@pytest.fixture(scope="module")
def square(tmp_path_factory):
    """Four seconds of a moving, asymmetric picture, 128x128 at 30 frames a second."""
    return make_media(
        tmp_path_factory.mktemp("film") / "square.mp4",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=128x128:r=30:d=4",
        "-pix_fmt",
        "yuv420p",
        "-crf",
        "10",
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Five and a half seconds: the song and a reverb tail of 1.5 s."""
    return make_media(tmp_path_factory.mktemp("film") / "sound.wav", "-f", "lavfi", "-i", "sine=r=48000:d=5.5")


@pytest.fixture(scope="module")
def picture(square, sound, tmp_path_factory):
    """A function that gives the finished picture of `square` and `sound`, with an intro; made once for each intro."""
    folder = tmp_path_factory.mktemp("pictures")

    @cache
    def made(intro: float) -> Path:
        film.finish(square, sound, folder / f"{intro}.mkv", intro=intro, **SMALL)
        return folder / f"{intro}.mkv"

    return made


@pytest.mark.parametrize("mirror", framing.MIRRORS)
@pytest.mark.parametrize("size", [(320, 180), (192, 192), (384, 216), (420, 180), (180, 320)])
def test_mirror_symmetry_is_exact_at_every_aspect_ratio(square, write_wav, tmp_path, size, mirror):
    output, sound = tmp_path / "film.mkv", write_wav("brief.wav", np.zeros(9600))
    settings = dict(width=size[0], height=size[1], crf=0, preset="ultrafast", intro=0, mirror=mirror)
    if mirror == "pair" and size == (180, 320):
        with pytest.raises(MediaError, match="MIRROR=pair: 180x320 leaves it no room .choose MIRROR=half"):
            film.finish(square, sound, output, **settings)
        return
    film.finish(square, sound, output, **settings)
    frames = read_frames(output)
    assert frames.shape[1:] == (size[1], size[0])
    assert np.array_equal(frames, frames[:, :, ::-1])


@pytest.mark.parametrize("pulse", [0, 1])
def test_any_ffmpeg_finishes_a_film(square, sound, tmp_path, monkeypatch, pulse):
    """Moviepy's FFmpeg is years newer than the oldest supported version."""
    use_ffmpeg(monkeypatch, newer=True)
    film.finish(
        square, sound, tmp_path / "film.mkv", intro=1, outro=1, title="Title", pulse=pulse, beats=[(1, 1)], **SMALL
    )
    assert probe.probe(tmp_path / "film.mkv").duration == pytest.approx(6.5, abs=0.05)


@pytest.mark.parametrize("name, codec, pixels", [("a.mov", "prores_ks", "yuva444p10le"), ("a.webm", "vp9", "yuva420p")])
def test_a_transparent_square_shows_its_colours(write_wav, tmp_path, name, codec, pixels):
    films, sound = [], write_wav("brief.wav", np.zeros(48000))
    for alpha in (1, 0):
        drawn = f"testsrc2=s=64x64:r=30:d=1,format=rgba,colorchannelmixer=aa={alpha}"
        clip = make_media(tmp_path / name, "-f", "lavfi", "-i", drawn, "-c:v", codec, "-pix_fmt", pixels)
        film.finish(clip, sound, tmp_path / "film.mkv", intro=0, outro=0, **SMALL)
        films.append(read_frames(tmp_path / "film.mkv").astype(int))
    assert films[0].std() > 20 and np.abs(films[1] - films[0]).max() < 20


def test_a_frame_a_second(sound, tmp_path):
    slow = make_media(tmp_path / "slow.mp4", "-f", "lavfi", "-i", "testsrc2=s=64x64:r=1:d=4", "-pix_fmt", "yuv420p")
    for intro in (1, 4):
        film.finish(slow, sound, tmp_path / "film.mkv", intro=intro, outro=2, **SMALL)
        assert probe.probe(tmp_path / "film.mkv").duration == pytest.approx(intro + 5.5, abs=1)


def symmetry(path) -> float:
    """PSNR in dB of a film's frames, luma and chroma, against their mirror images."""
    found = probe.probe(path)
    raw = programs.run(
        [FFMPEG, "-v", "error", "-i", ffmpeg.source(path), "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"],
        doing=f"decoding {path}",
    )
    luma, chroma = found.width * found.height, found.width * found.height // 4
    frames, errors = np.frombuffer(raw, np.uint8).reshape(-1, luma + 2 * chroma), []
    for plane, scale in zip(np.split(frames, [luma, luma + chroma], axis=1), (1, 2, 2)):
        plane = plane.reshape(-1, found.height // scale, found.width // scale).astype(float)
        errors.append(max(np.mean((frame - frame[:, ::-1]) ** 2) for frame in plane))
    return np.inf if max(errors) == 0 else 10 * np.log10(255**2 / max(errors))


def test_default_film_is_symmetric_but_for_codec_noise(square, tmp_path, write_wav):
    """1920x1080 with intro and fades, at the default quality: every frame, all three planes."""
    output = tmp_path / "film.mkv"
    film.finish(square, write_wav("brief.wav", np.zeros(2400)), output, intro=0.5)
    assert probe.probe(output).width == 1920
    assert 45 <= symmetry(output) < 70


@pytest.fixture(scope="module")
def soft(tmp_path_factory):
    """Two seconds of a smooth picture."""
    return make_media(
        tmp_path_factory.mktemp("soft") / "soft.mp4",
        "-f",
        "lavfi",
        "-i",
        "gradients=s=128x128:r=30:d=2:x0=0:y0=0:x1=128:y1=128",
        "-pix_fmt",
        "yuv420p",
        "-crf",
        "10",
    )


@pytest.mark.parametrize("look", ["none", "dream"])  # grain, of vintage and noir, is no mirror image
def test_looks_without_grain_are_symmetric(soft, write_wav, tmp_path, look):
    sound = write_wav("brief.wav", np.zeros(round(1.5 * 48000)))
    brief = dict(width=320, height=180, intro=0.5)
    film.finish(soft, sound, tmp_path / "lossless.mkv", codec="ffv1", look=look, pulse=1, beats=[(1, 1)], **brief)
    assert symmetry(tmp_path / "lossless.mkv") == np.inf
    film.finish(soft, sound, tmp_path / "film.mkv", look=look, **brief)
    assert 45 <= symmetry(tmp_path / "film.mkv") < 70


def test_any_even_square(tmp_path, write_wav):
    video = make_media(
        tmp_path / "square.mp4", "-f", "lavfi", "-i", "testsrc2=s=130x130:r=30:d=1", "-pix_fmt", "yuv420p"
    )
    sound = write_wav("sound.wav", np.zeros(2 * 48000))  # it fades from 1.5 s on
    film.finish(video, sound, tmp_path / "film.mkv", width=320, height=180, crf=0, preset="ultrafast", intro=0)
    frames = read_frames(tmp_path / "film.mkv", "rgb24")[:30].astype(int)
    assert frames.shape[1:3] == (180, 320) and frames.std() > 30
    assert np.abs(frames - frames[:, :, ::-1]).mean() < 2  # chroma is sited left, so RGB is not exact


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("width, height, side", [(1200, 676, 512), (1920, 1080, 820)])
def test_a_pair_shows_the_whole_square_as_it_is(tmp_path, write_wav, monkeypatch, width, height, side, newer):
    """The author's proportions; a square of that size is not scaled, and borders mirror what they touch.

    The square does not say what its colours mean, and no FFmpeg may convert them.
    """
    assert framing.pair_side(width, height) == side
    video = make_media(
        tmp_path / "square.mkv",
        "-f",
        "lavfi",
        "-i",
        f"testsrc2=s={side}x{side}:r=30:d=0.2",
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "ffv1",
    )
    with monkeypatch.context() as patch:
        use_ffmpeg(patch, newer=newer)
        film.finish(
            video,
            write_wav("brief.wav", np.zeros(4800)),
            tmp_path / "film.mkv",
            width=width,
            height=height,
            codec="ffv1",
            intro=0,
        )
    asked = ["-show_entries", "stream=color_space,color_primaries,color_transfer,color_range", "-of", "csv=p=0"]
    told = programs.run(["ffprobe", "-v", "error", *asked, tmp_path / "film.mkv"], doing="probing")
    assert told.decode().split()[0] == "tv,bt709,bt709,bt709"
    frame, original = read_frames(tmp_path / "film.mkv")[0], read_frames(video)[0]
    columns, rows = (width - 2 * side) // 2, height - side
    above = round(rows * 73 / 163 / 2) * 2
    middle = frame[above : above + side, columns : columns + 2 * side]
    assert np.array_equal(middle, np.hstack([original, original[:, ::-1]]))
    assert np.array_equal(frame[:above], frame[above : 2 * above][::-1])
    assert np.array_equal(frame[above + side :], frame[above + side - (rows - above) : above + side][::-1])
    assert np.array_equal(frame[:, :columns], frame[:, columns : 2 * columns][:, ::-1])


def test_landscape_films_show_a_pair_and_others_a_half():
    assert [framing.default_mirror(*size) for size in ((1920, 1080), (1080, 1080), (1080, 1920))] == [
        "pair",
        "half",
        "half",
    ]


def test_outer_edges_are_mirror_images(square, write_wav, tmp_path):
    sound = write_wav("sound.wav", np.zeros(3 * 48000))  # it fades from 2.25 s on
    output = tmp_path / "film.mkv"
    film.finish(square, sound, output, width=384, height=216, crf=0, preset="ultrafast", intro=0, mirror="half")
    frame = read_frames(output)[60].astype(float)
    # 216 high: the square is 216 wide in the middle, from 84 to 300; what is left of 84 mirrors what is right of it.
    left, right = frame[:, 20:83], frame[:, 85:148][:, ::-1]
    assert np.abs(left - right).mean() < 6
    assert frame.std() > 20


@pytest.fixture(scope="module")
def brief(tmp_path_factory):
    """A square video of a second, and a sound that is 0.9 s longer."""
    folder = tmp_path_factory.mktemp("brief")
    video = make_media(folder / "square.mp4", "-f", "lavfi", "-i", "testsrc2=s=128x128:r=30:d=1", "-pix_fmt", "yuv420p")
    soundfile.write(folder / "sound.wav", np.zeros(round(1.9 * 48000)), 48000)
    return video, folder / "sound.wav"


def test_picture_lasts_as_long_as_intro_and_sound(brief, tmp_path):
    video, sound = brief
    for intro, outro in [(0, 0), (1, 0), (0, 0.5), (1.5, 2)]:
        output = tmp_path / "film.mkv"
        told = []
        film.finish(
            video, sound, output, intro=intro, outro=outro, progress=lambda *seconds: told.append(seconds), **SMALL
        )
        assert len(read_frames(output)) == round((intro + 1.9) * 30)
        done, length = np.array(told).T
        assert np.all(np.diff(done) >= 0) and done[-1] == pytest.approx(intro + 1.9, abs=0.1)
        assert np.all(length == pytest.approx(intro + 1.9, abs=1 / 30))


def test_video_plays_unchanged_between_intro_and_outro(square, tmp_path):
    """The intro ends on the first frame; then each frame of the video, once, in order; then back and forth."""
    # Long enough for the fade to black to come after all that is looked at.
    sound = make_media(tmp_path / "long.wav", "-f", "lavfi", "-i", "sine=r=48000:d=9")
    plain, whole = tmp_path / "plain.mkv", tmp_path / "whole.mkv"
    film.finish(square, sound, plain, intro=0, outro=0, **SMALL)
    film.finish(square, sound, whole, intro=1.5, outro=0.5, **SMALL)  # its fade-in is over after 1 s
    plain, whole = (read_frames(path).astype(float) for path in (plain, whole))
    begin = 45

    def distance(a, b):
        return np.abs(plain[a] - whole[b]).mean()

    assert max(distance(frame, begin + frame) for frame in range(119)) < 2  # codec noise
    assert distance(60, begin + 61) > 2  # one frame later is seen
    assert distance(0, begin - 1) < 2
    outro = [min(range(100, 120), key=lambda frame: distance(frame, begin + 120 + n)) for n in range(28)]
    assert outro[0] >= 118 and outro[:14] == sorted(outro[:14], reverse=True)
    assert outro[16:] == sorted(outro[16:]) and outro[-1] >= 117


@pytest.fixture(scope="module")
def flash_and_click(tmp_path_factory):
    """The finished picture of a white frame at 2 s, with an intro of 1.25 s, and a click at 2 s."""
    folder = tmp_path_factory.mktemp("flash")
    flash = make_media(
        folder / "flash.mp4",
        "-f",
        "lavfi",
        "-i",
        "color=black:s=64x64:r=30:d=4,drawbox=t=fill:color=white:enable='eq(n,60)'",
        "-pix_fmt",
        "yuv420p",
    )
    click = np.zeros(5 * 48000)
    click[2 * 48000] = 0.9
    soundfile.write(folder / "click.wav", click, 48000)
    film.finish(flash, folder / "click.wav", folder / "picture.mkv", intro=1.25, outro=1, title="", **SMALL)
    return folder / "picture.mkv", folder / "click.wav"


@pytest.mark.parametrize("name", ["film.mkv", "film.mp4"])
def test_flash_and_click_stay_together(flash_and_click, tmp_path, name):
    """A white frame and a click at 2 s go in; they come out together, after the intro."""
    rate = 30
    (picture, wav), finished = flash_and_click, tmp_path / name
    merging.merge(picture, [merging.Stream(wav)], finished, intro=1.25)
    seen = read_frames(finished).mean(axis=(1, 2)).argmax() / rate
    make_media(tmp_path / "out.wav", "-i", finished, "-vn")
    samples, sample_rate = soundfile.read(tmp_path / "out.wav")
    heard = np.abs(samples).argmax() / sample_rate
    assert abs(seen - heard) <= 1 / rate
    assert heard == pytest.approx(2 + round(1.25 * rate) / rate, abs=1e-3)


def test_title_comes_and_goes(square, sound, tmp_path):
    bare, titled = tmp_path / "bare.mkv", tmp_path / "titled.mkv"
    film.finish(square, sound, bare, intro=2, crf=4, **SMALL)
    film.finish(square, sound, titled, intro=2, crf=4, title="Impassive: it's 100%", **SMALL)
    difference = np.abs(read_frames(bare).astype(float) - read_frames(titled)).mean(axis=(1, 2))
    assert difference[:10].max() < 1 and difference[150:].max() < 1
    assert difference[60] > 2


LONG = "The long and winding history of a title that nobody could remember"


def letters_of(card, level=100):
    """Which pixels of a title card are letters, at least as light as `level`: bool (height, width)."""
    return np.asarray(card)[..., :3].max(axis=2) > level


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (360, 360), (960, 320)])
@pytest.mark.parametrize("title", ["Impassive", LONG, LONG.replace(" ", "_"), LONG * 4])
def test_titles_stay_within_margins(title, size):
    rows, columns = np.nonzero(letters_of(title_card(title, "", *size)))
    for found, length in ((columns, size[0]), (rows, size[1])):
        assert found.min() >= MARGIN * length - 4 and found.max() <= (1 - MARGIN) * length + 4
        assert found.min() + found.max() == pytest.approx(length, abs=0.06 * min(size) + 2)


def test_long_titles_break_into_balanced_lines():
    letters = letters_of(title_card(LONG, "", 1280, 720))
    inked = np.concatenate([[False], letters.any(axis=1), [False]])
    edges = np.flatnonzero(np.diff(inked.astype(int)))
    lines = [letters[start:stop] for start, stop in edges.reshape(-1, 2)]
    lines = [np.ptp(np.nonzero(line)[1]) for line in lines if len(line) > 15]  # not the dots of letters
    assert len(lines) > 2 and min(lines) > 0.5 * max(lines)
    one = letters_of(title_card("Impassive", "", 1280, 720)).any(axis=1)
    assert np.ptp(np.flatnonzero(one)) < 720 / 9


@pytest.mark.parametrize("shade", [0, 128, 255])
@pytest.mark.parametrize("title", ["Impassive", LONG])
def test_titles_are_readable_over_any_picture(title, shade):
    """Letters contrast with what is beside them by at least 3:1, which WCAG 2 demands of large text."""
    picture = np.full((64, 64, 3), shade, np.uint8)
    card = title_card(title, "", 640, 360, picture)
    letters = Image.fromarray(letters_of(card, 235))
    # A few pixels away, so that the smooth edges of the letters are in neither.
    near, far = (np.asarray(letters.convert("L").filter(ImageFilter.MaxFilter(width))) > 0 for width in (5, 11))
    shown = Image.alpha_composite(Image.new("RGBA", card.size, (shade,) * 3), card).convert("L")
    light = (np.asarray(shown) / 255) ** 2.2
    letter, beside = light[np.asarray(letters)], light[far & ~near]
    assert (letter.mean() + 0.05) / (np.percentile(beside, 95) + 0.05) > 3


def test_titles_take_the_hue_of_the_picture():
    for hue, strongest in (((20, 40, 200), 2), ((200, 30, 40), 0)):
        card = np.asarray(title_card("Impassive", "", 320, 180, np.full((8, 8, 3), hue, np.uint8)))
        letters = card[letters_of(card, 235)][:, :3].mean(axis=0)
        assert letters.argmax() == strongest and letters.min() > 200


def test_fonts_by_family_style_and_kind():
    families = subprocess.run(["fc-list", ":", "family"], capture_output=True, text=True).stdout.splitlines()
    family = next(name for line in families for name in line.split(",") if "-" not in name)
    for font in (family, family.upper(), f"{family}:bold", "serif", "sans-serif", "monospace"):
        assert load_font(font, "x", 20).getlength("x") > 0


def test_film_is_h264_and_flac_or_aac(picture, sound, tmp_path):
    picture = picture(2)

    def packets(path):
        return programs.run(
            [
                FFMPEG,
                "-v",
                "error",
                "-i",
                path,
                "-map",
                "0:v",
                "-c",
                "copy",
                "-bsf",
                "h264_mp4toannexb",
                "-f",
                "md5",
                "-",
            ],
            doing=f"reading {path}",
        )

    drawn = packets(picture)
    for name, codec in [("film.mkv", "flac"), ("film.mp4", "aac")]:
        merging.merge(picture, [merging.Stream(sound)], tmp_path / name, tags={"title": "Name"}, intro=2)
        assert packets(tmp_path / name) == drawn  # copied, not encoded again
        found = probe.probe(tmp_path / name)
        assert found.audio_codec == codec
        assert (found.width, found.height, found.frame_rate) == (160, 90, Fraction(30))
        assert found.duration == pytest.approx(2 + 5.5, abs=1 / 30)


def test_errors_name_input_and_remedy(square, sound, tmp_path, write_wav):
    output = tmp_path / "film.mkv"
    oblong = make_media(tmp_path / "oblong.mp4", "-f", "lavfi", "-i", "testsrc2=s=128x64:r=30:d=2")
    with pytest.raises(MediaError, match="128x64; give a square"):
        film.finish(oblong, sound, output)
    odd = make_media(
        tmp_path / "odd.mkv", "-f", "lavfi", "-i", "testsrc2=s=128x128:r=30:d=1,format=yuv444p,scale=65:65"
    )
    with pytest.raises(MediaError, match="65x65; give a square of an even number of pixels"):
        film.finish(odd, sound, output)
    with pytest.raises(MediaError, match="no picture"):
        film.finish(sound, sound, output)
    brief = make_media(tmp_path / "brief.mp4", "-f", "lavfi", "-i", "testsrc2=s=64x64:r=30:d=0.3")
    with pytest.raises(MediaError, match="INTRO=0"):
        film.finish(brief, sound, output)
    with pytest.raises(MediaError, match="s longer than"):
        merging.merge(square, [merging.Stream(sound)], output, intro=0)
    with pytest.raises(MediaError, match="no such file"):
        film.finish(tmp_path / "missing.mp4", sound, output)
    for stage, heard in ((film.finish, sound), (merging.merge, [merging.Stream(sound)])):
        with pytest.raises(MediaError, match="film.avi: a film is a .mkv or a .mp4"):
            stage(square, heard, tmp_path / "film.avi")
    assert not output.exists()
    assert not list(tmp_path.glob(".*"))  # nothing half-written


def test_failed_encode_leaves_the_old_film(square, sound, tmp_path, monkeypatch):
    output = tmp_path / "film.mkv"
    output.write_bytes(b"old")
    monkeypatch.setattr(film, "filter_graph", lambda **_: "[0:v]nosuchfilter[film]")
    with pytest.raises(MediaError, match="finishing"):
        film.finish(square, sound, output, **SMALL)
    assert output.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["film.mkv"]


@pytest.mark.parametrize("size", [(3840, 2160), (1080, 1920), (1080, 1080)])
def test_sizes_people_ask_for(square, tmp_path, write_wav, size):
    brief = write_wav("brief.wav", np.zeros(4800))
    film.finish(square, brief, tmp_path / "film.mkv", width=size[0], height=size[1], preset="ultrafast", intro=0)
    found = probe.probe(tmp_path / "film.mkv")
    assert (found.width, found.height) == size


@pytest.fixture(scope="module")
def plain(square, tmp_path_factory):
    """A function that makes a silent film of two seconds with a look, and its second second without one."""
    folder = tmp_path_factory.mktemp("looks")
    sound = make_media(folder / "brief.wav", "-f", "lavfi", "-i", "anullsrc=r=48000:d=2")

    def finished(**look: str) -> np.ndarray:
        output = folder / "film.mkv"
        film.finish(square, sound, output, width=320, height=180, crf=0, preset="ultrafast", intro=0, **look)
        return read_frames(output, "rgb24")[30:].astype(float)

    return finished, finished()


@pytest.mark.parametrize("look", framing.LOOKS)
def test_looks_differ_and_stay_symmetric(plain, look):
    finished, without = plain
    frames = finished(look=look)
    difference = np.abs(frames - without).mean()
    assert (difference == 0) if look == "none" else (difference > 4)
    blurred = frames.mean(axis=0)  # grain is not mirrored, and averages out
    assert np.abs(blurred - blurred[:, ::-1]).mean() < 3
    if look == "noir":
        assert np.ptp(frames, axis=3).max() < 12


def test_dream_has_no_colour_of_its_own(tmp_path, write_wav):
    """Greys stay grey, black stays black, and light spills over its edge."""
    video = make_media(
        tmp_path / "grey.mp4",
        "-f",
        "lavfi",
        "-i",
        "color=black:s=128x128:r=30:d=1,drawbox=y=0:h=32:t=fill:color=white,drawbox=y=96:h=32:t=fill:color=gray",
        "-pix_fmt",
        "yuv420p",
    )
    sound = write_wav("sound.wav", np.zeros(48000))  # it fades from 0.75 s on
    film.finish(
        video, sound, tmp_path / "film.mkv", look="dream", width=128, height=128, crf=0, preset="ultrafast", intro=0
    )
    frame = read_frames(tmp_path / "film.mkv", "rgb24")[10].astype(int)
    assert np.ptp(frame, axis=2).max() <= 3
    assert frame[4].min() > 250 and frame[64].max() < 4 and frame[110:].mean() == pytest.approx(126, abs=8)
    assert frame[34].mean() > frame[40].mean() > frame[64].mean()


def test_pulse_zooms_on_the_beat_and_falls_back(tmp_path):
    """A bright square in the middle grows with the beat at 1 s, and only then."""
    box = make_media(
        tmp_path / "box.mp4",
        "-f",
        "lavfi",
        "-i",
        "color=black:s=128x128:r=30:d=3,drawbox=x=32:y=32:w=64:h=64:t=fill:color=white",
        "-pix_fmt",
        "yuv420p",
        "-crf",
        "4",
    )
    sound = make_media(tmp_path / "sound.wav", "-f", "lavfi", "-i", "sine=d=4")  # it fades from 3.75 s on
    output = tmp_path / "film.mkv"
    film.finish(
        box,
        sound,
        output,
        intro=1,
        outro=0,
        pulse=1,
        beats=[(1.0, 1.0)],
        width=192,
        height=192,
        crf=4,
        preset="ultrafast",
    )
    bright = (read_frames(output) > 128).sum(axis=(1, 2)) ** 0.5  # side of the square
    resting = bright[45]
    assert bright[60] / resting == pytest.approx(1 / (1 - film.PULSE_ZOOM), abs=0.015)
    assert np.all(np.diff(bright[60:90]) <= 0.5)
    assert bright[59] == pytest.approx(resting, abs=0.5) and bright[90] == pytest.approx(resting, abs=0.5)


def test_variable_frame_rate_becomes_constant(tmp_path, sound):
    video = make_media(
        tmp_path / "variable.mkv",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=64x64:r=60:d=3",
        "-vf",
        "select='not(mod(n,2))+lt(n,20)'",
        "-fps_mode",
        "vfr",
    )
    film.finish(video, sound, tmp_path / "film.mkv", **SMALL)
    steps = programs.run(
        ["ffprobe", "-v", "error", "-show_entries", "packet=duration_time", "-of", "csv=p=0", tmp_path / "film.mkv"],
        doing="probing",
    ).split()
    assert len({step.strip(b",") for step in steps}) == 1
    assert probe.probe(tmp_path / "film.mkv").duration == pytest.approx(9.5, abs=0.05)


def test_flash_in_a_variable_frame_rate_comes_when_it_should(tmp_path, sound):
    """Every frame of the first second, then one in seven but for the flash, at 2.5 s."""
    video = make_media(
        tmp_path / "variable.mkv",
        "-f",
        "lavfi",
        "-i",
        "color=black:s=64x64:r=30:d=4,drawbox=t=fill:color=white:enable='eq(n,75)'",
        "-vf",
        "select='lt(n,30)+eq(n,75)+eq(n,76)+not(mod(n,7))'",
        "-fps_mode",
        "vfr",
    )
    film.finish(video, sound, tmp_path / "film.mkv", intro=1, **SMALL)
    found = probe.probe(tmp_path / "film.mkv")
    seen = read_frames(tmp_path / "film.mkv").mean(axis=(1, 2)).argmax() / found.frame_rate
    assert seen == pytest.approx(1 + 2.5, abs=1 / 30 + 1 / (2 * found.frame_rate))
    assert found.duration == pytest.approx(1 + 5.5, abs=0.05)


def test_a_video_without_frames_or_cut_off(square, sound, tmp_path):
    """The headers state four seconds that do not exist."""
    none = make_media(
        tmp_path / "none.mp4", "-ss", "9", "-i", square, "-i", sound, "-map", "0:v", "-map", "1:a", "-c:v", "copy"
    )
    whole = make_media(tmp_path / "whole.mkv", "-i", square, "-c", "copy").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 2])
    before = sorted(tmp_path.iterdir())
    for outro in (0, 2):
        with pytest.raises(MediaError, match="none.mp4: has no frames"):
            film.finish(none, sound, tmp_path / "film.mkv", intro=0, outro=outro, **SMALL)
        with pytest.raises(MediaError, match=r"cut.mkv: breaks off after [12]\.\d of its 4\.0 s"):
            film.finish(cut, sound, tmp_path / "film.mkv", intro=0, outro=outro, **SMALL)
    assert sorted(tmp_path.iterdir()) == before


def test_a_video_shorter_than_the_outro_runs_back_and_forth_as_a_whole(tmp_path, sound, run_script):
    """The note says so, and a video of one second that gets brighter plays 1 s up, 1 s down, 1 s up ..."""
    video = make_media(
        tmp_path / "ramp.mp4",
        "-f",
        "lavfi",
        "-i",
        "color=gray:s=64x64:r=30:d=1,geq=lum=40+6*N:cb=128:cr=128",
        "-pix_fmt",
        "yuv420p",
    )
    result = run_script(
        musicvideo.__main__,
        "video",
        video,
        sound,
        tmp_path / "film.mkv",
        "--intro",
        "0",
        "--outro",
        "4",
        "--width",
        "64",
        "--height",
        "64",
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r"^\S+film.mkv: 64x64, h264, made in \d+\.\d s$", result.stdout, re.MULTILINE)
    assert (
        "4.50 s longer than" in result.stdout
        and "which, shorter than the outro, all runs back and forth" in result.stdout
    )
    level = read_frames(tmp_path / "film.mkv").mean(axis=(1, 2))
    assert len(level) == 165
    for second, rises in enumerate([True, False, True, False]):
        steps = np.diff(level[30 * second + 1 : 30 * second + 29])
        assert np.all(steps > 0) if rises else np.all(steps < 0)


def test_chapters_begin_where_the_music_does(picture, sound, tmp_path):
    merging.merge(
        picture(2), [merging.Stream(sound)], tmp_path / "film.mkv", intro=2, tags={"title": "T; = #1"},
        chapters=[(0, "A"), (1.5, "B = 2; C")],
    )  # fmt: skip
    found = json.loads(
        programs.run(
            ["ffprobe", "-v", "error", "-show_chapters", "-show_format", "-of", "json", tmp_path / "film.mkv"],
            doing="probing",
        )
    )
    assert found["format"]["tags"]["title"] == "T; = #1"
    assert [(float(c["start_time"]), c["tags"]["title"]) for c in found["chapters"]] == [(0, "A"), (3.5, "B = 2; C")]


def test_a_film_carries_the_settings_of_its_drawing_and_no_folders(square, write_wav, tmp_path):
    settings = {"song": "/home/somebody/Music/a.flac", "weights": None, "midi": "media/a.mid", "seed": 7}
    comment = f"comment={json.dumps(settings)}"
    drawn = make_media(tmp_path / "drawn.mkv", "-i", square, "-c", "copy", "-metadata", comment)
    sound = write_wav("sound.wav", np.zeros((4 * 48000, 2)))
    merging.merge(drawn, [merging.Stream(sound)], tmp_path / "film.mkv", intro=0)
    assert record.read(tmp_path / "film.mkv") == {**settings, "song": "a.flac"}


def test_a_picture_that_was_cut_off_is_not_merged(picture, sound, tmp_path):
    whole = picture(0).read_bytes()
    (tmp_path / "picture.mkv").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match=r"picture.mkv: is damaged or cut off; delete it"):
        merging.merge(tmp_path / "picture.mkv", [merging.Stream(sound)], tmp_path / "film.mkv", intro=0)
    assert not (tmp_path / "film.mkv").exists()


def test_chapters_behind_the_end_are_left_out(picture, sound, tmp_path):
    merging.merge(
        picture(0),
        [merging.Stream(sound)],
        tmp_path / "film.mkv",
        intro=0,
        chapters=[(0, "A"), (1e6, "B")],
    )
    assert probe.probe(tmp_path / "film.mkv").duration == pytest.approx(5.5, abs=0.05)


def test_unequal_lengths_are_said(brief, tmp_path, write_wav, run_script):
    """The picture gets the sound's length, and both stages state the difference."""
    video, _ = brief
    longer, shorter = write_wav("longer.wav", np.zeros(2 * 48000)), write_wav("shorter.wav", np.zeros(24000))
    assert film.finish(video, longer, tmp_path / "a.mkv", intro=0, **SMALL) == pytest.approx(1)
    assert film.finish(video, shorter, tmp_path / "b.mkv", intro=0, **SMALL) == pytest.approx(-0.5)
    assert len(read_frames(tmp_path / "b.mkv")) == 15
    slightly = write_wav("slightly.wav", np.zeros(round(0.7 * 48000)))
    assert merging.merge(tmp_path / "b.mkv", [merging.Stream(slightly)], tmp_path / "c.mkv", intro=0) == pytest.approx(
        0.2, abs=0.01
    )
    result = run_script(musicvideo.__main__, "merge", tmp_path / "b.mkv", slightly, tmp_path / "c.mkv", "--intro", "0")
    assert result.returncode == 0 and "0.20 s of" in result.stderr


def test_a_video_with_longer_sound_inside_shows_all_its_frames(square, sound, tmp_path):
    both = make_media(tmp_path / "both.mp4", "-i", square, "-i", sound, "-c:v", "copy", "-map", "0:v", "-map", "1:a")
    assert film.finish(both, sound, tmp_path / "film.mkv", intro=0, **SMALL) == pytest.approx(1.5, abs=0.04)


def test_a_late_first_beat(square, tmp_path, write_wav):
    sound = write_wav("sound.wav", np.zeros(4 * 48000))
    film.finish(square, sound, tmp_path / "film.mkv", pulse=1, beats=[(300.0, 1.0)], intro=0, **SMALL)
    assert len(read_frames(tmp_path / "film.mkv")) == 120


def test_encoder_by_name(square, write_wav, tmp_path):
    sound = write_wav("brief.wav", np.zeros(9600))
    film.finish(square, sound, tmp_path / "film.mkv", codec="hevc", intro=0, **SMALL)
    streams = programs.run(
        ["ffprobe", "-v", "error", "-show_streams", "-of", "json", tmp_path / "film.mkv"], doing="probing"
    )
    assert json.loads(streams)["streams"][0]["codec_name"] == "hevc"


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(mirror="twice"), "MIRROR=twice: unknown .choose pair, half"),
        (dict(mirror="pair", height=1920, width=1080), "MIRROR=pair: 1080x1920 leaves it no room"),
        (dict(look="sepia"), "LOOK=sepia: unknown .*vintage"),
        (dict(pulse=2), "PULSE=2: is not within 0..1"),
        (dict(pulse=float("nan")), "PULSE=nan: is not within 0..1"),
        (dict(width=322), "322x1080: WIDTH must be a multiple of 4"),
        (dict(height=181), "1920x181: WIDTH must be a multiple of 4, HEIGHT of 2"),
        (dict(width=0), "both from 16 to 8192"),
        (dict(width=8196), "both from 16 to 8192"),
        (dict(height=160), "mirrors fill at most 3:1"),
        (dict(title="x", font="No Such Font"), "FONT=No Such Font: is not installed"),
        (dict(title="x", font="a"), "FONT=a: is not installed"),  # though it is in a name of one
        (dict(codec="mpeg1"), "ENCODER=mpeg1: unknown .*h264_nvenc"),
    ],
)
def test_settings_that_cannot_be(settings, words, square, sound, tmp_path):
    """`check` refuses them without a video, and `finish` with one."""
    with pytest.raises(MediaError, match=words):
        film.check(**settings)
    with pytest.raises(MediaError, match=words):
        film.finish(square, sound, tmp_path / "film.mkv", **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, side, words",
    [
        (["--mirror", "twice"], 64, "MIRROR=twice: unknown"),
        (["--mirror", "pair", "--width", "180", "--height", "320"], 64, "leaves it no room"),
        (["--width", "322", "--height", "180"], 64, "WIDTH must be a multiple of 4"),
        (["--width", "320", "--height", "181"], 64, "HEIGHT of 2"),
        ([], 65, "65x65; give a square of an even number of pixels"),
    ],
)
def test_bad_input_is_one_line_and_the_old_film_stays(options, side, words, sound, tmp_path, run_script):
    video = make_media(
        tmp_path / "square.mkv", "-f", "lavfi", "-i", f"testsrc2=s=64x64:r=30:d=1,format=yuv444p,scale={side}:{side}"
    )
    output = tmp_path / "film.mkv"
    output.write_bytes(b"old")
    result = run_script(musicvideo.__main__, "video", video, sound, output, *options)
    assert result.returncode == 1 and words in result.stderr and result.stderr.count("\n") == 1
    assert output.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mkv", "square.mkv"]


def test_titles_that_show_nothing_or_are_no_text(square, sound, tmp_path):
    """A zero-width space is no title; bytes that are no UTF-8 reach Python as surrogates."""
    for title in ("\u200b", " \u200d\u2060 ", "\t"):
        film.check(title=title)
    film.finish(square, sound, tmp_path / "invisible.mp4", title="\u200b", intro=1, **SMALL)
    film.finish(square, sound, tmp_path / "none.mp4", intro=1, **SMALL)
    assert (tmp_path / "invisible.mp4").read_bytes() == (tmp_path / "none.mp4").read_bytes()
    film.check(title="a\u0301\u200d\u0301")
    with pytest.raises(MediaError, match="TITLE_TEXT=.*is not UTF-8 text"):
        film.check(title="caf\udce9")


def test_an_outro_holds_a_bounded_number_of_frames(brief, tmp_path, monkeypatch):
    """OUTRO=60 of a large square would hold gigabytes; a shorter leg fills the time as well."""
    video, sound = brief
    monkeypatch.setattr(film, "OUTRO_MEMORY", 15 * 3 * 128 * 128 * 3 // 2)  # 15 frames
    film.finish(video, sound, tmp_path / "film.mp4", intro=0, outro=60, **SMALL)
    film.finish(video, sound, tmp_path / "plain.mp4", intro=0, outro=0.5, **SMALL)
    monkeypatch.undo()
    assert len(read_frames(tmp_path / "film.mp4")) == 57
    assert (tmp_path / "film.mp4").read_bytes() == (tmp_path / "plain.mp4").read_bytes()
    # No more is reversed than the sound is longer.
    film.finish(video, sound, tmp_path / "film.mp4", intro=0, outro=60, **SMALL)
    film.finish(video, sound, tmp_path / "plain.mp4", intro=0, outro=0.9, **SMALL)
    assert (tmp_path / "film.mp4").read_bytes() == (tmp_path / "plain.mp4").read_bytes()


def test_a_frame_rate_that_cannot_be(sound, tmp_path):
    slow = make_media(tmp_path / "slow.mkv", "-f", "lavfi", "-i", "testsrc2=s=64x64:r=1/20:d=60", "-pix_fmt", "yuv420p")
    with pytest.raises(MediaError, match="slow.mkv: has 0.05 frames a second; give a video of 0.1 to 400"):
        film.finish(slow, sound, tmp_path / "film.mkv", intro=0, **SMALL)


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="has the hardware")
def test_an_encoder_without_its_hardware():
    """FFmpeg may list the encoder although the hardware is missing."""
    with pytest.raises(MediaError, match="h264_nvenc does not work on this machine.*choose another"):
        film.check(codec="h264_nvenc")
    film.check(codec="hevc", title="x", look="noir", pulse=1, width=3840, height=2160)


def test_onsets_are_where_the_clicks_are(write_wav):
    clicks = np.zeros(44100 * 4)
    at = np.array([0.5, 1.2, 1.9, 3.1])
    for time in at:
        start = int(time * 44100)
        clicks[start : start + 2000] = np.sin(np.arange(2000) / 5) * np.exp(-np.arange(2000) / 300)
    found = np.array([time for time, _ in onsets(write_wav("clicks.wav", clicks, 44100))])
    assert len(found) == 4 and np.abs(found - at).max() < 0.05
    assert onsets(write_wav("silence.wav", np.zeros(44100), 44100)) == []
