"""Marching, sample positions and lock-step sampling in Numba, parallel over rays.

Every t and every decision on a cell is the reference's float32 expression, operation for operation. Only which lattice
points are looked at differs: those that certainly share a cell, or lie in empty space, are not tested one by one.
"""

import math

import numpy as np
import torch
from numba import prange
from torch.autograd.function import once_differentiable

from ..jit import inline, jit
from ..philox import JITTER, STRATIFIED
from ..philox.cpu import to_uniform, words
from . import reference
from .kept import kept
from .reference import fill

ZERO, ONE, HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
ULPS = np.float32(2.0**-20)  # margin, relative: eight float32 roundings
LONGEST = np.float32(2.0**24)  # a lattice has at most this many points: float32 counts no further
STILL, FAR_AWAY = np.float32(1e-30), np.float32(1e30)
BLOCK = 8  # cells along a side of a coarse block
SHIFT = np.uint32(3)
SHORT = np.float32(0.125)  # a step of fewer cells: worth finding the cell's wall, to take all steps before it at once
RUNS = 8  # runs of neighboring samples remembered for each ray; a ray with more is walked a second time


@jit
def _intersect(o, d, near_plane, near, far):
    """The reference's expressions, ray by ray."""
    for r in prange(len(o)):
        enter, leave, known = -np.float32(np.inf), np.float32(np.inf), True
        for axis in range(3):
            p, v = o[r, axis], d[r, axis]
            if v == ZERO:
                if not abs(p) <= ONE:
                    known = False
            else:
                a, b = (-ONE - p) / v, (ONE - p) / v
                known = known and a == a and b == b
                enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
        enter = max(enter, near_plane)
        hit = known and leave > enter and np.isfinite(leave)
        near[r], far[r] = (enter, leave) if hit else (near_plane, near_plane)


def intersect_box(origins, directions, near_plane):
    """near, far (R,)."""
    if origins.dtype != torch.float32:
        return reference.intersect_box(origins, directions, near_plane)
    near, far = torch.empty(len(origins)), torch.empty(len(origins))
    rays = (t.detach().numpy() for t in (origins, directions))
    _intersect(*rays, np.float32(near_plane), near.numpy(), far.numpy())
    return near, far


def _key(jitter):
    """A draw as kernels take it: whether there is one, seed, step, number of the first ray."""
    return (False, 0, 0, 0) if jitter is None else (True, *jitter)


@inline
def _lattice_offset(key, r):
    jittered, seed, step, first = key
    return to_uniform(words(seed, first + r, 0, step, JITTER)[0]) if jittered else ZERO


@jit(parallel=False)
def _lattice_range(o, d, near, far, h, u):
    """First and last lattice point that can lie in the box [-1,1]^3 and before ``far``, generously; empty on a miss."""
    enter, leave = np.float64(near), np.float64(far)
    for axis in range(3):
        p, v = np.float64(o[axis]), np.float64(d[axis])
        slack = 1e-5 * (1.0 + abs(p))
        if v == 0.0:
            if abs(p) > 1.0 + slack:
                leave = np.float64(-np.inf)
        else:
            a, b = (-1.0 - p) / v, (1.0 - p) / v
            widen = slack / abs(v)
            enter, leave = max(enter, min(a, b) - widen), min(leave, max(a, b) + widen)
    if not leave > enter:
        return 0, 0
    margin = 1e-5 * (abs(near) + abs(leave))
    first = math.floor((enter - margin - near) / h - u) - 1.0
    stop = math.ceil((leave + margin - near) / h - u) + 1.0
    return int(max(first, 0.0)), int(min(max(stop, 0.0), LONGEST))


@inline
def _axis(o, v, scale):
    """Along one axis: 1 if the wall ahead is a cell's upper one, distance per cell (signed), and the slack in distance.

    Where the ray stands still, every wall is far away and no rounding can cross one.
    """
    if abs(v) < STILL:
        return 1, FAR_AWAY, ZERO
    rate = ONE / (v * scale)
    return int(v > ZERO), rate, ULPS * (ONE + abs(o)) * scale * abs(rate)


@jit(parallel=False)
def _walk(k, stop, depth, room, o, d, near, far, h, u, occupancy, distance, densities, depth_limit, runs):
    """Runs of emitted intervals, [first, last + 1), from lattice point ``k`` until ``runs`` is full or the ray is done.

    Returns how many runs, how many intervals, where to go on (``stop``: the ray is done), and the optical depth so far.
    """
    size = occupancy.shape[0]
    limit = np.float32(size)
    scale = HALF * limit
    ox, oy, oz, dx, dy, dz = o[0], o[1], o[2], d[0], d[1], d[2]
    up_x, rate_x, slack_x = _axis(ox, dx, scale)
    up_y, rate_y, slack_y = _axis(oy, dy, scale)
    up_z, rate_z, slack_z = _axis(oz, dz, scale)
    per_step = ONE / h
    strides = h * scale < SHORT
    count, emitted, last = 0, 0, -1
    while k < stop:
        start = near + (np.float32(k) + u) * h
        if not start < far:
            k = stop
            break
        end = min(near + (np.float32(k + 1) + u) * h, far)
        middle = HALF * (start + end)
        gx, gy, gz = (
            (ox + middle * dx + ONE) * scale,
            (oy + middle * dy + ONE) * scale,
            (oz + middle * dz + ONE) * scale,
        )
        if not (gx >= ZERO and gx < limit and gy >= ZERO and gy < limit and gz >= ZERO and gz < limit):
            k += 1
            continue
        x, y, z = np.uint32(gx), np.uint32(gy), np.uint32(gz)
        bx, by, bz = x >> SHIFT, y >> SHIFT, z >> SHIFT
        blocks = int(distance[bx, by, bz])
        occupied = blocks == 0 and occupancy[x, y, z] != 0
        same = 1
        if blocks > 0 or strides:
            if blocks > 0:
                wall_x = (int(bx) + (blocks if up_x else 1 - blocks)) * BLOCK
                wall_y = (int(by) + (blocks if up_y else 1 - blocks)) * BLOCK
                wall_z = (int(bz) + (blocks if up_z else 1 - blocks)) * BLOCK
            else:
                wall_x, wall_y, wall_z = int(x) + up_x, int(y) + up_y, int(z) + up_z
            # So many lattice points, this one included, certainly lie before the nearest wall and before the end.
            away_x = (np.float32(wall_x) - gx) * rate_x - slack_x
            away_y = (np.float32(wall_y) - gy) * rate_y - slack_y
            away_z = (np.float32(wall_z) - gz) * rate_z - slack_z
            away = min(away_x, away_y, away_z, far - middle)
            away -= ULPS * (abs(near) + abs(middle) + away)
            same = max(1, int(min(away * per_step, LONGEST)) + 1)
        if occupied:
            if room == emitted or depth > depth_limit:
                k = stop
                break
            if k != last:
                if count == len(runs):
                    break
                runs[count, 0] = k
                count += 1
            if len(densities):
                same = 1
                depth += np.float64(densities[x, y, z]) * np.float64(end - start)
            same = min(same, room - emitted)
            emitted += same
            last = k + same
            runs[count - 1, 1] = last
        k += same
    return count, emitted, k, depth


@jit
def _block_distance(occupancy, distance):
    """How many blocks of cells away (largest of the three axes) the nearest occupied block is; 255 if farther."""
    size, n = occupancy.shape[0], distance.shape[0]
    for bx in prange(n):
        distance[bx] = 255
        for x in range(bx * BLOCK, min(bx * BLOCK + BLOCK, size)):
            for y in range(size):
                for z in range(size):
                    if occupancy[x, y, z]:
                        distance[bx, y // BLOCK, z // BLOCK] = 0
    for sweep in range(2):  # forward, then backward: each block learns from the 13 neighbors already visited
        for i in range(n * n * n):
            b = i if sweep == 0 else n * n * n - 1 - i
            x, y, z = b // (n * n), b // n % n, b % n
            for j in range(13):
                dx, dy, dz = j // 9 - 1, j // 3 % 3 - 1, j % 3 - 1
                if sweep:
                    dx, dy, dz = -dx, -dy, -dz
                if 0 <= x + dx < n and 0 <= y + dy < n and 0 <= z + dz < n:
                    near = min(int(distance[x + dx, y + dy, z + dz]) + 1, 255)
                    distance[x, y, z] = min(int(distance[x, y, z]), near)


@jit
def _count(
    o, d, near, far, h, key, occupancy, distance, densities, depth_limit, max_samples, runs, run_count, sample_count
):
    """How many samples each ray has, and its runs; ``run_count`` is -1 for a ray with too many runs to remember."""
    for r in prange(len(near)):
        u = _lattice_offset(key, r)
        k, stop = _lattice_range(o[r], d[r], near[r], far[r], h, u)
        depth, total, batches = 0.0, 0, 0
        run_count[r] = 0
        while k < stop:
            run_count[r], emitted, k, depth = _walk(
                k, stop, depth, max_samples - total, o[r], d[r], near[r], far[r], h, u,
                occupancy, distance, densities, depth_limit, runs[r],
            )  # fmt: skip
            total += emitted
            batches += 1
        if batches > 1:
            run_count[r] = -1
        sample_count[r] = total


@jit
def _emit(o, d, near, far, h, key, occupancy, distance, densities, runs, run_count, offsets, ray_index, start, end):
    for r in prange(len(near)):
        u = _lattice_offset(key, r)
        s = offsets[r]
        k, stop = _lattice_range(o[r], d[r], near[r], far[r], h, u)
        while s < offsets[r + 1]:
            count = run_count[r]
            if count < 0:
                # How many samples there are is known: no need to watch the optical depth.
                count, _, k, _ = _walk(
                    k, stop, 0.0, offsets[r + 1] - s, o[r], d[r], near[r], far[r], h, u,
                    occupancy, distance, densities[:0], np.inf, runs[r],
                )  # fmt: skip
            for i in range(count):
                for point in range(runs[r, i, 0], runs[r, i, 1]):
                    ray_index[s] = r
                    start[s] = near[r] + (np.float32(point) + u) * h
                    end[s] = min(near[r] + (np.float32(point + 1) + u) * h, far[r])
                    s += 1


def _distance(occupancy):
    distance = np.empty((-(-len(occupancy) // BLOCK),) * 3, np.uint8)
    _block_distance(occupancy.numpy().view(np.uint8), distance)
    return distance


def march(
    origins, directions, near, far, occupancy, step_size, jitter, density_grid, max_optical_depth, max_samples, capacity
):
    """ray_index (S,), t_start (S,), t_end (S,), offsets (R+1,)."""
    grid, distance = occupancy.numpy().view(np.uint8), kept(occupancy, _distance)
    densities = np.empty((0, 0, 0), np.float32) if density_grid is None else density_grid.numpy()
    rays = *(t.numpy() for t in (origins, directions, near, far)), np.float32(step_size), _key(jitter)
    walk = *rays, grid, distance, densities
    runs, run_count = np.empty((len(near), RUNS, 2), np.int32), np.empty(len(near), np.int32)
    offsets = np.zeros(len(near) + 1, np.int64)
    _count(*walk, max_optical_depth, max_samples, runs, run_count, offsets[1:])
    np.cumsum(offsets, out=offsets)
    ray_index, t_start, t_end = (np.empty(offsets[-1], kind) for kind in (np.int64, np.float32, np.float32))
    _emit(*walk, runs, run_count, offsets, ray_index, t_start, t_end)
    return fill([torch.from_numpy(a) for a in (ray_index, t_start, t_end, offsets)], far, capacity)


@jit
def _positions(ray_index, start, end, o, d, points):
    for s in prange(len(ray_index)):
        r, middle = ray_index[s], HALF * (start[s] + end[s])
        for axis in range(3):
            points[s, axis] = o[r, axis] + middle * d[r, axis]


@jit
def _positions_backward(offsets, start, end, grad_points, grad_origins, grad_directions):
    for r in prange(len(offsets) - 1):
        for axis in range(3):
            by_origin, by_direction = 0.0, 0.0
            for s in range(offsets[r], offsets[r + 1]):
                by_origin += grad_points[s, axis]
                by_direction += np.float64(HALF * (start[s] + end[s])) * grad_points[s, axis]
            grad_origins[r, axis], grad_directions[r, axis] = by_origin, by_direction


class Positions(torch.autograd.Function):
    """(origins, directions, ray_index, t_start, t_end, offsets) -> mid-points of the samples (S,3)."""

    @staticmethod
    def forward(ctx, origins, directions, ray_index, t_start, t_end, offsets):
        ctx.save_for_backward(offsets, t_start, t_end)
        points = torch.empty(len(ray_index), 3)
        rays = (t.detach().contiguous().numpy() for t in (origins, directions))
        _positions(ray_index.numpy(), t_start.numpy(), t_end.numpy(), *rays, points.numpy())
        return points

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_points):
        offsets, t_start, t_end = ctx.saved_tensors
        grads = torch.empty(2, len(offsets) - 1, 3)
        inputs = offsets, t_start, t_end, grad_points.contiguous(), *grads
        _positions_backward(*(t.numpy() for t in inputs))
        return *grads, None, None, None, None


positions = Positions.apply


@jit
def _stratified(near, far, fractions, key, depths):
    jittered, seed, step, first = key
    last = len(fractions) - 1
    for r in prange(len(near)):
        span = far[r] - near[r]
        for i in range(last + 1):
            depth = near[r] + span * fractions[i]
            if jittered:
                lower = HALF * (depth + (near[r] + span * fractions[i - 1])) if i > 0 else depth
                upper = HALF * ((near[r] + span * fractions[i + 1]) + depth) if i < last else depth
                noise = to_uniform(words(seed, first + r, i, step, STRATIFIED)[0])
                depth = lower + (upper - lower) * noise
            depths[r, i] = depth


def stratified(near, far, fractions, jitter):
    """Depths (R,n)."""
    depths = torch.empty(len(near), len(fractions))
    _stratified(near.numpy(), far.numpy(), fractions.numpy(), _key(jitter), depths.numpy())
    return depths
