"""Depth along the camera's axis and angles of normals, by hand."""

import math

import pytest
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.fit.surface_error import Surface, errors, of_field, of_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.volume.model import FieldImage

HEIGHT, WIDTH, FAR = 6, 8, 2.5


def camera() -> Cameras:
    pose = look_at(torch.tensor([[1.0, 2.0, 3.0]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    return Cameras(pose, torch.tensor([[5.0, 5.0, 4.0, 3.0]]), HEIGHT, WIDTH)


def wall(cameras: Cameras) -> Mesh:
    """A square before the camera, square to its axis, larger than the picture."""
    corners = torch.tensor([[-9.0, -9.0, -FAR], [9.0, -9.0, -FAR], [9.0, 9.0, -FAR], [-9.0, 9.0, -FAR]])
    pose = cameras.camera_to_world[0]
    return Mesh(corners @ pose[:, :3].T + pose[:, 3], torch.tensor([[0, 1, 2], [0, 2, 3]]))


def test_a_wall_has_one_depth_as_a_mesh_and_as_a_field() -> None:
    cameras = camera()
    shown = of_mesh(wall(cameras), cameras, 0)
    toward = cameras.camera_to_world[0, :, 2]
    torch.testing.assert_close(shown.depth, torch.full((HEIGHT, WIDTH), FAR), atol=1e-5, rtol=0)
    torch.testing.assert_close(shown.normal, toward.expand(HEIGHT, WIDTH, 3), atol=1e-6, rtol=0)
    _, directions = cameras.image_rays(0)
    distance = (FAR / (directions @ -toward)).view(HEIGHT, WIDTH)
    alpha = torch.full((HEIGHT, WIDTH), 0.75)
    alpha[0] = 0.4
    image = FieldImage(torch.zeros(HEIGHT, WIDTH, 3), alpha, distance * alpha, shown.normal)
    seen = of_field(image, cameras, 0)
    torch.testing.assert_close(seen.depth[1:], shown.depth[1:], atol=1e-5, rtol=0)
    assert not seen.depth[0].any()


def test_errors_by_hand() -> None:
    true = Surface(torch.tensor([[2.0, 4.0, 4.0, 0.0]]), torch.tensor([[[0, 0, 1.0]] * 3 + [[0, 0, 0]]]))
    turned = [0.0, math.sin(0.5), math.cos(0.5)]
    found = Surface(torch.tensor([[2.5, 3.0, 0.0, 9.0]]), torch.tensor([[turned, [0, 0, -1.0], [0, 0, 0], turned]]))
    row = errors(found, true, torch.ones(1, 4, dtype=torch.bool), 10.0)
    assert row["depth_error"] == pytest.approx((0.5 + 1.0) / 2 / 10)
    assert row["depth_error_share"] == pytest.approx((0.25 + 0.25) / 2)
    assert row["depth_missing"] == pytest.approx(1 / 3)
    assert row["angle_error"] == pytest.approx((math.degrees(0.5) + 180) / 2, abs=1e-4)
    assert errors(found, true, torch.tensor([[False, False, False, True]]), 10.0) == {}
    alone = errors(found, true, torch.tensor([[False, False, True, False]]), 10.0)
    assert alone["depth_missing"] == 1 and math.isnan(alone["depth_error"]) and math.isnan(alone["angle_error"])
    assert errors(Surface(true.depth, -true.normal), true, torch.tensor([[True] * 4]), 1.0)["angle_error"] == 180
