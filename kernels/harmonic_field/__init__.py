"""The harmonic radiance field: position and direction in, density and colour out.

    h     = act(W_n ... act(W_1 e(x) + b_1) ... + b_n)
    sigma = density_activation(w_d . h + b_d)
    c     = sigmoid(W_o act(W_f h + u_ray) + b_o),    u_ray = W_v e(d_ray) + b_f   once a ray

e is the harmonic embedding of Mildenhall et al. 2020, equation 4 (``reference.embed`` has its layout).
"""

import torch
from torch import Tensor

from ..backend import backend_for
from . import reference
from .spec import ACTIVATIONS, DENSITY_ACTIVATIONS, FieldSpec, FieldWeights

__all__ = ["ACTIVATIONS", "DENSITY_ACTIVATIONS", "FieldSpec", "FieldWeights", "harmonic_density", "harmonic_field"]


def _check(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> None:
    if x.ndim != 2 or x.shape[1] != 3:
        raise ValueError(f"positions must be (S,3), got {tuple(x.shape)}")
    if spec.activation not in ACTIVATIONS or spec.density_activation not in DENSITY_ACTIVATIONS:
        raise ValueError(f"unknown activation {spec.activation!r} or density activation {spec.density_activation!r}")
    if weights.hidden[0][0].shape[1] != spec.position_size:
        raise ValueError(
            f"the first layer takes {weights.hidden[0][0].shape[1]} inputs, the embedding has {spec.position_size}"
        )


def _compiled(x: Tensor, *others: Tensor) -> bool:
    """Whether the CPU code may run: float32 on a CPU, and no gradient asked for other than the weights'."""
    wants_input_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *others))
    return backend_for(x) == "cpu" and x.dtype == torch.float32 and not wants_input_gradient


def harmonic_density(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> Tensor:
    """Density sigma (S,) per unit length at positions x (S,3); differentiable on the reference backend only."""
    _check(x, weights, spec)
    if _compiled(x) and not torch.is_grad_enabled():
        from . import cpu

        return cpu.harmonic_density(x.contiguous(), weights, spec)
    return reference.harmonic_density(x, weights, spec)


def harmonic_field(
    x: Tensor, offsets: Tensor, directions: Tensor, weights: FieldWeights, spec: FieldSpec
) -> tuple[Tensor, Tensor]:
    """Density and colour of packed samples.

    Args:
        x: (S,3) positions, sorted by ray.
        offsets: (R+1,) int64, ray r owns samples offsets[r] to offsets[r+1].
        directions: (R,3) unit directions.
        weights, spec: the field.

    Returns:
        density (S,) per unit length, colour (S,3) in [0,1]. Gradients flow to the weights and, where x or directions
        ask for one, to them (by the reference backend).

    Raises:
        ValueError: shapes that do not fit together.
    """
    _check(x, weights, spec)
    if offsets.shape[0] != directions.shape[0] + 1:
        raise ValueError(
            f"offsets must be (R+1,) for directions (R,3), got {offsets.shape[0]} and {directions.shape[0]}"
        )
    if _compiled(x, directions):
        from . import cpu

        return cpu.harmonic_field(x.contiguous(), offsets.contiguous(), directions, weights, spec)
    counts = offsets[1:] - offsets[:-1]
    ray_index = torch.repeat_interleave(counts, output_size=x.shape[0])
    return reference.harmonic_field(x, ray_index, directions, weights, spec)
