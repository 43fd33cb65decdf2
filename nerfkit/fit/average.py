"""The running mean of a model's weights, which is what to evaluate, render and export."""

import copy

import torch
from torch import Tensor, nn


class RunningAverage:
    """average <- keep average + (1 - keep) weights after every step, keep = min(decay, 1 - 1 / (1 + step / 10)).

    The memory is short at first, so that the initial weights are forgotten (Polyak averaging with a warm-up).

    Args:
        model: whose weights are averaged. Buffers, such as an occupancy grid, are shared with the average.
        decay: in [0,1); 0 is no average: the weights themselves.

    Attributes:
        model: of the model's own kind, with the averaged weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        shared = {id(buffer): buffer for buffer in model.buffers()}
        self.model, self.decay = copy.deepcopy(model, shared), decay
        self._averaged: list[Tensor] = list(self.model.parameters())
        self._weights: list[Tensor] = list(model.parameters())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follows the weights after the optimizer's step number ``step``, counted from 0."""
        keep = min(self.decay, 1 - 1 / (1 + step / 10))
        torch._foreach_lerp_(self._averaged, self._weights, 1 - keep)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights by name."""
        return {name: p.detach() for name, p in self.model.named_parameters()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """What ``state_dict`` gave.

        Raises:
            KeyError, RuntimeError: a name is missing, or a shape is another one.
        """
        for name, parameter in self.model.named_parameters():
            parameter.copy_(state[name])
