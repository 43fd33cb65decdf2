"""What bounds a part of the GPU benchmark, and what is left of a measurement that could not be made: its reason.

An entry of the results is a measurement, or ``{"not_run": reason}``, or ``{"failed": reason}`` where code of this
project broke.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

import torch

Result = TypeVar("Result")
Entry = dict[str, Any]


class NotRunError(Exception):
    """A measurement that cannot be made here; the message says why."""


class OutOfTimeError(BaseException):
    """The time of a block is used up. No ``Exception``: compilers catch those and go on."""


class Budget:
    """Seconds that a part may take; where it is part of a ``whole``, no more than that has left."""

    def __init__(self, seconds: float, whole: "Budget | None" = None) -> None:
        self.start = time.monotonic()
        self.end: float = self.start + seconds if whole is None else min(self.start + seconds, whole.end)

    def left(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.end - time.monotonic())

    def used(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.start


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises OutOfTimeError inside the block after ``seconds``, or where an outer block's time ends before that.

    No limit where the system has no interval timer.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise OutOfTimeError

    outer, _ = signal.getitimer(signal.ITIMER_REAL)
    start = time.monotonic()
    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(min(seconds, outer or seconds), 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        if outer:
            signal.setitimer(signal.ITIMER_REAL, max(outer - (time.monotonic() - start), 1e-3))


def attempt(
    function: Callable[[], Result], seconds: float, whose: Literal["ours", "others"] = "ours"
) -> tuple[Result | None, Entry]:
    """What ``function`` returns and an empty entry; or None and an entry that says why there is nothing.

    What breaks in code of ``others`` (PyTorch's compiler, a peer) was not run; what breaks in ``ours`` has failed.
    """
    try:
        with at_most(seconds):
            return function(), {}
    except OutOfTimeError:
        return None, {"not_run": f"stopped after {seconds:.0f} s"}
    except NotRunError as error:
        return None, {"not_run": str(error)}
    except torch.OutOfMemoryError:
        return None, {"not_run": "out of GPU memory"}
    except Exception as error:  # whatever breaks, the other measurements go on
        first = next(iter(str(error).strip().splitlines()), "")
        reason = f"{type(error).__name__}: {first}"[:300]
        return None, {"failed" if whose == "ours" else "not_run": reason}


def failures(results: Any, name: str = "") -> list[str]:
    """``NAME: reason`` of every failed entry in a nest of results."""
    if not isinstance(results, dict):
        return []
    if "failed" in results:
        return [f"{name}: {results['failed']}"]
    return [line for key, value in results.items() for line in failures(value, f"{name}, {key}" if name else key)]


def wait(device: str | torch.device) -> None:
    """Until a GPU is done; a CPU always is."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(function: Callable[[], object], device: str | torch.device) -> int | None:
    """Bytes of GPU memory that a call takes at most, above what was taken before it; None where there is no GPU."""
    if torch.device(device).type != "cuda":
        function()
        return None
    wait(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    function()
    wait(device)
    return torch.cuda.max_memory_allocated(device) - before
