"""What is written is read back: cameras, photos, masks, split, and the hull that the masks leave."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfkit.cameras import Cameras
from nerfkit.mesh.extract import extract_mesh
from nerfkit.raster import render_channels
from nerfkit.runs.files import replacing_folder
from nerfkit.scenes import Scene, open_scene
from nerfkit.scenes.hull import carve
from nerfkit.scenes.scene import Similarity
from nerfkit.scenes.writers import WRITERS, quaternion
from tests.scenes import test_develop
from tests.scenes.builders import ring, write_blender, write_kaolin
from tests.scenes.real import data_folder


def again(scene: Scene, name: str, folder: Path) -> Scene:
    """The scene after it was written in a format, and read."""
    folder.mkdir()
    WRITERS[name](scene, folder)
    return open_scene("auto", folder)


def own(scene: Scene) -> Cameras:
    """The cameras in float64, in the scene's own units."""
    pose = scene.cameras.camera_to_world.double()
    moved = torch.cat([pose[:, :, :3], scene.normalization.invert(pose[:, :, 3])[..., None]], -1)
    return scene.cameras.changed(moved, scene.cameras.intrinsics.double())


def assert_same(found: Scene, scene: Scene) -> None:
    """The same photos from the same places, which the units of normalization do not change."""
    mine, theirs = own(scene).camera_to_world, own(found).camera_to_world
    assert (theirs - mine)[:, :, :3].abs().max() < 1e-6
    assert (theirs - mine)[:, :, 3].abs().max() * scene.normalization.scale < 1e-6
    torch.testing.assert_close(found.cameras.intrinsics, scene.cameras.intrinsics, rtol=1e-6, atol=0)
    assert found.images.sizes == scene.images.sizes
    assert found.has_masks == scene.has_masks and found.unbounded == scene.unbounded
    for view in range(len(scene.images)):
        known = scene.images.known(view)
        assert (found.images.known(view) == known).all()
        assert (found.images[view] == scene.images[view])[known].all()


def hull_iou(found: Scene, truth: Scene, resolution: int = 160) -> float:
    """Mean IoU of the hull of the training masks of ``found`` with masks of ``truth``, on its held-out views."""
    assert found.train == truth.train
    keep = carve(
        found.cameras[found.train], [found.mask(view) > 0.5 for view in found.train], resolution, margin_pixels=0
    )
    assert keep.any()

    def inside(points: torch.Tensor) -> torch.Tensor:
        cell = ((points + 1) / 2 * resolution).long().clamp(0, resolution - 1)
        return keep[tuple(cell.T)].float() * 1000

    mesh = extract_mesh(inside, resolution=resolution, level=500)
    scores = []
    for view in truth.test:
        (alpha,) = render_channels(mesh, found.cameras[view], ("alpha",)).values()
        drawn, mask = alpha.squeeze() > 0.5, truth.mask(view) > 0.5
        scores.append(float((drawn & mask).sum() / (drawn | mask).sum()))
    return float(np.mean(scores))


@pytest.fixture(scope="module")
def sphere(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    root = write_kaolin(tmp_path_factory.mktemp("sphere") / "ball", ring(24, size=(135, 180)), masks="coverage")
    return open_scene("kaolin", root, holdout=6)


@pytest.mark.parametrize("name", WRITERS)
def test_a_masked_scene_comes_back(sphere: Scene, tmp_path: Path, name: str) -> None:
    found = again(sphere, name, tmp_path / "ball")
    assert_same(found, sphere)
    assert found.provenance["format"] == name
    assert found.provenance["views"][:2] == ["images/00_0_rgb.png", "images/01_1_rgb.png"]
    assert found.normalization.scale == pytest.approx(sphere.normalization.scale, rel=0.02)
    assert hull_iou(found, sphere) > 0.95
    assert (found.train, found.test, len(found.notes)) == (sphere.train, sphere.test, 1)
    assert found.notes[0].startswith("the region of interest")
    assert name == "colmap" or found.up == sphere.up


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("channels", [3, 4])
def test_bent_photos_of_several_sizes_come_back(tmp_path: Path, name: str, channels: int) -> None:
    """With the pixels that their undistortion left open, once between masks and once where there are none."""
    scene = open_scene("auto", test_develop.write(tmp_path / "ball", channels), holdout=3)
    scene = replace(scene, points=np.array(test_develop.CENTER + 5 * np.eye(3)))
    found = again(scene, name, tmp_path / "again")
    assert scene.images.ignored is not None and scene.images.ignored.any()
    if channels == 4:  # where nothing is known, the object may be
        for view in range(len(scene.images)):
            scene.images[view][~scene.images.known(view), 3] = 255
    assert_same(found, scene)
    np.testing.assert_allclose(found.points, scene.points, atol=1e-12)
    assert found.provenance["views"][0] == "images/0.png"


@pytest.mark.parametrize("name", WRITERS)
def test_a_blender_scene_keeps_its_split_and_far_places_stay_exact(tmp_path: Path, name: str) -> None:
    scene = open_scene("blender", write_blender(tmp_path / "ball", ring(5), ring(3)))
    far = (4649776.3, -500.0, 13.0)
    shift = tuple(t - scene.normalization.scale * x for t, x in zip(scene.normalization.translation, far, strict=True))
    scene = replace(scene, normalization=Similarity(scene.normalization.scale, shift))  # type: ignore[arg-type]
    found = again(scene, name, tmp_path / "again")
    assert (found.train, found.test) == (scene.train, scene.test)
    assert found.provenance["views"][5] == "images/5_r_0.png"
    assert (own(found).positions - own(scene).positions).abs().max() * scene.normalization.scale < 1e-6


def test_quaternions_of_any_rotation() -> None:
    random = np.random.default_rng(0)
    expected = random.normal(size=(200, 4))
    expected[:8] = [*np.eye(4), *-np.eye(4)]  # half turns
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for q in expected:
        w, v = q[0], q[1:]
        cross = np.cross(np.eye(3), v)
        rotation = np.eye(3) + 2 * w * cross + 2 * cross @ cross
        found = quaternion(rotation)
        assert abs(abs(found @ q) - 1) < 1e-12 and found[0] >= 0


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "cameras" / "colmap"
    for content in ("first", "second"):
        with replacing_folder(place) as folder:
            (folder / content).touch()
        assert [path.name for path in place.iterdir()] == [content]
    with pytest.raises(FileNotFoundError), replacing_folder(place) as folder:
        (folder / "third" / "no folder").touch()
    assert [path.name for path in place.iterdir()] == ["second"]
    assert [path.name for path in place.parent.iterdir()] == ["colmap"]


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("data", ["cup", "fox", "mouse"])
def test_real_photos_come_back_with_their_region(tmp_path: Path, data: str, name: str) -> None:
    scene = open_scene("auto", data_folder(data), resolution=100)
    found = again(scene, name, tmp_path / data)
    assert_same(found, scene)
    assert found.normalization.scale == pytest.approx(scene.normalization.scale, rel=1e-6)
    assert found.normalization.translation == pytest.approx(scene.normalization.translation, abs=1e-6)
    assert found.up == pytest.approx(scene.up, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("data", ["kaolin_clock", "nerf_mic"])
def test_real_masked_scenes_come_back(tmp_path: Path, data: str, name: str) -> None:
    root = data_folder(data)
    root = root / "rendered_clock.zip" if data == "kaolin_clock" else root
    scene = open_scene("auto", root, resolution=256)
    found = again(scene, name, tmp_path / data)
    assert_same(found, scene)
    assert found.normalization.scale == pytest.approx(scene.normalization.scale, rel=0.02)
    iou = hull_iou(found, scene, 384)  # a coarser grid of the hull, which never loses a cell, widens the wires of mic
    print(f"{data} as {name}: IoU of the hull on held-out masks {iou:.4f}")
    assert iou > 0.95
