"""Shape losses against hand-computed values, brute force and fp64 finite differences."""

import math

import pytest
import torch
from mesh_shapes import box, quad, sphere

from nerfkit.mesh.losses import Topology, edge_length, laplacian, laplacian_vectors, normal_consistency
from nerfkit.mesh.mesh import Mesh


def topology_of(mesh: Mesh) -> Topology:
    return Topology.of(mesh.faces, len(mesh.vertices))


def noisy(mesh: Mesh) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return mesh.vertices.double() + 0.1 * torch.randn(mesh.vertices.shape, generator=generator).double()


def test_topology_of_a_quad() -> None:
    topology = topology_of(quad())
    assert topology.edges.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]]
    assert topology.face_pairs.tolist() == [[0, 1]]
    third, half = 1 / 3, 1 / 2
    expected = torch.tensor(
        [[0, third, third, third], [half, 0, half, 0], [third, third, 0, third], [half, 0, half, 0]]
    )
    assert torch.allclose(topology.neighbours.to_dense(), expected)
    assert torch.allclose(topology.neighbours_transposed.to_dense(), expected.T)


def test_three_faces_at_one_edge_make_two_pairs() -> None:
    topology = Topology.of(torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]]), 5)
    assert topology.face_pairs.tolist() == [[0, 1], [1, 2]]


def test_laplacian_against_a_loop() -> None:
    mesh = sphere(1)
    vertices, topology = noisy(mesh), topology_of(mesh)
    expected = torch.zeros_like(vertices)
    for v in range(len(vertices)):
        around = {int(u) for f in mesh.faces if v in f for u in f} - {v}
        expected[v] = vertices[sorted(around)].mean(0) - vertices[v]
    assert torch.allclose(laplacian_vectors(vertices, topology), expected, atol=1e-6)
    assert laplacian(vertices, topology).item() == pytest.approx(expected.square().sum(-1).mean().item(), rel=1e-6)


def test_laplacian_is_zero_at_rest_and_for_lonely_vertices() -> None:
    mesh = sphere(1)
    topology = topology_of(mesh)
    rest = laplacian_vectors(mesh.vertices, topology)
    assert laplacian(mesh.vertices + 3, topology, rest).item() == pytest.approx(0, abs=1e-9)
    assert laplacian(mesh.vertices * 1.1, topology, rest) > 1e-6
    assert laplacian(torch.rand(4, 3), Topology.of(torch.zeros(0, 3, dtype=torch.int64), 4)) == 0


def test_normal_consistency_of_known_angles() -> None:
    assert normal_consistency(quad().vertices, topology_of(quad())) == 0
    folded = quad().vertices.clone()
    folded[3] = torch.tensor([0.5, 0.5, math.sqrt(0.5)])  # the second face stands upright on the diagonal
    assert normal_consistency(folded, topology_of(quad())).item() == pytest.approx(1, abs=1e-6)
    # of a box's 18 edges 12 are right angles, 6 are diagonals of flat faces
    assert normal_consistency(box().vertices, topology_of(box())).item() == pytest.approx(12 / 18, abs=1e-6)


def test_edge_length_of_a_quad() -> None:
    vertices, topology = quad().vertices, topology_of(quad())
    assert edge_length(vertices, topology).item() == pytest.approx((4 + 2) / 5)
    assert edge_length(vertices, topology, 1.0).item() == pytest.approx((math.sqrt(2) - 1) ** 2 / 5)


@pytest.mark.parametrize("name", ["laplacian", "rest", "normal", "edge", "edge_target"])
def test_gradients_against_finite_differences(name: str) -> None:
    mesh = sphere(0)
    topology = topology_of(mesh)
    rest = noisy(mesh) * 0.1
    losses = {
        "laplacian": lambda x: laplacian(x, topology),
        "rest": lambda x: laplacian(x, topology, rest),
        "normal": lambda x: normal_consistency(x, topology),
        "edge": lambda x: edge_length(x, topology),
        "edge_target": lambda x: edge_length(x, topology, 0.9),
    }
    assert torch.autograd.gradcheck(losses[name], noisy(mesh).requires_grad_())


@pytest.mark.parametrize("loss", [laplacian, normal_consistency, edge_length])
def test_collapsed_and_empty_meshes_give_finite_gradients(loss) -> None:  # type: ignore[no-untyped-def]
    for vertices, topology in (
        (torch.zeros(4, 3), topology_of(quad())),
        (torch.zeros(2, 3), Topology.of(torch.zeros(0, 3, dtype=torch.int64), 2)),
    ):
        vertices.requires_grad_()
        loss(vertices, topology).backward()
        assert vertices.grad is not None
        assert torch.isfinite(vertices.grad).all()


def test_small_steps_down_the_gradient_lower_each_loss() -> None:
    mesh = sphere(2)
    topology = topology_of(mesh)
    for loss in (laplacian, normal_consistency, edge_length):
        vertices = noisy(mesh).requires_grad_()
        before = loss(vertices, topology)
        (gradient,) = torch.autograd.grad(before, vertices)
        step = 1e-3 * before.item() / gradient.square().sum()
        assert loss(vertices - step * gradient, topology) < before
