"""The terms and their gradients in Numba: one pass forward and one back, where PyTorch's operations are twenty each."""

import numba
import numpy as np
import torch
from torch.autograd.function import once_differentiable

from ..jit import inline, jit

RAYS = 1024  # rays whose sums are added up together: so sums do not depend on threads

ONE = np.float32(1)


@inline
def _root(error, scale):
    """e / s and sqrt(1 + (e / s)^2)."""
    relative = error / scale
    return relative, np.sqrt(ONE + relative * relative)


@jit
def _forward(color, opacity, rgba, background, step, scale, sums):
    """Sums (blocks, 3) float64 of sqrt - 1 over channels, of the same of the opacity, and of squared errors."""
    for index in numba.prange(len(sums)):
        block = int(np.int64(index))
        total, mask, squared = 0.0, 0.0, 0.0
        for r in range(block * RAYS, min(block * RAYS + RAYS, len(color))):
            missing = rgba[r, 3] - opacity[r]
            for c in range(3):
                error = color[r, c] - rgba[r, c] + missing * background[r * step, c]
                total += np.float64(_root(error, scale)[1] - ONE)
                squared += np.float64(error * error)
            mask += np.float64(_root(missing, scale)[1] - ONE)
        sums[block, 0], sums[block, 1], sums[block, 2] = total, mask, squared


@jit
def _backward(color, opacity, rgba, background, step, scale, by_color, by_mask, d_color, d_opacity):
    for r in numba.prange(len(color)):
        missing = rgba[r, 3] - opacity[r]
        relative, root = _root(missing, scale)
        total = -by_mask * (relative / root)
        for c in range(3):
            behind = background[r * step, c]
            relative, root = _root(color[r, c] - rgba[r, c] + missing * behind, scale)
            slope = by_color * (relative / root)
            d_color[r, c] = slope
            total -= slope * behind
        d_opacity[r] = total


class PixelTerms(torch.autograd.Function):
    """(color, opacity, rgba, background, scale, mask_weight) -> color term, silhouette term, squared error, () each."""

    @staticmethod
    def forward(ctx, color, opacity, rgba, background, scale, mask_weight):
        rays, step = len(color), int(background.stride(0) != 0)
        behind = (background if step else background[:1]).contiguous()
        inputs = color.contiguous(), opacity.contiguous(), rgba.contiguous(), behind
        sums = np.empty((-(-rays // RAYS), 3))
        _forward(*(t.detach().numpy() for t in inputs), step, np.float32(scale), sums)
        # As the reference: means of no rays are NaN.
        factors = scale / np.array([3 * rays, rays]) if rays else np.full(2, np.nan)
        first, second, squared = sums.sum(0) * [factors[0], factors[1] * mask_weight, 1.0]
        ctx.save_for_backward(*inputs)
        ctx.numbers = step, scale, mask_weight
        terms = tuple(color.new_tensor(term) for term in (first, second, squared))
        ctx.mark_non_differentiable(terms[2])
        return terms

    @staticmethod
    @once_differentiable
    def backward(ctx, by_color, by_mask, _):
        step, scale, mask_weight = ctx.numbers
        inputs = ctx.saved_tensors
        rays = max(len(inputs[0]), 1)
        d_color, d_opacity = torch.empty_like(inputs[0]), torch.empty_like(inputs[1])
        factors = by_color.item() / (3 * rays), by_mask.item() * mask_weight / rays
        _backward(
            *(t.detach().numpy() for t in inputs), step, *map(np.float32, (scale, *factors)), d_color.numpy(),
            d_opacity.numpy(),
        )  # fmt: skip
        return d_color, d_opacity, None, None, None, None


pixel_loss = PixelTerms.apply
