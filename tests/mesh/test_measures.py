"""Distances between surfaces whose distance is known."""

import math

import pytest
import torch
from mesh_shapes import box, quad, sphere

from nerfkit.mesh.measures import surface_distance
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.sampling import sample_surface


def test_samples_lie_on_the_surface_evenly_by_area() -> None:
    mesh = box((1.0, 2.0, 3.0))
    points, normals = sample_surface(mesh.vertices, mesh.faces, 20_000)[:2]
    half = torch.tensor([0.5, 1.0, 1.5])
    assert ((points.abs() - half).abs().amin(-1) < 1e-6).all()
    assert (points.abs() <= half + 1e-6).all()
    assert ((points * normals).sum(-1) > 0).all()
    share = (normals[:, 2].abs() > 0.5).float().mean().item()
    assert share == pytest.approx(4 / 22, abs=0.001)
    assert points.mean(0).abs().max() < 0.03


def test_samples_are_uniform_within_a_triangle() -> None:
    triangle = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]]))
    points = sample_surface(triangle.vertices, triangle.faces, 40_000).points
    assert torch.allclose(points[:, :2].mean(0), torch.tensor([1 / 3, 1 / 3]), atol=0.005)
    assert (points[:, :2].sum(-1) < 0.5).float().mean().item() == pytest.approx(0.25, abs=0.01)


def test_samples_depend_on_the_seed_alone() -> None:
    first, second, other = (sample_surface(box().vertices, box().faces, 100, seed).points for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_shifted_plane() -> None:
    true = quad()
    shifted = true.transformed(lambda p: p + torch.tensor([0.0, 0.0, 0.1]))
    distance = surface_distance(shifted, true, 20_000, threshold=0.08)
    assert distance.chamfer == pytest.approx(0.1 / math.sqrt(2), rel=0.01)
    assert distance.f_score == 1
    assert surface_distance(shifted, true, 2000, threshold=0.07).f_score == 0


def test_concentric_spheres() -> None:
    distance = surface_distance(sphere(4, 1.1), sphere(4, 1.0), 20_000)
    assert distance.accuracy == pytest.approx(0.1 / (2 * math.sqrt(3)), rel=0.03)
    assert distance.completeness == pytest.approx(distance.accuracy, rel=0.03)


def test_missing_and_spurious_parts_show_on_the_right_side() -> None:
    whole = sphere(3)
    half = Mesh(whole.vertices, whole.faces[whole.vertices[whole.faces].mean(1)[:, 2] > 0])
    missing, spurious = surface_distance(half, whole, 20_000), surface_distance(whole, half, 20_000)
    assert missing.completeness > 10 * missing.accuracy
    assert spurious.accuracy > 10 * spurious.completeness


def test_scale_does_not_matter() -> None:
    a, b = sphere(2), sphere(2, 0.9)
    first = surface_distance(a, b, 2000)
    second = surface_distance(a.transformed(lambda p: p * 100), b.transformed(lambda p: p * 100), 2000)
    assert first.chamfer == pytest.approx(second.chamfer, rel=1e-4)


def test_a_mesh_without_area_is_refused() -> None:
    with pytest.raises(ValueError, match="without area"):
        sample_surface(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]), 10)
