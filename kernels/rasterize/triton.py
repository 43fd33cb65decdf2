"""Triton: faces are sorted into tiles of 16 x 16 pixels, and a program a tile draws its faces in order.

1. ``count_kernel``, a lane a face: the pixel box (as on the CPU, near plane and all), from it the tiles, their number.
   A face that is padding, not finite, of no area, or whose box holds no pixel's center reaches no tile.
2. ``triton_tiles``: the tiles' lists, the faces in the order of their numbers.
3. ``tile_kernel`` walks them with a strict depth test, so that the lower number wins ties, then writes face,
   barycentrics and depth.

Edge functions are float64 and not contracted into fused multiply-adds: those of a shared edge are then exactly each
other's negative, and no pixel falls between two faces.

Memory, besides the results (20 bytes a pixel): that of the lists, in pieces of at most ``MOST`` pairs, and at most as
many faces x views. So 10 million faces at 4096 x 4096 take 0.14 GB, and 0.4 GB for every 10 million pairs, 5.4 GB at
most. The backward pass: ``triton_backward.py``.
"""

import torch
import triton
import triton.language as tl

from .triton_backward import backward
from .triton_geometry import AS_WRITTEN, corner, edges, vertices_of
from .triton_tiles import FACES, TILE, WARPS, Region, in_pieces, store_tiles

MOST = 1 << 27  # faces x views, and pairs, in a piece
SIZES = ["first_view", "views", "faces", "vertices", "own", "height", "width", "top", "left", "rows", "columns"]


@triton.jit
def widen(low, high, p, w, other_p, other_w, near):
    """A box's side with a corner that lies in front of ``near`` and with where the edge to the next one meets it."""
    front = w >= near
    at = p / tl.where(front, w, 1.0)
    low, high = tl.where(front, tl.minimum(low, at), low), tl.where(front, tl.maximum(high, at), high)
    cut = front != (other_w >= near)
    s = (near - w) / tl.where(cut, other_w - w, 1.0)
    at = (p + s * (other_p - p)) / near
    # A pixel's center on the cut must not be lost to rounding.
    return tl.where(cut, tl.minimum(low, at - 1.0), low), tl.where(cut, tl.maximum(high, at + 1.0), high)


@triton.jit
def pixel_range(low, high, size):
    """First and last pixel in [0, size) whose center lies in [low, high]; first > last where there is none."""
    size = size.to(tl.float64)
    slack = 1e-6  # the box is found by division, the coverage without: never lose a center on an edge
    first = tl.ceil(tl.minimum(tl.maximum(low - slack - 0.5, 0.0), size))
    last = tl.floor(tl.maximum(tl.minimum(high + slack - 0.5, size - 1.0), -1.0))
    return first.to(tl.int32), last.to(tl.int32)


@triton.jit(do_not_specialize=SIZES)
def count_kernel(
    points_ptr, faces_ptr, near, box_ptr, count_ptr,
    first_view, views, faces, vertices, own, height, width, top, left, rows, columns,
    TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What ``store_tiles`` writes of each face in each view. ``own``: 1 where views have their own faces, else 0."""
    number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = number < views.to(tl.int64) * faces
    view = first_view + number // faces
    face = number % faces
    v0, v1, v2 = vertices_of(faces_ptr, view * own * faces + face, inside)
    drawn = inside & (v0 >= 0)
    points_ptr += view * vertices * 3
    x0, y0, w0 = corner(points_ptr, v0, drawn)
    x1, y1, w1 = corner(points_ptr, v1, drawn)
    x2, y2, w2 = corner(points_ptr, v2, drawn)
    _, _, _, _, _, _, _, _, _, det = edges(x0, y0, w0, x1, y1, w1, x2, y2, w2)
    size = tl.abs(x0 + y0 + w0) + tl.abs(x1 + y1 + w1) + tl.abs(x2 + y2 + w2)
    drawn = drawn & (size < float("inf")) & (det != 0)

    infinity = tl.full((BLOCK,), float("inf"), tl.float64)
    low, high = widen(infinity, -infinity, x0, w0, x1, w1, near)
    low, high = widen(low, high, x1, w1, x2, w2, near)
    low, high = widen(low, high, x2, w2, x0, w0, near)
    drawn = drawn & (low <= high)
    j0, j1 = pixel_range(tl.where(drawn, low, 0.0), tl.where(drawn, high, 0.0), width)
    low, high = widen(infinity, -infinity, y0, w0, y1, w1, near)
    low, high = widen(low, high, y1, w1, y2, w2, near)
    low, high = widen(low, high, y2, w2, y0, w0, near)
    i0, i1 = pixel_range(tl.where(drawn, low, 0.0), tl.where(drawn, high, 0.0), height)
    drawn = drawn & (i0 <= i1) & (j0 <= j1)

    store_tiles(box_ptr, count_ptr, number, inside, drawn, i0, i1, j0, j1, top, left, rows, columns, TILE)


@triton.jit(do_not_specialize=SIZES)
def tile_kernel(
    points_ptr, faces_ptr, near, list_ptr, offsets_ptr, face_ptr, barycentrics_ptr, depth_ptr,
    first_view, faces, vertices, own, height, width, top, left, rows, columns,
    TILE: tl.constexpr,
):  # fmt: skip
    """Draws one tile.

    While a face is drawn, the next one's corners, the vertices of the one after and the number of a third are on their
    way from memory.
    """
    tile = tl.program_id(0)
    view = (first_view + tile // (rows * columns)).to(tl.int64)
    pixel = tl.arange(0, TILE * TILE)
    i = (top + tile // columns % rows) * TILE + pixel // TILE
    j = (left + tile % columns) * TILE + pixel % TILE
    x, y = j.to(tl.float64) + 0.5, i.to(tl.float64) + 0.5
    points_ptr += view * vertices * 3
    faces_ptr += view * own * faces * 3
    nearest = tl.full((TILE * TILE,), float("inf"), tl.float32)
    owner = tl.full((TILE * TILE,), -1, tl.int32)

    begin = tl.load(offsets_ptr + tile).to(tl.int32)
    end = tl.load(offsets_ptr + tile + 1).to(tl.int32)
    face = tl.load(list_ptr + begin, begin < end, other=0)
    face_1 = tl.load(list_ptr + begin + 1, begin + 1 < end, other=0)
    face_2 = tl.load(list_ptr + begin + 2, begin + 2 < end, other=0)
    v0, v1, v2 = vertices_of(faces_ptr, face, begin < end)
    next_x0, next_y0, next_w0 = corner(points_ptr, v0, begin < end)
    next_x1, next_y1, next_w1 = corner(points_ptr, v1, begin < end)
    next_x2, next_y2, next_w2 = corner(points_ptr, v2, begin < end)
    v0, v1, v2 = vertices_of(faces_ptr, face_1, begin + 1 < end)
    for k in range(begin, end):
        x0, y0, w0 = next_x0, next_y0, next_w0
        x1, y1, w1 = next_x1, next_y1, next_w1
        x2, y2, w2 = next_x2, next_y2, next_w2
        next_x0, next_y0, next_w0 = corner(points_ptr, v0, k + 1 < end)
        next_x1, next_y1, next_w1 = corner(points_ptr, v1, k + 1 < end)
        next_x2, next_y2, next_w2 = corner(points_ptr, v2, k + 1 < end)
        v0, v1, v2 = vertices_of(faces_ptr, face_2, k + 2 < end)
        a0, b0, c0, a1, b1, c1, a2, b2, c2, det = edges(x0, y0, w0, x1, y1, w1, x2, y2, w2)
        sign = tl.where(det > 0, 1.0, -1.0).to(tl.float64)
        e0 = sign * (a0 * x + (b0 * y + c0))
        e1 = sign * (a1 * x + (b1 * y + c1))
        e2 = sign * (a2 * x + (b2 * y + c2))
        total = e0 + e1 + e2
        covered = (e0 >= 0) & (e1 >= 0) & (e2 >= 0) & (total > 0)
        depth = (tl.abs(det) * (1.0 / tl.where(covered, total, 1.0))).to(tl.float32)
        closer = covered & (depth >= near) & (depth < nearest)
        nearest = tl.where(closer, depth, nearest)
        owner = tl.where(closer, face, owner)
        face, face_1 = face_1, face_2
        face_2 = tl.load(list_ptr + k + 3, k + 3 < end, other=0)

    seen = owner >= 0
    v0, v1, v2 = vertices_of(faces_ptr, owner, seen)
    x0, y0, w0 = corner(points_ptr, v0, seen)
    x1, y1, w1 = corner(points_ptr, v1, seen)
    x2, y2, w2 = corner(points_ptr, v2, seen)
    a0, b0, c0, a1, b1, c1, a2, b2, c2, _ = edges(x0, y0, w0, x1, y1, w1, x2, y2, w2)
    e0, e1, e2 = a0 * x + (b0 * y + c0), a1 * x + (b1 * y + c1), a2 * x + (b2 * y + c2)
    scale = 1.0 / tl.where(seen, e0 + e1 + e2, 1.0)
    inside = (i < height) & (j < width)
    at = (view * height + i) * width + j
    tl.store(face_ptr + at, owner, inside)
    tl.store(depth_ptr + at, tl.where(seen, nearest, 0.0), inside)
    tl.store(barycentrics_ptr + at * 3, tl.where(seen, e0 * scale, 0.0), inside)
    tl.store(barycentrics_ptr + at * 3 + 1, tl.where(seen, e1 * scale, 0.0), inside)
    tl.store(barycentrics_ptr + at * 3 + 2, tl.where(seen, e2 * scale, 0.0), inside)


def forward(points, faces, height, width, near):
    """Face, barycentrics, depth; float64 inside."""
    views, vertices = points.shape[:2]
    points, faces = points.contiguous(), faces.contiguous()
    face = points.new_empty(views, height, width, dtype=torch.int32)
    barycentrics = points.new_empty(views, height, width, 3, dtype=torch.float32)
    depth = points.new_empty(views, height, width, dtype=torch.float32)
    number, own = faces.shape[-2], int(faces.ndim == 3)
    sizes = (number, vertices, own, height, width)

    def count(region):
        total = region.sizes[0] * number if vertices else 0  # without vertices all faces are padding
        boxes = points.new_empty(total, 3, dtype=torch.int16)
        counts = points.new_empty(total, dtype=torch.int32)
        if total:
            count_kernel[(triton.cdiv(total, FACES),)](
                points, faces, near, boxes, counts, region.views[0], region.sizes[0], *sizes, *region.place,
                TILE=TILE, BLOCK=FACES, num_warps=WARPS, **AS_WRITTEN,
            )  # fmt: skip
        return boxes, counts

    def draw(region, *lists):
        tile_kernel[(region.tiles,)](
            points, faces, near, *lists, face, barycentrics, depth, region.views[0], *sizes, *region.place,
            TILE=TILE, num_warps=WARPS, **AS_WRITTEN,
        )  # fmt: skip

    if face.numel():
        in_pieces(Region.whole(views, height, width), number, MOST, count, draw)
    return face, barycentrics, depth


__all__ = ["backward", "forward"]
