"""Reading a binary glTF 2.0 file: the triangles of the shown scene, each part with its own base color.

https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html; base color = baseColorTexture x baseColorFactor x COLOR_0.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from nerfkit.errors import SceneError
from nerfkit.mesh.files.atlas import Paint, pack
from nerfkit.mesh.files.gltf import linear_to_srgb
from nerfkit.mesh.files.gltf_file import LEAST, READ, GlbFile
from nerfkit.mesh.files.gltf_materials import BASIS, Coat, Materials
from nerfkit.mesh.files.materials import unit_texture
from nerfkit.mesh.mesh import Mesh

POINTS, LINES, TRIANGLES, STRIP, FAN = 0, (1, 2, 3), 4, 5, 6
MOST = 1 << 24  # vertices or faces of a file whose nodes repeat them; more where the file itself is larger
DRACO = "KHR_draco_mesh_compression"
HARMLESS = (*READ, BASIS, DRACO, "EXT_meshopt_compression")  # said where they matter


class _Part(NamedTuple):
    """One primitive at one node, in the world."""

    positions: np.ndarray  # (V, 3) float64
    faces: np.ndarray  # (F, 3)
    uvs: np.ndarray | None  # (V, 2), v upward
    colors: np.ndarray | None  # (V, 3) in linear light
    paint: Paint


def read_glb(path: Path) -> tuple[Mesh, list[str]]:
    """The mesh of a GLB file, and notes on what was passed over or repaired.

    All triangles, strips and fans of the shown scene become one mesh. Where no part has a texture, the factors and
    colors become colors of vertices; white everywhere becomes none. Else all become one texture: see ``pack``.

    Raises:
        SceneError: not GLB 2.0, cut off, compressed, an index out of range, or no triangle.
    """
    file = GlbFile(path)
    notes: list[str] = []
    document = file.document
    materials = Materials(file, notes)
    parts: list[_Part] = []
    others = skinned = rows = 0
    for node, matrix in file.placed(notes):
        mesh = document["meshes"][node["mesh"]]
        skinned += "skin" in node
        if any(node.get("weights", mesh.get("weights", ()))):
            notes.append(f"passed over the morph targets of mesh {mesh.get('name', node['mesh'])!r}")
        counted: set[int] = set()  # vertices that several parts share
        for primitive in mesh["primitives"]:
            if primitive.get("mode", TRIANGLES) in (TRIANGLES, STRIP, FAN):
                part = _part(file, primitive, matrix, materials.coat(primitive.get("material")), notes)
                shared = primitive["attributes"]["POSITION"]
                rows += max(0 if shared in counted else len(part.positions), len(part.faces))
                counted.add(shared)
                if rows > max(file.size, MOST) or len(parts) > max(file.size // 64, LEAST):
                    raise SceneError(
                        f"{path}: its nodes repeat meshes to {len(parts):,} parts with {rows:,} vertices; save it as "
                        "one mesh"
                    )
                parts.append(part)
            else:
                others += 1
    notes += [f"passed over {others} parts that are points or lines"] if others else []
    notes += [f"passed over the skins of {skinned} meshes: they are as they were modeled"] if skinned else []
    if document.get("animations") and not _cameras_alone(document):
        notes.append("passed over the animations: the mesh is as it was modeled")
    unknown = [name for name in document.get("extensionsUsed", []) if not name.startswith(HARMLESS)]
    notes += [f"passed over {', '.join(unknown)}"] if unknown else []
    if not sum(len(part.faces) for part in parts):
        raise SceneError(f"{path}: it holds no triangles; expected a surface mesh")
    notes[:] = dict.fromkeys(notes)
    return _joined(path, parts, notes), notes


def _cameras_alone(document: dict[str, Any]) -> bool:
    """Whether all that animations move is cameras, as of a GLB that was written with a path."""
    nodes = document.get("nodes", [])
    moved = [channel.get("target", {}) for one in document["animations"] for channel in one.get("channels", [])]
    held = [nodes[target["node"]] for target in moved if target.get("node") in range(len(nodes))]
    return len(held) == len(moved) > 0 and all("camera" in node and not node.get("children") for node in held)


def _part(file: GlbFile, primitive: dict[str, Any], matrix: np.ndarray, coat: Coat, notes: list[str]) -> _Part:
    attributes = primitive["attributes"]
    place = file.document["accessors"][attributes["POSITION"]]
    if DRACO in primitive.get("extensions", {}) and "bufferView" not in place:
        raise SceneError(f"{file.path}: it needs {DRACO}, which is not read here; export it without compression")
    positions = file.numbers(attributes["POSITION"]).astype(np.float64)
    order = np.arange(len(positions))
    if "indices" in primitive:
        order = file.numbers(primitive["indices"])[:, 0].astype(np.int64)
    if len(order) and (order.max() >= len(positions) or order.min() < 0):
        wrong = order.max() if order.max() >= len(positions) else order.min()
        there = f"but there are {len(positions)} (numbered from 0)"
        raise SceneError(f"{file.path}: a face names vertex {wrong}, {there}; export it again")
    faces = _triangles(order, primitive.get("mode", TRIANGLES))
    if np.linalg.det(matrix[:3, :3]) < 0:  # a mirror image: counter-clockwise is clockwise there
        faces = faces[:, ::-1]
    uvs, paint = None, coat.paint
    name = f"TEXCOORD_{coat.uv_set}"
    if name in attributes:
        uvs = file.numbers(attributes[name]).astype(np.float64)
        if len(uvs) != len(positions) or not np.isfinite(uvs).all():
            notes.append(
                f"dropped the UVs: {len(uvs)} for {len(positions)} vertices, expected one finite pair for each"
            )
            uvs = None
    if uvs is not None:
        u, v = coat.transform @ np.column_stack([uvs, np.ones(len(uvs))]).T
        uvs = np.column_stack([u, 1 - v])
    elif paint.image is not None:
        notes.append(f"the texture of material {paint.name!r} is not used: faces have no UVs {name}")
        paint = paint._replace(image=None)
    colors, opacity = None, coat.opacity[0]
    if "COLOR_0" in attributes:
        table = file.numbers(attributes["COLOR_0"]).astype(np.float64)
        colors, opacity = np.clip(table[:, :3], 0, 1), opacity * float(table[:, 3:].min(initial=1))
        if len(colors) != len(positions) or not np.isfinite(colors).all():
            notes.append("dropped the vertex colors: expected one finite color for each vertex")
            colors = None
    if opacity < coat.opacity[1]:
        notes.append(f"passed over the transparency of material {coat.name!r}")
    return _Part(positions @ matrix[:3, :3].T + matrix[:3, 3], faces, uvs, colors, paint)


def _triangles(order: np.ndarray, mode: int) -> np.ndarray:
    """Faces (F,3) of the vertices in a primitive's order; what is left over at its end is no triangle."""
    if mode == TRIANGLES:
        return order[: len(order) // 3 * 3].reshape(-1, 3)
    step = np.arange(max(len(order) - 2, 0))
    if mode == FAN:
        return np.stack([order[step + 1], order[step + 2], order[np.zeros_like(step)]], -1)
    return np.stack([order[step], order[step + 1 + step % 2], order[step + 2 - step % 2]], -1)


def _joined(path: Path, parts: list[_Part], notes: list[str]) -> Mesh:
    """All parts as one mesh."""
    first = np.cumsum([0] + [len(part.positions) for part in parts])
    positions = torch.from_numpy(np.concatenate([part.positions for part in parts]))
    faces = np.concatenate([part.faces + start for part, start in zip(parts, first, strict=False)])
    tints = [np.ones((len(part.positions), 3)) if part.colors is None else part.colors for part in parts]
    corner_uvs = texture = colors = None
    if any(part.uvs is not None for part in parts):
        uvs = [np.zeros((len(part.positions), 2)) if part.uvs is None else part.uvs for part in parts]
        corner_uvs = np.concatenate(uvs)[faces]
        bare = sum(len(part.faces) for part in parts if part.uvs is None)
    paints = [part.paint for part in parts]
    if corner_uvs is not None and any(paint.image is not None for paint in paints):
        part_of = np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts])
        texture, corner_uvs = pack(paints, part_of, corner_uvs, np.concatenate(tints)[faces], notes)
    else:
        if corner_uvs is not None and bare:
            notes.append(f"{bare} faces have corners without UV: they lie at (0, 0)")
        linear = np.concatenate([tint * paint.factor for tint, paint in zip(tints, paints, strict=True)])
        if any(part.colors is not None for part in parts) or (linear < 1).any():
            colors = torch.from_numpy(linear_to_srgb(linear))
    uv_tensor = None if corner_uvs is None else torch.from_numpy(corner_uvs).float()
    mesh = Mesh(
        positions.float(), torch.from_numpy(faces), uv_tensor, colors, unit_texture(texture), {"path": str(path)}
    )
    return mesh.at(positions)
