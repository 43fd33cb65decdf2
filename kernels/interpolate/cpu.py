"""Numba: parallel over rows. The gradient of the attributes is summed per band of rows, then over the bands in order,
so it does not depend on the number of threads and needs no atomics."""

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ..jit import jit

BANDS = 8
"""Least number of partial sums of the attributes' gradient; each takes as much memory as the attributes in float64."""


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
