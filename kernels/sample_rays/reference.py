"""The oracle: pixel choice and ray set-up in PyTorch, any float dtype, gradients by autograd."""

import torch
from torch import Tensor

from ..philox import RAYS, Draw, uniform
from ..philox.reference import words
from .pixel_set import BLOCK, WORD, WORDS


def choose_pixels(draw: Draw, views: Tensor, height: int, width: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """View, row and column (R,) int64 of pixels drawn uniformly with replacement."""
    rays = draw.first + torch.arange(count, device=views.device)
    w0, w1, w2, _ = words(draw, RAYS, rays)
    return views[(w0 * len(views)) >> 32], (w1 * height) >> 32, (w2 * width) >> 32


def choose_members(
    draw: Draw,
    photos: Tensor,
    offsets: Tensor,
    widths: Tensor,
    bits: Tensor,
    before: Tensor,
    low: int,
    high: int,
    count: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """View, row and column (R,) int64 of members ``low`` to ``high`` - 1 of a ``PixelSet``, drawn uniformly with
    replacement, and their colors (R,4)."""
    u = uniform(draw, RAYS, count, 2, device=bits.device).double()
    number = low + ((u[:, 0] + u[:, 1] * 2.0**-24) * (high - low)).long()
    block = torch.searchsorted(before, number, right=True) - 1
    line = bits.view(-1, WORDS)[block][:, :, None] >> torch.arange(WORD, device=bits.device) & 1
    ranks = line.flatten(1).cumsum(1)  # (R, BLOCK)
    flat = block * BLOCK + torch.searchsorted(ranks, (number - before[block] + 1)[:, None])[:, 0]
    view = torch.searchsorted(offsets, flat, right=True) - 1
    within, width = flat - offsets[view], widths[view]
    return view, within // width, within % width, photos[flat].float() / 255


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
