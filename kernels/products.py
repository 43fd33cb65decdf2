"""Matrix products inside Numba: a register tile written in LLVM's vector instructions, and panels of it.

Products of 64 to 256 columns are too small for a library call each: here they are part of the kernel, so that a block
of samples stays in the cache from its embedding to its colors. One tile keeps ROWS x 2 vectors of sums in registers;
a step of its depth is two loads, ROWS broadcasts and 2 ROWS fused multiply-adds. Strides are free, so the same tile
serves x W^T, dz W and dz^T h.
"""

import functools
from typing import Any

import llvmlite.ir as ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .jit import cached

# Of the processor that Numba compiles for (NUMBA_CPU_NAME=generic is not the one at hand), because Numba names its
# cached kernels by it: a cache that several machines share must not hold kernels of another tile than theirs.
_TRIPLE, _, _features = cpu_target.target_context.codegen().magic_tuple()
_FEATURES = _features.split(",")
LANES = 16 if "+avx512f" in _FEATURES else 8 if "+avx2" in _FEATURES else 4  # float32 numbers in a vector register
ROWS = 4 if LANES < 16 and _TRIPLE.startswith("x86") else 8  # x86 has 16 registers before AVX-512, the others have 32
COLUMNS = 2 * LANES
DEPTH = 256  # a panel of this depth and COLUMNS columns (32 KiB with AVX-512) stays in the first cache


def supports(feature: str) -> bool:
    """Whether the processor that Numba compiles for has a feature, by LLVM's name for it."""
    return f"+{feature}" in _FEATURES


_INDEX, _FLOAT = ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


def tile_of(rows: int, vectors: int, *, start: str = "sums", end: str = "") -> Any:
    """A register tile of ``rows`` x ``vectors`` vectors, as an intrinsic.

        y[y0 + i y_row + j] = begin + sum over k < depth of x[x0 + i x_row + k x_k] w[w0 + k w_row + j]

    for i < rows, j < vectors LANES. x, w, y, bias, mask: flat float32 arrays; the rest are positions and strides in
    elements. depth is at least 1. No bounds checks. A bias or a mask that the tile has no use for is not looked at.

    Args:
        start: "sums" begins with what y holds, "bias" with bias[bias0 + i], "zero" with 0.
        end: "relu" sets what is below 0 to 0; "mask" what has no mask[mask0 + i mask_row + j] above 0. NaN stays.
    """

    @intrinsic
    def made(
        typing_context, x, x0, x_row, x_k, w, w0, w_row, y, y0, y_row, depth, bias, bias0, mask, mask0, mask_row
    ):  # fmt: skip
        size = types.intp
        signature = types.void(
            x, size, size, size, w, size, size, y, size, size, size, bias, size, mask, size, size
        )  # fmt: skip
        return signature, functools.partial(_tile_code, rows, vectors, start, end)

    return made


tile = tile_of(ROWS, 2)


def element(context: Any, builder: ir.IRBuilder, kind: Any, array: Any, offset: Any) -> Any:
    """The address of an element of an array."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])


def vector_at(builder: ir.IRBuilder, start: Any, offset: Any, kind: ir.Type = _VECTOR) -> Any:
    """The address of a vector that begins ``offset`` elements behind ``start``."""
    return builder.bitcast(builder.gep(start, [offset]), kind.as_pointer())


def splat(builder: ir.IRBuilder, value: Any) -> Any:
    """A vector with ``value`` in every lane."""
    kind, lane = ir.VectorType(value.type, LANES), ir.IntType(32)
    undefined = ir.Constant(kind, ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(lane, 0))
    return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(lane, LANES), [0] * LANES))


def multiply_add(builder: ir.IRBuilder) -> Any:
    """The function a b + c of vectors."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")


def counted(builder: ir.IRBuilder, count: Any, step: int, first: list[Any], body: Any) -> list[Any]:
    """Emit a loop over k = 0, step, ... below ``count``, at least once: values = body(k, values), first ``first``."""
    before, loop = builder.block, builder.append_basic_block("loop")
    after = builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    k, values = builder.phi(_INDEX), [builder.phi(value.type) for value in first]
    found = body(k, values)
    following = builder.add(k, ir.Constant(_INDEX, step))
    k.add_incoming(ir.Constant(_INDEX, 0), before)
    k.add_incoming(following, loop)
    for value, begin, finish in zip(values, first, found, strict=True):
        value.add_incoming(begin, before)
        value.add_incoming(finish, loop)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)
    return found


def _tile_code(
    rows: int, vectors: int, start: str, end: str, context: Any, builder: ir.IRBuilder, signature: Any, args: Any
) -> Any:
    """Emit the loop over the depth, sums in registers."""
    x, x0, x_row, x_k, w, w0, w_row, y, y0, y_row, depth, bias, bias0, mask, mask0, mask_row = args
    kinds, zero = signature.args, ir.Constant(_VECTOR, [0.0] * LANES)
    added = multiply_add(builder)

    def constant(value: int) -> ir.Constant:
        return ir.Constant(_INDEX, value)

    def cells(place: Any, row: Any) -> list[Any]:
        return [
            vector_at(builder, place, builder.add(builder.mul(constant(i), row), constant(v * LANES)))
            for i in range(rows)
            for v in range(vectors)
        ]

    x_start, w_start = element(context, builder, kinds[0], x, x0), element(context, builder, kinds[4], w, w0)
    targets = cells(element(context, builder, kinds[7], y, y0), y_row)
    if start == "sums":
        first = [builder.load(cell, align=4) for cell in targets]
    elif start == "bias":
        place = element(context, builder, kinds[11], bias, bias0)
        first = [
            value
            for i in range(rows)
            for value in [splat(builder, builder.load(builder.gep(place, [constant(i)])))] * vectors
        ]
    else:
        first = [zero] * len(targets)
    x_rows = [builder.mul(constant(i), x_row) for i in range(rows)]

    def deeper(k: Any, sums: list[Any]) -> list[Any]:
        w_here, x_here = builder.gep(w_start, [builder.mul(k, w_row)]), builder.gep(x_start, [builder.mul(k, x_k)])
        columns = [builder.load(vector_at(builder, w_here, constant(v * LANES)), align=4) for v in range(vectors)]
        found = []
        for i in range(rows):
            factor = splat(builder, builder.load(builder.gep(x_here, [x_rows[i]])))
            found += [builder.call(added, [factor, columns[v], sums[vectors * i + v]]) for v in range(vectors)]
        return found

    found = counted(builder, depth, 1, first, deeper)
    if end == "relu":
        found = [builder.select(builder.fcmp_ordered("<", value, zero), zero, value) for value in found]
    elif end == "mask":
        masks = cells(element(context, builder, kinds[13], mask, mask0), mask_row)
        outputs = [builder.load(cell, align=4) for cell in masks]
        found = [
            builder.select(builder.fcmp_ordered("<=", output, zero), zero, value)
            for output, value in zip(outputs, found, strict=True)
        ]
    for cell, value in zip(targets, found, strict=True):
        builder.store(value, cell, align=4)
    return context.get_dummy_value()


@cached(nogil=True, error_model="numpy")
def multiply(x, x0, x_row, x_k, w, w0, w_row, y, y0, y_row, rows, depth):
    """COLUMNS columns of a product: y[i, j] += sum_k x[i, k] w[k, j] for i < rows, a multiple of ROWS."""
    for k in range(0, depth, DEPTH):
        for i in range(0, rows, ROWS):
            tile(x, x0 + i * x_row + k * x_k, x_row, x_k, w, w0 + k * w_row, w_row, y, y0 + i * y_row, y_row,
                 min(DEPTH, depth - k), x, 0, x, 0, 0)  # fmt: skip


CORRELATED = (2 if ROWS < 8 else 4, 4)  # rows of a and of b that ``correlate`` takes


@intrinsic
def correlate(typing_context, a, a0, a_row, b, b0, b_row, sums, s0, s_row, count):
    """sums[s0 + i s_row + j LANES + lane] += sum over k < count of a[a0 + i a_row + k] b[b0 + j b_row + k].

    i < CORRELATED[0], j < CORRELATED[1]; lane is k mod LANES: who adds up the lanes has the product of a and b over
    their samples. count is a multiple of LANES, at least one; a, b, sums: flat float32 arrays. No bounds checks.
    """
    size = types.intp
    return types.void(a, size, size, b, size, size, sums, size, size, size), _correlate_code


def _correlate_code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    a, a0, a_row, b, b0, b_row, sums, s0, s_row, count = args
    kinds, (rows, columns) = signature.args, CORRELATED
    added = multiply_add(builder)

    def constant(value: int) -> ir.Constant:
        return ir.Constant(_INDEX, value)

    def row_starts(start: Any, row: Any, number: int) -> list[Any]:
        return [builder.gep(start, [builder.mul(constant(i), row)]) for i in range(number)]

    a_rows = row_starts(element(context, builder, kinds[0], a, a0), a_row, rows)
    b_rows = row_starts(element(context, builder, kinds[3], b, b0), b_row, columns)
    s_rows = row_starts(element(context, builder, kinds[6], sums, s0), s_row, rows)
    cells = [vector_at(builder, start, constant(j * LANES)) for start in s_rows for j in range(columns)]
    first = [builder.load(cell, align=4) for cell in cells]

    def further(k: Any, totals: list[Any]) -> list[Any]:
        a_here, b_here = (
            [builder.load(vector_at(builder, start, k), align=4) for start in starts] for starts in (a_rows, b_rows)
        )
        pairs = [(x, y) for x in a_here for y in b_here]
        return [builder.call(added, [x, y, total]) for (x, y), total in zip(pairs, totals, strict=True)]

    found = counted(builder, count, LANES, first, further)
    for cell, value in zip(cells, found, strict=True):
        builder.store(value, cell, align=4)
    return context.get_dummy_value()


@intrinsic
def fill(typing_context, y, start, value):
    """y[start + lane] = value for lane < LANES."""
    return types.void(y, types.intp, types.float32), _fill_code


def _fill_code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    y, start, value = args
    place = element(context, builder, signature.args[0], y, start)
    builder.store(splat(builder, value), vector_at(builder, place, ir.Constant(_INDEX, 0)), align=4)
    return context.get_dummy_value()


@intrinsic
def total(typing_context, x, start, count):
    """The sum of x[start] to x[start + count - 1], lane by lane; at least LANES more elements can be read."""
    return types.float32(x, types.intp, types.intp), _total_code


def _total_code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    x, start, count = args
    lane, zero = ir.IntType(32), ir.Constant(_VECTOR, [0.0] * LANES)
    place = element(context, builder, signature.args[0], x, start)
    numbers = ir.Constant(ir.VectorType(lane, LANES), list(range(LANES)))

    def further(k: Any, lanes: list[Any]) -> list[Any]:
        left = splat(builder, builder.trunc(builder.sub(count, k), lane))
        here = builder.icmp_signed("<", numbers, left)
        value = builder.select(here, builder.load(vector_at(builder, place, k), align=4), zero)
        return [builder.fadd(lanes[0], value)]

    (added,) = counted(builder, count, LANES, [zero], further)
    half = LANES // 2
    while half:  # a fixed tree
        order = ir.Constant(ir.VectorType(lane, LANES), [(i + half) % LANES for i in range(LANES)])
        added = builder.fadd(added, builder.shuffle_vector(added, ir.Constant(_VECTOR, ir.Undefined), order))
        half //= 2
    return builder.extract_element(added, ir.Constant(lane, 0))
