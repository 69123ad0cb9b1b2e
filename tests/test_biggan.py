"""BigGAN: the pictures of the library from random weights of full size, and weights that are none."""

import functools
import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from musicvideo.errors import MediaError
from musicvideo.vision import generators
from musicvideo.vision.generators import backends, kernels, weights
from musicvideo.vision.generators.biggan import Network, statistics, to_bytes
from tests.random_biggan import random_biggan, save


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of random weights, resolution 128."""
    folder = tmp_path_factory.mktemp("biggan-128")
    save(random_biggan(128), folder)
    return folder


@pytest.fixture(scope="module")
def generator(folder):
    return load(folder)


def load(folder, name="biggan", *, resolution=128, device="cpu", **options):
    return generators.load(name, resolution=resolution, weights=folder, device=device, **options)


def vectors(count, seed=0):
    """Noise and mixtures of three classes, as a song makes them."""
    rng = np.random.default_rng(seed)
    classes = np.zeros((count, 1000))
    for row in classes:
        row[rng.choice(1000, 3, replace=False)] = rng.random(3)
    return rng.normal(scale=0.8, size=(count, 128)), classes


def drawn(generator, noise, classes):
    return torch.cat(list(generator.pictures(noise, classes)))


def psnr(found, wanted):
    """Peak signal to noise ratio in dB, on -1..1."""
    return float(10 * torch.log10(4 / (found - wanted).square().mean()))


def same_picture(generator, reference, count=2):
    noise, classes = vectors(count)
    wanted = reference.pictures(noise, classes)
    assert wanted.std() > 0.1 and (wanted.abs() > 0.999).float().mean() < 0.2     # there is something to compare
    found = drawn(generator, noise, classes)
    assert psnr(found, wanted) >= 90
    assert (to_bytes(found).int() - to_bytes(wanted).int()).abs().max() <= 1


@pytest.mark.parametrize("truncation", [1.0, 0.4])
def test_pictures_are_those_of_the_library(folder, truncation):
    same_picture(
        load(folder, truncation=truncation), load(folder, "biggan-reference", truncation=truncation)
    )


@pytest.mark.parametrize("resolution, seed", [(128, 1), (256, 2), (512, 3)])
def test_every_resolution_is_that_of_the_library(resolution, seed, tmp_path):
    save(random_biggan(resolution, seed), tmp_path)
    same_picture(
        load(tmp_path, resolution=resolution), load(tmp_path, "biggan-reference", resolution=resolution), count=1
    )


def test_truncations_between_rows_are_interpolated(folder):
    """The library swaps the weights of two rows, so it agrees where the weights are equal: half-way."""
    half_way = 0.41
    same_picture(
        load(folder, truncation=half_way), load(folder, "biggan-reference", truncation=half_way)
    )
    norm = weights.load(128, folder).generator.bn
    near, far = norm.running_means[29], norm.running_means[30]
    assert torch.allclose(statistics(norm, 0.585)[0], 0.75 * near + 0.25 * far, atol=1e-5)
    assert torch.equal(statistics(norm, 0.58)[0], near)
    assert torch.equal(statistics(norm, 1.0)[0], norm.running_means[50])


BACKENDS = {
    "torch": lambda network: backends.TorchBackend(network, "cpu"),
    "OpenVINO": backends.OpenVINOBackend,
    "AVX-512": functools.partial(backends.KernelBackend, lanes=16),
    "AVX2": functools.partial(backends.KernelBackend, lanes=8),
}
LACKING = {
    "torch": False,
    "OpenVINO": backends.openvino is None,
    "AVX-512": kernels.lanes() != 16,
    "AVX2": kernels.lanes() is None,
}


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.skipif(lacking, reason=f"no {name} in this machine"))
    for name, lacking in LACKING.items()
])
def test_every_backend_draws_the_library_s_pictures(name, folder, generator):
    noise, classes = vectors(3)
    backend = BACKENDS[name](Network(weights.load(128, folder), 1.0))
    styles = next(generator.styles(torch.tensor(noise).float(), torch.tensor(classes).float()))
    pictures = backend(styles)
    assert psnr(pictures, load(folder, "biggan-reference").pictures(noise, classes)) > 90
    assert torch.equal(backend(styles[1:2]).cpu(), pictures[1:2].cpu())


def test_a_device_short_of_memory_draws_fewer_at_once(folder, generator, monkeypatch):
    noise, classes = vectors(4)
    plain = backends.TorchBackend(Network(weights.load(128, folder), 1.0), "cpu")
    plain.at_once = 4
    draw = plain.draw

    def draw_two(styles):
        if len(styles) > 2:
            raise torch.OutOfMemoryError
        return draw(styles)

    monkeypatch.setattr(plain, "draw", draw_two)
    styles = next(generator.styles(torch.tensor(noise).float(), torch.tensor(classes).float()))
    assert psnr(plain(styles), drawn(generator, noise, classes)) > 90
    assert plain.at_once == 2
    monkeypatch.setattr(plain, "draw", lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(MediaError, match="does not hold one picture"):
        plain(styles)


def test_precisions_that_draw_other_pictures_are_not_chosen(folder):
    network = Network(weights.load(128, folder), 1.0)
    assert not backends.is_faithful(network, "cpu", torch.bfloat16)
    assert backends.is_faithful(network, "cpu", torch.float32)


@pytest.mark.skipif(backends.openvino is None, reason="no OpenVINO for this system")
def test_the_lowest_precision_of_a_cpu_draws_nearly_the_same(folder, generator):
    noise, classes = vectors(5)
    rough = load(folder, precision="lowest")
    if "BF16" not in backends.openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert rough.runs_on == generator.runs_on
    else:
        assert rough.runs_on == "OpenVINO on the CPU, bfloat16"
        assert 22 <= psnr(drawn(rough, noise, classes), drawn(generator, noise, classes)) < 50
    whole = rough.frames(noise, classes)
    assert np.array_equal(whole[3:4], rough.frames(noise[3:4], classes[3:4]))


@pytest.mark.skipif(backends.openvino is None, reason="no OpenVINO for this system")
def test_what_openvino_compiled_is_kept_whatever_becomes_of_it(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "cache", lambda: tmp_path)
    monkeypatch.setattr(backends, "KEPT", 2)
    wanted = None
    for truncation in (0.2, 0.5, 1.0):
        network = Network(weights.load(128, folder), truncation)
        wanted = backends.OpenVINOBackend(network)(backends.trial(network, 1))
        (*_, newest) = sorted(tmp_path.iterdir(), key=lambda file: file.stat().st_mtime)
    assert len(list(tmp_path.iterdir())) == 2 and newest.stat().st_size > 10_000_000
    whole = newest.read_bytes()
    for content in (whole, whole[:len(whole) // 2], b""):
        newest.unlink()
        newest.write_bytes(content)
        backend = backends.OpenVINOBackend(network)
        assert backend.compiled.get_property("LOADED_FROM_CACHE") == (content == whole)
        assert torch.equal(backend(backends.trial(network, 1)), wanted)
        assert newest.stat().st_size > 0.9 * len(whole)


@pytest.mark.skipif(backends.openvino is None, reason="no OpenVINO for this system")
def test_a_cache_that_cannot_be_is_done_without(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(backends, "cache", lambda: tmp_path / "file" / "openvino")
    backends.OpenVINOBackend(Network(weights.load(128, folder), 1.0))


@pytest.mark.skipif(not kernels.lanes(), reason="no AVX2 in this machine")
def test_pictures_do_not_depend_on_how_many_cores_there_are(folder, monkeypatch):
    network = Network(weights.load(128, folder), 1.0)
    styles, drawn = backends.trial(network, 3), []
    for cores in (1, 2, 6):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "get_num_threads", lambda: cores)
            backend = backends.KernelBackend(network, kernels.lanes())
        drawn.append(backend(styles))
    assert backend.ops.parts == 2
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


@pytest.mark.skipif(backends.openvino is None and not kernels.lanes(), reason="nothing but torch for this system")
def test_the_faster_of_two_is_taken_and_says_what_it_is(folder, generator):
    network = Network(weights.load(128, folder), 1.0)
    slow = backends.TorchBackend(network, "cpu")
    assert backends.fastest([slow, generator.backend], network) is generator.backend
    assert slow.name == "torch on cpu, float32"
    if kernels.lanes():
        assert generator.runs_on == f"kernels of {kernels.lanes()} lanes on the CPU, float32"
    else:
        assert generator.runs_on == "OpenVINO on the CPU, float32"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_draws_the_same_pictures(folder):
    reference = load(folder, "biggan-reference")
    same_picture(load(folder, device="cuda", precision="fp32"), reference)
    noise, classes = vectors(5)
    fast = load(folder, device="cuda")
    assert psnr(drawn(fast, noise, classes).cpu(), reference.pictures(noise, classes)) >= 50
    whole = fast.frames(noise, classes)
    assert np.array_equal(whole[3:4], fast.frames(noise[3:4], classes[3:4]))


def test_folded_upsampling_is_a_doubling_and_a_convolution():
    x, weight = torch.randn(1, 5, 6, 7, dtype=torch.double), torch.randn(4, 5, 3, 3)
    doubled = torch.nn.functional.interpolate(x, scale_factor=2)
    wanted = torch.nn.functional.conv2d(doubled, weight.double(), padding=1)
    weight = backends.fold_upsampling(weight).double()
    found = torch.nn.functional.conv_transpose2d(x, weight, stride=2, padding=1)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_frames_do_not_depend_on_their_batch(generator):
    noise, classes = vectors(10)
    whole = generator.frames(noise, classes)
    pieces = [generator.frames(noise[a:b], classes[a:b]) for a, b in ((0, 1), (1, 4), (4, 10))]
    assert whole.shape == (10, 128, 128, 3) and whole.dtype == np.uint8
    assert np.array_equal(np.concatenate(pieces), whole)
    assert len({picture.tobytes() for picture in whole}) == 10


def test_the_reference_is_a_generator_too(folder, generator):
    reference = load(folder, "biggan-reference")
    noise, classes = vectors(2)
    difference = reference.frames(noise, classes).astype(int) - generator.frames(noise, classes)
    assert np.abs(difference).max() <= 1
    assert len(reference.labels) == 1000 and reference.noise_dim == 128


def test_what_biggan_has_not_is_named(folder):
    with pytest.raises(ValueError, match="resolution: BigGAN has 128, 256, 512, not 300"):
        load(folder, resolution=300)
    with pytest.raises(ValueError, match="truncation: 1.5 is not in"):
        load(folder, truncation=1.5)
    with pytest.raises(ValueError, match="device: unknown name 'gpu'"):
        load(folder, device="gpu")
    for precision, complaint in (("int4", "unknown 'int4'"), ("bf16", "on a CPU draws other pictures")):
        with pytest.raises(ValueError, match=f"precision: .*{complaint}"):
            backends.start(None, ["cpu"], precision)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line():
    with pytest.raises(MediaError, match="device cuda: not in this machine"):
        load(None, device="cuda")
    with pytest.raises(MediaError, match="device cuda:3: not in this machine"):
        backends.devices("cuda:3")


# Weights


def refusal(resolution, folder):
    with pytest.raises(MediaError) as caught:
        weights.load(resolution, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_may_have_their_published_names_or_be_safetensors(folder, tmp_path):
    published, tensors = tmp_path / "published", tmp_path / "tensors"
    published.mkdir(), tensors.mkdir()
    (published / "biggan-deep-128-pytorch_model.bin").symlink_to(folder / "pytorch_model.bin")
    (published / "biggan-deep-128-config.json").symlink_to(folder / "config.json")
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    save_file({key: value.contiguous() for key, value in state.items()}, tensors / "model.safetensors")
    for other in (published, tensors):
        assert torch.equal(weights.load(128, other).embeddings.weight, state["embeddings.weight"])


def test_weights_of_another_resolution_are_refused(folder, tmp_path):
    assert "not the weights of resolution 256" in refusal(256, folder)
    (tmp_path / "pytorch_model.bin").symlink_to(folder / "pytorch_model.bin")
    assert "not the weights of BigGAN-deep 256 (has no generator.layers.11." in refusal(256, tmp_path)


class Hostile:
    """A pickle that runs code when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_folders_of_junk_are_one_line(folder, tmp_path):
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    whole = (folder / "pytorch_model.bin").read_bytes()
    owned = tmp_path / "owned"
    first, other = "embeddings.weight", "generator.conv_to_rgb.bias"
    junk = {
        "truncated": (whole[:len(whole) // 2], "damaged"),
        "text": (b"hello", "damaged"),
        "empty": (b"", "damaged"),
        "hostile": (Hostile(owned), "damaged"),
        "list": ([1, 2, 3], "no weights of a model"),
        "numbers": ({"a": 1}, "no weights of a model"),
        "lacking": ({k: v for k, v in state.items() if k != other}, f"has no {other}"),
        "surplus": (state | {"extra": torch.zeros(1)}, "has extra, which the model has not"),
        "shape": (state | {first: torch.zeros(128, 7)}, r"embeddings.weight is (128, 7), not (128, 1000)"),
    }
    for name, (content, complaint) in junk.items():
        file = tmp_path / name / "pytorch_model.bin"
        file.parent.mkdir()
        file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
        message = refusal(128, file.parent)
        assert complaint in message and name in message, message
    assert not owned.exists()
    assert "no such folder" in refusal(128, tmp_path / "missing")
    assert "holds no BigGAN weights of resolution 128 (wants model.safetensors or" in refusal(128, tmp_path)
    (tmp_path / "config.json").write_text("hello")
    assert "not a configuration" in refusal(128, tmp_path)


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
        self.wfile.write(data[start:start + (self.limit or len(data))])

    def log_message(self, *_):
        pass


@pytest.fixture
def source(folder, tmp_path, monkeypatch):
    """The weights on a server of this machine, and an empty cache."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(Files, "limit", None)
    monkeypatch.setattr(Files, "sent", 0)
    monkeypatch.setattr(weights, "cache", lambda: tmp_path / "cache")
    monkeypatch.setitem(weights.SOURCES, 128, [f"http://127.0.0.1:{server.server_port}/pytorch_model.bin"])
    yield tmp_path / "cache"
    server.shutdown()
    thread.join()
    server.server_close()


def kept(cache):
    """What is in a cache; only its locks are hidden."""
    return list(cache.glob("[!.]*"))


def test_two_runs_share_a_download(source):
    with ThreadPoolExecutor(2) as pool:
        files = set(pool.map(weights.fetch, [128, 128]))
    assert kept(source) == list(files)
    assert Files.sent == 1


def test_a_download_breaks_off_resumes_and_is_kept(source, monkeypatch):
    monkeypatch.setattr(Files, "limit", 100_000_000)
    with pytest.raises(MediaError, match="could not be downloaded .*biggan-deep-128-pytorch_model.bin.*--generator pocket"):
        weights.fetch(128)
    (part,) = kept(source)
    have = part.stat().st_size
    assert 0 < have <= 100_000_000
    monkeypatch.setattr(Files, "limit", None)
    file = weights.fetch(128)
    assert kept(source) == [file]
    monkeypatch.setitem(weights.SOURCES, 128, [])              # offline from here on
    assert weights.load(128).config.output_dim == 128


def test_a_damaged_download_leaves_the_cache_clean(source, monkeypatch):
    monkeypatch.setitem(weights.CHECKSUMS, 128, "0" * 64)
    with pytest.raises(MediaError, match="the download is damaged"):
        weights.fetch(128)
    assert not kept(source)


def test_a_full_disk_is_named_before_it_is_full(source, monkeypatch):
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(MediaError, match="MB of weights do not fit"):
        weights.fetch(128)
    assert not kept(source)


def test_offline_without_weights_names_files_place_and_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "cache", lambda: tmp_path)
    monkeypatch.setitem(weights.SOURCES, 512, ["http://127.0.0.1:9/nothing"])
    with pytest.raises(MediaError) as caught:
        generators.load("biggan", resolution=512)
    message = str(caught.value)
    assert "\n" not in message
    for wanted in ("biggan-deep-512-pytorch_model.bin", str(tmp_path), "--generator pocket", "GENERATOR=pocket"):
        assert wanted in message


def test_the_configuration_is_the_librarys_own():
    from pytorch_pretrained_biggan import BigGANConfig

    assert json.loads(json.dumps(weights.configuration(128).to_dict())) == json.loads(json.dumps(BigGANConfig().to_dict()))
