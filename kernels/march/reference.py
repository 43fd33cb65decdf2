"""The oracle: marching on a dense lattice and lock-step sampling in PyTorch, any float dtype."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..philox import JITTER, STRATIFIED, Draw
from ..philox.reference import uniform


def lattice_offset(near: Tensor, jitter: Draw | None) -> Tensor:
    """Where each ray's lattice starts, as a fraction of a step: (R,), 0 without jitter."""
    if jitter is None:
        return torch.zeros_like(near)
    rays = jitter.first + torch.arange(len(near), device=near.device)
    return uniform(jitter, JITTER, rays)[0].to(near.dtype)


def intersect_box(origins: Tensor, directions: Tensor, near_plane: float) -> tuple[Tensor, Tensor]:
    """near, far (R,)."""
    still = directions == 0
    within = still & (origins.abs() <= 1)
    speed = torch.where(still, 1.0, directions)
    first, second = (-1 - origins) / speed, (1 - origins) / speed  # (R, 3)
    # Along an axis on which it stands still a ray is in the slab always or never.
    enter = torch.where(still, torch.where(within, -math.inf, math.inf), torch.minimum(first, second))
    leave = torch.where(still, torch.where(within, math.inf, -math.inf), torch.maximum(first, second))
    near, far = enter.amax(-1).clamp(min=near_plane), leave.amin(-1)  # (R,)
    hit = (far > near) & far.isfinite()
    return near.where(hit, near_plane), far.where(hit, near_plane)


def fill(packed: Sequence[Tensor], far: Tensor, capacity: int | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The samples of the rays that fit into ``capacity``, and intervals [far, far] of the last ray up to it."""
    ray_index, t_start, t_end, offsets = packed
    if capacity is None:
        return ray_index, t_start, t_end, offsets
    offsets = offsets.where(offsets <= capacity, offsets[offsets <= capacity].max())
    taken = int(offsets[-1])
    offsets[-1] = capacity
    rest = torch.full((capacity - taken,), len(far) - 1, device=far.device)
    t_start, t_end = (torch.cat([t[:taken], far[rest]]) for t in (t_start, t_end))
    return torch.cat([ray_index[:taken], rest]), t_start, t_end, offsets


def march(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    occupancy: Tensor,
    step_size: float,
    jitter: Draw | None,
    density_grid: Tensor | None,
    max_optical_depth: float,
    max_samples: int,
    capacity: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ray_index (S,), t_start (S,), t_end (S,), offsets (R+1,)."""
    size = occupancy.shape[0]
    longest = float((far - near).max()) if len(near) else 0.0
    count = max(0, math.ceil(longest / step_size)) + 1
    edge = torch.arange(count + 1, dtype=near.dtype, device=near.device)
    t = near[:, None] + (edge + lattice_offset(near, jitter)[:, None]) * step_size  # (R, K+1)
    start, end = t[:, :-1], torch.minimum(t[:, 1:], far[:, None])  # (R, K)
    middle = 0.5 * (start + end)
    points = origins[:, None] + middle[:, :, None] * directions[:, None]  # (R, K, 3)
    cell = ((points + 1.0) * (0.5 * size)).floor()
    inside = ((cell >= 0) & (cell < size)).all(-1) & (start < far[:, None])
    x, y, z = torch.where(inside[:, :, None], cell, 0.0).long().unbind(-1)
    emitted = inside & (occupancy[x, y, z] != 0)  # (R, K)
    if density_grid is not None:
        # Doubles: a running sum that does not depend on how a backend rounds or fuses.
        depth = torch.where(emitted, density_grid[x, y, z].double() * (end - start).double(), 0.0)
        before = torch.nn.functional.pad(depth.cumsum(1), (1, 0))[:, :-1]
        emitted &= before <= max_optical_depth
    emitted &= emitted.cumsum(1) <= max_samples
    offsets = torch.nn.functional.pad(emitted.sum(1).cumsum(0), (1, 0))
    return fill((emitted.nonzero()[:, 0], start[emitted], end[emitted], offsets), far, capacity)


def positions(
    origins: Tensor, directions: Tensor, ray_index: Tensor, t_start: Tensor, t_end: Tensor, offsets: Tensor
) -> Tensor:
    """Mid-points of the samples, (S,3); ``offsets`` are for the backends that sum by ray."""
    middle = 0.5 * (t_start + t_end)
    return origins[ray_index] + middle[:, None] * directions[ray_index]


def stratified(near: Tensor, far: Tensor, fractions: Tensor, jitter: Draw | None) -> Tensor:
    """Depths (R,n)."""
    depth = near[:, None] + (far - near)[:, None] * fractions  # (R, n)
    if jitter is None:
        return depth
    middle = 0.5 * (depth[:, 1:] + depth[:, :-1])
    lower, upper = torch.cat([depth[:, :1], middle], 1), torch.cat([middle, depth[:, -1:]], 1)
    ray, sample = (torch.arange(count, device=near.device) for count in depth.shape)
    noise = uniform(jitter, STRATIFIED, jitter.first + ray[:, None], sample)[0]  # (R, n)
    return lower + (upper - lower) * noise.to(near.dtype)
