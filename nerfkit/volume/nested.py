"""Grids in grids, for photos that show more than the object: each is four times as large as the one inside it.

The innermost grid covers [-1,1]^3, the region of interest. Cells of a larger one that a smaller one covers are never
occupied. Each is marched in its own units, in which it covers [-1,1]^3 as well; so its steps are longer, too.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nerfkit.cameras import Cameras
from nerfkit.fields.field import Field
from nerfkit.kernels.march import Samples, trust_samples
from nerfkit.kernels.philox import Draw
from nerfkit.volume.samplers import OccupancySampler, Sampler

GROWTH = 4


class NestedSampler(Sampler):
    """Even steps through the occupied cells of several grids, in order along each ray.

    Args:
        levels: a sampler for each grid, the region's first; grid k covers [-4^k, 4^k]^3.
    """

    def __init__(self, levels: Sequence[OccupancySampler]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)

    @property
    def region(self) -> OccupancySampler:
        """The sampler of [-1,1]^3."""
        inner = self.levels[0]
        assert isinstance(inner, OccupancySampler)
        return inner

    @property
    def occupied(self) -> Tensor:  # type: ignore[override]
        return self.region.occupied

    def sample(self, origins: Tensor, directions: Tensor, draw: Draw | None, capacity: int | None = None) -> Samples:
        """As ``Sampler.sample``, but for a ``capacity``, which several marches cannot share."""
        if capacity is not None:
            raise ValueError("capacity: nested grids have none")
        parts = []
        for k, level in enumerate(self.levels):
            unit = float(GROWTH**k)
            found = level.sample(origins / unit, directions, draw)  # type: ignore[operator]
            parts.append(found._replace(t_start=found.t_start * unit, t_end=found.t_end * unit))
        return merged(parts)

    def after_step(self, field: Field, seed: int, step: int) -> None:
        for k, level in enumerate(self.levels):
            level.after_step(_Scaled(field, float(GROWTH**k)), seed, step)  # type: ignore[operator]

    def logged(self) -> Mapping[str, float]:
        return self.region.logged()


class _Scaled(Field):
    """A field in units of ``unit``: densities are per such a unit."""

    def __init__(self, field: Field, unit: float) -> None:
        super().__init__()
        self.field, self.unit = field, unit

    def density(self, positions: Tensor) -> Tensor:
        return self.field.density(positions * self.unit) * self.unit


def merged(parts: Sequence[Samples]) -> Samples:
    """The samples of several marches of the same rays as those of one, each ray's in order of t."""
    ray = torch.cat([part.ray_index for part in parts])
    start, end = torch.cat([part.t_start for part in parts]), torch.cat([part.t_end for part in parts])
    farthest = 1 + (start.max() if len(start) else 0)
    order = (ray.double() + (start / farthest).double()).argsort(stable=True)
    offsets = torch.stack([part.offsets for part in parts]).sum(0)
    return trust_samples(Samples(ray[order], start[order], end[order], offsets))


def shell(cameras: Cameras, resolution: int, unit: float) -> Tensor:
    """The cells of a grid over [-unit, unit]^3 that no smaller grid covers and some camera sees, (G,G,G) bool.

    A camera sees a cell if it sees its middle; cells within one cell of those count as well.
    """
    line = ((torch.arange(resolution) + 0.5) * 2 / resolution - 1) * unit
    middle = torch.cartesian_prod(line, line, line)  # (G^3, 3)
    seen = torch.zeros(len(middle), dtype=torch.bool)
    unseen = torch.arange(len(middle))  # of thousands of cameras, the first ones see most cells
    for view, (height, width) in enumerate(cameras.sizes):
        (pixels,), (depth,) = cameras[view].project(middle[unseen])  # (U, 2), (U,)
        frame = pixels.new_tensor([width, height])
        sees = (depth > 0) & ((pixels >= 0) & (pixels < frame)).all(-1)
        seen[unseen[sees]] = True
        unseen = unseen[~sees]
    grid = seen.view(1, 1, *(resolution,) * 3).float()
    near = nn.functional.max_pool3d(grid, 3, stride=1, padding=1)[0, 0] > 0
    covered = (middle.abs().amax(-1) < unit / GROWTH).view(near.shape)
    return near & ~covered
