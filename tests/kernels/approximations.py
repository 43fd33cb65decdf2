"""How wrong a GPU's exponential and quotient may make a result: the error analysis behind the bounds on a GPU.

Triton turns ``tl.exp`` of a float32 into ``ex2.approx.f32`` of x log2(e), and ``/`` into ``div.full.f32``. The PTX ISA
(9.7.3) gives either 2 ulp over the full range, 2^-22 of the result at most, counted from the correctly rounded result,
whose own half ulp PyTorch's error has as well. The product x log2(e) has one rounding of its own, 2^-24 |x|, and one of
the constant, 0.22 2^-24 |x|; ``__expf``, the same two instructions, is documented with 2 + 1.173 |x| ulp, an ulp
being 2^-24 to 2^-23 of the result. So, relative to each result,

    exp(x)          E(x) = 2^-22 + 2^-23 |x|
    a / b           Q = 2^-22

and by the derivatives, for what kernels make of the two and the reference calls by one name:

    1 - exp(-x)     exp(-x) E(x), absolute; by its series below 1/2
    sigmoid(x)      Q + E(x), relative: y / (1 + y) with y = exp(-|x|)
    log sigmoid(x)  the same, absolute
    softplus(x)     exp(-|beta x|) E(beta x) / beta, absolute
    softmax(x)      Q + E(x - max x), relative

PyTorch's own functions are within 1 or 2 ulp without the part that grows with |x|, so twice PyTorch's error does not
bound a kernel's. ``Approximated`` computes the float64 reference with every one of these functions off by its bound,
with random signs; what that does to a result, gradients included, is what the two instructions may do to it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

QUOTIENT = 2.0**-22


def exponential(x: Tensor) -> Tensor:
    """E(x)."""
    return 2.0**-22 + 2.0**-23 * x.detach().abs().nan_to_num(posinf=0.0)


def _exp(x: Tensor, y: Tensor, words: dict[str, Any]) -> Tensor:
    return y * exponential(x)


def _expm1(x: Tensor, y: Tensor, words: dict[str, Any]) -> Tensor:
    return torch.where(x.abs() >= 0.5, x.exp() * exponential(x), 0)


def _sigmoid(x: Tensor, y: Tensor, words: dict[str, Any]) -> Tensor:
    return y * (QUOTIENT + exponential(x))


def _logsigmoid(x: Tensor, y: Tensor, words: dict[str, Any]) -> Tensor:
    return QUOTIENT + exponential(x)


def _softplus(x: Tensor, y: Tensor, words: dict[str, Any]) -> Tensor:
    scaled = x * words.get("beta", 1)
    return torch.exp(-scaled.abs()) * exponential(scaled) / words.get("beta", 1)


def _softmax(x: Tensor, y: Tensor, words: dict[str, Any]) -> Tensor:
    return y * (QUOTIENT + exponential(x - x.amax(1, keepdim=True)))


BOUNDS: dict[Callable[..., Tensor], Callable[[Tensor, Tensor, dict[str, Any]], Tensor]] = {
    **dict.fromkeys((torch.exp, Tensor.exp), _exp),
    **dict.fromkeys((torch.expm1, Tensor.expm1), _expm1),
    **dict.fromkeys((torch.sigmoid, Tensor.sigmoid), _sigmoid),
    torch.nn.functional.logsigmoid: _logsigmoid,
    torch.nn.functional.softplus: _softplus,
    torch.softmax: _softmax,
}


class Approximated(TorchFunctionMode):
    """Inside the block these functions are off by their bounds, with random signs that are the same in every block."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(17)

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func not in BOUNDS:
            return result
        size = BOUNDS[func](args[0].detach(), result.detach(), kwargs or {})
        sign = 2.0 * torch.randint(2, result.shape, generator=self.generator).to(result) - 1
        scale = torch.where(result.detach() == 0, 0.0, size / result.detach())
        return torch.where(scale.isfinite(), result * (1 + sign * scale), result)
