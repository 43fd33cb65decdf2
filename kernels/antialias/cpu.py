"""Numba: edges are sorted out in parallel and searched for crossings in parallel over views and directions; contours
are thin, so the blend itself is one short sequential pass whose order is fixed."""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..jit import inline, jit
from .reference import CLEARANCE, LEAST_SLOPE, SLACK

CONTOUR, CREASE = 1, 2  # bits
NOTHING = -1


@inline
def det3(a, b, c):
    return (a[1] * b[2] - a[2] * b[1]) * c[0] + (a[2] * b[0] - a[0] * b[2]) * c[1] + (a[0] * b[1] - a[1] * b[0]) * c[2]


@jit
def sort_out(points, edges, creases, near, kinds, sides):
    """What each edge is in each view, and the sign of det(p0, p1, p) on its faces' side if it is a contour."""
    views, count = kinds.shape
    for task in prange(views * count):
        n = task // count
        e = task - n * count
        m = n if edges.shape[0] > 1 else 0
        v0, v1, a, b = edges[m, e]
        kinds[n, e] = 0
        sides[n, e] = 0
        if v0 < 0:
            continue
        p0, p1 = points[n, v0], points[n, v1]
        if not (p0[2] >= near and p1[2] >= near):
            continue
        if not math.isfinite(p0[0] + p0[1] + p0[2] + p1[0] + p1[1] + p1[2]):
            continue
        # A face that uses a vertex twice is flat: not for rounding to decide.
        side = det3(p0, p1, points[n, a]) if a != v0 and a != v1 else 0.0
        side_b = side
        if b >= 0:
            side_b = det3(p0, p1, points[n, b]) if b != v0 and b != v1 else 0.0
        if side * side_b >= 0:
            side = side if side != 0 else side_b
            kinds[n, e] = CONTOUR
            sides[n, e] = 1 if side > 0 else -1 if side < 0 else 0
        if creases[n if creases.shape[0] > 1 else 0, e]:
            kinds[n, e] |= CREASE


@jit(parallel=False)  # not inlined: four copies take seconds to compile
def inverse_depths(points, faces, f, x, y, x_there, y_there):
    """1 / w at two places of the screen on the plane of face ``f``."""
    p0, p1, p2 = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
    a0, b0, c0 = p1[1] * p2[2] - p1[2] * p2[1], p1[2] * p2[0] - p1[0] * p2[2], p1[0] * p2[1] - p1[1] * p2[0]
    a1, b1, c1 = p2[1] * p0[2] - p2[2] * p0[1], p2[2] * p0[0] - p2[0] * p0[2], p2[0] * p0[1] - p2[1] * p0[0]
    a2, b2, c2 = p0[1] * p1[2] - p0[2] * p1[1], p0[2] * p1[0] - p0[0] * p1[2], p0[0] * p1[1] - p0[1] * p1[0]
    scale = 1 / (p0[0] * a0 + p0[1] * b0 + p0[2] * c0)
    a, b, c = (a0 + a1 + a2) * scale, (b0 + b1 + b2) * scale, (c0 + c1 + c2) * scale
    return a * x + b * y + c, a * x_there + b * y_there + c


@inline
def judge(points, faces, face_a, face_b, axis, line, first, u, kind, toward, inverse, steep):
    """What a crossing at ``u`` between the pixels ``first`` and ``first + 1`` of a line means to them.

    Returns its rank (``NOTHING`` where it changes nothing), its merit and the owner, 0 or 1.
    """
    at = u - first
    if face_a < 0 or face_b < 0:
        owner = 0 if face_b < 0 else 1
        if face_a == face_b or not kind & CONTOUR or toward * (owner - 0.5) < 0:
            return NOTHING, 0.0, 0
        return 0, at if owner == 0 else 1 - at, owner
    a0, b0 = first + 0.5, line + 0.5
    if axis == 0:
        center_a, beside_a = inverse_depths(points, faces, face_a, a0, b0, u + 0.5, b0)
        center_b, beside_b = inverse_depths(points, faces, face_b, a0 + 1, b0, u + 0.5, b0)
    else:
        center_a, beside_a = inverse_depths(points, faces, face_a, b0, a0, b0, u + 0.5)
        center_b, beside_b = inverse_depths(points, faces, face_b, b0, a0 + 1, b0, u + 0.5)
    if kind & CONTOUR and toward != 0:
        owner = 0 if toward < 0 else 1
        if inverse > (beside_b if owner == 0 else beside_a) * (1 + CLEARANCE):
            nearer = center_a >= center_b if owner == 0 else center_b >= center_a
            return 0 if nearer else 1, at if owner == 0 else 1 - at, owner
    if kind & CREASE and steep:
        chord = center_a + at * (center_b - center_a)
        low, high = min(chord, beside_a, beside_b), max(chord, beside_a, beside_b)
        margin = SLACK * (high - low) + CLEARANCE * inverse
        if low - margin <= inverse <= high + margin:
            return 2, -abs(at - 0.5), 0
    return NOTHING, 0.0, 0


@jit
def search(points, faces, edges, kinds, sides, face):
    views, height, width = face.shape
    size = height * width
    best_edge = np.zeros((2 * views, size), np.int32)  # number + 1 of the edge that counts for each pair
    best_rank = np.empty((2 * views, size), np.int8)
    best_owner = np.empty((2 * views, size), np.int8)
    best_merit = np.empty((2 * views, size))
    touched = np.empty((2 * views, size), np.int32)
    counts = np.zeros(2 * views, np.int64)
    for task in prange(2 * views):
        n = task // 2
        axis = task - 2 * n  # 0: pairs in a row, 1: pairs in a column
        own_edges, own_faces = edges[n if edges.shape[0] > 1 else 0], faces[n if faces.shape[0] > 1 else 0]
        lines, places = (height, width) if axis == 0 else (width, height)
        count = 0
        for e in range(own_edges.shape[0]):
            kind = kinds[n, e]
            if kind == 0:
                continue
            p0, p1 = points[n, own_edges[e, 0]], points[n, own_edges[e, 1]]
            w0, w1 = p0[2], p1[2]
            u0, s0 = p0[axis] / w0, p0[1 - axis] / w0
            u1, s1 = p1[axis] / w1, p1[1 - axis] / w1
            if s0 == s1:
                continue
            low, high = max(min(s0, s1) - 0.5, 0.0), min(max(s0, s1) - 0.5, lines - 1.0)
            if not low <= high:
                continue
            along, across = abs(u1 - u0), abs(s1 - s0)
            steep = along < across or (along == across and axis == 0)
            toward = sides[n, e] * (s0 - s1 if axis == 0 else s1 - s0)
            for line in range(math.ceil(low), math.floor(high) + 1):
                share = (line + 0.5 - s0) / (s1 - s0)
                u = u0 + share * (u1 - u0) - 0.5
                if not (u > -1 and u < places):
                    continue
                inverse = (1 - share) / w0 + share / w1
                for first in range(math.ceil(u) - 1, math.floor(u) + 1):  # two pairs if through a center
                    if first < 0 or first > places - 2:
                        continue
                    i, j = (line, first) if axis == 0 else (first, line)
                    face_a, face_b = face[n, i, j], face[n, i + axis, j + 1 - axis]
                    rank, merit, owner = judge(
                        points[n], own_faces, face_a, face_b, axis, line, first, u, kind, toward, inverse, steep
                    )
                    if rank == NOTHING:
                        continue
                    pair = i * width + j
                    if best_edge[task, pair] == 0:
                        touched[task, count] = pair
                        count += 1
                    elif (rank, -merit) >= (best_rank[task, pair], -best_merit[task, pair]):
                        continue
                    best_edge[task, pair] = e + 1
                    best_rank[task, pair], best_merit[task, pair], best_owner[task, pair] = rank, merit, owner
        counts[task] = count

    pairs, slopes = np.empty((counts.sum(), 4), np.int64), np.empty(counts.sum())
    filled = 0
    for task in range(2 * views):
        n = task // 2
        axis = task - 2 * n
        own_edges = edges[n if edges.shape[0] > 1 else 0]
        for k in range(counts[task]):
            pixel = touched[task, k]
            edge = own_edges[best_edge[task, pixel] - 1]
            p0, p1 = points[n, edge[0]], points[n, edge[1]]
            along = abs(p1[axis] / p1[2] - p0[axis] / p0[2])
            across = abs(p1[1 - axis] / p1[2] - p0[1 - axis] / p0[2])
            if along > across or (along == across and axis == 1):
                continue
            a = n * size + pixel
            b = a + (1 if axis == 0 else width)
            pairs[filled, 0], pairs[filled, 1] = (a, b) if best_owner[task, pixel] == 0 else (b, a)
            pairs[filled, 2], pairs[filled, 3] = edge[0], edge[1]
            slopes[filled] = along / across
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
    return min(max((integral(high) - integral(low)) / slope, 0.0), 1.0), rate / slope


@jit(parallel=False)
def forward(image, points, pairs, slopes, height, width, weights, rates, totals, out):
    """Fills ``out``, which comes in as a copy of ``image`` (N*H*W,C); for the backward pass the weights (P,2) with
    which the owner and the other pixel take the other's color, their derivatives by t, and each pixel's sum of
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
        g = 0.0  # of the crossing, toward +x or +y
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
        _, height, width, _ = image.shape
        flat = image.detach().float().flatten(0, 2).contiguous()
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
    @once_differentiable
    def backward(ctx, grad_out):
        _, height, width, _ = ctx.shape
        grad_out = grad_out.flatten(0, 2).contiguous()
        grad_image = grad_out.clone()
        flat, out, exact, pairs = ctx.saved_tensors
        grad_points = torch.zeros_like(exact)
        arrays = (x.numpy() for x in (flat, out, exact, pairs))
        grads = (x.numpy() for x in (grad_out, grad_image, grad_points))
        backward(*arrays, height, width, *ctx.weights, *grads)
        return grad_image.view(ctx.shape), grad_points.to(ctx.dtype), None, None


def find_pairs(
    points: Tensor, faces: Tensor, edges: Tensor, creases: Tensor, face: Tensor, near: float
) -> tuple[Tensor, Tensor]:
    """See ``nerfkit.kernels.antialias.find_pairs``; faces (M,F,3), edges (M,E,4), creases (M,E), M one or N.

    Works in float64 inside.
    """
    kinds, sides = np.empty((2, points.shape[0], edges.shape[1]), np.int8)
    arrays = points.detach().double(), faces.long(), edges.long(), creases.bool(), face.int()
    exact, corners, ends, jumps, shown = (x.contiguous().numpy() for x in arrays)
    sort_out(exact, ends, jumps, float(near), kinds, sides)
    pairs, slopes = search(exact, corners, ends, kinds, sides, shown)
    return torch.from_numpy(pairs), torch.from_numpy(slopes)


def blend(image: Tensor, points: Tensor, pairs: Tensor, slopes: Tensor) -> Tensor:
    """See ``nerfkit.kernels.antialias.blend``. Float32 colors, positions in float64 inside."""
    return Blend.apply(image, points, pairs, slopes)
