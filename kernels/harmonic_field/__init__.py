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

from torch import Tensor

from ..backend import backend_for, implementation
from ..checks import FLOATS, expect, expect_offsets
from ..composite import Rendered, composite
from ..march import Samples
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
    expect("x", x, ("S", 3), dtype=FLOATS)
    if spec.activation not in ACTIVATIONS or spec.density_activation not in DENSITY_ACTIVATIONS:
        raise ValueError(f"unknown activation {spec.activation!r} or density activation {spec.density_activation!r}")
    if spec.precision not in PRECISIONS:
        raise ValueError(f"unknown precision {spec.precision!r}; expected one of {', '.join(PRECISIONS)}")
    depth, (color_width, width) = len(weights.hidden), weights.feature[0].shape
    if spec.skip is not None and not 1 <= spec.skip < depth:
        raise ValueError(f"skip must name a hidden layer from 1 to {depth - 1}, not {spec.skip}")
    inputs = [spec.position_size * (number in (0, spec.skip)) + width * (number > 0) for number in range(depth)]
    layers = [(f"hidden[{n}]", layer, (width, inputs[n])) for n, layer in enumerate(weights.hidden)]
    heads = (("density", (1, width)), ("feature", (color_width, width)), ("color", (3, color_width)))
    layers += [(name, getattr(weights, name), shape) for name, shape in heads]
    for name, (matrix, bias), shape in layers:
        expect(f"weights.{name}[0]", matrix, shape, like=x)
        expect(f"weights.{name}[1]", bias, shape[:1], like=x)
    expect("weights.direction", weights.direction, (color_width, spec.direction_size), like=x)


def _check_rays(x: Tensor, offsets: Tensor, directions: Tensor) -> None:
    expect("directions", directions, ("R", 3), like=x)
    expect_offsets(offsets, len(directions), len(x), x)


def harmonic_density(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> Tensor:
    """Density sigma (S,) per unit length at positions x (S,3).

    Differentiable in the weights and in x; gradients are the reference's.

    Raises:
        ValueError: shapes or dtypes that do not fit together, or a name or width that the backend does not know.
    """
    _check(x, weights, spec)
    with implementation(__name__, x, float32="x") as kernels:
        return kernels.harmonic_density(x, weights, spec)


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
    with implementation(__name__, x, float32="x") as kernels:
        return kernels.packed_field(x, offsets, directions, weights, spec)


def harmonic_render(
    x: Tensor,
    samples: Samples,
    directions: Tensor,
    weights: FieldWeights,
    spec: FieldSpec,
    *,
    opacity: Literal["density", "raw"] = "density",
    early_stop: float = 0.0,
    store: bool = False,
) -> Rendered:
    """Pixels of rays through the field: ``harmonic_field`` and ``composite`` in one.

    Args:
        x: (S,3) positions of the samples, as ``march.positions`` gives them.
        samples: where they lie on their R rays.
        directions: (R,3) unit directions.
        weights, spec: the field.
        opacity, early_stop: as ``composite`` takes them.
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
        raise ValueError(f"opacity: expected 'density' or 'raw', got {opacity!r}")
    if backend_for(x) == "triton":
        with implementation(__name__, x, float32="x") as kernels:
            pixels = kernels.harmonic_render(
                x, samples, directions, weights, spec, opacity == "density", early_stop, store
            )
    else:
        density, color = harmonic_field(x, samples.offsets, directions, weights, spec)
        pixels = composite(
            density, color, samples.t_start, samples.t_end, samples.offsets, opacity=opacity, early_stop=early_stop
        )[:3]
    return Rendered(*pixels)
