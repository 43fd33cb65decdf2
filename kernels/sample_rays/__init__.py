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

from ..backend import implementation
from ..checks import FLOATS, expect, expect_numbers, expect_offsets, trust
from ..philox import Draw
from .pixel_set import PixelSet as PixelSet


class RayBatch(NamedTuple):
    """R rays and the pixels they look through.

    ``origins`` (R,3); ``directions`` (R,3) of unit length; ``view``, ``row``, ``column`` (R,) int64.
    """

    origins: Tensor
    directions: Tensor
    view: Tensor
    row: Tensor
    column: Tensor


def _check(camera_to_world: Tensor, intrinsics: Tensor, name: str, view: Tensor) -> None:
    """Cameras, and their numbers in the argument ``name``."""
    expect("camera_to_world", camera_to_world, ("N", 3, 4), dtype=FLOATS)
    count = len(camera_to_world)
    expect("intrinsics", intrinsics, (count, 4), like=camera_to_world)
    expect(name, view, ("R",), dtype=torch.int64, like=camera_to_world)
    expect_numbers(name, view, count)


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
        ValueError: a shape, dtype or device does not fit, or a view is out of range.
    """
    _check(camera_to_world, intrinsics, "view", view)
    expect("row", row, view.shape, dtype=torch.int64, like=view)
    expect("column", column, view.shape, dtype=torch.int64, like=view)
    with implementation(__name__, camera_to_world, float32="camera_to_world") as kernels:
        return kernels.rays_from_pixels(camera_to_world, intrinsics, view, row, column)


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
    if views is None:
        views = torch.arange(len(camera_to_world), device=camera_to_world.device)
        trust(views, len(camera_to_world))
    _check(camera_to_world, intrinsics, "views", views)
    if count < 0 or (count > 0 and min(len(views), height, width) < 1):
        raise ValueError(f"cannot draw {count} rays from {len(views)} views of {height} x {width} pixels")
    draw = Draw(seed, step, first).checked(count)
    with implementation(__name__, camera_to_world, float32="camera_to_world") as kernels:
        pixels = kernels.choose_pixels(draw, views, height, width, count)
        batch = RayBatch(*kernels.rays_from_pixels(camera_to_world, intrinsics, *pixels), *pixels)
    trust(batch.view, len(camera_to_world))
    return batch


def sample_photos(
    camera_to_world: Tensor,
    intrinsics: Tensor,
    photos: Tensor,
    offsets: Tensor,
    widths: Tensor,
    chosen: PixelSet,
    count: int,
    *,
    seed: int,
    step: int,
    among: tuple[int, int] | None = None,
) -> tuple[RayBatch, Tensor]:
    """Rays through ``count`` of the ``chosen`` pixels, drawn uniformly, with replacement, and the photos there.

    Photos may differ in size: their pixels lie one after the other, photo by photo, row by row.

    Ray r takes the words w0, w1 of the Philox block at (r, 0, step, RAYS), as 24 bits each: of L pixels it is number
    floor((u0 + u1 2^-24) L), in float64. One word alone could not name every pixel of a hundred large photos.

    Bytes a ray: 8 log2(P / 512) + 8 log2(N) looked up, 64 of the set, 4 of the photo; 40 written. FLOPs: 3.

    Args:
        camera_to_world: (N,3,4) float32.
        intrinsics: (N,4) float32, in pixels.
        photos: (P,4) uint8, the pixels of all photos.
        offsets: (N+1,) int64: photo v owns the pixels offsets[v] to offsets[v+1] - 1.
        widths: (N,) int64, pixels in a row.
        chosen: of the pixels offsets[view] + row width + column.
        count: number of rays R.
        seed, step: key of the draw.
        among: first and last + 1, in their order, of the chosen ones to draw from; None: all.

    Returns:
        a ``RayBatch``, and (R,4) float32 in [0,1].

    Raises:
        ValueError: a shape, dtype or device does not fit, or there is no pixel to draw.
    """
    cameras = len(camera_to_world)
    expect("camera_to_world", camera_to_world, ("N", 3, 4), dtype=torch.float32)
    expect("intrinsics", intrinsics, (cameras, 4), like=camera_to_world)
    expect("photos", photos, (chosen.total, 4), dtype=torch.uint8, like=camera_to_world)
    expect_offsets(offsets, cameras, len(photos), camera_to_world)
    expect("widths", widths, (cameras,), dtype=torch.int64, like=camera_to_world)
    expect_numbers("widths", widths, len(photos) + 1, least=1)
    expect("chosen.bits", chosen.bits, ("W",), dtype=torch.int64, like=camera_to_world)
    low, high = (0, chosen.size) if among is None else among
    if not 0 <= low <= high <= chosen.size:
        raise ValueError(f"among: expected a part of the {chosen.size} chosen pixels, got {low} to {high}")
    if count < 0 or (count and low == high):
        raise ValueError(f"cannot draw {count} rays from {high - low} pixels")
    draw = Draw(seed, step).checked(count)
    with implementation(__name__, camera_to_world, float32="camera_to_world") as kernels:
        tensors = (t.contiguous() for t in (photos, offsets, widths, chosen.bits, chosen.before))
        view, row, column, rgba = kernels.choose_members(draw, *tensors, low, high, count)
        origins, directions = kernels.rays_from_pixels(camera_to_world, intrinsics, view, row, column)
    trust(view, cameras)
    return RayBatch(origins, directions, view, row, column), rgba


__all__ = ["PixelSet", "RayBatch", "rays_from_pixels", "sample_photos", "sample_rays"]
