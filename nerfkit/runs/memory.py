"""Work on many things, some of them at a time: half as many where there was no memory for so many."""

import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from nerfkit.errors import MORE_MEMORY, ConfigError, out_of_memory

T = TypeVar("T")
HALVINGS = 10  # at most: a thousandth of what is usual
_halved: dict[str, int] = {}  # by what is worked on, how often: what did not fit once is not tried again


def fitting(what: str, call: Callable[[int], T], at_once: int, remedy: str = MORE_MEMORY) -> tuple[int, T]:
    """``call(n)`` with the largest n of ``at_once``, a half of it, a quarter ... for which there is memory.

    The first time that it is less is said, once in a program.

    Args:
        what: is worked on, in the plural.
        call: may be called again after it has failed half way.
        remedy: what to do where even a thousandth does not fit.

    Returns:
        n, and what ``call`` returned.

    Raises:
        ConfigError: there is no memory for ``at_once`` / 2^``HALVINGS``, or for one.
    """
    while True:
        count = max(at_once >> _halved.get(what, 0), 1)
        try:
            return count, call(count)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if count == 1 or _halved.get(what, 0) == HALVINGS:
                raise ConfigError(f"there is no memory for {count:,} {what} at once. {remedy}") from None
        # Not within ``except``, where the traceback would still hold what the call had allocated.
        if not _halved:
            tqdm.write(f"note: there is no memory for {count:,} {what} at once; going on with half", file=sys.stderr)
        _halved[what] = _halved.get(what, 0) + 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def in_pieces(
    what: str, call: Callable[[int, int], T], count: int, at_once: int, remedy: str = MORE_MEMORY
) -> Iterator[tuple[int, T]]:
    """``call(first, past)`` for ``count`` things in turn, at most ``at_once`` together; once where there are none.

    Yields how many are done, and what ``call`` returned. Raises as ``fitting`` does.
    """
    first, going = 0, True
    while going:
        begin = first
        taken, made = fitting(what, lambda n, begin=begin: call(begin, min(begin + n, count)), at_once, remedy)  # type: ignore[misc]
        first = min(first + taken, count)
        going = first < count
        yield first, made


def by_rows(
    what: str, call: Callable[..., T], *tensors: Tensor, at_once: int, remedy: str = MORE_MEMORY
) -> Iterator[tuple[int, T]]:
    """``in_pieces`` of tensors with the same number of rows: ``call`` takes the rows of each."""
    return in_pieces(what, lambda a, b: call(*(t[a:b] for t in tensors)), len(tensors[0]), at_once, remedy)
