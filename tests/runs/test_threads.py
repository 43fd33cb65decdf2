"""The number of CPU threads: as asked, as measured, never more than there are."""

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
