"""Locks, which end with the process that holds them, however it ends: one process at a time trains a run."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nerfkit.runs.untrusted import RefusedError, size_of

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

BEYOND = 1 << 40  # Windows locks bytes, and nobody may write those: one that no log reaches
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
    try:
        _lock(file)
    except OSError as error:
        if error.errno in BUSY:
            file.close()
            return None
    return file


def is_locked(path: Path) -> bool:
    """Whether a living process has locked the file."""
    if not path.exists():
        return False
    try:
        file = locked(path)
    except (OSError, RefusedError):  # whoever wants to write it will say so
        return False
    if file is None:
        return True
    file.close()
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

else:

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
