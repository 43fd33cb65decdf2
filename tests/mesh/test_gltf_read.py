"""What a GLB file may state: geometry of every kind, and base color = texture x factor x vertex color."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from glb_builder import BLUE, GREEN, RED, SQUARE, Glb, color_at, packed, picture

from nerfkit.errors import SceneError
from nerfkit.mesh.files.gltf import linear_to_srgb
from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.mesh import Mesh

PENTAGON = [[0, 0, 0], [1, 0, 0], [2, 1, 0], [1, 2, 0], [0, 1, 0]]
CLAMP, MIRROR, REPEAT = 33071, 33648, 10497
MIDDLES = [(0.25, 0.5), (0.75, 0.5)]


def read(glb: Glb, folder: Path) -> tuple[Mesh, list[str]]:
    mesh = load_mesh(glb.write(folder / "m.glb"))
    return mesh, mesh.provenance.get("notes", [])


@pytest.mark.parametrize(
    ("words", "corners"),
    [
        ({"indices": [0, 1, 2, 0, 2, 3]}, [[0, 1, 2], [0, 2, 3]]),
        ({}, [[0, 1, 2]]),  # without indices, and two vertices left over
        ({"mode": 5}, [[0, 1, 2], [1, 3, 2], [2, 3, 4]]),
        ({"mode": 5, "indices": [4, 0, 3, 1]}, [[4, 0, 3], [0, 1, 3]]),
        ({"mode": 6}, [[1, 2, 0], [2, 3, 0], [3, 4, 0]]),
        ({"mode": 6, "indices": [2, 3, 4, 0]}, [[3, 4, 2], [4, 0, 2]]),
    ],
)
def test_triangles_strips_and_fans(tmp_path: Path, words: dict[str, Any], corners: list[list[int]]) -> None:
    glb = Glb()
    glb.part(PENTAGON, **words)
    mesh, notes = read(glb, tmp_path)
    assert notes == []
    assert mesh.vertices[mesh.faces].tolist() == np.array(PENTAGON)[corners].tolist()


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"scale": [-1, 1, 1]}, [[-1, 1, 0], [-1, 0, 0], [0, 0, 0]]),  # a mirror image: the corners' order turns
        ({"scale": [-1, -2, 1]}, [[0, 0, 0], [-1, 0, 0], [-1, -2, 0]]),
        ({"rotation": [0, 0, 2**-0.5, 2**-0.5], "translation": [5, 0, 0]}, [[5, 0, 0], [5, 1, 0], [4, 1, 0]]),
        ({"matrix": [0, 1, 0, 0, -1, 0, 0, 0, 0, 0, 1, 0, 5, 0, 0, 1]}, [[5, 0, 0], [5, 1, 0], [4, 1, 0]]),
    ],
)
def test_nodes_place_meshes(tmp_path: Path, node: dict[str, Any], expected: list[list[float]]) -> None:
    glb = Glb()
    glb.part(SQUARE[:3], node)
    mesh, _ = read(glb, tmp_path)
    assert torch.allclose(mesh.vertices[mesh.faces][0], torch.tensor(expected).float(), atol=1e-6)
    glb.document["nodes"].append({"children": [0], "scale": [2, 2, 2], "translation": [0, 0, 1]})
    glb.document["scenes"][0]["nodes"] = [1]
    mesh, _ = read(glb, tmp_path)
    above = 2 * torch.tensor(expected).float() + torch.tensor([0, 0, 1])
    assert torch.allclose(mesh.vertices[mesh.faces][0], above, atol=1e-6)


def test_sparse_and_interleaved_accessors(tmp_path: Path) -> None:
    glb = Glb()
    part = glb.part(SQUARE, indices=[0, 1, 2])
    rows = np.pad(np.float32(SQUARE), ((0, 0), (0, 2)), constant_values=9)  # 12 of every 20 bytes
    glb.document["accessors"][part["attributes"]["POSITION"]]["bufferView"] = glb.view(rows.tobytes(), byteStride=20)
    assert read(glb, tmp_path)[0].vertices.tolist() == SQUARE
    numbers, values = glb.view(np.uint16([2, 3]).tobytes()), glb.view(np.float32([[7, 8, 9], [1, 2, 3]]).tobytes())
    sparse = {"count": 2, "indices": {"bufferView": numbers, "componentType": 5123}, "values": {"bufferView": values}}
    for base, first in ((True, SQUARE[1]), (False, [0, 0, 0])):
        accessor = glb.document["accessors"][part["attributes"]["POSITION"]]
        accessor["sparse"] = sparse
        if not base:
            del accessor["bufferView"]
        assert read(glb, tmp_path)[0].vertices[1:].tolist() == [first, [7, 8, 9], [1, 2, 3]]


def test_the_named_scene_is_shown(tmp_path: Path) -> None:
    glb = Glb()
    glb.part(SQUARE[:3])
    glb.part(PENTAGON, mode=6)
    glb.document |= {"scene": 1, "scenes": [{"nodes": [0]}, {"nodes": [1]}]}
    mesh, notes = read(glb, tmp_path)
    assert len(mesh.faces) == 3 and notes == ["read scene 1 of 2"]
    del glb.document["scene"], glb.document["scenes"]
    assert len(read(glb, tmp_path)[0].faces) == 4


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda glb: glb.part(SQUARE, mode=0), "passed over 1 parts that are points or lines"),
        (lambda glb: glb.part(SQUARE, mode=3), "passed over 1 parts that are points or lines"),
        (lambda glb: glb.document["nodes"][0].update(skin=0), "passed over the skins of 1 meshes"),
        (lambda glb: glb.document["meshes"][0].update(weights=[0.5], name="jaw"), "morph targets of mesh 'jaw'"),
        (lambda glb: glb.document.update(animations=[{}]), "passed over the animations"),
        (lambda glb: glb.document.update(extensionsUsed=["EXT_mesh_gpu_instancing"]), "over EXT_mesh_gpu_instancing"),
        (lambda glb: glb.square(1, material=glb.material(emissiveFactor=[0, 1, 0], name="lamp")), "'lamp' gives off"),
        (lambda glb: glb.square(1, material=glb.material(0, info={"texCoord": 1})), "not used: faces have no UVs TEXC"),
        (
            lambda glb: glb.square(
                1, material=glb.material(alphaMode="BLEND", name="ice"), COLOR_0=np.float32([[1, 1, 1, 0.5]] * 4)
            ),
            "passed over the transparency of material 'ice'",
        ),
        (lambda glb: glb.square(1, TEXCOORD_0=np.float32([[0, 0]] * 3)), "dropped the UVs: 3 for 4 vertices"),
    ],
)
def test_what_is_passed_over_is_said(tmp_path: Path, change: Any, note: str) -> None:
    glb = Glb()
    glb.square(material=glb.material(glb.texture(picture(RED))))
    assert read(glb, tmp_path)[1] == []
    change(glb)
    mesh, notes = read(glb, tmp_path)
    assert note in " ".join(notes)
    assert np.allclose(color_at(mesh, [(0.5, 0.5)]), [1, 0, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda glb, part: part.update(mode=1), "holds no triangles"),
        (lambda glb, part: part.update(indices=glb.accessor(np.uint16([0, 1, 9]))), "vertex 9, but there are 4"),
        (lambda glb, part: glb.document["nodes"][0].update(children=[0]), "node 0 is inside itself"),
        (lambda glb, part: glb.document["accessors"][0].update(count=5), "reaches 12 bytes beyond its data"),
        (lambda glb, part: glb.document["bufferViews"][0].update(byteLength=9**9), "of buffer 0, which holds"),
        (lambda glb, part: glb.document.update(buffers=[{"uri": "no.bin"}]), "buffer 'no.bin' is not there"),
        (
            lambda glb, part: (
                part.update(extensions={"KHR_draco_mesh_compression": {}}),
                glb.document["accessors"][0].pop("bufferView"),
            ),
            "it needs KHR_draco",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    glb = Glb()
    change(glb, glb.part(SQUARE, indices=[0, 1, 2]))
    with pytest.raises(SceneError, match=message) as caught:
        read(glb, tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "m.glb"))


def test_a_buffer_may_be_a_file_or_a_data_uri(tmp_path: Path) -> None:
    glb = Glb()
    glb.part(SQUARE, indices=[0, 1, 2])
    (tmp_path / "the numbers.bin").write_bytes(glb.binary)
    data = "data:application/octet-stream;base64," + base64.b64encode(glb.binary).decode()
    for uri in ("the%20numbers.bin", data):
        glb.document["buffers"] = [{"uri": uri, "byteLength": len(glb.binary)}]
        assert read(glb, tmp_path)[0].vertices.tolist() == SQUARE


HALVES = picture(RED, BLUE)


def linear(*values: float) -> list[float]:
    return linear_to_srgb(np.array(values)).tolist()


@pytest.mark.parametrize(
    ("material", "attributes", "sampler", "expected"),
    [
        ({}, {}, {}, [[1, 0, 0], [0, 0, 1]]),
        ({"factor": [0.2, 0.5, 0.3, 1]}, {}, {}, [linear(0.2, 0, 0), linear(0, 0, 0.3)]),
        (
            {"factor": [0.2, 1, 1, 1]},
            {"COLOR_0": np.float32([[0.5, 1, 0.3]] * 4)},
            {},
            [linear(0.1, 0, 0), linear(0, 0, 0.3)],
        ),
        ({}, {"COLOR_0": np.float32([[1, 1, 1, 0.5]] * 4)}, {}, [[1, 0, 0], [0, 0, 1]]),
        ({"info": {"texCoord": 1}}, {"TEXCOORD_1": np.float32([[0.75, 0.5]] * 4)}, {}, [[0, 0, 1], [0, 0, 1]]),
        ({}, {"TEXCOORD_0": np.float32([[1, 1], [2, 1], [2, 0], [1, 0]])}, {}, [[1, 0, 0], [0, 0, 1]]),
        ({}, {"TEXCOORD_0": np.float32([[1, 1], [2, 1], [2, 0], [1, 0]])}, {"wrapS": MIRROR}, [[0, 0, 1], [1, 0, 0]]),
        ({}, {"TEXCOORD_0": np.float32([[-1, 1], [0, 1], [0, 0], [-1, 0]])}, {"wrapS": MIRROR}, [[0, 0, 1], [1, 0, 0]]),
        ({}, {"TEXCOORD_0": np.float32([[1, 1], [2, 1], [2, 0], [1, 0]])}, {"wrapS": CLAMP}, [[0, 0, 1], [0, 0, 1]]),
        (
            {},
            {"TEXCOORD_0": np.float32([[-0.4, 1], [1, 1], [1, 0], [-0.4, 0]])},
            {"wrapS": CLAMP},
            [[1, 0, 0], [0, 0, 1]],
        ),
        ({}, {"TEXCOORD_0": np.float32([[0, 3], [1, 3], [1, -2], [0, -2]])}, {"wrapT": CLAMP}, [[1, 0, 0], [0, 0, 1]]),
        ({}, {"TEXCOORD_0": np.uint8([[0, 255], [255, 255], [255, 0], [0, 0]])}, {}, None),  # integers as they are
    ],
)
def test_texture_times_factor_times_color(
    tmp_path: Path, material: dict[str, Any], attributes: dict[str, Any], sampler: dict[str, int], expected: Any
) -> None:
    """Alone, then beside parts that are colored in three other ways."""
    glb = Glb()
    glb.square(material=glb.material(glb.texture(HALVES, **sampler), **material), **attributes)
    mesh, notes = read(glb, tmp_path)
    if expected is None:
        assert mesh.corner_uvs is not None and mesh.corner_uvs.max() == 255
        return
    assert notes == []
    assert np.allclose(color_at(mesh, MIDDLES), expected, atol=0.003)

    glb.square(2, material=glb.material(factor=[0.5, 0.1, 0, 1]))
    ramp = np.float32([[0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]])
    glb.square(4, COLOR_0=ramp)
    glb.square(6)
    mesh, notes = read(glb, tmp_path)
    assert notes == ["put the textures of 3 materials side by side into one"]
    assert np.allclose(color_at(mesh, MIDDLES), expected, atol=0.003)
    more = color_at(mesh, [(2.3, 0.3), (4.25, 0.4), (4.75, 0.6), (6.5, 0.2)])
    assert np.allclose(more, [linear(0.5, 0.1, 0), [0.25, 0.75, 0], [0.75, 0.25, 0], [1, 1, 1]], atol=0.02)


def test_a_texture_transform_moves_the_uvs(tmp_path: Path) -> None:
    """Scale, counter-clockwise rotation (up is right then), offset; it may name another UV set."""
    quarters = np.concatenate([picture(RED, BLUE), picture(GREEN, (255, 255, 0))])  # red is at u = v = 0
    for moved, expected in (
        ({"scale": [0.5, 0.5]}, [[1, 0, 0]] * 2),
        ({"scale": [0.5, 0.5], "offset": [0.5, 0]}, [[0, 0, 1]] * 2),
        ({"rotation": np.pi / 2, "offset": [0, 1]}, [[0, 1, 0], [1, 0, 0]]),
        ({"texCoord": 1, "offset": [0.5, 0.5]}, [[1, 1, 0]] * 2),
    ):
        glb = Glb(extensionsRequired=["KHR_texture_transform"], extensionsUsed=["KHR_texture_transform"])
        info = {"extensions": {"KHR_texture_transform": moved}}
        glb.square(material=glb.material(glb.texture(quarters), info=info), TEXCOORD_1=np.float32([[0.25, 0.25]] * 4))
        mesh, notes = read(glb, tmp_path)
        assert notes == []
        assert np.allclose(color_at(mesh, [(0.2, 0.8), (0.8, 0.8)]), expected), moved


def test_sixteen_bit_gray_is_not_cut_off(tmp_path: Path) -> None:
    glb = Glb()
    glb.square(material=glb.material(glb.texture(np.full((4, 4), 0x8080, np.uint16))))
    assert np.allclose(color_at(read(glb, tmp_path)[0], [(0.5, 0.5)]), 128 / 255, atol=1e-6)


def test_colors_that_vary_over_a_texture_multiply_it(tmp_path: Path) -> None:
    """A quarter of a repeating picture under a ramp of light: each face gets texels of its own."""
    glb = Glb()
    ramp = np.float32([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9], [0.9, 0.9, 0.9], [0.1, 0.1, 0.1]])
    uvs = np.float32([[0, 1], [2, 1], [2, 0], [0, 0]])
    glb.square(material=glb.material(glb.texture(picture(RED, BLUE, size=16))), COLOR_0=ramp, TEXCOORD_0=uvs)
    mesh, _ = read(glb, tmp_path)
    points = [(x, y) for x in (0.07, 0.19, 0.32, 0.44, 0.57, 0.69, 0.82, 0.94) for y in (0.3, 0.8)]
    expected = [linear(*((0.1 + 0.8 * x) * np.array([1, 0, 0] if x * 4 % 2 < 1 else [0, 0, 1]))) for x, _ in points]
    assert np.allclose(color_at(mesh, points), expected, atol=0.02)


@pytest.mark.parametrize(
    ("alpha", "words", "noted"),
    [
        (255, {"alphaMode": "MASK"}, False),
        (128, {"alphaMode": "MASK"}, False),  # above the cutoff, which is 0.5 where none is named
        (120, {"alphaMode": "MASK"}, True),
        (200, {"alphaMode": "MASK", "alphaCutoff": 0.9}, True),
        (200, {"alphaMode": "BLEND"}, True),
        (200, {"alphaMode": "OPAQUE"}, False),
        (255, {"alphaMode": "BLEND", "factor": [1, 1, 1, 0.5]}, True),
    ],
)
def test_no_alpha_mode_loses_a_texture(tmp_path: Path, alpha: int, words: dict[str, Any], noted: bool) -> None:
    glb = Glb()
    glb.square(material=glb.material(glb.texture(picture((*RED, alpha))), name="leaf", **words))
    glb.square(2, material=glb.material(glb.texture(picture(GREEN)), name="bark"))
    mesh, notes = read(glb, tmp_path)
    assert np.allclose(color_at(mesh, [(0.5, 0.5), (2.5, 0.5)]), [[1, 0, 0], [0, 1, 0]])
    assert [note for note in notes if "transparency" in note and "'leaf'" in note] == notes[: int(noted)]


@pytest.mark.parametrize(
    ("image", "texture", "note"),
    [
        ({"uri": "my%20skin.png"}, {"source": 0}, None),
        ({"uri": "my skin.png"}, {"source": 0}, None),
        ({"uri": "data:image/png;base64," + base64.b64encode(packed(picture(RED))).decode()}, {"source": 0}, None),
        ({"uri": "lost.png"}, {"source": 0}, "the texture 'lost.png' is not there or cannot be read"),
        ({"uri": "broken.png"}, {"source": 0}, "the texture 'broken.png' is not there or cannot be read"),
        ({"uri": "a.ktx2"}, {"extensions": {"KHR_texture_basisu": {"source": 0}}}, "'coat' is KTX2 alone (KHR_"),
        ({"uri": "my%20skin.png"}, {"extensions": {"EXT_texture_webp": {"source": 0}}}, None),
        ({"uri": "lost.png"}, {}, "'coat' is without a picture"),
    ],
)
def test_where_a_picture_comes_from(tmp_path: Path, image: Any, texture: Any, note: str | None) -> None:
    (tmp_path / "my skin.png").write_bytes(packed(picture(RED)))
    (tmp_path / "broken.png").write_bytes(b"PNG")
    glb = Glb(images=[image], textures=[texture])
    glb.square(material=glb.material(0, name="coat", factor=[0, 1, 0, 1] if note else None))
    mesh, notes = read(glb, tmp_path)
    assert np.allclose(color_at(mesh, [(0.5, 0.5)]), [0, 1, 0] if note else [1, 0, 0])
    assert [note in found for found in notes] == ([True] if note else [])


def test_an_older_material_shows_its_diffuse_color(tmp_path: Path) -> None:
    glb = Glb()
    extension = {"KHR_materials_pbrSpecularGlossiness": {"diffuseTexture": {"index": glb.texture(HALVES)}}}
    glb.square(material=glb.material(extensions=extension))
    assert np.allclose(color_at(read(glb, tmp_path)[0], MIDDLES), [[1, 0, 0], [0, 0, 1]])
