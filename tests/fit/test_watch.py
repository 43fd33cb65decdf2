"""Weights on the way: the watch over their gradients, and their running mean."""

import math

import pytest
import torch

from nerfkit.fit.average import RunningAverage
from nerfkit.fit.watch import LARGE, FiniteWatch


@pytest.mark.parametrize("sizes", [(LARGE + 1,), (3, LARGE + 1), (3,)])
def test_a_gradient_that_is_not_finite_is_named(sizes: tuple[int, ...]) -> None:
    weights = [(f"w{k}", torch.nn.Parameter(torch.zeros(size))) for k, size in enumerate(sizes)]
    watch, loss = FiniteWatch(weights, torch.device("cpu")), {"color": torch.zeros(())}
    for _, weight in weights:
        weight.grad = torch.ones_like(weight)
    watch.look(loss, 0)
    watch.check()
    assert weights[-1][1].grad is not None
    weights[-1][1].grad[-1] = math.nan
    watch.look(loss, 1)
    with pytest.raises(FloatingPointError, match=f"gradient of {weights[-1][0]}"):
        watch.check()


def test_without_an_average_loading_one_leaves_the_weights() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)
    mean = {name: value + 1 for name, value in model.state_dict().items()}
    before = model.weight.clone()
    RunningAverage(model, 0.0).load_state_dict(mean)
    assert torch.equal(model.weight, before)
    average = RunningAverage(model, 0.9)
    average.load_state_dict(mean)
    assert torch.equal(average.model.weight, mean["weight"]) and torch.equal(model.weight, before)
