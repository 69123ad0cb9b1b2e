"""The kernels that BigGAN is drawn by on x86 processors, against torch in double precision."""

import functools

import pytest
import torch
import torch.nn.functional as F

from musicvideo.vision.generators import backends, kernels

pytestmark = pytest.mark.skipif(kernels.lanes() is None, reason="no AVX2 in this machine")


@pytest.fixture(params=[
    pytest.param(lanes, marks=pytest.mark.skipif(lanes > (kernels.lanes() or 0), reason="no such registers here"))
    for lanes in (8, 16)
], ids="{} lanes".format)
def ops(request):
    """Kernels for every size of register that this machine has."""
    return backends.KernelOps(request.param)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def activated(*shape):
    """A picture with its affine, and what they make, as torch wants it: (1, C, H, W) in double precision."""
    x, scale, offset = torch.randn(shape), torch.randn(shape[2]), torch.randn(shape[2])
    made = (x.double() * scale + offset).relu().permute(2, 0, 1)[None]
    return backends.Activated(x, scale, offset), made


def snr(found, wanted):
    """Signal to noise ratio in dB of a picture (H, W, C) against (1, C, H, W)."""
    wanted = wanted[0].permute(1, 2, 0)
    assert found.shape == wanted.shape
    return float(10 * torch.log10(wanted.square().mean() / (found - wanted).square().mean()))


def test_transformed_kernels_convolve_by_multiplications_of_single_numbers():
    """The identity itself, in exact arithmetic but for rounding: Y = A' [(G g G') * (B' d B)] A."""
    g, d = torch.randn(1, 1, 3, 3), torch.randn(6, 6, dtype=torch.double)
    points = torch.tensor(kernels.POINTS, dtype=torch.double)
    out = torch.cat([points[:, None] ** torch.arange(4), torch.tensor([[0, 0, 0, 1.0]])])       # A, infinity last
    into = torch.zeros(6, 6, dtype=torch.double)                                                # B'
    for row in range(6):
        coefficients = torch.ones(1, dtype=torch.double)
        for point in [point for place, point in enumerate(points) if place != row]:
            coefficients = F.pad(coefficients, (1, 0)) - point * F.pad(coefficients, (0, 1))
        into[row, :len(coefficients)] = coefficients
    products = kernels.transform_kernels(g).view(6, 6) * (into @ d @ into.T)
    assert torch.allclose(out.T @ products @ out, F.conv2d(d[None, None], g.double())[0, 0], atol=1e-5)


@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("height, width, channels, out_channels", [
    (16, 16, 64, 32), (16, 48, 32, 96), (64, 64, 96, 64), (32, 256, 32, 32),
])
def test_a_3x3_convolution(ops, height, width, channels, out_channels, doubled):
    x, made = activated(height >> doubled, width >> doubled, channels)
    weight = torch.randn(out_channels, channels, 3, 3) / (9 * channels) ** 0.5
    if doubled:
        made = F.interpolate(made, scale_factor=2)
    wanted = F.conv2d(made, weight.double(), padding=1)
    found = ops.doubling_conv(x, weight) if doubled else ops.conv(x, weight)
    assert isinstance(found, backends.Rows)
    assert snr(found(), wanted) > 110
    assert torch.equal(torch.cat([strip() for strip in found.cut(2)]), found())


@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("height, out_channels, size", [
    (4, 32, (3, 3)), (8, 96, (3, 3)), (32, 9, (1, 3)), (32, 5, (3, 3)),
])
def test_small_pictures_and_few_channels_are_convolved_by_taps(ops, height, out_channels, size, doubled):
    x, made = activated(height, 8, 64)
    weight = torch.randn(out_channels, 64, *size) / 24
    if doubled:
        made = F.interpolate(made, scale_factor=2)
    wanted = F.conv2d(made, weight.double(), padding=[length // 2 for length in size])
    assert snr(ops.by_taps(x, weight, doubled), wanted) > 120


def test_threads_share_an_operation_and_change_nothing(ops):
    several = backends.KernelOps(ops.kernels.width // 2, parts=3, cores=2)
    x, _ = activated(48, 32, 64)
    for weight in (torch.randn(64, 64, 3, 3), torch.randn(128, 64, 1, 1)):
        shared, alone = (one.conv(x, weight) for one in (several, ops))
        if isinstance(alone, backends.Rows):
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
    skip = ops.channels(beside, out_channels)
    added = skip.double().permute(2, 0, 1)[None]
    assert snr(ops.conv_onto(skip, x, weight, bias), wanted + added) > 120
    assert snr(ops.conv_onto(ops.scale(skip, factor), x, weight, bias), wanted + factor * added) > 120
    small = ops.channels(torch.randn(height // 2, width // 2, out_channels + 32), out_channels)
    added = F.interpolate(small.double().permute(2, 0, 1)[None], scale_factor=2)
    assert snr(ops.conv_onto(ops.double(small), x, weight, bias), wanted + added) > 120
    assert snr(ops.conv_onto(ops.double(ops.scale(small, factor)), x, weight, bias), wanted + factor * added) > 120


@pytest.mark.parametrize("size", [4, 8, 16])         # 4, 16 and 64 keys: fewer than a block, and whole ones
def test_attention(ops, size):
    half = size // 2
    query, key, value = torch.randn(size, size, 32), torch.randn(half, half, 32), torch.randn(half, half, 64)
    flat = (x.double().flatten(0, 1) for x in (query, key, value))
    wanted = F.scaled_dot_product_attention(*flat, scale=1.0).T.reshape(1, 64, size, size)
    assert snr(ops.attention(query, key, value), wanted) > 110
    wanted = F.max_pool2d(value.double().permute(2, 0, 1)[None], 2)
    assert snr(ops.halve(value), wanted) > 120


def test_rows_of_kernels_are_summed_to_colours(ops):
    x, bias = torch.randn(16, 24, 9), torch.randn(3)
    as_torch = functools.partial(torch.permute, dims=(2, 0, 1))
    wanted = backends.TorchOps(lambda weight: weight.double()).sum_rows(as_torch(x.double())[None], bias)
    assert snr(ops.sum_rows(x, bias), wanted) > 120


def test_memory_is_used_again_only_when_nothing_is_left_on_it(ops):
    first = ops.empty(4, 5).fill_(1)
    view = first[1:]
    place = first.data_ptr()
    del first
    assert ops.empty(20).data_ptr() != place and view.sum() == 15
    del view
    assert ops.empty(5, 4).data_ptr() == place
