"""A picture of a feature field: a camera in, pixels out, and only what can be seen is evaluated. Without gradients.

Rays are those of ``sample_rays``, samples those of ``march`` without jitter. Behind a transmittance of ``early_stop``
nothing is looked at: a ray with less light left counts as opaque,

    color, opacity, depth = (sum w_i c_i, sum w_i, sum w_i m_i) / a,    a = sum w_i if 1 - sum w_i < early_stop, else 1

with the weights w and middles m of ``nerfkit.kernels.composite``.

Where the density is that of a signed distance (``Surface``), opacity and depth are of all samples, and colors those of
the samples whose weight is more than ``least`` of the largest of their ray,

    color = sum w_i  sum' w_i c_i / sum' w_i,      sum' over w_i > least max_j w_j,

which is off by at most the sum of the weights left out times how much their colors differ from the others' mean. (Of a
ray with more than 256 samples the largest is the largest so far.) The field is asked for colors in the direction

    d - 2 (d . n) n,      n = grad s / |grad s|,

in which the surface mirrors the ray's.
"""

import torch
from torch import Tensor

from ..backend import backend_for, implementation
from ..checks import FLOATS, expect
from ..composite import Rendered
from ..feature_field import FeatureWeights, Spec, check_view
from . import reference
from .surface import Surface, mirrored

__all__ = ["Surface", "feature_view", "mirrored"]


@torch.no_grad()
def feature_view(
    camera_to_world: Tensor,
    intrinsics: Tensor,
    height: int,
    width: int,
    occupancy: Tensor,
    step_size: float,
    weights: FeatureWeights,
    spec: Spec,
    surface: Surface | None = None,
    *,
    early_stop: float,
) -> Rendered:
    """The pixels of a picture, row by row, through the occupied cells; the formula heads this module.

    Args:
        camera_to_world, intrinsics: (3,4) and (4,) float32, of one camera as ``sample_rays`` takes them.
        height, width: of the picture, R = height width pixels.
        occupancy: (G,G,G) bool over [-1,1]^3, as ``march`` takes it.
        step_size: of ``march``.
        weights, spec: the field, as ``feature_field`` takes it.
        surface: whose density counts in place of the field's own; then the field has directions of samples.
        early_stop: in (0, 1).

    Raises:
        ValueError: shapes or dtypes that do not fit together, or sizes that there are not.
    """
    expect("camera_to_world", camera_to_world, (3, 4), dtype=FLOATS)
    expect("intrinsics", intrinsics, (4,), like=camera_to_world)
    check_view(camera_to_world[:, :3], weights, spec, surface is not None)
    size = len(occupancy)
    expect("occupancy", occupancy, (size, size, size), dtype=torch.bool, like=camera_to_world)
    if height < 0 or width < 0:
        raise ValueError(f"height, width: expected a picture, got {height} x {width}")
    if not 0 < step_size < torch.inf:
        raise ValueError(f"step_size must be positive and finite, got {step_size}")
    if not 0 < early_stop < 1:
        raise ValueError(f"early_stop must be in (0, 1), got {early_stop}")
    if surface is not None:
        side = len(surface.nodes)
        expect("surface.nodes", surface.nodes, (side, side, side), like=camera_to_world)
        if side < 2 or not surface.beta > 0 or not 0 <= surface.least < 1:
            raise ValueError(f"surface: expected a cell, beta above 0, least in [0, 1), got {side - 1}, {surface[1:]}")
    camera = camera_to_world.detach().contiguous(), intrinsics.detach().contiguous(), int(height), int(width)
    view = reference.feature_view
    if backend_for(camera_to_world) == "cpu":
        with implementation(__name__, camera_to_world, float32="camera_to_world") as kernels:
            view = kernels.feature_view
    return Rendered(*view(*camera, occupancy.contiguous(), step_size, weights, spec, surface, float(early_stop)))
