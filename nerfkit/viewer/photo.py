"""Photos over pictures: for a client whose camera stands where one was taken."""

import math
import time
from collections.abc import Hashable

import numpy as np
import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.scenes.scene import Scene
from nerfkit.viewer.draw import Eye, Framed
from nerfkit.viewer.things import pose_of

NEAR = 1e-3  # of positions in normalized units, and of rotations' quaternions
ARRIVAL = 1.0  # seconds in which a client's messages may be of before it was put there


class Album:
    """The photos of a scene, and who stands at which one.

    Args:
        scene: with its photos; None until they are read.
    """

    def __init__(self, scene: Scene | None) -> None:
        self.scene = scene
        self._standing: dict[Hashable, tuple[int, float]] = {}

    def put(self, who: Hashable, view: int) -> None:
        """A client's camera was just put where photo ``view`` was taken."""
        self._standing[who] = view, time.monotonic()

    def at(self, who: Hashable, eye: Eye, scene: Scene) -> int | None:
        """The photo that a client stands at; None once it has moved. ``scene`` has the cameras."""
        view, since = self._standing.get(who, (None, 0.0))
        if view is None:
            return None
        wxyz, position, _ = pose_of(scene, view)
        turned = 1 - abs(float(np.dot(wxyz, eye.wxyz)))
        moved = float(np.abs(position - eye.position).max())
        if max(turned, moved) < NEAR:
            return view
        if time.monotonic() - since > ARRIVAL:
            self.forget(who)
        return None

    def forget(self, who: Hashable) -> None:
        """A client has moved away, or is gone."""
        self._standing.pop(who, None)

    def framed(self, view: int, cameras: Cameras, eye: Eye, size: tuple[int, int]) -> Framed | None:
        """Photo ``view`` as it lies in the client's window, drawn in ``size``; None where it is not there.

        Its optical axis meets the window's middle, and its size follows from the two fields of view.
        """
        scene = self.scene
        if scene is None or view >= len(scene.images) or scene.cameras.sizes[view] != cameras.sizes[view]:
            return None
        height, width = size
        photo = cameras[[view]]
        scale = height / 2 / math.tan(eye.fov / 2) / float(photo.intrinsics[0, 1])
        part = photo.resized(*(max(round(side * scale), 1) for side in photo.size))
        cx, cy = part.intrinsics[0, 2:].tolist()
        left, top = round(cx - width / 2), round(cy - height / 2)
        rgb = _resized(scene.image(view), part.size)
        known = _resized(scene.images.known(view)[..., None].float(), part.size)[..., 0] > 0.5
        colors, inside = torch.zeros(height, width, 3), torch.zeros(height, width, dtype=torch.bool)
        rows, columns = map(_overlap, (top, left), size, part.size)
        there = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        colors[there], inside[there] = rgb[rows, columns], known[rows, columns]
        return Framed(part.cropped([top], [left], height, width), colors.numpy(), inside.numpy())


def _overlap(first: int, side: int, of: int) -> slice:
    """Which of ``of`` pixels lie in a window of ``side`` pixels that begins at ``first``."""
    start = min(max(first, 0), of)
    return slice(start, max(min(first + side, of), start))


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture (H,W,C) float32 in another size: means of pixels where it gets smaller."""
    planes = picture.permute(2, 0, 1)[None]
    smaller = size[0] < picture.shape[0]
    found = torch.nn.functional.interpolate(planes, size, mode="area" if smaller else "bilinear")
    return found[0].permute(1, 2, 0)
