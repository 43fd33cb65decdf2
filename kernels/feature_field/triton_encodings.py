"""What the two encodings have of their own on a GPU: their kernels, and the constants of the features' columns."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from .reference import PRIMES
from .spec import FeatureSpec, PlaneSpec, Spec, grids, planes
from .triton_backward import entries_kernel, positions_kernel
from .triton_forward import encode_kernel
from .triton_planes import encode_planes_kernel, plane_entries_kernel, plane_positions_kernel

BLOCK = 16  # columns that a kernel forms at a time: what a sum of products is long at the least


def padded(size: int) -> int:
    """Rows or columns that ``size`` of them take in a kernel."""
    return max(BLOCK, triton.next_power_of_2(size))


def _of_grids(spec: FeatureSpec) -> list[tuple[int, ...]]:
    """Of each level: resolution, factors of y and z (32 bits with a sign), mask (0: not hashed), first row."""
    found: list[tuple[int, ...]] = []
    for level in grids(spec):
        side = level.resolution + 1
        factors = PRIMES[1:] if level.hashed else (side, side * side)
        y, z = ((factor + 2**31) % 2**32 - 2**31 for factor in factors)
        found.append((level.resolution, y, z, level.rows - 1 if level.hashed else 0, level.first))
    return found


def _of_planes(spec: PlaneSpec) -> list[tuple[int, ...]]:
    """Of each level: resolution, first row of each of its planes."""
    each = planes(spec)
    return [(each[i].resolution, *(plane.first for plane in each[i : i + 3])) for i in range(0, len(each), 3)]


class Encoding(NamedTuple):
    """The kernels of an encoding, and what they look up.

    constants: of a level, those that are rows of the table the last ``firsts``; nodes: of a level that a sample lies
    between; tables: whether ``entries`` looks at the table.
    """

    encode: Any
    entries: Any
    positions: Any
    constants: Callable[[Any], list[tuple[int, ...]]]
    firsts: int
    nodes: int
    tables: bool


ENCODINGS: dict[type, Encoding] = {
    FeatureSpec: Encoding(encode_kernel, entries_kernel, positions_kernel, _of_grids, 1, 8, False),
    PlaneSpec: Encoding(encode_planes_kernel, plane_entries_kernel, plane_positions_kernel, _of_planes, 3, 12, True),
}


@functools.lru_cache(maxsize=16)
def columns_of(spec: Spec, device: torch.device) -> Tensor:
    """(C,E) int64 by column of the padded features: its level's constants, rows as places in the flat table."""
    encoding = ENCODINGS[type(spec)]
    levels = torch.tensor(encoding.constants(spec)).T  # (C, L)
    columns = torch.zeros(len(levels), padded(spec.size), dtype=torch.int64)
    columns[0] = 1
    columns[:, : spec.size] = levels.repeat_interleave(spec.features, 1)
    places = columns[-encoding.firsts :, : spec.size]
    places *= spec.features
    places += torch.arange(spec.features).repeat(spec.levels)
    return columns.to(device)
