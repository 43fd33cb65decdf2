"""``composite`` on the CPU: Numba, parallel over rays, float64 inside a ray, every output written exactly once.

Samples are counted in unsigned integers: at a signed index Numba asks each time whether it counts from the end, which
takes a tenth of the whole.
"""

from typing import Any

import numpy as np
import torch
from numba import get_num_threads, prange
from torch.autograd.function import once_differentiable

from ..jit import inline, jit
from . import ENDLESS

# In place of an infinite density: nothing times this is nothing, not NaN.
_LARGEST = np.finfo(np.float64).max

# A gradient that nobody has or needs travels as an empty array.
_ABSENT = torch.empty(0)
_ABSENT_RGB = torch.empty(0, 3)


@inline
def _first_ray(offsets, part, parts):
    """The ray at which a part begins, so that all parts hold about as many samples and the last takes the rest."""
    if part == 0:
        return 0
    if part == parts:
        return len(offsets) - 1
    return np.searchsorted(offsets[:-1], offsets[-1] * part // parts)


@inline
def _step(near, far, by_length):
    """What a density is multiplied by, and the middle, of an interval."""
    near, far = np.float64(near), np.float64(far)
    length = min(far - near, ENDLESS)
    return length if by_length else 1.0, 0.5 * (near + far) if length < ENDLESS else near


@jit
def _forward(
    density, colour, t_start, t_end, offsets, by_length, early_stop, parts, pixel, opacity, depth, weights, behind, used
):
    """Also writes, per ray, how many samples contribute (``used``) and the transmittance ``behind`` the last one."""
    for part in prange(parts):
        for ray in range(_first_ray(offsets, part, parts), _first_ray(offsets, part + 1, parts)):
            begin, end = np.uintp(offsets[ray]), np.uintp(offsets[ray + 1])
            transmittance = 1.0
            red = green = blue = opaque = distance = 0.0
            i = begin
            while i < end and transmittance >= early_stop:
                step, middle = _step(t_start[i], t_end[i], by_length)
                tau = min(np.float64(density[i]), _LARGEST) * step
                alpha = -np.expm1(-tau)
                weight = transmittance * alpha
                transmittance *= 1.0 - alpha
                weights[i] = weight
                red += weight * colour[i, 0]
                green += weight * colour[i, 1]
                blue += weight * colour[i, 2]
                opaque += weight
                distance += weight * middle
                i += np.uintp(1)
            used[ray] = i - begin
            for j in range(i, end):
                weights[j] = 0.0
            pixel[ray, 0] = red
            pixel[ray, 1] = green
            pixel[ray, 2] = blue
            opacity[ray] = opaque
            depth[ray] = distance
            behind[ray] = transmittance


@jit
def _backward(
    colour,
    t_start,
    t_end,
    offsets,
    by_length,
    parts,
    weights,
    behind,
    used,
    d_pixel,
    d_opacity,
    d_depth,
    d_weights,
    d_density,
    d_colour,
):
    """Back to front: ``transmittance`` is T_{k+1} and ``later`` the sum of w_i h_i behind the sample at hand."""
    for part in prange(parts):
        for ray in range(_first_ray(offsets, part, parts), _first_ray(offsets, part + 1, parts)):
            begin, end = np.uintp(offsets[ray]), np.uintp(offsets[ray + 1])
            stop = begin + np.uintp(used[ray])
            red, green, blue = 0.0, 0.0, 0.0
            if d_pixel.size:
                red, green, blue = np.float64(d_pixel[ray, 0]), np.float64(d_pixel[ray, 1]), np.float64(d_pixel[ray, 2])
            distance = np.float64(d_depth[ray]) if d_depth.size else 0.0
            transmittance = np.float64(behind[ray])
            opaque = d_opacity[ray] * transmittance if d_opacity.size else 0.0
            later = 0.0
            i = end
            while i > begin:
                i -= np.uintp(1)
                weight = np.float64(weights[i])
                if d_density.size:
                    step, middle = _step(t_start[i], t_end[i], by_length)
                    gain = red * colour[i, 0] + green * colour[i, 1] + blue * colour[i, 2]
                    gain += distance * middle
                    if d_weights.size:
                        gain += d_weights[i]
                    d_density[i] = (transmittance * gain - later + opaque) * step if i < stop else 0.0
                    later += weight * gain
                    transmittance += weight
                if d_colour.size:
                    d_colour[i, 0] = weight * red
                    d_colour[i, 1] = weight * green
                    d_colour[i, 2] = weight * blue


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        density: torch.Tensor,
        colour: torch.Tensor,
        t_start: torch.Tensor,
        t_end: torch.Tensor,
        offsets: torch.Tensor,
        by_length: bool,
        early_stop: float,
    ) -> tuple[torch.Tensor, ...]:
        ctx.set_materialize_grads(False)
        rays = offsets.shape[0] - 1
        pixel = torch.empty(rays, 3)
        opacity, depth, behind = torch.empty(rays), torch.empty(rays), torch.empty(rays)
        used = torch.empty(rays, dtype=torch.int32)
        weights = torch.empty(density.shape[0])
        arrays = [_array(x) for x in (density, colour, t_start, t_end, offsets)]
        outputs = [x.numpy() for x in (pixel, opacity, depth, weights, behind, used)]
        _forward(*arrays, by_length, early_stop, get_num_threads(), *outputs)
        ctx.save_for_backward(colour, t_start, t_end, offsets, weights, behind, used)
        ctx.by_length = by_length
        return pixel, opacity, depth, weights

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        d_pixel: torch.Tensor | None,
        d_opacity: torch.Tensor | None,
        d_depth: torch.Tensor | None,
        d_weights: torch.Tensor | None,
    ) -> tuple[torch.Tensor | None, ...]:
        colour, t_start, t_end, offsets, weights, behind, used = ctx.saved_tensors
        to_density, to_colour = ctx.needs_input_grad[0], ctx.needs_input_grad[1] and d_pixel is not None
        d_density = torch.empty(weights.shape) if to_density else _ABSENT
        d_colour = torch.empty(colour.shape) if to_colour else _ABSENT_RGB
        incoming = [_ABSENT if d is None else d for d in (d_opacity, d_depth, d_weights)]
        inputs = [_array(x) for x in (colour, t_start, t_end, offsets)]
        others = [_array(x) for x in (weights, behind, used, _ABSENT_RGB if d_pixel is None else d_pixel, *incoming)]
        _backward(*inputs, ctx.by_length, get_num_threads(), *others, d_density.numpy(), d_colour.numpy())
        return d_density if to_density else None, d_colour if to_colour else None, None, None, None, None, None


def composite(
    density: torch.Tensor,
    colour: torch.Tensor,
    t_start: torch.Tensor,
    t_end: torch.Tensor,
    offsets: torch.Tensor,
    by_length: bool,
    early_stop: float,
) -> tuple[torch.Tensor, ...]:
    """See the package for the formula, the shapes and the results."""
    return _Composite.apply(density, colour, t_start, t_end, offsets, by_length, float(early_stop))
