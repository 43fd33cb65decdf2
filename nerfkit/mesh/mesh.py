"""The triangle mesh that every stage after the field passes on."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nerfkit.errors import SceneError

LARGEST = 1e18  # the largest coordinate that a mesh may hold: the square of a length must stay below float32's 3.4e38


@dataclass(frozen=True)
class Mesh:
    """V vertices joined by F triangles; counter-clockwise corners face outward.

    Texture coordinates belong to corners, not to vertices, so that UV seams leave the surface's connectivity whole.
    They follow OBJ and OpenGL: u to the right, v up, so that the texture's row 0 is at v = 1; the center of texel (i,
    j) of an (A,B,3) texture is at u = (j + 0.5) / B, v = 1 - (i + 0.5) / A.

    Attributes:
        vertices: (V,3) float32, relative to ``origin``.
        faces: (F,3) int64 vertex numbers.
        corner_uvs: (F,3,2) float32, or None.
        colors: (V,3) float32 sRGB in [0,1], or None.
        texture: (A,B,3) float32 sRGB in [0,1], or None; needs ``corner_uvs``.
        provenance: where the mesh came from.
        origin: three floats, kept in float64, that ``positions`` adds: all 0 unless float32 would blur the mesh, as it
            does with coordinates of a map; see ``Mesh.at``.

    Raises:
        SceneError: on creation, where shapes or devices disagree, a face names no vertex, a number is NaN or infinite,
            or a coordinate is larger than 1e18. What is odd but usable (see ``nerfkit.mesh.topology``) is let in.
    """

    vertices: Tensor
    faces: Tensor
    corner_uvs: Tensor | None = None
    colors: Tensor | None = None
    texture: Tensor | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        for name, tensor in (("vertices", self.vertices), ("faces", self.faces)):
            if tensor is None:
                raise SceneError(f"mesh: {name} are missing; expected a tensor, of shape (0, 3) if there are none")
        _expect("vertices", self.vertices, ("V", 3), torch.float32)
        _expect("faces", self.faces, ("F", 3), torch.int64)
        V, F = self.vertices.shape[0], self.faces.shape[0]
        _expect("corner_uvs", self.corner_uvs, (F, 3, 2), torch.float32)
        _expect("colors", self.colors, (V, 3), torch.float32)
        _expect("texture", self.texture, ("A", "B", 3), torch.float32)
        if self.texture is not None:
            if self.corner_uvs is None:
                raise SceneError("mesh: it has a texture but no corner_uvs; unwrap it first")
            if not self.texture.numel():
                raise SceneError(f"mesh: texture is {tuple(self.texture.shape)}; expected at least one texel")
        tensors = (self.vertices, self.faces, self.corner_uvs, self.colors, self.texture)
        devices = {str(tensor.device) for tensor in tensors if tensor is not None}
        if len(devices) > 1:
            raise SceneError(f"mesh: its tensors are on {' and '.join(sorted(devices))}; move them to one device")
        if F and not 0 <= int(self.faces.min()) <= int(self.faces.max()) < V:
            raise SceneError(
                f"mesh: faces name vertices {int(self.faces.min())} to {int(self.faces.max())}, but there are {V} "
                "(numbered from 0); the file or the code that made it is broken"
            )
        reach = max(float(self.vertices.detach().abs().max()) if V else 0.0, *map(abs, self.origin))
        if reach > LARGEST:
            raise SceneError(
                f"mesh: a vertex lies {reach:.3g} from the origin, expected at most {LARGEST:.0g}: float32 cannot hold "
                "its square; scale the mesh down"
            )

    def to(self, device: torch.device | str) -> "Mesh":
        """The same mesh with every tensor on ``device``."""
        tensors = ("vertices", "faces", "corner_uvs", "colors", "texture")
        return replace(self, **{name: t.to(device) for name in tensors if (t := getattr(self, name)) is not None})

    @property
    def positions(self) -> Tensor:
        """Where the vertices are, (V,3) float64: ``vertices`` + ``origin``."""
        vertices = self.vertices.double()
        return vertices + vertices.new_tensor(self.origin) if any(self.origin) else vertices

    def at(self, positions: Tensor) -> "Mesh":
        """The same mesh with its vertices at ``positions`` (V,3), of either float type.

        The origin is 0 unless the mesh lies further than 4 times its longest side from there and float32 would move a
        vertex by more than a thousandth of the mean edge. Then it is a point near the middle, a multiple of a power of
        two, so that subtracting it is exact.
        """
        points = positions.detach().double()
        corners = points[self.faces]  # (F, 3, 3)
        origin = (0.0, 0.0, 0.0)
        if len(corners) and torch.isfinite(corners).all():
            low, high = corners.amin((0, 1)), corners.amax((0, 1))
            side, edge = float((high - low).max()), float((corners - corners.roll(1, 1)).norm(dim=-1).mean())
            far = float(corners.abs().max()) > 4 * side
            if far and float((corners.float() - corners).abs().max()) > 1e-3 * edge > 0:
                step = 2.0 ** math.floor(math.log2(side))
                x, y, z = (((low + high) / 2 / step).round() * step).tolist()
                origin = (x, y, z)
        return replace(self, vertices=(positions.double() - points.new_tensor(origin)).float(), origin=origin)

    def about(self, origin: tuple[float, float, float]) -> "Mesh":
        """The same mesh, with its vertices relative to another origin."""
        if origin == self.origin:
            return self
        return replace(self, vertices=(self.positions - self.positions.new_tensor(origin)).float(), origin=origin)

    def transformed(self, transform: Callable[[Tensor], Tensor]) -> "Mesh":
        """The same mesh at ``transform(positions)``, of (V,3) float64; the transform must not mirror."""
        return self.at(transform(self.positions))

    def without_appearance(self) -> "Mesh":
        """Geometry alone: no UVs, no colors, no texture."""
        return replace(self, corner_uvs=None, colors=None, texture=None)

    def diagonal(self) -> float:
        """Length of the bounding box's diagonal; 0 for a mesh without vertices."""
        if not len(self.vertices):
            return 0.0
        return (self.vertices.amax(0) - self.vertices.amin(0)).norm().item()


def rows(values: Tensor, index: Tensor) -> Tensor:
    """``values[index]`` for a one-dimensional index, with a gradient that is summed in a fixed order on any device."""
    if values.device.type == "cpu":
        return values.index_select(0, index)  # its gradient is the faster one here, and serial
    return values[index]  # index_select's gradient would use atomics on a GPU; this one sorts


def scattered(count: int, index: Tensor, values: Tensor) -> Tensor:
    """Sums (count,...) of ``values`` (S,...) by ``index`` (S,) in a fixed order on any device: ``rows`` transposed."""
    total = values.new_zeros(count, *values.shape[1:])
    if values.device.type == "cpu":
        return total.index_add(0, index, values)
    return total.index_put((index,), values, accumulate=True)


def face_cross(vertices: Tensor, faces: Tensor) -> Tensor:
    """Cross product (b - a) x (c - a) of every face, (F,3): along the outward normal, as long as twice the area."""
    a, b, c = (rows(vertices, corner) for corner in faces.unbind(1))  # (F, 3) each
    return torch.linalg.cross(b - a, c - a)  # (F, 3)


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (F,3), of meshes of any scale; zero, with a zero gradient, for faces without area.

    A face has none where its height is below 8 roundings of its longest side: the direction would be chance.
    """
    a, b, c = (rows(vertices, corner) for corner in faces.unbind(1))  # (F, 3) each
    along, across = b - a, c - a
    scale = torch.maximum(along.detach().abs(), across.detach().abs()).amax(-1, keepdim=True)  # (F, 1)
    scale = torch.where(scale > 0, scale, 1)
    return _unit(torch.linalg.cross(along / scale, across / scale), 8 * torch.finfo(vertices.dtype).eps)


def face_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """Areas (F,)."""
    return face_cross(vertices, faces).norm(dim=-1) / 2


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (V,3), the area-weighted mean of the faces around each vertex; zero, with a zero gradient, for
    vertices without faces or whose faces cancel.
    """
    scale = vertices.detach().abs().amax() if len(vertices) else vertices.new_ones(())
    cross = face_cross(vertices / torch.where(scale > 0, scale, 1), faces)  # (F, 3)
    total = scattered(len(vertices), faces.flatten(), cross.repeat_interleave(3, 0))  # (V, 3)
    return _unit(total, torch.finfo(vertices.dtype).tiny ** 0.5)


def _unit(vectors: Tensor, least: float) -> Tensor:
    """Vectors (...,3) made unit; zero, with a zero gradient, where they are not longer than ``least``."""
    length = vectors.norm(dim=-1, keepdim=True)
    long = length > least
    return torch.where(long, vectors / torch.where(long, length, 1), 0)


def signed_volume(vertices: Tensor, faces: Tensor) -> Tensor:
    """Volume enclosed by a closed mesh, sum a . (b x c) / 6; negative where it is inside out."""
    a, b, c = vertices[faces].unbind(1)
    return (a * torch.linalg.cross(b, c)).sum() / 6


def _expect(name: str, tensor: Tensor | None, shape: tuple[int | str, ...], dtype: torch.dtype) -> None:
    """Refuses a tensor of another dtype or shape, where a letter stands for any size, or with numbers that are none."""
    if tensor is None:
        return
    expected = f"({', '.join(map(str, shape))}) {str(dtype)[6:]}"
    if not isinstance(tensor, Tensor):
        raise SceneError(f"mesh: {name} is of type {type(tensor).__name__}, expected a tensor {expected}")
    fits = tensor.ndim == len(shape) and all(
        isinstance(size, str) or size == given for size, given in zip(shape, tensor.shape, strict=True)
    )
    if not fits or tensor.dtype != dtype:
        quads = name == "faces" and tensor.ndim == 2 and tensor.shape[1] > 3
        raise SceneError(
            f"mesh: {name} is {tuple(tensor.shape)} {str(tensor.dtype)[6:]}, expected {expected}"
            + ("; cut the polygons into triangles" if quads else "")
        )
    # minimum and maximum first: they hold nothing as large as a texture on the way, and are NaN where one number is
    extremes = torch.stack(tensor.detach().aminmax()) if dtype.is_floating_point and tensor.numel() else None
    if extremes is not None and not torch.isfinite(extremes).all():
        bad = int((~torch.isfinite(tensor)).sum())
        raise SceneError(f"mesh: {name} holds {bad} numbers that are NaN or infinite; expected none")
