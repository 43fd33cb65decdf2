"""Distances between surfaces whose distance is known."""

import math

import pytest
import torch
from mesh_shapes import box, quad, sphere

from nerfkit.mesh.measures import surface_distance
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.sampling import sample_surface
from nerfkit.mesh.tree import closest_points


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


@pytest.mark.slow
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


def test_equal_surfaces_are_at_distance_zero() -> None:
    distance = surface_distance(sphere(2), sphere(2), 5000, threshold=(1e-6, 0.01))
    assert distance.chamfer < 1e-7
    assert distance.hausdorff < 1e-6
    assert distance.normal_error < 0.01
    assert distance.f_scores == {1e-6: 1.0, 0.01: 1.0}


def test_normals_and_thresholds() -> None:
    true = quad()
    tilted = true.transformed(lambda p: p @ torch.tensor([[1.0, 0, 0.1], [0, 1, 0], [0, 0, 1]]).double())
    expected = math.degrees(math.atan(0.1))
    distance = surface_distance(tilted, true, 40_000, threshold=[0.01, 0.04, 0.1])
    assert distance.normal_error == pytest.approx(expected, abs=1e-3)
    assert distance.hausdorff == pytest.approx(0.1 / math.sqrt(2), rel=0.01)
    # heights are uniform in [0, 0.1], or that times the cosine, and the diagonal is sqrt(2)
    assert distance.f_scores[0.01] == pytest.approx(0.1 * math.sqrt(2), abs=0.006)
    assert distance.f_scores[0.04] == pytest.approx(0.4 * math.sqrt(2), abs=0.008)
    assert distance.f_scores[0.1] == 1
    assert distance.f_score == distance.f_scores[0.01]
    turned = Mesh(true.vertices, true.faces.flip(1))
    assert surface_distance(turned, true, 100).normal_error == pytest.approx(180)


def test_closest_points_against_a_fine_search() -> None:
    """Nearest of all points of a face, found by minimizing over each of its corners, sides and plane."""
    generator = torch.Generator().manual_seed(3)
    vertices = torch.rand(15, 3, generator=generator)
    vertices[3] = vertices[4]  # a face that is a segment
    mesh = Mesh(vertices, torch.cat([torch.arange(15).view(5, 3), torch.randint(0, 15, (8, 3), generator=generator)]))
    points = 2 * torch.rand(50, 3, generator=generator) - 0.5
    closest = closest_points(points, mesh)
    corners = vertices[mesh.faces].double()
    steps = torch.arange(41).double() / 40
    weights = torch.cartesian_prod(steps, steps)
    weights = torch.cat([weights, 1 - weights.sum(1, keepdim=True)], 1)[weights.sum(1) <= 1 + 1e-9]
    lattice = torch.einsum("wk,fkx->fwx", weights, corners)  # (F, W, 3)
    coarse = (points.double()[:, None, None] - lattice).norm(dim=-1).amin(2)  # (S, F)
    found = (corners[closest.face] * closest.barycentrics[..., None]).sum(1)
    assert torch.allclose((found - points).norm(dim=-1), closest.distance, atol=1e-12)
    assert closest.barycentrics.min() >= 0
    assert (closest.distance <= coarse.amin(1) + 1e-12).all()
    assert (closest.distance > coarse.amin(1) - 0.03).all(), "the lattice is 1/40 of a side apart"
    # first order: no small move within the face comes nearer
    direction = points.double() - found
    inward = corners[closest.face] - found[:, None]
    assert (inward * direction[:, None]).sum(-1).max() < 1e-12


def test_closest_points_refuses_nothing_and_nan() -> None:
    with pytest.raises(ValueError, match="without faces"):
        closest_points(torch.zeros(1, 3), Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int64)))
    with pytest.raises(ValueError, match="finite"):
        closest_points(torch.full((1, 3), math.nan), quad())
