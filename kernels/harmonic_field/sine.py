"""The sine in float32, without branches and tables, as the functions of ``kernels.elementary`` are."""

import numpy as np

from ..jit import inline
from .turns import SINE

S0, S1, S2, S3, S4, S5 = SINE.astype(np.float32)
QUARTER, HALF, THREE_QUARTERS = np.float32(0.25), np.float32(0.5), np.float32(0.75)


@inline
def sine_of_turns(t):
    """sin(2 pi t) for |t| <= 1/2."""
    t = (HALF - t) if t > QUARTER else t
    t = (-HALF - t) if t < -QUARTER else t
    q = t * t
    return t * (S0 + q * (S1 + q * (S2 + q * (S3 + q * (S4 + q * S5)))))
