"""Numba: every view is cut into bands of rows, faces are sorted into the bands that they reach, and each band draws its
faces in order, so no two threads share a pixel. The backward pass adds up per part of a view and then over the parts in
order. Neither depends on the number of threads."""

import math

import numpy as np
import torch
from numba import prange

from ..jit import inline, jit
from .faces import explain
from .reference import MIN_AREA

TASKS = 32
"""Least number of bands over all views: enough to keep the cores busy and a band's pixels in a core's cache."""
CHUNK = 2048
"""Faces that are sorted into bands together."""
PART_NUMBERS = 1 << 18
"""Vertices, over the parts that the backward pass adds up, that are free: more parts keep more cores busy."""


@inline
def cross(a0, a1, a2, b0, b1, b2):
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@inline
def pixel_range(low, high, size):
    """First and last pixel in [0, size) whose centre lies in [low, high]; first > last where there is none."""
    first = math.ceil(min(max(low - 0.5, 0.0), float(size)))
    last = math.floor(max(min(high - 0.5, size - 1.0), -1.0))
    return int(first), int(last)


@inline
def interleaved(task, bits):
    """``task`` with its ``bits`` bits reversed: neighbouring tasks, which a thread takes together, lie far apart."""
    result = 0
    for bit in range(bits):
        result = 2 * result + ((task >> bit) & 1)
    return result


@jit
def draw(points, faces, near, rows, boxes, counts, face, barycentrics, depth):
    """Returns whether all vertex numbers were in range; only then is anything drawn."""
    views, height, width = face.shape
    vertices = points.shape[1]
    topologies, count = faces.shape[:2]
    bands, chunks = counts.shape[1:]
    wrong = np.zeros(views * chunks, dtype=np.bool_)
    for task in prange(views * chunks):
        n = task // chunks
        chunk = task - n * chunks
        m = n if topologies > 1 else 0
        for band in range(bands):
            counts[n, band, chunk] = 0
        for f in range(chunk * CHUNK, min((chunk + 1) * CHUNK, count)):
            boxes[n, f, 0], boxes[n, f, 1] = height, -1
            v0, v1, v2 = faces[m, f, 0], faces[m, f, 1], faces[m, f, 2]
            if min(v0, v1, v2) < 0 or max(v0, v1, v2) >= vertices:
                wrong[task] |= v0 != -1 or v1 != -1 or v2 != -1
                continue
            x_low = y_low = np.inf
            x_high = y_high = -np.inf
            finite = True
            for k in range(3):
                a = v0 if k == 0 else (v1 if k == 1 else v2)
                b = v1 if k == 0 else (v2 if k == 1 else v0)
                ax, ay, aw, bw = points[n, a, 0], points[n, a, 1], points[n, a, 2], points[n, b, 2]
                finite = finite and math.isfinite(ax + ay + aw)
                if aw >= near:
                    x, y = ax / aw, ay / aw
                    x_low, x_high = min(x_low, x), max(x_high, x)
                    y_low, y_high = min(y_low, y), max(y_high, y)
                if (aw >= near) != (bw >= near):  # where the edge meets the near plane
                    s = (near - aw) / (bw - aw)
                    x = (ax + s * (points[n, b, 0] - ax)) / near
                    y = (ay + s * (points[n, b, 1] - ay)) / near
                    # A pixel's centre on the cut must not be lost to rounding.
                    x_low, x_high = min(x_low, x - 1), max(x_high, x + 1)
                    y_low, y_high = min(y_low, y - 1), max(y_high, y + 1)
            if not finite or x_low > x_high:
                continue
            slack = 1e-6  # the box is found by division, the coverage without: never lose a centre on an edge
            left, right = pixel_range(x_low - slack, x_high + slack, width)
            top, bottom = pixel_range(y_low - slack, y_high + slack, height)
            if left > right or top > bottom:
                continue
            boxes[n, f, 0], boxes[n, f, 1], boxes[n, f, 2], boxes[n, f, 3] = top, bottom, left, right
            for band in range(top // rows, bottom // rows + 1):
                counts[n, band, chunk] += 1
    if wrong.any():
        return False

    total = 0
    for n in range(views):
        for band in range(bands):
            for chunk in range(chunks):
                here = counts[n, band, chunk]
                counts[n, band, chunk] = total  # where the chunk's faces go in the band's list
                total += here
    lists = np.empty(total, dtype=np.int32)
    for task in prange(views * chunks):
        n = task // chunks
        chunk = task - n * chunks
        for f in range(chunk * CHUNK, min((chunk + 1) * CHUNK, count)):
            if boxes[n, f, 1] >= 0:
                for band in range(boxes[n, f, 0] // rows, boxes[n, f, 1] // rows + 1):
                    lists[counts[n, band, chunk]] = f
                    counts[n, band, chunk] += 1  # in the end, where the next chunk's begin

    bits = 0
    while 1 << bits < views * bands:
        bits += 1
    for task in prange(1 << bits):
        here = interleaved(task, bits)
        if here >= views * bands:
            continue
        n = here // bands
        band = here - n * bands
        m = n if topologies > 1 else 0
        begin, end = 0, total
        if here > 0:
            begin = counts[(here - 1) // bands, (here - 1) % bands, chunks - 1]
        end = counts[n, band, chunks - 1]
        first, past = band * rows, min((band + 1) * rows, height)
        for i in range(first, past):
            for j in range(width):
                face[n, i, j] = -1
                depth[n, i, j] = np.inf
                for k in range(3):
                    barycentrics[n, i, j, k] = 0.0
        for number in range(begin, end):
            f = lists[number]
            v0, v1, v2 = faces[m, f, 0], faces[m, f, 1], faces[m, f, 2]
            x0, y0, w0 = points[n, v0, 0], points[n, v0, 1], points[n, v0, 2]
            x1, y1, w1 = points[n, v1, 0], points[n, v1, 1], points[n, v1, 2]
            x2, y2, w2 = points[n, v2, 0], points[n, v2, 1], points[n, v2, 2]
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
            left, right = boxes[n, f, 2], boxes[n, f, 3]
            for i in range(max(boxes[n, f, 0], first), min(boxes[n, f, 1] + 1, past)):
                y = i + 0.5
                r0, r1, r2 = b0 * y + c0, b1 * y + c1, b2 * y + c2
                for j in range(left, right + 1):
                    x = j + 0.5
                    e0, e1, e2 = a0 * x + r0, a1 * x + r1, a2 * x + r2
                    if e0 >= 0 and e1 >= 0 and e2 >= 0:
                        total_e = e0 + e1 + e2
                        if total_e > 0:
                            scale = 1.0 / total_e
                            here_depth = np.float32(det * scale)
                            if here_depth >= near and here_depth < depth[n, i, j]:
                                depth[n, i, j] = here_depth
                                face[n, i, j] = f
                                barycentrics[n, i, j, 0] = e0 * scale
                                barycentrics[n, i, j, 1] = e1 * scale
                                barycentrics[n, i, j, 2] = e2 * scale
        for i in range(first, past):
            for j in range(width):
                if face[n, i, j] < 0:
                    depth[n, i, j] = 0.0
    return True


@jit
def gradients(
    points, faces, face, grad_barycentrics, grad_depth, has_barycentrics, has_depth, rows, parts, grad_points
):
    """``parts`` (N,K,V,3): each is summed by one thread, row by row, a run of pixels of one face at a time."""
    views, height, width = face.shape
    topologies = faces.shape[0]
    count = parts.shape[1]
    vertices = points.shape[1]
    for task in prange(views * count):
        n = task // count
        piece = task - n * count
        m = n if topologies > 1 else 0
        part = parts[n, piece]
        part[:] = 0.0
        for i in range(piece * rows, min((piece + 1) * rows, height)):
            y = i + 0.5
            j = 0
            while j < width:
                f = face[n, i, j]
                if f < 0:
                    j += 1
                    continue
                v0, v1, v2 = faces[m, f, 0], faces[m, f, 1], faces[m, f, 2]
                x0, y0, w0 = points[n, v0, 0], points[n, v0, 1], points[n, v0, 2]
                x1, y1, w1 = points[n, v1, 0], points[n, v1, 1], points[n, v1, 2]
                x2, y2, w2 = points[n, v2, 0], points[n, v2, 1], points[n, v2, 2]
                a0, b0, c0 = cross(x1, y1, w1, x2, y2, w2)
                a1, b1, c1 = cross(x2, y2, w2, x0, y0, w0)
                a2, b2, c2 = cross(x0, y0, w0, x1, y1, w1)
                r0, r1, r2 = b0 * y + c0, b1 * y + c1, b2 * y + c2
                flat = abs(x0 * a0 + y0 * b0 + w0 * c0) <= MIN_AREA * abs(w0 * w1 * w2)
                s0 = s1 = s2 = t0 = t1 = t2 = d0 = d1 = d2 = 0.0  # sums of g, g x and the depth's share
                while j < width and face[n, i, j] == f:
                    x = j + 0.5
                    e0, e1, e2 = a0 * x + r0, a1 * x + r1, a2 * x + r2
                    scale = 1.0 / (e0 + e1 + e2)
                    e0, e1, e2 = e0 * scale, e1 * scale, e2 * scale  # the barycentrics
                    g0 = g1 = g2 = 0.0
                    if has_barycentrics:
                        g0 = float(grad_barycentrics[n, i, j, 0])
                        g1 = float(grad_barycentrics[n, i, j, 1])
                        g2 = float(grad_barycentrics[n, i, j, 2])
                    if has_depth:
                        gd = float(grad_depth[n, i, j])
                        d0, d1, d2 = d0 + gd * e0, d1 + gd * e1, d2 + gd * e2
                        g0, g1, g2 = g0 + gd * w0, g1 + gd * w1, g2 + gd * w2
                    mean = g0 * e0 + g1 * e1 + g2 * e2
                    g0, g1, g2 = (g0 - mean) * scale, (g1 - mean) * scale, (g2 - mean) * scale  # of the edge functions
                    s0, s1, s2 = s0 + g0, s1 + g1, s2 + g2
                    t0, t1, t2 = t0 + g0 * x, t1 + g1 * x, t2 + g2 * x
                    j += 1
                part[v0, 2] += d0
                part[v1, 2] += d1
                part[v2, 2] += d2
                if flat:
                    continue
                # (sum g_1 q) x p_2 - (sum g_2 q) x p_1 is what the first corner gets; q = (x, y, 1)
                u, v, w = cross(t1, y * s1, s1, x2, y2, w2)
                p, q, r = cross(t2, y * s2, s2, x1, y1, w1)
                part[v0, 0] += u - p
                part[v0, 1] += v - q
                part[v0, 2] += w - r
                u, v, w = cross(t2, y * s2, s2, x0, y0, w0)
                p, q, r = cross(t0, y * s0, s0, x2, y2, w2)
                part[v1, 0] += u - p
                part[v1, 1] += v - q
                part[v1, 2] += w - r
                u, v, w = cross(t0, y * s0, s0, x1, y1, w1)
                p, q, r = cross(t1, y * s1, s1, x0, y0, w0)
                part[v2, 0] += u - p
                part[v2, 1] += v - q
                part[v2, 2] += w - r
    for task in prange(views * vertices):
        n = task // vertices
        vertex = task - n * vertices
        for k in range(3):
            total = 0.0
            for piece in range(count):
                total += parts[n, piece, vertex, k]
            grad_points[n, vertex, k] = total


def pieces(views: int, height: int, most: int) -> tuple[int, int]:
    """Into how many pieces of how many rows each view is cut, ``most`` over all views: a function of the problem alone,
    never of the number of threads."""
    count = max(1, min(-(-most // max(views, 1)), height))
    rows = -(-height // count)
    return -(-height // rows), rows


def exactly(points, faces):
    """Float64 points, as edge functions of small faces cancel, and faces (M,F,3), as arrays."""
    faces = faces if faces.ndim == 3 else faces[None]
    return points.detach().double().contiguous().numpy(), faces.long().contiguous().numpy()


def forward(points, faces, height, width, near):
    """Face, barycentrics, depth; float64 inside."""
    views, count = points.shape[0], faces.shape[-2]
    face = torch.empty(views, height, width, dtype=torch.int32)
    barycentrics = torch.empty(views, height, width, 3)
    depth = torch.empty(views, height, width)
    bands, rows = pieces(views, height, TASKS)
    boxes = np.empty((views, count, 4), dtype=np.int32)
    counts = np.empty((views, bands, max(-(-count // CHUNK), 1)), dtype=np.int64)
    outputs = (face.numpy(), barycentrics.numpy(), depth.numpy())
    if not draw(*exactly(points, faces), near, rows, boxes, counts, *outputs):
        raise ValueError(explain(faces, points.shape[1]))
    return face, barycentrics, depth


def backward(points, faces, face, grad_barycentrics, grad_depth):
    """The points' gradient; of the other two gradients either may be None."""
    views, height, _ = face.shape
    vertices = points.shape[1]
    count, rows = pieces(views, height, min(TASKS, max(PART_NUMBERS // max(vertices, 1), 4)))
    parts = np.empty((views, count, vertices, 3))
    grad_points = torch.empty(points.shape)
    has = (grad_barycentrics is not None, grad_depth is not None)
    grad_barycentrics = torch.empty(0, 0, 0, 3) if grad_barycentrics is None else grad_barycentrics.contiguous()
    grad_depth = torch.empty(0, 0, 0) if grad_depth is None else grad_depth.contiguous()
    incoming = (face.numpy(), grad_barycentrics.numpy(), grad_depth.numpy())
    gradients(*exactly(points, faces), *incoming, *has, rows, parts, grad_points.numpy())
    return grad_points.to(points.dtype)
