"""nvdiffrast's rule in Triton: a lane a pixel looks at its right and lower neighbor; what counts is compacted in
order. The blend: ``triton_blend.py``. The number of pairs is read back, which waits for the device."""

import torch
import triton
import triton.language as tl

from ..rasterize.triton_geometry import AS_WRITTEN, corner, cross, vertices_of
from .pixels_reference import REACH
from .triton_blend import Blend

PIXELS = 128  # a program
WARPS = 4
_REACH = tl.constexpr(REACH)


@triton.jit
def negative(x):
    return x.to(tl.int64, bitcast=True) < 0


@triton.jit
def along_and_across(x, y, down):
    return tl.where(down == 1, y, x), tl.where(down == 1, x, y)


@triton.jit
def crossed(x1, y1, x2, y2, direction):
    """Where a side crosses the pair's line, minus infinity where it does not, and whether it is steep."""
    crosses = negative(y1) != negative(y2)
    extent = y2 - y1
    at = direction * (x1 * extent - y1 * (x2 - x1)) / tl.where(crosses, extent, 1.0)
    return tl.where(crosses, at, float("-inf")), tl.abs(extent) >= tl.abs(x2 - x1)


@triton.jit
def silhouette(points_ptr, x0, y0, w0, x1, y1, w1, x2, y2, w2, beyond, inside):
    """Whether the vertex beyond the side from 1 to 2 lies on the same side of it as vertex 0."""
    has = inside & (beyond >= 0)
    x, y, w = corner(points_ptr, beyond, has)
    nx, ny, nw = cross(x1, y1, w1, x2, y2, w2)
    return (beyond < 0) | (negative(nx * x + ny * y + nw * w) == negative(nx * x0 + ny * y0 + nw * w0))


@triton.jit(do_not_specialize=["views", "faces", "vertices", "own_faces", "own_opposite", "height", "width"])
def mark_kernel(
    points_ptr, faces_ptr, opposite_ptr, face_ptr, depth_ptr, near, code_ptr,
    views, faces, vertices, own_faces, own_opposite, height, width,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """``code`` (2,N,H,W) int8 of a pixel and its right or lower neighbor: 0, or 1 + corner if the pixel's own triangle
    blends them, 4 + corner if the neighbor's does."""
    pixel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    down = tl.program_id(1)
    pixels = views.to(tl.int64) * height * width
    inside = pixel < pixels
    view = pixel // (height.to(tl.int64) * width)
    i, j = pixel // width % height, pixel % width
    pair = inside & (i + down < height) & (j + 1 - down < width)
    there = pixel + tl.where(down == 1, width, 1)
    face_a, face_b = tl.load(face_ptr + pixel, pair, other=-1), tl.load(face_ptr + there, pair, other=-1)
    depth_a, depth_b = tl.load(depth_ptr + pixel, pair, other=0.0), tl.load(depth_ptr + there, pair, other=0.0)
    own_first = tl.where((face_a >= 0) & (face_b >= 0), depth_a < depth_b, face_a >= 0)
    pair = pair & (face_a != face_b)
    f = tl.where(own_first, face_a, face_b).to(tl.int64)
    v0, v1, v2 = vertices_of(faces_ptr, view * own_faces * faces + f, pair)
    points_ptr += view * vertices * 3
    x0, y0, w0 = corner(points_ptr, v0, pair)
    x1, y1, w1 = corner(points_ptr, v1, pair)
    x2, y2, w2 = corner(points_ptr, v2, pair)
    size = tl.abs(x0 + y0 + w0) + tl.abs(x1 + y1 + w1) + tl.abs(x2 + y2 + w2)
    pair = pair & (w0 >= near) & (w1 >= near) & (w2 >= near) & (size < float("inf"))
    s0, s1, s2 = tl.where(pair, w0, 1.0), tl.where(pair, w1, 1.0), tl.where(pair, w2, 1.0)
    x = j.to(tl.float64) + 0.5 + tl.where(own_first, 0, 1 - down)
    y = i.to(tl.float64) + 0.5 + tl.where(own_first, 0, down)
    a0, b0 = along_and_across(x0 / s0 - x, y0 / s0 - y, down)
    a1, b1 = along_and_across(x1 / s1 - x, y1 / s1 - y, down)
    a2, b2 = along_and_across(x2 / s2 - x, y2 / s2 - y, down)
    direction = tl.where(own_first, 1.0, -1.0).to(tl.float64)
    best, steep = crossed(a1, b1, a2, b2, direction)  # the side that faces corner 0
    side = tl.zeros((BLOCK,), tl.int32)
    at, steep_1 = crossed(a2, b2, a0, b0, direction)
    further = at >= best  # of two that meet there the later one
    best, steep, side = tl.where(further, at, best), tl.where(further, steep_1, steep), tl.where(further, 1, side)
    at, steep_2 = crossed(a0, b0, a1, b1, direction)
    further = at >= best  # of two that meet there the later one
    best, steep, side = tl.where(further, at, best), tl.where(further, steep_2, steep), tl.where(further, 2, side)
    counts = pair & steep & (best > -_REACH) & (best < 1 + _REACH)
    beyond = tl.load(opposite_ptr + (view * own_opposite * faces + f) * 3 + side, counts, other=-1)
    first = silhouette(points_ptr, x0, y0, w0, x1, y1, w1, x2, y2, w2, beyond, counts & (side == 0))
    second = silhouette(points_ptr, x1, y1, w1, x2, y2, w2, x0, y0, w0, beyond, counts & (side == 1))
    third = silhouette(points_ptr, x2, y2, w2, x0, y0, w0, x1, y1, w1, beyond, counts & (side == 2))
    counts = counts & tl.where(side == 0, first, tl.where(side == 1, second, third))
    code = tl.where(counts, side + tl.where(own_first, 1, 4), 0)
    tl.store(code_ptr + down * pixels + pixel, code.to(tl.int8), inside)


def find_pairs(points, faces, opposite, face, depth, near):
    """See ``find_pixel_pairs``; faces and opposite are (M,F,3), M one or N."""
    views, height, width = face.shape
    if face.numel() == 0:
        return faces.new_zeros(0, 4)
    points, faces, opposite, depth = (x.contiguous() for x in (points, faces, opposite, depth))
    face = face.int().contiguous()
    codes = torch.empty(2 * face.numel(), dtype=torch.int8, device=points.device)
    own_faces, own_opposite = (int(x.shape[0] > 1) for x in (faces, opposite))
    mark_kernel[(triton.cdiv(face.numel(), PIXELS), 2)](
        points, faces, opposite, face, depth, float(near), codes,
        views, faces.shape[1], points.shape[1], own_faces, own_opposite, height, width,
        BLOCK=PIXELS, num_warps=WARPS, **AS_WRITTEN,
    )  # fmt: skip
    found = codes.nonzero()[:, 0]
    code, first = codes[found].long(), found % face.numel()
    second = first + torch.where(found < face.numel(), 1, width)
    own_first = code < 4
    own, other = torch.where(own_first, first, second), torch.where(own_first, second, first)
    mesh = own // (height * width) if own_faces else torch.zeros_like(own)
    corners = faces[mesh, face.view(-1)[own].long()]  # (P, 3)
    ends = [corners.gather(1, ((code - 1 + k) % 3)[:, None])[:, 0] for k in (1, 2)]
    return torch.stack([own, other, *ends], 1)


def blend(image, points, pairs):
    """See ``blend_pixels``."""
    return Blend.apply(image, points, pairs, None)
