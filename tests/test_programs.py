"""Running programs and writing files: which files remain when something ends too early."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from shlex import quote

import pytest

from conftest import HANGS, ROOT, assert_one_line_error, command, eventually, small_disk
from musicvideo import cli, files, programs
from musicvideo.errors import DiskFull, MediaError


def script(folder: Path, name: str, text: str) -> Path:
    """An executable shell script."""
    path = folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def runs(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# -- Programs ------------------------------------------------------------------------------------------------


def test_a_failure_says_what_the_program_said(tmp_path):
    failing = script(tmp_path, "failing", "echo first >&2; echo 'the reason' >&2; exit 3")
    with pytest.raises(MediaError, match="^making x: .*failing failed: the reason$"):
        programs.run([failing], doing="making x")


def test_a_full_disk_counts_whatever_the_exit_code(tmp_path):
    """FFmpeg 5.1 exits with 0 after such a complaint."""
    full = script(tmp_path, "full", "cat >/dev/null; echo 'av_write_trailer: No space left on device' >&2; exit 0")
    with pytest.raises(DiskFull, match="making x: .*no space left"):
        programs.run([full], doing="making x")
    with pytest.raises(DiskFull), programs.Feed([full], doing="making x") as feed:
        feed.write(b"data")
    with pytest.raises(DiskFull):
        programs.run_with_progress([full], doing="making x", line=lambda line: None)


def test_a_program_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "STALL", 0.2)
    hanging = script(tmp_path, "hanging", f"echo $$ >> {quote(str(tmp_path))}/pids; sleep 1000 & wait")
    with pytest.raises(MediaError, match="had not finished after 0 s"):
        programs.run([hanging], doing="making x", limit=0.2)
    with pytest.raises(MediaError, match="making x: .*hangs: it has taken nothing for"):
        with programs.Feed([hanging], doing="making x") as feed:
            feed.write(bytes(10_000_000))
    with (
        pytest.raises(MediaError, match="making x: .*hangs: it has not ended"),
        programs.Feed([hanging], doing="making x"),
    ):
        pass
    with pytest.raises(MediaError, match="hangs: it has said nothing"):
        programs.run_with_progress([hanging], doing="making x", line=lambda line: None)
    assert not any(runs(int(process)) for process in (tmp_path / "pids").read_text().split())


def test_feeding_and_progress(tmp_path):
    copy = script(tmp_path, "copy", f"cat > {quote(str(tmp_path))}/out")
    with programs.Feed([copy], doing="copying") as feed:
        feed.write(bytes(3_000_000))
        feed.write(b"end")
    assert (tmp_path / "out").stat().st_size == 3_000_003
    lines = []
    programs.run_with_progress(
        [script(tmp_path, "talk", "echo a; sleep 0.1; printf 'b=1\\nc'")], doing="x", line=lines.append
    )
    assert lines == ["a", "b=1"]
    with pytest.raises(MediaError, match="x: .*gone failed: no message"):
        with programs.Feed([script(tmp_path, "gone", "exit 1")], doing="x") as feed:
            feed.write(bytes(10_000_000))


LONG_RUN = """
import sys
from pathlib import Path
from musicvideo import cli, files, programs

def main():
    with files.atomic(sys.argv[2]) as partial:
        partial.write_bytes(b"half")
        programs.run([sys.argv[1]], doing="waiting")

cli.entry_point(main)
"""


@pytest.fixture
def long_run(tmp_path):
    """A process that writes an output while a program of its own runs; and the program's process id."""
    waiting = script(
        tmp_path, "waiting", f"cd {quote(str(tmp_path))}; echo $$ > pid.new; mv pid.new pid; exec sleep 1000"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_RUN, str(waiting), str(tmp_path / "out" / "file.mkv")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually((tmp_path / "pid").exists)
    yield process, int((tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_programs_and_leaves_nothing_partial(long_run, tmp_path, number):
    process, child = long_run
    process.send_signal(number)
    assert process.wait(HANGS) == 128 + number
    assert process.stderr.read() == "interrupted\n"
    eventually(lambda: not runs(child))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(not programs._killed_with_parent(), reason="no setpriv here")
def test_programs_die_with_a_killed_process(long_run):
    process, child = long_run
    process.kill()
    eventually(lambda: not runs(child))


def test_verbose_shows_each_command(tmp_path):
    result = command("-m", "musicvideo", "-v", "merge", "README.md", "README.md", tmp_path / "a b.mkv")
    assert result.returncode == 1
    assert "ffprobe -v warning" in result.stderr and " s: " in result.stderr


# -- Files ---------------------------------------------------------------------------------------------------


def test_partial_files_of_killed_processes_are_swept(tmp_path):
    output = tmp_path / "film.mkv"
    gone, zombie = (subprocess.Popen(["true"]) for _ in range(2))
    gone.wait()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # has ended, but stays until somebody asks for its code
    for name in (
        f".film.{zombie.pid}-0.partial.mkv",
        f".film.{gone.pid}-0.partial.mkv",
        f".film.{os.getppid()}-0.partial.mkv",
        f".other.{gone.pid}-0.partial.mkv",
        ".film.hidden.mkv",
    ):
        (tmp_path / name).touch()
    with files.atomic(output) as partial:
        partial.write_bytes(b"new")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        "film.mkv",
        f".film.{os.getppid()}-0.partial.mkv",
        f".other.{gone.pid}-0.partial.mkv",
        ".film.hidden.mkv",
    }
    zombie.wait()


def test_files_from_the_future_are_dated_back_in_their_order(tmp_path):
    now = time.time()
    dates = {"past": now - 100, "first": now + 50, "second": now + 60, "same": now + 60, "missing": None}
    paths = {name: tmp_path / name for name in dates}
    for name, date in dates.items():
        if date:
            paths[name].touch()
            os.utime(paths[name], (date, date))
    files.date_back(paths.values())
    found = {name: paths[name].stat().st_mtime for name, date in dates.items() if date}
    assert found["past"] < now - 99 and found["past"] < found["first"] < found["second"] == found["same"] <= time.time()


def test_the_longest_names(tmp_path):
    for name in ("ü" * 125 + ".mkv", "x" * 251 + ".mkv"):
        with files.atomic(tmp_path / name) as partial:
            partial.touch()
        assert (tmp_path / name).exists()


def test_two_threads_write_one_file(tmp_path):
    with files.atomic(tmp_path / "a") as first, files.atomic(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(subprocess.run(["which", "strace"], capture_output=True).returncode, reason="no strace here")
def test_data_reaches_the_disk_before_its_name_does(tmp_path):
    code = "import sys; from musicvideo import files\nwith files.atomic(sys.argv[1]) as p: p.write_bytes(b'new')"
    subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-e",
            "trace=fsync,rename,unlink",
            "-o",
            tmp_path / "calls",
            sys.executable,
            "-c",
            code,
            tmp_path / "out" / "film.mkv",
        ],
        check=True,
        cwd=ROOT,
    )
    calls = [
        line.split(None, 1)[1] for line in (tmp_path / "calls").read_text().splitlines() if f"{tmp_path}/out" in line
    ]
    data, renamed, names, *rest = calls
    assert data.startswith("fsync(") and ".partial.mkv>" in data
    assert renamed.startswith("rename(") and renamed.endswith(f'"{tmp_path}/out/film.mkv") = 0')
    assert names.startswith("fsync(") and names.endswith(f"{tmp_path}/out>) = 0")
    assert all("ENOENT" in call for call in rest)


def test_a_full_disk_keeps_what_was_there(tmp_path):
    """A film and a sound that do not fit: one line that names the place, and the old film as it was."""
    picture, sound = tmp_path / "picture.mkv", tmp_path / "sound.wav"
    ffmpeg = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i"]
    programs.run([*ffmpeg, "testsrc2=s=320x180:r=30:d=10", "-crf", "1", "-preset", "ultrafast", picture], doing="x")
    programs.run([*ffmpeg, "anoisesrc=r=48000:d=10", sound], doing="x")
    disk = tmp_path / "disk"
    film = disk / "film.mkv"
    with small_disk(disk, 3 << 20):
        film.write_bytes(b"old")
        result = command("-m", "musicvideo", "merge", picture, sound, film, "--intro", "0")
        assert_one_line_error(result, "film.mkv: no space left in", str(disk), "run the same command again")
        assert film.read_bytes() == b"old" and [path.name for path in disk.iterdir()] == ["film.mkv"]


def test_a_full_disk_is_told_that_holds_temporary_files_too(tmp_path, monkeypatch):
    """What does not fit is refused, not cut off, though FFmpeg 5.1 exits with 0 at the last bytes of a file."""
    disk = tmp_path / "disk"
    monkeypatch.setenv("TMPDIR", str(disk))
    monkeypatch.setattr(tempfile, "tempdir", None)
    video = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", "64x64"]
    picture, words = bytes(64 * 64 * 3), ["ffmpeg", "-v", "error"]
    raw, copy = tmp_path / "raw", [*video, disk / "copy"]
    raw.write_bytes(picture * 4)
    with small_disk(disk, 40 << 10):
        with pytest.raises(DiskFull), programs.Feed([*words, *video, "-i", "pipe:0", *copy], doing="x") as feed:
            feed.write(picture * 4)
        with pytest.raises(DiskFull):
            programs.run_with_output([*words, "-y", *video, "-i", raw, *copy], doing="x", take=print)


def test_messages_are_one_line_that_no_terminal_obeys():
    assert cli.one_line("a\nb\x1b[31m \x00 \u009b é") == r"a b\x1b[31m \x00 \x9b é"
    assert len(cli.one_line("x" * 100_000)) == cli.LONGEST_MESSAGE


def test_progress_in_a_log_is_whole_lines(capfd, monkeypatch):
    monkeypatch.setattr(cli, "LOG_INTERVAL", 0)
    with cli.progress_bar(total=3, desc="film.mkv\x1b[2J", miniters=1) as bar:
        for _ in range(3):
            bar.update(1)
    lines = capfd.readouterr().err.split("\n")
    assert [re.search(r"\d/3", line).group() for line in lines if "film.mkv" in line] == ["0/3", "1/3", "2/3", "3/3"]
    assert all(line.isprintable() for line in lines[:-1])


def test_complaints_are_no_work(monkeypatch):
    """A program that only complains hangs as one that is silent."""
    monkeypatch.setattr(programs, "STALL", 0.5)
    chatter = ["/bin/sh", "-c", "for i in $(seq 600); do echo again >&2; sleep 0.05; done"]
    with pytest.raises(MediaError, match="has taken nothing"), programs.Feed(chatter, doing="x") as feed:
        feed.write(bytes(1 << 20))
    with pytest.raises(MediaError, match="has said nothing"):
        programs.run_with_output(chatter, doing="x", take=print)


def test_a_program_may_leave_a_process_that_keeps_its_stderr(monkeypatch):
    with programs.Feed(["/bin/sh", "-c", "sleep 5 </dev/null >/dev/null &"], doing="x") as feed:
        eventually(lambda: feed._process.poll() is not None)
        monkeypatch.setattr(programs, "STALL", 0.1)
