"""Points for photos whose cameras are known: where they lie, when they are looked for, without pycolmap."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfkit import options, pipeline, prepared
from nerfkit.cameras import Cameras
from nerfkit.config import TrainOptions
from nerfkit.errors import ConfigError, UserError
from nerfkit.prepare import find_points
from nerfkit.raster import rasterize
from nerfkit.scenes import open_scene
from tests.prepare.made import landscape, photograph, poses_around, write_photo
from tests.scenes.builders import ring, write_kaolin

POSES = poses_around(range(0, 80, 10), elevation=50, distance=3.2)
PLY = "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\nend_header\n"


@pytest.fixture(scope="module")
def hills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos of hills, with their cameras and no points."""
    folder = tmp_path_factory.mktemp("hills")
    for number, pixels in enumerate(photograph(landscape(), POSES)):
        write_photo(folder / f"{number}.png", pixels)
    frames = [
        {"file_path": f"{number}.png", "transform_matrix": [*pose.tolist(), [0, 0, 0, 1]]}
        for number, pose in enumerate(POSES)
    ]
    lens = {"fl_x": 200 / np.tan(np.radians(25)), "w": 400, "h": 400}
    (folder / "transforms.json").write_text(json.dumps(lens | {"frames": frames}))
    return folder


@pytest.mark.slow
def test_points_lie_on_what_the_photos_show(hills: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycolmap", reason="pycolmap is not installed: the extra photos")
    path = find_points(open_scene("auto", hills), tmp_path)
    assert path is not None
    points = open_scene("auto", hills, points=path).points
    assert len(points) > 200
    seen = Cameras(torch.from_numpy(POSES).float(), torch.tensor([[428.9, 428.9, 200.0, 200.0]] * 8), 400, 400)
    truth = landscape()
    fragments = rasterize(torch.from_numpy(truth.vertices).float(), torch.from_numpy(truth.faces).int(), seen[3])
    pixel, depth = seen[3].project(torch.from_numpy(points).float())
    column, row = pixel[0].floor().long().unbind(-1)
    inside = (column >= 0) & (column < 400) & (row >= 0) & (row < 400)
    true = fragments.depth[0][row[inside], column[inside]]
    error = (depth[0][inside] - true).abs()[fragments.covered[0][row[inside], column[inside]]]
    assert len(error) > 100 and float(error.median()) < 0.01  # of a distance of 3.2
    assert find_points(open_scene("auto", hills), tmp_path) == path  # found before


def taken(root: Path, output: Path, *words: str) -> tuple[TrainOptions, list[str], int]:
    """The options after the scene is read, what its notes say, and how many points it has."""
    config = options.compose("train", [f"scene.root={root}", f"output={output}", *words])
    pipeline._find_photos(config)
    scene = prepared.with_points(config, pipeline.load_scene(config))
    return config, scene.notes, len(scene.points)


def test_a_run_looks_for_points_where_none_came_and_keeps_them(
    hills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, asked = tmp_path / "found.ply", []
    found.write_text(PLY.format(2) + "0 0 0\n0.5 0 0\n")
    monkeypatch.setattr(prepared, "find_points", lambda scene, folder: asked.append(folder) or found)
    config, notes, count = taken(hills, tmp_path)
    assert (config.scene.points, count, asked) == (str(found), 2, [tmp_path / "prepared" / "points"])
    assert any("2 were found" in note for note in notes)
    for words in ([f"scene.points={found}"], ["scene.center=[0,0,0]", "scene.radius=1"], ["scene.radius=2"]):
        taken(hills, tmp_path, *words)
    taken(write_kaolin(tmp_path / "ball", ring(3, (6, 8))), tmp_path)
    assert len(asked) == 1


def test_without_pycolmap_a_note_says_what_is_missing(
    hills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ConfigError("not installed")

    monkeypatch.setattr(prepared, "find_points", missing)
    config, notes, count = taken(hills, tmp_path)
    assert config.scene.points is None and count == 0 and any("pip install 'nerfkit[photos]'" in note for note in notes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("no mesh", "no PLY header"),
        (PLY.format(0), "no points"),
        (PLY.format(3), "ends before"),
    ],
)
def test_files_without_points_are_refused(hills: Path, tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "points.ply"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=f"points.ply.*{said}"):
        open_scene("auto", hills, points=path)


def test_scenes_with_masks_of_their_own_need_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="points"):
        open_scene("kaolin", write_kaolin(tmp_path / "ball", ring(3, (6, 8))), points=tmp_path / "points.ply")
