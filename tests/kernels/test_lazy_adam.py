"""Adam that leaves alone what has no gradient: its kernel, and the optimizer that uses it."""

import numba
import pytest
import torch

from nerfkit.fit.adam import LazyAdam
from nerfkit.kernels import use
from nerfkit.kernels.lazy_adam import lazy_adam

NUMBERS = {"step": 7, "rate": 0.02, "betas": (0.9, 0.99), "eps": 1e-15}


def make_state(size: int, share: float, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Parameter, gradient (0 but for a ``share``), mean, square."""
    generator = torch.Generator().manual_seed(size)
    state = [torch.randn(size, generator=generator) for _ in range(3)] + [torch.rand(size, generator=generator)]
    state[1] *= torch.rand(size, generator=generator) < share
    return [t.to(dtype) for t in state]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 33, 100_003])
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_cpu_equals_reference(size: int, share: float) -> None:
    found, expected = make_state(size, share), make_state(size, share, torch.float64)
    before = make_state(size, share)
    lazy_adam(*found, **NUMBERS)  # type: ignore[arg-type]
    with use("reference"):
        lazy_adam(*expected, **NUMBERS)  # type: ignore[arg-type]
    still = before[1] == 0
    for one, other, old in zip(found, expected, before, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=1e-6)
        assert torch.equal(one[still], old[still])
    if size and share == 1:
        assert all(not torch.equal(found[i], before[i]) for i in (0, 2, 3))


def test_nan_and_infinity_go_where_they_belong() -> None:
    state = make_state(40, 1.0)
    state[1][3], state[1][20] = torch.nan, torch.inf
    lazy_adam(*state, **NUMBERS)  # type: ignore[arg-type]
    assert (~state[0].isfinite()).nonzero()[:, 0].tolist() == [3, 20]


@pytest.mark.usefixtures("all_threads")
def test_threads_do_not_change_the_bits() -> None:
    results, threads = [], numba.get_num_threads()
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            results.append(make_state(100_003, 0.3))
            lazy_adam(*results[-1], **NUMBERS)  # type: ignore[arg-type]
    finally:
        numba.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [("gradient", torch.zeros(3)), ("mean", torch.zeros(4).double()), ("square", torch.zeros(8)[::2]), ("step", 0)],
)
def test_what_does_not_fit_is_named(name: str, value: object) -> None:
    call = dict(zip(("parameter", "gradient", "mean", "square"), make_state(4, 1.0), strict=True), **NUMBERS)
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        lazy_adam(**{**call, name: value})


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(torch.randn(50, 2, generator=generator)) for _ in range(2)]


def steps(
    optimizer: torch.optim.Optimizer, made: list[torch.nn.Parameter], first: int, last: int, share: float
) -> None:
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        for p in made:
            rows = torch.rand(50, 1, generator=generator) < share
            p.grad = torch.randn(50, 2, generator=generator) * rows
        optimizer.step()


def lazy(made: list[torch.nn.Parameter]) -> LazyAdam:
    return LazyAdam([{"params": made[:1]}, {"params": made[1:], "lazy": True, "betas": (0.8, 0.9)}], lr=0.1, fused=True)


def test_with_every_gradient_it_is_adam() -> None:
    made, others = parameters(), parameters()
    steps(lazy(made), made, 0, 5, 1.1)
    steps(
        torch.optim.Adam([{"params": others[:1]}, {"params": others[1:], "betas": (0.8, 0.9)}], lr=0.1),
        others,
        0,
        5,
        1.1,
    )
    for one, other in zip(made, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_saved_optimizer_goes_on_to_the_bit() -> None:
    whole, parts = parameters(), parameters()
    steps(lazy(whole), whole, 0, 9, 0.3)
    first = lazy(parts)
    steps(first, parts, 0, 4, 0.3)
    state = first.state_dict()
    assert set(state["state"][1]) == {"step", "exp_avg", "exp_avg_sq"}
    second = lazy(parts)
    second.load_state_dict(state)
    steps(second, parts, 4, 9, 0.3)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_what_was_not_finite_changes_nothing() -> None:
    made = parameters()
    before = [p.detach().clone() for p in made]
    optimizer = lazy(made)
    optimizer.found_inf = torch.ones(())  # type: ignore[attr-defined]
    steps(optimizer, made, 0, 1, 1.1)
    assert all(torch.equal(a, b) for a, b in zip(made, before, strict=True))
    assert made[1].grad is not None


def test_a_closure_is_asked_before_the_step() -> None:
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = LazyAdam([{"params": [weight], "lazy": True}], lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert [optimizer.step(closure).item() for _ in range(2)] == pytest.approx([4.0, 4 * 0.9**2], rel=1e-5)
    assert optimizer.state[weight]["step"] == 2


@pytest.mark.parametrize("asked", [{"weight_decay": 0.1}, {"amsgrad": True}, {"maximize": True}])
def test_what_a_lazy_step_has_not_is_refused(asked: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(asked))):
        LazyAdam([{"params": [torch.nn.Parameter(torch.ones(2))], "lazy": True, **asked}])
