"""Depth files of ``transforms.json``: pixels of known depth become points, each seen by its photo.

A file holds a number a pixel, as one channel of a picture with 16 or 32 bits (PNG, TIFF) or in NumPy's ``.npy``, of the
photo's size or another one of its aspect. What is not positive, not finite or ``FAR`` and beyond is not known. A file
of 8 bits or of colors is a picture of depth, not depth, and refused. A number is a length along the camera's axis; of a
fisheye lens, which sees more than what lies before it, along the ray. In the poses' units it is one of

    depth_file_path (nerfstudio)     depth_unit_scale_factor, 0.001 where it is not stated, times applied_scale
    depth_path (instant-ngp)         integer_depth_scale; without it, or if enable_depth_loading is false, not read

nerfstudio takes ``depth_unit_scale_factor`` from its command line; here it may stand in the file or in a frame. Through
the pixel (j + 0.5, i + 0.5) goes the ray d of the photo's own lens. With R and C the pose's rotation and position,

    point = C + R diag(1, -1, -1) d  number  unit / d_z,        fisheye: without d_z

Of a photo at most one pixel of each square of a grid of about ``LIMIT`` is taken, its first one of known depth, which
is a regular lattice where all depths are known. All photos together give about ``TOTAL``.
Source: nerfstudio, data/utils/data_utils.py, cameras/cameras.py, dataparser; instant-ngp, src/nerf_loader.cu.
"""

import math
from collections.abc import Callable, Sequence
from reprlib import repr as brief
from typing import Any, NamedTuple

import numpy as np

from nerfkit.errors import problem
from nerfkit.runs.pictures import open_picture, reason
from nerfkit.scenes.arrays import npy
from nerfkit.scenes.capture import Photo
from nerfkit.scenes.files import Source
from nerfkit.scenes.images import in_threads
from nerfkit.scenes.sightings import Sightings
from nerfkit.scenes.transforms_lens import Keys

MILLIMETERS = 0.001  # nerfstudio's default
LIMIT, TOTAL = 1000, 200_000  # points of a photo and of all of them, about
FAR = 1e9  # renderers write 1e10 where there is nothing
ODD = 50  # times the cameras' extent: farther or, divided by it, nearer than that the unit may be a wrong one
EXPECTED = "one channel of 16 or 32 bits a pixel"
REMEDY = "Export it again as 16-bit PNG, or as .npy."


class DepthFile(NamedTuple):
    """``name`` of the file in the source, and what its numbers count, ``unit``, in the poses' units."""

    name: str
    unit: float


def stated_depth(top: Keys, frame: Keys, path: Callable[[Any, str], str], where: str) -> DepthFile | None:
    """The depth file that a frame names.

    Args:
        top, frame: what the file and what the frame say; keys with the value null are left out.
        path: makes the name in the source from what a frame states and how a message names that.
        where: how a message names the frame.

    Raises:
        SceneError: a path that leaves the folder, a unit that is no positive number.
    """
    both = top | frame
    if "depth_file_path" in frame:
        unit = _unit(both, "depth_unit_scale_factor", where, MILLIMETERS) * _unit(both, "applied_scale", where, 1.0)
        return DepthFile(path(frame["depth_file_path"], f"{where}, depth_file_path"), unit)
    if "depth_path" in frame and reads_depth_path(top):
        name = path(frame["depth_path"], f"{where}, depth_path")
        return DepthFile(name, _unit(top, "integer_depth_scale", where, 1.0))
    return None


def reads_depth_path(top: Keys) -> bool:
    """Whether ``depth_path`` of the frames is read, by what the file says."""
    return bool(top.get("integer_depth_scale")) and bool(top.get("enable_depth_loading", True))


def _unit(content: Keys, key: str, where: str, default: float) -> float:
    value = content.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-12 < value < 1e12:
        raise problem(where, f"{key} is {brief(value)}", "a positive number", "Export it again or correct the value.")
    return float(value)


def depth_points(
    source: Source, photos: Sequence[Photo], files: Sequence[DepthFile | None], where: str
) -> tuple[np.ndarray, Sightings, list[str]]:
    """Points (P,3) float64 of the depth files in the poses' units, which photo sees which, and lines for the user.

    Args:
        files: of each photo.
        where: how a message names the ``transforms.json``.

    Raises:
        SceneError: a file is damaged, of another kind or of another aspect than its photo.
    """
    named = [(view, file) for view, file in enumerate(files) if file is not None]
    here = [(view, file) for view, file in named if source.exists(file.name)]
    missing = sorted({file.name for _, file in named}.difference(file.name for _, file in here))
    notes = []
    if missing:
        notes.append(f"{where}: {len(missing)} of the depth files that it names are missing, the first is {missing[0]}")
    if not here:
        return np.empty((0, 3)), Sightings(), notes
    limit = min(LIMIT, math.ceil(TOTAL / len(here)))

    def read(number: int) -> np.ndarray:
        view, file = here[number]
        return _points(source, photos[view], file, limit)

    found = list(in_threads(read, len(here), f"reading depth of {source.name}"))
    points, counts = np.concatenate(found), [len(each) for each in found]
    view = np.repeat(np.array([view for view, _ in here], np.int32), counts)
    seen = Sightings(view, np.arange(len(points), dtype=np.int32), np.ones(len(points), np.float32))
    return points, seen, notes + _odd_note(np.stack([photo.pose[:, 3] for photo in photos]), points, view, where)


@np.errstate(all="ignore")
def _points(source: Source, photo: Photo, file: DepthFile, limit: int) -> np.ndarray:
    """The points (P,3) of one photo, P at most about ``limit``."""
    table = _table(source, file.name)
    (height, width), lens = table.shape, photo.lens
    if abs(width * lens.height / lens.width - height) > max(1.0, 0.01 * height):
        raise problem(
            source.where(file.name),
            f"it is {width}x{height}, its photo {lens.width}x{lens.height}",
            "the same aspect",
            "Use the depth of this camera, uncropped.",
        )
    rows, columns = _lattice((table > 0) & (table < FAR), limit)
    rays, valid = lens.resized(width, height).unproject(np.stack([columns + 0.5, rows + 0.5], -1))
    reach = table[rows, columns] * file.unit / (1.0 if lens.fisheye else rays[:, 2])
    points: np.ndarray = (rays * reach[:, None] * (1, -1, -1)) @ photo.pose[:, :3].T + photo.pose[:, 3]
    return points[valid]


def _table(source: Source, name: str) -> np.ndarray:
    """The numbers of a file, (H,W) float64."""
    where = source.where(name)
    if name.lower().endswith(".npy"):
        table = npy(source, name, finite=False)
        table = table[..., 0] if table.ndim == 3 and table.shape[2] == 1 else table
        if table.ndim != 2 or not table.size:
            raise problem(where, f"its array is {table.shape}", "a number a pixel, (height, width)", REMEDY)
        return table
    data = source.read(name)
    try:
        with open_picture(data, name) as image:
            mode = image.mode
            table = np.asarray(image, np.float64) if mode[0] in "IF" else np.empty((0, 0))
    except Exception as error:  # decoders raise a dozen unrelated types for damaged files
        wrong = f"cannot be decoded ({reason(error)})" if data else "the file is empty"
        raise problem(where, wrong, EXPECTED, REMEDY) from error
    if not table.size:
        wrong = "its pixels have 8 bits" if mode in ("1", "L", "P") else f"its pixels are {mode}"
        raise problem(where, wrong, EXPECTED, REMEDY)
    return table


def _lattice(known: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the first known pixel of each square of a grid of about ``limit``; known (H,W) bool."""
    step = math.ceil(math.sqrt(known.size / limit))
    down, across = (-(-side // step) for side in known.shape)
    padded = np.pad(known, [(0, count * step - side) for count, side in zip((down, across), known.shape, strict=True)])
    squares = padded.reshape(down, step, across, step).swapaxes(1, 2).reshape(down * across, step * step)
    first, square = squares.argmax(1), np.flatnonzero(squares.any(1))
    rows, columns = square // across * step, square % across * step
    return rows + first[square] // step, columns + first[square] % step


def _odd_note(centers: np.ndarray, points: np.ndarray, view: np.ndarray, where: str) -> list[str]:
    """A line if there is no depth at all, or the depths do not go with the distances between cameras (N,3)."""
    if not len(points):
        return [f"{where}: its depth files say nothing: no pixel in them has a known depth"]
    depth = float(np.median(np.linalg.norm(points - centers[view], axis=1)))
    extent = float(np.linalg.norm(centers - centers.mean(0), axis=1).max())
    if not extent > 0 or extent / ODD <= depth <= extent * ODD:
        return []
    return [
        f"{where}: what its depth files show is {depth:.3g} away in the median, the cameras are up to {extent:.3g} "
        "from their middle; if the unit is wrong, state depth_unit_scale_factor, what 1 in them is in the poses' units"
    ]
