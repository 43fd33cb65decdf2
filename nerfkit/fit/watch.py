"""Is everything still finite? Asked on the device in every step, answered on the host when it asks."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

LARGE = 1 << 16  # elements


class NotFiniteError(FloatingPointError):
    """A term of the loss or a gradient was NaN or infinite: the fit has diverged. The program ends with exit code 3.

    Attributes:
        step: in which step of the fit.
        what: which term or gradient, as a sentence.
        where: the photos or rays of that step that are to blame; empty where nothing is known of them.
    """

    def __init__(self, step: int, what: str, where: str = "", title: str = "", advice: str = "") -> None:
        self.step, self.what, self.where = step, what, where
        said = f"step {step}: {what}" + (f" ({where})" if where else "") + advice
        super().__init__(f"{title}: {said}" if title else said)


def loss_not_finite(term: str) -> str:
    """What is said of a term of the loss."""
    return f"the loss is not finite (term: {term})"


def gradient_not_finite(name: str) -> str:
    """What is said of a parameter's gradient."""
    return f"the gradient of {name} is not finite"


class FiniteWatch:
    """Remembers the first step in which a term of the loss or a gradient was NaN or infinite.

    Looking costs a few small kernels and no wait for the device. From that step on ``found`` is 1: as ``found_inf`` of
    a fused optimizer (the mechanism of ``torch.amp.GradScaler``) it keeps the weights as they were before.

    Attributes:
        found: () float32 on the device, 0 or 1, the same tensor for good.
    """

    def __init__(self, parameters: Iterable[tuple[str, torch.nn.Parameter]], device: torch.device) -> None:
        self.parameters = list(parameters)
        self.found = torch.zeros((), device=device)
        self._names: list[str] = []
        self._since = torch.zeros(0, dtype=torch.int64, device=device)  # (K,) 1 + the step in which it was found, or 0

    def look(self, terms: dict[str, Tensor], step: int) -> None:
        """Looks at the terms, () each and the same in every step, and at the parameters' gradients."""
        gradients = [(name, p.grad) for name, p in self.parameters if p.grad is not None]
        # On a CPU a maximum takes 25 times as long as a sum, which tells as much, short of an overflow.
        large = [(name, g) for name, g in gradients if g.numel() > LARGE and not g.is_cuda]
        others = [(name, g) for name, g in gradients if g.numel() <= LARGE or g.is_cuda]
        norms = torch._foreach_norm([g for _, g in others], math.inf) if others else ()
        sizes = [*norms, *(g.sum() for _, g in large)]
        values = torch.stack([*(t.detach() for t in terms.values()), *sizes])  # (K,)
        now = (values - values != 0) * (step + 1)  # (K,), 0 where finite
        if not self._names:
            self._names = [loss_not_finite(name) for name in terms]
            self._names += [gradient_not_finite(name) for name, _ in (*others, *large)]
            self._since = now
        else:
            self._since = torch.where(self.found > 0, self._since, now)
        self.found.copy_(self._since.any())

    def forget(self) -> None:
        """Everything is finite again: the step that was not is left out."""
        self.found.zero_()
        self._since = torch.zeros_like(self._since)

    def check(self) -> None:
        """Waits for the device.

        Raises:
            NotFiniteError: says in which step what was not finite, the first of the terms or else of the gradients.
        """
        if self.found.item():
            since = self._since.tolist()
            first = next(k for k, value in enumerate(since) if value)
            raise NotFiniteError(since[first] - 1, self._names[first])


def not_finite(value: Any, name: str = "") -> Iterator[str]:
    """Names of the tensors with NaN or infinity in a nest of dictionaries, such as ``average.field.color.bias``."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and not value.isfinite().all():
            yield name
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from not_finite(inner, f"{name}.{key}" if name else str(key))
