"""Locks, which end with the process that holds them, however it ends: one process at a time trains a run."""

import contextlib
import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from nerfkit.runs.untrusted import RefusedError, size_of

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

BEYOND = 1 << 40  # Windows locks bytes, and nobody may write those: one that no log reaches
ATTEMPTS, PAUSE = 6, 0.01  # to lock a file; seconds between two
BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


def locked(path: Path) -> BinaryIO | None:
    """The file, locked until it is closed; None where it is locked already. It is made where it is not there.

    On a file system without locks it is as if nobody had locked it.

    Raises:
        OSError: it cannot be written.
        RefusedError: it is a pipe or a device.
    """
    if path.exists():
        size_of(path)
    file = path.open("ab")
    for attempt in range(ATTEMPTS):  # whoever asks ``is_locked`` is in the way for a moment
        if not _is_busy(file, _lock):
            return file
        if attempt < ATTEMPTS - 1:
            time.sleep(PAUSE)
    file.close()
    return None


def is_locked(path: Path) -> bool:
    """Whether a living process has locked the file; False where it cannot be read.

    Any number of processes may ask at once.
    """
    try:
        size_of(path)
        with path.open("rb") as file:
            return _is_busy(file, _lock_shared)
    except (OSError, RefusedError):  # whoever wants to write it will say so
        return False


def _is_busy(file: BinaryIO, lock: Callable[[BinaryIO], None]) -> bool:
    """Locks the file, unless another has; without effect on a file system without locks."""
    try:
        lock(file)
    except OSError as error:
        return error.errno in BUSY
    return False


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """A block that one process at a time is in for the file or folder ``path``, which is left as it is; others wait.

    Without effect on Windows, and on a file system without locks.
    """
    with contextlib.ExitStack() as after:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                number = os.open(path, os.O_RDONLY)
                after.callback(os.close, number)
                fcntl.flock(number, fcntl.LOCK_EX)
        yield


if sys.platform == "win32":

    def _lock(file: BinaryIO) -> None:
        file.seek(BEYOND)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    _lock_shared = _lock

else:

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _lock_shared(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
