"""Segments of one video, or whole songs, drawn by the workers of a Ray cluster.

A worker is an actor: a process that loads the generator once and then draws what it is handed. The cluster needs no
shared disk. What workers need travels through Ray's object store, and encoded segments come back as bytes, which are
put where a local run would have put them. So joining and resuming are those of a local run.

This is the only module that imports Ray.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import re
import signal
import socket
import tempfile
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
from tqdm import tqdm

from musicvideo import __version__, caches, files, programs
from musicvideo.errors import MediaError
from musicvideo.vision import batch, generators
from musicvideo.vision import record as records
from musicvideo.vision.containers import Encoding
from musicvideo.vision.generators import Generator, Handle, hardware
from musicvideo.vision.job import Job
from musicvideo.vision.latents import Trajectory
from musicvideo.vision.render import render_segments
from musicvideo.vision.settings import Settings

# Read when Ray is imported: three attempts to reach ray://HOST:PORT, of so many seconds.
os.environ.setdefault("RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S", "3")
os.environ.setdefault("RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S", "3")
os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")  # attempts to reach the head's store otherwise
# Ray would report its use over the network.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
except ImportError:
    raise MediaError(
        "--cluster needs Ray: run `pip install 'musicvideo[cluster]'`, or `make gan CLUSTER=...`"
    ) from None

ANSWER = 10.0  # seconds within which the address of a cluster must answer
STORE = 500_000_000  # bytes of the object store that `local` starts; it holds weights and a few finished segments
ATTEMPTS = 3  # at a segment or a song, and at starting a worker
AHEAD = 2  # tasks that a worker is handed at a time: it begins the second one while the first one travels
TICK = 2.0  # seconds between two looks for nodes that have joined


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection with a Ray cluster. What it started ends with it.

    Args:
        address: "auto" for the cluster that this machine belongs to, "local" for one that is started on this machine
            with all its cores and ends with the connection, or "ray://HOST:PORT".

    Raises:
        MediaError: no such cluster, or one with another token or another version of Ray or Python.
    """
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    before = signal.getsignal(signal.SIGTERM)  # Ray sets one of its own
    try:
        if address == "local":
            ray.init("local", num_cpus=hardware.cores(), include_dashboard=False, object_store_memory=STORE, **quiet)
        else:
            _require_answer(os.environ.get("RAY_ADDRESS", "") if address == "auto" else address)
            with warnings.catch_warnings(), programs.stderr_discarded():
                # That it has timed out, or what is wrong with the token, which is said below in a line.
                warnings.simplefilter("ignore")
                ray.init(address, **quiet)
    except (ConnectionError, TimeoutError) as error:
        raise MediaError(
            f"--cluster {address}: no Ray cluster answers ({_reason(error)}); start one with `ray start --head`, "
            "set RAY_AUTH_TOKEN to its token, or give --cluster local"
        ) from None
    except ray.exceptions.AuthenticationError:
        raise MediaError(f"--cluster {address}: no token is here (set RAY_AUTH_TOKEN to that of the cluster)") from None
    except RuntimeError as error:  # other versions, which several lines tell, or a node that does not start
        remedy = " (install the same versions of Ray and Python here and on every node)"
        raise MediaError(f"--cluster {address}: {error}{remedy if 'version' in str(error).lower() else ''}") from None
    finally:
        signal.signal(signal.SIGTERM, before)
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=ANSWER).close()
        except (OSError, OverflowError) as error:
            raise ConnectionError(f"{host}:{port}: {error}") from None


def _reason(error: Exception) -> str:
    """What Ray says, in short: the node, and the end of a traceback, why a process died, or the first line."""
    text = str(error).strip() or type(error).__name__
    node = re.search(r"\bip[=:] ?([^\s,]+)", text)
    reason = text.splitlines()[-1 if "Traceback (most recent call last)" in text else 0]
    if death := re.search(r"\tip: .*\n([^.\n]*)", text):
        reason = f"{death[1]}; where memory is short, a greater --cpus_per_worker starts fewer workers"
    return f"on {node[1]}: {reason}" if node else reason


# -- On the workers -------------------------------------------------------------------------------------------


class Weights(NamedTuple):
    """A file of a generator that a node keeps in its cache."""

    name: str
    sha256: str
    content: Any  # reference to an array of bytes in the object store


@dataclass(frozen=True)
class Setup:
    """What a worker is told when it starts.

    Attributes:
        versions: of packages and programs, which must be the worker's too.
        threads: that it draws with.
        gpu: whether a graphics card is its own.
        weights: files of the generator, of which the first one's checksum identifies all; empty for one without.
        own: name of a generator that a user trained; None for others.
    """

    versions: Mapping[str, str]
    threads: int
    gpu: bool
    weights: Sequence[Weights]
    own: str | None


class Plan(NamedTuple):
    """What is drawn, and how it is encoded: what `render_segments` takes."""

    trajectory: Trajectory
    encoding: Encoding
    batch_size: int
    every: int


class Refusal(NamedTuple):
    """Stands for the result where a worker cannot go on, for a reason that fits on one line."""

    node: str
    reason: str


class Description(NamedTuple):
    """A worker's node, and its generator, as `Generator` has it."""

    node: str
    labels: Sequence[str]
    noise_dim: int
    resolution: int
    handles: Mapping[str, Handle]
    runs_on: str
    computed_by: Mapping[str, str]


class Drawn(NamedTuple):
    """An encoded segment, and what decided its bytes."""

    node: str
    content: bytes
    computed_by: Mapping[str, str]


def _refusing(method: Callable) -> Callable:
    """Makes a worker answer with a `Refusal` where trying again would not help."""

    @functools.wraps(method)
    def answer(*arguments):
        try:
            return method(*arguments)
        except OSError as error:
            reason = f"{error.filename or 'disk'}: {error.strerror or error}"
        except MemoryError:
            reason = "its memory is full"
        except (MediaError, ValueError) as error:
            reason = str(error)
        return Refusal(_node(), reason)

    return answer


def _node() -> str:
    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


def versions() -> dict[str, str]:
    """Versions that must be equal on all machines that draw one video."""
    return {"musicvideo": __version__, "ray": ray.__version__, **records.versions()}


class Worker:
    """Draws on a node of the cluster."""

    def __init__(self, setup: Setup):
        self._setup = setup
        self._generator: Generator | None = None

    def _load(self, job: Job) -> Generator:
        """The generator, which is loaded for the first job: all have the same settings of it."""
        if self._generator is None:
            folder = self._prepare()
            hardware.limit_threads(self._setup.threads)
            if not self._setup.gpu:
                job = replace(job, settings=replace(job.settings, device="cpu"))
            generator = job.load(weights=folder)
            # A GPU short of memory takes smaller batches from its first pass on.
            generator.frames(np.zeros((1, generator.noise_dim)), np.zeros((1, len(generator.labels))))
            self._generator = generator
        return self._generator

    @functools.cached_property
    def _folder(self) -> Path | None:
        """The folder with the generator's files on this node; None if it has none.

        Raises:
            MediaError: this node has other versions, or no room for the files.
        """
        setup = self._setup
        if changed := records.other_versions({"versions": setup.versions}, {"versions": versions()}):
            raise MediaError(f"other versions than where the run was started: {changed}")
        return _cached(setup.weights) if setup.weights else None

    def _prepare(self) -> Path | None:
        """The folder of `_folder`. From then on this process takes a generator that a user trained from there."""
        if self._folder and self._setup.own:
            generators.own.use_copy(self._setup.own, self._folder)
        return self._folder

    @_refusing
    def describe(self, job: Job) -> Description:
        generator = self._load(job)
        return Description(
            _node(), tuple(generator.labels), generator.noise_dim, generator.resolution, dict(generator.handles),
            generator.runs_on, dict(generator.computed_by),
        )  # fmt: skip

    @_refusing
    def frames(self, job: Job, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return self._load(job).frames(noise, classes)

    @_refusing
    def segment(self, job: Job, plan: Plan, numbers: range) -> Drawn:
        generator = self._load(job)
        with tempfile.TemporaryDirectory(prefix="musicvideo-") as folder:
            path = Path(folder, "segment")
            render_segments(
                generator, plan.trajectory, {path: numbers}, encoding=plan.encoding, batch_size=plan.batch_size,
                every=plan.every,
            )  # fmt: skip
            return Drawn(_node(), path.read_bytes(), dict(generator.computed_by))

    @_refusing
    def song(self, given: Mapping[str, Any], task: batch.Task, inputs: Mapping[str, bytes]) -> batch.Made:
        weights = self._prepare()  # before anything is decided, which needs the names of the generator's classes
        if self._setup.own:
            weights = None  # is found by its name
        with tempfile.TemporaryDirectory(prefix="musicvideo-") as folder:
            return batch.draw_elsewhere(given, task, inputs, Path(folder), weights=weights, load=self._load)


def _cached(weights: Sequence[Weights]) -> Path:
    """The folder of weights in this node's cache, where the first worker of the node puts them."""
    folder = caches.folder("cluster") / weights[0].sha256
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / "lock"):
        for each in weights:
            file = folder / each.name
            if not file.is_file() or files.sha256(file) != each.sha256:
                with files.atomic(file) as partial:
                    partial.write_bytes(ray.get(each.content))
                    if files.sha256(partial) != each.sha256:
                        raise MediaError(f"{file}: was damaged on its way here (run the same command again)")
    return folder


# -- The pool -------------------------------------------------------------------------------------------------


class Pool:
    """Workers on all nodes of the cluster that have room for one; used as a context, which ends them.

    Ray tells when a worker has died, and the pool hands its tasks to others. Ray's own retries of an actor's tasks are
    spent before Ray knows that a node is dead, and a worker that it starts again may wait for room, with its tasks.

    Args:
        actor: class of the workers.
        setup: what they are told.
        needs: resources of a worker, by Ray's names.
        title: of the workers in Ray's dashboard.

    Raises:
        MediaError: no node has room for a worker.
    """

    def __init__(self, actor: type, setup: Any, *, needs: Mapping[str, float], title: str):
        self._needs, self._title, self._setup = needs, title, setup
        self._actor = ray.remote(num_cpus=needs["CPU"], num_gpus=needs.get("GPU", 0))(actor)
        self._load: dict[Any, list[int]] = {}  # worker that has started -> numbers of its tasks, the first one at work
        self._starting: dict[Any, Any] = {}  # reference to its first answer -> worker
        self._count = self._failures = 0  # of workers that were started; of those in a row that could not be
        if not self.room():
            most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
            raise MediaError(
                f"no node of the cluster has {needs['CPU']} cores for a worker: the largest has {most:.0f} (give a "
                "smaller --cpus_per_worker, or start more nodes)"
            )

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in [*self._load, *self._starting.values()]:
            ray.kill(worker)

    def room(self) -> int:
        """How many workers the nodes have room for."""
        return sum(
            min(int(node["Resources"].get(kind, 0) // amount) for kind, amount in self._needs.items())
            for node in ray.nodes()
            if node["Alive"]
        )

    def call(self, method: str, *arguments: Any) -> Any:
        """What one worker answers.

        Raises:
            MediaError: it refuses, or died.
            ray.exceptions.RayTaskError: it failed; with its traceback.
        """
        self._grow(self.room())
        worker = next(iter([*self._load, *self._starting.values()]))
        try:
            return _value(getattr(worker, method).remote(*arguments))
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            raise MediaError(f"a worker died as it started ({_reason(error)})") from None

    def run(
        self,
        tasks: Iterable[tuple[str, Callable[[], Sequence[Any]]]],
        method: str,
        take: Callable[[int, Any], None],
        *,
        alive: Callable[[int], object] = lambda count: None,
    ) -> None:
        """Hand tasks to the workers, more of which are started as nodes join.

        Args:
            tasks: title of each in Ray's dashboard, and what gives its arguments when its turn comes.
            method: of the workers.
            take: called with the number of a task, and its result or the error that it ended with. A task that fails,
                or whose worker dies, is tried `ATTEMPTS` times.
            alive: called with the number of workers whenever it may have changed.

        Raises:
            MediaError: no worker can be started.
        """
        asked = list(tasks)
        waiting, attempts = deque(range(len(asked))), Counter[int]()
        running: dict[Any, tuple[Any, int]] = {}  # reference to a result -> its worker and task

        def again(number: int, error: Exception) -> None:
            attempts[number] += 1
            if attempts[number] < ATTEMPTS:
                waiting.appendleft(number)
            else:
                take(number, error)

        looked = -math.inf
        while waiting or running:
            if time.monotonic() - looked >= TICK:
                looked = time.monotonic()
                self._grow(min(self.room(), len(waiting)))
            alive(len(self._load))
            for depth in range(1, AHEAD + 1):  # each worker gets a first task before any gets a second one
                for worker, load in self._load.items():
                    if waiting and len(load) < depth:
                        number = waiting.popleft()
                        title, arguments = asked[number]
                        reference = getattr(worker, method).options(name=title).remote(*arguments())
                        running[reference] = worker, number
                        load.append(number)
            pending = [*running, *self._starting]
            done, _ = ray.wait(pending, num_returns=1, timeout=TICK, fetch_local=False)
            if done:  # all that are there, since looking costs as much as one of them
                done, _ = ray.wait(pending, num_returns=len(pending), timeout=0, fetch_local=False)
            for reference in done:
                if reference in self._starting:
                    self._admit(reference)
                    continue
                if reference not in running:  # of a worker that died just now
                    continue
                worker, number = running.pop(reference)
                try:
                    result = _value(reference)
                except MediaError as error:
                    result = error
                except ray.exceptions.RayTaskError as error:
                    self._load[worker].remove(number)
                    again(number, error)
                    continue
                except ray.exceptions.RayError as error:  # of a process or a node
                    guilty, *others = self._load.pop(worker)
                    running = {one: (by, task) for one, (by, task) in running.items() if by != worker}
                    ray.kill(worker)
                    waiting.extendleft(others)
                    title, _ = asked[guilty]
                    again(guilty, MediaError(f"{title}: {ATTEMPTS} workers died at it ({_reason(error)})"))
                    continue
                self._load[worker].remove(number)
                take(number, result)

    def _grow(self, most: int) -> None:
        while len(self._load) + len(self._starting) < most:
            self._count += 1
            worker = self._actor.options(name=f"{self._title}: worker {self._count}").remote(self._setup)
            self._starting[worker.__ray_ready__.remote()] = worker

    def _admit(self, reference: Any) -> None:
        worker = self._starting.pop(reference)
        try:
            ray.get(reference)
        except ray.exceptions.RayError as error:
            self._failures += 1
            if self._failures >= ATTEMPTS:
                raise MediaError(f"workers cannot be started ({_reason(error)})") from None
        else:
            self._failures = 0
            self._load[worker] = []


def _value(reference: Any) -> Any:
    """The value of a reference; MediaError if a worker refused."""
    result = ray.get(reference)
    if isinstance(result, Refusal):
        raise MediaError(f"worker on {result.node}: {result.reason}")
    return result


# -- One video ------------------------------------------------------------------------------------------------


class Drawing:
    """The workers as a `Generator`, and as a `musicvideo.vision.render.SegmentDrawer`."""

    def __init__(self, pool: Pool, job: Job):
        self._pool, self._job = pool, job
        self._told = ray.put(replace(job, saved=None, score=None))
        self._first: Description = pool.call("describe", self._told)
        self.labels, self.noise_dim = self._first.labels, self._first.noise_dim
        self.resolution, self.handles = self._first.resolution, self._first.handles
        self.runs_on = f"{self._first.runs_on}, on a Ray cluster"
        self.computed_by = self._first.computed_by

    def frames(self, noise: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Pictures that one worker draws; see `Generator`."""
        return self._pool.call("frames", self._told, noise, classes)

    def draw_segments(
        self,
        trajectory: Trajectory,
        parts: Mapping[Path, range],
        *,
        encoding: Encoding,
        batch_size: int,
        every: int,
        bar: tqdm,
    ) -> None:
        """As `render_segments`; a segment that cannot be drawn ends the run, and what is there stays.

        Raises:
            MediaError: a worker refuses, has died too often, or computes other bytes than the others.
        """
        plan = ray.put(Plan(trajectory, encoding, batch_size, every))
        paths = list(parts)
        name = Path(self._job.settings.output_file).name

        def take(number: int, result: Any) -> None:
            if isinstance(result, Exception):
                raise result
            self._require_same(result)
            with files.atomic(paths[number]) as partial:
                partial.write_bytes(result.content)
            bar.update(len(parts[paths[number]]))

        self._pool.run(
            [
                (
                    f"frames {numbers.start} to {numbers[-1]} of {name}",
                    functools.partial(tuple, (self._told, plan, numbers)),
                )
                for numbers in parts.values()
            ],
            "segment",
            take,
            alive=lambda count: bar.set_postfix(workers=count, refresh=False),
        )

    def _require_same(self, drawn: Drawn) -> None:
        if self._job.settings.mixed:
            return
        changed = records.differences(self._first.computed_by, drawn.computed_by)
        if changed:
            raise MediaError(
                f"workers would draw different bytes: on {drawn.node}, compared with {self._first.node}, {changed} "
                "(give --mixed to accept that)"
            )


@contextmanager
def drawing(job: Job) -> Iterator[Drawing]:
    """The cluster that a job asks for, with workers that have the job's generator.

    Raises:
        MediaError: no such cluster, no room for a worker, or a worker that refuses.
    """
    with connected(job.settings.cluster or "auto"), _pool(job.settings, Path(job.settings.output_file).name) as pool:
        yield Drawing(pool, job)


@contextmanager
def _pool(asked: Settings, title: str) -> Iterator[Pool]:
    cards = sum(node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"])
    gpu = bool(cards and asked.device != "cpu" and generators.find(asked.generator).draws_on_gpu)
    own = None if asked.generator in generators.NAMES else asked.generator
    if own:
        parts = generators.own.parts(own)
    else:
        file = generators.weights_file(asked.generator, asked.resolution, asked.weights)
        parts = [file] if file else []
    weights = [Weights(part.name, files.sha256(part), ray.put(np.fromfile(part, np.uint8))) for part in parts]
    setup = Setup(versions(), asked.cpus_per_worker, gpu, weights, own)
    needs = {"CPU": asked.cpus_per_worker, **({"GPU": 1} if gpu else {})}
    with Pool(Worker, setup, needs=needs, title=title) as pool:
        yield pool


# -- Many songs -----------------------------------------------------------------------------------------------


def draw_songs(
    given: Mapping[str, Any], tasks: Sequence[batch.Task], settings: Settings, *, took: Callable[[batch.Row], object]
) -> None:
    """Draw songs, each by one worker, from its features to the finished video.

    Args:
        given: settings of all songs.
        tasks: the songs that are not drawn yet.
        settings: of any of them.
        took: called with what became of each.

    Raises:
        MediaError: no such cluster, or no room for a worker.
    """
    with connected(settings.cluster or "auto"), _pool(settings, "songs") as pool:

        def take(number: int, result: Any) -> None:
            task = tasks[number]
            took(batch.failed(task, result) if isinstance(result, Exception) else batch.put(task, result))

        def arguments(task: batch.Task) -> tuple:
            return given, task, batch.inputs(given, task)

        pool.run([(Path(task.song).name, functools.partial(arguments, task)) for task in tasks], "song", take)
