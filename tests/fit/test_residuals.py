"""A photo with a wrong pose or a changed picture is farther from a field than its neighbors."""

import math
from dataclasses import replace

import pytest
import torch

from nerfkit.cameras.delta import se3_exp
from nerfkit.fit.residuals import photo_psnr
from nerfkit.prepare.residuals import residuals, standing_out
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.samplers import OccupancyOptions
from tests.volume.test_nested import SIDE, Room, ring

COUNT, TEST, TURNED, COVERED, SHIFTED = 24, [0, 6, 12, 18], 4, 9, 6


@pytest.fixture(scope="module")
def exact() -> RadianceModel:
    seen = Scene("room", Photos.of(torch.zeros(8, SIDE, SIDE, 4, dtype=torch.uint8)), ring(), [1], [0], unbounded=True)
    return RadianceModel(Room(), OccupancyOptions(resolution=16, step_size=0.05).build(seen))


@pytest.fixture(scope="module")
def scene(exact: RadianceModel) -> Scene:
    """24 photos: one seen from elsewhere than is said, one with something before the lens, a held-out one moved."""
    cameras = ring(COUNT)
    pictures = torch.stack([exact.render_view(cameras, view).over((0.0, 0.0, 0.0)) for view in range(COUNT)])
    pictures[COVERED, 4:18, 6:20] = torch.tensor([0.0, 0.9, 0.1])
    poses = cameras.camera_to_world.clone()
    for view in (TURNED, SHIFTED):
        poses[view, :, :3] = poses[view, :, :3] @ se3_exp(torch.tensor([[0.0, 0, 0, 0.25, 0.25, 0]]))[0, :, :3]
    rgba = (torch.cat([pictures, torch.ones(COUNT, SIDE, SIDE, 1)], -1) * 255).round().to(torch.uint8)
    train = [view for view in range(COUNT) if view not in TEST]
    return Scene(
        "room", Photos.of(rgba), cameras.changed(poses), train, TEST, has_masks=False, unbounded=True
    )  # fmt: skip


def named(psnr: list[float], test: list[int] = TEST) -> list[str]:
    names = [f"{view:02d}.jpg" for view in range(COUNT)]
    return [one.name for one in standing_out(residuals(names, psnr, [view in test for view in range(COUNT)]))]


def test_the_photos_at_fault_are_named(scene: Scene, exact: RadianceModel) -> None:
    near = photo_psnr(exact, scene)
    assert sorted(named(near)) == [f"{view:02d}.jpg" for view in (TURNED, SHIFTED, COVERED)]
    assert named(photo_psnr(exact, replace(scene, cameras=ring(COUNT)))) == [f"{COVERED:02d}.jpg"]


def test_sizes_and_ignored_pixels(scene: Scene, exact: RadianceModel) -> None:
    """A photo of any size; what is to be ignored does not count; nothing left is no number."""
    big = ring(2).resized([200, 90], [150, 300])
    pictures = [exact.render_view(big, view).over((0.0, 0.0, 0.0)) for view in range(2)]
    pixels = [torch.cat([p, torch.ones(*p.shape[:2], 1)], -1).mul(255).round().to(torch.uint8) for p in pictures]
    pixels[0][:100, :60] = 0
    ignored = [torch.zeros(p.shape[:2], dtype=torch.bool) for p in pixels]
    ignored[0][:100, :60] = True
    two = replace(scene, cameras=big, train=[0, 1], test=[])
    assert min(photo_psnr(exact, replace(two, images=Photos.of(pixels, ignored)))) > 30
    ignored[0][:] = True
    assert math.isnan(photo_psnr(exact, replace(two, images=Photos.of(pixels, ignored)))[0])
