"""The feature field in Triton, backward: through the layers to the samples, over the samples to the weights, and from
the features to the table and to positions.

No atomics. A layer's gradient is a product over samples, cut into parts whose sums are added in a fixed order. What a
row of the table gets from the nodes of all cells is written down with that row as its key, and summed by ``segments``.
"""

import triton
import triton.language as tl

from .triton_forward import cell_of, constants_of, coordinate, matrix_of, node_row, share, vector_of

SATURATED = tl.constexpr(3269000.0)  # exp(15) = 3269017, which raw is held below


@triton.jit
def _through(derivative, output):
    """What ReLU lets through; a NaN of its output stops nothing."""
    return tl.where(output <= 0, 0.0, derivative)


@triton.jit
def _by_logit(d_rgb_ptr, rgb_ptr, sample, inside, CHANNEL: tl.constexpr):
    """The derivative (M,) by a color before its sigmoid."""
    value = tl.load(rgb_ptr + sample * 3 + CHANNEL, inside, other=0.0)
    return tl.load(d_rgb_ptr + sample * 3 + CHANNEL, inside, other=0.0) * (value * (1.0 - value))


@triton.jit(
    do_not_specialize=["count"], do_not_specialize_on_alignment=["d_sigma_ptr", "d_rgb_ptr", "sigma_ptr", "rgb_ptr"]
)
def derivatives_kernel(
    d_sigma_ptr, d_rgb_ptr, sigma_ptr, rgb_ptr, z_ptr, h_ptr, hidden_ptr, density_ptr, feature_ptr, color_ptr,
    d_heads_ptr, d_h_ptr, d_z_ptr, d_features_ptr, count,
    WIDTH: tl.constexpr, SIZE: tl.constexpr, HEADS: tl.constexpr, W: tl.constexpr, E: tl.constexpr,
    COLOR: tl.constexpr, M: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Derivatives by the four outputs before exp and sigmoid (S, HEADS), by both layers before their ReLU (S, W), and
    by the features (S, E), BLOCK of them a program of axis 1."""
    sample = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    inside = sample < count
    # Not a scalar's truth, which Triton 3.9's interpreter takes for an int32.
    first = tl.full((M,), tl.program_id(1), tl.int32) == 0
    once = (inside & first)[:, None]
    sigma = tl.load(sigma_ptr + sample, inside, other=0.0)
    d_raw = tl.load(d_sigma_ptr + sample, inside, other=0.0) * tl.where(sigma >= SATURATED, 0.0, sigma)
    j = tl.arange(0, HEADS)
    d_heads = tl.where(j[None, :] == 0, d_raw[:, None], 0.0)
    if COLOR:
        d_red = _by_logit(d_rgb_ptr, rgb_ptr, sample, inside, 0)
        d_green = _by_logit(d_rgb_ptr, rgb_ptr, sample, inside, 1)
        d_blue = _by_logit(d_rgb_ptr, rgb_ptr, sample, inside, 2)
        d_heads = tl.where(j[None, :] == 1, d_red[:, None], d_heads)
        d_heads = tl.where(j[None, :] == 2, d_green[:, None], d_heads)
        d_heads = tl.where(j[None, :] == 3, d_blue[:, None], d_heads)
    tl.store(d_heads_ptr + sample[:, None] * HEADS + j[None, :], d_heads, once)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    d_features = tl.zeros((M, BLOCK), tl.float32)
    for block in range(W // BLOCK):
        n = block * BLOCK + tl.arange(0, BLOCK)
        d_z = d_raw[:, None] * vector_of(density_ptr, n, WIDTH)[None, :]
        if COLOR:
            for inner in range(W // BLOCK):
                k = inner * BLOCK + tl.arange(0, BLOCK)
                d_h = d_red[:, None] * vector_of(color_ptr, k, WIDTH)[None, :]
                d_h += d_green[:, None] * vector_of(color_ptr + WIDTH, k, WIDTH)[None, :]
                d_h += d_blue[:, None] * vector_of(color_ptr + 2 * WIDTH, k, WIDTH)[None, :]
                h = tl.load(h_ptr + sample[:, None] * W + k[None, :], inside[:, None], other=0.0)
                d_h = _through(d_h, h)
                if block == 0:
                    tl.store(d_h_ptr + sample[:, None] * W + k[None, :], d_h, once)
                matrix = matrix_of(feature_ptr, k[:, None], n[None, :], WIDTH, WIDTH)
                d_z = tl.dot(d_h, matrix, d_z, input_precision="ieee")
        z = tl.load(z_ptr + sample[:, None] * W + n[None, :], inside[:, None], other=0.0)
        d_z = _through(d_z, z)
        tl.store(d_z_ptr + sample[:, None] * W + n[None, :], d_z, once)
        matrix = matrix_of(hidden_ptr, n[:, None], column[None, :], WIDTH, SIZE)
        d_features = tl.dot(d_z, matrix, d_features, input_precision="ieee")
    tl.store(d_features_ptr + sample[:, None] * E + column[None, :], d_features, inside[:, None])


@triton.jit(do_not_specialize=["count", "samples", "place"], do_not_specialize_on_alignment=["b_ptr"])
def products_kernel(
    a_ptr, b_ptr, partial_ptr, gradients, place, count, samples,
    A: tl.constexpr, B: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """sum of a_s b_s^T over ``samples`` of the samples, a part, into (A, B) at ``place``; and behind it that of a_s."""
    tiles: tl.constexpr = B // COLUMNS
    m = (tl.program_id(0) // tiles) * ROWS + tl.arange(0, ROWS)
    n = (tl.program_id(0) % tiles) * COLUMNS + tl.arange(0, COLUMNS)
    part = tl.program_id(1).to(tl.int64)
    total, bias = tl.zeros((ROWS, COLUMNS), tl.float32), tl.zeros((ROWS,), tl.float32)
    for start in range(part * samples, tl.minimum((part + 1) * samples, count), STEP):
        sample = start + tl.arange(0, STEP)
        inside = (sample < count)[:, None]
        a = tl.load(a_ptr + sample[:, None] * A + m[None, :], inside, other=0.0)
        b = tl.load(b_ptr + sample[:, None] * B + n[None, :], inside, other=0.0)
        total = tl.dot(tl.trans(a), b, total, input_precision="ieee")
        bias += tl.sum(a, 0)
    out_ptr = partial_ptr + part * gradients + place
    tl.store(out_ptr + m[:, None] * B + n[None, :], total)
    if tl.program_id(0) % tiles == 0:
        tl.store(out_ptr + A * B + m, bias)


@triton.jit(do_not_specialize=["count"], do_not_specialize_on_alignment=["x_ptr"])
def entries_kernel(
    x_ptr, columns_ptr, d_features_ptr, rows_ptr, values_ptr, count,
    SIZE: tl.constexpr, F: tl.constexpr, E: tl.constexpr, M: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What the table gets: rows (8 L count,) int32 and values (8 L count, F), corner by corner of level by level.

    These are fewer than 2^31 numbers.
    """
    sample = tl.program_id(0) * M + tl.arange(0, M)
    inside = sample < count
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    resolution, factor_y, factor_z, mask, first = constants_of(columns_ptr, column, E)
    x, u = cell_of(coordinate(x_ptr, sample, inside, 0), resolution)
    y, v = cell_of(coordinate(x_ptr, sample, inside, 1), resolution)
    z, w = cell_of(coordinate(x_ptr, sample, inside, 2), resolution)
    here = inside[:, None] & (column < SIZE)[None, :]
    derivative = tl.load(d_features_ptr + sample[:, None] * E + column[None, :], here, other=0.0)
    for corner in tl.static_range(8):
        row = (first // F).to(tl.int32)[None, :] + node_row(x, y, z, factor_y, factor_z, mask, corner)
        weight = share(u, corner % 2) * share(v, corner // 2 % 2) * share(w, corner // 4)
        entry = (column // F * 8 + corner)[None, :] * count + sample[:, None]
        tl.store(rows_ptr + entry, row, here & (column % F == 0)[None, :])
        tl.store(values_ptr + entry * F + (column % F)[None, :], weight * derivative, here)


@triton.jit
def _slope(value, share_one, share_other, UPPER: tl.constexpr):
    """A corner's part of the derivative along an axis, in units of a cell."""
    product = value * share_one * share_other
    return product if UPPER else -product


@triton.jit
def store_slopes(x_ptr, d_x_ptr, sample, inside, d0, d1, d2):
    """Derivatives along three axes, 0 for a coordinate outside of the box."""
    for axis in tl.static_range(3):
        beyond = tl.abs(tl.load(x_ptr + sample * 3 + axis, inside, other=0.0)) > 1.0
        found = d0 if axis == 0 else d1 if axis == 1 else d2
        tl.store(d_x_ptr + sample * 3 + axis, tl.where(beyond, 0.0, found), inside)


@triton.jit(do_not_specialize=["count"], do_not_specialize_on_alignment=["x_ptr"])
def positions_kernel(
    x_ptr, table_ptr, columns_ptr, d_features_ptr, d_x_ptr, count,
    SIZE: tl.constexpr, F: tl.constexpr, E: tl.constexpr, M: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dL/dx (S, 3), 0 for a coordinate outside of the box."""
    sample = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    inside = sample < count
    unit_x = coordinate(x_ptr, sample, inside, 0)
    unit_y = coordinate(x_ptr, sample, inside, 1)
    unit_z = coordinate(x_ptr, sample, inside, 2)
    d0, d1, d2 = tl.zeros((M,), tl.float32), tl.zeros((M,), tl.float32), tl.zeros((M,), tl.float32)
    for chunk in range(E // BLOCK):
        column = chunk * BLOCK + tl.arange(0, BLOCK)
        resolution, factor_y, factor_z, mask, first = constants_of(columns_ptr, column, E)
        x, u = cell_of(unit_x, resolution)
        y, v = cell_of(unit_y, resolution)
        z, w = cell_of(unit_z, resolution)
        here = inside[:, None] & (column < SIZE)[None, :]
        derivative = tl.load(d_features_ptr + sample[:, None] * E + column[None, :], here, other=0.0)
        along_x = tl.zeros((M, BLOCK), tl.float32)
        along_y, along_z = tl.zeros((M, BLOCK), tl.float32), tl.zeros((M, BLOCK), tl.float32)
        for corner in tl.static_range(8):
            row = node_row(x, y, z, factor_y, factor_z, mask, corner)
            value = tl.load(table_ptr + first[None, :] + row * F, here, other=0.0) * derivative
            share_x, share_y = share(u, corner % 2), share(v, corner // 2 % 2)
            share_z = share(w, corner // 4)
            along_x += _slope(value, share_y, share_z, corner % 2)
            along_y += _slope(value, share_x, share_z, corner // 2 % 2)
            along_z += _slope(value, share_x, share_y, corner // 4)
        scale = 0.5 * resolution[None, :]
        d0 += tl.sum(along_x * scale, 1)
        d1 += tl.sum(along_y * scale, 1)
        d2 += tl.sum(along_z * scale, 1)
    store_slopes(x_ptr, d_x_ptr, sample, inside, d0, d1, d2)
