"""Matrix products of bfloat16 pairs inside Numba, where the processor has them (AVX512-BF16): half the operands' bytes.

A word is an int32 that holds two bfloat16 numbers, the first in its lower half. One instruction multiplies 16 words of
each operand and adds both products of a word to a float32 sum: twice the rate of float32. Rows of numbers in pairs of
neighbors are the operands of x W^T and dz W; pairs of two rows, one below the other, those of dz^T h, whose depth is
the samples. Tiles have ROWS x 2 vectors of sums, as those of ``products``, and write both kinds of pairs at once.
Rounding is to the nearest, ties to even; numbers below the normal ones count as 0.
"""

import functools
from typing import Any

import llvmlite.ir as ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .products import LANES, ROWS, counted, element, splat, supports, vector_at

AVAILABLE = LANES == 16 and supports("avx512bf16")

_INDEX, _WORD, _FLOAT = ir.IntType(64), ir.IntType(32), ir.FloatType()
_FLOATS, _WORDS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_WORD, LANES)
_BITS = ir.VectorType(ir.IntType(16), 2 * LANES)
_ZERO = ir.Constant(_FLOATS, [0.0] * LANES)
_MIXED = [i // 2 + 2 * LANES * (i % 2) for i in range(4 * LANES)]  # numbers of two vectors, in turns


class _Brain(ir.Type):
    """LLVM's bfloat, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Brain)

    def __hash__(self) -> int:
        return hash(_Brain)


_PAIRS = ir.VectorType(_Brain(), 2 * LANES)


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_INDEX, value)


def _function(builder: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Type) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), f"llvm.x86.{name}")


def _pack(builder: ir.IRBuilder, low: Any, high: Any) -> Any:
    """The words of two vectors of floats: [low, high], in neighbors."""
    packed = _function(builder, "avx512bf16.cvtne2ps2bf16.512", _PAIRS, _FLOATS, _FLOATS)
    return builder.bitcast(builder.call(packed, [high, low]), _BITS)


def _interleave(builder: ir.IRBuilder, upper: Any, lower: Any, part: int) -> Any:
    """Pairs of the numbers of two vectors, one below the other: of the first 16 columns, or, ``part`` 1, the last."""
    order = _MIXED[2 * LANES * part : 2 * LANES * (part + 1)]
    kind = ir.VectorType(_WORD, 2 * LANES)
    return builder.shuffle_vector(upper, lower, ir.Constant(kind, order))


def _stack(builder: ir.IRBuilder, upper: Any, lower: Any) -> Any:
    """The words of two vectors of floats, one below the other."""
    both = _pack(builder, upper, lower)
    order = [i // 2 + LANES * (i % 2) for i in range(2 * LANES)]
    return builder.shuffle_vector(
        both, ir.Constant(_BITS, ir.Undefined), ir.Constant(ir.VectorType(_WORD, 2 * LANES), order)
    )


def _load(builder: ir.IRBuilder, start: Any, offset: Any, kind: ir.Type) -> Any:
    return builder.load(vector_at(builder, start, offset, kind), align=4)


def _store(builder: ir.IRBuilder, value: Any, start: Any, offset: Any) -> None:
    builder.store(value, vector_at(builder, start, offset, value.type), align=4)


def _rows_of(builder: ir.IRBuilder, start: Any, row: Any, count: int) -> list[Any]:
    return [builder.gep(start, [builder.mul(_constant(i), row)]) for i in range(count)]


def _multiplied(
    builder: ir.IRBuilder, x: Any, x_row: Any, rows: int, w: Any, w_row: Any, vectors: int, depth: Any, first: list[Any]
) -> list[Any]:
    """``first`` (rows x vectors sums) and the products of rows of x with columns of w, ``depth`` words of each."""
    added = _function(builder, "avx512bf16.dpbf16ps.512", _FLOATS, _FLOATS, _PAIRS, _PAIRS)
    x_rows = _rows_of(builder, x, x_row, rows)

    def deeper(k: Any, sums: list[Any]) -> list[Any]:
        here = builder.gep(w, [builder.mul(k, w_row)])
        columns = [_load(builder, here, _constant(v * LANES), _PAIRS) for v in range(vectors)]
        found = []
        for i, row in enumerate(x_rows):
            factor = builder.bitcast(splat(builder, builder.load(builder.gep(row, [k]))), _PAIRS)
            found += [builder.call(added, [sums[vectors * i + v], factor, columns[v]]) for v in range(vectors)]
        return found

    return counted(builder, depth, 1, first, deeper)


@intrinsic
def layer(typing_context, x, x0, x_row, w, w0, depth, u, u0, u_row, rays, ray0, y, y0, y_row):
    """ROWS x 2 LANES of y = relu(u + x w), packed in neighbors.

    x, y: words, ``depth`` of a row of x; w: a panel of 2 LANES columns, words of two rows; u: float32, of which sample
    i has the row that rays[ray0 + i] names. The rest are positions and strides in elements. No bounds checks.
    """
    size = types.intp
    return types.void(
        x, size, size, w, size, size, u, size, size, rays, size, y, size, size
    ), _layer_code  # fmt: skip


def _layer_code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    x, x0, x_row, w, w0, depth, u, u0, u_row, rays, ray0, y, y0, y_row = args
    kinds = signature.args
    u_start, owners = element(context, builder, kinds[6], u, u0), element(context, builder, kinds[9], rays, ray0)
    first = []
    for i in range(ROWS):
        row = builder.mul(builder.load(builder.gep(owners, [_constant(i)])), u_row)
        first += [_load(builder, u_start, builder.add(row, _constant(v * LANES)), _FLOATS) for v in range(2)]
    found = _multiplied(
        builder, element(context, builder, kinds[0], x, x0), x_row, ROWS,
        element(context, builder, kinds[3], w, w0), _constant(2 * LANES), 2, depth, first,
    )  # fmt: skip
    found = [builder.select(builder.fcmp_ordered("<", value, _ZERO), _ZERO, value) for value in found]
    target = element(context, builder, kinds[11], y, y0)
    for i, row in enumerate(_rows_of(builder, target, y_row, ROWS)):
        _store(builder, _pack(builder, found[2 * i], found[2 * i + 1]), row, _constant(0))
    return context.get_dummy_value()


def product_of(vectors: int) -> Any:
    """A tile of ROWS x ``vectors`` LANES float32 sums, as an intrinsic: y += x w.

    x: words, ``depth`` of a row; w: words of two rows, a panel of ``vectors`` LANES columns; y: float32.
    """

    @intrinsic
    def made(typing_context, x, x0, x_row, w, w0, depth, y, y0, y_row):
        size = types.intp
        return types.void(x, size, size, w, size, size, y, size, size), functools.partial(_product_code, vectors)

    return made


def _product_code(vectors: int, context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    x, x0, x_row, w, w0, depth, y, y0, y_row = args
    kinds = signature.args
    targets = [
        (row, _constant(v * LANES))
        for row in _rows_of(builder, element(context, builder, kinds[6], y, y0), y_row, ROWS)
        for v in range(vectors)
    ]
    first = [_load(builder, row, offset, _FLOATS) for row, offset in targets]
    found = _multiplied(
        builder, element(context, builder, kinds[0], x, x0), x_row, ROWS,
        element(context, builder, kinds[3], w, w0), _constant(vectors * LANES), vectors, depth, first,
    )  # fmt: skip
    for value, (row, offset) in zip(found, targets, strict=True):
        _store(builder, value, row, offset)
    return context.get_dummy_value()


@intrinsic
def deltas(
    typing_context, x, x0, x_row, w, w0, depth, g, g0, g_row, v, v0, h, h0, h_row, total, total0,
    neighbors, n0, n_row, stacked, s0, s_row,
):  # fmt: skip
    """ROWS x 2 LANES derivatives d = x w + g v, 0 where h is 0, into ``neighbors`` and, two rows in one, ``stacked``.

    x, h: words in neighbors, ``depth`` of a row of x; w: as ``layer`` has it; g[g0 + i g_row] and v[v0 + j]: float32.
    d's column sums are added to ``total``, float32.
    """
    size = types.intp
    return types.void(
        x, size, size, w, size, size, g, size, size, v, size, h, size, size, total, size,
        neighbors, size, size, stacked, size, size,
    ), _deltas_code  # fmt: skip


def _deltas_code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    x, x0, x_row, w, w0, depth, g, g0, g_row, v, v0, h, h0, h_row, total, total0, *targets = args
    neighbors, n0, n_row, stacked, s0, s_row = targets
    kinds = signature.args
    weights = element(context, builder, kinds[9], v, v0)
    columns = [_load(builder, weights, _constant(j * LANES), _FLOATS) for j in range(2)]
    of_rows = _rows_of(builder, element(context, builder, kinds[6], g, g0), g_row, ROWS)
    first = [builder.fmul(splat(builder, builder.load(row)), column) for row in of_rows for column in columns]
    found = _multiplied(
        builder, element(context, builder, kinds[0], x, x0), x_row, ROWS,
        element(context, builder, kinds[3], w, w0), _constant(2 * LANES), 2, depth, first,
    )  # fmt: skip
    outputs = _rows_of(builder, element(context, builder, kinds[11], h, h0), h_row, ROWS)
    any_sign, zeros = (ir.Constant(_BITS, [bits] * (2 * LANES)) for bits in (0x7FFF, 0))
    for i, row in enumerate(outputs):
        seen = builder.icmp_unsigned("!=", builder.and_(_load(builder, row, _constant(0), _BITS), any_sign), zeros)
        for j in range(2):
            order = ir.Constant(_WORDS, list(range(LANES * j, LANES * (j + 1))))
            half = builder.shuffle_vector(seen, seen, order)
            found[2 * i + j] = builder.select(half, found[2 * i + j], _ZERO)
    sums = element(context, builder, kinds[14], total, total0)
    for j in range(2):
        values = found[j::2]
        while len(values) > 1:  # a fixed tree
            values = [builder.fadd(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
        before = _load(builder, sums, _constant(j * LANES), _FLOATS)
        _store(builder, builder.fadd(before, values[0]), sums, _constant(j * LANES))
    for i, row in enumerate(_rows_of(builder, element(context, builder, kinds[16], neighbors, n0), n_row, ROWS)):
        _store(builder, _pack(builder, found[2 * i], found[2 * i + 1]), row, _constant(0))
    target = element(context, builder, kinds[19], stacked, s0)
    for i, row in enumerate(_rows_of(builder, target, s_row, ROWS // 2)):
        for j in range(2):
            _store(builder, _stack(builder, found[4 * i + j], found[4 * i + 2 + j]), row, _constant(j * LANES))
    return context.get_dummy_value()


def gradient_of(rows: int) -> Any:
    """A tile of ``rows`` x 2 LANES float32 sums, as an intrinsic: sums += d^T h over 2 ``pairs`` samples.

    d: words of two samples, ``rows`` of them side by side from d0 on; h: words in neighbors, a row for each sample.
    """

    @intrinsic
    def made(typing_context, d, d0, d_row, h, h0, h_row, sums, s0, s_row, pairs):
        size = types.intp
        return types.void(
            d, size, size, h, size, size, sums, size, size, size
        ), functools.partial(_gradient_code, rows)  # fmt: skip

    return made


def _gradient_code(rows: int, context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    d, d0, d_row, h, h0, h_row, sums, s0, s_row, pairs = args
    kinds = signature.args
    d_start, h_start = element(context, builder, kinds[0], d, d0), element(context, builder, kinds[3], h, h0)
    targets = [
        (row, _constant(v * LANES))
        for row in _rows_of(builder, element(context, builder, kinds[6], sums, s0), s_row, rows)
        for v in range(2)
    ]
    added = _function(builder, "avx512bf16.dpbf16ps.512", _FLOATS, _FLOATS, _PAIRS, _PAIRS)

    def further(k: Any, values: list[Any]) -> list[Any]:
        here = builder.gep(h_start, [builder.mul(k, builder.shl(h_row, _constant(1)))])
        upper, lower = (_load(builder, row, _constant(0), _BITS) for row in _rows_of(builder, here, h_row, 2))
        columns = [builder.bitcast(_interleave(builder, upper, lower, v), _PAIRS) for v in range(2)]
        of_rows, found = builder.gep(d_start, [builder.mul(k, d_row)]), []
        for i in range(rows):
            word = builder.load(builder.gep(of_rows, [_constant(i)]))
            factor = builder.bitcast(splat(builder, word), _PAIRS)
            found += [builder.call(added, [values[2 * i + v], factor, columns[v]]) for v in range(2)]
        return found

    first = [_load(builder, row, offset, _FLOATS) for row, offset in targets]
    for value, (row, offset) in zip(counted(builder, pairs, 1, first, further), targets, strict=True):
        _store(builder, value, row, offset)
    return context.get_dummy_value()


@intrinsic
def pack(typing_context, x, x0, y, y0):
    """y[y0 + i] = the word of x[x0 + 2 i] and x[x0 + 2 i + 1] for i < LANES."""
    size = types.intp
    return types.void(x, size, y, size), _pack_code


def _pack_code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    x, x0, y, y0 = args
    start, target = (
        element(context, builder, signature.args[0], x, x0), element(context, builder, signature.args[2], y, y0)
    )  # fmt: skip
    low, high = (_load(builder, start, _constant(j * LANES), _FLOATS) for j in range(2))
    _store(builder, _pack(builder, low, high), target, _constant(0))
    return context.get_dummy_value()


@intrinsic
def add_unpacked(typing_context, x, x0, y, y0):
    """y[y0 + i] += number i of the words from x[x0] on, for i < 2 LANES."""
    size = types.intp
    return types.void(x, size, y, size), _add_unpacked_code


def _add_unpacked_code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    x, x0, y, y0 = args
    start, target = (
        element(context, builder, signature.args[0], x, x0), element(context, builder, signature.args[2], y, y0)
    )  # fmt: skip
    for j in range(2):
        bits = _load(builder, start, _constant(j * LANES // 2), ir.VectorType(ir.IntType(16), LANES))
        words = builder.shl(builder.zext(bits, _WORDS), ir.Constant(_WORDS, [16] * LANES))
        before = _load(builder, target, _constant(j * LANES), _FLOATS)
        _store(builder, builder.fadd(before, builder.bitcast(words, _FLOATS)), target, _constant(j * LANES))
    return context.get_dummy_value()
