"""Triton: a level of a pyramid from the one before it, and back; a lane a texel and channel."""

import triton
import triton.language as tl

LANES = 256  # elements of a program's tile: samples or texels times channels
WIDTH = 16  # most channels a program looks at together
WARPS = 4
# Plain arguments: the levels would otherwise be compiled again for each pattern of ones and multiples of 16.
SIZES = ("texels", "height", "width", "rows", "columns", "channels")


@triton.jit
def _tap(size, half, k, tap):
    """Weight of texel 2 k + ``tap`` in texel k of the next level, 0 if there is no such texel."""
    inverse = tl.div_rn(1.0, size.to(tl.float32))  # of an approximate one every mean would be off, all the same way
    share = tl.where(tap == 0, half - k, tl.where(tap == 1, half, k + 1)) * inverse
    even = tl.where(tap < 2, 0.5, 0.0)
    weight = tl.where(size % 2 == 0, even, share)
    weight = tl.where(size == 1, tl.where(tap == 0, 1.0, 0.0), weight)
    return tl.where((k >= 0) & (k < half) & (tap < 3), weight, 0.0).to(tl.float32)


@triton.jit(do_not_specialize=SIZES)
def halve_kernel(
    texture_ptr, smaller_ptr, texels, height, width, rows, columns, channels,
    TEXELS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    texel = tl.program_id(0).to(tl.int64) * TEXELS + tl.arange(0, TEXELS)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    mask = (texel < texels)[:, None] & (channel < channels)[None, :]
    m, k = texel % columns, texel // columns % rows
    n = texel // columns // rows
    total = tl.zeros((TEXELS, WIDTH), tl.float32)
    for a in tl.static_range(3):
        for b in tl.static_range(3):
            weight = _tap(height, rows, k, k * 0 + a) * _tap(width, columns, m, m * 0 + b)
            at = ((n * height + 2 * k + a) * width + 2 * m + b)[:, None] * channels + channel[None, :]
            value = tl.load(texture_ptr + at, mask & (weight > 0)[:, None], other=0.0)
            total += weight[:, None] * value
    tl.store(smaller_ptr + texel[:, None] * channels + channel[None, :], total, mask)


@triton.jit(do_not_specialize=SIZES)
def gather_kernel(
    sums_ptr, smaller_ptr, texture_ptr, texels, height, width, rows, columns, channels,
    SUMS: tl.constexpr, SMALLER: tl.constexpr, TEXELS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Gradient of a level: of the four cells around each texel, and of the texels of the next level that it is in."""
    texel = tl.program_id(0).to(tl.int64) * TEXELS + tl.arange(0, TEXELS)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    mask = (texel < texels)[:, None] & (channel < channels)[None, :]
    j, i = texel % width, texel // width % height
    n = texel // width // height
    total = tl.zeros((TEXELS, WIDTH), tl.float32)
    if SUMS:
        for a in tl.static_range(2):
            for b in tl.static_range(2):
                there = mask & ((i >= a) & (j >= b))[:, None]
                at = (4 * (texel - a * width - b) + 2 * a + b)[:, None] * channels + channel[None, :]
                total += tl.load(sums_ptr + at, there, other=0.0)
    if SMALLER:
        for a in tl.static_range(2):
            for b in tl.static_range(2):
                k, m = i // 2 - a, j // 2 - b
                weight = _tap(height, rows, k, i - 2 * k) * _tap(width, columns, m, j - 2 * m)
                at = ((n * rows + k) * columns + m)[:, None] * channels + channel[None, :]
                value = tl.load(smaller_ptr + at, mask & (weight > 0)[:, None], other=0.0)
                total += weight[:, None] * value
    tl.store(texture_ptr + texel[:, None] * channels + channel[None, :], total, mask)


def tile(count, channels):
    """Grid and tile for ``count`` samples or texels."""
    width = min(triton.next_power_of_2(channels), WIDTH)
    lanes = LANES // width
    return (triton.cdiv(count, lanes), triton.cdiv(channels, width)), lanes, {"WIDTH": width, "num_warps": WARPS}


def halve_into(texture, smaller):
    _, height, width, channels = texture.shape
    count, rows, columns, _ = smaller.shape
    if smaller.numel():
        texels = count * rows * columns
        grid, lanes, options = tile(texels, channels)
        halve_kernel[grid](texture, smaller, texels, height, width, rows, columns, channels, TEXELS=lanes, **options)


def gather_into(sums, smaller, texture):
    """``sums`` (N,A,B,4,C) and ``smaller`` (N,A',B',C), each None if there is none, to ``texture`` (N,A,B,C)."""
    count, height, width, channels = texture.shape
    if texture.numel():
        texels = count * height * width
        rows, columns = (1, 1) if smaller is None else smaller.shape[1:3]
        grid, lanes, options = tile(texels, channels)
        flags = {"SUMS": sums is not None, "SMALLER": smaller is not None, "TEXELS": lanes}
        gather_kernel[grid](sums, smaller, texture, texels, height, width, rows, columns, channels, **flags, **options)


def halve(texture):
    """The next level (N,A',B',C) of a texture (N,A,B,C)."""
    count, height, width, channels = texture.shape
    smaller = texture.new_empty(count, max(1, height // 2), max(1, width // 2), channels)
    halve_into(texture, smaller)
    return smaller


def halve_transposed(gradient, shape):
    """Gradient of the texture, of the given shape, from that of its next level."""
    texture = gradient.new_empty(shape)
    gather_into(None, gradient, texture)
    return texture
