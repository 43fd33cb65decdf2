"""Triton: the kernels of ``interpolate`` and of ``texture``, one after the other."""

import torch

from ..interpolate import triton as interpolation
from ..texture import triton as look_up


def _corners(corner_uvs):
    """Numbers of the faces' corners (1,F,3), and their coordinates (1,3F,2)."""
    count = 3 * len(corner_uvs)
    return torch.arange(count, device=corner_uvs.device).view(1, -1, 3), corner_uvs.reshape(1, count, 2)


def forward(face, barycentrics, corner_uvs, texture):
    """The image (N,H,W,C+1), and the coordinates (P,2), which ``backward`` needs besides."""
    covered = face >= 0
    uv = interpolation.forward(face, barycentrics, *_corners(corner_uvs)).view(-1, 2)
    color, _ = look_up.forward(texture[None], uv, covered.view(-1), None)
    return torch.cat([color.view(*face.shape, texture.shape[-1]), covered[..., None].to(color)], -1), uv


def backward(face, barycentrics, corner_uvs, texture, uv, grad_image, *, to_barycentrics=True, to_texture=True):
    """Gradients of the barycentrics and of the texture, each None where not asked for."""
    grad_color = grad_image[..., :-1].reshape(-1, texture.shape[-1]).contiguous()
    samples = texture.view(-1, texture.shape[-1]), uv, (face >= 0).view(-1), None, grad_color
    for_texture, for_uv, _ = look_up.backward(
        texture[None], *samples, to_texture=to_texture, to_uv=to_barycentrics, to_level=False
    )
    for_barycentrics = None
    if to_barycentrics:
        corners, coordinates = _corners(corner_uvs)
        by_uv = for_uv.view(*face.shape, 2)
        for_barycentrics, _ = interpolation.backward(
            face, barycentrics, corners, coordinates, by_uv, to_attributes=False
        )
    return for_barycentrics, None if for_texture is None else for_texture[0]
