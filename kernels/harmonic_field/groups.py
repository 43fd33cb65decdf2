"""One thread's share: GROUP samples, block by block, with what their rays need once a ray.

A group numbers the rays that have samples in it from 0, so that rays may begin and end anywhere and those without
samples cost nothing. Blocks go through ``blocks``, or through ``half_blocks`` where ``halves`` is not None.
"""

import numpy as np
from numba import types
from numba.extending import overload

from ..elementary import rowwise
from ..products import COLUMNS, ROWS, multiply
from .blocks import backward_block, forward_block, matrix
from .embedding import embed_rows, embed_rows_backward
from .half_blocks import HEADS, half_backward_block, half_forward_block
from .layout import BLOCK, DIRECTION, PADDED, STRIDE, TO_DIRECTION, WIDTH

GROUP = 8 * BLOCK  # samples whose gradients are summed by one thread


def _forward_block(halves, *arguments):
    """``forward_block`` or, with bfloat16 weights in ``halves``, ``half_forward_block``: Numba chooses by its type."""


def _backward_block(halves, *arguments):
    """As ``_forward_block``, of the way back."""


@overload(_forward_block)
def _chosen_forward_block(halves, *arguments):
    if halves is types.none:
        return lambda halves, *arguments: forward_block(*arguments)
    return lambda halves, *arguments: half_forward_block(halves, *arguments)


@overload(_backward_block)
def _chosen_backward_block(halves, *arguments):
    if halves is types.none:
        return lambda halves, *arguments: backward_block(*arguments)
    return lambda halves, *arguments: half_backward_block(halves, *arguments)


@rowwise
def _rays_of(offsets, first, count, rays, owners):
    """rays[s]: the group's number of the ray that owns sample first + s; owners[number]: that ray. Returns how many."""
    ray, numbers = np.searchsorted(offsets, first, side="right") - 1, 0
    for s in range(count):
        if s == 0 or offsets[ray + 1] <= first + s:
            while offsets[ray + 1] <= first + s:
                ray += 1
            owners[numbers] = ray
            numbers += 1
        rays[s] = numbers - 1
    return numbers


@rowwise
def _embed_directions(directions, owners, numbers, waves):
    """Flat rows of [e(d), 1, 0 ...], their stride, and their number: a multiple of ROWS, the last ones 0."""
    width = 6 * waves.octaves + 3 * waves.append_input + 1
    rows, stride = (numbers + ROWS - 1) // ROWS * ROWS, (width + COLUMNS - 1) // COLUMNS * COLUMNS
    of_rays, e = np.empty((numbers, 3), np.float32), np.zeros(rows * stride, np.float32)
    for number in range(numbers):
        of_rays[number] = directions[owners[number]]
        e[number * stride + width - 1] = 1
    embed_rows(of_rays, waves, e, stride)
    return e, stride, rows, width


@rowwise
def _widest(tables):
    """The largest stride of a slot."""
    widest = 0
    for slot in range(tables.slots.shape[0]):
        widest = max(widest, tables.slots[slot, STRIDE])
    return widest


@rowwise
def forward_group(
    tables, size, waves, direction_waves, packed, halves, x, offsets, directions, first, count, keep, memory, base,
    relu, beta, density_exp, color, raw, sigma, rgb,
):  # fmt: skip
    """raw, sigma and, where ``color``, rgb of ``count`` samples from ``first`` on.

    The blocks' memory begins at ``base`` of ``memory``: one of ``size`` for each where it is to be kept, else one.
    """
    rays = np.zeros(GROUP, np.int64)
    u = np.empty((0, 0), np.float32)
    if color:
        owners = np.empty(GROUP, np.int64)
        numbers = _rays_of(offsets, first, count, rays, owners)
        e, stride, rows, width = _embed_directions(directions, owners, numbers, direction_waves)
        columns = tables.slots[tables.slots.shape[0] - 1, PADDED]
        flat = np.zeros(rows * columns, np.float32)
        for column in range(0, columns, COLUMNS):
            multiply(
                e, 0, stride, 1, packed, tables.heads[0, DIRECTION] + column * width, COLUMNS,
                flat, column, columns, rows, width,
            )  # fmt: skip
        u = matrix(flat, 0, rows, columns)
    scratch = np.empty(2 * BLOCK * _widest(tables), np.float32)
    for start in range(0, count, BLOCK):
        here, end = first + start, first + min(count, start + BLOCK)
        _forward_block(
            halves, tables, waves, packed, x[here:end], u, rays[start : start + BLOCK], memory, base, scratch,
            relu, beta, density_exp, color, raw[here:end], sigma[here:end], rgb[here:end],
        )  # fmt: skip
        if keep:
            base += size


@rowwise
def backward_group(
    tables, size, waves, direction_waves, packed, halves, offsets, directions, first, count, memory, base,
    relu, beta, density_exp, color, to_weights, raw, sigma, rgb, g_sigma, g_rgb, sums, dx, dd, ends, end_rays,
):  # fmt: skip
    """Add the gradients of ``count`` samples from ``first`` on to ``sums``; write theirs to ``dx``, if it has rows.

    dd: the rays' gradients by direction, if it has rows. A ray that other groups share begins or ends this one's
    samples: ``ends`` (2, 3) gets the shares of the first ray and, where it is another, the last, and ``end_rays`` (2,)
    their numbers.
    """
    rays, owners = np.zeros(GROUP, np.int64), np.empty(GROUP, np.int64)
    numbers = _rays_of(offsets, first, count, rays, owners) if color else 0
    columns = tables.slots[tables.slots.shape[0] - 1, PADDED]
    outputs = tables.slots[tables.slots.shape[0] - 1, WIDTH]
    ray_rows = (numbers + ROWS - 1) // ROWS * ROWS
    flat = np.zeros(ray_rows * columns, np.float32)
    du = matrix(flat, 0, ray_rows, columns)
    widest = _widest(tables)
    deltas, g = np.empty(BLOCK * (4 * widest + HEADS), np.float32), np.zeros((BLOCK + 1, HEADS), np.float32)
    by_e = np.empty(BLOCK * max(tables.slots[0, STRIDE], tables.slots[0, PADDED]) if dx.shape[0] > 0 else 0, np.float32)
    for start in range(0, count, BLOCK):
        samples, here = min(BLOCK, count - start), first + start
        end = here + samples
        _backward_block(
            halves, tables, waves, packed, memory, base, samples, rays[start : start + BLOCK], relu, beta, density_exp,
            color, to_weights, raw[here:end], sigma[here:end], rgb[here:end], g_sigma[here:end], g_rgb[here:end],
            g, sums, deltas, by_e, du, dx[here:end],
        )  # fmt: skip
        base += size
    if numbers == 0:
        return
    e, stride, _, _ = _embed_directions(directions, owners, numbers, direction_waves)
    for column in range(0, stride if to_weights else 0, COLUMNS):
        multiply(
            flat, 0, 1, columns, e, column, stride,
            sums, tables.heads[1, DIRECTION] + column, stride, columns, numbers,
        )  # fmt: skip
    if dd.shape[0] == 0:
        return
    by_e = np.zeros(ray_rows * stride, np.float32)
    for column in range(0, stride, COLUMNS):
        multiply(
            flat, 0, columns, 1, packed, tables.heads[0, TO_DIRECTION] + column * outputs, COLUMNS,
            by_e, column, stride, ray_rows, outputs,
        )  # fmt: skip
    found = np.empty((numbers, 3), np.float32)
    embed_rows_backward(matrix(e, 0, ray_rows, stride), matrix(by_e, 0, ray_rows, stride), direction_waves, found)
    for number in range(1, numbers - 1):
        dd[owners[number]] = found[number]
    ends[0], end_rays[0] = found[0], owners[0]
    if numbers > 1:
        ends[1], end_rays[1] = found[numbers - 1], owners[numbers - 1]
