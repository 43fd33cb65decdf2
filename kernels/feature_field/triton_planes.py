"""The encoding by planes in Triton: positions to features, and from the features to the table and to positions.

As ``encode_kernel``, ``entries_kernel`` and ``positions_kernel`` do it for grids; a column has the constants of its
level in a table (``triton_encodings.columns_of``): cells along a side, and where each plane's first number lies.
"""

import triton
import triton.language as tl

from .triton_backward import store_slopes
from .triton_forward import cell_of, coordinate, share


@triton.jit
def _constants_of(columns_ptr, column, E: tl.constexpr):
    """Of some columns, (C,) each: cells along a side, places in the flat table of the planes xy, xz and yz."""
    row_ptr = columns_ptr + column
    return tl.load(row_ptr).to(tl.float32), tl.load(row_ptr + E), tl.load(row_ptr + 2 * E), tl.load(row_ptr + 3 * E)


@triton.jit
def _row(x, y, resolution):
    """The row (M, C), in its plane, of a node."""
    return x + y * (resolution[None, :].to(tl.int32) + 1)


@triton.jit
def _node(table_ptr, first, x, y, resolution, here, F: tl.constexpr):
    return tl.load(table_ptr + first[None, :] + _row(x, y, resolution) * F, here, other=0.0)


@triton.jit
def _interpolated(table_ptr, first, x, y, u, v, resolution, here, F: tl.constexpr):
    """A plane's numbers (M, C), and their derivatives along its two axes in units of a cell."""
    low = _node(table_ptr, first, x, y, resolution, here, F)
    along = _node(table_ptr, first, x + 1, y, resolution, here, F) - low
    high = _node(table_ptr, first, x, y + 1, resolution, here, F)
    beyond = _node(table_ptr, first, x + 1, y + 1, resolution, here, F) - high
    low += along * u
    rise = high + beyond * u - low
    return low + rise * v, along + (beyond - along) * v, rise


@triton.jit(do_not_specialize=["count"], do_not_specialize_on_alignment=["x_ptr"])
def encode_planes_kernel(
    x_ptr, table_ptr, columns_ptr, features_ptr, count,
    SIZE: tl.constexpr, F: tl.constexpr, E: tl.constexpr, M: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Features (S, E), 0 in the padding."""
    sample = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    inside = sample < count
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    resolution, first_xy, first_xz, first_yz = _constants_of(columns_ptr, column, E)
    x, u = cell_of(coordinate(x_ptr, sample, inside, 0), resolution)
    y, v = cell_of(coordinate(x_ptr, sample, inside, 1), resolution)
    z, w = cell_of(coordinate(x_ptr, sample, inside, 2), resolution)
    here = inside[:, None] & (column < SIZE)[None, :]
    found, _, _ = _interpolated(table_ptr, first_xy, x, y, u, v, resolution, here, F)
    xz, _, _ = _interpolated(table_ptr, first_xz, x, z, u, w, resolution, here, F)
    yz, _, _ = _interpolated(table_ptr, first_yz, y, z, v, w, resolution, here, F)
    found = found * xz * yz
    tl.store(features_ptr + sample[:, None] * E + column[None, :], tl.where(here, found, 0.0), inside[:, None])


@triton.jit
def _store_entries(
    rows_ptr, values_ptr, sample, column, here, first, x, y, u, v, resolution, derivative, count,
    PLANE: tl.constexpr, F: tl.constexpr,
):  # fmt: skip
    """The rows and shares of a plane's four nodes."""
    for corner in tl.static_range(4):
        row = (first // F).to(tl.int32)[None, :] + _row(x + corner % 2, y + corner // 2, resolution)
        weight = share(u, corner % 2) * share(v, corner // 2)
        entry = (column // F * 12 + 4 * PLANE + corner)[None, :] * count + sample[:, None]
        tl.store(rows_ptr + entry, row, here & (column % F == 0)[None, :])
        tl.store(values_ptr + entry * F + (column % F)[None, :], weight * derivative, here)


@triton.jit(do_not_specialize=["count"], do_not_specialize_on_alignment=["x_ptr"])
def plane_entries_kernel(
    x_ptr, table_ptr, columns_ptr, d_features_ptr, rows_ptr, values_ptr, count,
    SIZE: tl.constexpr, F: tl.constexpr, E: tl.constexpr, M: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What the table gets: rows (12 L count,) int32 and values (12 L count, F), plane by plane of level by level.

    These are fewer than 2^31 numbers.
    """
    sample = tl.program_id(0) * M + tl.arange(0, M)
    inside = sample < count
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    resolution, first_xy, first_xz, first_yz = _constants_of(columns_ptr, column, E)
    x, u = cell_of(coordinate(x_ptr, sample, inside, 0), resolution)
    y, v = cell_of(coordinate(x_ptr, sample, inside, 1), resolution)
    z, w = cell_of(coordinate(x_ptr, sample, inside, 2), resolution)
    here = inside[:, None] & (column < SIZE)[None, :]
    xy, _, _ = _interpolated(table_ptr, first_xy, x, y, u, v, resolution, here, F)
    xz, _, _ = _interpolated(table_ptr, first_xz, x, z, u, w, resolution, here, F)
    yz, _, _ = _interpolated(table_ptr, first_yz, y, z, v, w, resolution, here, F)
    derivative = tl.load(d_features_ptr + sample[:, None] * E + column[None, :], here, other=0.0)
    _store_entries(
        rows_ptr, values_ptr, sample, column, here, first_xy, x, y, u, v, resolution, derivative * xz * yz, count, 0, F
    )  # fmt: skip
    _store_entries(
        rows_ptr, values_ptr, sample, column, here, first_xz, x, z, u, w, resolution, derivative * xy * yz, count, 1, F
    )  # fmt: skip
    _store_entries(
        rows_ptr, values_ptr, sample, column, here, first_yz, y, z, v, w, resolution, derivative * xy * xz, count, 2, F
    )  # fmt: skip


@triton.jit(do_not_specialize=["count"], do_not_specialize_on_alignment=["x_ptr"])
def plane_positions_kernel(
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
        resolution, first_xy, first_xz, first_yz = _constants_of(columns_ptr, column, E)
        x, u = cell_of(unit_x, resolution)
        y, v = cell_of(unit_y, resolution)
        z, w = cell_of(unit_z, resolution)
        here = inside[:, None] & (column < SIZE)[None, :]
        xy, xy_x, xy_y = _interpolated(table_ptr, first_xy, x, y, u, v, resolution, here, F)
        xz, xz_x, xz_z = _interpolated(table_ptr, first_xz, x, z, u, w, resolution, here, F)
        yz, yz_y, yz_z = _interpolated(table_ptr, first_yz, y, z, v, w, resolution, here, F)
        derivative = tl.load(d_features_ptr + sample[:, None] * E + column[None, :], here, other=0.0)
        derivative *= 0.5 * resolution[None, :]
        d0 += tl.sum(derivative * yz * (xy_x * xz + xy * xz_x), 1)
        d1 += tl.sum(derivative * xz * (xy_y * yz + xy * yz_y), 1)
        d2 += tl.sum(derivative * xy * (xz_z * yz + xz * yz_z), 1)
    store_slopes(x_ptr, d_x_ptr, sample, inside, d0, d1, d2)
