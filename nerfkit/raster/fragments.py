"""Mesh and cameras to fragments: which face every pixel sees, where on it, and how far away."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nerfkit.cameras import Cameras, full_precision
from nerfkit.kernels import interpolate as interpolate_kernel, rasterize as rasterize_kernel


@dataclass(frozen=True)
class Fragments:
    """What ``rasterize`` returns and shading consumes.

    Attributes:
        face: (N,H,W) int32, the nearest face at every pixel's center, -1 where there is none.
        barycentrics: (N,H,W,3) float32, perspective-correct, differentiable; 0 where there is no face.
        depth: (N,H,W) float32, distance along the camera's axis in normalized world units, differentiable; 0 where
            there is no face.
        points: (N,V,3) float32, homogeneous pixel coordinates (w x, w y, w) of the vertices, differentiable.
    """

    face: Tensor
    barycentrics: Tensor
    depth: Tensor
    points: Tensor

    @property
    def covered(self) -> Tensor:
        """Whether a face is there, (N,H,W) bool."""
        return self.face >= 0

    def cropped(self, margin: int) -> "Fragments":
        """Without ``margin`` pixels on every side; the points are those of the smaller picture."""
        if margin == 0:
            return self
        inside = slice(margin, -margin)
        face, barycentrics, depth = (x[:, inside, inside] for x in (self.face, self.barycentrics, self.depth))
        w = self.points[..., 2:]
        points = torch.cat([self.points[..., :2] - margin * w, w], -1)
        return Fragments(face, barycentrics, depth, points)


def homogeneous_points(vertices: Tensor, cameras: Cameras) -> Tensor:
    """Homogeneous pixel coordinates (w x, w y, w) of world points in every view, (N,V,3); w is the depth.

    The points are (V,3), the same in every view, or (N,V,3).

    The same projection as ``Cameras.project`` before its division, so a point beside or behind the camera is no special
    case. An affine map: p = A (v - position) with A = K R^T. Autocast does not round it, nor its gradient, if backward
    is called outside the block, as PyTorch asks. 16-bit points become float32.

    Raises:
        ValueError: the points' shape is wrong.
    """
    if vertices.ndim not in (2, 3) or vertices.shape[-1] != 3 or vertices.shape[:-2] not in ((), (len(cameras),)):
        expected = f"(V,3) or (N,V,3) with N = {len(cameras)} cameras"
        raise ValueError(f"vertices: expected {expected}, got {tuple(vertices.shape)}")
    if vertices.dtype in (torch.float16, torch.bfloat16):
        vertices = vertices.float()
    fx, fy, cx, cy = cameras.intrinsics.to(vertices).unbind(-1)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    rows = (torch.stack([fx, zero, -cx], -1), torch.stack([zero, -fy, -cy], -1), torch.stack([zero, zero, -one], -1))
    pose = cameras.camera_to_world.to(vertices)
    with full_precision(vertices):
        matrix = pose[:, :, :3] @ torch.stack(rows, -2).transpose(1, 2)  # (N, 3, 3), acts on row vectors
        return torch.baddbmm(-pose[:, None, :, 3] @ matrix, vertices.expand(len(cameras), -1, -1), matrix)


def rasterize(vertices: Tensor, faces: Tensor, cameras: Cameras, near: float = 1e-3) -> Fragments:
    """The nearest face at every pixel of every camera; front and back faces both count.

    Args:
        vertices: (V,3) float32, world, or (N,V,3), a mesh of its own for each camera. Float64 runs the slow reference.
        faces: (F,3) int64 vertex numbers, or (N,F,3), each view's own; rows of -1 are padding.
        cameras: N cameras.
        near: smallest visible distance in front of the camera plane. Faces that cross it are cut exactly there.

    Returns:
        Fragments; barycentrics, depth and points are differentiable with respect to ``vertices``. The coverage itself
        is not: that gradient is ``antialias``'s.
    """
    points = homogeneous_points(vertices, cameras)
    fragments = rasterize_kernel.rasterize(points, faces, cameras.height, cameras.width, near)
    return Fragments(*fragments, points)


def interpolate(fragments: Fragments, faces: Tensor, attributes: Tensor) -> Tensor:
    """Vertex attributes (V,C), or (N,V,C) per view, at every pixel: (N,H,W,C), 0 where there is no face.

    Differentiable with respect to the attributes and, through the fragments' barycentrics, to the vertices.
    """
    return interpolate_kernel.interpolate(fragments.face, fragments.barycentrics, faces, attributes)


def interpolate_corners(fragments: Fragments, corner_attributes: Tensor) -> Tensor:
    """Attributes of the faces' corners, (F,3,C) (texture coordinates with seams, say), at every pixel: (N,H,W,C).

    (N,F,3,C) are each view's own. Differentiable as ``interpolate`` is.

    Raises:
        ValueError: the attributes' shape is wrong.
    """
    if corner_attributes.ndim not in (3, 4) or corner_attributes.shape[-2] != 3:
        raise ValueError(f"corner_attributes: expected (F,3,C) or (N,F,3,C), got {tuple(corner_attributes.shape)}")
    count, _, channels = corner_attributes.shape[-3:]
    corners = torch.arange(3 * count, device=corner_attributes.device).view(count, 3)
    flat = corner_attributes.reshape(*corner_attributes.shape[:-3], 3 * count, channels)
    return interpolate(fragments, corners, flat)
