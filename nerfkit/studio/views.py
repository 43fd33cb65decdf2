"""Cameras all around an object."""

import math

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from nerfkit.cameras import Cameras, look_at

FILL = 0.9  # of the picture's side that the object spans in the view that it fills most
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def cameras_around(
    points: np.ndarray, count: int, size: int, fov: float, seed: int | list[int], first: int = 0
) -> Cameras:
    """``count`` cameras that look at the center of the points' box from all sides, y upward; poses in float64.

    They stand on a Fibonacci spiral (Swinbank and Purser 2006), turned as a whole by a random rotation: point i has
    height 1 - (2 i + 1) / count on the unit sphere and azimuth i pi (3 - sqrt 5). All stand at one distance, the
    smallest at which every point (X, Y, Z) of every view, seen from the center along the camera's axes, is FILL s / 2
    pixels or less from the middle of the picture, with f the focal length and s the side in pixels:

        distance = max Z + 2 f max(|X|, |Y|) / (FILL s).

    Args:
        points: (K,3) of the object.
        size: the pictures' side in pixels.
        fov: the pictures' angle of view in degrees.
        seed: of the rotation.
        first: the point of the spiral at which view 0 stands; the others follow, the last before it.
    """
    number = (np.arange(count) + first) % count
    height = 1 - (2 * number + 1) / count
    level = np.sqrt(1 - height**2)
    azimuth = GOLDEN_ANGLE * number
    directions = np.stack([level * np.sin(azimuth), height, level * np.cos(azimuth)], -1) @ random_rotation(seed).T
    axes = look_at(torch.from_numpy(directions), torch.zeros(3).double(), torch.tensor([0.0, 1, 0]).double())[..., :3]
    focal = size / 2 / math.tan(math.radians(fov) / 2)
    center = (points.min(axis=0) + points.max(axis=0)) / 2
    distance = 0.0
    for axis in axes.numpy():
        x, y, z = ((points - center) @ axis).T
        distance = max(distance, float((z + 2 * focal * np.maximum(np.abs(x), np.abs(y)) / (FILL * size)).max()))
    positions = torch.from_numpy(center + distance * directions)
    intrinsics = positions.new_tensor([[focal, focal, size / 2, size / 2]]).expand(count, 4)
    return Cameras(torch.cat([axes, positions[..., None]], -1), intrinsics, size, size)


def random_rotation(seed: int | list[int]) -> np.ndarray:
    """A rotation (3,3), every one as likely (Shoemake 1992: a uniform unit quaternion w, x, y, z)."""
    w, x, y, z = np.random.default_rng(seed).normal(size=4)
    return Rotation.from_quat([x, y, z, w]).as_matrix()
