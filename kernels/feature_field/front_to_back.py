"""Rays through the field without gradients: front to back, so that nothing behind ``early_stop`` is evaluated.

A tile takes the next few samples of each ray that still lets light through, as many rays as fit; then it is known which
of them have ended, and others come up. Nothing is kept of a sample. Samples have no directions of their own here.
"""

import numpy as np

from .. import elementary
from ..composite import ENDLESS
from ..elementary import rowwise
from ..products import COLUMNS
from .encoding import encode_tile
from .layout import COORDINATES, STRIDE, TILE
from .tiles import activate_color, activate_density, color_head, color_layer, density_head, hidden_layer

FEW = 4  # samples of a ray that a tile takes, or more where the rays that are left do not fill it
HALF, ZERO, ONE, LONGEST = np.float32(0.5), np.float32(0), np.float32(1), np.float32(ENDLESS)


@rowwise
def unit(v):
    """A coordinate in [-1,1] as one from 0 to 1. NaN stays."""
    v = v * HALF + HALF
    v = ZERO if v < ZERO else v
    return ONE if v > ONE else v


@rowwise
def _take(x, t_start, t_end, by_length, sample, number, at, kept, steps, middles):
    """Columns from ``at`` on: coordinates, what a density is multiplied by, and middles, of a ray's next samples."""
    for s in range(number):
        near, far = t_start[sample + s], t_end[sample + s]
        length = far - near
        length = LONGEST if length > LONGEST else length
        steps[at + s] = length if by_length else ONE
        middles[at + s] = HALF * (near + far) if length < LONGEST else near
    for i in range(COORDINATES):
        for s in range(number):
            kept[i * STRIDE + at + s] = unit(x[sample + s, i])


@rowwise
def _opacities(sigma, steps, alpha):
    """1 - exp(-sigma step)."""
    for s in range(alpha.shape[0]):
        alpha[s] = elementary.softplus_slope(sigma[s] * steps[s], ONE)


@rowwise
def render_group(
    levels, pairs, table, packed, width, size, x, u, offsets, first_ray, last_ray, t_start, t_end, by_length,
    early_stop, pixel, opacity, depth,
):  # fmt: skip
    """The pixels of rays first_ray to last_ray - 1."""
    rows, weights = np.empty(8 * TILE, np.int32), np.empty(8 * TILE, np.float32)
    kept, z = np.zeros((COORDINATES + size) * STRIDE, np.float32), np.empty(width * STRIDE, np.float32)
    h, logits, rgb = (
        np.empty(width * STRIDE, np.float32),
        np.empty(4 * STRIDE, np.float32),
        np.empty((3, TILE), z.dtype),
    )
    sigma, alpha, steps, middles = np.empty((4, TILE), np.float32)
    of_rays, starts = np.empty((TILE // FEW, width), np.float32), np.zeros(TILE // FEW + 1, np.int64)
    most = last_ray - first_ray
    # Of each ray, counted from first_ray: the next sample, the light that is left, color, opacity and depth so far.
    following, light, sums = np.empty(most, np.int64), np.ones(most), np.zeros((most, 5))
    alive, count = np.empty(most, np.int64), 0
    for n in range(most):
        following[n] = offsets[first_ray + n]
        if following[n] < offsets[first_ray + n + 1]:
            alive[count] = n
            count += 1
    while count > 0:
        number = min(count, TILE // FEW)  # of rays in the tile
        share, columns = TILE // number, 0
        for i in range(number):
            n = alive[i]
            ray = first_ray + n
            taken = min(share, offsets[ray + 1] - following[n])
            _take(x, t_start, t_end, by_length, following[n], taken, columns, kept, steps, middles)
            for j in range(width):
                of_rays[i, j] = u[ray, j]
            columns += taken
            starts[i + 1] = columns
        rounded = (columns + COLUMNS - 1) // COLUMNS * COLUMNS
        for i in range(COORDINATES):
            for s in range(columns, rounded):
                kept[i * STRIDE + s] = kept[i * STRIDE + columns - 1]
        f0 = COORDINATES * STRIDE
        encode_tile(levels, pairs, kept, STRIDE, 0, rounded, table, rows, weights, kept, f0, STRIDE, size)
        hidden_layer(packed, width, size, kept, f0, STRIDE, rounded, z)
        density_head(packed, width, width, rounded, z, logits)
        activate_density(logits, sigma[:columns])
        _opacities(sigma, steps, alpha[:columns])
        color_layer(packed, width, width, of_rays, 0, starts, 0, columns, rounded, z, h)
        color_head(packed, width, rounded, h, logits)
        for c in range(3):
            activate_color(logits[c * STRIDE :], rgb[c, :columns])
        going = 0
        for i in range(number):
            n, s = alive[i], starts[i]
            behind = light[n]
            while s < starts[i + 1] and behind >= early_stop:
                weight = behind * np.float64(alpha[s])
                behind -= weight
                for c in range(3):
                    sums[n, c] += weight * rgb[c, s]
                sums[n, 3] += weight
                sums[n, 4] += weight * middles[s]
                s += 1
            following[n] += starts[i + 1] - starts[i]
            light[n] = behind
            if following[n] < offsets[first_ray + n + 1] and behind >= early_stop:
                alive[going] = n
                going += 1
        for i in range(number, count):
            alive[going + i - number] = alive[i]
        count += going - number
    for n in range(most):
        for c in range(3):
            pixel[first_ray + n, c] = sums[n, c]
        opacity[first_ray + n], depth[first_ray + n] = sums[n, 3], sums[n, 4]
