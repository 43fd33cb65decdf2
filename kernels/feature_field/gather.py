"""Rows of a table for many samples at a time, in LLVM's vector instructions: pairs of features, loaded one by one.

A gather is slower: what it loads side by side it also loads one by one.
"""

import functools
from typing import Any

import llvmlite.ir as ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ..products import LANES, element, multiply_add, splat

_INDEX, _INT, _PAIR, _FLOAT = ir.IntType(64), ir.IntType(32), ir.IntType(64), ir.FloatType()
_FLOATS, _INTS, _PAIRS = (ir.VectorType(kind, LANES) for kind in (_FLOAT, _INT, _PAIR))
_TWO = ir.VectorType(_FLOAT, 2)


def _vector(builder: ir.IRBuilder, context: Any, kind: Any, array: Any, offset: Any, vector: ir.Type) -> Any:
    """The address of a vector in an array."""
    return builder.bitcast(element(context, builder, kind, array, offset), vector.as_pointer())


@intrinsic
def interpolate_pairs(typing_context, table, first, pairs, pair, rows, weights, stride, start, out, o0, o_stride):
    """out[o0 + i], out[o0 + o_stride + i] = sum over c < 8 of weights[c stride + start + i] times features 2 pair and
    2 pair + 1 of the row rows[c stride + start + i], for i < LANES.

    table: flat float32, whose row r begins at element 2 (first + r pairs); rows: flat int32; weights: flat float32.
    """
    size = types.intp
    signature = types.void(table, size, size, size, rows, weights, size, size, out, size, size)
    return signature, _interpolate_pairs


def _interpolate_pairs(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    table, first, pairs, pair, rows, weights, stride, start, out, o0, o_stride = args
    kinds = signature.args
    two = ir.Constant(_INDEX, 2)
    base = _vector(builder, context, kinds[0], table, builder.mul(builder.add(first, pair), two), _PAIR)
    added = multiply_add(builder)
    sums = [ir.Constant(_FLOATS, [0.0] * LANES)] * 2
    doubled = ir.VectorType(_FLOAT, 2 * LANES)
    for c in range(8):
        offset = builder.add(builder.mul(ir.Constant(_INDEX, c), stride), start)
        row = element(context, builder, kinds[4], rows, offset)
        weight = builder.load(_vector(builder, context, kinds[5], weights, offset, _FLOATS), align=4)
        found = ir.Constant(_PAIRS, ir.Undefined)
        for lane in range(LANES):
            number = builder.zext(builder.load(builder.gep(row, [ir.Constant(_INDEX, lane)])), _INDEX)
            value = builder.load(builder.gep(base, [builder.mul(number, pairs)]), align=8)
            found = builder.insert_element(found, value, ir.Constant(_INT, lane))
        found = builder.bitcast(found, doubled)
        undefined = ir.Constant(doubled, ir.Undefined)
        for k in range(2):
            lanes = ir.Constant(_INTS, [2 * i + k for i in range(LANES)])
            sums[k] = builder.call(added, [builder.shuffle_vector(found, undefined, lanes), weight, sums[k]])
    for k in range(2):
        offset = builder.add(o0, builder.mul(ir.Constant(_INDEX, k), o_stride))
        builder.store(sums[k], _vector(builder, context, kinds[8], out, offset, _FLOATS), align=4)
    return context.get_dummy_value()


def _nodes_of(hashed: bool) -> Any:
    @intrinsic
    def nodes(
        typing_context, points, p0, p_stride, resolution, last, step_y, step_z, mask, rows, weights, start, stride
    ):
        size, number, whole = types.intp, types.float32, types.int32
        signature = types.void(points, size, size, number, whole, whole, whole, whole, rows, weights, size, size)
        return signature, functools.partial(_nodes, hashed)

    return nodes


def cell_of(builder: ir.IRBuilder, x: Any, resolution: Any, last: Any) -> tuple[Any, Any]:
    """The cell of coordinates from 0 to 1, and where in it; vectors, ``last`` the number of the last cell."""
    scaled = builder.fmul(x, resolution)
    zero = ir.Constant(_FLOATS, [0.0] * LANES)
    number = builder.select(builder.fcmp_unordered("uno", x, x), zero, scaled)  # NaN has no cell, but weights
    cell = builder.fptosi(number, _INTS)
    cell = builder.select(builder.icmp_signed("<", cell, last), cell, last)
    return cell, builder.fsub(scaled, builder.sitofp(cell, _FLOATS))


def _nodes(hashed: bool, context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    points, p0, p_stride, resolution, last, step_y, step_z, mask, rows, weights, start, stride = args
    kinds = signature.args
    resolution, last, step_y, step_z, mask = (splat(builder, v) for v in (resolution, last, step_y, step_z, mask))
    one = ir.Constant(_FLOATS, [1.0] * LANES)
    ends, shares = [], []
    for axis, step in enumerate((ir.Constant(_INTS, [1] * LANES), step_y, step_z)):
        offset = builder.add(p0, builder.mul(ir.Constant(_INDEX, axis), p_stride))
        x = builder.load(_vector(builder, context, kinds[0], points, offset, _FLOATS), align=4)
        cell, inside = cell_of(builder, x, resolution, last)
        low = cell if axis == 0 else builder.mul(cell, step)
        ends.append((low, builder.add(low, step)))
        shares.append((builder.fsub(one, inside), inside))
    combine = builder.xor if hashed else builder.add
    for c in range(8):
        i, j, k = c & 1, c >> 1 & 1, c >> 2
        row = combine(ends[0][i], combine(ends[1][j], ends[2][k]))
        if hashed:
            row = builder.and_(row, mask)
        weight = builder.fmul(shares[0][i], builder.fmul(shares[1][j], shares[2][k]))
        offset = builder.add(start, builder.mul(ir.Constant(_INDEX, c), stride))
        builder.store(row, _vector(builder, context, kinds[8], rows, offset, _INTS), align=4)
        builder.store(weight, _vector(builder, context, kinds[9], weights, offset, _FLOATS), align=4)
    return context.get_dummy_value()


dense_nodes, hashed_nodes = _nodes_of(False), _nodes_of(True)


@intrinsic
def add_pair(typing_context, array, start, weight, a, b):
    """array[start] += weight a, array[start + 1] += weight b."""
    number = types.float32
    return types.void(array, types.intp, number, number, number), _add_pair


def _add_pair(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    array, start, weight, a, b = args
    place = _vector(builder, context, signature.args[0], array, start, _TWO)
    both = ir.Constant(_TWO, ir.Undefined)
    values, factor = both, both
    for lane, value in enumerate((a, b)):
        values = builder.insert_element(values, value, ir.Constant(_INT, lane))
        factor = builder.insert_element(factor, weight, ir.Constant(_INT, lane))
    kind = ir.FunctionType(_TWO, [_TWO] * 3)
    added = cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.v2f32")
    total = builder.call(added, [values, factor, builder.load(place, align=4)])
    builder.store(total, place, align=4)
    return context.get_dummy_value()
