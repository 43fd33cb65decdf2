"""Kaolin's format: conventions, masks, splits, zips, and every kind of bad input."""

import json
import shutil
import zipfile
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from nerfkit.errors import SceneError
from nerfkit.scenes import kaolin
from nerfkit.scenes.normalize import FILL
from tests.scenes.builders import Sphere, edit_json, quantize, ring, write_kaolin
from tests.scenes.real import data_folder


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaolin(tmp_path_factory.mktemp("kaolin") / "ball", ring(6))


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy of one's own to spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "ball"))


def test_known_point_projects_to_known_pixel(tmp_path: Path) -> None:
    # tf_mat by hand, for row vectors: the camera stands at x = 10, looks along -x, and sees world -z on its right.
    # camera axes in the world: right (0,0,-1), up (0,1,0), backward (1,0,0); p_camera = (-z, y, x - 10).
    tf_mat = [[0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, -10, 1]]
    root = write_kaolin(tmp_path / "d", ring(4, (20, 40)), masks="none")
    edit_json(
        root / "1_metadata.json",
        camera_properties__tf_mat=tf_mat,
        camera_properties__focal_length=24.0,
        camera_properties__horizontal_aperture=16.0,
    )
    scene = kaolin.load(root, holdout=3)
    point = torch.tensor([[2.0, 1.0, -0.5]])  # p_camera = (0.5, 1, -8): f = 60, x = 20 + 60/16, y = 10 - 60/8
    pixel, depth = scene.cameras.project(scene.normalization.apply(point))
    torch.testing.assert_close(pixel[1, 0], torch.tensor([23.75, 2.5]), atol=1e-4, rtol=0)
    assert float(depth[1, 0]) == pytest.approx(8 * scene.normalization.scale, rel=1e-5)
    # The ray through the center (23.5, 2.5) of pixel (row 2, column 23) passes 0.25 px to the left of the point.
    origins, directions = scene.cameras.image_rays(1)
    origin, direction = origins[2 * 40 + 23], directions[2 * 40 + 23]
    expected = scene.normalization.apply(torch.tensor([2.0, 1.0, -0.5 + 0.25 * 8 / 60]))
    torch.testing.assert_close(torch.nn.functional.normalize(expected - origin, dim=0), direction, atol=1e-5, rtol=0)


def test_sphere_is_seen_where_it_projects(folder: Path) -> None:
    scene, sphere = kaolin.load(folder, holdout=3), Sphere()
    truth = ring(6)
    assert scene.test == [0, 3]
    assert scene.train == [1, 2, 4, 5]
    assert scene.has_masks
    for view in range(6):
        rgba = sphere.render(truth, view)
        covered = rgba[..., 3] > 0
        assert torch.equal(scene.images[view][..., 3], torch.from_numpy(np.uint8(covered * 255)))
        over_black = quantize(rgba[..., :3] * rgba[..., 3:])
        assert np.array_equal(scene.images[view][..., :3].numpy(), over_black)
    center = scene.normalization.apply(torch.tensor([sphere.center]))
    torch.testing.assert_close(
        scene.cameras.project(center)[0][:, 0], torch.tensor([16.0, 12.0]).expand(6, 2), atol=1e-3, rtol=0
    )


def test_normalized_hull_fills_the_cube_and_holds_the_sphere(tmp_path: Path) -> None:
    scene, sphere = kaolin.load(write_kaolin(tmp_path / "d", ring(16)), holdout=16), Sphere()
    center = scene.normalization.apply(torch.tensor(sphere.center))
    radius = sphere.radius * scene.normalization.scale
    assert (center.abs() + radius).max() <= FILL
    assert (
        radius > 0.75
    )  # FILL, less a mask pixel (0.09 of the radius), the margin's pixel and what 15 views cannot carve
    back = scene.normalization.invert(scene.cameras.positions)
    torch.testing.assert_close(back, ring(16).positions, atol=1e-3, rtol=0)


def test_coverage_png_wins_and_color_is_not_darkened_twice(tmp_path: Path) -> None:
    cameras, sphere = ring(4), Sphere()
    root = write_kaolin(tmp_path / "d", cameras, masks="coverage")
    for view in range(4):
        np.save(root / f"{view}_semantic.npy", np.zeros((24, 32, 1), np.int32))
    scene = kaolin.load(root, holdout=4)
    rgba = sphere.render(cameras, 1)
    assert ((rgba[..., 3] > 0) & (rgba[..., 3] < 1)).any()  # there are fractional pixels to get wrong
    expected = quantize(np.concatenate([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1))
    assert np.array_equal(scene.images[1].numpy(), expected)


def test_labels_other_than_one_are_object_and_background_color_is_dropped(folder: Path) -> None:
    labels = np.load(folder / "1_semantic.npy") * 7
    labels[0, 0] = -1  # "unlabeled" in some exports
    np.save(folder / "1_semantic.npy", labels)
    picture = iio.imread(folder / "1_rgb.png")
    picture[0, 0] = [200, 100, 50, 255]
    iio.imwrite(folder / "1_rgb.png", picture)
    scene = kaolin.load(folder, holdout=3)
    assert scene.images[1][0, 0].tolist() == [0, 0, 0, 0]
    assert torch.equal(scene.images[1][..., 3] > 0, torch.from_numpy(labels[..., 0] > 0))


def test_zip_gives_the_same_scene_as_its_folder(tmp_path: Path) -> None:
    packed = write_kaolin(tmp_path / "ball", ring(6), zipped=True)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("__MACOSX/ball/._0_metadata.json", b"\0")
    from_zip, from_folder = (kaolin.load(root, resolution=16, holdout=3) for root in (packed, tmp_path / "ball"))
    assert torch.equal(from_zip.images.stack(), from_folder.images.stack())
    assert torch.equal(from_zip.cameras.camera_to_world, from_folder.cameras.camera_to_world)
    assert from_zip.name == from_folder.name == "ball"


def test_views_are_in_numerical_order_and_every_third_is_held_out(tmp_path: Path) -> None:
    scene = kaolin.load(write_kaolin(tmp_path / "d", ring(11, (6, 8))), holdout=3)
    assert scene.provenance["views"] == [f"{view}_rgb.png" for view in range(11)]
    assert scene.test == [0, 3, 6, 9]


def test_resolution_scales_the_intrinsics_with_the_pixels(folder: Path) -> None:
    scene = kaolin.load(folder, resolution=20, holdout=3)  # 32x24 -> 20x15: not a whole ratio
    assert scene.images.stack().shape == (6, 15, 20, 4)
    assert (scene.cameras.height, scene.cameras.width) == (15, 20)
    torch.testing.assert_close(scene.cameras.intrinsics[0], torch.tensor([36.0, 36.0, 10.0, 7.5]))
    larger = kaolin.load(folder, resolution=500, holdout=3)
    assert larger.images.stack().shape == (6, 24, 32, 4)


def test_without_masks_the_cameras_say_where_the_content_is(tmp_path: Path) -> None:
    scene = kaolin.load(write_kaolin(tmp_path / "d", ring(6), masks="none"), holdout=3)
    assert not scene.has_masks
    assert (scene.images.stack()[..., 3] == 255).all()
    center = scene.normalization.apply(torch.tensor([Sphere().center]))
    assert center.abs().max() < 1e-4
    torch.testing.assert_close(scene.cameras.positions.norm(dim=1), torch.full((6,), 2 * FILL), atol=1e-4, rtol=0)


IDENTITY = np.eye(4).tolist()


def _spoil_json(folder: Path, **changes: object) -> None:
    edit_json(folder / "4_metadata.json", **changes)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BAD = {
    "malformed JSON": (lambda d: (d / "4_metadata.json").write_text("{"), ["4_metadata.json", "malformed JSON"]),
    "JSON that is a list": (lambda d: (d / "4_metadata.json").write_text("[]"), ["4_metadata.json", "list"]),
    "missing pose": (
        lambda d: _spoil_json(d, camera_properties__tf_mat=...),
        ["4_metadata.json", "camera_properties.tf_mat"],
    ),
    "missing focal length": (
        lambda d: _spoil_json(d, camera_properties__focal_length=...),
        ["4_metadata.json", "focal_length"],
    ),
    "aperture of zero": (
        lambda d: _spoil_json(d, camera_properties__horizontal_aperture=0),
        ["horizontal_aperture is 0"],
    ),
    "ragged pose": (
        lambda d: _spoil_json(d, camera_properties__tf_mat=[[1], [2, 3]]),
        ["4_metadata.json", "not a matrix"],
    ),
    "aperture beyond float64": (
        lambda d: _spoil_json(d, camera_properties__horizontal_aperture=10**400),
        ["horizontal_aperture is 1000"],
    ),
    "pose beyond float64": (
        lambda d: _spoil_json(d, camera_properties__tf_mat=[[10**400] * 4] * 4),
        ["4_metadata.json", "not a matrix"],
    ),
    "words in the pose": (
        lambda d: _spoil_json(d, camera_properties__tf_mat="none"),
        ["4_metadata.json", "not a matrix"],
    ),
    "3x3 pose": (lambda d: _spoil_json(d, camera_properties__tf_mat=np.eye(3).tolist()), ["4_metadata.json", "(3, 3)"]),
    "NaN pose": (
        lambda d: _spoil_json(d, camera_properties__tf_mat=(np.eye(4) * np.nan).tolist()),
        ["4_metadata.json", "NaN"],
    ),
    "mirrored pose": (
        lambda d: _spoil_json(d, camera_properties__tf_mat=np.diag([1.0, 1, -1, 1]).tolist()),
        ["4_metadata.json", "mirrored"],
    ),
    "scaled pose": (
        lambda d: _spoil_json(d, camera_properties__tf_mat=np.diag([2.0, 2, 2, 1]).tolist()),
        ["4_metadata.json", "orthonormal"],
    ),
    "transposed pose": (
        lambda d: _spoil_json(d, camera_properties__tf_mat=[[1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]]),
        ["4_metadata.json", "transposed"],
    ),
    "another aspect": (
        lambda d: _spoil_json(d, camera_properties__resolution={"width": 10, "height": 10}),
        ["4_metadata.json", "aspect"],
    ),
    "truncated PNG": (lambda d: _truncate(d / "4_rgb.png"), ["4_rgb.png", "cannot be decoded"]),
    "empty PNG": (lambda d: (d / "0_rgb.png").write_bytes(b""), ["0_rgb.png", "is empty"]),
    "truncated mask": (lambda d: _truncate(d / "4_semantic.npy"), ["4_semantic.npy", "not a readable array"]),
    "pickled mask": (
        lambda d: np.save(d / "4_semantic.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True),
        ["4_semantic.npy", "not a readable array"],
    ),
    "text mask": (lambda d: np.save(d / "4_semantic.npy", np.full((24, 32), "x")), ["4_semantic.npy", "labels"]),
    "mask of another size": (
        lambda d: np.save(d / "4_semantic.npy", np.ones((24, 31), np.int32)),
        ["4_semantic.npy", "(24, 31)", "(24, 32)"],
    ),
    "missing image": (lambda d: [(d / f"{v}_rgb.png").unlink() for v in (2, 4)], ["2 of 6 image files", "2_rgb.png"]),
    "some masks missing": (lambda d: (d / "4_semantic.npy").unlink(), ["1 of 6 mask files", "4_semantic.npy"]),
    "every mask empty": (
        lambda d: [np.save(d / f"{v}_semantic.npy", np.zeros((24, 32), np.int32)) for v in range(6)],
        ["every mask is empty"],
    ),
    "one mask empty": (
        lambda d: np.save(d / "4_semantic.npy", np.zeros((24, 32), np.int32)),
        ["1 of 4 training views see the object but have an empty mask", "4_rgb.png"],
    ),
    "no metadata": (lambda d: [p.unlink() for p in d.glob("*.json")], ["no N_metadata.json"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str, folder: Path) -> None:
    spoil, words = BAD[case]
    spoil(folder)
    with pytest.raises(SceneError) as caught:
        kaolin.load(folder, holdout=3)
    for word in [str(folder), "expected", *words]:
        assert word in str(caught.value), str(caught.value)


def test_too_few_views(tmp_path: Path) -> None:
    one = write_kaolin(tmp_path / "one", ring(1))
    with pytest.raises(SceneError, match="it has 0 training and 1 held-out views"):
        kaolin.load(one)
    two = write_kaolin(tmp_path / "two", ring(2))
    with pytest.raises(SceneError, match="at least 2 training views and 1 held-out"):
        kaolin.load(two)
    kaolin.load(write_kaolin(tmp_path / "three", ring(3)))


def test_views_in_two_folders_are_ambiguous(tmp_path: Path) -> None:
    for name in "ab":
        write_kaolin(tmp_path / "d" / name, ring(3))
    with pytest.raises(SceneError, match="2 folders"):
        kaolin.load(tmp_path / "d")


def test_damaged_zip(tmp_path: Path) -> None:
    packed = write_kaolin(tmp_path / "ball", ring(4), zipped=True)
    content = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        start = archive.getinfo("ball/2_rgb.png").header_offset
    content[start + 80] ^= 0xFF  # inside the compressed picture
    packed.write_bytes(content)
    with pytest.raises(SceneError, match=r"2_rgb\.png: cannot be read"):
        kaolin.load(packed, holdout=4)
    packed.write_bytes(content[: len(content) // 2])
    with pytest.raises(SceneError, match="not a readable zip"):
        kaolin.load(packed)


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:evil.png", "..\\evil.png"])
def test_unsafe_zip_names(name: str, tmp_path: Path) -> None:
    packed = write_kaolin(tmp_path / "ball", ring(3), zipped=True)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(SceneError, match="unsafe name"):
        kaolin.load(packed)


def test_real_clock(tmp_path: Path) -> None:
    source = data_folder("kaolin_clock") / "rendered_clock.zip"
    packed = tmp_path / "few.zip"
    with zipfile.ZipFile(source) as full, zipfile.ZipFile(packed, "w") as few:
        for view in range(0, 100, 4):
            for kind in ("rgb.png", "semantic.npy", "metadata.json"):
                few.writestr(f"rendered_clock/{view}_{kind}", full.read(f"rendered_clock/{view}_{kind}"))
        stated = json.loads(full.read("rendered_clock/4_metadata.json"))["camera_properties"]
    scene = kaolin.load(packed, resolution=256, holdout=12)
    assert scene.images.stack().shape == (25, 256, 256, 4)
    assert scene.test == [0, 12, 24]
    torch.testing.assert_close(
        scene.cameras.intrinsics[0], torch.tensor([1172.8, 1172.8, 512, 512]) / 4, atol=1e-2, rtol=0
    )
    # The object is said to lie within +-48 units of the origin: its box, scaled to the cube, agrees.
    corners = scene.normalization.invert(torch.tensor([[-FILL] * 3, [FILL] * 3]))
    assert 46 < corners.abs().max() < 56
    distances = scene.normalization.invert(scene.cameras.positions).norm(dim=1)
    assert 200 < distances.min() < distances.max() < 505
    # The origin in view 4's camera is tf_mat's last row; the object is there, so its pixel is covered.
    pixel, _ = scene.cameras.project(scene.normalization.apply(torch.zeros(1, 3)))
    x, y, z = stated["tf_mat"][3][:3]
    expected = torch.tensor([128 - 293.2 * x / z, 128 + 293.2 * y / z])
    torch.testing.assert_close(pixel[1, 0], expected, atol=1e-2, rtol=0)
    for view in range(25):
        j, i = pixel[view, 0].long().tolist()
        assert scene.images[view][i, j, 3] == 255
