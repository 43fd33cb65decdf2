"""DIB-R's mask in Triton: a program for each tile walks the faces near it, in the order of their numbers.

Memory on the way besides the lists (``triton_lists``): backward, 48 bytes a pair for its row and some 35 while rows are
sorted by face, 1.5 GB in a full piece; some 140 a face and view, the sums of all pieces and of one.
"""

import torch
import triton
import triton.language as tl

from ..rasterize.triton_tiles import TILE
from .triton_geometry import in_box, nearest_edge, tile_pixels
from .triton_lists import BACKWARD_WARPS, FORWARD_WARPS, SIZES, by_face, over_pieces


@triton.jit(do_not_specialize=[*SIZES, "knum"])
def dibr_forward_kernel(
    corners_ptr, face_ptr, entries_ptr, offsets_ptr, settings_ptr, mask_ptr, missed_ptr, last_ptr,
    first_view, faces, height, width, top, left, rows, columns, knum, TILE: tl.constexpr,
):  # fmt: skip
    """Also writes what the faces of a pixel leave (``missed``) and the place of the last one in the tile's list."""
    pixel, exists, n, x, y = tile_pixels(first_view, height, width, top, left, rows, columns, TILE)
    corners_ptr += n * faces * 9
    sigmainv, boxlen = tl.load(settings_ptr), tl.load(settings_ptr + 1)
    empty = exists & (tl.load(face_ptr + pixel, exists, other=0) < 0)
    begin = tl.load(offsets_ptr + tl.program_id(0))
    count = (tl.load(offsets_ptr + tl.program_id(0) + 1) - begin).to(tl.int32)
    count = tl.where(tl.max(empty.to(tl.int32), 0) > 0, count, 0)
    missed = tl.full((TILE * TILE,), 1.0, tl.float64)
    taken = tl.zeros((TILE * TILE,), tl.int32)
    last = tl.full((TILE * TILE,), -1, tl.int32)
    for k in range(0, count):
        corner = corners_ptr + tl.load(entries_ptr + begin + k).to(tl.int64) * 9
        x0, y0, x1, y1 = tl.load(corner), tl.load(corner + 1), tl.load(corner + 3), tl.load(corner + 4)
        x2, y2 = tl.load(corner + 6), tl.load(corner + 7)
        counts = empty & (taken < knum) & in_box(x, y, x0, y0, x1, y1, x2, y2, boxlen)
        squared, _, _, _, _, _ = nearest_edge(x, y, x0, y0, x1, y1, x2, y2)
        missed = tl.where(counts, missed * (1 - tl.exp(-sigmainv * squared)), missed)
        taken += counts.to(tl.int32)
        last = tl.where(counts, k, last)
    tl.store(mask_ptr + pixel, tl.where(empty, 1 - missed, 1.0).to(tl.float32), exists)
    tl.store(missed_ptr + pixel, missed, exists)
    tl.store(last_ptr + pixel, last, exists)


@triton.jit(do_not_specialize=SIZES)
def dibr_backward_kernel(
    corners_ptr, face_ptr, entries_ptr, offsets_ptr, settings_ptr, missed_ptr, last_ptr, gradient_ptr, parts_ptr,
    first_view, faces, height, width, top, left, rows, columns, TILE: tl.constexpr,
):  # fmt: skip
    """Writes the sums over the tile's pixels for each face of its list: (entries, 6) x and y of the three corners."""
    pixel, exists, n, x, y = tile_pixels(first_view, height, width, top, left, rows, columns, TILE)
    corners_ptr += n * faces * 9
    sigmainv, boxlen = tl.load(settings_ptr), tl.load(settings_ptr + 1)
    empty = exists & (tl.load(face_ptr + pixel, exists, other=0) < 0)
    last = tl.where(empty, tl.load(last_ptr + pixel, exists, other=-1), -1)
    missed = tl.load(missed_ptr + pixel, exists, other=0.0)
    gradient = tl.load(gradient_ptr + pixel, exists, other=0.0).to(tl.float64)
    begin = tl.load(offsets_ptr + tl.program_id(0))
    for k in range(0, tl.max(last, 0) + 1):  # the faces after the last one keep the zeros that parts comes with
        corner = corners_ptr + tl.load(entries_ptr + begin + k).to(tl.int64) * 9
        x0, y0, x1, y1 = tl.load(corner), tl.load(corner + 1), tl.load(corner + 3), tl.load(corner + 4)
        x2, y2 = tl.load(corner + 6), tl.load(corner + 7)
        counts = (k <= last) & in_box(x, y, x0, y0, x1, y1, x2, y2, boxlen)
        squared, dx, dy, s0, s1, s2 = nearest_edge(x, y, x0, y0, x1, y1, x2, y2)
        here = tl.exp(-sigmainv * squared)
        rest = 1 - here
        counts = counts & (rest > 0)  # on an edge: the others' factors are multiplied by 0, its own is flat there
        others = missed / tl.where(counts, rest, 1.0)
        by_step = tl.where(counts, -2 * sigmainv * gradient * others * here, 0.0)
        part = parts_ptr + 6 * (begin + k)
        tl.store(part, tl.sum(by_step * dx * s0, 0))
        tl.store(part + 1, tl.sum(by_step * dy * s0, 0))
        tl.store(part + 2, tl.sum(by_step * dx * s1, 0))
        tl.store(part + 3, tl.sum(by_step * dy * s1, 0))
        tl.store(part + 4, tl.sum(by_step * dx * s2, 0))
        tl.store(part + 5, tl.sum(by_step * dy * s2, 0))


def dibr_forward(corners, boxes, face, sigmainv, boxlen, knum):
    """The mask (N,H,W) and what ``dibr_backward`` needs: what the faces leave, the last face's place, the lists."""
    count, (height, width) = boxes.shape[1], face.shape[1:]
    mask, missed = corners.new_empty(face.shape, dtype=torch.float32), corners.new_empty(face.shape)
    last = torch.empty_like(face)
    corners = corners.contiguous()
    settings = torch.tensor([sigmainv, boxlen], dtype=torch.float64, device=corners.device)

    def draw(region, *lists):
        dibr_forward_kernel[(region.tiles,)](
            corners, face, *lists, settings, mask, missed, last,
            region.views[0], count, height, width, *region.place, knum, TILE=TILE, num_warps=FORWARD_WARPS,
        )  # fmt: skip

    return mask, missed, last, *over_pieces(boxes, height, width, draw)


def dibr_backward(corners, boxes, face, missed, last, entries, offsets, gradient, sigmainv, boxlen, knum):
    """Gradient (N,F,3,3) of the corners in normalized device coordinates."""
    count, (height, width) = boxes.shape[1], face.shape[1:]
    corners = corners.contiguous()
    by_corners = torch.zeros_like(corners)
    settings = torch.tensor([sigmainv, boxlen], dtype=torch.float64, device=corners.device)

    def draw(region, *lists):
        parts = corners.new_zeros(lists[0].shape[0], 3, 2)
        dibr_backward_kernel[(region.tiles,)](
            corners, face, *lists, settings, missed, last, gradient, parts,
            region.views[0], count, height, width, *region.place, TILE=TILE, num_warps=BACKWARD_WARPS,
        )  # fmt: skip
        sums = by_face(region, count, *lists).sum(parts)
        by_corners[slice(*region.views), ..., :2] += sums.view(region.sizes[0], count, 3, 2)

    over_pieces(boxes, height, width, draw, (entries, offsets))
    return by_corners
