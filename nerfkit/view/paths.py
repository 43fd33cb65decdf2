"""Camera paths in normalized world units. Each closes: the frame after the last one would be the first.

A path takes its lens (fx, fy) and its distance from the training cameras, so that the object appears as in an average
photo. Elevation is the angle above the plane through ``center`` perpendicular to ``up``.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.cameras import Cameras, look_at


def orbit(
    reference: Cameras,
    frames: int,
    elevation: float = 20.0,
    radius: float | None = None,
    up: Tensor | tuple[float, float, float] = (0.0, 1.0, 0.0),
    center: Tensor | tuple[float, float, float] = (0.0, 0.0, 0.0),
    swing: float = 0.0,
) -> Cameras:
    """A turntable: once around ``up``, counterclockwise seen from above, from the first reference camera's azimuth.

    Args:
        reference: the training cameras.
        frames: number of cameras, equal steps of azimuth.
        elevation: degrees, clipped to 89 either way.
        radius: distance from ``center``; None is the median of the reference cameras'.
        up: axis of rotation, (3,).
        center: the point in the middle of the picture, (3,).
        swing: the elevation rises and falls by this many degrees, one wave a turn.
    """
    offsets, up, center = _offsets(reference, up, center)
    distance = _median_distance(offsets) if radius is None else radius
    forward = _across(offsets[0], up)
    right = torch.linalg.cross(up, forward)
    turn = torch.arange(frames, dtype=torch.float32) * (2 * math.pi / frames)  # (N,)
    # Not quite to the poles: beyond them the picture would turn upside down.
    height = torch.deg2rad((elevation + swing * turn.sin()).clamp(-89, 89))[:, None]  # (N, 1)
    ring = forward * turn.cos()[:, None] + right * turn.sin()[:, None]  # (N, 3)
    position = center + distance * (ring * height.cos() + up * height.sin())  # (N, 3)
    return _cameras(reference, look_at(position, center, up))


def wave(reference: Cameras, frames: int, elevation: float = 20.0, **options: object) -> Cameras:
    """A turntable whose elevation swings by 25 degrees; the arguments are those of ``orbit``."""
    return orbit(reference, frames, elevation, swing=25.0, **options)  # type: ignore[arg-type]


def spiral(
    reference: Cameras,
    frames: int,
    elevation: float = 20.0,
    radius: float | None = None,
    up: Tensor | tuple[float, float, float] = (0.0, 1.0, 0.0),
    center: Tensor | tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Cameras:
    """Two small circles about the mean direction of the reference cameras: for scenes photographed from one side.

    The circles' radius is a quarter of the cameras' spread, at most a fifth of the distance; ``elevation`` is the
    photos' own and the argument is ignored. The other arguments are those of ``orbit``.
    """
    offsets, up, center = _offsets(reference, up, center)
    distance = _median_distance(offsets) if radius is None else radius
    directions = normalize(offsets, dim=-1)  # (N, 3)
    mean = directions.mean(0)
    axis = normalize(mean, dim=0) if mean.norm() > 1e-3 else directions[0]
    right = normalize(torch.linalg.cross(up, _tilted(axis, up)), dim=0)
    above = torch.linalg.cross(axis, right)
    width = min(0.25 * float((directions - axis).norm(dim=-1).mean()), 0.2)
    turn = torch.arange(frames, dtype=torch.float32)[:, None] * (4 * math.pi / frames)  # (N, 1)
    # The second circle is half as wide as the first, and the change between them is smooth.
    size = width * (0.75 + 0.25 * (turn / 2).cos())
    direction = normalize(axis + size * (right * turn.cos() + above * turn.sin()), dim=-1)  # (N, 3)
    return _cameras(reference, look_at(center + distance * direction, center, up))


PATHS: dict[str, Callable[..., Cameras]] = {"orbit": orbit, "wave": wave, "spiral": spiral}


def _offsets(
    reference: Cameras, up: Tensor | tuple[float, float, float], center: Tensor | tuple[float, float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Camera positions relative to the center (N,3), and ``up`` (unit) and ``center`` as tensors."""
    middle = torch.as_tensor(center, dtype=torch.float32)
    axis = normalize(torch.as_tensor(up, dtype=torch.float32), dim=0)
    return reference.positions.detach().cpu().float() - middle, axis, middle


def _median_distance(offsets: Tensor) -> float:
    return float(offsets.norm(dim=-1).median())


def _across(direction: Tensor, up: Tensor) -> Tensor:
    """The unit part of ``direction`` perpendicular to ``up``; any perpendicular where there is none."""
    return normalize(torch.linalg.cross(torch.linalg.cross(up, _tilted(direction, up)), up), dim=0)


def _tilted(direction: Tensor, up: Tensor) -> Tensor:
    """``direction``, or another one where it is parallel to ``up``."""
    parallel = torch.linalg.cross(up, direction).norm() < 1e-4 * direction.norm().clamp_min(1e-12)
    return torch.eye(3)[int(up.abs().argmin())] if parallel else direction


def _cameras(reference: Cameras, poses: Tensor) -> Cameras:
    """Cameras at ``poses`` with the median lens of the reference cameras, looking through the middle of the image."""
    # Contiguous first: torch 2.13's median along a dimension reads beyond an expanded tensor, as intrinsics often are.
    lens = reference.intrinsics.detach().cpu().float().contiguous().median(0).values.clone()  # (4,)
    lens[2:] = torch.tensor([reference.width / 2, reference.height / 2])
    return Cameras(poses, lens.expand(len(poses), 4).clone(), reference.height, reference.width)
