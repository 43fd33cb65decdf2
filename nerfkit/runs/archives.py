"""Zip archives and NumPy's arrays of strangers: unpacked in memory within limits, and nothing in them is executed.

An entry is never unpacked beyond the size that the archive says it has, and counts with that before it is: all that
are read may take ``ROOM`` bytes, or ``RATIO`` times the archive where that is more. Only entries that are stored or
deflated are read, as zip programs write them: one step of other methods may unpack to more than all limits.
"""

import io
import math
import threading
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.lib import format as npy_format

from nerfkit.runs.untrusted import FILE_BYTES, RefusedError, read_file, size_of

ENTRIES = 200_000
DIRECTORY = 32 << 20  # bytes of the list of entries, which is read before they are counted: at most 730,000
ROOM = 256 << 20
RATIO = 400  # masks of labels are packed 500 times smaller, the photos beside them hardly at all
ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError, MemoryError)
"""What ``Archive`` raises for a file that is damaged, hostile or encrypted; KeyError for a name that is not there."""


class _File(io.BufferedReader):
    """A file of which no more than ``most`` bytes are read at once."""

    most = DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise RefusedError(f"its list of entries has {size:,} bytes, more than {self.most:,}")
        return super().read(size)


class Archive:
    """A zip file, or the bytes of one, in a ``with`` block; ``read`` may be called from threads.

    Raises:
        one of ``ERRORS``: it cannot be read, is a pipe or a device, or has too many entries.
    """

    def __init__(self, file: Path | bytes) -> None:
        size = len(file) if isinstance(file, bytes) else size_of(file)
        self._file = _File(io.BytesIO(file) if isinstance(file, bytes) else io.FileIO(file))
        try:
            self._zip = zipfile.ZipFile(self._file)
            self.names = self._zip.namelist()
            if len(self.names) > ENTRIES:
                raise RefusedError(f"it has {len(self.names):,} entries, more than {ENTRIES:,}")
        except BaseException:
            self._file.close()
            raise
        self._file.most = size
        self._all = self._room = max(ROOM, RATIO * size)
        self._counted = set[str]()  # photos are read more than once
        self._lock = threading.Lock()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._zip.close()
        self._file.close()

    def read(self, name: str) -> bytes:
        """What an entry unpacks to, its checksum compared.

        Raises:
            KeyError: there is none of that name.
            one of ``ERRORS``: it is damaged or encrypted, packed by another method, or there is no room for it.
        """
        about = self._zip.getinfo(name)
        if about.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RefusedError("it is packed neither by deflate nor as it is")
        with self._lock:
            if name not in self._counted:
                if about.file_size > self._room:
                    raise RefusedError(
                        f"the archive unpacks to more than {self._all:,} bytes: it is no archive of photos"
                    )
                self._room -= about.file_size
                self._counted.add(name)
        with self._zip.open(about) as entry:
            return entry.read(about.file_size + 1)  # a read without a number would unpack gigabytes first

    def check(self) -> None:
        """Compares all entries with their checksums; all are to be stored as they are.

        Raises:
            one of ``ERRORS``: one is packed, or is not what was written.
        """
        for about in self._zip.infolist():
            if about.compress_type != zipfile.ZIP_STORED:
                raise RefusedError(f"{about.filename} is packed, which PyTorch never does")
        damaged = self._zip.testzip()
        if damaged is not None:
            raise RefusedError(f"{damaged} is not what was written")


def array_of(data: bytes) -> np.ndarray:
    """The array of a .npy file; one that its header promises and the file does not hold is never made room for.

    Raises:
        Exception: it is no such file, or holds Python objects: a damaged header raises a dozen unrelated types.
    """
    file = io.BytesIO(data)
    if data.startswith(npy_format.MAGIC_PREFIX):
        first = npy_format.read_magic(file) == (1, 0)
        shape, _, kind = (npy_format.read_array_header_1_0 if first else npy_format.read_array_header_2_0)(file)
        there = len(data) - file.tell()
        if not kind.hasobject and math.prod(shape) * kind.itemsize > there:
            raise RefusedError(f"its array {shape} of {kind} is not there: {there} bytes are")
    file.seek(0)
    content = np.load(file, allow_pickle=False)
    if not isinstance(content, np.ndarray):
        raise RefusedError("an archive of arrays")
    return content


def arrays_of(data: bytes, prefixes: Iterable[str] = ("",)) -> dict[str, np.ndarray]:
    """The arrays of a .npz file whose names begin with one of ``prefixes``.

    Raises:
        Exception: as ``array_of``.
    """
    if data.startswith(npy_format.MAGIC_PREFIX):
        raise RefusedError("a single array")
    with Archive(data) as archive:
        wanted = [name for name in archive.names if name.startswith(tuple(prefixes))]
        return {name.removesuffix(".npy"): array_of(archive.read(name)) for name in wanted}


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """``arrays_of`` a file."""
    return arrays_of(read_file(path, FILE_BYTES))
