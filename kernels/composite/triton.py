"""``composite`` in Triton: one program a ray, a block of its samples at a time, float32; a fixed order of sums."""

import torch
import triton
import triton.language as tl

from . import ENDLESS

_ENDLESS = tl.constexpr(ENDLESS)
# One warp a ray: rays through an occupancy grid hold some ten samples, so more lanes would idle.
BLOCK = 32
WARPS = 1


@triton.jit
def _append(sum_a, last_a, sum_b, last_b):
    """Joins two runs of (sum of all elements but the last, the last): scanning with it gives exclusive sums.

    An inclusive sum minus the element itself would lose what a large element hides, and be NaN behind an infinite one.
    """
    return sum_a + last_a + sum_b, last_b


@triton.jit
def _append_pairs(sum_a, last_a, sum_c, last_c, sum_b, last_b, sum_d, last_d):
    return sum_a + last_a + sum_b, last_b, sum_c + last_c + sum_d, last_d


@triton.jit
def one_minus_exp_of_minus(x):
    """1 - exp(-x), by its series below 1/2, where the subtraction would cancel."""
    series = x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5 * (1 - x / 6 * (1 - x / 7 * (1 - x / 8)))))))
    return tl.where(tl.abs(x) < 0.5, series, 1 - tl.exp(-x))


@triton.jit
def interval(near, far, BY_LENGTH: tl.constexpr):
    """What a density is multiplied by, and the middle, of an interval."""
    endless = far - near >= _ENDLESS
    step = tl.where(endless, _ENDLESS, far - near) if BY_LENGTH else tl.full(near.shape, 1.0, near.dtype)
    return step, tl.where(endless, near, 0.5 * (near + far))


@triton.jit
def forward_kernel(
    density_ptr, color_ptr, t_start_ptr, t_end_ptr, offsets_ptr, early_stop,
    pixel_ptr, opacity_ptr, depth_ptr, weights_ptr, behind_ptr, used_ptr,
    BY_LENGTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Also writes, per ray, how many samples contribute (``used``) and the transmittance ``behind`` the last one."""
    ray = tl.program_id(0)
    begin = tl.load(offsets_ptr + ray)
    end = tl.load(offsets_ptr + ray + 1)
    passed = 0.0  # optical depth in front of the block
    reached = 0.0  # optical depth of the samples that contribute
    red, green, blue, opacity, depth = 0.0, 0.0, 0.0, 0.0, 0.0
    used = 0
    for first in range(begin, end, BLOCK):
        i = first + tl.arange(0, BLOCK)
        inside = i < end
        near = tl.load(t_start_ptr + i, inside, other=0.0)
        far = tl.load(t_end_ptr + i, inside, other=0.0)
        step, middle = interval(near, far, BY_LENGTH)
        tau = tl.where(step == 0, 0.0, tl.load(density_ptr + i, inside, other=0.0) * step)
        before, _ = tl.associative_scan((tl.zeros_like(tau), tau), 0, _append)
        transmittance = tl.exp(-(passed + before))
        contributes = inside & (transmittance >= early_stop)
        weight = tl.where(contributes, transmittance * one_minus_exp_of_minus(tau), 0.0)
        tl.store(weights_ptr + i, weight, inside)
        red += tl.sum(weight * tl.load(color_ptr + 3 * i, inside, other=0.0))
        green += tl.sum(weight * tl.load(color_ptr + 3 * i + 1, inside, other=0.0))
        blue += tl.sum(weight * tl.load(color_ptr + 3 * i + 2, inside, other=0.0))
        opacity += tl.sum(weight)
        depth += tl.sum(weight * middle)
        used += tl.sum(contributes.to(tl.int32))
        reached += tl.sum(tl.where(contributes, tau, 0.0))
        passed += tl.sum(tau)
    tl.store(pixel_ptr + 3 * ray, red)
    tl.store(pixel_ptr + 3 * ray + 1, green)
    tl.store(pixel_ptr + 3 * ray + 2, blue)
    tl.store(opacity_ptr + ray, opacity)
    tl.store(depth_ptr + ray, depth)
    tl.store(behind_ptr + ray, tl.exp(-reached))
    tl.store(used_ptr + ray, used)


@triton.jit
def backward_kernel(
    color_ptr, t_start_ptr, t_end_ptr, offsets_ptr, weights_ptr, behind_ptr, used_ptr,
    d_pixel_ptr, d_opacity_ptr, d_depth_ptr, d_weights_ptr, d_density_ptr, d_color_ptr,
    BY_LENGTH: tl.constexpr, HAS_PIXEL: tl.constexpr, HAS_OPACITY: tl.constexpr, HAS_DEPTH: tl.constexpr,
    HAS_WEIGHTS: tl.constexpr, TO_DENSITY: tl.constexpr, TO_COLOR: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Back to front: lane 0 of the first block is the last sample of the ray."""
    ray = tl.program_id(0)
    begin = tl.load(offsets_ptr + ray)
    end = tl.load(offsets_ptr + ray + 1)
    stop = begin + tl.load(used_ptr + ray)
    red, green, blue, distance, opaque = 0.0, 0.0, 0.0, 0.0, 0.0
    if HAS_PIXEL:
        red = tl.load(d_pixel_ptr + 3 * ray)
        green = tl.load(d_pixel_ptr + 3 * ray + 1)
        blue = tl.load(d_pixel_ptr + 3 * ray + 2)
    if HAS_DEPTH:
        distance = tl.load(d_depth_ptr + ray)
    behind = tl.load(behind_ptr + ray)
    if HAS_OPACITY:
        opaque = tl.load(d_opacity_ptr + ray) * behind
    transmittance = behind  # behind the block
    later = 0.0  # sum of w_i h_i behind the block
    for done in range(0, end - begin, BLOCK):
        i = end - 1 - done - tl.arange(0, BLOCK)
        inside = i >= begin
        weight = tl.load(weights_ptr + i, inside, other=0.0)
        if TO_DENSITY:
            near = tl.load(t_start_ptr + i, inside, other=0.0)
            far = tl.load(t_end_ptr + i, inside, other=0.0)
            step, middle = interval(near, far, BY_LENGTH)
            gain = distance * middle
            if HAS_PIXEL:
                gain += red * tl.load(color_ptr + 3 * i, inside, other=0.0)
                gain += green * tl.load(color_ptr + 3 * i + 1, inside, other=0.0)
                gain += blue * tl.load(color_ptr + 3 * i + 2, inside, other=0.0)
            if HAS_WEIGHTS:
                gain += tl.load(d_weights_ptr + i, inside, other=0.0)
            zero = tl.zeros_like(weight)
            share = weight * gain
            behind_i, _, later_i, _ = tl.associative_scan((zero, weight, zero, share), 0, _append_pairs)
            d_tau = (transmittance + behind_i) * gain - (later + later_i) + opaque
            tl.store(d_density_ptr + i, tl.where(i < stop, d_tau * step, 0.0), inside)
            transmittance += tl.sum(weight)
            later += tl.sum(share)
        if TO_COLOR:
            tl.store(d_color_ptr + 3 * i, weight * red, inside)
            tl.store(d_color_ptr + 3 * i + 1, weight * green, inside)
            tl.store(d_color_ptr + 3 * i + 2, weight * blue, inside)


def forward(density, color, t_start, t_end, offsets, by_length, early_stop):
    """Color, opacity, depth, weights, and what ``backward`` needs besides: ``behind`` (R,), ``used`` (R,) int32."""
    rays = offsets.shape[0] - 1
    inputs = [x.contiguous() for x in (density, color, t_start, t_end, offsets)]
    pixel, weights = density.new_empty(rays, 3), torch.empty_like(inputs[0])
    opacity, depth, behind = (density.new_empty(rays) for _ in range(3))
    used = density.new_empty(rays, dtype=torch.int32)
    outputs = (pixel, opacity, depth, weights, behind, used)
    if rays:
        forward_kernel[(rays,)](*inputs, early_stop, *outputs, BY_LENGTH=by_length, BLOCK=BLOCK, num_warps=WARPS)
    return outputs


def backward(
    color, t_start, t_end, offsets, weights, behind, used, by_length, d_pixel, d_opacity, d_depth, d_weights=None,
    *, to_density=True, to_color=True,
):  # fmt: skip
    """Gradients of density (S,) and color (S, 3), each None where not asked for or, for the color, always zero.

    Args:
        color, t_start, t_end, offsets, by_length: as ``forward`` had them.
        weights, behind, used: what it returned.
        d_pixel, d_opacity, d_depth, d_weights: the loss's gradients, each None where there is none.
    """
    inputs = [x.contiguous() for x in (color, t_start, t_end, offsets, weights, behind, used)]
    incoming = [None if x is None else x.contiguous() for x in (d_pixel, d_opacity, d_depth, d_weights)]
    to_color = to_color and d_pixel is not None
    d_density = torch.empty_like(inputs[4]) if to_density else None
    d_color = torch.empty_like(inputs[0]) if to_color else None
    rays = offsets.shape[0] - 1
    if rays:
        pixel, opacity, depth, by_weights = (x is not None for x in incoming)
        backward_kernel[(rays,)](
            *inputs, *incoming, d_density, d_color,
            BY_LENGTH=by_length, HAS_PIXEL=pixel, HAS_OPACITY=opacity, HAS_DEPTH=depth, HAS_WEIGHTS=by_weights,
            TO_DENSITY=to_density, TO_COLOR=to_color, BLOCK=BLOCK, num_warps=WARPS,
        )  # fmt: skip
    return d_density, d_color
