"""Work in pieces that shrink where an allocation fails, as injected, and as the system has it."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from nerfkit.cli import exit_codes
from nerfkit.errors import ConfigError
from nerfkit.runs import memory
from nerfkit.runs.memory import by_rows, fitting, in_pieces

ERRORS = [
    MemoryError("Unable to allocate 4.00 GiB"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    ),
    RuntimeError("DefaultCPUAllocator: not enough memory"),
]


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_halved", {})


def room_for(most: int, error: BaseException = ERRORS[0]) -> Callable[[torch.Tensor], torch.Tensor]:
    def call(rows: torch.Tensor) -> torch.Tensor:
        if len(rows) > most:
            raise error
        return rows + 1

    return call


@pytest.mark.parametrize("error", ERRORS, ids=["numpy", "gpu", "cpu", "other cpu"])
def test_pieces_are_halved_until_they_fit_and_it_is_said_once(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = torch.arange(1000)
    for _ in range(2):
        found = list(by_rows("rows", room_for(300, error), rows, at_once=800))
        assert [done for done, _ in found] == [200, 400, 600, 800, 1000]
        assert torch.equal(torch.cat([part for _, part in found]), rows + 1)
    list(by_rows("other rows", room_for(300, error), rows, at_once=400))
    said = capsys.readouterr().err
    assert said.count("note:") == 1 and "no memory for 800 rows at once" in said


def test_a_failure_on_the_way_repeats_nothing_that_is_done() -> None:
    seen: list[tuple[int, int]] = []

    def call(first: int, past: int) -> None:
        if first == 8 and past > 12:
            raise MemoryError
        seen.append((first, past))

    assert [done for done, _ in in_pieces("things", call, 19, 8)] == [8, 12, 16, 19]
    assert seen == [(0, 8), (8, 12), (12, 16), (16, 19)]


def test_below_a_minimum_it_is_one_message() -> None:
    tried: list[int] = []

    def call(count: int) -> None:
        tried.append(count)
        raise MemoryError

    with pytest.raises(ConfigError, match=r"^there is no memory for 4 rays at once\. Lower it$"):
        fitting("rays", call, 4096, "Lower it")
    assert tried == [4096 >> k for k in range(11)]
    with pytest.raises(ConfigError, match="no memory for 1 photos"):
        fitting("photos", call, 3)


def test_other_errors_and_no_rows_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        fitting("rows", lambda _: torch.zeros(2) @ torch.zeros(3, 3), 8)
    assert [made.shape for _, made in by_rows("rows", lambda t: t, torch.zeros(0, 3), at_once=8)] == [(0, 3)]


@pytest.mark.parametrize("error", ERRORS[:2], ids=["numpy", "gpu"])
def test_what_is_not_in_pieces_ends_in_one_message(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise error
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: there is not enough memory (") and said.count("\n") == 1


LIMITED = """
import resource, torch
from nerfkit.runs.memory import by_rows
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (600 << 20),) * 2)
rows = torch.zeros(4096)
sizes = [made for _, made in by_rows("rows", lambda r: len(torch.ones(len(r), 1 << 18)), rows, at_once=4096)]
print(sizes[0], sum(sizes))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
def test_a_process_with_little_memory_goes_on_in_smaller_pieces() -> None:
    """4096 rows take 4 GiB; 600 MiB are there."""
    ended = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["512", "4096"] and "no memory for 4,096 rows" in ended.stderr
