"""Planes of features in LLVM's vector instructions: the features of a node are the lanes.

A node's features lie side by side, so that a look-up is whole vectors, one sample after the other. A plane of a level
is named by the place, in a flat table, of the node of a cell with the least coordinates; ``next`` and ``side`` are the
steps to its neighbors along the plane's two axes.
"""

from typing import Any, NamedTuple

import llvmlite.ir as ir
from numba.core import types
from numba.core.types.containers import UniTuple
from numba.extending import intrinsic

from ..products import LANES, element, multiply_add, splat, vector_at
from .gather import cell_of
from .spec import AXES

_INDEX, _INT, _FLOAT = ir.IntType(64), ir.IntType(32), ir.FloatType()
_PLACES, _SHARES = UniTuple(types.intp, 3), UniTuple(types.float32, 3)
_FLOATS, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)


class _Arrays:
    """Loads and stores of vectors at a place in one of an intrinsic's arrays."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> None:
        self.context, self.builder, self.kinds, self.args = context, builder, signature.args, args

    def address(self, array: int, offset: Any, kind: ir.Type = _FLOATS) -> Any:
        start = element(self.context, self.builder, self.kinds[array], self.args[array], offset)
        return vector_at(self.builder, start, ir.Constant(_INDEX, 0), kind)

    def load(self, array: int, offset: Any, kind: ir.Type = _FLOATS) -> Any:
        return self.builder.load(self.address(array, offset, kind), align=4)

    def store(self, array: int, offset: Any, value: Any) -> None:
        self.builder.store(value, self.address(array, offset, value.type), align=4)

    def add(self, array: int, offset: Any, value: Any) -> None:
        self.store(array, offset, self.builder.fadd(self.load(array, offset), value))


class _Value(NamedTuple):
    """What is interpolated between four nodes, and its derivatives along the plane's axes, in units of a cell."""

    value: Any
    first: Any
    second: Any


def _corners(builder: ir.IRBuilder, place: Any, step: Any, side: Any) -> list[Any]:
    """The places of a cell's four nodes, the first axis fastest."""
    beyond = builder.add(place, side)
    return [place, builder.add(place, step), beyond, builder.add(beyond, step)]


def _interpolated(arrays: _Arrays, places: list[Any], s: Any, t: Any) -> _Value:
    """From the table, argument 0 of an intrinsic. What nobody uses of the result costs nothing."""
    builder, added = arrays.builder, multiply_add(arrays.builder)
    a, b, c, d = (arrays.load(0, place) for place in places)
    along, beyond = builder.fsub(b, a), builder.fsub(d, c)
    low, high = builder.call(added, [along, s, a]), builder.call(added, [beyond, s, c])
    rise = builder.fsub(high, low)
    first = builder.call(added, [builder.fsub(beyond, along), t, along])
    return _Value(builder.call(added, [rise, t, low]), first, rise)


@intrinsic
def first_nodes(typing_context, points, p0, p_stride, resolution, last, side, rows, shares, start, stride):
    """Of LANES samples rows[p stride + start + i], the row of the first node of their cell in plane p, and
    shares[axis stride + start + i], where in their cell they lie.

    points: coordinate ``axis`` of sample i, from 0 to 1, at p0 + axis p_stride + i; side: nodes along a plane.
    """
    size, number, whole = types.intp, types.float32, types.int32
    return types.void(points, size, size, number, whole, whole, rows, shares, size, size), _first_nodes


def _first_nodes(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    _, p0, p_stride, resolution, last, side, _, _, start, stride = args
    arrays = _Arrays(context, builder, signature, args)
    resolution, last, side = (splat(builder, value) for value in (resolution, last, side))

    def place(begin: Any, number: int, step: Any) -> Any:
        return builder.add(begin, builder.mul(ir.Constant(_INDEX, number), step))

    cells = []
    for axis in range(3):
        cell, inside = cell_of(builder, arrays.load(0, place(p0, axis, p_stride)), resolution, last)
        cells.append(cell)
        arrays.store(7, place(start, axis, stride), inside)
    for number, (first, second) in enumerate(AXES):
        arrays.store(6, place(start, number, stride), builder.add(cells[first], builder.mul(cells[second], side)))
    return context.get_dummy_value()


@intrinsic
def plane_product(typing_context, table, places, next, side, shares, out, o0):
    """out[o0 + i] = the product of the three planes' interpolated features i < LANES.

    table, out: flat float32; places: of the three planes; shares: where in its cell the sample lies.
    """
    size = types.intp
    return types.void(table, _PLACES, size, size, _SHARES, out, size), _plane_product


def _unpacked(builder: ir.IRBuilder, places: Any, shares: Any) -> tuple[list[Any], list[Any]]:
    """Places, and shares in all lanes."""
    return (
        [builder.extract_value(places, i) for i in range(3)],
        [splat(builder, builder.extract_value(shares, i)) for i in range(3)],
    )


def _three(arrays: _Arrays, places: Any, step: Any, side: Any, shares: Any) -> list[_Value]:
    builder = arrays.builder
    starts, inside = _unpacked(builder, places, shares)
    return [
        _interpolated(arrays, _corners(builder, start, step, side), inside[first], inside[second])
        for start, (first, second) in zip(starts, AXES, strict=True)
    ]


def _plane_product(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    _, places, step, side, shares, _, o0 = args
    arrays = _Arrays(context, builder, signature, args)
    xy, xz, yz = (plane.value for plane in _three(arrays, places, step, side, shares))
    arrays.store(5, o0, builder.fmul(builder.fmul(xy, xz), yz))
    return context.get_dummy_value()


@intrinsic
def add_slopes(typing_context, table, places, next, side, shares, deltas, d0, scale, sums, s0):
    """sums[s0 + axis LANES + i] += scale deltas[d0 + i] times the product's derivative along ``axis``, i < LANES."""
    size, number = types.intp, types.float32
    return types.void(table, _PLACES, size, size, _SHARES, deltas, size, number, sums, size), _add_slopes


def _add_slopes(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    _, places, step, side, shares, _, d0, scale, _, s0 = args
    arrays = _Arrays(context, builder, signature, args)
    xy, xz, yz = _three(arrays, places, step, side, shares)
    delta = builder.fmul(arrays.load(5, d0), splat(builder, scale))

    def of_two(one: Any, one_slope: Any, other: Any, other_slope: Any, third: Any) -> Any:
        both = builder.fadd(builder.fmul(one_slope, other), builder.fmul(one, other_slope))
        return builder.fmul(delta, builder.fmul(third, both))

    slopes = [
        of_two(xy.value, xy.first, xz.value, xz.first, yz.value),
        of_two(xy.value, xy.second, yz.value, yz.first, xz.value),
        of_two(xz.value, xz.second, yz.value, yz.second, xy.value),
    ]
    for axis, slope in enumerate(slopes):
        arrays.add(8, builder.add(s0, ir.Constant(_INDEX, axis * LANES)), slope)
    return context.get_dummy_value()


@intrinsic
def add_to_planes(typing_context, table, places, next, side, shares, deltas, d0, gradient, own):
    """Add to the four nodes of planes, in ``gradient``, their shares of deltas[d0 + i] times the others, i < LANES.

    own: bit p is set where plane p is to be added to.
    """
    size = types.intp
    return types.void(table, _PLACES, size, size, _SHARES, deltas, size, gradient, size), _add_to_planes


def _add_to_planes(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    _, places, step, side, shares, _, d0, _, own = args
    arrays = _Arrays(context, builder, signature, args)
    starts, inside = _unpacked(builder, places, shares)
    values = [plane.value for plane in _three(arrays, places, step, side, shares)]
    delta = arrays.load(5, d0)
    for number, (first, second) in enumerate(AXES):
        one, other = (values[i] for i in range(3) if i != number)
        bit = builder.and_(own, ir.Constant(_INDEX, 1 << number))
        with builder.if_then(builder.icmp_unsigned("!=", bit, ir.Constant(_INDEX, 0))):
            low = builder.fmul(delta, builder.fmul(one, other))
            high = builder.fmul(low, inside[second])
            corners = iter(_corners(builder, starts[number], step, side))
            for value in (builder.fsub(low, high), high):
                right = builder.fmul(value, inside[first])
                arrays.add(7, next(corners), builder.fsub(value, right))
                arrays.add(7, next(corners), right)
    return context.get_dummy_value()


@intrinsic
def transpose(typing_context, a, a0, a_row, b, b0, b_row):
    """b[b0 + j b_row + i] = a[a0 + i a_row + j] for i, j < LANES; flat float32 arrays."""
    size = types.intp
    return types.void(a, size, size, b, size, size), _transpose


def _transpose(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    _, a0, a_row, _, b0, b_row = args
    arrays = _Arrays(context, builder, signature, args)

    def place(start: Any, row: int, step: Any) -> Any:
        return builder.add(start, builder.mul(ir.Constant(_INDEX, row), step))

    rows = [arrays.load(0, place(a0, i, a_row)) for i in range(LANES)]
    span = 1
    while span < LANES:  # blocks of span x span change places with those across the diagonal
        low = [j if j & span == 0 else LANES + j - span for j in range(LANES)]
        high = [j + span if j & span == 0 else LANES + j for j in range(LANES)]
        masks = [ir.Constant(_INTS, order) for order in (low, high)]
        for i in (i for i in range(LANES) if i & span == 0):
            pair = rows[i], rows[i + span]
            rows[i], rows[i + span] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        span *= 2
    for j, row in enumerate(rows):
        arrays.store(3, place(b0, j, b_row), row)
    return context.get_dummy_value()
