"""PLY files as they are found: text and both byte orders, properties in any order, polygons of any size, cut off."""

import struct
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
import trimesh
from mesh_shapes import sphere

from nerfkit.errors import SceneError
from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.mesh import Mesh

POINTS = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0.5, 0.5, 1)]
XYZ = ["float x", "float y", "float z"]
INDICES = "list uchar int vertex_indices"


def header(format: str, vertices: int, faces: int, vertex: list[str], face: list[str], comment: str = "") -> str:
    lines = ["ply", f"format {format} 1.0", f"comment {comment}", f"element vertex {vertices}"]
    lines += [f"property {name}" for name in vertex] + [f"element face {faces}"]
    return "\n".join([*lines, *[f"property {name}" for name in face], "end_header"]) + "\n"


def text(rows: list[list[float]]) -> str:
    return "\n".join(" ".join(map(str, row)) for row in rows) + "\n"


def load(folder: Path, content: bytes | str) -> tuple[Mesh, list[str]]:
    (folder / "m.ply").write_bytes(content if isinstance(content, bytes) else content.encode())
    mesh = load_mesh(folder / "m.ply")
    return mesh, mesh.provenance.get("notes", [])


@pytest.mark.parametrize("format", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize(
    ("polygons", "expected"),
    [
        ([[0, 1, 4], [1, 2, 4]], [[0, 1, 4], [1, 2, 4]]),
        ([[3, 2, 1, 0]], [[3, 2, 1], [3, 1, 0]]),
        ([[0, 1, 4], [3, 2, 1, 0], [1, 2, 4]], [[0, 1, 4], [3, 2, 1], [3, 1, 0], [1, 2, 4]]),
        ([[3, 2, 1, 0], [0, 1], [0, 1, 4]], [[3, 2, 1], [3, 1, 0], [0, 1, 4]]),
    ],
)
def test_polygons_of_all_sizes(tmp_path: Path, format: str, polygons: list[list[int]], expected: list) -> None:
    content = header(format, 5, len(polygons), XYZ, [INDICES]).encode()
    if format == "ascii":
        content += (text([list(p) for p in POINTS]) + text([[len(p), *p] for p in polygons])).encode()
    else:
        order = "<" if "little" in format else ">"
        content += b"".join(struct.pack(order + "3f", *p) for p in POINTS)
        content += b"".join(struct.pack(f"{order}B{len(p)}i", len(p), *p) for p in polygons)
    mesh, notes = load(tmp_path, content)
    assert mesh.vertices.tolist() == [list(p) for p in POINTS]
    assert mesh.faces.tolist() == expected
    assert notes == (["dropped 1 faces with fewer than three corners"] if [0, 1] in polygons else [])


def test_properties_in_any_order_and_of_any_type(tmp_path: Path) -> None:
    names = ["uchar red", "double z", "ushort quality", "uchar green", "float y", "uchar blue", "short x"]
    rows = [[255, p[2], 7, 51, p[1], 0, int(p[0])] for p in POINTS[:4]]
    face = ["uchar flags", "list uint8 uint32 vertex_index", "list uchar float weights"]
    for format, order in (("ascii", ""), ("binary_big_endian", ">")):
        content = header(format, 4, 1, names, face).encode()
        if order:
            content += b"".join(struct.pack(">BdHBfBh", *row) for row in rows)
            content += struct.pack(">BB3IB2f", 9, 3, 0, 1, 2, 2, 0.5, 0.5)
        else:
            content += (text(rows) + "9 3 0 1 2 2 0.5 0.5\n").encode()
        mesh, notes = load(tmp_path, content)
        assert mesh.vertices.tolist() == [list(p) for p in POINTS[:4]]
        assert mesh.faces.tolist() == [[0, 1, 2]]
        assert mesh.colors is not None
        assert torch.allclose(mesh.colors, torch.tensor([1, 0.2, 0]).expand(4, 3))
        assert notes == []


@pytest.mark.parametrize(
    ("type", "values", "expected", "note"),
    [
        ("uchar", [255, 51, 0], [1, 0.2, 0], ""),
        ("ushort", [65535, 13107, 0], [1, 0.2, 0], ""),
        ("float", [1, 0.2, 0], [1, 0.2, 0], ""),
        ("float", [1.0001, 0.2, 0], [1, 0.2, 0], ""),
        ("float", [255, 51, 0], [1, 0.2, 0], "as bytes"),
        ("float", [1, -0.5, 0], None, "dropped the vertex colors"),
        ("float", [1, "nan", 0], None, "dropped the vertex colors"),
    ],
)
def test_colors_of_all_types(
    tmp_path: Path, type: str, values: list[float], expected: list[float] | None, note: str
) -> None:
    names = XYZ + [f"{type} {name}" for name in ("red", "green", "blue")]
    content = header("ascii", 4, 1, names, [INDICES]) + text([[*p, *values] for p in POINTS[:4]]) + "3 0 1 2\n"
    mesh, notes = load(tmp_path, content)
    assert len(notes) == (1 if note else 0) and note in "".join(notes)
    if expected is None:
        assert mesh.colors is None
    else:
        assert mesh.colors is not None
        assert torch.allclose(mesh.colors, torch.tensor(expected).expand(4, 3).float())


def test_colors_of_faces_are_averaged_at_the_vertices(tmp_path: Path) -> None:
    face = [INDICES, "uchar red", "uchar green", "uchar blue"]
    content = header("ascii", 5, 2, XYZ, face) + text([list(p) for p in POINTS]) + "3 0 1 2 255 0 0\n3 0 2 3 0 0 255\n"
    mesh, notes = load(tmp_path, content)
    assert mesh.colors is not None
    assert mesh.colors.tolist() == [[0.5, 0, 0.5], [1, 0, 0], [0.5, 0, 0.5], [0, 0, 1], [0, 0, 0]]
    assert notes == ["averaged the colors of faces at their vertices"]


def test_uvs_of_vertices_and_of_corners(tmp_path: Path) -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[0, 0] = (255, 0, 0)  # at u = 0, v = 1
    imageio.imwrite(tmp_path / "the red.png", red)
    square = POINTS[:4]
    of_vertices = header("ascii", 4, 1, [*XYZ, "float s", "float t"], [INDICES], "TextureFile the red.png")
    of_vertices += text([[*p, *p[:2]] for p in square]) + "4 0 1 2 3\n"
    corners = [value for p in square for value in p[:2]]
    of_corners = header("ascii", 4, 1, XYZ, [INDICES, "list uchar float texcoord"], "TextureFile the red.png")
    of_corners += text([list(p) for p in square]) + text([[4, 0, 1, 2, 3, 8, *corners]])
    for content in (of_vertices, of_corners):
        mesh, notes = load(tmp_path, content)
        assert mesh.corner_uvs is not None and mesh.texture is not None
        assert torch.equal(mesh.corner_uvs, mesh.vertices[mesh.faces][..., :2])
        assert mesh.texture[0, 0].tolist() == [1, 0, 0]
        assert notes == []
    _, notes = load(tmp_path, of_corners.replace("the red", "gone"))
    assert notes == ["dropped the texture gone.png: such files cannot be read"]


def test_seams_are_closed_but_not_between_colors(tmp_path: Path) -> None:
    """Two triangles with vertices of their own: of one color they share a side, red and blue they keep apart."""
    names = [*XYZ, "uchar red", "uchar green", "uchar blue", "float s", "float t"]
    places = [0, 1, 2, 0, 2, 3]
    red, blue = [255, 0, 0], [0, 0, 255]
    for second, left in ((red, 4), (blue, 6)):
        colors = [red] * 3 + [second] * 3
        rows = [[*POINTS[p], *color, k, 0] for k, (p, color) in enumerate(zip(places, colors, strict=True))]
        mesh, _ = load(tmp_path, header("ascii", 6, 2, names, [INDICES]) + text(rows) + "3 0 1 2\n3 3 4 5\n")
        assert len(mesh.vertices) == left
        assert mesh.colors is not None and mesh.corner_uvs is not None
        assert (mesh.colors[mesh.faces] * 255).tolist() == [[red] * 3, [second] * 3]
        assert mesh.vertices[mesh.faces].tolist() == [
            [list(POINTS[p]) for p in places[:3]],
            [list(POINTS[p]) for p in places[3:]],
        ]
        assert mesh.corner_uvs[..., 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_byte_order_mark_is_passed_over_and_so_are_properties_that_nobody_reads(tmp_path: Path) -> None:
    content = header("ascii", 3, 1, [*XYZ, "uchar label"], [INDICES]) + "0 0 0 -1\n1 0 0 300\n0 1 0 nan\n3 0 1 2\n"
    mesh, notes = load(tmp_path, b"\xef\xbb\xbf" + content.encode())
    assert mesh.faces.tolist() == [[0, 1, 2]] and notes == []


def test_an_independent_writer_is_read_back(tmp_path: Path) -> None:
    ball = sphere(2)
    plain = trimesh.Trimesh(ball.vertices.numpy(), ball.faces.numpy(), process=False)
    for encoding in ("ascii", "binary"):
        content = plain.export(file_type="ply", encoding=encoding)
        mesh, _ = load(tmp_path, content if isinstance(content, bytes) else content.encode())
        assert torch.equal(mesh.faces, ball.faces)
        assert torch.allclose(mesh.vertices, ball.vertices, atol=1e-6)


@pytest.mark.parametrize("format", ["ascii", "binary_little_endian"])
def test_a_file_that_is_cut_off_is_refused_wherever_the_cut_is(tmp_path: Path, format: str) -> None:
    faces = [(0, 1, 4), (1, 2, 4), (2, 3, 4)]
    content = header(format, 5, 3, XYZ, [INDICES]).encode()
    if format == "ascii":
        content += (text([list(p) for p in POINTS]) + text([[3, *f] for f in faces])).encode().rstrip()
    else:
        content += b"".join(struct.pack("<3f", *p) for p in POINTS) + b"".join(
            struct.pack("<B3i", 3, *f) for f in faces
        )
    assert len(load(tmp_path, content)[0].faces) == 3
    for length in range(len(content) - 1):
        with pytest.raises(SceneError, match=r"m\.ply: .*(header|too early)"):
            load(tmp_path, content[:length])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no PLY header"),
        (b"solid ball\n", "no PLY header"),
        ("ply\nelement vertex 1\nend_header\n", "does not name the format"),
        ("ply\nformat ascii 1.0\nelement vertex many\nend_header\n", "'element vertex many' of its header is not PLY"),
        ("ply\nformat ascii 1.0\nelement vertex 1\nproperty real x\nend_header\n", "'property real x'"),
        (header("ascii", 3, 0, XYZ, [INDICES]) + "0 0 0\n1 0 0\n0 1 0\n", "no triangles"),
        (header("ascii", 3, 1, ["float x", "float y"], [INDICES]) + "0 0\n1 0\n0 1\n3 0 1 2\n", "no x, y and z"),
        (header("ascii", 3, 1, XYZ, [INDICES]) + "0 0 0\n1 0 0\n0 1 0\n3 0 1 3\n", "vertex 3, but there are 3"),
        (header("ascii", 3, 1, XYZ, [INDICES]) + "0 0 0\n1 0 0\n0 1 0\n3 0 1 -1\n", "vertex -1, but there are 3"),
        (header("ascii", 3, 1, XYZ, [INDICES]) + "0 0 0\n1 0 0\n0 one 0\n3 0 1 2\n", "is not one"),
        (header("ascii", 3, 1, XYZ, [INDICES]) + "0 0 0\n1 0 0\n0 nan 0\n3 0 1 2\n", "NaN or infinite"),
        (header("ascii", 3, 1, XYZ, [INDICES]) + "0 0 0\n1 0 0\n0 1 0\n3 0 1 nan\n", "vertex numbers hold nan"),
        (header("ascii", 3, 1, XYZ, [INDICES]) + "0 0 0\n1 0 0\n0 1 0\n3 0 1 1e30\n", r"vertex numbers hold 1e\+30"),
        (
            header("ascii", 3, 1, XYZ, [INDICES]) + "0 0 0\n1 0 0\n0 1 0\nnan 0 1 2\n",
            "not what its header says: 0 of 1",
        ),
        (
            header("ascii", 3, 1, ["short x", *XYZ[1:]], [INDICES]) + "0 0 0\n40000 0 0\n0 1 0\n3 0 1 2\n",
            "x hold 40000",
        ),
        (header("ascii", 3, 1, ["int x", *XYZ[1:]], [INDICES]) + "0 0 0\n1 0 0\nnan 1 0\n3 0 1 2\n", "x hold nan"),
        (
            header("ascii", 3, 1, [*XYZ, *(f"uchar {name}" for name in ("red", "green", "blue"))], [INDICES])
            + "0 0 0 256 0 0\n1 0 0 0 0 0\n0 1 0 0 0 0\n3 0 1 2\n",
            "vertex red hold 256, expected whole numbers from 0 to 255",
        ),
    ],
)
def test_what_cannot_be_mended_is_refused(tmp_path: Path, content: bytes | str, message: str) -> None:
    with pytest.raises(SceneError, match=message) as caught:
        load(tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path / "m.ply"))
