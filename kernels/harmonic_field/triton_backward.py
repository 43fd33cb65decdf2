"""Gradients of the harmonic field in Triton: through the layers to the samples, then over the samples to the weights.

No atomics. Layers' gradients go to memory, a chunk of samples at a time; each weight's gradient is a product over the
samples, cut into parts whose sums are added in a fixed order, so that two runs agree in every bit.

What ``do_not_specialize`` names changes from call to call: it must not make kernels of its own.
"""

import triton
import triton.language as tl

from .triton_embedding import embed
from .triton_operands import operand

MOST = tl.constexpr(65504.0)  # float16's largest


@triton.jit
def _slope(h, SOFTPLUS: tl.constexpr, BETA: tl.constexpr):
    """The activation's derivative from its output: softplus' is 1 - exp(-beta h)."""
    return 1.0 - tl.exp(-BETA * h) if SOFTPLUS else tl.where(h > 0, 1.0, 0.0)


@triton.jit
def _narrow(x, ptr, PRECISION: tl.constexpr):
    """An operand of the element type of ``ptr``; float16 saturates instead of becoming infinite, NaN stays."""
    if ptr.dtype.element_ty == tl.float16:
        x = tl.where(x > MOST, MOST, tl.where(x < -MOST, -MOST, x))
    return operand(x, ptr, PRECISION)


@triton.jit
def _two_layers_down(
    dz_full, matrices_ptr, layers_ptr, layers_rows, stored, d_layers_ptr, rows, row, inside,
    LAYER: tl.constexpr, W: tl.constexpr, E: tl.constexpr, SOFTPLUS: tl.constexpr, BETA: tl.constexpr,
    PRECISION: tl.constexpr, M: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """From dL/dz of LAYER that of the layer below, by blocks, and from those that of the next, returned in full."""
    k = tl.arange(0, W)
    matrix_ptr = matrices_ptr + W * E + (LAYER - 2) * W * W
    full = tl.zeros((M, W), tl.float32)
    for block in range(W // BN):
        n = block * BN + tl.arange(0, BN)
        y = tl.dot(dz_full, tl.load(matrix_ptr + k[:, None] * W + n[None, :]), input_precision=PRECISION)
        h = tl.load(
            layers_ptr + ((LAYER - 2) * layers_rows + stored)[:, None] * W + n[None, :], inside[:, None], other=0.0
        )
        dz = _narrow(y * _slope(h.to(tl.float32), SOFTPLUS, BETA), d_layers_ptr, PRECISION)
        tl.store(d_layers_ptr + ((LAYER - 2) * rows + row)[:, None] * W + n[None, :], dz, inside[:, None])
        if LAYER >= 3:
            w = tl.load(matrix_ptr - W * W + n[:, None] * W + k[None, :])
            full = tl.dot(dz, w, full, input_precision=PRECISION)
    if LAYER >= 3:
        below = ((LAYER - 3) * layers_rows + stored)[:, None] * W + k[None, :]
        h_full = tl.load(layers_ptr + below, inside[:, None], other=0.0)
        dz_full = _narrow(full * _slope(h_full.to(tl.float32), SOFTPLUS, BETA), d_layers_ptr, PRECISION)
        tl.store(d_layers_ptr + ((LAYER - 3) * rows + row)[:, None] * W + k[None, :], dz_full, inside[:, None])
    return dz_full


@triton.jit(do_not_specialize=["layers_rows", "layers_first", "rows", "first", "count"])
def backward_kernel(
    d_density_ptr, d_color_ptr, density_ptr, color_ptr, scale_ptr, matrices_ptr, small_ptr,
    layers_ptr, layers_rows, layers_first, d_layers_ptr, d_heads_ptr, rows, first, count,
    W: tl.constexpr, D: tl.constexpr, E: tl.constexpr, SOFTPLUS: tl.constexpr, BETA: tl.constexpr,
    EXP_DENSITY: tl.constexpr, HEADS: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """dL/dz of every layer and of the four outputs, for samples ``first`` to ``first + count``.

    ``layers`` (D + 1, layers_rows, W) are the outputs of the layers from sample ``layers_first`` on; ``d_layers``
    (D + 1, rows, W) and ``d_heads`` (rows, HEADS) begin at sample ``first``. All gradients are times ``scale``.
    """
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    inside = row < count
    sample = first + row
    stored = sample - layers_first
    k = tl.arange(0, W)
    scale = tl.load(scale_ptr)
    density = tl.load(density_ptr + sample, inside, other=0.0)
    # exp(15) = 3269017, which raw is held below.
    slope = tl.where(density < 3269000.0, density, 0.0) if EXP_DENSITY else _slope(density, True, BETA)
    d_raw = scale * tl.load(d_density_ptr + sample, inside, other=0.0) * slope
    red = tl.load(color_ptr + sample * 3, inside, other=0.0)
    green = tl.load(color_ptr + sample * 3 + 1, inside, other=0.0)
    blue = tl.load(color_ptr + sample * 3 + 2, inside, other=0.0)
    d_red = scale * tl.load(d_color_ptr + sample * 3, inside, other=0.0) * (red * (1.0 - red))
    d_green = scale * tl.load(d_color_ptr + sample * 3 + 1, inside, other=0.0) * (green * (1.0 - green))
    d_blue = scale * tl.load(d_color_ptr + sample * 3 + 2, inside, other=0.0) * (blue * (1.0 - blue))

    j = tl.arange(0, HEADS)
    heads = tl.where(j[None, :] == 0, d_raw[:, None], 0.0)
    heads = tl.where(j[None, :] == 1, d_red[:, None], heads)
    heads = tl.where(j[None, :] == 2, d_green[:, None], heads)
    heads = tl.where(j[None, :] == 3, d_blue[:, None], heads)
    tl.store(d_heads_ptr + row[:, None] * HEADS + j[None, :], _narrow(heads, d_heads_ptr, PRECISION), inside[:, None])

    # The feature layer, by blocks; from it the last hidden layer, in full. Not pipelined, as in ``_add_embedding``.
    w_d_ptr = small_ptr + D * W
    w_o_ptr = w_d_ptr + W
    feature_ptr = matrices_ptr + W * E + (D - 1) * W * W
    full = tl.zeros((M, W), tl.float32)
    for block in tl.range(W // BN, num_stages=1):
        n = block * BN + tl.arange(0, BN)
        z = tl.load(layers_ptr + (D * layers_rows + stored)[:, None] * W + n[None, :], inside[:, None], other=0.0)
        y = d_red[:, None] * tl.load(w_o_ptr + n)[None, :]
        y += d_green[:, None] * tl.load(w_o_ptr + W + n)[None, :]
        y += d_blue[:, None] * tl.load(w_o_ptr + 2 * W + n)[None, :]
        dz = _narrow(y * _slope(z.to(tl.float32), SOFTPLUS, BETA), d_layers_ptr, PRECISION)
        tl.store(d_layers_ptr + (D * rows + row)[:, None] * W + n[None, :], dz, inside[:, None])
        full = tl.dot(dz, tl.load(feature_ptr + n[:, None] * W + k[None, :]), full, input_precision=PRECISION)
    full += d_raw[:, None] * tl.load(w_d_ptr + k)[None, :]
    h = tl.load(layers_ptr + ((D - 1) * layers_rows + stored)[:, None] * W + k[None, :], inside[:, None], other=0.0)
    dz_full = _narrow(full * _slope(h.to(tl.float32), SOFTPLUS, BETA), d_layers_ptr, PRECISION)
    tl.store(d_layers_ptr + ((D - 1) * rows + row)[:, None] * W + k[None, :], dz_full, inside[:, None])

    for step in tl.static_range(0, D - 1, 2):
        dz_full = _two_layers_down(
            dz_full, matrices_ptr, layers_ptr, layers_rows, stored, d_layers_ptr, rows, row, inside,
            D - step, W, E, SOFTPLUS, BETA, PRECISION, M, BN,
        )  # fmt: skip


@triton.jit(do_not_specialize=["rows", "layers_rows", "layers_first", "first", "count"])
def squares_kernel(
    d_layers_ptr, rows, layers_ptr, layers_rows, layers_first, partial_ptr, gradients, biases, first, count, share,
    W: tl.constexpr, D: tl.constexpr, E: tl.constexpr, PRECISION: tl.constexpr, B: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """sum of dz_s h_s^T for the (w, w) matrices of layers 2 to D + 1, a (B, B) tile of one over ``share`` samples."""
    tiles: tl.constexpr = W // B
    m = (tl.program_id(0) // tiles) * B + tl.arange(0, B)
    n = (tl.program_id(0) % tiles) * B + tl.arange(0, B)
    layer = tl.program_id(1)  # its gradient's index: that of layer + 1, counted from 1
    part = tl.program_id(2).to(tl.int64)
    total, bias = tl.zeros((B, B), tl.float32), tl.zeros((B,), tl.float32)
    a_ptr = d_layers_ptr + (layer + 1).to(tl.int64) * rows * W
    b_ptr = layers_ptr + (layer.to(tl.int64) * layers_rows + first - layers_first) * W
    for start in range(part * share, tl.minimum((part + 1) * share, count), BS):
        row = start + tl.arange(0, BS)
        inside = (row < count)[:, None]
        dz = tl.load(a_ptr + row[:, None] * W + m[None, :], inside, other=0.0)
        h = tl.load(b_ptr + row[:, None] * W + n[None, :], inside, other=0.0)
        total = tl.dot(tl.trans(dz), h, total, input_precision=PRECISION)
        bias += tl.sum(dz.to(tl.float32), 0)
    out_ptr = partial_ptr + part * gradients
    tl.store(out_ptr + W * E + layer * W * W + m[:, None] * W + n[None, :], total)
    if (layer < D - 1) & (tl.program_id(0) % tiles == 0):
        tl.store(out_ptr + biases + (layer + 1) * W + m, bias)


@triton.jit(do_not_specialize=["first", "count"], do_not_specialize_on_alignment=["x_ptr"])
def embedded_kernel(
    d_layer_ptr, x_ptr, table_ptr, inverse_turn_ptr, partial_ptr, gradients, place, biases, first, count, share,
    W: tl.constexpr, OMEGA: tl.constexpr, OCTAVES: tl.constexpr, EXACT: tl.constexpr, CHUNKS: tl.constexpr,
    CHUNK: tl.constexpr, BIAS: tl.constexpr, PRECISION: tl.constexpr, B: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """sum of dz_s e(x_s)^T for a matrix that the embedding is multiplied with, (B, CHUNK) over ``share`` samples."""
    c = tl.program_id(0) % CHUNKS
    m = (tl.program_id(0) // CHUNKS) * B + tl.arange(0, B)
    part = tl.program_id(1).to(tl.int64)
    total, bias = tl.zeros((B, CHUNK), tl.float32), tl.zeros((B,), tl.float32)
    for start in range(part * share, tl.minimum((part + 1) * share, count), BS):
        row = start + tl.arange(0, BS)
        inside = row < count
        x0 = tl.load(x_ptr + (first + row) * 3, inside, other=0.0)
        x1 = tl.load(x_ptr + (first + row) * 3 + 1, inside, other=0.0)
        x2 = tl.load(x_ptr + (first + row) * 3 + 2, inside, other=0.0)
        e = embed(x0, x1, x2, c, 0, table_ptr, inverse_turn_ptr, OMEGA, OCTAVES, EXACT, CHUNKS, CHUNK, False)
        dz = tl.load(d_layer_ptr + row[:, None] * W + m[None, :], inside[:, None], other=0.0)
        total = tl.dot(tl.trans(dz), operand(e, d_layer_ptr, PRECISION), total, input_precision=PRECISION)
        bias += tl.sum(dz.to(tl.float32), 0)
    out_ptr = partial_ptr + part * gradients
    column = c * CHUNK + tl.arange(0, CHUNK)
    tl.store(out_ptr + place + m[:, None] * (CHUNKS * CHUNK) + column[None, :], total)
    if BIAS and c == 0:
        tl.store(out_ptr + biases + m, bias)


@triton.jit(do_not_specialize=["layers_rows", "layers_first", "first", "count"])
def heads_kernel(
    d_heads_ptr, layers_ptr, layers_rows, layers_first, partial_ptr, gradients, place, first, count, share,
    W: tl.constexpr, D: tl.constexpr, HEADS: tl.constexpr, PRECISION: tl.constexpr, B: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """sum of the outputs' gradients times the last hidden layer (axis 1: 0) and times the color layer (1)."""
    n = tl.program_id(0) * B + tl.arange(0, B)
    which = tl.program_id(1)
    part = tl.program_id(2).to(tl.int64)
    j = tl.arange(0, HEADS)
    total, bias = tl.zeros((HEADS, B), tl.float32), tl.zeros((HEADS,), tl.float32)
    h_ptr = layers_ptr + ((D - 1 + which).to(tl.int64) * layers_rows + first - layers_first) * W
    for start in range(part * share, tl.minimum((part + 1) * share, count), BS):
        row = start + tl.arange(0, BS)
        inside = (row < count)[:, None]
        g = tl.load(d_heads_ptr + row[:, None] * HEADS + j[None, :], inside, other=0.0)
        h = tl.load(h_ptr + row[:, None] * W + n[None, :], inside, other=0.0)
        total = tl.dot(tl.trans(g), h, total, input_precision=PRECISION)
        bias += tl.sum(g.to(tl.float32), 0)
    out_ptr = partial_ptr + part * gradients + place
    tl.store(out_ptr + (which * HEADS + j)[:, None] * W + n[None, :], total)
    if (which == 0) & (tl.program_id(0) == 0):
        tl.store(out_ptr + 2 * HEADS * W + j, bias)


@triton.jit(do_not_specialize=["first", "count"], do_not_specialize_on_alignment=["offsets_ptr"])
def ray_sums_kernel(d_layer_ptr, offsets_ptr, d_u_ptr, first, count, W: tl.constexpr, BS: tl.constexpr):
    """d_u[ray] += the sum of dz over the ray's samples among ``first`` to ``first + count``."""
    ray = tl.program_id(0).to(tl.int64)
    begin = tl.maximum(tl.load(offsets_ptr + ray) - first, 0)
    end = tl.minimum(tl.load(offsets_ptr + ray + 1) - first, count)
    if begin < end:
        k = tl.arange(0, W)
        total = tl.load(d_u_ptr + ray * W + k)
        for start in range(begin, end, BS):
            row = start + tl.arange(0, BS)
            dz = tl.load(d_layer_ptr + row[:, None] * W + k[None, :], (row < end)[:, None], other=0.0)
            total += tl.sum(dz.to(tl.float32), 0)
        tl.store(d_u_ptr + ray * W + k, total)


@triton.jit(do_not_specialize=["rows", "first", "count"], do_not_specialize_on_alignment=["x_ptr"])
def positions_kernel(
    d_layers_ptr, rows, x_ptr, matrices_ptr, table_ptr, inverse_turn_ptr, d_x_ptr, first, count,
    W: tl.constexpr, D: tl.constexpr, SKIP: tl.constexpr, OMEGA: tl.constexpr, OCTAVES: tl.constexpr,
    EXACT: tl.constexpr, CHUNKS: tl.constexpr, CHUNK: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """dL/dx: the gradient of the embedding times its derivative, for samples ``first`` to ``first + count``."""
    E: tl.constexpr = CHUNKS * CHUNK
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    inside = row < count
    sample = first + row
    x0 = tl.load(x_ptr + sample * 3, inside, other=0.0)
    x1 = tl.load(x_ptr + sample * 3 + 1, inside, other=0.0)
    x2 = tl.load(x_ptr + sample * 3 + 2, inside, other=0.0)
    d0, d1, d2 = tl.zeros((M,), tl.float32), tl.zeros((M,), tl.float32), tl.zeros((M,), tl.float32)
    for c in range(CHUNKS):
        column = c * CHUNK + tl.arange(0, CHUNK)
        d_e = tl.zeros((M, CHUNK), tl.float32)
        for block in range(W // BN):
            k = block * BN + tl.arange(0, BN)
            dz = tl.load(d_layers_ptr + row[:, None] * W + k[None, :], inside[:, None], other=0.0)
            w = tl.load(matrices_ptr + k[:, None] * E + column[None, :])
            d_e = tl.dot(dz, w, d_e, input_precision=PRECISION)
            if SKIP > 0:
                skipped = ((SKIP - 1) * rows + row)[:, None] * W + k[None, :]
                dz = tl.load(d_layers_ptr + skipped, inside[:, None], other=0.0)
                w = tl.load(matrices_ptr + W * E + D * W * W + k[:, None] * E + column[None, :])
                d_e = tl.dot(dz, w, d_e, input_precision=PRECISION)
        d_phase = d_e * embed(x0, x1, x2, c, 0, table_ptr, inverse_turn_ptr, OMEGA, OCTAVES, EXACT, CHUNKS, CHUNK, True)
        d_phase *= tl.where(tl.load(table_ptr + 4 * E + column) != 0, 1.0, 6.283185307179586)[None, :]
        d0 += tl.sum(d_phase * tl.load(table_ptr + column)[None, :], 1)
        d1 += tl.sum(d_phase * tl.load(table_ptr + E + column)[None, :], 1)
        d2 += tl.sum(d_phase * tl.load(table_ptr + 2 * E + column)[None, :], 1)
    tl.store(d_x_ptr + sample * 3, d0, inside)
    tl.store(d_x_ptr + sample * 3 + 1, d1, inside)
    tl.store(d_x_ptr + sample * 3 + 2, d2, inside)
