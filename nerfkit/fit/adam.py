"""Adam, and where a group asks for it, lazy: entries without a gradient are left alone."""

from collections.abc import Callable
from typing import Any

import torch

from nerfkit.kernels.lazy_adam import lazy_adam


class LazyAdam(torch.optim.Adam):
    """``torch.optim.Adam``, but for groups with ``lazy=True``, which take ``lazy_adam``'s steps.

    On a CPU a table of a million rows of which a step reaches a tenth would otherwise cost as much as the field. State
    and checkpoints are those of Adam: ``step``, ``exp_avg``, ``exp_avg_sq``. ``step`` of a lazy group lies on the CPU,
    so that a GPU is not waited for; it counts there what ``found_inf`` has left out.

    Raises:
        ValueError: on creation, where a lazy group asks for ``weight_decay``, ``amsgrad`` or ``maximize``.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As Adam's."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        asked = [key for key in ("weight_decay", "amsgrad", "maximize") if group.get("lazy") and group[key]]
        if asked:
            raise ValueError(f"{asked[0]}: a lazy group has none; expected lazy=False, or {asked[0]} left out")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; as Adam's, ``found_inf`` of 1 leaves everything as it is. Returns what ``closure`` does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        lazy = [(p, g) for g in self.param_groups if g.get("lazy") for p in g["params"] if p.grad is not None]
        found = getattr(self, "found_inf", None)
        if lazy and (found is None or found.is_cuda or not found.item()):
            for p, group in lazy:
                self._lazy_step(p, group, found if p.is_cuda else None)
        gradients = [p.grad for p, _ in lazy]
        for p, _ in lazy:
            p.grad = None  # hidden from the dense step
        try:
            super().step()
        finally:
            for (p, _), gradient in zip(lazy, gradients, strict=True):
                p.grad = gradient
        return loss

    def _lazy_step(self, p: torch.nn.Parameter, group: dict[str, Any], found: torch.Tensor | None) -> None:
        state = self.state[p]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(p) for _ in range(2))
        state["step"] = state["step"].cpu() + 1  # a fused Adam's ``load_state_dict`` has moved it
        assert p.grad is not None
        step, rate = int(state["step"].item()), float(group["lr"])
        lazy_adam(
            p.detach(),
            p.grad.contiguous(),
            state["exp_avg"],
            state["exp_avg_sq"],
            step,
            rate,
            group["betas"],
            group["eps"],
            found,
        )
