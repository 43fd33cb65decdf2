"""GLB files made by hand, for the reader's tests."""

import json
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch

from nerfkit.kernels import use
from nerfkit.kernels.texture import sample_texture
from nerfkit.mesh.mesh import Mesh

CODES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
SQUARE = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture(*colors: tuple[int, ...], size: int = 4) -> np.ndarray:
    """Stripes of these colors from left to right, each ``size`` texels wide and high."""
    return np.repeat(np.repeat(np.uint8([colors]), size, 0), size, 1)


class Glb:
    """A document that grows part by part, each at a node of its own."""

    def __init__(self, **document: Any) -> None:
        self.binary = b""
        self.document: dict[str, Any] = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": []}]}
        self.document |= {key: [] for key in ("nodes", "meshes", "accessors", "bufferViews")} | document

    def view(self, content: bytes, **more: Any) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        place = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content)}
        self.document["bufferViews"].append(place | more)
        self.binary += content
        return len(self.document["bufferViews"]) - 1

    def accessor(self, array: Any, **more: Any) -> int:
        """Numbers (n,) or (n,width); floats become float32, integers stay what they are."""
        array = np.asarray(array)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        kind = "SCALAR" if array.ndim == 1 else f"VEC{array.shape[1]}"
        found = {"componentType": CODES[array.dtype.str[1:]], "count": len(array), "type": kind}
        self.document["accessors"].append(found | {"bufferView": self.view(array.tobytes())} | more)
        return len(self.document["accessors"]) - 1

    def texture(self, pixels: np.ndarray, **sampler: int) -> int:
        """A texture with its picture and sampler; its number."""
        packed = iio.imwrite("<bytes>", pixels, extension=".png")
        lists = {key: self.document.setdefault(key, []) for key in ("images", "samplers", "textures")}
        lists["images"].append({"bufferView": self.view(packed), "mimeType": "image/png"})
        lists["samplers"].append(sampler)
        lists["textures"].append({"source": len(lists["images"]) - 1, "sampler": len(lists["samplers"]) - 1})
        return len(lists["textures"]) - 1

    def material(self, texture: int | None = None, factor: Any = None, info: Any = None, **more: Any) -> int:
        surface = {} if factor is None else {"baseColorFactor": factor}
        surface |= {} if texture is None else {"baseColorTexture": {"index": texture} | (info or {})}
        self.document.setdefault("materials", []).append({"pbrMetallicRoughness": surface} | more)
        return len(self.document["materials"]) - 1

    def part(self, points: Any, node: Any = None, indices: Any = None, **attributes: Any) -> dict[str, Any]:
        """One primitive at one node; words in lower case go into the primitive."""
        arrays = {"POSITION": np.array(points, np.float32)} | {k: v for k, v in attributes.items() if k.isupper()}
        numbers = {name: self.accessor(array) for name, array in arrays.items()}
        part = {"attributes": numbers} | {name: value for name, value in attributes.items() if name.islower()}
        if indices is not None:
            part["indices"] = self.accessor(np.uint16(indices))
        self.document["meshes"].append({"primitives": [part]})
        self.document["nodes"].append({"mesh": len(self.document["meshes"]) - 1} | (node or {}))
        self.document["scenes"][0]["nodes"].append(len(self.document["nodes"]) - 1)
        return part

    def square(self, x: float = 0.0, **attributes: Any) -> dict[str, Any]:
        """The unit square at (x, 0, 0), as two triangles, with v downward."""
        points = np.add(SQUARE, [x, 0, 0])
        uvs = np.float32([[0, 1], [1, 1], [1, 0], [0, 0]])
        return self.part(points, indices=[0, 1, 2, 0, 2, 3], **({"TEXCOORD_0": uvs} | attributes))

    def write(self, path: Path) -> Path:
        self.binary += b"\0" * (-len(self.binary) % 4)
        self.document.setdefault("buffers", [{"byteLength": len(self.binary)}])
        text = json.dumps(self.document).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(self.binary), b"BIN\0") + self.binary
        path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
        return path


def packed(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    iio.imwrite(stream, pixels, extension=".png")
    return stream.getvalue()


def color_at(mesh: Mesh, points: Any) -> np.ndarray:
    """The colors (n,3) that a mesh in the plane z = 0 shows at points x, y, each in exactly one face or on an edge."""
    found = []
    corners = mesh.positions[mesh.faces][..., :2]  # (F, 3, 2)
    for point in torch.tensor(points, dtype=torch.float64):
        a, b, c = corners.unbind(1)
        columns = torch.stack([b - a, c - a], -1)  # (F, 2, 2)
        weight = torch.linalg.solve(columns, (point - a)[..., None])[..., 0]
        weights = torch.cat([1 - weight.sum(-1, keepdim=True), weight], -1)  # (F, 3)
        face = int(weights.amin(-1).argmax())
        assert weights[face].min() > -1e-9, point
        share = weights[face].float()[:, None]
        if mesh.texture is not None and mesh.corner_uvs is not None:
            uv = (mesh.corner_uvs[face] * share).sum(0, keepdim=True)
            outside = ((mesh.corner_uvs < -1e-4) | (mesh.corner_uvs > 1 + 1e-4)).any()
            with use("reference"):
                found.append(sample_texture(mesh.texture, uv - uv.floor() if outside else uv)[0])
        elif mesh.colors is not None:
            found.append((mesh.colors[mesh.faces[face]] * share).sum(0))
        else:
            found.append(torch.ones(3))
    return torch.stack(found).numpy()
