"""One tile of samples through the layers, and back: samples are the columns, and the vectors' lanes."""

import numpy as np

from .. import elementary
from ..elementary import rowwise
from ..products import COLUMNS, CORRELATED, LANES, ROWS, correlate, fill, tile_of, total
from .layout import STRIDE

ZERO, ONE, HIGHEST_RAW = np.float32(0), np.float32(1), np.float32(15)

_hidden = tile_of(ROWS, 2, start="bias", end="relu")
_color = tile_of(ROWS, 2, end="relu")
_raw = tile_of(1, 2, start="bias")
_logits = tile_of(4, 2, start="bias")
_deltas = tile_of(ROWS, 2, start="zero", end="mask")
_by_features = tile_of(ROWS, 2, start="zero")


@rowwise
def hidden_layer(packed, width, size, kept, f0, f_row, count, z):
    """z = relu(W_1 f + b_1) of ``count`` columns; feature k of column s is kept[f0 + k f_row + s]."""
    for s in range(0, count, COLUMNS):
        for i in range(0, width, ROWS):
            _hidden(
                packed.hidden, i * size, size, 1, kept, f0 + s, f_row, z, i * STRIDE + s, STRIDE, size,
                packed.bias, i, z, 0, 0,
            )  # fmt: skip


@rowwise
def density_head(packed, width, deep, count, z, raw):
    """raw = w_d z + b_d."""
    for s in range(0, count, COLUMNS):
        _raw(packed.feature, width * deep, 0, 1, z, s, STRIDE, raw, s, 0, width, packed.heads, 0, z, 0, 0)


@rowwise
def color_layer(packed, width, deep, u, ray, offsets, first, end, count, z, h):
    """h = relu([W_c W_m] z + u_ray) of samples first to end, columns 0 to end - first; ``ray`` owns the first.

    z has ``deep`` rows: the hidden layer's, and the harmonics of mirrors.
    """
    s = first
    while s < end:
        while offsets[ray + 1] <= s:
            ray += 1
        stop = min(offsets[ray + 1], end)
        for j in range(width):  # a vector that reaches beyond the ray's samples is overwritten by the next ray
            value, row = u[ray, j], j * STRIDE - first
            for at in range(s, stop, LANES):
                fill(h, row + at, value)
        s = stop
    for j in range(width):
        for s in range(end - first, count):
            h[j * STRIDE + s] = h[j * STRIDE + end - first - 1]
    for s in range(0, count, COLUMNS):
        for i in range(0, width, ROWS):
            _color(
                packed.feature, i * deep, deep, 1, z, s, STRIDE, h, i * STRIDE + s, STRIDE, deep, h, 0, h, 0, 0
            )  # fmt: skip


@rowwise
def color_head(packed, width, count, h, logits):
    """The 3 logits of the color, in rows of STRIDE."""
    for s in range(0, count, COLUMNS):
        _logits(packed.color, 0, width, 1, h, s, STRIDE, logits, s, STRIDE, width, packed.heads, 1, h, 0, 0)


@rowwise
def activate_density(raw, sigma):
    """sigma = exp(raw), raw held below HIGHEST_RAW; NaN stays."""
    for s in range(sigma.shape[0]):
        v = raw[s]
        sigma[s] = elementary.exp(HIGHEST_RAW if v > HIGHEST_RAW else v)


@rowwise
def activate_color(logits, rgb):
    """rgb (n,) = sigmoid of one row of logits."""
    for s in range(rgb.shape[0]):
        rgb[s] = elementary.sigmoid(logits[s])


@rowwise
def by_density(raw, sigma, g_sigma, count, g):
    """g = dL/draw, 0 in the padding."""
    samples = sigma.shape[0]
    for s in range(samples):
        g[s] = ZERO if raw[s] > HIGHEST_RAW else g_sigma[s] * sigma[s]
    g[samples:count] = ZERO


@rowwise
def by_color(rgb, g_rgb, count, g):
    """g = dL/dlogit of one color, 0 in the padding."""
    samples = rgb.shape[0]
    for s in range(samples):
        v = rgb[s]
        g[s] = g_rgb[s] * v * (ONE - v)
    g[samples:count] = ZERO


@rowwise
def color_backward(packed, places, width, count, g, h, d, sums):
    """Rows 0 to width of d: dL/d(W_c z + u), from g (4 rows), which also gives W_o's gradient."""
    for s in range(0, count, COLUMNS):
        for i in range(0, width, ROWS):
            _deltas(
                packed.color, i, 1, width, g, s, STRIDE, d, i * STRIDE + s, STRIDE, 3, g, 0, h, i * STRIDE + s, STRIDE
            )  # fmt: skip
    _correlated(g, 0, STRIDE, 4, h, 0, STRIDE, width, sums, places.color, count)
    for c in range(3):
        sums[places.heads + 1 + c] += total(g, c * STRIDE, count)


@rowwise
def hidden_backward(packed, places, width, deep, size, count, kept, f0, f_row, z, d, dz, sums, to, to0, to_row):
    """From the rows of d (those of the color layer, then dL/draw) to the features' derivatives, in ``to``."""
    rows = (width + CORRELATED[0]) // CORRELATED[0] * CORRELATED[0]
    for row in range(width + 1, rows):
        d[row * STRIDE : row * STRIDE + count] = ZERO
    _correlated(d, 0, STRIDE, rows, z, 0, STRIDE, deep, sums, places.feature, count)
    sums[places.heads] += total(d, width * STRIDE, count)
    for s in range(0, count, COLUMNS):
        for i in range(0, width, ROWS):
            _deltas(
                packed.feature, i, 1, deep, d, s, STRIDE, dz, i * STRIDE + s, STRIDE, width + 1,
                d, 0, z, i * STRIDE + s, STRIDE,
            )  # fmt: skip
    _correlated(dz, 0, STRIDE, width, kept, f0, f_row, size, sums, places.hidden, count)
    for j in range(width):
        sums[places.bias + j] += total(dz, j * STRIDE, count)
    for s in range(0, count, COLUMNS):
        for i in range(0, size, ROWS):
            _by_features(
                packed.hidden, i, 1, size, dz, s, STRIDE, to, to0 + i * to_row + s, to_row, width, d, 0, d, 0, 0
            )  # fmt: skip


@rowwise
def _correlated(a, a0, a_row, rows, b, b0, b_row, columns, sums, place, count):
    """Add a b^T over ``count`` samples to (rows, columns, LANES) sums from ``place`` on."""
    for i in range(0, rows, CORRELATED[0]):
        for j in range(0, columns, CORRELATED[1]):
            correlate(
                a, a0 + i * a_row, a_row, b, b0 + j * b_row, b_row,
                sums, place + (i * columns + j) * LANES, columns * LANES, count,
            )  # fmt: skip


@rowwise
def by_mirrors(packed, width, deep, count, d, dz, found):
    """The derivatives (S, 16) by the harmonics of mirrors; dz has room for them."""
    for s in range(0, count, COLUMNS):
        for i in range(0, deep - width, ROWS):
            _by_features(
                packed.feature, width + i, 1, deep, d, s, STRIDE, dz, i * STRIDE + s, STRIDE, width, d, 0, d, 0, 0
            )  # fmt: skip
    for s in range(found.shape[0]):
        for i in range(found.shape[1]):
            found[s, i] = dz[i * STRIDE + s]


@rowwise
def by_rays(d, width, ray, offsets, first, end, du):
    """Add the rows of d, over each ray's samples, to du (R, width)."""
    s = first
    while s < end:
        while offsets[ray + 1] <= s:
            ray += 1
        stop = min(offsets[ray + 1], end)
        for j in range(width):
            du[ray, j] += total(d, j * STRIDE + s - first, stop - s)
        s = stop
