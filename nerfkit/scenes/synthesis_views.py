"""Cameras all around an object."""

import math

import numpy as np
import torch

from nerfkit.cameras import Cameras, look_at

FILL = 0.9  # of the picture's side that the object's bounding sphere spans
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def bounding_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """The centre (3,) of the points' (V,3) box, and their largest distance from it."""
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    return centre, float(np.linalg.norm(points - centre, axis=-1).max())


def cameras_around(
    centre: np.ndarray, radius: float, count: int, size: int, fov: float, seed: int | list[int], first: int = 0
) -> Cameras:
    """``count`` cameras that look at ``centre`` from all sides, y upwards, evenly spread; poses in float64.

    They stand on a Fibonacci spiral (Swinbank and Purser 2006), turned as a whole by a random rotation: point i has
    height 1 - (2 i + 1) / count on the unit sphere and azimuth i pi (3 - sqrt 5). With f the focal length and s the
    side in pixels, their distance is radius sqrt(1 + (2 f / (FILL s))^2), from which the sphere of ``radius`` is FILL s
    pixels wide.

    Args:
        size: the pictures' side in pixels.
        fov: the pictures' angle of view in degrees.
        seed: of the rotation.
        first: the point of the spiral at which view 0 stands; the others follow, the last before it.
    """
    number = (np.arange(count) + first) % count
    height = 1 - (2 * number + 1) / count
    level = np.sqrt(1 - height**2)
    azimuth = GOLDEN_ANGLE * number
    directions = np.stack([level * np.sin(azimuth), height, level * np.cos(azimuth)], -1)  # (N, 3)
    focal = size / 2 / math.tan(math.radians(fov) / 2)
    distance = radius * math.sqrt(1 + (2 * focal / (FILL * size)) ** 2)
    positions = torch.from_numpy(centre + distance * directions @ random_rotation(seed).T)
    poses = look_at(positions, torch.from_numpy(centre), positions.new_tensor([0.0, 1.0, 0.0]))
    intrinsics = positions.new_tensor([[focal, focal, size / 2, size / 2]]).expand(count, 4)
    return Cameras(poses, intrinsics, size, size)


def random_rotation(seed: int | list[int]) -> np.ndarray:
    """A rotation (3,3), every one as likely (Shoemake 1992: a uniform unit quaternion w, x, y, z)."""
    quaternion = np.random.default_rng(seed).normal(size=4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
