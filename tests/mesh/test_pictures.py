"""Textures as PNG, JPEG and WebP, in every file that holds or names one."""

import io
import zipfile
from pathlib import Path

import pytest
import torch
import trimesh
from PIL import Image

from nerfkit.mesh.files.io import load_mesh, save_mesh
from nerfkit.mesh.files.pictures import ENDINGS, Encoding, mime_of
from nerfkit.mesh.mesh import Mesh
from tests.mesh.test_gltf import document

ROW = torch.linspace(0, 1, 48)
SMOOTH = torch.stack([ROW.expand(48, -1), ROW.flip(0)[:, None].expand(-1, 48), 0.5 * (ROW * ROW[:, None])], -1)
UVS = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
MESH = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), UVS, texture=SMOOTH)
LEAST = {"png": 1e-9, "jpeg": 2 / 255, "webp": 4 / 255}  # root mean square beyond rounding


@pytest.mark.parametrize("kind", ENDINGS)
def test_every_kind_is_read_back_from_glb_and_obj(tmp_path: Path, kind: str) -> None:
    encoding = Encoding(kind, 95)
    files = save_mesh(MESH, tmp_path / "mesh", ["glb", "obj"], encoding=encoding)
    assert {path.suffix for path in files} == {".glb", ".obj", ".mtl", f".{ENDINGS[kind]}"}
    rounded = (SMOOTH * 255).round() / 255
    for end in ("glb", "obj"):
        texture = load_mesh(tmp_path / f"mesh.{end}").texture
        assert texture is not None
        assert (texture - rounded).square().mean().sqrt() <= LEAST[kind], end
    image = Image.open(tmp_path / f"mesh.{ENDINGS[kind]}")
    assert image.size == (48, 48) and image.format == kind.upper()
    assert mime_of(encoding.packed(SMOOTH)) == f"image/{kind}"
    found = document(tmp_path / "mesh.glb")
    assert found["images"][0]["mimeType"] == f"image/{kind}"
    assert ("EXT_texture_webp" in found.get("extensionsRequired", [])) == (kind == "webp")
    content, view = (tmp_path / "mesh.glb").read_bytes(), found["bufferViews"][found["images"][0]["bufferView"]]
    start = content.index(b"BIN\0") + 4 + view["byteOffset"]
    embedded = Image.open(io.BytesIO(content[start : start + view["byteLength"]]))
    assert embedded.format == kind.upper() and embedded.tobytes() == image.tobytes()
    if kind != "webp":  # which trimesh passes over
        seen = trimesh.load(tmp_path / "mesh.glb", force="mesh").visual.material.baseColorTexture
        assert seen.size == (48, 48)


def test_quality_is_bytes() -> None:
    noise = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
    for kind in ("jpeg", "webp"):
        sizes = [len(Encoding(kind, quality).packed(noise)) for quality in (20, 60, 95)]
        assert sizes == sorted(set(sizes))


def test_usd_holds_jpeg_and_refuses_webp(tmp_path: Path) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    (path,) = save_mesh(MESH, tmp_path / "mesh", ["usdz"], encoding=Encoding("jpeg"))
    with zipfile.ZipFile(path) as package:
        (name,) = [one for one in package.namelist() if one.endswith(".jpg")]
        assert Image.open(io.BytesIO(package.read(name))).format == "JPEG"
    with pytest.raises(ValueError, match="USD knows no WebP"):
        save_mesh(MESH, tmp_path / "other", ["usd"], encoding=Encoding("webp"))
    assert not (tmp_path / "other.usdc").exists()


def test_a_lit_material_is_metallic_roughness_alone(tmp_path: Path) -> None:
    for unlit in (True, False):
        (path,) = save_mesh(MESH, tmp_path / "mesh", ["glb"], torch.full((2, 2), 0.5), unlit=unlit)
        found = document(path)
        assert ("KHR_materials_unlit" in found.get("extensionsUsed", [])) == unlit
        assert ("extensions" in found["materials"][0]) == unlit
        assert found["materials"][0]["pbrMetallicRoughness"].keys() >= {"baseColorTexture", "metallicRoughnessTexture"}
        assert load_mesh(path).texture is not None


def test_a_picture_of_gray_stays_gray() -> None:
    assert Image.open(io.BytesIO(Encoding().packed(SMOOTH[..., 0]))).mode == "L"
