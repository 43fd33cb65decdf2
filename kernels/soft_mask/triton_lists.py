"""Triton: the faces near each tile of pixels, listed a piece of the pictures at a time: ``rasterize.triton_tiles``.

Memory on the way: 14 bytes a face and view and, in a piece, about 40 a pair of a tile and a face; the backward passes
say what they add for each pair. A piece has at most ``MOST`` pairs, 0.7 GB, unless a single tile has more. Where one
piece was all, its lists are kept for the backward pass, 4 bytes a pair and 8 a tile: at most 0.07 GB and 1/32 byte a
pixel. Else nothing of them is kept, and the backward pass finds them again.
"""

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..rasterize.triton_tiles import FACES, TILE, WARPS, Region, in_pieces, store_tiles
from ..segments import Segments

FORWARD_WARPS, BACKWARD_WARPS = 4, 8  # of the programs that walk the lists
MOST = 1 << 24  # pairs, and faces x views, in a piece
SIZES = ["first_view", "faces", "height", "width", "top", "left", "rows", "columns"]


@triton.jit(do_not_specialize=["total", "top", "left", "rows", "columns"])
def count_kernel(
    pixels_ptr, box_ptr, count_ptr, total, top, left, rows, columns, TILE: tl.constexpr, BLOCK: tl.constexpr
):
    """What ``store_tiles`` writes of ``total`` faces: first and last row, first and last column of their pixels."""
    number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = number < total
    i0 = tl.load(pixels_ptr + number * 4, inside, other=0)
    i1 = tl.load(pixels_ptr + number * 4 + 1, inside, other=0)
    j0 = tl.load(pixels_ptr + number * 4 + 2, inside, other=0)
    j1 = tl.load(pixels_ptr + number * 4 + 3, inside, other=0)
    drawn = inside & (i0 <= i1) & (j0 <= j1)
    store_tiles(box_ptr, count_ptr, number, inside, drawn, i0, i1, j0, j1, top, left, rows, columns, TILE)


def over_pieces(
    boxes: Tensor,
    height: int,
    width: int,
    draw: Callable[[Region, Tensor, Tensor], None],
    kept: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Call ``draw(piece, entries, offsets)`` for all pieces, in a fixed order: ``in_pieces``.

    Args:
        boxes: (N,F,4) int32, see ``geometry.pixel_boxes``.
        height, width: of the pictures, in pixels.
        draw: launches a kernel for the tiles of one piece.
        kept: what an earlier call for the same boxes returned.

    Returns:
        The lists, if one piece was all, for a call to come; else two empty tensors.
    """
    views, faces = boxes.shape[:2]
    whole = Region.whole(views, height, width)
    lists = kept or (boxes.new_empty(0), boxes.new_empty(0))

    def count(region: Region) -> tuple[Tensor, Tensor]:
        total = region.sizes[0] * faces
        tiles = boxes.new_empty(total, 3, dtype=torch.int16)
        counts = boxes.new_empty(total)
        if total:
            count_kernel[(triton.cdiv(total, FACES),)](
                boxes[slice(*region.views)], tiles, counts, total, *region.place,
                TILE=TILE, BLOCK=FACES, num_warps=WARPS,
            )  # fmt: skip
        return tiles, counts

    def draw_and_keep(region: Region, entries: Tensor, offsets: Tensor) -> None:
        nonlocal lists
        draw(region, entries, offsets)
        if region == whole:
            lists = entries, offsets

    if whole.tiles:
        if lists[1].numel():
            draw(whole, *lists)
        else:
            in_pieces(whole, faces, MOST, count, draw_and_keep)
    return lists


def by_face(region: Region, faces: int, entries: Tensor, offsets: Tensor) -> Segments:
    """Segments of a piece's pairs by their faces, of which each view has ``faces``, counted over the piece's views."""
    views = region.sizes[0]
    if views > 1:
        first = torch.arange(views, device=entries.device, dtype=torch.int32) * faces
        pairs = offsets[:: region.tiles // views].diff()  # (views,)
        entries = entries + torch.repeat_interleave(first, pairs, output_size=entries.shape[0])
    return Segments.of(entries, views * faces)
