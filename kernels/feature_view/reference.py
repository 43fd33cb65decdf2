"""The oracle of a view, and what runs on a GPU: the operations that it is made of, one after the other."""

import torch
from torch import Tensor, segment_reduce

from ..composite import composite
from ..distance_grid import distance_density
from ..feature_field import FeatureWeights, Spec, feature_field, feature_render
from ..march import intersect_box, march, positions
from ..sample_rays import rays_from_pixels
from .surface import Surface, mirrored


def feature_view(
    pose: Tensor,
    intrinsics: Tensor,
    height: int,
    width: int,
    occupancy: Tensor,
    step_size: float,
    weights: FeatureWeights,
    spec: Spec,
    surface: Surface | None,
    early_stop: float,
) -> tuple[Tensor, ...]:
    """color (H W,3), opacity (H W,), depth (H W,)."""
    pixels = torch.arange(height * width, device=pose.device)
    row, column = pixels // max(width, 1), pixels % max(width, 1)
    origins, directions = rays_from_pixels(pose[None], intrinsics[None], torch.zeros_like(pixels), row, column)
    near, far = intersect_box(origins, directions)
    samples = march(origins, directions, near, far, occupancy, step_size)
    x = positions(samples, origins, directions)  # (S, 3)
    if surface is None:
        color, opacity, depth = feature_render(x, samples, directions, weights, spec, early_stop=early_stop)
    else:
        density, gradient = distance_density(x, surface.nodes, surface.beta)
        _, opacity, depth, w = composite(density, torch.zeros_like(x), *samples[1:], early_stop=early_stop)
        largest = segment_reduce(w, "max", offsets=samples.offsets, initial=0)  # (R,)
        kept = (~(w <= surface.least * largest[samples.ray_index])).nonzero()[:, 0]  # (K,)
        ray = samples.ray_index[kept]
        offsets = torch.searchsorted(kept, samples.offsets)  # (R+1,)
        mirrors = mirrored(directions[ray], gradient[kept])
        _, colors = feature_field(x[kept], offsets, directions, weights, spec, mirrors)  # (K, 3)
        sums = segment_reduce(
            torch.cat([colors, torch.ones_like(colors[:, :1])], 1) * w[kept, None], "sum", offsets=offsets, initial=0
        )  # (R, 4)
        color = torch.where(sums[:, 3:] > 0, sums[:, :3] * (opacity[:, None] / sums[:, 3:]), sums[:, :3])
    opaque = torch.where(1 - opacity < early_stop, opacity, 1.0)  # (R,)
    return color / opaque[:, None], opacity / opaque, depth / opaque
