"""Camera paths in normalized world units. Each but ``photos`` closes: the frame after the last one would be the first.

A path takes its lens (fx, fy) from the training cameras, and its distance from what there is to be seen or, where that
is not told, from them too. Elevation is the angle above the plane through ``center`` perpendicular to ``up``.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.cameras import Cameras, look_at
from nerfkit.view.photo_paths import ellipse, photos
from nerfkit.view.reference import Point, lens, offsets, with_lens

MARGIN = 0.05  # of half a picture's side that stays free around what is to be seen


def orbit(
    reference: Cameras,
    frames: int,
    elevation: float = 20.0,
    radius: float | None = None,
    up: Point = (0.0, 1.0, 0.0),
    center: Point | None = None,
    points: Tensor | None = None,
    swing: float = 0.0,
) -> Cameras:
    """A turntable: once around ``up``, counterclockwise seen from above, from the first reference camera's azimuth.

    Args:
        reference: the training cameras.
        frames: number of cameras, equal steps of azimuth.
        elevation: degrees, clipped to 89 either way.
        radius: distance from ``center``; None is the least from which every picture shows all ``points``, or without
            those the median of the reference cameras'.
        up: axis of rotation, (3,).
        center: the point in the middle of the picture, (3,); None is the middle of ``points``' bounds, or the origin.
        points: (P,3) points of what is to be seen.
        swing: the elevation rises and falls by this many degrees, one wave a turn.
    """
    away, up, center = offsets(reference, up, center, points)
    forward = _across(away[0], up)
    right = torch.linalg.cross(up, forward)
    turn = torch.arange(frames, dtype=torch.float32) * (2 * math.pi / frames)  # (N,)
    # Not quite to the poles: beyond them the picture would turn upside down.
    height = torch.deg2rad((elevation + swing * turn.sin()).clamp(-89, 89))[:, None]  # (N, 1)
    ring = forward * turn.cos()[:, None] + right * turn.sin()[:, None]  # (N, 3)
    direction = ring * height.cos() + up * height.sin()  # (N, 3)
    distance = radius
    if distance is None and points is not None and len(points):
        distance = _least_distance(reference, look_at(direction, torch.zeros(3), up)[:, :, :3], points - center)
    if distance is None:
        distance = _median_distance(away)
    return with_lens(reference, look_at(center + distance * direction, center, up))


def wave(reference: Cameras, frames: int, elevation: float = 20.0, **options: object) -> Cameras:
    """A turntable whose elevation swings by 25 degrees; the arguments are those of ``orbit``."""
    return orbit(reference, frames, elevation, swing=25.0, **options)  # type: ignore[arg-type]


def spiral(
    reference: Cameras,
    frames: int,
    elevation: float = 20.0,
    radius: float | None = None,
    up: Point = (0.0, 1.0, 0.0),
    center: Point | None = None,
    points: Tensor | None = None,
) -> Cameras:
    """Two small circles about the mean direction of the reference cameras: for scenes photographed from one side.

    The circles' radius is a quarter of the cameras' spread, at most a fifth of the distance; ``elevation`` is the
    photos' own and the argument is ignored, and so is the distance, whatever the points, where ``radius`` is None. The
    other arguments are those of ``orbit``.
    """
    away, up, center = offsets(reference, up, center, points)
    distance = _median_distance(away) if radius is None else radius
    directions = normalize(away, dim=-1)  # (N, 3)
    mean = directions.mean(0)
    axis = normalize(mean, dim=0) if mean.norm() > 1e-3 else directions[0]
    right = normalize(torch.linalg.cross(up, _tilted(axis, up)), dim=0)
    above = torch.linalg.cross(axis, right)
    width = min(0.25 * float((directions - axis).norm(dim=-1).mean()), 0.2)
    turn = torch.arange(frames, dtype=torch.float32)[:, None] * (4 * math.pi / frames)  # (N, 1)
    # The second circle is half as wide as the first, and the change between them is smooth.
    size = width * (0.75 + 0.25 * (turn / 2).cos())
    direction = normalize(axis + size * (right * turn.cos() + above * turn.sin()), dim=-1)  # (N, 3)
    return with_lens(reference, look_at(center + distance * direction, center, up))


PATHS: dict[str, Callable[..., Cameras]] = {
    "orbit": orbit,
    "wave": wave,
    "spiral": spiral,
    "ellipse": ellipse,
    "photos": photos,
}
OF_PHOTOS = ("ellipse", "photos")
"""Paths that go by the training photos alone, of whatever size."""


def all_around(cameras: Cameras) -> bool:
    """Whether cameras that look at the origin stand on all its sides: their mean direction is shorter than a half."""
    return float(normalize(cameras.positions, dim=-1).mean(0).norm()) < 0.5


def _least_distance(reference: Cameras, rotation: Tensor, points: Tensor) -> float:
    """From the origin, at which cameras that look at it with ``rotation`` (N,3,3) have all points (P,3) in the picture.

    Of a point (x, y, z) in a camera's axes, z toward the camera, the picture's half W/2 asks for a distance of at least
    z + |x| fx / (W/2), and its half H/2 likewise.
    """
    slope = 2 * lens(reference)[:2] / torch.tensor([reference.width, reference.height]) / (1 - MARGIN)  # (2,)
    least = []
    for axes in rotation:
        view = points @ axes  # (P, 3)
        least.append((view[:, 2] + (view[:, :2].abs() * slope).amax(-1).clamp_min(1e-2)).max())
    return max(float(torch.stack(least).max()), 1e-3)


def _median_distance(away: Tensor) -> float:
    return float(away.norm(dim=-1).median())


def _across(direction: Tensor, up: Tensor) -> Tensor:
    """The unit part of ``direction`` perpendicular to ``up``; any perpendicular where there is none."""
    return normalize(torch.linalg.cross(torch.linalg.cross(up, _tilted(direction, up)), up), dim=0)


def _tilted(direction: Tensor, up: Tensor) -> Tensor:
    """``direction``, or another one where it is parallel to ``up``."""
    parallel = torch.linalg.cross(up, direction).norm() < 1e-4 * direction.norm().clamp_min(1e-12)
    return torch.eye(3)[int(up.abs().argmin())] if parallel else direction
