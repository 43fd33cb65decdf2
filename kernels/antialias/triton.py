"""Contour antialiasing in Triton: the search for pairs. The blend: ``triton_blend.py``.

1. ``sort_kernel``, a lane an edge and view: contour, crease or neither, and how many lines of pixel centers it crosses
   along rows and along columns.
2. A prefix sum; ``judge_kernel``, two lanes a crossing (it lies between two centers, or on one and so in two pairs):
   what it means to its pair of pixels.
3. Stable sorts of the crossings that count, by merit, then by pair and rank; the first of each pair stays. Crossings
   are emitted in the order of their edges, so ties go to the lower edge number.

There is no capacity that could overflow. The numbers of crossings and of those that count are read back, which waits
for the device twice. Memory: 25 bytes for each edge and view, 54 for each crossing of a contour or crease.
"""

import torch
import triton
import triton.language as tl

from ..rasterize.triton_geometry import AS_WRITTEN, corner, cross, edges, vertices_of
from .reference import CLEARANCE, SLACK
from .triton_blend import Blend

EDGES = 128  # edges, or lanes of crossings, a program
WARPS = 4
_CLEARANCE, _SLACK = tl.constexpr(CLEARANCE), tl.constexpr(SLACK)
NOTHING = 255  # a verdict; others are rank + 4 owner + 8 steep
SIZES = ["views", "edges_a_view", "vertices", "own_edges", "own_creases", "height", "width"]
MORE_SIZES = ["lanes", "views", "edges_a_view", "faces", "vertices", "own_edges", "own_faces", "height", "width"]


@triton.jit
def lines_of(s0, s1, lines):
    """First line of pixel centers between two places, and their number."""
    low = tl.ceil(tl.maximum(tl.minimum(s0, s1) - 0.5, 0.0))
    high = tl.floor(tl.minimum(tl.maximum(s0, s1) - 0.5, lines.to(tl.float64) - 1))
    count = tl.where((low <= high) & (s0 != s1), high - low + 1, 0.0)
    return tl.where(count > 0, low, 0.0).to(tl.int32), count.to(tl.int32)


@triton.jit(do_not_specialize=SIZES)
def sort_kernel(
    points_ptr, edges_ptr, creases_ptr, near, kind_ptr, count_ptr,
    views, edges_a_view, vertices, own_edges, own_creases, height, width,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """``kind`` int8: 0 neither, else 1 contour + 2 crease + 4 (side + 1), the side being the sign of det(p0, p1, p) on
    the faces' side; ``count`` (2,N,E) int32, the lines crossed along rows and columns."""
    number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    all_edges = views.to(tl.int64) * edges_a_view
    inside = number < all_edges
    view = number // edges_a_view
    edge = number % edges_a_view
    at = edges_ptr + (view * own_edges * edges_a_view + edge) * 4
    v0 = tl.load(at, inside, other=-1)
    real = inside & (v0 >= 0)
    v1 = tl.load(at + 1, real, other=0)
    a = tl.load(at + 2, real, other=0)
    b = tl.load(at + 3, real, other=-1)
    points_ptr += view * vertices * 3
    x0, y0, w0 = corner(points_ptr, v0, real)
    x1, y1, w1 = corner(points_ptr, v1, real)
    xa, ya, wa = corner(points_ptr, a, real)
    xb, yb, wb = corner(points_ptr, b, real & (b >= 0))
    size = tl.abs(x0 + y0 + w0 + x1 + y1 + w1)
    real = real & (w0 >= near) & (w1 >= near) & (size < float("inf"))
    nx, ny, nw = cross(x0, y0, w0, x1, y1, w1)
    # A face that uses a vertex twice is flat: not for rounding to decide.
    side_a = tl.where((a == v0) | (a == v1), 0.0, nx * xa + ny * ya + nw * wa)
    side_b = tl.where((b == v0) | (b == v1), 0.0, nx * xb + ny * yb + nw * wb)
    side_b = tl.where(b >= 0, side_b, side_a)
    contour = real & (side_a * side_b >= 0)
    side = tl.where(side_a != 0, side_a, side_b)
    sign = tl.where(contour & (side > 0), 1, 0) - tl.where(contour & (side < 0), 1, 0)
    jump = tl.load(creases_ptr + view * own_creases * edges_a_view + edge, real, other=0).to(tl.int32)
    kind = tl.where(contour, 1, 0) + tl.where(real & (jump != 0), 2, 0)
    kind = tl.where(kind > 0, kind + 4 * (sign + 1), 0)
    tl.store(kind_ptr + number, kind.to(tl.int8), inside)
    used = kind > 0
    w0, w1 = tl.where(used, w0, 1.0), tl.where(used, w1, 1.0)
    _, rows = lines_of(y0 / w0, y1 / w1, height)
    _, columns = lines_of(x0 / w0, x1 / w1, width)
    tl.store(count_ptr + number, tl.where(used, rows, 0), inside)
    tl.store(count_ptr + all_edges + number, tl.where(used, columns, 0), inside)


@triton.jit
def inverse_depths(points_ptr, faces_ptr, face, inside, x, y, x_there, y_there):
    """1 / w at two places of the screen on the plane of a face."""
    v0, v1, v2 = vertices_of(faces_ptr, face, inside)
    x0, y0, w0 = corner(points_ptr, v0, inside)
    x1, y1, w1 = corner(points_ptr, v1, inside)
    x2, y2, w2 = corner(points_ptr, v2, inside)
    a0, b0, c0, a1, b1, c1, a2, b2, c2, det = edges(x0, y0, w0, x1, y1, w1, x2, y2, w2)
    scale = 1 / tl.where(inside, det, 1.0)
    a, b, c = (a0 + a1 + a2) * scale, (b0 + b1 + b2) * scale, (c0 + c1 + c2) * scale
    return a * x + b * y + c, a * x_there + b * y_there + c


@triton.jit(do_not_specialize=MORE_SIZES)
def judge_kernel(
    points_ptr, faces_ptr, edges_ptr, face_ptr, kind_ptr, item_ptr, end_ptr, count_ptr,
    pair_ptr, verdict_ptr, merit_ptr, slope_ptr,
    lanes, views, edges_a_view, faces, vertices, own_edges, own_faces, height, width,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Pair (axis, view, pixel), verdict, merit and slope of each lane; see ``judge`` in the reference."""
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < lanes
    crossing = lane // 2
    item = tl.load(item_ptr + crossing, inside, other=0)
    index = crossing - (tl.load(end_ptr + item, inside, other=0) - tl.load(count_ptr + item, inside, other=0))
    all_edges = views.to(tl.int64) * edges_a_view
    column = item >= all_edges  # the axis: a pair in a column
    number = tl.where(column, item - all_edges, item)
    view = number // edges_a_view
    at = edges_ptr + (view * own_edges * edges_a_view + number % edges_a_view) * 4
    v0, v1 = tl.load(at, inside, other=0), tl.load(at + 1, inside, other=0)
    points_ptr += view * vertices * 3
    x0, y0, w0 = corner(points_ptr, v0, inside)
    x1, y1, w1 = corner(points_ptr, v1, inside)
    w0, w1 = tl.where(inside, w0, 1.0), tl.where(inside, w1, 1.0)
    x0, y0, x1, y1 = x0 / w0, y0 / w0, x1 / w1, y1 / w1
    u0, s0 = tl.where(column, y0, x0), tl.where(column, x0, y0)
    u1, s1 = tl.where(column, y1, x1), tl.where(column, x1, y1)
    lines, places = tl.where(column, width, height), tl.where(column, height, width)
    start, _ = lines_of(s0, s1, lines)
    line = start + index.to(tl.int32)
    extent = tl.where(inside, s1 - s0, 1.0)
    share = (line.to(tl.float64) + 0.5 - s0) / extent
    u = u0 + share * (u1 - u0) - 0.5
    near_picture = inside & (u > -1) & (u < places.to(tl.float64))
    u = tl.where(near_picture, u, 0.0)
    first = tl.ceil(u).to(tl.int32) - 1 + (lane % 2).to(tl.int32)
    counts = near_picture & (first <= tl.floor(u).to(tl.int32)) & (first >= 0) & (first <= places - 2)
    inverse = (1 - share) / w0 + share / w1
    i, j = tl.where(column, first, line), tl.where(column, line, first)
    pixel = (view * height + i) * width + j
    face_a = tl.load(face_ptr + pixel, counts, other=-1)
    face_b = tl.load(face_ptr + pixel + tl.where(column, width, 1), counts, other=-1)

    kind = tl.load(kind_ptr + number, inside, other=0).to(tl.int32)
    contour, crease = (kind & 1) != 0, (kind & 2) != 0
    side = (kind // 4 - 1).to(tl.float64)
    toward = side * tl.where(column, s1 - s0, s0 - s1)
    away = u - first.to(tl.float64)
    along, across = tl.abs(u1 - u0), tl.abs(s1 - s0)
    steep = (along < across) | ((along == across) & (item < all_edges))

    covered_a, covered_b = face_a >= 0, face_b >= 0
    owner = tl.where(covered_b, 1, 0)
    right_way = toward * (owner.to(tl.float64) - 0.5) >= 0
    outer = counts & contour & (covered_a != covered_b) & right_way

    both = counts & covered_a & covered_b
    faces_ptr += view * own_faces * faces * 3
    here, there = first.to(tl.float64) + 0.5, line.to(tl.float64) + 0.5
    xa, ya = tl.where(column, there, here), tl.where(column, here, there)
    x, y = tl.where(column, there, u + 0.5), tl.where(column, u + 0.5, there)
    one = tl.where(column, 0.0, 1.0).to(tl.float64)
    center_a, beside_a = inverse_depths(points_ptr, faces_ptr, face_a, both, xa, ya, x, y)
    center_b, beside_b = inverse_depths(points_ptr, faces_ptr, face_b, both, xa + one, ya + 1 - one, x, y)
    second = toward > 0  # the owner in front of another surface
    in_front = inverse > tl.where(second, beside_a, beside_b) * (1 + _CLEARANCE)
    inner = both & contour & (toward != 0) & in_front
    nearer = tl.where(second, center_b >= center_a, center_a >= center_b)
    owner = tl.where(inner, tl.where(second, 1, 0), owner)

    chord = center_a + away * (center_b - center_a)
    low = tl.minimum(tl.minimum(chord, beside_a), beside_b)
    high = tl.maximum(tl.maximum(chord, beside_a), beside_b)
    margin = _SLACK * (high - low) + _CLEARANCE * inverse
    color = both & (inner == 0) & crease & steep & (low - margin <= inverse) & (inverse <= high + margin)

    rank = tl.where(outer | (inner & nearer), 0, tl.where(inner, 1, 2))
    owner = tl.where(color, 0, owner)
    merit = tl.where(color, -tl.abs(away - 0.5), tl.where(owner == 0, away, 1 - away))
    verdict = tl.where(outer | inner | color, rank + 4 * owner + tl.where(steep, 8, 0), 255)
    pixels = views.to(tl.int64) * height * width
    tl.store(pair_ptr + lane, pixel + tl.where(column, pixels, 0), inside)
    tl.store(verdict_ptr + lane, verdict.to(tl.uint8), inside)
    tl.store(merit_ptr + lane, merit, inside)
    tl.store(slope_ptr + lane, along / tl.where(inside, across, 1.0), inside)


def find_pairs(points, faces, edges, creases, face, near):
    """See ``nerfkit.kernels.antialias.find_pairs``; faces (M,F,3), edges (M,E,4), creases (M,E), M one or N."""
    views, height, width = face.shape
    points, faces, edges, face = points.contiguous(), faces.contiguous(), edges.contiguous(), face.int().contiguous()
    creases = creases.to(torch.uint8).contiguous()
    count = edges.shape[1]
    nothing = edges.new_zeros(0, 4), points.new_zeros(0, dtype=torch.float64)
    if views * count * face.numel() == 0:
        return nothing
    kinds = torch.empty(views * count, dtype=torch.int8, device=points.device)
    lines = torch.empty(2 * views * count, dtype=torch.int32, device=points.device)
    own_edges, own_faces, own_creases = (int(x.shape[0] > 1) for x in (edges, faces, creases))
    sort_kernel[(triton.cdiv(views * count, EDGES),)](
        points, edges, creases, float(near), kinds, lines,
        views, count, points.shape[1], own_edges, own_creases, height, width,
        BLOCK=EDGES, num_warps=WARPS, **AS_WRITTEN,
    )  # fmt: skip
    ends = torch.cumsum(lines, 0, dtype=torch.int64)
    crossings = int(ends[-1])
    if crossings == 0:
        return nothing
    item = torch.repeat_interleave(lines, output_size=crossings)  # (X,)
    pair = torch.empty(2 * crossings, dtype=torch.int64, device=points.device)
    verdict = torch.empty(2 * crossings, dtype=torch.uint8, device=points.device)
    merit, slope = points.new_empty(2, 2 * crossings, dtype=torch.float64)
    judge_kernel[(triton.cdiv(2 * crossings, EDGES),)](
        points, faces, edges, face, kinds, item, ends, lines, pair, verdict, merit, slope,
        2 * crossings, views, count, faces.shape[1], points.shape[1], own_edges, own_faces, height, width,
        BLOCK=EDGES, num_warps=WARPS, **AS_WRITTEN,
    )  # fmt: skip
    found = (verdict != NOTHING).nonzero()[:, 0]
    found = found[torch.sort(merit[found], descending=True, stable=True)[1]]
    key = 3 * pair[found] + (verdict[found] & 3)
    found = found[torch.sort(key, stable=True)[1]]
    first = torch.ones_like(found, dtype=torch.bool)
    first[1:] = pair[found[1:]] != pair[found[:-1]]
    found = found[first & (verdict[found] >= 8)]

    pixels = face.numel()
    column = pair[found] >= pixels
    a = torch.where(column, pair[found] - pixels, pair[found])
    b = a + torch.where(column, width, 1)
    first_owns = (verdict[found] & 4) == 0
    number = item[found // 2] % (views * count)
    topology = edges.view(-1, 4)[number if own_edges else number % count, :2]
    owner, other = torch.where(first_owns, a, b), torch.where(first_owns, b, a)
    return torch.cat([torch.stack([owner, other], 1), topology], 1), slope[found]


def blend(image, points, pairs, slopes):
    """See ``nerfkit.kernels.antialias.blend``."""
    return Blend.apply(image, points, pairs, slopes.double().contiguous())
