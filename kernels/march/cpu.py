"""Marching, sample positions and lock-step sampling in Numba, parallel over rays; ``walk`` has a ray's way."""

import numpy as np
import torch
from numba import prange
from torch.autograd.function import once_differentiable

from ..jit import inline, jit
from ..philox import STRATIFIED
from ..philox.cpu import to_uniform, words
from . import reference
from .kept import kept
from .reference import fill
from .walk import AHEAD, NUMBERS, OFFSET, POINT, RAYS, STOP, depart, lattice_offset, lattice_range, map_of, walk

ZERO, ONE, HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
RUNS = 8  # runs of neighboring samples remembered for each ray; a ray with more is walked a second time


@inline
def box_of(o, d, r, near_plane):
    """Where ray r enters and leaves the box: the reference's expressions."""
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
    return (enter, leave) if hit else (near_plane, near_plane)


@jit
def _intersect(o, d, near_plane, near, far):
    for r in prange(len(o)):
        near[r], far[r] = box_of(o, d, r, near_plane)


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
def part_of(turn, parts):
    """Even parts, then odd ones: threads, which take neighboring turns, share what is full and what is empty."""
    half = (parts + 1) // 2
    return 2 * turn if turn < half else 2 * (turn - half) + 1


@jit
def _count(
    o, d, near, far, h, key, size, occupancy, distance, bounds, densities, depth_limit, max_samples, runs, run_count,
    sample_count,
):  # fmt: skip
    """How many samples each ray has, and its runs; ``run_count`` is -1 for a ray with too many runs to remember."""
    parts = (len(near) + RAYS - 1) // RAYS
    for turn in prange(parts):
        part = part_of(np.int64(turn), parts)
        cells, lengths = np.empty(AHEAD, np.int32), np.empty(AHEAD, np.float32)
        rays = np.zeros(NUMBERS, np.float32)
        first, end = part * RAYS, min(part * RAYS + RAYS, len(near))
        depart(o, d, near, far, first, end, h, key, size, distance, bounds, rays)
        for r in range(first, end):
            i = r - first
            k, stop, u = int(rays[POINT + i]), int(rays[STOP + i]), rays[OFFSET + i]
            depth, total, batches = 0.0, 0, 0
            run_count[r] = 0
            while k < stop and total < max_samples:
                run_count[r], emitted, k, depth = walk(
                    k, stop, depth, max_samples - total, o[r], d[r], near[r], far[r], h, u, size,
                    occupancy, distance, densities, depth_limit, runs[r], cells, lengths,
                )  # fmt: skip
                total += emitted
                batches += 1
            if batches > 1:
                run_count[r] = -1
            sample_count[r] = total


@jit
def _emit(
    o, d, near, far, h, key, size, occupancy, distance, bounds, densities, runs, run_count, offsets,
    ray_index, start, end,
):  # fmt: skip
    parts = (len(near) + RAYS - 1) // RAYS
    for turn in prange(parts):
        part = part_of(np.int64(turn), parts)
        cells, lengths = np.empty(AHEAD, np.int32), np.empty(AHEAD, np.float32)
        for r in range(part * RAYS, min(part * RAYS + RAYS, len(near))):
            if offsets[r] == offsets[r + 1]:
                continue
            u = lattice_offset(key, r)
            s = offsets[r]
            k, stop = lattice_range(o[r], d[r], near[r], far[r], h, u, bounds)
            while s < offsets[r + 1]:
                count = run_count[r]
                if count < 0:
                    # How many samples there are is known: no need to watch the optical depth.
                    count, _, k, _ = walk(
                        k, stop, 0.0, offsets[r + 1] - s, o[r], d[r], near[r], far[r], h, u, size,
                        occupancy, distance, densities[:0], np.inf, runs[r], cells, lengths,
                    )  # fmt: skip
                for i in range(count):
                    for point in range(runs[r, i, 0], runs[r, i, 1]):
                        ray_index[s] = r
                        start[s] = near[r] + (np.float32(point) + u) * h
                        end[s] = min(near[r] + (np.float32(point + 1) + u) * h, far[r])
                        s += 1


def march(
    origins, directions, near, far, occupancy, step_size, jitter, density_grid, max_optical_depth, max_samples, capacity
):
    """ray_index (S,), t_start (S,), t_end (S,), offsets (R+1,)."""
    grid, (distance, bounds) = occupancy.numpy().view(np.uint8).ravel(), kept(occupancy, map_of)
    densities = np.empty(0, np.float32) if density_grid is None else density_grid.numpy().ravel()
    rays = *(t.numpy() for t in (origins, directions, near, far)), np.float32(step_size), _key(jitter)
    shared = *rays, np.int32(len(occupancy)), grid, distance, bounds, densities
    runs, run_count = np.empty((len(near), RUNS, 2), np.int32), np.empty(len(near), np.int32)
    offsets = np.zeros(len(near) + 1, np.int64)
    _count(*shared, max_optical_depth, max_samples, runs, run_count, offsets[1:])
    np.cumsum(offsets, out=offsets)
    ray_index, t_start, t_end = (np.empty(offsets[-1], kind) for kind in (np.int64, np.float32, np.float32))
    _emit(*shared, runs, run_count, offsets, ray_index, t_start, t_end)
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
