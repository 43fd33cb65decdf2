"""The preconditioned optimizer of vertices, against the paper's formula with dense matrices."""

import pytest
import torch

from nerfkit.fit.large_steps import LargeSteps
from nerfkit.mesh.remeshing.remesh import remesh
from tests.mesh.mesh_shapes import edge_table, sphere

EDGES = torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3], [1, 3]])


def dense(smoothness: float) -> torch.Tensor:
    adjacency = torch.zeros(5, 5, dtype=torch.float64)  # vertex 4 has no edges
    for a, b in EDGES.tolist():
        adjacency[a, b] = adjacency[b, a] = 1
    return torch.eye(5).double() + smoothness * (torch.diag(adjacency.sum(1)) - adjacency)


def test_three_steps_against_dense_matrices() -> None:
    generator = torch.Generator().manual_seed(0)
    vertices = torch.rand(5, 3, generator=generator).requires_grad_()
    optimizer = LargeSteps(vertices, EDGES, 3.0)
    inverse = torch.linalg.inv(dense(3.0))
    x, m, v = vertices.detach().double().clone(), torch.zeros(5, 3).double(), torch.zeros(5, 3).double()
    for t in range(1, 4):
        gradient = torch.randn(5, 3, generator=generator)
        vertices.grad = gradient
        optimizer.step(0.01 * t)
        g = inverse @ gradient.double()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x -= 0.01 * t * inverse @ (m / (1 - 0.9**t)) / (v.max() / (1 - 0.999**t)).sqrt()
    assert torch.allclose(vertices.detach().double(), x, atol=1e-6)


def test_steps_go_downhill_and_take_neighbors_along() -> None:
    vertices = torch.zeros(5, 3).requires_grad_()
    optimizer = LargeSteps(vertices, EDGES, 2.0)
    vertices.grad = torch.zeros(5, 3)
    vertices.grad[0, 2] = 1.0
    optimizer.step(0.1)
    moved = vertices.detach()[:, 2]
    assert moved[0] < moved[1] < moved[2] < 0
    assert moved[4] == 0
    assert vertices.detach()[:, :2].abs().max() == 0


def test_no_gradient_is_no_step_and_a_missing_one_an_error() -> None:
    vertices = torch.ones(5, 3).requires_grad_()
    optimizer = LargeSteps(vertices, EDGES, 1.0)
    with pytest.raises(ValueError, match="backward"):
        optimizer.step(0.1)
    vertices.grad = torch.zeros(5, 3)
    optimizer.step(0.1)
    assert torch.equal(vertices.detach(), torch.ones(5, 3))


def test_the_same_mesh_goes_on_as_if_nothing_had_happened() -> None:
    generator = torch.Generator().manual_seed(1)
    gradients = torch.randn(6, 5, 3, generator=generator)
    vertices = torch.rand(5, 3, generator=generator)
    results = []
    for remeshes in (False, True):
        x = vertices.clone().requires_grad_()
        optimizer = LargeSteps(x, EDGES, 3.0)
        for step, gradient in enumerate(gradients):
            if remeshes and step in (2, 5):
                x = x.detach().clone().requires_grad_()
                optimizer = optimizer.remeshed(x, EDGES, optimizer.moments())
            x.grad = gradient
            optimizer.step(0.01)
        results.append(x.detach())
    assert torch.equal(*results)


def test_moments_follow_their_vertices() -> None:
    """A second copy of the mesh, and other numbers: gradients of half the size at each move it as they would have."""
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(5, 3, generator=generator).requires_grad_()
    optimizer = LargeSteps(x, EDGES, 3.0)
    for gradient in torch.randn(3, 5, 3, generator=generator):
        x.grad = gradient
        optimizer.step(0.01)
    order = torch.tensor([3, 0, 9, 2, 6, 8, 1, 5, 4, 7])  # vertex v of the first copy, v + 5 of the second
    y = x.detach()[order % 5].requires_grad_()
    edges = order.argsort()[torch.cat([EDGES, EDGES + 5])]
    other = optimizer.remeshed(y, edges, optimizer.moments()[order % 5])
    gradient = torch.randn(5, 3, generator=generator)
    x.grad, y.grad = gradient, gradient[order % 5] / 2
    optimizer.step(0.01)
    other.step(0.01)
    assert torch.allclose(y.detach(), x.detach()[order % 5], atol=1e-7)


def test_a_fit_goes_on_at_its_pace_through_remeshing() -> None:
    """A sphere to an ellipsoid, with and without a change to half the edges' length on the way."""
    axes = torch.tensor([1.0, 1.5, 0.7])
    losses = []
    for remeshes in (False, True):
        mesh = sphere(2)
        x, faces = mesh.vertices.clone().requires_grad_(), mesh.faces
        optimizer = LargeSteps(x, edge_table(faces).ends, 4.0)
        for step in range(60):
            if remeshes and step == 30:
                result = remesh(x, faces, 0.16, optimizer.moments(), iterations=3, smoothing=0.3)
                assert len(result.faces) > 3 * len(faces)
                assert result.attributes is not None
                x, faces = result.vertices.requires_grad_(), result.faces
                optimizer = optimizer.remeshed(x, edge_table(faces).ends, result.attributes, smoothness=16.0)
                assert optimizer.smoothness == 16
            x.grad = None
            loss = ((x / axes).norm(dim=-1) - 1).square().mean()
            loss.backward()
            optimizer.step(0.02)
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.15)
    assert losses[0] < 0.01  # from 0.04
    with pytest.raises(ValueError, match=r"moments are \(5, 6\)"):
        optimizer.remeshed(x, edge_table(faces).ends, torch.zeros(5, 6))
