"""The number of CPU threads: as asked, as measured, never more than there are."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
import torch

from nerfkit.runs import threads


@pytest.fixture(autouse=True)
def _restore() -> None:
    before = torch.get_num_threads(), numba.get_num_threads()
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


def test_as_asked() -> None:
    assert threads.set_threads(1) == 1
    assert torch.get_num_threads() == numba.get_num_threads() == 1


SEVERAL = {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}


@pytest.mark.slow
@pytest.mark.parametrize("cached", [True, False])
def test_numba_s_first_threads_do_not_change_torch_s_number(cached: bool, tmp_path: Path) -> None:
    """They share OpenMP, and Numba sets the number of all when it starts: a run of one thread had two."""
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from nerfkit.kernels.composite import composite\n"
        "t = torch.ones(1); composite(t, torch.ones(1, 3), t, t, torch.tensor([0, 1])); import numba\n"
        "assert (torch.get_num_threads(), numba.get_num_threads()) == (1, 2)\n"
        "from nerfkit.runs.threads import set_threads; assert set_threads(1) == torch.get_num_threads() == 1"
    )
    environment = os.environ | SEVERAL | ({} if cached else {"NUMBA_CACHE_DIR": str(tmp_path)})
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_importing_starts_no_threads() -> None:
    """A process that is forked after Numba's threads have started cannot run parallel functions."""
    code = (
        "import os, torch, numpy, nerfkit.pipeline, nerfkit.scenes.hull, nerfkit.studio.renderer, nerfkit.mesh.tree\n"
        "from nerfkit.kernels.composite import composite\n"
        "child = os.fork()\n"
        "t = torch.ones(1); composite(t, torch.ones(1, 3), t, t, torch.tensor([0, 1]))\n"
        "assert child == 0 or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | SEVERAL)


def test_fewer_threads_bind_no_later_run_of_the_process() -> None:
    threads.set_threads(1)
    assert threads.set_threads(10_000) == threads.MOST


def test_never_more_than_there_are() -> None:
    assert threads.set_threads(10_000) <= numba.config.NUMBA_NUM_THREADS


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({1: 1.0, 2: 0.99, 4: 0.98, 8: 0.97}, 1),  # halves of one core
        ({1: 1.0, 2: 0.52, 4: 0.3, 8: 0.29}, 4),
        ({1: 1.0, 2: 0.5, 4: 0.25, 8: 0.13}, 8),
        ({1: 1.0, 2: 9.0, 4: 0.1, 8: 0.1}, 1),  # another program keeps a processor busy
    ],
)
def test_more_threads_must_pay(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], expected: int) -> None:
    monkeypatch.setattr(threads, "_seconds", seconds.__getitem__)
    assert threads._worthwhile(8) == expected
