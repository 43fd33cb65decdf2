"""Finding the box that holds the object, and the similarity that takes it into [-1,1]^3."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.scenes.files import problem
from nerfkit.scenes.hull import carve
from nerfkit.scenes.scene import Similarity

Box = tuple[np.ndarray, np.ndarray]

FILL = 0.95  # the box's longest side spans [-FILL, FILL]: room for smoothing and for the vertices of an isosurface
COARSE, FINE = 64, 128


def focus_point(cameras: Cameras) -> np.ndarray:
    """The point (3,) nearest to all optical axes: argmin_p sum_i |(I - d_i d_i^T)(p - o_i)|^2.

    Where the axes are parallel every point of a line is as near; the one closest to the cameras' mean position is returned then.
    """
    poses = cameras.camera_to_world.numpy(force=True).astype(np.float64)
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


def hull_box(cameras: Cameras, masks: Tensor, where: str) -> Box:
    """The bounding box of the visual hull of ``masks`` (N,H,W), nonzero where the object is.

    A coarse grid over all that the cameras can see around their focus point is carved, then its box again, finer. Cells must be
    seen whole by a quarter of the views (at least two), for space that nobody looks at cannot be carved.

    Raises:
        SceneError: nothing is left, so masks and poses disagree.
    """
    focus = focus_point(cameras)
    fx, fy = cameras.intrinsics[:, 0].numpy(force=True), cameras.intrinsics[:, 1].numpy(force=True)
    corner = np.hypot(cameras.width / 2 / fx, cameras.height / 2 / fy)  # tangent of half the diagonal field of view
    radius = (np.linalg.norm(cameras.positions.numpy(force=True) - focus, axis=1) * corner).max()
    min_seen = max(2, math.ceil(len(cameras) / 4))
    lower, upper = focus - radius, focus + radius
    for resolution in (COARSE, FINE):
        keep = carve(cameras, masks, resolution, lower=lower, upper=upper, min_seen=min_seen)
        if not keep.any():
            empty = int((masks.flatten(1) != 0).any(1).logical_not().sum())
            raise problem(
                where,
                f"the masks have no common visual hull (empty masks: {empty} of {len(masks)} training views)",
                "masks that show one object from all its cameras",
                "Check the poses' convention, and leave out views whose mask is empty.",
            )
        indices = keep.nonzero().numpy()  # (kept cells, 3)
        first, last = indices.min(axis=0), indices.max(axis=0)
        cell = (upper - lower) / resolution
        lower, upper = lower + first * cell, lower + (last + 1) * cell
    return lower, upper


def fit_box(box: Box) -> Similarity:
    """The similarity that centres ``box`` and scales its longest side to 2 FILL."""
    lower, upper = box
    scale = 2 * FILL / float((upper - lower).max())
    x, y, z = (-scale * (lower + upper) / 2).tolist()
    return Similarity(scale, (x, y, z))


def move(cameras: Cameras, similarity: Similarity) -> Cameras:
    """The cameras in normalised units: positions are transformed, rotations and intrinsics stay."""
    position = similarity.apply(cameras.positions)
    return replace(cameras, camera_to_world=torch.cat([cameras.camera_to_world[:, :, :3], position[..., None]], -1))
