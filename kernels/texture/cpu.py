"""Numba."""

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ..jit import inline, jit

TEXTURE_BANDS, CHUNKS = 32, 32


@inline
def texel(u, size):
    """The two texels around u in [0,1], the second one's weight, and whether u lies between two texels. All float32:
    Numba makes a float64 of a float32 and an integer."""
    position = u * np.float32(size) - np.float32(0.5)
    inside = position > 0 and position < np.float32(size - 1)
    position = min(position, np.float32(size - 1)) if position > 0 else np.float32(0)
    first = int(position)
    return first, min(first + 1, size - 1), position - np.float32(first), inside


@jit
def texture_forward(texture, uv, covered, image):
    height, width, channels = texture.shape
    one = np.float32(1)
    for p in prange(uv.shape[0]):
        if not covered[p]:
            for c in range(channels):
                image[p, c] = 0.0
            continue
        j, right, t, _ = texel(uv[p, 0], width)
        i, below, s, _ = texel(one - uv[p, 1], height)
        for c in range(channels):
            above = texture[i, j, c] + t * (texture[i, right, c] - texture[i, j, c])
            under = texture[below, j, c] + t * (texture[below, right, c] - texture[below, j, c])
            image[p, c] = above + s * (under - above)


@jit
def texture_backward(texture, uv, covered, grad_image, grad_uv, grad_texture):
    """The samples are sorted by the band of texel rows they read, stably; a band also reaches into the next one's first
    row, so all even bands go before all odd ones."""
    height, width, channels = texture.shape
    one = np.float32(1)
    count = uv.shape[0]
    tall = max(2, (height + TEXTURE_BANDS - 1) // TEXTURE_BANDS)  # rows of a band
    share = (count + CHUNKS - 1) // CHUNKS
    starts = np.zeros((CHUNKS, TEXTURE_BANDS), np.int64)
    band_of = np.empty(count, np.int8)
    for chunk in prange(CHUNKS):
        for p in range(chunk * share, min((chunk + 1) * share, count)):
            grad_uv[p, 0] = grad_uv[p, 1] = 0.0
            band_of[p] = -1
            if not covered[p]:
                continue
            j, right, t, in_row = texel(uv[p, 0], width)
            i, below, s, in_column = texel(one - uv[p, 1], height)
            band_of[p] = i // tall
            starts[chunk, i // tall] += 1
            along, down = np.float32(0), np.float32(0)
            for c in range(channels):
                a, b = texture[i, j, c], texture[i, right, c]
                d, e = texture[below, j, c], texture[below, right, c]
                along += grad_image[p, c] * ((one - s) * (b - a) + s * (e - d))
                down += grad_image[p, c] * ((one - t) * (d - a) + t * (e - b))
            grad_uv[p, 0] = along * np.float32(width) if in_row else 0.0
            grad_uv[p, 1] = -down * np.float32(height) if in_column else 0.0

    filled = 0
    limits = np.empty(TEXTURE_BANDS + 1, np.int64)
    for band in range(TEXTURE_BANDS):
        limits[band] = filled
        for chunk in range(CHUNKS):
            here = starts[chunk, band]
            starts[chunk, band] = filled
            filled += here
    limits[TEXTURE_BANDS] = filled
    order = np.empty(filled, np.int64)
    for chunk in prange(CHUNKS):
        for p in range(chunk * share, min((chunk + 1) * share, count)):
            if band_of[p] >= 0:
                order[starts[chunk, band_of[p]]] = p
                starts[chunk, band_of[p]] += 1

    for parity in range(2):
        for half in prange(TEXTURE_BANDS // 2):
            band = 2 * half + parity
            for place in range(limits[band], limits[band + 1]):
                p = order[place]
                j, right, t, _ = texel(uv[p, 0], width)
                i, below, s, _ = texel(one - uv[p, 1], height)
                for c in range(channels):
                    g = grad_image[p, c]
                    grad_texture[i, j, c] += g * (one - s) * (one - t)
                    grad_texture[i, right, c] += g * (one - s) * t
                    grad_texture[below, j, c] += g * s * (one - t)
                    grad_texture[below, right, c] += g * s * t


class SampleTexture(torch.autograd.Function):
    @staticmethod
    def forward(ctx, texture, uv, covered):
        texture, uv, covered = (
            texture.detach().float().contiguous(),
            uv.detach().float().contiguous(),
            covered.contiguous(),
        )
        image = torch.empty(uv.shape[0], texture.shape[2])
        texture_forward(*(x.numpy() for x in (texture, uv, covered, image)))
        ctx.save_for_backward(texture, uv, covered)
        return image

    @staticmethod
    def backward(ctx, grad_image):
        texture, uv, covered = ctx.saved_tensors
        grad_uv, grad_texture = torch.empty_like(uv), torch.zeros_like(texture)
        arrays = (texture, uv, covered, grad_image.contiguous(), grad_uv, grad_texture)
        texture_backward(*(x.numpy() for x in arrays))
        return grad_texture, grad_uv, None


def sample_texture(texture: Tensor, uv: Tensor, covered: Tensor) -> Tensor:
    """See ``nerfkit.kernels.interpolate.sample_texture``. Float32."""
    return SampleTexture.apply(texture, uv, covered)
