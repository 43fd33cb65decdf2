"""Where the density is not zero: a grid over [-1,1]^3 that lets rays skip empty space and stop inside solids."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.fields.field import Field
from nerfkit.kernels import philox
from nerfkit.kernels.march.kept import kept

LEAST_SOLID = 1.0  # per unit length; where ``solid`` starts to grow from
SOLID_CELLS = 3.0  # opaque cells that a ray crosses before it may stop


def _numbers(cells: Tensor) -> Tensor:
    """The numbers (C,) of the cells that are set."""
    return cells.flatten().nonzero()[:, 0]


class OccupancyGrid(nn.Module):
    """Running bounds of the field's density per cell, and from them which cells hold anything.

    Each update evaluates sigma at one random point of a share of the cells and sets there

        density <- max(decay density, sigma)          an upper bound: is there anything?
        solid   <- min(2 max(solid, 1), sigma, cap)   a lower bound: is the cell opaque throughout?

    (the first as Mueller et al. 2022, appendix C). A cell is occupied where a step at its upper bound has an optical
    depth above ``threshold``. The marcher stops a ray by the lower bound, because a cell that a surface cuts must not
    hide what is behind its empty part; the cap lets a ray cross ``SOLID_CELLS`` opaque cells before it stops, because
    a bound from a few random points can be wrong. Where the field knows its bounds (``Field.density_bounds``), each
    update takes these as they are, for all cells, without a cap, and drops cells from the first one on.

    Args:
        allowed: (G,G,G) bool, index [x,y,z]: cells that may ever be occupied (the visual hull, or all).
        step_size: length of a marching step, in normalized units.
        threshold: smallest optical depth of one step, density times step_size, that counts.
        decay: of the upper bound, per update of the cell.
        share: an update visits every ``share``-th allowed cell.
        min_transmittance: what is behind this much, by the lower bound, need not be sampled.
        rest: of the cells that an update would visit and that are not occupied, every ``rest``-th is visited. Where the
            whole box is allowed, most is empty, and asking for it would take a third of the training.
    """

    allowed: Tensor
    density: Tensor
    solid: Tensor
    occupied: Tensor

    def __init__(
        self,
        allowed: Tensor,
        step_size: float,
        *,
        threshold: float,
        decay: float,
        share: int,
        min_transmittance: float,
        rest: int = 1,
    ) -> None:
        super().__init__()
        self.step_size, self.threshold, self.decay, self.share = step_size, threshold, decay, share
        self.min_transmittance, self.rest = min_transmittance, rest
        self._marked = False  # whether ``occupied`` follows from ``density``
        self.register_buffer("allowed", allowed)
        self.register_buffer("density", torch.zeros(allowed.shape, device=allowed.device))
        self.register_buffer("solid", torch.zeros(allowed.shape, device=allowed.device))
        self.register_buffer("occupied", allowed.clone())

    @property
    def resolution(self) -> int:
        """Cells along each side, G."""
        return self.allowed.shape[0]

    def restricted(self, cells: Tensor) -> "OccupancyGrid":
        """What this grid knows, of ``cells`` (G,G,G) bool alone."""
        grid = OccupancyGrid(
            self.occupied & cells,
            self.step_size,
            threshold=self.threshold,
            decay=self.decay,
            share=self.share,
            min_transmittance=self.min_transmittance,
        )
        grid.density, grid.solid = self.density, self.solid * cells
        return grid

    @property
    def fraction(self) -> float:
        """Occupied cells over all cells."""
        return self.occupied.float().mean().item()

    @torch.no_grad()
    def update(self, field: Field, draw: philox.Draw, visit: int, *, prune: bool) -> None:
        """Visits the cells whose number is ``visit`` modulo ``share``; marks anew which are occupied if ``prune``."""
        bounds = field.density_bounds(self.resolution)
        if bounds is not None:
            return self._bounded(*bounds)
        cells = kept(self.allowed, _numbers)[visit % self.share :: self.share]  # (C,)
        if prune and self.rest > 1:
            turn = torch.arange(len(cells), device=cells.device) % self.rest == visit // self.share % self.rest
            cells = cells[turn | self.occupied.view(-1)[cells]]
        G = self.resolution
        corner = torch.stack([cells // (G * G), cells // G % G, cells % G], -1)  # (C, 3)
        random = philox.uniform(draw, philox.DENSITY_GRID, len(cells), 3, device=cells.device)
        sigma = field.density((corner + random) * (2 / G) - 1)  # (C,)
        density, solid = self.density.view(-1), self.solid.view(-1)
        bound = torch.maximum(density[cells] * self.decay, sigma)
        density[cells] = bound
        cap = -math.log(self.min_transmittance) * G / (2 * SOLID_CELLS)
        solid[cells] = torch.minimum(solid[cells].clamp_min(LEAST_SOLID) * 2, sigma).clamp_max(cap)
        if prune and self._marked:  # the others are as they were
            self.occupied.view(-1)[cells] = bound * self.step_size > self.threshold
        elif prune:
            torch.logical_and(self.allowed, self.density * self.step_size > self.threshold, out=self.occupied)
        self._marked = prune

    def _bounded(self, lower: Tensor, upper: Tensor) -> None:
        """What bounds (G,G,G) that are known mean: no cell need wait for its visit, nor may a ray look further."""
        torch.mul(upper, self.allowed, out=self.density)
        self.solid.copy_(lower)
        torch.logical_and(self.allowed, upper * self.step_size > self.threshold, out=self.occupied)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._marked = False
        super()._load_from_state_dict(*arguments)
