"""Masks beside the photos go with them: named as COLMAP has it, upright, of the photo's size, and used in training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfkit.errors import SceneError
from nerfkit.prepare.folder import fingerprint_of
from nerfkit.prepare.intake import take_photos
from nerfkit.prepare.masks import masks_of, take_masks
from nerfkit.prepare.options import PrepareOptions
from nerfkit.scenes import open_scene
from tests.prepare.made import noise, some_photos, write_photo
from tests.scenes.captures import some_views, write_colmap


def write_mask(path: Path, width: int = 32, height: int = 24) -> np.ndarray:
    """White but for a black corner at the top left."""
    mask = np.full((height, width), 255, np.uint8)
    mask[: height // 3, : width // 4] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return mask


def taken(root: Path, out: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The masks in ``out`` by name, and notes."""
    photos = sorted(path for path in root.rglob("*.*") if path.parent.name != "masks")
    (out / "images").mkdir(parents=True)
    shots, _ = take_photos(root, photos, out / "images")
    notes = take_masks(root, masks_of(root, photos), photos, shots, out / "masks")
    found = sorted((out / "masks").iterdir()) if (out / "masks").is_dir() else []
    return {path.name: np.asarray(Image.open(path)) for path in found}, notes


@pytest.mark.parametrize("folder", ["", "images"])
def test_masks_are_found_by_name(tmp_path: Path, folder: str) -> None:
    root = tmp_path / "in"
    some_photos(root / folder)
    first = write_mask(root / "masks" / "photo_0.jpg.png")
    write_mask(root / "masks" / "PHOTO_2.PNG")
    write_mask(root / "masks" / "of_another.png")
    masks, notes = taken(root, tmp_path / "out")
    assert sorted(masks) == ["photo_0.jpg.png", "photo_2.jpg.png"]
    assert (masks["photo_0.jpg.png"] == first).all()
    assert notes == ["2 of 4 photos have a mask: what is black in it is ignored"]


def test_no_masks(tmp_path: Path) -> None:
    assert taken(some_photos(tmp_path / "in"), tmp_path / "out") == ({}, [])
    (tmp_path / "walk.mp4").touch()
    assert masks_of(tmp_path / "walk.mp4", [tmp_path / "walk.mp4"]) == {}


@pytest.mark.parametrize(("orientation", "size"), [(3, (32, 24)), (6, (24, 32)), (8, (24, 32)), (6, (32, 24))])
def test_a_mask_is_turned_as_its_photo(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    """The photos are upright at 32x24; the last mask was made of the upright photo."""
    upright = noise(24, 32, cells=(3, 5))
    turns = {3: 2, 6: 1, 8: -1}[orientation]  # quarters, counterclockwise, from upright to stored
    for number in range(3):
        stored = np.ascontiguousarray(np.rot90(upright, turns))
        write_photo(tmp_path / "in" / f"{number}.jpg", stored, orientation=orientation)
    mask = write_mask(tmp_path / "in" / "masks" / "1.png", *size)
    masks, _ = taken(tmp_path / "in", tmp_path / "out")
    expected = mask if orientation == 6 and size == (32, 24) else np.rot90(mask, -turns)
    assert (masks["1.jpg.png"] == expected).all()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda path: write_mask(path, 30, 24),
            "photo_1.png: the mask is 30x24; expected 32x24, as its photo photo_1.jpg",
        ),
        (lambda path: path.write_bytes(b""), "photo_1.png: the file is empty"),
        (lambda path: path.write_bytes(b"some"), "photo_1.png: cannot be decoded"),
    ],
)
def test_a_mask_that_cannot_be_used_is_named(tmp_path: Path, spoil: object, said: str) -> None:
    root = some_photos(tmp_path / "in")
    (root / "masks").mkdir()
    spoil(root / "masks" / "photo_1.png")  # type: ignore[operator]
    with pytest.raises(SceneError, match=said):
        taken(root, tmp_path / "out")


def test_another_mask_is_another_preparation(tmp_path: Path) -> None:
    root = some_photos(tmp_path / "in")
    photos = sorted(root.glob("*.jpg"))

    def known() -> str:
        return fingerprint_of(root, [*photos, *masks_of(root, photos).values()], PrepareOptions())

    before = known()
    write_mask(root / "masks" / "photo_1.png")
    assert known() != before


def test_training_ignores_what_is_black(tmp_path: Path) -> None:
    """What ``prepare`` leaves, with a model of other cameras."""
    root = tmp_path / "in"
    names = [f"{number}.jpg" for number in range(3)]
    for number, name in enumerate(names):
        write_photo(root / name, noise(30, 40, number))
        write_mask(root / "masks" / f"{name}.png", 40, 30)
    taken(root, tmp_path / "out")
    write_colmap(tmp_path / "out" / "sparse" / "0", some_views(names))
    scene = open_scene("auto", tmp_path / "out", holdout=3, center=[0, 0, 0], radius=1.0)
    assert not scene.has_masks
    for view in range(3):
        known = scene.images.known(view)
        assert not known[:10, :10].any() and known[10:].all() and known[:, 10:].all()
