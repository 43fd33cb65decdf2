"""bfloat16 numbers inside Numba, where the processor multiplies pairs of them (AVX512-BF16), and how rows become them.

A word is an int32 that holds two bfloat16 numbers, the first in its lower half: neighbors in a row, or two numbers one
below the other ("stacked"). Rounding is to the nearest, ties to even; numbers below the normal ones count as 0.
"""

from typing import Any

import llvmlite.ir as ir
from llvmlite.binding import llvm_version_info
from numba.core import cgutils, types
from numba.extending import intrinsic

from .products import LANES, element, supports, vector_at

# Before LLVM 20 these instructions took other types.
AVAILABLE = LANES == 16 and supports("avx512bf16") and llvm_version_info >= (20,)

INDEX, WORD, FLOAT = ir.IntType(64), ir.IntType(32), ir.FloatType()
FLOATS, WORDS = ir.VectorType(FLOAT, LANES), ir.VectorType(WORD, LANES)
BITS = ir.VectorType(ir.IntType(16), 2 * LANES)
ZERO = ir.Constant(FLOATS, [0.0] * LANES)


class _Brain(ir.Type):
    """LLVM's bfloat, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Brain)

    def __hash__(self) -> int:
        return hash(_Brain)


PAIRS = ir.VectorType(_Brain(), 2 * LANES)


def constant(value: int) -> ir.Constant:
    """An offset."""
    return ir.Constant(INDEX, value)


def function(builder: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Type) -> Any:
    """An instruction of x86, by LLVM's name for it."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), f"llvm.x86.{name}")


def packed(builder: ir.IRBuilder, low: Any, high: Any) -> Any:
    """The words of two vectors of floats: [low, high], in neighbors."""
    rounded = function(builder, "avx512bf16.cvtne2ps2bf16.512", PAIRS, FLOATS, FLOATS)
    return builder.bitcast(builder.call(rounded, [high, low]), BITS)


def stacked_words(builder: ir.IRBuilder, upper: Any, lower: Any) -> Any:
    """The words of two vectors of floats, one below the other."""
    both = packed(builder, upper, lower)
    order = [i // 2 + LANES * (i % 2) for i in range(2 * LANES)]
    return builder.shuffle_vector(
        both, ir.Constant(BITS, ir.Undefined), ir.Constant(ir.VectorType(WORD, 2 * LANES), order)
    )


def load(builder: ir.IRBuilder, start: Any, offset: Any, kind: ir.Type) -> Any:
    """A vector from ``offset`` elements behind ``start`` on."""
    return builder.load(vector_at(builder, start, offset, kind), align=4)


def store(builder: ir.IRBuilder, value: Any, start: Any, offset: Any) -> None:
    """A vector, to where ``load`` finds it."""
    builder.store(value, vector_at(builder, start, offset, value.type), align=4)


def rows_of(builder: ir.IRBuilder, start: Any, row: Any, count: int) -> list[Any]:
    """Where ``count`` rows begin, ``row`` elements apart."""
    return [builder.gep(start, [builder.mul(constant(i), row)]) for i in range(count)]


@intrinsic
def stack(typing_context, x, x0, x_row, y, y0):
    """y[y0 + i] = the word of number i of the row x[x0:] and of the row x[x0 + x_row:], i < 2 LANES."""
    size = types.intp
    return types.void(x, size, size, y, size), _stack_code


def _stack_code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    x, x0, x_row, y, y0 = args
    start, target = (
        element(context, builder, signature.args[0], x, x0), element(context, builder, signature.args[3], y, y0)
    )  # fmt: skip
    upper, lower = (load(builder, row, constant(0), BITS) for row in rows_of(builder, start, x_row, 2))
    for part in range(2):
        order = [i // 2 + LANES * part + 2 * LANES * (i % 2) for i in range(2 * LANES)]
        mixed = builder.shuffle_vector(upper, lower, ir.Constant(ir.VectorType(WORD, 2 * LANES), order))
        store(builder, mixed, target, constant(part * LANES))
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
    low, high = (load(builder, start, constant(j * LANES), FLOATS) for j in range(2))
    store(builder, packed(builder, low, high), target, constant(0))
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
        bits = load(builder, start, constant(j * LANES // 2), ir.VectorType(ir.IntType(16), LANES))
        words = builder.shl(builder.zext(bits, WORDS), ir.Constant(WORDS, [16] * LANES))
        before = load(builder, target, constant(j * LANES), FLOATS)
        store(builder, builder.fadd(before, builder.bitcast(words, FLOATS)), target, constant(j * LANES))
    return context.get_dummy_value()
