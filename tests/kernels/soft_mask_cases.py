"""What the tests of the soft masks share: meshes, and values with gradients."""

import torch
from torch import Tensor

from nerfkit.kernels import use
from nerfkit.kernels.rasterize import rasterize
from nerfkit.kernels.soft_mask import dibr_mask, soft_rasterize

HEIGHT, WIDTH = 13, 18
MASK = {"sigmainv": 60.0, "boxlen": 0.2, "knum": 3}
SOFT = {"sigma": 1e-2, "gamma": 3e-2, "near": 2.2, "far": 3.6, "background": [0.2, 0.5, 0.9]}


def at(x, y, w) -> Tensor:
    """(w x, w y, w) in float64 of vertices given in pixels and depth."""
    x, y, w = torch.broadcast_tensors(*(torch.as_tensor(value, dtype=torch.float64) for value in (x, y, w)))
    return torch.stack([x * w, y * w, w], -1)


def from_ndc(x, y, w, height: int, width: int) -> Tensor:
    """The same of vertices in normalized device coordinates."""
    x, y = torch.as_tensor(x, dtype=torch.float64), torch.as_tensor(y, dtype=torch.float64)
    return at((x + 1) / 2 * width, (1 - y) / 2 * height, w)


def soup(views: int = 2, faces: int = 7, seed: int = 1, size: float = 9.0) -> tuple[Tensor, Tensor]:
    """Points (N,3F,3), float32, of unconnected triangles in and around the picture, depths 2 to 4; faces (F,3)."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(views, faces, 1, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT])
    xy = center + size * (torch.rand(views, faces, 3, 2, generator=generator) - 0.5)
    points = at(*xy.unbind(-1), 2 + 2 * torch.rand(views, faces, 3, generator=generator)).float()
    return points.reshape(views, 3 * faces, 3), torch.arange(3 * faces).reshape(faces, 3)


def grid(seed: int = 2) -> tuple[Tensor, Tensor]:
    """A bumpy sheet of 8 faces that share their vertices, points (1,9,3) float32 and faces (8,3)."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(3.0), torch.arange(3.0), indexing="ij")
    noise = torch.rand(2, 3, 3, generator=generator)
    points = at(3 + 5 * x + noise[0], 2 + 4 * y + noise[1], 2.5 + torch.rand(3, 3, generator=generator)).float()
    cells = torch.tensor([0, 1, 3, 4])[:, None] + torch.tensor([[[0, 1, 4], [0, 4, 3]]]).reshape(1, 6)
    return points.reshape(1, 9, 3), cells.reshape(8, 3)


def covering(points: Tensor, faces: Tensor, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    with use("reference"):
        return rasterize(points.detach().double().cpu(), faces.cpu(), height, width)[0].to(points.device)


def mask_and_gradient(points: Tensor, faces: Tensor, face: Tensor, **settings) -> dict[str, Tensor]:
    leaf = points.detach().clone().requires_grad_()
    mask = dibr_mask(leaf, faces, face, **settings)
    weights = torch.randn(mask.shape, generator=torch.Generator().manual_seed(5)).to(mask)
    (mask * weights).sum().backward()
    return {"mask": mask.detach(), "d_points": leaf.grad}


def picture_and_gradients(
    points: Tensor, faces: Tensor, colors: Tensor | None, height: int = HEIGHT, width: int = WIDTH, **settings
) -> dict[str, Tensor]:
    leaf = points.detach().clone().requires_grad_()
    color_leaf = None if colors is None else colors.detach().clone().requires_grad_()
    picture = soft_rasterize(leaf, faces, color_leaf, height, width, **settings)
    weights = torch.randn(picture.shape, generator=torch.Generator().manual_seed(5)).to(picture)
    (picture * weights).sum().backward()
    found = {"picture": picture.detach(), "d_points": leaf.grad}
    return found if color_leaf is None else found | {"d_colors": color_leaf.grad}


def assert_near(actual: dict[str, Tensor], expected: dict[str, Tensor], precision: float = 1e-6) -> None:
    """Float32 results near float64 ones, relative to each tensor's largest value."""
    assert actual.keys() == expected.keys()
    for name, exact in expected.items():
        assert exact.isfinite().all(), name
        assert actual[name].dtype == torch.float32, name
        scale = max(exact.abs().max().item(), 1e-30) if exact.numel() else 1.0
        error = (actual[name].double() - exact).abs().max().item() / scale if exact.numel() else 0.0
        assert error <= precision, f"{name}: {error:.2e} of {scale:.2e}"
