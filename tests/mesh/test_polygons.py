"""Polygons become triangles that cover them: their areas add up and none is turned over, concave ones included."""

import math

import numpy as np
import pytest

from nerfkit.mesh.files.polygons import triangulate

L_SHAPE = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]
ARROW = [(0, 0), (2, 1), (0, 2), (0.5, 1)]
COMB = [(0, 0), (7, 0), (7, 3), (6, 3), (6, 1), (5, 1), (5, 3), (4, 3), (4, 1), (3, 1), (3, 3), (2, 3), (2, 1), (0, 1)]
RING = [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)]  # a hole, joined by a bridge
SPIRAL = [(k * math.cos(k / 4), k * math.sin(k / 4)) for k in range(10, 60)] + [
    ((k - 4) * math.cos(k / 4), (k - 4) * math.sin(k / 4)) for k in range(59, 9, -1)
]


def signed_area(points: np.ndarray) -> float:
    x, y = points.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


@pytest.mark.parametrize("outline", [L_SHAPE, ARROW, COMB, RING, SPIRAL], ids=["l", "arrow", "comb", "ring", "spiral"])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_triangles_cover_the_polygon(outline: list[tuple[float, float]], backward: bool, axis: int) -> None:
    for first in range(len(outline)):
        flat = np.array(outline[first:] + outline[:first], dtype=float)[:: -1 if backward else 1]
        points = np.insert(flat, axis, 5.0, 1)
        triangle, polygon = triangulate(points, np.arange(len(flat)), np.array([len(flat)]))
        assert len(triangle) == len(flat) - 2 and not polygon.any()
        areas = [signed_area(flat[corners]) for corners in triangle]
        whole = signed_area(flat)
        assert all(area * whole >= 0 for area in areas), "a triangle is turned over"
        assert sum(areas) == pytest.approx(whole)


def test_convex_polygons_become_fans_and_corners_are_numbered_through() -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], *[[x, y, 0] for x, y in ARROW]], dtype=float)
    triangle, polygon = triangulate(points, np.arange(8)[[0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7]], np.array([3, 4, 4]))
    assert triangle[:3].tolist() == [[0, 1, 2], [3, 4, 5], [3, 5, 6]]
    assert polygon.tolist() == [0, 1, 1, 2, 2]
    assert {tuple(sorted(corners)) for corners in triangle[3:].tolist()} == {(7, 8, 10), (8, 9, 10)}


def test_a_first_corner_on_a_line_leaves_no_triangle_without_area() -> None:
    flat = np.array([(0, 0), (1, 0), (2, 0), (2, 2), (0, 2)], dtype=float)
    for first in range(5):
        outline = np.roll(flat, first, 0)
        triangle, _ = triangulate(np.pad(outline, ((0, 0), (0, 1))), np.arange(5), np.array([5]))
        areas = [signed_area(outline[corners]) for corners in triangle]
        assert min(areas) > 0 and sum(areas) == 4


def test_concave_polygons_among_others_get_their_own_triangles() -> None:
    """Sizes that differ, so that a polygon's first triangle is not its number times anything."""
    outlines = [L_SHAPE, [(0, 0), (1, 0), (0, 1)], ARROW[1:] + ARROW[:1], COMB, [(0, 0), (1, 0), (1, 1), (0, 1)], ARROW]
    points = np.concatenate([np.array(outline, dtype=float) for outline in outlines])
    sizes = np.array([len(outline) for outline in outlines])
    triangle, polygon = triangulate(np.pad(points, ((0, 0), (0, 1))), np.arange(len(points)), sizes)
    assert np.array_equal(polygon, np.repeat(np.arange(6), sizes - 2))
    areas = np.array([signed_area(points[corners]) for corners in triangle])
    assert areas.min() > 0
    whole = [signed_area(np.array(outline, dtype=float)) for outline in outlines]
    assert np.bincount(polygon, areas).tolist() == pytest.approx(whole)


@pytest.mark.parametrize(
    "outline",
    [
        [(0, 0), (1, 1), (1, 0), (0, 1)],  # crosses itself
        [(0, 0), (1, 0), (2, 0), (3, 0)],  # on a line
        [(0, 0)] * 5,
        [(0, 0), (2, 1), (math.nan, 2), (0.5, 1)],
        [(0, 0), (math.inf, 1), (0, 2), (0.5, 1)],
    ],
)
def test_hopeless_polygons_still_end(outline: list[tuple[float, float]]) -> None:
    points = np.pad(np.array(outline, dtype=float), ((0, 0), (0, 1)))
    triangle, _ = triangulate(points, np.arange(len(outline)), np.array([len(outline)]))
    assert triangle.shape == (len(outline) - 2, 3)
    assert set(triangle.ravel().tolist()) == set(range(len(outline)))
