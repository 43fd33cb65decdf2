"""The distance grid in Triton, by places of a grid: a lane a node or a cell.

Every gradient is a gather: a node computes again what its neighbors have to give. A side is never 1, which Triton would
make a constant.
"""

import triton
import triton.language as tl

from .triton_samples import laplace


@triton.jit
def _place(side, LANES: tl.constexpr):
    """Of this program's places in a grid: number, three indices, and whether there is such a place."""
    index = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    row = index // side
    return index, row // side, row % side, index % side, row < side.to(tl.int64) * side


@triton.jit
def nodes_kernel(by_cell_ptr, d_nodes_ptr, side, LANES: tl.constexpr):
    """dL/dnodes from what each cell (N, N, N, 8) has for its corners."""
    index, i, j, k, inside = _place(side, LANES)
    cells, total = side - 1, tl.zeros((LANES,), tl.float32)
    for corner in tl.static_range(8):
        x, y, z = i - corner // 4, j - corner // 2 % 2, k - corner % 2
        there = inside & (x >= 0) & (x < cells) & (y >= 0) & (y < cells) & (z >= 0) & (z < cells)
        total += tl.load(by_cell_ptr + 8 * ((x * cells + y) * cells + z) + corner, there, other=0.0)
    tl.store(d_nodes_ptr + index, total, inside)


@triton.jit
def _differences(nodes_ptr, side, i, j, k, band, h):
    """Whether a node counts; its three central differences, and its Laplacian."""
    inner = (i > 0) & (i < side - 1) & (j > 0) & (j < side - 1) & (k > 0) & (k < side - 1)
    row = side.to(tl.int64)
    node_ptr = nodes_ptr + (i * row + j) * row + k
    middle = tl.load(node_ptr, inner, other=0.0)
    counts = inner & ~(tl.abs(middle) >= band)
    x0, x1 = tl.load(node_ptr - row * row, counts, other=0.0), tl.load(node_ptr + row * row, counts, other=0.0)
    y0, y1 = tl.load(node_ptr - row, counts, other=0.0), tl.load(node_ptr + row, counts, other=0.0)
    z0, z1 = tl.load(node_ptr - 1, counts, other=0.0), tl.load(node_ptr + 1, counts, other=0.0)
    scale = tl.div_rn(0.5, h)
    curved = tl.div_rn(x0 + x1 + y0 + y1 + z0 + z1 - 6.0 * middle, h)
    return counts, (x1 - x0) * scale, (y1 - y0) * scale, (z1 - z0) * scale, curved


@triton.jit
def roughness_kernel(nodes_ptr, sums_ptr, side, band, h, floor, LANES: tl.constexpr):
    """Sums (programs, 3) float64 of how many nodes count, and of their two terms."""
    _, i, j, k, inside = _place(side, LANES)
    counts, x, y, z, curved = _differences(nodes_ptr, side, i, j, k, band, h)
    off = tl.sqrt_rn(x * x + y * y + z * z + floor) - 1.0
    out_ptr = sums_ptr + 3 * tl.program_id(0)
    tl.store(out_ptr, tl.sum((counts & inside).to(tl.float64), 0))
    tl.store(out_ptr + 1, tl.sum(tl.where(counts, off * off, 0.0).to(tl.float64), 0))
    tl.store(out_ptr + 2, tl.sum(tl.where(counts, curved * curved, 0.0).to(tl.float64), 0))


@triton.jit
def means_kernel(sums_ptr, terms_ptr, number_ptr, programs, SUMS: tl.constexpr):
    """Both terms, and by how many nodes they are divided; one program."""
    number, eikonal = tl.zeros((SUMS,), tl.float64), tl.zeros((SUMS,), tl.float64)
    laplacian = tl.zeros((SUMS,), tl.float64)
    for first in range(0, programs, SUMS):
        i = first + tl.arange(0, SUMS)
        number += tl.load(sums_ptr + 3 * i, i < programs, other=0.0)
        eikonal += tl.load(sums_ptr + 3 * i + 1, i < programs, other=0.0)
        laplacian += tl.load(sums_ptr + 3 * i + 2, i < programs, other=0.0)
    divisor = tl.maximum(tl.sum(number, 0), 1.0)
    tl.store(number_ptr, divisor)
    tl.store(terms_ptr, tl.sum(eikonal, 0) / divisor)
    tl.store(terms_ptr + 1, tl.sum(laplacian, 0) / divisor)


@triton.jit
def _pulled(nodes_ptr, side, i, j, k, band, h, floor, by_eikonal, by_laplacian, AXIS: tl.constexpr):
    """What a node gives to the next one along an axis, and to the one before."""
    counts, x, y, z, curved = _differences(nodes_ptr, side, i, j, k, band, h)
    difference = x if AXIS == 0 else y if AXIS == 1 else z
    root = tl.sqrt_rn(x * x + y * y + z * z + floor)
    along = by_eikonal * (1.0 - tl.div_rn(1.0, root)) * tl.div_rn(0.5, h) * difference
    around = tl.div_rn(by_laplacian * curved, h)
    return tl.where(counts, around + along, 0.0), tl.where(counts, around - along, 0.0)


@triton.jit
def roughness_backward_kernel(
    nodes_ptr, by_eikonal_ptr, by_laplacian_ptr, number_ptr, d_nodes_ptr, side, band, h, floor, LANES: tl.constexpr
):  # fmt: skip
    """dL/dnodes of both terms."""
    index, i, j, k, inside = _place(side, LANES)
    twice = 2.0 / tl.load(number_ptr)
    by_eikonal = (tl.load(by_eikonal_ptr) * twice).to(tl.float32)
    by_laplacian = (tl.load(by_laplacian_ptr) * twice).to(tl.float32)
    counts, _, _, _, curved = _differences(nodes_ptr, side, i, j, k, band, h)
    total = tl.where(counts, -6.0 * tl.div_rn(by_laplacian * curved, h), 0.0)
    for axis in tl.static_range(3):
        x, y, z = 1 if axis == 0 else 0, 1 if axis == 1 else 0, 1 if axis == 2 else 0
        up, _ = _pulled(nodes_ptr, side, i - x, j - y, k - z, band, h, floor, by_eikonal, by_laplacian, axis)
        _, down = _pulled(nodes_ptr, side, i + x, j + y, k + z, band, h, floor, by_eikonal, by_laplacian, axis)
        total += up + down
    tl.store(d_nodes_ptr + index, total, inside)


@triton.jit
def bounds_kernel(nodes_ptr, least_ptr, greatest_ptr, beta, side, LANES: tl.constexpr):
    """The least and the greatest density (N, N, N) of each cell."""
    index, i, j, k, inside = _place(side - 1, LANES)
    node_ptr = nodes_ptr + (i * side + j) * side + k
    low = tl.load(node_ptr, inside, other=0.0)
    high = low
    for corner in tl.static_range(1, 8):
        step = (corner // 4 * side.to(tl.int64) + corner // 2 % 2) * side + corner % 2
        found = tl.load(node_ptr + step, inside, other=0.0)
        low = tl.minimum(low, found, propagate_nan=tl.PropagateNan.ALL)
        high = tl.maximum(high, found, propagate_nan=tl.PropagateNan.ALL)
    tl.store(least_ptr + index, laplace(high, beta)[0], inside)
    tl.store(greatest_ptr + index, laplace(low, beta)[0], inside)


@triton.jit
def nest_kernel(coarse_ptr, fine_ptr, total_ptr, coarse, side, LANES: tl.constexpr):
    """fine + coarse: an odd node lies between two of the coarse grid, an even one on one, which is counted twice."""
    index, i, j, k, inside = _place(side, LANES)
    found = tl.zeros((LANES,), tl.float32)
    for corner in tl.static_range(8):
        x, y, z = (i + corner % 2) // 2, (j + corner // 2 % 2) // 2, (k + corner // 4) // 2
        found += tl.load(coarse_ptr + (x * coarse + y) * coarse + z, inside, other=0.0)
    tl.store(total_ptr + index, tl.load(fine_ptr + index, inside, other=0.0) + 0.125 * found, inside)


@triton.jit
def _share(NEAR: tl.constexpr):
    """What a coarse node has of a fine one: half, but for the one on it."""
    return 1.0 if NEAR == 1 else 0.5


@triton.jit
def nest_backward_kernel(by_total_ptr, d_coarse_ptr, side, fine, LANES: tl.constexpr):
    """dL/dcoarse: of the 27 fine nodes around each, halves along every axis where they are not on it."""
    index, i, j, k, inside = _place(side, LANES)
    total = tl.zeros((LANES,), tl.float32)
    for near in tl.static_range(27):
        x, y, z = 2 * i + (near // 9 - 1), 2 * j + (near // 3 % 3 - 1), 2 * k + (near % 3 - 1)
        there = inside & (x >= 0) & (x < fine) & (y >= 0) & (y < fine) & (z >= 0) & (z < fine)
        found = tl.load(by_total_ptr + (x * fine + y) * fine + z, there, other=0.0)
        total += _share(near // 9) * _share(near // 3 % 3) * _share(near % 3) * found
    tl.store(d_coarse_ptr + index, total, inside)
