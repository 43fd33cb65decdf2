"""A texture on fragments: coordinates of the faces' corners at every pixel, the texture there, and the coverage.

    uv = sum_k b_k uv_k,    image = (bilinear(uv), 1)        0 where no face is

Backward, with the look-up's slopes du, dv and the loss's gradient g of a pixel's colors:

    d b_k = g . (du u_k + dv v_k),    d texel = sum of its bilinear weights times g

This is ``interpolate`` and ``texture`` in one pass over the pixels, with the bits of those two.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..backend import backend_for, implementation
from ..checks import FLOATS, expect, expect_shown


def textured(face: Tensor, barycentrics: Tensor, corner_uvs: Tensor, texture: Tensor) -> Tensor:
    """The image (N,H,W,C+1), the coverage in its last channel. Two runs give the same bits, with any number of threads.

    Args:
        face: (N,H,W) int32, the face at every pixel, -1 where there is none.
        barycentrics: (N,H,W,3), perspective-correct. Differentiable.
        corner_uvs: (F,3,2), as ``nerfkit.kernels.texture`` understands them. Not differentiable.
        texture: (A,B,C), at least one texel and channel. Differentiable.

    Raises:
        ValueError: a shape or dtype is wrong; a pixel shows a face that is not there.
    """
    expect("barycentrics", barycentrics, (*face.shape, 3), dtype=FLOATS)
    expect("corner_uvs", corner_uvs, ("F", 3, 2), dtype=FLOATS, like=barycentrics)
    expect("texture", texture, ("A", "B", "C"), dtype=FLOATS, like=barycentrics)
    if 0 in texture.shape:
        raise ValueError(f"texture: expected at least one texel and channel, got {tuple(texture.shape)}")
    expect_shown(face, barycentrics, corner_uvs[..., 0])
    with implementation(__name__, barycentrics) as kernels:
        if backend_for(barycentrics) == "reference":
            return kernels.textured(face, barycentrics, corner_uvs.detach(), texture)
        return _Textured.apply(kernels, face, barycentrics, corner_uvs, texture)


class _Textured(torch.autograd.Function):
    """``forward`` and ``backward`` of a compiled backend, put together for autograd."""

    @staticmethod
    def forward(
        ctx: Any, kernels: ModuleType, face: Tensor, barycentrics: Tensor, corner_uvs: Tensor, texture: Tensor
    ) -> Tensor:
        floats = (x.detach().float().contiguous() for x in (barycentrics, corner_uvs, texture))
        inputs = (face.int().contiguous(), *floats)
        image, uv = kernels.forward(*inputs)
        ctx.save_for_backward(*inputs, uv)
        ctx.kernels, ctx.dtypes = kernels, (barycentrics.dtype, texture.dtype)
        found: Tensor = image
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _, _, to_barycentrics, _, to_texture = ctx.needs_input_grad
        found = ctx.kernels.backward(
            *ctx.saved_tensors, gradient.float().contiguous(), to_barycentrics=to_barycentrics, to_texture=to_texture
        )
        for_barycentrics, for_texture = (
            None if x is None else x.to(dtype) for x, dtype in zip(found, ctx.dtypes, strict=True)
        )
        return None, None, for_barycentrics, None, for_texture


__all__ = ["textured"]
