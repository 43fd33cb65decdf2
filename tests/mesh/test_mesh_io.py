"""Meshes survive their files: geometry, colors, texture and its orientation."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from mesh_shapes import quad, sphere

from nerfkit.errors import SceneError
from nerfkit.mesh.files.gltf import linear_to_srgb, split_corners, srgb_to_linear
from nerfkit.mesh.files.io import FORMATS, load_mesh, save_mesh, texture_colors
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.topology import topology_report

DATA = Path(os.environ.get("NERFKIT_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def textured() -> Mesh:
    generator = torch.Generator().manual_seed(1)
    mesh = sphere(1)
    uvs = torch.rand(len(mesh.faces), 3, 2, generator=generator)
    texture = torch.randint(256, (6, 10, 3), generator=generator) / 255
    return Mesh(mesh.vertices, mesh.faces, uvs, None, texture)


def corners(mesh: Mesh) -> torch.Tensor:
    return mesh.vertices[mesh.faces]


@pytest.mark.parametrize("format", FORMATS)
def test_bare_geometry(tmp_path: Path, format: str) -> None:
    mesh = sphere(1)
    assert save_mesh(mesh, tmp_path / "deep" / "ball", [format]) == [tmp_path / "deep" / f"ball.{format}"]
    loaded = load_mesh(tmp_path / "deep" / f"ball.{format}")
    assert torch.equal(corners(loaded), corners(mesh))
    assert format == "stl" or torch.equal(loaded.faces, mesh.faces)  # it has no numbers of vertices
    assert loaded.colors is None
    assert loaded.corner_uvs is None


@pytest.mark.parametrize("format", ["glb", "obj", "ply"])
def test_vertex_colors(tmp_path: Path, format: str) -> None:
    mesh = sphere(1)
    colors = torch.rand(len(mesh.vertices), 3, generator=torch.Generator().manual_seed(2)) * 0.7 + 0.3
    save_mesh(Mesh(mesh.vertices, mesh.faces, colors=colors), tmp_path / "m", [format])
    loaded = load_mesh(tmp_path / f"m.{format}")
    assert loaded.colors is not None
    tolerance = {"glb": 1e-6, "obj": 1e-5, "ply": 0.501 / 255}[format]
    assert (loaded.colors[loaded.faces] - colors[mesh.faces]).abs().max() < tolerance


@pytest.mark.parametrize("format", ["glb", "obj"])
def test_texture_and_uvs(tmp_path: Path, format: str) -> None:
    mesh = textured()
    save_mesh(mesh, tmp_path / "m", [format])
    loaded = load_mesh(tmp_path / f"m.{format}")
    assert loaded.corner_uvs is not None
    assert loaded.texture is not None
    assert mesh.texture is not None
    assert torch.equal(corners(loaded), corners(mesh))
    assert len(loaded.vertices) == len(mesh.vertices), "seams must not split the surface"
    assert torch.allclose(loaded.corner_uvs, mesh.corner_uvs, atol=1e-7)
    assert torch.allclose(loaded.texture, mesh.texture, atol=1e-6)


def test_files_refer_to_each_other_by_name_and_nothing_else_is_left(tmp_path: Path) -> None:
    written = save_mesh(textured(), tmp_path / "asset")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["asset.glb", "asset.mtl", "asset.obj", "asset.ply", "asset.png"]
    assert sorted(path.name for path in written) == names
    assert "mtllib asset.mtl" in (tmp_path / "asset.obj").read_text()
    assert "map_Kd asset.png" in (tmp_path / "asset.mtl").read_text()


def test_object_and_material_of_an_obj_have_the_file_s_name(tmp_path: Path) -> None:
    save_mesh(textured(), tmp_path / "my cl\u00f6ck", ["obj"])
    lines = (tmp_path / "my cl\u00f6ck.obj").read_text("utf-8").splitlines()
    assert "o my cl\u00f6ck" in lines
    assert "usemtl my_cl\u00f6ck" in lines  # in many readers a material's name ends at a space
    assert "newmtl my_cl\u00f6ck\n" in (tmp_path / "my cl\u00f6ck.mtl").read_text("utf-8")
    assert load_mesh(tmp_path / "my cl\u00f6ck.obj").texture is not None


def test_row_0_of_the_texture_is_at_the_top(tmp_path: Path) -> None:
    """An independent reader finds the upper left texel's color at u = 0, v = 1, in both formats."""
    texture = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 1]]])
    save_mesh(quad(texture), tmp_path / "m", ["glb", "obj"])
    for name in ("m.glb", "m.obj"):
        loaded = trimesh.load(tmp_path / name, process=False, force="mesh")
        colors = loaded.visual.to_color().vertex_colors[:, :3]
        by_position = {
            tuple(np.round(v[:2]).astype(int)): tuple(c) for v, c in zip(loaded.vertices, colors, strict=True)
        }
        assert by_position[(0, 1)] == (255, 0, 0), name
        assert by_position[(1, 1)] == (0, 255, 0), name
        assert by_position[(0, 0)] == (0, 0, 255), name


def test_texture_colors_reads_the_texel_under_each_vertex() -> None:
    texture = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 1]]])
    assert texture_colors(quad(texture)).tolist() == [[0, 0, 1], [1, 1, 1], [0, 1, 0], [1, 0, 0]]


def test_ply_of_a_textured_mesh_carries_colors(tmp_path: Path) -> None:
    texture = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 1]]])
    save_mesh(quad(texture), tmp_path / "m", ["ply"])
    loaded = load_mesh(tmp_path / "m.ply")
    assert loaded.colors is not None
    assert loaded.colors.tolist() == [[0, 0, 1], [1, 1, 1], [0, 1, 0], [1, 0, 0]]


def test_glb_normals_are_unit_and_outward(tmp_path: Path) -> None:
    save_mesh(sphere(2), tmp_path / "m", ["glb"])
    loaded = trimesh.load(tmp_path / "m.glb", process=False, force="mesh")
    assert np.abs(loaded.vertex_normals - loaded.vertices).max() < 0.05


def test_split_corners_joins_equal_pairs() -> None:
    origin, uv, faces = split_corners(quad())
    assert len(origin) == 4
    assert np.array_equal(quad().vertices.numpy()[origin][faces], quad().vertices[quad().faces].numpy())
    assert np.array_equal(uv[faces], quad().vertices[quad().faces][..., :2].numpy())


def test_srgb_curve() -> None:
    color = np.linspace(0, 1, 101, dtype=np.float32)
    assert np.abs(linear_to_srgb(srgb_to_linear(color)) - color).max() < 1e-6
    assert srgb_to_linear(np.float32([0.5]))[0] == pytest.approx(0.21404, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.obj", None, "no such mesh file"),
        ("a.fbx", b"", "are read from"),
        ("a.glb", b"glTF\x02", "cannot be read"),
        ("a.obj", b"v 0 0 0\n", "no triangles|cannot be read"),
        ("a.obj", b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "NaN"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "a.obj: "),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SceneError, match=message):
        load_mesh(tmp_path / name)


def test_unknown_format_is_refused_and_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown mesh format"):
        save_mesh(sphere(0), tmp_path / "m", ["fbx"])
    (tmp_path / "m.ply").mkdir()  # a folder stands where the file should go
    with pytest.raises(OSError, match=r"m\.ply"):
        save_mesh(sphere(0), tmp_path / "m", ["ply"])
    assert [path.name for path in tmp_path.iterdir()] == ["m.ply"]


@pytest.mark.skipif(not (DATA / "meshes").is_dir(), reason="the real meshes are not here (NERFKIT_DATA)")
def test_spot_loads_whole() -> None:
    mesh = load_mesh(DATA / "meshes" / "spot" / "spot.obj")
    assert mesh.corner_uvs is not None
    assert mesh.texture is not None
    report = topology_report(mesh)
    assert report.watertight
    assert report.euler == 2


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_mesh(sphere(1), tmp_path / "a", ["ply"])
    old = (tmp_path / "a.ply").read_bytes()

    def full(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"a\.ply"):
        save_mesh(quad(), tmp_path / "a", ["ply"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.ply"]
    assert (tmp_path / "a.ply").read_bytes() == old
