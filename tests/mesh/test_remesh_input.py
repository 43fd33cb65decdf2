"""Remeshing of what is not a clean manifold: a clear error, a stated repair, or left alone; never a hang or a NaN."""

import pytest
import torch
from mesh_shapes import box, joined, quad, sphere

from nerfkit.mesh.mesh import Mesh, face_areas
from nerfkit.mesh.remeshing.remesh import remesh
from nerfkit.mesh.topology import topology_report

FIN = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]])


def test_empty_and_faceless_meshes() -> None:
    for count in (0, 3):
        result = remesh(torch.zeros(count, 3), torch.zeros(0, 3, dtype=torch.int64), 0.1, smoothing=0.5)
        assert result.vertices.shape == result.faces.shape == (0, 3)
        assert result.attributes is None


def test_faces_with_a_vertex_twice_and_unused_vertices_go() -> None:
    mesh = quad()
    vertices = torch.cat([torch.full((2, 3), 9.0), mesh.vertices])
    faces = torch.cat([torch.tensor([[2, 2, 4]]), mesh.faces + 2])
    result = remesh(vertices, faces, 1.2)
    assert torch.equal(result.vertices, mesh.vertices)
    assert torch.equal(result.faces, mesh.faces)
    assert result.source.tolist() == [2, 3, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.1, 5.0])
def test_edges_with_three_faces_stay(target: float) -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.5, 1, 0], [0.5, -1, 0.2], [0.5, 0, 1]])
    result = remesh(vertices, FIN, target, iterations=3, smoothing=0.5)
    report = topology_report(Mesh(result.vertices, result.faces))
    assert report.non_manifold_edges == (8 if target < 1 else 1)  # 1 is halved down to 1/8
    assert report.euler == 1
    assert torch.isfinite(result.vertices).all()
    for end in vertices[:2]:
        assert (result.vertices == end).all(1).any()


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.2, 2.0])
def test_faces_that_disagree_on_the_direction(target: float) -> None:
    mesh = sphere(2)
    turned = Mesh(mesh.vertices, torch.cat([mesh.faces[:1].flip(1), mesh.faces[1:]]))
    result = remesh(turned.vertices, turned.faces, target, iterations=3, smoothing=0.5)
    report = topology_report(Mesh(result.vertices, result.faces))
    assert report.non_manifold_edges == report.boundary_edges == 0
    assert report.euler == 2
    assert report.flipped_edges >= 3


def test_parts_that_touch_in_a_vertex_keep_doing_so() -> None:
    pair = joined(sphere(1), sphere(1).transformed(lambda p: p + torch.tensor([3.0, 0, 0])))
    half = len(pair.vertices) // 2
    left = pair.vertices[:half, 0].argmax()
    right = half + pair.vertices[half:, 0].argmin()
    faces = torch.where(pair.faces == right, left, pair.faces)
    result = remesh(pair.vertices, faces, 1.5, iterations=3)
    report = topology_report(Mesh(result.vertices, result.faces))
    assert len(result.faces) < len(faces)
    assert report.non_manifold_edges == report.boundary_edges == report.flipped_edges == 0
    assert report.euler == 3  # two spheres less the point that they share


def test_tiny_closed_parts_do_not_vanish() -> None:
    mesh = joined(sphere(2), box((0.01, 0.01, 0.01)).transformed(lambda p: p + 3))
    result = remesh(mesh.vertices, mesh.faces, 0.5, iterations=4)
    report = topology_report(Mesh(result.vertices, result.faces))
    assert (report.components, report.euler, report.watertight) == (2, 4, True)


def test_flat_faces_are_mended() -> None:
    """A cap without area between two good faces: its long side is flipped away, or one of its sides collapses."""
    vertices = torch.tensor([[0.0, 0, 0], [2, 0, 0], [1, 0, 0], [1, 1.5, 0], [1, -1.5, 0]])
    faces = torch.tensor([[0, 1, 3], [0, 2, 1], [0, 4, 2], [2, 4, 1]])
    assert face_areas(vertices, faces)[1] == 0
    result = remesh(vertices, faces, 1.5)
    assert face_areas(result.vertices, result.faces).min() > 0.1
    assert face_areas(result.vertices, result.faces).sum().item() == pytest.approx(3.0, abs=1e-5)


def test_all_vertices_in_one_point() -> None:
    mesh = sphere(1)
    result = remesh(mesh.vertices * 0, mesh.faces, 0.1, iterations=2, smoothing=1.0)
    assert torch.isfinite(result.vertices).all()
    assert topology_report(Mesh(result.vertices, result.faces)).euler == 2


def test_huge_and_tiny_units() -> None:
    mesh = sphere(2)
    plain = remesh(mesh.vertices.double(), mesh.faces, 0.25, iterations=3, smoothing=0.5)
    for unit in (2.0**-40, 2.0**40):
        result = remesh(mesh.vertices.double() * unit, mesh.faces, 0.25 * unit, iterations=3, smoothing=0.5)
        assert torch.equal(result.faces, plain.faces)
        assert torch.allclose(result.vertices / unit, plain.vertices, atol=1e-9)
        assert result.vertices.dtype == torch.float64


def test_gradients_stop_here() -> None:
    mesh = sphere(1)
    vertices = mesh.vertices.clone().requires_grad_()
    result = remesh(vertices, mesh.faces, 0.3, vertices * 2)
    assert not result.vertices.requires_grad
    assert result.attributes is not None and not result.attributes.requires_grad


def test_bad_input_is_named() -> None:
    v, f = sphere(1).vertices, sphere(1).faces
    with pytest.raises(ValueError, match=r"vertices are \(42, 2\)"):
        remesh(v[:, :2], f, 0.1)
    with pytest.raises(ValueError, match=r"faces are \(80, 3\) torch.int32"):
        remesh(v, f.int(), 0.1)
    with pytest.raises(ValueError, match=r"faces are \(20, 4\)"):
        remesh(v, torch.zeros(20, 4, dtype=torch.int64), 0.1)
    with pytest.raises(ValueError, match="name vertices 0 to 41, but there are 40"):
        remesh(v[:40], f, 0.1)
    with pytest.raises(ValueError, match="name vertices -1"):
        remesh(v, f - 1, 0.1)
    with pytest.raises(ValueError, match="a vertex is NaN or infinite"):
        remesh(v.index_fill(0, torch.tensor([3]), float("nan")), f, 0.1)
    for target in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="target length is NaN, infinite or not positive"):
            remesh(v, f, target)
    with pytest.raises(ValueError, match=r"target is \(3,\)"):
        remesh(v, f, torch.ones(3))
    with pytest.raises(ValueError, match="attributes are"):
        remesh(v, f, 0.1, torch.zeros(3, 2))
    with pytest.raises(ValueError, match="attributes are"):
        remesh(v, f, 0.1, torch.zeros(42, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="smoothing is 2"):
        remesh(v, f, 0.1, smoothing=2)
    with pytest.raises(ValueError, match=r"ask for about .* faces"):
        remesh(v, f, 1e-4)
    needle = torch.tensor([[0.0, 0, 0], [1e9, 0, 0], [5e8, 0, 0]])
    with pytest.raises(ValueError, match="ask for about"):
        remesh(needle, torch.tensor([[0, 1, 2]]), 0.1)


@pytest.mark.gpu
def test_on_the_gpu_as_on_the_cpu() -> None:
    mesh = sphere(4)
    host = remesh(mesh.vertices, mesh.faces, 0.1, mesh.vertices, 3, 0.5)
    one, other = (remesh(mesh.vertices.cuda(), mesh.faces.cuda(), 0.1, mesh.vertices.cuda(), 3, 0.5) for _ in range(2))
    assert torch.equal(one.vertices, other.vertices) and torch.equal(one.faces, other.faces)
    assert len(one.faces) == pytest.approx(len(host.faces), rel=0.05)
    assert topology_report(Mesh(one.vertices.cpu(), one.faces.cpu())).euler == 2
