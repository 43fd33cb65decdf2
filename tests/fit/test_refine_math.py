"""The terms of the mesh stage's loss in closed form: pictures, the field's depth, the mesh's own shape."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from nerfkit.cameras import Cameras, look_at
from nerfkit.fields.field import Field
from nerfkit.fit.refine_targets import DepthTargets, Shape, Targets, field_depth
from nerfkit.raster import Fragments, Rendering
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.occupancy import OccupancyGrid
from nerfkit.volume.samplers import OccupancySampler
from tests.fit.test_refine import options

SIDE, VIEWS, SEED = 8, 4, 5
MASKED, BARE = True, False


def scene(images: Tensor | None = None, has_masks: bool = MASKED) -> Scene:
    """Four small photos, all for training; premultiplied pixels of any color and coverage where none are given."""
    positions = 3 * torch.tensor([[1.0, 0.2, 0.1], [-1.0, 0.1, 0.3], [0.2, 0.3, 1.0], [0.1, 0.2, -1.0]])
    cameras = Cameras(
        look_at(positions, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0])),
        torch.tensor([[10.0, 10.0, 4.0, 4.0]]).repeat(VIEWS, 1),
        SIDE,
        SIDE,
    )
    if images is None:
        images = (255 * premultiplied(seed=1)).round().to(torch.uint8)
    return Scene("any", Photos.of(images), cameras, list(range(VIEWS)), [], has_masks=has_masks)


def premultiplied(seed: int) -> Tensor:
    rgba = torch.rand(VIEWS, SIDE, SIDE, 4, generator=torch.Generator().manual_seed(seed))
    return torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1)


def terms(
    photos: Scene,
    views: list[int],
    rgba: Tensor,
    *,
    depth: Tensor | None = None,
    wanted: DepthTargets | None = None,
    unit: float = 1.0,
    **changes: float,
) -> dict[str, float]:
    """The terms of pictures ``rgba`` (N,8,8,4) of some views; all that these tests know of the call stands here."""
    depth = torch.zeros(rgba.shape[:3]) if depth is None else depth
    face, nowhere = torch.where(depth > 0, 0, -1).int(), torch.zeros(*rgba.shape[:3], 3)
    rendering = Rendering(rgba[..., :3], rgba[..., 3], Fragments(face, nowhere, depth, nowhere))
    targets = Targets(photos, options(**changes), SEED, wanted)
    found = targets.wanted.terms(rendering, targets.look(views), unit)
    return {name: (term.top / term.bottom.clamp(min=term.least)).item() for name, term in found.items()}


class Wall(Field):
    """Below z = 0: where x < 0 opaque a few thousandths of a unit deep, elsewhere fog that lets a tenth through."""

    def density(self, positions: Tensor) -> Tensor:
        sigma = torch.where(positions[:, 0] < 0, 400.0, -math.log(0.1))
        return sigma * ((positions[:, 2] < 0) & (positions[:, 2] > -1)).float()

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        return self.density(positions), torch.zeros(len(positions), 3)


def wall_depth(photos: Scene) -> DepthTargets:
    """What such a wall's depth is to the training views; all that these tests know of the call stands here."""
    allowed = torch.ones(8, 8, 8, dtype=torch.bool)
    grid = OccupancyGrid(allowed, 1e-3, threshold=0.01, decay=0.5, share=1, min_transmittance=1e-3)
    return field_depth(RadianceModel(Wall(), OccupancySampler(grid)), photos)


def over(rgba: Tensor, color: Tensor) -> Tensor:
    return rgba[..., :3] + (1 - rgba[..., 3:]) * color


def test_both_pictures_lie_over_the_same_random_color() -> None:
    photos, views, shown = scene(), [2, 0], premultiplied(seed=2)[:2]
    true = photos.images.stack()[views].float() / 255
    color = torch.rand(2, 1, 1, 3, generator=torch.Generator().manual_seed(SEED))
    found = terms(photos, views, shown, mask_weight=0.3)
    covered = true[..., 3].mean()
    assert set(found) == {"image", "mask"}
    assert found["image"] == pytest.approx(((over(shown, color) - over(true, color)).abs().mean() / covered).item())
    assert found["mask"] == pytest.approx((0.3 * (shown[..., 3] - true[..., 3]).abs().mean() / covered).item())


def test_darkness_does_not_pass_for_emptiness() -> None:
    """A black surface where the photo is empty is as wrong as the color behind it is bright; nothing there is right."""
    empty, black = torch.zeros(1, SIDE, SIDE, 4), torch.zeros(1, SIDE, SIDE, 4)
    black[..., 3] = 1
    images = torch.zeros(VIEWS, SIDE, SIDE, 4, dtype=torch.uint8)
    images[0, :2, :, 3] = 255  # a quarter of the first photo is black
    photos = scene(images)
    color = torch.rand(3, generator=torch.Generator().manual_seed(SEED)).mean().item()
    assert terms(photos, [0], black)["image"] == pytest.approx(0.75 * color / 0.25)
    assert terms(photos, [0], empty)["image"] == pytest.approx(0.25 * color / 0.25)
    assert terms(photos, [0], images[:1] / 255)["image"] == 0
    assert terms(photos, [1], empty) == {"image": 0, "mask": 0}, "a photo of nothing, by no division by zero"


def test_without_masks_only_what_the_mesh_covers_whole_counts() -> None:
    photos, shown = scene(has_masks=BARE), premultiplied(seed=2)[:1]
    shown[:, :4, :, 3] = 1.0
    shown[:, 4, :, 3] = 0.98
    true = photos.images.stack()[[3]].float() / 255
    found = terms(photos, [3], shown)
    expected = (shown[:, :4, :, :3] - true[:, :4, :, :3]).abs().sum() / (SIDE * SIDE * 3) / shown[..., 3].mean()
    assert set(found) == {"image"}
    assert found["image"] == pytest.approx(expected.item())


def test_where_no_vertex_moves_only_what_mesh_and_mask_cover_whole_counts() -> None:
    """Neither the backdrop, where the mesh is too large, nor a random color ends up in the texture."""
    images, shown = (255 * premultiplied(seed=1)).round().to(torch.uint8), premultiplied(seed=2)[:1]
    images[3, :, :5, 3], shown[:, 3:, :, 3] = 255, 1.0
    images[3, :, 5, 3] = 250
    true = images[[3]].float() / 255
    found = terms(scene(images), [3], shown, vertex_rate=0.0)
    expected = (shown[:, 3:, :5, :3] - true[:, 3:, :5, :3]).abs().sum() / (SIDE * SIDE * 3) / shown[..., 3].mean()
    assert found == {"image": pytest.approx(expected.item())}


def test_depth_is_that_of_the_view_s_own_pixels_but_for_its_median() -> None:
    """Errors 0.1, 0.2, 0.4 and one beyond a unit, less the median (the lower one of four), over the unit of 0.5."""
    depth = torch.zeros(2, SIDE, SIDE)
    pixel = torch.tensor([9, 18, 27, 36, 45])  # the last one is empty
    depth[1].view(-1)[pixel[:4]] = torch.tensor([2.1, 2.2, 2.4, 9.0])
    nothing = torch.zeros(0, dtype=torch.int64)
    wanted = DepthTargets({1: nothing, 2: pixel}, {1: torch.zeros(0), 2: torch.full((5,), 2.0)})
    shown = premultiplied(seed=2)[:2]
    found = terms(scene(), [1, 2], shown, depth=depth, wanted=wanted, unit=0.5, depth_weight=0.7)
    assert found["depth"] == pytest.approx(0.7 * (0.1 / 0.5 + 0 + 0.2 / 0.5 + 1) / 4, rel=1e-5)
    assert "depth" not in terms(scene(), [1, 2], shown, depth=depth, wanted=wanted, depth_weight=0.0)


def test_depth_is_asked_for_where_mask_and_field_are_opaque_and_lies_along_the_axis() -> None:
    """The wall is 3 away from every pixel of a camera that faces it, up to 0.1 more along the ray."""
    pose = look_at(torch.tensor([[0.0, 0, 3]] * 2), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    cameras = Cameras(pose, torch.tensor([[20.0, 20.0, 4.0, 4.0]] * 2), SIDE, SIDE)
    images = torch.full((2, SIDE, SIDE, 4), 255, dtype=torch.uint8)
    images[0, 3:, :, 3] = 254
    images[1, ..., 3] = 254
    found = wall_depth(Scene("wall", Photos.of(images), cameras, [0, 1], []))
    left = [row * SIDE + column for row in range(3) for column in range(4)]
    assert found.pixel[0].tolist() == left and found.pixel[1].tolist() == []
    assert found.depth[0].tolist() == pytest.approx([3.0] * len(left), abs=5e-3) and len(found.depth[1]) == 0


def test_shape_terms_by_hand() -> None:
    """Two triangles over an edge: each end moved to stretch, to fold or to bend the mesh by a known amount."""
    vertices = torch.tensor([[0.0, 0, 0], [0.0, 1, 0], [1.0, 0.5, 0], [-1.0, 0.5, 0]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3]])
    shape, side = Shape(vertices, faces), 1.25**0.5
    weights: Any = SimpleNamespace(laplacian_weight=2.0, normal_weight=3.0, edge_weight=5.0)
    assert shape.edge == pytest.approx((1 + 4 * side) / 5)
    flat = shape.terms(vertices, weights)
    assert flat["edge"].item() == pytest.approx(0, abs=1e-9) and flat["normal"].item() == pytest.approx(0, abs=1e-6)
    # mean of the neighbors less the vertex, over the mean edge there: vertices 0 and 1 have three, 2 and 3 have two
    inner, outer = (1 / 3 + 1 / 3) / ((1 + 2 * side) / 3), 1 / side
    assert flat["laplacian"].item() == pytest.approx(2 * (2 * inner**2 + 2 * outer**2) / 4, rel=1e-5)
    assert shape.terms(1.5 * vertices, weights)["edge"].item() == pytest.approx(5 * 0.25, rel=1e-5)
    folded = vertices.clone()
    folded[3] = torch.tensor([0.0, 0.5, 1.0])  # a right angle
    assert shape.terms(folded, weights)["normal"].item() == pytest.approx(3.0, rel=1e-5)
