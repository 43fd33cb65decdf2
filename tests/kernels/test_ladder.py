"""The ladder's own tools: a budget that is exceeded, a marker that reaches the interpreter, poison that shows."""

import json
import os
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl

from tests.kernels import ladder

SIGNATURE = {"x_ptr": "*fp32", "y_ptr": "*fp32"}


@triton.jit
def _sort_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.sort(tl.load(x_ptr + i)))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sm_90", "gfx942"])
def test_budget_names_every_excess(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = ladder.compile_usage(_sort_kernel, target, SIGNATURE, {"BLOCK": 256}, num_warps=4)
    assert usage.registers > 4
    assert usage.shared > 0
    assert (usage.stack, usage.spills) == (0, 0)

    budgets = tmp_path / "budgets.json"
    monkeypatch.setattr(ladder, "BUDGETS", budgets)
    exact = {"registers": usage.registers, "shared": usage.shared}
    budgets.write_text(json.dumps({"sort": {target: exact}}))
    ladder.check_budget("sort", target, _sort_kernel, SIGNATURE, {"BLOCK": 256}, num_warps=4)

    budgets.write_text(json.dumps({"sort": {target: {"registers": 4, "shared": 0}}}))
    with pytest.raises(pytest.fail.Exception, match=rf"registers {usage.registers} > 4, shared {usage.shared} > 0"):
        ladder.check_budget("sort", target, _sort_kernel, SIGNATURE, {"BLOCK": 256}, num_warps=4)
    with pytest.raises(pytest.fail.Exception, match="no entry 'other'"):
        ladder.check_budget("other", target, _sort_kernel, SIGNATURE, {"BLOCK": 256}, num_warps=4)


def test_spills_and_stack_are_never_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "compile_usage", lambda *_, **__: ladder.Usage(8, stack=16, spills=2, shared=0))
    with pytest.raises(pytest.fail.Exception, match=r"stack 16 > 0, spills 2 > 0"):
        ladder.check_budget("composite.forward", "sm_90", None, {}, {})


@pytest.mark.interpreted
def test_marked_tests_run_in_the_interpreter() -> None:
    assert os.environ["TRITON_INTERPRET"] == "1"
    x, y = torch.tensor([3.0, 1.0, 2.0, 0.0]), torch.empty(4)
    _sort_kernel[(1,)](x, y, BLOCK=4)
    assert torch.equal(y, torch.tensor([0.0, 1.0, 2.0, 3.0]))


def test_unmarked_tests_run_compiled() -> None:
    assert isinstance(_sort_kernel, triton.runtime.JITFunction)


@pytest.mark.usefixtures("poison")
def test_poison_fills_what_torch_allocates() -> None:
    assert torch.empty(3).isnan().all()
    assert torch.ones(2).new_empty(2, 2).isnan().all()
    assert (torch.empty_like(torch.zeros(2, dtype=torch.int32)) == torch.iinfo(torch.int32).max).all()


def test_error_at_most_twice() -> None:
    exact = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    peer = (exact + 1e-4).float()
    ladder.assert_error_at_most_twice((exact + 1.9e-4).float(), peer, exact)
    with pytest.raises(AssertionError, match="color: error"):
        ladder.assert_error_at_most_twice((exact + 2.1e-4).float(), peer, exact, "color")
    with pytest.raises(AssertionError):
        ladder.assert_error_at_most_twice(torch.full((3,), float("nan")), peer, exact)
