"""What a training step compares: rendered pixels with photos, over a background, and their opacity with the masks.

    e = c - c_true + (a_true - a) b          of each channel: both over the background b, premultiplied
    h(x) = s (sqrt(1 + (x / s)^2) - 1)       squared below the scale s, linear above (Charbonnier et al. 1994)
    color = mean h(e),   silhouette = m mean h(a - a_true),   squared = sum e^2

Backward, with dh/dx = (x / s) / sqrt(1 + (x / s)^2):

    dc = g_color dh(e) / (3 R),   da = -b . dc + g_silhouette m dh(a - a_true) / R
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..backend import backend_for, implementation
from ..checks import FLOATS, expect
from .reference import pixel_loss as reference_loss, pseudo_huber


class PixelLoss(NamedTuple):
    """``color`` and ``silhouette`` (), differentiable, the second None where not asked for; ``squared`` () is not."""

    color: Tensor
    silhouette: Tensor | None
    squared: Tensor


def pixel_loss(
    color: Tensor, opacity: Tensor, rgba: Tensor, background: Tensor, scale: float, mask_weight: float = 0.0
) -> PixelLoss:
    """The terms over R rays; the formula heads this module.

    Args:
        color: (R,3) premultiplied; any float dtype on a CPU. Differentiable.
        opacity: (R,). Differentiable.
        rgba: (R,4) the photos, premultiplied.
        background: (R,3), or (3,) expanded to it.
        scale: s.
        mask_weight: m; 0 is no such term.

    Raises:
        ValueError: a shape, dtype or device does not fit.
    """
    expect("color", color, ("R", 3), dtype=FLOATS)
    rays = len(color)
    expect("opacity", opacity, (rays,), like=color)
    expect("rgba", rgba, (rays, 4), like=color)
    expect("background", background, (rays, 3), like=color)
    if backend_for(color) == "reference" or (color.dtype != torch.float32 and not color.is_cuda):
        return PixelLoss(*reference_loss(color, opacity, rgba, background, scale, mask_weight))
    with implementation(__name__, color, float32="color") as kernels:
        first, second, squared = kernels.pixel_loss(color, opacity, rgba, background, scale, mask_weight)
    return PixelLoss(first, second if mask_weight else None, squared)


__all__ = ["PixelLoss", "pixel_loss", "pseudo_huber"]
