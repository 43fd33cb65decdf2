"""Adam, by PyTorch's fused kernels, and where a group asks for it, lazy: entries without a gradient are left alone."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from nerfkit.kernels.lazy_adam import lazy_adam


class Adam:
    """``torch.optim.Adam(..., fused=True)``, but for groups with ``lazy=True``, which take ``lazy_adam``'s steps.

    It is no ``torch.optim.Optimizer``: the first of those that a process makes imports torch._dynamo, which takes
    longer than all the rest of PyTorch. State and checkpoints are those of PyTorch's: ``step``, ``exp_avg``,
    ``exp_avg_sq``. On a CPU a table of a million rows of which a step reaches a tenth would, without ``lazy``, cost as
    much as the field. ``step`` of a lazy group lies on the CPU, so that a GPU is not waited for; it counts there what
    ``found_inf`` has left out.

    Args:
        parameters: leaf tensors, or groups of them: ``params``, and what differs there from ``lr``, ``betas``, ``eps``,
            ``weight_decay``, ``lazy``; what else a group holds is its caller's.

    Attributes:
        param_groups: dictionaries, as PyTorch's; ``lr`` may be changed between steps.
        state: of each parameter that has had a step.
        found_inf: () float32 on the parameters' device; where it is 1 a step changes nothing. None: not asked.

    Raises:
        ValueError: on creation, where a group asks for what there is not: ``amsgrad`` or ``maximize``, and with
            ``lazy`` ``weight_decay``.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        given: list[Any] = list(parameters)
        groups = given if given and isinstance(given[0], dict) else [{"params": given}]
        usual: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0, "lazy": False}
        self.param_groups: list[dict[str, Any]] = [
            usual | group | {"params": list(group["params"])} for group in groups
        ]
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self.found_inf: Tensor | None = None
        for group in self.param_groups:
            asked = [key for key in ("amsgrad", "maximize") if group.get(key)]
            if asked:
                raise ValueError(f"{asked[0]}: expected it left out, got {group[asked[0]]}")
            if group["lazy"] and group["weight_decay"]:
                raise ValueError("weight_decay: a lazy group has none; expected lazy=False, or weight_decay left out")

    def zero_grad(self) -> None:
        """Takes the gradients away."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One step of all parameters that have a gradient."""
        found = self.found_inf
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not group["lazy"]:
                self._dense_step(parameters, group, found)
            elif found is None or found.is_cuda or not found.item():
                for p in parameters:
                    self._lazy_step(p, group, found if p.is_cuda else None)

    def _dense_step(self, parameters: list[Tensor], group: dict[str, Any], found: Tensor | None) -> None:
        if not parameters:
            return
        states = [self._state(p, p.device) for p in parameters]
        means, squares, steps = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step"))
        beta1, beta2 = group["betas"]
        adam(
            parameters,
            [p.grad for p in parameters],  # type: ignore[misc]
            means,
            squares,
            [],
            steps,
            fused=True,
            found_inf=found,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _lazy_step(self, p: Tensor, group: dict[str, Any], found: Tensor | None) -> None:
        state = self._state(p, "cpu")
        state["step"] = state["step"] + 1
        assert p.grad is not None
        lazy_adam(
            p.detach(),
            p.grad.contiguous(),
            state["exp_avg"],
            state["exp_avg_sq"],
            int(state["step"].item()),
            float(group["lr"]),
            group["betas"],
            group["eps"],
            found,
        )

    def _state(self, p: Tensor, counter: torch.device | str) -> dict[str, Tensor]:
        """The parameter's, made where it has none; ``step`` lies on ``counter``."""
        if p not in self.state:
            mean, square = (torch.zeros_like(p, requires_grad=False) for _ in range(2))
            self.state[p] = {"step": torch.zeros((), device=counter), "exp_avg": mean, "exp_avg_sq": square}
        return self.state[p]

    # ---- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """As PyTorch's: parameters are numbers, in the order of the groups; tensors are not copied."""
        number = {p: k for k, (p, _) in enumerate(self._numbered())}
        groups = [group | {"params": [number[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": {number[p]: state for p, state in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from copies of a saved state, PyTorch's too.

        Raises:
            ValueError: it is of other groups.
        """
        sizes, own = ([len(g["params"]) for g in groups] for groups in (state["param_groups"], self.param_groups))
        if sizes != own:
            raise ValueError(f"the optimizer's state has groups of {sizes} parameters, expected {own}")
        for group, saved in zip(self.param_groups, state["param_groups"], strict=True):
            group.update({key: value for key, value in saved.items() if key != "params"})
        self.state = {}
        for k, (p, group) in enumerate(self._numbered()):
            if k in state["state"]:
                saved = state["state"][k]
                counter = "cpu" if group["lazy"] else p.device
                step = torch.as_tensor(saved["step"], dtype=torch.float32).to(counter, copy=True)
                moments = {key: saved[key].to(p, copy=True) for key in ("exp_avg", "exp_avg_sq")}
                if any(moment.shape != p.shape for moment in moments.values()):
                    raise ValueError(
                        f"the optimizer's state of parameter {k} is of another shape than {tuple(p.shape)}"
                    )
                self.state[p] = {"step": step, **moments}

    def _numbered(self) -> list[tuple[Tensor, dict[str, Any]]]:
        return [(p, group) for group in self.param_groups for p in group["params"]]
