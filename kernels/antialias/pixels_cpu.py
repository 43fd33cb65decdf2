"""nvdiffrast's rule in Numba: pixels are looked at in parallel, row by row; silhouettes are thin, so the blend itself
is one short sequential pass whose order is fixed."""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..jit import inline, jit
from .cpu import det3
from .pixels import SOFTENING
from .pixels_reference import REACH


@inline
def negative(x):
    return math.copysign(1.0, x) < 0


@inline
def side_toward(points, faces, opposite, f, x, y, axis, direction, near):
    """The corner (0, 1, 2) facing the side that separates the pixel center (x, y), which shows face ``f``, from its
    neighbor in a ``direction`` (-1 or 1) along ``axis``; -1 where none does."""
    found, furthest = -1, -math.inf
    for k in range(3):
        p = points[faces[f, k]]
        if not p[2] >= near or not math.isfinite(p[0] + p[1] + p[2]):
            return -1
    for k in range(3):
        p1, p2 = points[faces[f, (k + 1) % 3]], points[faces[f, (k + 2) % 3]]
        x1, y1, x2, y2 = p1[0] / p1[2] - x, p1[1] / p1[2] - y, p2[0] / p2[2] - x, p2[1] / p2[2] - y
        if axis == 1:
            x1, y1, x2, y2 = y1, x1, y2, x2
        if negative(y1) == negative(y2):
            continue
        at = direction * (x1 * (y2 - y1) - y1 * (x2 - x1)) / (y2 - y1)
        if at >= furthest:  # of two that meet there the later one
            furthest = at
            found = k if abs(y2 - y1) >= abs(x2 - x1) and at > -REACH and at < 1 + REACH else -1
    if found >= 0 and opposite[f, found] >= 0:
        p1, p2 = points[faces[f, (found + 1) % 3]], points[faces[f, (found + 2) % 3]]
        beyond, within = points[opposite[f, found]], points[faces[f, found]]
        if negative(det3(p1, p2, beyond)) != negative(det3(p1, p2, within)):
            return -1
    return found


@jit
def mark(points, faces, opposite, face, depth, near, codes):
    """``codes`` (2,N,H,W) int8 of every pixel with its right and its lower neighbor: 0, or 1 + corner if the pixel's
    own triangle blends them, 4 + corner if the neighbor's does."""
    views, height, width = face.shape
    for task in prange(views * height):
        n = task // height
        i = task - n * height
        own_faces = faces[n if faces.shape[0] > 1 else 0]
        own_opposite = opposite[n if opposite.shape[0] > 1 else 0]
        for j in range(width):
            for axis in range(2):
                codes[axis, n, i, j] = 0
                i2, j2 = i + axis, j + 1 - axis
                if i2 >= height or j2 >= width or face[n, i, j] == face[n, i2, j2]:
                    continue
                first = face[n, i, j] >= 0
                if first and face[n, i2, j2] >= 0:
                    first = depth[n, i, j] < depth[n, i2, j2]
                if first:
                    f, x, y, direction, code = face[n, i, j], j + 0.5, i + 0.5, 1, 1
                else:
                    f, x, y, direction, code = face[n, i2, j2], j2 + 0.5, i2 + 0.5, -1, 4
                k = side_toward(points[n], own_faces, own_opposite, f, x, y, axis, direction, near)
                if k >= 0:
                    codes[axis, n, i, j] = code + k


@jit(parallel=False)
def collect(codes, faces, face, pairs):
    """Fills ``pairs`` with what ``codes`` say; returns their number."""
    _, views, height, width = codes.shape
    filled = 0
    for axis in range(2):
        for n in range(views):
            for i in range(height):
                for j in range(width):
                    code = codes[axis, n, i, j]
                    if code == 0:
                        continue
                    first = (n * height + i) * width + j
                    second = first + (1 if axis == 0 else width)
                    own, other = (first, second) if code < 4 else (second, first)
                    corners = faces[n if faces.shape[0] > 1 else 0, face[n, own // width % height, own % width]]
                    k = (code - 1) % 3
                    pairs[filled, 0], pairs[filled, 1] = own, other
                    pairs[filled, 2], pairs[filled, 3] = corners[(k + 1) % 3], corners[(k + 2) % 3]
                    filled += 1
    return filled


@inline
def place(points, pair, height, width):
    """The side's ends along the pair's axis and across it, from the own pixel's center; the axis; the direction."""
    own = pair[0]
    n = own // (height * width)
    axis = 0 if own // width == pair[1] // width else 1
    p1, p2 = points[n, pair[2]], points[n, pair[3]]
    along, across = own % width + 0.5, own // width % height + 0.5
    if axis == 1:
        along, across = across, along
    x1, y1 = p1[axis] / p1[2] - along, p1[1 - axis] / p1[2] - across
    x2, y2 = p2[axis] / p2[2] - along, p2[1 - axis] / p2[2] - across
    return x1, y1, x2, y2, axis, 1.0 if pair[1] > own else -1.0


@jit(parallel=False)
def forward(image, points, pairs, height, width, weights, out):
    """Fills ``out``, which comes in as a copy of ``image`` (N*H*W,C), and for the backward pass ``weights`` (P,): above
    0 what the own pixel takes of the other's color, below 0 the reverse."""
    for k in range(pairs.shape[0]):
        x1, y1, x2, y2, _, direction = place(points, pairs[k], height, width)
        at = direction * (x1 * (y2 - y1) - y1 * (x2 - x1)) / (y2 - y1)
        weights[k] = 0.5 - min(max(at, 0.0), 1.0)
        target, source = (pairs[k, 0], pairs[k, 1]) if weights[k] > 0 else (pairs[k, 1], pairs[k, 0])
        for c in range(image.shape[1]):
            out[target, c] += abs(weights[k]) * (image[source, c] - image[target, c])


@jit(parallel=False)
def backward(image, points, pairs, height, width, weights, grad_out, grad_image, grad_points):
    """``grad_image`` comes in as a copy of ``grad_out``, ``grad_points`` as zeros."""
    for k in range(pairs.shape[0]):
        own, other = pairs[k, 0], pairs[k, 1]
        target, source = (own, other) if weights[k] > 0 else (other, own)
        slope = 0.0  # of the loss by the weight, which moves both cases the same way: toward the other pixel's color
        for c in range(image.shape[1]):
            share = abs(weights[k]) * grad_out[target, c]
            grad_image[target, c] -= share
            grad_image[source, c] += share
            slope += grad_out[target, c] * (image[other, c] - image[own, c])
        if weights[k] == 0 or abs(weights[k]) >= 0.5:
            continue
        x1, y1, x2, y2, axis, direction = place(points, pairs[k], height, width)
        extent = y2 - y1
        scale = -slope * direction / (extent + math.copysign(SOFTENING, extent))
        at = (x1 * extent - y1 * (x2 - x1)) / (extent + math.copysign(SOFTENING, extent))
        n = own // (height * width)
        for end, gu, gs in (
            (pairs[k, 2], scale * y2, scale * (at - x2)),
            (pairs[k, 3], -scale * y1, scale * (x1 - at)),
        ):
            p = points[n, end]
            grad_points[n, end, axis] += gu / p[2]
            grad_points[n, end, 1 - axis] += gs / p[2]
            grad_points[n, end, 2] -= (gu * p[axis] + gs * p[1 - axis]) / p[2] ** 2


class BlendPixels(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, points, pairs):
        _, height, width, _ = image.shape
        flat = image.detach().float().flatten(0, 2).contiguous()
        out = flat.clone()
        exact, pairs = points.detach().double().contiguous(), pairs.contiguous()
        weights = np.empty(pairs.shape[0])
        forward(flat.numpy(), exact.numpy(), pairs.numpy(), height, width, weights, out.numpy())
        ctx.save_for_backward(flat, exact, pairs)
        ctx.weights, ctx.shape, ctx.dtype = weights, image.shape, points.dtype
        return out.view(image.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out):
        _, height, width, _ = ctx.shape
        grad_out = grad_out.flatten(0, 2).contiguous()
        grad_image = grad_out.clone()
        flat, exact, pairs = ctx.saved_tensors
        grad_points = torch.zeros_like(exact)
        grads = (x.numpy() for x in (grad_out, grad_image, grad_points))
        backward(flat.numpy(), exact.numpy(), pairs.numpy(), height, width, ctx.weights, *grads)
        return grad_image.view(ctx.shape), grad_points.to(ctx.dtype), None


def find_pairs(points: Tensor, faces: Tensor, opposite: Tensor, face: Tensor, depth: Tensor, near: float) -> Tensor:
    """See ``find_pixel_pairs``; faces and opposite are (M,F,3), M one or N. Works in float64 inside."""
    codes = np.empty((2, *face.shape), np.int8)
    arrays = points.detach().double(), faces.long(), opposite.long(), face.int(), depth.detach().float()
    exact, corners, beyond, shown, far = (x.contiguous().numpy() for x in arrays)
    mark(exact, corners, beyond, shown, far, float(near), codes)
    pairs = np.empty((np.count_nonzero(codes), 4), np.int64)
    collect(codes, corners, shown, pairs)
    return torch.from_numpy(pairs)


def blend(image: Tensor, points: Tensor, pairs: Tensor) -> Tensor:
    """See ``blend_pixels``. Float32 colors, positions in float64 inside."""
    return BlendPixels.apply(image, points, pairs)
