"""A glTF 2.0 file, binary or text, taken apart: its JSON, its accessors' numbers, where its nodes place meshes."""

import base64
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import numpy as np

from nerfkit.errors import SceneError
from nerfkit.runs.untrusted import RefusedError, inside, parse_json, read_file

# What a file may need: these are read, or say nothing about geometry and base colors.
READ = (
    *("KHR_materials_", "KHR_lights_", "KHR_mesh_quantization", "KHR_texture_transform", "EXT_texture_webp"),
    *("KHR_xmp_json_ld", "EXT_lights_"),
)
COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
LEAST = 1 << 16  # nodes that are looked at, and rows of an accessor without data, however small the file
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}


class GlbFile:
    """The JSON ``document`` of a GLB file, or of a glTF one, whose buffers lie beside it; and the buffers.

    Raises:
        SceneError: it is not glTF 2.0, is cut off, or needs an extension without which it reads as something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = read_file(path)
        self.size = len(content)
        if path.suffix.lower() == ".gltf":
            self.document: dict[str, Any] = parse_json(content)
            self._buffers: dict[int, bytes] = {}
        else:
            self._take_apart(content)
        needed = [name for name in self.document.get("extensionsRequired", []) if not name.startswith(READ)]
        if needed:
            raise SceneError(
                f"{path}: it needs {', '.join(needed)}, which is not read here; export it without compression and "
                "extensions"
            )

    def _take_apart(self, content: bytes) -> None:
        """Finds the two chunks of a GLB file."""
        path = self.path
        if len(content) < 20 or content[:4] != b"glTF" or content[16:20] != b"JSON":
            raise SceneError(f"{path}: it cannot be read as GLB, which begins with glTF and JSON; export it again")
        version, total, length = struct.unpack_from("<3I", content, 4)
        if version != 2 or len(content) < total:
            what = f"{len(content)} of {total} bytes are there" if version == 2 else f"it is glTF {version}, expected 2"
            raise SceneError(f"{path}: it cannot be read as glTF ({what}); export it again")
        self.document = parse_json(content[20 : 20 + length])
        self._buffers = {0: content[28 + length : total]}  # behind the chunk's own length and name

    def resource(self, uri: str) -> bytes:
        """The bytes of a data URI, or of a file beside or below this one, whose name is percent-encoded (RFC 3986).

        Raises:
            RefusedError: the file lies elsewhere.
            OSError, ValueError: there is no such file.
        """
        if uri.startswith("data:"):
            head, _, data = uri.partition(",")
            return base64.b64decode(data) if head.endswith(";base64") else unquote_to_bytes(data)
        folder, name = self.path.parent, unquote(uri)
        return read_file(inside(folder, name if inside(folder, name).is_file() else uri))

    def view(self, number: int) -> tuple[bytes, int, int, int | None]:
        """A buffer view: its buffer, where it begins and ends there, and its stride."""
        view = self.document["bufferViews"][number]
        which = view.get("buffer", 0)
        buffer = self.document["buffers"][which]
        if "uri" in buffer and (which not in self._buffers or which == 0):
            try:
                self._buffers[which] = self.resource(buffer["uri"])
            except RefusedError as error:
                raise SceneError(f"{self.path}: its buffer {buffer['uri'][:80]!r}: {error}") from None
            except (OSError, ValueError):
                name = buffer["uri"][:80]
                raise SceneError(f"{self.path}: its buffer {name!r} is not there; put the file beside it") from None
        start = view.get("byteOffset", 0)
        if start < 0 or view["byteLength"] < 0:
            raise SceneError(f"{self.path}: a buffer view begins at byte {start}; export it again")
        end = start + view["byteLength"]
        there = len(self._buffers.get(which, b""))
        if end > there:
            raise SceneError(
                f"{self.path}: a buffer view ends at byte {end} of buffer {which}, which holds {there}; export it "
                "again, without compression"
            )
        return self._buffers[which], start, end, view.get("byteStride")

    def bytes_of(self, number: int) -> bytes:
        """What a buffer view holds."""
        buffer, start, end, _ = self.view(number)
        return buffer[start:end]

    def numbers(self, number: int) -> np.ndarray:
        """An accessor's table (n,width), sparse ones filled in; normalized integers become float64 in [-1,1]."""
        accessor = self.document["accessors"][number]
        kind, width = np.dtype(COMPONENTS[accessor["componentType"]]), WIDTHS[accessor["type"]]
        count = accessor["count"]
        if "bufferView" in accessor:
            table = self._table(accessor["bufferView"], accessor.get("byteOffset", 0), kind, count, width)
        elif count > max(self.size, LEAST):  # without data: each number would cost nothing to ask for
            raise SceneError(f"{self.path}: an accessor without data has {count} rows; export it again")
        else:
            table = np.zeros((count, width), kind)
        if "sparse" in accessor:
            sparse, table = accessor["sparse"], table.copy()
            where, what = sparse["indices"], sparse["values"]
            index = np.dtype(COMPONENTS[where["componentType"]])
            rows = self._table(where["bufferView"], where.get("byteOffset", 0), index, sparse["count"], 1)[:, 0]
            table[rows] = self._table(what["bufferView"], what.get("byteOffset", 0), kind, sparse["count"], width)
        if accessor.get("normalized") and kind.kind in "iu":
            return np.maximum(table / np.iinfo(kind).max, -1)  # the lowest integer is -1, too
        return table

    def _table(self, view: int, offset: int, kind: np.dtype, count: int, width: int) -> np.ndarray:
        buffer, start, end, stride = self.view(view)
        row = stride or kind.itemsize * width
        last = start + offset + row * (count - 1) + kind.itemsize * width
        if count and (last > end or offset < 0):
            raise SceneError(f"{self.path}: an accessor reaches {last - end} bytes beyond its data; export it again")
        return (
            np.ndarray((count, width), kind, buffer, start + offset, (row, kind.itemsize))
            if count
            else (np.zeros((0, width), kind))
        )

    def placed(self, notes: list[str]) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        """The nodes with meshes of the scene that is shown, and their matrices (4,4) float64 to the world.

        Where no scene is named the first one is shown, and where there is none all nodes are. The node that turns the
        axes of a mesh written by ``to_glb`` to glTF's is passed over: the mesh comes back in its own.

        Raises:
            SceneError: a node is inside itself, or nodes share their children so often that there is no end of them.
        """
        nodes, scenes = self.document.get("nodes", []), self.document.get("scenes", [])
        shown = self.document.get("scene", 0)
        inner = {child for node in nodes for child in node.get("children", [])}
        roots = scenes[shown].get("nodes", []) if scenes else [k for k in range(len(nodes)) if k not in inner]
        if len(scenes) > 1:
            notes.append(f"read scene {shown} of {len(scenes)}")
        stack = [(root, np.eye(4), 0) for root in reversed(roots)]
        looked = 0
        while stack:
            number, above, depth = stack.pop()
            looked += 1
            if depth > len(nodes) or looked > max(self.size, LEAST):
                raise SceneError(f"{self.path}: node {number} is inside itself; export it again")
            node = nodes[number]
            extras = node.get("extras")
            turns = isinstance(extras, dict) and "nerfkit_up" in extras
            matrix = above if turns else above @ node_matrix(node)
            if "mesh" in node:
                yield node, matrix
            stack += [(child, matrix, depth + 1) for child in reversed(node.get("children", []))]


def node_matrix(node: dict[str, Any]) -> np.ndarray:
    """A node's matrix (4,4): the one it states, by columns, or translation x rotation x scale."""
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), dtype=np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= node.get("scale", (1, 1, 1))
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix
