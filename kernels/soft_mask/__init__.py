"""Soft visibility: masks and pictures in which every face near a pixel takes part.

Distances are in normalized device coordinates, which run over [-1, 1] across the picture's width and again up its
height, as in both projects that the two operations come from: Kaolin's DIB-R and SoftRas. Their settings mean here what
they mean there. Faces are taken as they project: there is no clipping, so a face with a corner behind the camera, or
nearer than ``geometry.NEAREST``, is left out whole, as are padding and faces with a corner that is not finite.
"""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..backend import backend_for, implementation
from ..checks import FLOATS, INTEGERS, expect, expect_shown, expect_vertices
from . import geometry

FLAT = 1e-10
"""Twice the area, in normalized device coordinates, below which a face has no barycentrics, so no color."""

MIN_AREA = 1e-3
"""Twice the projected area, in square pixels, below which barycentrics get no gradient: it has no bound."""


def dibr_mask(
    points: Tensor, faces: Tensor, face: Tensor, *, sigmainv: float = 7000.0, boxlen: float = 0.02, knum: int = 30
) -> Tensor:
    """DIB-R's soft mask, as Kaolin's ``dibr_soft_mask`` computes it (Chen et al. 2019).

    A covered pixel is 1 and gives no gradient. Elsewhere, with d_f the distance of the pixel's center to the nearest
    point of face f's three edges (a corner, where that is nearer than any perpendicular foot)::

        mask = 1 - prod_f (1 - exp(-sigmainv d_f^2))

    over the first ``knum`` faces, by number, whose bounding box grown by ``boxlen`` on every side holds the center
    (left and lower sides of the box included, right and upper ones not). Both bounds are Kaolin's: a face whose box
    does not reach the pixel is ignored however near it is, and so is the one after the ``knum``-th. Kaolin's backward
    pass adds 1e-7 to 1 - exp(-sigmainv d_f^2) before it divides by it; not so here, which is up to 3e-5 of a gradient.

    Args:
        points: (N,V,3) float, homogeneous pixel coordinates (w x, w y, w).
        faces: (F,3), or (N,F,3) with a topology for each view; rows of -1 are padding.
        face: (N,H,W) int32, the face at every pixel, negative where there is none: see ``rasterize``.
        sigmainv: sharpness; Kaolin recommends 1 / 3e-4 to 1 / 3e-5.
        boxlen: margin around a face's bounding box.
        knum: most faces that count at a pixel.

    Memory on top of the result: 89 bytes a face and view and 16 a pixel are kept for the backward pass; on the way some
    200 a face and view forward, 300 backward. With Triton faces are listed by tiles of pixels, a piece of the pictures
    at a time: at most 0.7 GB forward, 1.5 GB backward, and 0.07 GB kept (``triton_lists``).

    Returns:
        (N,H,W), float32 (the reference: the dtype of ``points``), differentiable with respect to ``points``.

    Raises:
        ValueError: a shape, dtype or setting is wrong.
    """
    faces = _check_mesh(points, faces)
    expect_shown(face, points, faces)
    if 0 in face.shape[1:]:
        raise ValueError(f"face: expected at least one pixel, got {face.shape[1]} x {face.shape[2]}")
    if not (sigmainv > 0 and boxlen >= 0 and knum >= 1):
        found = f"sigmainv {sigmainv}, boxlen {boxlen}, knum {knum}"
        raise ValueError(f"DIB-R's settings: expected sigmainv > 0, boxlen >= 0 and knum >= 1, got {found}")
    settings = (float(sigmainv), float(boxlen), int(knum))
    with implementation(__name__, points) as kernels:
        if backend_for(points) == "reference":
            return kernels.dibr_mask(points, faces, face, *settings)
        return _DibrMask.apply(kernels, points, faces, face.int().contiguous(), settings)


def soft_rasterize(
    points: Tensor,
    faces: Tensor,
    colors: Tensor | None,
    height: int,
    width: int,
    *,
    corners: bool = False,
    background: Tensor | Sequence[float] | None = None,
    sigma: float = 1e-4,
    gamma: float = 1e-4,
    eps: float = 1e-3,
    near: float = 1.0,
    far: float = 100.0,
    dist_eps: float = 1e-4,
    through_barycentrics: bool = True,
) -> Tensor:
    """SoftRas' picture: every face near a pixel takes part (Liu et al. 2019), with the project's default functions.

    With d the distance of the pixel's center to the nearest point of a face's edges, s = 1 inside the face and -1
    outside, and b its barycentrics on the screen, each clipped to [0, 1] and then divided by their sum::

        D      = sigmoid(s d^2 / sigma)            faces with s = -1 and d^2 >= sigma log(1 / dist_eps - 1) are left out
        alpha  = 1 - prod (1 - D)
        depth  = 1 / sum_k (b_k / w_k)             colors of faces outside [near, far] are left out, their D is not
        z      = (far - depth) / (far - near)
        color = (sum v sum_k b_k c_k + v_0 background) / (sum v + v_0),    v = D exp(z / gamma), v_0 = exp(eps / gamma)

    Colors are not premultiplied by ``alpha`` and both sides of a face count (``fill_back=True`` there). SoftRas' own
    kernel starts its sum with exp(eps / gamma) for a maximum that is already eps, so its background counts as the
    formula's with 2 eps: exp(eps / gamma) times as much, which at the default gamma shows only within 0.1 % of the far
    plane. Of faces outside [near, far] its backward pass forgets the gradient of D, though alpha counts them; here it
    stays. It divides by 1e-6 where 1 - D is less: up to 3e-6 of a gradient.

    A face of less area than ``FLAT``, seen edge-on for example, keeps its D, by its distance, and has no color.
    SoftRas divides by a floor under the area there, which makes its barycentrics rounding errors.

    Args:
        points: (N,V,3) float, homogeneous pixel coordinates (w x, w y, w).
        faces: (F,3), or (N,F,3) with a topology for each view; rows of -1 are padding.
        colors: of vertices, (V,C) or (N,V,C); with ``corners`` of the faces' corners, (F,3,C) or (N,F,3,C). None gives
            the alpha alone, which costs less.
        height, width: image size in pixels.
        corners: whether ``colors`` are the corners'.
        background: (C,), not differentiable; zeros if None.
        sigma, gamma: softness across the screen and in depth.
        eps: the background's place in depth, in the units of z.
        near, far: depths w, in the points' unit, that z runs between. The defaults are SoftRas', made for cameras some
            3 units from an object of unit size, as ours are from [-1,1]^3; ``gamma`` counts relative to far - near.
        dist_eps: faces that contribute less than this outside themselves are left out.
        through_barycentrics: whether positions also get the gradient of b, that is of interpolated colors and of the
            depth's slope. It is part of the derivative, but SoftRas leaves it out: False is what SoftRas does.

    Memory on top of the result: 89 bytes and the colors (12 C) a face and view and 24 + 8 C a pixel, with Triton 16,
    are kept for the backward pass; on the way some 200 a face and view forward, 300 + 12 C backward. With Triton faces
    are listed by tiles of pixels, a piece of the pictures at a time: at most 0.7 GB forward, 2.7 GB backward, and 0.07
    GB kept (``triton_lists``). It takes colors 4 at a time, and keeps all of this for each 4.

    Returns:
        (N,H,W,C+1), float32 (the reference: the dtype of ``points``), alpha last; differentiable with respect to
        ``points`` and ``colors``.

    Raises:
        ValueError: a shape, dtype or setting is wrong.
    """
    faces = _check_mesh(points, faces)
    if height < 1 or width < 1:
        raise ValueError(f"image size: expected at least one pixel, got {height} x {width}")
    if not (sigma > 0 and gamma > 0 and 0 < near < far and 0 < dist_eps < 0.5):
        found = f"sigma {sigma}, gamma {gamma}, near {near}, far {far}, dist_eps {dist_eps}"
        raise ValueError(
            f"SoftRas' settings: expected sigma > 0, gamma > 0, 0 < near < far, 0 < dist_eps < 0.5, got {found}"
        )
    cutoff = float(sigma) * math.log(1 / dist_eps - 1)
    settings = (float(sigma), float(gamma), float(eps), float(near), float(far), cutoff, bool(through_barycentrics))
    backend = backend_for(points)
    with implementation(__name__, points) as kernels:
        values = _corner_colors(kernels if backend != "reference" else None, points, faces, colors, corners)
        channels = values.shape[-1]
        behind = points.new_zeros(channels) if background is None else torch.as_tensor(background).detach().to(points)
        expect("background", behind, (channels,))
        if backend == "reference":
            return kernels.soft_rasterize(points, faces, values.to(points), height, width, behind, *settings)
        most = kernels.MOST_CHANNELS if backend == "triton" else max(channels, 1)
        parts = [
            _SoftRasterize.apply(kernels, points, faces, part, height, width, end, settings)
            for part, end in zip(values.split(most, -1), behind.split(most), strict=True)
        ]
    return torch.cat([*(part[..., :-1] for part in parts), parts[0][..., -1:]], -1) if len(parts) > 1 else parts[0]


def _check_mesh(points: Tensor, faces: Tensor) -> Tensor:
    """The faces as (1 or N,F,3) int64."""
    expect("points", points, ("N", "V", 3), dtype=FLOATS)
    expect("faces", faces, ("F", 3), (len(points), "F", 3), dtype=INTEGERS, like=points)
    expect_vertices("faces", faces, points.shape[1])
    return (faces if faces.ndim == 3 else faces[None]).long()


def _corner_colors(
    kernels: ModuleType | None, points: Tensor, faces: Tensor, colors: Tensor | None, corners: bool
) -> Tensor:
    """Colors of the faces' corners (1 or N,F,3,C)."""
    if colors is None:
        return points.new_zeros(1, faces.shape[1], 3, 0)
    inner = (faces.shape[1], 3, "C") if corners else (points.shape[1], "C")
    expect("colors", colors, inner, (1, *inner), (len(points), *inner), dtype=FLOATS, like=points)
    values = colors[None] if colors.ndim == len(inner) else colors
    if corners:
        return values
    return geometry.gather(values, faces) if kernels is None else _Gather.apply(kernels, values, faces)


class _Gather(torch.autograd.Function):
    """``geometry.gather`` with a backward pass that adds up in a fixed order."""

    @staticmethod
    def forward(ctx: Any, kernels: ModuleType, attributes: Tensor, faces: Tensor) -> Tensor:
        ctx.kernels, ctx.shape = kernels, attributes.shape
        ctx.save_for_backward(faces)
        return geometry.gather(attributes, faces)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        (faces,) = ctx.saved_tensors
        sums = ctx.kernels.scatter(gradient, faces, ctx.shape[1])  # (N, V, C)
        return None, sums.sum(0, keepdim=True) if ctx.shape[0] < sums.shape[0] else sums, None


class _DibrMask(torch.autograd.Function):
    """``dibr_forward`` and ``dibr_backward`` of a compiled backend, put together for autograd."""

    @staticmethod
    def forward(
        ctx: Any, kernels: ModuleType, points: Tensor, faces: Tensor, face: Tensor, settings: tuple[float, float, int]
    ) -> Tensor:
        height, width = face.shape[1:]
        corners, usable = geometry.project(points.detach().double(), faces, height, width)
        boxes = geometry.pixel_boxes(corners, usable, settings[1], height, width)
        mask, *saved = kernels.dibr_forward(corners, boxes, face, *settings)
        ctx.save_for_backward(faces, face, corners, usable, boxes, *saved)
        ctx.kernels, ctx.settings, ctx.vertices, ctx.dtype = kernels, settings, points.shape[1], points.dtype
        return mask

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        faces, face, corners, usable, boxes, *saved = ctx.saved_tensors
        by_corners = ctx.kernels.dibr_backward(
            corners, boxes, face, *saved, gradient.float().contiguous(), *ctx.settings
        )
        by_pixels = geometry.unproject_gradient(by_corners, corners, usable, *face.shape[1:])
        return None, ctx.kernels.scatter(by_pixels, faces, ctx.vertices).to(ctx.dtype), None, None, None


class _SoftRasterize(torch.autograd.Function):
    """``soft_forward`` and ``soft_backward`` of a compiled backend, put together for autograd."""

    @staticmethod
    def forward(
        ctx: Any, kernels: ModuleType, points: Tensor, faces: Tensor, colors: Tensor, height: int, width: int,
        background: Tensor, settings: tuple[float, float, float, float, float, float, bool],
    ) -> Tensor:  # fmt: skip
        corners, usable = geometry.project(points.detach().double(), faces, height, width)
        boxes = geometry.pixel_boxes(corners, usable, math.sqrt(settings[5]), height, width)
        values = colors.detach().float().contiguous()
        picture, *saved = kernels.soft_forward(corners, boxes, values, height, width, background.float(), *settings)
        ctx.save_for_backward(faces, corners, usable, boxes, values, *saved)
        ctx.kernels, ctx.settings, ctx.vertices = kernels, settings, points.shape[1]
        ctx.dtypes = points.dtype, colors.dtype
        return picture

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        faces, corners, usable, boxes, values, *saved = ctx.saved_tensors
        gradient = gradient.float().contiguous()
        by_corners, by_colors = ctx.kernels.soft_backward(corners, boxes, values, *saved, gradient, *ctx.settings)
        by_pixels = geometry.unproject_gradient(by_corners, corners, usable, *gradient.shape[1:3])
        by_points = ctx.kernels.scatter(by_pixels, faces, ctx.vertices).to(ctx.dtypes[0])
        return None, by_points, None, by_colors.to(ctx.dtypes[1]), None, None, None, None


__all__ = ["dibr_mask", "soft_rasterize"]
