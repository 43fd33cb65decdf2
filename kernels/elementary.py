"""Elementary functions in float32, without branches and tables: LLVM can vectorize the loops they are in.

Polynomials are least-squares fits at Chebyshev nodes, made when the module is imported; each function is within a few
units in the last place of the exact one. NaN stays NaN.
"""

import math
from collections.abc import Callable

import numpy as np

from .jit import cached, inline

# What the loops around these functions are compiled with. Sums may be reordered in ``summing`` alone: elsewhere that
# would undo range reductions and differences that are written in the order that keeps their digits.
_OPTIONS: dict = {"nogil": True, "error_model": "numpy"}
rowwise = cached(fastmath={"contract", "arcp", "nsz"}, **_OPTIONS)
summing = cached(fastmath={"reassoc", "contract", "arcp", "nsz"}, **_OPTIONS)


def _fit(function: Callable, low: float, high: float, powers: range, weight: Callable | None = None) -> np.ndarray:
    """Coefficients of ``powers`` that fit ``function`` on [low, high]; ``weight`` 1 / f makes the error relative."""
    nodes = (low + high) / 2 + (high - low) / 2 * np.cos((np.arange(200) + 0.5) * np.pi / 200)
    scale = np.ones_like(nodes) if weight is None else weight(nodes)
    basis = nodes[:, None] ** np.array(powers) * scale[:, None]
    return np.linalg.lstsq(basis, function(nodes) * scale, rcond=None)[0].astype(np.float32)


# exp(r) - 1 = r + r^2 E(r) on |r| <= log(2) / 2.
E0, E1, E2, E3, E4 = _fit(lambda r: np.expm1(r) - r, -0.35, 0.35, range(2, 7))
# log(1 + t) = t L(t) on [0, 1]; its singularity at -1 sets the degree.
L0, L1, L2, L3, L4, L5, L6, L7, L8, L9 = _fit(np.log1p, 0.0, 1.0, range(1, 11), lambda t: 1 / t)

INVERSE_LOG2, ZERO, ONE = np.float32(1 / math.log(2)), np.float32(0), np.float32(1)
LOG2_HIGH = np.float32(0.693359375)  # 9 bits: its product with a whole number is exact
LOG2_LOW = np.float32(math.log(2) - 0.693359375)
LOWEST, HIGHEST = np.float32(-87), np.float32(88)  # beyond, exp leaves the normal float32 numbers
BIAS, MANTISSA = np.int32(127), np.int32(23)
LOG2 = math.log(2)
LOG2_FIRST = math.floor(LOG2 * 2**32) / 2**32  # 32 bits: its product with a whole number is exact
LOG2_REST = 1.9082149292705877e-10  # log(2) - LOG2_FIRST
# exp(r) - 1 = r + r^2 T(r) on |r| <= log(2) / 2: Taylor's terms, the first left out is below 5e-16 of r
T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12 = (1 / math.factorial(k) for k in range(2, 13))


@inline
def _split_exp(x):
    """(s, m) with exp(x) = s (1 + m), s a power of two; x is held within LOWEST to HIGHEST."""
    x = LOWEST if x < LOWEST else x
    x = HIGHEST if x > HIGHEST else x
    n = np.rint(x * INVERSE_LOG2)
    r = (x - n * LOG2_HIGH) - n * LOG2_LOW
    m = r + r * r * (E0 + r * (E1 + r * (E2 + r * (E3 + r * E4))))
    whole = np.int32(n if n == n else ZERO)
    return np.int32((whole + BIAS) << MANTISSA).view(np.float32), m


@inline
def exp(x):
    """exp(x), not below exp(-87) and not above exp(88)."""
    s, m = _split_exp(x)
    return s + s * m


@inline
def softplus(x, beta):
    """log(1 + exp(beta x)) / beta."""
    y = beta * x
    t = exp(-y if y > ZERO else y)
    log = t * (L0 + t * (L1 + t * (L2 + t * (L3 + t * (L4 + t * (L5 + t * (L6 + t * (L7 + t * (L8 + t * L9)))))))))
    return (ZERO if x < ZERO else x) + log / beta


@inline
def softplus_slope(h, beta):
    """Softplus' derivative from its value h: 1 - exp(-beta h)."""
    s, m = _split_exp(-beta * h)
    return (ONE - s) - s * m


@inline
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return ONE / (ONE + exp(-x))


@inline
def expm1(x):
    """exp(x) - 1 in float64, within a few units in the last place; x above 700 counts as 700. NaN stays."""
    x = -700.0 if x < -700.0 else x
    x = 700.0 if x > 700.0 else x
    n = np.rint(x * (1 / LOG2))
    r = (x - n * LOG2_FIRST) - n * LOG2_REST
    q = r * r
    p = (T2 + r * T3) + q * (
        (T4 + r * T5) + q * ((T6 + r * T7) + q * ((T8 + r * T9) + q * ((T10 + r * T11) + q * T12)))
    )
    s = np.int64((np.int64(n if n == n else 0.0) + 1023) << 52).view(np.float64)
    return s * (r + q * p) + (s - 1.0)
