"""What a Blender file says of its lens is used, refused, or noted."""

import math
from pathlib import Path
from typing import Any

import pytest

from nerfkit.errors import SceneError
from nerfkit.scenes import blender
from tests.scenes.builders import edit_json, ring, write_blender

TRAIN = "transforms_train.json"
ANGLE = 2 * math.atan(0.5)  # of a picture as wide as its focal length


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of 32 x 24 pixels, opaque: no mask speaks against another lens."""
    return write_blender(tmp_path / "d", ring(4), ring(5)[2], opaque=True)


@pytest.mark.parametrize(
    ("stated", "lens"),
    [
        ({"camera_angle_x": ANGLE}, [32, 32, 16, 12]),
        ({"camera_angle_x": ANGLE, "camera_angle_y": ANGLE}, [32, 24, 16, 12]),
        ({"camera_angle_x": ANGLE, "fl_x": 40.0}, [40, 40, 16, 12]),
        ({"fl_x": 40.0, "fl_y": 44.0, "cx": 8.0, "cy": 10.0}, [40, 44, 8, 10]),
        ({"fl_x": 80.0, "cx": 20.0, "w": 64, "h": 48}, [40, 40, 10, 12]),
        ({"camera_angle_x": ANGLE, "w": 64, "h": 48}, [32, 32, 16, 12]),
        ({"fl_x": 40.0, "k1": 0, "p2": 0.0, "is_fisheye": False, "camera_model": "OPENCV"}, [40, 40, 16, 12]),
    ],
)
def test_a_lens_for_all_frames(folder: Path, stated: dict[str, Any], lens: list[float]) -> None:
    edit_json(folder / TRAIN, **stated)
    scene = blender.load(folder)
    assert scene.cameras.intrinsics[0].tolist() == pytest.approx(lens, rel=1e-6)
    assert len(scene.notes) == 1 and scene.notes[0].startswith("the region of interest")
    assert blender.load(folder, resolution=16).cameras.intrinsics[0].tolist() == pytest.approx([v / 2 for v in lens])


def test_a_frame_s_own_lens(folder: Path) -> None:
    edit_json(folder / TRAIN, camera_angle_x=ANGLE, frames__1__camera_angle_x=ANGLE / 2, frames__2__cx=3.0)
    found = blender.load(folder).cameras.intrinsics
    assert found[0].tolist() == pytest.approx([32, 32, 16, 12])
    assert found[1].tolist() == pytest.approx([16 / math.tan(ANGLE / 4)] * 2 + [16, 12])
    assert found[2].tolist() == pytest.approx([32, 32, 3, 12])


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"k1": 0.1}, "distorted \\(k1 0.1\\); expected pictures of a pinhole"),
        ({"frames__3__p1": -0.01}, "frame 3: the lens is distorted \\(p1 -0.01\\)"),
        ({"is_fisheye": True}, "distorted \\(is_fisheye True\\)"),
        ({"camera_model": "OPENCV_FISHEYE"}, "distorted \\(OPENCV_FISHEYE\\)"),
        ({"w": 64, "h": 64}, "w and h are 64x64, the image is 32x24"),
        ({"fl_x": 0}, "fl_x is 0"),
        ({"camera_angle_y": 4.0}, "camera_angle_y is 4.0; expected radians below pi"),
    ],
)
def test_what_cannot_be_used_is_refused(folder: Path, stated: dict[str, Any], said: str) -> None:
    edit_json(folder / TRAIN, **stated)
    with pytest.raises(SceneError, match=said):
        blender.load(folder)


def test_keys_that_could_matter_are_noted(folder: Path) -> None:
    edit_json(folder / TRAIN, aabb_scale=16, applied_scale=2.0, frames__0__mask_path="m.png")
    assert blender.load(folder).notes[:-1] == [f"{folder / TRAIN}: not used: applied_scale, mask_path"]
    assert "photos of 32x24 are used at 16x12" in blender.load(folder, resolution=16).notes[1]
