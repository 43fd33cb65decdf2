"""Philox4x32-10 in PyTorch, on int64 tensors that hold 32-bit words."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from . import Draw

MASK = 0xFFFFFFFF


def philox(seed: int, counter: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four words (int64, in [0, 2^32)) of the block at ``counter`` (int64, broadcastable) under ``seed``."""
    c0, c1, c2, c3 = counter
    low, high = seed & MASK, seed >> 32
    for _ in range(10):
        # A product of two 32-bit words may pass 2^63: its 64 bits are right all the same, only read as negative.
        left, right = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (right >> 32) & MASK ^ c1 ^ low, right & MASK, (left >> 32) & MASK ^ c3 ^ high, left & MASK
        low, high = (low + 0x9E3779B9) & MASK, (high + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def words(
    draw: "Draw", stream: int, element: Tensor, sample: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four words at (element, sample, step, stream); ``element`` and ``sample`` are int64 and broadcastable."""
    sample = torch.zeros_like(element) if sample is None else sample
    element, sample = torch.broadcast_tensors(element, sample)
    step, channel = torch.full_like(element, draw.step), torch.full_like(element, stream)
    return philox(draw.seed, (element, sample, step, channel))


def to_uniform(word: Tensor) -> Tensor:
    """float32 in [0, 1): the word's upper 24 bits, exactly."""
    return (word >> 8).to(torch.float32) * 2.0**-24


def uniform(
    draw: "Draw", stream: int, element: Tensor, sample: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four words at (element, sample, step, stream) as float32 in [0, 1)."""
    a, b, c, d = words(draw, stream, element, sample)
    return to_uniform(a), to_uniform(b), to_uniform(c), to_uniform(d)


def fill(draw: "Draw", stream: int, out: Tensor) -> Tensor:
    """``out`` (count, per), filled with uniform numbers."""
    elements = draw.first + torch.arange(len(out), device=out.device)
    return out.copy_(torch.stack(uniform(draw, stream, elements)[: out.shape[1]], -1))
