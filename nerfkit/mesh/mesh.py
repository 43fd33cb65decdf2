"""The triangle mesh that every stage after the field passes on."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.errors import SceneError


@dataclass(frozen=True)
class Mesh:
    """V vertices joined by F triangles; counter-clockwise corners face outwards.

    Texture coordinates belong to corners, not to vertices, so that UV seams leave the surface's connectivity whole.
    They follow OBJ and OpenGL: u to the right, v up, so that the texture's row 0 is at v = 1; the centre of texel (i,
    j) of an (A,B,3) texture is at u = (j + 0.5) / B, v = 1 - (i + 0.5) / A.

    Attributes:
        vertices: (V,3) float32.
        faces: (F,3) int64 vertex numbers.
        corner_uvs: (F,3,2) float32, or None.
        colours: (V,3) float32 sRGB in [0,1], or None.
        texture: (A,B,3) float32 sRGB in [0,1], or None; needs ``corner_uvs``.
        provenance: where the mesh came from.

    Raises:
        SceneError: on creation, where shapes disagree, a face names no vertex, or a number is NaN or infinite.
    """

    vertices: Tensor
    faces: Tensor
    corner_uvs: Tensor | None = None
    colours: Tensor | None = None
    texture: Tensor | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        V, F = self.vertices.shape[0], self.faces.shape[0]
        _expect("vertices", self.vertices, (V, 3), torch.float32)
        _expect("faces", self.faces, (F, 3), torch.int64)
        _expect("corner_uvs", self.corner_uvs, (F, 3, 2), torch.float32)
        _expect("colours", self.colours, (V, 3), torch.float32)
        if self.texture is not None:
            _expect("texture", self.texture, (*self.texture.shape[:2], 3), torch.float32)
            if self.corner_uvs is None:
                raise SceneError("mesh: it has a texture but no corner_uvs; unwrap it first")
        if F and not 0 <= int(self.faces.min()) <= int(self.faces.max()) < V:
            raise SceneError(
                f"mesh: faces name vertices {int(self.faces.min())} to {int(self.faces.max())}, but there are {V} "
                "(numbered from 0); the file or the code that made it is broken"
            )

    def to(self, device: torch.device | str) -> "Mesh":
        """The same mesh with every tensor on ``device``."""
        tensors = ("vertices", "faces", "corner_uvs", "colours", "texture")
        return replace(self, **{name: t.to(device) for name in tensors if (t := getattr(self, name)) is not None})

    def transformed(self, transform: Callable[[Tensor], Tensor]) -> "Mesh":
        """The same mesh at ``transform(vertices)``; the transform must not mirror."""
        return replace(self, vertices=transform(self.vertices))

    def without_appearance(self) -> "Mesh":
        """Geometry alone: no UVs, no colours, no texture."""
        return replace(self, corner_uvs=None, colours=None, texture=None)

    def diagonal(self) -> float:
        """Length of the bounding box's diagonal; 0 for a mesh without vertices."""
        if not len(self.vertices):
            return 0.0
        return (self.vertices.amax(0) - self.vertices.amin(0)).norm().item()


def face_cross(vertices: Tensor, faces: Tensor) -> Tensor:
    """Cross product (b - a) x (c - a) of every face, (F,3): along the outward normal, as long as twice the area."""
    a, b, c = (vertices.index_select(0, corner) for corner in faces.unbind(1))  # (F, 3) each
    return torch.linalg.cross(b - a, c - a)  # (F, 3)


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (F,3); zero for faces without area, never NaN."""
    return normalize(face_cross(vertices, faces), dim=-1, eps=1e-20)


def face_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """Areas (F,)."""
    return face_cross(vertices, faces).norm(dim=-1) / 2


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (V,3), the area-weighted mean of the faces around each vertex; zero for vertices without faces."""
    cross = face_cross(vertices, faces)  # (F, 3)
    total = torch.zeros_like(vertices).index_add(0, faces.flatten(), cross.repeat_interleave(3, 0))  # (V, 3)
    return normalize(total, dim=-1, eps=1e-20)


def signed_volume(vertices: Tensor, faces: Tensor) -> Tensor:
    """Volume enclosed by a closed mesh, sum a . (b x c) / 6; negative where it is inside out."""
    a, b, c = vertices[faces].unbind(1)
    return (a * torch.linalg.cross(b, c)).sum() / 6


def unique_edges(faces: Tensor) -> tuple[Tensor, Tensor]:
    """Undirected edges (E,2), lower vertex first, sorted; and the edge number of each face's sides (F,3).

    Side k of a face joins its corners k and k + 1.
    """
    sides = torch.stack([faces, faces.roll(-1, 1)], -1)  # (F, 3, 2)
    low, high = sides.amin(-1), sides.amax(-1)  # (F, 3)
    stride = int(faces.max()) + 1 if faces.numel() else 1
    keys, inverse = torch.unique(low * stride + high, return_inverse=True)
    return torch.stack([keys // stride, keys % stride], -1), inverse


def _expect(name: str, tensor: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tensor is None:
        return
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        raise SceneError(
            f"mesh: {name} is {tuple(tensor.shape)} {str(tensor.dtype)[6:]}, expected {shape} {str(dtype)[6:]}"
        )
    if dtype.is_floating_point and not torch.isfinite(tensor).all():
        bad = int((~torch.isfinite(tensor)).sum())
        raise SceneError(f"mesh: {name} holds {bad} numbers that are NaN or infinite; expected none")
