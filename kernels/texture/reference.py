"""The oracle."""

import torch
from torch import Tensor


def sample_texture(texture: Tensor, uv: Tensor, covered: Tensor) -> Tensor:
    """See ``nerfkit.kernels.interpolate.sample_texture``."""
    height, width, _ = texture.shape
    column = (uv[:, 0] * width - 0.5).clamp(0, width - 1)
    row = ((1 - uv[:, 1]) * height - 0.5).clamp(0, height - 1)
    j, i = column.detach().long(), row.detach().long()
    t, s = (column - j)[:, None], (row - i)[:, None]  # (P, 1)
    right, below = (j + 1).clamp(max=width - 1), (i + 1).clamp(max=height - 1)
    above = texture[i, j] * (1 - t) + texture[i, right] * t  # (P, C)
    under = texture[below, j] * (1 - t) + texture[below, right] * t
    return torch.where(covered[:, None], above * (1 - s) + under * s, 0.0)
