"""The thing in the middle of unmasked photos: the table is cut off, the right part kept, and its masks are its own."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from nerfkit.fields.contracted import ContractedField
from nerfkit.fields.field import Field
from nerfkit.fit.extract import ExtractOptions, coarse_mesh, walls
from nerfkit.fit.subject import BAND, above, alone, cells_around, footprint, light_around, masked, middle_part
from nerfkit.mesh.mesh import Mesh
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.samplers import OccupancyOptions
from tests.fit.test_refine import ball
from tests.volume.test_nested import SIDE, ring

UP = torch.nn.functional.normalize(torch.tensor([0.1, 1.0, -0.2]), dim=0)
PLANE = (*UP.tolist(), -0.5)  # the table's top


class Still(Field):
    """A ball of radius 0.4 on a table that bulges, and a wall behind: an exact field."""

    def density(self, positions: torch.Tensor) -> torch.Tensor:
        height = positions @ UP - PLANE[3]
        on = positions - (PLANE[3] + 0.35) * UP
        bulge = 0.06 * torch.sin(5 * positions[:, 0]).abs()
        thing, table = on.norm(dim=-1) < 0.4, height < bulge
        wall = (positions[:, 2] < -0.85) & (positions[:, 0].abs() < 0.9)
        return 200.0 * (thing | table | wall)

    def forward(
        self, positions: torch.Tensor, offsets: torch.Tensor, directions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.density(positions), torch.full_like(positions, 0.5)


CENTER = (PLANE[3] + 0.35) * UP


@pytest.fixture(scope="module")
def scene() -> Scene:
    cameras = ring()
    photos = Photos.of(torch.full((len(cameras), SIDE, SIDE, 4), 200, dtype=torch.uint8))
    everything = {"has_masks": False, "unbounded": True, "ground": PLANE, "up": tuple(UP.tolist())}
    return Scene("still", photos, cameras, [1, 2, 3, 5, 6, 7], [0, 4], **everything)


@pytest.fixture(scope="module")
def model(scene: Scene) -> RadianceModel:
    return RadianceModel(ContractedField(Still()), OccupancyOptions(resolution=64, step_size=0.02).build(scene))


def test_the_mesh_is_the_thing_alone(scene: Scene, model: RadianceModel) -> None:
    mesh = coarse_mesh(model, scene, ExtractOptions(resolution=96))
    off = (mesh.vertices - CENTER).norm(dim=-1)
    assert ((mesh.vertices @ UP) > PLANE[3]).all()
    assert off.max() < 0.4 + 0.25  # the bulging table below the ball stays, no more
    assert (off < 0.45).float().mean() > 0.7
    kept = coarse_mesh(model, scene, ExtractOptions(resolution=96, plane="keep"))
    assert ((kept.vertices - CENTER).norm(dim=-1) > 1).any()


def test_density_counts_above_the_plane_and_close_to_it_below_what_stands_out() -> None:
    thing = ball((0.3, 0.3, 0.3))
    thing = replace(thing, vertices=thing.vertices + CENTER)
    cut = above(lambda points: torch.ones(len(points)), PLANE, footprint(thing, PLANE))
    side = torch.linalg.cross(UP, torch.tensor([1.0, 0, 0]))
    side = side / side.norm()
    foot = PLANE[3] * UP
    places = [-0.1, 0.5 * BAND, 2 * BAND]
    inside = torch.stack([foot + h * UP for h in places])
    beside = torch.stack([foot + h * UP + 0.6 * side for h in places])
    assert cut(inside).tolist() == [0, 1, 1]
    assert cut(beside).tolist() == [0, 0, 1]


def test_the_table_under_an_overhang_is_not_what_stands_on_it() -> None:
    thing = ball((0.6, 0.6, 0.6))
    thing = replace(thing, vertices=thing.vertices + (PLANE[3] + 0.7) * UP)  # touches the table at a point, nearly
    cut = above(lambda points: torch.ones(len(points)), PLANE, footprint(thing, PLANE))
    foot = (PLANE[3] + 0.5 * BAND) * UP
    side = torch.nn.functional.normalize(torch.linalg.cross(UP, torch.tensor([1.0, 0, 0])), dim=0)
    assert cut(torch.stack([foot, foot + 0.2 * side, foot + 0.5 * side])).tolist() == [1, 1, 0]


def test_the_footprint_of_a_coarse_mesh_that_stands_on_a_point_is_that_of_all() -> None:
    thing = ball((0.6, 0.6, 0.6), 0)
    height = thing.vertices @ UP
    assert (height < height.min() + BAND).sum() < 3
    assert footprint(thing, PLANE).volume > 0.5  # of a disk of radius 0.6, 1.1


def test_the_part_in_the_middle() -> None:
    small, large = ball((0.2, 0.2, 0.2)), ball((0.6, 0.6, 0.6))
    vertices = torch.cat([small.vertices, large.vertices * 0.5 + torch.tensor([0.9, 0, 0])])
    both = Mesh(vertices, torch.cat([small.faces, large.faces + len(small.vertices)]))
    assert middle_part(both).vertices.abs().max() < 0.25


def test_cells_hold_the_thing_and_little_else() -> None:
    thing = ball((0.5, 0.5, 0.5))
    cells = cells_around(thing, 32)
    line = (torch.arange(32) + 0.5) / 16 - 1
    radius = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).norm(dim=-1)
    assert cells[radius < 0.5].all()
    assert not cells[radius > 0.5 + 5 / 16].any()
    halved = cells_around(thing, 32, [(0.0, -1.0, 0.0, -0.1)])
    assert torch.equal(halved, cells & (line > 0.1)[None, :, None])


def test_masks_are_the_thing_s_outline(scene: Scene, model: RadianceModel) -> None:
    mesh = coarse_mesh(model, scene, ExtractOptions(resolution=96))
    field = alone(model, mesh, walls(scene, ExtractOptions(resolution=96)))
    found = masked(scene, lambda view: field.render_view(scene.cameras, view).alpha)
    assert found.has_masks
    assert not found.unbounded
    for view, size in enumerate(found.images.sizes):
        origins, directions = found.cameras.image_rays(view)
        offset = origins - CENTER
        across = (offset - (offset * directions).sum(-1, keepdim=True) * directions).norm(dim=-1).view(size)
        mask, known = found.mask(view), found.images.known(view)
        assert (mask[(across < 0.3) & known] > 0.8).float().mean() > 0.95
        assert (mask[(across > 0.75) & known] == 0).all()
    assert torch.equal(found.images[0][..., :3].max(), torch.tensor(200, dtype=torch.uint8))


class Bright(Still):
    """The ball is dark and soft, all else is white."""

    def density(self, positions: torch.Tensor) -> torch.Tensor:
        soft = 12.0 * ((positions - CENTER).norm(dim=-1) < 0.4)
        return soft + 200.0 * (positions[:, 2].abs() > 1.6)

    def forward(
        self, positions: torch.Tensor, offsets: torch.Tensor, directions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        thing = (positions - CENTER).norm(dim=-1, keepdim=True) < 0.4
        return self.density(positions), torch.where(thing, 0.1, 1.0).expand_as(positions)


def test_what_shines_through_an_outline_is_taken_out(scene: Scene) -> None:
    """Photos as a field paints them: what is left of each pixel is what the thing alone is painted as."""
    whole = RadianceModel(ContractedField(Bright()), OccupancyOptions(resolution=64, step_size=0.02).build(scene))
    thing = alone(whole, replace(ball((0.4, 0.4, 0.4)), vertices=ball((0.4, 0.4, 0.4)).vertices + CENTER))
    views = [whole.render_view(scene.cameras, view) for view in range(len(scene.images))]
    photos = [torch.cat([found.rgb, torch.ones_like(found.rgb[..., :1])], -1) for found in views]
    there = replace(scene, images=Photos.of((255 * torch.stack(photos)).round().to(torch.uint8)))
    drawn = [thing.render_view(scene.cameras, view) for view in range(len(views))]
    found = masked(there, lambda view: drawn[view].alpha, around=partial(light_around, whole, thing, there))
    plain = masked(there, lambda view: drawn[view].alpha)
    errors = []
    for view, own in enumerate(drawn):
        mixed = (own.alpha >= 0.8) & (own.alpha < 0.97)
        errors += [
            ((pictures.images[view][..., :3] / 255)[mixed] - own.rgb[mixed]).abs() for pictures in (found, plain)
        ]
    taken_out, left_in = torch.cat(errors[::2]), torch.cat(errors[1::2])
    assert taken_out.numel() > 60
    assert taken_out.max() < 1.5 / 255
    assert left_in.mean() > 5 / 255
