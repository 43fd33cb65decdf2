"""One block of samples through a field of ReLUs, and back, with bfloat16 operands and float32 sums.

As ``blocks``, but the block's memory holds words (``kernels.halves``): a row a sample, numbers in neighbors. ReLU, its
slope, the biases' gradients and the rounding are part of the tiles, so that no float32 row of a layer is ever written.
A layer's derivatives lie in ``back`` twice: in neighbors for dz W, stacked for dz^T h.
"""

import numpy as np

from ..elementary import rowwise
from ..half_tiles import deltas, dots, layer, product_of
from ..halves import add_unpacked, pack, stack
from ..products import COLUMNS, ROWS
from .blocks import matrix
from .embedding import embed_rows, embed_rows_backward
from .heads import by_heads, colors, densities
from .layout import (
    BACKWARD,
    BIAS,
    BIAS_SUM,
    BLOCK,
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

ZERO, HEADS = np.float32(0), 4  # the heads' derivatives: [logits, raw]

_product, _color_gradient, _density_gradient = product_of(ROWS), product_of(3), product_of(1)


@rowwise
def _add_product(x, x0, x_row, halves, panel, depth, y, stride, rows, columns):
    """Rows of y, ``stride`` floats apart, += x W; depth in words."""
    for column in range(0, columns, COLUMNS):
        for s in range(0, rows, ROWS):
            _product(
                x, x0 + s * x_row, x_row, 1, halves, panel + column * depth, COLUMNS, depth,
                y, s * stride + column, stride,
            )  # fmt: skip


@rowwise
def _layer(tables, number, packed, halves, memory, base, u, rays, rows, scratch):
    """Slot number + 1 from those before it; a layer without biases has a row of ``u`` for each ray instead."""
    slots, products = tables.slots, tables.products
    start, stride, columns = base + slots[number + 1, OFFSET], slots[number + 1, STRIDE], slots[number + 1, PADDED]
    bias, last = tables.layers[number, BIAS], tables.layers[number, END] - 1
    source = products[last, SOURCE]
    x0, x_row, depth = base + slots[source, OFFSET], slots[source, STRIDE], (slots[source, WIDTH] + 1) // 2
    several = last > tables.layers[number, FIRST]
    samples = np.arange(BLOCK if several else 0)
    if several:  # the sums of all products but the last one are what that begins with
        y = matrix(scratch, 0, rows, columns)
        for s in range(rows):
            y[s] = packed[bias : bias + columns] if bias >= 0 else u[rays[s], :columns]
        for p in range(tables.layers[number, FIRST], last):
            of = products[p, SOURCE]
            _add_product(
                memory, base + slots[of, OFFSET], slots[of, STRIDE], halves, products[p, FORWARD],
                (slots[of, WIDTH] + 1) // 2, scratch, columns, rows, columns,
            )  # fmt: skip
    for column in range(0, columns, COLUMNS):
        panel = products[last, FORWARD] + column * depth
        for s in range(0, rows, ROWS):
            x_at, y_at = x0 + s * x_row, start + s * stride + column // 2
            if several:
                layer(
                    memory, x_at, x_row, halves, panel, depth, scratch, column, columns, samples, s,
                    memory, y_at, stride,
                )  # fmt: skip
            elif bias >= 0:
                layer(
                    memory, x_at, x_row, halves, panel, depth, packed, bias + column, 0, rays, s,
                    memory, y_at, stride,
                )  # fmt: skip
            else:
                layer(
                    memory, x_at, x_row, halves, panel, depth, u, column, columns, rays, s, memory, y_at, stride
                )  # fmt: skip


@rowwise
def _head(tables, slot, halves, weights, memory, base, rows, found):
    """found[s] = the products of a slot's rows and a head's row of weights."""
    slots, x_row = tables.slots, tables.slots[slot, STRIDE]
    for s in range(0, rows, ROWS):
        dots(memory, base + slots[slot, OFFSET] + s * x_row, x_row, halves, weights, slots[slot, PADDED] // 2, found, s)


@rowwise
def half_forward_block(
    halves, tables, waves, packed, x, u, rays, floats, base, scratch, relu, beta, density_exp, color, raw, sigma, rgb
):  # fmt: skip
    """As ``forward_block``: the words lie in ``floats``; relu and beta have no say."""
    slots, heads, count, memory = tables.slots, tables.heads, x.shape[0], floats.view(np.int32)
    rows, depth, columns = (count + ROWS - 1) // ROWS * ROWS, slots.shape[0] - 2, slots[0, PADDED]
    embed_rows(x, waves, scratch, columns)
    e = matrix(scratch, 0, rows, columns)
    e[:, slots[0, WIDTH] :] = 0
    e[count:] = 0
    for s in range(rows):
        for column in range(0, columns, COLUMNS):
            pack(scratch, s * columns + column, memory, base + slots[0, OFFSET] + s * slots[0, STRIDE] + column // 2)
    for number in range(depth + 1 if color else depth):
        _layer(tables, number, packed, halves, memory, base, u, rays, rows, scratch)
    _head(tables, depth, halves, heads[2, DENSITY], memory, base, rows, scratch)
    for s in range(count):
        raw[s] = scratch[s] + packed[heads[0, DENSITY_BIAS]]
    densities(raw, sigma, beta, density_exp)
    if color:
        for c in range(3):
            weights = heads[2, COLOR] + c * slots[depth + 1, PADDED] // 2
            _head(tables, depth + 1, halves, weights, memory, base, rows, scratch)
            for s in range(count):
                rgb[s, c] = scratch[s] + packed[heads[0, COLOR_BIAS] + c]
        colors(rgb)


@rowwise
def _stacked(tables, slot, memory, base, count, back, to):
    """A slot's rows, stacked, to back[to:]; returns how many words a pair of samples has."""
    slots, row, columns = tables.slots, tables.slots[slot, STRIDE], tables.slots[slot, PADDED]
    for s in range(0, count, 2):
        for column in range(0, columns, COLUMNS):
            stack(memory, base + slots[slot, OFFSET] + s * row + column // 2, row, back, to + s // 2 * columns + column)
    return columns


@rowwise
def _head_gradients(tables, memory, base, count, color, g, back, stacked, h, sums):
    """The sums of the heads' gradients; g: their derivatives, ``back[stacked:]`` the same, stacked; h: room there."""
    heads, depth = tables.heads, tables.slots.shape[0] - 2
    for s in range(count):
        sums[heads[1, DENSITY_BIAS]] += g[s, 3]
    columns = _stacked(tables, depth, memory, base, count, back, h)
    for column in range(0, columns, COLUMNS):
        _density_gradient(
            back, stacked + 3, 1, HEADS, back, h + column, columns, (count + 1) // 2,
            sums, heads[1, DENSITY] + column, columns,
        )  # fmt: skip
    if not color:
        return
    for s in range(count):
        for c in range(3):
            sums[heads[1, COLOR_BIAS] + c] += g[s, c]
    columns = _stacked(tables, depth + 1, memory, base, count, back, h)
    for column in range(0, columns, COLUMNS):
        _color_gradient(
            back, stacked, 1, HEADS, back, h + column, columns, (count + 1) // 2,
            sums, heads[1, COLOR] + column, columns,
        )  # fmt: skip


@rowwise
def _sum_rays(back, row, columns, rays, count, du):
    """du[ray] += the neighbors of its samples."""
    for s in range(count):
        for column in range(0, columns, COLUMNS):
            add_unpacked(back, s * row + column // 2, du, rays[s] * columns + column)


@rowwise
def _deltas(
    tables, slot, halves, panel, depth, x0, x_row, packed, g, g0, g_row, memory, base, rows, sums, back, there, row
):  # fmt: skip
    """The derivatives by the sums of a slot, to back[there:] and, stacked, behind them; see ``half_tiles.deltas``."""
    slots, of_bias, weights = tables.slots, tables.layers[slot - 1, BIAS_SUM], tables.heads[0, DENSITY]
    h0, h_row, stacked = base + slots[slot, OFFSET], slots[slot, STRIDE], 2 * BLOCK * row
    for column in range(0, slots[slot, PADDED], COLUMNS):
        for s in range(0, rows, ROWS):
            deltas(
                back, x0 + s * x_row, x_row, halves, panel + column * depth, depth,
                g, g0 + s * g_row, g_row, packed, weights + column * min(g_row, 1),
                memory, h0 + s * h_row + column // 2, h_row, sums, of_bias + column,
                back, there + s * row + column // 2, row, back, stacked + s * row + column, 2 * row,
            )  # fmt: skip


@rowwise
def _layer_backward(
    tables, number, packed, halves, memory, base, count, rows, to_weights, g, sums, back, here, there, row, by_e
):  # fmt: skip
    """Gradients of layer ``number``'s matrices from back[here:]; the deltas of the layer before it to [there:].

    What the embedding gets is added to the rows of ``by_e``, if it has any.
    """
    slots, products, layers, last = tables.slots, tables.products, tables.layers, tables.slots.shape[0] - 2
    depth, padded_outputs = (slots[number + 1, WIDTH] + 1) // 2, slots[number + 1, PADDED]
    stacked, h = 2 * BLOCK * row, 3 * BLOCK * row
    first, end = layers[number, FIRST], layers[number, END]
    for p in range(first, end if to_weights else first):
        columns = _stacked(tables, products[p, SOURCE], memory, base, count, back, h)
        for i in range(0, padded_outputs, ROWS):
            for column in range(0, columns, COLUMNS):
                _product(
                    back, stacked + i, 1, 2 * row, back, h + column, columns, (count + 1) // 2,
                    sums, products[p, GRADIENT] + i * columns + column, columns,
                )  # fmt: skip
    for p in range(first, end):
        source, panel = products[p, SOURCE], products[p, BACKWARD]
        columns = slots[source, PADDED]
        if source > 0:
            g0, g_row = (3, HEADS) if number == last else (BLOCK * HEADS, 0)
            _deltas(
                tables, source, halves, panel, depth, here, row, packed, g, g0, g_row,
                memory, base, rows, sums, back, there, row,
            )  # fmt: skip
        elif by_e.shape[0] > 0:
            _add_product(back, here, row, halves, panel, depth, by_e, columns, rows, columns)


@rowwise
def _pack_heads(g, back, neighbors, stacked):
    """The heads' derivatives (BLOCK, HEADS) as words of both kinds."""
    other = np.empty((BLOCK // 2, HEADS, 2), np.float32)
    for s in range(BLOCK):
        for c in range(HEADS):
            other[s // 2, c, s % 2] = g[s, c]
    for at in range(0, BLOCK * HEADS, COLUMNS):
        pack(g, at, back, neighbors + at // 2)
        pack(other, at, back, stacked + at // 2)


@rowwise
def half_backward_block(
    halves, tables, waves, packed, floats, base, count, rays, relu, beta, density_exp, color, to_weights,
    raw, sigma, rgb, g_sigma, g_rgb, g, sums, deltas, by_e, du, dx,
):  # fmt: skip
    """As ``backward_block``: words lie in ``floats`` and in ``deltas``; relu and beta have no say.

    deltas: room for two layers' derivatives, for one's and a slot, stacked, and for twice the heads'; g: its last row
    is 0.
    """
    slots, heads, memory, back = tables.slots, tables.heads, floats.view(np.int32), deltas.view(np.int32)
    rows, last, columns = (count + ROWS - 1) // ROWS * ROWS, slots.shape[0] - 2, slots[0, PADDED]
    row = (back.shape[0] // BLOCK - HEADS) // 4
    neighbors = 4 * BLOCK * row
    stacked = neighbors + BLOCK * HEADS // 2
    g[:] = ZERO
    by_heads(raw, sigma, rgb, g_sigma, g_rgb, beta, density_exp, color, g)
    _pack_heads(g, back, neighbors, stacked)
    _head_gradients(tables, memory, base, count, color, g, back, stacked, 3 * BLOCK * row, sums)
    top = last if color else last - 1  # the last layer that there is
    _deltas(
        tables, top + 1, halves, heads[2, COLOR_BIAS if color else DENSITY_BIAS], HEADS // 2, neighbors, HEADS // 2,
        packed, g, BLOCK * HEADS, 0, memory, base, rows, sums, back, 0, row,
    )  # fmt: skip
    if color:
        _sum_rays(back, row, slots[last + 1, PADDED], rays, count, du)
    by_e[:] = 0
    for number in range(top, -1, -1):
        here = (top - number) % 2 * BLOCK * row
        _layer_backward(
            tables, number, packed, halves, memory, base, count, rows, to_weights, g, sums, back, here,
            BLOCK * row - here, row, by_e,
        )  # fmt: skip
    if by_e.shape[0] > 0:
        e = np.zeros(rows * columns, np.float32)
        for s in range(rows):
            for column in range(0, columns, COLUMNS):
                add_unpacked(
                    memory, base + slots[0, OFFSET] + s * slots[0, STRIDE] + column // 2, e, s * columns + column
                )  # fmt: skip
        embed_rows_backward(matrix(e, 0, rows, columns), matrix(by_e, 0, rows, columns), waves, dx)
