"""Held-out views measured by hand; means over views, with views that have no finite PSNR."""

import json
import math

import pytest
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.fit.evaluate import EXACT, evaluate_field, means
from nerfkit.fit.refine_measure import evaluate_mesh, picture
from nerfkit.mesh.mesh import Mesh
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.samplers import StratifiedSampler
from tests.fit.test_field_math import Fog

SIZE, BACKGROUND = 12, (0.1, 0.9, 0.5)


def scene() -> Scene:
    """Two gray training photos and one to measure, whose upper third the mask covers whole, the next by 40 %."""
    poses = look_at(torch.eye(3) * 3 + 0.1, torch.zeros(3), torch.tensor([0.3, 1.0, 0.2]))
    cameras = Cameras(poses, torch.tensor([[12.0, 12.0, 6.0, 6.0]]).repeat(3, 1), SIZE, SIZE)
    images = torch.full((3, SIZE, SIZE, 4), 100, dtype=torch.uint8)
    images[1] = torch.tensor([0, 0, 0, 0])
    images[1, :4] = torch.tensor([51, 102, 153, 255])
    images[1, 4:8] = torch.tensor([51, 51, 51, 102])
    return Scene("thirds", Photos.of(images), cameras, [0, 2], [1], background=BACKGROUND)


def decibels(shown: torch.Tensor, true: torch.Tensor) -> float:
    error = ((shown * 255).round() - (true * 255).round()) / 255
    return round(-10 * math.log10(error.square().mean().item()), 4)


def test_a_field_s_held_out_views_by_hand() -> None:
    found = evaluate_field(RadianceModel(Fog(0.25), StratifiedSampler(1.0, 3.0, 4)), scene())
    behind = torch.tensor(BACKGROUND)
    shown = (1 - math.exp(-1)) * torch.tensor([0.8, 0.4, 0.1]) + math.exp(-1) * behind
    upper, middle = torch.tensor([0.2, 0.4, 0.6]), torch.tensor([0.2, 0.2, 0.2]) + 0.6 * behind
    assert [row["view"] for row in found["views"]] == [1]
    assert found["psnr"] == pytest.approx(decibels(shown.expand(3, 3), torch.stack([upper, middle, behind])), abs=1e-3)
    assert found["psnr_inside"] == pytest.approx(decibels(shown, upper), abs=1e-3)


def test_a_mesh_s_held_out_views_by_hand() -> None:
    """A black square of which the left half of each picture's upper half is full, without a pixel in between."""
    thirds = scene()
    camera = thirds.cameras[1]
    corners = torch.tensor([[-6.0, 6.0, -12.0], [0.0, 6.0, -12.0], [0.0, 0.0, -12.0], [-6.0, 0.0, -12.0]]) / 4
    pose = camera.camera_to_world[0]
    square = Mesh(corners @ pose[:, :3].T + pose[:, 3], torch.tensor([[0, 2, 1], [0, 3, 2]]), colors=torch.zeros(4, 3))
    rgb, alpha = picture(square, thirds, 1)
    full = torch.zeros(SIZE, SIZE, 1)
    full[:6, :6] = 1
    expected = (1 - full) * torch.tensor(BACKGROUND)
    torch.testing.assert_close(alpha, full[..., 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(rgb, expected, atol=1e-5, rtol=0)
    found, true = evaluate_mesh(square, thirds, [1]), thirds.image(1)
    assert found["psnr"] == pytest.approx(decibels(expected, true), abs=1e-3)
    assert found["psnr_inside"] == pytest.approx(decibels(expected[:4], true[:4]), abs=1e-3)
    assert found["mask_iou"] == pytest.approx((24 + 12 * 0.4) / (48 + 12 + 36 * 0.4), abs=1e-3)


def test_exact_views_and_empty_masks() -> None:
    views = [
        {"view": 3, "psnr": math.inf, "ssim": 1.0, "psnr_inside": math.nan},
        {"view": 5, "psnr": 20.0, "ssim": 0.5, "psnr_inside": 30.0},
    ]
    found = means(views)
    assert found["psnr"] == pytest.approx((EXACT + 20) / 2)
    assert found["ssim"] == 0.75 and found["psnr_inside"] == 30.0
    assert [row["view"] for row in found["views"]] == [3, 5] and found["views"][0]["psnr"] == EXACT
    json.dumps(found["views"][1], allow_nan=False)
    assert math.isnan(means(views[:1])["psnr_inside"])
