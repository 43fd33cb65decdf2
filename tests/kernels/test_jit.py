"""Where compiled kernels are kept."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest

from nerfkit.kernels.jit import jit


@pytest.mark.parametrize("writable", [True, False])
def test_a_read_only_installation_keeps_its_kernels_elsewhere_or_nowhere(
    writable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = numba.njit, []

    def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable], Any]:
        asked.append((cache, numba.config.CACHE_DIR))
        if cache and not (writable and numba.config.CACHE_DIR):
            raise RuntimeError("cannot cache function: no locator available for file")
        return real(**options)

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert jit(parallel=False)(lambda x: x + 1)(2) == 3
    assert [cache for cache, _ in asked] == [True, True] + [False] * (not writable)
    assert Path(asked[1][1]).parent == tmp_path
