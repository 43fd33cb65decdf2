"""Grids in grids and the contraction of space: samples in order, units, what no camera sees, and that it learns."""

from dataclasses import replace

import pytest
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.fields.contracted import ContractedField, contract
from nerfkit.fields.field import Field
from nerfkit.fields.harmonic import HarmonicOptions
from nerfkit.fit.build import build_model
from nerfkit.fit.evaluate import evaluate_field
from nerfkit.fit.field import FieldFit
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.kernels import use
from nerfkit.kernels.march import Samples, positions
from nerfkit.kernels.philox import Draw
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.nested import NestedSampler, merged, shell
from nerfkit.volume.samplers import OccupancyOptions

SIDE = 24


def ring(count: int = 8, distance: float = 3.0) -> Cameras:
    turn = torch.arange(count) * 2 * torch.pi / count
    height = 0.8 * torch.sin(3 * turn)
    position = distance * torch.nn.functional.normalize(torch.stack([turn.cos(), height, turn.sin()], -1), dim=-1)
    poses = look_at(position, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    return Cameras(poses, torch.tensor([[20.0, 20.0, SIDE / 2, SIDE / 2]]).repeat(count, 1), SIDE, SIDE)


class Room(Field):
    """A red ball of radius 0.5 in a room with walls at 6, whose color is that of the place."""

    def density(self, positions: torch.Tensor) -> torch.Tensor:
        ball, wall = positions.norm(dim=-1) < 0.5, positions.abs().amax(-1) > 6
        return 40.0 * (ball | wall)

    def forward(
        self, positions: torch.Tensor, offsets: torch.Tensor, directions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ball = positions.norm(dim=-1, keepdim=True) < 0.5
        return self.density(positions), torch.where(ball, positions.new_tensor([1.0, 0, 0]), 0.5 + positions / 20)


def unbounded(images: torch.Tensor | None = None) -> Scene:
    cameras = ring()
    photos = torch.zeros(len(cameras), SIDE, SIDE, 4, dtype=torch.uint8) if images is None else images
    return Scene("room", Photos.of(photos), cameras, [1, 2, 3, 5, 6, 7], [0, 4], has_masks=False, unbounded=True)


def test_contraction() -> None:
    points = torch.tensor([[0.5, -1.0, 0.2], [2.0, 1.0, 0.0], [0.0, -1e6, 0.0]]).double()
    expected = torch.tensor([[0.5, -1.0, 0.2], [1.5, 0.75, 0.0], [0.0, -2.0, 0.0]]).double()
    torch.testing.assert_close(contract(points), expected, atol=2e-6, rtol=0)
    random = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double() * 3
    assert torch.autograd.gradcheck(contract, random.requires_grad_())


def test_samples_of_several_marches_are_in_order() -> None:
    def packed(counts: list[int], starts: list[float]) -> Samples:
        offsets = torch.tensor([0, *counts]).cumsum(0)
        ray, start = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)), torch.tensor(starts)
        return Samples(ray, start, start + 0.5, offsets)

    found = merged([packed([2, 0, 1], [1.0, 3.0, 7.0]), packed([1, 2, 1], [2.0, 900.0, 950.0, 0.5])])
    assert found.ray_index.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert found.t_start.tolist() == [1.0, 2.0, 3.0, 900.0, 950.0, 0.5, 7.0]
    assert torch.equal(found.t_end, found.t_start + 0.5)
    assert found.offsets.tolist() == [0, 3, 5, 7]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_ray_is_covered_once_from_the_camera_to_the_last_grid(backend: str) -> None:
    """Before anything is pruned: every place in the boxes that a camera sees has one sample."""
    sampler = OccupancyOptions(resolution=32, step_size=0.05).build(unbounded())
    assert isinstance(sampler, NestedSampler)
    origins, directions = (rays[256:320].contiguous() for rays in ring().image_rays(1))  # across the middle
    with use(backend):
        samples = sampler.sample(origins, directions, Draw(1, 2))
    length = samples.t_end - samples.t_start
    total = torch.zeros(64).index_add(0, samples.ray_index, length)
    reach = positions(samples, origins, directions).abs().amax(-1)
    assert (total > 12).all()  # to the wall of the third grid, at 16
    assert (total < 2 * 16 * 3**0.5).all()
    assert reach.max() <= 16
    same = samples.ray_index[1:] == samples.ray_index[:-1]
    overlap = (samples.t_end[:-1] - samples.t_start[1:])[same].clamp(min=0)
    assert overlap.sum() < 0.05 * total.sum()
    with pytest.raises(ValueError, match="nested grids have none"):
        sampler.sample(origins, directions, None, 100)
    for k, level in enumerate((0.05, 0.4, 1.6)):
        inside = (reach > 4.0 ** (k - 1)) & (reach < 4.0**k) if k else reach < 1
        assert length[inside].median() == pytest.approx(level, rel=1e-3)


@pytest.mark.parametrize("resolution", [32, 50, 44, 100])
def test_no_gap_and_no_overlap_between_grids(resolution: int) -> None:
    """The cells that the smaller grid covers are whole cells of the larger, up to its very wall."""
    sampler = OccupancyOptions(resolution=resolution).build(unbounded())
    assert isinstance(sampler, NestedSampler)
    for level in sampler.levels[1:]:
        assert level.grid.resolution % 4 == 0


def test_a_picture_of_a_room() -> None:
    """The ball hides the wall; where it does not, the wall of the second grid is seen."""
    model = RadianceModel(Room(), OccupancyOptions(resolution=32, step_size=0.02).build(unbounded()))
    camera = ring()
    image = model.render_view(camera, 1)
    origins, directions = camera.image_rays(1)
    half_b = (origins * directions).sum(-1)
    root = half_b**2 - origins.square().sum(-1) + 0.25
    hit = (root > 0.02).view(SIDE, SIDE)
    assert hit.any()
    assert (image.alpha > 0.98).all()
    torch.testing.assert_close(image.rgb[hit], torch.tensor([1.0, 0, 0]).expand(int(hit.sum()), 3), atol=0.05, rtol=0)
    far = (6 - origins * directions.sign()) / directions.abs().clamp(min=1e-9)  # (R, 3), to the walls ahead
    wall = origins + directions * far.amin(-1, keepdim=True)
    missed = (root < -0.05).view(SIDE, SIDE)
    torch.testing.assert_close(image.rgb[missed], (0.5 + wall / 20).view(SIDE, SIDE, 3)[missed], atol=0.06, rtol=0)


def test_cells_that_no_camera_sees_or_that_are_covered_are_left_out() -> None:
    grid = shell(ring(), 16, 4.0)
    assert not grid[6:10, 6:10, 6:10].any()  # the middle quarter of each side is the smaller grid's
    alone = Cameras(ring().camera_to_world[:1], ring().intrinsics[:1], SIDE, SIDE)  # at (3, 0, 0), looking along -x
    seen = shell(alone, 16, 16.0)
    assert not seen[12:].any()
    assert seen[1, 8, 8]


@pytest.mark.slow
def test_a_room_is_learned_and_its_grids_follow() -> None:
    """Better than by a field of the region alone, as many samples a step."""
    true = RadianceModel(Room(), OccupancyOptions(resolution=32, step_size=0.02).build(unbounded()))
    pictures = [true.render_view(ring(), view).over((0.0, 0.0, 0.0)) for view in range(8)]
    rgba = torch.cat([torch.stack(pictures), torch.ones(8, SIDE, SIDE, 1)], -1)
    scene = unbounded((rgba * 255).round().to(torch.uint8))
    sampler = OccupancyOptions(resolution=32, step_size=0.06, warmup=64, update_every=4, threshold=0.1)
    found = {}
    for wide in (True, False):
        model = build_model(replace(scene, unbounded=wide), HarmonicOptions(width=16, depth=2, octaves=4), sampler)
        assert isinstance(model.field, ContractedField) == wide
        fit = FieldFit(model, scene, TrainerOptions(max_steps=250, samples=4096, warmup=10))
        found[wide] = evaluate_field(fit.train(), scene)["psnr"]
        assert isinstance(model.sampler, NestedSampler) == wide
        if isinstance(model.sampler, NestedSampler):
            assert model.sampler.region.grid.fraction < 0.9
    assert found[True] > found[False] + 1
