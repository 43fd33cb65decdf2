"""The z-buffer in Numba: faces are sorted into bands of rows, and each band draws its faces in order."""

import math

import numpy as np
from numba import prange
from numba.cpython.unsafe.numbers import trailing_zeros

from ..jit import inline, jit

CHUNK = 2048
"""Faces that are sorted into bands together."""


@inline
def cross(a0, a1, a2, b0, b1, b2):
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@inline
def pixel_range(low, high, size):
    """First and last pixel in [0, size) whose center lies in [low, high]; first > last where there is none."""
    first = math.ceil(min(max(low - 0.5, 0.0), float(size)))
    last = math.floor(max(min(high - 0.5, size - 1.0), -1.0))
    return int(first), int(last)


@inline
def interleaved(task, bits):
    """``task`` with its ``bits`` bits reversed: neighboring tasks, which a thread takes together, lie far apart."""
    result = 0
    for bit in range(bits):
        result = 2 * result + ((task >> bit) & 1)
    return result


@jit(parallel=False)
def covered(a0, b0, c0, a1, b1, c1, a2, b2, c2, i0, rows, j0, columns):
    """Which of 8 x 8 pixels from (i0, j0) on are covered, bit 8 i + j of 64; of ``rows`` x ``columns`` of them."""
    found = np.uint64(0)
    x0, y0 = j0 + 0.5, i0 + 0.5
    for i in range(8):  # always all of them: that makes vectors, and no branch depends on the face
        y = y0 + i
        r0, r1, r2 = b0 * y + c0, b1 * y + c1, b2 * y + c2
        bits = 0
        for k in range(8):
            x = x0 + k
            e0, e1, e2 = a0 * x + r0, a1 * x + r1, a2 * x + r2
            bits |= (1 << k) if (e0 >= 0) & (e1 >= 0) & (e2 >= 0) else 0
        found |= np.uint64(bits) << np.uint64(8 * i)
    inside = (np.uint64(0xFF) >> np.uint64(8 - columns)) * np.uint64(0x0101010101010101)
    return found & inside & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * rows))


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
                    # A pixel's center on the cut must not be lost to rounding.
                    x_low, x_high = min(x_low, x - 1), max(x_high, x + 1)
                    y_low, y_high = min(y_low, y - 1), max(y_high, y + 1)
            if not finite or x_low > x_high:
                continue
            slack = 1e-6  # the box is found by division, the coverage without: never lose a center on an edge
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
        begin = 0
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
            top, past_row = max(boxes[n, f, 0], first), min(boxes[n, f, 1] + 1, past)
            left, past_column = boxes[n, f, 2], boxes[n, f, 3] + 1
            for i0 in range(top, past_row, 8):
                for j0 in range(left, past_column, 8):
                    found = covered(
                        a0, b0, c0, a1, b1, c1, a2, b2, c2, i0, min(past_row - i0, 8), j0, min(past_column - j0, 8)
                    )
                    while found != 0:
                        at = trailing_zeros(found)
                        found &= found - np.uint64(1)
                        i, j = i0 + (at >> 3), j0 + (at & 7)
                        y, x = i + 0.5, j + 0.5
                        e0, e1, e2 = a0 * x + (b0 * y + c0), a1 * x + (b1 * y + c1), a2 * x + (b2 * y + c2)
                        sum_e = e0 + e1 + e2
                        if sum_e > 0:
                            scale = 1.0 / sum_e
                            distance = np.float32(det * scale)
                            if distance >= near and distance < depth[n, i, j]:
                                depth[n, i, j] = distance
                                face[n, i, j] = f
                                barycentrics[n, i, j, 0] = e0 * scale
                                barycentrics[n, i, j, 1] = e1 * scale
                                barycentrics[n, i, j, 2] = e2 * scale
        for i in range(first, past):
            for j in range(width):
                if face[n, i, j] < 0:
                    depth[n, i, j] = 0.0
    return True
