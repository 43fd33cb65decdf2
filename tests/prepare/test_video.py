"""The frames that are taken from a video."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from nerfkit.errors import SceneError
from nerfkit.prepare import prepare
from nerfkit.prepare.video import take_frames
from nerfkit.view.video import write_video
from tests.prepare.made import noise

SCENE = noise(120, 480, cells=(8, 16, 32))


def panned(count: int, blurred: tuple[int, ...] = (), rest: range = range(0)) -> list[np.ndarray]:
    """Frames (96,160,3) of a window that moves over a picture, 5 pixels a frame, but for those in ``rest``."""
    frames, at = [], 0
    for number in range(count):
        frame = Image.fromarray(SCENE[:96, at : at + 160])
        frames.append(np.asarray(frame.filter(ImageFilter.GaussianBlur(3)) if number in blurred else frame))
        at += 0 if number in rest else 5
    return frames


def test_the_sharpest_frame_of_each_window(tmp_path: Path) -> None:
    sharp = (2, 9, 12, 23, 29, 30)
    blurred = tuple(number for number in range(36) if number not in sharp)
    video = write_video(panned(36, blurred), tmp_path / "walk.mp4", fps=10)
    (tmp_path / "out").mkdir()
    shots, notes = take_frames(video, tmp_path / "out", 6)
    assert [shot.name for shot in shots] == [f"frame_{number:05d}.jpg" for number in sharp]
    assert shots[0].source == "walk.mp4, frame 2" and not notes
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [shot.name for shot in shots]
    with Image.open(tmp_path / "out" / "frame_00012.jpg") as image:
        assert image.size == (160, 96)
        assert np.abs(np.asarray(image, float) - panned(36)[12]).mean() < 8


def test_a_resting_camera_adds_nothing(tmp_path: Path) -> None:
    video = write_video(panned(40, rest=range(10, 30)), tmp_path / "walk.mp4", fps=10)
    (tmp_path / "out").mkdir()
    shots, notes = take_frames(video, tmp_path / "out", 20)
    assert 9 <= len(shots) <= 12 and "the camera rested" in notes[0]


def test_more_windows_than_frames(tmp_path: Path) -> None:
    video = write_video(panned(7), tmp_path / "walk.mp4", fps=10)
    (tmp_path / "out").mkdir()
    assert len(take_frames(video, tmp_path / "out", 60)[0]) == 7


def test_a_video_without_motion(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    scene = np.asarray(Image.fromarray(SCENE[:96, :160]).resize((640, 384)), np.float64)
    still = [np.clip(scene + random.normal(0, 4, scene.shape), 0, 255).astype(np.uint8) for _ in range(30)]
    video = write_video(still, tmp_path / "still.mp4", fps=10)
    (tmp_path / "work").mkdir()
    with pytest.raises(SceneError, match="a video without motion: 1 of 10 frames differ"):
        take_frames(video, tmp_path / "work", 10)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "the file is empty"), (b"noise" * 99, "cannot be read as a video")]
)
def test_what_is_no_video(tmp_path: Path, content: bytes, message: str) -> None:
    pytest.importorskip("pycolmap", reason="pycolmap is not installed: the extra photos")
    (tmp_path / "walk.mp4").write_bytes(content)
    with pytest.raises(SceneError, match=message):
        prepare(tmp_path / "walk.mp4", tmp_path / "out")
    assert not (tmp_path / "out").exists()
