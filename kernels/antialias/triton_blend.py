"""The blend of both antialiasings in Triton: what pairs of pixels take of each other, gathered per pixel.

A pixel has at most four pairs, one with each neighbor, so a table (pixel, direction) -> pair turns the scatter over
pairs into a gather, forward and backward, without atomics. Gradients of the edges' ends are found per pair and summed
by vertex in a fixed order. Positions are float64, colors as they come. Memory: 16 bytes a pixel for the table.
"""

import torch
import triton
import triton.language as tl

from ..rasterize.triton_geometry import corner
from ..segments import segment_sum
from .pixels import SOFTENING
from .reference import LEAST_SLOPE

PAIRS = 128  # pairs a program
PIXELS = 64  # pixels a program
CHANNELS = 8  # most channels of a pixel at a time
WARPS = 4

_LEAST_SLOPE = tl.constexpr(LEAST_SLOPE)


@triton.jit
def place(points_ptr, pairs_ptr, k, inside, vertices, height, width):
    """A pair's pixels; its edge's ends (vertex rows; along the pair and across it, from the own pixel's center; w), the
    axis (1: a column) and the direction of the other pixel."""
    own = tl.load(pairs_ptr + 4 * k, inside, other=0)
    other = tl.load(pairs_ptr + 4 * k + 1, inside, other=1)
    view = own // (height.to(tl.int64) * width)
    v1 = view * vertices + tl.load(pairs_ptr + 4 * k + 2, inside, other=0)
    v2 = view * vertices + tl.load(pairs_ptr + 4 * k + 3, inside, other=0)
    x1, y1, w1 = corner(points_ptr, v1, inside)
    x2, y2, w2 = corner(points_ptr, v2, inside)
    w1, w2 = tl.where(inside, w1, 1.0), tl.where(inside, w2, 1.0)
    column, row = (own % width).to(tl.float64) + 0.5, (own // width % height).to(tl.float64) + 0.5
    x1, y1, x2, y2 = x1 / w1 - column, y1 / w1 - row, x2 / w2 - column, y2 / w2 - row
    across = own // width != other // width
    u1, s1 = tl.where(across, y1, x1), tl.where(across, x1, y1)
    u2, s2 = tl.where(across, y2, x2), tl.where(across, x2, y2)
    direction = tl.where(other > own, 1.0, -1.0).to(tl.float64)
    return own, other, v1, v2, u1, s1, w1, u2, s2, w2, across, direction


@triton.jit
def integral(x):
    positive = tl.maximum(x, 0.0)
    return tl.where(x >= 1, x - 0.5, positive * positive * 0.5)


@triton.jit
def covered_share(z, slope):
    """F(z) and its derivative; see ``nerfkit.kernels.antialias``."""
    slope = tl.maximum(slope, _LEAST_SLOPE)
    low, high = z - slope / 2, z + slope / 2
    rate = tl.minimum(tl.maximum(high, 0.0), 1.0) - tl.minimum(tl.maximum(low, 0.0), 1.0)
    share = (integral(high) - integral(low)) / slope
    return tl.minimum(tl.maximum(share, 0.0), 1.0), rate / slope


@triton.jit(do_not_specialize=["pairs", "vertices", "height", "width"])
def weigh_kernel(
    points_ptr, pairs_ptr, slopes_ptr, weights_ptr, rates_ptr, table_ptr, pairs, vertices, height, width,
    AREAS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What the own and the other pixel take of each other's color, (P,2), its derivative by the crossing, and the
    table's two entries. ``AREAS``: by covered areas, else by nvdiffrast's rule."""
    k = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = k < pairs
    own, other, _, _, u1, s1, _, u2, s2, _, across, direction = place(
        points_ptr, pairs_ptr, k, inside, vertices, height, width
    )
    extent = tl.where(inside, s2 - s1, 1.0)
    at = direction * (u1 * extent - s1 * (u2 - u1)) / extent
    if AREAS:
        slope = tl.load(slopes_ptr + k, inside, other=1.0)
        kept, kept_rate = covered_share(at + 0.5, slope)
        gained, gained_rate = covered_share(at - 0.5, slope)
        lost, lost_rate = 1 - kept, -kept_rate
    else:
        clipped = tl.minimum(tl.maximum(at, 0.0), 1.0)
        lost, gained = tl.maximum(0.5 - clipped, 0.0), tl.maximum(clipped - 0.5, 0.0)
        lost_rate = tl.where((at > 0) & (at < 0.5), -1.0, 0.0).to(tl.float64)
        gained_rate = tl.where((at > 0.5) & (at < 1), 1.0, 0.0).to(tl.float64)
    tl.store(weights_ptr + 2 * k, lost, inside)
    tl.store(weights_ptr + 2 * k + 1, gained, inside)
    tl.store(rates_ptr + 2 * k, lost_rate, inside)
    tl.store(rates_ptr + 2 * k + 1, gained_rate, inside)
    # Directions: 0 right, 1 left, 2 down, 3 up. An entry is 2 pair + side + 1.
    toward = tl.where(across, 2, 0)
    back = tl.where(direction > 0, 0, 1)
    tl.store(table_ptr + 4 * own + toward + back, (2 * k + 1).to(tl.int32), inside)
    tl.store(table_ptr + 4 * other + toward + 1 - back, (2 * k + 2).to(tl.int32), inside)


@triton.jit(do_not_specialize=["pixels", "width", "channels"])
def gather_kernel(
    values_ptr, weights_ptr, table_ptr, totals_ptr, result_ptr, pixels, width, channels,
    SHARE: tl.constexpr, BACKWARD: tl.constexpr, BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Forward: every pixel of ``values`` with what it takes of its neighbors, and the sum of its weights ``totals``.

    ``BACKWARD``: of the gradients ``values`` what comes back to each pixel. ``SHARE``: weights above 1 in sum are
    divided by their sum.
    """
    pixel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    mask = inside[:, None] & (channel < channels)[None, :]
    if BACKWARD:
        total = tl.load(totals_ptr + pixel, inside, other=0.0)
    else:
        total = tl.zeros((BLOCK,), tl.float64)
        for d in tl.static_range(4):
            entry = tl.load(table_ptr + 4 * pixel + d, inside, other=0).to(tl.int64)
            total += tl.load(weights_ptr + entry - 1, entry > 0, other=0.0)
        # Not a scalar's truth, which Triton 3.9's interpreter takes for an int32.
        first = tl.full((BLOCK,), tl.program_id(1), tl.int32) == 0
        tl.store(totals_ptr + pixel, total, inside & first)
    scale = 1 / tl.maximum(total, 1.0) if SHARE else 1.0
    here = tl.load(values_ptr + pixel[:, None] * channels + channel[None, :], mask, other=0.0).to(tl.float64)
    result = here * (1 - total * scale)[:, None]
    for d in tl.static_range(4):
        entry = tl.load(table_ptr + 4 * pixel + d, inside, other=0).to(tl.int64)
        step = (1 - 2 * (d % 2)) * (1 if d < 2 else width)
        there = pixel + step
        # Of the neighbor's color a pixel takes its own side's weight; of its gradient, what the neighbor took.
        index = (entry - 1) ^ 1 if BACKWARD else entry - 1
        weight = tl.load(weights_ptr + index, entry > 0, other=0.0)
        if BACKWARD:
            if SHARE:
                weight = weight / tl.maximum(tl.load(totals_ptr + there, entry > 0, other=1.0), 1.0)
        else:
            weight = weight * scale
        near = mask & (entry > 0)[:, None]
        beside = tl.load(values_ptr + there[:, None] * channels + channel[None, :], near, other=0.0).to(tl.float64)
        result += weight[:, None] * beside
    tl.store(result_ptr + pixel[:, None] * channels + channel[None, :], result, mask)


@triton.jit(do_not_specialize=["pairs", "vertices", "height", "width", "channels"])
def ends_kernel(
    image_ptr, out_ptr, grad_ptr, points_ptr, pairs_ptr, rates_ptr, totals_ptr, rows_ptr, parts_ptr,
    pairs, vertices, height, width, channels, softening,
    SHARE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradient of both ends of each pair's edge, ``parts`` (P,2,3) float64, and their rows in ``points``, (P,2)."""
    k = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = k < pairs
    own, other, v1, v2, u1, s1, w1, u2, s2, w2, across, direction = place(
        points_ptr, pairs_ptr, k, inside, vertices, height, width
    )
    total_own = tl.load(totals_ptr + own, inside, other=0.0)
    total_other = tl.load(totals_ptr + other, inside, other=0.0)
    crowded_own, crowded_other = SHARE & (total_own > 1), SHARE & (total_other > 1)
    lost = tl.zeros((BLOCK,), tl.float64)
    gained = tl.zeros((BLOCK,), tl.float64)
    for c in range(channels):
        a = tl.load(image_ptr + own * channels + c, inside, other=0.0).to(tl.float64)
        b = tl.load(image_ptr + other * channels + c, inside, other=0.0).to(tl.float64)
        base_a = tl.where(crowded_own, tl.load(out_ptr + own * channels + c, inside, other=0.0).to(tl.float64), a)
        base_b = tl.where(crowded_other, tl.load(out_ptr + other * channels + c, inside, other=0.0).to(tl.float64), b)
        lost += tl.load(grad_ptr + own * channels + c, inside, other=0.0).to(tl.float64) * (b - base_a)
        gained += tl.load(grad_ptr + other * channels + c, inside, other=0.0).to(tl.float64) * (a - base_b)
    lost = tl.where(crowded_own, lost / tl.maximum(total_own, 1.0), lost)
    gained = tl.where(crowded_other, gained / tl.maximum(total_other, 1.0), gained)
    g = lost * tl.load(rates_ptr + 2 * k, inside, other=0.0) + gained * tl.load(
        rates_ptr + 2 * k + 1, inside, other=0.0
    )
    extent = s2 - s1
    extent = tl.where(inside, extent + tl.where(extent < 0, -softening, softening), 1.0)
    scale = g * direction / extent
    at = (u1 * (s2 - s1) - s1 * (u2 - u1)) / extent
    row, column = (own // width % height).to(tl.float64) + 0.5, (own % width).to(tl.float64) + 0.5
    for end in tl.static_range(2):
        along = scale * s2 if end == 0 else -scale * s1
        aside = scale * (at - u2) if end == 0 else scale * (u1 - at)
        u = u1 if end == 0 else u2
        s = s1 if end == 0 else s2
        w = w1 if end == 0 else w2
        gx, gy = tl.where(across, aside, along), tl.where(across, along, aside)
        x, y = tl.where(across, s, u) + column, tl.where(across, u, s) + row
        index = 2 * k + end
        tl.store(rows_ptr + index, v1 if end == 0 else v2, inside)
        tl.store(parts_ptr + 3 * index, gx / w, inside)
        tl.store(parts_ptr + 3 * index + 1, gy / w, inside)
        tl.store(parts_ptr + 3 * index + 2, -(gx * x + gy * y) / w, inside)


class Blend(torch.autograd.Function):
    """``slopes`` (P,) blend by covered areas; None by nvdiffrast's rule."""

    @staticmethod
    def forward(ctx, image, points, pairs, slopes):
        views, height, width, channels = image.shape
        pixels, count, areas = views * height * width, pairs.shape[0], slopes is not None
        flat, corners, pairs = image.contiguous(), points.contiguous(), pairs.contiguous()
        weights, rates = points.new_empty(2, count, 2, dtype=torch.float64)
        table = torch.zeros(pixels, 4, dtype=torch.int32, device=image.device)
        totals = points.new_empty(pixels, dtype=torch.float64)
        out = torch.empty_like(flat)
        if pixels and channels:
            if count:
                weigh_kernel[(triton.cdiv(count, PAIRS),)](
                    corners, pairs, slopes, weights, rates, table, count, points.shape[1], height, width,
                    AREAS=areas, BLOCK=PAIRS, num_warps=WARPS,
                )  # fmt: skip
            gather(flat, weights, table, totals, out, width, areas, False)
        ctx.save_for_backward(flat, out, corners, pairs, weights, rates, table, totals)
        ctx.areas = areas
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out):
        flat, out, corners, pairs, weights, rates, table, totals = ctx.saved_tensors
        views, height, width, channels = flat.shape
        vertices, count = corners.shape[1], pairs.shape[0]
        grad_out, grad_image = grad_out.contiguous(), torch.empty_like(flat)
        rows = pairs.new_empty(count, 2)
        parts = corners.new_empty(count, 2, 3, dtype=torch.float64)
        if flat.numel():
            gather(grad_out, weights, table, totals, grad_image, width, ctx.areas, True)
            if count:
                ends_kernel[(triton.cdiv(count, PAIRS),)](
                    flat, out, grad_out, corners, pairs, rates, totals, rows, parts,
                    count, vertices, height, width, channels, 0.0 if ctx.areas else SOFTENING,
                    SHARE=ctx.areas, BLOCK=PAIRS, num_warps=WARPS,
                )  # fmt: skip
        grad_points = segment_sum(parts.view(-1, 3), rows.view(-1), views * vertices).view(corners.shape)
        return grad_image, grad_points.to(corners.dtype), None, None


def gather(values, weights, table, totals, result, width, areas, backward):
    """Launches ``gather_kernel`` over (N,H,W,C)."""
    channels = values.shape[-1]
    pixels = values.numel() // channels
    block = min(triton.next_power_of_2(channels), CHANNELS)
    gather_kernel[(triton.cdiv(pixels, PIXELS), triton.cdiv(channels, block))](
        values, weights, table, totals, result, pixels, width, channels,
        SHARE=areas, BACKWARD=backward, BLOCK=PIXELS, CHANNELS=block, num_warps=WARPS,
    )  # fmt: skip
