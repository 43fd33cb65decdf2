"""Numba: one pass over the pixels forward, one back for the barycentrics, and the texture's own for its texels."""

import numpy as np
import torch
from numba import prange

from ..jit import jit
from ..texture.cpu import _axis, _bilinear, texels_kernel
from ..texture.layout import level_table

NO_LEVEL = np.empty(0, np.float32)


@jit
def forward_kernel(face, barycentrics, corner_uvs, texture, uv, image):
    """All by pixel (P,...) but ``corner_uvs`` (F,6) and ``texture`` (A,B,C)."""
    height, width, channels = texture.shape
    for p in prange(len(face)):
        f = face[p]
        if f < 0:
            uv[p, 0] = uv[p, 1] = 0.0
            for c in range(channels + 1):
                image[p, c] = 0.0
            continue
        b0, b1, b2 = barycentrics[p, 0], barycentrics[p, 1], barycentrics[p, 2]
        uv[p, 0] = b0 * corner_uvs[f, 0] + b1 * corner_uvs[f, 2] + b2 * corner_uvs[f, 4]
        uv[p, 1] = b0 * corner_uvs[f, 1] + b1 * corner_uvs[f, 3] + b2 * corner_uvs[f, 5]
        j, right, t, _, _ = _axis(np.float64(uv[p, 0]) * width - 0.5, width)
        i, below, s, _, _ = _axis((1.0 - np.float64(uv[p, 1])) * height - 0.5, height)
        for c in range(channels):
            a, b = texture[i, j, c], texture[i, right, c]
            d, e = texture[below, j, c], texture[below, right, c]
            image[p, c] = _bilinear(a, b, d, e, s, t)
        image[p, channels] = 1.0


@jit
def slopes_kernel(face, corner_uvs, texture, uv, grad_image, grad_barycentrics):
    """The barycentrics' gradient (P,3)."""
    height, width, channels = texture.shape
    for p in prange(len(face)):
        f = face[p]
        if f < 0:
            grad_barycentrics[p, 0] = grad_barycentrics[p, 1] = grad_barycentrics[p, 2] = 0.0
            continue
        j, right, t, left, along_u = _axis(np.float64(uv[p, 0]) * width - 0.5, width)
        i, below, s, over, along_v = _axis((1.0 - np.float64(uv[p, 1])) * height - 0.5, height)
        du = dv = np.float32(0)
        for c in range(channels):
            g = grad_image[p, c]
            b, d, e = texture[i, right, c], texture[below, j, c], texture[below, right, c]
            near, far = b - texture[i, left, c], e - texture[below, left, c]
            du += g * (near + s * (far - near))
            near, far = d - texture[over, j, c], e - texture[over, right, c]
            dv += g * (near + t * (far - near))
        du, dv = along_u * du, -along_v * dv
        for k in range(3):
            grad_barycentrics[p, k] = du * corner_uvs[f, 2 * k] + dv * corner_uvs[f, 2 * k + 1]


def forward(face, barycentrics, corner_uvs, texture):
    """The image (N,H,W,C+1), and the coordinates (P,2), which ``backward`` needs besides."""
    pixels, channels = face.numel(), texture.shape[-1]
    image, uv = texture.new_empty(*face.shape, channels + 1), texture.new_empty(pixels, 2)
    by_pixel = face.view(-1).numpy(), barycentrics.view(-1, 3).numpy()
    corners, made = corner_uvs.view(-1, 6).numpy(), image.view(-1, channels + 1).numpy()
    forward_kernel(*by_pixel, corners, texture.numpy(), uv.numpy(), made)
    return image, uv


def backward(face, barycentrics, corner_uvs, texture, uv, grad_image, *, to_barycentrics=True, to_texture=True):
    """Gradients of the barycentrics and of the texture, each None where not asked for."""
    height, width, channels = texture.shape
    flat, incoming = face.view(-1), grad_image.view(-1, channels + 1).numpy()
    for_barycentrics = for_texture = None
    if to_barycentrics:
        for_barycentrics = torch.empty_like(barycentrics)
        corners, made = corner_uvs.view(-1, 6).numpy(), for_barycentrics.view(-1, 3).numpy()
        slopes_kernel(flat.numpy(), corners, texture.numpy(), uv.numpy(), incoming, made)
    if to_texture:
        for_texture = torch.zeros_like(texture)
        table, share = np.array(level_table(1, height, width)[:1], np.int64), max(len(flat), 1)
        texels = for_texture.view(-1, channels).numpy()
        texels_kernel(table, uv.numpy(), (flat >= 0).numpy(), NO_LEVEL, share, incoming, texels, texels[:0])
    return for_barycentrics, for_texture
