"""Shape losses against hand-computed values, brute force and fp64 finite differences."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from mesh_shapes import box, quad, sphere

from nerfkit.mesh.laplacian import laplacian_vectors
from nerfkit.mesh.losses import (
    Topology,
    area_variance,
    edge_length,
    flatness,
    laplacian,
    laplacian_norm,
    normal_consistency,
)
from nerfkit.mesh.mesh import Mesh

LOSSES = (laplacian, laplacian_norm, normal_consistency, flatness, edge_length, area_variance)


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
    assert torch.allclose(topology.neighbors.to_dense(), expected)
    assert torch.allclose(topology.neighbors_transposed.to_dense(), expected.T)


def test_all_pairs_of_faces_at_an_edge_count() -> None:
    """As in PyTorch3D: a book of n pages around one edge, each page at an angle, has n (n - 1) / 2 pairs."""
    for angles in ((0.0, 1.0, 2.5), (0.1, 0.7, 2.0, 4.0, 5.5)):
        ends = torch.tensor([[0.0, 0, 0], [0, 0, 1]])
        pages = torch.stack([torch.tensor([math.cos(a), math.sin(a), 0.5]) for a in angles])
        faces = torch.tensor([[0, 1, 2 + k] if k % 2 else [1, 0, 2 + k] for k in range(len(angles))])
        topology = Topology.of(faces, 2 + len(angles))
        pairs = list(itertools.combinations(range(len(angles)), 2))
        assert sorted(sorted(pair) for pair in topology.face_pairs.tolist()) == [list(pair) for pair in pairs]
        # pages at an angle a are flat where a = 180 degrees
        expected = sum(1 + math.cos(angles[j] - angles[i]) for i, j in pairs) / len(pairs)
        assert normal_consistency(torch.cat([ends, pages]), topology).item() == pytest.approx(expected, abs=1e-6)
    assert Topology.of(torch.zeros(0, 3, dtype=torch.int64), 4).face_pairs.shape == (0, 2)


def test_laplacian_against_a_loop() -> None:
    mesh = sphere(1)
    vertices, topology = noisy(mesh), topology_of(mesh)
    expected = torch.zeros_like(vertices)
    for v in range(len(vertices)):
        around = {int(u) for f in mesh.faces if v in f for u in f} - {v}
        expected[v] = vertices[sorted(around)].mean(0) - vertices[v]
    assert torch.allclose(laplacian_vectors(vertices, topology), expected, atol=1e-6)
    assert laplacian(vertices, topology).item() == pytest.approx(expected.square().sum(-1).mean().item(), rel=1e-6)


def test_laplacian_is_zero_for_isolated_vertices() -> None:
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


def test_flatness_is_the_square_of_the_bend() -> None:
    """Of faces at an angle a: (1 + cos a)^2, so 0 at 180 degrees, 1 at 90 and 4 where one folds onto the other."""
    topology = topology_of(quad())
    for degrees in (180.0, 120.0, 90.0, 45.0, 0.0):
        bent = quad().vertices.double()
        half = math.sqrt(0.5)
        angle = math.radians(degrees)
        outward = torch.tensor([half * math.cos(angle), -half * math.cos(angle), math.sin(angle)], dtype=torch.float64)
        bent[3] = torch.tensor([0.5, 0.5, 0]) + half * outward
        assert flatness(bent, topology).item() == pytest.approx((1 + math.cos(angle)) ** 2, abs=1e-9)
        assert normal_consistency(bent, topology).item() == pytest.approx(1 + math.cos(angle), abs=1e-9)
    assert flatness(box().vertices, topology_of(box())).item() == pytest.approx(12 / 18, abs=1e-6)


def test_which_way_a_face_looks_does_not_count() -> None:
    mesh = sphere(1)
    turned = Topology.of(torch.where((torch.arange(80) % 3 == 0)[:, None], mesh.faces.flip(1), mesh.faces), 42)
    assert set(turned.pair_signs.tolist()) == {1.0, -1.0}
    for loss in (normal_consistency, flatness):
        assert loss(noisy(mesh), turned).item() == pytest.approx(loss(noisy(mesh), topology_of(mesh)).item(), rel=1e-12)


def test_laplacian_norm_is_the_mean_length() -> None:
    vertices, topology = noisy(sphere(1)), topology_of(sphere(1))
    expected = laplacian_vectors(vertices, topology).norm(dim=-1).mean().item()
    assert laplacian_norm(vertices, topology).item() == pytest.approx(expected)


def test_area_variance_of_known_triangles() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [-3, 0, 0]]).double()  # areas 1 and 3
    topology = Topology.of(torch.tensor([[0, 1, 2], [0, 2, 3]]), 4)
    assert area_variance(vertices, topology).item() == pytest.approx(0.25)
    assert area_variance(vertices * 100, topology).item() == pytest.approx(0.25)
    assert area_variance(quad().vertices, topology_of(quad())) == 0


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-12, 1e-3, 1.0, 1e6]), st.integers(0, 3))
def test_random_soups_give_finite_values_and_gradients(seed: int, scale: float, kind: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.rand(8, 3, generator=generator)
    if kind:
        vertices = torch.randint(0, kind + 1, (8, 3), generator=generator).float()  # on a lattice: slivers, doubles
    faces = torch.randint(0, 8, (12, 3), generator=generator)
    topology = Topology.of(faces, 8)
    for loss in LOSSES:
        x = (vertices * scale).requires_grad_()
        value = loss(x, topology)
        (gradient,) = torch.autograd.grad(value, x)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["laplacian", "normal", "edge", "edge_target", "flatness", "area", "norm"])
def test_gradients_against_finite_differences(name: str) -> None:
    mesh = sphere(0)
    topology = topology_of(mesh)
    losses = {
        "laplacian": lambda x: laplacian(x, topology),
        "normal": lambda x: normal_consistency(x, topology),
        "edge": lambda x: edge_length(x, topology),
        "edge_target": lambda x: edge_length(x, topology, 0.9),
        "flatness": lambda x: flatness(x, topology),
        "area": lambda x: area_variance(x, topology),
        "norm": lambda x: laplacian_norm(x, topology),
    }
    assert torch.autograd.gradcheck(losses[name], noisy(mesh).requires_grad_())


@pytest.mark.parametrize("loss", LOSSES)
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
    for loss in LOSSES:
        vertices = noisy(mesh).requires_grad_()
        before = loss(vertices, topology)
        (gradient,) = torch.autograd.grad(before, vertices)
        step = 1e-3 * before.item() / gradient.square().sum()
        assert loss(vertices - step * gradient, topology) < before
