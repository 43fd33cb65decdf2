"""Cameras as parameters: poses and focal lengths that a picture's loss can move.

A pose moves by a twist (v, w) of se(3) in the camera's own frame:

    camera_to_world = initial exp(v, w),    exp(v, w) = [R | V v]
    R = I + a W + b W^2,  V = I + b W + c W^2,  W = the cross product with w,  t = |w|
    a = sin t / t,  b = (1 - cos t) / t^2,  c = (t - sin t) / t^3

so w turns the camera about its own center (x to the right, y up, z backward), and v moves it along its own axes.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from nerfkit.cameras import Cameras, full_precision, look_at

SERIES_TERMS = 10
"""Of the power series of a, b and c, used for t < 1: the first one left out is below the rounding of float64."""


def se3_exp(twist: Tensor) -> Tensor:
    """Rigid motions (...,3,4) of twists (...,6), (v, w); smooth everywhere, at zero too."""
    v, w = twist[..., :3], twist[..., 3:]
    squared = w.square().sum(-1)
    small = squared < 1
    near, far = torch.where(small, squared, 0.0), torch.where(small, 1.0, squared)
    t = far.sqrt()
    a = torch.where(small, _series(near, 1), t.sin() / t)[..., None, None]
    b = torch.where(small, _series(near, 2), (1 - t.cos()) / far)[..., None, None]
    c = torch.where(small, _series(near, 3), (t - t.sin()) / (far * t))[..., None, None]
    zero = torch.zeros_like(squared)
    x, y, z = w.unbind(-1)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    one = torch.eye(3, dtype=twist.dtype, device=twist.device)
    with full_precision(twist):
        twice = cross @ cross
        return torch.cat([one + a * cross + b * twice, (one + b * cross + c * twice) @ v[..., None]], -1)


def _series(squared: Tensor, first: int) -> Tensor:
    """Sum of (-squared)^k / (2 k + first)!: a, b and c for ``first`` 1, 2 and 3."""
    total = torch.zeros_like(squared)
    for k in range(SERIES_TERMS - 1, -1, -1):  # Horner's scheme, without the leading 1 / first!
        total = 1 - total * squared / ((2 * k + first + 1) * (2 * k + first + 2))
    return total / (1, 1, 2, 6)[first]


class CameraDelta(nn.Module):
    """Cameras whose poses and focal lengths are learned, from a first guess.

    Where a mesh is learned as well, it and all the cameras can move together without a change in any picture.

    Attributes:
        twist: (N,6), translation and turn of every camera in its own frame, 0 at first; None if poses are fixed.
        log_focal: (1,) shared or (N,1), the logarithm of the factor on fx and fy, 0 at first; None if fixed.
    """

    camera_to_world: Tensor
    intrinsics: Tensor

    def __init__(
        self, cameras: Cameras, *, poses: bool = True, focal: Literal["shared", "each", "fixed"] = "fixed"
    ) -> None:
        """
        Args:
            cameras: the first guess.
            poses: learn the poses.
            focal: learn one factor for all focal lengths, one for each camera, or none.

        Raises:
            ValueError: ``focal`` is none of the three.
        """
        super().__init__()
        if focal not in ("shared", "each", "fixed"):
            raise ValueError(f"focal: expected 'shared', 'each' or 'fixed', got {focal!r}")
        self.sides = [h for h, _ in cameras.sizes], [w for _, w in cameras.sizes]
        self.register_buffer("camera_to_world", cameras.camera_to_world.detach().clone())
        self.register_buffer("intrinsics", cameras.intrinsics.detach().clone())
        zeros = self.camera_to_world.new_zeros
        self.twist = nn.Parameter(zeros(len(cameras), 6)) if poses else None
        factors = len(cameras) if focal == "each" else 1
        self.log_focal = nn.Parameter(zeros(factors, 1)) if focal != "fixed" else None

    def __len__(self) -> int:
        return self.camera_to_world.shape[0]

    def cameras(self, indices: Tensor | Sequence[int] | slice | int | None = None) -> Cameras:
        """The cameras as they stand, all or those of ``indices``; differentiable by ``twist`` and ``log_focal``."""
        chosen: Tensor | slice = slice(None)
        if isinstance(indices, slice):
            chosen = indices
        elif indices is not None:
            chosen = torch.as_tensor(indices).reshape(-1)  # a single number may come without a dimension
        pose, intrinsics = self.camera_to_world[chosen], self.intrinsics[chosen]
        if self.twist is not None:
            motion = se3_exp(self.twist[chosen])  # (N, 3, 4)
            with full_precision(motion):
                moved = pose[..., :3] @ motion
            pose = torch.cat([moved[..., :3], moved[..., 3:] + pose[..., 3:]], -1)
        if self.log_focal is not None:
            factor = self.log_focal.expand(len(self), 1)[chosen].exp()  # (N, 1)
            intrinsics = torch.cat([intrinsics[:, :2] * factor, intrinsics[:, 2:]], -1)
        whole = Cameras(self.camera_to_world, self.intrinsics, *self.sides)
        return whole[chosen].changed(pose, intrinsics)


def orbit_cameras(
    distance: Tensor,
    elevation: Tensor,
    azimuth: Tensor,
    intrinsics: Tensor,
    height: int,
    width: int,
    *,
    target: Tensor | Sequence[float] = (0.0, 0.0, 0.0),
    up: Tensor | Sequence[float] = (0.0, 1.0, 0.0),
) -> Cameras:
    """Cameras on spheres around ``target`` that look at it; differentiable by all tensors.

    With y upward the camera stands at target + distance (cos e sin a, sin e, cos e cos a): on +z at azimuth 0, on +x
    at a quarter turn, as in PyTorch3D. Other ups take the axes in the same cyclic order. Straight above or below, the
    roll is any.

    Args:
        distance, elevation, azimuth: (N,), or of shapes that broadcast to it; angles in radians.
        intrinsics: (N,4) or (4,): fx, fy, cx, cy in pixels.
        height, width: image size in pixels.
        target: (3,) or (N,3).
        up: (3,), of length 1.
    """
    given = torch.broadcast_tensors(*(x.reshape(-1) for x in (distance, elevation, azimuth)))
    distance, elevation, azimuth = torch.stack(given)  # of one dtype
    up = torch.as_tensor(up, dtype=distance.dtype, device=distance.device)
    target = torch.as_tensor(target, dtype=distance.dtype, device=distance.device)
    before = nn.functional.one_hot((up.detach().abs().argmax() + 2) % 3, 3).to(up)
    front = nn.functional.normalize(torch.linalg.cross(before, up), dim=-1)  # z for y upward
    side = torch.linalg.cross(up, front)
    level = azimuth.sin()[:, None] * side + azimuth.cos()[:, None] * front  # (N, 3)
    direction = elevation.cos()[:, None] * level + elevation.sin()[:, None] * up
    position = target + distance[:, None] * direction
    poses = look_at(position, target.expand_as(position), up)
    return Cameras(poses, intrinsics.to(position).expand(len(position), 4), height, width)
