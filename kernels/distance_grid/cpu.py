"""The distance grid in Numba, without atomics: a thread owns planes of nodes, results do not depend on threads."""

import numba
import numpy as np
import torch
from torch.autograd.function import once_differentiable

from .. import elementary
from ..checks import refuse_again
from ..jit import inline, jit
from .reference import FLOOR

BLOCK = 1024  # samples that a thread takes at a time
PLANES = 8  # of nodes that a thread owns in the scatter; each owner looks at every sample

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


@inline
def _cell(x, cells):
    """The cell of a coordinate, and how far into it; NaN has the first."""
    v = x * HALF + HALF
    v = (ZERO if v < ZERO else ONE if v > ONE else v) * np.float32(cells)
    number = v if v == v else ZERO
    cell = min(int(number), cells - 1)
    return cell, v - np.float32(cell)


@inline
def _laplace(distance, beta):
    """The density, and e."""
    half = HALF * elementary.exp(-abs(distance) / beta)
    return (half if distance > ZERO else ONE - half) / beta, half


@jit
def _forward(nodes, x, beta, sigma, slope, gradient):
    cells = nodes.shape[0] - 1
    size = np.float32(cells) * HALF
    for index in numba.prange((len(x) + BLOCK - 1) // BLOCK):
        block = int(np.int64(index))
        for s in range(block * BLOCK, min(block * BLOCK + BLOCK, len(x))):
            i, u = _cell(x[s, 0], cells)
            j, v = _cell(x[s, 1], cells)
            k, w = _cell(x[s, 2], cells)
            a, b, c, d = nodes[i, j, k], nodes[i, j, k + 1], nodes[i, j + 1, k], nodes[i, j + 1, k + 1]
            e, f, g, h = (
                nodes[i + 1, j, k], nodes[i + 1, j, k + 1], nodes[i + 1, j + 1, k], nodes[i + 1, j + 1, k + 1],
            )  # fmt: skip
            low, low_up = a + w * (b - a), c + w * (d - c)
            high, high_up = e + w * (f - e), g + w * (h - g)
            first, second = low + v * (low_up - low), high + v * (high_up - high)
            gradient[s, 0] = ZERO if abs(x[s, 0]) > ONE else size * (second - first)
            first_y, second_y = low_up - low, high_up - high
            gradient[s, 1] = ZERO if abs(x[s, 1]) > ONE else size * (first_y + u * (second_y - first_y))
            p, q, r, t = b - a, d - c, f - e, h - g
            p, r = p + v * (q - p), r + v * (t - r)
            gradient[s, 2] = ZERO if abs(x[s, 2]) > ONE else size * (p + u * (r - p))
            distance = first + u * (second - first)
            sigma[s], half = _laplace(distance, beta)
            slope[s] = -half / (beta * beta)


@jit
def _scatter(x, by_distance, d_nodes):
    side = d_nodes.shape[0]
    cells = side - 1
    for index in numba.prange((side + PLANES - 1) // PLANES):
        first = int(np.int64(index)) * PLANES
        end = min(first + PLANES, side)
        d_nodes[first:end] = ZERO
        for s in range(len(x)):
            i, u = _cell(x[s, 0], cells)
            if i + 1 < first or i >= end or by_distance[s] == ZERO:
                continue
            j, v = _cell(x[s, 1], cells)
            k, w = _cell(x[s, 2], cells)
            for plane in range(max(i, first), min(i + 2, end)):
                g = by_distance[s] * (ONE - u if plane == i else u)
                here, up = g * (ONE - v), g * v
                d_nodes[plane, j, k] += here * (ONE - w)
                d_nodes[plane, j, k + 1] += here * w
                d_nodes[plane, j + 1, k] += up * (ONE - w)
                d_nodes[plane, j + 1, k + 1] += up * w


@inline
def _differences(nodes, i, j, k, h):
    """The three central differences, and the Laplacian, of an inner node."""
    x0, x1 = nodes[i - 1, j, k], nodes[i + 1, j, k]
    y0, y1 = nodes[i, j - 1, k], nodes[i, j + 1, k]
    z0, z1 = nodes[i, j, k - 1], nodes[i, j, k + 1]
    scale = HALF / h
    curved = (x0 + x1 + y0 + y1 + z0 + z1 - np.float32(6) * nodes[i, j, k]) / h
    return (x1 - x0) * scale, (y1 - y0) * scale, (z1 - z0) * scale, curved


@jit
def _roughness(nodes, band, h, floor, sums):
    """Sums (planes, 3) float64 of how many nodes count, and of their two terms."""
    side = nodes.shape[0]
    for index in numba.prange(side - 2):
        i = int(np.int64(index)) + 1
        count, eikonal, laplacian = 0.0, 0.0, 0.0
        for j in range(1, side - 1):
            for k in range(1, side - 1):
                if not abs(nodes[i, j, k]) >= band:
                    x, y, z, curved = _differences(nodes, i, j, k, h)
                    off = np.sqrt(x * x + y * y + z * z + floor) - ONE
                    count += 1
                    eikonal += np.float64(off * off)
                    laplacian += np.float64(curved * curved)
        sums[i - 1, 0], sums[i - 1, 1], sums[i - 1, 2] = count, eikonal, laplacian


@jit
def _roughness_backward(nodes, band, h, floor, by_eikonal, by_laplacian, d_nodes):
    side, scale = nodes.shape[0], HALF / h
    for index in numba.prange((side + PLANES - 1) // PLANES):
        first = int(np.int64(index)) * PLANES
        end = min(first + PLANES, side)
        d_nodes[first:end] = ZERO
        for i in range(max(first, 2) - 1, min(end + 1, side - 1)):
            for j in range(1, side - 1):
                for k in range(1, side - 1):
                    if abs(nodes[i, j, k]) >= band:
                        continue
                    x, y, z, curved = _differences(nodes, i, j, k, h)
                    factor = by_eikonal * (ONE - ONE / np.sqrt(x * x + y * y + z * z + floor)) * scale
                    x, y, z, around = factor * x, factor * y, factor * z, by_laplacian * curved / h
                    if i > first:
                        d_nodes[i - 1, j, k] += around - x
                    if i + 1 < end:
                        d_nodes[i + 1, j, k] += around + x
                    if first <= i < end:
                        d_nodes[i, j - 1, k] += around - y
                        d_nodes[i, j + 1, k] += around + y
                        d_nodes[i, j, k - 1] += around - z
                        d_nodes[i, j, k + 1] += around + z
                        d_nodes[i, j, k] -= np.float32(6) * around


@jit
def _bounds(nodes, beta, least, greatest):
    cells = nodes.shape[0] - 1
    for index in numba.prange(cells):
        i = int(np.int64(index))
        for j in range(cells):
            for k in range(cells):
                low = high = nodes[i, j, k]
                for c in range(1, 8):
                    s = nodes[i + (c >> 2), j + (c >> 1 & 1), k + (c & 1)]
                    low, high = min(low, s), max(high, s)
                least[i, j, k] = _laplace(high, beta)[0]
                greatest[i, j, k] = _laplace(low, beta)[0]


@jit
def _nest(coarse, fine, total):
    """An odd node lies between two of the coarse grid, an even one on one, which is then counted twice."""
    side, count = fine.shape[0], coarse.shape[0]
    quarter, eighth = np.float32(0.25), np.float32(0.125)
    for index in numba.prange(side):
        i = int(np.int64(index))
        sums = np.empty(count, np.float32)  # over what a row lies between
        for j in range(side):
            a, b = coarse[i >> 1, j >> 1], coarse[i >> 1, (j + 1) >> 1]
            c, d = coarse[(i + 1) >> 1, j >> 1], coarse[(i + 1) >> 1, (j + 1) >> 1]
            for k in range(count):
                sums[k] = a[k] + b[k] + c[k] + d[k]
            row, out = fine[i, j], total[i, j]
            for k in range(count - 1):
                out[2 * k] = row[2 * k] + sums[k] * quarter
                out[2 * k + 1] = row[2 * k + 1] + (sums[k] + sums[k + 1]) * eighth
            out[side - 1] = row[side - 1] + sums[count - 1] * quarter


@jit
def _nest_backward(by_total, d_coarse):
    side, fine = d_coarse.shape[0], by_total.shape[0]
    for index in numba.prange(side):
        i = int(np.int64(index))
        sums = np.empty(fine + 2, np.float32)  # of the rows around one of the coarse grid, between two zeros
        for j in range(side):
            sums[:] = ZERO
            for x in range(max(2 * i - 1, 0), min(2 * i + 2, fine)):
                for y in range(max(2 * j - 1, 0), min(2 * j + 2, fine)):
                    share = (ONE if x == 2 * i else HALF) * (ONE if y == 2 * j else HALF)
                    row = by_total[x, y]
                    for z in range(fine):
                        sums[z + 1] += share * row[z]
            for k in range(side):
                d_coarse[i, j, k] = sums[2 * k + 1] + HALF * (sums[2 * k] + sums[2 * k + 2])


class _Density(torch.autograd.Function):
    """(x, nodes, beta) -> sigma (S,) and the gradient (S,3) of s."""

    @staticmethod
    def forward(ctx, x, nodes, beta):
        inputs = x.detach().contiguous(), nodes.detach().contiguous()
        sigma, slope, gradient = torch.empty(len(x)), torch.empty(len(x)), torch.empty(len(x), 3)
        _forward(inputs[1].numpy(), inputs[0].numpy(), np.float32(beta), sigma.numpy(), slope.numpy(), gradient.numpy())
        ctx.save_for_backward(inputs[0], slope, gradient)
        ctx.side = len(nodes)
        ctx.mark_non_differentiable(gradient)
        return sigma, gradient

    @staticmethod
    def backward(ctx, d_sigma, _):
        refuse_again("distance grid", any(ctx.needs_input_grad))
        x, slope, gradient = ctx.saved_tensors
        by_distance = d_sigma * slope
        d_nodes = None
        if ctx.needs_input_grad[1]:
            d_nodes = torch.empty((ctx.side,) * 3)
            _scatter(x.numpy(), by_distance.numpy(), d_nodes.numpy())
        return by_distance[:, None] * gradient if ctx.needs_input_grad[0] else None, d_nodes, None


class _Roughness(torch.autograd.Function):
    """(nodes, band) -> eikonal (), laplacian ()."""

    @staticmethod
    def forward(ctx, nodes, band):
        grid = nodes.detach().contiguous()
        h, sums = 2 / (len(grid) - 1), np.empty((len(grid) - 2, 3))
        _roughness(grid.numpy(), np.float32(band), np.float32(h), np.float32(FLOOR), sums)
        count, *terms = sums.sum(0)
        ctx.save_for_backward(grid)
        ctx.numbers = band, h, max(count, 1.0)
        return tuple(nodes.new_tensor(term / max(count, 1.0)) for term in terms)

    @staticmethod
    def backward(ctx, by_eikonal, by_laplacian):
        refuse_again("distance grid", any(ctx.needs_input_grad))
        (grid,), (band, h, count) = ctx.saved_tensors, ctx.numbers
        d_nodes = torch.empty_like(grid)
        factors = (np.float32(2 * by.item() / count) for by in (by_eikonal, by_laplacian))
        _roughness_backward(grid.numpy(), np.float32(band), np.float32(h), np.float32(FLOOR), *factors, d_nodes.numpy())
        return d_nodes, None


class _Nested(torch.autograd.Function):
    """(coarse, fine) -> fine + coarse, interpolated."""

    @staticmethod
    def forward(ctx, coarse, fine):
        total = torch.empty(fine.shape)
        _nest(coarse.detach().contiguous().numpy(), fine.detach().contiguous().numpy(), total.numpy())
        ctx.side = len(coarse)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, by_total):
        d_coarse = torch.empty((ctx.side,) * 3)
        _nest_backward(by_total.contiguous().numpy(), d_coarse.numpy())
        return d_coarse, by_total


def distance_bounds(nodes, beta):
    """The densities of each cell's farthest and nearest node."""
    least, greatest = (torch.empty((len(nodes) - 1,) * 3) for _ in range(2))
    _bounds(nodes.contiguous().numpy(), np.float32(beta), least.numpy(), greatest.numpy())
    return least, greatest


distance_density, distance_roughness, nested_nodes = _Density.apply, _Roughness.apply, _Nested.apply
