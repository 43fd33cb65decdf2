"""Points at an even distance on a surface, as DTU's evaluation takes them: a lattice in each face, then thinned out."""

import math

import numpy as np

from nerfkit.kernels.jit import jit

AT_ONCE = 1 << 22  # candidates made together: some 300 MB


def lattice_points(corners: np.ndarray, spacing: float) -> np.ndarray:
    """Points (P,3) float64 within faces ``corners`` (F,3,3) float64: about one for each ``spacing``^2 of the area.

    A face a, a + u, a + v has those at a + (i + 1/2) / m u + (j + 1/2) / n v, for whole i and j, that lie inside: with
    s the sine of the angle between u and v, there are m = floor(|u| sqrt(s) / spacing) steps along u and n = floor(|v|
    sqrt(s) / spacing) along v. A face that is smaller than a step, or has no area, has none.
    """
    m, n = _steps(corners, spacing)
    before = np.concatenate([[0], np.cumsum(m * n)])  # (F+1,)
    found = [np.empty((0, 3))]
    for first in range(0, int(before[-1]), AT_ONCE):
        number = np.arange(first, min(first + AT_ONCE, before[-1]))  # (C,)
        face = np.searchsorted(before, number, "right") - 1
        number -= before[face]
        along, across = (number // n[face] + 0.5) / m[face], (number % n[face] + 0.5) / n[face]
        inside = along + across < 1
        a, b, c = (corners[face[inside], k] for k in range(3))  # (P, 3)
        found.append(a + along[inside, None] * (b - a) + across[inside, None] * (c - a))
    return np.concatenate(found)


def lattice_size(corners: np.ndarray, spacing: float) -> float:
    """How many points ``lattice_points`` looks at, about twice as many as it finds."""
    m, n = _steps(corners, spacing)
    return float((m.astype(np.float64) * n).sum())


def _steps(corners: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """The steps of the lattice along both sides of faces: (F,) int64 each, at most 2^31."""
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    long, wide = np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1)
    sine = np.linalg.norm(np.cross(u, v), axis=1) / np.maximum(long * wide, np.finfo(np.float64).tiny)
    m, n = (np.minimum(side * np.sqrt(sine) / spacing, 2.0**31).astype(np.int64) for side in (long, wide))
    return np.where(n > 0, m, 0), np.where(m > 0, n, 0)


def thinned(points: np.ndarray, radius: float, seed: int = 0) -> np.ndarray:
    """Those of points (P,3) float64, (K,3), that are taken when one after the other in a random order is, unless one
    that was taken before lies within ``radius`` of it.

    The same points and seed give the same answer. Each of the others lies within ``radius`` of one that was taken.

    Raises:
        ValueError: the points' bounding box is too large for its cells, of side ``radius``, to be numbered.
    """
    if not len(points):
        return points
    cells = np.floor((points - points.min(0)) / radius) + 1  # (P, 3); one is free on every side
    size = cells.max(0) + 2
    if not math.prod(size.tolist()) < 2**62:
        raise ValueError(f"points: they span {np.ptp(points, axis=0).max():g}, too much for a radius of {radius:g}")
    x, y, z = cells.astype(np.int64).T
    width, depth = int(size[1]), int(size[2])
    key = (x * width + y) * depth + z  # (P,)
    order = np.argsort(key, kind="stable")
    points, key = points[order], key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))  # (C,) the first point of each cell that has some
    turns = np.random.default_rng(seed).permutation(len(points))
    rows = (width * depth, depth)
    return points[_taken(points, key, key[starts], np.append(starts, len(points)), turns, rows, radius * radius)]


@jit(parallel=False)
def _taken(  # type: ignore[no-untyped-def]
    points: np.ndarray,
    key: np.ndarray,
    cells: np.ndarray,
    starts: np.ndarray,
    turns: np.ndarray,
    rows: tuple[int, int],
    limit: float,
):
    """Which points are taken, (P,) bool. ``points`` are in the order of their cells' numbers ``key`` (P,); ``cells``
    (C,) are those numbers, each once, and ``starts`` (C+1,) where their points begin. A step in x, y or z is one of
    ``rows`` or 1."""
    taken = np.zeros(len(points), np.bool_)
    for p in turns:
        free = True
        for row in range(9):
            first = key[p] + (row // 3 - 1) * rows[0] + (row % 3 - 1) * rows[1] - 1
            cell = np.searchsorted(cells, first)
            while free and cell < len(cells) and cells[cell] <= first + 2:
                for q in range(starts[cell], starts[cell + 1]):
                    if taken[q]:
                        dx, dy, dz = (
                            points[p, 0] - points[q, 0],
                            points[p, 1] - points[q, 1],
                            points[p, 2] - points[q, 2],
                        )
                        if dx * dx + dy * dy + dz * dz <= limit:
                            free = False
                            break
                cell += 1
            if not free:
                break
        taken[p] = free
    return taken
