"""Hooks of the kernel ladder (see ``ladder.py``): the interpreter's child process, GPU skips, poisoned outputs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent
INTERPRETING = os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "interpreted: Triton's interpreter; runs in a child process, once a file")


class InterpretedTests(pytest.Item):
    """All tests of one file that are marked ``interpreted``, run in a child process with ``TRITON_INTERPRET=1``."""

    def __init__(self, *, node_ids: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node_ids = node_ids

    def runtest(self) -> None:
        pytest.importorskip("triton", reason="Triton is not installed")
        command = [sys.executable, "-m", "pytest", "-q", "--color=no", "--no-header", *self.node_ids]
        environment = os.environ | {"TRITON_INTERPRET": "1"}
        root = self.config.rootpath
        child = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        if child.returncode != 0:
            pytest.fail(f"{' '.join(command)}\n{child.stdout}\n{child.stderr}", pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"interpreted ({len(self.node_ids)} tests)"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Replace the interpreted tests of each file by one item; after ``-k`` and ``-m`` have had their say."""
    if INTERPRETING:
        return
    waiting: dict[pytest.Module, list[str]] = {}
    kept = []
    for item in items:
        module = item.getparent(pytest.Module)
        if module is not None and item.get_closest_marker("interpreted"):
            waiting.setdefault(module, []).append(item.nodeid)
        else:
            kept.append(item)
    kept += [InterpretedTests.from_parent(m, name="interpreted", node_ids=ids) for m, ids in waiting.items()]
    items[:] = kept


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        if INTERPRETING:
            pytest.skip("TRITON_INTERPRET is set: kernels would not run on the GPU")
        if not torch.cuda.is_available():
            pytest.skip("no GPU that Triton can drive")


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
