"""``composite`` on the CPU: Numba, parallel over rays, float64 inside a ray, every output written exactly once.

Samples are counted in unsigned integers: at a signed index Numba asks each time whether it counts from the end, which
takes a tenth of the whole.
"""

import numpy as np
import torch
from numba import get_num_threads, prange

from ..elementary import expm1
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


@inline
def composite_ray(density, color, t_start, t_end, by_length, early_stop, begin, end, weights):
    """The pixel of samples begin to end: red, green, blue, opacity, depth, and what the backward needs besides.

    That is the transmittance behind the last sample that contributes, and how many do.
    """
    transmittance = 1.0
    red = green = blue = opaque = distance = 0.0
    i = begin
    while i < end and transmittance >= early_stop:
        step, middle = _step(t_start[i], t_end[i], by_length)
        tau = min(np.float64(density[i]), _LARGEST) * step
        alpha = -expm1(-tau)
        weight = transmittance * alpha
        transmittance *= 1.0 - alpha
        weights[i] = weight
        red += weight * color[i, 0]
        green += weight * color[i, 1]
        blue += weight * color[i, 2]
        opaque += weight
        distance += weight * middle
        i += np.uintp(1)
    for j in range(i, end):
        weights[j] = 0.0
    return red, green, blue, opaque, distance, transmittance, i - begin


@inline
def composite_ray_backward(
    color, t_start, t_end, by_length, begin, stop, end, weights, behind,
    red, green, blue, opaque, distance, d_weights, d_density, d_color,
):  # fmt: skip
    """The gradients of samples begin to end, of which those from ``stop`` on do not contribute, from the pixel's.

    Back to front: ``transmittance`` is T_{k+1} and ``later`` the sum of w_i h_i behind the sample at hand.
    """
    transmittance = np.float64(behind)
    opaque = opaque * transmittance
    later = 0.0
    i = end
    while i > begin:
        i -= np.uintp(1)
        weight = np.float64(weights[i])
        if d_density.size:
            step, middle = _step(t_start[i], t_end[i], by_length)
            gain = red * color[i, 0] + green * color[i, 1] + blue * color[i, 2]
            gain += distance * middle
            if d_weights.size:
                gain += d_weights[i]
            d_density[i] = (transmittance * gain - later + opaque) * step if i < stop else 0.0
            later += weight * gain
            transmittance += weight
        if d_color.size:
            d_color[i, 0] = weight * red
            d_color[i, 1] = weight * green
            d_color[i, 2] = weight * blue


@inline
def pixel_gradient(d_pixel, d_opacity, d_depth, ray):
    """A ray's red, green, blue, opacity and depth in float64; 0 where there is no gradient."""
    red, green, blue = 0.0, 0.0, 0.0
    if d_pixel.size:
        red, green, blue = np.float64(d_pixel[ray, 0]), np.float64(d_pixel[ray, 1]), np.float64(d_pixel[ray, 2])
    opaque = np.float64(d_opacity[ray]) if d_opacity.size else 0.0
    return red, green, blue, opaque, np.float64(d_depth[ray]) if d_depth.size else 0.0


@jit
def _forward_kernel(
    density, color, t_start, t_end, offsets, by_length, early_stop, parts, pixel, opacity, depth, weights, behind, used
):
    """Also writes, per ray, how many samples contribute (``used``) and the transmittance ``behind`` the last one."""
    for part in prange(parts):
        for ray in range(_first_ray(offsets, part, parts), _first_ray(offsets, part + 1, parts)):
            begin, end = np.uintp(offsets[ray]), np.uintp(offsets[ray + 1])
            red, green, blue, opaque, distance, transmittance, count = composite_ray(
                density, color, t_start, t_end, by_length, early_stop, begin, end, weights
            )
            pixel[ray, 0] = red
            pixel[ray, 1] = green
            pixel[ray, 2] = blue
            opacity[ray] = opaque
            depth[ray] = distance
            behind[ray] = transmittance
            used[ray] = count


@jit
def _backward_kernel(
    color, t_start, t_end, offsets, by_length, parts, weights, behind, used,
    d_pixel, d_color, d_opacity, d_depth, d_weights, d_density,
):  # fmt: skip
    for part in prange(parts):
        for ray in range(_first_ray(offsets, part, parts), _first_ray(offsets, part + 1, parts)):
            begin, end = np.uintp(offsets[ray]), np.uintp(offsets[ray + 1])
            red, green, blue, opaque, distance = pixel_gradient(d_pixel, d_opacity, d_depth, ray)
            composite_ray_backward(
                color, t_start, t_end, by_length, begin, begin + np.uintp(used[ray]), end, weights, behind[ray],
                red, green, blue, opaque, distance, d_weights, d_density, d_color,
            )  # fmt: skip


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def forward(density, color, t_start, t_end, offsets, by_length, early_stop):
    """Color, opacity, depth, weights, and what ``backward`` needs besides: ``behind`` (R,), ``used`` (R,) int32."""
    rays = offsets.shape[0] - 1
    pixel, weights = torch.empty(rays, 3), torch.empty(density.shape[0])
    opacity, depth, behind = torch.empty(rays), torch.empty(rays), torch.empty(rays)
    used = torch.empty(rays, dtype=torch.int32)
    inputs = [_array(x) for x in (density, color, t_start, t_end, offsets)]
    outputs = (pixel, opacity, depth, weights, behind, used)
    _forward_kernel(*inputs, by_length, early_stop, get_num_threads(), *(x.numpy() for x in outputs))
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
    d_density = torch.empty(weights.shape) if to_density else None
    d_color = torch.empty(color.shape) if to_color and d_pixel is not None else None
    inputs = [_array(x) for x in (color, t_start, t_end, offsets)]
    saved = [_array(x) for x in (weights, behind, used)]
    rgb = [_array(_ABSENT_RGB if x is None else x) for x in (d_pixel, d_color)]
    others = [_array(_ABSENT if x is None else x) for x in (d_opacity, d_depth, d_weights, d_density)]
    _backward_kernel(*inputs, by_length, get_num_threads(), *saved, *rgb, *others)
    return d_density, d_color
