"""Coordinates of a map: float32 vertices about an origin in float64, through files, transforms and measures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mesh_shapes import sphere

from nerfkit.mesh.files.io import FORMATS, load_mesh, save_mesh
from nerfkit.mesh.measures import surface_distance
from nerfkit.mesh.mesh import Mesh, face_areas
from nerfkit.recipes.targets import target_mesh
from nerfkit.scenes.scene import Similarity

UTM = torch.tensor([500000.37, 4649776.11, 100.9], dtype=torch.float64)


def on_a_map() -> Mesh:
    """A ball of radius 0.4 m."""
    return sphere(2, 0.4).transformed(lambda points: points + UTM)


def area(mesh: Mesh) -> float:
    return float(face_areas(mesh.vertices, mesh.faces).sum())


def test_a_transform_keeps_float64() -> None:
    mesh, ball = on_a_map(), sphere(2, 0.4)
    assert mesh.vertices.dtype == torch.float32 and mesh.vertices.abs().max() < 1
    assert (mesh.positions - UTM - ball.positions).abs().max() < 1e-7
    units = Similarity(2.0, tuple((-2 * UTM).tolist()))  # as a scene's normalization on a map
    normalized = mesh.transformed(units.apply)
    assert normalized.origin == (0, 0, 0)
    assert (normalized.vertices - 2 * ball.vertices).abs().max() < 1e-6
    again = normalized.transformed(units.invert)
    assert (again.positions - mesh.positions).abs().max() < 1e-7


@pytest.mark.parametrize("format", FORMATS)
def test_files_bring_map_coordinates_back(tmp_path: Path, format: str) -> None:
    mesh = on_a_map()
    (path,) = save_mesh(mesh, tmp_path / "m", [format])
    loaded = load_mesh(path)
    assert any(loaded.origin) and "notes" not in loaded.provenance
    assert (loaded.positions[loaded.faces] - mesh.positions[mesh.faces]).abs().max() < 1e-7
    assert area(loaded) == pytest.approx(area(sphere(2, 0.4)), rel=1e-5)
    assert len(np.unique(loaded.positions[:, 1].numpy())) > 20


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("place", [0.0, 3.0, 200.0])
def test_near_zero_and_where_float32_is_enough_nothing_changes(tmp_path: Path, format: str, place: float) -> None:
    vertices = sphere(2).vertices + place
    mesh = Mesh(vertices, sphere(2).faces)
    assert mesh.at(vertices).origin == (0, 0, 0) and torch.equal(mesh.at(vertices).vertices, vertices)
    (path,) = save_mesh(mesh, tmp_path / "m", [format])
    loaded = load_mesh(path)
    assert loaded.origin == (0, 0, 0)
    assert torch.equal(loaded.vertices[loaded.faces], vertices[mesh.faces])


def test_text_far_away_is_read_in_float64(tmp_path: Path) -> None:
    """The same bumps here and at UTM coordinates; a vertex at 0 that no face uses does not count."""
    grid = [(0.02 * i, 0.02 * j, 0.05 * np.sin(i) * np.sin(j)) for j in range(10) for i in range(10)]
    faces = [(k + 1, k + 2, k + 12, k + 11) for k in range(89) if k % 10 < 9]
    found = []
    for x, y, z in ((0, 0, 0), (500000, 4649776, 100)):
        lines = [f"v {a + x:.4f} {b + y:.4f} {c + z:.4f}" for a, b, c in grid]
        lines += ["v 0 0 0"] + ["f {} {} {} {}".format(*face) for face in faces]
        (tmp_path / "m.obj").write_text("\n".join(lines))
        found.append(load_mesh(tmp_path / "m.obj"))
    here, far = found
    assert here.origin == (0, 0, 0)
    assert area(far) == pytest.approx(area(here), rel=1e-4)
    assert far.origin == pytest.approx((500000.09, 4649776.09, 100), abs=0.2)


def test_measures_and_recipes_take_both_ends_of_a_map(tmp_path: Path) -> None:
    mesh = on_a_map()
    other = mesh.about((500001.0, 4649776.0, 101.0))
    assert surface_distance(other, mesh, 2000).hausdorff < 1e-6
    (path,) = save_mesh(mesh, tmp_path / "m", ["ply"])
    assert (target_mesh(str(path)).vertices - sphere(2).vertices).abs().max() < 1e-5


def test_a_gradient_passes_through_a_transform() -> None:
    vertices = sphere(0).vertices.requires_grad_()
    mesh = Mesh(vertices, sphere(0).faces).transformed(lambda points: 3 * points + UTM)
    mesh.vertices.sum().backward()
    assert vertices.grad is not None and torch.equal(vertices.grad, torch.full_like(vertices, 3))
