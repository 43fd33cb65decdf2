"""Camera paths of nerfstudio and instant-ngp.

nerfstudio, ``camera_path.json`` (viewer/render_panel.py, cameras/camera_paths.py): ``camera_path`` is a list of frames
at ``fps``, each with ``camera_to_world``, 4x4 by rows, OpenGL's axes, and ``fov``, vertical, in degrees; the pictures
are ``render_width`` x ``render_height``; ``is_cycle`` says that the first frame follows the last one. ``keyframes``,
from which the viewer has made the frames, are passed over. Poses are in the units of nerfstudio's training, which its
``dataparser_transforms.json`` tells from those before any tool had turned them, such as COLMAP's,

    x_training = scale (transform [x; 1])

while transforms.json has x already turned by its ``applied_transform`` and scaled by its ``applied_scale``
(nerfstudio_dataparser.py). Where the content of dataparser_transforms.json stands in the path's file, as its key
``dataparser_transforms``, it is undone, back to transforms.json's units where these two keys stand there, too. Else the
poses are taken to be in the scene's own units and axes.

instant-ngp, ``base_cam.json`` (camera_path.h, camera_path.cu, nerf_loader.h): ``path`` is a list of keyframes, each
with ``R``, a quaternion x, y, z, w, and ``T``, of a camera with OpenCV's axes, and ``fov``, vertical, in degrees. Its
place of a point p of transforms.json is scale p + offset, with the axes in the order y, z, x, and 0.33 and 0.5 unless
transforms.json says otherwise; keys ``scale`` and ``offset`` of the path's file say so here. Its way is a uniform cubic
B-spline, which passes a keyframe p_i at (p_{i-1} + 4 p_i + p_{i+1}) / 6: the keyframes are moved there. A
``timestamp`` is when the stretch behind the keyframe ends, in seconds; ``loop`` says that the first keyframe follows
the last one.
"""

from reprlib import repr as brief
from typing import Any

import numpy as np

from nerfkit.cameras.poses import inverse, rigid_transform
from nerfkit.errors import problem
from nerfkit.scenes.files import require, require_number
from nerfkit.view.keyframes import Keyframes, focal_of
from nerfkit.view.spline import same_half

NGP_SCALE, NGP_OFFSET = 0.33, 0.5
WIDEST = 179.0  # degrees, of a field of view
_REMEDY = "Export the path again or correct the value."

Content = dict[str, Any]


def read_nerfstudio(content: Content, where: str) -> Keyframes:
    """The frames of a ``camera_path.json``, one keyframe each.

    Raises:
        SceneError: a key is missing or a value cannot be used; the camera is no perspective one.
    """
    frames = listed(content, "camera_path", where)
    kind = str(content.get("camera_type", "perspective")).lower()
    if kind != "perspective":
        raise problem(where, f"camera_type is {kind[:80]}", "perspective", "Choose it in the viewer; export again.")
    fps = require_number(content, "fps", where)
    size = size_of(content, "render_height", "render_width", where)
    poses, fov = [], []
    for index, frame in enumerate(frames):
        here = f"{where}, camera_path[{index}]"
        matrix = array(require(frame, "camera_to_world", here), (16,), f"{here}, camera_to_world")
        poses.append(rigid_transform(matrix.reshape(4, 4), f"{here}, camera_to_world"))
        fov.append(fov_of(frame, "fov", here))
    found = np.stack(poses)
    if content.get("dataparser_transforms") is not None:
        found = _undone(found, content, where)
    closed = bool(content.get("is_cycle", False))
    times = np.arange(len(found)) / fps
    end = len(found) / fps if closed else float(times[-1])
    aspect = size[1] / size[0] if size else None
    return Keyframes(times, found, focal_of(np.array(fov)), closed, end, True, size, aspect)


def _undone(poses: np.ndarray, content: Content, where: str) -> np.ndarray:
    """Poses (K,3,4) before nerfstudio has turned, moved and scaled them."""
    here = f"{where}, dataparser_transforms"
    stated = content["dataparser_transforms"]
    if not isinstance(stated, dict):
        raise problem(here, f"it is {brief(stated)}", "an object with transform and scale", _REMEDY)
    turn, scale = _rigid(require(stated, "transform", here), here), require_number(stated, "scale", here)
    if content.get("applied_transform") is not None:
        before = inverse(_rigid(content["applied_transform"], f"{where}, applied_transform"))
        turn = np.concatenate([turn[:, :3] @ before[:, :3], turn[:, :3] @ before[:, 3:] + turn[:, 3:]], axis=1)
    scale /= require_number(content, "applied_scale", where) if "applied_scale" in content else 1.0
    back = inverse(turn)
    position = poses[:, :, 3] / scale @ back[:, :3].T + back[:, 3]
    return np.concatenate([back[:, :3] @ poses[:, :, :3], position[:, :, None]], axis=2)


def _rigid(value: Any, where: str) -> np.ndarray:
    return rigid_transform(array(value, (12,), where).reshape(3, 4), where)


def read_ngp(content: Content, where: str) -> Keyframes:
    """The keyframes of a ``base_cam.json``.

    Raises:
        SceneError: a key is missing or a value cannot be used.
    """
    frames = listed(content, "path", where)
    closed = bool(content.get("loop", False))
    quaternions, positions, fov = [], [], []
    for index, frame in enumerate(frames):
        here = f"{where}, path[{index}]"
        quaternion = array(require(frame, "R", here), (4,), f"{here}, R")
        if not np.linalg.norm(quaternion) > 1e-6:
            raise problem(here, "R is 0", "a quaternion", _REMEDY)
        quaternions.append(quaternion / np.linalg.norm(quaternion))
        positions.append(array(require(frame, "T", here), (3,), f"{here}, T"))
        fov.append(fov_of(frame, "fov", here))
    scale = require_number(content, "scale", where) if "scale" in content else NGP_SCALE
    offset = array(content["offset"], (3,), f"{where}, offset") if "offset" in content else NGP_OFFSET
    degrees = _smooth(_continued(np.array(fov)[:, None], closed))[:, 0]
    position = (_smooth(_continued(np.array(positions), closed))[:, [2, 0, 1]] - offset) / scale
    rotation = _rotations(_smooth(same_half(_continued(np.array(quaternions), closed))))
    rotation = rotation[:, [2, 0, 1]] * [1.0, -1.0, -1.0]  # OpenCV's axes to OpenGL's
    poses = np.concatenate([rotation, position[:, :, None]], axis=2)
    ends = np.array([frame.get("timestamp", 0) for frame in frames], object)
    timed = all(isinstance(end, int | float) and 0 < end < 1e9 for end in ends) and bool((np.diff(ends) > 0).all())
    ends = ends.astype(np.float64) if timed else np.arange(1.0, len(frames) + 1)
    times = np.concatenate([[0.0], ends[:-1]])
    return Keyframes(times, poses, focal_of(degrees), closed, float(ends[-1] if closed else times[-1]), timed)


def _continued(rows: np.ndarray, closed: bool) -> np.ndarray:
    """Rows (K,D) with one more at either end (K+2,D): the other end's where ``closed``, else the same once more."""
    return rows[np.arange(-1, len(rows) + 1) % len(rows) if closed else [0, *range(len(rows)), -1]]


def _smooth(rows: np.ndarray) -> np.ndarray:
    """Where a uniform cubic B-spline with the control points ``rows`` (K+2,D) is at its inner knots, (K,D)."""
    return (rows[:-2] + 4 * rows[1:-1] + rows[2:]) / 6


def _rotations(quaternions: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation  # a fifth of a second

    return Rotation.from_quat(quaternions).as_matrix()


def listed(content: Content, key: str, where: str) -> list[Content]:
    """The objects of a list of keyframes, two at least.

    Raises:
        SceneError: it is none.
    """
    found = require(content, key, where)
    if not isinstance(found, list) or not all(isinstance(frame, dict) for frame in found):
        raise problem(where, f"{key} is no list of objects", "one object a keyframe", "Export the path again.")
    if len(found) < 2:
        raise problem(where, f"{key} has {len(found)} keyframes", "two at least, to go from and to", "Add some.")
    return found


def array(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Finite numbers of a shape; nested lists may stand for a flat one.

    Raises:
        SceneError: they are not.
    """
    try:
        found = np.array(value, dtype=np.float64).reshape(shape)
    except (TypeError, ValueError, OverflowError):
        raise problem(where, f"it is {brief(value)}", f"{np.prod(shape)} numbers", _REMEDY) from None
    if not (np.abs(found) < 1e12).all():
        raise problem(where, "it contains NaN, infinity or absurd numbers", "finite numbers", _REMEDY)
    return found


def fov_of(frame: Content, key: str, where: str) -> float:
    """A field of view in degrees.

    Raises:
        SceneError: it is none.
    """
    fov = require_number(frame, key, where)
    if not 0.01 <= fov <= WIDEST:
        raise problem(where, f"{key} is {fov:g}", f"degrees from 0.01 to {WIDEST:g}", _REMEDY)
    return fov


def size_of(content: Content, height: str, width: str, where: str) -> tuple[int, int] | None:
    """Height and width of the pictures; None where neither key is there.

    Raises:
        SceneError: no whole numbers from 1 to 16384.
    """
    if content.get(height) is None and content.get(width) is None:
        return None
    sides = [require_number(content, key, where) for key in (height, width)]
    if any(side != round(side) or side > 1 << 14 for side in sides):
        raise problem(where, f"{height}, {width} are {brief(sides)}", "whole numbers of at most 16384", _REMEDY)
    return int(sides[0]), int(sides[1])
