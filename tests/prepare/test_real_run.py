"""From photos that the project makes itself to poses: how near they come, what goes on, what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfkit.errors import SceneError
from nerfkit.prepare import Prepared, PrepareOptions, features, prepare, run
from nerfkit.scenes import colmap
from nerfkit.scenes.files import Source
from nerfkit.view.video import write_video
from tests.prepare.made import landscape, noise, photograph, poses_around, shot, write_photo

pytest.importorskip("pycolmap", reason="pycolmap is not installed: the extra photos")
pytestmark = pytest.mark.slow

OPTIONS = PrepareOptions(features=1024, size=400)
POSES = poses_around(range(0, 140, 10), elevation=50, distance=3.2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 photos of hills, from an arc."""
    folder = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(photograph(landscape(), POSES)):
        write_photo(folder / f"view {number:02d}.png", pixels)
    return folder


@pytest.fixture(scope="module")
def done(photos: Path) -> Prepared:
    return prepare(photos, photos.parent / f"{photos.name}_out", OPTIONS)


def some_of(photos: Path, folder: Path, count: int) -> Path:
    """A folder with the first photos of another."""
    folder.mkdir()
    for path in sorted(photos.iterdir())[:count]:
        shutil.copy(path, folder)
    return folder


def aligned(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The points (N,3) of ``found`` after the similarity that takes them nearest to ``true`` (Umeyama 1991)."""
    a, b = found - found.mean(0), true - true.mean(0)
    left, values, right = np.linalg.svd(b.T @ a)
    sign = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    scale = (values * np.diag(sign)).sum() / (a**2).sum()
    return scale * a @ (left @ sign @ right).T + true.mean(0)


def test_the_poses_are_right(done: Prepared) -> None:
    assert done.total == 14 and done.placed >= 13
    with Source(done.folder) as source:
        capture = colmap.read(source)
    assert len(capture.photos) == done.placed and len(capture.points) > 100
    numbers = [int(Path(photo.name).stem[-2:]) for photo in capture.photos]
    true = POSES[numbers][:, :, 3]
    found = aligned(np.stack([photo.pose[:, 3] for photo in capture.photos]), true)
    assert np.linalg.norm(found - true, axis=1).max() < 0.01 * 3.2
    focal = capture.photos[0].lens.intrinsics[0]
    assert focal == pytest.approx(200 / np.tan(np.radians(25)), rel=0.02)


def test_what_is_left(done: Prepared) -> None:
    names = sorted(path.name for path in done.folder.iterdir())
    assert names == ["coverage.png", "images", "report.json", "report.md", "sparse"]
    assert (done.folder / "images" / "view_00.png").is_file()
    content = json.loads((done.folder / "report.json").read_text())
    assert content["placed"] == done.placed and content["reprojection_error"] < 1
    gap = content["coverage"]["gap"]
    assert gap[1] - gap[0] == pytest.approx(230, abs=8)
    placed = [photo for photo in content["photos"] if photo["placed"]]
    assert all(photo["error"] < 1.5 and photo["matches"] > 100 and photo["partners"] for photo in placed)
    assert any("principal point" in note for note in done.notes)
    assert any("No photo from azimuth" in note for note in done.notes)


def test_a_second_start_leaves_it(done: Prepared, photos: Path) -> None:
    before = (done.folder / "sparse" / "0" / "images.bin").stat().st_mtime_ns
    again = prepare(photos, done.folder, OPTIONS)
    assert (again.placed, again.total) == (done.placed, done.total)
    assert (done.folder / "sparse" / "0" / "images.bin").stat().st_mtime_ns == before


def test_a_stopped_start_goes_on(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = some_of(photos, tmp_path / "in", 6)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run.mapping, "map_photos", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(photos, tmp_path / "out", OPTIONS)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".work"]

    def never(*_: object) -> None:
        raise AssertionError("features and matches are there already")

    monkeypatch.setattr(features, "_in_portions", lambda work, portions, *_: never() if portions else None)
    lines: list[str] = []
    assert prepare(photos, tmp_path / "out", OPTIONS, lines.append).placed >= 5
    assert "going on with what an earlier start left" in lines[0]


def test_a_video(tmp_path: Path) -> None:
    frames = photograph(landscape(), poses_around(range(0, 126, 6), elevation=50, distance=3.2), samples=1)
    video = write_video(frames, tmp_path / "walk.mp4", fps=10)
    found = prepare(video, tmp_path / "out", replace(OPTIONS, frames=11))
    assert found.total == 11 and found.placed >= 10
    pairs = json.loads((tmp_path / "out" / "report.json").read_text())["photos"][0]["partners"]
    assert (
        max(pairs, key=lambda name: pairs[name]) == sorted(path.name for path in (tmp_path / "out/images").iterdir())[1]
    )


def test_focal_lengths_from_exif_are_priors(tmp_path: Path) -> None:
    shots = [shot("a.jpg", group="one", focal=50.0), shot("b.jpg", group="two"), shot("c.jpg", group="one", focal=50.0)]
    for _ in range(2):  # the second time they are there already
        ids = features.write_cameras(tmp_path / "database.db", shots, "SIMPLE_RADIAL")
    with features.pycolmap().Database.open(tmp_path / "database.db") as database:
        cameras = {camera.camera_id: camera for camera in database.read_all_cameras()}
    assert len(cameras) == 2
    one, two = cameras[ids["one"]], cameras[ids["two"]]
    assert one.has_prior_focal_length and one.focal_length == 50
    assert not two.has_prior_focal_length and two.focal_length == 1.2 * 40


def test_no_features_where_a_mask_is_black(tmp_path: Path, photos: Path) -> None:
    some_of(photos, tmp_path / "images", 1)
    half = np.zeros((400, 400), np.uint8)
    half[:, :200] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(half).save(tmp_path / "masks" / "view 00.png.png")
    found = {}
    for masks in (None, tmp_path / "masks"):
        database = tmp_path / f"{masks is None}.db"
        shots = [shot("view 00.png", width=400, height=400)]
        ids = features.write_cameras(database, shots, OPTIONS.lens)
        features.extract(database, tmp_path / "images", shots, ids, OPTIONS, masks)
        with features.pycolmap().Database.open(database) as opened:
            found[masks is None] = opened.read_keypoints(1)[:, 0]
    assert (found[True] > 200).sum() > 50
    assert found[False].max() <= 200 and len(found[False]) > 50


def test_the_same_seed_gives_nearly_the_same_result(tmp_path: Path, photos: Path) -> None:
    """The random choices are the same, the order in which COLMAP's threads sum up is not; cameras are 5 units away."""
    some_of(photos, tmp_path / "in", 5)
    found = []
    for name in ("a", "b"):
        with Source(prepare(tmp_path / "in", tmp_path / name, OPTIONS).folder) as source:
            found.append(colmap.read(source).photos)
    assert [photo.name for photo in found[0]] == [photo.name for photo in found[1]]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.pose, other.pose, atol=0.02)
        np.testing.assert_allclose(one.lens.params, other.lens.params, rtol=5e-3, atol=5e-3)


def test_the_second_try_is_global_mapping(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where incremental mapping places less than half of the photos."""
    monkeypatch.setattr(run.mapping, "_incremental", lambda *_: [])
    found = prepare(some_of(photos, tmp_path / "in", 8), tmp_path / "out", OPTIONS)
    assert found.placed >= 6


def test_photos_that_share_nothing(tmp_path: Path) -> None:
    for number in range(4):
        write_photo(tmp_path / "in" / f"{number}.png", noise(200, 200, 50 + number))
    with pytest.raises(SceneError, match=r"none of the 4 photos can be placed; expected photos that overlap\."):
        prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()


def test_places_that_do_not_see_each_other(tmp_path: Path, photos: Path) -> None:
    for seed, count in ((20, 5), (30, 4), (40, 4)):
        for number, pixels in enumerate(photograph(landscape(seed=seed), POSES[:count])):
            write_photo(tmp_path / "in" / f"{seed}_{number}.png", pixels)
    found = prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    assert (found.placed, found.total) == (5, 13)
    (parts,) = (note for note in found.notes if "parts that do not see each other" in note)
    assert "fall into 3 parts" in parts and "5 photos (20_0.png, 20_1.png" in parts and "4 photos (30_0.png" in parts
    assert any(note.startswith("Only 5 of 13 photos are placed") for note in found.notes)


def test_a_photo_of_something_else_is_named(tmp_path: Path, photos: Path) -> None:
    some_of(photos, tmp_path / "in", 5)
    write_photo(tmp_path / "in" / "sky.png", noise(400, 400, 99))
    (tmp_path / "in" / "empty.png").touch()
    found = prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    assert (found.placed, found.total) == (5, 6)
    assert any(note.startswith("sky.png shares nothing with the other photos") for note in found.notes)
    assert any("empty.png is empty" in note for note in found.notes)
