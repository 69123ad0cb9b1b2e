"""The registry of generators."""

import shutil
import subprocess
import sys

import pytest
from test_notes import midi_file

from conftest import GOLDEN, ROOT, command, read_frames
from musicvideo import files
from musicvideo.vision import generators
from musicvideo.vision.generators import pocket


def test_every_record_is_complete():
    shipped = ["biggan", "pocket", "cppn", "biggan-reference"]
    assert [name for name in generators.NAMES if name in shipped] == shipped
    for name in generators.NAMES:
        record = generators.find(name)
        assert record.name == name and record.help and "\n" not in record.help
        assert record.resolutions is None or all(isinstance(size, int) for size in record.resolutions)
        names = generators.labels(name)
        assert names and all(isinstance(label, str) for label in names)
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
    with pytest.raises(
        ValueError, match="generator: unknown name 'gan' .choose biggan, .*pocket.*, cppn.*, or train one"
    ):
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
        ("from musicvideo.vision import job", ("torch", "scipy.stats", "jsonschema")),
        ("from musicvideo.vision import transcription", ("torch", "jsonschema")),
    ],
)
def test_what_is_not_needed_is_not_imported(code, lazy):
    imported = f"sorted(sys.modules.keys() & {lazy})"
    program = f"import sys; from musicvideo.vision import generators; {code}; print({imported})"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_a_generator_is_a_module_and_a_line(tmp_path):
    """Every command knows it then: here one draws with it, by make's default mapping, without a conduct table."""
    shutil.copytree(ROOT / "musicvideo", tmp_path / "musicvideo", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "visualize.py", tmp_path)
    folder = tmp_path / "musicvideo" / "vision" / "generators"
    shutil.copy(ROOT / "tests" / "toy_generator.py", folder / "toy.py")
    registry = (folder / "__init__.py").read_text()
    (folder / "__init__.py").write_text(registry.replace('    "cppn",\n', '    "cppn",\n    "toy",\n'))
    notes = midi_file(tmp_path / "a.mid", [("Voice", 0, 52, [(0, 480, 60, 90), (480, 480, 64, 90)])])
    words = f"--generator toy --resolution 32 --fps 5 --duration 1 --mapping score --midi {notes}".split()
    drawn = command("visualize.py", "--song", GOLDEN / "arpeggio.flac", *words, cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    frames = read_frames(tmp_path / "output.mp4", "rgb24")
    assert frames.shape == (5, 32, 32, 3) and frames.std() > 5
    assert "sky" in command("visualize.py", "--generator", "toy", "--list_classes", cwd=tmp_path).stdout
