"""How many CPU threads a run uses.

More is not always faster: two virtual processors may be halves of one core, and where another program keeps one busy,
every parallel region waits for the thread that shares it (measured: a training step ten times slower).
"""

import time

import numba
import torch

MOST = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)  # before a run of this process has taken fewer
GAIN_WORTH_HAVING = 1.25  # a count of threads must be this much faster than a smaller one


def set_threads(wanted: int | None) -> int:
    """Let torch and Numba use ``wanted`` threads, or as many as pay where it is None; returns the number."""
    count = min(wanted, MOST) if wanted is not None else _worthwhile(MOST)
    numba.set_num_threads(count)
    torch.set_num_threads(count)  # after Numba, which sets torch's number when it starts its threads
    return count


def _worthwhile(most: int) -> int:
    """The largest of 1, 2, 4, ... up to ``most`` that beats the one before it by ``GAIN_WORTH_HAVING``."""
    best, fastest = 1, _seconds(1)
    count = 2
    while count <= most:
        seconds = _seconds(count)
        if seconds * GAIN_WORTH_HAVING > fastest:
            break
        best, fastest = count, seconds
        count *= 2
    return best


def _seconds(threads: int) -> float:
    """Median time of a layer of the default field, forward, on ``threads`` threads."""
    torch.set_num_threads(threads)
    x, matrix = torch.ones(8192, 64), torch.ones(64, 64)
    times = []
    for _ in range(60):
        start = time.perf_counter()
        torch.mm(x, matrix).relu_()
        times.append(time.perf_counter() - start)
    return sorted(times[10:])[25]
