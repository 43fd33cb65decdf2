"""Poses in another convention are noted with the likely cause, equal ones are refused; and many are read in time."""

import json
import re
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.errors import SceneError
from nerfkit.scenes import open_scene
from nerfkit.scenes.files import Source
from nerfkit.scenes.pose_notes import convention_note
from nerfkit.scenes.transforms import read
from tests.scenes.builders import Sphere, quantize, ring
from tests.scenes.captures import View, write_colmap, write_pictures

TURNED = np.diag([1.0, -1.0, -1.0, 1.0])
NONE = np.empty((0, 3))


def square(cameras: Cameras) -> np.ndarray:
    """Camera to world (N,4,4), OpenGL axes."""
    poses = cameras.camera_to_world.double().numpy()
    return np.concatenate([poses, np.broadcast_to([[0.0, 0, 0, 1]], (len(poses), 1, 4))], 1)


def write(folder: Path, matrices: np.ndarray, cameras: Cameras, sphere: Sphere, channels: int) -> Path:
    """transforms.json with these matrices and the photos of the cameras."""
    (folder / "images").mkdir(parents=True)
    fx, fy, cx, cy = cameras.intrinsics[0].tolist()
    frames = []
    for view, matrix in enumerate(matrices):
        rgba = sphere.render(cameras, view, 1)
        iio.imwrite(folder / "images" / f"{view:02}.png", quantize(rgba[..., :channels]))
        frames.append({"file_path": f"images/{view:02}.png", "transform_matrix": matrix.tolist()})
    content = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


AXES, INVERSE = "OpenCV's .y down.*negate the second and third column", "world to camera in place.*write their inverses"
WRONG = {
    "axes": (lambda poses: poses @ TURNED, AXES),
    "inverse": (np.linalg.inv, INVERSE),
    "both": (lambda poses: np.linalg.inv(poses @ TURNED), INVERSE),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("center", [(3.0, -2.0, 5.0), (0.0, 0.0, 0.0)])
def test_another_convention_is_noted(tmp_path: Path, case: str, center: tuple[float, float, float]) -> None:
    sphere, (change, message) = Sphere(center), WRONG[case]
    cameras = ring(12, sphere=sphere)
    matrices = change(square(cameras))
    with pytest.raises(SceneError, match=f"no point in space lies inside all masks.*cameras do not look.*{message}"):
        open_scene("auto", write(tmp_path / "masked", matrices, cameras, sphere, 4))
    plain = write(tmp_path / "plain", matrices, cameras, sphere, 3)
    if any(center) or case == "axes":
        assert any(re.search(message, note) for note in open_scene("auto", plain).notes)
        return
    with pytest.raises(SceneError, match=f"taken from one place.*{message}"):  # the inverse of what looks at the origin
        open_scene("auto", plain)


def test_a_colmap_model_of_inverses_is_noted(tmp_path: Path) -> None:
    """With points, whose world is another one than that of the poses then."""
    poses = square(ring(12)) @ TURNED  # COLMAP's camera to world
    views = [View(f"{k:02}.png", pose[:3, :3], pose[:3, 3]) for k, pose in enumerate(poses)]
    write_colmap(tmp_path / "sparse" / "0", views, [((3, -2 + k / 10, 5), 0.1, 3) for k in range(20)], "txt")
    write_pictures(tmp_path / "images", [view.name for view in views])
    assert any("world to camera in place" in note for note in open_scene("auto", tmp_path).notes)


def test_right_poses_are_not_noted() -> None:
    """A ring, a ball's top, and photos from one side whose axes meet behind them, or nowhere."""
    up = torch.tensor([0.0, 1.0, 0.0])
    row = torch.stack([torch.linspace(-1, 1, 9), torch.zeros(9), torch.zeros(9)], -1)
    ahead = torch.tensor([0.0, 0.0, -10.0])
    cases = [
        ring(12).camera_to_world,
        look_at(row * 10 - 6 * ahead, torch.zeros(3), up),
        look_at(row, 1.2 * row + ahead, up),
        look_at(row, row + ahead, up),
    ]
    for poses in cases:
        assert convention_note(poses.double().numpy(), NONE, None, "here") == []
    points = np.random.default_rng(0).normal((0, 0, -10), size=(50, 3))
    away = square(Cameras(cases[2], torch.ones(9, 4), 1, 1)) @ TURNED
    (note,) = convention_note(away[:, :3], points, None, "here")
    assert note.startswith("here: 9 of 9 cameras do not look at the object")
    assert convention_note(away[:, :3], NONE, (0, 0, -10), "here") == [note]


@pytest.mark.parametrize("channels", [3, 4])
def test_equal_poses(tmp_path: Path, channels: int) -> None:
    cameras = ring(12)
    matrices = square(cameras)
    matrices[5:7] = matrices[2]
    root = write(tmp_path / "some", matrices, cameras, Sphere(radius=15), channels)
    assert any(
        "2 photos have the pose of an earlier one, the first is images/05.png" in note
        for note in open_scene("auto", root).notes
    )
    matrices[:] = matrices[2]
    root = write(tmp_path / "all", matrices, cameras, Sphere(radius=15), channels)
    with pytest.raises(SceneError, match=r"all 12 photos have the same pose|all photos were taken from one place"):
        open_scene("auto", root)


def seconds(root: Path, count: int) -> float:
    """To read a transforms.json of so many photos of four pixels a side."""
    write_pictures(root / "images", [f"{k:05}.png" for k in range(count)], (4, 4))
    poses = square(ring(count))
    frames = [{"file_path": f"images/{k:05}.png", "transform_matrix": pose.tolist()} for k, pose in enumerate(poses)]
    lists = {"train_filenames": [frame["file_path"] for frame in frames[1:]], "test_filenames": ["images/00000.png"]}
    (root / "transforms.json").write_text(json.dumps({"fl_x": 5.0, "frames": frames, **lists}))
    start = time.perf_counter()
    with Source(root) as source:
        assert len(read(source).photos) == count
    return time.perf_counter() - start


@pytest.mark.slow
def test_reading_takes_time_in_proportion(tmp_path: Path) -> None:
    few, many = seconds(tmp_path / "few", 1000), seconds(tmp_path / "many", 5000)
    print(f"1000 photos {few:.2f} s, 5000 photos {many:.2f} s")
    assert many < 12 * few + 1
