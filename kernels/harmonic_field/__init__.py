"""The harmonic radiance field: position and direction in, density and color out.

    h     = act(W_n ... act(W_1 e(x) + b_1) ... + b_n)
    sigma = density_activation(w_d . h + b_d)
    c     = sigmoid(W_o act(W_f h + u_ray) + b_o),    u_ray = W_v e(d_ray) + b_f   once a ray

e is the harmonic embedding of Mildenhall et al. 2020, equation 4 (``reference.embed`` has its layout). Where
``FieldSpec.skip`` names a layer, that layer's input is [h, e(x)], as the fifth of that paper.

``harmonic_render`` composites the field along rays as well (see ``nerfkit.kernels.composite`` for the formula); on a
GPU it is one kernel from positions to pixels.
"""

from typing import Literal

import torch
from torch import Tensor

from ..backend import backend_for
from ..composite import Rendered, composite
from ..march import Samples
from . import reference
from .spec import ACTIVATIONS, DENSITY_ACTIVATIONS, PRECISIONS, FieldSpec, FieldWeights

__all__ = [
    "ACTIVATIONS",
    "DENSITY_ACTIVATIONS",
    "PRECISIONS",
    "FieldSpec",
    "FieldWeights",
    "harmonic_density",
    "harmonic_field",
    "harmonic_render",
]


def _check(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> None:
    if x.ndim != 2 or x.shape[1] != 3:
        raise ValueError(f"positions must be (S,3), got {tuple(x.shape)}")
    if spec.activation not in ACTIVATIONS or spec.density_activation not in DENSITY_ACTIVATIONS:
        raise ValueError(f"unknown activation {spec.activation!r} or density activation {spec.density_activation!r}")
    if spec.precision not in PRECISIONS:
        raise ValueError(f"unknown precision {spec.precision!r}; expected one of {', '.join(PRECISIONS)}")
    depth, (color_width, width) = len(weights.hidden), weights.feature[0].shape
    if spec.skip is not None and not 1 <= spec.skip < depth:
        raise ValueError(f"skip must name a hidden layer from 1 to {depth - 1}, not {spec.skip}")
    for number, (matrix, bias) in enumerate(weights.hidden):
        expected = spec.position_size if number == 0 else width + spec.position_size * (number == spec.skip)
        if matrix.shape[1] != expected:
            what = "the embedding has" if number == 0 else "it is fed"
            raise ValueError(f"hidden layer {number} takes {matrix.shape[1]} inputs, {what} {expected}")
        _check_layer(f"hidden layer {number}", matrix, bias, (width, expected))
    _check_layer("density", *weights.density, (1, width))
    _check_layer("feature", *weights.feature, (color_width, width))
    _check_layer("direction", weights.direction, weights.feature[1], (color_width, spec.direction_size))
    _check_layer("color", *weights.color, (3, color_width))


def _check_layer(name: str, matrix: Tensor, bias: Tensor, expected: tuple[int, int]) -> None:
    if matrix.shape != expected or bias.shape != expected[:1]:
        found = f"{tuple(matrix.shape)} and {tuple(bias.shape)}"
        raise ValueError(f"the weights and biases of {name} must be {expected} and {expected[:1]}, got {found}")


def _check_rays(x: Tensor, offsets: Tensor, directions: Tensor) -> None:
    if directions.ndim != 2 or directions.shape[1] != 3:
        raise ValueError(f"directions must be (R,3), got {tuple(directions.shape)}")
    if offsets.shape != (directions.shape[0] + 1,):
        raise ValueError(
            f"offsets must be (R+1,) for directions (R,3), got {tuple(offsets.shape)} and {tuple(directions.shape)}"
        )
    # Not on a GPU: that would wait for the device.
    if not offsets.is_cuda and (offsets[0].item() != 0 or offsets[-1].item() != x.shape[0]):
        raise ValueError(f"offsets must run from 0 to {x.shape[0]}, not {offsets[0].item()} to {offsets[-1].item()}")


def _backend(x: Tensor, *others: Tensor) -> str:
    """Where to compute: the CPU code is for float32 and no gradient but the weights'; the rest is the reference's."""
    backend = backend_for(x)
    wants_input_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *others))
    if backend == "cpu" and (x.dtype != torch.float32 or wants_input_gradient):
        return "reference"
    return backend


def harmonic_density(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> Tensor:
    """Density sigma (S,) per unit length at positions x (S,3).

    Differentiable in the weights and in x; on a CPU by the reference, without gradients by the compiled code.

    Raises:
        ValueError: shapes or dtypes that do not fit together, or a name or width that the backend does not know.
    """
    _check(x, weights, spec)
    backend = _backend(x)
    if backend == "cpu" and torch.is_grad_enabled() and any(t.requires_grad for t in weights.flat()):
        backend = "reference"
    if backend == "cpu":
        from . import cpu

        return cpu.harmonic_density(x.contiguous(), weights, spec)
    if backend == "triton":
        from . import triton

        return triton.harmonic_density(x, weights, spec)
    return reference.harmonic_density(x, weights, spec)


def harmonic_field(
    x: Tensor, offsets: Tensor, directions: Tensor, weights: FieldWeights, spec: FieldSpec
) -> tuple[Tensor, Tensor]:
    """Density and color of packed samples.

    Args:
        x: (S,3) positions, sorted by ray.
        offsets: (R+1,) int64 from 0 to S, ray r owns samples offsets[r] to offsets[r+1] - 1. The ends are checked on
            the CPU only.
        directions: (R,3) unit directions.
        weights, spec: the field.

    Returns:
        density (S,) per unit length, color (S,3) in [0,1]. Gradients flow to the weights and, where x or directions
        ask for one, to them (on a CPU by the reference backend).

    Raises:
        ValueError: shapes or dtypes that do not fit together, or a name or width that the backend does not know.
    """
    _check(x, weights, spec)
    _check_rays(x, offsets, directions)
    backend = _backend(x, directions)
    if backend == "cpu":
        from . import cpu

        return cpu.harmonic_field(x.contiguous(), offsets.contiguous(), directions, weights, spec)
    counts = offsets[1:] - offsets[:-1]
    ray_index = torch.repeat_interleave(counts, output_size=x.shape[0])
    if backend == "triton":
        from . import triton

        return triton.harmonic_field(x, ray_index, offsets, directions, weights, spec)
    return reference.harmonic_field(x, ray_index, directions, weights, spec)


def harmonic_render(
    x: Tensor,
    samples: Samples,
    directions: Tensor,
    weights: FieldWeights,
    spec: FieldSpec,
    *,
    opacity: Literal["density", "raw"] = "density",
    early_stop: float = 0.0,
    background: Tensor | None = None,
    store: bool = False,
) -> Rendered:
    """Pixels of rays through the field: ``harmonic_field`` and ``composite`` in one.

    Args:
        x: (S,3) positions of the samples, as ``march.positions`` gives them.
        samples: where they lie on their R rays.
        directions: (R,3) unit directions.
        weights, spec: the field.
        opacity, early_stop: as ``composite`` takes them.
        background: (3,) or (R,3) color behind the rays; None leaves the color premultiplied.
        store: on a GPU, keep the layers' outputs for the backward instead of computing them again: faster, and
            2 width (depth + 1) bytes a sample in bf16.

    Returns:
        ``Rendered``; gradients flow as those of ``harmonic_field`` do. A ray without samples is empty.

    Raises:
        ValueError: shapes or dtypes that do not fit together, or a name or width that the backend does not know.
    """
    _check(x, weights, spec)
    _check_rays(x, samples.offsets, directions)
    if opacity not in ("density", "raw"):
        raise ValueError(f"opacity must be 'density' or 'raw', not {opacity!r}")
    if _backend(x, directions) == "triton":
        from . import triton

        pixels = triton.harmonic_render(x, samples, directions, weights, spec, opacity == "density", early_stop, store)
    else:
        density, color = harmonic_field(x, samples.offsets, directions, weights, spec)
        pixels = composite(
            density, color, samples.t_start, samples.t_end, samples.offsets, opacity=opacity, early_stop=early_stop
        )[:3]
    rendered = Rendered(*pixels)
    if background is None:
        return rendered
    return rendered._replace(color=rendered.color + (1 - rendered.opacity)[:, None] * background)
