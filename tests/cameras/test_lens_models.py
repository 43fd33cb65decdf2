"""Camera models: the published formulas, the exact inverse, folds, limits, sizes and refusals."""

import math

import numpy as np
import pytest

from nerfkit.cameras.lens import MODEL_IDS, MODELS, Lens

WIDTH, HEIGHT = 640, 480
ONE, TWO = (500.0, 310.0, 250.0), (500.0, 510.0, 310.0, 250.0)
ROUND_ONE, ROUND_TWO = (300.0, 310.0, 250.0), (300.0, 305.0, 310.0, 250.0)

# Strong, as in action cameras and fisheye lenses: no fold in the picture.
STRONG: dict[str, tuple[float, ...]] = {
    "SIMPLE_PINHOLE": ONE,
    "PINHOLE": TWO,
    "SIMPLE_RADIAL": (*ONE, -0.18),
    "RADIAL": (*ONE, -0.3, 0.12),
    "OPENCV": (*TWO, -0.3, 0.1, 0.004, -0.006),
    "OPENCV_FISHEYE": (*ROUND_TWO, -0.03, 0.01, -0.005, 0.001),
    "FULL_OPENCV": (*TWO, 0.8, -0.3, 0.003, -0.002, 0.05, 1.0, -0.1, 0.02),
    "FOV": (400.0, 410.0, 310.0, 250.0, 0.9),
    "SIMPLE_RADIAL_FISHEYE": (*ROUND_ONE, -0.06),
    "RADIAL_FISHEYE": (*ROUND_ONE, -0.05, 0.01),
    "THIN_PRISM_FISHEYE": (*ROUND_TWO, -0.03, 0.01, 0.002, -0.003, 0.002, -0.001, 0.004, -0.003),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        *(*ROUND_TWO, 0.2, -0.3, 0.25, -0.1, 0.02, -0.001),
        *(0.002, -0.003, 0.001, 0.0005, -0.002, 0.0004),
    ),
    "SIMPLE_DIVISION": (*ONE, -0.2),
    "DIVISION": (*TWO, 0.1),
    "SIMPLE_FISHEYE": ROUND_ONE,
    "FISHEYE": ROUND_TWO,
    "EUCM": (350.0, 360.0, 310.0, 250.0, 0.6, 1.1),
}


def strong(model: str) -> Lens:
    return Lens(model, WIDTH, HEIGHT, STRONG[model])


def grid(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Pixels (33,49,2) over the whole picture, its border included."""
    return np.stack(np.meshgrid(np.linspace(0, width, 49), np.linspace(0, height, 33)), -1)


def published(model: str, params: tuple[float, ...], x: float, y: float, z: float) -> tuple[float, float]:
    """The formulas of OpenCV's and COLMAP's documentation, number by number."""
    a, b = x / z, y / z
    r = math.hypot(a, b)
    theta = math.atan(r)
    if model == "SIMPLE_RADIAL":
        f, cx, cy, k = params
        return f * a * (1 + k * r**2) + cx, f * b * (1 + k * r**2) + cy
    if model == "FOV":
        fx, fy, cx, cy, omega = params
        bent = math.atan(2 * r * math.tan(omega / 2)) / omega
        return fx * a / r * bent + cx, fy * b / r * bent + cy
    if model == "SIMPLE_DIVISION":  # r = d / (1 + k d^2), solved for d
        f, cx, cy, k = params
        bent = (1 - math.sqrt(1 - 4 * k * r**2)) / (2 * k * r)
        return f * a / r * bent + cx, f * b / r * bent + cy
    fx, fy, cx, cy, *c = params
    if model == "OPENCV_FISHEYE":
        k1, k2, k3, k4 = c
        bent = theta * (1 + k1 * theta**2 + k2 * theta**4 + k3 * theta**6 + k4 * theta**8)
        return fx * bent / r * a + cx, fy * bent / r * b + cy
    if model == "EUCM":
        alpha, beta = c
        under = alpha * math.sqrt(beta * r**2 + 1) + 1 - alpha
        return fx * a / under + cx, fy * b / under + cy
    if model in ("OPENCV", "FULL_OPENCV"):
        k1, k2, p1, p2, k3, k4, k5, k6 = (*c, 0, 0, 0, 0)[:8]
        radial = (1 + k1 * r**2 + k2 * r**4 + k3 * r**6) / (1 + k4 * r**2 + k5 * r**4 + k6 * r**6)
        bent_x = a * radial + 2 * p1 * a * b + p2 * (r**2 + 2 * a**2)
        bent_y = b * radial + p1 * (r**2 + 2 * b**2) + 2 * p2 * a * b
        return fx * bent_x + cx, fy * bent_y + cy
    a, b, r = a / r * theta, b / r * theta, theta
    if model == "THIN_PRISM_FISHEYE":
        k1, k2, p1, p2, k3, k4, sx1, sy1 = c
        radial = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6 + k4 * r**8
        bent_x = a * radial + 2 * p1 * a * b + p2 * (r**2 + 2 * a**2) + sx1 * r**2
        bent_y = b * radial + 2 * p2 * a * b + p1 * (r**2 + 2 * b**2) + sy1 * r**2
        return fx * bent_x + cx, fy * bent_y + cy
    k, (p0, p1, s0, s1, s2, s3) = c[:6], c[6:]
    radial = 1 + sum(value * r ** (2 * i + 2) for i, value in enumerate(k))
    a, b, r = a * radial, b * radial, r * radial
    bent_x = a + p0 * (2 * a**2 + r**2) + 2 * p1 * a * b + s0 * r**2 + s1 * r**4
    bent_y = b + p1 * (2 * b**2 + r**2) + 2 * p0 * a * b + s2 * r**2 + s3 * r**4
    return fx * bent_x + cx, fy * bent_y + cy


WITH_FORMULA = (
    *("SIMPLE_RADIAL", "OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE", "FOV", "EUCM", "SIMPLE_DIVISION"),
    *("THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE"),
)


@pytest.mark.parametrize("model", WITH_FORMULA)
def test_published_formulas(model: str) -> None:
    points = np.random.default_rng(0).uniform((-1, -0.8, 1.5), (1, 0.8, 3), (20, 3))
    pixels, valid = strong(model).project(points)
    assert valid.all()
    np.testing.assert_allclose(pixels, [published(model, STRONG[model], *point) for point in points], atol=1e-9)


def test_numbers_by_hand() -> None:
    # (0.3, 0.4, 1): r^2 = 0.25, so SIMPLE_RADIAL with k = 0.2 enlarges by 1.05.
    pixels, _ = Lens("SIMPLE_RADIAL", 100, 100, (100, 50, 40, 0.2)).project(np.array([0.6, 0.8, 2]))
    np.testing.assert_allclose(pixels, (81.5, 82), atol=1e-12)
    # The same point through OPENCV with k1 = 0.2, p1 = 0.1, p2 = 0.01 besides:
    # x: 0.315 + 2 * 0.1 * 0.12 + 0.01 * (0.25 + 0.18), y: 0.42 + 0.1 * (0.25 + 0.32) + 2 * 0.01 * 0.12.
    pixels, _ = Lens("OPENCV", 100, 100, (100, 100, 50, 40, 0.2, 0, 0.1, 0.01)).project(np.array([0.3, 0.4, 1]))
    np.testing.assert_allclose(pixels, (50 + 34.33, 40 + 47.94), atol=1e-12)
    # 45 degrees to the right and 90 degrees down: theta is pi/4 and pi/2.
    pixels, valid = Lens("FISHEYE", 100, 100, (40, 80, 50, 50)).project(np.array([[1, 0, 1], [0, 1, 0]]))
    np.testing.assert_allclose(pixels, [(50 + 10 * math.pi, 50), (50, 50 + 40 * math.pi)], atol=1e-12)
    assert valid.all()
    # FOV with omega = 90 degrees: arctan(2 * 0.5 * 1) / (pi / 2) = 1 / 2, and the center is enlarged by 4 / pi.
    right_angle = Lens("FOV", 100, 100, (100, 100, 50, 50, math.pi / 2))
    np.testing.assert_allclose(right_angle.project(np.array([0.5, 0, 1]))[0], (100, 50), atol=1e-12)
    assert right_angle.magnification == pytest.approx(4 / math.pi)


@pytest.mark.parametrize("model", MODELS)
def test_inverse(model: str) -> None:
    lens = strong(model)
    directions, valid = lens.unproject(grid())
    assert valid.all()
    np.testing.assert_allclose((directions**2).sum(-1), 1, atol=1e-14)
    pixels, seen = lens.project(directions * np.linspace(0.1, 9, 49)[:, None])  # distance does not matter
    assert seen.all()
    assert np.abs(pixels - grid()).max() < 1e-9
    again, _ = lens.unproject(pixels)
    np.testing.assert_allclose(again, directions, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_jacobian(model: str) -> None:
    distortion, step = strong(model).distortion, 1e-6
    u = np.random.default_rng(1).uniform(-0.6, 0.6, (40, 2))
    columns = [(distortion.bend(u + step * e) - distortion.bend(u - step * e)) / (2 * step) for e in np.eye(2)]
    np.testing.assert_allclose(distortion.slope(u), np.stack(columns, -1), atol=1e-8)


@pytest.mark.parametrize("model", MODELS)
def test_no_distortion(model: str) -> None:
    lens = strong(model)
    kept = len(lens.params) - len(lens.coefficients)
    zero = (0, 1) if model == "EUCM" else (0,) * len(lens.coefficients)
    plain = Lens(model, WIDTH, HEIGHT, (*lens.params[:kept], *zero))
    ideal = Lens("FISHEYE" if lens.fisheye else "PINHOLE", WIDTH, HEIGHT, plain.intrinsics)
    assert plain.is_pinhole == (not lens.fisheye)
    assert lens.is_pinhole == (model in ("PINHOLE", "SIMPLE_PINHOLE"))
    np.testing.assert_allclose(plain.unproject(grid())[0], ideal.unproject(grid())[0], atol=1e-13)


def test_weak_field_of_view_model_is_continuous() -> None:
    point = np.array([0.5, 0.2, 1])
    for omega in (1e-9, 1e-5, 0.0099, 0.0101):  # COLMAP changes its formula at 0.01
        pixel = Lens("FOV", WIDTH, HEIGHT, (*TWO, omega)).project(point)[0]
        series = 1 + omega**2 * (1 / 12 - 0.29 / 3)
        np.testing.assert_allclose(pixel, (310 + 250 * series, 250 + 102 * series), atol=1e-5)


def test_beyond_the_fold_is_not_valid() -> None:
    # r (1 - r^2 / 3) grows up to r = 1, where it is 2 / 3; no pixel is seen farther than 200 from the center.
    lens = Lens("SIMPLE_RADIAL", WIDTH, HEIGHT, (300, 320, 240, -1 / 3))
    assert lens.distortion.limit == pytest.approx(1, abs=1e-9)
    radii = np.array([0.9, 0.999, 1.001, 1.5])  # 1.5 falls between the center and the fold again
    pixels, valid = lens.project(np.stack([radii, 0 * radii, 1 + 0 * radii], -1))
    assert valid.tolist() == [True, True, False, False]
    assert np.isnan(pixels[2:]).all()
    directions, valid = lens.unproject(np.array([[320 + 199.9, 240], [320 + 200.1, 240], [320, 440.5], [320, 439]]))
    assert valid.tolist() == [True, False, False, True]
    assert directions[0, 0] / directions[0, 2] < 1
    assert lens.field_of_view == pytest.approx(90, abs=1e-4)


def test_fold_of_tangential_terms() -> None:
    lens = Lens("OPENCV", WIDTH, HEIGHT, (*TWO, 0, 0, 0, -0.05))  # 1 - 6 * 0.05 x reaches zero at x = 1 / 0.3
    assert lens.distortion.limit == pytest.approx(1 / 0.3, rel=1e-6)
    assert lens.project(np.array([[3.3, 0, 1], [3.4, 0, 1]]))[1].tolist() == [True, False]


@pytest.mark.parametrize(("model", "behind"), [("PINHOLE", False), ("OPENCV", False), ("FISHEYE", True)])
def test_behind_the_camera(model: str, behind: bool) -> None:
    points = np.array([[0.1, 0, -1], [1, 0, -0.5], [0, 0, 1]])
    assert strong(model).project(points)[1].tolist() == [behind, behind, True]


def test_field_of_view() -> None:
    corner = math.degrees(math.atan(math.hypot(320, 240) / 400))
    assert Lens("PINHOLE", 640, 480, (400, 400, 320, 240)).field_of_view == pytest.approx(2 * corner)
    assert Lens("SIMPLE_FISHEYE", 640, 480, (400, 320, 240)).field_of_view == pytest.approx(math.degrees(2))
    assert Lens("SIMPLE_FISHEYE", 640, 480, (100, 320, 240)).field_of_view == pytest.approx(360)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [(320, 240), (321, 200)])
def test_resized(model: str, size: tuple[int, int]) -> None:
    lens = strong(model)
    small = lens.resized(*size)
    assert (small.width, small.height) == size
    assert small.model == model or size == (321, 200)
    np.testing.assert_allclose(small.unproject(grid(*size))[0], lens.unproject(grid())[0], atol=1e-12)


@pytest.mark.parametrize(
    ("model", "params", "message"),
    [
        ("OPEN_CV", TWO, "OPEN_CV: unknown; did you mean OPENCV"),
        ("EQUIRECTANGULAR", (640, 480), "EQUIRECTANGULAR: a panorama"),
        ("OPENCV", (1, 1, 0, 0, 0), r"OPENCV: expected 8 parameters \(fx, fy, cx, cy, k1, k2, p1, p2\), got 5"),
        ("PINHOLE", (0, 1, 0, 0), "PINHOLE: fx must be positive"),
        ("SIMPLE_RADIAL", (1, 0, 0, math.nan), "SIMPLE_RADIAL: the parameters are not all finite"),
        ("EUCM", (1, 1, 0, 0, 2, 1), "alpha"),
    ],
)
def test_refusals(model: str, params: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lens(model, WIDTH, HEIGHT, params)


def test_numbers_of_models() -> None:
    assert (MODEL_IDS[0], MODEL_IDS[4], MODEL_IDS[11], MODEL_IDS[17]) == (
        *("SIMPLE_PINHOLE", "OPENCV", "RAD_TAN_THIN_PRISM_FISHEYE", "EQUIRECTANGULAR"),
    )
