"""Lists of the faces that reach into each tile of pixels, a piece of the pictures at a time.

Which faces reach where is for the caller to say, in a kernel of its own that ends with ``store_tiles``: a lane a face
writes its tiles and their number. Then a prefix sum; ``emit_kernel``, a lane a pair, writes every (tile, face); a
stable sort by tile. There is no capacity that could overflow, and a tile's faces stay in the order of their numbers.

Memory: 14 bytes for each face and view, about 40 for each pair of a tile and a face while they are sorted, 4
thereafter, 8 a tile. ``in_pieces`` bounds the pairs, and with them the memory, by halving a region until they fit: some
views, then some rows of tiles, then some columns. The number of pairs is read back once for each region that it tries,
which waits for the device.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 16  # pixels a side
FACES = 128  # faces, or pairs, a program counts or emits
WARPS = 4


class Region(NamedTuple):
    """Tiles in ``rows`` x ``columns`` of ``views``, each a pair of the first and what is past the last."""

    views: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    @classmethod
    def whole(cls, views: int, height: int, width: int) -> "Region":
        """All of ``views`` pictures of ``height`` x ``width`` pixels."""
        return cls((0, views), (0, triton.cdiv(height, TILE)), (0, triton.cdiv(width, TILE)))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of views, rows of tiles, columns of tiles."""
        views, rows, columns = (past - first for first, past in self)
        return views, rows, columns

    @property
    def tiles(self) -> int:
        views, rows, columns = self.sizes
        return views * rows * columns

    @property
    def place(self) -> tuple[int, int, int, int]:
        """What kernels call ``top``, ``left``, ``rows``, ``columns``: tiles before the region, tiles in it."""
        return self.rows[0], self.columns[0], *self.sizes[1:]

    def halves(self) -> tuple["Region", "Region"]:
        """Two regions, the first before the second: half of the views, or else of the rows, or else of the columns."""
        axis = next(k for k in range(3) if self.sizes[k] > 1)
        first, past = self[axis]
        middle = (first + past) // 2
        lower, upper = ((*self[:axis], half, *self[axis + 1 :]) for half in ((first, middle), (middle, past)))
        return Region(*lower), Region(*upper)


@triton.jit
def store_tiles(
    box_ptr, count_ptr, number, inside, drawn, i0, i1, j0, j1, top, left, rows, columns, TILE: tl.constexpr
):
    """Of faces with a box of pixels: first row and column of its tiles, number of columns (int16), number of tiles
    (int32); none where it is not ``drawn``.

    Tiles outside ``rows`` x ``columns`` from (``top``, ``left``) do not count.
    """
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


def in_pieces(
    region: Region,
    faces: int,
    most: int,
    count: Callable[[Region], tuple[Tensor, Tensor]],
    draw: Callable[[Region, Tensor, Tensor], None],
) -> None:
    """Call ``draw(piece, faces, offsets)`` for pieces that make up ``region``, in a fixed order.

    A piece has at most ``most`` pairs, unless it is a single tile, and at most ``most`` faces x views, unless it is of
    one view. ``faces`` are its tiles' lists, face numbers (pairs,) int32 of a view, one list behind the other, and
    ``offsets`` (tiles+1,) int64 where each begins. ``count(piece)`` gives what ``store_tiles`` writes.
    """
    views, rows, columns = region.sizes
    lists = None
    if views == 1 or views * max(faces, rows * columns) <= most:
        lists = _lists(*count(region), region, faces, most)
    if lists is not None:
        draw(region, *lists)
        return
    for half in region.halves():
        in_pieces(half, faces, most, count, draw)


def _lists(boxes: Tensor, counts: Tensor, region: Region, faces: int, most: int) -> tuple[Tensor, Tensor] | None:
    """Every tile's faces, one list behind the other, and where each begins; None if they are more than ``most``."""
    pairs = int(counts.sum(dtype=torch.int64))
    if pairs > most and region.tiles > 1:
        return None
    _, rows, columns = region.sizes
    tile, face = counts.new_empty(pairs), counts.new_empty(pairs)
    if pairs:
        total = counts.shape[0]
        ends = counts.cumsum(0, dtype=torch.int32)
        emit_kernel[(triton.cdiv(pairs, FACES),)](
            ends, boxes, tile, face, pairs, faces, total, rows, columns, total.bit_length(),
            BLOCK=FACES, num_warps=WARPS,
        )  # fmt: skip
        tile, order = tile.sort(stable=True)
        face = face[order]
    offsets = torch.searchsorted(tile, torch.arange(region.tiles + 1, device=tile.device, dtype=torch.int32))
    return face, offsets
