"""Helpers of all tests: reading media files, and running the project's commands."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling

# The tests use a cache of their own, set here because some modules look for it at import. The workers of pytest-xdist
# and of Ray share the cache of the process that started them.
CACHE = "musicvideo-tests-"
if CACHE not in os.environ.get("XDG_CACHE_HOME", ""):
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix=CACHE)
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

# Memory of 8 MB and more goes back to the system as soon as it is freed. Otherwise glibc raises this limit by itself
# up to 32 MB, and workers keep what the tests of networks needed.
M_MMAP_THRESHOLD = -3
with suppress(OSError, AttributeError):  # glibc only
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 8_000_000)

# OpenBLAS starts a thread for each core when NumPy is imported, and they wait actively at first. The workers use the
# cores already, and their tests start hundreds of processes, which inherit this.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

# `make test` exports its variables; commands that the tests run must not see them.
for variable in (
    "MAKEFLAGS MFLAGS MAKELEVEL TITLE SYSTEM_DEPS MIX_TABLE DRAW_FLAGS SONG GENERATOR RESOLUTION FPS SEED CLASSES "
    "WEIGHTS MAPPING MIDI CONDUCT OVERWRITE MIX TITLE_TEXT FONT WIDTH HEIGHT MIRROR INTRO OUTRO START "
    "DURATION LENGTH LISTENS LOOK PULSE ENCODER TORCH_INDEX CLUSTER PICTURES NAME MASKS MINUTES"
).split():
    os.environ.pop(variable, None)

import imageio_ffmpeg
import numpy as np
import pytest

from musicvideo import cli, ffmpeg, programs

ROOT = Path(__file__).parent.parent
HANGS = 600  # seconds after which a test gives up waiting; far beyond what a slow machine takes
GIVEN_FFMPEG = os.environ.get("FFMPEG")  # what the user of the tests names
# Makes the files of the tests, and decodes some results. It is newer than that of most systems, and starts faster.
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
# Files whose tests run with it throughout. All others run with what FFMPEG names, else with that of the system. FFprobe
# is always the system's.
NEWER_FFMPEG = (
    "test_check", "test_drafting", "test_features", "test_mixing", "test_own_pictures", "test_sharing", "test_song",
    "test_storyboard", "test_sync", "test_transcription", "test_visualize",
)  # fmt: skip
GOLDEN = Path(__file__).parent / "data" / "golden"
PAM_SIZES, PAM_END = (b"WIDTH", b"HEIGHT", b"DEPTH"), b"ENDHDR\n"

# Files whose tests render, export, train or install, and single tests, that `make test-fast` leaves out.
SLOW = {
    "test_faults", "test_fuzz", "test_long", "test_training", "test_pocket_quality",
    "test_biggan", "test_check", "test_cluster", "test_eightd", "test_film", "test_mixing", "test_package",
    "test_own_pictures", "test_pipeline", "test_pocket", "test_pocket_training", "test_render", "test_score",
    "test_sharing",
    "test_storyboard", "test_studio", "test_studio_page", "test_sync", "test_transcription", "test_visualize",
    "test_a_song_decoded_piece_by_piece_is_the_same", "test_any_title_and_length",
    "test_blocks_change_nothing", "test_every_note_of_impassive_is_seen", "test_motion_is_smooth_and_never_stuck",
    "test_an_unknown_processor_draws_the_same_slowly_and_says_so",
    "test_torch_comes_from_where_it_is_asked_for", "test_set_up_checks_hashes",
    "test_compiled_stages_are_kept_and_damaged_ones_are_not_used", "test_without_a_place_for_a_cache_all_goes_on",
    "test_a_compiled_network_is_kept_and_a_damaged_one_is_compiled_again",
    "test_other_networks_are_other_files_and_the_newest_stay",
    "test_ctrl_c_while_drawing_ends_the_process_in_good_order",
}  # fmt: skip

# Files that compute with torch for long. Two workers with a thread for each core would mostly wait for each other.
ONE_THREAD = ("test_training", "test_pocket_quality", "test_biggan", "test_own_pictures", "test_pocket")

# Files whose tests need up to a gigabyte. One worker runs them all, so that two of them never need it at once.
LARGE = (*ONE_THREAD, "test_backends")

# The files that take longest come first, then those of many tests, so that the workers end at about the same time.
LONGEST = (*LARGE, "test_pipeline", "test_faults", "test_visualize", "test_package")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    count = Counter(item.path for item in items)
    rank = {stem: number for number, stem in enumerate(LONGEST)}
    items.sort(key=lambda item: (rank.get(item.path.stem, len(LONGEST)), -count[item.path]))
    for item in items:
        if {item.path.stem, getattr(item, "originalname", "")} & SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """All tests of a file go to one worker, and all `LARGE` files go to the same worker.

    pytest-xdist's own option for groups of files does nothing with pytest 9.2.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "large" if Path(file).stem in LARGE else file

    return Scheduling(config, log)


class Sharing:
    """A hook that lets the workers share cores and memory."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        """Give torch one thread in files of `ONE_THREAD`.

        Return memory to the system after each test of a `LARGE` file, and at the end of every file.
        """
        if item.path.stem in ONE_THREAD:
            import torch

            threads = torch.get_num_threads()
            torch.set_num_threads(1)
        try:
            return (yield)
        finally:
            if item.path.stem in ONE_THREAD:
                torch.set_num_threads(threads)
            if item.path.stem in LARGE or nextitem is None or nextitem.path != item.path:
                gc.collect()  # networks refer to each other
                trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc only
                if trim:
                    trim(0)


def pytest_collection_finish() -> None:
    # What has been imported by now stays. Collections of garbage, hundreds of them, need not look at it.
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    for stem in NEWER_FFMPEG:
        assert (ROOT / "tests" / f"{stem}.py").exists(), stem
    config.pluginmanager.register(Sharing())  # a hook of this module would leave out training/tests


def command(*arguments, cwd=ROOT, **options) -> subprocess.CompletedProcess:
    """Run one of the project's commands with this Python, as a person would."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        **options,
    )


def assert_one_line_error(result: subprocess.CompletedProcess, *words: str, code: int = 1) -> None:
    """Check a failure as a user sees it: exit code, one line with these words, no traceback."""
    assert result.returncode == code, result.stderr
    lines = result.stderr.strip().splitlines()
    assert "Traceback" not in result.stderr
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]


def eventually(condition: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    """Wait until a condition holds; fail if the process ends first.

    The limit only ends a test whose condition never holds.
    """
    end = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        if process and process.poll() is not None:
            pytest.fail(f"ended too early, with {process.returncode}: {process.communicate()}")
        time.sleep(0.02)


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """A file system of `size` bytes at a folder, with the folder's content; skips where none may be mounted."""
    kept = place.with_name(f"{place.name}.before")
    if place.exists():
        place.rename(kept)
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("may not mount here")
    try:
        if kept.exists():
            shutil.copytree(kept, place, dirs_exist_ok=True, symlinks=True)
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def read_frames(path, pixel_format="gray", *options) -> np.ndarray:
    """Every decoded frame of a video: uint8 (frames, height, width), or (…, 3) for rgb24 and (…, 4) for rgba.

    `options` are FFmpeg's, of the input.
    """
    # PAM pictures tell their size, which takes one process less than asking FFprobe.
    raw = programs.run(
        ["ffmpeg", "-v", "error", *options, "-i", ffmpeg.source(path), "-map", "0:V:0", "-f", "image2pipe",
         "-c:v", "pam", "-pix_fmt", pixel_format, "-"],
        doing=f"decoding {path}",
    )  # fmt: skip
    header = raw[: raw.index(PAM_END) + len(PAM_END)]
    width, height, depth = (int(re.search(rb"^%s (\d+)$" % name, header, re.MULTILINE)[1]) for name in PAM_SIZES)
    frames = np.frombuffer(raw, np.uint8).reshape(-1, len(header) + width * height * depth)[:, len(header) :]
    return np.ascontiguousarray(frames).reshape(-1, height, width, *([depth] if depth > 1 else []))


def make_media(output, *arguments) -> Path:
    """Make a file with FFmpeg: `make_media("a.wav", "-f", "lavfi", "-i", "sine=d=1")`."""
    programs.run([FFMPEG, "-v", "error", "-y", *arguments, output], doing=f"making {output}")
    return Path(output)


def through_a_pipe(output: Path, *command) -> Path:
    """Keep what a program writes to a pipe, where it cannot go back to write sizes at the beginning."""
    output.write_bytes(programs.run(command, doing=f"making {output}"))
    return output


def use_ffmpeg(patch: pytest.MonkeyPatch, *, newer: bool) -> None:
    """Run the project with the newer FFmpeg, or with the given one, else that of the system."""
    path = FFMPEG if newer else GIVEN_FFMPEG
    if path:
        patch.setenv("FFMPEG", path)
    else:
        patch.delenv("FFMPEG", raising=False)


@pytest.fixture(scope="module", autouse=True)
def ffmpeg_of_the_file(request: pytest.FixtureRequest) -> Iterator[None]:
    """FFmpeg as `NEWER_FFMPEG` says."""
    with pytest.MonkeyPatch.context() as patch:
        use_ffmpeg(patch, newer=request.path.stem in NEWER_FFMPEG)
        yield


@pytest.fixture
def run_script(monkeypatch, capsys):
    """A function that runs a script within this process: a second faster than `command`, with the same result."""

    def run(script: ModuleType, *arguments) -> subprocess.CompletedProcess:
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, arguments)])
        code = 0
        try:
            cli.entry_point(script.main)
        except SystemExit as stop:
            code = stop.code
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


@pytest.fixture
def write_wav(tmp_path):
    """A function that writes samples (n,) or (n, channels) to a WAV file and returns its path."""
    import soundfile

    def write(name: str, samples, rate: int = 48000, subtype: str = "FLOAT") -> Path:
        path = tmp_path / name
        soundfile.write(path, samples, rate, subtype=subtype)
        return path

    return write
