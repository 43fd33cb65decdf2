"""A signed distance on a dense grid, and the density that it means: what gives a field a surface.

Over [-1,1]^3 lie N cells along a side and (N + 1)^3 nodes. s(x) is interpolated between the 8 nodes of the cell that x
lies in; a position outside of the box has the distance of the nearest one inside. With Laplace's cumulative
distribution (Yariv et al., "Volume Rendering of Neural Implicit Surfaces", 2021, equations 2 and 3),

    sigma = (e where s > 0, else 1 - e) / beta,    e = exp(-|s| / beta) / 2
    dsigma/ds = -e / beta^2

so that s is negative inside, and the density there tends to 1 / beta. The gradient of s, whose direction is the normal,
is N / 2 times the differences along the cell's edges, interpolated; 0 for a coordinate outside of the box.

What keeps the distance one, over the M inner nodes with |s| < band, with central differences q = (s_+ - s_-) / (2 h)
along each axis, h = 2 / N:

    eikonal   = mean (|q| - 1)^2
    laplacian = mean ((sum of the 6 neighbors - 6 s) / h)^2

A grid may be a sum of grids, each of half the cell of the one before: interpolation of a coarse one is exact at the
nodes of a finer one.
"""

import torch
from torch import Tensor

from ..backend import implementation
from ..checks import FLOATS, expect

__all__ = ["distance_bounds", "distance_density", "distance_roughness", "nested_nodes"]

LEAST_BETA = 1e-6


def _check(nodes: Tensor, least: int) -> None:
    expect("nodes", nodes, ("N", *nodes.shape[:1] * 2), dtype=FLOATS)
    if len(nodes) < least:
        raise ValueError(f"nodes: expected {least} or more along each side, got {len(nodes)}")


def _check_beta(beta: float) -> None:
    if not beta >= LEAST_BETA:
        raise ValueError(f"beta: expected {LEAST_BETA:g} or more, got {beta:g}")


def distance_density(x: Tensor, nodes: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Density sigma (S,) per unit length at positions x (S,3), and the gradient (S,3) of the distance there.

    Args:
        x: (S,3). Differentiable, through the density.
        nodes: (N+1,N+1,N+1) distances, index [x,y,z]. Differentiable, through the density.
        beta: how wide the step from outside to inside is, a length; the density inside tends to 1 / beta.

    Returns:
        sigma, differentiable once; the gradient, which is not.

    Raises:
        ValueError: shapes or dtypes that do not fit together, or a beta below 1e-6.
    """
    expect("x", x, ("S", 3), dtype=FLOATS)
    _check(nodes, 2)
    expect("nodes", nodes, nodes.shape, like=x)
    _check_beta(beta)
    with implementation(__name__, x, float32="x") as kernels:
        density, gradient = kernels.distance_density(x, nodes, float(beta))
    return density, gradient


def distance_roughness(nodes: Tensor, band: float) -> tuple[Tensor, Tensor]:
    """The terms eikonal () and laplacian (); both 0 where no inner node is within the band. Differentiable once.

    Args:
        nodes: (N+1,N+1,N+1) distances.
        band: how far from the surface nodes count.

    Raises:
        ValueError: no such grid.
    """
    _check(nodes, 3)
    with implementation(__name__, nodes, float32="nodes") as kernels:
        eikonal, laplacian = kernels.distance_roughness(nodes, float(band))
    return eikonal, laplacian


@torch.no_grad()
def distance_bounds(nodes: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The least and the greatest density (N,N,N) in each cell: those of its nodes, as s is interpolated between them.

    Raises:
        ValueError: no such grid, or a beta below 1e-6.
    """
    _check(nodes, 2)
    _check_beta(beta)
    with implementation(__name__, nodes, float32="nodes") as kernels:
        least, greatest = kernels.distance_bounds(nodes, float(beta))
    return least, greatest


def nested_nodes(coarse: Tensor, fine: Tensor) -> Tensor:
    """``fine`` (2 N + 1)^3 plus what ``coarse`` (N + 1)^3 interpolates to at its nodes. Differentiable.

    Raises:
        ValueError: the sizes do not fit together.
    """
    _check(coarse, 2)
    side = 2 * len(coarse) - 1
    expect("fine", fine, (side, side, side), like=coarse)
    with implementation(__name__, coarse, float32="coarse") as kernels:
        total: Tensor = kernels.nested_nodes(coarse, fine)
    return total
