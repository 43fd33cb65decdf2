"""What a COLMAP model consists of, whether read from .bin or .txt, and the poses that follow from it.

A motion is seven numbers QW QX QY QZ TX TY TZ, a rotation R as a quaternion and a translation: x_to = R x_from + t.
Since 3.12 a rig holds the motions from rig to camera of its cameras, a frame the motion from world to rig of one
exposure, and a photo's pose is

    camera_from_world = camera_from_rig o rig_from_world

The images file states the product as well, as it did before; COLMAP itself reads rigs and frames where they exist, and
so does ``world_to_camera``. Source: COLMAP 4, doc/format.rst and src/colmap/scene/reconstruction_io_binary.cc.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nerfkit.cameras.lens import MODEL_IDS, MODELS, Lens
from nerfkit.cameras.poses import FARTHEST
from nerfkit.errors import problem

Motion = Sequence[float]
IDENTITY: Motion = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
REMEDY = "Copy the model again, or write it anew with colmap model_converter."

_EQUIRECTANGULAR = 2  # parameters; files with one can be read to the end
MODEL_SIZES = {name: len(MODELS[name]) if name in MODELS else _EQUIRECTANGULAR for name in MODEL_IDS.values()}


class Image(NamedTuple):
    """One placed photo: its name, its camera's id, its motion from world to camera as the images file states it."""

    name: str
    camera: int
    motion: Motion


class Frame(NamedTuple):
    """One exposure of a rig: the rig's id, the motion from world to rig, {image id: camera id} of its photos."""

    rig: int
    motion: Motion
    images: dict[int, int]


class Points(NamedTuple):
    """Triangulated points.

    ``xyz`` (P,3); ``error`` (P,) mean reprojection error in pixels; ``length`` (P,) by how many photos each is seen;
    ``images`` (sum of them,) ids of those photos, point after point.
    """

    xyz: np.ndarray
    error: np.ndarray
    length: np.ndarray
    images: np.ndarray

    @property
    def number(self) -> np.ndarray:
        """Which point each of ``images`` sees."""
        return np.repeat(np.arange(len(self.length)), self.length)

    def chosen(self, good: np.ndarray) -> "Points":
        """Those of which ``good`` (P,) bool says so."""
        return Points(self.xyz[good], self.error[good], self.length[good], self.images[good[self.number]])


def table_of(rows: list[tuple[float, float, float, float, int]], images: np.ndarray) -> Points:
    """Points from x, y, z, error and the number of photos of each."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    return Points(table[:, :3], table[:, 3], table[:, 4].astype(np.int64), images)


Rig = dict[int, Motion | None]  # camera id -> motion from rig to camera, None where it was never estimated


def model_name(number: int, where: str) -> str:
    """The name of COLMAP's camera model ``number``.

    Raises:
        SceneError: there is none.
    """
    if number not in MODEL_IDS:
        raise problem(where, f"the camera model is number {number}", f"0 to {max(MODEL_IDS)}", REMEDY)
    return MODEL_IDS[number]


def lens(model: str, width: float, height: float, params: Sequence[float], where: str) -> Lens:
    """A camera, checked.

    Raises:
        SceneError: another model, size, number of parameters, NaN, or a focal length that is not positive.
    """
    if model not in MODEL_SIZES:
        raise problem(where, f"the camera model is {model[:40]!r}", f"one of {', '.join(MODEL_SIZES)}", REMEDY)
    if not (1 <= width < 1e6 and 1 <= height < 1e6 and width == int(width) and height == int(height)):
        raise problem(where, f"the camera's pictures are {width}x{height}", "a size in pixels", REMEDY)
    if len(params) != MODEL_SIZES[model]:
        raise problem(where, f"{len(params)} parameters of {model}", f"{MODEL_SIZES[model]} of them", REMEDY)
    if not all(map(math.isfinite, params)) or params[0] <= 0:
        raise problem(where, f"the camera's parameters are {list(params)}", "finite ones, f > 0", REMEDY)
    try:
        return Lens(model, int(width), int(height), tuple(map(float, params)))
    except ValueError as error:  # beyond what its own model allows
        raise problem(where, str(error), "a camera that nerfkit can undistort", REMEDY) from error


def transform(motion: Motion, where: str) -> np.ndarray:
    """The matrix [R | t] (3,4) of a motion, whose quaternion need not have length 1.

    Raises:
        SceneError: a number is NaN, infinite or beyond ``FARTHEST``, or the quaternion is zero.
    """
    values = np.array(motion, np.float64)
    length = float(np.linalg.norm(values[:4])) if np.abs(values).max() < FARTHEST else math.nan  # NaN compares false
    if not length > 1e-6:
        raise problem(
            where, f"the pose is {list(motion)}", f"a quaternion and a translation within {FARTHEST:g}", REMEDY
        )
    w, x, y, z = values[:4] / length
    rotation = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.concatenate([rotation, values[4:, None]], axis=1)  # (3, 4)


def world_to_camera(
    images: dict[int, Image], rigs: dict[int, Rig], frames: list[Frame], where: str
) -> tuple[dict[int, np.ndarray], list[str]]:
    """{image id: [R | t] (3,4)} with OpenCV axes, and notes.

    From the frame that holds the photo and its rig; where there is none, from the images file. ``where`` names the
    model's folder.

    Raises:
        SceneError: a frame names a rig that is not there, or a motion that is used is none.
    """
    motions: dict[int, tuple[Motion, Motion]] = {}
    for index, frame in enumerate(frames):
        if frame.rig not in rigs:
            raise problem(f"{where}, frame {index}", f"no rig {frame.rig}", "a rig of the rigs file", REMEDY)
        for image, camera in frame.images.items():
            sensor = rigs[frame.rig].get(camera)
            if sensor is not None:
                motions[image] = sensor, frame.motion
    poses, differing = {}, 0
    for key, image_ in images.items():
        label = f"{where}, {image_.name}"
        if key not in motions:
            poses[key] = transform(image_.motion, label)
            continue
        sensor_pose, rig_pose = (transform(motion, label) for motion in motions[key])
        moved = sensor_pose[:, :3] @ rig_pose[:, 3:] + sensor_pose[:, 3:]
        poses[key] = np.concatenate([sensor_pose[:, :3] @ rig_pose[:, :3], moved], axis=1)
        if any(image_.motion[:4]):
            stated = transform(image_.motion, label)
            differing += bool(np.abs(stated - poses[key]).max() > 1e-4 * (1 + np.abs(moved).max()))
    if differing:
        note = f"{where}: the poses of {differing} photos differ between the images file and rigs with frames, "
        return poses, [f"{note}which COLMAP goes by; those are used"]
    return poses, []
