"""What the readers of photo formats share: photos in folders and zips, names from untrusted files."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from nerfkit.errors import SceneError
from nerfkit.scenes.files import Source
from nerfkit.scenes.photo_files import lens_of_matrix, numbers, photos_in, picture_size, relative_name
from tests.scenes.captures import write_pictures

NAMES = ("images/b.JPG", "images/a.png", "images/left/c.jpeg", "images/._a.png", "d.png")


@pytest.fixture(params=["folder", "zip"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    write_pictures(folder, [name for name in NAMES if "._" not in name])
    for name in ("images/._a.png", "images/notes.txt"):
        (folder / name).write_text("x")
    if request.param == "folder":
        return folder
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
    return tmp_path / "set.zip"


def test_photos_of_a_folder(root: Path) -> None:
    with Source(root) as source:
        assert photos_in(source, "images") == ["images/a.png", "images/b.JPG"]
        assert photos_in(source, "images", deep=True) == ["images/a.png", "images/b.JPG", "images/left/c.jpeg"]
        assert photos_in(source, ".") == ["d.png"]
        assert len(photos_in(source, ".", deep=True)) == 4
        assert photos_in(source, "image") == []
        assert picture_size(source, "d.png") == (40, 30)


def test_names_stay_inside(tmp_path: Path) -> None:
    with Source(tmp_path) as source:
        assert relative_name(source, "a b/./c.JPG", "") == "a b/c.JPG"
        assert relative_name(source, "a\\c.JPG", "") == "a/c.JPG"
        assert relative_name(source, f"{tmp_path}/images/c.JPG", "") == "images/c.JPG"
        for name in (
            "",
            ".",
            "/",
            "../a.png",
            "a/../../b.png",
            "a\\..\\b",
            "/etc/a.png",
            "C:/a.png",
            f"{tmp_path}/../a",
        ):
            with pytest.raises(SceneError, match="file: the file's name is"):
                relative_name(source, name, "file")


def test_numbers_are_finite() -> None:
    assert numbers(["1", "-2.5e3"], "") == [1.0, -2500.0]
    for word in ("nan", "inf", "1e999", "x", "\N{REPLACEMENT CHARACTER}", "1,5"):
        with pytest.raises(SceneError, match=r"file: .* is no finite number"):
            numbers(["1", word], "file")


def test_pinhole_moves_the_origin_to_the_corner() -> None:
    matrix = np.array([[50, 1, 19.5], [0, 60, 14.5], [0, 0, 1.0]])
    assert lens_of_matrix(matrix, (40, 30), "").params == (50, 60, 20, 15)
