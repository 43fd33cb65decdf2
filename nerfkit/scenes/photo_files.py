"""What the readers of photo formats share: which files are photos, names from untrusted files, numbers, sizes."""

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np

from nerfkit.cameras.lens import Lens
from nerfkit.errors import problem
from nerfkit.scenes.files import Source, is_safe_name
from nerfkit.scenes.images import stored_size

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm")
SMALLER = ("images_2", "images_4", "images_8")  # copies of images/ at a fraction of its size, as LLFF makes them


def photos_in(source: Source, folder: str, deep: bool = False) -> list[str]:
    """Names, sorted, of the photos in a folder and, if ``deep``, in those inside it."""
    return [name for name in source.under(folder, deep) if name.lower().endswith(SUFFIXES)]


def files_like(source: Source, folder: PurePosixPath, names: Iterable[str]) -> dict[str, str]:
    """{name: file} of the pictures in ``folder`` or below that are there, under that name or one that is alike.

    Alike is a name in other letters, upper or lower case, or with another extension or none, if it leaves one picture.
    """
    files = {name: name for name in names if source.exists(name)}
    lacking = [name for name in names if name not in files]
    if not lacking:
        return files
    parents = {str(PurePosixPath(name).parent) for name in lacking}  # links that a walk through the folder leaves out
    pictures = set(photos_in(source, str(folder), deep=True)).union(*(photos_in(source, place) for place in parents))
    alike: dict[str, list[str]] = {}
    for picture in pictures:
        alike.setdefault(_stem(picture), []).append(picture)
    taken = set(files)
    for name in lacking:
        bare = _stem(name) == name.lower()
        found = [picture for picture in alike.get(_stem(name), []) if bare or picture not in taken]
        if f"{name}.png" in found:
            files[name] = f"{name}.png"
        elif len(found) == 1:
            files[name] = found[0]
    return files


def _stem(name: str) -> str:
    """What alike names share."""
    lower = name.lower()
    return next((lower.removesuffix(suffix) for suffix in SUFFIXES if lower.endswith(suffix)), lower)


def data_folder(source: Source, patterns: Iterable[str], what: str) -> str:
    """The folder of the one data set inside, known by a file that matches one of ``patterns``; "." before others.

    Raises:
        SceneError: none, or several and none of them at the top.
    """
    folders = {str(PurePosixPath(name).parent) for pattern in patterns for name in source.find(pattern)}
    return one_folder(source, folders, what)


def one_folder(source: Source, folders: set[str], what: str) -> str:
    """The one of ``folders``, or "." if it is among several.

    Raises:
        SceneError: none, or several and none of them at the top.
    """
    where = str(source.path)
    if not folders:
        raise problem(where, f"no {what} inside", what, "Point scene.root at the folder that holds it.")
    if len(folders) > 1 and "." not in folders:
        listed = ", ".join(sorted(folders)[:6])
        raise problem(where, f"{len(folders)} data sets inside: {listed}", "one", "Point scene.root at one of them.")
    return "." if "." in folders else next(iter(folders))


def relative_name(source: Source, name: str, where: str) -> str:
    """A file's name out of an untrusted file, relative, with forward slashes.

    An absolute one becomes relative to the source's folder.

    Raises:
        SceneError: it is empty, or leaves the folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    root = PurePosixPath(os.path.abspath(source.path).replace("\\", "/"))
    if path.is_absolute() and path.is_relative_to(root):
        path = path.relative_to(root)
    if not path.parts or not _is_possible(path) or not is_safe_name(str(path)):
        raise problem(
            where, f"the file's name is {name[:80]!r}", "a path inside the data set's folder", "Correct the name."
        )
    return str(path)


def _is_possible(path: PurePosixPath) -> bool:
    """Whether file systems take such a name: they raise for one that is too long, or that is no proper Unicode."""
    try:
        return all(len(part.encode()) <= 255 for part in path.parts)
    except UnicodeEncodeError:
        return False


def numbers(words: Sequence[str], where: str) -> list[float]:
    """Finite numbers from text.

    Raises:
        SceneError: a word is none.
    """
    for word in words:
        try:
            good = math.isfinite(float(word))
        except ValueError:
            good = False
        if not good:
            raise problem(where, f"{word[:40]!r} is no finite number", "numbers", "Export the file again.")
    return [float(word) for word in words]


def picture_size(source: Source, name: str) -> tuple[int, int]:
    """Width and height of a photo as stored, from its header; EXIF does not turn it.

    Raises:
        SceneError: the file is missing or no picture.
    """
    return stored_size(source.read(name), source.where(name))


def lens_of_matrix(matrix: np.ndarray, size: tuple[int, int], where: str) -> Lens:
    """The lens of OpenCV's camera matrix (3,3), [[fx, s, cx], [0, fy, cy], [0, 0, 1]]; its skew s is passed over.

    OpenCV's pixel coordinates are 0 at the center of the first pixel, a lens's are 0.5 there.

    Raises:
        SceneError: it is no such matrix, or a focal length is not positive.
    """
    below = np.abs([matrix[1, 0], matrix[2, 0], matrix[2, 1], matrix[2, 2] - 1]).max()
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0 and below <= 1e-3):
        raise problem(
            where,
            f"the camera matrix is {np.round(matrix, 4).tolist()}",
            "[[fx, s, cx], [0, fy, cy], [0, 0, 1]] with positive focal lengths",
            "Export the camera again.",
        )
    fx, fy, cx, cy = float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])
    return Lens("PINHOLE", *size, (fx, fy, cx + 0.5, cy + 0.5))


def skew_note(skews: Sequence[float], where: str) -> list[str]:
    """A line on skews (s / fx of each photo) that were passed over and could matter."""
    worst = max(map(abs, skews), default=0.0)
    many = sum(abs(skew) > 1e-3 for skew in skews)
    return [f"{where}: the skew of {many} cameras is not used; it is up to {worst:.2g} fx"] if many else []


def missing_note(missing: Sequence[str], count: int, where: str) -> list[str]:
    """A line if some of ``count`` photos that have a camera are missing."""
    if not missing:
        return []
    return [f"{where}: {len(missing)} of the {count} photos that it places are missing, the first is {min(missing)}"]
