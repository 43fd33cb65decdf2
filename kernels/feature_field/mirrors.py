"""A direction of each sample, beside the one of its ray: its harmonics are rows below the hidden layer's."""

import math

import numpy as np

from ..elementary import rowwise
from .harmonics import TERMS
from .layout import STRIDE
from .spec import HARMONICS

_FACTORS = tuple(np.float32(math.sqrt(square / math.pi)) for square, _ in TERMS)
ZERO, ONE, THREE, FIVE = (np.float32(value) for value in (0, 1, 3, 5))


@rowwise
def mirrors_of(mirrors):
    """How many rows they take: (S,3) or (0,3), or (0,0) where there is no such direction."""
    return HARMONICS if mirrors.shape[1] > 0 else 0


@rowwise
def mirror_rows(mirrors, first, end, count, z, row):
    """The harmonics of samples first to end in ``count`` columns of 16 rows of z from ``row`` on; 0 in the padding."""
    if mirrors.shape[1] == 0:
        return
    flat, at = mirrors[first:end].reshape(-1), row * STRIDE
    for s in range(end - first):
        i, j, k = flat[3 * s], flat[3 * s + 1], flat[3 * s + 2]
        ii, jj, kk = i * i, j * j, k * k
        z[at + s] = _FACTORS[0]
        z[at + STRIDE + s] = _FACTORS[1] * j
        z[at + 2 * STRIDE + s] = _FACTORS[2] * k
        z[at + 3 * STRIDE + s] = _FACTORS[3] * i
        z[at + 4 * STRIDE + s] = _FACTORS[4] * i * j
        z[at + 5 * STRIDE + s] = _FACTORS[5] * j * k
        z[at + 6 * STRIDE + s] = _FACTORS[6] * (THREE * kk - ONE)
        z[at + 7 * STRIDE + s] = _FACTORS[7] * i * k
        z[at + 8 * STRIDE + s] = _FACTORS[8] * (ii - jj)
        z[at + 9 * STRIDE + s] = _FACTORS[9] * j * (THREE * ii - jj)
        z[at + 10 * STRIDE + s] = _FACTORS[10] * i * j * k
        z[at + 11 * STRIDE + s] = _FACTORS[11] * j * (FIVE * kk - ONE)
        z[at + 12 * STRIDE + s] = _FACTORS[12] * k * (FIVE * kk - THREE)
        z[at + 13 * STRIDE + s] = _FACTORS[13] * i * (FIVE * kk - ONE)
        z[at + 14 * STRIDE + s] = _FACTORS[14] * k * (ii - jj)
        z[at + 15 * STRIDE + s] = _FACTORS[15] * i * (ii - THREE * jj)
    for k in range(HARMONICS):
        z[at + k * STRIDE + end - first : at + k * STRIDE + count] = ZERO
