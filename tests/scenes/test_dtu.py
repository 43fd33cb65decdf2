"""DTU's projection matrices: taken apart and together again, world units and the ball, masks, every bad input."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nerfkit.errors import SceneError
from nerfkit.scenes import dtu
from nerfkit.scenes.capture import Capture
from nerfkit.scenes.files import Source
from tests.scenes.captures import shown, some_views, turned, write_dtu, write_pictures

POINT = (0.7, -0.4, 0.9)
CAMERAS = "cameras_sphere.npz"


def read(root: Path) -> Capture:
    with Source(root) as source:
        return dtu.read(source)


@pytest.mark.parametrize("sign", [1.0, -1.0, 300.0])
def test_known_point_lands_on_the_pixel_of_the_matrix(tmp_path: Path, sign: float) -> None:
    views = some_views()
    root = write_dtu(tmp_path, views, sign=sign)
    capture = read(root)
    assert [photo.name for photo in capture.photos] == ["image/a.png", "image/b.png", "image/c.png"]
    content = np.load(root / CAMERAS)
    for index, photo in enumerate(capture.photos):
        u, v, d = content[f"world_mat_{index}"][:3] @ [*POINT, 1]
        np.testing.assert_allclose(shown(photo, POINT), [u / d + 0.5, v / d + 0.5], atol=1e-9)
        np.testing.assert_allclose(photo.pose[:, 3], -views[index].rotation.T @ views[index].translation, atol=1e-9)
        assert (photo.lens.model, photo.lens.width, photo.lens.height) == ("PINHOLE", 40, 30)
    assert capture.notes == []


def test_ball_is_the_scale_matrix_in_world_units(tmp_path: Path) -> None:
    capture = read(write_dtu(tmp_path, some_views()))
    assert capture.sphere == ((1.0, 2.0, 3.0), 2.5)
    # The same as working in the unit ball: world_mat @ scale_mat has the same K and R, and a center that it maps.
    content = np.load(tmp_path / CAMERAS)
    _, pose = dtu.decompose(content["world_mat_1"] @ content["scale_mat_1"], "")
    center = -pose[:, :3].T @ pose[:, 3]
    np.testing.assert_allclose(2.5 * center + [1, 2, 3], capture.photos[1].pose[:, 3], atol=1e-9)


@pytest.mark.parametrize("last", [1.0, 7.0])
def test_decomposition_is_the_inverse_of_the_product(last: float) -> None:
    camera = np.array([[900.0, 3.0, 310.0], [0, 880.0, 250.0], [0, 0, 1]])
    world_to_camera = np.concatenate([turned((1, -2, 0.3), 2.5), [[3.0], [-4.0], [50.0]]], 1)
    found, pose = dtu.decompose(-last * camera @ world_to_camera, "")
    np.testing.assert_allclose(found, camera, rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(pose, world_to_camera, atol=1e-9)


def test_masks_are_alpha_in_the_order_of_their_names(tmp_path: Path) -> None:
    root = write_dtu(tmp_path, some_views())
    assert [photo.alpha for photo in read(root).photos] == ["mask/00a.png", "mask/00b.png", "mask/00c.png"]
    assert [photo.ignore for photo in read(root).photos] == [None] * 3
    for path in (root / "mask").iterdir():
        path.unlink()
    assert [photo.alpha for photo in read(root).photos] == [None] * 3


def test_skew_is_noted_and_neus_cameras_come_first(tmp_path: Path) -> None:
    root = write_dtu(tmp_path, some_views(), "cameras.npz", skew=0.5)
    capture = read(root)
    assert capture.notes == [f"{root}/cameras.npz: the skew of 3 cameras is not used; it is up to 0.01 fx"]
    write_dtu(tmp_path, some_views(), skew=0.01)
    assert read(root).notes == []


def replaced(**arrays: object) -> Callable[[Path], object]:
    def write(root: Path) -> None:
        content = {**np.load(root / CAMERAS), **arrays}
        np.savez(root / CAMERAS, **{key: value for key, value in content.items() if value is not None})

    return write


BAD = {
    "a photo too many": (lambda root: write_pictures(root / "image", ["d.png"]), "3 cameras.*4 photos.*3 masks"),
    "a mask too few": (lambda root: (root / "mask/00a.png").unlink(), "3 cameras.*3 photos.*2 masks"),
    "a camera too few": (replaced(world_mat_1=None), "1 cameras"),
    "no cameras": (replaced(world_mat_0=None), "0 cameras"),
    "NaN": (replaced(world_mat_1=np.full((4, 4), np.nan)), "world_mat_1.*NaN"),
    "zeros": (replaced(world_mat_1=np.zeros((4, 4))), "world_mat_1.*singular"),
    "another shape": (replaced(world_mat_1=np.eye(3)), r"world_mat_1.*shape is \(3, 3\)"),
    "a number": (replaced(world_mat_1=3.0), r"world_mat_1.*shape is \(\)"),
    "objects": (replaced(world_mat_1=np.array([{}])), "cannot be read.*allow_pickle"),
    "text": (replaced(world_mat_1=np.array(["x"])), "world_mat_1.*array of numbers"),
    "no zip": (lambda root: (root / CAMERAS).write_bytes(b"PK\x03\x04abc"), "cannot be read"),
    "an empty file": (lambda root: (root / CAMERAS).write_bytes(b""), "cannot be read"),
    "an array": (lambda root: np.save((root / CAMERAS).open("wb"), np.eye(4)), "a single array"),
    "a photo that is none": (lambda root: (root / "image/b.png").write_text("x"), "image/b.png.*cannot be decoded"),
    "no file": (lambda root: (root / CAMERAS).unlink(), "no cameras_sphere.npz or cameras.npz"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(tmp_path: Path, case: str) -> None:
    change, message = BAD[case]
    root = write_dtu(tmp_path, some_views())
    change(root)
    with pytest.raises(SceneError, match=message) as caught:
        read(root)
    assert "expected" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_ball_is_none_where_the_matrices_are_no_scale_and_shift(tmp_path: Path) -> None:
    for index, scale in enumerate((None, np.diag([1.0, 2, 1, 1]), np.diag([-1.0, -1, -1, 1]), np.eye(3))):
        root = write_dtu(tmp_path / str(index), some_views(("a.png",)))
        replaced(scale_mat_0=scale)(root)
        assert read(root).sphere is None
