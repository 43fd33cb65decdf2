"""The backward pass in Triton: pixels to faces to corners to vertices, by sorted sums; no atomics.

1. ``pixel_kernel``, a lane a pixel: the gradient g_i of its three edge functions times q = (x, y, 1), and the depth's
   share for each corner's w: 12 numbers, see the package.
2. Their sum over each face's pixels (``segments``), then ``corner_kernel``, a lane a face: 3 numbers for each corner.
3. The sum over each vertex' corners.

Memory: 96 bytes for each pixel and about 40 while pixels are sorted by face; 300 for each face, or, where that is less,
for each face that is seen; 40 for each vertex. Views are taken ``PIXELS`` pixels at a time, one view at the least.
"""

import torch
import triton
import triton.language as tl

from ..segments import Segments
from .reference import MIN_AREA
from .triton_geometry import AS_WRITTEN, corner, cross, edges, vertices_of

BLOCK = 128
WARPS = 4
PIXELS = 1 << 24
LEAST_AREA = tl.constexpr(MIN_AREA)


@triton.jit(do_not_specialize=["first_view", "pixels", "faces", "vertices", "own", "height", "width"])
def pixel_kernel(
    points_ptr, faces_ptr, face_ptr, d_barycentrics_ptr, d_depth_ptr, key_ptr, out_ptr,
    first_view, pixels, faces, vertices, own, height, width,
    HAS_BARYCENTRICS: tl.constexpr, HAS_DEPTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Key (face, counted over the views, or -1) and 12 numbers of each pixel of the views from ``first_view`` on."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = pixel < pixels
    at = first_view.to(tl.int64) * height * width + pixel
    face = tl.load(face_ptr + at, here, other=-1)
    seen = face >= 0
    view = pixel // (height * width)
    tl.store(key_ptr + pixel, tl.where(seen, view * faces + face, -1), here)
    view = (first_view + view).to(tl.int64)
    x = (pixel % width).to(tl.float64) + 0.5
    y = (pixel // width % height).to(tl.float64) + 0.5
    v0, v1, v2 = vertices_of(faces_ptr, view * own * faces + face, seen)
    x0, y0, w0 = corner(points_ptr, view * vertices + v0, seen)
    x1, y1, w1 = corner(points_ptr, view * vertices + v1, seen)
    x2, y2, w2 = corner(points_ptr, view * vertices + v2, seen)
    a0, b0, c0, a1, b1, c1, a2, b2, c2, det = edges(x0, y0, w0, x1, y1, w1, x2, y2, w2)
    e0, e1, e2 = a0 * x + (b0 * y + c0), a1 * x + (b1 * y + c1), a2 * x + (b2 * y + c2)
    scale = 1.0 / tl.where(seen, e0 + e1 + e2, 1.0)
    e0, e1, e2 = e0 * scale, e1 * scale, e2 * scale  # the barycentrics
    zero = tl.zeros((BLOCK,), tl.float64)
    g0, g1, g2, by_depth = zero, zero, zero, zero
    if HAS_BARYCENTRICS:
        g0 += tl.load(d_barycentrics_ptr + at * 3, seen, other=0.0)
        g1 += tl.load(d_barycentrics_ptr + at * 3 + 1, seen, other=0.0)
        g2 += tl.load(d_barycentrics_ptr + at * 3 + 2, seen, other=0.0)
    if HAS_DEPTH:
        by_depth += tl.load(d_depth_ptr + at, seen, other=0.0)
        g0, g1, g2 = g0 + by_depth * w0, g1 + by_depth * w1, g2 + by_depth * w2
    mean = g0 * e0 + g1 * e1 + g2 * e2
    scale = tl.where(tl.abs(det) <= tl.abs(w0 * w1 * w2) * LEAST_AREA, 0.0, scale)
    g0, g1, g2 = (g0 - mean) * scale, (g1 - mean) * scale, (g2 - mean) * scale  # of the edge functions
    out_ptr += pixel.to(tl.int64) * 12
    tl.store(out_ptr, g0 * x, seen)
    tl.store(out_ptr + 1, g0 * y, seen)
    tl.store(out_ptr + 2, g0, seen)
    tl.store(out_ptr + 3, g1 * x, seen)
    tl.store(out_ptr + 4, g1 * y, seen)
    tl.store(out_ptr + 5, g1, seen)
    tl.store(out_ptr + 6, g2 * x, seen)
    tl.store(out_ptr + 7, g2 * y, seen)
    tl.store(out_ptr + 8, g2, seen)
    tl.store(out_ptr + 9, by_depth * e0, seen)
    tl.store(out_ptr + 10, by_depth * e1, seen)
    tl.store(out_ptr + 11, by_depth * e2, seen)


@triton.jit(do_not_specialize=["first_view", "count", "faces", "vertices", "own"])
def corner_kernel(
    points_ptr, faces_ptr, number_ptr, offsets_ptr, sums_ptr, key_ptr, out_ptr,
    first_view, count, faces, vertices, own,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients (count,3,3) of the faces' corners, and their keys (count,3): the vertex, counted over the views.

    A face that no pixel sees has key -1.
    """
    slot = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = slot < count
    begin = tl.load(offsets_ptr + slot, here, other=0)
    seen = here & (tl.load(offsets_ptr + slot + 1, here, other=0) > begin)
    number = tl.load(number_ptr + slot, here, other=0)
    view, face = (number // faces).to(tl.int64), number % faces
    v0, v1, v2 = vertices_of(faces_ptr, (first_view + view) * own * faces + face, seen)
    first = (first_view + view) * vertices
    x0, y0, w0 = corner(points_ptr, first + v0, seen)
    x1, y1, w1 = corner(points_ptr, first + v1, seen)
    x2, y2, w2 = corner(points_ptr, first + v2, seen)
    sums_ptr += slot.to(tl.int64) * 12
    p0, q0, r0 = triple(sums_ptr, seen)  # the sum of g_0 (x, y, 1)
    p1, q1, r1 = triple(sums_ptr + 3, seen)
    p2, q2, r2 = triple(sums_ptr + 6, seen)
    d0, d1, d2 = triple(sums_ptr + 9, seen)
    out_ptr += slot.to(tl.int64) * 9
    store_difference(out_ptr, p1, q1, r1, x2, y2, w2, p2, q2, r2, x1, y1, w1, d0, seen)
    store_difference(out_ptr + 3, p2, q2, r2, x0, y0, w0, p0, q0, r0, x2, y2, w2, d1, seen)
    store_difference(out_ptr + 6, p0, q0, r0, x1, y1, w1, p1, q1, r1, x0, y0, w0, d2, seen)
    key_ptr += slot.to(tl.int64) * 3
    first = view * vertices
    tl.store(key_ptr, tl.where(seen, first + v0, -1), here)
    tl.store(key_ptr + 1, tl.where(seen, first + v1, -1), here)
    tl.store(key_ptr + 2, tl.where(seen, first + v2, -1), here)


@triton.jit
def triple(at, seen):
    return tl.load(at, seen, other=0.0), tl.load(at + 1, seen, other=0.0), tl.load(at + 2, seen, other=0.0)


@triton.jit
def store_difference(at, p, q, r, x, y, w, p_, q_, r_, x_, y_, w_, by_depth, seen):
    """(p, q, r) x (x, y, w) - (p_, q_, r_) x (x_, y_, w_), and the depth's share of w."""
    gx, gy, gw = cross(p, q, r, x, y, w)
    hx, hy, hw = cross(p_, q_, r_, x_, y_, w_)
    tl.store(at, gx - hx, seen)
    tl.store(at + 1, gy - hy, seen)
    tl.store(at + 2, gw - hw + by_depth, seen)


def backward(points, faces, face, grad_barycentrics, grad_depth):
    """The points' gradient; of the other two gradients either may be None."""
    points, faces, face = points.contiguous(), faces.contiguous(), face.contiguous()
    incoming = [None if x is None else x.contiguous() for x in (grad_barycentrics, grad_depth)]
    grad_points = torch.empty_like(points)
    views, height, width = face.shape
    if grad_points.numel() == 0 or faces.shape[-2] == 0:
        return grad_points.zero_()
    step = max(1, min(PIXELS // (height * width), (2**31 - 1) // max(faces.shape[-2], points.shape[1])))
    for first in range(0, views, step):
        part = grad_points[first : first + step]
        part.copy_(_of_views(points, faces, face, incoming, first, len(part)).view(part.shape))
    return grad_points


def _of_views(points, faces, face, incoming, first, views):
    """Gradient (views x V, 3) float64 of the points in ``views`` views from ``first`` on."""
    _, height, width = face.shape
    count, vertices, own = faces.shape[-2], points.shape[1], int(faces.ndim == 3)
    pixels = views * height * width
    keys = points.new_empty(pixels, dtype=torch.int32)
    outer = points.new_empty(pixels, 12, dtype=torch.float64)
    pixel_kernel[(triton.cdiv(pixels, BLOCK),)](
        points, faces, face, *incoming, keys, outer,
        first, pixels, count, vertices, own, height, width,
        HAS_BARYCENTRICS=incoming[0] is not None, HAS_DEPTH=incoming[1] is not None,
        BLOCK=BLOCK, num_warps=WARPS, **AS_WRITTEN,
    )  # fmt: skip
    if views * count <= pixels:
        numbers = torch.arange(views * count, device=keys.device, dtype=torch.int32)
    else:  # a huge mesh: only the faces that are seen
        numbers = torch.unique(keys)
        keys = torch.searchsorted(numbers, keys).int()
        keys -= (numbers[0] < 0).int()
        numbers = numbers[numbers >= 0]
    shown = numbers.shape[0]
    if shown == 0:
        return points.new_zeros(views * vertices, 3, dtype=torch.float64)
    by_face = Segments.of(keys, shown)
    sums = by_face.sum(outer)
    del outer
    corner_keys = points.new_empty(shown * 3, dtype=torch.int32)
    corners = points.new_empty(shown * 3, 3, dtype=torch.float64)
    corner_kernel[(triton.cdiv(shown, BLOCK),)](
        points, faces, numbers, by_face.offsets, sums, corner_keys, corners, first, shown, count, vertices, own,
        BLOCK=BLOCK, num_warps=WARPS, **AS_WRITTEN,
    )  # fmt: skip
    return Segments.of(corner_keys, views * vertices).sum(corners)
