"""The lazy Adam on a CPU: one pass that reads the gradients, and the rest only in vectors that have one."""

import math
from typing import Any

import llvmlite.ir as ir
import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from ..jit import jit
from ..products import LANES, element, multiply_add, splat, vector_at

SHARE = 1024  # vectors of a thread's turn


@intrinsic
def _step_vector(typing_context, p, g, m, v, start, rest1, keep2, rest2, rate, scale, eps):
    """The step of elements start to start + LANES - 1 of flat arrays, where one of them has a gradient.

    keep: the betas, rest: 1 - beta, scale: 1 / sqrt(1 - beta2^t).
    """
    number = types.float32
    return types.void(p, g, m, v, types.intp, *[number] * 6), _step_code


def _step_code(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    arrays, start = args[:4], args[4]
    rest1, keep2, rest2, rate, scale, eps = (splat(builder, number) for number in args[5:])
    kind, nowhere = ir.VectorType(ir.FloatType(), LANES), ir.Constant(ir.IntType(64), 0)
    cells = [
        vector_at(builder, element(context, builder, kind_of_one, array, start), nowhere)
        for kind_of_one, array in zip(signature.args, arrays, strict=False)
    ]
    gradient = builder.load(cells[1], align=4)
    has = builder.fcmp_unordered("une", gradient, ir.Constant(kind, [0.0] * LANES))
    mask = ir.IntType(LANES)
    added = multiply_add(builder)
    root = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), f"llvm.sqrt.v{LANES}f32")
    with builder.if_then(builder.icmp_unsigned("!=", builder.bitcast(has, mask), ir.Constant(mask, 0))):
        p, m, v = (builder.load(cells[i], align=4) for i in (0, 2, 3))
        mean = builder.call(added, [rest1, builder.fsub(gradient, m), m])
        square = builder.call(added, [builder.fmul(rest2, gradient), gradient, builder.fmul(keep2, v)])
        width = builder.call(added, [builder.call(root, [square]), scale, eps])
        moved = builder.fsub(p, builder.fdiv(builder.fmul(rate, mean), width))
        for cell, new, old in ((cells[0], moved, p), (cells[2], mean, m), (cells[3], square, v)):
            builder.store(builder.select(has, new, old), cell, align=4)
    return context.get_dummy_value()


@jit
def _step(p, g, m, v, numbers):
    rest1, keep2, rest2, rate, scale, eps = numbers
    vectors = len(p) // LANES
    for index in numba.prange((vectors + SHARE - 1) // SHARE):
        turn = int(np.int64(index))  # the index of a parallel loop is unsigned
        for vector in range(turn * SHARE, min(turn * SHARE + SHARE, vectors)):
            _step_vector(p, g, m, v, vector * LANES, rest1, keep2, rest2, rate, scale, eps)
    _step_rest(p, g, m, v, vectors * LANES, numbers)


@jit(parallel=False)
def _step_rest(p, g, m, v, first, numbers):
    """The step of less than a vector of elements, from ``first`` on."""
    rest1, keep2, rest2, rate, scale, eps = numbers
    left, ends = len(p) - first, np.zeros(4 * LANES, np.float32)
    ends[:left] = p[first:]
    ends[LANES : LANES + left] = g[first:]
    ends[2 * LANES : 2 * LANES + left] = m[first:]
    ends[3 * LANES : 3 * LANES + left] = v[first:]
    _step_vector(ends, ends[LANES:], ends[2 * LANES :], ends[3 * LANES :], 0, rest1, keep2, rest2, rate, scale, eps)
    p[first:] = ends[:left]
    m[first:] = ends[2 * LANES : 2 * LANES + left]
    v[first:] = ends[3 * LANES : 3 * LANES + left]


def lazy_adam(parameter, gradient, mean, square, step, rate, beta1, beta2, eps, found):
    """See the package for the formula."""
    if found is not None and found.item() != 0:
        return
    arrays = (t.detach().view(-1).numpy() for t in (parameter, gradient, mean, square))
    numbers = (1 - beta1, beta2, 1 - beta2, rate / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step), eps)
    _step(*arrays, tuple(map(np.float32, numbers)))
