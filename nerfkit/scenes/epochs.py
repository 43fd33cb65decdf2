"""Views, or other items, in random order: each once, then each again."""

from collections.abc import Callable, Sequence

import torch

from nerfkit.scenes.scene import Scene


class Epochs:
    """Draws from ``items`` without repetition, in a new random order each time round.

    Args:
        items: numbers of views.
        generator: decides the orders, one permutation a round, and may serve others as well; a seed makes a new one.
        alike: items are drawn together only where this is equal, such as views whose pictures are of one size.

    Attributes:
        queue: what is left of this round; with the generator's state, all that the next draw depends on.
        last: what was drawn last.
    """

    def __init__(
        self, items: Sequence[int], generator: torch.Generator | int, alike: Callable[[int], object] = lambda item: None
    ) -> None:
        self.items = list(items)
        self.generator = torch.Generator().manual_seed(generator) if isinstance(generator, int) else generator
        self.alike = alike
        self.queue: list[int] = []
        self.last: list[int] = []

    def next(self, count: int) -> list[int]:
        """The next ``count`` items; fewer where there are not so many, or not so many alike."""
        drawn: list[int] = []
        while len(drawn) < min(count, len(self.items)):
            if not self.queue:
                if drawn and any(self.alike(item) != self.alike(drawn[0]) for item in self.items):
                    break  # the next round's first may be unlike
                order = torch.randperm(len(self.items), generator=self.generator)
                self.queue = [self.items[k] for k in order.tolist()]
            fitting = (k for k in range(len(self.queue) - 1, -1, -1) if self._fits(self.queue[k], drawn))
            chosen = next(fitting, None)
            if chosen is None:
                break
            drawn.append(self.queue.pop(chosen))
        self.last = drawn
        return drawn

    def _fits(self, item: int, drawn: list[int]) -> bool:
        return not drawn or self.alike(item) == self.alike(drawn[0])


def training_views(scene: Scene, generator: torch.Generator | int) -> Epochs:
    """A scene's training views in random order; those of one draw have pictures of one size, as a rasterizer asks."""
    return Epochs(scene.train, generator, alike=lambda view: scene.cameras.sizes[view])
