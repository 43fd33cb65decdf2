"""Matrix products inside Numba: a register tile written in LLVM's vector instructions, and panels of it.

Products of 64 to 256 columns are too small for a library call each: here they are part of the kernel, so that a block
of samples stays in the cache from its embedding to its colors. One tile keeps ROWS x 2 vectors of sums in registers;
a step of its depth is two loads, ROWS broadcasts and 2 ROWS fused multiply-adds. Strides are free, so the same tile
serves x W^T, dz W and dz^T h.
"""

from typing import Any

import llvmlite.ir as ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from ..jit import cached

# Of the processor that Numba compiles for (NUMBA_CPU_NAME=generic is not the one at hand), because Numba names its
# cached kernels by it: a cache that several machines share must not hold kernels of another tile than theirs.
_TRIPLE, _, _features = cpu_target.target_context.codegen().magic_tuple()
_FEATURES = _features.split(",")
LANES = 16 if "+avx512f" in _FEATURES else 8 if "+avx2" in _FEATURES else 4  # float32 numbers in a vector register
ROWS = 4 if LANES < 16 and _TRIPLE.startswith("x86") else 8  # x86 has 16 registers before AVX-512, the others have 32
COLUMNS = 2 * LANES
DEPTH = 256  # a panel of this depth and COLUMNS columns (32 KiB with AVX-512) stays in the first cache

_INDEX, _FLOAT = ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


@intrinsic
def tile(typing_context, x, x0, x_row, x_k, w, w0, w_row, y, y0, y_row, depth):
    """y[y0 + i y_row + j] += sum over k < depth of x[x0 + i x_row + k x_k] w[w0 + k w_row + j]: i < ROWS, j < COLUMNS.

    x, w, y: flat float32 arrays; the rest are positions and strides in elements. depth is at least 1. No bounds checks.
    """
    size = types.intp
    signature = types.void(x, size, size, size, w, size, size, y, size, size, size)
    return signature, _tile_code


def _tile_code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    """Emit the loop over the depth, sums in registers."""
    x, x0, x_row, x_k, w, w0, w_row, y, y0, y_row, depth = args
    multiply_add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fmuladd.v{LANES}f32"
    )

    def constant(value: int) -> ir.Constant:
        return ir.Constant(_INDEX, value)

    def pointer(position: int, array: Any, offset: Any) -> Any:
        return builder.gep(context.make_array(signature.args[position])(context, builder, array).data, [offset])

    def vector_at(start: Any, offset: Any) -> Any:
        return builder.bitcast(builder.gep(start, [offset]), _VECTOR.as_pointer())

    x_start, w_start, y_start = pointer(0, x, x0), pointer(4, w, w0), pointer(7, y, y0)
    cells = [
        vector_at(y_start, builder.add(builder.mul(constant(i), y_row), constant(v * LANES)))
        for i in range(ROWS)
        for v in range(2)
    ]
    first = [builder.load(cell, align=4) for cell in cells]
    x_rows = [builder.mul(constant(i), x_row) for i in range(ROWS)]

    before, loop, after = builder.block, builder.append_basic_block("depth"), builder.append_basic_block("stored")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(_INDEX)
    sums = [builder.phi(_VECTOR) for _ in cells]
    w_here, x_here = builder.gep(w_start, [builder.mul(k, w_row)]), builder.gep(x_start, [builder.mul(k, x_k)])
    columns = [builder.load(vector_at(w_here, constant(v * LANES)), align=4) for v in range(2)]
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    found = []
    for i in range(ROWS):
        scalar = builder.load(builder.gep(x_here, [x_rows[i]]))
        single = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        factor = builder.shuffle_vector(single, undefined, everywhere)
        found += [builder.call(multiply_add, [factor, columns[v], sums[2 * i + v]]) for v in range(2)]
    following = builder.add(k, constant(1))
    k.add_incoming(constant(0), before)
    k.add_incoming(following, loop)
    for value, start, end in zip(sums, first, found, strict=True):
        value.add_incoming(start, before)
        value.add_incoming(end, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
    builder.position_at_end(after)
    for cell, value in zip(cells, found, strict=True):
        builder.store(value, cell, align=4)
    return context.get_dummy_value()


@cached(nogil=True, error_model="numpy")
def multiply(x, x0, x_row, x_k, w, w0, w_row, y, y0, y_row, rows, depth):
    """COLUMNS columns of a product: y[i, j] += sum_k x[i, k] w[k, j] for i < rows, a multiple of ROWS."""
    for k in range(0, depth, DEPTH):
        for i in range(0, rows, ROWS):
            tile(x, x0 + i * x_row + k * x_k, x_row, x_k, w, w0 + k * w_row, w_row, y, y0 + i * y_row, y_row,
                 min(DEPTH, depth - k))  # fmt: skip
