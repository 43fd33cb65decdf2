"""What is refused before any work is done, each with one message."""

import sys
from pathlib import Path

import pytest

from nerfkit.errors import ConfigError, SceneError
from nerfkit.prepare import PrepareOptions, has_photos_only, prepare
from nerfkit.prepare.source import check_formats, photos_of
from tests.prepare.made import some_photos


def refused(source: Path, out: Path, match: str) -> None:
    before = sorted(out.rglob("*")) if out.exists() else None
    with pytest.raises(SceneError, match=match):
        prepare(source, out)
    assert before == (sorted(out.rglob("*")) if out.exists() else None), "nothing is left behind"


def test_no_photos(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no photo")
    refused(tmp_path / "in", tmp_path / "out", r"no photos; expected at least 3")
    refused(tmp_path / "nowhere", tmp_path / "out", "no such file or folder")
    refused(tmp_path / "in" / "notes.txt", tmp_path / "out", "neither a folder nor a video")


def test_one_photo(tmp_path: Path) -> None:
    refused(some_photos(tmp_path / "in", 1), tmp_path / "out", "1 photo, photo_0.jpg; expected at least 3")
    (tmp_path / "in" / "walk.mp4").write_bytes(b"some")
    (tmp_path / "in" / "photo_0.jpg").unlink()
    refused(tmp_path / "in", tmp_path / "out", "For the video inside: prepare .*walk.mp4")


def test_heic_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    root = some_photos(tmp_path / "in")
    (root / "IMG_1.HEIC").write_bytes(b"some")
    refused(root, tmp_path / "out", r"1 HEIC photo, and pillow_heif is not installed.*nerfkit\[raw\]")
    (root / "IMG_1.HEIC").rename(root / "IMG_1.DNG")
    with pytest.raises(SceneError, match=r"1 raw photo, and rawpy is not installed.*nerfkit\[raw\]"):
        check_formats(photos_of(root)[0])


def test_a_raw_file_beside_its_photo_is_passed_over(tmp_path: Path) -> None:
    root = some_photos(tmp_path / "in")
    (root / "PHOTO_0.NEF").write_bytes(b"some")
    photos, notes = photos_of(root)
    assert len(photos) == 4 and "1 raw or HEIC files are passed over" in notes[0]


def test_places_that_would_mix_files(tmp_path: Path) -> None:
    root = some_photos(tmp_path / "capture" / "images").parent
    refused(root, root, "OUT is the folder of the photos")
    refused(root, root / "images", "OUT is the folder of the photos")
    refused(root, root / "images" / "deep", "OUT lies inside the folder of the photos")
    refused(root / "images", root, "OUT holds the folder of the photos")
    (tmp_path / "link").symlink_to(root)
    refused(root, tmp_path / "link", "OUT is the folder of the photos")


def test_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    root = some_photos(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("mine")
    refused(root, tmp_path / "out", "OUT holds something else: letter.txt")
    refused(root, tmp_path / "out" / "letter.txt", "OUT is a file")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap", reason="pycolmap is not installed: the extra photos")
    (tmp_path / "file").write_text("mine")
    refused(some_photos(tmp_path / "in"), tmp_path / "file" / "out", "cannot be written")


def test_without_pycolmap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(ConfigError, match=r"pip install 'nerfkit\[photos\]'"):
        prepare(some_photos(tmp_path / "in"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="matching=all: unknown value"):
        PrepareOptions(matching="all")


def test_who_has_photos_only(tmp_path: Path) -> None:
    assert not has_photos_only(tmp_path) and not has_photos_only(tmp_path / "nowhere")
    root = some_photos(tmp_path / "plain")
    assert has_photos_only(root)
    assert has_photos_only(some_photos(tmp_path / "deep" / "images").parent)
    (tmp_path / "walk.MP4").write_bytes(b"some")
    assert has_photos_only(tmp_path / "walk.MP4")
    (root / "transforms.json").write_text("{}")
    assert not has_photos_only(root)
    other = some_photos(tmp_path / "placed" / "images").parent
    (other / "sparse" / "0").mkdir(parents=True)
    (other / "sparse" / "0" / "cameras.bin").write_bytes(b"some")
    assert not has_photos_only(other)
    assert has_photos_only(some_photos(tmp_path / "two", 2))  # so that prepare says that they are too few
    (tmp_path / "filmed").mkdir()
    (tmp_path / "filmed" / "walk.mp4").write_bytes(b"some")
    assert has_photos_only(tmp_path / "filmed")
    (tmp_path / "none").mkdir()
    assert not has_photos_only(tmp_path / "none")
