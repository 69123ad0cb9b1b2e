"""Convolutions for x86 processors, made for BigGAN's shapes and compiled by LLVM in a third of a second.

How to read it: `write_pointwise` and `write_winograd` are the two kernels; each docstring is the formula. They build
LLVM code with `Code`, whose methods are named after what they emit (loop, load, fma). Lower-case arguments of a kernel
are addresses, upper-case ones are counts. Python calls them through `Kernels.pointwise` and `Kernels.winograd`, which
take tensors and check type, layout and sizes before an address leaves Python.
How to test it: `pytest tests/test_kernels.py` compares every kernel with torch in double precision, for 8 lanes (AVX2)
and 16 (AVX-512), and passes arrays that must be refused.
How to switch it off: set MUSICVIDEO_KERNELS=0, and BigGAN is drawn by OpenVINO (or torch), 1.2 to 1.4 times slower.

A 3x3 convolution takes 9 multiplications a pixel and pair of channels. Winograd's F(4x4, 3x3) takes 2.25: a tile of
6x6 pixels is transformed, multiplied by a transformed kernel number by number, and transformed back to 4x4 pixels
(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", https://arxiv.org/abs/1509.09308). For all tiles
and channels at once those multiplications are 36 products of matrices.

The affine, the ReLU, the upsampling, the bias and the skip path around a convolution are computed as a kernel reads and
writes its pictures, so none of them takes a pass over memory of its own.

All arrays are float32. Pictures are (H, W, C): the channels of a pixel lie side by side.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from llvmlite import binding, ir
from torch import Tensor

# A matrix product computes blocks of so many rows and two registers of columns, whose sums stay in registers: AVX-512
# has 32 registers, AVX2 has 16.
ROWS = {16: 8, 8: 4}  # by lanes, the float32 numbers in a register
PIXELS = 64  # that a pointwise convolution computes at a time
TILES = 64  # that Winograd's convolution transforms at a time
TILE = 4  # pixels a side of a tile's output
PATCH = TILE + 2  # pixels a side of its input
PLACES = PATCH**2  # numbers of a transformed tile

# The transforms evaluate polynomials at these points, chosen to keep intermediate numbers of similar size.
NEAR, FAR = 0.5**0.5, 2**0.5
POINTS = (0, NEAR, -NEAR, FAR, -FAR)  # and infinity

FLOAT, INT, POINTER = ir.FloatType(), ir.IntType(64), ir.PointerType()

WINOGRAD = ("x", "scale", "offset", "kernels", "y", "work", "BEGIN", "END", "H", "W", "C", "N", "GROUP", "UPSAMPLED")
POINTWISE = (
    "x", "scale", "offset", "kernels", "bias", "skip", "factor", "y", "work",
    "BEGIN", "END", "W", "C", "N", "STRIDE", "UPSAMPLED",
)  # fmt: skip


def lanes() -> int | None:
    """Float32 numbers in a vector register: 16 with AVX-512, 8 with AVX2 and FMA, None on other processors."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return None
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx2") and features.get("fma") else None


def transform_kernels(weight: Tensor) -> Tensor:
    """3x3 kernels (N, C, 3, 3) -> transformed ones (36, N, C)."""
    rows = [
        [
            point**power / torch.tensor([point - other for other in POINTS if other != point]).prod().item()
            for power in range(3)
        ]
        for point in POINTS
    ] + [[0, 0, 1]]
    matrix = torch.tensor(rows, dtype=torch.double)
    return torch.einsum("ia,jb,ncab->ijnc", matrix, matrix, weight.double()).flatten(0, 1).float()


@dataclass
class Loop:
    """A loop being written: its counter, the values carried into an iteration, and those for the next one."""

    index: ir.Value
    carried: list[ir.Value]
    following: list[ir.Value] = field(default_factory=list)


class Code:
    """Writes one function in LLVM code.

    Args:
        arguments: names, lower-case for addresses of float32 numbers, upper-case for counts.
        lanes: numbers in a vector register.
    """

    def __init__(self, module: ir.Module, name: str, arguments: Sequence[str], lanes: int) -> None:
        self.lanes, self.rows, self.width = lanes, ROWS[lanes], 2 * lanes
        self.type = ir.VectorType(FLOAT, lanes)
        kinds = [POINTER if argument.islower() else INT for argument in arguments]
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
        self.arguments = self.function.args
        for argument in self.arguments:
            if argument.type == POINTER:
                argument.add_attribute("noalias")
        self.builder = ir.IRBuilder(self.function.append_basic_block())

    @contextmanager
    def loop(
        self, stop: ir.Value | int, step: ir.Value | int = 1, start: ir.Value | int = 0,
        carried: Sequence[ir.Value] = (),
    ) -> Iterator[Loop]:  # fmt: skip
        """Write a loop. It runs at least once, so nothing may be empty."""
        before = self.builder.block
        body, after = (self.function.append_basic_block() for _ in range(2))
        self.builder.branch(body)
        self.builder.position_at_end(body)
        index = self.builder.phi(INT)
        loop = Loop(index, [self.builder.phi(value.type) for value in carried])
        yield loop
        following = self.sum(index, step)
        for phi, first, then in zip([index, *loop.carried], [number(start), *carried], [following, *loop.following]):
            phi.add_incoming(first, before)
            phi.add_incoming(then, self.builder.block)
        self.builder.cbranch(self.builder.icmp_signed("<", following, number(stop)), body, after)
        self.builder.position_at_end(after)

    def sum(self, *terms: ir.Value | int) -> ir.Value:
        return functools.reduce(self.builder.add, map(number, terms))

    def times(self, *factors: ir.Value | int) -> ir.Value:
        return functools.reduce(self.builder.mul, map(number, factors))

    def least(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def at(self, array: ir.Value, *steps: ir.Value | int) -> ir.Value:
        """The address so many numbers further."""
        return self.builder.gep(array, [self.sum(*steps)], source_etype=FLOAT)

    def given(self, array: ir.Value) -> ir.Value:
        return self.builder.icmp_unsigned("!=", array, ir.Constant(POINTER, None))

    def vector(self, value: ir.Value | float) -> ir.Value:
        """The same number in all lanes."""
        if isinstance(value, ir.Value):
            return value
        return ir.Constant(self.type, [torch.tensor(value).float().item()] * self.lanes)

    def load(self, address: ir.Value) -> ir.Value:
        return self.builder.load(address, align=4, typ=self.type)

    def prefetch(self, address: ir.Value) -> None:
        """Bring what is read soon into the L2 cache. An address beyond the end of an array does no harm."""
        prefetch = self.function.module.declare_intrinsic(
            "llvm.prefetch.p0", fnty=ir.FunctionType(ir.VoidType(), [POINTER] + [ir.IntType(32)] * 3)
        )
        reading, second_cache, data = (ir.Constant(ir.IntType(32), value) for value in (0, 2, 1))
        self.builder.call(prefetch, [address, reading, second_cache, data])

    def store(self, vector: ir.Value, address: ir.Value) -> None:
        self.builder.store(vector, address, align=4)

    def spread(self, address: ir.Value) -> ir.Value:
        """One number in all lanes."""
        value = self.builder.load(address, align=4, typ=FLOAT)
        nothing, first = ir.Constant(self.type, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return self.builder.shuffle_vector(self.builder.insert_element(nothing, value, first), nothing, lanes)

    def fma(self, a: ir.Value, b: ir.Value | float, c: ir.Value) -> ir.Value:
        """a * b + c, rounded once."""
        name = f"llvm.fma.v{self.lanes}f32"
        fma = self.function.module.declare_intrinsic(name, fnty=ir.FunctionType(self.type, [self.type] * 3))
        return self.builder.call(fma, [a, self.vector(b), c])

    def scaled(self, a: ir.Value, factor: float) -> ir.Value:
        return self.builder.fmul(a, self.vector(factor))

    def plus(self, *vectors: ir.Value) -> ir.Value:
        return functools.reduce(self.builder.fadd, vectors)

    def clear(self, array: ir.Value, count: ir.Value) -> None:
        with self.loop(count, self.lanes) as place:
            self.store(self.vector(0), self.at(array, place.index))

    def activate(
        self, x: ir.Value, scale: ir.Value, offset: ir.Value, out: ir.Value, pixels: ir.Value, channels: ir.Value,
        upsampled: ir.Value | int = 0,
    ) -> None:  # fmt: skip
        """out[pixel] = relu(x[pixel] * scale + offset), every pixel of x twice if upsampled."""
        with self.loop(pixels) as pixel:
            source = self.times(self.builder.lshr(pixel.index, number(upsampled)), channels)
            target = self.times(pixel.index, channels)
            with self.loop(channels, self.lanes) as channel:
                value = self.fma(
                    self.load(self.at(x, source, channel.index)),
                    self.load(self.at(scale, channel.index)),
                    self.load(self.at(offset, channel.index)),
                )
                positive = self.builder.fcmp_ordered(">", value, self.vector(0))
                value = self.builder.select(positive, value, self.vector(0))
                self.store(value, self.at(out, target, channel.index))

    def product(
        self, x: ir.Value, panel: ir.Value, y: ir.Value, rows: ir.Value, channels: ir.Value, stride: ir.Value | int
    ) -> None:
        """y (rows, width) = x (rows, C) times a panel of packed kernels (C, width).

        The rows are a multiple of ROWS; those of y lie `stride` numbers apart.
        """
        with self.loop(rows, self.rows) as row:
            x_block = self.at(x, self.times(row.index, channels))
            y_block = self.at(y, self.times(row.index, stride))
            with self.loop(channels, carried=[self.vector(0)] * (self.rows * 2)) as k:
                line = [self.load(self.at(panel, self.times(k.index, self.width), lane)) for lane in (0, self.lanes)]
                for lane in (0, self.lanes):  # of the next panel
                    self.prefetch(self.at(panel, self.times(self.sum(channels, k.index), self.width), lane))
                for i in range(self.rows):
                    value = self.spread(self.at(x_block, self.times(i, channels), k.index))
                    k.following += [self.fma(value, line[j], k.carried[2 * i + j]) for j in range(2)]
            for i in range(self.rows):
                for j in range(2):
                    self.store(k.following[2 * i + j], self.at(y_block, self.times(i, stride), j * self.lanes))

    def into_places(self, d: Sequence[ir.Value]) -> list[ir.Value]:
        """Six pixels in a row, transformed: result i is their sum, weighted by the coefficients of a polynomial.

        It is the product of (t - point) over the other points.
        """
        near, far = NEAR**2, FAR**2
        even_near, even_far = self.fma(d[2], -far, d[4]), self.fma(d[2], -near, d[4])
        odd_near = self.scaled(self.fma(d[1], -far, d[3]), NEAR)
        odd_far = self.scaled(self.fma(d[1], -near, d[3]), FAR)
        return [
            self.fma(d[2], -near - far, self.plus(d[0], d[4])),         # near * far is 1
            self.plus(even_near, odd_near), self.builder.fsub(even_near, odd_near),
            self.plus(even_far, odd_far), self.builder.fsub(even_far, odd_far),
            self.fma(d[3], -near - far, self.plus(d[1], d[5])),
        ]  # fmt: skip

    def out_of_places(self, m: Sequence[ir.Value]) -> list[ir.Value]:
        """Six products, transformed back to four pixels: pixel i is the sum of POINTS**i times the products."""
        even_near, odd_near = self.plus(m[1], m[2]), self.builder.fsub(m[1], m[2])
        even_far, odd_far = self.plus(m[3], m[4]), self.builder.fsub(m[3], m[4])
        return [
            self.plus(m[0], even_near, even_far),
            self.fma(odd_near, NEAR, self.scaled(odd_far, FAR)),
            self.fma(even_near, NEAR**2, self.scaled(even_far, FAR**2)),
            self.fma(odd_near, NEAR**3, self.fma(odd_far, FAR**3, m[5])),
        ]


def number(value: ir.Value | int) -> ir.Value:
    return value if isinstance(value, ir.Value) else ir.Constant(INT, value)


def write_winograd(module: ir.Module, lanes: int) -> None:
    """y (H, W, N) = relu(x * scale + offset), upsampled or not, convolved 3x3: rows of tiles from BEGIN to END.

    x is (H, W, C), or (H / 2, W / 2, C) if UPSAMPLED is 1; H and W are those of y, multiples of TILE. GROUP rows of
    tiles, or what is left of them, are transformed at a time. `work` holds the rows of pixels that a row of tiles is
    made from, with a pixel of zeros at both ends, and the tiles before and after the multiplications.
    """
    code = Code(module, "winograd", WINOGRAD, lanes)
    builder = code.builder
    (x, scale, offset, kernels, y, work,
     begin, end, height, width, channels, out_channels, group, upsampled) = code.arguments  # fmt: skip
    across = builder.udiv(width, number(TILE))
    # Up to whole blocks: rows of the last block beyond the tiles are multiplied too, and ignored.
    count = builder.and_(code.sum(code.times(group, across), code.rows - 1), number(-code.rows))
    padded = code.times(code.sum(width, 2), channels)
    x_row = code.times(builder.lshr(width, upsampled), channels)
    tiles = code.at(work, code.times(PATCH, padded))
    products = code.at(tiles, code.times(PLACES, count, channels))
    with code.loop(end, group, begin) as first:
        rows = code.least(group, builder.sub(end, first.index))
        with code.loop(rows) as down:
            top = code.times(code.sum(first.index, down.index), TILE)
            with code.loop(PATCH) as down_patch:
                row, line = code.sum(top, down_patch.index, -1), code.at(work, code.times(down_patch.index, padded))
                with builder.if_else(builder.icmp_unsigned("<", row, height)) as (inside, outside):
                    with inside:
                        code.clear(line, channels)
                        code.clear(code.at(line, code.sum(padded, code.times(channels, -1))), channels)
                        source = code.at(x, code.times(builder.lshr(row, upsampled), x_row))
                        code.activate(source, scale, offset, code.at(line, channels), width, channels, upsampled)
                    with outside:
                        code.clear(line, padded)
            with code.loop(across) as tile:
                left = code.times(tile.index, TILE, channels)
                target = code.times(code.sum(code.times(down.index, across), tile.index), channels)
                with code.loop(channels, lanes) as channel:
                    patch = [
                        [
                            code.load(
                                code.at(work, code.times(i, padded), left, code.times(j, channels), channel.index)
                            )
                            for j in range(PATCH)
                        ]
                        for i in range(PATCH)
                    ]
                    columns = [code.into_places(column) for column in zip(*patch)]
                    for i, row in enumerate(zip(*columns)):
                        for j, value in enumerate(code.into_places(row)):
                            place = code.times(i * PATCH + j, count, channels)
                            code.store(value, code.at(tiles, place, target, channel.index))
        with code.loop(out_channels, code.width) as column:
            with code.loop(PLACES) as place:
                panel = code.sum(code.times(column.index, PLACES), code.times(place.index, code.width))
                code.product(
                    code.at(tiles, code.times(place.index, count, channels)),
                    code.at(kernels, code.times(panel, channels)),
                    code.at(products, code.times(place.index, count, code.width)),
                    count, channels, code.width,
                )  # fmt: skip
            with code.loop(rows) as down, code.loop(across) as tile, code.loop(code.width, lanes) as lane:
                number_of_tile = code.sum(code.times(down.index, across), tile.index)
                source = code.sum(code.times(number_of_tile, code.width), lane.index)
                top = code.times(code.sum(first.index, down.index), TILE)
                corner = code.sum(code.times(top, width), code.times(tile.index, TILE))
                target = code.sum(code.times(corner, out_channels), column.index, lane.index)
                patch = [
                    [
                        code.load(code.at(products, code.times(i * PATCH + j, count, code.width), source))
                        for j in range(PATCH)
                    ]
                    for i in range(PATCH)
                ]
                columns = [code.out_of_places(column) for column in zip(*patch)]
                for i, row in enumerate(zip(*columns)):
                    for j, value in enumerate(code.out_of_places(row)):
                        pixel = code.times(code.sum(code.times(i, width), j), out_channels)
                        code.store(value, code.at(y, target, pixel))
    builder.ret_void()


def write_pointwise(module: ir.Module, lanes: int) -> None:
    """y (P, N) = relu(x (P, C) * scale + offset) times kernels + bias + skip * factor: pixels from BEGIN to END.

    Without a scale, x goes in as it is; without a skip path, there is no bias either. The pixels of the skip path lie
    STRIDE numbers apart; they are as many as those of y, or half as many each way if UPSAMPLED is 1. W is the width of
    y. There are a multiple of ROWS pixels. `work` holds PIXELS of x.
    """
    code = Code(module, "pointwise", POINTWISE, lanes)
    builder = code.builder
    (x, scale, offset, kernels, bias, skip, factor, y, work,
     begin, end, width, channels, out_channels, stride, upsampled) = code.arguments  # fmt: skip
    with code.loop(end, PIXELS, begin) as first:
        pixels = code.least(number(PIXELS), builder.sub(end, first.index))
        source = code.at(x, code.times(first.index, channels))
        target = code.at(y, code.times(first.index, out_channels))
        with builder.if_then(code.given(scale)):
            code.activate(source, scale, offset, work, pixels, channels)
        source = builder.select(code.given(scale), work, source)
        with code.loop(out_channels, code.width) as column:
            panel = code.at(kernels, code.times(column.index, channels))
            code.product(source, panel, code.at(target, column.index), pixels, channels, out_channels)
        with builder.if_then(code.given(skip)), code.loop(pixels) as pixel:
            place = code.sum(first.index, pixel.index)
            row, column = (builder.lshr(divided(place, width), upsampled) for divided in (builder.udiv, builder.urem))
            beside = code.times(code.sum(code.times(row, builder.lshr(width, upsampled)), column), stride)
            with code.loop(out_channels, lanes) as channel:
                here = code.at(target, code.times(pixel.index, out_channels), channel.index)
                value = code.plus(code.load(here), code.load(code.at(bias, channel.index)))
                added = code.load(code.at(skip, beside, channel.index))
                code.store(code.fma(added, code.load(code.at(factor, channel.index)), value), here)
    builder.ret_void()


class Kernels:
    """The kernels, compiled for this processor. Other Python threads run on while one computes.

    Attributes:
        lanes: float32 numbers in a vector register.
        rows: pixels come in multiples of it.
        width: output channels come in multiples of it.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes, self.rows, self.width = lanes, ROWS[lanes], 2 * lanes
        module = ir.Module()
        write_winograd(module, lanes)
        write_pointwise(module, lanes)
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        machine = binding.Target.from_default_triple().create_target_machine(
            cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), opt=3
        )
        compiled = binding.parse_assembly(str(module))
        # Already vectorised and unrolled by hand; disable LLVM's passes.
        tuning = binding.create_pipeline_tuning_options(speed_level=2)
        tuning.loop_unrolling = tuning.loop_vectorization = tuning.slp_vectorization = False
        passes = binding.create_pass_builder(machine, tuning)
        passes.getModulePassManager().run(compiled, passes)
        self.engine = binding.create_mcjit_compiler(compiled, machine)
        self.engine.finalize_object()
        self._winograd = self._function("winograd", WINOGRAD)
        self._pointwise = self._function("pointwise", POINTWISE)

    def _function(self, name: str, arguments: Sequence[str]) -> Callable[..., None]:
        kinds = [ctypes.c_void_p if argument.islower() else ctypes.c_int64 for argument in arguments]
        return ctypes.CFUNCTYPE(None, *kinds)(self.engine.get_function_address(name))

    def pointwise(
        self,
        x: Tensor,
        matrix: Tensor,
        y: Tensor,
        work: Tensor,
        begin: int,
        end: int,
        *,
        scale: Tensor | None = None,
        offset: Tensor | None = None,
        bias: Tensor | None = None,
        skip: Tensor | None = None,
        factor: Tensor | None = None,
        upsampled: bool = False,
    ) -> None:
        """Compute the pixels begin..end of y = relu(x * scale + offset) times matrix + bias + skip * factor.

        Args:
            x: (H, W, C).
            matrix: (N / width, C, width), packed.
            y: (H, W, N), written to.
            work: at least PIXELS * C numbers of scratch memory.
            begin, end: a whole number of `rows` pixels.
            scale, offset: C numbers each; without them x is taken as it is. With them C is a multiple of `lanes`.
            bias, skip, factor: N numbers; (H, W, N), the first channels of a picture; N numbers. All or none.
            upsampled: the skip path is (H / 2, W / 2, N) and doubled.

        Raises:
            TypeError: arrays of another type, layout or size, or that share memory with y.
        """
        height, width, channels = _picture("x", x)
        panels = len(matrix)
        out_channels = panels * self.width
        _require(channels > 0 and panels > 0, "pointwise: no channels")
        _array("matrix", matrix, (panels, channels, self.width))
        _array("y", y, (height, width, out_channels))
        _require(
            0 <= begin < end <= height * width and (end - begin) % self.rows == 0,
            f"pointwise: pixels {begin}..{end} of {height * width} are no whole number of {self.rows}",
        )
        _require((scale is None) == (offset is None), "pointwise: scale and offset come together")
        if scale is not None and offset is not None:
            _require(channels % self.lanes == 0, f"pointwise: {channels} channels are no multiple of {self.lanes}")
            _vector("scale", scale, channels)
            _vector("offset", offset, channels)
            _require(_vector("work", work) >= PIXELS * channels, f"work: {work.numel()} numbers are too few")
        _require((skip is None) == (bias is None) == (factor is None), "pointwise: bias, skip, factor come together")
        stride = 0
        if skip is not None and bias is not None and factor is not None:
            _vector("bias", bias, out_channels)
            _vector("factor", factor, out_channels)
            _require(not upsampled or height % 2 == width % 2 == 0, f"skip: ({height}, {width}) cannot be halved")
            shape = (height >> upsampled, width >> upsampled, out_channels)
            stride = skip.stride(1)
            _require(
                _is_float(skip) and skip.shape == shape and skip.stride() == (shape[1] * stride, stride, 1),
                f"skip: must be the first channels of a float32 picture {shape}, not {_described(skip)}",
            )
        _require_no_overlap(y, work, (x, matrix, scale, offset, bias, skip, factor))
        addresses = [
            None if array is None else array.data_ptr()
            for array in (x, scale, offset, matrix, bias, skip, factor, y, work)
        ]
        self._pointwise(*addresses, begin, end, width, channels, out_channels, stride, int(upsampled))

    def winograd(
        self,
        x: Tensor,
        scale: Tensor,
        offset: Tensor,
        matrix: Tensor,
        y: Tensor,
        work: Tensor,
        begin: int,
        end: int,
        *,
        top: int,
        group: int,
        upsampled: bool,
    ) -> None:
        """Compute rows of tiles of relu(x * scale + offset), upsampled or not, convolved 3x3.

        Args:
            x: (H, W, C), or (H / 2, W / 2, C) if upsampled; C is a multiple of `lanes`.
            scale, offset: C numbers each.
            matrix: (N / width, 36, C, width), packed from `transform_kernels`.
            y: (h, W, N), the rows of the result from row TILE * top on, written to.
            work: scratch memory, as many numbers as `group` says.
            begin, end: rows of tiles to compute.
            top: row of tiles that y begins with.
            group: rows of tiles that are transformed at a time.
            upsampled: double x first.

        Raises:
            TypeError: arrays of another type, layout or size, or that share memory with y.
        """
        height, width, channels = _picture("x", x)
        height, width = height << upsampled, width << upsampled
        panels = len(matrix)
        out_channels = panels * self.width
        _require(
            height > 0 and width > 0 and height % TILE == width % TILE == 0, f"winograd: no tiles in {height}x{width}"
        )
        _require(
            channels > 0 and panels > 0 and channels % self.lanes == 0,
            f"winograd: {channels} channels are no multiple of {self.lanes}",
        )
        _vector("scale", scale, channels)
        _vector("offset", offset, channels)
        _array("matrix", matrix, (panels, PLACES, channels, self.width))
        rows = _picture("y", y)[0]
        _array("y", y, (rows, width, out_channels))
        _require(
            0 <= top <= begin < end <= top + rows // TILE <= height // TILE,
            f"winograd: rows of tiles {begin}..{end} are not in y, which holds {top}..{top + rows // TILE}",
        )
        _require(
            group > 0 and _vector("work", work) >= self._work(group, width, channels),
            f"work: {work.numel()} numbers are too few",
        )
        _require_no_overlap(y, work, (x, scale, offset, matrix))
        whole = y.data_ptr() - top * TILE * width * out_channels * y.itemsize
        self._winograd(
            x.data_ptr(), scale.data_ptr(), offset.data_ptr(), matrix.data_ptr(), whole, work.data_ptr(),
            begin, end, height, width, channels, out_channels, group, int(upsampled),
        )  # fmt: skip

    def pack(self, weight: Tensor) -> Tensor:
        """Matrices (..., N, C) -> (N / width, ..., C, width), in the order of reading; N is padded with zeros."""
        weight = torch.nn.functional.pad(weight, (0, 0, 0, -weight.shape[-2] % self.width))
        return weight.unflatten(-2, (-1, self.width)).transpose(-1, -2).movedim(-3, 0).contiguous()

    def fits(self, height: int, width: int, weight: Tensor) -> bool:
        """Whether `winograd` can compute a convolution and is the faster way; in small ones it mostly reads kernels.

        Args:
            height, width: of the result.
            weight: (N, C, h, w).
        """
        out_channels, channels, *size = weight.shape
        in_tiles = height % TILE == width % TILE == 0
        in_registers = out_channels % self.width == channels % self.lanes == 0
        return height >= 16 and in_tiles and size == [3, 3] and in_registers

    def group(self, height: int, width: int, channels: int) -> tuple[int, int]:
        """Rows of tiles that `winograd` transforms at a time, and the numbers of its `work`.

        The more tiles, the less often the kernels are read; the fewer, the more of them stays in the cache.
        """
        rows = min(height // TILE, max(1, TILES // (width // TILE)))
        return rows, self._work(rows, width, channels)

    def _work(self, rows: int, width: int, channels: int) -> int:
        tiles = -(-rows * (width // TILE) // self.rows) * self.rows
        return PATCH * (width + 2) * channels + PLACES * tiles * (channels + self.width)


def _require(condition: bool, problem: str) -> None:
    """Raise TypeError: a fault of this program, not a user's mistake."""
    if not condition:
        raise TypeError(problem)


def _is_float(array: Tensor) -> bool:
    return array.dtype is torch.float32 and array.device.type == "cpu"


def _described(array: Tensor) -> str:
    return f"{array.dtype} {tuple(array.shape)} with strides {array.stride()} on {array.device}"


def _array(name: str, array: Tensor, shape: tuple[int, ...]) -> None:
    """TypeError unless an array is contiguous float32 of a shape on the CPU."""
    if not (_is_float(array) and array.is_contiguous() and array.shape == shape):
        raise TypeError(f"{name}: must be contiguous float32 {shape}, not {_described(array)}")


def _picture(name: str, array: Tensor) -> tuple[int, int, int]:
    """Shape of a picture (H, W, C); TypeError unless it is contiguous float32 on the CPU."""
    if array.dim() != 3:
        raise TypeError(f"{name}: must be (H, W, C), not {_described(array)}")
    height, width, channels = array.shape
    _array(name, array, (height, width, channels))
    return height, width, channels


def _vector(name: str, array: Tensor, count: int | None = None) -> int:
    """How many numbers an array has; TypeError unless it is contiguous float32 on the CPU, and has `count` of them."""
    if not (_is_float(array) and array.is_contiguous() and count in (None, array.numel())):
        raise TypeError(f"{name}: must be {count or ''} contiguous float32 numbers, not {_described(array)}")
    return array.numel()


def _require_no_overlap(y: Tensor, work: Tensor, inputs: Sequence[Tensor | None]) -> None:
    """TypeError if what is written shares memory with anything else: the kernels are compiled for that."""
    written = y.untyped_storage().data_ptr(), work.untyped_storage().data_ptr()
    others = {array.untyped_storage().data_ptr() for array in inputs if array is not None}
    _require(written[0] != written[1] and others.isdisjoint(written), "y or work shares memory with another array")


@functools.cache
def compiled(lanes: int) -> Kernels:
    """The kernels of this process."""
    return Kernels(lanes)
