"""Soft masks against numbers that the two projects' own kernels printed: ``soft_mask_peers.json``.

Meshes, colors, coverage and losses come from formulas and are exact in float32, so that the file holds results alone:
pictures, and gradients of sum(weight * picture). All were computed in float64 and are kept to 7 digits.
"""

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nerfkit.kernels import use
from nerfkit.kernels.soft_mask import dibr_mask, soft_rasterize
from tests.kernels.soft_mask_cases import from_ndc

BACKENDS = ("reference", "cpu", pytest.param("triton", marks=pytest.mark.interpreted))
PEERS = json.loads(Path(__file__).with_name("soft_mask_peers.json").read_text())
SIZE = 16  # SoftRas' pictures are square
BACKGROUND = (0.25, 0.5, 0.875)
EPS = 1e-3

KAOLIN: dict[str, tuple[str, tuple[int, int], dict[str, Any]]] = {
    "defaults": ("sphere", (16, 16), {}),
    "wide": ("sphere", (12, 20), {"sigmainv": 1000.0, "boxlen": 0.1, "knum": 5}),
    "few": ("soup", (12, 18), {"sigmainv": 300.0, "boxlen": 0.15, "knum": 2}),
}
"""Mesh, height and width, settings."""

SOFTRAS: dict[str, tuple[str, dict[str, float]]] = {
    "sphere": ("sphere", {"sigma": 1e-3, "gamma": 1e-4}),
    "soup": ("soup", {"sigma": 1e-2, "gamma": 1e-2}),
    "depths": ("soup", {"sigma": 3e-3, "gamma": 0.1, "near": 2.7, "far": 3.3}),
}
"""Mesh, settings. In ``depths`` faces, and parts of faces, lie outside the range."""


def scattered(*shape: int, start: int = 0) -> Tensor:
    """Multiples of 1/256 in [0,1) without an order to be seen: (k + 1)^3 times the golden ratio, less its integer."""
    k = torch.arange(start + 1, start + 1 + math.prod(shape), dtype=torch.float64)
    return ((k * k * k * 0.6180339887498949 % 1) * 256).floor().div(256).reshape(shape)


def soup() -> tuple[Tensor, Tensor]:
    """12 triangles that overlap, cross each other and leave the picture: (1,36,3) x, y and depth; faces (12,3)."""
    center = 2.2 * scattered(12, 1, 2, start=100) - 1.1
    depth = 2.4 + 1.2 * scattered(12, 1, 1, start=200)
    place = torch.cat([center.expand(12, 3, 2), depth.expand(12, 3, 1)], -1) + scattered(12, 3, 3, start=300) - 0.5
    return place.reshape(1, 36, 3), torch.arange(36).reshape(12, 3)


def sphere() -> tuple[Tensor, Tensor]:
    """An icosahedron, dented, 3 units away and seen under 60 degrees: (1,12,3); faces (20,3), either way round."""
    golden = (1 + math.sqrt(5)) / 2
    signs = [(a, b) for a in (-1, 1) for b in (-golden, golden)]
    round_x = torch.tensor([(0, a, b) for a, b in signs], dtype=torch.float64)
    exact = torch.cat([round_x.roll(k, 1) for k in range(3)])
    faces = [f for f in combinations(range(12), 3) if all((exact[i] - exact[j]).norm() < 2.1 for i in f for j in f)]
    x, y, z = (0.45 * exact + 0.3 * (scattered(12, 3, start=500) - 0.5)).unbind(-1)
    depth = z + 3
    scale = depth * math.tan(math.pi / 6)
    return torch.stack([x / scale, y / scale, depth], -1)[None], torch.tensor(faces)


def mesh(name: str, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Points (1,V,3), homogeneous pixel coordinates rounded to float32, in float64; faces (F,3)."""
    place, faces = {"soup": soup, "sphere": sphere}[name]()
    return from_ndc(*place.unbind(-1), height, width).float().double(), faces


def kaolin_case(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
    """Points, faces, coverage and weight (1,H,W), settings. Kaolin is told what is covered: here the upper left."""
    kind, (height, width), settings = KAOLIN[name]
    covered = torch.arange(height)[:, None] * width + torch.arange(width) * height < 0.6 * height * width
    face = torch.where(covered, 0, -1)[None].int()
    return *mesh(kind, height, width), face, scattered(1, height, width, start=7) - 0.5, settings


def softras_case(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, float]]:
    """Points, faces, colors of vertices (V,3), weight (1,16,16,4), settings.

    Of a face outside the range of depths SoftRas counts the alpha and forgets the alpha's gradient: it leaves the
    face's turn of the loop early. Here it has one, so in ``depths`` the loss is of the colors alone.
    """
    kind, settings = SOFTRAS[name]
    points, faces = mesh(kind, SIZE, SIZE)
    weight = scattered(1, SIZE, SIZE, 4, start=7) - 0.5
    if name == "depths":
        weight[..., 3] = 0
    return points, faces, scattered(points.shape[1], 3, start=900), weight, settings


def leaf(tensor: Tensor, backend: str) -> Tensor:
    """A copy that takes gradients: float64 for the reference, float32 for the others."""
    return tensor.to(torch.float64 if backend == "reference" else torch.float32, copy=True).requires_grad_()


def check(actual: Tensor, expected: list[float], guard: float = 0.0) -> None:
    """7 digits are kept: up to 5e-7 of a number. Results in float32 add 2^-24 of it, and their sums that nearly cancel
    a few times 2^-24 of the largest. ``guard``, relative to the largest: what a backend's own rounding adds, and what a
    term against division by zero in the project's backward pass changes, found by running it without the term."""
    wanted = torch.tensor(expected, dtype=torch.float64)
    scale = wanted.abs().max().item()
    assert scale > 0.1
    atol = (3e-7 + guard) * scale
    torch.testing.assert_close(actual.detach().double().reshape(-1), wanted, rtol=6e-7, atol=atol)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", KAOLIN)
def test_dibr_mask_as_kaolin(name, backend):
    expected = PEERS["dibr_mask"]["scenes"][name]
    points, faces, face, weight, settings = kaolin_case(name)
    points = leaf(points, backend)
    with use(backend):
        mask = dibr_mask(points, faces, face, **settings)
    mask.backward(weight.to(mask))
    assert ((mask > 0.01) & (mask < 0.99)).sum() > 10
    check(mask, expected["mask"])
    check(points.grad, expected["grad_points"], guard=2e-6)  # it adds 1e-7 to 1 - exp(-sigmainv d^2), then divides


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SOFTRAS)
def test_soft_rasterize_as_softras(name, backend):
    """SoftRas' background counts as the formula's with twice its ``eps``: see ``soft_rasterize``.

    Triton's exponentials are float32: with arguments of up to some 30, half a unit of these is 30 x 2^-24 of a result.
    In ``sphere``, where gamma is 1e-4, the gradient by depth is a difference of such colors, and several times that.
    """
    rounding = 3e-6 if backend == "triton" else 0.0
    by_depth = 1e-5 if backend == "triton" and name == "sphere" else rounding
    expected = PEERS["soft_rasterize"]["scenes"][name]
    points, faces, colors, weight, settings = softras_case(name)
    points, colors = leaf(points, backend), leaf(colors, backend)
    more = {"eps": 2 * EPS, "background": BACKGROUND, "through_barycentrics": False}
    with use(backend):
        picture = soft_rasterize(points, faces, colors, SIZE, SIZE, **settings, **more)
    picture.backward(weight.to(picture))
    assert ((picture[..., 3] > 0.01) & (picture[..., 3] < 0.99)).sum() > 10
    check(picture, expected["picture"], rounding)
    check(points.grad, expected["grad_points"], by_depth + 1e-8)  # it divides by no less than 1e-6 for 1 - D
    check(colors.grad, expected["grad_colors"], rounding)
