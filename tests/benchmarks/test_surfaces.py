"""Toys are closed solids, their truth is what can be seen of them, and the table is of the results."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import excavator, surfaces, toys
from benchmarks.results import NOT_KNOWN, NOT_RUN
from nerfkit.mesh.files.io import load_mesh
from nerfkit.scenes import open_scene
from nerfkit.studio.solids import Solid
from nerfkit.studio.union import joined, outside
from tests.benchmarks.tables import cells


def volume(solid: Solid) -> float:
    a, b, c = solid.vertices[solid.faces].transpose(1, 0, 2)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def inside_share(solid: Solid, count: int = 200_000) -> float:
    low, high = solid.bounds
    points = low + (high - low) * np.random.default_rng(0).random((count, 3))
    return float(solid.inside(points).mean() * (high - low).prod())


@pytest.mark.parametrize(
    ("solid", "exact"),
    [
        (excavator.block((0, 0, 0), (2, 3, 4)), 24),
        (excavator.bar((0, 0), (3, 4), 2, -1, 1), 20),
        (excavator.rod((1, 1, 1), (1, 1, 11), 2, 64), 40 * np.pi),
    ],
)
def test_solids(solid: Solid, exact: float) -> None:
    """Closed and outward, and their test of points agrees with their surface."""
    assert volume(solid) == pytest.approx(exact, rel=0.01)
    assert inside_share(solid) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("name", toys.TOYS)
def test_every_part_is_a_closed_solid(name: str) -> None:
    for part in toys.TOYS[name].parts():
        _, place = np.unique(part.solid.vertices.round(6), axis=0, return_inverse=True)
        faces = place.reshape(-1)[part.solid.faces]
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        edges = edges[edges[:, 0] != edges[:, 1]]
        assert sorted(map(tuple, edges)) == sorted(map(tuple, edges[:, ::-1])), "each edge is there both ways"
        assert volume(part.solid) > 0
        assert np.abs(part.solid.vertices).max() < 60


def test_what_is_inside_another_solid_goes() -> None:
    """Two boxes that overlap: what is left is the surface of their union, but for a strip at the seam."""
    boxes = [excavator.block((0, 0, 0), (6, 6, 6)), excavator.block((3, 3, 3), (9, 9, 9))]
    points, attributes, kept = outside(boxes, joined(boxes)[0][:, 1:2])
    a, b, c = points[kept].transpose(1, 0, 2)
    normal = np.cross(b - a, c - a) / 2  # (F, 3), as long as the area
    areas = np.linalg.norm(normal, axis=-1)
    assert areas.sum() == pytest.approx(2 * 216 - 6 * 9, rel=0.03)
    np.testing.assert_allclose(attributes[:, 0], points[:, 1], atol=1e-9)
    in_front = points[kept].mean(1) + 1e-6 * normal / areas[:, None]
    assert sum((areas * box.inside(in_front)).sum() for box in boxes) < 0.01 * areas.sum()


def test_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = lambda: excavator.build()[:2]  # noqa: E731
    monkeypatch.setitem(toys.TOYS, "excavator", toys.Toy(two, 0.3, 32))
    made = toys.photograph("excavator", tmp_path / "photos", views=5, size=24)
    scene = open_scene("kaolin", str(made), resolution=24)
    assert len(scene.train) + len(scene.test) == 5 and scene.has_masks and scene.truth is not None
    truth, whole = load_mesh(scene.truth), toys.mesh_of(two())
    assert len(truth.faces) > 0 and truth.colors is not None
    torch.testing.assert_close(truth.vertices.amin(0), whole.vertices.amin(0), atol=1e-4, rtol=0)
    monkeypatch.setenv("NERFKIT_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError):
        surfaces.words_of("spot", tmp_path / "spot", 5, 24)


def test_table(tmp_path: Path) -> None:
    machine = {"device": "Some CPU", "date": "2026-11-21T10:00:00+00:00"}
    runs = [
        {
            "seed": seed,
            "size": [96, 64],
            "field": {"psnr": 30 + seed, "psnr_inside": 25.0, "steps": 700},
            "coarse": {"chamfer": 0.002, "f_score": 0.9, "normal_error": 20.0, "genus": None},
        }
        for seed in range(3)
    ]
    saved = json.dumps({"machine": machine, "results": {"runs": runs}})
    (tmp_path / "surface_spot_hash_grid.json").write_text(saved)
    (row,) = (cells(surfaces.surface_table(tmp_path), k) for k in (2,))
    assert row[:6] == ["spot, 96x64", "hash_grid, sdf", "700", "3", "31.00 ± 1.00", "25.00 ± 0.00"]
    assert row[6:] == ["0.200 ± 0.000", "0.900 ± 0.000", "20.0 ± 0.0", NOT_KNOWN, *[NOT_RUN] * 4]
    assert set(cells(surfaces.surface_table(tmp_path / "none"), 2)) == {NOT_RUN}
