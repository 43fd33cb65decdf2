"""Rays through pixel centers: of given pixels, and of pixels drawn at random for a training step.

The camera is a pinhole in OpenGL's axes: x right, y up, looking along -z; row 0 on top. With the pose [R | p] and
fx, fy, cx, cy in pixels, pixel (row i, column j) has the ray

    local = ((j + 1/2 - cx) / fx,  (cy - i - 1/2) / fy,  -1)
    origin = p
    direction = R local / |R local|
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..backend import backend_for
from ..philox import Draw


class RayBatch(NamedTuple):
    """R rays and the pixels they look through.

    ``origins`` (R,3); ``directions`` (R,3) of unit length; ``view``, ``row``, ``column`` (R,) int64.
    """

    origins: Tensor
    directions: Tensor
    view: Tensor
    row: Tensor
    column: Tensor


def _check_cameras(camera_to_world: Tensor, intrinsics: Tensor, backend: str) -> None:
    views = camera_to_world.shape[0] if camera_to_world.ndim else 0
    if camera_to_world.shape != (views, 3, 4):
        raise ValueError(f"camera_to_world must be (N,3,4), got {tuple(camera_to_world.shape)}")
    if intrinsics.shape != (views, 4):
        raise ValueError(f"intrinsics must be ({views},4) like camera_to_world, got {tuple(intrinsics.shape)}")
    if camera_to_world.dtype != intrinsics.dtype or camera_to_world.device != intrinsics.device:
        raise ValueError("camera_to_world and intrinsics must share one dtype and one device")
    if backend != "reference" and camera_to_world.dtype != torch.float32:
        raise ValueError(f"the {backend} backend computes in float32, got {camera_to_world.dtype}")


def _rays(camera_to_world: Tensor, intrinsics: Tensor, pixels: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    backend = backend_for(camera_to_world)
    if backend == "triton":
        from . import triton

        return triton.Rays.apply(camera_to_world, intrinsics, *pixels)
    if backend == "cpu":
        from . import cpu

        return cpu.Rays.apply(camera_to_world, intrinsics, *pixels)
    from . import reference

    return reference.rays_from_pixels(camera_to_world, intrinsics, *pixels)


def rays_from_pixels(
    camera_to_world: Tensor, intrinsics: Tensor, view: Tensor, row: Tensor, column: Tensor
) -> tuple[Tensor, Tensor]:
    """Rays through the centers of given pixels; differentiable in poses and intrinsics, deterministically.

    Args:
        camera_to_world: (N,3,4) float32, [rotation | position].
        intrinsics: (N,4) float32, fx, fy, cx, cy in pixels.
        view: (R,) int64 in [0, N).
        row, column: (R,) int64; any pixel, also one outside the image.

    Returns:
        origins (R,3) and unit directions (R,3).

    Raises:
        ValueError: a shape, dtype or device does not fit, or a view is out of range (on a GPU that is not looked at).
    """
    _check_cameras(camera_to_world, intrinsics, backend_for(camera_to_world))
    for name, index in (("view", view), ("row", row), ("column", column)):
        if index.ndim != 1 or index.shape != view.shape or index.dtype != torch.int64:
            raise ValueError(f"{name} must be an (R,) int64 tensor, got {tuple(index.shape)} {index.dtype}")
        if index.device != camera_to_world.device:
            raise ValueError(f"{name} is on {index.device}, the cameras are on {camera_to_world.device}")
    if view.device.type == "cpu" and len(view) and not 0 <= int(view.min()) <= int(view.max()) < len(camera_to_world):
        raise ValueError(f"view must be in [0, {len(camera_to_world)})")
    return _rays(camera_to_world, intrinsics, (view, row, column))


def sample_rays(
    camera_to_world: Tensor,
    intrinsics: Tensor,
    height: int,
    width: int,
    count: int,
    *,
    seed: int,
    step: int,
    first: int = 0,
    views: Tensor | None = None,
) -> RayBatch:
    """Rays through ``count`` pixels drawn uniformly, with replacement, from all pixels of ``views``.

    Ray r takes the words w0, w1, w2 of the Philox block at (r, 0, step, RAYS):
    view = views[(w0 len(views)) >> 32], row = (w1 height) >> 32, column = (w2 width) >> 32.

    Args:
        camera_to_world: (N,3,4) float32.
        intrinsics: (N,4) float32, in pixels.
        height, width: image size in pixels.
        count: number of rays R.
        seed, step: key of the draw; see ``nerfkit.kernels.philox``.
        first: number of ray 0, for a batch that is drawn in pieces.
        views: int64 indices of the views to draw from; all N if None.

    Returns:
        A ``RayBatch``. Origins and directions are differentiable in the poses and intrinsics.

    Raises:
        ValueError: a shape, dtype or device does not fit, or there is no pixel to draw.
    """
    backend = backend_for(camera_to_world)
    _check_cameras(camera_to_world, intrinsics, backend)
    device = camera_to_world.device
    if views is None:
        views = torch.arange(len(camera_to_world), device=device)
    elif views.ndim != 1 or views.dtype != torch.int64 or views.device != device:
        raise ValueError(f"views must be a 1-D int64 tensor on {device}, got {tuple(views.shape)} {views.dtype}")
    if device.type == "cpu" and len(views) and not 0 <= int(views.min()) <= int(views.max()) < len(camera_to_world):
        raise ValueError(f"views must be in [0, {len(camera_to_world)})")
    if count < 0 or (count > 0 and min(len(views), height, width) < 1):
        raise ValueError(f"cannot draw {count} rays from {len(views)} views of {height} x {width} pixels")
    draw = Draw(seed, step, first).checked(count)
    if backend == "triton":
        from . import triton

        pixels = triton.choose_pixels(draw, views, height, width, count)
    elif backend == "cpu":
        from . import cpu

        pixels = cpu.choose_pixels(draw, views, height, width, count)
    else:
        from . import reference

        pixels = reference.choose_pixels(draw, views, height, width, count)
    return RayBatch(*_rays(camera_to_world, intrinsics, pixels), *pixels)


__all__ = ["RayBatch", "rays_from_pixels", "sample_rays"]
