"""Real spherical harmonics of degrees 0 to 3 as polynomials of a unit direction: a product of matrices.

The 20 monomials of degree 3 at the most, times constants; orthonormal over the sphere (Condon-Shortley phase left out).
"""

import functools
import math

import torch
from torch import Tensor

from .spec import HARMONICS

_MONOMIALS = ["1", "x", "y", "z", "xx", "yy", "zz", "xy", "yz", "xz", "xyz"]
_MONOMIALS += ["xxx", "xxy", "xxz", "xyy", "yyy", "yyz", "xzz", "yzz", "zzz"]
TERMS: list[tuple[float, dict[str, float]]] = [
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
def _coefficients(dtype: torch.dtype, device: torch.device) -> Tensor:
    """(20, 16)."""
    with torch.inference_mode(False):  # it is kept, for training as well
        matrix = torch.zeros(len(_MONOMIALS), HARMONICS, dtype=torch.float64)
        for column, (square, terms) in enumerate(TERMS):
            for name, factor in terms.items():
                matrix[_MONOMIALS.index(name), column] = factor * math.sqrt(square / math.pi)
        return matrix.to(device, dtype)


def harmonics(directions: Tensor) -> Tensor:
    """The 16 functions (R,16) of unit directions (R,3), degree by degree, order -l to l."""
    squares = directions * directions  # (R, 3)
    mixed = directions * directions.roll(-1, 1)  # (R, 3): xy, yz, zx
    every = mixed[:, :1] * directions[:, 2:]  # (R, 1): xyz
    cubes = (squares[:, :, None] * directions[:, None]).flatten(1)  # (R, 9)
    monomials = torch.cat([torch.ones_like(every), directions, squares, mixed, every, cubes], 1)
    return monomials @ _coefficients(directions.dtype, directions.device)


def harmonics_backward(directions: Tensor, gradient: Tensor) -> Tensor:
    """dL/dd (R,3) from dL/dsh (R,16)."""
    with torch.enable_grad():
        leaf = directions.detach().requires_grad_()
        (found,) = torch.autograd.grad(harmonics(leaf), leaf, gradient)
    return found
