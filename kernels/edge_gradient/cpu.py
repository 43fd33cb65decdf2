"""Numba. ``edge_grad``: rows of pixels in parallel collect what their own fragments get, then each view adds up its
pixels in order. ``neural_renderer``: the visible faces in parallel, each with corners of its own, then each view adds
up its faces in order. So no sum depends on the threads."""

import math

import numpy as np
import torch
from numba import prange

from ..jit import inline, jit
from .corners import pixel_positions, seen_faces, to_points
from .reference import ON_CENTER


@inline
def cross(a0, a1, a2, b0, b1, b2):
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@inline
def contains(points, n, a, b, c, x, y):
    """Whether the inside of the triangle of three vertices holds (x, y); nothing is divided."""
    x0, y0, w0 = points[n, a, 0], points[n, a, 1], points[n, a, 2]
    x1, y1, w1 = points[n, b, 0], points[n, b, 1], points[n, b, 2]
    x2, y2, w2 = points[n, c, 0], points[n, c, 1], points[n, c, 2]
    a0, b0, c0 = cross(x1, y1, w1, x2, y2, w2)
    a1, b1, c1 = cross(x2, y2, w2, x0, y0, w0)
    e0, e1 = a0 * x + b0 * y + c0, a1 * x + b1 * y + c1
    if not e0 * e1 > 0:
        return False
    a2, b2, c2 = cross(x0, y0, w0, x1, y1, w1)
    e2 = a2 * x + b2 * y + c2
    return e0 * e2 > 0 and (x0 * a0 + y0 * b0 + w0 * c0) * e0 > 0


@inline
def normal_of(points, n, a, b, c, along):
    """The normal in pixels and depth, in the plane of x (``along`` 0) or y and the depth."""
    w0, w1, w2 = points[n, a, 2], points[n, b, 2], points[n, c, 2]
    x0, y0 = points[n, a, 0] / w0, points[n, a, 1] / w0
    x1, y1 = points[n, b, 0] / w1, points[n, b, 1] / w1
    x2, y2 = points[n, c, 0] / w2, points[n, c, 1] / w2
    nx, ny, nw = cross(x0 - x2, y0 - y2, w0 - w2, x1 - x0, y1 - y0, w1 - w0)
    return nx if along == 0 else ny, nw


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


@inline
def ahead(points, n, a, b, c, near):
    return points[n, a, 2] >= near and points[n, b, 2] >= near and points[n, c, 2] >= near


@jit
def fragments(image, grad, points, faces, face, near, max_dp_dr, fragment):
    """Fills ``fragment`` (N,H,W,3): the gradient by x, y and w of what each pixel shows."""
    views, height, width, channels = image.shape
    for row in prange(views * height):
        n = row // height
        i = row - n * height
        m = np.int64(n) if faces.shape[0] > 1 else 0
        for j in range(width):
            fragment[n, i, j, 0] = fragment[n, i, j, 1] = fragment[n, i, j, 2] = 0.0
            f = face[n, i, j]
            for direction in range(4 if f >= 0 else 0):
                along, step = direction // 2, 1 - 2 * (direction % 2)
                i2, j2 = (i, j + step) if along == 0 else (i + step, j)
                if i2 < 0 or j2 < 0 or i2 >= height or j2 >= width or face[n, i2, j2] == f:
                    continue
                moved = 0.0
                for c in range(channels):
                    moved += (image[n, i2, j2, c] - image[n, i, j, c]) * (grad[n, i2, j2, c] + grad[n, i, j, c])
                moved *= -0.5 * step
                p, q, r = faces[m, f, 0], faces[m, f, 1], faces[m, f, 2]
                if moved == 0 or not ahead(points, n, p, q, r, near):
                    continue
                other = face[n, i2, j2]
                slide, deep = 1.0, 0.0
                if other >= 0:
                    p2, q2, r2 = faces[m, other, 0], faces[m, other, 1], faces[m, other, 2]
                    if not contains(points, n, p2, q2, r2, j + 0.5, i + 0.5):
                        continue
                    if contains(points, n, p, q, r, j2 + 0.5, i2 + 0.5):
                        if not ahead(points, n, p2, q2, r2, near):
                            continue
                        m0, m1 = normal_of(points, n, p, q, r, along)
                        f0, f1 = normal_of(points, n, p2, q2, r2, along)
                        slide, deep = slide_of(m0, m1, f0, f1, max_dp_dr)
                fragment[n, i, j, along] += moved * slide
                fragment[n, i, j, 2] += moved * deep


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


@jit(parallel=False, fastmath=True)
def outward(image, grad, inner, begin, end, place, stretch0, stretch1, margin, gain):
    """Sums over the pixels ``begin`` to ``end`` of a line (C,P) of what they gain by the color at ``inner``, over
    their distances stretched for either end of the edge. ``gain`` is scratch."""
    count = end - begin
    for k in range(count):
        gain[k] = 0.0
    for c in range(image.shape[0]):
        new, colors, weights = image[c, inner], image[c, begin:end], grad[c, begin:end]
        for k in range(count):
            gain[k] += (colors[k] - new) * weights[k]
    sum0 = sum1 = 0.0
    first = begin - place
    for k in range(count):
        here = max(np.float64(gain[k]), 0.0)
        distance = abs(first + k)
        sum0 += here / (distance * stretch0 + margin)
        sum1 += here / (distance * stretch1 + margin)
    return sum0, sum1


@jit
def walks(rows, columns, view, number, positions, eps, moves):
    """Adds to ``moves`` (K,3,2) the gradient by x and y of the corners of every visible face.

    ``rows``, ``columns``: image and grad as (N,L,C,P) by lines, face (N,L,P), and first and last place with a gradient
    on each line (N,L,2).
    """
    for item in prange(view.shape[0]):
        n, f, corners = view[item], number[item], positions[item]
        for along in range(2):  # what moves: x, on lines that are rows; or y, on columns
            image, grad, face, extent = rows if along == 0 else columns
            _, lines, channels, places = image.shape
            scratch = np.empty(places, np.float32)
            margin = eps * places / 2
            least = min(corners[0, along], corners[1, along], corners[2, along])
            most = max(corners[0, along], corners[1, along], corners[2, along])
            for start in range(3):
                end = (start + 1) % 3
                line0, line1 = corners[start, 1 - along], corners[end, 1 - along]
                if line0 == line1:
                    continue
                place0, place1 = corners[start, along], corners[end, along]
                out = 1 if (line0 < line1) == (along == 0) else -1
                first = math.ceil(min(max(min(line0, line1), 0.0), float(lines)))
                last = math.floor(max(min(max(line0, line1), lines - 1.0), -1.0))
                move0 = move1 = 0.0
                for line in range(first, last + 1):
                    share = (line - line0) / (line1 - line0)
                    place = place0 + share * (place1 - place0)
                    if not (place > -1 and place < places):
                        continue
                    nearest = float(math.floor(place + 0.5))
                    place = nearest if abs(place - nearest) < ON_CENTER else place
                    inner = math.floor(place) if out > 0 else math.ceil(place)
                    outer = inner + out
                    if min(inner, outer) < 0 or max(inner, outer) >= places:
                        continue
                    kept0, kept1 = 1.0 if share < 1 else 0.0, 1.0 if share > 0 else 0.0
                    stretch0 = 1 / (1 - share) if share < 1 else 1.0
                    stretch1 = 1 / share if share > 0 else 1.0
                    low, high = extent[n, line, 0], extent[n, line, 1]
                    if face[n, line, inner] == f:
                        begin, stop = (max(outer, low), high + 1) if out > 0 else (low, min(outer, high) + 1)
                        if begin < stop:
                            pictures = image[n, line], grad[n, line]
                            sum0, sum1 = outward(
                                *pictures, inner, begin, stop, place, stretch0, stretch1, margin, scratch
                            )
                            move0 -= out * kept0 * sum0
                            move1 -= out * kept1 * sum1
                    back = math.ceil(max(least, 0.0)) if out > 0 else math.floor(min(most, places - 1.0))
                    begin, stop = (min(back, inner), inner) if out > 0 else (inner, max(back, inner))
                    for d in range(max(begin, low), min(stop, high) + 1):
                        if face[n, line, d] != f:
                            continue
                        gain = 0.0
                        for c in range(channels):
                            gain += (image[n, line, c, d] - image[n, line, c, outer]) * grad[n, line, c, d]
                        if gain > 0:
                            distance = abs(d - place)
                            move0 += out * kept0 * gain / (distance * stretch0 + margin)
                            move1 += out * kept1 * gain / (distance * stretch1 + margin)
                moves[item, start, along] += move0
                moves[item, end, along] += move1


def by_lines(image, grad, face):
    """One axis of ``walks``' pictures, of image and grad (N,L,P,C) and face (N,L,P)."""
    there = (grad != 0).any(-1)  # (N, L, P)
    places = there.shape[-1]
    extent = torch.full((*there.shape[:2], 2), -1)
    if there.numel():
        hit, some = there.byte(), there.any(-1)
        extent[..., 0] = torch.where(some, hit.argmax(-1), places)
        extent[..., 1] = torch.where(some, places - 1 - hit.flip(-1).argmax(-1), -1)
    lines = [x.transpose(2, 3).float().contiguous() for x in (image, grad)]
    return tuple(x.numpy() for x in (*lines, face.int().contiguous(), extent))


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
    rows = by_lines(image, grad, face)
    columns = by_lines(*(x.transpose(1, 2) for x in (image, grad, face)))
    walks(rows, columns, view, seen.number.numpy(), positions.numpy(), eps, moves.numpy())
    gather(to_points(moves, seen.corners).numpy(), view, seen.vertices.contiguous().numpy(), out)
    return torch.from_numpy(out).float()
