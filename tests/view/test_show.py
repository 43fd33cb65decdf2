from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import pytest
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.errors import CheckpointError
from nerfkit.view.options import VideoOptions
from nerfkit.view.show import camera_path, pick_source, show

UP = (0.0, 1.0, 0.0)


class Ball:
    """The unit ball, red, on black."""

    def __init__(self) -> None:
        self.views: list[int] = []

    def render(self, cameras: Cameras, view: int) -> dict[str, Any]:
        self.views.append(view)
        origins, directions = cameras.image_rays(view)
        middle = -(origins * directions).sum(-1)
        discriminant = middle**2 - (origins**2).sum(-1) + 1
        hit = discriminant > 0
        depth = torch.where(hit, middle - discriminant.clamp_min(0).sqrt(), 0.0)
        size = (cameras.height, cameras.width)
        return {
            "rgb": (hit[:, None] * torch.tensor([1.0, 0.0, 0.0])).reshape(*size, 3),
            "depth": depth.reshape(size),
            "normal": (origins + depth[:, None] * directions).reshape(*size, 3),
            "alpha": hit.float().reshape(size),
        }


@pytest.fixture
def cameras() -> Cameras:
    position = torch.tensor([[0.0, 0.0, 4.0], [4.0, 0.0, 0.0], [0.0, 0.0, -4.0]])
    return Cameras(look_at(position, torch.zeros(3), torch.tensor(UP)), torch.tensor([[30.0, 30, 12, 8]] * 3), 16, 24)


@pytest.fixture
def options() -> VideoOptions:
    channels = ["rgb", "depth", "normal", "alpha"]
    return VideoOptions(channels=channels, format=["mp4", "gif"], frames=3, fps=10.0, elevation=0.0)


def test_frames_and_videos_of_every_channel(cameras: Cameras, options: VideoOptions, tmp_path: Path) -> None:
    lines: list[str] = []
    videos = show(Ball(), "mesh", options, cameras, UP, tmp_path, "step 1", lines.append)
    assert len(videos) == len(lines) == 8
    assert all(path.stat().st_size > 0 for path in videos)
    assert tmp_path / "orbit_mesh_depth.gif" in videos
    first = {c: iio.imread(tmp_path / "frames" / "orbit_mesh" / c / "0001.png") for c in options.channels}
    assert first["rgb"][8, 12].tolist() == [255, 0, 0]
    assert first["rgb"][0, 0].tolist() == [0, 0, 0]
    assert first["alpha"][8, 12].tolist() == [255, 255, 255]
    assert first["depth"][8, 12, 0] > 240  # the ball's nearest point is the near end of the scale
    assert first["normal"][8, 12, 2] > 240  # it faces the camera on +z


def test_a_second_time_only_what_changed_is_rendered(cameras: Cameras, options: VideoOptions, tmp_path: Path) -> None:
    options.format = ["gif"]
    renders = []
    for changes, identity in (({}, "1"), ({}, "1"), ({}, "2"), ({"resolution": 12}, "2"), ({"elevation": 5.0}, "2")):
        options = replace(options, **changes)
        ball = Ball()
        show(ball, "field", options, cameras, UP, tmp_path, identity, lambda text: None)
        renders.append(len(ball.views))
    assert renders == [3, 0, 3, 3, 3]


def test_resolution_is_the_longer_side(cameras: Cameras, options: VideoOptions) -> None:
    options.resolution = 48
    path = camera_path(options, cameras, UP)
    assert (path.height, path.width) == (32, 48)
    assert path.intrinsics[0].tolist() == [60.0, 60.0, 24.0, 16.0]


def test_auto_takes_the_mesh_where_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a mesh nor a checkpoint"):
        pick_source(tmp_path, "auto")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        pick_source(tmp_path, "field")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_00000001.pt").touch()
    assert pick_source(tmp_path, "auto") == pick_source(tmp_path, "field") == "field"
    with pytest.raises(CheckpointError, match=r"no mesh/mesh.glb; make one with resume=.*source=field"):
        pick_source(tmp_path, "mesh")
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "mesh.glb").touch()
    assert pick_source(tmp_path, "auto") == pick_source(tmp_path, "mesh") == "mesh"
