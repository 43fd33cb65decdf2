"""The harmonic embedding in Triton: chunks of its columns, formed on the chip from positions."""

import triton
import triton.language as tl

from .turns import SINE

S0, S1, S2, S3, S4, S5 = (tl.constexpr(float(c)) for c in SINE)


@triton.jit
def sine_of_turns(t):
    """sin(2 pi t) for any t."""
    t -= tl.floor(t + 0.5)
    t = tl.where(t > 0.25, 0.5 - t, t)
    t = tl.where(t < -0.25, -0.5 - t, t)
    q = t * t
    return t * (S0 + q * (S1 + q * (S2 + q * (S3 + q * (S4 + q * S5)))))


@triton.jit
def turns_by_integers(v, octave, inverse_turn_ptr):
    """v 2^octave / (2 pi) less whole turns, in [-1/2, 1/2): (M,), (N,) -> (M, N). ``octaves.py`` has the derivation."""
    bits = tl.abs(v).to(tl.int32, bitcast=True)
    exponent = bits >> 23
    mantissa = bits & 0x7FFFFF
    mantissa = tl.where(exponent > 0, mantissa | 0x800000, mantissa).to(tl.uint64)
    s = tl.where(exponent > 0, exponent - 150, -149)
    # The product of the mantissa and floor(2^128 / (2 pi)), 32 bits a word.
    part = mantissa * tl.load(inverse_turn_ptr).to(tl.uint64)
    p0 = part & 0xFFFFFFFF
    part = (part >> 32) + mantissa * tl.load(inverse_turn_ptr + 1).to(tl.uint64)
    p1 = part & 0xFFFFFFFF
    part = (part >> 32) + mantissa * tl.load(inverse_turn_ptr + 2).to(tl.uint64)
    p2 = part & 0xFFFFFFFF
    part = (part >> 32) + mantissa * tl.load(inverse_turn_ptr + 3).to(tl.uint64)
    p3 = part & 0xFFFFFFFF
    p4 = part >> 32
    first = 96 - s[:, None] - octave[None, :]  # the lowest of the 32 bits behind the point
    word = first >> 5
    pair = tl.where(word == 0, (p0 | (p1 << 32))[:, None], 0)
    pair = tl.where(word == 1, (p1 | (p2 << 32))[:, None], pair)
    pair = tl.where(word == 2, (p2 | (p3 << 32))[:, None], pair)
    pair = tl.where(word == 3, (p3 | (p4 << 32))[:, None], pair)
    pair = tl.where(word == 4, p4[:, None], pair)
    behind = (pair >> (first & 31).to(tl.uint64)).to(tl.int32)
    turns = behind.to(tl.float32) * 2.0**-32
    return tl.where(v[:, None] < 0, -turns, turns)


@triton.jit
def embed(
    x0, x1, x2, c, zero, table_ptr, inverse_turn_ptr,
    OMEGA: tl.constexpr, OCTAVES: tl.constexpr, EXACT: tl.constexpr, CHUNKS: tl.constexpr, CHUNK: tl.constexpr,
    SLOPE: tl.constexpr,
):  # fmt: skip
    """Chunk ``c`` of the padded embedding (M, CHUNK), or with SLOPE its derivative by the phase (by x where linear)."""
    k = tl.arange(0, CHUNK) + zero
    column = c * CHUNK + k
    shift = tl.load(table_ptr + 3 * CHUNKS * CHUNK + column)
    linear = tl.load(table_ptr + 4 * CHUNKS * CHUNK + column) != 0
    if SLOPE:
        shift += 0.25
    if EXACT:
        EACH: tl.constexpr = (OCTAVES + CHUNK - 1) // CHUNK  # chunks of a group: the sines or cosines of an axis
        v = tl.where(c < 2 * EACH, x0, tl.where(c < 4 * EACH, x1, x2)) * OMEGA
        octave = (c % EACH) * CHUNK + k
        turns = turns_by_integers(v, octave, inverse_turn_ptr) + shift[None, :]
        wave = tl.where((octave < OCTAVES)[None, :], sine_of_turns(turns), 0.0)
        itself = tl.where(k == 0, x0[:, None], tl.where(k == 1, x1[:, None], x2[:, None]))
    else:
        a0 = tl.load(table_ptr + column)
        a1 = tl.load(table_ptr + CHUNKS * CHUNK + column)
        a2 = tl.load(table_ptr + 2 * CHUNKS * CHUNK + column)
        # Exact: at most one of the three is not 0, and that is a power of two.
        turns = x0[:, None] * a0[None, :] + x1[:, None] * a1[None, :] + x2[:, None] * a2[None, :]
        itself = turns
        wave = sine_of_turns(turns - tl.floor(turns + 0.5) + shift[None, :])
    if SLOPE:
        itself = tl.full(wave.shape, 1.0, tl.float32)
    return tl.where(linear[None, :], itself, wave)
