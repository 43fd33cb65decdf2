"""Lights and Phong's material: values by hand, gradients, spherical harmonics against integrals over the sphere."""

import math

import pytest
import torch
from torch import Tensor

from nerfkit.raster.lights import (
    Ambient,
    Directional,
    Light,
    Material,
    Point,
    SphericalHarmonics,
    irradiance,
    sh_basis,
    shade,
    unit,
)

F64 = torch.float64


def pixels(*rows: tuple[float, float, float]) -> Tensor:
    """(1,1,P,3)."""
    return torch.tensor(rows, dtype=F64)[None, None]


def color(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def random_scene(views: int = 2) -> list[Tensor]:
    """albedo, normals, positions (N,2,3,3) and camera positions (N,3); no angle is near a right one or pixel empty."""
    generator = torch.Generator().manual_seed(4)
    albedo = torch.rand(views, 2, 3, 3, generator=generator, dtype=F64)
    normals = torch.tensor([0.1, 0.2, 1.0]) + 0.3 * torch.randn(views, 2, 3, 3, generator=generator, dtype=F64)
    positions = 0.3 * torch.randn(views, 2, 3, 3, generator=generator, dtype=F64)
    cameras = torch.tensor([0.3, -0.2, 3.0]) + 0.2 * torch.randn(views, 3, generator=generator, dtype=F64)
    return [albedo, normals, positions, cameras]


def test_diffuse_by_hand():
    """Toward the light, at 60 degrees, away from it; normals of any length."""
    normals = pixels((0, 0, 5), (math.sqrt(3) / 2, 0, 0.5), (0, 0, -1))
    albedo = pixels((1, 1, 1), (0.5, 1, 0), (1, 1, 1))
    lights = [Ambient(color(0.1, 0.2, 0.3)), Directional(color(0, 0, 2), color(0.8, 0.4, 0.2))]
    out = shade(albedo, normals, torch.zeros_like(albedo), color(0, 0, 3)[None], lights, Material(diffuse=0.5))
    expected = pixels((0.1 + 0.4, 0.2 + 0.2, 0.3 + 0.1), (0.5 * (0.1 + 0.2), 0.2 + 0.1, 0), (0.1, 0.2, 0.3))
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(("attenuation", "strength"), [("constant", 1.0), ("inverse_square", 1 / 8)])
def test_point_light_by_hand(attenuation, strength):
    """A lamp at 45 degrees, 2 sqrt(2) away."""
    light = Point(color(2, 0, 2), color(1, 1, 0.5), attenuation)
    out = shade(pixels((1, 1, 1)), pixels((0, 0, 1)), pixels((0, 0, 0)), color(0, 0, 1)[None], [light])
    torch.testing.assert_close(out, strength / math.sqrt(2) * pixels((1, 1, 0.5)))


def test_highlight_by_hand():
    """The mirrored ray leaves at 30 degrees; a camera there, at 30 degrees from it, and one on the lamp's side."""
    toward = color(-0.5, 0, math.sqrt(3) / 2)
    cameras = torch.stack([color(0.5, 0, math.sqrt(3) / 2), color(0, 0, 1), color(-1, 0, 0)]) * 4
    albedo = torch.zeros(3, 1, 1, 3, dtype=F64)
    normals = color(0, 0, 1).expand(3, 1, 1, 3)
    material = Material(specular=0.5, shininess=6.0)
    out = shade(albedo, normals, torch.zeros_like(albedo), cameras, [Directional(toward, color(1, 1, 1))], material)
    torch.testing.assert_close(out[:, 0, 0, 0], 0.5 * color(1, (3 / 4) ** 3, 0))


def test_no_highlight_on_the_dark_side():
    """The lamp behind the surface: the formula's mirrored ray would point at the camera."""
    light = Directional(color(0, 0.1, -1), color(1, 1, 1))
    out = shade(
        pixels((1, 1, 1)), pixels((0, 0, 1)), pixels((0, 0, 0)), color(0, 0, 3)[None], [light],
        Material(specular=1.0, shininess=1.0),
    )  # fmt: skip
    assert (out == 0).all()


def test_two_sided():
    light = Directional(color(0, 0, 1), color(1, 1, 1))
    scene = pixels((1, 1, 1)), pixels((0, 0, -1)), pixels((0, 0, 0)), color(0, 0, 3)[None], [light]
    assert (shade(*scene) == 0).all()
    torch.testing.assert_close(shade(*scene, two_sided=True), pixels((1, 1, 1)))


def test_every_view_has_its_own_light():
    albedo, normals, positions, cameras = random_scene()
    colors = torch.rand(2, 3, dtype=F64)
    harmonics = torch.rand(2, 9, 3, dtype=F64)
    spots = torch.tensor([[1.0, 2, 3], [-1, 2, 3]], dtype=F64)

    def lights(view: int | slice) -> list[Light]:
        return [
            Ambient(colors[view]), Directional(spots[view], colors[view]), Point(spots[view], colors[view]),
            SphericalHarmonics(harmonics[view]),
        ]  # fmt: skip

    together = shade(albedo, normals, positions, cameras, lights(slice(None)))
    for view in range(2):
        one = slice(view, view + 1)
        alone = shade(albedo[one], normals[one], positions[one], cameras[one], lights(view))
        torch.testing.assert_close(together[one], alone)


@pytest.mark.parametrize("attenuation", ["constant", "inverse_square"])
@pytest.mark.parametrize("two_sided", [False, True])
def test_gradcheck_of_everything(attenuation, two_sided):
    generator = torch.Generator().manual_seed(1)
    lamps = torch.rand(4, 3, generator=generator, dtype=F64) + torch.tensor([0.0, 0, 1.5])
    harmonics = torch.randn(9, 3, generator=generator, dtype=F64)
    numbers = [torch.tensor(x, dtype=F64) for x in (0.7, 0.4, 3.0)]

    def picture(*x: Tensor) -> Tensor:
        lights = [
            Ambient(x[4]), Directional(x[5], x[6]), Point(x[7], x[6], attenuation), SphericalHarmonics(x[8]),
        ]  # fmt: skip
        return shade(*x[:4], lights, Material(*x[9:]), two_sided=two_sided)

    inputs = [*random_scene(), *lamps, harmonics, *numbers]
    assert torch.autograd.gradcheck(picture, [x.clone().requires_grad_() for x in inputs])


def test_empty_pixels_pass_no_nan():
    """Zero normals, and a surface where the camera and the lamp are."""
    albedo, normals, positions, cameras = (x.float().requires_grad_() for x in random_scene(1))
    lamp = torch.zeros(3, requires_grad=True)
    shininess = torch.tensor(5.0, requires_grad=True)
    inputs = [albedo, normals, positions, cameras, lamp, shininess]
    gone = torch.tensor([[0.0, 1, 1], [0, 1, 0]])[None, ..., None]
    white = torch.ones(3)
    lights = [
        Directional(lamp, white), Point(lamp, white), Point(lamp, white, "inverse_square"),
        SphericalHarmonics(torch.ones(9, 3)),
    ]  # fmt: skip
    places = positions * gone
    out = shade(albedo, normals * gone, places, cameras * 0, lights, Material(1.0, 0.5, shininess))
    assert out.isfinite().all()
    assert (out[0, 0, 0] == 0).all() and (out[0, 0, 1] != 0).all()
    out.sum().backward()
    assert all(x.grad.isfinite().all() for x in inputs)
    assert (normals.grad[0, 0, 0] == 0).all()


def sphere(rings: int = 60) -> tuple[Tensor, Tensor]:
    """Directions (P,3) and weights (P,) that integrate over the sphere: Gauss and Legendre's in z, even in angle."""
    import numpy as np

    z, weight = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(rings))
    angle = torch.arange(2 * rings, dtype=F64) * math.pi / rings
    radius = (1 - z * z).sqrt()
    directions = torch.stack(
        [radius[:, None] * angle.cos(), radius[:, None] * angle.sin(), z[:, None].expand(-1, 2 * rings)], -1
    )
    return directions.reshape(-1, 3), (weight[:, None] * math.pi / rings).expand(-1, 2 * rings).reshape(-1)


def test_harmonics_are_orthonormal():
    directions, weights = sphere()
    basis = sh_basis(directions)
    torch.testing.assert_close(basis.T @ (weights[:, None] * basis), torch.eye(9, dtype=F64))


def test_harmonics_have_their_order_and_sign():
    """Y_11 along x, Y_1-1 along y, Y_10 along z; Y_2m as products of those."""
    generator = torch.Generator().manual_seed(0)
    x, y, z = directions = unit(torch.randn(3, generator=generator, dtype=F64))
    basis = sh_basis(directions)
    torch.testing.assert_close(basis[[3, 1, 2]] / basis[3] * x, directions)
    assert basis[3] * x > 0
    for k, product in ((4, x * y), (5, y * z), (7, x * z), (8, x * x - y * y), (6, 3 * z * z - 1)):
        assert basis[k] * product > 0


def test_irradiance_is_the_integral_over_the_sphere():
    """Of the radiance times max(0, n . w) / pi."""
    directions, weights = sphere(200)
    generator = torch.Generator().manual_seed(0)
    coefficients = torch.randn(9, 3, generator=generator, dtype=F64)
    normals = unit(torch.randn(1, 1, 5, 3, generator=generator, dtype=F64))
    cosine = (normals[0, 0] @ directions.T).clamp(min=0)  # (5, P)
    expected = (cosine * weights) @ (sh_basis(directions) @ coefficients) / math.pi
    out = irradiance(SphericalHarmonics(coefficients), normals)[0, 0]
    torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-4)


def test_white_surroundings_light_like_an_ambient_light():
    coefficients = torch.zeros(9, 3, dtype=F64)
    coefficients[0] = 2 * math.sqrt(math.pi)
    scene = random_scene()
    torch.testing.assert_close(shade(*scene, [SphericalHarmonics(coefficients)]), scene[0])


def test_wrong_shapes():
    albedo, normals, positions, cameras = random_scene()
    with pytest.raises(ValueError, match="three times"):
        shade(albedo, normals[:, :1], positions, cameras, [])
    with pytest.raises(ValueError, match="camera_positions"):
        shade(albedo, normals, positions, cameras[:1], [])
    views = len(cameras)
    for wrong, name in (
        (Ambient(torch.ones(4)), "Ambient.color"),
        (Ambient([1.0, 1.0, 1.0]), "Ambient.color"),
        (Directional(torch.ones(3), torch.ones(views + 1, 3)), "Directional.color"),
        (Point(torch.ones(views + 1, 3), torch.ones(3)), "Point.position"),
        (SphericalHarmonics(torch.ones(3, 9)), "SphericalHarmonics.coefficients"),
        (SphericalHarmonics(torch.ones(views + 1, 9, 3)), "SphericalHarmonics.coefficients"),
    ):
        with pytest.raises(ValueError, match=f"light: expected {name}"):
            shade(albedo, normals, positions, cameras, [wrong])
    with pytest.raises(ValueError, match="attenuation"):
        Point(torch.ones(3), torch.ones(3), "linear")
