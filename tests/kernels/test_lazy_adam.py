"""Adam that leaves alone what has no gradient: its kernel, and the optimizer that uses it."""

from typing import Any

import numba
import pytest
import torch

from nerfkit.fit.adam import Adam
from nerfkit.kernels import use
from nerfkit.kernels.lazy_adam import lazy_adam
from tests.dry_run import dry_run
from tests.kernels import ladder

NUMBERS = {"step": 7, "rate": 0.02, "betas": (0.9, 0.99), "eps": 1e-15}


def make_state(size: int, share: float, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Parameter, gradient (0 but for a ``share``), mean, square."""
    generator = torch.Generator().manual_seed(size)
    state = [torch.randn(size, generator=generator) for _ in range(3)] + [torch.rand(size, generator=generator)]
    state[1] *= torch.rand(size, generator=generator) < share
    return [t.to(dtype) for t in state]


COMPILED = ["cpu", pytest.param("triton", marks=pytest.mark.interpreted)]


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 33, 100_003])
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_compiled_equals_reference(backend: str, size: int, share: float) -> None:
    found, expected = make_state(size, share), make_state(size, share, torch.float64)
    before = make_state(size, share)
    with use(backend):
        lazy_adam(*found, **NUMBERS)  # type: ignore[arg-type]
    with use("reference"):
        lazy_adam(*expected, **NUMBERS)  # type: ignore[arg-type]
    still = before[1] == 0
    for one, other, old in zip(found, expected, before, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=1e-6)
        assert torch.equal(one[still], old[still])
    if size and share == 1:
        assert all(not torch.equal(found[i], before[i]) for i in (0, 2, 3))


@pytest.mark.parametrize("backend", COMPILED)
def test_nan_and_infinity_go_where_they_belong(backend: str) -> None:
    state = make_state(40, 1.0)
    state[1][3], state[1][20] = torch.nan, torch.inf
    with use(backend):
        lazy_adam(*state, **NUMBERS)  # type: ignore[arg-type]
    assert (~state[0].isfinite()).nonzero()[:, 0].tolist() == [3, 20]


@pytest.mark.parametrize("backend", [*COMPILED, "reference"])
def test_nothing_is_done_where_something_was_found(backend: str) -> None:
    before = make_state(40, 1.0)
    for value, same in ((1.0, True), (0.0, False)):
        state = make_state(40, 1.0)
        with use(backend):
            lazy_adam(*state, **NUMBERS, found=torch.tensor(value))  # type: ignore[arg-type]
        assert all(torch.equal(state[i], before[i]) == same for i in (0, 2, 3))


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
    [
        *(("gradient", torch.zeros(3)), ("mean", torch.zeros(4).double()), ("square", torch.zeros(8)[::2])),
        *(("step", 0), ("found", torch.zeros(1))),
    ],
)
def test_what_does_not_fit_is_named(name: str, value: object) -> None:
    call = dict(zip(("parameter", "gradient", "mean", "square"), make_state(4, 1.0), strict=True), **NUMBERS)
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        lazy_adam(**{**call, name: value})


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(torch.randn(50, 2, generator=generator)) for _ in range(2)]


def steps(
    optimizer: Adam | torch.optim.Adam, made: list[torch.nn.Parameter], first: int, last: int, share: float
) -> None:
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        for p in made:
            rows = torch.rand(50, 1, generator=generator) < share
            p.grad = torch.randn(50, 2, generator=generator) * rows
        optimizer.step()


def lazy(made: list[torch.nn.Parameter]) -> Adam:
    return Adam([{"params": made[:1]}, {"params": made[1:], "lazy": True, "betas": (0.8, 0.9)}], lr=0.1)


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


def test_groups_that_are_not_lazy_are_pytorchs_to_the_bit_also_from_its_checkpoint() -> None:
    made, others, later = parameters(), parameters(), parameters()
    own: list[dict[str, Any]] = [
        {"params": [made[0]], "betas": (0.5, 0.9)},
        {"params": [made[1]], "weight_decay": 0.1, "eps": 1e-4},
    ]
    optimizer = Adam(own, lr=0.05)
    peer = torch.optim.Adam([g | {"params": [p]} for g, p in zip(own, others, strict=True)], lr=0.05, fused=True)
    steps(optimizer, made, 0, 4, 0.5)
    steps(peer, others, 0, 4, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(made, others, strict=True))
    with torch.no_grad():
        for p, other in zip(later, others, strict=True):
            p.copy_(other)
    resumed = Adam([{"params": [later[0]]}, {"params": [later[1]]}])
    resumed.load_state_dict(peer.state_dict())
    steps(resumed, later, 4, 6, 0.5)
    steps(peer, others, 4, 6, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(later, others, strict=True))


def test_a_state_of_other_groups_is_refused() -> None:
    made = parameters()
    state = Adam(made).state_dict()
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters, expected \[1, 1\]"):
        lazy(made).load_state_dict(state)
    one, other = (Adam([torch.nn.Parameter(torch.ones(size))], lr=0.1) for size in (3, 4))
    one.param_groups[0]["params"][0].grad = torch.ones(3)
    one.step()
    with pytest.raises(ValueError, match=r"parameter 0 is of another shape than \(4,\)"):
        other.load_state_dict(one.state_dict())


def test_a_parameter_without_a_gradient_stays() -> None:
    made = parameters()
    optimizer, before = lazy(made), [p.detach().clone() for p in made]
    made[0].grad = torch.ones_like(made[0])
    optimizer.step()
    assert not torch.equal(made[0], before[0]) and torch.equal(made[1], before[1]) and set(optimizer.state) == {made[0]}
    optimizer.zero_grad()
    assert made[0].grad is None


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


def test_a_graph_that_has_kept_the_table_says_so() -> None:
    table = torch.nn.Parameter(torch.ones(5, 2))
    loss = table.square().sum()
    loss.backward(retain_graph=True)
    Adam([{"params": [table], "lazy": True}], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_was_not_finite_changes_nothing() -> None:
    made = parameters()
    before = [p.detach().clone() for p in made]
    optimizer = lazy(made)
    optimizer.found_inf = torch.ones(())
    steps(optimizer, made, 0, 1, 1.1)
    assert all(torch.equal(a, b) for a, b in zip(made, before, strict=True))
    assert made[1].grad is not None


@pytest.mark.parametrize("asked", [{"weight_decay": 0.1}, {"amsgrad": True}, {"maximize": True}])
def test_what_a_lazy_step_has_not_is_refused(asked: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(asked))):
        Adam([{"params": [torch.nn.Parameter(torch.ones(2))], "lazy": True, **asked}])


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_budget(target: str) -> None:
    from nerfkit.kernels.lazy_adam import triton

    pointers = ("parameter", "gradient", "mean", "square", "found")
    signature = {f"{name}_ptr": "*fp32" for name in pointers} | {"size": "i32"}
    signature |= dict.fromkeys(("rest1", "keep2", "rest2", "rate", "scale", "eps"), "fp32")
    constants = {"FOUND": True, "BLOCK": triton.BLOCK}
    ladder.check_budget(
        "lazy_adam.step", target, triton.step_kernel, signature, constants, num_warps=4, **triton.AS_WRITTEN
    )


@pytest.mark.gpu
@pytest.mark.parametrize("size", [0, 1, 1000, 100_003])
def test_gpu_error_against_float64(size: int) -> None:
    exact, same = make_state(size, 0.3, torch.float64), make_state(size, 0.3)
    found, again = ([t.to("cuda") for t in make_state(size, 0.3)] for _ in range(2))
    for state in (exact, same):
        with use("reference"):
            lazy_adam(*state, **NUMBERS)  # type: ignore[arg-type]
    for state in (found, again):
        lazy_adam(*state, **NUMBERS, found=torch.zeros((), device="cuda"))  # type: ignore[arg-type]
    for one, other, peer, truth in zip(found, again, same, exact, strict=True):
        assert torch.equal(one, other)
        ladder.assert_error_at_most_twice(one, peer, truth)


@pytest.mark.interpreted
def test_a_lazy_step_on_a_gpu_is_the_cpus_also_after_loading_and_waits_for_nothing() -> None:
    whole, parts = parameters(), parameters()
    steps(lazy(whole), whole, 0, 6, 0.3)
    with dry_run() as counts:
        made = [torch.nn.Parameter(p.detach().to("cuda")) for p in parts]
        first = lazy(made)
        gpu_steps(first, made, 0, 3)
        second = lazy(made)
        second.load_state_dict(first.state_dict())
        gpu_steps(second, made, 3, 6)
        found = made[1].detach().cpu()
        counts.clear()
        assert second.state[made[1]]["step"].device.type == "cpu"
        for p in made:
            p.grad = torch.zeros_like(p)
        second.found_inf = torch.zeros((), device="cuda")
        second.step()
        assert not counts.waits and counts.triton["step_kernel"] == 1
    torch.testing.assert_close(found, whole[1].detach(), rtol=1e-5, atol=1e-6)


def gpu_steps(optimizer: Adam, made: list[torch.nn.Parameter], first: int, last: int) -> None:
    """As ``steps``, with gradients from the CPU's generator."""
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        for p in made:
            rows = torch.rand(50, 1, generator=generator) < 0.3
            p.grad = (torch.randn(50, 2, generator=generator) * rows).to("cuda")
        optimizer.step()
