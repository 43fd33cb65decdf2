"""Embeddings of any lowest frequency and up to 64 octaves, by exact range reduction in integers.

The phase of octave k is v 2^k with v = omega0 x rounded to float32 once. With v = m 2^s (m an integer of 24 bits) and
1 / (2 pi) as a 128-bit integer C, P = m C holds v in turns, and octave k is 32 of its bits: shifting replaces 60
reductions of huge arguments (Payne and Hanek 1983, once an axis instead of once a wave). The result is that of an
exact sine of the same float32 numbers.
"""

import numba
import numpy as np

from ..jit import inline, jit

BLOCK = 512  # samples a thread takes at once
MOST_OCTAVES = 64


def _inverse_turn() -> np.ndarray:
    """floor(2^128 / (2 pi)) as four 32-bit words, least significant first; pi by Machin's formula in integers."""
    one = 1 << 200

    def arctan_of_inverse(n: int) -> int:
        term, total, k = one // n, 0, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term, k = term // (n * n), k + 2
        return total

    pi = 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))
    c = (one << 128) // (2 * pi)
    return np.array([(c >> (32 * i)) & 0xFFFFFFFF for i in range(4)], np.uint64)


INVERSE_TURN = _inverse_turn()
LOW = np.uint64(0xFFFFFFFF)


@inline
def _turns(v, words, product):
    """P = m C of |v| into five 32-bit words (the rest stay 0); returns s."""
    bits = np.float32(abs(v)).view(np.uint32)
    exponent = np.int64(bits >> np.uint32(23))
    mantissa = np.uint64(bits & np.uint32(0x7FFFFF))
    if exponent > 0:
        mantissa |= np.uint64(0x800000)
    carry = np.uint64(0)
    for i in range(4):
        carry += mantissa * words[i]
        product[i] = carry & LOW
        carry >>= np.uint64(32)
    product[4] = carry
    return exponent - 150 if exponent > 0 else -149


@inline
def _phase(product, s, k):
    """Bits of v 2^k in turns just behind the point, as an int32 fraction of a turn, nearest to zero."""
    q = 96 - s - k
    word, shift = q >> 5, np.uint64(q & 31)
    if word > 4:
        return np.int32(0)
    pair = product[word] | (product[word + 1] << np.uint64(32))
    bits = np.int64((pair >> shift) & LOW)
    return np.int32(bits - ((bits >> 31) << 32))


@jit(fastmath=True)
def embed(x, omega0, octaves, append_input, words, coefficients, out):
    """[sin(v_i 2^k), cos(v_i 2^k)][, x] of ``reference.embed`` for v = float32(omega0 x), rows of ``out``."""
    count = x.shape[0]
    turn, quarter, half = np.float32(2.0**-32), np.float32(0.25), np.float32(0.5)
    for block in numba.prange((count + BLOCK - 1) // BLOCK):
        product = np.zeros(6, np.uint64)
        for r in range(block * BLOCK, min(count, (block + 1) * BLOCK)):
            for axis in range(3):
                v = x[r, axis] * omega0
                s = _turns(v, words, product)
                sign = np.float32(-1) if v < 0 else np.float32(1)
                for k in range(octaves):
                    t = np.float32(_phase(product, s, k)) * turn
                    for part in range(2):
                        u = t if part == 0 else (t + quarter if t < quarter else t - np.float32(0.75))
                        u = (half - u) if u > quarter else u
                        u = (-half - u) if u < -quarter else u
                        w = u * u
                        value = coefficients[5]
                        for i in range(5):
                            value = coefficients[4 - i] + w * value
                        out[r, (2 * axis + part) * octaves + k] = u * value * (sign if part == 0 else np.float32(1))
            if append_input:
                for axis in range(3):
                    out[r, 6 * octaves + axis] = x[r, axis]
