"""Numba: parallel over rows. The gradient of the attributes is summed per band of rows, then over the bands in order,
so it does not depend on the number of threads and needs no atomics."""

import numpy as np
import torch
from numba import prange

from ..jit import jit

BANDS = 8
"""Most partial sums of a set of attributes' gradient; each takes as much memory as the set in float64."""


@jit
def forward_kernel(face, barycentrics, faces, attributes, image):
    """Returns how many pixels name a face or a vertex that is not there: nothing is read for those."""
    views, height, width = face.shape
    listed, own = faces.shape[0] > 1, attributes.shape[0] > 1
    _, count, channels = attributes.shape
    wrong = 0
    for row in prange(views * height):
        n = row // height
        i = row - n * height
        values = attributes[n if own else 0]
        corners = faces[n if listed else 0]
        for j in range(width):
            f = face[n, i, j]
            if f >= corners.shape[0]:
                wrong += 1
                continue
            if f < 0 or corners[f, 0] < 0:
                for c in range(channels):
                    image[n, i, j, c] = 0.0
                continue
            v0, v1, v2 = corners[f]
            if max(v0, v1, v2) >= count or min(v1, v2) < 0:
                wrong += 1
                continue
            b0, b1, b2 = barycentrics[n, i, j]
            for c in range(channels):
                image[n, i, j, c] = b0 * values[v0, c] + b1 * values[v1, c] + b2 * values[v2, c]
    return wrong


@jit
def backward_kernel(face, barycentrics, faces, attributes, grad_image, grad_barycentrics, parts, grad_attributes):
    """``parts`` is (sets, bands, V, C) where the attributes' gradient is wanted, and has no bands where it is not."""
    views, height, width = face.shape
    sets, count, channels = attributes.shape
    listed = faces.shape[0] > 1
    wanted = parts.shape[1] > 0
    bands = parts.shape[1] if wanted else BANDS
    lines = views * height // max(sets, 1)  # rows that read the same set of attributes
    rows = (lines + bands - 1) // bands
    for task in prange(sets * bands):
        s = task // bands
        band = task - s * bands
        values = attributes[s]
        for line in range(s * lines + band * rows, s * lines + min((band + 1) * rows, lines)):
            n = line // height
            i = line - n * height
            corners = faces[n if listed else 0]
            for j in range(width):
                f = face[n, i, j]
                if f < 0 or corners[f, 0] < 0:
                    for k in range(3):
                        grad_barycentrics[n, i, j, k] = 0.0
                    continue
                for k in range(3):
                    vertex = corners[f, k]
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


def forward(face, barycentrics, faces, attributes):
    """The image, (N,H,W,C)."""
    image = attributes.new_empty(*face.shape, attributes.shape[-1])
    wrong = forward_kernel(*(x.numpy() for x in (face, barycentrics, faces, attributes, image)))
    if wrong:
        there = f"{faces.shape[1]} faces and {attributes.shape[1]} rows of attributes"
        raise ValueError(f"interpolate: {wrong} pixels show a face or vertex that is not among the {there}")
    return image


def backward(face, barycentrics, faces, attributes, grad_image, *, to_barycentrics=True, to_attributes=True):
    """Gradients of the barycentrics and of the attributes (S,V,C); the latter None where not asked for.

    The number of partial sums depends on the sizes alone: no more than keep them as small as the image.
    """
    sets, count, _ = attributes.shape
    bands = min(max(face.numel() // max(sets * count, 1), 1), max(BANDS // max(sets, 1), 1)) if to_attributes else 0
    parts = np.zeros((sets, bands, *attributes.shape[1:]))
    grad_barycentrics = torch.empty_like(barycentrics)
    grad_attributes = torch.empty_like(attributes)
    arrays = (face, barycentrics, faces, attributes, grad_image, grad_barycentrics)
    backward_kernel(*(x.numpy() for x in arrays), parts, grad_attributes.numpy())
    return grad_barycentrics, grad_attributes if to_attributes else None
