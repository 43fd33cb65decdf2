"""Polygons, as files hold them, into triangles."""

import numpy as np

from nerfkit.kernels.jit import jit

STEPS = 200_000_000  # looks at corners for all polygons of a file: some seconds; beyond that any corner will do


def triangulate(points: np.ndarray, vertex: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles over the corners of polygons, which keep their direction and gain no vertices.

    A polygon becomes the fan about its first corner. Where that would turn a triangle over or leave it without area,
    ears are clipped instead (Meisters 1975), in the plane of the coordinates in which the polygon is largest. A polygon
    that crosses itself has no right answer: it gets some triangles, as many as any other. Nor are there right ones for
    what more than ``STEPS`` would take: a polygon of n corners may need n^3.

    Args:
        points: (V,3) float64.
        vertex: (n,) the vertex of each corner, one polygon behind the other.
        sizes: (P,) corners of each polygon, at least 3.

    Returns:
        corners (F,3) int64 of the triangles, and the polygon (F,) that each is of.
    """
    start = np.cumsum(sizes) - sizes
    polygon = np.repeat(np.arange(len(sizes)), sizes - 2)  # (F,)
    first = np.cumsum(sizes - 2) - (sizes - 2)  # each polygon's first triangle
    step = np.arange(len(polygon)) - first[polygon]
    triangle = np.stack([start[polygon], start[polygon] + step + 1, start[polygon] + step + 2], -1)  # (F, 3)
    several = (sizes > 3)[polygon]
    if not several.any():
        return triangle, polygon
    with np.errstate(all="ignore"):  # coordinates that are NaN or infinite are refused later
        a, b, c = (points[vertex[triangle[several, k]]] for k in range(3))
        cross = np.cross(b - a, c - a)  # (f, 3)
        normal = np.zeros((len(sizes), 3))
        np.add.at(normal, polygon[several], cross)
        turned = (cross * normal[polygon[several]]).sum(-1) <= 0
    left = STEPS
    for number in np.unique(polygon[several][turned]):
        corners = start[number] + np.arange(sizes[number])
        flat = np.delete(points[vertex[corners]], np.abs(normal[number]).argmax(), 1)  # (n, 2)
        ears, left = _ears(np.ascontiguousarray(flat), left)
        triangle[first[number] : first[number] + sizes[number] - 2] = corners[ears]
    return triangle, polygon


@jit(parallel=False)
def _turn(points: np.ndarray, a: int, b: int, c: int) -> float:
    """Twice the area of a b c, positive where it turns left."""
    one = (points[b, 0] - points[a, 0]) * (points[c, 1] - points[a, 1])
    return one - (points[b, 1] - points[a, 1]) * (points[c, 0] - points[a, 0])


@jit(parallel=False)
def _ears(points: np.ndarray, left: int) -> tuple[np.ndarray, int]:
    """Triangles (n-2,3) of a polygon in the plane, (n,2), of either direction; and what is left of ``left`` steps."""
    n = len(points)
    area = 0.0
    for k in range(1, n - 1):
        area += _turn(points, 0, k, k + 1)
    sign = 1.0 if area >= 0 else -1.0
    before, after = np.arange(-1, n - 1), np.arange(1, n + 1)
    before[0], after[n - 1] = n - 1, 0
    found = np.empty((n - 2, 3), np.int64)
    count, at, passed = 0, 0, 0
    while count < n - 2:
        a, b, c = before[at], at, after[at]
        ear = sign * _turn(points, a, b, c) > 0
        p = after[c]
        left -= 1
        while ear and p != a and left > 0:
            left -= 1
            x, y = points[p]
            corner = False
            for k in (a, b, c):  # another corner at the same place, where a hole is joined to the outside
                corner |= x == points[k, 0] and y == points[k, 1]
            ear = corner or not (
                sign * _turn(points, a, b, p) >= 0
                and sign * _turn(points, b, c, p) >= 0
                and sign * _turn(points, c, a, p) >= 0
            )
            p = after[p]
        if ear or passed > n or left <= 0:  # after a round without one, any corner will do
            found[count, 0], found[count, 1], found[count, 2] = a, b, c
            count += 1
            after[a], before[c] = c, a
            passed = 0
        else:
            passed += 1
        at = c
    return found, left
