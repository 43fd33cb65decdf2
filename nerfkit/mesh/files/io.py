"""Meshes to and from files: GLB, OBJ with MTL and PNG, PLY. A file appears under its name only once it is whole."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch
from torch import Tensor

from nerfkit.errors import SceneError
from nerfkit.mesh.files.gltf import linear_to_srgb, outside, read_glb, to_glb
from nerfkit.mesh.files.obj import read_obj
from nerfkit.mesh.files.ply import read_ply
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.repair import same_places
from nerfkit.runs.files import to_bytes, write_bytes

LOG = logging.getLogger("nerfkit.mesh")
FORMATS = ("glb", "obj", "ply")


def save_mesh(
    mesh: Mesh, stem: str | Path, formats: Iterable[str] = FORMATS, roughness: Tensor | None = None
) -> list[Path]:
    """Write ``stem``.glb, ``stem``.obj (with .mtl and .png where there is a texture) and ``stem``.ply.

    GLB embeds the texture, or else linear vertex colors; OBJ refers to the texture by name, or else carries vertex
    colors; PLY carries vertex colors, taken from the texture where the mesh has none of its own. Units are the mesh's
    own.

    Args:
        roughness: (C,D) in [0,1] over the UVs, glTF's; a GLB with a texture carries it, other files do not.

    Returns:
        the files written.

    Raises:
        ValueError: a format other than glb, obj and ply.
        SceneError: a GLB of a mesh without faces, which the format cannot hold.
        OSError: the folder cannot be written; no file is left half written.
    """
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    texture_png = None if mesh.texture is None else _png(mesh.texture)
    written: list[Path] = []
    for format in formats:
        if format == "glb":
            surface_png = None
            if roughness is not None and texture_png is not None:
                none = torch.zeros_like(roughness)
                surface_png = _png(torch.stack([none, roughness, none], -1))  # glTF: green is rough, blue metallic
            files = {".glb": to_glb(mesh, texture_png, surface_png)}
        elif format == "obj":
            files = _obj(mesh, stem.name, texture_png)
        elif format == "ply":
            files = {".ply": _ply(mesh)}
        else:
            raise ValueError(f"unknown mesh format {format!r}; expected one of {', '.join(FORMATS)}")
        for suffix, content in files.items():
            written.append(stem.with_name(stem.name + suffix))
            write_bytes(written[-1], content)
    return written


def load_mesh(path: str | Path) -> Mesh:
    """Read an OBJ, PLY or GLB file; polygons are cut into triangles, and the parts of a file joined into one mesh.

    Read are PLY as text or binary, GLB without compression, and OBJ with its MTL. Vertices of a GLB or PLY with UVs
    that agree in place and color become one again, so that seams leave the surface whole. A GLB's vertex colors, of
    whatever type, and colors of materials are rounded to 8 bits of linear light: dark ones are right to within 0.03.
    An OBJ whose materials are plain colors gets UVs that are no unwrap: all corners of a material lie in one point.
    What was repaired on the way (missing materials or textures, UVs that do not fit) is logged as a warning of
    ``nerfkit.mesh`` and listed in ``provenance["notes"]``. Odd connectivity is let in: see ``repair``.

    Raises:
        SceneError: the file is missing, of another format, cut off, unreadable, or holds no triangle; it needs an
            extension of glTF that is not read, such as compression; an index is out of range, or a coordinate NaN,
            infinite or too large.
    """
    path = Path(path)
    if path.suffix.lower()[1:] not in FORMATS:
        raise SceneError(f"{path}: meshes are read from .glb, .obj and .ply files; convert it to one of these")
    if not path.is_file():
        raise SceneError(f"{path}: there is no such mesh file; check the path")
    notes: list[str] = []
    try:
        if path.suffix.lower() == ".obj":
            mesh, notes = read_obj(path)
        elif path.suffix.lower() == ".ply":
            mesh, notes = read_ply(path)
            if mesh.corner_uvs is not None:
                mesh = _without_seams(mesh)
        else:
            mesh, notes = _read_glb(path)
    except SceneError as error:
        raise error if str(error).startswith(str(path)) else SceneError(f"{path}: {error}") from error
    except Exception as error:  # the readers raise whatever a malformed file makes them stumble over
        raise SceneError(f"{path}: it cannot be read as a mesh ({error}); export it again") from error
    for note in notes:
        LOG.warning("%s: %s", path, note)
    return replace(mesh, provenance=mesh.provenance | {"notes": notes}) if notes else mesh


def _read_glb(path: Path) -> tuple[Mesh, list[str]]:
    """The mesh of a GLB file, and notes on what was repaired."""
    import trimesh

    content, notes = read_glb(path)
    resolver = trimesh.resolvers.FilePathResolver(str(path))
    words = {"file_type": "glb", "process": False, "force": "mesh", "resolver": resolver}
    loaded = trimesh.load(BytesIO(content), **words)
    visual = getattr(loaded, "visual", None)
    uv, material = getattr(visual, "uv", None), getattr(visual, "material", None)
    texture = None if uv is None else _texture(material)
    if isinstance(loaded, trimesh.Trimesh) and texture is None:
        # with a material, trimesh would drop the vertex colors
        loaded = trimesh.load(BytesIO(content), skip_materials=True, **words)
    if not isinstance(loaded, trimesh.Trimesh) or not len(loaded.faces):
        raise SceneError(f"{path}: it holds no triangles; expected a surface mesh")
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which Mesh refuses
        vertices = torch.from_numpy(np.asarray(loaded.vertices, dtype=np.float32))
    mesh = Mesh(vertices, torch.from_numpy(np.asarray(loaded.faces, np.int64)), provenance={"path": str(path)})
    linear, base = None, getattr(material, "baseColorFactor", None)
    if uv is not None and not (len(uv) == len(vertices) and np.isfinite(uv).all()):
        notes.append(f"dropped the UVs: {len(uv)} for {len(vertices)} vertices, expected one finite pair for each")
        uv = texture = None
    if loaded.visual.kind == "vertex":
        linear = np.asarray(loaded.visual.vertex_colors)[:, :3]
    elif texture is None and base is not None and (base[:3] < 255).any():
        linear = np.broadcast_to(base[:3], (len(vertices), 3))
    if linear is not None:
        mesh = replace(mesh, colors=torch.from_numpy(linear_to_srgb(linear.astype(np.float32) / 255)))
    if uv is None:
        return mesh, notes
    corner_uvs = torch.from_numpy(np.asarray(uv, dtype=np.float32))[mesh.faces]
    return _without_seams(replace(mesh, corner_uvs=corner_uvs, texture=texture)), notes


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


def _texture(material: object) -> Tensor | None:
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if image is None:
        return None
    return torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255)


def _png(texture: Tensor) -> bytes:
    return imageio.imwrite("<bytes>", to_bytes(texture), extension=".png")


def _obj(mesh: Mesh, name: str, texture_png: bytes | None) -> dict[str, bytes]:
    """Files by suffix, the one that refers to the others last. Nine digits bring every float32 back unchanged."""
    vertices = mesh.vertices.detach().cpu().numpy()
    faces = mesh.faces.cpu().numpy() + 1
    lines = ["# nerfkit"]
    if texture_png is not None:
        lines += [f"mtllib {name}.mtl"]
    if mesh.colors is not None and texture_png is None:
        colored = np.column_stack([vertices, mesh.colors.detach().cpu().numpy()])
        lines += ["v {:.9g} {:.9g} {:.9g} {:.6g} {:.6g} {:.6g}".format(*row) for row in colored.tolist()]
    else:
        lines += ["v {:.9g} {:.9g} {:.9g}".format(*row) for row in vertices.tolist()]
    if mesh.corner_uvs is not None:
        uv, index = np.unique(mesh.corner_uvs.detach().cpu().numpy().reshape(-1, 2), axis=0, return_inverse=True)
        lines += ["vt {:.9g} {:.9g}".format(*row) for row in uv.tolist()]
        lines += ["usemtl baked"] if texture_png is not None else []
        pairs = np.stack([faces, index.reshape(-1, 3) + 1], -1).reshape(-1, 6)
        lines += ["f {}/{} {}/{} {}/{}".format(*row) for row in pairs.tolist()]
    else:
        lines += ["f {} {} {}".format(*row) for row in faces.tolist()]
    files = {}
    if texture_png is not None:
        material = f"newmtl baked\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {name}.png\n"
        files = {".png": texture_png, ".mtl": material.encode()}
    return files | {".obj": ("\n".join(lines) + "\n").encode()}


def _ply(mesh: Mesh) -> bytes:
    import trimesh

    colors = mesh.colors
    if colors is None and mesh.texture is not None:
        colors = texture_colors(mesh)
    plain = trimesh.Trimesh(
        mesh.vertices.detach().cpu().numpy(),
        mesh.faces.cpu().numpy(),
        vertex_colors=None if colors is None else to_bytes(colors),
        process=False,
    )
    content = plain.export(file_type="ply")
    assert isinstance(content, bytes)
    return content
