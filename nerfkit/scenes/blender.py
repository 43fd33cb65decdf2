"""The Blender format of NeRF's synthetic scenes: ``transforms_train.json``, ``transforms_test.json`` and images.

Each frame has ``file_path`` (relative, usually without ".png") and ``transform_matrix``, camera-to-world for column
vectors with OpenGL camera axes. Its lens stands in the frame or, for all frames, at the top:

    f_x = fl_x, or width / 2 / tan(camera_angle_x / 2)        f_y = fl_y, or from camera_angle_y likewise, or f_x
    c_x, c_y = cx, cy, or the image's center

in pixels of an image of ``w`` x ``h``, which may be stored smaller or larger. A lens with distortion is refused. Alpha
is straight; without alpha the box around the object comes from the cameras. The world's z axis points up.
``transforms_val.json`` and depth or normal images are not read; keys that are passed over and could matter are noted.
A ``truth.ply`` beside the transforms is the true mesh, in their units and axes.
"""

import math
from pathlib import Path, PurePosixPath
from reprlib import repr as brief
from typing import Any, NamedTuple

import numpy as np

from nerfkit.cameras.poses import rigid_transform
from nerfkit.errors import problem
from nerfkit.scenes.assemble import Background, assemble, background_color, check_split, hold_out
from nerfkit.scenes.files import Source, is_safe_name, require, require_number
from nerfkit.scenes.frame import Frame
from nerfkit.scenes.images import decode, load_views, straight
from nerfkit.scenes.photo_store import BUDGET
from nerfkit.scenes.scene import Scene

TRAIN, TEST = "transforms_train.json", "transforms_test.json"
DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
FISHEYE = ("is_fisheye", "fisheye")
LENS = ("camera_angle_x", "camera_angle_y", "fl_x", "fl_y", "cx", "cy", "w", "h", "camera_model")
USED = {"frames", "file_path", "transform_matrix", *LENS, *DISTORTION, *FISHEYE}
HARMLESS = {"rotation", "sharpness", "aabb_scale", "depth_file_path", "normal_file_path", "ply_file_path"}


class _Frame(NamedTuple):
    """One image: its name, camera-to-world (3,4), and what the JSON says of its lens, with how messages name it."""

    name: str
    pose: np.ndarray
    lens: dict[str, Any]
    where: str


def load(
    root: str | Path,
    *,
    resolution: int | None = None,
    background: Background = None,
    holdout: int = 10,
    frame: Frame | None = None,
    memory_gb: float = BUDGET,
) -> Scene:
    """Read a Blender data set; the frames of its test file follow those of its train file.

    Args:
        root: folder or zip; the transforms lie in it or one folder down.
        resolution: longer image side in pixels; None keeps the stored size.
        background: name or color; None is white, over which published figures are measured.
        holdout: only where there is no test file: frames 0, holdout, 2 holdout, ... are the test views.
        frame: what the user says of region and axes.
        memory_gb: as ``PhotoStore``.

    Raises:
        SceneError, ConfigError: see ``open_scene``.
    """
    color = background_color(background, "white")
    with Source(root) as source:
        where = str(source.path)
        found = source.find(TRAIN)
        if not found:
            raise problem(
                where, f"no {TRAIN} inside", "the Blender format", "Point scene.root at the folder that holds it."
            )
        folders = [str(PurePosixPath(name).parent) for name in found]
        if len(folders) > 1 and "." not in folders:
            raise problem(
                where,
                f"{len(folders)} data sets inside: {', '.join(folders[:6])}",
                "one",
                "Point scene.root at one of them.",
            )
        folder = PurePosixPath("." if "." in folders else folders[0])
        truth = source.truth(folder)
        train_views = _frames(source, folder, TRAIN)
        test_views = _frames(source, folder, TEST) if source.exists(str(folder / TEST)) else []
        views = train_views + test_views
        if test_views:
            split = list(range(len(train_views))), list(range(len(train_views), len(views)))
            check_split(*split, where, f"Add frames to {TRAIN} or {TEST}.")
        else:
            split = hold_out(len(views), holdout, where)
        missing = [view.name for view in views if not source.exists(view.name)]
        if missing:
            raise problem(
                where,
                f"{len(missing)} of {len(views)} listed images are missing, the first is {missing[0]}",
                "a file for each frame of the transforms",
                "Restore the images, or remove their frames from the JSON.",
            )
        labels = [source.where(view.name) for view in views]
        images, stored = load_views(
            len(views),
            lambda view: straight(decode(source.read(views[view].name), labels[view])),
            resolution,
            source.path.name,
            memory_gb,
        )
    return assemble(
        name=source.name,
        where=where,
        images=images,
        stored_sizes=stored,
        camera_to_world=np.stack([view.pose for view in views]),
        intrinsics=np.array([_intrinsics(view, *size) for view, size in zip(views, stored, strict=True)]),
        split=split,
        background=color,
        has_masks=images.transparent,
        up=(0.0, 0.0, 1.0),
        provenance={"path": where, "format": "blender", "views": [view.name for view in views]},
        notes=_notes(views, source.where(str(folder / TRAIN))),
        truth=truth,
        frame=frame,
    )


def _frames(source: Source, folder: PurePosixPath, file: str) -> list[_Frame]:
    """The frames of one file."""
    name = str(folder / file)
    where = source.where(name)
    content = source.read_json(name)
    frames = require(content, "frames", where)
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise problem(where, "'frames' is no list of objects", "one object a view", "Export it again.")
    shared = {key: value for key, value in content.items() if key != "frames"}
    return [_frame(source, folder, shared | frame, f"{where}, frame {index}") for index, frame in enumerate(frames)]


def _frame(source: Source, folder: PurePosixPath, frame: dict[str, Any], where: str) -> _Frame:
    path = require(frame, "file_path", where)
    if not isinstance(path, str) or not is_safe_name(path):
        raise problem(
            where,
            f"file_path is {brief(path)}",
            "a relative path inside the data set's folder",
            "Correct the path in the JSON.",
        )
    name = str(folder / path)
    if not source.exists(name):
        name += ".png"
    bent = [key for key in DISTORTION if frame.get(key, 0) != 0]
    bent += [key for key in FISHEYE if frame.get(key)]
    said = [f"{key} {brief(frame[key])}" for key in bent]
    if bent or "FISHEYE" in str(frame.get("camera_model", "")):
        raise problem(
            where,
            f"the lens is distorted ({', '.join(said) or str(frame['camera_model'])[:80]})",
            "pictures of a pinhole camera",
            "Undistort the pictures first, such as with COLMAP's image_undistorter.",
        )
    pose = rigid_transform(require(frame, "transform_matrix", where), f"{where}, transform_matrix")
    return _Frame(name, pose, {key: value for key, value in frame.items() if key not in USED or key in LENS}, where)


def _intrinsics(frame: _Frame, height: int, width: int) -> list[float]:
    """fx, fy, cx, cy in pixels of the stored image."""
    lens, where = frame.lens, frame.where
    w, h = (require_number(lens, key, where) if key in lens else size for key, size in (("w", width), ("h", height)))
    if abs(w / h * height / width - 1) > 0.01:
        raise problem(
            where,
            f"w and h are {w:g}x{h:g}, the image is {width}x{height}",
            "the same aspect",
            "Crop neither; export images and JSON together.",
        )

    def focal(axis: str, size: float) -> float | None:
        if f"fl_{axis}" in lens:
            return require_number(lens, f"fl_{axis}", where)
        if f"camera_angle_{axis}" not in lens:
            return None
        angle = require_number(lens, f"camera_angle_{axis}", where)
        if angle >= math.pi:
            raise problem(where, f"camera_angle_{axis} is {angle}", "radians below pi", "Write the angle in radians.")
        return size / 2 / math.tan(angle / 2)

    fx, fy = focal("x", w), focal("y", h)
    if fx is None and fy is None:
        require(lens, "camera_angle_x", where)
    fx, fy = fx or fy, fy or fx
    assert fx is not None and fy is not None
    cx, cy = (require_number(lens, key, where) if key in lens else size / 2 for key, size in (("cx", w), ("cy", h)))
    return [fx * width / w, fy * height / h, cx * width / w, cy * height / h]


def _notes(frames: list[_Frame], where: str) -> list[str]:
    """What the JSON says, could matter, and is not used."""
    unused = sorted({key for frame in frames for key in frame.lens} - USED - HARMLESS)
    return [f"{where}: not used: {', '.join(unused)}"] if unused else []
