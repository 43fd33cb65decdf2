"""Numba. ``edge_grad``: rows of pixels in parallel collect what their own fragments get, then each view adds up its
pixels in order. ``neural_renderer``: the visible faces in parallel, each with corners of its own, then each view adds
up its faces in order. So no sum depends on the threads."""

import math

import numpy as np
import torch
from numba import prange

from ..jit import inline, jit
from .corners import pixel_positions, seen_faces, to_points
from .reference import ON_CENTRE


@inline
def cross(a0, a1, a2, b0, b1, b2):
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@inline
def contains(p, q, r, x, y):
    """Whether the triangle's inside holds (x, y); homogeneous corners, nothing is divided."""
    a0, b0, c0 = cross(q[0], q[1], q[2], r[0], r[1], r[2])
    a1, b1, c1 = cross(r[0], r[1], r[2], p[0], p[1], p[2])
    a2, b2, c2 = cross(p[0], p[1], p[2], q[0], q[1], q[2])
    sign = 1.0 if p[0] * a0 + p[1] * b0 + p[2] * c0 > 0 else -1.0
    e0, e1, e2 = a0 * x + b0 * y + c0, a1 * x + b1 * y + c1, a2 * x + b2 * y + c2
    return sign * e0 > 0 and sign * e1 > 0 and sign * e2 > 0


@inline
def normal_of(p, q, r):
    """Cross product of two sides in pixels and depth."""
    x0, y0, w0 = p[0] / p[2], p[1] / p[2], p[2]
    x1, y1, w1 = q[0] / q[2], q[1] / q[2], q[2]
    x2, y2, w2 = r[0] / r[2], r[1] / r[2], r[2]
    return cross(x0 - x2, y0 - y2, w0 - w2, x1 - x0, y1 - y0, w1 - w0)


@inline
def slide_of(m0, m1, f0, f1, max_dp_dr):
    """dp/dr of two faces' normals (m0, m1) and (f0, f1) in the plane of a pair and the depth."""
    m_scale = 1.0 / max(math.sqrt(m0 * m0 + m1 * m1), 1e-30)
    f_scale = 1.0 / max(math.sqrt(f0 * f0 + f1 * f1), 1e-30)
    m0, m1, f0, f1 = m0 * m_scale, m1 * m_scale, f0 * f_scale, f1 * f_scale
    sine = f0 * m1 - f1 * m0
    least = abs(f1) / max_dp_dr if max_dp_dr > 0 else 0.0
    size = max(abs(sine), least, 1e-8)
    rate = -f1 / (-size if sine < 0 else size)
    return rate * m0, rate * m1


@jit
def fragments(image, grad, points, faces, face, near, max_dp_dr, fragment):
    """Fills ``fragment`` (N,H,W,3): the gradient by x, y and w of what each pixel shows."""
    views, height, width, channels = image.shape
    for row in prange(views * height):
        n = row // height
        i = row - n * height
        m = np.int64(n) if faces.shape[0] > 1 else 0
        for j in range(width):
            f = face[n, i, j]
            gx = gy = gw = 0.0
            for direction in range(4):
                axis, step = direction // 2, 1 - 2 * (direction % 2)
                i2, j2 = (i, j + step) if axis == 0 else (i + step, j)
                if f < 0 or i2 < 0 or j2 < 0 or i2 >= height or j2 >= width:
                    continue
                other = face[n, i2, j2]
                if other == f:
                    continue
                p, q, r = points[n, faces[m, f, 0]], points[n, faces[m, f, 1]], points[n, faces[m, f, 2]]
                if not (p[2] >= near and q[2] >= near and r[2] >= near):
                    continue
                moved = 0.0
                for c in range(channels):
                    moved += (image[n, i2, j2, c] - image[n, i, j, c]) * (grad[n, i2, j2, c] + grad[n, i, j, c])
                moved *= -0.5 * step
                slide, deep = 1.0, 0.0
                if other >= 0:
                    p2, q2 = points[n, faces[m, other, 0]], points[n, faces[m, other, 1]]
                    r2 = points[n, faces[m, other, 2]]
                    if not contains(p2, q2, r2, j + 0.5, i + 0.5):
                        continue
                    if contains(p, q, r, j2 + 0.5, i2 + 0.5):
                        if not (p2[2] >= near and q2[2] >= near and r2[2] >= near):
                            continue
                        u0, u1, u2 = normal_of(p, q, r)
                        v0, v1, v2 = normal_of(p2, q2, r2)
                        slide, deep = slide_of(u0 if axis == 0 else u1, u2, v0 if axis == 0 else v1, v2, max_dp_dr)
                if axis == 0:
                    gx += moved * slide
                else:
                    gy += moved * slide
                gw += moved * deep
            fragment[n, i, j, 0], fragment[n, i, j, 1], fragment[n, i, j, 2] = gx, gy, gw


@jit
def spread(points, faces, face, barycentrics, fragment, out):
    """Adds the fragments' gradients to their corners in ``out`` (N,V,3)."""
    views, height, width = face.shape
    for n in prange(views):
        m = np.int64(n) if faces.shape[0] > 1 else 0
        for i in range(height):
            for j in range(width):
                gx, gy, gw = fragment[n, i, j]
                if gx == 0 and gy == 0 and gw == 0:
                    continue
                for k in range(3):
                    v = faces[m, face[n, i, j], k]
                    share = barycentrics[n, i, j, k]
                    x, y, w = points[n, v]
                    out[n, v, 0] += share * gx / w
                    out[n, v, 1] += share * gy / w
                    out[n, v, 2] += share * (gw - (gx * x + gy * y) / (w * w))


def edge_grad(image, grad, points, faces, face, barycentrics, near, max_dp_dr):
    """See ``reference.edge_grad``. Works in float64 inside; returns float32."""
    exact = points.double().contiguous().numpy()
    faces = (faces if faces.ndim == 3 else faces[None]).long().contiguous().numpy()
    face = face.int().contiguous().numpy()
    pictures = (x.float().contiguous().numpy() for x in (image, grad))
    fragment, out = np.empty((*face.shape, 3)), np.zeros(points.shape)
    fragments(*pictures, exact, faces, face, near, max_dp_dr, fragment)
    spread(exact, faces, face, barycentrics.float().contiguous().numpy(), fragment, out)
    return torch.from_numpy(out).float()


@jit
def walks(image, grad, face, view, number, positions, eps, moves):
    """Adds to ``moves`` (K,3,2) the gradient by x and y of the corners of every visible face."""
    _, height, width, channels = image.shape
    for item in prange(view.shape[0]):
        n, f, corners = view[item], number[item], positions[item]
        for edge in range(3):
            start, end = edge, (edge + 1) % 3
            for along in range(2):  # what moves: x, on lines that are rows; or y, on columns
                lines, places = (height, width) if along == 0 else (width, height)
                line0, line1 = corners[start, 1 - along], corners[end, 1 - along]
                if line0 == line1:
                    continue
                place0, place1 = corners[start, along], corners[end, along]
                least = min(corners[0, along], corners[1, along], corners[2, along])
                most = max(corners[0, along], corners[1, along], corners[2, along])
                out = 1 if (line0 < line1) == (along == 0) else -1
                margin = eps * places / 2
                first = math.ceil(min(max(min(line0, line1), 0.0), float(lines)))
                last = math.floor(max(min(max(line0, line1), lines - 1.0), -1.0))
                move0 = move1 = 0.0
                for line in range(first, last + 1):
                    share = (line - line0) / (line1 - line0)
                    place = place0 + share * (place1 - place0)
                    if not (place > -1 and place < places):
                        continue
                    nearest = float(math.floor(place + 0.5))
                    place = nearest if abs(place - nearest) < ON_CENTRE else place
                    inner = math.floor(place) if out > 0 else math.ceil(place)
                    outer = inner + out
                    if min(inner, outer) < 0 or max(inner, outer) >= places:
                        continue
                    i, j = (line, inner) if along == 0 else (inner, line)
                    far = (places - 1 if out > 0 else 0) if face[n, i, j] == f else inner
                    back = math.ceil(max(least, 0.0)) if out > 0 else math.floor(min(most, places - 1.0))
                    back = min(back, inner) if out > 0 else max(back, inner)
                    for d in range(min(far, back), max(far, back) + 1):
                        outwards = (d - inner) * out > 0
                        i, j = (line, d) if along == 0 else (d, line)
                        if not outwards and face[n, i, j] != f:
                            continue
                        new = inner if outwards else outer
                        i2, j2 = (line, new) if along == 0 else (new, line)
                        gain = 0.0
                        for c in range(channels):
                            gain += (image[n, i, j, c] - image[n, i2, j2, c]) * grad[n, i, j, c]
                        if not gain > 0:
                            continue
                        gain *= -out if outwards else out
                        if share < 1:
                            move0 += gain / (abs(d - place) / (1 - share) + margin)
                        if share > 0:
                            move1 += gain / (abs(d - place) / share + margin)
                moves[item, start, along] += move0
                moves[item, end, along] += move1


@jit
def gather(rows, view, vertices, out):
    """Adds the corners' rows (K,3,3), sorted by view, to ``out`` (N,V,3)."""
    for n in prange(out.shape[0]):
        for item in range(np.searchsorted(view, n), np.searchsorted(view, n + 1)):
            for k in range(3):
                for c in range(3):
                    out[n, vertices[item, k], c] += rows[item, k, c]


def neural_renderer(image, grad, points, faces, face, near, eps):
    """See ``reference.neural_renderer``. Works in float64 inside; returns float32."""
    seen = seen_faces(points.double(), faces, face, near)
    positions = (pixel_positions(seen.corners) - 0.5).contiguous()
    view, moves, out = seen.view.numpy(), torch.zeros_like(positions), np.zeros(points.shape)
    pictures = (x.float().contiguous().numpy() for x in (image, grad))
    face = face.int().contiguous().numpy()
    walks(*pictures, face, view, seen.number.numpy(), positions.numpy(), eps, moves.numpy())
    gather(to_points(moves, seen.corners).numpy(), view, seen.vertices.contiguous().numpy(), out)
    return torch.from_numpy(out).float()
