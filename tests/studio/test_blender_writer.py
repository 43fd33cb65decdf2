"""The Blender format's files, number by number, and through its reader."""

import json
import math
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from nerfkit.cameras import Cameras
from nerfkit.scenes import blender
from nerfkit.studio.blender_writer import transforms, write_transforms, write_view
from nerfkit.studio.renderer import Photos
from tests.scenes.builders import ring


def test_pixels_of_a_view(tmp_path: Path) -> None:
    rgb = np.array([[[0.0, 0.0, 0.0], [0.25, 0.0, 0.125], [0.2, 1.0, 0.6]]], np.float32)  # premultiplied
    coverage = np.array([[0.0, 0.5, 1.0]], np.float32)
    depth = np.array([[np.inf, 2.0, 6.0]], np.float32)
    normals = np.array([[[0, 0, 0], [0.28, -0.96, 0], [0, 0, 1]]], np.float32)
    photos = Photos(rgb[None], coverage[None], depth[None])
    write_view(tmp_path, "test", 7, photos, normals, far=8.0)
    folder = tmp_path / "test"
    names = ["r_7.png", "r_7_depth.npy", "r_7_depth_0001.png", "r_7_normal_0001.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    straight = [[0, 0, 0, 0], [128, 0, 64, 128], [51, 255, 153, 255]]
    np.testing.assert_array_equal(iio.imread(folder / names[0])[0], straight)
    np.testing.assert_array_equal(np.load(folder / names[1]), depth)
    np.testing.assert_array_equal(iio.imread(folder / names[2])[0], [[0] * 4, [191] * 4, [64] * 4])
    turned = [[0, 0, 0, 0], [163, 5, 128, 255], [128, 128, 255, 255]]
    np.testing.assert_array_equal(iio.imread(folder / names[3])[0], turned)


def test_the_reader_takes_the_cameras_back(tmp_path: Path) -> None:
    train, test = ring(5), ring(2)
    for split, cameras in (("train", train), ("test", test)):
        write_transforms(tmp_path, split, cameras)
        for view in range(len(cameras)):
            disc = np.zeros((1, 24, 32), np.float32)
            disc[0, 4:20, 8:24] = 1
            photos = Photos(disc[..., None].repeat(3, -1) * 0.5, disc, np.where(disc > 0, 60, np.inf))
            write_view(tmp_path, split, view, photos, np.zeros((24, 32, 3)), far=120.0)
    scene = blender.load(tmp_path)
    assert (scene.train, scene.test) == ([0, 1, 2, 3, 4], [5, 6])
    own = scene.normalization.invert(scene.cameras.positions)
    torch.testing.assert_close(own, torch.cat([train.positions, test.positions]), atol=1e-4, rtol=0)
    rotations = torch.cat([train.camera_to_world, test.camera_to_world])[..., :3]
    torch.testing.assert_close(scene.cameras.camera_to_world[..., :3], rotations, atol=1e-6, rtol=0)
    torch.testing.assert_close(scene.cameras.intrinsics[:5], train.intrinsics)
    assert scene.images[0][10, 10].tolist() == [128, 128, 128, 255]


def test_transforms_of_a_known_camera() -> None:
    pose = torch.tensor([[[1.0, 0, 0, 1], [0, 0, -1, -10], [0, 1, 0, 2]]])
    content = json.loads(json.dumps(transforms("val", Cameras(pose, torch.tensor([[40.0, 40, 20, 10]]), 20, 40))))
    assert content["camera_angle_x"] == pytest.approx(2 * math.atan(0.5))
    matrix = [[1, 0, 0, 1], [0, 0, -1, -10], [0, 1, 0, 2], [0, 0, 0, 1]]
    assert content["frames"] == [{"file_path": "./val/r_0", "transform_matrix": matrix}]


@pytest.mark.parametrize("intrinsics", [[40.0, 44, 20, 10], [40, 40, 21, 10], [40, 40, 20, 12]])
def test_cameras_that_the_format_cannot_state(intrinsics: list[float]) -> None:
    pose = torch.eye(4)[None, :3]
    with pytest.raises(ValueError, match="fx = fy and a centered"):
        transforms("train", Cameras(pose, torch.tensor([intrinsics]), 20, 40))
