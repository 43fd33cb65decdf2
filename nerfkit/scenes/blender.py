"""The Blender format of NeRF's synthetic scenes: ``transforms_train.json``, ``transforms_test.json`` and RGBA images.

Each frame has ``file_path`` (relative, usually without ".png") and ``transform_matrix``, camera-to-world for column
vectors with OpenGL camera axes. f = width / 2 / tan(camera_angle_x / 2) in pixels, pixels are square and the principal
point is the image's center. Alpha is straight. The world's z axis points up. ``transforms_val.json`` and depth or
normal images are not read. A ``truth.ply`` beside the transforms is the true mesh, in their units and axes.
"""

import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from nerfkit.cameras.poses import rigid_transform
from nerfkit.errors import problem
from nerfkit.scenes.assemble import Background, assemble, background_color, check_split, hold_out
from nerfkit.scenes.files import Source, is_safe_name, require, require_number
from nerfkit.scenes.images import decode, load_views, straight
from nerfkit.scenes.scene import Scene

TRAIN, TEST = "transforms_train.json", "transforms_test.json"
BOUND = 1.5  # the scenes of this format are modeled to fit [-1.5, 1.5]^3


def load(root: str | Path, *, resolution: int | None = None, background: Background = None, holdout: int = 10) -> Scene:
    """Read a Blender data set; the frames of its test file follow those of its train file.

    Args:
        root: folder or zip; the transforms lie in it or one folder down.
        resolution: longer image side in pixels; None keeps the stored size.
        background: name or color; None is white, over which published figures are measured.
        holdout: only where there is no test file: frames 0, holdout, 2 holdout, ... are the test views.

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
        folder = PurePosixPath(found[0]).parent
        truth = source.truth(folder)
        train_views = _frames(source, folder, TRAIN)
        test_views = _frames(source, folder, TEST) if source.exists(str(folder / TEST)) else []
        views = train_views + test_views
        if test_views:
            split = list(range(len(train_views))), list(range(len(train_views), len(views)))
            check_split(*split, where, f"Add frames to {TRAIN} or {TEST}.")
        else:
            split = hold_out(len(views), holdout, where)
        missing = [name for name, _, _ in views if not source.exists(name)]
        if missing:
            raise problem(
                where,
                f"{len(missing)} of {len(views)} listed images are missing, the first is {missing[0]}",
                "a file for each frame of the transforms",
                "Restore the images, or remove their frames from the JSON.",
            )
        labels = [source.where(name) for name, _, _ in views]
        images, stored = load_views(
            labels,
            lambda view: straight(decode(source.read(views[view][0]), labels[view])),
            resolution,
            source.path.name,
        )
    focal = np.array([stored[1] / 2 / math.tan(angle / 2) for _, _, angle in views])  # (N,)
    center = np.broadcast_to([stored[1] / 2, stored[0] / 2], (len(views), 2))
    return assemble(
        name=source.path.stem,
        where=where,
        images=images,
        stored_size=stored,
        camera_to_world=np.stack([pose for _, pose, _ in views]),
        intrinsics=np.concatenate([focal[:, None], focal[:, None], center], axis=1),
        split=split,
        background=color,
        has_masks=bool((images[..., 3] < 255).any()),
        up=(0.0, 0.0, 1.0),
        provenance={"path": where, "format": "blender", "views": [name for name, _, _ in views]},
        box_without_masks=(np.full(3, -BOUND), np.full(3, BOUND)),
        truth=truth,
    )


def _frames(source: Source, folder: PurePosixPath, file: str) -> list[tuple[str, np.ndarray, float]]:
    """Image name, camera-to-world (3,4) and horizontal field of view (radians) of each frame of one file."""
    name = str(folder / file)
    where = source.where(name)
    content = source.read_json(name)
    angle = require_number(content, "camera_angle_x", where)
    if angle >= math.pi:
        raise problem(where, f"camera_angle_x is {angle}", "radians below pi", "Write the angle in radians.")
    frames = require(content, "frames", where)
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise problem(where, "'frames' is no list of objects", "one object a view", "Export it again.")
    return [(*_frame(source, folder, frame, f"{where}, frame {index}"), angle) for index, frame in enumerate(frames)]


def _frame(source: Source, folder: PurePosixPath, frame: dict[str, Any], where: str) -> tuple[str, np.ndarray]:
    path = require(frame, "file_path", where)
    if not isinstance(path, str) or not is_safe_name(path):
        raise problem(
            where,
            f"file_path is {path!r}",
            "a relative path inside the data set's folder",
            "Correct the path in the JSON.",
        )
    name = str(folder / path)
    if not source.exists(name):
        name += ".png"
    return name, rigid_transform(require(frame, "transform_matrix", where), f"{where}, transform_matrix")
