"""LLFF's table: a known point on its pixel, the order of photos, smaller copies, every bad input."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nerfkit.errors import SceneError
from nerfkit.scenes import llff
from nerfkit.scenes.capture import Capture
from nerfkit.scenes.files import Source
from tests.scenes.captures import shown, some_views, write_llff, write_pictures

POINT = (0.7, -0.4, 0.9)
NAMES = ("1.JPG", "10.JPG", "2.JPG")  # as text is sorted
VIEWS = [view._replace(lens=(50.0 + i, 50.0 + i, 20.0, 15.0)) for i, view in enumerate(some_views(NAMES))]


def read(root: Path) -> Capture:
    with Source(root) as source:
        return llff.read(source)


def test_known_point_lands_on_the_pixel_of_llffs_formula(tmp_path: Path) -> None:
    # A camera at (1, 2, 3) whose right, down and backward are the world's -y, -z and -x: it looks along +x, z is up.
    row = [[0, 0, -1, 1, 30], [0, -1, 0, 2, 40], [-1, 0, 0, 3, 50]]
    write_llff(tmp_path, VIEWS[:1])
    np.save(tmp_path / "poses_bounds.npy", np.array([[*np.ravel(row), 0.1, 9.0]]))
    (photo,) = read(tmp_path).photos
    # 5 ahead, 2 to the right, 1 up: x = 20 + 50 * 2 / 5, y = 15 - 50 * 1 / 5
    np.testing.assert_allclose(shown(photo, (6, 0, 4)), [40, 5])
    assert (photo.lens.model, photo.lens.width, photo.lens.height) == ("SIMPLE_PINHOLE", 40, 30)


def test_rows_go_to_photos_sorted_as_text(tmp_path: Path) -> None:
    capture = read(write_llff(tmp_path, VIEWS))
    assert [photo.name for photo in capture.photos] == ["images/1.JPG", "images/10.JPG", "images/2.JPG"]
    for photo, view in zip(capture.photos, VIEWS, strict=True):
        np.testing.assert_allclose(shown(photo, POINT), view.pixel(POINT), atol=1e-9)


def test_smaller_copies_are_used_only_where_there_is_nothing_else(tmp_path: Path) -> None:
    capture = read(write_llff(tmp_path, VIEWS, "images_4", 4))
    assert capture.photos[0].name == "images_4/1.JPG"
    assert (capture.photos[0].lens.width, capture.photos[0].lens.params[0]) == (40, 50.0)
    write_pictures(tmp_path / "images", NAMES)
    assert read(tmp_path).photos[0].name == "images/1.JPG"


def table(change: Callable[[np.ndarray], object]) -> Callable[[Path], object]:
    def write(root: Path) -> None:
        rows = np.load(root / "poses_bounds.npy")
        changed = change(rows)
        np.save(root / "poses_bounds.npy", rows if changed is None else changed)

    return write


def content(data: bytes) -> Callable[[Path], object]:
    return lambda root: (root / "poses_bounds.npy").write_bytes(data)


def put(at: int, value: float) -> Callable[[Path], object]:
    return table(lambda rows: rows.__setitem__((1, at), value))


HUGE = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 17), }".ljust(118)
BAD = {
    "a photo too many": (lambda root: write_pictures(root / "images", ["3.png"]), "3 cameras, but 4 photos.*images"),
    "a photo too few": (lambda root: (root / "images/2.JPG").unlink(), "3 cameras, but 2 photos"),
    "no photos": (lambda root: [path.unlink() for path in (root / "images").iterdir()], "no photos lie in images"),
    "15 columns": (table(lambda rows: rows[:, :15]), r"shape is \(3, 15\)"),
    "a single row": (table(lambda rows: rows[0]), r"shape is \(17,\)"),
    "no rows": (table(lambda rows: rows[:0]), "0 cameras, but 3 photos"),
    "NaN": (put(0, np.nan), "NaN or infinity"),
    "no focal length": (put(14, 0.0), "row 1.*focal length are 30, 40 and 0"),
    "no height": (put(4, -3.0), "row 1.*are -3"),
    "a scaled camera": (table(lambda rows: rows * 2), "row 0.*not orthonormal"),
    "a mirrored camera": (table(lambda rows: rows * np.where(np.arange(17) % 5 == 0, -1, 1)), "row 0.*mirrored"),
    "objects": (table(lambda rows: np.array([[{}] * 17] * 3)), "cannot be read.*allow_pickle"),
    "text": (table(lambda rows: rows.astype(str)), "array of numbers"),
    "a cut file": (content(HUGE + b"12345678"), "cannot be read"),
    "an empty file": (content(b""), "cannot be read"),
    "a zip": (content(b"PK\x03\x04"), "cannot be read"),
    "no array": (content(b"1 2 3\n"), "cannot be read"),
    "no file": (lambda root: (root / "poses_bounds.npy").unlink(), "no poses_bounds.npy"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(tmp_path: Path, case: str) -> None:
    change, message = BAD[case]
    root = write_llff(tmp_path, VIEWS)
    change(root)
    with pytest.raises(SceneError, match=message) as caught:
        read(root)
    assert "expected" in str(caught.value) and len(str(caught.value).splitlines()) == 1
