"""Binary glTF 2.0 (GLB) of one mesh, as bytes: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html.

The colors hold the photographs' light, so the material is unlit (KHR_materials_unlit), and a plain rough dielectric
for viewers that do not know that extension; without it, that alone.
"""

import json
import struct
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nerfkit.errors import SceneError
from nerfkit.mesh.files.gltf_buffer import Buffer
from nerfkit.mesh.files.gltf_cameras import Shots, add_shots
from nerfkit.mesh.files.pictures import mime_of
from nerfkit.mesh.mesh import Mesh, vertex_normals

_REPEAT, _CLAMP_TO_EDGE = 10497, 33071
UNLIT, WEBP = "KHR_materials_unlit", "EXT_texture_webp"


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
    texture: bytes | None,
    surface: bytes | None = None,
    up: Sequence[float] = (0.0, 1.0, 0.0),
    name: str = "mesh",
    unlit: bool = True,
    shots: Sequence[Shots] = (),
) -> bytes:
    """The mesh with smooth normals, and its UVs and texture (embedded) or its vertex colors, as a GLB file.

    glTF measures v downward and stores vertex colors linear, texture colors sRGB; both are converted here. The
    texture repeats where some UV lies outside [0,1]. glTF's world has y up: where ``up`` is another axis a node turns
    the mesh, whose ``extras.nerfkit_up`` tells ``load_mesh`` that the data's own axes are those inside it. The mesh's
    origin is a node's translation, which JSON holds in float64.

    Args:
        texture: the base color, a PNG, JPEG or WebP; of the last the file says that it needs EXT_texture_webp.
        surface: how metallic (blue) and rough (green) the surface is, over the same UVs; None where it is plain
            and matt. Viewers that know the unlit extension do not look at it where that is there.
        up: the unit vector that points up among the mesh's axes.
        name: of the node, the mesh and the material, and, with what it shows, of each picture.
        unlit: viewers are to show the colors as they are; else they light a metallic-roughness material.
        shots: cameras in the mesh's axes and units, to stand beside it.

    Raises:
        SceneError: no faces, which the format cannot hold.
    """
    if not len(mesh.faces):
        raise SceneError("a GLB file cannot hold a mesh without faces; write it as OBJ or PLY")
    vertices = mesh.vertices.detach().cpu()
    normals = unit_normals(mesh)
    builder = Buffer()
    if mesh.corner_uvs is not None:
        origin, uv, faces = split_corners(mesh)
        attributes = {"TEXCOORD_0": builder.add(np.column_stack([uv[:, 0], 1 - uv[:, 1]]).astype(np.float32), "VEC2")}
    else:
        origin, faces, attributes = np.arange(len(vertices)), mesh.faces.cpu().numpy(), {}
    attributes["POSITION"] = builder.add(vertices.numpy()[origin], "VEC3", bounds=True)
    attributes["NORMAL"] = builder.add(normals[origin], "VEC3")
    if mesh.colors is not None and texture is None:
        linear = srgb_to_linear(mesh.colors.detach().cpu().numpy().clip(0, 1))
        attributes["COLOR_0"] = builder.add(linear[origin], "VEC3")
    indices = builder.add(faces.astype(np.uint32).reshape(-1), "SCALAR")

    coat: dict = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    document: dict = {
        "asset": {"version": "2.0", "generator": "nerfkit"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"name": name, "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [{"name": name, "pbrMetallicRoughness": coat}],
    }
    if unlit:
        document["materials"][0]["extensions"] = {UNLIT: {}}
        document["extensionsUsed"] = [UNLIT]
    if any(mesh.origin):
        document["nodes"][0]["translation"] = list(mesh.origin)
    add_shots(document, builder, shots, mesh)
    if tuple(up) != (0.0, 1.0, 0.0):
        about = {"extras": {"nerfkit_up": list(up)}}
        inside = document["scenes"][0]["nodes"]
        document["scenes"][0]["nodes"] = [len(document["nodes"])]
        document["nodes"].append({"name": "y up", "rotation": turn_to_y(up), "children": inside} | about)
    if texture is not None:
        slots = {"baseColorTexture": (texture, f"{name} color")}
        if surface is not None:
            slots["metallicRoughnessTexture"] = (surface, f"{name} roughness")
            coat["metallicFactor"] = 1.0  # what multiplies the texture's own
        repeats = mesh.corner_uvs is not None and bool(outside(mesh.corner_uvs).any())
        wrap = _REPEAT if repeats else _CLAMP_TO_EDGE
        document["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": wrap, "wrapT": wrap}]
        document["textures"], document["images"] = [], []
        for k, (slot, (picture, title)) in enumerate(slots.items()):
            coat[slot], mime = {"index": k}, mime_of(picture)
            document["images"].append({"name": title, "bufferView": builder.add_view(picture), "mimeType": mime})
            source: dict = {"source": k}
            if mime == "image/webp":
                source = {"extensions": {WEBP: source}}
                document["extensionsRequired"] = [WEBP]
                document["extensionsUsed"] = [*document.get("extensionsUsed", []), WEBP]
            document["textures"].append(source | {"sampler": 0})
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
