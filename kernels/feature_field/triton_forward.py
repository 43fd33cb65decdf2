"""The feature field in Triton, forward: positions to features, features to density and color.

Features are a kernel of their own, which waits for memory and wants many threads; they are kept for the backward
anyway. A program forms BLOCK of their columns for M samples. A column has the constants of its level in a table
(``triton_encodings.columns_of``), so that all columns go one way, whether their level is hashed or not:

    row = (x xor factor_y y xor factor_z z) and mask,  or without a mask  x + factor_y y + factor_z z

with factors of 32 bits that may overflow. The layers' kernel forms the hidden layer BLOCK columns at a time, and each
block at once multiplies its part of the next matrix. All sums of products are BLOCK long: a thread holds its operands'
whole rows, as float32 products that are exact are no tensor core's. Comparisons are written so that a NaN stays one.
"""

import triton
import triton.language as tl

from ..harmonic_field.triton_forward import density_of, sigmoid


@triton.jit
def relu(z):
    return tl.where(z <= 0, 0.0, z)


@triton.jit
def coordinate(x_ptr, sample, inside, AXIS: tl.constexpr):
    """One coordinate (M,) of each sample, from 0 to 1 over the box; those outside have its border's."""
    unit = (tl.load(x_ptr + sample * 3 + AXIS, inside, other=0.0) + 1.0) * 0.5
    return tl.where(unit < 0, 0.0, tl.where(unit > 1, 1.0, unit))


@triton.jit
def cell_of(unit, resolution):
    """The cell (M, C) along an axis, of grids of ``resolution`` (C,) cells, and where in it; NaN lies in the first."""
    scaled = unit[:, None] * resolution[None, :]
    cell = tl.where(scaled >= 0, tl.minimum(tl.floor(scaled), resolution[None, :] - 1.0), 0.0)
    return cell.to(tl.int32), scaled - cell


@triton.jit
def constants_of(columns_ptr, column, E: tl.constexpr):
    """Of some columns, (C,) each: cells along a side, factors of y and z, mask, first place in the flat table."""
    row_ptr = columns_ptr + column
    resolution, factor_y = tl.load(row_ptr).to(tl.float32), tl.load(row_ptr + E).to(tl.int32)
    factor_z, mask = tl.load(row_ptr + 2 * E).to(tl.int32), tl.load(row_ptr + 3 * E).to(tl.int32)
    return resolution, factor_y, factor_z, mask, tl.load(row_ptr + 4 * E)


@triton.jit
def node_row(x, y, z, factor_y, factor_z, mask, CORNER: tl.constexpr):
    """The row (M, C), in its level, of corner ``CORNER`` of a cell; its lowest bit is that of x."""
    a = x + CORNER % 2
    b = (y + CORNER // 2 % 2) * factor_y[None, :]
    c = (z + CORNER // 4) * factor_z[None, :]
    return tl.where(mask[None, :] > 0, (a ^ b ^ c) & mask[None, :], a + b + c)


@triton.jit
def share(place, UPPER: tl.constexpr):
    """A node's weight along an axis."""
    return place if UPPER else 1.0 - place


@triton.jit(do_not_specialize=["count"], do_not_specialize_on_alignment=["x_ptr"])
def encode_kernel(
    x_ptr, table_ptr, columns_ptr, features_ptr, count,
    SIZE: tl.constexpr, F: tl.constexpr, E: tl.constexpr, M: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Features (S, E), 0 in the padding."""
    sample = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    inside = sample < count
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    resolution, factor_y, factor_z, mask, first = constants_of(columns_ptr, column, E)
    x, u = cell_of(coordinate(x_ptr, sample, inside, 0), resolution)
    y, v = cell_of(coordinate(x_ptr, sample, inside, 1), resolution)
    z, w = cell_of(coordinate(x_ptr, sample, inside, 2), resolution)
    here = inside[:, None] & (column < SIZE)[None, :]
    found = tl.zeros((M, BLOCK), tl.float32)
    for corner in tl.static_range(8):
        row = node_row(x, y, z, factor_y, factor_z, mask, corner)
        weight = share(u, corner % 2) * share(v, corner // 2 % 2) * share(w, corner // 4)
        found += weight * tl.load(table_ptr + first[None, :] + row * F, here, other=0.0)
    tl.store(features_ptr + sample[:, None] * E + column[None, :], found, inside[:, None])


@triton.jit
def matrix_of(ptr, row, column, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Entries of a matrix (ROWS, COLUMNS), 0 beyond; one of ``row``, ``column`` lies along each axis."""
    return tl.load(ptr + row * COLUMNS + column, (row < ROWS) & (column < COLUMNS), other=0.0)


@triton.jit
def vector_of(ptr, n, SIZE: tl.constexpr):
    """Entries of a vector of SIZE, 0 beyond."""
    return tl.load(ptr + n, n < SIZE, other=0.0)


# Numbers that change from call to call, and views that may begin anywhere, must not make kernels of their own.
@triton.jit(do_not_specialize=["count"], do_not_specialize_on_alignment=["features_ptr", "ray_ptr"])
def layers_kernel(
    features_ptr, ray_ptr, u_ptr, hidden_ptr, hidden_bias_ptr, density_ptr, density_bias_ptr, feature_ptr, color_ptr,
    color_bias_ptr, sigma_ptr, rgb_ptr, z_ptr, h_ptr, count,
    WIDTH: tl.constexpr, SIZE: tl.constexpr, W: tl.constexpr, E: tl.constexpr,
    COLOR: tl.constexpr, STORE: tl.constexpr, M: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """sigma (S,) and, with COLOR, rgb (S, 3); or, with STORE, the layers' outputs z and h (S, W) instead."""
    sample = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    inside = sample < count
    k = tl.arange(0, W)
    h = tl.zeros((M, W), tl.float32)
    if COLOR:
        ray = tl.load(ray_ptr + sample, inside, other=0)
        here = inside[:, None] & (k < WIDTH)[None, :]
        h = tl.load(u_ptr + ray[:, None] * WIDTH + k[None, :], here, other=0.0)
    raw = tl.zeros((M,), tl.float32)
    for block in range(W // BLOCK):
        n = block * BLOCK + tl.arange(0, BLOCK)
        z = tl.zeros((M, BLOCK), tl.float32) + vector_of(hidden_bias_ptr, n, WIDTH)[None, :]
        for chunk in range(E // BLOCK):
            column = chunk * BLOCK + tl.arange(0, BLOCK)
            found = tl.load(features_ptr + sample[:, None] * E + column[None, :], inside[:, None], other=0.0)
            transposed = matrix_of(hidden_ptr, n[None, :], column[:, None], WIDTH, SIZE)
            z = tl.dot(found, transposed, z, input_precision="ieee")
        z = relu(z)
        if STORE:
            tl.store(z_ptr + sample[:, None] * W + n[None, :], z, inside[:, None])
        else:
            raw += tl.sum(z * vector_of(density_ptr, n, WIDTH)[None, :], 1)
        if COLOR:
            h = tl.dot(z, matrix_of(feature_ptr, k[None, :], n[:, None], WIDTH, WIDTH), h, input_precision="ieee")
    h = relu(h)
    if STORE:
        if COLOR:
            tl.store(h_ptr + sample[:, None] * W + k[None, :], h, inside[:, None])
    else:
        tl.store(sigma_ptr + sample, density_of(raw + tl.load(density_bias_ptr), True, 1.0), inside)
        if COLOR:
            for channel in tl.static_range(3):
                matrix = vector_of(color_ptr + channel * WIDTH, k, WIDTH)
                logit = tl.sum(h * matrix[None, :], 1) + tl.load(color_bias_ptr + channel)
                tl.store(rgb_ptr + sample * 3 + channel, sigmoid(logit), inside)
