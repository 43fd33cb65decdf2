"""The oracle: every face against every pixel, then barycentrics of the nearest, in plain PyTorch. For small sizes."""

import torch
from torch import Tensor

MIN_AREA = 1e-3
"""Twice the projected area, in square pixels, below which barycentrics get no gradient."""


def edge_normals(corners: Tensor) -> Tensor:
    """Coefficients (...,3,3) of the edge functions e_i(x, y) = normal_i . (x, y, 1) of corners (...,3,3)."""
    a, b = corners.roll(-1, -2), corners.roll(-2, -2)
    # Product by product: ``torch.linalg.cross`` may fuse them; two faces' edge functions would not be opposite.
    return a.roll(-1, -1) * b.roll(-2, -1) - a.roll(-2, -1) * b.roll(-1, -1)


def pixel_centers(height: int, width: int, like: Tensor) -> Tensor:
    """(x, y, 1) at every pixel's center, (H,W,3)."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1).to(like)


def rasterize(points: Tensor, faces: Tensor, height: int, width: int, near: float) -> tuple[Tensor, Tensor, Tensor]:
    """See ``nerfkit.kernels.rasterize.rasterize``."""
    views = points.shape[0]
    centers = pixel_centers(height, width, points)  # (H, W, 3)
    faces = faces.long().expand(views, -1, 3)  # (N, F, 3)
    if faces.numel() == 0 or points.numel() == 0:
        empty = (points[:, :0].sum() + centers * 0).expand(views, -1, -1, -1)  # (N, H, W, 3), on points' graph
        nothing = torch.full((views, height, width), -1, dtype=torch.int32, device=points.device)
        return nothing, empty, empty[..., 0]
    face = nearest_face(points.detach(), faces, centers, near)  # (N, H, W)
    covered = face >= 0

    view = torch.arange(views, device=points.device)[:, None, None]
    vertex = faces[view, face.clamp(min=0).long()].clamp(min=0)  # (N, H, W, 3)
    corners = points[view[..., None], vertex]  # (N, H, W, 3, 3)
    corners = torch.where(covered[..., None, None], corners, 0)  # an invisible face's NaN must not reach a gradient
    normals = edge_normals(corners)
    edge = (normals * centers[:, :, None]).sum(-1)  # (N, H, W, 3)
    total = torch.where(covered, edge.sum(-1), 1.0)
    barycentrics = torch.where(covered[..., None], edge / total[..., None], 0.0)
    det = (corners[..., 0, :] * normals[..., 0, :]).sum(-1)
    flat = det.abs() <= MIN_AREA * corners[..., 2].prod(-1).abs()  # (N, H, W)
    barycentrics = torch.where(flat[..., None], barycentrics.detach(), barycentrics)
    return face, barycentrics, (barycentrics * corners[..., 2]).sum(-1)


def nearest_face(points: Tensor, faces: Tensor, centers: Tensor, near: float) -> Tensor:
    """Number of the nearest of ``faces`` (N,F,3) at every pixel, (N,H,W) int32, -1 where there is none."""
    view = torch.arange(points.shape[0], device=points.device)[:, None, None]
    corners = points[view, faces.clamp(min=0)]  # (N, F, 3, 3)
    drawn = torch.isfinite(corners).all(-1).all(-1) & (faces[..., 0] >= 0)  # (N, F)
    normals = edge_normals(corners)
    det = (corners[:, :, 0] * normals[:, :, 0]).sum(-1)  # (N, F)
    a, b, c = (normals * det.sign()[..., None, None])[..., None, None].unbind(3)  # (N, F, 3, 1, 1)
    edge = a * centers[..., 0] + (b * centers[..., 1] + c)  # (N, F, 3, H, W)
    total = edge.sum(2)
    depth = (det.abs()[..., None, None] / total).float()  # ties are decided at the precision that is stored
    seen = (edge >= 0).all(2) & (total > 0) & (depth >= near) & drawn[..., None, None]
    depth = torch.where(seen, depth, torch.inf)
    nearest = depth.amin(1, keepdim=True)
    count = faces.shape[1]
    number = torch.arange(count, device=faces.device)[:, None, None]
    face = torch.where(seen & (depth == nearest), number, count).amin(1)
    return torch.where(face < count, face, -1).int()
