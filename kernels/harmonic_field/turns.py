"""Numbers that backends share: sine of turns and logarithm as polynomials, and 1 / (2 pi) to 128 bits."""

import numpy as np


def _sine() -> np.ndarray:
    """Coefficients of P in sin(2 pi t) = t P(t^2) on |t| <= 1/4: least squares at Chebyshev nodes, error below 1e-7."""
    nodes = np.cos((np.arange(64) + 0.5) * np.pi / 64) * 0.25
    return np.linalg.lstsq(nodes[:, None] ** (2 * np.arange(6) + 1), np.sin(2 * np.pi * nodes), rcond=None)[0]


def _log() -> np.ndarray:
    """Coefficients of P in log(1 + y) = y P(y) on [0, 1]: least squares at Chebyshev nodes, error below 2e-7."""
    nodes = 0.5 + 0.5 * np.cos((np.arange(64) + 0.5) * np.pi / 64)
    return np.linalg.lstsq(nodes[:, None] ** np.arange(9), np.log1p(nodes) / nodes, rcond=None)[0]


def _inverse_turn() -> np.ndarray:
    """floor(2^128 / (2 pi)) as four 32-bit words, least significant first; pi by Machin's formula in integers."""
    one = 1 << 200

    def arctan_of_inverse(n: int) -> int:
        term, total, k = one // n, 0, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term, k = term // (n * n), k + 2
        return total

    pi = 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))
    c = (one << 128) // (2 * pi)
    return np.array([(c >> (32 * i)) & 0xFFFFFFFF for i in range(4)], np.uint64)


SINE = _sine()
LOG = _log()
INVERSE_TURN = _inverse_turn()
