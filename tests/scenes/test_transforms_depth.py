"""Depth files of transforms.json: a plane seen through bent lenses comes back, units, what is unknown, bad files."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from nerfkit.errors import SceneError
from nerfkit.fit.depth_hints import hints_of
from nerfkit.scenes import open_scene, transforms_depth
from nerfkit.scenes.capture import Capture
from tests.scenes import test_develop as sphere
from tests.scenes.captures import turned
from tests.scenes.test_transforms import BENT, LENS, NAMES, read, write

NORMAL, OFFSET = np.array([0.1, -0.2, 1.0]), 0.3  # of the plane, some 5 before the cameras
POSES = [np.concatenate([turned((1, 2, 3), 0.1 * k), [[0.3 * k], [0.1], [5.0]]], 1) for k in range(3)]
Rays = Callable[[np.ndarray], np.ndarray]


def bent(u: np.ndarray) -> np.ndarray:
    """nerfstudio's distortion of ideal points (...,2) with ``BENT``."""
    x, y = u[..., 0], u[..., 1]
    s = x * x + y * y
    d = 1 + BENT["k1"] * s + BENT["k2"] * s**2
    p1, p2 = BENT["p1"], BENT["p2"]
    return np.stack([x * d + 2 * p1 * x * y + p2 * (s + 2 * x * x), y * d + 2 * p2 * x * y + p1 * (s + 2 * y * y)], -1)


def perspective(u: np.ndarray) -> np.ndarray:
    """The direction of a point of the picture, z = 1: what bends to it, found by iteration."""
    ideal = u
    for _ in range(60):
        ideal = ideal + u - bent(ideal)
    return np.concatenate([ideal, np.ones_like(u[..., :1])], -1)


def fisheye(u: np.ndarray) -> np.ndarray:
    """The direction of a point of an equidistant picture, unit length."""
    angle = np.linalg.norm(u, axis=-1, keepdims=True)
    return np.concatenate([u * np.sin(angle) / angle, np.cos(angle)], -1)


def plane(rays: Rays, pose: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The number of times (H,W) that the ray of each pixel goes to the plane, and where it meets it (H,W,3)."""
    width, height = size
    x, y = (np.arange(width) + 0.5) * LENS["w"] / width, (np.arange(height) + 0.5) * LENS["h"] / height
    u = np.stack(np.meshgrid((x - LENS["cx"]) / LENS["fl_x"], (y - LENS["cy"]) / LENS["fl_y"]), -1)
    away = rays(u) * (1, -1, -1) @ pose[:, :3].T
    times = (OFFSET - NORMAL @ pose[:, 3]) / (away @ NORMAL)
    return times, pose[:, 3] + times[..., None] * away


def save(path: Path, depth: np.ndarray, unit: float) -> None:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, (depth / unit).astype(np.float32))
    else:
        iio.imwrite(path, np.rint(depth / unit).astype(np.uint16))


def write_plane(
    root: Path, rays: Rays = perspective, size: tuple[int, int] = (40, 30), kind: str = "npy", **top: Any
) -> list[np.ndarray]:
    """Three photos of the plane with depth files; returns where the pixels of each meet it, by name of the photo."""
    unit, places = 1e-4 if kind == "png" else 1e-3, []
    lens = BENT if rays is perspective else {"camera_model": "OPENCV_FISHEYE"}

    def change(root: Path, content: dict[str, Any]) -> None:
        content.update({**lens, "depth_unit_scale_factor": unit, **top})
        for frame in content["frames"]:  # the reverse of the names' order
            number = NAMES.index(Path(frame["file_path"]).name)
            depth, place = plane(rays, POSES[number], size)
            save(root / f"depth/{number}.{kind}", depth, unit)
            frame |= {
                "depth_file_path": f"./depth/{number}.{kind}",
                "transform_matrix": [*POSES[number].tolist(), [0, 0, 0, 1]],
            }
            places.insert(0, place)

    write(root, change)
    return places


@pytest.mark.parametrize("rays", [perspective, fisheye])
@pytest.mark.parametrize("size", [(40, 30), (20, 15), (80, 60)])
@pytest.mark.parametrize("kind", ["npy", "png"])
def test_a_plane_comes_back(tmp_path: Path, rays: Rays, size: tuple[int, int], kind: str) -> None:
    places = write_plane(tmp_path, rays, size, kind)
    capture = read(tmp_path)
    step = {20: 1, 40: 2, 80: 3}[size[0]]  # at most 1,000 of 300, 1,200 and 4,800
    expected = [place[::step, ::step].reshape(-1, 3) for place in places]
    np.testing.assert_allclose(capture.points, np.concatenate(expected), atol=1e-4)
    np.testing.assert_allclose(capture.points @ NORMAL, OFFSET, atol=1e-4)
    seen = capture.sightings
    np.testing.assert_array_equal(seen.view, np.repeat([0, 1, 2], [len(each) for each in expected]))
    np.testing.assert_array_equal(seen.point, np.arange(len(capture.points)))
    assert (seen.weight == 1).all() and capture.notes == []
    assert (seen.view.dtype, seen.point.dtype, seen.weight.dtype) == (np.int32, np.int32, np.float32)


def one(root: Path, table: np.ndarray | None, name: str = "d.npy", **values: Any) -> Capture:
    """Three photos, the last with a depth file; ``values`` stand at the top, those of a dict in the frame."""
    if table is not None:
        np.save(root / name, table)
    frame = values.pop("frame", {"depth_file_path": name})

    def change(root: Path, content: dict[str, Any]) -> None:
        content["frames"][0].update(frame)
        content.update(values)

    return read(write(root, change))


def reach(capture: Capture) -> float:
    """How far along the axis of its photo the one point lies."""
    (view,), (point,) = capture.sightings.view, capture.points
    pose = capture.photos[view].pose
    return float((pose[:, 3] - point) @ pose[:, 2])


def lonely(value: float, shape: tuple[int, int] = (30, 40)) -> np.ndarray:
    """A table in which one number is positive."""
    table = np.zeros(shape, np.float32)
    table[17, 23] = value
    return table


UNITS: dict[str, tuple[dict[str, Any], float]] = {
    "nerfstudio's default": ({}, 5.0),
    "stated": ({"depth_unit_scale_factor": 0.01}, 50.0),
    "in the frame": (
        {"depth_unit_scale_factor": 7, "frame": {"depth_file_path": "d.npy", "depth_unit_scale_factor": 1}},
        5000.0,
    ),
    "scaled poses": ({"applied_scale": 2}, 10.0),
    "instant-ngp": ({"integer_depth_scale": 0.002, "applied_scale": 2, "frame": {"depth_path": "d.npy"}}, 10.0),
}


@pytest.mark.parametrize("case", UNITS)
def test_units(tmp_path: Path, case: str) -> None:
    values, expected = UNITS[case]
    assert reach(one(tmp_path, lonely(5000), **values)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("values", [{}, {"integer_depth_scale": 0.001, "enable_depth_loading": False}])
def test_depth_that_instant_ngp_would_not_read(tmp_path: Path, values: dict[str, Any]) -> None:
    capture = one(tmp_path, lonely(5000), frame={"depth_path": "d.npy"}, **values)
    assert not len(capture.points) and not len(capture.sightings)
    assert len(capture.notes) == (not values)


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, -np.inf, 1e10])
def test_what_is_no_depth_is_left_out(tmp_path: Path, value: float) -> None:
    table = np.full((30, 40), value, np.float32)
    capture = one(tmp_path, table)
    assert len(capture.points) == 0 and re.search("depth files say nothing", capture.notes[0])
    table[17, 23] = 3000
    assert reach(one(tmp_path, table)) == pytest.approx(3, rel=1e-6)


def test_few_points_of_large_files_and_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = np.full((480, 640), 3000, np.uint16)
    assert 900 < len(one(tmp_path, large).points) < 1100
    large[:, 3::7] = 0  # what is known is no lattice of its own
    assert 900 < len(one(tmp_path, large).points) < 1100
    monkeypatch.setattr(transforms_depth, "TOTAL", 100)
    assert 90 < len(one(tmp_path, large).points) < 130


def test_points_of_a_file_come_first_and_are_seen_by_no_photo(tmp_path: Path) -> None:
    places = write_plane(tmp_path, size=(20, 15))
    (tmp_path / "p.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
        "1 2 3\n4 5 6\n"
    )
    content = json.loads((tmp_path / "transforms.json").read_text()) | {"ply_file_path": "p.ply"}
    del content["frames"][1]["depth_file_path"]  # that of the second photo
    (tmp_path / "depth/0.npy").unlink()
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        for path in tmp_path.rglob("*.*"):
            if path.suffix != ".zip":
                packed.write(path, path.relative_to(tmp_path))
    for root in (tmp_path, tmp_path / "set.zip"):
        capture = read(root)
        np.testing.assert_array_equal(capture.points[:2], [[1, 2, 3], [4, 5, 6]])
        assert {*capture.sightings.view.tolist()} == {2}
        np.testing.assert_array_equal(capture.sightings.point, np.arange(300) + 2)
        np.testing.assert_allclose(capture.points[capture.sightings.point], places[2].reshape(-1, 3), atol=1e-4)
        (note,) = capture.notes
        assert re.search("1 of the depth files that it names are missing, the first is depth/0.npy", note)


@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_depth_that_does_not_go_with_the_cameras_is_noted(tmp_path: Path, unit: float) -> None:
    write_plane(tmp_path, depth_unit_scale_factor=unit)
    (note,) = read(tmp_path).notes
    assert re.search("away in the median, the cameras are up to .* state depth_unit_scale_factor", note)


def picture(*shape: int, dtype: type = np.uint8) -> Callable[[Path], object]:
    return lambda path: iio.imwrite(path, np.full(shape, 100, dtype))


def cut(path: Path) -> None:
    """A whole file of random numbers, without its last third."""
    if path.suffix == ".npy":
        np.save(path, np.random.default_rng(0).random((30, 40)))
    else:
        iio.imwrite(path, np.random.default_rng(0).integers(0, 60000, (30, 40), np.uint16))
    path.write_bytes(path.read_bytes()[: 2 * path.stat().st_size // 3])


def array(value: Any) -> Callable[[Path], object]:
    return lambda path: np.save(path, value, allow_pickle=True)


ASPECT = "it is 40x40, its photo 40x30; expected the same aspect"
BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "8 bits": ("d.png", picture(30, 40), "its pixels have 8 bits; expected one channel of 16 or 32 bits"),
    "colors": ("d.png", picture(30, 40, 3), "its pixels are RGB; expected one channel"),
    "a photo": ("d.jpg", picture(30, 40, 3), "its pixels are RGB; expected one channel"),
    "no picture": ("d.png", lambda path: path.write_bytes(b"no picture"), "cannot be decoded"),
    "an empty file": ("d.png", lambda path: path.write_bytes(b""), "the file is empty"),
    "a cut picture": ("d.png", cut, "cannot be decoded"),
    "another aspect": ("d.png", picture(40, 40, dtype=np.uint16), ASPECT),
    "no array": ("d.npy", lambda path: path.write_bytes(b"no array"), "cannot be read"),
    "a cut array": ("d.npy", cut, "cannot be read"),
    "objects": ("d.npy", array(np.array([[{}]], object)), "cannot be read"),
    "text": ("d.npy", array(np.array([["a"]])), "holds <U1"),
    "another aspect of an array": ("d.npy", array(np.ones((40, 40))), ASPECT),
    "colors of an array": ("d.npy", array(np.ones((30, 40, 3))), r"its array is \(30, 40, 3\); expected a number a"),
    "an empty array": ("d.npy", array(np.ones((0, 40))), r"its array is \(0, 40\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_one_sentence(tmp_path: Path, case: str) -> None:
    name, make, message = BAD[case]
    make(tmp_path / name)
    with pytest.raises(SceneError, match=rf"{re.escape(name)}: .*{message}") as caught:
        one(tmp_path, None, name)
    assert "expected" in str(caught.value) and len(str(caught.value).splitlines()) == 1


KEYS: dict[str, tuple[dict[str, Any], str]] = {
    "outside": ({"frame": {"depth_file_path": "../d.png"}}, "frame 0, depth_file_path: the file's name is '../d.png'"),
    "outside too": ({"frame": {"depth_path": "/d.png"}, "integer_depth_scale": 1}, "frame 0, depth_path: the file's"),
    "no name": ({"frame": {"depth_file_path": 3}}, "frame 0, depth_file_path: a path is 3"),
    "no unit": ({"depth_unit_scale_factor": "mm"}, "depth_unit_scale_factor is 'mm'"),
    "a unit of 0": ({"depth_unit_scale_factor": 0}, "depth_unit_scale_factor is 0"),
    "a negative unit": ({"integer_depth_scale": -1, "frame": {"depth_path": "d.npy"}}, "integer_depth_scale is -1"),
    "a scale of NaN": ({"applied_scale": float("nan")}, "applied_scale is nan"),
    "a huge unit": ({"depth_unit_scale_factor": 10**400}, "depth_unit_scale_factor is 1000"),
}


@pytest.mark.parametrize("case", KEYS)
def test_bad_keys_are_one_sentence(tmp_path: Path, case: str) -> None:
    values, message = KEYS[case]
    with pytest.raises(SceneError, match=message) as caught:
        one(tmp_path, np.ones((30, 40)), **values)
    assert "transforms.json" in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("channels", [3, 4])
def test_depth_reaches_the_hints_of_a_scene(tmp_path: Path, channels: int) -> None:
    """Of a ball before a wall; the depth of the ball alone is known."""
    root = sphere.write(tmp_path / "ball", channels)
    with_depth = json.loads((root / "transforms.json").read_text())
    capture = read(root)
    for view, (photo, frame) in enumerate(zip(capture.photos, with_depth["frames"], strict=True)):
        x, y = np.arange(photo.lens.width) + 0.5, np.arange(photo.lens.height) + 0.5
        rays = photo.lens.unproject(np.stack(np.meshgrid(x, y), -1))[0]
        away, offset = rays * (1, -1, -1) @ photo.pose[:, :3].T, photo.pose[:, 3] - sphere.CENTER
        half = away @ offset
        root_of = half**2 - offset @ offset + sphere.RADIUS**2
        depth = np.where(root_of > 0, (-half - np.sqrt(root_of.clip(0))) * rays[..., 2], 0)
        np.save(root / f"{view}.npy", depth)
        frame["depth_file_path"] = f"{view}.npy"
    (root / "transforms.json").write_text(json.dumps(with_depth | {"depth_unit_scale_factor": 1}))
    scene = open_scene("auto", root)
    np.testing.assert_allclose(np.linalg.norm(scene.points - sphere.CENTER, axis=1), sphere.RADIUS, atol=1e-9)
    hints = hints_of(scene, 0.1 if channels == 4 else None, "cpu")
    assert hints is not None and len(hints) > 0.8 * np.isin(scene.sightings.view, scene.train).sum() > 300
    assert (hints_of(scene, None, "cpu") is None) == (channels == 4)
