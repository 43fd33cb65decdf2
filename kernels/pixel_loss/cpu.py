"""The terms and their gradients in Numba: one pass forward and one back, where PyTorch's operations are twenty each."""

import numba
import numpy as np
import torch
from torch.autograd.function import once_differentiable

from ..jit import jit

RAYS = 1024  # rays whose sums are added up together: so sums do not depend on threads

ONE = np.float32(1)


@jit(parallel=False, fastmath=True)
def _root(relative):
    """sqrt(1 + x^2) of x = e / s."""
    return np.sqrt(ONE + relative * relative)


@jit(parallel=False, fastmath=True)  # channels one by one: with a number that the compiler knows it makes vectors
def _sums(color, opacity, rgba, background, inverse):
    """Of a block: sums of sqrt - 1 over channels, of the same of the opacity, and of squared errors."""
    total, mask, squared = 0.0, 0.0, 0.0
    for r in range(np.uintp(len(color))):
        missing = rgba[r, 3] - opacity[r]
        a = color[r, 0] - rgba[r, 0] + missing * background[r, 0]
        b = color[r, 1] - rgba[r, 1] + missing * background[r, 1]
        c = color[r, 2] - rgba[r, 2] + missing * background[r, 2]
        squared += np.float64(a * a) + np.float64(b * b) + np.float64(c * c)
        total += np.float64(_root(a * inverse) - ONE) + np.float64(_root(b * inverse) - ONE)
        total += np.float64(_root(c * inverse) - ONE)
        mask += np.float64(_root(missing * inverse) - ONE)
    return total, mask, squared


@jit
def _forward(color, opacity, rgba, background, inverse, sums):
    """``sums`` (blocks, 3) float64."""
    for block in numba.prange(len(sums)):
        rays = slice(block * RAYS, min(block * RAYS + RAYS, len(color)))
        sums[block, 0], sums[block, 1], sums[block, 2] = _sums(
            color[rays], opacity[rays], rgba[rays], background[rays], inverse
        )


@jit(parallel=False, fastmath=True)
def _slopes(color, opacity, rgba, background, inverse, by_color, by_mask, d_color, d_opacity):
    """Gradients of a block."""
    for r in range(np.uintp(len(color))):
        missing = rgba[r, 3] - opacity[r]
        relative = missing * inverse
        u, v, w = background[r, 0], background[r, 1], background[r, 2]
        a = (color[r, 0] - rgba[r, 0] + missing * u) * inverse
        b = (color[r, 1] - rgba[r, 1] + missing * v) * inverse
        c = (color[r, 2] - rgba[r, 2] + missing * w) * inverse
        a, b, c = by_color * (a / _root(a)), by_color * (b / _root(b)), by_color * (c / _root(c))
        d_color[r, 0], d_color[r, 1], d_color[r, 2] = a, b, c
        d_opacity[r] = -by_mask * (relative / _root(relative)) - (a * u + b * v + c * w)


@jit
def _backward(color, opacity, rgba, background, inverse, by_color, by_mask, d_color, d_opacity):
    for block in numba.prange((len(color) + RAYS - 1) // RAYS):
        rays = slice(block * RAYS, min(block * RAYS + RAYS, len(color)))
        _slopes(
            color[rays], opacity[rays], rgba[rays], background[rays], inverse, by_color, by_mask, d_color[rays],
            d_opacity[rays],
        )  # fmt: skip


class PixelTerms(torch.autograd.Function):
    """(color, opacity, rgba, background, scale, mask_weight) -> color term, silhouette term, squared error, () each."""

    @staticmethod
    def forward(ctx, color, opacity, rgba, background, scale, mask_weight):
        rays, inverse = len(color), np.float32(1 / scale)
        inputs = color.contiguous(), opacity.contiguous(), rgba.contiguous(), background.contiguous()
        sums = np.empty((-(-rays // RAYS), 3))
        _forward(*(t.detach().numpy() for t in inputs), inverse, sums)
        # As the reference: means of no rays are NaN.
        factors = scale / np.array([3 * rays, rays]) if rays else np.full(2, np.nan)
        first, second, squared = sums.sum(0) * [factors[0], factors[1] * mask_weight, 1.0]
        ctx.save_for_backward(*inputs)
        ctx.numbers = inverse, mask_weight
        terms = tuple(color.new_tensor(term) for term in (first, second, squared))
        ctx.mark_non_differentiable(terms[2])
        return terms

    @staticmethod
    @once_differentiable
    def backward(ctx, by_color, by_mask, _):
        inverse, mask_weight = ctx.numbers
        inputs = ctx.saved_tensors
        rays = max(len(inputs[0]), 1)
        d_color, d_opacity = torch.empty_like(inputs[0]), torch.empty_like(inputs[1])
        factors = by_color.item() / (3 * rays), by_mask.item() * mask_weight / rays
        _backward(
            *(t.detach().numpy() for t in inputs),
            inverse,
            *map(np.float32, factors),
            d_color.numpy(),
            d_opacity.numpy(),
        )
        return d_color, d_opacity, None, None, None, None


pixel_loss = PixelTerms.apply
