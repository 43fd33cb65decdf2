"""Philox4x32-10 in Numba: ``words`` and ``to_uniform`` are for use inside other kernels."""

import numpy as np

from ..jit import inline, jit

MASK = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
LEFT, RIGHT = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
LOW, HIGH = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
EIGHT = np.uint64(8)
SCALE = np.float32(2.0**-24)


@inline
def words(seed, element, sample, step, stream):
    """The four words, as uint64, at counter (element, sample, step, stream)."""
    low, high = np.uint64(seed) & MASK, np.uint64(seed) >> HALF
    c0, c1, c2, c3 = np.uint64(element), np.uint64(sample), np.uint64(step), np.uint64(stream)
    for _ in range(10):
        left, right = c0 * LEFT, c2 * RIGHT
        c0, c1, c2, c3 = (right >> HALF) ^ c1 ^ low, right & MASK, (left >> HALF) ^ c3 ^ high, left & MASK
        low, high = (low + LOW) & MASK, (high + HIGH) & MASK
    return c0, c1, c2, c3


@inline
def to_uniform(word):
    """float32 in [0, 1): the word's upper 24 bits, exactly."""
    return np.float32(word >> EIGHT) * SCALE


@jit(parallel=False)
def _uniform(seed, step, stream, first, out):
    for i in range(out.shape[0]):
        block = words(seed, first + i, 0, step, stream)
        for j in range(out.shape[1]):
            out[i, j] = to_uniform(block[j])


def fill(draw, stream, out):
    """``out`` (count, per), filled with uniform numbers."""
    _uniform(draw.seed, draw.step, stream, draw.first, out.numpy())
    return out
