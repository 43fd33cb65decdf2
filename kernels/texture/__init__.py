"""Texture look-ups: bilinear, and trilinear through a pyramid of mipmaps.

The convention is OBJ's: u to the right, v up; texel (i,j) of A x B has its center at u = (j + 0.5) / B,
v = 1 - (i + 0.5) / A. With the texel coordinates x = u B - 0.5 and y = (1 - v) A - 0.5::

    bilinear  = sum_ij hat(y - i) hat(x - j) texture[i, j]        hat(z) = max(0, 1 - |z|)
    trilinear = (1 - f) bilinear of level k + f bilinear of level k + 1        k = floor(level), f = level - k

Beyond the outermost texels' centers their own value counts. Level 0 is the texture; each further level halves both
sides, n to max(1, floor(n / 2)), down to one texel (Williams 1983, "Pyramidal parametrics"). A texel of the smaller
level is the mean of the area under it, so that every level has the texture's mean; from an odd side n = 2 m + 1 it
takes three texels with the weights (m - i, m, i + 1) / n, from an even one two halves.

The derivative by u and v jumps at the texels' centers, and at the outermost ones, where clamping begins. There the mean
of both sides is returned, which is what central differences give.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..backend import backend_for, implementation
from ..checks import FLOATS, expect


def mipmaps(texture: Tensor) -> list[Tensor]:
    """The pyramid of a texture, differentiable.

    Args:
        texture: (A,B,C) or (N,A,B,C), at least one texel and channel.

    Returns:
        1 + floor(log2(max(A, B))) levels, ``texture`` itself first, one texel last.

    Raises:
        ValueError: the shape is wrong.
    """
    levels = [_checked(texture)]
    with implementation(__name__, texture) as kernels:
        exact = backend_for(texture) == "reference"
        while max(levels[-1].shape[1:3]) > 1:
            levels.append(kernels.halve(levels[-1]) if exact else _Halve.apply(kernels, levels[-1]))
    return [texture, *(level.view(*texture.shape[:-3], *level.shape[1:]) for level in levels[1:])]


def sample_texture(texture: Tensor, uv: Tensor, covered: Tensor | None = None, level: Tensor | None = None) -> Tensor:
    """Texture look-up, bilinear, or trilinear where ``level`` is given; the formulas head this module.

    The pyramid is made on the way, and the texture's gradient flows back through it. Two runs give the same bits, and
    on a CPU any number of threads does. A coordinate that is NaN reads the first texel and gets no gradient, and a
    level that is NaN is 0. On a GPU the texture's gradient takes 16 C + 32 bytes a sample and level, and 16 C + 16
    bytes a texel of the pyramid, on the way.

    Args:
        texture: (A,B,C), at least one texel and channel; or (N,A,B,C), a texture for each row of ``uv``.
        uv: (...,2); (N,...,2) with N textures.
        covered: (...) bool: where to look up; elsewhere the result is 0. Everywhere if not given.
        level: (...), 0 for the full texture, 1 for half its size; clamped to the pyramid. A level finer than 0 has
            nothing to add, so magnified textures are bilinear.

    Returns:
        (...,C), differentiable with respect to ``texture``, ``uv`` and ``level``. The derivative by ``level`` is the
        step to the next level (at a whole number: the next coarser), 0 outside the pyramid.

    Raises:
        ValueError: a shape is wrong.
    """
    textures = _checked(texture)
    places = uv.shape[:-1]
    if uv.shape[-1:] != (2,) or not uv.is_floating_point():
        raise ValueError(f"uv: expected floats of shape (...,2), got {uv.dtype} {tuple(uv.shape)}")
    if texture.ndim == 4 and (len(places) == 0 or places[0] != len(texture)):
        expected = f"(N,...,2) with N = {len(texture)} as the texture has"
        raise ValueError(f"uv: expected {expected}, got {tuple(uv.shape)}")
    expect("uv", uv, uv.shape, dtype=uv.dtype, like=texture)
    if covered is None:
        covered = torch.ones(places, dtype=torch.bool, device=uv.device)
    expect("covered", covered, places, dtype=covered.dtype, like=texture)
    if level is not None:
        expect("level", level, places, dtype=FLOATS, like=texture)
    inputs = (textures, uv.reshape(-1, 2), covered.reshape(-1), None if level is None else level.reshape(-1))
    with implementation(__name__, texture) as kernels:
        if backend_for(texture) == "reference":
            image = kernels.sample_texture(*inputs)
        else:
            image = _SampleTexture.apply(kernels, *inputs)
    return image.view(*places, texture.shape[-1])


def _checked(texture: Tensor) -> Tensor:
    """(N,A,B,C) view of a texture."""
    if texture.ndim not in (3, 4) or 0 in texture.shape[-3:]:
        expected = "(A,B,C) or (N,A,B,C) with at least one texel and channel"
        raise ValueError(f"texture: expected {expected}, got {tuple(texture.shape)}")
    return texture[None] if texture.ndim == 3 else texture


class _Halve(torch.autograd.Function):
    """One level of the pyramid from the one before it, by a compiled backend."""

    @staticmethod
    def forward(ctx: Any, kernels: ModuleType, texture: Tensor) -> Tensor:
        ctx.kernels, ctx.shape, ctx.dtype = kernels, texture.shape, texture.dtype
        smaller: Tensor = kernels.halve(texture.detach().float().contiguous())
        return smaller

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, ctx.kernels.halve_transposed(gradient.float().contiguous(), ctx.shape).to(ctx.dtype)


class _SampleTexture(torch.autograd.Function):
    """``forward`` and ``backward`` of a compiled backend, put together for autograd.

    They see ``texture`` (N,A,B,C) with the same number of samples for each, ``uv`` (P,2), ``covered`` (P,) and
    ``level`` (P,) or None.
    """

    @staticmethod
    def forward(
        ctx: Any, kernels: ModuleType, texture: Tensor, uv: Tensor, covered: Tensor, level: Tensor | None
    ) -> Tensor:
        floats = (None if x is None else x.detach().float().contiguous() for x in (texture, uv, level))
        ctx.dtypes = [None if x is None else x.dtype for x in (texture, uv, level)]
        texture, uv, level = floats  # type: ignore[assignment]
        covered = covered.bool().contiguous()
        image: Tensor
        image, pyramid = kernels.forward(texture, uv, covered, level)
        ctx.save_for_backward(texture, pyramid, uv, covered, level)
        ctx.kernels = kernels
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _, to_texture, to_uv, _, to_level = ctx.needs_input_grad
        found = ctx.kernels.backward(
            *ctx.saved_tensors, gradient.float().contiguous(), to_texture=to_texture, to_uv=to_uv, to_level=to_level
        )
        for_texture, for_uv, for_level = (
            None if x is None else x.to(dtype) for x, dtype in zip(found, ctx.dtypes, strict=True)
        )
        return None, for_texture, for_uv, None, for_level


__all__ = ["mipmaps", "sample_texture"]
