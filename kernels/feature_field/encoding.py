"""The encoding of a tile of samples: nodes and weights of each level, look-ups, and the way back."""

import functools
from typing import NamedTuple

import numpy as np

from ..elementary import rowwise
from ..products import LANES
from .gather import add_pair, dense_nodes, hashed_nodes, interpolate_pairs
from .layout import TILE
from .planes import FIRST, RESOLUTION, encode_planes, planes_backward, scatter_planes
from .reference import PRIMES
from .spec import PlaneSpec, Spec, grids, planes

MASK, COUNT = 2, 3  # columns of the table of levels, beside ``planes``'; MASK 0: not hashed
PLANES = -1  # MASK of a level of planes
PRIME_Y, PRIME_Z = (np.uint32(prime).view(np.int32) for prime in PRIMES[1:])
MISSED = 20_000  # rows whose absence from the cache takes as long as all else of a level
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


@functools.lru_cache(maxsize=16)
def levels_of(spec: Spec) -> np.ndarray:
    """(L,4) int64: resolution, first row, mask, number of rows."""
    if isinstance(spec, PlaneSpec):
        return np.array([(p.resolution, p.first, PLANES, 3 * (p.resolution + 1) ** 2) for p in planes(spec)[::3]])
    return np.array([(g.resolution, g.first, g.rows - 1 if g.hashed else 0, g.rows) for g in grids(spec)], np.int64)


class Owned(NamedTuple):
    """What threads own of the table: thread t the units begin[t] to begin[t + 1] - 1.

    units: (U,4) int64: level, bits of its planes, first row, number of rows.
    """

    units: np.ndarray
    begin: np.ndarray


@functools.lru_cache(maxsize=16)
def owned_by(spec: Spec, threads: int) -> Owned:
    """Levels, or single planes where threads outnumber levels, such that all threads have about as much to do."""
    units = [(number, 7, level[FIRST], level[COUNT]) for number, level in enumerate(levels_of(spec).tolist())]
    if isinstance(spec, PlaneSpec) and threads > spec.levels:
        thirds = [(level, first, rows // 3) for level, _, first, rows in units]
        units = [(level, 1 << p, first + p * rows, rows) for level, first, rows in thirds for p in range(3)]
    owners: list[list[tuple[int, ...]]] = [[] for _ in range(min(threads, len(units)))]
    for unit in sorted(units, key=lambda unit: -unit[3]):
        min(owners, key=lambda own: sum(MISSED + rows for *_, rows in own)).append(unit)
    begin = np.cumsum([0, *map(len, owners)])
    return Owned(np.array([unit for own in owners for unit in own]), begin)


@rowwise
def nodes_of(points, p_stride, start, count, resolution, mask, rows, weights):
    """The 8 nodes of each sample's cell, x the lowest bit of c < 8: rows[c TILE + s] of the level, weights[c TILE + s].

    points: flat, coordinate i of sample s, from 0 to 1, at i p_stride + start + s.
    """
    size, last, side = np.float32(resolution), np.int32(resolution - 1), np.int32(resolution + 1)
    for s in range(0, count, LANES):
        at = start + s
        if mask > 0:
            hashed_nodes(points, at, p_stride, size, last, PRIME_Y, PRIME_Z, np.int32(mask), rows, weights, s, TILE)
        else:
            dense_nodes(
                points, at, p_stride, size, last, side, np.int32(side * side), np.int32(0), rows, weights, s, TILE
            )


@rowwise
def encode_tile(levels, pairs, points, p_stride, start, count, table, rows, weights, out, o0, o_stride, size):
    """Features of ``count`` samples, a multiple of LANES: feature k of sample s at out[o0 + k o_stride + s].

    Up to row ``size`` there are zeros behind them.
    """
    if levels[0, MASK] == PLANES:
        encode_planes(levels, 2 * pairs, points, p_stride, start, count, table, rows, weights, out, o0, o_stride)
        return
    for level in range(levels.shape[0]):
        resolution, mask, first = levels[level, RESOLUTION], levels[level, MASK], levels[level, FIRST] * pairs
        nodes_of(points, p_stride, start, count, resolution, mask, rows, weights)
        for pair in range(pairs):
            at = o0 + 2 * (level * pairs + pair) * o_stride
            for s in range(0, count, LANES):
                interpolate_pairs(table, first, pairs, pair, rows, weights, TILE, s, out, at + s, o_stride)
    for k in range(2 * pairs * levels.shape[0], size):
        out[o0 + k * o_stride : o0 + k * o_stride + count] = ZERO


@rowwise
def scatter_level(
    levels, level, own, pairs, points, p_stride, start, count, table, rows, weights, deltas, d_stride, gradient
):  # fmt: skip
    """Add the features' gradients of ``count`` samples to the rows of one level, sample by sample.

    own: bits of the planes that are added to, where it has any. Sample s has column start + s of ``points`` and of
    ``deltas``, whose row is a feature.
    """
    if levels[level, MASK] == PLANES:
        scatter_planes(
            levels, level, own, 2 * pairs, points, p_stride, start, count, table, rows, weights, deltas, d_stride,
            gradient,
        )  # fmt: skip
        return
    resolution, mask, first = levels[level, RESOLUTION], levels[level, MASK], levels[level, FIRST]
    nodes_of(points, p_stride, start, count, resolution, mask, rows, weights)
    for pair in range(pairs):
        at = 2 * (level * pairs + pair) * d_stride + start
        for s in range(count):
            a, b = deltas[at + s], deltas[at + d_stride + s]
            for c in range(8):
                n = np.uint64(c * TILE + s)
                add_pair(gradient, 2 * ((first + np.int64(rows[n])) * pairs + pair), weights[n], a, b)


@rowwise
def encode_backward(levels, pairs, table, x, points, p_stride, start, rows, weights, deltas, d_stride, dx):
    """dL/dx (n,3) of n positions from the derivatives by their features; 0 for a coordinate outside of the box."""
    if levels[0, MASK] == PLANES:
        planes_backward(levels, 2 * pairs, table, x, points, p_stride, start, rows, weights, deltas, d_stride, dx)
        return
    count, corner = x.shape[0], np.empty(8, np.float32)
    dx[:] = ZERO
    for level in range(levels.shape[0]):
        resolution, mask, first = levels[level, RESOLUTION], levels[level, MASK], levels[level, FIRST]
        nodes_of(points, p_stride, start, count, resolution, mask, rows, weights)
        size, last = np.float32(resolution), np.float32(resolution - 1)
        for s in range(count):
            for c in range(8):
                row = (first + np.int64(rows[c * TILE + s])) * pairs
                corner[c] = ZERO
                for k in range(2 * pairs):
                    corner[c] += table[2 * row + k] * deltas[(2 * level * pairs + k) * d_stride + start + s]
            u, v, w = (
                points[start + s] * size,
                points[p_stride + start + s] * size,
                points[2 * p_stride + start + s] * size,
            )
            u, v, w = u - min(np.floor(u), last), v - min(np.floor(v), last), w - min(np.floor(w), last)
            # along an axis: differences of the cell's 4 edges, interpolated by the two other coordinates
            p, q, r, t = (corner[1] - corner[0], corner[3] - corner[2], corner[5] - corner[4], corner[7] - corner[6])
            dx[s, 0] += size * (p + v * (q - p) + w * ((r + v * (t - r)) - (p + v * (q - p))))
            p, q, r, t = (corner[2] - corner[0], corner[3] - corner[1], corner[6] - corner[4], corner[7] - corner[5])
            dx[s, 1] += size * (p + u * (q - p) + w * ((r + u * (t - r)) - (p + u * (q - p))))
            p, q, r, t = (corner[4] - corner[0], corner[5] - corner[1], corner[6] - corner[2], corner[7] - corner[3])
            dx[s, 2] += size * (p + u * (q - p) + v * ((r + u * (t - r)) - (p + u * (q - p))))
    for s in range(count):
        for i in range(3):
            dx[s, i] = ZERO if abs(x[s, i]) > ONE else HALF * dx[s, i]
