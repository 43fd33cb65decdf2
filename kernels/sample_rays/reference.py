"""The oracle: pixel choice and ray set-up in PyTorch, any float dtype, gradients by autograd."""

import torch
from torch import Tensor

from ..philox import RAYS, Draw
from ..philox.reference import words


def choose_pixels(draw: Draw, views: Tensor, height: int, width: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """View, row and column (R,) int64 of pixels drawn uniformly with replacement."""
    rays = draw.first + torch.arange(count, device=views.device)
    w0, w1, w2, _ = words(draw, RAYS, rays)
    return views[(w0 * len(views)) >> 32], (w1 * height) >> 32, (w2 * width) >> 32


def rays_from_pixels(
    camera_to_world: Tensor, intrinsics: Tensor, view: Tensor, row: Tensor, column: Tensor
) -> tuple[Tensor, Tensor]:
    """Origins and unit directions (R,3)."""
    pose = camera_to_world[view]  # (R, 3, 4)
    fx, fy, cx, cy = intrinsics[view].unbind(-1)
    x, y = (column + 0.5 - cx) / fx, (cy - row - 0.5) / fy
    local = torch.stack([x, y, -torch.ones_like(x)], -1)  # (R, 3)
    along = (pose[:, :, :3] @ local[:, :, None])[:, :, 0]  # (R, 3)
    return pose[:, :, 3], along / along.norm(dim=-1, keepdim=True)
