"""A signed distance in place of a field's own density, and the direction in which its surface mirrors a ray's."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


class Surface(NamedTuple):
    """A signed distance: ``nodes`` (N+1,N+1,N+1), ``beta`` as ``distance_density`` takes them; ``least`` in [0, 1)."""

    nodes: Tensor
    beta: float
    least: float


def mirrored(view: Tensor, gradient: Tensor) -> Tensor:
    """``view`` (S,3), unit, mirrored by the surface whose distance has this gradient (S,3)."""
    normal = normalize(gradient, dim=-1)
    return torch.addcmul(view, (view * normal).sum(-1, keepdim=True), normal, value=-2)
