"""What the backends share: the corners of the faces that are seen, and the way back from pixels to points."""

from typing import NamedTuple

import torch
from torch import Tensor


class Seen(NamedTuple):
    """The K (view, face) that some pixel shows, in order.

    view, number (K,) int64; vertices (K,3) int64; corners (K,3,3) homogeneous points.
    """

    view: Tensor
    number: Tensor
    vertices: Tensor
    corners: Tensor


def face_vertices(faces: Tensor, view: Tensor, number: Tensor) -> Tensor:
    """Vertex numbers (...,3) of faces (...) of views (...)."""
    return faces[number] if faces.ndim == 2 else faces[view, number]


def seen_faces(points: Tensor, faces: Tensor, face: Tensor, near: float) -> Seen:
    """Every visible face once, its corners exchanged where they would not go from +x to +y around it.

    Faces with a corner nearer than ``near`` or without an area are left out.
    """
    views, count = face.shape[0], faces.shape[-2]
    first = torch.arange(views, device=face.device)[:, None, None] * count
    shown = torch.zeros(views * count, dtype=torch.bool, device=face.device)
    shown[(face + first)[face >= 0]] = True
    item = shown.nonzero()[:, 0]  # (K,)
    view, number = item // max(count, 1), item % max(count, 1)
    vertices = face_vertices(faces, view, number)
    corners = points[view[:, None], vertices]  # (K, 3, 3)
    ahead = (corners[..., 2] >= near).all(-1)
    (ax, ay), (bx, by), (cx, cy) = (pixel_positions(corners)[:, k].unbind(-1) for k in range(3))
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    kept = ahead & (area != 0) & area.isfinite()
    vertices = torch.where((area < 0)[:, None], vertices[:, [0, 2, 1]], vertices)[kept]
    view, number = view[kept], number[kept]
    return Seen(view, number, vertices, points[view[:, None], vertices])


def pixel_positions(corners: Tensor) -> Tensor:
    """x, y (...,2) of homogeneous points (...,3)."""
    return corners[..., :2] / corners[..., 2:]


def to_points(grad: Tensor, corners: Tensor) -> Tensor:
    """Gradients (...,3) by (w x, w y, w), from those by x and y in pixels (...,2)."""
    w = corners[..., 2:]
    by_w = -(grad * corners[..., :2]).sum(-1, keepdim=True) / w
    return torch.cat([grad, by_w], -1) / w
