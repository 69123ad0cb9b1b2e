"""Results after faults: kills, full disks, dying programs, wrong clocks, many runs at once. All with real processes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import ROOT, eventually, make_media, small_disk
from musicvideo import caches
from musicvideo.vision.generators.cppn.network import CPPN

from .conftest import CAMPAIGN
from .hostile import referring
from .processes import (
    PANNING,
    TITLE,
    VARIABLES,
    Wrapped,
    assert_one_line,
    descendants,
    finished,
    kill_tree,
    leftovers,
    name_of,
    project,
    remount,
    run,
    runs,
    script,
    start,
    streams,
)  # fmt: skip
from .sandbox import said

SEED = 13  # of the instants and of the calls that are chosen at random
KILLS = 20 if CAMPAIGN else 1
CROWD = 20 if CAMPAIGN else 2  # renders at once
MB = 1 << 20
FILM = f"{TITLE}.mkv"
DEMO = ["make", "demo", *VARIABLES]
STRACE = ["strace", "-f", "--seccomp-bpf", "-qq"]  # stops a process at the calls that are traced, and at no others
campaign_only = pytest.mark.skipif(not CAMPAIGN, reason="only in the campaign (make test-trust)")


# -- An undisturbed run, for comparison, without a network ----------------------------------------------------------


def without_network() -> list[str]:
    """Command prefix that denies the network; empty where that is not permitted."""
    command = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    works = shutil.which("unshare") and not subprocess.run([*command, "true"], capture_output=True).returncode
    return command if works else []


@pytest.fixture(scope="module")
def stages() -> Path:
    """The compiled stages of cppn in the cache of these tests, which takes seconds where they are not there yet."""
    CPPN(16).frames(np.zeros((1, CPPN.noise_dim)), np.eye(len(CPPN.labels))[:1])
    return caches.folder("cppn")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, stages) -> Path:
    """The project after `make demo`, run with the network denied where that is possible.

    Its cache holds compiled stages and nothing else; `test_many_renders_at_once` compiles some without a network.
    """
    folder = project(tmp_path_factory.mktemp("undisturbed") / "project")
    shutil.copytree(stages, folder / "cache" / "musicvideo" / "cppn")
    begin = time.monotonic()
    result = run([*without_network(), *DEMO], folder, XDG_CACHE_HOME=folder / "cache", TMPDIR=_temporary(folder))
    assert result.returncode == 0, result.stdout + result.stderr
    (folder / "seconds").write_text(str(time.monotonic() - begin))
    return folder


@pytest.fixture
def fresh(tmp_path) -> Path:
    return project(tmp_path / "project")


@pytest.fixture
def ready(undisturbed, tmp_path) -> Path:
    """A copy of the project in which everything has been made."""
    return copied(undisturbed, tmp_path)


def copied(folder: Path, place: Path) -> Path:
    shutil.copytree(folder, place / "project", symlinks=True)
    return place / "project"


def _temporary(folder: Path) -> Path:
    place = folder.parent / f"tmp-{folder.name}"
    place.mkdir(exist_ok=True)
    return place


@pytest.mark.skipif(not without_network(), reason="the network cannot be denied here")
def test_the_pipeline_needs_no_network(undisturbed):
    assert not subprocess.run(
        [*without_network(), sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"],
        capture_output=True,
        text=True,
    ).stderr.endswith("refused\n")  # it was denied
    found = streams(undisturbed / FILM)
    assert ",v,MD5=" in found and ",a,MD5=" in found


def small_video(generator: str, output: Path, *more: str) -> list:
    """Draws two seconds of the song a.mp3, ten frames of 64x64; `more` is given after that."""
    return script(
        "visualize", "--song", "a.mp3", "--generator", generator, "--resolution", "64", "--fps", "5", "--seed", "1",
        "--duration", "2", "--output_file", output, *more,
    )  # fmt: skip


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace here")
@pytest.mark.parametrize("generator", ["cppn", "pocket"] if CAMPAIGN else ["pocket"])
def test_nobody_is_called(materials, tmp_path, generator):
    """No process of a drawing asks for an address on a network; nothing is put into the home folder."""
    home = tmp_path / "home"
    home.mkdir()
    command = small_video(generator, tmp_path / "out.mkv", "--duration", "1")
    result = run(
        [*STRACE, "-e", "trace=connect,sendto,sendmsg", "-o", tmp_path / "calls", *command],
        materials,
        HOME=home,
        XDG_CACHE_HOME=tmp_path / "cache",
    )
    assert result.returncode == 0, result.stderr
    assert not [line for line in (tmp_path / "calls").read_text().splitlines() if "AF_INET" in line]
    assert not list(home.rglob("*"))


LURES = {  # songs in name only, that refer to another file or host
    "a.ffconcat": "ffconcat version 1.0\nfile '{target}'\n",
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "a.mpd": "<?xml version='1.0'?><MPD type='static' xmlns='urn:mpeg:dash:schema:mpd:2011'>"
    "<Period><AdaptationSet mimeType='audio/wav'>"
    "<Representation id='1'><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 50040 RTP/AVP 0\n",
    "a.mov": None,  # its samples are said to be in another file
}


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace here")
@pytest.mark.parametrize("suffix", [None, ".wav", ".mp4"] if CAMPAIGN else [None])
@pytest.mark.parametrize("name", LURES if CAMPAIGN else ["a.ffconcat"])
def test_a_song_leads_to_no_other_file(tmp_path, name, suffix):
    """No program opens the file or host that the song refers to."""
    secret = make_media(tmp_path / "secret.wav", "-f", "lavfi", "-i", "sine=d=1")

    def opened(*command: object) -> tuple[int, str]:
        result = run([*STRACE, "-e", "trace=open,openat,connect,bind", "-o", tmp_path / "calls", *command], ROOT)
        return result.returncode, "".join(
            line for line in (tmp_path / "calls").open() if "secret.wav" in line or "AF_INET" in line
        )

    for target in (str(secret), "http://127.0.0.1:9/secret.wav"):
        song = tmp_path / (Path(name).stem + suffix if suffix else name)
        song.write_bytes(LURES[name].format(target=target).encode() if LURES[name] else referring(target.encode()))
        if name == "a.ffconcat" and target == str(secret):  # proves that the trace shows such an access
            assert opened("ffmpeg", "-v", "quiet", "-f", "concat", "-safe", "0", "-i", song, "-f", "null", "-")[1]
        for command in (
            script("musicvideo", "song", song, tmp_path / "out.wav"),
            script("eightd", "-i", song, "-o", tmp_path / "out.wav", "--orbit", "4"),
            cppn(tmp_path, str(song), str(tmp_path / "out.mp4")),
        ):
            code, found = opened(*command)
            assert not found, (command, found)
            assert code == 1 or name == "a.mov"


def test_nothing_is_left_behind(undisturbed):
    assert not leftovers(undisturbed, _temporary(undisturbed))
    assert list(_temporary(undisturbed).iterdir()) == []


# -- Kills ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(KILLS))
def test_a_kill_at_any_instant_costs_nothing(undisturbed, fresh, number):
    """SIGKILL to make and all that it started; then the same command completes, and the result is the same."""
    whole = float((undisturbed / "seconds").read_text())
    instant = random.Random(f"{SEED}-{number}").uniform(0.05, 0.95) * whole
    process = start(DEMO, fresh, TMPDIR=_temporary(fresh))
    try:
        process.wait(instant)
    except subprocess.TimeoutExpired:
        kill_tree(process)
    old = (fresh / FILM).read_bytes() if (fresh / FILM).exists() else None
    if old is not None:
        assert streams(fresh / FILM) == streams(undisturbed / FILM)  # what has its final name is whole
    result = run(DEMO, fresh, TMPDIR=_temporary(fresh))
    assert result.returncode == 0, f"killed after {instant:.1f} s: {result.stdout}{result.stderr}"
    assert_same(fresh, undisturbed)
    assert not leftovers(fresh), f"killed after {instant:.1f} s"


def assert_same(folder: Path, undisturbed: Path) -> None:
    """Every product decodes to the same frames and samples, and the notes are the same."""
    products = [
        Path(FILM),
        *(Path("media") / f"{TITLE}{end}" for end in (".wav", ".mp4", "-Dry.wav", "-Wet.wav", "-1080p.mkv")),
    ]
    products += sorted(path.relative_to(undisturbed) for path in (undisturbed / "media" / "parts").rglob("*.wav"))
    different = [str(product) for product in products if streams(folder / product) != streams(undisturbed / product)]
    assert not different
    clock = Path("media") / f"{TITLE}.mid"
    assert (folder / clock).read_bytes() == (undisturbed / clock).read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "missing"])
@pytest.mark.parametrize(
    "product",
    [
        f"media/{TITLE}.wav",
        f"media/{TITLE}.mp4",
        f"media/{TITLE}-Wet.wav",
        f"media/{TITLE}-1080p.mkv",
        f"media/parts/{TITLE}/Vibes.wav",
        "media/.stems/*/*/dry.wav",
        f"media/.stems/{TITLE}.made",
        f"media/{TITLE}.mid",
        f"media/{TITLE}.gan",
        f"media/{TITLE}.film",
    ],
)
@campaign_only
def test_a_product_that_a_power_cut_damaged_is_made_again_or_named(undisturbed, ready, product, damage):
    """After a power cut a file may be short, empty or zeros under its final name. No wrong film comes of it."""
    paths = sorted(ready.glob(product))
    assert paths or "stems" in product
    for path in paths[:1]:
        status, content = path.stat(), path.read_bytes()
        path.unlink()
        if damage != "missing":
            path.write_bytes(
                {"truncated": content[: len(content) // 2], "empty": b"", "garbage": bytes(len(content))}[damage]
            )
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    (ready / "scores" / f"{TITLE}.panning.json").touch()  # something to do
    result = run(DEMO, ready, TMPDIR=_temporary(ready))
    assert "Traceback" not in result.stderr
    if result.returncode == 0:
        assert streams(ready / FILM) == streams(undisturbed / FILM)
    else:
        name = next((path.name for path in paths), product)
        assert name in result.stderr or Path(name).stem in result.stderr, result.stderr


# -- Signals to each script, in mid-work ------------------------------------------------------------------------------


def noise(path: Path, seconds: float, channels: int = 2) -> Path:
    """A long sound that takes encoders long."""
    generator = np.random.default_rng(0)
    soundfile.write(path, generator.normal(0, 0.1, (round(seconds * 48000), channels)), 48000, subtype="PCM_16")
    return path


def work_of(name: str, folder: Path) -> tuple[Sequence[object], list[str]]:
    """A command that takes long, and the names of its outputs."""
    if name == "visualize":
        noise(folder / "a.wav", 40)
        return script(
            "visualize",
            "--song",
            "a.wav",
            "--generator",
            "cppn",
            "--resolution",
            "32",
            "--fps",
            "10",
            "--seed",
            "1",
            "--replace",
            "--output_file",
            "out.mp4",
        ), ["out.mp4"]
    if name == "storyboard":
        noise(folder / "a.wav", 600)
        return script(
            "visualize", "--song", "a.wav", "--generator", "cppn", "--resolution", "512", "--storyboard", "out.png"
        ), ["out.png"]
    if name == "eightd":
        noise(folder / "a.wav", 240)
        return script("eightd", "-i", "a.wav", "-o", "out.wav", "--orbit", "8", "--model", "sphere"), ["out.wav"]
    if name == "mix":
        noise(folder / "media" / "T.wav", 60)
        return script("mix", "scores/song.mix.toml", "--title", "T"), ["media/T-Dry.wav", "media/T-Wet.wav"]
    if name == "song":
        make_media(folder / "a.mp3", "-f", "lavfi", "-i", "anoisesrc=r=48000:d=1200", "-ac", "2", "-b:a", "320k")
        return script("musicvideo", "song", "a.mp3", "out.wav"), ["out.wav"]
    if name == "score":
        return script("musicvideo", "score", f"scores/{TITLE}.mscz"), [f"media/{TITLE}.wav", f"media/{TITLE}.mid"]
    # Encoding the sound is what takes `merge` long, so its picture is small and as long.
    what, seconds = ("s=32x32:r=1", 600) if name == "merge" else ("s=256x256:r=30", 30)
    make_media(folder / "p.mkv", "-f", "lavfi", "-i", f"testsrc2={what}:d={seconds}", "-preset", "ultrafast")
    noise(folder / "a.wav", seconds)
    if name == "video":
        return script("musicvideo", "video", "p.mkv", "a.wav", "out.mkv", "--title", "T"), ["out.mkv"]
    return script("musicvideo", "merge", "p.mkv", "a.wav", "out.mkv", "--intro", "0"), ["out.mkv"]


SCRIPTS = ("visualize", "storyboard", "eightd", "mix", "song", "score", "video", "merge")
PROGRAMS = ("ffmpeg", "sox", "mscore3", "mscore")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP] if CAMPAIGN else [signal.SIGTERM])
@pytest.mark.parametrize("name", SCRIPTS if CAMPAIGN else ("visualize",))
def test_a_signal_in_mid_work(fresh, name, number):
    """Exit code 128 + n, programs ended, old outputs as they were, nothing partial; the same command then completes."""
    command, outputs = work_of(name, fresh)
    for output in outputs:
        (fresh / output).write_bytes(b"old")
        os.utime(fresh / output, (0, 0))
    temporary = _temporary(fresh)
    process = start(command, fresh, TMPDIR=temporary)

    def at_work() -> bool:
        if name == "visualize":
            return any(fresh.glob(".out.mp4.render/0*.nut"))
        if name == "storyboard":
            return any(name_of(child) == "ffmpeg" for child in descendants(process.pid))
        return bool(leftovers(fresh)) or any(name_of(child) in PROGRAMS for child in descendants(process.pid))

    eventually(at_work, process)
    children = descendants(process.pid)
    process.send_signal(number)
    result = finished(process)
    assert result.returncode == 128 + number, result.stderr
    assert len(said(result.stderr)) == 1 and said(result.stderr)[0].startswith("interrupted"), result.stderr
    eventually(lambda: not any(map(runs, children)))
    assert [(fresh / output).read_bytes() for output in outputs] == [b"old"] * len(outputs)
    assert not leftovers(fresh, temporary)
    if name == "visualize":
        assert any(fresh.glob(".out.mp4.render/0*.nut"))  # there is something to go on with
    again = run(command, fresh, TMPDIR=temporary)
    assert again.returncode == 0, again.stderr
    assert all((fresh / output).read_bytes() != b"old" for output in outputs)
    assert not leftovers(fresh, temporary) and not list(fresh.glob(".*.render"))


# -- Full disks --------------------------------------------------------------------------------------------------------


def cppn(folder: Path, song: str, output: str, *more: object) -> list[object]:
    return script(
        "visualize",
        "--song",
        song,
        "--generator",
        "cppn",
        "--resolution",
        "64",
        "--fps",
        "10",
        "--seed",
        "1",
        "--replace",
        "--output_file",
        output,
        *more,
    )


def sizes(*paths: Path) -> int:
    """Bytes on a disk, in whole pages."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in files)


STAGES = {
    # name of the stage: (the command, its output, bytes of the disk by what an undisturbed run wrote there)
    "song": (lambda p: script("musicvideo", "song", "a.mp3", "disk/out.wav"), "disk/out.wav", lambda used: used // 2),
    "drawing": (lambda p: cppn(p, "a.mp3", "disk/out.mkv", "--codec", "ffv1"), "disk/out.mkv", lambda used: used // 2),
    "joining": (
        lambda p: cppn(p, "a.mp3", "disk/out.mkv", "--codec", "ffv1"),
        "disk/out.mkv",
        lambda used: used + used // 3,
    ),
    "vectors": (
        lambda p: cppn(p, "a.mp3", "out.mkv", "--save_vectors", "disk/out.npz"),
        "disk/out.npz",
        lambda used: used // 2,
    ),
    "storyboard": (
        lambda p: script(
            "visualize", "--song", "a.mp3", "--generator", "cppn", "--resolution", "64", "--storyboard", "disk/out.png"
        ),
        "disk/out.png",
        lambda used: used // 2,
    ),
    "eightd": (
        lambda p: script("eightd", "-i", "a.wav", "-o", "disk/out.wav", "--orbit", "4", "--model", "pan"),
        "disk/out.wav",
        lambda used: used // 2,
    ),
    "video": (
        lambda p: script("musicvideo", "video", "p.mkv", "a.wav", "disk/out.mkv", "--width", "320", "--height", "180"),
        "disk/out.mkv",
        lambda used: used // 2,
    ),
    "merge": (
        lambda p: script("musicvideo", "merge", "p.mkv", "a.wav", "disk/out.mkv", "--intro", "0"),
        "disk/out.mkv",
        lambda used: used - 8192,
    ),
    "merge to mp4": (
        lambda p: script("musicvideo", "merge", "p.mkv", "a.wav", "disk/out.mp4", "--intro", "0"),
        "disk/out.mp4",
        lambda used: used - 8192,
    ),
    "strip": (lambda p: script("musicvideo", "strip", "p.mkv", "disk/out.png"), "disk/out.png", lambda used: used // 2),
}


@pytest.fixture(scope="module")
def materials(tmp_path_factory) -> Path:
    """Inputs for each stage."""
    folder = project(tmp_path_factory.mktemp("materials") / "project")
    make_media(folder / "a.mp3", "-f", "lavfi", "-i", "anoisesrc=r=48000:d=6:seed=1", "-ac", "2", "-b:a", "320k")
    make_media(folder / "a.wav", "-i", folder / "a.mp3")
    make_media(
        folder / "p.mkv", "-f", "lavfi", "-i", "testsrc2=s=128x128:r=10:d=6", "-crf", "1", "-preset", "ultrafast"
    )
    return folder


@pytest.mark.parametrize("stage", STAGES if CAMPAIGN else ["song", "joining", "merge"])
def test_a_full_disk(materials, tmp_path, stage):
    """One line that names the place; what was there stays; with space again the same command completes."""
    folder = copied(materials, tmp_path)
    make_command, output, size = STAGES[stage]
    command, disk, path = make_command(folder), folder / "disk", folder / output
    disk.mkdir()
    result = run(command, folder)
    assert result.returncode == 0, result.stderr
    used, expected = sizes(disk), path.read_bytes()
    if stage == "joining":
        used = sizes(path)
    shutil.rmtree(disk)
    for left in folder.glob("out.*"):
        left.unlink()
    with small_disk(disk, max(size(used), 4096 * 4)):
        path.write_bytes(b"old")
        result = run(command, folder)
        assert_one_line(result, "space", "disk")
        assert path.read_bytes() == b"old"
        assert not leftovers(folder)
        remount(disk, f"size={64 * MB}")
        result = run(command, folder)
        assert result.returncode == 0, result.stderr
        assert not leftovers(folder) and not list(disk.glob(".*.render"))
        if path.suffix == ".npz":
            assert len(path.read_bytes()) > 3
        elif path.suffix != ".png":
            (tmp_path / f"expected{path.suffix}").write_bytes(expected)
            assert streams(path) == streams(tmp_path / f"expected{path.suffix}")


@pytest.mark.parametrize(
    "stage, place",
    [("score", "media"), ("score", "TMPDIR"), ("stems", "media"), ("master", "media")],
)
@campaign_only
def test_a_full_disk_under_the_sound(undisturbed, ready, stage, place):
    media, table = ready / "media", ready / "scores" / f"{TITLE}.mix.toml"
    if stage == "score":
        command, kept = script("musicvideo", "score", f"scores/{TITLE}.mscz"), media / f"{TITLE}.wav"
        size = sizes(kept) // 2  # old files make room for new ones, one after the other
        (ready / "scores" / f"{TITLE}.mscz").touch()
    else:
        command, kept = script("mix", f"scores/{TITLE}.mix.toml", "--title", TITLE), media / f"{TITLE}-Wet.wav"
        table.write_text(
            table.read_text().replace("-6", "-5")
        )  # one stem of three sounds, and both masters, are made anew
        stem, master = sizes(media / ".stems") // 3, sizes(kept)
        size = stem // 2 if stage == "stems" else stem + master * 3 // 2
    disk = media if place == "media" else _temporary(ready)
    old = kept.read_bytes()
    with small_disk(disk, size + (sizes(media) if place == "media" else 0)):
        assert_one_line(run(command, ready, TMPDIR=_temporary(ready)), "space", disk.name)
        assert kept.read_bytes() == old and not leftovers(media, _temporary(ready))
        remount(disk, f"size={256 * MB}")
        result = run(command, ready, TMPDIR=_temporary(ready))
        assert result.returncode == 0, result.stderr
        assert not leftovers(media, _temporary(ready))


@campaign_only
def test_a_mix_needs_no_space_outside_media(ready):
    """Stems and buses, which are large, lie beside the mix: a full disk of temporary files stops nothing."""
    table = ready / "scores" / f"{TITLE}.mix.toml"
    table.write_text(table.read_text().replace("-6", "-5"))
    temporary = _temporary(ready)
    old = (ready / "media" / f"{TITLE}-Wet.wav").read_bytes()
    with small_disk(temporary, 4096 * 4):
        result = run(script("mix", f"scores/{TITLE}.mix.toml", "--title", TITLE), ready, TMPDIR=temporary)
        assert result.returncode == 0, result.stderr
        assert not leftovers(ready / "media", temporary)
    assert (ready / "media" / f"{TITLE}-Wet.wav").read_bytes() != old


@pytest.mark.parametrize("generator", ["cppn", "pocket"])
@campaign_only
def test_a_full_cache_is_done_without(materials, tmp_path, generator):
    """Pictures do not depend on whether features and compiled models could be cached."""
    cache = tmp_path / "cache"
    command = small_video(generator, tmp_path / "out.mkv")
    with small_disk(cache, 16384):
        result = run(command, materials, XDG_CACHE_HOME=cache)
        assert result.returncode == 0, result.stderr
        assert not leftovers(cache)
    first = streams(tmp_path / "out.mkv")
    (tmp_path / "out.mkv").unlink()
    assert run(command, materials, XDG_CACHE_HOME=tmp_path / "elsewhere").returncode == 0
    assert streams(tmp_path / "out.mkv") == first


@campaign_only
def test_media_that_may_not_be_written(undisturbed, ready):
    """One line from each script; from make, an end with the code of a failure, and the old film."""
    film = (ready / FILM).read_bytes()
    (ready / "scores" / f"{TITLE}.mix.toml").write_text(
        (ready / "scores" / f"{TITLE}.mix.toml").read_text().replace("-6", "-5")
    )
    (ready / "scores" / f"{TITLE}.mscz").touch()
    make_media(ready / "a.mp3", "-f", "lavfi", "-i", "sine=d=2")
    with small_disk(ready / "media", 256 * MB):
        remount(ready / "media", "ro")
        for command in (
            script("musicvideo", "score", f"scores/{TITLE}.mscz"),
            script("musicvideo", "song", "a.mp3", "media/a.wav"),
            script("mix", f"scores/{TITLE}.mix.toml", "--title", TITLE),
            cppn(ready, f"media/{TITLE}.wav", "media/new.mp4"),
            script(
                "musicvideo",
                "video",
                f"media/{TITLE}.mp4",
                f"media/{TITLE}-Wet.wav",
                "media/new.mkv",
                "--width",
                "64",
                "--height",
                "36",
            ),
            script("eightd", "-i", f"media/{TITLE}.wav", "-o", "media/new.wav", "--orbit", "4"),
        ):
            assert_one_line(run(command, ready), "media", "ead-only")
        result = run(DEMO, ready)
        assert result.returncode == 2 and "Traceback" not in result.stderr and "ead-only" in result.stderr, (
            result.stderr
        )
    assert (ready / FILM).read_bytes() == film


# -- Programs that die or hang -----------------------------------------------------------------------------------------


def broken_stage(name: str, folder: Path) -> tuple[Sequence[object], Path]:
    if name == "visualize":
        return cppn(folder, "a.mp3", "out.mkv", "--duration", "2"), folder / "out.mkv"
    if name == "song":
        return script("musicvideo", "song", "a.mp3", "out.wav"), folder / "out.wav"
    if name == "mix":
        table = (
            '[parts.a]\nfile = "a.wav"\norbit = 5\nmodel = "pan"\nreverb = "r"\n'
            "tremolo = {speed = 5, depth = 20}\n[reverbs.r]\n[master]\ntail = 1\n"
        )
        (folder / "t.mix.toml").write_text(table)
        return script("mix", "t.mix.toml", "--title", "T"), folder / "media" / "T-Wet.wav"
    if name == "video":
        return script(
            "musicvideo", "video", "p.mkv", "a.wav", "out.mkv", "--width", "64", "--height", "36"
        ), folder / "out.mkv"
    return script("musicvideo", "merge", "p.mkv", "a.wav", "out.mkv", "--intro", "0"), folder / "out.mkv"


@pytest.mark.parametrize("way", ["at-once", "midway", "starved"] if CAMPAIGN else ["at-once"])
@pytest.mark.parametrize(
    "name, program",
    [
        ("visualize", "ffmpeg"),
        ("visualize", "ffprobe"),
        ("song", "ffmpeg"),
        ("song", "ffprobe"),
        ("mix", "ffmpeg"),
        ("mix", "sox"),
        ("video", "ffmpeg"),
        ("video", "ffprobe"),
        ("merge", "ffmpeg"),
        ("merge", "ffprobe"),
    ]
    if CAMPAIGN
    else [("visualize", "ffmpeg")],
)
def test_a_program_that_dies(materials, tmp_path, name, program, way):
    """At each of its calls in turn: a failure in one line with the old output kept, or the very same result."""
    folder = copied(materials, tmp_path)
    command, output = broken_stage(name, folder)
    wrapped = Wrapped(tmp_path, program)
    assert run(command, folder, **wrapped.variable).returncode == 0
    expected, calls = streams(output), wrapped.calls()
    assert calls
    wanted = range(1, calls + 1) if CAMPAIGN else random.Random(SEED).sample(range(1, calls + 1), 1)
    for call in wanted:
        for path in (
            folder / "media" / ".stems",
            *folder.glob(".*.render"),
            *folder.glob("*.source.json"),
            *folder.glob("media/.stems*"),
        ):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        output.write_bytes(b"old")
        os.utime(output, (0, 0))
        wrapped.arm(call, way)
        result = run(command, folder, **wrapped.variable)
        where = f"call {call} of {calls}"
        if result.returncode == 0:
            assert streams(output) == expected, f"another result, with rc 0: {where}"
        else:
            assert_one_line(result)
            assert output.read_bytes() == b"old", where
        assert not leftovers(folder), where
    wrapped.arm(0)
    assert run(command, folder, **wrapped.variable).returncode == 0
    assert streams(output) == expected


IMPATIENT = """
import runpy, sys
from musicvideo import cli, programs
programs.STALL = programs.LIMIT = 20
name, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = name
main = __import__("musicvideo.__main__", fromlist=["main"]).main if name == "musicvideo" else __import__(name).main
cli.entry_point(main)
"""


@pytest.mark.parametrize(
    "name, program",
    [("visualize", "ffmpeg"), ("song", "ffmpeg"), ("mix", "sox"), ("video", "ffmpeg"), ("merge", "ffprobe")],
)
@campaign_only
def test_a_program_that_hangs(materials, tmp_path, name, program):
    """A message instead of an endless wait; the time limit is shortened for the test."""
    folder = copied(materials, tmp_path)
    command, output = broken_stage(name, folder)
    wrapped = Wrapped(tmp_path, program)
    assert run(command, folder, **wrapped.variable).returncode == 0
    calls = wrapped.calls()
    arguments = command[3:] if name in ("song", "video", "merge") else command[2:]
    module = "musicvideo" if name in ("song", "video", "merge") else name
    for path in (*folder.glob(".*.render"), *folder.glob("*.source.json"), *folder.glob("media/.stems*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    output.write_bytes(b"old")
    os.utime(output, (0, 0))
    wrapped.arm(random.Random(SEED).randint(1, calls), "hang")
    result = run([sys.executable, "-c", IMPATIENT, module, *arguments], folder, **wrapped.variable)
    assert_one_line(result, program)
    assert "hangs" in result.stderr or "was stopped" in result.stderr, result.stderr
    assert output.read_bytes() == b"old" and not leftovers(folder)


# -- Clocks ------------------------------------------------------------------------------------------------------------


@campaign_only
def test_a_clock_that_jumped_back(undisturbed, ready):
    """Everything was written a day ahead; then the panning score changes, today. The film has the new sound."""
    tomorrow = time.time() + 86400
    for path in [*ready.glob("media/**/*"), *ready.glob("scores/*"), *ready.glob("*.mkv")]:
        os.utime(path, (tomorrow, tomorrow))
    moves = PANNING["vibes"][0] | {"ear_i": 0.8, "ear_f": -0.8}
    (ready / "scores" / f"{TITLE}.panning.json").write_text(str({"vibes": [moves]}).replace("'", '"'))
    result = run(["make", "build", *VARIABLES], ready)
    assert result.returncode == 0, result.stderr
    sound = make_media(ready / "film.wav", "-i", ready / FILM, "-c:a", "pcm_s24le")
    film, _ = soundfile.read(sound)
    wet, _ = soundfile.read(ready / "media" / f"{TITLE}-Wet.wav")
    assert np.abs(film[48000 : 48000 + len(wet)] - wet[: len(film) - 48000]).max() < 2**-20
    old, _ = soundfile.read(undisturbed / "media" / f"{TITLE}-Wet.wav")
    assert np.abs(wet - old).max() > 0.01


@campaign_only
def test_inputs_from_the_future(fresh):
    """A score from a machine whose clock is ahead: the film is made, the square video is not drawn twice."""
    tomorrow = time.time() + 86400
    for path in fresh.glob("scores/*"):
        os.utime(path, (tomorrow, tomorrow))
    assert run(DEMO, fresh).returncode == 0
    result = run(DEMO, fresh)
    assert result.returncode == 0 and ("visualize.py" not in result.stdout or "is this video already" in result.stdout)


# -- Crowds ------------------------------------------------------------------------------------------------------------


@campaign_only
@pytest.mark.parametrize("delay", [0, 2, 8, 15])
def test_two_makes_at_once_on_one_title(undisturbed, fresh, delay):
    """One of them makes the film, the other one says that it does. Neither breaks the files of the other."""
    first = start(DEMO, fresh)
    try:
        first.wait(delay)
    except subprocess.TimeoutExpired:
        pass
    second = start(DEMO, fresh)
    results = [finished(first), finished(second)]
    for result in results:
        assert "Traceback" not in result.stderr, result.stderr
    assert 0 in [result.returncode for result in results], results
    assert all("another make" in result.stderr for result in results if result.returncode), results
    assert run(DEMO, fresh).returncode == 0
    assert_same(fresh, undisturbed)
    assert not leftovers(fresh)


def kept(cache: Path) -> set[str]:
    """Names of the files in a cache. Folders come and go meanwhile, which `os.walk` passes over."""
    return {name for _, _, names in os.walk(cache) for name in names}


@pytest.mark.parametrize("generator", ["cppn", "pocket"] if CAMPAIGN else ["cppn"])
def test_many_renders_at_once(materials, stages, tmp_path, generator):
    """They share the caches of features and compiled models; some are killed and run again. All videos are alike.

    The network is denied them where that is possible, while they fill the cache.
    """
    cache, alone = tmp_path / "cache", tmp_path / "alone"
    shutil.copytree(stages, alone / "musicvideo" / "cppn")
    if not CAMPAIGN:  # two stages are left to compile, since all of them take seconds
        shutil.copytree(alone, cache)
        left_out = [*cache.rglob("stages.soften-*"), *cache.rglob("stages.to_bytes-*")]
        assert len(left_out) >= 4  # index and code of each
        for path in left_out:
            path.unlink()
        (folder,) = (path for path in (cache / "musicvideo" / "cppn").iterdir() if path.is_dir())
        caches.seal(folder)
    before = kept(cache)

    def render(number: int, cache: Path = cache) -> subprocess.Popen:
        command = small_video(generator, tmp_path / f"{number}.mkv", "--batch_size", "2")
        return start([*without_network(), *command], materials, XDG_CACHE_HOME=cache)

    chance = random.Random(SEED)
    killed = sorted(chance.sample(range(CROWD), max(1, CROWD // 4)))
    crowd = {number: render(number) for number in range(CROWD)}
    eventually(lambda: kept(cache) - before)  # in the middle of writing it, or just after
    for number in killed:
        kill_tree(crowd[number])
    again = {number: render(number) for number in killed}
    for number, process in {**crowd, **again}.items():
        result = finished(process)
        assert result.returncode == 0, (number, result.stderr)
    assert len({streams(tmp_path / f"{number}.mkv") for number in range(CROWD)}) == 1
    # What is in the cache now serves as well as what one process alone has made: the stages in the cache of these
    # tests, and features made anew.
    assert finished(render(CROWD)).returncode == 0
    assert finished(render(CROWD + 1, alone)).returncode == 0
    assert streams(tmp_path / f"{CROWD}.mkv") == streams(tmp_path / f"{CROWD + 1}.mkv") == streams(tmp_path / "0.mkv")
    assert not leftovers(tmp_path)


@campaign_only
def test_a_damaged_cache_is_made_anew(materials, tmp_path):
    """4 kB of zeros in the middle of each file, as a bad disk leaves them: the same video, or a message."""
    cache = tmp_path / "cache"

    def render(name: str) -> subprocess.CompletedProcess:
        return run(
            small_video("pocket", tmp_path / name),
            materials,
            XDG_CACHE_HOME=cache,
        )

    assert render("first.mkv").returncode == 0
    files = [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size > 4096]
    assert files
    for path in files:
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle - 2048 : middle + 2048] = bytes(4096)
        path.write_bytes(content)
    result = render("second.mkv")
    assert result.returncode == 0, result.stderr
    assert streams(tmp_path / "first.mkv") == streams(tmp_path / "second.mkv")


# -- What reaches a shell --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "`touch pwned`",
        "$(touch pwned)",
        "';touch pwned;'",
        '";touch pwned;"',
        "a'b",
        "$$(touch pwned)",
        "$(shell touch pwned)",
        "x\ntouch pwned",
    ]
    if CAMPAIGN
    else ["`touch pwned`"],
)
def test_variables_are_data(materials, tmp_path, value):
    """No variable but GAN_FLAGS is read by a shell or expanded by make."""
    folder = copied(materials, tmp_path)
    names = (
        (
            "CLASSES",
            "GENERATOR",
            "RESOLUTION",
            "FPS",
            "SEED",
            "WIDTH",
            "HEIGHT",
            "INTRO",
            "OUTRO",
            "LOOK",
            "PULSE",
            "ENCODER",
            "FONT",
            "TITLE_TEXT",
            "SONG",
            "WEIGHTS",
            "MIX",
            "OVERWRITE",
        )
        if CAMPAIGN
        else ("CLASSES",)
    )
    # Without notes, whose network takes seconds and whose recipe has none of the names that are tried in short.
    more = [] if CAMPAIGN else ["MAPPING=classic"]
    for name in names:
        for goal in ("checked", "help", "storyboard") if CAMPAIGN else ("storyboard",):
            result = run(
                ["make", goal, "TITLE=New", "SONG=a.mp3", "GENERATOR=cppn", "RESOLUTION=32", *more, f"{name}={value}"],
                folder,
            )
            assert not list(folder.rglob("pwned")), (name, goal)
            assert "Traceback" not in result.stderr and "syntax error" not in result.stderr, (name, goal, result.stderr)
