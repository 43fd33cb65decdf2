"""The oracle: the two operations that it is made of, and a channel of ones."""

import torch
from torch import Tensor

from ..interpolate.reference import interpolate
from ..texture.reference import sample_texture


def textured(face: Tensor, barycentrics: Tensor, corner_uvs: Tensor, texture: Tensor) -> Tensor:
    """See the package."""
    corners = torch.arange(3 * len(corner_uvs), device=face.device).view(1, -1, 3)
    uv = interpolate(face, barycentrics, corners, corner_uvs.reshape(1, -1, 2))  # (N, H, W, 2)
    covered = face >= 0
    color = sample_texture(texture[None], uv.view(-1, 2), covered.view(-1), None)
    return torch.cat([color.view(*face.shape, texture.shape[-1]), covered[..., None].to(color)], -1)
