"""STL, triangles alone, for 3D printing: binary is written, binary and text are read.

The format: https://www.loc.gov/preservation/digital/formats/fdd/fdd000505.shtml. Its numbers are float32. So of a mesh
with an origin the vertices are relative to that, which the header, text that other programs pass over, keeps as
``nerfkit origin X Y Z``.
"""

import re
from pathlib import Path

import numpy as np
import torch

from nerfkit.errors import SceneError
from nerfkit.mesh.edges import EdgeTable
from nerfkit.mesh.mesh import Mesh, face_normals
from nerfkit.mesh.repair import same_places
from nerfkit.runs.untrusted import read_file

FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
HEADER, COUNT = 80, 84  # bytes of the text, and of that with the number of triangles
ORIGIN = re.compile(rb"nerfkit origin (\S+) (\S+) (\S+) *$")


def to_stl(mesh: Mesh) -> bytes:
    """The binary file, with unit normals by the right-hand rule.

    Raises:
        SceneError: a mesh without faces, which is no STL.
    """
    if not len(mesh.faces):
        raise SceneError("mesh: it has no faces; expected at least one, for an STL holds nothing else")
    header = "nerfkit"
    if any(mesh.origin):
        text = " ".join(f"{x:.15g}" for x in mesh.origin)
        header += f" origin {text}"
        x, y, z = map(float, text.split())
        mesh = mesh.about((x, y, z))
    facets = np.zeros(len(mesh.faces), FACET)
    facets["corners"] = mesh.vertices[mesh.faces].numpy(force=True)
    facets["normal"] = face_normals(mesh.vertices, mesh.faces).numpy(force=True)
    return header.encode().ljust(HEADER) + len(facets).to_bytes(4, "little") + facets.tobytes()


def read_stl(path: Path) -> tuple[Mesh, list[str]]:
    """The mesh of an STL file, and notes on what was passed over.

    Corners at one place become one vertex, numbered by first corners. Faces with two corners at one place are dropped.

    Raises:
        SceneError: neither binary nor text of an STL, a file that ends too early, or no faces.
    """
    content = read_file(path)
    notes: list[str] = []
    corners = _corners(path, content, notes)  # (F, 3, 3)
    first, inverse = same_places(corners.reshape(-1, 3))
    vertices, faces = torch.from_numpy(corners.reshape(-1, 3)[first]), torch.from_numpy(inverse).view(-1, 3)
    folded = (faces == faces.roll(1, 1)).any(1)
    if folded.any():
        notes.append(f"dropped {int(folded.sum())} faces with two corners at one place")
        faces = faces[~folded]
    if not len(faces):
        raise SceneError(f"{path}: it holds no triangles; expected a surface mesh")
    mesh = Mesh(vertices.float(), faces, provenance={"path": str(path)})
    origin = ORIGIN.match(content[:HEADER])
    if origin is None:
        return mesh.at(vertices), notes
    return mesh.at(vertices.double() + torch.tensor([float(x) for x in origin.groups()], dtype=torch.float64)), notes


def _corners(path: Path, content: bytes, notes: list[str]) -> np.ndarray:
    """Of every triangle (F,3,3), float32 from a binary file and float64 from text."""
    count = int.from_bytes(content[HEADER:COUNT], "little")
    missing = COUNT + count * FACET.itemsize - len(content)
    named = content.lstrip()[:5].lower() == b"solid"
    if named and missing and 0 not in content[:COUNT]:  # a binary file's header may begin with that word, too
        return _text(path, content)
    if missing > 0 or len(content) < COUNT:
        raise SceneError(f"{path}: it is no STL, or only part of one: {count} triangles are missing; export it again")
    if missing < 0:
        notes.append(f"passed over {-missing} bytes behind the last triangle")
    facets = np.frombuffer(content, FACET, count, COUNT)
    if facets["attribute"].any():
        notes.append("dropped the attributes of faces, which some programs use for colors")
    return facets["corners"].copy()


def _text(path: Path, content: bytes) -> np.ndarray:
    words = content.lower().split()
    at = np.flatnonzero([word == b"vertex" for word in words])
    if len(at) % 3 or len(at) != 3 * words.count(b"endloop") or (len(at) and at[-1] + 3 >= len(words)):
        raise SceneError(f"{path}: its facets are not of three vertices each, or some are missing; export it again")
    return np.array([[float(words[k + i]) for i in (1, 2, 3)] for k in at.tolist()]).reshape(-1, 3, 3)


def printable(mesh: Mesh) -> str:
    """Whether a surface read from an STL can be printed: what is open about it, and its size along the axes."""
    table = EdgeTable.of(mesh.faces, len(mesh.vertices))
    opened, crowded = int(table.boundary.sum()), int((table.count > 2).sum())
    flipped = int((~(table.boundary | table.regular)).sum()) - crowded
    faults = {"open": opened, "with more than two faces": crowded, "with faces of opposite sides": flipped}
    said = ", ".join(f"{number:,} {what}" for what, number in faults.items() if number)
    size = " x ".join(f"{side:.4g}" for side in (mesh.vertices.amax(0) - mesh.vertices.amin(0)).tolist())
    return f"{f'not watertight, edges: {said}' if said else 'watertight'}; {size}, taken for mm by printing programs"
