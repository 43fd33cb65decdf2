"""The distance grid in Triton: a lane a sample or a node, without atomics, every sum in a fixed order.

On the way back samples are sorted by their cell; a cell sums what its samples leave at its 8 corners (``segments``),
and a node adds up what its 8 cells have for it. The number that the two terms are divided by stays on the device.
"""

import torch
import triton
from torch.autograd.function import once_differentiable

from ..checks import refuse_again
from ..segments import segment_sum
from .reference import FLOOR
from .triton_grid import (
    bounds_kernel,
    means_kernel,
    nest_backward_kernel,
    nest_kernel,
    nodes_kernel,
    roughness_backward_kernel,
    roughness_kernel,
)
from .triton_samples import corners_kernel, density_kernel

LANES = 256  # samples, nodes or cells a program
SAMPLES = 64  # of a program that writes 8 numbers for each
SUMS = 1024  # programs' sums that are added up at once
AS_WRITTEN = {"enable_fp_fusion": False}


def _programs(side):
    """The grid of kernels with a lane for each of side^3 places."""
    return (triton.cdiv(side**3, LANES),)


class _Density(torch.autograd.Function):
    """(x, nodes, beta) -> sigma (S,) and the gradient (S,3) of s."""

    @staticmethod
    def forward(ctx, x, nodes, beta):
        x, nodes, count = x.contiguous(), nodes.contiguous(), len(x)
        sigma, slope, gradient = x.new_empty(count), x.new_empty(count), torch.empty_like(x)
        if count:
            density_kernel[(triton.cdiv(count, LANES),)](
                x, nodes, sigma, slope, gradient, beta, len(nodes), count, LANES=LANES, **AS_WRITTEN
            )
        ctx.save_for_backward(x, slope, gradient)
        ctx.side = len(nodes)
        ctx.mark_non_differentiable(gradient)
        return sigma, gradient

    @staticmethod
    def backward(ctx, d_sigma, _):
        refuse_again("distance grid", any(ctx.needs_input_grad))
        x, slope, gradient = ctx.saved_tensors
        by_distance = d_sigma * slope
        d_nodes = _to_nodes(x, by_distance, ctx.side) if ctx.needs_input_grad[1] else None
        return by_distance[:, None] * gradient if ctx.needs_input_grad[0] else None, d_nodes, None


def _to_nodes(x, by_distance, side):
    """dL/dnodes from dL/ds (S,)."""
    count, cells = len(x), (side - 1) ** 3
    d_nodes = x.new_empty((side,) * 3)
    if count == 0:
        return d_nodes.zero_()
    keys = torch.empty(count, dtype=torch.int32 if cells < 2**31 else torch.int64, device=x.device)
    values = x.new_empty(count, 8)
    corners_kernel[(triton.cdiv(count, SAMPLES),)](
        x, by_distance, keys, values, side, count, SAMPLES=SAMPLES, **AS_WRITTEN
    )
    nodes_kernel[_programs(side)](segment_sum(values, keys, cells), d_nodes, side, LANES=LANES)
    return d_nodes


class _Roughness(torch.autograd.Function):
    """(nodes, band) -> eikonal (), laplacian ()."""

    @staticmethod
    def forward(ctx, nodes, band):
        nodes, grid = nodes.contiguous(), _programs(len(nodes))
        numbers = len(nodes), band, 2 / (len(nodes) - 1), FLOOR
        sums, number = (torch.empty(shape, dtype=torch.float64, device=nodes.device) for shape in ((*grid, 3), ()))
        terms = nodes.new_empty(2)
        roughness_kernel[grid](nodes, sums, *numbers, LANES=LANES, **AS_WRITTEN)
        means_kernel[(1,)](sums, terms, number, *grid, SUMS=SUMS)
        ctx.save_for_backward(nodes, number)
        ctx.numbers = numbers
        return terms.unbind()

    @staticmethod
    def backward(ctx, by_eikonal, by_laplacian):
        refuse_again("distance grid", any(ctx.needs_input_grad))
        nodes, number = ctx.saved_tensors
        d_nodes = torch.empty_like(nodes)
        roughness_backward_kernel[_programs(len(nodes))](
            nodes, by_eikonal, by_laplacian, number, d_nodes, *ctx.numbers, LANES=LANES, **AS_WRITTEN
        )
        return d_nodes, None


class _Nested(torch.autograd.Function):
    """(coarse, fine) -> fine + coarse, interpolated."""

    @staticmethod
    def forward(ctx, coarse, fine):
        ctx.side, total = len(coarse), torch.empty(fine.shape, device=fine.device)
        nest_kernel[_programs(len(fine))](
            coarse.contiguous(), fine.contiguous(), total, len(coarse), len(fine), LANES=LANES, **AS_WRITTEN
        )
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, by_total):
        d_coarse = by_total.new_empty((ctx.side,) * 3)
        nest_backward_kernel[_programs(ctx.side)](
            by_total.contiguous(), d_coarse, ctx.side, len(by_total), LANES=LANES, **AS_WRITTEN
        )
        return d_coarse, by_total


def distance_bounds(nodes, beta):
    """The densities of each cell's farthest and nearest node."""
    cells = len(nodes) - 1
    least, greatest = (nodes.new_empty((cells,) * 3) for _ in range(2))
    bounds_kernel[_programs(cells)](nodes.contiguous(), least, greatest, beta, len(nodes), LANES=LANES, **AS_WRITTEN)
    return least, greatest


distance_density, distance_roughness, nested_nodes = _Density.apply, _Roughness.apply, _Nested.apply
