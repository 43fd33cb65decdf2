"""A view in one kernel: a thread takes groups of TILE rays, and nothing but pixels leaves the cache.

A group's rays go through the empty space before them together. Then a ray is marched as far as light comes, a few
samples at a time. Results do not depend on the number of threads.
"""

import numba
import numpy as np
import torch

from ..feature_field.encoding import levels_of
from ..feature_field.layout import TILE, pack, padded
from ..feature_field.spec import HARMONICS
from ..jit import jit
from ..march.cpu import part_of
from ..march.kept import kept
from ..march.walk import map_of
from .groups import view_density, view_surface
from .points import Camera, Distance, Grid
from .tile import Net


@jit
def _densities(net, packed, camera, grid, early_stop, color, opacity, depth):
    count = camera.height * camera.width
    parts = (count + TILE - 1) // TILE
    for turn in numba.prange(parts):
        first = part_of(np.int64(turn), parts) * TILE
        view_density(net, packed, camera, grid, first, min(first + TILE, count), early_stop, color, opacity, depth)


@jit
def _surfaces(net, packed, camera, grid, distance, early_stop, color, opacity, depth):
    count = camera.height * camera.width
    parts = (count + TILE - 1) // TILE
    for turn in numba.prange(parts):
        first = part_of(np.int64(turn), parts) * TILE
        view_surface(
            net, packed, camera, grid, distance, first, min(first + TILE, count), early_stop, color, opacity, depth
        )


def _net(weights, spec):
    width, size = padded(len(weights.hidden[1])), padded(spec.size)
    matrix, bias = weights.direction.detach()[:, :HARMONICS], weights.feature[1].detach()
    of_rays, start = np.zeros((HARMONICS, width), np.float32), np.zeros(width, np.float32)
    of_rays[:, : len(matrix)], start[: len(bias)] = matrix.t().numpy(), bias.numpy()
    table = weights.table.detach().contiguous().view(-1).numpy()
    return Net(levels_of(spec), spec.features // 2, table, width, size, of_rays, start)


def feature_view(pose, intrinsics, height, width, occupancy, step_size, weights, spec, surface, early_stop):
    """color (H W,3), opacity (H W,), depth (H W,)."""
    distance, bounds = kept(occupancy, map_of)
    camera = Camera(pose.numpy(), intrinsics.numpy(), height, width)
    cells = occupancy.numpy().view(np.uint8).ravel()
    grid = Grid(np.float32(step_size), np.int32(len(occupancy)), cells, distance, bounds)
    count = height * width
    pixels = torch.empty(count, 3), torch.empty(count), torch.empty(count)
    shared, results = (
        (_net(weights, spec), pack(weights, spec), camera, grid),
        (early_stop, *(t.numpy() for t in pixels)),
    )
    if surface is None:
        _densities(*shared, *results)
    else:
        nodes = surface.nodes.detach().contiguous().view(-1).numpy()
        found = Distance(nodes, len(surface.nodes) - 1, np.float32(surface.beta), float(surface.least))
        _surfaces(*shared, found, *results)
    return pixels
