"""The registry of generators."""

import subprocess
import sys

import pytest

from conftest import ROOT
from musicvideo import files
from musicvideo.vision import generators
from musicvideo.vision.generators import pocket


def test_every_record_is_complete():
    assert generators.NAMES == ("biggan", "pocket", "cppn", "biggan-reference")
    for name in generators.NAMES:
        record = generators.find(name)
        assert record.name == name and record.help and "\n" not in record.help
        assert record.resolutions is None or all(isinstance(size, int) for size in record.resolutions)
        names = generators.labels(name)
        assert len(set(names)) >= 48 and all(isinstance(label, str) for label in names)
    assert generators.find("biggan").resolutions == (128, 256, 512) and generators.find("pocket").resolutions == (256,)


@pytest.mark.parametrize(
    "call",
    [
        generators.find,
        generators.labels,
        generators.load,
        lambda name: generators.weights_checksum(name, 512),
    ],
)
def test_unknown_names_are_told_the_known_ones(call):
    with pytest.raises(ValueError, match="generator: unknown name 'gan' .choose biggan, pocket, cppn, "):
        call("gan")


def test_checksums_are_those_of_the_weights_that_are_loaded(tmp_path):
    assert generators.weights_checksum("cppn", 512) is None
    assert generators.weights_checksum("pocket", 512) == files.sha256(pocket.WEIGHTS)
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    for name in ("biggan", "biggan-reference"):
        assert generators.weights_checksum(name, 256, tmp_path) == files.sha256(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="resolution: BigGAN has 128, 256, 512, not 300"):
        generators.weights_checksum("biggan", 300, tmp_path)


@pytest.mark.parametrize(
    "code, lazy",
    [
        ("generators.labels('biggan'), generators.labels('cppn')", ("torch", "pytorch_pretrained_biggan", "openvino")),
        ("generators.load('cppn', resolution=16)", ("pytorch_pretrained_biggan", "openvino", "torch", "requests")),
    ],
)
def test_what_is_not_needed_is_not_imported(code, lazy):
    imported = f"sorted(sys.modules.keys() & {lazy})"
    program = f"import sys; from musicvideo.vision import generators; {code}; print({imported})"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_a_generator_is_a_module_and_a_line(monkeypatch):
    from stub import Stub

    record = generators.Record("toy", "flat colours", lambda: Stub.labels, lambda options: Stub(options.resolution))
    monkeypatch.setitem(generators.GENERATORS, "toy", record)
    assert generators.load("toy", resolution=32, truncation=0.5).resolution == 32
    assert generators.labels("toy") == Stub.labels and generators.weights_checksum("toy", 32) is None
