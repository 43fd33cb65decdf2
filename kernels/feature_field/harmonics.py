"""Real spherical harmonics of degrees 0 to 3 as polynomials of a unit direction: a product of matrices.

The 20 monomials of degree 3 at the most, times constants; orthonormal over the sphere (Condon-Shortley phase left out).
"""

import functools
import math

import torch
from torch import Tensor

from .spec import HARMONICS

_DEGREE_TWO = [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)]  # axes of xx, yy, zz, xy, yz, xz
_DEGREE_THREE = [
    (0, 0),
    (0, 1),
    (0, 2),
    (1, 0),
    (1, 1),
    (1, 2),
    (2, 0),
    (2, 1),
    (2, 2),
    (3, 2),
]  # one of those, an axis
_NAMES = ["1", "x", "y", "z", "xx", "yy", "zz", "xy", "yz", "xz"] + [
    "xxx", "xxy", "xxz", "xyy", "yyy", "yyz", "xzz", "yzz", "zzz", "xyz",
]  # fmt: skip
_TERMS: list[tuple[float, dict[str, float]]] = [
    (1 / 4, {"1": 1}),
    (3 / 4, {"y": 1}),
    (3 / 4, {"z": 1}),
    (3 / 4, {"x": 1}),
    (15 / 4, {"xy": 1}),
    (15 / 4, {"yz": 1}),
    (5 / 16, {"zz": 3, "1": -1}),
    (15 / 4, {"xz": 1}),
    (15 / 16, {"xx": 1, "yy": -1}),
    (35 / 32, {"xxy": 3, "yyy": -1}),
    (105 / 4, {"xyz": 1}),
    (21 / 32, {"yzz": 5, "y": -1}),
    (7 / 16, {"zzz": 5, "z": -3}),
    (21 / 32, {"xzz": 5, "x": -1}),
    (105 / 16, {"xxz": 1, "yyz": -1}),
    (35 / 32, {"xxx": 1, "xyy": -3}),
]


@functools.cache
def _constants(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """(20, 16) the coefficients, and the axes of the products."""
    matrix = torch.zeros(len(_NAMES), HARMONICS, dtype=torch.float64)
    for column, (square, terms) in enumerate(_TERMS):
        for name, factor in terms.items():
            matrix[_NAMES.index(name), column] = factor * math.sqrt(square / math.pi)
    pairs = [torch.tensor(axes, device=device) for which in (_DEGREE_TWO, _DEGREE_THREE) for axes in zip(*which)]
    return (matrix.to(device, dtype), *pairs)


def harmonics(directions: Tensor) -> Tensor:
    """The 16 functions (R,16) of unit directions (R,3), degree by degree, order -l to l."""
    matrix, a, b, c, d = _constants(directions.dtype, directions.device)
    two = directions[:, a] * directions[:, b]  # (R, 6)
    three = two[:, c] * directions[:, d]  # (R, 10)
    return torch.cat([torch.ones_like(directions[:, :1]), directions, two, three], 1) @ matrix
