"""A face budget spread by an error, and the curvature it comes from."""

import math

import pytest
import torch
import trimesh
from mesh_shapes import box, edge_table, from_trimesh, quad, sphere

from nerfkit.mesh.mesh import Mesh, face_areas, signed_volume
from nerfkit.mesh.remeshing.adapt import adapt, curvature, target_lengths
from nerfkit.mesh.remeshing.remesh import faces_expected
from nerfkit.mesh.topology import topology_report


def bump(n: int = 30) -> Mesh:
    """The square [-1,1]^2 with a narrow hill of height 0.3 in its middle."""
    line = torch.linspace(-1, 1, n)
    x, y = torch.meshgrid(line, line, indexing="ij")
    i = torch.arange(n * n).view(n, n)
    a, b, c, d = (part.flatten() for part in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]))
    faces = torch.cat([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)])
    return Mesh(torch.stack([x, y, 0.3 * torch.exp(-(x**2 + y**2) / 0.05)], -1).view(-1, 3), faces)


def torus() -> Mesh:
    return from_trimesh(trimesh.creation.torus(1.0, 0.4))


@pytest.mark.slow
@pytest.mark.parametrize(("mesh", "wanted"), [(torus(), 600), (torus(), 4000), (box(), 800), (sphere(4), 500)])
def test_the_budget_is_met_and_the_topology_kept(mesh: Mesh, wanted: int) -> None:
    result = adapt(mesh.vertices, mesh.faces, wanted)
    assert len(result.faces) == pytest.approx(wanted, rel=0.05)
    old, new = topology_report(mesh), topology_report(Mesh(result.vertices, result.faces))
    assert (new.euler, new.components, new.watertight) == (old.euler, old.components, old.watertight)
    volume = signed_volume(mesh.vertices, mesh.faces).item()
    assert signed_volume(result.vertices, result.faces).item() == pytest.approx(volume, rel=0.02)
    assert result.source.max() < len(mesh.vertices)


@pytest.mark.slow
def test_curved_parts_get_the_faces() -> None:
    mesh = bump()
    result = adapt(mesh.vertices, mesh.faces, 1000)
    assert len(result.faces) == pytest.approx(1000, rel=0.05)
    center = result.vertices[result.faces].mean(1)
    hill = center[:, :2].norm(dim=-1) < 0.4  # 13 % of the square
    assert hill.float().mean() > 0.6
    flat = center[:, :2].norm(dim=-1) > 0.8
    areas = face_areas(result.vertices, result.faces)
    assert areas[flat].mean() > 15 * areas[hill].mean()
    a, b = result.target[edge_table(result.faces).ends].unbind(-1)
    assert (torch.maximum(a / b, b / a) < 1.5).float().mean() > 0.98


@pytest.mark.slow
def test_erroneous_faces_get_the_faces() -> None:
    """Errors of faces: 9 on one half of a sphere, 1 on the other; so 90 % of the faces, but for the gradation."""
    mesh = sphere(3)
    error = torch.where(mesh.vertices[mesh.faces].mean(1)[:, 2] > 0, 9.0, 1.0)
    result = adapt(mesh.vertices, mesh.faces, 1500, error, mesh.vertices)
    assert len(result.faces) == pytest.approx(1500, rel=0.05)
    upper = (result.vertices[result.faces].mean(1)[:, 2] > 0).float().mean().item()
    assert 0.8 < upper < 0.92
    assert result.attributes is not None
    assert (result.attributes - result.vertices).norm(dim=-1).mean() < 0.15  # smoothing leaves them with their vertices


def test_targets_meet_budget_limits_and_gradation() -> None:
    mesh = sphere(4)
    error = torch.exp(6 * mesh.vertices[:, 2])
    target = target_lengths(mesh.vertices, mesh.faces, error, 3000, gradation=1.4, shortest=0.03, longest=0.3)
    assert faces_expected(mesh.vertices.double(), mesh.faces, target) == pytest.approx(3000, rel=0.002)
    assert target.min() >= 0.03
    assert target.max() <= 0.3
    a, b = edge_table(mesh.faces).ends.unbind(-1)
    length = (mesh.vertices[a] - mesh.vertices[b]).norm(dim=-1)
    assert ((target[a] - target[b]).abs() <= 1.5 * 0.4 / 2.4 * length + 1e-6).all()
    gentle = torch.exp(mesh.vertices[:, 2])
    free = target_lengths(mesh.vertices, mesh.faces, gentle, 3000)
    assert torch.allclose(free * gentle.double().sqrt(), (free * gentle.double().sqrt())[:1])


def test_no_error_is_an_even_mesh() -> None:
    mesh = sphere(2)
    target = target_lengths(mesh.vertices, mesh.faces, torch.zeros(len(mesh.faces)), 1000)
    area = face_areas(mesh.vertices, mesh.faces).sum().item()
    assert torch.allclose(target, torch.full_like(target, math.sqrt(area / 1000 * 4 / math.sqrt(3))), rtol=1e-3)


def test_curvature_of_known_surfaces() -> None:
    assert torch.allclose(curvature(2 * sphere(4).vertices, sphere(4).faces).mean(), torch.tensor(1.0).double(), 0.02)
    assert curvature(quad().vertices, quad().faces).max() == 0
    tube = from_trimesh(trimesh.creation.cylinder(0.5, 4.0, sections=64).subdivide().subdivide())
    middle = tube.vertices[:, 2].abs() < 1.5
    k = curvature(tube.vertices, tube.faces)[middle]
    area = torch.zeros(len(tube.vertices)).index_add(
        0, tube.faces.flatten(), face_areas(tube.vertices, tube.faces).repeat_interleave(3) / 3
    )[middle]
    assert (k * area).sum() / area.sum() == pytest.approx(2.0, rel=0.02)  # 1 / radius


def test_bad_input_is_named() -> None:
    v, f = sphere(1).vertices, sphere(1).faces
    with pytest.raises(ValueError, match=r"error is \(7,\)"):
        adapt(v, f, 100, torch.ones(7))
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="negative, NaN or infinite"):
            adapt(v, f, 100, torch.full((80,), value))
    with pytest.raises(ValueError, match="wanted is 0"):
        adapt(v, f, 0)
    with pytest.raises(ValueError, match="gradation 1"):
        adapt(v, f, 100, gradation=1.0)
    with pytest.raises(ValueError, match="expected 0 < shortest"):
        adapt(v, f, 100, shortest=1.0, longest=0.1)
    with pytest.raises(ValueError, match="no area"):
        adapt(v * 0, f, 100)
    with pytest.raises(ValueError, match="no area"):
        adapt(v, f[:0], 100)
