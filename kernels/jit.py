"""Numba, set up once for every CPU kernel: parallel, cached on disk, and its first compilation announced."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import torch  # before Numba starts its threads: see the priority below
from numba.core import caching, event
from numba.np.ufunc import parallel

# OpenMP first: on Linux its library is the one torch has loaded, so that both draw from one pool of threads instead of
# two pools that spin against each other (measured: 3 times on kernels that alternate with matrix products).
numba.config.THREADING_LAYER_PRIORITY = ["omp", "workqueue", "tbb"]

LOCK = ".nerfkit.lock"  # in a folder of compiled kernels
COMPILED_IN = {  # operation -> others that it is made of
    "feature_view": ("feature_field", "march", "sample_rays"),
    "textured": ("texture",),
}


@contextlib.contextmanager
def _locked(cache: Path, shared: bool = False) -> Iterator[None]:
    """While no other process changes a folder of compiled kernels, or with ``shared``, while none but reads it.

    Where the system has no such locks, or the folder cannot be written to, nothing is locked.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(held.enter_context((cache / LOCK).open("a")), fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def _drop_stale(folder: Path) -> None:
    """Removes the compiled kernels below ``folder`` that are older than a source they may be made of.

    These are the ones beside them, in ``folder`` itself, and of the operations that others compile in.

    Numba looks only at the file of the function that it caches: a change in a module which that function calls would
    go unnoticed.
    """
    shared = [*folder.glob("*.py"), *folder.glob("composite/*.py"), *folder.glob("philox/*.py")]
    for cache in folder.glob("*/__pycache__"):
        own = (cache.parent, *(folder / name for name in COMPILED_IN.get(cache.parent.name, ())))
        sources = (*shared, *(path for part in own for path in part.glob("*.py")))
        changed = max((path.stat().st_mtime for path in sources), default=0.0)
        with _locked(cache):
            for index in cache.glob("*.nbi"):
                with contextlib.suppress(OSError):  # not ours to write, or another process was faster
                    if index.stat().st_mtime < changed:
                        index.unlink()


_drop_stale(Path(__file__).parent)


def _alone(what: Callable, shared: bool = False) -> Callable:
    """A method of Numba's cache files that no other process interrupts, but where both only read.

    Two that save at once would both add to the index that they have read: the one that is written last forgets the
    other's kernel, or names its file although it holds the other one.
    """

    @functools.wraps(what)
    def method(self: caching.IndexDataCacheFile, *arguments: Any) -> Any:
        with _locked(Path(self._cache_path), shared):
            return what(self, *arguments)

    return method


caching.IndexDataCacheFile.save = _alone(caching.IndexDataCacheFile.save)
caching.IndexDataCacheFile.load = _alone(caching.IndexDataCacheFile.load, shared=True)


class _Compiling(event.TimingListener):
    """Says once a process that kernels are being compiled: it takes seconds, and silence would look like a hang."""

    def __init__(self) -> None:
        super().__init__()
        self._duration, self.said = 0.0, False

    def on_start(self, event: Any) -> None:
        if not self.said:
            self.said = True
            print("compiling the CPU kernels (once, where they can be cached on disk)", file=sys.stderr, flush=True)
        super().on_start(event)


_compiling = _Compiling()
event.register("numba:compile", _compiling)


def compile_seconds() -> float:
    """Seconds that this process has spent compiling kernels: a budget of time should not pay for them."""
    return float(_compiling.duration)


def jit(function: Callable | None = None, *, parallel: bool = True, fastmath: bool = False) -> Any:
    """``numba.njit`` with the project's options: cached where it can be, no GIL, IEEE arithmetic unless ``fastmath``.

    ``fastmath=True`` allows fused multiply-adds and reassociation, but keeps NaN and infinity meaningful.
    """
    flags = {"reassoc", "contract", "arcp", "nsz"} if fastmath else False
    compiled = cached(parallel=parallel, nogil=True, fastmath=flags, error_model="numpy")
    return compiled if function is None else compiled(function)


def cached(**options: Any) -> Callable[[Callable], Any]:
    """``numba.njit(**options)``, cached where there is a place for it: a read-only installation may have none."""

    def compiled(function: Callable) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:
            return numba.njit(**options)(function)

    return compiled


def _launch_threads() -> None:
    """Starts Numba's threads. They share OpenMP with torch's, whose number Numba then sets to its own: put it back."""
    threads = torch.get_num_threads()
    _launch()
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


# Numba calls it by this name when the first parallel function is compiled or loaded from the cache: not before, as
# processes that are forked after it cannot run such functions.
_launch = parallel._launch_threads
parallel._launch_threads = _launch_threads

inline = numba.njit(inline="always", error_model="numpy")
