"""From a mesh with seams to a ``Surface``: corners of their own where texture coordinates or normals jump."""

import numpy as np

from nerfkit.mesh.mesh import Mesh
from nerfkit.runs.files import to_bytes
from nerfkit.studio.renderer import Surface
from nerfkit.studio.renderer_kernels import blend_normals

ROUNDING = 1e-4  # of texture coordinates
CREASE = 60.0  # degrees; faces that turn more do not share a normal: a cube keeps its edges, a ball is round


def surface_of(mesh: Mesh, turn: np.ndarray | None = None, specular: float = 0.0, shininess: float = 32.0) -> Surface:
    """``mesh`` with a vertex of its own for every corner, colored by its texture, else its colors, else white.

    The texture repeats if some coordinate lies outside [0,1] by more than ``ROUNDING``, and is clamped otherwise; it is
    kept in 8 bits.

    Args:
        turn: a rotation (3,3) of the mesh; none by default.
        specular: strength of a white highlight, the same everywhere. shininess: its Blinn-Phong exponent.
    """
    vertices, faces = mesh.vertices.double().numpy(force=True), mesh.faces.numpy(force=True)
    if turn is not None:
        vertices = vertices @ turn.T
    corners = faces.reshape(-1)  # (3F,)
    colors = uvs = texture = None
    if mesh.texture is not None and mesh.corner_uvs is not None:
        uvs = mesh.corner_uvs.numpy(force=True).reshape(-1, 2)
        texture = to_bytes(mesh.texture)
    elif mesh.colors is not None:
        colors = mesh.colors.numpy(force=True)[corners]
    return Surface(
        vertices[corners],
        np.arange(len(corners)).reshape(-1, 3),
        colors,
        corner_normals(vertices, faces).reshape(-1, 3),
        uvs,
        texture,
        specular=np.full((len(corners), 3), specular) if specular else None,
        shininess=np.full(len(corners), shininess),
        repeat=uvs is not None and bool((uvs < -ROUNDING).any() or (uvs > 1 + ROUNDING).any()),
    )


def corner_normals(vertices: np.ndarray, faces: np.ndarray, crease: float = CREASE) -> np.ndarray:
    """Unit normals of the corners (F,3,3) float64.

    Each is the area-weighted mean over those faces at the same place whose normals lie within ``crease`` degrees of the
    corner's own face's; 0 where that has no area. Vertices at one place count as one.
    """
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    areas = np.cross(b - a, c - a)  # (F, 3)
    _, place = np.unique(vertices, axis=0, return_inverse=True)
    places = place.reshape(-1)[faces.reshape(-1)]  # (3F,)
    order = np.argsort(places, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(places))])
    sums = np.zeros((len(order), 3))
    blend_normals(order, starts, areas, float(np.cos(np.radians(crease))), sums)
    return (sums / np.maximum(np.linalg.norm(sums, axis=-1, keepdims=True), 1e-300)).reshape(-1, 3, 3)
