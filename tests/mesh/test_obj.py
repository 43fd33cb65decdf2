"""OBJ and MTL files as they are found: polygons, relative numbers, missing pieces."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from glb_builder import BLUE, RED, color_at, picture

from nerfkit.errors import SceneError
from nerfkit.mesh.files.io import load_mesh, texture_colors
from nerfkit.mesh.mesh import Mesh

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
UVS = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"


def load(folder: Path, text: str) -> tuple[Mesh, list[str]]:
    (folder / "m.obj").write_text(text)
    mesh = load_mesh(folder / "m.obj")
    return mesh, mesh.provenance.get("notes", [])


@pytest.mark.parametrize(
    ("faces", "expected"),
    [
        ("f 1 2 3 4\n", [[0, 1, 2], [0, 2, 3]]),
        ("f 1 2 3\nf 1 3 4\n", [[0, 1, 2], [0, 2, 3]]),
        ("f -4 -3 -2 -1\n", [[0, 1, 2], [0, 2, 3]]),
        ("f -4 -3 -2\nv 5 5 5\nf -5 -3 -2\n", [[0, 1, 2], [0, 2, 3]]),
        ("f 1//1 2//1 3//1\n", [[0, 1, 2]]),
        ("f 1 2 \\\n3 # corner\n", [[0, 1, 2]]),
        ("g a\ns off\nl 1 2\nf 1 2 3\n", [[0, 1, 2]]),
        ("v -0.25 0.5 0\nf 1 2 3 4 5\n", [[0, 1, 2], [0, 2, 3], [0, 3, 4]]),
        ("v 0.25 0.25 0\nf 1 2 5 4\n", [[0, 1, 4], [0, 4, 3]]),
        ("v 0.25 0.25 0\nf 4 1 2 5\n", [[4, 3, 0], [4, 0, 1]]),  # concave: a fan would turn a face over
    ],
)
def test_faces_in_all_their_spellings(tmp_path: Path, faces: str, expected: list[list[int]]) -> None:
    mesh, notes = load(tmp_path, SQUARE + "vn 0 0 1\n" + faces)
    assert mesh.faces.tolist() == expected
    assert mesh.vertices[:4].tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert mesh.corner_uvs is None
    assert notes == []


@pytest.mark.parametrize("face", ["f 1/1 2/2 3/3 4/4\n", "f 1/1/1 2/2/1 3/3/1 4/4/1\n", "f -4/-4 -3/-3 -2/-2 -1/-1\n"])
def test_uvs_stay_with_their_corners(tmp_path: Path, face: str) -> None:
    mesh, notes = load(tmp_path, SQUARE + UVS + "vn 0 0 1\n" + face)
    assert mesh.corner_uvs is not None
    assert torch.equal(mesh.corner_uvs, mesh.vertices[mesh.faces][..., :2])
    assert notes == []


def test_one_vertex_with_two_uvs_stays_one_vertex(tmp_path: Path) -> None:
    mesh, _ = load(tmp_path, SQUARE + UVS + "f 1/1 2/2 3/3\nf 1/2 3/4 4/1\n")
    assert len(mesh.vertices) == 4
    assert mesh.corner_uvs is not None
    assert mesh.corner_uvs.tolist() == [[[0, 0], [1, 0], [1, 1]], [[1, 0], [0, 1], [0, 0]]]


def test_vertex_colors_as_numbers_and_as_bytes(tmp_path: Path) -> None:
    mesh, notes = load(tmp_path, "v 0 0 0 0.25 0 1\nv 1 0 0 1 1 1\nv 0 1 0 0 0 0\nf 1 2 3\n")
    assert mesh.colors is not None and notes == []
    assert mesh.colors.tolist() == [[0.25, 0, 1], [1, 1, 1], [0, 0, 0]]
    mesh, notes = load(tmp_path, "v 0 0 0 255 0 51\nv 1 0 0 0 0 0\nv 0 1 0 0 0 0\nf 1 2 3\n")
    assert mesh.colors is not None
    assert mesh.colors[0].tolist() == pytest.approx([1, 0, 0.2])
    assert "bytes" in notes[0]
    mesh, notes = load(tmp_path, "v 0 0 0 1.0001 0 0.5\nv 1 0 0 0 0 0\nv 0 1 0 0 0 0\nf 1 2 3\n")
    assert mesh.colors is not None and notes == []
    assert mesh.colors[0].tolist() == [1, 0, 0.5]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (SQUARE + UVS + "mtllib no.mtl\nusemtl a\nf 1/1 2/2 3/3\n", "material file 'no.mtl' is not there"),
        (SQUARE + UVS + "mtllib m.mtl\nusemtl lost\nf 1/1 2/2 3/3\n", "texture 'lost.png' is not there"),
        (SQUARE + UVS + "mtllib m.mtl\nusemtl broken\nf 1/1 2/2 3/3\n", "texture 'broken.png' is not there or cannot"),
        (SQUARE + "vt 0 0\nf 1/1 2/2 3/3\n", "dropped the UVs: faces name vt 3, but there are 1"),
        (SQUARE + "vt 0 0\nf 1/1 2/0 3/1\n", "dropped the UVs: faces name vt 0, but there are 1"),
        (SQUARE + UVS + "mtllib m.mtl\nusemtl plain\nf 1/1 2/2 3/3\n", "the color of material 'plain' is not used"),
        (
            SQUARE + "mtllib m.mtl\nusemtl nan\nf 1 2 3\n",
            "passed over the color 'nan 0 0' of material 'nan' in 'm.mtl'",
        ),
        (SQUARE + "mtllib m.mtl\nusemtl lost\nf 1 2 3\n", "the texture 'lost.png' is not used: the faces have no UVs"),
        (SQUARE + "vt nan 0\nf 1/1 2/1 3/1\n", "dropped the UVs: some are NaN"),
        (SQUARE + UVS + "f 1/1 2/2 3/3\nf 1 3 4\n", "1 faces have corners without UV"),
        (SQUARE + "f 1 2\nf 1 2 3\n", "dropped 1 faces with fewer than three corners"),
    ],
)
def test_what_is_mended_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, note: str) -> None:
    (tmp_path / "m.mtl").write_text(
        "newmtl lost\nmap_Kd lost.png\nnewmtl broken\nmap_Kd broken.png\nnewmtl plain\nKd 1 0 0\n"
        + ("newmtl nan\nKd nan 0 0\n" if "usemtl nan" in text else "")
    )
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing else")
    mesh, notes = load(tmp_path, text)
    assert len(notes) == 1 and note in notes[0]
    assert note in caplog.text and "m.obj" in caplog.text
    assert mesh.texture is None
    assert len(mesh.faces) >= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SQUARE + "f 1 2 5\n", "vertex 5, but there are 4"),
        (SQUARE + "f 0 1 2\n", "vertex 0, but there are 4"),
        (SQUARE + "f 1 2 -9\n", "line 5 counts back"),
        (SQUARE + "f 1 2 x\n", "'x' is not a corner"),
        (SQUARE + "f 1 2 99999999999999999999\n", "'99999999999999999999' is not a corner"),
        (SQUARE + "f 1.5 2 3\n", "'1.5' is not a corner"),
        (SQUARE + "v 1 oops 2\nf 1 2 3\n", "line 5: 'oops' is not a number"),
        ("v 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "line 1 has too few numbers"),
        ("v 0 0 1e39\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "NaN or infinite"),
        ("v 0 0 1e30\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "scale the mesh down"),
        (SQUARE, "no triangles"),
        ("", "no triangles"),
    ],
)
def test_what_cannot_be_mended_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SceneError, match=message) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "m.obj"))


def test_materials_are_put_side_by_side(tmp_path: Path) -> None:
    """Two textures and a plain color: every face finds its own color at its own UVs."""
    red, green = np.zeros((2, 4, 3), np.uint8), np.zeros((6, 2, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    red[0, 0] = (255, 255, 0)  # at u = 0, v = 1
    imageio.imwrite(tmp_path / "red.png", red)
    imageio.imwrite(tmp_path / "the green.png", green)
    (tmp_path / "m.mtl").write_text(
        "newmtl r\nmap_Kd -s 1 1 1 red.png\nnewmtl g\nmap_Kd the green.png\nnewmtl b\nKd 0 0 1\n"
    )
    faces = "usemtl r\nf 1/1 2/2 4/4\nusemtl g\nf 1/1 2/2 3/3\nusemtl b\nf 2/2 3/3 4/4\n"
    mesh, notes = load(tmp_path, "mtllib m.mtl\n" + SQUARE + UVS + faces)
    assert mesh.texture is not None and mesh.corner_uvs is not None
    assert notes == ["put the textures of 3 materials side by side into one"]
    height, width = mesh.texture.shape[:2]
    column = (mesh.corner_uvs[..., 0] * width).long().clamp(max=width - 1)
    row = ((1 - mesh.corner_uvs[..., 1]) * height).long().clamp(max=height - 1)
    seen = mesh.texture[row, column].tolist()
    assert seen == [[[1, 0, 0], [1, 0, 0], [1, 1, 0]], [[0, 1, 0]] * 3, [[0, 0, 1]] * 3]


@pytest.mark.parametrize("line", ["mtllib one.mtl two.mtl\n", "mtllib one.mtl\nmtllib two.mtl\n"])
def test_plain_colors_of_materials_become_a_texture(tmp_path: Path, line: str) -> None:
    """Faces without UVs show their materials' colors, sharp at the border; colors of vertices come first."""
    (tmp_path / "one.mtl").write_bytes(b"\xef\xbb\xbfnewmtl red\nKd 1 0 0\n")
    (tmp_path / "two.mtl").write_text("newmtl blue\nKd 0 0 1\n")
    faces = "usemtl red\nf 1 2 3\nusemtl blue\nf 1 3 4\n"
    mesh, notes = load(tmp_path, line + SQUARE + faces)
    assert mesh.texture is not None and mesh.corner_uvs is not None
    assert notes == ["put the colors of 2 materials side by side into one"]
    height, width = mesh.texture.shape[:2]
    column, row = (mesh.corner_uvs[..., 0] * width).long(), ((1 - mesh.corner_uvs[..., 1]) * height).long()
    assert mesh.texture[row, column].tolist() == [[[1, 0, 0]] * 3, [[0, 0, 1]] * 3]
    mesh, _ = load(tmp_path, line + SQUARE.replace("0\n", "0 1 1 0\n") + faces)
    assert mesh.texture is None and mesh.colors is not None


@pytest.mark.parametrize("other", [False, True])
def test_without_uvs_a_material_with_a_texture_shows_its_color(tmp_path: Path, other: bool) -> None:
    (tmp_path / "m.mtl").write_text("newmtl skin\nKd 0 1 0\nmap_Kd skin.png\nnewmtl plain\nKd 0 0 1\n")
    faces = "usemtl skin\nf 1 2 3\n" + ("usemtl plain\nf 1 3 4\n" if other else "")
    mesh, notes = load(tmp_path, "mtllib m.mtl\n" + SQUARE + faces)
    assert mesh.texture is not None
    assert texture_colors(mesh)[1].tolist() == [0, 1, 0]
    expected = ["the texture 'skin.png' is not used: the faces have no UVs"]
    assert notes == expected + ["put the colors of 2 materials side by side into one"] * other


def test_a_byte_order_mark_does_not_hide_the_first_vertex(tmp_path: Path) -> None:
    (tmp_path / "m.obj").write_bytes(b"\xef\xbb\xbf" + SQUARE.encode() + b"f 1 2 3\n")
    assert load_mesh(tmp_path / "m.obj").vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]


def test_blocks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SQUARE + UVS + "f 1/1 2/2 3/3\nf -4/-4 -2/-2 -1/-1\n"
    whole, _ = load(tmp_path, text)
    monkeypatch.setattr("nerfkit.mesh.files.obj.BLOCK", 3)
    parts, _ = load(tmp_path, text)
    assert torch.equal(whole.faces, parts.faces)
    assert whole.corner_uvs is not None and parts.corner_uvs is not None
    assert torch.equal(whole.corner_uvs, parts.corner_uvs)


def shown(mesh: Mesh, places: list[float]) -> list[list[float]]:
    """Colors of the square along y = 0.3."""
    return color_at(mesh, [(x, 0.3) for x in places]).round(2).tolist()


@pytest.mark.parametrize(
    ("options", "colors", "notes"),
    [
        ("", "rrrrbbbb", []),
        ("-s 4 1 1", "rbrbrbrb", []),
        ("-s 4", "rbrbrbrb", []),
        ("-s 2 1 1 -o 0.5 0 0", "bbrrbbrr", []),
        ("-o 0.5", "bbbbrrrr", []),
        ("-o 0.5 -clamp on", "bbbbbbbb", []),
        ("-clamp off -blendu on -bm 1 -mm 0 1 -texres 64 -t 0 0 0 -cc off", "rrrrbbbb", []),
        ("-mm 0.2 0.5 -imfchan r", "rrrrbbbb", ["passed over -mm 0.2 0.5, -imfchan r of the texture 'two halves.png'"]),
        ("-turn 3", "rrrrbbbb", ["passed over -turn 3 of the texture"]),
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_options_of_a_map(tmp_path: Path, options: str, colors: str, notes: list[str], beside: bool) -> None:
    """They are used or said, for one material and beside another."""
    name = "halves.png" if "-turn" in options else "two halves.png"
    imageio.imwrite(tmp_path / name, picture(RED, BLUE))
    (tmp_path / "m.mtl").write_text(f"newmtl a\nmap_Kd {options} {name}\nnewmtl b\nKd 0 1 0\n")
    text = "mtllib m.mtl\nusemtl a\n" + SQUARE + UVS + "f 1/1 2/2 3/3 4/4\n"
    text += "usemtl b\nv 2 0 0\nf 2/1 5/2 3/3\n" if beside else ""
    mesh, found = load(tmp_path, text)
    expected = [[1, 0, 0] if color == "r" else [0, 0, 1] for color in colors]
    assert shown(mesh, [(k + 0.5) / 8 for k in range(8)]) == expected
    assert len(found) == len(notes) + beside and all(note in one for note, one in zip(notes, found, strict=False))


def test_a_texture_repeats_beside_other_materials(tmp_path: Path) -> None:
    """Eight stripes on the quad whose u goes from 0 to 4, and the picture that two materials share once."""
    imageio.imwrite(tmp_path / "halves.png", picture(RED, BLUE))
    (tmp_path / "m.mtl").write_text("newmtl a\nmap_Kd halves.png\nnewmtl b\nKd 0 1 0\nnewmtl c\nmap_Kd halves.png\n")
    square = SQUARE + "vt 0 0\nvt 4 0\nvt 4 1\nvt 0 1\nusemtl a\nf 1/1 2/2 3/3 4/4\n"
    mesh, _ = load(tmp_path, "mtllib m.mtl\n" + square + "usemtl b\nv 2 0 0\nf 2/1 5/2 3/3\n")
    assert shown(mesh, [(k + 0.5) / 8 for k in range(8)]) == [[1, 0, 0], [0, 0, 1]] * 4
    mesh, notes = load(tmp_path, "mtllib m.mtl\n" + square + "usemtl c\nv 2 0 0\nf 2/1 5/2 3/3\n")
    assert mesh.texture is not None and mesh.texture.shape == (4, 8, 3) and notes == []


def test_sixteen_bit_gray_is_not_cut_off(tmp_path: Path) -> None:
    imageio.imwrite(tmp_path / "gray.png", np.full((4, 4), 0x8080, np.uint16))
    (tmp_path / "m.mtl").write_text("newmtl a\nmap_Kd gray.png\n")
    mesh, notes = load(tmp_path, "mtllib m.mtl\n" + SQUARE + UVS + "usemtl a\nf 1/1 2/2 3/3 4/4\n")
    assert notes == [] and np.allclose(color_at(mesh, [(0.5, 0.5)]), 128 / 255, atol=1e-6)


OPAQUE, DARK = "opaque", "without the light it emits"


@pytest.mark.parametrize(
    ("line", "drawn"),
    [
        *(("map_d holes.png", OPAQUE), ("d 0.5", OPAQUE), ("d 1.000", None), ("d -halo 0.3", OPAQUE)),
        *(("Tr 0.3", OPAQUE), ("Tr 0", None), ("Tr 1.0", None), ("map_Tr holes.png", OPAQUE)),
        *(("Ke 0.0 0.0 0.0", None), ("Ke 0 0.5 0", DARK), ("map_Ke lamp.png", DARK)),
    ],
)
def test_transparency_and_light_are_said(tmp_path: Path, line: str, drawn: str | None) -> None:
    (tmp_path / "m.mtl").write_text(f"newmtl a\nKd 1 0 0\n{line}\n")
    _, notes = load(tmp_path, "mtllib m.mtl\n" + SQUARE + "usemtl a\nf 1 2 3 4\n")
    key, value = line.split(None, 1)
    said = [f"the material 'a' is drawn {drawn}: {key} {value!r} in 'm.mtl' is not used"]
    assert notes == (said if drawn else [])
