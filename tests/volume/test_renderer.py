"""The volume renderer, the samplers and the occupancy grid, on a ball of constant density."""

import math

import pytest
import torch
from torch import Tensor

from nerfkit.cameras import Cameras, look_at
from nerfkit.fields.field import Field, FieldOptions
from nerfkit.fields.harmonic import HarmonicField, HarmonicOptions
from nerfkit.fields.hash_grid import HashGridOptions
from nerfkit.fields.planes import PlanesOptions
from nerfkit.fields.surface import SurfaceField
from nerfkit.kernels.philox import Draw
from nerfkit.volume.model import UNSEEN, FieldSource, RadianceModel
from nerfkit.volume.occupancy import OccupancyGrid
from nerfkit.volume.samplers import OccupancySampler, Sampler, StratifiedSampler

RADIUS, DENSITY, COLOR = 0.6, 2.0, (0.8, 0.5, 0.2)


class Ball(Field):
    """A field that is ``DENSITY`` inside the ball of ``RADIUS`` and 0 outside, of one color."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def density(self, positions: Tensor) -> Tensor:
        return DENSITY * (positions.norm(dim=-1) < RADIUS).float()

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        assert offsets[-1] == len(positions) and len(offsets) == len(directions) + 1
        return self.density(positions), torch.tensor(COLOR).expand(len(positions), 3)

    def normals(self, positions: Tensor) -> Tensor:
        return torch.nn.functional.normalize(positions, dim=-1)


def ball(sampler: Sampler) -> RadianceModel:
    return RadianceModel(Ball(), sampler)


def full_grid(size: int = 32, step: float = 0.004, stop: float = 1e-3) -> OccupancyGrid:
    allowed = torch.ones(size, size, size, dtype=torch.bool)
    return OccupancyGrid(allowed, step, threshold=0.001, decay=0.5, share=1, min_transmittance=stop)


def parallel_rays() -> tuple[Tensor, Tensor, Tensor]:
    """Rays along -z at several distances from the axis; the chord of the ball that each meets."""
    offset = torch.tensor([0.0, 0.2, 0.4, 0.55, 0.61, 0.9])
    origins = torch.stack([offset, torch.zeros(6), torch.full((6,), 3.0)], -1)
    chord = 2 * (RADIUS**2 - offset**2).clamp_min(0).sqrt()
    return origins, torch.tensor([0.0, 0.0, -1.0]).expand(6, 3).contiguous(), chord


def test_opacity_color_and_depth_of_a_ball() -> None:
    origins, directions, chord = parallel_rays()
    pixels, _ = ball(OccupancySampler(full_grid())).render_rays(origins, directions)
    opacity = 1 - torch.exp(-DENSITY * chord)
    torch.testing.assert_close(pixels.opacity, opacity, atol=0.012, rtol=0)
    torch.testing.assert_close(pixels.color, opacity[:, None] * torch.tensor(COLOR), atol=0.012, rtol=0)
    # Mean depth of exponential absorption in a slab from t0 that is c thick: t0 + 1/s - c e^(-sc) / (1 - e^(-sc)).
    start = 3 - chord / 2
    decay = torch.exp(-DENSITY * chord)
    mean = start + 1 / DENSITY - chord * decay / (1 - decay).clamp_min(1e-9)
    hit = chord > 0
    torch.testing.assert_close((pixels.depth / pixels.opacity)[hit], mean[hit], atol=0.01, rtol=0)


def test_grid_finds_the_ball_and_skips_the_rest() -> None:
    grid = full_grid()
    for visit in range(12):
        grid.update(Ball(), Draw(0, visit), visit, prune=True)
    center = (torch.arange(32) + 0.5) / 16 - 1
    distance = torch.stack(torch.meshgrid(center, center, center, indexing="ij"), -1).norm(dim=-1)
    half_diagonal = math.sqrt(3) / 32
    assert grid.occupied[distance < RADIUS - half_diagonal].all()
    assert not grid.occupied[distance > RADIUS + half_diagonal].any()
    assert (grid.solid[distance < RADIUS - half_diagonal] == DENSITY).all()
    assert (grid.solid[distance > RADIUS + half_diagonal] == 0).all()
    origins, directions, _ = parallel_rays()
    sampler = OccupancySampler(grid)
    everywhere = OccupancySampler(full_grid())
    before, all_samples = ball(everywhere).render_rays(origins, directions)
    after, samples = ball(sampler).render_rays(origins, directions)
    torch.testing.assert_close(after.color, before.color, atol=1e-6, rtol=0)
    assert samples < 0.6 * all_samples


def test_grid_stops_rays_only_where_it_is_solid() -> None:
    grid = full_grid()
    grid.solid[:] = 0
    grid.solid[:, :, 16:] = 1000.0  # opaque from z = 0 up: rays along -z end within a cell of the top
    origins, directions, _ = parallel_rays()
    stopped = OccupancySampler(grid).sample(origins, directions, None)
    assert (stopped.t_end <= 2 + 0.02).all() and stopped.offsets.diff().min() > 0


def test_updates_visit_every_cell_once_in_share_visits() -> None:
    grid = full_grid(8)
    grid.share = 3
    seen = torch.zeros(8, 8, 8)

    class One(Ball):
        def density(self, positions: Tensor) -> Tensor:
            cell = ((positions + 1) * 4).long()
            seen[cell[:, 0], cell[:, 1], cell[:, 2]] += 1
            return torch.ones(len(positions))

    for visit in range(3):
        grid.update(One(), Draw(0, visit), visit, prune=False)
    assert (seen == 1).all()


def test_stratified_sampler_covers_near_to_far() -> None:
    origins, directions, _ = parallel_rays()
    sampler = StratifiedSampler(2.0, 4.0, 64)
    samples = sampler.sample(origins, directions, Draw(0, 0))
    t = samples.t_start.view(6, 64)
    assert (t[:, 1:] >= t[:, :-1]).all() and t.min() >= 2 and t.max() <= 4 and sampler.opacity == "raw"


def test_view_and_source_agree_with_the_analytic_ball() -> None:
    pose = look_at(torch.tensor([[0.0, 0.5, 4.0]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    cameras = Cameras(pose, torch.tensor([[60.0, 60.0, 16.5, 12.5]]), 25, 33)
    sampler = OccupancySampler(full_grid())
    image = ball(sampler).render_view(cameras, 0, normals=True)
    assert image.rgb.shape == (25, 33, 3) and image.alpha.shape == (25, 33)
    assert image.alpha[12, 16] == pytest.approx(1 - math.exp(-2 * DENSITY * RADIUS), abs=0.02)
    assert image.alpha[0, 0] == 0 and image.rgb[0, 0].sum() == 0
    picture = image.over((1.0, 1.0, 1.0))
    assert (picture[0, 0] == 1).all()
    toward = torch.nn.functional.normalize(cameras.positions[0], dim=-1)
    assert torch.dot(image.normal[12, 16], toward) > 0.95
    rendered = FieldSource(ball(sampler), (0.0, 0.0, 0.0)).render(cameras, 0)
    distance = float(cameras.positions[0].norm())
    assert distance - RADIUS < rendered["depth"][12, 16] < distance + RADIUS


@pytest.mark.parametrize("density", [1.0, 20.0])
def test_what_lets_no_light_through_to_speak_of_is_opaque(density: float) -> None:
    """Beyond ``UNSEEN`` a pixel is its own color whole, elsewhere what all samples composite to."""
    field = Ball()
    field.density = lambda x: density * (x.norm(dim=-1) < RADIUS).float()  # type: ignore[method-assign]
    pose = look_at(torch.tensor([[0.0, 0.5, 4.0]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    cameras = Cameras(pose, torch.tensor([[60.0, 60.0, 16.5, 12.5]]), 25, 33)
    model = RadianceModel(field, OccupancySampler(full_grid()))
    image, (exact, _) = model.render_view(cameras, 0), model.render_rays(*cameras.image_rays(0))
    left = 1 - exact.opacity.view(25, 33)
    assert (image.alpha[left < 0.9 * UNSEEN] == 1).all() and (left < 0.9 * UNSEEN).any() == (density > 10)
    assert torch.equal(image.alpha[left > 1.1 * UNSEEN], exact.opacity.view(25, 33)[left > 1.1 * UNSEEN])
    assert (image.rgb - exact.color.view(25, 33, 3)).abs().max() <= UNSEEN
    color = image.rgb[12, 16] / image.alpha[12, 16]
    torch.testing.assert_close(color, torch.tensor(COLOR))


def test_only_what_is_asked_for_is_made() -> None:
    class Flat(Ball):
        def normals(self, positions: Tensor) -> Tensor:
            raise AssertionError("nobody asked for normals")

    pose = look_at(torch.tensor([[0.0, 0.5, 4.0]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    cameras = Cameras(pose, torch.tensor([[60.0, 60.0, 16.5, 12.5]]), 25, 33)
    source = FieldSource(RadianceModel(Flat(), OccupancySampler(full_grid())), (0.0, 0.0, 0.0))
    assert set(source.render(cameras, 0, ("rgb", "alpha"))) == {"rgb", "alpha"}
    with pytest.raises(AssertionError, match="nobody"):
        source.render(cameras, 0)


def test_normals_of_a_harmonic_field_are_minus_its_gradient() -> None:
    field = HarmonicField(HarmonicOptions(width=8, depth=2, octaves=2, activation="softplus"), seed=4)
    points = torch.rand(5, 3) - 0.5
    normal = field.normals(points)
    step, gradient = 1e-3, torch.empty(5, 3)
    for axis in range(3):
        shift = torch.zeros(3)
        shift[axis] = step
        slope = (field.density(points + shift) - field.density(points - shift)) / (2 * step)
        gradient[:, axis] = slope.detach()
    torch.testing.assert_close(normal, -torch.nn.functional.normalize(gradient, dim=-1), atol=5e-3, rtol=0)


@pytest.mark.parametrize("options", [HashGridOptions(), HashGridOptions(surface="sdf"), PlanesOptions()])
def test_a_view_in_one_kernel_is_that_of_its_pieces(options: FieldOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what is left out of either: samples that a pixel hardly sees."""
    grid = full_grid(step=0.02)
    field = options.build(seed=2)
    if options.surface == "sdf":
        field = SurfaceField(field, torch.zeros_like(grid.occupied), 16)  # a ball
        field.before_step(1.0)
    else:
        torch.nn.init.constant_(field.density_head.bias, 3.0)
    model = RadianceModel(field, OccupancySampler(grid))
    pose = look_at(torch.tensor([[1.0, 0.5, 2.5]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    cameras = Cameras(pose, torch.tensor([[12.0, 12.0, 8.0, 7.0]]), 14, 16)
    image = model.render_view(cameras, 0)
    monkeypatch.setattr(type(field), "view", Field.view)
    pieces = model.render_view(cameras, 0)
    assert 0.05 < (pieces.alpha > 0.9).float().mean() < 1
    for name, scale in (("rgb", 1), ("alpha", 1), ("depth", 3)):  # the ball is 3 away at the most
        difference = (getattr(image, name) - getattr(pieces, name)).abs() / scale
        assert difference.max() < 0.01 and difference.mean() < 1e-3
    assert not torch.equal(image.rgb, pieces.rgb), "two ways to the same"
