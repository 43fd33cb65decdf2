"""MATLAB's MAT files of strangers, level 5 (``save -v6`` and ``-v7``): matrices of numbers, and nothing else of them.

After a header of 128 bytes, which ends with the byte order, a file is a row of elements: a tag with the kind and the
number of bytes, then these, up to a multiple of eight. A matrix is an element of elements: flags with its class, its
dimensions, its name, and its numbers by columns, often in a smaller type than its class. One of at most four bytes has
them in its tag. Source: MathWorks, "MAT-File Format". What unpacks to more than an archive may is refused, as
``archives`` does it; objects, cells, structures and texts are passed over.
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from itertools import islice

import numpy as np

from nerfkit.runs.archives import RATIO, ROOM
from nerfkit.runs.untrusted import RefusedError

HEADER, VERSION = 128, 0x0100
MATRIX, PACKED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASSES = range(6, 16)  # double, single, and the whole numbers; logical ones are of uint8
COMPLEX = 0x0800
MOST_AXES = 32


def matrices(data: bytes, names: Collection[str]) -> dict[str, np.ndarray]:
    """Those of the matrices ``names`` that a MAT file holds, in the types in which they are stored.

    Raises:
        RefusedError, zlib.error: it is no such file, damaged or too large, or one of them holds no real numbers.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[HEADER - 2 : HEADER])
    if order is None or struct.unpack(f"{order}H", data[HEADER - 4 : HEADER - 2]) != (VERSION,):
        raise RefusedError("no MAT file of level 5; MATLAB writes one with save -v6 or -v7")
    found, room = {}, max(ROOM, RATIO * len(data))
    for kind, content in _elements(memoryview(data)[HEADER:], order):
        if kind == PACKED:
            unpacked = zlib.decompressobj().decompress(content, room + 1)
            room -= len(unpacked)
            if room < 0:
                raise RefusedError("it unpacks to more than a file of matrices does")
            kind, content = next(_elements(memoryview(unpacked), order), (0, content))
        if kind == MATRIX:
            name, matrix = _matrix(content, order, names)
            if matrix is not None:
                found[name] = matrix
    return found


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """The elements of a file or of a matrix, each its kind and its bytes."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack(f"{order}II", data[at : at + 8])
        begin, after = at + 8, at + 8 + size
        if kind >> 16:
            kind, size = kind & 0xFFFF, kind >> 16
            begin, after = at + 4, at + 8
        elif kind != PACKED:
            after += -size % 8
        if begin + size > min(len(data), after):
            raise RefusedError(f"{size:,} bytes are announced that are not there")
        yield kind, data[begin : begin + size]
        at = after


def _matrix(data: memoryview, order: str, names: Collection[str]) -> tuple[str, np.ndarray | None]:
    """A matrix by its name; None where it is none of ``names``.

    Raises:
        RefusedError: it is, and holds other than real numbers, or not as many as it says.
    """
    parts = list(islice(_elements(data, order), 4))
    if len(parts) < 3 or len(parts[0][1]) < 4 or len(parts[1][1]) % 4:
        return "", None
    name = bytes(parts[2][1][:64]).decode("latin-1")
    if name not in names:
        return name, None
    (flags,) = struct.unpack(f"{order}I", parts[0][1][:4])
    if flags & 0xFF not in CLASSES or flags & COMPLEX or len(parts) < 4 or parts[3][0] not in NUMBERS:
        raise RefusedError(f"{name} holds other things than real numbers")
    shape = np.frombuffer(parts[1][1], f"{order}i4").tolist()
    kind, content = np.dtype(order + NUMBERS[parts[3][0]]), parts[3][1]
    if len(shape) > MOST_AXES or min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != len(content):
        raise RefusedError(f"{name} says that it is {shape[:9]}, with {len(content):,} bytes of {kind.name}")
    return name, np.frombuffer(content, kind).reshape(shape, order="F")
