"""transforms.json: known points on their pixels, what writers make of names, masks, splits, points, notes."""

import json
import math
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerfkit.errors import SceneError
from nerfkit.scenes import transforms
from nerfkit.scenes.capture import Capture, Photo
from nerfkit.scenes.files import Source
from tests.scenes.captures import some_views, write_pictures
from tests.scenes.real import data_folder

NAMES = ("a.png", "b.png", "c.png")
LENS = {"fl_x": 50.0, "fl_y": 52.0, "cx": 21.0, "cy": 14.0, "w": 40, "h": 30}
# A camera at (1, 2, 3) that looks along +x; right, up, backward are the world's -y, z, -x.
MATRIX = [[0, 0, -1, 1], [-1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]]
POINT = (6, 0, 4)  # 5 ahead, 2 to the right, 1 up: x / z = 0.4, y / z = -0.2 with y down
Change = Callable[[Path, dict[str, Any]], object]


def write(root: Path, change: Change = lambda root, content: None) -> Path:
    """Three photos, whose frames are not sorted, after ``change`` of folder and content."""
    write_pictures(root / "images", NAMES)
    frames = [{"file_path": f"images/{name}", "transform_matrix": MATRIX} for name in reversed(NAMES)]
    content = {**LENS, "frames": frames}
    change(root, content)
    (root / "transforms.json").write_text(json.dumps(content))
    return root


def read(root: Path) -> Capture:
    with Source(root) as source:
        return transforms.read(source)


def put(**values: Any) -> Change:
    """Sets keys at the top."""
    return lambda root, content: content.update(values)


def put_in(number: int, **values: Any) -> Change:
    """Sets keys in a frame."""
    return lambda root, content: content["frames"][number].update(values)


def pixel(photo: Photo, point: tuple[float, ...] = POINT) -> np.ndarray:
    """Where the photo shows a point."""
    x, y, z = photo.pose[:, :3].T @ (np.array(point) - photo.pose[:, 3])
    return photo.lens.project(np.array([x, -y, -z]))[0]


def bent(k1: float = 0, k2: float = 0, k3: float = 0, p1: float = 0, p2: float = 0) -> list[float]:
    """nerfstudio's formula at x = 0.4, y = -0.2, through ``LENS``."""
    x, y, s = 0.4, -0.2, 0.2
    d = 1 + k1 * s + k2 * s**2 + k3 * s**3
    return [
        21 + 50 * (x * d + 2 * p1 * x * y + p2 * (s + 2 * x * x)),
        14 + 52 * (y * d + 2 * p2 * x * y + p1 * (s + 2 * y * y)),
    ]


def equidistant(*k: float, tangent: tuple[float, float] = (0, 0)) -> list[float]:
    """The same for its fisheye: the angle in place of its tangent."""
    angle = math.atan(math.sqrt(0.2))
    x, y = np.array([0.4, -0.2]) / math.sqrt(0.2) * angle
    d = 1 + sum(value * angle ** (2 * power) for power, value in enumerate(k, 1))
    p1, p2 = tangent
    return [
        21 + 50 * (x * d + 2 * p1 * x * y + p2 * (3 * x * x + y * y)),
        14 + 52 * (y * d + 2 * p2 * x * y + p1 * (x * x + 3 * y * y)),
    ]


BENT = {"k1": 0.1, "k2": -0.05, "p1": 0.01, "p2": -0.02}
FOUR = (0.1, -0.05, 0.02, 0.01)
ANGLES = {"fl_x": None, "fl_y": None, "cx": None, "cy": None}
LENSES: dict[str, tuple[Change, str, list[float]]] = {
    "plain": (put(), "PINHOLE", [41, 3.6]),
    "zeros": (put(k1=0, k2=0.0, p1=0, p2=0, k3=0, k4=0, camera_model="OPENCV", is_fisheye=False), "PINHOLE", [41, 3.6]),
    "OpenCV": (put(**BENT, camera_model="OPENCV"), "OPENCV", bent(**BENT)),
    "a list": (put(distortion_params=[0.1, -0.05, 0, 0, 0.01, -0.02]), "OPENCV", bent(**BENT)),
    "r^6": (put(**BENT, k3=0.3), "FULL_OPENCV", bent(**BENT, k3=0.3)),
    "a pinhole that bends": (put(k1=0.1, camera_model="PINHOLE"), "OPENCV", bent(0.1)),
    "a frame's before the top's": (lambda r, c: (put(k1=0.5)(r, c), put_in(2, k1=0.1)(r, c)), "OPENCV", bent(0.1)),
    "a denominator": (
        put(k1=0.1, k4=0.2, camera_model="FULL_OPENCV"),
        "FULL_OPENCV",
        [21 + 20 * 1.02 / 1.04, 14 - 10.4 * 1.02 / 1.04],
    ),
    "a fisheye": (
        put(**dict(zip(("k1", "k2", "k3", "k4"), FOUR, strict=True)), camera_model="OPENCV_FISHEYE"),
        "OPENCV_FISHEYE",
        equidistant(*FOUR),
    ),
    "instant-ngp's fisheye": (put(k1=0.1, is_fisheye=True), "OPENCV_FISHEYE", equidistant(0.1)),
    "a fisheye with p1 and p2": (
        put(k1=0.1, p1=0.01, p2=-0.02, is_fisheye=True),
        "THIN_PRISM_FISHEYE",
        equidistant(0.1, tangent=(0.01, -0.02)),
    ),
    # Half the width over tan(45 degrees) is 20, half the height 15; the center is the picture's.
    "angles": (put(**ANGLES, camera_angle_x=math.pi / 2, camera_angle_y=math.pi / 2), "PINHOLE", [28, 12]),
    "one angle": (put(**ANGLES, camera_angle_x=math.pi / 2), "PINHOLE", [28, 11]),
    "degrees": (put(**ANGLES, x_fov=90.0, y_fov=90), "PINHOLE", [28, 12]),
    "a focal length before angles": (put(x_fov=90, camera_angle_y=1.0), "PINHOLE", [41, 3.6]),
    "a frame's angle before the top's length": (put_in(2, camera_angle_x=math.pi / 2), "PINHOLE", [29, 3.6]),
    "no size": (put(w=None, h=None), "PINHOLE", [41, 3.6]),
    "one size": (put(h=None), "PINHOLE", [41, 3.6]),
    "rows without the last": (put_in(2, transform_matrix=MATRIX[:3]), "PINHOLE", [41, 3.6]),
    "a start alone": (
        lambda root, content: content["frames"].__setitem__(
            2, {"file_path": "images/a", "transform_matrix_start": MATRIX}
        ),
        "PINHOLE",
        [41, 3.6],
    ),
}


@pytest.mark.parametrize("case", LENSES)
def test_known_point_lands_on_the_pixel_of_the_formula(tmp_path: Path, case: str) -> None:
    change, model, expected = LENSES[case]
    photo = read(write(tmp_path, change)).photos[0]
    assert (photo.lens.model, photo.lens.width, photo.lens.height) == (model, 40, 30)
    np.testing.assert_allclose(pixel(photo), expected, atol=1e-9)


def test_frames_have_their_own_lenses_and_poses(tmp_path: Path) -> None:
    views = some_views(NAMES)

    def change(root: Path, content: dict[str, Any]) -> None:
        content.clear()
        content["frames"] = []
        for view in views:
            camera = np.concatenate([view.rotation, view.translation[:, None]], 1)
            pose = np.linalg.inv(np.concatenate([camera, [[0, 0, 0, 1.0]]])) * [1, -1, -1, 1]
            lens = dict(zip(("fl_x", "fl_y", "cx", "cy"), view.lens, strict=True), w=40.0, h=30.0)
            content["frames"].append({"file_path": f"images/{view.name}", "transform_matrix": pose.tolist(), **lens})

    capture = read(write(tmp_path, change))
    for photo, view in zip(capture.photos, views, strict=True):
        np.testing.assert_allclose(pixel(photo, (0.7, -0.4, 0.9)), view.pixel((0.7, -0.4, 0.9)), atol=1e-9)
    assert capture.notes == [] and capture.up is None and capture.split is None and capture.points.shape == (0, 3)


HABITS = [
    "./images/a.png",
    "images\\a.png",
    "images/a",
    "images/a.jpg",
    "images/A.PNG",
    "Images/a.PNG",
    "{root}/images/a",
]


@pytest.mark.parametrize("stated", HABITS)
def test_names_as_writers_have_them(tmp_path: Path, stated: str) -> None:
    capture = read(write(tmp_path, put_in(2, file_path=stated.format(root=tmp_path))))
    assert [photo.name for photo in capture.photos] == [f"images/{name}" for name in NAMES]
    assert capture.notes == []


def test_zip_with_a_folder_inside(tmp_path: Path) -> None:
    root = write(tmp_path / "set", put_in(2, file_path="images/a"))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        for path in root.rglob("*.*"):
            packed.write(path, path.relative_to(tmp_path))
    assert [photo.name for photo in read(tmp_path / "set.zip").photos] == [f"set/images/{name}" for name in NAMES]


def test_smaller_copies_where_there_is_nothing_else(tmp_path: Path) -> None:
    root = write(tmp_path)
    shutil.move(root / "images", root / "images_2")
    photo = read(root).photos[0]
    assert (photo.name, photo.lens.width) == ("images_2/a.png", 40)
    write(root, put(w=None))
    shutil.rmtree(root / "images")
    with pytest.raises(SceneError, match="none of the 3 photos"):
        read(root)


def test_masks_of_both_meanings(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["masks/m.png", "images/dynamic_mask_b.png"])
    capture = read(write(tmp_path, put_in(2, mask_path="./masks/m.png")))
    assert [photo.ignore for photo in capture.photos] == ["masks/m.png", None, None]
    assert [photo.moving for photo in capture.photos] == [None, "images/dynamic_mask_b.png", None]
    assert "only 1 of 3 photos have a mask_path" in capture.notes[0]


def test_alpha_pictures_of_instant_ngp(tmp_path: Path) -> None:
    """Beside a photo that is named with its extension, or without."""
    write_pictures(tmp_path, ["images/a.png.alpha.png", "images/c.alpha.png"])
    capture = read(write(tmp_path, put_in(0, file_path="images/c")))
    assert [photo.alpha for photo in capture.photos] == ["images/a.png.alpha.png", None, "images/c.alpha.png"]


A, B, C = (f"images/{name}" for name in NAMES)
SPLITS: dict[str, tuple[dict[str, list[str]], tuple[list[int], list[int]], str]] = {
    "all": ({"train_filenames": ["./" + A, B], "test_filenames": [C], "val_filenames": [C]}, ([0, 1], [2]), ""),
    "validation": ({"train_filenames": [A, B], "val_filenames": [C]}, ([0, 1], [2]), ""),
    "no training": ({"test_filenames": [A]}, ([1, 2], [0]), ""),
    "training alone": ({"train_filenames": [C, "images/a"]}, ([0, 2], [1]), ""),
    "in no list": ({"train_filenames": [A], "test_filenames": [B]}, ([0], [1]), "1 photos are neither"),
    "in both": ({"train_filenames": [A, B, C], "test_filenames": [C]}, ([0, 1], [2]), "1 photos for training and test"),
    "unknown": ({"train_filenames": [A, B, "images/x.png"], "test_filenames": [C]}, ([0, 1], [2]), "no frame's.*x.png"),
}


@pytest.mark.parametrize("case", SPLITS)
def test_splits(tmp_path: Path, case: str) -> None:
    lists, split, note = SPLITS[case]
    capture = read(write(tmp_path, put(**lists)))
    assert capture.split == split
    assert len(capture.notes) == bool(note)
    if note:
        assert re.search(note, capture.notes[0])


HEAD = b"ply\nformat %s 1.0\ncomment x\nelement vertex 2\nproperty uchar red\n" + b"".join(
    b"property float %s\n" % axis for axis in (b"z", b"x", b"y")
)
TAIL = b"element face 0\nproperty list uchar int vertex_indices\nend_header\n"
ROWS = [(1, 3.0, 1.0, 2.0), (2, math.nan, 0.0, 0.0)]
BINARY = {
    b"binary_little_endian": np.array(ROWS, "u1, <f4, <f4, <f4").tobytes(),
    b"binary_big_endian": np.array(ROWS, "u1, >f4, >f4, >f4").tobytes(),
    b"ascii": b"1 3.0 1 2\r\n2 nan 0 0\n",
}


@pytest.mark.parametrize("kind", BINARY)
def test_points_are_in_the_units_of_the_poses(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "p.ply").write_bytes(HEAD % kind + TAIL + BINARY[kind])
    turn = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
    capture = read(write(tmp_path, put(ply_file_path="./p.ply", applied_transform=turn, up=[0, 3, 4])))
    np.testing.assert_array_equal(capture.points, [[1, 2, 3]])
    np.testing.assert_array_equal(capture.photos[0].pose, MATRIX[:3])
    assert capture.up == (0, 0.6, 0.8) and capture.notes == []
    whole = (tmp_path / "p.ply").read_bytes()
    for end in range(0, len(whole) - 1, 9):  # wherever it was cut
        (tmp_path / "p.ply").write_bytes(whole[:end])
        capture = read(tmp_path)
        assert len(capture.points) <= 1 and (len(capture.notes) == 1 or kind == b"ascii")


NOTES: dict[str, tuple[Change, str]] = {
    "a photo": (put_in(0, file_path="images/x.png"), "1 of the 3 photos that it places are missing.*x.png"),
    "a repeat": (lambda root, content: content["frames"].append(content["frames"][0]), "1 frames repeat.*c.png"),
    "a mask": (lambda root, c: [f.update(mask_path="m.png") for f in c["frames"]], "1 of the masks.*missing.*m.png"),
    "points": (put(ply_file_path="p.ply"), "the points of p.ply are missing"),
    "depth": (put_in(1, depth_path="d.png"), r"depth without integer_depth_scale \(depth_path\)"),
    "depth of a frame": (put_in(1, depth_file_path="d.png"), "1 of the depth files.*missing.*d.png"),
    "crop boxes": (put(aabb=[[0] * 3, [1] * 3], render_aabb=[[0] * 3, [1] * 3]), r"boxes \(aabb, render_aabb\)"),
    "a circle": (put(fisheye_crop_radius=9), "fisheye_crop_radius"),
    "motion": (put_in(0, transform_matrix_end=MATRIX), r"motion .*\(transform_matrix_end\)"),
    "pixels": (put(white_transparent=True, sharpen=0.5), r"\(white_transparent, sharpen\)"),
    "frames": (put(n_frames=2, sharpness_discard_threshold=0.5), r"\(n_frames, sharpness_discard_threshold\)"),
    "unknown": (lambda root, content: content.update({"a b": 1, "foo": 2}), r"unknown meaning \('a b', foo\)"),
    "no similarity": (put(applied_transform=[[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]), "applied_transform is no"),
}


@pytest.mark.parametrize("case", NOTES)
def test_one_line_says_what_is_passed_over(tmp_path: Path, case: str) -> None:
    change, message = NOTES[case]
    (note,) = read(write(tmp_path, change)).notes
    assert re.search(message, note)


def test_what_changes_nothing_is_passed_over_silently(tmp_path: Path) -> None:
    silent = put(
        aabb_scale=4, scale=0.3, offset=[0.5] * 3, n_frames=3, rolling_shutter=[0] * 4, white_transparent=False
    )
    assert read(write(tmp_path, silent)).notes == []


def test_fox() -> None:
    capture = read(data_folder("fox"))
    assert len(capture.photos) == 50 and len(capture.notes) == 1 and "17 of the 67" in capture.notes[0]
    photo = capture.photos[0]
    assert (photo.name, photo.lens.model, photo.lens.width, photo.lens.height) == (
        "images/0001.jpg",
        "OPENCV",
        1080,
        1920,
    )
    ahead = np.stack([photo.pose[:, 3] - 4 * photo.pose[:, 2] for photo in capture.photos])
    assert np.linalg.norm(np.median(ahead, axis=0)) < 1.5  # instant-ngp's writer puts what cameras look at at 0
    assert np.mean([photo.pose[2, 1] for photo in capture.photos]) > 0.9  # and turns z up
