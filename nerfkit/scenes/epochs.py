"""Views, or other items, in random order: each once, then each again."""

from collections.abc import Sequence

import torch


class Epochs:
    """Draws from ``items`` without repetition, in a new random order each time round.

    Args:
        items: numbers of views.
        generator: decides the orders, one permutation a round, and may serve others as well; a seed makes a new one.
    """

    def __init__(self, items: Sequence[int], generator: torch.Generator | int) -> None:
        self.items = list(items)
        self.generator = torch.Generator().manual_seed(generator) if isinstance(generator, int) else generator
        self._queue: list[int] = []

    def next(self, count: int) -> list[int]:
        """The next ``count`` items; fewer where there are not so many in all."""
        drawn: list[int] = []
        while len(drawn) < min(count, len(self.items)):
            if not self._queue:
                order = torch.randperm(len(self.items), generator=self.generator)
                self._queue = [self.items[k] for k in order.tolist()]
            drawn.append(self._queue.pop())
        return drawn
