from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import pytest
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.scenes.scene import Scene, Similarity
from nerfkit.view.options import VideoOptions
from nerfkit.view.route import camera_path
from nerfkit.view.show import SideBySide, pick_source, seen_over, show

UP = (0.0, 1.0, 0.0)


class Ball:
    """The unit ball, red, on black; its eight points are those of a cube half as large."""

    def __init__(self) -> None:
        self.views: list[int] = []

    def render(self, cameras: Cameras, view: int, channels: Sequence[str]) -> dict[str, Any]:
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

    def points(self) -> torch.Tensor:
        return torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3)


@pytest.fixture
def scene() -> Scene:
    position = torch.tensor([[0.0, 0.0, 4.0], [4.0, 0.0, 0.0], [0.0, 0.0, -4.0]])
    lens = torch.tensor([[30.0, 30, 12, 8]] * 3)
    cameras = Cameras(look_at(position, torch.zeros(3), torch.tensor(UP)), lens, 16, 24)
    photos = torch.zeros(3, 16, 24, 4, dtype=torch.uint8)
    return Scene("ball", photos, cameras, [0, 1], [2], normalization=Similarity(0.5, (1.0, 0.0, 0.0)))


@pytest.fixture
def options() -> VideoOptions:
    channels = ["rgb", "depth", "normal", "alpha"]
    return VideoOptions(channels=channels, format=["mp4", "gif"], frames=3, fps=10.0, elevation=0.0)


def test_frames_and_videos_of_every_channel(scene: Scene, options: VideoOptions, tmp_path: Path) -> None:
    lines: list[str] = []
    videos = show(Ball(), "mesh", options, scene, tmp_path, "step 1", lines.append)
    assert len(videos) == len(lines) == 8
    assert all(path.stat().st_size > 0 for path in videos)
    stem, frames = "orbit_mesh_frames3_fps10_elevation0", "orbit_mesh_frames3_elevation0"
    assert tmp_path / f"{stem}_depth.gif" in videos
    first = {c: iio.imread(tmp_path / "frames" / frames / c / "0001.png") for c in options.channels}
    assert first["rgb"][8, 12].tolist() == [255, 0, 0]
    assert first["rgb"][0, 0].tolist() == [0, 0, 0]
    assert first["alpha"][8, 12].tolist() == [255, 255, 255]
    assert first["depth"][8, 12, 0] > 240  # the ball's nearest point is before the near end of the scale
    assert first["normal"][8, 12, 2] > 240  # it faces the camera on +z


def test_a_second_time_only_what_changed_is_rendered(scene: Scene, options: VideoOptions, tmp_path: Path) -> None:
    options.format = ["gif"]
    renders: list[int] = []
    lines: list[str] = []
    for changes, identity in (({}, "1"), ({}, "1"), ({}, "2"), ({"fps": 5.0}, "2"), ({"elevation": 5.0}, "2")):
        options = replace(options, **changes)
        ball = Ball()
        show(ball, "field", options, scene, tmp_path, identity, lines.append)
        renders.append(len(ball.views))
    assert renders == [3, 0, 3, 0, 3]
    rgb = [line.split(f" {tmp_path}/") for line in lines if line.endswith("rgb.gif")]
    assert [word for word, _ in rgb] == ["wrote", "replaced", "replaced", "wrote", "wrote"]
    assert rgb[4][1] == "orbit_field_frames3_fps5_elevation5_rgb.gif"


@pytest.mark.parametrize(
    ("sides", "size", "focal"),
    [
        ({}, (16, 24), 30.0),
        ({"resolution": 48}, (32, 48), 60.0),
        ({"width": 48}, (32, 48), 60.0),
        ({"height": 8}, (8, 12), 15.0),
        ({"width": 48, "height": 16}, (16, 48), 30.0),  # a wider picture shows more
        ({"width": 24, "height": 32}, (32, 24), 30.0),
    ],
)
def test_size_and_lens(
    scene: Scene, options: VideoOptions, sides: dict[str, int], size: tuple[int, int], focal: float
) -> None:
    path = camera_path(replace(options, **sides), scene, Ball().points())
    assert (path.height, path.width) == size
    assert path.intrinsics[0].tolist() == [focal, focal, size[1] / 2, size[0] / 2]


def test_target_and_radius_are_in_the_scene_s_units(scene: Scene, options: VideoOptions) -> None:
    path = camera_path(replace(options, target=[-2.0, 0.5, 0.0], radius=3.0), scene, Ball().points())
    target = torch.tensor([0.0, 0.25, 0.0])
    assert torch.allclose((path.positions - target).norm(dim=-1), torch.full((3,), 1.5))
    assert torch.allclose(path.project(target[None])[0][:, 0], torch.tensor([12.0, 8.0]).expand(3, 2), atol=1e-4)


def test_field_and_mesh_side_by_side(scene: Scene, options: VideoOptions, tmp_path: Path) -> None:
    options = replace(options, format=["png"], path="ellipse", resolution=48)
    both = show(SideBySide(Ball(), Ball()), "both", options, scene, tmp_path, "1", str)
    alone = show(Ball(), "mesh", options, scene, tmp_path, "1", str)
    for pair, single in zip(both, alone, strict=True):
        left, right = iio.imread(pair / "0002.png"), iio.imread(single / "0002.png")
        assert left.shape == (32, 96, 3)
        assert (left[:, :48] == right).all() and (left[:, 48:] == right).all()


@pytest.mark.parametrize("path", ["photos", "ellipse", "file"])
def test_a_stopped_render_of_any_path_goes_on_and_leaves_its_path(
    path: str, scene: Scene, options: VideoOptions, tmp_path: Path
) -> None:
    options = replace(options, channels=["rgb"], format=["gif"])
    if path == "file":
        show(Ball(), "mesh", options, scene, tmp_path, "1", str)
        drawn = tmp_path / "orbit_mesh_frames3_fps10_elevation0_path.json"
        options = replace(options, path="file", file=str(drawn), frames=None)
    else:
        options = replace(options, path=path)

    class Stopped(Ball):
        def render(self, cameras: Cameras, view: int, channels: Sequence[str]) -> dict[str, Any]:
            if view == 2:
                raise KeyboardInterrupt
            return super().render(cameras, view, channels)

    with pytest.raises(KeyboardInterrupt):
        show(Stopped(), "mesh", options, scene, tmp_path, "1", str)
    rest = Ball()
    (video,) = show(rest, "mesh", options, scene, tmp_path, "1", str)
    assert rest.views == [2]
    stem = f"file_{drawn.stem}_mesh_framesnull" if path == "file" else f"{path}_mesh_frames3"
    assert video.name == f"{stem}_fps10_elevation0_rgb.gif"
    assert (tmp_path / f"{stem}_fps10_elevation0_path.json").is_file()
    if path == "file":  # the same cameras, so the same pictures
        frames = [
            tmp_path / "frames" / name / "rgb" / "0003.png"
            for name in ("orbit_mesh_frames3_elevation0", f"{stem}_elevation0")
        ]
        assert frames[0].read_bytes() == frames[1].read_bytes()


def test_transparent_frames(scene: Scene, options: VideoOptions, tmp_path: Path) -> None:
    options = replace(options, channels=["rgb"], format=["webm", "png"], background="transparent", radius=8.0)
    lines: list[str] = []
    video, pictures = show(Ball(), "mesh", options, scene, tmp_path, "1", lines.append)
    assert (video.suffix, lines[1]) == (".webm", f"wrote 3 pictures {pictures}")
    frame = iio.imread(pictures / "0001.png")
    assert (frame[8, 12].tolist(), frame[0, 0].tolist()) == ([255, 0, 0, 255], [0, 0, 0, 0])


def test_backgrounds(scene: Scene, options: VideoOptions) -> None:
    found = [
        seen_over(scene, replace(options, format=["png"], background=value)).background
        for value in (None, "white", [0.0, 0.5, 1.0], "transparent")
    ]
    assert found == [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.5, 1.0), (0.0, 0.0, 0.0)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"background": "transparent"}, r"video.background=transparent: mp4 cannot be; ask for format=\[webm\]"),
        ({"background": "whit"}, r"video.background=whit: unknown color; did you mean white"),
        ({"background": [2, 0, 0]}, r"video.background=\[2,0,0\]: expected black or white, or three numbers"),
        ({"target": [1.0, 2.0]}, r"video.target=\[1.0,2.0\]: expected three numbers"),
        ({"resolution": 8, "width": 8}, r"video.resolution=8: expected null where width or height is given"),
    ],
)
def test_what_cannot_be_asked_for(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VideoOptions(**values)


def test_a_spiral_among_cameras_all_around_is_noted(scene: Scene, options: VideoOptions, tmp_path: Path) -> None:
    lines: list[str] = []
    show(Ball(), "mesh", replace(options, path="spiral", format=["png"]), scene, tmp_path, "1", lines.append)
    assert lines[0].startswith("note: path=spiral is for photos from one side")


def test_auto_takes_the_mesh_where_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a mesh nor a checkpoint"):
        pick_source(tmp_path, "auto")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        pick_source(tmp_path, "field")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_00000001.pt").touch()
    assert pick_source(tmp_path, "auto") == pick_source(tmp_path, "field") == "field"
    for wanted in ("mesh", "both"):
        with pytest.raises(CheckpointError, match=r"no mesh/mesh.glb; make one with resume=.*source=field"):
            pick_source(tmp_path, wanted)
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "mesh.stl").touch()
    assert [pick_source(tmp_path, wanted) for wanted in ("auto", "mesh")] == ["field", "mesh"]  # it has no colors
    (tmp_path / "mesh" / "refined.glb").touch()
    assert pick_source(tmp_path, "auto") == "mesh"  # the same mesh, with a texture
    (tmp_path / "mesh" / "refined.glb").unlink()
    (tmp_path / "mesh" / "mesh.glb").touch()
    assert pick_source(tmp_path, "auto") == pick_source(tmp_path, "mesh") == "mesh"
    assert pick_source(tmp_path, "both") == "both"
