"""STL files: what is written is what others read, what others write is read, and what is said of a surface's holes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from mesh_shapes import quad, sphere

from nerfkit.errors import SceneError
from nerfkit.mesh.files.io import described, load_mesh, save_mesh
from nerfkit.mesh.files.stl import FACET
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.topology import topology_report

UTM = torch.tensor([500000.37, 4649776.11, 100.9], dtype=torch.float64)


def written(mesh: Mesh, folder: Path) -> Path:
    return save_mesh(mesh, folder / "m", ["stl"])[0]


def test_another_reader_finds_the_same_triangles_and_normals(tmp_path: Path) -> None:
    ball = sphere(2, 0.3)
    path = written(ball, tmp_path)
    assert path.stat().st_size == 84 + 50 * len(ball.faces)
    other = trimesh.load(path, process=False)
    assert np.array_equal(other.triangles, ball.vertices[ball.faces].numpy())
    normals = np.frombuffer(path.read_bytes(), FACET, offset=84)["normal"]
    np.testing.assert_allclose(normals, other.face_normals, atol=1e-5)
    assert (normals * other.triangles_center).sum(1).min() > 0.2  # outward


@pytest.mark.parametrize("file_type", ["stl", "stl_ascii"])
def test_another_writer_s_file_comes_back_welded(tmp_path: Path, file_type: str) -> None:
    ball = trimesh.creation.icosphere(subdivisions=2, radius=2.0)
    ball.export(tmp_path / "m.stl", file_type=file_type)
    mesh = load_mesh(tmp_path / "m.stl")
    assert len(mesh.vertices) == len(ball.vertices) and topology_report(mesh).watertight
    np.testing.assert_allclose(mesh.vertices[mesh.faces].numpy(), ball.triangles, atol=1e-6)
    assert "notes" not in mesh.provenance


def test_appearance_is_left_out_and_texture_seams_do_not_open_the_surface(tmp_path: Path) -> None:
    ball = sphere(1)
    uvs = torch.rand(len(ball.faces), 3, 2, generator=torch.Generator().manual_seed(0))
    loaded = load_mesh(written(replace(ball, corner_uvs=uvs, texture=torch.rand(4, 4, 3)), tmp_path))
    assert loaded.texture is None and loaded.corner_uvs is None and loaded.colors is None
    assert topology_report(loaded).watertight


def test_far_coordinates_are_near_zero_for_others_and_whole_for_this_program(tmp_path: Path) -> None:
    mesh = sphere(2, 0.4).transformed(lambda points: points + UTM)
    path = written(mesh, tmp_path)
    assert np.abs(trimesh.load(path, process=False).triangles).max() < 1
    loaded = load_mesh(path)
    assert (loaded.positions[loaded.faces] - mesh.positions[mesh.faces]).abs().max() < 1e-7


def test_what_is_passed_over_is_said(tmp_path: Path) -> None:
    path = written(sphere(1), tmp_path)
    content = bytearray(path.read_bytes())
    content[84 + 48] = 7  # the attribute of the first face
    first = content[84 : 84 + 50]
    first[24:36] = first[12:24]  # its second corner becomes its first
    content += first + b"end"
    content[80:84] = (81).to_bytes(4, "little")
    content[:5] = b"solid"  # as some binary files begin
    path.write_bytes(content)
    mesh = load_mesh(path)
    assert len(mesh.faces) == 80
    said = " ".join(mesh.provenance["notes"])
    assert all(part in said for part in ("attributes", "3 bytes", "1 faces with two corners at one place"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "only part of one"),
        (b"x" * 80 + b"\x02\0\0\0" + b"\0" * 60, "2 triangles are missing|only part of one"),
        (b"x" * 80 + b"\0\0\0\0", "no triangles"),
        (b"solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\n", "three vertices each"),
        (b"solid a\nfacet\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 nan\nendloop\nendfacet\nendsolid", "NaN"),
        (b"solid a\nfacet\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 x\nendloop\nendfacet\nendsolid", "read"),
        (b"solid a\nendsolid a\n", "no triangles"),
    ],
)
def test_what_is_no_stl_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.stl").write_bytes(content)
    with pytest.raises(SceneError, match=message) as caught:
        load_mesh(tmp_path / "a.stl")
    assert str(caught.value).startswith(str(tmp_path / "a.stl"))


def test_a_mesh_without_faces_writes_no_file_of_any_format(tmp_path: Path) -> None:
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    with pytest.raises(SceneError, match="no faces"):
        save_mesh(empty, tmp_path / "m", ["ply", "stl"])
    assert list(tmp_path.iterdir()) == []


def test_whether_it_can_be_printed_is_said(tmp_path: Path) -> None:
    ball = sphere(1)
    whole = described(written(ball, tmp_path))
    assert whole == f"{tmp_path / 'm.stl'}, watertight; 2 x 2 x 2, taken for mm by printing programs"
    faces = ball.faces.clone()
    faces[7] = faces[7].flip(0)
    twice = torch.cat([ball.faces, ball.faces[:1]])
    broken = {"3 with faces of opposite sides": faces, "3 open": ball.faces[1:], "3 with more than two faces": twice}
    for said, others in broken.items():
        assert f"not watertight, edges: {said};" in described(written(Mesh(ball.vertices, others), tmp_path))
    (plain,) = save_mesh(quad(), tmp_path / "q", ["ply"])
    assert described(plain) == str(plain)
