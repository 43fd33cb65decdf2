"""From a mesh with seams to a ``Surface``: corners of their own where texture coordinates or normals jump."""

from typing import Any, Protocol

import numpy as np
from torch import Tensor

from nerfkit.studio.renderer import Surface
from nerfkit.studio.renderer_kernels import blend_normals

ROUNDING = 1e-4  # of texture coordinates
CREASE = 60.0  # degrees; faces that turn more do not share a normal: a cube keeps its edges, a ball is round


class TexturedMesh(Protocol):
    """What is rendered; ``nerfkit.mesh.mesh.Mesh`` is one, and says what the parts are."""

    @property
    def vertices(self) -> Tensor: ...
    @property
    def faces(self) -> Tensor: ...
    @property
    def corner_uvs(self) -> Tensor | None: ...
    @property
    def colors(self) -> Tensor | None: ...
    @property
    def texture(self) -> Tensor | None: ...
    @property
    def provenance(self) -> dict[str, Any]: ...


def surface_of(
    mesh: TexturedMesh, turn: np.ndarray | None = None, specular: float = 0.0, shininess: float = 32.0
) -> Surface:
    """``mesh`` with a vertex of its own for every corner, colored by its texture, else its colors, else white.

    The texture repeats if some coordinate lies outside [0,1] by more than ``ROUNDING``, and is clamped otherwise; it is
    kept in 8 bits.

    Args:
        turn: a rotation (3,3) of the mesh; none by default.
        specular: strength of a white highlight, the same everywhere. shininess: its Blinn-Phong exponent.
    """
    vertices, faces = as_array(mesh.vertices).astype(np.float64), as_array(mesh.faces)
    if turn is not None:
        vertices = vertices @ turn.T
    corners = faces.reshape(-1)  # (3F,)
    colors = uvs = texture = None
    if mesh.texture is not None and mesh.corner_uvs is not None:
        uvs = as_array(mesh.corner_uvs).reshape(-1, 2)
        texture = np.rint(as_array(mesh.texture).clip(0, 1) * 255).astype(np.uint8)
    elif mesh.colors is not None:
        colors = as_array(mesh.colors)[corners]
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


def as_array(tensor: Tensor) -> np.ndarray:
    """The tensor's values, wherever it is."""
    return tensor.numpy(force=True)
