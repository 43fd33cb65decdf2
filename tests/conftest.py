"""For all tests: one CPU thread for torch, the Triton interpreter's child process, GPU skips."""

import contextlib
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import nerfkit
from nerfkit.runs.threads import MOST  # before torch is told to use one
from tests.dry_run import dry_run

TOGETHER = 46  # interpreted tests of a child process, which takes some seconds to start
FIRST = ("test_torture.py", "test_ranks.py", "test_hostile.py", "test_precompile.py")
"""Files whose tests take half a minute each: a worker that began one last would let the others wait."""


def interpreting() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu-dry", action="store_true", help="GPU tests without a GPU: see tests/dry_run.py")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--gpu-dry"):
        os.environ["TRITON_INTERPRET"] = "1"  # before a test imports kernels
    # Where another program is busy, small parallel regions only wait for each other.
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's, of workers and of the interpreter's child processes
    config.addinivalue_line("markers", "interpreted: Triton's interpreter; several run in a child process")


@pytest.fixture
def all_threads() -> Iterator[None]:
    """As many of Numba's threads as there are, for tests that compare them with one."""
    before = numba.get_num_threads()
    numba.set_num_threads(MOST)
    yield
    numba.set_num_threads(before)


@pytest.fixture
def command_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Takes away what a command sets for its process, which is the tests': handlers of threads, of SIGTERM, of logs;
    Hydra's state, which a job that ends the program leaves."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    GlobalHydra.instance().clear()


Command = Callable[..., int]


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An empty room in place of the pipeline, whose own tests are elsewhere."""
    module = ModuleType("nerfkit.pipeline")
    monkeypatch.setitem(sys.modules, "nerfkit.pipeline", module)
    monkeypatch.setattr(nerfkit, "pipeline", module, raising=False)
    return module


@pytest.fixture
def runs(pipeline: ModuleType) -> list[Any]:
    """What the commands hand to the pipeline."""
    configs: list[Any] = []
    pipeline.render = configs.append
    pipeline.run = lambda config, words=None: configs.append(config)
    return configs


@pytest.fixture
def command(command_leaves_nothing: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs a command in an empty folder and returns its exit code."""
    monkeypatch.chdir(tmp_path)

    def call(entry: Callable[[], None], *words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["command", *words])
        try:
            entry()
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        return 0

    return call


class InterpretedTests(pytest.Item):
    """Some tests that are marked ``interpreted``, run in a child process with ``TRITON_INTERPRET=1``."""

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


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Call interpreted tests slow; then, after ``-k`` and ``-m`` have had their say, make few items of all of them.

    What takes longest comes first: they do, then the files ``FIRST``.
    """
    for item in items:
        if item.get_closest_marker("interpreted"):
            item.add_marker("slow")
    yield
    items.sort(key=lambda item: item.path.name not in FIRST)
    if interpreting():
        return
    waiting = [item for item in items if item.get_closest_marker("interpreted")]
    groups = [waiting[first : first + TOGETHER] for first in range(0, len(waiting), TOGETHER)]
    items[:] = [
        InterpretedTests.from_parent(group[0].parent, name=f"interpreted {k}", node_ids=[i.nodeid for i in group])
        for k, group in enumerate(groups)
    ] + [item for item in items if not item.get_closest_marker("interpreted")]


def pytest_collection_finish() -> None:
    """What has been imported and collected stays: no more to be looked through for garbage."""
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not item.config.getoption("--gpu-dry"):
        if interpreting():
            pytest.skip("TRITON_INTERPRET is set: kernels would not run on the GPU")
        if not torch.cuda.is_available():
            pytest.skip("no GPU that Triton can drive")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    dry = item.get_closest_marker("gpu") and item.config.getoption("--gpu-dry")
    with dry_run() if dry else contextlib.nullcontext():
        return (yield)
