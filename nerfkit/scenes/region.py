"""Where the thing in the middle is, for photos without masks: from what the cameras look at and the sparse points.

The region is a cube. Its first guess is a ball around the point nearest to all optical axes, as large as half of the
cameras see it whole. Where there are enough points, the plane that carries the object is searched among those near the
ball: the one with most points on it that nearly all cameras are on one side of and hardly a point is below. Up is its
normal, unless the photos are held level and say otherwise: then it is a wall. The ball is moved to the middle of the
points above that it holds until it stays, for cameras that are all on one side of the object look past it. The cube is
then fitted to these points, with half of their extent to spare, for smooth parts have none.
"""

from typing import NamedTuple

import numpy as np

from nerfkit.cameras import Cameras
from nerfkit.cameras.poses import held_level, level_up
from nerfkit.scenes.normalize import Box, focus_point

FEW = 200  # points above the plane from which they tell the object's size
TRIES = 1000  # planes through three points; with a fifth of the points on it, one in 125 is the right one
THICK = 0.01  # of the mean camera distance: what lies on a plane
BELOW = 0.15  # share of points that may lie below the plane: noise, reflections, the floor beyond a table
ON = 0.1  # share of the points that must lie on it
TILT = 0.7  # cosine between the plane's normal and up: what is steeper than 45 degrees carries nothing
MARGIN = 1.5  # the cube's side over the extent of the points
MOVES = 20  # of the ball, at the most


class Region(NamedTuple):
    """``box`` that holds the object; ``up`` (3,) unit; ``ground``: unit normal (3,) and offset, n x = offset, of what
    carries it, None if nothing was found; ``how``: one sentence for the log. All in the scene's own units."""

    box: Box
    up: np.ndarray
    ground: tuple[np.ndarray, float] | None
    how: str


def find_region(cameras: Cameras, points: np.ndarray) -> Region:
    """The region of cameras that look at one thing.

    Args:
        cameras: in the scene's own units.
        points: (P,3) of the scene's surfaces, in the same units; may be empty.
    """
    focus = focus_point(cameras)
    poses = cameras.camera_to_world.numpy(force=True).astype(np.float64)
    distance = float(np.linalg.norm(poses[:, :, 3] - focus, axis=1).mean())
    radius = min(float(np.median(_visible_radius(cameras, focus))), 0.5 * distance)
    if radius <= 0:  # most cameras look past the point
        radius = 0.5 * distance
    near = points[np.linalg.norm(points - focus, axis=1) < 2 * radius]
    ground = _ground(near, poses[:, :, 3], THICK * distance)
    if ground is None:
        up, how = level_up(poses), "what most photos show whole around the point they look at"
        return Region((focus - radius, focus + radius), up, None, how)
    normal, offset = ground
    level = held_level(poses)
    up = normal if level is None or level @ normal > TILT else level
    raised, middle, moves = points[points @ normal - offset > 2 * THICK * distance], focus, 0
    while True:
        above = raised[np.linalg.norm(raised - middle, axis=1) < radius]
        if len(above) < FEW:
            how = "what most photos show whole around the point they look at"
            return Region((focus - radius, focus + radius), up, ground, how)
        low, high = np.percentile(above, [1, 99], axis=0)
        before, middle, moves = middle, (low + high) / 2, moves + 1
        if moves == MOVES or np.linalg.norm(middle - before) < 1e-3 * radius:
            break
    half = min(MARGIN / 2 * float((high - low).max()), radius)
    place = "above the plane that it stands on" if up is normal else "before the wall behind it"
    how = f"around {len(above)} points {place}"
    return Region((middle - half, middle + half), up, ground, how)


def _visible_radius(cameras: Cameras, point: np.ndarray) -> np.ndarray:
    """How large a ball around a point each camera sees whole, (N,); negative where it does not see the point."""
    pose = cameras.camera_to_world.numpy(force=True).astype(np.float64)
    fx, fy, cx, cy = cameras.intrinsics.numpy(force=True).astype(np.float64).T
    height, width = np.array(cameras.sizes, np.float64).T
    right, up, backward = np.einsum("nij,ni->jn", pose[:, :, :3], point - pose[:, :, 3])
    # Through each side of the frame and the center goes a plane; the ball may touch it.
    sides = [
        (fx * right - cx * backward) / np.hypot(fx, cx),
        (-fx * right - (width - cx) * backward) / np.hypot(fx, width - cx),
        (-fy * up - cy * backward) / np.hypot(fy, cy),
        (fy * up - (height - cy) * backward) / np.hypot(fy, height - cy),
    ]
    return np.min(sides, axis=0)


def _ground(points: np.ndarray, centers: np.ndarray, thick: float) -> tuple[np.ndarray, float] | None:
    """Normal, toward the cameras, and offset of the plane that carries the object; None if there is none."""
    if len(points) < FEW:
        return None
    random = np.random.default_rng(0)  # the same region every time
    best: tuple[int, np.ndarray, np.ndarray] = (0, np.zeros(3), np.zeros(3))
    for _ in range(TRIES):
        a, b, c = points[random.integers(len(points), size=3)]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-12:
            continue
        normal /= length
        above = ((centers - a) @ normal > 0).mean()
        normal, above = (-normal, 1 - above) if above < 0.5 else (normal, above)
        height = (points - a) @ normal
        count = int((np.abs(height) < thick).sum())
        if count > best[0] and above > 0.95 and (height < -2 * thick).mean() < BELOW:
            best = count, normal, a
    count, normal, origin = best
    if count < ON * len(points):
        return None
    height = (points - origin) @ normal
    on = points[np.abs(height) < thick]
    fitted = np.linalg.svd(on - on.mean(0), full_matrices=False)[2][2]
    normal = fitted if fitted @ normal > 0 else -fitted
    return normal, float((on @ normal).mean())
