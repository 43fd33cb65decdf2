"""The oracle: gather the three corners of every pixel's face and weigh them, in plain PyTorch."""

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
