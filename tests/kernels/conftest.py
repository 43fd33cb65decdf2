"""What the kernel ladder (see ``ladder.py``) shares: poisoned outputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """``torch.empty`` and its kin return NaN (integers: their largest value): a kernel must write every output."""

    def poisoned(allocate: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def allocate_poisoned(*args: Any, **kwargs: Any) -> torch.Tensor:
            out = allocate(*args, **kwargs)
            if out.dtype is torch.bool:
                return out
            return out.fill_(float("nan") if out.is_floating_point() else torch.iinfo(out.dtype).max)

        return allocate_poisoned

    monkeypatch.setattr(torch, "empty", poisoned(torch.empty))
    monkeypatch.setattr(torch, "empty_like", poisoned(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned(torch.Tensor.new_empty))
