"""A folder of pictures -> a generator: what is found in the pictures, the training, what it writes, and bad input."""

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from pytorch_pretrained_biggan import BigGAN, BigGANConfig
from safetensors.torch import load_file

import musicvideo.__main__
import visualize
from conftest import GOLDEN, ROOT, assert_one_line_error, command, read_frames, small_disk
from musicvideo import files, limits
from musicvideo.errors import MediaError
from musicvideo.vision import generators
from musicvideo.vision.generators import own as records
from musicvideo.vision.generators.biggan.generator import to_bytes
from musicvideo.vision.job import decide, requested
from musicvideo.vision.render import draw
from musicvideo.vision.settings import Settings
from musicvideo.vision.training import cutouts, learning, own
from musicvideo.vision.training.learning import Training, draw_factors
from musicvideo.vision.training.textures import SIZE

NAMES = ["big disc", "Würfel", "十字"]


def drawn(kind: str, colour: str) -> Image.Image:
    """A thing on a transparent ground."""
    image = Image.new("RGBA", (200, 160))
    pen = ImageDraw.Draw(image)
    if kind == "big disc":
        pen.ellipse((30, 10, 170, 150), fill=colour)
    elif kind == "Würfel":
        pen.rectangle((40, 20, 160, 140), fill=colour)
    else:
        pen.line((40, 20, 160, 140), fill=colour, width=40)
        pen.line((40, 140, 160, 20), fill=colour, width=40)
    pen.ellipse((90, 70, 110, 90), fill="black")
    return image


def photograph(seed: int = 0) -> tuple[Image.Image, np.ndarray]:
    """A red and orange disc before green and blue noise, and where the disc is."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 12, (180, 240, 3)) + np.array([40, 110, 120])
    down, across = np.indices((180, 240))
    inside = (down - 95) ** 2 + (across - 130) ** 2 < 55**2
    pixels[inside] += np.array([160, -40, -90]) + 30 * np.sin(across[inside] / 6)[:, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), inside


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, colour in zip(NAMES, ("red", "lime", "yellow")):
        drawn(name, colour).save(folder / f"{name}.png")
    (folder / "NOTICE").write_text("Drawn by the tests.\n")
    (folder / "list.txt").write_text("no picture")
    return folder


def small(patch: pytest.MonkeyPatch, place: Path, steps: int = 8) -> None:
    """Make trainings take seconds, in a folder of their own."""
    patch.chdir(place)
    for name, value in {
        "STEPS": (steps, 0), "STAGES": ((16, 0.5), (32, 1.0)), "BATCH": 4, "LOOK_EVERY": 8, "SAVE_EVERY": 3,
        "NOISES": 3,
    }.items():  # fmt: skip
        patch.setattr(own, name, value)
    patch.setattr(learning, "MIXTURES", 3)  # pictures of 256 pixels, which an examination spends its time on


@pytest.fixture(scope="module")
def made(pictures, tmp_path_factory):
    """The folder of a generator, trained for some steps, within the folder media of its own place."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        small(patch, place)
        assert own.make(pictures, "mine", minutes=1e4) == Path("media", "mine.generator")
    return place / "media" / "mine.generator"


# -- Pictures -------------------------------------------------------------------------------------------------


def test_cut_outs_are_taken_as_they_are(pictures):
    found = cutouts.read(pictures)
    assert sorted(cutout.name for cutout in found) == sorted(NAMES) and {cutout.how for cutout in found} == {"alpha"}
    disc = next(cutout for cutout in found if cutout.name == "big disc")
    assert disc.picture.size == (SIZE, SIZE) and disc.sha256 == files.sha256(disc.file)
    inside = np.asarray(disc.picture)[..., 3] >= 128
    across = np.flatnonzero(inside.any(axis=0))
    assert abs(across[0] + across[-1] - (SIZE - 1)) <= 2 and 0.9 * SIZE < np.ptp(across) < SIZE  # fills the square
    assert inside.mean() == pytest.approx(np.pi / 4 * (np.ptp(across) / SIZE) ** 2, abs=0.02)


def test_the_subject_of_a_photograph_is_found():
    picture, inside = photograph()
    found = cutouts.find_subject(np.asarray(picture) / 255) > 0.5
    assert (found & inside).sum() / (found | inside).sum() > 0.9


def test_a_picture_without_a_subject_is_taken_whole(tmp_path):
    noise = np.random.default_rng(1).integers(0, 255, (120, 160, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (cutout,) = cutouts.read(tmp_path)
    opacity = np.asarray(cutout.picture)[..., 3]
    assert cutout.how == "whole" and opacity[SIZE // 2, SIZE // 2] == 255 and opacity[0, 0] == 0
    assert 0.6 < (opacity >= 128).mean() < 0.8  # 4:3, without its corners


def test_masks_take_the_place_of_what_would_be_found(tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    photograph()[0].save(tmp_path / "thing.jpg")
    mask = Image.new("L", (240, 180))
    ImageDraw.Draw(mask).rectangle((20, 20, 79, 79), fill=255)
    mask.save(masks / "thing.png")
    (cutout,) = cutouts.read(tmp_path, masks)
    assert cutout.how == "mask" and (np.asarray(cutout.picture)[..., 3] >= 128).mean() > 0.8
    red, green, _, _ = np.asarray(cutout.picture)[SIZE // 2, SIZE // 2].astype(int)
    assert green > red  # the background, which the mask says


def test_every_kind_of_picture_file_is_read_right(tmp_path):
    """Upright, in 8 bits, in its colours; of an animation the first frame."""
    halves = Image.new("RGB", (64, 48), "red")
    halves.paste("blue", (32, 0, 64, 48))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees
    halves.save(tmp_path / "turned.jpg", exif=turned, quality=95)
    halves.quantize(8).save(tmp_path / "palette.png")
    halves.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    halves.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", (64, 48), "green")])
    halves.save(tmp_path / "moving.webp", save_all=True, append_images=[Image.new("RGB", (64, 48), "green")])
    for name in ("palette.png", "cmyk.jpg", "moving.gif", "moving.webp"):
        pixels = np.asarray(cutouts.open_picture(tmp_path / name)).astype(int)
        assert pixels.shape == (48, 64, 4) and (pixels[..., 3] == 255).all(), name
        assert pixels[24, 10, 0] > 200 > 60 > pixels[24, 10, 2], name
        assert pixels[24, 54, 2] > 200 > 60 > pixels[24, 54, 0], name
    pixels = np.asarray(cutouts.open_picture(tmp_path / "turned.jpg")).astype(int)
    assert pixels.shape == (64, 48, 4) and pixels[10, 24, 0] > 200 and pixels[54, 24, 2] > 200
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(48, axis=0)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    grey = np.asarray(cutouts.open_picture(tmp_path / "deep.png")).astype(int)[0, :, 0]
    assert np.abs(grey - np.linspace(0, 255, 64)).max() <= 1


def test_names_of_classes():
    assert cutouts.class_name(Path("a/grüne Katze.png")) == "grüne Katze"
    assert cutouts.class_name(Path("cafe\u0301.png")) == "café"
    assert cutouts.class_name(Path("7.png")) == "picture 7"  # a number would be taken for a class id
    assert cutouts.class_name(Path("a\nb.png")) == "a b"


def spoil(folder: Path, kind: str) -> None:
    """Make a folder of pictures that cannot be used."""
    if kind == "broken":
        (folder / "bad.png").write_bytes((folder / f"{NAMES[0]}.png").read_bytes()[:300])
    elif kind == "no picture":
        (folder / "bad.jpg").write_text("<html>")
    elif kind == "empty file":
        (folder / "bad.webp").touch()
    elif kind == "huge":
        Image.new("1", (limits.PICTURE_PIXELS // 8000 + 1, 8000)).save(folder / "bad.png")
    elif kind == "tiny":
        Image.new("RGB", (8, 8)).save(folder / "bad.png")
    elif kind == "transparent":
        Image.new("RGBA", (64, 64)).save(folder / "bad.png")
    elif kind == "equal":
        shutil.copy(folder / f"{NAMES[0]}.png", folder / "bad.png")
    elif kind == "one name":
        drawn("big disc", "blue").save(folder / "BIG disc.webp")
    elif kind == "many":
        for number in range(limits.PICTURES):
            shutil.copy(folder / f"{NAMES[0]}.png", folder / f"bad {number}.png")


@pytest.mark.parametrize(
    "kind, words",
    [
        ("broken", "bad.png: is no picture that can be read"),
        ("no picture", "bad.jpg: is no picture that can be read"),
        ("empty file", "bad.webp: is empty"),
        ("huge", "bad.png: has 64 megapixels, at most 64 are read"),
        ("tiny", "bad.png: has 8x8 pixels, too few to learn from"),
        ("transparent", "bad.png: is transparent all over"),
        ("equal", "is the same picture as"),
        ("one name", "has the name of"),
        ("many", "holds 203 pictures, at most 200 are taken"),
    ],
)
def test_pictures_that_cannot_be_used(pictures, tmp_path, kind, words):
    shutil.copytree(pictures, tmp_path / "pictures")
    spoil(tmp_path / "pictures", kind)
    with pytest.raises(MediaError, match=words):
        cutouts.read(tmp_path / "pictures")


def test_mistakes_are_one_line_and_leave_nothing(pictures, tmp_path, monkeypatch, run_script):
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    Path("texts/a.txt").write_text("a")
    for arguments, words in (
        (["texts", "mine"], ("texts", "holds no pictures")),
        (["nowhere", "mine"], ("nowhere", "no such folder")),
        ([pictures, "pocket"], ("NAME=pocket", "comes with this program")),
        ([pictures, "a/b"], ("NAME=a/b", "letters, digits")),
        ([pictures, "mine", "--masks", "texts"], ("texts", "holds no pictures")),
    ):
        assert_one_line_error(run_script(musicvideo.__main__, "generator", *arguments), *words)
    assert not Path("media").exists()
    result = run_script(musicvideo.__main__, "generator", pictures, "mine", "--minutes", "0")
    assert_one_line_error(result, "--minutes: 0 is not within", code=2)


# -- Training -------------------------------------------------------------------------------------------------


def test_loss_falls_and_classes_are_told_apart(pictures, tmp_path, monkeypatch):
    small(monkeypatch, tmp_path, steps=30)
    found = cutouts.read(pictures)
    recipe = {"steps": 30, "stages": ((16, 1.0),), "batch": 8, "learning rate": 0.008}
    recipe |= {"singles": 0.7, "minutes": 1e4, "seed": 0}
    training = own.begin(own.of_classes(found), recipe)
    factors, weights = draw_factors(30, torch.Generator().manual_seed(4)), torch.eye(3).repeat(10, 1)

    def error_of_mattes():
        drawn, wanted = training.network(factors, weights, 16), training.targets.render(factors, weights, 16)
        return float((drawn - wanted)[:, 3:].detach().abs().mean())

    before = error_of_mattes()
    losses = [float(training.advance()[0]) for _ in range(30)]
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10])
    assert error_of_mattes() < 0.6 * before
    nearest = training.targets.nearest(training.average(factors, weights, 16).detach(), factors)
    assert (nearest == torch.arange(3).repeat(10)).float().mean() >= 0.9


def test_training_stops_where_nothing_gets_better():
    assert not own.settled([]) and not own.settled([0.5] * own.PATIENCE)
    assert own.settled([0.8] + [0.8005, 0.79] * own.PATIENCE)
    assert not own.settled([0.7, 0.75, 0.8, 0.81, 0.82, 0.83])


def test_time_that_is_short_ends_training_early(pictures, tmp_path, monkeypatch):
    recipe = {"steps": 10**6, "stages": own.STAGES, "batch": 4, "learning rate": 0.002}
    recipe |= {"singles": 0.7, "minutes": 1.0, "seed": 0}
    small(monkeypatch, tmp_path)  # after the stages were taken: only the first embeddings are found at 16 pixels
    training = own.begin(own.of_classes(cutouts.read(pictures)), recipe)
    training.seconds = 45.0
    assert training.progress == 0.75 and training.resolution() == 256
    training.seconds = 61.0
    assert training.progress > 1


def test_an_interrupted_training_ends_as_if_nothing_had_been(pictures, made, tmp_path, monkeypatch):
    """The same weights, bit for bit; a training of other pictures in its place is refused."""
    small(monkeypatch, tmp_path)
    advance = Training.advance

    def interrupted(training):
        if training.step == 5:
            raise KeyboardInterrupt
        return advance(training)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt, match="what is done is kept"):
            own.make(pictures, "mine", minutes=1e4)
    assert not Path("media/mine.generator").exists() and Path("media/mine.training/checkpoint.pt").exists()
    other = shutil.copytree(pictures, tmp_path / "other")
    (other / f"{NAMES[0]}.png").unlink()
    with pytest.raises(MediaError, match="holds an interrupted training of other pictures .*OVERWRITE=1"):
        own.make(other, "mine", minutes=1e4)
    own.make(pictures, "mine", minutes=1e4)
    for name in (*records.FILES, "about.json", "NOTICE"):
        assert Path("media/mine.generator", name).read_bytes() == (made / name).read_bytes(), name
    assert not Path("media/mine.training").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(pictures, tmp_path, monkeypatch):
    small(monkeypatch, tmp_path)
    with small_disk(tmp_path / "media", 20 << 20):  # a checkpoint has 50 MB
        with pytest.raises(MediaError, match="checkpoint.pt: no space left in"):
            own.make(pictures, "mine", minutes=1e4)
        assert sorted(path.name for path in Path("media").iterdir()) == ["mine-pictures.png", "mine.training"]
        assert [path.name for path in Path("media/mine.training").iterdir()] == [".lock"]


def test_a_damaged_checkpoint_is_refused(pictures, tmp_path, monkeypatch):
    small(monkeypatch, tmp_path)
    Path("media/mine.training").mkdir(parents=True)
    Path("media/mine.training/checkpoint.pt").write_bytes(b"half of it")
    with pytest.raises(MediaError, match="checkpoint.pt: is damaged .OVERWRITE=1 starts over"):
        own.make(pictures, "mine", minutes=1e4)


# -- What is written ------------------------------------------------------------------------------------------


def test_the_stock_class_loads_it_strictly(made):
    model = BigGAN(BigGANConfig.from_json_file(made / "config.json"))
    weights = {key: value.float() for key, value in load_file(made / "model.safetensors").items()}
    model.load_state_dict(weights, strict=True)
    noise = np.random.default_rng(0).normal(size=(3, 128))
    with torch.inference_mode():
        picture = to_bytes(model.eval()(torch.tensor(noise).float(), torch.eye(3), 1.0)).numpy()
    assert picture.shape == (3, 256, 256, 3) and picture.std() > 10
    drawn = generators.load(f"{made}", device="cpu").frames_rgba(noise, np.eye(3))
    assert drawn.shape == (3, 256, 256, 4) and np.abs(drawn[..., :3].astype(int) - picture).max() <= 1


def test_an_older_generator_draws_the_same_without_a_matte(made, tmp_path):
    """One that says nothing of a matte, as those that were trained before there was one."""
    older = Path(shutil.copytree(made, tmp_path / "older"))
    config, about = json.loads((older / "config.json").read_text()), json.loads((older / "about.json").read_text())
    assert config.pop("matte") is True
    (older / "config.json").write_text(json.dumps(config))
    about["files"]["config.json"] = files.sha256(older / "config.json")
    (older / "about.json").write_text(json.dumps(about))
    assert generators.find(f"{made}").matte and not generators.find(f"{older}").matte
    vectors = np.zeros((1, 128)), np.eye(3)[:1]
    now, before = (generators.load(f"{folder}", device="cpu") for folder in (made, older))
    assert not hasattr(before, "frames_rgba")
    assert np.abs(now.frames(*vectors).astype(int) - before.frames(*vectors)).max() <= 1


def test_a_transparent_video_is_what_the_generator_drew(made, tmp_path):
    asked = {
        "song": f"{GOLDEN / 'arpeggio.flac'}", "generator": f"{made}", "duration": 0.4, "fps": Fraction(10), "seed": 1,
        "output_file": f"{tmp_path / 'a.mov'}", "resolution": 256, "background": "transparent",
    }  # fmt: skip
    job = decide(requested(asked))
    generator = job.load()
    assert job.draw(generator) == 4
    wanted = draw(generator, job.path(generator), np.arange(4) / 10, alpha=True)
    seen = read_frames(tmp_path / "a.mov", "rgba")
    assert seen.shape == wanted.shape == (4, 256, 256, 4)
    assert np.square(seen.astype(float) - wanted).mean(axis=(0, 1, 2)).max() < 255**2 / 1e4  # 40 dB
    like = {"like": f"{tmp_path / 'a.mov'}", "output_file": f"{tmp_path / 'b.mp4'}"}
    assert requested(like).background == "transparent"
    with pytest.raises(ValueError, match="background: .*b.mp4 cannot be transparent .*--background drawn"):
        decide(requested(like))


@pytest.mark.parametrize("generator", ["cppn", "biggan"])
def test_a_generator_without_a_matte_draws_no_transparent_video(tmp_path, generator):
    asked = ["--generator", generator, "--background", "transparent", "--output_file", "a.mov"]
    result = command(ROOT / "visualize.py", "--song", GOLDEN / "arpeggio.flac", *asked, cwd=tmp_path)
    assert_one_line_error(result, f"background: {generator} was not", "make generator", "--background drawn", code=2)
    assert not list(tmp_path.iterdir())


def test_the_folder_says_how_it_was_made(made, pictures):
    about = json.loads((made / "about.json").read_text(encoding="utf-8"))
    assert {entry["name"] for entry in about["pictures"]} == set(NAMES)
    assert about["pictures"][0]["sha256"] == files.sha256(pictures / about["pictures"][0]["file"])
    assert set(about["files"]) == set(records.FILES) and 0 < about["figures"]["SSIM"] < 1
    assert 0 < about["figures"]["matte_ssim"] < 1
    notice = (made / "NOTICE").read_text(encoding="utf-8")
    assert "Drawn by the tests." in notice and "Fluent Emoji" in notice
    for name in ("mine-grid.png", "mine-pictures.png"):
        with Image.open(made.parent / name) as page:
            assert min(page.size) >= 160
    assert not list(made.parent.glob(".*partial*"))


def test_made_again_from_the_same_pictures_it_is_left_alone(made, pictures, monkeypatch):
    small(monkeypatch, made.parents[1])
    before, told = (made / "about.json").stat().st_ino, []
    own.make(pictures, "mine", minutes=1e4, notice=told.append)
    assert told == ["media/mine.generator: is there already"] and (made / "about.json").stat().st_ino == before


def test_films_are_drawn_with_it_by_name_and_by_folder(made, tmp_path, monkeypatch, run_script):
    song = GOLDEN / "arpeggio.flac"
    for generator, place in (("mine", made.parents[1]), (f"{made}", tmp_path)):
        output = tmp_path / f"{len(generator)}.mp4"
        monkeypatch.chdir(place)
        result = run_script(
            visualize, "--song", song, "--generator", generator, "--duration", "0.4", "--fps", "10",
            "--resolution", "64", "--output_file", output, "--seed", "1",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        frames = read_frames(output)
        assert frames.shape == (4, 64, 64) and frames.std() > 5
    monkeypatch.chdir(made.parents[1])
    listed = run_script(visualize, "--generator", "mine", "--list_classes")
    assert [line.split(maxsplit=1)[1] for line in listed.stdout.splitlines()] == sorted(NAMES)


def test_an_unknown_name_is_told_what_there_is(tmp_path):
    with pytest.raises(ValueError, match="unknown name 'yours' .choose biggan, .*make generator"):
        generators.find("yours")
    with pytest.raises(MediaError, match="config.json: no such file"):
        generators.find(f"{tmp_path}")


@pytest.mark.parametrize(
    "name, old, new, words",
    [
        ("labels.json", "big disc", "big  disc", "labels.json: has changed since the generator was made"),
        ("config.json", '"channel_width": 24', '"channel_width": 240000', "no generator that `make generator` made"),
        ("config.json", '"num_classes": 3', '"num_classes": 4', "no generator that `make generator` made"),
        ("config.json", '"matte": true', '"matte": 9', "no generator that `make generator` made"),
        ("labels.json", "[", "", "labels.json: is damaged"),
        ("about.json", '"files"', '"other"', "config.json: has changed"),
    ],
)
def test_a_folder_that_was_changed_is_refused(made, tmp_path, name, old, new, words):
    folder = Path(shutil.copytree(made, tmp_path / "folder"))
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(MediaError, match=words):
        generators.load(f"{folder}", device="cpu")


def test_weights_beyond_the_limit_are_not_read(made, tmp_path):
    folder = Path(shutil.copytree(made, tmp_path / "folder"))
    with open(folder / "model.safetensors", "r+b") as file:
        file.truncate(limits.WEIGHTS_BYTES + 1)  # sparse
    with pytest.raises(MediaError, match="model.safetensors: is larger than 1024 MiB"):
        records.parts(f"{folder}")


def test_make_asks_for_what_is_missing():
    result = subprocess.run(["make", "-s", "generator", "PICTURES=x"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2 and "give PICTURES=folder NAME=mine" in result.stderr


def test_earlier_records_stay_valid_and_a_transparent_video_takes_no_codec_of_an_opaque_one(tmp_path):
    assert "background" not in Settings().recorded()
    assert Settings(background="transparent").recorded()["background"] == "transparent"
    (tmp_path / "earlier.json").write_text(json.dumps({"codec": "hevc", "crf": 20, "depth": 0.5}))
    like = {"like": str(tmp_path / "earlier.json"), "song": "song.wav"}
    assert (requested(like).codec, requested(like).crf) == ("hevc", 20)
    found = requested({**like, "background": "transparent"})
    assert (found.codec, found.crf, found.depth) == (None, None, 0.5)
