"""The oracle of the harmonic radiance field: plain PyTorch, any float dtype, autograd through everything.

Symbols: x position, d unit direction, e(.) harmonic embedding, h hidden features, sigma density, c color.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from .spec import FieldSpec, FieldWeights


def embed(x: Tensor, octaves: int, omega0: float, append_input: bool) -> Tensor:
    """[sin(omega0 2^k x_i), cos(omega0 2^k x_i) for each axis i and octave k < octaves][, x]: (S,3) -> (S, E).

    The order is axis by axis, the sines of all octaves and then their cosines. With omega0 = pi the phase is reduced
    exactly (2^k x and its remainder by 2 are exact in floating point), so high octaves stay accurate.
    """
    octave = 2.0 ** torch.arange(octaves, dtype=x.dtype, device=x.device)
    scaled = x[..., None] * octave  # (S, 3, K)
    phase = torch.remainder(scaled, 2) * math.pi if omega0 == math.pi else scaled * omega0
    waves = torch.cat([phase.sin(), phase.cos()], -1).flatten(-2)  # (S, 6 K)
    return torch.cat([waves, x], -1) if append_input else waves


def activate(z: Tensor, spec: FieldSpec) -> Tensor:
    """ReLU, or softplus with the given beta."""
    return functional.relu(z) if spec.activation == "relu" else functional.softplus(z, beta=spec.beta)


def density_of(raw: Tensor, spec: FieldSpec) -> Tensor:
    """sigma = exp(raw), with raw held below 15; or softplus(beta raw) / beta."""
    if spec.density_activation == "exp":
        return raw.clamp(max=15.0).exp()
    return functional.softplus(raw, beta=spec.beta)


def features(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> Tensor:
    """The trunk: h = act(W_n ... act(W_1 e(x) + b_1) ... + b_n), (S, width); layer ``skip`` sees [h, e(x)]."""
    e = embed(x, spec.octaves, spec.omega0, spec.append_input)
    h = e
    for number, (matrix, bias) in enumerate(weights.hidden):
        if number and number == spec.skip:
            h = torch.cat([h, e], -1)
        h = activate(functional.linear(h, matrix, bias), spec)
    return h


def harmonic_density(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> Tensor:
    """sigma(x), (S,3) -> (S,)."""
    h = features(x, weights, spec)
    return density_of(functional.linear(h, weights.density[0], weights.density[1])[:, 0], spec)


def harmonic_field(
    x: Tensor, ray_index: Tensor, directions: Tensor, weights: FieldWeights, spec: FieldSpec
) -> tuple[Tensor, Tensor]:
    """sigma (S,) and c (S,3); the direction enters linearly: z = W_f h + u_ray with u = W_d e(d) + b once a ray."""
    h = features(x, weights, spec)
    sigma = density_of(functional.linear(h, weights.density[0], weights.density[1])[:, 0], spec)
    e_d = embed(directions, spec.direction_octaves, spec.omega0, spec.append_input)
    u = functional.linear(e_d, weights.direction, weights.feature[1])  # (R, width)
    z = functional.linear(h, weights.feature[0]) + u.index_select(0, ray_index)  # (S, width)
    rgb = functional.linear(activate(z, spec), weights.color[0], weights.color[1])
    return sigma, rgb.sigmoid()


def packed_field(
    x: Tensor, offsets: Tensor, directions: Tensor, weights: FieldWeights, spec: FieldSpec
) -> tuple[Tensor, Tensor]:
    """``harmonic_field`` of samples that are packed ray after ray."""
    return harmonic_field(x, ray_index(offsets, len(x)), directions, weights, spec)


def ray_index(offsets: Tensor, count: int) -> Tensor:
    """The ray (S,) of each of ``count`` packed samples."""
    return torch.repeat_interleave(offsets.diff(), output_size=count)
