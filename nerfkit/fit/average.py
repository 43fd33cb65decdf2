"""The running mean of a model's weights, which is what to evaluate, render and export."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


class RunningAverage(Generic[Model]):
    """average <- keep average + (1 - keep) weights after every step, keep = min(decay, 1 - 1 / (1 + step / 10)).

    The memory is short at first, so that the initial weights are forgotten (Polyak averaging with a warm-up).

    Args:
        model: whose weights are averaged, on its device already: the average shares its buffers, such as a grid.
        decay: in [0,1); 0 is no average: the weights themselves.

    Attributes:
        model: of the model's own kind, with the averaged weights; the model itself where there is no average.
    """

    def __init__(self, model: Model, decay: float) -> None:
        shared = {id(buffer): buffer for buffer in model.buffers()}
        self.model: Model = copy.deepcopy(model, shared) if decay else model
        self.decay = decay
        self._averaged: list[Tensor] = list(self.model.parameters())
        self._weights: list[Tensor] = list(model.parameters())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follows the weights after the optimizer's step number ``step``, counted from 0."""
        if not self.decay:
            return
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
        if not self.decay:
            return  # the weights themselves, which are loaded as such
        for name, parameter in self.model.named_parameters():
            parameter.copy_(state[name])
