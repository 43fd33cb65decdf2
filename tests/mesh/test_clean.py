"""Connected parts, decimation, smoothing and the topology report."""

import pytest
import torch
from mesh_shapes import box, joined, quad, sphere

from nerfkit.mesh.clean import close_surface, decimate, remove_degenerate, remove_floaters, smooth
from nerfkit.mesh.mesh import Mesh, face_areas, signed_volume
from nerfkit.mesh.repair import select_faces
from nerfkit.mesh.topology import components, is_watertight, topology_report


def test_components_are_numbered_from_zero() -> None:
    mesh = joined(box(), sphere(0), box())
    mesh = Mesh(torch.cat([torch.zeros(3, 3), mesh.vertices]), mesh.faces + 3)  # three unused vertices in front
    assert components(mesh).tolist() == [0] * 12 + [1] * 20 + [2] * 12


def test_small_parts_are_floaters() -> None:
    big, crumb = sphere(2), box((0.05, 0.05, 0.05))
    kept = remove_floaters(joined(crumb, big, crumb), min_fraction=0.02)
    assert torch.equal(kept.vertices, big.vertices)
    assert torch.equal(kept.faces, big.faces)
    assert len(remove_floaters(joined(crumb, big), min_fraction=1e-4).faces) == 12 + len(big.faces)


def test_select_faces_carries_appearance_along() -> None:
    mesh = quad(torch.rand(4, 4, 3))
    mesh = Mesh(mesh.vertices, mesh.faces, mesh.corner_uvs, mesh.vertices * 0.5, mesh.texture)
    kept = select_faces(mesh, torch.tensor([False, True]))
    assert kept.corner_uvs is not None
    assert mesh.corner_uvs is not None
    assert kept.colors is not None
    assert torch.equal(kept.vertices[kept.faces], mesh.vertices[mesh.faces[1:]])
    assert torch.equal(kept.corner_uvs, mesh.corner_uvs[1:])
    assert torch.equal(kept.colors, kept.vertices * 0.5)


def test_degenerate_and_doubled_faces_go() -> None:
    mesh = box()
    extra = torch.cat([mesh.faces[3:4].roll(1, 1), mesh.faces, mesh.faces[:1].flip(1), torch.tensor([[1, 1, 2]])])
    cleaned = remove_degenerate(Mesh(mesh.vertices, extra))
    assert len(cleaned.faces) == 12
    assert is_watertight(cleaned)


def test_decimation_keeps_shape_and_watertightness() -> None:
    mesh = sphere(5)
    small = decimate(mesh, 1000)
    assert 950 <= len(small.faces) <= 1000
    assert is_watertight(small)
    true = signed_volume(mesh.vertices, mesh.faces).item()
    assert signed_volume(small.vertices, small.faces).item() == pytest.approx(true, rel=0.01)
    assert (small.vertices.norm(dim=-1) - 1).abs().max() < 0.02
    learned = Mesh(mesh.vertices.clone().requires_grad_(), mesh.faces)  # a mesh in the middle of a fit
    assert torch.equal(decimate(learned, 1000).faces, small.faces)


def test_decimation_leaves_small_meshes_alone() -> None:
    mesh = sphere(1)
    same = decimate(mesh, 1000)
    assert torch.equal(same.vertices, mesh.vertices)
    assert torch.equal(same.faces, mesh.faces)


@pytest.mark.slow
def test_defects_are_mended() -> None:
    ball = sphere(2)
    holes = select_faces(ball, torch.arange(len(ball.faces)) % 37 != 5)
    pinched = joined(box(), box().transformed(lambda p: p + 1.0))
    pinched = Mesh(pinched.vertices, torch.where(pinched.faces == 8, 7, pinched.faces))  # two boxes share a corner
    twins = joined(box(), box().transformed(lambda p: p + torch.tensor([1.0, 0.0, 0.0])))
    same = torch.cdist(twins.vertices, twins.vertices).argmin(0)  # the vertices of the common face, each once
    glued = Mesh(twins.vertices, same[twins.faces])
    for broken in (holes, pinched, glued):
        repaired = close_surface(broken)
        assert is_watertight(repaired)
        assert signed_volume(repaired.vertices, repaired.faces) > 0
    assert topology_report(close_surface(pinched)).components == 2
    volume = signed_volume(ball.vertices, ball.faces).item()
    repaired = close_surface(holes)
    assert signed_volume(repaired.vertices, repaired.faces).item() == pytest.approx(volume, rel=0.01)


def test_closing_leaves_a_whole_mesh_alone() -> None:
    repaired = close_surface(sphere(1))
    assert len(repaired.vertices) == 42
    assert len(repaired.faces) == 80
    assert torch.equal(repaired.vertices[repaired.faces], sphere(1).vertices[sphere(1).faces])


def test_closing_keeps_places_where_a_vertex_is_unused() -> None:
    mesh = sphere(1)
    holed = Mesh(torch.cat([torch.full((1, 3), 9.0), mesh.vertices]), mesh.faces[1:] + 1)
    closed = close_surface(holed)
    assert len(closed.vertices) == 42
    assert signed_volume(closed.vertices, closed.faces).item() == pytest.approx(
        signed_volume(mesh.vertices, mesh.faces).item(), rel=1e-6
    )


def test_a_flipped_face_is_replaced() -> None:
    mesh = sphere(1)
    flipped = Mesh(mesh.vertices, torch.cat([mesh.faces[:1].flip(1), mesh.faces[1:]]))
    repaired = close_surface(flipped)
    assert is_watertight(repaired)
    assert signed_volume(repaired.vertices, repaired.faces) > 0.9 * signed_volume(mesh.vertices, mesh.faces)


def test_smoothing_damps_noise_and_keeps_the_volume() -> None:
    mesh = sphere(4)
    noise = 0.01 * torch.randn(mesh.vertices.shape, generator=torch.Generator().manual_seed(3))
    noisy = Mesh(mesh.vertices + noise, mesh.faces)
    smoothed = smooth(noisy)
    error = (smoothed.vertices.norm(dim=-1) - 1).abs().mean()
    assert error < 0.4 * (noisy.vertices.norm(dim=-1) - 1).abs().mean()
    before, after = (signed_volume(m.vertices, m.faces).item() for m in (noisy, smoothed))
    assert after == pytest.approx(before, rel=0.01)
    assert face_areas(smoothed.vertices, smoothed.faces).sum() < face_areas(noisy.vertices, noisy.faces).sum()


def test_topology_report_of_known_defects() -> None:
    assert topology_report(quad()).boundary_edges == 4
    assert not is_watertight(quad())

    turned = box()
    turned = Mesh(turned.vertices, torch.cat([turned.faces[:1].flip(1), turned.faces[1:]]))
    assert topology_report(turned).flipped_edges == 3

    fin = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    report = topology_report(Mesh(torch.rand(5, 3), fin))
    assert (report.non_manifold_edges, report.boundary_edges) == (1, 6)

    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    assert topology_report(empty).components == 0
    assert not is_watertight(empty)
