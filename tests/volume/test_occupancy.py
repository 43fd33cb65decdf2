"""The occupancy grid's bounds and the samplers' options in closed form."""

import math

import pytest
import torch
from torch import Tensor

from nerfkit.cameras import Cameras, look_at
from nerfkit.fields.field import Field
from nerfkit.kernels.philox import Draw
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.volume.occupancy import OccupancyGrid
from nerfkit.volume.samplers import OccupancyOptions, OccupancySampler, StratifiedOptions, StratifiedSampler

CELLS = 4


def grid(**changes: float | Tensor) -> OccupancyGrid:
    given = {"allowed": torch.ones(CELLS, CELLS, CELLS, dtype=torch.bool), "step_size": 0.1, "threshold": 0.05}
    given |= {"decay": 0.5, "share": 1, "min_transmittance": 1e-3} | changes
    return OccupancyGrid(**given)  # type: ignore[arg-type]


class Haze(Field):
    """Of the same density everywhere, which may be changed."""

    sigma = 0.0

    def density(self, positions: Tensor) -> Tensor:
        return torch.full((len(positions),), self.sigma)


class Numbered(Field):
    """Its density in cell [x,y,z] is 1 + 16 x + 4 y + z."""

    def density(self, positions: Tensor) -> Tensor:
        cell = ((positions + 1) / 2 * CELLS).floor()
        assert (cell >= 0).all() and (cell < CELLS).all()
        return 1 + cell @ torch.tensor([16.0, 4.0, 1.0])


def test_both_bounds_by_hand() -> None:
    """density <- max(density/2, sigma), solid <- min(2 max(solid, 1), sigma, cap); three cells at the cap end a ray."""
    found, haze, cap = grid(threshold=1.0), Haze(), math.log(1000) / (3 * 2 / CELLS)
    expected = [(8, 8, 2), (8, 8, 4), (8, 8, cap), (1, 4, 1), (0, 2, 0), (0, 1, 0), (0.25, 0.5, 0.25), (9, 9, 2)]
    for visit, (sigma, density, solid) in enumerate(expected):
        haze.sigma = sigma
        found.update(haze, Draw(0, visit), visit, prune=False)
        assert found.density.unique().tolist() == pytest.approx([density])
        assert found.solid.unique().tolist() == pytest.approx([solid])
    assert found.occupied.all(), "9 times a step is less than the threshold, but nothing is dropped before it may be"


def test_bounds_lie_in_their_own_cells() -> None:
    found = grid()
    found.update(Numbered(), Draw(0, 0), 0, prune=False)
    assert torch.equal(found.density.flatten(), torch.arange(1.0, CELLS**3 + 1))


def test_a_step_s_optical_depth_keeps_a_cell() -> None:
    """Steps of 0.1: a density of 20.5 is one of 2.05, so that those above are kept, but for what was never allowed."""
    allowed = torch.rand(CELLS, CELLS, CELLS, generator=torch.Generator().manual_seed(0)) > 0.3
    found = grid(allowed=allowed, threshold=2.05)
    found.density.fill_(1000.0)
    found.density[allowed] = 0.0
    found.update(Numbered(), Draw(0, 0), 0, prune=True)
    number = torch.arange(1, CELLS**3 + 1).view(CELLS, CELLS, CELLS)
    assert torch.equal(found.occupied, allowed & (number > 20))
    assert found.fraction == pytest.approx((allowed & (number > 20)).float().mean().item())


def test_jitter_shifts_each_ray_by_less_than_a_step() -> None:
    origins = torch.tensor([[0.1, 0.2, 3.0]]).repeat(50, 1)
    directions = torch.tensor([[0.0, 0.0, -1.0]]).repeat(50, 1)
    sampler = OccupancySampler(grid())
    plain, shifted = (sampler.sample(origins, directions, draw).t_start for draw in (None, Draw(1, 2)))
    torch.testing.assert_close(plain.view(50, 20), (2 + 0.1 * torch.arange(20)).expand(50, 20))
    first = shifted[sampler.sample(origins, directions, Draw(1, 2)).offsets[:-1]] - 2
    assert first.min() < 0.01 and 0.09 < first.max() < 0.1 and first.unique().numel() == 50
    spread = StratifiedSampler(1.0, 3.0, 9)
    planes, moved = (spread.sample(origins, directions, draw).t_start.view(50, 9) for draw in (None, Draw(1, 2)))
    torch.testing.assert_close(planes, (1 + 0.25 * torch.arange(9)).expand(50, 9))
    assert (moved - planes).abs().max() <= 0.125 and (moved - planes).std(0).min() > 0.02


def scene(train: int, test: int, has_masks: bool = True) -> Scene:
    """Photos with the alpha ``train`` all over, and one of ``test`` that is held out; the farthest camera is 4 away."""
    positions = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 4.0], [-3.0, 0.5, 0.0]])
    cameras = Cameras(
        look_at(positions, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0])),
        torch.tensor([[16.0, 16.0, 16.0, 16.0]]).repeat(3, 1),
        32,
        32,
    )
    images = torch.full((3, 32, 32, 4), train, dtype=torch.uint8)
    images[2] = test
    return Scene("plain", Photos.of(images), cameras, [0, 1], [2], has_masks=has_masks)


def test_the_hull_is_that_of_the_training_masks_where_there_are_some() -> None:
    def cells(scene: Scene, **changes: float) -> int:
        return int(OccupancyOptions(resolution=8, **changes).build(scene).occupied.sum())  # type: ignore[arg-type]

    assert cells(scene(1, 0)) == 8**3, "a trace of alpha is object; held-out masks do not count"
    assert cells(scene(0, 255)) == 0
    assert cells(scene(0, 0), hull=False) == cells(scene(0, 0, has_masks=False)) == 8**3
    dot = scene(0, 0)
    dot.images.stack()[:2, 16, 16, 3] = 255
    assert 0 < cells(dot, hull_margin=0.0) < cells(dot, hull_margin=3.0) < 8**3


def test_planes_are_in_the_tutorial_s_units() -> None:
    """The far plane lies 1 behind the center for the farthest camera, at 5: lengths are 3/5 of the tutorial's."""
    options = StratifiedOptions(near=0.3, far=3.0, count=7)
    sampler = options.build(scene(255, 255))
    assert (sampler.near, sampler.far, sampler.count) == pytest.approx((0.5, 5.0, 7))
    assert options.scale(scene(255, 255)) == pytest.approx(0.6)
    assert (options.build().near, options.build().far) == (0.3, 3.0)


def test_what_is_occupied_follows_from_the_bounds_however_it_was_visited() -> None:
    found, haze = grid(share=4), Haze()
    for visit, (sigma, prune) in enumerate([(1.0, True), (0.0, True), (2.0, False), (0.0, True), (0.0, True)]):
        haze.sigma = sigma
        found.update(haze, Draw(0, visit), visit, prune=prune)
        if prune:
            assert torch.equal(found.occupied, found.allowed & (found.density * found.step_size > found.threshold))
    fresh = grid(share=4)
    earlier = {name: value.clone() for name, value in fresh.state_dict().items()}
    for used in (found, fresh):
        used.load_state_dict(earlier)
        used.update(haze, Draw(0, 9), 0, prune=True)
    assert torch.equal(found.occupied, fresh.occupied)
