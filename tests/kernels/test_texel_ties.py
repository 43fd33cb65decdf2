"""The ties between texels: by hand, float64 gradients, and in Numba and Triton: see ``ladder.py``."""

import numba
import pytest
import torch
from torch import Tensor

from nerfkit.kernels import use
from nerfkit.kernels.texel_ties import PAIRS, texel_ties
from tests.kernels import ladder

CORNER = 0.1
CASES = [(1, 1, 3), (1, 7, 1), (6, 1, 3), (2, 2, 4), (37, 53, 3), (64, 16, 1)]


def make(case: tuple[int, int, int], dtype: torch.dtype = torch.float32, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """A texture with differences on both sides of the corner, some of them zero, and weights of any size."""
    generator = torch.Generator().manual_seed(sum(case))
    texture = torch.rand(*case, generator=generator)
    texture[::3, ::2] = 0.5
    weights = 10 ** (4 * torch.rand(4, *case[:2], generator=generator) - 3)
    weights[:, ::5] = 0
    return texture.to(device, dtype), weights.to(device, dtype)


def results(backend: str, case: tuple[int, int, int], dtype=torch.float32, device="cpu") -> list[Tensor]:
    """The value, and the gradient of twice as much."""
    texture, weights = make(case, dtype, device)
    with use(backend):
        value = texel_ties(texture.requires_grad_(), weights, CORNER)
        (2 * value).backward()
    assert texture.grad is not None
    return [value.detach(), texture.grad]


def huber(d: float) -> float:
    return abs(d) - CORNER / 2 if abs(d) > CORNER else d * d / (2 * CORNER)


def test_it_is_a_sum_over_pairs() -> None:
    texture, weights = make((4, 5, 2), torch.float64)
    expected = 0.0
    for k, (down, right) in enumerate(PAIRS):
        for i in range(4):
            for j in range(5):
                if i + down < 4 and 0 <= j + right < 5:
                    difference = texture[i + down, j + right] - texture[i, j]
                    expected += weights[k, i, j].item() * sum(map(huber, difference.tolist())) / 2
    assert texel_ties(texture, weights, CORNER).item() == pytest.approx(expected)


def test_gradients() -> None:
    texture, weights = make((5, 4, 2), torch.float64)
    assert torch.autograd.gradcheck(lambda t: texel_ties(t, weights, CORNER), (texture.requires_grad_(),))


def test_wrong_arguments() -> None:
    texture, weights = make((5, 4, 2))
    with pytest.raises(ValueError, match="texture: expected"):
        texel_ties(texture[0], weights, CORNER)
    with pytest.raises(ValueError, match="weights: expected"):
        texel_ties(texture, weights[:, 1:], CORNER)
    with pytest.raises(ValueError, match="corner: expected"):
        texel_ties(texture, weights, 0.0)


def test_nothing_is_tied_to_nothing() -> None:
    texture = torch.zeros(0, 4, 3, requires_grad=True)
    assert texel_ties(texture, torch.zeros(4, 0, 4), CORNER) == 0


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", CASES)
def test_cpu_agrees(case: tuple[int, int, int]) -> None:
    exact, same = results("reference", case, torch.float64), results("reference", case)
    for mine, peer, double in zip(results("cpu", case), same, exact, strict=True):
        ladder.assert_error_at_most_twice(mine, peer, double)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_shows(value: float) -> None:
    texture, weights = make((6, 7, 1))
    texture[3, 3] = value
    weights += 1
    assert not texel_ties(texture, weights, CORNER).isfinite()


@pytest.mark.usefixtures("all_threads")
def test_threads_do_not_change_the_bits() -> None:
    found, threads = [], numba.get_num_threads()
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            found.append(results("cpu", (61, 47, 3)))
    finally:
        numba.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", CASES)
def test_triton_agrees(case: tuple[int, int, int]) -> None:
    exact, same = results("reference", case, torch.float64), results("reference", case)
    for mine, peer, double in zip(results("triton", case), same, exact, strict=True):
        ladder.assert_error_at_most_twice(mine, peer, double)


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_budget(target: str) -> None:
    from nerfkit.kernels.texel_ties import triton

    signature = {f"{name}_ptr": "*fp32" for name in ("texture", "weights", "pull")} | {"sums_ptr": "*fp64"}
    signature |= dict.fromkeys(("height", "width", "channels", "elements"), "i32")
    signature |= dict.fromkeys(("scale", "factor"), "fp32")
    ladder.check_budget("texel_ties.ties", target, triton.ties_kernel, signature, {"BLOCK": triton.BLOCK})


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", CASES)
def test_gpu(case: tuple[int, int, int]) -> None:
    exact, same = results("reference", case, torch.float64), results("reference", case)
    found, again = (results("triton", case, device="cuda") for _ in range(2))
    for mine, other, peer, double in zip(found, again, same, exact, strict=True):
        assert torch.equal(mine, other)
        ladder.assert_error_at_most_twice(mine, peer, double)
