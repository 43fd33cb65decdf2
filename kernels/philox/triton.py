"""Philox4x32-10 in Triton: ``words`` and ``to_uniform`` are for use inside other kernels.

A kernel that takes a seed or a step declares it ``do_not_specialize``: a new value must not mean a new compilation.
"""

import triton
import triton.language as tl


@triton.jit
def words(seed, element, sample, step, stream):
    """The four uint32 words at counter (element, sample, step, stream); ``element`` gives the shape."""
    element = element.to(tl.uint32)
    zero = element ^ element
    return tl.philox(seed, element, zero + sample.to(tl.uint32), zero + step.to(tl.uint32), zero + stream)


@triton.jit
def to_uniform(word):
    """float32 in [0, 1): the word's upper 24 bits, exactly."""
    return (word >> 8).to(tl.float32) * 5.9604644775390625e-08


@triton.jit(do_not_specialize=["seed", "step", "stream", "first"])
def uniform_kernel(out, seed, step, stream, first, count, PER: tl.constexpr, BLOCK: tl.constexpr):
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = element < count
    a, b, c, d = words(seed, first + element, element ^ element, step, stream)
    out += element.to(tl.int64) * PER
    tl.store(out, to_uniform(a), inside)
    if PER > 1:
        tl.store(out + 1, to_uniform(b), inside)
    if PER > 2:
        tl.store(out + 2, to_uniform(c), inside)
    if PER > 3:
        tl.store(out + 3, to_uniform(d), inside)


def fill(draw, stream, out):
    """``out`` (count, per), filled with uniform numbers."""
    count, per = out.shape
    if count:
        uniform_kernel[(triton.cdiv(count, 256),)](
            out, draw.seed, draw.step, stream, draw.first, count, PER=per, BLOCK=256
        )
    return out
