"""Coarser copies of a mesh, its colors with it: levels of detail."""

import math
from dataclasses import replace

from torch import Tensor

from nerfkit.kernels.texture import sample_texture
from nerfkit.mesh.bake import bake
from nerfkit.mesh.clean import decimate
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.tree import closest_points
from nerfkit.mesh.unwrap import unwrap

SMALLEST = 64  # a texture's side


def coarser(mesh: Mesh, faces: int, roughness: Tensor | None = None) -> tuple[Mesh, Tensor | None]:
    """At most about ``faces`` faces (``decimate``), with the colors of the nearest points of ``mesh``.

    A texture is baked anew, over UVs of its own: its side is that of the finer one's longer side times
    sqrt(faces / F), so that a texel is about as large beside a face as before, and ``SMALLEST`` at the least.

    Args:
        roughness: (C,D) in [0,1] over the mesh's UVs, where it has a texture.

    Returns:
        the mesh, and its roughness where some is given.

    Raises:
        SceneError: no face with an area is left to unwrap.
    """
    plain = decimate(mesh, faces)
    if mesh.texture is None:
        return replace(plain, colors=_colors(mesh, plain.vertices)), None
    share = math.sqrt(min(1.0, len(plain.faces) / max(1, len(mesh.faces))))
    size = max(SMALLEST, round(share * max(mesh.texture.shape[:2])))
    flat = unwrap(plain, size)
    rough = None
    if roughness is not None:
        side = max(SMALLEST, round(share * max(roughness.shape)))
        rough = _baked(mesh, flat, roughness[..., None].expand(-1, -1, 3).contiguous(), side)[..., 0]
    return replace(flat, texture=_baked(mesh, flat, mesh.texture, size)), rough


def surface_colors(mesh: Mesh, texture: Tensor, face: Tensor, barycentrics: Tensor) -> Tensor:
    """Colors (S,3) of a texture, bilinear, at places of the mesh's surface: faces (S,), barycentrics (S,3)."""
    assert mesh.corner_uvs is not None
    uv = (mesh.corner_uvs[face] * barycentrics[..., None].to(texture)).sum(1)  # (S, 2)
    return sample_texture(texture, uv)


def _baked(mesh: Mesh, flat: Mesh, texture: Tensor, size: int) -> Tensor:
    """The texture (size,size,3) of a mesh with UVs that shows a finer one's."""

    def color(points: Tensor, normals: Tensor) -> Tensor:
        near = closest_points(points, mesh)
        return surface_colors(mesh, texture, near.face, near.barycentrics)

    baked = bake(flat, color, size).texture
    assert baked is not None
    return baked


def _colors(mesh: Mesh, points: Tensor) -> Tensor | None:
    """The vertex colors (S,3) of the surface's nearest points."""
    if mesh.colors is None:
        return None
    near = closest_points(points, mesh)
    corners = mesh.colors[mesh.faces[near.face]]  # (S, 3, 3)
    return (corners * near.barycentrics[..., None].to(corners)).sum(1)
