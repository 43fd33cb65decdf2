import math

import numpy as np
import pytest
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.view.paths import PATHS, all_around, ellipse, orbit, photos, spiral, wave
from nerfkit.view.photo_paths import fitted_ellipse, out_of_order
from nerfkit.view.spline import Spline

Y = torch.tensor([0.0, 1.0, 0.0])


def cameras(positions: list[tuple[float, float, float]], height: int = 20, width: int = 30) -> Cameras:
    at = torch.tensor(positions)
    lens = torch.tensor([40.0, 41.0, 14.0, 11.0]).expand(len(at), 4)
    return Cameras(look_at(at, torch.zeros(3), Y), lens, height, width)


AROUND = cameras([(3.0, 0.0, 0.0), (0.0, 1.0, 4.0), (0.0, 0.0, -5.0)])


@pytest.mark.parametrize("name", [name for name in PATHS if name != "photos"])
@pytest.mark.parametrize("up", [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 1.0), (0.0, -2.0, 0.0)])
def test_every_frame_looks_at_the_center_upright(name: str, up: tuple[float, float, float]) -> None:
    center = torch.tensor([0.1, -0.2, 0.3])
    path = PATHS[name](AROUND, 7, up=up, center=center)
    pixel, depth = path.project(center[None])
    assert torch.allclose(pixel[:, 0], torch.tensor([15.0, 10.0]).expand(7, 2), atol=1e-3)
    assert (depth > 0).all()
    above, _ = path.project(center[None] + 0.1 * torch.tensor(up))
    assert (above[:, 0, 1] < pixel[:, 0, 1]).all()  # up in the world is up in the picture: a smaller row
    rotation = path.camera_to_world[:, :, :3]
    assert torch.allclose(rotation.mT @ rotation, torch.eye(3).expand(7, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(7), atol=1e-5)


def test_the_orbit_is_a_turntable() -> None:
    path = orbit(AROUND, 8, elevation=30.0)
    radius = AROUND.positions.norm(dim=-1).median()  # sqrt(17)
    assert torch.allclose(path.positions.norm(dim=-1), radius.expand(8), atol=1e-5)
    assert torch.allclose(path.positions[:, 1], (radius * 0.5).expand(8), atol=1e-5)  # sin 30
    # From the first training camera's azimuth, +x, a quarter turn counterclockwise seen from +y is -z.
    assert path.positions[0, 0] > 0
    assert torch.allclose(path.positions[0, 2], torch.tensor(0.0), atol=1e-5)
    assert path.positions[2, 2] < 0
    steps = (path.positions - path.positions.roll(1, 0)).norm(dim=-1)
    assert torch.allclose(steps, steps[0].expand(8), atol=1e-4)  # also from the last frame to the first: it closes


@pytest.mark.parametrize("name", ["orbit", "wave"])
def test_what_is_to_be_seen_fills_the_picture_and_is_not_cut(name: str) -> None:
    points = torch.tensor([[0.2, -0.9, 0.1], [0.3, 0.5, 0.0], [0.9, 0.0, 0.4], [0.1, 0.1, -0.2]])
    path = PATHS[name](AROUND, 50, elevation=25.0, up=(0.0, 0.0, 1.0), points=points)
    pixel, depth = path.project(points)
    assert (depth > 0).all()
    off = ((pixel - torch.tensor([15.0, 10.0])) / torch.tensor([15.0, 10.0])).abs()
    assert off.max() == pytest.approx(0.95, abs=1e-4)  # the picture's half, but for its margin
    middle = torch.tensor([[0.5, -0.2, 0.1]])
    assert torch.allclose(path.project(middle)[0], torch.tensor([15.0, 10.0]), atol=1e-3)
    nothing = PATHS[name](AROUND, 3, points=points[:0])
    assert torch.equal(nothing.camera_to_world, PATHS[name](AROUND, 3).camera_to_world)


def test_what_lies_far_off_the_center_does_not_turn_the_camera_around() -> None:
    path = orbit(AROUND, 1, elevation=0.0, center=(0.0, 0.0, 5.0), points=torch.zeros(1, 3))
    beside = orbit(AROUND, 1, elevation=0.0, center=(0.0, 0.0, 5.0))
    side = (path.positions - torch.tensor([0.0, 0.0, 5.0])) * (beside.positions - torch.tensor([0.0, 0.0, 5.0]))
    assert side.sum() > 0


def test_sides_that_cameras_stand_on() -> None:
    assert all_around(AROUND)
    assert not all_around(cameras([(0.3, 0.0, 3.0), (-1.0, 0.5, 3.0), (2.0, -0.5, 2.0)]))


def test_radius_and_lens() -> None:
    path = orbit(AROUND, 3, radius=2.5)
    assert torch.allclose(path.positions.norm(dim=-1), torch.full((3,), 2.5))
    assert path.intrinsics.tolist() == [[40.0, 41.0, 15.0, 10.0]] * 3  # the principal point moves to the middle
    assert (path.height, path.width) == (20, 30)


@pytest.mark.parametrize("elevation", [90.0, -90.0, 200.0])
def test_elevation_stops_short_of_the_poles(elevation: float) -> None:
    height = orbit(AROUND, 5, elevation=elevation, radius=1.0).positions[:, 1]
    assert torch.allclose(height.abs(), torch.full((5,), math.sin(math.radians(89))), atol=1e-6)


def test_a_first_camera_straight_above_is_no_trouble() -> None:
    for name in PATHS:
        assert PATHS[name](cameras([(0.0, 3.0, 0.0)]), 4).camera_to_world.isfinite().all()


def test_the_wave_rises_and_falls_once_a_turn() -> None:
    path = wave(AROUND, 8, elevation=10.0, radius=1.0)
    degrees = torch.rad2deg(path.positions[:, 1].asin())
    expected = [10 + 25 * math.sin(2 * math.pi * i / 8) for i in range(8)]
    assert torch.allclose(degrees, torch.tensor(expected), atol=1e-3)


def test_the_spiral_stays_among_the_cameras_of_one_side() -> None:
    front = cameras([(0.3 * x, 0.3 * y, 3.0) for x in (-1, 0, 1) for y in (-1, 0, 1)])
    path = spiral(front, 40)
    assert (path.positions[:, 2] > 2.8).all()
    assert (path.positions[:, :2].norm(dim=-1) < 0.3).all()
    assert path.positions[:, 0].min() < -0.02 < 0.02 < path.positions[:, 0].max()
    steps = (path.positions - path.positions.roll(1, 0)).norm(dim=-1)
    assert steps.max() < 2.5 * steps.min()  # no jump anywhere, the closing step included


def test_the_spiral_of_cameras_all_around_is_finite() -> None:
    opposite = cameras([(0.0, 0.0, 3.0), (0.0, 0.0, -3.0)])
    assert spiral(opposite, 5).camera_to_world.isfinite().all()


def walk(angles: np.ndarray, height: float = 1.0) -> Cameras:
    return cameras([(4 * math.cos(a), height, 2 * math.sin(a)) for a in angles])


def test_photos_are_passed_in_order_at_constant_speed() -> None:
    taken = walk(np.array([0.0, 0.2, 0.3, 0.9, 1.0, 1.7, 2.5]))
    path = photos(taken, 200)
    assert torch.allclose(path.camera_to_world[[0, -1]], taken.camera_to_world[[0, -1]], atol=1e-5)
    steps = (path.positions[1:] - path.positions[:-1]).norm(dim=-1)
    assert torch.allclose(steps, steps.mean().expand(199), rtol=5e-3, atol=0)  # chords of a curved way
    away, nearest = torch.cdist(taken.positions, path.positions).min(1)
    assert away.max() < steps.mean() and (nearest.diff() > 0).all()
    turned = path.camera_to_world[nearest][:, :, :3] - taken.camera_to_world[:, :, :3]
    assert turned.abs().max() < 0.02
    curved = (path.positions[2:] - 2 * path.positions[1:-1] + path.positions[:-2]).norm(dim=-1)
    assert curved.max() < 0.2 * steps.mean()  # no corner where a photo is
    assert path.intrinsics.tolist() == [[40.0, 41.0, 15.0, 10.0]] * 200


def test_photos_from_one_place_or_one_alone() -> None:
    assert torch.equal(photos(AROUND[0], 3).camera_to_world, AROUND[0].camera_to_world.expand(3, 3, 4))
    at = torch.zeros(3, 3)
    looks = look_at(at, torch.tensor([[0.0, 0, -1], [1, 0, -1], [1, 0, 0]]), Y)
    path = photos(Cameras(looks, AROUND.intrinsics, 20, 30), 5)
    assert torch.allclose(path.camera_to_world[::2], looks, atol=1e-5)


def test_photos_that_are_in_no_order() -> None:
    ring = np.linspace(0, 5, 40)
    assert not out_of_order(walk(ring))
    assert out_of_order(walk(np.random.default_rng(0).permutation(ring)))
    assert not out_of_order(AROUND[[0, 1]])


def test_the_ellipse_is_where_the_photos_were_taken() -> None:
    taken = walk(np.array([0.1, 0.2, 0.3, 0.5, 1.0, 1.1, 2.0, 3.0, 3.3, 4.0, 5.0]), height=1.5)  # most on one side
    path = ellipse(taken, 40)
    x, y, z = path.positions.T
    assert torch.allclose(x**2 / 16 + z**2 / 4, torch.ones(40), atol=1e-4)
    assert torch.allclose(y, torch.full((40,), 1.5), atol=1e-4)
    steps = (path.positions - path.positions.roll(1, 0)).norm(dim=-1)
    assert torch.allclose(steps, steps.mean().expand(40), rtol=0.02, atol=0)
    assert (path.positions[0] - taken.positions[0]).norm() < 0.05
    turned = torch.linalg.cross(path.positions, path.positions.roll(-1, 0))[:, 1]
    assert (turned > 0).all()  # counterclockwise seen from +y


def test_the_ellipse_of_photos_from_one_side_faces_the_object() -> None:
    front = cameras([(0.6 * x, 0.3 * y, 3.0) for x in (-2, -1, 0, 1, 2) for y in (-1, 0, 1)])
    path = ellipse(front, 30)
    assert torch.allclose(path.positions[:, 2], torch.full((30,), 3.0), atol=1e-4)
    x, y = path.positions[:, :2].abs().amax(0)
    assert 0.6 < x < 1.4 and 0.2 < y < 0.6
    turned = torch.linalg.cross(path.positions, path.positions.roll(-1, 0))[:, 2]
    assert turned.mean() > 0  # counterclockwise seen from the cameras


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
def test_a_fitted_ellipse_is_found(angle: float) -> None:
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    t = np.random.default_rng(3).uniform(0, 4, 12)
    points = [5.0, -2.0] + np.stack([3 * np.cos(t), np.sin(t)], 1) @ turn.T
    middle, half = fitted_ellipse(points)
    assert middle == pytest.approx([5, -2], abs=1e-6)
    assert half @ half.T == pytest.approx(turn @ np.diag([9.0, 1.0]) @ turn.T, abs=1e-5)


@pytest.mark.parametrize("points", [np.zeros((9, 2)), np.stack([np.arange(9.0), np.zeros(9)], 1), np.eye(2)])
def test_a_fitted_ellipse_of_what_is_none_is_finite(points: np.ndarray) -> None:
    middle, half = fitted_ellipse(points)
    assert middle == pytest.approx(points.mean(0)) and np.isfinite(half).all()


def test_a_closed_spline_is_smooth_where_it_closes() -> None:
    poses = walk(np.arange(0, 6, 1.0)).camera_to_world.double().numpy()
    way = Spline(poses, np.full((6, 2), 1.0) * np.arange(1, 7)[:, None], closed=True)
    ends = np.array([0.0, 1e-5, way.knots[-1] - 1e-5, way.knots[-1]])
    at, focal = way.at(ends)
    assert at[3] == pytest.approx(at[0], abs=1e-9) and at[0] == pytest.approx(poses[0], abs=1e-7)  # of float32
    assert (at[1] - at[0]) == pytest.approx(at[3] - at[2], abs=1e-8)  # the same velocity
    assert focal is not None and focal[3] == pytest.approx(focal[0])


def test_a_spline_rests_between_equal_poses() -> None:
    poses = walk(np.array([0.0, 0.5, 0.5, 1.0])).camera_to_world.double().numpy()
    way = Spline(poses)
    at, _ = way.at(np.linspace(way.knots[1], way.knots[2], 20))
    assert np.abs(at - poses[1]).max() < 1e-3
