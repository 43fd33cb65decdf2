"""Where compiled kernels are kept."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core.caching import IndexDataCacheFile

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


SAVE = """
import sys
from nerfkit.kernels import jit
from numba.core.caching import IndexDataCacheFile
cache = IndexDataCacheFile(sys.argv[1], "kernel", "stamp")
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    cache.save((sys.argv[2], number), (sys.argv[2], number))
"""


def test_processes_that_save_at_once_lose_nothing(tmp_path: Path) -> None:
    command, names = [sys.executable, "-c", SAVE, str(tmp_path)], ("one", "other")
    processes = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in names
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait() for process in processes] == [0, 0]
    cache = IndexDataCacheFile(str(tmp_path), "kernel", "stamp")
    assert all(cache.load((name, number)) == (name, number) for name in names for number in range(100))
