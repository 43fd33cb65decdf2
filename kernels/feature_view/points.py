"""The samples of a ray, some at a time, and what a signed distance makes of them."""

from typing import NamedTuple

import numpy as np

from .. import elementary
from ..elementary import rowwise
from ..feature_field.layout import STRIDE
from ..jit import inline, jit
from ..march.cpu import box_of
from ..march.walk import AHEAD, NUMBERS, POINT, RAYS, STOP, depart, walk
from ..sample_rays.cpu import direction_of

ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)


class Camera(NamedTuple):
    """Pose (3,4) and fx, fy, cx, cy as ``sample_rays`` has them, and the picture's height and width."""

    pose: np.ndarray
    intrinsics: np.ndarray
    height: int
    width: int


class Rays(NamedTuple):
    """A group of rays: origins, directions (n,3), where they enter and leave the box, near, far (n,), and what of it
    may hold something: from lattice point points (n,) on, before stops (n,)."""

    origins: np.ndarray
    directions: np.ndarray
    near: np.ndarray
    far: np.ndarray
    points: np.ndarray
    stops: np.ndarray


class Grid(NamedTuple):
    """The lattice's step, and the occupied cells as ``walk`` takes them."""

    step: np.float32
    size: np.int32
    occupancy: np.ndarray
    distance: np.ndarray
    bounds: np.ndarray


class Distance(NamedTuple):
    """A signed distance: its nodes, flat, cells along a side, beta, and the share of the largest weight that counts."""

    nodes: np.ndarray
    cells: int
    beta: np.float32
    least: float


class Scratch(NamedTuple):
    """What ``walk`` works with, and ``numbers``: those of lattice points that it found."""

    runs: np.ndarray
    cells: np.ndarray
    lengths: np.ndarray
    densities: np.ndarray
    numbers: np.ndarray


@inline
def scratch():
    """For one ray at a time."""
    return Scratch(
        np.empty((AHEAD, 2), np.int32), np.empty(AHEAD, np.int32), np.empty(AHEAD, np.float32),
        np.empty(0, np.float32), np.empty(AHEAD, np.int32),
    )  # fmt: skip


@jit(parallel=False)
def rays_of(camera, grid, first, last):
    """The rays through pixels first to last - 1."""
    count = last - first
    o, d = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    near, far = np.empty(count, np.float32), np.empty(count, np.float32)
    points, stops, state = np.empty(count, np.int64), np.empty(count, np.int64), np.zeros(NUMBERS, np.float32)
    for n in range(count):
        row, column = (first + n) // camera.width, (first + n) % camera.width
        o[n, 0], o[n, 1], o[n, 2] = camera.pose[0, 3], camera.pose[1, 3], camera.pose[2, 3]
        d[n, 0], d[n, 1], d[n, 2] = direction_of(camera.pose, camera.intrinsics, row, column)
        near[n], far[n] = box_of(o, d, n, ZERO)
    for begin in range(0, count, RAYS):
        end = min(begin + RAYS, count)
        depart(
            o, d, near, far, begin, end, grid.step, (False, 0, 0, 0), grid.size, grid.distance, grid.bounds, state
        )  # fmt: skip
        for i in range(end - begin):
            points[begin + i], stops[begin + i] = int(state[POINT + i]), int(state[STOP + i])
    return Rays(o, d, near, far, points, stops)


@inline
def look_ahead(rays, grid, ray, k, stop, work):
    """Numbers of the next AHEAD occupied lattice points at most from ``k`` on; how many, and where to go on."""
    count, taken, k, _ = walk(
        k, stop, 0.0, AHEAD, rays.origins[ray], rays.directions[ray], rays.near[ray], rays.far[ray], grid.step, ZERO,
        grid.size, grid.occupancy, grid.distance, work.densities, np.inf, work.runs, work.cells, work.lengths,
    )  # fmt: skip
    at = 0
    for i in range(count):
        for point in range(work.runs[i, 0], work.runs[i, 1]):
            work.numbers[at] = point
            at += 1
    return taken, k


@inline
def place(rays, ray, step, numbers, begin, count, places, middles, lengths, at):
    """Columns from ``at`` on: positions, middles and lengths of the samples that ``numbers`` name from ``begin`` on."""
    near, far = rays.near[ray], rays.far[ray]
    ox, oy, oz = rays.origins[ray, 0], rays.origins[ray, 1], rays.origins[ray, 2]
    dx, dy, dz = rays.directions[ray, 0], rays.directions[ray, 1], rays.directions[ray, 2]
    for s in range(count):
        point = numbers[begin + s]
        start = near + np.float32(point) * step
        end = min(near + np.float32(point + 1) * step, far)
        middle = HALF * (start + end)
        places[at + s] = ox + middle * dx
        places[STRIDE + at + s] = oy + middle * dy
        places[2 * STRIDE + at + s] = oz + middle * dz
        middles[at + s], lengths[at + s] = middle, end - start


@inline
def _cell(x, cells):
    """The cell of a coordinate, and how far into it; NaN has the first."""
    v = x * HALF + HALF
    v = (ZERO if v < ZERO else ONE if v > ONE else v) * np.float32(cells)
    cell = min(np.int32(v if v == v else ZERO), np.int32(cells - 1))
    return cell, v - np.float32(cell)


@rowwise
def opacities(nodes, cells, beta, places, lengths, at, count, alpha, slopes):
    """1 - exp(-sigma length) of columns ``at`` on, from alpha[0] on, and the distance's gradient there, in slopes.

    The formula is that of ``nerfkit.kernels.distance_grid``.
    """
    side = cells + 1
    size = np.float32(cells) * HALF
    for s in range(count):
        x, y, z = places[at + s], places[STRIDE + at + s], places[2 * STRIDE + at + s]
        i, u = _cell(x, cells)
        j, v = _cell(y, cells)
        k, w = _cell(z, cells)
        n = (np.int64(i) * side + np.int64(j)) * side + np.int64(k)
        m = n + side * side
        a, b, c, d = nodes[n], nodes[n + 1], nodes[n + side], nodes[n + side + 1]
        e, f, g, h = nodes[m], nodes[m + 1], nodes[m + side], nodes[m + side + 1]
        p, q, r, t = b - a, d - c, f - e, h - g
        low, low_up, high, high_up = a + w * p, c + w * q, e + w * r, g + w * t
        first_y, second_y = low_up - low, high_up - high
        first, second = low + v * first_y, high + v * second_y
        p, r = p + v * (q - p), r + v * (t - r)
        alpha[s] = first + u * (second - first)
        slopes[at + s] = ZERO if abs(x) > ONE else size * (second - first)
        slopes[STRIDE + at + s] = ZERO if abs(y) > ONE else size * (first_y + u * (second_y - first_y))
        slopes[2 * STRIDE + at + s] = ZERO if abs(z) > ONE else size * (p + u * (r - p))
    rate = ONE / beta
    for s in range(count):
        half = HALF * elementary.exp(-abs(alpha[s]) * rate)
        sigma = (half if alpha[s] > ZERO else ONE - half) * rate
        alpha[s] = elementary.softplus_slope(sigma * lengths[at + s], ONE)


@inline
def mirror(directions, ray, slopes, at, mirrors, column):
    """mirrors[column] = a ray's direction mirrored by the surface whose distance has the gradient of column ``at``."""
    x, y, z = slopes[at], slopes[STRIDE + at], slopes[2 * STRIDE + at]
    scale = ONE / max(np.sqrt(x * x + y * y + z * z), np.float32(1e-12))
    x, y, z = x * scale, y * scale, z * scale
    dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
    twice = np.float32(-2) * (dx * x + dy * y + dz * z)
    mirrors[column, 0], mirrors[column, 1], mirrors[column, 2] = dx + twice * x, dy + twice * y, dz + twice * z
