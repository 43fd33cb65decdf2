"""Where along its rays a field is evaluated: a sampler turns rays into packed samples."""

from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from nerfkit.kernels.march import Samples, intersect_box, march, stratified
from nerfkit.kernels.philox import Draw
from nerfkit.volume.occupancy import OccupancyGrid


class Sampler(Protocol):
    """``opacity`` says what the field's density means to ``composite``; ``sample`` jitters where ``draw`` is given."""

    opacity: Literal["density", "raw"]

    def sample(self, origins: Tensor, directions: Tensor, draw: Draw | None) -> Samples: ...

    def state_dict(self) -> dict[str, Any]: ...


class OccupancySampler(nn.Module):
    """Even steps through the occupied cells of a grid; a ray ends where the grid knows it to be opaque.

    Args:
        grid: the occupancy grid.
    """

    opacity: Literal["density", "raw"] = "density"

    def __init__(self, grid: OccupancyGrid) -> None:
        super().__init__()
        self.grid = grid

    def sample(self, origins: Tensor, directions: Tensor, draw: Draw | None) -> Samples:
        near, far = intersect_box(origins, directions)
        return march(
            origins,
            directions,
            near,
            far,
            self.grid.occupied,
            self.grid.step_size,
            jitter=draw,
            density_grid=self.grid.solid,
            min_transmittance=self.grid.min_transmittance,
        )


class StratifiedSampler(nn.Module):
    """The same number of points on every ray, evenly spread from ``near`` to ``far`` and jittered within their strata.

    Args:
        near, far: in normalized units.
        count: points on a ray.
        opacity: "raw" if a step's opacity is 1 - exp(-density) whatever its length (PyTorch3D's tutorial).
    """

    def __init__(self, near: float, far: float, count: int, opacity: Literal["density", "raw"] = "raw") -> None:
        super().__init__()
        self.near, self.far, self.count, self.opacity = near, far, count, opacity

    def sample(self, origins: Tensor, directions: Tensor, draw: Draw | None) -> Samples:
        bound = torch.ones_like(origins[:, 0])
        return stratified(bound * self.near, bound * self.far, self.count, jitter=draw)
