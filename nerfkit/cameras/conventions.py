"""Cameras from other projects' matrices, and back: OpenGL (Kaolin's), OpenCV (COLMAP's), PyTorch3D.

All take world-to-camera transforms, which is what these projects hold, and are differentiable. A camera's axes, as seen
by someone who stands behind it:

| | x | y | z | points | pixel (0, 0)'s center |
| --- | --- | --- | --- | --- | --- |
| OpenGL, Kaolin, nerfkit | right | up | backward | columns | (0.5, 0.5) |
| OpenCV | right | down | forward | columns | (0, 0) |
| COLMAP | right | down | forward | columns | (0.5, 0.5) |
| PyTorch3D | left | up | forward | rows | (0.5, 0.5) |
"""

import torch
from torch import Tensor

from nerfkit.cameras import Cameras, full_precision

OPENCV = (1.0, -1.0, -1.0)  # what turns its axes into OpenGL's
PYTORCH3D = (-1.0, 1.0, -1.0)


def from_opengl(world_to_camera: Tensor, intrinsics: Tensor, height: int, width: int) -> Cameras:
    """Cameras from OpenGL's view matrices, such as those of Kaolin's ``Camera.view_matrix()``.

    Args:
        world_to_camera: (N,3,4) or (N,4,4), [rotation | translation], acting on columns.
        intrinsics: (N,4) fx, fy, cx, cy in pixels, from the picture's upper left corner.
        height, width: of the pictures, in pixels.

    Raises:
        ValueError: a shape is wrong, or a rotation is not orthonormal and right-handed.
    """
    return Cameras(_inverse(_checked("world_to_camera", world_to_camera)), intrinsics, height, width)


def from_opencv(world_to_camera: Tensor, matrix: Tensor, height: int, width: int, pixel_center: float = 0.5) -> Cameras:
    """Cameras from OpenCV's or COLMAP's extrinsics and camera matrices, without distortion.

    Args:
        world_to_camera: (N,3,4) or (N,4,4), [R | t], acting on columns.
        matrix: (N,3,3), [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels.
        height, width: of the pictures, in pixels.
        pixel_center: where its coordinates put the center of the first pixel: 0.5 for COLMAP, 0 for OpenCV itself.

    Raises:
        ValueError: a shape is wrong, a rotation is not orthonormal and right-handed, or a camera matrix has a skew.
    """
    pose = _checked("world_to_camera", world_to_camera)
    if tuple(matrix.shape) != (len(pose), 3, 3):
        raise ValueError(f"matrix: expected ({len(pose)},3,3), got {tuple(matrix.shape)}")
    if not (matrix[:, 0, 1] == 0).all() or not (matrix[:, 2] == matrix.new_tensor([0.0, 0.0, 1.0])).all():
        raise ValueError("matrix: expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; undistort and rectify the pictures")
    moved = 0.5 - pixel_center
    parts = [matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 0, 2] + moved, matrix[:, 1, 2] + moved]
    return Cameras(_inverse(_turned(pose, OPENCV)), torch.stack(parts, -1), height, width)


def to_opencv(cameras: Cameras, pixel_center: float = 0.5) -> tuple[Tensor, Tensor]:
    """World-to-camera transforms (N,3,4) and camera matrices (N,3,3), as ``from_opencv`` takes them."""
    pose = _turned(_inverse(cameras.camera_to_world), OPENCV)
    fx, fy, cx, cy = cameras.intrinsics.unbind(-1)
    zero, one, moved = torch.zeros_like(fx), torch.ones_like(fx), pixel_center - 0.5
    rows = ([fx, zero, cx + moved], [zero, fy, cy + moved], [zero, zero, one])
    return pose, torch.stack([torch.stack(row, -1) for row in rows], -2)


def from_pytorch3d(
    rotation: Tensor,
    translation: Tensor,
    focal_length: Tensor,
    height: int,
    width: int,
    principal_point: Tensor | None = None,
    in_ndc: bool = True,
) -> Cameras:
    """Cameras from those of PyTorch3D's ``PerspectiveCameras`` (its R, T and so on).

    A point x, a row, is x R + T in the camera's frame, X, Y, Z; then, in its normalized device coordinates,

        x_ndc = fx X / Z + px      y_ndc = fy Y / Z + py      [-1,1] over the picture's shorter side, x to the left

    Args:
        rotation, translation: (N,3,3) and (N,3).
        focal_length: (N,) or (N,2), fx, fy. Of a ``FoVPerspectiveCameras`` over a square: 1 / tan(fov / 2).
        height, width: of the pictures, in pixels.
        principal_point: (N,2); the picture's center if None.
        in_ndc: False where focal length and principal point are in pixels, from the picture's upper left corner.

    Raises:
        ValueError: a shape is wrong, or a rotation is not orthonormal and right-handed.
    """
    if tuple(translation.shape) != (len(rotation), 3):
        raise ValueError(f"translation: expected ({len(rotation)},3), got {tuple(translation.shape)}")
    pose = _checked("rotation", torch.cat([rotation.transpose(-1, -2), translation[..., None]], -1))
    focal = focal_length[:, None].expand(-1, 2) if focal_length.ndim == 1 else focal_length
    if tuple(focal.shape) != (len(pose), 2):
        raise ValueError(f"focal_length: expected ({len(pose)},) or ({len(pose)},2), got {tuple(focal_length.shape)}")
    center = focal.new_tensor([width / 2, height / 2])
    if principal_point is None:
        point = center.expand_as(focal)
    elif tuple(principal_point.shape) != (len(pose), 2):
        raise ValueError(f"principal_point: expected ({len(pose)},2), got {tuple(principal_point.shape)}")
    else:
        point = center - principal_point * (min(height, width) / 2) if in_ndc else principal_point
    scale = min(height, width) / 2 if in_ndc else 1.0
    return Cameras(_inverse(_turned(pose, PYTORCH3D)), torch.cat([focal * scale, point], -1), height, width)


def _checked(name: str, pose: Tensor) -> Tensor:
    """The transforms as (N,3,4)."""
    if pose.ndim != 3 or tuple(pose.shape[1:]) not in ((3, 4), (4, 4)):
        raise ValueError(f"{name}: expected (N,3,4) or (N,4,4), got {tuple(pose.shape)}")
    rotation = pose[:, :3, :3].detach().double()
    rigid = (rotation @ rotation.transpose(1, 2) - torch.eye(3).to(rotation)).abs().amax((1, 2)) < 1e-3
    wrong = (~(rigid & (torch.linalg.det(rotation) > 0))).nonzero()
    if len(wrong):
        raise ValueError(f"{name}: that of camera {int(wrong[0])} is no rotation: it scales, shears, mirrors or is NaN")
    return pose[:, :3]


def _turned(pose: Tensor, signs: tuple[float, float, float]) -> Tensor:
    """World-to-camera transforms whose axes are turned."""
    return pose * pose.new_tensor(signs)[:, None]


def _inverse(pose: Tensor) -> Tensor:
    """Rigid transforms (N,3,4) the other way."""
    rotation = pose[:, :, :3].transpose(1, 2)
    with full_precision(pose):
        return torch.cat([rotation, -rotation @ pose[:, :, 3:]], -1)
