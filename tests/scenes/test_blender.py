"""The Blender format: conventions, alpha, splits, and every kind of bad input."""

import json
import shutil
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from nerfkit.errors import SceneError
from nerfkit.scenes import blender
from nerfkit.scenes.normalize import FILL
from tests.scenes.builders import Sphere, edit_json, quantize, ring, write_blender
from tests.scenes.real import data_folder


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blender(tmp_path_factory.mktemp("blender") / "ball", ring(5), ring(2))


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy of one's own to spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "ball"))


def test_known_point_projects_to_known_pixel(tmp_path: Path) -> None:
    # Camera at (1, -10, 2), right = world x, up = world z, backward = world -y, so it looks along +y.
    pose = [[1, 0, 0, 1], [0, 0, -1, -10], [0, 1, 0, 2], [0, 0, 0, 1]]
    root = write_blender(tmp_path / "d", ring(3, (20, 40)), ring(1, (20, 40)), opaque=True)
    edit_json(
        root / "transforms_train.json", camera_angle_x=2 * float(np.arctan(0.5)), frames__1__transform_matrix=pose
    )
    scene = blender.load(root)
    point = torch.tensor([[2.0, -2.0, 3.0]])  # p_camera = (1, 1, -8), f = 20 / 0.5 = 40: x = 20 + 5, y = 10 - 5
    pixel, depth = scene.cameras.project(scene.normalization.apply(point))
    torch.testing.assert_close(pixel[1, 0], torch.tensor([25.0, 5.0]), atol=1e-4, rtol=0)
    assert float(depth[1, 0]) == pytest.approx(8 * scene.normalization.scale, rel=1e-5)
    # The ray through the center (24.5, 4.5) of pixel (row 4, column 24) passes 0.5 px left of and above the point.
    origins, directions = scene.cameras.image_rays(1)
    neighbor = scene.normalization.apply(torch.tensor([2.0 - 0.5 * 8 / 40, -2.0, 3.0 + 0.5 * 8 / 40]))
    expected = torch.nn.functional.normalize(neighbor - origins[4 * 40 + 24], dim=0)
    torch.testing.assert_close(directions[4 * 40 + 24], expected, atol=1e-5, rtol=0)


def test_split_follows_the_files_and_alpha_is_premultiplied(folder: Path) -> None:
    scene, sphere = blender.load(folder), Sphere()
    assert scene.train == [0, 1, 2, 3, 4]
    assert scene.test == [5, 6]
    assert scene.has_masks
    assert scene.background == (1.0, 1.0, 1.0)
    assert scene.up == (0.0, 0.0, 1.0)
    for view, (cameras, index) in enumerate([(ring(5), i) for i in range(5)] + [(ring(2), i) for i in range(2)]):
        stored = quantize(sphere.render(cameras, index)).astype(np.float64)
        stored[..., :3] *= stored[..., 3:] / 255
        assert np.abs(scene.images[view].numpy() - stored).max() <= 0.5 + 1e-9
    covered = scene.mask(0) == 1
    assert covered.any()
    assert torch.equal(scene.image(0)[scene.mask(0) == 0], torch.ones(int((scene.mask(0) == 0).sum()), 3))


def test_hull_ignores_the_test_views(tmp_path: Path) -> None:
    small = write_blender(tmp_path / "a", ring(8), ring(2))
    large = write_blender(tmp_path / "b", ring(8), ring(2))
    for view in range(2):
        blank = np.zeros((24, 32, 4), np.uint8)
        blank[0, 0] = 255
        iio.imwrite(large / "test" / f"r_{view}.png", blank)
    assert blender.load(small).normalization == blender.load(large).normalization


def test_without_a_test_file_views_are_held_out(tmp_path: Path) -> None:
    scene = blender.load(write_blender(tmp_path / "d", ring(7)), holdout=3)
    assert scene.test == [0, 3, 6]
    assert scene.train == [1, 2, 4, 5]


def test_without_alpha_the_cameras_say_where_the_content_is(tmp_path: Path) -> None:
    scene = blender.load(write_blender(tmp_path / "d", ring(4), ring(1), opaque=True))
    assert not scene.has_masks
    assert (scene.images.stack()[..., 3] == 255).all()
    assert scene.normalization.scale == pytest.approx(2 * FILL / 60)  # half of the cameras' distance to either side
    center = torch.tensor([Sphere().center])
    torch.testing.assert_close(scene.normalization.apply(center), torch.zeros(1, 3), atol=1e-4, rtol=0)


def test_file_path_may_have_its_extension(folder: Path) -> None:
    edit_json(folder / "transforms_train.json", frames__0__file_path="train/r_0.png")
    assert blender.load(folder).provenance["views"][0] == "train/r_0.png"


FRAME = "frames__2__transform_matrix"
TRAIN = "transforms_train.json"
BAD = {
    "malformed JSON": (
        lambda d: (d / "transforms_test.json").write_text("{,}"),
        ["transforms_test.json", "malformed JSON"],
    ),
    "not UTF-8": (lambda d: (d / TRAIN).write_bytes(b"\xff\xfe\x00{"), [TRAIN, "malformed JSON"]),
    "missing angle": (lambda d: edit_json(d / TRAIN, camera_angle_x=...), [TRAIN, "camera_angle_x"]),
    "angle in degrees": (lambda d: edit_json(d / TRAIN, camera_angle_x=39.6), [TRAIN, "radians"]),
    "angle that is NaN": (
        lambda d: edit_json(d / TRAIN, camera_angle_x=float("nan")),
        [TRAIN, "camera_angle_x is nan"],
    ),
    "missing frames": (lambda d: edit_json(d / TRAIN, frames=...), [TRAIN, "'frames'"]),
    "frames that are no list": (lambda d: edit_json(d / TRAIN, frames={"a": 1}), [TRAIN, "frames"]),
    "missing pose": (lambda d: edit_json(d / TRAIN, **{FRAME: ...}), [TRAIN, "frame 2", "transform_matrix"]),
    "NaN pose": (lambda d: edit_json(d / TRAIN, **{FRAME: [[float("nan")] * 4] * 4}), [TRAIN, "frame 2", "NaN"]),
    "mirrored pose": (
        lambda d: edit_json(d / TRAIN, **{FRAME: np.diag([-1.0, 1, 1, 1]).tolist()}),
        [TRAIN, "frame 2", "mirrored"],
    ),
    "sheared pose": (
        lambda d: edit_json(d / TRAIN, **{FRAME: (np.eye(4) + 0.1 * np.eye(4, k=1)).tolist()}),
        [TRAIN, "frame 2"],
    ),
    "path that leaves the folder": (
        lambda d: edit_json(d / TRAIN, frames__2__file_path="../../secret"),
        [TRAIN, "frame 2", "../../secret"],
    ),
    "path that is a number": (lambda d: edit_json(d / TRAIN, frames__2__file_path=3), [TRAIN, "frame 2", "file_path"]),
    "missing images": (
        lambda d: [(d / "train" / f"r_{v}.png").unlink() for v in (1, 3)],
        ["2 of 7 listed images are missing", "train/r_1.png"],
    ),
    "truncated PNG": (
        lambda d: (d / "test/r_1.png").write_bytes((d / "test/r_1.png").read_bytes()[:100]),
        ["test/r_1.png", "cannot be decoded"],
    ),
    "every alpha empty": (
        lambda d: [iio.imwrite(p, np.zeros((24, 32, 4), np.uint8)) for p in d.glob("train/*.png")],
        ["every mask is empty"],
    ),
    "a single training view": (
        lambda d: edit_json(d / TRAIN, frames=json.loads((d / TRAIN).read_text())["frames"][:1]),
        ["1 training", "at least 2 training views"],
    ),
    "no training file": (lambda d: (d / TRAIN).unlink(), ["no transforms_train.json"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str, folder: Path) -> None:
    spoil, words = BAD[case]
    spoil(folder)
    with pytest.raises(SceneError) as caught:
        blender.load(folder)
    for word in [str(folder), "expected", *words]:
        assert word in str(caught.value), str(caught.value)


def test_real_mic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mic = data_folder("nerf_mic")
    monkeypatch.setenv("NERFKIT_OUTSIDE", "1")  # for the links
    for split, step in (("train", 8), ("test", 9)):
        (tmp_path / split).symlink_to(mic / split)
        content = json.loads((mic / f"transforms_{split}.json").read_text())
        content["frames"] = content["frames"][::step]
        (tmp_path / f"transforms_{split}.json").write_text(json.dumps(content))
    scene = blender.load(tmp_path, resolution=50)
    assert scene.images.stack().shape == (13 + 3, 50, 50, 4)
    assert scene.test == [13, 14, 15]
    assert scene.provenance["views"][13:] == ["test/r_0.png", "test/r_72.png", "test/r_144.png"]
    focal = 25 / np.tan(0.6911112070083618 / 2)
    torch.testing.assert_close(scene.cameras.intrinsics[0], torch.tensor([focal, focal, 25, 25]).float())
    radii = scene.normalization.invert(scene.cameras.positions).norm(dim=1)
    torch.testing.assert_close(radii, torch.full_like(radii, 4.031), atol=1e-3, rtol=0)
    # A box filter of premultiplied color, computed here in another way.
    stored = iio.imread(mic / "train/r_0.png").astype(np.float64)
    stored[..., :3] *= stored[..., 3:] / 255
    mean = stored.reshape(50, 16, 50, 16, 4).mean(axis=(1, 3))
    assert np.abs(scene.images[0].numpy() - mean).max() <= 0.5 + 1e-9
    corners = scene.normalization.invert(torch.tensor([[-FILL] * 3, [FILL] * 3]))
    assert 0.9 < corners.abs().max() < 1.5
