"""Photos of different sizes, some pixels to be ignored: the hull, rays, both fits, pictures, the record."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfkit.cameras import Cameras
from nerfkit.config import VideoOptions
from nerfkit.fields.harmonic import HarmonicOptions
from nerfkit.fit.evaluate import compare, evaluate_field
from nerfkit.fit.field import FieldFit
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.fit.pixels import TrainingPixels
from nerfkit.fit.refine import refine_mesh
from nerfkit.fit.refine_options import RefineOptions
from nerfkit.kernels import use
from nerfkit.mesh.bake import texel_map
from nerfkit.recipes.common import photos
from nerfkit.scenes.epochs import training_views
from nerfkit.scenes.hull import carve
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.record import record, recorded
from nerfkit.scenes.scene import Scene
from nerfkit.view.route import camera_path
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.samplers import OccupancyOptions
from tests.fit.test_refine import ball
from tests.scenes.builders import Sphere, quantize, ring

SPHERE = Sphere((0.0, 0.0, 0.0), 0.7)
SIZES = ((24, 32), (32, 24), (20, 20), (24, 32), (32, 24), (24, 32))


def rig() -> Cameras:
    plain = ring(len(SIZES), sphere=SPHERE, distance=3.5)
    focal = torch.full((len(SIZES), 2), 40.0)
    centers = torch.tensor([(width / 2 + 1, height / 2 - 1) for height, width in SIZES])
    lenses = torch.cat([focal, centers], 1)
    return Cameras(plain.camera_to_world, lenses, [h for h, _ in SIZES], [w for _, w in SIZES])


def photo(cameras: Cameras, view: int) -> torch.Tensor:
    rgba = SPHERE.render(cameras[view], 0)
    return torch.from_numpy(quantize(np.concatenate([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1)))


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A shaded sphere; the last photo's upper half is painted over and ignored."""
    cameras = rig()
    pictures = [photo(cameras, view) for view in range(len(cameras))]
    ignored = [torch.zeros(size, dtype=torch.bool) for size in SIZES]
    ignored[-1][:12] = True
    pictures[-1][ignored[-1]] = torch.tensor([255, 0, 255, 255], dtype=torch.uint8)
    return Scene("sizes", Photos.of(pictures, ignored), cameras, [0, 1, 3, 4, 5], [2])


def test_photos_keep_their_own_sizes(scene: Scene) -> None:
    images = scene.images
    assert [tuple(image.shape[:2]) for image in images] == list(SIZES)
    assert torch.equal(images[4], photo(rig(), 4))
    assert not images.known(5)[:12].any()
    assert images.known(5)[12:].all()
    assert images.stack([0, 3]).shape == (2, 24, 32, 4)
    with pytest.raises(RuntimeError):
        images.stack([0, 1])


def test_cameras_of_several_sizes() -> None:
    cameras = rig()
    with pytest.raises(ValueError, match="3 sizes"):
        _ = cameras.height
    assert cameras[[1, 4]].size == (32, 24)
    assert cameras[torch.tensor([2])].size == (20, 20)
    assert cameras.most_alike().size == (24, 32)
    assert len(cameras.most_alike()) == 3
    double = cameras.resized([2 * h for h, _ in SIZES], [2 * w for _, w in SIZES])
    torch.testing.assert_close(double.intrinsics, 2 * cameras.intrinsics)
    torch.testing.assert_close(double.project(torch.ones(1, 3))[0], 2 * cameras.project(torch.ones(1, 3))[0])
    with pytest.raises(ValueError, match=r"a number or 6, got 1 and 6"):
        Cameras(cameras.camera_to_world, cameras.intrinsics, [2], [2] * 6)


def test_the_hull_is_that_of_each_photo_s_own_frame(scene: Scene) -> None:
    masks = [image[..., 3] for image in scene.images][:5]
    keep = carve(scene.cameras[:5], masks, 24, closed=torch.ones(5, dtype=torch.bool))
    line = (torch.arange(24) + 0.5) / 12 - 1
    radius = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).norm(dim=-1)
    assert keep[radius < 0.7].all()
    assert keep[radius > 1.1].float().mean() < 0.2
    with pytest.raises(ValueError, match="masks are 5 of"):
        carve(scene.cameras, masks, 4)


@pytest.mark.parametrize("from_views", [None, 3])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_training_rays_see_what_their_pixels_show(scene: Scene, backend: str, from_views: int | None) -> None:
    everywhere = OccupancyOptions(resolution=8, hull=False).build(scene)
    with use(backend):
        pixels = TrainingPixels(scene, everywhere, torch.device("cpu"))
        rays = pixels.draw(1, 2, 3000) if from_views is None else pixels.draw_from_views(1, 2, 3000, from_views)
    half_b = (rays.origins * rays.directions).sum(-1)
    root = half_b**2 - rays.origins.square().sum(-1) + SPHERE.radius**2
    hit = rays.origins - (half_b + root.clamp(min=0).sqrt())[:, None] * rays.directions
    inside = (rays.rgba[:, 3] == 1) & (root > 0)
    assert inside.sum() > 300
    torch.testing.assert_close(rays.rgba[inside, :3], (0.5 + 0.4 * hit / SPHERE.radius)[inside], atol=0.03, rtol=0)
    assert not (rays.rgba[root < -0.1][:, 3] > 0).any()  # the magenta of the ignored half is never drawn


def test_a_step_sees_photos_of_one_size(scene: Scene) -> None:
    queue = training_views(scene, 0)
    drawn = [queue.next(2) for _ in range(12)]
    assert all(len({SIZES[view] for view in views}) == 1 for views in drawn)
    assert all(drawn)
    assert {view for views in drawn for view in views} == set(scene.train)


@pytest.mark.slow
def test_a_field_learns_from_all_of_them(scene: Scene, tmp_path: Path) -> None:
    field = HarmonicOptions(width=16, depth=2, octaves=3).build()
    sampler = OccupancyOptions(resolution=16, step_size=0.06, hull=False).build(scene)
    trainer = TrainerOptions(max_steps=250, samples=2048, warmup=10)
    fit = FieldFit(RadianceModel(field, sampler), scene, trainer)
    before = evaluate_field(fit.average, scene)["psnr"]
    average = fit.train()
    assert evaluate_field(average, scene, tmp_path)["psnr"] > before + 6
    assert average.render_view(scene.cameras, 1).rgb.shape == (32, 24, 3)


@pytest.mark.slow
def test_a_mesh_is_refined_by_all_of_them(scene: Scene) -> None:
    """And takes no color from what is ignored."""
    options = RefineOptions(steps=60, texture=64, remesh=0, views_per_step=2)
    refined = refine_mesh(ball((0.6, 0.75, 0.7)), scene, options)
    assert (refined.vertices.norm(dim=-1) - 0.7).abs().mean() < 0.05
    assert refined.texture is not None
    assert refined.corner_uvs is not None
    inside = texel_map(refined.corner_uvs, 64, 64)[0] >= 0
    red, green, blue = refined.texture[inside].unbind(-1)
    assert not ((red > 0.95) & (green < 0.05) & (blue > 0.95)).any()


def test_a_path_has_the_size_of_most_photos(scene: Scene) -> None:
    path = camera_path(VideoOptions(frames=3), scene, torch.randn(10, 3))
    assert path.size == (24, 32)
    assert camera_path(VideoOptions(frames=3, width=64), scene, torch.randn(10, 3)).size == (48, 64)


def test_the_record_keeps_sizes(scene: Scene, tmp_path: Path) -> None:
    record(scene, tmp_path)
    again = recorded(tmp_path)
    assert again is not None
    assert again.cameras.sizes == scene.cameras.sizes
    assert again.images.sizes == scene.images.sizes
    torch.testing.assert_close(again.cameras.intrinsics, scene.cameras.intrinsics)


def test_ignored_pixels_do_not_count_in_measures(scene: Scene) -> None:
    right = photo(rig(), 5).float() / 255  # what was there before the upper half was painted over
    found = compare(right[..., :3], scene, 5)
    assert found["psnr"] == found["psnr_inside"] == math.inf
    assert found["ssim"] == pytest.approx(1, abs=1e-6)
    worse = right.clone()
    worse[20] += 0.1
    assert compare(worse[..., :3], scene, 5)["psnr"] < 40


def test_recipes_pass_over_ignored_pixels(scene: Scene) -> None:
    true, mask, known = photos(scene, [5], torch.device("cpu"))
    assert not known[0, :12].any()
    assert known[0, 12:].all()
    assert not mask[0, :12].any()
    assert not true[0, :12].any()
