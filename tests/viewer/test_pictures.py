"""Sizes by time, latest requests, and pictures made in parts."""

import itertools
import math
import threading
from collections.abc import Hashable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.mesh.shapes import icosphere
from nerfkit.raster.shade import MeshSource
from nerfkit.scenes.writers import quaternion
from nerfkit.viewer.draw import FAR, Look, camera_of, draw
from nerfkit.viewer.pace import BUDGET, COARSEST, Pace, following, size_at
from nerfkit.viewer.worker import Interrupted, Worker

WHOLE = (720, 1280)


class Wall:
    """A field that is a wall across the axis of every camera, at the distance 3, to the left of the camera's x = 0."""

    def render(self, cameras: Cameras, view: int, channels: Sequence[str]) -> dict[str, Tensor]:
        directions = cameras.image_rays(view)[1] @ cameras.camera_to_world[view, :, :3]
        height, width = cameras.sizes[view]
        alpha = (directions[:, 0] < 0).float().view(height, width)
        depth = (-3 / directions[:, 2]).view(height, width) * alpha  # along the ray
        rgb = directions.abs().view(height, width, 3)
        return {key: {"rgb": rgb, "alpha": alpha, "depth": depth}[key] for key in channels}

    def points(self) -> Tensor:
        return torch.zeros(1, 3)


@pytest.fixture
def camera() -> Cameras:
    pose = torch.tensor([[[1.0, 0, 0, 0.1], [0, 1, 0, 0], [0, 0, 1, 3]]])
    return Cameras(pose, torch.tensor([[60.0, 60.0, 26.0, 35.5]]), 71, 53)


@pytest.mark.parametrize(("constant", "each"), [(0.0, 1e-6), (0.03, 1e-6), (0.0, 1e-3), (0.2, 0.0), (0.01, 1e-8)])
def test_the_first_picture_is_the_largest_that_comes_in_time(constant: float, each: float) -> None:
    def seconds(level: int) -> float:
        return constant + each * math.prod(size_at(level, WHOLE))

    pace = Pace()
    assert pace.first(WHOLE) == COARSEST
    level: int | None = None
    for _ in range(6):  # moves, after each of which the camera stands still
        level = pace.first(WHOLE)
        while level is not None:
            pixels = math.prod(size_at(level, WHOLE))
            assert seconds(level) <= pace.expected(level, pixels) * (1 + 1e-9) or level == pace.first(WHOLE)
            pace.record(level, pixels, seconds(level))
            level = following(level)
    first = pace.first(WHOLE)
    assert seconds(first) <= BUDGET or first == COARSEST
    assert first == 0 or seconds(first - 2 if first > 1 else 0) > BUDGET  # known of every second level


def test_pictures_grow_to_the_whole() -> None:
    levels: list[int] = [COARSEST]
    while (level := following(levels[-1])) is not None:
        levels.append(level)
    sizes = [size_at(level, WHOLE) for level in levels]
    assert levels[-1] == 0 and sizes[-1] == WHOLE
    assert all(abs(b[1] / a[1] - 2) < 0.05 for a, b in itertools.pairwise(sizes))
    assert following(1) == 0 and size_at(COARSEST, (1, 3)) == (1, 1)


def test_the_latest_request_wins_and_first_pictures_come_first() -> None:
    calls: list[tuple[Hashable, int | None]] = []
    started, go_on = threading.Event(), threading.Event()

    def work(who: Hashable, level: int | None, interrupted: Interrupted) -> int | None:
        calls.append((who, level))
        if calls == [("a", None), ("a", 2)]:  # the second picture of a: it takes long
            started.set()
            go_on.wait(10)
            assert interrupted()
            return level
        if who == "c" and level == 1:
            raise RuntimeError("a bug")
        return {None: 2, 2: 1, 1: None}[level]

    worker = Worker(work)
    worker.ask("a")
    worker.start()
    assert started.wait(10)
    for who in ("b", "gone", "a", "b", "a"):
        worker.ask(who)
    worker.forget("gone")
    go_on.set()
    while len(calls) < 8:
        threading.Event().wait(0.01)
    worker.ask("c")
    with pytest.raises(RuntimeError, match="a bug"):
        worker.watch()
    firsts = [("a", None), ("a", 2), ("b", None), ("a", None)]
    assert calls[:2] == firsts[:2] and sorted(calls[2:4], key=str) == sorted(firsts[2:], key=str)
    for who in ("a", "b"):
        assert [level for name, level in calls[2:] if name == who] == [None, 2, 1]
    assert ("gone", None) not in calls and [level for name, level in calls if name == "c"] == [None, 2, 1]


def test_a_closed_worker_ends() -> None:
    worker = Worker(lambda who, level, interrupted: None)
    worker.close()
    worker.start()
    worker.watch()


@pytest.mark.parametrize("channel", ["rgb", "normal", "depth"])
def test_parts_of_a_mesh_s_picture_are_the_picture(camera: Cameras, channel: str) -> None:
    mesh = icosphere(2, 0.8)
    sources = {"mesh": MeshSource(mesh, (0.2, 0.5, 0.9))}
    drawn = [
        draw(sources, camera, Look("mesh", channel), (1.0, 4.0), seconds, lambda: False) for seconds in (math.inf, 1e3)
    ]
    assert drawn[0] is not None and drawn[1] is not None
    # As a part's middle lies elsewhere, the last bits of what is measured along its axes are others.
    assert np.abs(drawn[0].pixels.astype(int) - drawn[1].pixels).max() <= 1
    assert np.allclose(drawn[0].depth, drawn[1].depth, rtol=1e-6)
    assert drawn[0].pixels.std() > 5


def test_field_and_mesh_side_by_side(camera: Cameras) -> None:
    sources: dict[str, Any] = {"field": Wall(), "mesh": MeshSource(icosphere(2, 0.8), (0.2, 0.5, 0.9))}

    def pixels(look: Look) -> np.ndarray:
        drawn = draw(sources, camera, look, (1.0, 4.0), math.inf, lambda: False)
        assert drawn is not None
        return drawn.pixels

    field, mesh = (pixels(Look(name)) for name in ("field", "mesh"))
    both = pixels(Look("both", split=0.4))
    assert np.array_equal(both[:, :21], field[:, :21]) and np.array_equal(both[:, 21:], mesh[:, 21:])
    assert np.array_equal(pixels(Look("both", split=1.0)), field)
    assert np.array_equal(pixels(Look("both", split=-1.0)), mesh)


def test_depth_is_along_the_axis(camera: Cameras) -> None:
    drawn = draw({"field": Wall()}, camera, Look(), (1.0, 4.0), 1.0, lambda: False)
    assert drawn is not None
    assert np.allclose(drawn.depth[:, :26], 3, atol=1e-5) and (drawn.depth[:, 26:] == FAR).all()
    wide = draw({"field": Wall()}, camera.resized(710, 530), Look(), (1.0, 4.0), 1.0, lambda: False)
    assert wide is not None and max(wide.depth.shape) <= 256 and wide.pixels.shape == (710, 530, 3)
    assert np.allclose(wide.depth[:, : int(wide.depth.shape[1] * 0.49)], 3, atol=1e-5)


def test_a_picture_is_given_up(camera: Cameras) -> None:
    asked: list[int] = []

    def interrupted() -> bool:
        asked.append(0)
        return len(asked) == 3

    assert draw({"field": Wall()}, camera, Look(), (1.0, 4.0), 1e3, interrupted) is None
    assert len(asked) == 3


def test_a_client_s_camera() -> None:
    # OpenCV's axes: x right, y down, z ahead; here turned by 90 degrees about the world's y, so z ahead is world x.
    turn = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    eye: Any = SimpleNamespace(
        wxyz=quaternion(turn), position=np.array([1.0, 2, 3]), fov=math.pi / 2, image_height=100, image_width=300
    )
    camera = camera_of(eye, 1000)
    assert camera.size == (100, 300)
    points = torch.tensor([[5.0, 2, 3], [5.0, 6, 3], [5.0, 2, -1]])  # ahead; down, 45 degrees; right, 45 degrees
    pixels, depth = camera.project(points)
    assert torch.allclose(pixels[0], torch.tensor([[150.0, 50], [150, 100], [200, 50]]), atol=1e-3)
    assert torch.allclose(depth[0], torch.full((3,), 4.0))
    small = camera_of(eye, 30)
    assert small.size == (10, 30)
    assert torch.allclose(small.project(points)[0], pixels / 10, atol=1e-3)
