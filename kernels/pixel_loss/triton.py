"""The terms and their gradients in Triton: a lane a ray; sums in a fixed order, in float64."""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

RAYS = 256  # rays a program
SUMS = 1024  # programs' sums that are added up at once
AS_WRITTEN = {"enable_fp_fusion": False}


@triton.jit
def _errors(color_ptr, opacity_ptr, rgba_ptr, background_ptr, stride, ray, inside, C: tl.constexpr):
    """Of channel C: the error and the background; and the error of the opacity."""
    missing = tl.load(rgba_ptr + 4 * ray + 3, inside, other=0.0) - tl.load(opacity_ptr + ray, inside, other=0.0)
    behind = tl.load(background_ptr + stride * ray + C, inside, other=0.0)
    seen = tl.load(color_ptr + 3 * ray + C, inside, other=0.0) - tl.load(rgba_ptr + 4 * ray + C, inside, other=0.0)
    return seen + missing * behind, behind, -missing


@triton.jit
def _root(x, scale):
    """x / s and sqrt(1 + (x / s)^2)."""
    relative = tl.div_rn(x, scale)
    return relative, tl.sqrt_rn(1.0 + relative * relative)


@triton.jit
def forward_kernel(
    color_ptr, opacity_ptr, rgba_ptr, background_ptr, sums_ptr, stride, scale, rays, RAYS: tl.constexpr
):  # fmt: skip
    """Sums (programs, 3) float64 of sqrt - 1 over channels, of the same of the opacity, and of squared errors."""
    ray = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    inside = ray < rays
    total, squared = tl.zeros((RAYS,), tl.float64), tl.zeros((RAYS,), tl.float64)
    mask = tl.zeros((RAYS,), tl.float64)
    for channel in tl.static_range(3):
        error, _, lacking = _errors(color_ptr, opacity_ptr, rgba_ptr, background_ptr, stride, ray, inside, channel)
        _, root = _root(error, scale)
        total += (root - 1.0).to(tl.float64)
        squared += (error * error).to(tl.float64)
        if channel == 0:
            _, root = _root(lacking, scale)
            mask += (root - 1.0).to(tl.float64)
    out_ptr = sums_ptr + 3 * tl.program_id(0)
    tl.store(out_ptr, tl.sum(total, 0))
    tl.store(out_ptr + 1, tl.sum(mask, 0))
    tl.store(out_ptr + 2, tl.sum(squared, 0))


@triton.jit
def reduce_kernel(sums_ptr, terms_ptr, count, color_factor, mask_factor, SUMS: tl.constexpr):
    """Adds up the programs' sums; one program."""
    color, mask, squared = tl.zeros((SUMS,), tl.float64), tl.zeros((SUMS,), tl.float64), tl.zeros((SUMS,), tl.float64)
    for first in range(0, count, SUMS):
        i = first + tl.arange(0, SUMS)
        color += tl.load(sums_ptr + 3 * i, i < count, other=0.0)
        mask += tl.load(sums_ptr + 3 * i + 1, i < count, other=0.0)
        squared += tl.load(sums_ptr + 3 * i + 2, i < count, other=0.0)
    tl.store(terms_ptr, tl.sum(color, 0) * color_factor)
    tl.store(terms_ptr + 1, tl.sum(mask, 0) * mask_factor)
    tl.store(terms_ptr + 2, tl.sum(squared, 0))


@triton.jit
def backward_kernel(
    color_ptr, opacity_ptr, rgba_ptr, background_ptr, by_color_ptr, by_mask_ptr, d_color_ptr, d_opacity_ptr,
    stride, scale, rays, color_factor, mask_factor, RAYS: tl.constexpr,
):  # fmt: skip
    """dL/dcolor (R, 3) and dL/dopacity (R,); the factors are those of the means."""
    ray = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    inside = ray < rays
    by_color = tl.load(by_color_ptr) * color_factor
    by_mask = tl.load(by_mask_ptr) * mask_factor
    d_opacity = tl.zeros((RAYS,), tl.float32)
    for channel in tl.static_range(3):
        error, behind, lacking = _errors(color_ptr, opacity_ptr, rgba_ptr, background_ptr, stride, ray, inside, channel)
        relative, root = _root(error, scale)
        slope = by_color * tl.div_rn(relative, root)
        tl.store(d_color_ptr + 3 * ray + channel, slope, inside)
        d_opacity -= slope * behind
        if channel == 0:
            relative, root = _root(lacking, scale)
            d_opacity += by_mask * tl.div_rn(relative, root)
    tl.store(d_opacity_ptr + ray, d_opacity, inside)


class PixelTerms(torch.autograd.Function):
    """(color, opacity, rgba, background, scale, mask_weight) -> color term, silhouette term, squared error, () each."""

    @staticmethod
    def forward(ctx, color, opacity, rgba, background, scale, mask_weight):
        rays = len(color)
        inputs = color.contiguous(), opacity.contiguous(), rgba.contiguous(), background
        stride = background.stride(0) if background.stride(1) == 1 else None
        if stride is None:
            inputs, stride = (*inputs[:3], background.contiguous()), 3
        programs = triton.cdiv(rays, RAYS)
        sums = torch.empty(programs, 3, dtype=torch.float64, device=color.device)
        terms = torch.empty(3, device=color.device)
        if rays:
            forward_kernel[(programs,)](*inputs, sums, stride, scale, rays, RAYS=RAYS, **AS_WRITTEN)
        # As the reference: means of no rays are NaN.
        color_factor, mask_factor = (scale / n if n else float("nan") for n in (3 * rays, rays))
        reduce_kernel[(1,)](sums, terms, programs, color_factor, mask_factor * mask_weight, SUMS=SUMS)
        ctx.save_for_backward(*inputs)
        ctx.numbers = stride, scale, mask_weight
        first, second, squared = terms.unbind()
        ctx.mark_non_differentiable(squared)
        return first, second, squared

    @staticmethod
    @once_differentiable
    def backward(ctx, by_color, by_mask, _):
        inputs = ctx.saved_tensors
        stride, scale, mask_weight = ctx.numbers
        rays = len(inputs[0])
        d_color, d_opacity = torch.empty_like(inputs[0]), torch.empty_like(inputs[1])
        if rays:
            factors = 1 / (3 * rays), mask_weight / rays
            backward_kernel[(triton.cdiv(rays, RAYS),)](
                *inputs, by_color, by_mask, d_color, d_opacity, stride, scale, rays, *factors, RAYS=RAYS, **AS_WRITTEN
            )
        return d_color, d_opacity, None, None, None, None


pixel_loss = PixelTerms.apply
