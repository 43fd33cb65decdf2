"""A radiance field of interpolated features: position and direction in, density and color out.

    f     = features of x: of each of L grids F numbers, interpolated between the 8 nodes of the cell that x lies in
    z     = relu(W_1 f + b_1)
    sigma = exp(w_d . z + b_d)
    c     = sigmoid(W_o relu(W_c z + u_ray + W_m sh(m)) + b_o),    u_ray = W_v sh(d_ray) + b_c   once a ray

With a ``FeatureSpec`` the grids are the multiresolution hash encoding of Mueller et al. 2022 over [-1,1]^3:
N_l = coarsest (finest / coarsest)^(l / (L - 1)), rounded, cells along a side. A level whose nodes fit into 2^log2_table
rows of the table has a row each; the nodes of a finer one share rows,

    row = (x xor 2654435761 y xor 805459861 z) mod 2^log2_table.

With a ``PlaneSpec`` a level is three dense planes of (N_l + 1)^2 nodes instead, and its F numbers are

    P_xy(x, y) P_xz(x, z) P_yz(y, z),    each interpolated between the 4 nodes of a cell,

feature by feature (Fridovich-Keil et al., "K-Planes", 2023). The table holds plane after plane, the first of their axes
fastest.

A position outside of the box has the features of the nearest one inside. sh are the 16 real spherical harmonics of the
degrees 0 to 3. A sample may have a direction of its own, m, such as the one in which a surface mirrors the view.

Gradients: dL/df goes to the 8 nodes of each level with the weights that made f, and to the position by the cell's
differences, N_l / 2 sum over edges along the axis of (v_1 - v_0), v = dL/df . feature of the node, interpolated by the
two other coordinates. With planes dL/df P_xz P_yz goes to the 4 nodes of P_xy, and so on, and the position gets the
product's derivative by such differences.

``feature_render`` composites the field along rays as well (see ``nerfkit.kernels.composite`` for the formula).
"""

import functools
from typing import Literal

from torch import Tensor

from ..backend import backend_for, implementation
from ..checks import FLOATS, expect, expect_offsets
from ..composite import Rendered, composite_unchecked, counts_length
from ..march import Samples, expect_samples
from .spec import HARMONICS, MOST_WIDTH, FeatureSpec, FeatureWeights, PlaneSpec, Spec

__all__ = [
    "HARMONICS",
    "MOST_CELLS",
    "MOST_LEVELS",
    "MOST_PLANES",
    "MOST_ROWS",
    "MOST_WIDTH",
    "FeatureSpec",
    "FeatureWeights",
    "PlaneSpec",
    "Spec",
    "check_view",
    "feature_density",
    "feature_field",
    "feature_render",
]

MOST_LEVELS, MOST_PLANES, MOST_CELLS = 32, 8, 4096  # levels of grids and of planes, cells along a side
GRID_FEATURES, PLANE_FEATURES = (2, 4, 8), (16, 32)  # numbers at a node
MOST_ROWS = 24  # log2: places in a level are numbers of 32 bits


@functools.lru_cache(maxsize=16)
def _expected(spec: Spec, width: int, mirrors: bool) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of each of ``FeatureWeights.flat``; ``ValueError`` where the spec names what there is not."""
    hashed = isinstance(spec, FeatureSpec)
    bounds = {"levels": (1, MOST_LEVELS if hashed else MOST_PLANES), "coarsest": (1, MOST_CELLS)}
    bounds |= {"log2_table": (1, MOST_ROWS)} if hashed else {}
    for name, (least, most) in (bounds | {"finest": (spec.coarsest, MOST_CELLS)}).items():
        if not least <= getattr(spec, name) <= most:
            raise ValueError(f"spec.{name}: expected {least} to {most}, got {getattr(spec, name)}")
    *others, last = GRID_FEATURES if hashed else PLANE_FEATURES
    if spec.features not in (*others, last):
        raise ValueError(f"spec.features: expected {', '.join(map(str, others))} or {last}, got {spec.features}")
    if width < 1:
        raise ValueError("weights.hidden[1]: expected at least one column, got none")
    shapes = {
        "table": (spec.rows, spec.features),
        "hidden[0]": (width, spec.size),
        "hidden[1]": (width,),
        "density[0]": (1, width),
        "density[1]": (1,),
        "feature[0]": (width, width),
        "feature[1]": (width,),
        "direction": (width, HARMONICS * (1 + mirrors)),
        "color[0]": (3, width),
        "color[1]": (3,),
    }
    return [(f"weights.{name}", shape) for name, shape in shapes.items()]


def _check(x: Tensor, weights: FeatureWeights, spec: Spec) -> bool:
    """Whether samples have directions of their own."""
    expect("x", x, ("S", 3), dtype=FLOATS)
    mirrors = weights.direction.shape[-1] == 2 * HARMONICS
    for (name, shape), tensor in zip(_expected(spec, len(weights.hidden[1]), mirrors), weights.flat(), strict=True):
        expect(name, tensor, shape, like=x)
    return mirrors


def check_view(x: Tensor, weights: FeatureWeights, spec: Spec, mirrors: bool) -> None:
    """Raise ``ValueError`` unless the weights are a field's of the dtype and device of x (S,3), whose samples have
    directions of their own if ``mirrors``."""
    if _check(x, weights, spec) != mirrors:
        raise ValueError(
            f"weights.direction: expected {HARMONICS * (1 + mirrors)} columns, got {HARMONICS * (2 - mirrors)}"
        )


def _check_directions(
    x: Tensor, directions: Tensor, mirrors: Tensor | None, weights: FeatureWeights, spec: Spec
) -> None:
    wanted = _check(x, weights, spec)
    expect("directions", directions, ("R", 3), like=x)
    if wanted != (mirrors is not None):
        raise ValueError(f"mirrors: expected {'(S,3)' if wanted else 'None'}, as weights.direction has it")
    if mirrors is not None:
        expect("mirrors", mirrors, x.shape, like=x)


def feature_density(x: Tensor, weights: FeatureWeights, spec: Spec) -> Tensor:
    """Density sigma (S,) per unit length at positions x (S,3).

    Differentiable once, in the weights and in x.

    Raises:
        ValueError: shapes or dtypes that do not fit together, or sizes that there are not.
    """
    _check(x, weights, spec)
    with implementation(__name__, x, float32="x") as kernels:
        return kernels.feature_density(x, weights, spec)


def feature_field(
    x: Tensor, offsets: Tensor, directions: Tensor, weights: FeatureWeights, spec: Spec, mirrors: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Density and color of packed samples.

    Args:
        x: (S,3) positions, sorted by ray.
        offsets: (R+1,) int64 from 0 to S, ray r owns samples offsets[r] to offsets[r+1] - 1.
        directions: (R,3) unit directions.
        weights, spec: the field.
        mirrors: (S,3) unit directions, where ``weights.direction`` has 32 columns; else None.

    Returns:
        density (S,) per unit length, color (S,3) in [0,1]. Gradients flow to the weights, x, directions and mirrors;
        they are not differentiable again.

    Raises:
        ValueError: shapes or dtypes that do not fit together, or sizes that there are not.
    """
    _check_directions(x, directions, mirrors, weights, spec)
    expect_offsets(offsets, len(directions), len(x), x)
    with implementation(__name__, x, float32="x") as kernels:
        return kernels.packed_field(x, offsets, directions, mirrors, weights, spec)


def feature_render(
    x: Tensor,
    samples: Samples,
    directions: Tensor,
    weights: FeatureWeights,
    spec: Spec,
    mirrors: Tensor | None = None,
    *,
    opacity: Literal["density", "raw"] = "density",
    early_stop: float = 0.0,
) -> Rendered:
    """Pixels of rays through the field: ``feature_field`` and ``composite`` in one.

    Args:
        x: (S,3) positions of the samples, as ``march.positions`` gives them.
        samples: where they lie on their R rays.
        directions: (R,3) unit directions.
        weights, spec, mirrors: the field, as ``feature_field`` takes it.
        opacity, early_stop: as ``composite`` takes them.

    Returns:
        ``Rendered``; gradients flow as those of ``feature_field`` do. A ray without samples is empty.

    Raises:
        ValueError: shapes or dtypes that do not fit together, or sizes that there are not.
    """
    _check_directions(x, directions, mirrors, weights, spec)
    expect_samples(samples, len(directions), len(x), x)
    by_length, stop = counts_length(opacity), float(early_stop)
    with implementation(__name__, x, float32="x") as kernels:
        if backend_for(x) == "cpu":
            return Rendered(*kernels.feature_render(x, samples, directions, mirrors, weights, spec, by_length, stop))
        density, color = kernels.packed_field(x, samples.offsets, directions, mirrors, weights, spec)
        return Rendered(*composite_unchecked(density, color, *samples[1:], by_length, stop)[:3])
