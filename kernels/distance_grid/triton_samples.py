"""The distance grid in Triton, by samples: density, slope, and what a sample leaves at its cell's corners."""

import triton
import triton.language as tl

from ..feature_field.triton_forward import coordinate


@triton.jit
def _cell(unit, cells):
    """The cell along an axis, and how far into it; NaN has the first."""
    scaled = unit * cells
    cell = tl.where(scaled >= 0, tl.minimum(tl.floor(scaled), cells - 1.0), 0.0)
    return cell.to(tl.int32), scaled - cell


@triton.jit
def _cells(x_ptr, sample, inside, cells):
    """The cell's three indices, and how far into it along each axis."""
    i, u = _cell(coordinate(x_ptr, sample, inside, 0), cells)
    j, v = _cell(coordinate(x_ptr, sample, inside, 1), cells)
    k, w = _cell(coordinate(x_ptr, sample, inside, 2), cells)
    return i.to(tl.int64), j.to(tl.int64), k.to(tl.int64), u, v, w


@triton.jit
def laplace(distance, beta):
    """The density, and e."""
    half = 0.5 * tl.exp(tl.div_rn(-tl.abs(distance), beta))
    return tl.div_rn(tl.where(distance > 0, half, 1.0 - half), beta), half


@triton.jit
def _store_slope(gradient_ptr, x_ptr, sample, inside, AXIS: tl.constexpr, slope):
    """One of the gradient's coordinates, 0 outside of the box."""
    beyond = tl.abs(tl.load(x_ptr + 3 * sample + AXIS, inside, other=0.0)) > 1.0
    tl.store(gradient_ptr + 3 * sample + AXIS, tl.where(beyond, 0.0, slope), inside)


# The number of samples changes from step to step and must not make a kernel of its own; x may begin anywhere.
@triton.jit(do_not_specialize=["count"], do_not_specialize_on_alignment=["x_ptr"])
def density_kernel(
    x_ptr, nodes_ptr, sigma_ptr, slope_ptr, gradient_ptr, beta, side, count, LANES: tl.constexpr
):  # fmt: skip
    """sigma (S,), dsigma/ds (S,) and the gradient (S, 3) of s."""
    sample = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    inside = sample < count
    cells = (side - 1).to(tl.float32)
    i, j, k, u, v, w = _cells(x_ptr, sample, inside, cells)
    here_ptr = nodes_ptr + (i * side + j) * side + k
    up_ptr, far_ptr = here_ptr + side, here_ptr + side.to(tl.int64) * side
    a, b = tl.load(here_ptr, inside, other=0.0), tl.load(here_ptr + 1, inside, other=0.0)
    c, d = tl.load(up_ptr, inside, other=0.0), tl.load(up_ptr + 1, inside, other=0.0)
    e, f = tl.load(far_ptr, inside, other=0.0), tl.load(far_ptr + 1, inside, other=0.0)
    g, h = tl.load(far_ptr + side, inside, other=0.0), tl.load(far_ptr + side + 1, inside, other=0.0)
    low, low_up, high, high_up = a + w * (b - a), c + w * (d - c), e + w * (f - e), g + w * (h - g)
    first, second = low + v * (low_up - low), high + v * (high_up - high)
    first_y, second_y = low_up - low, high_up - high
    first_z = (b - a) + v * ((d - c) - (b - a))
    second_z = (f - e) + v * ((h - g) - (f - e))
    half_cells = 0.5 * cells
    _store_slope(gradient_ptr, x_ptr, sample, inside, 0, half_cells * (second - first))
    _store_slope(gradient_ptr, x_ptr, sample, inside, 1, half_cells * (first_y + u * (second_y - first_y)))
    _store_slope(gradient_ptr, x_ptr, sample, inside, 2, half_cells * (first_z + u * (second_z - first_z)))
    sigma, half = laplace(first + u * (second - first), beta)
    tl.store(sigma_ptr + sample, sigma, inside)
    tl.store(slope_ptr + sample, tl.div_rn(-half, beta * beta), inside)


@triton.jit(do_not_specialize=["count"], do_not_specialize_on_alignment=["x_ptr"])
def corners_kernel(x_ptr, by_distance_ptr, keys_ptr, values_ptr, side, count, SAMPLES: tl.constexpr):
    """The cell (S,) of each sample, or where it has no derivative none; and what its 8 nodes get (S, 8)."""
    sample = tl.program_id(0).to(tl.int64) * SAMPLES + tl.arange(0, SAMPLES)
    inside = sample < count
    i, j, k, u, v, w = _cells(x_ptr, sample, inside, (side - 1).to(tl.float32))
    by_distance = tl.load(by_distance_ptr + sample, inside, other=0.0)
    cells = side.to(tl.int64) - 1
    tl.store(keys_ptr + sample, tl.where(by_distance == 0, -1, (i * cells + j) * cells + k), inside)
    corner = tl.arange(0, 8)[None, :]
    along_x = tl.where(corner >= 4, u[:, None], 1.0 - u[:, None])
    along_y = tl.where(corner // 2 % 2 == 1, v[:, None], 1.0 - v[:, None])
    along_z = tl.where(corner % 2 == 1, w[:, None], 1.0 - w[:, None])
    value = by_distance[:, None] * along_x * along_y * along_z
    tl.store(values_ptr + 8 * sample[:, None] + corner, value, inside[:, None])
