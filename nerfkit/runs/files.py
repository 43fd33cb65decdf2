"""Files written whole or not at all: a stopped program or a full disk leaves the old file, never half a new one."""

import contextlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.runs.untrusted import one_name

WritePng = Callable[[Path, NDArray[np.uint8], int], None]  # as ``write_png``, all of its arguments by place
AHEAD = 4  # pictures that wait to be written
LATEST = "latest"  # a file with the name of the newest run's folder, beside it: a link would be one more run


def followed(path: str | Path) -> Path:
    """``path`` with ``~`` expanded, and with a file ``latest`` in it replaced by the folder that it names."""
    given = Path(os.path.expanduser(path))
    for place in (given, *given.parents):
        if place.name == LATEST and place.is_file():
            with place.open("rb") as file:
                name = file.read(300).decode(errors="replace").strip()
            if one_name(name):
                return place.parent / name / given.relative_to(place)
    return given


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, with its ending, that takes its place when the block ends without an error.

    The content reaches the disk before the name changes, so that a power cut leaves one of the two files whole.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno and not error.filename:  # a failed write does not say where
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder beside ``path`` that takes the place of what is there when the block ends without an error."""
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def remove_halves(folder: Path) -> None:
    """Removes what ``replacing`` and ``replacing_folder`` leave in ``folder`` and below where the program is killed."""
    for path in [*folder.rglob(".*.part*"), *folder.rglob(".*.old")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def to_bytes(values: Tensor | NDArray) -> NDArray[np.uint8]:
    """Values in [0,1] as 8 bits, rounded; beyond is clipped, NaN is 0."""
    array = values.numpy(force=True) if isinstance(values, Tensor) else values
    inside = np.asarray(np.fmax(array, np.float32(0)))  # of NaN and a number it takes the number
    np.minimum(inside, 1, out=inside)
    np.multiply(inside, 255, out=inside)
    return np.rint(inside, out=inside).astype(np.uint8)


def write_png(path: Path, pixels: NDArray[np.uint8], compress_level: int = 6) -> None:
    """Writes (H,W,3), (H,W,4) or (H,W) pixels as a PNG, whole or not at all.

    Packed in memory first: on a full disk imageio's own file would complain once more when it is closed.
    """
    write_bytes(path, iio.imwrite("<bytes>", pixels, extension=".png", compress_level=compress_level))


@contextlib.contextmanager
def png_writer() -> Iterator[WritePng]:
    """``write_png`` for many pictures: a thread packs and writes them, in order, while its caller makes the next.

    All are written when the block ends; an error of writing comes with a later call, or there.
    """
    waiting: deque[Future[None]] = deque()

    def write(path: Path, pixels: NDArray[np.uint8], compress_level: int) -> None:
        waiting.append(pool.submit(write_png, path, pixels, compress_level))
        if len(waiting) > AHEAD:
            waiting.popleft().result()

    with ThreadPoolExecutor(1) as pool:
        yield write
        while waiting:
            waiting.popleft().result()


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Writes ``content``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
