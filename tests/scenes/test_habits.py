"""Data as people have it: in folders of folders, copied by a Mac, named by a JSON, with more bits than eight."""

import os
import shutil
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from nerfkit.errors import SceneError
from nerfkit.scenes import open_scene
from tests.scenes.builders import ring, write_blender, write_kaolin


@pytest.fixture(scope="module")
def lego(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blender(tmp_path_factory.mktemp("many") / "lego.v2", ring(4), ring(1))


@pytest.mark.parametrize("mode", ["uint8", "uint16"])
def test_gray_of_any_depth_is_the_same_gray(lego: Path, tmp_path: Path, mode: str) -> None:
    folder = Path(shutil.copytree(lego, tmp_path / "d"))
    for path in folder.rglob("*.png"):
        gray = iio.imread(path)[..., 0]
        iio.imwrite(path, gray if mode == "uint8" else gray.astype(np.uint16) * 257)
    expected = np.stack([iio.imread(lego / "train" / f"r_{view}.png")[..., 0] for view in range(4)])
    images = open_scene("blender", folder).images.stack()[:4].numpy()
    assert (images[..., :3] == expected[..., None]).all() and (images[..., 3] == 255).all()


def test_the_clear_colors_of_a_palette_are_a_mask(lego: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lego, tmp_path / "d"))
    for path in folder.rglob("*.png"):
        Image.fromarray((iio.imread(path)[..., 3] > 127).astype(np.uint8), "P").save(path, transparency=b"\x00\xff")
    scene = open_scene("blender", folder)
    expected = iio.imread(lego / "train" / "r_1.png")[..., 3] > 127
    assert scene.has_masks and 0 < expected.mean() < 1
    assert (scene.images[1][..., 3].numpy() == 255 * expected).all()


@pytest.mark.parametrize(("kind", "said"), [(np.float32, "pixels are float32"), (np.int32, "pixels are int32")])
def test_numbers_that_are_no_colors_are_refused(lego: Path, tmp_path: Path, kind: type, said: str) -> None:
    folder = Path(shutil.copytree(lego, tmp_path / "d"))
    path = folder / "train" / "r_2.png"
    path.unlink()
    iio.imwrite(path.with_suffix(".tif"), np.full((24, 32), 70_000 if kind is np.int32 else 0.5, kind))
    path.with_suffix(".tif").rename(path)
    with pytest.raises(SceneError, match=f"r_2.png: {said}; expected 8 or 16 bits"):
        open_scene("blender", folder)


def test_what_macs_put_beside_files_is_passed_over(lego: Path, tmp_path: Path) -> None:
    for name, source in (("blender", lego), ("kaolin", write_kaolin(tmp_path / "k", ring(4)))):
        folder = Path(shutil.copytree(source, tmp_path / name))
        for path in list(folder.rglob("*.*")):
            if path.is_file():
                path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
        assert len(open_scene("auto", folder, holdout=3).images) == len(open_scene("auto", source, holdout=3).images)


def test_several_scenes_in_one_folder_are_named(lego: Path, tmp_path: Path) -> None:
    for name in ("chair", "ship"):
        shutil.copytree(lego, tmp_path / "all" / name)
    with pytest.raises(SceneError, match="2 data sets inside: chair, ship; expected one"):
        open_scene("auto", tmp_path / "all")


def test_a_scene_is_called_what_its_folder_is(lego: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lego / "train")
    for root in ("..", os.path.join("..", "..", "lego.v2"), str(lego / "transforms_train.json"), str(lego) + os.sep):
        assert open_scene("auto", root).name == "lego.v2"
