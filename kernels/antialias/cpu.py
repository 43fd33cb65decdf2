"""Numba: the search is parallel over views; contours are thin, so the blend itself is one short sequential pass whose
order is fixed."""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ..jit import inline, jit
from .reference import LEAST_SLOPE


@inline
def det3(a, b, c):
    return (a[1] * b[2] - a[2] * b[1]) * c[0] + (a[2] * b[0] - a[0] * b[2]) * c[1] + (a[0] * b[1] - a[1] * b[0]) * c[2]


@inline
def owner_of(face, depth, i, j, i2, j2, p0, p1, side, edge_depth):
    """0 or 1: the pixel that shows the surface which the contour edge bounds; -1: the edge changes nothing here."""
    covered, covered2 = face[i, j] >= 0, face[i2, j2] >= 0
    if covered != covered2:
        return 0 if covered else 1
    if not covered:
        return -1
    first = depth[i, j] < depth[i2, j2]
    z, behind = (depth[i, j], depth[i2, j2]) if first else (depth[i2, j2], depth[i, j])
    if abs(edge_depth - z) >= abs(edge_depth - behind):
        return -1
    x, y = (j + 0.5, i + 0.5) if first else (j2 + 0.5, i2 + 0.5)
    if not det3(p0, p1, (x, y, 1.0)) * side >= 0:
        return -1
    return 0 if first else 1


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
                    if not (u > -1 and u < places):
                        continue
                    for first in range(math.ceil(u) - 1, math.floor(u) + 1):  # two pairs if through a centre
                        if first < 0 or first > places - 2:
                            continue
                        i, j = (line, first) if axis == 0 else (first, line)
                        i2, j2 = i + axis, j + 1 - axis
                        here = 1.0 / ((1 - share) / w0 + share / w1)
                        owner = owner_of(face[n], depth[n], i, j, i2, j2, p0, p1, side, here)
                        if owner < 0:
                            continue
                        t = u - first if owner == 0 else 1 - (u - first)
                        pair = axis * size + i * width + j
                        if best_edge[n, pair] == 0:
                            touched[n, counts[n]] = pair
                            counts[n] += 1
                        elif t <= best_t[n, pair]:
                            continue
                        best_edge[n, pair], best_t[n, pair], best_owner[n, pair] = e + 1, t, owner

    pairs, slopes = np.empty((counts.sum(), 4), np.int64), np.empty(counts.sum())
    filled = 0
    for n in range(views):
        for k in range(counts[n]):
            pair = touched[n, k]
            axis, pixel = pair // size, pair % size
            edge = edges[best_edge[n, pair] - 1]
            p0, p1 = points[n, edge[0]], points[n, edge[1]]
            along = p1[axis] / p1[2] - p0[axis] / p0[2]
            across = p1[1 - axis] / p1[2] - p0[1 - axis] / p0[2]
            slope = abs(along / across)
            if slope > 1 or (slope == 1 and axis == 1):
                continue
            a = n * size + pixel
            b = a + (1 if axis == 0 else width)
            pairs[filled, 0], pairs[filled, 1] = (a, b) if best_owner[n, pair] == 0 else (b, a)
            pairs[filled, 2], pairs[filled, 3] = edge[0], edge[1]
            slopes[filled] = slope
            filled += 1
    return pairs[:filled], slopes[:filled]


@inline
def frame(points, pair, height, width):
    """The edge's ends in pixels, their w, and whether the pair lies in a row."""
    n = pair[0] // (height * width)
    p0, p1 = points[n, pair[2]], points[n, pair[3]]
    in_row = pair[0] // width == pair[1] // width
    return n, p0[0] / p0[2], p0[1] / p0[2], p0[2], p1[0] / p1[2], p1[1] / p1[2], p1[2], in_row


@inline
def integral(x):
    return x - 0.5 if x >= 1 else max(x, 0.0) ** 2 / 2


@inline
def covered_share(z, slope):
    """F(z) and its derivative."""
    slope = max(slope, LEAST_SLOPE)
    low, high = z - slope / 2, z + slope / 2
    rate = min(max(high, 0.0), 1.0) - min(max(low, 0.0), 1.0)
    return (integral(high) - integral(low)) / slope, rate / slope


@jit(parallel=False)
def forward(image, points, pairs, slopes, height, width, weights, rates, totals, out):
    """Fills ``out``, which comes in as a copy of ``image`` (N*H*W,C); for the backward pass the weights (P,2) with
    which the owner and the other pixel take the other's colour, their derivatives by t, and each pixel's sum of
    weights."""
    for k in range(pairs.shape[0]):
        owner, other = pairs[k, 0], pairs[k, 1]
        _, x0, y0, _, x1, y1, _, in_row = frame(points, pairs[k], height, width)
        x, y = owner % width + 0.5, owner // width % height + 0.5
        t = x0 + (y - y0) / (y1 - y0) * (x1 - x0) - x if in_row else y0 + (x - x0) / (x1 - x0) * (y1 - y0) - y
        t = t if other > owner else -t
        kept, rate = covered_share(t + 0.5, slopes[k])
        weights[k, 0], rates[k, 0] = 1 - kept, -rate
        weights[k, 1], rates[k, 1] = covered_share(t - 0.5, slopes[k])
        for side in range(2):
            totals[pairs[k, side]] += weights[k, side]
    for k in range(pairs.shape[0]):
        for side in range(2):
            target = pairs[k, side]
            for c in range(image.shape[1]):
                out[target, c] = max(0.0, 1 - totals[target]) * image[target, c]
    for k in range(pairs.shape[0]):
        for side in range(2):
            target, source = pairs[k, side], pairs[k, 1 - side]
            weight = weights[k, side] / max(1.0, totals[target])
            for c in range(image.shape[1]):
                out[target, c] += weight * image[source, c]


@jit(parallel=False)
def backward(image, out, points, pairs, height, width, weights, rates, totals, grad_out, grad_image, grad_points):
    """``grad_image`` comes in as a copy of ``grad_out``, ``grad_points`` as zeros."""
    for k in range(pairs.shape[0]):
        for side in range(2):
            target = pairs[k, side]
            for c in range(image.shape[1]):
                grad_image[target, c] = max(0.0, 1 - totals[target]) * grad_out[target, c]
    for k in range(pairs.shape[0]):
        g = 0.0  # of the crossing, towards +x or +y
        for side in range(2):
            target, source = pairs[k, side], pairs[k, 1 - side]
            scale = 1 / max(1.0, totals[target])
            grad_weight = 0.0
            for c in range(image.shape[1]):
                grad = grad_out[target, c]
                grad_image[source, c] += weights[k, side] * scale * grad
                grad_weight += grad * (image[source, c] - (image[target, c] if totals[target] <= 1 else out[target, c]))
            g += grad_weight * scale * rates[k, side]
        owner = pairs[k, 0]
        g = g if pairs[k, 1] > owner else -g
        n, x0, y0, w0, x1, y1, w1, in_row = frame(points, pairs[k], height, width)
        if in_row:
            share = (owner // width % height + 0.5 - y0) / (y1 - y0)
            gx, gy = g, -g * (x1 - x0) / (y1 - y0)
        else:
            share = (owner % width + 0.5 - x0) / (x1 - x0)
            gx, gy = -g * (y1 - y0) / (x1 - x0), g
        for v, x, y, w, part in ((pairs[k, 2], x0, y0, w0, 1 - share), (pairs[k, 3], x1, y1, w1, share)):
            grad_points[n, v, 0] += part * gx / w
            grad_points[n, v, 1] += part * gy / w
            grad_points[n, v, 2] -= part * (gx * x + gy * y) / w


class Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, points, pairs, slopes):
        height, width, channels = image.shape[1:]
        flat = image.detach().float().reshape(-1, channels).contiguous()
        out = flat.clone()
        exact = points.detach().double().contiguous()
        pairs, count = pairs.contiguous(), pairs.shape[0]
        weights, rates, totals = np.empty((count, 2)), np.empty((count, 2)), np.zeros(flat.shape[0])
        arrays = (x.numpy() for x in (flat, exact, pairs, slopes.double().contiguous()))
        forward(*arrays, height, width, weights, rates, totals, out.numpy())
        ctx.save_for_backward(flat, out, exact, pairs)
        ctx.weights, ctx.shape, ctx.dtype = (weights, rates, totals), image.shape, points.dtype
        return out.view(image.shape)

    @staticmethod
    def backward(ctx, grad_out):
        height, width, channels = ctx.shape[1:]
        grad_out = grad_out.reshape(-1, channels).contiguous()
        grad_image = grad_out.clone()
        flat, out, exact, pairs = ctx.saved_tensors
        grad_points = torch.zeros_like(exact)
        arrays = (x.numpy() for x in (flat, out, exact, pairs))
        grads = (x.numpy() for x in (grad_out, grad_image, grad_points))
        backward(*arrays, height, width, *ctx.weights, *grads)
        return grad_image.view(ctx.shape), grad_points.to(ctx.dtype), None, None


def find_pairs(points: Tensor, edges: Tensor, face: Tensor, depth: Tensor, near: float) -> tuple[Tensor, Tensor]:
    """See ``nerfkit.kernels.antialias.find_pairs``. Works in float64 inside."""
    arrays = points.detach().double(), edges.long(), face.int(), depth.detach().float()
    pairs, slopes = search(*(x.contiguous().numpy() for x in arrays), float(near))
    return torch.from_numpy(pairs), torch.from_numpy(slopes)


def blend(image: Tensor, points: Tensor, pairs: Tensor, slopes: Tensor) -> Tensor:
    """See ``nerfkit.kernels.antialias.blend``. Float32 colours, positions in float64 inside."""
    return Blend.apply(image, points, pairs, slopes)
