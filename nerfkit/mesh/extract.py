"""Isosurface of a density field on [-1,1]^3.

The lattice is sampled in chunks but polygonized as a whole, so that there are no seams; memory is some 15 bytes per
lattice point (100 MB at 192^3, 240 MB at 256^3). Marching cubes runs on opacity, 1 - exp(-sigma * length), not on
density: density jumps from 0 to thousands within a cell, where linear interpolation would put every vertex next to the
empty corner.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nerfkit.errors import ConfigError, SceneError
from nerfkit.mesh.mesh import Mesh

MAX_RESOLUTION = 512


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
        resolution: lattice points along each axis, the outermost on the box's faces; at most 512.
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
    values = sample_lattice(density, resolution, occupancy, chunk, device, progress)
    if np.isnan(values).any():
        raise SceneError("extract: the density field is NaN at some points; it was not trained or has diverged")
    if values.max() < level:
        raise SceneError(
            f"extract: the density reaches {values.max():.3g} at most, never the level {level:.3g}: no surface; "
            "train the field for longer, or lower extract.level"
        )
    empty = values < level
    opacity = -np.expm1(values * np.float32(-math.log(2) / level))  # (R, R, R), 1/2 at the level
    del values
    if closing is not None:
        opacity[empty & ~_outside(empty, closing)] = 1.0
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


def sample_lattice(
    density: Callable[[Tensor], Tensor],
    resolution: int,
    occupancy: Tensor | None = None,
    chunk: int = 1 << 18,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """``density`` at the points of a lattice over [-1,1]^3, (R,R,R) float32 indexed by x, y, z; arguments as above."""
    axis = torch.linspace(-1, 1, resolution)
    if occupancy is None:
        wanted = torch.arange(resolution**3)
    else:
        wanted = _near_occupied(occupancy.cpu(), axis).flatten().nonzero().flatten()
    values = torch.zeros(resolution**3)
    with torch.no_grad():
        for start in range(0, len(wanted), chunk):
            index = wanted[start : start + chunk]
            x, y, z = index // resolution**2, index // resolution % resolution, index % resolution
            points = torch.stack([axis[x], axis[y], axis[z]], -1)  # (S, 3)
            values[index] = density(points.to(device)).to("cpu", torch.float32)
            if progress is not None:
                progress(min(start + chunk, len(wanted)) / len(wanted))
    return values.view(resolution, resolution, resolution).numpy()


def _near_occupied(occupancy: Tensor, axis: Tensor) -> Tensor:
    """Which lattice points (R,R,R) lie in an occupied cell or in one of its 26 neighbors."""
    grown = torch.from_numpy(_grown(occupancy.numpy(), 1))
    size = occupancy.shape[0]
    cell = ((axis + 1) / 2 * size).long().clamp(max=size - 1)  # (R,)
    return grown[cell][:, cell][:, :, cell]


def _outside(empty: np.ndarray, closing: int) -> np.ndarray:
    """Empty lattice points within ``closing`` of those that a cube of that half side reaches from beyond the box."""
    from scipy import ndimage

    free = np.pad(~_grown(~empty, closing), 1, constant_values=True)
    labels, _ = ndimage.label(free)
    inside = slice(1, -1)
    return empty & _grown((labels == labels[0, 0, 0])[inside, inside, inside], closing)


def _grown(mask: np.ndarray, cells: int) -> np.ndarray:
    """Dilation of (R,R,R) bool by a cube that reaches ``cells`` to either side, one axis after the other."""
    for axis in range(3):
        grown = mask.copy()
        to, of = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        for shift in range(1, cells + 1):
            to[shift:] |= of[:-shift]
            to[:-shift] |= of[shift:]
        mask = grown
    return mask
