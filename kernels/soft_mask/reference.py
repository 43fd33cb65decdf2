"""The oracle: every face against every pixel, in plain PyTorch with autograd. For small sizes."""

import torch
from torch import Tensor

from . import FLAT, MIN_AREA
from .geometry import pixel_centers, project


def edge_distance(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Squared distance (N,F,H,W) of every pixel's center to the nearest of each triangle's three edges."""
    squared = []
    for k in range(3):
        ax, ay = corners[:, :, k, 0, None, None], corners[:, :, k, 1, None, None]  # (N, F, 1, 1)
        ex, ey = (corners[:, :, (k + 1) % 3, c, None, None] - corners[:, :, k, c, None, None] for c in (0, 1))
        length = ex * ex + ey * ey
        along = ((x - ax) * ex + (y - ay) * ey) / torch.where(length == 0, 1.0, length)
        t = along.clamp(0, 1)
        squared.append((ax + t * ex - x).square() + (ay + t * ey - y).square())
    return torch.stack(squared).min(0).values


def dibr_mask(points: Tensor, faces: Tensor, face: Tensor, sigmainv: float, boxlen: float, knum: int) -> Tensor:
    """See ``nerfkit.kernels.soft_mask.dibr_mask``; faces are (1 or N,F,3)."""
    height, width = face.shape[1:]
    corners, usable = project(points, faces, height, width)
    x, y = pixel_centers(height, width, points)  # (W,), (H, 1)
    low, high = corners[..., :2].detach().amin(2) - boxlen, corners[..., :2].detach().amax(2) + boxlen  # (N, F, 2)
    in_x = (x >= low[..., 0, None, None]) & (x < high[..., 0, None, None])  # (N, F, 1, W)
    in_y = (y >= low[..., 1, None, None]) & (y < high[..., 1, None, None])  # (N, F, H, 1)
    near = usable[..., None, None] & in_x & in_y  # (N, F, H, W)
    chosen = near & (near.cumsum(1) <= knum)
    exponent = torch.where(chosen, -sigmainv * edge_distance(corners, x, y), -1.0)
    missed = torch.where(chosen, -torch.expm1(exponent), 1.0)
    return torch.where(face >= 0, 1.0, 1 - missed.prod(1))


def barycentrics(corners: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Screen-space barycentrics (N,F,3,H,W), constants for tiny faces, 0 for flat ones; which are not (N,F,1,1)."""
    height, width = y.shape[0], x.shape[0]
    (x0, y0), (x1, y1), (x2, y2) = (corners[:, :, k, :2, None, None].unbind(2) for k in range(3))
    edges = [(x1, y1, x2, y2), (x2, y2, x0, y0), (x0, y0, x1, y1)]
    rows = [(by - dy) * x + (dx - bx) * y + (bx * dy - dx * by) for bx, by, dx, dy in edges]
    det = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    size = det.abs()[:, :, None]
    w = torch.where(size >= FLAT, torch.stack(rows, 2) / torch.where(size >= FLAT, det[:, :, None], 1.0), 0.0)
    return torch.where(size * height * width <= 4 * MIN_AREA, w.detach(), w), size[:, :, 0] >= FLAT


def soft_rasterize(
    points: Tensor, faces: Tensor, colors: Tensor, height: int, width: int, background: Tensor, sigma: float,
    gamma: float, eps: float, near: float, far: float, cutoff: float, through_barycentrics: bool,
) -> Tensor:  # fmt: skip
    """See ``nerfkit.kernels.soft_mask.soft_rasterize``; faces are (1 or N,F,3), colors (1 or N,F,3,C) of corners."""
    corners, usable = project(points, faces, height, width)
    x, y = pixel_centers(height, width, points)
    distance = edge_distance(corners, x, y)  # (N, F, H, W)
    w, has_area = barycentrics(corners, x, y)  # (N, F, 3, H, W), (N, F, 1, 1)
    inside = ((w > 0) & (w < 1)).all(2)  # (N, F, H, W)
    chosen = usable[..., None, None] & (inside | (distance < cutoff))
    signed = torch.where(chosen, torch.where(inside, distance, -distance) / sigma, 0.0)
    # log(1 - D) = log sigmoid(-signed): no product of factors that vanish
    alpha = -torch.expm1(torch.where(chosen, torch.nn.functional.logsigmoid(-signed), 0.0).sum(1))  # (N, H, W)

    if not through_barycentrics:
        w = w.detach()
    clipped = w.clamp(0, 1)
    clipped = clipped / torch.where(has_area[:, :, None], clipped.sum(2, keepdim=True), 1.0)
    inverse = (clipped / corners[..., 2, None, None]).sum(2)  # (N, F, H, W)
    depth = 1 / torch.where(has_area, inverse, 1.0)
    colored = chosen & has_area & (depth >= near) & (depth <= far)
    score = torch.nn.functional.logsigmoid(signed) + (far - depth) / ((far - near) * gamma)
    score = torch.where(colored, score, -torch.inf)
    background_score = (
        torch.full_like(score[:, :1], eps / gamma)
        if score.shape[1]
        else score.new_full((points.shape[0], 1, height, width), eps / gamma)
    )
    weights = torch.softmax(torch.cat([score, background_score], 1), 1)  # (N, F + 1, H, W)
    seen = torch.einsum("nfkhw,nfkc->nfhwc", clipped, colors.expand(points.shape[0], -1, -1, -1))
    color = (weights[:, :-1, ..., None] * seen).sum(1) + weights[:, -1, ..., None] * background
    return torch.cat([color, alpha[..., None]], -1)  # (N, H, W, C + 1)
