"""Pinhole cameras.

Conventions (docs/conventions.md): the camera looks along -z with x to the right and y up (OpenGL); row 0 of an image
is on top; the center of pixel (row i, column j) is at (x, y) = (j + 0.5, i + 0.5); fx, fy, cx, cy are in pixels; ray
directions have unit length and distances t are in normalized world units.
"""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nerfkit.kernels import use
from nerfkit.kernels.sample_rays import rays_from_pixels


@dataclass(frozen=True)
class Cameras:
    """N pinhole cameras that share one image size.

    Attributes:
        camera_to_world: (N,3,4) float32, [rotation | position]; the rotation is right-handed and orthonormal.
        intrinsics: (N,4) float32, fx, fy, cx, cy in pixels.
        height, width: image size in pixels.

    Raises:
        ValueError: on creation, where a shape is another one.
    """

    camera_to_world: Tensor
    intrinsics: Tensor
    height: int
    width: int

    def __post_init__(self) -> None:
        pose, intrinsics = tuple(self.camera_to_world.shape), tuple(self.intrinsics.shape)
        if len(pose) != 3 or pose[1:] != (3, 4):
            raise ValueError(f"camera_to_world: expected (N,3,4), got {pose}")
        if intrinsics != (pose[0], 4):
            raise ValueError(f"intrinsics: expected ({pose[0]},4), fx, fy, cx, cy of every camera, got {intrinsics}")

    def __len__(self) -> int:
        return self.camera_to_world.shape[0]

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> "Cameras":
        """Some of the cameras, in a row; a number, which may be a tensor, gives one."""
        pose, intrinsics = self.camera_to_world[index], self.intrinsics[index]
        return replace(self, camera_to_world=pose.reshape(-1, 3, 4), intrinsics=intrinsics.reshape(-1, 4))

    def to(self, device: torch.device | str) -> "Cameras":
        return replace(self, camera_to_world=self.camera_to_world.to(device), intrinsics=self.intrinsics.to(device))

    @property
    def positions(self) -> Tensor:
        """Camera centers in the world, (N,3)."""
        return self.camera_to_world[:, :, 3]

    def resized(self, height: int, width: int) -> "Cameras":
        """The same cameras with images of another size: intrinsics scale with the pixels."""
        scale = self.intrinsics.new_tensor([width / self.width, height / self.height] * 2)
        return replace(self, intrinsics=self.intrinsics * scale, height=height, width=width)

    def padded(self, margin: int) -> "Cameras":
        """The same cameras with ``margin`` more pixels on every side."""
        shift = self.intrinsics.new_tensor([0, 0, margin, margin])
        height, width = self.height + 2 * margin, self.width + 2 * margin
        return replace(self, intrinsics=self.intrinsics + shift, height=height, width=width)

    def world_to_view(self, points: Tensor) -> Tensor:
        """World points (V,3) in each camera's frame, (N,V,3): x right, y up, z backward (z < 0 is visible)."""
        rotation, position = self.camera_to_world[:, :, :3], self.camera_to_world[:, :, 3]
        with full_precision(points):
            return (points[None] - position[:, None]) @ rotation  # (N, V, 3)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixel coordinates x, y (N,V,2) and distance in front of the camera plane (N,V) of world points (V,3)."""
        view = self.world_to_view(points)
        depth = -view[..., 2]
        fx, fy, cx, cy = self.intrinsics[:, None].unbind(-1)
        x = cx + fx * view[..., 0] / depth
        y = cy - fy * view[..., 1] / depth
        return torch.stack([x, y], -1), depth

    def image_rays(self, view: int) -> tuple[Tensor, Tensor]:
        """Origins and unit directions (H*W,3) of the rays through every pixel center of one view, row by row."""
        camera = self[view]
        device = self.camera_to_world.device
        pixels = torch.arange(self.height * self.width, device=device)
        row, column = pixels // self.width, pixels % self.width
        exact = nullcontext() if self.camera_to_world.dtype == torch.float32 else use("reference")
        with full_precision(self.camera_to_world), exact:  # compiled kernels compute in float32
            return rays_from_pixels(camera.camera_to_world, camera.intrinsics, torch.zeros_like(pixels), row, column)


def full_precision(tensor: Tensor) -> torch.autocast:
    """A block without autocast on the tensor's device: products of positions need all of float32."""
    return torch.autocast(tensor.device.type, enabled=False)


def look_at(position: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """Poses (N,3,4) of cameras at ``position`` (N,3) that look at ``target`` (N,3) or (3,), ``up`` (3,) upward.

    Differentiable by all three. A view straight along ``up`` has no defined roll; any roll is returned then, never NaN.
    A camera at its target looks along -z.
    """
    away = position - target
    anywhere = torch.tensor([0, 0, 1]).to(away)
    away = torch.where((away == 0).all(-1, keepdim=True), anywhere, away)
    backward = torch.nn.functional.normalize(away, dim=-1)
    up = up.expand_as(backward)
    right = torch.linalg.cross(up, backward)
    axis = torch.nn.functional.one_hot(backward.abs().argmin(-1), 3).to(backward.dtype)  # never along the view
    spare = torch.linalg.cross(axis, backward)
    degenerate = right.norm(dim=-1, keepdim=True) < 1e-6
    right = torch.nn.functional.normalize(torch.where(degenerate, spare, right), dim=-1)
    true_up = torch.linalg.cross(backward, right)
    return torch.stack([right, true_up, backward, position], -1)
