"""Marching, sample positions and lock-step sampling in Triton; a lane a ray where rays differ in length.

As in the CPU kernels, every t and every decision on a cell is the reference's float32 expression, so they are launched
without fused multiply-adds; empty space is skipped by bounds that are safe against rounding.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from ..philox import JITTER, STRATIFIED
from ..philox.triton import to_uniform, words
from . import reference
from .kept import kept

RAYS = 64  # rays a program, where a lane is a ray
SAMPLES = 256  # samples a program, where a lane is a sample
LANES = 32  # samples a program looks at together, where a program is a ray
REACH = 4  # blocks of empty space that one stride can cross
AS_WRITTEN = {"enable_fp_fusion": False}
BLOCK = tl.constexpr(8)  # cells along a side of a block
LONGEST = tl.constexpr(16777216.0)
STILL = tl.constexpr(1e-30)  # a slower coordinate does not leave its cell
ULPS = tl.constexpr(2.0**-20)  # margin, relative: eight float32 roundings
STREAM_JITTER, STREAM_STRATIFIED = tl.constexpr(JITTER), tl.constexpr(STRATIFIED)


def block_distance(occupancy):
    """How many blocks of cells away (largest of the three axes) the nearest occupied block is; at most ``REACH``."""
    size, block = len(occupancy), BLOCK.value
    count = -(-size // block)
    padded = torch.nn.functional.pad(occupancy.view(torch.uint8), (0, count * block - size) * 3)
    occupied = padded.view(count, block, count, block, count, block).amax((1, 3, 5))
    reached = (occupied > 0).float()[None, None]
    distance = torch.zeros_like(occupied)
    for _ in range(REACH):
        distance += reached[0, 0] == 0
        reached = torch.nn.functional.max_pool3d(reached, 3, stride=1, padding=1)
    return distance


@triton.jit
def _side(p, v, enter, leave):
    """Narrows [enter, leave] to where -1 <= p + t v <= 1, as the reference does."""
    still = v == 0
    speed = tl.where(still, 1.0, v)
    first, second = tl.div_rn(-1.0 - p, speed), tl.div_rn(1.0 - p, speed)
    within = tl.abs(p) <= 1
    nearest = tl.where(still, tl.where(within, float("-inf"), float("inf")), tl.minimum(first, second))
    farthest = tl.where(still, tl.where(within, float("inf"), float("-inf")), tl.maximum(first, second))
    return tl.maximum(enter, nearest), tl.minimum(leave, farthest)


@triton.jit
def box_kernel(
    origins_ptr, directions_ptr, near_ptr, far_ptr, near_plane, rays, SAMPLES: tl.constexpr
):  # fmt: skip
    ray = tl.program_id(0).to(tl.int64) * SAMPLES + tl.arange(0, SAMPLES)
    inside = ray < rays
    near = tl.full((SAMPLES,), float("-inf"), tl.float32)
    far = tl.full((SAMPLES,), float("inf"), tl.float32)
    for axis in tl.static_range(3):
        p = tl.load(origins_ptr + ray * 3 + axis, inside, other=0.0)
        v = tl.load(directions_ptr + ray * 3 + axis, inside, other=1.0)
        near, far = _side(p, v, near, far)
    near = tl.maximum(near, near_plane)
    hit = (far > near) & (far < float("inf"))
    tl.store(near_ptr + ray, tl.where(hit, near, near_plane), inside)
    tl.store(far_ptr + ray, tl.where(hit, far, near_plane), inside)


def intersect_box(origins, directions, near_plane):
    """near, far (R,); what is not float32 is the reference's."""
    if origins.dtype != torch.float32:
        return reference.intersect_box(origins, directions, near_plane)
    rays = len(origins)
    near, far = (torch.empty(rays, device=origins.device) for _ in range(2))
    if rays:
        box_kernel[(triton.cdiv(rays, SAMPLES),)](
            origins.contiguous(), directions.contiguous(), near, far, near_plane, rays, SAMPLES=SAMPLES, **AS_WRITTEN
        )
    return near, far


@triton.jit
def _slab(p, v, enter, leave):
    """Narrows [enter, leave] to where -1 <= p + t v <= 1, generously."""
    p, v = p.to(tl.float64), v.to(tl.float64)
    slack = 1e-5 * (1.0 + tl.abs(p))
    speed = tl.where(v == 0, 1.0, v)
    a, b, widen = (-1.0 - p) / speed, (1.0 - p) / speed, slack / tl.abs(speed)
    missed = tl.where(tl.abs(p) > 1.0 + slack, float("-inf"), leave)
    enter = tl.where(v == 0, enter, tl.maximum(enter, tl.minimum(a, b) - widen))
    leave = tl.where(v == 0, missed, tl.minimum(leave, tl.maximum(a, b) + widen))
    return enter, leave


@triton.jit
def _ray(
    origins_ptr, directions_ptr, near_ptr, far_ptr, step_size, seed, step, first, ray, inside, JITTERED: tl.constexpr
):  # fmt: skip
    """A ray, its lattice's start, and the first and last lattice point that can lie in the box and before ``far``."""
    ox = tl.load(origins_ptr + ray * 3, inside, other=0.0)
    oy = tl.load(origins_ptr + ray * 3 + 1, inside, other=0.0)
    oz = tl.load(origins_ptr + ray * 3 + 2, inside, other=0.0)
    dx = tl.load(directions_ptr + ray * 3, inside, other=1.0)
    dy = tl.load(directions_ptr + ray * 3 + 1, inside, other=1.0)
    dz = tl.load(directions_ptr + ray * 3 + 2, inside, other=1.0)
    near = tl.load(near_ptr + ray, inside, other=0.0)
    far = tl.load(far_ptr + ray, inside, other=0.0)
    u = tl.zeros_like(near)
    if JITTERED:
        word, _, _, _ = words(seed, first + ray, ray ^ ray, step, STREAM_JITTER)
        u = to_uniform(word)
    enter, leave = near.to(tl.float64), far.to(tl.float64)
    enter, leave = _slab(ox, dx, enter, leave)
    enter, leave = _slab(oy, dy, enter, leave)
    enter, leave = _slab(oz, dz, enter, leave)
    hit = leave > enter
    enter, leave = tl.where(hit, enter, near), tl.where(hit, leave, near)
    margin = 1e-5 * (tl.abs(near) + tl.abs(leave))
    k = tl.floor((enter - margin - near) / step_size - u) - 1.0
    stop = tl.ceil((leave + margin - near) / step_size - u) + 1.0
    k = tl.minimum(tl.maximum(k, 0.0), LONGEST).to(tl.int32)
    stop = tl.where(hit & inside, tl.minimum(tl.maximum(stop, 0.0), LONGEST), 0.0).to(tl.int32)
    return ox, oy, oz, dx, dy, dz, near, far, u, k, stop


@triton.jit
def _way(g, o, v, cell, blocks, scale):
    """How far along the ray coordinate ``g`` (in cells) certainly stays in its cell, or in empty blocks."""
    block = cell // BLOCK
    up = v > 0
    still = tl.abs(v) < STILL
    wall = tl.where(blocks > 0, (block + tl.where(up, blocks, 1 - blocks)) * BLOCK, cell + tl.where(up, 1, 0))
    rate = 1.0 / (tl.where(still, 1.0, v) * scale)
    way = (wall.to(tl.float32) - g) * rate - ULPS * (1.0 + tl.abs(o)) * scale * tl.abs(rate)
    return tl.where(still, float("inf"), way)


@triton.jit
def _look(
    k, stop, ox, oy, oz, dx, dy, dz, near, far, u, step_size, occupancy_ptr, distance_ptr, size, blocks_per_side
):  # fmt: skip
    """Of lattice point ``k``: is its interval emitted; the interval; its cell; how many points from it on fare so."""
    scale = 0.5 * size.to(tl.float32)
    start = near + (k.to(tl.float32) + u) * step_size
    end = tl.minimum(near + ((k + 1).to(tl.float32) + u) * step_size, far)
    middle = 0.5 * (start + end)
    gx, gy, gz = (ox + middle * dx + 1.0) * scale, (oy + middle * dy + 1.0) * scale, (oz + middle * dz + 1.0) * scale
    inside = (gx >= 0) & (gx < size) & (gy >= 0) & (gy < size) & (gz >= 0) & (gz < size) & (k < stop) & (start < far)
    x = tl.where(inside, gx, 0.0).to(tl.int32)
    y = tl.where(inside, gy, 0.0).to(tl.int32)
    z = tl.where(inside, gz, 0.0).to(tl.int32)
    cell = (x.to(tl.int64) * size + y) * size + z
    block = ((x // BLOCK) * blocks_per_side + y // BLOCK) * blocks_per_side + z // BLOCK
    blocks = tl.load(distance_ptr + block, inside, other=1).to(tl.int32)
    occupied = tl.load(occupancy_ptr + cell, inside & (blocks == 0), other=0) != 0
    way = tl.minimum(_way(gx, ox, dx, x, blocks, scale), _way(gy, oy, dy, y, blocks, scale))
    way = tl.minimum(tl.minimum(way, _way(gz, oz, dz, z, blocks, scale)), far - middle)
    way -= ULPS * (tl.abs(near) + tl.abs(middle) + way)
    same = tl.maximum(tl.minimum(way / step_size, LONGEST).to(tl.int32) + 1, 1)
    # Past ``far`` the ray is done; outside the box it looks on, point by point.
    same = tl.where(inside, same, tl.where(start < far, 1, stop - k))
    return occupied, start, end, cell, same


@triton.jit(do_not_specialize=["seed", "step", "first", "size"])
def count_kernel(
    origins_ptr, directions_ptr, near_ptr, far_ptr, step_size, seed, step, first, occupancy_ptr, distance_ptr,
    density_ptr, size, blocks_per_side, depth_limit, max_samples, counts_ptr, rays,
    JITTERED: tl.constexpr, STOPPING: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    ray = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    ox, oy, oz, dx, dy, dz, near, far, u, k, stop = _ray(
        origins_ptr, directions_ptr, near_ptr, far_ptr, step_size, seed, step, first, ray, ray < rays, JITTERED
    )
    count, depth = tl.zeros_like(k), tl.zeros((RAYS,), tl.float64)
    while tl.max((k < stop).to(tl.int32), 0) > 0:
        occupied, start, end, cell, same = _look(
            k, stop, ox, oy, oz, dx, dy, dz, near, far, u, step_size, occupancy_ptr, distance_ptr, size, blocks_per_side
        )
        done = occupied & ((count >= max_samples) | (depth > depth_limit))
        occupied = occupied & ~done
        if STOPPING:
            density = tl.load(density_ptr + cell, occupied, other=0.0)
            depth += tl.where(occupied, density.to(tl.float64) * (end - start).to(tl.float64), 0.0)
            same = tl.where(occupied, 1, same)
        same = tl.where(occupied, tl.minimum(same, max_samples - count), same)
        count += tl.where(occupied, same, 0)
        k = tl.where(done, stop, k + same)
    tl.store(counts_ptr + ray, count.to(tl.int64), ray < rays)


@triton.jit(do_not_specialize=["seed", "step", "first", "size"])
def emit_kernel(
    origins_ptr, directions_ptr, near_ptr, far_ptr, step_size, seed, step, first, occupancy_ptr, distance_ptr,
    size, blocks_per_side, offsets_ptr, ray_index_ptr, start_ptr, end_ptr, rays,
    JITTERED: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    ray = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    ox, oy, oz, dx, dy, dz, near, far, u, k, stop = _ray(
        origins_ptr, directions_ptr, near_ptr, far_ptr, step_size, seed, step, first, ray, ray < rays, JITTERED
    )
    sample = tl.load(offsets_ptr + ray, ray < rays, other=0)
    last = tl.load(offsets_ptr + ray + 1, ray < rays, other=0)
    while tl.max(((k < stop) & (sample < last)).to(tl.int32), 0) > 0:
        occupied, start, end, _, same = _look(
            k, stop, ox, oy, oz, dx, dy, dz, near, far, u, step_size, occupancy_ptr, distance_ptr, size, blocks_per_side
        )
        emitted = occupied & (sample < last)
        tl.store(ray_index_ptr + sample, ray, emitted)
        tl.store(start_ptr + sample, start, emitted)
        tl.store(end_ptr + sample, end, emitted)
        sample += emitted.to(tl.int64)
        k += tl.where(occupied, 1, same)


def _key(jitter):
    """A draw as kernels take it; the numbers mean nothing where there is none."""
    return (0, 0, 0) if jitter is None else tuple(jitter)


def march(
    origins, directions, near, far, occupancy, step_size, jitter, density_grid, max_optical_depth, max_samples, capacity
):
    """ray_index (S,), t_start (S,), t_end (S,), offsets (R+1,)."""
    rays, device = len(near), near.device
    grid, distance = occupancy.view(torch.uint8), kept(occupancy, block_distance)
    walk = origins, directions, near, far, step_size, *_key(jitter), grid, distance
    sizes = len(grid), len(distance)
    launch = (triton.cdiv(rays, RAYS),)
    options = {"JITTERED": jitter is not None, "RAYS": RAYS, "num_warps": 1, **AS_WRITTEN}
    counts = torch.empty(rays, dtype=torch.int64, device=device)
    if rays:
        stopping = density_grid is not None
        densities = density_grid if stopping else near  # a pointer must point somewhere
        count_kernel[launch](
            *walk, densities, *sizes, max_optical_depth, max_samples, counts, rays, STOPPING=stopping, **options
        )
    offsets = torch.zeros(rays + 1, dtype=torch.int64, device=device)
    torch.cumsum(counts, 0, out=offsets[1:])
    if capacity is None:
        total = int(offsets[-1])
        ray_index = torch.empty(total, dtype=torch.int64, device=device)
        t_start, t_end = torch.empty(2, total, device=device)
    else:
        total = capacity
        offsets = (offsets * (offsets <= capacity)).cummax(0).values
        ray_index = torch.full((total,), rays - 1, device=device)
        t_start, t_end = far[-1:].expand(2, total).clone()
    if total:
        emit_kernel[launch](*walk, *sizes, offsets, ray_index, t_start, t_end, rays, **options)
    if capacity is not None:
        offsets[-1:].fill_(capacity)
    return ray_index, t_start, t_end, offsets


@triton.jit
def positions_kernel(
    ray_index_ptr, start_ptr, end_ptr, origins_ptr, directions_ptr, points_ptr, count, SAMPLES: tl.constexpr
):  # fmt: skip
    sample = tl.program_id(0).to(tl.int64) * SAMPLES + tl.arange(0, SAMPLES)
    inside = sample < count
    ray = tl.load(ray_index_ptr + sample, inside, other=0)
    middle = 0.5 * (tl.load(start_ptr + sample, inside) + tl.load(end_ptr + sample, inside))
    for axis in tl.static_range(3):
        origin = tl.load(origins_ptr + ray * 3 + axis, inside)
        direction = tl.load(directions_ptr + ray * 3 + axis, inside)
        tl.store(points_ptr + sample * 3 + axis, origin + middle * direction, inside)


@triton.jit
def positions_backward_kernel(
    offsets_ptr, start_ptr, end_ptr, grad_points_ptr, grad_origins_ptr, grad_directions_ptr, LANES: tl.constexpr
):  # fmt: skip
    ray = tl.program_id(0).to(tl.int64)
    begin, stop = tl.load(offsets_ptr + ray), tl.load(offsets_ptr + ray + 1)
    for axis in tl.static_range(3):
        by_origin, by_direction = tl.zeros((LANES,), tl.float32), tl.zeros((LANES,), tl.float32)
        for i in range(begin, stop, LANES):
            sample = i + tl.arange(0, LANES)
            inside = sample < stop
            start, end = tl.load(start_ptr + sample, inside, other=0.0), tl.load(end_ptr + sample, inside, other=0.0)
            gradient = tl.load(grad_points_ptr + sample * 3 + axis, inside, other=0.0)
            by_origin += gradient
            by_direction += 0.5 * (start + end) * gradient
        tl.store(grad_origins_ptr + ray * 3 + axis, tl.sum(by_origin))
        tl.store(grad_directions_ptr + ray * 3 + axis, tl.sum(by_direction))


class Positions(torch.autograd.Function):
    """(origins, directions, ray_index, t_start, t_end, offsets) -> mid-points of the samples (S,3)."""

    @staticmethod
    def forward(ctx, origins, directions, ray_index, t_start, t_end, offsets):
        ctx.save_for_backward(offsets, t_start, t_end)
        count = len(ray_index)
        points = torch.empty(count, 3, device=t_start.device)
        if count:
            rays = origins.detach().contiguous(), directions.detach().contiguous()
            positions_kernel[(triton.cdiv(count, SAMPLES),)](
                ray_index, t_start, t_end, *rays, points, count, SAMPLES=SAMPLES, **AS_WRITTEN
            )
        return points

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_points):
        offsets, t_start, t_end = ctx.saved_tensors
        rays = len(offsets) - 1
        grads = torch.empty(2, rays, 3, device=t_start.device)
        if rays:
            positions_backward_kernel[(rays,)](
                offsets, t_start, t_end, grad_points.contiguous(), *grads, LANES=LANES, num_warps=1
            )
        return *grads, None, None, None, None


positions = Positions.apply


@triton.jit(do_not_specialize=["seed", "step", "first"])
def stratified_kernel(
    near_ptr, far_ptr, fractions_ptr, seed, step, first, depths_ptr, count,
    JITTERED: tl.constexpr, SAMPLES: tl.constexpr,
):  # fmt: skip
    ray = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * SAMPLES + tl.arange(0, SAMPLES)
    inside = i < count
    near = tl.load(near_ptr + ray)
    span = tl.load(far_ptr + ray) - near
    depth = near + span * tl.load(fractions_ptr + i, inside, other=0.0)
    if JITTERED:
        below = near + span * tl.load(fractions_ptr + i - 1, inside & (i > 0), other=0.0)
        above = near + span * tl.load(fractions_ptr + i + 1, i < count - 1, other=0.0)
        lower = tl.where(i > 0, 0.5 * (depth + below), depth)
        upper = tl.where(i < count - 1, 0.5 * (above + depth), depth)
        word, _, _, _ = words(seed, (first + ray) + (i ^ i), i, step, STREAM_STRATIFIED)
        depth = lower + (upper - lower) * to_uniform(word)
    tl.store(depths_ptr + ray * count + i, depth, inside)


def stratified(near, far, fractions, jitter):
    """Depths (R,n)."""
    rays, count = len(near), len(fractions)
    depths = torch.empty(rays, count, device=near.device)
    if rays:
        stratified_kernel[(rays, triton.cdiv(count, SAMPLES))](
            near, far, fractions, *_key(jitter), depths, count,
            JITTERED=jitter is not None, SAMPLES=SAMPLES, **AS_WRITTEN,
        )  # fmt: skip
    return depths
