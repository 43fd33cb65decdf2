"""Numba: parallel over rows. The gradient of the attributes is summed per band of rows, then over the bands in order,
so it does not depend on the number of threads and needs no atomics."""

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ..jit import inline, jit

BANDS = 8
"""Least number of partial sums of the attributes' gradient; each takes as much memory as the attributes in float64."""

TEXTURE_BANDS, CHUNKS = 32, 32
"""Bands of texel rows that a texture's gradient is summed in (even); chunks of samples that are sorted into them."""


@jit
def forward(face, barycentrics, faces, attributes, image):
    views, height, width = face.shape
    own = attributes.shape[0] > 1
    channels = attributes.shape[2]
    for row in prange(views * height):
        n = row // height
        i = row - n * height
        values = attributes[n if own else 0]
        for j in range(width):
            f = face[n, i, j]
            if f < 0:
                for c in range(channels):
                    image[n, i, j, c] = 0.0
                continue
            v0, v1, v2 = faces[f]
            b0, b1, b2 = barycentrics[n, i, j]
            for c in range(channels):
                image[n, i, j, c] = b0 * values[v0, c] + b1 * values[v1, c] + b2 * values[v2, c]


@jit
def backward(face, barycentrics, faces, attributes, grad_image, grad_barycentrics, parts, grad_attributes):
    """``parts`` is (sets, bands, V, C) where the attributes' gradient is wanted, and has no bands where it is not."""
    views, height, width = face.shape
    sets, count, channels = attributes.shape
    wanted = parts.shape[1] > 0
    bands = max(parts.shape[1], 1)
    lines = views * height // max(sets, 1)  # rows that read the same set of attributes
    rows = (lines + bands - 1) // bands
    for task in prange(sets * bands):
        s = task // bands
        band = task - s * bands
        values = attributes[s]
        for line in range(s * lines + band * rows, s * lines + min((band + 1) * rows, lines)):
            n = line // height
            i = line - n * height
            for j in range(width):
                f = face[n, i, j]
                if f < 0:
                    for k in range(3):
                        grad_barycentrics[n, i, j, k] = 0.0
                    continue
                for k in range(3):
                    vertex = faces[f, k]
                    b = barycentrics[n, i, j, k]
                    product = np.float32(0.0)
                    for c in range(channels):
                        g = grad_image[n, i, j, c]
                        product += g * values[vertex, c]
                        if wanted:
                            parts[s, band, vertex, c] += g * b
                    grad_barycentrics[n, i, j, k] = product
    if wanted:
        for task in prange(sets * count):
            s = task // count
            vertex = task - s * count
            for c in range(channels):
                total = 0.0
                for band in range(bands):
                    total += parts[s, band, vertex, c]
                grad_attributes[s, vertex, c] = total


class Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, face, barycentrics, faces, attributes):
        faces, face = faces.long().contiguous(), face.int().contiguous()
        barycentrics = barycentrics.float().contiguous()
        values = attributes.float().contiguous()
        values = values[None] if values.ndim == 2 else values  # (1 or N, V, C)
        image = torch.empty(*face.shape, values.shape[-1])
        forward(*(x.detach().numpy() for x in (face, barycentrics, faces, values, image)))
        ctx.save_for_backward(face, barycentrics, faces, values)
        ctx.shape = attributes.shape
        return image

    @staticmethod
    def backward(ctx, grad_image):
        face, barycentrics, faces, values = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3]
        sets = values.shape[0]
        bands = -(-BANDS // max(sets, 1)) if wanted else 0
        parts = np.zeros((sets, bands, *values.shape[1:]))
        grad_barycentrics = torch.empty_like(barycentrics)
        grad_values = torch.empty_like(values)
        arrays = (face, barycentrics, faces, values, grad_image.contiguous(), grad_barycentrics)
        backward(*(x.numpy() for x in arrays), parts, grad_values.numpy())
        return None, grad_barycentrics, None, grad_values.reshape(ctx.shape) if wanted else None


def interpolate(face: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """See ``nerfkit.kernels.interpolate.interpolate``. Float32."""
    return Interpolate.apply(face, barycentrics, faces, attributes)


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
