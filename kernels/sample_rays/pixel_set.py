"""Some of the pixels of all photos, a bit each, and how to find the k-th of them (rank and select; Jacobson 1989).

    before[b] = members among the pixels 0 to 512 b - 1
    b = max {b : before[b] <= k},  then by population counts the word of block b, then the bit of that word

Memory: P / 8 bytes of bits and P / 64 of counts, of P pixels. Look-up: log2(P / 512) reads of 8 bytes, then one line of
64 bytes; 13 population counts and no FLOPs.
"""

from functools import cached_property

import torch
from torch import Tensor

BLOCK, WORD = 512, 64  # pixels; a block's words are one cache line
WORDS = BLOCK // WORD


class PixelSet:
    """A set of pixel numbers below ``total``, empty at first.

    Args:
        total: P, the pixels of all photos.
        device: where the set lives.

    Attributes:
        bits: (8 B,) int64, B = ceil(P / 512): bit p % 64 of number p // 64 says whether pixel p is a member.
    """

    def __init__(self, total: int, device: torch.device | str = "cpu") -> None:
        self.total, blocks = total, -(-total // BLOCK)
        self.bits = torch.zeros(blocks * WORDS, dtype=torch.int64, device=device)
        self._counts = torch.zeros(blocks, dtype=torch.int64, device=device)

    def add(self, first: int, member: Tensor) -> None:
        """Adds those of the pixels from ``first`` on that are ``member``, (n,) bool; all before the first draw.

        Raises:
            ValueError: there are no such pixels, or they have been drawn from.
        """
        if first < 0 or first + len(member) > self.total or "before" in self.__dict__:
            last = first + len(member) - 1
            raise ValueError(f"member: cannot add pixels {first} to {last} to a set of {self.total}, or to a used one")
        block, lead = divmod(first, BLOCK)
        padded = torch.nn.functional.pad(member, (lead, -(lead + len(member)) % BLOCK))
        shifts = torch.arange(WORD, device=member.device)
        words = (padded.view(-1, WORD).long() << shifts).sum(-1)
        new = words & ~self.bits[block * WORDS : block * WORDS + len(words)]
        self.bits[block * WORDS : block * WORDS + len(words)] |= new
        fresh = (new[:, None] >> shifts & 1).view(-1, BLOCK).sum(-1)
        self._counts[block : block + len(fresh)] += fresh

    @cached_property
    def before(self) -> Tensor:
        """(B+1,) int64, members before each block; the last is the number of all."""
        return torch.cat([self._counts.new_zeros(1), self._counts.cumsum(0)])

    @cached_property
    def size(self) -> int:
        """How many members there are. On a GPU, waits for it once."""
        return int(self.before[-1])
