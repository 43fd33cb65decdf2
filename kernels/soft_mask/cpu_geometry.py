"""Numba: a pixel and a triangle, in normalized device coordinates."""

from ..jit import inline
from . import FLAT


@inline
def inverse_length(ax, ay, bx, by):
    """One over the squared length of an edge; 0 where that is 0, so that every point is nearest to the edge's start."""
    length = (bx - ax) * (bx - ax) + (by - ay) * (by - ay)
    return 1.0 / length if length > 0 else 0.0


@inline
def toward(x, y, ax, ay, bx, by, inverse):
    """From (x, y) to the nearest point of an edge: how far along the edge it lies, and the step there."""
    t = min(max(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) * inverse, 0.0), 1.0)
    return t, ax + t * (bx - ax) - x, ay + t * (by - ay) - y


@inline
def nearest_edge(x, y, x0, y0, x1, y1, x2, y2, inverse0, inverse1, inverse2):
    """The nearest of a triangle's edges, the squared distance to it, and what ``toward`` says of it."""
    edge = 0
    t, dx, dy = toward(x, y, x0, y0, x1, y1, inverse0)
    squared = dx * dx + dy * dy
    t1, dx1, dy1 = toward(x, y, x1, y1, x2, y2, inverse1)
    if dx1 * dx1 + dy1 * dy1 < squared:
        edge, t, dx, dy = 1, t1, dx1, dy1
        squared = dx * dx + dy * dy
    t2, dx2, dy2 = toward(x, y, x2, y2, x0, y0, inverse2)
    if dx2 * dx2 + dy2 * dy2 < squared:
        edge, t, dx, dy = 2, t2, dx2, dy2
        squared = dx * dx + dy * dy
    return edge, squared, t, dx, dy


@inline
def add_distance_gradient(grad, edge, t, dx, dy, by_squared):
    """The nearest point moves with its edge's corners; that it also slides along the edge changes nothing."""
    start, end = 2 * by_squared * (1 - t), 2 * by_squared * t
    other = edge + 1 if edge < 2 else 0
    grad[edge, 0] += start * dx
    grad[edge, 1] += start * dy
    grad[other, 0] += end * dx
    grad[other, 1] += end * dy


@inline
def edge_functions(x, y, x0, y0, x1, y1, x2, y2, scale):
    """Barycentrics, ``scale`` being one over twice the area."""
    w0 = ((y1 - y2) * x + (x2 - x1) * y + (x1 * y2 - x2 * y1)) * scale
    w1 = ((y2 - y0) * x + (x0 - x2) * y + (x2 * y0 - x0 * y2)) * scale
    w2 = ((y0 - y1) * x + (x1 - x0) * y + (x0 * y1 - x1 * y0)) * scale
    return w0, w1, w2


@inline
def area_scale(x0, y0, x1, y1, x2, y2):
    """The size of twice the area, and one over twice the area; 0, for which no pixel is inside, if that is ``FLAT``."""
    det = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    return abs(det), 1.0 / det if abs(det) >= FLAT else 0.0


@inline
def clip_barycentrics(w0, w1, w2):
    u0, u1, u2 = min(max(w0, 0.0), 1.0), min(max(w1, 0.0), 1.0), min(max(w2, 0.0), 1.0)
    total = u0 + u1 + u2
    return u0 / total, u1 / total, u2 / total, total
