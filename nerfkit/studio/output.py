"""How data sets are written: into an unfinished folder, by a thread beside the rendering; and the true surface."""

import contextlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from nerfkit.runs.files import to_bytes

ABANDONED = 3600.0  # seconds after which an unfinished folder is nobody's any more

Rendered = TypeVar("Rendered")
Written = TypeVar("Written")


@contextlib.contextmanager
def unfinished_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder ``parent/PREFIX...``, to be renamed, or emptied, in the block; removed at its end if still there.

    What killed processes left under such names goes first.
    """
    for path in parent.glob(f"{prefix}*"):
        if time.time() - path.stat().st_mtime > ABANDONED:
            shutil.rmtree(path, ignore_errors=True)
    folder = parent / f"{prefix}{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_beside(
    views: Iterable[int], render: Callable[[int], Rendered], write: Callable[[int, Rendered], Written]
) -> list[Written]:
    """``write(view, render(view))`` for each view; a thread packs and writes while the next one is rendered.

    At most two rendered views wait.
    """
    written: list[Written] = []
    waiting: list[Future[Written]] = []
    with ThreadPoolExecutor(1) as writer:
        for view in views:
            rendered = render(view)
            if len(waiting) == 2:
                written.append(waiting.pop(0).result())
            waiting.append(writer.submit(write, view, rendered))
        return written + [future.result() for future in waiting]


def write_truth(path: Path, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray | None) -> None:
    """The true surface as a binary PLY: vertices (V,3), faces (F,3) and, where given, colors (V,3) in [0,1]."""
    import trimesh

    rgba = None
    if colors is not None:
        rgba = to_bytes(np.concatenate([colors, np.ones_like(colors[:, :1])], -1))
    trimesh.Trimesh(vertices, faces, vertex_colors=rgba, process=False).export(path, encoding="binary")
