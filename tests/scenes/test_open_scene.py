"""open_scene: names, detection, arguments."""

import shutil
import zipfile
from pathlib import Path

import pytest

from nerfkit.errors import ConfigError, SceneError
from nerfkit.scenes import detect, open_scene
from nerfkit.scenes.frame import Frame
from nerfkit.studio import clock
from tests.scenes.builders import ring, write_blender, write_kaolin
from tests.scenes.captures import write_pictures


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaolin(tmp_path_factory.mktemp("kaolin") / "ball", ring(4, (12, 16)))


def test_auto_finds_the_format(ball: Path, tmp_path: Path) -> None:
    packed = write_kaolin(tmp_path / "packed", ring(3, (6, 8)), zipped=True)
    mic = write_blender(tmp_path / "mic", ring(3, (6, 8)), ring(1, (6, 8)))
    assert detect(ball) == detect(ball.parent) == detect(packed) == "kaolin"
    assert detect(mic) == "blender"
    assert open_scene("auto", mic).provenance["format"] == "blender"
    assert open_scene("auto", str(packed)).name == "packed"


def test_blender_folder_may_be_zipped(tmp_path: Path) -> None:
    folder = write_blender(tmp_path / "mic", ring(3, (6, 8)), ring(1, (6, 8)))
    with zipfile.ZipFile(tmp_path / "mic.zip", "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path))
    assert open_scene("auto", tmp_path / "mic.zip").test == [3]


def test_clock_gets_its_arguments(monkeypatch: pytest.MonkeyPatch, ball: Path) -> None:
    given = {"resolution": 64, "background": "white", "holdout": 5, "memory_gb": 0.5}
    passed = given | {"frame": Frame()}
    scene = open_scene("kaolin", ball)
    monkeypatch.setattr(clock, "load", lambda root, **arguments: scene if (root, arguments) == (None, passed) else None)
    assert open_scene("clock", **given) is scene


def test_auto_without_any_sign(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="no known format"):
        open_scene("auto", tmp_path)


@pytest.mark.parametrize("folder", ["shots", "shots/images"])
def test_photos_without_cameras_are_for_prepare(tmp_path: Path, folder: str) -> None:
    write_pictures(tmp_path / folder, ["b.jpg", "a.PNG", "c.HEIC.png"])
    with pytest.raises(SceneError, match=r"shots: 3 photos without cameras.*python -m nerfkit prepare .*shots OUT"):
        open_scene("auto", tmp_path / "shots")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "shots")
    with pytest.raises(SceneError, match=r"3 photos without cameras.* Unpack it\."):
        open_scene("auto", packed)


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(
        ConfigError, match=r"scene\.name=kaolyn: unknown .*; did you mean kaolin\? Known: clock, kaolin, "
    ):
        open_scene("kaolyn", "x")
    with pytest.raises(ConfigError, match=r"scene\.name=zzz: .*\. Known:") as caught:
        open_scene("zzz", "x")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", ["kaolin", "blender", "auto"])
def test_missing_root(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"scene\.root is missing"):
        open_scene(name)
    with pytest.raises(SceneError, match=r"nowhere: no such file or folder; expected a folder or a zip"):
        open_scene(name, tmp_path / "nowhere")
    (tmp_path / "photo.jpg").write_bytes(b"not a zip")
    with pytest.raises(SceneError, match=r"photo\.jpg: not a readable zip"):
        open_scene(name, tmp_path / "photo.jpg")


def test_background(ball: Path) -> None:
    assert open_scene("kaolin", ball).background == (0.0, 0.0, 0.0)
    assert open_scene("kaolin", ball, background="white").background == (1.0, 1.0, 1.0)
    assert open_scene("kaolin", ball, background=[0, 0.5, 1]).background == (0.0, 0.5, 1.0)
    with pytest.raises(ConfigError, match=r"scene\.background=blakc: unknown color; did you mean black"):
        open_scene("kaolin", ball, background="blakc")
    for wrong in ([0.1, 0.2], [0, 0, 2.0], [0.0, 0.0, float("nan")], ["a", 0, 0], 3, True):
        with pytest.raises(ConfigError, match=r"scene\.background"):
            open_scene("kaolin", ball, background=wrong)


@pytest.mark.parametrize("value", [0, -3, 1, 2.5, True])
@pytest.mark.parametrize("key", ["resolution", "holdout"])
def test_numbers_out_of_range(key: str, value: float, ball: Path) -> None:
    with pytest.raises(ConfigError, match=rf"(?i)scene\.{key}={value}: expected a whole number of at least"):
        open_scene("kaolin", ball, **{key: value})


def test_holdout_that_leaves_too_little(ball: Path) -> None:
    assert open_scene("kaolin", ball, holdout=2).train == [1, 3]
    assert open_scene("kaolin", ball, holdout=100).test == [0]
