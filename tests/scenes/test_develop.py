"""From files in a photo format to a Scene: undistorted, masked, framed; a sphere seen through bent lenses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from nerfkit.cameras.lens import Lens
from nerfkit.errors import SceneError
from nerfkit.scenes import detect, open_scene, transforms
from nerfkit.scenes.develop import LONGEST, develop
from nerfkit.scenes.files import Source
from tests.scenes.builders import ring

RADIUS, CENTER = 10.0, np.array([3.0, -2.0, 5.0])  # as tests.scenes.builders.Sphere
SIZES = [(48, 36), (36, 48), (48, 36), (40, 40), (36, 48), (48, 36)]
BENT = {"k1": -0.25, "k2": 0.05, "p1": 0.004, "p2": -0.003}
POSES = ring(len(SIZES)).camera_to_world.double().numpy()


def photo(pose: np.ndarray, lens: Lens, samples: int = 4) -> np.ndarray:
    """The sphere, colored by its normal, before a plain wall whose color is that of the direction: (H,W,4) uint8."""
    x, y = ((np.arange(side * samples) + 0.5) / samples for side in (lens.width, lens.height))
    rays, _ = lens.unproject(np.stack(np.meshgrid(x, y), -1))
    rays = (rays * (1, -1, -1)) @ pose[:, :3].T  # to OpenGL's axes, to the world
    offset = pose[:, 3] - CENTER
    half_b = rays @ offset
    root = half_b**2 - offset @ offset + RADIUS**2
    hit = (root > 0)[..., None]
    normal = (offset + (-half_b - np.sqrt(np.maximum(root, 0)))[..., None] * rays) / RADIUS
    rgba = np.concatenate([np.where(hit, 0.5 + 0.4 * normal, 0.5 + 0.3 * rays), hit], -1)
    mean = rgba.reshape(lens.height, samples, lens.width, samples, 4).mean((1, 3))
    return np.uint8(np.clip(mean, 0, 1) * 255 + 0.5)


def write(folder: Path, channels: int = 3, **changes: Any) -> Path:
    """transforms.json and its photos; ``channels`` 4 with masks; ``changes`` of the JSON."""
    (folder / "images").mkdir(parents=True)
    frames = []
    for view, (width, height) in enumerate(SIZES):
        params = (70.0, 71.0, width / 2 + 1, height / 2 - 0.5, *BENT.values())
        lens = Lens("OPENCV", width, height, params)
        iio.imwrite(folder / "images" / f"{view}.png", photo(POSES[view], lens)[..., :channels])
        fields = dict(zip(("fl_x", "fl_y", "cx", "cy"), params, strict=False)) | {"w": width, "h": height}
        matrix = [*POSES[view].tolist(), [0, 0, 0, 1]]
        frames.append({"file_path": f"images/{view}.png", "transform_matrix": matrix, **fields, **BENT})
    (folder / "transforms.json").write_text(json.dumps({"frames": frames, **changes}))
    return folder


@pytest.fixture(scope="module")
def opaque(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("opaque") / "ball")


def test_pixels_are_those_of_a_pinhole(opaque: Path) -> None:
    """Each pixel that counts has the color of what its ray meets, so lens, pose and undistortion agree."""
    scene = open_scene("auto", opaque, holdout=3)
    assert scene.unbounded
    assert not scene.has_masks
    assert (scene.train, scene.test) == ([1, 2, 4, 5], [0, 3])
    assert len(set(scene.images.sizes)) > 1
    for view in range(len(SIZES)):
        origins, directions = scene.cameras.image_rays(view)
        center = scene.normalization.apply(torch.tensor(CENTER)).float()
        offset, radius = origins - center, RADIUS * scene.normalization.scale
        half_b = (offset * directions).sum(-1)
        root = half_b**2 - offset.square().sum(-1) + radius**2
        normal = (offset + (-half_b - root.clamp(min=0).sqrt())[:, None] * directions) / radius
        expected = torch.where(root[:, None] > 0, 0.5 + 0.4 * normal, 0.5 + 0.3 * directions)
        edge = root.abs() < 0.05 * radius**2
        counts = scene.images.known(view).flatten() & ~edge
        assert counts.float().mean() > 0.6
        found = scene.images[view].view(-1, 4)[:, :3].float() / 255
        assert (found - expected)[counts].abs().mean() < 0.006


def test_what_lies_outside_of_the_photo_is_ignored(opaque: Path) -> None:
    scene = open_scene("auto", opaque, holdout=3)
    assert scene.images.ignored is not None
    assert 0.005 < scene.images.ignored.float().mean() < 0.3
    assert scene.images.known(0)[scene.images.sizes[0][0] // 2].sum() > 0.8 * scene.images.sizes[0][1]


def test_transparent_photos_have_masks(tmp_path: Path) -> None:
    """Alpha says that nothing is there: a hull, not a far field. And pixels to ignore stay another thing."""
    scene = open_scene("auto", write(tmp_path / "ball", channels=4), holdout=3)
    assert scene.has_masks
    assert not scene.unbounded
    pixel, _ = scene.cameras.project(scene.normalization.apply(torch.tensor(CENTER)).float()[None])
    for view in range(len(SIZES)):
        column, row = pixel[view, 0].long().tolist()
        assert scene.mask(view)[row, column] == 1
    low, high = (scene.normalization.invert(torch.full((3,), side).double()) for side in (-0.95, 0.95))
    # A box around the ball, not much larger: four views carve little.
    assert (low < torch.tensor(CENTER) - RADIUS).all()
    assert (high > torch.tensor(CENTER) + RADIUS).all()
    assert (high - low).max() < 3.5 * RADIUS


def test_what_is_not_known_may_be_the_object(tmp_path: Path) -> None:
    """Unless the object ends before it: only then does the hull lose what lies there."""
    root = write(tmp_path / "ball", channels=4)
    picture = iio.imread(root / "images" / "0.png")
    iio.imwrite(root / "images" / "0.png", np.roll(picture, -picture.shape[1] // 3, 1))  # its ball leaves the frame
    images = open_scene("auto", root, holdout=3).images
    assert (images[0][~images.known(0)][:, 3] == 255).all()
    assert (images[3][~images.known(3)][:, 3] == 0).all()


def test_masks_of_pixels_to_ignore(tmp_path: Path) -> None:
    root = write(tmp_path / "ball")
    content = json.loads((root / "transforms.json").read_text())
    for view, frame in enumerate(content["frames"]):
        width, height = SIZES[view]
        mask = np.full((height, width), 255, np.uint8)
        mask[height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4] = 0
        iio.imwrite(root / f"mask_{view}.png", mask)
        frame["mask_path"] = f"mask_{view}.png"
    (root / "transforms.json").write_text(json.dumps(content))
    scene = open_scene("auto", root, holdout=3)
    assert not scene.has_masks
    for view, (height, width) in enumerate(scene.images.sizes):
        assert not scene.images.known(view)[height // 2 - 1 : height // 2 + 1, width // 2 - 1 : width // 2 + 1].any()


def test_what_the_user_says_of_region_and_axes(opaque: Path) -> None:
    scene = open_scene("auto", opaque, holdout=3, center=[1.0, 2.0, 3.0], radius=4.0, up="-y")
    torch.testing.assert_close(
        scene.normalization.apply(torch.tensor([1.0, 2.0, 3.0]).double()), torch.zeros(3).double(), atol=1e-9, rtol=0
    )
    assert scene.normalization.scale == pytest.approx(0.95 / 4)
    assert scene.up == (0.0, -1.0, 0.0)


def test_large_photos_are_made_smaller_and_that_is_said(tmp_path: Path) -> None:
    root = write(tmp_path / "ball")
    large = np.full((900, 1200, 3), 90, np.uint8)
    iio.imwrite(root / "images" / "0.png", large)
    scene = open_scene("auto", root, holdout=3)
    assert max(scene.images.sizes[0]) == LONGEST
    assert any(f"scene.resolution={LONGEST}" in note for note in scene.notes)


def _edit(root: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    content = json.loads((root / "transforms.json").read_text())
    change(content["frames"])
    (root / "transforms.json").write_text(json.dumps(content))


BAD: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "a turned photo": (
        lambda d: iio.imwrite(d / "images/2.png", np.zeros((48, 36, 3), np.uint8)),
        ["2.png", "36x48", "48x36", "same aspect"],
    ),
    "a mask of another size": (
        lambda d: (
            iio.imwrite(d / "m.png", np.zeros((9, 9), np.uint8)),
            _edit(d, lambda frames: frames[1].update(mask_path="m.png")),
        )[1],
        ["m.png", "9x9", "36x48"],
    ),
    "too wide a lens": (
        lambda d: _edit(d, lambda frames: frames[0].update(fl_x=12.0, fl_y=12.0, is_fisheye=True, k1=0, k2=0)),
        ["0.png", "degrees", "at most 140"],
    ),
    "a damaged photo": (lambda d: (d / "images/3.png").write_bytes(b"\x89PNG"), ["3.png", "cannot be decoded"]),
    "all pixels ignored": (
        lambda d: (
            [iio.imwrite(d / f"m{k}.png", np.zeros((h, w), np.uint8)) for k, (w, h) in enumerate(SIZES)],
            _edit(d, lambda frames: [frame.update(mask_path=f"m{k}.png") for k, frame in enumerate(frames)]),
        )[1],
        ["ignore every pixel", "black"],
    ),
    "all photos missing": (lambda d: [p.unlink() for p in d.glob("images/*")] and None, ["transforms.json"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str, tmp_path: Path) -> None:
    root = write(tmp_path / "ball")
    spoil, words = BAD[case]
    spoil(root)
    with pytest.raises(SceneError) as caught:
        open_scene("auto", root, holdout=3)
    for word in words:
        assert word in str(caught.value)


def test_every_format_is_detected(tmp_path: Path) -> None:
    signs = {
        "transforms": "transforms.json",
        "colmap": "sparse/0/cameras.bin",
        "llff": "poses_bounds.npy",
        "dtu": "cameras_sphere.npz",
        "middlebury": "dino_par.txt",
        "blender": "transforms_train.json",
    }
    for name, sign in signs.items():
        path = tmp_path / name / sign
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        assert detect(tmp_path / name) == name
    (tmp_path / "colmap" / "poses_bounds.npy").write_bytes(b"")
    assert detect(tmp_path / "colmap") == "colmap"


def test_the_plane_moves_with_the_scene(opaque: Path) -> None:
    """Points of a table below the ball: its plane, in normalized units, is where the table is."""
    random = np.random.default_rng(0)
    up = np.array([0.0, 1.0, 0.0])
    table = CENTER - [0, RADIUS, 0] + random.uniform(-30, 30, (1500, 3)) * (1, 0, 1)
    ball = CENTER + RADIUS * (lambda v: v / np.linalg.norm(v, axis=1, keepdims=True))(random.normal(size=(900, 3)))
    with Source(opaque) as source:
        capture = transforms.read(source)
        high = [view for view, photo in enumerate(capture.photos) if photo.pose[1, 3] > CENTER[1] - RADIUS]
        capture.photos = [capture.photos[view] for view in high]
        capture.points = np.concatenate([table, ball])
        scene = develop(source, capture, "transforms", holdout=3)
    assert scene.ground is not None
    np.testing.assert_allclose(scene.ground[:3], up, atol=1e-3)
    np.testing.assert_allclose(scene.up, up, atol=1e-3)
    on = scene.normalization.apply(torch.tensor(table))
    torch.testing.assert_close(
        on @ torch.tensor(scene.ground[:3]).double(), torch.full((1500,), scene.ground[3]).double(), atol=2e-3, rtol=0
    )


def test_up_of_masked_photos_is_that_of_the_cameras(tmp_path: Path) -> None:
    masked, bare = (open_scene("auto", write(tmp_path / str(k), channels=k), holdout=3) for k in (4, 3))
    assert masked.up == pytest.approx(bare.up, abs=1e-6)
    assert masked.up[1] > 0.9


def test_photos_from_one_place(tmp_path: Path) -> None:
    root = write(tmp_path / "ball")
    _edit(root, lambda frames: [frame["transform_matrix"][k].__setitem__(3, 1.0) for frame in frames for k in range(3)])
    with pytest.raises(SceneError, match=r"all photos were taken from one place.*scene\.center"):
        open_scene("auto", root, holdout=3)
    assert open_scene("auto", root, holdout=3, center=[0, 0, 0], radius=2.0).unbounded
