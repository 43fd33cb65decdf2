"""The harmonic radiance field: position and direction in, density and color out.

    h     = act(W_n ... act(W_1 e(x) + b_1) ... + b_n)
    sigma = density_activation(w_d . h + b_d)
    c     = sigmoid(W_o act(W_f h + u_ray) + b_o),    u_ray = W_v e(d_ray) + b_f   once a ray

e is the harmonic embedding of Mildenhall et al. 2020, equation 4 (``reference.embed`` has its layout). Where
``FieldSpec.skip`` names a layer, that layer's input is [h, e(x)], as the fifth of that paper.

Gradients to positions go back through the embedding. With g = dL/de(x), the sum of W^T dL/dz over the layers that see
e(x), and its entries named as the embedding's, for each axis i

    dL/dx_i = sum_k omega0 2^k (cos(omega0 2^k x_i) g_sin,ik - sin(omega0 2^k x_i) g_cos,ik)  [+ g_x,i]

the last where the input is appended; to directions likewise, with g = W_v^T sum of dL/dz over a ray's samples.

``harmonic_render`` composites the field along rays as well (see ``nerfkit.kernels.composite`` for the formula); on a
GPU it is one kernel from positions to pixels.
"""

import functools
from typing import Literal

from torch import Tensor

from ..backend import backend_for, implementation
from ..checks import FLOATS, expect, expect_offsets
from ..composite import Rendered, composite_unchecked, counts_length
from ..march import Samples, expect_samples
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


@functools.lru_cache(maxsize=16)
def _expected(spec: FieldSpec, depth: int, width: int, columns: int) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of each of ``FieldWeights.flat``; ``ValueError`` where the spec names what there is not."""
    if spec.activation not in ACTIVATIONS or spec.density_activation not in DENSITY_ACTIVATIONS:
        raise ValueError(f"unknown activation {spec.activation!r} or density activation {spec.density_activation!r}")
    if spec.precision not in PRECISIONS:
        raise ValueError(f"unknown precision {spec.precision!r}; expected one of {', '.join(PRECISIONS)}")
    if spec.skip is not None and not 1 <= spec.skip < depth:
        raise ValueError(f"skip must name a hidden layer from 1 to {depth - 1}, not {spec.skip}")
    inputs = [width * (n > 0) + spec.position_size * (n in (0, spec.skip)) for n in range(depth)]
    layers = [(f"hidden[{n}]", width, size) for n, size in enumerate(inputs)]
    layers += [("density", 1, width), ("feature", columns, width), ("color", 3, columns)]
    matrices = [(f"weights.{name}[0]", (rows, size)) for name, rows, size in layers]
    biases = [(f"weights.{name}[1]", (rows,)) for name, rows, _ in layers]
    pairs = [tensor for pair in zip(matrices, biases, strict=True) for tensor in pair]
    return [*pairs, ("weights.direction", (columns, spec.direction_size))]


def _check(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> None:
    expect("x", x, ("S", 3), dtype=FLOATS)
    expected = _expected(spec, len(weights.hidden), *reversed(weights.feature[0].shape))
    for (name, shape), tensor in zip(expected, weights.flat(), strict=True):
        expect(name, tensor, shape, like=x)


def harmonic_density(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> Tensor:
    """Density sigma (S,) per unit length at positions x (S,3).

    Differentiable in the weights and in x; on a CPU once, on a GPU by the reference.

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
        density (S,) per unit length, color (S,3) in [0,1]. Gradients flow to the weights, x and directions; they are
        not differentiable again.

    Raises:
        ValueError: shapes or dtypes that do not fit together, or a name or width that the backend does not know.
    """
    _check(x, weights, spec)
    expect("directions", directions, ("R", 3), like=x)
    expect_offsets(offsets, len(directions), len(x), x)
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
    expect("directions", directions, ("R", 3), like=x)
    expect_samples(samples, len(directions), len(x), x)
    by_length, stop = counts_length(opacity), float(early_stop)
    with implementation(__name__, x, float32="x") as kernels:
        if backend_for(x) == "triton":
            return Rendered(*kernels.harmonic_render(x, samples, directions, weights, spec, by_length, stop, store))
        density, color = kernels.packed_field(x, samples.offsets, directions, weights, spec)
        return Rendered(*composite_unchecked(density, color, *samples[1:], by_length, stop)[:3])
