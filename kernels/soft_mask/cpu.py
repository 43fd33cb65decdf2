"""Numba, float64 inside. Forward: bands of rows, each walking the faces that reach into it, in the order of their
numbers. Backward: every face gathers from the pixels near it, which needs only the pixels' totals that the forward pass
keeps. No two tasks write to one place and every sum has one order: results do not depend on the threads."""

import math

import torch
from numba import prange
from torch import Tensor

from ..jit import jit
from . import FLAT, MIN_AREA
from .cpu_geometry import (
    add_distance_gradient,
    area_scale,
    clip_barycentrics,
    edge_functions,
    inverse_length,
    nearest_edge,
)

TASKS = 32
"""Least number of bands over all views: enough to keep the cores busy; each band reads every face's box."""


@jit
def dibr_forward_kernel(corners, boxes, face, sigmainv, boxlen, knum, bands, mask, missed, taken, last):
    """``missed`` is the product of what the faces leave, ``last`` the number of the last face that counts."""
    views, height, width = face.shape
    count = corners.shape[1]
    rows = (height + bands - 1) // bands
    for task in prange(views * bands):
        n = task // bands
        top = (task - n * bands) * rows
        bottom = min(top + rows, height)
        for f in range(count):
            first, end = max(boxes[n, f, 0], top), min(boxes[n, f, 1] + 1, bottom)
            if first >= end:
                continue
            x0, y0, x1, y1 = corners[n, f, 0, 0], corners[n, f, 0, 1], corners[n, f, 1, 0], corners[n, f, 1, 1]
            x2, y2 = corners[n, f, 2, 0], corners[n, f, 2, 1]
            inverse0, inverse1 = inverse_length(x0, y0, x1, y1), inverse_length(x1, y1, x2, y2)
            inverse2 = inverse_length(x2, y2, x0, y0)
            left, right = min(x0, x1, x2) - boxlen, max(x0, x1, x2) + boxlen
            low, high = min(y0, y1, y2) - boxlen, max(y0, y1, y2) + boxlen
            for i in range(first, end):
                y = (height - 1 - 2 * i) / height
                for j in range(boxes[n, f, 2], boxes[n, f, 3] + 1):
                    if face[n, i, j] >= 0 or taken[n, i, j] >= knum:
                        continue
                    x = (2 * j + 1 - width) / width
                    if not (left <= x < right and low <= y < high):
                        continue
                    _, squared, _, _, _ = nearest_edge(x, y, x0, y0, x1, y1, x2, y2, inverse0, inverse1, inverse2)
                    missed[n, i, j] *= -math.expm1(-sigmainv * squared)
                    taken[n, i, j] += 1
                    last[n, i, j] = f
        for i in range(top, bottom):
            for j in range(width):
                mask[n, i, j] = 1.0 if face[n, i, j] >= 0 else 1.0 - missed[n, i, j]


@jit
def dibr_backward_kernel(corners, boxes, face, missed, last, gradient, sigmainv, boxlen, grad_corners):
    views, height, width = face.shape
    count = corners.shape[1]
    for task in prange(views * count):
        n = task // count
        f = task - n * count
        grad = grad_corners[n, f]
        x0, y0, x1, y1 = corners[n, f, 0, 0], corners[n, f, 0, 1], corners[n, f, 1, 0], corners[n, f, 1, 1]
        x2, y2 = corners[n, f, 2, 0], corners[n, f, 2, 1]
        inverse0, inverse1 = inverse_length(x0, y0, x1, y1), inverse_length(x1, y1, x2, y2)
        inverse2 = inverse_length(x2, y2, x0, y0)
        left, right = min(x0, x1, x2) - boxlen, max(x0, x1, x2) + boxlen
        low, high = min(y0, y1, y2) - boxlen, max(y0, y1, y2) + boxlen
        for i in range(boxes[n, f, 0], boxes[n, f, 1] + 1):
            y = (height - 1 - 2 * i) / height
            for j in range(boxes[n, f, 2], boxes[n, f, 3] + 1):
                if face[n, i, j] >= 0 or f > last[n, i, j] or gradient[n, i, j] == 0:
                    continue
                x = (2 * j + 1 - width) / width
                if not (left <= x < right and low <= y < high):
                    continue
                edge, squared, t, dx, dy = nearest_edge(x, y, x0, y0, x1, y1, x2, y2, inverse0, inverse1, inverse2)
                left_by_this = -math.expm1(-sigmainv * squared)
                if left_by_this == 0:  # on an edge: the others' factors are multiplied by 0, its own is flat there
                    continue
                others = missed[n, i, j] / left_by_this
                by_squared = -gradient[n, i, j] * others * sigmainv * math.exp(-sigmainv * squared)
                add_distance_gradient(grad, edge, t, dx, dy, by_squared)


@jit
def soft_forward_kernel(
    corners, boxes, values, background, sigma, gamma, eps, near, far, cutoff, bands,
    picture, missed, highest, total, color,
):  # fmt: skip
    """Besides the picture: the product of the faces' 1 - D, the highest z, the sum of D exp((z - highest) / gamma) and
    the color in float64."""
    views, height, width, channels = color.shape
    count = corners.shape[1]
    step = 1 if values.shape[0] > 1 else 0  # whether each view has colors of its own
    rows = (height + bands - 1) // bands
    for task in prange(views * bands):
        n = task // bands
        m = n * step
        top = (task - n * bands) * rows
        bottom = min(top + rows, height)
        for i in range(top, bottom):
            for j in range(width):
                missed[n, i, j], highest[n, i, j], total[n, i, j] = 1.0, eps, 1.0
                for c in range(channels):
                    color[n, i, j, c] = background[c]
        for f in range(count):
            first, end = max(boxes[n, f, 0], top), min(boxes[n, f, 1] + 1, bottom)
            if first >= end:
                continue
            x0, y0, z0 = corners[n, f, 0]
            x1, y1, z1 = corners[n, f, 1]
            x2, y2, z2 = corners[n, f, 2]
            inverse0, inverse1 = inverse_length(x0, y0, x1, y1), inverse_length(x1, y1, x2, y2)
            inverse2 = inverse_length(x2, y2, x0, y0)
            area, scale = area_scale(x0, y0, x1, y1, x2, y2)
            for i in range(first, end):
                y = (height - 1 - 2 * i) / height
                for j in range(boxes[n, f, 2], boxes[n, f, 3] + 1):
                    x = (2 * j + 1 - width) / width
                    _, squared, _, _, _ = nearest_edge(x, y, x0, y0, x1, y1, x2, y2, inverse0, inverse1, inverse2)
                    w0, w1, w2 = edge_functions(x, y, x0, y0, x1, y1, x2, y2, scale)
                    inside = w0 > 0 and w1 > 0 and w2 > 0 and w0 < 1 and w1 < 1 and w2 < 1
                    if not inside and squared >= cutoff:
                        continue
                    small = math.exp(-squared / sigma)
                    share = 1.0 / (1.0 + small)
                    missed[n, i, j] *= small * share if inside else share
                    if channels == 0 or area < FLAT:
                        continue
                    b0, b1, b2, _ = clip_barycentrics(w0, w1, w2)
                    depth = 1.0 / (b0 / z0 + b1 / z1 + b2 / z2)
                    if depth < near or depth > far:
                        continue
                    z = (far - depth) / (far - near)
                    if z > highest[n, i, j]:
                        fade = math.exp((highest[n, i, j] - z) / gamma)
                        highest[n, i, j] = z
                        total[n, i, j] *= fade
                        for c in range(channels):
                            color[n, i, j, c] *= fade
                    weight = math.exp((z - highest[n, i, j]) / gamma) * (share if inside else small * share)
                    total[n, i, j] += weight
                    for c in range(channels):
                        seen = b0 * values[m, f, 0, c] + b1 * values[m, f, 1, c] + b2 * values[m, f, 2, c]
                        color[n, i, j, c] += weight * seen
        for i in range(top, bottom):
            for j in range(width):
                for c in range(channels):
                    color[n, i, j, c] /= total[n, i, j]
                    picture[n, i, j, c] = color[n, i, j, c]
                picture[n, i, j, channels] = 1.0 - missed[n, i, j]


@jit
def soft_backward_kernel(
    corners, boxes, values, missed, highest, total, color, gradient, sigma, gamma, near, far, cutoff,
    through_barycentrics, grad_corners, grad_values,
):  # fmt: skip
    views, height, width, channels = color.shape
    count = corners.shape[1]
    step = 1 if values.shape[0] > 1 else 0  # whether each view has colors of its own
    for f in prange(count):
        for n in range(views):
            m = n * step
            grad = grad_corners[n, f]
            x0, y0, z0 = corners[n, f, 0]
            x1, y1, z1 = corners[n, f, 1]
            x2, y2, z2 = corners[n, f, 2]
            inverse0, inverse1 = inverse_length(x0, y0, x1, y1), inverse_length(x1, y1, x2, y2)
            inverse2 = inverse_length(x2, y2, x0, y0)
            area, scale = area_scale(x0, y0, x1, y1, x2, y2)
            slopes = through_barycentrics and area * height * width > 4 * MIN_AREA
            for i in range(boxes[n, f, 0], boxes[n, f, 1] + 1):
                y = (height - 1 - 2 * i) / height
                for j in range(boxes[n, f, 2], boxes[n, f, 3] + 1):
                    by_signed = gradient[n, i, j, channels] * missed[n, i, j]
                    if channels == 0 and by_signed == 0:
                        continue
                    x = (2 * j + 1 - width) / width
                    edge, squared, t, dx, dy = nearest_edge(x, y, x0, y0, x1, y1, x2, y2, inverse0, inverse1, inverse2)
                    w0, w1, w2 = edge_functions(x, y, x0, y0, x1, y1, x2, y2, scale)
                    inside = w0 > 0 and w1 > 0 and w2 > 0 and w0 < 1 and w1 < 1 and w2 < 1
                    if not inside and squared >= cutoff:
                        continue
                    small = math.exp(-squared / sigma)
                    share = 1.0 / (1.0 + small)
                    rest = small * share
                    if not inside:
                        share, rest = rest, share
                    by_signed *= share
                    if channels > 0 and area >= FLAT:
                        b0, b1, b2, clipped = clip_barycentrics(w0, w1, w2)
                        depth = 1.0 / (b0 / z0 + b1 / z1 + b2 / z2)
                        if near <= depth <= far:
                            z = (far - depth) / (far - near)
                            weight = share * math.exp((z - highest[n, i, j]) / gamma) / total[n, i, j]
                            gain = g0 = g1 = g2 = 0.0
                            for c in range(channels):
                                g = weight * gradient[n, i, j, c]
                                v0, v1, v2 = values[m, f, 0, c], values[m, f, 1, c], values[m, f, 2, c]
                                gain += g * (b0 * v0 + b1 * v1 + b2 * v2 - color[n, i, j, c])
                                g0, g1, g2 = g0 + g * v0, g1 + g * v1, g2 + g * v2
                                grad_values[m, f, 0, c] += g * b0
                                grad_values[m, f, 1, c] += g * b1
                                grad_values[m, f, 2, c] += g * b2
                            by_signed += gain * rest
                            by_inverse = gain / (gamma * (far - near)) * depth * depth  # of one over the depth
                            grad[0, 2] -= by_inverse * b0 / (z0 * z0)
                            grad[1, 2] -= by_inverse * b1 / (z1 * z1)
                            grad[2, 2] -= by_inverse * b2 / (z2 * z2)
                            if slopes:
                                g0, g1, g2 = g0 + by_inverse / z0, g1 + by_inverse / z1, g2 + by_inverse / z2
                                mean = g0 * b0 + g1 * b1 + g2 * b2
                                g0 = (g0 - mean) / clipped if 0 < w0 < 1 else 0.0
                                g1 = (g1 - mean) / clipped if 0 < w1 < 1 else 0.0
                                g2 = (g2 - mean) / clipped if 0 < w2 < 1 else 0.0
                                by_x = -(g0 * (y1 - y2) + g1 * (y2 - y0) + g2 * (y0 - y1)) * scale
                                by_y = -(g0 * (x2 - x1) + g1 * (x0 - x2) + g2 * (x1 - x0)) * scale
                                grad[0, 0] += by_x * w0
                                grad[0, 1] += by_y * w0
                                grad[1, 0] += by_x * w1
                                grad[1, 1] += by_y * w1
                                grad[2, 0] += by_x * w2
                                grad[2, 1] += by_y * w2
                    sign = 1.0 if inside else -1.0
                    add_distance_gradient(grad, edge, t, dx, dy, sign * by_signed / sigma)


@jit
def scatter_kernel(values, faces, sums):
    step = 1 if faces.shape[0] > 1 else 0  # whether each view has faces of its own
    views, count, _, channels = values.shape
    for n in prange(views):
        m = n * step
        for f in range(count):
            if faces[m, f, 0] < 0 or faces[m, f, 1] < 0 or faces[m, f, 2] < 0:
                continue
            for k in range(3):
                for c in range(channels):
                    sums[n, faces[m, f, k], c] += values[n, f, k, c]


def bands_per_view(views: int, height: int) -> int:
    """Bands of each view: a function of the problem alone, never of the number of threads."""
    return max(1, min(-(-TASKS // max(views, 1)), height))


def dibr_forward(corners, boxes, face, sigmainv, boxlen, knum):
    """The mask (N,H,W) and what ``dibr_backward`` needs: what the faces leave, the last face's number."""
    views, height, _ = face.shape
    mask, missed = torch.empty(face.shape, dtype=torch.float32), torch.ones(face.shape, dtype=torch.float64)
    taken, last = torch.zeros(face.shape, dtype=torch.int32), torch.full(face.shape, -1, dtype=torch.int32)
    inputs = (x.numpy() for x in (corners, boxes, face))
    outputs = (x.numpy() for x in (mask, missed, taken, last))
    dibr_forward_kernel(*inputs, sigmainv, boxlen, knum, bands_per_view(views, height), *outputs)
    return mask, missed, last


def dibr_backward(corners, boxes, face, missed, last, gradient, sigmainv, boxlen, knum):
    """Gradient (N,F,3,3) of the corners in normalized device coordinates."""
    grad_corners = torch.zeros_like(corners)
    arrays = (x.numpy() for x in (corners, boxes, face, missed, last, gradient))
    dibr_backward_kernel(*arrays, sigmainv, boxlen, grad_corners.numpy())
    return grad_corners


def soft_forward(
    corners, boxes, values, height, width, background, sigma, gamma, eps, near, far, cutoff, through_barycentrics
):
    """The picture (N,H,W,C+1) and the pixels' totals that ``soft_backward`` needs."""
    views, channels = corners.shape[0], values.shape[-1]
    size = (views, height, width)
    picture = values.new_empty(*size, channels + 1)
    totals = [torch.empty(size, dtype=torch.float64) for _ in range(3)]
    totals.append(torch.empty(*size, channels, dtype=torch.float64))
    inputs = (x.numpy() for x in (corners, boxes, values, background))
    settings = (sigma, gamma, eps, near, far, cutoff, bands_per_view(views, height))
    soft_forward_kernel(*inputs, *settings, picture.numpy(), *(x.numpy() for x in totals))
    return picture, *totals


def soft_backward(
    corners, boxes, values, missed, highest, total, color, gradient,
    sigma, gamma, eps, near, far, cutoff, through_barycentrics,
):  # fmt: skip
    """Gradients of the corners (N,F,3,3), in normalized device coordinates, and of ``values``."""
    grad_corners = torch.zeros_like(corners)
    grad_values = torch.zeros(values.shape, dtype=torch.float64)
    arrays = (x.numpy() for x in (corners, boxes, values, missed, highest, total, color, gradient))
    settings = (sigma, gamma, near, far, cutoff, through_barycentrics)
    soft_backward_kernel(*arrays, *settings, grad_corners.numpy(), grad_values.numpy())
    return grad_corners, grad_values


def scatter(values: Tensor, faces: Tensor, vertices: int) -> Tensor:
    """Sums (N,V,C) of corners' values (N,F,3,C) at their vertices, float64; faces (1 or N,F,3), padding left out."""
    sums = torch.zeros(values.shape[0], vertices, values.shape[-1], dtype=torch.float64)
    scatter_kernel(values.double().contiguous().numpy(), faces.contiguous().numpy(), sums.numpy())
    return sums
