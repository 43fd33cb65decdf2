"""GLB files: roughness as the second texture, what repeats, plain colors, and files that cannot be read."""

import io
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

from nerfkit.errors import SceneError
from nerfkit.mesh.files.gltf import linear_to_srgb
from nerfkit.mesh.files.gltf_cameras import Shots
from nerfkit.mesh.files.io import load_mesh, save_mesh, texture_colors
from nerfkit.mesh.files.pictures import Encoding
from nerfkit.mesh.mesh import Mesh

UVS = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])


def triangle() -> Mesh:
    return Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), UVS, texture=torch.rand(4, 8, 3))


def document(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    length = struct.unpack("<I", content[12:16])[0]
    found: dict[str, Any] = json.loads(content[20 : 20 + length])
    found["png"] = []
    for image in found.get("images", []):
        view = found["bufferViews"][image["bufferView"]]
        start = 20 + length + 8 + view["byteOffset"]
        found["png"].append(iio.imread(io.BytesIO(content[start : start + view["byteLength"]])))
    return found


def test_roughness_is_green_and_nothing_is_metal(tmp_path: Path) -> None:
    rough = torch.tensor([[0.2, 1.0], [0.5, 0.0]])
    (path,) = save_mesh(triangle(), tmp_path / "mesh", ["glb"], rough)
    found = document(path)
    surface = found["materials"][0]["pbrMetallicRoughness"]
    assert surface["baseColorTexture"]["index"] == 0 and surface["metallicRoughnessTexture"]["index"] == 1
    assert found["textures"] == [{"source": 0, "sampler": 0}, {"source": 1, "sampler": 0}]
    assert "KHR_materials_unlit" in found["materials"][0]["extensions"]
    assert found["png"][0].shape == (4, 8, 3)
    assert found["png"][1][..., 1].tolist() == [[51, 255], [128, 0]]
    assert found["png"][1][..., 2].max() == 0
    material = trimesh.load(path, force="mesh").visual.material
    assert material.metallicRoughnessTexture.size == (2, 2)


def test_without_it_the_material_is_plain(tmp_path: Path) -> None:
    (path,) = save_mesh(triangle(), tmp_path / "mesh", ["glb"])
    surface = document(path)["materials"][0]["pbrMetallicRoughness"]
    assert surface == {"metallicFactor": 0.0, "roughnessFactor": 1.0, "baseColorTexture": {"index": 0}}
    bare = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]))
    (path,) = save_mesh(bare, tmp_path / "bare", ["glb"], torch.ones(2, 2))
    assert "images" not in document(path), "without a texture there is nowhere to put it"


def rewritten(path: Path, **changes: Any) -> bytes:
    """The file with other keys in its JSON."""
    content = path.read_bytes()
    length = struct.unpack("<I", content[12:16])[0]
    text = json.dumps(json.loads(content[20 : 20 + length]) | changes).encode()
    text += b" " * (-len(text) % 4)
    rest = content[20 + length :]
    return struct.pack("<4s3I4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest


def test_a_texture_repeats_where_uvs_leave_it(tmp_path: Path) -> None:
    for shift, wrap in ((0.0, 33071), (1.0, 10497)):
        mesh = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), UVS * 0.9 + 0.05 + shift, texture=torch.rand(4, 8, 3))
        (path,) = save_mesh(mesh, tmp_path / "mesh", ["glb"])
        assert document(path)["samplers"][0]["wrapS"] == document(path)["samplers"][0]["wrapT"] == wrap
        inside = Mesh(mesh.vertices, mesh.faces, UVS * 0.9 + 0.05, texture=mesh.texture)
        assert torch.equal(texture_colors(mesh), texture_colors(inside))


def test_a_mesh_without_faces_is_refused_with_a_reason(tmp_path: Path) -> None:
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    with pytest.raises(SceneError, match="cannot hold a mesh without faces"):
        save_mesh(empty, tmp_path / "mesh", ["glb"])
    assert not list(tmp_path.iterdir())


def test_the_plain_color_of_a_material_is_read(tmp_path: Path) -> None:
    bare = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]))
    (path,) = save_mesh(bare, tmp_path / "bare", ["glb"])
    material = {"pbrMetallicRoughness": {"baseColorFactor": [1.0, 0.0, 0.21404, 1.0]}}
    path.write_bytes(rewritten(path, materials=[material]))
    loaded = load_mesh(path)
    assert loaded.colors is not None
    assert torch.allclose(loaded.colors, torch.tensor([1.0, 0.0, 0.5]).expand(3, 3), atol=0.005)  # linear to sRGB


@pytest.mark.parametrize("named", [True, False])
def test_uvs_without_a_texture_stay_and_so_do_colors(tmp_path: Path, named: bool) -> None:
    """Exporters write UVs whether or not there is a texture, and may leave the material out."""
    mesh = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), UVS)
    (path,) = save_mesh(mesh, tmp_path / "mesh", ["glb"])
    red = {"pbrMetallicRoughness": {"baseColorFactor": [1.0, 0.0, 0.0, 1.0]}}
    (part,) = document(path)["meshes"][0]["primitives"]
    part = part if named else {key: value for key, value in part.items() if key != "material"}
    path.write_bytes(rewritten(path, materials=[red] if named else [], meshes=[{"primitives": [part]}]))
    loaded = load_mesh(path)
    assert loaded.corner_uvs is not None and torch.equal(loaded.corner_uvs, UVS)
    assert loaded.texture is None and loaded.provenance.get("notes") is None
    if named:
        assert loaded.colors is not None
        assert torch.allclose(loaded.colors, torch.tensor([1.0, 0, 0]).expand(3, 3))
    else:
        assert loaded.colors is None


def test_a_rounding_beyond_one_does_not_repeat_the_texture(tmp_path: Path) -> None:
    """The last column of texels is red; u = 1 and a float32 above it lie there, also beside a u that does repeat."""
    texture = torch.zeros(1, 4, 3)
    texture[0, 3, 0] = 1
    for last, wrap in ((1.0, 33071), (1 + 1e-7, 33071), (1.4, 10497)):
        uvs = torch.tensor([[[1.0, 0.5], [1 + 1e-7, 0.5], [last, 0.5]]])
        mesh = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), uvs, texture=texture)
        (path,) = save_mesh(mesh, tmp_path / "mesh", ["glb"])
        assert document(path)["samplers"][0]["wrapS"] == wrap
        assert texture_colors(mesh)[:, 0].tolist() == [1, 1, 0 if last == 1.4 else 1]


@pytest.mark.parametrize("name", ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_texture_basisu"])
def test_an_extension_that_the_file_needs_is_named(tmp_path: Path, name: str) -> None:
    (path,) = save_mesh(triangle(), tmp_path / "mesh", ["glb"])
    good = path.read_bytes()
    path.write_bytes(rewritten(path, extensionsRequired=["KHR_materials_unlit"]))
    assert len(load_mesh(path).faces) == 1
    path.write_bytes(good)
    path.write_bytes(rewritten(path, extensionsRequired=["KHR_materials_unlit", name]))
    with pytest.raises(SceneError, match=f"mesh.glb: it needs {name}, which is not read"):
        load_mesh(path)


def test_a_file_that_is_cut_off_says_so(tmp_path: Path) -> None:
    (path,) = save_mesh(triangle(), tmp_path / "mesh", ["glb"])
    content = path.read_bytes()
    for length in (0, 4, 19, 20, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(SceneError, match=rf"mesh\.glb: .*({length} of {len(content)} bytes|begins with glTF)"):
            load_mesh(path)
    path.write_bytes(content[:4] + struct.pack("<I", 1) + content[8:])
    with pytest.raises(SceneError, match="glTF 1, expected 2"):
        load_mesh(path)


@pytest.mark.parametrize(("kind", "code", "one"), [("u1", 5121, 255), ("<u2", 5123, 65535), ("<i2", 5122, 32767)])
def test_normalized_integers_are_shares_of_one(tmp_path: Path, kind: str, code: int, one: int) -> None:
    """UVs and colors may be such by the core format, positions with KHR_mesh_quantization."""
    positions = np.zeros((3, 4), kind)  # padded rows, as the format demands
    positions[:, :3] = np.eye(3) * one
    uvs = np.array([[0, 0], [one, 0], [0, one]], kind)
    uvs = np.pad(uvs, ((0, 0), (0, 4 // uvs.itemsize - 2)))
    linear = np.array([[1, 0.5, 0, 1], [0.25, 0.75, 1, 1], [0, 0.1, 0.9, 1]])
    colors = np.rint(linear * one).astype(kind)
    (path,) = save_mesh(triangle(), tmp_path / "mesh", ["glb"])
    content = path.read_bytes()
    length = struct.unpack("<I", content[12:16])[0]
    old, binary = json.loads(content[20 : 20 + length]), content[28 + length :]
    attributes = old["meshes"][0]["primitives"][0]["attributes"]
    for name, table, type in (
        ("POSITION", positions, "VEC3"),
        ("TEXCOORD_0", uvs, "VEC2"),
        ("COLOR_0", colors, "VEC4"),
    ):
        view = {"buffer": 0, "byteOffset": len(binary), "byteLength": table.nbytes, "byteStride": table.strides[0]}
        binary += table.tobytes()
        attributes[name] = len(old["accessors"])
        old["accessors"].append({"bufferView": len(old["bufferViews"]), "componentType": code, "normalized": True})
        old["accessors"][-1] |= {"count": 3, "type": type}
        old["bufferViews"].append(view)
    old["buffers"][0]["byteLength"] = len(binary)
    old["extensionsRequired"] = ["KHR_mesh_quantization"]
    old["materials"] = [{}]  # a texture would hide the colors
    text = json.dumps(old).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    loaded = load_mesh(path)
    assert torch.equal(loaded.vertices[loaded.faces], torch.eye(3)[None])
    assert loaded.corner_uvs is not None
    assert loaded.corner_uvs.tolist() == [[[0, 1], [1, 1], [0, 0]]]  # v is measured downward there
    assert loaded.colors is not None
    expected = torch.from_numpy(linear_to_srgb(linear[None, :, :3]))
    assert torch.allclose(loaded.colors[loaded.faces], expected, atol=0.01 if one == 255 else 1e-4)


def test_a_picture_beside_the_file_is_found(tmp_path: Path) -> None:
    (path,) = save_mesh(triangle(), tmp_path / "mesh", ["glb"])
    iio.imwrite(tmp_path / "skin.png", document(path)["png"][0])
    expected = load_mesh(path).texture
    path.write_bytes(rewritten(path, images=[{"uri": "skin.png"}]))
    found = load_mesh(path).texture
    assert found is not None and expected is not None
    assert torch.equal(found, expected)


def validate(path: Path) -> dict[str, Any]:
    """What Khronos' validator says of a file, if Node.js finds it (NODE_PATH)."""
    script = """
        const validator = require("gltf-validator"), fs = require("fs");
        validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
            .then((report) => console.log(JSON.stringify(report.issues)));
    """
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    done = subprocess.run(["node", "-e", script, str(path)], capture_output=True, text=True, check=False)
    if "Cannot find module 'gltf-validator'" in done.stderr:
        pytest.skip("npm's gltf-validator is not installed, or not in NODE_PATH")
    issues: dict[str, Any] = json.loads(done.stdout)
    return issues


COLORS = torch.tensor([[0.0, 0.5, 1.0], [1, 0, 0], [0.2, 0.2, 0.2]])
KINDS = {
    "bare": Mesh(torch.eye(3), torch.tensor([[0, 1, 2]])),
    "flat": Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2], [0, 0, 1]])),
    "colors": Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), colors=COLORS),
    "uvs alone": Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), UVS),
    "texture": Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), UVS, texture=torch.ones(3, 5, 3)),
    "repeats": Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), UVS * 3, COLORS, torch.ones(4, 8, 3)),
    "far": Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), origin=(500000.0, 4649776.0, 100.0)),
}
UPS = [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (0.6, 0.0, -0.8)]


VARIANTS: list[dict[str, Any]] = [
    {},
    {"unlit": False},
    {"encoding": Encoding("jpeg")},
    {"encoding": Encoding("webp"), "unlit": False, "shots": True},
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_khronos_validator_has_nothing_to_say(tmp_path: Path, kind: str) -> None:
    for number, (up, variant) in enumerate(zip(UPS, VARIANTS, strict=True)):
        rough, mesh = torch.full((2, 2), 0.5) if number else None, KINDS[kind]
        if "shots" in variant:
            poses = np.eye(3, 4)[None] + np.array([[0, 0, 0, x] for x in mesh.origin])
            two = Shots(["a", "b"], poses.repeat(2, 0), np.full((2, 4), 9.0), [(9, 8), (9, 8)])
            variant = variant | {"shots": [two, two._replace(names=["path"], fps=5.0)]}
        (path,) = save_mesh(mesh, tmp_path / f"mesh {number}", ["glb"], rough, up, **variant)
        issues = validate(path)
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


@pytest.mark.parametrize("up", UPS)
def test_a_glb_is_y_up_and_comes_back_in_its_own_axes(tmp_path: Path, up: tuple[float, float, float]) -> None:
    """An independent reader finds ``up`` at +y, turned and not mirrored; ours undoes the turn, the origin too."""
    mesh = Mesh(torch.cat([torch.eye(3), torch.tensor([up])]), torch.tensor([[0, 1, 2], [0, 1, 3]]))
    for origin in ((0.0, 0.0, 0.0), (500000.25, 4649776.5, 100.0)):
        moved = Mesh(mesh.vertices, mesh.faces, origin=origin)
        (path,) = save_mesh(moved, tmp_path / "mesh", ["glb"], up=up)
        assert torch.equal(load_mesh(path).positions, moved.positions)
        if any(origin):
            continue
        scene = trimesh.load(path)
        points = scene.to_geometry().vertices
        assert np.allclose(points[3], [0, 1, 0], atol=1e-6)
        assert np.linalg.det(points[:3]) == pytest.approx(1)


def test_everything_in_a_glb_has_a_name(tmp_path: Path) -> None:
    (path,) = save_mesh(triangle(), tmp_path / "clock", ["glb"], torch.ones(2, 2), (0.0, 0.0, 1.0))
    found = document(path)
    names = {key: [one["name"] for one in found[key]] for key in ("nodes", "meshes", "materials", "images")}
    assert names == {
        **{"nodes": ["clock", "y up"], "meshes": ["clock"], "materials": ["clock"]},
        "images": ["clock color", "clock roughness"],
    }
