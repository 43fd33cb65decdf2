"""Isosurface of a density field on [-1,1]^3.

The lattice is sampled in chunks but polygonized as a whole, so that there are no seams; memory is some 6 bytes per
lattice point (6.4 GB at 1024^3) and what ``lattice.SLAB`` points take. Marching cubes runs on opacity,
1 - exp(-sigma * length), not on density: density jumps from 0 to thousands within a cell, where linear interpolation
would put every vertex next to the empty corner.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nerfkit.errors import ConfigError, SceneError
from nerfkit.mesh.lattice import fill_unreached, sample_lattice
from nerfkit.mesh.mesh import Mesh

MAX_RESOLUTION = 1024


def default_level(resolution: int) -> float:
    """The density that blocks half the light over four lattice cells, ln 2 / (4 * 2 / (resolution - 1)).

    Thinner or fainter matter is haze that the lattice cannot hold. A lower level moves the surface outward.
    """
    return math.log(2) * (resolution - 1) / 8


def extract_mesh(
    density: Callable[[Tensor], Tensor],
    *,
    resolution: int = 192,
    level: float | None = None,
    occupancy: Tensor | None = None,
    closing: int | None = 1,
    chunk: int = 1 << 18,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> Mesh:
    """The surface where ``density`` crosses ``level``, closed at the faces of the box, normals pointing outward.

    Args:
        density: points (S,3) in [-1,1]^3 to densities (S,), per unit length.
        resolution: lattice points along each axis, the outermost on the box's faces; at most 1024.
        level: density of the surface; None takes ``default_level(resolution)``.
        occupancy: (G,G,G) bool, cell (i,j,k) covering x, y, z in that order; the density is taken as 0 outside the true
            cells and their neighbors and not evaluated there. None evaluates the whole box.
        closing: make solid whatever empty space cannot be reached from outside through openings wider than twice this
            many cells: no camera can have seen what is behind a field's pinholes, so its walls are chance. 0 fills
            closed cavities only, None nothing. Gaps of the object narrower than that are closed as well.
        chunk: points to a call of ``density``.
        device: where ``density`` expects its points.
        progress: called with the fraction done after each chunk.

    Returns:
        vertices in [-1,1]^3 on the CPU.

    Raises:
        ConfigError: ``resolution`` out of range.
        SceneError: no point reaches ``level``, or the density is NaN somewhere.
    """
    from skimage.measure import marching_cubes  # slow, as scipy below: not for a command that only checks words

    if not 4 <= resolution <= MAX_RESOLUTION:
        raise ConfigError(f"extract.resolution: {resolution} is out of range; expected 4 to {MAX_RESOLUTION}")
    level = default_level(resolution) if level is None else level
    if not level > 0:
        raise ConfigError(f"extract.level: {level} is not a density; expected a number above 0")
    highest = 0.0

    def opacity_at(points: Tensor) -> Tensor:
        nonlocal highest
        sigma = density(points).to("cpu", torch.float32)
        if sigma.isnan().any():
            raise SceneError("extract: the density field is NaN at some points; it was not trained or has diverged")
        highest = max(highest, sigma.max().item())
        return torch.from_numpy(-np.expm1(sigma.numpy() * np.float32(-math.log(2) / level)))  # 1/2 at the level

    opacity = sample_lattice(opacity_at, resolution, occupancy, chunk, device, progress)  # (R, R, R)
    if highest < level:
        raise SceneError(
            f"extract: the density reaches {highest:.3g} at most, never the level {level:.3g}: no surface; "
            "train the field for longer, or lower extract.level"
        )
    if closing is not None:
        fill_unreached(opacity, closing)
    for axis in range(3):
        border = np.moveaxis(opacity, axis, 0)
        border[[0, -1]] = 0.0
    spacing = 2 / (resolution - 1)
    vertices, faces, _, _ = marching_cubes(opacity, 0.5, spacing=(spacing,) * 3, gradient_direction="ascent")
    return Mesh(
        torch.from_numpy((vertices - 1).astype(np.float32)),
        torch.from_numpy(faces.astype(np.int64)),
        provenance={"extracted": {"resolution": resolution, "level": level}},
    )
