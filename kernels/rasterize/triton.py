"""Triton: faces are sorted into tiles of 16 x 16 pixels, and a program a tile draws its faces in order.

1. ``count_kernel``, a lane a face: the pixel box (as on the CPU, near plane and all), from it the tiles, their number.
   A face that is padding, not finite, of no area, or whose box holds no pixel's centre reaches no tile.
2. A prefix sum; ``emit_kernel``, a lane a pair, writes every (tile, face); a stable sort by tile. There is no capacity
   that could overflow, and a tile's faces stay in the order of their numbers.
3. ``tile_kernel`` walks them with a strict depth test, so that the lower number wins ties, then writes face,
   barycentrics and depth.

Edge functions are float64 and not contracted into fused multiply-adds: those of a shared edge are then exactly each
other's negative, and no pixel falls between two faces.

Memory, besides the results (20 bytes a pixel): 14 bytes for each face and view, about 40 for each pair of a tile and a
face while they are sorted, 4 thereafter, 8 a tile. Where faces x views or pairs would pass ``MOST``, the pictures are
drawn in pieces: some views, then some rows of tiles, then some columns. So 10 million faces at 4096 x 4096 take 0.14
GB, and 0.4 GB for every 10 million pairs, 5.4 GB at most. The number of pairs is read back once a piece, which waits
for the device. The backward pass: ``triton_backward.py``.
"""

import torch
import triton
import triton.language as tl

from .triton_backward import backward
from .triton_geometry import AS_WRITTEN, corner, edges, vertices_of

TILE = 16  # pixels a side
FACES = 128  # faces, or pairs, a program counts or emits
WARPS = 4
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
    # A pixel's centre on the cut must not be lost to rounding.
    return tl.where(cut, tl.minimum(low, at - 1.0), low), tl.where(cut, tl.maximum(high, at + 1.0), high)


@triton.jit
def pixel_range(low, high, size):
    """First and last pixel in [0, size) whose centre lies in [low, high]; first > last where there is none."""
    size = size.to(tl.float64)
    slack = 1e-6  # the box is found by division, the coverage without: never lose a centre on an edge
    first = tl.ceil(tl.minimum(tl.maximum(low - slack - 0.5, 0.0), size))
    last = tl.floor(tl.maximum(tl.minimum(high + slack - 0.5, size - 1.0), -1.0))
    return first.to(tl.int32), last.to(tl.int32)


@triton.jit(do_not_specialize=SIZES)
def count_kernel(
    points_ptr, faces_ptr, near, box_ptr, count_ptr,
    first_view, views, faces, vertices, own, height, width, top, left, rows, columns,
    TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of each face in each view: first row and column of its tiles, number of columns (int16), number of tiles (int32).

    Tiles outside ``rows`` x ``columns`` from (``top``, ``left``) do not count. ``own``: 1 where views have their own
    faces, else 0.
    """
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

    row, past_row = tl.maximum(i0 // TILE - top, 0), tl.minimum(i1 // TILE + 1 - top, rows)
    column, past_column = tl.maximum(j0 // TILE - left, 0), tl.minimum(j1 // TILE + 1 - left, columns)
    across = tl.maximum(past_column - column, 0)
    tiles = tl.where(drawn, tl.maximum(past_row - row, 0) * across, 0)
    tl.store(box_ptr + number * 3, row.to(tl.int16), inside)
    tl.store(box_ptr + number * 3 + 1, column.to(tl.int16), inside)
    tl.store(box_ptr + number * 3 + 2, across.to(tl.int16), inside)
    tl.store(count_ptr + number, tiles, inside)


@triton.jit(do_not_specialize=["pairs", "faces", "all_faces", "rows", "columns", "steps"])
def emit_kernel(
    end_ptr, box_ptr, tile_ptr, face_ptr, pairs, faces, all_faces, rows, columns, steps, BLOCK: tl.constexpr
):
    """Tile and face of each pair, by bisection in ``end`` (faces x views,), the running number of pairs."""
    pair = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pair < pairs
    low = tl.zeros((BLOCK,), tl.int32)
    high = tl.zeros((BLOCK,), tl.int32) + (all_faces - 1)  # the answer lies in [low, high]
    for _ in range(0, steps):
        middle = low + (high - low) // 2
        beyond = tl.load(end_ptr + middle, inside, other=0) > pair
        high = tl.where(beyond, middle, high)
        low = tl.where(beyond, low, tl.minimum(middle + 1, high))
    before = tl.load(end_ptr + low - 1, inside & (low > 0), other=0)
    across = tl.load(box_ptr + low.to(tl.int64) * 3 + 2, inside, other=1).to(tl.int32)
    row = tl.load(box_ptr + low.to(tl.int64) * 3, inside, other=0).to(tl.int32)
    column = tl.load(box_ptr + low.to(tl.int64) * 3 + 1, inside, other=0).to(tl.int32)
    index = (pair - before).to(tl.int32)
    tile = (low // faces * rows + row + index // across) * columns + column + index % across
    tl.store(tile_ptr + pair, tile, inside)
    tl.store(face_ptr + pair, low % faces, inside)


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
    views = points.shape[0]
    points, faces = points.contiguous(), faces.contiguous()
    face = points.new_empty(views, height, width, dtype=torch.int32)
    barycentrics = points.new_empty(views, height, width, 3, dtype=torch.float32)
    depth = points.new_empty(views, height, width, dtype=torch.float32)
    if face.numel():
        with torch.cuda.device_of(points):
            tiles = (triton.cdiv(height, TILE), triton.cdiv(width, TILE))
            _draw(points, faces, near, (face, barycentrics, depth), (0, views), (0, tiles[0]), (0, tiles[1]))
    return face, barycentrics, depth


def _draw(points, faces, near, outputs, views, rows, columns):
    """Draw the tiles in ``rows`` x ``columns`` of ``views``, each from the first to past the last.

    In two halves, if faces or pairs are more than ``MOST``; one tile of one view is always drawn.
    """
    region = (views, rows, columns)
    sizes = [past - first for first, past in region]
    count, vertices = faces.shape[-2], points.shape[1]
    lists = None
    if max(sizes) == 1 or sizes[0] * max(count, sizes[1] * sizes[2]) <= MOST:
        lists = _lists(points, faces, near, outputs[0].shape[1:], region)
    if lists is None:
        axis = next(k for k in range(3) if sizes[k] > 1)
        first, past = region[axis]
        for half in ((first, first + sizes[axis] // 2), (first + sizes[axis] // 2, past)):
            _draw(points, faces, near, outputs, *(half if k == axis else region[k] for k in range(3)))
        return
    own, size = int(faces.ndim == 3), outputs[0].shape[1:]
    tile_kernel[(sizes[0] * sizes[1] * sizes[2],)](
        points, faces, near, *lists, *outputs, views[0], count, vertices, own, *size, rows[0], columns[0], *sizes[1:],
        TILE=TILE, num_warps=WARPS, **AS_WRITTEN,
    )  # fmt: skip


def _lists(points, faces, near, size, region):
    """Every tile's faces, one list behind the other, and where each begins; None if they are more than ``MOST``."""
    views, rows, columns = ((first, past - first) for first, past in region)
    count, tiles = faces.shape[-2], views[1] * rows[1] * columns[1]
    total, pairs = views[1] * count, 0
    if total and points.shape[1]:
        boxes = points.new_empty(total, 3, dtype=torch.int16)
        counts = points.new_empty(total, dtype=torch.int32)
        count_kernel[(triton.cdiv(total, FACES),)](
            points, faces, near, boxes, counts,
            *views, count, points.shape[1], int(faces.ndim == 3), *size, rows[0], columns[0], rows[1], columns[1],
            TILE=TILE, BLOCK=FACES, num_warps=WARPS, **AS_WRITTEN,
        )  # fmt: skip
        pairs = int(counts.sum(dtype=torch.int64))
    if pairs > MOST and tiles > 1:
        return None
    tile = points.new_empty(pairs, dtype=torch.int32)
    face = points.new_empty(pairs, dtype=torch.int32)
    if pairs:
        ends = counts.cumsum(0, dtype=torch.int32)
        emit_kernel[(triton.cdiv(pairs, FACES),)](
            ends, boxes, tile, face, pairs, count, total, rows[1], columns[1], total.bit_length(),
            BLOCK=FACES, num_warps=WARPS,
        )  # fmt: skip
        tile, order = tile.sort(stable=True)
        face = face[order]
    offsets = torch.searchsorted(tile, torch.arange(tiles + 1, device=tile.device, dtype=torch.int32))
    return face, offsets


__all__ = ["backward", "forward"]
