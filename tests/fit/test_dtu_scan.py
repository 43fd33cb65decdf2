"""DTU's protocol on planes and balls whose distances are known, and its files."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfkit.errors import ConfigError, SceneError
from nerfkit.fit.dtu_scan import Scan, open_scan, scan_distance
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from tests.fit.dtu_files import scan_of, write_scan
from tests.view.path_builders import scene

INTERIOR = (slice(8, 20), slice(12, 24), slice(None))  # of the grid: x and y from 8.75 to 38.75


def square(*heights: float) -> Mesh:
    """Squares x, y in [0, 50], one at each of the heights."""
    corners = [(x, y, z) for z in heights for x, y in ((0, 0), (50, 0), (50, 50), (0, 50))]
    faces = [[k + 4 * n for k in face] for n in range(len(heights)) for face in ((0, 1, 2), (0, 2, 3))]
    return Mesh(torch.tensor(corners, dtype=torch.float32), torch.tensor(faces))


def scattered(density: float, height: float = 0.0, low: float = 4.0, high: float = 44.0) -> np.ndarray:
    """Points of a plane, ``density`` on a mm^2, independent of each other."""
    count = round(density * (high - low) ** 2)
    x, y = np.random.default_rng(1).uniform(low, high, (2, count))
    return np.stack([x, y, np.full(count, height)], 1)


def expected_distance(height: float, density: float) -> float:
    """From a point ``height`` above a plane to the nearest of its points: the integral over l of P(none within l) times
    the slope of sqrt(height^2 + l^2)."""
    step = 1e-3
    wide = np.arange(step / 2, 10, step)
    slope = np.exp(-math.pi * density * wide**2) * wide / np.hypot(height, wide)
    return height + float(slope.sum()) * step


def test_a_plane_over_scattered_points() -> None:
    """What was not observed counts in one direction, what is below the table or far away in none of the means."""
    found = scan_distance(square(0.3), scan_of(scattered(4), INTERIOR))
    assert found["dtu_accuracy"] == pytest.approx(expected_distance(0.3, 4), rel=0.02)
    assert 0.3 < found["dtu_completeness"] < math.hypot(0.3, 0.2)
    assert found["dtu_overall"] == (found["dtu_accuracy"] + found["dtu_completeness"]) / 2
    assert found["dtu_f_score"] == pytest.approx(1, abs=2e-3)
    far, below = scattered(1, height=25.0), scattered(2, height=-3.0)
    more = scan_of(np.concatenate([scattered(4), far, below]), (*INTERIOR[:2], slice(0, 8)))  # z up to 3.75
    again = scan_distance(square(0.3, 4.5), more)
    assert again["dtu_accuracy"] == pytest.approx(found["dtu_accuracy"], abs=1e-3)
    assert again["dtu_completeness"] == pytest.approx(found["dtu_completeness"], abs=1e-3)
    assert again["dtu_f_score"] == pytest.approx(2 * 0.8 / 1.8, rel=1e-2), "a fifth of the scan has no mesh nearby"


def test_the_cells_of_space_that_was_observed() -> None:
    """Of a square around one point, the mean distance is 0.3826 of its side; so the cell's middle is at the point."""
    side, middle = 8.0, np.array([[-10.0 + 8 * 4, -20 + 8 * 6, -15 + 8 * 2]])
    found = scan_distance(square(middle[0, 2]), scan_of(middle, (4, 6, 2), side))
    known = (math.sqrt(2) + math.log(1 + math.sqrt(2))) / 6
    assert found["dtu_accuracy"] == pytest.approx(known * side, rel=0.04)


def test_a_ball_in_a_larger_one() -> None:
    away = np.random.default_rng(2).normal(size=(60_000, 3))
    center = np.array([20.0, 15, 11])
    points = center + 8.5 * away / np.linalg.norm(away, axis=1, keepdims=True)
    ball = icosphere(4, 8.0)
    found = scan_distance(replace(ball, vertices=ball.vertices + torch.from_numpy(center).float()), scan_of(points))
    assert found["dtu_accuracy"] == pytest.approx(0.505, abs=0.01)
    assert found["dtu_completeness"] == pytest.approx(0.51, abs=0.015) and found["dtu_f_score"] == 1


def test_a_mesh_elsewhere_or_in_other_units() -> None:
    for scale, moved, message in (
        ((1e-3, 1e-3, 1e-3), 0.0, "none is near to the scan; expected a scene in DTU's millimeters"),
        ((1e6, 1e6, 1.0), 0.0, r"too large for points every 0\.2 mm"),
        ((1.0, 1.0, 1.0), 1e4, "0 of its points are in the scan's box"),
    ):
        mesh = square(0.3).transformed(lambda p, by=scale, to=moved: p * p.new_tensor(by) + to)
        with pytest.raises(SceneError, match=message):
            scan_distance(mesh, scan_of(scattered(1), INTERIOR))


@pytest.mark.parametrize("packed", [True, False])
def test_the_files_of_a_scan(tmp_path: Path, packed: bool) -> None:
    scan = scan_of(scattered(0.1), INTERIOR)
    write_scan(tmp_path, scan, packed=packed)
    here = replace(scene(), provenance={"path": "data/dtu_scan24/images"})
    for found in (open_scan(tmp_path, here), open_scan(tmp_path / "Points/stl/stl024_total.ply", scene())):
        np.testing.assert_allclose(found.points, scan.points, atol=1e-5)
        for name in ("observed", "low", "high", "side", "plane"):
            np.testing.assert_array_equal(getattr(found, name), getattr(scan, name))
        assert isinstance(found, Scan)


def test_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    write_scan(tmp_path, scan_of(scattered(0.1)))
    here = replace(scene(), provenance={"path": "scan24"})
    with pytest.raises(ConfigError, match=r"which scan is not known.*expected the file of one"):
        open_scan(tmp_path, scene())
    with pytest.raises(SceneError, match=r"stl025_total.ply: no such file; expected .*Plane25\.mat.*SampleSet\.zip"):
        open_scan(tmp_path, replace(scene(), provenance={"path": "scan24/scan25"}))
    for name, data, message in (
        ("ObsMask/Plane24.mat", (tmp_path / "ObsMask/ObsMask24_10.mat").read_bytes(), "no matrix P of 2 axes"),
        ("ObsMask/ObsMask24_10.mat", b"", "ObsMask24_10.mat: cannot be read .*of level 5"),
        ("Points/stl/stl024_total.ply", b"ply\n", "stl024_total.ply: no PLY header"),
    ):
        path = tmp_path / name
        whole = path.read_bytes()
        path.write_bytes(data)
        with pytest.raises(SceneError, match=message):
            open_scan(tmp_path, here)
        path.write_bytes(whole)
