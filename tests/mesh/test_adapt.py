"""A face budget spread by an error, the curvature it comes from, and subdivision."""

import math

import pytest
import torch
import trimesh
from mesh_shapes import box, from_trimesh, quad, sphere

from nerfkit.mesh.clean import topology_report
from nerfkit.mesh.mesh import Mesh, face_areas, signed_volume, unique_edges
from nerfkit.mesh.remeshing.adapt import adapt, adapt_mesh, curvature, subdivide, target_lengths
from nerfkit.mesh.remeshing.remesh import faces_expected


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
    a, b = result.target[unique_edges(result.faces)[0]].unbind(-1)
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
    a, b = unique_edges(mesh.faces)[0].unbind(-1)
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
    tube = subdivide(from_trimesh(trimesh.creation.cylinder(0.5, 4.0, sections=64)), rounds=2)
    middle = tube.vertices[:, 2].abs() < 1.5
    k = curvature(tube.vertices, tube.faces)[middle]
    area = torch.zeros(len(tube.vertices)).index_add(
        0, tube.faces.flatten(), face_areas(tube.vertices, tube.faces).repeat_interleave(3) / 3
    )[middle]
    assert (k * area).sum() / area.sum() == pytest.approx(2.0, rel=0.02)  # 1 / radius


@pytest.mark.slow
def test_a_mesh_keeps_its_colors_and_refuses_uvs() -> None:
    mesh = sphere(2)
    mesh = Mesh(mesh.vertices, mesh.faces, None, mesh.vertices * 0.5 + 0.5)
    adapted = adapt_mesh(mesh, 700, torch.ones(len(mesh.vertices)))
    assert len(adapted.faces) == pytest.approx(700, rel=0.05)
    assert adapted.colors is not None
    assert (adapted.colors - (adapted.vertices * 0.5 + 0.5)).abs().mean() < 0.05
    with pytest.raises(ValueError, match="has UVs"):
        adapt_mesh(quad(), 100)


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
    with pytest.raises(ValueError, match="scheme is 'butterfly'"):
        subdivide(sphere(0), "butterfly")  # type: ignore[arg-type]


def test_midpoints_keep_the_shape_and_the_uvs() -> None:
    mesh = quad(torch.rand(4, 4, 3))
    mesh = Mesh(mesh.vertices, mesh.faces, mesh.corner_uvs, mesh.vertices.clone(), mesh.texture)
    fine = subdivide(mesh, rounds=2)
    assert len(fine.faces) == 32
    assert torch.equal(fine.vertices[:4], mesh.vertices)
    assert fine.corner_uvs is not None and fine.colors is not None and fine.texture is mesh.texture
    assert torch.equal(fine.vertices[fine.faces][..., :2], fine.corner_uvs)  # u = x, v = y on this mesh
    assert torch.equal(fine.colors, fine.vertices)
    assert torch.allclose(face_areas(fine.vertices, fine.faces), torch.tensor(1 / 32))
    x, y, _ = fine.vertices[fine.faces].mean(1).unbind(-1)
    assert (y < x).tolist() == [True] * 16 + [False] * 16  # children lie in their parents, in order
    closed = topology_report(subdivide(box()))
    assert closed.watertight and closed.euler == 2


def test_loop_weights_by_hand() -> None:
    mesh = sphere(0)  # every vertex has 5 neighbors
    fine = subdivide(mesh, "loop")
    share = (5 / 8 - (3 / 8 + math.cos(2 * math.pi / 5) / 4) ** 2) / 5
    near = mesh.vertices[unique_edges(mesh.faces)[0][(unique_edges(mesh.faces)[0] == 0).any(1)].flatten()]
    total = near.sum(0) - 5 * mesh.vertices[0]
    assert torch.allclose(fine.vertices[0], (1 - 5 * share) * mesh.vertices[0] + share * total, atol=1e-6)
    a, b, c = mesh.faces[0].tolist()
    across = next(f for f in mesh.faces[1:].tolist() if {a, b} <= set(f))
    d = next(v for v in across if v not in (a, b))
    expected = (3 * mesh.vertices[a] + 3 * mesh.vertices[b] + mesh.vertices[c] + mesh.vertices[d]) / 8
    assert torch.allclose(fine.vertices[fine.faces[0, 1]], expected, atol=1e-6)


def test_loop_boundaries_are_splines_of_their_own() -> None:
    mesh = quad()
    fine = subdivide(mesh, "loop")
    for v, (left, right) in {0: (1, 3), 1: (0, 2), 2: (1, 3), 3: (0, 2)}.items():
        expected = 0.75 * mesh.vertices[v] + (mesh.vertices[left] + mesh.vertices[right]) / 8
        assert torch.allclose(fine.vertices[v], expected)
    a, b = fine.faces[0, 0], fine.faces[0, 1]
    assert torch.allclose(fine.vertices[b], (mesh.vertices[a] + mesh.vertices[mesh.faces[0, 1]]) / 2)
    ball = subdivide(box(), "loop", 3)
    assert topology_report(ball).watertight
    assert 0.2 < signed_volume(ball.vertices, ball.faces) < 0.7
