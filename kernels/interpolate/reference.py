"""The oracle, in plain PyTorch: gather the three corners of every pixel's face, or its four texels, and weigh them."""

import torch
from torch import Tensor


def interpolate(face: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """See ``nerfkit.kernels.interpolate.interpolate``."""
    covered = face >= 0
    if attributes.ndim == 2:
        attributes = attributes.expand(face.shape[0], -1, -1)
    view, row, column = covered.nonzero(as_tuple=True)  # (P,) each
    corners = attributes[view[:, None], faces[face[covered].long()]]  # (P, 3, C)
    values = (corners * barycentrics[covered][..., None]).sum(1)  # (P, C)
    image = torch.zeros(*face.shape, attributes.shape[-1], dtype=values.dtype, device=values.device)
    return image.index_put((view, row, column), values)  # (N, H, W, C)


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
