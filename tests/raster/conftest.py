"""Small meshes and cameras that the rasterizer's tests share."""

import math

import pytest
import torch
import trimesh
from torch import Tensor

from nerfkit.cameras import Cameras, look_at


def make_cameras(views: int, height: int, width: int, distance: float = 3.0) -> Cameras:
    """Cameras around the origin; the focal lengths and the principal point are all different."""
    angle = torch.arange(views) * (2 * math.pi / views) + 0.4
    tilt = torch.linspace(-0.6, 0.8, views)
    positions = distance * torch.nn.functional.normalize(torch.stack([angle.cos(), tilt, angle.sin()], -1), dim=-1)
    poses = look_at(positions, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    intrinsics = torch.tensor([1.1 * width, 1.2 * width, 0.52 * width, 0.47 * height]).expand(views, -1)
    return Cameras(poses, intrinsics, height, width)


def bumpy_ball(subdivisions: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Vertices (V,3) float64 of an icosphere with a smooth random relief, and faces (F,3)."""
    ball = trimesh.creation.icosphere(subdivisions)
    points = torch.tensor(ball.vertices)
    generator = torch.Generator().manual_seed(seed)
    frequency = 2 * torch.randn(3, 6, generator=generator, dtype=points.dtype)
    relief = torch.sin(points @ frequency + 6 * torch.rand(6, generator=generator, dtype=points.dtype)).mean(1)
    return points * (1 + 0.3 * relief[:, None]), torch.tensor(ball.faces)


@pytest.fixture(scope="session")
def ball() -> tuple[Tensor, Tensor]:
    vertices, faces = bumpy_ball(2)
    return vertices.float(), faces
