"""What ties the texels of a texture to their neighbors: a weighted total variation with Huber's corner.

    value = 1/C  sum over pairs (i, j) and channels of  w_ij h(t_i - t_j)
    h(d) = d^2 / (2 D)  to |d| = D,   |d| - D / 2  beyond

Pairs are the 8 neighbors of each texel, each pair once. The gradient pulls texel i by a sum over its neighbors:

    dt_i = 1/C  sum over j of  w_ij clip((t_i - t_j) / D, -1, 1)

After Rudin, Osher and Fatemi, "Nonlinear total variation based noise removal algorithms", 1992.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..backend import backend_for, implementation
from ..checks import FLOATS, expect

PAIRS = ((1, 0), (0, 1), (1, 1), (1, -1))
"""Rows and columns from the first texel of a pair to the second, for each of the four directions."""


def texel_ties(texture: Tensor, weights: Tensor, corner: float) -> Tensor:
    """The value, (); the formula heads this module. Results do not depend on the number of threads.

    Args:
        texture: (A,B,C). Differentiable.
        weights: (4,A,B), w of the pair of each texel with its neighbor in each of the directions of ``PAIRS``. Those of
            texels without such a neighbor do not count.
        corner: D, positive.

    Raises:
        ValueError: a shape, dtype or device does not fit, or ``corner`` is not positive.
    """
    expect("texture", texture, ("A", "B", "C"), dtype=FLOATS)
    expect("weights", weights, (4, *texture.shape[:2]), like=texture)
    if not corner > 0:
        raise ValueError(f"corner: expected a positive number, got {corner}")
    if not texture.numel() or backend_for(texture) == "reference":
        from .reference import texel_ties as reference

        return reference(texture, weights, corner)
    with implementation(__name__, texture, float32="texture") as kernels:
        value: Tensor = _Ties.apply(kernels, texture, weights, corner)
    return value


class _Ties(torch.autograd.Function):
    """``forward`` of a compiled backend, which finds value and gradient together."""

    @staticmethod
    def forward(ctx: Any, kernels: ModuleType, texture: Tensor, weights: Tensor, corner: float) -> Tensor:
        value, pull = kernels.forward(texture.detach().contiguous(), weights.contiguous(), corner)
        ctx.save_for_backward(pull)
        found: Tensor = value
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None]:
        (pull,) = ctx.saved_tensors
        return None, pull * gradient, None, None


__all__ = ["PAIRS", "texel_ties"]
