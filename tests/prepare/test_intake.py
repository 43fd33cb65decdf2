"""Photos are turned upright, made plain where they are not, kept as they are where they are, and grouped by camera."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfkit.errors import SceneError
from nerfkit.prepare.intake import order, take_photos
from tests.prepare.made import noise, shot, some_photos, write_photo

SMOOTH = (3, 5)


def taken(root: Path, out: Path) -> tuple[dict, list[str]]:
    """The shots by their source's name, and notes."""
    out.mkdir()
    shots, notes = take_photos(root, sorted(root.iterdir()), out)
    return {shot.source: shot for shot in shots}, notes


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    upright = noise(48, 64, cells=SMOOTH)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    for number in range(3):
        write_photo(tmp_path / "in" / f"{number}.jpg", np.ascontiguousarray(stored), orientation=orientation)
    shots, _ = taken(tmp_path / "in", tmp_path / "out")
    with Image.open(tmp_path / "out" / "0.jpg") as image:
        assert image.size == (64, 48) == (shots["0.jpg"].width, shots["0.jpg"].height)
        assert image.getexif().get(274, 1) == 1
        assert np.abs(np.asarray(image, float) - upright).mean() < 4  # twice through JPEG
    same = (tmp_path / "in" / "0.jpg").read_bytes() == (tmp_path / "out" / "0.jpg").read_bytes()
    assert same == (orientation == 1)


def test_what_becomes_of_each_kind(tmp_path: Path) -> None:
    color = noise(24, 32, cells=SMOOTH)
    root = tmp_path / "in"
    write_photo(root / "plain.png", color)
    Image.fromarray(color).convert("L").save(root / "gray.jpg")
    Image.fromarray(color).convert("CMYK").save(root / "print.jpg")
    Image.fromarray(color[..., 0].astype(np.uint16) * 257).save(root / "deep.png")
    Image.fromarray(color).save(root / "scan.tif")
    Image.fromarray(np.dstack([color, np.full((24, 32), 99, np.uint8)])).save(root / "clear.png")
    write_photo(root / "a name: with blanks.jpg", color)
    shots, notes = taken(root, tmp_path / "out")
    names = {source: one.name for source, one in shots.items()}
    assert names["scan.tif"] == "scan.png" and names["a name: with blanks.jpg"] == "a_name__with_blanks.jpg"
    assert "report.json lists both" in notes[-1]
    for source, mode in (("gray.jpg", "RGB"), ("print.jpg", "RGB"), ("deep.png", "RGB"), ("clear.png", "RGBA")):
        with Image.open(tmp_path / "out" / names[source]) as image:
            assert image.mode == mode and image.size == (32, 24)
    with Image.open(tmp_path / "out" / "deep.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[..., 1], color[..., 0])
    for source in ("plain.png", "clear.png"):
        assert (root / source).read_bytes() == (tmp_path / "out" / source).read_bytes()


def test_names_never_collide(tmp_path: Path) -> None:
    for name in ("a.tif", "a.png", "a.bmp"):
        Image.fromarray(noise(8, 8)).save(tmp_path / name)
    (tmp_path / "out").mkdir()
    shots, _ = take_photos(tmp_path, [tmp_path / name for name in ("a.bmp", "a.png", "a.tif")], tmp_path / "out")
    assert {shot.source: shot.name for shot in shots} == {"a.png": "a.png", "a.bmp": "a.bmp.png", "a.tif": "a.tif.png"}


def test_damaged_files_are_named_and_passed_over(tmp_path: Path) -> None:
    root = some_photos(tmp_path / "in", 3)
    (root / "empty.jpg").touch()
    whole = (root / "photo_0.jpg").read_bytes()
    (root / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "text.png").write_text("not a picture")
    shots, notes = taken(root, tmp_path / "out")
    assert sorted(shots) == ["photo_0.jpg", "photo_1.jpg", "photo_2.jpg"]
    assert "empty.jpg is empty" in notes[0] and "half.jpg is damaged" in notes[1] and "text.png is damaged" in notes[2]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(shots)


def test_links_may_lead_anywhere_in_the_folder_that_was_named(tmp_path: Path) -> None:
    root = some_photos(tmp_path / "in" / "raw", 3).parent
    (root / "images").mkdir()
    for path in (root / "raw").iterdir():
        (root / "images" / path.name).symlink_to(Path("..", "raw", path.name))
    write_photo(tmp_path / "secret.png", noise(24, 32))
    (root / "images" / "secret.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "out").mkdir()
    shots, notes = take_photos(root, sorted((root / "images").iterdir()), tmp_path / "out")
    assert [shot.name for shot in shots] == ["photo_0.jpg", "photo_1.jpg", "photo_2.jpg"]
    assert len(notes) == 1 and notes[0].startswith("secret.png is passed over: it leads out of its folder")
    assert all(path.is_file() and not path.is_symlink() for path in (tmp_path / "out").iterdir())


def test_too_few_readable(tmp_path: Path) -> None:
    root = some_photos(tmp_path / "in", 2)
    (root / "empty.jpg").touch()
    (tmp_path / "out").mkdir()
    with pytest.raises(SceneError, match=r"only 2 of 3 photos can be read \(empty.jpg is empty"):
        take_photos(root, sorted(root.iterdir()), tmp_path / "out")


def test_cameras_are_told_apart_by_size_device_and_focal_length(tmp_path: Path) -> None:
    wide, tall = noise(24, 32, cells=SMOOTH), noise(32, 24, cells=SMOOTH)
    root = tmp_path / "in"
    write_photo(root / "a.jpg", wide, make="Maker", model="One", focal35=26)
    write_photo(root / "b.jpg", wide, make="Maker", model="One", focal35=26)
    write_photo(root / "zoomed.jpg", wide, make="Maker", model="One", focal35=52)
    write_photo(root / "other.jpg", wide, make="Maker", model="Two", focal35=26)
    write_photo(root / "tall.jpg", tall, make="Maker", model="One", focal35=26)
    write_photo(root / "turned.jpg", wide, make="Maker", model="One", focal35=26, orientation=6)
    shots, _ = taken(root, tmp_path / "out")
    assert shots["a.jpg"].group == shots["b.jpg"].group
    assert len({one.group for one in shots.values()}) == 5
    focal = 26 * np.hypot(32, 24) / np.hypot(36, 24)
    assert shots["a.jpg"].focal == pytest.approx(focal)
    assert shots["turned.jpg"].focal == pytest.approx(focal) and shots["turned.jpg"].width == 24
    assert shots["zoomed.jpg"].focal == pytest.approx(2 * focal)


def test_photos_without_exif_share_a_camera(tmp_path: Path) -> None:
    shots, notes = taken(some_photos(tmp_path / "in"), tmp_path / "out")
    assert {one.group for one in shots.values()} == {"32x24"} and not notes
    assert all(one.focal is None for one in shots.values())


def test_order_is_by_time_only_where_all_have_one() -> None:
    timed = [shot("b.jpg", taken="2026:01:01 10:00:00"), shot("a.jpg", taken="2026:01:01 10:00:05")]
    assert [one.name for one in order(timed)] == ["b.jpg", "a.jpg"]
    assert [one.name for one in order([*timed, shot("0.jpg")])] == ["0.jpg", "a.jpg", "b.jpg"]
