"""Meshes to and from files: GLB, OBJ with MTL and PNG, PLY, STL. A file has its name only once it is whole."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nerfkit.errors import SceneError, escaped
from nerfkit.mesh.files.gltf import outside, to_glb
from nerfkit.mesh.files.gltf_cameras import Shots
from nerfkit.mesh.files.gltf_read import read_glb
from nerfkit.mesh.files.obj import read_obj
from nerfkit.mesh.files.pictures import PNG, Encoding
from nerfkit.mesh.files.ply import read_ply
from nerfkit.mesh.files.ply_write import to_ply
from nerfkit.mesh.files.stl import printable, read_stl, to_stl
from nerfkit.mesh.files.usd import ROUGHNESS, to_usd
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.repair import same_places
from nerfkit.runs.files import followed, write_bytes
from nerfkit.runs.pictures import reason

LOG = logging.getLogger("nerfkit.mesh")
FORMATS = ("glb", "obj", "ply", "stl")
"""What is read and written, by how much of a mesh it holds."""
WRITTEN = (*FORMATS, "usd", "usdz")
"""What is written; the last two need the extra ``nerfkit[usd]``."""


def save_mesh(
    mesh: Mesh,
    stem: str | Path,
    formats: Iterable[str] = ("glb", "obj", "ply"),
    roughness: Tensor | None = None,
    up: Sequence[float] = (0.0, 1.0, 0.0),
    encoding: Encoding = PNG,
    unlit: bool = True,
    shots: Sequence[Shots] = (),
) -> list[Path]:
    """Write ``stem``.glb, ``stem``.obj (with .mtl and a picture where there is a texture), .ply, .stl, .usdc, .usdz.

    GLB embeds the texture, or else linear vertex colors; OBJ refers to the texture by name, or else carries vertex
    colors; PLY carries vertex colors, taken from the texture where the mesh has none of its own; STL, binary, has the
    triangles alone. Units and axes are the mesh's own; an origin is added in float64, but stands in an STL's header:
    its numbers are float32. A GLB is y-up for its viewers: see ``up``.

    Args:
        roughness: (C,D) in [0,1] over the UVs, glTF's; a GLB, a .usdz and a .usdc (beside it, ``stem``_roughness.png)
            with a texture carry it, other files do not.
        up: the unit vector that points up among the mesh's axes. A node of the GLB, or of USD's model, turns it to y;
            ``load_mesh`` knows that of the GLB and gives the mesh's own axes back.
        encoding: of the texture; roughness is a PNG.
        unlit: of a GLB: viewers are to show the colors as they are, not to light them.
        shots: cameras that a GLB has beside the mesh, in its axes and units.

    Returns:
        the files written.

    Raises:
        ValueError: a format that is not among ``WRITTEN``, or WebP for USD, which knows none.
        ConfigError: USD without usd-core; nothing is written.
        SceneError: a mesh without faces as anything but OBJ or PLY, which alone can hold it; nothing is written.
        OSError: the folder cannot be written; no file is left half written.
    """
    stem = Path(stem)
    texture = None if mesh.texture is None else encoding.packed(mesh.texture)
    files: dict[str, bytes] = {}
    for format in formats:
        if format == "glb":
            surface = None
            if roughness is not None and texture is not None:
                none = torch.zeros_like(roughness)
                surface = PNG.packed(torch.stack([none, roughness, none], -1))  # glTF: green is rough, blue metallic
            files[".glb"] = to_glb(mesh, texture, surface, up, stem.name, unlit, shots)
        elif format == "obj":
            files |= _obj(mesh, stem.name, texture, encoding.ending)
        elif format == "ply":
            baked = mesh.colors is None and mesh.texture is not None
            files[".ply"] = to_ply(mesh, texture_colors(mesh) if baked else mesh.colors)
        elif format == "stl":
            files[".stl"] = to_stl(mesh)
        elif format in ("usd", "usdz"):
            if encoding.kind == "webp" and texture is not None:
                raise ValueError("USD knows no WebP; expected an encoding as png or jpeg")
            pictures = {} if texture is None else {f"{stem.name}{encoding.ending}": texture}
            if roughness is not None and texture is not None:
                pictures[f"{stem.name}{ROUGHNESS}.png"] = PNG.packed(roughness)
            content = to_usd(mesh, pictures, up, stem.name, packed=format == "usdz")
            if format == "usd":
                files |= {file.removeprefix(stem.name): png for file, png in pictures.items()} | {".usdc": content}
            else:
                files[".usdz"] = content
        else:
            raise ValueError(f"unknown mesh format {format!r}; expected one of {', '.join(WRITTEN)}")
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = [stem.with_name(stem.name + suffix) for suffix in files]
    for path, content in zip(written, files.values(), strict=True):
        write_bytes(path, content)
    return written


def described(path: Path) -> str:
    """A written file as a log names it: of an STL, whether it can be printed."""
    return f"{path}, {printable(load_mesh(path))}" if path.suffix == ".stl" else str(path)


def load_mesh(path: str | Path) -> Mesh:
    """Read an OBJ, PLY, GLB or STL file; polygons are cut into triangles, and the parts of a file joined into one mesh.

    Read are PLY and STL as text or binary, GLB without compression, and OBJ with its MTL. Vertices of a GLB or PLY with
    UVs that agree in place and color become one again, so that seams leave the surface whole; of an STL, those that
    agree in place. Where parts are colored in different ways, all become one texture, whose UVs are then no unwrap; so
    do the plain colors of an OBJ's materials.
    What was repaired or passed over on the way (missing materials or textures, UVs that do not fit, skins, points) is
    logged as a warning of ``nerfkit.mesh`` and listed in ``provenance["notes"]``. Odd connectivity is let in: see
    ``repair``. Coordinates that float32 would blur, those of a map for instance, are relative to ``Mesh.origin``.
    Textures, materials and buffers are read from the file's folder and below: see ``inside`` in runs/untrusted.py.

    Raises:
        SceneError: the file is missing, of another format, cut off, unreadable, or holds no triangle; it needs an
            extension of glTF that is not read, such as compression; an index is out of range, or a coordinate NaN,
            infinite or too large.
    """
    path = followed(path)
    if path.suffix.lower()[1:] not in FORMATS:
        raise SceneError(f"{path}: meshes are read from .glb, .obj, .ply and .stl files; convert it to one of these")
    if not path.is_file():
        raise SceneError(f"{path}: there is no such mesh file; check the path")
    notes: list[str] = []
    try:
        if path.suffix.lower() == ".obj":
            mesh, notes = read_obj(path)
        elif path.suffix.lower() == ".ply":
            mesh, notes = read_ply(path)
        elif path.suffix.lower() == ".stl":
            mesh, notes = read_stl(path)
        else:
            mesh, notes = read_glb(path)
        if path.suffix.lower() != ".obj" and mesh.corner_uvs is not None:
            mesh = _without_seams(mesh)
    except SceneError as error:
        raise error if str(error).startswith(escaped(str(path))) else SceneError(f"{path}: {error}") from error
    except Exception as error:  # the readers raise whatever a malformed file makes them stumble over
        what = reason(error) if not isinstance(error, MemoryError) else "there is no memory for what it asks for"
        raise SceneError(f"{path}: it cannot be read as a mesh ({what}); export it again") from error
    notes = [escaped(note) for note in notes]
    for note in notes:
        LOG.warning("%s: %s", path, note)
    return replace(mesh, provenance=mesh.provenance | {"notes": notes}) if notes else mesh


def _without_seams(mesh: Mesh) -> Mesh:
    """The mesh with one vertex, the first, for those that agree in place and color: seams must not split it."""
    tables = [mesh.vertices] if mesh.colors is None else [mesh.vertices, mesh.colors]
    first, inverse = same_places(torch.cat(tables, 1).numpy())
    colors = None if mesh.colors is None else mesh.colors[first]
    return replace(mesh, vertices=mesh.vertices[first], faces=torch.from_numpy(inverse)[mesh.faces], colors=colors)


def texture_colors(mesh: Mesh) -> Tensor:
    """Vertex colors (V,3) from the texture: the texel under each vertex, averaged over the corners that meet there.

    The texture repeats where a UV lies outside [0,1].
    """
    if mesh.texture is None or mesh.corner_uvs is None:
        raise ValueError("the mesh has no texture to take colors from")
    height, width = mesh.texture.shape[:2]
    uv = mesh.corner_uvs.reshape(-1, 2)  # (3F, 2)
    uv = torch.where(outside(uv), uv - uv.floor(), uv)
    column = (uv[:, 0] * width).long().clamp(0, width - 1)
    row = ((1 - uv[:, 1]) * height).long().clamp(0, height - 1)
    corner = mesh.faces.flatten()
    total = torch.zeros_like(mesh.vertices).index_add(0, corner, mesh.texture[row, column])  # (V, 3)
    count = torch.bincount(corner, minlength=len(mesh.vertices)).clamp(min=1)
    return total / count[:, None]


def _obj(mesh: Mesh, name: str, texture: bytes | None, ending: str) -> dict[str, bytes]:
    """Files by suffix, the one that refers to the others last.

    Nine digits bring every float32 back unchanged; far from the origin there are 15, with float32's step or finer.
    """
    far = any(mesh.origin)
    vertices = (mesh.positions if far else mesh.vertices).numpy(force=True)
    point = "v " + " ".join(["{:.15g}" if far else "{:.9g}"] * 3)
    faces = mesh.faces.cpu().numpy() + 1
    material = "_".join(name.split())  # a name of a material ends at a space
    lines = ["# nerfkit"]
    if texture is not None:
        lines += [f"mtllib {name}.mtl"]
    lines += [f"o {name}"]
    if mesh.colors is not None and texture is None:
        colored = np.column_stack([vertices, mesh.colors.detach().cpu().numpy()])
        lines += [(point + " {:.6g} {:.6g} {:.6g}").format(*row) for row in colored.tolist()]
    else:
        lines += [point.format(*row) for row in vertices.tolist()]
    if mesh.corner_uvs is not None:
        uv, index = np.unique(mesh.corner_uvs.detach().cpu().numpy().reshape(-1, 2), axis=0, return_inverse=True)
        lines += ["vt {:.9g} {:.9g}".format(*row) for row in uv.tolist()]
        lines += [f"usemtl {material}"] if texture is not None else []
        pairs = np.stack([faces, index.reshape(-1, 3) + 1], -1).reshape(-1, 6)
        lines += ["f {}/{} {}/{} {}/{}".format(*row) for row in pairs.tolist()]
    else:
        lines += ["f {} {} {}".format(*row) for row in faces.tolist()]
    files = {}
    if texture is not None:
        library = f"newmtl {material}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {name}{ending}\n"
        files = {ending: texture, ".mtl": library.encode()}
    return files | {".obj": ("\n".join(lines) + "\n").encode()}
