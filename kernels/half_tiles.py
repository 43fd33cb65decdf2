"""Register tiles of products with bfloat16 operands, half the bytes and twice the rate of float32.

One instruction multiplies 16 words of each operand and adds both products of a word to a float32 sum. Words of
neighbors are the operands of x W^T and dz W, stacked words those of dz^T h, whose depth is the samples. Tiles have
ROWS x 2 vectors of sums, as those of ``products``. A panel has 2 LANES columns, words of two rows.
"""

import functools
from typing import Any

import llvmlite.ir as ir
from numba.core import types
from numba.extending import intrinsic

from .halves import (
    BITS,
    FLOATS,
    PAIRS,
    WORD,
    WORDS,
    ZERO,
    constant,
    function,
    load,
    packed,
    rows_of,
    stacked_words,
    store,
)
from .products import LANES, ROWS, counted, element, splat


def _multiplied(
    builder: ir.IRBuilder, x: Any, x_row: Any, x_k: Any, rows: int, w: Any, w_row: Any, depth: Any, first: list[Any]
) -> list[Any]:
    """``first`` (rows x 2 sums) and the products of rows of x with columns of w, ``depth`` words of each."""
    added = function(builder, "avx512bf16.dpbf16ps.512", FLOATS, FLOATS, PAIRS, PAIRS)
    x_rows = rows_of(builder, x, x_row, rows)

    def deeper(k: Any, sums: list[Any]) -> list[Any]:
        here, along = builder.gep(w, [builder.mul(k, w_row)]), builder.mul(k, x_k)
        columns = [load(builder, here, constant(v * LANES), PAIRS) for v in range(2)]
        found = []
        for i, row in enumerate(x_rows):
            factor = builder.bitcast(splat(builder, builder.load(builder.gep(row, [along]))), PAIRS)
            found += [builder.call(added, [sums[2 * i + v], factor, columns[v]]) for v in range(2)]
        return found

    return counted(builder, depth, 1, first, deeper)


def _panel_product(builder: ir.IRBuilder, x: Any, x_row: Any, w: Any, depth: Any, first: list[Any]) -> list[Any]:
    """``_multiplied`` with words in neighbors and a panel of 2 LANES columns."""
    return _multiplied(builder, x, x_row, constant(1), ROWS, w, constant(2 * LANES), depth, first)


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
        row = builder.mul(builder.load(builder.gep(owners, [constant(i)])), u_row)
        first += [load(builder, u_start, builder.add(row, constant(v * LANES)), FLOATS) for v in range(2)]
    x_start, w_start = element(context, builder, kinds[0], x, x0), element(context, builder, kinds[3], w, w0)
    found = _panel_product(builder, x_start, x_row, w_start, depth, first)
    found = [builder.select(builder.fcmp_ordered("<", value, ZERO), ZERO, value) for value in found]
    target = element(context, builder, kinds[11], y, y0)
    for i, row in enumerate(rows_of(builder, target, y_row, ROWS)):
        store(builder, packed(builder, found[2 * i], found[2 * i + 1]), row, constant(0))
    return context.get_dummy_value()


def product_of(rows: int) -> Any:
    """A tile of ``rows`` x 2 LANES float32 sums, as an intrinsic.

    y[y0 + i y_row + j] += sum over k < depth of x[x0 + i x_row + k x_k] w[w0 + k w_row + j],  of words both products
    """

    @intrinsic
    def made(typing_context, x, x0, x_row, x_k, w, w0, w_row, depth, y, y0, y_row):
        size = types.intp
        signature = types.void(x, size, size, size, w, size, size, size, y, size, size)
        return signature, functools.partial(_product_code, rows)

    return made


def _product_code(rows: int, context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    x, x0, x_row, x_k, w, w0, w_row, depth, y, y0, y_row = args
    kinds = signature.args
    targets = [
        (row, constant(v * LANES))
        for row in rows_of(builder, element(context, builder, kinds[8], y, y0), y_row, rows)
        for v in range(2)
    ]
    first = [load(builder, row, offset, FLOATS) for row, offset in targets]
    x_start, w_start = element(context, builder, kinds[0], x, x0), element(context, builder, kinds[4], w, w0)
    found = _multiplied(builder, x_start, x_row, x_k, rows, w_start, w_row, depth, first)
    for value, (row, offset) in zip(found, targets, strict=True):
        store(builder, value, row, offset)
    return context.get_dummy_value()


@intrinsic
def dots(typing_context, x, x0, x_row, w, w0, depth, y, y0):
    """y[y0 + i] = the product of row i of x, i < ROWS, and of w, in neighbors both; depth: a multiple of LANES."""
    size = types.intp
    return types.void(x, size, size, w, size, size, y, size), _dots_code


def _dots_code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    x, x0, x_row, w, w0, depth, y, y0 = args
    kinds = signature.args
    w_start = element(context, builder, kinds[3], w, w0)
    x_rows = rows_of(builder, element(context, builder, kinds[0], x, x0), x_row, ROWS)
    added = function(builder, "avx512bf16.dpbf16ps.512", FLOATS, FLOATS, PAIRS, PAIRS)

    def further(k: Any, sums: list[Any]) -> list[Any]:
        weights = load(builder, w_start, k, PAIRS)
        return [
            builder.call(added, [total, load(builder, row, k, PAIRS), weights])
            for total, row in zip(sums, x_rows, strict=True)
        ]

    values = counted(builder, depth, LANES, [ZERO] * ROWS, further)
    group = 1
    while group < ROWS:  # lane l belongs to row l mod group of the rows that a vector has
        values = [_merged(builder, a, b, group) for a, b in zip(values[::2], values[1::2], strict=True)]
        group *= 2
    halves = [ir.Constant(ir.VectorType(WORD, ROWS), list(range(first, first + ROWS))) for first in (0, ROWS)]
    total = builder.fadd(*(builder.shuffle_vector(values[0], values[0], order) for order in halves))
    store(builder, total, element(context, builder, kinds[6], y, y0), constant(0))
    return context.get_dummy_value()


def _merged(builder: ir.IRBuilder, a: Any, b: Any, group: int) -> Any:
    """The sums of every second group of lanes of a with the next, and likewise of b, in turns."""
    lanes = range(LANES)
    orders = (
        [
            lane - lane % (2 * group) + lane % group + part * group + LANES * (lane % (2 * group) >= group)
            for lane in lanes
        ]
        for part in range(2)
    )
    return builder.fadd(*(builder.shuffle_vector(a, b, ir.Constant(WORDS, order)) for order in orders))


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
    columns = [load(builder, weights, constant(j * LANES), FLOATS) for j in range(2)]
    of_rows = rows_of(builder, element(context, builder, kinds[6], g, g0), g_row, ROWS)
    first = [builder.fmul(splat(builder, builder.load(row)), column) for row in of_rows for column in columns]
    x_start, w_start = element(context, builder, kinds[0], x, x0), element(context, builder, kinds[3], w, w0)
    found = _panel_product(builder, x_start, x_row, w_start, depth, first)
    outputs = rows_of(builder, element(context, builder, kinds[11], h, h0), h_row, ROWS)
    any_sign, zeros = (ir.Constant(BITS, [bits] * (2 * LANES)) for bits in (0x7FFF, 0))
    for i, row in enumerate(outputs):
        seen = builder.icmp_unsigned("!=", builder.and_(load(builder, row, constant(0), BITS), any_sign), zeros)
        for j in range(2):
            order = ir.Constant(WORDS, list(range(LANES * j, LANES * (j + 1))))
            half = builder.shuffle_vector(seen, seen, order)
            found[2 * i + j] = builder.select(half, found[2 * i + j], ZERO)
    sums = element(context, builder, kinds[14], total, total0)
    for j in range(2):
        values = found[j::2]
        while len(values) > 1:  # a fixed tree
            values = [builder.fadd(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
        before = load(builder, sums, constant(j * LANES), FLOATS)
        store(builder, builder.fadd(before, values[0]), sums, constant(j * LANES))
    for i, row in enumerate(rows_of(builder, element(context, builder, kinds[16], neighbors, n0), n_row, ROWS)):
        store(builder, packed(builder, found[2 * i], found[2 * i + 1]), row, constant(0))
    target = element(context, builder, kinds[19], stacked, s0)
    for i, row in enumerate(rows_of(builder, target, s_row, ROWS // 2)):
        for j in range(2):
            store(builder, stacked_words(builder, found[4 * i + j], found[4 * i + 2 + j]), row, constant(j * LANES))
    return context.get_dummy_value()
