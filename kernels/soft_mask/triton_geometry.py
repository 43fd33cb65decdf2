"""Triton: a tile's pixels and a triangle, in normalized device coordinates."""

import triton
import triton.language as tl

from . import FLAT

_FLAT = tl.constexpr(FLAT)


@triton.jit
def tile_pixels(first_view, height, width, top, left, rows, columns, TILE: tl.constexpr):
    """Of this program's tile: the pixels' numbers, which exist, their view, and their centers' x and y.

    A picture has less than 2^31 pixels; all views together may have more.
    """
    tile = tl.program_id(0)
    n = (first_view + tile // (rows * columns)).to(tl.int64)
    lane = tl.arange(0, TILE * TILE)
    i = (top + tile // columns % rows) * TILE + lane // TILE
    j = (left + tile % columns) * TILE + lane % TILE
    exists = (i < height) & (j < width)
    pixel = n * height * width + i * width + j
    x = (2 * j + 1 - width).to(tl.float64) / width
    y = (height - 1 - 2 * i).to(tl.float64) / height
    return pixel, exists, n, x, y


@triton.jit
def toward(x, y, ax, ay, bx, by):
    """From (x, y) to the nearest point of an edge: how far along the edge it lies, the step there, its square."""
    ex, ey = bx - ax, by - ay
    length = ex * ex + ey * ey
    inverse = tl.where(length > 0, 1.0 / tl.where(length > 0, length, 1.0), 0.0)
    t = tl.minimum(tl.maximum(((x - ax) * ex + (y - ay) * ey) * inverse, 0.0), 1.0)
    dx, dy = ax + t * ex - x, ay + t * ey - y
    return t, dx, dy, dx * dx + dy * dy


@triton.jit
def nearest_edge(x, y, x0, y0, x1, y1, x2, y2):
    """Squared distance to the nearest of a triangle's edges, the step there, and what share of it each corner is."""
    t, dx, dy, squared = toward(x, y, x0, y0, x1, y1)
    t1, dx1, dy1, squared1 = toward(x, y, x1, y1, x2, y2)
    t2, dx2, dy2, squared2 = toward(x, y, x2, y2, x0, y0)
    second = squared1 < squared
    third = squared2 < tl.where(second, squared1, squared)
    s0 = tl.where(third, t2, tl.where(second, 0.0, 1 - t))
    s1 = tl.where(third, 0.0, tl.where(second, 1 - t1, t))
    dx = tl.where(third, dx2, tl.where(second, dx1, dx))
    dy = tl.where(third, dy2, tl.where(second, dy1, dy))
    return dx * dx + dy * dy, dx, dy, s0, s1, 1 - s0 - s1


@triton.jit
def in_box(x, y, x0, y0, x1, y1, x2, y2, boxlen):
    left, right = tl.minimum(tl.minimum(x0, x1), x2) - boxlen, tl.maximum(tl.maximum(x0, x1), x2) + boxlen
    low, high = tl.minimum(tl.minimum(y0, y1), y2) - boxlen, tl.maximum(tl.maximum(y0, y1), y2) + boxlen
    return (x >= left) & (x < right) & (y >= low) & (y < high)


@triton.jit
def barycentrics(x, y, x0, y0, x1, y1, x2, y2):
    """On the screen, the size of twice the area, and one over twice the area; 0, for which no pixel is inside, if that
    is ``FLAT``."""
    det = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    flat = tl.abs(det) < _FLAT
    scale = tl.where(flat, 0.0, 1.0 / tl.where(flat, 1.0, det))
    w0 = ((y1 - y2) * x + (x2 - x1) * y + (x1 * y2 - x2 * y1)) * scale
    w1 = ((y2 - y0) * x + (x0 - x2) * y + (x2 * y0 - x0 * y2)) * scale
    w2 = ((y0 - y1) * x + (x1 - x0) * y + (x0 * y1 - x1 * y0)) * scale
    inside = (w0 > 0) & (w1 > 0) & (w2 > 0) & (w0 < 1) & (w1 < 1) & (w2 < 1)
    return w0, w1, w2, inside, tl.abs(det), scale


@triton.jit
def clip(w0, w1, w2):
    u0, u1 = tl.minimum(tl.maximum(w0, 0.0), 1.0), tl.minimum(tl.maximum(w1, 0.0), 1.0)
    u2 = tl.minimum(tl.maximum(w2, 0.0), 1.0)
    total = u0 + u1 + u2
    total = tl.where(total > 0, total, 1.0)  # 0 for flat faces only
    return u0 / total, u1 / total, u2 / total, total


@triton.jit
def shares(squared, inside, sigma):
    """D and 1 - D, each without cancellation."""
    small = tl.exp((-squared / sigma).to(tl.float32))
    large = 1 / (1 + small)
    return tl.where(inside, large, small * large), tl.where(inside, small * large, large)
