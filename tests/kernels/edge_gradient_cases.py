"""Small hard pictures for the tests of ``edge_gradient``, and what its backends make of them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.kernels import use
from nerfkit.kernels.rasterize.reference import rasterize

CASES = ("soup", "own_faces", "aligned", "broken", "gray", "wide", "nothing_seen", "no_faces", "one_pixel", "no_views")


class Picture(NamedTuple):
    """image and weight (N,H,W,C), weight being the loss's gradient; the rest as ``edge_grad`` takes it."""

    image: Tensor
    weight: Tensor
    points: Tensor
    faces: Tensor
    face: Tensor
    barycentrics: Tensor

    def to(self, device: str) -> "Picture":
        return Picture(*(x.to(device) for x in self))

    def double(self) -> "Picture":
        return Picture(*(x.double() if x.is_floating_point() else x for x in self))


def shoot(points: Tensor, faces: Tensor, height: int, width: int, channels: int = 4, seed: int = 0) -> Picture:
    """Rasterizes float32 points (N,V,3) and faces (F,3) or (N,F,3), padding last; seeded colors that jump at edges."""
    views = points.shape[0]
    face = torch.full((views, height, width), -1, dtype=torch.int32)
    barycentrics = torch.zeros(views, height, width, 3)
    for n in range(views):
        rows = faces[n] if faces.ndim == 3 else faces
        rows = rows[(rows >= 0).all(-1)]
        if len(rows):
            found = rasterize(points[n : n + 1].double(), rows, height, width, 1e-3)
            face[n], barycentrics[n] = found[0][0], found[1][0].float()
    generator = torch.Generator().manual_seed(seed)
    colors = torch.rand(faces.shape[-2] + 1, channels, generator=generator)
    image = colors[face.long()] + 0.2 * torch.rand(views, height, width, channels, generator=generator)
    weight = torch.randn(views, height, width, channels, generator=generator)
    return Picture(image, weight, points, faces, face, barycentrics)


def make(case: str) -> Picture:
    """A seeded float32 picture. ``broken`` has faces that are edge-on, behind the camera, across it, and NaN."""
    generator = torch.Generator().manual_seed(7)
    views, height, width, channels = {"gray": (1, 7, 9, 1), "wide": (1, 4, 83, 5)}.get(case, (2, 13, 11, 4))
    if case == "one_pixel":
        height = width = 1
    if case == "no_views":
        views = 0
    x, y = (torch.rand(2, views, 9, generator=generator) * 1.4 - 0.2) * torch.tensor([width, height]).view(2, 1, 1)
    w = 0.5 + torch.rand(views, 9, generator=generator)
    faces = torch.tensor([[0, 1, 2], [3, 4, 5], [6, 8, 7], [1, 0, 3], [2, 4, 6], [5, 7, 8], [0, 4, 1]])
    if case == "aligned":  # every edge on lines of pixel centers, or through them at 45 degrees
        x, y, w = x.round() + 0.5, y.round() + 0.5, 2 ** (2 * w).round()
        square = torch.tensor([[2.5, 2.5], [8.5, 2.5], [8.5, 8.5], [2.5, 8.5]])
        x[:, :4], y[:, :4] = square.T.unsqueeze(1).expand(-1, views, -1)
        faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [6, 7, 8]])
    if case == "nothing_seen":
        x = x + 100
    points = torch.stack([w * x, w * y, w], -1)
    if case == "broken":
        points[:, 2] = (points[:, 0] + points[:, 1]) / 2  # edge-on: face 0
        points[:, 3, 2] = -points[:, 3, 2]  # faces 1 and 3 reach behind the camera
        points[:, 6:8, 2] = -1.0
        points[:, 8] = math.nan  # faces 2 and 5
    if case == "own_faces":
        faces = torch.stack([faces, torch.cat([faces.flip(0)[:4], torch.full((3, 3), -1)])])
    if case == "no_faces":
        faces = faces[:0]
    return shoot(points, faces, height, width, channels)


def points_gradient(rule, picture: Picture, backend: str, **settings: float) -> Tensor:  # type: ignore[no-untyped-def]
    """Checks that ``rule`` leaves the image and its gradient alone; returns the gradient to the points."""
    image, points = picture.image.clone().requires_grad_(), picture.points.clone().requires_grad_()
    others = (picture.barycentrics,) if rule.__name__ == "edge_grad" else ()
    with use(backend):
        out = rule(image, points, picture.faces, picture.face, *others, **settings)
    assert torch.equal(out, image)
    out.backward(picture.weight)
    assert torch.equal(image.grad, picture.weight)
    assert points.grad.shape == points.shape and points.grad.dtype == points.dtype
    return points.grad


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Within a few roundings of float32 of the largest gradient of all."""
    assert expected.isfinite().all()
    scale = expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(actual.double().cpu(), expected.double().cpu(), rtol=1e-5, atol=3e-6 * scale)
