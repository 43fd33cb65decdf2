"""Triton: a lane a texel and channel pulls it toward its eight neighbors; sums in a fixed order, in float64."""

import torch
import triton
import triton.language as tl

BLOCK = 256  # texels times channels of a program


@triton.jit
def _toward(texture_ptr, weights_ptr, here, element, first, shift, channels, scale, inside):
    """Pull of the neighbor ``shift`` texels on, whose pair is that of the texel ``first``, and w h / D."""
    there = tl.load(texture_ptr + element + shift * channels, inside, other=0.0)
    weight = tl.load(weights_ptr + first, inside, other=0.0)
    difference = (here - there) * scale
    slope = tl.minimum(tl.maximum(difference, -1.0), 1.0)
    pulled = weight * slope
    return pulled, pulled * (difference - 0.5 * slope)


@triton.jit
def _along(
    texture_ptr, weights_ptr, here, element, row, column, height, width, channels, scale, inside,
    K: tl.constexpr, DOWN: tl.constexpr, RIGHT: tl.constexpr,
):  # fmt: skip
    """The same of both neighbors along direction K of ``PAIRS``, together."""
    shift = DOWN * width + RIGHT
    first = K * height.to(tl.int64) * width + row * width + column
    later = inside & (row + DOWN < height) & (column + RIGHT < width) & (column + RIGHT >= 0)
    earlier = inside & (row >= DOWN) & (column - RIGHT < width) & (column - RIGHT >= 0)
    a, u = _toward(texture_ptr, weights_ptr, here, element, first, shift, channels, scale, later)
    b, v = _toward(texture_ptr, weights_ptr, here, element, first - shift, -shift, channels, scale, earlier)
    return a + b, u + v


@triton.jit(do_not_specialize=("height", "width", "channels", "elements"))
def ties_kernel(
    texture_ptr, weights_ptr, pull_ptr, sums_ptr, height, width, channels, elements, scale, factor,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """``pull`` is the sum over neighbors times ``factor``; ``sums`` (programs,) are twice those of w h / D."""
    element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = element < elements
    row, column = element // channels // width, element // channels % width
    here = tl.load(texture_ptr + element, inside, other=0.0)
    a, u = _along(texture_ptr, weights_ptr, here, element, row, column, height, width, channels, scale, inside, 0, 1, 0)
    b, v = _along(texture_ptr, weights_ptr, here, element, row, column, height, width, channels, scale, inside, 1, 0, 1)
    c, w = _along(texture_ptr, weights_ptr, here, element, row, column, height, width, channels, scale, inside, 2, 1, 1)
    d, x = _along(
        texture_ptr, weights_ptr, here, element, row, column, height, width, channels, scale, inside, 3, 1, -1
    )
    tl.store(pull_ptr + element, (a + b + (c + d)) * factor, inside)
    tl.store(sums_ptr + tl.program_id(0), tl.sum((u + v + (w + x)).to(tl.float64), 0))


def forward(texture, weights, corner):
    """The value () and its gradient (A,B,C)."""
    height, width, channels = texture.shape
    elements = texture.numel()
    programs = triton.cdiv(elements, BLOCK)
    pull = torch.empty_like(texture)
    sums = torch.empty(programs, dtype=torch.float64, device=texture.device)
    ties_kernel[(programs,)](
        texture, weights, pull, sums, height, width, channels, elements, 1 / corner, 1 / channels, BLOCK=BLOCK
    )
    return (sums.sum() * (corner / (2 * channels))).to(texture.dtype), pull
