"""Reading PLY files, as text or binary of either byte order: http://paulbourke.net/dataformats/ply/."""

from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from nerfkit.errors import SceneError
from nerfkit.mesh.files.materials import read_image, unit_colors, unit_texture
from nerfkit.mesh.files.polygons import triangulate
from nerfkit.mesh.mesh import Mesh
from nerfkit.runs.untrusted import RefusedError, read_file, within_words

TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
RGB = ("red", "green", "blue")
UVS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
READ = ("x", "y", "z", *RGB, *(name for pair in UVS for name in pair))  # single numbers; others are passed over


class _Property(NamedTuple):
    name: str
    type: str
    length: str | None  # the type of a list's length; None for a single number


@dataclass
class _Element:
    name: str
    length: int
    properties: list[_Property]


class _List(NamedTuple):
    """A list property: the rows' lengths (n,), and their items one row behind the other."""

    sizes: np.ndarray
    items: np.ndarray


Columns = dict[str, np.ndarray | _List]
_Type = tuple[str, str, str | None]  # of a property: its name, NumPy's type of its numbers and, of a list, its length's


def read_ply(path: Path) -> tuple[Mesh, list[str]]:
    """The mesh of a PLY file, and notes on what was repaired.

    Polygons are cut into triangles. Colors of faces are averaged at their vertices. Colors that are whole numbers
    fill their type's range; others are in [0,1], or in [0,255] where some exceed 1 by more than 1e-3. UVs are those of
    faces (``texcoord``), else of vertices; the texture is the picture that a ``comment TextureFile`` names. Other
    elements and properties are passed over.

    Raises:
        SceneError: not a PLY file, a file that ends too early, a face that names no vertex, or no faces; a number that
            does not fit its integer type.
    """
    content = read_file(path).removeprefix(BOM_UTF8)
    order, elements, pictures, body = _header(path, content)
    columns = _columns(path, order, elements, body)
    vertex, face = columns.get("vertex", {}), columns.get("face", {})
    if not all(isinstance(vertex.get(axis), np.ndarray) for axis in "xyz"):
        raise SceneError(f"{path}: its vertices have no x, y and z; expected a surface mesh")
    polygons = face.get("vertex_indices", face.get("vertex_index"))
    if not isinstance(polygons, _List) or not (polygons.sizes > 2).any():
        raise SceneError(f"{path}: it holds no triangles; expected a surface mesh")
    points = np.stack([vertex[axis] for axis in "xyz"], -1).astype(np.float64)
    notes = []
    proper = polygons.sizes > 2
    if not proper.all():
        notes.append(f"dropped {int((~proper).sum())} faces with fewer than three corners")
    corner = _typed(path, "faces' vertex numbers", polygons.items[np.repeat(proper, polygons.sizes)], "i8")
    if corner.min() < 0 or corner.max() >= len(points):
        wrong = corner[(corner < 0) | (corner >= len(points))][0]
        there = f"but there are {len(points)} (numbered from 0)"
        raise SceneError(f"{path}: a face names vertex {wrong}, {there}; export it again")
    triangle, polygon = triangulate(points, corner, polygons.sizes[proper])
    faces = corner[triangle]
    colors = _colors(vertex, notes)
    if colors is None and (of_faces := _colors(face, notes)) is not None:
        notes.append("averaged the colors of faces at their vertices")
        total, count = np.zeros((len(points), 3)), np.bincount(faces.ravel(), minlength=len(points))
        np.add.at(total, faces, of_faces[proper][polygon][:, None])
        colors = total / np.maximum(count, 1)[:, None]
    uvs = _uvs(vertex, face, polygons.sizes, proper, corner, notes)
    texture = None
    if uvs is not None and len(pictures) == 1:
        texture = read_image(path.parent, pictures[0], notes)
    if pictures and texture is None:
        reason = "cannot be read" if len(pictures) == 1 and uvs is not None else "need UVs, and only one can be used"
        notes.append(f"dropped the texture {', '.join(pictures)}: such files {reason}")
    positions = torch.from_numpy(points)  # beyond float32 becomes infinite, which Mesh refuses
    color_tensor = None if colors is None else torch.from_numpy(colors.astype(np.float32))
    uv_tensor = None if uvs is None else torch.from_numpy(uvs[triangle].astype(np.float32))
    found = (torch.from_numpy(faces), uv_tensor, color_tensor, unit_texture(texture))
    return Mesh(positions.float(), *found, {"path": str(path)}).at(positions), notes


def _uvs(
    vertex: Columns, face: Columns, sizes: np.ndarray, proper: np.ndarray, corner: np.ndarray, notes: list[str]
) -> np.ndarray | None:
    """Texture coordinates (n,2) of the corners of the faces that are ``proper``, if there are some."""
    found = None
    of_corners = face.get("texcoord")
    if isinstance(of_corners, _List) and (of_corners.sizes == 2 * sizes).all():
        found = of_corners.items[np.repeat(proper, 2 * sizes)].reshape(-1, 2)
    for pair in UVS:
        columns = [column for name in pair if isinstance(column := vertex.get(name), np.ndarray)]
        if found is None and len(columns) == 2:
            found = np.stack(columns, -1)[corner]
    if found is not None and not np.isfinite(found).all():
        notes.append("dropped the UVs: some are NaN or infinite")
        return None
    return found


def _header(path: Path, content: bytes) -> tuple[str, list[_Element], list[str], bytes]:
    """The format's byte order, the elements, the names of textures, and what follows the header."""
    lines: list[str] = []
    at = 0
    while not lines or lines[-1] != "end_header":
        end = content.find(b"\n", at)
        if (not lines and content[:3] != b"ply") or end < 0 or len(lines) > 10_000:
            raise SceneError(f"{path}: it has no PLY header, or only part of one; export it again")
        lines.append(content[at:end].decode(errors="replace").strip())
        at = end + 1
    order = ""
    elements: list[_Element] = []
    pictures: list[str] = []
    for line in lines[1:-1]:
        words = line.split()
        try:
            if [word.lower() for word in words[:2]] == ["comment", "texturefile"] and len(words) > 2:
                pictures.append(line.split(None, 2)[2])
            elif words[:1] == ["format"]:
                order = ORDERS[words[1]]
            elif words[:1] == ["element"]:
                elements.append(_Element(words[1], int(words[2]), []))
                if elements[-1].length < 0:
                    raise ValueError
            elif words[:2] == ["property", "list"]:
                elements[-1].properties.append(_Property(words[4], TYPES[words[3]], TYPES[words[2]]))
            elif words[:1] == ["property"]:
                elements[-1].properties.append(_Property(words[2], TYPES[words[1]], None))
        except (IndexError, KeyError, ValueError):
            raise SceneError(f"{path}: the line {line[:60]!r} of its header is not PLY; export it again") from None
    if not order:
        raise SceneError(f"{path}: its header does not name the format; export it again")
    return order, elements, pictures, content[at:]


def _columns(path: Path, order: str, elements: list[_Element], body: bytes) -> dict[str, Columns]:
    """All properties of all elements, by their names.

    Text is turned into a binary file first, in which every number is a float64.
    """
    text = order == "="
    if text:
        try:
            words = within_words(body.split(), "number")
            body = np.array(words, dtype=np.bytes_).astype(np.float64).tobytes()
        except RefusedError as error:
            raise SceneError(f"{path}: {error}; export it again") from None
        except ValueError:
            raise SceneError(f"{path}: a word among its numbers is not one; export it again") from None

    def stored(kind: str) -> str:
        return order + ("f8" if text else kind)

    columns: dict[str, Columns] = {}
    at = 0
    for element in elements:
        types: list[_Type] = [
            (p.name, stored(p.type), None if p.length is None else stored(p.length)) for p in element.properties
        ]
        rows = _even_rows(types, element.length, body, at)
        if rows is not None:
            found, at = rows
        else:
            found, at = _uneven_rows(path, element, types, body, at)
        for p in element.properties:
            column = found[p.name]
            if text and isinstance(column, np.ndarray) and p.name in READ:
                found[p.name] = _typed(path, f"{element.name} {p.name}", column, p.type)
        columns[element.name] = found
    return columns


def _typed(path: Path, name: str, values: np.ndarray, kind: str) -> np.ndarray:
    """The numbers as NumPy's type ``kind``, which has to hold them if it is one of integers."""
    if np.dtype(kind).kind in "iu":
        limits = np.iinfo(kind)
        wrong = values[~((values >= limits.min) & (values < limits.max + 1.0))]
        if len(wrong):
            expected = f"expected whole numbers from {limits.min} to {limits.max}"
            raise SceneError(f"{path}: its {name} hold {wrong[0]:g}, {expected}; export it again")
    return values.astype(kind)


def _even_rows(types: list[_Type], length: int, body: bytes, at: int) -> tuple[Columns, int] | None:
    """The columns of an element whose lists are as long in every row as in the first, and where it ends."""
    fields: list[tuple[str, str, tuple[int, ...]]] = []
    if not length:
        return None
    for name, kind, count in types:
        if count is not None:
            place = at + np.dtype(fields).itemsize
            if place + np.dtype(count).itemsize > len(body):
                return None
            size = np.frombuffer(body, count, 1, place)[0]
            if not 0 <= size <= len(body):
                return None
            fields.append((f"{name} length", count, ()))
            fields.append((name, kind, (int(size),)))
        else:
            fields.append((name, kind, ()))
    row = np.dtype(fields)
    end = at + row.itemsize * length
    if end > len(body):
        return None
    table = np.frombuffer(body, row, length, at) if row.itemsize else np.empty(length, row)
    found: Columns = {}
    for name, _, count in types:
        if count is None:
            found[name] = table[name]
            continue
        sizes = table[f"{name} length"]
        if len(sizes) and (sizes != sizes[0]).any():
            return None
        found[name] = _List(sizes.astype(np.int64), table[name].reshape(-1))
    return found, end


def _uneven_rows(path: Path, element: _Element, types: list[_Type], body: bytes, at: int) -> tuple[Columns, int]:
    """The same row by row: lists may have any lengths."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name, _, _ in types}
    kinds = [(name, np.dtype(kind), None if count is None else np.dtype(count)) for name, kind, count in types]
    for number in range(element.length):
        for name, kind, count in kinds:
            size = 1
            try:
                if count is not None:
                    size = int(np.frombuffer(body, count, 1, at)[0])
                    at += count.itemsize
                if size < 0:
                    raise ValueError
                parts[name].append(np.frombuffer(body, kind, size, at) if size else np.empty(0, kind))
            except (ValueError, OverflowError):
                raise SceneError(
                    f"{path}: it ends too early, or is not what its header says: {number} of {element.length} rows of "
                    f"{element.name} are there; export it again"
                ) from None
            at += size * kind.itemsize
    found: Columns = {}
    for name, kind, count in kinds:
        flat = np.concatenate([np.empty(0, kind), *parts[name]])
        found[name] = flat if count is None else _List(np.array([len(part) for part in parts[name]], np.int64), flat)
    return found, at


def _colors(element: Columns, notes: list[str]) -> np.ndarray | None:
    """Colors (n,3) in [0,1] of an element that has some."""
    found = [element.get(name) for name in RGB]
    channels = [channel for channel in found if isinstance(channel, np.ndarray)]
    if len(channels) < 3 or not len(channels[0]):
        return None
    if all(channel.dtype.kind in "iu" for channel in channels):
        channels = [channel / np.iinfo(channel.dtype).max for channel in channels]
    return unit_colors(np.stack(channels, -1).astype(np.float64), notes)
