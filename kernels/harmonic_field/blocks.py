"""One block of samples through the whole field, and back, in flat float32 arrays as ``layout`` cuts them up.

The block's memory holds [e(x), h_1, ..., h_n, z], each with a row a sample. ``deltas`` holds two matrices: the
derivatives by a layer's sums, and those by the sums of the layer before it. Rows beyond the samples, up to a multiple
of ROWS, are computed along and have no say in any result.
"""

import numpy as np

from .. import elementary
from ..elementary import rowwise, summing
from ..products import COLUMNS, ROWS, multiply
from .embedding import embed_rows, embed_rows_backward
from .heads import by_heads, colors, densities
from .layout import (
    BACKWARD,
    BIAS,
    BIAS_SUM,
    COLOR,
    COLOR_BIAS,
    DENSITY,
    DENSITY_BIAS,
    END,
    FIRST,
    FORWARD,
    GRADIENT,
    OFFSET,
    PADDED,
    SOURCE,
    STRIDE,
    WIDTH,
)

ZERO = np.float32(0)


@rowwise
def matrix(memory, start, rows, stride):
    """A view of ``rows`` rows from ``start`` on."""
    return memory[start : start + rows * stride].reshape(rows, stride)


@rowwise
def _slot(tables, number, memory, base, rows):
    return matrix(memory, base + tables.slots[number, OFFSET], rows, tables.slots[number, STRIDE])


@rowwise
def _activate(y, columns, relu, beta):
    """The activation in place. NaN stays NaN."""
    for s in range(y.shape[0]):
        if relu:
            for j in range(columns):
                v = y[s, j]
                y[s, j] = ZERO if v < ZERO else v
        else:
            for j in range(columns):
                y[s, j] = elementary.softplus(y[s, j], beta)


@rowwise
def _slope_and_sum(d, h, columns, count, relu, beta, total):
    """d times the activation's derivative, from its output h; the first ``count`` rows are added to ``total``."""
    for s in range(count):
        if relu:
            for j in range(columns):
                v = ZERO if h[s, j] <= ZERO else d[s, j]
                d[s, j] = v
                total[j] += v
        else:
            for j in range(columns):
                v = d[s, j] * elementary.softplus_slope(h[s, j], beta)
                d[s, j] = v
                total[j] += v


@rowwise
def _layer(tables, number, packed, memory, base, u, rays, rows, relu, beta):
    """Slot number + 1 from those before it; a layer without biases has a row of ``u`` for each ray instead."""
    slots, products = tables.slots, tables.products
    start, stride, columns = base + slots[number + 1, OFFSET], slots[number + 1, STRIDE], slots[number + 1, PADDED]
    y = matrix(memory, start, rows, stride)
    bias = tables.layers[number, BIAS]
    if bias >= 0:
        row = packed[bias : bias + columns]
        for s in range(rows):
            for j in range(columns):
                y[s, j] = row[j]
    else:
        for s in range(rows):
            of = u[rays[s]]
            for j in range(columns):
                y[s, j] = of[j]
    for p in range(tables.layers[number, FIRST], tables.layers[number, END]):
        source = products[p, SOURCE]
        depth = slots[source, WIDTH]
        for column in range(0, columns, COLUMNS):
            multiply(
                memory, base + slots[source, OFFSET], slots[source, STRIDE], 1,
                packed, products[p, FORWARD] + column * depth, COLUMNS,
                memory, start + column, stride, rows, depth,
            )  # fmt: skip
    _activate(y, columns, relu, beta)


@summing
def _density_head(h, weights, bias, raw):
    for s in range(raw.shape[0]):
        a = ZERO
        for j in range(weights.shape[0]):
            a += h[s, j] * weights[j]
        raw[s] = a + bias


@summing
def _color_head(z, weights, bias, rgb):
    for s in range(rgb.shape[0]):
        a, b, c = ZERO, ZERO, ZERO
        for j in range(weights.shape[1]):
            v = z[s, j]
            a += v * weights[0, j]
            b += v * weights[1, j]
            c += v * weights[2, j]
        rgb[s, 0], rgb[s, 1], rgb[s, 2] = a + bias[0], b + bias[1], c + bias[2]


@rowwise
def forward_block(
    tables, waves, packed, x, u, rays, memory, base, scratch, relu, beta, density_exp, color, raw, sigma, rgb
):  # fmt: skip
    """raw (count,), sigma (count,) and, where ``color``, rgb (count, 3) of samples x (count, 3).

    ``scratch`` is for ``half_forward_block``.
    """
    slots, heads, count = tables.slots, tables.heads, x.shape[0]
    rows = (count + ROWS - 1) // ROWS * ROWS
    embed_rows(x, waves, memory[base + slots[0, OFFSET] :], slots[0, STRIDE])
    e = _slot(tables, 0, memory, base, rows)
    e[:, slots[0, WIDTH] :] = 0
    e[count:] = 0
    depth = slots.shape[0] - 2
    for number in range(depth + 1 if color else depth):
        _layer(tables, number, packed, memory, base, u, rays, rows, relu, beta)
    start = heads[0, DENSITY]
    weights, bias = packed[start : start + slots[depth, PADDED]], packed[heads[0, DENSITY_BIAS]]
    _density_head(_slot(tables, depth, memory, base, rows), weights, bias, raw)
    densities(raw, sigma, beta, density_exp)
    if color:
        weights = matrix(packed, heads[0, COLOR], 3, slots[depth + 1, PADDED])
        _color_head(_slot(tables, depth + 1, memory, base, rows), weights, packed[heads[0, COLOR_BIAS] :], rgb)
        colors(rgb)


@rowwise
def _density_head_backward(tables, memory, base, count, rows, g, sums):
    """The sums of the density head's gradients. g: (count, 4), last those of raw."""
    heads, depth = tables.heads, tables.slots.shape[0] - 2
    h, width = _slot(tables, depth, memory, base, rows), tables.slots[depth, PADDED]
    of_density = sums[heads[1, DENSITY] : heads[1, DENSITY] + width]
    for s in range(count):
        sums[heads[1, DENSITY_BIAS]] += g[s, 3]
        for j in range(width):
            of_density[j] += g[s, 3] * h[s, j]


@rowwise
def _color_head_backward(tables, packed, memory, base, count, rows, g, sums, deltas):
    """deltas = g_logits W_o, and the sums of the color head's gradients. g: (count, 4), first those of logits."""
    heads, last = tables.heads, tables.slots.shape[0] - 1
    z, columns = _slot(tables, last, memory, base, rows), tables.slots[last, PADDED]
    weights = matrix(packed, heads[0, COLOR], 3, columns)
    of_color = matrix(sums, heads[1, COLOR], 3, columns)
    of_color_bias = sums[heads[1, COLOR_BIAS] : heads[1, COLOR_BIAS] + 3]
    for s in range(count):
        g0, g1, g2 = g[s, 0], g[s, 1], g[s, 2]
        of_color_bias[0] += g0
        of_color_bias[1] += g1
        of_color_bias[2] += g2
        for j in range(columns):
            deltas[s, j] = g0 * weights[0, j] + g1 * weights[1, j] + g2 * weights[2, j]
        for j in range(columns):
            v = z[s, j]
            of_color[0, j] += g0 * v
            of_color[1, j] += g1 * v
            of_color[2, j] += g2 * v
    deltas[count:, :columns] = 0


@rowwise
def _sum_rays(deltas, rays, count, du):
    """du[ray] += deltas of its samples."""
    for s in range(count):
        row = du[rays[s]]
        for j in range(row.shape[0]):
            row[j] += deltas[s, j]


@rowwise
def _density_deltas(tables, packed, count, g, d):
    """d = g_raw w_d: what the last hidden layer's output gets from the density."""
    start, columns = tables.heads[0, DENSITY], tables.slots[tables.slots.shape[0] - 2, PADDED]
    row = packed[start : start + columns]
    for s in range(count):
        for j in range(columns):
            d[s, j] = g[s, 3] * row[j]
    d[count:] = 0


@rowwise
def _layer_backward(
    tables, number, packed, memory, base, count, rows, relu, beta, to_weights, g, sums, deltas, here, there, by_e
):  # fmt: skip
    """Gradients of layer ``number``'s matrices from deltas[here:]; the deltas of the layer before it to [there:].

    What the embedding gets is added to the rows of ``by_e``, if it has any.
    """
    slots, products, last = tables.slots, tables.products, tables.slots.shape[0] - 2
    stride, outputs = slots[number + 1, STRIDE], slots[number + 1, WIDTH]
    padded_outputs = slots[number + 1, PADDED]
    for p in range(tables.layers[number, FIRST], tables.layers[number, END]):
        source = products[p, SOURCE]
        start, source_stride, columns = base + slots[source, OFFSET], slots[source, STRIDE], slots[source, PADDED]
        if to_weights:
            for column in range(0, columns, COLUMNS):
                multiply(
                    deltas, here, 1, stride, memory, start + column, source_stride,
                    sums, products[p, GRADIENT] + column, columns, padded_outputs, count,
                )  # fmt: skip
        if source == 0 and by_e.shape[0] == 0:
            continue
        d = matrix(deltas, there, rows, source_stride)
        if number == last:
            _density_deltas(tables, packed, count, g, d)
        elif source > 0:
            d[:] = 0
        target, first = (by_e, 0) if source == 0 else (deltas, there)
        for column in range(0, columns, COLUMNS):
            multiply(
                deltas, here, stride, 1, packed, products[p, BACKWARD] + column * outputs, COLUMNS,
                target, first + column, source_stride, rows, outputs,
            )  # fmt: skip
        if source == 0:
            continue
        of_bias = tables.layers[source - 1, BIAS_SUM]
        h = _slot(tables, source, memory, base, rows)
        _slope_and_sum(d, h, columns, count, relu, beta, sums[of_bias : of_bias + columns])


@rowwise
def backward_block(
    tables, waves, packed, memory, base, count, rays, relu, beta, density_exp, color, to_weights,
    raw, sigma, rgb, g_sigma, g_rgb, g, sums, deltas, by_e, du, dx,
):  # fmt: skip
    """Add the gradients of ``count`` samples to ``sums`` and those by u to ``du``; those by x are written to ``dx``.

    g: (BLOCK or more, 4), deltas: room for two layers' derivatives, by_e: for the embedding's, or empty: then not by x.
    """
    by_heads(raw, sigma, rgb, g_sigma, g_rgb, beta, density_exp, color, g)
    rows = (count + ROWS - 1) // ROWS * ROWS
    last = tables.slots.shape[0] - 2
    top = last if color else last - 1  # the last layer that there is
    d = matrix(deltas, 0, rows, tables.slots[top + 1, STRIDE])
    _density_head_backward(tables, memory, base, count, rows, g, sums)
    if color:
        _color_head_backward(tables, packed, memory, base, count, rows, g, sums, d)
    else:
        _density_deltas(tables, packed, count, g, d)
    columns, of_bias = tables.slots[top + 1, PADDED], tables.layers[top, BIAS_SUM]
    z = _slot(tables, top + 1, memory, base, rows)
    _slope_and_sum(d, z, columns, count, relu, beta, sums[of_bias : of_bias + columns])
    if color:
        _sum_rays(d, rays, count, du)
    half = deltas.shape[0] // 2
    by_e[:] = 0
    for number in range(top, -1, -1):
        here = (top - number) % 2 * half
        _layer_backward(
            tables, number, packed, memory, base, count, rows, relu, beta, to_weights, g, sums,
            deltas, here, half - here, by_e,
        )  # fmt: skip
    if by_e.shape[0] > 0:
        stride = tables.slots[0, STRIDE]
        embed_rows_backward(_slot(tables, 0, memory, base, rows), matrix(by_e, 0, rows, stride), waves, dx)
