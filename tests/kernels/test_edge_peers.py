"""Visibility gradients against numbers that the projects' own kernels printed: ``edge_peers.json``.

Pictures, loss and rasterization come from formulas, so that the file holds results alone: nvdiffrast's antialiased
picture, and everybody's gradients of sum(weight * picture). All were computed in float64 and are kept to 7 digits.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from nerfkit.kernels import use
from nerfkit.kernels.antialias import antialias_pixels
from nerfkit.kernels.edge_gradient import edge_grad, neural_renderer
from nerfkit.kernels.rasterize.reference import rasterize
from nerfkit.raster.contour import opposite_vertices

BACKENDS = ("reference", "cpu", pytest.param("triton", marks=pytest.mark.interpreted))
SIZE = 16
PEERS = json.loads(Path(__file__).with_name("edge_peers.json").read_text())


class Scene(NamedTuple):
    """image and weight (1,16,16,4), the last channel of image being coverage; points (1,V,3), faces (F,3); what is
    seen where."""

    image: Tensor
    weight: Tensor
    points: Tensor
    faces: Tensor
    face: Tensor
    barycentrics: Tensor
    depth: Tensor


def scattered(*shape: int, start: int = 0) -> Tensor:
    """Numbers in [0,1) without an order to be seen: the fractions of (k + 1)^3 times the golden ratio."""
    k = torch.arange(start + 1, start + 1 + math.prod(shape), dtype=torch.float64)
    return (k * k * k * 0.6180339887498949 % 1).reshape(shape)


def coarse(values: Tensor) -> Tensor:
    """To multiples of 1/64, which float32 holds."""
    return (values * 64).floor() / 64


def strip(columns: int, rows: int, closed: bool) -> Tensor:
    """Faces of a grid of vertices, two a cell; a closed one is joined to itself on both sides."""
    i, j = torch.meshgrid(torch.arange(rows - (not closed)), torch.arange(columns - (not closed)), indexing="ij")
    a, b, c, d = (((i + y) % rows * columns + (j + x) % columns).reshape(-1) for y in (0, 1) for x in (0, 1))
    return torch.cat([torch.stack([a, b, c], -1), torch.stack([b, d, c], -1)])


def soup() -> tuple[Tensor, Tensor]:
    """12 triangles that overlap, cross each other and leave the picture at the left and above."""
    angle = 2 * math.pi * (scattered(12, 1, start=20) + torch.arange(3) / 3 + 0.2 * scattered(12, 3, start=50))
    around = (3 + 2.5 * scattered(12, 3, 1, start=100)) * torch.stack([angle.cos(), angle.sin()], -1)
    place = 9.6 * scattered(12, 1, 2, start=200) - 0.6 + around  # (12, 3, 2), all below 14.5
    return torch.cat([place, 1 + 1.5 * scattered(12, 3, 1, start=300)], -1).view(-1, 3), torch.arange(36).view(12, 3)


def torus() -> tuple[Tensor, Tensor]:
    """A closed surface, turned so that it hides part of itself."""
    v, u = torch.meshgrid(*(2 * math.pi * torch.arange(n, dtype=torch.float64) / n for n in (6, 8)), indexing="ij")
    ring = 1 + 0.45 * v.cos()
    return seen(ring * u.cos(), ring * u.sin(), 0.45 * v.sin(), 0.9), strip(8, 6, closed=True)


def sheet() -> tuple[Tensor, Tensor]:
    """An open surface with a border, folded into a wave."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in (5, 7)), indexing="ij")
    return seen(1.2 * x, 1.1 * y, 0.6 * (3.1 * x + y).sin(), 0.6), strip(7, 5, closed=False)


def aligned() -> tuple[Tensor, Tensor]:
    """Corners in pixels' centers: where such a pixel ends a triangle, two of its sides end there at once."""
    x, y = 1.5 + (12 * scattered(2, 8, 3, start=450)).floor()
    depth = 2.0 ** torch.arange(8)[:, None].expand(8, 3)  # nothing is rounded
    return torch.stack([x, y, depth], -1).view(-1, 3), torch.arange(24).view(8, 3)


def seen(x: Tensor, y: Tensor, z: Tensor, tilt: float) -> Tensor:
    """Pixel positions and depths (V,3) from 4 units away, turned by ``tilt`` about x and a bit about z."""
    x, y = math.cos(0.4) * x - math.sin(0.4) * y, math.sin(0.4) * x + math.cos(0.4) * y
    y, z = math.cos(tilt) * y - math.sin(tilt) * z, math.sin(tilt) * y + math.cos(tilt) * z + 4
    return torch.stack([7.3 + 17 * x / z, 7.4 + 17 * y / z, z], -1).view(-1, 3)


def scene(name: str) -> Scene:
    """Faces of one color each on a gray ground."""
    place, faces = {"soup": soup, "torus": torus, "sheet": sheet, "aligned": aligned}[name]()
    points = torch.cat([place[:, :2] * place[:, 2:], place[:, 2:]], -1).float().double()[None]
    face, barycentrics, depth = rasterize(points, faces, SIZE, SIZE, 1e-3)
    covered = (face >= 0)[..., None]
    colors = coarse(torch.cat([scattered(len(faces), 3, start=1000), torch.ones(len(faces), 1)], -1))
    ground = torch.tensor([0.5, 0.25, 0.375, 0.0], dtype=torch.float64)
    image = torch.where(covered, colors[face.clamp(min=0).long()], ground)
    return Scene(
        image, coarse(scattered(1, SIZE, SIZE, 4, start=7)) - 0.5, points, faces, face, barycentrics, depth.detach()
    )


def leaves(backend: str, *tensors: Tensor) -> list[Tensor]:
    """Copies that take gradients: float64 for the reference, float32 for the others."""
    dtype = torch.float64 if backend == "reference" else torch.float32
    return [x.detach().to(dtype, copy=True).requires_grad_() for x in tensors]


def check(actual: Tensor, expected: list[float], backend: str) -> None:
    """7 digits are kept, hence 1e-6 of each number. Sums of float64 that nearly cancel lose 1e-10 of the largest
    (a distance that is added to ``eps`` may be small), those of float32 a few times 2^-24 of it."""
    expected = torch.tensor(expected, dtype=torch.float64)
    scale = expected.abs().max().item()
    assert scale > 0.1
    atol = scale * (1e-10 if backend == "reference" else 1e-6)
    torch.testing.assert_close(actual.detach().double().reshape(-1), expected, rtol=1e-6, atol=atol)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["soup", "torus", "aligned"])
def test_antialias_pixels_as_nvdiffrast(name, backend):
    """Two channels. In ``aligned`` six values differ if of two sides that meet the first is taken."""
    expected = PEERS["antialias_pixels"]["scenes"][name]
    given = scene(name)
    image, points = leaves(backend, given.image[..., :2], given.points)
    with use(backend):
        out = antialias_pixels(
            image, points, given.faces, opposite_vertices(given.faces), given.face, given.depth.to(points)
        )
    out.backward(given.weight[..., :2].to(out))
    assert ((out - image).abs() > 1e-3).sum() > 20
    check(out, expected["image"], backend)
    check(image.grad, expected["grad_image"], backend)
    check(points.grad, expected["grad_points"], backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("kind", "eps", "name"),
    [("rgb", 1e-3, "soup"), ("alpha", 1e-4, "soup"), ("rgb", 1e-3, "torus"), ("alpha", 1e-4, "sheet")],
)
def test_neural_renderer_as_kato(kind, eps, name, backend):
    channels = slice(0, 3) if kind == "rgb" else slice(3, 4)
    given = scene(name)
    image, points = leaves(backend, given.image[..., channels], given.points)
    with use(backend):
        neural_renderer(image, points, given.faces, given.face, eps=eps).backward(given.weight[..., channels].to(image))
    check(points.grad, PEERS["neural_renderer"]["scenes"][name][kind], backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["soup", "torus", "sheet"])
def test_edge_grad_as_drtk(name, backend):
    """The soup's faces cross each other: there, and only there, ``max_dp_dr`` counts."""
    expected = PEERS["edge_grad"]["scenes"][name]
    given = scene(name)
    for limit in (1e4, 0.3):
        image, points, barycentrics = leaves(backend, given.image, given.points, given.barycentrics)
        with use(backend):
            out = edge_grad(image, points, given.faces, given.face, barycentrics, max_dp_dr=limit)
        out.backward(given.weight.to(out))
        check(points.grad, expected[f"max_dp_dr {limit:g}"], backend)
