"""The Mesh value and its elementary geometry."""

import math

import pytest
import torch
from mesh_shapes import box, edge_table, joined, quad, sphere

from nerfkit.errors import SceneError
from nerfkit.mesh.mesh import Mesh, face_areas, face_normals, signed_volume, vertex_normals


def test_box_has_its_area_volume_and_edges() -> None:
    mesh = box((1.0, 2.0, 3.0))
    assert face_areas(mesh.vertices, mesh.faces).sum().item() == pytest.approx(22)
    assert signed_volume(mesh.vertices, mesh.faces).item() == pytest.approx(6)
    assert signed_volume(mesh.vertices, mesh.faces.flip(1)).item() == pytest.approx(-6)
    assert mesh.diagonal() == pytest.approx(math.sqrt(14))
    assert len(edge_table(mesh.faces).ends) == 18


def test_normals_of_a_sphere_point_outward() -> None:
    mesh = sphere(3)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    assert (normals * mesh.vertices).sum(-1).min() > 0.999
    centers = mesh.vertices[mesh.faces].mean(1)
    assert (face_normals(mesh.vertices, mesh.faces) * centers).sum(-1).min() > 0.99


def test_face_and_vertex_without_area_have_zero_normals() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [5, 5, 5]])
    faces = torch.tensor([[0, 1, 2]])
    assert face_normals(vertices, faces).abs().max() == 0
    assert vertex_normals(vertices, faces).abs().max() == 0


def test_a_mesh_may_be_empty() -> None:
    mesh = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    assert mesh.diagonal() == 0
    assert edge_table(mesh.faces).ends.shape == (0, 2)


def test_transformed_moves_vertices_only() -> None:
    mesh = quad(torch.zeros(2, 2, 3)).transformed(lambda p: p * 2 + 1)
    assert mesh.vertices.max() == 3
    assert mesh.corner_uvs is not None
    assert mesh.corner_uvs.max() == 1


def test_joined_shapes_keep_their_faces() -> None:
    assert joined(box(), sphere(1)).faces.max() == 8 + 42 - 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": torch.full((4, 3), math.nan)}, "12 numbers that are NaN"),
        ({"faces": torch.tensor([[0, 1, 4]])}, "faces name vertices 0 to 4, but there are 4"),
        ({"faces": torch.tensor([[-1, 1, 2]])}, "faces name vertices -1"),
        ({"faces": torch.tensor([[0, 1, 2]], dtype=torch.int32)}, "faces is .* int32, expected .* int64"),
        ({"vertices": torch.zeros(4, 2)}, "vertices is"),
        ({"corner_uvs": torch.zeros(3, 3, 2)}, "corner_uvs is"),
        ({"colors": torch.zeros(3, 3)}, "colors is"),
        ({"texture": torch.zeros(4, 4, 3)}, "unwrap it first"),
    ],
)
def test_a_broken_mesh_is_refused(change: dict, message: str) -> None:
    whole = {"vertices": quad().vertices, "faces": quad().faces}
    with pytest.raises(SceneError, match=message):
        Mesh(**(whole | change))
