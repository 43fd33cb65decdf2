"""Points at an even distance: the lattice in a face, and what is left of points that lie too near to others."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from nerfkit.mesh import even_points
from nerfkit.mesh.even_points import lattice_points, lattice_size, thinned


def faces() -> np.ndarray:
    """A large face, one without area, one smaller than a step, a sliver and one that is askew, (5,3,3)."""
    return np.array(
        [
            [[0, 0, 0], [10, 0, 0], [0, 7, 0]],
            [[0, 0, 1], [1, 1, 1], [2, 2, 1]],
            [[0, 0, 2], [0.1, 0, 2], [0, 0.1, 2]],
            [[0, 0, 3], [50, 0, 3], [25, 0.01, 3]],
            [[1, 2, 4], [4, 3, 6], [3, -2, 5]],
        ],
        dtype=np.float64,
    )


def brute_lattice(corners: np.ndarray, spacing: float) -> list[list[float]]:
    """One face's points by their definition."""
    a, b, c = corners
    u, v = b - a, c - a
    long, wide, area = np.linalg.norm(u), np.linalg.norm(v), np.linalg.norm(np.cross(u, v))
    sine = area / (long * wide)
    m, n = int(long * sine**0.5 / spacing), int(wide * sine**0.5 / spacing)
    places = [((i + 0.5) / m, (j + 0.5) / n) for i in range(m) for j in range(n)]
    return [(a + s * u + t * v).tolist() for s, t in places if s + t < 1]


@pytest.mark.parametrize("at_once", [1 << 22, 7])
def test_the_lattice_is_its_definition(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(even_points, "AT_ONCE", at_once)
    expected = [point for corners in faces() for point in brute_lattice(corners, 0.4)]
    found = lattice_points(faces(), 0.4)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert len(found) < lattice_size(faces(), 0.4) < 2.6 * len(found)
    assert lattice_points(faces()[1:3], 0.4).shape == lattice_points(faces()[:0], 0.4).shape == (0, 3)


def test_a_point_for_each_square_of_the_area() -> None:
    right, _, _, _, askew = faces()
    for corners in (right, askew):
        area = np.linalg.norm(np.cross(corners[1] - corners[0], corners[2] - corners[0])) / 2
        assert len(lattice_points(corners[None], 0.02)) == pytest.approx(area / 0.02**2, rel=0.01)


def test_thinned_is_greedy_in_a_random_order() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (600, 3)) * [1, 1, 0.2]
    points = np.concatenate([points, points[:5]])  # some twice
    found = thinned(points, 0.2, seed=3)
    assert len(np.unique(found, axis=0)) == len(found) < len(points) / 2
    gaps, _ = cKDTree(found).query(found, 2)
    assert gaps[:, 1].min() > 0.2
    assert cKDTree(found).query(points)[0].max() <= 0.2, "what was left out is near to what was taken"
    np.testing.assert_array_equal(found, thinned(points, 0.2, seed=3))
    assert len(thinned(points, 0.2, seed=4)) != 0 and not np.array_equal(thinned(points, 0.2, seed=4), found)


def test_thinned_at_the_radius_and_where_there_is_little() -> None:
    line = np.array([[0.0, 0, 0], [0.25, 0, 0], [0.5, 0, 0]])
    assert len(thinned(line, 0.25)) in (1, 2) and len(thinned(line, 0.2499)) == 3
    assert thinned(np.empty((0, 3)), 0.1).shape == (0, 3) and len(thinned(line[:1], 0.1)) == 1
    with pytest.raises(ValueError, match=r"they span 1e\+18, too much for a radius of 0\.1"):
        thinned(np.array([[0.0, 0, 0], [1e18, 1e18, 1e18]]), 0.1)
