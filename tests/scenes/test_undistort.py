"""From bent photos to pinhole ones: content, straightness, filtering, validity, the pinhole's size, refusals."""

import numpy as np
import pytest

from nerfkit.cameras.lens import Lens
from nerfkit.errors import SceneError
from nerfkit.scenes.images import shrink, straight
from nerfkit.scenes.undistort import pinhole, undistort
from tests.cameras.test_lens_models import STRONG, strong


def middle(lens: Lens) -> Lens:
    """The lens of the middle 60 % of its pictures."""
    width, height = round(0.6 * lens.width), round(0.6 * lens.height)
    cx, cy = lens.intrinsics[2:]
    point = (cx - (lens.width - width) / 2, cy - (lens.height - height) / 2)
    lengths = lens.params[: len(lens.params) - len(lens.coefficients) - 2]
    return Lens(lens.model, width, height, lengths + point + lens.coefficients)


# Every model at a size that is quick; of those that see too much for a plane picture only the middle.
LENSES = {m: middle(strong(m)) if strong(m).field_of_view > 130 else strong(m).resized(320, 240) for m in STRONG}
BARREL = LENSES["OPENCV"]


def centers(lens: Lens) -> np.ndarray:
    """Directions (H,W,3) of the rays through the centers of a picture's pixels; NaN where there is none."""
    grid = np.stack(np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5), -1)
    return lens.unproject(grid)[0]


def waves(directions: np.ndarray) -> np.ndarray:
    """A smooth picture of the sphere of directions, (...,3) in 0..255."""
    phase = directions @ np.array([[11, 2, 0], [-3, 12, 4], [5, 5, 9.0]])
    return np.nan_to_num(127.5 + 120 * np.sin(phase))


def photo(color: np.ndarray, alpha: float | np.ndarray = 255) -> np.ndarray:
    """RGBA uint8 of color (H,W,3)."""
    full = np.broadcast_to(np.asarray(alpha, np.float64)[..., None], (*color.shape[:2], 1))
    return np.rint(np.concatenate([color, full], -1)).astype(np.uint8)


@pytest.mark.parametrize("shrunk", [1, 2.5])
@pytest.mark.parametrize("model", LENSES)
def test_equals_the_picture_through_a_pinhole(model: str, shrunk: float) -> None:
    lens = LENSES[model]
    target = pinhole(lens)
    target = target.resized(round(target.width / shrunk), round(target.height / shrunk))
    pixels, valid = undistort(photo(waves(centers(lens))), None, lens, target)
    off = np.abs(pixels[..., :3] - waves(centers(target)))[valid]
    assert valid.mean() > 0.5
    assert off.mean() < 0.35  # rounding twice is 0.29
    assert off.max() < 2.5
    assert (pixels[valid, 3] == 255).all()
    assert not pixels[~valid].any()


def centroids(rows: np.ndarray) -> np.ndarray:
    """Where each row (h,w) of a bright line on black has its middle."""
    return (rows * (np.arange(rows.shape[1]) + 0.5)).sum(1) / rows.sum(1)


def bow(rows: np.ndarray) -> float:
    """How far the middles deviate from a straight line, in pixels."""
    x, y = centroids(rows), np.arange(len(rows))
    return float(np.abs(x - np.polyval(np.polyfit(y, x, 1), y)).max())


@pytest.mark.parametrize("model", ["SIMPLE_RADIAL", "OPENCV", "FOV", "OPENCV_FISHEYE", "DIVISION", "EUCM"])
def test_straight_line_becomes_straight(model: str) -> None:
    lens = LENSES[model]
    directions = np.nan_to_num(centers(lens))
    normal = np.cross((0.42, -1, 1), (0.3, 1, 1))  # of the plane through the camera and a line on the right
    distance = directions @ normal / np.linalg.norm(normal) * lens.intrinsics[0]
    line = 255 * np.exp(-((distance / 2) ** 2))
    target = pinhole(lens)
    pixels, valid = undistort(photo(np.repeat(line[..., None], 3, -1)), None, lens, target)
    seen = valid & (pixels[..., 0] > 0)
    whole = np.flatnonzero(seen.any(1) & (pixels[..., 0].max(1) > 150))[20:-20]
    assert len(whole) > 0.5 * lens.height
    assert bow(line[20:-20]) > 0.8
    assert bow(pixels[whole, :, 0].astype(float)) < 0.06


def test_every_photo_pixel_counts() -> None:
    # A checkerboard of single pixels is gray from afar; fewer look-ups than it has pixels would show moire.
    board = np.indices((240, 320)).sum(0) % 2 * 255.0
    target = pinhole(BARREL).resized(90, 68)
    pixels, valid = undistort(photo(np.repeat(board[..., None], 3, -1)), None, BARREL, target)
    assert np.abs(pixels[valid, 0] - 127.5).max() < 10
    assert np.abs(pixels[valid, 0] - 127.5).mean() < 2


def test_alpha_edges_have_no_dark_fringe() -> None:
    covered = (np.indices((240, 320)) // 20).sum(0) % 2 == 0
    color = np.where(covered[..., None], (200.0, 100, 50), (0, 255, 255))  # what is not covered must not count
    pixels, valid = undistort(photo(color, covered * 255), None, BARREL, pinhole(BARREL))
    alpha = pixels[valid, 3:].astype(float)
    assert ((alpha > 20) & (alpha < 235)).any()
    np.testing.assert_allclose(pixels[valid, :3], alpha / 255 * (200, 100, 50), atol=1)


@pytest.mark.parametrize("size", [(320, 240), (160, 120), (97, 100)])
@pytest.mark.parametrize(
    "lens",
    [
        Lens("PINHOLE", 320, 240, (200, 210, 150, 130)),
        Lens("SIMPLE_PINHOLE", 320, 240, (200, 150, 130)),
        Lens("OPENCV", 320, 240, (200, 210, 150, 130, 0, 0, 0, 0)),
    ],
)
def test_pinhole_photos_are_only_shrunk(lens: Lens, size: tuple[int, int]) -> None:
    rgba = np.random.default_rng(2).integers(0, 256, (240, 320, 4), dtype=np.uint8)
    target = pinhole(lens)
    assert (target.width, target.height, target.params) == (320, 240, lens.intrinsics)
    for ignore in (None, np.zeros((240, 320), np.uint8)):
        pixels, valid = undistort(rgba, ignore, lens, target.resized(*size))
        assert valid.all()
        assert (pixels == shrink(straight(rgba), size[1], size[0])).all()
    rgba[..., 3] = 255
    assert (undistort(rgba, None, lens, target)[0] == rgba).all()


def test_ignored_pixels_of_a_pinhole_photo() -> None:
    lens, ignore = Lens("PINHOLE", 6, 4, (5, 5, 3, 2)), np.zeros((4, 6), np.uint8)
    ignore[1, 2] = 1
    rgba = np.full((4, 6, 4), 255, np.uint8)
    assert (undistort(rgba, ignore, lens, lens)[1] == (ignore == 0)).all()
    assert undistort(rgba, ignore, lens, lens.resized(3, 2))[1].tolist() == [[True, False, True], [True] * 3]
    assert undistort(rgba, ignore == 1, lens, lens.resized(4, 4))[1][1].tolist() == [True, False, True, True]


@pytest.mark.parametrize("model", ["OPENCV", "OPENCV_FISHEYE", "DIVISION"])
def test_validity(model: str) -> None:
    lens = LENSES[model]
    target = pinhole(lens).resized(150, 110)
    ignore = np.zeros((lens.height, lens.width), bool)
    ignore[60:63, 80:150] = True
    _, valid = undistort(np.full((*ignore.shape, 4), 255, np.uint8), ignore, lens, target)
    fine = np.stack(np.meshgrid(np.arange(150 * 4 + 1) / 4, np.arange(110 * 4 + 1) / 4), -1)
    seen, known = lens.project(target.unproject(fine)[0])  # five by five points of every footprint
    inside = known & ((seen > -0.01) & (seen < (lens.width + 0.01, lens.height + 0.01))).all(-1)
    cell = np.where(inside[..., None], seen, 0).astype(int)
    hit = inside & ignore[cell[..., 1].clip(0, lens.height - 1), cell[..., 0].clip(0, lens.width - 1)]
    windows = np.lib.stride_tricks.sliding_window_view
    all_inside = windows(inside, (5, 5))[::4, ::4].all((-1, -2))
    none_hit = ~windows(hit, (5, 5))[::4, ::4].any((-1, -2))
    assert not (valid & ~all_inside).any()
    assert not (valid & ~none_hit).any()
    cautious = all_inside & none_hit & ~valid  # bilinear look-ups and boxes reach a little beyond footprints
    assert cautious.sum() <= 0.25 * (all_inside & ~none_hit).sum() + 2


def test_fold_in_the_picture() -> None:
    lens = Lens("SIMPLE_RADIAL", 320, 240, (150, 160, 120, -1 / 3))  # one to one up to 45 degrees, 100 pixels
    target = pinhole(lens)
    assert lens.field_of_view == pytest.approx(90, abs=1e-3)
    assert (target.width, target.height) == (300, 300)
    _, valid = undistort(np.full((240, 320, 4), 255, np.uint8), None, lens, target)
    radius = np.hypot(*(np.indices((300, 300)) - 149.5))
    assert valid[radius < 148].all()
    assert not valid[radius > 150].any()


@pytest.mark.parametrize("model", LENSES)
def test_pinhole_holds_everything(model: str) -> None:
    lens = LENSES[model]
    target = pinhole(lens)
    border = np.concatenate([np.mgrid[0 : lens.width + 1, 0 : lens.height + 1 : lens.height].reshape(2, -1).T])
    pixels, _ = target.project(lens.unproject(border)[0])
    assert pixels.min() > -0.01
    assert (pixels < (target.width + 0.01, target.height + 0.01)).all()
    center = np.array([[-1e-4, 0, 1], [1e-4, 0, 1], [0, -1e-4, 1], [0, 1e-4, 1]])
    ours, theirs = target.project(center)[0], lens.project(center)[0]  # the same scale there
    np.testing.assert_allclose(ours[1::2] - ours[::2], theirs[1::2] - theirs[::2], rtol=1e-4, atol=1e-7)


def test_pinhole_is_at_most_twice_as_large() -> None:
    lens = Lens("SIMPLE_FISHEYE", 400, 300, (205, 200, 150))  # 139.7 degrees: the corners lie at 205 tan(69.85)
    target = pinhole(lens)
    assert (target.width, target.height, target.params) == (800, 600, (205, 205, 400, 300))


def test_principal_point_outside_the_photo() -> None:
    lens = Lens("SIMPLE_RADIAL", 200, 100, (300, -50, 40, 0.1))  # a crop
    target = pinhole(lens)
    assert target.intrinsics[2] < -40
    _, valid = undistort(np.full((100, 200, 4), 255, np.uint8), None, lens, target)
    assert valid.mean() > 0.8


@pytest.mark.parametrize(
    ("lens", "message"),
    [
        (
            Lens("SIMPLE_FISHEYE", 400, 300, (190, 200, 150)),
            r"^cave/7\.jpg: the field of view of its SIMPLE_FISHEYE lens is 150\.8 degrees; expected at most 140.*crop",
        ),
        (
            Lens("PINHOLE", 400, 300, (40, 40, 200, 150)),
            r"^cave/7\.jpg: the field of view of its PINHOLE lens is 161\.8 degrees; expected at most 140.*focal",
        ),
        (
            Lens("SIMPLE_RADIAL", 320, 240, (150, -500, 120, -1 / 3)),
            r"^cave/7\.jpg: no pixel of a 320x240 picture can be seen through its SIMPLE_RADIAL lens; expected.*Check",
        ),
    ],
)
def test_refusals(lens: Lens, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        pinhole(lens, "cave/7.jpg")


def test_shapes_must_fit() -> None:
    rgba, target = np.zeros((240, 320, 4), np.uint8), pinhole(BARREL)
    for arguments in ((rgba[1:], None, BARREL, target), (rgba, np.zeros((3, 3)), BARREL, target)):
        with pytest.raises(ValueError, match="expected a photo"):
            undistort(*arguments)
    with pytest.raises(ValueError, match="expected a pinhole to undistort to, got OPENCV"):
        undistort(rgba, None, BARREL, BARREL)
