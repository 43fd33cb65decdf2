"""Roughness in a GLB: the second texture of its material."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import torch
import trimesh

from nerfkit.mesh.io import save_mesh
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
