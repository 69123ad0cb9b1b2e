"""BigGAN's weights: found, downloaded, checked, and never trusted."""

import functools
import http.server
import json
import os
import pickle
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from pytorch_pretrained_biggan import BigGANConfig
from safetensors.torch import save_file

from musicvideo import caches, files, limits
from musicvideo.errors import MediaError
from musicvideo.vision import generators
from musicvideo.vision.generators import weights
from musicvideo.vision.generators.biggan.architecture import LAYERS
from musicvideo.vision.generators.random_weights import random_model, save

published = weights.configuration


@pytest.fixture(scope="module", autouse=True)
def small():
    """BigGAN's architectures at a sixteenth of their width, on which these tests do not depend."""

    def configuration(resolution):
        published(resolution)
        return BigGANConfig(output_dim=resolution, layers=LAYERS[resolution], channel_width=8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "configuration", configuration)
        yield configuration


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setattr(caches, "folder", lambda kind: tmp_path / "cache" / kind)
    return tmp_path / "cache" / "biggan"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small):
    """A folder of random weights, resolution 128."""
    folder = tmp_path_factory.mktemp("biggan-128")
    save(random_model(small(128), batch=2), folder)
    return folder


@pytest.fixture(scope="module")
def state(folder):
    return torch.load(folder / "pytorch_model.bin", weights_only=True)


def refusal(resolution, folder):
    with pytest.raises(MediaError) as caught:
        weights.load(resolution, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_configuration_is_the_librarys_own():
    assert json.loads(json.dumps(published(128).to_dict())) == json.loads(json.dumps(BigGANConfig().to_dict()))


def test_weights_may_have_their_published_names_or_be_safetensors(folder, state, tmp_path):
    published, tensors = tmp_path / "published", tmp_path / "tensors"
    published.mkdir(), tensors.mkdir()
    (published / "biggan-deep-128-pytorch_model.bin").symlink_to(folder / "pytorch_model.bin")
    (published / "biggan-deep-128-config.json").symlink_to(folder / "config.json")
    save_file({key: value.contiguous() for key, value in state.items()}, tensors / "model.safetensors")
    for other in (published, tensors):
        assert torch.equal(weights.load(128, other).embeddings.weight, state["embeddings.weight"])


def test_weights_of_another_resolution_are_refused(folder, tmp_path):
    assert "not the weights of resolution 256" in refusal(256, folder)
    (tmp_path / "pytorch_model.bin").symlink_to(folder / "pytorch_model.bin")
    assert "not the weights of BigGAN-deep 256 (has no generator.layers.11." in refusal(256, tmp_path)


# Untrusted files


class Hostile:
    """A pickle that makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class Shell(Hostile):
    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Code(Hostile):
    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w')",)


@pytest.mark.parametrize("kind", [Hostile, Shell, Code])
@pytest.mark.parametrize(
    "write",
    [
        torch.save,
        functools.partial(torch.save, _use_new_zipfile_serialization=False),
        lambda content, file: file.write_bytes(pickle.dumps(content)),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_a_pickle_that_runs_code_runs_nothing(kind, write, hidden, state, tmp_path):
    owned = tmp_path / "owned"
    pickle.loads(pickle.dumps(kind(owned)))
    owned.unlink()  # so it would have run
    content = {**state, "extra": kind(owned)} if hidden else kind(owned)
    write(content, tmp_path / "pytorch_model.bin")
    assert "damaged, or no weights" in refusal(128, tmp_path)
    assert not owned.exists()


def test_where_torch_cannot_read_pickles_safely_they_are_not_opened(folder, state, tmp_path, monkeypatch):
    (tmp_path / "pytorch_model.bin").symlink_to(folder / "pytorch_model.bin")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the pickle was opened"))
    assert "without risk (install torch 2.6 or newer, or give model.safetensors)" in refusal(128, tmp_path)
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "model.safetensors")
    assert weights.load(128, tmp_path)  # preferred, so the pickle beside it does not matter


def test_folders_of_junk_are_one_line(folder, state, tmp_path):
    whole = (folder / "pytorch_model.bin").read_bytes()
    first, other = "embeddings.weight", "generator.conv_to_rgb.bias"
    middle = len(whole) // 2
    junk = {
        "truncated": (whole[:middle], "damaged"),
        "text": (b"hello", "damaged"),
        "empty": (b"", "damaged"),
        "nested": (b"\x80\x02" + b"(" * 100_000 + b"l" * 100_000 + b".", "damaged"),
        "opcodes": (b"\x80\x02K\x01K\x02\x85R.", "damaged"),
        "list": ([1, 2, 3], "no weights of a model"),
        "numbers": ({"a": 1}, "no weights of a model"),
        "sparse": (state | {first: state[first].to_sparse()}, "no weights of a model"),
        "whole numbers": (state | {first: state[first].int()}, "no weights of a model"),
        "lacking": ({k: v for k, v in state.items() if k != other}, f"has no {other}"),
        "surplus": (state | {"extra\n" * 1000: torch.zeros(1)}, "which the model has not"),
        "shape": (state | {first: torch.zeros(128, 7)}, "embeddings.weight is (128, 7), not (128, 1000)"),
    }
    for name, (content, complaint) in junk.items():
        file = tmp_path / name / "pytorch_model.bin"
        file.parent.mkdir()
        file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
        message = refusal(128, file.parent)
        assert complaint in message and name in message, message
    tensors = {"empty": b"", "header": b"\xff" * 8 + b"{}", "text": b"hello, hello", "nested": b"[" * 9000}
    for name, content in tensors.items():
        file = tmp_path / f"{name}.tensors" / "model.safetensors"
        file.parent.mkdir()
        file.write_bytes(content)
        assert "damaged" in refusal(128, file.parent)


def test_odd_things_in_place_of_files_are_one_line(tmp_path):
    assert "no such folder" in refusal(128, tmp_path / "missing")
    (tmp_path / "pytorch_model.bin").mkdir()
    os.mkfifo(tmp_path / "model.safetensors")
    (tmp_path / "biggan-deep-128-pytorch_model.bin").symlink_to("biggan-deep-128-pytorch_model.bin")
    assert "holds no BigGAN weights of resolution 128 (wants model.safetensors or" in refusal(128, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        b"[" * 60_000,
        b"[1, 2]",
        b"3",
        b"\xff",
        b" " * 100_000,
        b'{"z_dim": 1e999999}',
    ],
    ids=range(7),
)
def test_configurations_that_are_none_are_one_line(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    complaint = refusal(128, tmp_path)
    assert "not a configuration of BigGAN" in complaint or "has z_dim inf, not 128" in complaint


def test_files_that_are_or_unpack_too_large_are_not_read(state, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "WEIGHTS_BYTES", 50_000_000)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(60_000_000))
    assert (tmp_path / "pytorch_model.bin").stat().st_size < 100_000
    assert "0.1 GB are too large" in refusal(128, tmp_path)
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.truncate(70_000_000)
    assert "0.1 GB are too large" in refusal(128, tmp_path)


# Downloads


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, with ranges; breaks off after `limit` bytes."""

    limit = None
    sent = 0

    def do_GET(self):
        Files.sent += 1
        data = (Path(self.directory) / self.path.lstrip("/")).read_bytes()
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : start + (self.limit or len(data))])

    def log_message(self, *_):
        pass


@pytest.fixture
def source(folder, monkeypatch):
    """The weights on a server of this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=folder))
    thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.05))
    thread.start()
    monkeypatch.setattr(Files, "limit", None)
    monkeypatch.setattr(Files, "sent", 0)
    monkeypatch.setitem(weights.SOURCES, 128, [f"http://127.0.0.1:{server.server_port}/pytorch_model.bin"])
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def kept(cache):
    """Weights in a cache, without locks and checksums."""
    return [file for file in cache.glob("[!.]*") if file.name != weights.PINS]


def test_two_runs_share_a_download(source, cache):
    with ThreadPoolExecutor(2) as pool:
        found = set(pool.map(weights.fetch, [128, 128]))
    assert kept(cache) == list(found)
    assert Files.sent == 1


def test_a_download_breaks_off_resumes_and_is_kept(source, cache, folder, monkeypatch):
    monkeypatch.setattr(weights, "CHUNK", 1 << 16)  # a chunk that breaks off is lost
    monkeypatch.setattr(Files, "limit", 500_000)
    with pytest.raises(MediaError, match="could not be downloaded .*biggan-deep-128-.*--generator pocket"):
        weights.fetch(128)
    (part,) = kept(cache)
    assert 0 < part.stat().st_size <= 500_000 < (folder / "pytorch_model.bin").stat().st_size
    monkeypatch.setattr(Files, "limit", None)
    file = weights.fetch(128)
    assert kept(cache) == [file] and file.read_bytes() == (folder / "pytorch_model.bin").read_bytes()
    monkeypatch.setitem(weights.SOURCES, 128, [])  # offline from here on
    assert generators.load("biggan-reference", resolution=128).resolution == 128


def test_a_damaged_download_leaves_the_cache_clean(source, cache, monkeypatch):
    monkeypatch.setitem(weights.CHECKSUMS, 128, "0" * 64)
    with pytest.raises(MediaError, match="the download is damaged"):
        weights.fetch(128)
    assert not kept(cache)


def test_a_full_disk_is_named_before_it_is_full(source, cache, monkeypatch):
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(MediaError, match="MB of weights do not fit"):
        weights.fetch(128)
    assert not kept(cache)


def test_offline_without_weights_names_files_place_and_way_out(cache, monkeypatch):
    monkeypatch.setitem(weights.SOURCES, 512, ["http://127.0.0.1:9/nothing"])
    with pytest.raises(MediaError) as caught:
        generators.load("biggan", resolution=512)
    message = str(caught.value)
    assert "\n" not in message
    for wanted in ("biggan-deep-512-pytorch_model.bin", str(cache), "--generator pocket", "GENERATOR=pocket"):
        assert wanted in message


# Checksums


@pytest.fixture
def cached(folder, cache):
    """Weights that lie in the cache."""
    cache.mkdir(parents=True)
    file = cache / weights.published_name(128)
    file.write_bytes((folder / "pytorch_model.bin").read_bytes())
    return file


def test_an_unpublished_checksum_is_pinned_on_first_use_and_said(cached, cache):
    notices = []
    for _ in range(2):
        found = generators.weights_checksum("biggan", 128, notice=notices.append)
    assert found == files.sha256(cached)
    assert json.loads((cache / "checksums.json").read_text()) == {cached.name: found}
    (notice,) = notices
    assert "\n" not in notice and found in notice and str(cache / "checksums.json") in notice


def test_weights_that_changed_since_are_refused_with_a_remedy(cached, cache, state):
    weights.load(128)
    torch.save({**state, "embeddings.weight": state["embeddings.weight"] + 1}, cached)
    for take in (weights.load, weights.fetch, weights.locate, functools.partial(weights.load, folder=cache)):
        with pytest.raises(MediaError) as caught:
            take(128)
        for wanted in (str(cached), "delete it, and it is downloaded again", str(cache / "checksums.json")):
            assert wanted in str(caught.value) and "\n" not in str(caught.value)
    (cache / "checksums.json").unlink()
    assert weights.load(128)


def test_a_published_checksum_is_compared_whenever_the_weights_are_used(cached, cache, monkeypatch):
    monkeypatch.setitem(weights.CHECKSUMS, 128, files.sha256(cached))
    assert weights.load(128) and not (cache / "checksums.json").exists()
    monkeypatch.setitem(weights.CHECKSUMS, 128, "0" * 64)
    with pytest.raises(MediaError, match="not the published file.*delete it"):
        weights.load(128)


def test_a_folder_of_ones_own_is_ones_own_choice(folder, cache):
    assert weights.load(128, folder)
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"biggan-deep-128-pytorch_model.bin": 3}'])
def test_damaged_pins_are_named(cached, cache, content):
    (cache / "checksums.json").write_bytes(content)
    with pytest.raises(MediaError, match=r"checksums.json: damaged \(delete it"):
        weights.load(128)


def test_a_cache_that_cannot_be_written_is_used_all_the_same(cached, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(weights.files, "atomic", refuse)
    notices = []
    assert weights.load(128, notice=notices.append)
    assert "cannot be noted" in notices[0] and "Permission denied" in notices[0]


def test_two_first_uses_at_once_pin_both(cached, cache, small):
    other = cache / weights.published_name(512)
    save(random_model(small(512), batch=1), cache / "512")
    os.replace(cache / "512" / "pytorch_model.bin", other)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(weights.fetch, [128, 512]))
    assert json.loads((cache / "checksums.json").read_text()).keys() == {cached.name, other.name}
