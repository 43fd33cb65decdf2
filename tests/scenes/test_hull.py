"""The visual hull keeps everything that the object needs, and little else."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.cameras.delta import se3_exp
from nerfkit.errors import SceneError
from nerfkit.scenes import assemble, open_scene
from nerfkit.scenes.hull import carve, coverage
from nerfkit.scenes.normalize import camera_box, fit_box, focus_point, hull_box, move
from nerfkit.volume.samplers import OccupancyOptions
from tests.scenes.builders import Sphere, ring, write_blender

UNIT = Sphere((0.1, -0.05, 0.2), 0.5)


def orbit(count: int, size: tuple[int, int] = (48, 64)) -> Cameras:
    """Cameras around the origin; the frame reaches to about +-1."""
    return ring(count, size, Sphere((0.0, 0.0, 0.0)), distance=5.0)


def silhouettes(cameras: Cameras, sphere: Sphere, samples: int = 1) -> torch.Tensor:
    """(N,H,W) bool: any of ``samples``^2 rays a pixel hits; one sample is the pixel's center."""
    return torch.stack([torch.from_numpy(sphere.render(cameras, v, samples)[..., 3] > 0) for v in range(len(cameras))])


def cell_distances(resolution: int, center: tuple[float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Least and greatest distance of each cell's points from a point, (G,G,G) each."""
    middle = (2 * torch.arange(resolution) + 1) / resolution - 1
    offset = torch.stack(torch.meshgrid(middle, middle, middle, indexing="ij"), -1) - torch.tensor(center)
    half = 1 / resolution
    return (offset.abs() - half).clamp_min(0).norm(dim=-1), (offset.abs() + half).norm(dim=-1)


@pytest.mark.parametrize(("resolution", "samples", "margin"), [(32, 1, 1.0), (33, 4, 0.25), (7, 4, 0.25)])
def test_no_cell_of_a_sphere_is_lost_and_few_are_too_many(resolution: int, samples: int, margin: float) -> None:
    cameras = orbit(16)
    keep = carve(cameras, silhouettes(cameras, UNIT, samples), resolution, margin_pixels=margin)
    nearest, _ = cell_distances(resolution, UNIT.center)
    assert keep.shape == (resolution,) * 3
    assert keep.dtype == torch.bool
    assert keep[nearest < UNIT.radius].all()
    # A pixel here is 0.045 wide at the center; the hull of 16 views exceeds the sphere by a few per cent of its radius.
    assert not keep[nearest > UNIT.radius + 0.15 + 0.045 * margin].any()


def test_of_many_views_an_even_choice_carves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it leaves holds what all of them leave; of the views that must see a cell, its share is asked for."""
    cameras = orbit(9)
    masks = silhouettes(cameras, UNIT)
    closed = torch.arange(9) % 2 == 0
    whole = carve(cameras, masks, 16, closed=closed)
    chosen = [0, 3, 5, 8]
    some = carve(cameras[chosen], [masks[k] for k in chosen], 16, closed=closed[chosen], min_seen=2)
    monkeypatch.setattr("nerfkit.scenes.hull.MOST_VIEWS", 4)
    assert torch.equal(carve(cameras, masks, 16, closed=closed, min_seen=4), some)
    larger = carve(cameras, masks, 16, closed=closed)
    assert 0 < whole.sum() < larger.sum() < 16**3 and larger[whole].all()


def test_cells_that_reach_behind_a_camera_are_not_carved_by_it() -> None:
    pose = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.4]]])  # it looks along -z
    cameras = Cameras(pose, torch.tensor([[4.0, 4.0, 32.0, 32.0]]), 64, 64)
    keep = carve(cameras, torch.zeros(1, 64, 64, dtype=torch.bool), 4)
    assert keep[:, :, 3].all(), "their centers lie behind"
    assert keep[:, :, 2].all(), "their centers lie 0.15 before the camera, and they reach 0.25 to either side"
    assert not keep[:, :, :2].any()


def test_thin_box_survives() -> None:
    # A plate thinner than a cell, and a needle; the masks mark every pixel that a dense sampling of them touches.
    cameras = orbit(20)
    line = torch.linspace(-0.7, 0.7, 1500)
    needle = torch.stack([line, 0.3 * line + 0.11, -0.2 * line], -1)
    x, z = torch.meshgrid(torch.linspace(-0.5, 0.5, 300), torch.linspace(-0.3, 0.3, 200), indexing="ij")
    plate = torch.stack([x, torch.full_like(x, -0.4), z], -1).reshape(-1, 3)
    points = torch.cat([needle, plate])
    pixels, _ = cameras.project(points)
    masks = torch.zeros(20, 48, 64, dtype=torch.bool)
    for view in range(20):
        masks[view, pixels[view, :, 1].long(), pixels[view, :, 0].long()] = True
    for resolution in (16, 40):
        keep = carve(cameras, masks, resolution, margin_pixels=0.0)
        cells = ((points + 1) / 2 * resolution).long()
        assert keep[cells[:, 0], cells[:, 1], cells[:, 2]].all()
        assert keep.float().mean() < 0.12


def test_cell_rectangle_is_the_exact_bound_of_its_corners() -> None:
    # One cell, one camera, one mask pixel at a time: kept wherever the bounding box of the projected corners is.
    camera = orbit(7, (24, 32))[[3]]
    lower, upper = np.array([0.1, -0.2, 0.3]), np.array([0.4, 0.3, 0.5])
    corners = torch.cartesian_prod(*[torch.tensor([a, b]) for a, b in zip(lower, upper, strict=True)]).float()
    pixels, _ = camera.project(corners)
    low, high = pixels[0].amin(0), pixels[0].amax(0)
    for row in range(24):
        for column in range(32):
            mask = torch.zeros(1, 24, 32, dtype=torch.uint8)
            mask[0, row, column] = 1
            inside = low[0] < column + 1 and high[0] > column and low[1] < row + 1 and high[1] > row
            kept = bool(carve(camera, mask, 1, lower=lower, upper=upper, margin_pixels=0.0))
            # The bound takes each camera axis at the cell's nearest depth: a little larger than the corners' box.
            near = low[0] < column + 2 and high[0] > column - 1 and low[1] < row + 2 and high[1] > row - 1
            assert kept >= bool(inside)
            assert kept <= bool(near)


def test_cells_out_of_frame_or_behind_are_not_carved() -> None:
    pose = look_at(torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([0.0, 0.0, -1.0]), torch.tensor([0.0, 1.0, 0.0]))
    camera = Cameras(pose, torch.tensor([[32.0, 32.0, 16.0, 16.0]]), 32, 32)  # 90 degrees: sees |x|, |y| < half of |z|
    keep = carve(camera, torch.zeros(1, 32, 32), 8, margin_pixels=0.0)
    assert keep[:, :, 4:].all()  # behind: z > 0
    assert not keep[3:5, 3:5, 0].any()  # in front, in the frame
    assert keep[0, :, 0].all()  # x = -0.9 at z = -0.9 is out of the frame
    assert not carve(camera, torch.ones(1, 32, 32), 8, min_seen=1, margin_pixels=0.0)[:, :, 4:].any()
    closed = carve(camera, torch.ones(1, 32, 32), 8, closed=torch.tensor([True]), margin_pixels=0.0)
    assert not closed[0, :, 0].any()
    assert closed[2:6, 2:6, :3].all()


def test_large_masks_are_pooled_without_losing_cells() -> None:
    cameras = orbit(6, (500, 1100))  # pooled by 3, which divides neither side
    masks = silhouettes(cameras, UNIT)
    assert carve(cameras, masks, 24)[cell_distances(24, UNIT.center)[0] < UNIT.radius].all()


def test_grid_is_indexed_x_y_z_over_its_box() -> None:
    cameras = orbit(24)
    sphere = Sphere((0.5, -0.5, 0.0), 0.2)
    keep = carve(cameras, silhouettes(cameras, sphere), 16, lower=(-1, -2, -1), upper=(2, 1, 1), min_seen=12)
    x, y, z = keep.nonzero().float().mean(0).add(0.5).tolist()
    assert x == pytest.approx(8, abs=0.7)
    assert y == pytest.approx(8, abs=0.7)
    assert z == pytest.approx(8, abs=0.7)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="masks are"):
        carve(orbit(3), torch.zeros(3, 64, 48), 4)


def test_focus_point_of_axes_that_meet_and_that_do_not() -> None:
    target = torch.tensor([3.0, -2.0, 5.0])
    assert focus_point(ring(5)) == pytest.approx(target.numpy(), abs=1e-3)
    parallel = look_at(
        torch.tensor([[0.0, 0, 4], [1.0, 0, 4]]), torch.tensor([[0.0, 0, 0], [1.0, 0, 0]]), torch.tensor([0.0, 1, 0])
    )
    cameras = Cameras(parallel, torch.tensor([[9.0, 9, 4, 4]] * 2), 8, 8)
    assert focus_point(cameras) == pytest.approx([0.5, 0, 4], abs=1e-6)


def test_hull_box_holds_the_sphere_tightly_wherever_it_is() -> None:
    sphere = Sphere((30.0, -20.0, 50.0), 10.0)
    cameras = ring(30, (60, 80), sphere)
    (lower, upper), slack = hull_box(cameras, silhouettes(cameras, sphere, 4), "here")
    assert slack == 1
    center = np.array(sphere.center)
    assert (lower <= center - 10).all()
    assert (upper >= center + 10).all()
    assert (lower > center - 11.5).all()  # a pixel is 0.36 wide there
    assert (upper < center + 11.5).all()


def test_masks_of_cameras_that_are_off_are_grown_until_the_hull_covers_them() -> None:
    """Cameras turned by a degree and a half, 2 pixels here, carve a part of what their masks show."""
    sphere = Sphere((0.0, 0.1, 0.0), 0.7)
    right = orbit(30)
    masks = silhouettes(right, sphere, 4)
    turn = torch.nn.functional.normalize(torch.randn(30, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    motion = se3_exp(torch.cat([torch.zeros(30, 3), math.radians(1.5) * turn], 1))
    pose = right.camera_to_world
    off = right.changed(torch.cat([pose[..., :3] @ motion[..., :3], pose[..., 3:]], -1))
    carved = [carve(cameras, masks, 32) for cameras in (right, off)]
    share = [
        coverage(cameras, masks, cells, (-1, -1, -1), (1, 1, 1))
        for cameras, cells in zip((right, off), carved, strict=True)
    ]
    assert share[0] == 1 and share[1] < 0.97
    (lower, upper), slack = hull_box(off, masks, "here")
    assert 1 < slack <= 4
    stray = masks | (torch.rand(masks.shape, generator=torch.Generator().manual_seed(2)) < 0.01)
    assert hull_box(right, stray, "here")[1] == 1, "stray pixels of masks are no cameras that are off"
    assert (lower < np.array(sphere.center) - 0.65).all() and (upper > np.array(sphere.center) + 0.65).all()


def test_what_is_grown_is_said_and_reaches_the_sampler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The region's note, the scene's slack, and more cells that may be occupied."""
    write_blender(tmp_path, ring(12), ring(3))
    scene = open_scene("blender", tmp_path)
    assert scene.mask_slack == 1 and not any("cameras may be off" in note for note in scene.notes)
    tight = OccupancyOptions(resolution=24).build(scene).occupied
    monkeypatch.setattr(assemble, "hull_box", lambda *a: (hull_box(*a)[0], 4))
    grown = open_scene("blender", tmp_path)
    assert grown.mask_slack == 4 and any("grown by 4 pixels: the cameras may be off" in note for note in grown.notes)
    loose = OccupancyOptions(resolution=24).build(grown).occupied
    assert (loose | ~tight).all() and loose.sum() > 1.1 * tight.sum()


def test_hull_box_without_hull() -> None:
    cameras = orbit(6)
    masks = silhouettes(cameras, Sphere((0.0, 0.5, 0.0), 0.2))
    hull_box(cameras, masks, "here")
    masks[:3] = masks[:3].flip(1)  # half of the views upside down
    with pytest.raises(SceneError, match="here: no point in space lies inside all masks"):
        hull_box(cameras, masks, "here")


def test_fit_box_centers_and_scales_the_longest_side() -> None:
    box = np.array([1.0, 2.0, 3.0]), np.array([5.0, 4.0, 4.0])
    similarity = fit_box(box)
    corners = similarity.apply(torch.tensor(np.stack(box)))
    expected = torch.tensor([[-0.95, -0.475, -0.2375], [0.95, 0.475, 0.2375]], dtype=torch.float64)
    torch.testing.assert_close(corners, expected)
    cameras = ring(4)
    moved = move(cameras, similarity)
    points = torch.rand(10, 3) * 5
    torch.testing.assert_close(
        moved.project(similarity.apply(points))[0], cameras.project(points)[0], atol=1e-3, rtol=0
    )


def test_camera_box_is_half_the_mean_distance() -> None:
    lower, upper = camera_box(ring(9))
    assert (upper - lower) == pytest.approx(np.full(3, 60.0), rel=1e-5)
    assert (upper + lower) / 2 == pytest.approx(np.array([3.0, -2.0, 5.0]), abs=1e-3)
    assert math.isfinite(fit_box((lower, upper)).scale)
