"""LLFF's ``poses_bounds.npy``: a camera a row for the photos of ``images/`` in the order of their names.

A row has 17 numbers: a matrix (3,5), row by row, and the nearest and farthest depth, which are not used. The matrix is

    [down | right | backward | center | (height, width, f)]

the camera's axes and its center in the world, and its lens: the principal point is the picture's center, lengths are
pixels of the photos before LLFF made them smaller. Where only ``images_2/``, ``images_4/`` or ``images_8/`` is there,
its smaller photos are taken, with the lens as stated. Names are sorted as text, as LLFF sorts them: 10.jpg precedes
2.jpg. The unit is that of the COLMAP model it was made from, as are the axes of the world.
Source: Fyusion's LLFF, llff/poses/pose_utils.py, and bmild/nerf, load_llff.py.
"""

from pathlib import PurePosixPath

import numpy as np

from nerfkit.cameras.lens import Lens
from nerfkit.cameras.poses import rigid_transform
from nerfkit.errors import problem
from nerfkit.scenes.arrays import npy
from nerfkit.scenes.capture import Capture, Photo
from nerfkit.scenes.files import Source
from nerfkit.scenes.photo_files import SMALLER, data_folder, photos_in

TABLE = "poses_bounds.npy"
SIGNS = (TABLE,)


def read(source: Source) -> Capture:
    """The photos of an LLFF data set.

    Raises:
        SceneError: no table or several, another shape, NaN, a matrix that is no camera, or another number of photos.
    """
    folder = PurePosixPath(data_folder(source, SIGNS, TABLE))
    where = source.where(str(folder / TABLE))
    table = npy(source, str(folder / TABLE))
    if table.ndim != 2 or table.shape[1] != 17:
        raise problem(where, f"the shape is {table.shape}", "(photos, 17)", "Write it anew with LLFF's imgs2poses.py.")
    places = [str(folder / name) for name in ("images", *SMALLER)]
    photos = next((found for place in places if (found := photos_in(source, place))), [])
    if not photos or len(photos) != len(table):
        held = f"{len(photos)} photos lie in {PurePosixPath(photos[0]).parent}" if photos else "no photos lie in images"
        raise problem(
            where,
            f"{len(table)} cameras, but {held}",
            "a camera for each photo, in the order of their names",
            "Restore the photos that are missing, or remove those that LLFF did not place.",
        )
    return Capture([_photo(name, table[row], f"{where}, row {row}") for row, name in enumerate(photos)])


def _photo(name: str, row: np.ndarray, where: str) -> Photo:
    down, right, backward, center, (height, width, focal) = row[:15].reshape(3, 5).T
    if not (1 <= height < 1e6 and 1 <= width < 1e6 and 0 < focal < 1e100):
        stated = f"height, width and focal length are {height:g}, {width:g} and {focal:g}"
        raise problem(where, stated, "a size and a focal length in pixels", "Export it again.")
    pose = rigid_transform(np.stack([right, -down, backward, center], axis=1), where)
    columns, rows = round(width), round(height)
    return Photo(name, pose, Lens("SIMPLE_PINHOLE", columns, rows, (float(focal), columns / 2, rows / 2)))
