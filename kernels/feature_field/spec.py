"""What a feature field is: its shape (``FeatureSpec`` or ``PlaneSpec``) and its numbers (``FeatureWeights``)."""

import functools
from typing import NamedTuple

from torch import Tensor

MOST_WIDTH = 128  # of a layer in the Triton kernels
HARMONICS = 16  # real spherical harmonics of a direction: degrees 0 to 3
AXES = (0, 1), (0, 2), (1, 2)  # of the three planes of a level


class Level(NamedTuple):
    """One grid of the encoding.

    resolution: cells along a side; first: its first row of the table; rows: how many it has, a power of two where
    ``hashed``; else one for each of (resolution + 1)^3 nodes.
    """

    resolution: int
    first: int
    rows: int
    hashed: bool


class Plane(NamedTuple):
    """One plane of a level.

    resolution: cells along a side; first: its first row of the table, which has one for each of (resolution + 1)^2
    nodes; axes: along it, the one whose neighbors are neighbors in the table first.
    """

    resolution: int
    first: int
    axes: tuple[int, int]


class FeatureSpec(NamedTuple):
    """The shape of a field of features in hashed grids.

    levels, features: grids, and numbers at a node of each; log2_table: of the rows of a level at the most.
    coarsest, finest: cells along a side of the first and the last grid; those between are in geometric progression.
    """

    levels: int = 8
    features: int = 2
    log2_table: int = 16
    coarsest: int = 16
    finest: int = 256

    @property
    def size(self) -> int:
        """Features of a position."""
        return self.levels * self.features

    @property
    def rows(self) -> int:
        """Rows of the table."""
        last = grids(self)[-1]
        return last.first + last.rows


class PlaneSpec(NamedTuple):
    """The shape of a field of features on planes.

    levels, features: of three planes each, and numbers at a node; coarsest, finest: as those of ``FeatureSpec``.
    """

    levels: int = 3
    features: int = 16
    coarsest: int = 32
    finest: int = 128

    @property
    def size(self) -> int:
        """Features of a position."""
        return self.levels * self.features

    @property
    def rows(self) -> int:
        """Rows of the table."""
        last = planes(self)[-1]
        return last.first + (last.resolution + 1) ** 2


Spec = FeatureSpec | PlaneSpec


def _resolutions(spec: Spec) -> list[int]:
    """Cells along a side, level by level."""
    growth = spec.finest / spec.coarsest
    return [round(spec.coarsest * growth ** (number / max(spec.levels - 1, 1))) for number in range(spec.levels)]


@functools.lru_cache(maxsize=16)
def grids(spec: FeatureSpec) -> tuple[Level, ...]:
    """The levels of a field of this shape, one after the other in its table."""
    found: list[Level] = []
    first = 0
    for resolution in _resolutions(spec):
        nodes, most = (resolution + 1) ** 3, 1 << spec.log2_table
        found.append(Level(resolution, first, min(nodes, most), nodes > most))
        first += found[-1].rows
    return tuple(found)


@functools.lru_cache(maxsize=16)
def planes(spec: PlaneSpec) -> tuple[Plane, ...]:
    """The planes of a field of this shape, three a level, one after the other in its table."""
    found: list[Plane] = []
    first = 0
    for resolution in _resolutions(spec):
        for axes in AXES:
            found.append(Plane(resolution, first, axes))
            first += (resolution + 1) ** 2
    return tuple(found)


class FeatureWeights(NamedTuple):
    """Weights of a feature field of width w, matrices as (out, in).

    table: (rows,F) the features at the nodes of all levels; hidden: ((w,L F), (w,)); density: ((1,w), (1,)); feature:
    ((w,w), (w,)) into the color layer; direction: (w,16), the same layer's part for a ray's direction, or (w,32), with
    that for a sample's own; color: ((3,w), (3,)).
    """

    table: Tensor
    hidden: tuple[Tensor, Tensor]
    density: tuple[Tensor, Tensor]
    feature: tuple[Tensor, Tensor]
    direction: Tensor
    color: tuple[Tensor, Tensor]

    def flat(self) -> tuple[Tensor, ...]:
        """All tensors in one fixed order; ``unflatten`` is the inverse."""
        return (self.table, *self.hidden, *self.density, *self.feature, self.direction, *self.color)

    def directions(self) -> tuple[Tensor, Tensor]:
        """W_v (w,16) and W_m (w,16); that one is (w,0) where samples have no direction of their own."""
        return self.direction[:, :HARMONICS], self.direction[:, HARMONICS:]

    @staticmethod
    def unflatten(tensors: tuple[Tensor, ...]) -> "FeatureWeights":
        table, w1, b1, w_d, b_d, w_c, b_c, w_v, w_o, b_o = tensors
        return FeatureWeights(table, (w1, b1), (w_d, b_d), (w_c, b_c), w_v, (w_o, b_o))
