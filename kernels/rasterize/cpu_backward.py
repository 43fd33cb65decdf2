"""Gradients in Numba: each piece of a view adds up its own, then they are added up in order."""

from numba import prange

from ..jit import jit
from .cpu_forward import cross
from .reference import MIN_AREA


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
