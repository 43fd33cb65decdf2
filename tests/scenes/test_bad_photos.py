"""Photos that cannot be read, in every format: one message each, of the file, what is wrong with it and what to do."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from nerfkit.errors import SceneError
from nerfkit.runs.pictures import orientation, reason
from nerfkit.scenes import open_scene
from tests.scenes.builders import ring, write_blender, write_kaolin
from tests.scenes.captures import some_views, write_colmap, write_dtu, write_llff, write_middlebury, write_pictures
from tests.scenes.test_develop import write

VIEWS = some_views()


def colmap(folder: Path) -> None:
    write_colmap(folder / "sparse" / "0", VIEWS)
    write_pictures(folder / "images", [view.name for view in VIEWS])


# Format -> what writes it, and one of its photos.
FORMATS: dict[str, tuple[Callable[[Path], object], str]] = {
    "transforms": (write, "images/2.png"),
    "colmap": (colmap, "images/b.png"),
    "llff": (lambda folder: write_llff(folder, VIEWS), "images/b.png"),
    "dtu": (lambda folder: write_dtu(folder, VIEWS), "image/b.png"),
    "middlebury": (lambda folder: write_middlebury(folder, VIEWS), "b.png"),
    "blender": (lambda folder: write_blender(folder, ring(3), ring(2)), "train/r_1.png"),
    "kaolin": (lambda folder: write_kaolin(folder, ring(3)), "1_rgb.png"),
}


def renamed(root: Path, view: int, name: str) -> None:
    """A transforms.json says another name of a photo."""
    content = json.loads((root / "transforms.json").read_text())
    content["frames"][view]["file_path"] = name
    (root / "transforms.json").write_text(json.dumps(content))


def jpeg() -> bytes:
    packed = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)).save(packed, "JPEG")
    return packed.getvalue()


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
COPY = "; expected a complete PNG or JPEG. Copy or export it again."
BAD = {
    "empty": (b"", f": the file is empty{COPY}"),
    "text": (b"<html>404</html>" * 9, f": cannot be decoded (it is no picture of a known format){COPY}"),
    "cut off": (jpeg()[:-200], ": cannot be decoded (image file is truncated"),
    "HEIC": (HEIC, ": 1 HEIC photo, and pillow_heif is not installed; expected JPEG or PNG without it. pip install"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", FORMATS)
def test_every_reader_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    make, photo = FORMATS[name]
    make(tmp_path / "data")
    data, said = BAD[kind]
    (tmp_path / "data" / photo).write_bytes(data)
    with pytest.raises(SceneError) as caught:
        open_scene(name, tmp_path / "data", holdout=3, center=[0, 0, 0], radius=1.0)
    assert Path(photo).name + said in str(caught.value) and " at 0x" not in str(caught.value)


@pytest.mark.parametrize(
    ("ending", "what"), [(".DNG", "raw photo, and rawpy"), (".heic", "HEIC photo, and pillow_heif")]
)
def test_an_extra_is_named_by_the_ending_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, what: str
) -> None:
    for module in ("pillow_heif", "rawpy"):
        monkeypatch.setitem(sys.modules, module, None)
    root = write(tmp_path / "ball")
    renamed(root, 1, f"images/1{ending}")
    (root / f"images/1{ending}").write_bytes(b"some")
    with pytest.raises(SceneError, match=rf"1{ending}: 1 {what} is not installed; .*nerfkit\[raw\]"):
        open_scene("auto", root, holdout=3)


def test_a_photo_for_print_is_as_its_colors(tmp_path: Path) -> None:
    """CMYK, as a photo of RGB."""
    root = write(tmp_path / "ball")
    plain = np.full((36, 48, 3), (200, 90, 40), np.uint8)
    Image.fromarray(plain).convert("CMYK").save(root / "images" / "0.jpg", quality=98)
    (root / "images" / "0.png").unlink()
    seen = open_scene("auto", root, holdout=3).images[0].numpy().reshape(-1, 4)
    inside = seen[seen[:, 3] == 255][:, :3]
    assert np.abs(np.median(inside, 0) - plain[0, 0]).max() <= 4


@pytest.mark.parametrize(
    ("view", "turn", "noted"),
    [
        (0, 3, True),  # 180 degrees
        (0, 2, True),  # mirrored
        (3, 6, True),  # a square photo: its size does not say of which pixels the poses are
        (0, 6, False),  # the camera's pictures are as the stored pixels: it is plain
        (0, 1, False),
    ],
)
def test_an_exif_rotation_is_not_applied_and_that_is_said(tmp_path: Path, view: int, turn: int, noted: bool) -> None:
    root = write(tmp_path / "ball")
    before = open_scene("auto", root, holdout=3)
    image = Image.fromarray(iio.imread(root / "images" / f"{view}.png"))
    exif = image.getexif()
    exif[274] = turn
    image.save(root / "images" / f"{view}.png", exif=exif)
    after = open_scene("auto", root, holdout=3)
    assert (after.images[view] == before.images[view]).all()
    notes = [note for note in after.notes if "EXIF rotation" in note]
    assert len(notes) == noted
    assert not notes or f"1 photo carries an EXIF rotation, the first is images/{view}.png; the poses are" in notes[0]


def test_a_photo_turned_upright_since_does_not_fit(tmp_path: Path) -> None:
    """The poses are of the upright picture, the file has the sensor's: refused, by its size."""
    root = write(tmp_path / "ball")
    image = Image.fromarray(np.zeros((48, 36, 3), np.uint8))
    exif = image.getexif()
    exif[274] = 6
    image.save(root / "images" / "0.png", exif=exif)
    with pytest.raises(SceneError, match=r"0.png: the photo is 36x48, its camera's pictures are 48x36"):
        open_scene("auto", root, holdout=3)


def test_what_exif_makes_no_sense_of_is_not_turned() -> None:
    assert orientation(b"") == orientation(b"some") == orientation(jpeg()) == 1


def test_reasons_are_short_and_without_addresses() -> None:
    assert reason(OSError("cannot identify image file <_io.BytesIO object at 0x7f3a>")) == "cannot identify image file"
    assert reason(ValueError()) == "ValueError" and len(reason(ValueError("x" * 999))) == 120


def test_heic_is_read_where_the_extra_is_installed(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow_heif is not installed: the extra raw")
    root = write(tmp_path / "ball")
    heif.from_pillow(Image.fromarray(np.full((36, 48, 3), (200, 90, 40), np.uint8))).save(root / "images" / "0.heic")
    renamed(root, 0, "images/0.heic")
    seen = open_scene("auto", root, holdout=3).images[0].numpy().reshape(-1, 4)
    assert np.abs(np.median(seen[seen[:, 3] == 255][:, :3], 0) - (200, 90, 40)).max() <= 6
