"""Colors of surface points: composited along the ray that looks at them, on a bowl whose every ray is known."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.fields.field import Field
from nerfkit.fit.extract import surface_colors
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.occupancy import OccupancyGrid
from nerfkit.volume.samplers import OccupancySampler

RADIUS, THICKNESS, RAMP = 0.6, 0.1, 2.0


class Bowl(Field):
    """Of constant density between two spheres where x + y + z > 0, so that no ray through the center meets it twice.

    Its color depends on the direction d and on the depth z below the outer sphere: 0.4 - 0.2 d + RAMP z.
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def density(self, positions: Tensor) -> Tensor:
        depth = RADIUS - positions.norm(dim=-1)
        return self.sigma * ((depth > 0) & (depth < THICKNESS) & (positions.sum(-1) > 0)).float()

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        depth = RADIUS - positions.norm(dim=-1)  # (S,)
        directions = directions.repeat_interleave(offsets.diff(), 0)  # (S, 3)
        return self.density(positions), 0.4 - 0.2 * directions + RAMP * depth[:, None]


def found(sigma: float, points: Tensor, normals: Tensor) -> Tensor:
    """The colors of surface points of such a bowl; all that these tests know of the call stands here."""
    allowed = torch.ones(8, 8, 8, dtype=torch.bool)
    grid = OccupancyGrid(allowed, 5e-4, threshold=0.01, decay=0.5, share=1, min_transmittance=1e-3)
    return surface_colors(RadianceModel(Bowl(sigma), OccupancySampler(grid)), points, normals)


def looking_out(count: int) -> Tensor:
    """Unit normals of the bowl's outside."""
    random = torch.randn(count, 3, generator=torch.Generator().manual_seed(3))
    return normalize(random * random.sum(-1, keepdim=True).sign(), dim=-1)


def mean_depth(sigma: float) -> float:
    """Of what a ray through the bowl sees, 1/s - c e^(-sc) / (1 - e^(-sc)) with c its thickness."""
    decay = math.exp(-sigma * THICKNESS)
    return 1 / sigma - THICKNESS * decay / (1 - decay)


@pytest.mark.parametrize("opacity", [0.55, 0.7, 0.99])
def test_colors_are_composited_looking_in_and_divided_by_the_opacity(opacity: float) -> None:
    sigma = -math.log(1 - opacity) / THICKNESS
    normals = looking_out(20)
    expected = 0.4 + 0.2 * normals + RAMP * mean_depth(sigma)
    assert RAMP * mean_depth(sigma) > 0.04, "or the point itself would do as well"
    torch.testing.assert_close(found(sigma, RADIUS * normals, normals), expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize("opacity", [0.0, 0.2, 0.45])
def test_where_the_ray_stays_almost_empty_it_is_the_color_at_the_point(opacity: float) -> None:
    normals = looking_out(20)
    colors = found(-math.log(1 - opacity) / THICKNESS, RADIUS * normals, normals)
    torch.testing.assert_close(colors, 0.4 + 0.2 * normals, atol=1e-5, rtol=0)


def test_each_point_decides_for_itself() -> None:
    """From outside, though the point lies 0.03 within; from the hollow, the other way along the same line; and from a
    ray that starts 0.02 below the outside, where there is too little left to see.
    """
    sigma, out = 20.0, looking_out(1)
    normals = torch.cat([out, -out, -out])
    points = out * torch.tensor([[RADIUS - 0.03], [RADIUS - THICKNESS], [RADIUS + 0.03]])
    depths = torch.tensor([[mean_depth(sigma)], [THICKNESS - mean_depth(sigma)], [-0.03]])
    expected = 0.4 + 0.2 * normals + RAMP * depths
    torch.testing.assert_close(found(sigma, points, normals), expected, atol=5e-3, rtol=0)
