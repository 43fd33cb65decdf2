"""Deterministic sums of rows by key, in Triton: the transpose of a gather, without atomics.

    result[s] = sum of values[i] over all i with keys[i] = s

Rows are brought into a stable order by key, so that each segment's rows lie one behind the other, in the order of their
numbers. A lane a segment then adds up its rows in that order; a segment longer than ``CHUNK`` rows is cut into chunks,
each summed in a fixed tree by a program of its own, and the chunks' sums are added in a fixed tree as well. Sums are
float64 inside whatever the dtype, and every run gives the same bits.

Used from the Triton backends only: on CPU tensors it needs Triton's interpreter.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

CHUNK = 1024  # rows
LANES = 128  # elements of a program's tile: segments or rows, times channels
WIDTH = 32  # most channels a program sums; more are further programs
WARPS = 4


@triton.jit
def short_kernel(
    values_ptr, order_ptr, offsets_ptr, result_ptr, size, channels,
    CHUNK: tl.constexpr, SEGMENTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Sums the segments of at most ``CHUNK`` rows, a lane each."""
    segment = tl.program_id(0).to(tl.int64) * SEGMENTS + tl.arange(0, SEGMENTS)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    begin = tl.load(offsets_ptr + segment, segment < size, other=0)
    end = tl.load(offsets_ptr + segment + 1, segment < size, other=0)
    short = (segment < size) & (end - begin <= CHUNK)
    length = tl.where(short, end - begin, 0).to(tl.int32)
    total = tl.zeros((SEGMENTS, WIDTH), tl.float64)
    for k in range(0, tl.max(length, 0)):
        here = k < length
        row = tl.load(order_ptr + begin + k, here, other=0)
        mask = here[:, None] & (channel < channels)[None, :]
        total += tl.load(values_ptr + row[:, None] * channels + channel[None, :], mask, other=0.0).to(tl.float64)
    mask = short[:, None] & (channel < channels)[None, :]
    tl.store(result_ptr + segment[:, None] * channels + channel[None, :], total, mask)


@triton.jit
def chunk_kernel(
    values_ptr, order_ptr, offsets_ptr, chunk_segment_ptr, chunk_end_ptr, partial_ptr, size, channels,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Sums one chunk of a long segment into ``partial`` (chunks, channels) float64."""
    chunk = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    segment = tl.load(chunk_segment_ptr + chunk)
    if segment < size:
        begin = tl.load(offsets_ptr + segment)
        end = tl.load(offsets_ptr + segment + 1)
        chunks = (end - begin + CHUNK - 1) // CHUNK
        begin += (chunk - (tl.load(chunk_end_ptr + segment) - chunks)) * CHUNK
        total = tl.zeros((ROWS, WIDTH), tl.float64)
        for first in range(0, CHUNK, ROWS):
            i = begin + first + tl.arange(0, ROWS)
            row = tl.load(order_ptr + i, i < end, other=0)
            mask = (i < end)[:, None] & (channel < channels)[None, :]
            total += tl.load(values_ptr + row[:, None] * channels + channel[None, :], mask, other=0.0).to(tl.float64)
        tl.store(partial_ptr + chunk * channels + channel, tl.sum(total, 0), channel < channels)


@triton.jit
def long_kernel(
    partial_ptr, chunk_segment_ptr, chunk_end_ptr, offsets_ptr, result_ptr, size, channels,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """The program of a long segment's first chunk adds up that segment's chunks."""
    chunk = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    segment = tl.load(chunk_segment_ptr + chunk)
    if segment < size:
        length = tl.load(offsets_ptr + segment + 1) - tl.load(offsets_ptr + segment)
        chunks = ((length + CHUNK - 1) // CHUNK).to(tl.int32)
        if tl.load(chunk_end_ptr + segment) - chunks == chunk:
            total = tl.zeros((ROWS, WIDTH), tl.float64)
            for first in range(0, chunks, ROWS):
                k = first + tl.arange(0, ROWS)
                mask = (k < chunks)[:, None] & (channel < channels)[None, :]
                total += tl.load(partial_ptr + (chunk + k)[:, None] * channels + channel[None, :], mask, other=0.0)
            tl.store(result_ptr + segment * channels + channel, tl.sum(total, 0), channel < channels)


@dataclass(frozen=True)
class Segments:
    """Rows in order of their keys: build it once with ``of``, then ``sum`` any values that have these keys.

    Attributes:
        order: (P,) int64, the rows' numbers, sorted by key; rows of one key keep their order.
        offsets: (size+1,) int64: the rows of key s are ``order[offsets[s] : offsets[s+1]]``.
        chunk_segment: (chunks,) int64, the long segment that a chunk belongs to; ``size`` where it belongs to none.
        chunk_end: (size,) int64, the number of chunks up to the end of each segment.
    """

    order: Tensor
    offsets: Tensor
    chunk_segment: Tensor
    chunk_end: Tensor

    @classmethod
    def of(cls, keys: Tensor, size: int) -> "Segments":
        """Segments of ``keys`` (P,); a row whose key lies outside [0, size) belongs to none and is left out.

        Keys are int64, or int32, which is sorted in half the time. Nothing is read back from the device. Memory: 8
        bytes for each row and 16 for each key; some 24 more for each row while it is sorted.
        """
        if keys.ndim != 1 or keys.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"keys: expected int32 or int64 of shape (P,), got {keys.dtype} {tuple(keys.shape)}")
        ordered, order = torch.sort(keys, stable=True)
        every = torch.arange(size + 1, device=keys.device, dtype=keys.dtype)
        offsets = torch.searchsorted(ordered, every)  # (size + 1,)
        # A segment of more than CHUNK rows has less than 2 chunks for each CHUNK rows, so their number is bounded.
        bound = 2 * (keys.shape[0] // CHUNK) if keys.shape[0] > CHUNK else 0
        chunks = (offsets.diff() + (CHUNK - 1)) // CHUNK
        chunk_end = torch.where(chunks > 1, chunks, 0).cumsum(0)  # (size,)
        chunk_segment = torch.searchsorted(chunk_end, torch.arange(bound, device=keys.device), right=True)  # (bound,)
        return cls(order, offsets, chunk_segment, chunk_end)

    @property
    def size(self) -> int:
        """Number of keys."""
        return self.offsets.shape[0] - 1

    def sum(self, values: Tensor) -> Tensor:
        """Sums (size, ...) of the rows of ``values`` (P, ...), float32 or float64, by key; 0 where a key has none."""
        if values.shape[:1] != self.order.shape or values.dtype not in (torch.float32, torch.float64):
            expected = f"float32 or float64 of shape ({self.order.shape[0]}, ...)"
            raise ValueError(f"values: expected {expected}, got {values.dtype} {tuple(values.shape)}")
        result = values.new_empty(self.size, *values.shape[1:])
        if result.numel() == 0 or values.numel() == 0:
            return result.zero_()
        channels = result[0].numel()
        width = min(triton.next_power_of_2(channels), WIDTH)
        rows, blocks = LANES // width, triton.cdiv(channels, width)
        values, tile = values.contiguous(), {"CHUNK": CHUNK, "WIDTH": width, "num_warps": WARPS}
        short_kernel[(triton.cdiv(self.size, rows), blocks)](
            values, self.order, self.offsets, result, self.size, channels, SEGMENTS=rows, **tile
        )
        chunks = self.chunk_segment.shape[0]
        if chunks:
            partial = values.new_empty(chunks, channels, dtype=torch.float64)
            which = (self.chunk_segment, self.chunk_end)
            chunk_kernel[(chunks, blocks)](
                values, self.order, self.offsets, *which, partial, self.size, channels, ROWS=rows, **tile
            )
            long_kernel[(chunks, blocks)](partial, *which, self.offsets, result, self.size, channels, ROWS=rows, **tile)
        return result


def segment_sum(values: Tensor, keys: Tensor, size: int) -> Tensor:
    """Sums (size, ...) of the rows of ``values`` (P, ...) by ``keys`` (P,); see ``Segments`` for more sums by one key.

    Keys outside [0, size) are left out. The dtype is that of ``values``, float32 or float64; the sum is float64 inside.

    Raises:
        ValueError: a shape or dtype is wrong.
    """
    return Segments.of(keys, size).sum(values)
