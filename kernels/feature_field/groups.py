"""One group of rays through the whole field and its compositing, a tile of samples at a time, and back."""

import numpy as np

from ..composite.cpu import composite_ray, composite_ray_backward, pixel_gradient
from ..elementary import rowwise
from ..products import COLUMNS
from .encoding import encode_tile
from .layout import COORDINATES, STRIDE, TILE
from .mirrors import mirror_rows, mirrors_of
from .tiles import (
    activate_color,
    activate_density,
    by_color,
    by_density,
    by_mirrors,
    by_rays,
    color_backward,
    color_head,
    color_layer,
    density_head,
    hidden_backward,
    hidden_layer,
)

HALF, ZERO, ONE = np.float32(0.5), np.float32(0), np.float32(1)


@rowwise
def _rounded(count):
    return (count + COLUMNS - 1) // COLUMNS * COLUMNS


@rowwise
def _place(x, first, samples, count, kept, at, columns):
    """Positions in [-1,1] as coordinates from 0 to 1, rows 0 to 2; the padding repeats the last. NaN stays."""
    for i in range(3):
        row = i * columns + at
        for s in range(samples):
            v = x[first + s, i] * HALF + HALF
            v = ZERO if v < ZERO else v
            kept[row + s] = ONE if v > ONE else v
        for s in range(samples, count):
            kept[row + s] = kept[row + samples - 1]


@rowwise
def forward_group(
    levels, pairs, table, packed, width, size, x, u, mirrors, offsets, first_ray, last_ray, keep, kept, base, columns,
    color, raw, sigma, rgb,
):  # fmt: skip
    """raw, sigma and, where ``color``, rgb (3,S) of the samples of rays first_ray to last_ray - 1.

    Their coordinates and features go to the columns of ``kept`` from ``base`` on, if they are to be kept.
    """
    rows, weights = np.empty(8 * TILE, np.int32), np.empty(8 * TILE, np.float32)
    deep = width + mirrors_of(mirrors)
    z, logits = np.empty(deep * STRIDE, np.float32), np.empty(4 * STRIDE, np.float32)
    h = np.empty(width * STRIDE if color else 0, np.float32)
    if not keep:
        kept, columns = np.empty((COORDINATES + size) * STRIDE, np.float32), STRIDE
    begin, finish, ray = offsets[first_ray], offsets[last_ray], first_ray
    for first in range(begin, finish, TILE):
        end = min(first + TILE, finish)
        count = _rounded(end - first)
        at = base + first - begin if keep else 0
        _place(x, first, end - first, count, kept, at, columns)
        f0 = COORDINATES * columns + at
        encode_tile(levels, pairs, kept, columns, at, count, table, rows, weights, kept, f0, columns, size)
        hidden_layer(packed, width, size, kept, f0, columns, count, z)
        density_head(packed, width, deep, count, z, logits)
        raw[first:end] = logits[: end - first]
        activate_density(raw[first:end], sigma[first:end])
        if color:
            while offsets[ray + 1] <= first:
                ray += 1
            mirror_rows(mirrors, first, end, count, z, width)
            color_layer(packed, width, deep, u, ray, offsets, first, end, count, z, h)
            color_head(packed, width, count, h, logits)
            for c in range(3):
                activate_color(logits[c * STRIDE :], rgb[c, first:end])


@rowwise
def composite_group(
    sigma, rgb, t_start, t_end, offsets, first_ray, last_ray, by_length, early_stop,
    pixel, opacity, depth, weights, behind, used,
):  # fmt: skip
    """The pixels of a group's rays, and what ``composite_group_backward`` needs."""
    color = rgb.T
    for ray in range(first_ray, last_ray):
        begin, end = np.uintp(offsets[ray]), np.uintp(offsets[ray + 1])
        red, green, blue, opaque, distance, transmittance, count = composite_ray(
            sigma, color, t_start, t_end, by_length, early_stop, begin, end, weights
        )
        pixel[ray, 0] = red
        pixel[ray, 1] = green
        pixel[ray, 2] = blue
        opacity[ray] = opaque
        depth[ray] = distance
        behind[ray] = transmittance
        used[ray] = count


@rowwise
def composite_group_backward(
    rgb, t_start, t_end, offsets, first_ray, last_ray, by_length, weights, behind, used,
    d_pixel, d_opacity, d_depth, g_sigma, g_rgb,
):  # fmt: skip
    """dL/dsigma (S,) and dL/drgb (3,S) of a group's samples from the gradients of its pixels."""
    color, d_color, none = rgb.T, g_rgb.T, np.empty(0, np.float32)
    for ray in range(first_ray, last_ray):
        begin, end = np.uintp(offsets[ray]), np.uintp(offsets[ray + 1])
        red, green, blue, opaque, distance = pixel_gradient(d_pixel, d_opacity, d_depth, ray)
        composite_ray_backward(
            color, t_start, t_end, by_length, begin, begin + np.uintp(used[ray]), end, weights, behind[ray],
            red, green, blue, opaque, distance, none, g_sigma, d_color,
        )  # fmt: skip


@rowwise
def backward_group(
    packed, places, width, size, u, mirrors, offsets, first_ray, last_ray, kept, base, columns, color, raw, sigma, rgb,
    g_sigma, g_rgb, sums, du, by_features, by_harmonics,
):  # fmt: skip
    """Add the layers' gradients to ``sums`` and the rays' to ``du``; write the features' to their columns.

    Those by the harmonics of mirrors, (S,16) or (0,16), too, where they are wanted.
    """
    deep = width + mirrors_of(mirrors)
    z, dz = np.zeros(deep * STRIDE, np.float32), np.empty(deep * STRIDE, np.float32)
    d, g = np.zeros((width + 4) * STRIDE, np.float32), np.zeros(4 * STRIDE, np.float32)
    h = np.empty(width * STRIDE if color else 0, np.float32)
    begin, finish, ray = offsets[first_ray], offsets[last_ray], first_ray
    for first in range(begin, finish, TILE):
        end = min(first + TILE, finish)
        count, at = _rounded(end - first), base + first - begin
        f0 = COORDINATES * columns + at
        hidden_layer(packed, width, size, kept, f0, columns, count, z)
        by_density(raw[first:end], sigma[first:end], g_sigma[first:end], count, d[width * STRIDE :])
        if color:
            while offsets[ray + 1] <= first:
                ray += 1
            mirror_rows(mirrors, first, end, count, z, width)
            color_layer(packed, width, deep, u, ray, offsets, first, end, count, z, h)
            for c in range(3):
                by_color(rgb[c, first:end], g_rgb[c, first:end], count, g[c * STRIDE :])
            color_backward(packed, places, width, count, g, h, d, sums)
            by_rays(d, width, ray, offsets, first, end, du)
            if len(by_harmonics) > 0:
                by_mirrors(packed, width, deep, count, d, dz, by_harmonics[first:end])
        hidden_backward(
            packed, places, width, deep, size, count, kept, f0, columns, z, d, dz, sums, by_features, at, columns
        )  # fmt: skip
