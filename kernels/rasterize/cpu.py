"""Numba: every view is cut into bands of rows and each band walks the faces that reach into it, so no two threads share
a pixel. The backward pass adds up per band and then over the bands in order: results do not depend on the threads."""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ..jit import inline, jit
from .reference import MIN_AREA

TASKS = 16
"""Least number of bands over all views: enough to keep the cores busy; each band reads every face's box."""


@inline
def cross(a0, a1, a2, b0, b1, b2):
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@inline
def pixel_range(low, high, size):
    """First and last pixel in [0, size) whose centre lies in [low, high]; first > last where there is none."""
    first = math.ceil(min(max(low - 0.5, 0.0), float(size)))
    last = math.floor(max(min(high - 0.5, size - 1.0), -1.0))
    return int(first), int(last)


@jit
def forward(points, faces, near, bands, boxes, face, barycentrics, depth):
    views, height, width = face.shape
    count = faces.shape[0]
    for task in prange(views * count):
        n = task // count
        f = task - n * count
        x_low = y_low = np.inf
        x_high = y_high = -np.inf
        finite = True
        for k in range(3):
            ax, ay, aw = points[n, faces[f, k]]
            bx, by, bw = points[n, faces[f, (k + 1) % 3]]
            finite = finite and math.isfinite(ax + ay + aw)
            if aw >= near:
                x_low, x_high = min(x_low, ax / aw), max(x_high, ax / aw)
                y_low, y_high = min(y_low, ay / aw), max(y_high, ay / aw)
            if (aw >= near) != (bw >= near):  # where the edge meets the near plane
                s = (near - aw) / (bw - aw)
                x, y = (ax + s * (bx - ax)) / near, (ay + s * (by - ay)) / near
                # A pixel's centre on the cut must not be lost to rounding.
                x_low, x_high = min(x_low, x - 1), max(x_high, x + 1)
                y_low, y_high = min(y_low, y - 1), max(y_high, y + 1)
        if finite and x_low <= x_high:
            slack = 1e-6  # the box is found by division, the coverage without: never lose a centre on an edge
            boxes[n, f, 0], boxes[n, f, 1] = pixel_range(y_low - slack, y_high + slack, height)
            boxes[n, f, 2], boxes[n, f, 3] = pixel_range(x_low - slack, x_high + slack, width)
        else:
            boxes[n, f, 0], boxes[n, f, 1] = height, -1

    rows = (height + bands - 1) // bands
    for task in prange(views * bands):
        n = task // bands
        top = (task - n * bands) * rows
        bottom = min(top + rows, height)
        for i in range(top, bottom):
            for j in range(width):
                face[n, i, j] = -1
                depth[n, i, j] = np.inf
                for k in range(3):
                    barycentrics[n, i, j, k] = 0.0
        for f in range(count):
            if boxes[n, f, 0] >= bottom or boxes[n, f, 1] < top or boxes[n, f, 2] > boxes[n, f, 3]:
                continue
            x0, y0, w0 = points[n, faces[f, 0]]
            x1, y1, w1 = points[n, faces[f, 1]]
            x2, y2, w2 = points[n, faces[f, 2]]
            a0, b0, c0 = cross(x1, y1, w1, x2, y2, w2)
            a1, b1, c1 = cross(x2, y2, w2, x0, y0, w0)
            a2, b2, c2 = cross(x0, y0, w0, x1, y1, w1)
            det = x0 * a0 + y0 * b0 + w0 * c0
            if det == 0:
                continue
            sign = 1.0 if det > 0 else -1.0
            a0, b0, c0 = sign * a0, sign * b0, sign * c0
            a1, b1, c1 = sign * a1, sign * b1, sign * c1
            a2, b2, c2 = sign * a2, sign * b2, sign * c2
            det = abs(det)
            for i in range(max(boxes[n, f, 0], top), min(boxes[n, f, 1] + 1, bottom)):
                y = i + 0.5
                r0, r1, r2 = b0 * y + c0, b1 * y + c1, b2 * y + c2
                for j in range(boxes[n, f, 2], boxes[n, f, 3] + 1):
                    x = j + 0.5
                    e0, e1, e2 = a0 * x + r0, a1 * x + r1, a2 * x + r2
                    if e0 >= 0 and e1 >= 0 and e2 >= 0:
                        total = e0 + e1 + e2
                        if total > 0:
                            scale = 1.0 / total
                            here = np.float32(det * scale)
                            if here >= near and here < depth[n, i, j]:
                                depth[n, i, j] = here
                                face[n, i, j] = f
                                barycentrics[n, i, j, 0] = e0 * scale
                                barycentrics[n, i, j, 1] = e1 * scale
                                barycentrics[n, i, j, 2] = e2 * scale
        for i in range(top, bottom):
            for j in range(width):
                if face[n, i, j] < 0:
                    depth[n, i, j] = 0.0


@jit
def backward(points, faces, face, grad_barycentrics, grad_depth, parts, grad_points):
    views, height, width = face.shape
    bands = parts.shape[1]
    rows = (height + bands - 1) // bands
    for task in prange(views * bands):
        n = task // bands
        band = task - n * bands
        part = parts[n, band]
        for i in range(band * rows, min((band + 1) * rows, height)):
            for j in range(width):
                f = face[n, i, j]
                if f < 0:
                    continue
                g0, g1, g2 = grad_barycentrics[n, i, j]
                gd = grad_depth[n, i, j]
                if g0 == 0 and g1 == 0 and g2 == 0 and gd == 0:
                    continue
                v0, v1, v2 = faces[f]
                x0, y0, w0 = points[n, v0]
                x1, y1, w1 = points[n, v1]
                x2, y2, w2 = points[n, v2]
                a0, b0, c0 = cross(x1, y1, w1, x2, y2, w2)
                a1, b1, c1 = cross(x2, y2, w2, x0, y0, w0)
                a2, b2, c2 = cross(x0, y0, w0, x1, y1, w1)
                x, y = j + 0.5, i + 0.5
                e0, e1, e2 = a0 * x + b0 * y + c0, a1 * x + b1 * y + c1, a2 * x + b2 * y + c2
                scale = 1.0 / (e0 + e1 + e2)
                e0, e1, e2 = e0 * scale, e1 * scale, e2 * scale  # the barycentrics
                part[v0, 2] += gd * e0
                part[v1, 2] += gd * e1
                part[v2, 2] += gd * e2
                if abs(x0 * a0 + y0 * b0 + w0 * c0) <= MIN_AREA * abs(w0 * w1 * w2):
                    continue
                g0, g1, g2 = g0 + gd * w0, g1 + gd * w1, g2 + gd * w2
                mean = g0 * e0 + g1 * e1 + g2 * e2
                g0, g1, g2 = (g0 - mean) * scale, (g1 - mean) * scale, (g2 - mean) * scale  # of the edge functions
                u, v, w = cross(x, y, 1.0, g1 * x2 - g2 * x1, g1 * y2 - g2 * y1, g1 * w2 - g2 * w1)
                part[v0, 0] += u
                part[v0, 1] += v
                part[v0, 2] += w
                u, v, w = cross(x, y, 1.0, g2 * x0 - g0 * x2, g2 * y0 - g0 * y2, g2 * w0 - g0 * w2)
                part[v1, 0] += u
                part[v1, 1] += v
                part[v1, 2] += w
                u, v, w = cross(x, y, 1.0, g0 * x1 - g1 * x0, g0 * y1 - g1 * y0, g0 * w1 - g1 * w0)
                part[v2, 0] += u
                part[v2, 1] += v
                part[v2, 2] += w
    vertices = points.shape[1]
    for task in prange(views * vertices):
        n = task // vertices
        vertex = task - n * vertices
        for k in range(3):
            total = 0.0
            for band in range(bands):
                total += parts[n, band, vertex, k]
            grad_points[n, vertex, k] = total


def bands_per_view(views: int, height: int) -> int:
    """Bands of each view: a function of the problem alone, never of the number of threads."""
    return max(1, min(-(-TASKS // max(views, 1)), height))


class Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, faces, height, width, near):
        views = points.shape[0]
        faces = faces.long().contiguous()
        exact = points.detach().double().contiguous()  # edge functions of small faces cancel: float32 is too short
        face = torch.empty(views, height, width, dtype=torch.int32)
        barycentrics = torch.empty(views, height, width, 3)
        depth = torch.empty(views, height, width)
        boxes = np.empty((views, faces.shape[0], 4), dtype=np.int32)
        bands = bands_per_view(views, height)
        forward(exact.numpy(), faces.numpy(), near, bands, boxes, face.numpy(), barycentrics.numpy(), depth.numpy())
        ctx.save_for_backward(exact, faces, face)
        ctx.dtype = points.dtype
        ctx.mark_non_differentiable(face)
        return face, barycentrics, depth

    @staticmethod
    def backward(ctx, _, grad_barycentrics, grad_depth):
        exact, faces, face = ctx.saved_tensors
        views, height, _ = face.shape
        parts = np.zeros((views, bands_per_view(views, height), exact.shape[1], 3))
        grad_points = torch.empty(exact.shape)
        grads = grad_barycentrics.contiguous().numpy(), grad_depth.contiguous().numpy()
        backward(exact.numpy(), faces.numpy(), face.numpy(), *grads, parts, grad_points.numpy())
        return grad_points.to(ctx.dtype), None, None, None, None


def rasterize(points: Tensor, faces: Tensor, height: int, width: int, near: float) -> tuple[Tensor, Tensor, Tensor]:
    """See ``nerfkit.kernels.rasterize.rasterize``. Works in float64 inside; returns float32."""
    return Rasterize.apply(points, faces, height, width, float(near))
