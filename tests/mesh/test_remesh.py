"""Isotropic remeshing: lengths arrive, and topology, orientation, shape and what vertices carry are kept."""

import math

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings, strategies as st
from mesh_shapes import box, edge_table, from_trimesh, joined, quad, sphere
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from nerfkit.mesh.mesh import Mesh, face_areas, face_normals, signed_volume
from nerfkit.mesh.remeshing.remesh import Remeshed, faces_expected, remesh
from nerfkit.mesh.remeshing.state import State
from nerfkit.mesh.remeshing.steps import flip
from nerfkit.mesh.topology import topology_report


def torus() -> Mesh:
    return from_trimesh(trimesh.creation.torus(1.0, 0.4))


def patch(n: int = 12) -> Mesh:
    """A square [-1,1]^2 of 2 (n - 1)^2 faces, facing +z."""
    line = torch.linspace(-1, 1, n)
    x, y = torch.meshgrid(line, line, indexing="ij")
    i = torch.arange(n * n).view(n, n)
    a, b, c, d = (part.flatten() for part in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]))
    faces = torch.cat([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)])
    return Mesh(torch.stack([x, y, torch.zeros_like(x)], -1).view(-1, 3), faces)


def lengths(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    a, b = edge_table(faces).ends.unbind(-1)
    return (vertices[a] - vertices[b]).norm(dim=-1)


def share_right(result: Remeshed) -> float:
    """Share of the edges within 0.5 to 1.6 of their target."""
    ratio = lengths(result.vertices, result.faces) / result.target[edge_table(result.faces).ends].mean(1)
    return ((ratio >= 0.5) & (ratio <= 1.6)).float().mean().item()


def loops(faces: torch.Tensor) -> int:
    """Number of boundaries."""
    table = edge_table(faces)
    rim = table.ends[torch.bincount(table.face_edges.flatten(), minlength=len(table.ends)) == 1].numpy()
    count = int(faces.max()) + 1
    graph = coo_matrix((np.ones(len(rim)), (rim[:, 0], rim[:, 1])), shape=(count, count))
    return len(np.unique(connected_components(graph, directed=False)[1][np.unique(rim)])) if len(rim) else 0


def fans(faces: torch.Tensor) -> int:
    """Number of fans of faces that are joined across edges, over all vertices; one a vertex on a manifold."""
    table = edge_table(faces)
    corner = torch.arange(3 * len(faces)).view(-1, 3)
    at = torch.cat([corner.flatten(), corner.roll(-1, 1).flatten()])  # the corners at both ends of each side
    end = faces.flatten()[at] * len(table.ends) + table.face_edges.flatten().repeat(2)
    end, order = torch.sort(end)
    same = end[1:] == end[:-1]
    row, column = at[order][1:][same].numpy(), at[order][:-1][same].numpy()
    graph = coo_matrix((np.ones(len(row)), (row, column)), shape=(corner.numel(),) * 2)
    return connected_components(graph, directed=False)[0]


def assert_same_topology(before: Mesh, result: Remeshed) -> None:
    after = Mesh(result.vertices, result.faces)
    old, new = topology_report(before), topology_report(after)
    assert (new.components, new.euler, new.watertight) == (old.components, old.euler, old.watertight)
    assert new.non_manifold_edges == new.flipped_edges == 0
    assert loops(result.faces) == loops(before.faces)
    assert fans(result.faces) == len(result.vertices)
    assert len(result.faces.sort(1).values.unique(dim=0)) == len(result.faces)
    assert len(result.faces.unique()) == len(result.vertices)
    assert face_areas(result.vertices, result.faces).min() > 0


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_sphere(factor: float, smoothing: float) -> None:
    mesh = sphere(4)
    target = factor * lengths(mesh.vertices, mesh.faces).mean().item()
    result = remesh(mesh.vertices, mesh.faces, target, iterations=5, smoothing=smoothing)
    assert_same_topology(mesh, result)
    assert share_right(result) > 0.99
    volume = signed_volume(mesh.vertices, mesh.faces).item()
    assert signed_volume(result.vertices, result.faces).item() == pytest.approx(volume, rel=0.01)
    outward = (face_normals(result.vertices, result.faces) * result.vertices[result.faces].mean(1)).sum(-1)
    assert outward.min() > 0.9  # the normal leaves the radius by less than 26 degrees
    assert faces_expected(mesh.vertices, mesh.faces, torch.full((len(mesh.vertices),), target)) == pytest.approx(
        len(result.faces), rel=0.25
    )


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.08, 0.25])
def test_torus(target: float) -> None:
    mesh = torus()
    result = remesh(mesh.vertices, mesh.faces, target, iterations=8, smoothing=0.5)
    assert_same_topology(mesh, result)
    assert share_right(result) > 0.99
    volume = signed_volume(mesh.vertices, mesh.faces).item()
    assert signed_volume(result.vertices, result.faces).item() == pytest.approx(volume, rel=0.02)


@pytest.mark.parametrize("target", [0.1, 0.5])
def test_flat_patch_keeps_its_outline(target: float) -> None:
    mesh = patch()
    result = remesh(mesh.vertices, mesh.faces, target, iterations=8, smoothing=0.5)
    assert_same_topology(mesh, result)
    assert share_right(result) > 0.95
    assert result.vertices[:, 2].abs().max() < 1e-6
    assert face_areas(result.vertices, result.faces).sum().item() == pytest.approx(4.0, abs=4e-3)
    assert (face_normals(result.vertices, result.faces)[:, 2] > 0.999).all()
    corners = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    assert torch.cdist(corners, result.vertices).amin(1).max() < 2e-3


@pytest.mark.slow
def test_box_keeps_edges_and_corners() -> None:
    mesh = box()
    result = remesh(mesh.vertices, mesh.faces, 0.1, iterations=8, smoothing=0.5)
    assert_same_topology(mesh, result)
    assert share_right(result) > 0.95
    assert signed_volume(result.vertices, result.faces).item() == pytest.approx(1.0, abs=0.005)
    assert torch.cdist(mesh.vertices, result.vertices).amin(1).max() < 0.01
    coarse = remesh(result.vertices, result.faces, 0.3, iterations=5)
    assert signed_volume(coarse.vertices, coarse.faces).item() == pytest.approx(1.0, abs=0.02)


def test_right_lengths_are_left_alone() -> None:
    mesh = sphere(3)
    colors = torch.rand(len(mesh.vertices), 3)
    result = remesh(mesh.vertices, mesh.faces, lengths(mesh.vertices, mesh.faces).mean().item(), colors)
    assert torch.equal(result.vertices, mesh.vertices)
    assert torch.equal(result.faces, mesh.faces)
    assert result.attributes is not None and torch.equal(result.attributes, colors)
    assert torch.equal(result.source, torch.arange(len(mesh.vertices)))


@pytest.mark.slow
def test_targets_vary_over_the_mesh() -> None:
    mesh = patch(20)
    target = 0.05 + 0.1 * (mesh.vertices[:, 0] + 1)
    result = remesh(mesh.vertices, mesh.faces, target, iterations=8, smoothing=0.5)
    assert_same_topology(mesh, result)
    assert share_right(result) > 0.95
    assert (result.target - (0.05 + 0.1 * (result.vertices[:, 0] + 1))).abs().max() < 0.06
    right = result.vertices[result.faces].mean(1)[:, 0] > 0
    assert (~right).sum() > 3 * right.sum()


def test_one_split_by_hand() -> None:
    mesh = quad()
    attributes = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    result = remesh(mesh.vertices, mesh.faces, 1.0, attributes)  # only the diagonal, sqrt(2), is too long
    assert torch.equal(result.vertices[:4], mesh.vertices)
    assert torch.allclose(result.vertices[4], torch.tensor([0.5, 0.5, 0]))
    assert result.attributes is not None and result.attributes[4].item() == 1.0
    assert result.source.tolist() == [0, 1, 2, 3, 0]
    assert len(result.faces) == 4
    assert (face_normals(result.vertices, result.faces)[:, 2] == 1).all()


def test_one_flip_by_hand() -> None:
    """A strip whose diagonals all meet in one vertex: valences 2, 7 and 3 get evener, lengths are all allowed."""
    angle = torch.arange(8) * (2 * math.pi / 8)
    ring = torch.stack([angle.cos(), angle.sin(), torch.zeros(8)], -1)
    hub = torch.tensor([[0.3, 0.0, 0.0]])
    far = 1.6 * torch.stack([(angle + 0.39).cos(), (angle + 0.39).sin(), torch.zeros(8)], -1)
    i = torch.arange(8)
    j = (i + 1) % 8
    faces = torch.cat(
        [
            torch.stack([torch.full_like(i, 8), i, j], -1),
            torch.stack([i, 9 + i, j], -1),
            torch.stack([j, 9 + i, 9 + j], -1),
        ]
    )
    vertices = torch.cat([ring, hub, far])
    mesh = Mesh(vertices, faces)
    valence = torch.bincount(edge_table(faces).ends.flatten())
    assert valence[8] == 8
    result = remesh(vertices, faces, 0.93)
    assert_same_topology(mesh, result)
    assert len(result.faces) == len(faces)
    valence = torch.bincount(edge_table(result.faces).ends.flatten())
    assert valence[8] < 8


def test_no_flip_makes_an_edge_twice() -> None:
    """A pillow of triangles pqc and qpd in front and pcd and qdc behind: cd is there already.

    Vertices are put into the back until p and q have so many edges that a flip of pq would even out valences.
    """
    vertices = [[0.0, -1, 0], [0, 1, 0], [-1, 0, 0], [1, 0, 0]]
    p, q, c, d = range(4)
    faces = [(p, c, d), (q, d, c)]
    for apex in (p, q):
        at = next(i for i, face in enumerate(faces) if apex in face)
        for _ in range(5):
            corners = faces.pop(at)
            corners = corners[corners.index(apex) :] + corners[: corners.index(apex)]
            new = len(vertices)
            vertices.append([sum(vertices[v][axis] for v in corners) / 3 - 0.02 * (axis == 2) for axis in range(3)])
            faces[at:at] = [(apex, corners[1], new), (apex, new, corners[2]), (corners[1], corners[2], new)]
            at += len(vertices) % 2
    mesh = Mesh(torch.tensor(vertices), torch.tensor([(p, d, q), (p, q, c), *faces]))
    assert topology_report(mesh).euler == 2
    valence = torch.bincount(edge_table(mesh.faces).ends.flatten())
    assert valence[p] + valence[q] - valence[c] - valence[d] > 2
    nothing = torch.empty(0)
    result = flip(State(mesh.vertices.double(), mesh.faces, torch.full((14,), 2.0), nothing, nothing))
    assert topology_report(Mesh(mesh.vertices, result.faces)).non_manifold_edges == 0


def test_flips_stay_inside_a_star() -> None:
    """Spokes to the notches of a star cannot be flipped, however many meet in its hub; those to its points can."""
    angle = torch.arange(10) * (math.pi / 5)
    radius = torch.where(torch.arange(10) % 2 == 0, 1.0, 0.5)
    ring = torch.stack([radius * angle.cos(), radius * angle.sin(), torch.zeros(10)], -1)
    i = torch.arange(10)
    faces = torch.stack([torch.full_like(i, 10), i, (i + 1) % 10], -1)
    vertices = torch.cat([ring, torch.zeros(1, 3)]).double()
    nothing = torch.empty(0)
    result = flip(State(vertices, faces, torch.full((11,), 2.0), nothing, nothing))
    assert not torch.equal(result.faces, faces)
    assert (face_normals(vertices, result.faces)[:, 2] > 0.99).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("target", [0.1, 0.5])
def test_nothing_folds_in_the_plane(seed: int, target: float) -> None:
    mesh = patch()
    generator = torch.Generator().manual_seed(seed)
    inside = (mesh.vertices[:, :2].abs() < 0.99).all(1)
    jitter = 0.08 * torch.randn(len(inside), 2, generator=generator)
    vertices = mesh.vertices.clone()
    for _ in range(20):  # halve what would fold the input
        vertices[inside, :2] = mesh.vertices[inside, :2] + jitter[inside]
        folded = face_normals(vertices, mesh.faces)[:, 2] < 0.5
        jitter[mesh.faces[folded].flatten()] *= 0.5
    assert (face_normals(vertices, mesh.faces)[:, 2] > 0.99).all()
    result = remesh(vertices, mesh.faces, target, iterations=3, smoothing=0.5 * (seed % 2))
    assert (face_normals(result.vertices, result.faces)[:, 2] > 0.99).all()
    assert face_areas(result.vertices, result.faces).sum().item() == pytest.approx(4.0, abs=4e-3)


@pytest.mark.slow
def test_what_vertices_carry_is_interpolated() -> None:
    """A linear function of the position stays one on a plane, whatever is split and collapsed."""
    mesh = patch(16)
    values = torch.stack([mesh.vertices[:, 0], 2 * mesh.vertices[:, 1] - 1], -1).double()
    for target in (0.06, 0.4):
        result = remesh(mesh.vertices, mesh.faces, target, values, iterations=3)
        assert result.attributes is not None and result.attributes.dtype == torch.float64
        expected = torch.stack([result.vertices[:, 0], 2 * result.vertices[:, 1] - 1], -1)
        assert (result.attributes - expected).abs().mean() < 0.02
        distance = (mesh.vertices[result.source] - result.vertices).norm(dim=-1)
        assert distance.max() < 1.5 * max(target, 2 / 15)


@pytest.mark.slow
def test_two_runs_are_equal() -> None:
    mesh = torus()
    one, other = (remesh(mesh.vertices, mesh.faces, 0.12, mesh.vertices, 3, 0.4) for _ in range(2))
    for name in ("vertices", "faces", "target", "attributes", "source"):
        assert torch.equal(getattr(one, name), getattr(other, name))


@pytest.mark.slow
@given(
    kind=st.sampled_from(["sphere", "torus", "patch", "box", "two", "tetrahedron", "triangle", "annulus"]),
    noise=st.floats(0, 0.1),
    low=st.floats(0.15, 1.0),
    spread=st.floats(1.0, 4.0),
    smoothing=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_random_manifolds_stay_manifolds(
    kind: str, noise: float, low: float, spread: float, smoothing: float, seed: int
) -> None:
    shapes = {
        "sphere": lambda: sphere(2),
        "torus": lambda: from_trimesh(trimesh.creation.torus(1.0, 0.4, major_sections=12, minor_sections=7)),
        "patch": lambda: patch(7),
        "box": box,
        "two": lambda: joined(sphere(1), patch(4)),
        "tetrahedron": lambda: Mesh(
            torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
            torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]),
        ),
        "triangle": lambda: Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]])),
        "annulus": lambda: from_trimesh(trimesh.creation.annulus(0.5, 1.0, 0.3, sections=9)),
    }
    mesh = shapes[kind]()
    generator = torch.Generator().manual_seed(seed)
    vertices = mesh.vertices + noise * torch.randn(mesh.vertices.shape, generator=generator)
    target = low * spread ** torch.rand(len(vertices), generator=generator)
    result = remesh(vertices, mesh.faces, target, vertices, iterations=2, smoothing=smoothing)
    assert_same_topology(mesh, result)
    assert torch.isfinite(result.vertices).all()
    again = remesh(result.vertices, result.faces, result.target * 2.5, iterations=2)
    assert_same_topology(mesh, again)
