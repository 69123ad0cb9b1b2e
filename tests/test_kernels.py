"""The kernels that BigGAN is drawn by on x86 processors, against torch in double precision."""

import functools

import pytest
import torch
import torch.nn.functional as F

from musicvideo.vision.generators import kernels
from musicvideo.vision.generators.backends.kernel_backend import Activated, KernelOps, Rows
from musicvideo.vision.generators.backends.torch_backend import TorchOps

pytestmark = pytest.mark.skipif(kernels.lanes() is None, reason="no AVX2 in this machine")


@pytest.fixture(params=[8, 16], ids="{} lanes".format)
def ops(request):
    """Kernels for both sizes of registers. Where there are only short ones, LLVM makes two of each long one."""
    return KernelOps(request.param)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def activated(*shape):
    """A picture with its affine, and their result for torch: (1, C, H, W) in double precision."""
    x, scale, offset = torch.randn(shape), torch.randn(shape[2]), torch.randn(shape[2])
    made = (x.double() * scale + offset).relu().permute(2, 0, 1)[None]
    return Activated(x, scale, offset), made


def snr(found, wanted):
    """Signal to noise ratio in dB of a picture (H, W, C) against (1, C, H, W)."""
    wanted = wanted[0].permute(1, 2, 0)
    assert found.shape == wanted.shape
    return float(10 * torch.log10(wanted.square().mean() / (found - wanted).square().mean()))


def test_transformed_kernels_convolve_by_multiplications_of_single_numbers():
    """The identity itself, in exact arithmetic but for rounding: Y = A' [(G g G') * (B' d B)] A."""
    g, d = torch.randn(1, 1, 3, 3), torch.randn(6, 6, dtype=torch.double)
    points = torch.tensor(kernels.POINTS, dtype=torch.double)
    out = torch.cat([points[:, None] ** torch.arange(4), torch.tensor([[0, 0, 0, 1.0]])])  # A, infinity last
    into = torch.zeros(6, 6, dtype=torch.double)  # B'
    for row in range(6):
        coefficients = torch.ones(1, dtype=torch.double)
        for point in [point for place, point in enumerate(points) if place != row]:
            coefficients = F.pad(coefficients, (1, 0)) - point * F.pad(coefficients, (0, 1))
        into[row, : len(coefficients)] = coefficients
    products = kernels.transform_kernels(g).view(6, 6) * (into @ d @ into.T)
    assert torch.allclose(out.T @ products @ out, F.conv2d(d[None, None], g.double())[0, 0], atol=1e-5)


@pytest.mark.parametrize("upsampled", [False, True])
@pytest.mark.parametrize(
    "height, width, channels, out_channels",
    [
        (16, 16, 64, 32),
        (16, 48, 32, 96),
        (64, 64, 96, 64),
        (32, 256, 32, 32),
    ],
)
def test_a_3x3_convolution(ops, height, width, channels, out_channels, upsampled):
    x, made = activated(height >> upsampled, width >> upsampled, channels)
    weight = torch.randn(out_channels, channels, 3, 3) / (9 * channels) ** 0.5
    if upsampled:
        made = F.interpolate(made, scale_factor=2)
    wanted = F.conv2d(made, weight.double(), padding=1)
    found = ops.upsample_conv(x, weight) if upsampled else ops.conv(x, weight)
    assert isinstance(found, Rows)
    assert snr(found(), wanted) > 110
    assert torch.equal(torch.cat([strip() for strip in found.split(2)]), found())


@pytest.mark.parametrize("upsampled", [False, True])
@pytest.mark.parametrize(
    "height, out_channels, size",
    [
        (4, 32, (3, 3)),
        (8, 96, (3, 3)),
        (32, 9, (1, 3)),
        (32, 5, (3, 3)),
    ],
)
def test_small_pictures_and_few_channels_are_convolved_by_taps(ops, height, out_channels, size, upsampled):
    x, made = activated(height, 8, 64)
    weight = torch.randn(out_channels, 64, *size) / 24
    if upsampled:
        made = F.interpolate(made, scale_factor=2)
    wanted = F.conv2d(made, weight.double(), padding=[length // 2 for length in size])
    assert snr(ops.by_taps(x, weight, upsampled), wanted) > 120


def test_threads_share_an_operation_and_change_nothing(ops):
    several = KernelOps(ops.kernels.width // 2, parts=3, cores=2)
    x, _ = activated(48, 32, 64)
    for weight in (torch.randn(64, 64, 3, 3), torch.randn(128, 64, 1, 1)):
        shared, alone = (one.conv(x, weight) for one in (several, ops))
        if isinstance(alone, Rows):
            shared, alone = shared(), alone()
        assert torch.equal(shared, alone)


@pytest.mark.parametrize("channels, out_channels", [(64, 32), (32, 128), (512, 64)])
@pytest.mark.parametrize("height, width", [(4, 4), (10, 20), (32, 32)])
def test_a_pointwise_convolution_and_its_skip_path(ops, height, width, channels, out_channels):
    x, made = activated(height, width, channels)
    weight, bias = torch.randn(out_channels, channels, 1, 1) / channels**0.5, torch.randn(out_channels)
    wanted = F.conv2d(made, weight.double())
    assert snr(ops.conv(x, weight), wanted) > 120
    assert snr(ops.conv(x.x, weight), F.conv2d(x.x.double().permute(2, 0, 1)[None], weight.double())) > 120
    wanted += bias.view(1, -1, 1, 1)
    beside, factor = torch.randn(height, width, out_channels + 32), torch.randn(1, out_channels, 1, 1)
    skip = ops.first_channels(beside, out_channels)
    added = skip.double().permute(2, 0, 1)[None]
    assert snr(ops.conv_add(skip, x, weight, bias), wanted + added) > 120
    assert snr(ops.conv_add(ops.scale(skip, factor), x, weight, bias), wanted + factor * added) > 120
    small = ops.first_channels(torch.randn(height // 2, width // 2, out_channels + 32), out_channels)
    added = F.interpolate(small.double().permute(2, 0, 1)[None], scale_factor=2)
    assert snr(ops.conv_add(ops.upsample(small), x, weight, bias), wanted + added) > 120
    assert snr(ops.conv_add(ops.upsample(ops.scale(small, factor)), x, weight, bias), wanted + factor * added) > 120


@pytest.mark.parametrize("size", [4, 8, 16])  # 4, 16 and 64 keys: fewer than a block, and whole ones
def test_attention(ops, size):
    half = size // 2
    query, key, value = torch.randn(size, size, 32), torch.randn(half, half, 32), torch.randn(half, half, 64)
    flat = (x.double().flatten(0, 1) for x in (query, key, value))
    wanted = F.scaled_dot_product_attention(*flat, scale=1.0).T.reshape(1, 64, size, size)
    assert snr(ops.attention(query, key, value), wanted) > 110
    wanted = F.max_pool2d(value.double().permute(2, 0, 1)[None], 2)
    assert snr(ops.max_pool(value), wanted) > 120


@pytest.mark.parametrize("channels", [3, 4])
def test_rows_of_kernels_are_summed_to_colours(ops, channels):
    x, bias = torch.randn(16, 24, 3 * channels), torch.randn(channels)
    as_torch = functools.partial(torch.permute, dims=(2, 0, 1))
    wanted = TorchOps(lambda weight: weight.double()).sum_rows(as_torch(x.double())[None], bias)
    assert snr(ops.sum_rows(x, bias), wanted) > 120


def test_memory_is_used_again_only_when_nothing_is_left_on_it(ops):
    first = ops.empty(4, 5).fill_(1)
    view = first[1:]
    place = first.data_ptr()
    del first
    assert ops.empty(20).data_ptr() != place and view.sum() == 15
    del view
    assert ops.empty(5, 4).data_ptr() == place


# Arguments that must not reach the kernels: they would read and write beyond the arrays.


def pointwise(ops, height=8, width=8, channels=64, out_channels=32, **changes):
    """Call the kernel as `ops.pointwise` does, with some arguments changed."""
    given = {
        "x": torch.randn(height, width, channels),
        "matrix": ops.kernels.pack(torch.randn(out_channels, channels)),
        "y": torch.empty(height, width, out_channels),
        "work": torch.empty(kernels.PIXELS * channels),
        "begin": 0,
        "end": height * width,
        "scale": torch.randn(channels),
        "offset": torch.randn(channels),
        "bias": torch.randn(out_channels),
        "skip": torch.randn(height, width, out_channels),
        "factor": torch.randn(out_channels),
    }
    ops.kernels.pointwise(**{**given, **changes})


def winograd(ops, height=16, width=16, channels=64, out_channels=32, **changes):
    group, work = ops.kernels.group(height, width, channels)
    given = {
        "x": torch.randn(height, width, channels),
        "scale": torch.randn(channels),
        "offset": torch.randn(channels),
        "matrix": ops.kernels.pack(kernels.transform_kernels(torch.randn(out_channels, channels, 3, 3))),
        "y": torch.empty(height, width, out_channels),
        "work": torch.empty(work),
        "begin": 0,
        "end": height // kernels.TILE,
        "top": 0,
        "group": group,
        "upsampled": False,
    }
    ops.kernels.winograd(**{**given, **changes})


def told(changes):
    """Arguments as the name of a test: arrays by shape and strides."""
    return ", ".join(
        f"{name} {tuple(value.shape)} by {value.stride()} {value.dtype}" if isinstance(value, torch.Tensor)
        else f"{name} {value}" for name, value in changes.items()
    )  # fmt: skip


def test_what_fits_is_computed(ops):
    pointwise(ops)
    pointwise(ops, skip=torch.randn(8, 8, 48)[..., :32])
    pointwise(ops, skip=torch.randn(4, 4, 32), upsampled=True)
    pointwise(ops, channels=7, scale=None, offset=None)
    winograd(ops)
    winograd(ops, x=torch.randn(8, 8, 64), upsampled=True)
    winograd(ops, y=torch.empty(8, 16, 32), top=2, begin=2, end=4)


@pytest.mark.parametrize(
    "changes",
    [
        {"x": torch.randn(8, 8, 80)[..., :64]},  # a view of channels: silently other pictures
        {"x": torch.randn(8, 8, 64).transpose(0, 1)},
        {"x": torch.randn(8, 8, 64).double()},
        {"x": torch.randn(8, 8, 64).half()},
        {"x": torch.randn(8, 8, 60)},
        {"x": torch.randn(64, 64)},
        {"channels": 60},  # no whole registers: writes beyond the end
        {"channels": 0},
        {"y": torch.empty(8, 8, 31)},
        {"y": torch.empty(7, 8, 32)},
        {"y": torch.empty(8, 8, 64)[..., :32]},
        {"work": torch.empty(kernels.PIXELS * 64 - 1)},
        {"begin": -8},
        {"begin": 8, "end": 8},
        {"end": 72},
        {"end": 62},  # no whole number of rows of the product
        {"scale": torch.randn(63)},
        {"scale": None},
        {"offset": torch.randn(128)[::2]},
        {"bias": torch.randn(31)},
        {"bias": None},
        {"factor": torch.randn(64)},
        {"skip": torch.randn(8, 8, 31)},
        {"skip": torch.randn(8, 9, 32)},
        {"skip": torch.randn(4, 4, 32)},
        {"skip": torch.randn(16, 8, 32)[::2]},
        {"skip": torch.randn(32, 8, 8).permute(1, 2, 0)},
        {"skip": torch.randn(8, 8, 32), "upsampled": True},
        {"height": 7, "width": 8, "skip": torch.randn(3, 4, 32), "upsampled": True},
    ],
    ids=told,
)
def test_a_pointwise_kernel_refuses_what_does_not_fit(ops, changes):
    with pytest.raises((TypeError, RuntimeError)):
        pointwise(ops, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"x": torch.randn(16, 16, 80)[..., :64]},
        {"x": torch.randn(16, 16, 64).double()},
        {"x": torch.randn(16, 12, 64)},
        {"x": torch.randn(16, 16, 64), "upsampled": True},
        {"channels": 60},
        {"height": 18},
        {"width": 18},
        {"scale": torch.randn(63)},
        {"offset": torch.randn(128)[::2]},
        {"matrix": torch.randn(1, 9, 64, 32)},
        {"y": torch.empty(16, 16, 16)},
        {"y": torch.empty(12, 16, 32)},
        {"y": torch.empty(16, 16, 64)[..., :32]},
        {"work": torch.empty(1000)},
        {"group": 0},
        {"group": 100},
        {"begin": -1},
        {"begin": 2, "end": 2},
        {"end": 5},
        {"top": 1},
        {"y": torch.empty(8, 16, 32), "top": 2, "begin": 1, "end": 4},
        {"y": torch.empty(8, 16, 32), "top": 3, "begin": 3, "end": 5},
    ],
    ids=told,
)
def test_winograds_kernel_refuses_what_does_not_fit(ops, changes):
    with pytest.raises(TypeError):
        winograd(ops, **changes)


def test_arrays_that_are_written_share_no_memory_with_others(ops):
    x = torch.randn(8, 8, 32)
    with pytest.raises(TypeError, match="shares memory"):
        pointwise(ops, channels=32, x=x, y=x)
    both = torch.empty(2, 16, 16, 64)
    with pytest.raises(TypeError, match="shares memory"):
        winograd(ops, out_channels=64, x=both[0], y=both[1])


def test_channels_that_fill_no_registers_are_refused_by_the_operations_too(ops):
    x, _ = activated(16, 16, 60)
    weight = torch.randn(32, 60, 3, 3)
    assert not ops.kernels.fits(16, 16, weight)
    with pytest.raises(TypeError, match="60 channels are no multiple"):
        ops.conv(x, weight)
    view = Activated(torch.randn(16, 16, 80)[..., :64], torch.randn(64), torch.randn(64))
    for size in (1, 3):
        with pytest.raises(TypeError, match="x: must be contiguous"):
            found = ops.conv(view, torch.randn(32, 64, size, size))
            found()
