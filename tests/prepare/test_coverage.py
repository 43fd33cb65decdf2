"""Azimuth, elevation and gaps of known cameras."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfkit.prepare.coverage import coverage, draw_coverage, listed
from tests.prepare.made import poses_around


def named(poses: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{number:02d}": pose for number, pose in enumerate(poses)}


def turned(poses: np.ndarray, seed: int = 3) -> np.ndarray:
    """The same cameras in a world with other axes, origin and unit."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    moved = rotation @ poses
    moved[:, :, 3] = 7 * moved[:, :, 3] + (1, 2, 3)
    return moved


def test_angles_do_not_depend_on_the_worlds_axes() -> None:
    azimuths = np.array([30.0, 70, 110, 200, 300])
    poses = np.concatenate([poses_around(azimuths, 20), poses_around([45.0], 60)])
    found = coverage(named(turned(poses)))
    angles = np.array(list(found.angles.values()))
    np.testing.assert_allclose(angles[:, 0], [0, 40, 80, 170, 270, 15], atol=1e-3)
    np.testing.assert_allclose(angles[:, 1], [20] * 5 + [60], atol=1e-3)
    assert found.inward
    assert found.gap == pytest.approx((170, 270)) and found.gap_between == ("03", "04")


def test_a_gap_across_zero() -> None:
    found = coverage(named(poses_around([0, 30, 60, 90, 120, 150])))
    assert found.gap == pytest.approx((150, 360)) and found.gap_between == ("05", "00")
    found = coverage(named(poses_around([40, 10, 60, 90])))
    assert found.gap == pytest.approx((50, 330)) and found.gap_between == ("03", "01")


def test_cameras_that_look_outward() -> None:
    poses = poses_around(range(0, 360, 30), elevation=0, distance=1)
    poses[:, :, 0] *= -1
    poses[:, :, 2] *= -1
    assert not coverage(named(poses)).inward


def test_photos_turned_on_their_side_do_not_change_what_is_up() -> None:
    poses = poses_around(range(0, 360, 20), elevation=30)
    poses[::3, :, :2] = np.stack([poses[::3, :, 1], -poses[::3, :, 0]], -1)
    elevations = np.array([elevation for _, elevation in coverage(named(poses)).angles.values()])
    np.testing.assert_allclose(elevations, 30, atol=3)


def test_a_short_arc_from_high_up() -> None:
    found = coverage(named(turned(poses_around(range(0, 140, 10), elevation=50))))
    assert found.gap == pytest.approx((130, 360), abs=0.01)


def test_one_camera_and_cameras_from_straight_above() -> None:
    assert coverage(named(poses_around([10]))).gap_width == 360
    found = coverage(named(poses_around([0, 90, 180], elevation=89.9999)))
    assert np.isfinite(list(found.angles.values())).all()


def test_the_picture(tmp_path: Path) -> None:
    found = coverage(named(poses_around(range(0, 181, 15))))
    path = draw_coverage(tmp_path / "coverage.png", found)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), int)
    assert pixels.shape == (420, 760, 3)
    red = (abs(pixels - (250, 225, 225)).max(-1) < 4).sum()
    green = (abs(pixels - (196, 230, 200)).max(-1) < 4).sum()
    assert 0.25 < red / (690 * 322) < 0.55 and 0.08 < green / (690 * 322) < 0.25


def test_listed() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"
