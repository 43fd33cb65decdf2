"""Interpolation of vertex attributes over fragments.

    image(pixel) = sum_k b_k a[v_k]          the face's corners v_0, v_1, v_2, perspective-correct barycentrics b

Backward, with the loss's gradient g at each pixel::

    d b_k = g . a[v_k]          d a[v] = sum of b_k g over all pixels whose face has v as corner k
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..backend import backend_for, implementation
from ..checks import FLOATS, INTEGERS, expect, expect_shown, expect_vertices


def interpolate(face: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """Attributes at every pixel, 0 where no face is.

    Two runs give the same bits, and on a CPU any number of threads does. The compiled backends compute in float32 and
    sum the attributes' gradient in float64. On a GPU that gradient takes 12 C + 16 bytes a pixel on the way.

    Args:
        face: (N,H,W) int32, the face at every pixel, -1 where there is none. Numbers count within the view's own list.
        barycentrics: (N,H,W,3), perspective-correct.
        faces: (F,3) int64 rows of ``attributes``, or (N,F,3) with a list for each view; rows of -1 are padding: a pixel
            that names one is empty. Corners with attributes of their own (UVs) use ``faces`` = 0 .. 3F-1.
        attributes: (V,C), the same in every view, or (N,V,C).

    Returns:
        (N,H,W,C), differentiable with respect to ``barycentrics`` and ``attributes``.

    Raises:
        ValueError: a shape or dtype is wrong; a pixel shows a face, or a face names a row of ``attributes``, which is
            not there. On a GPU the check waits for the device when it first meets a tensor.
    """
    expect("face", face, ("N", "H", "W"), dtype=INTEGERS)
    expect("barycentrics", barycentrics, (*face.shape, 3), dtype=FLOATS, like=face)
    expect("faces", faces, ("F", 3), (len(face), "F", 3), dtype=INTEGERS, like=face)
    expect("attributes", attributes, ("V", "C"), (len(face), "V", "C"), dtype=FLOATS, like=face)
    arguments = face, barycentrics, faces, attributes
    backend = backend_for(barycentrics)
    if backend != "cpu":  # whose kernel looks as it goes
        expect_shown(face, barycentrics, faces)
        expect_vertices("faces", faces, attributes.shape[-2])
    with implementation(__name__, barycentrics) as kernels:
        if backend == "reference":
            return kernels.interpolate(*arguments)
        return _Interpolate.apply(kernels, *arguments)


class _Interpolate(torch.autograd.Function):
    """``forward`` and ``backward`` of a compiled backend, put together for autograd.

    They see ``faces`` (M,F,3) and ``attributes`` (S,V,C) with M and S each 1 or N.
    """

    @staticmethod
    def forward(ctx: Any, kernels: ModuleType, face: Tensor, barycentrics: Tensor, *rows: Tensor) -> Tensor:
        faces, attributes = (x[None] if x.ndim == 2 else x for x in rows)
        inputs = (face.int(), barycentrics.float(), faces.long(), attributes.float())
        saved = [x.detach().contiguous() for x in inputs]
        ctx.save_for_backward(*saved)
        ctx.kernels, ctx.shape = kernels, rows[1].shape
        ctx.dtypes = barycentrics.dtype, attributes.dtype
        image: Tensor = kernels.forward(*saved)
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_image: Tensor) -> tuple[Tensor | None, ...]:
        _, _, to_barycentrics, _, to_attributes = ctx.needs_input_grad
        grad_image = grad_image.float().contiguous()
        for_barycentrics, for_attributes = ctx.kernels.backward(
            *ctx.saved_tensors, grad_image, to_barycentrics=to_barycentrics, to_attributes=to_attributes
        )
        if to_barycentrics:
            for_barycentrics = for_barycentrics.to(ctx.dtypes[0])
        if to_attributes:
            for_attributes = for_attributes.view(ctx.shape).to(ctx.dtypes[1])
        return None, None, for_barycentrics, None, for_attributes


__all__ = ["interpolate"]
