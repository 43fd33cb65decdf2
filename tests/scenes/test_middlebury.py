"""Middlebury's table: a known point on its pixel, photos that are missing, every bad input."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nerfkit.errors import SceneError
from nerfkit.scenes import middlebury
from nerfkit.scenes.capture import Capture
from nerfkit.scenes.files import Source
from tests.scenes.captures import shown, some_views, write_middlebury

POINT = (0.7, -0.4, 0.9)
TABLE = "dino_par.txt"


def read(root: Path) -> Capture:
    with Source(root) as source:
        return middlebury.read(source)


def test_known_point_lands_on_the_pixel_of_the_formula(tmp_path: Path) -> None:
    # A camera at the origin of a world whose x is right, y down and z ahead, moved: X + t = (1, 2, 5).
    views = some_views()
    root = write_middlebury(tmp_path, views)
    line = "a.png 50 0 20 0 60 10 0 0 1 1 0 0 0 1 0 0 0 1 0 1 2"
    (root / TABLE).write_text(f"1\n{line}\n")
    (photo,) = read(root).photos
    # u = 20 + 50 / 5 = 30, v = 10 + 60 * 2 / 5 = 34, from the center of the first pixel
    np.testing.assert_allclose(shown(photo, (1, 1, 3)), [30.5, 34.5])
    assert (photo.name, photo.lens.model, photo.lens.width, photo.lens.height) == ("a.png", "PINHOLE", 40, 30)


def test_photos_are_sorted_and_rotated_cameras_are_right(tmp_path: Path) -> None:
    views = some_views(("b 2.png", "a.png", "c.png"))
    capture = read(write_middlebury(tmp_path, views))
    assert [photo.name for photo in capture.photos] == ["a.png", "b 2.png", "c.png"]
    for photo, view in zip(capture.photos, sorted(views, key=lambda view: view.name), strict=True):
        np.testing.assert_allclose(shown(photo, POINT), view.pixel(POINT), atol=1e-9)
    assert capture.notes == []


def test_missing_photos_and_skew_are_noted(tmp_path: Path) -> None:
    root = write_middlebury(tmp_path, some_views(), skew=0.5)
    (root / "b.png").unlink()
    capture = read(root)
    assert [photo.name for photo in capture.photos] == ["a.png", "c.png"]
    assert capture.notes == [
        f"{root}/{TABLE}: 1 of the 3 photos that it places are missing, the first is b.png",
        f"{root}/{TABLE}: the skew of 2 cameras is not used; it is up to 0.01 fx",
    ]


def swap(old: str, new: str) -> Callable[[Path], object]:
    def write(root: Path) -> None:
        text = (root / TABLE).read_text()
        assert old in text
        (root / TABLE).write_text(text.replace(old, new, 1))

    return write


BAD = {
    "another number of lines": (swap("3\n", "4\n"), "line 1 is '4', 3 lines follow"),
    "no number of lines": (swap("3\n", ""), "line 1 is 'a.png.*2 lines follow"),
    "an empty file": (lambda root: (root / TABLE).write_text(""), "line 1 is '', 0 lines"),
    "bytes": (lambda root: (root / TABLE).write_bytes(bytes(range(256))), "line 1 is"),
    "a number too few": (swap("a.png 50.0", "a.png"), "line 2.*21 words"),
    "text for a number": (swap("a.png 50.0", "a.png fifty"), "line 2.*'fifty'"),
    "NaN": (swap("a.png 50.0", "a.png nan"), "line 2.*'nan'"),
    "a negative focal length": (swap("a.png 50.0", "a.png -50.0"), "line 2.*camera matrix"),
    "another K": (swap("13.5 0.0 0.0 1.0", "13.5 0.0 0.5 1.0"), "line 2.*camera matrix"),
    "a name that leaves the folder": (swap("a.png", "../a.png"), r"line 2.*'\.\./a\.png'"),
    "an absolute name": (swap("a.png", "/etc/a.png"), "line 2.*'/etc/a.png'"),
    "no photos": (lambda root: [path.unlink() for path in root.glob("*.png")], "none of its 3 photos"),
    "a photo that is none": (lambda root: (root / "a.png").write_text("x"), "a.png.*cannot be decoded"),
    "two tables": (lambda root: (root / "a_par.txt").write_text("0"), "2 tables: a_par.txt, dino_par.txt"),
    "no table": (lambda root: (root / TABLE).unlink(), "no NAME_par.txt"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(tmp_path: Path, case: str) -> None:
    change, message = BAD[case]
    root = write_middlebury(tmp_path, some_views())
    change(root)
    with pytest.raises(SceneError, match=message) as caught:
        read(root)
    assert "expected" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_scaled_rotation_is_refused(tmp_path: Path) -> None:
    view = some_views()[0]
    root = write_middlebury(tmp_path, [view._replace(rotation=2 * view.rotation)])
    with pytest.raises(SceneError, match="line 2: the pose's rotation is not orthonormal"):
        read(root)
