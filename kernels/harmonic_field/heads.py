"""What becomes of the sums of the density's and the color's heads, and back."""

import numpy as np

from .. import elementary
from ..elementary import rowwise

ZERO, ONE, HIGHEST_RAW = np.float32(0), np.float32(1), np.float32(15)


@rowwise
def densities(raw, sigma, beta, density_exp):
    """sigma of raw."""
    for s in range(raw.shape[0]):
        v = raw[s]
        if density_exp:
            sigma[s] = elementary.exp(HIGHEST_RAW if v > HIGHEST_RAW else v)
        else:
            sigma[s] = elementary.softplus(v, beta)


@rowwise
def colors(rgb):
    """The logits' sigmoids, in place."""
    for s in range(rgb.shape[0]):
        for c in range(3):
            rgb[s, c] = elementary.sigmoid(rgb[s, c])


@rowwise
def by_heads(raw, sigma, rgb, g_sigma, g_rgb, beta, density_exp, color, g):
    """The derivatives by the heads' sums: g (.., 4), first those by the logits, if there are any, last those by raw."""
    for s in range(raw.shape[0]):
        if color:
            for c in range(3):
                v = rgb[s, c]
                g[s, c] = g_rgb[s, c] * v * (ONE - v)
        if density_exp:
            g[s, 3] = ZERO if raw[s] > HIGHEST_RAW else g_sigma[s] * sigma[s]
        else:
            g[s, 3] = g_sigma[s] * elementary.softplus_slope(sigma[s], beta)
