"""Photos taken in one at a time: into memory, or, beyond a budget, into a file that is mapped into memory.

The file has no name (on Windows, one until it is closed): it is gone when the process is, however that ends, and never
stale. The system drops its pages where memory is wanted, and reads them again.
"""

import math
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from nerfkit.errors import SceneError, problem
from nerfkit.scenes.files import cache_folder
from nerfkit.scenes.photos import Photos

BUDGET = 2.0  # GB of photos in memory
SPARE = 0.05  # of a file's size that is left free beside it


class PhotoStore:
    """Takes ``count`` photos and keeps their bytes once.

    How much room all will need follows from the photos so far. Where later ones are larger, they are moved.

    Args:
        count: photos to come.
        memory_gb: more than that goes into a file.
        where: how messages name the scene.
    """

    def __init__(self, count: int, memory_gb: float = BUDGET, where: str = "photos") -> None:
        self.count, self.limit, self.where = count, memory_gb * 1e9, where
        self.sizes: list[tuple[int, int]] = []
        self.folder: Path | None = None
        self._filled = 0
        self._pixels = np.empty((0, 4), np.uint8)
        self._ignored: np.ndarray | None = None

    def add(self, pixels: np.ndarray, ignored: np.ndarray | None = None) -> None:
        """The next photo, (h,w,4) uint8, premultiplied, and which of its pixels (h,w) to ignore; None: none.

        Raises:
            SceneError: no folder has the room for the file.
        """
        self.sizes.append((pixels.shape[0], pixels.shape[1]))
        first, self._filled = self._filled, self._filled + pixels.shape[0] * pixels.shape[1]
        if self._filled > len(self._pixels):
            self._grow(first, max(self._filled, -(-self._filled * self.count // len(self.sizes))))
        self._pixels[first : self._filled] = pixels.reshape(-1, 4)
        if ignored is not None and ignored.any():
            if self._ignored is None:
                self._ignored = self._made((len(self._pixels),), np.bool_)
            self._ignored[first : self._filled] = ignored.reshape(-1)

    def photos(self) -> Photos:
        """What was added."""
        ignored = None if self._ignored is None else torch.from_numpy(self._ignored[: self._filled])
        folder = None if self.folder is None else str(self.folder)
        return Photos(torch.from_numpy(self._pixels[: self._filled]), tuple(self.sizes), ignored, folder)

    def _grow(self, filled: int, room: int) -> None:
        """Makes room for so many pixels, with some to spare if it was too little before, and moves what is there."""
        room += room // 8 if filled else 0
        if 4 * room > self.limit:
            self.folder = self._folder(5 * room)
        old, self._pixels = self._pixels, self._made((room, 4), np.uint8)
        self._pixels[:filled] = old[:filled]
        if self._ignored is not None:
            old, self._ignored = self._ignored, self._made((room,), np.bool_)
            self._ignored[:filled] = old[:filled]

    def _made(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """Zeros; in memory, they take room when they are written to, in a file at once."""
        if self.folder is None:
            return np.zeros(shape, dtype)
        size = math.prod(shape)
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:  # the map keeps it open
                if hasattr(os, "posix_fallocate"):  # else a disk that is full later would end the process
                    os.posix_fallocate(file.fileno(), 0, size)
                return np.memmap(file, dtype, "w+", shape=shape)
        except OSError as error:
            raise self._no_room(size, f"{self.folder}: {error.strerror or error}") from error

    def _folder(self, size: int) -> Path:
        """The cache folder, or where it cannot be written to, that of temporary files."""
        found = []
        for place in (cache_folder, tempfile.gettempdir):
            try:
                folder = Path(place())
                folder.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=folder).close()
                free = shutil.disk_usage(folder).free
            except (OSError, RuntimeError):  # nothing may be written there, or there is no home
                continue
            if free >= size * (1 + SPARE):
                return folder
            found.append(f"{free / 1e9:.1f} GB in {folder}")
        raise self._no_room(size, " and ".join(found) or "no folder can be written to")

    def _no_room(self, size: int, found: str) -> SceneError:
        return problem(
            self.where,
            f"its {self.count} photos are more than scene.memory_gb={self.limit / 1e9:g}, and there is no room for "
            f"them in a file: {found}",
            f"{size * (1 + SPARE) / 1e9:.1f} GB",
            "Set NERFKIT_CACHE to a folder of another disk, lower scene.resolution, or raise scene.memory_gb.",
        )
