"""A field with a surface: its density comes from a signed distance, its colors from another field.

The distance is the sum of three dense grids of CELLS / 4, CELLS / 2 and CELLS cells along a side; the coarse ones let a
step move much of the surface at once. ``nerfkit.kernels.distance_grid`` has the density, beta falls from WIDE to SHARP
over the first SHARPENED of the fit, and two terms of the loss keep the distance one and the surface smooth (Yariv et
al. 2021; the Laplacian as in Rosu and Behnke, "PermutoSDF", 2023, in its simplest form). Colors are asked for along
the direction in which the surface mirrors the view, d - 2 (d . n) n with n the direction of the distance's gradient
(Verbin et al., "Ref-NeRF", 2022), beside the view's own where the field takes both: then a highlight need not be a
dent. Through n no gradient flows, and the colors' features do not touch the density.
"""

import functools
from collections.abc import Callable
from typing import Any, Self

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn
from torch.nn import functional

from nerfkit.cameras import Cameras
from nerfkit.fields.features import FeatureField
from nerfkit.fields.field import Field
from nerfkit.kernels.checks import trust
from nerfkit.kernels.composite import Rendered, composite
from nerfkit.kernels.distance_grid import distance_bounds, distance_density, distance_roughness, nested_nodes
from nerfkit.kernels.feature_view import Surface, mirrored
from nerfkit.kernels.march import Samples, trust_samples

CELLS = 128
UNIT = 1 / 32  # of the lengths that follow, or a cell where that is longer
WIDE, SHARP, SHARPENED = 0.64, 0.048, 0.8  # the first two in units
BAND = 3.2  # units from the surface within which the two terms look
EIKONAL, LAPLACIAN = 0.2, 0.06  # their weights, against a loss of colors in [0,1], in the steps in which they count
EVERY = 4  # steps: they count in every fourth one
BALL = 0.5  # radius of the ball that the distance starts from where nothing is known
SEEN = 1e-3  # of a pixel: samples of less are left out
SHOWN = 1 / 64  # of the largest weight of a ray: in a picture, colors of samples with less are those of the others
RATE, BETAS = 0.3, (0.9, 0.99)  # of the optimizer; the rate is a factor on the trainer's


class SurfaceField(Field):
    """Density of a distance, colors of ``inner``, whose own density does not count.

    Args:
        inner: a field of [-1,1]^3.
        occupied: (G,G,G) bool, index [x,y,z]: what the distance starts from; a ball where all of it is set.
        cells: along a side of the finest grid, a multiple of 4.
    """

    beta: Tensor
    _of_step: Tensor | None

    def __init__(self, inner: Field, occupied: Tensor, cells: int = CELLS) -> None:
        super().__init__()
        if cells < 4 or cells % 4:
            raise ValueError(f"cells: expected a multiple of 4, got {cells}")
        self.inner, self.cell = inner, 2 / cells
        self.unit = max(self.cell, UNIT)
        self.register_buffer("beta", torch.tensor(WIDE * self.unit, dtype=torch.float64))
        coarse = [torch.zeros((cells // step + 1,) * 3) for step in (4, 2)]
        self.grids = nn.ParameterList([*coarse, distance_to(occupied, cells)])
        self._shown: dict[str, Tensor] = {}
        self._stepping, self._of_step = False, None

    def nodes(self) -> Tensor:
        """The distance (N+1,N+1,N+1) at the nodes of the finest grid."""
        if not (self._stepping and torch.is_grad_enabled()):
            return functools.reduce(nested_nodes, self.grids)
        if self._of_step is None:
            self._of_step = functools.reduce(nested_nodes, self.grids)
        return self._of_step

    def __getstate__(self) -> dict[str, Any]:
        """A copy has no step going on."""
        return self.__dict__ | {"_stepping": False, "_of_step": None}

    def parameter_groups(self) -> list[dict[str, Any]]:
        own = {"params": list(self.grids), "scale": RATE, "betas": BETAS}
        return [*self.inner.parameter_groups(), own]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves all but beta, which stays with the host: a kernel takes it as a number, and no step waits for it."""
        beta = self.beta
        super()._apply(fn, recurse)
        self.beta = beta
        return self

    def before_step(self, share: float) -> None:
        """As ``Field.before_step``. From here to ``penalties`` the nodes are summed once.

        Their graph is gone through as often as they are asked for: interpolation has nothing to remember.
        """
        self.inner.before_step(share)
        self._stepping, self._of_step = True, None
        self.beta.fill_(self.unit * WIDE * (SHARP / WIDE) ** min(1.0, share / SHARPENED))

    def penalties(self, step: int) -> dict[str, Tensor]:
        """As ``Field.penalties``; between the steps in which they count they are shown as they were."""
        own = self._shown
        if step % EVERY == 0:
            eikonal, laplacian = distance_roughness(self.nodes(), BAND * self.unit)
            bend = LAPLACIAN * (self.unit / self.cell) ** 2  # the kernel's term falls with the cell's square
            own = {"eikonal": EIKONAL * eikonal, "laplacian": bend * laplacian}
            self._shown = {name: term.detach() for name, term in own.items()}
        elif not own:
            own = dict.fromkeys(("eikonal", "laplacian"), self.grids[0].new_zeros(()))
        self._stepping, self._of_step = False, None
        return self.inner.penalties(step) | own

    def density(self, positions: Tensor) -> Tensor:
        return distance_density(positions, self.nodes(), self.beta.item())[0]

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        density, gradient = distance_density(positions, self.nodes(), self.beta.item())
        view = directions.repeat_interleave(offsets.diff(), 0, output_size=len(positions))  # (S, 3)
        reflected = mirrored(view, gradient)
        if self.inner.mirrors:
            return density, self.inner(positions, offsets, directions, reflected)[1]
        each = torch.arange(len(positions) + 1, device=offsets.device)  # every sample is a ray of its own
        trust(each, len(positions))
        return density, self.inner(positions, each, reflected)[1]

    def thinned(self, positions: Tensor, samples: Samples) -> tuple[Tensor, Samples]:
        """Those whose weight in their ray's pixel is above ``SEEN``: distances cost little, colors much.

        What is not a number stays, and the trainer's budget counts what is left.
        """
        nodes = self.nodes().detach()
        with torch.no_grad():
            density = distance_density(positions, nodes, self.beta.item())[0]
            weights = composite(density, density.new_zeros(len(density), 3), *samples[1:]).weights
        seen = ~(weights <= SEEN)
        kept = seen.nonzero()[:, 0]
        before = torch.cat([kept.new_zeros(1), seen.cumsum(0)])  # (S + 1,)
        ray, start, end = (t[kept] for t in samples[:3])
        return positions[kept], trust_samples(Samples(ray, start, end, before[samples.offsets]))

    def view(
        self, cameras: Cameras, view: int, occupancy: Tensor, step_size: float, early_stop: float
    ) -> Rendered | None:
        """As ``Field.view``, where the colors are those of features with a direction of each sample."""
        if not (isinstance(self.inner, FeatureField) and self.inner.mirrors):
            return None
        surface = Surface(self.nodes().detach(), self.beta.item(), SHOWN)
        return self.inner.view(cameras, view, occupancy, step_size, early_stop, surface)

    def normals(self, positions: Tensor) -> Tensor:
        """The direction of the distance's gradient at positions (S,3)."""
        return functional.normalize(distance_density(positions.detach(), self.nodes(), self.beta.item())[1], dim=-1)

    def density_bounds(self, resolution: int) -> tuple[Tensor, Tensor] | None:
        """As ``Field.density_bounds``: a distance has its extremes over a cell at the cell's nodes."""
        nodes = self.nodes()
        times, rest = divmod(resolution, len(nodes) - 1)
        if rest:
            return None
        least, greatest = distance_bounds(nodes, self.beta.item())
        return repeated(least, times), repeated(greatest, times)


def repeated(cells: Tensor, times: int) -> Tensor:
    """A grid whose cells are divided into ``times``^3 each."""
    side = len(cells)
    whole = cells[:, None, :, None, :, None].expand(side, times, side, times, side, times)
    return whole.reshape((side * times,) * 3)


def distance_to(occupied: Tensor, cells: int) -> Tensor:
    """The signed distance (N+1,N+1,N+1) from the border of what is ``occupied``; a ball's where there is no border."""
    line = torch.linspace(-1, 1, cells + 1)
    nodes = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1)  # (N+1, N+1, N+1, 3)
    inside = occupied.cpu().numpy()
    if inside.all() or not inside.any():
        return nodes.norm(dim=-1) - BALL
    apart = torch.from_numpy(distance_transform_edt(~inside) - distance_transform_edt(inside)).float()
    middles = (apart * (2 / len(inside)))[None, None]
    places = nodes.flip(-1)[None]  # grid_sample wants z, y, x
    return functional.grid_sample(middles, places, padding_mode="border", align_corners=False)[0, 0]
