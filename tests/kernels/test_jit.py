"""Where compiled kernels are kept."""

from collections.abc import Callable
from typing import Any

import numba
import pytest

from nerfkit.kernels.jit import jit


def test_a_read_only_installation_does_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable], Any]:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available for file")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    assert jit(parallel=False)(lambda x: x + 1)(2) == 3
    assert asked == [True, False]
