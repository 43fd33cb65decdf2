"""The readers on real photos: poses and lenses against what the programs that found them stored beside them."""

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.scenes.captures import shown
from tests.scenes.real import data_folder
from tests.scenes.test_colmap import read as read_colmap


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
