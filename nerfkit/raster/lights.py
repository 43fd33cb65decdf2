"""Lights on shaded pixels: ambient, directional, point and spherical harmonics; Phong's material.

    rgb = albedo (sum of ambient + diffuse sum of color max(0, n . l)) + specular sum of color max(0, r . v)^shininess

with unit vectors n of the surface, l to the light, v to the camera, and r = 2 (n . l) n - l; the last term counts where
n . l > 0 (Phong, "Illumination for computer generated pictures", 1975). Everything is differentiable: geometry, albedo,
lights and material. A pixel whose normal is zero is lit by ambient light alone and passes no gradient to its normal.
Colors are multiplied as they are stored; nothing is clamped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nerfkit.cameras import full_precision

CLAMPED_COSINE = (1.0, 2 / 3, 1 / 4)
"""What degree 0, 1 and 2 of the incoming light become by the cosine of a diffuse surface, divided by pi.

Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", 2001, equation 8.
"""


@dataclass(frozen=True, eq=False)
class Ambient:
    """Light from everywhere: ``color`` (3,), or (N,3) of each view."""

    color: Tensor


@dataclass(frozen=True, eq=False)
class Directional:
    """Light from far away: ``direction`` (3,) or (N,3) from the surface *to* the light, of any length; ``color``."""

    direction: Tensor
    color: Tensor


@dataclass(frozen=True, eq=False)
class Point:
    """A small lamp at ``position`` (3,) or (N,3) in the world, of ``color`` (3,) or (N,3).

    Its light stays as strong at any distance (``"constant"``, as in PyTorch3D), or falls with the squared distance in
    world units (``"inverse_square"``), ``color`` then being what arrives at distance 1.
    """

    position: Tensor
    color: Tensor
    attenuation: Literal["constant", "inverse_square"] = "constant"

    def __post_init__(self) -> None:
        if self.attenuation not in ("constant", "inverse_square"):
            raise ValueError(f"attenuation: expected 'constant' or 'inverse_square', got {self.attenuation!r}")


@dataclass(frozen=True, eq=False)
class SphericalHarmonics:
    """Distant light from all around: ``coefficients`` (9,3) or (N,9,3) of the radiance that comes in, see ``sh_basis``.

    A diffuse surface receives sum of a_l L_lm Y_lm(n) with a = ``CLAMPED_COSINE``: the irradiance divided by pi, so
    that an environment of 1 all around (L_00 = 2 sqrt(pi)) lights as an ambient light of 1 does. No highlights.
    """

    coefficients: Tensor


Light = Ambient | Directional | Point | SphericalHarmonics


@dataclass(frozen=True, eq=False)
class Material:
    """Phong's: shares of light that are scattered and mirrored, and how narrow the highlight is (at least 1).

    Numbers, or tensors that broadcast to (N,H,W,3). PyTorch3D's defaults (a light of diffuse 0.3 and specular 0.2) are
    a light of color 0.3 on ``Material(specular=2 / 3, shininess=64)``, and an ``Ambient`` of 0.5.
    """

    diffuse: Tensor | float = 1.0
    specular: Tensor | float = 0.0
    shininess: Tensor | float = 64.0


def shade(
    albedo: Tensor,
    normals: Tensor,
    positions: Tensor,
    camera_positions: Tensor,
    lights: Sequence[Light],
    material: Material | None = None,
    *,
    two_sided: bool = False,
) -> Tensor:
    """Color of lit pixels; the formula heads this module.

    Args:
        albedo: (N,H,W,3) the surface's own color.
        normals: (N,H,W,3) in the world, of any length; zero where there is no surface.
        positions: (N,H,W,3) of the surface in the world.
        camera_positions: (N,3).
        lights: any number of them.
        material: a matt white one if not given.
        two_sided: a normal that faces away from the camera is turned round; else the back of a surface is dark.

    Returns:
        (N,H,W,3), not clamped; differentiable with respect to every tensor.

    Raises:
        ValueError: a shape is wrong.
    """
    if normals.shape != albedo.shape or positions.shape != albedo.shape or albedo.shape[-1:] != (3,):
        shapes = ", ".join(str(tuple(x.shape)) for x in (albedo, normals, positions))
        raise ValueError(f"albedo, normals, positions: expected three times (N,H,W,3), got {shapes}")
    if camera_positions.shape != (albedo.shape[0], 3):
        raise ValueError(f"camera_positions: expected ({albedo.shape[0]}, 3), got {tuple(camera_positions.shape)}")
    material = material or Material()
    normals = unit(normals)
    views = unit(camera_positions[:, None, None] - positions)
    if two_sided:
        normals = torch.where((normals * views).sum(-1, keepdim=True) < 0, -normals, normals)
    received = torch.zeros_like(albedo)
    mirrored = torch.zeros_like(albedo)
    for light in lights:
        if isinstance(light, Ambient):
            received = received + per_view(light, "color", len(positions))
        elif isinstance(light, SphericalHarmonics):
            received = received + material.diffuse * irradiance(light, normals)
        else:
            toward, color = incident_light(light, positions)
            cosine = (normals * toward).sum(-1, keepdim=True)  # (N, H, W, 1)
            mirror = ((2 * cosine * normals - toward) * views).sum(-1, keepdim=True)
            lit = mirror.clamp(min=0) * (cosine > 0)
            received = received + material.diffuse * cosine.clamp(min=0) * color
            mirrored = mirrored + material.specular * lit**material.shininess * color
    return albedo * received + mirrored


def incident_light(light: Directional | Point, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Unit direction to the light and its color at positions (N,H,W,3), both of a shape that broadcasts to that."""
    color = per_view(light, "color", len(positions))
    if isinstance(light, Directional):
        return unit(per_view(light, "direction", len(positions))), color
    away = per_view(light, "position", len(positions)) - positions
    if light.attenuation == "inverse_square":
        color = color / away.square().sum(-1, keepdim=True).clamp(min=1e-12)
    return unit(away), color


def irradiance(light: SphericalHarmonics, normals: Tensor) -> Tensor:
    """What a diffuse surface with unit ``normals`` (N,H,W,3) receives, over pi: (N,H,W,3); 0 for a zero normal."""
    a0, a1, a2 = CLAMPED_COSINE
    scale = normals.new_tensor([a0] + [a1] * 3 + [a2] * 5)[:, None]
    each = per_view(light, "coefficients", len(normals), (9, 3))[:, 0] * scale  # (1 or N, 1, 9, 3)
    coefficients = each[0, 0] if len(each) == 1 else each
    there = normals.detach().square().sum(-1, keepdim=True) > 0
    with full_precision(normals):
        return sh_basis(normals) @ coefficients * there


def sh_basis(directions: Tensor) -> Tensor:
    """The 9 real spherical harmonics up to degree 2 at unit directions (...,3): (...,9).

    In the order Y_00, Y_1-1, Y_10, Y_11, Y_2-2, Y_2-1, Y_20, Y_21, Y_22; orthonormal over the sphere:

        sqrt(1/4pi), sqrt(3/4pi) (y, z, x), sqrt(15/4pi) (xy, yz), sqrt(5/16pi) (3 z^2 - 1), sqrt(15/4pi) xz,
        sqrt(15/16pi) (x^2 - y^2)

    Signs and order are those of Ramamoorthi and Hanrahan 2001, equation 3. In Kaolin the functions 1, 3, 5 and 7 have
    the other sign (Condon and Shortley's phase).
    """
    x, y, z = directions.unbind(-1)
    one, two = math.sqrt(3 / (4 * math.pi)), math.sqrt(15 / (4 * math.pi))
    values = (
        torch.full_like(x, math.sqrt(1 / (4 * math.pi))),
        one * y,
        one * z,
        one * x,
        two * x * y,
        two * y * z,
        math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1),
        two * x * z,
        two / 2 * (x * x - y * y),
    )
    return torch.stack(values, -1)


def unit(vectors: Tensor) -> Tensor:
    """Vectors (...,3) at length 1; zero, with a gradient of zero, where they are zero."""
    squared = vectors.square().sum(-1, keepdim=True)
    there = squared > 0
    return torch.where(there, vectors * torch.where(there, squared, 1.0).rsqrt(), 0.0)


def per_view(light: Light, name: str, views: int, shape: tuple[int, ...] = (3,)) -> Tensor:
    """The light's tensor of that name, of ``shape`` or one for each of N views, as (1 or N,1,1,*shape)."""
    values: Tensor = getattr(light, name)
    each = (views, *shape)
    found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
    if found not in (shape, (1, *shape), each):
        raise ValueError(f"light: expected {type(light).__name__}.{name} of shape {shape} or {each}, got {found}")
    return values.reshape(-1, 1, 1, *shape)
