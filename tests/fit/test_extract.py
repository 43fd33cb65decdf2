"""Vertex colors are read at the surface, whatever the sampler; faces that no view sees are found."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from nerfkit.cameras import Cameras, look_at
from nerfkit.fields.field import Field
from nerfkit.fit.extract import seen_parts, surface_colors
from nerfkit.mesh.mesh import Mesh
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.occupancy import OccupancyGrid
from nerfkit.volume.samplers import OccupancySampler, Sampler, StratifiedSampler

RADIUS, SKIN, PAINT = 0.6, 0.05, (0.9, 0.4, 0.1)


class PaintedBall(Field):
    """A ball whose outermost ``SKIN`` has the color ``PAINT`` and the rest none; opaque, per step or per length."""

    def density(self, positions: Tensor) -> Tensor:
        return 400.0 * (positions.norm(dim=-1) < RADIUS).float()

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        painted = (positions.norm(dim=-1) > RADIUS - SKIN).float()
        return self.density(positions), painted[:, None] * torch.tensor(PAINT)


def occupancy_sampler() -> OccupancySampler:
    allowed = torch.ones(16, 16, 16, dtype=torch.bool)
    return OccupancySampler(OccupancyGrid(allowed, 0.01, threshold=0.01, decay=0.5, share=1, min_transmittance=1e-3))


@pytest.mark.parametrize("sampler", [occupancy_sampler(), StratifiedSampler(0.3, 3.0, 256)], ids=["even", "lock-step"])
def test_colors_are_those_of_the_surface(sampler: Sampler) -> None:
    generator = torch.Generator().manual_seed(1)
    normals = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator), dim=-1)
    colors = surface_colors(RadianceModel(PaintedBall(), sampler), normals * RADIUS, normals)
    torch.testing.assert_close(colors, torch.tensor(PAINT).expand(50, 3), rtol=0, atol=0.02)


def test_hidden_parts_are_not_seen_and_seen_parts_are_whole() -> None:
    """A square in front of a smaller one, whose third face is behind the first."""
    square = torch.tensor([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]])
    faces, tip = torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[0.0, 0.0, -0.2]])
    vertices = torch.cat([square, 0.5 * square - torch.tensor([0.0, 0.0, 0.5]), tip])
    mesh = Mesh(vertices, torch.cat([faces, faces + 4, torch.tensor([[0, 1, 8]])]))
    pose = look_at(torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, -3.0]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    cameras = Cameras(pose, torch.tensor([[40.0, 40.0, 16.0, 16.0]] * 2), 32, 32)
    front = seen_parts(mesh, SimpleNamespace(cameras=cameras, train=[0]))  # type: ignore[arg-type]
    assert front.tolist() == [True, True, False, False, True]
    both = seen_parts(mesh, SimpleNamespace(cameras=cameras, train=[0, 1]))  # type: ignore[arg-type]
    assert both.tolist() == [True] * 5
