"""What a model shows of fog in four planes, in closed form: pictures, their background, depth and normals."""

import math

import pytest
import torch
from torch import Tensor

from nerfkit.cameras import Cameras, look_at
from nerfkit.fields.field import Field
from nerfkit.volume.model import FieldImage, FieldSource, RadianceModel
from nerfkit.volume.samplers import StratifiedSampler

PLANES, WHITE = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.ones(3)


class Layers(Field):
    """Of one optical depth a sample and one color, by the number of the sample; as normals it gives the points."""

    def __init__(self, depths: list[float], colors: Tensor) -> None:
        super().__init__()
        self.depths, self.colors = torch.tensor(depths), colors

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        rays = len(directions)
        return self.depths.repeat(rays), self.colors.repeat(rays, 1)

    def normals(self, positions: Tensor) -> Tensor:
        return positions


def model(depths: list[float], colors: Tensor) -> RadianceModel:
    """Seen in planes at distances 1 to 4; all that these tests know of how a model is put together stands here."""
    return RadianceModel(Layers(depths, colors), StratifiedSampler(1.0, 4.0, 4))


def cameras() -> Cameras:
    pose = look_at(torch.tensor([[0.5, 1.0, 2.0]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    return Cameras(pose, torch.tensor([[5.0, 5.0, 2.0, 1.5]]), 3, 4)


def test_over_adds_the_background_s_share_and_stays_in_range() -> None:
    alpha = torch.tensor([[0.0, 0.25, 1.0, 0.5]])
    rgb = torch.tensor([[[0.0, 0.0, 0.0], [0.2, 0.1, 0.0], [0.5, 0.6, 0.7], [0.9, -0.3, 0.2]]])
    shown = FieldImage(rgb, alpha, alpha, None).over((1.0, 0.4, 0.0))
    expected = [[1.0, 0.4, 0.0], [0.95, 0.4, 0.0], [0.5, 0.6, 0.7], [1.0, 0.0, 0.2]]
    torch.testing.assert_close(shown, torch.tensor([expected]))


@pytest.mark.parametrize("depth", [0.3, 0.1])
def test_a_picture_of_layers(depth: float) -> None:
    """Weights e^-kd (1 - e^-d) of layer k; four layers of 0.1 cover less than half, so that there is no normal."""
    colors = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.1, 0.4], [0.5, 0.5, 0.5], [0.2, 0.8, 0.6]])
    weight = torch.exp(-depth * torch.arange(4)) * (1 - math.exp(-depth))
    opacity, distance = weight.sum(), (weight * PLANES).sum() / weight.sum()
    image = model([depth] * 4, colors).render_view(cameras(), 0, normals=True)
    torch.testing.assert_close(image.rgb, (weight @ colors).expand(3, 4, 3))
    torch.testing.assert_close(image.alpha, opacity.expand(3, 4))
    torch.testing.assert_close(image.depth, (distance * opacity).expand(3, 4))
    origins, directions = cameras().image_rays(0)
    there = float(opacity > 0.5)
    assert there == (depth == 0.3)
    torch.testing.assert_close(image.normal.view(-1, 3), there * (origins + distance * directions))

    seen = FieldSource(model([depth] * 4, colors), (0.3, 0.6, 1.0)).render(cameras(), 0)
    behind = (1 - opacity) * torch.tensor([0.3, 0.6, 1.0])
    torch.testing.assert_close(seen["rgb"], (weight @ colors + behind).expand(3, 4, 3))
    torch.testing.assert_close(seen["depth"], (there * distance).expand(3, 4))
    torch.testing.assert_close(seen["alpha"], image.alpha)
    torch.testing.assert_close(seen["normal"], image.normal)


def test_a_256th_of_the_light_still_counts() -> None:
    """White behind black that lets 1/256 through: one level of an 8-bit picture, in a training step and in a view."""
    black_first = model([math.log(256), 20.0, 20.0, 20.0], torch.stack([0 * WHITE, WHITE, WHITE, WHITE]))
    origins, directions = cameras().image_rays(0)
    for color in (black_first.render_rays(origins, directions)[0].color, black_first.render_view(cameras(), 0).rgb):
        torch.testing.assert_close(color.view(-1, 3), (WHITE / 256).expand(12, 3), rtol=1e-3, atol=0)


class Balls(Field):
    """Dense balls of the given centers (x, y, z) and radii in thin fog."""

    def __init__(self, *balls: tuple[float, float, float, float]) -> None:
        super().__init__()
        self.balls = torch.tensor(balls).view(-1, 4)

    def density(self, positions: Tensor) -> Tensor:
        inside = (positions[:, None] - self.balls[:, :3]).norm(dim=-1) < self.balls[:, 3]
        return torch.where(inside.any(-1), 100.0, 5.0)


def test_a_field_is_framed_without_its_floaters() -> None:
    small, object_ = (0.9, 0.9, 0.9, 0.06), (0.1, -0.2, 0.3, 0.4)
    points = FieldSource(RadianceModel(Balls(object_, small), StratifiedSampler(1.0, 4.0, 4)), (0, 0, 0)).points()
    center = torch.tensor(object_[:3])
    assert (points - center).norm(dim=-1).max() < 0.4
    assert torch.allclose((points.amin(0) + points.amax(0)) / 2, center, atol=1 / 32)
    assert torch.allclose(points.amax(0) - points.amin(0), torch.tensor(0.8), atol=1 / 16)
    assert FieldSource(RadianceModel(Balls(), StratifiedSampler(1.0, 4.0, 4)), (0, 0, 0)).points().shape == (0, 3)
