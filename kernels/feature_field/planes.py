"""The encoding of a tile of samples by planes: look-ups, and the way back to the planes and to positions.

Features of a node are a vector's lanes here, samples are in the layers: blocks of LANES x LANES are transposed between.
"""

import numpy as np

from ..elementary import rowwise
from ..products import LANES, total
from .bilinear import add_slopes, add_to_planes, first_nodes, plane_product, transpose
from .layout import TILE

RESOLUTION, FIRST = 0, 1  # columns of the table of levels; a level's planes lie one after the other
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


@rowwise
def _nodes_of(points, p_stride, start, count, resolution, rows, shares):
    """Each sample's first node of three planes, rows[p TILE + s], and where it lies in its cell, shares[i TILE + s]."""
    size, last, side = np.float32(resolution), np.int32(resolution - 1), np.int32(resolution + 1)
    for s in range(0, count, LANES):
        first_nodes(points, start + s, p_stride, size, last, side, rows, shares, s, TILE)


@rowwise
def _sample(first, nodes, features, part, rows, shares, s):
    """The places of a sample's first nodes in three planes of ``nodes``, feature ``part``; its shares along 3 axes."""
    x, y, z = np.uint64(s), np.uint64(TILE + s), np.uint64(2 * TILE + s)
    return (
        (
            (first + np.int64(rows[x])) * features + part,
            (first + nodes + np.int64(rows[y])) * features + part,
            (first + 2 * nodes + np.int64(rows[z])) * features + part,
        ),
        (shares[x], shares[y], shares[z]),
    )


@rowwise
def encode_planes(levels, features, points, p_stride, start, count, table, rows, shares, out, o0, o_stride):
    """Features of ``count`` samples, a multiple of LANES: feature k of sample s at out[o0 + k o_stride + s]."""
    block = np.empty(LANES * LANES, np.float32)
    for level in range(levels.shape[0]):
        resolution, first = levels[level, RESOLUTION], levels[level, FIRST]
        nodes, side = (resolution + 1) ** 2, (resolution + 1) * features
        _nodes_of(points, p_stride, start, count, resolution, rows, shares)
        for part in range(0, features, LANES):
            for s in range(0, count, LANES):
                for k in range(LANES):
                    places, inside = _sample(first, nodes, features, part, rows, shares, s + k)
                    plane_product(table, places, features, side, inside, block, k * LANES)
                transpose(block, 0, LANES, out, o0 + (level * features + part) * o_stride + s, o_stride)


@rowwise
def scatter_planes(
    levels, level, own, features, points, p_stride, start, count, table, rows, shares, deltas, d_stride, gradient
):  # fmt: skip
    """Add to planes of a level the features' gradients of ``count`` samples, times the two others, sample by sample.

    own: bits of the planes. Sample s has column start + s of ``points`` and of ``deltas``, whose row is a feature.
    """
    block = np.empty(LANES * LANES, np.float32)
    resolution, first = levels[level, RESOLUTION], levels[level, FIRST]
    nodes, side = (resolution + 1) ** 2, (resolution + 1) * features
    _nodes_of(points, p_stride, start, count, resolution, rows, shares)
    for part in range(0, features, LANES):
        for s in range(0, count, LANES):
            transpose(deltas, (level * features + part) * d_stride + start + s, d_stride, block, 0, LANES)
            for k in range(min(LANES, count - s)):
                places, inside = _sample(first, nodes, features, part, rows, shares, s + k)
                add_to_planes(table, places, features, side, inside, block, k * LANES, gradient, own)


@rowwise
def planes_backward(levels, features, table, x, points, p_stride, start, rows, shares, deltas, d_stride, dx):
    """dL/dx (n,3) of n positions from the derivatives by their features; 0 for a coordinate outside of the box."""
    block, sums = np.empty(LANES * LANES, np.float32), np.empty(3 * LANES * LANES + LANES, np.float32)
    for s in range(0, x.shape[0], LANES):
        here = min(LANES, x.shape[0] - s)
        sums[:] = ZERO
        for level in range(levels.shape[0]):
            resolution, first = levels[level, RESOLUTION], levels[level, FIRST]
            nodes, side = (resolution + 1) ** 2, (resolution + 1) * features
            _nodes_of(points, p_stride, start + s, LANES, resolution, rows, shares)
            for part in range(0, features, LANES):
                transpose(deltas, (level * features + part) * d_stride + start + s, d_stride, block, 0, LANES)
                for k in range(here):
                    places, inside = _sample(first, nodes, features, part, rows, shares, k)
                    add_slopes(
                        table, places, features, side, inside, block, k * LANES, np.float32(resolution), sums,
                        3 * k * LANES,
                    )  # fmt: skip
        for k in range(here):
            for i in range(3):
                slope = total(sums, (3 * k + i) * LANES, LANES)
                dx[s + k, i] = ZERO if abs(x[s + k, i]) > ONE else HALF * slope
