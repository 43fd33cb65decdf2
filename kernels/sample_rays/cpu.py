"""Pixel choice and ray set-up in Numba, forward and backward. The backward sums in double precision, view by view."""

import numpy as np
import torch
from numba import prange
from torch.autograd.function import once_differentiable

from ..jit import inline, jit
from ..philox import RAYS
from ..philox.cpu import to_uniform, words
from .pixel_set import WORD, WORDS

HALF_WORD = np.uint64(32)
ONE_HALF = np.float32(0.5)
ONE, TWO, FOUR, TOP = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)
PAIRS, NIBBLES = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
BYTES, ONES = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)
LEVEL = np.float32(255.0)
TOGETHER = 256  # rays whose pixels are looked up together


@jit(parallel=False)
def _choose_pixels(seed, step, first, views, height, width, pixels):
    n, h, w = np.uint64(len(views)), np.uint64(height), np.uint64(width)
    for r in range(pixels.shape[1]):
        w0, w1, w2, _ = words(seed, first + r, 0, step, RAYS)
        pixels[0, r] = views[(w0 * n) >> HALF_WORD]
        pixels[1, r] = (w1 * h) >> HALF_WORD
        pixels[2, r] = (w2 * w) >> HALF_WORD


def choose_pixels(draw, views, height, width, count):
    """View, row and column (R,) int64 of pixels drawn uniformly with replacement."""
    pixels = torch.empty(3, count, dtype=torch.int64)
    _choose_pixels(draw.seed, draw.step, draw.first, views.contiguous().numpy(), height, width, pixels.numpy())
    return tuple(pixels)


@inline
def _members(word):
    """How many bits of a uint64 are set, as int64."""
    word = word - ((word >> ONE) & PAIRS)
    word = (word & NIBBLES) + ((word >> TWO) & NIBBLES)
    return np.int64((((word + (word >> FOUR)) & BYTES) * ONES) >> TOP)


@inline
def _last_up_to(sorted_numbers, numbers, index):
    """Of each number, the last index whose own is at most that; the first is, and what is last is not.

    All numbers take each step together and without branches, so that their reads overlap.
    """
    index[:] = 0
    left = len(sorted_numbers) - 1
    while left > 1:
        half = left >> 1
        for r in range(len(numbers)):
            index[r] += half * (sorted_numbers[index[r] + half] <= numbers[r])
        left -= half


@inline
def _select(bits, at, rest):
    """The number of the pixel ``rest`` members after the first one of word ``at``, within a block."""
    members = _members(bits[at])
    while rest >= members:
        rest, at = rest - members, at + 1
        members = _members(bits[at])
    word, bit, half = bits[at], np.int64(0), np.int64(32)
    while half:
        below = _members(word & ((ONE << np.uint64(half)) - ONE))
        right = np.int64(rest >= below)
        rest, bit, word = rest - right * below, bit + right * half, word >> np.uint64(right * half)
        half >>= 1
    return at * WORD + bit


@jit
def _choose_members(seed, step, first, photos, offsets, widths, bits, before, low, high, pixels, rgba):
    for part in prange((len(rgba) + TOGETHER - 1) // TOGETHER):
        start, stop = part * TOGETHER, min((part + 1) * TOGETHER, len(rgba))
        number, found = np.empty(stop - start, np.int64), np.empty(stop - start, np.int64)
        for r in range(stop - start):
            w0, w1, _, _ = words(seed, first + start + r, 0, step, RAYS)
            u = np.float64(to_uniform(w0)) + np.float64(to_uniform(w1)) * 2.0**-24
            number[r] = low + np.int64(u * np.float64(high - low))
        _last_up_to(before, number, found)
        for r in range(stop - start):
            number[r] = _select(bits, found[r] * WORDS, number[r] - before[found[r]])
        _last_up_to(offsets, number, found)
        for r in range(stop - start):
            flat, view = number[r], found[r]
            within, width = flat - offsets[view], widths[view]
            row = within // width
            pixels[0, start + r], pixels[1, start + r], pixels[2, start + r] = view, row, within - row * width
            for channel in range(4):
                rgba[start + r, channel] = np.float32(photos[flat, channel]) / LEVEL


def choose_members(draw, photos, offsets, widths, bits, before, low, high, count):
    """View, row and column (R,) int64 of members ``low`` to ``high`` - 1 of a ``PixelSet``, drawn uniformly with
    replacement, and their colors (R,4)."""
    pixels, rgba = torch.empty(3, count, dtype=torch.int64), torch.empty(count, 4)
    inputs = photos.numpy(), offsets.numpy(), widths.numpy(), bits.numpy().view(np.uint64), before.numpy()
    _choose_members(draw.seed, draw.step, draw.first, *inputs, low, high, pixels.numpy(), rgba.numpy())
    return *pixels, rgba


@inline
def _along(pose, camera, row, column):
    """Local x and y, and the unnormalized direction."""
    x = (np.float32(column) + ONE_HALF - camera[2]) / camera[0]
    y = (camera[3] - np.float32(row) - ONE_HALF) / camera[1]
    return (
        x,
        y,
        pose[0, 0] * x + pose[0, 1] * y - pose[0, 2],
        pose[1, 0] * x + pose[1, 1] * y - pose[1, 2],
        pose[2, 0] * x + pose[2, 1] * y - pose[2, 2],
    )


@inline
def direction_of(pose, camera, row, column):
    """The unit direction through a pixel."""
    _, _, dx, dy, dz = _along(pose, camera, row, column)
    scale = np.float32(1.0) / np.sqrt(dx * dx + dy * dy + dz * dz)
    return dx * scale, dy * scale, dz * scale


@jit
def _forward(poses, intrinsics, view, row, column, origins, directions):
    for r in prange(len(view)):
        pose, to = poses[view[r]], directions[r]
        to[0], to[1], to[2] = direction_of(pose, intrinsics[view[r]], row[r], column[r])
        origins[r, 0], origins[r, 1], origins[r, 2] = pose[0, 3], pose[1, 3], pose[2, 3]


@jit
def _backward(
    poses, intrinsics, order, bounds, row, column, grad_origins, grad_directions, grad_poses, grad_intrinsics
):
    """View v owns the rays ``order[bounds[v]:bounds[v + 1]]``.

    With m = R local and d = m / |m|: dm = (dd - d (d . dd)) / |m|, dR = dm local^T, dlocal = R^T dm.
    """
    for v in prange(len(poses)):
        pose, fx, fy = poses[v], intrinsics[v, 0], intrinsics[v, 1]
        total = np.zeros((3, 4))
        dfx, dfy, dcx, dcy = 0.0, 0.0, 0.0, 0.0
        for i in range(bounds[v], bounds[v + 1]):
            r = order[i]
            x, y, mx, my, mz = _along(pose, intrinsics[v], row[r], column[r])
            scale = 1.0 / np.sqrt(np.float64(mx) * mx + my * my + mz * mz)
            dx, dy, dz = mx * scale, my * scale, mz * scale
            gx, gy, gz = grad_directions[r, 0], grad_directions[r, 1], grad_directions[r, 2]
            along = dx * gx + dy * gy + dz * gz
            gx, gy, gz = (gx - dx * along) * scale, (gy - dy * along) * scale, (gz - dz * along) * scale
            for axis, g in ((0, gx), (1, gy), (2, gz)):
                total[axis, 0] += g * x
                total[axis, 1] += g * y
                total[axis, 2] -= g
                total[axis, 3] += grad_origins[r, axis]
            glx = (pose[0, 0] * gx + pose[1, 0] * gy + pose[2, 0] * gz) / fx
            gly = (pose[0, 1] * gx + pose[1, 1] * gy + pose[2, 1] * gz) / fy
            dfx -= glx * x
            dfy -= gly * y
            dcx -= glx
            dcy += gly
        grad_poses[v] = total
        grad_intrinsics[v, 0], grad_intrinsics[v, 1] = dfx, dfy
        grad_intrinsics[v, 2], grad_intrinsics[v, 3] = dcx, dcy


class Rays(torch.autograd.Function):
    """(camera_to_world, intrinsics, view, row, column) -> origins, directions."""

    @staticmethod
    def forward(ctx, camera_to_world, intrinsics, view, row, column):
        tensors = [t.detach().contiguous() for t in (camera_to_world, intrinsics, view, row, column)]
        ctx.save_for_backward(*tensors)
        origins, directions = torch.empty(2, len(view), 3)
        _forward(*(t.numpy() for t in tensors), origins.numpy(), directions.numpy())
        return origins, directions

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_origins, grad_directions):
        poses, intrinsics, view, row, column = ctx.saved_tensors
        order = torch.argsort(view, stable=True)
        bounds = torch.searchsorted(view[order], torch.arange(len(poses) + 1))
        grads = torch.empty_like(poses), torch.empty_like(intrinsics)
        inputs = poses, intrinsics, order, bounds, row, column, grad_origins.contiguous(), grad_directions.contiguous()
        _backward(*(t.numpy() for t in (*inputs, *grads)))
        return *grads, None, None, None


rays_from_pixels = Rays.apply
