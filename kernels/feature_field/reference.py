"""The oracle of the feature field: plain PyTorch, any float dtype, autograd through everything.

Symbols: x position, d unit direction, f features, z hidden, sigma density, c color.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ..harmonic_field.reference import ray_index
from .harmonics import harmonics
from .spec import FeatureSpec, FeatureWeights, Level, PlaneSpec, Spec, grids, planes

PRIMES = (1, 2654435761, 805459861)
HIGHEST_RAW = 15.0


def rows_of(nodes: Tensor, level: Level) -> Tensor:
    """The table's row of each node (...,3) int64: in order, x fastest, or hashed (Mueller et al. 2022, equation 4)."""
    x, y, z = nodes.unbind(-1)
    if level.hashed:
        return level.first + ((x * PRIMES[0] ^ y * PRIMES[1] ^ z * PRIMES[2]) & (level.rows - 1))
    side = level.resolution + 1
    return level.first + x + side * (y + side * z)


def _cell(unit: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """The nodes (S,2^D,D) of the cell of each position (S,D) from 0 to 1, and their weights (S,2^D)."""
    ends = torch.arange(2, device=unit.device)
    corners = torch.cartesian_prod(*[ends] * unit.shape[1])  # (2^D, D)
    scaled = unit * resolution  # (S, D)
    cell = scaled.detach().nan_to_num().floor().clamp(max=resolution - 1)
    inside = (scaled - cell)[:, None]  # (S, 1, D)
    return cell.long()[:, None] + corners, torch.where(corners == 1, inside, 1 - inside).prod(-1)


def _interpolated(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    return (weights[..., None] * table[rows]).sum(1)  # (S, F)


def _of_grids(unit: Tensor, table: Tensor, spec: FeatureSpec) -> list[Tensor]:
    found = []
    for level in grids(spec):
        nodes, weights = _cell(unit, level.resolution)
        found.append(_interpolated(table, rows_of(nodes, level), weights))
    return found


def _of_planes(unit: Tensor, table: Tensor, spec: PlaneSpec) -> list[Tensor]:
    found = []
    for plane in planes(spec):
        along = torch.stack([unit[:, axis] for axis in plane.axes], -1)  # (S, 2)
        nodes, weights = _cell(along, plane.resolution)
        x, y = nodes.unbind(-1)
        found.append(_interpolated(table, plane.first + x + (plane.resolution + 1) * y, weights))
    return [found[i] * found[i + 1] * found[i + 2] for i in range(0, len(found), 3)]


def encode(x: Tensor, table: Tensor, spec: Spec) -> Tensor:
    """Features (S, L F) of positions (S,3), level by level, interpolated between the nodes of a cell."""
    unit = ((x + 1) / 2).clamp(0, 1)
    found = _of_planes(unit, table, spec) if isinstance(spec, PlaneSpec) else _of_grids(unit, table, spec)
    return torch.cat(found, -1)


def _hidden(x: Tensor, weights: FeatureWeights, spec: Spec) -> Tensor:
    return functional.relu(functional.linear(encode(x, weights.table, spec), *weights.hidden))  # (S, w)


def _density(z: Tensor, weights: FeatureWeights) -> Tensor:
    return functional.linear(z, *weights.density)[:, 0].clamp(max=HIGHEST_RAW).exp()  # (S,)


def feature_density(x: Tensor, weights: FeatureWeights, spec: Spec) -> Tensor:
    """sigma(x), (S,3) -> (S,)."""
    return _density(_hidden(x, weights, spec), weights)


def packed_field(
    x: Tensor, offsets: Tensor, directions: Tensor, mirrors: Tensor | None, weights: FeatureWeights, spec: Spec
) -> tuple[Tensor, Tensor]:
    """sigma (S,) and c (S,3) of samples that are packed ray after ray."""
    z = _hidden(x, weights, spec)
    of_rays, of_mirrors = weights.directions()
    u = functional.linear(harmonics(directions), of_rays, weights.feature[1])  # (R, w)
    u = u.index_select(0, ray_index(offsets, len(x)))  # (S, w)
    if mirrors is not None:
        u = u + functional.linear(harmonics(mirrors), of_mirrors)
    h = functional.relu(functional.linear(z, weights.feature[0]) + u)
    return _density(z, weights), functional.linear(h, *weights.color).sigmoid()
