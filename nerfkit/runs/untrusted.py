"""Files that may come from a stranger: names stay in their folder, files are files and of a bounded size.

One rule for names out of untrusted files, and for links: what is read lies, links followed, in the folder of the scene
or of the mesh. ``$NERFKIT_OUTSIDE=1`` lifts it. That is no option, since a stranger's config sets options.
"""

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

OUTSIDE = "NERFKIT_OUTSIDE"
FILE_BYTES = 16 << 30  # of any one file
JSON_BYTES = 256 << 20
TEXT_BYTES = 64 << 20  # of tables that name other files, such as MTL


class RefusedError(ValueError):
    """A file that is not read; the message says why in a few words."""


def inside(folder: str | Path, name: str) -> Path:
    """The path of the file ``name`` in ``folder``.

    Raises:
        RefusedError: it lies elsewhere, by its name or by a link, or no file can have that name.
    """
    path = Path(folder, name)
    try:
        root, real = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    except (OSError, ValueError) as error:  # a zero byte, no proper Unicode, a ring of links
        raise RefusedError(f"no file can have the name {name[:80]!r} ({error})") from None
    if os.environ.get(OUTSIDE, "0") in ("", "0") and not real.is_relative_to(root):
        raise RefusedError(f"it leads out of its folder, to {real}; if you trust it, set {OUTSIDE}=1")
    return path


def size_of(path: Path) -> int:
    """The size of a regular file in bytes; pipes and devices, which may never end, are none.

    Raises:
        RefusedError: it is no regular file.
        OSError: it cannot be looked at, or is a folder.
    """
    about = path.stat()
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError("it is a folder")
    if not stat.S_ISREG(about.st_mode):
        raise RefusedError("it is a pipe or a device, no file")
    return about.st_size


def read_file(path: Path, most: int = FILE_BYTES) -> bytes:
    """The bytes of a regular file, ``most`` at the most.

    Raises:
        RefusedError: it is no regular file, or too large.
        OSError: it cannot be read.
    """
    size = size_of(path)
    if size > most:
        raise RefusedError(f"it has {size:,} bytes, more than {most:,}")
    try:
        return path.read_bytes()
    except MemoryError:
        raise RefusedError(f"there is no memory for its {size:,} bytes") from None


def parse_json(data: bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is none, too large or too deep.
    """
    if len(data) > JSON_BYTES:
        raise RefusedError(f"it has {len(data):,} bytes, more than {JSON_BYTES:,}")
    try:
        return json.loads(data)
    except RecursionError:
        raise RefusedError("its lists and objects are nested too deep") from None


def within_words(words: list[bytes], what: str) -> list[bytes]:
    """The words, whose table of equal widths NumPy is to make, unless one of them would make that table enormous.

    Raises:
        RefusedError: it would.
    """
    longest = max(map(len, words), default=0)
    if longest > 64 and longest * len(words) > 1 << 28:
        raise RefusedError(f"a {what} of {longest:,} characters")
    return words


def one_name(text: str) -> bool:
    """Whether a text is the name of a file or folder and no path."""
    return 0 < len(text) < 256 and text.isprintable() and not re.search(r"[/\\:]", text) and text not in (".", "..")
