"""Numba: the search is parallel over views; contours are thin, so the blend itself is one short sequential pass whose order
is fixed."""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ..jit import inline, jit


@inline
def det3(a, b, c):
    return (a[1] * b[2] - a[2] * b[1]) * c[0] + (a[2] * b[0] - a[0] * b[2]) * c[1] + (a[0] * b[1] - a[1] * b[0]) * c[2]


@jit
def search(points, edges, face, depth, near):
    views, height, width = face.shape
    size = height * width
    best_edge = np.zeros((views, 2 * size), np.int32)  # number + 1 of the outermost edge of each pair
    best_t = np.empty((views, 2 * size))
    best_owner = np.empty((views, 2 * size), np.int8)
    touched = np.empty((views, 2 * size), np.int32)
    counts = np.zeros(views, np.int64)
    for n in prange(views):
        for e in range(edges.shape[0]):
            p0, p1 = points[n, edges[e, 0]], points[n, edges[e, 1]]
            w0, w1 = p0[2], p1[2]
            if not (w0 >= near and w1 >= near):
                continue
            side = det3(p0, p1, points[n, edges[e, 2]])
            if edges[e, 3] >= 0:
                side_b = det3(p0, p1, points[n, edges[e, 3]])
                if not side * side_b >= 0:
                    continue
                side = side if side != 0 else side_b
            elif not math.isfinite(side):
                continue
            for axis in range(2):  # 0: pairs in a row, 1: pairs in a column
                u0, s0 = p0[axis] / w0, p0[1 - axis] / w0
                u1, s1 = p1[axis] / w1, p1[1 - axis] / w1
                lines, places = (height, width) if axis == 0 else (width, height)
                if s0 == s1:
                    continue
                low, high = max(min(s0, s1) - 0.5, 0.0), min(max(s0, s1) - 0.5, lines - 1.0)
                if not low <= high:
                    continue
                for line in range(math.ceil(low), math.floor(high) + 1):
                    share = (line + 0.5 - s0) / (s1 - s0)
                    u = u0 + share * (u1 - u0) - 0.5
                    if not (u >= 0 and u < places - 1):
                        continue
                    first = int(u)
                    i, j = (line, first) if axis == 0 else (first, line)
                    i2, j2 = i + axis, j + 1 - axis
                    covered, covered2 = face[n, i, j] >= 0, face[n, i2, j2] >= 0
                    if covered != covered2:
                        owner = 0 if covered else 1
                    elif not covered:
                        continue
                    else:
                        z, z2 = depth[n, i, j], depth[n, i2, j2]
                        owner = 0 if z < z2 else 1
                        here = 1.0 / ((1 - share) / w0 + share / w1)
                        if abs(here - min(z, z2)) >= abs(here - max(z, z2)):
                            continue
                        x, y = (j + 0.5, i + 0.5) if owner == 0 else (j2 + 0.5, i2 + 0.5)
                        if not det3(p0, p1, (x, y, 1.0)) * side >= 0:
                            continue
                    t = u - first if owner == 0 else 1 - (u - first)
                    pair = axis * size + i * width + j
                    if best_edge[n, pair] == 0:
                        touched[n, counts[n]] = pair
                        counts[n] += 1
                    elif t <= best_t[n, pair]:
                        continue
                    best_edge[n, pair], best_t[n, pair], best_owner[n, pair] = e + 1, t, owner

    pairs = np.empty((counts.sum(), 4), np.int64)
    filled = 0
    for n in range(views):
        for k in range(counts[n]):
            pair = touched[n, k]
            axis, pixel = pair // size, pair % size
            edge = edges[best_edge[n, pair] - 1]
            p0, p1 = points[n, edge[0]], points[n, edge[1]]
            dx, dy = abs(p1[0] / p1[2] - p0[0] / p0[2]), abs(p1[1] / p1[2] - p0[1] / p0[2])
            if (axis == 0) != (dy >= dx):
                continue
            a = n * size + pixel
            b = a + (1 if axis == 0 else width)
            pairs[filled, 0], pairs[filled, 1] = (a, b) if best_owner[n, pair] == 0 else (b, a)
            pairs[filled, 2], pairs[filled, 3] = edge[0], edge[1]
            filled += 1
    return pairs[:filled]


@inline
def frame(points, pair, height, width):
    """The edge's ends in pixels, their w, and whether the pair lies in a row."""
    n = pair[0] // (height * width)
    p0, p1 = points[n, pair[2]], points[n, pair[3]]
    in_row = pair[0] // width == pair[1] // width
    return n, p0[0] / p0[2], p0[1] / p0[2], p0[2], p1[0] / p1[2], p1[1] / p1[2], p1[2], in_row


@jit(parallel=False)
def forward(image, points, pairs, height, width, crossings, totals, out):
    """``image`` and ``out`` (N*H*W,C), ``out`` a copy of ``image``; fills ``crossings`` (P,) and ``totals`` (N*H*W,)."""
    for k in range(pairs.shape[0]):
        owner, other = pairs[k, 0], pairs[k, 1]
        _, x0, y0, _, x1, y1, _, in_row = frame(points, pairs[k], height, width)
        x, y = owner % width + 0.5, owner // width % height + 0.5
        t = x0 + (y - y0) / (y1 - y0) * (x1 - x0) - x if in_row else y0 + (x - x0) / (x1 - x0) * (y1 - y0) - y
        crossings[k] = t if other > owner else -t
        totals[owner if crossings[k] < 0.5 else other] += abs(crossings[k] - 0.5)
    for k in range(pairs.shape[0]):
        target = pairs[k, 0] if crossings[k] < 0.5 else pairs[k, 1]
        for c in range(image.shape[1]):
            out[target, c] = max(0.0, 1 - totals[target]) * image[target, c]
    for k in range(pairs.shape[0]):
        inside = crossings[k] < 0.5
        target, source = (pairs[k, 0], pairs[k, 1]) if inside else (pairs[k, 1], pairs[k, 0])
        weight = abs(crossings[k] - 0.5) / max(1.0, totals[target])
        for c in range(image.shape[1]):
            out[target, c] += weight * image[source, c]


@jit(parallel=False)
def backward(image, out, points, pairs, height, width, crossings, totals, grad_out, grad_image, grad_points):
    """``grad_image`` comes in as a copy of ``grad_out``, ``grad_points`` as zeros."""
    for k in range(pairs.shape[0]):
        target = pairs[k, 0] if crossings[k] < 0.5 else pairs[k, 1]
        for c in range(image.shape[1]):
            grad_image[target, c] = max(0.0, 1 - totals[target]) * grad_out[target, c]
    for k in range(pairs.shape[0]):
        inside = crossings[k] < 0.5
        owner, other = pairs[k, 0], pairs[k, 1]
        target, source = (owner, other) if inside else (other, owner)
        scale = 1 / max(1.0, totals[target])
        weight = abs(crossings[k] - 0.5) * scale
        grad_weight = 0.0
        for c in range(image.shape[1]):
            g = grad_out[target, c]
            grad_image[source, c] += weight * g
            grad_weight += g * (image[source, c] - (image[target, c] if totals[target] <= 1 else out[target, c]))
        g = grad_weight * scale * (-1.0 if inside else 1.0) * (1.0 if other > owner else -1.0)
        n, x0, y0, w0, x1, y1, w1, in_row = frame(points, pairs[k], height, width)
        if in_row:
            slope = (x1 - x0) / (y1 - y0)
            share = (owner // width % height + 0.5 - y0) / (y1 - y0)
            gx, gy = g, -g * slope
        else:
            slope = (y1 - y0) / (x1 - x0)
            share = (owner % width + 0.5 - x0) / (x1 - x0)
            gx, gy = -g * slope, g
        for v, x, y, w, part in ((pairs[k, 2], x0, y0, w0, 1 - share), (pairs[k, 3], x1, y1, w1, share)):
            grad_points[n, v, 0] += part * gx / w
            grad_points[n, v, 1] += part * gy / w
            grad_points[n, v, 2] -= part * (gx * x + gy * y) / w


class Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, points, pairs):
        height, width, channels = image.shape[1:]
        flat = image.detach().float().reshape(-1, channels).contiguous()
        out = flat.clone()
        exact = points.detach().double().contiguous()
        pairs = pairs.contiguous()
        crossings, totals = np.empty(pairs.shape[0]), np.zeros(flat.shape[0])
        forward(flat.numpy(), exact.numpy(), pairs.numpy(), height, width, crossings, totals, out.numpy())
        ctx.save_for_backward(flat, out, exact, pairs)
        ctx.crossings, ctx.totals, ctx.shape, ctx.dtype = crossings, totals, image.shape, points.dtype
        return out.view(image.shape)

    @staticmethod
    def backward(ctx, grad_out):
        flat, out, exact, pairs = ctx.saved_tensors
        height, width, channels = ctx.shape[1:]
        grad_out = grad_out.reshape(-1, channels).contiguous()
        grad_image = grad_out.clone()
        grad_points = torch.zeros_like(exact)
        backward(
            *(x.numpy() for x in (flat, out, exact, pairs)),
            *(height, width, ctx.crossings, ctx.totals),
            *(x.numpy() for x in (grad_out, grad_image, grad_points)),
        )
        return grad_image.view(ctx.shape), grad_points.to(ctx.dtype), None


def find_pairs(points: Tensor, edges: Tensor, face: Tensor, depth: Tensor, near: float) -> Tensor:
    """See ``nerfkit.kernels.antialias.find_pairs``. Works in float64 inside."""
    arrays = points.detach().double(), edges.long(), face.int(), depth.detach().float()
    return torch.from_numpy(search(*(x.contiguous().numpy() for x in arrays), float(near)))


def blend(image: Tensor, points: Tensor, pairs: Tensor) -> Tensor:
    """See ``nerfkit.kernels.antialias.blend``. Float32 colours, positions in float64 inside."""
    return Blend.apply(image, points, pairs)
