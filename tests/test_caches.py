"""Caches give back what was written, or nothing."""

import os
from pathlib import Path

import pytest

from musicvideo import caches

CONTENT = bytes(range(256)) * 100


@pytest.fixture
def file(tmp_path):
    return tmp_path / "cache" / "content"


def test_content_comes_back_whole(file):
    assert caches.recall(file) is None
    for content in (CONTENT, b""):
        caches.remember(file, content)
        assert caches.recall(file) == content
    assert list(file.parent.iterdir()) == [file]


def middle_changed(written: bytes) -> bytes:
    middle = len(written) // 2
    return written[:middle] + bytes([written[middle] ^ 1]) + written[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        middle_changed,
        lambda written: written[:-1],
        lambda written: written + b"\0",
        lambda written: b"",
        lambda written: written[:20],
        lambda written: bytes(len(written)),
    ],
)
def test_damaged_content_counts_as_missing(file, damage):
    caches.remember(file, CONTENT)
    file.write_bytes(damage(file.read_bytes()))
    assert caches.recall(file) is None
    caches.remember(file, CONTENT)
    assert caches.recall(file) == CONTENT


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda file: file.symlink_to("nowhere")])
def test_something_else_in_its_place_counts_as_missing(file, make):
    file.parent.mkdir()
    make(file)
    assert caches.recall(file) is None
    caches.remember(file, CONTENT)
    assert caches.recall(file) == (None if file.is_dir() else CONTENT)


def test_a_place_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").touch()
    caches.remember(tmp_path / "file" / "content", CONTENT)
    caches.remember(Path("/proc/content"), CONTENT)
    assert caches.recall(tmp_path / "file" / "content") is None
    caches.trim(tmp_path / "file", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_least_recently_used_go_first(tmp_path):
    for age, name in enumerate("abcd"):
        caches.remember(tmp_path / name, name.encode())
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "folder").mkdir()
    assert caches.recall(tmp_path / "d") == b"d"
    caches.trim(tmp_path, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "d", "folder"}


def test_folders_lie_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(caches, "user_cache_path", lambda name: tmp_path / name)
    assert caches.folder("features") == tmp_path / "musicvideo" / "features"
