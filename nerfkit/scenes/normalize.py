"""Finding the box that holds the object, and the similarity that takes it into [-1,1]^3."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.errors import problem
from nerfkit.scenes.hull import carve, coverage
from nerfkit.scenes.scene import Similarity

Box = tuple[np.ndarray, np.ndarray]

FILL = 0.95  # the box's longest side spans [-FILL, FILL]; the rest is a margin for smoothing
COARSE, FINE = 64, 96
COVERED = 0.99  # of the masks' pixels see the hull where cameras and masks fit together
EXPLAINED = 2 / 3  # of those that do not see it, by grown masks: stray pixels of right masks are far from any hull
MOST_SLACK = 0.08  # of the longer side: masks are not grown further


def focus_point(cameras: Cameras) -> np.ndarray:
    """``focus_of`` the cameras' poses."""
    return focus_of(cameras.camera_to_world.numpy(force=True).astype(np.float64))


def focus_of(poses: np.ndarray) -> np.ndarray:
    """The point (3,) nearest to all optical axes of poses (N,3,4): argmin_p sum_i |(I - d_i d_i^T)(p - o_i)|^2.

    Where the axes are parallel, every point of a line is as near; the one closest to the mean position is taken.
    """
    origins, axes = poses[:, :, 3], -poses[:, :, 2]
    middle = origins.mean(axis=0)
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]  # (N, 3, 3)
    offset = np.einsum("nij,nj->i", across, origins - middle)
    return middle + np.linalg.lstsq(across.sum(axis=0), offset, rcond=1e-9)[0]


def camera_box(cameras: Cameras) -> Box:
    """Without masks: the cube around the focus point whose half side is half the mean camera distance from it."""
    focus = focus_point(cameras)
    half = 0.5 * np.linalg.norm(cameras.positions.numpy(force=True) - focus, axis=1).mean()
    return focus - half, focus + half


def hull_box(cameras: Cameras, masks: Sequence[Tensor], where: str) -> tuple[Box, int]:
    """The bounding box of the visual hull of N ``masks`` (H,W), nonzero where the object is, and the masks' slack.

    The slack is by how many pixels the masks are grown before they carve: 1 where that hull covers them, as it does
    where cameras and masks are right; else 2, 4, 8 and so on until it does; 1 where none of these helps, or only a
    little, as against stray pixels.

    A coarse grid over all that the cameras can see around their focus point is carved, then its box again, finer. Where
    a mask stays off its frame's border, the view shows the whole object, so the box lies in what it sees. At least half
    of the views must see a cell, for space that nobody looks at cannot be carved.

    Raises:
        SceneError: nothing is left, so masks and poses disagree.
    """
    focus = focus_point(cameras)
    fx, fy = cameras.intrinsics[:, 0].numpy(force=True), cameras.intrinsics[:, 1].numpy(force=True)
    height, width = np.array(cameras.sizes, np.float64).T
    corner = np.hypot(width / 2 / fx, height / 2 / fy)  # tangent of half the diagonal field of view
    radius = (np.linalg.norm(cameras.positions.numpy(force=True) - focus, axis=1) * corner).max()
    borders = [torch.cat([mask[0], mask[-1], mask[:, 0], mask[:, -1]]) for mask in masks]
    closed = torch.tensor([not border.any() for border in borders])
    min_seen, slack, tightest, missed = math.ceil(len(cameras) / 2), 1, None, 1.0
    while slack == 1 or slack <= MOST_SLACK * max(height.max(), width.max()):
        around = focus - radius, focus + radius
        box, cells = around, torch.ones(1)
        for resolution in (COARSE, FINE):
            around = box
            cells = carve(
                cameras, masks, resolution, lower=box[0], upper=box[1], margin_pixels=slack, closed=closed,
                min_seen=min_seen,
            )  # fmt: skip
            if not cells.any():
                break
            indices = cells.nonzero().numpy()  # (kept cells, 3)
            cell = (box[1] - box[0]) / resolution
            box = box[0] + indices.min(axis=0) * cell, box[0] + (indices.max(axis=0) + 1) * cell
        if cells.any():
            share = 1 - coverage(cameras, masks, cells, *around)
            if share <= 1 - COVERED and (slack == 1 or share <= (1 - EXPLAINED) * missed):
                return box, slack
            if slack == 1:
                tightest, missed = box, share
        slack *= 2
    if tightest is None:
        raise problem(
            where,
            "no point in space lies inside all masks",
            "masks of one object, and poses in the format's convention",
            "Check that masks and poses belong together.",
        )
    return tightest, 1


def fit_box(box: Box) -> Similarity:
    """The similarity that centers ``box`` and scales its longest side to 2 FILL."""
    lower, upper = box
    scale = 2 * FILL / float((upper - lower).max())
    x, y, z = (-scale * (lower + upper) / 2).tolist()
    return Similarity(scale, (x, y, z))


def move(cameras: Cameras, similarity: Similarity) -> Cameras:
    """The cameras in normalized units: positions are transformed, rotations and intrinsics stay."""
    position = similarity.apply(cameras.positions)
    return cameras.changed(torch.cat([cameras.camera_to_world[:, :, :3], position[..., None]], -1))
