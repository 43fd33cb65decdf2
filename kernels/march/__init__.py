"""Where along a ray the field is looked at: marching through an occupancy grid, and lock-step samplers.

Samples are intervals [t_start, t_end] of a ray o + t d, packed ray after ray. The field is evaluated at their middles.
No gradient flows to t: where samples lie is a choice, not a function to be optimized.

Marching walks the lattice

    t_k = near + (k + u) step_size,   k = 0, 1, 2, ...,   u = 0, or uniform in [0, 1) for each ray,

and emits [t_k, min(t_{k+1}, far)] where the grid cell that holds the middle of it is occupied. In float32, with each
operation rounded as written, that is the same set of samples with the same bits on every backend.
"""

import math
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from ..backend import backend_for
from ..philox import Draw


class Samples(NamedTuple):
    """S samples of R rays, ray after ray, each ray's in order of t.

    ``ray_index`` (S,) int64; ``t_start``, ``t_end`` (S,); ``offsets`` (R+1,) int64: ray r owns samples
    offsets[r] to offsets[r+1] - 1.
    """

    ray_index: Tensor
    t_start: Tensor
    t_end: Tensor
    offsets: Tensor


def _check_rays(origins: Tensor, directions: Tensor) -> int:
    """The number of rays."""
    rays = origins.shape[0] if origins.ndim else 0
    if origins.shape != (rays, 3) or directions.shape != (rays, 3):
        raise ValueError(
            f"origins and directions must both be (R,3), got {tuple(origins.shape)} and {tuple(directions.shape)}"
        )
    _check_like(origins, directions=directions)
    return rays


def _check_like(model: Tensor, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != model.dtype or tensor.device != model.device:
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}; the rest is {model.dtype} on {model.device}"
            )


def _check_shape(shape: tuple[int, ...], **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.shape != shape:
            raise ValueError(f"{name} must be {shape}, got {tuple(tensor.shape)}")


def _backend(tensor: Tensor) -> str:
    backend = backend_for(tensor)
    if backend != "reference" and tensor.dtype != torch.float32:
        raise ValueError(f"the {backend} backend computes in float32, got {tensor.dtype}")
    return backend


def _float32(x: float) -> float:
    """Rounded: what a kernel would make of it."""
    return torch.tensor(x, dtype=torch.float32).item()


def _implementation(backend: str) -> ModuleType:
    """Compilers are imported when they are first needed."""
    return import_module(f".{backend}", __name__)


@torch.no_grad()
def intersect_box(
    origins: Tensor, directions: Tensor, near_plane: float = 0.0, box: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the box [-box, box]^3, in front of ``near_plane``; not differentiable.

    Args:
        origins, directions: (R,3), any float dtype; a direction may have zero components.
        near_plane: least distance.
        box: half the box's side.

    Returns:
        near, far (R,). A ray that misses has near = far = ``near_plane``. Never NaN for finite rays.

    Raises:
        ValueError: a shape, dtype or device does not fit.
    """
    _check_rays(origins, directions)
    still = directions == 0
    within = still & (origins.abs() <= box)
    speed = torch.where(still, 1.0, directions)
    first, second = (-box - origins) / speed, (box - origins) / speed  # (R, 3)
    # Along an axis on which it stands still a ray is in the slab always or never.
    enter = torch.where(still, torch.where(within, -math.inf, math.inf), torch.minimum(first, second))
    leave = torch.where(still, torch.where(within, math.inf, -math.inf), torch.maximum(first, second))
    near, far = enter.amax(-1).clamp(min=near_plane), leave.amin(-1)  # (R,)
    hit = (far > near) & far.isfinite()
    return near.where(hit, near_plane), far.where(hit, near_plane)


@torch.no_grad()
def march(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    occupancy: Tensor,
    step_size: float,
    *,
    jitter: Draw | tuple[int, int] | None = None,
    density_grid: Tensor | None = None,
    min_transmittance: float = 0.0,
    max_samples_per_ray: int | None = None,
) -> Samples:
    """Samples of the occupied space along each ray, on the lattice of this module's docstring.

    With a ``density_grid`` sigma_g a ray ends early, before any network is asked: it emits an interval only while
    exp(-sum of sigma_g(cell) (t_end - t_start) over the intervals before it) >= ``min_transmittance``.

    Args:
        origins, directions: (R,3) float32; the directions of unit length.
        near, far: (R,) float32, finite; see ``intersect_box``. A ray with far <= near has no samples.
        occupancy: (G,G,G) bool or uint8 over [-1,1]^3, indexed [x, y, z]; cell i spans [-1 + 2i/G, -1 + 2(i+1)/G).
            Space outside is empty. Change it through torch: what the CPU code derives from it is kept until it changes.
        step_size: lattice spacing h > 0 in units of t. A ray has at most 2^24 lattice points.
        jitter: (seed, step) for u drawn from Philox at (ray, 0, step, JITTER); None for u = 0.
        density_grid: (G,G,G) float32, density per unit length, not negative.
        min_transmittance: in [0, 1); needs ``density_grid``.
        max_samples_per_ray: a ray's later samples are dropped.

    Returns:
        ``Samples``; no gradient flows to t.

    Raises:
        ValueError: an argument's shape, dtype, device or range does not fit.
    """
    rays = _check_rays(origins, directions)
    backend = _backend(origins)
    _check_shape((rays,), near=near, far=far)
    _check_like(origins, near=near, far=far)
    if occupancy.dtype not in (torch.bool, torch.uint8) or occupancy.device != origins.device:
        raise ValueError(
            f"occupancy must be bool or uint8 on {origins.device}, got {occupancy.dtype} on {occupancy.device}"
        )
    size = occupancy.shape[0] if occupancy.ndim else 0
    if size < 1 or occupancy.shape != (size, size, size):
        raise ValueError(f"occupancy must be (G,G,G), got {tuple(occupancy.shape)}")
    if not 0 < step_size < math.inf:
        raise ValueError(f"step_size must be positive and finite, got {step_size}")
    if not 0 <= min_transmittance < 1:
        raise ValueError(f"min_transmittance must be in [0, 1), got {min_transmittance}")
    if min_transmittance > 0 and density_grid is None:
        raise ValueError("min_transmittance needs a density_grid to estimate the transmittance from")
    if max_samples_per_ray is not None and max_samples_per_ray < 0:
        raise ValueError(f"max_samples_per_ray must not be negative, got {max_samples_per_ray}")
    if density_grid is not None:
        _check_shape((size, size, size), density_grid=density_grid)
        _check_like(origins, density_grid=density_grid)
        density_grid = density_grid.contiguous()
    if min_transmittance == 0:
        density_grid = None  # nothing to stop at
    result = _implementation(backend).march(
        *(t.contiguous() for t in (origins, directions, near, far, occupancy)),
        step_size,
        None if jitter is None else Draw(*jitter).checked(rays),
        density_grid,
        _float32(-math.log(min_transmittance)) if min_transmittance else math.inf,
        2**31 - 1 if max_samples_per_ray is None else min(max_samples_per_ray, 2**31 - 1),
    )
    return Samples(*result)


def positions(samples: Samples, origins: Tensor, directions: Tensor) -> Tensor:
    """Middles of the samples, o + (t_start + t_end)/2 d, the same bits on every backend.

    The backward sums over each ray's samples in a fixed order: dL/do = sum g, dL/dd = sum t g.

    Args:
        samples: S samples of R rays.
        origins, directions: (R,3) float32; both differentiable.

    Returns:
        (S,3) float32.

    Raises:
        ValueError: a shape, dtype or device does not fit.
    """
    rays, count = _check_rays(origins, directions), samples.ray_index.shape[0]
    backend = _backend(origins)
    _check_shape((count,), ray_index=samples.ray_index, t_start=samples.t_start, t_end=samples.t_end)
    _check_shape((rays + 1,), offsets=samples.offsets)
    _check_like(origins, t_start=samples.t_start, t_end=samples.t_end)
    ray_index, t_start, t_end, offsets = (t.detach().contiguous() for t in samples)
    if offsets.device.type == "cpu" and (int(offsets[0]), int(offsets[-1])) != (0, count):
        raise ValueError(f"offsets must run from 0 to {count}, not {int(offsets[0])} to {int(offsets[-1])}")
    if backend == "reference":
        from . import reference

        return reference.positions(ray_index, t_start, t_end, origins, directions)
    return _implementation(backend).Positions.apply(origins, directions, ray_index, t_start, t_end, offsets)


@torch.no_grad()
def stratified(near: Tensor, far: Tensor, count: int, *, jitter: Draw | tuple[int, int] | None = None) -> Samples:
    """``count`` samples on every ray, all rays in lock step: the depths of PyTorch3D's ray samplers.

    z_i = near + (far - near) i / (count - 1). With jitter each is drawn uniformly between the middles toward its
    neighbors; the first and the last stratum end at z_0 and z_{count-1}. Samples are points, t_start = t_end = z_i.

    Args:
        near, far: (R,) float32.
        count: samples a ray, at least 1.
        jitter: (seed, step) for Philox at (ray, i, step, STRATIFIED); None for the z_i themselves.

    Returns:
        ``Samples`` with offsets 0, count, 2 count, ...

    Raises:
        ValueError: an argument's shape, dtype, device or range does not fit.
    """
    rays = near.shape[0] if near.ndim else 0
    backend = _backend(near)
    _check_shape((rays,), near=near, far=far)
    _check_like(near, far=far)
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    fractions = torch.arange(count, dtype=near.dtype, device=near.device) / max(count - 1, 1)  # (n,)
    draw = None if jitter is None else Draw(*jitter).checked(rays)
    t = _implementation(backend).stratified(near.contiguous(), far.contiguous(), fractions, draw).flatten()  # (R n,)
    ray = torch.arange(rays + 1, device=near.device)
    return Samples(ray[:-1].repeat_interleave(count), t, t, ray * count)


@torch.no_grad()
def inverse_cdf(edges: Tensor, weights: Tensor, count: int, *, jitter: Draw | tuple[int, int] | None = None) -> Tensor:
    """Draws t from the histogram whose bin b, [edges_b, edges_{b+1}), holds a share weights_b / sum of weights.

    t_i solves CDF(t_i) = (i + xi_i) / count with xi uniform in [0, 1), or 1/2 without jitter. Sums are in double
    precision. A ray whose weights are all zero draws every bin alike.

    Args:
        edges: (R,n+1) float32, not decreasing along a ray.
        weights: (R,n) float32, finite and not negative.
        count: draws a ray.
        jitter: (seed, step) for Philox at (ray, i, step, INVERSE_CDF); None for the centers of the strata.

    Returns:
        (R,count) float32, sorted along a ray; no gradient flows to it.

    Raises:
        ValueError: an argument's shape, dtype, device or range does not fit.
    """
    rays, bins = weights.shape if weights.ndim == 2 else (0, 0)
    backend = _backend(weights)
    if weights.ndim != 2 or bins < 1:
        raise ValueError(f"weights must be (R,n) with n >= 1, got {tuple(weights.shape)}")
    _check_shape((rays, bins + 1), edges=edges)
    _check_like(weights, edges=edges)
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    draw = None if jitter is None else Draw(*jitter).checked(rays)
    return _implementation(backend).inverse_cdf(edges.contiguous(), weights.contiguous(), count, draw)


__all__ = ["Samples", "intersect_box", "inverse_cdf", "march", "positions", "stratified"]
