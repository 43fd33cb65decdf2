"""Adam for tables of which a step touches few rows: what has no gradient is left alone.

Where g is not 0, as Kingma and Ba 2015, algorithm 1, with one count t of steps for the whole tensor:

    m <- m + (1 - beta1) (g - m),    v <- beta2 v + (1 - beta2) g^2
    p <- p - rate / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

Where g is 0, p, m and v stay. So it differs from Adam in this: an entry without a gradient does not go on by the
momentum that it has, and neither that nor its scale decays meanwhile. Where every entry has a gradient in every step,
the two are the same to rounding.
"""

import torch
from torch import Tensor

from ..backend import implementation
from ..checks import FLOATS, expect

__all__ = ["lazy_adam"]


@torch.no_grad()
def lazy_adam(
    parameter: Tensor, gradient: Tensor, mean: Tensor, square: Tensor,
    step: int, rate: float, betas: tuple[float, float], eps: float, found: Tensor | None = None,
) -> None:  # fmt: skip
    """One step in place; the formula heads this module.

    Args:
        parameter, gradient, mean, square: p, g, m, v of one shape, contiguous.
        step: t, from 1.
        rate, betas, eps: of Adam.
        found: (), where it is not 0 nothing is done: as ``found_inf`` of PyTorch's fused optimizers, it is not waited
            for on a GPU.

    Raises:
        ValueError: a shape, a dtype or a layout does not fit, or ``step`` is below 1.
    """
    expect("parameter", parameter, parameter.shape, dtype=FLOATS)
    named = {"parameter": parameter, "gradient": gradient, "mean": mean, "square": square}
    for name, tensor in named.items():
        expect(name, tensor, parameter.shape, like=parameter)
        if not tensor.is_contiguous():
            raise ValueError(f"{name}: expected it contiguous, got strides {tensor.stride()}")
    if found is not None:
        expect("found", found, (), dtype=FLOATS, like=parameter)
    if step < 1:
        raise ValueError(f"step: expected at least 1, got {step}")
    with implementation(__name__, parameter, float32="parameter") as kernels:
        kernels.lazy_adam(parameter, gradient, mean, square, step, rate, *betas, eps, found)
    torch.autograd.graph.increment_version((parameter, mean, square))  # a graph that has kept them shall say so
