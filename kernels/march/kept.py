"""What marching derives from a grid is kept until the grid changes: a training step costs little more than it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_kept: WeakIdKeyDictionary = WeakIdKeyDictionary()  # grid -> its version, what was derived by what


def kept(grid: Tensor, derive: Callable[[Tensor], Any]) -> Any:
    """``derive(grid)``, or what it returned when the grid was as it is now."""
    if grid.is_inference():  # keeps no version
        return derive(grid)
    state = grid._version, derive
    known = _kept.get(grid)
    if known is None or known[0] != state:
        known = _kept[grid] = state, derive(grid)
    return known[1]
