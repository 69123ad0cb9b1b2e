"""Drawing on a Ray cluster of two nodes with a core each, as Ray itself makes for tests."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from pytorch_pretrained_biggan import BigGAN, BigGANConfig

from conftest import ROOT, assert_one_line_error, command, eventually, make_media, read_frames, small_disk
from musicvideo import files
from musicvideo.errors import MediaError
from musicvideo.vision import batch
from musicvideo.vision.generators import own, pocket
from musicvideo.vision.generators import weights as biggan_weights
from musicvideo.vision.generators.biggan.architecture import LAYERS
from musicvideo.vision.generators.random_weights import save
from musicvideo.vision.job import decide, requested
from musicvideo.vision.work import Work

ray = pytest.importorskip("ray", reason="Ray is not installed: make test-cluster installs it")
from ray.cluster_utils import Cluster  # noqa: E402 - only where Ray is there

from musicvideo.vision import cluster  # noqa: E402

SMALL = {"generator": "cppn", "resolution": 32, "fps": 30, "mapping": "pulse"}
WORDS = [f"--{name}={value}" for name, value in SMALL.items()]
MANY = {"fps": 240}  # forty segments, so that some are left for a node that is slow to start
STORE = 100_000_000  # bytes, of a node's object store


@pytest.fixture(scope="module")
def song(tmp_path_factory) -> Path:
    """Ten seconds of tones, which are five segments."""
    path = tmp_path_factory.mktemp("song") / "song.flac"
    return make_media(path, "-f", "lavfi", "-i", "aevalsrc='sin(2*PI*(220+110*floor(t))*t)*mod(t,1)':d=10")


@pytest.fixture(scope="module")
def local(song) -> bytes:
    """The video of the song, drawn without a cluster."""
    output = song.with_name("local.mp4")
    result = command("visualize.py", "--song", song, "--output_file", output, *WORDS)
    assert result.returncode == 0, result.stderr
    return output.read_bytes()


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes with a core each; commands find it by RAY_ADDRESS."""
    with pytest.MonkeyPatch.context() as patch:
        # Workers import what this process would.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE})
        try:
            add(made)
            patch.setenv("RAY_ADDRESS", made.address)
            yield made
        finally:
            made.shutdown()


def add(nodes: Cluster, **options):
    return nodes.add_node(num_cpus=1, object_store_memory=STORE, **options)


class Bar:
    """A progress bar that calls a function with each step and the most workers yet, and waits for so many workers."""

    def __init__(self, moved, wanted, **options):
        self.moved, self.wanted, self.begins, self.workers = moved, wanted, options["initial"], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, count):
        self.moved(count, max(self.workers))
        if max(self.workers) < self.wanted:
            time.sleep(1)

    def set_postfix(self, workers, refresh):
        self.workers.append(workers)


def draw(song, output, moved=lambda count, workers: None, wanted=1, **more) -> Bar:
    """Draw within this process; returns the bar."""
    job = decide(requested({**SMALL, "song": str(song), "output_file": str(output), "cluster": "auto", **more}))
    bars = []

    def progress(**options):
        bars.append(Bar(moved, wanted, **options))
        return bars[0]

    with cluster.drawing(job) as drawing:
        job.draw(drawing, draw_segments=drawing.draw_segments, progress=progress)
    return bars[0]


# -- Whole runs -----------------------------------------------------------------------------------------------


def test_a_cluster_draws_the_same_video_as_one_machine(nodes, song, local, tmp_path):
    result = command("visualize.py", "--song", song, "--output_file", tmp_path / "a.mp4", "--cluster", "auto", *WORDS)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "a.mp4").read_bytes() == local
    assert "on a Ray cluster" in result.stdout and not Work(tmp_path / "a.mp4").folder.exists()


def test_nodes_need_no_copy_of_a_generator_of_ones_own(nodes, song, tmp_path):
    """Here the nodes are this machine, but their processes run in another folder, where there is no such generator."""
    place = tmp_path / "media" / "mine.generator"
    shutil.copytree(pocket.FOLDER, place)
    checksums = {name: files.sha256(place / name) for name in own.FILES}
    (place / own.ABOUT).write_text(json.dumps({"files": checksums}))
    asked = ["--generator=mine", "--fps=10", "--duration=7", "--resolution=64"]
    for output, more in (("local.mp4", []), ("cluster.mp4", ["--cluster=auto"])):
        result = command(ROOT / "visualize.py", "--song", song, "--output_file", output, *asked, *more, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    result = command(
        "-m", "musicvideo", "batch", song, "--folder", ".", "--cluster", "auto", "--", *asked, cwd=tmp_path
    )
    assert result.returncode == 0, result.stdout + result.stderr
    local = read_frames(tmp_path / "local.mp4", "rgb24")
    assert len(local) == 70
    for output in ("cluster.mp4", "song.mp4"):
        np.testing.assert_array_equal(read_frames(tmp_path / output, "rgb24"), local)
    assert json.loads((tmp_path / "song.mp4.json").read_text())["generator"] == "mine"


def test_a_song_is_drawn_with_weights_that_were_sent(song, tmp_path, monkeypatch):
    """Its record names their folder as it was given; here no folder of that name exists."""
    narrow = BigGANConfig(output_dim=128, layers=LAYERS[128], channel_width=16)
    monkeypatch.setattr(biggan_weights, "configuration", lambda resolution: narrow)
    save(BigGAN(narrow), tmp_path)
    monkeypatch.setattr(cluster, "_cached", lambda weights: tmp_path)
    file = cluster.Weights("pytorch_model.bin", files.sha256(tmp_path / "pytorch_model.bin"), None)
    worker = cluster.Worker(cluster.Setup(cluster.versions(), threads=1, gpu=False, weights=[file], own=None))
    given = {"generator": "biggan", "weights": "mine", "resolution": 128, "duration": 0.4, "fps": 5, "device": "cpu"}
    task = batch.Task(str(song), "a.mp4", "a.notes.mid")
    made = worker.song(given, task, batch.inputs(given, task))
    assert isinstance(made, batch.Made), made
    assert made.frames == 2 and made.record["weights"] == "mine"
    assert made.record["weights_sha256"] == file.sha256


def test_a_node_dies_in_mid_run(nodes, song, tmp_path):
    """Its segments are drawn by another worker."""
    local = command("visualize.py", "--song", song, "--output_file", tmp_path / "local.mp4", *WORDS, "--fps=240")
    assert local.returncode == 0, local.stderr
    doomed = [node for node in nodes.list_all_nodes() if node is not nodes.head_node][-1]
    counted, killed_after = [], []

    def moved(count, workers):
        counted.append(count)
        if workers == 2 and not killed_after:
            killed_after.append(len(counted))
            nodes.remove_node(doomed, allow_graceful=False)

    try:
        draw(song, tmp_path / "a.mp4", moved, wanted=2, **MANY)
    finally:
        add(nodes)
    assert sum(counted) == 2400 and len(counted) == 40 and killed_after[0] < 36, killed_after
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "local.mp4").read_bytes()


def test_a_driver_dies_and_is_run_again(nodes, song, local, tmp_path):
    """What was put in place stays, and no process of the dead driver's stays."""
    output = tmp_path / "a.mp4"
    work, mark = Work(output), uuid.uuid4().hex
    words = [ROOT / "visualize.py", "--song", song, "--output_file", output, "--cluster", "local", *WORDS]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with subprocess.Popen(
        [sys.executable, *map(str, words)], env={**environment, "MARK": mark}, stderr=subprocess.PIPE
    ) as process:
        eventually(work.segments, process)
        assert len(marked(mark)) > 3
        process.kill()
    eventually(lambda: not marked(mark))
    kept = len(work.segments())
    assert kept and not output.exists()
    assert draw(song, output).begins == 60 * kept
    assert output.read_bytes() == local


def marked(mark: str) -> list[str]:
    """Processes that have this in their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (place / "environ").read_bytes() and (place / "cmdline").read_bytes():
                found.append(place.name)
        except OSError:  # has ended meanwhile
            continue
    return found


def test_ctrl_c_ends_all_that_local_started(song, tmp_path):
    output, mark = tmp_path / "a.mp4", uuid.uuid4().hex
    words = [ROOT / "visualize.py", "--song", song, "--output_file", output, "--cluster", "local", *WORDS]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with subprocess.Popen(
        [sys.executable, *map(str, words)], env={**environment, "MARK": mark}, stderr=subprocess.PIPE, text=True
    ) as process:
        eventually(Work(output).segments, process)
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, printed
    assert "what is done is kept; run the same command again" in printed.splitlines()[-1]
    assert "Traceback" not in printed
    eventually(lambda: not marked(mark))


def test_many_songs(nodes, song, local, tmp_path):
    """The good ones are drawn, as one by one, and skipped by the next run; the table says why one is not."""
    bad = tmp_path / "bad.flac"
    bad.write_bytes(b"no song")
    words = ["-m", "musicvideo", "batch", song, bad, "--folder", tmp_path]
    result = command(*words, "--cluster", "auto", "--", *WORDS)
    assert result.returncode == 1 and "1 of 2 songs have no video" in result.stderr.splitlines()[-1], result.stderr
    assert "Traceback" not in result.stderr
    rows = result.stdout.splitlines()[-2:]
    assert "300 frames" in rows[0] and "FAILED" in rows[1] and "bad.flac" in rows[1]
    assert (tmp_path / "song.mp4").read_bytes() == local
    for place in (["--cluster", "auto"], []):
        again = command(*words[:4], "--folder", tmp_path, *place, "--", *WORDS)
        assert again.returncode == 0 and "is there" in again.stdout, again.stderr
        other = command(*words[:4], "--folder", tmp_path, *place, "--", *WORDS, "--jitter=0")
        assert other.returncode == 1 and "jitter 0.5 is now 0" in other.stdout and "Traceback" not in other.stderr


# -- The pool -------------------------------------------------------------------------------------------------


class Tells:
    """A worker that tells where it runs."""

    def __init__(self, setup):
        pass

    def node(self, seconds):
        time.sleep(seconds)
        return ray.get_runtime_context().get_node_id()


class Fails:
    """A worker that fails at one task, and counts how often."""

    def __init__(self, count):
        self.count = count

    def work(self, number):
        if number == 1:
            with open(self.count, "a") as file:
                file.write("x")
            raise ZeroDivisionError("of this drawing")
        if number == 2:
            with open(f"{self.count}-deaths", "a") as file:
                file.write("x")
            os._exit(1)
        return number


class Lacks:
    """A worker that lacks disk, memory or weights."""

    def __init__(self, setup):
        pass

    @cluster._refusing
    def work(self, lacking):
        raise {"disk": OSError(errno.ENOSPC, "No space left on device"), "memory": MemoryError(),
               "weights": MediaError("biggan.bin: was damaged on its way here")}[lacking]  # fmt: skip


def tasks(*arguments):
    return [(f"task {one}", lambda one=one: (one,)) for one in arguments]


def test_a_node_that_joins_is_used(nodes):
    where, added = [], []

    def take(number, result):
        where.append(result)
        if len(where) == 1:
            added.append(add(nodes))

    try:
        with cluster.connected("auto"):
            with cluster.Pool(Tells, None, needs={"CPU": 1}, title="test") as pool:
                pool.run(tasks(*[1.0] * 60), "node", take)
    finally:
        nodes.remove_node(added[0])
    assert added[0].node_id in where and len(set(where)) == 3 and len(where) == 60


def test_a_task_that_fails_is_tried_three_times(nodes, tmp_path):
    """Then its error comes back with the traceback of the worker; the other tasks go on."""
    results = {}
    count = tmp_path / "count"
    deaths = Path(f"{count}-deaths")
    with cluster.connected("auto"):
        with cluster.Pool(Fails, str(count), needs={"CPU": 1}, title="test") as pool:
            pool.run(tasks(*range(5)), "work", results.__setitem__)
            among_others = deaths.read_text()
            pool.run(tasks(2), "work", lambda number, error: results.setdefault("alone", error))
    assert {number: results[number] for number in (0, 3, 4)} == {0: 0, 3: 3, 4: 4}
    assert isinstance(results[1], ZeroDivisionError) and 'raise ZeroDivisionError("of this drawing")' in str(results[1])
    assert isinstance(results[2], MediaError) and "task 2: 3 workers died at it" in str(results[2])
    assert count.read_text() == "xxx"
    # A death counts against the task before if the worker died before that one's result had arrived. So the attempts
    # at this task are counted exactly where it has no other task before it.
    assert among_others.startswith("xxx")
    assert deaths.read_text() == among_others + "xxx" and "3 workers died at it" in str(results["alone"])


def test_a_worker_that_lacks_something_says_so_in_a_line(nodes):
    """It is not tried again."""
    results = {}
    with cluster.connected("auto"):
        with cluster.Pool(Lacks, None, needs={"CPU": 1}, title="test") as pool:
            pool.run(tasks("disk", "memory", "weights"), "work", results.__setitem__)
    assert all(isinstance(result, MediaError) and str(result).startswith("worker on ") for result in results.values())
    assert [str(results[number]).partition("): ")[2] for number in range(3)] == [
        "disk: No space left on device", "its memory is full", "biggan.bin: was damaged on its way here",
    ]  # fmt: skip


def test_weights_that_do_not_arrive_whole_are_not_kept(nodes, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    content = np.full(1 << 20, 7, np.uint8)
    digest = hashlib.sha256(content).hexdigest()
    with cluster.connected("auto"), small_disk(cache, 1 << 19):
        for sent, refusal in ((content[1:10], "was damaged"), (content, "no space left in")):
            with pytest.raises(MediaError, match=f"weights.bin: {refusal}"):
                cluster._cached([cluster.Weights("weights.bin", digest, ray.put(sent))])
        assert not list(cache.rglob("*weights*"))


# -- Mistakes -------------------------------------------------------------------------------------------------


def attempt(song, output, *words, **environment) -> subprocess.CompletedProcess:
    told = {**os.environ, **environment}
    return command("visualize.py", "--song", song, "--output_file", output, *WORDS, *words, env=told)


def test_a_node_with_other_versions_is_refused(nodes, song, tmp_path):
    other = tmp_path / "ffmpeg"
    other.write_text("#!/bin/sh\necho ffmpeg version 99.1\n")
    other.chmod(0o755)
    node = add(nodes, env_vars={"FFMPEG": str(other)})
    try:
        with pytest.raises(MediaError, match=r"worker on .*: other versions .*ffmpeg .* is now 99\.1"):
            draw(song, tmp_path / "a.mp4", wanted=3, **MANY)
    finally:
        nodes.remove_node(node)
    assert not (tmp_path / "a.mp4").exists()


def test_a_node_with_another_processor_is_refused_unless_mixed(nodes, song, tmp_path):
    node = add(nodes, env_vars={"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""})
    try:
        with pytest.raises(MediaError, match=r"different bytes: .* instructions .* --mixed"):
            draw(song, tmp_path / "a.mp4", wanted=3, **MANY)
        draw(song, tmp_path / "b.mp4", mixed=True)
    finally:
        nodes.remove_node(node)
    assert (tmp_path / "b.mp4").exists() and not (tmp_path / "a.mp4").exists()


def test_too_few_resources(nodes, song, tmp_path):
    result = attempt(song, tmp_path / "a.mp4", "--cluster=auto", "--cpus_per_worker=64")
    assert_one_line_error(result, "64 cores", "the largest has 1", "--cpus_per_worker")


def test_another_version_of_ray_is_named_beside_the_clusters(nodes, song, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import ray\nray.__version__ = '99.1'\n")
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    result = attempt(song, tmp_path / "a.mp4", "--cluster=auto", PYTHONPATH=path)
    assert_one_line_error(result, f"Ray: {ray.__version__} ", "Ray: 99.1 ", "install the same versions")


def test_the_token_of_the_cluster_is_missing(nodes, song, tmp_path):
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "", "HOME": str(tmp_path)}
    result = attempt(song, tmp_path / "a.mp4", "--cluster=auto", **environment)
    assert_one_line_error(result, "no token is here", "set RAY_AUTH_TOKEN")


@pytest.mark.parametrize("listens", [True, False])
def test_an_address_that_does_not_answer(song, tmp_path, listens):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        if listens:
            mute.listen()
        result = attempt(song, tmp_path / "a.mp4", f"--cluster=ray://127.0.0.1:{mute.getsockname()[1]}")
    assert_one_line_error(result, "no Ray cluster answers", "--cluster local")
    assert list(tmp_path.iterdir()) == []
