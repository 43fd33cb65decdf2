"""Hard z-buffer rasterization with differentiable barycentrics and depth.

Points are *homogeneous pixel coordinates* p = (w x, w y, w): x, y in pixels, w the distance in front of the camera
plane. With q = (x, y, 1) at a pixel's center and the corners p_0, p_1, p_2 of a face, the edge functions are

    e_0 = (p_1 x p_2) . q        e_1 = (p_2 x p_0) . q        e_2 = (p_0 x p_1) . q

The pixel is covered where all three have the sign of det = p_0 . (p_1 x p_2); then the perspective-correct barycentrics
are b_i = e_i / sum(e) and the depth is w = sum(b_i w_i) (Olano and Greer, "Triangle scan conversion using 2D
homogeneous coordinates", 1997). Nothing is divided by a corner's w, so a face that crosses the camera plane needs no
clipping.

Backward, derived by hand. With G_i the loss's gradient for b_i, plus that for the depth times w_i, and s = sum(e),

    g_i = (G_i - sum_k G_k b_k) / s        is the gradient for e_i, and
    p_0 gets q x (g_1 p_2 - g_2 p_1), the other two in turn; besides, the depth gives b_i to each corner's w.

That is linear in the outer products g_i q, so a face needs only their sums over its pixels: 9 numbers, and 3 of depth.
"""

import math
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..backend import backend_for, implementation
from ..checks import FLOATS, INTEGERS, expect, expect_vertices, trust


def rasterize(
    points: Tensor, faces: Tensor, height: int, width: int, near: float = 1e-3
) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest face at every pixel's center.

    Front and back faces both count. A pixel's center exactly on an edge belongs to both faces; of two fragments with
    the same (float32) depth the lower face number wins. Fragments nearer than ``near`` are dropped, faces that project
    to no area or have a corner that is not finite as well.

    Results and gradients do not depend on the number of threads, and every run gives the same bits.

    Args:
        points: (N,V,3) float, (w x, w y, w) of every vertex in every view; the center of pixel (i,j) is at
            x, y = (j+0.5, i+0.5).
        faces: (F,3) int64 or int32 vertex numbers, the same in every view; or (N,F,3), a mesh for each view. Rows of
            three -1 are padding.
        height, width: image size in pixels.
        near: smallest visible depth, > 0; it is taken in float32, in which depths are compared.

    Returns:
        face (N,H,W) int32, the row of ``faces`` (of the view's own), -1 where nothing is; barycentrics (N,H,W,3) and
        depth (N,H,W), both 0 there. Barycentrics and depth are differentiable with respect to ``points``. Where a face
        covers less than ``reference.MIN_AREA`` square pixels its barycentrics count as constants: their derivative has
        no bound.

    Raises:
        ValueError: a shape or dtype is wrong, ``near`` is not positive, or a vertex number is out of range. On a GPU
            that last check waits for the device when it first meets a tensor of faces, and not again.
    """
    expect("points", points, ("N", "V", 3), dtype=FLOATS)
    expect("faces", faces, ("F", 3), (len(points), "F", 3), dtype=INTEGERS, like=points)
    if height < 1 or width < 1:
        raise ValueError(f"image size: expected at least one pixel, got {height} x {width}")
    given, near = near, torch.tensor(near, dtype=torch.float32).item()
    if not 0 < near < math.inf:
        raise ValueError(f"near: expected a distance that is positive and finite in float32, got {given}")
    backend = backend_for(points)
    if backend != "cpu":  # whose kernel looks at every vertex number in any case
        expect_vertices("faces", faces, points.shape[1])
    with implementation(__name__, points) as kernels:
        if backend == "reference":
            found = kernels.rasterize(points, faces, height, width, near)
        else:
            found = _Rasterize.apply(kernels, points, faces, height, width, near)
    trust(found[0], faces.shape[-2])
    return found


class _Rasterize(torch.autograd.Function):
    """``forward`` and ``backward`` of a compiled backend, ``cpu`` or ``triton``, put together for autograd."""

    @staticmethod
    def forward(
        ctx: Any, kernels: ModuleType, points: Tensor, faces: Tensor, height: int, width: int, near: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        face, barycentrics, depth = kernels.forward(points, faces, height, width, near)
        ctx.save_for_backward(points, faces, face)
        ctx.kernels = kernels
        ctx.mark_non_differentiable(face)
        return face, barycentrics, depth

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, _: None, grad_barycentrics: Tensor | None, grad_depth: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        points, faces, face = ctx.saved_tensors
        if grad_barycentrics is None and grad_depth is None:
            return None, torch.zeros_like(points), None, None, None, None
        grad_points = ctx.kernels.backward(points, faces, face, grad_barycentrics, grad_depth)
        return None, grad_points, None, None, None, None
