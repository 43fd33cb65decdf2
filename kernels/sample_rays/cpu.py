"""Pixel choice and ray set-up in Numba, forward and backward. The backward sums in double precision, view by view."""

import numpy as np
import torch
from numba import prange
from torch.autograd.function import once_differentiable

from ..jit import inline, jit
from ..philox import RAYS
from ..philox.cpu import words
from .reference import choose_listed as choose_listed

HALF_WORD = np.uint64(32)
ONE_HALF = np.float32(0.5)


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


@jit
def _forward(poses, intrinsics, view, row, column, origins, directions):
    for r in prange(len(view)):
        pose = poses[view[r]]
        _, _, dx, dy, dz = _along(pose, intrinsics[view[r]], row[r], column[r])
        scale = np.float32(1.0) / np.sqrt(dx * dx + dy * dy + dz * dz)
        directions[r, 0], directions[r, 1], directions[r, 2] = dx * scale, dy * scale, dz * scale
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
