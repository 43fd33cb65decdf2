"""Rendering without keeping what the backward needs: it renders again instead."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nerfkit.kernels.composite import Rendered


class Recomputed(torch.autograd.Function):
    """``render(origins, directions)`` without a graph; the backward calls it again with one.

    torch.utils.checkpoint would not do: it frees what went through ``save_for_backward``, and kernels keep other things
    too.
    """

    @staticmethod
    def forward(
        ctx: Any,
        render: Callable[[Tensor, Tensor], tuple[Rendered, int]],
        origins: Tensor,
        directions: Tensor,
        *weights: Tensor,
    ) -> tuple[Any, ...]:
        ctx.set_materialize_grads(False)
        ctx.render = render
        ctx.save_for_backward(origins, directions, *weights)
        rendered, samples = render(origins, directions)
        return *rendered, samples

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        origins, directions, *weights = ctx.saved_tensors
        rays = [t.detach().requires_grad_(w) for t, w in zip((origins, directions), wanted, strict=False)]
        with torch.enable_grad():
            rendered, _ = ctx.render(*rays)
        pairs = [(p, g) for p, g in zip(rendered, gradients, strict=False) if g is not None and p.requires_grad]
        inputs = [*rays, *weights]
        if not pairs:
            return None, *(None for _ in inputs)
        found = iter(
            torch.autograd.grad(
                [p for p, _ in pairs],
                [t for t, w in zip(inputs, wanted, strict=True) if w],
                [g for _, g in pairs],
                allow_unused=True,
            )
        )
        return None, *(next(found) if w else None for w in wanted)
