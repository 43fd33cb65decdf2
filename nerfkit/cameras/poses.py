"""Checking a pose matrix before anything is computed from it."""

from typing import Any

import numpy as np

from nerfkit.errors import problem

# Published data sets are rounded to float32 or to six digits; a real scale or shear is far larger.
TOLERANCE = 1e-3
FARTHEST = 1e12
"""From the origin, in any unit: what is computed of a camera's place, its square among it, stays finite in float32."""


def rigid_transform(matrix: Any, where: str) -> np.ndarray:
    """A 4x4 rigid transform that acts on column vectors, checked and made exactly orthonormal, (3,4) float64.

    The rotation is replaced by its polar factor, the nearest orthonormal matrix: a change of no more than rounding.

    Args:
        matrix: nested lists or an array, 4x4 (or 3x4), [rotation | translation] over [0, 0, 0, 1].
        where: how a message names the file and key.

    Raises:
        SceneError: another shape, NaN or infinity, another last row, a place beyond ``FARTHEST``, a scale or shear
            above ``TOLERANCE``, or a mirror.
    """
    expected = "a 4x4 rigid transform (rotation and translation)"
    remedy = "Export the camera again without scale or mirroring."
    try:
        pose = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise problem(where, "the pose is not a matrix of numbers", expected, remedy) from None
    if pose.shape not in ((4, 4), (3, 4)):
        raise problem(where, f"the pose has shape {pose.shape}", expected, remedy)
    if not np.isfinite(pose).all():
        raise problem(where, "the pose contains NaN or infinity", expected, remedy)
    if pose.shape == (4, 4) and np.abs(pose[3] - [0, 0, 0, 1]).max() > TOLERANCE:
        raise problem(
            where,
            f"the pose's projective part is {np.round(pose[3], 4).tolist()} instead of [0, 0, 0, 1]",
            expected,
            "Check whether the matrix is transposed.",
        )
    if np.abs(pose[:3, 3]).max() > FARTHEST:
        raise problem(
            where, f"the pose is at {pose[:3, 3].tolist()}", f"a place within {FARTHEST:g}", "Change the unit."
        )
    rotation = pose[:3, :3]
    huge = np.abs(rotation).max() > 2  # its square may overflow
    if huge or np.abs(rotation @ rotation.T - np.eye(3)).max() > TOLERANCE:
        raise problem(where, "the pose's rotation is not orthonormal (it scales or shears)", expected, remedy)
    if np.linalg.det(rotation) < 0:
        raise problem(where, "the pose is mirrored (determinant -1)", "a right-handed rotation", remedy)
    left, _, right = np.linalg.svd(rotation)
    return np.concatenate([left @ right, pose[:3, 3:]], axis=1)  # (3, 4)


def inverse(pose: np.ndarray) -> np.ndarray:
    """The inverse (3,4) of a rigid transform (3,4)."""
    rotation = pose[:, :3].T
    return np.concatenate([rotation, -rotation @ pose[:, 3:]], axis=1)


def from_opencv(world_to_camera: np.ndarray) -> np.ndarray:
    """The pose (3,4), camera to world with OpenGL axes, of a rigid transform (3,4), world to camera with OpenCV axes.

    OpenCV's camera looks along +z and has y pointing down, as in COLMAP, DTU and Middlebury.
    """
    return inverse(world_to_camera) * [1.0, -1.0, -1.0, 1.0]


def level_up(poses: np.ndarray) -> np.ndarray:
    """The world's up (3,) from camera-to-world poses (N,3,4) with OpenGL axes.

    The mean of the photos' upward axes, made perpendicular to their horizontal edges: photos are held level far more
    exactly than they are held upright, so the direction that their right axes avoid (the eigenvector of sum r r^T with
    the least eigenvalue) is taken where it is near the mean.
    """
    level, mean = held_level(poses), poses[:, :, 1].sum(0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12) if level is None else level


def held_level(poses: np.ndarray) -> np.ndarray | None:
    """Up (3,) of photos whose horizontal edges are level; None where they are not, as of photos on their side."""
    mean = poses[:, :, 1].sum(0)
    mean = mean / max(float(np.linalg.norm(mean)), 1e-12)
    values, vectors = np.linalg.eigh(poses[:, :, 0].T @ poses[:, :, 0])
    least = vectors[:, 0] * np.sign(vectors[:, 0] @ mean or 1.0)
    return np.asarray(least) if values[0] < 0.2 * values[1] and least @ mean > 0.5 else None


def same_half(quaternions: np.ndarray) -> np.ndarray:
    """The same rotations (K,4), each on the half of the sphere where the one before it is."""
    dots = (quaternions[1:] * quaternions[:-1]).sum(1)
    return quaternions * np.cumprod(np.concatenate([[1.0], np.where(dots < 0, -1.0, 1.0)]))[:, None]
