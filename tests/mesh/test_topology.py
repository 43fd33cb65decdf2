"""The topology report of surfaces whose handles, boundaries and defects are known."""

import pytest
import torch
from mesh_shapes import box, joined, moebius, pinched, quad, sphere, torus

from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.repair import select_faces
from nerfkit.mesh.topology import components, degenerate_faces, is_watertight, topology_report


@pytest.mark.parametrize(("mesh", "genus", "euler"), [(sphere(1), 0, 2), (torus(), 1, 0), (box(), 0, 2)])
def test_genus_of_closed_surfaces(mesh: Mesh, genus: int, euler: int) -> None:
    report = topology_report(mesh)
    assert report.watertight and report.manifold and report.oriented
    assert (report.genus, report.genera, report.euler) == (genus, (genus,), euler)
    assert (report.boundary_loops, report.unused_vertices, report.degenerate_faces, report.duplicate_faces) == (0,) * 4


def test_parts_have_their_own_genus_and_boundaries_are_counted() -> None:
    holed = select_faces(torus(), torch.arange(192) % 96 != 0)  # two triangles less
    report = topology_report(joined(holed, sphere(1), quad()))
    assert report.components == 3
    assert report.genera == (1, 0, 0)
    assert report.genus == 1
    assert report.boundary_loops == 3
    assert report.boundary_edges == 3 + 3 + 4
    assert not report.watertight and report.manifold


def test_a_pinched_vertex_is_not_manifold_but_may_be_watertight() -> None:
    report = topology_report(pinched())
    assert (report.non_manifold_vertices, report.non_manifold_edges) == (1, 0)
    assert report.watertight and not report.manifold
    assert report.genera == (None,)
    assert report.genus is None


def test_a_moebius_strip_has_one_boundary_and_cannot_agree() -> None:
    report = topology_report(moebius())
    assert (report.boundary_loops, report.flipped_edges, report.euler) == (1, 1, 0)
    assert report.genus is None and not report.oriented


def test_defects_are_counted() -> None:
    mesh = box()
    faces = torch.cat([mesh.faces, mesh.faces[:1].roll(1, 1), mesh.faces[1:2].flip(1), torch.tensor([[1, 1, 2]])])
    report = topology_report(Mesh(torch.cat([mesh.vertices, torch.zeros(3, 3)]), faces))
    assert (report.duplicate_faces, report.degenerate_faces, report.unused_vertices) == (2, 1, 3)
    assert (report.vertices, report.faces) == (8, 15)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_degenerate_is_a_matter_of_shape_not_of_size(scale: float) -> None:
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.5, 1e-4, 0], [0.3, 0, 0]]) * scale
    faces = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 0, 1], [2, 2, 2]])
    assert degenerate_faces(Mesh(points, faces)).tolist() == [False, True, True, True]


def test_nothing_has_no_parts() -> None:
    report = topology_report(Mesh(torch.rand(2, 3), torch.zeros(0, 3, dtype=torch.int64)))
    assert (report.components, report.genera, report.genus, report.euler, report.unused_vertices) == (0, (), 0, 0, 2)
    assert not report.watertight
    assert not is_watertight(Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)))


def test_random_soups_against_loops_over_sets() -> None:
    generator = torch.Generator().manual_seed(4)
    for _ in range(30):
        faces = torch.randint(0, 7, (8, 3), generator=generator)
        mesh = Mesh(torch.rand(7, 3, generator=generator), faces)
        sides: dict[frozenset[int], list[tuple[int, int]]] = {}
        for a, b, c in faces.tolist():
            for u, v in ((a, b), (b, c), (c, a)):
                sides.setdefault(frozenset((u, v)), []).append((u, v))
        report = topology_report(mesh)
        assert report.edges == len(sides)
        assert report.boundary_edges == sum(len(uses) == 1 for uses in sides.values())
        assert report.non_manifold_edges == sum(len(uses) > 2 for uses in sides.values())
        seen: list[set[int]] = []
        for face in faces.tolist():
            touching = [group for group in seen if group & set(face)]
            seen = [group for group in seen if not group & set(face)] + [set(face).union(*touching)]
        assert report.components == len(seen)
        assert int(components(mesh).max()) + 1 == len(seen)
