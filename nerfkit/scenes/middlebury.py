"""Middlebury's multi-view stereo data (dino, temple): ``NAME_par.txt`` with the photos beside it.

The first line is the number of photos; each of the others has a photo's name and 21 numbers,

    name  k11 k12 k13 k21 ... k33  r11 r12 ... r33  t1 t2 t3,      d (u, v, 1) = K (R X + t)

with u to the right and v down from the upper left corner. The data's readme does not say where in the first pixel 0 is;
its center is taken, as for other matrices of OpenCV's form. Units are meters. A lens has no skew; what K has of it is
passed over, and noted above 1e-3 fx. Photos that are missing are passed over and noted.
Source: https://vision.middlebury.edu/mview/data/
"""

from pathlib import PurePosixPath

import numpy as np

from nerfkit.cameras.poses import from_opencv, rigid_transform
from nerfkit.errors import problem
from nerfkit.scenes.capture import Capture, Photo
from nerfkit.scenes.files import Source
from nerfkit.scenes.photo_files import (
    data_folder,
    lens_of_matrix,
    missing_note,
    numbers,
    picture_size,
    relative_name,
    skew_note,
)

SIGNS = ("*_par.txt",)
REMEDY = "Download the file again."


def read(source: Source) -> Capture:
    """The photos of a Middlebury data set.

    Raises:
        SceneError: no table or several, a line that is no camera, a number of lines other than stated, no photo found.
    """
    folder = PurePosixPath(data_folder(source, SIGNS, "NAME_par.txt"))
    tables = [name for name in source.find(SIGNS[0]) if PurePosixPath(name).parent == folder]
    if len(tables) > 1:
        raise problem(
            source.where(str(folder)), f"{len(tables)} tables: {', '.join(tables[:4])}", "one", "Remove the others."
        )
    where = source.where(tables[0])
    lines = source.read(tables[0]).decode("utf-8", "replace").split("\n")
    (first, count), *rows = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()] or [
        (1, "")
    ]
    if not count.isdecimal() or len(count) > 9 or int(count) != len(rows):
        raise problem(
            where,
            f"line {first} is {count[:40]!r}, {len(rows)} lines follow",
            "the number of lines that follow",
            REMEDY,
        )
    photos, skews, missing = [], [], []
    for number, line in rows:
        label = f"{where}, line {number}"
        name, values = _row(source, line, label)
        file = str(folder / name)
        if not source.exists(file):
            missing.append(name)
            continue
        camera, rotation, translation = values[:9].reshape(3, 3), values[9:18].reshape(3, 3), values[18:, None]
        world_to_camera = rigid_transform(np.concatenate([rotation, translation], axis=1), label)
        lens = lens_of_matrix(camera, picture_size(source, file), label)
        photos.append(Photo(file, from_opencv(world_to_camera), lens))
        skews.append(camera[0, 1] / camera[0, 0])
    if not photos:
        held = f"none of its {len(rows)} photos is there"
        raise problem(where, held, f"them in {source.where(str(folder))}", "Copy the photos beside it.")
    photos.sort(key=lambda photo: photo.name)
    return Capture(photos, notes=missing_note(missing, len(rows), where) + skew_note(skews, where))


def _row(source: Source, line: str, where: str) -> tuple[str, np.ndarray]:
    """A photo's name, which may hold blanks, and the 21 numbers."""
    words = line.rsplit(maxsplit=21)
    if len(words) != 22:
        raise problem(where, f"{len(words)} words", "a name and the 21 numbers of K, R and t", REMEDY)
    return relative_name(source, words[0], where), np.array(numbers(words[1:], where))
