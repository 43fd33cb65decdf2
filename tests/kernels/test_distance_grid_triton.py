"""The distance grid in Triton: rungs 3 (interpreted), 4 (compiled without a GPU) and 5 (on one) of the ladder."""

from typing import Any

import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.distance_grid import distance_bounds, distance_density, distance_roughness, nested_nodes
from tests.dry_run import fewer
from tests.kernels import ladder
from tests.kernels.approximations import Approximated
from tests.kernels.test_distance_grid import NAMES, make, nested, results

SIDES = [2, 3, 9]


def names(side: int) -> list[str]:
    """Of what ``results`` and ``nested`` return."""
    terms = ("eikonal", "laplacian", "d_nodes of both")
    return [*(name for name in NAMES if side > 2 or name not in terms), "sum of grids", "d_coarse", "d_fine"]


def everything(backend: str, side: int, count: int, dtype: torch.dtype = torch.float32, device: str = "cpu"):
    return [*results(backend, side, dtype, count, device), *nested(backend, side, dtype, device)]


def assert_all_agree(found: list[torch.Tensor], side: int, count: int) -> None:
    """With the reference, but for what a GPU's exponential may add."""
    same, exact = (everything("reference", side, count, dtype) for dtype in (torch.float32, torch.float64))
    with Approximated():
        off = everything("reference", side, count, torch.float64)
    for name, *each in zip(names(side), found, same, exact, off, strict=True):
        ladder.assert_error_at_most_twice(*each[:3], name, each[3])


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("side", SIDES)
def test_interpreter_agrees(side: int) -> None:
    assert_all_agree(everything("triton", side, 300), side, 300)


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
def test_nothing_and_not_a_number() -> None:
    nodes, x, _ = make(5, 70)
    leaf = nodes.clone().requires_grad_()
    wrong = x.clone()
    wrong[5, 1] = torch.nan
    damaged = nodes.clone()
    damaged[2, 2, 2] = torch.nan
    with use("triton"):
        sigma, gradient = distance_density(x[:0], leaf, 0.05)
        assert sigma.shape == (0,) and gradient.shape == (0, 3)
        assert not torch.autograd.grad(sigma.sum(), leaf)[0].any()
        assert distance_density(wrong, nodes, 0.05)[0].isnan().nonzero().tolist() == [[5]]
        assert distance_density(x, damaged, 0.05)[0].isnan().any()
        assert distance_bounds(damaged, 0.05)[0].isnan().sum() == distance_bounds(damaged, 0.05)[1].isnan().sum() == 8
        assert all(term.isnan() for term in distance_roughness(damaged, 0.3))
        assert nested_nodes(damaged, make(9)[0]).isnan().sum() == 27
        assert [term.item() for term in distance_roughness(nodes + 5, 0.3)] == [0, 0]


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
def test_samples_without_a_derivative_change_nothing() -> None:
    """They are left out of the sums; and where none has one the gradient is 0."""
    nodes, x, weights = make(3, 200)
    nodes.requires_grad_()
    weights[::2] = 0
    with use("triton"):
        every = torch.autograd.grad(distance_density(x, nodes, 0.05)[0] @ weights, nodes)[0]
        some = torch.autograd.grad(distance_density(x[1::2], nodes, 0.05)[0] @ weights[1::2], nodes)[0]
        none = torch.autograd.grad(distance_density(x, nodes, 0.05)[0] @ (0 * weights), nodes)[0]
    assert torch.equal(every, some) and every.any() and not none.any()


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
def test_inputs_need_not_be_contiguous() -> None:
    nodes, x, _ = make(5, 70)
    with use("triton"):
        for found, expected in (
            (distance_density(x.T.contiguous().T, nodes, 0.05), distance_density(x, nodes, 0.05)),
            (distance_bounds(nodes.transpose(0, 2), 0.05), distance_bounds(nodes.transpose(0, 2).contiguous(), 0.05)),
        ):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


KERNELS = {
    "density": "LANES", "corners": "SAMPLES", "nodes": "LANES", "roughness": "LANES", "means": "SUMS",
    "roughness_backward": "LANES", "bounds": "LANES", "nest": "LANES", "nest_backward": "LANES",
}  # fmt: skip
TYPES = {"sums_ptr": "*fp64", "number_ptr": "*fp64", "keys_ptr": "*i32"}
TYPES |= dict.fromkeys(("beta", "band", "h", "floor"), "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
@pytest.mark.parametrize("name", KERNELS)
def test_budget(name: str, target: str) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    from nerfkit.kernels.distance_grid import triton

    kernel, constant = getattr(triton, f"{name}_kernel"), KERNELS[name]
    if not hasattr(kernel, "arg_names"):
        pytest.skip("TRITON_INTERPRET is set: interpreted functions cannot be compiled")
    signature = {n: TYPES.get(n, "*fp32" if n.endswith("_ptr") else "i32") for n in kernel.arg_names if n != constant}
    options: dict[str, Any] = {} if name in ("nodes", "means") else triton.AS_WRITTEN
    constants = {constant: getattr(triton, constant)}
    ladder.check_budget(f"distance_grid.{name}", target, kernel, signature, constants, **options)


@pytest.mark.parametrize("name", ["density", "corners"])
def test_a_step_of_another_size_compiles_nothing(name: str) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    from nerfkit.kernels.distance_grid import triton

    kernel = getattr(triton, f"{name}_kernel")
    if not hasattr(kernel, "params"):
        pytest.skip("TRITON_INTERPRET is set: interpreted functions cannot be compiled")
    assert {p.name for p in kernel.params if p.do_not_specialize} == {"count"}


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("side", [*SIDES, 65])
def test_gpu(side: int) -> None:
    side, count = min(side, fewer(65, 12)), fewer(100_000, 300)
    found, again = (everything("triton", side, count, device="cuda") for _ in range(2))
    for name, one, other in zip(names(side), found, again, strict=True):
        assert torch.equal(one, other), name
    assert_all_agree(found, side, count)


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("count", [0, 1, 257])
def test_gpu_odd_numbers_of_samples(count: int) -> None:
    assert_all_agree(everything("triton", 3, count, device="cuda"), 3, count)
