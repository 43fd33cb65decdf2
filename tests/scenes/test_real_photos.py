"""The readers on real photos: poses and lenses against what the programs that found them stored beside them."""

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.scenes.captures import shown
from tests.scenes.real import data_folder
from tests.scenes.test_colmap import read as read_colmap
from tests.scenes.test_llff import read as read_llff


def observations(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{photo: (x, y of each observation, the point's id)} of images.bin."""
    data, at = path.read_bytes(), 8
    found = {}
    for _ in range(struct.unpack_from("<Q", data)[0]):
        end = data.index(b"\0", at + 64)
        (count,) = struct.unpack_from("<Q", data, end + 1)
        rows = np.frombuffer(data, [("xy", "<f8", 2), ("point", "<u8")], count, end + 9)
        found[data[at + 64 : end].decode()] = rows["xy"], rows["point"]
        at = end + 9 + 24 * count
    return found


def triangulated(path: Path) -> dict[int, tuple[np.ndarray, float]]:
    """{id: (position, error)} of points3D.bin."""
    data, at, found = path.read_bytes(), 8, {}
    for _ in range(struct.unpack_from("<Q", data)[0]):
        key, x, y, z, _, _, _, error, length = struct.unpack_from("<Q3d3BdQ", data, at)
        found[key] = np.array([x, y, z]), error
        at += 51 + 8 * length
    return found


@pytest.mark.parametrize("name", ["cup", "mouse"])
def test_real_points_land_where_colmap_saw_them(name: str) -> None:
    root = data_folder(name)
    model = root / "sparse/0"
    points, seen = triangulated(model / "points3D.bin"), observations(model / "images.bin")
    errors: dict[int, list[float]] = {}
    for photo in read_colmap(root).photos:
        for pixel, key in zip(*seen[Path(photo.name).name], strict=True):
            if int(key) in points:
                distance = float(np.linalg.norm(shown(photo, points[int(key)][0]) - pixel))
                errors.setdefault(int(key), []).append(distance)
    assert len(errors) == len(points)
    for key, found in errors.items():  # a point's error is the mean of its distances
        assert np.mean(found) == pytest.approx(points[key][1], abs=1e-6)
    assert np.median([value for found in errors.values() for value in found]) < 1.5


def test_real_photos_of_two_sizes_and_three_unplaced() -> None:
    capture = read_colmap(data_folder("mouse"))
    assert len(capture.photos) == 56
    assert {(photo.lens.width, photo.lens.height) for photo in capture.photos} == {(1920, 1440), (1440, 1920)}
    assert any("places 56 of 59 photos" in note for note in capture.notes)


def similarity(moved: np.ndarray, fixed: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation, translation that take points (N,3) to others with the least squared error: Umeyama 1991."""
    a, b = moved - moved.mean(0), fixed - fixed.mean(0)
    left, values, right = np.linalg.svd(b.T @ a)
    sign = np.diag([1, 1, np.linalg.det(left @ right)])
    rotation = left @ sign @ right
    scale = float((values * np.diag(sign)).sum() / (a**2).sum())
    return scale, rotation, fixed.mean(0) - scale * rotation @ moved.mean(0)


def test_real_poses_of_llff_are_those_of_colmap() -> None:
    root = data_folder("cup")
    first, second = read_llff(root).photos, read_colmap(root).photos
    assert [photo.name for photo in first] == [photo.name for photo in second]
    a, b = (np.stack([photo.pose for photo in photos]) for photos in (first, second))
    scale, rotation, translation = similarity(a[:, :, 3], b[:, :, 3])
    spread = np.linalg.norm(b[:, :, 3] - b[:, :, 3].mean(0), axis=1).mean()
    assert np.abs(scale * a[:, :, 3] @ rotation.T + translation - b[:, :, 3]).max() < 1e-4 * spread
    assert np.abs(rotation @ a[:, :, :3] - b[:, :, :3]).max() < 1e-4
