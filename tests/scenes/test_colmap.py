"""COLMAP's models: the same from .bin and .txt, rigs, several models, photos that are missing."""

import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nerfkit.errors import SceneError
from nerfkit.scenes import colmap
from nerfkit.scenes.capture import Capture
from nerfkit.scenes.files import Source
from tests.scenes.captures import (
    View,
    motion,
    quaternion,
    shown,
    some_views,
    turned,
    write_colmap,
    write_pictures,
    write_rigs,
)

POINT = (0.7, -0.4, 0.9)
POINTS = [((0.1 * i, 0.2, 0.3), 0.5 + 0.01 * i, 3) for i in range(120)]


def read(root: Path) -> Capture:
    with Source(root) as source:
        return colmap.read(source)


def data_set(root: Path, views: list[View], kind: str = "bin", model: str = "sparse/0") -> Path:
    write_colmap(root / model, views, kind=kind)
    write_pictures(root / "images", [view.name for view in views])
    return root


def assert_shows(capture: Capture, views: list[View]) -> None:
    assert [Path(photo.name).name for photo in capture.photos] == [Path(view.name).name for view in views]
    for photo, view in zip(capture.photos, views, strict=True):
        np.testing.assert_allclose(shown(photo, POINT), view.pixel(POINT), atol=1e-9)
        assert (photo.lens.width, photo.lens.height) == view.size


@pytest.mark.parametrize("kind", ["bin", "txt"])
@pytest.mark.parametrize("model", ["sparse/0", "sparse", "colmap/sparse/0", ".", "colmap_text"])
def test_known_point_lands_on_the_pixel_of_colmaps_formula(tmp_path: Path, kind: str, model: str) -> None:
    views = some_views()
    root = data_set(tmp_path, views, kind, model)
    # By hand for the first: R turns by 0.3 about (1, 2, 0) / sqrt 5, t = (0, -0.1, 8), f = 50 and 52, c = (21, 14).
    k = np.array([1, 2, 0]) / np.sqrt(5)
    p = np.array(POINT)
    x, y, z = p * np.cos(0.3) + np.cross(k, p) * np.sin(0.3) + k * (k @ p) * (1 - np.cos(0.3)) + [0, -0.1, 8]
    np.testing.assert_allclose(views[0].pixel(POINT), [21 + 50 * x / z, 14 + 52 * y / z])
    capture = read(root)
    assert_shows(capture, views)
    assert capture.notes == []
    assert capture.photos[0].lens.params == (50.0, 52.0, 21.0, 14.0)


def test_text_and_binary_are_equal(tmp_path: Path) -> None:
    captures = []
    for kind in ("bin", "txt"):
        root = data_set(tmp_path / kind, some_views(), kind)
        write_colmap(root / "sparse/0", some_views(), POINTS, kind)
        captures.append(read(root))
    binary, text = captures
    assert [photo.lens for photo in binary.photos] == [photo.lens for photo in text.photos]
    assert np.array_equal([photo.pose for photo in binary.photos], [photo.pose for photo in text.photos])
    assert np.array_equal(binary.points, text.points)
    for name in ("view", "point", "weight"):
        assert np.array_equal(getattr(binary.sightings, name), getattr(text.sightings, name))
    assert len(binary.points) == 120


@pytest.mark.parametrize("kind", ["bin", "txt"])
def test_tracks_say_which_photo_saw_which_point(tmp_path: Path, kind: str) -> None:
    """By the views' numbers, not the images' ids; of photos that are there, and points that are kept."""
    root = data_set(tmp_path, some_views(("b.png", "c.png", "a.png")), kind)
    tracks = [[3, 1, 2], [2, 3, 9], [1, 1, 1]]
    points = [((0.1 * i, 0.2, 0.3), 1.0 if i % 2 else 0.5, tracks[i % 3]) for i in range(120)]
    write_colmap(
        root / "sparse/0", some_views(("b.png", "c.png", "a.png")), [((9.0, 9, 9), 2.5, [1, 2, 3]), *points], kind
    )
    (root / "images/c.png").unlink()
    seen = read(root).sightings
    assert [photo.name for photo in read(root).photos] == ["images/a.png", "images/b.png"]
    assert seen.point[:8].tolist() == [0, 0, 1, 2, 2, 2, 3, 3]
    assert seen.view[:8].tolist() == [0, 1, 0, 1, 1, 1, 0, 1]
    assert (len(seen), seen.point.max()) == (240, 119)
    np.testing.assert_allclose(
        seen.weight[[0, 2]], [np.exp(-((0.5 / 0.75) ** 2)), np.exp(-((1 / 0.75) ** 2))], rtol=1e-6
    )
    write_colmap(
        root / "sparse/0", some_views(("b.png", "c.png", "a.png")), [(xyz, -1.0, s) for xyz, _, s in points], kind
    )
    assert set(read(root).sightings.weight.tolist()) == {1.0}
    (root / f"sparse/0/points3D.{kind}").unlink()
    assert len(read(root).sightings) == 0


@pytest.mark.parametrize("kind", ["bin", "txt"])
def test_rigs_and_frames_place_photos(tmp_path: Path, kind: str) -> None:
    second = turned((0, 1, 0), 0.4), np.array([-0.5, 0.1, 0.2])  # rig to its second camera
    frames = [(turned((1, 2, 0), 0.3), np.array([0, -0.1, 8.0])), (turned((1, 0, 3), 0.5), np.array([1, 0.2, 9.0]))]
    views, cameras = [], some_views()
    for index, (rotation, translation) in enumerate(frames):
        views.append(cameras[0]._replace(name=f"1/{index}.png", rotation=rotation, translation=translation))
        moved = second[0] @ translation + second[1]
        views.append(cameras[1]._replace(name=f"2/{index}.png", rotation=second[0] @ rotation, translation=moved))
    model = data_set(tmp_path, views, kind) / "sparse/0"
    write_rigs(model, [motion(*second)], [motion(*frame) for frame in frames], kind)
    # Image ids 1 to 4 have cameras 1 and 2 in turn.
    fix_cameras(model, kind)
    ordered = sorted(views, key=lambda view: view.name)
    capture = read(tmp_path)
    assert [photo.name for photo in capture.photos] == [f"images/{view.name}" for view in ordered]
    assert_shows(capture, ordered)
    assert capture.notes == []
    # Poses in the images file that say nothing, or something else, do not count; the latter is noted.
    write_colmap(model, views, kind=kind, stated=[[0.0] * 7] * 4)
    fix_cameras(model, kind)
    assert_shows(read(tmp_path), ordered)
    assert read(tmp_path).notes == []
    write_colmap(model, views, kind=kind, stated=[[1.0, 0, 0, 0, 0, 0, 1.0]] * 4)
    fix_cameras(model, kind)
    capture = read(tmp_path)
    assert_shows(capture, ordered)
    assert "poses of 4 photos differ" in capture.notes[0]
    # A second camera whose place in the rig is unknown: the images file's pose is what there is.
    (model / f"frames.{kind}").unlink()
    assert read(tmp_path).photos[0].pose[2, 3] == pytest.approx(-1)


def fix_cameras(model: Path, kind: str) -> None:
    """Gives images 3 and 4 the cameras 1 and 2."""
    if kind == "txt":
        path = model / "images.txt"
        path.write_text(path.read_text().replace(" 3 1/", " 1 1/").replace(" 4 2/", " 2 2/"))
        return
    data = bytearray((model / "images.bin").read_bytes())
    record = (len(data) - 8) // 4
    for index in (2, 3):
        struct.pack_into("<I", data, 8 + index * record + 60, index - 1)
    (model / "images.bin").write_bytes(data)


def test_largest_of_several_models_is_taken(tmp_path: Path) -> None:
    views = some_views(tuple(f"{letter}.JPG" for letter in "abcdefg"))
    write_pictures(tmp_path / "images", [view.name for view in views])
    for index, part in enumerate((views[:2], views[1:6], views[5:7])):
        write_colmap(tmp_path / f"sparse/{index}", part, kind="txt" if index == 1 else "bin")
    capture = read(tmp_path)
    assert_shows(capture, views[1:6])
    (tmp_path / "cameras.txt").write_text("none of COLMAP's")
    assert_shows(read(tmp_path), views[1:6])
    (note,) = capture.notes
    assert note == f"{tmp_path}/sparse/1, the largest of 3 models, places 5 of 7 photos; the others are not used"


def test_missing_photos_are_passed_over_and_noted(tmp_path: Path) -> None:
    root = data_set(tmp_path, some_views())
    (root / "images/b.png").unlink()
    capture = read(root)
    assert_shows(capture, [some_views()[0], some_views()[2]])
    assert capture.notes == [f"{root}/sparse/0: 1 of the 3 photos that it places are missing, the first is b.png"]
    shutil.rmtree(root / "images")
    with pytest.raises(SceneError, match=f"photos are elsewhere.*{root}/images"):
        read(root)


def test_photos_in_subfolders_of_another_case_or_extension(tmp_path: Path) -> None:
    views = some_views(("Left/A.JPG", "left\\b.jpg", f"{tmp_path}/images/c.jpeg", "Left/d.jpg"))
    write_colmap(tmp_path / "sparse/0", views)
    write_pictures(tmp_path / "images", ["Left/A.JPG", "left/b.jpg", "c.jpeg", "left/D.png", "left/unplaced.png"])
    capture = read(tmp_path)
    assert [p.name for p in capture.photos] == [
        f"images/{n}" for n in ("Left/A.JPG", "c.jpeg", "left/D.png", "left/b.jpg")
    ]
    assert capture.notes == [f"{tmp_path}/sparse/0 places 4 of 5 photos; the others are not used"]


def test_smaller_copies_are_used_only_where_there_is_nothing_else(tmp_path: Path) -> None:
    views = some_views()
    write_colmap(tmp_path / "sparse/0", views)
    write_pictures(tmp_path / "images_4", [view.name for view in views], (10, 8))
    assert [photo.name for photo in read(tmp_path).photos] == ["images_4/a.png", "images_4/b.png", "images_4/c.png"]
    write_pictures(tmp_path, [view.name for view in views])
    assert [photo.name for photo in read(tmp_path).photos] == ["a.png", "b.png", "c.png"]
    write_pictures(tmp_path / "images", [view.name for view in views])
    capture = read(tmp_path)
    assert [photo.name for photo in capture.photos] == ["images/a.png", "images/b.png", "images/c.png"]
    assert_shows(capture, views)


def test_a_file_is_one_photo(tmp_path: Path) -> None:
    views = some_views(("a.jpg", "a.png"))
    write_colmap(tmp_path / "sparse/0", views)
    write_pictures(tmp_path / "images", ["a.png"])
    capture = read(tmp_path)
    assert_shows(capture, views[1:])
    assert "1 of the 2 photos that it places are missing, the first is a.jpg" in capture.notes[0]


def test_binary_files_come_first_and_quaternions_may_have_any_length(tmp_path: Path) -> None:
    views = some_views()
    root = data_set(tmp_path, views)
    stated = [[3 * value for value in quaternion(v.rotation)] + v.translation.tolist() for v in views]
    write_colmap(root / "sparse/0", views, stated=stated)
    write_colmap(root / "sparse/0", [view._replace(lens=(1.0, 1.0, 1.0, 1.0)) for view in views], kind="txt")
    assert_shows(read(root), views)


def test_masks_of_colmap_are_ignored_pixels(tmp_path: Path) -> None:
    root = data_set(tmp_path, some_views())
    write_pictures(root / "masks", ["a.png.png", "c.png"])
    capture = read(root)
    assert [photo.ignore for photo in capture.photos] == ["masks/a.png.png", None, "masks/c.png"]
    assert [photo.alpha for photo in capture.photos] == [None] * 3
    assert capture.notes == [f"{root}: 1 of 3 photos have no mask"]


def test_test_photos_are_listed(tmp_path: Path) -> None:
    root = data_set(tmp_path, some_views())
    (root / "sparse/0/test.txt").write_text("b.png\n\n")
    assert (read(root).split, read(root).notes) == (([0, 2], [1]), [])
    (root / "sparse/0/test.txt").write_text("x.png\r\n")
    assert read(root).split is None
    assert "1 names are no photo's, the first is x.png" in read(root).notes[0]


def test_points_that_are_well_seen_are_kept(tmp_path: Path) -> None:
    root = data_set(tmp_path, some_views())
    bad = [((9.0, 9, 9), 2.5, 5), ((8.0, 8, 8), 0.5, 2)]
    write_colmap(root / "sparse/0", some_views(), POINTS + bad)
    assert np.array_equal(read(root).points, [xyz for xyz, _, _ in POINTS])
    write_colmap(root / "sparse/0", some_views(), POINTS[:99] + bad)  # too few are left
    assert len(read(root).points) == 101
    (root / "sparse/0/points3D.bin").unlink()
    assert read(root).points.shape == (0, 3)


@pytest.mark.parametrize("model", ["sparse/0", "."])
def test_zip_and_name_with_blanks(tmp_path: Path, model: str) -> None:
    views = some_views(("my photo 1.png", "my photo 2.png"))
    root = data_set(tmp_path / "cup", views, "txt", model)
    packed = tmp_path / "cup.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in root.rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path))
    assert_shows(read(packed), views)
    assert read(packed).photos[0].name == "cup/images/my photo 1.png"
    assert_shows(read(tmp_path), views)  # one folder down
    with zipfile.ZipFile(packed, "w") as archive:
        for file in root.rglob("*.*"):
            archive.write(file, file.relative_to(root))
    assert_shows(read(packed), views)


def test_no_model_and_two_data_sets(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="no COLMAP model"):
        read(tmp_path)
    for name in ("cup", "mouse"):
        data_set(tmp_path / name, some_views())
    with pytest.raises(SceneError, match="2 data sets inside: cup, mouse"):
        read(tmp_path)


def test_quaternion_of_the_writer() -> None:
    np.testing.assert_allclose(quaternion(turned((0, 0, 1), 0.6)), [np.cos(0.3), 0, 0, np.sin(0.3)], atol=1e-12)
