"""Reading Wavefront OBJ files with their MTL materials.

What is broken beyond guessing raises ``SceneError`` with the line; what can be repaired is, and said in the notes.
"""

from codecs import BOM_UTF8
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from nerfkit.errors import SceneError
from nerfkit.mesh.files.materials import texture_of, unit_colors, unit_texture
from nerfkit.mesh.files.polygons import triangulate
from nerfkit.mesh.mesh import Mesh
from nerfkit.runs.untrusted import read_file, within_words

BLOCK = 100_000  # lines parsed at a time: as Python objects they take some twenty times their size
NONE = np.iinfo(np.int64).min  # a corner without texture coordinate


@dataclass
class _Lines:
    """What has been read so far. Numbers count from 0; those of corners are checked once all is read."""

    path: Path
    positions: list[np.ndarray] = field(default_factory=list)  # (n, 3) each
    colors: list[np.ndarray | None] = field(default_factory=list)  # (n, 3) each, or None
    uvs: list[np.ndarray] = field(default_factory=list)  # (n, 2) each
    corners: list[np.ndarray] = field(default_factory=list)  # (n, 2) each: vertex, texture coordinate
    sizes: list[np.ndarray] = field(default_factory=list)  # (n,) corners of each polygon
    materials: list[np.ndarray] = field(default_factory=list)  # (n,) of each polygon, a number of ``names``
    names: dict[str, int] = field(default_factory=lambda: {"": 0})  # of materials, with their numbers
    libraries: list[str] = field(default_factory=list)
    vertex_count: int = 0
    uv_count: int = 0
    material: int = 0
    short: int = 0


def read_obj(path: Path) -> tuple[Mesh, list[str]]:
    """The mesh of an OBJ file, and notes on what was repaired.

    Polygons are cut into triangles, concave ones too. UVs stay with the corners, so that seams leave the surface whole.
    Where several materials with textures are used, these are put side by side into one texture; a material without
    texture becomes a patch of its color there. Where the faces have no UVs and the vertices no colors, all materials
    become such patches; the UVs made for them are no unwrap, since all corners of a material lie in one point. Vertex
    colors are read where every vertex has one. Groups, normals, lines and points are passed over.

    Raises:
        SceneError: a line that cannot be read, a face that names a vertex which is not there, or no faces.
    """
    read = _Lines(path)
    lines = read_file(path).removeprefix(BOM_UTF8).replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").splitlines()
    for begin in range(0, len(lines), BLOCK):
        _read_block(read, lines[begin : begin + BLOCK], begin + 1)
    if not read.sizes or not sum(len(sizes) for sizes in read.sizes):
        raise SceneError(f"{path}: it holds no triangles; expected a surface mesh")
    positions = np.concatenate([*read.positions, np.zeros((0, 3))])
    corners, sizes = np.concatenate(read.corners), np.concatenate(read.sizes)
    vertex, uv = corners[:, 0], corners[:, 1]
    if vertex.min() < 0 or vertex.max() >= len(positions):
        wrong = vertex[(vertex < 0) | (vertex >= len(positions))][0] + 1
        there = f"but there are {len(positions)} (numbered from 1)"
        raise SceneError(f"{path}: a face names vertex {wrong}, {there}; export it again")
    notes = []
    if read.short:
        notes.append(f"dropped {read.short} faces with fewer than three corners")
    triangle, polygon = triangulate(positions, vertex, sizes)
    material = np.concatenate(read.materials)[polygon]

    corner_uvs = None
    named = uv != NONE
    if named.any():
        coordinates = np.concatenate([*read.uvs, np.zeros((0, 2))])
        if uv[named].min() < 0 or uv[named].max() >= len(coordinates):
            wrong = (uv[named].min() if uv[named].min() < 0 else uv[named].max()) + 1
            notes.append(f"dropped the UVs: faces name vt {wrong}, but there are {len(coordinates)}")
        elif not np.isfinite(coordinates[uv[named]]).all():
            notes.append("dropped the UVs: some are NaN or infinite")
        else:
            values = np.zeros((len(uv), 2))
            values[named] = coordinates[uv[named]]
            corner_uvs = values[triangle]
            bare = int((~named[triangle]).any(1).sum())
            if bare:
                notes.append(f"{bare} faces have corners without UV: they lie at (0, 0)")
    texture, colors = None, _colors(read, notes)
    if read.libraries:
        texture, corner_uvs = texture_of(
            path.parent, read.libraries, list(read.names), material, corner_uvs, colors is not None, notes
        )
    points = torch.from_numpy(positions)  # beyond float32 becomes infinite, which Mesh refuses
    uv_tensor = None if corner_uvs is None else torch.from_numpy(corner_uvs).float()
    faces = torch.from_numpy(vertex[triangle])
    mesh = Mesh(points.float(), faces, uv_tensor, colors, unit_texture(texture), {"path": str(path)})
    return mesh.at(points), notes


def _read_block(read: _Lines, lines: list[bytes], number: int) -> None:
    """Adds lines, the first of which has this number in the file."""
    kinds: dict[bytes, list[tuple[int, list[bytes]]]] = {b"v": [], b"vt": []}
    polygons: list[list[bytes]] = []
    materials: list[int] = []
    for i, line in enumerate(lines):
        words = line.split(b"#", 1)[0].split() if b"#" in line else line.split()
        if not words:
            continue
        kind = words[0]
        if kind in kinds:
            kinds[kind].append((number + i, words[1:]))
        elif kind == b"f":
            if len(words) < 4:
                read.short += 1
                continue
            if b"-" in line:
                seen = read.vertex_count + len(kinds[b"v"]), read.uv_count + len(kinds[b"vt"])
                words[1:] = [_absolute(read.path, number + i, word, seen) for word in words[1:]]
            polygons.append(words[1:])
            materials.append(read.material)
        elif kind == b"usemtl":
            name = line.split(None, 1)[1].strip().decode(errors="replace") if len(words) > 1 else ""
            read.material = read.names.setdefault(name, len(read.names))
        elif kind == b"mtllib" and len(words) > 1:
            read.libraries.append(line.split(None, 1)[1].strip().decode(errors="replace"))
    if kinds[b"v"]:
        values = _numbers(read.path, kinds[b"v"], 3)
        read.positions.append(values[:, :3])
        read.colors.append(values[:, -3:] if values.shape[1] >= 6 else None)
        read.vertex_count += len(values)
    if kinds[b"vt"]:
        values = _numbers(read.path, kinds[b"vt"], 1)
        read.uvs.append(values[:, :2] if values.shape[1] > 1 else np.pad(values, ((0, 0), (0, 1))))
        read.uv_count += len(values)
    if polygons:
        read.corners.append(_corners(read.path, [word for words in polygons for word in words]))
        read.sizes.append(np.array([len(words) for words in polygons]))
        read.materials.append(np.array(materials))


def _numbers(path: Path, lines: list[tuple[int, list[bytes]]], least: int) -> np.ndarray:
    """The numbers of lines that have at least ``least``: as many columns as the shortest line has."""
    columns = min(len(words) for _, words in lines)
    if columns < least:
        number = next(number for number, words in lines if len(words) < least)
        raise SceneError(f"{path}: line {number} has too few numbers, expected {least} or more; export it again")
    try:
        flat = within_words([word for _, words in lines for word in words[:columns]], "number")
        return np.array(flat, dtype=np.bytes_).astype(np.float64).reshape(-1, columns)
    except ValueError:
        for number, words in lines:
            for word in words[:columns]:
                try:
                    float(word)
                except ValueError:
                    what = word.decode(errors="replace")[:40]
                    raise SceneError(f"{path}: line {number}: {what!r} is not a number; export it again") from None
        raise


def _corners(path: Path, words: list[bytes]) -> np.ndarray:
    """Vertex and texture coordinate (n,2), from 0, of corners v, v/vt, v//vn or v/vt/vn; NONE where there is no vt."""
    text = b" ".join(within_words(words, "corner of a face"))
    slashes = {word.count(b"/") for word in words}
    corners = np.full((len(words), 2), NONE)
    try:
        if slashes == {0}:
            corners[:, 0] = np.array(words, dtype=np.bytes_).astype(np.int64) - 1
        elif slashes in ({1}, {2}) and b"//" not in text:
            table = np.array(text.replace(b"/", b" ").split(), dtype=np.bytes_).astype(np.int64)
            corners[:] = table.reshape(len(words), -1)[:, :2] - 1
        else:
            for i, word in enumerate(words):
                parts = word.split(b"/")
                corners[i, 0] = int(parts[0]) - 1
                if len(parts) > 1 and parts[1]:
                    corners[i, 1] = int(parts[1]) - 1
    except (ValueError, OverflowError):
        wrong = next((word for word in words if not all(_index(part) for part in word.split(b"/") if part)), words[0])
        what = wrong.decode(errors="replace")[:40]
        raise SceneError(f"{path}: {what!r} is not a corner of a face, such as 3 or 3/1; export it again") from None
    return corners


def _index(part: bytes) -> bool:
    """Whether it is a whole number that fits into 64 bits."""
    return part.isdigit() and int(part) < 2**63


def _absolute(path: Path, line: int, word: bytes, seen: tuple[int, int]) -> bytes:
    """A corner whose negative numbers, counted back from what was read so far, are made positive."""
    parts = word.split(b"/")
    try:
        for k, count in enumerate(seen[: len(parts)]):
            if parts[k].startswith(b"-"):
                parts[k] = b"%d" % (count + 1 + int(parts[k]))
                if parts[k].startswith(b"-") or parts[k] == b"0":
                    raise SceneError(f"{path}: line {line} counts back beyond the first vertex; export it again")
    except ValueError:
        pass  # said by _corners
    return b"/".join(parts)


def _colors(read: _Lines, notes: list[str]) -> torch.Tensor | None:
    if not read.colors or any(colors is None for colors in read.colors):
        return None
    colors = np.concatenate([colors for colors in read.colors if colors is not None])
    found = unit_colors(colors, notes)
    return None if found is None else torch.from_numpy(found.astype(np.float32))
