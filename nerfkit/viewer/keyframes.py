"""Keyframes of a camera path, taken in the browser."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfkit.cameras import Cameras
from nerfkit.scenes.scene import Similarity
from nerfkit.scenes.writers import quaternion
from nerfkit.view.path_files import write_path

SECONDS = 2.0  # from one keyframe to the next
COLOR, SIZE = (30, 160, 90), 0.1


class Keyframes:
    """The cameras of a path so far, shown as frusta in the scene."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._cameras: list[Cameras] = []
        self._nodes: list[Any] = []

    def __len__(self) -> int:
        return len(self._cameras)

    def add(self, camera: Cameras) -> None:
        """One more keyframe, ``SECONDS`` after the last one."""
        pose = camera.camera_to_world[0].double().numpy()
        node = self._server.scene.add_camera_frustum(
            f"/path/{len(self)}",
            2 * math.atan(camera.height / 2 / float(camera.intrinsics[0, 1])),
            camera.width / camera.height,
            scale=SIZE,
            thickness=1.5,
            thickness_units="screen",
            color=COLOR,
            wxyz=quaternion(pose[:, :3] * np.array([1.0, -1, -1])),
            position=pose[:, 3],
        )
        self._cameras.append(camera)
        self._nodes.append(node)

    def drop(self) -> None:
        """Takes the last keyframe back, if there is one."""
        if self._cameras:
            self._cameras.pop()
            self._nodes.pop().remove()

    def write(self, folder: Path, units: Similarity) -> Path:
        """Writes ``folder/viewer_path.json``, with a number where that is there, and returns its path.

        Args:
            units: from the scene's own units to normalized ones.
        """
        height, width = self._cameras[-1].size
        lenses = []
        for camera in self._cameras:  # windows may have changed their shape
            focal = float(camera.intrinsics[0, 1]) * height / camera.height
            lenses.append([focal, focal, width / 2, height / 2])
        poses = torch.cat([camera.camera_to_world for camera in self._cameras])
        cameras = Cameras(poses, torch.tensor(lenses), height, width)
        names = (f"viewer_path{f'_{number}' if number > 1 else ''}.json" for number in itertools.count(1))
        path = next(place for name in names if not (place := folder / name).exists())
        folder.mkdir(parents=True, exist_ok=True)
        return write_path(path, cameras, units, 1 / SECONDS, closed=False)
