"""The region of interest, its plane and up, from cameras and points alone."""

import numpy as np
import pytest
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.scenes.region import find_region

UP = np.array([0.2, -0.5, 0.84])
UP = UP / np.linalg.norm(UP)
CENTER = np.array([30.0, -20.0, 5.0])


def rig(count: int = 24, distance: float = 8.0, roll: bool = False) -> Cameras:
    """Cameras around CENTER that look down at it by 30 degrees, y up along UP; ``roll`` turns every other by 90."""
    side = np.cross(UP, [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    front = np.cross(side, UP)
    turn = np.arange(count) * 2 * np.pi / count
    level = np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * front
    positions = torch.tensor(CENTER + distance * (3**0.5 / 2 * level + 0.5 * UP))
    poses = look_at(positions, torch.tensor(CENTER), torch.tensor(UP))
    if roll:
        poses[::2, :, :2] = torch.stack([poses[::2, :, 1], -poses[::2, :, 0]], -1)
    lenses = torch.tensor([[500.0, 500.0, 320.0, 240.0]]).double().expand(count, 4)
    return Cameras(poses, lenses, 480, 640)


def table_and_thing(random: np.random.Generator) -> np.ndarray:
    """Points of a table 1.2 below CENTER, of a thing on it that reaches 1 above CENTER, and of a far wall."""
    side = np.linalg.svd(UP[None])[2][1:]
    table = random.uniform(-4, 4, (2000, 2)) @ side - 1.2 * UP
    thing = random.uniform(-0.5, 0.5, (1500, 2)) @ side + random.uniform(-1.2, 1.0, (1500, 1)) * UP
    wall = random.uniform(-20, 20, (800, 2)) @ np.stack([side[1], UP]) + 30 * side[0]
    return CENTER + np.concatenate([table, thing, wall]) + random.normal(0, 0.003, (4300, 3))


def test_the_plane_tells_up_and_the_points_above_it_the_size() -> None:
    region = find_region(rig(roll=True), table_and_thing(np.random.default_rng(1)))
    assert region.up @ UP > 0.9999
    assert region.ground is not None
    normal, offset = region.ground
    assert offset - normal @ CENTER == pytest.approx(-1.2, abs=0.02)
    low, high = region.box
    middle, half = (low + high) / 2, (high - low)[0] / 2
    assert np.linalg.norm(middle - CENTER) < 0.3
    assert 1.2 < half < 2.2  # the thing's half extent is 1.1
    assert "plane that it stands on" in region.how


def test_a_thing_that_the_cameras_look_past_is_found_whole() -> None:
    """They look at a point on the table, 2.3 beside its middle; the ball around that holds a part of it."""
    cameras, points = rig(distance=5.0), table_and_thing(np.random.default_rng(1))
    aside = 2.3 * np.linalg.svd(UP[None])[2][1]
    points[2000:3500] += aside
    low, high = find_region(cameras, points).box
    assert ((points[2000:3500] > low) & (points[2000:3500] < high)).all()
    assert np.linalg.norm((low + high) / 2 - CENTER - aside) < 0.1


def test_a_wall_behind_the_thing_is_cut_but_does_not_turn_the_scene() -> None:
    """A head on a wall: photos from the front, held level."""
    cameras = rig()
    front = cameras[[k for k in range(24) if (cameras.positions[k].numpy() - CENTER) @ _side() > 2]]
    random = np.random.default_rng(4)
    across = np.stack([np.cross(UP, _side()), UP])
    wall = CENTER - 1.5 * _side() + random.uniform(-3, 3, (2000, 2)) @ across
    head = CENTER + random.uniform(-0.5, 0.5, (900, 2)) @ across + random.uniform(-1.5, 0.5, (900, 1)) * _side()
    region = find_region(front, np.concatenate([wall, head]))
    assert region.ground is not None
    assert region.ground[0] @ _side() > 0.999
    assert region.up @ UP > 0.999
    assert "wall behind it" in region.how


def _side() -> np.ndarray:
    """A level direction."""
    side = np.cross(UP, [1.0, 0.0, 0.0])
    return np.asarray(side / np.linalg.norm(side))


def test_without_points_the_cameras_tell() -> None:
    region = find_region(rig(), np.empty((0, 3)))
    low, high = region.box
    np.testing.assert_allclose((low + high) / 2, CENTER, atol=1e-6)
    # A ball that touches the frame's upper and lower edges: sin(atan(240/500)) times the distance, under half of it.
    assert (high - low)[0] / 2 == pytest.approx(8 * np.sin(np.arctan(240 / 500)), rel=1e-6)
    assert region.up @ UP > 0.9999
    assert region.ground is None


def test_a_plane_with_the_cameras_on_both_sides_carries_nothing() -> None:
    random = np.random.default_rng(2)
    side = np.linalg.svd(UP[None])[2][1:]
    wall = CENTER + random.uniform(-1, 1, (2000, 2)) @ np.stack([side[0], UP])
    assert find_region(rig(), wall).ground is None


def test_the_same_region_every_time() -> None:
    points = table_and_thing(np.random.default_rng(3))
    first, second = find_region(rig(), points), find_region(rig(), points)
    assert np.array_equal(first.box, second.box)
