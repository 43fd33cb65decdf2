"""The encoding of a tile of samples by planes: look-ups, and the way back to the planes and to positions.

Features of a node are a vector's lanes here, samples are in the layers: blocks of LANES x LANES are transposed between.
"""

import numpy as np

from ..elementary import rowwise
from ..products import LANES, total
from .bilinear import add_slopes, add_to_plane, first_nodes, plane_product, transpose
from .layout import TILE
from .spec import AXES

RESOLUTION, FIRST = 0, 1  # columns of the table of planes, three a level
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


@rowwise
def _nodes_of(points, p_stride, start, count, resolution, rows, shares):
    """Each sample's first node of three planes, rows[p TILE + s], and where it lies in its cell, shares[i TILE + s]."""
    size, last, side = np.float32(resolution), np.int32(resolution - 1), np.int32(resolution + 1)
    for s in range(0, count, LANES):
        first_nodes(points, start + s, p_stride, size, last, side, rows, shares, s, TILE)


@rowwise
def _places(planes, level, features, rows, s):
    """Where the features of the first nodes of sample s begin, plane by plane."""
    xy, xz, yz = np.int64(rows[s]), np.int64(rows[s + np.uint64(TILE)]), np.int64(rows[s + np.uint64(2 * TILE)])
    return (
        (planes[3 * level, FIRST] + xy) * features,
        (planes[3 * level + 1, FIRST] + xz) * features,
        (planes[3 * level + 2, FIRST] + yz) * features,
    )


@rowwise
def _shares(shares, s):
    return shares[s], shares[s + np.uint64(TILE)], shares[s + np.uint64(2 * TILE)]


@rowwise
def encode_planes(planes, features, points, p_stride, start, count, table, rows, shares, out, o0, o_stride):
    """Features of ``count`` samples, a multiple of LANES: feature k of sample s at out[o0 + k o_stride + s]."""
    block = np.empty(LANES * LANES, np.float32)
    for level in range(planes.shape[0] // 3):
        resolution = planes[3 * level, RESOLUTION]
        side = (resolution + 1) * features
        _nodes_of(points, p_stride, start, count, resolution, rows, shares)
        for part in range(0, features, LANES):
            for s in range(0, count, LANES):
                for k in range(LANES):
                    sample = np.uint64(s + k)
                    xy, xz, yz = _places(planes, level, features, rows, sample)
                    places, inside = (xy + part, xz + part, yz + part), _shares(shares, sample)
                    plane_product(table, places, features, side, inside, block, k * LANES)
                transpose(block, 0, LANES, out, o0 + (level * features + part) * o_stride + s, o_stride)


@rowwise
def scatter_plane(
    planes, number, features, points, p_stride, start, count, table, rows, shares, deltas, d_stride, gradient
):  # fmt: skip
    """Add to one plane the features' gradients of ``count`` samples, times the two other planes, sample by sample.

    Sample s has column start + s of ``points`` and of ``deltas``, whose row is a feature.
    """
    block = np.empty(LANES * LANES, np.float32)
    level, own = number // 3, number % 3
    one, other = (own + 1) % 3, (own + 2) % 3
    (a, b), (c, d), (e, f) = AXES[own], AXES[one], AXES[other]
    resolution = planes[number, RESOLUTION]
    side = (resolution + 1) * features
    _nodes_of(points, p_stride, start, count, resolution, rows, shares)
    for part in range(0, features, LANES):
        for s in range(0, count, LANES):
            at = (level * features + part) * d_stride + start + s
            transpose(deltas, at, d_stride, block, 0, LANES)
            for k in range(min(LANES, count - s)):
                sample = np.uint64(s + k)
                places, inside = _places(planes, level, features, rows, sample), _shares(shares, sample)
                add_to_plane(
                    table, (places[own] + part, places[one] + part, places[other] + part), features, side,
                    (inside[a], inside[b], inside[c], inside[d], inside[e], inside[f]), block, k * LANES, gradient,
                )  # fmt: skip


@rowwise
def planes_backward(planes, features, table, x, points, p_stride, start, rows, shares, deltas, d_stride, dx):
    """dL/dx (n,3) of n positions from the derivatives by their features; 0 for a coordinate outside of the box."""
    block, sums = np.empty(LANES * LANES, np.float32), np.empty(3 * LANES * LANES + LANES, np.float32)
    for s in range(0, x.shape[0], LANES):
        here = min(LANES, x.shape[0] - s)
        sums[:] = ZERO
        for level in range(planes.shape[0] // 3):
            resolution = planes[3 * level, RESOLUTION]
            side = (resolution + 1) * features
            _nodes_of(points, p_stride, start + s, LANES, resolution, rows, shares)
            for part in range(0, features, LANES):
                transpose(deltas, (level * features + part) * d_stride + start + s, d_stride, block, 0, LANES)
                for k in range(here):
                    xy, xz, yz = _places(planes, level, features, rows, np.uint64(k))
                    places, inside = (xy + part, xz + part, yz + part), _shares(shares, np.uint64(k))
                    add_slopes(
                        table, places, features, side, inside, block, k * LANES, np.float32(resolution), sums,
                        3 * k * LANES,
                    )  # fmt: skip
        for k in range(here):
            for i in range(3):
                slope = total(sums, (3 * k + i) * LANES, LANES)
                dx[s + k, i] = ZERO if abs(x[s + k, i]) > ONE else HALF * slope
