"""Where along a ray the field is looked at: marching through an occupancy grid, and lock-step samplers.

Samples are intervals [t_start, t_end] of a ray o + t d, packed ray after ray. The field is evaluated at their middles.
No gradient flows to t: where samples lie is a choice, not a function to be optimized.

Marching walks the lattice

    t_k = near + (k + u) step_size,   k = 0, 1, 2, ...,   u = 0, or uniform in [0, 1) for each ray,

and emits [t_k, min(t_{k+1}, far)] where the grid cell that holds the middle of it is occupied. In float32, with each
operation rounded as written, that is the same set of samples with the same bits on every backend.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..backend import implementation
from ..checks import FLOATS, expect, expect_numbers, expect_offsets, trust
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
    expect("origins", origins, ("R", 3), dtype=FLOATS)
    expect("directions", directions, origins.shape, like=origins)
    return len(origins)


def expect_samples(samples: Samples, rays: int, count: int, like: Tensor) -> None:
    """Raise ``ValueError`` unless these are ``count`` samples on ``rays`` rays, of the dtype and device of ``like``."""
    expect("samples.ray_index", samples.ray_index, (count,), dtype=torch.int64, like=like)
    expect("samples.t_start", samples.t_start, (count,), like=like)
    expect("samples.t_end", samples.t_end, (count,), like=like)
    expect_offsets(samples.offsets, rays, count, like)
    expect_numbers("samples.ray_index", samples.ray_index, rays)


def trust_samples(samples: Samples) -> Samples:
    """The samples, whose numbers are right by construction: a GPU need not be waited for to look at them."""
    trust(samples.offsets, len(samples.ray_index))
    trust(samples.ray_index, len(samples.offsets) - 1)
    return samples


def _float32(x: float) -> float:
    """Rounded: what a kernel would make of it."""
    return torch.tensor(x, dtype=torch.float32).item()


@torch.no_grad()
def intersect_box(origins: Tensor, directions: Tensor, near_plane: float = 0.0) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the box [-1, 1]^3, in front of ``near_plane``; not differentiable.

    Args:
        origins, directions: (R,3), any float dtype; a direction may have zero components.
        near_plane: least distance.

    Returns:
        near, far (R,). A ray that misses has near = far = ``near_plane``. Never NaN for finite rays.

    Raises:
        ValueError: a shape, dtype or device does not fit.
    """
    _check_rays(origins, directions)
    with implementation(__name__, origins) as kernels:
        return kernels.intersect_box(origins, directions, near_plane)


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
    capacity: int | None = None,
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
        capacity: so many samples are returned whatever the rays meet, and a GPU is not waited for: shapes stay, as in a
            CUDA graph. What is left over belongs to the last ray, as intervals [far, far], whose opacity is 0. From the
            first ray on whose samples do not fit, rays have none, so that they have no gradient either.

    Returns:
        ``Samples``; no gradient flows to t.

    Raises:
        ValueError: an argument's shape, dtype, device or range does not fit.
    """
    rays = _check_rays(origins, directions)
    expect("near", near, (rays,), like=origins)
    expect("far", far, (rays,), like=origins)
    size = max((*occupancy.shape, 1))
    expect("occupancy", occupancy, (size, size, size), dtype=(torch.bool, torch.uint8), like=origins)
    if not 0 < step_size < math.inf:
        raise ValueError(f"step_size must be positive and finite, got {step_size}")
    if not 0 <= min_transmittance < 1:
        raise ValueError(f"min_transmittance must be in [0, 1), got {min_transmittance}")
    if min_transmittance > 0 and density_grid is None:
        raise ValueError("min_transmittance needs a density_grid to estimate the transmittance from")
    if max_samples_per_ray is not None and max_samples_per_ray < 0:
        raise ValueError(f"max_samples_per_ray must not be negative, got {max_samples_per_ray}")
    if capacity is not None and not (capacity > 0 and rays):
        raise ValueError(f"capacity must be positive and somebody's: got {capacity} for {rays} rays")
    if density_grid is not None:
        expect("density_grid", density_grid, occupancy.shape, like=origins)
        density_grid = density_grid.contiguous() if min_transmittance else None  # else there is nothing to stop at
    with implementation(__name__, origins, float32="origins") as kernels:
        result = kernels.march(
            *(t.contiguous() for t in (origins, directions, near, far, occupancy)),
            step_size,
            None if jitter is None else Draw(*jitter).checked(rays),
            density_grid,
            _float32(-math.log(min_transmittance)) if min_transmittance else math.inf,
            2**31 - 1 if max_samples_per_ray is None else min(max_samples_per_ray, 2**31 - 1),
            capacity,
        )
    return trust_samples(Samples(*result))


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
    rays = _check_rays(origins, directions)
    expect_samples(samples, rays, len(samples.ray_index), origins)
    with implementation(__name__, origins, float32="origins") as kernels:
        return kernels.positions(origins, directions, *(t.detach().contiguous() for t in samples))


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
    expect("near", near, ("R",), dtype=FLOATS)
    expect("far", far, near.shape, like=near)
    rays = len(near)
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    fractions = torch.arange(count, dtype=near.dtype, device=near.device) / max(count - 1, 1)  # (n,)
    draw = None if jitter is None else Draw(*jitter).checked(rays)
    with implementation(__name__, near, float32="near") as kernels:
        t = kernels.stratified(near.contiguous(), far.contiguous(), fractions, draw).flatten()  # (R n,)
    ray = torch.arange(rays + 1, device=near.device)
    return trust_samples(Samples(ray[:-1].repeat_interleave(count), t, t, ray * count))


__all__ = ["Samples", "intersect_box", "march", "positions", "stratified", "trust_samples"]
