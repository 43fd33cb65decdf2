"""The preconditioned optimiser of vertices, against the paper's formula with dense matrices."""

import pytest
import torch

from nerfkit.fit.large_steps import LargeSteps

EDGES = torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3], [1, 3]])


def dense(smoothness: float) -> torch.Tensor:
    adjacency = torch.zeros(5, 5, dtype=torch.float64)  # vertex 4 has no edges
    for a, b in EDGES.tolist():
        adjacency[a, b] = adjacency[b, a] = 1
    return torch.eye(5).double() + smoothness * (torch.diag(adjacency.sum(1)) - adjacency)


def test_three_steps_against_dense_matrices() -> None:
    generator = torch.Generator().manual_seed(0)
    vertices = torch.rand(5, 3, generator=generator).requires_grad_()
    mover = LargeSteps(vertices, EDGES, 3.0)
    inverse = torch.linalg.inv(dense(3.0))
    x, m, v = vertices.detach().double().clone(), torch.zeros(5, 3).double(), torch.zeros(5, 3).double()
    for t in range(1, 4):
        gradient = torch.randn(5, 3, generator=generator)
        vertices.grad = gradient
        mover.step(0.01 * t)
        g = inverse @ gradient.double()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x -= 0.01 * t * inverse @ (m / (1 - 0.9**t)) / (v.max() / (1 - 0.999**t)).sqrt()
    assert torch.allclose(vertices.detach().double(), x, atol=1e-6)


def test_steps_go_downhill_and_take_neighbours_along() -> None:
    vertices = torch.zeros(5, 3).requires_grad_()
    mover = LargeSteps(vertices, EDGES, 2.0)
    vertices.grad = torch.zeros(5, 3)
    vertices.grad[0, 2] = 1.0
    mover.step(0.1)
    moved = vertices.detach()[:, 2]
    assert moved[0] < moved[1] < moved[2] < 0
    assert moved[4] == 0
    assert vertices.detach()[:, :2].abs().max() == 0


def test_no_gradient_is_no_step_and_a_missing_one_an_error() -> None:
    vertices = torch.ones(5, 3).requires_grad_()
    mover = LargeSteps(vertices, EDGES, 1.0)
    with pytest.raises(ValueError, match="backward"):
        mover.step(0.1)
    vertices.grad = torch.zeros(5, 3)
    mover.step(0.1)
    assert torch.equal(vertices.detach(), torch.ones(5, 3))
