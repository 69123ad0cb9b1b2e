"""Drawing on a Ray cluster: one against two nodes of a core, and many workers that only sleep.

    python -m benchmarks.cluster

Virtual workers are threads of a few processes, since hundreds of processes do not fit into a small machine. For the
driver, which is what is measured, each is a worker. A sleeping frame takes as long as FRAME says, and a segment has as
many bytes as SEGMENT says.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from benchmarks.memory import peak
from musicvideo import files, programs
from musicvideo.vision import cluster
from musicvideo.vision.job import decide, requested
from musicvideo.vision.segments import SEGMENT_FRAMES, segments

FRAME = 0.02  # seconds
SEGMENT = 300_000  # bytes
HOUR = 108_000  # frames, at 30 a second
PROCESSES = 8
SONG_SECONDS = 144  # of the song that two nodes draw; 72 segments at 30 frames a second
STORE = 300_000_000  # bytes of a node's object store


class Sleeps:
    """Stands for a worker with a graphics card."""

    def __init__(self, setup):
        self.content = os.urandom(SEGMENT)

    def segment(self, numbers):
        time.sleep(len(numbers) * FRAME)
        return cluster.Drawn("", self.content, {})


class Virtual:
    """One of the workers that share a process."""

    def __init__(self, actor):
        self._actor = actor

    def __getattr__(self, name):
        return getattr(self._actor, name)


class VirtualPool(cluster.Pool):
    """A pool of so many virtual workers."""

    def __init__(self, count):
        super().__init__(Sleeps, None, needs={"CPU": 0.001}, title="virtual")
        threads = -(-count // PROCESSES)
        shared = [self._actor.options(max_concurrency=threads).remote(None) for _ in range(min(count, PROCESSES))]
        ray.get([actor.__ray_ready__.remote() for actor in shared])
        self._load = {Virtual(shared[number % len(shared)]): [] for number in range(count)}

    def _grow(self, most):
        pass

    def __exit__(self, *_):
        pass


def many(count: int) -> None:
    """Time the driver with virtual workers that draw nine segments each; 200 draw an hour of video."""
    parts = segments(HOUR)[: 9 * count]
    with tempfile.TemporaryDirectory() as folder, VirtualPool(count) as pool:

        def take(number, drawn):
            with files.atomic(Path(folder, f"{number}.nut")) as partial:
                partial.write_bytes(drawn.content)

        processor, begin = time.process_time(), time.monotonic()
        pool.run([("segment", lambda part=part: (part,)) for part in parts], "segment", take)
        took, processor = time.monotonic() - begin, time.process_time() - processor
    ideal = sum(map(len, parts)) * FRAME / count
    print(
        f"{count} workers, {len(parts)} segments: {took:.1f} s, efficiency {ideal / took:.2f}; driver "
        f"{1e3 * processor / len(parts):.1f} ms of processor a segment, {peak():.0f} MB; "
        f"{SEGMENT / SEGMENT_FRAMES:.0f} bytes a frame; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


@contextmanager
def held(number: int) -> Iterator[None]:
    """Hold to one core, the first or the second of ours, what this thread starts: FFmpeg would take the other one."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Quiet:
    """A progress bar that shows nothing."""

    def update(self, count):
        pass

    def set_postfix(self, **figures):
        pass


def few(folder: Path) -> None:
    """Time the same segments on one node of a core, and on two."""
    song = folder / "song.wav"
    programs.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"sine=d={SONG_SECONDS}", song], doing="making a song")
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    os.environ["RAY_ADDRESS"] = nodes.address
    words = {"generator": "cppn", "resolution": 256, "fps": 30, "cluster": "auto", "mapping": "pulse"}
    job = decide(requested({**words, "song": str(song), "output_file": str(folder / "a.mp4")}))
    seconds = {}
    for count in (1, 2):
        with held(count - 1):
            nodes.add_node(num_cpus=1, object_store_memory=STORE)
        with cluster.drawing(job) as drawing:
            path = job.path(drawing)
            plan = dict(encoding=job.encoding, batch_size=30, every=1, bar=Quiet())

            def draw(name, numbers, drawing=drawing, path=path, plan=plan):
                parts = {folder / f"{name}{index}.nut": part for index, part in enumerate(numbers)}
                begin = time.monotonic()
                drawing.draw_segments(path, parts, **plan)
                return time.monotonic() - begin

            all_of_them = segments(30 * SONG_SECONDS)
            while len(drawing._pool._load) < count:
                draw("warm", all_of_them[:4])
            draw("warm", all_of_them[:8])  # every worker has loaded
            seconds[count] = draw(count, all_of_them)
        print(f"nodes: {count}, {seconds[count]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"two nodes are {seconds[1] / seconds[2]:.2f} times as fast")
    del os.environ["RAY_ADDRESS"]
    nodes.shutdown()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        few(Path(folder))
    with cluster.connected("local"):
        for count in (1, 8, 64, 200):
            many(count)


if __name__ == "__main__":
    main()
