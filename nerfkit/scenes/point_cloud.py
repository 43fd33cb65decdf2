"""The points of a PLY file, as text or binary of either byte order; its faces, colors and normals are passed over."""

import re
from pathlib import Path

import numpy as np

from nerfkit.errors import problem
from nerfkit.runs.untrusted import read_file

# Names of PLY's number types, old and new, to NumPy's.
TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def read_points(path: str | Path) -> np.ndarray:
    """The positions (P,3) float64 of a PLY file's vertices; at least one.

    Raises:
        SceneError: it cannot be read, or has none.
    """
    remedy = "Set scene.points to a PLY file of points; of a run that found some, to where it is now."
    try:
        found = ply_points(read_file(Path(path)))
    except OSError as error:
        raise problem(str(path), error.strerror or str(error), "a PLY file of points", remedy) from None
    except ValueError as error:
        raise problem(str(path), str(error), "a PLY file of points", remedy) from None
    if not len(found):
        raise problem(str(path), "no points", "some", remedy)
    return found


@np.errstate(invalid="ignore")  # a NaN that signals
def ply_points(data: bytes) -> np.ndarray:
    """The positions (P,3) float64 of the vertices, a PLY file's first element; those that are not finite are left out.

    Raises:
        ValueError: it is no such file or ends too early; the message says which in a few words.
    """
    head = re.match(rb"ply\r?\n(.*?)end_header[ \t]*\r?\n", data, re.DOTALL)
    if head is None:
        raise ValueError("no PLY header")
    lines = [line.split() for line in head[1].decode("latin-1").splitlines() if line.strip()]
    order = next((words[1] for words in lines if words[0] == "format" and len(words) > 1), "")
    if order not in ORDERS:
        raise ValueError(f"its format is {order[:40]!r}")
    count, columns = _vertex(lines)
    names = [name for name, _ in columns]
    places = [names.index(axis) for axis in "xyz"]
    body = data[head.end() :]
    if not count:
        return np.empty((0, 3))
    if order == "ascii":
        table = _text(body, count, len(columns))[:, places]
    else:
        row = np.dtype([(f"c{place}", ORDERS[order] + kind) for place, (_, kind) in enumerate(columns)])
        if len(body) < count * row.itemsize:
            raise ValueError(f"it ends before its {count} points do")
        rows = np.frombuffer(body, row, count)
        table = np.stack([rows[f"c{place}"].astype(np.float64) for place in places], axis=1)
    return table[np.isfinite(table).all(axis=1)]


def _vertex(lines: list[list[str]]) -> tuple[int, list[tuple[str, str]]]:
    """How many vertices there are, and the name and NumPy's type of each of their numbers."""
    starts = [at for at, words in enumerate(lines) if words[0] == "element"]
    first = lines[starts[0]] if starts else []
    if len(first) != 3 or first[1] != "vertex" or not first[2].isdecimal() or len(first[2]) > 12:
        raise ValueError("its first element is no number of vertices")
    rest = lines[starts[0] + 1 : starts[1] if len(starts) > 1 else None]
    properties = [words for words in rest if words[0] == "property"]
    columns = [(words[2], TYPES[words[1]]) for words in properties if len(words) == 3 and words[1] in TYPES]
    if len(columns) < len(properties):
        raise ValueError("its vertices hold lists or numbers of an unknown type")
    if not {"x", "y", "z"} <= {name for name, _ in columns}:
        raise ValueError("its vertices have no x, y and z")
    return int(first[2]), columns


def _text(body: bytes, count: int, width: int) -> np.ndarray:
    """The numbers (count, width) of the first lines."""
    rows = [line.split() for line in body.splitlines() if line.strip()][:count]
    if len(rows) < count:
        raise ValueError(f"it ends before its {count} points do")
    if any(len(row) != width for row in rows):
        raise ValueError(f"a line has other than {width} numbers")
    try:
        return np.array([[float(word) for word in row] for row in rows])
    except ValueError:
        raise ValueError("a line holds more than numbers") from None
