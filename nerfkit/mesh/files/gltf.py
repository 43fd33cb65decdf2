"""Binary glTF 2.0 (GLB) of one mesh, as bytes: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html.

The colors hold the photographs' light, so the material is unlit (KHR_materials_unlit), and a plain rough dielectric
for viewers that do not know that extension.
"""

import json
import struct
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nerfkit.errors import SceneError
from nerfkit.mesh.mesh import Mesh, vertex_normals

_FLOAT, _UINT32 = 5126, 5125
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_REPEAT, _CLAMP_TO_EDGE = 10497, 33071


def split_corners(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One vertex per distinct (vertex, uv) pair, as file formats with a single index need.

    Returns:
        the original vertex of each new one (W,), its uv (W,2) float32, and faces (F,3) over the new vertices.
    """
    if mesh.corner_uvs is None:
        raise ValueError("a mesh without UVs has nothing to split")
    corner = mesh.faces.cpu().numpy().reshape(-1)  # (3F,)
    uv = mesh.corner_uvs.detach().cpu().numpy().reshape(-1, 2)  # (3F, 2)
    key = np.column_stack([corner.astype(np.float64), uv])
    unique, inverse = np.unique(key, axis=0, return_inverse=True)
    return unique[:, 0].astype(np.int64), unique[:, 1:].astype(np.float32), inverse.reshape(-1, 3)


def unit_normals(mesh: Mesh) -> np.ndarray:
    """Smooth normals (V,3) float32; where there is none some unit vector, as formats demand."""
    normals = vertex_normals(mesh.vertices.detach().cpu(), mesh.faces.cpu())
    normals[normals.norm(dim=-1) < 0.5] = torch.tensor([0.0, 0.0, 1.0])
    return normals.numpy()


def outside(uvs: Tensor) -> Tensor:
    """Which UVs (...,) bool lie outside [0,1] by more than rounding, 1e-4, so that a texture repeats there."""
    return (uvs < -1e-4) | (uvs > 1 + 1e-4)


def to_glb(
    mesh: Mesh,
    texture_png: bytes | None,
    surface_png: bytes | None = None,
    up: Sequence[float] = (0.0, 1.0, 0.0),
    name: str = "mesh",
) -> bytes:
    """The mesh with smooth normals, and its UVs and texture (as an embedded PNG) or its vertex colors, as a GLB file.

    glTF measures v downward and stores vertex colors linear, texture colors sRGB; both are converted here. The
    texture repeats where some UV lies outside [0,1]. glTF's world has y up: where ``up`` is another axis a node turns
    the mesh, whose ``extras.nerfkit_up`` tells ``load_mesh`` that the data's own axes are those inside it. The mesh's
    origin is a node's translation, which JSON holds in float64.

    Args:
        texture_png: the base color.
        surface_png: how metallic (blue) and rough (green) the surface is, over the same UVs; None where it is plain
            and matt. Viewers that know the unlit extension, which stays, do not look at it.
        up: the unit vector that points up among the mesh's axes.
        name: of the node, the mesh and the material, and, with what it shows, of each picture.

    Raises:
        SceneError: no faces, which the format cannot hold.
    """
    if not len(mesh.faces):
        raise SceneError("a GLB file cannot hold a mesh without faces; write it as OBJ or PLY")
    vertices = mesh.vertices.detach().cpu()
    normals = unit_normals(mesh)
    builder = _Buffer()
    if mesh.corner_uvs is not None:
        origin, uv, faces = split_corners(mesh)
        attributes = {"TEXCOORD_0": builder.add(np.column_stack([uv[:, 0], 1 - uv[:, 1]]).astype(np.float32), "VEC2")}
    else:
        origin, faces, attributes = np.arange(len(vertices)), mesh.faces.cpu().numpy(), {}
    attributes["POSITION"] = builder.add(vertices.numpy()[origin], "VEC3", bounds=True)
    attributes["NORMAL"] = builder.add(normals[origin], "VEC3")
    if mesh.colors is not None and texture_png is None:
        linear = srgb_to_linear(mesh.colors.detach().cpu().numpy().clip(0, 1))
        attributes["COLOR_0"] = builder.add(linear[origin], "VEC3")
    indices = builder.add(faces.astype(np.uint32).reshape(-1), "SCALAR")

    surface: dict = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    document: dict = {
        "asset": {"version": "2.0", "generator": "nerfkit"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"name": name, "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "extensionsUsed": ["KHR_materials_unlit"],
        "materials": [{"name": name, "pbrMetallicRoughness": surface, "extensions": {"KHR_materials_unlit": {}}}],
    }
    if any(mesh.origin):
        document["nodes"][0]["translation"] = list(mesh.origin)
    if tuple(up) != (0.0, 1.0, 0.0):
        about = {"extras": {"nerfkit_up": list(up)}}
        document["nodes"].append({"name": "y up", "rotation": turn_to_y(up), "children": [0]} | about)
        document["scenes"][0]["nodes"] = [1]
    if texture_png is not None:
        slots = {"baseColorTexture": (texture_png, f"{name} color")}
        if surface_png is not None:
            slots["metallicRoughnessTexture"] = (surface_png, f"{name} roughness")
            surface["metallicFactor"] = 1.0  # what multiplies the texture's own
        repeats = mesh.corner_uvs is not None and bool(outside(mesh.corner_uvs).any())
        wrap = _REPEAT if repeats else _CLAMP_TO_EDGE
        document["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": wrap, "wrapT": wrap}]
        document["textures"] = [{"source": k, "sampler": 0} for k in range(len(slots))]
        document["images"] = []
        for k, (slot, (png, title)) in enumerate(slots.items()):
            surface[slot] = {"index": k}
            document["images"].append({"name": title, "bufferView": builder.add_view(png), "mimeType": "image/png"})
    document |= {"accessors": builder.accessors, "bufferViews": builder.views}
    document["buffers"] = [{"byteLength": len(builder.data)}]

    return _packed(document, bytes(builder.data))


def turn_to_y(up: Sequence[float]) -> list[float]:
    """The quaternion (x,y,z,w) of the shortest turn that takes the unit vector ``up`` to y."""
    x, y, z = up
    turn = np.array([-z, 0.0, x, 1 + y]) if y > -1 + 1e-9 else np.array([1.0, 0, 0, 0])
    return (turn / np.linalg.norm(turn)).tolist()


def _packed(document: dict, binary: bytes) -> bytes:
    """A GLB file of the two chunks."""
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def srgb_to_linear(color: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1 decoding of sRGB values in [0,1]."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(color: np.ndarray) -> np.ndarray:
    """The inverse of ``srgb_to_linear``."""
    bright = 1.055 * np.maximum(color, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(color <= 0.0031308, color * 12.92, bright).astype(np.float32)


class _Buffer:
    """The binary chunk being filled, with the views and accessors that describe it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict] = []
        self.accessors: list[dict] = []

    def add_view(self, content: bytes, target: int | None = None) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        self.views.append(view | ({"target": target} if target else {}))
        self.data += content
        self.data += b"\0" * (-len(self.data) % 4)
        return len(self.views) - 1

    def add(self, array: np.ndarray, kind: str, bounds: bool = False) -> int:
        indices = array.dtype == np.uint32
        view = self.add_view(array.tobytes(), _ELEMENT_ARRAY_BUFFER if indices else _ARRAY_BUFFER)
        accessor = {
            "bufferView": view,
            "componentType": _UINT32 if indices else _FLOAT,
            "count": len(array),
            "type": kind,
        }
        if bounds:
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1
