"""Sampled points and chamfer distance as functions of what they are made of."""

import pytest
import torch
from mesh_shapes import quad, sphere

from nerfkit.mesh.sampling import chamfer_distance, nearest_points, sample_surface


def cloud(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_samples_are_where_their_barycentrics_say() -> None:
    mesh = sphere(1)
    samples = sample_surface(mesh.vertices.double(), mesh.faces, 500)
    corners = mesh.vertices.double()[mesh.faces[samples.face]]
    assert torch.allclose((corners * samples.barycentrics[..., None]).sum(1), samples.points, atol=1e-12)
    assert torch.allclose(samples.barycentrics.sum(-1), torch.ones(500).double(), atol=1e-6)
    assert samples.barycentrics.min() >= 0
    assert (samples.points * samples.normals).sum(-1).min() > 0.5


def test_points_and_normals_are_differentiable_in_the_vertices() -> None:
    """Areas decide which face a point falls into, but a small change leaves it there."""
    vertices, faces = quad().vertices.double().requires_grad_(), quad().faces
    assert torch.autograd.gradcheck(lambda x: sample_surface(x, faces, 7).normals, vertices)
    samples = sample_surface(vertices, faces, 7)
    (gradient,) = torch.autograd.grad(samples.points.sum(), vertices)
    assert gradient.sum().item() == pytest.approx(21), "a shift of all vertices shifts every point"
    assert not samples.face.requires_grad and not samples.barycentrics.requires_grad


def test_chamfer_of_known_clouds() -> None:
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0]])
    others = torch.tensor([[0.0, 0, 2]])
    assert chamfer_distance(points, others).item() == pytest.approx((4 + 5) / 2 + 4)
    assert chamfer_distance(points, points) == 0


def test_chamfer_against_all_pairs() -> None:
    points, others = cloud(40, 0), cloud(23, 1)
    square = torch.cdist(points, others).square()
    expected = square.amin(1).mean() + square.amin(0).mean()
    assert chamfer_distance(points, others).item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.equal(nearest_points(points, others), square.argmin(1))


def test_chamfer_gradients_reach_both_clouds() -> None:
    points, others = cloud(9, 2).requires_grad_(), cloud(6, 3).requires_grad_()
    assert torch.autograd.gradcheck(chamfer_distance, (points, others))


def test_an_empty_or_nan_cloud_is_refused() -> None:
    with pytest.raises(ValueError, match="points"):
        chamfer_distance(torch.zeros(0, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="others"):
        chamfer_distance(torch.zeros(1, 3), torch.full((1, 3), torch.nan))


@pytest.mark.gpu
def test_the_gpu_finds_the_same_neighbors_and_gradients_twice() -> None:
    points, others = cloud(3000, 4).float(), cloud(2000, 5).float()
    assert torch.equal(nearest_points(points.cuda(), others.cuda()).cpu(), nearest_points(points, others))
    gradients = []
    for _ in range(2):
        x = points.cuda().requires_grad_()
        gradients.append(torch.autograd.grad(chamfer_distance(x, others.cuda()), x)[0])
    assert torch.equal(*gradients)
