"""Embeddings of any lowest frequency and up to 64 octaves, by exact range reduction in integers.

The phase of octave k is v 2^k with v = omega0 x rounded to float32 once. With v = m 2^s (m an integer of 24 bits) and
1 / (2 pi) as a 128-bit integer C, P = m C holds v in turns, and octave k is 32 of its bits: shifting replaces 60
reductions of huge arguments (Payne and Hanek 1983, once an axis instead of once a wave). The result is that of an
exact sine of the same float32 numbers.
"""

import numpy as np

from ..elementary import rowwise
from ..jit import inline
from .sine import QUARTER, THREE_QUARTERS, sine_of_turns
from .turns import INVERSE_TURN

MOST_OCTAVES = 64

LOW, WORD = np.uint64(0xFFFFFFFF), np.uint64(32)
TURN, ONE = np.float32(2.0**-32), np.float32(1)


@inline
def _turns(v, product):
    """P = m C of |v| into words 2 to 6 of nine 32-bit words (the rest stay 0); returns s."""
    bits = np.float32(abs(v)).view(np.uint32)
    exponent = np.int64(bits >> np.uint32(23))
    mantissa = np.uint64(bits & np.uint32(0x7FFFFF))
    if exponent > 0:
        mantissa |= np.uint64(0x800000)
    carry = np.uint64(0)
    for i in range(4):
        carry += mantissa * INVERSE_TURN[i]
        product[2 + i] = carry & LOW
        carry >>= WORD
    product[6] = carry
    return exponent - 150 if exponent > 0 else -149


@inline
def _window(product, position):
    """64 bits of ``product`` from bit ``position`` of P on; zeros where it has none."""
    word, shift = (position >> 5) + 2, np.uint64(position & 31)
    if word < 0 or word > 6:
        return np.uint64(0)
    low = product[word] | (product[word + 1] << WORD)
    return (low >> shift) | ((product[word + 2] << WORD) << (WORD - shift))


@rowwise
def embed_octaves(x, omega0, octaves, out, stride):
    """[sin(v_i 2^k), cos(v_i 2^k)] of rows of x for v = float32(omega0 x), into rows of the flat array ``out``."""
    product, turns = np.zeros(9, np.uint64), np.empty(MOST_OCTAVES, np.float32)
    for r in range(x.shape[0]):
        for axis in range(3):
            v = x[r, axis] * omega0
            s = _turns(v, product)
            sign = ONE if v >= 0 else -ONE
            if not np.isfinite(v):
                sign = np.float32(np.nan)
            for chunk in range(0, octaves, 32):
                # Octave k has the 32 bits below bit 128 - s - k of P, in turns: 32 octaves lie within 63 bits.
                window = _window(product, 96 - s - chunk - 31)
                for k in range(min(32, octaves - chunk)):
                    turns[chunk + k] = np.float32(np.int32(np.uint32((window >> np.uint64(31 - k)) & LOW))) * TURN
            row = r * stride + 2 * axis * octaves
            for k in range(octaves):
                out[row + k] = sine_of_turns(turns[k]) * sign
            for k in range(octaves):
                t = turns[k]
                t = t + QUARTER if t < QUARTER else t - THREE_QUARTERS
                out[row + octaves + k] = sine_of_turns(t) * abs(sign)
