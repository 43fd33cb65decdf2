"""The oracle of the lazy Adam: plain PyTorch, any float dtype."""

import math

import torch
from torch import Tensor


def lazy_adam(
    parameter: Tensor, gradient: Tensor, mean: Tensor, square: Tensor,
    step: int, rate: float, beta1: float, beta2: float, eps: float, found: Tensor | None,
) -> None:  # fmt: skip
    """See the package for the formula."""
    m = mean + (1 - beta1) * (gradient - mean)
    v = beta2 * square + (1 - beta2) * gradient.square()
    moved = parameter - rate / (1 - beta1**step) * m / (v.sqrt() / math.sqrt(1 - beta2**step) + eps)
    has = gradient != 0 if found is None else (gradient != 0) & (found == 0)
    for old, new in ((parameter, moved), (mean, m), (square, v)):
        old.copy_(torch.where(has, new, old))
