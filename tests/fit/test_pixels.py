"""Training rays belong to the pixels whose colors come with them, and to nothing but the training photos."""

import pytest
import torch
from torch import Tensor

from nerfkit.cameras import Cameras, look_at
from nerfkit.fit.pixels import TrainingPixels, TrainingRays
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.volume.occupancy import OccupancyGrid
from nerfkit.volume.samplers import OccupancySampler, StratifiedSampler

HEIGHT, WIDTH, VIEWS, TRAIN = 5, 7, 6, [5, 1, 2, 4]


def scene() -> Scene:
    """Each pixel says in its color where it is: row, column, view."""
    turn = torch.arange(VIEWS) * 1.1
    position = 3 * torch.stack([turn.cos(), 0.3 * turn - 1, turn.sin()], -1)
    poses = look_at(position, torch.tensor([0.1, 0.2, -0.1]), torch.tensor([0.0, 1.0, 0.0]))
    cameras = Cameras(poses, torch.tensor([[9.0, 8.0, 3.2, 2.9]]).repeat(VIEWS, 1), HEIGHT, WIDTH)
    images = torch.empty(VIEWS, HEIGHT, WIDTH, 4, dtype=torch.uint8)
    images[..., 0] = torch.arange(HEIGHT)[:, None]
    images[..., 1] = torch.arange(WIDTH)
    images[..., 2] = torch.arange(VIEWS)[:, None, None]
    images[..., 3] = 255
    return Scene("numbered", Photos.of(images), cameras, TRAIN, [0, 3])


def pixels(occupied: Tensor | None = None) -> TrainingPixels:
    """All training pixels, or those that see the ``occupied`` cells (G,G,G) of a grid."""
    if occupied is None:
        return TrainingPixels(scene(), StratifiedSampler(1.0, 3.0, 2), torch.device("cpu"))
    grid = OccupancyGrid(occupied, 0.01, threshold=0.01, decay=0.5, share=1, min_transmittance=1e-3)
    return TrainingPixels(scene(), OccupancySampler(grid), torch.device("cpu"))


def numbers(rays: TrainingRays) -> Tensor:
    """Row, column and view (R,3) of each ray's pixel, as its color says; checks that the ray runs through it."""
    written = (rays.rgba[:, :3] * 255).round().long()
    torch.testing.assert_close(rays.rgba, torch.cat([written / 255, torch.ones(len(written), 1)], -1))
    row, column, view = written.unbind(-1)
    cameras = scene().cameras
    torch.testing.assert_close(rays.origins, cameras.positions[view])
    torch.testing.assert_close(rays.directions.norm(dim=-1), torch.ones(len(view)))
    found, depth = cameras.project(rays.origins + 2 * rays.directions)  # (N, R, 2), (N, R)
    found, depth = found[view, torch.arange(len(view))], depth[view, torch.arange(len(view))]
    assert (depth > 0).all()
    torch.testing.assert_close(found, torch.stack([column, row], -1) + 0.5, atol=1e-3, rtol=0)
    return written


def test_rays_run_through_their_pixels_and_all_training_pixels_are_drawn() -> None:
    drawn = numbers(pixels().draw(seed=3, step=2, count=4000))
    assert set(drawn[:, 2].tolist()) == set(TRAIN)
    kinds, counts = drawn.unique(dim=0, return_counts=True)
    assert len(kinds) == len(TRAIN) * HEIGHT * WIDTH
    mean = 4000 / len(kinds)
    assert (counts - mean).abs().max() < 5 * mean**0.5, "as often each, but for chance"


def test_what_the_drawn_pixels_leave_out_counts_in_whole_pictures() -> None:
    occupied = torch.zeros(4, 4, 4, dtype=torch.bool)
    occupied[1:3, 1:3, 1:3] = True
    found, photos = pixels(occupied), scene()
    left = torch.ones(VIEWS * HEIGHT * WIDTH, dtype=torch.bool)
    left[(found.chosen.bits[:, None] >> torch.arange(64) & 1).flatten()[: len(left)] > 0] = False
    left = left.view(VIEWS, HEIGHT * WIDTH)[TRAIN].flatten()
    errors = torch.cat([photos.image(view).flatten(0, 1) - torch.tensor(photos.background) for view in TRAIN])
    assert 0 < found.share < 1 and found.share == pytest.approx(1 - left.double().mean().item())
    assert found.outside == pytest.approx(errors[left].square().mean().item(), rel=1e-5)
    assert (pixels().share, pixels().outside) == (1, 0)


def test_another_step_or_seed_draws_others() -> None:
    first, *others = (numbers(pixels().draw(*key, 50)) for key in ((3, 2), (3, 3), (4, 2)))
    assert all(not torch.equal(first, other) for other in others)
    assert torch.equal(first, numbers(pixels().draw(3, 2, 50)))


@pytest.mark.parametrize(
    ("count", "views", "each", "photos"), [(30, 3, 10, 3), (31, 3, 10, 3), (2, 3, 1, 3), (40, 9, 4, 4)]
)
def test_rays_from_a_few_photos(count: int, views: int, each: int, photos: int) -> None:
    seen = set()
    for step in range(12):
        rays = pixels().draw_from_views(seed=1, step=step, count=count, views=views)
        drawn = numbers(rays)
        view, counts = drawn[:, 2].unique(return_counts=True)
        assert counts.tolist() == [each] * photos
        seen |= set(view.tolist())
        if each > 4:
            assert len(drawn[:, :2].unique(dim=0)) > each, "each photo has pixels of its own"
    assert seen == set(TRAIN)


def test_only_pixels_that_see_an_occupied_cell_are_drawn() -> None:
    """One cell of 8 x 8 x 8, whose box every ray of a drawn pixel meets and no other does."""
    occupied = torch.zeros(8, 8, 8, dtype=torch.bool)
    occupied[5, 4, 2] = True
    lower = torch.tensor([5.0, 4.0, 2.0]) / 4 - 1
    expected = []
    for view in TRAIN:
        origins, directions = scene().cameras.image_rays(view)
        first, second = (lower - origins) / directions, (lower + 0.25 - origins) / directions
        chord = torch.maximum(first, second).amin(-1) - torch.minimum(first, second).amax(-1)
        assert not ((chord > 0) & (chord < 0.02)).any(), "none grazes it: steps are 0.01 long"
        expected += [[i // WIDTH, i % WIDTH, view] for i in (chord > 0).nonzero()[:, 0].tolist()]
    drawn = numbers(pixels(occupied).draw(seed=0, step=0, count=500))
    assert 0 < len(expected) < len(TRAIN) * HEIGHT * WIDTH
    assert sorted(drawn.unique(dim=0).tolist()) == sorted(expected)


@pytest.mark.parametrize("at_once", [1, 8, HEIGHT * WIDTH])
def test_pixels_looked_at_in_pieces_are_the_same(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    occupied = torch.zeros(4, 4, 4, dtype=torch.bool)
    occupied[1:3, 1:3, 1:3] = True
    whole = pixels(occupied)
    monkeypatch.setattr("nerfkit.fit.pixels.AT_ONCE", at_once)
    pieces = pixels(occupied)
    assert torch.equal(whole.chosen.bits, pieces.chosen.bits)
    assert torch.equal(whole.chosen.before, pieces.chosen.before)
    assert (pieces.share, pieces.outside) == pytest.approx((whole.share, whole.outside))


def test_rays_of_other_cameras() -> None:
    """As refined cameras are: the same pixels, other rays, with gradients."""
    found = pixels()
    moved = scene().cameras
    pose = moved.camera_to_world.clone()
    pose[:, 0, 3] += 1
    pose.requires_grad_()
    moved = moved.changed(pose)
    for draw in (lambda c: found.draw(3, 2, 40, c), lambda c: found.draw_from_views(3, 2, 40, 2, c)):
        plain, other = draw(None), draw(moved)
        assert torch.equal(plain.rgba, other.rgba)
        torch.testing.assert_close(other.origins - plain.origins, torch.tensor([1.0, 0, 0]).expand(40, 3))
        other.directions.sum().backward()
    assert pose.grad is not None and pose.grad.abs().sum() > 0
