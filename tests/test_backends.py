"""Backends of BigGAN's network: all draw the same pictures, state what they are, and stop on Ctrl-C."""

import copy
import signal
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from pytorch_pretrained_biggan import BigGANConfig

from conftest import ROOT
from musicvideo import caches
from musicvideo.errors import MediaError
from musicvideo.vision import openvino_networks
from musicvideo.vision.generators import kernels
from musicvideo.vision.generators.backends import choosing, kernel_backend, operations
from musicvideo.vision.generators.backends.kernel_backend import KernelBackend
from musicvideo.vision.generators.backends.openvino_backend import OpenVINOBackend
from musicvideo.vision.generators.backends.torch_backend import TorchBackend
from musicvideo.vision.generators.biggan.network import Network
from musicvideo.vision.generators.random_weights import random_model

# The fewest blocks that lead to 128 pixels, where pictures are split into strips. Kernels of 16 lanes need this width.
CONFIGURATION = BigGANConfig(
    output_dim=128, channel_width=128, num_classes=10, attention_layer_position=3,
    layers=[(True, 16, 8), (True, 8, 4), (True, 4, 2), (True, 2, 1), (True, 1, 1)],
)  # fmt: skip

needs_openvino = pytest.mark.skipif(not openvino_networks.installed(), reason="no OpenVINO for this system")
needs_kernels = pytest.mark.skipif(kernels.lanes() is None, reason="no AVX2 in this machine")


@pytest.fixture(scope="module")
def whole():
    return random_model(CONFIGURATION, batch=2)


@pytest.fixture(scope="module")
def network(whole):
    return Network(copy.deepcopy(whole), 1.0)


@pytest.fixture(scope="module")
def tiny_model():
    """A model an eighth as wide, for tests that do not depend on the width."""
    return random_model(BigGANConfig(**{**CONFIGURATION.to_dict(), "channel_width": 16}), batch=2)


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return Network(copy.deepcopy(tiny_model), 1.0)


@pytest.fixture(scope="module")
def styles(network):
    return choosing.trial(network, 3)


@pytest.fixture(scope="module")
def pictures(network, styles):
    """What the styles draw by torch, which test_biggan.py compares with the library."""
    return TorchBackend(network, "cpu")(styles)


def psnr(found, wanted):
    """Peak signal to noise ratio in dB, on -1..1."""
    return float(10 * torch.log10(4 / (found - wanted).square().mean()))


def test_torch_draws_the_library_s_pictures(whole, network):
    noise, classes = torch.randn(2, 128), torch.rand(2, 10)
    with torch.inference_mode():
        wanted = whole(noise, classes, 1.0)
    assert wanted.std() > 0.1
    condition = torch.cat([noise, classes @ whole.embeddings.weight.T], 1)
    styles = F.linear(condition, network.style_weight, network.style_bias)
    assert psnr(TorchBackend(network, "cpu")(styles), wanted) > 90


# The kernels of 16 lanes are compiled for half as wide registers where there are no others.
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(OpenVINOBackend, marks=needs_openvino, id="OpenVINO"),
        pytest.param(lambda network: KernelBackend(network, 16), marks=needs_kernels, id="16 lanes"),
        pytest.param(lambda network: KernelBackend(network, 8), marks=needs_kernels, id="8 lanes"),
    ],
)
def test_every_backend_draws_the_same_pictures(make, network, styles, pictures):
    backend = make(network)
    found = backend(styles)
    assert psnr(found, pictures) > 90
    assert torch.equal(backend(styles[1:2]), found[1:2])
    assert torch.equal(backend(styles.repeat(3, 1)), found.repeat(3, 1, 1, 1))
    assert backend.computed_by["backend"] == backend.name


def test_a_device_short_of_memory_draws_fewer_at_once_and_says_so(tiny, monkeypatch):
    plain, styles = TorchBackend(tiny, "cpu"), choosing.trial(tiny, 3)
    pictures = plain(styles)
    plain.batch = 4
    draw, before = plain.draw, plain.computed_by

    def draw_two(some):
        if len(some) > 2:
            raise torch.OutOfMemoryError
        return draw(some)

    monkeypatch.setattr(plain, "draw", draw_two)
    assert psnr(plain(styles), pictures) > 90
    assert plain.batch == 2 and plain.computed_by == {**before, "batch": "2"} != before
    monkeypatch.setattr(plain, "draw", lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(MediaError, match="does not hold one picture"):
        plain(styles)


def test_precisions_that_draw_other_pictures_are_not_chosen(tiny):
    assert not choosing.is_faithful(tiny, "cpu", torch.bfloat16)
    assert choosing.is_faithful(tiny, "cpu", torch.float32)
    for precision, complaint in (("int4", "unknown 'int4'"), ("bf16", "on a CPU draws other pictures")):
        with pytest.raises(ValueError, match=f"precision: .*{complaint}"):
            choosing.start(network, ["cpu"], precision)


@needs_openvino
def test_the_lowest_precision_of_a_cpu_draws_nearly_the_same(network, styles, pictures):
    rough = choosing.start(network, ["cpu"], "lowest")
    found = rough(styles)
    if openvino_networks.has_bf16():
        assert rough.name == "OpenVINO on the CPU, bfloat16"
        assert 22 <= psnr(found, pictures) < 50
    else:
        assert rough.name == choosing.start(network, ["cpu"], "auto").name
    assert torch.equal(rough(styles[2:3]), found[2:3])


@needs_openvino
def test_no_bf16_is_asked_of_a_processor_without_it(network, monkeypatch):
    monkeypatch.setattr(openvino_networks, "has_bf16", lambda: False)
    assert "float32" in choosing.start(network, ["cpu"], "lowest").name


@needs_kernels
def test_kernels_draw_what_they_can_unless_switched_off(network, monkeypatch):
    assert choosing.start(network, ["cpu"], "auto").name == f"kernels of {kernels.lanes()} lanes on the CPU, float32"
    monkeypatch.setenv("MUSICVIDEO_KERNELS", "0")
    other = "OpenVINO on the CPU, float32" if openvino_networks.installed() else "torch on cpu, float32"
    assert choosing.start(network, ["cpu"], "auto").name == other
    narrow = type("Narrow", (), {"width": 24})()
    assert not kernel_backend.suits(narrow, 8)
    with pytest.raises(ValueError, match="width: 24 is not a multiple of 64"):
        KernelBackend(narrow, 8)


@needs_kernels
def test_pictures_do_not_depend_on_how_many_cores_there_are(network, styles, monkeypatch):
    drawn = []
    for cores in (1, 2, 6):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "get_num_threads", lambda: cores)
            backend = KernelBackend(network, kernels.lanes())
        drawn.append(backend(styles))
    assert backend.ops.parts == 2
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


def test_the_faster_of_two_is_taken(tiny):
    class Timed:
        def __init__(self, seconds):
            self.batch, self.seconds = 2, seconds

        def __call__(self, styles):
            clock[0] += self.seconds
            return styles

    clock = [0.0]
    fast, slow = Timed(1), Timed(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing.time, "perf_counter", lambda: clock[0])
        assert choosing.fastest([slow, fast], tiny) is choosing.fastest([fast, slow], tiny) is fast


def test_devices_are_found_by_name():
    assert choosing.devices("auto")[-1] == "cpu" and choosing.devices("cpu") == ["cpu"]
    for name in ("gpu", "cuda:x", "cpu:1", ""):
        with pytest.raises(ValueError, match=f"device: unknown name '{name}'"):
            choosing.devices(name)
    with pytest.raises(MediaError, match="device cuda:99: not in this machine"):
        choosing.devices("cuda:99")


def test_folded_upsampling_is_a_doubling_and_a_convolution():
    x, weight = torch.randn(1, 5, 6, 7, dtype=torch.double), torch.randn(4, 5, 3, 3)
    doubled = F.interpolate(x, scale_factor=2)
    wanted = F.conv2d(doubled, weight.double(), padding=1)
    found = F.conv_transpose2d(x, operations.fold_upsampling(weight).double(), stride=2, padding=1)
    assert torch.allclose(found, wanted, atol=1e-5)


# What OpenVINO compiled


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "folder", lambda kind: tmp_path / kind)
    return tmp_path / "openvino"


@pytest.fixture
def compilations(monkeypatch):
    """Counts the networks that OpenVINO compiles."""
    count = [0]

    class Core(openvino_networks.openvino.Core):
        def compile_model(self, *arguments):
            count[0] += 1
            return super().compile_model(*arguments)

    monkeypatch.setattr(openvino_networks.openvino, "Core", Core)
    return count


def middle_changed(content):
    """4 kB of the middle inverted."""
    middle = len(content) // 2
    return content[:middle] + bytes(255 - byte for byte in content[middle : middle + 4096]) + content[middle + 4096 :]


@needs_openvino
def test_a_compiled_network_is_kept_and_a_damaged_one_is_compiled_again(tiny, cache, compilations):
    styles = choosing.trial(tiny, 2)
    wanted = OpenVINOBackend(tiny)(styles)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    assert compilations == [1] and len(whole) > 1_000_000
    for damage, compiled in (
        (bytes, 0),
        (middle_changed, 1),
        (lambda content: content[: len(content) // 2], 1),
        (lambda content: b"", 1),
        (lambda content: b"\0" * len(content), 1),
    ):
        compilations[0] = 0
        file.write_bytes(damage(whole))
        assert torch.equal(OpenVINOBackend(tiny)(styles), wanted)
        assert compilations == [compiled]
        assert caches.recall(file) is not None


@needs_openvino
def test_a_whole_file_that_is_no_network_is_compiled_again(tiny, cache, compilations):
    wanted = OpenVINOBackend(tiny)(choosing.trial(tiny, 2))
    (file,) = cache.iterdir()
    caches.remember(file, b"of another OpenVINO")
    assert torch.equal(OpenVINOBackend(tiny)(choosing.trial(tiny, 2)), wanted)
    assert compilations == [2]


@needs_openvino
def test_other_networks_are_other_files_and_the_newest_stay(tiny_model, cache, compilations, monkeypatch):
    monkeypatch.setattr(openvino_networks, "MOST_COMPILED", 2)  # to compile fewer here
    for count, truncation in enumerate((0.2, 0.6, 1.0), 1):
        OpenVINOBackend(Network(copy.deepcopy(tiny_model), truncation))
        assert len(list(cache.iterdir())) == min(count, 2)
    OpenVINOBackend(Network(copy.deepcopy(tiny_model), 1.0))
    assert compilations == [3]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    OpenVINOBackend(Network(copy.deepcopy(tiny_model), 1.0))
    assert compilations == [4]


@needs_openvino
def test_a_cache_that_cannot_be_written_is_done_without(tiny, cache):
    cache.touch()
    styles = choosing.trial(tiny, 2)
    assert psnr(OpenVINOBackend(tiny)(styles), TorchBackend(tiny, "cpu")(styles)) > 90
    assert cache.is_file()


# Ctrl-C

PROGRAM = """
import torch
from musicvideo.cli import entry_point
from musicvideo.vision.generators import pocket
from musicvideo.vision.generators.backends import choosing, kernel_backend, openvino_backend
from musicvideo.vision.generators.biggan.network import Network
from musicvideo.vision.generators.random_weights import random_model
from pytorch_pretrained_biggan import BigGANConfig

def openvino():
    network = Network(pocket.model(), 1.0)
    return openvino_backend.OpenVINOBackend(network), choosing.trial(network, 16)

def kernel():
    layers = [(True, 16, 8), (True, 8, 4), (True, 4, 2), (True, 2, 1), (True, 1, 1)]
    torch.set_num_threads(2)
    network = Network(random_model(BigGANConfig(channel_width=64, num_classes=9, layers=layers), batch=2), 1.0)
    return kernel_backend.KernelBackend(network, 8), choosing.trial(network, 16)

def main():
    backend, styles = BACKEND()
    while True:
        print("drawing", flush=True)
        backend(styles)

entry_point(main)
"""


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("openvino", marks=needs_openvino),
        pytest.param("kernel", marks=needs_kernels),
    ],
)
def test_ctrl_c_while_drawing_ends_the_process_in_good_order(backend):
    """Threads of the backend are still running when the interpreter ends; none of them may crash it."""
    command = [sys.executable, "-c", PROGRAM.replace("BACKEND", backend)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(2):
            assert process.stdout.readline() == "drawing\n"
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (130, "interrupted\n")
