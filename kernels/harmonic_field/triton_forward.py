"""Positions to densities, colors and pixels: embedding, layers, heads and compositing in one Triton kernel.

A program owns M samples at a time. Its features never leave the chip: layers go in pairs, as queries, keys and values
do in FlashAttention (Dao et al. 2022). The first of a pair comes out BN columns at a time, and each block at once
multiplies its rows of the second's matrix into a full accumulator, so that no register tile is ever cut.

Operands of products are of the matrices' type; sums, phases, activations and compositing are float32. ReLU and clamps
are comparisons written so that a NaN stays one.
"""

import triton
import triton.language as tl

from ..composite.triton import interval, one_minus_exp_of_minus
from .triton_embedding import embed
from .triton_operands import operand
from .turns import LOG

L0, L1, L2, L3, L4, L5, L6, L7, L8 = (tl.constexpr(float(c)) for c in LOG)


@triton.jit
def softplus(z, BETA: tl.constexpr):
    """log(1 + exp(beta z)) / beta without overflow."""
    y = tl.exp(-BETA * tl.abs(z))
    tail = y * (L0 + y * (L1 + y * (L2 + y * (L3 + y * (L4 + y * (L5 + y * (L6 + y * (L7 + y * L8))))))))
    return tl.where(z < 0, 0.0, z) + tail * (1.0 / BETA)


@triton.jit
def activate(z, SOFTPLUS: tl.constexpr, BETA: tl.constexpr):
    return softplus(z, BETA) if SOFTPLUS else tl.where(z <= 0, 0.0, z)


@triton.jit
def _add_embedding(
    y, x0, x1, x2, zero, matrix_ptr, n, table_ptr, inverse_turn_ptr,
    OMEGA: tl.constexpr, OCTAVES: tl.constexpr, EXACT: tl.constexpr, CHUNKS: tl.constexpr, CHUNK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """y + e(x) W^T for the rows ``n`` of W (w, CHUNKS * CHUNK).

    Not pipelined: on Hopper the products of an earlier chunk would still be reading their operand's registers while
    this one's are written (triton-lang/triton issue 9433; the ptxas of Triton 3.6 and 3.7 does so).
    """
    k = tl.arange(0, CHUNK) + zero
    for c in tl.range(CHUNKS, num_stages=1):
        e = embed(x0, x1, x2, c, zero, table_ptr, inverse_turn_ptr, OMEGA, OCTAVES, EXACT, CHUNKS, CHUNK, False)
        w = tl.load(matrix_ptr + n[None, :] * (CHUNKS * CHUNK) + c * CHUNK + k[:, None])
        y = tl.dot(operand(e, matrix_ptr, PRECISION), w, y, input_precision=PRECISION)
    return y


@triton.jit
def _field(
    x_ptr, sample, ray, inside, zero, u_ptr, matrices_ptr, small_ptr, table_ptr, inverse_turn_ptr, layers_ptr, row,
    rows, W: tl.constexpr, D: tl.constexpr, SKIP: tl.constexpr, OMEGA: tl.constexpr, OCTAVES: tl.constexpr,
    EXACT: tl.constexpr, CHUNKS: tl.constexpr, CHUNK: tl.constexpr, SOFTPLUS: tl.constexpr, BETA: tl.constexpr,
    COLOR: tl.constexpr, STORE: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Raw density and the three logits of color (M,) each; STORE writes every layer's output to ``row`` of its own."""
    E: tl.constexpr = CHUNKS * CHUNK
    x0 = tl.load(x_ptr + sample * 3, inside, other=0.0)
    x1 = tl.load(x_ptr + sample * 3 + 1, inside, other=0.0)
    x2 = tl.load(x_ptr + sample * 3 + 2, inside, other=0.0)
    k = tl.arange(0, W) + zero
    density_ptr = small_ptr + D * W
    color_ptr = density_ptr + W
    raw = tl.zeros((M,), tl.float32)
    red, green, blue = tl.zeros((M,), tl.float32), tl.zeros((M,), tl.float32), tl.zeros((M,), tl.float32)

    full = tl.zeros((M, W), tl.float32) + tl.load(small_ptr + k)[None, :]
    full = _add_embedding(
        full,
        x0,
        x1,
        x2,
        zero,
        matrices_ptr,
        k,
        table_ptr,
        inverse_turn_ptr,
        OMEGA,
        OCTAVES,
        EXACT,
        CHUNKS,
        CHUNK,
        PRECISION,
    )
    full = activate(full, SOFTPLUS, BETA)
    h = operand(full, matrices_ptr, PRECISION)
    if STORE:
        tl.store(layers_ptr + row[:, None] * W + k[None, :], h, inside[:, None])

    LAST: tl.constexpr = D + 1 if COLOR else D
    for layer in tl.static_range(2, LAST + 1, 2):
        # ``layer`` by blocks of columns, ``layer + 1`` accumulated from them.
        first_ptr = matrices_ptr + W * E + (layer - 2) * W * W
        if layer + 1 <= D:
            full = tl.zeros((M, W), tl.float32) + tl.load(small_ptr + layer * W + k)[None, :]
        else:
            full = tl.load(u_ptr + ray[:, None] * W + k[None, :], inside[:, None] & (layer < LAST), other=0.0)
            full = full.to(tl.float32)
        if layer + 1 <= LAST and layer + 1 == SKIP:
            full = _add_embedding(
                full, x0, x1, x2, zero, matrices_ptr + W * E + D * W * W, k, table_ptr, inverse_turn_ptr,
                OMEGA, OCTAVES, EXACT, CHUNKS, CHUNK, PRECISION,
            )  # fmt: skip
        for block in range(W // BN):
            n = block * BN + tl.arange(0, BN) + zero
            if layer <= D:
                y = tl.zeros((M, BN), tl.float32) + tl.load(small_ptr + (layer - 1) * W + n)[None, :]
            else:
                y = tl.load(u_ptr + ray[:, None] * W + n[None, :], inside[:, None], other=0.0).to(tl.float32)
            y = tl.dot(h, tl.load(first_ptr + n[None, :] * W + k[:, None]), y, input_precision=PRECISION)
            if layer == SKIP:
                y = _add_embedding(
                    y, x0, x1, x2, zero, matrices_ptr + W * E + D * W * W, n, table_ptr, inverse_turn_ptr,
                    OMEGA, OCTAVES, EXACT, CHUNKS, CHUNK, PRECISION,
                )  # fmt: skip
            y = activate(y, SOFTPLUS, BETA)
            if layer == D:
                raw += tl.sum(y * tl.load(density_ptr + n)[None, :], 1)
            if layer == D + 1:
                red += tl.sum(y * tl.load(color_ptr + n)[None, :], 1)
                green += tl.sum(y * tl.load(color_ptr + W + n)[None, :], 1)
                blue += tl.sum(y * tl.load(color_ptr + 2 * W + n)[None, :], 1)
            features = operand(y, matrices_ptr, PRECISION)
            if STORE:
                tl.store(layers_ptr + ((layer - 1) * rows + row)[:, None] * W + n[None, :], features, inside[:, None])
            if layer + 1 <= LAST:
                w = tl.load(first_ptr + W * W + k[None, :] * W + n[:, None])
                full = tl.dot(features, w, full, input_precision=PRECISION)
        if layer + 1 <= LAST:
            full = activate(full, SOFTPLUS, BETA)
            if layer + 1 == D:
                raw += tl.sum(full * tl.load(density_ptr + k)[None, :], 1)
            if layer + 1 == D + 1:
                red += tl.sum(full * tl.load(color_ptr + k)[None, :], 1)
                green += tl.sum(full * tl.load(color_ptr + W + k)[None, :], 1)
                blue += tl.sum(full * tl.load(color_ptr + 2 * W + k)[None, :], 1)
            h = operand(full, matrices_ptr, PRECISION)
            if STORE:
                tl.store(layers_ptr + (layer * rows + row)[:, None] * W + k[None, :], h, inside[:, None])

    raw += tl.load(color_ptr + 3 * W)
    red += tl.load(color_ptr + 3 * W + 1)
    green += tl.load(color_ptr + 3 * W + 2)
    blue += tl.load(color_ptr + 3 * W + 3)
    return raw, red, green, blue


@triton.jit
def density_of(raw, EXP_DENSITY: tl.constexpr, BETA: tl.constexpr):
    return tl.exp(tl.where(raw > 15.0, 15.0, raw)) if EXP_DENSITY else softplus(raw, BETA)


@triton.jit
def sigmoid(z):
    y = tl.exp(-tl.abs(z))
    return tl.where(z < 0, y, 1.0) / (1.0 + y)


# Numbers that change from call to call, and views that may begin anywhere, must not make kernels of their own.
@triton.jit(do_not_specialize=["first", "count", "rows"], do_not_specialize_on_alignment=["x_ptr", "ray_ptr"])
def field_kernel(
    x_ptr, ray_ptr, u_ptr, matrices_ptr, small_ptr, table_ptr, inverse_turn_ptr, first, count,
    density_ptr, color_ptr, layers_ptr, rows,
    W: tl.constexpr, D: tl.constexpr, SKIP: tl.constexpr, OMEGA: tl.constexpr, OCTAVES: tl.constexpr,
    EXACT: tl.constexpr, CHUNKS: tl.constexpr, CHUNK: tl.constexpr, SOFTPLUS: tl.constexpr, BETA: tl.constexpr,
    EXP_DENSITY: tl.constexpr, COLOR: tl.constexpr, SAVE: tl.constexpr, STORE: tl.constexpr,
    PRECISION: tl.constexpr, M: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Samples ``first`` to ``first + count``: density and color where SAVE, the layers' outputs where STORE."""
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    inside = row < count
    sample = first + row
    ray = row * 0
    if COLOR:
        ray = tl.load(ray_ptr + sample, inside, other=0)
    raw, red, green, blue = _field(
        x_ptr, sample, ray, inside, 0, u_ptr, matrices_ptr, small_ptr, table_ptr, inverse_turn_ptr, layers_ptr, row,
        rows, W, D, SKIP, OMEGA, OCTAVES, EXACT, CHUNKS, CHUNK, SOFTPLUS, BETA, COLOR, STORE, PRECISION, M, BN,
    )  # fmt: skip
    if SAVE:
        tl.store(density_ptr + sample, density_of(raw, EXP_DENSITY, BETA), inside)
        if COLOR:
            tl.store(color_ptr + sample * 3, sigmoid(red), inside)
            tl.store(color_ptr + sample * 3 + 1, sigmoid(green), inside)
            tl.store(color_ptr + sample * 3 + 2, sigmoid(blue), inside)


@triton.jit
def _join_before(new_a, sum_a, last_a, new_b, sum_b, last_b):
    """Joins runs of (does a ray begin in it, its last ray's sum but for the last element, the last element)."""
    return new_a | new_b, tl.where(new_b != 0, sum_b, sum_a + last_a + sum_b), last_b


@triton.jit
def _join_totals(new_a, sum_a, new_b, sum_b):
    """Joins runs of (does a ray begin in it, its last ray's sum)."""
    return new_a | new_b, tl.where(new_b != 0, sum_b, sum_a + sum_b)


@triton.jit
def _total(value, new, so_far):
    """The running sum of ``value`` over each ray, with what the ray that goes on had before this tile."""
    began, total = tl.associative_scan((new, value), 0, _join_totals)
    return total + tl.where(began == 0, so_far, 0.0)


@triton.jit
def _at(value, here):
    return tl.sum(tl.where(here, value, 0.0), 0)


@triton.jit(do_not_specialize=["rays", "starts", "count"], do_not_specialize_on_alignment=["offsets_ptr"])
def starts_kernel(offsets_ptr, starts_ptr, rays, starts, count, SPAN: tl.constexpr, BLOCK: tl.constexpr):
    """Where ``render_kernel``'s programs begin: the first ray's first sample from each multiple of SPAN on; ``count``.

    A program takes the rays that begin in its span: whole rays, so that none is shared.
    """
    span = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mark = tl.minimum(span.to(tl.int64) * SPAN, count)
    low = tl.zeros((BLOCK,), tl.int32)
    high = low + rays  # whose offset is ``count``, which no mark exceeds
    while tl.max(high - low, 0) > 0:
        middle = (low + high) // 2
        before = tl.load(offsets_ptr + middle) < mark
        low = tl.where(before & (low < high), middle + 1, low)
        high = tl.where(before, high, middle)
    tl.store(starts_ptr + span, tl.load(offsets_ptr + low), span < starts)


@triton.jit(
    do_not_specialize=["rows"],
    do_not_specialize_on_alignment=["x_ptr", "ray_ptr", "offsets_ptr", "near_ptr", "far_ptr"],
)
def render_kernel(
    x_ptr, ray_ptr, u_ptr, matrices_ptr, small_ptr, table_ptr, inverse_turn_ptr,
    starts_ptr, offsets_ptr, near_ptr, far_ptr, early_stop,
    pixel_ptr, opacity_ptr, depth_ptr, behind_ptr, used_ptr,
    density_ptr, color_ptr, weights_ptr, layers_ptr, rows,
    W: tl.constexpr, D: tl.constexpr, SKIP: tl.constexpr, OMEGA: tl.constexpr, OCTAVES: tl.constexpr,
    EXACT: tl.constexpr, CHUNKS: tl.constexpr, CHUNK: tl.constexpr, SOFTPLUS: tl.constexpr, BETA: tl.constexpr,
    EXP_DENSITY: tl.constexpr, BY_LENGTH: tl.constexpr, SAVE: tl.constexpr, STORE: tl.constexpr,
    PRECISION: tl.constexpr, M: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Pixels of whole rays: program p takes samples starts[p] to starts[p + 1], M at a time, and carries what a ray
    has so far from one tile to the next. Rays without samples are not written. Where everything left of a tile's ray
    lies behind ``early_stop``, the field is not asked."""
    first = tl.load(starts_ptr + tl.program_id(0))
    end = tl.load(starts_ptr + tl.program_id(0) + 1)
    passed = 0.0  # optical depth of the ray that goes on, so far; then its totals
    red_so_far, green_so_far, blue_so_far, depth_so_far, reached_so_far, used_so_far = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    while first < end:
        now = tl.load(ray_ptr + first)
        begins_now = tl.load(offsets_ptr + now)
        ends_now = tl.load(offsets_ptr + now + 1)
        if (begins_now < first) & (tl.exp(-passed) < early_stop):
            tl.store(pixel_ptr + 3 * now, red_so_far)
            tl.store(pixel_ptr + 3 * now + 1, green_so_far)
            tl.store(pixel_ptr + 3 * now + 2, blue_so_far)
            tl.store(opacity_ptr + now, one_minus_exp_of_minus(reached_so_far))
            tl.store(depth_ptr + now, depth_so_far)
            if SAVE:
                tl.store(behind_ptr + now, tl.exp(-reached_so_far))
                tl.store(used_ptr + now, used_so_far)
            first = ends_now
        else:
            sample = first + tl.arange(0, M)
            inside = sample < end
            ray = tl.load(ray_ptr + sample, inside, other=0).to(tl.int32)
            # Nothing, but not known to be: addresses must not be kept in registers from one tile to the next.
            zero = tl.multiple_of(tl.minimum(first, 0).to(tl.int32), 16)
            raw, red, green, blue = _field(
                x_ptr, sample, ray, inside, zero, u_ptr, matrices_ptr, small_ptr, table_ptr, inverse_turn_ptr,
                layers_ptr, sample, rows,
                W, D, SKIP, OMEGA, OCTAVES, EXACT, CHUNKS, CHUNK, SOFTPLUS, BETA, True, STORE, PRECISION, M, BN,
            )  # fmt: skip
            density = density_of(raw, EXP_DENSITY, BETA)
            red, green, blue = sigmoid(red), sigmoid(green), sigmoid(blue)
            near = tl.load(near_ptr + sample, inside, other=0.0)
            far = tl.load(far_ptr + sample, inside, other=0.0)
            length, middle = interval(near, far, BY_LENGTH)
            tau = tl.where((length == 0) | (sample >= end), 0.0, density * length)
            begins = tl.load(offsets_ptr + ray)
            new = ((begins == sample) | (sample >= end)).to(tl.int32)
            began, before, _ = tl.associative_scan((new, tl.zeros_like(tau), tau), 0, _join_before)
            before = tl.where(began != 0, before, passed + before)
            transmittance = tl.exp(-before)
            counts = inside & (transmittance >= early_stop)
            weight = tl.where(counts, transmittance * one_minus_exp_of_minus(tau), 0.0)
            if SAVE:
                tl.store(density_ptr + sample, density, inside)
                tl.store(color_ptr + sample * 3, red, inside)
                tl.store(color_ptr + sample * 3 + 1, green, inside)
                tl.store(color_ptr + sample * 3 + 2, blue, inside)
                tl.store(weights_ptr + sample, weight, inside)
            red = _total(weight * red, new, red_so_far)
            green = _total(weight * green, new, green_so_far)
            blue = _total(weight * blue, new, blue_so_far)
            depth = _total(weight * middle, new, depth_so_far)
            reached = _total(tl.where(counts, tau, 0.0), new, reached_so_far)
            used = _total(counts.to(tl.float32), new, used_so_far)
            done = inside & (tl.load(offsets_ptr + ray + 1) == sample + 1)
            tl.store(pixel_ptr + 3 * ray, red, done)
            tl.store(pixel_ptr + 3 * ray + 1, green, done)
            tl.store(pixel_ptr + 3 * ray + 2, blue, done)
            tl.store(opacity_ptr + ray, one_minus_exp_of_minus(reached), done)  # the weights' sum: they telescope
            tl.store(depth_ptr + ray, depth, done)
            if SAVE:
                tl.store(behind_ptr + ray, tl.exp(-reached), done)
                tl.store(used_ptr + ray, used.to(tl.int32), done)
            first = tl.minimum(first + M, end)
            last = sample == first - 1
            passed = _at(before + tau, last)
            red_so_far, green_so_far, blue_so_far = _at(red, last), _at(green, last), _at(blue, last)
            depth_so_far, reached_so_far, used_so_far = _at(depth, last), _at(reached, last), _at(used, last)
