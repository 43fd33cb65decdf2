"""Emission-absorption compositing of packed samples along rays: color, opacity, depth and weights.

With the optical depth ``tau_i`` of sample ``i`` of a ray, front to back (Max 1995, "Optical models for direct volume
rendering"; Mildenhall et al. 2020, eq. 3)::

    tau_i   = density_i * (t_end_i - t_start_i)      opacity="density"
    tau_i   = density_i                              opacity="raw": the step has no length, as in PyTorch3D's tutorial
    T_i     = exp(-sum_{j<i} tau_j)                  transmittance in front of the sample
    alpha_i = 1 - exp(-tau_i)
    w_i     = T_i alpha_i  if T_i >= early_stop, else 0

    color = sum w_i c_i      opacity = sum w_i      depth = sum w_i m_i      m_i = (t_start_i + t_end_i) / 2

An interval of 1e10 or longer, up to no end at all (``t_end = inf``, an infinite far plane), counts as 1e10 long, as
Mildenhall et al.'s own code takes the last interval of a ray, and its ``m_i`` is its ``t_start``. An interval without
length holds nothing, whatever its density.

Backward, derived by hand. Everything is linear in the weights, so let ``h_i = g_color . c_i + g_depth m_i + g_w_i``
be what the loss gains per unit of ``w_i``, leaving the opacity out. Since ``dw_k/dtau_k = T_{k+1}`` and
``dw_i/dtau_k = -w_i`` for ``i > k``::

    d tau_k = T_{k+1} h_k - sum_{i>k} w_i h_i + g_opacity T_end
    d c_k   = w_k g_color

over the samples that contribute; the others get zero. ``T_end`` is the transmittance behind the last of them. The
kernels walk a ray back to front with ``T_{k+1} = T_end + sum_{i>k} w_i``: a sum of positive numbers, so there is no
cancellation and no exponential to take again, and an infinite ``tau`` leaves every term finite.
"""

from types import ModuleType
from typing import Any, Literal, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from ..backend import backend_for, implementation
from ..checks import FLOATS, expect, expect_offsets

ENDLESS = 1e10
"""The length that any longer interval counts as."""


class Rendered(NamedTuple):
    """Pixels: ``color`` (R,3) premultiplied, ``opacity`` (R,), ``depth`` (R,) as the sum of weight times distance."""

    color: torch.Tensor
    opacity: torch.Tensor
    depth: torch.Tensor


class Composite(NamedTuple):
    """What ``composite`` returns. The color is premultiplied by the opacity and contains no background."""

    color: torch.Tensor  # (R, 3)
    opacity: torch.Tensor  # (R,)
    depth: torch.Tensor  # (R,)
    weights: torch.Tensor  # (S,)


def composite(
    density: torch.Tensor,
    color: torch.Tensor,
    t_start: torch.Tensor,
    t_end: torch.Tensor,
    offsets: torch.Tensor,
    *,
    opacity: Literal["density", "raw"] = "density",
    early_stop: float = 0.0,
) -> Composite:
    """Composite the samples ``offsets[r]`` to ``offsets[r + 1]`` of each ray ``r``; the formula heads this module.

    Gradients flow from all four results to ``density`` and ``color``; the distances get none. Results and gradients
    do not depend on the number of threads. A ray without samples gives zeros. A NaN stays in its ray. An infinite
    optical depth gives opacity 1 and finite gradients. Density is taken to be non-negative: below zero a weight is
    negative, and ``early_stop`` above 0 means nothing.

    Args:
        density: (S,), float32 (any float dtype with the reference), per unit of t, or without unit if ``"raw"``.
        color: (S, 3), same dtype.
        t_start: (S,), same dtype, finite, where each sample begins along its ray.
        t_end: (S,), same dtype, where it ends; may be infinite.
        offsets: (R + 1,), int64, from 0 to S, never decreasing. They are looked at on the CPU only: on a GPU that would
            wait for the device.
        opacity: whether a step's opacity depends on its length (``"density"``) or not (``"raw"``).
        early_stop: samples behind a transmittance lower than this count for nothing.

    Returns:
        Color (R, 3) premultiplied and without background, opacity (R,), depth (R,) as ``sum w_i m_i`` (divide by the
        opacity for the mean distance), weights (S,).

    Raises:
        ValueError: shapes, dtypes, offsets or ``opacity`` are not as above.
    """
    by_length = counts_length(opacity)
    expect("density", density, ("S",), dtype=FLOATS)
    count = len(density)
    expect("color", color, (count, 3), like=density)
    expect("t_start", t_start, (count,), like=density)
    expect("t_end", t_end, (count,), like=density)
    expect_offsets(offsets, max(offsets.numel() - 1, 0), count, density)
    return composite_unchecked(density, color, t_start, t_end, offsets, by_length, float(early_stop))


def counts_length(opacity: str) -> bool:
    """Whether a step's opacity depends on its length; ``ValueError`` unless it is ``"density"`` or ``"raw"``."""
    if opacity not in ("density", "raw"):
        raise ValueError(f"opacity: expected 'density' or 'raw', got {opacity!r}")
    return opacity == "density"


def composite_unchecked(density: torch.Tensor, *others: Any) -> Composite:
    """``composite`` of arguments that are known to fit, in its order; ``by_length`` instead of ``opacity``."""
    with implementation(__name__, density, float32="density") as kernels:
        if backend_for(density) == "reference":
            return Composite(*kernels.composite(density, *others))
        return Composite(*_Composite.apply(kernels, density, *others))


class _Composite(torch.autograd.Function):
    """``forward`` and ``backward`` of a compiled backend, ``cpu`` or ``triton``, put together for autograd."""

    @staticmethod
    def forward(ctx: Any, kernels: ModuleType, density: torch.Tensor, *others: Any) -> tuple[torch.Tensor, ...]:
        ctx.set_materialize_grads(False)
        color, t_start, t_end, offsets, by_length, early_stop = others
        *results, behind, used = kernels.forward(density, color, t_start, t_end, offsets, by_length, early_stop)
        ctx.save_for_backward(color, t_start, t_end, offsets, results[-1], behind, used)
        ctx.kernels, ctx.by_length = kernels, by_length
        return tuple(results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *incoming: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        to_density, to_color = ctx.needs_input_grad[1:3]
        gradients = ctx.kernels.backward(
            *ctx.saved_tensors, ctx.by_length, *incoming, to_density=to_density, to_color=to_color
        )
        return None, *gradients, None, None, None, None, None


__all__ = ["Composite", "Rendered", "composite"]
