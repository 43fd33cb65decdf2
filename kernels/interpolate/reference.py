"""The oracle, in plain PyTorch: gather the three corners of every pixel's face and weigh them."""

import torch
from torch import Tensor


def interpolate(face: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """See ``nerfkit.kernels.interpolate.interpolate``."""
    views = face.shape[0]
    faces, attributes = (x.expand(views, -1, -1) for x in (faces, attributes))
    view, row, column = (face >= 0).nonzero(as_tuple=True)  # (P,) each
    corner = faces[view, face[view, row, column].long()]  # (P, 3)
    real = corner[:, 0] >= 0
    view, row, column, corner = view[real], row[real], column[real], corner[real]
    values = (attributes[view[:, None], corner] * barycentrics[view, row, column][..., None]).sum(1)  # (P, C)
    image = torch.zeros(*face.shape, attributes.shape[-1], dtype=values.dtype, device=values.device)
    return image.index_put((view, row, column), values)  # (N, H, W, C)
