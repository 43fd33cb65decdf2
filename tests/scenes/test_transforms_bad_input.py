"""Every transforms.json that cannot be used ends in one sentence, and so do files with random damage."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from nerfkit.errors import SceneError
from tests.scenes.captures import write_pictures
from tests.scenes.test_transforms import LENS, MATRIX, NAMES, Change, put, put_in, read, write

SHEARED, MIRRORED = np.array(MATRIX) * [2, 1, 1, 1], np.array(MATRIX) * [-1, 1, 1, 1]
WITHOUT = {"fl_x": None, "fl_y": None}


def moved(root: Path, content: dict[str, Any]) -> None:
    """A second frame for a photo, from elsewhere."""
    other = np.array(MATRIX)
    other[0, 3] += 1
    content["frames"].append({"file_path": "./images/c", "transform_matrix": other.tolist()})


BAD: dict[str, tuple[Change, str]] = {
    "no frames": (put(frames=None), "'frames' is no list"),
    "empty frames": (put(frames=[]), "'frames' is no list"),
    "a frame that is none": (put(frames=[1]), "'frames' is no list"),
    "no photo": (lambda root, c: [(root / "images" / name).unlink() for name in NAMES], "none of the 3.*c.png"),
    "no name": (put_in(1, file_path=None), "frame 1: the key 'file_path' is missing"),
    "a name that is none": (put_in(1, file_path=3), "frame 1: a path is 3"),
    "a name outside": (put_in(1, file_path="../a.png"), "frame 1: the file's name is '../a.png'"),
    "an absolute name": (put_in(1, file_path="/tmp/a.png"), "frame 1: the file's name is '/tmp/a.png'"),
    "a drive": (put_in(1, file_path="C:\\a.png"), "frame 1: the file's name"),
    "half a character": (put_in(1, file_path="\ud800"), r"frame 1: the file's name is '\\ud800'"),
    "a long name": (put_in(1, file_path="a" * 300), "frame 1: the file's name"),
    "a mask outside": (put_in(1, mask_path="../a.png"), "frame 1, mask_path: the file's name"),
    "points outside": (put(ply_file_path="../p.ply"), "ply_file_path: the file's name"),
    "two poses": (moved, "frame 3: its photo images/c.png is that of frame 0"),
    "no pose": (put_in(1, transform_matrix=None), "frame 1: the key 'transform_matrix' is missing"),
    "text for a pose": (put_in(1, transform_matrix="x"), "frame 1, transform_matrix: the pose is not a matrix"),
    "NaN": (put_in(1, transform_matrix=[[float("nan")] * 4] * 4), "frame 1, transform_matrix.*NaN"),
    "shear": (put_in(1, transform_matrix=SHEARED.tolist()), "frame 1, transform_matrix.*not orthonormal"),
    "a mirror": (put_in(1, transform_matrix=MIRRORED.tolist()), "frame 1, transform_matrix.*mirrored"),
    "no focal length": (put(**WITHOUT), "no focal length"),
    "a focal length of 0": (put(fl_x=0), "fl_x is 0.*positive"),
    "text for a number": (put(cx="20"), "cx is '20'"),
    "true for a number": (put(k1=True), "k1 is True"),
    "a huge number": (put(k1=10**400), "k1 is 1000.*finite number"),
    "a wide angle": (put(**WITHOUT, camera_angle_x=3.2), "camera_angle_x is 3.2.*radians below pi"),
    "radians for degrees": (put(**WITHOUT, x_fov=180), "x_fov is 180.*degrees below 180"),
    "no width": (put(w=0), "w is 0"),
    "a short list": (put(distortion_params=[0.1, 0.2]), r"distortion_params is \[0.1, 0.2\].*k1, k2, k3, k4, p1, p2"),
    "a list of text": (put(distortion_params=["x"] * 6), "distortion_params, k1 is 'x'"),
    "r^8": (put(k4=0.1), "k4 is 0.1.*FULL_OPENCV"),
    "k5 of a fisheye": (put(k5=0.1, is_fisheye=True), "k5 is 0.1"),
    "a panorama": (put(camera_model="EQUIRECTANGULAR"), "camera_model is 'EQUIRECTANGULAR'.*OPENCV_FISHEYE"),
    "a panorama of instant-ngp": (put(equirectangular=True), "the camera is equirectangular; .*perspective or fisheye"),
    "a panorama by latitude": (put(latlong=True), "the camera is latlong; .*perspective or fisheye"),
    "a panorama of one frame": (
        put_in(1, camera_model="equirectangular"),
        "frame 1: camera_model is 'equirectangular'",
    ),
    "Project Aria": (put(camera_model="FISHEYE624"), "camera_model is 'FISHEYE624'"),
    "stereo": (put_in(1, camera_model="VR180_L"), "frame 1: camera_model is 'VR180_L'"),
    "instant-ngp's f-theta": (put(ftheta_p0=0.1), "the camera is ftheta_p0"),
    "a model that is none": (put(camera_model=[]), r"camera_model is \[\]"),
    "two opinions": (put(camera_model="OPENCV", is_fisheye=True), "camera_model is OPENCV, is_fisheye true"),
    "is_fisheye of text": (put(is_fisheye="no"), "is_fisheye is 'no'"),
    "up of two": (put(up=[0, 1]), r"up is \[0, 1\]"),
    "up of zeros": (put(up=[0, 0, 0]), "up is"),
    "a split that is no list": (put(test_filenames="a"), "test_filenames is 'a'"),
    "a split of numbers": (put(test_filenames=[1]), "test_filenames: a path is 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(tmp_path: Path, case: str) -> None:
    change, message = BAD[case]
    with pytest.raises(SceneError, match=message) as caught:
        read(write(tmp_path, change))
    text = str(caught.value)
    assert "transforms.json" in text and "expected" in text and len(text.splitlines()) == 1 and len(text) < 600


def test_damaged_picture_matters_where_its_size_does(tmp_path: Path) -> None:
    root = write(tmp_path, put(w=None))
    (root / "images/b.png").write_bytes(b"no picture")
    with pytest.raises(SceneError, match=r"images/b\.png: cannot be decoded"):
        read(root)


@pytest.mark.parametrize("text", ["", "[]", "{", "9" * 5000, '{"frames": ' + "[" * 5000, "\xff"])
def test_text_that_is_no_json_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "transforms.json").write_text(text, encoding="latin-1")
    with pytest.raises(SceneError, match=r"transforms\.json"):
        read(tmp_path)


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(deeper for key, item in inner for deeper in _places(item, (*place, key)))]


def test_random_damage_raises_nothing_but_scene_errors(tmp_path: Path) -> None:
    write_pictures(tmp_path, [*(f"images/{name}" for name in NAMES), "m.png"])
    frames = [{"file_path": f"images/{name}", "transform_matrix": MATRIX, "mask_path": "m.png"} for name in NAMES]
    iio.imwrite(tmp_path / "d.png", np.full((30, 40), 3000, np.uint16))
    frames[0] |= {"depth_file_path": "d.png", "depth_unit_scale_factor": 0.001}
    frames[1] |= {"depth_path": "d.png"}
    valid = {**LENS, "frames": frames, "k1": 0.1, "distortion_params": [0.1] * 6, "camera_model": "OPENCV_FISHEYE"}
    valid |= {"up": [0, 0, 1], "applied_transform": MATRIX, "train_filenames": ["images/a"], "ply_file_path": "p.ply"}
    valid |= {"applied_scale": 1, "integer_depth_scale": 0.001, "enable_depth_loading": True}
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    values = [None, True, -1, 1e308, 1e-320, float("nan"), float("inf"), 10**400, "", "x", "..", "a\0b", "\ud800"]
    values += ["y/" * 3000, "z" * 240 + ".png", {}, [], [[]], [None] * 4, [["a"] * 4] * 4, [True] * 6, deep, [{}]]
    places = _places(valid)[1:]
    generator = random.Random(0)
    outcomes = []
    for _ in range(200):
        content = copy.deepcopy(valid)
        *path, last = generator.choice(places)
        inner: Any = content
        for key in path:
            inner = inner[key]
        inner[last] = generator.choice(values)
        (tmp_path / "transforms.json").write_text(json.dumps(content))
        outcomes.append(_refusal(tmp_path))
    assert None in outcomes and all(len(text.splitlines()) == 1 for text in outcomes if text is not None)


def _refusal(root: Path) -> str | None:
    try:
        read(root)
    except SceneError as error:
        return str(error)
    return None
