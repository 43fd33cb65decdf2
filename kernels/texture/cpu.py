"""Numba: look-ups, parallel over samples and, for the texture's gradient, over rows of texels.

The texture's gradient: samples are sorted, stably, by the band of texel rows that they read, and a band is summed in
their order by one thread. So it does not depend on the number of threads and needs no atomics.
"""

import numpy as np
import torch
from numba import prange

from ..jit import inline, jit
from .layout import level_table
from .pyramid_cpu import halve, halve_into, halve_transposed, halve_transposed_into

BANDS, CHUNKS = 32, 32
"""Bands of rows that a level's gradient is summed in (even); chunks of samples that are sorted into them."""


@inline
def _axis(position, size):
    """On one axis of texels: the two around a position, the second one's weight, and, for the derivative, the texel
    where the slope begins (it ends at the second) and what to multiply their difference by."""
    inside = position >= 0 and position <= size - 1
    x = min(position, size - 1.0) if position > 0 else 0.0
    first = int(x)
    t = np.float32(x - first)
    second = min(first + 1, size - 1)
    before = first if t > 0 else max(first - 1, 0)
    return first, second, t, before, np.float32(0 if not inside else size if t > 0 else 0.5 * size)


@inline
def _levels(level, top):
    """The finer of the two levels that ``level`` lies between, and the coarser one's weight."""
    place = min(level, np.float32(top)) if level > 0 else np.float32(0)
    k = min(int(place), max(top - 1, 0))
    return k, place - np.float32(k)


@inline
def _bilinear(a, b, d, e, s, t):
    above = a + t * (b - a)
    return above + s * (d + t * (e - d) - above)


@jit
def forward_kernel(fine, coarse, table, uv, covered, level, share, image):
    """``fine`` (T,C) are the texels of level 0, ``coarse`` those of all others, which ``table`` numbers from
    ``len(fine)`` on. ``share`` samples belong to each texture. Without levels ``level`` is empty."""
    channels = fine.shape[1]
    top = table.shape[0] - 1
    mipped = level.shape[0] > 0
    one = np.float32(1)
    tallest, widest = table[0, 1], table[0, 2]
    texels_each = tallest * widest if fine.shape[0] > tallest * widest else 0  # of one texture, if there are several
    for p in prange(uv.shape[0]):
        for c in range(channels):
            image[p, c] = 0.0
        if not covered[p]:
            continue
        u, v = np.float64(uv[p, 0]), 1.0 - np.float64(uv[p, 1])
        if not mipped:
            j, right, t, _, _ = _axis(u * widest - 0.5, widest)
            i, below, s, _, _ = _axis(v * tallest - 0.5, tallest)
            start = p // share * texels_each if texels_each else 0
            upper, lower = start + i * widest, start + below * widest
            for c in range(channels):
                a, b = fine[upper + j, c], fine[upper + right, c]
                d, e = fine[lower + j, c], fine[lower + right, c]
                image[p, c] = _bilinear(a, b, d, e, s, t)
            continue
        k, f = _levels(level[p], top)
        for side in range(2):
            blend = f if side else one - f
            if blend == 0:
                continue
            first, height, width = table[k + side]
            j, right, t, _, _ = _axis(u * width - 0.5, width)
            i, below, s, _, _ = _axis(v * height - 0.5, height)
            texels = fine if k + side == 0 else coarse
            start = first - (0 if k + side == 0 else fine.shape[0]) + p // share * height * width
            upper, lower = start + i * width, start + below * width
            for c in range(channels):
                a, b = texels[upper + j, c], texels[upper + right, c]
                d, e = texels[lower + j, c], texels[lower + right, c]
                image[p, c] += blend * _bilinear(a, b, d, e, s, t)


@jit
def slopes_kernel(fine, coarse, table, uv, covered, level, share, grad_image, grad_uv, grad_level):
    """Gradients of the coordinates and of the level."""
    channels = fine.shape[1]
    top = table.shape[0] - 1
    mipped = level.shape[0] > 0
    one = np.float32(1)
    tallest, widest = table[0, 1], table[0, 2]
    texels_each = tallest * widest if fine.shape[0] > tallest * widest else 0  # of one texture, if there are several
    for p in prange(uv.shape[0]):
        grad_uv[p, 0] = grad_uv[p, 1] = 0.0
        if mipped:
            grad_level[p] = 0.0
        if not covered[p]:
            continue
        u, v = np.float64(uv[p, 0]), 1.0 - np.float64(uv[p, 1])
        if not mipped:
            j, right, t, left, along_u = _axis(u * widest - 0.5, widest)
            i, below, s, over, along_v = _axis(v * tallest - 0.5, tallest)
            start = p // share * texels_each if texels_each else 0
            above, upper, lower = start + over * widest, start + i * widest, start + below * widest
            du = dv = np.float32(0)
            for c in range(channels):
                g = grad_image[p, c]
                b, d, e = fine[upper + right, c], fine[lower + j, c], fine[lower + right, c]
                near, far = b - fine[upper + left, c], e - fine[lower + left, c]
                du += g * (near + s * (far - near))
                near, far = d - fine[above + j, c], e - fine[above + right, c]
                dv += g * (near + t * (far - near))
            grad_uv[p, 0], grad_uv[p, 1] = along_u * du, -along_v * dv
            continue
        k, f = _levels(level[p], top)
        between = top > 0 and level[p] >= 0 and level[p] <= top
        for side in range(2 if between else 1 if f == 0 else 2):
            blend = f if side else one - f
            first, height, width = table[k + side]
            j, right, t, left, along_u = _axis(u * width - 0.5, width)
            i, below, s, over, along_v = _axis(v * height - 0.5, height)
            texels = fine if k + side == 0 else coarse
            start = first - (0 if k + side == 0 else fine.shape[0]) + p // share * height * width
            above, upper, lower = start + over * width, start + i * width, start + below * width
            du = dv = value = np.float32(0)
            for c in range(channels):
                g = grad_image[p, c]
                b, e = texels[upper + right, c], texels[lower + right, c]
                d = texels[lower + j, c]
                near, far = b - texels[upper + left, c], e - texels[lower + left, c]
                du += g * (near + s * (far - near))
                near, far = d - texels[above + j, c], e - texels[above + right, c]
                dv += g * (near + t * (far - near))
                if between:
                    value += g * _bilinear(texels[upper + j, c], b, d, e, s, t)
            grad_uv[p, 0] += blend * along_u * du
            grad_uv[p, 1] -= blend * along_v * dv
            if between:
                grad_level[p] += value if side else -value


@jit
def texels_kernel(table, uv, covered, level, share, grad_image, grad_fine, grad_coarse):
    """Adds the gradient to the texels. A band also reaches into the next one's first row, so all even bands of all
    levels go before all odd ones."""
    channels = grad_fine.shape[1]
    top = table.shape[0] - 1
    mipped = level.shape[0] > 0
    one = np.float32(1)
    count = uv.shape[0]
    levels = top + 1
    tall = np.empty(levels, np.int64)  # rows of a band; all textures' rows of a level lie one behind the other
    for k in range(levels):
        rows = count // share * table[k, 1]
        tall[k] = max(2, (rows + BANDS - 1) // BANDS)
    part = (count + CHUNKS - 1) // CHUNKS
    starts = np.zeros((CHUNKS, BANDS * levels), np.int64)
    bands = np.empty((count, 2), np.int16)
    for chunk in prange(CHUNKS):
        for p in range(chunk * part, min((chunk + 1) * part, count)):
            bands[p, 0] = bands[p, 1] = -1
            if not covered[p]:
                continue
            k, f = _levels(level[p], top) if mipped else (0, np.float32(0))
            for side in range(2):
                if (f if side else one - f) == 0:
                    continue
                height = table[k + side, 1]
                i, _, _, _, _ = _axis((1.0 - np.float64(uv[p, 1])) * height - 0.5, height)
                # Bands are numbered so that neighboring numbers are the same part of all levels: an even load.
                band = (p // share * height + i) // tall[k + side] * levels + k + side
                bands[p, side] = band
                starts[chunk, band] += 1

    filled = 0
    limits = np.empty(BANDS * levels + 1, np.int64)
    for band in range(BANDS * levels):
        limits[band] = filled
        for chunk in range(CHUNKS):
            here = starts[chunk, band]
            starts[chunk, band] = filled
            filled += here
    limits[BANDS * levels] = filled
    order = np.empty(filled, np.int64)  # 2 p + side
    for chunk in prange(CHUNKS):
        for p in range(chunk * part, min((chunk + 1) * part, count)):
            for side in range(2):
                band = bands[p, side]
                if band >= 0:
                    order[starts[chunk, band]] = 2 * p + side
                    starts[chunk, band] += 1

    for parity in range(2):
        for task in prange(BANDS // 2 * levels):
            k = task % levels
            band = (2 * (task // levels) + parity) * levels + k
            first, height, width = table[k]
            texels = grad_fine if k == 0 else grad_coarse
            first -= 0 if k == 0 else grad_fine.shape[0]
            for place in range(limits[band], limits[band + 1]):
                p = order[place] // 2
                f = _levels(level[p], top)[1] if mipped else np.float32(0)
                blend = f if order[place] % 2 else one - f
                j, right, t, _, _ = _axis(np.float64(uv[p, 0]) * width - 0.5, width)
                i, below, s, _, _ = _axis((1.0 - np.float64(uv[p, 1])) * height - 0.5, height)
                start = first + p // share * height * width
                upper, lower = start + i * width, start + below * width
                for c in range(channels):
                    g = blend * grad_image[p, c]
                    texels[upper + j, c] += g * (one - s) * (one - t)
                    texels[upper + right, c] += g * (one - s) * t
                    texels[lower + j, c] += g * s * (one - t)
                    texels[lower + right, c] += g * s * t


_NONE = np.empty(0, np.float32)


def _table(texture, level):
    """``level_table`` of the levels there are, and how many of them the samples read."""
    rows = level_table(*texture.shape[:3])
    if level is None:
        rows = rows[:1]
    highest = np.nan_to_num(level.numpy()).max() if level is not None and level.numel() else 0.0
    needed = int(min(max(highest, 0.0) + 2, len(rows)))
    return np.array(rows, np.int64), needed


def _coarse_levels(fine, table, allocate):
    """Texels (T,C) of the levels of ``table`` but the first one, and views (N,A,B,C) of all."""
    count, _, _, channels = fine.shape
    skipped = fine[..., 0].numel()
    ends = [first + count * height * width - skipped for first, height, width in table]
    coarse = allocate(ends[-1], channels)
    levels = [fine.numpy()]
    for k, (_, height, width) in enumerate(table[1:]):
        levels.append(coarse[ends[k] : ends[k + 1]].numpy().reshape(count, height, width, channels))
    return coarse, levels


def _share(texture, uv):
    return max(len(uv) // max(len(texture), 1), 1)


def forward(texture, uv, covered, level):
    """The image (P,C), and the texels of the coarser levels that were read, which ``backward`` needs besides."""
    channels = texture.shape[-1]
    table, needed = _table(texture, level)
    coarse, levels = _coarse_levels(texture, table[:needed], texture.new_empty)
    for k in range(1, needed):
        halve_into(levels[k - 1], levels[k])
    image = texture.new_empty(len(uv), channels)
    arrays = (texture.view(-1, channels).numpy(), coarse.numpy(), table, uv.numpy(), covered.numpy())
    forward_kernel(*arrays, _NONE if level is None else level.numpy(), _share(texture, uv), image.numpy())
    return image, coarse


def backward(texture, coarse, uv, covered, level, grad_image, *, to_texture=True, to_uv=True, to_level=True):
    """Gradients of the texture, the coordinates and the level, each None where not asked for."""
    channels = texture.shape[-1]
    table, needed = _table(texture, level)
    places = _NONE if level is None else level.numpy()
    samples = (table, uv.numpy(), covered.numpy(), places, _share(texture, uv), grad_image.numpy())
    grad_texture = grad_uv = grad_level = None
    if to_uv or to_level:
        grad_uv, grad_level = torch.empty_like(uv), uv.new_empty(len(places))
        texels = (texture.view(-1, channels).numpy(), coarse.numpy())
        slopes_kernel(*texels, *samples, grad_uv.numpy(), grad_level.numpy())
    if to_texture:
        grad_texture = torch.zeros_like(texture)
        grad_coarse, levels = _coarse_levels(grad_texture, table[:needed], texture.new_zeros)
        texels_kernel(*samples, grad_texture.view(-1, channels).numpy(), grad_coarse.numpy())
        for k in range(needed - 1, 0, -1):
            halve_transposed_into(levels[k], levels[k - 1])
    return grad_texture, grad_uv if to_uv else None, grad_level if to_level else None


__all__ = ["backward", "forward", "halve", "halve_transposed"]
