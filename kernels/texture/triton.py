"""Triton: look-ups, a lane a sample and channel.

The texture's gradient: samples are sorted by the cell between four texels that they lie in, what each gives to the
cell's corners is summed in that order, and a texel gathers its four cells and, from the next level, its share of the
mean's gradient. A fixed order, no atomics.
"""

from functools import lru_cache
from itertools import pairwise

import torch
import triton
import triton.language as tl

from ..segments import segment_sum
from .layout import level_table
from .pyramid_triton import gather_into, halve, halve_into, halve_transposed, tile

SIZES = ("samples", "share", "channels", "top")  # compiled once for all values


@triton.jit
def _axis(position, size):
    """On one axis of texels: the two around a position, the second one's weight, and, for the derivative, the texel
    where the slope begins (it ends at the second) and what to multiply their difference by."""
    inside = (position >= 0) & (position <= size - 1)
    x = tl.where(position > 0, tl.minimum(position, (size - 1).to(tl.float64)), 0.0)
    first = x.to(tl.int32)
    rest = x - first
    second = tl.minimum(first + 1, size - 1)
    before = tl.where(rest > 0, first, tl.maximum(first - 1, 0))
    slope = tl.where(inside, tl.where(rest > 0, 1.0, 0.5) * size, 0.0).to(tl.float32)
    return first, second, rest.to(tl.float32), before, slope


@triton.jit
def _finer_level(level_ptr, p, shown, top, MIPPED: tl.constexpr):
    """The finer of the two levels that a sample lies between, the coarser one's weight, and the level itself."""
    level = tl.zeros(p.shape, tl.float32)
    if MIPPED:
        level = tl.load(level_ptr + p, shown, other=0.0)
    place = tl.where(level > 0, tl.minimum(level, top * 1.0), 0.0)
    k = tl.minimum(place.to(tl.int32), tl.maximum(top - 1, 0))
    return k, place - k, level


@triton.jit
def _bilinear(a, b, d, e, s, t):
    above = a + t * (b - a)
    return above + s * (d + t * (e - d) - above)


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    texels_ptr, table_ptr, uv_ptr, covered_ptr, level_ptr, image_ptr, samples, share, channels, top,
    MIPPED: tl.constexpr, SAMPLES: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    p = tl.program_id(0).to(tl.int64) * SAMPLES + tl.arange(0, SAMPLES)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = p < samples
    shown = inside & (tl.load(covered_ptr + p, inside, other=0) != 0)
    mask = shown[:, None] & (channel < channels)[None, :]
    u = tl.load(uv_ptr + 2 * p, shown, other=0.0).to(tl.float64)
    v = 1.0 - tl.load(uv_ptr + 2 * p + 1, shown, other=0.0).to(tl.float64)
    k, f, _ = _finer_level(level_ptr, p, shown, top, MIPPED)
    value = tl.zeros((SAMPLES, WIDTH), tl.float32)
    for side in tl.static_range(2 if MIPPED else 1):
        row = table_ptr + 3 * tl.minimum(k + side, top)
        first = tl.load(row)
        height = tl.load(row + 1).to(tl.int32)
        width = tl.load(row + 2).to(tl.int32)
        j, right, t, _, _ = _axis(u * width - 0.5, width)
        i, below, s, _, _ = _axis(v * height - 0.5, height)
        start = first + p // share * height * width
        upper, lower = start + i * width, start + below * width
        at = texels_ptr + channel[None, :]
        a = tl.load(at + (upper + j)[:, None] * channels, mask, other=0.0)
        b = tl.load(at + (upper + right)[:, None] * channels, mask, other=0.0)
        d = tl.load(at + (lower + j)[:, None] * channels, mask, other=0.0)
        e = tl.load(at + (lower + right)[:, None] * channels, mask, other=0.0)
        blend = (f if side else 1 - f) if MIPPED else 1 - f
        value += blend[:, None] * _bilinear(a, b, d, e, s[:, None], t[:, None])
    tl.store(
        image_ptr + p[:, None] * channels + channel[None, :], value, inside[:, None] & (channel < channels)[None, :]
    )


@triton.jit(do_not_specialize=SIZES)
def slopes_kernel(
    texels_ptr, table_ptr, uv_ptr, covered_ptr, level_ptr, grad_image_ptr, grad_uv_ptr, grad_level_ptr,
    samples, share, channels, top, MIPPED: tl.constexpr, SAMPLES: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Gradients of the coordinates and of the level."""
    p = tl.program_id(0).to(tl.int64) * SAMPLES + tl.arange(0, SAMPLES)
    inside = p < samples
    shown = inside & (tl.load(covered_ptr + p, inside, other=0) != 0)
    u = tl.load(uv_ptr + 2 * p, shown, other=0.0).to(tl.float64)
    v = 1.0 - tl.load(uv_ptr + 2 * p + 1, shown, other=0.0).to(tl.float64)
    k, f, level = _finer_level(level_ptr, p, shown, top, MIPPED)
    grad_u, grad_v = tl.zeros((SAMPLES,), tl.float32), tl.zeros((SAMPLES,), tl.float32)
    step = tl.zeros((SAMPLES,), tl.float32)
    for side in tl.static_range(2 if MIPPED else 1):
        row = table_ptr + 3 * tl.minimum(k + side, top)
        first = tl.load(row)
        height = tl.load(row + 1).to(tl.int32)
        width = tl.load(row + 2).to(tl.int32)
        j, right, t, left, along_u = _axis(u * width - 0.5, width)
        i, below, s, over, along_v = _axis(v * height - 0.5, height)
        start = first + p // share * height * width
        above, upper, lower = start + over * width, start + i * width, start + below * width
        du, dv = tl.zeros((SAMPLES,), tl.float32), tl.zeros((SAMPLES,), tl.float32)
        for begin in range(0, channels, WIDTH):
            channel = begin + tl.arange(0, WIDTH)
            mask = shown[:, None] & (channel < channels)[None, :]
            at = texels_ptr + channel[None, :]
            g = tl.load(grad_image_ptr + p[:, None] * channels + channel[None, :], mask, other=0.0)
            b = tl.load(at + (upper + right)[:, None] * channels, mask, other=0.0)
            d = tl.load(at + (lower + j)[:, None] * channels, mask, other=0.0)
            e = tl.load(at + (lower + right)[:, None] * channels, mask, other=0.0)
            near = b - tl.load(at + (upper + left)[:, None] * channels, mask, other=0.0)
            far = e - tl.load(at + (lower + left)[:, None] * channels, mask, other=0.0)
            du += tl.sum(g * (near + s[:, None] * (far - near)), 1)
            near = d - tl.load(at + (above + j)[:, None] * channels, mask, other=0.0)
            far = e - tl.load(at + (above + right)[:, None] * channels, mask, other=0.0)
            dv += tl.sum(g * (near + t[:, None] * (far - near)), 1)
            if MIPPED:
                a = tl.load(at + (upper + j)[:, None] * channels, mask, other=0.0)
                value = tl.sum(g * _bilinear(a, b, d, e, s[:, None], t[:, None]), 1)
                step += value if side else -value
        blend = (f if side else 1 - f) if MIPPED else 1 - f
        grad_u += blend * along_u * du
        grad_v -= blend * along_v * dv
    tl.store(grad_uv_ptr + 2 * p, grad_u, inside)
    tl.store(grad_uv_ptr + 2 * p + 1, grad_v, inside)
    if MIPPED:
        between = (level >= 0) & (level <= top) & (top > 0)
        tl.store(grad_level_ptr + p, tl.where(between, step, 0.0), inside)


@triton.jit(do_not_specialize=SIZES)
def corners_kernel(
    table_ptr, uv_ptr, covered_ptr, level_ptr, grad_image_ptr, cell_ptr, values_ptr, samples, share, channels, top,
    MIPPED: tl.constexpr, SAMPLES: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """The cell (its first texel) of every sample in either level, -1 for none, and what its four corners get."""
    p = tl.program_id(0).to(tl.int64) * SAMPLES + tl.arange(0, SAMPLES)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = p < samples
    shown = inside & (tl.load(covered_ptr + p, inside, other=0) != 0)
    mask = inside[:, None] & (channel < channels)[None, :]
    u = tl.load(uv_ptr + 2 * p, shown, other=0.0).to(tl.float64)
    v = 1.0 - tl.load(uv_ptr + 2 * p + 1, shown, other=0.0).to(tl.float64)
    k, f, _ = _finer_level(level_ptr, p, shown, top, MIPPED)
    g = tl.load(grad_image_ptr + p[:, None] * channels + channel[None, :], mask, other=0.0)
    for side in tl.static_range(2 if MIPPED else 1):
        row = table_ptr + 3 * tl.minimum(k + side, top)
        first = tl.load(row)
        height = tl.load(row + 1).to(tl.int32)
        width = tl.load(row + 2).to(tl.int32)
        j, _, t, _, _ = _axis(u * width - 0.5, width)
        i, _, s, _, _ = _axis(v * height - 0.5, height)
        blend = (f if side else 1 - f) if MIPPED else 1 - f
        entry = (2 * p + side) if MIPPED else p
        if tl.program_id(1) == 0:
            cell = first + (p // share * height + i) * width + j
            tl.store(cell_ptr + entry, tl.where(shown & (blend > 0), cell, -1), inside)
        at = values_ptr + 4 * entry[:, None] * channels + channel[None, :]
        tl.store(at, (blend * (1 - s) * (1 - t))[:, None] * g, mask)
        tl.store(at + channels, (blend * (1 - s) * t)[:, None] * g, mask)
        tl.store(at + 2 * channels, (blend * s * (1 - t))[:, None] * g, mask)
        tl.store(at + 3 * channels, (blend * s * t)[:, None] * g, mask)


@lru_cache(maxsize=64)
def _table(count, height, width, mipped, device):
    """``level_table``, and as a tensor on the device."""
    rows = level_table(count, height, width)[: None if mipped else 1]
    return rows, torch.tensor(rows, device=device)


def _views(texels, count, rows):
    """Views (N,A,B,...) of the levels in ``texels`` (T,...)."""
    return [
        texels[first : first + count * height * width].view(count, height, width, *texels.shape[1:])
        for first, height, width in rows
    ]


def _sizes(texture, uv, rows):
    return len(uv), max(len(uv) // max(len(texture), 1), 1), texture.shape[-1], len(rows) - 1


def forward(texture, uv, covered, level):
    """The image (P,C), and the texels (T,C) of all levels, which ``backward`` needs."""
    channels = texture.shape[-1]
    count, height, width, _ = texture.shape
    rows, table = _table(count, height, width, level is not None, texture.device)
    image = texture.new_empty(len(uv), channels)
    texels = texture.view(-1, channels)
    if level is not None:
        first, height, width = rows[-1]
        texels = texture.new_empty(first + count * height * width, channels)
        levels = _views(texels, count, rows)
        levels[0].copy_(texture)
        for finer, coarser in pairwise(levels):
            halve_into(finer, coarser)
    if image.numel():
        grid, lanes, options = tile(len(uv), channels)
        samples = (table, uv, covered.view(torch.uint8), level, image)
        forward_kernel[grid](
            texels, *samples, *_sizes(texture, uv, rows), MIPPED=level is not None, SAMPLES=lanes, **options
        )
    return image, texels


def backward(texture, texels, uv, covered, level, grad_image, *, to_texture=True, to_uv=True, to_level=True):
    """Gradients of the texture, the coordinates and the level, each None where not asked for."""
    count, height, width, channels = texture.shape
    mipped = level is not None
    rows, table = _table(count, height, width, mipped, texture.device)
    sizes = _sizes(texture, uv, rows)
    covered = covered.view(torch.uint8)
    (programs, blocks), lanes, options = tile(len(uv), channels)
    options |= {"MIPPED": mipped, "SAMPLES": lanes}
    grad_texture = grad_uv = grad_level = None
    if to_uv or to_level:
        grad_uv, grad_level = torch.empty_like(uv), torch.empty_like(level) if mipped else None
        if len(uv):
            gradients = (grad_image, grad_uv, grad_level)
            slopes_kernel[(programs,)](texels, table, uv, covered, level, *gradients, *sizes, **options)
    if to_texture:
        grad_texture = torch.zeros_like(texture)
        if grad_image.numel():
            entries = 2 * len(uv) if mipped else len(uv)
            cell = torch.empty(entries, dtype=torch.int64, device=uv.device)
            values = texture.new_empty(entries, 4, channels)
            corners_kernel[(programs, blocks)](table, uv, covered, level, grad_image, cell, values, *sizes, **options)
            sums = _views(segment_sum(values, cell, len(texels)), count, rows)
            smaller = None
            for k in range(len(rows) - 1, -1, -1):
                finer = grad_texture if k == 0 else sums[k].new_empty(count, *rows[k][1:], channels)
                gather_into(sums[k], smaller, finer)
                smaller = finer
    return grad_texture, grad_uv if to_uv else None, grad_level if to_level else None


__all__ = ["backward", "forward", "halve", "halve_transposed"]
