"""Rays through pixels: they project back to the centers, in both precisions, and carry gradients."""

import pytest
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.kernels import use


def rig(dtype: torch.dtype) -> Cameras:
    positions = torch.tensor([[2.0, 0.5, 1.0], [-1.0, 1.5, 2.0]], dtype=torch.float64)
    poses = look_at(positions, positions.new_tensor([0.1, 0.0, -0.2]), positions.new_tensor([0.0, 1.0, 0.0]))
    intrinsics = positions.new_tensor([[9.0, 8.0, 3.5, 2.0], [12.0, 12.5, 3.0, 2.5]])
    return Cameras(poses.to(dtype), intrinsics.to(dtype), 5, 7)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_rays_project_to_pixel_centers_row_by_row(dtype: torch.dtype, error: float) -> None:
    cameras = rig(dtype)
    origins, directions = cameras.image_rays(1)
    assert origins.dtype == directions.dtype == dtype
    assert (directions.norm(dim=-1) - 1).abs().max() < error
    pixel, depth = cameras[1].project(origins + 3 * directions)
    row, column = torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij")
    assert (pixel[0] - torch.stack([column.flatten() + 0.5, row.flatten() + 0.5], -1)).abs().max() < error
    assert (depth > 0).all()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_float64_is_not_rounded_whatever_the_backend(backend: str) -> None:
    with use(backend):
        origins, _ = rig(torch.float64).image_rays(0)
    assert origins.dtype == torch.float64


def test_rays_are_differentiable_by_pose_and_intrinsics() -> None:
    exact = rig(torch.float64)

    def rays(pose: torch.Tensor, intrinsics: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return Cameras(pose, intrinsics, 5, 7).image_rays(0)

    inputs = [tensor.clone().requires_grad_() for tensor in (exact.camera_to_world, exact.intrinsics)]
    assert torch.autograd.gradcheck(rays, inputs)
    weight = torch.randn(2, 35, 3, generator=torch.Generator().manual_seed(0))
    found = []
    for dtype in (torch.float64, torch.float32):
        leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
        loss = sum((w.to(dtype) * r).sum() for w, r in zip(weight, rays(*leaves), strict=True))
        found.append(torch.autograd.grad(loss, leaves))
    for expected, gradient in zip(*found, strict=True):
        assert torch.allclose(gradient.double(), expected, atol=1e-5 * expected.abs().max().item())
