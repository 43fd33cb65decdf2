"""The cameras that a video's options ask for: a path by its name, or keyframes of a file, in normalized units."""

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.errors import SceneError
from nerfkit.mesh.files.gltf import turn_to_y
from nerfkit.mesh.files.gltf_file import node_matrix
from nerfkit.runs.files import followed
from nerfkit.scenes.scene import Scene
from nerfkit.view.keyframes import Keyframes
from nerfkit.view.options import FILE, VideoOptions
from nerfkit.view.path_files import read_path
from nerfkit.view.paths import OF_PHOTOS, PATHS, all_around
from nerfkit.view.photo_paths import out_of_order
from nerfkit.view.reference import with_lens

OPEN = ("photos",)  # paths of which the last frame is not followed by the first
FAR = 1e4  # in normalized units, where the object is 2 wide
MOST_FRAMES = 100_000  # that a file may ask for by its seconds


def settle_path(options: VideoOptions) -> None:
    """Makes the path's file absolute, and reads it once: before hours of training.

    Raises:
        SceneError: it cannot be read, or does not say how long a path with ``frames=null`` lasts.
    """
    if options.path == FILE:
        options.file = os.path.abspath(followed(options.file or ""))
        _count(read_path(Path(options.file)), options)


def camera_path(options: VideoOptions, scene: Scene, points: Tensor) -> Cameras:
    """``Route.cameras`` of a scene, for whoever asks for nothing else of the route."""
    return Route(options, scene).cameras(points)


class Route:
    """Where a video goes, as its options say; a file of keyframes is read when it is made, and no more.

    Raises:
        SceneError: on creation, the path's file cannot be read.
    """

    def __init__(self, options: VideoOptions, scene: Scene) -> None:
        self.options, self.scene = options, scene
        self._keyframes = None
        if options.path == FILE:
            assert options.file is not None  # as ``VideoOptions.check``
            self._keyframes = read_path(followed(options.file), scene.up)

    def cameras(self, points: Tensor) -> Cameras:
        """The path's cameras, from which ``points`` (P,3) are to be seen, in normalized units.

        Raises:
            SceneError: the file's path is too long, or far away.
        """
        options, scene = self.options, self.scene
        units, cameras = scene.normalization, scene.cameras.most_alike()
        if self._keyframes is not None:
            return _of_file(self._keyframes, options, scene, cameras)
        cameras = _sized(cameras, *_size(options, *cameras.size))
        if options.path in OF_PHOTOS:
            cameras = with_lens(cameras, scene.cameras.camera_to_world[scene.train].detach().cpu())
        target = options.target and units.apply(torch.tensor(options.target, dtype=torch.float64)).float()
        radius = options.radius and options.radius * units.scale
        elevation, up, frames = options.elevation, scene.up, options.frames or 1
        path = PATHS[options.path]
        return path(cameras, frames, elevation=elevation, radius=radius, up=up, center=target, points=points)

    @property
    def closes(self) -> bool:
        """Whether the first frame follows the last one."""
        return self.options.path not in OPEN if self._keyframes is None else self._keyframes.closed

    def doubts(self, path: Cameras, points: Tensor) -> list[str]:
        """What a user should know of the ``cameras`` that it led to: that another path suits the photos better, or that
        this one misses the object."""
        options, photos, keyframes, found = self.options, self.scene.cameras, self._keyframes, []
        if options.path == "spiral" and all_around(photos):
            found.append(
                "path=spiral is for photos from one side, and these are from all around; try path=orbit or path=wave"
            )
        if options.path == "photos" and out_of_order(photos[self.scene.train]):
            found.append(
                "path=photos jumps about, as the photos are in no order of place; try path=ellipse or path=orbit"
            )
        if keyframes is not None:
            frames = keyframes.count(options.fps)
            if keyframes.timed and options.frames is not None and abs(frames - options.frames) > 1:
                found.append(
                    f"{options.file}: its path lasts {keyframes.end:.10g} s, {frames} frames at "
                    f"fps={options.fps:.10g}: frames=null"
                )
            if len(points) and not _sees(path, points[:: math.ceil(len(points) / 1000)]):
                found.append(
                    f"{options.file}: the object is in no frame; is the path in the scene's own units? docs/paths.md"
                )
        return found


def _sees(path: Cameras, points: Tensor) -> bool:
    """Whether one of ``points`` (P,3) is in a picture."""
    size = torch.tensor([path.width, path.height])
    for view in range(len(path)):
        pixel, depth = path[view].project(points)
        if ((depth > 0) & (pixel > 0).all(-1) & (pixel < size).all(-1)).any():
            return True
    return False


def _of_file(keyframes: Keyframes, options: VideoOptions, scene: Scene, cameras: Cameras) -> Cameras:
    """The frames of a file's path, with the lens of ``cameras`` where the file has none."""
    poses, focal = keyframes.frames(_count(keyframes, options))
    units = scene.exported if keyframes.y_up else scene.normalization
    if keyframes.y_up and tuple(scene.up) != (0.0, 1.0, 0.0):
        back = node_matrix({"rotation": turn_to_y(scene.up)})[:3, :3].T
        poses = back @ poses
    position = units.apply(torch.from_numpy(poses[:, :, 3]))  # (N, 3)
    if not (position.abs() < FAR).all():
        raise SceneError(
            f"{options.file}: its cameras are more than {FAR / 2:g} times as far away as the object is large; expected "
            "a path in the scene's own units (docs/paths.md)"
        )
    turned = torch.cat([torch.from_numpy(poses[:, :, :3]), position[:, :, None]], -1).float()
    height, width = _size(options, *(keyframes.size or cameras.size))
    if focal is None:
        return with_lens(_sized(cameras, height, width), turned)
    # What the file's picture shows is in the picture, whatever its shape.
    high = height if keyframes.aspect is None else min(height, width / keyframes.aspect)
    middle = np.broadcast_to([width / 2, height / 2], focal.shape)
    lens = torch.from_numpy(np.concatenate([focal * high, middle], axis=1)).float()
    return Cameras(turned, lens, height, width)


def _count(keyframes: Keyframes, options: VideoOptions) -> int:
    """How many frames a file's path has."""
    if options.frames is not None:
        return options.frames
    if not keyframes.timed:
        raise SceneError(f"{options.file}: it does not say how long its path lasts; expected a number for frames")
    count = keyframes.count(options.fps)
    if count > MOST_FRAMES:
        raise SceneError(f"{options.file}: its path lasts {count} frames at fps={options.fps:g}; give frames, a number")
    return count


def _sized(cameras: Cameras, height: int, width: int) -> Cameras:
    """The cameras with pictures of another size, whose lens is the same or wider: another shape shows more."""
    scale = min(height / cameras.height, width / cameras.width)
    return Cameras(cameras.camera_to_world, cameras.intrinsics * scale, height, width)


def _size(options: VideoOptions, height: int, width: int) -> tuple[int, int]:
    """Height and width of the pictures, where they would be ``height`` and ``width``."""
    wide, high = options.width, options.height
    if wide is not None or high is not None:
        wide = wide or max(round((high or 1) * width / height), 1)
        return high or max(round(wide * height / width), 1), wide
    scale = (options.resolution or max(height, width)) / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)
