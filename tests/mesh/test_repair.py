"""Repair: each defect by itself, and random soups."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from mesh_shapes import box, joined, moebius, pinched, quad, sphere, torus

from nerfkit.mesh.holes import boundary_loops, fill_holes
from nerfkit.mesh.mesh import Mesh, face_areas, signed_volume
from nerfkit.mesh.repair import drop_unused, merge_vertices, repair, split_non_manifold
from nerfkit.mesh.topology import topology_report


def soup(mesh: Mesh) -> Mesh:
    """Every face with three vertices of its own."""
    return Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), torch.arange(3 * len(mesh.faces)).view(-1, 3))


def test_a_whole_mesh_is_left_alone() -> None:
    for mesh in (sphere(1), torus(), quad(torch.rand(2, 2, 3)), joined(box(), box().transformed(lambda p: p + 1.0))):
        same, lines = repair(mesh)
        assert lines == []
        assert torch.equal(same.vertices, mesh.vertices)
        assert torch.equal(same.faces, mesh.faces)


def test_a_soup_is_sewn_together() -> None:
    repaired, lines = repair(soup(sphere(1)))
    assert lines == ["merged 198 vertices into others at their place"]
    assert topology_report(repaired) == topology_report(sphere(1))
    assert torch.equal(repaired.vertices[repaired.faces], sphere(1).vertices[sphere(1).faces])


def test_merging_keeps_the_first_and_knows_minus_zero() -> None:
    mesh = Mesh(
        torch.tensor([[1.0, 0, 0], [0, 0, 0], [-0.0, 0, 0], [1, 0, 0], [0, 1, 0]]),
        torch.tensor([[0, 1, 4], [3, 2, 4]]),
        colors=torch.tensor([[0.1] * 3, [0.2] * 3, [0.3] * 3, [0.4] * 3, [0.5] * 3]),
    )
    merged = merge_vertices(mesh)
    assert merged.faces.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert merged.colors is not None
    assert torch.equal(merged.colors[:, 0], torch.tensor([0.1, 0.2, 0.5]))


def test_superfluous_faces_go_with_their_uvs() -> None:
    mesh = quad(torch.rand(2, 2, 3))
    assert mesh.corner_uvs is not None
    faces = torch.cat([torch.tensor([[1, 1, 2]]), mesh.faces, mesh.faces[:1].roll(1, 1)])
    uvs = torch.cat([torch.rand(1, 3, 2), mesh.corner_uvs, torch.rand(1, 3, 2)])
    repaired, lines = repair(Mesh(mesh.vertices, faces, uvs, None, mesh.texture))
    assert lines == ["dropped 1 face naming a vertex twice", "dropped 1 face repeating another"]
    assert torch.equal(repaired.faces, mesh.faces)
    assert repaired.corner_uvs is not None
    assert torch.equal(repaired.corner_uvs, mesh.corner_uvs)


def test_a_sliver_goes_at_the_border_and_stays_within() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.5, 0, 0], [0.5, 1, 0], [0.5, -1, 0]])
    sliver = torch.tensor([[0, 1, 2]])
    alone, lines = repair(Mesh(vertices, torch.cat([sliver, torch.tensor([[1, 0, 4]])])))
    assert lines[0] == "dropped 1 face without area"
    assert len(alone.faces) == 1
    within = torch.cat([sliver, torch.tensor([[1, 0, 4], [0, 2, 3], [2, 1, 3]])])
    kept, lines = repair(Mesh(vertices, within))
    assert lines == ["left 1 face without area: the surface would open there"]
    assert topology_report(kept).boundary_loops == 1


def test_a_pinched_vertex_is_split() -> None:
    repaired, lines = repair(pinched())
    assert lines == ["split non-manifold edges and vertices: 1 copy"]
    report = topology_report(repaired)
    assert report.components == 2 and report.manifold and report.watertight
    assert torch.equal(repaired.vertices[repaired.faces], pinched().vertices[pinched().faces])


def test_boxes_glued_along_an_edge_come_apart() -> None:
    two = joined(box(), box().transformed(lambda p: p + torch.tensor([1.0, 1.0, 0.0])))
    glued = merge_vertices(two)
    assert topology_report(glued).non_manifold_edges == 1
    report = topology_report(split_non_manifold(glued))
    assert report.components == 2 and report.manifold and report.watertight


def test_faces_are_turned_to_the_majority_or_outward() -> None:
    mesh = sphere(1)
    inward = torch.where((torch.arange(80) % 5 > 0)[:, None], mesh.faces.flip(1), mesh.faces)
    repaired, lines = repair(Mesh(mesh.vertices, inward))
    assert lines == ["turned 64 faces to agree with the neighbors"]
    assert signed_volume(repaired.vertices, repaired.faces) > 0
    assert topology_report(repaired).oriented

    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0]])
    fan = Mesh(vertices, torch.tensor([[0, 1, 2], [0, 3, 2], [1, 4, 2]]))
    assert repair(fan)[0].faces.tolist() == [[0, 1, 2], [0, 2, 3], [1, 4, 2]]


def test_a_closed_mesh_that_looks_inward_is_turned_inside_out_but_cavities_stay() -> None:
    hollow = joined(sphere(1), sphere(1, 0.5))
    hollow = Mesh(hollow.vertices, torch.cat([hollow.faces[:80], hollow.faces[80:].flip(1)]))
    assert repair(hollow)[1] == []
    repaired, lines = repair(Mesh(hollow.vertices, hollow.faces.flip(1)))
    assert lines == ["turned the closed surface inside out: its faces looked inward"]
    assert signed_volume(repaired.vertices, repaired.faces) > 0


def test_turning_takes_the_uvs_along() -> None:
    mesh = quad(torch.rand(2, 2, 3))
    assert mesh.corner_uvs is not None
    turned = Mesh(
        mesh.vertices,
        torch.stack([mesh.faces[0], mesh.faces[1, [0, 2, 1]]]),
        torch.stack([mesh.corner_uvs[0], mesh.corner_uvs[1, [0, 2, 1]]]),
    )
    repaired, _ = repair(turned)
    assert repaired.corner_uvs is not None
    assert torch.equal(repaired.vertices[repaired.faces][..., :2], repaired.corner_uvs)


def test_one_side_only_is_said() -> None:
    repaired, lines = repair(moebius())
    assert lines == ["left 1 part unoriented: a surface with one side has no outside"]
    assert torch.equal(repaired.faces, moebius().faces)


def test_unused_vertices_go() -> None:
    mesh = Mesh(torch.cat([torch.ones(2, 3), quad().vertices]), quad().faces + 2)
    assert torch.equal(drop_unused(mesh).faces, quad().faces)
    repaired, lines = repair(mesh)
    assert lines == ["dropped 2 vertices that no face uses"]
    assert torch.equal(repaired.vertices, quad().vertices)


@pytest.mark.slow
@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 10), st.integers(0, 24))
def test_random_soups_become_manifolds(seed: int, vertex_count: int, face_count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.randint(0, 3, (vertex_count, 3), generator=generator).float()
    faces = torch.randint(0, vertex_count, (face_count, 3), generator=generator)
    repaired, lines = repair(Mesh(vertices, faces))
    report = topology_report(repaired)
    assert report.manifold
    assert (report.duplicate_faces, report.unused_vertices) == (0, 0)
    one_sided = any("unoriented" in line for line in lines)
    assert report.oriented != one_sided
    assert len(repaired.faces) <= face_count
    again, more = repair(repaired)  # slivers that came to the border when others went may go now
    assert torch.equal(again.faces, repaired.faces) or "without area" in more[0]
    if report.oriented and report.faces:
        filled = topology_report(fill_holes(repaired))
        assert filled.watertight and filled.manifold
        assert filled.genus is not None and filled.genus >= 0


def test_boundary_loops_of_a_quad_and_of_a_cut_torus() -> None:
    (loop,) = boundary_loops(quad())
    assert loop.tolist() == [0, 1, 2, 3]
    cut = Mesh(torus().vertices, torus().faces[torch.arange(192) % 96 != 0])
    assert sorted(len(loop) for loop in boundary_loops(cut)) == [3, 3]
    assert boundary_loops(sphere(0)) == []


def test_a_flat_hole_is_filled_flat_without_new_vertices() -> None:
    """The outline of an L, which a fan about its centroid would leave."""
    outline = torch.tensor([[0.0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]])
    top = torch.cat([outline, torch.zeros(6, 1)], 1)
    bottom = top - torch.tensor([0.0, 0, 1])
    ring = torch.arange(6)
    following = ring.roll(-1)
    walls = torch.cat(
        [torch.stack([ring, ring + 6, following], 1), torch.stack([following, ring + 6, following + 6], 1)]
    )
    tube = Mesh(torch.cat([top, bottom]), walls)
    filled = fill_holes(tube)
    assert len(filled.vertices) == 12
    assert topology_report(filled).watertight
    assert signed_volume(filled.vertices, filled.faces).abs().item() == 3
    caps = filled.faces[len(walls) :]
    assert face_areas(filled.vertices, caps).sum().item() == 6
    assert face_areas(filled.vertices, caps).min() > 0.1


def test_long_loops_take_a_fan_and_the_limit_holds() -> None:
    ball = sphere(4)
    center = ball.vertices[ball.faces].mean(1)
    open_ball = Mesh(ball.vertices, ball.faces[(center[:, 2] < 0) & (torch.arange(len(ball.faces)) != 7)])
    lengths = sorted(len(loop) for loop in boundary_loops(open_ball))
    assert lengths[-1] > 64
    small = fill_holes(open_ball, max_sides=10)
    assert topology_report(small).boundary_loops == sum(length > 10 for length in lengths)
    whole = fill_holes(open_ball)
    assert topology_report(whole).watertight and signed_volume(whole.vertices, whole.faces) > 0
    assert len(whole.vertices) == len(ball.vertices) + 1


def test_a_side_from_a_vertex_to_itself_is_no_hole() -> None:
    folded = Mesh(torch.eye(3), torch.tensor([[0, 0, 1]]))
    assert fill_holes(folded).faces.tolist() == [[0, 0, 1]]


def test_filling_carries_appearance() -> None:
    ball = sphere(1)
    faces = ball.faces[1:]
    mesh = Mesh(
        ball.vertices, faces, ball.vertices[faces][..., :2].contiguous(), ball.vertices.abs(), torch.rand(2, 2, 3)
    )
    filled = fill_holes(mesh)
    assert len(filled.faces) == 80
    assert filled.corner_uvs is not None and filled.colors is not None
    assert torch.equal(filled.corner_uvs, filled.vertices[filled.faces][..., :2])
    assert torch.equal(filled.colors, filled.vertices.abs())


def test_a_lone_triangle_does_not_get_its_own_back() -> None:
    filled = fill_holes(Mesh(torch.eye(3), torch.tensor([[0, 1, 2]])))
    report = topology_report(filled)
    assert report.watertight and report.duplicate_faces == 0
