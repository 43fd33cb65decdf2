"""The part of some pictures that a step of the refinement draws: where the mesh is, or what the masks cover.

Elsewhere pictures and photos are both empty, and no term of the loss has anything there.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.raster import homogeneous_points
from nerfkit.scenes.scene import Scene

MARGIN = 2  # pixels around mesh and masks: outlines are blended into the pixels beside them
NEAR = 1e-3  # a mesh that comes nearer to a camera may show anywhere in its picture


@dataclass(frozen=True)
class Window:
    """A part of the pictures of N views, of one size.

    Attributes:
        top, left: N numbers, the first row and column of each view's part.
        height, width: of every part, in pixels.
    """

    top: list[int]
    left: list[int]
    height: int
    width: int

    def cameras(self, cameras: Cameras) -> Cameras:
        """The N cameras with pictures that are the parts."""
        return cameras.cropped(self.top, self.left, self.height, self.width)

    def cut(self, pictures: list[Tensor]) -> Tensor:
        """The parts of N pictures (H,W,...), one on top of the other: (N,h,w,...)."""
        corners = zip(pictures, self.top, self.left, strict=True)
        return torch.stack([whole[i : i + self.height, j : j + self.width] for whole, i, j in corners])

    def places(self, number: int, pixel: Tensor, width: int) -> Tensor:
        """Where pixels (P,) of view ``number``, i W + j, are in its part, -1 for those that are not in it."""
        i, j = pixel // width - self.top[number], pixel % width - self.left[number]
        inside = (i >= 0) & (i < self.height) & (j >= 0) & (j < self.width)
        return torch.where(inside, i * self.width + j, -1)


class Windows:
    """What is to be drawn of a scene's views.

    Args:
        whole: all of each picture, always.
    """

    def __init__(self, scene: Scene, whole: bool = False) -> None:
        self.scene, self.whole = scene, whole
        self._boxes: dict[int, tuple[int, int, int, int]] = {}

    @torch.no_grad()
    def around(self, vertices: Tensor, views: list[int]) -> Window:
        """The smallest window over views of one size with all of mesh and masks, and ``MARGIN`` pixels around them."""
        cameras = self.scene.cameras[views]
        height, width = cameras.size
        all_of_it = Window([0] * len(views), [0] * len(views), height, width)
        if self.whole or not len(vertices):
            return all_of_it
        points = homogeneous_points(vertices, cameras)
        near = points[..., 2].amin()
        corners = points[..., :2] / points[..., 2:]  # (N, V, 2)
        low, high = corners.amin(1), corners.amax(1)  # (N, 2)
        found = torch.cat([low.flatten(), high.flatten(), near[None]])
        if not torch.isfinite(found).all() or found[-1] <= NEAR:
            return all_of_it
        boxes = torch.cat([low, high], 1).clamp(-MARGIN, max(height, width) + MARGIN).tolist()
        spans = []
        for view, (x_low, y_low, x_high, y_high) in zip(views, boxes, strict=True):
            top, left, bottom, right = self._covered(view)
            rows = _span(min(top, int(y_low)), max(bottom, int(y_high) + 1), height)
            columns = _span(min(left, int(x_low)), max(right, int(x_high) + 1), width)
            spans.append((*rows, *columns))
        tall = max(1, max(last - first for first, last, _, _ in spans))
        wide = max(1, max(last - first for _, _, first, last in spans))
        tops, lefts = (
            [min(row, height - tall) for row, *_ in spans],
            [min(left, width - wide) for _, _, left, _ in spans],
        )
        return Window(tops, lefts, tall, wide)

    def _covered(self, view: int) -> tuple[int, int, int, int]:
        """First and past the last row and column that the photo's mask covers: (top, left, bottom, right)."""
        if view not in self._boxes:
            height, width = self.scene.cameras.sizes[view]
            box = (height, width, 0, 0)  # of nothing
            if self.scene.has_masks:
                covered = self.scene.images[view][..., 3] > 0
                rows, columns = (covered.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
                if rows:
                    box = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
            self._boxes[view] = box
        return self._boxes[view]


def _span(first: int, past: int, size: int) -> tuple[int, int]:
    """The range of pixels with a margin, within the picture."""
    return min(max(first - MARGIN, 0), size), max(min(past + MARGIN, size), 0)
