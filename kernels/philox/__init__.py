"""Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

Every random number of nerfkit is a pure function of a key and a counter, so every backend draws the same bits, in any
order and however a batch is cut up. This is the one place where the layout is fixed:

    key      seed mod 2^32,  seed div 2^32
    counter  ray (or element) number,  sample number within the ray,  step of the optimization,  stream

A stream is one use of randomness; two uses never share one. A block is four 32-bit words; a word w becomes a float32 in
[0, 1) as (w >> 8) 2^-24, which is exact, and an integer in [0, n) as (w n) >> 32.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..backend import implementation

RAYS = 0  # which view, row and column a training ray looks through: words 0, 1, 2
JITTER = 1  # where a ray's lattice of samples starts: word 0
STRATIFIED = 2  # a sample's place within its stratum: word 0
BACKGROUND = 4  # a ray's random background color: words 0, 1, 2
DENSITY_GRID = 5  # points at which an occupancy grid is brought up to date: words 0, 1, 2
VIEWS = 6  # an order of the photos: word 0
HINTS = 7  # which sighting of a point a hint of depth comes from: words 0, 1


class Draw(NamedTuple):
    """What a random operation is keyed by: ``seed`` in [0, 2^63), ``step`` in [0, 2^31).

    ``first`` is the number of the call's first ray: a batch cut into pieces draws what it would have drawn whole.
    """

    seed: int
    step: int
    first: int = 0

    def checked(self, count: int) -> "Draw":
        """Itself, once its numbers are known to fit the counter with ``count`` rays.

        Raises:
            ValueError: a number does not fit.
        """
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in [0, 2^63), got {self.seed}")
        if not 0 <= self.step < 2**31:
            raise ValueError(f"step must be in [0, 2^31), got {self.step}")
        if self.first < 0 or self.first + count > 2**31:
            raise ValueError(f"ray numbers must be in [0, 2^31), got {self.first} to {self.first + count}")
        return self


def uniform(draw: Draw, stream: int, count: int, per: int = 1, device: torch.device | str = "cpu") -> Tensor:
    """Uniform numbers in [0, 1): for each element, words 0 to ``per`` - 1 of the block at (element, 0, step, stream).

    Args:
        draw: seed, step and the number of the first element.
        stream: one of this module's stream numbers, or any other in [0, 2^31).
        count: how many elements (rays, as a rule).
        per: numbers an element, 1 to 4.
        device: where the result lives; it also chooses the backend.

    Returns:
        (count, per) float32.

    Raises:
        ValueError: an argument is out of range.
    """
    if count < 0 or not 1 <= per <= 4:
        raise ValueError(f"need count >= 0 and 1 <= per <= 4, got count={count}, per={per}")
    if not 0 <= stream < 2**31:
        raise ValueError(f"stream must be in [0, 2^31), got {stream}")
    out = torch.empty(count, per, device=device)
    with implementation(__name__, out) as kernels:
        return kernels.fill(Draw(*draw).checked(count), stream, out)
